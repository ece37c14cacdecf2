/**
 * Threads that a processor's guest has. Node stops a thread by ending its JavaScript, and waits for it: one that sleeps in the guest would
 * be waited for without end. So before a machine's thread is stopped, or the process ends, it is asked to come out.
 */
import { ringDoorbell } from './doorbell.js';
import { doorbellWord, rungBy } from './worker-protocol.js';

/** How often a thread that has been asked is looked at, and for how long at most: a busy host may take long to run it. */
const LOOK_MS = 10;
const MOST_MS = 60_000;

/** Asks a machine's thread to end. */
export function askToQuit(doorbell: Int32Array): void {
  Atomics.store(doorbell, doorbellWord.quit, 1);
  ringDoorbell(doorbell, rungBy.owner);
}

const isInGuest = (doorbell: Int32Array) => Atomics.load(doorbell, doorbellWord.guestThread) !== 0;

/** Resolves when a machine's thread, which has been asked to quit, may be stopped, with those of its further vCPUs. */
export async function outOfGuest(doorbell: Int32Array): Promise<void> {
  for (let waited = 0; isInGuest(doorbell) && waited < MOST_MS; waited += LOOK_MS)
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
}

const machines = new Set<Int32Array>();

function leaveAll(): void {
  for (const doorbell of machines) askToQuit(doorbell);
  for (const doorbell of machines)
    for (let waited = 0; isInGuest(doorbell) && waited < MOST_MS; waited += LOOK_MS)
      Atomics.wait(doorbell, doorbellWord.quit, 1, LOOK_MS);
}

/** From now on the end of the process has this machine's thread leave its guest. Gives what takes that back. */
export function leaveGuestAtExit(doorbell: Int32Array): () => void {
  if (machines.size === 0) process.on('exit', leaveAll);
  machines.add(doorbell);
  return () => {
    if (machines.delete(doorbell) && machines.size === 0) process.off('exit', leaveAll);
  };
}
