/** The thread that a machine runs in, as its owner starts it. */
import { type MessagePort, Worker } from 'node:worker_threads';
import { bundle } from '../host/node/bundles.js';
import { machineThreadOptions, useEarlyThread } from '../host/node/machine-thread.js';
import { findArchitecture } from './architectures.js';
import { comingModule } from './routine-modules.js';
import { doorbellWord, type FromWorker, type ModuleMessage, type WorkerConfig } from './worker-protocol.js';

/** The worker as far as a machine uses it; tests put something else in its place. */
export interface WorkerThread {
  postMessage(message: unknown, transfer?: readonly MessagePort[]): void;
  on(event: 'message', listener: (message: FromWorker) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'exit', listener: (code: number) => void): unknown;
  terminate(): Promise<number>;
}

export type StartWorker = (config: WorkerConfig, name: string) => WorkerThread;

export const startWorker: StartWorker = (config, name) => {
  const coming = config.trace
    ? undefined
    : comingModule(findArchitecture(config.architecture), config.hotThreshold, config.icount !== undefined);
  const workerData: WorkerConfig = { ...config, comingModule: coming?.key };
  // Ports alone cannot be copied.
  const transferList = [config.disks?.port, config.networks?.port].filter((each) => each !== undefined);
  const worker =
    useEarlyThread(workerData, transferList) ??
    new Worker(bundle('machine-worker') ?? new URL('./machine-worker.js', import.meta.url), {
      ...machineThreadOptions,
      workerData,
      transferList,
      name,
    });
  void coming?.module.then((module) => {
    worker.postMessage({ module } satisfies ModuleMessage);
    const doorbell = new Int32Array(config.doorbell);
    Atomics.store(doorbell, doorbellWord.module, 1);
    Atomics.notify(doorbell, doorbellWord.module);
  });
  return worker;
};
