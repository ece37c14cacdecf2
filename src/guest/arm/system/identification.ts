/**
 * The identification registers (D19.2): what this CPU has, and no more. EL2 and EL3 are absent, as are AArch32, pointer authentication,
 * branch target identification, memory tags, SVE, performance counters and the RAS extension. CSV2 and CSV3 say that speculation leaks
 * nothing, which is so: there is none.
 */

/** A field of four bits, from bit `place` on. */
const at = (place: number, value: number): bigint => BigInt(value) << BigInt(place);
const sum = (...fields: readonly bigint[]): bigint => fields.reduce((all, one) => all | one, 0n);

const absent = (name: string, code: string): readonly [string, string, bigint] => [name, code, 0n];

export const identification: readonly (readonly [name: string, code: string, value: bigint])[] = [
  // As QEMU's `max` has it: no maker's part, architecture by the registers below.
  ['MIDR_EL1', '3 0 0 0 0', 0x000f0510n],
  absent('REVIDR_EL1', '3 0 0 0 6'),
  absent('AIDR_EL1', '3 1 0 0 7'),
  // EL0 and EL1 in AArch64; FP and AdvSIMD with half precision; CSV2, CSV3.
  ['ID_AA64PFR0_EL1', '3 0 0 4 0', sum(at(0, 1), at(4, 1), at(16, 1), at(20, 1), at(56, 1), at(60, 1))],
  absent('ID_AA64PFR1_EL1', '3 0 0 4 1'),
  absent('ID_AA64ZFR0_EL1', '3 0 0 4 4'),
  absent('ID_AA64SMFR0_EL1', '3 0 0 4 5'),
  // Armv8 debug; two breakpoints, two watchpoints, one of the breakpoints with a context.
  ['ID_AA64DFR0_EL1', '3 0 0 5 0', sum(at(0, 6), at(12, 1), at(20, 1), at(28, 0))],
  absent('ID_AA64DFR1_EL1', '3 0 0 5 1'),
  absent('ID_AA64AFR0_EL1', '3 0 0 5 4'),
  absent('ID_AA64AFR1_EL1', '3 0 0 5 5'),
  // CRC32, Atomic, TS (FlagM2).
  ['ID_AA64ISAR0_EL1', '3 0 0 6 0', sum(at(16, 1), at(20, 2), at(52, 2))],
  // DPB, LRCPC, SB.
  ['ID_AA64ISAR1_EL1', '3 0 0 6 1', sum(at(0, 1), at(20, 2), at(36, 1))],
  absent('ID_AA64ISAR2_EL1', '3 0 0 6 2'),
  // 48 bits of physical address, ASIDs of 16 bits, all granules.
  ['ID_AA64MMFR0_EL1', '3 0 0 7 0', sum(at(0, 5), at(4, 2), at(20, 1))],
  // HAFDBS, HPDS, PAN with AT.
  ['ID_AA64MMFR1_EL1', '3 0 0 7 1', sum(at(0, 2), at(12, 1), at(20, 2))],
  // CnP, UAO, E0PD.
  ['ID_AA64MMFR2_EL1', '3 0 0 7 2', sum(at(0, 1), at(4, 1), at(60, 1))],
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
