/**
 * Kernels and firmware of RISC-V in guest RAM: Linux's Image (Documentation/arch/riscv/boot-image-header.rst), ELF files, plain
 * firmware; with the initial RAM disk and the device tree. The files are hostile: all placing goes through a RamPlan.
 */
import { VringError } from '../../base/index.js';
import type { KernelImages } from '../board.js';
import type { BootTarget } from '../boot/boot-state.js';
import { type ElfTarget, elfMachine, isElf, loadElfSegments, parseElf, physicalEntry } from '../boot/elf.js';
import { RamPlan } from '../boot/ram-plan.js';
import { map } from './memory-map.js';

const riscv: ElfTarget = { machines: [elfMachine.riscv], name: 'RISC-V' };
const LARGE_PAGE = 0x20_0000;
const PAGE = 4096;
/** The device tree ends below this, wherever RAM ends: as QEMU has it, for kernels that reach so far only. */
const TREE_LIMIT = 0xc000_0000;

/** Offsets of the Image header. */
const header = { textOffset: 8, imageSize: 16, magic: 0x30, magic2: 0x38, bytes: 64 } as const;

const others: readonly { readonly at: number; readonly bytes: string; readonly text: string }[] = [
  { at: 0x202, bytes: 'HdrS', text: 'for another architecture: x86, not RISC-V' },
  { at: 0x38, bytes: 'ARM\x64', text: 'for another architecture: AArch64, not RISC-V' },
  { at: 0x24, bytes: '\x18\x28\x6f\x01', text: 'for another architecture: ARM, not RISC-V' },
  { at: 0, bytes: '\x27\x05\x19\x56', text: 'a U-Boot image, not a RISC-V kernel' },
  { at: 0, bytes: '\xfd7zXZ', text: 'an xz file: unpack it first' },
  { at: 0, bytes: '\x28\xb5\x2f\xfd', text: 'a zstd file: unpack it first' },
  { at: 0, bytes: '!<arch>', text: 'an ar archive (a Debian package?)' },
  { at: 0, bytes: '070701', text: 'a cpio archive: an initrd?' },
];

function matches(image: Uint8Array, at: number, bytes: string): boolean {
  for (let i = 0; i < bytes.length; i++) if (image[at + i] !== bytes.charCodeAt(i)) return false;
  return true;
}

const isImage = (image: Uint8Array): boolean =>
  image.length >= header.bytes &&
  (matches(image, header.magic2, 'RSC\x05') || matches(image, header.magic, 'RISCV\0\0\0'));

const alignUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

interface Placed {
  readonly entry: number;
  readonly end: number;
  readonly description: string;
}

/** Firmware at the start of RAM. */
function placeFirmware(image: Uint8Array, plan: RamPlan): Placed {
  if (image.length === 0) throw new VringError('firmware-size', 'The firmware image is empty.');
  if (isElf(image)) {
    const elf = parseElf(image, riscv);
    const end = loadElfSegments(image, elf, plan);
    return { entry: physicalEntry(elf), end, description: 'firmware' };
  }
  plan.place(map.ram.gpa, image, 'The firmware');
  return { entry: map.ram.gpa, end: map.ram.gpa + image.length, description: 'firmware' };
}

/** `from`: the first address that firmware has left. */
function placeKernel(image: Uint8Array, from: number, plan: RamPlan): Placed {
  if (image.length === 0) throw new VringError('boot-kernel-damaged', 'The kernel image is empty.');
  if (isImage(image)) {
    const view = new DataView(image.buffer, image.byteOffset, image.length);
    const offset = view.getBigUint64(header.textOffset, true);
    const size = view.getBigUint64(header.imageSize, true);
    const most = BigInt(Number.MAX_SAFE_INTEGER);
    if (offset > most || size > most)
      throw new VringError('boot-kernel-damaged', 'The kernel image is damaged: its header gives no size.');
    const start = alignUp(Math.max(map.ram.gpa + Number(offset), from), LARGE_PAGE);
    const bytes = Math.max(Number(size), image.length);
    plan.reserve(start, bytes, 'The kernel');
    plan.write(start, image);
    plan.clear(start + image.length, bytes - image.length);
    return { entry: start, end: start + bytes, description: `Linux (RISC-V Image) at 0x${start.toString(16)}` };
  }
  if (isElf(image)) {
    const elf = parseElf(image, riscv);
    if (!elf.is64) throw new VringError('boot-kernel-arch', 'The kernel is for another architecture: RV32, not RV64.');
    const end = loadElfSegments(image, elf, plan);
    const entry = physicalEntry(elf);
    return { entry, end, description: `ELF kernel, entered at 0x${entry.toString(16)}` };
  }
  const other = others.find(({ at, bytes }) => matches(image, at, bytes));
  if (other) {
    const code = other.at === 0 ? 'boot-kernel-unsupported' : 'boot-kernel-arch';
    throw new VringError(code, `The kernel image is ${other.text}.`);
  }
  throw new VringError(
    'boot-kernel-unsupported',
    'The kernel image is of no known kind: neither a Linux Image of RISC-V nor an ELF file.',
  );
}

export interface RiscvBoot {
  /** Where the first code runs: firmware's, or without it the kernel's. */
  readonly entry: number;
  /** Where firmware goes on; 0: nowhere. */
  readonly kernelEntry: number;
  readonly treeGpa: number;
  readonly description: string;
}

export interface RiscvImages {
  readonly firmware: Uint8Array | undefined;
  readonly kernel: KernelImages | undefined;
  /** The device tree, for an initial RAM disk at an address or none. */
  tree(initrd: { readonly start: number; readonly end: number } | undefined): Uint8Array;
}

/** Puts all of it into RAM. Throws VringError `boot-…`, `firmware-size`. */
export function loadRiscv({ firmware, kernel, tree }: RiscvImages, target: BootTarget): RiscvBoot {
  const plan = new RamPlan(target);
  const first = firmware ? placeFirmware(firmware, plan) : undefined;
  const second = kernel ? placeKernel(kernel.kernel, first?.end ?? map.ram.gpa, plan) : undefined;
  const ramEnd = map.ram.gpa + plan.ramBytes;
  // Its size does not depend on the addresses in it.
  const initrd = kernel?.initrd;
  const treeBytes = tree(initrd ? { start: 0, end: 0 } : undefined).length;
  const treeGpa = plan.findHigh(treeBytes, LARGE_PAGE, map.ram.gpa, Math.min(ramEnd, TREE_LIMIT));
  if (treeGpa === undefined)
    throw new VringError('boot-no-ram', 'The device tree does not fit: the machine has too little RAM.');
  plan.reserve(treeGpa, treeBytes, 'The device tree');
  let placed: { start: number; end: number } | undefined;
  if (initrd && second) {
    const start = plan.findHigh(initrd.length, PAGE, second.end, treeGpa);
    if (start === undefined)
      throw new VringError('boot-no-ram', `The initrd does not fit: ${initrd.length} bytes behind the kernel.`);
    plan.place(start, initrd, 'The initrd');
    placed = { start, end: start + initrd.length };
  }
  plan.write(treeGpa, tree(placed));
  const entry = first?.entry ?? second?.entry;
  if (entry === undefined) throw new VringError('options-invalid', 'There is neither a kernel nor firmware.');
  const description = [second?.description, first?.description].filter((part) => part !== undefined).join(', under ');
  return { entry, kernelEntry: second?.entry ?? 0, treeGpa, description };
}
