/**
 * What every writable image format must withstand, as functions that the formats' tests call: power cuts at each point of the write log,
 * failing requests in the middle of work, and damaged images. Images are files in memory (src/block/testing/memory-host.ts).
 */
import assert from 'node:assert';
import { BlockError, errorCode } from '../../block/errors.js';
import { BlockGraph } from '../../block/graph.js';
import type { GraphNode } from '../../block/graph-node.js';
import { RequestFlag } from '../../block/node.js';
import type { OptionDict } from '../../block/options.js';
import { type LogEntry, type MemoryImage, memoryHost, randomFrom } from '../../block/testing/memory-host.js';
import { NodeBlockHost } from '../../host/node/block-host.js';

const sector = 512;
const real = new NodeBlockHost(() => undefined);

export interface FormatCase {
  readonly name: string;
  readonly format: string;
  readonly options: OptionDict;
  readonly diskBytes: number;
  /** Images that stand below, made first: a disk full of this value in each sector. */
  readonly backing?: { readonly file: string; readonly format: string; readonly value: number };
  /** Writes are whole clusters, each once (stream-optimized). */
  readonly onceOnly?: boolean;
  /** After a crash the image is to be repaired before it is used. */
  readonly needsRepair?: boolean;
  readonly steps?: number;
  /** Largest request in sectors. */
  readonly maxSectors?: number;
}

type Files = Map<string, MemoryImage>;

function cloneFiles(files: Files): Files {
  return new Map([...files].map(([path, image]) => [path, image.clone()]));
}

async function makeHost(how: FormatCase) {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  const { backing } = how;
  if (backing) {
    await graph.create(backing.format, backing.file, { size: how.diskBytes });
    const node = await graph.open({ filename: backing.file, format: backing.format, flags: { readOnly: false } });
    await node.write(0, new Uint8Array(how.diskBytes).fill(backing.value));
    await node.close();
  }
  await graph.create(how.format, 'disk', { size: how.diskBytes, ...how.options });
  return { host, graph };
}

function openDisk(graph: BlockGraph, how: FormatCase, isWriting: boolean, check = false): Promise<GraphNode> {
  return graph.open({ filename: 'disk', format: how.format, flags: { readOnly: !isWriting, unmap: true, check } });
}

// ---- one random request

interface Request {
  readonly first: number;
  readonly count: number;
  readonly value: number;
}

async function randomRequest(
  node: GraphNode,
  how: FormatCase,
  random: (below: number) => number,
  written: Set<number>,
  begin: (request: Request) => void,
): Promise<void> {
  const sectors = how.diskBytes / sector;
  const cluster = (await node.getInfo()).clusterSizeBytes ?? sector;
  if (how.onceOnly) {
    const at = random(Math.ceil(how.diskBytes / cluster));
    if (written.has(at)) return;
    const length = Math.min(cluster, how.diskBytes - at * cluster);
    const value = 1 + random(255);
    written.add(at);
    begin({ first: (at * cluster) / sector, count: length / sector, value });
    await node.write(at * cluster, new Uint8Array(length).fill(value));
    return;
  }
  const first = random(sectors);
  const count = Math.min(sectors - first, 1 + random(random(3) === 0 ? (how.maxSectors ?? 40) : 6));
  const kind = random(8);
  if (kind < 6) {
    const value = 1 + random(255);
    begin({ first, count, value });
    await node.write(first * sector, new Uint8Array(count * sector).fill(value));
  } else if (kind === 6) {
    begin({ first, count, value: 0 });
    await node.writeZeroes(first * sector, count * sector, random(2) ? RequestFlag.mayUnmap : 0);
  } else {
    const from = Math.ceil((first * sector) / cluster) * cluster;
    const to = Math.floor(((first + count) * sector) / cluster) * cluster;
    if (to <= from || !node.instance.discard) return;
    begin({ first: from / sector, count: (to - from) / sector, value: 0 });
    await node.discard(from, to - from);
  }
}

// ---- power cuts

interface Recording {
  readonly base: Files;
  readonly log: readonly LogEntry[];
  readonly writes: readonly (Request & { readonly begin: number })[];
  readonly flushes: readonly { readonly at: number; readonly values: Uint8Array }[];
}

async function record(how: FormatCase, seed: number): Promise<Recording> {
  const random = randomFrom(seed);
  const { host, graph } = await makeHost(how);
  const node = await openDisk(graph, how, true);
  const base = cloneFiles(host.files.images);
  host.files.log.length = 0;
  const values = new Uint8Array(how.diskBytes / sector).fill(how.backing?.value ?? 0);
  const writes: (Request & { begin: number })[] = [];
  const flushes = [{ at: 0, values: values.slice() }];
  const written = new Set<number>();
  for (let step = 0; step < (how.steps ?? 45); step++) {
    if (random(5) === 0) {
      await node.flush();
      flushes.push({ at: host.files.log.length, values: values.slice() });
      continue;
    }
    let request: Request | undefined;
    await randomRequest(node, how, random, written, (begun) => {
      request = begun;
      writes.push({ ...begun, begin: host.files.log.length });
    });
    if (request) values.fill(request.value, request.first, request.first + request.count);
  }
  const log = host.files.log.slice();
  await node.close();
  return { base, log, writes, flushes };
}

async function verify(how: FormatCase, recording: Recording, files: Files, cut: number, what: string): Promise<void> {
  const host = memoryHost(real);
  for (const [path, image] of files) host.files.images.set(path, image);
  const graph = new BlockGraph(host);
  if (how.needsRepair) {
    const node = await openDisk(graph, how, true, true);
    await node.instance.check!({ leaks: true, errors: true });
    await node.close();
  }
  const node = await openDisk(graph, how, false, true);
  if (node.instance.check) {
    const result = await node.instance.check({ leaks: false, errors: false });
    assert.deepEqual(
      [result.corruptions, result.checkErrors],
      [0, 0],
      `${what}: ${result.lines.slice(0, 4).join(' | ')}`,
    );
  }
  const contents = new Uint8Array(how.diskBytes);
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
      assert.ok(isWritten, `${what}: sector ${index} holds ${value}, flushed was ${flushed.values[index]}`);
    }
    for (let byte = at + 1; byte < at + sector; byte++)
      if (contents[byte] !== value) assert.fail(`${what}: sector ${index} is torn`);
  }
  // The image goes on being used.
  const writer = await openDisk(graph, how, true);
  if (!how.onceOnly) await writer.write(0, new Uint8Array(sector).fill(77));
  await writer.close();
}

/**
 * Cuts the power after each entry of the write log; and each time twice more with any part of what was written to each file since its
 * last sync lost. What was flushed must be there, a sector written since may hold any value written to it since, and a check may
 * find leaks at most.
 */
export async function cutPowerEverywhere(how: FormatCase, seed = 1, atLeast = 40): Promise<void> {
  const recording = await record(how, seed);
  const random = randomFrom(seed);
  const { log } = recording;
  const running = cloneFiles(recording.base);
  let cuts = 0;
  for (let cut = 0; cut <= log.length; cut++) {
    await verify(how, recording, cloneFiles(running), cut, `cut after ${cut} of ${log.length} writes`);
    cuts++;
    const synced = new Map<string, number>();
    for (let index = 0; index < cut; index++) if (log[index]!.kind === 'sync') synced.set(log[index]!.path, index);
    const isDurable = (index: number): boolean => index < (synced.get(log[index]!.path) ?? -1);
    let loose = 0;
    for (let index = 0; index < cut; index++) if (log[index]!.kind !== 'sync' && !isDurable(index)) loose++;
    for (let round = 0; loose > 1 && round < 2; round++) {
      const files = cloneFiles(recording.base);
      for (let index = 0; index < cut; index++)
        if (isDurable(index) || random(2) === 0) files.get(log[index]!.path)!.apply(log[index]!);
      await verify(how, recording, files, cut, `cut after ${cut} of ${log.length} writes, some lost (round ${round})`);
      cuts++;
    }
    const entry = log[cut];
    if (entry) running.get(entry.path)!.apply(entry);
  }
  assert.ok(cuts >= atLeast, `the log gave only ${cuts} cuts`);
}

// ---- failing requests

/** Lets one request to a random sector of the image's file fail. Gives whether the fault struck. */
export async function failOnce(how: FormatCase, code: string, errno: number, seed: number): Promise<boolean> {
  const random = randomFrom(seed);
  const { host, graph } = await makeHost(how);
  const fileSectors = (host.files.images.get('disk')!.size + how.diskBytes) / sector;
  const node = await graph
    .open({
      options: {
        driver: how.format,
        'file.driver': 'blkdebug',
        'file.image.driver': 'file',
        'file.image.filename': 'disk',
        'file.inject-error.0.event': 'none',
        'file.inject-error.0.errno': errno,
        'file.inject-error.0.once': true,
        // Headers and tables at the front are met more often than their share.
        'file.inject-error.0.sector': random([4, 64, fileSectors][random(3)]!),
        'file.inject-error.0.iotype': random(4) > 0 ? 'write' : 'read',
        ...(how.backing && { 'backing.driver': how.backing.format, 'backing.file.filename': how.backing.file }),
      },
      flags: { readOnly: false, unmap: true },
    })
    .catch((error) => {
      assert.equal(errorCode(error), code);
      return undefined;
    });
  if (!node) return true;
  let isHit = false;
  const values = new Uint8Array(how.diskBytes / sector).fill(how.backing?.value ?? 0);
  /** Sectors of a failed request: whole, part or none of it is there. */
  const unsure = new Uint8Array(values.length);
  const written = new Set<number>();
  for (let step = 0; step < 60; step++) {
    let request: Request | undefined;
    try {
      if (random(8) === 0) await node.flush();
      else {
        await randomRequest(node, how, random, written, (begun) => {
          request = begun;
          unsure.fill(1, begun.first, begun.first + begun.count);
        });
        if (!request) continue;
        values.fill(request.value, request.first, request.first + request.count);
        unsure.fill(0, request.first, request.first + request.count);
      }
    } catch (error) {
      assert.equal(errorCode(error), code, (error as Error).message);
      isHit = true;
    }
  }
  await node.close().catch((error) => {
    assert.equal(errorCode(error), code);
    isHit = true;
  });
  if (how.needsRepair) {
    const repair = await openDisk(graph, how, true, true);
    await repair.instance.check!({ leaks: true, errors: true });
    await repair.close();
  }
  const again = await openDisk(graph, how, false, true);
  if (again.instance.check) {
    const result = await again.instance.check({ leaks: false, errors: false });
    assert.deepEqual([result.corruptions, result.checkErrors], [0, 0], result.lines.slice(0, 3).join(' | '));
  }
  const contents = new Uint8Array(how.diskBytes);
  await again.read(0, contents);
  await again.close();
  for (let index = 0; index < unsure.length; index++)
    if (!unsure[index]) assert.equal(contents[index * sector], values[index], `sector ${index}`);
  return isHit;
}

export async function failEverywhere(how: FormatCase, seeds: number, atLeast: number): Promise<void> {
  let hits = 0;
  for (const [code, errno] of [
    ['ENOSPC', 28],
    ['EIO', 5],
  ] as const) {
    for (let seed = 1; seed <= seeds; seed++) {
      try {
        if (await failOnce(how, code, errno, seed)) hits++;
      } catch (error) {
        throw new Error(`${how.name}, ${code}, seed ${seed}: ${(error as Error).message}`, { cause: error });
      }
    }
  }
  assert.ok(hits >= atLeast, `the fault struck ${hits} times`);
}

// ---- damaged images

export interface HostileCase extends FormatCase {
  /** Ranges of bytes that hold metadata, by file. */
  metadata(files: Files): readonly { readonly path: string; readonly offset: number; readonly length: number }[];
  /** May this path be opened? The image's own files always may. */
  mayOpen?(path: string): boolean;
  readonly isLittleEndian: boolean;
}

const special = [0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff, 0x40000000, 0x10000, 0x200, 0xfffffe00, 0x00ffffff];

function damage(files: Files, how: HostileCase, random: (below: number) => number): Files {
  const copy = cloneFiles(files);
  const ranges = how.metadata(files);
  for (let round = 1 + random(4); round > 0; round--) {
    const range = ranges[random(ranges.length)]!;
    const image = copy.get(range.path)!;
    const { bytes } = image;
    const at = Math.max(0, Math.min(image.size - 8, range.offset + random(range.length)));
    const aligned = at - (at % 4);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    switch (random(5)) {
      case 0:
        bytes[at] = random(256);
        break;
      case 1:
        bytes[at]! ^= 1 << random(8);
        break;
      case 2:
        view.setUint32(aligned, special[random(special.length)]!, how.isLittleEndian);
        break;
      case 3:
        view.setUint32(aligned, random(64), how.isLittleEndian);
        break;
      default:
        // One field over another.
        bytes.copyWithin(aligned, Math.max(0, aligned - 4 * (1 + random(8))), aligned);
    }
  }
  const paths = [...copy.keys()];
  const victim = copy.get(paths[random(paths.length)]!)!;
  if (random(20) === 0) victim.apply({ kind: 'truncate', path: '', size: random(victim.size) });
  return copy;
}

async function expectClean(what: string, work: () => Promise<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: hangs`)), 20_000);
  });
  try {
    await Promise.race([work(), late]);
  } catch (error) {
    assert.ok(error instanceof BlockError, `${what}: ${(error as Error).stack}`);
  } finally {
    clearTimeout(timer);
  }
}

async function attack(files: Files, how: HostileCase, what: string): Promise<void> {
  const host = memoryHost(real);
  for (const [path, image] of files) host.files.images.set(path, image);
  const opened = new Set<string>();
  const { open } = host.files;
  host.files.open = (path, flags) => {
    opened.add(path);
    return open.call(host.files, path, flags);
  };
  const graph = new BlockGraph(host);
  const buffer = new Uint8Array(131072);
  const use = async (isWriting: boolean, check: boolean, work: (node: GraphNode) => Promise<void>): Promise<void> => {
    const node = await openDisk(graph, how, isWriting, check);
    try {
      await work(node);
    } finally {
      await node.close();
    }
  };
  await expectClean(`${what}, read`, () =>
    use(false, false, async (node) => {
      for (const offset of [0, 65536, how.diskBytes / 2, how.diskBytes - 65536]) {
        await expectClean(`${what}, read at ${offset}`, () => node.read(offset, buffer));
        await expectClean(`${what}, status at ${offset}`, () => node.chainStatus(offset, 2 ** 40));
      }
      await node.instance.specificInfo?.();
    }),
  );
  await expectClean(`${what}, check`, () =>
    use(false, true, async (node) => {
      await node.instance.check?.({ leaks: false, errors: false });
    }),
  );
  const before = cloneFiles(host.files.images);
  await expectClean(`${what}, write`, () =>
    use(true, false, async (node) => {
      await expectClean(`${what}, write`, () => node.write(1000, buffer.subarray(0, 5000)));
      await expectClean(`${what}, write`, () => node.write(how.diskBytes / 2, buffer));
      await expectClean(`${what}, zero`, () => node.writeZeroes(0, 2 ** 20));
      await expectClean(`${what}, discard`, () => node.discard(0, 2 ** 20));
      await expectClean(`${what}, flush`, () => node.flush());
      await expectClean(`${what}, resize`, () => node.resize(2 * how.diskBytes));
    }),
  );
  for (const [path, image] of before) host.files.images.set(path, image);
  await expectClean(`${what}, repair`, () =>
    use(true, true, async (node) => {
      await node.instance.check?.({ leaks: true, errors: true });
    }),
  );
  for (const path of opened) assert.ok(files.has(path) || how.mayOpen?.(path), `${what}: opened ${path}`);
}

/** Each image damaged in a few places must end in success or a BlockError, soon, within bounded memory. */
export async function attackImages(
  how: HostileCase,
  mutations = Number(process.env['VRING_MUTATIONS'] ?? 40),
): Promise<void> {
  const { host, graph } = await makeHost(how);
  const node = await openDisk(graph, how, true);
  const unit = how.onceOnly ? ((await node.getInfo()).clusterSizeBytes ?? 65536) : 65536;
  for (const [index, at] of [0, Math.floor(how.diskBytes / 2 / unit) * unit].entries())
    await node.write(at, new Uint8Array(unit).fill(index + 1));
  await node.close();
  const files = cloneFiles(host.files.images);
  const before = process.memoryUsage().rss;
  for (let seed = 1; seed <= mutations; seed++)
    await attack(damage(files, how, randomFrom(seed)), how, `${how.name}, seed ${seed}`);
  assert.ok(process.memoryUsage().rss - before < 1.5 * 2 ** 30, 'memory stays bounded');
}
