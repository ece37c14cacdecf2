import assert from 'node:assert/strict';
import test from 'node:test';
import { seededRandom } from '../testing.js';
import { E1000 } from './e1000.js';
import { emptyBus, testMac as mac, plainOffload as plain, plugIn } from './testing.js';

const txRing = 0x1000;
const rxRing = 0x2000;
const data = 0x10000;
const reg = { EECD: 0x10, EERD: 0x14, MDIC: 0x20, ICR: 0xc0, ITR: 0xc4, IMS: 0xd0, RCTL: 0x100, TCTL: 0x400 } as const;

function setUp(shared?: SharedArrayBuffer) {
  const bus = emptyBus(shared);
  const { memory, time, peer } = bus;
  const card = new E1000({ name: 'e1000', peer, mac, dma: memory.dma, clock: time });
  plugIn(bus, card.function);
  const base = card.function.barAddress(card.function.barSpecs[0]) as number;
  const read = (at: number) => memory.read(base + at, 4);
  const write = (at: number, value: number) => memory.write(base + at, 4, value);
  return { ...bus, card, read, write, base, dma: memory.dma };
}

type Context = ReturnType<typeof setUp>;

function startTx({ write }: Context): void {
  write(0x3800, txRing);
  write(0x3808, 16 * 16);
  write(reg.TCTL, 2);
}

function startRx({ write, dma }: Context, buffers = 8): void {
  for (let i = 0; i < 16; i++) dma.writeU64(rxRing + i * 16, 0x20000 + i * 2048);
  write(0x2800, rxRing);
  write(0x2808, 16 * 16);
  write(reg.RCTL, 2 | 0x8000);
  write(0x2818, buffers);
}

test('the EEPROM is read bit by bit and by words; its words sum up as they must', () => {
  const { read, write } = setUp();
  const clock = (bit: number) => {
    write(reg.EECD, 0x40 | 2 | (bit << 2));
    write(reg.EECD, 0x40 | 2 | (bit << 2) | 1);
    const out = (read(reg.EECD) >> 3) & 1;
    write(reg.EECD, 0x40 | 2 | (bit << 2));
    return out;
  };
  const word = (address: number) => {
    write(reg.EECD, 0x40);
    assert.ok((read(reg.EECD) & 0x80) !== 0, 'granted');
    write(reg.EECD, 0x42);
    for (const bit of [1, 1, 0]) clock(bit);
    for (let i = 5; i >= 0; i--) clock((address >> i) & 1);
    let value = 0;
    for (let i = 0; i < 16; i++) value = (value << 1) | clock(0);
    write(reg.EECD, 0);
    return value;
  };
  let sum = 0;
  for (let address = 0; address < 64; address++) {
    write(reg.EERD, (address << 8) | 1);
    assert.ok((read(reg.EERD) & 0x10) !== 0);
    const value = read(reg.EERD) >>> 16;
    assert.equal(word(address), value, String(address));
    sum += value;
  }
  assert.equal(sum & 0xffff, 0xbaba);
  assert.deepEqual([word(0), word(1), word(2)], [0x5452, 0x1200, 0x5634]);
});

test('the PHY says that the link is up, and when it is not', () => {
  const { card, read, write } = setUp();
  const phy = (register: number) => {
    write(reg.MDIC, 0x8000000 | (1 << 21) | (register << 16));
    return read(reg.MDIC) & 0xffff;
  };
  assert.equal((phy(2) << 16) | phy(3), 0x01410c20);
  assert.equal(phy(1) & 0x24, 0x24);
  assert.equal(read(8) & 2, 2);
  card.setLink(false);
  assert.equal(phy(1) & 4, 0);
  assert.equal(read(8) & 2, 0);
  assert.equal(read(reg.ICR) & 4, 4);
});

test('legacy descriptors: a frame in two pieces, its checksum left to the peer, status written back', () => {
  const context = setUp();
  const { peer, dma, read, write, card } = context;
  startTx(context);
  write(reg.IMS, 1);
  dma.write(
    data,
    Uint8Array.from({ length: 100 }, (_, i) => i),
  );
  dma.writeU64(txRing, data);
  dma.writeU32(txRing + 8, 40);
  dma.writeU32(txRing + 12, 0);
  dma.writeU64(txRing + 16, data + 40);
  dma.writeU32(txRing + 24, 60 | (50 << 16) | 0x0d000000);
  dma.writeU32(txRing + 28, 34 << 8);
  write(0x3818, 2);
  assert.deepEqual(
    peer.sent[0].bytes,
    Array.from({ length: 100 }, (_, i) => i),
  );
  assert.deepEqual(peer.sent[0].offload, { ...plain, flags: 1, checksumStart: 34, checksumOffset: 16 });
  assert.equal(dma.readU32(txRing + 28) & 1, 1);
  assert.equal(read(0x3810), 2);
  assert.ok(card.function.state.intx);
  assert.equal(read(reg.ICR) & 3, 3);
  assert.ok(!card.function.state.intx);
});

/** A context for TCP over IPv4 and a frame of `length` bytes. */
function sendLarge({ dma, write }: Context, length: number, mss: number): void {
  const frame = new Uint8Array(length);
  frame.set([0x08, 0x00, 0x45], 12);
  frame[23] = 6;
  frame.set([10, 0, 2, 15, 10, 0, 2, 2], 26);
  frame[46] = 0x50;
  // The pseudo header without the length: 0x0a00 + 0x020f + 0x0a00 + 0x0202 + 6.
  frame.set([0x18, 0x17], 50);
  dma.write(data, frame);
  dma.write(txRing, Uint8Array.of(14, 24, 33, 0, 34, 50, 0, 0));
  dma.writeU32(txRing + 8, ((length - 54) | 0x27000000) >>> 0);
  dma.writeU32(txRing + 12, (mss << 16) | (54 << 8));
  dma.writeU64(txRing + 16, data);
  dma.writeU32(txRing + 24, (length | 0x2d100000) >>> 0);
  dma.writeU32(txRing + 28, 0x300);
  write(0x3818, 2);
}

test('a large frame goes to the peer whole, with lengths and the IP checksum put in', () => {
  const context = setUp();
  startTx(context);
  sendLarge(context, 9000, 1460);
  const [{ bytes, offload }] = context.peer.sent;
  assert.equal(bytes.length, 9000);
  assert.equal(bytes[16] * 256 + bytes[17], 9000 - 14);
  let sum = 0;
  for (let i = 14; i < 34; i += 2) sum += bytes[i] * 256 + bytes[i + 1];
  assert.equal((sum & 0xffff) + (sum >>> 16), 0xffff);
  assert.deepEqual(
    { ...offload, headerLength: 0 },
    { ...plain, flags: 1, gsoType: 1, gsoSize: 1460, checksumStart: 34, checksumOffset: 16 },
  );
  assert.equal(bytes[50] * 256 + bytes[51], 0x1817 + 9000 - 34);
});

test('a frame waits while the peer has no room, also over save and load', () => {
  const context = setUp();
  startTx(context);
  context.peer.room = 0;
  sendLarge(context, 3000, 1460);
  assert.equal(context.read(0x3810), 1, 'the context is done, the frame is not');
  context.peer.room = 9;
  context.peer.card.sendReady();
  assert.equal(context.peer.sent[0].bytes.length, 3000);
  assert.equal(context.read(0x3810), 2);
  startRx(context);
  const copy = setUp(context.ram.buffer as SharedArrayBuffer);
  copy.card.load(context.card.save());
  copy.peer.give(Uint8Array.from([...mac, ...new Array<number>(60).fill(7)]));
  assert.equal(copy.read(0x2810), 1);
  assert.equal(copy.read(0x3810), 2);
});

test('frames are received through the filter into descriptors; without one they wait', () => {
  const context = setUp();
  const { peer, dma, read, write, ram } = context;
  startRx(context, 2);
  const frame = Uint8Array.from([...mac, ...Array.from({ length: 1494 }, (_, i) => i & 255)]);
  const other = frame.slice();
  other[5] = 1;
  peer.give(other);
  assert.equal(read(0x2810), 0);
  peer.give(frame);
  assert.deepEqual([...ram.slice(0x20000, 0x20000 + 1500)], [...frame]);
  assert.equal(dma.readU16(rxRing + 8), 1504);
  assert.equal(dma.readU32(rxRing + 12) & 3, 3);
  assert.equal(read(reg.ICR) & 0x80, 0x80);
  peer.give(frame);
  peer.give(frame);
  assert.equal(peer.waiting.length, 1);
  write(0x2818, 6);
  assert.equal(peer.waiting.length, 0);
  assert.equal(read(0x2810), 3);
  // Promiscuous, and buffers of 256 bytes.
  write(reg.RCTL, 2 | 8 | 0x30000);
  peer.give(other.slice(0, 500));
  assert.equal(read(0x2810), 5);
});

test('ITR keeps interrupts apart', () => {
  const { time, card, read, write } = setUp();
  write(reg.ITR, 1000);
  write(reg.IMS, 4);
  card.setLink(false);
  assert.ok(card.function.state.intx);
  read(reg.ICR);
  card.setLink(true);
  assert.ok(!card.function.state.intx);
  time.advance(256_000);
  assert.ok(card.function.state.intx);
});

test('hostile registers and rings: no throw, no hang', () => {
  const random = seededRandom(5);
  const registers = [0, 0x10, 0x14, 0x20, 0xc0, 0xc4, 0xc8, 0xd0, 0xd8, 0x100, 0x400, 0x2800, 0x2804, 0x2808, 0x2810];
  registers.push(0x2818, 0x3800, 0x3804, 0x3808, 0x3810, 0x3818, 0x5200, 0x5400, 0x5404, 0x5600, 0x57fc);
  for (let round = 0; round < 12; round++) {
    const { memory, ports, base, peer, time, ram, card } = setUp();
    for (let i = 0; i < 0x4000; i++) ram[i] = random(256);
    const io = card.function.barAddress(card.function.barSpecs[1]) as number;
    for (let step = 0; step < 150; step++) {
      const at = random(8) === 0 ? random(0x20000) : registers[random(registers.length)];
      const value = random(3) === 0 ? random(0xffffffff) : random(0x4000);
      memory.write(base + at, random(4) === 0 ? 1 : 4, value);
      memory.read(base + random(0x20000), 4);
      if (random(8) === 0) ports.write(io + random(2) * 4, 4, value);
      if (random(3) === 0) peer.give(Uint8Array.from({ length: 14 + random(3000) }, () => random(256)));
      peer.waiting.length = Math.min(peer.waiting.length, 8);
      peer.sent.length = 0;
      if (random(8) === 0) time.advance(random(1_000_000));
      if (random(16) === 0) card.load(card.save());
    }
  }
});
