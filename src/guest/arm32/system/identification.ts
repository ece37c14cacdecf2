/**
 * Identification registers of coprocessor 15 (B4, B7): those of the CPU models' manuals, less what is absent here. Linux makes a program's
 * HWCAP bits from them and from MVFR0 to MVFR2 (table/vfp-move.ts).
 */
import type { Feature } from '../../arm/features.js';
import type { Arm32Model } from '../models.js';

type Value = (model: Arm32Model) => number;
const all =
  (value: number): Value =>
  () =>
    value;
/** Cortex-A7's, and that of the others. */
const cortexA7 =
  (own: number, others: number): Value =>
  ({ name }) =>
    name === 'cortex-a7' ? own : others;
/** Armv8's, and Armv7's. */
const byVersion =
  (v8: number, v7: number): Value =>
  ({ isV8 }) =>
    isV8 ? v8 : v7;
/** Fields of four bits: place, value, what it tells of. */
const features =
  (...fields: readonly (readonly [number, number, Feature])[]): Value =>
  (model) =>
    fields.reduce(
      (bits, [place, value, feature]) =>
        model.features.has(feature) ? (bits & ~(15 << place)) | (value << place) : bits,
      0,
    );

/** SEVL is there with Armv8. */
const isar5: Value = (model) =>
  features(
    [4, 1, 'aes'],
    [4, 2, 'pmull'],
    [8, 1, 'sha1'],
    [12, 1, 'sha256'],
    [16, 1, 'crc32'],
    [24, 1, 'rdm'],
    [28, 1, 'fcma'],
  )(model) | (model.isV8 ? 1 : 0);

/** Name; `CRn op1 CRm op2`; value. */
const named: readonly (readonly [string, string, Value])[] = [
  ['ctr', '0 0 0 1', cortexA7(0x84448003, 0x8444c004)],
  ['tcmtr', '0 0 0 2', all(0)],
  ['tlbtr', '0 0 0 3', all(0)],
  ['revidr', '0 0 0 6', all(0)],
  // Without ThumbEE.
  ['id_pfr0', '0 0 1 0', all(0x00000131)],
  // The generic timer; no security extensions, no virtualization.
  ['id_pfr1', '0 0 1 1', all(0x00010001)],
  // Performance monitors version 2.
  ['id_dfr0', '0 0 1 2', all(0x02000000)],
  ['id_afr0', '0 0 1 3', all(0)],
  // Short descriptors with PXN, long ones.
  ['id_mmfr0', '0 0 1 4', cortexA7(0x10101105, 0x10201105)],
  ['id_mmfr1', '0 0 1 5', cortexA7(0x40000000, 0x20000000)],
  ['id_mmfr2', '0 0 1 6', all(0x01240000)],
  ['id_mmfr3', '0 0 1 7', all(0x02102211)],
  ['id_isar0', '0 0 2 0', all(0x02101110)],
  ['id_isar1', '0 0 2 1', all(0x13112111)],
  // Armv8: loads with acquire, stores with release.
  ['id_isar2', '0 0 2 2', byVersion(0x21232042, 0x21232041)],
  ['id_isar3', '0 0 2 3', all(0x11112131)],
  ['id_isar4', '0 0 2 4', all(0x10010142)],
  ['id_isar5', '0 0 2 5', isar5],
  ['id_isar6', '0 0 2 7', features([0, 1, 'jscvt'], [4, 1, 'dotprod'])],
  ['clidr', '0 1 0 1', all(0x0a200023)],
  ['aidr', '0 1 0 7', all(0)],
];
const places = new Set(named.map(([, place]) => place));
/** The rest of the space of identification reads as zero (B7.1). */
const reserved = [2, 3, 4, 5, 6, 7].flatMap((crm) =>
  Array.from({ length: 8 }, (_, op2): readonly [string, string, Value] => [
    `id_${crm}_${op2}`,
    `0 0 ${crm} ${op2}`,
    all(0),
  ]).filter(([, place]) => !places.has(place)),
);

export const identification: readonly (readonly [string, string, Value])[] = [...named, ...reserved];
