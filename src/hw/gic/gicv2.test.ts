import assert from 'node:assert/strict';
import test from 'node:test';
import { TestLine } from '../testing.js';
import { GICV2_SPIS, GicV2 } from './gicv2.js';
import { GICV2M_SETSPI, gicv2m } from './gicv2m.js';

const GICD = { CTLR: 0, TYPER: 4, IGROUPR: 0x80, ISENABLER: 0x100, ISPENDR: 0x200, ICPENDR: 0x280 } as const;
const [PRIORITY, TARGETS, CONFIG, SGIR, SPENDSGIR] = [0x400, 0x800, 0xc00, 0xf00, 0xf20];
const GICC = { CTLR: 0, PMR: 4, BPR: 8, IAR: 0xc, EOIR: 0x10, RPR: 0x14, AIAR: 0x20, DIR: 0x1000 } as const;

/** A GIC with so many CPUs, all interfaces open. */
function make(count: number) {
  const lines = Array.from({ length: count }, () => ({ irq: new TestLine(), fiq: new TestLine() }));
  let cpu = 0;
  const gic = new GicV2({ outputs: lines, accessor: () => cpu });
  const as = (n: number) => {
    cpu = n;
  };
  const write = (at: number, value: number, size: 1 | 4 = 4) => gic.distributor.write(at, size, value);
  const read = (at: number) => gic.distributor.read(at, 4);
  const own = (at: number) => gic.cpuInterface.read(at, 4);
  const setOwn = (at: number, value: number) => gic.cpuInterface.write(at, 4, value);
  const open = () => {
    write(GICD.CTLR, 3);
    for (let n = 0; n < count; n++) {
      as(n);
      setOwn(GICC.PMR, 0xff);
      setOwn(GICC.CTLR, 3);
    }
    as(0);
  };
  const enable = (irq: number, priority = 0xa0, targets = 1) => {
    write(GICD.ISENABLER + 4 * (irq >> 5), 2 ** (irq & 31));
    write(PRIORITY + irq, priority, 1);
    if (irq >= 32) write(TARGETS + irq, targets, 1);
  };
  open();
  return { gic, lines, as, write, read, own, setOwn, open, enable };
}

test('a level: signalled, acknowledged, served, and signalled again while it is up', () => {
  const { gic, lines, own, setOwn, enable } = make(1);
  const [{ irq }] = lines;
  gic.spis[1].set(true);
  assert.equal(irq.level, false, 'it is not enabled');
  enable(33);
  assert.equal(irq.level, true);
  assert.equal(own(GICC.IAR), 33);
  assert.equal(irq.level, false);
  assert.equal(own(GICC.RPR), 0xa0);
  assert.equal(own(GICC.IAR), 1023);
  setOwn(GICC.EOIR, 33);
  assert.equal(irq.level, true, 'the device still asks');
  gic.spis[1].set(false);
  assert.equal(irq.level, false);
  assert.equal(own(GICC.RPR), 0xff);
});

test('an edge is remembered, while it is served too', () => {
  const { gic, lines, write, own, setOwn, enable } = make(1);
  enable(40);
  write(CONFIG + 4 * (40 >> 4), 2 << (2 * (40 & 15)));
  const pulse = () => {
    gic.spis[8].set(true);
    gic.spis[8].set(false);
  };
  pulse();
  assert.equal(own(GICC.IAR), 40);
  pulse();
  assert.equal(lines[0].irq.level, false);
  setOwn(GICC.EOIR, 40);
  assert.equal(own(GICC.IAR), 40);
  setOwn(GICC.EOIR, 40);
  assert.equal(own(GICC.IAR), 1023);
});

test('priorities: the mask, preemption by the binary point, the order among equals', () => {
  const { gic, lines, own, setOwn, enable } = make(1);
  const { irq } = lines[0];
  for (const [number, priority] of [
    [50, 0x80],
    [51, 0x80],
    [52, 0x88],
    [53, 0x40],
  ])
    enable(number, priority);
  setOwn(GICC.PMR, 0x80);
  for (const number of [50, 51, 52]) gic.spis[number - 32].set(true);
  assert.equal(irq.level, false, 'none is above the mask');
  setOwn(GICC.PMR, 0xf0);
  assert.equal(own(GICC.IAR), 50);
  assert.equal(irq.level, false);
  gic.spis[53 - 32].set(true);
  assert.equal(irq.level, true, 'a higher priority preempts');
  assert.equal(own(GICC.IAR), 53);
  gic.spis[53 - 32].set(false);
  setOwn(GICC.EOIR, 53);
  assert.equal(own(GICC.RPR), 0x80);
  gic.spis[50 - 32].set(false);
  setOwn(GICC.EOIR, 50);
  gic.spis[51 - 32].set(false);
  // Priorities that differ in bits 0 to 4 alone do not preempt each other.
  setOwn(GICC.BPR, 4);
  assert.equal(own(GICC.IAR), 52);
  gic.spis[51 - 32].set(true);
  assert.equal(irq.level, false);
  gic.spis[53 - 32].set(true);
  assert.equal(irq.level, true);
});

test('two CPUs: targets, private interrupts, interrupts that software sends', () => {
  const { gic, lines, as, write, read, own, setOwn, enable } = make(2);
  enable(60, 0xa0, 2);
  gic.spis[28].set(true);
  assert.deepEqual([lines[0].irq.level, lines[1].irq.level], [false, true]);
  assert.equal(own(GICC.IAR), 1023, "it is the other's");
  gic.spis[28].set(false);
  assert.equal(read(TARGETS), 0x01010101);
  as(1);
  assert.equal(read(TARGETS), 0x02020202);
  assert.equal(read(GICD.TYPER), 8 | (1 << 5));
  // Each has its own interrupt 27.
  as(0);
  enable(27);
  gic.ppi(1, 27).set(true);
  assert.equal(lines[1].irq.level, false, 'not enabled there');
  gic.ppi(0, 27).set(true);
  assert.equal(own(GICC.IAR), 27);
  gic.ppi(0, 27).set(false);
  setOwn(GICC.EOIR, 27);
  // SGI 5 to the other, then to all but oneself, then to oneself.
  write(SGIR, (1 << 17) | 5);
  as(1);
  assert.equal(own(GICC.IAR), 5);
  setOwn(GICC.EOIR, 5);
  write(SGIR, (1 << 24) | 6);
  assert.equal(read(SPENDSGIR + 4) >>> 16, 0, 'not to itself');
  as(0);
  assert.equal(read(SPENDSGIR + 4), 2 << 16);
  assert.equal(own(GICC.IAR), (1 << 10) | 6, 'from CPU 1');
  setOwn(GICC.EOIR, (1 << 10) | 6);
  write(SGIR, (2 << 24) | 7);
  assert.equal(own(GICC.IAR), 7);
});

test('groups: FIQ for group 0 where that is wanted, the aliased registers for group 1', () => {
  const { gic, lines, write, own, setOwn, enable } = make(1);
  setOwn(GICC.CTLR, 3 | 8);
  enable(34);
  enable(35);
  write(GICD.IGROUPR + 4, 1 << 3);
  gic.spis[2].set(true);
  assert.deepEqual([lines[0].irq.level, lines[0].fiq.level], [false, true]);
  gic.spis[2].set(false);
  gic.spis[3].set(true);
  assert.deepEqual([lines[0].irq.level, lines[0].fiq.level], [true, false]);
  assert.equal(own(GICC.IAR), 1022);
  assert.equal(own(GICC.AIAR), 35);
});

test('priority drop and deactivation apart', () => {
  const { gic, lines, own, setOwn, enable } = make(1);
  setOwn(GICC.CTLR, 3 | 0x200);
  enable(34);
  gic.spis[2].set(true);
  assert.equal(own(GICC.IAR), 34);
  setOwn(GICC.EOIR, 34);
  assert.equal(own(GICC.RPR), 0xff);
  assert.equal(lines[0].irq.level, false, 'it is still active');
  setOwn(GICC.DIR, 34);
  assert.equal(lines[0].irq.level, true);
});

test("message-signalled interrupts: a write of a number in the frame's range", () => {
  const { gic, write, own, enable } = make(1);
  const frame = gicv2m(80, gic.spis.slice(48, 112));
  assert.equal(frame.read(8, 4), (80 << 16) | 64);
  enable(81);
  write(CONFIG + 4 * (81 >> 4), 2 << (2 * (81 & 15)));
  for (const value of [79, 144, 1023, 0]) frame.write(GICV2M_SETSPI, 4, value);
  assert.equal(own(GICC.IAR), 1023);
  frame.write(GICV2M_SETSPI, 4, 81);
  assert.equal(own(GICC.IAR), 81);
});

test('what is saved goes on where it is loaded; a reset leaves nothing but the levels of inputs', () => {
  const one = make(1);
  one.enable(33);
  one.gic.spis[1].set(true);
  assert.equal(one.own(GICC.IAR), 33);
  const other = make(1);
  other.gic.load(one.gic.save());
  assert.equal(other.own(GICC.RPR), 0xa0);
  other.setOwn(GICC.EOIR, 33);
  assert.equal(other.own(GICC.IAR), 33);
  other.gic.reset();
  assert.equal(other.lines[0].irq.level, false);
  other.open();
  other.enable(33);
  assert.equal(other.lines[0].irq.level, true);
});

test('registers behind the last interrupt are empty', () => {
  const { write, read } = make(1);
  const last = 32 + GICV2_SPIS;
  for (const [at, value] of [
    [GICD.ISENABLER + last / 8, 0xffffffff],
    [PRIORITY + last, 0x50505050],
    [TARGETS + last, 0x01010101],
    [CONFIG + last / 4, 0xaaaaaaaa],
  ]) {
    write(at, value);
    assert.equal(read(at), 0);
  }
  assert.equal(read(GICD.ISENABLER), 0xffff, 'what software sends is always enabled');
});
