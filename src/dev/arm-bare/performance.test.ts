/**
 * The performance monitors' registers after a row of writes, under QEMU and here; what counts time is compared by what must hold of it. Left
 * out is what a CPU with AArch32 has otherwise: who made it, and PMCR.LC, which is one where there is none.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseArmCpu } from '../../guest/arm/models.js';
import { seededRandom } from '../../hw/testing.js';
import { OUT, Program } from './program.js';
import { bareUnavailable, end, runHere, runOnQemu } from './run.js';

const BASE = 20;
const SCRATCH = 10;
const skip = bareUnavailable() ?? false;

/** What is written, with bits that may be: PMCR without E, so that only software counts, but for `counting`. */
const written: readonly (readonly [string, bigint])[] = [
  ['PMCNTENSET_EL0', 0xffffffffn],
  ['PMCNTENCLR_EL0', 0xffffffffn],
  ['PMOVSSET_EL0', 0xffffffffn],
  ['PMOVSCLR_EL0', 0xffffffffn],
  ['PMINTENSET_EL1', 0xffffffffn],
  ['PMINTENCLR_EL1', 0xffffffffn],
  ['PMSELR_EL0', 7n],
  ['PMUSERENR_EL0', 0xffn],
  ['PMXEVCNTR_EL0', 0xffffffffn],
  ['PMCCFILTR_EL0', 0xffffffffn],
  ['PMEVCNTR0_EL0', 0xffffffffn],
  ['PMEVCNTR3_EL0', 0xffffffffn],
  ['PMCCNTR_EL0', 0xffffffffffffffffn],
];
const read = [
  'PMCNTENSET_EL0',
  'PMCNTENCLR_EL0',
  'PMOVSSET_EL0',
  'PMOVSCLR_EL0',
  'PMINTENSET_EL1',
  'PMINTENCLR_EL1',
  'PMSELR_EL0',
  'PMUSERENR_EL0',
  'PMXEVCNTR_EL0',
  'PMCCFILTR_EL0',
  ...[0, 1, 3, 5].map((n) => `PMEVCNTR${n}_EL0`),
  'PMCCNTR_EL0',
];

test("the performance monitors' registers are as QEMU's", { skip }, () => {
  const seed = Math.floor(Date.now() / 86_400_000);
  const random = seededRandom(seed);
  const p = new Program();
  const names: string[] = [];
  p.set(BASE, OUT);
  const keep = (what: string) => {
    names.push(what);
    p.next('str', SCRATCH, BASE);
  };
  for (let round = 0; round < 60; round++) {
    const [name, bits] = written[random(written.length)];
    const value =
      (BigInt(random(0x10000)) | (BigInt(random(0x10000)) << 16n) | (BigInt(random(0x10000)) << 32n)) & bits;
    p.write(name, value);
    for (const each of read) {
      p.mrs(SCRATCH, each);
      keep(`seed ${seed}, ${name} = ${value.toString(16)} in round ${round}: ${each}`);
    }
  }
  // Software increments of the counters that are told to, up to an overflow.
  p.write('PMCNTENCLR_EL0', 0xffffffffn);
  p.write('PMCNTENSET_EL0', 0b1011n);
  for (const n of [0, 1, 2, 3]) {
    p.write(`PMEVTYPER${n}_EL0`, n === 1 ? 0x24n : 0n);
    p.write(`PMEVCNTR${n}_EL0`, n === 3 ? 0xffffffffn : 5n);
  }
  p.write('PMOVSCLR_EL0', 0xffffffffn);
  p.write('PMCR_EL0', 1n);
  p.write('PMSWINC_EL0', 0b1111n);
  p.write('PMSWINC_EL0', 0b0001n);
  for (const each of [...[0, 1, 2, 3].map((n) => `PMEVCNTR${n}_EL0`), 'PMOVSCLR_EL0']) {
    p.mrs(SCRATCH, each);
    keep(`after increments: ${each}`);
  }
  // P clears the event counters, C the other one, which stands still without E.
  p.write('PMCR_EL0', 6n);
  for (const each of ['PMEVCNTR0_EL0', 'PMEVCNTR3_EL0', 'PMCCNTR_EL0']) {
    p.mrs(SCRATCH, each);
    keep(`after PMCR.P and C: ${each}`);
  }
  p.mrs(SCRATCH, 'PMCR_EL0');
  p.put('ubfm rd, rn, imm2, imm', { rd: SCRATCH, rn: SCRATCH, sf: 1, imm2: 11, imm: 15, s: 1 });
  keep('PMCR.N');
  end(p);
  const qemu = runOnQemu(p, [], 'cortex-a57');
  const ours = runHere(p, [], parseArmCpu('cortex-a57'));
  for (const [n, name] of names.entries()) {
    const [a, b] = [ours, qemu].map((view) => view.getBigUint64(OUT - 0x40000000 + 8 * n, true).toString(16));
    assert.equal(a, b, name);
  }
});
