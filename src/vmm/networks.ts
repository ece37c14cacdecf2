/** A machine's networks, as the machine's owner holds them: the thread that has their sockets open. */
import { MessageChannel, Worker } from 'node:worker_threads';
import { VringError } from '../base/index.js';
import { bundle } from '../host/node/bundles.js';
import { FrameRing } from './frame-ring.js';
import type {
  FromNetworks,
  MachineNetworksConfig,
  NetworkOptions,
  NetworkWorkerConfig,
  ToNetworks,
} from './network-protocol.js';

export interface MachineNetworkThread {
  /** What the vCPU's thread needs. */
  readonly config: MachineNetworksConfig;
  /** All ports are open. Rejects with VringError `network-port` and others. */
  readonly opened: Promise<void>;
  onReport(listener: (line: string) => void): void;
  onFailure(listener: (error: VringError) => void): void;
  close(): Promise<void>;
}

const CLOSE_MS = 5000;

/** Starts the thread, which opens all networks. */
export function openNetworks(networks: readonly NetworkOptions[], doorbell: SharedArrayBuffer): MachineNetworkThread {
  const rings = networks.map(() => ({ toHost: FrameRing.create().buffer, toGuest: FrameRing.create().buffer }));
  const { port1: machinePort, port2: port } = new MessageChannel();
  const worker = new Worker(bundle('network-worker') ?? new URL('./network-worker.js', import.meta.url), {
    workerData: { networks, rings, port, doorbell } satisfies NetworkWorkerConfig,
    transferList: [port],
    name: 'network',
    stdin: false,
    execArgv: [],
  });
  const lines: string[] = [];
  let report: (line: string) => void = (line) => {
    lines.push(line);
  };
  let failed: (error: VringError) => void = () => {};
  const exited = new Promise<void>((resolve) => {
    worker.on('exit', () => resolve());
  });
  const opened = new Promise<void>((resolve, reject) => {
    worker.on('message', (message: FromNetworks) => {
      if (message.type === 'opened') resolve();
      else if (message.type === 'failed') reject(new VringError(message.code, message.message));
      else report(message.line);
    });
    worker.on('error', (error) => {
      const failure = new VringError('internal', `The thread of the networks has failed: ${(error as Error).message}`, {
        cause: error,
      });
      reject(failure);
      failed(failure);
    });
  });
  // Whoever waits for it sees the failure; nobody has to.
  opened.catch(() => {});
  return {
    config: { rings, port: machinePort },
    opened,
    onReport: (listener) => {
      report = listener;
      for (const line of lines.splice(0)) listener(line);
    },
    onFailure: (listener) => {
      failed = listener;
    },
    close: async () => {
      worker.postMessage({ type: 'close' } satisfies ToNetworks);
      const timer = setTimeout(() => void worker.terminate(), CLOSE_MS);
      await exited;
      clearTimeout(timer);
    },
  };
}
