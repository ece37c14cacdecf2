/** AArch64's board `virt`: programs of a few instructions on both tiers, with the PSCI that is built in. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultModel, xreg } from '../guest/arm/index.js';
import { registers as systemRegisters } from '../guest/arm/system/registers.js';
import { header } from '../ir/index.js';
import { ArmVirt, type ArmVirtOptions } from '../machine/arm/virt.js';
import { BoardDebugTarget } from '../machine/debug-target.js';
import { instruction } from './arm-rows/runner-elf.js';

const RAM = 0x4000_0000;
const TABLE = 0x1000;
const RESULTS = 0x4000;
const VECTORS = 0x2000;
const IMAGE_BYTES = 0x8000;
const modules = new Map<string, WebAssembly.Module>();

class TestVirt {
  readonly board: ArmVirt;
  console = '';
  #polls = 0;
  #nowNs = 0;

  constructor(options: Partial<ArmVirtOptions> = {}) {
    this.board = new ArmVirt(
      {
        // Each look at the clock takes a microsecond: time does not depend on the host.
        time: { nowNs: () => (this.#nowNs += 1000), wallNs: () => 1.7e18 },
        randomBits: () => 0x0123456789abcdefn,
        service: () => ++this.#polls > 20_000,
        sleep: (milliseconds) => void (this.#nowNs += milliseconds * 1e6),
        modules,
      },
      {
        ramBytes: 16 << 20,
        hotThreshold: 16,
        model: defaultModel,
        serial: [
          {
            write: (byte) => {
              this.console += String.fromCharCode(byte);
            },
          },
        ],
        ...options,
      },
    );
  }

  u64(gpa: number): bigint {
    const { dma } = this.board.memory;
    return BigInt(dma.readU32(gpa) >>> 0) | (BigInt(dma.readU32(gpa + 4) >>> 0) << 32n);
  }
}

const codes = new Map(systemRegisters.map(({ name, code }) => [name, code & 0x7fff]));
const systemCode = (name: string): number => {
  const code = codes.get(name);
  assert.ok(code !== undefined, name);
  return code;
};
const mrs = (rd: number, name: string) => instruction('mrs xd, imm', { rd, imm: systemCode(name) });
const msr = (name: string, rd: number) => instruction('msr imm, xd', { rd, imm: systemCode(name) });
const hvc = instruction('hvc imm', { imm: 0 });
const wfi = instruction('wfi');
const here = instruction('b target', { imm: 0 });
const load = (rd: number, rn: number, imm = 0) => instruction('ldr xd, [rn, imm]', { rd, rn, imm });
const store = (rd: number, rn: number, imm = 0) => instruction('str xd, [rn, imm]', { rd, rn, imm });
const store32 = (rd: number, rn: number, imm = 0) => instruction('str wd, [rn, imm]', { rd, rn, imm });
const add = (rd: number, rn: number, imm: number) => instruction('add rd|sp, rn|sp, imm', { sf: 1, rd, rn, imm });
const move = (rd: number, imm: number, hw = 0) => instruction('movz rd, imm, hw', { sf: 1, rd, imm, shift: hw });

/** A Linux Image whose code begins behind the header, with a table of numbers in it. */
function image(code: readonly number[], table: readonly bigint[] = [], vectors: readonly number[] = []): Uint8Array {
  const bytes = new Uint8Array(IMAGE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, instruction('b target', { imm: 64 }), true);
  view.setBigUint64(16, BigInt(IMAGE_BYTES), true);
  view.setUint32(0x38, 0x644d5241, true);
  const put = (at: number, words: readonly number[]) => {
    for (const [i, word] of words.entries()) view.setUint32(at + 4 * i, word, true);
  };
  put(64, code);
  // IRQs at the same exception level.
  put(VECTORS + 0x280, vectors);
  for (const [i, value] of table.entries()) view.setBigUint64(TABLE + 8 * i, BigInt.asUintN(64, value), true);
  return bytes;
}
const kernel = (code: readonly number[], table: readonly bigint[] = [], vectors: readonly number[] = []) => ({
  kernel: image(code, table, vectors),
  commandLine: 'test',
});

/** x20 becomes the table's address, x21 the results', x22 the vectors', x19 keeps the device tree's. */
const prologue = [
  add(19, 0, 0),
  move(20, RAM >>> 16, 1),
  add(22, 20, VECTORS & 0xfff),
  instruction('movk rd, imm, hw', { sf: 1, rd: 22, imm: VECTORS, shift: 0 }),
  add(21, 20, 0),
  instruction('movk rd, imm, hw', { sf: 1, rd: 21, imm: RESULTS, shift: 0 }),
  instruction('movk rd, imm, hw', { sf: 1, rd: 20, imm: TABLE, shift: 0 }),
];

/** Calls of PSCI, four numbers each; what X0 is after each. The last one ends the machine. */
function callPsci(calls: readonly (readonly bigint[])[], hotThreshold: number) {
  const code = [
    ...prologue,
    ...calls.flatMap((_, i) => [...[0, 1, 2, 3].map((n) => load(n, 20, 8 * (4 * i + n))), hvc, store(0, 21, 8 * i)]),
    here,
  ];
  const machine = new TestVirt({ hotThreshold });
  machine.board.powerOn(
    kernel(
      code,
      calls.flatMap((call) => [0, 1, 2, 3].map((n) => call[n] ?? 0n)),
    ),
  );
  const stop = machine.board.run();
  return { stop, answers: calls.map((_, i) => BigInt.asIntN(64, machine.u64(RAM + RESULTS + 8 * i))) };
}

for (const hotThreshold of [0, 2]) {
  test(`PSCI: version, features, CPUs, and the end, threshold ${hotThreshold}`, () => {
    const { stop, answers } = callPsci(
      [
        [0x84000000n],
        [0x8400000an, 0xc4000003n],
        [0x8400000an, 0xc4000000n],
        [0x8400000an, 0x84000008n],
        [0xc4000003n, 0n, 0x40000000n, 0n],
        [0xc4000003n, 1n, 0x40000000n, 0n],
        [0xc4000004n, 0n, 0n],
        [0xc4000004n, 7n, 0n],
        [0x84000006n],
        [0xc4000001n, 0x100_0000n],
        [0xdead0000n],
        [0x84000008n],
      ],
      hotThreshold,
    );
    assert.deepEqual(stop, { why: 'poweroff' });
    assert.deepEqual(answers.slice(0, -1), [0x10001n, 0n, -1n, 0n, -4n, -2n, 0n, -2n, 2n, -2n, -1n]);
  });
}

test('PSCI: a reset; the only CPU goes off, and the machine stands still', () => {
  assert.deepEqual(callPsci([[0x84000009n]], 0).stop, { why: 'reset' });
  assert.deepEqual(callPsci([[0x84000002n]], 0).stop, { why: 'stopped' });
});

for (const hotThreshold of [0, 2])
  test(`two CPUs: one starts the other with an argument and waits for it; that goes off, and is found off, threshold ${hotThreshold}`, () => {
    const machine = new TestVirt({ cpus: 2, hotThreshold });
    const wfe = instruction('hint imm', { imm: 2 });
    const other = 0x300;
    const code = [
      ...prologue,
      // CPU_ON of CPU 1.
      ...[0, 1, 2, 3].map((n) => load(n, 20, 8 * n)),
      hvc,
      store(0, 21, 8),
      // Until it has stored its argument.
      wfe,
      load(5, 21),
      instruction('cbz rd, target', { sf: 1, rd: 5, imm: -8 }),
      // Until AFFINITY_INFO says that it is off.
      load(0, 20, 32),
      load(1, 20, 8),
      move(2, 0),
      hvc,
      instruction('cbz rd, target', { sf: 1, rd: 0, imm: -16 }),
      store(0, 21, 16),
      load(0, 20, 40),
      hvc,
      here,
    ];
    const started = [
      move(21, RAM >>> 16, 1),
      instruction('movk rd, imm, hw', { sf: 1, rd: 21, imm: RESULTS, shift: 0 }),
      mrs(6, 'MPIDR_EL1'),
      store(6, 21, 24),
      store(0, 21),
      move(0, 0x8400, 1),
      add(0, 0, 2),
      hvc,
      here,
    ];
    const words = [...code];
    while (words.length < (other - 64) / 4) words.push(here);
    const table = [0xc4000003n, 1n, BigInt(RAM + other), 0x77n, 0xc4000004n, 0x84000008n];
    machine.board.powerOn(kernel([...words, ...started], table));
    assert.equal(machine.board.cpus[1].isStopped, true);
    assert.deepEqual(machine.board.run(), { why: 'poweroff' });
    const results = [0, 1, 2, 3].map((n) => machine.u64(RAM + RESULTS + 8 * n));
    assert.deepEqual(results, [0x77n, 0n, 1n, 0x80000001n]);
  });

test('TLBI for all CPUs reaches the other one; for one it does not', () => {
  const { board } = new TestVirt({ cpus: 2 });
  const sys = (crm: number) => instruction('sys imm, xd', { imm: (8 << 7) | (crm << 3), rd: 31 });
  board.powerOn(kernel([sys(7), sys(3), here]));
  // The counter of flushes of each.
  const flushes = () => board.cpus.map((cpu) => cpu.core.get32(header.flushes));
  board.step(0);
  const before = flushes();
  board.step(0);
  const alone = flushes();
  assert.deepEqual([alone[0] > before[0], alone[1] > before[1]], [true, false]);
  board.step(0);
  const all = flushes();
  assert.deepEqual([all[0] > alone[0], all[1] > alone[1]], [true, true]);
});

test('the kernel starts at EL1 with interrupts masked and the device tree in X0', () => {
  const { board } = new TestVirt();
  assert.equal(board.powerOn(kernel([wfi])), 'Linux (AArch64 Image) at 0x40000000, built-in PSCI');
  const { x0, x1, pc, pstate } = board.cpu.registers();
  assert.equal(board.memory.dma.readU32(Number(x0)) >>> 0, 0xedfe0dd0);
  assert.deepEqual([x1, pc, pstate], [0n, BigInt(RAM), 0x3c5n]);
  assert.equal(Number(x0) % 0x20_0000, 0);
});

/** Opens the GIC for an interrupt: x1 distributor, x2 CPU interface. */
const openGic = (irq: number) => [
  move(1, 0x800, 1),
  move(2, 0x801, 1),
  move(3, 1),
  store32(3, 1),
  store32(3, 2),
  move(4, 0xff),
  store32(4, 2, 4),
  move(5, 1 << (irq & 15), (irq & 31) >> 4),
  store32(5, 1, 0x100 + 4 * (irq >> 5)),
];

for (const [name, irq] of [
  ['CNTV', 27],
  ['CNTP', 30],
] as const)
  test(`${name}: its interrupt wakes the CPU from WFI and is taken; the counter has gone on`, () => {
    const machine = new TestVirt();
    // The handler acknowledges, turns the timer off, and ends the machine.
    const handler = [
      instruction('ldr wd, [rn, imm]', { rd: 6, rn: 2, imm: 0xc }),
      store(6, 21),
      mrs(7, 'CNTVCT_EL0'),
      store(7, 21, 8),
      msr(`${name}_CTL_EL0`, 31),
      instruction('ldr wd, [rn, imm]', { rd: 8, rn: 2, imm: 0xc }),
      store(8, 21, 16),
      load(0, 20),
      hvc,
    ];
    const code = [
      ...prologue,
      ...openGic(irq),
      msr('VBAR_EL1', 22),
      move(9, 10_000),
      msr(`${name}_TVAL_EL0`, 9),
      msr(`${name}_CTL_EL0`, 3),
      instruction('msr.daifclr imm', { imm: 2 }),
      wfi,
      here,
    ];
    machine.board.powerOn(kernel(code, [0x84000008n], handler));
    assert.deepEqual(machine.board.run(), { why: 'poweroff' });
    assert.equal(machine.u64(RAM + RESULTS), BigInt(irq));
    assert.ok(machine.u64(RAM + RESULTS + 8) >= 10_000n);
    assert.equal(machine.u64(RAM + RESULTS + 16), 1023n, 'the line fell with the timer');
  });

test('the serial port, its interrupt at the GIC; the power key', () => {
  const machine = new TestVirt();
  const { board } = machine;
  board.powerOn(kernel([wfi]));
  const { memory } = board;
  memory.write(0x900_0000, 4, 0x21);
  assert.equal(machine.console, '!');
  memory.write(0x900_0038, 4, 0x20);
  assert.equal(memory.read(0x800_0204, 4), 1 << 1, 'interrupt 33 is pending');
  memory.write(0x903_0410, 4, 1 << 3);
  memory.write(0x903_040c, 4, 1 << 3);
  board.pressPowerButton();
  assert.equal(memory.read(0x903_0020, 4), 8);
  assert.equal(memory.read(0x800_0204, 4), (1 << 7) | (1 << 1));
});

test('a message-signalled interrupt reaches the GIC through the frame', () => {
  const { board } = new TestVirt();
  board.powerOn(kernel([wfi]));
  board.memory.write(0x800_0c14, 4, 0x2);
  board.msi.send(0x802_0040, 80);
  assert.equal(board.memory.read(0x800_0208, 4), 1 << 16);
  board.memory.write(0x800_0000, 4, 1);
  board.memory.write(0x801_0000, 4, 1);
  board.memory.write(0x801_0004, 4, 0xff);
  assert.equal(board.cpu.isCalled, false);
  board.memory.write(0x800_0108, 4, 1 << 16);
  assert.equal(board.cpu.isCalled, true);
});

test('a debugger reads and writes registers and memory, steps, and stops at breakpoints', () => {
  const machine = new TestVirt();
  machine.board.powerOn(kernel([...prologue, here]));
  const target = new BoardDebugTarget(machine.board, { resume: () => {}, interrupt: () => {}, kill: () => {} });
  assert.equal(target.architecture, 'aarch64');
  const index = (name: string) => target.registers.findIndex((each) => each.name === name);
  const read = (name: string) => target.readRegister(index(name));
  assert.equal(read('pc'), BigInt(RAM));
  target.step();
  assert.equal(read('pc'), BigInt(RAM + 64));
  target.step();
  target.step();
  assert.equal(read('x20'), BigInt(RAM));
  assert.equal(target.writeRegister(index('x3'), 77n), true);
  assert.equal(machine.board.cpu.core.get64(xreg[3].offset), 77n);
  assert.equal(target.writeRegister(index('cpsr'), 0xa0000000n), true);
  assert.equal(read('cpsr'), 0xa0000005n);
  assert.equal(target.writeRegister(index('v5'), (7n << 64n) | 9n), true);
  assert.equal(read('v5'), (7n << 64n) | 9n);
  assert.equal(target.writeRegister(index('sp'), 0x1000n), true);
  assert.equal(read('sp'), 0x1000n);
  assert.equal(target.readMemory(BigInt(RAM + 0x38), 4).length, 4);
  assert.equal(target.readMemory(0x900_0000n, 4).length, 0, 'no RAM');
  const last = BigInt(RAM + 64 + 4 * prologue.length);
  assert.equal(target.setBreakpoint(last), true);
  assert.deepEqual(machine.board.run(), { why: 'debug' });
  assert.equal(read('pc'), last);
});

for (const hotThreshold of [0, 2])
  test(`a debugger stops before the instruction whose access it watches for, threshold ${hotThreshold}`, () => {
    const machine = new TestVirt({ hotThreshold });
    const pair = (isLoad: boolean) =>
      instruction(`${isLoad ? 'ld' : 'st'}p xd, xa, [rn, imm]`, { rd: 1, ra: 2, rn: 21, imm: 16 });
    const code = [
      ...prologue,
      store(1, 21, 8),
      store(1, 21, 16),
      pair(false),
      load(2, 21, 24),
      pair(true),
      instruction('stp xd, xa, [rn, imm]', { rd: 1, ra: 2, rn: 21, imm: 0 }),
      here,
    ];
    machine.board.powerOn(kernel(code));
    const target = new BoardDebugTarget(machine.board, { resume: () => {}, interrupt: () => {}, kill: () => {} });
    const pc = () => target.readRegister(target.registers.findIndex((each) => each.name === 'pc'));
    const placeOf = (n: number) => BigInt(RAM + 64 + 4 * (prologue.length + n));
    const at = BigInt(RAM + RESULTS);
    /** Where the next access that is watched is made. */
    const stop = () => {
      target.resume();
      assert.deepEqual(machine.board.run(), { why: 'debug' });
      return [target.takeWatchpointHit()?.kind, pc()];
    };
    assert.equal(target.setWatchpoint('write', at + 24n, 4), true);
    assert.deepEqual(stop(), ['write', placeOf(2)], 'the second of a pair');
    target.clearWatchpoint('write', at + 24n, 4);
    assert.equal(target.setWatchpoint('read', at + 24n, 8), true);
    assert.deepEqual(stop(), ['read', placeOf(3)]);
    target.clearWatchpoint('read', at + 24n, 8);
    target.step();
    assert.equal(target.setWatchpoint('read', at + 24n, 8), true);
    assert.deepEqual(stop(), ['read', placeOf(4)]);
    target.clearWatchpoint('read', at + 24n, 8);
    assert.equal(target.setWatchpoint('access', at + 15n, 1), true);
    assert.deepEqual(stop(), ['access', placeOf(5)]);
  });

test("registers are shown as QEMU's monitor lays them out", () => {
  const { board } = new TestVirt();
  board.powerOn(kernel([wfi]));
  const lines = board.cpu.dump({ float: true }).split('\n');
  assert.match(lines[0], /^ PC=0000000040000000 X00=[0-9a-f]{16} X01=0{16}$/);
  assert.match(lines[10], /^X29=0{16} X30=0{16} {2}SP=0{16}$/);
  assert.equal(lines[11], 'PSTATE=000003c5 ---- EL1h  BTYPE=0    FPU disabled');
  assert.match(board.info.interrupts(), /^gicv2: distributor 0/);
  assert.equal(board.info.mappings(), 'No translation or protection');
});

test('what the board does not have is refused: an NMI, more CPUs, a second serial port', () => {
  const { board } = new TestVirt();
  board.powerOn(kernel([wfi]));
  assert.throws(() => board.raiseNmi(), /no non-maskable interrupt/);
  assert.throws(() => new TestVirt({ cpus: 9 }), /up to 8 CPUs/);
  const port = { write: () => {} };
  assert.throws(() => new TestVirt({ serial: [port, port] }), /one serial port/);
  assert.throws(() => board.enterAt(1, RAM), /no CPU 1/);
});

test('without a kernel a CPU begins where it is told to', () => {
  const { board } = new TestVirt();
  assert.equal(board.powerOn(undefined), 'the bare machine');
  board.enterAt(0, RAM + 0x1000);
  assert.equal(board.cpu.linearPc, BigInt(RAM + 0x1000));
});

test('after a reset the machine is as it was at power-on', () => {
  const { board } = new TestVirt();
  const images = kernel([wfi]);
  board.powerOn(images);
  const before = { registers: board.cpu.registers(), devices: board.saveDevices() };
  for (const [gpa, value] of [
    [0x800_0000, 1],
    [0x800_0104, 2],
    [0x801_0004, 0xf0],
    [0x900_0038, 0x20],
    [0x900_0000, 0x41],
    [0x903_0400, 0xff],
    [0x901_0010, 1],
  ])
    board.memory.write(gpa, 4, value);
  for (let i = 0; i < 4; i++) board.step(0);
  assert.notDeepEqual(board.saveDevices(), before.devices);
  board.powerOn(images);
  const after = board.cpu.registers();
  for (const [name, value] of Object.entries(before.registers))
    if (!/^CNT.*(CT|TVAL)_EL0$/.test(name)) assert.equal(after[name], value, name);
  assert.deepEqual(board.saveDevices(), before.devices);
});
