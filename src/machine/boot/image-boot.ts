/**
 * Linux's Image and ELF kernels, firmware, initial RAM disk and device tree in guest RAM, for boards whose guests learn of them by a
 * device tree. The header of an Image is one for RISC-V and AArch64 (Documentation/arch/riscv/boot-image-header.rst,
 * arch/arm64/booting.rst). The files are hostile: all placing goes through a RamPlan.
 */
import { VringError } from '../../base/index.js';
import type { KernelImages } from '../board.js';
import type { BootTarget } from './boot-state.js';
import { type ElfTarget, isElf, loadElfSegments, parseElf, physicalEntry } from './elf.js';
import { RamPlan } from './ram-plan.js';
import { isUBootImage, parseUBootImage, uBootType, withoutUBootHeader } from './u-boot-image.js';

const LARGE_PAGE = 0x20_0000;
const PAGE = 4096;

/** Offsets of the Image header. */
const header = { textOffset: 8, imageSize: 16, flags: 24, bytes: 64 } as const;
const BIG_ENDIAN = 1n;

interface Mark {
  readonly at: number;
  readonly bytes: string;
}

/** What differs between the processors. */
export interface ImageTarget {
  readonly elf: ElfTarget & { readonly bits: 32 | 64 };
  /** Of the other width, for a person, where the ELF machine is one for both. */
  readonly otherName?: string;
  /** Any of them makes an Image of it. */
  readonly marks: readonly Mark[];
  /** It takes arch/arm's zImages. */
  readonly zImages?: true;
  readonly ramStart: number;
  /** A file of no known kind is code as it stands: so far behind the start of RAM, or behind firmware. */
  readonly rawOffset: number;
  /** What is no Linux starts as the machine does, at its highest level, and finds the device tree where RAM begins. */
  readonly startsBare: boolean;
  /** The device tree ends below this, wherever RAM ends. */
  readonly treeLimit: number;
}

const zImage: Mark = { at: 0x24, bytes: '\x18\x28\x6f\x01' };
const Z_IMAGE_OFFSET = 0x400_0000;

/** What other files begin with. */
const others: readonly (Mark & { readonly name?: string; readonly text?: string })[] = [
  { at: 0x202, bytes: 'HdrS', name: 'x86' },
  { at: 0x38, bytes: 'ARM\x64', name: 'AArch64' },
  { at: 0x38, bytes: 'RSC\x05', name: 'RISC-V' },
  { ...zImage, name: 'ARM' },
  { at: 0, bytes: '\xfd7zXZ', text: 'an xz file: unpack it first' },
  { at: 0, bytes: '\x28\xb5\x2f\xfd', text: 'a zstd file: unpack it first' },
  { at: 0, bytes: '!<arch>', text: 'an ar archive (a Debian package?)' },
  { at: 0, bytes: '070701', text: 'a cpio archive: an initrd?' },
];

function matches(image: Uint8Array, { at, bytes }: Mark): boolean {
  for (let i = 0; i < bytes.length; i++) if (image[at + i] !== bytes.charCodeAt(i)) return false;
  return true;
}

const alignUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

interface Placed {
  readonly entry: number;
  readonly end: number;
  readonly description: string;
  /** It is no Linux. */
  readonly isBare?: boolean;
}

/** Firmware at the start of RAM. */
function placeFirmware(image: Uint8Array, target: ImageTarget, plan: RamPlan): Placed {
  if (image.length === 0) throw new VringError('firmware-size', 'The firmware image is empty.');
  if (isElf(image)) {
    const elf = parseElf(image, target.elf);
    const end = loadElfSegments(image, elf, plan);
    return { entry: physicalEntry(elf), end, description: 'firmware' };
  }
  plan.place(target.ramStart, image, 'The firmware');
  return { entry: target.ramStart, end: target.ramStart + image.length, description: 'firmware' };
}

function placeImage(image: Uint8Array, from: number, target: ImageTarget, plan: RamPlan): Placed {
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  const offset = view.getBigUint64(header.textOffset, true);
  const size = view.getBigUint64(header.imageSize, true);
  const most = BigInt(Number.MAX_SAFE_INTEGER);
  if (offset > most || size > most)
    throw new VringError('boot-kernel-damaged', 'The kernel image is damaged: its header gives no size.');
  if ((view.getBigUint64(header.flags, true) & BIG_ENDIAN) !== 0n)
    throw new VringError('boot-kernel-arch', `The kernel is for ${target.elf.name} in big-endian order.`);
  // The offset is from a place that large pages can begin at.
  const within = Number(offset) % LARGE_PAGE;
  const start = alignUp(Math.max(target.ramStart + Number(offset) - within, from), LARGE_PAGE) + within;
  const bytes = Math.max(Number(size), image.length);
  plan.reserve(start, bytes, 'The kernel');
  plan.write(start, image);
  plan.clear(start + image.length, bytes - image.length);
  const description = `Linux (${target.elf.name} Image) at 0x${start.toString(16)}`;
  return { entry: start, end: start + bytes, description };
}

/** A program that says where it lies and begins. */
function placeUBootImage(image: Uint8Array, target: ImageTarget, plan: RamPlan): Placed {
  const { content, load, entry, linux } = parseUBootImage(image, uBootType.kernel, target.ramStart + target.rawOffset);
  plan.place(load, content, 'The kernel');
  const description = `U-Boot image, entered at 0x${entry.toString(16)}`;
  return { entry, end: load + content.length, description, isBare: !linux && target.startsBare };
}

/** `from`: the first address that firmware has left. */
function placeKernel(image: Uint8Array, from: number, target: ImageTarget, plan: RamPlan): Placed {
  const { name } = target.elf;
  if (image.length === 0) throw new VringError('boot-kernel-damaged', 'The kernel image is empty.');
  if (image.length >= header.bytes && target.marks.some((mark) => matches(image, mark)))
    return placeImage(image, from, target, plan);
  if (isElf(image)) {
    const elf = parseElf(image, target.elf);
    const { bits } = target.elf;
    if (elf.is64 !== (bits === 64))
      throw new VringError(
        'boot-kernel-arch',
        `The kernel is for another architecture: ${target.otherName ?? `${96 - bits} bits`}, not ${name} with ${bits} bits.`,
      );
    const end = loadElfSegments(image, elf, plan);
    const entry = physicalEntry(elf);
    const description = `ELF kernel, entered at 0x${entry.toString(16)}`;
    return { entry, end, description, isBare: target.startsBare };
  }
  if (isUBootImage(image)) return placeUBootImage(image, target, plan);
  if (target.zImages && matches(image, zImage)) {
    // Below this it unpacks itself.
    const start = target.ramStart + Z_IMAGE_OFFSET;
    plan.place(start, image, 'The kernel');
    return { entry: start, end: start + image.length, description: `Linux (zImage) at 0x${start.toString(16)}` };
  }
  const other = others.find((mark) => matches(image, mark));
  if (other?.name)
    throw new VringError(
      'boot-kernel-arch',
      `The kernel image is for another architecture: ${other.name}, not ${name}.`,
    );
  if (!other) {
    const start = from > target.ramStart ? alignUp(from, LARGE_PAGE) : target.ramStart + target.rawOffset;
    plan.place(start, image, 'The kernel');
    return { entry: start, end: start + image.length, description: `binary at 0x${start.toString(16)}` };
  }
  throw new VringError('boot-kernel-unsupported', `The kernel image is ${other.text}.`);
}

export interface ImageBoot {
  /** Where the first code runs: firmware's, or without it the kernel's. */
  readonly entry: number;
  /** Where firmware goes on; 0: nowhere. */
  readonly kernelEntry: number;
  /** 0: there is no room for it. */
  readonly treeGpa: number;
  /** The program is no Linux: it starts as the machine does, and nothing is in its registers. */
  readonly isBare: boolean;
  readonly description: string;
}

export interface TreeBootImages {
  readonly firmware: Uint8Array | undefined;
  /** Code in flash: what starts in firmware's place, and where firmware goes on in a kernel's. */
  readonly flash?: { readonly first?: number | undefined; readonly second?: number | undefined };
  readonly kernel: KernelImages | undefined;
  /** An initial RAM disk where firmware stands alone. */
  readonly initrd?: Uint8Array | undefined;
  /** The device tree, for an initial RAM disk at an address or none, and for a Linux or a program that starts as the machine does. */
  tree(initrd: { readonly start: number; readonly end: number } | undefined, isBare: boolean): Uint8Array;
}

/** Puts all of it into RAM. Throws VringError `boot-…`, `firmware-size`. */
export function loadImages(
  { firmware, flash, kernel, initrd: alone, tree }: TreeBootImages,
  image: ImageTarget,
  target: BootTarget,
): ImageBoot {
  const plan = new RamPlan(target);
  const first = firmware ? placeFirmware(firmware, image, plan) : undefined;
  const second = kernel ? placeKernel(kernel.kernel, first?.end ?? image.ramStart, image, plan) : undefined;
  const ramEnd = image.ramStart + plan.ramBytes;
  // Its size does not depend on the addresses in it.
  const given = kernel?.initrd ?? alone;
  const initrd = given && withoutUBootHeader(given);
  const behind = second ?? first;
  const isBare = second?.isBare ?? false;
  const treeBytes = tree(initrd ? { start: 0, end: 0 } : undefined, isBare).length;
  const treeGpa = isBare
    ? plan.isFree(image.ramStart, treeBytes)
      ? image.ramStart
      : 0
    : plan.findHigh(treeBytes, LARGE_PAGE, image.ramStart, Math.min(ramEnd, image.treeLimit));
  if (treeGpa === undefined)
    throw new VringError('boot-no-ram', 'The device tree does not fit: the machine has too little RAM.');
  if (treeGpa > 0) plan.reserve(treeGpa, treeBytes, 'The device tree');
  let placed: { start: number; end: number } | undefined;
  if (initrd && behind) {
    const start = plan.findHigh(initrd.length, PAGE, behind.end, isBare ? ramEnd : treeGpa);
    if (start === undefined)
      throw new VringError('boot-no-ram', `The initrd does not fit: ${initrd.length} bytes behind the kernel.`);
    plan.place(start, initrd, 'The initrd');
    placed = { start, end: start + initrd.length };
  }
  if (treeGpa > 0) plan.write(treeGpa, tree(placed, isBare));
  const kernelEntry = flash?.second ?? second?.entry;
  const entry = flash?.first ?? first?.entry ?? kernelEntry;
  if (entry === undefined) throw new VringError('options-invalid', 'There is neither a kernel nor firmware.');
  const description = [
    second?.description ?? (flash?.second && 'code in flash'),
    first?.description ?? (flash?.first && 'firmware in flash'),
  ]
    .filter((part) => part !== undefined)
    .join(', under ');
  return { entry, kernelEntry: kernelEntry ?? 0, treeGpa, isBare, description };
}
