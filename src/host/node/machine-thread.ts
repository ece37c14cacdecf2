/**
 * A machine's thread that is begun before it is known what machine it will run: it comes up while the program loads. The program is
 * bundled, and what begins the thread is not: both find it by a symbol of the process.
 *
 * V8's flags are to change only when such a thread has loaded its code (`machineThreadLoaded`): a code cache, Node's own too, is good
 * for the flags alone that it was made with, and without its cache Node takes twice as long to begin a thread.
 */
import {
  type MessagePort,
  receiveMessageOnPort,
  type Transferable,
  Worker,
  type WorkerOptions,
} from 'node:worker_threads';
import { bundle } from './bundles.js';

/** What such a thread is given instead of its machine: words that are set when something has happened. */
export interface EarlyThreadData {
  readonly early: SharedArrayBuffer;
}

/** Its code is loaded (its launcher says so, `src/dev/bundle.ts`); the machine has been sent to it. */
export const earlyWord = { loaded: 0, sent: 1 } as const;
const EARLY_BYTES = 8;
/** A thread that has not come up by then is not waited for. */
const MOST_LOADING_MS = 500;

export const earlyThreadSymbol = 'vring.early-machine-thread';
const symbol = Symbol.for(earlyThreadSymbol);
const processWide = globalThis as {
  [symbol]?: { readonly worker: Worker; readonly early: SharedArrayBuffer } | undefined;
};

export const machineThreadOptions = {
  // What a machine allocates in JavaScript dies young. 1 MiB for new objects: a boot is as fast, and memory that is used again soon
  // is neither fetched from the host nor far from the cache, which an interrupt would wait for.
  resourceLimits: { maxYoungGenerationSizeMb: 3 },
  // What a worker writes reaches the process's streams through the thread that made it: there is nothing that a machine writes there.
  stdin: false,
  execArgv: [],
} as const satisfies WorkerOptions;

/** Begins the thread of the next machine, where the program is bundled. It keeps no process alive that has no machine for it. */
export function beginMachineThread(): void {
  const file = bundle('machine-worker');
  if (!file) return;
  const early = new SharedArrayBuffer(EARLY_BYTES);
  const worker = new Worker(file, { ...machineThreadOptions, workerData: { early } satisfies EarlyThreadData });
  worker.unref();
  processWide[symbol] = { worker, early };
}

/** Waits until a thread that has been begun has loaded its code. */
export function machineThreadLoaded(): void {
  const begun = processWide[symbol];
  if (begun) Atomics.wait(new Int32Array(begun.early), earlyWord.loaded, 0, MOST_LOADING_MS);
}

/** Gives `config` to the thread that has been begun, and that thread; undefined where there is none. */
export function useEarlyThread(config: unknown, transferList: readonly Transferable[]): Worker | undefined {
  const begun = processWide[symbol];
  if (!begun) return undefined;
  processWide[symbol] = undefined;
  const { worker, early } = begun;
  worker.ref();
  worker.postMessage(config, transferList);
  const words = new Int32Array(early);
  Atomics.store(words, earlyWord.sent, 1);
  Atomics.notify(words, earlyWord.sent);
  return worker;
}

/** In the thread: what it was begun with, or is sent. It waits for that. */
export function machineConfig<T>(data: T | EarlyThreadData, port: MessagePort): T {
  if (!(typeof data === 'object' && data !== null && 'early' in data)) return data;
  const words = new Int32Array(data.early);
  while (Atomics.load(words, earlyWord.sent) === 0) Atomics.wait(words, earlyWord.sent, 0, 1000);
  return (receiveMessageOnPort(port) as { message: T }).message;
}
