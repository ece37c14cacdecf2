/** GICv2's virtual interfaces, test by test from the architecture specification (IHI 0048B, chapter 5). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GicV2Virtual } from './gicv2-virtual.js';

const H = { HCR: 0, VTR: 4, VMCR: 8, MISR: 0x10, EISR: 0x20, ELRSR: 0x30, APR: 0xf0, LR: 0x100 };
const V = { CTLR: 0, PMR: 4, IAR: 0xc, EOIR: 0x10, RPR: 0x14, HPPIR: 0x18, DIR: 0x1000 };
const PENDING = 1 << 28;
const ACTIVE = 2 << 28;
const HW = 2 ** 31;

function bench() {
  const levels = { irq: false, fiq: false, maintenance: false };
  const line = (name: keyof typeof levels) => ({
    set: (level: boolean) => {
      levels[name] = level;
    },
  });
  const ended: number[] = [];
  const gic = new GicV2Virtual({
    outputs: [{ irq: line('irq'), fiq: line('fiq'), maintenance: line('maintenance') }],
    accessor: () => 0,
    deactivate: (_cpu, irq) => ended.push(irq),
  });
  const h = (offset: number, value?: number): number => {
    if (value !== undefined) gic.hypervisorInterface.write(offset, 4, value >>> 0);
    return Number(gic.hypervisorInterface.read(offset, 4)) >>> 0;
  };
  const v = (offset: number) => Number(gic.cpuInterface.read(offset, 4)) >>> 0;
  const write = (offset: number, value: number) => gic.cpuInterface.write(offset, 4, value);
  h(H.HCR, 1);
  write(V.CTLR, 1);
  write(V.PMR, 0xff);
  return { gic, levels, ended, h, v, write };
}

test('a list register becomes an interrupt, is acknowledged, ended, and its physical interrupt with it', () => {
  const { levels, ended, h, v, write } = bench();
  assert.equal(h(H.VTR), 0x90000003);
  h(H.LR + 4, HW + PENDING + (10 << 23) + (27 << 10) + 30);
  assert.ok(levels.irq);
  assert.equal(v(V.HPPIR), 30);
  assert.equal(v(V.IAR), 30);
  assert.ok(!levels.irq);
  assert.equal(v(V.RPR), 80);
  assert.equal(h(H.LR + 4) & (PENDING | ACTIVE), ACTIVE);
  // Of higher priority, it preempts; of lower priority it does not.
  h(H.LR, PENDING + (12 << 23) + 40);
  assert.ok(!levels.irq);
  h(H.LR + 8, PENDING + (2 << 23) + (3 << 10) + 5);
  assert.ok(levels.irq);
  assert.equal(v(V.IAR), 5 | (3 << 10));
  write(V.EOIR, 5);
  assert.equal(v(V.RPR), 80);
  write(V.EOIR, 30);
  assert.deepEqual(ended, [27]);
  assert.equal(v(V.RPR), 0xff);
  assert.ok(levels.irq);
  assert.equal(v(V.IAR), 40);
  assert.equal(h(H.ELRSR), 0b1110);
});

test('groups, priorities and masks as GICH_VMCR has them', () => {
  const { levels, h, v, write } = bench();
  h(H.LR, PENDING + (1 << 30) + (8 << 23) + 50);
  assert.ok(!levels.irq);
  write(V.CTLR, 3);
  assert.ok(levels.irq);
  assert.equal(v(V.IAR), 1022);
  write(V.CTLR, 7);
  write(V.PMR, 0x40);
  assert.ok(!levels.irq);
  assert.equal(v(V.IAR), 1023);
  write(V.PMR, 0x48);
  assert.equal(v(V.IAR), 50);
  assert.equal(h(H.VMCR) >>> 27, 9);
  // Group 0 by FIQ.
  write(V.CTLR, 0xf);
  h(H.LR + 4, PENDING + (1 << 23) + 3);
  assert.deepEqual([levels.irq, levels.fiq], [false, true]);
});

test('maintenance: an end that is told, nothing pending, too few, ends of what is in no list', () => {
  const { levels, h, v, write } = bench();
  h(H.LR, PENDING + (1 << 19) + 60);
  assert.equal(v(V.IAR), 60);
  assert.ok(!levels.maintenance);
  write(V.EOIR, 60);
  assert.ok(levels.maintenance);
  assert.deepEqual([h(H.MISR), h(H.EISR)], [1, 1]);
  h(H.LR, 0);
  assert.ok(!levels.maintenance);
  h(H.HCR, 1 | 8);
  assert.equal(h(H.MISR), 8);
  h(H.HCR, 1 | 2 | 4);
  assert.equal(h(H.MISR), 2);
  write(V.EOIR, 99);
  assert.equal(h(H.HCR) >>> 27, 1);
  assert.equal(h(H.MISR), 6);
});

test('with EOImode 1 the priority drops first, and GICV_DIR deactivates', () => {
  const { ended, h, v, write } = bench();
  write(V.CTLR, 0x201);
  h(H.LR, HW + PENDING + (10 << 23) + (29 << 10) + 29);
  assert.equal(v(V.IAR), 29);
  write(V.EOIR, 29);
  assert.equal(v(V.RPR), 0xff);
  assert.deepEqual(ended, []);
  write(V.DIR, 29);
  assert.deepEqual(ended, [29]);
});
