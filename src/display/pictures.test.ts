import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import test from 'node:test';
import { deflateSync, inflateSync } from 'node:zlib';
import { png, ppm, Surface, TileSet } from './index.js';

function sample(width: number, height: number): Surface {
  const surface = new Surface();
  surface.resize(width, height);
  for (let y = 0; y < height; y++) {
    surface.putRow(
      y,
      Uint32Array.from({ length: width }, (_, x) => (x * 3 + y * 5) * 0x010203),
    );
  }
  return surface;
}

test('PPM: header and red, green, blue of each pixel', () => {
  const bytes = ppm(sample(3, 2));
  const header = new TextEncoder().encode('P6\n3 2\n255\n');
  assert.deepEqual(bytes.subarray(0, header.length), header);
  assert.deepEqual([...bytes.subarray(header.length, header.length + 6)], [0, 0, 0, 3, 6, 9]);
  assert.equal(bytes.length, header.length + 18);
});

test('PNG: chunks with checksums around the rows', () => {
  const bytes = png(sample(20, 7), (raw) => deflateSync(raw));
  const view = new DataView(bytes.buffer);
  assert.deepEqual([...bytes.subarray(0, 8)], [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  assert.deepEqual([view.getUint32(16), view.getUint32(20), bytes[24], bytes[25]], [20, 7, 8, 2]);
  const length = view.getUint32(33);
  const rows = inflateSync(bytes.subarray(41, 41 + length));
  assert.equal(rows.length, 7 * 61);
  assert.deepEqual([...rows.subarray(61, 65)], [0, 5, 10, 15]);
});

const readsPng = spawnSync('python3', ['-c', 'import PIL']).status === 0;
test('PNG as another program reads it', { skip: readsPng ? false : 'python3 with PIL is not installed' }, () => {
  const bytes = png(sample(50, 31), (raw) => deflateSync(raw));
  const script =
    'import sys,io,PIL.Image as I; i=I.open(io.BytesIO(sys.stdin.buffer.read())); i.load(); print(i.size, i.getpixel((49,30)))';
  const ran = spawnSync('python3', ['-c', script], { input: bytes, encoding: 'utf8' });
  const value = (49 * 3 + 30 * 5) * 0x010203;
  assert.equal(ran.stdout.trim(), `(50, 31) (${(value >> 16) & 255}, ${(value >> 8) & 255}, ${value & 255})`);
});

test('tiles come out as rectangles that cover exactly them', () => {
  const tiles = new TileSet(100, 50);
  assert.ok(tiles.isEmpty);
  tiles.add({ x: 20, y: 0, width: 30, height: 33 });
  tiles.add({ x: 96, y: 48, width: 500, height: 500 });
  assert.deepEqual(tiles.take({ x: 0, y: 0, width: 100, height: 50 }), [
    { x: 16, y: 0, width: 48, height: 48 },
    { x: 96, y: 48, width: 4, height: 2 },
  ]);
  assert.ok(tiles.isEmpty);
});

test('a surface tells which tiles have other pixels', () => {
  const surface = sample(64, 32);
  surface.damage.clear();
  surface.putRow(3, surface.pixels.slice(3 * 64, 4 * 64));
  assert.ok(surface.damage.isEmpty, 'the same pixels are no damage');
  const row = surface.pixels.slice(20 * 64, 21 * 64);
  row[33]! ^= 1;
  surface.putRow(20, row);
  assert.deepEqual(surface.damage.take({ x: 0, y: 0, width: 64, height: 32 }), [
    { x: 32, y: 16, width: 16, height: 16 },
  ]);
});
