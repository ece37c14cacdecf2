/** A machine's networks, as the machine's owner holds them: the thread that has their sockets open. */
import { MessageChannel, Worker } from 'node:worker_threads';
import { VringError } from '../base/index.js';
import { bundle } from '../host/node/bundles.js';
import { completeOptions, formatIp, type UserFlow } from '../net/index.js';
import { FrameRing } from './frame-ring.js';
import type {
  ForwardChange,
  FromNetworks,
  MachineNetworksConfig,
  NetworkAnswer,
  NetworkOptions,
  NetworkRings,
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
  /** Opens another network at a place, and gives its rings. Rejects with VringError `network-port` and others. */
  add(network: number, options: NetworkOptions): Promise<NetworkRings>;
  /** Closes one. */
  remove(network: number): Promise<void>;
  /** False: there was nothing to take away. Rejects with VringError `network-port`, `network-kind`. */
  changeForward(network: number, change: ForwardChange): Promise<boolean>;
  /** A frame goes out as if the network's card had sent it. */
  send(network: number, frame: Uint8Array): Promise<void>;
  /** What goes on in a user network. */
  flows(network: number): Promise<readonly UserFlow[]>;
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

interface KnownNetwork {
  readonly options: NetworkOptions;
  /** It has a card, or gets one. */
  isTaken: boolean;
  card: MachineNetwork['card'];
  /** It is closed; its place is taken until its card has gone too. */
  isClosed: boolean;
}

/** What the machine's owner knows of its networks, by their places. */
export class KnownNetworks {
  readonly #places: (KnownNetwork | undefined)[];
  #cards = 0;

  /** `devices`: those that are there already. */
  constructor(networks: readonly NetworkOptions[], devices: readonly DeviceConfig[]) {
    this.#places = networks.map((options) => ({ options, isTaken: false, card: undefined, isClosed: false }));
    for (const device of devices) this.remember(device);
  }

  /** A card has come, to the network that its configuration names. */
  remember(device: DeviceConfig): void {
    if (!('network' in device)) return;
    const known = this.#places[device.network];
    if (!known) return;
    const mac = [...device.mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
    known.card = { type: device.type, mac };
    known.isTaken = true;
    this.#cards++;
  }

  /** How many cards have ever been there. */
  get cards(): number {
    return this.#cards;
  }

  get described(): readonly MachineNetwork[] {
    return this.#places.flatMap((known) => {
      if (!known || known.isClosed) return [];
      const { options, card } = known;
      return [{ id: options.id, kind: options.kind, description: describe(options), card }];
    });
  }

  /** Place of a network. Throws VringError `no-such-network`. */
  find(id: string): number {
    const place = this.#places.findIndex((known) => known && !known.isClosed && known.options.id === id);
    if (place < 0) throw new VringError('no-such-network', `There is no network '${id}'.`);
    return place;
  }

  /** As `find`, for a card that comes. Throws VringError `device-bus` too. */
  take(id: string): number {
    const place = this.find(id);
    const known = this.#places[place] as KnownNetwork;
    if (known.isTaken) throw new VringError('device-bus', `The network '${id}' has a card already`);
    known.isTaken = true;
    return place;
  }

  /** A place for another network. Throws VringError `network-id`. */
  reserve(options: NetworkOptions): number {
    if (this.#places.some((known) => known && !known.isClosed && known.options.id === options.id))
      throw new VringError('network-id', `Duplicate ID '${options.id}'`);
    const free = this.#places.indexOf(undefined);
    const place = free < 0 ? this.#places.length : free;
    this.#places[place] = { options, isTaken: false, card: undefined, isClosed: false };
    return place;
  }

  /** The network at a place is closed. */
  closed(place: number): void {
    const known = this.#places[place];
    if (known?.isTaken) known.isClosed = true;
    else this.#places[place] = undefined;
  }

  /** The card at a place has gone, or could not come. */
  cardGone(place: number): void {
    const known = this.#places[place];
    if (!known) return;
    known.card = undefined;
    known.isTaken = false;
    if (known.isClosed) this.#places[place] = undefined;
  }
}

function ringsFor(network: NetworkOptions): NetworkRings {
  return {
    queues: network.kind === 'tap' ? (network.descriptors?.length ?? network.queues ?? 1) : 1,
    toHost: FrameRing.create().buffer,
    toGuest: FrameRing.create().buffer,
  };
}

function describe(network: NetworkOptions): string {
  if (network.kind === 'user') {
    const { network: net, restrict } = completeOptions(network.user ?? {});
    return `net=${formatIp(net)},restrict=${restrict ? 'on' : 'off'}`;
  }
  if (network.kind === 'none') return '';
  if (network.kind === 'tap')
    return network.descriptors ? `fd=${network.descriptors.join(':')}` : `ifname=${network.ifname ?? 'tap%d'}`;
  if (network.kind === 'descriptor') return `${network.isDatagram ? '' : 'socket: '}fd=${network.fd}`;
  if (network.kind !== 'datagram') {
    const { kind, place } = network;
    return `${kind} ${'path' in place ? `unix:${place.path}` : `${place.host}:${place.port}`}`;
  }
  const { local, remote } = network;
  return `${local ? `local ${local.host}:${local.port}, ` : ''}remote ${remote.host}:${remote.port}`;
}

const CLOSE_MS = 5000;

/** Starts the thread, which opens all networks. */
export function openNetworks(networks: readonly NetworkOptions[], doorbell: SharedArrayBuffer): MachineNetworkThread {
  const rings = networks.map(ringsFor);
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
  const requests = new Map<number, { resolve(value: NetworkAnswer): void; reject(error: VringError): void }>();
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
        if ('value' in message) waiting?.resolve(message.value);
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
  const ask = (message: (id: number) => ToNetworks): Promise<NetworkAnswer> =>
    new Promise((resolve, reject) => {
      const id = nextRequest++;
      requests.set(id, { resolve, reject });
      worker.postMessage(message(id));
    });
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
    add: async (network, options) => {
      const theirs = ringsFor(options);
      await ask((id) => ({ type: 'add', id, network, options, rings: theirs }));
      return theirs;
    },
    remove: async (network) => {
      await ask((id) => ({ type: 'remove', id, network }));
    },
    changeForward: async (network, change) => (await ask((id) => ({ type: 'forward', id, network, change }))) === true,
    send: async (network, frame) => {
      await ask((id) => ({ type: 'send', id, network, frame }));
    },
    flows: async (network) => {
      const flows = await ask((id) => ({ type: 'flows', id, network }));
      return Array.isArray(flows) ? flows : [];
    },
    close: async () => {
      worker.postMessage({ type: 'close' } satisfies ToNetworks);
      const timer = setTimeout(() => void worker.terminate(), CLOSE_MS);
      await exited;
      clearTimeout(timer);
    },
  };
}
