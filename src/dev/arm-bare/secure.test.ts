/** What `-M virt,secure=on` adds for firmware at EL3, on QEMU's board and here: RAM, a UART, GPIO pins; no PSCI but firmware's own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseArmCpu } from '../../guest/arm/index.js';
import { ArmVirt } from '../../machine/arm/virt.js';
import { CODE, OUT, Program, RAM, RAM_BYTES } from './program.js';
import { bareUnavailable, end, runOnQemu } from './run.js';

const SECURE_RAM = 0x0e00_0000;
const SECURE_UART = 0x0904_0000;
const SECURE_GPIO = 0x090b_0000;
const GPIO_DIR = 0x400;
/** Of the data: an access to pin 0, or to pin 1, alone. */
const [POWER_OFF, RESET] = [4, 8];

function start(program: Program, cpus = 1): ArmVirt {
  let nowNs = 0;
  let polls = 0;
  const board = new ArmVirt(
    {
      time: { nowNs: () => (nowNs += 1000), wallNs: () => 1.7e18 },
      randomBits: () => 0n,
      service: () => ++polls > 5000,
      sleep: (milliseconds) => void (nowNs += milliseconds * 1e6),
    },
    { ramBytes: RAM_BYTES, hotThreshold: 0, model: parseArmCpu('cortex-a57,has_el3=on'), serial: [], cpus },
  );
  board.powerOn(undefined);
  for (let cpu = 0; cpu < cpus; cpu++) board.enterAt(cpu, CODE);
  for (const [at, word] of program.words) board.memory.dma.write(at, new Uint8Array(Uint32Array.of(word).buffer));
  return board;
}

function write(p: Program, gpa: number, value: number): void {
  p.set(1, gpa);
  p.set(2, value);
  p.put('str wd, [rn, imm]', { rd: 2, rn: 1, imm: 0 });
}

/** Pins become outputs, and one goes up. */
function raise(p: Program, pin: number): void {
  write(p, SECURE_GPIO + GPIO_DIR, 3);
  write(p, SECURE_GPIO + pin, 0xff);
  p.branch('b', p.here);
}

function looked(finish: (p: Program) => void): Program {
  const p = new Program();
  p.set(20, OUT);
  for (const at of [SECURE_RAM, SECURE_RAM + 0xff_fffc]) write(p, at, 0x1234_5678);
  const reads = [SECURE_RAM, SECURE_RAM + 0xff_fffc, SECURE_RAM + 0x100, SECURE_UART + 0x30];
  // Identification of PrimeCells.
  for (const chip of [SECURE_UART, SECURE_GPIO]) for (let n = 0; n < 8; n++) reads.push(chip + 0xfe0 + 4 * n);
  for (const at of reads) {
    p.set(1, at);
    p.put('ldr wd, [rn, imm]', { rd: 3, rn: 1, imm: 0 });
    p.next('str', 3, 20);
  }
  finish(p);
  return p;
}

const skip = bareUnavailable() ?? false;
test('secure RAM keeps what is written, UART and GPIO are there, as on QEMU', { skip }, () => {
  const theirs = runOnQemu(looked(end), [], 'cortex-a57', ',secure=on');
  const board = start(looked((p) => raise(p, POWER_OFF)));
  assert.deepEqual(board.run(), { why: 'poweroff' });
  const count = 20;
  const at = (n: number) => OUT + 8 * n;
  assert.deepEqual(
    Array.from({ length: count }, (_, n) => board.memory.dma.readU32(at(n)) >>> 0),
    Array.from({ length: count }, (_, n) => theirs.getUint32(at(n) - RAM, true)),
  );
});

test('pins of the secure GPIO switch the machine off and reset it', () => {
  for (const [pin, why] of [
    [POWER_OFF, 'poweroff'],
    [RESET, 'reset'],
  ] as const) {
    const p = new Program();
    raise(p, pin);
    assert.deepEqual(start(p).run(), { why });
  }
});

test('what starts at EL3 has PSCI of its own: all CPUs start, and a call of it is no call of the board', () => {
  const p = new Program();
  p.set(0, 0x8400_0008);
  p.put('smc imm', { imm: 0 });
  p.branch('b', p.here);
  const board = start(p, 2);
  assert.deepEqual(
    board.cpus.map(({ isStopped }) => isStopped),
    [false, false],
  );
  assert.deepEqual(board.run(), { why: 'stopped' });
});
