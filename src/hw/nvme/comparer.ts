/** COMPARE: what lies on the medium against what lies in guest memory, piece by piece through a buffer. */
import type { DriveBackend } from '../disk/index.js';

const bufferBytes = 0x10000;

export type Comparison = 'same' | 'different' | 'failed';

interface Job {
  readonly offset: number;
  readonly pieces: readonly Uint8Array[];
  readonly length: number;
  readonly done: (outcome: Comparison) => void;
}

export class Comparer {
  readonly #backend: DriveBackend;
  #buffer: Uint8Array | undefined;
  /** They take turns with the buffer. The queues bound their number. */
  readonly #jobs: Job[] = [];
  #running = false;

  constructor(backend: DriveBackend) {
    this.#backend = backend;
  }

  compare(offset: number, pieces: readonly Uint8Array[], length: number, done: Job['done']): void {
    this.#jobs.push({ offset, pieces, length, done });
    this.#next();
  }

  #next(): void {
    const job = this.#jobs[0];
    if (this.#running || !job) return;
    this.#running = true;
    this.#buffer ??= this.#backend.allocate(bufferBytes);
    this.#step(job, this.#buffer, { at: 0, piece: 0, inPiece: 0 });
  }

  #step(job: Job, buffer: Uint8Array, place: { at: number; piece: number; inPiece: number }): void {
    const count = Math.min(bufferBytes, job.length - place.at);
    if (count === 0) {
      this.#end(job, 'same');
      return;
    }
    const found = buffer.subarray(0, count);
    this.#backend.read(job.offset + place.at, [found], (failure) => {
      if (failure !== undefined) {
        this.#end(job, 'failed');
        return;
      }
      for (let i = 0; i < count; i++) {
        while (place.inPiece >= job.pieces[place.piece]!.length) {
          place.piece++;
          place.inPiece = 0;
        }
        if (job.pieces[place.piece]![place.inPiece++] === found[i]) continue;
        this.#end(job, 'different');
        return;
      }
      place.at += count;
      this.#step(job, buffer, place);
    });
  }

  #end(job: Job, outcome: Comparison): void {
    this.#jobs.shift();
    this.#running = false;
    job.done(outcome);
    this.#next();
  }
}
