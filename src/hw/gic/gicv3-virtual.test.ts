/** A GICv3's virtual CPU interface and its control, test by test from the architecture specification (IHI 0069, chapter 6, 12.4). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GicV3Virtual } from './gicv3-virtual.js';

const PENDING = 1n << 62n;
const ACTIVE = 2n << 62n;
const HW = 1n << 61n;
const GROUP1 = 1n << 60n;
const EOI = 1n << 41n;
const priority = (value: number): bigint => BigInt(value) << 48n;
const physical = (irq: number): bigint => BigInt(irq) << 32n;

function bench() {
  const levels = { irq: false, fiq: false, maintenance: false };
  const line = (name: keyof typeof levels) => ({
    set: (level: boolean) => {
      levels[name] = level;
    },
  });
  const ended: number[] = [];
  const gic = new GicV3Virtual({
    outputs: [{ irq: line('irq'), fiq: line('fiq'), maintenance: line('maintenance') }],
    deactivate: (_cpu, irq) => ended.push(irq),
  });
  const [port] = gic.interfaces;
  port.writeControl('HCR', 1n);
  port.write('IGRPEN1', 1n);
  port.write('PMR', 0xffn);
  return { gic, levels, ended, port };
}

test('a list register becomes an interrupt, is acknowledged, ended, and its physical interrupt with it', () => {
  const { levels, ended, port } = bench();
  assert.equal(port.readControl('VTR'), 0x90380003n);
  port.writeControl('LR1', PENDING | GROUP1 | HW | physical(27) | priority(0x50) | 30n);
  assert.deepEqual(levels, { irq: true, fiq: false, maintenance: false });
  assert.equal(port.read('HPPIR1'), 30);
  assert.equal(port.read('IAR0'), 1023, 'of the other group');
  assert.equal(port.read('IAR1'), 30);
  assert.ok(!levels.irq);
  assert.equal(port.read('RPR'), 0x50);
  assert.equal(port.readControl('LR1') & (PENDING | ACTIVE), ACTIVE);
  assert.equal(port.readControl('AP1R0'), 1n << 10n);
  // A message of lower priority waits, one of higher priority preempts.
  port.writeControl('LR0', PENDING | GROUP1 | priority(0x60) | 8192n);
  assert.ok(!levels.irq);
  port.writeControl('LR2', PENDING | GROUP1 | priority(0x10) | 5n);
  assert.ok(levels.irq);
  assert.equal(port.read('IAR1'), 5);
  port.write('EOIR1', 5n);
  assert.equal(port.read('RPR'), 0x50);
  port.write('EOIR1', 30n);
  assert.deepEqual(ended, [27]);
  assert.equal(port.read('RPR'), 0xff);
  assert.equal(port.read('IAR1'), 8192);
  assert.equal(port.readControl('ELRSR'), 0b1110n);
});

test('groups, priorities and binary points as ICH_VMCR_EL2 has them', () => {
  const { levels, port } = bench();
  port.writeControl('VMCR', 0n);
  assert.equal(port.readControl('VMCR'), (2n << 21n) | (3n << 18n) | 8n, 'the least binary points, and FIQs');
  port.write('PMR', 0x47n);
  assert.equal(port.readControl('VMCR') >> 24n, 0x40n);
  port.write('IGRPEN0', 1n);
  port.writeControl('LR0', PENDING | priority(0x38) | 3n);
  assert.deepEqual([levels.irq, levels.fiq], [false, true], 'group 0 by FIQ');
  port.write('PMR', 0x38n);
  assert.ok(!levels.fiq);
  port.write('BPR1', 0n);
  assert.equal(port.read('BPR1'), 3);
  port.write('BPR0', 5n);
  port.write('CTLR', 1n);
  assert.equal(port.read('BPR1'), 6, 'the common one and one more');
  assert.equal(port.read('CTLR'), (4 << 8) | (1 << 15) | 1);
  // With a common binary point of 5, bits 7 and 6 preempt.
  port.write('IGRPEN1', 1n);
  port.write('PMR', 0xf8n);
  assert.equal(port.read('IAR0'), 3);
  port.writeControl('LR1', PENDING | GROUP1 | priority(0x08) | 4n);
  assert.ok(!levels.irq);
});

test('maintenance: an end that is told, nothing pending, too few, ends of what is in no list', () => {
  const { levels, port } = bench();
  port.writeControl('LR0', PENDING | GROUP1 | EOI | 60n);
  assert.equal(port.read('IAR1'), 60);
  assert.ok(!levels.maintenance);
  port.write('EOIR1', 60n);
  assert.ok(levels.maintenance);
  assert.deepEqual([port.readControl('MISR'), port.readControl('EISR')], [1n, 1n]);
  assert.equal(port.readControl('ELRSR'), 0b1110n);
  port.writeControl('LR0', 0n);
  assert.ok(!levels.maintenance);
  for (const [enable, expected] of [
    [8n, 8n],
    [2n, 2n],
    [0x20n, 0x20n],
    [0x40n, 0x40n],
    [0x10n, 0n],
    [0x80n, 0n],
  ]) {
    port.writeControl('HCR', 1n | enable);
    assert.equal(port.readControl('MISR'), expected);
    assert.equal(levels.maintenance, expected !== 0n);
  }
  port.writeControl('HCR', 1n | 4n);
  // What is served is in no list any more.
  port.writeControl('AP1R0', 1n << 3n);
  port.write('EOIR1', 99n);
  assert.equal(port.readControl('HCR') >> 27n, 1n);
  assert.equal(port.readControl('MISR'), 4n);
});

test('with EOImode 1 the priority drops first, and ICV_DIR_EL1 deactivates; a save holds it all', () => {
  const { gic, ended, port } = bench();
  port.write('CTLR', 2n);
  port.writeControl('LR0', HW | PENDING | GROUP1 | physical(29) | priority(0x50) | 29n);
  assert.equal(port.read('IAR1'), 29);
  port.write('EOIR1', 29n);
  assert.equal(port.read('RPR'), 0xff);
  assert.deepEqual(ended, []);
  const saved = gic.save();
  gic.reset();
  assert.equal(port.readControl('LR0'), 0n);
  gic.load(saved);
  port.write('DIR', 29n);
  assert.deepEqual(ended, [29]);
});
