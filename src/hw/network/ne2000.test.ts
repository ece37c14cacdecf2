import assert from 'node:assert/strict';
import test from 'node:test';
import { seededRandom } from '../testing.js';
import { Ne2000Pci } from './ne2000-card.js';
import { emptyBus, plugIn, testFrame, testMac } from './testing.js';

/** Registers, page in the tens. */
const reg = { CR: 0, PSTART: 1, PSTOP: 2, BNRY: 3, TPSR: 4, TBCR0: 5, ISR: 7, RSAR0: 8, RBCR0: 10, RCR: 12 } as const;
const [DCR, IMR] = [14, 15];
const [START, STOP, TXP, READ, WRITE, NODMA] = [2, 1, 4, 8, 0x10, 0x20];

function setUp(ram?: SharedArrayBuffer) {
  const bus = emptyBus(ram);
  const card = new Ne2000Pci({ name: 'ne2k_pci', peer: bus.peer, mac: testMac });
  plugIn(bus, card.function);
  const base = card.function.barAddress(card.function.barSpecs[0]) as number;
  const read = (at: number, size: 1 | 2 | 4 = 1) => bus.ports.read(base + at, size);
  const write = (at: number, value: number, size: 1 | 2 | 4 = 1) => bus.ports.write(base + at, size, value);
  /** Remote DMA. */
  const begin = (command: number, address: number, count: number) => {
    write(reg.CR, START | NODMA);
    write(reg.RBCR0, count & 0xff);
    write(reg.RBCR0 + 1, count >> 8);
    write(reg.RSAR0, address & 0xff);
    write(reg.RSAR0 + 1, address >> 8);
    write(reg.CR, START | command);
  };
  const readMemory = (address: number, count: number) => {
    begin(READ, address, count);
    return Array.from({ length: count / 2 }, () => read(0x10, 2)).flatMap((word) => [word & 0xff, word >> 8]);
  };
  const writeMemory = (address: number, bytes: ArrayLike<number>) => {
    begin(WRITE, address, bytes.length);
    for (let i = 0; i < bytes.length; i += 4) {
      const word = bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
      write(0x10, word >>> 0, 4);
    }
  };
  /** As a driver does: words, a ring of the pages 0x4c to 0x7f, the address of the card, everything that is for it. */
  const start = () => {
    write(reg.CR, STOP | NODMA);
    write(DCR, 0x49);
    write(reg.RCR, 4);
    write(reg.PSTART, 0x4c);
    write(reg.PSTOP, 0x80);
    write(reg.BNRY, 0x4c);
    write(reg.ISR, 0xff);
    write(IMR, 0x3f);
    write(reg.CR, STOP | NODMA | 0x40);
    for (const [i, byte] of testMac.entries()) write(1 + i, byte);
    write(7, 0x4d);
    write(reg.CR, START | NODMA);
  };
  return { ...bus, card, base, read, write, readMemory, writeMemory, start };
}

test("the card's address is in its memory, each byte twice, with the letters of a NE2000", () => {
  const { read, write, readMemory } = setUp();
  assert.equal(read(0x1f), 0);
  assert.equal(read(reg.ISR) & 0x80, 0x80, 'reset');
  write(DCR, 1);
  const prom = readMemory(0, 32);
  for (let i = 0; i < 32; i += 2) assert.equal(prom[i], prom[i + 1]);
  assert.deepEqual(
    prom.filter((_, i) => i % 2 === 0),
    [...testMac, 0, 0, 0, 0, 0, 0, 0, 0, 0x57, 0x57],
  );
  assert.deepEqual([read(10), read(11)], [0x50, 0x43], 'RTL8029');
});

test('a frame is written into the memory of the card and sent', () => {
  const { peer, read, write, start, writeMemory, card } = setUp();
  start();
  const frame = testFrame(100);
  writeMemory(0x4000, frame);
  assert.equal(read(reg.ISR) & 0x40, 0x40, 'remote DMA is done');
  assert.ok(!card.function.state.intx, 'and not asked for');
  write(reg.TPSR, 0x40);
  write(reg.TBCR0, 100);
  write(reg.TBCR0 + 1, 0);
  write(reg.CR, START | NODMA | TXP);
  assert.deepEqual(peer.sent[0].bytes, [...frame]);
  assert.equal(read(reg.CR) & TXP, 0);
  assert.equal(read(reg.TPSR) & 1, 1, 'TSR');
  assert.ok(card.function.state.intx);
  write(reg.ISR, 2);
  assert.ok(!card.function.state.intx);
});

test('a frame that the peer has no room for is sent later, also after save and load', () => {
  const context = setUp();
  context.start();
  context.writeMemory(0x4000, testFrame(64));
  context.peer.room = 0;
  context.write(reg.TPSR, 0x40);
  context.write(reg.TBCR0, 64);
  context.write(reg.CR, START | NODMA | TXP);
  assert.equal(context.read(reg.CR) & TXP, TXP, 'under way');
  const copy = setUp();
  copy.card.load(context.card.save());
  assert.deepEqual(copy.peer.sent[0].bytes, [...testFrame(64)]);
  context.peer.room = 1;
  context.peer.card.sendReady();
  assert.equal(context.read(reg.CR) & TXP, 0);
});

test('frames come into the ring behind a header each, around its end, and wait when it is full', () => {
  const { peer, read, write, start, readMemory } = setUp();
  start();
  peer.give(testFrame(400, [0x52, 0x54, 0, 0x12, 0x34, 0x57]));
  assert.equal(read(reg.ISR) & 1, 0, 'for another card');
  peer.give(testFrame(1000));
  assert.equal(read(reg.ISR) & 1, 1);
  // 1000 bytes, four of the header, four of a checksum: four pages.
  assert.deepEqual(readMemory(0x4d00, 4), [1, 0x51, 1004 & 0xff, 1004 >> 8]);
  assert.deepEqual(readMemory(0x4d04, 1000), [...testFrame(1000)]);
  // The ring has 51 pages; a frame of the largest size takes six, and room for one more must be left.
  let given = 0;
  while (peer.waiting.length === 0) {
    peer.give(testFrame(1514));
    given++;
  }
  assert.ok(given >= 7 && given <= 8, String(given));
  write(reg.CR, START | NODMA | 0x40);
  const page = read(7);
  write(reg.CR, START | NODMA);
  write(reg.BNRY, page - 1);
  assert.equal(peer.waiting.length, 0);
  const last = page << 8;
  const header = readMemory(last, 4);
  assert.equal(header[1], page + 6 >= 0x80 ? page + 6 - 0x80 + 0x4c : page + 6);
  const bytes = readMemory(last + 4, 1514);
  assert.deepEqual(bytes, [...testFrame(1514)], 'reading goes around as well');
});

test('a driver that says it has seen all while more wait is told again', () => {
  const { peer, read, write, start } = setUp();
  start();
  while (peer.waiting.length === 0) peer.give(testFrame(1514));
  write(reg.ISR, 1);
  assert.equal(read(reg.ISR) & 1, 1);
  write(reg.CR, START | NODMA | 0x40);
  const page = read(7);
  write(reg.CR, START | NODMA);
  write(reg.BNRY, page - 1);
  write(reg.ISR, 1);
  assert.equal(read(reg.ISR) & 1, 0);
});

test('broadcast and multicast by the filter, everything when promiscuous', () => {
  const { peer, read, write, start } = setUp();
  start();
  const heard = (to: number[]) => {
    write(reg.ISR, 0xff);
    peer.give(testFrame(60, to));
    return (read(reg.ISR) & 1) === 1;
  };
  const group = [0x33, 0x33, 0, 0, 0, 1];
  assert.ok(heard([255, 255, 255, 255, 255, 255]));
  write(reg.RCR, 8);
  assert.ok(!heard([255, 255, 255, 255, 255, 255]));
  assert.ok(!heard(group));
  // Linux computes the same: ether_crc(6, address) >> 26 is 0x1f for 33:33:00:00:00:01.
  write(reg.CR, START | NODMA | 0x40);
  for (let i = 0; i < 8; i++) write(8 + i, 0xff);
  write(reg.CR, START | NODMA);
  assert.ok(heard(group));
  write(reg.RCR, 0x10);
  assert.ok(heard([0x52, 0x54, 0, 1, 2, 3]));
});

test('without a cable nothing comes and nothing goes', () => {
  const { peer, card, read, write, start, writeMemory } = setUp();
  start();
  card.chip.setLink(false);
  writeMemory(0x4000, testFrame(64));
  write(reg.TPSR, 0x40);
  write(reg.TBCR0, 64);
  write(reg.CR, START | NODMA | TXP);
  peer.give(testFrame(64));
  assert.deepEqual([peer.sent.length, peer.waiting.length, read(reg.ISR) & 1], [0, 0, 0]);
  card.chip.setLink(true);
  peer.give(testFrame(64));
  assert.equal(read(reg.ISR) & 1, 1);
});

test('hostile registers, rings and state: no throw, no hang', () => {
  const random = seededRandom(11);
  for (let round = 0; round < 20; round++) {
    const { read, write, peer, card, start } = setUp();
    if (random(2) === 0) start();
    for (let step = 0; step < 400; step++) {
      const at = random(8) === 0 ? random(0x100) : random(0x20);
      const size = ([1, 1, 1, 2, 4] as const)[random(5)];
      if (at + size > 0x100) continue;
      if (random(4) === 0) read(at, size);
      else write(at, random(3) === 0 ? random(0xffffffff) : random(0x100), size);
      if (random(4) === 0) peer.give(Uint8Array.from({ length: 14 + random(1600) }, () => random(256)));
      peer.waiting.length = Math.min(peer.waiting.length, 8);
      peer.sent.length = 0;
      if (random(32) === 0) card.load(card.save());
    }
  }
});
