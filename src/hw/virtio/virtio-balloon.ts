/**
 * Traditional memory balloon (Virtual I/O Device 1.2, 5.5): the host asks for pages by `num_pages`, the driver hands them over
 * and takes them back, and tells memory statistics when asked. Free page hinting and reporting are not offered.
 */
import { defineState, type StateArena, type StateOf, u32 } from '../../schema/index.js';
import { type StatePart, statePart } from '../pci/saved-parts.js';
import { ConfigBytes } from './config-bytes.js';
import { type VirtioDevice, type VirtioModel, virtioType } from './virtio-device.js';
import type { Virtqueue } from './virtqueue.js';

const feature = { stats: 1, deflateOnOom: 2 } as const;
const configField = { numPages: 0, actual: 4 } as const;
const queueIndex = { inflate: 0, deflate: 1, stats: 2 } as const;
const pageBytes = 4096;
/** Page numbers taken from one buffer: 4 GiB. A driver sends 256 at a time. */
const maxPages = 0x100000;
const statBytes = 10;

/** Statistics tags (5.5.6.4) in the order of their numbers. */
export const balloonStatNames = [
  'swap-in',
  'swap-out',
  'major-faults',
  'minor-faults',
  'free-memory',
  'total-memory',
  'available-memory',
  'disk-caches',
  'hugetlb-allocations',
  'hugetlb-failures',
] as const;
export type BalloonStats = { readonly [K in (typeof balloonStatNames)[number]]?: bigint };

export interface BalloonHost {
  /** Guest-physical pages that the guest gave up: their contents are lost. */
  inflated(gpa: number, sizeBytes: number): void;
  /** Pages that the guest takes back. */
  deflated(gpa: number, sizeBytes: number): void;
  /** The size of the balloon as the driver reports it. */
  actualChanged?(sizeBytes: number): void;
  statsArrived?(stats: BalloonStats): void;
}

const VirtioBalloonState = defineState('virtio-balloon', 1, {
  /** What the host asks for survives a reset of the machine. */
  numPages: u32(0, { keep: true }),
  actual: u32(),
});

export class VirtioBalloon implements VirtioModel {
  readonly type = virtioType.balloon;
  readonly queueSizes = [128, 128, 128];
  readonly features: readonly number[];
  readonly config: ConfigBytes;
  /** Two fields, and two more of features that are not offered. */
  readonly configBytes = 16;
  /** As in QEMU: pin interrupts only. */
  readonly vectors = 0;
  readonly parts: readonly StatePart[];
  readonly #state: StateOf<typeof VirtioBalloonState>;
  readonly #host: BalloonHost;
  #device: VirtioDevice | undefined;

  /** `deflateOnOom`: the driver may take pages back when the guest runs out of memory. */
  constructor(options: { host: BalloonHost; deflateOnOom?: boolean; arena?: StateArena | undefined }) {
    this.features = [feature.stats, ...(options.deflateOnOom ? [feature.deflateOnOom] : [])];
    this.#host = options.host;
    this.#state = VirtioBalloonState.allocate(options.arena);
    this.parts = [statePart(VirtioBalloonState, this.#state)];
    const written = (offset: number, size: number, value: number) => this.#written(offset, size, value);
    this.config = new ConfigBytes(this.configBytes, written, () => this.#show());
  }

  attach(device: VirtioDevice): void {
    this.#device = device;
  }

  #show(): void {
    this.config.view.setUint32(configField.numPages, this.#state.numPages, true);
    this.config.view.setUint32(configField.actual, this.#state.actual, true);
  }

  /** Only `actual` is the driver's; it may come in parts. */
  #written(offset: number, size: number, value: number): void {
    this.#show();
    for (let i = 0; i < size; i++) {
      const at = offset + i;
      if (at >= configField.actual && at < configField.actual + 4) this.config.bytes[at] = (value >>> (8 * i)) & 0xff;
    }
    const actual = this.config.view.getUint32(configField.actual, true);
    if (actual === this.#state.actual) return;
    this.#state.actual = actual;
    this.#host.actualChanged?.(actual * pageBytes);
  }

  get actualBytes(): number {
    return this.#state.actual * pageBytes;
  }

  /** Asks the guest to give up this much memory. */
  setTarget(sizeBytes: number): void {
    this.#state.numPages = Math.min(Math.floor(sizeBytes / pageBytes), 0xffffffff);
    this.#device?.configChanged();
  }

  /** Asks for fresh statistics; false when the driver has none on offer. They come by `statsArrived`. */
  requestStats(): boolean {
    const queue = this.#device?.queues[queueIndex.stats];
    if (queue === undefined || !this.#device?.running || !this.#device.hasFeature(feature.stats)) return false;
    const chain = queue.pop();
    if (chain === undefined) return false;
    queue.push(chain, 0);
    queue.signal();
    return true;
  }

  reset(): void {
    VirtioBalloonState.reset(this.#state);
  }

  restored(): void {
    for (const queue of this.#device?.queues ?? []) {
      if (queue.index !== queueIndex.stats && queue.state.ready) this.#device?.kick(queue.index);
    }
  }

  queueKicked(queue: Virtqueue): void {
    if (queue.index === queueIndex.stats) {
      this.#readStats(queue);
      return;
    }
    const tell =
      queue.index === queueIndex.inflate
        ? (gpa: number, size: number) => this.#host.inflated(gpa, size)
        : (gpa: number, size: number) => this.#host.deflated(gpa, size);
    for (let budget = queue.state.size; budget > 0; budget--) {
      const chain = queue.pop();
      if (chain === undefined) break;
      if (chain.readableBytes > maxPages * 4) {
        queue.release(chain);
        this.#device?.fail('a balloon buffer names too many pages');
        return;
      }
      const numbers = new Uint8Array(chain.readableBytes);
      chain.copyOut(0, numbers);
      forEachRun(numbers, tell);
      queue.push(chain, 0);
    }
    queue.signal();
  }

  /** The driver's buffer stays in the ring until the host asks for the next statistics. */
  #readStats(queue: Virtqueue): void {
    const chain = queue.peek();
    if (chain === undefined) return;
    const bytes = new Uint8Array(Math.min(chain.readableBytes, statBytes * 64));
    chain.copyOut(0, bytes);
    queue.release(chain);
    const view = new DataView(bytes.buffer);
    const stats: Partial<Record<(typeof balloonStatNames)[number], bigint>> = {};
    for (let at = 0; at + statBytes <= bytes.length; at += statBytes) {
      const name = balloonStatNames[view.getUint16(at, true)];
      if (name !== undefined) stats[name] = view.getBigUint64(at + 2, true);
    }
    this.#host.statsArrived?.(stats);
  }
}

/** Page frame numbers as runs of neighbouring pages, rising or falling. */
function forEachRun(numbers: Uint8Array, run: (gpa: number, sizeBytes: number) => void): void {
  const view = new DataView(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  const count = Math.floor(numbers.length / 4);
  let first = 0;
  let pages = 0;
  for (let i = 0; i < count; i++) {
    const frame = view.getUint32(i * 4, true);
    if (pages > 0 && frame === first + pages) {
      pages++;
    } else if (pages > 0 && frame === first - 1) {
      first--;
      pages++;
    } else {
      if (pages > 0) run(first * pageBytes, pages * pageBytes);
      first = frame;
      pages = 1;
    }
  }
  if (pages > 0) run(first * pageBytes, pages * pageBytes);
}
