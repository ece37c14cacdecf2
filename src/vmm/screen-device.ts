/** Plugs what shows something in, in the machine's thread, and says where its memory lies. */
import { VringError } from '../base/index.js';
import { readImage } from '../host/node/image-file.js';
import { PciVga, Vga, type VgaWiringOptions, type VirtioPciOptions, VirtioVga } from '../hw/index.js';
import type { DeviceBoard } from '../machine/board.js';
import type { StateArena } from '../schema/index.js';
import { type ScreenMemory, VGA_ROM_BYTES } from './screen-protocol.js';
import type { VgaConfig } from './worker-protocol.js';

interface VgaChip {
  readonly wiring: VgaWiringOptions;
  readonly memory: NonNullable<ScreenMemory['vga']>;
  /** Set once there is a function: what moves the window. */
  device: { followWindow(): void } | undefined;
}

/** Throws VringError `image-open`, `image-too-large`, `vga-rom`. */
function makeChip(board: DeviceBoard, { memoryBytes, rom }: VgaConfig, arena: StateArena): VgaChip {
  const { buffer } = board;
  const vramHva = board.takeMemory(memoryBytes);
  const romHva = board.takeMemory(VGA_ROM_BYTES);
  if (rom !== undefined) {
    const image = readImage('The VGA BIOS', rom, VGA_ROM_BYTES);
    if (image[0] !== 0x55 || image[1] !== 0xaa) throw new VringError('vga-rom', `'${rom}' is no option ROM.`);
    new Uint8Array(buffer).set(image, romHva);
  }
  const vga = new Vga({
    clock: board.clock,
    vram: new Uint8Array(buffer, vramHva, memoryBytes),
    arena,
    written: (offset, count) => board.published(vramHva + offset, count),
    windowChanged: () => chip.device?.followWindow(),
  });
  const chip: VgaChip = {
    wiring: {
      vga,
      memory: board.memory,
      ports: board.ports,
      vramHva,
      ...(rom === undefined ? {} : { rom: { hva: romHva, size: VGA_ROM_BYTES } }),
    },
    memory: { vramHva, vramBytes: memoryBytes },
    device: undefined,
  };
  return chip;
}

export function makeVga(board: DeviceBoard, config: VgaConfig, arena: StateArena) {
  const chip = makeChip(board, config, arena);
  const device = new PciVga(chip.wiring);
  chip.device = device;
  return { device, memory: chip.memory };
}

/** The same with a GPU in its function. */
export function makeVirtioVga(
  board: DeviceBoard,
  config: VgaConfig,
  arena: StateArena,
  virtio: Pick<VirtioPciOptions, 'device' | 'vectors'>,
) {
  const chip = makeChip(board, config, arena);
  const device = new VirtioVga(chip.wiring, virtio);
  chip.device = device;
  return { device, memory: chip.memory };
}
