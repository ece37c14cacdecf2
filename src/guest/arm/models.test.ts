import assert from 'node:assert/strict';
import { test } from 'node:test';
import { featureNames } from './features.js';
import { armCpuHelp, parseArmCpu } from './models.js';
import { identification } from './system/identification.js';

/** A field of an identification register of a model. */
function fieldOf(model: string, name: string, place: number): number {
  const row = identification.find(([register]) => register === name);
  assert.ok(row, name);
  return Number((row[2](parseArmCpu(model)) >> BigInt(place)) & 15n);
}

test('-cpu names a model; what is wrong is said in one sentence', () => {
  assert.equal(parseArmCpu('cortex-a72').midr, 0x410fd083);
  // EL2 and EL3 are the board's to give.
  assert.equal(parseArmCpu('max').features.size, featureNames.length - 2);
  assert.equal(parseArmCpu('max,sve=off,pauth=off').features.has('pauth'), false);
  assert.throws(() => parseArmCpu('max,pauth=off,pauth-impdef=on'), { message: /'pauth-impdef' needs pauth/ });
  assert.throws(() => parseArmCpu('cortex-a72,pauth=on'), { message: /no CPU property 'pauth'/ });
  assert.throws(() => parseArmCpu('cortex-a15'), {
    code: 'cpu-option',
    message: /'cortex-a15' is not supported yet; there are max/,
  });
  assert.throws(() => parseArmCpu('z80'), { code: 'cpu-option', message: /'z80' is none of AArch64/ });
  assert.throws(() => parseArmCpu('max,sve=on'), { message: /'sve' is not supported yet/ });
  assert.throws(() => parseArmCpu('max,sve=3'), { message: /is on or off here, not '3'/ });
  assert.throws(() => parseArmCpu('max,aarch64=off'), { message: /cannot be turned off/ });
  assert.throws(() => parseArmCpu('max,xyz=on'), { message: /no CPU property 'xyz'/ });
  for (const name of ['max', 'cortex-a53', 'cortex-a57', 'cortex-a72', 'cortex-a76', 'neoverse-n1'])
    assert.match(armCpuHelp(), new RegExp(`  ${name} `));
});

test('identification registers tell of a model what it has (D19.2)', () => {
  const isar0 = 'ID_AA64ISAR0_EL1';
  // AES with PMULL, SHA-1, SHA-256 without and with SHA-512, CRC32, Atomic, RDM, SHA-3, DotProd, FlagM2, RNDR.
  const expected = [
    ['cortex-a53', 2, 1, 1, 1, 0, 0, 0, 0, 0, 0],
    ['cortex-a57', 2, 1, 1, 1, 0, 0, 0, 0, 0, 0],
    ['cortex-a72', 2, 1, 1, 1, 0, 0, 0, 0, 0, 0],
    ['neoverse-n1', 2, 1, 1, 1, 2, 1, 0, 1, 0, 0],
    ['max', 2, 1, 2, 1, 2, 1, 1, 1, 2, 1],
  ] as const;
  for (const [model, ...values] of expected) {
    for (const [n, place] of [4, 8, 12, 16, 20, 28, 32, 44, 52, 60].entries())
      assert.equal(fieldOf(model, isar0, place), values[n], `${model}, bit ${place}`);
  }
  assert.deepEqual(
    // FP, AdvSIMD, RAS.
    ['cortex-a72', 'neoverse-n1'].map((model) => [16, 20, 28].map((place) => fieldOf(model, 'ID_AA64PFR0_EL1', place))),
    [
      [0, 0, 0],
      [1, 1, 1],
    ],
  );
  // DPB and DPB2, JSCVT, FCMA, LRCPC, FRINTTS, SB, SPECRES.
  const isar1 = (model: string) =>
    [0, 12, 16, 20, 32, 36, 40].map((place) => fieldOf(model, 'ID_AA64ISAR1_EL1', place));
  assert.deepEqual(isar1('cortex-a72'), [0, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual(isar1('neoverse-n1'), [1, 0, 0, 1, 0, 0, 0]);
  assert.deepEqual(isar1('max'), [2, 1, 1, 2, 1, 1, 1]);
  // APA and API, GPA and GPI: the architected algorithm, or another one.
  const pauth = (model: string) => [4, 8, 24, 28].map((place) => fieldOf(model, 'ID_AA64ISAR1_EL1', place));
  assert.deepEqual(pauth('neoverse-n1'), [0, 0, 0, 0]);
  assert.deepEqual(pauth('max'), [1, 0, 1, 0]);
  assert.deepEqual(pauth('max,pauth-impdef=on'), [0, 1, 0, 1]);
  assert.deepEqual(pauth('max,pauth=off'), [0, 0, 0, 0]);
  // HAFDBS, HPDS, PAN; UAO, SSBS.
  const mmfr1 = (model: string) => [0, 12, 20].map((place) => fieldOf(model, 'ID_AA64MMFR1_EL1', place));
  assert.deepEqual(mmfr1('cortex-a53'), [0, 0, 0]);
  assert.deepEqual(mmfr1('max'), [2, 1, 2]);
  assert.equal(fieldOf('neoverse-n1', 'ID_AA64MMFR2_EL1', 4), 1);
  assert.equal(fieldOf('neoverse-n1', 'ID_AA64PFR1_EL1', 4), 2);
});
