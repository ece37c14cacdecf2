/** Cryptographic instructions (C4.1.95): AES, PMULL of 64 bits, SHA-1, SHA-256, SHA-512, SHA-3. */
import type { V128 } from '../../../ir/index.js';
import type { Feature } from '../features.js';
import { polynomialProduct, sha512Routines } from '../routines/crypto.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { aesSteps, hashSteps, scheduleSteps } from './crypto-operations.js';
import { row } from './vector.js';

const TWO = ['vd', 'vn'];
const THREE = ['vd', 'vn', 'vm'];
const of = (
  feature: Feature,
  name: string,
  enc: string,
  args: readonly string[],
  value: (t: Translator, i: Fields) => V128,
): InsnRow => ({ ...row(name, enc, args, (t, i) => t.setV(i.rd, value(t, i))), features: [feature] });

const aesEnc = (opcode: string): string => `01001110 00 10100 ${opcode} 10 rn rd`;
const rotateLong = ({ b }: Translator, x: V128, places: number): V128 =>
  places === 0 ? x : b.v128_or(b.i64x2_shr_u(x, b.i32(places)), b.i64x2_shl(x, b.i32(64 - places)));
/** Names, opcodes, operands. */
const hashes: readonly (readonly [keyof typeof hashSteps, string, readonly string[]])[] = [
  ['sha1c', '000', ['qd', 'sn', 'vm']],
  ['sha1p', '001', ['qd', 'sn', 'vm']],
  ['sha1m', '010', ['qd', 'sn', 'vm']],
  ['sha1su0', '011', THREE],
  ['sha256h', '100', ['qd', 'qn', 'vm']],
  ['sha256h2', '101', ['qd', 'qn', 'vm']],
  ['sha256su1', '110', THREE],
];
const schedules: readonly (readonly [keyof typeof scheduleSteps, string, readonly string[]])[] = [
  ['sha1h', '00000', ['sd', 'sn']],
  ['sha1su1', '00001', TWO],
  ['sha256su0', '00010', TWO],
];
const hashFeature = (name: string): Feature => (name.startsWith('sha1') ? 'sha1' : 'sha256');
const sha512Row = (name: string, opcode: string, routine: (typeof sha512Routines)['h']): InsnRow =>
  of(
    'sha512',
    name,
    `11001110011 rm ${opcode} rn rd`,
    THREE,
    (t, i) => t.b.call(routine, t.v(i.rd), t.v(i.rn), t.v(i.rm))[0],
  );

export const cryptoRows: readonly InsnRow[] = [
  ...(
    [
      ['aese', '00100'],
      ['aesd', '00101'],
      ['aesmc', '00110'],
      ['aesimc', '00111'],
    ] as const
  ).map(([name, opcode]) => of('aes', name, aesEnc(opcode), TWO, (t, i) => aesSteps[name](t, t.v(i.rd), t.v(i.rn)))),
  of('pmull', 'pmull', '0 q 0 01110 11 1 rm 1110 00 rn rd', THREE, (t, i) => {
    const [x, y] = [i.rn, i.rm].map((n) => t.b.i64x2_extract_lane(t.v(n), i.q));
    return t.b.call(polynomialProduct, x, y)[0];
  }),
  ...hashes.map(([name, opcode, args]) =>
    of(hashFeature(name), name, `01011110 000 rm 0 ${opcode} 00 rn rd`, args, (t, i) =>
      hashSteps[name](t, t.v(i.rd), t.v(i.rn), t.v(i.rm)),
    ),
  ),
  ...schedules.map(([name, opcode, args]) =>
    of(hashFeature(name), name, `01011110 00 10100 ${opcode} 10 rn rd`, args, (t, i) =>
      scheduleSteps[name](t, t.v(i.rd), t.v(i.rn)),
    ),
  ),
  sha512Row('sha512h', '100000', sha512Routines.h),
  sha512Row('sha512h2', '100001', sha512Routines.h2),
  sha512Row('sha512su1', '100010', sha512Routines.su1),
  of(
    'sha512',
    'sha512su0',
    '11001110110000001000 00 rn rd',
    TWO,
    (t, i) => t.b.call(sha512Routines.su0, t.v(i.rd), t.v(i.rn), t.v(i.rn))[0],
  ),
  of('sha3', 'rax1', '11001110011 rm 100011 rn rd', THREE, (t, i) =>
    t.b.v128_xor(t.v(i.rn), rotateLong(t, t.v(i.rm), 63)),
  ),
  of('sha3', 'xar', '11001110100 rm uimm[5:0] rn rd', [...THREE, 'imm'], (t, i) =>
    rotateLong(t, t.b.v128_xor(t.v(i.rn), t.v(i.rm)), i.imm),
  ),
  of('sha3', 'eor3', '11001110000 rm 0 ra rn rd', [...THREE, 'va'], (t, i) =>
    t.b.v128_xor(t.b.v128_xor(t.v(i.rn), t.v(i.rm)), t.v(i.ra)),
  ),
  of('sha3', 'bcax', '11001110001 rm 0 ra rn rd', [...THREE, 'va'], (t, i) =>
    t.b.v128_xor(t.v(i.rn), t.b.v128_andnot(t.v(i.rm), t.v(i.ra))),
  ),
];
