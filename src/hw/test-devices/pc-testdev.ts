/**
 * The device that kvm-unit-tests and the like drive (QEMU's pc-testdev, by its observable behaviour): a 32-bit latch on
 * ports E0h-E3h, and again byte by byte on E8h-EBh; a port that makes the host drop its mapping of a page, which is
 * nothing to see (E4h-E7h); interrupt lines to be set by hand on 2000h-2017h; and 64 KiB of plain memory as MMIO.
 */
import type { Device, IrqLine, Mapping, MemorySpace, PortSpace } from '../../bus/index.js';
import { bytes, defineState, type StateArena, type StateOf, u32 } from '../../schema/index.js';

const MMIO_GPA = 0xff000000;
const MMIO_SIZE = 0x10000;

export const PcTestdevState = defineState('pc-testdev', 1, {
  latch: bytes(4),
  memory: bytes(MMIO_SIZE),
  /** Lines that were set high. */
  lines: u32(0, { max: 0xffffff }),
});

function load(from: Uint8Array, at: number, size: number): number {
  let value = 0;
  for (let i = 0; i < size; i++) value |= (from[at + i] ?? 0xff) << (8 * i);
  return value >>> 0;
}
function store(to: Uint8Array, at: number, size: number, value: number): void {
  for (let i = 0; i < size && at + i < to.length; i++) to[at + i] = value >>> (8 * i);
}

export class PcTestdev implements Device {
  readonly name: string = 'pc-testdev';
  readonly state: StateOf<typeof PcTestdevState>;
  readonly #gsi: readonly IrqLine[];
  /** `gsi`: the global system interrupts 0 to 23. */
  constructor(options: { gsi: readonly IrqLine[]; arena?: StateArena }) {
    this.state = PcTestdevState.allocate(options.arena);
    this.#gsi = options.gsi;
  }
  reset(): void {
    for (let n = 0; n < 24; n++) if ((this.state.lines & (1 << n)) !== 0) this.#gsi[n]?.set(false);
    PcTestdevState.reset(this.state);
  }
  save(): Uint8Array {
    return PcTestdevState.save(this.state);
  }
  load(saved: Uint8Array): void {
    PcTestdevState.load(this.state, saved);
    for (let n = 0; n < 24; n++) if ((this.state.lines & (1 << n)) !== 0) this.#gsi[n]?.set(true);
  }
  setLine(n: number, level: boolean): void {
    const bit = 1 << n;
    this.state.lines = level ? this.state.lines | bit : this.state.lines & ~bit;
    this.#gsi[n]?.set(level);
  }
}

export function wirePcTestdev(ports: PortSpace, space: MemorySpace, device: PcTestdev): Mapping[] {
  const { latch, memory } = device.state;
  const memoryWindow = (bytes: Uint8Array) => ({
    read: (offset: number, size: 1 | 2 | 4) => load(bytes, offset, size),
    write: (offset: number, size: 1 | 2 | 4, value: number) => store(bytes, offset, size, value),
  });
  return [
    ports.add({ name: 'pc-testdev-ioport', start: 0xe0, size: 4, handler: memoryWindow(latch) }),
    ports.add({ name: 'pc-testdev-ioport-byte', start: 0xe8, size: 4, maxAccess: 1, handler: memoryWindow(latch) }),
    ports.add({ name: 'pc-testdev-flush-page', start: 0xe4, size: 4, handler: { read: () => 0, write() {} } }),
    ports.add({
      name: 'pc-testdev-irq-line',
      start: 0x2000,
      size: 24,
      maxAccess: 1,
      handler: { read: () => 0, write: (offset, _size, value) => device.setLine(offset, value !== 0) },
    }),
    space.addWindow({ name: 'pc-testdev-iomem', start: MMIO_GPA, size: MMIO_SIZE, handler: memoryWindow(memory) }),
  ];
}
