/**
 * The thread of a machine's disks: their images, and the requests that the vCPU's thread hands over. With nothing under way it
 * blocks on the ring, where a submission wakes it soonest; while requests wait for the host it is in its event loop.
 */
import { parentPort, workerData } from 'node:worker_threads';
import {
  addTemporaryOverlay,
  BlockError,
  BlockGraph,
  cacheFlags,
  cacheModeOf,
  errorCode,
  type GraphNode,
  type NodeUse,
  type OpenFlags,
  Permission,
  RequestFlag,
  toBlockError,
} from '../block/index.js';
import { nameThread } from '../host/node/activity.js';
import { NodeBlockHost } from '../host/node/block-host.js';
import type {
  DiskConfig,
  DiskDescription,
  DiskImage,
  DiskWorkerConfig,
  FromDisks,
  OpenDisk,
  ToDisks,
  ToDisksFromMachine,
} from './disk-protocol.js';
import { DiskRing, diskOp, diskStatus, spareDisks } from './disk-ring.js';
import { ringDoorbell } from './doorbell.js';
import { rungBy } from './worker-protocol.js';

/** How long a submission is waited for on the ring before the event loop has its turn. */
const BLOCK_MS = 20;

const config = workerData as DiskWorkerConfig;
const owner = parentPort as NonNullable<typeof parentPort>;
const say = (message: FromDisks) => owner.postMessage(message);
const ring = new DiskRing(config.ring, config.disks.length);
const doorbell = new Int32Array(config.doorbell);

const host = new NodeBlockHost((severity, message) =>
  say({ type: 'report', line: severity === 'plain' ? message : `${severity}: ${message}` }),
);
for (const [id, secret] of Object.entries(config.secrets)) host.secrets.set(id, secret);
for (const [id, object] of Object.entries(config.objects)) host.objects.set(id, object);
const graph = new BlockGraph(host);

interface Medium {
  readonly node: GraphNode;
  readonly use: NodeUse;
}

interface Disk {
  readonly config: DiskConfig;
  medium: Medium | undefined;
}

/** Of `blockNodes`. */
const nodes: GraphNode[] = [];
/** Undefined: it has been taken out. */
const disks: (Disk | undefined)[] = [];
let memory: SharedArrayBuffer | undefined;
let kickWords: Int32Array = new Int32Array(new SharedArrayBuffer(4));
let kickIndices: readonly number[] = [];
nameThread('disks');
let inFlight = 0;
let closing = false;
let scheduled = false;

async function openAll(): Promise<void> {
  for (const options of config.blockNodes) {
    nodes.push(await graph.open({ options: { ...options }, flags: { readOnly: false }, permissions: 0 }));
  }
  for (const disk of config.disks) {
    disks.push({ config: disk, medium: disk.empty ? undefined : await openMedium(disk.id, disk) });
  }
}

async function openMedium(id: string, image: DiskImage): Promise<Medium> {
  const node = await openNode(image);
  let shared: number = Permission.consistentRead | Permission.writeUnchanged;
  if (image.shareWrites) shared |= Permission.write;
  const needs = Permission.consistentRead | (node.readOnly || image.readonly ? 0 : Permission.write);
  try {
    return { node, use: await node.acquire(id, needs, shared) };
  } catch (error) {
    await node.close().catch(() => undefined);
    throw error;
  }
}

async function openNode(disk: DiskImage): Promise<GraphNode> {
  if (disk.node !== undefined) {
    const node = graph.find(disk.node);
    if (!node) throw new BlockError('ENODEV', `There is no block node '${disk.node}'`);
    return node.retain();
  }
  const readOnly = disk.readonly ?? false;
  const flags: Partial<OpenFlags> = {
    ...cacheFlags(disk.cache ?? 'writeback'),
    unmap: disk.discard === 'unmap',
    readOnly: readOnly || (disk.snapshot ?? false),
  };
  const node = await graph.open({
    ...(disk.path === undefined ? {} : { filename: disk.path }),
    ...(disk.format === undefined ? {} : { format: disk.format }),
    options: { ...disk.options },
    flags,
    // What the device needs it acquires itself.
    permissions: 0,
  });
  if (!disk.snapshot) return node;
  try {
    const overlay = await addTemporaryOverlay(graph, node, { readOnly, unmap: flags.unmap ?? true });
    await overlay.rootUse?.release();
    overlay.rootUse = undefined;
    return overlay;
  } catch (error) {
    await node.close().catch(() => undefined);
    throw error;
  }
}

const openDisk = ({ medium }: Disk): OpenDisk => ({
  sizeBytes: medium ? Math.ceil(medium.node.length / 512) * 512 : 0,
  readonly: medium?.node.readOnly ?? true,
  inserted: medium !== undefined,
});

function describe(disk: Disk): DiskDescription {
  const node = disk.medium?.node;
  return {
    ...openDisk(disk),
    id: disk.config.id,
    removable: disk.config.removable ?? false,
    nodeName: node?.nodeName ?? '',
    filename: node?.filename ?? '',
    format: node?.driver.name ?? '',
    backing: node?.backing?.filename,
    cache: node ? cacheModeOf(node.flags) : 'writeback',
  };
}

async function closeMedium({ node, use }: Medium): Promise<void> {
  await use.release().catch(() => undefined);
  await node.drain();
  await node.close().catch((error: unknown) => {
    say({ type: 'report', line: `error: '${node.filename}': ${toBlockError(error).message}` });
  });
}

/** The new medium is opened first: a drive keeps its own where that fails. */
async function change(disk: Disk, image: DiskImage | undefined): Promise<void> {
  const medium = image && (await openMedium(disk.config.id, image));
  const before = disk.medium;
  disk.medium = medium;
  ring.setDisk(disks.indexOf(disk), openDisk(disk));
  if (before) await closeMedium(before);
}

/** Gives its place. */
async function addDisk(disk: DiskConfig): Promise<number> {
  const free = disks.indexOf(undefined);
  const place = free >= 0 ? free : disks.length;
  if (place >= config.disks.length + spareDisks) throw new BlockError('ENOSPC', 'There is no room for another disk');
  const added: Disk = { config: disk, medium: undefined };
  disks[place] = added;
  try {
    if (!disk.empty) added.medium = await openMedium(disk.id, disk);
  } catch (error) {
    disks[place] = undefined;
    throw error;
  }
  ring.setDisk(place, openDisk(added));
  return place;
}

async function removeDisk(place: number): Promise<void> {
  const disk = disks[place];
  disks[place] = undefined;
  if (disk?.medium) await closeMedium(disk.medium);
}

async function removeNode(name: string): Promise<void> {
  const at = nodes.findIndex(({ nodeName }) => nodeName === name);
  const node = nodes[at];
  if (!node) throw new BlockError('ENODEV', `Failed to find node with node-name='${name}'`);
  if (node.isShared) throw new BlockError('EBUSY', `Node '${name}' is busy: node is used as backing hd or by a device`);
  nodes.splice(at, 1);
  await node.drain();
  await node.close();
}

async function perform(slot: number): Promise<void> {
  const node = disks[ring.disk(slot)]?.medium?.node;
  if (!node) throw new BlockError('ENOMEDIUM');
  const offset = ring.offset(slot);
  switch (ring.op(slot)) {
    case diskOp.read:
      return await node.readVector(offset, ring.pieces(slot, memory as SharedArrayBuffer));
    case diskOp.write:
      return await node.writeVector(offset, ring.pieces(slot, memory as SharedArrayBuffer));
    case diskOp.flush:
      return await node.flush();
    case diskOp.discard:
      return await node.discard(offset, ring.length(slot));
    case diskOp.writeZeroes:
      return await node.writeZeroes(offset, ring.length(slot), ring.flags(slot) === 0 ? 0 : RequestFlag.mayUnmap);
  }
}

function statusOf(error: unknown): number {
  switch (errorCode(error)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return diskStatus.noSpace;
    case 'ENOTSUP':
      return diskStatus.unsupported;
    default:
      return diskStatus.io;
  }
}

function start(slot: number): void {
  inFlight++;
  const finish = (status: number) => {
    inFlight--;
    ring.finish(slot, status);
    // The running vCPU sees its kick word, a sleeping one the doorbell.
    for (const index of kickIndices) Atomics.store(kickWords, index, 1);
    ringDoorbell(doorbell, rungBy.disks);
    schedule();
  };
  perform(slot).then(
    () => finish(diskStatus.ok),
    (error: unknown) => finish(statusOf(error)),
  );
}

function schedule(): void {
  if (scheduled) return;
  scheduled = true;
  setImmediate(look);
}

function look(): void {
  scheduled = false;
  if (closing) return;
  let took = false;
  for (let slot = ring.take(); slot >= 0; slot = ring.take()) {
    took = true;
    start(slot);
  }
  // What needs no waiting is done when the loop comes round.
  if (took) schedule();
  else if (inFlight === 0 && memory) {
    ring.waitOnWord(BLOCK_MS);
    if (!ring.waitInLoop()) schedule();
  } else if (!ring.waitInLoop()) schedule();
}

async function close(): Promise<void> {
  if (closing) return;
  closing = true;
  // What is being opened is to be closed too.
  await opening.catch(() => {});
  // The vCPU's thread has ended: what it did not hand over is lost, as in a power cut.
  for (const disk of disks) if (disk?.medium) await closeMedium(disk.medium);
  for (const node of nodes.reverse()) {
    await node.drain();
    await node.close().catch((error: unknown) => {
      say({ type: 'report', line: `error: '${node.filename}': ${toBlockError(error).message}` });
    });
  }
  say({ type: 'closed' });
  config.port.close();
  owner.close();
}

function answer(id: number, work: Promise<unknown>): void {
  work.then(
    (disk) => say({ type: 'changed', id, ...(typeof disk === 'number' ? { disk } : {}) }),
    (error: unknown) => say({ type: 'changed', id, failure: toBlockError(error).message }),
  );
}

owner.on('message', (message: ToDisks) => {
  switch (message.type) {
    case 'describe':
      say({ type: 'description', id: message.id, disks: disks.map((disk) => disk && describe(disk)) });
      return;
    case 'change': {
      const disk = disks[message.disk];
      if (disk) answer(message.id, change(disk, message.image));
      return;
    }
    case 'add':
      answer(message.id, addDisk(message.disk));
      return;
    case 'remove':
      answer(message.id, removeDisk(message.disk));
      return;
    case 'addNode': {
      const open = graph.open({ options: { ...message.options }, flags: { readOnly: false }, permissions: 0 });
      answer(
        message.id,
        open.then((node) => void nodes.push(node)),
      );
      return;
    }
    case 'removeNode':
      answer(message.id, removeNode(message.name));
      return;
    case 'close':
      void close();
  }
});
config.port.on('message', (message: ToDisksFromMachine) => {
  if (message.type === 'memory') {
    memory = message.memory;
    kickWords = new Int32Array(memory);
    kickIndices = message.kickIndices;
  }
  schedule();
});

const opening = openAll();
opening.then(
  () => {
    say({ type: 'opened' });
    ring.setOpened(disks.map((disk) => openDisk(disk as Disk)));
  },
  (error: unknown) => {
    say({ type: 'failed', code: 'disk-open', message: toBlockError(error).message });
    ring.setOpened(undefined);
    void close();
  },
);
