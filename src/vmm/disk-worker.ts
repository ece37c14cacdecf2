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
  describeImage,
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
import { DiskExports } from './disk-exports.js';
import { placedFile } from './disk-places.js';
import type {
  BlockNodeDescription,
  DiskConfig,
  DiskDescription,
  DiskImage,
  DiskWorkerConfig,
  FromDisks,
  OpenDisk,
  ToDisks,
  ToDisksFromMachine,
} from './disk-protocol.js';
import { DiskRing, diskFlag, diskOp, diskStatus, spareDisks } from './disk-ring.js';
import { ringDoorbell } from './doorbell.js';
import { rungBy } from './worker-protocol.js';

/** How long a submission is waited for on the ring before the event loop has its turn. */
const BLOCK_MS = 20;
/** An answer tells where bytes lie as far ahead as this. */
const PLACES_AHEAD = 64 << 20;

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
  /** What `DiskRing.clusterBytes` says. */
  readonly clusterBytes: number;
}

interface Disk {
  readonly config: DiskConfig;
  medium: Medium | undefined;
}

/** Of `blockNodes`. */
const nodes: GraphNode[] = [];
/** Undefined: it has been taken out. */
const disks: (Disk | undefined)[] = [];
const exports = new DiskExports({
  find: (name) => disks.find((disk) => disk?.config.id === name)?.medium?.node ?? graph.find(name),
  writersCome: () => {
    ring.revokePlaces();
    for (const disk of disks) if (disk) hearOfWrites(disk);
  },
});
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
    const use = await node.acquire(id, needs, shared);
    const clusterBytes = node.instance.movesPlaces ? ((await node.getInfo()).clusterSizeBytes ?? 0) : 0;
    return { node, use, clusterBytes };
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
    statistics: ring.statistics(disks.indexOf(disk)),
  };
}

async function describeNode(node: GraphNode): Promise<BlockNodeDescription> {
  const images = [];
  for (let each: GraphNode | undefined = node; each; each = each.backing) images.push(await describeImage(each));
  return {
    nodeName: node.nodeName,
    driver: node.driver.name,
    filename: node.filename,
    readonly: node.readOnly,
    cache: cacheModeOf(node.flags),
    detectZeroes: node.flags.detectZeroes,
    encrypted: node.instance.encrypted ?? false,
    images,
  };
}

/** All of them, those below disks and nodes included; one that is being opened or closed is left out. */
async function describeNodes(): Promise<BlockNodeDescription[]> {
  const described: BlockNodeDescription[] = [];
  for (const node of graph.nodes) {
    if (node.isStarted) described.push(await describeNode(node.retain()).finally(() => node.close()));
  }
  return described;
}

function tellDisk(disk: Disk): void {
  ring.setDisk(disks.indexOf(disk), openDisk(disk), disk.medium?.clusterBytes ?? 0);
}

/** The vCPU's thread may have written at places of this disk. */
function hearOfWrites(disk: Disk): void {
  if (ring.takeWritten(disks.indexOf(disk))) disk.medium?.node.noteWritten();
}

async function closeMedium({ node, use }: Medium): Promise<void> {
  await use.release().catch(() => undefined);
  await node.drain();
  await node.close().catch((error: unknown) => {
    say({ type: 'report', line: `error: '${node.filename}': ${toBlockError(error).message}` });
  });
}

/** The new medium, as writable as the first one unless it is said, is opened first: a drive keeps its own where that fails. */
async function change(disk: Disk, image: DiskImage | undefined): Promise<void> {
  const readonly = image?.readonly ?? disk.config.readonly;
  const medium = image && (await openMedium(disk.config.id, { ...image, readonly }));
  const before = disk.medium;
  ring.revokePlaces();
  hearOfWrites(disk);
  disk.medium = medium;
  tellDisk(disk);
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
  ring.revokePlaces();
  ring.forgetStatistics(place);
  tellDisk(added);
  return place;
}

async function removeDisk(place: number): Promise<void> {
  const disk = disks[place];
  ring.revokePlaces();
  if (disk) hearOfWrites(disk);
  disks[place] = undefined;
  if (disk?.medium) await closeMedium(disk.medium);
}

async function removeNode(name: string): Promise<void> {
  const at = nodes.findIndex(({ nodeName }) => nodeName === name);
  const node = nodes[at];
  if (!node) throw new BlockError('ENODEV', `Failed to find node with node-name='${name}'`);
  if (node.isShared) throw new BlockError('EBUSY', `Node '${name}' is busy: node is used as backing hd or by a device`);
  nodes.splice(at, 1);
  ring.revokePlaces();
  await node.drain();
  await node.close();
}

/** Says where a request's bytes lie, and what follows them. */
function tellPlaces(slot: number, { node, clusterBytes }: Medium): void {
  const start = clusterBytes > 0 ? ring.offset(slot) : 0;
  const stop = clusterBytes > 0 ? Math.min(start + PLACES_AHEAD, node.length) : node.length;
  for (let at = start; at < stop; ) {
    const place = node.place(at, stop - at);
    if (place?.file.descriptor === undefined) return;
    const file = placedFile(place.file.descriptor, place.isWritable, place.file.isInMemory ?? false);
    if (!ring.addPlace(slot, { start: at, end: at + place.length, at: place.offset, file })) return;
    at += place.length;
  }
}

async function perform(slot: number): Promise<void> {
  const disk = disks[ring.disk(slot)];
  const medium = disk?.medium;
  if (!medium) throw new BlockError('ENOMEDIUM');
  const { node } = medium;
  if (ring.op(slot) === diskOp.flush) hearOfWrites(disk);
  await carryOut(slot, node);
  const wantsPlaces = (ring.flags(slot) & diskFlag.wantsPlaces) !== 0 && !exports.hasWriters;
  if (wantsPlaces && disk.medium === medium) tellPlaces(slot, medium);
}

async function carryOut(slot: number, node: GraphNode): Promise<void> {
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
      return await node.writeZeroes(
        offset,
        ring.length(slot),
        (ring.flags(slot) & diskFlag.mayUnmap) === 0 ? 0 : RequestFlag.mayUnmap,
      );
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
  else if (inFlight === 0 && memory && !exports.isServing) {
    ring.waitOnWord(BLOCK_MS);
    if (!ring.waitInLoop()) schedule();
  } else if (!ring.waitInLoop()) schedule();
}

async function close(): Promise<void> {
  if (closing) return;
  closing = true;
  // What is being opened is to be closed too.
  await opening.catch(() => {});
  await exports.close().catch((error: unknown) => {
    say({ type: 'report', line: `error: the NBD server: ${toBlockError(error).message}` });
  });
  // The vCPU's thread has ended: what it did not hand over is lost, as in a power cut.
  for (const disk of disks) {
    if (!disk?.medium) continue;
    hearOfWrites(disk);
    await closeMedium(disk.medium);
  }
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
        open.then((node) => {
          nodes.push(node);
          ring.revokePlaces();
        }),
      );
      return;
    }
    case 'removeNode':
      answer(message.id, removeNode(message.name));
      return;
    case 'describeNodes':
      describeNodes().then(
        (nodes) => say({ type: 'nodes', id: message.id, nodes, exports: exports.descriptions }),
        (error: unknown) => say({ type: 'changed', id: message.id, failure: toBlockError(error).message }),
      );
      return;
    case 'nbd':
      answer(message.id, exports.carryOut(message.request));
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
    for (const disk of disks) tellDisk(disk as Disk);
    ring.setOpened(true);
  },
  (error: unknown) => {
    say({ type: 'failed', code: 'disk-open', message: toBlockError(error).message });
    ring.setOpened(false);
    void close();
  },
);
