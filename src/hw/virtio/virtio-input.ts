/**
 * Input devices (Virtual I/O Device 1.2, 5.8): keyboard, mouse, tablet. Events are those of Linux's evdev (input-event-codes.h); a group
 * of them that ends with SYN_REPORT reaches the driver whole or, where it has offered too few buffers, not at all.
 */
import { defineState, type StateOf, u8 } from '../../schema/index.js';
import { type StatePart, statePart } from '../pci/saved-parts.js';
import { ConfigBytes } from './config-bytes.js';
import { type VirtioDevice, type VirtioModel, virtioType } from './virtio-device.js';
import type { Virtqueue } from './virtqueue.js';

export type VirtioInputKind = 'keyboard' | 'mouse' | 'tablet';

const select = { name: 0x01, ids: 0x03, events: 0x11, axis: 0x12 } as const;
const event = { sync: 0, key: 1, relative: 2, absolute: 3, led: 0x11, repeat: 0x14 } as const;
const axis = { x: 0, y: 1, wheel: 8 } as const;
const FIRST_BUTTON = 0x110;
const BUTTONS = 5;
const EVENT_BYTES = 8;
const CONFIG_BYTES = 136;
const CONTENT = 8;
/** The tablet's places go from 0 to this. */
export const TABLET_RANGE = 0x7fff;
const BUS_VIRTUAL = 6;
const VENDOR = 0x0627;

const kinds: Readonly<Record<VirtioInputKind, { readonly name: string; readonly product: number }>> = {
  keyboard: { name: 'vring Virtio Keyboard', product: 1 },
  mouse: { name: 'vring Virtio Mouse', product: 2 },
  tablet: { name: 'vring Virtio Tablet', product: 3 },
};

/** Extended keys of set 1, which evdev numbers otherwise than the plain ones. */
const EXTENDED: Readonly<Record<number, number>> = {
  28: 96,
  29: 97,
  53: 98,
  55: 99,
  56: 100,
  71: 102,
  72: 103,
  73: 104,
  75: 105,
  77: 106,
  79: 107,
  80: 108,
  81: 109,
  82: 110,
  83: 111,
  91: 125,
  92: 126,
  93: 127,
};
const LAST_PLAIN = 0x58;

/** What each kind of event can tell, as code numbers. */
function codesOf(kind: VirtioInputKind, type: number): readonly number[] {
  if (kind === 'keyboard') {
    if (type === event.key) return [...Array.from({ length: LAST_PLAIN }, (_, i) => i + 1), ...Object.values(EXTENDED)];
    if (type === event.led) return [0, 1, 2];
    return type === event.repeat ? [0, 1] : [];
  }
  if (type === event.key) return Array.from({ length: BUTTONS }, (_, i) => FIRST_BUTTON + i);
  if (type === event.relative) return kind === 'mouse' ? [axis.x, axis.y, axis.wheel] : [axis.wheel];
  return type === event.absolute && kind === 'tablet' ? [axis.x, axis.y] : [];
}

const VirtioInputState = defineState('virtio-input', 1, {
  select: u8(),
  subsel: u8(),
  /** Num, caps, scroll lock in bits 0 to 2, as evdev numbers them. */
  LEDs: u8(0, { max: 7 }),
  /** Left, right, middle, fourth, fifth, as last told. */
  buttons: u8(0, { max: 31 }),
});

export interface VirtioInputEvents {
  /** A driver has begun to hear of what is done, or has ended. */
  used?(isUsed: boolean): void;
  /** Lights have been switched. */
  lit?(): void;
}

export class VirtioInput implements VirtioModel {
  readonly type = virtioType.input;
  readonly queueSizes = [64, 64];
  readonly features: readonly number[] = [];
  readonly config: ConfigBytes;
  readonly configBytes = CONFIG_BYTES;
  readonly parts: readonly StatePart[];
  readonly kind: VirtioInputKind;
  readonly #state: StateOf<typeof VirtioInputState>;
  #device!: VirtioDevice;

  readonly #events: VirtioInputEvents;

  constructor(kind: VirtioInputKind, events: VirtioInputEvents = {}) {
    this.kind = kind;
    this.#events = events;
    this.#state = VirtioInputState.allocate();
    this.parts = [statePart(VirtioInputState, this.#state)];
    const written = (offset: number, size: number, value: number) => this.#select(offset, size, value);
    this.config = new ConfigBytes(CONFIG_BYTES, written, () => this.#show());
  }

  attach(device: VirtioDevice): void {
    this.#device = device;
  }

  reset(): void {
    VirtioInputState.reset(this.#state);
    this.#events.used?.(false);
  }

  started(): void {
    this.#events.used?.(true);
  }

  /** A driver hears of what is done. */
  get isUsed(): boolean {
    return this.#device.running;
  }

  get leds(): number {
    return this.#state.LEDs;
  }

  #select(offset: number, size: number, value: number): void {
    for (let i = 0; i < size; i++) {
      const byte = (value >>> (8 * i)) & 0xff;
      if (offset + i === 0) this.#state.select = byte;
      else if (offset + i === 1) this.#state.subsel = byte;
    }
  }

  #show(): void {
    const { select: what, subsel } = this.#state;
    const content = this.#content(what, subsel);
    this.config.bytes.fill(0);
    this.config.bytes.set([what, subsel, content.length]);
    this.config.bytes.set(content, CONTENT);
  }

  /** What the driver has selected; empty: there is no such thing. */
  #content(what: number, subsel: number): Uint8Array {
    const { name, product } = kinds[this.kind];
    switch (what) {
      case select.name:
        return new TextEncoder().encode(name);
      case select.ids:
        return new Uint8Array(Uint16Array.of(BUS_VIRTUAL, VENDOR, product, 1).buffer);
      case select.events: {
        const codes = codesOf(this.kind, subsel);
        const bits = new Uint8Array(codes.length === 0 ? 0 : (Math.max(...codes) >> 3) + 1);
        for (const code of codes) bits[code >> 3]! |= 1 << (code & 7);
        return bits;
      }
      case select.axis:
        return codesOf(this.kind, event.absolute).includes(subsel)
          ? new Uint8Array(Uint32Array.of(0, TABLET_RANGE, 0, 0, 0).buffer)
          : new Uint8Array(0);
      default:
        return new Uint8Array(0);
    }
  }

  /** A key by its set 1 code, 0xe000 added for the extended keys, goes down or up. */
  key(set1Code: number, down: boolean): void {
    const base = set1Code & 0x7f;
    const code = (set1Code & 0xff00) === 0xe000 ? EXTENDED[base] : base <= LAST_PLAIN ? base : undefined;
    if (code) this.#send([[event.key, code, down ? 1 : 0]]);
  }

  /** Movement right, up, of the wheel away from the user; the buttons held. */
  move(dx: number, dy: number, dz: number, buttons: number): void {
    this.#send([...pairs([axis.x, dx], [axis.y, -dy]), ...this.#rest(dz, buttons)]);
  }

  /** To a place: 0 to TABLET_RANGE from the left, and from the top. */
  point(x: number, y: number, dz: number, buttons: number): void {
    this.#send([[event.absolute, axis.x, x], [event.absolute, axis.y, y], ...this.#rest(dz, buttons)]);
  }

  #rest(dz: number, buttons: number): (readonly [number, number, number])[] {
    const changed = buttons ^ this.#state.buttons;
    this.#state.buttons = buttons & 31;
    const told = [...pairs([axis.wheel, dz])];
    for (let i = 0; i < BUTTONS; i++)
      if ((changed >> i) & 1) told.push([event.key, FIRST_BUTTON + i, (buttons >> i) & 1]);
    return told;
  }

  #send(events: readonly (readonly [type: number, code: number, value: number])[]): void {
    const queue = this.#device.queues[0]!;
    if (!this.isUsed || events.length === 0 || queue.waiting() < events.length + 1) return;
    for (const [type, code, value] of [...events, [event.sync, 0, 0] as const]) {
      const chain = queue.pop();
      if (chain === undefined) return;
      const bytes = new DataView(new ArrayBuffer(EVENT_BYTES));
      bytes.setUint16(0, type, true);
      bytes.setUint16(2, code, true);
      bytes.setInt32(4, value, true);
      queue.push(chain, chain.copyIn(0, new Uint8Array(bytes.buffer)));
    }
    queue.signal();
  }

  restored(): void {
    this.#events.used?.(this.isUsed);
    if (this.#device.queues[1]!.state.ready) this.#device.kick(1);
  }

  /** The driver has offered buffers for events, or tells of lights. */
  queueKicked(queue: Virtqueue): void {
    if (queue.index === 0) return;
    for (let budget = queue.state.size; budget > 0; budget--) {
      const chain = queue.pop();
      if (chain === undefined) break;
      const bytes = new Uint8Array(EVENT_BYTES);
      chain.copyOut(0, bytes);
      const view = new DataView(bytes.buffer);
      const code = view.getUint16(2, true);
      if (view.getUint16(0, true) === event.led && code <= 2) {
        const bit = 1 << code;
        this.#state.LEDs = view.getUint32(4, true) !== 0 ? this.#state.LEDs | bit : this.#state.LEDs & ~bit;
      }
      queue.push(chain, 0);
    }
    queue.signal();
    this.#events.lit?.();
  }
}

function pairs(...steps: readonly (readonly [code: number, value: number])[]): (readonly [number, number, number])[] {
  return steps.filter(([, value]) => value !== 0).map(([code, value]) => [event.relative, code, value] as const);
}
