/**
 * QEMU's generic PCI Express root port (1b36:000c) with one device behind it: a type 1 header, whose bus number and windows are the guest's
 * to set (PCI-to-PCI Bridge 1.2, 3.2).
 *
 * Deviations: the device decodes its BARs wherever they lie, whether or not the port's windows pass them on; there is no advanced error
 * reporting. A device that is to go leaves when the system has switched off the slot's power.
 */
import type { Device } from '../../bus/index.js';
import type { StateArena } from '../../schema/index.js';
import { bool, defineState, type StateOf } from '../../schema/index.js';
import { addExpressCapability, ExpressSlot, slotEvent, slotPowerOff } from './express.js';
import { Msix } from './msix.js';
import { checkIdentity, PciFunction } from './pci-function.js';
import type { PciBus, PciRoot } from './pci-root.js';
import { loadParts, saveParts, statePart } from './saved-parts.js';

const expressAt = 0x54;
const msixAt = 0x48;

export const PcieSlotState = defineState('pcie-slot', 1, {
  /** The device is to go. */
  leaving: bool(),
  /** The interrupt has been told. */
  asserted: bool(),
});

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
  /** The device behind it was let go. */
  onEject: (() => void) | undefined;
  readonly state: StateOf<typeof PcieSlotState>;
  readonly #slot: ExpressSlot;
  #occupied: boolean;
  readonly #msix: Msix;

  constructor({ name, root, slot, functionNumber, physicalSlot, occupied, arena }: PcieRootPortOptions) {
    this.name = name;
    this.#occupied = occupied;
    this.state = PcieSlotState.allocate(arena);
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
      configWritten: (offset, size) => {
        this.#msix.configChanged();
        this.#written(offset, size);
      },
    });
    this.#msix.attach(this.function, msixAt);
    const express = addExpressCapability(this.function, { kind: 'rootPort', slot: physicalSlot, occupied }, expressAt);
    this.#slot = new ExpressSlot(this.function, express);
    root.bus.add(this.function, slot, functionNumber);
    this.bus = root.addBridge(this.function, (_slot, pin) => root.bus.route(slot, pin));
  }

  reset(): void {
    const { leaving } = this.state;
    PcieSlotState.reset(this.state);
    this.function.reset();
    this.#msix.reset();
    this.#slot.setPresence(this.#occupied);
    if (leaving) this.#eject();
  }

  /** A device has come; the guest is told, by the button too: Linux is deaf to the others for a second after it has let one go. */
  plugged(): void {
    this.#occupied = true;
    this.#slot.setPresence(true);
    this.#slot.addEvents(slotEvent.button | slotEvent.presence | slotEvent.link);
    this.#interrupt();
  }

  /** The attention button: the system is asked to let the device go. */
  requestUnplug(): void {
    this.state.leaving = true;
    this.#slot.addEvents(slotEvent.button);
    this.#interrupt();
  }

  #written(offset: number, size: number): void {
    const off = (this.#slot.control & slotPowerOff) !== 0;
    if (this.#slot.isControl(offset, size) && off && this.state.leaving) this.#eject();
    this.#interrupt();
  }

  #eject(): void {
    this.state.leaving = false;
    this.#occupied = false;
    this.#slot.setPresence(false);
    this.#slot.addEvents(slotEvent.presence | slotEvent.link);
    this.onEject?.();
    this.#interrupt();
  }

  /** A message for an event that comes up, or the pin for as long as there are some. */
  #interrupt(): void {
    const { interrupts } = this.#slot;
    if (this.#msix.enabled) {
      this.function.setIntx(false);
      if (interrupts && !this.state.asserted) this.#msix.notify(0);
    } else this.function.setIntx(interrupts);
    this.state.asserted = interrupts;
  }
  get #parts() {
    return [this.function.part, this.#msix.part, statePart(PcieSlotState, this.state)];
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
