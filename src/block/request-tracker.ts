/**
 * Requests under way on a node where some read, change and write back (unaligned writes, copy-on-read): such a one lets no other touch
 * its blocks meanwhile. Until the first of them comes, requests are only counted.
 */

interface TrackedRequest {
  readonly start: number;
  readonly end: number;
  readonly serializing: boolean;
  readonly done: Promise<void>;
}

export class RequestTracker {
  readonly #requests = new Set<TrackedRequest>();
  #isOn = false;
  #untracked = 0;
  readonly #waiting: (() => void)[] = [];

  get isOn(): boolean {
    return this.#isOn;
  }

  /** Requests are tracked from now on; resolves when those have ended that began before, and can't be told by their place. */
  async start(): Promise<void> {
    this.#isOn = true;
    while (this.#untracked > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Counts a write that begins while nothing is tracked; true: `endUntracked` must follow. */
  beginUntracked(): boolean {
    if (this.#isOn) return false;
    this.#untracked++;
    return true;
  }

  endUntracked(): void {
    if (--this.#untracked > 0) return;
    for (const wake of this.#waiting.splice(0)) wake();
  }

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
