/** Fragments back to datagrams (RFC 791, 3.2; RFC 8200, 4.5). Few datagrams, none for long, none beyond 64 KiB. */

const MAX_DATAGRAMS = 16;
const MAX_BYTES = 65535;
const LIFE_MS = 30_000;
/** Holes in one datagram; a sender in order has one. */
const MAX_HOLES = 64;

interface Partial {
  readonly bytes: Uint8Array;
  readonly bornMs: number;
  /** What is missing: [start, end) pairs in order. The last ends at infinity until the last fragment came. */
  holes: [number, number][];
  length: number;
}

export class Reassembly {
  readonly #partials = new Map<string, Partial>();

  get waiting(): number {
    return this.#partials.size;
  }

  /** Gives the whole payload when this fragment completes it. */
  add(key: string, offset: number, more: boolean, payload: Uint8Array, nowMs: number): Uint8Array | undefined {
    const end = offset + payload.length;
    // All but the last are multiples of 8 bytes, and none is empty.
    if (payload.length === 0 || end > MAX_BYTES || (more && (payload.length & 7) !== 0)) {
      this.#partials.delete(key);
      return undefined;
    }
    let partial = this.#partials.get(key);
    if (!partial) {
      if (this.#partials.size >= MAX_DATAGRAMS) {
        const oldest = this.#partials.keys().next().value as string;
        this.#partials.delete(oldest);
      }
      partial = { bytes: new Uint8Array(MAX_BYTES), bornMs: nowMs, holes: [[0, Infinity]], length: -1 };
      this.#partials.set(key, partial);
    }
    // The last fragment says how long it is; one that disagrees, or overlaps what is there, spoils it (RFC 5722).
    const wrongEnd = more ? partial.length >= 0 && end > partial.length : partial.length >= 0 && partial.length !== end;
    const hole = partial.holes.findIndex(([from, to]) => offset >= from && end <= to);
    if (wrongEnd || hole < 0 || partial.holes.length > MAX_HOLES) {
      this.#partials.delete(key);
      return undefined;
    }
    const [from, to] = partial.holes[hole];
    if (!more) {
      if (partial.holes.length - 1 !== hole) {
        this.#partials.delete(key);
        return undefined;
      }
      partial.length = end;
    }
    const rest: [number, number][] = [];
    if (offset > from) rest.push([from, offset]);
    if (more && end < to) rest.push([end, to]);
    partial.holes.splice(hole, 1, ...rest);
    partial.bytes.set(payload, offset);
    if (partial.holes.length > 0) return undefined;
    this.#partials.delete(key);
    return partial.bytes.subarray(0, partial.length);
  }

  expire(nowMs: number): void {
    for (const [key, { bornMs }] of this.#partials) if (nowMs - bornMs >= LIFE_MS) this.#partials.delete(key);
  }
}
