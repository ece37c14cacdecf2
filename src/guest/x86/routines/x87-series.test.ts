/** The transcendental functions in IR against those on big integers, which are far more precise: the same numbers. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { compileRoutines } from '../../../wasm/routine-module.js';
import { field, x86Vars } from '../state.js';
import { routines } from './set.js';
import { x87Function } from './x87-functions.js';
import './x87-series.js';
import { functionNumber, type Transcendental } from './x87-transcendental.js';

declare const WebAssembly: {
  readonly Memory: new (descriptor: object) => { readonly buffer: SharedArrayBuffer; grow(pages: number): number };
};

type Number80 = readonly [sig: bigint, se: number];
const STATE = 4096;
const BIAS = 16383;
const TOP = 1n << 63n;

const memoryPages = { initial: 2, maximum: 2 };
const memory = new WebAssembly.Memory({ ...memoryPages, shared: true });
const { exports } = compileRoutines({ set: routines, vars: x86Vars, memory, memoryPages, host: {} });
const state = new DataView(memory.buffer, STATE);

/** A linear congruential generator, upper bits. */
function generator(seed: bigint): (limit: number) => number {
  let x = seed;
  return (limit) => {
    x = BigInt.asUintN(64, x * 6364136223846793005n + 1442695040888963407n);
    return Number((x >> 33n) % BigInt(limit));
  };
}

const ordinal = (sig: bigint, se: number): bigint => {
  const size = (BigInt(se & 0x7fff) << 63n) | (sig & (TOP - 1n));
  return se & 0x8000 ? -size : size;
};

interface Row {
  readonly routine: string;
  readonly reference: Transcendental;
  /** Least exponent of the first operand, and how many there are. */
  readonly from: number;
  readonly count: number;
  readonly signed: boolean;
  readonly more?: readonly number[];
  readonly second?: (a: Number80, random: (limit: number) => number) => Number80;
}

const anySecond: Row['second'] = (_a, random) => [sig(random), (random(2) << 15) | (BIAS - 40 + random(80))];
const rows: readonly Row[] = [
  { routine: 'x87_quick_sine', reference: 'fsin', from: -34, count: 97, signed: true, more: [0] },
  { routine: 'x87_quick_sine', reference: 'fcos', from: -34, count: 97, signed: true, more: [1] },
  { routine: 'x87_quick_tangent', reference: 'fptan', from: -34, count: 97, signed: true },
  { routine: 'x87_quick_power', reference: 'f2xm1', from: -64, count: 64, signed: true },
  { routine: 'x87_quick_logarithm', reference: 'fyl2x', from: -16382, count: 32766, signed: false, second: anySecond },
  { routine: 'x87_quick_logarithm', reference: 'fyl2x', from: -1, count: 2, signed: false, second: anySecond },
  {
    routine: 'x87_quick_logarithm_plus_one',
    reference: 'fyl2xp1',
    from: -64,
    count: 62,
    signed: true,
    second: anySecond,
  },
  {
    routine: 'x87_quick_arctangent',
    reference: 'fpatan',
    from: -4000,
    count: 8000,
    signed: true,
    second: ([, se], random) => [
      sig(random),
      (random(2) << 15) | ((se & 0x7fff) + (random(2) ? random(7) - 3 : random(121) - 60)),
    ],
  },
];

function sig(random: (limit: number) => number): bigint {
  const plain = TOP | (BigInt(random(2 ** 31)) << 32n) | BigInt(random(2 ** 31));
  const kind = random(4);
  return kind === 0 ? TOP | (1n << BigInt(random(63))) : kind === 1 ? (plain >> 40n) << 40n : plain;
}

for (const { routine, reference, from, count, signed, more = [], second } of rows) {
  test(`${routine} (${reference}, exponents from ${from}) gives the same numbers`, () => {
    const random = generator(BigInt(from + 20000));
    let different = 0;
    for (let i = 0; i < 800; i++) {
      const a: Number80 = [sig(random), (signed ? random(2) << 15 : 0) | (BIAS + from + random(count))];
      if (reference === 'fyl2x' && a[0] === TOP) continue;
      const b = second?.(a, random);
      const control = 0x37f | (random(4) << 10);
      state.setInt32(field.fpControl, control, true);
      const got = exports[routine](STATE, ...a, ...more, ...(b ?? [])) as [bigint, number, number];
      const want = x87Function(0, functionNumber[reference], a[0], a[1], b?.[0] ?? 0n, b?.[1] ?? 0, control);
      const distance = ordinal(BigInt.asUintN(64, got[0]), got[1]) - ordinal(want[0], want[1]);
      assert.ok(distance >= -1n && distance <= 1n, `${a} ${b} control ${control}: ${got} ${want}`);
      if (distance === 0n) assert.equal(got[2], want[4], `${a} ${b}: flags`);
      else different++;
    }
    // One in 2^40 may round the other way; operands with few bits are unlikely ones.
    assert.ok(different <= 2, `${different} differ`);
  });
}
