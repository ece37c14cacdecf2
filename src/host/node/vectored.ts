/**
 * preadv2 and pwritev2 on memory that several threads see, through koffi: many pieces by one call, with or without leave to wait
 * for a disk. Undefined where there is no koffi, or the C library lacks them.
 */
import { constants } from 'node:os';
import { loadKoffi } from './koffi.js';

/** As many pieces as one call takes here. The system takes 1,024. */
export const vectorPieces = 256;
/** Gives up where a disk would have to be waited for. */
const RWF_NOWAIT = 8;
/** A pointer and a size. */
const PIECE_BYTES = 16;

export interface VectoredIo {
  /**
   * Bytes of a file from `offset` on into or out of so many pieces' bytes from `skip` on. `together`: all pieces are views of one buffer; to
   * ask each for its own takes longer than all the rest. Gives how many bytes were moved; -1: none, for a reason of the file's or the
   * disk's; -2: this file's system knows no transfers without waiting.
   */
  transfer(
    write: boolean,
    fd: number,
    offset: number,
    pieces: readonly Uint8Array[],
    together: boolean,
    skip: number,
    length: number,
    mayWait: boolean,
  ): number;
}

export function loadVectoredIo(): VectoredIo | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    const koffi = loadKoffi();
    const libc = koffi.load(null);
    const read = libc.func('int64_t preadv2(int fd, void *pieces, int count, int64_t offset, int flags)');
    const write = libc.func('int64_t pwritev2(int fd, void *pieces, int count, int64_t offset, int flags)');
    const vector = new Uint8Array(new ArrayBuffer(vectorPieces * PIECE_BYTES));
    const words = new Uint32Array(vector.buffer);
    const bases = new WeakMap<ArrayBufferLike, number>();
    let lastBuffer: ArrayBufferLike | undefined;
    let lastBase = 0;
    const baseOf = (buffer: ArrayBufferLike): number => {
      if (buffer === lastBuffer) return lastBase;
      lastBase = bases.get(buffer) ?? Number(koffi.address(new Uint8Array(buffer)));
      bases.set(buffer, lastBase);
      lastBuffer = buffer;
      return lastBase;
    };
    /** Gives how many pieces it is. */
    const fill = (pieces: readonly Uint8Array[], together: boolean, skip: number, length: number): number => {
      const base = pieces.length > 0 ? baseOf(pieces[0].buffer) : 0;
      let count = 0;
      let left = length;
      for (let i = 0; i < pieces.length && left > 0; i++) {
        const piece = pieces[i];
        const size = piece.length - skip;
        if (size <= 0) {
          skip -= piece.length;
          continue;
        }
        const address = (together ? base : baseOf(piece.buffer)) + piece.byteOffset + skip;
        const bytes = Math.min(size, left);
        const at = count * (PIECE_BYTES / 4);
        words[at] = address;
        words[at + 1] = Math.floor(address / 2 ** 32);
        words[at + 2] = bytes;
        words[at + 3] = 0;
        left -= bytes;
        skip = 0;
        count++;
      }
      return count;
    };
    const refusals = [constants.errno.EOPNOTSUPP, constants.errno.EINVAL, constants.errno.ENOSYS];
    return {
      transfer(isWrite, fd, offset, pieces, together, skip, length, mayWait) {
        const count = fill(pieces, together, skip, length);
        const moved = (isWrite ? write : read)(fd, vector, count, offset, mayWait ? 0 : RWF_NOWAIT) as number;
        if (moved >= 0) return moved;
        return !mayWait && refusals.includes(koffi.errno()) ? -2 : -1;
      },
    };
  } catch {
    return undefined;
  }
}
