/** The disks as the machine's thread sees them: requests go to the thread of the disks, and end when it has answered. */
import { VringError } from '../base/index.js';
import type { BlockDone, BlockFailure, DriveBackend } from '../hw/index.js';
import { InPlaceRequests, type PlacedRequest } from './disk-in-place.js';
import type { DiskError, ErrorPolicy, MachineDisksConfig, ToDisksFromMachine } from './disk-protocol.js';
import { DiskRing, diskFlag, diskOp, diskOpening, diskSlots, diskStatus, diskWaits } from './disk-ring.js';

const failures: Readonly<Record<number, BlockFailure | undefined>> = {
  [diskStatus.io]: 'io',
  [diskStatus.noSpace]: 'no-space',
  [diskStatus.unsupported]: 'unsupported',
};

interface DiskRequest extends PlacedRequest {
  readonly flags: number;
  readonly pieces: readonly Uint8Array[];
  readonly done: BlockDone;
  /** By the clock of `performance`. */
  readonly begunMs: number;
}

type DiskPolicies = MachineDisksConfig['disks'][number];

export interface MachineDisksHost {
  /** Every request ends before the call that makes it returns, so that two runs are alike. */
  readonly synchronous: boolean;
  /** A request could not be done. With `stop` it waits, and the machine is to stand still. */
  failed(error: DiskError): void;
  /** Whether to give up waiting: the machine ends. */
  quitting(): boolean;
  /** A drive's tray was moved. */
  trayMoved(disk: number, open: boolean): void;
}

export class MachineDisks {
  readonly #config: MachineDisksConfig;
  /** Of each disk its name and its policies. */
  readonly #known: DiskPolicies[];
  readonly #host: MachineDisksHost;
  readonly #ring: DiskRing;
  readonly #inPlace: InPlaceRequests;
  readonly #free: number[] = Array.from({ length: diskSlots }, (_, i) => i);
  readonly #underWay: (DiskRequest | undefined)[] = new Array<undefined>(diskSlots).fill(undefined);
  /** No slot was free for them. A virtqueue bounds their number. */
  readonly #waiting: DiskRequest[] = [];
  /** Failed where the machine is to stop: tried again when it goes on. */
  #held: DiskRequest[] = [];

  constructor(config: MachineDisksConfig, host: MachineDisksHost) {
    this.#config = config;
    this.#known = [...config.disks];
    this.#host = host;
    this.#ring = new DiskRing(config.ring, config.disks.length);
    this.#inPlace = new InPlaceRequests(this.#ring);
  }

  /** A disk by its place. Waits until it is open. Throws VringError `disk-open`; the thread of the disks says why. */
  backend(disk: number): DriveBackend {
    for (;;) {
      const opening = this.#ring.waitForOpening(100);
      if (opening === diskOpening.done) break;
      if (opening === diskOpening.failed || this.#host.quitting())
        throw new VringError('disk-open', 'A disk could not be opened.');
    }
    const request = (op: number, done: BlockDone, offset = 0, length = 0, flags = 0) =>
      this.#begin({
        disk,
        op,
        flags,
        offset,
        length,
        pieces: [],
        done,
        begunMs: performance.now(),
        changes: 0,
        isChange: false,
      });
    /** Every piece is guest memory: the drive has no buffer of its own. */
    let inRam = true;
    const transfer = (op: number, offset: number, pieces: readonly Uint8Array[], done: BlockDone) => {
      let length = 0;
      for (const piece of pieces) length += piece.length;
      const begunMs = performance.now();
      if (this.#inPlace.transfer(op === diskOp.write, disk, offset, pieces, inRam, length)) {
        this.#ring.count(disk, op, offset, length, begunMs);
        done();
      } else this.#begin({ disk, op, flags: 0, offset, length, pieces, done, begunMs, changes: 0, isChange: false });
    };
    const ring = this.#ring;
    return {
      get sizeBytes() {
        return ring.sizeBytes(disk);
      },
      get readonly() {
        return ring.isReadonly(disk);
      },
      get inserted() {
        return ring.isInserted(disk);
      },
      allocate: (sizeBytes) => {
        inRam = false;
        return ring.driveBuffer(disk, sizeBytes);
      },
      drain: () => this.drain(),
      trayMoved: (open) => this.#host.trayMoved(disk, open),
      read: (offset, pieces, done) => transfer(diskOp.read, offset, pieces, done),
      write: (offset, pieces, done) => transfer(diskOp.write, offset, pieces, done),
      flush: (done) => request(diskOp.flush, done),
      discard: (offset, length, done) => request(diskOp.discard, done, offset, length),
      writeZeroes: (offset, length, mayUnmap, done) =>
        request(diskOp.writeZeroes, done, offset, length, mayUnmap ? diskFlag.mayUnmap : 0),
    };
  }

  /** A disk has been added at a place, or is another one. */
  added(disk: number, policies: DiskPolicies): void {
    this.#known[disk] = policies;
  }

  /** Tells the other thread where guest memory is. Before the first request. */
  attach(memory: ArrayBufferLike, kickIndices: readonly number[]): void {
    this.#say({ type: 'memory', memory: memory as SharedArrayBuffer, kickIndices });
  }

  /** Ends what the other thread is done with. */
  collect(): void {
    for (let slot = this.#ring.collect(); slot >= 0; slot = this.#ring.collect()) {
      const request = this.#underWay[slot] as DiskRequest;
      this.#underWay[slot] = undefined;
      this.#inPlace.answered(request, slot);
      this.#free.push(slot);
      this.#end(request, this.#ring.status(slot));
      const next = this.#waiting.shift();
      if (next) this.#submit(next);
    }
  }

  /** Waits until nothing is under way. */
  drain(): void {
    for (;;) {
      this.collect();
      if (this.#free.length === diskSlots || this.#host.quitting()) return;
      this.#ring.waitForDone(100);
    }
  }

  /** Waits for all requests, and those that their ends lead to, for so long at most. */
  finish(milliseconds: number): void {
    for (let waited = 0; waited < milliseconds; waited += 100) {
      this.collect();
      if (this.#free.length === diskSlots) return;
      this.#ring.waitForDone(100);
    }
  }

  /** The machine goes on: what failed is tried again. */
  retry(): void {
    const held = this.#held;
    this.#held = [];
    for (const request of held) this.#begin(request);
  }

  /** The machine is reset: nothing is under way afterwards. */
  reset(): void {
    const held = this.#held;
    this.#held = [];
    for (const { done } of held) done('io');
    this.drain();
  }

  #say(message: ToDisksFromMachine): void {
    this.#config.port.postMessage(message);
  }

  #begin(request: DiskRequest): void {
    if (this.#free.length === 0) this.#waiting.push(request);
    else this.#submit(request);
    if (this.#host.synchronous) this.drain();
  }

  #submit(request: DiskRequest): void {
    const ring = this.#ring;
    const slot = this.#free.pop() as number;
    ring.setRequest(slot, request.op, request.disk, request.flags, request.offset, request.length);
    for (const piece of request.pieces) {
      if (ring.addPiece(slot, piece)) continue;
      this.#free.push(slot);
      request.done('io');
      return;
    }
    if (this.#inPlace.handOver(request)) ring.wantPlaces(slot);
    this.#underWay[slot] = request;
    if (ring.submit(slot) === diskWaits.inLoop) this.#say({ type: 'submitted' });
  }

  #end(request: DiskRequest, status: number): void {
    const failure = failures[status];
    const count = (isFailure: boolean) =>
      this.#ring.count(request.disk, request.op, request.offset, request.length, request.begunMs, isFailure);
    if (failure === undefined || failure === 'unsupported') {
      if (failure === undefined) count(false);
      request.done(failure);
      return;
    }
    const { onReadError, onWriteError } = this.#known[request.disk];
    const policy: ErrorPolicy = request.op === diskOp.read ? (onReadError ?? 'report') : (onWriteError ?? 'enospc');
    const stops = policy === 'stop' || (policy === 'enospc' && failure === 'no-space');
    const action = stops ? 'stop' : policy === 'ignore' ? 'ignore' : 'report';
    this.#host.failed({
      disk: request.disk,
      write: request.op !== diskOp.read,
      action,
      noSpace: failure === 'no-space',
    });
    if (action === 'report') count(true);
    if (stops) this.#held.push(request);
    else request.done(policy === 'ignore' ? undefined : failure);
  }
}
