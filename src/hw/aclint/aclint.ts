/**
 * RISC-V's ACLINT for one hart, laid out as SiFive's CLINT (RISC-V ACLINT specification 1.0-rc4, 2.2 and 3): MSWI at 0, MTIMECMP at
 * 0x4000, MTIME at 0xbff8. mtime counts at 10 MHz.
 *
 * The halves of mtimecmp are registers of their own: what software writes between them can interrupt, as the specification has it.
 */
import type { Timer, TimerService } from '../../base/index.js';
import { type Device, defineRegisters, type IrqLine, RegisterBank } from '../../bus/index.js';
import { defineState, type StateArena, type StateOf, u32, u64 } from '../../schema/index.js';

export const ACLINT_BYTES = 0x10000;
export const MTIME_HZ = 10_000_000;
const NS_PER_TICK = 1e9 / MTIME_HZ;
const ALL_ONES = (1n << 64n) - 1n;

export const AclintState = defineState('aclint', 1, {
  msip: u32(0, { max: 1 }),
  mtimecmp: u64(ALL_ONES),
  /** What is added to the clock's ticks to give mtime. */
  offset: u64(),
});

export class Aclint implements Device {
  readonly name = 'aclint';
  readonly state: StateOf<typeof AclintState>;
  readonly registers: RegisterBank<Aclint>;
  readonly #clock: TimerService;
  readonly #timer: Timer;
  readonly #software: IrqLine;
  readonly #timerLine: IrqLine;
  readonly #timeChanged: (() => void) | undefined;

  /** `software`, `timer`: the hart's machine software and timer interrupt. `timeChanged`: time has jumped, for who else waits for it. */
  constructor(options: {
    clock: TimerService;
    software: IrqLine;
    timer: IrqLine;
    timeChanged?: () => void;
    arena?: StateArena;
  }) {
    this.state = AclintState.allocate(options.arena);
    this.#clock = options.clock;
    this.#software = options.software;
    this.#timerLine = options.timer;
    this.#timeChanged = options.timeChanged;
    this.#timer = options.clock.createTimer(this.name, () => this.#update());
    this.registers = new RegisterBank(ACLINT_BYTES, registers, this, this.state);
  }

  /** mtime, as the hart's `time` shows it. */
  time(): bigint {
    return BigInt.asUintN(64, this.#ticks() + this.state.offset);
  }

  #ticks(): bigint {
    return BigInt(Math.floor(this.#clock.nowNs() / NS_PER_TICK));
  }

  /** When `time` will be `value` by the clock: nanoseconds; Infinity: not in an age that it can count. */
  deadlineOf(value: bigint): number {
    const ticks = value - this.state.offset;
    return ticks > BigInt(Number.MAX_SAFE_INTEGER) ? Infinity : Number(ticks) * NS_PER_TICK;
  }

  setTime(half: 'low' | 'high', value: number, mask: number): void {
    this.state.offset = BigInt.asUintN(64, withHalf(this.time(), half, value, mask) - this.#ticks());
    this.#update();
    this.#timeChanged?.();
  }

  setCompare(half: 'low' | 'high', value: number, mask: number): void {
    this.state.mtimecmp = withHalf(this.state.mtimecmp, half, value, mask);
    this.#update();
  }

  setSoftware(): void {
    this.#software.set(this.state.msip !== 0);
  }

  #update(): void {
    const due = this.time() >= this.state.mtimecmp;
    this.#timerLine.set(due);
    const at = due ? Infinity : this.deadlineOf(this.state.mtimecmp);
    if (at === Infinity) this.#timer.cancel();
    else this.#timer.arm(at);
  }

  reset(): void {
    AclintState.reset(this.state);
    this.setSoftware();
    this.#update();
  }
  save(): Uint8Array {
    return AclintState.save(this.state);
  }
  load(saved: Uint8Array): void {
    AclintState.load(this.state, saved);
    this.setSoftware();
    this.#update();
  }
}

function withHalf(before: bigint, half: 'low' | 'high', value: number, mask: number): bigint {
  const shift = half === 'low' ? 0n : 32n;
  return (before & ~(BigInt(mask) << shift)) | (BigInt(value) << shift);
}

const low = (value: bigint): number => Number(value & 0xffffffffn);
const high = (value: bigint): number => Number(value >> 32n);

const registers = defineRegisters<Aclint>()({
  msip: {
    offset: 0,
    width: 4,
    access: 'rw',
    writable: 1,
    changed: (chip) => chip.setSoftware(),
    meaning: 'bit 0: the machine software interrupt',
  },
  mtimecmpLow: {
    offset: 0x4000,
    width: 4,
    access: 'rw',
    read: (chip) => low(chip.state.mtimecmp),
    write: (chip, value, mask) => chip.setCompare('low', value, mask),
    meaning: 'the timer interrupts from this time on, low half',
  },
  mtimecmpHigh: {
    offset: 0x4004,
    width: 4,
    access: 'rw',
    read: (chip) => high(chip.state.mtimecmp),
    write: (chip, value, mask) => chip.setCompare('high', value, mask),
    meaning: 'high half',
  },
  mtimeLow: {
    offset: 0xbff8,
    width: 4,
    access: 'rw',
    read: (chip) => low(chip.time()),
    write: (chip, value, mask) => chip.setTime('low', value, mask),
    meaning: 'time, low half',
  },
  mtimeHigh: {
    offset: 0xbffc,
    width: 4,
    access: 'rw',
    read: (chip) => high(chip.time()),
    write: (chip, value, mask) => chip.setTime('high', value, mask),
    meaning: 'time, high half',
  },
});
