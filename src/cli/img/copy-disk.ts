/**
 * The copying of `img convert`: one or more images, seen as one disk, into an image that is there.
 *
 * What is in the page cache is read here, chunk by chunk, while the host's threads write those before. Other chunks are read several at a
 * time and written in the order of the disk (any order with -W), so that source, compression and target work at once. Where a format finds
 * places for data in the order of requests, one write and the next are under way together. What the source says is zero is not read;
 * what turns out to be zero is not written.
 */
import { alignUp } from '../../block/alignment.js';
import { BlockError, errorCode, errorText } from '../../block/errors.js';
import type { GraphNode } from '../../block/graph-node.js';
import { type BlockNode, RequestFlag } from '../../block/node.js';
import type { Tool } from './tool.js';

const chunkBytes = 2 ** 21;
/** What is stored as it is goes in chunks that are still near the processor when they are written; packed clusters keep more threads at work. */
const plainChunkBytes = 2 ** 20;
/** So many chunks are being written when the next one is read: a thread that has done one finds the next. */
const writesBehind = 4;
/** What the system copies by itself goes in larger pieces: nothing is held in memory. */
const copyRangeBytes = 2 ** 24;
export const sectorBytes = 512;
/** After so many chunks that nothing was waited for signals are heard. */
const turnChunks = 32;
/** After so many it is tried again whether something has to be waited for. */
const triedChunks = 16;
/** Zero runs are looked for in steps of this. */
const grainBytes = 4096;
const noBytes = new Uint8Array(0);
const nothing = (): void => undefined;

export interface Part {
  readonly node: GraphNode;
  /** Place in the disk that all parts make. */
  readonly start: number;
  readonly length: number;
}

export interface CopyJob {
  readonly tool: Tool;
  readonly parts: readonly Part[];
  readonly target: GraphNode;
  readonly total: number;
  readonly minSparse: number;
  readonly isCompressed: boolean;
  readonly clusterBytes: number;
  readonly isZeroInit: boolean;
  readonly targetHasBacking: boolean;
  /** Where the backing file of a new target ends: what is zero from there on need not be written. */
  readonly backingEnd: number;
  readonly workers: number;
  readonly isUnordered: boolean;
  /** A write may begin when the one before it has begun. */
  readonly writesOverlap: boolean;
  readonly isSalvage: boolean;
  readonly isCopyRange: boolean;
  readonly bytesPerSecond: number;
}

/** Formats that give data its place when a request begins, as long as it is not compressed. */
export const placesInOrder: ReadonlySet<string> = new Set(['raw', 'qcow2', 'vdi', 'vmdk', 'vhdx', 'vpc', 'parallels']);

/** With smaller clusters a table maps less than a chunk: it is written in several requests, one after the other. */
export const smallestOverlapping = 4096;

type ChunkKind = 'data' | 'zero' | 'backing';

interface Chunk {
  readonly kind: ChunkKind;
  readonly offset: number;
  readonly length: number;
  /** Its clusters are compressed in the source. */
  readonly isPacked?: boolean;
  /** Lengths of the runs that it was joined of. */
  readonly runs?: readonly number[];
  /** Where its bytes are stored as they are. */
  readonly place?: { readonly file: BlockNode; readonly offset: number };
}

function partAt(parts: readonly Part[], offset: number): Part {
  return parts.find((part) => offset < part.start + part.length)!;
}

/** What lies at `offset` and how far. For salvage, what can't be told of is data. */
async function classify(job: CopyJob, offset: number): Promise<Chunk> {
  const part = partAt(job.parts, offset);
  const within = offset - part.start;
  const left = Math.min(part.length - within, offset < job.backingEnd ? job.backingEnd - offset : part.length);
  const zeroKind = offset < job.backingEnd ? 'zero' : 'backing';
  if (within >= part.node.length) return { kind: zeroKind, offset, length: left };
  const base =
    job.targetHasBacking && job.parts.length === 1
      ? (part.node.skipFilters().backing as BlockNode | undefined)
      : undefined;
  let status: Awaited<ReturnType<typeof part.node.chainStatus>> | undefined;
  for (let asked = Math.min(left, part.node.length - within); !status; ) {
    try {
      status = await part.node.chainStatus(within, asked, base);
    } catch (error) {
      const sentence = `error while reading block status at offset ${offset}: ${errorText(errorCode(error))}`;
      if (!job.isSalvage) throw new BlockError(errorCode(error), sentence);
      if (asked <= sectorBytes) {
        if (!job.tool.quiet) job.tool.warn(sentence);
        return { kind: 'data', offset, length: Math.min(left, sectorBytes) };
      }
      // Shorter, up to the sector that can't be told of.
      asked = alignUp(asked / 4, sectorBytes);
    }
  }
  const kind: ChunkKind = status.zero ? zeroKind : status.data ? 'data' : job.targetHasBacking ? 'backing' : 'zero';
  let length = Math.min(status.length, left);
  // A sector at the end of a part that is no whole sector counts as one.
  if (within + length === part.node.length && part.length > part.node.length)
    length = Math.min(left, Math.ceil(length / sectorBytes) * sectorBytes);
  const isPlain = kind === 'data' && status.offset !== undefined && status.file !== undefined && !status.compressed;
  return {
    kind,
    offset,
    length,
    isPacked: status.compressed === true,
    ...(isPlain ? { place: { file: status.file!, offset: status.offset! } } : {}),
  };
}

/** Runs of zero and other bytes, alternating, in whole grains relative to the disk's start. */
function* sparseRuns(
  isZero: (bytes: Uint8Array) => boolean,
  bytes: Uint8Array,
  offset: number,
  minSparse: number,
  grain: number,
): Generator<{ readonly zero: boolean; readonly from: number; readonly to: number }> {
  const length = bytes.length;
  let runStart = 0;
  let at = 0;
  while (at < length) {
    // Past data, look for zeroes that last at least `minSparse`.
    const step = Math.min(length - at, grain - ((offset + at) % grain));
    if (!isZero(bytes.subarray(at, at + step))) {
      at += step;
      continue;
    }
    let end = at + step;
    while (end < length) {
      const next = Math.min(grain, length - end);
      if (!isZero(bytes.subarray(end, end + next))) break;
      end += next;
    }
    if (end - at >= minSparse || end === length || at === 0) {
      if (at > runStart) yield { zero: false, from: runStart, to: at };
      yield { zero: true, from: at, to: end };
      runStart = end;
    }
    at = end;
  }
  if (runStart < length) yield { zero: false, from: runStart, to: length };
}

async function readChunk(job: CopyJob, chunk: Chunk, buffer: Uint8Array): Promise<void> {
  const { runs } = chunk;
  try {
    await readRun(job, chunk.offset, buffer);
  } catch (error) {
    // Once more in the runs that it was joined of, to tell which of them can't be read.
    if (!runs || runs.length === 1) throw error;
    let at = 0;
    for (const length of runs) {
      await readRun(job, chunk.offset + at, buffer.subarray(at, at + length));
      at += length;
    }
  }
}

async function readRun(job: CopyJob, offset: number, buffer: Uint8Array): Promise<void> {
  let at = 0;
  while (at < buffer.length) {
    const part = partAt(job.parts, offset + at);
    const within = offset + at - part.start;
    const size = Math.min(buffer.length - at, part.length - within);
    const piece = buffer.subarray(at, at + size);
    try {
      await part.node.read(within, piece);
    } catch (error) {
      if (!job.isSalvage)
        throw new BlockError(
          errorCode(error),
          `error while reading at byte ${offset + at}: ${errorText(errorCode(error))}`,
        );
      await salvage(job, part, within, piece, offset + at);
    }
    at += size;
  }
}

/** Sector by sector; what can't be read becomes zero, with a warning. */
async function salvage(job: CopyJob, part: Part, within: number, piece: Uint8Array, offset: number): Promise<void> {
  for (let at = 0; at < piece.length; at += sectorBytes) {
    const sector = piece.subarray(at, at + sectorBytes);
    try {
      await part.node.read(within + at, sector);
    } catch (error) {
      if (!job.tool.quiet) job.tool.warn(`error while reading offset ${offset + at}: ${errorText(errorCode(error))}`);
      sector.fill(0);
    }
  }
}

/** What follows the first `length` bytes of a chunk. */
function restOf(chunk: Chunk, length: number): Chunk {
  const { place } = chunk;
  const rest = { ...chunk, offset: chunk.offset + length, length: chunk.length - length };
  return place ? { ...rest, place: { file: place.file, offset: place.offset + length } } : rest;
}

/** Reads a chunk where its bytes are at hand, or does nothing: the bytes, in `buffer`. */
function readNow(job: CopyJob, chunk: Chunk, buffer: Uint8Array): Uint8Array | undefined {
  const part = partAt(job.parts, chunk.offset);
  const within = chunk.offset - part.start;
  if (chunk.length > buffer.length || within + chunk.length > part.length) return undefined;
  const bytes = buffer.subarray(0, chunk.length);
  return part.node.readNow(within, bytes) ? bytes : undefined;
}

/** Only data are longer than a buffer, where the system was to copy them and would not. */
function piecesOf(chunk: Chunk, most: number): readonly Chunk[] {
  if (chunk.kind !== 'data' || chunk.length <= most) return [chunk];
  const pieces: Chunk[] = [];
  for (let at = 0; at < chunk.length; at += most)
    pieces.push({ kind: 'data', offset: chunk.offset + at, length: Math.min(most, chunk.length - at) });
  return pieces;
}

/** `-C`: has the host copy the bytes; false when it can't. */
async function copyRange(job: CopyJob, chunk: Chunk): Promise<boolean> {
  const length = Math.min(chunk.length, job.target.length - chunk.offset);
  if (length <= 0) return true;
  try {
    return await job.target.copyRange(chunk.offset, chunk.place!.file, chunk.place!.offset, length);
  } catch (error) {
    throw new BlockError(
      errorCode(error),
      `error while writing at byte ${chunk.offset}: ${errorText(errorCode(error))}`,
    );
  }
}

async function writeZero(job: CopyJob, offset: number, length: number): Promise<void> {
  if (job.isCompressed && !job.targetHasBacking && job.isZeroInit) return;
  if (job.isZeroInit && !job.targetHasBacking) return;
  await job.target.writeZeroes(offset, length, job.minSparse > 0 ? RequestFlag.mayUnmap : 0);
}

/** Calls `begun` when the last request that data go with has begun, or nothing more is to be written. */
async function writeChunk(job: CopyJob, chunk: Chunk, buffer: Uint8Array, begun: () => void): Promise<void> {
  const { target, tool } = job;
  // A target shorter than the rounded sum of the parts ends inside the last sector.
  const most = Math.max(0, Math.min(chunk.length, target.length - chunk.offset));
  if (most === 0) return;
  try {
    if (chunk.kind === 'zero') {
      if (job.minSparse === 0 && !job.targetHasBacking)
        await writePlain(job, chunk.offset, new Uint8Array(Math.min(most, chunkBytes)), most);
      else await writeZero(job, chunk.offset, most);
      return;
    }
    const bytes = buffer.subarray(0, most);
    if (job.isCompressed) {
      await writeCompressed(job, chunk.offset, bytes);
      return;
    }
    const runs =
      job.minSparse === 0 || (most >= grainBytes && !couldBeSparse(tool, bytes))
        ? [{ zero: false, from: 0, to: most }]
        : [...sparseRuns((part) => tool.host.isZero(part), bytes, chunk.offset, job.minSparse, grainBytes)];
    const lastData = runs.findLast((run) => !run.zero);
    for (const run of runs) {
      if (run.zero) await writeZero(job, chunk.offset + run.from, run.to - run.from);
      else {
        const written = target.write(chunk.offset + run.from, bytes.subarray(run.from, run.to));
        if (run === lastData) begun();
        await written;
      }
    }
  } catch (error) {
    throw new BlockError(
      errorCode(error),
      `error while writing at byte ${chunk.offset}: ${errorText(errorCode(error))}`,
    );
  }
}

/** A grain of zero bytes begins with one: the first word of each grain rules most data out. */
function couldBeSparse(tool: Tool, bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += grainBytes) {
    if (bytes[at] === 0 && tool.host.isZero(bytes.subarray(at, at + grainBytes))) return true;
  }
  return false;
}

async function writePlain(job: CopyJob, offset: number, zeroes: Uint8Array, length: number): Promise<void> {
  const flags = job.isCompressed ? RequestFlag.compressed : 0;
  for (let at = 0; at < length; at += zeroes.length)
    await job.target.write(offset + at, zeroes.subarray(0, Math.min(zeroes.length, length - at)), flags);
}

/** Whole clusters; runs of zero ones are skipped. */
async function writeCompressed(job: CopyJob, offset: number, bytes: Uint8Array): Promise<void> {
  const { clusterBytes, target, tool } = job;
  let start = 0;
  for (let at = 0; at < bytes.length; at += clusterBytes) {
    const cluster = bytes.subarray(at, at + clusterBytes);
    if (job.minSparse === 0 || !tool.host.isZero(cluster)) continue;
    if (at > start) await target.write(offset + start, bytes.subarray(start, at), RequestFlag.compressed);
    await writeZero(job, offset + at, cluster.length);
    start = at + cluster.length;
  }
  if (start < bytes.length) await target.write(offset + start, bytes.subarray(start), RequestFlag.compressed);
}

export async function copyDisk(job: CopyJob): Promise<void> {
  const { tool, total } = job;
  const unit = job.isCompressed ? job.clusterBytes : sectorBytes;
  const most = job.isCompressed ? Math.max(chunkBytes, job.clusterBytes) : chunkBytes;
  /** Data end where a multiple of the largest chunk does, so that two chunks share no cluster only because they were cut there. */
  const mostOf = (chunk: Chunk): number => {
    if (job.isCompressed) return most;
    const plain = chunk.isPacked ? chunkBytes : plainChunkBytes;
    const size = chunk.place && canCopyRange && job.bytesPerSecond === 0 ? copyRangeBytes : plain;
    return size - (chunk.offset % size);
  };
  const buffers: Uint8Array[] = [];
  const running = new Set<Promise<void>>();
  /** Writes of chunks that were read at once, oldest first. */
  const writing: Promise<void>[] = [];
  /** The last chunk's write has begun, has ended; the one before it has ended. */
  let begun: Promise<void> = Promise.resolve();
  let ended: Promise<void> = Promise.resolve();
  let endedBefore: Promise<void> = Promise.resolve();
  let writtenEnd = 0;
  /** The write before this one gives a cluster its place that this one goes on in: what it does beyond comes later, in a request of its own. */
  const sharesCluster = (chunk: Chunk): boolean => {
    const isShared = Math.ceil(writtenEnd / job.clusterBytes) > Math.floor(chunk.offset / job.clusterBytes);
    writtenEnd = chunk.offset + chunk.length;
    return isShared;
  };
  let failure: unknown;
  let done = 0;
  let copiedNow = 0;
  let tried = 0;
  let offset = 0;
  const startNs = tool.host.monotonicNs();
  const finish = (length: number): void => {
    done += length;
    tool.progress((done * 100) / total);
  };
  /** What was found behind the last chunk. */
  let ahead: Chunk | undefined;
  let canCopyRange = job.isCopyRange;
  const look = async (at: number): Promise<Chunk> => (ahead?.offset === at ? ahead : await classify(job, at));
  const next = async (): Promise<Chunk> => {
    const first = await look(offset);
    let { kind, length } = first;
    const runs: number[] = [];
    if (kind === 'data') {
      // Runs of data that follow each other (the clusters of a fragmented or compressed image) travel together.
      const limit = mostOf(first);
      length = Math.min(length, limit);
      runs.push(length);
      if (length < first.length) ahead = restOf(first, length);
      while (length < limit && offset + length < total && !job.isCopyRange) {
        const more = await look(offset + length);
        ahead = more;
        if (more.kind !== 'data') break;
        const size = Math.min(more.length, limit - length);
        runs.push(size);
        length += size;
        if (size < more.length) ahead = restOf(more, size);
      }
    }
    if (job.isCompressed) {
      // A compressed write needs whole clusters, whatever they are made of.
      if (kind === 'data' || length % unit !== 0) {
        length = Math.min(
          total - offset,
          kind === 'data' ? Math.min(most, Math.ceil(length / unit) * unit) : length - (length % unit),
        );
        if (length === 0) {
          length = Math.min(unit, total - offset);
          kind = 'data';
        }
      }
    }
    if (kind !== 'data' || job.isCompressed) return { kind, offset, length };
    return { kind, offset, length, runs, ...(first.place && job.isCopyRange ? { place: first.place } : {}) };
  };
  const writeBehind = async (
    chunk: Chunk,
    bytes: Uint8Array,
    buffer: Uint8Array,
    isSplit: boolean,
    begin: () => void,
  ): Promise<void> => {
    try {
      await writeChunk(job, chunk, bytes, isSplit ? nothing : begin);
      finish(chunk.length);
    } catch (error) {
      failure ??= error;
    }
    begin();
    buffers.push(buffer);
  };
  while (offset < total && failure === undefined) {
    const chunk = await next();
    offset += chunk.length;
    if (
      chunk.kind === 'backing' ||
      (chunk.kind === 'zero' && job.isZeroInit && !job.targetHasBacking && job.minSparse > 0)
    ) {
      finish(chunk.length);
      continue;
    }
    while (running.size >= job.workers) await Promise.race(running);
    if (failure !== undefined) break;
    if (job.bytesPerSecond > 0) await pace(tool, startNs, done, job.bytesPerSecond);
    if (++tried % triedChunks === 0) await Promise.all(running);
    if (chunk.kind === 'data' && running.size === 0 && !job.isCompressed && !(chunk.place && canCopyRange)) {
      // From the page cache there is nothing to wait for.
      const buffer = buffers.pop() ?? tool.host.allocateShared(most);
      const bytes = readNow(job, chunk, buffer);
      if (bytes) {
        if (writing.length === (job.writesOverlap ? writesBehind : 1)) await writing.shift();
        await begun;
        const isSplit = sharesCluster(chunk);
        if (isSplit) await Promise.all(writing);
        if (failure !== undefined) break;
        begun = new Promise((begin) => {
          writing.push(writeBehind(chunk, bytes, buffer, isSplit, begin));
        });
        if (++copiedNow % turnChunks === 0) await new Promise(setImmediate);
        continue;
      }
      buffers.push(buffer);
    }
    await Promise.all(writing);
    if (failure !== undefined) break;
    const isSplit = sharesCluster(chunk);
    const turn = job.writesOverlap && !isSplit ? Promise.all([begun, endedBefore]) : ended;
    const allWritten = ended;
    let begin = (): void => undefined;
    let end = (): void => undefined;
    if (!job.isUnordered) {
      begun = new Promise((resolve) => {
        begin = resolve;
      });
      endedBefore = ended;
      ended = new Promise((resolve) => {
        end = resolve;
      });
    }
    const work = (async () => {
      let buffer: Uint8Array | undefined;
      try {
        if (chunk.place && canCopyRange) {
          await allWritten;
          if (await copyRange(job, chunk)) {
            finish(chunk.length);
            return;
          }
          // What can't be done once can't be done at all.
          canCopyRange = false;
        }
        for (const piece of piecesOf(chunk, most)) {
          if (chunk.kind === 'data') {
            buffer ??= buffers.pop() ?? tool.host.allocateShared(most);
            await readChunk(job, piece, buffer.subarray(0, piece.length));
          }
          await turn;
          if (failure !== undefined) break;
          await writeChunk(job, piece, (buffer ?? noBytes).subarray(0, piece.length), isSplit ? nothing : begin);
        }
        finish(chunk.length);
      } catch (error) {
        failure ??= error;
      } finally {
        begin();
        end();
        if (buffer) buffers.push(buffer);
      }
    })();
    running.add(work);
    work.finally(() => running.delete(work));
  }
  await Promise.all([...running, ...writing]);
  if (failure !== undefined) throw failure;
  if (job.isCompressed) await job.target.write(0, new Uint8Array(0), RequestFlag.compressed);
}

async function pace(tool: Tool, startNs: number, done: number, bytesPerSecond: number): Promise<void> {
  const dueNs = (done / bytesPerSecond) * 1e9;
  const spent = tool.host.monotonicNs() - startNs;
  if (dueNs > spent) await tool.host.sleepMs((dueNs - spent) / 1e6);
}
