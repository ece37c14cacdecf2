/** The two locks of an image: one over its metadata in memory, one over ranges of guest clusters with requests under way. */

export class Mutex {
  #isLocked = false;
  readonly #waiting: (() => void)[] = [];

  get isLocked(): boolean {
    return this.#isLocked;
  }

  /** Undefined when it was free (and is now held), so that the common case costs no turn of the event loop. */
  lock(): Promise<void> | undefined {
    if (!this.#isLocked) {
      this.#isLocked = true;
      return undefined;
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  unlock(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#isLocked = false;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    const wait = this.lock();
    if (wait) await wait;
    try {
      return await work();
    } finally {
      this.unlock();
    }
  }
}

interface HeldRange {
  readonly start: number;
  readonly end: number;
  readonly isExclusive: boolean;
  done: Promise<void> | undefined;
  finish: (() => void) | undefined;
}

/** Shared: writes in place. Exclusive: whatever changes the mapping of the range. Ends are exclusive. */
export class RangeLocks {
  readonly #held = new Set<HeldRange>();

  /** Undefined when the range is free now, else a promise for a moment when it may be: ask again then. */
  conflict(start: number, end: number, isExclusive: boolean): Promise<void> | undefined {
    for (const range of this.#held) {
      if (range.start < end && start < range.end && (isExclusive || range.isExclusive)) {
        range.done ??= new Promise((resolve) => {
          range.finish = resolve;
        });
        return range.done;
      }
    }
    return undefined;
  }

  hold(start: number, end: number, isExclusive: boolean): () => void {
    const range: HeldRange = { start, end, isExclusive, done: undefined, finish: undefined };
    this.#held.add(range);
    return () => {
      this.#held.delete(range);
      range.finish?.();
    };
  }
}
