/** A machine's disks, as the machine's owner holds them: the thread that has their images open. */
import { MessageChannel, Worker } from 'node:worker_threads';
import { VringError } from '../base/index.js';
import type { OptionDict } from '../block/index.js';
import { bundle } from '../host/node/bundles.js';
import type {
  BlockNodeDescription,
  DiskConfig,
  DiskDescription,
  DiskImage,
  DiskWorkerConfig,
  FromDisks,
  MachineDisksConfig,
  NbdExportDescription,
  NbdRequest,
  ToDisks,
} from './disk-protocol.js';
import { DiskRing } from './disk-ring.js';

export interface DescribedNodes {
  readonly nodes: readonly BlockNodeDescription[];
  readonly exports: readonly NbdExportDescription[];
}

export interface MachineDiskThread {
  /** What the vCPU's thread needs. */
  readonly config: MachineDisksConfig;
  /** All images are open. Rejects with VringError `disk-open`. */
  readonly opened: Promise<void>;
  /** By their places; undefined: it has been taken out. */
  describe(): Promise<readonly (DiskDescription | undefined)[]>;
  /** Puts another medium into a drive, or takes it out. Rejects with VringError `disk-open`; the drive then has what it had. */
  change(disk: number, image: DiskImage | undefined): Promise<void>;
  /** Another disk; gives its place. Rejects with VringError `disk-open`. */
  add(disk: DiskConfig): Promise<number>;
  /** What was written to it is in its image. Its device is gone before. */
  remove(disk: number): Promise<void>;
  /** Block nodes by their options, and by name. Reject with VringError `disk-open`. */
  addNode(options: OptionDict): Promise<void>;
  removeNode(name: string): Promise<void>;
  /** All block nodes, and what the NBD server offers of them. Rejects with VringError `disk-open`. */
  describeNodes(): Promise<DescribedNodes>;
  /** Rejects with VringError `nbd`. */
  nbd(request: NbdRequest): Promise<void>;
  /** Lines for a person, those of before included. */
  onReport(listener: (line: string) => void): void;
  onFailure(listener: (error: VringError) => void): void;
  /** Resolves when all that was written is in the images, and the thread is gone. */
  close(): Promise<void>;
}

/** How long the end of what is under way is waited for: a server that does not answer holds nobody for ever. */
const CLOSE_MS = 30_000;

interface Waiting<T> {
  resolve(value: T): void;
  reject(error: VringError): void;
}

/** Starts the thread, which opens all images. */
export function openDisks(config: Omit<DiskWorkerConfig, 'ring' | 'port'>): MachineDiskThread {
  const ring = DiskRing.create(config.disks.length);
  const { port1: machinePort, port2: port } = new MessageChannel();
  const worker = new Worker(bundle('disk-worker') ?? new URL('./disk-worker.js', import.meta.url), {
    workerData: { ...config, ring: ring.buffer, port } satisfies DiskWorkerConfig,
    transferList: [port],
    name: 'disks',
    stdin: false,
    execArgv: [],
  });
  const say = (message: ToDisks) => {
    worker.postMessage(message);
    ring.wake();
  };
  const lines: string[] = [];
  let report: (line: string) => void = (line) => {
    lines.push(line);
  };
  let failed: (error: VringError) => void = () => {};
  let failure: VringError | undefined;
  let nextId = 1;
  const waiting = new Map<number, (disks: readonly (DiskDescription | undefined)[]) => void>();
  const changing = new Map<number, Waiting<number>>();
  const listing = new Map<number, Waiting<DescribedNodes>>();
  const exited = new Promise<void>((resolve) => {
    worker.on('exit', () => {
      for (const answer of waiting.values()) answer([]);
      for (const { reject } of [...changing.values(), ...listing.values()])
        reject(new VringError('machine-ended', 'The machine has ended.'));
      resolve();
    });
  });
  const opened = new Promise<void>((resolve, reject) => {
    worker.on('message', (message: FromDisks) => {
      switch (message.type) {
        case 'opened':
          resolve();
          return;
        case 'failed':
          reject(new VringError(message.code, message.message));
          return;
        case 'description':
          waiting.get(message.id)?.(message.disks);
          waiting.delete(message.id);
          return;
        case 'changed': {
          const { id, failure: reason } = message;
          const change = changing.get(id);
          changing.delete(id);
          if (reason === undefined) change?.resolve(message.disk ?? -1);
          else (change ?? listing.get(id))?.reject(new VringError('disk-open', reason));
          listing.delete(id);
          return;
        }
        case 'nodes':
          listing.get(message.id)?.resolve(message);
          listing.delete(message.id);
          return;
        case 'report':
          report(message.line);
      }
    });
    worker.on('error', (error) => {
      failure = new VringError('internal', `The thread of the disks has failed: ${(error as Error).message}`, {
        cause: error,
      });
      reject(failure);
      failed(failure);
    });
  });
  // Whoever waits for it sees the failure; nobody has to.
  opened.catch(() => {});
  const ask = (message: (id: number) => ToDisks) =>
    new Promise<number>((resolve, reject) => {
      const id = nextId++;
      changing.set(id, { resolve, reject });
      say(message(id));
    });
  const known: MachineDisksConfig['disks'][number][] = config.disks.map(({ id, onReadError, onWriteError }) => ({
    ...{ id, onReadError, onWriteError },
  }));
  return {
    config: {
      ring: ring.buffer,
      port: machinePort,
      disks: known,
    },
    opened,
    describe: () =>
      new Promise((resolve) => {
        const id = nextId++;
        waiting.set(id, resolve);
        say({ type: 'describe', id });
      }),
    change: async (disk, image) => void (await ask((id) => ({ type: 'change', id, disk, image }))),
    add: async (disk) => {
      const place = await ask((id) => ({ type: 'add', id, disk }));
      const { id, onReadError, onWriteError } = disk;
      known[place] = { id, onReadError, onWriteError };
      return place;
    },
    remove: async (disk) => {
      known[disk] = { id: '' };
      await ask((id) => ({ type: 'remove', id, disk }));
    },
    addNode: async (options) => void (await ask((id) => ({ type: 'addNode', id, options }))),
    removeNode: async (name) => void (await ask((id) => ({ type: 'removeNode', id, name }))),
    describeNodes: () =>
      new Promise((resolve, reject) => {
        const id = nextId++;
        listing.set(id, { resolve, reject });
        say({ type: 'describeNodes', id });
      }),
    nbd: async (request) => {
      try {
        await ask((id) => ({ type: 'nbd', id, request }));
      } catch (error) {
        const { message } = error as VringError;
        throw new VringError('nbd', message, { cause: error });
      }
    },
    onReport: (listener) => {
      report = listener;
      for (const line of lines.splice(0)) listener(line);
    },
    onFailure: (listener) => {
      failed = listener;
      if (failure) listener(failure);
    },
    close: async () => {
      say({ type: 'close' });
      const timer = setTimeout(() => {
        report('A disk does not answer: what was last written to it may be lost.');
        void worker.terminate();
      }, CLOSE_MS);
      await exited;
      clearTimeout(timer);
    },
  };
}
