/**
 * The VGA on a PC's buses: the legacy ports and window, and QEMU's PCI function 1234:1111 with video memory as BAR 0, the
 * registers as BAR 2 (QEMU's docs/specs/standard-vga.txt) and the option ROM.
 */
import type { Device, IoHandler, Mapping, MemorySpace, PortSpace } from '../../bus/index.js';
import type { StateArena } from '../../schema/index.js';
import { command, reg } from '../pci/config-registers.js';
import { type BarSpec, checkIdentity, PciFunction } from '../pci/pci-function.js';
import { loadParts, saveParts, statePart } from '../pci/saved-parts.js';
import { edid } from './edid.js';
import type { Vga } from './vga.js';
import { VgaState } from './vga-state.js';

const WINDOW_GPA = 0xa0000;
const WINDOW_BYTES = 0x20000;
const LINEAR_BYTES = 0x10000;
const DISPI_INDEX_PORT = 0x1ce;
/** The window's piece of video memory lies over the window itself. */
const WINDOW_PRIORITY = 1;
const LINEAR_PRIORITY = 2;

const MMIO_BYTES = 0x1000;
const MMIO_PORTS = 0x400;
const MMIO_DISPI = 0x500;
const MMIO_EXTENSION = 0x600;
/** What the register for the byte order of the picture reads as: little-endian. */
const LITTLE_ENDIAN = 0x1e1e1e1e;
const EXTENSION_BYTES = 8;
const PREFERRED = { name: 'vring', width: 1280, height: 800 } as const;

/** Ports 3B0h to 3DFh and those of the display interface. */
function wirePorts(ports: PortSpace, vga: Vga): void {
  const at = (start: number): IoHandler => ({
    read: (offset) => vga.readPort(start + offset),
    write: (offset, _size, value) => vga.writePort(start + offset, value),
  });
  for (const [start, size] of [
    [0x3b4, 2],
    [0x3ba, 1],
    [0x3c0, 16],
    [0x3d4, 2],
    [0x3da, 1],
  ] as const) {
    ports.add({ name: 'vga', start, size, maxAccess: 1, handler: at(start) });
  }
  // 16-bit registers on three ports in a row: the index, and its data at both ports after it.
  ports.add({
    name: 'vga-dispi',
    start: DISPI_INDEX_PORT,
    size: 4,
    maxAccess: 2,
    handler: {
      read: (offset, size) =>
        size === 1 ? 0xff : offset === 0 ? vga.state.dispiIndex : vga.readDispi(vga.state.dispiIndex),
      write: (offset, size, value) => {
        if (size === 1) return;
        if (offset === 0) vga.state.dispiIndex = value;
        else vga.writeDispi(vga.state.dispiIndex, value);
      },
    },
  });
}

/** BAR 2: EDID, the VGA's ports from 3C0h on, the display interface's registers side by side. */
export function registerWindow(vga: Vga): IoHandler {
  const monitor = edid(PREFERRED);
  const read16 = (offset: number) => vga.readDispi((offset - MMIO_DISPI) >> 1);
  const isDispi = (offset: number) => offset >= MMIO_DISPI && offset < MMIO_DISPI + 22;
  const isPort = (offset: number) => offset >= MMIO_PORTS && offset < MMIO_PORTS + 0x20;
  return {
    read(offset, size) {
      if (size === 4 && offset === MMIO_EXTENSION) return EXTENSION_BYTES;
      if (size === 4 && offset === MMIO_EXTENSION + 4) return LITTLE_ENDIAN;
      if (size === 2 && isDispi(offset) && offset % 2 === 0) return read16(offset);
      let value = 0;
      for (let i = 0; i < size; i++) {
        const at = offset + i;
        const byte = isPort(at)
          ? vga.readPort(0x3c0 + at - MMIO_PORTS)
          : isDispi(at)
            ? (read16(at & ~1) >> (8 * (at & 1))) & 0xff
            : (monitor[at] ?? 0);
        value |= byte << (8 * i);
      }
      return value >>> 0;
    },
    write(offset, size, value) {
      if (isPort(offset)) {
        for (let i = 0; i < size && isPort(offset + i); i++)
          vga.writePort(0x3c0 + offset + i - MMIO_PORTS, (value >>> (8 * i)) & 0xff);
      } else if (isDispi(offset) && offset % 2 === 0 && size >= 2) {
        vga.writeDispi((offset - MMIO_DISPI) >> 1, value & 0xffff);
        if (size === 4 && isDispi(offset + 2)) vga.writeDispi((offset + 2 - MMIO_DISPI) >> 1, value >>> 16);
      }
    },
  };
}

export interface VgaWiringOptions {
  readonly vga: Vga;
  readonly memory: MemorySpace;
  readonly ports: PortSpace;
  /** Where video memory and the option ROM (a power of two, from 2 KiB on) lie in the machine's memory. */
  readonly vramHva: number;
  readonly rom?: { readonly hva: number; readonly size: number } | undefined;
}

/** What of a VGA lies at fixed places: ports and window. Its chip is made first, with `windowChanged` leading to `followWindow`. */
export class VgaWiring {
  readonly #options: VgaWiringOptions;
  #linear: { readonly mapping: Mapping; readonly offset: number } | undefined;

  constructor(options: VgaWiringOptions) {
    const { vga, memory, ports } = options;
    this.#options = options;
    wirePorts(ports, vga);
    memory.addWindow(
      {
        name: 'vga-window',
        start: WINDOW_GPA,
        size: WINDOW_BYTES,
        maxAccess: 1,
        handler: {
          read: (offset) => vga.readMemory(offset),
          write: (offset, _size, value) => vga.writeMemory(offset, value),
        },
      },
      WINDOW_PRIORITY,
    );
  }

  /** Of its PCI function: video memory, and the option ROM. */
  get bars(): readonly BarSpec[] {
    const { vga, vramHva, rom } = this.#options;
    return [
      { index: 0, kind: 'memory32', prefetchable: true, size: vga.vram.length, ram: { hva: vramHva, readonly: false } },
      ...(rom ? [{ index: 6, kind: 'memory32', size: rom.size, ram: { hva: rom.hva, readonly: true } } as const] : []),
    ];
  }

  /** It has ports, though no BAR places them: firmware turns them on. */
  defineCommand(fn: PciFunction): void {
    fn.define(reg.command, 2, 0, command.io | command.memory | command.busMaster | command.parity | command.serr);
  }

  /** Maps or unmaps the piece of video memory at A0000h, as the registers say. */
  followWindow(): void {
    const { vga, memory, vramHva } = this.#options;
    const offset = vga.linearWindow;
    if (offset === this.#linear?.offset) return;
    memory.transaction(() => {
      this.#linear?.mapping.remove();
      this.#linear = undefined;
      if (offset === undefined) return;
      const block = { name: 'vga-linear', gpa: WINDOW_GPA, size: LINEAR_BYTES, hva: vramHva + offset, readonly: false };
      this.#linear = { mapping: memory.addRam(block, LINEAR_PRIORITY), offset };
    });
  }
}

/** The VGA as a PCI device. Its chip is made first, with `windowChanged` leading to `followWindow`. */
export class PciVga implements Device {
  readonly name = 'VGA';
  readonly function: PciFunction;
  readonly #vga: Vga;
  readonly #wiring: VgaWiring;

  constructor(options: VgaWiringOptions & { readonly arena?: StateArena | undefined }) {
    this.#vga = options.vga;
    this.#wiring = new VgaWiring(options);
    this.function = new PciFunction({
      name: 'VGA',
      vendorId: 0x1234,
      deviceId: 0x1111,
      revision: 2,
      classCode: 0x030000,
      arena: options.arena,
      bars: [
        ...this.#wiring.bars,
        { index: 2, kind: 'memory32', size: MMIO_BYTES, handler: registerWindow(options.vga) },
      ],
    });
    this.#wiring.defineCommand(this.function);
  }

  followWindow(): void {
    this.#wiring.followWindow();
  }

  reset(): void {
    this.#vga.reset();
    this.function.reset();
  }
  get #parts() {
    return [this.function.part, statePart(VgaState, this.#vga.state)];
  }
  save(): Uint8Array {
    return saveParts(this.#parts);
  }
  load(saved: Uint8Array): void {
    loadParts(this.#parts, saved, this.name, () => checkIdentity(this.function));
    this.function.restore();
    this.#vga.load(this.#vga.save());
  }
}
