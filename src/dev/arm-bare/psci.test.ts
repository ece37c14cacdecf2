/** PSCI that the board itself serves: every function number and odd arguments, on QEMU's board and here. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultModel } from '../../guest/arm/index.js';
import { ArmVirt } from '../../machine/arm/virt.js';
import { CODE, OUT, Program, RAM, RAM_BYTES } from './program.js';
import { bareUnavailable, end, runOnQemu } from './run.js';

const SYSTEM_OFF = 0x84000008;
const END = CODE - 0x1000;

/** RAM as the program leaves it on the board here. */
function runOnBoard(p: Program): DataView {
  let nowNs = 0;
  let polls = 0;
  const board = new ArmVirt(
    {
      time: { nowNs: () => (nowNs += 1000), wallNs: () => 1.7e18 },
      randomBits: () => 0n,
      service: () => ++polls > 20_000,
      sleep: (milliseconds) => void (nowNs += milliseconds * 1e6),
    },
    { ramBytes: RAM_BYTES, hotThreshold: 0, model: defaultModel, serial: [] },
  );
  board.powerOn(undefined);
  board.enterAt(0, CODE);
  const off = new Program();
  off.set(0, SYSTEM_OFF);
  off.put('hvc imm', { imm: 0 });
  for (const [at, word] of [...p.words, ...[...off.words].map(([at, word]) => [at - CODE + END, word] as const)])
    board.memory.dma.write(at, new Uint8Array(Uint32Array.of(word).buffer));
  assert.deepEqual(board.run(), { why: 'poweroff' });
  const ram = board.memory.dma.view(RAM, RAM_BYTES, false);
  assert.ok(ram);
  return new DataView(ram.buffer, ram.byteOffset, ram.length);
}

/** Functions that end the call, or the CPU, and CPU_ON of the CPU that calls. */
const ends = new Set([0x84000001, 0xc4000001, 0x84000002, 0x84000008, 0x84000009]);
const version01 = { suspend: 0x95c1ba5e, off: 0x95c1ba5f, on: 0x95c1ba60, migrate: 0x95c1ba61 } as const;

function calls(): bigint[][] {
  const FEATURES = 0x8400000a;
  const numbers = [0x84000000, 0xc4000000].flatMap((base) => Array.from({ length: 0x18 }, (_, n) => base + n));
  const others = [0x80000000, 0x80000001, 0x80008000, 0x8400ff00, 0xdead0000, 0, version01.migrate];
  const targets = [0n, 1n, 7n, 0x8000_0000n, 0x8000_0001n, 1n << 32n];
  return [
    ...[...numbers, ...others, version01.suspend, version01.off, version01.on].map((id) => [FEATURES, id]),
    ...[...numbers, ...others].filter((id) => !ends.has(id)).map((id) => [id]),
    ...[0xc4000004, 0x84000004].flatMap((id) =>
      [0n, 1n, 3n, 9n].flatMap((level) => targets.map((target) => [id, target, level])),
    ),
    ...[0xc4000003, 0x84000003, version01.on].flatMap((id) => targets.map((target) => [id, target, CODE, 0])),
    ...[0xc4000001, 0x84000001, version01.suspend].flatMap((id) =>
      [0x2_0000n, 0x100_0000n, 0x200_0000n, 0x8000_0000n, 0x1_0002_0000n].map((state) => [id, state]),
    ),
    // Numbers have 64 bits here.
    [0x1_8400_0000n],
    [FEATURES, 0x1_8400_0000n],
    [-0x7c00_0000n],
  ].map((call) => call.map(BigInt));
}

const skip = bareUnavailable() ?? false;
test('every call is answered as by QEMU', { skip }, () => {
  const all = calls();
  const p = new Program();
  p.set(20, OUT);
  for (const call of all) {
    for (let n = 0; n < 4; n++) p.set(n, call[n] ?? 0n);
    p.put('hvc imm', { imm: 0 });
    p.next('str', 0, 20);
  }
  end(p);
  const [theirs, ours] = [runOnQemu(p, [], 'cortex-a57'), runOnBoard(p)];
  const answers = (ram: DataView) =>
    all.map((call, n) => `${call.map((x) => x.toString(16)).join(' ')}: ${ram.getBigInt64(OUT - RAM + 8 * n, true)}`);
  assert.deepEqual(answers(ours), answers(theirs));
});

const TIMER_TICKS = 62_500;
/** It waits for the virtual timer, a millisecond away, with interrupts masked; the counter before and behind, and X0. */
function suspended(id: number): Program {
  const p = new Program();
  for (const [at, value] of [
    [0x0800_0000, 1],
    [0x0800_0100, 1 << 27],
    [0x0801_0000, 1],
    [0x0801_0004, 0xff],
  ]) {
    p.set(1, at);
    p.set(2, value);
    p.put('str wd, [rn, imm]', { rd: 2, rn: 1, imm: 0 });
  }
  p.set(20, OUT);
  p.mrs(3, 'CNTVCT_EL0');
  p.next('str', 3, 20);
  p.write('CNTV_TVAL_EL0', TIMER_TICKS);
  p.write('CNTV_CTL_EL0', 1);
  p.set(0, id);
  p.set(1, 0);
  p.put('hvc imm', { imm: 0 });
  p.mrs(3, 'CNTVCT_EL0');
  p.next('str', 3, 20);
  p.next('str', 0, 20);
  end(p);
  return p;
}

for (const id of [0xc4000001, version01.suspend])
  test(`CPU_SUSPEND ${id.toString(16)} waits for an interrupt, masked or not`, () => {
    const places = [
      ['here', runOnBoard(suspended(id))] as const,
      ...(skip ? [] : [['QEMU', runOnQemu(suspended(id), [], 'cortex-a57')] as const]),
    ];
    for (const [where, ram] of places) {
      const [before, after, answer] = [0, 8, 16].map((offset) => ram.getBigUint64(OUT - RAM + offset, true));
      assert.ok(after - before >= BigInt(TIMER_TICKS), where);
      assert.equal(answer, 0n, where);
    }
  });
