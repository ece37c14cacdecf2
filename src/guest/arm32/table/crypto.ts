/** Cryptographic instructions of Armv8's AArch32 (F6.1): AES, SHA-1, SHA-256, products of polynomials, CRC-32. */
import type { Feature } from '../../arm/features.js';
import { polynomialProduct } from '../../arm/routines/crypto.js';
import { crc32, crc32c } from '../../arm/routines/set.js';
import { aesSteps, hashSteps, scheduleSteps } from '../../arm/table/crypto-operations.js';
import type { InsnRow } from '../row.js';
import { plain } from './shared.js';
import { pure, set, simd, three, two } from './simd-format.js';
import { longEnc } from './simd-long.js';

const q = (n: number): number => n >> 1;
const hashFeature = (name: string): Feature => (name.startsWith('sha1') ? 'sha1' : 'sha256');

const aesRows = (
  [
    ['aese', '0110 0'],
    ['aesd', '0110 1'],
    ['aesmc', '0111 0'],
    ['aesimc', '0111 1'],
  ] as const
).flatMap(([name, opc2]) =>
  simd(
    name,
    two('00', '00', opc2),
    ['qd', 'qm'],
    (t, i) => t.setV(q(i.rd), aesSteps[name](t, t.v(q(i.rd)), t.v(q(i.rm)))),
    { type: () => '.8', features: ['aes'], ...pure },
  ),
);
const hashRows = (
  [
    ['sha1c', 0, '00'],
    ['sha1p', 0, '01'],
    ['sha1m', 0, '10'],
    ['sha1su0', 0, '11'],
    ['sha256h', 1, '00'],
    ['sha256h2', 1, '01'],
    ['sha256su1', 1, '10'],
  ] as const
).flatMap(([name, u, size]) =>
  simd(
    name,
    `${u} 0 ${three(size, '1100', 0).replace('q', '1')}`,
    ['qd', 'qn', 'qm'],
    (t, i) => t.setV(q(i.rd), hashSteps[name](t, t.v(q(i.rd)), t.v(q(i.rn)), t.v(q(i.rm)))),
    { type: () => '.32', features: [hashFeature(name)], ...pure },
  ),
);
const scheduleRows = (
  [
    ['sha1h', '01', '0101 1'],
    ['sha1su1', '10', '0111 0'],
    ['sha256su0', '10', '0111 1'],
  ] as const
).flatMap(([name, opc1, opc2]) =>
  simd(
    name,
    two('10', opc1, opc2),
    ['qd', 'qm'],
    (t, i) => t.setV(q(i.rd), scheduleSteps[name](t, t.v(q(i.rd)), t.v(q(i.rm)))),
    { type: () => '.32', features: [hashFeature(name)], ...pure },
  ),
);

const crcRows = [crc32, crc32c].flatMap((routine, c) =>
  (['b', 'h', 'w'] as const).flatMap((letter, log) => {
    const sz = log.toString(2).padStart(2, '0');
    return plain(
      `crc32${c ? 'c' : ''}${letter}`,
      {
        a: `cond 00010 ${sz} 0 rn rd 00 ${c} 0 0100 rm`,
        t: `111110101 10 ${c} rn 1111 rd 10 ${sz} rm`,
      },
      ['rd', 'rn', 'rm'],
      (t, i) => {
        const { b } = t;
        const bits = 8 << log;
        const data = log === 2 ? t.r(i.rm) : b.i64_and(t.r(i.rm), b.i64((1 << bits) - 1));
        t.setR(i.rd, b.i64_extend_i32_u(b.call(routine, b.i32_wrap_i64(t.r(i.rn)), data, b.i32(bits))[0]));
      },
      { features: ['crc32'], where: (i) => i.rd !== 15 && i.rn !== 15 && i.rm !== 15 },
    );
  }),
);

export const cryptoRows: readonly InsnRow[] = [
  ...aesRows,
  ...hashRows,
  ...scheduleRows,
  ...simd(
    'vmull',
    longEnc(0, '10', '1110', 0),
    ['qd', 'dn', 'dm'],
    (t, i) => {
      const [x, y] = [i.rn, i.rm].map((n) => t.b.i64x2_extract_lane(t.v(n >> 1), n & 1));
      set(t, 1, i.rd, t.b.call(polynomialProduct, x, y)[0]);
    },
    { type: () => '.p64', features: ['pmull'], ...pure },
  ),
  ...crcRows,
];
