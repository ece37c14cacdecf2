/**
 * One read or write between a disk and many pieces of memory, as requests that the back end takes: few enough pieces, whole
 * sectors, one after the other.
 */
import type { BlockBackend, BlockDone } from './block-backend.js';

/** Pieces in one request. 256 pieces of the least size, two bytes, are a sector. */
const maxPieces = 256;
const sectorBytes = 512;

function totalBytes(pieces: readonly Uint8Array[]): number {
  let bytes = 0;
  for (let i = 0; i < pieces.length; i++) bytes += pieces[i]!.length;
  return bytes;
}

/**
 * `doneBytes` of `done`: what was transferred before a failure, whole requests only. `pieces` hold at least `length` bytes, a
 * multiple of 512.
 */
export function transfer(
  backend: BlockBackend,
  write: boolean,
  offset: number,
  pieces: readonly Uint8Array[],
  length: number,
  done: (failure: Parameters<BlockDone>[0], doneBytes: number) => void,
): void {
  const request = write ? backend.write : backend.read;
  if (pieces.length <= maxPieces && length > 0 && totalBytes(pieces) === length) {
    request.call(backend, offset, pieces, (failure) => done(failure, failure === undefined ? length : 0));
    return;
  }
  let index = 0;
  let inPiece = 0;
  let position = 0;
  // A back end may be done before it returns: no recursion then.
  let looping = false;
  let pending = false;
  const step = (failure: Parameters<BlockDone>[0], bytes: number) => {
    if (failure !== undefined) {
      done(failure, position);
      return;
    }
    position += bytes;
    if (position >= length) {
      done(undefined, position);
      return;
    }
    pending = true;
    if (looping) return;
    looping = true;
    while (pending) {
      pending = false;
      next();
    }
    looping = false;
  };
  const next = () => {
    const chosen: Uint8Array[] = [];
    let bytes = 0;
    while (chosen.length < maxPieces && position + bytes < length) {
      const piece = pieces[index]!;
      const left = length - position - bytes;
      const isWhole = inPiece === 0 && piece.length <= left;
      const part = isWhole ? piece : piece.subarray(inPiece, inPiece + left);
      chosen.push(part);
      bytes += part.length;
      if (inPiece + part.length === piece.length) {
        index++;
        inPiece = 0;
      } else inPiece += part.length;
    }
    // What does not make a whole sector comes with the next request.
    for (let excess = bytes % sectorBytes; excess > 0; ) {
      const last = chosen.at(-1)!;
      const cut = Math.min(excess, last.length);
      if (cut === last.length) chosen.pop();
      else chosen[chosen.length - 1] = last.subarray(0, last.length - cut);
      if (inPiece === 0) inPiece = pieces[--index]!.length;
      inPiece -= cut;
      bytes -= cut;
      excess -= cut;
    }
    if (bytes === 0) {
      // Pieces of a single byte, which no descriptor can name.
      done('io', position);
      return;
    }
    request.call(backend, offset + position, chosen, (failure) => step(failure, bytes));
  };
  step(undefined, 0);
}
