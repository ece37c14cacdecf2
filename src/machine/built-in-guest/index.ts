/**
 * The built-in guest: a small kernel that shows how a PC works, assembled here from vring's own instruction rows. It is firmware,
 * as it begins at the reset vector; it needs nothing else.
 */
import { assemble } from '../../guest/index.js';
import { KERNEL_OFFSET, longModeSource, RESET_OFFSET, ROM_BYTES, ROM_START, resetSource, romSource } from './boot.js';
import { interruptSource } from './interrupts.js';
import { gpa, gva, selector } from './memory-map.js';
import { pciSource } from './pci.js';
import { serialSource } from './serial.js';
import { shellSource } from './shell.js';
import { userSource } from './user-programs.js';
import { virtioSource } from './virtio.js';

const names = { ...gpa, ...gva, ...selector };

/** The image: 64 KiB for the end of the first 4 GiB. */
export function builtInGuest(): Uint8Array {
  const kernel = assemble(
    [longModeSource, interruptSource, serialSource, pciSource, virtioSource, shellSource, userSource].join('\n'),
    { origin: BigInt(gpa.KERNEL), codeSize: 32, symbols: names },
  );
  const at = (offset: number, symbols: Readonly<Record<string, bigint | number>>) => ({
    origin: BigInt(ROM_START + offset),
    codeSize: 16 as const,
    symbols,
  });
  const start = assemble(romSource, at(0, { ...names, KERNEL_WORDS: Math.ceil(kernel.bytes.length / 4) }));
  const reset = assemble(resetSource, at(RESET_OFFSET, Object.fromEntries(start.symbols)));
  const image = new Uint8Array(ROM_BYTES);
  image.set(start.bytes);
  image.set(reset.bytes, RESET_OFFSET);
  image.set(kernel.bytes, KERNEL_OFFSET);
  return image;
}
