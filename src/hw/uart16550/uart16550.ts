/**
 * The 16550A UART (National Semiconductor PC16550D data sheet).
 *
 * Deviations: a byte is transmitted at once, so the transmitter is always empty; the line speed matters only to the
 * receiver's time-out. The interrupt does not depend on OUT2. Received bytes carry no parity or framing errors.
 */
import type { Timer, TimerService } from '../../base/index.js';
import type { Device, IrqLine } from '../../bus/index.js';
import { bool, bytes, deadlineNs, defineState, type StateArena, type StateOf, u8 } from '../../schema/index.js';
import type { SerialBackend, SerialPort } from '../serial-port.js';

const FIFO_SIZE = 16;
/** Divisor 1 is 115200 baud. */
const BAUD_BASE = 115200;

const IER_RECEIVED = 0x01;
const IER_THR_EMPTY = 0x02;
const IER_LINE_STATUS = 0x04;
const IER_MODEM_STATUS = 0x08;

const IIR_NONE = 0x01;
const IIR_MODEM_STATUS = 0x00;
const IIR_THR_EMPTY = 0x02;
const IIR_RECEIVED = 0x04;
const IIR_LINE_STATUS = 0x06;
const IIR_TIMEOUT = 0x0c;
const IIR_FIFOS = 0xc0;

const FCR_ENABLE = 0x01;
const FCR_CLEAR_RECEIVER = 0x02;
const FCR_CLEAR_TRANSMITTER = 0x04;
const FCR_STORED = 0xc9;

const LCR_DLAB = 0x80;
const MCR_LOOP = 0x10;

const LSR_DR = 0x01;
const LSR_OE = 0x02;
const LSR_ERRORS = 0x1e;
const LSR_BI = 0x10;
const LSR_EMPTY = 0x60;

/** Carrier, data set ready and clear to send: a null modem with someone at the other end. */
const MSR_CONNECTED = 0xb0;

const TRIGGER_LEVELS = [1, 4, 8, 14] as const;

export const UartState = defineState('uart16550', 1, {
  IER: u8(),
  FCR: u8(),
  LCR: u8(),
  MCR: u8(),
  LSR: u8(LSR_EMPTY),
  MSR: u8(MSR_CONNECTED),
  SCR: u8(),
  DLL: u8(12),
  DLM: u8(),
  fifo: bytes(FIFO_SIZE),
  fifoHead: u8(0, { max: FIFO_SIZE - 1 }),
  fifoCount: u8(0, { max: FIFO_SIZE }),
  /** The transmitter-empty interrupt waits to be seen. */
  thrPending: bool(),
  timeoutPending: bool(),
  timeoutDeadlineNs: deadlineNs(),
});

export class Uart16550 implements Device, SerialPort {
  readonly name: string;
  readonly state: StateOf<typeof UartState>;
  readonly #clock: TimerService;
  readonly #irq: IrqLine;
  readonly #backend: SerialBackend | undefined;
  readonly #timer: Timer;

  /** Without a backend what is sent is lost. */
  constructor(options: {
    clock: TimerService;
    irq: IrqLine;
    backend?: SerialBackend | undefined;
    arena?: StateArena;
    name?: string;
  }) {
    this.name = options.name ?? 'uart16550';
    this.state = UartState.allocate(options.arena);
    this.#clock = options.clock;
    this.#irq = options.irq;
    this.#backend = options.backend;
    this.#timer = options.clock.createTimer(this.name, () => this.#expire());
  }

  reset(): void {
    UartState.reset(this.state);
    this.#timer.cancel();
    this.#irq.set(false);
  }
  save(): Uint8Array {
    return UartState.save(this.state);
  }
  load(saved: Uint8Array): void {
    UartState.load(this.state, saved);
    const at = this.state.timeoutDeadlineNs;
    if (at === Infinity) this.#timer.cancel();
    else this.#timer.arm(at);
    this.#update();
  }

  // ---- the line's side

  canReceive(): number {
    const { state } = this;
    if ((state.MCR & MCR_LOOP) !== 0) return 0;
    return this.#capacity() - state.fifoCount;
  }
  receive(input: Uint8Array): number {
    const count = Math.min(input.length, this.canReceive());
    for (let i = 0; i < count; i++) this.#enqueue(input[i]!);
    if (count > 0) this.#received();
    return count;
  }
  receiveBreak(): void {
    if ((this.state.MCR & MCR_LOOP) !== 0) return;
    this.#enqueue(0);
    this.state.LSR |= LSR_BI;
    this.#received();
  }

  #capacity(): number {
    return (this.state.FCR & FCR_ENABLE) !== 0 ? FIFO_SIZE : 1;
  }

  #enqueue(byte: number): void {
    const { state } = this;
    if (state.fifoCount >= this.#capacity()) {
      state.LSR |= LSR_OE;
      // Without FIFOs the new byte replaces the old; with them it is lost.
      if ((state.FCR & FCR_ENABLE) === 0) state.fifo[state.fifoHead] = byte;
      return;
    }
    state.fifo[(state.fifoHead + state.fifoCount) % FIFO_SIZE] = byte;
    state.fifoCount++;
    state.LSR |= LSR_DR;
  }

  #received(): void {
    this.#restartTimeout();
    this.#update();
  }

  /** Four characters' time after the last byte came or went, data below the trigger level is announced too. */
  #restartTimeout(): void {
    const { state } = this;
    if ((state.FCR & FCR_ENABLE) === 0 || state.fifoCount === 0) {
      state.timeoutDeadlineNs = Infinity;
      this.#timer.cancel();
      return;
    }
    const divisor = Math.max(1, (state.DLM << 8) | state.DLL);
    const bits = 1 + 5 + (state.LCR & 3) + ((state.LCR & 8) !== 0 ? 1 : 0) + ((state.LCR & 4) !== 0 ? 2 : 1);
    state.timeoutDeadlineNs = this.#clock.nowNs() + Math.ceil((4 * bits * divisor * 1e9) / BAUD_BASE);
    this.#timer.arm(state.timeoutDeadlineNs);
  }
  #expire(): void {
    const { state } = this;
    state.timeoutDeadlineNs = Infinity;
    if (state.fifoCount === 0) return;
    state.timeoutPending = true;
    this.#update();
  }

  // ---- interrupts

  #interrupt(): number {
    const { IER, LSR, MSR, FCR, fifoCount, timeoutPending, thrPending } = this.state;
    if ((IER & IER_LINE_STATUS) !== 0 && (LSR & LSR_ERRORS) !== 0) return IIR_LINE_STATUS;
    if ((IER & IER_RECEIVED) !== 0) {
      const trigger = (FCR & FCR_ENABLE) !== 0 ? TRIGGER_LEVELS[(FCR >> 6) as 0 | 1 | 2 | 3] : 1;
      if (fifoCount >= trigger) return IIR_RECEIVED;
      if (timeoutPending) return IIR_TIMEOUT;
    }
    if ((IER & IER_THR_EMPTY) !== 0 && thrPending) return IIR_THR_EMPTY;
    if ((IER & IER_MODEM_STATUS) !== 0 && (MSR & 0x0f) !== 0) return IIR_MODEM_STATUS;
    return IIR_NONE;
  }
  #update(): void {
    this.#irq.set(this.#interrupt() !== IIR_NONE);
  }

  // ---- registers

  #readReceiver(): number {
    const { state } = this;
    if (state.fifoCount === 0) return state.fifo[(state.fifoHead + FIFO_SIZE - 1) % FIFO_SIZE]!;
    const byte = state.fifo[state.fifoHead]!;
    state.fifoHead = (state.fifoHead + 1) % FIFO_SIZE;
    state.fifoCount--;
    if (state.fifoCount === 0) state.LSR &= ~LSR_DR;
    state.timeoutPending = false;
    this.#restartTimeout();
    this.#update();
    if ((state.MCR & MCR_LOOP) === 0) this.#backend?.receiveReady?.();
    return byte;
  }

  #transmit(byte: number): void {
    const { state } = this;
    if ((state.IER & IER_THR_EMPTY) !== 0 && state.thrPending) {
      // Full for an instant: an edge-triggered interrupt input must see the line fall before it rises again.
      state.thrPending = false;
      this.#update();
    }
    if ((state.MCR & MCR_LOOP) !== 0) {
      this.#enqueue(byte);
      this.#restartTimeout();
    } else this.#backend?.write(byte);
    state.thrPending = true;
    this.#update();
  }

  #clearReceiver(): void {
    const { state } = this;
    state.fifoCount = 0;
    state.fifoHead = 0;
    state.LSR &= ~(LSR_DR | LSR_BI);
    state.timeoutPending = false;
    this.#restartTimeout();
  }

  #writeFcr(value: number): void {
    const { state } = this;
    // Switching the FIFOs on or off empties them.
    const clears = ((value ^ state.FCR) & FCR_ENABLE) !== 0 ? FCR_CLEAR_RECEIVER | FCR_CLEAR_TRANSMITTER : value;
    state.FCR = (value & FCR_ENABLE) !== 0 ? value & FCR_STORED : 0;
    if ((clears & FCR_CLEAR_RECEIVER) !== 0) this.#clearReceiver();
    if ((clears & FCR_CLEAR_TRANSMITTER) !== 0) state.thrPending = true;
    this.#update();
    if (this.canReceive() > 0) this.#backend?.receiveReady?.();
  }

  #writeMcr(value: number): void {
    const { state } = this;
    const before = state.MCR;
    state.MCR = value & 0x1f;
    if (((state.MCR | before) & MCR_LOOP) === 0) return;
    // In loopback RTS, DTR, OUT1 and OUT2 come back as CTS, DSR, RI and DCD.
    const looped =
      ((value & 2) !== 0 ? 0x10 : 0) |
      ((value & 1) !== 0 ? 0x20 : 0) |
      ((value & 4) !== 0 ? 0x40 : 0) |
      ((value & 8) !== 0 ? 0x80 : 0);
    this.#setModemLines((state.MCR & MCR_LOOP) !== 0 ? looped : MSR_CONNECTED);
    this.#update();
    if (this.canReceive() > 0) this.#backend?.receiveReady?.();
  }

  /** Modem inputs in MSR's upper half; changes set the delta bits (for RI only its end). */
  #setModemLines(lines: number): void {
    const { state } = this;
    const before = state.MSR & 0xf0;
    const changed = (before ^ lines) >> 4;
    const delta = (changed & 0x0b) | ((before & ~lines & 0x40) !== 0 ? 0x04 : 0);
    state.MSR = lines | (state.MSR & 0x0f) | delta;
  }

  read(register: number): number {
    const { state } = this;
    const latch = (state.LCR & LCR_DLAB) !== 0;
    switch (register) {
      case 0:
        return latch ? state.DLL : this.#readReceiver();
      case 1:
        return latch ? state.DLM : state.IER;
      case 2: {
        const source = this.#interrupt();
        if (source === IIR_THR_EMPTY) {
          state.thrPending = false;
          this.#update();
        }
        return source | ((state.FCR & FCR_ENABLE) !== 0 ? IIR_FIFOS : 0);
      }
      case 3:
        return state.LCR;
      case 4:
        return state.MCR;
      case 5: {
        const value = state.LSR;
        if ((value & LSR_ERRORS) !== 0) {
          state.LSR = value & ~LSR_ERRORS;
          this.#update();
        }
        return value;
      }
      case 6: {
        const value = state.MSR;
        if ((value & 0x0f) !== 0) {
          state.MSR = value & 0xf0;
          this.#update();
        }
        return value;
      }
      default:
        return state.SCR;
    }
  }

  write(register: number, value: number): void {
    const { state } = this;
    const latch = (state.LCR & LCR_DLAB) !== 0;
    switch (register) {
      case 0:
        if (latch) state.DLL = value;
        else this.#transmit(value);
        return;
      case 1:
        if (latch) {
          state.DLM = value;
          return;
        }
        // Enabling the transmitter's interrupt while it is empty raises it.
        if ((value & ~state.IER & IER_THR_EMPTY) !== 0) state.thrPending = true;
        state.IER = value & 0x0f;
        this.#update();
        return;
      case 2:
        this.#writeFcr(value);
        return;
      case 3:
        state.LCR = value;
        return;
      case 4:
        this.#writeMcr(value);
        return;
      case 5:
      case 6:
        // LSR and MSR are for factory tests only.
        return;
      default:
        state.SCR = value;
    }
  }
}
