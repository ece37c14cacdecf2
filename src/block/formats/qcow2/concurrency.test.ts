/** Many requests at once on qcow2 images: writes, zeroes and discards that share clusters. */
import test from 'node:test';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import type { OptionDict } from '../../options.js';
import { workConcurrently } from '../../testing/concurrency.js';

const real = new NodeBlockHost(() => undefined);
const cases: readonly (OptionDict & { readonly label: string })[] = [
  { label: '4 KiB clusters', cluster_size: 4096 },
  { label: 'extended L2', cluster_size: 16384, extended_l2: 'on' },
  { label: 'over a backing file', cluster_size: 2048, backing_file: 'base', backing_fmt: 'raw' },
  { label: 'version 2', cluster_size: 4096, compat: '0.10' },
];

for (const { label, ...options } of cases) {
  test(`qcow2: many requests at once: ${label}`, async () => {
    for (let seed = 1; seed <= 10; seed++)
      await workConcurrently(real, { format: 'qcow2', options, discards: true, compresses: true }, seed);
  });
}
