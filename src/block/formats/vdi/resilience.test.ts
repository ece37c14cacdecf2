/** VDI images through power cuts, failing requests and damage. */
import test from 'node:test';
import {
  attackImages,
  cutPowerEverywhere,
  type FormatCase,
  failEverywhere,
  type HostileCase,
} from '../../../dev/block/format-tests.js';

const common = { format: 'vdi', diskBytes: 3 * 2 ** 20, maxSectors: 3000, steps: 30 };
const dynamic: FormatCase = { ...common, name: 'dynamic', options: {} };
const fixed: FormatCase = { ...common, name: 'static', options: { static: 'on' } };

for (const how of [dynamic, fixed]) {
  test(`vdi: a power cut anywhere loses nothing flushed: ${how.name}`, () => cutPowerEverywhere(how, 1, 20));
  test(`vdi: a failing request leaves a sound image: ${how.name}`, () => failEverywhere(how, 20, 5));
  const hostile: HostileCase = {
    ...how,
    isLittleEndian: true,
    metadata: () => [
      { path: 'disk', offset: 0x40, length: 16 },
      { path: 'disk', offset: 0x150, length: 0x80 },
      { path: 'disk', offset: 0x200, length: 32 },
    ],
  };
  test(`vdi: damaged images end in clear errors: ${how.name}`, () => attackImages(hostile));
}
