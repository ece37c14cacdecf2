/** Random cases of a row: registers, memory and operands such that something worth comparing happens. */
import { type DecoderTables, decodeFields, type Encoding, encodeFields, newFields } from '../../guest/arm/encoding.js';
import type { Fields } from '../../guest/arm/row.js';
import { codeOf } from '../../guest/arm/system/registers.js';
import { alike, doubles, float, halves, integer, pair, type Random, singles } from '../random-operands.js';
import { CASE_BYTES, CODE_AT, CODE_PAGE, caseField, TEXT, TEXT_BYTES, WINDOW, WINDOW_BYTES } from './layout.js';
import { BREAK, instruction } from './runner-elf.js';

export interface RowCase {
  readonly bytes: Uint8Array;
  readonly word: number;
}

const unsigned = (value: bigint): bigint => BigInt.asUintN(64, value);

/** 64 bits of a vector register: lanes of integers or of numbers. */
function lanes(random: Random): bigint {
  const lane = (width: number, make: () => bigint): bigint => {
    let all = 0n;
    for (let at = 0; at < 64; at += width) all |= BigInt.asUintN(width, make()) << BigInt(at);
    return all;
  };
  switch (random.below(8)) {
    case 0:
      return random.bits64();
    case 1:
      return lane(8, () => random.pick([0n, 0xffn, 0x80n, 0x7fn, 1n, BigInt(random.below(256))]));
    case 2:
      return lane(16, () => random.pick([0n, 0xffffn, 0x8000n, 0x7fffn, BigInt(random.below(65536))]));
    case 3:
      return lane(16, () => float(random, halves));
    case 4:
    case 5:
      return lane(32, () => float(random, singles));
    case 6:
      return integer(random);
    default:
      return float(random, doubles);
  }
}

/** System registers of EL0, and some that it has not. */
const REGISTERS = [
  codeOf(3, 3, 4, 2, 0),
  codeOf(3, 3, 4, 4, 0),
  codeOf(3, 3, 4, 4, 1),
  codeOf(3, 3, 13, 0, 2),
  codeOf(3, 3, 13, 0, 3),
  codeOf(3, 3, 4, 2, 1),
  codeOf(3, 0, 12, 0, 0),
  codeOf(3, 0, 1, 0, 0),
  codeOf(3, 7, 15, 15, 7),
];
/** IC IVAU, DC CVAC, DC CVAU, DC CIVAC; TLBI VMALLE1 and DC IVAC, which EL0 has not. */
const MAINTENANCE = [
  codeOf(1, 3, 7, 5, 1),
  codeOf(1, 3, 7, 10, 1),
  codeOf(1, 3, 7, 11, 1),
  codeOf(1, 3, 7, 14, 1),
  codeOf(1, 0, 8, 7, 0),
  codeOf(1, 0, 7, 6, 1),
];
const jumps = new Set(['br', 'blr', 'ret']);

const operandsOf = ({ row }: Encoding): string => row.args.join(', ');
const has = (encoding: Encoding, field: keyof Fields): boolean => encoding.parts.some((part) => part.field === field);

/** What the manual leaves open (K1): registers that are loaded twice, or changed while they are used. */
function isUnpredictable(encoding: Encoding, i: Fields): boolean {
  const { row } = encoding;
  const operands = operandsOf(encoding);
  const general = !row.float;
  const changesBase = operands.includes(']!') || operands.includes('], imm');
  const isPair = has(encoding, 'ra') && row.bytes !== undefined;
  if (changesBase && general && i.rn !== 31 && (i.rn === i.rd || (isPair && i.rn === i.ra))) return true;
  if (isPair && row.name.startsWith('ld') && i.rd === i.ra) return true;
  const storesExclusively = /^stl?x[rp]/.test(row.name);
  return storesExclusively && (i.rm === i.rd || (i.rm === i.rn && i.rn !== 31) || (isPair && i.rm === i.ra));
}

/** How far the address lies from the base. */
function displacementOf(encoding: Encoding, i: Fields, x: readonly bigint[]): bigint {
  const operands = operandsOf(encoding);
  if (operands.includes('[rn, imm]')) return BigInt(i.imm);
  if (!operands.includes('[rn, rm]')) return 0n;
  const index = i.rm === 31 ? 0n : x[i.rm];
  const value = [BigInt.asUintN(32, index), index, BigInt.asIntN(32, index), index][
    (i.option & 1) | ((i.option & 4) >> 1)
  ];
  const size = encoding.row.bytes;
  return i.s && typeof size === 'number' ? value * BigInt(size) : value;
}

/** A case of the row, or undefined where the random fields did not make one. */
function tryCase(encoding: Encoding, tables: DecoderTables, random: Random): RowCase | undefined {
  const { row } = encoding;
  const fields: Fields = newFields();
  const register = () => random.below(32);
  const immediate = (): number => {
    if (row.name === 'mrs' || row.name === 'msr') return random.pick(REGISTERS) & 0x7fff;
    if (row.name === 'sys') return random.pick(MAINTENANCE) & 0x3fff;
    return random.below(2) === 0 ? random.next() | 0 : (random.next() | 0) >> random.below(32);
  };
  const sf = random.below(2);
  const given: Fields = {
    ...newFields(),
    rd: register(),
    rn: register(),
    rm: random.below(8) === 0 ? 31 : register(),
    ra: register(),
    sf,
    s: random.below(2) ? sf : random.below(2),
    q: random.below(2),
    imm: immediate(),
    imm2: random.next() | 0,
    cond: random.below(16),
    shift: random.below(4),
    option: random.below(8),
    size: random.below(4),
  };
  const word = encodeFields(encoding, given);
  if (!decodeFields(encoding, word, fields) || isUnpredictable(encoding, fields)) return undefined;
  if (tables.decode(word, newFields())?.row !== row) return undefined;
  if (row.args.includes('target')) {
    const target = CODE_AT + fields.imm;
    if (target >= TEXT - 16 && target < TEXT + TEXT_BYTES) return undefined;
    // Not into the instruction itself.
    if (fields.imm >= 0 && fields.imm < 16 && row.bytes === undefined) return undefined;
  }
  if (row.name === 'sys' && fields.rd === 31) return undefined;
  const bytes = new Uint8Array(CASE_BYTES);
  const view = new DataView(bytes.buffer);
  const x = Array.from({ length: 32 }, () => integer(random));
  const v = Array.from({ length: 64 }, alike(random, pair) ?? (() => lanes(random)));
  if (random.below(4) === 0) x[fields.rm] = x[fields.rn];
  // Sums that cancel: neighbours of each other.
  if (random.below(4) === 0) {
    const sign = BigInt(random.below(2));
    const flip = random.pick([sign << 63n, (sign << 63n) | (sign << 31n), 0x8000800080008000n * sign]);
    for (let half = 0; half < 2; half++)
      v[2 * fields.rm + half] = v[2 * fields.rn + half] ^ flip ^ BigInt(random.below(4));
  }
  let isGood = true;
  if (jumps.has(row.name)) {
    if (fields.rn === 31) return undefined;
    x[fields.rn] = BigInt(CODE_PAGE + 4 * random.pick([random.below(0x1c0), 0x240 + random.below(0x180)]));
  } else if (row.bytes !== undefined || row.name === 'sys') {
    const size = typeof row.bytes === 'function' ? row.bytes(fields) : (row.bytes ?? 1);
    const isIndex = operandsOf(encoding).includes('[rn, rm]') && fields.rm === fields.rn;
    const base = row.name === 'sys' ? fields.rd : fields.rn;
    isGood = !isIndex && (random.below(12) > 0 || row.name === 'sys' || row.name.startsWith('ldapr'));
    if (isGood) {
      // QEMU 7.2 makes LDAPR where the address is not aligned, which takes FEAT_LSE2.
      const mustAlign = /^ldapr[bh]?$/.test(row.name);
      const alignment = mustAlign || random.below(4) > 0 ? -(size & -size) : -1;
      const at = (80 + random.below(WINDOW_BYTES - 224)) & alignment;
      x[base] = unsigned(BigInt(WINDOW + at) - displacementOf(encoding, fields, x));
      isGood = at % size === 0;
    }
  }
  for (let n = 0; n < 32; n++) view.setBigUint64(caseField.x + 8 * n, x[n], true);
  for (let n = 0; n < 64; n++) view.setBigUint64(caseField.v + 8 * n, v[n], true);
  view.setUint32(caseField.nzcv, random.below(16) * 2 ** 28, true);
  const modes = random.below(3) > 0 ? 0 : random.next();
  view.setUint32(caseField.fpcr, modes & 0x07c80000, true);
  view.setUint32(caseField.fpsr, random.pick([0, 0, 0x10, 0x10, random.next() & 0x0800009f]), true);
  for (let i = caseField.bytes; i < CASE_BYTES; i += 4) view.setUint32(i, random.next(), true);
  const code: number[] = [];
  // A store-exclusive that fails faults where QEMU's does not look at the address (table/atomic.ts): bad ones come with a load.
  if (/^stl?x[rp]/.test(row.name) && (!isGood || random.below(4) > 0)) {
    const isPair = row.name.endsWith('xp');
    const wide = row.args[1][0];
    const name = row.name.replace('st', 'ld').replace('ldlx', 'ldax');
    const operands = isPair ? `${wide}d, ${wide}a, [rn]` : `${wide}d, [rn]`;
    const free = [...Array(30).keys()].filter((n) => n !== fields.rn);
    code.push(
      instruction(`${name} ${operands}`, {
        rd: random.pick(free.slice(0, 14)),
        ra: random.pick(free.slice(15)),
        rn: fields.rn,
      }),
    );
  }
  if (row.name.startsWith('cas') && isGood && fields.rm !== 31 && random.below(2) > 0) {
    // What is in memory is what is expected.
    const at = caseField.bytes + Number(x[fields.rn] - BigInt(WINDOW));
    if (fields.rm !== fields.rn && (row.name !== 'casp' || fields.rm + 1 !== fields.rn)) {
      const size = row.bytes as number;
      if (row.name === 'casp') {
        for (let n = 0; n < 2 && fields.rm + n < 31; n++) {
          const half = size === 16 ? view.getBigUint64(at + 8 * n, true) : BigInt(view.getUint32(at + 4 * n, true));
          view.setBigUint64(caseField.x + 8 * (fields.rm + n), half, true);
        }
      } else {
        const value = view.getBigUint64(at, true);
        view.setBigUint64(caseField.x + 8 * fields.rm, value, true);
      }
    }
  }
  code.push(word);
  for (let at = caseField.code; at < caseField.bytes; at += 4) view.setUint32(at, BREAK, true);
  for (const [i, one] of code.entries()) view.setUint32(caseField.code + 4 * i, one, true);
  return { bytes, word };
}

export function randomCase(encoding: Encoding, tables: DecoderTables, random: Random): RowCase {
  for (let i = 0; i < 2000; i++) {
    const made = tryCase(encoding, tables, random);
    if (made) return made;
  }
  throw new Error(`no case of ${encoding.row.name} could be made`);
}
