/**
 * A machine's virtual time and timers. Time runs with a source given from outside (the host's monotonic clock, or executed
 * instructions) and stands still while the machine is paused.
 */
import type { Timer, TimerOptions, TimerService } from '../base/index.js';

/** Between two expirations of a timer that is behind: the guest takes the interrupt of the first before the second comes. */
const CATCH_UP_NS = 100_000;

/** Where virtual time comes from. */
export interface TimeSource {
  /** Nanoseconds, monotonic. */
  nowNs(): number;
  /** Nanoseconds since 1970-01-01 UTC. */
  wallNs(): number;
}

interface MachineTimer extends Timer {
  deadlineNs: number;
  readonly onExpire: (nowNs: number) => void;
}

export class MachineClock implements TimerService {
  readonly #source: TimeSource;
  readonly #timers: MachineTimer[] = [];
  /** Those of `#timers` that also fire before the vCPUs sleep. */
  readonly #beforeSleep: MachineTimer[] = [];
  #offset: number;
  #pausedAt: number | undefined = 0;
  #expiring: { readonly timer: MachineTimer; readonly nowNs: number } | undefined;
  /** Deadline of the next timer, or Infinity. */
  nextDeadlineNs = Infinity;
  /** Called when `nextDeadlineNs` has changed: who sleeps or counts until then must hear of it. */
  onDeadline: () => void = () => {};
  readonly #wallOffset: number;

  /** The clock stands at 0 until `resume`. */
  constructor(source: TimeSource) {
    this.#source = source;
    this.#offset = source.nowNs();
    this.#wallOffset = source.wallNs() - source.nowNs();
  }

  nowNs(): number {
    return this.#pausedAt ?? this.#source.nowNs() - this.#offset;
  }

  wallNs(): number {
    return this.#source.nowNs() + this.#wallOffset;
  }

  pause(): void {
    this.#pausedAt ??= this.nowNs();
  }

  resume(): void {
    if (this.#pausedAt === undefined) return;
    this.#offset = this.#source.nowNs() - this.#pausedAt;
    this.#pausedAt = undefined;
  }

  createTimer(_name: string, onExpire: (nowNs: number) => void, options?: TimerOptions): Timer {
    const timer: MachineTimer = {
      deadlineNs: Infinity,
      onExpire,
      arm: (wantedNs) => {
        const before = timer.deadlineNs;
        const expiring = this.#expiring;
        const isBehind = expiring?.timer === timer && wantedNs <= expiring.nowNs;
        const deadlineNs = isBehind ? expiring.nowNs + CATCH_UP_NS : wantedNs;
        timer.deadlineNs = deadlineNs;
        if (deadlineNs < this.nextDeadlineNs) this.#setNext(deadlineNs);
        else if (before === this.nextDeadlineNs) this.#findNext();
      },
      cancel: () => {
        if (timer.deadlineNs === Infinity) return;
        timer.deadlineNs = Infinity;
        this.#findNext();
      },
    };
    this.#timers.push(timer);
    if (options?.beforeSleep) this.#beforeSleep.push(timer);
    return timer;
  }

  #findNext(): void {
    let next = Infinity;
    for (let i = 0; i < this.#timers.length; i++) {
      const { deadlineNs } = this.#timers[i];
      if (deadlineNs < next) next = deadlineNs;
    }
    this.#setNext(next);
  }

  #setNext(deadlineNs: number): void {
    if (deadlineNs === this.nextDeadlineNs) return;
    this.nextDeadlineNs = deadlineNs;
    this.onDeadline();
  }

  /** The vCPUs are about to sleep: what was only put off is done. */
  fireBeforeSleep(): void {
    for (const timer of this.#beforeSleep) {
      if (timer.deadlineNs === Infinity) continue;
      timer.cancel();
      timer.onExpire(this.nowNs());
    }
  }

  /**
   * Fires every timer that is due, in order of their deadlines; each at most once. A periodic timer that is behind because the
   * host was busy comes again soon after: expirations at one moment would be one interrupt to the guest.
   */
  fire(): void {
    if (this.nextDeadlineNs === Infinity) return;
    const now = this.nowNs();
    if (now < this.nextDeadlineNs) return;
    for (let fired = 0; fired < this.#timers.length && this.nextDeadlineNs <= now; fired++) {
      const due = this.#timers.find((timer) => timer.deadlineNs === this.nextDeadlineNs);
      if (!due) break;
      due.deadlineNs = Infinity;
      this.#findNext();
      this.#expiring = { timer: due, nowNs: now };
      due.onExpire(now);
      this.#expiring = undefined;
    }
  }
}
