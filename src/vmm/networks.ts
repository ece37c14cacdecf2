/** A machine's networks, as the machine's owner holds them: the thread that has their sockets open. */
import { MessageChannel, Worker } from 'node:worker_threads';
import { VringError } from '../base/index.js';
import { bundle } from '../host/node/bundles.js';
import { completeOptions, formatIp } from '../net/index.js';
import { FrameRing } from './frame-ring.js';
import type {
  ForwardChange,
  FromNetworks,
  MachineNetworksConfig,
  NetworkOptions,
  NetworkWorkerConfig,
  ToNetworks,
} from './network-protocol.js';
import type { DeviceConfig } from './worker-protocol.js';

export interface MachineNetworkThread {
  /** What the vCPU's thread needs. */
  readonly config: MachineNetworksConfig;
  /** All ports are open. Rejects with VringError `network-port` and others. */
  readonly opened: Promise<void>;
  onReport(listener: (line: string) => void): void;
  onFailure(listener: (error: VringError) => void): void;
  /** False: there was nothing to take away. Rejects with VringError `network-port`, `network-kind`. */
  changeForward(network: number, change: ForwardChange): Promise<boolean>;
  close(): Promise<void>;
}

/** A network, and the card that is on it. */
export interface MachineNetwork {
  readonly id: string;
  readonly kind: NetworkOptions['kind'];
  /** In words. */
  readonly description: string;
  readonly card: { readonly type: string; readonly mac: string } | undefined;
}

export function describeNetworks(
  networks: readonly NetworkOptions[],
  devices: readonly DeviceConfig[],
): readonly MachineNetwork[] {
  return networks.map((network, i) => {
    const card = devices.find((device) => 'network' in device && device.network === i);
    const mac = card && 'mac' in card ? [...card.mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':') : '';
    return {
      id: network.id,
      kind: network.kind,
      description: describe(network),
      card: card && { type: card.type, mac },
    };
  });
}

function describe(network: NetworkOptions): string {
  if (network.kind === 'user') {
    const { network: net, restrict } = completeOptions(network.user ?? {});
    return `net=${formatIp(net)},restrict=${restrict ? 'on' : 'off'}`;
  }
  if (network.kind === 'tap')
    return network.descriptors ? `fd=${network.descriptors.join(':')}` : `ifname=${network.ifname ?? 'tap%d'}`;
  if (network.kind !== 'datagram') return `${network.kind} ${network.place.host}:${network.place.port}`;
  const { local, remote } = network;
  return `${local ? `local ${local.host}:${local.port}, ` : ''}remote ${remote.host}:${remote.port}`;
}

const CLOSE_MS = 5000;

/** Starts the thread, which opens all networks. */
export function openNetworks(networks: readonly NetworkOptions[], doorbell: SharedArrayBuffer): MachineNetworkThread {
  const rings = networks.map((network) => ({
    queues: network.kind === 'tap' ? (network.descriptors?.length ?? network.queues ?? 1) : 1,
    toHost: FrameRing.create().buffer,
    toGuest: FrameRing.create().buffer,
  }));
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
  const requests = new Map<number, { resolve(done: boolean): void; reject(error: VringError): void }>();
  let nextRequest = 1;
  const exited = new Promise<void>((resolve) => {
    worker.on('exit', () => {
      for (const { reject } of requests.values()) reject(new VringError('machine-ended', 'The machine has ended.'));
      requests.clear();
      resolve();
    });
  });
  const opened = new Promise<void>((resolve, reject) => {
    worker.on('message', (message: FromNetworks) => {
      if (message.type === 'opened') resolve();
      else if (message.type === 'failed') reject(new VringError(message.code, message.message));
      else if (message.type === 'report') report(message.line);
      else {
        const waiting = requests.get(message.id);
        requests.delete(message.id);
        if ('done' in message) waiting?.resolve(message.done);
        else waiting?.reject(new VringError(message.error.code, message.error.message));
      }
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
    changeForward: (network, change) =>
      new Promise((resolve, reject) => {
        const id = nextRequest++;
        requests.set(id, { resolve, reject });
        worker.postMessage({ type: 'forward', id, network, change } satisfies ToNetworks);
      }),
    close: async () => {
      worker.postMessage({ type: 'close' } satisfies ToNetworks);
      const timer = setTimeout(() => void worker.terminate(), CLOSE_MS);
      await exited;
      clearTimeout(timer);
    },
  };
}
