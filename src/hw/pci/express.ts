/** The PCI Express capability (PCI Express 5.0, 7.5.3), version 2: what a function is, a link of one lane at 2.5 GT/s, a slot. */
import { capabilityId } from './config-registers.js';
import type { PciFunction } from './pci-function.js';

const length = 0x3c;
const version = 2;
const at = {
  capabilities: 2,
  device: 4,
  deviceControl: 8,
  deviceStatus: 10,
  link: 12,
  linkControl: 16,
  linkStatus: 18,
  slot: 20,
  slotControl: 24,
  slotStatus: 26,
  rootControl: 28,
  device2: 36,
  deviceControl2: 40,
} as const;
/** Role-based error reporting. */
const deviceCapabilities = 0x8000;
const oneLane = 0x11;
const linkActive = 0x2000;
const presence = 0x40;
/** Attention button, power controller, both indicators, hot-plug; commands complete at once, and without a notice. */
const slotCapabilities = 0x0004005b;
/** Events of a slot: the button, presence, the link. */
export const slotEvent = { button: 0x001, presence: 0x008, link: 0x100 } as const;
const slotEvents = 0x011f;
const interruptEnable = 0x20;
const linkEventEnable = 0x1000;
export const slotPowerOff = 0x400;
const controls = { device: 0x7fef, errors: 0x000f, link: 0x00c8, slot: 0x1fff, root: 0x001f, device2: 0x043f } as const;

export type ExpressRole =
  | { readonly kind: 'endpoint' }
  /** `slot`: its physical number; `occupied`: a device is in it. */
  | { readonly kind: 'rootPort'; readonly slot: number; readonly occupied: boolean };

/** Gives where it lies. */
export function addExpressCapability(fn: PciFunction, role: ExpressRole, place?: number): number {
  const base = fn.addCapability(capabilityId.express, length, place);
  const isPort = role.kind === 'rootPort';
  const [type, slotImplemented] = isPort ? [4, 0x100] : [0, 0];
  fn.define(base + at.capabilities, 2, version | (type << 4) | slotImplemented);
  fn.define(base + at.device, 4, deviceCapabilities);
  fn.define(base + at.deviceControl, 2, 0, controls.device);
  fn.define(base + at.deviceStatus, 2, 0, 0, controls.errors);
  // A port tells whether its link is up.
  fn.define(base + at.link, 4, oneLane | (isPort ? 1 << 20 : 0));
  fn.define(base + at.linkControl, 2, 0, controls.link);
  fn.define(base + at.linkStatus, 2, oneLane | (isPort && role.occupied ? linkActive : 0));
  fn.define(base + at.deviceControl2, 2, 0, controls.device2);
  if (!isPort) return base;
  fn.define(base + at.slot, 4, ((role.slot << 19) | slotCapabilities) >>> 0);
  fn.define(base + at.slotControl, 2, 0, controls.slot);
  fn.define(base + at.slotStatus, 2, role.occupied ? presence : 0, 0, slotEvents);
  fn.define(base + at.rootControl, 2, 0, controls.root);
  fn.keep(base + at.slotStatus, 2);
  fn.keep(base + at.linkStatus, 2);
  return base;
}

/** The slot of a port, by where its capability lies. */
export class ExpressSlot {
  readonly #fn: PciFunction;
  readonly #base: number;
  constructor(fn: PciFunction, base: number) {
    this.#fn = fn;
    this.#base = base;
  }

  #set16(offset: number, change: (before: number) => number): void {
    const { config } = this.#fn;
    const where = this.#base + offset;
    const value = change(config[where]! | (config[where + 1]! << 8));
    config[where] = value & 0xff;
    config[where + 1] = value >> 8;
  }

  /** There is a device, or none, and the link with it. */
  setPresence(present: boolean): void {
    this.#set16(at.slotStatus, (value) => (present ? value | presence : value & ~presence));
    this.#set16(at.linkStatus, (value) => (present ? value | linkActive : value & ~linkActive));
  }
  addEvents(events: number): void {
    this.#set16(at.slotStatus, (value) => value | events);
  }
  get control(): number {
    return this.#fn.read(this.#base + at.slotControl, 2);
  }
  isControl(offset: number, size: number): boolean {
    const where = this.#base + at.slotControl;
    return offset < where + 2 && offset + size > where;
  }
  /** An event that is enabled has not been cleared. */
  get interrupts(): boolean {
    const status = this.#fn.read(this.#base + at.slotStatus, 2);
    const { control } = this;
    // Each event has its bit in the control register at its own place, but for the link's.
    const enabled = (control & 0x0f) | ((control & linkEventEnable) !== 0 ? slotEvent.link : 0);
    return (control & interruptEnable) !== 0 && (status & enabled) !== 0;
  }
}
