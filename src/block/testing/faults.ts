/** EIO and ENOSPC in the middle of work on an image, by blkdebug: reported with their code, the image sound afterwards, other data untouched. */
import { errnoNumbers, errorCode } from '../errors.js';
import { BlockGraph } from '../graph.js';
import type { BlockHost } from '../host.js';
import type { OptionDict } from '../options.js';
import { memoryHost, randomFrom } from './memory-host.js';

export interface FaultCase {
  readonly format: string;
  readonly options: OptionDict;
  readonly openOptions?: OptionDict;
  readonly diskBytes?: number;
  /** blkdebug events of the driver, `none` among them for any request. */
  readonly events: readonly string[];
  readonly steps?: number;
  /** Besides the events: faults at this many places of the file. */
  readonly places?: number;
  /** As in power cuts. */
  readonly prepare?: (graph: BlockGraph, diskBytes: number) => Promise<void>;
  readonly backing?: { readonly options: OptionDict; readonly value: number };
  readonly writesOnce?: boolean;
  readonly isRepaired?: boolean;
  readonly maxSectors?: number;
  /** The image can only be looked at after it was opened for writing (a log to replay). */
  readonly isReplayed?: boolean;
}

function must(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

async function work(
  real: BlockHost,
  what: FaultCase,
  event: string,
  code: string,
  seed: number,
  isPlaced = false,
): Promise<boolean> {
  const random = randomFrom(seed);
  const diskBytes = what.diskBytes ?? 2 ** 20;
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  const { format, openOptions = {} } = what;
  await what.prepare?.(graph, diskBytes);
  await graph.create(format, 'disk', { size: diskBytes, ...what.options });
  const expected = new Uint8Array(diskBytes).fill(what.backing?.value ?? 0);
  const fresh = await graph.open({ filename: 'disk', format, options: openOptions, flags: { readOnly: false } });
  if (!fresh.instance.zeroInit) await fresh.write(0, expected);
  await fresh.close();
  const fileSectors = (host.files.images.get('disk')!.size + diskBytes) / 512;
  const options: OptionDict = {
    driver: format,
    ...openOptions,
    'file.driver': 'blkdebug',
    'file.image.driver': 'file',
    'file.image.filename': 'disk',
    // The fault strikes the third time that the event comes, or sooner.
    'file.set-state.0.event': event,
    'file.set-state.0.state': 1,
    'file.set-state.0.new_state': 2,
    'file.inject-error.0.event': event,
    'file.inject-error.0.state': event === 'none' ? 0 : 1 + random(2),
    'file.inject-error.0.errno': errnoNumbers[code]!,
    'file.inject-error.0.once': true,
    ...(isPlaced ? { 'file.inject-error.0.sector': random([4, 64, fileSectors][random(3)]!) } : {}),
    ...what.backing?.options,
    'file.inject-error.0.iotype': event === 'flush_to_os' ? 'flush' : random(3) > 0 ? 'write' : 'read',
  };
  let isHit = false;
  /** Sectors of a failed request: whole, part or none of it is there. */
  const unsure = new Uint8Array(diskBytes / 512);
  const node = await graph.open({ options, flags: { readOnly: false, unmap: true } }).catch((error) => {
    must(errorCode(error) === code, `${event}: ${error.message}`);
    return undefined;
  });
  if (!node) return true;
  const written = new Set<number>();
  for (let step = 0; step < (what.steps ?? 60); step++) {
    let first = random(unsure.length);
    let count = Math.min(unsure.length - first, 1 + random(what.maxSectors ?? 60));
    if (what.writesOnce) {
      const cluster = (await node.getInfo()).clusterSizeBytes! / 512;
      first -= first % cluster;
      count = Math.min(unsure.length - first, cluster);
      if (written.has(first)) continue;
    }
    const value = 1 + random(255);
    try {
      if (random(8) === 0) await node.flush();
      else {
        unsure.fill(1, first, first + count);
        written.add(first);
        await node.write(first * 512, new Uint8Array(count * 512).fill(value));
        expected.fill(value, first * 512, (first + count) * 512);
        unsure.fill(0, first, first + count);
      }
    } catch (error) {
      must(errorCode(error) === code, `${event}: ${(error as Error).stack}`);
      isHit = true;
    }
  }
  await node.close().catch((error) => must(errorCode(error) === code, `${event}: ${error.message}`));
  if (what.isReplayed)
    await (await graph.open({ filename: 'disk', format, options: openOptions, flags: { readOnly: false } })).close();
  if (what.isRepaired) {
    const broken = await graph.open({
      filename: 'disk',
      format,
      options: openOptions,
      flags: { readOnly: false, check: true },
    });
    await broken.instance.check!({ leaks: true, errors: true });
    await broken.close();
  }
  const again = await graph.open({ filename: 'disk', format, options: openOptions, flags: { check: true } });
  if (again.instance.check) {
    const result = await again.instance.check({ leaks: false, errors: false });
    must(
      result.corruptions === 0 && result.checkErrors === 0,
      `${event}: ${result.corruptions} corruptions ${result.lines.slice(0, 3).join(' | ')}`,
    );
  }
  const contents = new Uint8Array(diskBytes);
  await again.read(0, contents);
  await again.close();
  for (let sector = 0; sector < unsure.length; sector++) {
    if (unsure[sector]) continue;
    must(contents[sector * 512] === expected[sector * 512], `${event} ${code} seed ${seed}: sector ${sector}`);
  }
  return isHit;
}

/** Injects the error at each event, with several seeds; gives how often it struck. */
export async function injectFaults(real: BlockHost, what: FaultCase, code: 'EIO' | 'ENOSPC'): Promise<number> {
  let hits = 0;
  for (const event of what.events)
    for (let seed = 1; seed <= 3; seed++) if (await work(real, what, event, code, seed)) hits++;
  for (let seed = 1; seed <= (what.places ?? 0); seed++) if (await work(real, what, 'none', code, seed, true)) hits++;
  return hits;
}
