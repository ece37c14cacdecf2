/** What changes a running machine's block graph in one moment: the steps of transactions, and what is not taken back. */
import {
  addBitmap,
  BlockError,
  commitChain,
  findBitmap,
  type GraphNode,
  mergeBitmap,
  type OptionDict,
  removeBitmap,
  SparseBitmap,
  usableBitmap,
} from '../block/index.js';
import type { BlockAction, BlockRequest } from './block-protocol.js';
import type { DiskJobs } from './disk-jobs.js';
import { JobGroup } from './job-group.js';
import { type Disk, type LiveGraph, throttleOf } from './live-graph.js';
import type { WriteThresholds } from './write-thresholds.js';

type ActionOf<Op extends BlockAction['op']> = Extract<BlockAction, { readonly op: Op }>;

/** A step that was taken. */
interface Step {
  /** As if it had not been. */
  undo?(): Promise<void>;
  /** All others have been taken too. */
  commit?(): Promise<void>;
}

export class BlockActions {
  readonly #live: LiveGraph;
  readonly #jobs: DiskJobs;
  readonly #thresholds: WriteThresholds;

  constructor(live: LiveGraph, jobs: DiskJobs, thresholds: WriteThresholds) {
    this.#live = live;
    this.#jobs = jobs;
    this.#thresholds = thresholds;
  }

  /** Rejects with BlockError. */
  carryOut(request: BlockRequest): Promise<unknown> | unknown {
    const jobs = this.#jobs;
    switch (request.op) {
      case 'mirror':
      case 'commit':
      case 'stream':
      case 'backup':
      case 'create':
        return this.#live.quietly(async () => void (await jobs.start(request)));
      case 'transaction':
        return this.#live.quietly(() =>
          this.#transaction(request.actions, request.isGrouped ? new JobGroup() : undefined),
        );
      case 'jobs':
        return jobs.descriptions;
      case 'pause':
      case 'resume':
      case 'complete':
      case 'finalize':
      case 'dismiss':
        return jobs.find(request.job)[request.op]();
      case 'cancel':
        return jobs.find(request.job).cancel(request.force);
      case 'set-speed':
        return jobs.find(request.job).setSpeed(request.speed);
      case 'resize':
        return this.#live.quietly(() => this.#resize(request.disk, request.sizeBytes));
      case 'throttle':
        return this.#throttle(request);
      case 'detach':
        return this.#detach(request.disk);
      case 'write-threshold':
        return this.#setThreshold(request.node, request.bytes);
      case 'commit-now':
        return this.#live.quietly(() => this.#commitNow(request.disk));
      case 'change-backing-file':
        return this.#live.quietly(() => this.#changeBackingFile(request));
      case 'reopen':
        return this.#live.quietly(async () => {
          for (const options of request.options) await this.#reopen({ ...options });
        });
      case 'delete-internal-snapshot':
        return this.#live.quietly(() => this.#deleteInternalSnapshot(request));
    }
  }

  async #transaction(actions: readonly BlockAction[], group: JobGroup | undefined): Promise<void> {
    const steps: Step[] = [];
    try {
      for (const action of actions) steps.push(await this.#take(action, group));
    } catch (error) {
      for (const { undo } of steps.reverse()) await undo?.();
      throw error;
    }
    for (const { commit } of steps) await commit?.();
    group?.complete();
  }

  async #take(action: BlockAction, group: JobGroup | undefined): Promise<Step> {
    switch (action.op) {
      case 'snapshot':
        return await this.#snapshot(action);
      case 'internal-snapshot':
        return await this.#internalSnapshot(action);
      case 'backup': {
        const job = await this.#jobs.start(action, group);
        return {
          undo: async () => {
            job.end();
            await job.ended;
          },
        };
      }
      case 'add-bitmap': {
        const node = this.#jobs.need(action.disk);
        await addBitmap(node, action);
        return { undo: () => removeBitmap(node, action.name) };
      }
      case 'remove-bitmap': {
        const node = this.#jobs.need(action.disk);
        const bitmap = findBitmap(node, action.name);
        // What is stored goes when nothing can take that back.
        if (bitmap.busy) usableBitmap(bitmap);
        return { commit: () => removeBitmap(node, action.name) };
      }
      case 'clear-bitmap': {
        const bitmap = this.#usable(action);
        const undo = restorer(bitmap);
        bitmap.clearAll();
        return { undo };
      }
      case 'enable-bitmap':
      case 'disable-bitmap': {
        const bitmap = this.#usable(action);
        const before = bitmap.enabled;
        bitmap.enabled = action.op === 'enable-bitmap';
        return {
          undo: async () => {
            bitmap.enabled = before;
          },
        };
      }
      case 'merge-bitmaps': {
        const bitmap = this.#usable(action);
        const sources = action.from.map(({ disk, name }) => findBitmap(this.#jobs.need(disk), name));
        const undo = restorer(bitmap);
        try {
          for (const source of sources) mergeBitmap(bitmap, source);
        } catch (error) {
          await undo();
          throw error;
        }
        return { undo };
      }
      case 'abort':
        throw new BlockError('ECANCELED', 'Transaction aborted using Abort action');
    }
  }

  #usable({ disk, name }: { readonly disk: string; readonly name: string }): SparseBitmap {
    return usableBitmap(findBitmap(this.#jobs.need(disk), name));
  }

  /** The disk goes on with an overlay over what it has. */
  async #snapshot({ disk, overlay: where }: ActionOf<'snapshot'>): Promise<Step> {
    const live = this.#live;
    const node = this.#jobs.need(disk);
    this.#jobs.checkFree(node);
    const isNamed = live.disks.some((each) => each?.config.id === disk && each?.config.node === undefined);
    if (!('node' in where) && where.nodeName === undefined && !isNamed)
      throw new BlockError('EINVAL', 'New overlay node-name missing');
    // A new file's image is told of the one below, and stands on it when both are at rest.
    const overlay =
      'node' in where
        ? this.#jobs.need(where.node).retain()
        : await this.#jobs.openTarget(
            node,
            { ...where, format: where.format ?? 'qcow2' },
            where.exists ? undefined : node,
          );
    try {
      if (live.disks.some((each) => each?.medium?.node === overlay))
        throw new BlockError('EBUSY', 'The overlay is already in use');
      if ('node' in where || where.exists) {
        if (overlay.backing && 'node' in where)
          throw new BlockError('EINVAL', 'The overlay already has a backing image');
        if (!overlay.driver.supportsBacking)
          throw new BlockError('EINVAL', 'The overlay does not support backing images');
        await live.graph.setBacking(overlay, node.retain());
      }
      await live.replace(node, overlay);
    } catch (error) {
      if ('node' in where && overlay.backing === node) await live.graph.setBacking(overlay, undefined);
      await overlay.close();
      throw error;
    }
    return {
      undo: async () => {
        await live.replace(overlay, node);
        if ('node' in where) await live.graph.setBacking(overlay, undefined);
        await overlay.close();
      },
      commit: async () => {
        await node.setReadOnly(true).catch(() => undefined);
        await overlay.close();
      },
    };
  }

  async #internalSnapshot({ disk, name }: ActionOf<'internal-snapshot'>): Promise<Step> {
    const node = this.#jobs.need(disk);
    const { snapshots } = node.instance;
    if (name === '') throw new BlockError('EINVAL', 'Name is empty');
    if (node.readOnly) throw new BlockError('EACCES', `Device '${disk}' is read only`);
    if (!snapshots)
      throw new BlockError(
        'ENOTSUP',
        `Block format '${node.driver.name}' used by device '${disk}' does not support internal snapshots`,
      );
    if ((await snapshots.list()).some((known) => known.name === name))
      throw new BlockError('EEXIST', `Snapshot with name '${name}' already exists on device '${disk}'`);
    const now = this.#live.host.wallNs() / 1e6;
    await snapshots.create({
      name,
      vmStateBytes: 0,
      dateSeconds: Math.floor(now / 1000),
      dateNanoseconds: Math.floor(now % 1000) * 1e6,
      vmClockNs: 0,
      icount: 0,
    });
    return { undo: () => snapshots.remove(undefined, name) };
  }

  async #deleteInternalSnapshot({
    disk,
    id,
    name,
  }: Extract<BlockRequest, { readonly op: 'delete-internal-snapshot' }>): Promise<unknown> {
    const { snapshots } = this.#jobs.need(disk).instance;
    if (id === undefined && name === undefined) throw new BlockError('EINVAL', 'Name or id must be provided');
    const list = snapshots ? await snapshots.list() : [];
    const found = list.find(
      (each) => (id === undefined || each.id === id) && (name === undefined || each.name === name),
    );
    if (!snapshots || !found)
      throw new BlockError(
        'ENOENT',
        `Snapshot with id '${id ?? 'null'}' and name '${name ?? 'null'}' does not exist on device '${disk}'`,
      );
    await snapshots.remove(found.id, found.name);
    return found;
  }

  async #resize(disk: string, sizeBytes: number): Promise<void> {
    const node = this.#jobs.need(disk);
    if (!(sizeBytes >= 0)) throw new BlockError('EINVAL', "Parameter 'size' expects a >0 size");
    this.#jobs.checkFree(node);
    await node.resize(sizeBytes);
  }

  #setThreshold(name: string, bytes: number): Promise<void> {
    const node = this.#live.graph.find(name);
    if (!node) throw new BlockError('ENODEV', `Device '${name}' not found`);
    // Within `quietly` the vCPU's thread forgets where bytes lie, and passes the node by no more.
    return this.#live.quietly(async () => this.#thresholds.set(node, bytes));
  }

  async #commitNow(disk: string): Promise<void> {
    const node = this.#jobs.need(disk);
    const top = node.skipFilters() as GraphNode;
    if (!top.backing) throw new BlockError('ENOTSUP', 'Operation not supported');
    this.#jobs.checkFree(node);
    await commitChain(top, top.backing, { emptyTop: true });
  }

  #detach(name: string): Promise<void> {
    const disk = this.#diskOf(name);
    if (disk.config.node !== undefined)
      throw new BlockError('EPERM', 'Deleting device added with blockdev-add is not supported');
    if (disk.medium) this.#jobs.checkFree(disk.medium.node);
    return this.#live.quietly(() => this.#live.detach(disk));
  }

  #diskOf(name: string): Disk {
    const disk = this.#live.disks.find((each) => each?.config.id === name && name !== '');
    if (disk) return disk;
    throw new BlockError('ENODEV', `Device '${name}' not found`);
  }

  #throttle({ disk: name, limits }: Extract<BlockRequest, { readonly op: 'throttle' }>): Promise<void> {
    const disk = this.#diskOf(name);
    if (!disk.medium) throw new BlockError('ENOMEDIUM', 'Device has no medium');
    const throttle = throttleOf(this.#live.host, limits);
    // The vCPU's thread is not to pass by: within `quietly` it forgets where bytes lie.
    return this.#live.quietly(async () => {
      disk.throttle = throttle;
    });
  }

  async #changeBackingFile({
    disk,
    image,
    backingFile,
  }: Extract<BlockRequest, { readonly op: 'change-backing-file' }>): Promise<void> {
    let node: GraphNode | undefined = this.#jobs.need(disk);
    while (node && node.nodeName !== image) node = node.backing;
    if (!node) throw new BlockError('ENOENT', 'image file not found');
    if (!node.backing)
      throw new BlockError('EINVAL', 'not allowing backing file change on an image without a backing file');
    if (!node.instance.changeBackingFile)
      throw new BlockError('ENOTSUP', `Could not change backing file to '${backingFile}': Operation not supported`);
    const wasReadOnly = node.readOnly;
    await node.setReadOnly(false);
    try {
      await node.instance.changeBackingFile(backingFile, node.backing.driver.name);
    } finally {
      if (wasReadOnly) await node.setReadOnly(true);
    }
  }

  /** QEMU's `blockdev-reopen`: what is not said is as when a node is opened without it. */
  async #reopen(options: OptionDict): Promise<void> {
    const { graph } = this.#live;
    const name = options['node-name'];
    if (name === undefined) throw new BlockError('EINVAL', 'node-name not specified');
    const node = graph.find(String(name));
    if (!node) throw new BlockError('ENODEV', `Failed to find node with node-name='${String(name)}'`);
    const { backing } = options;
    delete options['backing'];
    const readOnly = options['read-only'] === true || options['read-only'] === 'on';
    const stays = options['auto-read-only'] === true && node.readOnly;
    if (backing === undefined && node.backing)
      throw new BlockError('EINVAL', `backing is missing for '${String(name)}'`);
    const below = backing === undefined || backing === null ? undefined : this.#jobs.need(String(backing));
    graph.reopen(node, options);
    if (node.backing !== below) {
      this.#jobs.checkFree(node);
      await graph.setBacking(node, below?.retain());
    }
    if (node.readOnly !== readOnly && !stays) await node.setReadOnly(readOnly);
  }
}

/** Gives a bitmap back what it has now. */
function restorer(bitmap: SparseBitmap): () => Promise<void> {
  const saved = new SparseBitmap(bitmap.name, bitmap.granularity, bitmap.length);
  saved.merge(bitmap);
  return async () => {
    bitmap.clearAll();
    bitmap.merge(saved);
  };
}
