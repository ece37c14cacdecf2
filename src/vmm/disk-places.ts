/** Where the bytes of one disk lie in files of the host, as far as the thread of the disks has told: runs that do not overlap, in order. */

/** Bytes of the disk from `start` up to `end` lie in a file from `at` on. */
export interface PlacedRun {
  readonly start: number;
  readonly end: number;
  readonly at: number;
  readonly file: PlacedFile;
}

/** A descriptor, and what may be done with it; one number, so that it passes between threads. */
export type PlacedFile = number;
export const placedFile = (descriptor: number, isWritable: boolean, isInMemory: boolean): PlacedFile =>
  descriptor * 4 + (isWritable ? 1 : 0) + (isInMemory ? 2 : 0);
export const descriptorOf = (file: PlacedFile): number => Math.floor(file / 4);
export const isWritable = (file: PlacedFile): boolean => (file & 1) !== 0;
export const isInMemory = (file: PlacedFile): boolean => (file & 2) !== 0;

/** An image that lies in more pieces is forgotten now and then. */
const MOST_RUNS = 4096;

export class DiskPlaces {
  readonly #runs: PlacedRun[] = [];

  get size(): number {
    return this.#runs.length;
  }

  /** Index of the first run that ends beyond `offset`. */
  #search(offset: number): number {
    const runs = this.#runs;
    let low = 0;
    let high = runs.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (runs[middle].end <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The run that a byte lies in. */
  find(offset: number): PlacedRun | undefined {
    const run = this.#runs[this.#search(offset)];
    return run !== undefined && run.start <= offset ? run : undefined;
  }

  /** Nothing is known of a range any longer. */
  forget(start: number, end: number): void {
    if (start >= end) return;
    const runs = this.#runs;
    const first = this.#search(start);
    let last = first;
    const kept: PlacedRun[] = [];
    for (; last < runs.length && runs[last].start < end; last++) {
      const run = runs[last];
      if (run.start < start) kept.push({ ...run, end: start });
      if (run.end > end) kept.push({ ...run, start: end, at: run.at + (end - run.start) });
    }
    if (last > first) runs.splice(first, last - first, ...kept);
  }

  /** Takes the place of what was known of its range, and joins a neighbour that it goes on. */
  add(run: PlacedRun): void {
    this.forget(run.start, run.end);
    const runs = this.#runs;
    if (runs.length >= MOST_RUNS) runs.length = 0;
    let at = this.#search(run.start);
    let joined = run;
    let taken = 0;
    const goesOn = (a: PlacedRun | undefined, b: PlacedRun | undefined): boolean =>
      a !== undefined && b?.start === a.end && a.file === b.file && a.at + (a.end - a.start) === b.at;
    if (goesOn(runs[at - 1], joined)) {
      at--;
      taken++;
      joined = { ...runs[at], end: joined.end };
    }
    const next = runs[at + taken];
    if (goesOn(joined, next)) {
      taken++;
      joined = { ...joined, end: next.end };
    }
    runs.splice(at, taken, joined);
  }

  clear(): void {
    this.#runs.length = 0;
  }
}
