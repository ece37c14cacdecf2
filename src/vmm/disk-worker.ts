/**
 * The thread of a machine's disks: their images, and the requests that the vCPU's thread hands over. With nothing under way it
 * blocks on the ring, where a submission wakes it soonest; while requests wait for the host it is in its event loop.
 */
import { parentPort, workerData } from 'node:worker_threads';
import {
  BlockError,
  cacheModeOf,
  describeImage,
  errorCode,
  forgetThrottleGroup,
  type GraphNode,
  RequestFlag,
  toBlockError,
} from '../block/index.js';
import { nameThread } from '../host/node/activity.js';
import { NodeBlockHost } from '../host/node/block-host.js';
import { BlockActions } from './block-actions.js';
import { DiskExports } from './disk-exports.js';
import { DiskJobs } from './disk-jobs.js';
import { placedFile } from './disk-places.js';
import type {
  BlockNodeDescription,
  DiskWorkerConfig,
  FromDisks,
  ToDisks,
  ToDisksFromMachine,
} from './disk-protocol.js';
import { DiskRing, diskFlag, diskOp, diskStatus } from './disk-ring.js';
import { ringDoorbell } from './doorbell.js';
import { type Disk, LiveGraph, type Medium } from './live-graph.js';
import { rungBy } from './worker-protocol.js';
import { WriteThresholds } from './write-thresholds.js';

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
const live = new LiveGraph(host, ring, config.disks.length, (line) => say({ type: 'report', line }));
const { disks, gate } = live;
const jobs = new DiskJobs(live, (event) => say({ type: 'jobEvent', event }));
const thresholds = new WriteThresholds((exceeded) => say({ type: 'thresholdExceeded', exceeded }));
const actions = new BlockActions(live, jobs, thresholds);
const exports = new DiskExports({
  find: (name) => live.find(name),
  writersCome: () => live.revokePlaces(),
});
let memory: SharedArrayBuffer | undefined;
let kickWords: Int32Array = new Int32Array(new SharedArrayBuffer(4));
let kickIndices: readonly number[] = [];
nameThread('disks');
let inFlight = 0;
let closing = false;
let scheduled = false;

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
    writeThreshold: thresholds.bytesOf(node),
    images,
    bitmaps: node.bitmaps
      .filter(({ name }) => name !== '')
      .map((bitmap) => ({
        name: bitmap.name,
        granularity: bitmap.granularity,
        countBytes: bitmap.countBytes(),
        isRecording: bitmap.enabled,
        isBusy: bitmap.busy,
        isPersistent: bitmap.persistent,
        isInconsistent: bitmap.inconsistent,
      })),
  };
}

/** All of them, those below disks and nodes included; one that is being opened or closed is left out. */
async function describeNodes(): Promise<BlockNodeDescription[]> {
  const described: BlockNodeDescription[] = [];
  for (const node of live.graph.nodes) {
    if (node.isStarted) described.push(await describeNode(node.retain()).finally(() => node.close()));
  }
  return described;
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
  const op = ring.op(slot);
  if (disk?.throttle && op !== diskOp.flush)
    await disk.throttle.group.pass(op === diskOp.read ? 'read' : 'write', ring.length(slot));
  await gate.enter();
  try {
    const medium = disk?.medium;
    if (!medium) throw new BlockError('ENOMEDIUM');
    if (op === diskOp.flush) live.hearOfWrites(disk);
    await carryOut(slot, medium.node);
    const wantsPlaces = (ring.flags(slot) & diskFlag.wantsPlaces) !== 0 && !exports.hasWriters && !disk.throttle;
    if (wantsPlaces && gate.isOpen && disk.medium === medium) tellPlaces(slot, medium);
  } finally {
    gate.leave();
  }
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
  else if (inFlight === 0 && memory && !exports.isServing && !jobs.areThere) {
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
  await jobs.close();
  // The vCPU's thread has ended: what it did not hand over is lost, as in a power cut.
  await live.closeAll();
  say({ type: 'closed' });
  config.port.close();
  owner.close();
}

/** Says what became of a request. */
function answer(id: number, work: Promise<unknown>): void {
  work.then(
    (value) => say({ type: 'answer', id, value }),
    (error: unknown) => {
      const { code, message } = toBlockError(error);
      say({ type: 'answer', id, failure: { code, message } });
    },
  );
}

async function carryOutMessage(message: Exclude<ToDisks, { type: 'close' }>): Promise<unknown> {
  switch (message.type) {
    case 'describe':
      return [...disks.map((disk) => disk && live.describe(disk)), ...live.held];
    case 'change': {
      const disk = disks[message.disk];
      return disk && (await live.change(disk, message.image));
    }
    case 'prepare': {
      const disk = disks[message.disk];
      return disk && (await live.prepare(disk, message.image));
    }
    case 'hold':
      return await live.hold(message.name, message.image);
    case 'release':
      return await live.release(message.name);
    case 'add':
      return await live.add(message.disk);
    case 'remove':
      return await live.remove(message.disk);
    case 'addNode':
      return await live.addNode(message.options);
    case 'removeNode':
      return await live.removeNode(message.name);
    case 'defineObject':
      if (message.object instanceof Uint8Array) host.secrets.set(message.name, message.object);
      else host.objects.set(message.name, message.object);
      return undefined;
    case 'forgetObject':
      if (
        live.graph.nodes.some(
          ({ driver, options }) => driver.name === 'throttle' && options['throttle-group'] === message.name,
        )
      )
        return false;
      forgetThrottleGroup(host, message.name);
      host.secrets.delete(message.name);
      host.objects.delete(message.name);
      return true;
    case 'describeNodes':
      return { nodes: await describeNodes(), exports: exports.descriptions };
    case 'nbd':
      return await exports.carryOut(message.request);
    case 'block':
      return await actions.carryOut(message.request);
  }
}

owner.on('message', (message: ToDisks) => {
  if (message.type === 'close') void close();
  else answer(message.id, carryOutMessage(message));
});
config.port.on('message', (message: ToDisksFromMachine) => {
  if (message.type === 'memory') {
    memory = message.memory;
    kickWords = new Int32Array(memory);
    kickIndices = message.kickIndices;
  }
  schedule();
});

const opening = live.openAll(config.blockNodes, config.disks);
opening.then(
  () => {
    say({ type: 'opened' });
    for (const disk of disks) live.tellDisk(disk as Disk);
    ring.setOpened(true);
  },
  (error: unknown) => {
    say({ type: 'failed', code: 'disk-open', message: toBlockError(error).message });
    ring.setOpened(false);
    void close();
  },
);
