/** A network behind a tap device of the host's: what a card sends, the host receives, and the other way round. */
import { spawnSync } from 'node:child_process';
import { readSync, writeSync, writevSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { VringError } from '../../base/index.js';
import {
  type FrameOffload,
  type FrameSink,
  finishFrame,
  type GuestLink,
  MAX_FRAME_BYTES,
  noOffload,
} from '../../net/index.js';
import { closeDescriptor, createEvent } from './descriptor-wait.js';
import { TapDevice, type TapPlace, VNET_HEADER_BYTES } from './tap-device.js';
import type { TapWaitConfig, ToTapWait } from './tap-wait-worker.js';

export interface TapBackend extends TapPlace {
  /** Programs that are called with the interface's name when it is there, and before it goes. */
  readonly script?: string | undefined;
  readonly downScript?: string | undefined;
}

/** Frames of one queue after which the others, and what else the thread does, have their turn. */
const BATCH = 64;
const ONE_EVENT = new Uint8Array(new BigUint64Array([1n]).buffer);

/** Throws VringError `network-tap`. */
export function openTapSink(backend: TapBackend, link: GuestLink, report: (line: string) => void): FrameSink {
  const device = TapDevice.open(backend);
  if (backend.script !== undefined) {
    const failed = runScript(backend.script, device.name);
    if (failed !== undefined) {
      device.close();
      throw new VringError('network-tap', `network script ${backend.script} failed: ${failed}`);
    }
  }
  return new TapSink(device, link, backend.downScript, report);
}

/** Undefined, or what went wrong. */
function runScript(script: string, name: string): string | undefined {
  const { status, signal, error } = spawnSync(script, [name], { stdio: ['ignore', 'inherit', 'inherit'] });
  if (error) return 'it could not be started';
  if (signal) return `it was ended by ${signal}`;
  return status === 0 ? undefined : `it ended with status ${status}`;
}

class TapSink implements FrameSink {
  readonly #device: TapDevice;
  readonly #link: GuestLink;
  readonly #downScript: string | undefined;
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
  #scheduled = false;
  #closing = false;

  constructor(device: TapDevice, link: GuestLink, downScript: string | undefined, report: (line: string) => void) {
    this.#device = device;
    this.#link = link;
    this.#downScript = downScript;
    this.#report = report;
    this.#headerBytes = device.hasHeader ? VNET_HEADER_BYTES : 0;
    this.#buffer = new Uint8Array(this.#headerBytes + MAX_FRAME_BYTES);
    this.#event = createEvent();
    this.#wait = new Worker(new URL('./tap-wait-worker.js', import.meta.url), {
      workerData: { descriptors: device.descriptors, event: this.#event } satisfies TapWaitConfig,
      name: 'tap',
      stdin: false,
      execArgv: [],
    });
    this.#wait.on('message', () => this.#drain());
    this.#wait.on('error', (error) => this.#report(`The tap device '${device.name}' is not heard any more: ${error}`));
    this.#waitEnded = new Promise((resolve) => {
      this.#wait.on('exit', () => resolve());
    });
  }

  adapt(taken: number, queues: number): void {
    this.#queues = Math.min(queues, this.#device.descriptors.length);
    this.#device.setTakes(taken);
    this.#device.setQueues(this.#queues);
    this.#tell({ type: 'queues', queues: this.#queues });
    writeSync(this.#event, ONE_EVENT);
  }

  #tell(message: ToTapWait): void {
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
    if (!some) this.#tell({ type: 'again' });
    else if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => this.#drain());
    }
  }

  /** Bytes of the next frame with its header; 0: there is none. */
  #read(queue: number): number {
    try {
      return readSync(this.#device.descriptors[queue] as number, this.#buffer, 0, this.#buffer.length, null);
    } catch {
      // EAGAIN; and while the interface is down EIO, which the wait tells of no more.
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
    if (this.#downScript !== undefined) {
      const failed = runScript(this.#downScript, this.#device.name);
      if (failed !== undefined) this.#report(`network script ${this.#downScript} failed: ${failed}`);
    }
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
