/**
 * Repeated string instructions: REP MOVS, STOS, LODS and REPE/REPNE CMPS, SCAS. Intel SDM vol. 1 section 7.3.9, vol. 2 REP.
 *
 * One call does a bounded amount of work and says whether more is left; the instruction then runs again, so that interrupts are
 * taken in between. Registers are kept exact at every element, so that a fault finds them as the architecture says. Runs within
 * pages that are plain RAM are copied or filled at once.
 */
import {
  header,
  type I32,
  type I64,
  type Local,
  type RoutineBuilder,
  TLB_ENTRY_SHIFT,
  tlbEntry,
} from '../../../ir/index.js';
import { flagKind } from '../flags.js';
import { ccDst, ccOp, ccSrc, field, gpr, trapCode } from '../state.js';
import { dataBreakpoint } from '../system/debug.js';
import { checkSegment } from '../system/segments.js';
import { routines } from './set.js';

const CX = 1;
const SI = 6;
const DI = 7;
const AX = 0;
const DIRECTION = 1 << 10;
/** Elements or runs in one call. */
const MOST_STEPS = 512;

/**
 * Bits of a routine's last parameter: the source's segment in bits 0-2; check the source; check ES; alignment checks are on; the
 * debugger looks at each element: its accesses are shown to the data breakpoints, and the call ends behind it.
 */
export const stringCheck = { source: 8, destination: 16, alignment: 32, debug: 64 } as const;

type Size = 8 | 16 | 32 | 64;
export type StringOperation = 'movs' | 'stos' | 'lods' | 'cmps' | 'scas';

/** What every repeated instruction's routine has at hand. */
interface Machine {
  readonly r: RoutineBuilder;
  readonly size: Size;
  readonly sourceBase: I64;
  readonly destinationBase: I64;
  /** Ones where an address counts, by address size; the same for linear addresses. */
  readonly addressMask: I64;
  readonly linearMask: I64;
  readonly checks: I32;
}

function readCounter({ r, addressMask }: Machine): I64 {
  return r.i64_and(r.get(gpr[CX]), addressMask);
}

/** Adds to a register as wide as addresses are: 16 bits keep the rest, 32 clear it. */
function advance({ r, addressMask }: Machine, n: number, by: I64): void {
  const old = r.get(gpr[n]);
  const moved = r.i64_and(r.i64_add(old, by), addressMask);
  const keep = r.select(r.i64_eq(addressMask, r.i64(0xffff)), r.i64_and(old, r.i64(-0x10000)), r.i64(0));
  r.set(gpr[n], r.i64_or(moved, keep));
}

/** Linear address of the element at SI or DI, its segment checked where that is due. */
function elementAddress(m: Machine, n: typeof SI | typeof DI, write: boolean): I64 {
  const { r } = m;
  const offset = r.i64_and(r.get(gpr[n]), m.addressMask);
  const due = n === SI ? stringCheck.source : stringCheck.destination;
  r.if(r.i32_and(m.checks, r.i32(due)), () => {
    const segment = n === SI ? r.i32_and(m.checks, r.i32(7)) : r.i32(0);
    r.call(checkSegment, segment, offset, r.i32(m.size >> 3), r.i32(write ? 1 : 0));
  });
  const linear = r.i64_and(r.i64_add(offset, n === SI ? m.sourceBase : m.destinationBase), m.linearMask);
  if (m.size > 8) {
    const misaligned = r.i32_and(r.i32_wrap_i64(linear), r.i32((m.size >> 3) - 1));
    r.if(
      r.i32_and(r.i32_ne(misaligned, r.i32(0)), r.i32_ne(r.i32_and(m.checks, r.i32(stringCheck.alignment)), r.i32(0))),
      () => {
        r.i32_store(r.state(), r.i32(trapCode(17, 0)), header.trapCode);
        r.ret(r.i32(1), r.i32(0));
      },
    );
  }
  r.if(r.i32_and(m.checks, r.i32(stringCheck.debug)), () => {
    r.call(dataBreakpoint, linear, r.i32(m.size >> 3), r.i32(write ? 1 : 0));
  });
  return linear;
}

function load({ r, size }: Machine, va: I64): I64 {
  switch (size) {
    case 8:
      return r.i64_extend_i32_u(r.guest_load8(va, 0));
    case 16:
      return r.i64_extend_i32_u(r.guest_load16(va, 0));
    case 32:
      return r.i64_extend_i32_u(r.guest_load32(va, 0));
    default:
      return r.guest_load64(va, 0);
  }
}

function store({ r, size }: Machine, va: I64, value: I64): void {
  if (size === 64) r.guest_store64(va, value, 0);
  else if (size === 32) r.guest_store32(va, r.i32_wrap_i64(value), 0);
  else if (size === 16) r.guest_store16(va, r.i32_wrap_i64(value), 0);
  else r.guest_store8(va, r.i32_wrap_i64(value), 0);
}

/** Host address of `va` if the TLB says that the page may be accessed in place, else 0. */
function inPlace(r: RoutineBuilder, va: I64, tag: number): I32 {
  const s = r.state();
  const index = r.i32_and(r.i32_wrap_i64(r.i64_shr_u(va, r.i64(12 - TLB_ENTRY_SHIFT))), r.i32_load(s, header.tlbMask));
  const entry = r.i32_add(r.i32_load(s, header.tlb), index);
  const hit = r.i64_eq(r.i64_load(entry, tag), r.i64_and(va, r.i64(-4096)));
  return r.select(hit, r.i32_add(r.i32_load(entry, tlbEntry.addend), r.i32_wrap_i64(va)), r.i32(0));
}

/** Elements from `va` to the end of its page, at most `count`. */
function elementsInPage(m: Machine, va: I64, count: I64): I64 {
  const { r } = m;
  const left = r.i64_sub(r.i64(4096), r.i64_and(va, r.i64(4095)));
  const elements = r.i64_shr_u(left, r.i64(Math.log2(m.size >> 3)));
  return r.select(r.i64_lt_u(elements, count), elements, count);
}

/** Counts `n` elements as done: registers, and the counter. */
function finish(m: Machine, n: I64, forwardBytes: I64, source: boolean, destination: boolean): void {
  if (source) advance(m, SI, forwardBytes);
  if (destination) advance(m, DI, forwardBytes);
  advance(m, CX, m.r.i64_sub(m.r.i64(0), n));
}

/** What REPE and REPNE look at: 1 while their condition holds, and the last two values compared. */
interface Comparison {
  readonly goesOn: Local<'i32'>;
  readonly left: Local<'i64'>;
  readonly right: Local<'i64'>;
}

/**
 * The loop around a step: ends where the counter is 0, after MOST_STEPS steps, or where the step clears `goesOn`. The routine
 * gives 1 as second result if the instruction is to run again.
 */
function repeated(
  operation: string,
  size: Size,
  step: (m: Machine, count: I64, compared: Comparison) => void,
  setsFlags = false,
) {
  return routines.define(
    `rep_${operation}${size}`,
    ['i64', 'i64', 'i64', 'i64', 'i32'],
    ['i32', 'i32'],
    { vars: 'write', mayFault: true },
    (r, sourceBase, destinationBase, addressMask, linearMask, checks) => {
      const m: Machine = { r, size, sourceBase, destinationBase, addressMask, linearMask, checks };
      const most = r.select(r.i32_and(checks, r.i32(stringCheck.debug)), r.i32(1), r.i32(MOST_STEPS));
      const steps = r.local('i32', most);
      const goesOn = r.local('i32', r.i32(1));
      const compared: Comparison = { goesOn, left: r.local('i64', r.i64(0)), right: r.local('i64', r.i64(0)) };
      r.block((out) => {
        r.loop((again) => {
          const count = readCounter(m);
          r.brIf(out, r.i64_eqz(count));
          r.brIf(out, r.i32_eqz(r.read(steps)));
          step(m, count, compared);
          r.assign(steps, r.i32_sub(r.read(steps), r.i32(1)));
          r.brIf(again, r.read(goesOn));
        });
      });
      const more = r.i32_and(r.read(goesOn), r.i32_eqz(r.i64_eqz(readCounter(m))));
      if (setsFlags) {
        // Only at the very end: a fault on the way finds the flags as they were before the instruction.
        const any = r.i32_ne(r.read(steps), most);
        r.if(r.i32_and(any, r.i32_eqz(more)), () => {
          r.set(ccDst, r.read(compared.left));
          r.set(ccSrc, r.read(compared.right));
          r.set(ccOp, r.i32(flagKind.sub * 4 + Math.log2(size >> 3)));
        });
      }
      // This much may have taken long: timers and requests are looked at before it goes on.
      r.if(more, () => r.i32_store(r.state(), r.i32(1), header.kick));
      r.ret(r.i32(0), more);
    },
  );
}

/** Whether elements go upwards and addresses are plain, so that runs may be done at once. */
function mayRun(m: Machine): I32 {
  const { r } = m;
  const down = r.i32_and(r.i32_load(r.state(), field.eflags), r.i32(DIRECTION));
  const checked = r.i32_and(m.checks, r.i32(~7));
  const narrow = r.i64_eq(m.addressMask, r.i64(0xffff));
  return r.i32_eqz(r.i32_or(r.i32_or(down, checked), narrow));
}

/** Bytes from one element to the next: negative with DF. */
function stride({ r, size }: Machine): I64 {
  const bytes = size >> 3;
  const down = r.i32_and(r.i32_load(r.state(), field.eflags), r.i32(DIRECTION));
  return r.select(down, r.i64(-bytes), r.i64(bytes));
}

const moveStep = (m: Machine, count: I64): void => {
  const { r, size } = m;
  const bytes = size >> 3;
  const log = r.i64(Math.log2(bytes));
  const from = elementAddress(m, SI, false);
  const to = elementAddress(m, DI, true);
  r.block((done) => {
    r.if(mayRun(m), () => {
      const source = inPlace(r, from, tlbEntry.readTag);
      const destination = inPlace(r, to, tlbEntry.writeTag);
      r.if(r.i32_and(r.i32_ne(source, r.i32(0)), r.i32_ne(destination, r.i32(0))), () => {
        const run = r.local('i64', elementsInPage(m, to, elementsInPage(m, from, count)));
        // A destination that lies ahead in the source repeats it: copy no further than it was before.
        const ahead = r.i64_shr_u(r.i64_extend_i32_u(r.i32_sub(destination, source)), log);
        r.if(r.i64_lt_u(ahead, r.read(run)), () =>
          r.assign(run, r.select(r.i32_eq(source, destination), r.read(run), ahead)),
        );
        r.if(r.i64_ne(r.read(run), r.i64(0)), () => {
          const all = r.i64_shl(r.read(run), log);
          r.memory_copy(destination, source, r.i32_wrap_i64(all));
          finish(m, r.read(run), all, true, true);
          r.br(done);
        });
      });
    });
    store(m, to, load(m, from));
    finish(m, r.i64(1), stride(m), true, true);
  });
};

const storeStep = (m: Machine, count: I64): void => {
  const { r, size } = m;
  const bytes = size >> 3;
  const to = elementAddress(m, DI, true);
  const value = r.get(gpr[AX]);
  r.block((done) => {
    r.if(mayRun(m), () => {
      const destination = inPlace(r, to, tlbEntry.writeTag);
      const run = elementsInPage(m, to, count);
      r.if(r.i32_and(r.i32_ne(destination, r.i32(0)), r.i64_ne(run, r.i64(0))), () => {
        const all = r.i64_shl(run, r.i64(Math.log2(bytes)));
        const length = r.i32_wrap_i64(all);
        const low = r.i64_and(value, r.i64(0xff));
        const pattern = size === 64 ? value : r.i64_and(value, r.i64(2 ** size - 1));
        const same = r.i64_eq(
          pattern,
          r.i64_mul(low, r.i64({ 8: 1, 16: 0x0101, 32: 0x01010101, 64: 0x0101010101010101n }[size])),
        );
        r.if(
          same,
          () => r.memory_fill(destination, r.i32_wrap_i64(low), length),
          () => {
            const at = r.local('i32', destination);
            const end = r.i32_add(destination, length);
            r.loop((again) => {
              const here = r.read(at);
              if (size === 16) r.i32_store16(here, r.i32_wrap_i64(value), 0);
              else if (size === 32) r.i32_store(here, r.i32_wrap_i64(value), 0);
              else if (size === 64) r.i64_store(here, value, 0);
              const next = r.i32_add(here, r.i32(bytes));
              r.assign(at, next);
              r.brIf(again, r.i32_lt_u(next, end));
            });
          },
        );
        finish(m, run, all, false, true);
        r.br(done);
      });
    });
    store(m, to, value);
    finish(m, r.i64(1), stride(m), false, true);
  });
};

/** Writes an element to AL, AX, EAX or RAX. */
function setAccumulator({ r, size }: Machine, value: I64): void {
  if (size >= 32) {
    r.set(gpr[AX], value);
    return;
  }
  r.set(gpr[AX], r.i64_or(r.i64_and(r.get(gpr[AX]), r.i64(-(2 ** size))), value));
}

const loadStep = (m: Machine): void => {
  setAccumulator(m, load(m, elementAddress(m, SI, false)));
  finish(m, m.r.i64(1), stride(m), true, false);
};

function compareStep(source: boolean, whileEqual: boolean) {
  return (m: Machine, _count: I64, compared: Comparison): void => {
    const { r, size } = m;
    const mask = size === 64 ? r.i64(-1) : r.i64(2 ** size - 1);
    // Processors read the element at DI first, as shows where neither is mapped.
    const right = load(m, elementAddress(m, DI, false));
    const left = source ? load(m, elementAddress(m, SI, false)) : r.i64_and(r.get(gpr[AX]), mask);
    finish(m, r.i64(1), stride(m), source, true);
    r.assign(compared.left, left);
    r.assign(compared.right, right);
    r.assign(compared.goesOn, whileEqual ? r.i64_eq(left, right) : r.i64_ne(left, right));
  };
}

const sizes = [8, 16, 32, 64] as const;

/** By operation, size and, for comparisons, whether they go on while equal. */
export const repeatedString = {
  movs: sizes.map((size) => repeated('movs', size, moveStep)),
  stos: sizes.map((size) => repeated('stos', size, storeStep)),
  lods: sizes.map((size) => repeated('lods', size, loadStep)),
  cmpsEqual: sizes.map((size) => repeated('repe_cmps', size, compareStep(true, true), true)),
  cmpsUnequal: sizes.map((size) => repeated('repne_cmps', size, compareStep(true, false), true)),
  scasEqual: sizes.map((size) => repeated('repe_scas', size, compareStep(false, true), true)),
  scasUnequal: sizes.map((size) => repeated('repne_scas', size, compareStep(false, false), true)),
} as const;
