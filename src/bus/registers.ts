/**
 * A device's registers as one table (DESIGN §2): offset, width, reset value, access, meaning and hooks, from which come the
 * state fields, dispatch and accesses of any size and alignment.
 *
 *     const registers = defineRegisters<Chip>()({
 *       CTRL: { offset: 0, width: 4, access: 'rw', writable: 0xff, meaning: 'control', changed: (chip) => chip.update() },
 *       STAT: { offset: 4, width: 4, access: 'w1c', meaning: 'status' },
 *     });
 *     const ChipState = defineState('chip', 1, { ...registerFields(registers), deadline: f64() });
 *     const bank = new RegisterBank(0x10, registers, chip, chip.state);
 */
import { assert } from '../base/index.js';
import { type Field, u8, u16, u32 } from '../schema/index.js';
import type { IoHandler } from './address-space.js';

/**
 * ro: writes are ignored. rw: bits of `writable` are stored. w1c: ones clear bits of `writable`. wo: reads as zero;
 * nothing is stored.
 */
export type RegisterAccess = 'ro' | 'rw' | 'w1c' | 'wo';

export interface Register<D> {
  readonly offset: number;
  readonly width: 1 | 2 | 4;
  readonly access: RegisterAccess;
  readonly reset?: number;
  /** Bits that a write reaches; all unless given. */
  readonly writable?: number;
  readonly meaning: string;
  /** Computes what a read gives; without it the stored value. */
  readonly read?: (device: D) => number;
  /** Takes the place of storing. `mask` has ones where the access carried bits; `value` is zero outside it. */
  readonly write?: (device: D, value: number, mask: number) => void;
  /** Runs after a write was stored. */
  readonly changed?: (device: D, before: number) => void;
}

export type Registers<D> = { readonly [name: string]: Register<D> };

/** Keeps the names in the type. */
export function defineRegisters<D>(): <const R extends Registers<D>>(rows: R) => R {
  return (rows) => rows;
}

/** One state field per register that stores something: those without `read` and not `wo`. */
export function registerFields<R extends Registers<never>>(
  rows: R,
): { [K in keyof R as R[K] extends { read: unknown } | { access: 'wo' } ? never : K]: Field<number> } {
  const fields: Record<string, Field<number>> = {};
  for (const [name, row] of Object.entries(rows)) {
    if (row.read !== undefined || row.access === 'wo') continue;
    fields[name] = row.width === 1 ? u8(row.reset) : row.width === 2 ? u16(row.reset) : u32(row.reset);
  }
  return fields as never;
}

interface Row<D> extends Register<D> {
  readonly name: string;
  readonly full: number;
}

/** Dispatches a window's accesses to its registers. Bytes that no register has read as zero and ignore writes. */
export class RegisterBank<D> implements IoHandler {
  /** Called for accesses to bytes that belong to no register. */
  onHole: ((offset: number, isWrite: boolean) => void) | undefined;
  readonly #rows: Row<D>[];
  /** Register + 1 that has a byte, 0 for none. */
  readonly #at: Uint8Array;
  readonly #device: D;
  readonly #stored: Record<string, number>;

  constructor(sizeBytes: number, rows: Registers<D>, device: D, state: object) {
    this.#rows = Object.entries(rows).map(([name, row]) => ({
      ...row,
      name,
      full: row.width === 4 ? 0xffffffff : row.width === 2 ? 0xffff : 0xff,
    }));
    this.#at = new Uint8Array(sizeBytes);
    this.#device = device;
    this.#stored = state as Record<string, number>;
    assert(this.#rows.length < 256, 'a register bank has fewer than 256 registers');
    for (const [i, row] of this.#rows.entries()) {
      assert(row.offset >= 0 && row.offset + row.width <= sizeBytes, `register ${row.name} is inside its window`);
      for (let b = row.offset; b < row.offset + row.width; b++) {
        assert(this.#at[b] === 0, `register ${row.name} has its bytes for itself`);
        this.#at[b] = i + 1;
      }
    }
  }

  read(offset: number, size: 1 | 2 | 4): number {
    const index = this.#at[offset] ?? 0;
    const first = this.#rows[index - 1];
    if (first !== undefined && first.offset === offset && first.width === size) return this.#readRow(first);
    let value = 0;
    for (let i = 0; i < size; ) {
      const row = this.#rows[(this.#at[offset + i] ?? 0) - 1];
      if (row === undefined) {
        this.onHole?.(offset + i, false);
        i++;
        continue;
      }
      const skip = offset + i - row.offset;
      const count = Math.min(row.width - skip, size - i);
      const part = (this.#readRow(row) >>> (8 * skip)) & byteMask(count);
      value |= part << (8 * i);
      i += count;
    }
    return value >>> 0;
  }

  write(offset: number, size: 1 | 2 | 4, value: number): void {
    for (let i = 0; i < size; ) {
      const row = this.#rows[(this.#at[offset + i] ?? 0) - 1];
      if (row === undefined) {
        this.onHole?.(offset + i, true);
        i++;
        continue;
      }
      const skip = offset + i - row.offset;
      const count = Math.min(row.width - skip, size - i);
      const mask = (byteMask(count) << (8 * skip)) >>> 0;
      this.#writeRow(row, (((value >>> (8 * i)) << (8 * skip)) & mask) >>> 0, mask);
      i += count;
    }
  }

  #readRow(row: Row<D>): number {
    if (row.read !== undefined) return row.read(this.#device) >>> 0;
    return row.access === 'wo' ? 0 : this.#stored[row.name]!;
  }

  #writeRow(row: Row<D>, value: number, mask: number): void {
    if (row.access === 'ro') return;
    if (row.write !== undefined) {
      row.write(this.#device, value, mask);
      return;
    }
    if (row.access === 'wo') return;
    const before = this.#stored[row.name]!;
    const reach = mask & (row.writable ?? row.full);
    const after = row.access === 'w1c' ? before & ~(value & reach) : (before & ~reach) | (value & reach);
    this.#stored[row.name] = after >>> 0;
    row.changed?.(this.#device, before);
  }
}

function byteMask(count: number): number {
  return count === 4 ? 0xffffffff : (1 << (8 * count)) - 1;
}
