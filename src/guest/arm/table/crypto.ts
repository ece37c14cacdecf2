/** Cryptographic instructions (C4.1.95): AES, PMULL of 64 bits, SHA-1, SHA-256, SHA-512, SHA-3. */
import type { V128 } from '../../../ir/index.js';
import type { Feature } from '../features.js';
import {
  aesRoutines,
  polynomialProduct,
  sha1Rounds,
  sha1Schedule,
  sha256Rounds,
  sha256Schedule0,
  sha256Schedule1,
  sha512Routines,
} from '../routines/crypto.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { lanesOf, row, zero } from './vector.js';

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
const sha1Row = (name: string, opcode: string, routine: (typeof sha1Rounds)[keyof typeof sha1Rounds]): InsnRow =>
  of(
    'sha1',
    name,
    `01011110 000 rm 0 ${opcode} 00 rn rd`,
    ['qd', 'sn', 'vm'],
    (t, i) => t.b.call(routine, t.v(i.rd), t.b.i32x4_extract_lane(t.v(i.rn), 0), t.v(i.rm))[0],
  );
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
      ['aese', '00100', aesRoutines.encrypt],
      ['aesd', '00101', aesRoutines.decrypt],
    ] as const
  ).map(([name, opcode, routine]) =>
    of('aes', name, aesEnc(opcode), TWO, (t, i) => t.b.call(routine, t.b.v128_xor(t.v(i.rd), t.v(i.rn)))[0]),
  ),
  of('aes', 'aesmc', aesEnc('00110'), TWO, (t, i) => t.b.call(aesRoutines.mix, t.v(i.rn))[0]),
  of('aes', 'aesimc', aesEnc('00111'), TWO, (t, i) => t.b.call(aesRoutines.unmix, t.v(i.rn))[0]),
  of('pmull', 'pmull', '0 q 0 01110 11 1 rm 1110 00 rn rd', THREE, (t, i) => {
    const [x, y] = [i.rn, i.rm].map((n) => t.b.i64x2_extract_lane(t.v(n), i.q));
    return t.b.call(polynomialProduct, x, y)[0];
  }),
  sha1Row('sha1c', '000', sha1Rounds.choose),
  sha1Row('sha1p', '001', sha1Rounds.parity),
  sha1Row('sha1m', '010', sha1Rounds.majority),
  of('sha1', 'sha1su0', '01011110 000 rm 0 011 00 rn rd', THREE, (t, i) => {
    const d = t.v(i.rd);
    const next = lanesOf(t, d, t.v(i.rn), 3, [1, 2]);
    return t.b.v128_xor(t.b.v128_xor(next, d), t.v(i.rm));
  }),
  of('sha1', 'sha1h', '01011110 00 10100 00000 10 rn rd', ['sd', 'sn'], (t, i) => {
    const { b } = t;
    const rotated = b.i32_rotl(b.i32x4_extract_lane(t.v(i.rn), 0), b.i32(30));
    return b.i32x4_replace_lane(zero(t), rotated, 0);
  }),
  of('sha1', 'sha1su1', '01011110 00 10100 00001 10 rn rd', TWO, (t, i) => {
    const later = lanesOf(t, t.v(i.rn), zero(t), 2, [1, 2, 3, 4]);
    return t.b.call(sha1Schedule, t.b.v128_xor(t.v(i.rd), later))[0];
  }),
  of(
    'sha256',
    'sha256h',
    '01011110 000 rm 0 100 00 rn rd',
    ['qd', 'qn', 'vm'],
    (t, i) => t.b.call(sha256Rounds, t.v(i.rd), t.v(i.rn), t.v(i.rm))[0],
  ),
  of(
    'sha256',
    'sha256h2',
    '01011110 000 rm 0 101 00 rn rd',
    ['qd', 'qn', 'vm'],
    (t, i) => t.b.call(sha256Rounds, t.v(i.rn), t.v(i.rd), t.v(i.rm))[1],
  ),
  of(
    'sha256',
    'sha256su0',
    '01011110 00 10100 00010 10 rn rd',
    TWO,
    (t, i) => t.b.call(sha256Schedule0, t.v(i.rd), t.v(i.rn))[0],
  ),
  of(
    'sha256',
    'sha256su1',
    '01011110 000 rm 0 110 00 rn rd',
    THREE,
    (t, i) => t.b.call(sha256Schedule1, t.v(i.rd), t.v(i.rn), t.v(i.rm))[0],
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
