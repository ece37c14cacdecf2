/** Jobs on the images of a running machine: what each kind does with the block layer's work, and what becomes of the graph at its end. */
import {
  BackupJob,
  BlockError,
  commitChain,
  copyUp,
  findBitmap,
  type GraphNode,
  type JobOptions,
  leaveChain,
  MirrorJob,
  type MirrorOptions,
  type NodeUse,
  type OptionDict,
  Permission,
  SparseBitmap,
  usableBitmap,
} from '../block/index.js';
import { BlockJob, JobControl, type JobWork } from './block-job.js';
import type {
  BackupRequest,
  BlockTarget,
  ChainPlace,
  JobDescription,
  JobEvent,
  JobRequest,
  NodeName,
} from './block-protocol.js';
import type { JobGroup } from './job-group.js';
import type { LiveGraph } from './live-graph.js';

type Of<Op extends JobRequest['op']> = Extract<JobRequest, { readonly op: Op }>;

interface Target {
  /** With a reference of the job's own. */
  readonly node: GraphNode;
  readonly use: NodeUse;
}

interface MirrorEnds {
  /** Both with references of the job's own. */
  readonly source: GraphNode;
  readonly target: GraphNode;
  /** The target is about to be the disk's: the job's use of it is over. */
  leave(): Promise<void>;
  clean(isMoved: boolean): Promise<void>;
}

interface Plan {
  /** Nobody else is to begin something with these. */
  readonly nodes: readonly GraphNode[];
  readonly work: JobWork;
}

/** Names of creation options in `blockdev-create`, where they are not those of `img create` with other dashes. */
const createNames: Readonly<Record<string, string>> = { version: 'compat' };

export class DiskJobs {
  readonly #live: LiveGraph;
  readonly #tell: (event: JobEvent) => void;
  readonly #jobs = new Map<string, { readonly job: BlockJob; readonly nodes: readonly GraphNode[] }>();

  constructor(live: LiveGraph, tell: (event: JobEvent) => void) {
    this.#live = live;
    this.#tell = tell;
  }

  /** There is work to be done beside the machine's. */
  get areThere(): boolean {
    return this.#jobs.size > 0;
  }

  get descriptions(): readonly JobDescription[] {
    return [...this.#jobs.values()].map(({ job }) => job.description);
  }

  /** Throws BlockError `ESRCH`. */
  find(id: string): BlockJob {
    const found = this.#jobs.get(id);
    if (!found) throw new BlockError('ESRCH', 'Job not found');
    return found.job;
  }

  /** A node that a job has is left alone. Throws BlockError. */
  checkFree(node: GraphNode): void {
    for (const { job, nodes } of this.#jobs.values())
      if (nodes.includes(node))
        throw new BlockError(
          'EBUSY',
          `Node '${node.nodeName}' is busy: block device is in use by block job: ${job.type}`,
        );
  }

  /** Throws BlockError. */
  need(name: NodeName): GraphNode {
    const node = this.#live.find(name);
    if (node) return node;
    throw new BlockError('ENODEV', `Cannot find device='${name}' nor node-name='${name}'`);
  }

  /** Within `LiveGraph.quietly`: from this moment on the job holds. Rejects with BlockError. */
  async start(request: JobRequest, group?: JobGroup): Promise<BlockJob> {
    const id = this.#idOf(request);
    const control = new JobControl(request.speed ?? 0);
    const { nodes, work } = await this.#plan(request, id, control);
    // What became of an image that is made is always asked for.
    const settings = request.op === 'create' ? { ...request, autoDismiss: false } : request;
    const job = new BlockJob(id, request.op, settings, control, work, this.#tell, group);
    this.#jobs.set(id, { job, nodes });
    void job.ended.then(() => this.#jobs.delete(id));
    return job;
  }

  /** Ends all of them. */
  async close(): Promise<void> {
    const jobs = [...this.#jobs.values()];
    for (const { job } of jobs) job.end();
    await Promise.all(jobs.map(({ job }) => job.ended));
  }

  #idOf(request: JobRequest): string {
    const disk = request.op === 'create' ? undefined : request.disk;
    if (disk !== undefined) this.need(disk);
    const isDrive = this.#live.disks.some((each) => each?.config.id === disk && each?.config.node === undefined);
    const id = request.id ?? (isDrive ? (disk as string) : '');
    if (!/^[A-Za-z][A-Za-z0-9._-]*$/.test(id)) throw new BlockError('EINVAL', `Invalid job ID '${id}'`);
    if (this.#jobs.has(id)) throw new BlockError('EEXIST', `Job ID '${id}' already in use`);
    return id;
  }

  async #plan(request: JobRequest, id: string, { options }: JobControl): Promise<Plan> {
    switch (request.op) {
      case 'mirror':
        return await this.#mirror(request, id, options);
      case 'commit':
        return await this.#commit(request, options);
      case 'stream':
        return await this.#stream(request, options);
      case 'backup':
        return await this.#backup(request, id, options);
      case 'create':
        return { nodes: [], work: this.#create(request, options) };
    }
  }

  #source(name: NodeName): GraphNode {
    const source = this.need(name);
    this.checkFree(source);
    return source;
  }

  /** The target of a copy; one that is made stands on `backing`. */
  async #target(id: string, source: GraphNode, target: BlockTarget, backing: GraphNode | undefined): Promise<Target> {
    const node = await this.openTarget(source, target, backing);
    try {
      if (node === source) throw new BlockError('EINVAL', "Can't mirror node into itself");
      this.checkFree(node);
      const needs = Permission.write | Permission.consistentRead;
      return { node, use: await node.acquire(`job '${id}'`, needs, Permission.all) };
    } catch (error) {
      await node.close().catch(() => undefined);
      throw error;
    }
  }

  /** With a reference for the caller. Rejects with BlockError. */
  async openTarget(source: GraphNode, target: BlockTarget, backing: GraphNode | undefined): Promise<GraphNode> {
    if ('node' in target) return this.need(target.node).retain();
    const { graph } = this.#live;
    const { file, exists, nodeName } = target;
    const format = target.format ?? (exists ? undefined : source.driver.name);
    if (!exists && format !== undefined) {
      const below: OptionDict = backing ? { backing_file: backing.filename, backing_fmt: backing.driver.name } : {};
      await graph.create(format, file, { size: source.length, ...below });
    }
    const node = await graph.open({
      filename: file,
      ...(format === undefined ? {} : { format }),
      options: nodeName === undefined ? {} : { 'node-name': nodeName },
      flags: { ...source.flags, readOnly: false, unmap: true, copyOnRead: false, noBacking: !exists },
      permissions: 0,
    });
    if (exists || !backing) return node;
    try {
      await graph.setBacking(node, backing.retain());
    } catch (error) {
      await node.close().catch(() => undefined);
      throw error;
    }
    return node;
  }

  async #mirror(
    { disk, target: where, sync, granularity }: Of<'mirror'>,
    id: string,
    options: JobOptions,
  ): Promise<Plan> {
    const source = this.#source(disk);
    const backing = sync === 'top' ? source.backing : sync === 'none' ? source : undefined;
    const { node: target, use } = await this.#target(id, source, where, backing);
    const ends: MirrorEnds = {
      source: source.retain(),
      target,
      leave: () => use.release(),
      clean: async () => {
        await use.release();
        await source.close();
        await target.close();
      },
    };
    const how = granularity === undefined ? { sync, ...options } : { sync, granularity, ...options };
    return { nodes: [source, target], work: this.#mirrorWork(ends, how) };
  }

  /** Copies from one node to another until told to end; then the disk moves over. */
  #mirrorWork({ source, target, leave, clean }: MirrorEnds, options: MirrorOptions): JobWork {
    const live = this.#live;
    const sleepMs = (milliseconds: number) => live.host.sleepMs(milliseconds);
    let mirror: MirrorJob | undefined;
    let isMoved = false;
    // It notes what is written from here on. What is wrong with it the job tells.
    let refused: unknown;
    try {
      mirror = new MirrorJob(source, target, options);
    } catch (error) {
      refused = error;
    }
    return {
      run: async (job) => {
        if (!mirror) throw refused;
        for (;;) {
          try {
            await mirror.run();
          } catch (error) {
            await job.failed(error, sleepMs);
            continue;
          }
          if (!job.isReady) job.becomeReady();
          if (job.isEnding) return;
          await job.idle(sleepMs);
        }
      },
      commit: (isCancelled) =>
        live.quietly(async () => {
          await mirror?.complete();
          await leave();
          if (isCancelled) return;
          await live.replace(source, target);
          isMoved = true;
        }),
      clean: async () => {
        mirror?.cancel();
        await clean(isMoved);
      },
    };
  }

  /** The node in the chain of `top`, itself left out; its end where nothing is named. Throws BlockError. */
  #below(top: GraphNode, place: ChainPlace | undefined): GraphNode | undefined {
    const { node, file } = place ?? {};
    const matches = (at: GraphNode) =>
      node !== undefined
        ? at.nodeName === node
        : file !== undefined
          ? this.#isFile(at, file)
          : at.backing === undefined;
    for (let at = top.backing; at; at = at.backing) if (matches(at)) return at;
    if (node !== undefined) {
      this.need(node);
      throw new BlockError('EINVAL', `Node '${node}' is not a backing image of '${top.nodeName}'`);
    }
    if (file !== undefined) throw new BlockError('ENOENT', `Can't find '${file}' in the backing chain`);
    return undefined;
  }

  #isFile(node: GraphNode, file: string): boolean {
    const { files } = this.#live.host;
    return node.filename === file || files.resolve(node.filename) === files.resolve(file);
  }

  #topOf(active: GraphNode, place: ChainPlace): GraphNode {
    let top: GraphNode | undefined;
    try {
      top = this.#below(active, place);
    } catch (error) {
      if (place.file === undefined) throw error;
    }
    if (top) return top;
    throw new BlockError('ENOENT', `Top image file ${place.file} not found`);
  }

  async #commit(
    { disk, top: topPlace, base: basePlace, backingFile }: Of<'commit'>,
    options: JobOptions,
  ): Promise<Plan> {
    const active = this.#source(disk);
    const isActive =
      topPlace === undefined ||
      topPlace.node === active.nodeName ||
      (topPlace.file !== undefined && this.#isFile(active, topPlace.file));
    const top = isActive ? active : this.#topOf(active, topPlace);
    const base = this.#below(top, basePlace);
    if (!base) throw new BlockError('EINVAL', 'There is no backing image to commit to');
    const between: GraphNode[] = [];
    for (let at: GraphNode | undefined = top; at; at = at.backing) {
      this.checkFree(at);
      between.push(at);
      if (at === base) break;
    }
    if (!isActive) return { nodes: between, work: this.#commitBetween(top, base, backingFile, options) };
    if (backingFile !== undefined)
      throw new BlockError('EINVAL', "'backing-file' specified, but 'top' is the active layer");
    const wasReadOnly = base.readOnly;
    await base.setReadOnly(false);
    const restore = () => (wasReadOnly ? base.setReadOnly(true) : Promise.resolve());
    try {
      if (base.length < active.length) await base.resize(active.length);
    } catch (error) {
      await restore();
      throw error;
    }
    const ends: MirrorEnds = {
      source: active.retain(),
      target: base.retain(),
      leave: () => Promise.resolve(),
      clean: async (isMoved) => {
        if (!isMoved) await restore();
        await active.close();
        await base.close();
      },
    };
    return { nodes: between, work: this.#mirrorWork(ends, { sync: 'top', base, ...options }) };
  }

  /** `top` is written by nobody meanwhile. What stands on it stands on `base` afterwards. */
  #commitBetween(top: GraphNode, base: GraphNode, backingFile: string | undefined, options: JobOptions): JobWork {
    const { graph } = this.#live;
    top.retain();
    base.retain();
    return {
      run: () => commitChain(top, base, { emptyTop: false, ...options }),
      commit: () =>
        this.#live.quietly(async () => {
          for (const above of graph.nodes) {
            if (above.backing !== top) continue;
            await this.#writable(above, async () => {
              await above.instance.changeBackingFile?.(backingFile ?? base.filename, base.driver.name);
            });
            await graph.setBacking(above, base.retain());
          }
        }),
      clean: async () => {
        await top.close();
        await base.close();
      },
    };
  }

  async #writable(node: GraphNode, work: () => Promise<void>): Promise<void> {
    const wasReadOnly = node.readOnly;
    await node.setReadOnly(false);
    try {
      await work();
    } finally {
      if (wasReadOnly) await node.setReadOnly(true);
    }
  }

  async #stream({ disk, base: place, backingFile }: Of<'stream'>, job: JobOptions): Promise<Plan> {
    const top = this.#source(disk);
    const base = place && this.#below(top, place);
    const between: GraphNode[] = [];
    for (let at: GraphNode | undefined = top; at && at !== base; at = at.backing) {
      this.checkFree(at);
      between.push(at);
    }
    const wasReadOnly = top.readOnly;
    await top.setReadOnly(false);
    top.retain();
    base?.retain();
    const options = { ...(base ? { base } : {}), ...(backingFile === undefined ? {} : { backingFile }) };
    return {
      nodes: between,
      work: {
        run: () => copyUp(top, { ...options, ...job }),
        commit: () => this.#live.quietly(() => leaveChain(this.#live.graph, top, options)),
        clean: async () => {
          if (wasReadOnly) await top.setReadOnly(true);
          await base?.close();
          await top.close();
        },
      },
    };
  }

  async #backup(request: BackupRequest, id: string, options: JobOptions): Promise<Plan> {
    const { disk, target: where, sync } = request;
    const source = this.#source(disk);
    const bitmap = this.#backupBitmap(source, request);
    const backing = sync === 'top' ? source.backing : sync === 'none' ? source : undefined;
    const { node: target, use } = await this.#target(id, source, where, backing);
    let backup: BackupJob;
    try {
      const info = await target.getInfo();
      if (request.compress && !target.instance.writeCompressed)
        throw new BlockError('ENOTSUP', 'Compression is not supported for this drive ');
      const told = bitmap && request.bitmapMode === 'never' ? copyOf(bitmap) : bitmap;
      backup = new BackupJob(source, target, {
        sync: sync === 'bitmap' ? 'incremental' : sync,
        ...(told ? { bitmap: told } : {}),
        ...(request.compress ? { compresses: true, grainBytes: info.clusterSizeBytes ?? 0 } : {}),
        ...options,
      });
    } catch (error) {
      await use.release();
      await target.close();
      throw error;
    }
    source.retain();
    if (bitmap) bitmap.busy = true;
    const sleepMs = (milliseconds: number) => this.#live.host.sleepMs(milliseconds);
    return {
      nodes: [source, target],
      work: {
        run: async (job) => {
          try {
            await backup.run();
            // One that only keeps what is overwritten goes on until it is cancelled.
            while (sync === 'none') {
              await job.idle(sleepMs);
              if (backup.failure !== undefined) throw backup.failure;
            }
          } catch (error) {
            await job.failed(error, sleepMs);
            throw error;
          }
        },
        clean: async (isGood) => {
          if (!isGood) backup.cancel();
          if (bitmap) bitmap.busy = false;
          await use.release();
          await target.close();
          await source.close();
        },
      },
    };
  }

  #backupBitmap(source: GraphNode, { sync, bitmap: name, bitmapMode }: BackupRequest): SparseBitmap | undefined {
    const isIncremental = sync === 'incremental';
    if (sync !== 'bitmap' && !isIncremental) {
      if (name !== undefined) throw new BlockError('EINVAL', 'Bitmap sync mode must be given when providing a bitmap');
      return undefined;
    }
    if (name === undefined) throw new BlockError('EINVAL', `must provide a valid bitmap name for '${sync}' sync mode`);
    if (!source.bitmaps.some((bitmap) => bitmap.name === name))
      throw new BlockError('ENOENT', `Bitmap '${name}' could not be found`);
    if (!isIncremental && bitmapMode === undefined)
      throw new BlockError('EINVAL', 'Bitmap sync mode must be given when providing a bitmap');
    if (isIncremental && bitmapMode !== undefined && bitmapMode !== 'on-success')
      throw new BlockError('EINVAL', "Bitmap sync mode must be 'on-success' when using sync mode 'incremental'");
    if (bitmapMode === 'always') throw new BlockError('ENOTSUP', "Bitmap sync mode 'always' is not supported yet");
    return usableBitmap(findBitmap(source, name));
  }

  #create({ options }: Of<'create'>, job: JobOptions): JobWork {
    const { driver, file, filename, ...rest } = options;
    const given: OptionDict = {};
    for (const [name, value] of Object.entries(rest)) given[(createNames[name] ?? name).replaceAll('-', '_')] = value;
    return {
      run: async () => {
        job.progress?.(0, 1);
        const { graph } = this.#live;
        if (typeof filename === 'string') await graph.create(String(driver), filename, given);
        else await graph.createOn(String(driver), this.need(String(file)), given);
        job.progress?.(1, 1);
      },
    };
  }
}

function copyOf(bitmap: SparseBitmap): SparseBitmap {
  const copy = new SparseBitmap(bitmap.name, bitmap.granularity, bitmap.length);
  copy.merge(bitmap);
  return copy;
}
