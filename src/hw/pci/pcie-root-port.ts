/**
 * QEMU's generic PCI Express root port (1b36:000c) with one device behind it: a type 1 header, whose bus number and windows are the guest's
 * to set (PCI-to-PCI Bridge 1.2, 3.2).
 *
 * Deviations: the device decodes its BARs wherever they lie, whether or not the port's windows pass them on; there is no hot-plug and no
 * advanced error reporting.
 */
import type { Device } from '../../bus/index.js';
import type { StateArena } from '../../schema/index.js';
import { addExpressCapability } from './express.js';
import { Msix } from './msix.js';
import { checkIdentity, PciFunction } from './pci-function.js';
import type { PciBus, PciRoot } from './pci-root.js';
import { loadParts, saveParts } from './saved-parts.js';

const expressAt = 0x54;
const msixAt = 0x48;

export interface PcieRootPortOptions {
  readonly name: string;
  readonly root: PciRoot;
  readonly slot: number;
  readonly functionNumber: number;
  /** Number of the physical slot. */
  readonly physicalSlot: number;
  /** There is a device behind it. */
  readonly occupied: boolean;
  readonly arena?: StateArena | undefined;
}

export class PcieRootPort implements Device {
  readonly name: string;
  readonly function: PciFunction;
  /** The bus behind it: its slot 0 is the device's. */
  readonly bus: PciBus;
  readonly #msix: Msix;

  constructor({ name, root, slot, functionNumber, physicalSlot, occupied, arena }: PcieRootPortOptions) {
    this.name = name;
    this.#msix = new Msix({ barIndex: 0, vectors: 1, arena });
    this.function = new PciFunction({
      name,
      vendorId: 0x1b36,
      deviceId: 0x000c,
      classCode: 0x060400,
      interruptPin: 1,
      bridge: true,
      bars: [this.#msix.bar],
      arena,
      configWritten: () => this.#msix.configChanged(),
    });
    this.#msix.attach(this.function, msixAt);
    addExpressCapability(this.function, { kind: 'rootPort', slot: physicalSlot, occupied }, expressAt);
    root.bus.add(this.function, slot, functionNumber);
    this.bus = root.addBridge(this.function, (_slot, pin) => root.bus.route(slot, pin));
  }

  reset(): void {
    this.function.reset();
    this.#msix.reset();
  }
  get #parts() {
    return [this.function.part, this.#msix.part];
  }
  save(): Uint8Array {
    return saveParts(this.#parts);
  }
  load(saved: Uint8Array): void {
    loadParts(this.#parts, saved, this.name, () => checkIdentity(this.function));
    this.function.restore();
    this.#msix.configChanged();
  }
}
