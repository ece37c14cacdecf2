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
const controls = { device: 0x7fef, errors: 0x000f, link: 0x00c8, slot: 0x1fff, root: 0x001f, device2: 0x043f } as const;

export type ExpressRole =
  | { readonly kind: 'endpoint' }
  /** `slot`: its physical number; `occupied`: a device is in it. */
  | { readonly kind: 'rootPort'; readonly slot: number; readonly occupied: boolean };

export function addExpressCapability(fn: PciFunction, role: ExpressRole, place?: number): void {
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
  if (!isPort) return;
  fn.define(base + at.slot, 4, (role.slot << 19) >>> 0);
  fn.define(base + at.slotControl, 2, 0, controls.slot);
  fn.define(base + at.slotStatus, 2, role.occupied ? presence : 0);
  fn.define(base + at.rootControl, 2, 0, controls.root);
}
