/** A hub with eight ports (USB 2.0, chapter 11), of full speed: whatever is plugged in is of full speed too. */
import { defineState, list, type StateArena, type StateOf, u16 } from '../../schema/index.js';
import { type StatePart, statePart } from '../pci/saved-parts.js';
import { answer, descriptor, kind, request, type Setup, transferType, usbProducts } from './usb-codes.js';
import { configAttribute, UsbDevice } from './usb-device.js';
import { UsbPortTable } from './usb-ports.js';

export const hubPorts = 8;

/** Features of a port, and the bits of its status and changes that they stand for (11.24.2). */
const portFeature = {
  enable: 1,
  suspend: 2,
  reset: 4,
  power: 8,
  connectChange: 16,
  enableChange: 17,
  resetChange: 20,
} as const;
const portStatus = { connected: 1, enabled: 2, suspended: 4, power: 0x100 } as const;
const portChange = { connected: 1, enabled: 2, suspended: 4, reset: 0x10 } as const;

const HubState = defineState('usb-hub', 1, { ports: list(hubPorts, { status: u16(portStatus.power), change: u16() }) });

export interface UsbHubOptions {
  /** By port from 0 on; of full speed. */
  readonly devices: readonly (UsbDevice | undefined)[];
  readonly id?: string | undefined;
  readonly serial?: string | undefined;
  readonly arena?: StateArena | undefined;
}

export class UsbHub extends UsbDevice {
  readonly table: UsbPortTable;
  readonly #state: StateOf<typeof HubState>;

  constructor({ devices, id, serial, arena }: UsbHubOptions) {
    super(
      'full',
      {
        vendorId: 0x0409,
        productId: 0x55aa,
        product: usbProducts.hub,
        serial,
        deviceClass: [9, 0, 0],
        interfaceClass: [9, 0, 0],
        endpoints: [{ address: 0x81, type: transferType.interrupt, maxPacket: 2, interval: 0xff }],
        attributes: configAttribute.selfPowered | configAttribute.remoteWakeup,
        maxPower: 0,
      },
      id,
      arena,
    );
    this.#state = HubState.allocate(arena);
    this.table = new UsbPortTable(devices, hubPorts, {
      ready: (device, endpoint) => this.onReady?.(device, endpoint),
      changed: (index) => this.#changed(index),
      leaving: (device) => this.onLeaving?.(device),
    });
  }

  protected get ownParts(): readonly StatePart[] {
    return [statePart(HubState, this.#state), ...this.table.parts];
  }

  override get children(): readonly (UsbDevice | undefined)[] {
    return this.table.devices;
  }

  override get pendingRequests(): number {
    return this.table.pendingRequests;
  }

  override restored(): void {
    this.table.restored();
  }

  override find(address: number): UsbDevice | undefined {
    const own = super.find(address);
    if (own) return own;
    for (const [i, device] of this.table.devices.entries()) {
      const { status } = this.#state.ports[i]!;
      if ((status & portStatus.enabled) === 0 || (status & portStatus.suspended) !== 0) continue;
      const found = device?.find(address);
      if (found) return found;
    }
    return undefined;
  }

  protected resetOwn(): void {
    HubState.reset(this.#state);
    this.table.reset();
    for (let i = 0; i < hubPorts; i++) this.#changed(i);
  }

  #changed(index: number): void {
    const port = this.#state.ports[index]!;
    const isThere = this.table.device(index) !== undefined;
    if (isThere === ((port.status & portStatus.connected) !== 0)) return;
    port.status = isThere
      ? port.status | portStatus.connected
      : port.status & ~(portStatus.connected | portStatus.enabled);
    port.change |= portChange.connected;
    this.tellReady(0x81);
  }

  /** A bit for each port that has changed, from bit 1 on. */
  protected endpointPacket(_endpoint: number, isIn: boolean, data: Uint8Array): number {
    if (!isIn) return answer.stall;
    let bits = 0;
    for (const [i, { change }] of this.#state.ports.entries()) if (change !== 0) bits |= 2 << i;
    if (bits === 0) return answer.nak;
    const report = [bits & 0xff, bits >> 8].slice(0, data.length);
    data.set(report);
    return report.length;
  }

  protected classRequest(setup: Setup): Uint8Array | undefined {
    const { index } = setup;
    const none = new Uint8Array(0);
    if (setup.kind === kind.classDevice) {
      switch (setup.request) {
        case request.getDescriptor:
          return setup.value >> 8 === descriptor.hub
            ? // Power is switched for all ports at once, and nothing tells of too much of it.
              Uint8Array.of(11, descriptor.hub, hubPorts, 0x0a, 0, 1, 0, 0, 0, 0xff, 0xff)
            : undefined;
        case request.getStatus:
          return Uint8Array.of(0, 0, 0, 0);
        case request.clearFeature:
        case request.setFeature:
          return setup.value <= 1 ? none : undefined;
      }
      return undefined;
    }
    const port = this.#state.ports[index - 1];
    if (setup.kind !== kind.classOther || !port) return undefined;
    switch (setup.request) {
      case request.getStatus:
        return Uint8Array.of(port.status & 0xff, port.status >> 8, port.change & 0xff, port.change >> 8);
      case request.setFeature:
        return this.#set(setup.value, index - 1) ? none : undefined;
      case request.clearFeature:
        return this.#clear(setup.value, index - 1) ? none : undefined;
      default:
        return undefined;
    }
  }

  #set(what: number, index: number): boolean {
    const port = this.#state.ports[index]!;
    const device = this.table.device(index);
    switch (what) {
      case portFeature.suspend:
        port.status |= portStatus.suspended;
        return true;
      case portFeature.reset:
        if (!device) return true;
        device.reset();
        port.status = (port.status | portStatus.enabled) & ~portStatus.suspended;
        port.change |= portChange.reset;
        this.tellReady(0x81);
        return true;
      case portFeature.power:
        return true;
      default:
        return false;
    }
  }

  #clear(what: number, index: number): boolean {
    const port = this.#state.ports[index]!;
    switch (what) {
      case portFeature.enable:
        port.status &= ~portStatus.enabled;
        return true;
      case portFeature.suspend:
        if ((port.status & portStatus.suspended) !== 0) port.change |= portChange.suspended;
        port.status &= ~portStatus.suspended;
        if (port.change !== 0) this.tellReady(0x81);
        return true;
      case portFeature.power:
        return true;
      default:
        if (what < portFeature.connectChange || what > portFeature.resetChange) return false;
        port.change &= ~(1 << (what - portFeature.connectChange));
        return true;
    }
  }
}
