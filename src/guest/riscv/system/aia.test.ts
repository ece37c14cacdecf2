/** A hart's registers of the Advanced Interrupt Architecture (version 1.0, chapters 2 and 5). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TcgEngine } from '../../../accel/tcg/engine.js';
import { quietHost } from '../../../accel/testing/quiet-host.js';
import { defaultModel } from '../models.js';
import { field, irq, mstatus, privilege, STATE_BYTES } from '../state.js';
import type { InterruptFile } from './aia.js';
import { RiscvCpu } from './cpu.js';

const [MISELECT, MIREG, MTOPEI, MTOPI, SISELECT, SIREG, STOPEI, STOPI] = [
  ...[0x350, 0x351, 0x35c, 0xfb0],
  ...[0x150, 0x151, 0x15c, 0xdb0],
];
const [MIE, MIDELEG, MIP, MVIEN] = [0x304, 0x303, 0x344, 0x308];
const bits = (...lines: readonly number[]): bigint => lines.reduce((all, n) => all | (1n << BigInt(n)), 0n);

/** A file with one register, 0x70, and a top that a claim takes. */
class TestFile implements InterruptFile {
  top = 0;
  register = 0n;
  claim(): void {
    this.top = 0;
  }
  readRegister(number: number): bigint | undefined {
    return number === 0x70 ? this.register : undefined;
  }
  writeRegister(number: number, value: bigint): boolean {
    if (number === 0x70) this.register = value;
    return number === 0x70;
  }
}

function make(extensions: readonly string[] = ['smaia', 'ssaia']) {
  const files = { machine: new TestFile(), supervisor: new TestFile() };
  const cpu = new RiscvCpu(
    { time: () => 0n, cycles: () => 0n, setTimer: () => {}, files },
    { ...defaultModel, extensions: new Set([...defaultModel.extensions, ...extensions]) },
  );
  new TcgEngine({ cpus: [cpu], ramBytes: 1 << 16, stateBytes: STATE_BYTES, hotThreshold: 0, host: quietHost });
  cpu.reset(0n);
  const routines = cpu.hostRoutines();
  const write = (number: number, value: bigint): number =>
    (routines['csr_write'] as (...args: unknown[]) => number)(0, number, BigInt.asIntN(64, value), -1n);
  const read = (number: number): bigint | undefined => {
    const [fault, value] = (routines['csr_read'] as (...args: unknown[]) => [number, bigint])(0, number);
    return fault === 0 ? BigInt.asUintN(64, value) : undefined;
  };
  return { cpu, files, read, write };
}

test('without Smaia and Ssaia none of the registers is there', () => {
  const { read, write } = make([]);
  for (const number of [MISELECT, MIREG, MTOPEI, MTOPI, SISELECT, SIREG, STOPEI, STOPI, MVIEN])
    assert.equal(read(number), undefined);
  assert.equal(write(MISELECT, 0x30n), 1);
});

test('indirect registers: priorities of interrupts that are there, the file’s registers, and illegal numbers [2.1]', () => {
  const { files, read, write } = make();
  write(MISELECT, 0x30n);
  write(MIREG, ~0n);
  assert.equal(read(MIREG), 0xff00_ff00_ff00n | (0xffn << 56n), 'SSI, MSI, STI, MTI');
  write(MISELECT, 0x32n);
  write(MIREG, ~0n);
  assert.equal(read(MIREG), 0xff00n, 'SEI, but not MEI');
  write(SISELECT, 0x30n);
  write(SIREG, ~0n);
  assert.equal(read(SIREG), 0xff00_0000_ff00n, 'SSI, STI');
  write(SISELECT, 0x3en);
  assert.equal(read(SIREG), 0n);
  for (const number of [0n, 0x2fn, 0x31n, 0x40n, 0x71n, 0x100n, 0xfffn]) {
    write(SISELECT, number);
    assert.equal(read(SIREG), undefined, number.toString(16));
    assert.equal(write(SIREG, 0n), 1);
  }
  write(SISELECT, 0x70n);
  write(SIREG, 5n);
  assert.deepEqual([files.supervisor.register, files.machine.register], [5n, 0n]);
  assert.equal(read(SIREG), 5n);
  assert.deepEqual([read(0x308), read(0x309)], [0n, 0n]);
});

test('mtopei and stopei show the file’s top twice, and a write claims it [3.10]', () => {
  const { files, read, write } = make();
  files.machine.top = 7;
  files.supervisor.top = 255;
  assert.deepEqual([read(MTOPEI), read(STOPEI)], [0x7_0007n, 0xff_00ffn]);
  write(STOPEI, 0n);
  assert.deepEqual([read(MTOPEI), read(STOPEI)], [0x7_0007n, 0n]);
});

test('mtopi and stopi: what is enabled, by priority and then by the default order; the external one has its identity’s [5.3, 5.4]', () => {
  const { cpu, files, read, write } = make();
  assert.equal(read(MTOPI), 0n);
  write(MIE, bits(irq.MSI, irq.MTI, irq.MEI, irq.SSI, irq.STI, irq.SEI));
  write(MIDELEG, bits(irq.SSI, irq.STI, irq.SEI));
  for (const line of [irq.MSI, irq.MTI, irq.SEI]) cpu.setLine(line, true);
  write(MIP, bits(irq.SSI));
  const top = (line: number, priority: number): bigint => (BigInt(line) << 16n) | BigInt(priority);
  // Those behind the external interrupt in the default order are as 255.
  assert.equal(read(MTOPI), top(irq.MSI, 255));
  files.supervisor.top = 40;
  assert.equal(read(STOPI), top(irq.SEI, 40));
  write(SISELECT, 0x30n);
  write(SIREG, 39n << 8n);
  assert.equal(read(STOPI), top(irq.SSI, 39), 'a priority that was given');
  write(SIREG, 41n << 8n);
  assert.equal(read(STOPI), top(irq.SEI, 40));
  write(SIREG, 40n << 8n);
  assert.equal(read(STOPI), top(irq.SEI, 40), 'equal ones by the default order');
  write(MISELECT, 0x30n);
  write(MIREG, 9n << 56n);
  assert.equal(read(MTOPI), top(irq.MTI, 9));
  write(MIE, bits(irq.MSI));
  assert.equal(read(STOPI), 0n, 'what is not enabled does not show');
});

test('the interrupt that is taken is the one that mtopi shows', () => {
  const { cpu, write } = make();
  const { hart } = cpu;
  hart.set64(field.mtvec, 0x101n);
  write(MIE, bits(irq.MSI, irq.MTI));
  for (const line of [irq.MSI, irq.MTI]) cpu.setLine(line, true);
  write(MISELECT, 0x30n);
  write(MIREG, (200n << 24n) | (100n << 56n));
  hart.setStatus(hart.status | mstatus.MIE);
  assert.equal(hart.privilege, privilege.M);
  assert.equal(cpu.deliverPending(), true);
  assert.equal(hart.get64(field.mcause), (1n << 63n) | BigInt(irq.MTI));
  assert.equal(hart.pc, 0x100n + 4n * BigInt(irq.MTI));
});
