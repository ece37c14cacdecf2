/**
 * Errors with a stable `code`: what a caller may act on, in words joined by hyphens (`disk-open`). The block layer's have the
 * system's own names instead (`ENOSPC`), since images and guests act on those. The message is one sentence for a person.
 * Guest mistakes are never errors (they become architectural faults); broken invariants use `assert`.
 */
export class VringError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'VringError';
    this.code = code;
  }
}

/** Throws when an invariant of vring's own is broken: never for input of any kind. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`vring invariant broken: ${message}`);
}
