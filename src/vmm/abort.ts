/** Waiting with an AbortSignal and a time limit. */
import { VringError } from '../base/index.js';

export interface WaitOptions {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
}

export function abortedError(signal: AbortSignal): VringError {
  return new VringError('aborted', 'The operation was cancelled.', { cause: signal.reason });
}

/**
 * `promise`, or VringError `aborted` as soon as the signal fires, or the error that `late` makes when the time is over. What
 * becomes of `promise` then is no longer of interest; `cancel` is called.
 */
export function bounded<T>(
  promise: Promise<T>,
  options: WaitOptions,
  late: () => VringError,
  cancel: () => void = () => {},
): Promise<T> {
  const { signal, timeoutMs } = options;
  if (signal === undefined && timeoutMs === undefined) return promise;
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const settle = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    const giveUp = (error: VringError) => {
      settle();
      cancel();
      reject(error);
    };
    const onAbort = () => giveUp(abortedError(signal as AbortSignal));
    promise.then(
      (value) => {
        settle();
        resolve(value);
      },
      (error: unknown) => {
        settle();
        reject(error);
      },
    );
    if (signal?.aborted) {
      onAbort();
      return;
    }
    signal?.addEventListener('abort', onAbort, { once: true });
    if (timeoutMs !== undefined) timer = setTimeout(() => giveUp(late()), timeoutMs);
  });
}
