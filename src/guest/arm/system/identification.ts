/**
 * The identification registers (D19.2): what a CPU's model has, and no more. There are no AArch32, memory tags and SVE. CSV2 and CSV3 say that
 * speculation leaks nothing, which is so: there is none. RAS is there without error records, for nothing here errs.
 */

import type { Feature } from '../features.js';
import type { ArmModel } from '../models.js';
import { BREAKPOINTS, CONTEXT_BREAKPOINTS, WATCHPOINTS } from '../state.js';

/** A field of four bits, from bit `place` on. */
const at = (place: number, value: number): bigint => BigInt(value) << BigInt(place);

type Identify = (model: ArmModel) => bigint;
const absent = (name: string, code: string): readonly [string, string, Identify] => [name, code, () => 0n];
/** What a field has where a feature is there; else 0. Of several the last that is there counts. */
const features =
  (...fields: readonly (readonly [place: number, value: number, feature: Feature])[]): Identify =>
  (model) => {
    let bits = 0n;
    for (const [place, value, feature] of fields) {
      if (model.features.has(feature)) bits = (bits & ~at(place, 15)) | at(place, value);
    }
    return bits;
  };
const all =
  (...parts: readonly (bigint | Identify)[]): Identify =>
  (model) =>
    parts.reduce<bigint>((bits, part) => bits | (typeof part === 'bigint' ? part : part(model)), 0n);

export const identification: readonly (readonly [name: string, code: string, value: Identify])[] = [
  ['MIDR_EL1', '3 0 0 0 0', ({ midr }) => BigInt(midr)],
  absent('REVIDR_EL1', '3 0 0 0 6'),
  absent('AIDR_EL1', '3 1 0 0 7'),
  // Exception levels, in AArch64 only; FP and AdvSIMD with or without half precision; CSV2, CSV3.
  [
    'ID_AA64PFR0_EL1',
    '3 0 0 4 0',
    all(
      at(0, 1),
      at(4, 1),
      features(
        [8, 1, 'el2'],
        [12, 1, 'el3'],
        [16, 1, 'fp16'],
        [20, 1, 'fp16'],
        [28, 1, 'ras'],
        [48, 1, 'dit'],
        [56, 1, 'csv'],
        [60, 1, 'csv'],
      ),
    ),
  ],
  ['ID_AA64PFR1_EL1', '3 0 0 4 1', features([0, 1, 'bti'], [4, 2, 'ssbs'])],
  absent('ID_AA64ZFR0_EL1', '3 0 0 4 4'),
  absent('ID_AA64SMFR0_EL1', '3 0 0 4 5'),
  // Armv8 debug; breakpoints, watchpoints, breakpoints with a context, each less one.
  [
    'ID_AA64DFR0_EL1',
    '3 0 0 5 0',
    all(
      at(0, 6),
      features([8, 1, 'pmu']),
      at(12, BREAKPOINTS - 1),
      at(20, WATCHPOINTS - 1),
      at(28, CONTEXT_BREAKPOINTS - 1),
    ),
  ],
  absent('ID_AA64DFR1_EL1', '3 0 0 5 1'),
  absent('ID_AA64AFR0_EL1', '3 0 0 5 4'),
  absent('ID_AA64AFR1_EL1', '3 0 0 5 5'),
  [
    'ID_AA64ISAR0_EL1',
    '3 0 0 6 0',
    features(
      [4, 1, 'aes'],
      [4, 2, 'pmull'],
      [8, 1, 'sha1'],
      [12, 1, 'sha256'],
      [12, 2, 'sha512'],
      [16, 1, 'crc32'],
      [20, 2, 'lse'],
      [28, 1, 'rdm'],
      [32, 1, 'sha3'],
      [44, 1, 'dotprod'],
      [48, 1, 'fhm'],
      [52, 1, 'flagm'],
      [52, 2, 'flagm2'],
      [56, 1, 'tlbios'],
      [56, 2, 'tlbirange'],
      [60, 1, 'rng'],
    ),
  ],
  [
    'ID_AA64ISAR1_EL1',
    '3 0 0 6 1',
    all(
      features(
        [0, 1, 'dpb'],
        [0, 2, 'dpb2'],
        [12, 1, 'jscvt'],
        [16, 1, 'fcma'],
        [20, 1, 'lrcpc'],
        [20, 2, 'lrcpc2'],
        [32, 1, 'frintts'],
        [36, 1, 'sb'],
        [40, 1, 'specres'],
        [44, 1, 'bf16'],
        [52, 1, 'i8mm'],
      ),
      // Addresses and generic data by the architected algorithm, or by one of our own.
      ({ features: has, ownPac }) => (has.has('pauth') ? (ownPac ? at(8, 1) | at(28, 1) : at(4, 1) | at(24, 1)) : 0n),
    ),
  ],
  absent('ID_AA64ISAR2_EL1', '3 0 0 6 2'),
  // 48 bits of physical address, ASIDs of 16 bits, all granules.
  ['ID_AA64MMFR0_EL1', '3 0 0 7 0', all(at(0, 5), at(4, 2), at(20, 1))],
  [
    'ID_AA64MMFR1_EL1',
    '3 0 0 7 1',
    all(
      features([0, 2, 'hafdbs'], [12, 1, 'hpds'], [16, 1, 'lor'], [20, 2, 'pan'], [36, 1, 'ets']),
      ({ features: has }) =>
        // VMIDs of 16 bits, a host's kernel at EL2.
        has.has('vhe') && has.has('el2') ? at(4, 2) | at(8, 1) : 0n,
    ),
  ],
  ['ID_AA64MMFR2_EL1', '3 0 0 7 2', features([0, 1, 'cnp'], [4, 1, 'uao'], [48, 1, 'ttl'], [60, 1, 'e0pd'])],
  // What AArch32 would have, and reserved ones: zero.
  ...Array.from({ length: 3 }, (_, group) =>
    Array.from({ length: 8 }, (_, op2) => absent(`ID_3_0_0_${group + 1}_${op2}`, `3 0 0 ${group + 1} ${op2}`)),
  ).flat(),
  ...[
    [4, 2],
    [4, 3],
    [4, 6],
    [4, 7],
    [5, 2],
    [5, 3],
    [5, 6],
    [5, 7],
    [6, 3],
    [6, 4],
    [6, 5],
    [6, 6],
    [6, 7],
    [7, 3],
    [7, 4],
    [7, 5],
    [7, 6],
    [7, 7],
  ].map(([crm, op2]) => absent(`ID_3_0_0_${crm}_${op2}`, `3 0 0 ${crm} ${op2}`)),
];
