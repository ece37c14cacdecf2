/**
 * Virtual time is state: a device asks its machine's clock and arms its machine's timers, and never reads a wall clock.
 * All times are nanoseconds in a JavaScript number (exact to 2^53 ns = 104 days, to 1 µs beyond).
 */
export interface Clock {
  /** Nanoseconds of virtual time since the machine was made. Never goes back; stands still while the machine is paused. */
  nowNs(): number;
  /** Seconds and nanoseconds since 1970-01-01 UTC as the guest's RTC should show them. */
  wallNs(): number;
}

/** One deadline. The callback runs in the vCPU's thread, at the first safe point at or after the deadline. */
export interface Timer {
  /** Arms, or re-arms, for an absolute virtual time; a deadline in the past fires at the next safe point. */
  arm(deadlineNs: number): void;
  cancel(): void;
  /** Virtual time of the armed deadline, or Infinity. */
  readonly deadlineNs: number;
}

export interface TimerOptions {
  /** For work that is only put off: it also runs when the vCPUs are about to sleep. */
  readonly beforeSleep?: boolean;
}

export interface TimerService extends Clock {
  createTimer(name: string, onExpire: (nowNs: number) => void, options?: TimerOptions): Timer;
}
