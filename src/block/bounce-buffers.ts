/** Buffers in which the pieces of a vectored request lie together while it is under way. */

/** Larger ones are not kept: a guest's requests are up to this. */
const KEPT_BYTES = 1 << 20;
/** So many are kept at most: as many as a guest commonly has requests under way. */
const KEPT = 16;

export class BounceBuffers {
  readonly #allocate: (sizeBytes: number) => Uint8Array;
  /** All of the same size. */
  readonly #spare: Uint8Array[] = [];

  /** `allocate` need not clear. */
  constructor(allocate: (sizeBytes: number) => Uint8Array) {
    this.#allocate = allocate;
  }

  /** Holds whatever it held before. */
  take(sizeBytes: number): Uint8Array {
    if (sizeBytes > KEPT_BYTES) return this.#allocate(sizeBytes);
    return (this.#spare.pop() ?? this.#allocate(KEPT_BYTES)).subarray(0, sizeBytes);
  }

  /** Nobody uses it any longer: not after a failure, where a part of the request may still be under way. */
  give(buffer: Uint8Array): void {
    if (buffer.buffer.byteLength !== KEPT_BYTES || this.#spare.length === KEPT) return;
    this.#spare.push(new Uint8Array(buffer.buffer));
  }
}

export function totalLength(pieces: readonly Uint8Array[]): number {
  let total = 0;
  for (const piece of pieces) total += piece.length;
  return total;
}

export function scatter(whole: Uint8Array, pieces: readonly Uint8Array[]): void {
  let at = 0;
  for (const piece of pieces) {
    piece.set(whole.subarray(at, at + piece.length));
    at += piece.length;
  }
}

export function gather(pieces: readonly Uint8Array[], whole: Uint8Array): void {
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
}
