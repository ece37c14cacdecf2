/**
 * `img convert`: copies one or more images, seen as one disk, into a new image.
 *
 * Chunks of up to 2 MiB that are in the page cache are read and written one after the other. Others are read several at a time and
 * written in the order of the disk (any order with -W), so that source, compression and target work at once. Where a format finds places for data in the order of requests, one write and the next are under
 * way together. What the source says is zero is not read; what turns out to be zero is not written.
 */
import { alignUp } from '../../block/alignment.js';
import { BlockError, errorCode, errorText, toBlockError } from '../../block/errors.js';
import type { GraphNode } from '../../block/graph-node.js';
import { type BlockNode, Permission, RequestFlag } from '../../block/node.js';
import { type OptionDict, parseBoolean, parseOptionString } from '../../block/options.js';
import { findRow, loadDriver } from '../../block/registry.js';
import { tuneForCopying } from '../../host/node/engine-flags.js';
import { createChecked, printCreateHelp } from './create.js';
import { hasHelpOption, joinOptions, type Tool } from './tool.js';

const chunkBytes = 2 ** 21;
/** What the system copies by itself goes in larger pieces: nothing is held in memory. */
const copyRangeBytes = 2 ** 24;
const sectorBytes = 512;
/** After so many chunks that nothing was waited for signals are heard. */
const turnChunks = 32;
/** After so many it is tried again whether something has to be waited for. */
const triedChunks = 16;
/** Zero runs are looked for in steps of this. */
const grainBytes = 4096;
const noBytes = new Uint8Array(0);

interface Part {
  readonly node: GraphNode;
  /** Place in the disk that all parts make. */
  readonly start: number;
  readonly length: number;
}

interface Job {
  readonly tool: Tool;
  readonly parts: readonly Part[];
  readonly target: GraphNode;
  readonly total: number;
  readonly minSparse: number;
  readonly isCompressed: boolean;
  readonly clusterBytes: number;
  readonly isZeroInit: boolean;
  readonly targetHasBacking: boolean;
  readonly workers: number;
  readonly isUnordered: boolean;
  /** A write may begin when the one before it has begun. */
  readonly writesOverlap: boolean;
  readonly isSalvage: boolean;
  readonly isCopyRange: boolean;
  readonly bytesPerSecond: number;
}

/** Formats that give data its place when a request begins, as long as it is not compressed. */
const placesInOrder = new Set(['raw', 'qcow2']);

type ChunkKind = 'data' | 'zero' | 'backing';

interface Chunk {
  readonly kind: ChunkKind;
  readonly offset: number;
  readonly length: number;
  /** Lengths of the runs that it was joined of. */
  readonly runs?: readonly number[];
  /** Where its bytes are stored as they are. */
  readonly place?: { readonly file: BlockNode; readonly offset: number };
}

function partAt(parts: readonly Part[], offset: number): Part {
  return parts.find((part) => offset < part.start + part.length)!;
}

/** What lies at `offset` and how far. For salvage, what can't be told of is data. */
async function classify(job: Job, offset: number): Promise<Chunk> {
  const part = partAt(job.parts, offset);
  const within = offset - part.start;
  const left = part.length - within;
  if (within >= part.node.length) return { kind: 'zero', offset, length: left };
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
  const kind: ChunkKind = status.zero ? 'zero' : status.data ? 'data' : job.targetHasBacking ? 'backing' : 'zero';
  let length = Math.min(status.length, left);
  // A sector at the end of a part that is no whole sector counts as one.
  if (within + length === part.node.length && part.length > part.node.length)
    length = Math.min(left, Math.ceil(length / sectorBytes) * sectorBytes);
  const isPlain = kind === 'data' && status.offset !== undefined && status.file !== undefined && !status.compressed;
  return { kind, offset, length, ...(isPlain ? { place: { file: status.file!, offset: status.offset! } } : {}) };
}

/** Runs of zero and other bytes, alternating, in whole grains relative to the disk's start. */
export function* sparseRuns(
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

async function readChunk(job: Job, chunk: Chunk, buffer: Uint8Array): Promise<void> {
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

async function readRun(job: Job, offset: number, buffer: Uint8Array): Promise<void> {
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
async function salvage(job: Job, part: Part, within: number, piece: Uint8Array, offset: number): Promise<void> {
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
  const { kind, place } = chunk;
  const rest = { kind, offset: chunk.offset + length, length: chunk.length - length };
  return place ? { ...rest, place: { file: place.file, offset: place.offset + length } } : rest;
}

/** Reads a chunk where its bytes are at hand, or does nothing: the bytes, in `buffer`. */
function readNow(job: Job, chunk: Chunk, buffer: Uint8Array): Uint8Array | undefined {
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
async function copyRange(job: Job, chunk: Chunk): Promise<boolean> {
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

async function writeZero(job: Job, offset: number, length: number): Promise<void> {
  if (job.isCompressed && !job.targetHasBacking && job.isZeroInit) return;
  if (job.isZeroInit && !job.targetHasBacking) return;
  await job.target.writeZeroes(offset, length, job.minSparse > 0 ? RequestFlag.mayUnmap : 0);
}

async function writeChunk(job: Job, chunk: Chunk, buffer: Uint8Array): Promise<void> {
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
    if (job.minSparse === 0 || (most >= grainBytes && !couldBeSparse(tool, bytes))) {
      await target.write(chunk.offset, bytes);
      return;
    }
    for (const run of sparseRuns((part) => tool.host.isZero(part), bytes, chunk.offset, job.minSparse, grainBytes)) {
      if (run.zero) await writeZero(job, chunk.offset + run.from, run.to - run.from);
      else await target.write(chunk.offset + run.from, bytes.subarray(run.from, run.to));
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

async function writePlain(job: Job, offset: number, zeroes: Uint8Array, length: number): Promise<void> {
  for (let at = 0; at < length; at += zeroes.length)
    await job.target.write(offset + at, zeroes.subarray(0, Math.min(zeroes.length, length - at)));
}

/** Whole clusters; runs of zero ones are skipped. */
async function writeCompressed(job: Job, offset: number, bytes: Uint8Array): Promise<void> {
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

async function copyAll(job: Job): Promise<void> {
  const { tool, total } = job;
  const unit = job.isCompressed ? job.clusterBytes : sectorBytes;
  const most = job.isCompressed ? Math.max(chunkBytes, job.clusterBytes) : chunkBytes;
  const mostOf = (chunk: Chunk): number =>
    chunk.place && canCopyRange && job.bytesPerSecond === 0 ? copyRangeBytes : most;
  const buffers: Uint8Array[] = [];
  const running = new Set<Promise<void>>();
  /** The last chunk's write has begun, has ended; the one before it has ended. */
  let begun: Promise<void> = Promise.resolve();
  let ended: Promise<void> = Promise.resolve();
  let endedBefore: Promise<void> = Promise.resolve();
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
      length = Math.min(length, mostOf(first));
      runs.push(length);
      if (length < first.length) ahead = restOf(first, length);
      while (length < most && offset + length < total && !job.isCopyRange) {
        const more = await look(offset + length);
        ahead = more;
        if (more.kind !== 'data') break;
        const size = Math.min(more.length, most - length);
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
      // From the page cache into the page cache: the processors have nothing to wait for, and threads no work that is worth waking them.
      const buffer = buffers.pop() ?? tool.host.allocateShared(most);
      buffers.push(buffer);
      const bytes = readNow(job, chunk, buffer);
      if (bytes) {
        await writeChunk(job, chunk, bytes);
        finish(chunk.length);
        if (++copiedNow % turnChunks === 0) await new Promise(setImmediate);
        continue;
      }
    }
    const turn = job.writesOverlap ? Promise.all([begun, endedBefore]) : ended;
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
          const written = writeChunk(job, piece, (buffer ?? noBytes).subarray(0, piece.length));
          begin();
          await written;
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
  await Promise.all(running);
  if (failure !== undefined) throw failure;
  if (job.isCompressed) await job.target.write(0, new Uint8Array(0), RequestFlag.compressed);
}

async function pace(tool: Tool, startNs: number, done: number, bytesPerSecond: number): Promise<void> {
  const dueNs = (done / bytesPerSecond) * 1e9;
  const spent = tool.host.monotonicNs() - startNs;
  if (dueNs > spent) await tool.host.sleepMs((dueNs - spent) / 1e6);
}

/** A mistake in what `-l` names is told before anything is opened. */
export function checkSnapshotParameter(tool: Tool, text: string): void {
  if (!text.startsWith('snapshot.')) return;
  const unknown = Object.keys(parseOptionString(text)).find((key) => key !== 'snapshot.id' && key !== 'snapshot.name');
  if (unknown === undefined) return;
  tool.error(`Invalid parameter '${unknown}'`);
  tool.fail(`Failed in parsing snapshot param '${text}'`);
}

/** `-l`, checked: `snapshot.id=…,snapshot.name=…`, or an id or a name. */
export async function loadSnapshotParameter(tool: Tool, node: GraphNode, text: string): Promise<void> {
  const { snapshots } = node.instance;
  try {
    if (!snapshots) throw new BlockError('ENOTSUP', `Device '${node.filename}' does not support internal snapshots`);
    if (text.startsWith('snapshot.')) {
      const options = parseOptionString(text);
      await snapshots.load(
        options['snapshot.id'] as string | undefined,
        options['snapshot.name'] as string | undefined,
      );
      return;
    }
    const list = await snapshots.list();
    if (list.some((snapshot) => snapshot.id === text)) await snapshots.load(text, undefined);
    else await snapshots.load(undefined, text);
  } catch (error) {
    tool.failWith('Failed to load snapshot: ', error);
  }
}

export async function convert(tool: Tool, argv: readonly string[]): Promise<number> {
  const { options, operands } = tool.parse(argv, [
    { key: 'format', short: 'f', value: true },
    { key: 'target', short: 'O', value: true },
    { key: 'backing', short: 'B', value: true },
    { key: 'backingFormat', short: 'F', value: true },
    { key: 'copyRange', short: 'C' },
    { key: 'compress', short: 'c' },
    { key: 'options', short: 'o', value: true },
    { key: 'snapshot', short: 'l', value: true },
    { key: 'sparse', short: 'S', value: true },
    { key: 'progress', short: 'p' },
    { key: 'cache', short: 't', value: true },
    { key: 'sourceCache', short: 'T', value: true },
    { key: 'quiet', short: 'q' },
    { key: 'noCreate', short: 'n' },
    { key: 'workers', short: 'm', value: true },
    { key: 'unordered', short: 'W' },
    { key: 'share', short: 'U', long: 'force-share' },
    { key: 'rate', short: 'r', value: true },
    { key: 'object', long: 'object', value: true },
    { key: 'sourceOptions', long: 'source-image-opts' },
    { key: 'imageOptions', long: 'image-opts' },
    { key: 'targetOptions', long: 'target-image-opts' },
    { key: 'salvage', long: 'salvage' },
    { key: 'zeroTarget', long: 'target-is-zero' },
    { key: 'bitmaps', long: 'bitmaps' },
    { key: 'skipBroken', long: 'skip-broken-bitmaps' },
  ]);
  let [format, target, backing, backingFormat, optionText, snapshotName]: (string | undefined)[] = [];
  let [isCompressed, isProgress, noCreate, isUnordered, forceShare, imageOptions, targetOptions] = [
    false,
    false,
    false,
    false,
    false,
    false,
    false,
  ];
  let [isSalvage, isZeroTarget, withBitmaps, skipBroken, isCopyRange] = [false, false, false, false, false];
  let cacheMode = 'unsafe';
  let sourceCache = 'writeback';
  let minSparse = 4096;
  let isExplicitSparse = false;
  let workers = 8;
  let bytesPerSecond = 0;
  for (const [key, value] of options) {
    if (key === 'format') format = value;
    else if (key === 'target') target = value;
    else if (key === 'backing') backing = value;
    else if (key === 'backingFormat') backingFormat = value;
    else if (key === 'copyRange') isCopyRange = true;
    else if (key === 'compress') isCompressed = true;
    else if (key === 'options') optionText = joinOptions(optionText, value, tool);
    else if (key === 'snapshot') {
      checkSnapshotParameter(tool, value);
      snapshotName = value;
    } else if (key === 'sparse') {
      const size = tool.size(value, 'buffer size for sparse output');
      if (size % sectorBytes !== 0 || size > 16777216) {
        tool.fail(
          'Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to 16777216. Select 0 to disable sparse detection (fully allocates output).',
        );
      }
      minSparse = size;
      isExplicitSparse = true;
    } else if (key === 'progress') isProgress = true;
    else if (key === 'cache') cacheMode = value;
    else if (key === 'sourceCache') sourceCache = value;
    else if (key === 'quiet') tool.quiet = true;
    else if (key === 'noCreate') noCreate = true;
    else if (key === 'workers') {
      workers = /^\d+$/.test(value) ? Number(value) : 0;
      if (workers < 1 || workers > 16)
        tool.fail('Invalid number of coroutines. Allowed number of coroutines is between 1 and 16');
    } else if (key === 'unordered') isUnordered = true;
    else if (key === 'share') forceShare = true;
    else if (key === 'rate') bytesPerSecond = tool.size(value, 'rate limit');
    else if (key === 'object') await tool.addObject(value);
    else if (key === 'imageOptions' || key === 'sourceOptions') imageOptions = true;
    else if (key === 'targetOptions') targetOptions = true;
    else if (key === 'salvage') isSalvage = true;
    else if (key === 'zeroTarget') isZeroTarget = true;
    else if (key === 'bitmaps') withBitmaps = true;
    else if (key === 'skipBroken') skipBroken = true;
  }
  if (target === undefined && !targetOptions) target = 'raw';
  if (isZeroTarget && !noCreate) tool.fail('--target-is-zero requires use of -n flag');
  if (targetOptions && !noCreate) tool.fail('--target-image-opts requires use of -n flag');
  if (noCreate && optionText !== undefined) tool.fail('-o has no effect when skipping image creation');
  if (isCopyRange && isCompressed) tool.fail('Cannot enable copy offloading when -c is used');
  if (isCopyRange && isExplicitSparse) tool.fail('Cannot enable copy offloading when -S is used');
  if (isSalvage && isCopyRange) tool.fail('Cannot use copy offloading in salvaging mode');
  if (skipBroken && !withBitmaps) tool.fail('Use of --skip-broken-bitmaps requires --bitmaps');
  if (optionText !== undefined && hasHelpOption(optionText))
    return printCreateHelp(tool, target ?? 'raw', operands.length > 1 ? operands.at(-1) : undefined);
  if (operands.length < 2) tool.fail('Must specify image file name');
  const outName = operands.at(-1)!;
  const inNames = operands.slice(0, -1);
  const targetCache = tool.cache(cacheMode);
  const sourceFlags = tool.cache(sourceCache, 'source cache option');
  tool.startProgress(isProgress, 1);
  tool.progress(0);
  const parts: Part[] = [];
  let targetNode: GraphNode | undefined;
  try {
    let total = 0;
    for (const filename of inNames) {
      const node = await tool.open({
        filename,
        format,
        imageOptions,
        forceShare,
        flags: { ...sourceFlags, readOnly: true },
        // The target must not be the source itself, whose contents would be gone before they are read.
        shared: Permission.consistentRead | Permission.writeUnchanged,
      });
      const length = inNames.length > 1 ? Math.ceil(node.length / sectorBytes) * sectorBytes : node.length;
      parts.push({ node, start: total, length });
      total += length;
    }
    if (snapshotName !== undefined) {
      if (parts.length > 1) tool.fail('No support for concatenating multiple snapshot');
      await loadSnapshotParameter(tool, parts[0]!.node, snapshotName);
      const { node } = parts[0]!;
      parts[0] = { node, start: 0, length: node.length };
      total = node.length;
    }
    const source = parts[0]!.node;
    const dict: OptionDict = optionText === undefined ? {} : parseOptionString(optionText);
    let backingName: string | undefined = backing;
    const refuseBackingOfMany = (name: string | undefined): void => {
      if (parts.length > 1 && name !== undefined)
        tool.fail('Having a backing file for the target makes no sense when concatenating multiple input images');
    };
    if (!noCreate) {
      if (!findRow(target!)) tool.fail(`Unknown file format '${target}'`);
      const driver = await loadDriver(target!);
      if (!driver.createOptions) tool.fail(`Format driver '${target}' does not support image creation`);
      const rows = await tool.graph.createRows(target!, outName);
      const unknown = Object.keys(dict).find((key) => !rows.some((row) => row.name === key));
      if (unknown !== undefined) tool.fail(`Invalid parameter '${unknown}'`);
      backingName ??= dict['backing_file'] as string | undefined;
      if (backing !== undefined) {
        if (!rows.some((row) => row.name === 'backing_file'))
          tool.fail(`Backing file not supported for file format '${target}'`);
        dict['backing_file'] = backing;
      }
      if (backingFormat !== undefined) dict['backing_fmt'] = backingFormat;
      refuseBackingOfMany(backingName);
      if (backingName !== undefined && dict['backing_fmt'] === undefined)
        tool.fail('Use of backing file requires explicit backing format');
      if (isCompressed && !(await supportsCompression(target!)))
        tool.fail('Compression not supported for this file format');
      if (isCompressed) {
        if (
          (dict['encryption'] !== undefined && parseBoolean('encryption', dict['encryption'])) ||
          dict['encrypt.format'] !== undefined
        )
          tool.fail('Compression and encryption not supported at the same time');
        if (dict['preallocation'] !== undefined && dict['preallocation'] !== 'off')
          tool.fail('Compression and preallocation not supported at the same time');
      }
      const size = Math.ceil(total / sectorBytes) * sectorBytes;
      dict['size'] = size;
    }
    refuseBackingOfMany(backingName);
    if (withBitmaps) {
      if (parts.length > 1) tool.fail('Copying bitmaps only possible with single source');
      if (!source.skipFilters().instance.persistentBitmaps?.isSupported) tool.fail('Source lacks bitmap support');
      const broken = brokenBitmaps(source)[0];
      if (broken && !skipBroken) {
        tool.error(`Cannot copy inconsistent bitmap '${broken.name}'`);
        tool.io.err("Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it\n");
        return 1;
      }
    }
    if (!noCreate) {
      try {
        await createChecked(tool, target!, outName, dict);
      } catch (error) {
        tool.failWith(`${outName}: error while converting ${target}: `, error);
      }
    }
    targetNode = await tool.open({
      filename: outName,
      format: targetOptions
        ? target
        : noCreate && target === 'raw' && !options.some(([key]) => key === 'target')
          ? 'raw'
          : target,
      imageOptions: targetOptions,
      // A new encrypted image is opened with the key that it was made with.
      options: Object.fromEntries(Object.entries(dict).filter(([key]) => key.endsWith('key-secret'))),
      flags: { ...targetCache, readOnly: false, unmap: true, noBacking: false },
    });
    if (withBitmaps && !targetNode.skipFilters().instance.persistentBitmaps?.isSupported)
      tool.fail(`Format driver '${targetNode.driver.name}' does not support bitmaps`);
    if (isCompressed && !targetNode.instance.writeCompressed)
      tool.fail('Compression not supported for this file format');
    if (backingName !== undefined && !targetNode.skipFilters().backing && !noCreate) tool.fail('Backing file missing');
    if (noCreate && targetNode.length < total) tool.fail('output file is smaller than input file');
    const targetHasBacking = targetNode.skipFilters().backing !== undefined;
    const info = await targetNode.getInfo();
    const clusterBytes = info.clusterSizeBytes ?? 0;
    if (isCompressed && (clusterBytes <= 0 || clusterBytes > 2 ** 25)) tool.fail('invalid cluster size');
    let isZeroInit =
      isZeroTarget || (!noCreate && !targetHasBacking && (targetNode.instance.zeroInit ?? rawZeroInit(targetNode)));
    if (!isZeroInit && !targetHasBacking && noCreate && minSparse > 0) {
      // One call may clear the whole target cheaper than many pieces.
      try {
        await targetNode.writeZeroes(0, targetNode.length, RequestFlag.mayUnmap | RequestFlag.noFallback);
        isZeroInit = true;
      } catch (error) {
        if (errorCode(error) !== 'ENOTSUP') throw error;
      }
    }
    const writesCompressed = isCompressed || info.needsCompressedWrites === true;
    const job: Job = {
      tool,
      parts,
      target: targetNode,
      total,
      minSparse: noCreate && isExplicitSparse && minSparse === 0 ? 0 : minSparse,
      isCompressed: writesCompressed,
      writesOverlap: !writesCompressed && placesInOrder.has(targetNode.driver.name),
      clusterBytes: clusterBytes || 65536,
      isZeroInit,
      targetHasBacking,
      workers,
      isUnordered,
      isSalvage,
      isCopyRange,
      bytesPerSecond,
    };
    tuneForCopying();
    try {
      await copyAll(job);
    } catch (error) {
      tool.fail(toBlockError(error).message);
    }
    if (withBitmaps) await copyBitmaps(tool, source, targetNode, skipBroken);
    tool.progress(100);
    const finished = targetNode;
    targetNode = undefined;
    try {
      await finished.close();
    } catch (error) {
      tool.fail(`error while writing: ${toBlockError(error).message}`);
    }
    tool.endProgress();
    return 0;
  } finally {
    await targetNode?.close().catch(() => undefined);
    for (const part of parts) await part.node.close().catch(() => undefined);
  }
}

function rawZeroInit(node: GraphNode): boolean {
  return node.instance.zeroInit ?? false;
}

/** Known before anything is created, so that a refused command leaves no file. */
async function supportsCompression(format: string): Promise<boolean> {
  return format === 'qcow2' || format === 'qcow' || format === 'vmdk';
}

/** Those that can't be copied; QEMU comes upon the last one first. */
function brokenBitmaps(source: GraphNode): readonly { readonly name: string }[] {
  return source.bitmaps.filter(({ persistent, inconsistent }) => persistent && inconsistent).reverse();
}

/** `--bitmaps`: same granularity and recording state, same bits. */
async function copyBitmaps(tool: Tool, source: GraphNode, target: GraphNode, skipBroken: boolean): Promise<void> {
  const { SparseBitmap } = await import('../../block/dirty-bitmap.js');
  const { persistentBitmaps } = target.instance;
  if (skipBroken) for (const { name } of brokenBitmaps(source)) tool.warn(`Skipping inconsistent bitmap '${name}'`);
  for (const bitmap of source.bitmaps) {
    if (!bitmap.persistent || (bitmap.inconsistent && skipBroken)) continue;
    try {
      if (!persistentBitmaps) throw new BlockError('ENOTSUP', 'Driver does not support persistent bitmaps');
      await persistentBitmaps.canStore(bitmap.name, bitmap.granularity);
      const copy = new SparseBitmap(bitmap.name, bitmap.granularity, target.length);
      copy.persistent = true;
      copy.enabled = bitmap.enabled;
      copy.merge(bitmap);
      target.addBitmap(copy);
    } catch (error) {
      tool.failWith(`Failed to create bitmap ${bitmap.name}: `, error);
    }
  }
}
