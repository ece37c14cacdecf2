import assert from 'node:assert/strict';
import test from 'node:test';
import { MemorySpace } from '../../bus/index.js';
import { fuzzAccesses, seededRandom, TestLine } from '../testing.js';
import { GicV3 } from './gicv3.js';
import { REDISTRIBUTOR_BYTES } from './gicv3-redistributor.js';
import { ITS_BYTES, ITS_TRANSLATER, Its } from './its.js';

const RAM_BYTES = 0x40_0000;
const place = {
  properties: 0x1_0000,
  pending: [0x2_0000, 0x3_0000, 0x4_0000],
  queue: 0x5_0000,
  devices: 0x10_0000,
  collections: 0x20_0000,
  events: 0x30_0000,
} as const;
const reg = { CTLR: 0, TYPER: 8, CBASER: 0x80, CWRITER: 0x88, CREADR: 0x90, BASER0: 0x100, BASER1: 0x108 } as const;
const VALID = 0x8000_0000;

/** Three CPUs, with LPIs enabled and an ITS with collections n → CPU n. */
function make({ indirect = false } = {}) {
  const buffer = new ArrayBuffer(RAM_BYTES);
  const memory = new MemorySpace(buffer);
  memory.addRam({ name: 'ram', gpa: 0, size: RAM_BYTES, hva: 0, readonly: false });
  const view = new DataView(buffer);
  const lines = [0, 1, 2].map(() => ({ irq: new TestLine(), fiq: new TestLine() }));
  const gic = new GicV3({ outputs: lines, affinities: [0, 1, 2], dma: memory.dma });
  const its = new Its({ gic, dma: memory.dma });
  gic.distributor.write(0, 4, 3);
  const control = (cpu: number, at: number, value: number) =>
    gic.redistributors.write(cpu * REDISTRIBUTOR_BYTES + at, 4, value);
  for (const cpu of [0, 1, 2]) {
    gic.interfaces[cpu].write('PMR', 0xffn);
    gic.interfaces[cpu].write('IGRPEN1', 1n);
    control(cpu, 0x70, place.properties | 15);
    control(cpu, 0x78, place.pending[cpu]);
    control(cpu, 0, 1);
  }
  const write = (at: number, value: number) => its.registers.write(at, 4, value);
  const read = (at: number) => its.registers.read(at, 4);
  write(reg.BASER0, place.devices);
  write(reg.BASER0 + 4, VALID | (indirect ? 0x4000_0000 : 0));
  write(reg.BASER1, place.collections);
  write(reg.BASER1 + 4, VALID);
  write(reg.CBASER, place.queue);
  write(reg.CBASER + 4, VALID);
  write(reg.CTLR, 1);
  let next = 0;
  /** Puts commands into the queue and waits for them. */
  const run = (...commands: readonly (readonly bigint[])[]) => {
    for (const command of commands) {
      for (let i = 0; i < 4; i++) view.setBigUint64(place.queue + next + 8 * i, command[i] ?? 0n, true);
      next = (next + 32) % 0x1000;
    }
    write(reg.CWRITER, next);
    assert.equal(read(reg.CREADR), next);
  };
  const configure = (irq: number, priority: number, enabled = true) =>
    view.setUint8(place.properties + irq - 8192, priority | (enabled ? 1 : 0));
  const take = (cpu: number) => {
    const irq = gic.interfaces[cpu].read('IAR1');
    if (irq !== 1023) gic.interfaces[cpu].write('EOIR1', BigInt(irq));
    return irq;
  };
  const isPending = (cpu: number, irq: number) =>
    ((view.getUint8(place.pending[cpu] + (irq >> 3)) >> (irq & 7)) & 1) !== 0;
  return { gic, its, lines, view, write, read, run, configure, take, isPending, control };
}

const device = (id: number) => BigInt(id) << 32n;
const mapDevice = (id: number, bits = 4, gpa: number = place.events) => [
  0x08n | device(id),
  BigInt(bits - 1),
  BigInt(gpa) | (1n << 63n),
];
const mapCollection = (id: number, cpu: number) => [0x09n, 0n, BigInt(id) | (BigInt(cpu) << 16n) | (1n << 63n)];
const mapEvent = (id: number, event: number, irq: number, collection: number) => [
  0x0an | device(id),
  BigInt(event) | (BigInt(irq) << 32n),
  BigInt(collection),
];
const move = (id: number, event: number, collection: number) => [0x01n | device(id), BigInt(event), BigInt(collection)];
const ofEvent = (command: number) => (id: number, event: number) => [BigInt(command) | device(id), BigInt(event)];
const [raise, clear, discard, invalidate] = [0x03, 0x04, 0x0f, 0x0c].map(ofEvent);

for (const indirect of [false, true])
  test(`a message becomes an LPI of the CPU of its collection, ${indirect ? 'two levels' : 'one level'} of devices`, () => {
    const { its, lines, view, run, configure, take, isPending } = make({ indirect });
    // 512 devices a page of 4 KiB.
    if (indirect) view.setBigUint64(place.devices + 8 * 2, 0x11_0000n | (1n << 63n), true);
    const id = indirect ? 1030 : 0x18;
    configure(8200, 0xa0);
    its.translate(id, 3);
    run(mapCollection(1, 1), mapDevice(id), mapEvent(id, 3, 8200, 1), [0x05n, 0n, 1n << 16n]);
    assert.equal(lines[1].irq.level, false, 'what came before is lost');
    its.translate(id, 3);
    assert.deepEqual(
      lines.map(({ irq }) => irq.level),
      [false, true, false],
    );
    assert.equal(isPending(1, 8200), true);
    assert.equal(take(0), 1023);
    assert.equal(take(1), 8200);
    assert.equal(isPending(1, 8200), false);
    assert.equal(take(1), 1023);
    for (const [who, what] of [
      [id, 4],
      [id, 16],
      [id + 1, 3],
      [0xffff, 3],
    ])
      its.translate(who, what);
    assert.equal(lines[1].irq.level, false, 'nothing else is mapped');
  });

test('after reset tables have pages of 64 KiB', () => {
  const { read, its } = make();
  its.reset();
  assert.deepEqual([read(reg.BASER0), read(reg.BASER1)], [0x200, 0x200]);
});

test('what it is: 16 bits of devices, events and interrupts, entries of eight bytes', () => {
  const { read, gic } = make();
  assert.equal(read(reg.TYPER), 1 | (7 << 4) | (15 << 8) | (15 << 13));
  assert.equal(read(reg.TYPER + 4), 0x1f);
  assert.equal(read(reg.BASER0 + 4) >>> 16, 0x8107);
  assert.equal(read(reg.BASER1 + 4) >>> 16, 0x8407);
  assert.equal(read(0x110 + 4), 0, 'there are no other tables');
  assert.equal(read(0xffe8) & 0xf0, 0x30);
  assert.equal(gic.distributor.read(4, 4) & (1 << 17), 1 << 17);
});

test('priorities and enables of LPIs are a table of bytes, read anew after INV and INVALL', () => {
  const { its, lines, run, configure, take } = make();
  run(mapCollection(0, 0), mapDevice(1), mapEvent(1, 0, 8192, 0), mapEvent(1, 1, 8193, 0), mapEvent(1, 2, 8194, 0));
  configure(8192, 0xa0);
  configure(8193, 0x40);
  configure(8194, 0x20, false);
  for (const event of [0, 1, 2]) its.translate(1, event);
  assert.equal(take(0), 8193);
  assert.equal(take(0), 8192);
  assert.equal(lines[0].irq.level, false);
  configure(8194, 0x20);
  run(invalidate(1, 2));
  assert.equal(lines[0].irq.level, true);
  configure(8194, 0x20, false);
  run([0x0dn, 0n, 0n]);
  assert.equal(lines[0].irq.level, false);
  configure(8194, 0x20);
  run([0x0dn, 0n, 0n]);
  assert.equal(take(0), 8194);
});

test('INT, CLEAR, MOVI, MOVALL and DISCARD', () => {
  const { lines, run, configure, take, isPending } = make();
  const levels = () => lines.map(({ irq }) => irq.level);
  configure(8192, 0xa0);
  configure(8193, 0xa0);
  run(mapCollection(0, 0), mapCollection(1, 1), mapCollection(2, 2), mapDevice(7));
  // MAPI: the event's number is the interrupt's, which an event of 4 bits cannot be.
  run([0x0bn | device(7), 8192n, 0n], raise(7, 8192));
  assert.deepEqual(levels(), [false, false, false]);
  run(mapEvent(7, 0, 8192, 0), mapEvent(7, 1, 8193, 0), raise(7, 0));
  assert.deepEqual(levels(), [true, false, false]);
  run(clear(7, 0));
  assert.deepEqual(levels(), [false, false, false]);
  run(raise(7, 0), raise(7, 1), move(7, 0, 1));
  assert.deepEqual(levels(), [true, true, false]);
  assert.deepEqual([isPending(0, 8192), isPending(1, 8192)], [false, true]);
  run([0x0en, 0n, 1n << 16n, 2n << 16n]);
  assert.deepEqual(levels(), [true, false, true]);
  assert.deepEqual([take(0), take(2)], [8193, 8192]);
  run(raise(7, 0), discard(7, 0));
  assert.deepEqual(levels(), [false, false, false]);
  run(raise(7, 0));
  assert.deepEqual(levels(), [false, false, false], 'the event is no longer mapped');
  run(raise(7, 1), [0x08n | device(7), 0n, 0n], raise(7, 1));
  assert.equal(take(0), 8193);
  assert.deepEqual(levels(), [false, false, false], 'nor is the device');
});

test('the queue wraps, and waits while the ITS is disabled', () => {
  const { write, read, run, configure, take, view, its } = make();
  configure(8192, 0xa0);
  run(mapCollection(0, 0), mapDevice(7), mapEvent(7, 0, 8192, 0));
  for (let i = 0; i < 300; i++) {
    run(raise(7, 0));
    assert.equal(take(0), 8192);
  }
  write(reg.CTLR, 0);
  assert.equal(read(reg.CTLR), VALID, 'quiescent');
  const at = read(reg.CREADR);
  view.setBigUint64(place.queue + at, 0x03n | device(7), true);
  view.setBigUint64(place.queue + at + 8, 0n, true);
  write(reg.CWRITER, (at + 32) % 0x1000);
  its.translate(7, 0);
  assert.equal(take(0), 1023);
  write(reg.CTLR, 1);
  assert.equal(take(0), 8192);
  assert.equal(take(0), 1023);
});

test('pending LPIs are in guest memory: they are found there when they are enabled, and after loading', () => {
  const { gic, view, control, configure, take } = make();
  configure(8203, 0xa0);
  control(0, 0, 0);
  view.setUint8(place.pending[0] + (8203 >> 3), 1 << (8203 & 7));
  assert.equal(take(0), 1023);
  control(0, 0x78, place.pending[1]);
  assert.equal(gic.redistributors.read(0x78, 4), place.pending[1]);
  control(0, 0x78, place.pending[0]);
  control(0, 0, 1);
  control(0, 0x78, place.pending[1]);
  assert.equal(gic.redistributors.read(0x78, 4), place.pending[0], 'it stays while LPIs are enabled');
  gic.load(gic.save());
  assert.equal(take(0), 8203);
  assert.equal(view.getUint8(place.pending[0] + (8203 >> 3)), 0);
});

test('tables that the guest has spoilt, and such that lie nowhere', () => {
  const { its, write, run, take, view, control, configure } = make();
  configure(8192, 0xa0);
  run(mapCollection(0, 0), mapDevice(1, 16, 0xffff_ffff_ff00), mapEvent(1, 5, 8192, 0), raise(1, 5));
  assert.equal(take(0), 1023);
  run(mapDevice(2), mapEvent(2, 0, 8192, 9), raise(2, 0), mapCollection(9, 77), raise(2, 0), move(2, 0, 12));
  run(mapEvent(2, 1, 5, 0), mapEvent(2, 1, 0x1_0000, 0), raise(2, 1), [0x0en, 0n, 77n << 16n, 88n << 16n]);
  assert.equal(take(0), 1023);
  // A device's size above 16 bits, and device numbers behind the table.
  run(mapDevice(3, 32), raise(3, 0), mapDevice(0xffff), raise(0xffff, 0), [0xffn]);
  assert.equal(take(0), 1023);
  for (let at = place.events; at < place.events + 0x1000; at += 4) view.setUint32(at, 0xffff_ffff, true);
  for (let event = 0; event < 20; event++) its.translate(2, event);
  assert.equal(take(0), 1023);
  control(0, 0, 0);
  control(0, 0x78 + 4, 0xfffff);
  control(0, 0, 1);
  run(mapDevice(4), mapEvent(4, 0, 8192, 0), raise(4, 0));
  write(reg.CTLR, 0);
  write(reg.CBASER + 4, VALID | 0xfffff);
  write(reg.CTLR, 1);
  write(reg.CWRITER, 0xfe0);
});

test('random commands and registers: nothing throws, and the interrupts keep their places', () => {
  const random = seededRandom(11);
  const { its, gic, view, run, read, control } = make();
  const small = (n: number) => BigInt(random(n));
  run(mapCollection(0, 0), mapCollection(1, 1), mapCollection(2, 2), mapDevice(1), mapDevice(2, 4, place.events + 128));
  for (let i = 8192; i < 8192 + 64; i++) view.setUint8(place.properties + i - 8192, random(256));
  for (let i = 0; i < 3000; i++) {
    const operation = [1, 3, 4, 8, 9, 0xa, 0xb, 0xc, 0xd, 0xe, 0xf][random(11)];
    const second = small(20) | ((8192n + small(64)) << 32n) | (random(20) === 0 ? small(2 ** 32) << 20n : 0n);
    const third = operation === 8 ? BigInt(place.events) | (1n << 63n) : small(4) | (small(4) << 16n) | (1n << 63n);
    run([BigInt(operation) | (small(4) << 32n), second, third, small(4) << 16n]);
    its.translate(random(4), random(20));
    const cpu = random(3);
    const irq = gic.interfaces[cpu].read('IAR1');
    assert.ok(irq === 1023 || (irq >= 8192 && irq < 65536), `${irq}`);
    if (irq !== 1023) gic.interfaces[cpu].write('EOIR1', BigInt(irq));
    if (random(50) === 0) control(random(3), 0, random(2));
  }
  fuzzAccesses(random, 3000, 0x140, its.registers);
  fuzzAccesses(random, 3000, ITS_BYTES, its.registers);
  its.registers.write(ITS_TRANSLATER, 4, 3);
  its.load(its.save());
  assert.ok(read(reg.CREADR) < 0x10_0000);
});
