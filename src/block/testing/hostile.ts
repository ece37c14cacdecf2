/**
 * Hostile images: valid ones with headers and tables damaged by a seeded generator. Every operation must end soon, with success or a
 * BlockError, and no file but the named one may be opened.
 */
import { BlockError } from '../errors.js';
import { BlockGraph } from '../graph.js';
import type { GraphNode } from '../graph-node.js';
import type { BlockHost } from '../host.js';
import type { OpenFlags } from '../node.js';
import type { OptionDict } from '../options.js';
import { type MemoryImage, memoryHost, randomFrom } from './memory-host.js';

/** File bytes where damage matters, by start and length. */
export type Region = readonly [start: number, length: number];

export interface HostileCase {
  readonly format: string;
  readonly image: MemoryImage;
  readonly regions: readonly Region[];
  readonly openOptions?: OptionDict;
  /** Makes checksums right again after the damage, so that it gets past them. */
  readonly mend?: (image: MemoryImage, random: (below: number) => number) => void;
  /** The format can't be written. */
  readonly isReadOnly?: boolean;
  readonly mutations?: number;
  /** Further seeds, that once led to a mistake. */
  readonly seeds?: readonly number[];
  /** More to do with an image opened for writing. */
  readonly alsoWrite?: (node: GraphNode) => Promise<void>;
  /** The file that is damaged (default `disk`), and the image's other files. */
  readonly path?: string;
  readonly others?: ReadonlyMap<string, MemoryImage>;
  /** May a file of this name be opened? Those of the image may. */
  readonly mayOpen?: (path: string) => boolean;
}

const lateMs = 20_000;
const special = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0x40000000, 0x10000, 0x200, 0xfffffe00, 0x00feffff];

export function damage(what: HostileCase, random: (below: number) => number): MemoryImage {
  const copy = what.image.clone();
  const { bytes } = copy;
  const rounds = 1 + random(4);
  for (let round = 0; round < rounds; round++) {
    const [start, length] = what.regions[random(what.regions.length)]!;
    const at = Math.min(copy.size - 8, start + random(length));
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    switch (random(5)) {
      case 0:
        bytes[at] = random(256);
        break;
      case 1:
        bytes[at]! ^= 1 << random(8);
        break;
      case 2:
        view.setUint32(at - (at % 4), special[random(special.length)]!);
        break;
      case 3:
        view.setUint32(at - (at % 4), special[random(special.length)]!, true);
        break;
      default: {
        // One table entry over another.
        const to = at - (at % 8);
        const from = Math.max(0, to - 8 * (1 + random(4)));
        bytes.copyWithin(to, from, from + 8);
      }
    }
  }
  if (random(20) === 0) copy.apply({ kind: 'truncate', path: '', size: random(copy.size) });
  what.mend?.(copy, random);
  return copy;
}

/** Ends as it should: in time, and if it fails then with a BlockError. */
async function expectClean(real: BlockHost, what: string, work: () => Promise<unknown>): Promise<void> {
  const startNs = real.monotonicNs();
  try {
    await work();
  } catch (error) {
    if (!(error instanceof BlockError)) throw new Error(`${what}: ${(error as Error).stack}`, { cause: error });
  }
  const tookMs = (real.monotonicNs() - startNs) / 1e6;
  if (tookMs > lateMs) throw new Error(`${what}: took ${tookMs} ms`);
}

async function attack(real: BlockHost, what: HostileCase, image: MemoryImage, message: string): Promise<void> {
  const host = memoryHost(real);
  const opened = new Set<string>();
  const { open } = host.files;
  host.files.open = (path, flags) => {
    opened.add(path);
    return open.call(host.files, path, flags);
  };
  const graph = new BlockGraph(host);
  const buffer = new Uint8Array(131072);
  const use = async (name: string, flags: Partial<OpenFlags>, work: (node: GraphNode) => Promise<void>) => {
    for (const [path, other] of what.others ?? []) host.files.images.set(path, other.clone());
    host.files.images.set(what.path ?? 'disk', image.clone());
    await expectClean(real, `${message}, ${name}`, async () => {
      const node = await graph.open({
        filename: 'disk',
        format: what.format,
        options: what.openOptions ?? {},
        flags: { noBacking: true, unmap: true, ...flags },
      });
      try {
        await work(node);
      } finally {
        await node.close();
      }
    });
  };
  const offsets = (node: GraphNode) => [0, 65536, 393216, 900_000, Math.max(0, node.length - 65536)];
  await use('description', { noIo: true }, async (node) => {
    await node.instance.specificInfo?.();
    await node.getInfo();
  });
  await use('read', {}, async (node) => {
    for (const offset of offsets(node)) {
      await expectClean(real, `${message}, read at ${offset}`, () => node.read(offset, buffer));
      await expectClean(real, `${message}, status at ${offset}`, () => node.chainStatus(offset, 65536));
    }
    await node.instance.specificInfo?.();
  });
  await use('check', { check: true }, async (node) => {
    await node.instance.check?.({ leaks: false, errors: false });
  });
  const checkOpened = (): void => {
    for (const path of opened) {
      if (path === 'disk' || path === what.path || what.others?.has(path) || what.mayOpen?.(path)) continue;
      throw new Error(`${message}: opened ${path}`);
    }
  };
  checkOpened();
  if (what.isReadOnly) return;
  await use('write', { readOnly: false }, async (node) => {
    await expectClean(real, `${message}, write`, () => node.write(1024, buffer.subarray(0, 5120)));
    await expectClean(real, `${message}, write`, () => node.write(500_224, buffer));
    await expectClean(real, `${message}, zeroes`, () => node.writeZeroes(65536, 131072));
    await expectClean(real, `${message}, discard`, () => node.discard(0, 65536));
    if (what.alsoWrite) await expectClean(real, `${message}, more writing`, () => what.alsoWrite!(node));
    await expectClean(real, `${message}, flush`, () => node.flush());
    await expectClean(real, `${message}, resize`, () => node.resize(2 ** 21));
  });
  await use('repair', { readOnly: false, check: true }, async (node) => {
    await node.instance.check?.({ leaks: true, errors: true });
  });
  checkOpened();
}

/** Damages the image by `mutations` seeds and works on each result. */
export async function attackImage(real: BlockHost, what: HostileCase): Promise<void> {
  const first = Array.from({ length: what.mutations ?? 100 }, (_value, index) => index + 1);
  for (const seed of [...first, ...(what.seeds ?? [])])
    await attack(real, what, damage(what, randomFrom(seed)), `${what.format}, seed ${seed}`);
}
