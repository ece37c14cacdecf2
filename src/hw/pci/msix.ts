/**
 * MSI-X (PCI Local Bus 3.0, 6.8.2): a table of messages and a pending bit array in a BAR, masks per vector and per function.
 */
import { assert } from '../../base/index.js';
import type { IoHandler } from '../../bus/index.js';
import { bytes, defineState, type StateArena } from '../../schema/index.js';
import { capabilityId } from './config-registers.js';
import type { PciFunction, RegisterBar } from './pci-function.js';
import { type StatePart, statePart } from './saved-parts.js';

const entrySize = 16;
const vectorControl = 12;
const masked = 1;
const controlEnable = 0x8000;
const controlFunctionMask = 0x4000;

function schemaFor(vectors: number) {
  return defineState('msix', 1, { table: bytes(vectors * entrySize), pending: bytes(Math.ceil(vectors / 64) * 8) });
}

export class Msix {
  readonly vectors: number;
  /** The BAR that holds table and pending bits; it goes into the function's list. */
  readonly bar: RegisterBar;
  readonly part: StatePart;
  readonly #table: Uint8Array;
  readonly #tableView: DataView;
  readonly #pending: Uint8Array;
  readonly #pendingOffset: number;
  readonly #reset: () => void;
  #function: PciFunction | undefined;
  #capability = 0;
  /** Copy of the control word's two bits as of the last look, to see them change. */
  #live = false;

  constructor(options: { barIndex: number; vectors: number; arena?: StateArena | undefined }) {
    const { vectors } = options;
    assert(vectors >= 1 && vectors <= 2048, 'MSI-X has 1 to 2048 vectors');
    this.vectors = vectors;
    const schema = schemaFor(vectors);
    const state = schema.allocate(options.arena);
    this.part = statePart(schema, state);
    this.#table = state.table;
    this.#tableView = new DataView(state.table.buffer, state.table.byteOffset, state.table.length);
    this.#pending = state.pending;
    this.#reset = () => {
      schema.reset(state);
      this.#maskAll();
    };
    if (!options.arena?.attached) this.#maskAll();
    // Table in the lower half, pending bits in the upper.
    let half = 0x800;
    while (half < vectors * entrySize) half *= 2;
    this.#pendingOffset = half;
    this.bar = { index: options.barIndex, kind: 'memory32', size: half * 2, handler: this.#handler() };
  }

  /** Adds the capability, at `place` if that is given; `configWritten` of the function calls `configChanged`. */
  attach(fn: PciFunction, place?: number): void {
    this.#function = fn;
    const at = fn.addCapability(capabilityId.msix, 12, place);
    this.#capability = at;
    fn.define(at + 2, 2, this.vectors - 1, controlEnable | controlFunctionMask);
    fn.define(at + 4, 4, this.bar.index);
    fn.define(at + 8, 4, this.#pendingOffset | this.bar.index);
  }

  #maskAll(): void {
    for (let v = 0; v < this.vectors; v++) this.#table[v * entrySize + vectorControl] = masked;
  }

  get #control(): number {
    return this.#function === undefined ? 0 : this.#function.config[this.#capability + 3]! << 8;
  }

  get enabled(): boolean {
    return (this.#control & controlEnable) !== 0;
  }

  /** Enabled and not masked as a whole. */
  get #open(): boolean {
    return (this.#control & (controlEnable | controlFunctionMask)) === controlEnable;
  }

  /** Sends a vector's message, or remembers it while masked. A vector that does not exist is ignored. */
  notify(vector: number): void {
    if (vector >= this.vectors || !this.enabled) return;
    if (!this.#open || (this.#table[vector * entrySize + vectorControl]! & masked) !== 0) {
      this.#pending[vector >> 3]! |= 1 << (vector & 7);
      return;
    }
    this.#send(vector);
  }

  #send(vector: number): void {
    const at = vector * entrySize;
    const high = this.#tableView.getUint32(at + 4, true);
    const address = (this.#tableView.getUint32(at, true) & ~3) >>> 0;
    // Addresses beyond 2^52 reach nothing.
    if (high < 0x100000) this.#function?.sendMsi(high * 2 ** 32 + address, this.#tableView.getUint32(at + 8, true));
  }

  #sendPending(vector: number): void {
    const bit = 1 << (vector & 7);
    if ((this.#pending[vector >> 3]! & bit) === 0) return;
    this.#pending[vector >> 3]! &= ~bit;
    this.#send(vector);
  }

  /** Looks at the control word again after a configuration write or a load. */
  configChanged(): void {
    const open = this.#open;
    if (open && !this.#live) {
      for (let v = 0; v < this.vectors; v++) {
        if ((this.#table[v * entrySize + vectorControl]! & masked) === 0) this.#sendPending(v);
      }
    }
    this.#live = open;
  }

  clearPending(vector: number): void {
    if (vector < this.vectors) this.#pending[vector >> 3]! &= ~(1 << (vector & 7));
  }

  reset(): void {
    this.#reset();
    this.#live = false;
  }

  #handler(): IoHandler {
    const tableBytes = this.vectors * entrySize;
    return {
      read: (offset, size) => {
        let value = 0;
        for (let i = 0; i < size; i++) {
          const at = offset + i;
          const byte = at < tableBytes ? this.#table[at]! : (this.#pending[at - this.#pendingOffset] ?? 0);
          value |= byte << (8 * i);
        }
        return value >>> 0;
      },
      write: (offset, size, value) => {
        // Pending bits are read-only.
        if (offset + size > tableBytes) return;
        for (let i = 0; i < size; i++) {
          const at = offset + i;
          const byte = (value >>> (8 * i)) & 0xff;
          const inControl = at % entrySize >= vectorControl;
          // Of the vector control word only the mask bit exists.
          if (!inControl) this.#table[at] = byte;
          else if (at % entrySize === vectorControl) this.#table[at] = byte & masked;
        }
        const vector = Math.floor(offset / entrySize);
        if (this.#open && (this.#table[vector * entrySize + vectorControl]! & masked) === 0) this.#sendPending(vector);
      },
    };
  }
}
