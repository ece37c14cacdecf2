/**
 * Arm's PL011 UART (DDI 0183), revision 1: FIFOs of 16.
 *
 * Deviations: a byte is transmitted at once, so the transmitter is always empty; the line speed matters only to the receiver's
 * time-out. It sends and receives whether or not CR enables it, as QEMU's does. There is no DMA and no SIR. The modem lines are up.
 */
import type { Timer, TimerService } from '../../base/index.js';
import { type Device, defineRegisters, type IrqLine, RegisterBank } from '../../bus/index.js';
import { deadlineNs, defineState, type StateArena, type StateOf, u8, u16, u16s } from '../../schema/index.js';
import type { SerialBackend, SerialPort } from '../serial-port.js';
import { PRIMECELL_BYTES, primeCellIds } from './identification.js';

const FIFO_SIZE = 16;
const CLOCK_HZ = 24_000_000;
/** Bits of the line after which data below the trigger level is announced too. */
const TIMEOUT_BITS = 32;
/** Where nobody has set a speed. */
const DEFAULT_DIVISOR = CLOCK_HZ / (16 * 115_200);

const interrupt = { RX: 0x10, TX: 0x20, RT: 0x40, BE: 0x200, OE: 0x400, ALL: 0x7ff } as const;
/** Bits of a byte in the data register beside its eight. */
const BREAK = 0x400;
const flag = { CTS: 1, DSR: 2, DCD: 4, RXFE: 0x10, RXFF: 0x40, TXFE: 0x80 } as const;
const FIFO_ENABLE = 0x10;
const LOOPBACK = 0x80;
const OVERRUN = 8;

export const Pl011State = defineState('pl011', 1, {
  fifo: u16s(FIFO_SIZE, { max: 0xfff }),
  fifoHead: u8(0, { max: FIFO_SIZE - 1 }),
  fifoCount: u8(0, { max: FIFO_SIZE }),
  /** Errors of the byte that was read last. */
  errors: u8(0, { max: 15 }),
  ILPR: u8(),
  IBRD: u16(),
  FBRD: u8(0, { max: 63 }),
  LCRH: u8(),
  CR: u16(0x300),
  IFLS: u8(0x12, { max: 63 }),
  IMSC: u16(0, { max: interrupt.ALL }),
  RIS: u16(0, { max: interrupt.ALL }),
  DMACR: u8(0, { max: 7 }),
  timeoutDeadlineNs: deadlineNs(),
});

export class Pl011 implements Device, SerialPort {
  readonly name: string;
  readonly state: StateOf<typeof Pl011State>;
  readonly registers: RegisterBank<Pl011>;
  readonly #clock: TimerService;
  readonly #irq: IrqLine;
  readonly #backend: SerialBackend | undefined;
  readonly #timer: Timer;

  /** Without a backend what is sent is lost. */
  constructor(options: {
    name?: string;
    clock: TimerService;
    irq: IrqLine;
    backend?: SerialBackend | undefined;
    arena?: StateArena;
  }) {
    this.name = options.name ?? 'pl011';
    this.state = Pl011State.allocate(options.arena);
    this.#clock = options.clock;
    this.#irq = options.irq;
    this.#backend = options.backend;
    this.#timer = options.clock.createTimer(this.name, () => this.#expire());
    this.registers = new RegisterBank(PRIMECELL_BYTES, registers, this, this.state);
  }

  // --- the line's side

  canReceive(): number {
    return (this.state.CR & LOOPBACK) !== 0 ? 0 : this.#capacity - this.state.fifoCount;
  }

  receive(input: Uint8Array): number {
    const count = Math.min(input.length, this.canReceive());
    for (let i = 0; i < count; i++) this.#enqueue(input[i]);
    return count;
  }

  receiveBreak(): void {
    if ((this.state.CR & LOOPBACK) !== 0) return;
    this.state.RIS |= interrupt.BE;
    this.#enqueue(BREAK);
  }

  get #capacity(): number {
    return (this.state.LCRH & FIFO_ENABLE) !== 0 ? FIFO_SIZE : 1;
  }

  /** So many bytes interrupt. */
  get #trigger(): number {
    if ((this.state.LCRH & FIFO_ENABLE) === 0) return 1;
    return [2, 4, 8, 12, 14][(this.state.IFLS >> 3) & 7] ?? 14;
  }

  #enqueue(entry: number): void {
    const { state } = this;
    if (state.fifoCount >= this.#capacity) {
      state.RIS |= interrupt.OE;
      state.errors |= OVERRUN;
    } else {
      state.fifo[(state.fifoHead + state.fifoCount) % FIFO_SIZE] = entry;
      state.fifoCount++;
      if (state.fifoCount >= this.#trigger) state.RIS |= interrupt.RX;
      this.#restartTimeout();
    }
    this.update();
  }

  #restartTimeout(): void {
    const { state } = this;
    if (state.fifoCount === 0) {
      state.timeoutDeadlineNs = Infinity;
      this.#timer.cancel();
      return;
    }
    const divisor = state.IBRD === 0 ? DEFAULT_DIVISOR : state.IBRD + state.FBRD / 64;
    state.timeoutDeadlineNs = this.#clock.nowNs() + Math.ceil((TIMEOUT_BITS * 16 * divisor * 1e9) / CLOCK_HZ);
    this.#timer.arm(state.timeoutDeadlineNs);
  }

  #expire(): void {
    const { state } = this;
    state.timeoutDeadlineNs = Infinity;
    if (state.fifoCount === 0) return;
    state.RIS |= interrupt.RT;
    this.update();
  }

  // --- registers

  readData(): number {
    const { state } = this;
    if (state.fifoCount === 0) return 0;
    const entry = state.fifo[state.fifoHead];
    state.fifoHead = (state.fifoHead + 1) % FIFO_SIZE;
    state.fifoCount--;
    state.errors = entry >> 8;
    if (state.fifoCount < this.#trigger) state.RIS &= ~interrupt.RX;
    if (state.fifoCount === 0) state.RIS &= ~interrupt.RT;
    this.#restartTimeout();
    this.update();
    if ((state.CR & LOOPBACK) === 0) this.#backend?.receiveReady?.();
    return entry;
  }

  writeData(value: number): void {
    if ((this.state.CR & LOOPBACK) !== 0) this.#enqueue(value & 0xff);
    else this.#backend?.write(value & 0xff);
    this.state.RIS |= interrupt.TX;
    this.update();
  }

  get flags(): number {
    const { fifoCount } = this.state;
    const receiver = (fifoCount === 0 ? flag.RXFE : 0) | (fifoCount >= this.#capacity ? flag.RXFF : 0);
    return flag.CTS | flag.DSR | flag.DCD | flag.TXFE | receiver;
  }

  /** The FIFOs are emptied where they are turned on or off. */
  lineChanged(before: number): void {
    const { state } = this;
    if (((before ^ state.LCRH) & FIFO_ENABLE) === 0) return;
    state.fifoCount = 0;
    state.RIS &= ~(interrupt.RX | interrupt.RT);
    this.#restartTimeout();
    this.update();
    this.#backend?.receiveReady?.();
  }

  controlChanged(): void {
    if (this.canReceive() > 0) this.#backend?.receiveReady?.();
  }

  clear(bits: number): void {
    this.state.RIS &= ~bits;
    this.update();
  }

  update(): void {
    this.#irq.set((this.state.RIS & this.state.IMSC) !== 0);
  }

  reset(): void {
    Pl011State.reset(this.state);
    this.#timer.cancel();
    this.update();
  }
  save(): Uint8Array {
    return Pl011State.save(this.state);
  }
  load(saved: Uint8Array): void {
    Pl011State.load(this.state, saved);
    const at = this.state.timeoutDeadlineNs;
    if (at === Infinity) this.#timer.cancel();
    else this.#timer.arm(at);
    this.update();
  }
}

const registers = defineRegisters<Pl011>()({
  DR: {
    offset: 0x00,
    width: 4,
    access: 'rw',
    read: (uart) => uart.readData(),
    write: (uart, value) => uart.writeData(value),
    meaning: 'data; received bytes with their errors',
  },
  RSR: {
    offset: 0x04,
    width: 4,
    access: 'rw',
    read: (uart) => uart.state.errors,
    write: (uart) => {
      uart.state.errors = 0;
    },
    meaning: 'errors of the byte that was read last; a write clears them',
  },
  FR: { offset: 0x18, width: 4, access: 'ro', read: (uart) => uart.flags, meaning: 'flags' },
  ILPR: { offset: 0x20, width: 4, access: 'rw', writable: 0xff, meaning: 'divisor of the infrared mode' },
  IBRD: { offset: 0x24, width: 4, access: 'rw', writable: 0xffff, meaning: 'divisor' },
  FBRD: { offset: 0x28, width: 4, access: 'rw', writable: 0x3f, meaning: '64ths of the divisor' },
  LCRH: {
    offset: 0x2c,
    width: 4,
    access: 'rw',
    writable: 0xff,
    changed: (uart, before) => uart.lineChanged(before),
    meaning: 'line control: bit 4 FIFOs',
  },
  CR: {
    offset: 0x30,
    width: 4,
    access: 'rw',
    writable: 0xff87,
    changed: (uart) => uart.controlChanged(),
    meaning: 'control: bit 0 on, 7 loopback, 8 transmitter, 9 receiver',
  },
  IFLS: { offset: 0x34, width: 4, access: 'rw', writable: 0x3f, meaning: 'trigger levels of the FIFOs' },
  IMSC: {
    offset: 0x38,
    width: 4,
    access: 'rw',
    writable: interrupt.ALL,
    changed: (uart) => uart.update(),
    meaning: 'interrupts that are on',
  },
  RIS: { offset: 0x3c, width: 4, access: 'ro', meaning: 'interrupts, whether on or not' },
  MIS: {
    offset: 0x40,
    width: 4,
    access: 'ro',
    read: ({ state }) => state.RIS & state.IMSC,
    meaning: 'interrupts that are on',
  },
  ICR: {
    offset: 0x44,
    width: 4,
    access: 'wo',
    write: (uart, value) => uart.clear(value),
    meaning: 'clears interrupts',
  },
  DMACR: { offset: 0x48, width: 4, access: 'rw', writable: 7, meaning: 'DMA: kept, and without effect' },
  ...primeCellIds(0x00141011),
});
