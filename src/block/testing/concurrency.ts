/**
 * Many requests at once on an image in memory whose file answers late and out of order, against a plain array of what the disk must hold.
 * Requests under way never overlap each other, so that each has one right answer; they do share clusters.
 */
import { errorCode } from '../errors.js';
import { BlockGraph } from '../graph.js';
import type { BlockHost, HostFile } from '../host.js';
import { RequestFlag } from '../node.js';
import type { OptionDict } from '../options.js';
import { MemoryImage, memoryHost, randomFrom } from './memory-host.js';

export interface ConcurrencyCase {
  readonly format: string;
  readonly options: OptionDict;
  readonly openOptions?: OptionDict;
  readonly diskBytes?: number;
  readonly requests?: number;
  readonly discards?: boolean;
  readonly compresses?: boolean;
}

interface Span {
  readonly start: number;
  readonly end: number;
}

const depth = 8;
const backingValue = 77;

function must(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

/** The file with some of its answers delayed. */
function delayed(file: HostFile, wait: () => Promise<void>): HostFile {
  return new Proxy(file, {
    get(target, name) {
      const value = Reflect.get(target, name) as unknown;
      if (typeof value !== 'function') return value;
      if (name === 'read' || name === 'write' || name === 'sync') {
        return async (...args: unknown[]) => {
          await wait();
          const result: unknown = await value.apply(target, args);
          await wait();
          return result;
        };
      }
      return value.bind(target);
    },
  });
}

function firstDifference(actual: Uint8Array, expected: Uint8Array): number {
  return actual.findIndex((byte, index) => byte !== expected[index]);
}

/** Throws at the first wrong byte. */
export async function workConcurrently(real: BlockHost, what: ConcurrencyCase, seed = 1): Promise<void> {
  const random = randomFrom(seed);
  const { format, openOptions = {}, diskBytes = 2 ** 20 } = what;
  const host = memoryHost(real);
  host.files.images.set('base', MemoryImage.from(new Uint8Array(diskBytes).fill(backingValue)));
  const graph = new BlockGraph(host);
  await graph.create(format, 'disk', { size: diskBytes, ...what.options });
  const { open } = host.files;
  const wait = async (): Promise<void> => {
    if (random(3) === 0) await real.sleepMs(random(2));
  };
  host.files.open = async (path, flags) => delayed(await open.call(host.files, path, flags), wait);
  const node = await graph.open({
    filename: 'disk',
    format,
    options: openOptions,
    flags: { readOnly: false, unmap: true },
  });
  const expected = new Uint8Array(diskBytes).fill(what.options['backing_file'] ? backingValue : 0);
  if (!node.instance.zeroInit && !what.options['backing_file']) await node.write(0, expected);
  const cluster = (await node.getInfo()).clusterSizeBytes ?? 512;
  const busy = new Set<Span>();
  const running = new Set<Promise<void>>();
  let failure: unknown;

  const request = async (span: Span, kind: number): Promise<void> => {
    const { start, end } = span;
    if (kind < 5) {
      const bytes = new Uint8Array(end - start).fill(1 + random(255));
      expected.set(bytes, start);
      await node.write(start, bytes);
    } else if (kind === 5) {
      expected.fill(0, start, end);
      await node.writeZeroes(start, end - start, random(2) ? RequestFlag.mayUnmap : 0);
    } else if (kind === 6 && what.discards) {
      const [from, to] = [Math.ceil(start / cluster) * cluster, Math.floor(end / cluster) * cluster];
      if (to <= from) return;
      expected.fill(0, from, to);
      await node.discard(from, to - from);
    } else if (kind === 8 && what.compresses) {
      const from = Math.ceil(start / cluster) * cluster;
      if (from + cluster > end) return;
      const bytes = new Uint8Array(cluster).fill(1 + random(255));
      try {
        await node.write(from, bytes, RequestFlag.compressed);
        expected.set(bytes, from);
      } catch (error) {
        // Refused over a cluster of its own: nothing was written.
        must(errorCode(error) === 'EIO', `seed ${seed}: compressed write at ${from}: ${(error as Error).message}`);
      }
    } else if (kind === 7) await node.flush();
    else {
      const bytes = new Uint8Array(end - start);
      await node.read(start, bytes);
      const wrong = firstDifference(bytes, expected.subarray(start, end));
      must(
        wrong < 0,
        `seed ${seed}: read at ${start}: byte ${wrong} is ${bytes[wrong]}, not ${expected[start + wrong]}`,
      );
    }
  };

  for (let count = 0; count < (what.requests ?? 300) && failure === undefined; count++) {
    while (running.size >= depth) await Promise.race(running);
    const start = random(diskBytes);
    const end = Math.min(diskBytes, start + 1 + random(random(5) === 0 ? 200_000 : 8000));
    const span = { start, end };
    if ([...busy].some((other) => other.start < end && start < other.end)) continue;
    busy.add(span);
    const promise = request(span, random(10))
      .catch((error) => {
        failure ??= error;
      })
      .finally(() => {
        busy.delete(span);
        running.delete(promise);
      });
    running.add(promise);
  }
  await Promise.all(running);
  if (failure !== undefined) throw failure;
  await node.close();

  const again = await graph.open({ filename: 'disk', format, options: openOptions });
  const contents = new Uint8Array(diskBytes);
  await again.read(0, contents);
  const wrong = firstDifference(contents, expected);
  must(wrong < 0, `seed ${seed}: at the end byte ${wrong} is ${contents[wrong]}, not ${expected[wrong]}`);
  if (again.instance.check) {
    const result = await again.instance.check({ leaks: false, errors: false });
    must(result.corruptions + result.checkErrors === 0, `seed ${seed}: ${result.corruptions} corruptions`);
  }
  await again.close();
}
