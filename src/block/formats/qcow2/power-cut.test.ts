/** The power goes at every point of the write log of a qcow2 image under work, in each layout that changes how metadata is written. */
import assert from 'node:assert';
import test from 'node:test';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import type { GraphNode } from '../../graph-node.js';
import type { OptionDict } from '../../options.js';
import { cutPower } from '../../testing/power-cut.js';

const real = new NodeBlockHost(() => undefined);

/** Up to two snapshots, the oldest removed for the next. */
async function changeSnapshots(node: GraphNode, step: number, random: (below: number) => number): Promise<void> {
  if (random(3) !== 0) return;
  const snapshots = node.instance.snapshots!;
  const list = await snapshots.list();
  if (list.length > 1) await snapshots.remove(list[0]!.id, undefined);
  else await snapshots.create({ name: `s${step}`, vmStateBytes: 0, dateSeconds: 0, dateNanoseconds: 0, vmClockNs: 0 });
}

const cases: readonly {
  readonly name: string;
  readonly options: OptionDict;
  readonly snapshots?: boolean;
  /** Further seeds, that once led to a mistake. */
  readonly seeds?: readonly number[];
}[] = [
  { name: '4 KiB clusters', options: { cluster_size: 4096 } },
  { name: '512 byte clusters, many tables', options: { cluster_size: 512 } },
  { name: 'snapshots', options: { cluster_size: 1024 }, snapshots: true },
  { name: 'lazy refcounts', options: { cluster_size: 1024, lazy_refcounts: 'on' } },
  { name: 'extended L2', options: { cluster_size: 16384, extended_l2: 'on' } },
  { name: 'over a backing file', options: { cluster_size: 4096, backing_file: 'base', backing_fmt: 'raw' } },
  { name: '64 bit refcounts', options: { cluster_size: 512, refcount_bits: 64 }, seeds: [9001] },
];

for (const { name, options, snapshots, seeds } of cases) {
  test(`a power cut anywhere loses nothing flushed: ${name}`, async () => {
    for (const seed of [...(process.env.VRING_SEEDS ?? '1').split(',').map(Number), ...(seeds ?? [])]) {
      const cuts = await cutPower(
        real,
        {
          format: 'qcow2',
          options,
          discards: true,
          compresses: true,
          ...(snapshots ? { between: changeSnapshots } : {}),
        },
        seed,
      );
      // 45 steps on 16 KiB clusters make some 60 cuts, on small clusters several hundred.
      assert.ok(cuts > 40, `the log gave only ${cuts} cuts`);
    }
  });
}
