/** Plugs the VGA in, in the machine's thread, and says where its memory lies. */
import { VringError } from '../base/index.js';
import { readImage } from '../host/node/image-file.js';
import { PciVga, Vga } from '../hw/index.js';
import type { DeviceBoard } from '../machine/board.js';
import type { StateArena } from '../schema/index.js';
import { type ScreenMemory, VGA_ROM_BYTES } from './screen-protocol.js';
import type { DeviceConfig } from './worker-protocol.js';

export interface PluggedVga {
  readonly device: PciVga;
  readonly memory: Omit<ScreenMemory, 'memory'>;
}

/** Throws VringError `image-open`, `image-too-large`, `vga-rom`. */
export function makeVga(
  board: DeviceBoard,
  { memoryBytes, rom }: DeviceConfig & { type: 'vga' },
  arena: StateArena,
): PluggedVga {
  const { buffer } = board;
  const vramHva = board.takeMemory(memoryBytes);
  const romHva = board.takeMemory(VGA_ROM_BYTES);
  if (rom !== undefined) {
    const image = readImage('The VGA BIOS', rom, VGA_ROM_BYTES);
    if (image[0] !== 0x55 || image[1] !== 0xaa) throw new VringError('vga-rom', `'${rom}' is no option ROM.`);
    new Uint8Array(buffer).set(image, romHva);
  }
  let device: PciVga | undefined;
  const vga = new Vga({
    clock: board.clock,
    vram: new Uint8Array(buffer, vramHva, memoryBytes),
    arena,
    written: (offset, count) => board.published(vramHva + offset, count),
    windowChanged: () => device?.followWindow(),
  });
  device = new PciVga({
    vga,
    memory: board.memory,
    ports: board.ports,
    vramHva,
    ...(rom === undefined ? {} : { rom: { hva: romHva, size: VGA_ROM_BYTES } }),
  });
  return { device, memory: { vramHva, vramBytes: memoryBytes } };
}
