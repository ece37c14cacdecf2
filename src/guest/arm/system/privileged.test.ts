/** Privileged behaviour, test by test from the Arm Architecture Reference Manual (DDI 0487). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TcgEngine } from '../../../accel/tcg/engine.js';
import { quietHost } from '../../../accel/testing/quiet-host.js';
import { encodeFields, parseEncoding } from '../encoding.js';
import type { Fields } from '../row.js';
import { abort, exceptionClass, fault, field, line, pstate, STATE_BYTES, sctlr, xreg } from '../state.js';
import { allRows } from '../table/index.js';
import type { TimerName } from './core.js';
import { ArmCpu } from './cpu.js';
import { codeOf, registers } from './registers.js';

const RAM = 0x40000000;
const RAM_BYTES = 1 << 20;
const VECTORS = RAM + 0x1000;
const CODE = RAM + 0x4000;
const DATA = RAM + 0x8000;
const TABLES = RAM + 0x20000;

const rows = new Map([...allRows].reverse().map((row) => [`${row.name} ${row.args.join(', ')}`.trim(), row]));
function insn(text: string, fields: Partial<Fields> = {}): number {
  const row = rows.get(text);
  assert.ok(row, text);
  return encodeFields(parseEncoding(row), fields);
}
const codes = new Map(registers.map(({ name, code }) => [name, code]));
const register = (name: string): number => {
  const code = codes.get(name);
  assert.ok(code !== undefined, name);
  return code;
};
const mrs = (rd: number, name: string) => insn('mrs xd, imm', { rd, imm: register(name) & 0x7fff });
const msr = (name: string, rd: number) => insn('msr imm, xd', { rd, imm: register(name) & 0x7fff });
const sys = (op1: number, crn: number, crm: number, op2: number, rd: number) =>
  insn('sys imm, xd', { rd, imm: codeOf(1, op1, crn, crm, op2) & 0x3fff });
const wfi = insn('wfi');
const load = (rd: number, rn: number) => insn('ldr xd, [rn, imm]', { rd, rn });
const store = (rd: number, rn: number) => insn('str xd, [rn, imm]', { rd, rn });

const EL0 = 0;
const EL1T = 4;
const EL1H = 5;
/** Attributes of a page descriptor. */
const attribute = {
  PAGE: 3n,
  BLOCK: 1n,
  USER: 1n << 6n,
  READONLY: 1n << 7n,
  AF: 1n << 10n,
  NG: 1n << 11n,
  DBM: 1n << 51n,
  PXN: 1n << 53n,
  UXN: 1n << 54n,
} as const;

class Bench {
  readonly cpu: ArmCpu;
  readonly engine: TcgEngine;
  readonly view: DataView;
  time = 0n;
  readonly timers = new Map<TimerName, bigint | undefined>();
  calls: string[] = [];
  /** What the board does at a call beside. */
  onCall: (by: 'hvc' | 'smc') => void = () => this.cpu.setLine(line.irq, false);

  constructor(hotThreshold = 0) {
    this.cpu = new ArmCpu({
      time: () => this.time,
      counterFrequency: 62_500_000,
      setTimer: (timer, at) => {
        this.timers.set(timer, at);
      },
      firmwareCall: (core, by, number) => {
        if (number !== 0) return false;
        this.calls.push(by);
        this.onCall(by);
        core.set64(xreg[0].offset, 7n);
        return true;
      },
    });
    this.engine = new TcgEngine({
      cpus: [this.cpu],
      ramBytes: RAM_BYTES,
      stateBytes: STATE_BYTES,
      hotThreshold,
      host: quietHost,
    });
    this.engine.setRamBlocks([{ gpa: RAM, size: RAM_BYTES, hva: this.engine.ramStart, readonly: false }]);
    this.view = new DataView(this.engine.memory.buffer, this.engine.ramStart, RAM_BYTES);
    this.cpu.reset(BigInt(CODE));
    for (let vector = 0; vector < 0x800; vector += 0x80) this.put(VECTORS + vector, wfi);
    this.core.set64(field.vbar, BigInt(VECTORS));
  }

  get core() {
    return this.cpu.core;
  }
  put(at: number, ...words: number[]): void {
    for (const [i, word] of words.entries()) this.view.setUint32(at - RAM + 4 * i, word, true);
    this.engine.published(this.engine.ramStart + at - RAM, 4 * words.length);
  }
  x(n: number): bigint {
    return this.core.get64(xreg[n].offset);
  }
  setX(n: number, value: bigint | number): void {
    this.core.set64(xreg[n].offset, BigInt.asUintN(64, BigInt(value)));
  }
  /** As MSR at EL1 does. */
  write(name: string, value: bigint): void {
    const row = registers.find((one) => one.name === name);
    assert.ok(row, name);
    if (row.home !== undefined) this.core.set64(row.home, value);
    else row.write?.(this.core, value);
  }
  /** Runs words at an address (where they are put) in a mode until a WFI, the program's or a vector's. */
  run(mode: number, words: readonly number[], at: number | bigint = CODE): void {
    const physical = Number(BigInt(at) & 0xffffffffn);
    if (physical >= RAM && physical < RAM + RAM_BYTES) this.put(physical, ...words, wfi);
    this.core.setPstate((this.core.pstate & ~pstate.MODE) | mode);
    this.core.pc = BigInt(at);
    assert.equal(this.engine.run(), 'halt');
  }
  /** The vector that the CPU waits in. */
  get vector(): number {
    return Number(this.core.pc) - 4 - VECTORS;
  }
  get syndrome(): { ec: number; iss: number } {
    const esr = this.core.get32(field.esr);
    return { ec: esr >>> 26, iss: esr & 0x1ffffff };
  }
  entry(table: number, index: number, value: bigint): void {
    this.view.setBigUint64(table - RAM + 8 * index, value, true);
  }
  entryAt(table: number, index: number): bigint {
    return this.view.getBigUint64(table - RAM + 8 * index, true);
  }

  /**
   * Translation on with 4 KiB pages: the first GiB of RAM's addresses as themselves by a block of level 1 for EL1, and the pages
   * at `USER` for EL0 by a table of level 3. Addresses have 39 bits.
   */
  enable(control = 0n): void {
    const [first, second, third] = [TABLES, TABLES + 0x1000, TABLES + 0x2000];
    this.entry(first, 1, BigInt(RAM) | attribute.BLOCK | attribute.AF | attribute.UXN);
    this.entry(first, 0, BigInt(second) | 3n);
    this.entry(second, 1, BigInt(third) | 3n);
    this.write('TTBR0_EL1', BigInt(first));
    this.write('TTBR1_EL1', BigInt(first));
    this.write('TCR_EL1', 25n | (25n << 16n) | (2n << 30n) | (5n << 32n) | control);
    this.write('SCTLR_EL1', BigInt(sctlr.M | sctlr.nTWI | sctlr.SPAN | sctlr.DZE));
  }
  userPage(index: number, target: number, bits: bigint): void {
    this.entry(TABLES + 0x2000, index, BigInt(target) | attribute.PAGE | bits);
  }
}
/** Of the table of level 3 in `enable`. */
const USER = 0x200000;
const user = attribute.USER | attribute.AF | attribute.NG;

test('SVC at EL0 goes to EL1 by the vector for a lower level, and ERET comes back (D1.3, D1.4)', () => {
  const bench = new Bench();
  const { core } = bench;
  bench.put(VECTORS + 0x400, mrs(1, 'ELR_EL1'), mrs(2, 'SPSR_EL1'), mrs(3, 'CurrentEL'), insn('eret'));
  core.setStack(0, 0x1111n);
  core.setStack(1, 0x2222n);
  core.set64(field.sctlr, BigInt(sctlr.nTWI));
  core.setPstate(EL0);
  core.nzcv = 0xa0000000 | 0;
  bench.run(EL0, [insn('svc imm', { imm: 0x123 }), insn('add rd|sp, rn|sp, imm', { rd: 4, rn: 31 })]);
  assert.deepEqual(bench.syndrome, { ec: exceptionClass.svc, iss: 0x123 });
  assert.equal(bench.x(1), BigInt(CODE + 4));
  assert.equal(bench.x(2), 0xa0000000n);
  assert.equal(bench.x(3), 4n);
  assert.equal(bench.x(4), 0x1111n);
});

test('the vector depends on the stack pointer in use, and exceptions mask all (D1.3.1)', () => {
  for (const [mode, group] of [
    [EL1T, 0],
    [EL1H, 0x200],
    [EL0, 0x400],
  ]) {
    const bench = new Bench();
    bench.core.setPstate(mode);
    bench.run(mode, [insn('brk imm', { imm: 5 })]);
    assert.equal(bench.vector, group);
    assert.deepEqual(bench.syndrome, { ec: exceptionClass.brk, iss: 5 });
    assert.equal(bench.core.pstate, pstate.DAIF | EL1H | pstate.PAN);
    assert.equal(bench.core.get64(field.elr), BigInt(CODE));
  }
});

test('ERET to a state that is not there is an illegal execution state (D1.4.4)', () => {
  for (const mode of [0x10, 1, 9, 8, 6]) {
    const bench = new Bench();
    bench.setX(0, mode);
    bench.setX(1, CODE + 0x100);
    bench.run(EL1H, [msr('SPSR_EL1', 0), msr('ELR_EL1', 1), insn('eret')]);
    assert.equal(bench.syndrome.ec, exceptionClass.illegalState);
    assert.equal(bench.core.get64(field.elr), BigInt(CODE + 0x100));
    assert.ok(bench.core.get64(field.spsr) & BigInt(pstate.IL));
  }
});

test('what EL0 may not do is undefined or trapped (C5, D19)', () => {
  const undefinedAtEl0 = [
    mrs(0, 'VBAR_EL1'),
    msr('SCTLR_EL1', 0),
    msr('TPIDRRO_EL0', 0),
    insn('eret'),
    insn('hvc imm'),
    insn('msr.spsel imm'),
    sys(0, 8, 7, 0, 31),
  ];
  for (const word of undefinedAtEl0) {
    const bench = new Bench();
    bench.run(EL0, [word]);
    assert.deepEqual([bench.vector, bench.syndrome.ec], [0x400, exceptionClass.unknown], word.toString(16));
  }
  // ISS: op0, op2, op1, CRn, Rt, CRm, direction (D19.2.37).
  const trapped: [number, number][] = [
    [mrs(9, 'CTR_EL0'), (3 << 20) | (1 << 17) | (3 << 14) | (9 << 5) | 1],
    [insn('msr.daifset imm', { imm: 2 }), (6 << 17) | (3 << 14) | (4 << 10) | (31 << 5) | (2 << 1)],
    [sys(3, 7, 4, 1, 3), (1 << 20) | (1 << 17) | (3 << 14) | (7 << 10) | (3 << 5) | (4 << 1)],
    [sys(3, 7, 5, 1, 3), (1 << 20) | (1 << 17) | (3 << 14) | (7 << 10) | (3 << 5) | (5 << 1)],
    [mrs(2, 'CNTVCT_EL0'), (3 << 20) | (2 << 17) | (3 << 14) | (14 << 10) | (2 << 5) | 1],
  ];
  for (const [word, iss] of trapped) {
    const bench = new Bench();
    bench.run(EL0, [word]);
    assert.deepEqual(bench.syndrome, { ec: exceptionClass.system, iss }, word.toString(16));
  }
});

test('floating point is trapped as CPACR_EL1.FPEN says (D19.2.30)', () => {
  for (const [enabled, atEl0, atEl1] of [
    [0n, true, true],
    [1n, true, false],
    [2n, true, true],
    [3n, false, false],
  ] as const) {
    for (const [mode, isTrapped] of [
      [EL0, atEl0],
      [EL1H, atEl1],
    ] as const) {
      for (const access of [insn('ldr qd, [rn, imm]', { rd: 0, rn: 1 }), mrs(0, 'FPSR'), msr('FPCR', 0)]) {
        const bench = new Bench();
        bench.setX(1, DATA);
        bench.write('CPACR_EL1', enabled << 20n);
        bench.run(mode, [access, insn('brk imm')]);
        assert.equal(bench.syndrome.ec, isTrapped ? exceptionClass.floatingPoint : exceptionClass.brk);
      }
    }
  }
});

test('an IRQ is taken when PSTATE.I allows it; WFI ends for one that is masked (D1.3.6, D1.6)', () => {
  const bench = new Bench();
  bench.run(EL1H, [wfi]);
  assert.ok(bench.cpu.isHalted);
  bench.cpu.setLine(line.irq, true);
  assert.ok(bench.cpu.deliverPending());
  assert.equal(bench.core.pc, BigInt(CODE + 4), 'masked: it goes on');
  // The handler's call lowers the line: WFI would not wait while it is high.
  bench.put(VECTORS + 0x280, insn('hvc imm'), wfi);
  bench.run(EL1H, [insn('msr.daifclr imm', { imm: 2 }), insn('brk imm')]);
  assert.equal(bench.vector, 0x284);
  assert.equal(bench.core.get64(field.elr), BigInt(CODE + 4));
  bench.cpu.setLine(line.irq, false);
  bench.cpu.setLine(line.fiq, true);
  bench.core.setPstate(EL1H);
  assert.ok(bench.cpu.deliverPending());
  assert.equal(Number(bench.core.pc) - VECTORS, 0x300);
});

test('the generic timers: count, compare value, control, and the board that is told (D11)', () => {
  const bench = new Bench();
  bench.time = 1000n;
  bench.setX(0, 100);
  bench.setX(1, 1);
  bench.run(EL1H, [
    msr('CNTV_TVAL_EL0', 0),
    msr('CNTV_CTL_EL0', 1),
    mrs(2, 'CNTV_CVAL_EL0'),
    mrs(3, 'CNTV_CTL_EL0'),
    mrs(4, 'CNTVCT_EL0'),
    mrs(5, 'CNTFRQ_EL0'),
  ]);
  assert.deepEqual(
    [2, 3, 4, 5].map((n) => bench.x(n)),
    [1100n, 1n, 1000n, 62_500_000n],
  );
  assert.equal(bench.timers.get('virtual'), 1100n);
  bench.time = 1101n;
  bench.setX(0, 3);
  bench.run(EL1H, [mrs(3, 'CNTV_CTL_EL0'), mrs(6, 'CNTV_TVAL_EL0'), msr('CNTV_CTL_EL0', 0)]);
  assert.equal(bench.x(3), 5n, 'ISTATUS');
  assert.equal(bench.x(6), 0xffffffffn);
  assert.equal(bench.timers.get('virtual'), undefined, 'masked');
  assert.equal(bench.timers.get('physical'), undefined);
});

test("HVC and SMC are the board's firmware's, or undefined", () => {
  const bench = new Bench();
  bench.run(EL1H, [insn('hvc imm'), insn('smc imm'), insn('hvc imm', { imm: 1 })]);
  assert.deepEqual(bench.calls, ['hvc', 'smc']);
  assert.equal(bench.x(0), 7n);
  assert.equal(bench.syndrome.ec, exceptionClass.unknown);
  assert.equal(bench.core.get64(field.elr), BigInt(CODE + 8));
});

test('translation faults tell their level, the address and what was tried (D8, D19.2.37)', () => {
  const cases: [string, bigint, number, number][] = [
    ['level 1', 0x80000000n, store(0, 1), abort.WNR | fault.translation | 1],
    ['level 2', 0x10n, load(0, 1), fault.translation | 2],
    ['level 3', BigInt(USER + 0x1000), load(0, 1), fault.translation | 3],
    ['beyond the range', 1n << 40n, load(0, 1), fault.translation],
    ['read-only', BigInt(USER + 0x2000), store(0, 1), abort.WNR | fault.permission | 3],
    ['never accessed', BigInt(USER + 0x3000), load(0, 1), fault.accessFlag | 3],
    ['address size', BigInt(USER + 0x4000), load(0, 1), fault.addressSize | 3],
  ];
  for (const [what, address, word, iss] of cases) {
    const bench = new Bench();
    bench.enable();
    // 40 bits of physical address.
    bench.write('TCR_EL1', (bench.core.get64(field.tcr) & ~(7n << 32n)) | (2n << 32n));
    bench.userPage(2, DATA, user | attribute.READONLY);
    bench.userPage(3, DATA, attribute.USER);
    bench.entry(TABLES + 0x2000, 4, (1n << 41n) | attribute.PAGE | user);
    bench.setX(1, address);
    bench.run(EL1H, [word]);
    assert.deepEqual(bench.syndrome, { ec: exceptionClass.dataAbort + 1, iss }, what);
    assert.equal(bench.core.get64(field.far), address, what);
    assert.equal(bench.vector, 0x200);
  }
});

test('rights of EL0 and EL1: AP, UXN, PXN, WXN, PAN, LDTR (D8.4)', () => {
  const start = (bits: bigint, control = 0): Bench => {
    const bench = new Bench();
    bench.enable();
    bench.write('SCTLR_EL1', bench.core.get64(field.sctlr) | BigInt(control));
    // With WXN, EL1's vectors must not be writable.
    if (control) bench.entry(TABLES, 1, BigInt(RAM) | attribute.BLOCK | attribute.AF | attribute.READONLY);
    bench.userPage(0, CODE, user | attribute.READONLY);
    bench.userPage(1, DATA, bits);
    bench.put(DATA, insn('brk imm', { imm: 1 }));
    bench.setX(1, USER + 0x1000);
    return bench;
  };
  const outcome = (bench: Bench, mode: number, words: number[]): number => {
    bench.put(CODE, ...words, insn('brk imm', { imm: 9 }));
    bench.core.setPstate((bench.core.pstate & pstate.PAN) | mode);
    bench.core.pc = mode === EL0 ? BigInt(USER) : BigInt(CODE);
    assert.equal(bench.engine.run(), 'halt');
    const { ec } = bench.syndrome;
    return ec === exceptionClass.brk ? bench.syndrome.iss : ec;
  };
  const jump = insn('br xn', { rn: 1 });
  const [DATA_ABORT, FETCH_ABORT] = [exceptionClass.dataAbort, exceptionClass.instructionAbort];
  const kernelPage = attribute.AF | attribute.NG;
  assert.equal(outcome(start(user), EL0, [load(0, 1), store(0, 1)]), 9);
  assert.equal(outcome(start(kernelPage), EL0, [load(0, 1)]), DATA_ABORT);
  assert.equal(outcome(start(kernelPage), EL1H, [load(0, 1), store(0, 1)]), 9);
  assert.equal(outcome(start(user), EL0, [jump]), 1, 'EL0 executes its page');
  assert.equal(outcome(start(user | attribute.UXN), EL0, [jump]), FETCH_ABORT);
  assert.equal(outcome(start(user, sctlr.WXN), EL0, [jump]), FETCH_ABORT);
  assert.equal(outcome(start(user | attribute.READONLY, sctlr.WXN), EL0, [jump]), 1);
  assert.equal(outcome(start(user), EL1H, [jump]), FETCH_ABORT + 1, 'EL1 does not execute what EL0 may write');
  assert.equal(outcome(start(user | attribute.READONLY), EL1H, [jump]), 1);
  assert.equal(outcome(start(user | attribute.READONLY | attribute.PXN), EL1H, [jump]), FETCH_ABORT + 1);
  const setPan = insn('msr.pan imm', { imm: 1 });
  const setUao = insn('msr.uao imm', { imm: 1 });
  const unprivileged = insn('ldtr xd, [rn, imm]', { rd: 0, rn: 1 });
  assert.equal(outcome(start(user), EL1H, [load(0, 1), setPan, unprivileged]), 9);
  assert.equal(outcome(start(user), EL1H, [load(0, 1), setPan, load(0, 1)]), DATA_ABORT + 1);
  assert.equal(outcome(start(user), EL1H, [setPan, setUao, unprivileged]), DATA_ABORT + 1);
  assert.equal(outcome(start(kernelPage), EL1H, [unprivileged]), DATA_ABORT + 1);
  assert.equal(outcome(start(kernelPage), EL1H, [setUao, unprivileged]), 9);
});

test('hardware keeps the access flag and dirty state where TCR_EL1 says so (D8.4.6)', () => {
  const bench = new Bench();
  bench.enable((1n << 39n) | (1n << 40n));
  bench.userPage(0, DATA, attribute.USER | attribute.READONLY | attribute.DBM);
  bench.setX(1, USER);
  bench.setX(2, 0x55);
  bench.run(EL1H, [load(0, 1)]);
  const table = TABLES + 0x2000;
  assert.equal(bench.entryAt(table, 0) & (attribute.AF | attribute.READONLY), attribute.AF | attribute.READONLY);
  bench.run(EL1H, [store(2, 1)]);
  assert.equal(bench.entryAt(table, 0) & (attribute.AF | attribute.READONLY), attribute.AF);
  assert.equal(bench.view.getUint8(DATA - RAM), 0x55);
});

test('granules of 16 and 64 KiB, and the upper range (D8.2)', () => {
  for (const [name, tg0, tg1, bits] of [
    ['16 KiB', 2n, 1n, 14n],
    ['64 KiB', 1n, 3n, 16n],
  ] as const) {
    const bench = new Bench();
    // Level 2 with a block for RAM, level 3 for one page: 36 bits of address start at level 2.
    const size = 1n << bits;
    const [second, third] = [TABLES, TABLES + 0x10000];
    const blockBits = 2n * bits - 3n;
    for (let n = 0n; n < 2n; n++) {
      const at = BigInt(RAM) + (n << blockBits);
      bench.entry(second, Number(at >> blockBits), (at & ~((1n << blockBits) - 1n)) | attribute.BLOCK | attribute.AF);
    }
    bench.entry(second, 0, BigInt(third) | 3n);
    const page = BigInt(DATA) & ~(size - 1n);
    bench.entry(third, 3, page | attribute.PAGE | attribute.AF);
    bench.write('TTBR0_EL1', BigInt(second));
    bench.write('TTBR1_EL1', BigInt(second));
    bench.write('TCR_EL1', 28n | (28n << 16n) | (tg0 << 14n) | (tg1 << 30n) | (5n << 32n));
    bench.write('SCTLR_EL1', BigInt(sctlr.M | sctlr.nTWI));
    const offset = BigInt(DATA) - page + 8n;
    bench.view.setBigUint64(DATA - RAM + 8, 0x1234n, true);
    bench.setX(1, 3n * size + offset);
    bench.setX(2, (0xfffffff000000000n + 3n * size + offset) & ((1n << 64n) - 1n));
    bench.run(EL1H, [load(3, 1), load(4, 2)]);
    assert.deepEqual([bench.x(3), bench.x(4)], [0x1234n, 0x1234n], name);
  }
});

test('tags are ignored where TCR_EL1.TBI says so; FAR_EL1 keeps them (D8.8)', () => {
  const tagged = (0x5an << 56n) | BigInt(USER + 8);
  const bench = new Bench();
  bench.enable(1n << 37n);
  bench.userPage(0, DATA, user);
  bench.view.setBigUint64(DATA - RAM + 8, 99n, true);
  bench.setX(1, tagged);
  bench.run(EL1H, [load(2, 1)]);
  assert.equal(bench.x(2), 99n);
  // TLBI of the page, whose operand has no tag, reaches the tagged one too.
  bench.userPage(0, DATA + 0x1000, user);
  bench.setX(3, USER >> 12);
  bench.run(EL1H, [sys(0, 8, 7, 1, 3), load(2, 1)]);
  assert.equal(bench.x(2), 0n);
  bench.setX(1, tagged + 0x1000n);
  bench.run(EL1H, [load(2, 1)]);
  assert.equal(bench.core.get64(field.far), tagged + 0x1000n);
  const without = new Bench();
  without.enable();
  without.userPage(0, DATA, user);
  without.setX(1, tagged);
  without.run(EL1H, [load(2, 1)]);
  assert.equal(without.syndrome.iss, fault.translation);
});

test('the cycle counter goes by time, and interrupts when it overflows (D11)', () => {
  const bench = new Bench();
  const CYCLES = 1n << 31n;
  bench.setX(1, CYCLES);
  bench.setX(2, -1600);
  bench.setX(3, 1);
  const start = [msr('PMCCNTR_EL0', 2), msr('PMCNTENSET_EL0', 1), msr('PMINTENSET_EL1', 1), msr('PMCR_EL0', 3)];
  const look = [mrs(4, 'PMCCNTR_EL0'), mrs(5, 'PMOVSCLR_EL0')];
  bench.time = 50n;
  bench.run(EL1H, [...start, ...look]);
  assert.deepEqual([bench.x(4), bench.x(5)], [BigInt.asUintN(64, -1600n), 0n]);
  // 16 ns a tick of the system counter; not before the overflow.
  assert.equal(bench.timers.get('performance'), 151n);
  bench.time = 110n;
  bench.run(EL1H, look);
  assert.deepEqual([bench.x(4), bench.x(5)], [BigInt.asUintN(64, -640n), 0n]);
  bench.time = 151n;
  bench.run(EL1H, look);
  assert.deepEqual([bench.x(4), bench.x(5)], [16n, CYCLES]);
  bench.run(EL1H, [msr('PMINTENSET_EL1', 1)]);
  assert.equal(bench.timers.get('performance'), 151n, 'it is high');
  bench.run(EL1H, [msr('PMOVSCLR_EL0', 1), ...look]);
  assert.deepEqual([bench.x(5), bench.timers.get('performance')], [0n, undefined]);
  // Stopped, and at EL0 not to be had unless PMUSERENR says so.
  bench.setX(3, 0);
  bench.run(EL1H, [msr('PMCR_EL0', 3)]);
  bench.time = 200n;
  bench.run(EL1H, look);
  assert.equal(bench.x(4), 16n);
  bench.run(EL0, [mrs(4, 'PMCCNTR_EL0')]);
  assert.deepEqual([bench.vector, bench.syndrome.ec], [0x400, exceptionClass.system]);
  bench.setX(3, 4);
  bench.run(EL1H, [msr('PMUSERENR_EL0', 3)]);
  bench.setX(4, 0);
  bench.run(EL0, [mrs(4, 'PMCCNTR_EL0'), msr('PMCCNTR_EL0', 4)]);
  assert.equal(bench.x(4), 16n);
  assert.deepEqual([bench.vector, bench.syndrome.ec], [0x400, exceptionClass.system]);
});

test('TLBI of a range drops its pages alone, and of a large one all (FEAT_TLBIRANGE, D8.13)', () => {
  const bench = new Bench();
  bench.enable();
  const pages = [0, 1, 2, 3].map((n) => DATA + 0x1000 * n);
  for (const [n, at] of pages.entries()) {
    bench.put(at, n + 1);
    bench.userPage(n, at, attribute.AF | attribute.PXN);
    bench.setX(10 + n, USER + 0x1000 * n);
  }
  const look = pages.flatMap((_, n) => [load(20 + n, 10 + n)]);
  const found = () => pages.map((_, n) => Number(bench.x(20 + n) & 0xffn));
  // Each page becomes another one, which nobody sees as long as it is in the TLB.
  const renew = (by: number) => {
    for (const [n] of pages.entries()) bench.userPage(n, pages[(n + by) % 4], attribute.AF | attribute.PXN);
  };
  bench.run(EL1H, look);
  assert.deepEqual(found(), [1, 2, 3, 4]);
  renew(1);
  const granule = 1n << 46n;
  const range = (first: number, scale: number, num: number): bigint =>
    granule | (BigInt(scale) << 44n) | (BigInt(num) << 39n) | BigInt((USER >> 12) + first);
  // (NUM + 1) * 2^(5 * SCALE + 1) pages: two from the second one on.
  bench.setX(6, range(1, 0, 0));
  bench.run(EL1H, [sys(0, 8, 6, 1, 6), ...look]);
  assert.deepEqual(found(), [1, 3, 4, 4]);
  // RVAAE1IS, then RVALE1OS: 64 pages, and 128.
  renew(2);
  bench.setX(6, range(0, 1, 0));
  bench.run(EL1H, [sys(0, 8, 2, 3, 6), ...look]);
  assert.deepEqual(found(), [3, 4, 1, 2]);
  renew(3);
  bench.setX(6, range(0, 1, 1));
  bench.run(EL1H, [sys(0, 8, 5, 5, 6), ...look]);
  assert.deepEqual(found(), [4, 1, 2, 3]);
  // VAE1OS: of one page.
  renew(0);
  bench.setX(6, (USER >> 12) + 2);
  bench.run(EL1H, [sys(0, 8, 1, 1, 6), ...look]);
  assert.deepEqual(found(), [4, 1, 3, 3]);
});

test('a change of ASID drops what is not global; TLBI drops one page or all (D8.13)', () => {
  for (const hotThreshold of [0, 2]) {
    const bench = new Bench(hotThreshold);
    bench.enable();
    bench.userPage(0, DATA, user);
    bench.userPage(1, DATA, attribute.AF | attribute.USER);
    for (let n = 0; n < 3; n++) bench.view.setBigUint64(DATA - RAM + 0x1000 * n, BigInt(n + 1), true);
    bench.setX(1, USER);
    bench.setX(2, USER + 0x1000);
    const look = [load(3, 1), load(4, 2)];
    const seen = () => [bench.x(3), bench.x(4)];
    bench.run(EL1H, look);
    assert.deepEqual(seen(), [1n, 1n]);
    bench.userPage(0, DATA + 0x1000, user);
    bench.userPage(1, DATA + 0x1000, attribute.AF | attribute.USER);
    bench.run(EL1H, look);
    assert.deepEqual(seen(), [1n, 1n], 'the TLB still has both');
    bench.setX(5, BigInt(TABLES) | (7n << 48n));
    bench.run(EL1H, [msr('TTBR0_EL1', 5), ...look]);
    assert.deepEqual(seen(), [2n, 1n], 'a global page stays');
    bench.setX(6, (USER + 0x1000) >> 12);
    bench.run(EL1H, [sys(0, 8, 7, 3, 6), ...look]);
    assert.deepEqual(seen(), [2n, 2n]);
    bench.userPage(0, DATA + 0x2000, user);
    bench.userPage(1, DATA + 0x2000, attribute.AF | attribute.USER);
    bench.run(EL1H, [sys(0, 8, 3, 0, 31), ...look]);
    assert.deepEqual(seen(), [3n, 3n]);
  }
});

test('AT puts what a translation gives into PAR_EL1 (D8.12)', () => {
  const bench = new Bench();
  bench.enable();
  bench.userPage(0, DATA, user | attribute.READONLY);
  bench.setX(1, USER + 0x123);
  bench.run(EL1H, [sys(0, 7, 8, 2, 1), mrs(2, 'PAR_EL1'), sys(0, 7, 8, 3, 1), mrs(3, 'PAR_EL1')]);
  assert.equal(bench.x(2) & 0x0000fffffffff001n, BigInt(DATA));
  assert.equal(bench.x(3) & 0x7fn, BigInt(1 | ((fault.permission | 3) << 1)));
});

test('DC ZVA clears 64 bytes, and its fault leaves them (C5.3)', () => {
  const bench = new Bench();
  for (let n = 0; n < 192; n++) bench.view.setUint8(DATA - RAM + n, 0xff);
  bench.setX(1, DATA + 100);
  bench.run(EL1H, [sys(3, 7, 4, 1, 1), mrs(2, 'DCZID_EL0')]);
  const bytes = Array.from({ length: 192 }, (_, n) => bench.view.getUint8(DATA - RAM + n));
  assert.deepEqual(bytes, [...Array(64).fill(0xff), ...Array(64).fill(0), ...Array(64).fill(0xff)]);
  assert.equal(bench.x(2), 4n, 'sixteen words');
});

test('an access by a store-exclusive pair or STP across a page that cannot be written changes nothing', () => {
  const bench = new Bench();
  bench.enable();
  bench.userPage(0, DATA, user);
  bench.setX(1, USER + 0x1000 - 8);
  bench.setX(2, 1);
  bench.run(EL1H, [insn('stp xd, xa, [rn, imm]', { rd: 2, ra: 2, rn: 1 })]);
  assert.equal(bench.syndrome.ec, exceptionClass.dataAbort + 1);
  assert.equal(bench.core.get64(field.far), BigInt(USER + 0x1000));
  assert.equal(bench.view.getBigUint64(DATA - RAM + 0xff8, true), 0n);
});

for (const hotThreshold of [0, 16]) {
  const tier = hotThreshold === 0 ? 'the cold tier' : 'both tiers';
  test(`an interrupt is taken right behind what unmasks it (D1.3.6), ${tier}`, () => {
    for (const unmasks of [insn('msr.daifclr imm', { imm: 2 }), msr('DAIF', 20)]) {
      const bench = new Bench(hotThreshold);
      // The handler counts, notes the address it came from, and has the line lowered.
      bench.put(
        VECTORS + 0x280,
        mrs(3, 'ELR_EL1'),
        insn('add rd|sp, rn|sp, imm', { rd: 4, rn: 4, imm: 1 }),
        insn('hvc imm'),
        insn('eret'),
      );
      let rounds = 0;
      bench.onCall = (by) => bench.cpu.setLine(line.irq, by === 'smc' && rounds++ % 2 === 0);
      bench.setX(9, 64n);
      bench.run(EL1H, [
        insn('msr.daifset imm', { imm: 2 }),
        // Every second SMC raises the line, an HVC lowers it.
        insn('smc imm', { imm: 0 }),
        unmasks,
        insn('add rd, rn, rm, shift', { rd: 10, rn: 10, rm: 4 }),
        insn('sub rd|sp, rn|sp, imm', { rd: 9, rn: 9, imm: 1 }),
        insn('cbnz rd, target', { rd: 9, imm: -20 }),
      ]);
      assert.equal(bench.x(4), 32n, 'one interrupt every second round');
      assert.equal(bench.x(3), BigInt(CODE + 12), 'it comes before the next instruction');
      // The rounds see 1, 1, 2, 2, and so on.
      assert.equal(bench.x(10), 32n * 33n);
    }
  });

  test(`system calls and returns from them keep flags, stacks and masks (D1.3.1, D1.4.4), ${tier}`, () => {
    const bench = new Bench(hotThreshold);
    bench.put(
      VECTORS + 0x400,
      mrs(3, 'SPSR_EL1'),
      mrs(4, 'ESR_EL1'),
      mrs(5, 'SP_EL0'),
      mrs(6, 'CurrentEL'),
      mrs(7, 'DAIF'),
      insn('add rd|sp, rn|sp, imm', { rd: 8, rn: 31, sf: 1 }),
      insn('subs rd, rn, rm, shift', { rd: 31, rn: 31, rm: 31 }),
      insn('add rd|sp, rn|sp, imm', { rd: 11, rn: 11, imm: 1 }),
      insn('eret'),
    );
    bench.write('SCTLR_EL1', BigInt(sctlr.nTWI));
    bench.core.setStack(0, BigInt(DATA + 0x100));
    bench.core.setStack(1, BigInt(DATA + 0x200));
    bench.setX(9, 100n);
    bench.core.setPstate(EL1H);
    bench.run(EL0, [
      // 0 - 1: N alone, as the counter never is 0 here.
      insn('movz rd, imm, hw', { rd: 1, imm: 1 }),
      insn('subs rd, rn, rm, shift', { rd: 2, rn: 31, rm: 1, sf: 1 }),
      insn('svc imm', { imm: 0x123 }),
      insn('csinc rd, rn, rm, cond', { rd: 12, rn: 12, rm: 12, cond: 5 }),
      insn('sub rd|sp, rn|sp, imm', { rd: 9, rn: 9, imm: 1 }),
      insn('cbnz rd, target', { rd: 9, imm: -16 }),
    ]);
    assert.equal(bench.x(11), 100n, 'calls');
    assert.equal(bench.x(3), 0x80000000n, 'N, EL0, nothing masked');
    assert.equal(bench.x(4), BigInt(0x56000123));
    assert.equal(bench.x(5), BigInt(DATA + 0x100));
    assert.equal(bench.x(6), 4n);
    assert.equal(bench.x(7), 0x3c0n);
    assert.equal(bench.x(8), BigInt(DATA + 0x200));
    assert.equal(bench.x(12), 100n, 'N was set behind every call');
  });
}

test('branch target identification: a page that becomes guarded, in the middle of a loop that is compiled (D8.4)', () => {
  const GP = 1n << 50n;
  for (const [landing, isLanding] of [
    [insn('hint imm'), false],
    [insn('bti.j'), true],
    [insn('bti.c'), true],
    [insn('bti'), false],
  ] as const) {
    for (const threshold of [0, 2]) {
      const bench = new Bench(threshold);
      bench.enable();
      const readonly = attribute.AF | attribute.READONLY;
      bench.userPage(4, DATA, readonly);
      bench.userPage(5, CODE, readonly);
      // The loop is at CODE, by its second address; BR at DATA comes back to it.
      const [first, second] = [USER + 0x5000, USER + 0x4000];
      bench.put(DATA, landing, insn('br xn', { rn: 17 }));
      bench.setX(16, second);
      bench.setX(17, first + 16);
      bench.setX(9, 200);
      const loop = [
        insn('hint imm'),
        insn('hint imm'),
        insn('hint imm'),
        insn('br xn', { rn: 16 }),
        insn('bti.j'),
        insn('sub rd|sp, rn|sp, imm', { rd: 9, rn: 9, sf: 1, imm: 1 }),
        insn('cbnz rd, target', { rd: 9, sf: 1, imm: -12 }),
      ];
      bench.put(CODE, ...loop, wfi);
      bench.run(EL1H, [], first);
      assert.equal(bench.x(9), 0n, 'nothing is guarded');
      bench.userPage(4, DATA, readonly | GP);
      bench.core.flushTlb();
      bench.setX(9, 200);
      bench.run(EL1H, [], first);
      if (isLanding) assert.equal(bench.x(9), 0n, 'it lands');
      else {
        assert.deepEqual(bench.syndrome, { ec: exceptionClass.branchTarget, iss: 1 });
        assert.equal(bench.x(9), 200n);
        assert.equal(bench.core.get64(field.elr), BigInt(second));
        assert.equal(bench.core.get64(field.spsr) & BigInt(pstate.BTYPE), 1n << 10n);
      }
    }
  }
});

test('a step that masks debug exceptions ends without one; the OS lock keeps them all back (D2.10.4, D2.2)', () => {
  const [SS, KDE, own] = [1n, 1n << 13n, 1n << 21n];
  const add = insn('add rd|sp, rn|sp, imm', { rd: 2, rn: 2, sf: 1, imm: 1 });
  const words = [add, insn('msr.daifset imm', { imm: 8 }), add, add, insn('msr.daifclr imm', { imm: 8 }), add];
  for (const locked of [false, true]) {
    const bench = new Bench();
    const seen: bigint[] = [];
    bench.put(VECTORS + 0x200, insn('hvc imm'), insn('eret'));
    bench.onCall = () => {
      seen.push(bench.core.get64(field.elr) - BigInt(CODE), BigInt(bench.core.get32(field.esr) >>> 24));
      bench.core.set64(field.spsr, bench.core.get64(field.spsr) | own);
    };
    bench.write('OSLAR_EL1', locked ? 1n : 0n);
    bench.write('MDSCR_EL1', SS | KDE);
    // Armed: the first ADD, and the call that masks.
    bench.setX(0, CODE);
    bench.setX(1, (1 << 21) | EL1H);
    bench.core.setPstate(EL1H | pstate.D);
    bench.put(CODE, ...words, wfi);
    bench.run(EL1H, [msr('ELR_EL1', 0), msr('SPSR_EL1', 1), insn('eret')], CODE + 0x100);
    const code = (3n << 6n) | 0xfn;
    assert.equal(bench.x(2), 4n);
    assert.deepEqual(seen, locked ? [] : [4n, code & 0xffn, 20n, 0xcen, 24n, code & 0xffn], 'ELR and ESR');
  }
});
