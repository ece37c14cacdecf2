/** cloop images built here after the format's description: read by vring and by qemu-img 7.2, with the same answers; and damaged. */
import test from 'node:test';
import * as zlib from 'node:zlib';
import { compareWithQemuImg, skipReason } from '../../../cli/img/testing/side-by-side.js';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import { attackImage } from '../../testing/hostile.js';
import { MemoryImage } from '../../testing/memory-host.js';
import { sampleDisk } from '../../testing/sample-disk.js';

const script = '#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n';

function cloopImage(disk: Uint8Array, blockBytes: number): Uint8Array {
  const blocks: Buffer[] = [];
  for (let at = 0; at < disk.length; at += blockBytes) {
    const block = Buffer.alloc(blockBytes);
    block.set(disk.subarray(at, at + blockBytes));
    blocks.push(zlib.deflateSync(block));
  }
  const head = Buffer.alloc(136 + (blocks.length + 1) * 8);
  head.write(script);
  head.writeUInt32BE(blockBytes, 128);
  head.writeUInt32BE(blocks.length, 132);
  let offset = head.length;
  for (const [index, block] of [...blocks, Buffer.alloc(0)].entries()) {
    head.writeBigUInt64BE(BigInt(offset), 136 + index * 8);
    offset += block.length;
  }
  return Buffer.concat([head, ...blocks]);
}

const disk = sampleDisk(2 ** 20 + 3 * 65536);
const image = cloopImage(disk, 65536);

const commands = `
info a.cloop
info --output=json a.cloop
map --output=json a.cloop
check a.cloop
snapshot -l a.cloop
resize a.cloop 2M
convert -O raw a.cloop a.raw
compare -F raw a.cloop disk.raw
compare -F raw b.cloop disk.raw
create -f cloop x.cloop 1M
measure -O cloop --size 1M
patch a.cloop 131 1
info a.cloop
cp b.cloop a.cloop
patch a.cloop 128 0,0,0,0
info a.cloop
patch a.cloop 128 8
info a.cloop
cp b.cloop a.cloop
patch a.cloop 132 255,255,255,255
info a.cloop
patch a.cloop 132 16
info a.cloop
cp b.cloop a.cloop
patch a.cloop 150 255
info a.cloop
cp b.cloop a.cloop
patch a.cloop 145 255
info a.cloop
cp b.cloop a.cloop
patch a.cloop 600 1,2,3,4,5,6,7
convert -O raw a.cloop c.raw
info -f cloop disk.raw
`;

test('cloop images: vring answers as qemu-img does', { skip: skipReason }, () =>
  compareWithQemuImg(commands, undefined, {
    'a.cloop': image,
    'b.cloop': cloopImage(disk, 512 * 24),
    'disk.raw': disk,
  }),
);

test('cloop: damaged images end in clear errors', async () => {
  await attackImage(new NodeBlockHost(() => undefined), {
    format: 'cloop',
    image: MemoryImage.from(image),
    regions: [
      [128, 64],
      [300, 1000],
    ],
    isReadOnly: true,
  });
});
