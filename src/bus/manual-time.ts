/** Virtual time that moves only when told to: for tests, and for whoever steps a machine by hand. */
import type { Timer, TimerService } from '../base/index.js';

interface ManualTimer extends Timer {
  readonly name: string;
  deadlineNs: number;
  readonly onExpire: (nowNs: number) => void;
}

export class ManualTime implements TimerService {
  readonly #timers: ManualTimer[] = [];
  #now = 0;
  readonly #wallStartNs: number;

  /** `wallStartNs`: what wallNs() says at virtual time 0. */
  constructor(wallStartNs = 0) {
    this.#wallStartNs = wallStartNs;
  }
  nowNs(): number {
    return this.#now;
  }
  wallNs(): number {
    return this.#wallStartNs + this.#now;
  }
  createTimer(name: string, onExpire: (nowNs: number) => void): Timer {
    const timer: ManualTimer = {
      name,
      onExpire,
      deadlineNs: Infinity,
      arm(deadlineNs) {
        timer.deadlineNs = deadlineNs;
      },
      cancel() {
        timer.deadlineNs = Infinity;
      },
    };
    this.#timers.push(timer);
    return timer;
  }
  nextDeadlineNs(): number {
    return this.#timers.reduce((least, t) => Math.min(least, t.deadlineNs), Infinity);
  }
  /** Moves on by `ns`, running each timer at its own deadline, in order. */
  advance(ns: number): void {
    const end = this.#now + ns;
    for (;;) {
      let first: ManualTimer | undefined;
      for (const t of this.#timers)
        if (t.deadlineNs <= end && t.deadlineNs < (first?.deadlineNs ?? Infinity)) first = t;
      if (first === undefined) break;
      this.#now = Math.max(this.#now, first.deadlineNs);
      first.deadlineNs = Infinity;
      first.onExpire(this.#now);
    }
    this.#now = end;
  }
  /** Moves on by `ns` as a busy vCPU does: timers that are due run only at the end, once each. */
  skip(ns: number): void {
    this.#now += ns;
    for (const t of this.#timers) {
      if (t.deadlineNs > this.#now) continue;
      t.deadlineNs = Infinity;
      t.onExpire(this.#now);
    }
  }
}
