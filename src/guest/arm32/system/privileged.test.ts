/** Privileged behaviour of AArch32, test by test from the Architecture Reference Manual, Armv7-A (DDI 0406). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TcgEngine } from '../../../accel/tcg/engine.js';
import { quietHost } from '../../../accel/testing/quiet-host.js';
import { cpsr, cpuMode, field, reg, STATE_BYTES, sctlr } from '../state.js';
import { Arm32Cpu } from './cpu.js';

const RAM = 0x40000000;
const RAM_BYTES = 1 << 20;
const VECTORS = RAM + 0x1000;
const CODE = RAM + 0x4000;
const DATA = RAM + 0x8000;
/** A table of the first level, which is 16 KiB, and one of the second. */
const FIRST = RAM + 0x20000;
const SECOND = RAM + 0x30000;
/** Where the second-level table shows a page. */
const WINDOW = 0x00100000;

const WFI = 0xe320f003;
const WFI_T32 = 0xbf30;
const UNDEFINED = 0xe7f000f0;
const SVC = 0xef000000;
const MASKS = cpsr.A | cpsr.I | cpsr.F;
const { user, fiq, irq, supervisor, abort, undefined: undef, system } = cpuMode;

/** MCR and MRC of coprocessor 15, as the manual writes their operands. */
const cp15 = (load: 0 | 1, rt: number, [crn, op1, crm, op2]: readonly number[]): number =>
  (0xee000f10 | (op1 << 21) | (load << 20) | (crn << 16) | (rt << 12) | (op2 << 5) | crm) >>> 0;
const mcr = (rt: number, ...place: readonly number[]): number => cp15(0, rt, place);
const mrc = (rt: number, ...place: readonly number[]): number => cp15(1, rt, place);
const load = (rt: number, rn: number, offset = 0): number => (0xe5900000 | (rn << 16) | (rt << 12) | offset) >>> 0;
const store = (rt: number, rn: number, offset = 0): number => (0xe5800000 | (rn << 16) | (rt << 12) | offset) >>> 0;

class Bench {
  readonly cpu: Arm32Cpu;
  readonly engine: TcgEngine;
  readonly view: DataView;
  readonly calls: string[] = [];
  /** What the board does at a call beside. */
  onCall: () => void = () => {};
  #polls = 0;

  constructor(hotThreshold = 0) {
    this.cpu = new Arm32Cpu({
      time: () => 0n,
      counterFrequency: 62_500_000,
      setTimer: () => {},
      firmwareCall: (core, by, number) => {
        this.calls.push(`${by} ${number}`);
        this.onCall();
        core.set64(reg[0].offset, 0xffff_ffff_ffff_fffen);
        return true;
      },
    });
    this.engine = new TcgEngine({
      cpus: [this.cpu],
      ramBytes: RAM_BYTES,
      stateBytes: STATE_BYTES,
      hotThreshold,
      // A program that does not end is a failure.
      host: { ...quietHost, poll: () => ++this.#polls > 100 },
    });
    this.engine.setRamBlocks([{ gpa: RAM, size: RAM_BYTES, hva: this.engine.ramStart, readonly: false }]);
    this.view = new DataView(this.engine.memory.buffer, this.engine.ramStart, RAM_BYTES);
    this.cpu.reset(BigInt(CODE));
    for (let vector = 0; vector < 0x20; vector += 4) this.put(VECTORS + vector, WFI);
    this.core.set32(field.vbar, VECTORS);
  }
  get core() {
    return this.cpu.core;
  }
  put(at: number, ...words: number[]): void {
    for (const [i, word] of words.entries()) this.view.setUint32(at - RAM + 4 * i, word >>> 0, true);
    this.engine.published(this.engine.ramStart + at - RAM, 4 * words.length);
  }
  word(at: number): number {
    return this.view.getUint32(at - RAM, true);
  }
  r(n: number): number {
    return this.core.get32(reg[n].offset) >>> 0;
  }
  setR(n: number, value: number): void {
    this.core.set64(reg[n].offset, BigInt(value >>> 0));
  }
  /** Runs A32 words in a mode until a WFI, the program's or a vector's. */
  run(mode: number, words: readonly number[], masks = MASKS, at = CODE): void {
    this.put(CODE, ...words, WFI);
    this.core.setCpsr(mode | masks);
    this.core.goTo(at, false);
    this.#polls = 0;
    assert.equal(this.engine.run(), 'halt');
  }
  /** T32 halfwords. */
  runThumb(mode: number, halves: readonly number[], status = 0): void {
    const all = [...halves, WFI_T32, 0xbf00];
    this.put(CODE, ...Array.from({ length: all.length >> 1 }, (_, n) => all[2 * n] | (all[2 * n + 1] << 16)));
    this.core.setCpsr(mode | MASKS | status | cpsr.T);
    this.core.goTo(CODE, true);
    this.#polls = 0;
    assert.equal(this.engine.run(), 'halt');
  }
  /** Where it waits, as an offset from the vectors. */
  get vector(): number {
    return this.core.address - 4 - VECTORS;
  }
  get mode(): number {
    return this.core.mode;
  }
  mask(): number {
    return this.core.cpsr & MASKS;
  }

  /** Short descriptors: RAM's MiB as itself, for privileged code; the window's page with these bits. Domain 1 for both. */
  translate(
    page: number,
    rest: { readonly table?: number; readonly section?: number; readonly dacr?: number } = {},
  ): void {
    this.put(FIRST + 4 * (RAM >>> 20), rest.section ?? RAM | (1 << 5) | (1 << 10) | 2);
    this.put(FIRST + 4 * (WINDOW >>> 20), rest.table ?? SECOND | (1 << 5) | 1);
    this.put(SECOND, page === 0 ? 0 : DATA | page);
    this.core.set64(field.ttbr0, BigInt(FIRST));
    this.core.setDacr(rest.dacr ?? 1 << 2);
    this.core.set32(field.sctlr, this.core.get32(field.sctlr) | sctlr.M);
    this.core.flushTlb();
    this.core.updateMode();
  }
}

/** Descriptor of a small page: AP[2:0]. */
const small = (ap: number): number => 2 | ((ap & 3) << 4) | ((ap >> 2) << 9);
const tiers = [0, 2] as const;

test('reset: Supervisor mode, all masked, little-endian, A32 (B1.9)', () => {
  const { core } = new Bench();
  assert.equal(core.cpsr & 0x3ff, supervisor | MASKS);
  assert.equal(core.get32(field.sctlr) & (sctlr.M | sctlr.V | sctlr.EE | sctlr.TE), 0);
});

test('registers of each mode are its own: R8 to R14 of FIQ, R13 and R14 of the others, SPSR; System shares with User (B1.3.2)', () => {
  for (const hotThreshold of tiers) {
    const bench = new Bench(hotThreshold);
    const modes = [user, fiq, irq, supervisor, abort, undef];
    // CPS #mode; then R8, R13 and R14 are set, by MOV from R0 to R2, and SPSR by MSR where there is one.
    const fill = (mode: number): number[] => [
      0xf1020000 | mode,
      0xe1a08000,
      0xe1a0d001,
      0xe1a0e002,
      ...(mode === system ? [] : [0xe16ff003]),
    ];
    for (const [i, mode] of modes.entries()) {
      for (const n of [0, 1, 2]) bench.setR(n, 0x100 * (n + 1) + i);
      bench.setR(3, 0x10 + 0x40000000 + i);
      bench.run(supervisor, fill(mode === user ? system : mode));
    }
    const shown = (mode: number): number[] => {
      bench.run(supervisor, [
        0xf1020000 | mode,
        0xe1a00008,
        0xe1a0100d,
        0xe1a0200e,
        ...(mode === system ? [] : [0xe14f3000]),
      ]);
      return [0, 1, 2, 3].map((n) => bench.r(n));
    };
    assert.deepEqual(shown(system).slice(0, 3), [0x105, 0x200, 0x300]);
    for (const [i, mode] of modes.entries()) {
      if (mode === user) continue;
      const r8 = mode === fiq ? 0x101 : 0x105;
      assert.deepEqual(shown(mode), [r8, 0x200 + i, 0x300 + i, 0x40000010 + i], mode.toString(16));
    }
  }
});

test('exceptions: vector, mode, masks, R14 and SPSR of each from both instruction sets (B1.8.3, table B1-7)', () => {
  for (const hotThreshold of tiers) {
    const bench = new Bench(hotThreshold);
    const { core } = bench;
    const taken = () => [bench.vector, bench.mode, bench.r(14) - CODE, bench.mask()];
    const flags = 0x60000000;
    bench.setR(1, DATA);
    bench.run(user, [SVC], flags);
    assert.deepEqual(taken(), [8, supervisor, 4, cpsr.I]);
    assert.equal(core.spsr, user | flags);
    bench.run(user, [UNDEFINED], flags | cpsr.F);
    assert.deepEqual(taken(), [4, undef, 4, cpsr.I | cpsr.F]);
    bench.run(system, [0xe1200070], 0);
    assert.deepEqual(taken(), [12, abort, 4, cpsr.I | cpsr.A]);
    assert.equal(core.get32(field.ifsr), 2, 'a debug event');
    bench.runThumb(user, [0xdf00], flags);
    assert.deepEqual(taken(), [8, supervisor, 2, MASKS]);
    assert.equal(core.spsr & 0x3f, user | cpsr.T);
    bench.runThumb(system, [0xde00]);
    assert.deepEqual(taken(), [4, undef, 2, MASKS]);
    bench.runThumb(system, [0xbe00]);
    assert.deepEqual(taken(), [12, abort, 4, MASKS]);
    // A load and a fetch where no translation is.
    bench.translate(0);
    bench.setR(1, WINDOW);
    bench.run(supervisor, [load(0, 1)], 0);
    assert.deepEqual(taken(), [16, abort, 8, cpsr.I | cpsr.A]);
    bench.runThumb(supervisor, [0x6808]);
    assert.deepEqual(taken(), [16, abort, 8, MASKS]);
    bench.run(supervisor, [0xe12fff11], 0);
    assert.deepEqual([bench.vector, bench.mode, bench.r(14), bench.mask()], [12, abort, WINDOW + 4, cpsr.I | cpsr.A]);
    assert.equal(core.get32(field.ifar), WINDOW);
  }
});

test('interrupts: R14 is the next instruction plus 4, FIQ masks both, each is masked by its bit (B1.9.10)', () => {
  const bench = new Bench();
  const { cpu } = bench;
  const nop = 0xe320f000;
  // The handlers call the board, which lowers the lines: a WFI with one up does not wait.
  bench.put(VECTORS + 0x18, 0xea000008, 0xea00000f);
  for (const at of [0x40, 0x60]) bench.put(VECTORS + at, 0xe1400070, WFI);
  bench.onCall = () => [1, 2].forEach((line) => void cpu.setLine(line, false));
  cpu.setLine(1, true);
  // CPSIE i, and the interrupt is taken behind it.
  bench.run(system, [0xf1080080, nop]);
  assert.deepEqual([bench.vector, bench.mode, bench.r(14)], [0x44, irq, CODE + 8]);
  assert.equal(bench.mask(), MASKS);
  // The same behind MSR CPSR_c, where the mode stays, and where it changes.
  for (const word of [0xe321f05f, 0xe321f053]) {
    cpu.setLine(1, true);
    bench.run(system, [word, nop]);
    assert.deepEqual([bench.vector, bench.mode, bench.r(14)], [0x44, irq, CODE + 8]);
  }
  cpu.setLine(1, true);
  cpu.setLine(2, true);
  bench.run(system, [0xf10800c0, nop]);
  assert.deepEqual([bench.vector, bench.mode, bench.r(14), bench.mask()], [0x64, fiq, CODE + 8, MASKS]);
  // IRQ does not mask FIQ.
  cpu.setLine(1, true);
  bench.run(system, [0xf1080180, nop], cpsr.A | cpsr.I);
  assert.deepEqual([bench.vector, bench.mode, bench.mask()], [0x44, irq, cpsr.A | cpsr.I]);
  // User mode cannot change the masks: the SVC is reached, whose handler lowers the line.
  cpu.setLine(1, true);
  bench.put(VECTORS + 8, 0xea00000c);
  bench.run(user, [0xf10800c0, SVC]);
  assert.deepEqual([bench.vector, bench.mode], [0x44, supervisor]);
  // Masked, an interrupt ends WFI all the same (B1.8.13).
  cpu.setLine(1, true);
  bench.run(system, [WFI, 0xe3a00007, SVC]);
  assert.deepEqual([bench.vector, bench.mode, bench.r(14)], [0x44, supervisor, CODE + 12]);
});

test('high vectors, vectors in T32, and returns by SUBS PC, LR and by LDM with ^ (B9.3)', () => {
  const bench = new Bench();
  const { core } = bench;
  core.set32(field.sctlr, core.get32(field.sctlr) | sctlr.TE);
  bench.put(VECTORS + 8, WFI_T32 | (WFI_T32 << 16));
  bench.run(user, [SVC], 0);
  assert.deepEqual([core.thumb, core.address], [true, VECTORS + 8 + 2]);
  core.set32(field.sctlr, core.get32(field.sctlr) & ~sctlr.TE);
  // MOVS PC, LR in the vector goes on behind SVC, in the caller's mode, with its flags.
  bench.put(VECTORS + 8, 0xe1b0f00e);
  bench.run(user, [SVC], cpsr.FLAGS & 0x90000000);
  assert.deepEqual(
    [core.cpsr, core.address],
    [0x90000000 | user | 0, CODE + 8].map((x) => x | 0),
  );
  // LDMIA R13!, {R0, PC}^ in Supervisor mode.
  bench.put(DATA, 77, CODE + 8);
  core.setPstate(supervisor | MASKS);
  bench.setR(13, DATA);
  bench.setR(1, user | 0x20000000);
  bench.run(supervisor, [0xe16ff001, 0xe8fd8001]);
  assert.deepEqual([bench.r(0), core.cpsr & 0x1f, core.cpsr >>> 29], [77, user, 1]);
  core.setPstate(supervisor | MASKS);
  assert.equal(bench.r(13), DATA + 8);
  // In User and System mode there is no SPSR: undefined here, as in QEMU.
  bench.run(system, [0xe1b0f00e]);
  assert.deepEqual([bench.vector, bench.mode], [4, undef]);
});

test('SRS stores R14 and SPSR on the stack of any mode, RFE goes back by them (B9.3.13, B9.3.19)', () => {
  const bench = new Bench();
  const { core } = bench;
  // In Abort mode: SRSDB sp!, #SVC; then RFEIA r0.
  core.setPstate(supervisor | MASKS);
  bench.setR(13, DATA + 0x40);
  core.setPstate(abort | MASKS);
  bench.setR(14, CODE + 12);
  core.spsr = system | cpsr.I | 0x10000000;
  bench.run(abort, [0xf96d0513]);
  assert.deepEqual(
    [bench.word(DATA + 0x38), bench.word(DATA + 0x3c)],
    [CODE + 12, (system | cpsr.I | 0x10000000) >>> 0],
  );
  core.setPstate(supervisor | MASKS);
  assert.equal(bench.r(13), DATA + 0x38, 'written back to the mode that was named');
  bench.setR(0, DATA + 0x38);
  bench.run(supervisor, [0xf8b00a00, UNDEFINED, UNDEFINED]);
  assert.deepEqual(
    [core.cpsr & 0x100000ff, core.address, bench.r(0)],
    [system | cpsr.I | 0x10000000, CODE + 16, DATA + 0x40],
  );
  for (const word of [0xf8b00a00, 0xf96d0513]) {
    bench.run(user, [word]);
    assert.deepEqual([bench.vector, bench.mode], [4, undef], word.toString(16));
  }
});

test('ITSTATE is saved with an exception and goes on with the return; SVC advances it (A2.5.2, B1.8.3)', () => {
  for (const hotThreshold of tiers) {
    const bench = new Bench(hotThreshold);
    const { core } = bench;
    // Vectors return at once: MOVS PC, LR.
    bench.put(VECTORS + 8, 0xe1b0f00e);
    bench.setR(0, 0);
    bench.setR(2, 0);
    // ITTE EQ; SVCEQ; ADDEQ r0, #1; ADDNE r2, #1; with Z set, and clear.
    const code = [0xbf06, 0xdf00, 0x3001, 0x3201];
    bench.runThumb(user, code, 0x40000000);
    assert.deepEqual([bench.r(0), bench.r(2), bench.mode], [1, 0, user]);
    bench.runThumb(user, code, 0);
    assert.deepEqual([bench.r(0), bench.r(2)], [1, 1]);
    // What the SPSR shows in the handler: IT of the instruction behind SVC, condition 0000, mask 0100 shifted on.
    bench.put(VECTORS + 8, WFI);
    bench.runThumb(user, code, 0x40000000);
    const it = ((core.spsr >> 25) & 3) | ((core.spsr >> 8) & 0xfc);
    assert.equal(it, 0b0000_1100);
    assert.equal(core.it, 0, 'none in the handler');
  }
});

test('short descriptors: AP[2:0] for both levels of privilege, and what DFSR and DFAR say (B3.7.1, B3.13.3)', () => {
  /** By AP: what User mode and privileged code may do. */
  const rights = ['--', '-w', 'rw', 'ww', undefined, '-r', 'rr', 'rr'];
  for (const hotThreshold of tiers) {
    for (const [ap, text] of rights.entries()) {
      if (text === undefined) continue;
      const bench = new Bench(hotThreshold);
      const { core } = bench;
      // LDRT and STRT are the unprivileged accesses of privileged code.
      for (const [level, read, write] of [
        [0, 0xe4b10000, 0xe4a10000],
        [1, load(0, 1), store(0, 1)],
      ] as const) {
        for (const [isWrite, word] of [read, write].entries()) {
          bench.translate(small(ap));
          bench.setR(1, WINDOW + 0x124);
          bench.run(supervisor, [word]);
          const may: boolean = text[level] === 'w' || (text[level] === 'r' && !isWrite);
          assert.equal(bench.mode, may ? supervisor : abort, `AP ${ap}, level ${level}, write ${isWrite}`);
          if (may) continue;
          assert.equal(core.get32(field.dfsr), 0xf | (1 << 4) | (isWrite << 11));
          assert.equal(core.get32(field.dfar), WINDOW + 0x124);
        }
      }
    }
  }
});

test('faults of each level: translation, domain, access flag, with the domain in DFSR (B3.13.3)', () => {
  const bench = new Bench();
  const { core } = bench;
  const status = (): number => {
    bench.setR(1, WINDOW);
    bench.run(supervisor, [load(0, 1)]);
    return bench.mode === abort ? core.get32(field.dfsr) : -1;
  };
  bench.translate(small(3));
  assert.equal(status(), -1);
  bench.translate(small(3), { table: 0 });
  assert.equal(status(), 0x05, 'translation, first level: no domain is known');
  bench.translate(0);
  assert.equal(status(), 0x17, 'translation, second level');
  bench.translate(small(3), { table: SECOND | (3 << 5) | 1 });
  assert.equal(status(), 0x3b, 'domain, second level');
  bench.translate(small(3), { table: (DATA & 0xfff00000) | (3 << 10) | (2 << 5) | 2 });
  assert.equal(status(), 0x29, 'domain, first level');
  bench.translate(small(0), { table: SECOND | (3 << 5) | 1, dacr: (1 << 2) | (3 << 6) });
  assert.equal(status(), -1, "a manager's accesses are not checked");
  bench.core.set32(field.sctlr, core.get32(field.sctlr) | sctlr.AFE);
  bench.translate(small(2), { section: RAM | (1 << 5) | (1 << 10) | 2 });
  assert.equal(status(), 0x16, 'access flag, second level');
});

test('XN, PXN, WXN and UWXN: what may not be executed, IFSR and IFAR (B3.7.2)', () => {
  const bench = new Bench();
  const { core } = bench;
  bench.put(DATA, WFI);
  const goes = (page: number, rest = {}, bits = 0): boolean => {
    bench.translate(page, rest);
    core.set32(field.sctlr, (core.get32(field.sctlr) & ~(sctlr.WXN | sctlr.UWXN)) | bits);
    core.flushTlb();
    bench.setR(1, WINDOW);
    bench.run(supervisor, [0xe12fff11]);
    if (bench.mode === supervisor) return true;
    assert.deepEqual([core.get32(field.ifsr), core.get32(field.ifar)], [0x0f, WINDOW]);
    return false;
  };
  assert.equal(goes(small(3)), true);
  assert.equal(goes(small(3) | 1), false, 'XN');
  assert.equal(goes(small(3), { table: SECOND | (1 << 5) | 4 | 1 }), false, 'PXN');
  assert.equal(goes(small(1), {}, sctlr.UWXN), true);
  assert.equal(goes(small(3), {}, sctlr.UWXN), false, 'writable by User mode');
  // WXN is for the code's own section too, which therefore is read-only: AP 101.
  const readonly = RAM | (1 << 5) | (1 << 10) | (1 << 15) | 2;
  assert.equal(goes(small(5), { section: readonly }, sctlr.WXN), true);
  assert.equal(goes(small(1), { section: readonly }, sctlr.WXN), false);
});

test('TTBCR.N splits the addresses between TTBR0 and TTBR1, PD0 and PD1 turn walks off (B3.5.4)', () => {
  const bench = new Bench();
  const { core } = bench;
  bench.translate(small(3));
  core.set64(field.ttbr1, BigInt(FIRST));
  // N 2: TTBR0 for the lowest GiB, RAM is above it.
  core.set32(field.ttbcr, 2);
  core.set64(field.ttbr0, BigInt(FIRST));
  core.flushTlb();
  bench.setR(1, WINDOW);
  bench.run(supervisor, [load(0, 1)]);
  assert.equal(bench.mode, supervisor);
  core.set32(field.ttbcr, 2 | (1 << 4));
  core.flushTlb();
  bench.run(supervisor, [load(0, 1)]);
  assert.deepEqual([bench.mode, core.get32(field.dfsr)], [abort, 5]);
});

test('many values of DACR in turn keep their rights, in both tiers, over page ends', () => {
  for (const hotThreshold of tiers) {
    const bench = new Bench(hotThreshold);
    bench.translate(small(3), { table: SECOND | (2 << 5) | 1 });
    // The window's two pages lie in the other order.
    bench.put(SECOND, (DATA + 0x1000) | small(3), DATA | small(3));
    bench.put(DATA + 0x1ffc, 0x44332211);
    bench.put(DATA, 0x88776655);
    bench.setR(2, WINDOW + 0xffe);
    for (let turn = 0; turn < 24; turn++) {
      const mine = turn % 3 === 2 ? 0 : 1;
      const dacr = (1 << 2) | (mine << 4) | ((turn % 5) << 8);
      bench.setR(0, dacr);
      bench.run(supervisor, [mcr(0, 3, 0, 0, 0), load(1, 2)]);
      assert.equal(bench.mode, mine ? supervisor : abort, `turn ${turn}`);
      if (mine) assert.equal(bench.r(1), 0x66554433);
      else assert.equal(bench.core.get32(field.dfsr), 0x2b);
    }
  }
});

test('long descriptors: blocks and pages, rights, fault status and PAR of the long form (B3.6, B3.13.4)', () => {
  for (const hotThreshold of tiers) {
    const bench = new Bench(hotThreshold);
    const { core } = bench;
    const [LEVEL2, LEVEL3] = [FIRST + 0x1000, FIRST + 0x2000];
    const AF = 1n << 10n;
    const entry = (at: number, value: bigint) => bench.view.setBigUint64(at - RAM, value, true);
    const page = (bits: bigint, level = 3) => {
      entry(FIRST + 8, BigInt(RAM) | AF | 1n);
      entry(FIRST, BigInt(LEVEL2) | 3n);
      entry(LEVEL2, level === 3 ? BigInt(LEVEL3) | 3n : bits);
      entry(LEVEL3 + 8 * (WINDOW >>> 12), bits);
      core.set64(field.ttbr0, BigInt(FIRST));
      core.set32(field.ttbcr, 1 << 31);
      core.set32(field.sctlr, core.get32(field.sctlr) | sctlr.M);
      core.flushTlb();
      core.updateMode();
    };
    const run = (word: number): number => {
      bench.setR(1, WINDOW + 8);
      bench.run(supervisor, [word]);
      return bench.mode === abort ? core.get32(field.dfsr) : -1;
    };
    const [READONLY, USER] = [1n << 7n, 1n << 6n];
    const [STRT, LDRT] = [0xe4a10000, 0xe4b10000];
    bench.put(DATA + 8, 0x1234);
    page(BigInt(DATA) | AF | 3n);
    assert.equal(run(load(0, 1)), -1);
    assert.equal(bench.r(0), 0x1234);
    assert.equal(run(LDRT), 0x20f, 'permission, level 3');
    page(BigInt(DATA) | AF | USER | READONLY | 3n);
    assert.equal(run(LDRT), -1);
    assert.equal(run(store(0, 1)), 0xa0f);
    page(BigInt(DATA) | AF | USER | 3n);
    assert.equal(run(STRT), -1);
    page(BigInt(DATA) | 3n);
    assert.equal(run(load(0, 1)), 0x20b, 'access flag, level 3');
    page(BigInt(DATA) | AF | 1n);
    assert.equal(run(load(0, 1)), 0x207, 'what is no page is reserved at the last level');
    page(0n, 2);
    assert.equal(run(load(0, 1)), 0x206);
    entry(FIRST, 0n);
    core.flushTlb();
    assert.equal(run(load(0, 1)), 0x205);
    // A block of 2 MiB, whose upper addresses show RAM's beginning.
    page((BigInt(RAM) & ~0x1fffffn) | AF | 1n, 2);
    bench.setR(1, DATA - RAM + 8);
    bench.run(supervisor, [load(0, 1)]);
    assert.deepEqual([bench.mode, bench.r(0)], [supervisor, 0x1234]);
    // XN and PXN: bits 54 and 53.
    for (const [bit, word] of [
      [54n, 0x20f],
      [53n, 0x20f],
    ] as const) {
      page(BigInt(DATA) | AF | 3n | (1n << bit));
      bench.setR(1, WINDOW);
      bench.run(supervisor, [0xe12fff11]);
      assert.deepEqual([bench.mode, bench.vector, core.get32(field.ifsr)], [abort, 12, word]);
    }
    // APTable: nothing below a table may be written, or read by User mode.
    page(BigInt(DATA) | AF | USER | 3n);
    entry(FIRST, BigInt(LEVEL2) | 3n | (1n << 62n));
    core.flushTlb();
    assert.equal(run(store(0, 1)), 0xa0f);
    entry(FIRST, BigInt(LEVEL2) | 3n | (1n << 61n));
    core.flushTlb();
    assert.equal(run(LDRT), 0x20f);
    // ATS1CPR, and PAR by MRRC p15, 0, r2, r3, c7.
    page(BigInt(DATA) | AF | 3n);
    bench.setR(1, WINDOW + 0x123);
    bench.run(supervisor, [mcr(1, 7, 0, 8, 0), 0xec532f07]);
    assert.deepEqual([bench.r(2) & 0xfffff001, bench.r(2) & 0x800], [DATA, 0x800]);
    page(0n);
    bench.run(supervisor, [mcr(1, 7, 0, 8, 0), 0xec532f07]);
    assert.equal(bench.r(2) & 0x87f, 0x800 | (7 << 1) | 1);
  }
});

test('long descriptors: T0SZ and T1SZ, and the hole between the two ranges (B3.6.4)', () => {
  const bench = new Bench();
  const { core } = bench;
  const entry = (at: number, value: bigint) => bench.view.setBigUint64(at - RAM, value, true);
  // T0SZ 1: 2 GiB, two entries of level 1. T1SZ 3: the last 512 MiB, a table of level 2.
  entry(FIRST + 8, BigInt(RAM) | 0x401n);
  entry(SECOND + 8 * 255, BigInt(RAM) | 0x401n);
  core.set64(field.ttbr0, BigInt(FIRST));
  core.set64(field.ttbr1, BigInt(SECOND));
  core.set32(field.ttbcr, (1 << 31) | 1 | (3 << 16));
  core.set32(field.sctlr, core.get32(field.sctlr) | sctlr.M);
  core.flushTlb();
  core.updateMode();
  const read = (va: number): number => {
    bench.setR(1, va);
    bench.run(supervisor, [load(0, 1)]);
    return bench.mode === abort ? core.get32(field.dfsr) : bench.r(0);
  };
  bench.put(DATA, 0x5678);
  assert.equal(read(DATA), 0x5678);
  assert.equal(read((0xffe00000 + DATA - RAM) >>> 0), 0x5678);
  assert.equal(read(0x80000000), 0x205, 'in neither range');
  core.set32(field.ttbcr, (1 << 31) | 1 | (3 << 16) | (1 << 23));
  core.flushTlb();
  assert.equal(read((0xffe00000 + DATA - RAM) >>> 0), 0x205, 'EPD1');
});

test('alignment: always for LDM, LDRD, exclusives; for all accesses with SCTLR.A; DFSR 1 (A3.2.1)', () => {
  for (const hotThreshold of tiers) {
    const bench = new Bench(hotThreshold);
    const { core } = bench;
    const status = (word: number): number => {
      bench.setR(1, DATA + 2);
      bench.run(supervisor, [word]);
      if (bench.mode !== abort) return -1;
      assert.equal(core.get32(field.dfar), DATA + 2);
      return core.get32(field.dfsr);
    };
    const [LDRH, LDM, STM, LDRD, LDREX] = [0xe1d100b0, 0xe8910005, 0xe8810005, 0xe1c120d0, 0xe1910f9f];
    assert.deepEqual([load(0, 1), LDRH].map(status), [-1, -1]);
    assert.deepEqual([LDM, STM, LDRD, LDREX].map(status), [0x001, 0x801, 0x001, 0x001]);
    core.set32(field.sctlr, core.get32(field.sctlr) | sctlr.A);
    core.updateMode();
    assert.deepEqual([load(0, 1), store(0, 1), LDRH].map(status), [0x001, 0x801, -1]);
  }
});

test('addresses of accesses wrap around at 4 GiB, and aborts name them in 32 bits', () => {
  for (const hotThreshold of tiers) {
    const bench = new Bench(hotThreshold);
    bench.translate(small(3));
    // The data's page is seen at address 0, and nothing above the tables' first megabyte.
    bench.put(FIRST, SECOND | (1 << 5) | 1);
    bench.put(SECOND, DATA | small(3));
    for (let round = 0; round < 4; round++) {
      bench.put(DATA, 0x11111111, 0x22222222, 0x33333333, 0x44444444);
      bench.setR(1, 0xfffffff0);
      bench.setR(2, 0x18);
      // LDR R4, [R1, R2]; LDMIB R7, {R5, R6}, of which both lie behind the end.
      bench.setR(7, 0xfffffffc);
      bench.run(supervisor, [load(3, 1, 16), store(3, 1, 28), 0xe7914002, 0xe9970060]);
      assert.deepEqual(
        [3, 4, 5, 6].map((n) => bench.r(n)),
        [0x11111111, 0x33333333, 0x11111111, 0x22222222],
      );
      assert.equal(bench.word(DATA + 12), 0x11111111);
      // LDR R3, [R1, #-8].
      bench.setR(1, 4);
      bench.run(supervisor, [0xe5113008]);
      assert.equal(bench.mode, abort);
      assert.equal(bench.core.get32(field.dfar) >>> 0, 0xfffffffc);
    }
  }
});

test('CP15: what User mode may read and write, and what is undefined (B3.17)', () => {
  const bench = new Bench();
  const undefinedIn = (mode: number, word: number): boolean => {
    bench.run(mode, [word]);
    return bench.mode === undef;
  };
  // TPIDRURW, TPIDRURO, TPIDRPRW; barriers by CP15; SCTLR; MIDR.
  for (const [word, inUser, inSystem] of [
    [mrc(0, 13, 0, 0, 2), false, false],
    [mcr(0, 13, 0, 0, 2), false, false],
    [mrc(0, 13, 0, 0, 3), false, false],
    [mcr(0, 13, 0, 0, 3), true, false],
    [mrc(0, 13, 0, 0, 4), true, false],
    [mcr(0, 7, 0, 5, 4), false, false],
    [mcr(0, 7, 0, 10, 4), false, false],
    [mcr(0, 7, 0, 10, 5), false, false],
    [mcr(0, 7, 0, 5, 0), true, false],
    [mrc(0, 1, 0, 0, 0), true, false],
    [mrc(0, 0, 0, 0, 0), true, false],
    // Read-only, write-only, and not there.
    [mcr(0, 0, 0, 0, 1), true, true],
    [mrc(0, 8, 0, 7, 0), true, true],
    [mrc(0, 15, 7, 15, 7), true, true],
    // Other coprocessors.
    [0xee100310, true, true],
  ] as const) {
    assert.equal(undefinedIn(user, word), inUser, `User mode ${word.toString(16)}`);
    assert.equal(undefinedIn(system, word), inSystem, word.toString(16));
  }
  // The counter is there for User mode by CNTKCTL.
  const CNTVCT = 0xec510f1e;
  assert.equal(undefinedIn(user, CNTVCT), true);
  bench.core.set32(field.cntkctl, 2);
  assert.equal(undefinedIn(user, CNTVCT), false);
});

test('floating point: CPACR and FPEXC.EN enable it, VMRS of FPEXC and MVFR0 is privileged (B1.11)', () => {
  const bench = new Bench();
  const { core } = bench;
  const [VADD, VMRS_FPEXC, VMRS_FPSCR] = [0xee300a01, 0xeef80a10, 0xeef10a10];
  const undefinedIn = (mode: number, word: number): boolean => {
    bench.run(mode, [word]);
    return bench.mode === undef;
  };
  assert.deepEqual(
    [VADD, VMRS_FPEXC, VMRS_FPSCR].map((word) => undefinedIn(system, word)),
    [true, true, true],
  );
  // MCR CPACR: for privileged code alone.
  bench.setR(0, 5 << 20);
  bench.run(supervisor, [mcr(0, 1, 0, 0, 2)]);
  assert.deepEqual(
    [VADD, VMRS_FPEXC, VMRS_FPSCR].map((word) => undefinedIn(system, word)),
    [true, false, true],
  );
  // VMSR FPEXC, R0.
  bench.setR(0, 1 << 30);
  bench.run(supervisor, [0xeee80a10]);
  assert.deepEqual(
    [VADD, VMRS_FPSCR].map((word) => undefinedIn(system, word)),
    [false, false],
  );
  assert.equal(undefinedIn(user, VADD), true);
  bench.setR(0, 15 << 20);
  bench.run(supervisor, [mcr(0, 1, 0, 0, 2)]);
  assert.deepEqual(
    [VADD, VMRS_FPSCR].map((word) => undefinedIn(user, word)),
    [false, false],
  );
  assert.equal(undefinedIn(user, VMRS_FPEXC), true);
  assert.equal(core.get32(field.cpacr) >>> 20, 15);
});

test('MSR and CPS in User mode change flags alone; MSR of SPSR needs one; banked registers by MRS and MSR (B9.3.9)', () => {
  const bench = new Bench();
  const { core } = bench;
  // MSR CPSR_fc, R0 with another mode; CPS #SVC.
  bench.setR(0, 0xf0000000 | supervisor);
  bench.run(user, [0xe129f000, 0xf1020013]);
  assert.equal(core.cpsr >>> 0, (0xf0000000 | user | MASKS) >>> 0);
  bench.run(system, [0xe16ff000]);
  assert.equal(bench.mode, undef);
  // MRS R2, SP_irq; MSR SPSR_fiq, R0; MRS R3, SPSR_fiq; MRS R4, LR_usr.
  core.setPstate(irq | MASKS);
  bench.setR(13, 0xabc);
  core.setPstate(system | MASKS);
  bench.setR(14, 0xdef);
  bench.run(supervisor, [0xe1012300, 0xe16ef200, 0xe14e3200, 0xe1064200]);
  assert.deepEqual([bench.r(2), bench.r(3), bench.r(4)], [0xabc, bench.r(0), 0xdef]);
  bench.run(user, [0xe1012300]);
  assert.equal(bench.mode, undef);
});

test('HVC and SMC reach the board with their numbers from privileged code, and give 32 bits', () => {
  const bench = new Bench();
  bench.run(supervisor, [0xe1412374, 0xe1600075]);
  assert.deepEqual(bench.calls, ['hvc 4660', 'smc 5']);
  assert.equal(bench.core.get64(reg[0].offset), 0xfffffffen);
  bench.run(user, [0xe1400070]);
  assert.deepEqual([bench.mode, bench.calls.length], [undef, 2]);
});

test('performance monitors: increments, sets of counters, what User mode may do (B4.1, C12)', () => {
  const bench = new Bench();
  const PMUSERENR = [9, 0, 14, 0] as const;
  for (const [n, value] of [0x80000003, 1, 0xfffffff0, 7, 0].entries()) bench.setR(n, value);
  bench.run(cpuMode.supervisor, [
    mcr(0, 9, 0, 12, 1),
    mcr(4, 9, 0, 12, 5),
    mcr(4, 9, 0, 13, 1),
    mcr(2, 9, 0, 13, 2),
    mcr(2, 9, 0, 13, 0),
    mcr(1, 9, 0, 12, 0),
    ...Array.from({ length: 17 }, () => mcr(3, 9, 0, 12, 4)),
    mrc(5, 9, 0, 13, 2),
    mrc(6, 9, 0, 12, 3),
    mrc(7, 9, 0, 12, 2),
    mrc(8, 9, 0, 12, 0),
    mrc(9, 9, 0, 13, 0),
    mrc(10, 9, 0, 12, 6),
  ]);
  // Time stands still.
  assert.deepEqual(
    [5, 6, 7, 8, 9, 10].map((n) => bench.r(n)),
    [1, 1, 0x80000003, 0x410f3001, 0xfffffff0, 0x20001],
  );
  const asUser = () => {
    bench.setR(9, 0);
    bench.run(cpuMode.user, [mrc(9, 9, 0, 13, 0)]);
    return bench.r(9);
  };
  assert.equal(asUser(), 0, 'undefined');
  bench.run(cpuMode.supervisor, [mcr(1, ...PMUSERENR)]);
  assert.equal(asUser(), 0xfffffff0);
});
