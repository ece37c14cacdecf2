/** Parallels images through power cuts, failing requests and damage. */
import test from 'node:test';
import {
  attackImages,
  cutPowerEverywhere,
  type FormatCase,
  failEverywhere,
  type HostileCase,
} from '../../../dev/block/format-tests.js';

const common = { format: 'parallels', diskBytes: 2 ** 20, needsRepair: true };
const cases: readonly FormatCase[] = [
  { ...common, name: '64 KiB clusters', options: { cluster_size: 65536 } },
  { ...common, name: '1 KiB clusters', options: { cluster_size: 1024 } },
  { ...common, name: '1 MiB clusters', options: {}, diskBytes: 4 * 2 ** 20, maxSectors: 3000, steps: 30 },
];

for (const how of cases) {
  test(`parallels: a power cut anywhere loses nothing flushed: ${how.name}`, () => cutPowerEverywhere(how, 1, 30));
  test(`parallels: a failing request leaves a sound image: ${how.name}`, () => failEverywhere(how, 20, 5));
  const hostile: HostileCase = {
    ...how,
    isLittleEndian: true,
    metadata: () => [
      { path: 'disk', offset: 0, length: 64 },
      { path: 'disk', offset: 28, length: 8 },
      { path: 'disk', offset: 64, length: 32 },
    ],
  };
  test(`parallels: damaged images end in clear errors: ${how.name}`, () => attackImages(hostile));
}
