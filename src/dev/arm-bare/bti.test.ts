/**
 * Branch target identification against QEMU: what lands where. Indirect branches of each kind and exception returns with each BTYPE, from
 * pages that are guarded and from others, to each kind of instruction; several times over, so that the compiled tier has its share.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseArmCpu } from '../../guest/arm/models.js';
import { pstate } from '../../guest/arm/state.js';
import { CODE, DATA, instruction, OUT, Program, RAM } from './program.js';
import { bareUnavailable, end, type Numbers, runHere, runOnQemu } from './run.js';

const VECTORS = RAM + (4 << 20);
const TARGETS = RAM + (5 << 20);
/** The same memory once more at these distances: guarded, and guarded for EL0. */
const GUARDED = 0x4000_0000;
const GUARDED_USER = 0x8000_0000;
const ROUNDS = 12;
const RECORD = 3;
const [SCRATCH, OUTPUT, ROUND, CONTINUE] = [10, 21, 19, 28];
const EL1 = pstate.DAIF | 5;
const EL0 = pstate.DAIF;
const BT = { 0: 1n << 35n, 1: 1n << 36n } as const;
const SCTLR = 0x30d0_0801n;
const branchTarget = 0x0d;
const brk = 0x3c;

const targets: readonly (readonly [string, number])[] = [
  ['nop', instruction('hint imm')],
  ['bti', instruction('bti')],
  ['bti c', instruction('bti.c')],
  ['bti j', instruction('bti.j')],
  ['bti jc', instruction('bti.jc')],
  ['paciasp', instruction('paciasp')],
  ['pacibsp', instruction('pacibsp')],
  ['paciaz', instruction('paciaz')],
  ['brk', instruction('brk imm', { imm: 3 })],
  ['hlt', 0xd440_0020],
  ['no instruction', 0],
];
const branches: readonly (readonly [string, number])[] = [
  ['br x1', instruction('br xn', { rn: 1 })],
  ['br x16', instruction('br xn', { rn: 16 })],
  ['br x17', instruction('br xn', { rn: 17 })],
  ['blr x1', instruction('blr xn', { rn: 1 })],
  ['ret x1', instruction('ret xn', { rn: 1 })],
  ['braaz x1', instruction('braaz xn', { rn: 1 })],
  ['blraaz x1', instruction('blraaz xn', { rn: 1 })],
];

function program(): { readonly p: Program; readonly names: readonly string[]; readonly numbers: readonly Numbers[] } {
  const p = new Program();
  const names: string[] = [];
  p.here = VECTORS;
  for (let vector = 0; vector < 16; vector++) {
    p.here = VECTORS + 0x80 * vector;
    p.branch('b', VECTORS + 0x800);
  }
  p.here = VECTORS + 0x800;
  for (const name of ['ESR_EL1', 'SPSR_EL1', 'ELR_EL1']) {
    p.mrs(SCRATCH, name);
    p.next('str', SCRATCH, OUTPUT);
  }
  p.msr('ELR_EL1', CONTINUE);
  p.set(SCRATCH, EL1);
  p.msr('SPSR_EL1', SCRATCH);
  p.put('eret');
  // Each target, and behind it a call, 16 bytes apart; then each branch.
  p.here = TARGETS;
  const svc = instruction('svc imm', { imm: 9 });
  for (const [, word] of targets) for (const each of [word, svc, svc, svc]) p.word(each);
  const sources = p.here;
  for (const [, word] of branches) p.word(word);

  const table = DATA;
  const block = BigInt(RAM) | 0x401n;
  const GP = 1n << 50n;
  // AP: of EL0 and read-only.
  const numbers = [{ at: table, values: [0n, block, block | GP, block | GP | (3n << 6n)] }];
  p.here = CODE;
  p.write('VBAR_EL1', VECTORS);
  p.write('TTBR0_EL1', table);
  p.write('MAIR_EL1', 0xff);
  p.write('TCR_EL1', 25n | (1n << 23n) | (2n << 32n));
  p.write('SCTLR_EL1', SCTLR);
  p.put('isb imm', { imm: 15 });
  p.set(ROUND, ROUNDS);
  const loop = p.here;
  p.set(OUTPUT, OUT);
  const probe = (name: string, from: number, by: number, to: number): void => {
    for (const rd of [1, 16, 17]) p.set(rd, to);
    p.set(30, from + sources + 4 * by);
    p.set(CONTINUE, p.here + 8 * 4);
    const at = p.here;
    p.put('ret xn', { rn: 30 });
    while (p.here < at + 8 * 4) p.put('hint imm');
    names.push(name);
  };
  for (const bits of [0n, BT[1], BT[0]]) {
    p.write('SCTLR_EL1', SCTLR | bits);
    p.put('isb imm', { imm: 15 });
    const strict = `SCTLR ${bits.toString(16)}`;
    for (const [n, [target]] of targets.entries()) {
      for (const to of [0, GUARDED]) {
        for (const from of [0, GUARDED]) {
          for (const [by, [branch]] of branches.entries()) {
            const name = `${branch} at ${from.toString(16)} to ${target} at ${to.toString(16)}, ${strict}`;
            probe(name, from, by, to + TARGETS + 16 * n);
          }
        }
      }
      for (let type = 0; type < 4; type++) {
        for (const [mode, to] of [
          [EL1, GUARDED],
          [EL0, GUARDED_USER],
        ]) {
          p.set(SCRATCH, mode | (type << pstate.BTYPE_SHIFT));
          p.msr('SPSR_EL1', SCRATCH);
          p.set(SCRATCH, to + TARGETS + 16 * n);
          p.msr('ELR_EL1', SCRATCH);
          p.set(CONTINUE, p.here + 8 * 4);
          const at = p.here;
          p.put('eret');
          while (p.here < at + 8 * 4) p.put('hint imm');
          names.push(`eret with ${type} to ${target} at ${to.toString(16)}, ${strict}`);
        }
      }
    }
  }
  p.put('sub rd|sp, rn|sp, imm', { rd: ROUND, rn: ROUND, sf: 1, imm: 1 });
  // Farther than CBNZ reaches.
  p.put('cbz rd, target', { rd: ROUND, sf: 1, imm: 8 });
  p.branch('b', loop);
  end(p);
  return { p, names, numbers };
}

test('what lands on guarded pages, as in QEMU', { skip: bareUnavailable() ?? false }, () => {
  const { p, names, numbers } = program();
  const qemu = runOnQemu(p, numbers, 'max');
  const classes = new Set<number>();
  for (const threshold of [0, 2]) {
    const here = runHere(p, numbers, parseArmCpu('max'), threshold);
    const differences: string[] = [];
    for (const [n, name] of names.entries()) {
      const at = (k: number) => OUT - RAM + 8 * (n * RECORD + k);
      const [esr, spsr, elr] = [0, 1, 2].map((k) => here.getBigUint64(at(k), true));
      const [esrThere, spsrThere, elrThere] = [0, 1, 2].map((k) => qemu.getBigUint64(at(k), true));
      const type = Number(esr >> 26n);
      classes.add(type);
      // BTYPE is kept for these (AArch64.TakeException).
      const kept = type === branchTarget || type === brk ? -1n : ~BigInt(pstate.BTYPE);
      if (esr !== esrThere || elr !== elrThere || (spsr & kept) !== (spsrThere & kept))
        differences.push(
          `${name}: ${[esr, spsr, elr, esrThere, spsrThere, elrThere].map((value) => value.toString(16)).join(' ')}`,
        );
    }
    assert.deepEqual(differences.slice(0, 20), []);
  }
  assert.ok(classes.has(branchTarget) && classes.has(brk) && classes.size === 4, [...classes].join());
});
