/** VHD images through power cuts, failing requests and damage. */
import test from 'node:test';
import {
  attackImages,
  cutPowerEverywhere,
  type FormatCase,
  failEverywhere,
  type HostileCase,
} from '../../../dev/block/format-tests.js';

const common = { format: 'vpc', diskBytes: 6 * 2 ** 20, maxSectors: 3000, steps: 30 };
const dynamic: FormatCase = { ...common, name: 'dynamic', options: { force_size: 'on' } };
const fixed: FormatCase = {
  ...common,
  diskBytes: 2 ** 20,
  name: 'fixed',
  options: { subformat: 'fixed', force_size: 'on' },
};

for (const how of [dynamic, fixed]) {
  test(`vpc: a power cut anywhere loses nothing flushed: ${how.name}`, () => cutPowerEverywhere(how, 1, 20));
  test(`vpc: a failing request leaves a sound image: ${how.name}`, () => failEverywhere(how, 20, 2));
}

const hostile: readonly HostileCase[] = [
  {
    ...dynamic,
    isLittleEndian: false,
    // Most damage to the footer only breaks its checksum.
    metadata: () => [
      { path: 'disk', offset: 0, length: 84 },
      { path: 'disk', offset: 512, length: 40 },
      { path: 'disk', offset: 528, length: 24 },
      { path: 'disk', offset: 1536, length: 16 },
    ],
  },
  {
    ...fixed,
    isLittleEndian: false,
    metadata: (files) => [{ path: 'disk', offset: files.get('disk')!.size - 512, length: 84 }],
  },
];

for (const how of hostile) test(`vpc: damaged images end in clear errors: ${how.name}`, () => attackImages(how));
