/**
 * Hot-plug of the slots of bus 0 by ACPI, as QEMU's `pc` has it: ports that tell which slots have got a device and which are to give
 * theirs up, and by which the operating system lets one go (QEMU, docs/specs/acpi_pci_hotplug). A general-purpose event
 * says that there is something to look at; the methods that look are in the DSDT (src/hw/acpi/pci-hotplug.ts).
 */
import {
  type Device,
  defineRegisters,
  type Mapping,
  type PortSpace,
  RegisterBank,
  registerFields,
} from '../../bus/index.js';
import { defineState, type StateArena, type StateOf, u32 } from '../../schema/index.js';

export const PCI_HOTPLUG_PORT = 0xae00;
export const PCI_HOTPLUG_BYTES = 0x18;
export const PCI_HOTPLUG_EVENT = 1;

const registers = defineRegisters<AcpiPciHotplug>()({
  UP: {
    offset: 0x00,
    width: 4,
    access: 'ro',
    meaning: 'slots that have got a device since the last look',
    read: (chip) => chip.takeUp(),
  },
  DOWN: {
    offset: 0x04,
    width: 4,
    access: 'ro',
    meaning: 'slots that are to give theirs up',
    read: (chip) => chip.down,
  },
  EJECT: {
    offset: 0x08,
    width: 4,
    access: 'rw',
    meaning: 'writing lets the devices of slots go',
    read: () => 0,
    write: (chip, value) => chip.eject(value),
  },
  REMOVABLE: {
    offset: 0x0c,
    width: 4,
    access: 'ro',
    meaning: 'slots whose devices come and go',
    read: (chip) => chip.removable,
  },
  BUS: { offset: 0x10, width: 4, access: 'rw', meaning: 'the bus that the others are of: 0 is the only one' },
});

export const AcpiPciHotplugState = defineState('acpi-pci-hotplug', 1, {
  ...registerFields(registers),
  up: u32(),
  down: u32(),
});

export interface PciHotplugEvents {
  /** There is something to look at. */
  changed(): void;
  /** The operating system has let the device in a slot go. */
  ejected(slot: number): void;
}

export class AcpiPciHotplug implements Device {
  readonly name = 'acpi-pci-hotplug';
  readonly state: StateOf<typeof AcpiPciHotplugState>;
  readonly #bank: RegisterBank<AcpiPciHotplug>;
  readonly #events: PciHotplugEvents;
  readonly #firstSlot: number;

  /** `firstSlot`: those below are the board's own. */
  constructor(options: { events: PciHotplugEvents; firstSlot: number; arena?: StateArena | undefined }) {
    this.#events = options.events;
    this.#firstSlot = options.firstSlot;
    this.state = AcpiPciHotplugState.allocate(options.arena);
    this.#bank = new RegisterBank<AcpiPciHotplug>(PCI_HOTPLUG_BYTES, registers, this, this.state);
  }

  mapPorts(ports: PortSpace): Mapping {
    const { name } = this;
    return ports.add({ name, start: PCI_HOTPLUG_PORT, size: PCI_HOTPLUG_BYTES, handler: this.#bank });
  }

  /** What was to be given up is, without being asked. */
  reset(): void {
    const { down } = this.state;
    AcpiPciHotplugState.reset(this.state);
    this.#letGo(down);
  }
  save(): Uint8Array {
    return AcpiPciHotplugState.save(this.state);
  }
  load(saved: Uint8Array): void {
    AcpiPciHotplugState.load(this.state, saved);
  }

  /** A device has come. */
  plugged(slot: number): void {
    this.state.up = (this.state.up | (1 << slot)) >>> 0;
    this.#events.changed();
  }
  /** The operating system is asked to let a device go. */
  requestUnplug(slot: number): void {
    this.state.down = (this.state.down | (1 << slot)) >>> 0;
    this.#events.changed();
  }

  get removable(): number {
    return (0xffffffff << this.#firstSlot) >>> 0;
  }
  get down(): number {
    return this.state.BUS === 0 ? this.state.down : 0;
  }
  takeUp(): number {
    const { up, BUS } = this.state;
    if (BUS !== 0) return 0;
    this.state.up = 0;
    return up;
  }
  eject(slots: number): void {
    if (this.state.BUS === 0) this.#letGo((slots & this.removable) >>> 0);
  }
  #letGo(slots: number): void {
    this.state.down = (this.state.down & ~slots) >>> 0;
    this.state.up = (this.state.up & ~slots) >>> 0;
    for (let slot = 0; slot < 32; slot++) if ((slots & (1 << slot)) !== 0) this.#events.ejected(slot);
  }
}
