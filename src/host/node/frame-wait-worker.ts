/** The thread that waits for frames at descriptors: it says so once, and waits again when it is told to. */
import { readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { nameThread } from './activity.js';
import { readableWaiter } from './descriptor-wait.js';

export interface FrameWaitConfig {
  /** Of the queues. */
  readonly descriptors: readonly number[];
  /** It can be read when there is a message for the thread. */
  readonly event: number;
  /** What fails is over when it has been read, as with sockets. */
  readonly errorsPass: boolean;
}

export type ToFrameWait =
  | { readonly type: 'close' }
  /** The first so many are in use. */
  | { readonly type: 'queues'; readonly queues: number }
  /** All frames were taken. */
  | { readonly type: 'again' };

/** A thread that is to end with its process does not hear of that while it sleeps in the system. */
const MOST_MS = 1000;

const { descriptors, event, errorsPass } = workerData as FrameWaitConfig;
const owner = parentPort as NonNullable<typeof parentPort>;
nameThread('frames');
const eventAlone = readableWaiter([event]);
let wait = readableWaiter([descriptors[0] as number, event]);
let isArmed = true;
let isClosing = false;
let isScheduled = false;

function schedule(): void {
  if (isScheduled) return;
  isScheduled = true;
  setImmediate(step);
}

function step(): void {
  isScheduled = false;
  if (isClosing) {
    owner.close();
    return;
  }
  if (!isArmed) return;
  let { readable, failed } = wait(MOST_MS);
  // An interface that somebody has taken away can be read no more.
  if (failed && !errorsPass && readable.length === 0) ({ readable, failed } = eventAlone(MOST_MS));
  if (readable.includes(event)) readSync(event, new Uint8Array(8));
  else if (readable.length > 0 || failed) {
    isArmed = false;
    owner.postMessage('readable');
    return;
  }
  schedule();
}

owner.on('message', (message: ToFrameWait) => {
  if (message.type === 'close') isClosing = true;
  else if (message.type === 'again') isArmed = true;
  else wait = readableWaiter([...descriptors.slice(0, message.queues), event]);
  schedule();
});
schedule();
