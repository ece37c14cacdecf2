/**
 * The thread of a machine's networks. It sleeps in its event loop, from which sockets and the vCPU's thread wake it; while there
 * are frames it goes on without being told.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { VringError } from '../base/index.js';
import { nameThread } from '../host/node/activity.js';
import { openCapture } from '../host/node/capture-file.js';
import { NodeNetHost } from '../host/node/net-host.js';
import { openSocketSink } from '../host/node/net-sockets.js';
import { openTapSink } from '../host/node/tap-sink.js';
import {
  type FrameOffload,
  type FrameSink,
  finishFrame,
  type GuestLink,
  noOffload,
  type UserFlow,
  UserNetwork,
} from '../net/index.js';
import { ringDoorbell } from './doorbell.js';
import { FrameRing } from './frame-ring.js';
import type {
  ForwardChange,
  FromNetworks,
  NetworkAnswer,
  NetworkOptions,
  NetworkRings,
  NetworkWorkerConfig,
  ToNetworks,
  ToNetworksFromMachine,
} from './network-protocol.js';
import { rungBy } from './worker-protocol.js';

/** Frames of one network after which the others, and sockets, have their turn. */
const BATCH = 32;

const config = workerData as NetworkWorkerConfig;
const owner = parentPort as NonNullable<typeof parentPort>;
const say = (message: FromNetworks) => owner.postMessage(message);
const doorbell = new Int32Array(config.doorbell);
const host = new NodeNetHost();
nameThread('network');

let kickWords: Int32Array = new Int32Array(new SharedArrayBuffer(4));
let kickIndices: readonly number[] = [];

function wakeMachine(): void {
  // The running vCPU sees its kick word, a sleeping one the doorbell.
  for (const index of kickIndices) Atomics.store(kickWords, index, 1);
  ringDoorbell(doorbell, rungBy.networks);
}

type Capture = Awaited<ReturnType<typeof openCapture>>;

/** Where nobody is. */
const lost: FrameSink = { receive: () => {}, flush: () => {}, linkReady: () => {}, close: () => {} };

/** One network, and the card on it. */
class Attachment implements GuestLink {
  readonly #toHost: FrameRing;
  readonly #toGuest: FrameRing;
  readonly #captures: Capture[] = [];
  #sink: FrameSink | undefined;
  #user: UserNetwork | undefined;
  #reserved: Uint8Array | undefined;
  #blocked = false;
  /** What the sink knows of the card. */
  #takes = 0;
  #queues = 1;

  constructor(rings: NetworkRings) {
    this.#toHost = new FrameRing(rings.toHost);
    this.#toGuest = new FrameRing(rings.toGuest);
  }

  async open(options: NetworkOptions): Promise<void> {
    for (const { path, snapLength } of options.captures ?? [])
      this.#captures.push(await openCapture(path, snapLength ?? 65536));
    if (options.kind === 'user') {
      const network = new UserNetwork(host, this, options.user);
      this.#sink = this.#user = network;
      await network.open();
      return;
    }
    if (options.kind === 'none') {
      this.#sink = lost;
      return;
    }
    const report = (line: string) => say({ type: 'report', line });
    this.#sink =
      options.kind === 'tap' ? openTapSink(options, this, report) : await openSocketSink(options, this, report);
  }

  /** False: there was nothing to take away. Rejects with a VringError. */
  async changeForward(change: ForwardChange): Promise<boolean> {
    if (!this.#user) throw new VringError('network-kind', 'This network is not a user network.');
    if ('remove' in change) return this.#user.removeForward(change.remove);
    await this.#user.addForward(change.add);
    return true;
  }

  /** As on a wire: what a card has left to the other side is done, large frames are cut. */
  #capture(frame: Uint8Array, offload = noOffload()): void {
    if (this.#captures.length === 0) return;
    finishFrame(frame.slice(), offload, (each) => {
      for (const capture of this.#captures) capture.write(each);
    });
  }

  /** As if the card had sent it. */
  send(frame: Uint8Array): void {
    this.#capture(frame);
    this.#sink?.receive(frame, noOffload());
    this.#sink?.flush();
  }

  get flows(): readonly UserFlow[] | undefined {
    return this.#user?.flows;
  }

  get takes(): number {
    return this.#toGuest.takes;
  }

  get idle(): boolean {
    return this.#toGuest.isEmpty;
  }

  reserve(length: number): Uint8Array | undefined {
    this.#reserved = this.#toGuest.reserve(length);
    if (!this.#reserved) this.#blocked = true;
    return this.#reserved;
  }

  commit(offload?: FrameOffload, queue?: number): void {
    this.#capture(this.#reserved as Uint8Array, offload);
    if (this.#toGuest.commit(offload, queue)) wakeMachine();
  }

  /** True: there were frames. */
  look(): boolean {
    const sink = this.#sink;
    if (!sink) return false;
    const { takes, queues } = this.#toGuest;
    if (takes !== this.#takes || queues !== this.#queues) {
      this.#takes = takes;
      this.#queues = queues;
      sink.adapt?.(takes, queues);
    }
    if (this.#blocked && this.#toGuest.hasHalfFree) {
      this.#blocked = false;
      sink.linkReady();
    }
    let count = 0;
    for (; count < BATCH; count++) {
      const frame = this.#toHost.peek();
      if (!frame) break;
      this.#capture(frame.bytes, frame.offload);
      sink.receive(frame.bytes, frame.offload, frame.queue);
      if (this.#toHost.consume()) wakeMachine();
    }
    if (count > 0) sink.flush();
    return count > 0;
  }

  async close(): Promise<void> {
    await this.#sink?.close();
    for (const capture of this.#captures) await capture.close();
  }
}

const attachments: (Attachment | undefined)[] = config.rings.map((rings) => new Attachment(rings));
let scheduled = false;
let closing = false;

function look(): void {
  scheduled = false;
  if (closing) return;
  let some = false;
  for (const attachment of attachments) if (attachment?.look()) some = true;
  if (some) schedule();
}

function schedule(): void {
  if (scheduled) return;
  scheduled = true;
  setImmediate(look);
}

function failureOf(error: unknown): { code: string; message: string } {
  return { code: error instanceof VringError ? error.code : 'network-open', message: (error as Error).message };
}

async function openAll(): Promise<void> {
  for (const [i, options] of config.networks.entries()) await attachments[i]?.open(options);
}

/** Rejects with what kept it from being opened. */
async function add(network: number, options: NetworkOptions, rings: NetworkRings): Promise<void> {
  const attachment = new Attachment(rings);
  try {
    await attachment.open(options);
  } catch (error) {
    await attachment.close();
    throw error;
  }
  attachments[network] = attachment;
}

async function remove(network: number): Promise<void> {
  const attachment = attachments[network];
  attachments[network] = undefined;
  await attachment?.close();
}

/** False: there was nothing to do. Rejects with a VringError. */
async function answer(message: Exclude<ToNetworks, { type: 'close' }>): Promise<NetworkAnswer> {
  switch (message.type) {
    case 'send':
      attachments[message.network]?.send(message.frame);
      return true;
    case 'flows':
      return attachments[message.network]?.flows;
    case 'forward':
      return (await attachments[message.network]?.changeForward(message.change)) ?? false;
    case 'add':
      await add(message.network, message.options, message.rings);
      return true;
    case 'remove':
      await remove(message.network);
      return true;
  }
}

owner.on('message', (message: ToNetworks) => {
  if (closing) return;
  if (message.type !== 'close') {
    const { id } = message;
    answer(message).then(
      (value) => say({ type: 'reply', id, value }),
      (error: unknown) => say({ type: 'reply', id, error: failureOf(error) }),
    );
    return;
  }
  closing = true;
  void Promise.all(attachments.map((attachment) => attachment?.close())).finally(() => {
    config.port.close();
    owner.close();
  });
});
config.port.on('message', (message: ToNetworksFromMachine) => {
  if (message.type === 'memory') {
    kickWords = new Int32Array(message.memory);
    kickIndices = message.kickIndices;
  }
  schedule();
});

openAll().then(
  () => {
    say({ type: 'opened' });
    schedule();
  },
  (error: unknown) => {
    say({ type: 'failed', ...failureOf(error) });
  },
);
