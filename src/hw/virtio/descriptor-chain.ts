/**
 * One buffer that the driver made available: the pieces that the device reads, then those that it writes, each a view of
 * guest RAM. What a chain names lies in RAM when it is handed out, but its contents are the guest's and may change.
 */
export class DescriptorChain {
  /** What the used ring names: index of the head descriptor, or the buffer's identifier in a packed ring. */
  head = 0;
  /** Places in a packed ring that it takes. */
  places = 1;
  readonly readable: Uint8Array[] = [];
  readonly writable: Uint8Array[] = [];
  /** Guest-physical address of each writable piece. */
  readonly writableGpas: number[] = [];
  readableBytes = 0;
  writableBytes = 0;
  /** Queue generation in which it was taken: a reset in between makes it stale. */
  generation = 0;

  clear(): void {
    this.readable.length = 0;
    this.writable.length = 0;
    this.writableGpas.length = 0;
    this.readableBytes = 0;
    this.writableBytes = 0;
  }

  /** Copies readable bytes from `offset` on into `target`; returns how many there were. */
  copyOut(offset: number, target: Uint8Array): number {
    return copyPieces(this.readable, offset, target);
  }

  /** Copies `source` into the writable pieces from `offset` on; returns how many bytes had room. */
  copyIn(offset: number, source: Uint8Array): number {
    let skip = offset;
    let done = 0;
    for (let i = 0; i < this.writable.length && done < source.length; i++) {
      const piece = this.writable[i]!;
      if (skip >= piece.length) {
        skip -= piece.length;
        continue;
      }
      const count = Math.min(piece.length - skip, source.length - done);
      piece.set(source.subarray(done, done + count), skip);
      done += count;
      skip = 0;
    }
    return done;
  }

  /** The parts of `pieces` in [start, end) of their concatenation. */
  static slice(pieces: readonly Uint8Array[], start: number, end: number): Uint8Array[] {
    if (pieces.length === 1 && start === 0 && end === pieces[0]!.length) return [pieces[0]!];
    const out: Uint8Array[] = [];
    let at = 0;
    for (let i = 0; i < pieces.length && at < end; i++) {
      const piece = pieces[i]!;
      const from = Math.max(start - at, 0);
      const to = Math.min(end - at, piece.length);
      if (from < to) out.push(from === 0 && to === piece.length ? piece : piece.subarray(from, to));
      at += piece.length;
    }
    return out;
  }
}

function copyPieces(pieces: readonly Uint8Array[], offset: number, target: Uint8Array): number {
  let skip = offset;
  let done = 0;
  for (let i = 0; i < pieces.length && done < target.length; i++) {
    const piece = pieces[i]!;
    if (skip >= piece.length) {
      skip -= piece.length;
      continue;
    }
    const count = Math.min(piece.length - skip, target.length - done);
    target.set(piece.subarray(skip, skip + count), done);
    done += count;
    skip = 0;
  }
  return done;
}
