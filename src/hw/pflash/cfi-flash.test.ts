import assert from 'node:assert/strict';
import test from 'node:test';
import { MemorySpace } from '../../bus/index.js';
import { StateError } from '../../schema/index.js';
import { fuzzAccesses, seededRandom } from '../testing.js';
import { flashStatus } from './cfi-flash.js';
import { wireFlash } from './wiring.js';

const SIZE = 0x10000;
const GPA = 0x100000;
const HVA = 0x4000;

function make(readonly = false, wordBytes: 1 | 4 = 1) {
  const buffer = new SharedArrayBuffer(HVA + SIZE + 0x1000);
  const bytes = new Uint8Array(buffer);
  bytes.fill(0xa5, HVA, HVA + SIZE);
  const memory = new MemorySpace(buffer);
  const changes: [number, number][] = [];
  const published: [number, number][] = [];
  const flash = wireFlash(
    { memory, buffer, hva: HVA, gpa: GPA, size: SIZE, published: (hva, length) => void published.push([hva, length]) },
    {
      name: 'flash',
      eraseBytes: 4096,
      wordBytes,
      readonly,
      changed: (start, length) => void changes.push([start, length]),
    },
  );
  const write = (offset: number, ...values: number[]) => {
    for (const value of values) memory.write(GPA + offset, 1, value);
  };
  const read = (offset: number) => memory.read(GPA + offset, 1);
  return { bytes, memory, flash, changes, published, write, read };
}

test('the array is ROM: it reads as its contents, and is in the list of RAM blocks', () => {
  const { memory, read } = make();
  assert.equal(read(0), 0xa5);
  assert.equal(memory.read(GPA + 0x100, 4), 0xa5a5a5a5);
  assert.deepEqual(
    memory.ramBlocks().map(({ gpa, size, readonly }) => ({ gpa, size, readonly })),
    [{ gpa: GPA, size: SIZE, readonly: true }],
  );
});

test("EDK II's probe finds flash: clearing the status shows the array, reading it then gives zero", () => {
  const { write, read } = make();
  write(0, 0x50);
  assert.equal(read(0), 0xa5);
  write(0, 0x70);
  assert.equal(read(0), 0);
  write(0, 0xff);
  assert.equal(read(0), 0xa5);
});

test('a byte is programmed, and the status is shown until the array is asked for', () => {
  const { memory, write, read, changes, published } = make();
  write(0x1234, 0x10, 0x42);
  assert.equal(read(0x1234), flashStatus.ready);
  assert.equal(memory.ramBlocks().length, 0, 'while it shows its status it is no memory');
  write(0x1235, 0x40, 0x43);
  write(0, 0xff);
  assert.deepEqual([read(0x1233), read(0x1234), read(0x1235), read(0x1236)], [0xa5, 0x42, 0x43, 0xa5]);
  assert.deepEqual(changes, [
    [0x1234, 1],
    [0x1235, 1],
  ]);
  assert.deepEqual(published, [
    [HVA + 0x1234, 1],
    [HVA + 0x1235, 1],
  ]);
});

test('erasing wants its confirmation and clears one block', () => {
  const { write, read, changes } = make();
  write(0x2345, 0x20, 0xd0, 0xff);
  assert.deepEqual([read(0x1fff), read(0x2000), read(0x2fff), read(0x3000)], [0xa5, 0xff, 0xff, 0xa5]);
  assert.deepEqual(changes, [[0x2000, 0x1000]]);
  write(0x4000, 0x20, 0x00);
  assert.equal(read(0), flashStatus.ready | flashStatus.eraseFailed | flashStatus.programFailed);
  write(0, 0x50);
  assert.equal(read(0x4000), 0xa5);
});

test('a buffered write lands at its confirmation, and stays within its block', () => {
  const { write, read, changes } = make();
  write(0x300, 0xe8);
  assert.equal(read(0x300), flashStatus.ready);
  write(0x300, 3);
  write(0x302, 1);
  write(0x301, 2);
  write(0x3ff, 3);
  write(0x300, 4);
  write(0x300, 0xd0, 0xff);
  assert.deepEqual([read(0x300), read(0x301), read(0x302), read(0x303), read(0x3ff)], [4, 2, 1, 0xa5, 3]);
  assert.deepEqual(changes, [[0x300, 0x100]]);
  write(0x500, 0xe8, 1, 0x11);
  write(0x600, 0x22);
  assert.equal(read(0) & flashStatus.programFailed, flashStatus.programFailed);
  write(0, 0x50);
  assert.deepEqual([read(0x500), read(0x600)], [0xa5, 0xa5]);
});

test('what is read-only says so and stays as it is', () => {
  const { write, read, changes } = make(true);
  write(0, 0x10, 0);
  assert.equal(read(0), flashStatus.ready | flashStatus.programFailed);
  write(0, 0x50, 0x20, 0xd0);
  assert.equal(read(0), flashStatus.ready | flashStatus.eraseFailed);
  write(0, 0x50, 0xe8, 0, 1, 0xd0);
  assert.equal(read(0), flashStatus.ready | flashStatus.programFailed);
  write(0, 0xff);
  assert.equal(read(0), 0xa5);
  assert.deepEqual(changes, []);
});

test('identifier and CFI query', () => {
  const { write, read } = make();
  write(0, 0x90);
  assert.deepEqual([read(0), read(1), read(2)], [0x89, 0x18, 0]);
  write(0, 0x98);
  assert.equal(String.fromCharCode(read(0x10), read(0x11), read(0x12)), 'QRY');
  assert.equal(2 ** read(0x27), SIZE);
  // JESD68.01: number of blocks less one, and their size in units of 256 bytes.
  assert.equal((read(0x2d) | (read(0x2e) << 8)) + 1, SIZE / 4096);
  assert.equal((read(0x2f) | (read(0x30) << 8)) * 256, 4096);
  assert.equal(String.fromCharCode(read(0x31), read(0x32), read(0x33)), 'PRI');
});

test('saved and loaded in the middle of a buffered write it goes on', () => {
  const first = make();
  first.write(0x300, 0xe8, 1, 0x77);
  const second = make();
  second.flash.load(first.flash.save());
  assert.equal(second.memory.ramBlocks().length, 0);
  second.write(0x301, 0x78);
  second.write(0x300, 0xd0, 0xff);
  assert.deepEqual([second.read(0x300), second.read(0x301)], [0x77, 0x78]);
  assert.throws(() => second.flash.load(Uint8Array.of(1, 2, 3)), StateError);
  assert.equal(second.read(0x300), 0x77);
  second.write(0, 0x70);
  second.flash.reset();
  assert.equal(second.read(0x300), 0x77);
});

test('random accesses and damaged states reach nothing beside the chip', () => {
  const seed = Number(process.env['VRING_SEED'] ?? Date.now() % 2 ** 32);
  const random = seededRandom(seed);
  const { bytes, memory, flash } = make();
  const before = bytes.slice();
  const access = {
    read: (offset: number, size: 1 | 2 | 4) => memory.read(GPA + offset, size),
    write: (offset: number, size: 1 | 2 | 4, value: number) => memory.write(GPA + offset, size, value),
  };
  for (let round = 0; round < 200; round++) {
    fuzzAccesses(random, 200, SIZE, access);
    const saved = flash.save();
    for (let i = 0; i < 3; i++) saved[random(saved.length)] = random(256);
    try {
      flash.load(saved);
    } catch (error) {
      assert.ok(error instanceof StateError, `seed ${seed}`);
    }
  }
  assert.deepEqual(bytes.subarray(0, HVA), before.subarray(0, HVA), `seed ${seed}`);
  assert.deepEqual(bytes.subarray(HVA + SIZE), before.subarray(HVA + SIZE), `seed ${seed}`);
});

test('two chips of 16 bits side by side: each answers in its half of a word', () => {
  const { memory } = make(false, 4);
  const write = (offset: number, value: number) => memory.write(GPA + offset, 4, value);
  const read = (offset: number) => memory.read(GPA + offset, 4);
  const both = (value: number) => value * 0x10001;
  write(0, both(0x98));
  assert.deepEqual(
    [0x10, 0x11, 0x12].map((register) => read(4 * register)),
    [...'QRY'].map((letter) => both(letter.charCodeAt(0))),
  );
  assert.equal(read(4 * 0x27), both(15), 'half of the 64 KiB');
  assert.equal(read(4 * 0x2d), both(15), 'sixteen blocks');
  assert.equal(read(4 * 0x2f), both(2048 >> 8), 'of 2 KiB in each chip');
  assert.equal(read(4 * 0x2a), both(7), 'a buffer of 128 bytes in each');
  write(0, both(0x90));
  assert.deepEqual([read(0), read(4)], [both(0x89), both(0x18)]);
  write(0x1000, both(0x20));
  write(0x1000, both(0xd0));
  assert.equal(read(0), both(flashStatus.ready));
  // Three words through the buffer.
  write(0x1100, both(0xe8));
  write(0x1100, both(2));
  for (let i = 0; i < 3; i++) write(0x1100 + 4 * i, 0x01020304 + i);
  write(0x1100, both(0xd0));
  assert.equal(read(0x1100), both(flashStatus.ready));
  write(0, both(0xff));
  assert.deepEqual([read(0x1100), read(0x1108), read(0x110c)], [0x01020304, 0x01020306, 0xffffffff]);
  // More words than the buffer has.
  write(0x1100, both(0xe8));
  write(0x1100, both(64));
  assert.equal(read(0), both(flashStatus.ready | flashStatus.programFailed | flashStatus.eraseFailed));
});
