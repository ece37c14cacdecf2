/** Arm's PL061 general-purpose inputs and outputs (DDI 0190): eight pins with interrupts. */
import { type Device, defineRegisters, type IoHandler, type IrqLine, RegisterBank } from '../../bus/index.js';
import { defineState, type StateArena, type StateOf, u8 } from '../../schema/index.js';
import { PRIMECELL_BYTES, primeCellIds } from './identification.js';

const PINS = 8;
/** Below this an address says which pins an access of the data is about: bits 2 to 9. */
const DATA_END = 0x400;

export const Pl061State = defineState('pl061', 1, {
  /** Levels of inputs, what is written to outputs, and edges that were seen. */
  inputs: u8(0, { keep: true }),
  outputs: u8(),
  edges: u8(),
  DIR: u8(),
  IS: u8(),
  IBE: u8(),
  IEV: u8(),
  IE: u8(),
  AFSEL: u8(),
});

export class Pl061 implements Device, IoHandler {
  readonly name = 'pl061';
  readonly state: StateOf<typeof Pl061State>;
  readonly inputs: readonly IrqLine[];
  readonly #registers: RegisterBank<Pl061>;
  readonly #irq: IrqLine;
  readonly #outputs: readonly IrqLine[];

  /** `outputs`: what hangs on pins that are outputs, by pin. */
  constructor(options: { irq: IrqLine; outputs?: readonly IrqLine[]; arena?: StateArena }) {
    this.state = Pl061State.allocate(options.arena);
    this.#irq = options.irq;
    this.#outputs = options.outputs ?? [];
    this.inputs = Array.from({ length: PINS }, (_, pin) => ({ set: (level: boolean) => this.#setInput(pin, level) }));
    this.#registers = new RegisterBank(PRIMECELL_BYTES, registers, this, this.state);
  }

  #setInput(pin: number, up: boolean): void {
    const { state } = this;
    const bit = 1 << pin;
    if (((state.inputs & bit) !== 0) === up) return;
    state.inputs ^= bit;
    const wanted = (state.IBE & bit) !== 0 || ((state.IEV & bit) !== 0) === up;
    if (wanted && (state.IS & bit) === 0 && (state.DIR & bit) === 0) state.edges |= bit;
    this.update();
  }

  get #data(): number {
    const { inputs, outputs, DIR } = this.state;
    return (inputs & ~DIR) | (outputs & DIR);
  }

  /** Interrupts, whether on or not. */
  get raw(): number {
    const { state } = this;
    return ((state.edges & ~state.IS) | (state.IS & ~(this.#data ^ state.IEV))) & 0xff;
  }

  clear(bits: number): void {
    this.state.edges &= ~bits;
    this.update();
  }

  update(): void {
    const { outputs, DIR } = this.state;
    for (const [pin, line] of this.#outputs.entries()) line.set(((outputs & DIR) >> pin) % 2 !== 0);
    this.#irq.set((this.raw & this.state.IE) !== 0);
  }

  read(offset: number, size: 1 | 2 | 4): number {
    if (offset >= DATA_END) return this.#registers.read(offset, size);
    return (offset & 3) === 0 ? this.#data & (offset >> 2) : 0;
  }

  write(offset: number, size: 1 | 2 | 4, value: number): void {
    if (offset >= DATA_END) {
      this.#registers.write(offset, size, value);
      return;
    }
    const mask = (offset & 3) === 0 ? (offset >> 2) & this.state.DIR : 0;
    this.state.outputs = (this.state.outputs & ~mask) | (value & mask);
    this.update();
  }

  reset(): void {
    Pl061State.reset(this.state);
    this.update();
  }
  save(): Uint8Array {
    return Pl061State.save(this.state);
  }
  load(saved: Uint8Array): void {
    Pl061State.load(this.state, saved);
    this.update();
  }
}

const bits = (offset: number, meaning: string) =>
  ({
    offset,
    width: 4,
    access: 'rw',
    writable: 0xff,
    changed: (gpio: Pl061) => gpio.update(),
    meaning,
  }) as const;

const registers = defineRegisters<Pl061>()({
  DIR: bits(0x400, 'pins that are outputs'),
  IS: bits(0x404, 'pins whose level interrupts'),
  IBE: bits(0x408, 'pins of which both edges interrupt'),
  IEV: bits(0x40c, 'high levels and rising edges'),
  IE: bits(0x410, 'interrupts that are on'),
  RIS: { offset: 0x414, width: 4, access: 'ro', read: (gpio) => gpio.raw, meaning: 'interrupts, whether on or not' },
  MIS: {
    offset: 0x418,
    width: 4,
    access: 'ro',
    read: (gpio) => gpio.raw & gpio.state.IE,
    meaning: 'interrupts that are on',
  },
  IC: { offset: 0x41c, width: 4, access: 'wo', write: (gpio, value) => gpio.clear(value), meaning: 'clears edges' },
  AFSEL: bits(0x420, 'pins that hardware controls: kept, and without effect'),
  ...primeCellIds(0x00041061),
});
