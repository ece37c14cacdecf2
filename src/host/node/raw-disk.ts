/**
 * A raw image (file or block device) for a disk of a machine, read and written in place by the vCPU's thread: a synchronous
 * 4 KiB read from the page cache costs little more than a microsecond.
 */
import { closeSync, fdatasyncSync, fstatSync, openSync, readSync, readvSync, writevSync } from 'node:fs';
import { VringError } from '../../base/index.js';
import { openFailure } from './open-failure.js';

const sectorBytes = 512;

export type RawDiskDone = (failure?: 'io' | 'no-space' | 'unsupported') => void;

export class RawDisk {
  /** A multiple of 512; a last sector that the file holds in part is filled up with zeros. */
  readonly sizeBytes: number;
  readonly readonly: boolean;
  readonly #fd: number;

  /** Throws VringError `disk-open` when the file cannot be opened. */
  constructor(path: string, options: { readonly: boolean }) {
    this.readonly = options.readonly;
    try {
      this.#fd = openSync(path, options.readonly ? 'r' : 'r+');
    } catch (error) {
      throw new VringError('disk-open', `Could not open '${path}': ${openFailure(error)}`, { cause: error });
    }
    const status = fstatSync(this.#fd);
    if (!status.isFile() && !status.isBlockDevice()) {
      closeSync(this.#fd);
      throw new VringError('disk-open', `Could not open '${path}': it is neither a file nor a block device`);
    }
    const size = status.isBlockDevice() ? findEnd(this.#fd) : status.size;
    this.sizeBytes = Math.ceil(size / sectorBytes) * sectorBytes;
  }

  read(offset: number, targets: readonly Uint8Array[], done: RawDiskDone): void {
    attempt(done, () => {
      let at = offset;
      for (const target of targets) {
        let have = 0;
        while (have < target.length) {
          const count = readvSync(this.#fd, [target.subarray(have)], at + have);
          if (count === 0) break;
          have += count;
        }
        // Beyond the end of the file lie zeros.
        if (have < target.length) target.fill(0, have);
        at += target.length;
      }
    });
  }

  write(offset: number, sources: readonly Uint8Array[], done: RawDiskDone): void {
    attempt(done, () => {
      let at = offset;
      for (const source of sources) {
        for (let written = 0; written < source.length; ) {
          written += writevSync(this.#fd, [source.subarray(written)], at + written);
        }
        at += source.length;
      }
    });
  }

  flush(done: RawDiskDone): void {
    attempt(done, () => {
      if (!this.readonly) fdatasyncSync(this.#fd);
    });
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** Size of a block device, which fstat does not tell: the first offset at which nothing can be read. */
function findEnd(fd: number): number {
  const byte = new Uint8Array(1);
  const readable = (offset: number): boolean => {
    try {
      return readSync(fd, byte, 0, 1, offset) === 1;
    } catch {
      return false;
    }
  };
  let low = 0;
  let high = sectorBytes;
  while (high < 2 ** 52 && readable(high - 1)) {
    low = high;
    high *= 2;
  }
  while (high - low > sectorBytes) {
    const middle = low + Math.floor((high - low) / 2 / sectorBytes) * sectorBytes;
    if (readable(middle - 1)) low = middle;
    else high = middle;
  }
  return low;
}

function attempt(done: RawDiskDone, work: () => void): void {
  let failure: 'io' | 'no-space' | undefined;
  try {
    work();
  } catch (error) {
    const { code } = error as { code?: string };
    failure = code === 'ENOSPC' || code === 'EDQUOT' ? 'no-space' : 'io';
  }
  done(failure);
}
