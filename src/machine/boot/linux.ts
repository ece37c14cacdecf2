/**
 * Linux bzImage by the x86 boot protocol (Linux Documentation/arch/x86/boot.rst, zero-page.rst): the 64-bit entry for
 * kernels that have one and vCPUs with long mode, else the 32-bit entry. The real-mode part is not run.
 *
 * Not supported, and refused by name: images below protocol 2.02, zImage (loaded below 1 MiB), and what starts in real mode alone.
 */
import { VringError } from '../../base/index.js';
import type { BootImages, BootTarget, LoadedKernel } from './boot-state.js';
import { cString, longState, lowLayout, protectedState } from './entry-state.js';
import { RamPlan } from './ram-plan.js';

/** Offsets in the image's first sectors; boot_params has the header at the same offsets. */
export const header = {
  setupSects: 0x1f1,
  syssize: 0x1f4,
  vidMode: 0x1fa,
  bootFlag: 0x1fe,
  jump: 0x200,
  magic: 0x202,
  version: 0x206,
  kernelVersion: 0x20e,
  typeOfLoader: 0x210,
  loadflags: 0x211,
  code32Start: 0x214,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  heapEndPtr: 0x224,
  cmdLinePtr: 0x228,
  initrdAddrMax: 0x22c,
  kernelAlignment: 0x230,
  relocatableKernel: 0x234,
  xloadflags: 0x236,
  cmdlineSize: 0x238,
  setupData: 0x250,
  prefAddress: 0x258,
  initSize: 0x260,
} as const;

/** Fields of boot_params outside the setup header. */
const zeroPage = {
  acpiRsdpAddr: 0x070,
  extRamdiskImage: 0x0c0,
  extRamdiskSize: 0x0c4,
  e820Entries: 0x1e8,
  e820Table: 0x2d0,
  headerEnd: 0x290,
  size: 0x1000,
} as const;

const magicHdrS = 0x53726448;
const loadedHigh = 0x01;
const xlfKernel64 = 0x0001;
const xlfCanBeLoadedAbove4G = 0x0002;
const loaderUndefined = 0xff;
const vgaNormal = 0xffff;
const e820Max = 128;
const setupRngSeed = 9;
const entry64Offset = 0x200;

/** The setup header, checked. */
interface SetupHeader {
  readonly protocol: number;
  readonly setupBytes: number;
  readonly has64BitEntry: boolean;
  readonly above4G: boolean;
  readonly initrdAddrMax: number;
  readonly cmdlineSize: number;
  readonly relocatable: boolean;
  readonly kernelAlignment: number;
  readonly prefAddress: number;
  readonly initSize: number;
  readonly version: string;
}

export function isLinux(image: Uint8Array): boolean {
  if (image.length < header.magic + 4) return false;
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  return view.getUint32(header.magic, true) === magicHdrS && view.getUint16(header.bootFlag, true) === 0xaa55;
}

/**
 * Whether an image says that it has no 32-bit entry: it is loaded to 1 MiB, and code32_start is not there. Only its setup code can
 * start it, in real mode and by a BIOS (iPXE's images). `head`: its first 1,024 bytes are enough.
 */
export function startsInRealModeAlone(head: Uint8Array): boolean {
  if (!isLinux(head) || head.length < 0x400 || (head[header.loadflags] & loadedHigh) === 0) return false;
  return new DataView(head.buffer, head.byteOffset).getUint32(header.code32Start, true) < 0x100000;
}

function damaged(why: string): VringError {
  return new VringError('boot-kernel-damaged', `The kernel is a damaged bzImage: ${why}.`);
}

function unsupported(why: string): VringError {
  return new VringError('boot-kernel-unsupported', `The kernel is a Linux image that vring does not boot: ${why}.`);
}

export function parseHeader(image: Uint8Array): SetupHeader {
  if (image.length < 0x400) throw damaged('it ends inside its header');
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  const protocol = view.getUint16(header.version, true);
  if (protocol < 0x202) throw unsupported(`boot protocol ${protocolName(protocol)} is older than 2.02`);
  if ((image[header.loadflags]! & loadedHigh) === 0) throw unsupported('it is a zImage, loaded below 1 MiB');
  const setupBytes = ((image[header.setupSects]! || 4) + 1) * 512;
  if (setupBytes >= image.length) throw damaged('it ends inside its setup code');
  const payloadBytes = image.length - setupBytes;
  if (protocol >= 0x204) {
    const declared = view.getUint32(header.syssize, true) * 16;
    if (payloadBytes + 15 < declared) {
      throw damaged(`it is truncated: ${declared} bytes of kernel are announced, ${payloadBytes} are there`);
    }
  }
  const xloadflags = protocol >= 0x20c ? view.getUint16(header.xloadflags, true) : 0;
  const has64BitEntry = (xloadflags & xlfKernel64) !== 0;
  if (has64BitEntry && payloadBytes <= entry64Offset) throw damaged('it has no code at its 64-bit entry');
  const prefAddress = protocol >= 0x20a ? view.getBigUint64(header.prefAddress, true) : 0n;
  const alignment = protocol >= 0x205 ? view.getUint32(header.kernelAlignment, true) : 0;
  return {
    protocol,
    setupBytes,
    has64BitEntry,
    above4G: (xloadflags & xlfCanBeLoadedAbove4G) !== 0,
    initrdAddrMax: protocol >= 0x203 ? view.getUint32(header.initrdAddrMax, true) : 0x37ffffff,
    cmdlineSize: protocol >= 0x206 ? view.getUint32(header.cmdlineSize, true) : 255,
    relocatable: protocol >= 0x205 && image[header.relocatableKernel] !== 0,
    // Only a power of two of a page or more can be meant; anything else is treated as "no wish".
    kernelAlignment: alignment >= 0x1000 && (alignment & (alignment - 1)) === 0 ? alignment : 0x1000,
    prefAddress: prefAddress < 0x1_0000_0000n ? Number(prefAddress) : 0,
    initSize: protocol >= 0x20a ? view.getUint32(header.initSize, true) : 0,
    version: kernelVersion(image, view),
  };
}

function protocolName(protocol: number): string {
  return `${protocol >> 8}.${String(protocol & 0xff).padStart(2, '0')}`;
}

/** The version string that the header points to, printable characters only, or "". */
function kernelVersion(image: Uint8Array, view: DataView): string {
  const pointer = view.getUint16(header.kernelVersion, true);
  if (pointer === 0) return '';
  let text = '';
  for (let at = pointer + 0x200; at < image.length && text.length < 64; at++) {
    const c = image[at]!;
    if (c <= 0x20 || c >= 0x7f) break;
    text += String.fromCharCode(c);
  }
  return text;
}

/**
 * Where the protected-mode part goes. A relocatable kernel is put where it wants to run, if it and its workspace fit there;
 * it moves itself otherwise. One that is not relocatable goes to 1 MiB, by definition.
 */
function loadAddress(setup: SetupHeader, payloadBytes: number, plan: RamPlan): number {
  const room = Math.max(setup.initSize, payloadBytes);
  const lowest = Math.ceil(0x100000 / setup.kernelAlignment) * setup.kernelAlignment;
  if (setup.relocatable && setup.prefAddress >= lowest) {
    const wanted = Math.ceil(setup.prefAddress / setup.kernelAlignment) * setup.kernelAlignment;
    if (wanted + room <= 0x1_0000_0000 && plan.ramFrom(wanted) >= room) return wanted;
  }
  // A kernel that unpacks itself needs init_size bytes at the place where it will run, wherever it is loaded.
  const runsAt = Math.max(setup.prefAddress, 0x100000);
  if (plan.ramFrom(0x100000) < payloadBytes || plan.ramFrom(runsAt) < setup.initSize) {
    throw new VringError(
      'boot-no-ram',
      `The kernel does not fit into RAM: it needs ${Math.ceil((runsAt + room) / 0x100000)} MiB, ` +
        `the machine has ${Math.floor(plan.ramBytes / 0x100000)} MiB.`,
    );
  }
  return 0x100000;
}

function placeInitrd(setup: SetupHeader, initrd: Uint8Array, kernelEnd: number, plan: RamPlan): number {
  // Above 4 GiB a kernel could take it too (ext_ramdisk_image), but its first page tables end there.
  const limit = setup.above4G ? 0xffffffff : setup.initrdAddrMax;
  const gpa = plan.findHigh(initrd.length, 0x1000, kernelEnd, limit + 1);
  if (gpa === undefined) {
    throw new VringError(
      'boot-initrd-too-large',
      `The initrd does not fit into RAM: it has ${initrd.length} bytes, ` +
        `the machine has ${Math.floor(plan.ramBytes / 0x100000)} MiB of RAM, the kernel included.`,
    );
  }
  plan.place(gpa, initrd, 'the initrd');
  return gpa;
}

function placeCommandLine(setup: SetupHeader, commandLine: string, plan: RamPlan): number {
  const bytes = cString(commandLine);
  // cmdline_size counts without the terminating zero.
  if (bytes.length - 1 > setup.cmdlineSize) {
    throw new VringError(
      'boot-command-line-too-long',
      `The kernel command line has ${bytes.length - 1} bytes; this kernel takes at most ${setup.cmdlineSize}.`,
    );
  }
  if (lowLayout.commandLine + bytes.length > lowLayout.lowEnd) {
    throw new VringError('boot-command-line-too-long', `The kernel command line has ${bytes.length - 1} bytes.`);
  }
  plan.place(lowLayout.commandLine, bytes, 'the command line');
  return lowLayout.commandLine;
}

/** struct setup_data { u64 next; u32 type; u32 len; u8 data[] }: one node with entropy. */
function placeRngSeed(seed: Uint8Array, plan: RamPlan): number {
  const node = new Uint8Array(16 + seed.length);
  const view = new DataView(node.buffer);
  view.setUint32(8, setupRngSeed, true);
  view.setUint32(12, seed.length, true);
  node.set(seed, 16);
  const gpa = plan.findLow(node.length, 16, lowLayout.commandLine, lowLayout.lowEnd);
  if (gpa === undefined) return 0;
  plan.place(gpa, node, 'the random seed');
  return gpa;
}

export function loadLinux(images: BootImages, target: BootTarget): LoadedKernel {
  const image = images.kernel;
  const setup = parseHeader(image);
  if (startsInRealModeAlone(image))
    throw new VringError(
      'boot-kernel-needs-bios',
      'The kernel has no 32-bit entry: it starts in real mode, by a BIOS (-bios bios-256k.bin).',
    );
  const plan = new RamPlan(target);
  const payload = image.subarray(setup.setupBytes);
  const long = setup.has64BitEntry && images.longMode;

  // The tables go first, so that no address of the image can claim their place.
  plan.reserve(lowLayout.bootParams, zeroPage.size, 'the boot parameters');
  const commandLineGpa = placeCommandLine(setup, images.commandLine, plan);
  const setupDataGpa = images.rngSeed !== undefined && setup.protocol >= 0x209 ? placeRngSeed(images.rngSeed, plan) : 0;

  const kernelGpa = loadAddress(setup, payload.length, plan);
  plan.place(kernelGpa, payload, 'the kernel');
  // The kernel unpacks itself at pref_address or above, wherever it was loaded.
  const kernelEnd = Math.max(kernelGpa + payload.length, Math.max(kernelGpa, setup.prefAddress) + setup.initSize);
  const initrd = images.initrd;
  const initrdGpa = initrd === undefined || initrd.length === 0 ? 0 : placeInitrd(setup, initrd, kernelEnd, plan);

  const page = new Uint8Array(zeroPage.size);
  const view = new DataView(page.buffer);
  const headerEnd = Math.min(zeroPage.headerEnd, header.magic + image[0x201]!);
  page.set(image.subarray(header.setupSects, headerEnd), header.setupSects);
  view.setUint16(header.vidMode, vgaNormal, true);
  page[header.typeOfLoader] = loaderUndefined;
  view.setUint32(header.code32Start, kernelGpa, true);
  view.setUint32(header.ramdiskImage, initrdGpa, true);
  view.setUint32(header.ramdiskSize, initrdGpa === 0 ? 0 : initrd!.length, true);
  view.setUint32(header.cmdLinePtr, commandLineGpa, true);
  if (setup.protocol >= 0x209) view.setBigUint64(header.setupData, BigInt(setupDataGpa), true);
  view.setBigUint64(zeroPage.acpiRsdpAddr, BigInt(target.rsdpGpa ?? 0), true);
  writeE820(view, target);
  plan.write(lowLayout.bootParams, page);

  const entry = kernelGpa + (long ? entry64Offset : 0);
  const registers = { rip: entry, rsi: lowLayout.bootParams };
  const state = long ? longState(plan, registers) : protectedState(plan, registers);
  return {
    format: 'linux',
    state,
    description:
      `Linux ${setup.version || '(version unknown)'} (bzImage, boot protocol ${protocolName(setup.protocol)}), ` +
      `${long ? 64 : 32}-bit entry at 0x${entry.toString(16)}`,
  };
}

function writeE820(view: DataView, target: BootTarget): void {
  const entries = target.e820.slice(0, e820Max);
  view.setUint8(zeroPage.e820Entries, entries.length);
  entries.forEach((entry, i) => {
    const at = zeroPage.e820Table + i * 20;
    view.setBigUint64(at, BigInt(entry.start), true);
    view.setBigUint64(at + 8, BigInt(entry.size), true);
    view.setUint32(at + 16, entry.type, true);
  });
}
