/** A PS/2 keyboard with scan code set 2 (IBM PS/2 Hardware Interface Technical Reference, "Keyboards (101- and 102-key)"). */
import { bool, bytes, type StructOf, u8 } from '../../schema/index.js';
import { Ps2Queue, queueFields } from './ps2-queue.js';
import { FROM_SET_1 } from './scancodes.js';

const ACK = 0xfa;
const RESEND = 0xfe;
const SELF_TEST_PASSED = 0xaa;

export const keyboardFields = {
  ...queueFields,
  /** The command whose parameter is awaited, or 0. */
  command: u8(),
  scanning: bool(true),
  /** Scroll, num and caps lock in bits 0 to 2. */
  LEDs: u8(0, { max: 7 }),
  typematic: u8(0x2b),
  scanSet: u8(2, { min: 1, max: 2 }),
  lastSent: bytes(1),
};

export class Ps2Keyboard extends Ps2Queue {
  readonly #state: StructOf<typeof keyboardFields>;
  constructor(state: StructOf<typeof keyboardFields>) {
    super(state);
    this.#state = state;
  }

  /** A key by its set 1 code (0x01 to 0x7f), with 0xe000 added for the extended keys, goes down or up. */
  key(set1Code: number, down: boolean): void {
    const state = this.#state;
    if (!state.scanning) return;
    const base = set1Code & 0x7f;
    const code = state.scanSet === 1 ? base : FROM_SET_1[base]!;
    if (code === 0 || !this.hasRoom(3)) return;
    if ((set1Code & 0xff00) === 0xe000) this.push(0xe0);
    if (state.scanSet === 1) this.push(down ? code : code | 0x80);
    else {
      if (!down) this.push(0xf0);
      this.push(code);
    }
  }

  override pull(): number {
    const byte = super.pull();
    if (byte >= 0 && byte !== RESEND) this.#state.lastSent[0] = byte;
    return byte;
  }

  #setDefaults(): void {
    const state = this.#state;
    state.typematic = 0x2b;
    state.scanSet = 2;
    this.clear();
  }

  /** A byte from the host. */
  receive(byte: number): void {
    const state = this.#state;
    const { command } = state;
    // A byte that can be no parameter is a command, whatever was awaited.
    if (command !== 0 && byte < 0x80) {
      state.command = 0;
      this.#parameter(command, byte);
      return;
    }
    state.command = 0;
    switch (byte) {
      case 0xed:
      case 0xf0:
      case 0xf3:
      case 0xfb:
      case 0xfc:
      case 0xfd:
        state.command = byte;
        this.push(ACK);
        return;
      case 0xee:
        this.push(0xee);
        return;
      case 0xf2:
        this.push(ACK);
        this.push(0xab);
        this.push(0x83);
        return;
      case 0xf4:
        this.clear();
        state.scanning = true;
        this.push(ACK);
        return;
      case 0xf5:
        this.#setDefaults();
        state.scanning = false;
        this.push(ACK);
        return;
      case 0xf6:
        this.#setDefaults();
        this.push(ACK);
        return;
      case 0xf7:
      case 0xf8:
      case 0xf9:
      case 0xfa:
        // Key types matter in set 3 only.
        this.push(ACK);
        return;
      case 0xfe:
        this.push(state.lastSent[0]!);
        return;
      case 0xff:
        this.#setDefaults();
        state.scanning = true;
        state.LEDs = 0;
        this.push(ACK);
        this.push(SELF_TEST_PASSED);
        return;
      default:
        this.push(RESEND);
    }
  }

  #parameter(command: number, value: number): void {
    const state = this.#state;
    switch (command) {
      case 0xed:
        state.LEDs = value & 7;
        this.push(ACK);
        return;
      case 0xf3:
        state.typematic = value & 0x7f;
        this.push(ACK);
        return;
      case 0xf0:
        if (value === 0) {
          this.push(ACK);
          this.push(state.scanSet);
        } else if (value === 1 || value === 2) {
          state.scanSet = value;
          this.push(ACK);
        } else this.push(RESEND); // No set 3.
        return;
      default:
        this.push(ACK);
    }
  }
}
