/**
 * Self-hosted debugging against QEMU: software step, breakpoints and watchpoints. Each probe runs at EL0, or at EL1 where EL1 debugs
 * itself; the vectors record every exception, arm the step again or clear what was hit, and go on until a call that ends the probe.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseArmCpu } from '../../guest/arm/models.js';
import { pstate } from '../../guest/arm/state.js';
import { CODE, DATA, instruction, OUT, Program, RAM } from './program.js';
import { bareUnavailable, end, runHere, runOnQemu } from './run.js';

const VECTORS = RAM + (4 << 20);
const RECORD = 4;
const [SCRATCH, CLASS, OUTPUT, ROUND, CONTINUE] = [10, 11, 21, 19, 28];
const ROUNDS = 4;
const END = 9;
const EL0 = pstate.DAIF;
const EL1 = (pstate.DAIF & ~pstate.D) | 5;
const MASKED = pstate.DAIF | 5;
const mdscr = { SS: 1, KDE: 1 << 13, MDE: 1 << 15 } as const;
const E = 1;
const ec = { svc: 0x15, breakpoint: 0x30, step: 0x32, watchpoint: 0x34, brk: 0x3c, unknown: 0 } as const;

const call = (imm: number) => instruction('svc imm', { imm });
const nop = instruction('hint imm');
const add = instruction('add rd|sp, rn|sp, imm', { rd: 2, rn: 2, sf: 1, imm: 1 });
const ldr = (text: string, imm = 0) => instruction(text, { rd: 3, rn: 1, imm });

class Probes extends Program {
  constructor() {
    super();
    this.here = VECTORS;
    for (let vector = 0; vector < 16; vector++) {
      this.here = VECTORS + 0x80 * vector;
      this.branch('b', VECTORS + 0x800);
    }
    this.here = VECTORS + 0x800;
    for (const name of ['ESR_EL1', 'ELR_EL1', 'SPSR_EL1', 'FAR_EL1']) {
      this.mrs(SCRATCH, name);
      this.next('str', SCRATCH, OUTPUT);
    }
    this.mrs(CLASS, 'ESR_EL1');
    this.#unless((1 << 25) | (ec.svc << 26) | END, () => {
      this.msr('ELR_EL1', CONTINUE);
      this.write('MDSCR_EL1', 0);
      this.write('SPSR_EL1', MASKED);
    });
    this.set(9, 26);
    this.put('lsrv rd, rn, rm', { rd: CLASS, rn: CLASS, rm: 9, sf: 1 });
    for (const same of [0, 1]) {
      this.#unless(ec.step + same, () => {
        this.mrs(SCRATCH, 'SPSR_EL1');
        this.set(9, pstate.SS);
        this.put('orr rd, rn, rm, shift', { rd: SCRATCH, rn: SCRATCH, rm: 9, sf: 1 });
        this.msr('SPSR_EL1', SCRATCH);
      });
      this.#unless(ec.breakpoint + same, () => this.msr('DBGBCR0_EL1', 31));
      this.#unless(ec.watchpoint + same, () => this.msr('DBGWCR0_EL1', 31));
    }
    for (const code of [ec.brk, ec.unknown])
      this.#unless(code, () => {
        this.mrs(SCRATCH, 'ELR_EL1');
        this.put('add rd|sp, rn|sp, imm', { rd: SCRATCH, rn: SCRATCH, sf: 1, imm: 4 });
        this.msr('ELR_EL1', SCRATCH);
      });
    this.put('eret');
    this.here = CODE;
  }

  /** What is done where X11 is a value. */
  #unless(value: number, body: () => void): void {
    this.set(9, value);
    this.put('subs rd, rn, rm, shift', { rd: 9, rn: 9, rm: CLASS, sf: 1 });
    const at = this.here;
    this.here += 4;
    body();
    const behind = this.here;
    this.here = at;
    this.branch('cbnz rd', behind, { rd: 9, sf: 1 });
    this.here = behind;
  }

  /** `setUp` writes registers, given where the words will lie. */
  probe(mode: number, words: readonly number[], setUp: (at: number) => void): void {
    const from = this.here;
    const code = from + 4 * 48;
    this.here = from;
    this.set(1, DATA);
    this.set(CONTINUE, code + 4 * (words.length + 1));
    this.write('ELR_EL1', code);
    this.write('SPSR_EL1', mode);
    setUp(code);
    this.put('eret');
    assert.ok(this.here <= code);
    this.here = code;
    for (const word of [...words, call(END)]) this.word(word);
  }
}

function program(): Probes {
  const p = new Probes();
  p.write('VBAR_EL1', VECTORS);
  p.msr('OSLAR_EL1', 31);
  p.write('CPACR_EL1', 3 << 20);
  p.set(ROUND, ROUNDS);
  const loop = p.here;
  p.set(OUTPUT, OUT);
  const at = (at: number, distance: number, text: string, more: object = {}) =>
    instruction(text, { ...more, imm: distance - at });
  const stepped: readonly (readonly number[])[] = [
    [nop, add, add],
    [
      at(0, 8, 'b target'),
      add,
      at(0, 8, 'cbz rd, target', { rd: 31, sf: 1 }),
      add,
      at(0, 8, 'cbnz rd, target', { rd: 31 }),
      add,
    ],
    [
      instruction('movz rd, imm, hw', { rd: 4, imm: 3, sf: 1 }),
      instruction('subs rd, rn|sp, imm', { rd: 4, rn: 4, sf: 1, imm: 1 }),
      at(0, -4, 'b. cond, target', { cond: 1 }),
    ],
    [call(1), add, instruction('brk imm', { imm: 4 }), add, 0, add],
    [
      instruction('ldxr xd, [rn]', { rd: 3, rn: 1 }),
      instruction('ldaxr wd, [rn]', { rd: 3, rn: 1 }),
      instruction('clrex'),
      ldr('str xd, [rn, imm]'),
      ldr('ldr xd, [rn, imm]'),
    ],
  ];
  for (const ss of [pstate.SS, 0])
    for (const words of stepped) p.probe(EL0 | ss, words, () => p.write('MDSCR_EL1', mdscr.SS));
  for (const control of [mdscr.SS | mdscr.KDE, mdscr.SS]) {
    // EL1 steps itself.
    const words = [add, add, instruction('msr.daifclr imm', { imm: 8 }), add, call(1), add];
    for (const mode of [EL1 | pstate.SS, EL1, MASKED | pstate.SS])
      p.probe(mode, words, () => p.write('MDSCR_EL1', control));
  }
  const F = 0xf << 5;
  const levels = [
    ['EL0', EL0, 2 << 1],
    ['EL1', EL1, 1 << 1],
  ] as const;
  for (const [, mode, which] of levels) {
    for (const [, , controlled] of levels) {
      for (const kde of [0, mdscr.KDE]) {
        p.probe(mode, [add, add, add], (code) => {
          p.write('DBGBVR0_EL1', code + 4);
          p.write('DBGBCR0_EL1', E | controlled | F);
          p.write('MDSCR_EL1', mdscr.MDE | kde);
        });
      }
    }
    // By context, in a breakpoint that another is linked to.
    for (const context of [0x55, 0x66]) {
      p.probe(mode, [add, add, add], (code) => {
        p.write('CONTEXTIDR_EL1', 0x55);
        p.write('DBGBVR5_EL1', context);
        p.write('DBGBCR5_EL1', E | (3 << 1) | F | (3 << 20));
        p.write('DBGBVR0_EL1', code + 8);
        p.write('DBGBCR0_EL1', E | which | F | (1 << 20) | (5 << 16));
        p.write('MDSCR_EL1', mdscr.MDE | mdscr.KDE);
      });
    }
    const accesses = [
      [ldr('ldr xd, [rn, imm]', 8)],
      [ldr('str wd, [rn, imm]', 12)],
      [ldr('ldrb wd, [rn, imm]', 11)],
      [ldr('strb wd, [rn, imm]', 9)],
      [instruction('ldp xd, xa, [rn, imm]', { rd: 3, ra: 4, rn: 1, imm: 0 })],
      [instruction('str qd, [rn, imm]', { rd: 0, rn: 1, imm: 0 })],
      [ldr('ldr wd, [rn, imm]', 16)],
      [instruction('ldr xd, [rn, imm]', { rd: 3, rn: 1, imm: 0 }), ldr('str xd, [rn, imm]', 8)],
    ];
    // Loads, stores, both; a doubleword, its upper word, one byte of it, 16 bytes by a mask.
    for (const kind of [1, 2, 3]) {
      for (const [value, select] of [
        [DATA + 8, 0xff << 5],
        [DATA + 12, 0xf << 5],
        [DATA + 8, 1 << (5 + 1)],
        [DATA, (0xff << 5) | (4 << 24)],
      ]) {
        for (const words of accesses) {
          p.probe(mode, words, () => {
            p.write('DBGWVR0_EL1', value);
            p.write('DBGWCR0_EL1', E | which | (kind << 3) | select);
            p.write('MDSCR_EL1', mdscr.MDE | mdscr.KDE);
          });
        }
      }
    }
  }
  p.put('sub rd|sp, rn|sp, imm', { rd: ROUND, rn: ROUND, sf: 1, imm: 1 });
  p.put('cbz rd, target', { rd: ROUND, sf: 1, imm: 8 });
  p.branch('b', loop);
  end(p);
  return p;
}

test('steps, breakpoints and watchpoints as in QEMU', { skip: bareUnavailable() ?? false }, () => {
  const p = program();
  const qemu = runOnQemu(p, [], 'max');
  for (const threshold of [0, 2]) {
    const here = runHere(p, [], parseArmCpu('max'), threshold);
    const classes = new Map<number, number>();
    for (let n = 0; ; n++) {
      const record = (view: DataView) =>
        Array.from({ length: RECORD }, (_, k) => view.getBigUint64(OUT - RAM + 8 * (n * RECORD + k), true));
      const [mine, theirs] = [record(here), record(qemu)];
      const code = Number(theirs[0] >> 26n);
      const isWatch = code === ec.watchpoint || code === ec.watchpoint + 1;
      const text = (values: readonly bigint[]) =>
        values.slice(0, isWatch ? 4 : 3).map((value, k) => `${['ESR', 'ELR', 'SPSR', 'FAR'][k]} ${value.toString(16)}`);
      assert.deepEqual(text(mine), text(theirs), `record ${n}`);
      if (theirs[1] === 0n) break;
      classes.set(code, (classes.get(code) ?? 0) + 1);
    }
    for (const code of [ec.breakpoint, ec.step, ec.watchpoint])
      for (const same of [0, 1]) assert.ok((classes.get(code + same) ?? 0) > 1, `class ${code + same}`);
  }
});
