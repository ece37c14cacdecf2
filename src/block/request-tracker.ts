/** Requests under way on a node whose unaligned writes read, change and write back: such a one lets no other touch its blocks meanwhile. */

interface TrackedRequest {
  readonly start: number;
  readonly end: number;
  readonly serializing: boolean;
  readonly done: Promise<void>;
}

export class RequestTracker {
  readonly #requests = new Set<TrackedRequest>();

  get isIdle(): boolean {
    return this.#requests.size === 0;
  }

  /** Waits for conflicting requests and registers; the returned function ends the registration. */
  async track(start: number, end: number, serializing: boolean): Promise<() => void> {
    for (;;) {
      let conflict: TrackedRequest | undefined;
      for (const other of this.#requests) {
        if (other.start < end && start < other.end && (serializing || other.serializing)) {
          conflict = other;
          break;
        }
      }
      if (!conflict) break;
      await conflict.done;
    }
    let finish!: () => void;
    const done = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const request = { start, end, serializing, done };
    this.#requests.add(request);
    return () => {
      this.#requests.delete(request);
      finish();
    };
  }
}
