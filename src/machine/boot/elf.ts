/**
 * The part of ELF that a boot loader needs: file header, program headers, PT_NOTE entries (System V gABI, chapters 4 and 5).
 * The file is hostile: every offset and size is checked against the file before use.
 */
import { VringError } from '../../base/index.js';
import type { RamPlan } from './ram-plan.js';

export const elfMachine = { i386: 3, arm: 40, x86_64: 62, aarch64: 183, riscv: 243 } as const;

/** What a machine's loader takes. */
export interface ElfTarget {
  readonly machines: readonly number[];
  /** Of the architecture, for a person. */
  readonly name: string;
}

const x86: ElfTarget = { machines: [elfMachine.i386, elfMachine.x86_64], name: 'x86' };

const machineNames: Readonly<Record<number, string>> = {
  2: 'SPARC',
  3: 'i386',
  8: 'MIPS',
  20: 'PowerPC',
  21: 'PowerPC64',
  22: 'S/390',
  40: 'ARM',
  43: 'SPARC64',
  50: 'IA-64',
  62: 'x86-64',
  183: 'AArch64',
  243: 'RISC-V',
  258: 'LoongArch',
};

export interface ElfSegment {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly vaddr: number;
  readonly paddr: number;
  readonly fileSize: number;
  readonly memSize: number;
}

export interface ElfNote {
  readonly name: string;
  readonly type: number;
  readonly desc: Uint8Array;
}

export interface ElfFile {
  readonly is64: boolean;
  readonly machine: number;
  readonly entry: number;
  readonly segments: readonly ElfSegment[];
  /** End of the file header and the program headers, if these follow it directly. */
  readonly headersEnd: number;
}

const PT_LOAD = 1;
const PT_NOTE = 4;
const PF_X = 1;
/** More program headers than any kernel has; bounds the work on a hostile file. */
const maxSegments = 256;
const maxNotes = 1024;

export function isElf(image: Uint8Array): boolean {
  return image.length >= 20 && image[0] === 0x7f && image[1] === 0x45 && image[2] === 0x4c && image[3] === 0x46;
}

function damaged(why: string): VringError {
  return new VringError('boot-kernel-damaged', `The kernel is a damaged ELF file: ${why}.`);
}

/** Values at or above 2^53 come out as Infinity, which no range check passes. */
function u64(view: DataView, offset: number): number {
  const value = view.getBigUint64(offset, true);
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : Number.POSITIVE_INFINITY;
}

export function parseElf(image: Uint8Array, target: ElfTarget = x86): ElfFile {
  const elfClass = image[4];
  if (elfClass !== 1 && elfClass !== 2) throw damaged('its class is neither 32 nor 64 bits');
  const bigEndian = image[5] === 2;
  if (!bigEndian && image[5] !== 1) throw damaged('its byte order is unknown');
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  const machine = view.getUint16(18, !bigEndian);
  if (bigEndian || !target.machines.includes(machine)) {
    const name = machineNames[machine] ?? `machine number ${machine}`;
    throw new VringError('boot-kernel-arch', `The kernel is for another architecture: ${name}, not ${target.name}.`);
  }
  const is64 = elfClass === 2;
  if (image.length < (is64 ? 64 : 52)) throw damaged('it ends inside its header');
  const entry = is64 ? u64(view, 24) : view.getUint32(24, true);
  const phOffset = is64 ? u64(view, 32) : view.getUint32(28, true);
  const phSize = view.getUint16(is64 ? 54 : 42, true);
  const phCount = view.getUint16(is64 ? 56 : 44, true);
  if (phCount === 0) throw damaged('it has no program headers');
  if (phCount > maxSegments) throw damaged(`it has ${phCount} program headers`);
  if (phSize < (is64 ? 56 : 32)) throw damaged('its program headers are too small');
  if (!(phOffset + phCount * phSize <= image.length)) throw damaged('its program headers lie outside the file');
  const segments: ElfSegment[] = [];
  for (let i = 0; i < phCount; i++) {
    const at = phOffset + i * phSize;
    const segment: ElfSegment = is64
      ? {
          type: view.getUint32(at, true),
          flags: view.getUint32(at + 4, true),
          offset: u64(view, at + 8),
          // Kernel virtual addresses lie in the top 2^63; only their distance to the entry matters, and for that the low
          // 52 bits are enough.
          vaddr: low52(view, at + 16),
          paddr: u64(view, at + 24),
          fileSize: u64(view, at + 32),
          memSize: u64(view, at + 40),
        }
      : {
          type: view.getUint32(at, true),
          offset: view.getUint32(at + 4, true),
          vaddr: view.getUint32(at + 8, true),
          paddr: view.getUint32(at + 12, true),
          fileSize: view.getUint32(at + 16, true),
          memSize: view.getUint32(at + 20, true),
          flags: view.getUint32(at + 24, true),
        };
    if (segment.type === PT_LOAD || segment.type === PT_NOTE) {
      if (!(segment.offset + segment.fileSize <= image.length)) {
        throw damaged(`segment ${i} lies outside the file, which may be truncated`);
      }
      if (segment.type === PT_LOAD && segment.fileSize > segment.memSize) {
        throw damaged(`segment ${i} is larger in the file than in memory`);
      }
    }
    segments.push(segment);
  }
  const headersEnd = phOffset === (is64 ? 64 : 52) ? phOffset + phCount * phSize : 0;
  return { is64, machine, entry: is64 ? low52(view, 24) : entry, segments, headersEnd };
}

function low52(view: DataView, offset: number): number {
  return Number(view.getBigUint64(offset, true) & 0xfffffffffffffn);
}

/** Notes of all PT_NOTE segments; a damaged note ends its segment. */
export function elfNotes(image: Uint8Array, elf: ElfFile): ElfNote[] {
  const notes: ElfNote[] = [];
  for (const segment of elf.segments) {
    if (segment.type !== PT_NOTE) continue;
    const view = new DataView(image.buffer, image.byteOffset + segment.offset, segment.fileSize);
    let at = 0;
    while (at + 12 <= view.byteLength && notes.length < maxNotes) {
      const nameSize = view.getUint32(at, true);
      const descSize = view.getUint32(at + 4, true);
      const descAt = at + 12 + Math.ceil(nameSize / 4) * 4;
      const next = descAt + Math.ceil(descSize / 4) * 4;
      if (descAt + descSize > view.byteLength) break;
      const start = segment.offset + at + 12;
      const nameBytes = image.subarray(start, start + Math.max(0, Math.min(nameSize, 64) - 1));
      notes.push({
        name: String.fromCharCode(...nameBytes),
        type: view.getUint32(at + 8, true),
        desc: image.subarray(segment.offset + descAt, segment.offset + descAt + descSize),
      });
      at = next;
    }
  }
  return notes;
}

/**
 * Copies the PT_LOAD segments to their physical addresses and zeroes the rest of each (.bss). Returns the end of the highest segment.
 */
export function loadElfSegments(image: Uint8Array, elf: ElfFile, plan: RamPlan): number {
  let end = 0;
  for (const segment of elf.segments) {
    if (segment.type !== PT_LOAD || segment.memSize === 0) continue;
    const skip = headersOutsideRam(image, elf, segment, plan);
    const gpa = segment.paddr + skip;
    const memSize = segment.memSize - skip;
    const content = image.subarray(segment.offset + skip, segment.offset + Math.max(skip, segment.fileSize));
    plan.reserve(gpa, memSize, 'the kernel');
    plan.write(gpa, content);
    plan.clear(gpa + content.length, memSize - content.length);
    end = Math.max(end, gpa + memSize);
  }
  if (end === 0) throw damaged('it has nothing to load');
  return end;
}

/**
 * Linkers put the file's headers into the first segment, a page before the code: for a kernel at 1 MiB that page is no RAM.
 * Nobody reads it there, so bytes of a segment that are headers, or the padding behind them, are left out where RAM is missing.
 */
function headersOutsideRam(image: Uint8Array, elf: ElfFile, segment: ElfSegment, plan: RamPlan): number {
  if (segment.offset >= elf.headersEnd || plan.ramFrom(segment.paddr) > 0) return 0;
  const skip = Math.min(segment.memSize, plan.nextRam(segment.paddr) - segment.paddr);
  const end = segment.offset + Math.min(skip, segment.fileSize);
  for (let at = elf.headersEnd; at < end; at++) if (image[at] !== 0) return 0;
  return skip;
}

/** The entry point as a physical address: e_entry may be virtual where a code segment's two addresses differ. */
export function physicalEntry(elf: ElfFile): number {
  for (const segment of elf.segments) {
    if (segment.type !== PT_LOAD || (segment.flags & PF_X) === 0) continue;
    if (elf.entry >= segment.vaddr && elf.entry < segment.vaddr + segment.memSize) {
      return elf.entry - segment.vaddr + segment.paddr;
    }
  }
  return elf.entry;
}
