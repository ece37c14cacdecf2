/** The images of a machine's disks, in the thread of the disks: which node each disk is on, and how that changes while the guest runs. */
import {
  addTemporaryOverlay,
  BlockError,
  BlockGraph,
  type BlockNode,
  cacheFlags,
  cacheModeOf,
  type GraphNode,
  type NodeUse,
  type OpenFlags,
  type OptionDict,
  Permission,
  ThrottleGroup,
  type ThrottleLimits,
  toBlockError,
} from '../block/index.js';
import type { NodeBlockHost } from '../host/node/block-host.js';
import type { DiskConfig, DiskDescription, DiskImage, DiskStatistics, OpenDisk } from './disk-protocol.js';
import { type DiskRing, spareDisks } from './disk-ring.js';

export interface Medium {
  readonly node: GraphNode;
  readonly use: NodeUse;
  /** What `DiskRing.clusterBytes` says. */
  readonly clusterBytes: number;
}

export interface Disk {
  /** Without an id where its drive has been taken away. */
  config: DiskConfig;
  medium: Medium | undefined;
  /** Open, to be put in next. */
  prepared?: Medium | undefined;
  throttle: { readonly group: ThrottleGroup; readonly limits: ThrottleLimits } | undefined;
}

/** Lets requests pass, or holds them. */
class Gate {
  #passing = 0;
  #closed: Promise<void> | undefined;
  #idle: (() => void) | undefined;

  get isOpen(): boolean {
    return this.#closed === undefined;
  }

  async enter(): Promise<void> {
    while (this.#closed) await this.#closed;
    this.#passing++;
  }

  leave(): void {
    if (--this.#passing === 0) this.#idle?.();
  }

  /** Nobody enters from here on; resolves when nobody is within, with what opens it again. */
  async close(): Promise<() => void> {
    let open!: () => void;
    this.#closed = new Promise((resolve) => {
      open = resolve;
    });
    if (this.#passing > 0)
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    this.#idle = undefined;
    return () => {
      this.#closed = undefined;
      open();
    };
  }
}

const none = { bytes: 0, count: 0, ns: 0, failures: 0 };
const noStatistics: DiskStatistics = {
  ...{ reads: none, writes: none, flushes: none, discards: none, highestWrittenByte: 0, idleNs: undefined },
};

const describeMedium = (
  node: GraphNode | undefined,
): Pick<DiskDescription, 'nodeName' | 'filename' | 'format' | 'backing' | 'cache'> => ({
  nodeName: node?.nodeName ?? '',
  filename: node?.filename ?? '',
  format: node?.driver.name ?? '',
  backing: node?.backing?.filename,
  cache: node ? cacheModeOf(node.flags) : 'writeback',
});

/** Undefined where nothing is limited. Throws BlockError. */
export function throttleOf(host: NodeBlockHost, limits: ThrottleLimits | undefined): Disk['throttle'] {
  if (!limits || !Object.values(limits).some((limit) => limit !== 0)) return undefined;
  return { group: new ThrottleGroup(host, (kind) => limits[kind] ?? 0), limits };
}

/** A node and all below it. */
function* treeOf(node: BlockNode): Iterable<BlockNode> {
  yield node;
  for (const child of node.children) yield* treeOf(child.node);
}

export class LiveGraph {
  readonly host: NodeBlockHost;
  readonly graph: BlockGraph;
  readonly gate = new Gate();
  /** By their places. Undefined: it has been taken out. */
  readonly disks: (Disk | undefined)[] = [];
  /** What no device has, by its name. */
  readonly #held = new Map<string, GraphNode | undefined>();
  /** Those that have a name of their owner's. */
  readonly #named: GraphNode[] = [];
  readonly #ring: DiskRing;
  readonly #firstDisks: number;
  readonly #report: (line: string) => void;
  #quiet: Promise<void> = Promise.resolve();

  constructor(host: NodeBlockHost, ring: DiskRing, firstDisks: number, report: (line: string) => void) {
    this.host = host;
    this.graph = new BlockGraph(host);
    this.#ring = ring;
    this.#firstDisks = firstDisks;
    this.#report = report;
  }

  async openAll(blockNodes: readonly OptionDict[], disks: readonly DiskConfig[]): Promise<void> {
    for (const options of blockNodes) await this.addNode(options);
    for (const disk of disks) {
      const medium = disk.empty ? undefined : await this.#openFirst(disk);
      this.disks.push({ config: disk, medium, throttle: throttleOf(this.host, disk.limits) });
    }
  }

  /** The node of a disk by its id, or the node of that name. */
  find(name: string): GraphNode | undefined {
    return this.disks.find((disk) => disk?.config.id === name && name !== '')?.medium?.node ?? this.graph.find(name);
  }

  async #openFirst(disk: DiskConfig): Promise<Medium> {
    try {
      return await this.#openMedium(disk.id, disk);
    } catch (error) {
      if (disk.option === undefined) throw error;
      const { code, message } = toBlockError(error);
      throw new BlockError(code, `${disk.option}: ${message}`, { cause: error });
    }
  }

  async #openMedium(id: string, image: DiskImage): Promise<Medium> {
    const node = await this.#openNode(image);
    try {
      return await this.#use(id, image, node);
    } catch (error) {
      await node.close().catch(() => undefined);
      throw error;
    }
  }

  /** Takes over the caller's reference to the node, if it succeeds. */
  async #use(id: string, image: DiskImage, node: GraphNode): Promise<Medium> {
    let shared: number = Permission.consistentRead | Permission.writeUnchanged;
    if (image.shareWrites) shared |= Permission.write;
    const needs = Permission.consistentRead | (node.readOnly || image.readonly ? 0 : Permission.write);
    const use = await node.acquire(id, needs, shared);
    const clusterBytes = node.instance.movesPlaces ? ((await node.getInfo()).clusterSizeBytes ?? 0) : 0;
    return { node, use, clusterBytes };
  }

  async #openNode(disk: DiskImage): Promise<GraphNode> {
    if (disk.node !== undefined) {
      const node = this.graph.find(disk.node);
      if (!node) throw new BlockError('ENODEV', `There is no block node '${disk.node}'`);
      return node.retain();
    }
    const readOnly = disk.readonly ?? false;
    const flags: Partial<OpenFlags> = {
      ...cacheFlags(disk.cache ?? 'writeback'),
      unmap: disk.discard === 'unmap',
      readOnly: readOnly || (disk.snapshot ?? false),
    };
    const node = await this.graph.open({
      ...(disk.path === undefined ? {} : { filename: disk.path }),
      ...(disk.format === undefined ? {} : { format: disk.format }),
      options: { ...disk.options },
      flags,
      // What the device needs it acquires itself.
      permissions: 0,
    });
    if (!disk.snapshot) return node;
    try {
      const overlay = await addTemporaryOverlay(this.graph, node, { readOnly, unmap: flags.unmap ?? true });
      await overlay.rootUse?.release();
      overlay.rootUse = undefined;
      return overlay;
    } catch (error) {
      await node.close().catch(() => undefined);
      throw error;
    }
  }

  openDisk({ medium }: Disk): OpenDisk {
    return {
      sizeBytes: medium ? Math.ceil(medium.node.length / 512) * 512 : 0,
      readonly: medium?.node.readOnly ?? true,
      inserted: medium !== undefined,
    };
  }

  /** What no device has; its media may come and go. */
  get held(): DiskDescription[] {
    return [...this.#held].map(([id, node]) => ({
      ...{ id, isNode: false, removable: true, statistics: noStatistics, limits: {} },
      ...{ sizeBytes: node?.length ?? 0, readonly: node?.readOnly ?? true, inserted: node !== undefined },
      ...describeMedium(node),
    }));
  }

  describe(disk: Disk): DiskDescription {
    return {
      ...this.openDisk(disk),
      id: disk.config.id,
      isNode: disk.config.node !== undefined,
      removable: disk.config.removable ?? false,
      ...describeMedium(disk.medium?.node),
      statistics: this.#ring.statistics(this.disks.indexOf(disk)),
      limits: disk.throttle?.limits ?? {},
    };
  }

  tellDisk(disk: Disk): void {
    this.#ring.setDisk(this.disks.indexOf(disk), this.openDisk(disk), disk.medium?.clusterBytes ?? 0);
  }

  /** The vCPU's thread may have written at places of this disk. */
  hearOfWrites(disk: Disk): void {
    if (this.#ring.takeWritten(this.disks.indexOf(disk))) disk.medium?.node.noteWritten();
  }

  /** The vCPU's thread goes to no place that it knows, and what it has written there is known. */
  revokePlaces(): void {
    this.#ring.revokePlaces();
    for (const disk of this.disks) if (disk) this.hearOfWrites(disk);
  }

  /** Nothing of the guest's is under way while `work` runs, which may change the graph: for the guest it is one moment. */
  quietly<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#quiet.then(async () => {
      const closing = this.gate.close();
      this.revokePlaces();
      const open = await closing;
      try {
        return await work();
      } finally {
        this.#ring.revokePlaces();
        for (const disk of this.disks) if (disk) this.tellDisk(disk);
        open();
      }
    });
    this.#quiet = done.then(
      () => {},
      () => {},
    );
    return done;
  }

  /** Within `quietly`: whoever stands on `from` stands on `to` from here on, but for what is below `to` itself. Rejects with BlockError. */
  async replace(from: GraphNode, to: GraphNode): Promise<void> {
    const below = new Set(treeOf(to));
    for (const disk of this.disks) if (disk?.medium?.node === from) await this.#move(disk, disk.medium, to);
    for (const parent of this.graph.nodes) {
      const child = parent.children.find(({ node }) => node === from);
      if (child && !below.has(parent)) await parent.replaceChild(child.name, to.retain());
    }
  }

  async #move(disk: Disk, { node, use }: Medium, to: GraphNode): Promise<void> {
    const { config } = disk;
    await node.flush();
    // First: the one may stand on the other, and then shares only what this use does.
    await use.release();
    try {
      disk.medium = await this.#use(config.id, config, to.retain());
    } catch (error) {
      await to.close();
      disk.medium = await this.#use(config.id, config, node);
      throw error;
    }
    await node.close();
  }

  async #closeMedium({ node, use }: Medium): Promise<void> {
    await use.release().catch(() => undefined);
    await node.drain();
    await this.#closeNode(node);
  }

  async #closeNode(node: GraphNode): Promise<void> {
    await node.close().catch((error: unknown) => {
      this.#report(`error: '${node.filename}': ${toBlockError(error).message}`);
    });
  }

  /** Opens a medium that `change` puts in, in place of one that was prepared before. */
  async prepare(disk: Disk, image: DiskImage | undefined): Promise<void> {
    const before = disk.prepared;
    disk.prepared = undefined;
    if (before) await this.#closeMedium(before);
    const readonly = image?.readonly ?? disk.config.readonly;
    if (image) disk.prepared = await this.#openMedium(disk.config.id, { ...image, readonly });
  }

  /** The new medium, as writable as the first one unless it is said, is opened first: a drive keeps its own where that fails. */
  async change(disk: Disk, image: DiskImage | 'prepared' | undefined): Promise<void> {
    if (image !== 'prepared') await this.prepare(disk, image);
    const medium = disk.prepared;
    disk.prepared = undefined;
    const before = disk.medium;
    this.#ring.revokePlaces();
    this.hearOfWrites(disk);
    disk.medium = medium;
    this.tellDisk(disk);
    if (before) await this.#closeMedium(before);
  }

  /** Within `quietly`: the device of a disk is left without an image, and without a name for it. */
  async detach(disk: Disk): Promise<void> {
    const before = disk.medium;
    disk.medium = undefined;
    disk.throttle = undefined;
    disk.config = { id: '', removable: disk.config.removable };
    if (before) await this.#closeMedium(before);
  }

  /** Rejects with BlockError where an image cannot be opened. */
  async hold(name: string, image: DiskImage | undefined): Promise<void> {
    const before = this.#held.get(name);
    this.#held.set(name, image && (await this.#openNode(image)));
    if (before) await this.#closeNode(before);
  }

  /** Where nothing is held by that name, nothing is done. */
  async release(name: string): Promise<void> {
    const node = this.#held.get(name);
    this.#held.delete(name);
    if (node) await this.#closeNode(node);
  }

  /** Gives its place. */
  async add(disk: DiskConfig): Promise<number> {
    const free = this.disks.indexOf(undefined);
    const place = free >= 0 ? free : this.disks.length;
    if (place >= this.#firstDisks + spareDisks) throw new BlockError('ENOSPC', 'There is no room for another disk');
    const added: Disk = { config: disk, medium: undefined, throttle: throttleOf(this.host, disk.limits) };
    this.disks[place] = added;
    try {
      if (!disk.empty) added.medium = await this.#openMedium(disk.id, disk);
    } catch (error) {
      this.disks[place] = undefined;
      throw error;
    }
    this.#ring.revokePlaces();
    this.#ring.forgetStatistics(place);
    this.tellDisk(added);
    return place;
  }

  async remove(place: number): Promise<void> {
    const disk = this.disks[place];
    this.#ring.revokePlaces();
    if (disk) this.hearOfWrites(disk);
    this.disks[place] = undefined;
    if (disk?.prepared) await this.#closeMedium(disk.prepared);
    if (disk?.medium) await this.#closeMedium(disk.medium);
  }

  async addNode(options: OptionDict): Promise<void> {
    const node = await this.graph.open({ options: { ...options }, flags: { readOnly: false }, permissions: 0 });
    this.#named.push(node);
    this.#ring.revokePlaces();
  }

  async removeNode(name: string): Promise<void> {
    const node = this.graph.find(name);
    if (!node) throw new BlockError('ENODEV', `Failed to find node with node-name='${name}'`);
    const at = this.#named.indexOf(node);
    if (this.disks.some((disk) => disk?.medium?.node === node)) throw new BlockError('EBUSY', `Node ${name} is in use`);
    if (at < 0) throw new BlockError('EPERM', `Node ${name} is not owned by the monitor`);
    if (node.isShared) throw new BlockError('EBUSY', `Block device ${name} is in use`);
    this.#named.splice(at, 1);
    this.#ring.revokePlaces();
    await node.drain();
    await node.close();
  }

  async closeAll(): Promise<void> {
    for (const disk of this.disks) {
      if (disk?.prepared) await this.#closeMedium(disk.prepared);
      if (!disk?.medium) continue;
      this.hearOfWrites(disk);
      await this.#closeMedium(disk.medium);
    }
    for (const node of this.#held.values()) if (node) await this.#closeNode(node);
    for (const node of this.#named.reverse()) {
      await node.drain();
      await this.#closeNode(node);
    }
  }
}
