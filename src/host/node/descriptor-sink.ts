/** A network behind descriptors that take and give frames, a tap device's or a datagram socket's. Node's event loop takes neither. */
import { readSync, writeSync, writevSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import {
  type FrameOffload,
  type FrameSink,
  finishFrame,
  type GuestLink,
  MAX_FRAME_BYTES,
  noOffload,
} from '../../net/index.js';
import { closeDescriptor, createEvent } from './descriptor-wait.js';
import type { FrameWaitConfig, ToFrameWait } from './frame-wait-worker.js';

/** Of the header before a frame, `struct virtio_net_hdr`. */
export const VNET_HEADER_BYTES = 10;
/** Frames of one queue after which the others, and what else the thread does, have their turn. */
const BATCH = 64;
const TROUBLE_MS = 20;
const ONE_EVENT = new Uint8Array(new BigUint64Array([1n]).buffer);

/** What has descriptors that a read takes a frame from, and a write gives one to, one for each queue; neither waits. */
export interface FrameDevice {
  /** For messages. */
  readonly name: string;
  readonly descriptors: readonly number[];
  /** Frames have a virtio header in front. */
  readonly hasHeader: boolean;
  /** What fails is over when it has been read. */
  readonly errorsPass: boolean;
  /** What the card takes in, bits of `takes`. */
  setTakes?(bits: number): void;
  /** The first so many queues are in use. */
  setQueues?(count: number): void;
  close(): void;
}

export class DescriptorSink implements FrameSink {
  readonly #device: FrameDevice;
  readonly #link: GuestLink;
  readonly #ending: (() => void) | undefined;
  readonly #report: (line: string) => void;
  readonly #wait: Worker;
  readonly #waitEnded: Promise<void>;
  readonly #event: number;
  readonly #buffer: Uint8Array;
  readonly #headerBytes: number;
  readonly #header = new Uint8Array(VNET_HEADER_BYTES);
  readonly #offload = noOffload();
  /** Of frames that came and found no room; they wait in `#buffer`. */
  #held: { readonly length: number; readonly queue: number } | undefined;
  #queues = 1;
  /** The last read has failed, or given nothing. */
  #isTroubled = false;
  #scheduled = false;
  #closing = false;

  /** `ending`: called before the device is closed. */
  constructor(device: FrameDevice, link: GuestLink, report: (line: string) => void, ending?: () => void) {
    this.#device = device;
    this.#link = link;
    this.#ending = ending;
    this.#report = report;
    this.#headerBytes = device.hasHeader ? VNET_HEADER_BYTES : 0;
    this.#buffer = new Uint8Array(this.#headerBytes + MAX_FRAME_BYTES);
    this.#event = createEvent();
    this.#wait = new Worker(new URL('./frame-wait-worker.js', import.meta.url), {
      workerData: {
        descriptors: device.descriptors,
        event: this.#event,
        errorsPass: device.errorsPass,
      } satisfies FrameWaitConfig,
      name: 'frames',
      stdin: false,
      execArgv: [],
    });
    this.#wait.on('message', () => this.#drain());
    this.#wait.on('error', (error) => this.#report(`The network '${device.name}' is not heard any more: ${error}`));
    this.#waitEnded = new Promise((resolve) => {
      this.#wait.on('exit', () => resolve());
    });
  }

  adapt(taken: number, queues: number): void {
    this.#queues = Math.min(queues, this.#device.descriptors.length);
    this.#device.setTakes?.(taken);
    this.#device.setQueues?.(this.#queues);
    this.#tell({ type: 'queues', queues: this.#queues });
    writeSync(this.#event, ONE_EVENT);
  }

  #tell(message: ToFrameWait): void {
    this.#wait.postMessage(message);
  }

  // To the host

  receive(frame: Uint8Array, offload: FrameOffload, queue = 0): void {
    const fd = this.#device.descriptors[queue % this.#queues] as number;
    if (this.#headerBytes === 0) {
      finishFrame(frame, offload, (each) => send(() => writeSync(fd, each)));
      return;
    }
    const header = this.#header;
    const view = new DataView(header.buffer);
    header[0] = offload.flags;
    header[1] = offload.gsoType;
    view.setUint16(2, offload.headerLength, true);
    view.setUint16(4, offload.gsoSize, true);
    view.setUint16(6, offload.checksumStart, true);
    view.setUint16(8, offload.checksumOffset, true);
    send(() => writevSync(fd, [header, frame]));
  }

  flush(): void {}

  // To the card

  linkReady(): void {
    this.#drain();
  }

  #drain(): void {
    this.#scheduled = false;
    if (this.#closing) return;
    if (this.#held) {
      if (!this.#deliver(this.#held.length, this.#held.queue)) return;
      this.#held = undefined;
    }
    let some = false;
    for (let queue = 0; queue < this.#queues; queue++) {
      for (let count = 0; ; count++) {
        if (count === BATCH) {
          some = true;
          break;
        }
        const length = this.#read(queue);
        if (length === 0) break;
        if (length < this.#headerBytes + 14 || this.#deliver(length, queue)) continue;
        // `linkReady` goes on.
        this.#held = { length, queue };
        return;
      }
    }
    // What can be read, and gives nothing, is not asked without end.
    if (!some && this.#isTroubled) setTimeout(() => this.#tell({ type: 'again' }), TROUBLE_MS);
    else if (!some) this.#tell({ type: 'again' });
    else if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => this.#drain());
    }
  }

  /** Bytes of the next frame with its header; 0: there is none. */
  #read(queue: number): number {
    try {
      const length = readSync(this.#device.descriptors[queue] as number, this.#buffer, 0, this.#buffer.length, null);
      this.#isTroubled = length === 0;
      return length;
    } catch (error) {
      // While an interface is down EIO, which the wait tells of no more; of a socket what has become of a frame before.
      this.#isTroubled = (error as NodeJS.ErrnoException).code !== 'EAGAIN';
      return 0;
    }
  }

  /** False: there is no room. */
  #deliver(length: number, queue: number): boolean {
    const skip = this.#headerBytes;
    const room = this.#link.reserve(length - skip);
    if (!room) return false;
    const buffer = this.#buffer;
    room.set(buffer.subarray(skip, length));
    if (skip === 0) {
      this.#link.commit(undefined, queue);
      return true;
    }
    const view = new DataView(buffer.buffer);
    const offload = this.#offload;
    offload.flags = buffer[0] as number;
    offload.gsoType = buffer[1] as number;
    offload.headerLength = view.getUint16(2, true);
    offload.gsoSize = view.getUint16(4, true);
    offload.checksumStart = view.getUint16(6, true);
    offload.checksumOffset = view.getUint16(8, true);
    this.#link.commit(offload, queue);
    return true;
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#tell({ type: 'close' });
    writeSync(this.#event, ONE_EVENT);
    await this.#waitEnded;
    this.#ending?.();
    closeDescriptor(this.#event);
    this.#device.close();
  }
}

/** A frame that the system does not take now, or at all, is lost, as on a wire. */
function send(write: () => void): void {
  try {
    write();
  } catch {
    // Lost.
  }
}
