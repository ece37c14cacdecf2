/** Devices in the ports of a controller or hub: what they share in reset, saved state and words to whoever they are plugged into. */
import { assert } from '../../base/index.js';
import type { StatePart } from '../pci/saved-parts.js';
import type { UsbSpeed } from './usb-codes.js';
import type { UsbDevice } from './usb-device.js';

/** A controller that devices are plugged into. */
export interface UsbPorts {
  /** That its ports have. */
  readonly speed: UsbSpeed;
  readonly table: UsbPortTable;
}

export interface UsbPortEvents {
  /** An endpoint of a device, here or behind a hub, has something. */
  ready(device: UsbDevice, endpoint: number): void;
  /** A device has come to a port, or gone from it. */
  changed(index: number): void;
  /** A device, here or behind a hub, is about to go. */
  leaving?(device: UsbDevice): void;
}

export class UsbPortTable {
  readonly #devices: (UsbDevice | undefined)[];
  readonly #events: UsbPortEvents;

  constructor(devices: readonly (UsbDevice | undefined)[], count: number, events: UsbPortEvents) {
    this.#devices = Array.from({ length: count }, (_, i) => devices[i]);
    this.#events = events;
    for (const device of this.#devices) if (device) this.#listen(device);
  }

  #listen(device: UsbDevice): void {
    device.onReady = (from, endpoint) => this.#events.ready(from, endpoint);
    device.onLeaving = (from) => this.#events.leaving?.(from);
  }

  /** Another device, in a port that has none. */
  plug(index: number, device: UsbDevice): void {
    assert(index in this.#devices && !this.#devices[index], 'the port is free');
    this.#listen(device);
    device.reset();
    this.#devices[index] = device;
    this.#events.changed(index);
  }

  /** What is in a port is pulled out; nothing of its back end is under way. */
  unplug(index: number): void {
    const device = this.#devices[index];
    if (!device) return;
    this.#events.leaving?.(device);
    device.reset();
    device.onReady = device.onLeaving = undefined;
    this.#devices[index] = undefined;
    this.#events.changed(index);
  }

  get count(): number {
    return this.#devices.length;
  }

  /** In a port, from 0 on. */
  device(index: number): UsbDevice | undefined {
    return this.#devices[index];
  }

  get devices(): readonly (UsbDevice | undefined)[] {
    return this.#devices;
  }

  get parts(): readonly StatePart[] {
    return this.#devices.flatMap((device) => device?.parts ?? []);
  }

  get pendingRequests(): number {
    return this.#devices.reduce((sum, device) => sum + (device?.pendingRequests ?? 0), 0);
  }

  reset(): void {
    for (const device of this.#devices) device?.reset();
  }

  restored(): void {
    for (const device of this.#devices) device?.restored();
  }
}
