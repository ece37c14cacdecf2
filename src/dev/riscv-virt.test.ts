/** The board `virt`: programs of a few instructions on both tiers, with the SBI that is built in, with OpenSBI, and on the bare machine. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseRiscvCpu } from '../guest/riscv/index.js';
import { field, irq, mstatus } from '../guest/riscv/state.js';
import { seededRandom } from '../hw/testing.js';
import { BoardDebugTarget } from '../machine/debug-target.js';
import type { FdtNode } from '../machine/fdt.js';
import { parseTree } from '../machine/fdt-parse.js';
import { ENTRY, kernel, prologue, RAM, RESULTS, TABLE, TestVirt, words, x } from './riscv-bare/board.js';
import { instruction } from './riscv-rows/runner-elf.js';

const load = (rd: number, imm: number) => instruction('ld', { rd, rs1: x.s1, imm });
const store = (rs2: number, imm: number) => instruction('sd', { rs2, rs1: x.s2, imm });

/** Makes the calls of the table: their number, then a0, a1, a2, a6, a7 of each; stores a0 and a1 of each answer. */
const callAll = [
  ...prologue,
  load(x.s3, 0),
  instruction('addi', { rd: x.s1, rs1: x.s1, imm: 8 }),
  ...[x.a0, x.a1, x.a2, x.a6, x.a7].map((register, i) => load(register, 8 * i)),
  instruction('ecall'),
  store(x.a0, 0),
  store(x.a1, 8),
  instruction('addi', { rd: x.s1, rs1: x.s1, imm: 40 }),
  instruction('addi', { rd: x.s2, rs1: x.s2, imm: 16 }),
  instruction('addi', { rd: x.s3, rs1: x.s3, imm: -1 }),
  instruction('bne', { rs1: x.s3, rs2: 0, imm: -4 * 11 }),
  instruction('jal', { rd: 0, imm: 0 }),
];

const extension = {
  base: 0x10n,
  time: 0x54494d45n,
  ipi: 0x735049n,
  fence: 0x52464e43n,
  hart: 0x48534dn,
  reset: 0x53525354n,
  console: 0x4442434en,
};
type Call = readonly [extension: bigint, fn: bigint, ...args: bigint[]];
const shutDown: Call = [extension.reset, 0n, 0n, 0n];

/** Errors and values of the calls, as signed numbers; the last call ends the machine. */
function makeCalls(machine: TestVirt, calls: readonly Call[]): [bigint, bigint][] {
  const all = [...calls, shutDown];
  const table = [BigInt(all.length), ...all.flatMap(([id, fn, a0 = 0n, a1 = 0n, a2 = 0n]) => [a0, a1, a2, fn, id])];
  machine.board.powerOn(kernel(callAll, table));
  assert.deepEqual(machine.board.run(), { why: 'poweroff' });
  return calls.map((_, i) => {
    const at = ENTRY + RESULTS + 16 * i;
    return [BigInt.asIntN(64, machine.u64(at)), BigInt.asIntN(64, machine.u64(at + 8))];
  });
}

for (const hotThreshold of [0, 2]) {
  test(`the built-in SBI, threshold ${hotThreshold}`, () => {
    const machine = new TestVirt({ hotThreshold });
    const text = ENTRY + 0x38;
    const answers = makeCalls(machine, [
      [extension.base, 0n],
      ...Object.values(extension).map((id): Call => [extension.base, 3n, id]),
      [extension.base, 3n, 0x999n],
      [extension.hart, 2n, 0n],
      [extension.hart, 2n, 1n],
      [extension.hart, 0n, 0n, 0n, 0n],
      [extension.fence, 1n, 1n, 0n, 0n],
      [extension.fence, 1n, 2n, 0n, 0n],
      [extension.fence, 1n, 0n, -1n, 0n],
      [extension.fence, 3n, 1n, 0n],
      [extension.console, 0n, 3n, BigInt(text), 0n],
      [extension.console, 0n, 3n, 0x1000_0000n, 0n],
      [extension.console, 2n, 0x21n],
      [1n, 0n, 0x2an],
      [2n, 0n],
      [0x999n, 0n],
      [extension.base, 99n],
      [extension.ipi, 0n, 1n, 0n],
      [extension.ipi, 0n, 4n, 0n],
      [extension.reset, 0n, 7n, 0n],
    ]);
    const ok = (value: bigint): [bigint, bigint] => [0n, value];
    assert.deepEqual(answers, [
      ok(0x0200_0000n),
      ...Object.values(extension).map(() => ok(1n)),
      ok(0n),
      ok(0n),
      [-3n, 0n],
      [-6n, 0n],
      ok(0n),
      [-3n, 0n],
      ok(0n),
      [-2n, 0n],
      ok(3n),
      [-3n, 0n],
      ok(0n),
      // Legacy calls leave a1 alone.
      [0n, 0n],
      [-1n, 0n],
      [-2n, 0n],
      [-2n, 0n],
      ok(0n),
      [-3n, 0n],
      [-3n, 0n],
    ]);
    assert.equal(machine.console, 'RSC!*');
    const { hart } = machine.board.cpu;
    assert.equal((hart.pending >> BigInt(irq.SSI)) & 1n, 1n, 'the IPI is pending');
  });
}

test('the built-in SBI does not stumble over any arguments', () => {
  const random = seededRandom(21);
  const value = () => {
    const choices = [0n, 1n, BigInt(ENTRY), BigInt(RAM - 8), (1n << 64n) - 1n, 1n << 63n, BigInt(random(2 ** 32))];
    return choices[random(choices.length)];
  };
  const ids = [...Object.values(extension).filter((id) => id !== extension.reset), 0n, 1n, 2n, 3n, 4n, 5n, 6n, 7n];
  const calls = Array.from({ length: 200 }, (): Call => {
    const id = ids[random(ids.length)];
    const fn = random(8);
    // The only hart is not to stop.
    return [id, id === extension.hart && fn === 1 ? 2n : BigInt(fn), value(), value(), value()];
  });
  makeCalls(new TestVirt(), calls);
});

/** What every hart of these programs knows: its number in a0, the results of hart 0 from s2 on; s1 is the table. */
const hartProgram = (first: readonly number[], second: readonly number[]): number[] => {
  const all = [...prologue, ...first];
  // Behind the first hart's code lies the second's, whose address is 64 + 4 · (place) from the image's start.
  return [...all, instruction('jal', { rd: 0, imm: 0 }), ...second];
};
const secondAt = (first: readonly number[]) => 64 + 4 * (prologue.length + first.length + 1);
const set = (rd: number, imm: number) => instruction('addi', { rd, rs1: 0, imm });
/** An SBI call by extension's place in the table, function, and what a0 to a2 are. */
const sbiCall = (place: number, fn: number, ...before: readonly number[]) => [
  ...before,
  load(x.a7, 8 * place),
  set(x.a6, fn),
  instruction('ecall'),
];

for (const hotThreshold of [0, 2])
  test(`harts are started, interrupted, fenced and stopped by SBI, threshold ${hotThreshold}`, () => {
    const places = { hart: 0, ipi: 1, fence: 2, reset: 3 } as const;
    const status = (imm: number) => [...sbiCall(places.hart, 2, set(x.a0, 1)), store(x.a1, imm)];
    const waitFor = (value: number, imm: number) => [
      set(x.a2, value),
      instruction('ld', { rd: x.t0, rs1: x.s2, imm }),
      instruction('pause'),
      instruction('bne', { rs1: x.t0, rs2: x.a2, imm: -8 }),
    ];
    const start = (delta: number) =>
      sbiCall(
        places.hart,
        0,
        set(x.a0, 1),
        set(x.a1, delta),
        instruction('add', { rd: x.a1, rs1: x.a1, rs2: x.s0 }),
        instruction('addi', { rd: x.a2, rs1: x.s2, imm: 0 }),
      );
    const make = (delta: number) => [
      ...status(0),
      ...start(delta),
      store(x.a0, 8),
      ...waitFor(7, 128),
      ...status(16),
      ...start(delta),
      store(x.a0, 24),
      ...sbiCall(places.ipi, 0, set(x.a0, 2), set(x.a1, 0)),
      ...sbiCall(places.fence, 1, set(x.a0, 3), set(x.a1, 0), set(x.a2, 0)),
      store(x.a0, 32),
      ...waitFor(9, 136),
      // It stops by itself soon after.
      ...sbiCall(places.hart, 2, set(x.a0, 1)),
      instruction('beq', { rs1: x.a1, rs2: 0, imm: -16 }),
      store(x.a1, 40),
      ...start(delta),
      store(x.a0, 48),
      ...sbiCall(places.hart, 0, set(x.a0, 2)),
      store(x.a0, 56),
      ...sbiCall(places.hart, 0, set(x.a0, 1), set(x.a1, 1)),
      store(x.a0, 64),
      ...sbiCall(places.reset, 0, set(x.a0, 0), set(x.a1, 0)),
    ];
    // The second hart: its number, its interrupts' place, WFI until the IPI, then it stops.
    const second = [
      instruction('addi', { rd: x.s2, rs1: x.a1, imm: 0 }),
      store(x.a0, 144),
      instruction('lui', { rd: x.t0, imm: RESULTS - TABLE }),
      instruction('sub', { rd: x.s1, rs1: x.s2, rs2: x.t0 }),
      instruction('csrrsi', { csr: 0x104, rs1: 2 }),
      set(x.t0, 7),
      store(x.t0, 128),
      instruction('wfi'),
      instruction('csrrs', { rd: x.t0, csr: 0x144, rs1: 0 }),
      store(x.t0, 152),
      set(x.t0, 9),
      store(x.t0, 136),
      ...sbiCall(places.hart, 1),
      instruction('jal', { rd: 0, imm: 0 }),
    ];
    const delta = secondAt(make(0));
    const machine = new TestVirt({ hotThreshold, cpus: 2 });
    const { hart, ipi, fence, reset } = extension;
    machine.board.powerOn(kernel(hartProgram(make(delta), second), [hart, ipi, fence, reset]));
    assert.deepEqual(machine.board.run(), { why: 'poweroff' });
    const result = (imm: number) => BigInt.asIntN(64, machine.u64(ENTRY + RESULTS + imm));
    assert.equal(result(0), 1n, 'stopped');
    assert.equal(result(8), 0n, 'started');
    assert.equal(result(144), 1n, "the hart's number in a0");
    assert.equal(result(16), 0n, 'it runs');
    assert.equal(result(24), -6n, 'already available');
    assert.equal(result(32), 0n, 'fenced');
    assert.equal(result(152) & 2n, 2n, 'the IPI was pending');
    assert.equal(result(40), 1n, 'stopped again');
    assert.equal(result(48), 0n, 'started once more');
    assert.equal(result(56), -3n, 'there is no hart 2');
    assert.ok([-6n, -5n].includes(result(64)));
    assert.deepEqual(
      machine.board.cpus.map((cpu) => cpu.registers()['mhartid']),
      [0n, 1n],
    );
  });

test("two harts' interrupts: ACLINT and PLIC have registers of each", () => {
  const { board } = new TestVirt({ cpus: 3 });
  board.powerOn(kernel([instruction('wfi')]));
  const has = (hart: number, line: number) => (board.cpus[hart].hart.pending >> BigInt(line)) & 1n;
  board.memory.write(0x200_0008, 4, 1);
  assert.deepEqual([has(0, irq.MSI), has(1, irq.MSI), has(2, irq.MSI)], [0n, 0n, 1n]);
  board.memory.write64(0x200_4008, 0n);
  assert.deepEqual([has(0, irq.MTI), has(1, irq.MTI), has(2, irq.MTI)], [0n, 1n, 0n]);
  board.memory.write(0xc00_0000 + 4 * 10, 4, 1);
  // Context 5: S-mode of hart 2.
  board.memory.write(0xc00_2000 + 0x80 * 5, 4, 1 << 10);
  board.memory.write(0x1000_0001, 1, 2);
  assert.deepEqual([has(1, irq.SEI), has(2, irq.SEI), has(2, irq.MEI)], [0n, 1n, 0n]);
  assert.equal(board.memory.read(0xc20_5004, 4), 10);
  assert.equal(has(2, irq.SEI), 0n);
  assert.equal(board.memory.read(0xc20_6004, 4), 0, 'there is no context 6');
});

test("a debugger sees every hart's registers; one that waits to be started makes no step", () => {
  const { board } = new TestVirt({ cpus: 2 });
  board.powerOn(kernel([...prologue, instruction('jal', { rd: 0, imm: 0 })]));
  const target = new BoardDebugTarget(board, { resume: () => {}, interrupt: () => {}, kill: () => {} });
  const read = (name: string) => target.readRegister(target.registers.findIndex((each) => each.name === name));
  assert.equal(target.vcpus, 2);
  target.vcpu = 1;
  assert.equal(read('mhartid'), 1n);
  const before = read('pc');
  target.step();
  assert.equal(read('pc'), before);
  target.vcpu = 0;
  target.step();
  assert.equal(read('pc'), BigInt(ENTRY + 64));
});

test('a timer ends WFI when its time has come, set by SBI or by stimecmp', () => {
  const wait = [
    ...prologue,
    instruction('addi', { rd: x.t0, rs1: 0, imm: 0x20 }),
    instruction('csrrs', { rd: 0, csr: 0x104, rs1: x.t0 }),
    instruction('csrrs', { rd: x.a0, csr: 0xc01, rs1: 0 }),
    instruction('addi', { rd: x.a0, rs1: x.a0, imm: 2000 }),
    store(x.a0, 0),
  ];
  const end = [
    instruction('wfi'),
    instruction('csrrs', { rd: x.a0, csr: 0xc01, rs1: 0 }),
    store(x.a0, 8),
    instruction('csrrs', { rd: x.a0, csr: 0x144, rs1: 0 }),
    store(x.a0, 16),
    instruction('addi', { rd: x.a7, rs1: 0, imm: 8 }),
    instruction('ecall'),
  ];
  const bySbi = [load(x.a7, 0), instruction('addi', { rd: x.a6, rs1: 0, imm: 0 }), instruction('ecall')];
  const byStimecmp = [instruction('csrrw', { rd: 0, csr: 0x14d, rs1: x.a0 })];
  for (const [name, set] of [
    ['SBI', bySbi],
    ['stimecmp', byStimecmp],
  ] as const) {
    const machine = new TestVirt();
    machine.board.powerOn(kernel([...wait, ...set, ...end], [extension.time]));
    assert.deepEqual(machine.board.run(), { why: 'poweroff' }, name);
    const [deadline, woken, pending] = [0, 8, 16].map((at) => machine.u64(ENTRY + RESULTS + at));
    assert.ok(woken >= deadline && woken < deadline + 2000n, `${name}: woken at ${woken}, not ${deadline}`);
    assert.equal((pending >> 5n) & 1n, 1n, name);
  }
});

test('without stimecmp in the CPU the register is not there; features that are off are illegal instructions', () => {
  const code = [
    ...prologue,
    instruction('csrrw', { rd: 0, csr: 0x105, rs1: x.s0 }),
    instruction('csrrs', { rd: x.a0, csr: 0x14d, rs1: 0 }),
  ];
  const machine = new TestVirt({ model: parseRiscvCpu('rv64,sstc=off') });
  machine.board.powerOn(kernel(code));
  for (let i = 0; i < code.length + 1; i++) machine.board.step(0);
  assert.equal(machine.board.cpu.hart.get64(field.scause), 2n);
  const noBits = new TestVirt({ model: parseRiscvCpu('rv64,zba=off') });
  noBits.board.powerOn(kernel([...prologue, instruction('sh1add', { rd: x.a0, rs1: x.a0, rs2: x.a0 })]));
  for (let i = 0; i < prologue.length + 2; i++) noBits.board.step(0);
  assert.equal(noBits.board.cpu.hart.get64(field.scause), 2n);
});

test('the kernel is entered as the boot protocol says: hart in a0, device tree in a1, no paging', () => {
  const machine = new TestVirt();
  machine.board.powerOn(kernel([instruction('wfi')]));
  const registers = machine.board.cpu.registers();
  assert.equal(registers['pc'], BigInt(ENTRY));
  assert.equal(registers['a0'], 0n);
  assert.equal(registers['satp'], 0n);
  assert.equal(registers['scounteren'], 7n, 'user programs read the time themselves');
  assert.equal(registers['priv'], 1n);
  const tree = Number(registers['a1']);
  assert.equal(tree % 8, 0);
  // Big endian.
  assert.equal(machine.board.memory.dma.readU32(tree) >>> 0, 0xedfe0dd0);
});

test('an interrupt goes from a chip by the PLIC to the hart, in M-mode and in S-mode', () => {
  const { board } = new TestVirt();
  board.powerOn(kernel([instruction('wfi')]));
  const { memory, cpu } = board;
  const has = (line: number) => (cpu.hart.pending >> BigInt(line)) & 1n;
  memory.write(0xc00_0000 + 4 * 10, 4, 1);
  memory.write(0xc00_2000, 4, 1 << 10);
  memory.write(0x1000_0001, 1, 2);
  assert.equal(has(irq.MEI), 1n, 'the transmitter is empty');
  assert.equal(has(irq.SEI), 0n);
  memory.write(0xc00_2080, 4, 1 << 10);
  assert.equal(has(irq.SEI), 1n);
  assert.equal(memory.read(0xc20_1004, 4), 10);
  assert.deepEqual([has(irq.MEI), has(irq.SEI)], [0n, 0n]);
});

test('the ACLINT raises software and timer interrupts of M-mode', () => {
  const { board } = new TestVirt();
  board.powerOn(kernel([instruction('wfi')]));
  const has = (line: number) => (board.cpu.hart.pending >> BigInt(line)) & 1n;
  board.memory.write(0x200_0000, 4, 1);
  assert.equal(has(irq.MSI), 1n);
  board.memory.write64(0x200_4000, 0n);
  assert.equal(has(irq.MTI), 1n);
});

test('the test device ends the machine: off, reset, or with a status', () => {
  for (const [word, stop] of [
    [0x5555, { why: 'poweroff' }],
    [0x7777, { why: 'reset' }],
    [0x2a3333, { why: 'exit', status: 42 }],
  ] as const) {
    const machine = new TestVirt();
    const code = [
      ...prologue,
      load(x.a0, 0),
      load(x.a1, 8),
      instruction('sw', { rs1: x.a1, rs2: x.a0, imm: 0 }),
      instruction('jal', { rd: 0, imm: 0 }),
    ];
    machine.board.powerOn(kernel(code, [BigInt(word), 0x10_0000n]));
    assert.deepEqual(machine.board.run(), stop);
  }
});

test('the bare machine: a program at the start of RAM, in M-mode, from the reset vector on', () => {
  const program = [
    instruction('lui', { rd: x.t0, imm: 0x1000_0000 }),
    instruction('addi', { rd: x.a2, rs1: 0, imm: 0x4f }),
    instruction('sb', { rs1: x.t0, rs2: x.a2, imm: 0 }),
    instruction('lui', { rd: x.t0, imm: 0x10_0000 }),
    instruction('lui', { rd: x.a2, imm: 0x5000 }),
    instruction('addi', { rd: x.a2, rs1: x.a2, imm: 0x555 }),
    instruction('sw', { rs1: x.t0, rs2: x.a2, imm: 0 }),
    instruction('jal', { rd: 0, imm: 0 }),
  ];
  const machine = new TestVirt({ firmware: { image: words(program) } });
  machine.board.powerOn(undefined);
  assert.equal(machine.board.cpu.linearPc, 0x1000n);
  assert.deepEqual(machine.board.run(), { why: 'poweroff' });
  assert.equal(machine.console, 'O');
  const registers = machine.board.cpu.registers();
  assert.equal(registers['a0'], 0n);
  assert.equal(machine.board.memory.dma.readU32(Number(registers['a1'])) >>> 0, 0xedfe0dd0);
});

test('a kernel for the bare machine starts in M-mode, and its command line and initrd are in the device tree', () => {
  const machine = new TestVirt({ bare: true });
  const initrd = Uint8Array.of(1, 2, 3, 4);
  machine.board.powerOn({
    kernel: words([instruction('jal', { rd: 0, imm: 0 })]),
    initrd,
    commandLine: 'root=/dev/vda',
  });
  assert.equal(machine.u64(0x1018), BigInt(RAM), 'where the reset vector goes');
  assert.ok(machine.board.deviceTree);
  const chosen = parseTree(machine.board.deviceTree).root['chosen'] as FdtNode;
  assert.deepEqual(Buffer.from(chosen['bootargs'] as Uint8Array).toString(), 'root=/dev/vda\0');
  const start = Buffer.from(chosen['linux,initrd-start'] as Uint8Array).readBigUInt64BE();
  assert.equal(machine.board.memory.dma.readU32(Number(start)), 0x0403_0201);
});

const FIRMWARE = '/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin';
const skip = existsSync(FIRMWARE) ? false : 'OpenSBI (package opensbi) is not installed';
test('OpenSBI finds the board by its device tree, starts the kernel and serves it', { skip }, () => {
  const machine = new TestVirt({ firmware: { image: readFileSync(FIRMWARE) }, cpus: 2 });
  const answers = makeCalls(machine, [
    [extension.base, 1n],
    [extension.base, 3n, extension.time],
    ...[0n, 1n, 2n].map((hart): Call => [extension.hart, 2n, hart]),
    [1n, 0n, 0x21n],
  ]);
  assert.deepEqual(answers[0], [0n, 1n], "OpenSBI's number");
  // One of the two harts has started the kernel, whichever was first; the other waits for it; there is no third.
  assert.deepEqual(answers[1], [0n, 1n]);
  assert.deepEqual(answers.slice(2, 4).map(String).sort(), ['0,0', '0,1']);
  assert.deepEqual(answers[4], [-3n, 0n]);
  assert.match(machine.console, /Platform HART Count\s*: 2/);
  assert.match(machine.console, /OpenSBI v\d/);
  assert.match(machine.console, /Platform Name\s*: riscv-virtio,vring/);
  assert.match(machine.console, /Platform IPI Device\s*: aclint-mswi/);
  assert.match(machine.console, /Platform Timer Device\s*: aclint-mtimer @ 10000000Hz/);
  assert.match(machine.console, /Platform Console Device\s*: uart8250/);
  assert.match(machine.console, /Domain0 Next Address\s*: 0x0000000080200000/);
  assert.ok(machine.console.endsWith('!'));
});

test('a debugger reads and writes registers and memory, steps, and stops at breakpoints', () => {
  const machine = new TestVirt();
  machine.board.powerOn(kernel([...prologue, instruction('jal', { rd: 0, imm: 0 })]));
  const target = new BoardDebugTarget(machine.board, { resume: () => {}, interrupt: () => {}, kill: () => {} });
  assert.equal(target.architecture, 'riscv:rv64');
  const index = (name: string) => target.registers.findIndex((each) => each.name === name);
  const read = (name: string) => target.readRegister(index(name));
  assert.equal(read('pc'), BigInt(ENTRY));
  target.step();
  assert.equal(read('pc'), BigInt(ENTRY + 64));
  target.step();
  target.step();
  assert.equal(read('fp'), BigInt(ENTRY));
  assert.equal(target.writeRegister(index('s3'), 77n), true);
  assert.equal(machine.board.cpu.registers()['s3'], 77n);
  assert.equal(target.writeRegister(index('zero'), 1n), false);
  assert.equal(read('mhartid'), 0n);
  assert.equal(target.writeRegister(index('stvec'), 0x80001000n), true);
  assert.equal(read('stvec'), 0x80001000n);
  assert.equal(target.readMemory(BigInt(ENTRY + 0x38), 4).length, 4);
  assert.equal(target.readMemory(0x10n, 4).length, 0, 'no RAM');
  const last = BigInt(ENTRY + 64 + 4 * prologue.length);
  assert.equal(target.setBreakpoint(last), true);
  assert.deepEqual(machine.board.run(), { why: 'debug' });
  assert.equal(read('pc'), last);
});

test('a debugger stops before the instruction whose access it watches for', () => {
  const machine = new TestVirt({ model: parseRiscvCpu('max') });
  const vle = instruction('vle64.v', { rd: 8, rs1: x.s2, vm: 1 });
  const code = [
    ...prologue,
    store(x.a0, 8),
    load(x.a1, 8),
    store(x.a1, 16),
    instruction('vsetivli', { rd: 0, rs1: 2, imm: 3 << 3 }),
    vle,
    instruction('jal', { rd: 0, imm: 0 }),
  ];
  machine.board.powerOn(kernel(code));
  const { hart } = machine.board.cpu;
  hart.setStatus(hart.status | mstatus.VS);
  const target = new BoardDebugTarget(machine.board, { resume: () => {}, interrupt: () => {}, kill: () => {} });
  const pc = () => target.readRegister(target.registers.findIndex((each) => each.name === 'pc'));
  const placeOf = (n: number) => BigInt(ENTRY + 64 + 4 * (prologue.length + n));
  const at = BigInt(ENTRY + RESULTS);
  assert.equal(target.setWatchpoint('write', at + 16n, 4), true);
  target.resume();
  assert.deepEqual(machine.board.run(), { why: 'debug' });
  assert.equal(pc(), placeOf(2));
  assert.equal(machine.u64(ENTRY + RESULTS + 16), 0n, 'the store has not been made');
  const v8 = target.registers.findIndex((each) => each.name === 'v8');
  assert.equal(target.writeRegister(v8, (7n << 64n) | 5n), true);
  assert.equal(hart.get64(field.vectors + 8 * 16 + 8), 7n);
  assert.equal(target.readRegister(v8), (7n << 64n) | 5n);
  target.clearWatchpoint('write', at + 16n, 4);
  assert.equal(target.setWatchpoint('read', at + 8n, 8), true);
  target.resume();
  assert.deepEqual(machine.board.run(), { why: 'debug' });
  assert.equal(pc(), placeOf(4), 'an element of a vector');
});

test("registers are shown as QEMU's monitor lays them out", () => {
  const { board } = new TestVirt();
  board.powerOn(kernel([instruction('wfi')]));
  const lines = board.cpu.dump({ float: true }).split('\n');
  assert.equal(lines[0], ` pc       ${ENTRY.toString(16).padStart(16, '0')}`);
  assert.equal(lines[1], ' mhartid  0000000000000000');
  const x0 = lines.findIndex((line) => line.startsWith(' x0/zero'));
  assert.match(lines[x0], /^ x0\/zero {2}0{16} x1\/ra {4}0{16} x2\/sp {4}0{16} x3\/gp {4}0{16}$/);
  assert.equal(lines.length, x0 + 16);
  assert.match(lines.at(-1) ?? '', /^ f28\/ft8 {2}0{16} f29\/ft9 {2}0{16} f30\/ft10 0{16} f31\/ft11 0{16}$/);
  assert.match(board.info.interrupts(), /hart 0: msip 0/);
  assert.equal(board.info.mappings(), 'No translation or protection');
});

test('CPU models: what is missing, fixed or unknown is refused by name', () => {
  for (const [text, sentence] of [
    ['rv64,h=on', /feature 'h' is not supported yet/],
    ['rv64,vlen=100', /vlen is 128, 256, 512 or 1024, not '100'/],
    ['rv64,elen=32', /elen is 64, not '32'/],
    ['rv64,vext_spec=v0.7.1', /vext_spec is v1.0/],
    ['rv64,zvfh=true', /feature 'zvfh' needs 'v'/],
    ['rv64,zvkn=true', /feature 'zvkn' is not supported yet/],
    ['rv64,c=off', /'c' cannot be turned off/],
    ['rv64,zba=perhaps', /on or off, not 'perhaps'/],
    ['rv64,nonsense=on', /no CPU feature 'nonsense'/],
    ['sifive-u54', /'sifive-u54' is not supported yet/],
    ['qemu64', /'qemu64' is none of RISC-V/],
  ] as const)
    assert.throws(() => parseRiscvCpu(text), sentence, text);
  assert.equal(parseRiscvCpu('rv64,h=off,v=false').extensions.size, 11);
  assert.deepEqual([...parseRiscvCpu('max,+zba,-zbb').extensions].includes('zbb'), false);
});

test('what the board does not have is refused: a power button, an NMI, a second serial port', () => {
  const { board } = new TestVirt();
  board.powerOn(kernel([instruction('wfi')]));
  assert.throws(() => board.pressPowerButton(), /no power button/);
  assert.throws(() => board.raiseNmi(), /no non-maskable interrupt/);
  const port = { write: () => {} };
  assert.throws(() => new TestVirt({ serial: [port, port] }), /one serial port/);
});

test('after a reset the machine is as it was at power-on', () => {
  const machine = new TestVirt();
  const { board } = machine;
  const image = kernel([instruction('wfi')]);
  board.powerOn(image);
  const before = { registers: board.cpu.registers(), devices: board.saveDevices() };
  board.memory.write(0xc00_0000 + 4 * 10, 4, 7);
  board.memory.write(0xc00_2080, 4, 1 << 10);
  board.memory.write(0x1000_0001, 1, 2);
  board.memory.write(0x200_0000, 4, 1);
  board.memory.write(0x3000_8004, 2, 7);
  for (let i = 0; i < 4; i++) board.step(0);
  assert.notDeepEqual(board.saveDevices(), before.devices);
  board.powerOn(image);
  const after = board.cpu.registers();
  for (const [name, value] of Object.entries(before.registers))
    if (!/^(cycle|instret|time|mcycle|minstret)$/.test(name)) assert.equal(after[name], value, name);
  assert.deepEqual(board.saveDevices(), before.devices);
});
