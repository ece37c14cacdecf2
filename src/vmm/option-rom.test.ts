import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { PciFunction } from '../hw/index.js';
import type { DeviceBoard } from '../machine/board.js';
import { claimOptionRom, readOptionRom } from './option-rom.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-rom-'));
after(() => rmSync(folder, { recursive: true }));

function boardWith(bytes: Uint8Array) {
  const path = join(folder, 'rom');
  writeFileSync(path, bytes);
  const buffer = new SharedArrayBuffer(1 << 20);
  return { path, board: { buffer, takeMemory: () => 0x1000 } as unknown as DeviceBoard, bytes: new Uint8Array(buffer) };
}

const sum = (bytes: Uint8Array) => bytes.reduce((all, byte) => (all + byte) & 0xff, 0);

test("a ROM is made the function's own, and its bytes still sum up to zero", () => {
  const image = Uint8Array.from({ length: 3000 }, (_, i) => (i * 5) & 0xff);
  image.set([0x55, 0xaa, 6]);
  image.set([0x40, 0], 0x18);
  image.set([0x50, 0x43, 0x49, 0x52, 0, 0, 0, 0], 0x40);
  image[2999] = (image[2999] - sum(image)) & 0xff;
  const { path, board, bytes } = boardWith(image);
  const rom = readOptionRom(board, path);
  assert.deepEqual(rom, { hva: 0x1000, size: 4096 });
  claimOptionRom(board, rom, new PciFunction({ name: 'x', vendorId: 0x10ec, deviceId: 0x8029, classCode: 0x020000 }));
  assert.deepEqual([...bytes.subarray(0x1044, 0x1048)], [0xec, 0x10, 0x29, 0x80]);
  assert.equal(sum(bytes.subarray(0x1000, 0x1000 + 3000)), 0);
});

test('a file that is none is refused by name; a pointer that leads elsewhere changes nothing', () => {
  const none = boardWith(new Uint8Array(100));
  assert.throws(() => readOptionRom(none.board, none.path), { code: 'option-rom' });
  const image = new Uint8Array(2048);
  image.set([0x55, 0xaa]);
  image.set([0xff, 0xff], 0x18);
  const wild = boardWith(image);
  const rom = readOptionRom(wild.board, wild.path);
  claimOptionRom(wild.board, rom, new PciFunction({ name: 'x', vendorId: 1, deviceId: 2, classCode: 0x020000 }));
  assert.deepEqual([...wild.bytes.subarray(0x1000, 0x1800)], [...image]);
  assert.equal(readOptionRom(wild.board, undefined), undefined);
});
