/** What the chips' tests share: a line that remembers, and seeded random register accesses. */
import type { IrqLine } from '../bus/index.js';

/** An IRQ line's far end: its level and how often it rose. */
export class TestLine implements IrqLine {
  level = false;
  rises = 0;
  set(level: boolean): void {
    if (level && !this.level) this.rises++;
    this.level = level;
  }
}

/** Numbers below n from a seed (a 32-bit linear congruential generator). */
export function seededRandom(seed: number): (n: number) => number {
  let state = seed >>> 0;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

const WORDS = [0, 1, 0xff, 0x80, 0x7fffffff, 0xffffffff, 0x10000];

/**
 * `steps` random reads and writes at offsets below `sizeBytes`, of every width; `between` runs after each (time, pins).
 * Throws if a read gives what no register can hold.
 */
export function fuzzAccesses(
  random: (n: number) => number,
  steps: number,
  sizeBytes: number,
  access: {
    read(offset: number, size: 1 | 2 | 4): number;
    write(offset: number, size: 1 | 2 | 4, value: number): void;
  },
  between: () => void = () => {},
): void {
  for (let i = 0; i < steps; i++) {
    const size = ([1, 2, 4] as const)[random(3)]!;
    const offset = random(Math.max(1, sizeBytes - size + 1));
    if (random(3) === 0) {
      const value = access.read(offset, size);
      if (!(Number.isInteger(value) && value >= 0 && value < 2 ** (8 * size))) {
        throw new Error(`read of ${size} bytes at ${offset} gave ${value}`);
      }
    } else {
      const value = random(2) === 0 ? WORDS[random(WORDS.length)]! : random(2 ** 32);
      access.write(offset, size, size === 4 ? value >>> 0 : value & (2 ** (8 * size) - 1));
    }
    between();
  }
}
