/**
 * Where a loader may put things: the RAM entries of the e820 map, minus what is placed already. A kernel image names its
 * own addresses and is not trusted: every placement is checked here, so that no image can overwrite the tables that
 * another part of the loader wrote, or fall outside RAM.
 */
import { VringError } from '../../base/index.js';
import { type BootTarget, e820Type } from './boot-state.js';

interface Range {
  readonly start: number;
  readonly end: number;
}

export class RamPlan {
  readonly #ram: readonly Range[];
  readonly #taken: { start: number; end: number; what: string }[] = [];
  readonly #target: BootTarget;

  constructor(target: BootTarget) {
    this.#target = target;
    this.#ram = target.e820
      .filter((entry) => entry.type === e820Type.ram && entry.size > 0)
      .map((entry) => ({ start: entry.start, end: entry.start + entry.size }))
      .sort((a, b) => a.start - b.start);
  }

  /** All RAM, in bytes. */
  get ramBytes(): number {
    return this.#ram.reduce((sum, range) => sum + range.end - range.start, 0);
  }

  /** Bytes of RAM from `gpa` on without a hole; 0 when `gpa` is not RAM. */
  ramFrom(gpa: number): number {
    const range = this.#ram.find((r) => gpa >= r.start && gpa < r.end);
    return range === undefined ? 0 : range.end - gpa;
  }

  /** The lowest RAM address above `gpa`, or Infinity. */
  nextRam(gpa: number): number {
    return this.#ram.find((r) => r.start > gpa)?.start ?? Number.POSITIVE_INFINITY;
  }

  /** True when [gpa, gpa+size) is RAM in one piece and free. */
  isFree(gpa: number, size: number): boolean {
    const end = gpa + size;
    if (!this.#ram.some((r) => gpa >= r.start && end <= r.end)) return false;
    return !this.#taken.some((t) => gpa < t.end && end > t.start);
  }

  /** Keeps a range for `what` or throws. */
  reserve(gpa: number, size: number, what: string): void {
    if (size === 0) return;
    const end = gpa + size;
    if (!this.#ram.some((r) => gpa >= r.start && end <= r.end)) {
      throw new VringError(
        'boot-no-ram',
        `${what} does not fit: it needs ${size} bytes at address 0x${gpa.toString(16)}, which is not all RAM ` +
          `(the machine has ${this.ramBytes} bytes).`,
      );
    }
    const clash = this.#taken.find((t) => gpa < t.end && end > t.start);
    if (clash !== undefined) {
      throw new VringError(
        'boot-overlap',
        `${what} at address 0x${gpa.toString(16)} would overwrite ${clash.what} at 0x${clash.start.toString(16)}.`,
      );
    }
    this.#taken.push({ start: gpa, end, what });
  }

  /** Reserves and writes. */
  place(gpa: number, bytes: Uint8Array, what: string): void {
    this.reserve(gpa, bytes.length, what);
    if (bytes.length > 0) this.#target.write(gpa, bytes);
  }

  /** Writes into a range reserved before. */
  write(gpa: number, bytes: Uint8Array): void {
    if (bytes.length > 0) this.#target.write(gpa, bytes);
  }

  /** Zeroes a range reserved before. */
  clear(gpa: number, size: number): void {
    if (size > 0) this.#target.clear(gpa, size);
  }

  /** The highest aligned free address with [result, result+size) at or above `from` and wholly below `below`. */
  findHigh(size: number, align: number, from: number, below: number): number | undefined {
    for (let i = this.#ram.length - 1; i >= 0; i--) {
      const range = this.#ram[i]!;
      let end = Math.min(range.end, below);
      for (;;) {
        const start = Math.floor((end - size) / align) * align;
        if (start < Math.max(range.start, from)) break;
        const clash = this.#taken.find((t) => start < t.end && start + size > t.start);
        if (clash === undefined) return start;
        end = clash.start;
      }
    }
    return undefined;
  }

  /** The lowest aligned free address at or above `from` with room for `size` bytes below `below`. */
  findLow(size: number, align: number, from: number, below: number): number | undefined {
    for (const range of this.#ram) {
      let start = Math.ceil(Math.max(range.start, from) / align) * align;
      while (start + size <= Math.min(range.end, below)) {
        const clash = this.#taken.find((t) => start < t.end && start + size > t.start);
        if (clash === undefined) return start;
        start = Math.ceil(clash.end / align) * align;
      }
    }
    return undefined;
  }
}
