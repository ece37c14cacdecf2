/** Option ROMs of network cards, in the machine's memory. */
import { VringError } from '../base/index.js';
import { readImage } from '../host/node/image-file.js';
import type { OptionRom, PciFunction } from '../hw/index.js';
import type { DeviceBoard } from '../machine/board.js';
import { NIC_ROM_BYTES } from './network-protocol.js';

const LEAST_BYTES = 2048;

/** Reads the ROM of a card that has one. Throws VringError `image-open`, `image-too-large`, `option-rom`. */
export function readOptionRom(board: DeviceBoard, path: string | undefined): OptionRom | undefined {
  if (path === undefined) return undefined;
  const image = readImage('The option ROM', path, NIC_ROM_BYTES);
  if (image[0] !== 0x55 || image[1] !== 0xaa) throw new VringError('option-rom', `'${path}' is no option ROM.`);
  const hva = board.takeMemory(NIC_ROM_BYTES);
  new Uint8Array(board.buffer).set(image, hva);
  let size = LEAST_BYTES;
  while (size < image.length) size *= 2;
  return { hva, size };
}

/** Offset of the PCI data structure's own offset (PCI Firmware Specification 3.0, 5.1.2), and of the identifiers in it. */
const POINTER = 0x18;
const IDENTIFIERS = 4;
/** A byte of the header that nobody reads: it makes up for what is changed, so that the bytes still sum up to zero. */
const MAKE_UP = 6;

/** One ROM is for several cards: firmware runs it only where it names the function's own identifiers, as QEMU's ROMs then do. */
export function claimOptionRom(board: DeviceBoard, rom: OptionRom | undefined, fn: PciFunction): void {
  if (rom === undefined) return;
  const image = new Uint8Array(board.buffer, rom.hva, rom.size);
  const at = image[POINTER] | (image[POINTER + 1] << 8);
  if (at + IDENTIFIERS + 4 > image.length || !sameText(image, at, 'PCIR')) return;
  for (let i = 0; i < 4; i++) {
    const place = at + IDENTIFIERS + i;
    image[MAKE_UP] += image[place] - fn.config[i];
    image[place] = fn.config[i];
  }
}

function sameText(bytes: Uint8Array, at: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text.charCodeAt(i)) return false;
  return true;
}
