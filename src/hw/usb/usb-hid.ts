/**
 * Keyboard, mouse and tablet (Device Class Definition for HID 1.11; their reports are laid out as QEMU's). What a person does waits in a
 * queue until the host asks; what has no room there is joined to the last that waits.
 *
 * Deviation: a report is sent only when something has changed, whatever idle rate the host has set.
 */
import { bytes, defineState, i32, list, type StateArena, type StateOf, u8, u16 } from '../../schema/index.js';
import { type StatePart, statePart } from '../pci/saved-parts.js';
import { firstModifier, usageOf } from './hid-keys.js';
import { answer, descriptor, kind, type Setup, transferType, type UsbSpeed, usbProducts } from './usb-codes.js';
import { configAttribute, UsbDevice } from './usb-device.js';

export type UsbHidKind = 'keyboard' | 'mouse' | 'tablet';

const hidRequest = { getReport: 1, getIdle: 2, getProtocol: 3, setReport: 9, setIdle: 10, setProtocol: 11 } as const;
const reportBytes: Readonly<Record<UsbHidKind, number>> = { keyboard: 8, mouse: 4, tablet: 6 };
const queueLength = 16;
/** Keys that are down at once. */
const heldKeys = 6;
const rollOver = 1;
const range = 0x7fff;

/** Items of the buttons that pointers have: five bits, and three that mean nothing. */
const buttonItems = [
  ...[0x05, 0x09, 0x19, 0x01, 0x29, 0x05, 0x15, 0x00, 0x25, 0x01, 0x95, 0x05, 0x75, 0x01, 0x81, 0x02],
  ...[0x95, 0x01, 0x75, 0x03, 0x81, 0x01],
];
const wheelItems = [0x05, 0x01, 0x09, 0x38, 0x15, 0x81, 0x25, 0x7f, 0x75, 0x08, 0x95, 0x01, 0x81, 0x06];
const pointerItems = (axes: readonly number[]) => [
  ...[0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0x09, 0x01, 0xa1, 0x00, ...buttonItems, 0x05, 0x01, 0x09, 0x30, 0x09, 0x31],
  ...[...axes, ...wheelItems, 0xc0, 0xc0],
];
const reportItems: Readonly<Record<UsbHidKind, Uint8Array>> = {
  keyboard: Uint8Array.of(
    // Modifiers, a byte of nothing, lights, six keys.
    ...[0x05, 0x01, 0x09, 0x06, 0xa1, 0x01, 0x75, 0x01, 0x95, 0x08, 0x05, 0x07, 0x19, 0xe0, 0x29, 0xe7],
    ...[0x15, 0x00, 0x25, 0x01, 0x81, 0x02, 0x95, 0x01, 0x75, 0x08, 0x81, 0x01],
    ...[0x95, 0x05, 0x75, 0x01, 0x05, 0x08, 0x19, 0x01, 0x29, 0x05, 0x91, 0x02, 0x95, 0x01, 0x75, 0x03, 0x91, 0x01],
    ...[0x95, 0x06, 0x75, 0x08, 0x15, 0x00, 0x25, 0xff, 0x05, 0x07, 0x19, 0x00, 0x29, 0xff, 0x81, 0x00, 0xc0],
  ),
  mouse: Uint8Array.of(...pointerItems([0x15, 0x81, 0x25, 0x7f, 0x75, 0x08, 0x95, 0x02, 0x81, 0x06])),
  tablet: Uint8Array.of(
    ...pointerItems([0x15, 0x00, 0x26, 0xff, 0x7f, 0x35, 0x00, 0x46, 0xff, 0x7f, 0x75, 0x10, 0x95, 0x02, 0x81, 0x02]),
  ),
};
/** Subclass and protocol: what firmware can use without reading the report's items. */
const bootClass: Readonly<Record<UsbHidKind, readonly [number, number, number]>> = {
  keyboard: [3, 1, 1],
  mouse: [3, 1, 2],
  tablet: [3, 0, 0],
};

const HidState = defineState('usb-hid', 1, {
  protocol: u8(1, { max: 1 }),
  idle: u8(),
  /** Num, caps, scroll lock in bits 0 to 2. */
  LEDs: u8(0, { max: 31 }),
  first: u8(0, { max: queueLength - 1 }),
  count: u8(0, { max: queueLength }),
  /** Of a pointer: places, or steps so far; the buttons then held. */
  events: list(queueLength, { x: i32(), y: i32(), z: i32(), buttons: u8(), code: u16(), isDown: u8(0, { max: 1 }) }),
  /** As last told. */
  x: i32(),
  y: i32(),
  buttons: u8(),
  modifiers: u8(),
  keys: bytes(heldKeys),
  /** More keys are down than a report tells. */
  overflow: u8(0, { max: 1 }),
});

export interface UsbHidEvents {
  /** A driver has begun to hear of what is done, or has ended. */
  used?(isUsed: boolean): void;
  /** Lights have been switched. */
  lit?(): void;
}

export interface UsbHidOptions {
  readonly kind: UsbHidKind;
  readonly speed: UsbSpeed;
  readonly id?: string | undefined;
  readonly serial?: string | undefined;
  readonly events?: UsbHidEvents;
  readonly arena?: StateArena | undefined;
}

/** bInterval for some 8 ms: frames, or as a power of two of microframes. */
const intervals: Readonly<Record<UsbSpeed, number>> = { full: 8, high: 7 };

export class UsbHid extends UsbDevice {
  readonly kind: UsbHidKind;
  readonly #state: StateOf<typeof HidState>;
  readonly #events: UsbHidEvents;
  #isUsed = false;
  protected readonly ownParts: readonly StatePart[];

  constructor({ kind: which, speed, id, serial, events = {}, arena }: UsbHidOptions) {
    const items = reportItems[which].length;
    super(
      speed,
      {
        vendorId: 0x0627,
        productId: 1,
        product: usbProducts[which],
        serial,
        interfaceClass: bootClass[which],
        interfaceExtra: Uint8Array.of(9, descriptor.hid, 0x11, 0x01, 0, 1, descriptor.report, items & 0xff, items >> 8),
        endpoints: [
          { address: 0x81, type: transferType.interrupt, maxPacket: reportBytes[which], interval: intervals[speed] },
        ],
        attributes: configAttribute.remoteWakeup,
      },
      id,
      arena,
    );
    this.kind = which;
    this.#events = events;
    this.#state = HidState.allocate(arena);
    this.ownParts = [statePart(HidState, this.#state)];
  }

  get leds(): number {
    return this.#state.LEDs & 7;
  }

  protected resetOwn(): void {
    HidState.reset(this.#state);
    this.#setUsed(false);
  }

  override restored(): void {
    this.#setUsed(this.base.configuration !== 0);
  }

  #setUsed(isUsed: boolean): void {
    if (this.#isUsed === isUsed) return;
    this.#isUsed = isUsed;
    this.#events.used?.(isUsed);
  }

  // What a person does

  /** A slot at the end of the queue; undefined: there is none. */
  #slot(): StateOf<typeof HidState>['events'][number] | undefined {
    const state = this.#state;
    if (state.count === queueLength) return undefined;
    return state.events[(state.first + state.count) % queueLength];
  }

  #queued(): void {
    this.#state.count++;
    this.tellReady(0x81);
  }

  key(set1Code: number, down: boolean): void {
    const slot = this.#slot();
    const usage = usageOf(set1Code);
    if (!slot || usage === 0 || this.kind !== 'keyboard') return;
    Object.assign(slot, { code: usage, isDown: down ? 1 : 0 });
    this.#queued();
  }

  /** Movement right, up, of the wheel away from the user; the buttons held. */
  move(dx: number, dy: number, dz: number, buttons: number): void {
    const last = this.#last(buttons);
    if (last) {
      last.x += dx;
      last.y -= dy;
      last.z += dz;
      this.tellReady(0x81);
      return;
    }
    const slot = this.#slot();
    if (!slot) return;
    Object.assign(slot, { x: dx, y: -dy, z: dz, buttons: buttons & 31 });
    this.#queued();
  }

  /** To a place: 0 to 0x7fff from the left, and from the top. */
  point(x: number, y: number, dz: number, buttons: number): void {
    const slot = this.#last(buttons) ?? this.#slot();
    if (!slot) return;
    const isNew = slot !== this.#last(buttons);
    const place = (value: number) => Math.max(0, Math.min(range, value | 0));
    Object.assign(slot, { x: place(x), y: place(y), z: (isNew ? 0 : slot.z) + dz, buttons: buttons & 31 });
    if (isNew) this.#queued();
    else this.tellReady(0x81);
  }

  /** The last that waits, if it is of the same buttons and no step of the wheel would be lost. */
  #last(buttons: number): StateOf<typeof HidState>['events'][number] | undefined {
    const state = this.#state;
    if (state.count === 0) return undefined;
    const last = state.events[(state.first + state.count - 1) % queueLength];
    return last && last.buttons === (buttons & 31) ? last : undefined;
  }

  // What the host asks

  protected endpointPacket(_endpoint: number, isIn: boolean, data: Uint8Array): number {
    if (!isIn) return answer.stall;
    this.#setUsed(true);
    if (this.#state.count === 0) return answer.nak;
    const report = this.#next();
    const count = Math.min(report.length, data.length);
    data.set(report.subarray(0, count));
    return count;
  }

  /** The next report, out of the queue. */
  #next(): Uint8Array {
    const state = this.#state;
    const event = state.events[state.first]!;
    if (this.kind === 'keyboard') {
      this.#press(event.code, event.isDown !== 0);
      this.#drop();
      return this.#report(0, 0, 0);
    }
    state.buttons = event.buttons;
    const limit = (value: number) => Math.max(-127, Math.min(127, value));
    const dz = limit(event.z);
    event.z -= dz;
    if (this.kind === 'tablet') {
      state.x = event.x;
      state.y = event.y;
      if (event.z === 0) this.#drop();
      return this.#report(0, 0, dz);
    }
    const [dx, dy] = [limit(event.x), limit(event.y)];
    event.x -= dx;
    event.y -= dy;
    if (event.x === 0 && event.y === 0 && event.z === 0) this.#drop();
    return this.#report(dx, dy, dz);
  }

  #drop(): void {
    const state = this.#state;
    state.first = (state.first + 1) % queueLength;
    state.count--;
  }

  #press(usage: number, down: boolean): void {
    const state = this.#state;
    if (usage >= firstModifier) {
      const bit = 1 << (usage & 7);
      state.modifiers = down ? state.modifiers | bit : state.modifiers & ~bit;
      return;
    }
    const held = [...state.keys].filter((each) => each !== 0 && each !== usage);
    if (down && held.length < heldKeys) held.push(usage);
    state.overflow = down && held.length === heldKeys && !held.includes(usage) ? 1 : 0;
    state.keys.fill(0);
    state.keys.set(held);
  }

  #report(dx: number, dy: number, dz: number): Uint8Array {
    const state = this.#state;
    switch (this.kind) {
      case 'keyboard': {
        const keys = state.overflow !== 0 ? new Array<number>(heldKeys).fill(rollOver) : state.keys;
        return Uint8Array.of(state.modifiers, 0, ...keys);
      }
      case 'mouse':
        return Uint8Array.of(state.buttons, dx & 0xff, dy & 0xff, dz & 0xff);
      default:
        return Uint8Array.of(state.buttons, state.x & 0xff, state.x >> 8, state.y & 0xff, state.y >> 8, dz & 0xff);
    }
  }

  protected override interfaceDescriptor(type: number): Uint8Array | undefined {
    if (type === descriptor.report) return reportItems[this.kind];
    return type === descriptor.hid ? this.description.interfaceExtra : undefined;
  }

  protected classRequest(setup: Setup, data: Uint8Array): Uint8Array | undefined {
    const state = this.#state;
    if (setup.kind !== kind.classInterface) return undefined;
    switch (setup.request) {
      case hidRequest.getReport:
        return this.#report(0, 0, 0);
      case hidRequest.setReport:
        if (this.kind !== 'keyboard' || data.length === 0) return undefined;
        state.LEDs = data[0]! & 31;
        this.#events.lit?.();
        return new Uint8Array(0);
      case hidRequest.getIdle:
        return Uint8Array.of(state.idle);
      case hidRequest.setIdle:
        state.idle = setup.value >> 8;
        return new Uint8Array(0);
      case hidRequest.getProtocol:
        return this.kind === 'tablet' ? undefined : Uint8Array.of(state.protocol);
      case hidRequest.setProtocol:
        if (this.kind === 'tablet' || setup.value > 1) return undefined;
        state.protocol = setup.value;
        return new Uint8Array(0);
      default:
        return undefined;
    }
  }
}
