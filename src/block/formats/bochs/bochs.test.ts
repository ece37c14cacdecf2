/** Bochs images built here after the format's description: read by vring and by qemu-img 7.2, with the same answers; and damaged. */
import test from 'node:test';
import { compareWithQemuImg, skipReason } from '../../../cli/img/testing/side-by-side.js';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import { attackImage } from '../../testing/hostile.js';
import { MemoryImage } from '../../testing/memory-host.js';
import { sampleDisk } from '../../testing/sample-disk.js';

/** Extents that hold nothing are left out; so are, by the bitmap, sectors that are zero. Extents come in reverse order. */
function bochsImage(disk: Uint8Array, extentBytes: number, version: 1 | 2): Uint8Array {
  const count = Math.ceil(disk.length / extentBytes);
  const sectors = extentBytes / 512;
  const bitmapBytes = Math.ceil(sectors / 8);
  const catalog = Buffer.alloc(count * 4, 0xff);
  const extents: Buffer[] = [];
  for (let extent = count - 1; extent >= 0; extent--) {
    const contents = Buffer.alloc(extentBytes);
    contents.set(disk.subarray(extent * extentBytes, (extent + 1) * extentBytes));
    if (contents.every((byte) => byte === 0)) continue;
    const bitmap = Buffer.alloc(Math.ceil(bitmapBytes / 512) * 512);
    for (let sector = 0; sector < sectors; sector++) {
      const part = contents.subarray(sector * 512, (sector + 1) * 512);
      if (part.some((byte) => byte !== 0)) bitmap[sector >> 3]! |= 1 << (sector & 7);
      // What the bitmap says is not there must not be read.
      else part.fill(0xee);
    }
    catalog.writeUInt32LE(extents.length, extent * 4);
    extents.push(Buffer.concat([bitmap, contents]));
  }
  const head = Buffer.alloc(512);
  head.write('Bochs Virtual HD Image');
  head.write('Redolog', 32);
  head.write('Growing', 48);
  head.writeUInt32LE(version === 1 ? 0x10000 : 0x20000, 64);
  head.writeUInt32LE(512, 68);
  head.writeUInt32LE(count, 72);
  head.writeUInt32LE(bitmapBytes, 76);
  head.writeUInt32LE(extentBytes, 80);
  head.writeBigUInt64LE(BigInt(disk.length), version === 1 ? 84 : 88);
  return Buffer.concat([head, catalog, ...extents]);
}

const disk = sampleDisk(2 ** 20 + 20_480);
disk.fill(0, 131072, 262144);
const image = bochsImage(disk, 65536, 2);

const commands = `
info a.bochs
info --output=json a.bochs
map --output=json a.bochs
check a.bochs
resize a.bochs 2M
convert -O raw a.bochs a.raw
compare a.bochs disk.raw
compare b.bochs disk.raw
compare c.bochs disk.raw
create -f bochs x.bochs 1M
patch a.bochs 66 3
info -f bochs a.bochs
cp b.bochs a.bochs
patch a.bochs 74 255
info a.bochs
cp b.bochs a.bochs
patch a.bochs 80 0,0,0,0
info a.bochs
patch a.bochs 80 0,3,0,0
info a.bochs
patch a.bochs 80 0,0,0,1
info a.bochs
cp b.bochs a.bochs
patch a.bochs 72 1
info a.bochs
info -f bochs disk.raw
`;

test('Bochs images: vring answers as qemu-img does', { skip: skipReason }, () =>
  compareWithQemuImg(commands, undefined, {
    'a.bochs': image,
    'b.bochs': bochsImage(disk, 4096, 1),
    'c.bochs': bochsImage(disk, 2 ** 20, 2),
    'disk.raw': disk,
  }),
);

test('Bochs: damaged images end in clear errors', async () => {
  await attackImage(new NodeBlockHost(() => undefined), {
    format: 'bochs',
    image: MemoryImage.from(image),
    regions: [
      [0, 100],
      [512, 68],
    ],
    isReadOnly: true,
  });
});
