/** What a drive's controller does with the medium, whatever moves the data to and from the host. */
import { type BlockFailure, type ScatterList, transfer } from '../disk/index.js';
import { cdBlockBytes } from '../scsi/cd-unit.js';
import { type AtaDrive, trimRanges } from './drive.js';
import { rawBlockBytes, rawBlocks } from './raw-blocks.js';

type Done = (failure?: BlockFailure, doneBytes?: number) => void;

/** A range lies on the medium, which may have shrunk, or gone. */
export function fitsMedium({ backend }: AtaDrive, offset: number, bytes: number): boolean {
  return bytes > 0 && offset + bytes <= backend.sizeBytes;
}

/** Bytes to the medium. `durable`: they are on stable storage at the end, as they are without a write cache. */
export function writeMedium(
  { backend, registers }: AtaDrive,
  offset: number,
  pieces: readonly Uint8Array[],
  bytes: number,
  done: Done,
  durable = !registers.writeCache,
): void {
  transfer(backend, true, offset, pieces, bytes, (failure, doneBytes) => {
    if (failure !== undefined || !durable) done(failure, doneBytes);
    else backend.flush((flushFailure) => done(flushFailure, doneBytes));
  });
}

export function flushMedium({ backend }: AtaDrive, done: Done): void {
  if (backend.inserted) backend.flush(done);
  else done();
}

/** Discards what a list of DATA SET MANAGEMENT names. */
export function trimMedium({ backend }: AtaDrive, list: Uint8Array, done: Done): void {
  const ranges = trimRanges(list, backend.sizeBytes);
  if (!ranges || !backend.discard) {
    done('io');
    return;
  }
  const next = (i: number) => {
    const range = ranges[i];
    if (range)
      backend.discard?.(range.offset, range.length, (failure) => (failure === 'io' ? done(failure) : next(i + 1)));
    else done();
  };
  next(0);
}

/** Raw blocks of a CD, from byte `offset` of the medium on, by way of a buffer. */
export function readRawBlocks(
  drive: AtaDrive,
  buffer: Uint8Array,
  list: ScatterList,
  offset: number,
  blocks: number,
  done: Done,
): void {
  const most = Math.floor(buffer.length / rawBlockBytes);
  const next = (from: number) => {
    if (from === blocks) {
      done();
      return;
    }
    const count = Math.min(blocks - from, most);
    const at = offset + from * cdBlockBytes;
    if (!fitsMedium(drive, at, count * cdBlockBytes)) {
      done('io');
      return;
    }
    drive.backend.read(at, [buffer.subarray(0, count * cdBlockBytes)], (failure) => {
      if (failure !== undefined) {
        done(failure);
        return;
      }
      const bytes = rawBlocks(buffer, at / cdBlockBytes, count);
      list.fill(buffer.subarray(0, bytes), from * rawBlockBytes);
      next(from + count);
    });
  };
  next(0);
}
