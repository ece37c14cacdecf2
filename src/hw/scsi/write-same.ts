/** One block written over a range of a disk: zeroes by what the image has for it, other data from a buffer, again and again. */
import type { BlockDone, DriveBackend } from '../disk/index.js';

const bufferBytes = 0x10000;

interface Job {
  readonly offset: number;
  readonly length: number;
  readonly block: Uint8Array;
  readonly done: BlockDone;
}

export class SameWriter {
  readonly #backend: DriveBackend;
  readonly #blockBytes: number;
  #buffer: Uint8Array | undefined;
  /** Those with data take turns with the buffer. A controller bounds their number. */
  readonly #jobs: Job[] = [];

  constructor(backend: DriveBackend, blockBytes: number) {
    this.#backend = backend;
    this.#blockBytes = blockBytes;
  }

  write(offset: number, length: number, block: Uint8Array, mayUnmap: boolean, done: BlockDone): void {
    const { writeZeroes } = this.#backend;
    if (writeZeroes && block.every((byte) => byte === 0)) {
      writeZeroes.call(this.#backend, offset, length, mayUnmap, done);
      return;
    }
    this.#jobs.push({ offset, length, block, done });
    if (this.#jobs.length === 1) this.#next();
  }

  #next(): void {
    const job = this.#jobs[0];
    if (!job) return;
    this.#buffer ??= this.#backend.allocate(bufferBytes);
    const buffer = this.#buffer;
    for (let at = 0; at < bufferBytes; at += this.#blockBytes) buffer.set(job.block, at);
    let at = 0;
    let looping = false;
    let ready = true;
    const finish: BlockDone = (failure) => {
      this.#jobs.shift();
      job.done(failure);
      this.#next();
    };
    // A back end may be done before it returns: no recursion then.
    const loop = () => {
      if (looping) return;
      looping = true;
      while (ready) {
        ready = false;
        if (at >= job.length) {
          looping = false;
          finish();
          return;
        }
        const count = Math.min(bufferBytes, job.length - at);
        this.#backend.write(job.offset + at, [buffer.subarray(0, count)], (failure) => {
          if (failure !== undefined) {
            finish(failure);
            return;
          }
          at += count;
          ready = true;
          loop();
        });
      }
      looping = false;
    };
    loop();
  }
}
