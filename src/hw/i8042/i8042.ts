/**
 * The PC's keyboard controller, an 8042 with PS/2 firmware (IBM PS/2 Hardware Interface Technical Reference, "Keyboard and
 * Auxiliary Device Controller"), with a keyboard and a mouse, and port 92h.
 *
 * Deviations: commands take no time; after reset the command byte is what a PC's firmware leaves (interrupts and
 * translation on), for kernels that are booted without firmware.
 */
import type { Device, IrqLine } from '../../bus/index.js';
import { bool, bytes, defineState, list, type StateArena, type StateOf, u8 } from '../../schema/index.js';
import { keyboardFields, Ps2Keyboard } from './ps2-keyboard.js';
import { mouseFields, Ps2Mouse } from './ps2-mouse.js';
import { Ps2Queue, queueFields } from './ps2-queue.js';
import { toSet1 } from './scancodes.js';

const STATUS_OBF = 0x01;
const STATUS_SYSTEM = 0x04;
const STATUS_COMMAND = 0x08;
const STATUS_UNLOCKED = 0x10;
const STATUS_AUX_OBF = 0x20;

const CONTROL_KEYBOARD_INTERRUPT = 0x01;
const CONTROL_AUX_INTERRUPT = 0x02;
const CONTROL_SYSTEM = 0x04;
const CONTROL_KEYBOARD_OFF = 0x10;
const CONTROL_AUX_OFF = 0x20;
const CONTROL_TRANSLATE = 0x40;

/** Output port: bit 0 is the processor's reset (active low), bit 1 A20. */
const OUTPUT_NOT_RESET = 0x01;
const OUTPUT_A20 = 0x02;
/** Unused bits and the idle clock and data lines of the keyboard. */
const OUTPUT_ONES = 0xcc;

const FROM_KEYBOARD = 0;
const FROM_AUX = 1;

export const I8042State = defineState('i8042', 1, {
  /** The controller's RAM; byte 0 is the command byte. */
  ram: bytes(32),
  outputPort: u8(OUTPUT_NOT_RESET | OUTPUT_A20),
  /** The command whose data byte is awaited, or 0. */
  command: u8(),
  lastWasCommand: bool(),
  full: bool(),
  output: u8(),
  /** 0: the byte counts as the keyboard's, 1: the mouse's. */
  source: u8(0, { max: 1 }),
  /** The keyboard's next byte is the second half of a release. */
  breakPrefix: bool(),
  /** Answers of the controller itself come before the devices'. */
  answers: list(1, queueFields),
  keyboard: list(1, keyboardFields),
  mouse: list(1, mouseFields),
});

export interface I8042Events {
  /** The processor's reset line is pulsed. */
  reset(): void;
  a20?(enabled: boolean): void;
}

export class I8042 implements Device {
  readonly name: string;
  readonly state: StateOf<typeof I8042State>;
  readonly #keyboard: Ps2Keyboard;
  readonly #mouse: Ps2Mouse;
  readonly #answers: Ps2Queue;
  readonly #keyboardIrq: IrqLine;
  readonly #auxIrq: IrqLine;
  readonly #events: I8042Events;

  /** `keyboardIrq` is IRQ 1, `auxIrq` IRQ 12. */
  constructor(options: {
    keyboardIrq: IrqLine;
    auxIrq: IrqLine;
    events: I8042Events;
    arena?: StateArena;
    name?: string;
  }) {
    this.name = options.name ?? 'i8042';
    this.state = I8042State.allocate(options.arena);
    this.#keyboard = new Ps2Keyboard(this.state.keyboard[0]!);
    this.#mouse = new Ps2Mouse(this.state.mouse[0]!);
    this.#answers = new Ps2Queue(this.state.answers[0]!);
    this.#keyboardIrq = options.keyboardIrq;
    this.#auxIrq = options.auxIrq;
    this.#events = options.events;
    if (!options.arena?.attached) this.#setDefaults();
  }

  #setDefaults(): void {
    this.#control = CONTROL_KEYBOARD_INTERRUPT | CONTROL_AUX_INTERRUPT | CONTROL_SYSTEM | CONTROL_TRANSLATE;
  }
  reset(): void {
    I8042State.reset(this.state);
    this.#setDefaults();
    this.#update();
    this.#events.a20?.(true);
  }
  save(): Uint8Array {
    return I8042State.save(this.state);
  }
  load(saved: Uint8Array): void {
    I8042State.load(this.state, saved);
    this.#update();
    this.#events.a20?.(this.a20);
  }

  get a20(): boolean {
    return (this.state.outputPort & OUTPUT_A20) !== 0;
  }
  get #control(): number {
    return this.state.ram[0]!;
  }
  set #control(value: number) {
    this.state.ram[0] = value;
  }

  // ---- the person's side

  /** A key by its set 1 code, 0xe000 added for the extended keys, goes down or up. */
  key(set1Code: number, down: boolean): void {
    this.#keyboard.key(set1Code, down);
    this.#refill();
  }
  /** Movement (right, up, wheel away from the user) and the buttons held (left, right, middle, fourth, fifth). */
  moveMouse(dx: number, dy: number, dz: number, buttons: number): void {
    this.#mouse.move(dx, dy, dz, buttons);
    this.#refill();
  }

  // ---- the output buffer

  /** Takes the next byte into the empty output buffer. */
  #refill(): void {
    const { state } = this;
    if (!state.full) {
      const answer = this.#answers.pull();
      if (answer >= 0) this.#fill(answer, FROM_KEYBOARD);
      else if (!this.#refillFromKeyboard() && (this.#control & CONTROL_AUX_OFF) === 0) {
        const byte = this.#mouse.pull();
        if (byte >= 0) this.#fill(byte, FROM_AUX);
      }
    }
    this.#update();
  }

  #refillFromKeyboard(): boolean {
    const { state } = this;
    if ((this.#control & CONTROL_KEYBOARD_OFF) !== 0) return false;
    for (;;) {
      const byte = this.#keyboard.pull();
      if (byte < 0) return false;
      if ((this.#control & CONTROL_TRANSLATE) === 0) {
        this.#fill(byte, FROM_KEYBOARD);
        return true;
      }
      if (byte === 0xf0) {
        // The release prefix becomes the top bit of the code that follows.
        state.breakPrefix = true;
        continue;
      }
      const code = toSet1(byte);
      this.#fill(state.breakPrefix ? code | 0x80 : code, FROM_KEYBOARD);
      state.breakPrefix = false;
      return true;
    }
  }

  #fill(byte: number, source: number): void {
    this.state.full = true;
    this.state.output = byte;
    this.state.source = source;
  }

  #update(): void {
    const { full, source } = this.state;
    this.#keyboardIrq.set(full && source === FROM_KEYBOARD && (this.#control & CONTROL_KEYBOARD_INTERRUPT) !== 0);
    this.#auxIrq.set(full && source === FROM_AUX && (this.#control & CONTROL_AUX_INTERRUPT) !== 0);
  }

  // ---- registers

  /** Port 60h. */
  readData(): number {
    const { state } = this;
    const byte = state.output;
    if (state.full) {
      state.full = false;
      // The lines fall before the next byte may raise them: each byte is an edge.
      this.#update();
      this.#refill();
    }
    return byte;
  }

  /** Port 64h. */
  readStatus(): number {
    const { state } = this;
    return (
      STATUS_UNLOCKED |
      (state.full ? STATUS_OBF : 0) |
      (state.full && state.source === FROM_AUX ? STATUS_AUX_OBF : 0) |
      ((this.#control & CONTROL_SYSTEM) !== 0 ? STATUS_SYSTEM : 0) |
      (state.lastWasCommand ? STATUS_COMMAND : 0)
    );
  }

  writeData(value: number): void {
    const { state } = this;
    const { command } = state;
    state.command = 0;
    state.lastWasCommand = false;
    if (command === 0) {
      // Writing to the keyboard switches its clock on.
      this.#control &= ~CONTROL_KEYBOARD_OFF;
      this.#keyboard.receive(value);
    } else if (command >= 0x60 && command <= 0x7f) {
      state.ram[command & 0x1f] = value;
    } else {
      switch (command) {
        case 0xd1:
          this.#writeOutputPort(value);
          break;
        case 0xd2:
          this.#fill(value, FROM_KEYBOARD);
          break;
        case 0xd3:
          this.#fill(value, FROM_AUX);
          break;
        case 0xd4:
          this.#control &= ~CONTROL_AUX_OFF;
          this.#mouse.receive(value);
          break;
      }
    }
    this.#refill();
  }

  writeCommand(value: number): void {
    const { state } = this;
    state.lastWasCommand = true;
    state.command = 0;
    if (value >= 0x20 && value <= 0x3f) this.#answers.push(state.ram[value & 0x1f]!);
    else if (value >= 0x60 && value <= 0x7f) state.command = value;
    else if (value >= 0xf0) {
      // Pulses the output port's low lines that are 0 in the command; line 0 is the processor's reset.
      if ((value & 1) === 0) this.#events.reset();
    } else {
      switch (value) {
        case 0xa7:
          this.#control |= CONTROL_AUX_OFF;
          break;
        case 0xa8:
          this.#control &= ~CONTROL_AUX_OFF;
          break;
        case 0xa9:
        case 0xab:
          // Interface test: no error.
          this.#answers.push(0x00);
          break;
        case 0xaa:
          this.#control |= CONTROL_SYSTEM;
          this.#answers.push(0x55);
          break;
        case 0xad:
          this.#control |= CONTROL_KEYBOARD_OFF;
          break;
        case 0xae:
          this.#control &= ~CONTROL_KEYBOARD_OFF;
          break;
        case 0xc0:
          // Input port: the keyboard is not locked.
          this.#answers.push(0x80);
          break;
        case 0xd0: {
          const irqs =
            (state.full && state.source === FROM_KEYBOARD ? 0x10 : 0) |
            (state.full && state.source === FROM_AUX ? 0x20 : 0);
          this.#answers.push(state.outputPort | OUTPUT_ONES | irqs);
          break;
        }
        case 0xd1:
        case 0xd2:
        case 0xd3:
        case 0xd4:
          state.command = value;
          break;
        case 0xdd:
          this.#setA20(false);
          break;
        case 0xdf:
          this.#setA20(true);
          break;
      }
    }
    this.#refill();
  }

  #setA20(enabled: boolean): void {
    if (enabled === this.a20) return;
    this.state.outputPort ^= OUTPUT_A20;
    this.#events.a20?.(enabled);
  }
  #writeOutputPort(value: number): void {
    this.#setA20((value & OUTPUT_A20) !== 0);
    if ((value & OUTPUT_NOT_RESET) === 0) this.#events.reset();
  }

  /** Port 92h: bit 1 is A20, writing bit 0 resets. */
  readPort92(): number {
    return this.a20 ? 2 : 0;
  }
  writePort92(value: number): void {
    this.#setA20((value & 2) !== 0);
    if ((value & 1) !== 0) this.#events.reset();
  }
}
