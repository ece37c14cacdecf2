/**
 * SCSI host adapter (Virtual I/O Device 1.2, 5.6): a control queue for task management, an event queue, and request queues whose
 * commands go to the units of a bus. A task management function that aborts commands ends when they have.
 */
import { bool, defineState, type StateArena, type StateOf, u32 } from '../../schema/index.js';
import { loadParts, type StatePart, saveParts, statePart } from '../pci/saved-parts.js';
import { maxLun, maxTarget, ScsiBus, type UnitPlace } from '../scsi/scsi-bus.js';
import { dataExpected } from '../scsi/scsi-commands.js';
import type { ScsiResult, ScsiTask, ScsiUnit } from '../scsi/scsi-unit.js';
import { fixedSense, sense } from '../scsi/sense.js';
import { ConfigBytes } from './config-bytes.js';
import { DescriptorChain } from './descriptor-chain.js';
import { type VirtioDevice, type VirtioModel, virtioType } from './virtio-device.js';
import type { Virtqueue } from './virtqueue.js';

const feature = { hotplug: 1, change: 2 } as const;

/** struct virtio_scsi_config (5.6.4). */
const configField = {
  queues: 0,
  segMax: 4,
  maxSectors: 8,
  commandsPerLun: 12,
  eventBytes: 16,
  senseBytes: 20,
  cdbBytes: 24,
  maxChannel: 28,
  maxTarget: 30,
  maxLun: 32,
} as const;
const configBytes = 36;
const eventBytes = 16;

const controlQueue = 0;
const eventQueue = 1;
const firstRequestQueue = 2;

/** In front of a command's block, and of its sense data. */
const requestBytes = 19;
const responseBytes = 12;

const response = {
  ok: 0,
  overrun: 1,
  aborted: 2,
  badTarget: 3,
  reset: 4,
  failure: 9,
  succeeded: 10,
  rejected: 11,
  incorrectLun: 12,
} as const;
const controlType = { taskManagement: 0, query: 1, subscribe: 2 } as const;
const taskManagement = {
  abortTask: 0,
  abortTaskSet: 1,
  clearTaskSet: 3,
  nexusReset: 4,
  lunReset: 5,
  queryTask: 6,
  queryTaskSet: 7,
} as const;
const event = { transportReset: 1, missed: 0x80000000 } as const;
/** Why a transport event was sent. */
const reason = { rescan: 1, removed: 2 } as const;

const VirtioScsiState = defineState('virtio-scsi', 1, {
  senseBytes: u32(96, { max: 65535 }),
  cdbBytes: u32(32, { max: 255 }),
  eventsMissed: bool(),
});

export interface VirtioScsiOptions {
  /** Request queues. */
  readonly queues?: number | undefined;
  readonly queueSize?: number | undefined;
  /** Largest transfer that the driver makes, in sectors; 0xffff unless given. */
  readonly maxSectors?: number | undefined;
  readonly commandsPerLun?: number | undefined;
  readonly arena?: StateArena | undefined;
}

export class VirtioScsi implements VirtioModel {
  readonly type = virtioType.scsi;
  readonly queueSizes: readonly number[];
  readonly features = [feature.hotplug, feature.change];
  readonly config: ConfigBytes;
  readonly configBytes = configBytes;
  readonly parts: readonly StatePart[];
  readonly bus = new ScsiBus();
  readonly #state: StateOf<typeof VirtioScsiState>;
  readonly #requests = new Set<Request>();
  /** Task management functions that wait for commands to end. */
  readonly #waiting = new Set<{ readonly for: Set<Request>; readonly finish: () => void }>();
  #device!: VirtioDevice;
  /** Queue whose kick is being handled: its interrupt is sent once at the end. */
  #draining: Virtqueue | undefined;
  #finished = false;

  constructor(options: VirtioScsiOptions = {}) {
    const { queues = 1, queueSize = 256, maxSectors = 0xffff, commandsPerLun = 128 } = options;
    this.queueSizes = new Array<number>(queues + firstRequestQueue).fill(queueSize);
    this.#state = VirtioScsiState.allocate(options.arena);
    // Units come and go: their state is one part.
    const unitParts = () => this.bus.units.flatMap(({ parts }) => parts);
    this.parts = [
      statePart(VirtioScsiState, this.#state),
      { save: () => saveParts(unitParts()), load: (saved) => loadParts(unitParts(), saved, 'the SCSI units') },
    ];
    const written = (offset: number, size: number, value: number) => this.#configWritten(offset, size, value);
    this.config = new ConfigBytes(configBytes, written, () => this.#show());
    const { view } = this.config;
    view.setUint32(configField.queues, queues, true);
    view.setUint32(configField.segMax, queueSize - 2, true);
    view.setUint32(configField.maxSectors, maxSectors, true);
    view.setUint32(configField.commandsPerLun, commandsPerLun, true);
    view.setUint32(configField.eventBytes, eventBytes, true);
    view.setUint16(configField.maxTarget, maxTarget, true);
    view.setUint32(configField.maxLun, maxLun, true);
  }

  attach(device: VirtioDevice): void {
    this.#device = device;
  }

  get pendingRequests(): number {
    return this.#requests.size;
  }

  reset(): void {
    VirtioScsiState.reset(this.#state);
    for (const unit of this.bus.units) unit.reset();
  }

  /** What was offered before the state was saved is taken now. */
  restored(): void {
    for (const queue of this.#device.queues) if (queue.state.ready) this.#device.kick(queue.index);
  }

  #show(): void {
    this.config.view.setUint32(configField.senseBytes, this.#state.senseBytes, true);
    this.config.view.setUint32(configField.cdbBytes, this.#state.cdbBytes, true);
  }

  #configWritten(offset: number, size: number, value: number): void {
    if (size !== 4) return;
    if (offset === configField.senseBytes && value < 65536) this.#state.senseBytes = value;
    else if (offset === configField.cdbBytes && value < 256) this.#state.cdbBytes = value;
    else if (offset === configField.senseBytes || offset === configField.cdbBytes)
      this.#device.fail(`a configuration field was set to ${value}`);
  }

  queueKicked(queue: Virtqueue): void {
    if (queue.index === eventQueue) {
      if (this.#state.eventsMissed) this.#sendEvent(event.missed, undefined, 0);
      return;
    }
    this.#draining = queue;
    this.#finished = false;
    // As many as the ring can hold: then the guest has its turn.
    for (let budget = queue.state.size; budget > 0; budget--) {
      const chain = queue.pop();
      if (chain === undefined) break;
      const taken = queue.index === controlQueue ? this.#control(queue, chain) : this.#submit(queue, chain);
      if (!taken) {
        queue.release(chain);
        break;
      }
    }
    this.#draining = undefined;
    if (this.#finished) queue.signal();
  }

  #push(queue: Virtqueue, chain: DescriptorChain, written: number): void {
    queue.push(chain, written);
    if (this.#draining === queue) this.#finished = true;
    else if (this.#device.running) queue.signal();
  }

  // Commands

  /** False: there is no header or no room for an answer, and the device has failed. */
  #submit(queue: Virtqueue, chain: DescriptorChain): boolean {
    const { cdbBytes, senseBytes } = this.#state;
    const header = new Uint8Array(requestBytes + cdbBytes);
    if (chain.copyOut(0, header) < header.length || chain.writableBytes < responseBytes + senseBytes) {
      this.#device.fail('a SCSI request lacks its header or room for an answer');
      return false;
    }
    const outBytes = chain.readableBytes - header.length;
    const inBytes = chain.writableBytes - responseBytes - senseBytes;
    const request = new Request(queue, chain, placeOf(header), header.slice(8, 16), senseBytes);
    if (outBytes > 0 && inBytes > 0) return this.#answer(request, response.failure);
    const { place } = request;
    if (!place || !this.bus.hasTarget(place.target)) return this.#answer(request, response.badTarget);
    // Units look at bytes up to the sixteenth.
    const cdb = new Uint8Array(Math.max(cdbBytes, 16));
    cdb.set(header.subarray(requestBytes));
    const unit = this.bus.unit(place);
    const { direction, bytes } = unit?.expects(cdb) ?? dataExpected(cdb, 512);
    const room = direction === 'in' ? inBytes : direction === 'out' ? outBytes : 0;
    if (bytes > room) return this.#answer(request, response.overrun);
    request.unit = unit;
    request.expected = bytes;
    this.#requests.add(request);
    const from = responseBytes + senseBytes;
    const task: ScsiTask = {
      cdb,
      input: direction === 'in' ? DescriptorChain.slice(chain.writable, from, from + bytes) : [],
      output: direction === 'out' ? DescriptorChain.slice(chain.readable, header.length, header.length + bytes) : [],
      end: (result) => this.#ended(request, direction === 'in', result),
    };
    this.bus.execute(place, task);
    return true;
  }

  #ended(request: Request, isInput: boolean, result: ScsiResult): void {
    const { queue, chain, senseBytes, expected } = request;
    const answer = new Uint8Array(responseBytes + senseBytes);
    const view = new DataView(answer.buffer);
    if (request.aborted === undefined) {
      if (result.sense !== sense.none) {
        const told = fixedSense(result.sense).subarray(0, senseBytes);
        answer.set(told, responseBytes);
        view.setUint32(0, told.length, true);
      }
      view.setUint32(4, expected - result.transferred, true);
      answer[10] = result.status;
    } else answer[11] = request.aborted;
    chain.copyIn(0, answer);
    this.#requests.delete(request);
    this.#push(queue, chain, answer.length + (isInput ? result.transferred : 0));
    for (const waiting of this.#waiting) {
      waiting.for.delete(request);
      if (waiting.for.size > 0) continue;
      this.#waiting.delete(waiting);
      waiting.finish();
    }
    if (this.#requests.size === 0) this.#device.requestsDone();
  }

  /** An answer without a command having been carried out. */
  #answer({ queue, chain, senseBytes }: Request, code: number): true {
    const answer = new Uint8Array(responseBytes + senseBytes);
    answer[11] = code;
    chain.copyIn(0, answer);
    this.#push(queue, chain, answer.length);
    return true;
  }

  // The control queue

  /** False: as of `#submit`. */
  #control(queue: Virtqueue, chain: DescriptorChain): boolean {
    const request = new Uint8Array(24);
    const length = chain.copyOut(0, request);
    const view = new DataView(request.buffer);
    const type = length < 4 ? -1 : view.getUint32(0, true);
    const isTmf = type === controlType.taskManagement;
    const isQuery = type === controlType.query || type === controlType.subscribe;
    if (
      length < 4 ||
      (isTmf && (length < 24 || chain.writableBytes < 1)) ||
      (isQuery && (length < 16 || chain.writableBytes < 5))
    ) {
      this.#device.fail('a control request lacks its header or room for an answer');
      return false;
    }
    if (isQuery) {
      // No asynchronous notification is ever sent.
      chain.copyIn(0, new Uint8Array(5));
      this.#push(queue, chain, 5);
    } else if (isTmf) {
      const answer = (code: number) => {
        chain.copyIn(0, Uint8Array.of(code));
        this.#push(queue, chain, 1);
      };
      this.#manage(view.getUint32(4, true), placeOf(request, 8), request.slice(16, 24), answer);
    } else this.#push(queue, chain, 0);
    return true;
  }

  #manage(subtype: number, place: UnitPlace | undefined, tag: Uint8Array, answer: (code: number) => void): void {
    const target = place && this.bus.hasTarget(place.target) ? place.target : undefined;
    if (target === undefined) {
      answer(response.badTarget);
      return;
    }
    if (subtype === taskManagement.nexusReset) {
      const units = this.bus.units.filter((unit) => this.bus.targetOf(unit) === target);
      this.#abort(
        [...this.#requests].filter(({ unit }) => unit && units.includes(unit)),
        response.reset,
        () => {
          for (const unit of units) unit.reset();
          answer(response.ok);
        },
      );
      return;
    }
    const unit = this.bus.unit(place!);
    const known = Object.values(taskManagement) as number[];
    if (!known.includes(subtype)) {
      answer(response.rejected);
      return;
    }
    if (!unit) {
      answer(response.incorrectLun);
      return;
    }
    const own = [...this.#requests].filter((request) => request.unit === unit);
    const tagged = own.filter((request) => request.tag.every((byte, i) => byte === tag[i]));
    switch (subtype) {
      case taskManagement.queryTask:
        answer(tagged.length > 0 ? response.succeeded : response.ok);
        return;
      case taskManagement.queryTaskSet:
        answer(own.length > 0 ? response.succeeded : response.ok);
        return;
      case taskManagement.abortTask:
        this.#abort(tagged, response.aborted, () => answer(response.ok));
        return;
      case taskManagement.lunReset:
        this.#abort(own, response.reset, () => {
          unit.reset();
          answer(response.ok);
        });
        return;
      default:
        this.#abort(own, response.aborted, () => answer(response.ok));
    }
  }

  /** Commands cannot be taken back from the disk: they end as aborted when they do, and then `finish` runs. */
  #abort(requests: readonly Request[], code: number, finish: () => void): void {
    for (const request of requests) request.aborted = code;
    if (requests.length === 0) finish();
    else this.#waiting.add({ for: new Set(requests), finish });
  }

  // Events

  /** A unit has been plugged in. */
  plugged(place: UnitPlace): void {
    this.bus.lunsChanged();
    if (this.#device.hasFeature(feature.hotplug)) this.#sendEvent(event.transportReset, place, reason.rescan);
  }

  /** A unit is gone: what it had under way has ended. */
  unplugged(place: UnitPlace): void {
    this.bus.lunsChanged();
    if (this.#device.hasFeature(feature.hotplug)) this.#sendEvent(event.transportReset, place, reason.removed);
  }

  #sendEvent(what: number, place: UnitPlace | undefined, why: number): void {
    if (!this.#device.running) return;
    const queue = this.#device.queues[eventQueue]!;
    const chain = queue.pop();
    if (!chain) {
      this.#state.eventsMissed = true;
      return;
    }
    const bytes = new Uint8Array(eventBytes);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, (what | (this.#state.eventsMissed ? event.missed : 0)) >>> 0, true);
    this.#state.eventsMissed = false;
    if (place) bytes.set([1, place.target, (place.lun >> 8) | (place.lun >= 256 ? 0x40 : 0), place.lun & 0xff], 4);
    view.setUint32(12, why, true);
    queue.push(chain, chain.copyIn(0, bytes));
    queue.signal();
  }
}

/** A command or function under way. */
class Request {
  readonly queue: Virtqueue;
  readonly chain: DescriptorChain;
  readonly place: UnitPlace | undefined;
  readonly tag: Uint8Array;
  readonly senseBytes: number;
  unit: ScsiUnit | undefined;
  expected = 0;
  /** What its answer says if it has been aborted. */
  aborted: number | undefined;
  constructor(
    queue: Virtqueue,
    chain: DescriptorChain,
    place: UnitPlace | undefined,
    tag: Uint8Array,
    senseBytes: number,
  ) {
    this.queue = queue;
    this.chain = chain;
    this.place = place;
    this.tag = tag;
    this.senseBytes = senseBytes;
  }
}

/** The place that eight bytes name (5.6.6.1): one level, peripheral or flat. */
function placeOf(bytes: Uint8Array, at = 0): UnitPlace | undefined {
  const high = bytes[at + 2]!;
  if (bytes[at] !== 1 || (high !== 0 && (high < 0x40 || high >= 0x80))) return undefined;
  return { target: bytes[at + 1]!, lun: ((high << 8) | bytes[at + 3]!) & 0x3fff };
}
