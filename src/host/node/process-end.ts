/** How a process ends that has nothing left to write. */
import { loadedPosix } from './posix.js';

/**
 * Makes `process.exit` end the process as soon as its listeners have run: Node would take its threads down one by one, some 10 ms. Nothing is
 * changed where the POSIX calls were not needed so far, or where Node has been asked to write something at its end (a profile, say).
 */
export function endAtOnce(): void {
  const posix = loadedPosix();
  const { NODE_OPTIONS, NODE_V8_COVERAGE } = process.env;
  if (!posix || process.execArgv.length > 0 || NODE_OPTIONS || NODE_V8_COVERAGE) return;
  process.on('exit', (status) => posix.exit(status));
}
