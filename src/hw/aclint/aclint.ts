/**
 * RISC-V's ACLINT, laid out as SiFive's CLINT (RISC-V ACLINT specification 1.0-rc4, 2.2 and 3): MSWI at 0, a word for each hart; MTIMER
 * with mtimecmp at 0x4000, 8 bytes for each hart, and mtime at 0xbff8. mtime counts at 10 MHz.
 *
 * The halves of mtimecmp are registers of their own: what software writes between them can interrupt, as the specification has it.
 */
import { assert, type Timer, type TimerService } from '../../base/index.js';
import { type Device, type IrqLine, type Register, RegisterBank } from '../../bus/index.js';
import { defineState, type StateArena, type StateOf, u32s, u64, u64s } from '../../schema/index.js';

export const ACLINT_BYTES = 0x10000;
export const MTIME_HZ = 10_000_000;
const NS_PER_TICK = 1e9 / MTIME_HZ;
const MAX_HARTS = 64;
const ALL_ONES = (1n << 64n) - 1n;

const at = { mtimecmp: 0x4000, mtime: 0xbff8 } as const;

export const AclintState = defineState('aclint', 2, {
  msip: u32s(MAX_HARTS, { max: 1 }),
  mtimecmp: u64s(MAX_HARTS, {}, ALL_ONES),
  /** What is added to the clock's ticks to give mtime. */
  offset: u64(),
});

/** A hart's machine software and timer interrupt. */
export interface AclintHart {
  readonly software: IrqLine;
  readonly timer: IrqLine;
}

export class Aclint implements Device {
  readonly name = 'aclint';
  readonly state: StateOf<typeof AclintState>;
  readonly registers: RegisterBank<Aclint>;
  readonly #clock: TimerService;
  readonly #timers: readonly Timer[];
  readonly #harts: readonly AclintHart[];
  readonly #timeChanged: (() => void) | undefined;

  /** `timeChanged`: time has jumped, for who else waits for it. */
  constructor(options: {
    clock: TimerService;
    harts: readonly AclintHart[];
    timeChanged?: () => void;
    arena?: StateArena;
  }) {
    const { clock, harts } = options;
    assert(harts.length <= MAX_HARTS, 'so many harts fit');
    this.state = AclintState.allocate(options.arena);
    this.#clock = clock;
    this.#harts = harts;
    this.#timeChanged = options.timeChanged;
    this.#timers = harts.map((_, hart) => clock.createTimer(`${this.name}${hart}`, () => this.#update(hart)));
    this.registers = new RegisterBank(ACLINT_BYTES, registersFor(harts.length), this, this.state);
  }

  /** mtime, as the harts' `time` shows it. */
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
    this.#updateAll();
    this.#timeChanged?.();
  }

  setCompare(hart: number, half: 'low' | 'high', value: number, mask: number): void {
    const { mtimecmp } = this.state;
    mtimecmp[hart] = withHalf(mtimecmp[hart], half, value, mask);
    this.#update(hart);
  }

  setSoftware(hart: number, value: number): void {
    this.state.msip[hart] = value & 1;
    this.#harts[hart].software.set((value & 1) !== 0);
  }

  #updateAll(): void {
    for (const hart of this.#harts.keys()) this.#update(hart);
  }

  #update(hart: number): void {
    const compare = this.state.mtimecmp[hart];
    const due = this.time() >= compare;
    this.#harts[hart].timer.set(due);
    const deadline = due ? Infinity : this.deadlineOf(compare);
    if (deadline === Infinity) this.#timers[hart].cancel();
    else this.#timers[hart].arm(deadline);
  }

  reset(): void {
    AclintState.reset(this.state);
    this.#restore();
  }
  save(): Uint8Array {
    return AclintState.save(this.state);
  }
  load(saved: Uint8Array): void {
    AclintState.load(this.state, saved);
    this.#restore();
  }

  #restore(): void {
    for (const hart of this.#harts.keys()) this.setSoftware(hart, this.state.msip[hart]);
    this.#updateAll();
  }
}

function withHalf(before: bigint, half: 'low' | 'high', value: number, mask: number): bigint {
  const shift = half === 'low' ? 0n : 32n;
  return (before & ~(BigInt(mask) << shift)) | (BigInt(value) << shift);
}

const low = (value: bigint): number => Number(value & 0xffffffffn);
const high = (value: bigint): number => Number(value >> 32n);

/** The two words of a number of 64 bits. */
function pair(
  name: string,
  offset: number,
  meaning: string,
  read: (chip: Aclint) => bigint,
  write: (chip: Aclint, half: 'low' | 'high', value: number, mask: number) => void,
): [string, Register<Aclint>][] {
  return (['low', 'high'] as const).map((half, i) => [
    `${name}.${half}`,
    {
      offset: offset + 4 * i,
      width: 4,
      access: 'rw',
      read: (chip) => (half === 'low' ? low : high)(read(chip)),
      write: (chip, value, mask) => write(chip, half, value, mask),
      meaning: `${meaning}, ${half} half`,
    },
  ]);
}

function registersFor(harts: number): Record<string, Register<Aclint>> {
  const rows: [string, Register<Aclint>][] = [];
  for (let hart = 0; hart < harts; hart++) {
    rows.push([
      `msip${hart}`,
      {
        offset: 4 * hart,
        width: 4,
        access: 'rw',
        read: (chip) => chip.state.msip[hart],
        write: (chip, value, mask) => {
          if ((mask & 1) !== 0) chip.setSoftware(hart, value);
        },
        meaning: 'bit 0: the machine software interrupt',
      },
    ]);
    rows.push(
      ...pair(
        `mtimecmp${hart}`,
        at.mtimecmp + 8 * hart,
        'the timer interrupts from this time on',
        (chip) => chip.state.mtimecmp[hart],
        (chip, half, value, mask) => chip.setCompare(hart, half, value, mask),
      ),
    );
  }
  rows.push(
    ...pair(
      'mtime',
      at.mtime,
      'time',
      (chip) => chip.time(),
      (chip, half, value, mask) => chip.setTime(half, value, mask),
    ),
  );
  return Object.fromEntries(rows);
}
