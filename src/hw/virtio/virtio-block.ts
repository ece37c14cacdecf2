/** Block device (Virtual I/O Device 1.2, 5.2). */
import { bool, defineState, type StateArena, type StateOf } from '../../schema/index.js';
import type { BlockBackend, BlockDone, BlockFailure } from '../disk/block-backend.js';
import { type StatePart, statePart } from '../pci/saved-parts.js';
import { ConfigBytes } from './config-bytes.js';
import { DescriptorChain } from './descriptor-chain.js';
import { type VirtioDevice, type VirtioModel, virtioType } from './virtio-device.js';
import type { Virtqueue } from './virtqueue.js';

const sectorBytes = 512;

const feature = {
  segMax: 2,
  geometry: 4,
  readonly: 5,
  blockSize: 6,
  flush: 9,
  topology: 10,
  configWriteback: 11,
  multiQueue: 12,
  discard: 13,
  writeZeroes: 14,
} as const;

/** struct virtio_blk_config (5.2.4). */
const configField = {
  capacity: 0,
  segMax: 12,
  cylinders: 16,
  heads: 18,
  sectors: 19,
  blockSize: 20,
  physicalBlockExponent: 24,
  minIoSize: 26,
  optIoSize: 28,
  writeback: 32,
  queues: 34,
  maxDiscardSectors: 36,
  maxDiscardSegments: 40,
  discardAlignment: 44,
  maxWriteZeroesSectors: 48,
  maxWriteZeroesSegments: 52,
  writeZeroesMayUnmap: 56,
} as const;
const configBytes = 60;

const requestType = { in: 0, out: 1, flush: 4, getId: 8, discard: 11, writeZeroes: 13 } as const;
const requestStatus = { ok: 0, ioError: 1, unsupported: 2 } as const;
const headerBytes = 16;
const idBytes = 20;
const segmentBytes = 16;
/** Sectors that one discard or write-zeroes request may cover: just below 2 GiB. */
const maxRangeSectors = 0x3fffff;
const flagUnmap = 1;

export interface VirtioBlockOptions {
  readonly backend: BlockBackend;
  readonly queues?: number | undefined;
  readonly queueSize?: number | undefined;
  /** Offered where the back end can do it, unless false. */
  readonly discard?: boolean | undefined;
  readonly writeZeroes?: boolean | undefined;
  /** At most 20 ASCII characters: what `GET_ID` gives. */
  readonly serial?: string;
  readonly logicalBlockSize?: number;
  readonly physicalBlockSize?: number;
  readonly arena?: StateArena | undefined;
}

const VirtioBlockState = defineState('virtio-block', 1, {
  /** The driver's wish: writes may stay in a cache until flush. */
  writeback: bool(true),
});

export class VirtioBlock implements VirtioModel {
  readonly type = virtioType.block;
  readonly queueSizes: readonly number[];
  readonly features: readonly number[];
  readonly config: ConfigBytes;
  readonly configBytes = configBytes;
  readonly parts: readonly StatePart[];
  readonly backend: BlockBackend;
  readonly #state: StateOf<typeof VirtioBlockState>;
  readonly #offersDiscard: boolean;
  readonly #offersWriteZeroes: boolean;
  readonly #serial: Uint8Array;
  readonly #spare: Request[] = [];
  readonly #header = new Uint8Array(headerBytes);
  readonly #headerView = new DataView(this.#header.buffer);
  readonly #statusByte = new Uint8Array(1);
  #device!: VirtioDevice;
  #pending = 0;
  /** Queue whose kick is being handled: its interrupt is sent once at the end. */
  #draining: Virtqueue | undefined;
  /** A request has ended while its queue was drained. */
  #finished = false;

  constructor(options: VirtioBlockOptions) {
    const { backend } = options;
    const queues = options.queues ?? 1;
    const queueSize = options.queueSize ?? 256;
    this.backend = backend;
    this.#state = VirtioBlockState.allocate(options.arena);
    this.parts = [statePart(VirtioBlockState, this.#state)];
    this.queueSizes = new Array<number>(queues).fill(queueSize);
    this.#serial = new TextEncoder().encode(options.serial ?? '').subarray(0, idBytes);
    const features: number[] = [feature.segMax, feature.geometry, feature.blockSize, feature.topology, feature.flush];
    features.push(feature.configWriteback);
    if (queues > 1) features.push(feature.multiQueue);
    if (backend.readonly) features.push(feature.readonly);
    this.#offersDiscard = backend.discard !== undefined && (options.discard ?? true);
    this.#offersWriteZeroes = backend.writeZeroes !== undefined && (options.writeZeroes ?? true);
    if (this.#offersDiscard && !backend.readonly) features.push(feature.discard);
    if (this.#offersWriteZeroes && !backend.readonly) features.push(feature.writeZeroes);
    this.features = features;

    const written = (offset: number, size: number, value: number) => {
      if (offset !== configField.writeback || size !== 1 || !this.#device.hasFeature(feature.configWriteback)) return;
      this.#state.writeback = (value & 1) !== 0;
    };
    this.config = new ConfigBytes(configBytes, written, () => this.#showChanging());
    const { view } = this.config;
    const logical = options.logicalBlockSize ?? sectorBytes;
    const physical = Math.max(options.physicalBlockSize ?? logical, logical);
    view.setUint32(configField.segMax, queueSize - 2, true);
    view.setUint32(configField.blockSize, logical, true);
    view.setUint8(configField.physicalBlockExponent, Math.log2(physical / logical));
    view.setUint16(configField.queues, queues, true);
    view.setUint32(configField.maxDiscardSectors, maxRangeSectors, true);
    view.setUint32(configField.maxDiscardSegments, 1, true);
    view.setUint32(configField.discardAlignment, physical / sectorBytes, true);
    view.setUint32(configField.maxWriteZeroesSectors, maxRangeSectors, true);
    view.setUint32(configField.maxWriteZeroesSegments, 1, true);
    view.setUint8(configField.writeZeroesMayUnmap, 1);
  }

  attach(device: VirtioDevice): void {
    this.#device = device;
  }

  get pendingRequests(): number {
    return this.#pending;
  }

  /** The backend has another size now. */
  resized(): void {
    this.#device.configChanged();
  }

  #showChanging(): void {
    const { view } = this.config;
    const sectors = Math.floor(this.backend.sizeBytes / sectorBytes);
    view.setBigUint64(configField.capacity, BigInt(sectors), true);
    // The geometry that BIOSes translate large disks to.
    view.setUint16(configField.cylinders, Math.min(Math.floor(sectors / (16 * 63)), 65535), true);
    view.setUint8(configField.heads, 16);
    view.setUint8(configField.sectors, 63);
    view.setUint8(configField.writeback, this.#state.writeback ? 1 : 0);
  }

  reset(): void {
    VirtioBlockState.reset(this.#state);
  }

  restored(): void {
    // A kick may have come between the last look at the rings and the save.
    for (const queue of this.#device.queues) if (queue.state.ready) this.#device.kick(queue.index);
  }

  /** A driver that cannot flush, or asked for it, gets its writes on stable storage at once. */
  get #writeThrough(): boolean {
    return !this.#device.hasFeature(feature.flush) || !this.#state.writeback;
  }

  queueKicked(queue: Virtqueue): void {
    this.#draining = queue;
    this.#finished = false;
    for (let budget = queue.state.size; budget > 0; budget--) {
      const chain = queue.pop();
      if (chain === undefined || !this.#submit(queue, chain)) break;
    }
    this.#draining = undefined;
    // Those that are still under way signal when they end.
    if (this.#finished) queue.signal();
  }

  /** False: the request has no header or no room for a status, and the device has failed. */
  #submit(queue: Virtqueue, chain: DescriptorChain): boolean {
    if (chain.copyOut(0, this.#header) < headerBytes || chain.writableBytes < 1) {
      queue.release(chain);
      this.#device.fail('a block request lacks its header or status');
      return false;
    }
    const type = this.#headerView.getUint32(0, true);
    const sector = this.#headerView.getUint32(8, true) + this.#headerView.getUint32(12, true) * 2 ** 32;
    const request = this.#spare.pop() ?? new Request(this);
    request.queue = queue;
    request.chain = chain;
    this.#pending++;
    const { backend } = this;
    switch (type) {
      case requestType.in: {
        const length = chain.writableBytes - 1;
        if (!this.#fits(sector, length)) request.done('io');
        else backend.read(sector * sectorBytes, DescriptorChain.slice(chain.writable, 0, length), request.done);
        break;
      }
      case requestType.out: {
        const length = chain.readableBytes - headerBytes;
        if (backend.readonly || !this.#fits(sector, length)) {
          request.done('io');
          break;
        }
        const sources = DescriptorChain.slice(chain.readable, headerBytes, chain.readableBytes);
        backend.write(sector * sectorBytes, sources, this.#writeThrough ? request.written : request.done);
        break;
      }
      case requestType.flush:
        backend.flush(request.done);
        break;
      case requestType.getId: {
        const id = new Uint8Array(Math.min(idBytes, chain.writableBytes - 1));
        id.set(this.#serial.subarray(0, id.length));
        chain.copyIn(0, id);
        request.done();
        break;
      }
      case requestType.discard:
      case requestType.writeZeroes:
        this.#range(type, chain, request.done);
        break;
      default:
        request.done('unsupported');
    }
    return true;
  }

  #fits(sector: number, length: number): boolean {
    return length % sectorBytes === 0 && sector * sectorBytes + length <= this.backend.sizeBytes;
  }

  /** One virtio_blk_discard_write_zeroes segment (5.2.6.2). */
  #range(type: number, chain: DescriptorChain, done: BlockDone): void {
    const { backend } = this;
    const discards = type === requestType.discard;
    const offered = discards ? this.#offersDiscard : this.#offersWriteZeroes;
    if (!offered) {
      done('unsupported');
      return;
    }
    if (backend.readonly || chain.readableBytes !== headerBytes + segmentBytes) {
      done('io');
      return;
    }
    const segment = new Uint8Array(segmentBytes);
    chain.copyOut(headerBytes, segment);
    const view = new DataView(segment.buffer);
    const sector = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
    const sectors = view.getUint32(8, true);
    const flags = view.getUint32(12, true);
    if ((flags & (discards ? 0xffffffff : ~flagUnmap)) !== 0) {
      done('unsupported');
      return;
    }
    if (sectors > maxRangeSectors || !this.#fits(sector, sectors * sectorBytes)) {
      done('io');
      return;
    }
    const [offset, length] = [sector * sectorBytes, sectors * sectorBytes];
    if (discards) backend.discard!(offset, length, done);
    else backend.writeZeroes!(offset, length, (flags & flagUnmap) !== 0, done);
  }

  /** Called by a request when its operation has ended. */
  finish(request: Request, failure: BlockFailure | undefined): void {
    const { queue, chain } = request;
    this.#statusByte[0] =
      failure === undefined
        ? requestStatus.ok
        : failure === 'unsupported'
          ? requestStatus.unsupported
          : requestStatus.ioError;
    const length = chain.writableBytes;
    chain.copyIn(length - 1, this.#statusByte);
    queue.push(chain, length);
    this.#spare.push(request);
    this.#pending--;
    if (this.#draining === queue) this.#finished = true;
    else if (this.#device.running) queue.signal();
    if (this.#pending === 0) this.#device.requestsDone();
  }
}

/** A request under way. Objects are used again. */
class Request {
  queue!: Virtqueue;
  chain!: DescriptorChain;
  readonly #model: VirtioBlock;
  constructor(model: VirtioBlock) {
    this.#model = model;
  }
  readonly done: BlockDone = (failure) => this.#model.finish(this, failure);
  /** Of a write-through write. */
  readonly written: BlockDone = (failure) => {
    if (failure !== undefined) this.done(failure);
    else this.#model.backend.flush(this.done);
  };
}
