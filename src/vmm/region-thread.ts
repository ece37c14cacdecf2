/**
 * Regions written by a thread of their own, as the vCPU's thread sees it. The thread starts with the first hot block; until it has
 * loaded its code the vCPU's thread writes regions itself, as a kernel unpacks itself in that time.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import {
  type BuiltModule,
  InlineRegionService,
  RegionQueue,
  type RegionService,
  type RegionSetup,
} from '../accel/index.js';
import { bundle } from '../host/node/bundles.js';

export interface RegionWorkerConfig {
  readonly setup: RegionSetup;
  readonly port: MessagePort;
}

/** `failure`: a broken invariant, with its stack; nothing follows it. */
export type FromRegionWorker = { readonly built: BuiltModule } | { readonly failure: string };

/** A thread that does not come up in this time is not waited for. */
const LOAD_MS = 5000;

export class ThreadRegionService implements RegionService {
  #setup: RegionSetup | undefined;
  #queue: RegionQueue | undefined;
  #port: MessagePort | undefined;
  #inline: InlineRegionService | undefined;
  #taken = 0;

  start(setup: RegionSetup): void {
    this.#setup = setup;
    this.#queue = new RegionQueue(setup.memory.buffer);
    this.#inline = new InlineRegionService();
    this.#inline.start(setup);
  }

  take(): BuiltModule | undefined {
    const queue = this.#queue as RegionQueue;
    if (this.#inline) {
      if (!this.#port && queue.waiting > 0) this.#startThread();
      if (!queue.isReady) return this.#inline.take(true);
      queue.handOver(this.#inline.nextCell);
      this.#inline = undefined;
    }
    if (queue.finished === this.#taken) return undefined;
    const received = this.#port && (receiveMessageOnPort(this.#port) as { message: FromRegionWorker } | undefined);
    if (!received) return undefined;
    this.#taken = (this.#taken + 1) | 0;
    if ('failure' in received.message) throw new Error(received.message.failure);
    return received.message.built;
  }

  /** Before the vCPU's thread ends: a thread that ends while it loads its code leaves files open. */
  close(): void {
    if (this.#port) this.#queue?.awaitReady(LOAD_MS);
  }

  /** Only when something is hot: many a machine never gets so far. */
  #startThread(): void {
    const { port1, port2: port } = new MessageChannel();
    this.#port = port1;
    const worker = new Worker(bundle('region-worker') ?? new URL('./region-worker.js', import.meta.url), {
      workerData: {
        setup: this.#setup as RegionSetup,
        port,
      } satisfies RegionWorkerConfig,
      transferList: [port],
      name: 'regions',
      // What it allocates dies young: a small nursery keeps the process small.
      resourceLimits: { maxYoungGenerationSizeMb: 6, maxOldGenerationSizeMb: 256 },
      stdin: false,
      execArgv: [],
    });
    worker.unref();
    port1.unref();
  }
}
