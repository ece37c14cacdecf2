/** Random operands for the row tests that ask QEMU's user mode: such that something worth comparing happens. */

/** xorshift32. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed | 1;
  }
  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }
  below(n: number): number {
    return Math.floor((this.next() / 2 ** 32) * n);
  }
  bits64(): bigint {
    return (BigInt(this.next()) << 32n) | BigInt(this.next());
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }
}

const ALL = (1n << 64n) - 1n;

/** 64 bits: a bound, small, of any length. */
export function integer(random: Random): bigint {
  switch (random.below(4)) {
    case 0:
      return random.pick([0n, 1n, ALL, 1n << 63n, (1n << 63n) - 1n, 1n << 31n, (1n << 31n) - 1n, ALL << 31n]) & ALL;
    case 1: {
      const small = BigInt(random.below(64)) - 32n;
      return small & ALL;
    }
    case 2:
      return random.bits64() >> BigInt(random.below(64));
    default:
      return random.bits64();
  }
}

interface FloatShape {
  readonly fraction: bigint;
  readonly exponents: number;
}
export const doubles: FloatShape = { fraction: 52n, exponents: 2047 };
export const singles: FloatShape = { fraction: 23n, exponents: 255 };
export const halves: FloatShape = { fraction: 10n, exponents: 31 };

/** A number of a format: often with an exponent near the middle or an end, a short fraction, or special. */
export function float(random: Random, { fraction, exponents }: FloatShape): bigint {
  const middle = exponents >> 1;
  const exponent = BigInt(
    random.pick([
      0,
      1,
      exponents,
      exponents - 1,
      middle,
      middle + random.below(8) - 4,
      middle + random.below(8) - 4,
      Math.min(exponents, middle + random.below(80) - 10),
      Math.max(0, middle - random.below(middle)),
      random.below(exponents),
    ]),
  );
  const mask = (1n << fraction) - 1n;
  const places = BigInt(random.below(Number(fraction)));
  const bits = random.pick([0n, mask, random.bits64(), random.bits64() << places, ALL >> places, 1n << places]) & mask;
  const width = fraction + BigInt(exponents.toString(2).length);
  return (BigInt(random.below(2)) << width) | (exponent << fraction) | bits;
}

/** A number near 1, whose sums and products with others of them round in their last places. */
function ordinary(random: Random, { fraction, exponents }: FloatShape): bigint {
  const width = fraction + BigInt(exponents.toString(2).length);
  const exponent = BigInt((exponents >> 1) + random.below(8) - 4);
  return (BigInt(random.below(2)) << width) | (exponent << fraction) | (random.bits64() & ((1n << fraction) - 1n));
}

/**
 * What all registers of a case hold, now and then: ordinary numbers of one format, as a program's. Undefined: each holds what it likes.
 * `single`: a register of 64 bits with numbers of 32 in it.
 */
export function alike(random: Random, single: (number: () => bigint) => bigint): (() => bigint) | undefined {
  switch (random.below(8)) {
    case 0:
    case 1:
      return () => ordinary(random, doubles);
    case 2:
      return () => single(() => ordinary(random, singles));
    default:
      return undefined;
  }
}
/** Both halves hold a number. */
export const pair = (number: () => bigint): bigint => number() | (number() << 32n);
