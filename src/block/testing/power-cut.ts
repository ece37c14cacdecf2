/**
 * The power goes at every point of the write log of an image under work: after each prefix of the log, and with any part of what
 * was written since the last flush lost. The image must open, its check may find leaks at most, and whatever was flushed must
 * be there; a sector written since may hold any of the values written to it since.
 */
import { errorCode } from '../errors.js';
import { BlockGraph } from '../graph.js';
import type { GraphNode } from '../graph-node.js';
import type { BlockHost } from '../host.js';
import { RequestFlag } from '../node.js';
import type { OptionDict } from '../options.js';
import { type LogEntry, MemoryImage, memoryHost, randomFrom } from './memory-host.js';

const sector = 512;
/** What a backing file shows, in every sector. */
const backingValue = 238;

export interface PowerCutCase {
  readonly format: string;
  readonly options: OptionDict;
  /** Options of every open: a key. */
  readonly openOptions?: OptionDict;
  readonly diskBytes?: number;
  readonly steps?: number;
  /** The format has discard, and discarded clusters read as zero. */
  readonly discards?: boolean;
  readonly compresses?: boolean;
  /** Growth in the course of the work. */
  readonly resizes?: boolean;
  /** Done now and then between requests: snapshots. */
  readonly between?: (node: GraphNode, step: number, random: (below: number) => number) => Promise<void>;
  /** Makes what the image stands on, before it is created. */
  readonly prepare?: (graph: BlockGraph, diskBytes: number) => Promise<void>;
  /** What every sector of the backing file holds, where `prepare` made one. */
  readonly backingValue?: number;
  /** Each cluster is written whole and once (stream-optimized). */
  readonly writesOnce?: boolean;
  /** After a crash the image must be repaired before it is used. */
  readonly isRepaired?: boolean;
  /** Largest request in sectors. */
  readonly maxSectors?: number;
  /** After each cut one more sector is written, which must change nothing else. */
  readonly goesOn?: boolean;
  /** The format needs to be opened for writing before it can be opened read-only (a log to replay). */
  readonly isReplayed?: boolean;
}

/** Every file of the image, by path. */
type Files = ReadonlyMap<string, MemoryImage>;

function cloneFiles(files: Files): Files {
  return new Map([...files].map(([path, image]) => [path, image.clone()]));
}

interface GuestWrite {
  /** Log length when the request began: from here on its effects may be on disk. */
  readonly begin: number;
  readonly first: number;
  readonly count: number;
  readonly value: number;
}

interface Flushed {
  /** Log length when the flush had resolved. */
  readonly at: number;
  readonly values: Uint8Array;
}

interface Recording {
  readonly what: PowerCutCase;
  readonly real: BlockHost;
  readonly base: Files;
  readonly log: readonly LogEntry[];
  readonly writes: readonly GuestWrite[];
  readonly flushes: readonly Flushed[];
}

function must(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

function hostWithBase(real: BlockHost, diskBytes: number) {
  const host = memoryHost(real);
  host.files.images.set('base', MemoryImage.from(new Uint8Array(diskBytes).fill(backingValue)));
  return host;
}

function openDisk(graph: BlockGraph, what: PowerCutCase, readOnly: boolean, check = false): Promise<GraphNode> {
  return graph.open({
    filename: 'disk',
    format: what.format,
    options: what.openOptions ?? {},
    flags: { readOnly, unmap: true, check },
  });
}

/** Random requests; one value per sector: a sector is written whole, with one byte repeated. */
async function record(real: BlockHost, what: PowerCutCase, seed: number): Promise<Recording> {
  const random = randomFrom(seed);
  const diskBytes = what.diskBytes ?? 128 * 1024;
  const host = hostWithBase(real, diskBytes);
  const graph = new BlockGraph(host);
  await what.prepare?.(graph, diskBytes);
  await graph.create(what.format, 'disk', { size: diskBytes, ...what.options });
  const node = await openDisk(graph, what, false);
  host.files.log.length = 0;
  const below = what.options['backing_file'] ? (what.backingValue ?? backingValue) : 0;
  const values = new Uint8Array(diskBytes / sector).fill(below);
  if (!node.instance.zeroInit && !what.options['backing_file']) {
    await node.write(0, new Uint8Array(diskBytes));
    await node.flush();
    host.files.log.length = 0;
  }
  const base = cloneFiles(host.files.images);
  const written = new Set<number>();
  const writes: GuestWrite[] = [];
  const flushes: Flushed[] = [{ at: 0, values: values.slice() }];
  for (let step = 0; step < (what.steps ?? 45); step++) {
    const first = random(values.length);
    const count = Math.min(values.length - first, 1 + random(random(3) === 0 ? (what.maxSectors ?? 40) : 6));
    const kind = random(12);
    const begin = host.files.log.length;
    const cluster = (await node.getInfo()).clusterSizeBytes ?? sector;
    if (kind < 10 && what.writesOnce) {
      const from = first * sector - ((first * sector) % cluster);
      const length = Math.min(cluster, diskBytes - from);
      if (written.has(from)) continue;
      written.add(from);
      const value = 1 + random(255);
      writes.push({ begin, first: from / sector, count: length / sector, value });
      await node.write(from, new Uint8Array(length).fill(value));
      values.fill(value, from / sector, (from + length) / sector);
    } else if (kind < 6) {
      const value = 1 + random(255);
      writes.push({ begin, first, count, value });
      await node.write(first * sector, new Uint8Array(count * sector).fill(value));
      values.fill(value, first, first + count);
    } else if (kind === 6) {
      writes.push({ begin, first, count, value: 0 });
      await node.writeZeroes(first * sector, count * sector, random(2) ? RequestFlag.mayUnmap : 0);
      values.fill(0, first, first + count);
    } else if (kind === 7 && what.discards) {
      const from = Math.ceil((first * sector) / cluster) * cluster;
      const to = Math.floor(((first + count) * sector) / cluster) * cluster;
      if (to <= from) continue;
      writes.push({ begin, first: from / sector, count: (to - from) / sector, value: 0 });
      await node.discard(from, to - from);
      values.fill(0, from / sector, to / sector);
    } else if (kind === 8 && what.compresses) {
      const from = first * sector - ((first * sector) % cluster);
      const value = 1 + random(255);
      writes.push({ begin, first: from / sector, count: cluster / sector, value });
      await node.write(from, new Uint8Array(cluster).fill(value), RequestFlag.compressed).then(
        () => values.fill(value, from / sector, (from + cluster) / sector),
        (error) => {
          // Refused over a cluster of its own: nothing was written.
          must(errorCode(error) === 'EIO', `compressed write: ${error.message}`);
          writes.pop();
        },
      );
    } else if (kind === 9 && what.between) await what.between(node, step, random);
    else if (kind === 9 && what.resizes) await node.resize(node.length + 65536);
    else if (kind >= 10) {
      await node.flush();
      flushes.push({ at: host.files.log.length, values: values.slice() });
    }
  }
  const log = host.files.log.slice();
  await node.close();
  return { what, real, base, log, writes, flushes };
}

async function verify(recording: Recording, files: Files, cut: number, message: string): Promise<void> {
  const { what, real } = recording;
  const diskBytes = what.diskBytes ?? 128 * 1024;
  const host = hostWithBase(real, diskBytes);
  for (const [path, image] of files) host.files.images.set(path, image);
  const graph = new BlockGraph(host);
  // A dirty image is repaired by whoever opens it for writing, as a machine would after the cut.
  let isDirty = what.isReplayed ?? false;
  if (!isDirty) {
    const probe = await openDisk(graph, what, true);
    isDirty = (await probe.getInfo()).isDirty === true;
    await probe.close();
  }
  if (isDirty) await (await openDisk(graph, what, false)).close();
  if (what.isRepaired) {
    const broken = await openDisk(graph, what, false, true);
    await broken.instance.check!({ leaks: true, errors: true });
    await broken.close();
  }
  const node = await openDisk(graph, what, true, true);
  if (node.instance.check) {
    const result = await node.instance.check({ leaks: false, errors: false });
    must(
      result.corruptions === 0 && result.checkErrors === 0,
      `${message}: ${result.corruptions} corruptions, ${result.checkErrors} errors ${result.lines.slice(0, 4).join(' | ')}`,
    );
  }
  const contents = new Uint8Array(diskBytes);
  await node.read(0, contents);
  await node.close();
  const flushed = recording.flushes.findLast((flush) => flush.at <= cut)!;
  const later = recording.writes.filter((write) => write.begin >= flushed.at && write.begin <= cut);
  for (let index = 0; index < flushed.values.length; index++) {
    const at = index * sector;
    const value = contents[at]!;
    if (value !== flushed.values[index]) {
      const isWritten = later.some(
        (write) => index >= write.first && index < write.first + write.count && write.value === value,
      );
      must(isWritten, `${message}: sector ${index} holds ${value}, flushed was ${flushed.values[index]}`);
    }
    for (let byte = at + 1; byte < at + sector; byte++)
      if (contents[byte] !== value) throw new Error(`${message}: sector ${index} is torn`);
  }
  if (what.goesOn) await goOn(graph, what, contents, cut % flushed.values.length, message);
}

/** What lies in space that a cut left unused must not show through when the space is taken again. */
async function goOn(
  graph: BlockGraph,
  what: PowerCutCase,
  contents: Uint8Array,
  index: number,
  message: string,
): Promise<void> {
  const piece = new Uint8Array(sector).fill(255);
  const writer = await openDisk(graph, what, false);
  await writer.write(index * sector, piece);
  await writer.close();
  contents.set(piece, index * sector);
  const node = await openDisk(graph, what, true, true);
  const result = await node.instance.check?.({ leaks: false, errors: false });
  must((result?.corruptions ?? 0) === 0, `${message}, then written: ${result?.lines.join(' | ')}`);
  const after = new Uint8Array(contents.length);
  await node.read(0, after);
  await node.close();
  if (graph.host.equal(after, contents)) return;
  const changed = after.findIndex((byte, at) => byte !== contents[at]);
  throw new Error(`${message}, then sector ${index} written: sector ${Math.floor(changed / sector)} changed`);
}

async function cutEverywhere(recording: Recording, seed: number): Promise<number> {
  const random = randomFrom(seed);
  const { log } = recording;
  let cuts = 0;
  const durable = cloneFiles(recording.base);
  const running = cloneFiles(recording.base);
  /** What no sync of its file has made durable yet. */
  let pending: LogEntry[] = [];
  for (let cut = 0; cut <= log.length; cut++) {
    await verify(recording, cloneFiles(running), cut, `cut after ${cut} of ${log.length} writes`);
    cuts++;
    // What was written to each file since its last sync, in part, each write whole or not at all.
    if (pending.length > 1) {
      for (let round = 0; round < 3; round++) {
        const files = cloneFiles(durable);
        // First the newest alone: what it refers to must have been made durable before.
        for (const entry of pending)
          if (round === 0 ? entry === pending.at(-1) : random(2) === 0) files.get(entry.path)!.apply(entry);
        const message = `cut after ${cut} of ${log.length} writes, some of the last ${pending.length} lost (round ${round})`;
        await verify(recording, files, cut, message);
        cuts++;
      }
    }
    const entry = log[cut];
    if (!entry) break;
    if (entry.kind === 'sync') {
      for (const done of pending) if (done.path === entry.path) durable.get(done.path)!.apply(done);
      pending = pending.filter((other) => other.path !== entry.path);
    } else {
      running.get(entry.path)!.apply(entry);
      pending.push(entry);
    }
  }
  return cuts;
}

/** Works on a fresh image, then cuts the power everywhere; throws what is lost. Gives how many cuts there were. */
export async function cutPower(real: BlockHost, what: PowerCutCase, seed = 1): Promise<number> {
  return cutEverywhere(await record(real, what, seed), seed);
}
