/**
 * `-kernel` under firmware: the kernel and its parts as fw_cfg items, and a small option ROM that firmware finds there too. Its
 * boot entry has fw_cfg write each part to its place by DMA and goes to the kernel's real-mode code (Linux boot protocol, 16-bit
 * entry), which asks the firmware for memory map and video mode as after any boot loader; `vga=` says which mode.
 */
import { VringError } from '../../base/index.js';
import { addKernel, type FwCfg, fwCfgKey } from '../../hw/index.js';
import { loadParts, optionRom, type Part, u16 } from './boot-rom.js';
import type { BootImages } from './boot-state.js';
import { header, isLinux, parseHeader } from './linux.js';

/** As boot loaders lay real-mode parts out: setup code, heap and stack in one segment, the command line behind it. */
const SETUP_GPA = 0x10000;
const HEAP_END = 0xe000;
const COMMAND_LINE_GPA = 0x20000;
const KERNEL_GPA = 0x100000;
/** Room that firmware keeps for itself at the end of RAM below 4 GiB, ACPI tables and buffers. */
export const FIRMWARE_BYTES = 0x40000;
const CAN_USE_HEAP = 0x80;
const LOADER_QEMU = 0xb0;

/** The name under which firmware finds the ROM, and its line in `bootorder`. */
export const linuxRomFile = 'genroms/vring-linux.bin';
export const linuxRomPath = '/rom@genroms/vring-linux.bin';

/** Real-mode code that has fw_cfg write the parts, then enters the setup code. */
function bootCode(parts: readonly Part[]): number[] {
  const code = loadParts(parts);
  const segment = SETUP_GPA >> 4;
  code.push(0xb8, ...u16(segment)); // mov ax, ..
  for (const move of [0xd8, 0xc0, 0xe0, 0xe8, 0xd0]) code.push(0x8e, move); // ds, es, fs, gs, ss
  code.push(0xbc, ...u16(HEAP_END)); // mov sp, ..
  return [...code, 0xea, ...u16(0), ...u16(segment + 0x20)]; // jmp far
}

const VIDEO_MODES: Readonly<Record<string, number>> = { normal: 0xffff, ext: 0xfffe, ask: 0xfffd };

/**
 * What `vga=` on the command line asks for, which a boot loader tells the setup code (`vid_mode`): a name, or a number as C writes it.
 * Undefined: nothing. Throws VringError.
 */
export function videoMode(commandLine: string): number | undefined {
  const text = /(?:^|\s)vga=(\S*)/.exec(commandLine)?.[1];
  if (text === undefined) return undefined;
  const named = Object.hasOwn(VIDEO_MODES, text) ? VIDEO_MODES[text] : undefined;
  const octal = /^0[0-7]+$/.test(text);
  const isNumber = octal || /^(0[xX][0-9a-fA-F]{1,4}|0|[1-9]\d{0,4})$/.test(text);
  const value = named ?? (isNumber ? Number(octal ? `0o${text.slice(1)}` : text) : Number.NaN);
  if (!(value <= 0xffff))
    throw new VringError(
      'boot-video-mode',
      `The kernel command line has 'vga=${text}': a video mode is a number up to 65535, normal, ext or ask.`,
    );
  return value;
}

/** Puts a Linux kernel where firmware finds it, and unless it boots it itself the option ROM that does. Throws VringError. */
export function addLinux(
  fwCfg: FwCfg,
  images: Omit<BootImages, 'longMode'>,
  lowRamEnd: number,
  withRom: boolean,
): string {
  const image = images.kernel;
  if (!isLinux(image)) {
    throw new VringError(
      'boot-kernel-unsupported',
      'This firmware boots a Linux bzImage; other kernels are booted by a BIOS or without firmware.',
    );
  }
  const { setupBytes, protocol, initrdAddrMax, cmdlineSize, version } = parseHeader(image);
  const commandLine = new TextEncoder().encode(images.commandLine);
  if (commandLine.length > cmdlineSize) {
    throw new VringError(
      'boot-command-line-too-long',
      `The kernel command line has ${commandLine.length} bytes; this kernel takes at most ${cmdlineSize}.`,
    );
  }
  const setup = image.slice(0, setupBytes);
  const kernel = image.subarray(setupBytes);
  const initrd = images.initrd ?? new Uint8Array(0);
  const top = Math.min(lowRamEnd - FIRMWARE_BYTES, initrdAddrMax + 1);
  const initrdGpa = initrd.length === 0 ? 0 : Math.floor((top - initrd.length) / 4096) * 4096;
  if (KERNEL_GPA + kernel.length > top)
    throw new VringError('boot-no-ram', `The kernel does not fit into RAM: it has ${kernel.length} bytes.`);
  if (initrd.length > 0 && initrdGpa < KERNEL_GPA + kernel.length) {
    throw new VringError('boot-initrd-too-large', `The initrd does not fit into RAM: it has ${initrd.length} bytes.`);
  }
  const view = new DataView(setup.buffer);
  const mode = videoMode(images.commandLine);
  if (mode !== undefined) view.setUint16(header.vidMode, mode, true);
  setup[header.typeOfLoader] = LOADER_QEMU;
  setup[header.loadflags] |= CAN_USE_HEAP;
  view.setUint16(header.heapEndPtr, HEAP_END - 0x200, true);
  view.setUint32(header.cmdLinePtr, COMMAND_LINE_GPA, true);
  view.setUint32(header.ramdiskImage, initrdGpa, true);
  view.setUint32(header.ramdiskSize, initrd.length, true);
  addKernel(fwCfg, {
    ...{ setup, setupGpa: SETUP_GPA, kernel, kernelGpa: KERNEL_GPA },
    ...{ initrd, initrdGpa, commandLine: images.commandLine, commandLineGpa: COMMAND_LINE_GPA },
  });
  const parts: Part[] = [
    { key: fwCfgKey.setupData, gpa: SETUP_GPA, bytes: setup.length },
    { key: fwCfgKey.commandLineData, gpa: COMMAND_LINE_GPA, bytes: commandLine.length + 1 },
    { key: fwCfgKey.kernelData, gpa: KERNEL_GPA, bytes: kernel.length },
  ];
  if (initrd.length > 0) parts.push({ key: fwCfgKey.initrdData, gpa: initrdGpa, bytes: initrd.length });
  if (withRom) fwCfg.setFile(linuxRomFile, optionRom(bootCode(parts), 'Linux'));
  return `Linux ${version || '(version unknown)'} (bzImage, boot protocol ${protocol >> 8}.${protocol & 255}) under firmware`;
}
