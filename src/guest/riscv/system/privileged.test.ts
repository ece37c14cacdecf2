/** Privileged behaviour, test by test from the privileged specification (version 20240411). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TcgEngine } from '../../../accel/tcg/engine.js';
import { quietHost } from '../../../accel/testing/quiet-host.js';
import { header } from '../../../ir/index.js';
import { encodeFields, parseEncoding } from '../encoding.js';
import { defaultModel, parseRiscvCpu } from '../models.js';
import type { Fields } from '../row.js';
import { cause, envcfg, field, freg, irq, mstatus, privilege, STATE_BYTES, xreg } from '../state.js';
import { allRows } from '../table/index.js';
import { RiscvCpu } from './cpu.js';

const RAM = 0x80000000;
const RAM_BYTES = 1 << 20;
/** Where programs, handlers, page tables and data lie. */
const CODE = RAM;
const M_HANDLER = RAM + 0x1000;
const S_HANDLER = RAM + 0x2000;
const DATA = RAM + 0x4000;
const TABLES = RAM + 0x10000;
const ALL = (1n << 64n) - 1n;

const encodings = new Map(allRows.map((row) => [row.name, parseEncoding(row)]));
function insn(name: string, fields: Partial<Fields> = {}): number {
  const encoding = encodings.get(name);
  assert.ok(encoding, name);
  return encodeFields(encoding, fields);
}
const csr = {
  sstatus: 0x100,
  sie: 0x104,
  sip: 0x144,
  stimecmp: 0x14d,
  satp: 0x180,
  mstatus: 0x300,
  misa: 0x301,
  mip: 0x344,
  pmpcfg0: 0x3a0,
  pmpaddr0: 0x3b0,
  menvcfg: 0x30a,
  senvcfg: 0x10a,
  mhartid: 0xf14,
  cycle: 0xc00,
} as const;
const [T0, T1, T2] = [5, 6, 7];
const wfi = insn('wfi');

class Bench {
  readonly cpu: RiscvCpu;
  readonly engine: TcgEngine;
  readonly view: DataView;
  time = 0n;
  timer: bigint | undefined;

  constructor(hotThreshold = 0, model = defaultModel) {
    this.cpu = new RiscvCpu(
      {
        time: () => this.time,
        cycles: () => 1000n,
        setTimer: (at) => {
          this.timer = at;
        },
      },
      model,
    );
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
    this.put(M_HANDLER, wfi);
    this.put(S_HANDLER, wfi);
    const { hart } = this.cpu;
    hart.set64(field.mtvec, BigInt(M_HANDLER));
    hart.set64(field.stvec, BigInt(S_HANDLER));
    // All memory for all modes: NAPOT over everything.
    this.write(csr.pmpaddr0, (1n << 54n) - 1n);
    this.write(csr.pmpcfg0, 0x1fn);
  }

  get hart() {
    return this.cpu.hart;
  }
  put(at: number, ...words: number[]): void {
    for (const [i, word] of words.entries()) this.view.setUint32(at - RAM + 4 * i, word, true);
    this.engine.published(this.engine.ramStart + at - RAM, 4 * words.length);
  }
  /** As CSRRW in M-mode does. */
  write(number: number, value: bigint): void {
    const routine = this.cpu.hostRoutines()['csr_write'] as (...args: unknown[]) => number;
    assert.equal(routine(0, number, BigInt.asIntN(64, value), -1n), 0);
  }
  read(number: number): bigint {
    const routine = this.cpu.hostRoutines()['csr_read'] as (...args: unknown[]) => [number, bigint];
    const [fault, value] = routine(0, number);
    assert.equal(fault, 0);
    return BigInt.asUintN(64, value);
  }
  x(n: number): bigint {
    return this.hart.get64(xreg[n].offset);
  }
  setX(n: number, value: bigint): void {
    this.hart.set64(xreg[n].offset, value);
  }
  /** Runs words at an address in a mode until a WFI (or a handler's). */
  run(level: number, words: readonly number[], at = CODE): void {
    this.put(at, ...words);
    this.start(level, BigInt(at));
  }
  start(level: number, pc: bigint): void {
    this.hart.set32(field.privilege, level);
    this.hart.updateMode();
    this.hart.pc = pc;
    assert.equal(this.engine.run(), 'halt');
  }
  pte(table: number, index: number, target: number, bits: number): void {
    this.view.setBigUint64(table - RAM + 8 * index, (BigInt(target >>> 12) << 10n) | BigInt(bits), true);
  }
  entry(table: number, index: number): bigint {
    return this.view.getBigUint64(table - RAM + 8 * index, true);
  }
}

const V = 1;
const [R, W, X, U, G, A, D] = [2, 4, 8, 0x10, 0x20, 0x40, 0x80];
const FULL = V | R | W | X | A | D;

/** Tables of `levels` levels for the page at `va` (one page), and the code's gigabyte mapped to itself. */
function mapPage(bench: Bench, levels: number, va: bigint, bits: number): { leafTable: number; index: number } {
  let table = TABLES;
  const index = (level: number) => Number((va >> BigInt(12 + 9 * level)) & 511n);
  for (let level = levels - 1; level > 0; level--) {
    const next = table + 0x1000;
    bench.pte(table, index(level), next, V);
    table = next;
  }
  bench.pte(table, index(0), DATA, bits);
  // RAM lies at 2 GiB: entry 2 of the table of gigabytes; the tables above it are shared with `va` where their index is 0.
  let upper = TABLES;
  for (let level = levels - 1; level > 2; level--) {
    if ((bench.entry(upper, 0) & 1n) === 0n) bench.pte(upper, 0, upper + 0x8000, V);
    upper = Number((bench.entry(upper, 0) >> 10n) << 12n);
  }
  bench.pte(upper, 2, RAM, FULL | G);
  bench.write(csr.satp, (BigInt(levels + 5) << 60n) | BigInt(TABLES >>> 12));
  return { leafTable: table, index: index(0) };
}

const load = [insn('ld', { rd: T1, rs1: T0 }), wfi];
const store = [insn('sd', { rs2: T1, rs1: T0 }), wfi];

for (const [levels, va] of [
  [3, 0xffffffc000123000n],
  [4, 0xffff800040123000n],
  [5, 0xff00000040123000n],
] as const) {
  test(`Sv${12 + 9 * levels} translates; an address that is not canonical is a page fault`, () => {
    const bench = new Bench();
    mapPage(bench, levels, va, FULL);
    bench.view.setBigUint64(DATA - RAM + 8, 0x1122334455667788n, true);
    bench.setX(T0, va + 8n);
    bench.run(privilege.S, load);
    assert.equal(bench.x(T1), 0x1122334455667788n);
    bench.setX(T0, va ^ (1n << 63n));
    bench.run(privilege.S, load);
    assert.equal(bench.hart.get64(field.mcause), BigInt(cause.loadPage));
    assert.equal(bench.hart.get64(field.mtval), va ^ (1n << 63n));
    assert.equal(bench.hart.get64(field.mepc), BigInt(CODE));
  });
}

const VA = 0x40123000n;

/** The cause of the trap that the access ends with; undefined: none. */
function accessOf(bench: Bench, level: number, words: readonly number[]): number | undefined {
  bench.hart.set64(field.mcause, ALL);
  bench.hart.flushTlb();
  bench.setX(T0, VA);
  bench.run(level, words);
  const code = bench.hart.get64(field.mcause);
  return code === ALL ? undefined : Number(code);
}

test('accessed and dirty bits: a fault without ADUE, set with it (12.3.1)', () => {
  const bench = new Bench();
  const { leafTable, index } = mapPage(bench, 3, VA, V | R | W);
  assert.equal(bench.hart.get64(field.menvcfg), envcfg.ADUE, 'set after reset, as Svadu without Svade wants it');
  bench.hart.set64(field.menvcfg, 0n);
  assert.equal(accessOf(bench, privilege.S, load), cause.loadPage);
  bench.pte(leafTable, index, DATA, V | R | W | A);
  assert.equal(accessOf(bench, privilege.S, load), undefined);
  assert.equal(accessOf(bench, privilege.S, store), cause.storePage);
  bench.hart.set64(field.menvcfg, envcfg.ADUE);
  bench.pte(leafTable, index, DATA, V | R | W);
  assert.equal(accessOf(bench, privilege.S, load), undefined);
  assert.equal(bench.entry(leafTable, index) & 0xffn, BigInt(V | R | W | A));
  // The page is in the TLB, clean: the store walks again.
  bench.run(privilege.S, store);
  assert.equal(bench.entry(leafTable, index) & 0xffn, BigInt(V | R | W | A | D));
});

test('rights of pages: U, SUM, MXR, reserved combinations (12.3.2)', () => {
  const bench = new Bench();
  const { leafTable, index } = mapPage(bench, 3, VA, FULL | U);
  const set = (bits: number) => bench.pte(leafTable, index, DATA, bits);
  const jump = [insn('jalr', { rs1: T0 })];
  bench.put(DATA, wfi);
  assert.equal(accessOf(bench, privilege.S, load), cause.loadPage);
  assert.equal(accessOf(bench, privilege.S, jump), cause.instructionPage);
  bench.hart.setStatus(bench.hart.status | mstatus.SUM);
  assert.equal(accessOf(bench, privilege.S, load), undefined);
  assert.equal(accessOf(bench, privilege.S, jump), cause.instructionPage);
  set(V | X | A);
  assert.equal(accessOf(bench, privilege.S, load), cause.loadPage);
  assert.equal(accessOf(bench, privilege.S, jump), undefined);
  bench.hart.setStatus(bench.hart.status | mstatus.MXR);
  assert.equal(accessOf(bench, privilege.S, load), undefined);
  set(V | W | A | D);
  assert.equal(accessOf(bench, privilege.S, load), cause.loadPage);
  set(V | R | A | D);
  assert.equal(accessOf(bench, privilege.S, store), cause.storePage);
  // A pointer to a table below the last level, and reserved bits.
  set(V);
  assert.equal(accessOf(bench, privilege.S, load), cause.loadPage);
  bench.view.setBigUint64(
    leafTable - RAM + 8 * index,
    bench.entry(leafTable, index) | BigInt(FULL) | (1n << 60n),
    true,
  );
  assert.equal(accessOf(bench, privilege.S, load), cause.loadPage);
});

test('large pages: misaligned ones fault; SFENCE.VMA with any address in one drops all of it', () => {
  const bench = new Bench();
  const { leafTable } = mapPage(bench, 3, VA, FULL);
  const level1 = leafTable - 0x1000;
  const entry = Number((VA >> 21n) & 511n);
  bench.pte(level1, entry, DATA, FULL);
  assert.equal(accessOf(bench, privilege.S, load), cause.loadPage);
  bench.pte(level1, entry, RAM, FULL);
  const inPage = (VA & ~0x1fffffn) | BigInt(DATA - RAM);
  bench.view.setBigUint64(DATA - RAM, 77n, true);
  bench.setX(T0, inPage);
  bench.run(privilege.S, load);
  assert.equal(bench.x(T1), 77n);
  bench.pte(level1, entry, RAM, 0);
  bench.setX(T2, VA & ~0x1fffffn);
  bench.run(privilege.S, [insn('sfence.vma', { rs1: T2 }), ...load]);
  assert.equal(bench.hart.get64(field.mcause), BigInt(cause.loadPage));
  assert.equal(bench.hart.get64(field.mtval), inPage);
});

test('an ECALL is delegated and SRET goes back; the stacked bits are right (12.1.1)', () => {
  const bench = new Bench();
  bench.hart.set64(field.medeleg, 1n << BigInt(cause.ecallU));
  bench.hart.setStatus(bench.hart.status | mstatus.SIE);
  bench.put(S_HANDLER, insn('csrrs', { rd: T1, csr: csr.sstatus }), wfi);
  bench.run(privilege.U, [insn('ecall'), insn('addi', { rd: T2, imm: 5 }), insn('ecall')]);
  assert.equal(bench.hart.privilege, privilege.S);
  assert.equal(bench.hart.get64(field.sepc), BigInt(CODE));
  assert.equal(bench.hart.get64(field.scause), BigInt(cause.ecallU));
  assert.equal(bench.x(T1) & (mstatus.SPP | mstatus.SPIE | mstatus.SIE), mstatus.SPIE);
  // On from there: the next ECALL is not delegated any more.
  bench.hart.set64(field.medeleg, 0n);
  bench.hart.set64(field.sepc, BigInt(CODE + 4));
  bench.run(privilege.S, [insn('sret')], CODE + 0x100);
  assert.equal(bench.x(T2), 5n);
  assert.equal(bench.hart.get64(field.mcause), BigInt(cause.ecallU));
  assert.equal((bench.hart.status & mstatus.MPP) >> 11n, BigInt(privilege.U));
  assert.equal(bench.hart.status & mstatus.SIE, mstatus.SIE);
});

test('MRET to U-mode clears MPRV; with MPRV loads of M-mode are those of MPP (3.1.6.3)', () => {
  const bench = new Bench();
  mapPage(bench, 3, VA, FULL | U);
  bench.view.setBigUint64(DATA - RAM, 0xabcdn, true);
  bench.setX(T0, VA);
  bench.hart.setStatus(bench.hart.status | mstatus.MPRV);
  bench.run(privilege.M, load);
  assert.equal(bench.x(T1), 0xabcdn);
  // As S-mode the page is out of reach without SUM; as M-mode there is nothing at the address.
  for (const [level, code] of [
    [privilege.S, cause.loadPage],
    [privilege.U, undefined],
  ] as const) {
    bench.hart.setStatus((bench.hart.status & ~mstatus.MPP) | (BigInt(level) << 11n) | mstatus.MPRV);
    assert.equal(accessOf(bench, privilege.M, load), code);
  }
  bench.hart.setStatus(bench.hart.status & ~mstatus.MPP);
  bench.hart.set64(field.mepc, BigInt(DATA));
  bench.write(csr.satp, 0n);
  bench.run(privilege.M, [insn('mret')]);
  assert.equal(bench.hart.status & mstatus.MPRV, 0n);
});

test('interrupts: vectors, priority, delegation, and what WFI wakes for', () => {
  const bench = new Bench();
  const { hart, cpu } = bench;
  hart.set64(field.mtvec, BigInt(M_HANDLER) | 1n);
  for (let i = 0; i < 16; i++) bench.put(M_HANDLER + 4 * i, wfi);
  bench.write(0x304, 0xaaan);
  cpu.setLine(irq.MTI, true);
  cpu.setLine(irq.MSI, true);
  // M-mode with MIE clear: WFI goes on without a trap.
  bench.setX(T1, 0n);
  bench.put(CODE, wfi, insn('addi', { rd: T1, imm: 1 }), insn('csrrsi', { rs1: 8, csr: csr.mstatus }));
  bench.hart.pc = BigInt(CODE);
  hart.updateMode();
  bench.put(
    M_HANDLER + 4 * irq.MSI,
    insn('csrrci', { rs1: 0, csr: csr.mip }),
    insn('csrrw', { csr: 0x304, rs1: 0 }),
    wfi,
  );
  assert.equal(bench.engine.run(), 'halt');
  assert.equal(bench.x(T1), 1n);
  assert.equal(hart.get64(field.mcause), (1n << 63n) | BigInt(irq.MSI));
  assert.equal(hart.get64(field.mepc), BigInt(CODE + 12));
  assert.equal(hart.get64(field.mie), 0n);

  // Supervisor interrupts delegated: taken in U-mode whatever SIE is, not in M-mode.
  const other = new Bench();
  other.write(0x303, 0x222n);
  other.write(0x304, 0x222n);
  other.write(csr.mip, 1n << BigInt(irq.SSI));
  other.put(S_HANDLER, insn('csrrw', { csr: csr.sie, rs1: 0 }), wfi);
  other.put(CODE, insn('mret'));
  other.hart.set64(field.mepc, BigInt(DATA));
  other.put(DATA, insn('jal', { rd: 0, imm: 0 }));
  other.start(privilege.M, BigInt(CODE));
  assert.equal(other.hart.privilege, privilege.S);
  assert.equal(other.hart.get64(field.scause), (1n << 63n) | BigInt(irq.SSI));
  assert.equal(other.hart.get64(field.sepc), BigInt(DATA));
});

test('Sstc: stimecmp makes the timer interrupt once menvcfg.STCE is set', () => {
  const bench = new Bench();
  const { hart } = bench;
  hart.set32(field.privilege, privilege.S);
  const read = bench.cpu.hostRoutines()['csr_read'] as (...args: unknown[]) => [number, bigint];
  assert.equal(read(0, csr.stimecmp)[0], 1, 'out of reach before');
  hart.set32(field.privilege, privilege.M);
  bench.write(0x30a, envcfg.STCE);
  bench.write(csr.stimecmp, 100n);
  assert.equal(bench.timer, 100n);
  const sti = 1n << BigInt(irq.STI);
  assert.equal(bench.read(csr.mip) & sti, 0n);
  bench.time = 100n;
  assert.equal(bench.read(csr.mip) & sti, sti);
  bench.write(csr.mip, 0n);
  assert.equal(bench.read(csr.mip) & sti, sti, 'software does not clear it');
});

test('PMP: the first entry that matches decides; locked ones bind M-mode; no entry means no access (3.7)', () => {
  const bench = new Bench();
  // Entry 0: the data page, read-only. Entry 1: everything.
  bench.write(csr.pmpaddr0, BigInt(DATA >>> 2) | 0x1ffn);
  bench.write(csr.pmpaddr0 + 1, (1n << 54n) - 1n);
  bench.write(csr.pmpcfg0, 0x1f19n);
  const at = (level: number, words: readonly number[]) => {
    bench.hart.set64(field.mcause, ALL);
    bench.setX(T0, BigInt(DATA));
    bench.run(level, words);
    return bench.hart.get64(field.mcause);
  };
  assert.equal(at(privilege.S, load), ALL);
  assert.equal(at(privilege.S, store), BigInt(cause.storeAccess));
  assert.equal(bench.hart.get64(field.mtval), BigInt(DATA));
  assert.equal(at(privilege.M, store), ALL);
  // TOR from entry 0 to entry 1, without rights; then nothing matches.
  bench.write(csr.pmpcfg0, 0n);
  bench.write(csr.pmpaddr0 + 1, BigInt((DATA + 0x1000) >>> 2));
  bench.write(csr.pmpaddr0, BigInt(DATA >>> 2));
  bench.write(csr.pmpaddr0 + 2, (1n << 54n) - 1n);
  bench.write(csr.pmpcfg0, 0x1f0800n);
  assert.equal(at(privilege.U, load), BigInt(cause.loadAccess));
  bench.write(csr.pmpcfg0, 0x1f8800n);
  assert.equal(at(privilege.M, load), BigInt(cause.loadAccess));
  bench.write(csr.pmpcfg0, 0n);
  assert.equal(bench.read(csr.pmpcfg0), 0x8800n, 'a locked entry stays');
  assert.equal(at(privilege.S, load), BigInt(cause.instructionAccess));
  // The grain is a page: NA4 is not to be had.
  const fresh = new Bench();
  fresh.write(csr.pmpcfg0, 0x17n);
  assert.equal(fresh.read(csr.pmpcfg0) & 0x18n, 0x18n);
});

test('illegal accesses of CSRs and privileged instructions tell the instruction in mtval', () => {
  const bench = new Bench();
  const illegal = (level: number, word: number) => {
    bench.hart.set64(field.mcause, ALL);
    bench.run(level, [word, wfi]);
    const isIllegal = bench.hart.get64(field.mcause) === BigInt(cause.illegalInstruction);
    if (isIllegal) assert.equal(bench.hart.get64(field.mtval), BigInt(word));
    return isIllegal;
  };
  const read = (number: number) => insn('csrrs', { rd: T1, csr: number });
  assert.ok(illegal(privilege.S, read(csr.mstatus)));
  assert.ok(illegal(privilege.M, insn('csrrw', { rs1: T1, csr: csr.mhartid })));
  assert.ok(illegal(privilege.M, read(0x7c0)));
  assert.ok(!illegal(privilege.M, read(csr.mhartid)));
  assert.ok(illegal(privilege.U, read(csr.cycle)));
  bench.hart.set64(field.mcounteren, 1n);
  assert.ok(!illegal(privilege.S, read(csr.cycle)));
  assert.equal(bench.x(T1), 1000n);
  assert.ok(illegal(privilege.S, insn('mret')));
  assert.ok(illegal(privilege.U, insn('sret')));
  assert.ok(illegal(privilege.U, insn('sfence.vma')));
  assert.ok(!illegal(privilege.S, read(csr.satp)));
  bench.hart.setStatus(bench.hart.status | mstatus.TVM | mstatus.TW | mstatus.TSR);
  for (const word of [read(csr.satp), insn('sfence.vma'), insn('sret'), wfi]) assert.ok(illegal(privilege.S, word));
});

test('fields that take only legal values: MPP, satp, misa; FS and SD', () => {
  const bench = new Bench();
  bench.write(csr.mstatus, 2n << 11n);
  assert.equal(bench.read(csr.mstatus) & mstatus.MPP, 0n);
  const sv39 = (8n << 60n) | BigInt(TABLES >>> 12);
  bench.write(csr.satp, sv39);
  bench.write(csr.satp, 1n << 60n);
  assert.equal(bench.read(csr.satp), sv39);
  bench.write(csr.satp, 0n);
  const misa = bench.read(csr.misa);
  bench.write(csr.misa, 0n);
  assert.equal(bench.read(csr.misa), misa);
  // Off: illegal. Initial: becomes dirty with the first write of a register.
  const word = insn('fmv.d.x', { rd: 3, rs1: T0 });
  bench.run(privilege.M, [word, wfi]);
  assert.equal(bench.hart.get64(field.mcause), BigInt(cause.illegalInstruction));
  bench.write(csr.mstatus, 1n << 13n);
  bench.setX(T0, 0x123n);
  bench.run(privilege.M, [word, wfi]);
  assert.equal(bench.hart.get64(freg[3].offset), 0x123n);
  assert.equal(bench.read(csr.mstatus) & (mstatus.FS | mstatus.SD), mstatus.FS | mstatus.SD);
});

test('SC fails after a store to the reserved word, and succeeds once', () => {
  const bench = new Bench();
  bench.setX(T0, BigInt(DATA));
  bench.setX(T1, 9n);
  const lr = insn('lr.d', { rd: 0, rs1: T0 });
  const sc = (rd: number) => insn('sc.d', { rd, rs1: T0, rs2: T1 });
  bench.run(privilege.M, [lr, sc(T2), sc(28), lr, insn('sd', { rs1: T0, rs2: T0 }), sc(29), wfi]);
  assert.deepEqual([bench.x(T2), bench.x(28), bench.x(29)], [0n, 1n, 1n]);
  assert.equal(bench.view.getBigUint64(DATA - RAM, true), BigInt(DATA));
});

for (const hotThreshold of [0, 16]) {
  test(`a loop whose instruction runs over the end of a page, threshold ${hotThreshold}`, () => {
    const bench = new Bench(hotThreshold);
    const at = CODE + 0xffa;
    // The first instruction ends at 0xffe, the second one lies on both pages.
    const words = [
      insn('addi', { rd: T1, rs1: T1, imm: 1 }),
      insn('addi', { rd: T0, rs1: T0, imm: -1 }),
      insn('bne', { rs1: T0, rs2: 0, imm: -8 }),
      wfi,
    ];
    bench.setX(T0, 50_000n);
    bench.run(privilege.M, words, at);
    assert.equal(bench.x(T1), 50_000n);
    assert.equal(bench.engine.compiler.counters.regions > 0, hotThreshold > 0);
  });
}

test('sstatus, read and changed: SIE by itself, SIE with others, all of it; on both tiers', () => {
  const SIE = mstatus.SIE;
  const SUM = mstatus.SUM;
  for (const hotThreshold of [0, 2]) {
    const bench = new Bench(hotThreshold);
    const [A, B, C, D, E] = [10, 11, 12, 13, 14];
    bench.cpu.hart.set64(xreg[T0].offset, SIE);
    bench.cpu.hart.set64(xreg[T1].offset, SIE | SUM | mstatus.MIE);
    bench.cpu.hart.set64(xreg[T2].offset, SUM);
    bench.run(privilege.S, [
      insn('csrrs', { rd: A, csr: csr.sstatus, rs1: T0 }),
      insn('csrrci', { rd: B, csr: csr.sstatus, rs1: 2 }),
      insn('csrrsi', { rd: C, csr: csr.sstatus, rs1: 31 }),
      insn('csrrc', { rd: D, csr: csr.sstatus, rs1: T1 }),
      insn('csrrs', { rd: E, csr: csr.sstatus, rs1: T1 }),
      insn('csrrc', { rd: T0, csr: csr.sstatus, rs1: T2 }),
      insn('csrrs', { rd: T1, csr: csr.sstatus, rs1: 0 }),
      wfi,
    ]);
    const { hart } = bench.cpu;
    const value = (n: number) => hart.get64(xreg[n].offset) & (SIE | SUM | mstatus.MIE);
    assert.deepEqual([A, B, C, D, E, T0, T1].map(value), [0n, SIE, 0n, SIE, 0n, SIE | SUM, SIE]);
    assert.equal(hart.status & (SIE | SUM | mstatus.MIE), SIE, 'sstatus does not reach MIE');
  }
});

test('cache blocks: zeroed whole, where menvcfg and senvcfg allow it; on both tiers', () => {
  const zero = insn('cbo.zero', { rs1: T0 });
  for (const hotThreshold of [0, 2]) {
    const bench = new Bench(hotThreshold);
    const { hart, view } = bench;
    const fill = () => {
      for (let at = -8; at < 72; at += 8) view.setBigUint64(DATA - RAM + 0x40 + at, ALL, true);
    };
    const words = () => Array.from({ length: 10 }, (_, i) => view.getBigUint64(DATA - RAM + 0x38 + 8 * i, true));
    const cleared = [ALL, ...Array.from({ length: 8 }, () => 0n), ALL];
    bench.setX(T0, BigInt(DATA + 0x40 + 0x2b));
    fill();
    bench.run(privilege.M, [zero, wfi]);
    assert.deepEqual(words(), cleared, 'the address may lie anywhere in the block');
    fill();
    bench.run(privilege.S, [zero, wfi]);
    assert.equal(bench.hart.get64(field.mcause), BigInt(cause.illegalInstruction));
    assert.equal(bench.hart.get64(field.mtval), BigInt(zero >>> 0));
    assert.equal(words()[3], ALL, 'nothing of it has happened');
    bench.write(csr.menvcfg, envcfg.CBZE);
    bench.run(privilege.S, [zero, wfi]);
    assert.deepEqual(words(), cleared);
    fill();
    bench.hart.set64(field.mcause, 0n);
    bench.run(privilege.U, [zero, wfi]);
    assert.equal(bench.hart.get64(field.mcause), BigInt(cause.illegalInstruction), 'senvcfg forbids it to U-mode');
    bench.write(csr.senvcfg, envcfg.CBZE);
    hart.set64(field.mstatus, hart.status & ~mstatus.TW);
    bench.run(privilege.U, [zero, insn('ebreak')]);
    assert.equal(bench.hart.get64(field.mcause), BigInt(cause.breakpoint));
    assert.deepEqual(words(), cleared);
  }
});

test('cache-block management needs its bits, and a block that is there', () => {
  const bench = new Bench();
  bench.setX(T0, BigInt(DATA));
  for (const [name, bits] of [
    ['cbo.inval', envcfg.CBIE],
    ['cbo.clean', envcfg.CBCFE],
    ['cbo.flush', envcfg.CBCFE],
  ] as const) {
    bench.write(csr.menvcfg, (envcfg.CBIE | envcfg.CBCFE) & ~bits);
    bench.hart.set64(field.mcause, 0n);
    bench.run(privilege.S, [insn(name, { rs1: T0 }), wfi]);
    assert.equal(bench.hart.get64(field.mcause), BigInt(cause.illegalInstruction), name);
    bench.write(csr.menvcfg, bits);
    bench.hart.set64(field.mcause, 0n);
    bench.run(privilege.S, [insn(name, { rs1: T0 }), wfi]);
    assert.equal(bench.hart.get64(field.mcause), 0n, name);
  }
  bench.write(csr.menvcfg, 0n);
  bench.write(csr.menvcfg, 2n << 4n);
  assert.equal(bench.read(csr.menvcfg), 0n, 'CBIE has no value 2');
});

test('system calls, SRET and writes of sstatus do in translated code what the hart does for all', () => {
  // xorshift32, from a fixed seed.
  let state = 0x2545f491;
  const below = (n: number) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % n;
  };
  const bits = [
    ...[mstatus.SIE, mstatus.MIE, mstatus.SPIE, mstatus.MPIE, mstatus.SPP, mstatus.MPP, 1n << 13n, 1n << 14n],
    ...[mstatus.MPRV, mstatus.SUM, mstatus.MXR, mstatus.TW, mstatus.TVM],
  ];
  const some = () => bits.reduce((sum, bit) => (below(2) === 0 ? sum | bit : sum), 0n);
  const fast = new Bench();
  const plain = new Bench();
  const what = ({ hart }: Bench) => ({
    status: hart.status,
    level: hart.privilege,
    key: hart.get32(header.modeKey),
    mmu: hart.get32(header.mmu),
    pc: hart.pc,
    sepc: hart.get64(field.sepc),
    scause: hart.get64(field.scause),
    stval: hart.get64(field.stval),
  });
  const kinds = ['call', 'return', 'write', 'set', 'clear'] as const;
  const seen = new Map<string, number>();
  for (let i = 0; i < 600; i++) {
    const kind = kinds[below(kinds.length)];
    const level = kind === 'call' ? privilege.U : below(4) === 0 ? privilege.M : privilege.S;
    const status = some() | mstatus.UXL | mstatus.SXL;
    const operand = some() | BigInt(below(2));
    const delegated = below(4) !== 0;
    for (const { hart } of [fast, plain]) {
      hart.set64(field.medeleg, delegated ? 1n << BigInt(cause.ecallU) : 0n);
      hart.set64(field.stvec, BigInt(S_HANDLER) | BigInt(i & 1));
      hart.set64(field.mtvec, BigInt(M_HANDLER));
      hart.set64(field.sepc, BigInt(DATA));
      hart.set32(field.frm, i % 5);
      hart.set32(field.privilege, level);
      hart.setStatus(status);
      hart.pc = BigInt(CODE);
    }
    const changes = { write: 'csrrw', set: 'csrrs', clear: 'csrrc' } as const;
    fast.setX(T0, operand);
    fast.setX(T1, 0n);
    const before = plain.hart.status;
    if (kind === 'call') {
      fast.put(CODE, insn('ecall'));
      plain.hart.trap(cause.ecallU, 0n, false);
    } else if (kind === 'return') {
      fast.put(CODE, insn('sret'));
      plain.hart.returnFrom(privilege.S);
    } else {
      fast.put(CODE, insn(changes[kind], { rd: T1, csr: csr.sstatus, rs1: T0 }));
      const value = kind === 'write' ? operand : kind === 'set' ? before | operand : before & ~operand;
      plain.write(csr.sstatus, value);
      plain.hart.pc += 4n;
    }
    fast.engine.step(0);
    assert.deepEqual(what(fast), what(plain), `${kind} in ${level}, mstatus ${status.toString(16)}, case ${i}`);
    if (kind !== 'call' && kind !== 'return') {
      const shown = mstatus.SIE | mstatus.SPIE | mstatus.SPP | mstatus.FS | mstatus.SUM | mstatus.MXR | mstatus.UXL;
      assert.equal(fast.x(T1), before & (shown | mstatus.SD), `${kind}, case ${i}`);
    }
    seen.set(`${kind} ${delegated}`, (seen.get(`${kind} ${delegated}`) ?? 0) + 1);
  }
  assert.equal(seen.size, 2 * kinds.length);
});

for (const hotThreshold of [0, 16]) {
  const tier = hotThreshold === 0 ? 'the cold tier' : 'both tiers';
  test(`an interrupt is taken right behind the write of sstatus that lets it in (3.1.6.1), ${tier}`, () => {
    for (const last of [
      insn('csrrsi', { csr: csr.sstatus, rs1: 2 }),
      insn('csrrs', { csr: csr.sstatus, rs1: T2 }),
      insn('csrrw', { csr: csr.sstatus, rs1: T2 }),
    ]) {
      const bench = new Bench(hotThreshold);
      bench.hart.set64(field.mideleg, 2n);
      bench.hart.set64(field.mie, 2n);
      bench.setX(T2, 2n);
      bench.setX(28, 64n);
      // The handler counts, and notes the address it came from; every second round asks for it.
      bench.put(
        S_HANDLER,
        insn('csrrs', { rd: T0, csr: 0x141 }),
        insn('addi', { rd: T1, rs1: T1, imm: 1 }),
        insn('csrrci', { csr: csr.sip, rs1: 2 }),
        insn('sret'),
      );
      bench.run(privilege.S, [
        insn('csrrci', { csr: csr.sstatus, rs1: 2 }),
        insn('andi', { rd: 29, rs1: 28, imm: 1 }),
        insn('slli', { rd: 29, rs1: 29, imm: 1 }),
        insn('csrrs', { csr: csr.sip, rs1: 29 }),
        last,
        insn('add', { rd: 30, rs1: 30, rs2: T1 }),
        insn('addi', { rd: 28, rs1: 28, imm: -1 }),
        insn('bne', { rs1: 28, rs2: 0, imm: -28 }),
        wfi,
      ]);
      assert.equal(bench.x(T1), 32n, 'one interrupt every second round');
      assert.equal(bench.x(T0), BigInt(CODE + 20), 'it comes before the next instruction');
      // Rounds 64 and 63 see 0 and 1, the next two 1 and 2, and so on.
      assert.equal(bench.x(30), 32n * 32n);
    }
  });

  test(`AUIPC and JALR reach far code and come back (2.4, 2.5), ${tier}`, () => {
    const bench = new Bench(hotThreshold);
    const far = CODE + 0x6000;
    bench.put(
      far,
      insn('addi', { rd: T0, rs1: T0, imm: 3 }),
      // By another register, by a copy, and with bit 0 of the target set, which is dropped.
      insn('auipc', { rd: T1, imm: 0 }),
      insn('addi', { rd: T1, rs1: T1, imm: 16 + 1 }),
      insn('add', { rd: T2, rs1: T1, rs2: 0 }),
      insn('jalr', { rd: 0, rs1: T1, imm: 0 }),
      insn('addi', { rd: T0, rs1: T0, imm: 4 }),
      insn('jalr', { rd: 0, rs1: 1, imm: 0 }),
    );
    bench.setX(28, 100n);
    bench.run(privilege.S, [
      insn('auipc', { rd: 1, imm: 0x6000 }),
      insn('jalr', { rd: 1, rs1: 1, imm: 0 }),
      insn('addi', { rd: 28, rs1: 28, imm: -1 }),
      insn('bne', { rs1: 28, rs2: 0, imm: -12 }),
      // A register that has been written since holds no address that is known.
      insn('auipc', { rd: 29, imm: 0 }),
      insn('add', { rd: 29, rs1: 29, rs2: 30 }),
      insn('jalr', { rd: 31, rs1: 29, imm: 16 }),
      wfi,
      insn('addi', { rd: T0, rs1: T0, imm: 1 }),
      wfi,
    ]);
    assert.equal(bench.x(T0), 701n, 'seven a round, and one behind the WFI that is passed over');
    assert.equal(bench.x(1), BigInt(CODE + 8));
    assert.equal(bench.x(T1), BigInt(far + 4 + 17));
    assert.equal(bench.x(31), BigInt(CODE + 28));
    bench.setX(28, 1n);
    bench.setX(30, 4n);
    bench.start(privilege.S, BigInt(CODE));
    assert.equal(bench.x(T0), 708n);
  });
}

const E32 = 0x10;
for (const hotThreshold of [0, 16])
  test(`vectors need VS, which they make dirty (3.1.6.6), threshold ${hotThreshold}`, () => {
    const program = [
      insn('vsetivli', { rd: T0, rs1: 4, imm: E32 }),
      insn('vadd.vi', { rd: 2, rs2: 1, imm: 3, vm: 1 }),
      insn('vmv.x.s', { rd: T1, rs2: 2, vm: 1 }),
      insn('addi', { rd: 28, rs1: 28, imm: -1 }),
      insn('bne', { rs1: 28, rs2: 0, imm: -16 }),
      wfi,
    ];
    const bench = new Bench(hotThreshold, parseRiscvCpu('max'));
    bench.hart.set64(field.medeleg, 0xb1ffn);
    bench.setX(28, 40n);
    bench.run(privilege.S, program);
    assert.equal(bench.hart.get64(field.scause), BigInt(cause.illegalInstruction), 'VS is off');
    assert.equal(bench.hart.get64(field.stval), BigInt(program[0] >>> 0));
    bench.hart.setStatus((bench.hart.status & ~mstatus.VS) | (1n << 9n));
    bench.hart.set64(field.vectors + 16, 0x1_0000_0027n);
    bench.run(privilege.S, program);
    assert.equal(bench.x(T1), 42n);
    assert.equal(bench.x(T0), 4n);
    assert.equal(bench.hart.status & (mstatus.VS | mstatus.SD), mstatus.VS | mstatus.SD);
    assert.equal(
      bench.hart.get64(field.vectors + 32),
      0x3_0000_002an + (1n << 32n),
      'each element of 32 bits for itself',
    );
    // Another vtype in the same code: elements of 8 bits from here on.
    bench.hart.set64(field.vectors + 16, 0x01_feffn);
    program[0] = insn('vsetivli', { rd: T0, rs1: 3, imm: 0 });
    bench.setX(28, 3n);
    bench.run(privilege.S, program);
    assert.equal(bench.hart.get64(field.vectors + 32) & 0xffffffn, 0x04_0102n);
  });

test('a hart without V has neither its instructions nor its CSRs, and VS stays 0', () => {
  const bench = new Bench();
  bench.hart.set64(field.medeleg, 0xb1ffn);
  bench.write(csr.mstatus, mstatus.VS);
  assert.equal(bench.hart.status & mstatus.VS, 0n);
  assert.equal((bench.read(csr.misa) >> 21n) & 1n, 0n);
  bench.run(privilege.S, [insn('csrrs', { rd: T0, csr: 0xc22 }), wfi]);
  assert.equal(bench.hart.get64(field.scause), BigInt(cause.illegalInstruction));
});

test('a page fault in the middle of a vector load says at which element (31.3.7), and the load goes on from there', () => {
  const bench = new Bench(0, parseRiscvCpu('max'));
  bench.hart.set64(field.medeleg, 0xb1ffn);
  bench.hart.setStatus(bench.hart.status | mstatus.VS);
  const va = 0x1000n;
  const { leafTable, index } = mapPage(bench, 3, va, FULL);
  for (let n = 0; n < 16; n++) bench.put(DATA + 0x1000 - 32 + 4 * n, n + 1);
  bench.setX(T1, va + 0x1000n - 8n);
  bench.run(privilege.S, [
    insn('vsetivli', { rd: T0, rs1: 4, imm: E32 }),
    insn('vle32.v', { rd: 4, rs1: T1, vm: 1 }),
    wfi,
  ]);
  const { hart } = bench;
  assert.equal(bench.hart.get64(field.scause), BigInt(cause.loadPage));
  assert.equal(hart.get64(field.stval), va + 0x1000n);
  assert.equal(hart.get32(field.vstart), 2);
  assert.equal(hart.get64(field.vectors + 64), 0x8_0000_0007n, 'what is before it is loaded');
  bench.pte(leafTable, index + 1, DATA + 0x1000, FULL);
  bench.start(privilege.S, BigInt(CODE + 4));
  assert.equal(hart.get32(field.vstart), 0);
  assert.equal(hart.get64(field.vectors + 72), 0xa_0000_0009n);
});
