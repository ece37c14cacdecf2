/**
 * dmg images built here after the format's description (UDRO: plain chunks, UDZO: zlib, UDBZ: bzip2): read by vring and by qemu-img 7.2, with
 * the same answers; and damaged. Debian's qemu-img has no bzip2 module, so such chunks are compared with the contents only.
 */
import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import test from 'node:test';
import * as zlib from 'node:zlib';
import { compareWithQemuImg, skipReason } from '../../../cli/img/testing/side-by-side.js';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import { BlockGraph } from '../../graph.js';
import { attackImage } from '../../testing/hostile.js';
import { MemoryImage, memoryHost } from '../../testing/memory-host.js';
import { sampleDisk } from '../../testing/sample-disk.js';

type Packing = 'raw' | 'zlib' | 'bzip2' | 'lzfse';
const chunkTypes = { raw: 1, zlib: 0x80000005, bzip2: 0x80000006, lzfse: 0x80000007 } as const;

function pack(bytes: Uint8Array, packing: Packing): Uint8Array {
  if (packing === 'zlib') return zlib.deflateSync(bytes);
  if (packing === 'bzip2') return spawnSync('bzip2', ['-c'], { input: bytes, maxBuffer: 2 ** 24 }).stdout;
  return bytes;
}

interface Fork {
  readonly body: Buffer;
  readonly table: Buffer;
}

/** Chunks of 64 KiB, zero ones not stored, and the table that lists them. */
function blocks(disk: Uint8Array, packings: readonly Packing[]): Fork {
  const stored: Uint8Array[] = [];
  const entries: Buffer[] = [];
  let length = 0;
  const entry = (type: number, sector: number, sectors: number, size: number): void => {
    const bytes = Buffer.alloc(40);
    bytes.writeUInt32BE(type);
    bytes.writeBigUInt64BE(BigInt(sector), 8);
    bytes.writeBigUInt64BE(BigInt(sectors), 16);
    bytes.writeBigUInt64BE(BigInt(length), 24);
    bytes.writeBigUInt64BE(BigInt(size), 32);
    entries.push(bytes);
  };
  for (let at = 0; at < disk.length; at += 65536) {
    const chunk = disk.subarray(at, at + 65536);
    const sectors = chunk.length / 512;
    if (chunk.every((byte) => byte === 0)) {
      entry(entries.length % 2 ? 0 : 2, at / 512, sectors, 0);
      continue;
    }
    const packing = packings[entries.length % packings.length]!;
    const bytes = pack(chunk, packing);
    entry(chunkTypes[packing], at / 512, sectors, bytes.length);
    stored.push(bytes);
    length += bytes.length;
  }
  entry(0x7ffffffe, disk.length / 512, 0, 0);
  entry(0xffffffff, disk.length / 512, 0, 0);
  const head = Buffer.alloc(204);
  head.write('mish');
  head.writeUInt32BE(1, 4);
  head.writeBigUInt64BE(BigInt(disk.length / 512), 16);
  head.writeUInt32BE(entries.length, 200);
  return { body: Buffer.concat(stored), table: Buffer.concat([head, ...entries]) };
}

function dmgImage(disk: Uint8Array, packings: readonly Packing[], place: 'list' | 'fork' = 'list'): Uint8Array {
  const { body, table } = blocks(disk, packings);
  const trailer = Buffer.alloc(512);
  trailer.write('koly');
  trailer.writeUInt32BE(4, 4);
  trailer.writeUInt32BE(512, 8);
  trailer.writeBigUInt64BE(BigInt(body.length), 0x20);
  trailer.writeBigUInt64BE(BigInt(disk.length / 512), 0x1ec);
  if (place === 'list') {
    const base64 = table.toString('base64').replace(/.{60}/g, '$&\n\t\t');
    const list = `<?xml version="1.0"?><plist version="1.0"><dict><key>resource-fork</key><dict><key>blkx</key><array><dict>
<key>Data</key><data>\n${base64}\n</data></dict></array></dict></dict></plist>`;
    trailer.writeBigUInt64BE(BigInt(body.length), 0xd8);
    trailer.writeBigUInt64BE(BigInt(list.length), 0xe0);
    return Buffer.concat([body, Buffer.from(list), trailer]);
  }
  const fork = Buffer.alloc(0x100 + 4);
  fork.writeUInt32BE(0x100);
  fork.writeUInt32BE(0x104 + table.length, 4);
  fork.writeUInt32BE(4 + table.length, 8);
  fork.writeUInt32BE(table.length, 0x100);
  trailer.writeBigUInt64BE(BigInt(body.length), 0x28);
  trailer.writeBigUInt64BE(BigInt(fork.length + table.length), 0x30);
  return Buffer.concat([body, fork, table, trailer]);
}

const disk = sampleDisk(2 ** 20 + 20_480);
disk.fill(0, 131072, 393216);
const image = dmgImage(disk, ['zlib', 'raw']);

const commands = `
info a.dmg
info --output=json a.dmg
map --output=json a.dmg
check a.dmg
resize a.dmg 2M
convert -O raw a.dmg a.raw
compare a.dmg disk.raw
compare fork.dmg disk.raw
compare ro.dmg disk.raw
compare -f dmg noname disk.raw
create -f dmg x.dmg 1M
info lzfse.dmg
convert -O raw lzfse.dmg l.raw
info -f dmg disk.raw
info -f dmg short
patch a.dmg 100 1,2,3,4,5
convert -O raw a.dmg a.raw
`;

/** What Debian's qemu-img says about modules that it does not come with. */
const withoutModules = (text: string): string => text.replace(/^.*module (block-)+dmg-\w+ not found.*\n/gm, '');

test('dmg images: vring answers as qemu-img does', { skip: skipReason }, () =>
  compareWithQemuImg(commands, withoutModules, {
    'a.dmg': image,
    'fork.dmg': dmgImage(disk, ['zlib'], 'fork'),
    'ro.dmg': dmgImage(disk, ['raw']),
    'lzfse.dmg': dmgImage(disk, ['lzfse', 'zlib']),
    noname: image,
    short: new Uint8Array(100),
    'disk.raw': disk,
  }),
);

const hasBzip2 = spawnSync('bzip2', ['--version']).status === 0;
test('dmg with bzip2 chunks', { skip: hasBzip2 ? false : 'bzip2 is not installed' }, async () => {
  const host = memoryHost(new NodeBlockHost(() => undefined));
  host.files.images.set('disk', MemoryImage.from(dmgImage(disk, ['bzip2', 'zlib'])));
  const node = await new BlockGraph(host).open({ filename: 'disk', format: 'dmg' });
  const contents = new Uint8Array(disk.length);
  await node.read(0, contents);
  await node.close();
  assert.equal(Buffer.compare(contents, disk), 0);
});

test('dmg: damaged images end in clear errors', async () => {
  const real = new NodeBlockHost(() => undefined);
  const { length } = blocks(disk, ['zlib', 'raw']).table;
  const forked = MemoryImage.from(dmgImage(disk, ['zlib', 'raw'], 'fork'));
  const end = forked.size - 512;
  await attackImage(real, {
    format: 'dmg',
    image: forked,
    regions: [
      [end, 512],
      [end + 0x28, 16],
      [end - length, length],
      [end - length - 0x104, 16],
      [0, 2000],
    ],
    isReadOnly: true,
  });
  const listed = MemoryImage.from(image);
  await attackImage(real, {
    format: 'dmg',
    image: listed,
    regions: [
      [listed.size - 512, 512],
      [listed.size - 512 + 0xd8, 16],
      [listed.size - 512 - Math.ceil((length * 4) / 3), Math.ceil((length * 4) / 3)],
    ],
    isReadOnly: true,
    mutations: 50,
  });
});
