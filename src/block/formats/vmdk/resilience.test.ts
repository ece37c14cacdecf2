/** VMDK images through power cuts, failing requests and damage. */
import test from 'node:test';
import {
  attackImages,
  cutPowerEverywhere,
  type FormatCase,
  failEverywhere,
  type HostileCase,
} from '../../../dev/block/format-tests.js';

const common = { format: 'vmdk', diskBytes: 2 ** 20 };
const cases: readonly FormatCase[] = [
  { ...common, name: 'monolithicSparse', options: {} },
  { ...common, name: 'zeroed grains', options: { zeroed_grain: 'on' }, maxSectors: 400 },
  { ...common, name: 'twoGbMaxExtentSparse', options: { subformat: 'twoGbMaxExtentSparse' } },
  { ...common, name: 'monolithicFlat', options: { subformat: 'monolithicFlat' } },
  { ...common, name: 'streamOptimized', options: { subformat: 'streamOptimized' }, onceOnly: true },
  {
    ...common,
    name: 'over a backing file',
    options: { backing_file: 'base', backing_fmt: 'vmdk' },
    backing: { file: 'base', format: 'vmdk', value: 238 },
  },
];

for (const how of cases) {
  test(`vmdk: a power cut anywhere loses nothing flushed: ${how.name}`, () => cutPowerEverywhere(how));
}

for (const how of [cases[0]!, cases[1]!, cases[4]!, cases[5]!]) {
  test(`vmdk: a failing request leaves a sound image: ${how.name}`, () => failEverywhere(how, 20, 5));
}

const sparse = [
  { path: 'disk', offset: 0, length: 80 },
  { path: 'disk', offset: 512, length: 400 },
  // Directories and the beginnings of the tables that a 1 MiB image has.
  { path: 'disk', offset: 21 * 512, length: 8 },
  { path: 'disk', offset: 22 * 512, length: 80 },
  { path: 'disk', offset: 26 * 512, length: 8 },
  { path: 'disk', offset: 27 * 512, length: 80 },
];

/** The name an extent line gives, whatever damage made of it, stays a file beside the descriptor. */
const mayOpen = (path: string): boolean => !path.includes(':') || path.startsWith('./');

const hostile: readonly HostileCase[] = [
  { ...cases[0]!, isLittleEndian: true, metadata: () => sparse, mayOpen },
  { ...cases[1]!, isLittleEndian: true, metadata: () => sparse, mayOpen },
  {
    ...cases[4]!,
    isLittleEndian: true,
    metadata: () => [...sparse, { path: 'disk', offset: 65536, length: 100 }],
    mayOpen,
  },
  {
    ...cases[2]!,
    isLittleEndian: true,
    metadata: (files) => [
      { path: 'disk', offset: 0, length: 350 },
      ...sparse.map((range) => ({ ...range, path: [...files.keys()].find((path) => path !== 'disk')! })),
    ],
    mayOpen,
  },
  { ...cases[3]!, isLittleEndian: true, metadata: () => [{ path: 'disk', offset: 0, length: 350 }], mayOpen },
];

for (const how of hostile) {
  test(`vmdk: damaged images end in clear errors: ${how.name}`, () => attackImages(how));
}
