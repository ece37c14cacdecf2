import assert from 'node:assert/strict';
import test from 'node:test';
import type { GicRegister } from '../../bus/index.js';
import { MemorySpace } from '../../bus/index.js';
import { fuzzAccesses, seededRandom, TestLine } from '../testing.js';
import { GicV3 } from './gicv3.js';
import { GICV3_DISTRIBUTOR_BYTES } from './gicv3-distributor.js';
import { REDISTRIBUTOR_BYTES } from './gicv3-redistributor.js';

const GICD = { CTLR: 0, TYPER: 4, IGROUPR: 0x80, ISENABLER: 0x100, ISPENDR: 0x200, ICPENDR: 0x280 } as const;
const [PRIORITY, CONFIG, ROUTER, PIDR2] = [0x400, 0xc00, 0x6000, 0xffe8];
const SGI_FRAME = 0x1_0000;
const registers: readonly GicRegister[] = [
  ...(['PMR', 'IAR0', 'EOIR0', 'HPPIR0', 'BPR0', 'AP0R0', 'AP1R0', 'DIR', 'RPR', 'SGI1R', 'ASGI1R', 'SGI0R'] as const),
  ...(['IAR1', 'EOIR1', 'HPPIR1', 'BPR1', 'CTLR', 'SRE', 'IGRPEN0', 'IGRPEN1'] as const),
];

/** A GIC with CPUs of these affinities, all interfaces open. */
function make(affinities: readonly number[] = [0]) {
  const lines = affinities.map(() => ({ irq: new TestLine(), fiq: new TestLine() }));
  const gic = new GicV3({ outputs: lines, affinities });
  const write = (at: number, value: number, size: 1 | 4 = 4) => gic.distributor.write(at, size, value);
  const read = (at: number) => gic.distributor.read(at, 4);
  /** Of a CPU's frame with its private interrupts. */
  const writeOwn = (cpu: number, at: number, value: number, size: 1 | 4 = 4) =>
    gic.redistributors.write(cpu * REDISTRIBUTOR_BYTES + SGI_FRAME + at, size, value);
  const readOwn = (cpu: number, at: number) => gic.redistributors.read(cpu * REDISTRIBUTOR_BYTES + SGI_FRAME + at, 4);
  const get = (register: GicRegister, cpu = 0) => gic.interfaces[cpu].read(register);
  const set = (register: GicRegister, value: number | bigint, cpu = 0) =>
    gic.interfaces[cpu].write(register, BigInt(value));
  write(GICD.CTLR, 3);
  for (const cpu of affinities.keys()) {
    set('PMR', 0xff, cpu);
    set('IGRPEN0', 1, cpu);
    set('IGRPEN1', 1, cpu);
  }
  /** A shared interrupt of group 1. */
  const enable = (irq: number, priority = 0xa0, affinity = 0) => {
    write(GICD.IGROUPR + 4 * (irq >> 5), read(GICD.IGROUPR + 4 * (irq >> 5)) | (1 << (irq & 31)));
    write(GICD.ISENABLER + 4 * (irq >> 5), 2 ** (irq & 31));
    write(PRIORITY + irq, priority, 1);
    write(ROUTER + 8 * irq, affinity & 0xffffff);
    write(ROUTER + 8 * irq + 4, affinity >>> 24);
  };
  return { gic, lines, write, read, writeOwn, readOwn, get, set, enable };
}

test('what it is: one security state, affinity routing, 288 interrupts, architecture 3', () => {
  const { read, readOwn, gic, get } = make([0, 1]);
  assert.equal(read(GICD.CTLR), 0x53);
  assert.equal(read(GICD.TYPER) & 0x1f, 8);
  assert.equal(read(PIDR2) & 0xf0, 0x30);
  assert.equal(gic.redistributors.read(PIDR2, 4) & 0xf0, 0x30);
  assert.equal(get('SRE'), 7);
  assert.equal(get('CTLR') & 0x700, 0x400, 'five bits of priority');
  assert.equal(readOwn(0, PIDR2), 0);
  const typer = (cpu: number, at = 8) => gic.redistributors.read(cpu * REDISTRIBUTOR_BYTES + at, 4);
  assert.deepEqual([typer(0) & 0xffff10, typer(1) & 0xffff10], [0x000000, 0x000110], 'number, and the last one');
  assert.deepEqual([typer(0, 12), typer(1, 12)], [0, 1]);
  assert.equal(typer(0) & 1, 0, 'no LPIs without an ITS');
});

test('a level: signalled, acknowledged, served, and signalled again while it is up', () => {
  const { gic, lines, get, set, enable } = make();
  const [{ irq, fiq }] = lines;
  gic.spis[1].set(true);
  assert.equal(irq.level, false, 'it is not enabled');
  enable(33);
  assert.equal(irq.level, true);
  assert.equal(fiq.level, false);
  assert.equal(get('HPPIR1'), 33);
  assert.equal(get('IAR0'), 1023, 'it is of the other group');
  assert.equal(get('IAR1'), 33);
  assert.equal(irq.level, false);
  assert.equal(get('RPR'), 0xa0);
  assert.equal(get('AP1R0'), 1 << 20);
  assert.equal(get('IAR1'), 1023);
  set('EOIR1', 33);
  assert.equal(irq.level, true, 'the device still asks');
  gic.spis[1].set(false);
  assert.equal(irq.level, false);
  assert.equal(get('RPR'), 0xff);
});

test('group 0 is signalled as FIQ, and each group is enabled in two places', () => {
  const { gic, lines, write, get, set, enable } = make();
  const [{ irq, fiq }] = lines;
  enable(40);
  write(GICD.IGROUPR + 4, 0);
  gic.spis[8].set(true);
  assert.deepEqual([irq.level, fiq.level], [false, true]);
  set('IGRPEN0', 0);
  assert.equal(fiq.level, false);
  set('IGRPEN0', 1);
  write(GICD.CTLR, 2);
  assert.equal(fiq.level, false);
  write(GICD.CTLR, 3);
  assert.equal(get('IAR1'), 1023);
  assert.equal(get('IAR0'), 40);
  set('EOIR1', 40);
  assert.equal(get('RPR'), 0xa0, 'the other group does not end it');
  set('EOIR0', 40);
  assert.equal(get('RPR'), 0xff);
});

test('an edge is remembered, while it is served too; software makes pending and takes back', () => {
  const { gic, lines, write, read, get, set, enable } = make();
  enable(40);
  write(CONFIG + 4 * (40 >> 4), 2 << (2 * (40 & 15)));
  assert.equal(read(CONFIG + 4 * (40 >> 4)), 2 << (2 * (40 & 15)));
  const pulse = () => {
    gic.spis[8].set(true);
    gic.spis[8].set(false);
  };
  pulse();
  assert.equal(get('IAR1'), 40);
  pulse();
  assert.equal(lines[0].irq.level, false);
  set('EOIR1', 40);
  assert.equal(get('IAR1'), 40);
  set('EOIR1', 40);
  assert.equal(get('IAR1'), 1023);
  write(GICD.ISPENDR + 4, 1 << 8);
  assert.equal(lines[0].irq.level, true);
  assert.equal(read(GICD.ICPENDR + 4), 1 << 8);
  write(GICD.ICPENDR + 4, 1 << 8);
  assert.equal(lines[0].irq.level, false);
});

test('priorities: five bits, the mask, preemption by the binary point, the order among equals', () => {
  const { gic, lines, read, get, set, enable } = make();
  const { irq } = lines[0];
  for (const [number, priority] of [
    [50, 0x87],
    [51, 0x80],
    [52, 0x88],
    [53, 0x40],
  ])
    enable(number, priority);
  assert.equal(read(PRIORITY + 48), 0x80800000, 'the lowest three bits are not there');
  set('PMR', 0x87);
  assert.equal(get('PMR'), 0x80);
  for (const number of [50, 51, 52]) gic.spis[number - 32].set(true);
  assert.equal(irq.level, false, 'none is above the mask');
  set('PMR', 0xf0);
  assert.equal(get('IAR1'), 50);
  gic.spis[53 - 32].set(true);
  assert.equal(irq.level, true, 'a higher priority preempts');
  assert.equal(get('IAR1'), 53);
  gic.spis[53 - 32].set(false);
  set('EOIR1', 53);
  assert.equal(get('RPR'), 0x80);
  gic.spis[50 - 32].set(false);
  set('EOIR1', 50);
  gic.spis[51 - 32].set(false);
  // Group 1's binary point of 5 leaves bits 7 to 5: priorities that differ below do not preempt each other.
  set('BPR1', 5);
  assert.equal(get('IAR1'), 52);
  gic.spis[51 - 32].set(true);
  assert.equal(irq.level, false);
  gic.spis[53 - 32].set(true);
  assert.equal(irq.level, true);
  set('BPR0', 0);
  set('BPR1', 0);
  assert.deepEqual([get('BPR0'), get('BPR1')], [2, 3], 'no point lies below the bits that there are');
  set('CTLR', 1);
  assert.equal(get('BPR1'), 3, 'of group 0, and one more');
});

test('with EOImode, priority drops first and DIR ends it', () => {
  const { gic, lines, get, set, enable } = make();
  enable(60);
  set('CTLR', 2);
  gic.spis[28].set(true);
  assert.equal(get('IAR1'), 60);
  set('EOIR1', 60);
  assert.equal(get('RPR'), 0xff);
  assert.equal(lines[0].irq.level, false, 'it is still active');
  set('DIR', 60);
  assert.equal(lines[0].irq.level, true);
});

test('routes: by affinity, to nobody, and elsewhere while it is pending', () => {
  const { gic, lines, write, enable, get, set } = make([0x000, 0x001, 0x100]);
  const levels = () => lines.map(({ irq }) => irq.level);
  enable(70, 0xa0, 0x100);
  gic.spis[38].set(true);
  assert.deepEqual(levels(), [false, false, true]);
  write(ROUTER + 8 * 70, 0x002);
  assert.deepEqual(levels(), [false, false, false]);
  write(ROUTER + 8 * 70, 1);
  assert.deepEqual(levels(), [false, true, false]);
  write(ROUTER + 8 * 70 + 4, 1);
  assert.deepEqual(levels(), [false, false, false], 'Aff3 is part of it');
  write(ROUTER + 8 * 70 + 4, 0);
  assert.equal(get('IAR1', 1), 70);
  write(ROUTER + 8 * 70, 0);
  assert.deepEqual(levels(), [false, false, false], 'it is active');
  set('EOIR1', 70, 1);
  assert.deepEqual(levels(), [true, false, false]);
});

test('SGIs: a list of CPUs of a cluster, all others, and only where the group fits', () => {
  const { gic, lines, writeOwn, get, set } = make([0x000, 0x001, 0x100, 0x101]);
  const levels = () => lines.map(({ irq }) => irq.level);
  for (const cpu of [0, 1, 2, 3]) {
    writeOwn(cpu, GICD.IGROUPR, 0xffff_ffff);
    writeOwn(cpu, GICD.ISENABLER, 0xff);
  }
  set('SGI1R', (5n << 24n) | (1n << 16n) | 2n, 0);
  assert.deepEqual(levels(), [false, false, false, true]);
  assert.equal(get('IAR1', 3), 5);
  assert.equal(get('IAR1', 3), 1023);
  set('EOIR1', 5, 3);
  set('SGI1R', (1n << 40n) | (3n << 24n), 1);
  assert.deepEqual(levels(), [true, false, true, true]);
  for (const cpu of [0, 2, 3]) {
    assert.equal(get('IAR1', cpu), 3);
    set('EOIR1', 3, cpu);
  }
  set('SGI0R', (4n << 24n) | 1n);
  assert.deepEqual(levels(), [false, false, false, false]);
  writeOwn(0, GICD.IGROUPR, 0);
  set('SGI0R', (4n << 24n) | 1n);
  assert.equal(lines[0].fiq.level, true);
  assert.equal(get('IAR0'), 4);
  set('EOIR0', 4);
  // Aff3, Aff2 and the range selector are looked at.
  for (const high of [1n << 48n, 1n << 32n, 1n << 44n]) set('SGI0R', high | (4n << 24n) | 1n);
  assert.equal(lines[0].fiq.level, false);
  assert.equal(gic.redistributors.read(SGI_FRAME + CONFIG, 4), 0xaaaaaaaa, 'SGIs are edges');
});

test('private interrupts are each CPU’s own', () => {
  const { gic, lines, writeOwn, readOwn, write, read, get } = make([0, 1]);
  writeOwn(1, GICD.IGROUPR, 1 << 27);
  writeOwn(1, GICD.ISENABLER, 1 << 27);
  writeOwn(1, PRIORITY + 27, 0x50, 1);
  gic.ppi(0, 27).set(true);
  assert.equal(lines[0].irq.level, false);
  gic.ppi(1, 27).set(true);
  assert.equal(get('IAR1', 1), 27);
  assert.equal(get('RPR', 1), 0x50);
  assert.equal(readOwn(1, GICD.ISPENDR), 1 << 27);
  assert.equal(readOwn(0, PRIORITY + 24), 0);
  write(GICD.ISENABLER, 0xffff_ffff);
  assert.equal(read(GICD.ISENABLER), 0, 'the distributor has none of them');
});

test('saved and loaded, it goes on where it was; a reset keeps the levels of inputs', () => {
  const first = make([0, 1]);
  first.enable(45, 0x30, 1);
  first.gic.spis[13].set(true);
  assert.equal(first.get('IAR1', 1), 45);
  const second = make([0, 1]);
  second.gic.load(first.gic.save());
  assert.equal(second.get('RPR', 1), 0x30);
  assert.equal(second.lines[1].irq.level, false);
  second.set('EOIR1', 45, 1);
  assert.equal(second.lines[1].irq.level, true);
  assert.equal(second.lines[0].irq.level, false);
  second.gic.reset();
  assert.equal(second.lines[1].irq.level, false);
  assert.equal(second.read(GICD.CTLR), 0x50);
  second.write(GICD.CTLR, 2);
  second.set('PMR', 0xff, 1);
  second.set('IGRPEN1', 1, 1);
  second.enable(45, 0x30, 1);
  assert.equal(second.lines[1].irq.level, true);
});

test('random accesses of all registers: nothing throws, and values fit', () => {
  const random = seededRandom(3);
  const memory = new MemorySpace(new ArrayBuffer(0x2_0000));
  memory.addRam({ name: 'ram', gpa: 0, size: 0x2_0000, hva: 0, readonly: false });
  const lines = [0, 1, 2].map(() => ({ irq: new TestLine(), fiq: new TestLine() }));
  const gic = new GicV3({ outputs: lines, affinities: [0, 1, 2], dma: memory.dma });
  const between = () => {
    const cpu = random(3);
    const register = registers[random(registers.length)];
    const value = BigInt(random(2 ** 32)) | (BigInt(random(2 ** 32)) << 32n);
    if (random(2) === 0) gic.interfaces[cpu].write(register, value);
    const answer = gic.interfaces[cpu].read(register);
    assert.ok(Number.isInteger(answer) && answer >= 0 && answer < 2 ** 32, `${register}: ${answer}`);
    gic.spis[random(gic.spis.length)].set(random(2) === 0);
    gic.ppi(cpu, 16 + random(16)).set(random(2) === 0);
  };
  fuzzAccesses(random, 4000, GICV3_DISTRIBUTOR_BYTES, gic.distributor, between);
  fuzzAccesses(random, 4000, 3 * REDISTRIBUTOR_BYTES, gic.redistributors, between);
  const spots = [0, 8, 0x14, 0x70, 0x74, 0x78, 0x7c, SGI_FRAME + 0x100, SGI_FRAME + 0x400, SGI_FRAME + 0xc04];
  fuzzAccesses(random, 4000, spots.length * 4, {
    read: (offset, size) => gic.redistributors.read(spots[offset >> 2] + (offset & 3), size),
    write: (offset, size, value) => gic.redistributors.write(spots[offset >> 2] + (offset & 3), size, value),
  });
  gic.load(gic.save());
});
