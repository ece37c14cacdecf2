/**
 * 9P transport (Linux's net/9p/trans_virtio.c; Virtual I/O Device 1.3, 5.21): one queue, whose buffers are a request and the room for its
 * answer. Requests are answered in the thread that kicks: a folder on a slow disk holds the vCPU meanwhile.
 */
import { StateError } from '../../schema/index.js';
import type { HostFolder } from '../ninep/host-folder.js';
import { headerBytes, NinePServer, type SavedFid } from '../ninep/server.js';
import type { StatePart } from '../pci/saved-parts.js';
import { ConfigBytes } from './config-bytes.js';
import { type VirtioDevice, type VirtioModel, virtioType } from './virtio-device.js';
import type { Virtqueue } from './virtqueue.js';

const FEATURE_MOUNT_TAG = 0;
const QUEUE_SIZE = 128;
/** Longest mount tag, as QEMU has it. */
export const mostTagBytes = 31;

export class Virtio9p implements VirtioModel {
  readonly type = virtioType.ninep;
  readonly queueSizes = [QUEUE_SIZE];
  readonly features = [FEATURE_MOUNT_TAG];
  readonly config: ConfigBytes;
  readonly configBytes: number;
  readonly parts: readonly StatePart[];
  readonly #server: NinePServer;
  #device!: VirtioDevice;

  /** `tag`: what the guest mounts it by. */
  constructor(folder: HostFolder, tag: string) {
    this.#server = new NinePServer(folder);
    const name = new TextEncoder().encode(tag);
    this.configBytes = 2 + name.length;
    this.config = new ConfigBytes(this.configBytes);
    this.config.view.setUint16(0, name.length, true);
    this.config.bytes.set(name, 2);
    this.parts = [{ save: () => this.#save(), load: (saved) => this.#load(saved) }];
  }

  attach(device: VirtioDevice): void {
    this.#device = device;
  }

  reset(): void {
    this.#server.reset();
  }

  restored(): void {
    if (this.#device.queues[0]!.state.ready) this.#device.kick(0);
  }

  queueKicked(queue: Virtqueue): void {
    for (let budget = queue.state.size; budget > 0; budget--) {
      const chain = queue.pop();
      if (chain === undefined) break;
      // Apart: the guest may change what lies in its memory meanwhile.
      const message = new Uint8Array(Math.min(chain.readableBytes, this.#server.messageBytes + headerBytes));
      const given = chain.copyOut(0, message);
      const length = given < headerBytes ? 0 : new DataView(message.buffer).getUint32(0, true);
      if (length < headerBytes || length > given || chain.writableBytes < headerBytes + 4) {
        queue.push(chain, 0);
        continue;
      }
      queue.push(chain, chain.copyIn(0, this.#server.answer(message.subarray(0, length), chain.writableBytes)));
    }
    queue.signal();
  }

  #save(): Uint8Array {
    const { messageBytes, saved } = this.#server;
    return new TextEncoder().encode(JSON.stringify([messageBytes, saved]));
  }

  #load(saved: Uint8Array): void {
    const damaged = () => new StateError('state-field', 'The saved state of a shared folder is cut short or damaged.');
    let value: unknown;
    try {
      value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(saved));
    } catch {
      throw damaged();
    }
    if (!Array.isArray(value) || !Number.isInteger(value[0]) || !Array.isArray(value[1]) || !value[1].every(isFid))
      throw damaged();
    this.#server.restore(value[0], value[1]);
  }
}

function isFid(value: unknown): value is SavedFid {
  const { fid, place, opened, uid } = (value ?? {}) as Partial<Record<keyof SavedFid, unknown>>;
  return (
    Number.isInteger(fid) &&
    (fid as number) >= 0 &&
    (fid as number) < 0xffffffff &&
    Array.isArray(place) &&
    place.every((name) => typeof name === 'string') &&
    (uid === undefined || (Number.isInteger(uid) && (uid as number) >= 0 && (uid as number) < 0xffffffff)) &&
    (opened === undefined || opened === 'folder' || Number.isInteger(opened))
  );
}
