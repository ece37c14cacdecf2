/**
 * The power goes at every point of the write log of a qcow2 image under work: after each prefix of the log, and with any part of what
 * was written since the last flush lost. The image must open, its check may find leaks at most, and whatever was flushed must
 * be there; a sector written since may hold any of the values written to it since.
 */
import assert from 'node:assert';
import test from 'node:test';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import { errorCode } from '../../errors.js';
import { BlockGraph } from '../../graph.js';
import { RequestFlag } from '../../node.js';
import type { OptionDict } from '../../options.js';
import { type LogEntry, MemoryImage, memoryHost, randomFrom } from '../../testing/memory-host.js';

const sector = 512;
const diskBytes = 128 * 1024;
const real = new NodeBlockHost(() => undefined);
/** What a backing file shows, in every sector. */
const backingValue = 238;

/** A host that has the backing file. */
function hostWithBase() {
  const host = memoryHost(real);
  host.files.images.set('base', MemoryImage.from(new Uint8Array(diskBytes).fill(backingValue)));
  return host;
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
  readonly base: MemoryImage;
  readonly log: readonly LogEntry[];
  readonly writes: readonly GuestWrite[];
  readonly flushes: readonly Flushed[];
}

/** One value per sector: a sector is written whole, with one byte repeated. */
async function record(options: OptionDict, seed: number, withSnapshots: boolean): Promise<Recording> {
  const random = randomFrom(seed);
  const host = hostWithBase();
  const graph = new BlockGraph(host);
  await graph.create('qcow2', 'disk', { size: diskBytes, ...options });
  const node = await graph.open({ filename: 'disk', format: 'qcow2', flags: { readOnly: false, unmap: true } });
  host.files.log.length = 0;
  const values = new Uint8Array(diskBytes / sector).fill(options['backing_file'] ? backingValue : 0);
  const writes: GuestWrite[] = [];
  const flushes: Flushed[] = [{ at: 0, values: values.slice() }];
  const start = host.files.images.get('disk')!.clone();
  for (let step = 0; step < 45; step++) {
    const first = random(values.length);
    const count = Math.min(values.length - first, 1 + random(random(3) === 0 ? 40 : 6));
    const kind = random(12);
    const begin = host.files.log.length;
    if (kind < 6) {
      const value = 1 + random(255);
      writes.push({ begin, first, count, value });
      await node.write(first * sector, new Uint8Array(count * sector).fill(value));
      values.fill(value, first, first + count);
    } else if (kind === 6) {
      writes.push({ begin, first, count, value: 0 });
      await node.writeZeroes(first * sector, count * sector, random(2) ? RequestFlag.mayUnmap : 0);
      values.fill(0, first, first + count);
    } else if (kind === 7) {
      const cluster = (await node.getInfo()).clusterSizeBytes!;
      const from = Math.ceil((first * sector) / cluster) * cluster;
      const to = Math.floor(((first + count) * sector) / cluster) * cluster;
      if (to <= from) continue;
      writes.push({ begin, first: from / sector, count: (to - from) / sector, value: 0 });
      await node.discard(from, to - from);
      values.fill(0, from / sector, to / sector);
    } else if (kind === 8) {
      const cluster = (await node.getInfo()).clusterSizeBytes!;
      const from = first * sector - ((first * sector) % cluster);
      const value = 1 + random(255);
      writes.push({ begin, first: from / sector, count: cluster / sector, value });
      await node.write(from, new Uint8Array(cluster).fill(value), RequestFlag.compressed).then(
        () => values.fill(value, from / sector, (from + cluster) / sector),
        (error) => {
          // Refused over a cluster of its own: nothing was written.
          assert.equal(errorCode(error), 'EIO');
          writes.pop();
        },
      );
    } else if (kind === 9 && withSnapshots && random(3) === 0) {
      const list = await node.instance.snapshots!.list();
      if (list.length > 1) await node.instance.snapshots!.remove(list[0]!.id, undefined);
      else
        await node.instance.snapshots!.create({
          name: `s${step}`,
          vmStateBytes: 0,
          dateSeconds: 0,
          dateNanoseconds: 0,
          vmClockNs: 0,
        });
    } else if (kind >= 10) {
      await node.flush();
      flushes.push({ at: host.files.log.length, values: values.slice() });
    }
  }
  const log = host.files.log.slice();
  await node.close();
  return { base: start, log, writes, flushes };
}

async function verify(recording: Recording, image: MemoryImage, cut: number, what: string): Promise<void> {
  const host = hostWithBase();
  host.files.images.set('disk', image);
  const graph = new BlockGraph(host);
  // A dirty image is repaired by whoever opens it for writing, as a machine would after the cut.
  const probe = await graph.open({ filename: 'disk', format: 'qcow2', flags: { readOnly: true } });
  const isDirty = (await probe.getInfo()).isDirty === true;
  await probe.close();
  if (isDirty) await (await graph.open({ filename: 'disk', format: 'qcow2', flags: { readOnly: false } })).close();
  const node = await graph.open({ filename: 'disk', format: 'qcow2', flags: { readOnly: true, check: true } });
  const result = await node.instance.check!({ leaks: false, errors: false });
  assert.deepEqual(
    [result.corruptions, result.checkErrors],
    [0, 0],
    `${what}: ${result.lines.slice(0, 4).join(' | ')}`,
  );
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
      assert.ok(isWritten, `${what}: sector ${index} holds ${value}, flushed was ${flushed.values[index]}`);
    }
    for (let byte = at + 1; byte < at + sector; byte++)
      assert.equal(contents[byte], value, `${what}: sector ${index} is torn`);
  }
}

async function cutEverywhere(recording: Recording, seed: number): Promise<number> {
  const random = randomFrom(seed);
  const { log } = recording;
  let cuts = 0;
  const durable = recording.base.clone();
  let durableEnd = 0;
  const running = recording.base.clone();
  for (let cut = 0; cut <= log.length; cut++) {
    await verify(recording, running.clone(), cut, `cut after ${cut} of ${log.length} writes`);
    cuts++;
    // What was written since the last sync, in part, each write whole or not at all.
    if (cut - durableEnd > 1) {
      for (let round = 0; round < 2; round++) {
        const image = durable.clone();
        for (let index = durableEnd; index < cut; index++) if (random(2) === 0) image.apply(log[index]!);
        await verify(
          recording,
          image,
          cut,
          `cut after ${cut} of ${log.length} writes, some since ${durableEnd} lost (round ${round})`,
        );
        cuts++;
      }
    }
    const entry = log[cut];
    if (!entry) break;
    running.apply(entry);
    if (entry.kind === 'sync') {
      for (let index = durableEnd; index < cut; index++) durable.apply(log[index]!);
      durableEnd = cut + 1;
    }
  }
  return cuts;
}

const cases: readonly { readonly name: string; readonly options: OptionDict; readonly snapshots?: boolean }[] = [
  { name: '4 KiB clusters', options: { cluster_size: 4096 } },
  { name: '512 byte clusters, many tables', options: { cluster_size: 512 } },
  { name: 'snapshots', options: { cluster_size: 1024 }, snapshots: true },
  { name: 'lazy refcounts', options: { cluster_size: 1024, lazy_refcounts: 'on' } },
  { name: 'extended L2', options: { cluster_size: 16384, extended_l2: 'on' } },
  { name: 'over a backing file', options: { cluster_size: 4096, backing_file: 'base', backing_fmt: 'raw' } },
  { name: '64 bit refcounts', options: { cluster_size: 512, refcount_bits: 64 } },
];

for (const { name, options, snapshots } of cases) {
  test(`a power cut anywhere loses nothing flushed: ${name}`, async () => {
    for (const seed of (process.env.VRING_SEEDS ?? '1').split(',').map(Number)) {
      const recording = await record(options, seed, snapshots ?? false);
      const cuts = await cutEverywhere(recording, seed);
      // 45 steps on 16 KiB clusters make some 60 cuts, on small clusters several hundred.
      assert.ok(cuts > 40, `the log gave only ${cuts} cuts`);
    }
  });
}
