/**
 * `-kernel` under a BIOS for what is no Linux: Multiboot programs and ELF kernels with a PVH entry. The loader for direct boot says
 * what belongs where; an option ROM has fw_cfg write that, and enters the program in protected mode. So it finds what a BIOS leaves
 * behind: its services, a VGA in text mode, PCI devices with addresses, ACPI tables below 1 MiB.
 */
import { type FwCfg, fwCfgKey } from '../../hw/index.js';
import { DESCRIPTOR_GPA, loadParts, optionRom, type Part, store, u16, u32 } from './boot-rom.js';
import { type BootImages, type E820Entry, e820Type, type VcpuBootState } from './boot-state.js';
import { pcE820 } from './e820.js';
import { FIRMWARE_BYTES } from './linux-rom.js';
import { loadKernel } from './load-kernel.js';

/** The name under which firmware finds the ROM, and its line in `bootorder`. */
const programRomFile = 'genroms/vring-program.bin';
export const programRomPath = '/rom@genroms/vring-program.bin';

/** Behind the transfer's descriptor: what LGDT reads, and code for protected mode. */
const GDTR_GPA = DESCRIPTOR_GPA + 0x10;
const ENTRY_GPA = DESCRIPTOR_GPA + 0x20;
/** Writes with less between them are one. */
const SMALL_GAP_BYTES = 64;
/** A transfer of fw_cfg has at most 16 MiB. */
const TRANSFER_BYTES = 1 << 24;

interface Write {
  readonly gpa: number;
  readonly bytes: Uint8Array;
}

/** Registers in the order of their numbers, as MOV r32, imm32 (B8+r) has them. */
const registers = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'] as const;

/** Code for protected mode: the state's registers, then its entry. */
function entryCode(state: VcpuBootState): Uint8Array {
  const code = [0xb8, ...u32(state.segments.ds.selector)]; // mov eax, ..
  for (const move of [0xd8, 0xc0, 0xe0, 0xe8, 0xd0]) code.push(0x8e, move); // ds, es, fs, gs, ss
  for (const [i, name] of registers.entries()) code.push(0xb8 + i, ...u32(state.registers[name] ?? 0));
  const end = ENTRY_GPA + code.length + 5;
  return Uint8Array.from([...code, 0xe9, ...u32(((state.registers['rip'] ?? 0) - end) >>> 0)]); // jmp
}

/** In order, with those that almost touch made one. */
function joined(writes: readonly Write[]): Write[] {
  const result: Write[] = [];
  for (const write of writes.toSorted((a, b) => a.gpa - b.gpa)) {
    const last = result.at(-1);
    const gap = last ? write.gpa - last.gpa - last.bytes.length : Number.POSITIVE_INFINITY;
    if (!last || gap >= SMALL_GAP_BYTES || gap < 0) {
      result.push(write);
      continue;
    }
    const bytes = new Uint8Array(last.bytes.length + gap + write.bytes.length);
    bytes.set(last.bytes);
    bytes.set(write.bytes, last.bytes.length + gap);
    result[result.length - 1] = { gpa: last.gpa, bytes };
  }
  return result;
}

/** Memory as the program is told of it: firmware keeps the end of RAM below 4 GiB. */
function memoryMap(lowRamEnd: number, highRamBytes: number): E820Entry[] {
  const high = lowRamEnd - FIRMWARE_BYTES;
  const reserved = { start: high, size: FIRMWARE_BYTES, type: e820Type.reserved };
  return [...pcE820(high, highRamBytes), reserved].toSorted((a, b) => a.start - b.start);
}

/** Puts a program and the option ROM that boots it where a BIOS finds them. Throws VringError. */
export function addProgram(
  fwCfg: FwCfg,
  images: Omit<BootImages, 'longMode'>,
  { lowRamEnd, ramBytes }: { readonly lowRamEnd: number; readonly ramBytes: number },
): string {
  const writes: Write[] = [];
  const clears: { gpa: number; bytes: number }[] = [];
  const { state, description } = loadKernel(
    { ...images, longMode: false },
    {
      e820: memoryMap(lowRamEnd, ramBytes - lowRamEnd),
      write: (gpa, bytes) => writes.push({ gpa, bytes: bytes.slice() }),
      clear: (gpa, bytes) => clears.push({ gpa, bytes }),
    },
  );
  writes.push({ gpa: ENTRY_GPA, bytes: entryCode(state) });
  const all = joined(writes.filter(({ bytes }) => bytes.length > 0));
  const item = new Uint8Array(all.reduce((sum, { bytes }) => sum + bytes.length, 0));
  const parts: Part[] = [];
  const add = (gpa: number, bytes: number) => {
    for (let at = 0; at < bytes; at += TRANSFER_BYTES)
      parts.push({
        key: parts.length === 0 ? fwCfgKey.kernelData : undefined,
        gpa: gpa + at,
        bytes: Math.min(TRANSFER_BYTES, bytes - at),
      });
  };
  let offset = 0;
  for (const { gpa, bytes } of all) {
    item.set(bytes, offset);
    offset += bytes.length;
    add(gpa, bytes.length);
  }
  for (const { gpa, bytes } of clears) add(gpa, bytes);
  fwCfg.setItem(fwCfgKey.kernelData, item);
  const { base, limit } = state.gdt;
  const code = [
    ...loadParts(parts),
    ...store(GDTR_GPA, [...u16(limit), ...u16(base & 0xffff)]),
    ...store(GDTR_GPA + 4, u32(base >>> 16)),
    ...[0x66, 0x0f, 0x01, 0x16, ...u16(GDTR_GPA)], // lgdt [..]
    ...[0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0], // mov eax, cr0; or al, 1; mov cr0, eax
    ...[0x66, 0xea, ...u32(ENTRY_GPA), ...u16(state.segments.cs.selector)], // jmp far
  ];
  fwCfg.setFile(programRomFile, optionRom(code, 'Program'));
  return `${description}, under firmware`;
}
