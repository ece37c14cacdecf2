/**
 * What every device of the Universal Serial Bus does (USB 2.0, chapters 8 and 9): control transfers packet by packet, the standard
 * requests, descriptors. Controllers hand over one packet at a time; a device answers at once, or has nothing to give yet (NAK) and says
 * later that it has. So no transfer is under way in between, and all that is saved lies in the device.
 */
import { bool, bytes, defineState, type StateArena, type StateOf, u8, u16, u32 } from '../../schema/index.js';
import { type StatePart, statePart } from '../pci/saved-parts.js';
import {
  answer,
  descriptor,
  feature,
  kind,
  readSetup,
  request,
  type Setup,
  type UsbSpeed,
  type UsbToken,
} from './usb-codes.js';

/** Stages of a control transfer. */
const stage = { idle: 0, dataIn: 1, dataOut: 2, statusIn: 3, statusOut: 4 } as const;
/** No descriptor or report here is longer. */
const controlBytes = 512;

export const UsbDeviceState = defineState('usb-device', 1, {
  address: u8(0, { max: 127 }),
  configuration: u8(0, { max: 1 }),
  remoteWakeup: bool(),
  /** Of the control transfer under way. */
  stage: u8(0, { max: 4 }),
  setup: bytes(8),
  data: bytes(controlBytes),
  length: u16(0, { max: controlBytes }),
  at: u16(0, { max: controlBytes }),
  /** Halted endpoints: a bit each, those to the host from bit 16 on. */
  halted: u32(),
});

export interface UsbEndpoint {
  /** Bit 7: to the host. */
  readonly address: number;
  /** `transferType`. */
  readonly type: number;
  readonly maxPacket: number;
  /** bInterval. */
  readonly interval: number;
}

export interface UsbDescription {
  readonly vendorId: number;
  readonly productId: number;
  /** As a person sees it. */
  readonly product: string;
  readonly serial?: string | undefined;
  /** Class, subclass, protocol of the device as a whole. */
  readonly deviceClass?: readonly [number, number, number];
  readonly interfaceClass: readonly [number, number, number];
  /** Descriptors between the interface's and its endpoints'. */
  readonly interfaceExtra?: Uint8Array;
  readonly endpoints: readonly UsbEndpoint[];
  /** bmAttributes of the configuration, and its power in units of 2 mA. */
  readonly attributes?: number;
  readonly maxPower?: number;
}

const manufacturer = 'VRING';
const maxPacket0 = 64;
const selfPowered = 0x40;
const remoteWakeup = 0x20;
const haltBit = (address: number): number => 1 << ((address & 15) + ((address & 0x80) !== 0 ? 16 : 0));

export abstract class UsbDevice {
  readonly speed: UsbSpeed;
  readonly description: UsbDescription;
  /** Its own name, for a person. */
  readonly id: string | undefined;
  readonly base: StateOf<typeof UsbDeviceState>;
  /** Told by the controller or hub that it is plugged into: an endpoint (bit 7: to the host) that had nothing has something now. */
  onReady: ((device: UsbDevice, endpoint: number) => void) | undefined;
  /** Told likewise: a device behind this hub is about to go. */
  onLeaving: ((device: UsbDevice) => void) | undefined;

  constructor(speed: UsbSpeed, description: UsbDescription, id?: string | undefined, arena?: StateArena | undefined) {
    this.speed = speed;
    this.description = description;
    this.id = id;
    this.base = UsbDeviceState.allocate(arena);
  }

  get parts(): readonly StatePart[] {
    return [statePart(UsbDeviceState, this.base), ...this.ownParts];
  }
  protected abstract readonly ownParts: readonly StatePart[];
  /** Requests of its back end under way. */
  get pendingRequests(): number {
    return 0;
  }

  /** After power-on, and when its port is reset. */
  reset(): void {
    UsbDeviceState.reset(this.base);
    this.resetOwn();
  }
  protected abstract resetOwn(): void;
  /** After loading. */
  restored(): void {}

  /** Whoever answers to an address, here or behind here. */
  find(address: number): UsbDevice | undefined {
    return this.base.address === address ? this : undefined;
  }

  /** Those that are plugged in here, by port from 1 on. */
  get children(): readonly (UsbDevice | undefined)[] {
    return [];
  }

  protected tellReady(endpoint: number): void {
    this.onReady?.(this, endpoint);
  }

  /** A request of its class. Bytes for the host, none for a request that brings bytes or has no data; undefined: refused. */
  protected abstract classRequest(setup: Setup, data: Uint8Array): Uint8Array | undefined;
  /** A descriptor of its interface. */
  protected interfaceDescriptor(_type: number): Uint8Array | undefined {
    return undefined;
  }
  /** A packet of an endpoint but 0. Gives the bytes that were moved, or an `answer`. */
  protected abstract endpointPacket(endpoint: number, isIn: boolean, data: Uint8Array): number;
  protected configured(): void {}
  protected haltCleared(_endpoint: number): void {}

  halt(endpoint: number): void {
    this.base.halted |= haltBit(endpoint);
  }

  /** One packet: bytes from the host, or room for the device's, at most the endpoint's packet size. Gives how many were moved, or an `answer`. */
  packet(token: UsbToken, endpoint: number, data: Uint8Array): number {
    const { base } = this;
    if (endpoint === 0) return this.#control(token, data);
    if (token === 'setup' || base.configuration === 0) return answer.stall;
    const isIn = token === 'in';
    const address = endpoint | (isIn ? 0x80 : 0);
    if ((base.halted & haltBit(address)) !== 0 || !this.description.endpoints.some((each) => each.address === address))
      return answer.stall;
    return this.endpointPacket(endpoint, isIn, data);
  }

  #control(token: UsbToken, data: Uint8Array): number {
    const { base } = this;
    if (token === 'setup') return this.#begin(data);
    if (token === 'in') {
      if (base.stage === stage.dataIn) {
        const count = Math.min(data.length, base.length - base.at);
        data.set(base.data.subarray(base.at, base.at + count));
        base.at += count;
        return count;
      }
      // An early end of the data, or the end of a request without any.
      if (base.stage !== stage.statusIn && base.stage !== stage.dataOut) return answer.stall;
      base.stage = stage.idle;
      return this.#answer(readSetup(base.setup), base.data.slice(0, base.at)) ? 0 : answer.stall;
    }
    if (base.stage === stage.dataOut) {
      const count = Math.min(data.length, base.length - base.at);
      base.data.set(data.subarray(0, count), base.at);
      base.at += count;
      if (base.at === base.length) base.stage = stage.statusIn;
      return count < data.length ? answer.stall : count;
    }
    if (base.stage !== stage.dataIn && base.stage !== stage.statusOut) return answer.stall;
    base.stage = stage.idle;
    return 0;
  }

  #begin(bytesOfSetup: Uint8Array): number {
    const { base } = this;
    if (bytesOfSetup.length !== 8) return answer.stall;
    base.setup.set(bytesOfSetup);
    const setup = readSetup(bytesOfSetup);
    base.at = 0;
    if (!setup.isIn) {
      base.length = Math.min(setup.length, controlBytes);
      // More than any request brings is refused.
      base.stage = setup.length > controlBytes ? stage.idle : setup.length === 0 ? stage.statusIn : stage.dataOut;
      return 8;
    }
    const found = this.#answer(setup, new Uint8Array(0));
    if (!found) {
      base.stage = stage.idle;
      return 8;
    }
    base.length = Math.min(setup.length, found.length, controlBytes);
    base.data.set(found.subarray(0, base.length));
    base.stage = base.length === 0 && setup.length === 0 ? stage.statusIn : stage.dataIn;
    return 8;
  }

  #answer(setup: Setup, data: Uint8Array): Uint8Array | undefined {
    const { base, description } = this;
    const { value, index } = setup;
    const none = new Uint8Array(0);
    const { endpoints, attributes = 0 } = description;
    switch (setup.kind) {
      case kind.device:
        switch (setup.request) {
          case request.getStatus:
            return Uint8Array.of(((attributes & selfPowered) !== 0 ? 1 : 0) | (base.remoteWakeup ? 2 : 0), 0);
          case request.clearFeature:
          case request.setFeature:
            if (value !== feature.remoteWakeup) return undefined;
            base.remoteWakeup = setup.request === request.setFeature;
            return none;
          case request.setAddress:
            if (value > 127) return undefined;
            base.address = value;
            return none;
          case request.getDescriptor:
            return this.#descriptor(value >> 8, value & 0xff);
          case request.getConfiguration:
            return Uint8Array.of(base.configuration);
          case request.setConfiguration:
            if (value > 1) return undefined;
            base.configuration = value;
            base.halted = 0;
            if (value === 1) this.configured();
            return none;
        }
        return undefined;
      case kind.interface:
        if (index !== 0) return undefined;
        switch (setup.request) {
          case request.getStatus:
            return Uint8Array.of(0, 0);
          case request.getDescriptor:
            return this.interfaceDescriptor(value >> 8);
          case request.getInterface:
            return Uint8Array.of(0);
          case request.setInterface:
            return value === 0 ? none : undefined;
        }
        return undefined;
      case kind.endpoint: {
        const isKnown = (index & 0x7f) === 0 || endpoints.some(({ address }) => address === index);
        if (!isKnown) return undefined;
        switch (setup.request) {
          case request.getStatus:
            return Uint8Array.of((base.halted & haltBit(index)) !== 0 ? 1 : 0, 0);
          case request.clearFeature:
            if (value !== feature.endpointHalt) return undefined;
            base.halted &= ~haltBit(index);
            this.haltCleared(index);
            return none;
          case request.setFeature:
            if (value !== feature.endpointHalt) return undefined;
            if ((index & 0x7f) !== 0) this.halt(index);
            return none;
        }
        return undefined;
      }
      default:
        return this.classRequest(setup, data);
    }
  }

  #descriptor(type: number, index: number): Uint8Array | undefined {
    const { description, speed } = this;
    const { vendorId, productId, serial, deviceClass = [0, 0, 0] } = description;
    const usb = speed === 'high' ? 0x0200 : 0x0110;
    switch (type) {
      case descriptor.device:
        return Uint8Array.of(
          ...[18, descriptor.device, usb & 0xff, usb >> 8, ...deviceClass, maxPacket0],
          ...[vendorId & 0xff, vendorId >> 8, productId & 0xff, productId >> 8, 0, 1],
          ...[1, 2, serial === undefined ? 0 : 3, 1],
        );
      case descriptor.configuration:
        return index === 0 ? this.#configuration() : undefined;
      case descriptor.qualifier:
        return speed === 'high'
          ? Uint8Array.of(10, descriptor.qualifier, 0, 2, ...deviceClass, maxPacket0, 1, 0)
          : undefined;
      case descriptor.string: {
        if (index === 0) return Uint8Array.of(4, descriptor.string, 0x09, 0x04);
        const text = [undefined, manufacturer, description.product, serial][index];
        if (text === undefined) return undefined;
        const units = [...text.slice(0, 126)].flatMap((letter) => [
          letter.charCodeAt(0) & 0xff,
          letter.charCodeAt(0) >> 8,
        ]);
        return Uint8Array.of(units.length + 2, descriptor.string, ...units);
      }
      default:
        return undefined;
    }
  }

  #configuration(): Uint8Array {
    const { endpoints, interfaceClass, interfaceExtra = [], attributes = 0, maxPower = 50 } = this.description;
    const rest = [
      ...[9, 4, 0, 0, endpoints.length, ...interfaceClass, 0],
      ...interfaceExtra,
      ...endpoints.flatMap(({ address, type, maxPacket, interval }) => [
        ...[7, 5, address, type, maxPacket & 0xff, maxPacket >> 8, interval],
      ]),
    ];
    const length = 9 + rest.length;
    return Uint8Array.of(
      9,
      descriptor.configuration,
      length & 0xff,
      length >> 8,
      1,
      1,
      0,
      0x80 | attributes,
      maxPower,
      ...rest,
    );
  }

  /** Whether a host that sleeps is to be woken. */
  protected get mayWake(): boolean {
    return this.base.remoteWakeup && ((this.description.attributes ?? 0) & remoteWakeup) !== 0;
  }
}

export const configAttribute = { selfPowered, remoteWakeup } as const;
