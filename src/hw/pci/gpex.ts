/**
 * The generic PCI Express host (QEMU's gpex, the device tree's pci-host-ecam-generic): configuration space in memory, a window of
 * memory behind which I/O ports lie, and four interrupt lines. Functions behind it are conventional PCI's; memory BARs are seen where
 * the guest puts them.
 */
import type { Device, IrqLine, MemorySpace, MsiTarget, PortSpace } from '../../bus/index.js';
import { PciFunction } from './pci-function.js';
import { PciRoot } from './pci-root.js';
import { loadParts, saveParts } from './saved-parts.js';

const PORTS_BYTES = 0x10000;
/** Priority under RAM and every device. */
const BELOW_ALL = -1;

export interface GpexOptions {
  readonly memory: MemorySpace;
  readonly ports: PortSpace;
  readonly msi: MsiTarget;
  readonly ecamGpa: number;
  readonly lastBus: number;
  /** Undefined: ports are the processor's. */
  readonly portsGpa?: number | undefined;
  /** Memory behind the host: where no BAR lies it reads as ones. */
  readonly memoryRanges?: readonly { readonly gpa: number; readonly bytes: number }[];
  /** Interrupts of INTA to INTD of slot 0; those of other slots are rotated. */
  readonly lines: readonly [IrqLine, IrqLine, IrqLine, IrqLine];
}

export class Gpex implements Device {
  readonly name = 'gpex';
  readonly root: PciRoot;
  readonly #function: PciFunction;

  constructor({ memory, ports, msi, ecamGpa, lastBus, portsGpa, memoryRanges = [], lines }: GpexOptions) {
    this.root = new PciRoot({ spaces: { memory, ports, msi }, route: (slot, pin) => (slot + pin) & 3 });
    this.root.onLine = (line) => lines[line].set(this.root.lineLevel(line));
    this.root.mapEcam(memory, ecamGpa, lastBus);
    if (portsGpa !== undefined)
      memory.addWindow({
        name: 'pci-ports',
        start: portsGpa,
        size: PORTS_BYTES,
        handler: {
          read: (offset, size) => ports.read(offset, size),
          write: (offset, size, value) => ports.write(offset, size, value),
        },
      });
    const nothing = { read: (_: number, size: number) => 2 ** (8 * size) - 1, write: () => {} };
    for (const { gpa, bytes } of memoryRanges)
      memory.addWindow({ name: 'pci-memory', start: gpa, size: bytes, handler: nothing }, BELOW_ALL);
    this.#function = new PciFunction({ name: 'gpex-root', vendorId: 0x1b36, deviceId: 0x0008, classCode: 0x060000 });
    this.root.bus.add(this.#function, 0);
  }

  reset(): void {
    this.root.reset();
    this.#function.reset();
  }
  save(): Uint8Array {
    return saveParts([this.root.part, this.#function.part]);
  }
  load(saved: Uint8Array): void {
    loadParts([this.root.part, this.#function.part], saved, this.name);
    this.#function.restore();
  }
}
