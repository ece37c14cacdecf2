import assert from 'node:assert/strict';
import test from 'node:test';
import { seededRandom } from '../testing.js';
import { Rtl8139 } from './rtl8139.js';
import { emptyBus, plugIn, testFrame, testMac } from './testing.js';

const reg = { TSD0: 0x10, TSAD0: 0x20, RBSTART: 0x30, CR: 0x37, CAPR: 0x38, CBR: 0x3a, IMR: 0x3c, ISR: 0x3e } as const;
const more = { TCR: 0x40, RCR: 0x44, TCTR: 0x48, CR9346: 0x50, TimerInt: 0x54, MSR: 0x58, TPPoll: 0xd9, CpCR: 0xe0 };
const ring = 0x20000;
const data = 0x10000;
const txRing = 0x1000;
const rxRing = 0x2000;

function setUp(ram?: SharedArrayBuffer) {
  const bus = emptyBus(ram);
  const { memory, peer, time } = bus;
  const card = new Rtl8139({ name: 'rtl8139', peer, mac: testMac, dma: memory.dma, clock: time });
  plugIn(bus, card.function);
  const base = card.function.barAddress(card.function.barSpecs[1]) as number;
  const io = card.function.barAddress(card.function.barSpecs[0]) as number;
  const read = (at: number, size: 1 | 2 | 4) => memory.read(base + at, size);
  const write = (at: number, size: 1 | 2 | 4, value: number) => memory.write(base + at, size, value);
  return { ...bus, card, base, io, read, write, dma: memory.dma };
}

type Context = ReturnType<typeof setUp>;

/** The ring of 8 KiB and slots. */
function startOld({ write }: Context): void {
  write(reg.RBSTART, 4, ring);
  write(reg.CR, 1, 0x0c);
  write(more.RCR, 4, 0x0a);
  write(reg.IMR, 2, 0xe1ff);
}

function startPlus({ write, dma }: Context): void {
  write(more.CpCR, 2, 3);
  write(reg.TSAD0, 4, txRing);
  write(0xe4, 4, rxRing);
  for (let i = 0; i < 4; i++) {
    dma.writeU32(rxRing + i * 16, (0x80000000 | (i === 3 ? 0x40000000 : 0) | 1536) >>> 0);
    dma.writeU32(rxRing + i * 16 + 8, ring + i * 2048);
    dma.writeU32(txRing + i * 16, i === 3 ? 0x40000000 : 0);
  }
  write(reg.CR, 1, 0x0c);
  write(more.RCR, 4, 0x0a);
  write(reg.IMR, 2, 0xe1ff);
}

/** Gives a piece away. `flags`: FS and LS, and what is asked for. */
function give({ dma }: Context, index: number, gpa: number, length: number, flags: number): void {
  const at = txRing + index * 16;
  dma.writeU32(at + 8, gpa);
  dma.writeU32(at, (0x80000000 | (index === 3 ? 0x40000000 : 0) | flags | length) >>> 0);
}

test('address, EEPROM, media and the chip tell what they are', () => {
  const { read, write, card } = setUp();
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5].map((at) => read(at, 1)),
    [...testMac],
  );
  assert.equal(read(more.TCR, 4), 0x74800000);
  const clock = (bit: number) => {
    write(more.CR9346, 1, 0x88 | (bit << 1));
    write(more.CR9346, 1, 0x8c | (bit << 1));
    return read(more.CR9346, 1) & 1;
  };
  const word = (address: number) => {
    write(more.CR9346, 1, 0x80);
    write(more.CR9346, 1, 0x88);
    for (const bit of [1, 1, 0]) clock(bit);
    for (let i = 5; i >= 0; i--) clock((address >> i) & 1);
    let value = 0;
    for (let i = 0; i < 16; i++) value = (value << 1) | clock(0);
    write(more.CR9346, 1, 0);
    return value;
  };
  assert.deepEqual([0, 1, 2, 7, 8, 9].map(word), [0x8129, 0x10ec, 0x8139, 0x5452, 0x1200, 0x5634]);
  assert.equal(read(more.MSR, 1) & 4, 0);
  card.setLink(false);
  assert.equal(read(more.MSR, 1) & 4, 4);
  assert.equal(read(0x64, 2) & 4, 0);
  assert.equal(read(reg.ISR, 2) & 0x20, 0x20);
});

test('four slots: a frame is sent when it is given away, and the slot comes back', () => {
  const context = setUp();
  const { peer, dma, read, write, card } = context;
  startOld(context);
  dma.write(data, testFrame(100));
  write(reg.TSAD0 + 4, 4, data);
  write(reg.TSD0 + 4, 4, 100);
  assert.deepEqual(peer.sent[0].bytes, [...testFrame(100)]);
  assert.equal(read(reg.TSD0 + 4, 4) & 0xa000, 0xa000);
  assert.equal(read(0x60, 2) & 0x2002, 0x2002);
  assert.ok(card.function.state.intx);
  write(reg.ISR, 2, 4);
  assert.ok(!card.function.state.intx);
  peer.room = 1;
  write(reg.TSAD0, 4, data);
  write(reg.TSD0, 4, 64);
  assert.equal(read(reg.TSD0, 4) & 0x2000, 0, 'no room: still the card has it');
  peer.room = 2;
  peer.card.sendReady();
  assert.equal(peer.sent[1].bytes.length, 64);
});

test('the ring of bytes: a header and the frame, in pieces around the end, waiting while it is full', () => {
  const context = setUp();
  const { peer, dma, read, write, ram } = context;
  startOld(context);
  assert.equal(read(reg.CR, 1) & 1, 1, 'empty');
  peer.give(testFrame(200, [0x52, 0x54, 0, 9, 9, 9]));
  assert.equal(read(reg.CR, 1) & 1, 1, 'not for us');
  for (let i = 0; i < 6; i++) peer.give(testFrame(1500));
  // Each takes 1508 bytes: the sixth does not fit.
  assert.equal(peer.waiting.length, 1);
  assert.equal(dma.readU32(ring), 0x4001 | (1504 << 16));
  assert.deepEqual([...ram.subarray(ring + 4, ring + 1504)], [...testFrame(1500)]);
  assert.equal(read(reg.CBR, 2), 5 * 1508);
  write(reg.CAPR, 2, 1508 - 16);
  assert.equal(peer.waiting.length, 0);
  const at = 5 * 1508;
  assert.equal(dma.readU32(ring + at), 0x4001 | (1504 << 16));
  const whole = [...ram.subarray(ring + at + 4, ring + 8192), ...ram.subarray(ring, ring + 8192)];
  assert.deepEqual(whole.slice(0, 1500), [...testFrame(1500)]);
  assert.equal(read(reg.CBR, 2), 6 * 1508 - 8192);
  // With WRAP the driver finds a frame in one piece.
  write(more.RCR, 4, 0x8a);
  write(reg.CAPR, 2, 6 * 1508 - 8192 - 16);
  assert.equal(read(reg.CR, 1) & 1, 1);
  for (let i = 0; i < 5; i++) {
    peer.give(testFrame(1500));
    write(reg.CAPR, 2, read(reg.CBR, 2) - 16);
  }
  assert.ok(read(reg.CBR, 2) < 1508, 'beyond the end');
  const last = ring + read(reg.CBR, 2) + 8192 - 1508;
  assert.deepEqual([...ram.subarray(last + 4, last + 1504)], [...testFrame(1500)]);
});

test('C+: a frame in two pieces with a tag; a large one goes whole; descriptors come back', () => {
  const context = setUp();
  const { peer, dma, write, read } = context;
  startPlus(context);
  dma.write(data, testFrame(100));
  give(context, 0, data, 40, 0x20000000);
  give(context, 1, data + 40, 60, 0x10000000);
  dma.writeU32(txRing + 20, 0x20000 | 0x0500);
  write(more.TPPoll, 1, 0x40);
  const frame = testFrame(100);
  assert.deepEqual(peer.sent[0].bytes, [...frame.slice(0, 12), 0x81, 0, 0, 5, ...frame.slice(12)]);
  assert.deepEqual([dma.readU32(txRing) >>> 31, dma.readU32(txRing + 16) >>> 31], [0, 0]);
  assert.equal(read(reg.ISR, 2) & 4, 4);

  const large = new Uint8Array(9000);
  large.set([0x08, 0x00, 0x45, 0, 8986 >> 8, 8986 & 0xff], 12);
  large[23] = 6;
  large.set([10, 0, 2, 15, 10, 0, 2, 2], 26);
  large[46] = 0x50;
  large.set([0xff, 0xff], 50);
  dma.write(data, large);
  give(context, 2, data, 9000, (0x38000000 | (1460 << 16)) >>> 0);
  dma.writeU32(txRing + 36, 0);
  write(more.TPPoll, 1, 0x40);
  const { bytes, offload } = peer.sent[1];
  assert.deepEqual(
    { ...offload },
    { flags: 1, gsoType: 1, gsoSize: 1460, headerLength: 54, checksumStart: 34, checksumOffset: 16 },
  );
  let sum = 0;
  for (let i = 14; i < 34; i += 2) sum += bytes[i] * 256 + bytes[i + 1];
  assert.equal((sum & 0xffff) + (sum >>> 16), 0xffff, "IP's checksum");
  // The pseudo header: 0x0a00 + 0x020f + 0x0a00 + 0x0202 + 6 + 8966.
  assert.equal(bytes[50] * 256 + bytes[51], 0x1817 + 8966);
});

test('C+: frames come into descriptors, and wait for one', () => {
  const context = setUp();
  const { peer, dma, time, read, write, ram, card } = context;
  startPlus(context);
  peer.give(testFrame(1000));
  assert.equal(dma.readU32(rxRing), 0x32000000 | 1004);
  assert.deepEqual([...ram.subarray(ring, ring + 1000)], [...testFrame(1000)]);
  assert.ok(card.function.state.intx);
  for (let i = 0; i < 4; i++) peer.give(testFrame(60, [255, 255, 255, 255, 255, 255]));
  assert.equal(dma.readU32(rxRing + 48), (0x71000000 | 64) >>> 0);
  assert.equal(peer.waiting.length, 1);
  assert.equal(read(reg.ISR, 2) & 0x10, 0x10);
  dma.writeU32(rxRing, 0x80000000 + 1536);
  time.advance(2_000_000);
  assert.equal(peer.waiting.length, 0, 'the card looks again');
  write(more.CpCR, 2, 0x43);
  dma.writeU32(rxRing + 16, 0x80000000 + 1536);
  const tagged = testFrame(100);
  tagged.set([0x81, 0, 0x20, 0x05], 12);
  peer.give(tagged);
  assert.equal(dma.readU32(rxRing + 16) & 0x1fff, 100);
  assert.equal(dma.readU32(rxRing + 20), 0x10520);
  assert.deepEqual([...ram.subarray(ring + 2048, ring + 2048 + 96)], [...tagged.slice(0, 12), ...tagged.slice(16)]);
});

test('loopback: the card hears itself; the timer interrupts; counters are dumped', () => {
  const context = setUp();
  const { peer, dma, read, write, time } = context;
  startOld(context);
  write(more.TCR, 4, 0x60000);
  dma.write(data, testFrame(64));
  write(reg.TSAD0, 4, data);
  write(reg.TSD0, 4, 64);
  assert.equal(peer.sent.length, 0);
  assert.equal(dma.readU32(ring), 0x4001 | (68 << 16));
  write(reg.ISR, 2, 0xffff);
  write(more.TCTR, 4, 0);
  write(more.TimerInt, 4, 33_000);
  time.advance(900_000);
  assert.equal(read(reg.ISR, 2) & 0x4000, 0);
  time.advance(200_000);
  assert.equal(read(reg.ISR, 2) & 0x4000, 0x4000);
  assert.equal(read(more.TCTR, 4), 36_300);
  write(more.CpCR, 2, 3);
  write(reg.TSD0 + 4, 4, 0);
  write(reg.TSD0, 4, 0x3000 | 8);
  assert.equal(read(reg.TSD0, 4) & 8, 0);
  assert.deepEqual([dma.readU32(0x3000), dma.readU32(0x3008)], [1, 1]);
});

test('save and load in the middle of work', () => {
  const context = setUp();
  startPlus(context);
  context.dma.write(data, testFrame(100));
  context.peer.room = 0;
  give(context, 0, data, 100, 0x30000000);
  context.write(more.TPPoll, 1, 0x40);
  const copy = setUp(context.ram.buffer as SharedArrayBuffer);
  copy.card.load(context.card.save());
  // The frame had been taken in by the old card; what it was given after that goes.
  assert.equal(copy.dma.readU32(txRing) >>> 31, 0);
  assert.deepEqual(copy.peer.sent[0]?.bytes, [...testFrame(100)]);
  copy.peer.give(testFrame(60));
  assert.equal(copy.dma.readU32(rxRing) & 0x1fff, 64);
});

test('hostile registers, rings and state: no throw, no hang', () => {
  const random = seededRandom(12);
  const wanted = [0x10, 0x20, 0x24, 0x30, 0x37, 0x38, 0x3c, 0x3e, 0x40, 0x44, 0x48, 0x50, 0x54, 0xd9, 0xe0, 0xe4, 0xe8];
  for (let round = 0; round < 16; round++) {
    const { memory, ports, base, io, peer, time, ram, card } = setUp();
    for (let i = 0; i < 0x8000; i++) ram[i] = random(256);
    peer.room = 2;
    for (let step = 0; step < 250; step++) {
      const at = random(6) === 0 ? random(0x100) : wanted[random(wanted.length)];
      const size = ([1, 2, 4] as const)[random(3)];
      if (at + size > 0x100) continue;
      const value = random(3) === 0 ? random(0xffffffff) : random(0x4000);
      if (random(4) === 0) ports.write(io + at, size, value);
      else memory.write(base + at, size, value);
      memory.read(base + random(0xfc), size);
      if (random(3) === 0) peer.give(Uint8Array.from({ length: 14 + random(3000) }, () => random(256)));
      peer.waiting.length = Math.min(peer.waiting.length, 8);
      peer.sent.length = 0;
      if (random(8) === 0) time.advance(random(3_000_000));
      if (random(16) === 0) card.load(card.save());
    }
  }
});
