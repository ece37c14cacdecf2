/** A machine's disks, as the machine's owner holds them: the thread that has their images open. */
import { MessageChannel, Worker } from 'node:worker_threads';
import { VringError } from '../base/index.js';
import type { OptionDict } from '../block/index.js';
import { bundle } from '../host/node/bundles.js';
import type { BlockAnswer, BlockRequest, JobEvent } from './block-protocol.js';
import type {
  BlockNodeDescription,
  BlockObject,
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
import type { ThresholdExceeded } from './write-thresholds.js';

export interface DescribedNodes {
  readonly nodes: readonly BlockNodeDescription[];
  readonly exports: readonly NbdExportDescription[];
}

export interface MachineDiskThread {
  /** What the vCPU's thread needs. */
  readonly config: MachineDisksConfig;
  /** All images are open. Rejects with VringError `disk-open`. */
  readonly opened: Promise<void>;
  /** By their places, undefined: it has been taken out; then what is held. */
  describe(): Promise<readonly (DiskDescription | undefined)[]>;
  /** Puts another medium into a drive, or takes it out. Rejects with VringError `disk-open`; the drive then has what it had. */
  change(disk: number, image: DiskImage | 'prepared' | undefined): Promise<void>;
  /** Opens a medium that is put into the drive later, as `prepared`; undefined: closes it. Rejects with VringError `disk-open`. */
  prepare(disk: number, image: DiskImage | undefined): Promise<void>;
  /** Opens an image that no device has, and keeps it. Rejects with VringError `disk-open`. */
  hold(name: string, image: DiskImage | undefined): Promise<void>;
  /** Closes what `hold` has opened by that name, where there is one. */
  release(name: string): Promise<void>;
  /** Another disk; gives its place. Rejects with VringError `disk-open`. */
  add(disk: DiskConfig): Promise<number>;
  /** What was written to it is in its image. Its device is gone before. */
  remove(disk: number): Promise<void>;
  /** Block nodes by their options, and by name. Reject with VringError `disk-open`. */
  addNode(options: OptionDict): Promise<void>;
  removeNode(name: string): Promise<void>;
  /** What nodes may refer to: a secret, or another object. */
  defineObject(id: string, object: Uint8Array | BlockObject): Promise<void>;
  /** False: a node uses it. */
  forgetObject(id: string): Promise<boolean>;
  /** All block nodes, and what the NBD server offers of them. Rejects with VringError `disk-open`. */
  describeNodes(): Promise<DescribedNodes>;
  /** Rejects with VringError `nbd`. */
  nbd(request: NbdRequest): Promise<void>;
  /** Rejects with VringError `block`, `no-such-job`, `no-such-disk`. */
  block<R extends BlockRequest>(request: R): Promise<BlockAnswer<R>>;
  /** Takes a disk's image away from its device. Rejects with VringError `block`. */
  detach(disk: number): Promise<void>;
  onJobEvent(listener: (event: JobEvent) => void): void;
  onThresholdExceeded(listener: (exceeded: ThresholdExceeded) => void): void;
  /** Lines for a person, those of before included. */
  onReport(listener: (line: string) => void): void;
  onFailure(listener: (error: VringError) => void): void;
  /** Resolves when all that was written is in the images, and the thread is gone. */
  close(): Promise<void>;
}

/** How long the end of what is under way is waited for: a server that does not answer holds nobody for ever. */
const CLOSE_MS = 30_000;

interface Waiting {
  resolve(value: unknown): void;
  reject(error: VringError): void;
}

/** What the thread says of a request that it could not carry out. */
class DiskFailure extends VringError {
  readonly errno: string;
  constructor(errno: string, message: string) {
    super('disk-open', message);
    this.errno = errno;
  }
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
  const waiting = new Map<number, Waiting>();
  let jobEvent: (event: JobEvent) => void = () => {};
  let thresholdExceeded: (exceeded: ThresholdExceeded) => void = () => {};
  const exited = new Promise<void>((resolve) => {
    worker.on('exit', () => {
      for (const { reject } of waiting.values()) reject(new VringError('machine-ended', 'The machine has ended.'));
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
        case 'answer': {
          const { id, value, failure: reason } = message;
          const asked = waiting.get(id);
          waiting.delete(id);
          if (reason === undefined) asked?.resolve(value);
          else asked?.reject(new DiskFailure(reason.code, reason.message));
          return;
        }
        case 'thresholdExceeded':
          thresholdExceeded(message.exceeded);
          return;
        case 'jobEvent':
          jobEvent(message.event);
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
  /** `codes`: of the error where its thread's is among them; else it is `otherwise`. */
  const ask = async <T>(
    message: (id: number) => ToDisks,
    otherwise = 'disk-open',
    codes: Readonly<Record<string, string>> = {},
  ): Promise<T> => {
    try {
      return await new Promise<T>((resolve, reject) => {
        const id = nextId++;
        waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
        say(message(id));
      });
    } catch (error) {
      if (!(error instanceof DiskFailure)) throw error;
      throw new VringError(codes[error.errno] ?? otherwise, error.message);
    }
  };
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
    describe: () => ask((id) => ({ type: 'describe', id })),
    change: (disk, image) => ask((id) => ({ type: 'change', id, disk, image })),
    prepare: (disk, image) => ask((id) => ({ type: 'prepare', id, disk, image })),
    hold: (name, image) => ask((id) => ({ type: 'hold', id, name, image })),
    release: (name) => ask((id) => ({ type: 'release', id, name })),
    add: async (disk) => {
      const place = await ask<number>((id) => ({ type: 'add', id, disk }));
      const { id, onReadError, onWriteError } = disk;
      known[place] = { id, onReadError, onWriteError };
      return place;
    },
    remove: async (disk) => {
      known[disk] = { id: '' };
      await ask((id) => ({ type: 'remove', id, disk }));
    },
    addNode: (options) => ask((id) => ({ type: 'addNode', id, options })),
    defineObject: (id, object) => ask((ticket) => ({ type: 'defineObject', id: ticket, name: id, object })),
    forgetObject: (id) => ask((ticket) => ({ type: 'forgetObject', id: ticket, name: id })),
    removeNode: (name) => ask((id) => ({ type: 'removeNode', id, name })),
    describeNodes: () => ask((id) => ({ type: 'describeNodes', id })),
    nbd: (request) => ask((id) => ({ type: 'nbd', id, request }), 'nbd'),
    block: (request) =>
      ask((id) => ({ type: 'block', id, request }), 'block', { ESRCH: 'no-such-job', ENODEV: 'no-such-disk' }),
    detach: async (disk) => {
      const { id: drive } = known[disk];
      await ask((id) => ({ type: 'block', id, request: { op: 'detach', disk: drive } }), 'block');
      known[disk] = { id: '' };
    },
    onThresholdExceeded: (listener) => {
      thresholdExceeded = listener;
    },
    onJobEvent: (listener) => {
      jobEvent = listener;
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
