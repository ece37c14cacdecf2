/** Rings a machine's doorbell from another thread: whoever sleeps on it wakes, and a guest that a processor runs is left. */
import { loadNative } from '../host/node/kvm/native.js';
import { doorbellWord } from './worker-protocol.js';

/** `by`: a bit of `rungBy`. */
export function ringDoorbell(doorbell: Int32Array, by: number): void {
  Atomics.or(doorbell, doorbellWord.rung, by);
  Atomics.notify(doorbell, doorbellWord.rung);
  const thread = Atomics.load(doorbell, doorbellWord.guestThread);
  if (thread !== 0) loadNative().signal(thread);
}
