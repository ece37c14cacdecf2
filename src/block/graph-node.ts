/**
 * The one implementation of BlockNode: everything about requests that is the same for all drivers. What QEMU does in
 * `block/io.c` and for permissions in `block.c`: range, alignment, splitting, emulation, status along chains, permissions.
 */
import { assert } from '../base/index.js';
import { alignDown, alignUp } from './alignment.js';
import { BounceBuffers, gather, scatter, totalLength } from './bounce-buffers.js';
import { BlockError, errorCode } from './errors.js';
import type { BlockHost } from './host.js';
import {
  type BlockChild,
  type BlockDriver,
  type BlockLimits,
  type BlockNode,
  type BlockStatus,
  type ChainStatus,
  type ChildRole,
  type DirtyBitmap,
  type DriverNode,
  defaultLimits,
  type HostPlace,
  type NodeInfo,
  type NodeUse,
  type OpenFlags,
  RequestFlag,
  type ResizeOptions,
} from './node.js';
import type { OptionDict } from './options.js';
import { childPermissions, NodeUses } from './permissions.js';
import { maxRequestBytes } from './range.js';
import { probeFormat } from './registry.js';
import { RequestTracker } from './request-tracker.js';
import { layerStatus, layerStatusNow, statusAlongChain } from './status.js';

/** Largest buffer made for emulation (write-zeroes by writing, copy-on-read). */
const bounceBytes = 1 << 20;
/** How much of the start of an image formats are guessed by. */
export const probeBytes = 512;
/** Unit of every node's length. */
const sectorBytes = 512;

interface AttachedChild extends BlockChild {
  node: GraphNode;
  use: NodeUse;
}

export class GraphNode implements BlockNode {
  readonly nodeName: string;
  readonly driver: BlockDriver;
  readonly host: BlockHost;
  options: OptionDict;
  flags: OpenFlags;
  filename: string;
  /** The format was guessed to be raw: block 0 may not become another format's header. */
  probed = false;
  readonly children: AttachedChild[] = [];
  readonly bitmaps: DirtyBitmap[] = [];
  /** Run before each write, zeroing or discard of a range: a backup copies what is about to go. */
  readonly beforeWrite: ((offset: number, length: number) => Promise<void> | undefined)[] = [];
  /** Called when the last reference goes. */
  onClosed: (() => void) | undefined;
  #instance: DriverNode | undefined;
  #limits: BlockLimits = defaultLimits;
  #references = 1;
  readonly #uses = new NodeUses(this, () => this.#applyPermissions());
  #inFlight = 0;
  #idleWaiters: (() => void)[] = [];
  #writeGeneration = 0;
  #flushedGeneration = 0;
  #flushing: Promise<void> | undefined;
  readonly #tracker = new RequestTracker();
  readonly #bounce = new BounceBuffers((sizeBytes) => this.host.allocate(sizeBytes));
  #readOnly: boolean;

  constructor(
    host: BlockHost,
    driver: BlockDriver,
    nodeName: string,
    filename: string,
    options: OptionDict,
    flags: OpenFlags,
  ) {
    this.host = host;
    this.driver = driver;
    this.nodeName = nodeName;
    this.filename = filename;
    this.options = options;
    this.flags = flags;
    this.#readOnly = flags.readOnly;
  }

  /** Second half of construction, once the driver has opened. */
  start(instance: DriverNode): void {
    this.#instance = instance;
    const limits = { ...defaultLimits, ...instance.limits };
    // Block 0 of a probed image is written as a whole, so that what it becomes is known (`#checkProbed`).
    this.#limits = this.probed
      ? { ...limits, requestAlignment: Math.max(limits.requestAlignment, probeBytes) }
      : limits;
    if (instance.readOnly) this.#readOnly = true;
    if (this.flags.copyOnRead || this.#limits.requestAlignment > 1) void this.#tracker.start();
  }

  get isStarted(): boolean {
    return this.#instance !== undefined;
  }

  get instance(): DriverNode {
    assert(this.#instance, 'node used before its driver opened');
    return this.#instance;
  }

  get readOnly(): boolean {
    return this.#readOnly;
  }

  /** In whole sectors, as QEMU counts: what a file lacks at its end reads as zero. */
  get length(): number {
    const { length } = this.instance;
    return length % sectorBytes === 0 ? length : alignUp(length, sectorBytes);
  }

  get limits(): BlockLimits {
    return this.#limits;
  }

  get file(): BlockNode | undefined {
    return this.children.find((child) => child.role === 'storage' || child.role === 'filtered')?.node;
  }

  get backing(): GraphNode | undefined {
    return this.children.find((child) => child.role === 'backing')?.node;
  }

  skipFilters(): BlockNode {
    const below = this.children.find((child) => child.role === 'filtered');
    return this.driver.kind === 'filter' && below ? below.node.skipFilters() : this;
  }

  // ---- children and permissions

  /** Adds a child; the reference passes to this node. */
  async attach(name: string, role: ChildRole, node: GraphNode): Promise<void> {
    const wanted = this.#uses.needs;
    const own = childPermissions(this, role, wanted.permissions, wanted.shared);
    const use = await node.acquire(`node '${this.nodeName}' as '${name}'`, own.permissions, own.shared);
    this.children.push({ name, role, node, use });
  }

  /** Takes a child off and drops its reference. */
  async detach(name: string): Promise<void> {
    const index = this.children.findIndex((child) => child.name === name);
    if (index < 0) return;
    const [child] = this.children.splice(index, 1);
    await child!.use.release();
    await child!.node.close();
  }

  /** Puts another node in a child's place (mirror completion, stream). The new node's reference passes to this one. */
  async replaceChild(name: string, node: GraphNode): Promise<void> {
    const role = this.children.find((child) => child.name === name)?.role ?? 'backing';
    await this.detach(name);
    await this.attach(name, role, node);
  }

  get hasWriters(): boolean {
    return this.#uses.writers > 0;
  }

  acquire(user: string, permissions: number, shared: number): Promise<NodeUse> {
    return this.#uses.acquire(user, permissions, shared);
  }

  async #applyPermissions(): Promise<void> {
    const { permissions, shared } = this.#uses.needs;
    for (const child of this.children) {
      const own = childPermissions(this, child.role, permissions, shared);
      await child.use.change(own.permissions, own.shared);
    }
    if (!this.flags.forceShare) await this.#instance?.lock?.(permissions, shared);
  }

  /** Takes effect on requests from now on; whether the host's cache is bypassed (`direct`) stays as opened. */
  changeFlags(flags: Partial<OpenFlags>): void {
    this.flags = { ...this.flags, ...flags, readOnly: this.flags.readOnly, direct: this.flags.direct };
  }

  async setReadOnly(readOnly: boolean): Promise<void> {
    if (readOnly === this.#readOnly) return;
    await this.flush();
    if (!readOnly) {
      for (const child of this.children) if (child.role !== 'backing') await child.node.setReadOnly(false);
    }
    if (this.instance.reopen) await this.instance.reopen(readOnly);
    else if (this.driver.kind === 'protocol')
      throw new BlockError('ENOTSUP', `Block node '${this.nodeName}' can't change between read-only and read-write`);
    this.flags = { ...this.flags, readOnly };
    this.#readOnly = readOnly;
    await this.#applyPermissions();
    if (readOnly) {
      for (const child of this.children) if (child.role !== 'backing') await child.node.setReadOnly(true);
    }
  }

  // ---- requests

  #end(): void {
    if (--this.#inFlight === 0 && this.#idleWaiters.length > 0) {
      const waiters = this.#idleWaiters;
      this.#idleWaiters = [];
      for (const wake of waiters) wake();
    }
  }

  /** A part may have been done: a flush has something to do. */
  #failedWrite(error: unknown): never {
    this.#writeGeneration++;
    throw error;
  }

  async drain(): Promise<void> {
    while (this.#inFlight > 0) await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
  }

  #check(offset: number, length: number): void {
    if (!Number.isSafeInteger(offset) || offset < 0 || !(length <= Number.MAX_SAFE_INTEGER - offset))
      throw new BlockError('EIO');
  }

  async read(offset: number, buffer: Uint8Array, flags = 0): Promise<void> {
    const length = buffer.length;
    this.#check(offset, length);
    if (length === 0) return;
    this.#inFlight++;
    try {
      if (flags & RequestFlag.copyOnRead || this.flags.copyOnRead) {
        await this.#tracker.start();
        await this.#copyOnRead(offset, buffer, flags);
        return;
      }
      await this.#readAligned(offset, buffer);
    } finally {
      this.#end();
    }
  }

  readNow(offset: number, buffer: Uint8Array): boolean {
    const instance = this.instance;
    const { requestAlignment, maxTransfer } = this.#limits;
    return (
      instance.readNow !== undefined &&
      offset >= 0 &&
      offset + buffer.length <= instance.length &&
      !this.flags.copyOnRead &&
      (requestAlignment === 1 || (offset % requestAlignment === 0 && buffer.length % requestAlignment === 0)) &&
      (maxTransfer === 0 || buffer.length <= maxTransfer) &&
      instance.readNow(offset, buffer)
    );
  }

  writeNow(offset: number, buffer: Uint8Array): boolean {
    const instance = this.instance;
    const { requestAlignment, maxTransfer } = this.#limits;
    const { length } = buffer;
    if (
      instance.writeNow === undefined ||
      (offset + length > instance.length && !instance.growable) ||
      !this.#passesWrites(offset) ||
      !this.#tracker.isIdle ||
      (requestAlignment > 1 && (offset % requestAlignment !== 0 || length % requestAlignment !== 0)) ||
      (maxTransfer > 0 && length > maxTransfer) ||
      !instance.writeNow(offset, buffer)
    )
      return false;
    this.#writeGeneration++;
    if (this.bitmaps.length > 0) this.#markDirty(offset, length);
    return true;
  }

  /** Nothing has to be done about a write but to write. */
  #passesWrites(offset: number): boolean {
    const { detectZeroes, writeThrough } = this.flags;
    return (
      offset >= (this.probed ? probeBytes : 0) &&
      !this.#readOnly &&
      detectZeroes === 'off' &&
      !writeThrough &&
      this.beforeWrite.length === 0
    );
  }

  place(offset: number, length: number): HostPlace | undefined {
    const { instance } = this;
    const { requestAlignment, maxTransfer } = this.#limits;
    // Where two change what is where, neither hears of the other's changes.
    const isAlone = !instance.movesPlaces || this.#uses.writers <= 1;
    const isPlain = !this.flags.copyOnRead && requestAlignment <= sectorBytes && maxTransfer === 0;
    let most = Math.min(length, instance.length - offset);
    if (this.probed && offset < probeBytes) most = Math.min(most, probeBytes - offset);
    if (!instance.place || !isAlone || !isPlain || offset < 0 || !(most > 0)) return undefined;
    const found = instance.place(offset, most);
    return found?.isWritable && (this.bitmaps.length > 0 || !this.#passesWrites(offset))
      ? { ...found, isWritable: false }
      : found;
  }

  /** Somebody has written where `place` said: a flush has something to do. */
  noteWritten(): void {
    this.#writeGeneration++;
    for (const { role, node } of this.children) if (role !== 'backing' && !node.readOnly) node.noteWritten();
  }

  /** Zero-fills past the end and widens to the driver's alignment. */
  async #readAligned(offset: number, buffer: Uint8Array): Promise<void> {
    const instance = this.instance;
    const total = instance.length;
    let wanted = buffer;
    if (offset + buffer.length > total && !instance.growable) {
      const usable = Math.max(0, total - offset);
      buffer.fill(0, usable);
      if (usable === 0) return;
      wanted = buffer.subarray(0, usable);
    }
    const alignment = this.#limits.requestAlignment;
    if (alignment > 1 && (offset % alignment !== 0 || wanted.length % alignment !== 0)) {
      const start = alignDown(offset, alignment);
      const end = alignUp(offset + wanted.length, alignment);
      const bounce = new Uint8Array(end - start);
      await this.#readSplit(start, bounce);
      wanted.set(bounce.subarray(offset - start, offset - start + wanted.length));
      return;
    }
    const most = this.#limits.maxTransfer;
    if (most === 0 || wanted.length <= most) await instance.read(offset, wanted, 0);
    else await this.#readSplit(offset, wanted);
  }

  async #readSplit(offset: number, buffer: Uint8Array): Promise<void> {
    const most = this.#limits.maxTransfer || maxRequestBytes;
    for (let at = 0; at < buffer.length; at += most)
      await this.instance.read(offset + at, buffer.subarray(at, at + most), 0);
  }

  async #copyOnRead(offset: number, buffer: Uint8Array, flags: number): Promise<void> {
    if (this.#readOnly) {
      if (!(flags & RequestFlag.prefetch)) await this.#readAligned(offset, buffer);
      return;
    }
    const end = Math.min(offset + buffer.length, this.length);
    const info = await this.getInfo();
    const cluster = Math.max(info.subclusterSizeBytes ?? info.clusterSizeBytes ?? 1, this.#limits.requestAlignment);
    const release = await this.#tracker.track(alignDown(offset, cluster), alignUp(end, cluster), true);
    try {
      let at = alignDown(offset, cluster);
      const stop = Math.min(alignUp(end, cluster), this.length);
      while (at < stop) {
        const status = await this.blockStatus(at, Math.min(stop - at, bounceBytes), false);
        const run = Math.min(status.length, stop - at, bounceBytes);
        if (!status.allocated) {
          const below = await this.chainStatus(at, run);
          const size = Math.min(below.length, run);
          if (below.zero && !below.data) await this.#writeZeroesAligned(at, size, RequestFlag.unchanged);
          else {
            const bounce = new Uint8Array(size);
            await this.#readAligned(at, bounce);
            await this.#writeSplit(at, bounce, RequestFlag.unchanged);
          }
          this.#writeGeneration++;
          at += size;
        } else at += run;
      }
    } finally {
      release();
    }
    if (!(flags & RequestFlag.prefetch)) await this.#readAligned(offset, buffer);
  }

  #checkWritable(offset: number, length: number): void {
    this.#check(offset, length);
    if (this.#readOnly) throw new BlockError('EPERM');
    if (offset + length > this.length && !this.instance.growable) throw new BlockError('EIO');
  }

  async write(offset: number, buffer: Uint8Array, flags = 0): Promise<void> {
    const length = buffer.length;
    const instance = this.instance;
    this.#checkWritable(offset, length);
    if (length === 0 && !(flags & RequestFlag.compressed)) return;
    if (this.flags.detectZeroes !== 'off' && !(flags & RequestFlag.compressed) && this.host.isZero(buffer)) {
      await this.writeZeroes(
        offset,
        length,
        (flags & RequestFlag.fua) | (this.flags.detectZeroes === 'unmap' ? RequestFlag.mayUnmap : 0),
      );
      return;
    }
    this.#inFlight++;
    const isUntracked = this.#tracker.beginUntracked();
    try {
      if (this.beforeWrite.length > 0) await this.#notifyBefore(offset, length);
      if (flags & RequestFlag.compressed) {
        if (!instance.writeCompressed) throw new BlockError('ENOTSUP');
        await instance.writeCompressed(offset, buffer);
      } else if (this.#tracker.isOn) await this.#writeTracked(offset, buffer, flags);
      else await this.#writeSplit(offset, buffer, flags);
      this.#writeGeneration++;
      if (this.bitmaps.length > 0) this.#markDirty(offset, length);
      if (this.flags.writeThrough && !(flags & RequestFlag.fua)) await this.#flushNow();
    } catch (error) {
      this.#failedWrite(error);
    } finally {
      if (isUntracked) this.#tracker.endUntracked();
      this.#end();
    }
  }

  async copyRange(offset: number, source: BlockNode, sourceOffset: number, length: number): Promise<boolean> {
    const { instance } = this;
    this.#checkWritable(offset, length);
    const isPlain = !this.#tracker.isOn && this.flags.detectZeroes === 'off' && !(this.probed && offset < probeBytes);
    if (!instance.copyRange || !isPlain || length === 0) return false;
    this.#inFlight++;
    try {
      if (this.beforeWrite.length > 0) await this.#notifyBefore(offset, length);
      const isDone = await instance.copyRange(offset, source, sourceOffset, length);
      // Also when a part was done.
      this.#writeGeneration++;
      if (this.bitmaps.length > 0) this.#markDirty(offset, length);
      if (isDone && this.flags.writeThrough) await this.#flushNow();
      return isDone;
    } catch (error) {
      return this.#failedWrite(error);
    } finally {
      this.#end();
    }
  }

  async #notifyBefore(offset: number, length: number): Promise<void> {
    // A copy: one may take itself away when it is called.
    for (const notify of [...this.beforeWrite]) await notify(offset, length);
  }

  /** Refuses what would have the image probed as another format the next time; `start` is aligned. */
  #checkProbed(start: number, buffer: Uint8Array): void {
    if (!this.probed || start > 0) return;
    if (probeFormat(buffer.slice(0, probeBytes), undefined) !== this.driver.name) throw new BlockError('EPERM');
  }

  async #writeTracked(offset: number, buffer: Uint8Array, flags: number): Promise<void> {
    const alignment = this.#limits.requestAlignment;
    const end = offset + buffer.length;
    const start = alignDown(offset, alignment);
    const stop = alignUp(end, alignment);
    const isAligned = start === offset && stop === end;
    const release = await this.#tracker.track(start, stop, !isAligned);
    try {
      if (isAligned) {
        this.#checkProbed(start, buffer);
        await this.#writeSplit(offset, buffer, flags);
        return;
      }
      const bounce = new Uint8Array(stop - start);
      const [head, tail] = [start < offset ? ['head'] : [], end < stop ? ['tail'] : []];
      const isOneBlock = stop - start === alignment;
      const first = isOneBlock ? [...head, ...tail] : head;
      if (first.length > 0) await this.#readEdge(start, bounce.subarray(0, alignment), first);
      if (!isOneBlock && tail.length > 0)
        await this.#readEdge(stop - alignment, bounce.subarray(bounce.length - alignment), tail);
      bounce.set(buffer, offset - start);
      this.#checkProbed(start, bounce);
      await this.#writeSplit(start, bounce, flags);
    } finally {
      release();
    }
  }

  /** A block that a write changes in part; blkdebug is told of its `sides` that stay. */
  async #readEdge(offset: number, buffer: Uint8Array, sides: readonly string[]): Promise<void> {
    for (const side of sides) await this.instance.onEvent?.(`pwritev_rmw_${side}`);
    await this.instance.read(offset, buffer, 0);
    for (const side of sides) await this.instance.onEvent?.(`pwritev_rmw_after_${side}`);
  }

  async #writeSplit(offset: number, buffer: Uint8Array, flags: number): Promise<void> {
    const instance = this.instance;
    if (!instance.write) throw new BlockError('ENOTSUP');
    const supported = instance.writeFlags ?? 0;
    const passed = flags & (supported | RequestFlag.unchanged);
    const most = this.#limits.maxTransfer;
    if (instance.onEvent) await instance.onEvent('pwritev');
    if (most === 0 || buffer.length <= most) await instance.write(offset, buffer, passed);
    else
      for (let at = 0; at < buffer.length; at += most)
        await instance.write(offset + at, buffer.subarray(at, at + most), passed);
    if (instance.onEvent) await instance.onEvent('pwritev_done');
    if (flags & RequestFlag.fua & ~supported) {
      this.#writeGeneration++;
      await this.#flushNow();
    }
  }

  async readVector(offset: number, buffers: readonly Uint8Array[], flags = 0): Promise<void> {
    if (buffers.length === 1) return this.read(offset, buffers[0]!, flags);
    const whole = this.#bounce.take(totalLength(buffers));
    await this.read(offset, whole, flags);
    scatter(whole, buffers);
    this.#bounce.give(whole);
  }

  async writeVector(offset: number, buffers: readonly Uint8Array[], flags = 0): Promise<void> {
    if (buffers.length === 1) return this.write(offset, buffers[0]!, flags);
    const whole = this.#bounce.take(totalLength(buffers));
    gather(buffers, whole);
    await this.write(offset, whole, flags);
    this.#bounce.give(whole);
  }

  #markDirty(offset: number, length: number): void {
    for (const bitmap of this.bitmaps) if (bitmap.enabled) bitmap.set(offset, length);
  }

  async writeZeroes(offset: number, length: number, flags = 0): Promise<void> {
    this.#checkWritable(offset, length);
    if (length === 0) return;
    // As in QEMU, `discard` of the node that a user writes to is for discards; below, it says whether holes may be made.
    if (!this.flags.unmap && this.driver.kind === 'protocol') flags &= ~RequestFlag.mayUnmap;
    this.#inFlight++;
    const isUntracked = this.#tracker.beginUntracked();
    try {
      if (this.beforeWrite.length > 0) await this.#notifyBefore(offset, length);
      const alignment = this.#limits.requestAlignment;
      if (this.#tracker.isOn) {
        const start = alignDown(offset, alignment);
        const stop = alignUp(offset + length, alignment);
        // Unaligned edges are read, changed and written in their own serialized requests.
        const head = Math.min(alignUp(offset, alignment) - offset, length);
        const tail = length - head >= 0 ? (offset + length) % alignment : 0;
        if (start !== offset || stop !== offset + length) {
          if (head > 0) await this.#writeTracked(offset, new Uint8Array(head), flags);
          const middle = length - head - (head < length ? tail : 0);
          if (middle > 0) await this.#zeroTracked(offset + head, middle, flags);
          if (head < length && tail > 0) await this.#writeTracked(offset + length - tail, new Uint8Array(tail), flags);
        } else await this.#zeroTracked(offset, length, flags);
      } else await this.#writeZeroesAligned(offset, length, flags);
      this.#writeGeneration++;
      if (this.bitmaps.length > 0) this.#markDirty(offset, length);
      if (this.flags.writeThrough && !(flags & RequestFlag.fua)) await this.#flushNow();
    } catch (error) {
      this.#failedWrite(error);
    } finally {
      if (isUntracked) this.#tracker.endUntracked();
      this.#end();
    }
  }

  async #zeroTracked(offset: number, length: number, flags: number): Promise<void> {
    const release = await this.#tracker.track(offset, offset + length, false);
    try {
      await this.#writeZeroesAligned(offset, length, flags);
    } finally {
      release();
    }
  }

  async #writeZeroesAligned(offset: number, length: number, flags: number): Promise<void> {
    const instance = this.instance;
    const unit = Math.max(this.#limits.zeroAlignment, this.#limits.requestAlignment, 1);
    const most = alignDown(this.#limits.maxWriteZeroes || maxRequestBytes, unit);
    let supported = instance.writeZeroes ? (instance.zeroFlags ?? 0) : 0;
    if (!instance.writeZeroes) supported = 0;
    let at = offset;
    const end = offset + length;
    let zeroes: Uint8Array | undefined;
    let needsFlush = false;
    while (at < end) {
      let size = Math.min(end - at, most);
      if (at % unit !== 0) size = Math.min(size, unit - (at % unit));
      else if (size > unit) size = alignDown(size, unit);
      let isDone = false;
      if (instance.writeZeroes) {
        try {
          await instance.writeZeroes(
            at,
            size,
            flags & (supported | RequestFlag.mayUnmap | RequestFlag.noFallback | RequestFlag.unchanged),
          );
          isDone = true;
          if (flags & RequestFlag.fua & ~supported) needsFlush = true;
        } catch (error) {
          if (errorCode(error) !== 'ENOTSUP') throw error;
        }
      }
      if (!isDone) {
        if (flags & RequestFlag.noFallback) throw new BlockError('ENOTSUP');
        zeroes ??= new Uint8Array(Math.min(bounceBytes, end - at));
        for (let done = 0; done < size; done += zeroes.length) {
          await this.#writeSplit(
            at + done,
            zeroes.subarray(0, Math.min(zeroes.length, size - done)),
            flags & ~RequestFlag.mayUnmap,
          );
        }
      }
      at += size;
    }
    if (needsFlush) {
      this.#writeGeneration++;
      await this.#flushNow();
    }
  }

  async discard(offset: number, length: number): Promise<void> {
    this.#check(offset, length);
    if (this.#readOnly) throw new BlockError('EPERM');
    if (offset + length > this.length) throw new BlockError('EIO');
    if (length === 0) return;
    const instance = this.instance;
    if (this.bitmaps.length > 0) this.#markDirty(offset, length);
    if (!this.flags.unmap || !instance.discard) return;
    this.#inFlight++;
    try {
      if (this.beforeWrite.length > 0) await this.#notifyBefore(offset, length);
      const unit = Math.max(this.#limits.discardAlignment, this.#limits.requestAlignment, 1);
      const most = alignDown(this.#limits.maxDiscard || maxRequestBytes, unit);
      let at = offset;
      const end = offset + length;
      while (at < end) {
        let size = Math.min(end - at, most);
        if (at % unit !== 0) size = Math.min(size, unit - (at % unit));
        else if (size > unit) size = alignDown(size, unit);
        const isAligned = at % this.#limits.requestAlignment === 0 && size % this.#limits.requestAlignment === 0;
        try {
          if (isAligned) await instance.discard(at, size);
        } catch (error) {
          if (errorCode(error) !== 'ENOTSUP') throw error;
        }
        at += size;
      }
      this.#writeGeneration++;
    } catch (error) {
      this.#failedWrite(error);
    } finally {
      this.#end();
    }
  }

  async flush(): Promise<void> {
    this.#inFlight++;
    try {
      await this.#flushNow();
    } finally {
      this.#end();
    }
  }

  async #flushNow(): Promise<void> {
    // What was complete when flush was called must be durable; one flush at a time serves all who wait.
    const generation = this.#writeGeneration;
    while (this.#flushing) await this.#flushing.catch(() => undefined);
    if (
      this.#flushedGeneration >= generation &&
      this.#flushedGeneration > 0 &&
      this.#writeGeneration === this.#flushedGeneration
    )
      return;
    if (this.#readOnly) return;
    const current = this.#writeGeneration;
    this.#flushing = this.#flushDown();
    try {
      await this.#flushing;
      this.#flushedGeneration = Math.max(this.#flushedGeneration, current);
    } finally {
      this.#flushing = undefined;
    }
  }

  async #flushDown(): Promise<void> {
    if (this.driver.kind === 'protocol') {
      if (!this.flags.noFlush) await this.instance.flush?.();
      return;
    }
    await this.instance.flush?.();
    if (this.flags.noFlush) return;
    for (const child of this.children) if (!child.node.readOnly && child.role !== 'backing') await child.node.flush();
  }

  // ---- status

  async blockStatus(offset: number, length: number, wantZero = true): Promise<BlockStatus> {
    this.#check(offset, length);
    return layerStatusNow(this, offset, length, wantZero) ?? layerStatus(this, offset, length, wantZero);
  }

  statusNow(offset: number, length: number): BlockStatus | undefined {
    this.#check(offset, length);
    return layerStatusNow(this, offset, length, true);
  }

  chainStatus(offset: number, length: number, base?: BlockNode): Promise<ChainStatus> {
    return statusAlongChain(this, offset, length, base);
  }

  // ---- the rest

  async resize(length: number, options: ResizeOptions = {}): Promise<void> {
    if (!(length >= 0)) throw new BlockError('EINVAL', 'Image size too large');
    if (this.#readOnly) throw new BlockError('EACCES', 'Image is read-only');
    const instance = this.instance;
    if (!instance.resize) throw new BlockError('ENOTSUP', 'Image format driver does not support resize');
    await this.drain();
    this.#inFlight++;
    try {
      const before = this.length;
      const below = this.backing;
      // A longer backing file must not show through in the area gained.
      const mustZero = options.zero || (below !== undefined && length > before && below.length > before);
      await instance.resize(length, { ...options, zero: mustZero });
      this.#writeGeneration++;
      for (const bitmap of this.bitmaps) bitmap.length = this.length;
    } catch (error) {
      this.#failedWrite(error);
    } finally {
      this.#end();
    }
  }

  async getInfo(): Promise<NodeInfo> {
    if (this.instance.getInfo) return this.instance.getInfo();
    return this.driver.kind === 'filter' && this.file ? this.file.getInfo() : {};
  }

  addBitmap(bitmap: DirtyBitmap): void {
    this.bitmaps.push(bitmap);
  }

  removeBitmap(bitmap: DirtyBitmap): void {
    const index = this.bitmaps.indexOf(bitmap);
    if (index >= 0) this.bitmaps.splice(index, 1);
  }

  /** A parent holds the opener's reference. */
  isAdopted = false;

  /** Ends a node whose opening failed. */
  async abandon(): Promise<void> {
    this.#references = 0;
    if (this.#instance) await this.#instance.close().catch(() => undefined);
    for (const child of this.children.splice(0).reverse()) {
      await child.use.release().catch(() => undefined);
      await child.node.close().catch(() => undefined);
    }
  }

  /** Somebody has it beside whoever opened it. */
  get isShared(): boolean {
    return this.#references > 1;
  }

  retain(): this {
    this.#references++;
    return this;
  }

  /** Uses that the one who opened this node holds: released with it. */
  rootUse: NodeUse | undefined;

  async close(): Promise<void> {
    if (--this.#references > 0) return;
    let failure: unknown;
    const attempt = async (step: () => Promise<void>): Promise<void> => {
      try {
        await step();
      } catch (error) {
        failure ??= error;
      }
    };
    await this.drain();
    if (this.#instance) {
      // What was not written needs no flush; QEMU leaves it out too.
      const isWritten = this.#writeGeneration !== this.#flushedGeneration;
      if (!this.#readOnly && isWritten) await attempt(() => this.flush());
      const flushFailure = failure;
      failure = undefined;
      await attempt(() => this.instance.close());
      // The driver knows better what is lost.
      failure ??= flushFailure;
    }
    for (const child of this.children.splice(0).reverse()) {
      await attempt(() => child.use.release());
      await attempt(() => child.node.close());
    }
    this.onClosed?.();
    if (failure !== undefined) throw failure;
  }
}
