/** Small extensions against QEMU: DIT, random numbers, maintenance to the point of deep persistence, prediction restriction, what tells of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseArmCpu } from '../../guest/arm/models.js';
import { pstate, sctlr } from '../../guest/arm/state.js';
import { codeOf } from '../../guest/arm/system/registers.js';
import { DATA, instruction, OUT, Program, RAM } from './program.js';
import { bareUnavailable, end, runHere, runOnQemu } from './run.js';

const VECTORS = RAM + (4 << 20);
const [OUTPUT, CONTINUE, SCRATCH] = [21, 28, 10];
const sys = (op1: number, crn: number, crm: number, op2: number, rd: number) =>
  instruction('sys imm, xd', { rd, imm: codeOf(1, op1, crn, crm, op2) & 0x3fff });
const CVADP = sys(3, 7, 13, 1, 1);
const restricted = [4, 5, 7].map((op2) => sys(3, 7, 3, op2, 1));
/** Fields of identification registers that vring has as QEMU does. */
const fields = [
  ['ID_AA64PFR0_EL1', 48],
  ['ID_AA64PFR1_EL1', 0],
  ['ID_AA64ISAR0_EL1', 60],
  ['ID_AA64ISAR1_EL1', 0],
  ['ID_AA64ISAR1_EL1', 40],
  ['ID_AA64MMFR1_EL1', 36],
  ['ID_AA64MMFR2_EL1', 48],
] as const;

function program(): { readonly p: Program; readonly names: readonly string[]; readonly random: readonly number[] } {
  const p = new Program();
  const names: string[] = [];
  const random: number[] = [];
  for (let vector = 0; vector < 16; vector++) {
    p.here = VECTORS + 0x80 * vector;
    p.branch('b', VECTORS + 0x800);
  }
  p.here = VECTORS + 0x800;
  for (const name of ['ESR_EL1', 'SPSR_EL1']) {
    p.mrs(SCRATCH, name);
    p.next('str', SCRATCH, OUTPUT);
  }
  p.write('SPSR_EL1', pstate.DAIF | 5);
  p.msr('ELR_EL1', CONTINUE);
  p.put('eret');
  p.here = RAM + (2 << 20);
  p.set(OUTPUT, OUT);
  p.set(1, DATA);
  p.write('VBAR_EL1', VECTORS);
  const keep = (name: string, rd = SCRATCH) => {
    p.next('str', rd, OUTPUT);
    names.push(name);
  };
  for (const [name, at] of fields) {
    p.mrs(SCRATCH, name);
    p.set(9, at);
    p.put('lsrv rd, rn, rm', { rd: SCRATCH, rn: SCRATCH, rm: 9, sf: 1 });
    p.set(9, 15);
    p.put('and rd, rn, rm, shift', { rd: SCRATCH, rn: SCRATCH, rm: 9, sf: 1 });
    keep(`${name}, bit ${at}`);
  }
  p.set(9, (1n << 64n) - 1n);
  p.msr('DIT', 9);
  p.mrs(SCRATCH, 'DIT');
  keep('DIT, all ones written');
  for (const imm of [0, 1]) {
    p.put('msr.dit imm', { imm });
    p.mrs(SCRATCH, 'DIT');
    keep(`DIT, ${imm} written`);
  }
  for (const name of ['RNDR', 'RNDRRS']) {
    // N and Z before it.
    p.set(9, 0xc000_0000);
    p.msr('NZCV', 9);
    p.mrs(2, name);
    p.mrs(SCRATCH, 'NZCV');
    keep(`flags behind ${name}`);
    random.push(names.length);
    keep(name, 2);
  }
  for (const word of [CVADP, ...restricted]) p.word(word);
  /** One instruction at EL0; what it raises, or a call. */
  const probe = (name: string, word: number, state: number, control: number) => {
    const code = p.here + 4 * 40;
    p.write('SCTLR_EL1', (0x30d0_0800 | control) >>> 0);
    p.set(CONTINUE, code + 8);
    p.write('ELR_EL1', code);
    p.write('SPSR_EL1', state);
    p.put('eret');
    assert.ok(p.here <= code);
    p.here = code;
    p.word(word);
    p.put('svc imm', { imm: 1 });
    names.push(`${name}: ESR`, `${name}: SPSR`);
  };
  const UCI = sctlr.UCI;
  for (const [n, word] of restricted.entries()) {
    probe(`RCTX ${n}, denied`, word, pstate.DAIF, 0);
    probe(`RCTX ${n}`, word, pstate.DAIF, sctlr.EnRCTX);
  }
  probe('CVADP, denied', CVADP, pstate.DAIF, 0);
  probe('CVADP', CVADP, pstate.DAIF, UCI);
  probe('DIT of EL0', instruction('hint imm'), pstate.DAIF | pstate.DIT, 0);
  probe('DIT cleared', instruction('msr.dit imm', { imm: 0 }), pstate.DAIF | pstate.DIT, 0);
  end(p);
  return { p, names, random };
}

test('DIT, RNDR, DC CVADP and RCTX as in QEMU', { skip: bareUnavailable() ?? false }, () => {
  const { p, names, random } = program();
  const qemu = runOnQemu(p, [], 'max');
  for (const threshold of [0, 2]) {
    const here = runHere(p, [], parseArmCpu('max'), threshold);
    const differences: string[] = [];
    for (const [n, name] of names.entries()) {
      const [mine, theirs] = [here, qemu].map((view) => view.getBigUint64(OUT - RAM + 8 * n, true));
      if (mine !== theirs && !random.includes(n))
        differences.push(`${name}: ${mine.toString(16)}, QEMU: ${theirs.toString(16)}`);
    }
    assert.deepEqual(differences, []);
  }
});
