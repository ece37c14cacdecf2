/** Random cases of a row: registers, memory and operands such that something worth comparing happens. */
import {
  type DecoderTables,
  decodeFields,
  type Encoding,
  encodeFields,
  newFields,
} from '../../guest/arm32/encoding.js';
import type { Fields } from '../../guest/arm32/row.js';
import { alike, doubles, float, halves, integer, pair, type Random, singles } from '../random-operands.js';
import {
  ARM_BREAK,
  ARM_PAGE,
  CASE_BYTES,
  caseField,
  DATA,
  DATA_BYTES,
  TEXT,
  TEXT_BYTES,
  THUMB_BREAK,
  THUMB_PAGE,
  WINDOW,
  WINDOW_BYTES,
} from './layout.js';
import { codeAddress } from './runner.js';

export interface RowCase {
  readonly bytes: Uint8Array;
  readonly word: number;
}

const has = (encoding: Encoding, field: keyof Fields): boolean => encoding.parts.some((part) => part.field === field);
const operandsOf = ({ row }: Encoding): string => row.args.join(', ');
const listOf = (bits: number): number[] => Array.from({ length: 16 }, (_, n) => n).filter((n) => (bits >> n) & 1);

/** 64 bits of a vector register: lanes of integers or of numbers. */
function lanes(random: Random): bigint {
  const lane = (width: number, make: () => bigint): bigint => {
    let all = 0n;
    for (let at = 0; at < 64; at += width) all |= BigInt.asUintN(width, make()) << BigInt(at);
    return all;
  };
  switch (random.below(7)) {
    case 0:
      return random.bits64();
    case 1:
      return lane(8, () => random.pick([0n, 0xffn, 0x80n, 0x7fn, 1n, BigInt(random.below(256))]));
    case 2:
      return lane(16, () => (random.below(2) ? float(random, halves) : BigInt(random.below(65536))));
    case 3:
    case 4:
      return lane(32, () => float(random, singles));
    case 5:
      return integer(random);
    default:
      return float(random, doubles);
  }
}

/** FPSCR.FZ. */
const FLUSH_TO_ZERO = 1 << 24;

/** System registers: those of User mode, and some that it has not. */
const REGISTERS = [
  { rn: 13, rm: 0, size: 0, s: 0, imm: 2, q: 1 },
  { rn: 13, rm: 0, size: 0, s: 0, imm: 4, q: 1 },
  { rn: 1, rm: 0, size: 0, s: 0, imm: 0, q: 1 },
  { rn: 7, rm: 10, size: 0, s: 0, imm: 4, q: 1 },
  { rn: 7, rm: 10, size: 0, s: 0, imm: 5, q: 1 },
  { rn: 7, rm: 5, size: 0, s: 0, imm: 4, q: 1 },
  { rn: 7, rm: 5, size: 0, s: 0, imm: 0, q: 1 },
];

const branches = new Set([
  'b',
  'bl',
  'blx',
  'bx',
  'bxj',
  'cbz',
  'cbnz',
  'tbb',
  'tbh',
  'it',
  'cps',
  'cpsid',
  'cpsie',
  'setend',
  'svc',
  'bkpt',
]);
const registerJumps = new Set(['bx', 'bxj', 'blx']);

/** What the manual leaves open: the pc, registers that are loaded twice, or changed while they are used. */
function isUnpredictable(encoding: Encoding, i: Fields): boolean {
  const { row } = encoding;
  const { name, set } = row;
  const operands = operandsOf(encoding);
  const isLoad = name.startsWith('ld');
  const memory = row.bytes !== undefined;
  const used = (['rd', 'rn', 'rm', 'ra'] as const).filter((field) => has(encoding, field));
  if (name === 'bkpt' && set === 'arm' && i.cond !== 14) return true;
  const general = (['rd', 'ra'] as const).filter((field) => row.args.includes(field));
  if (
    (row.float || name === 'vmsr' || (name === 'vmrs' && !row.args.includes('fpscr'))) &&
    general.some((field) => i[field] === 15)
  )
    return true;
  // Permutations of a register with itself.
  if (/^v(swp|trn|uzp|zip)$/.test(name) && i.rd === i.rm) return true;
  if (row.float) return used.includes('rn') && memory && i.rn === 15;
  const thumbLong = set === 'thumb' && encoding.bytes === 4;
  if (thumbLong && used.some((field) => i[field] === 13 || i[field] === 15)) return true;
  const writesBack = has(encoding, 'w') && memory && (i.w === 1 || (has(encoding, 'p') && i.p === 0));
  const jumps = isLoad && i.rd === 15 && /^ldr$/.test(name);
  for (const field of used) {
    if (i[field] !== 15) continue;
    if (field === 'rd' && jumps) continue;
    // Reading the pc is defined in data processing, and as the base of an ordinary access.
    const reads =
      set === 'arm' &&
      field !== 'rd' &&
      !operands.includes('shift ra') &&
      /^(and|eor|sub|rsb|add|adc|sbc|rsc|tst|teq|cmp|cmn|orr|mov|bic|mvn)$/.test(name);
    if (!reads) return true;
  }
  if (operands.includes('list') && memory) {
    const list = listOf(i.imm);
    // In User mode there are no other registers to name by ^.
    if (i.s) return true;
    if (writesBack && list.includes(i.rn)) return true;
    if (name === 'stm' && set === 'thumb' && encoding.bytes === 2 && list.includes(i.rn)) return true;
    return false;
  }
  const second = name === 'ldrd' || name === 'strd' ? (set === 'arm' ? i.rd + 1 : i.ra) : -1;
  if (writesBack && (i.rn === i.rd || i.rn === second)) return true;
  if (memory && has(encoding, 'rm') && operands.includes('[rn, rm') && (i.rm === 15 || (writesBack && i.rm === i.rn)))
    return true;
  if (name === 'ldrd' && (i.rd === second || (has(encoding, 'rm') && (i.rm === i.rd || i.rm === second)))) return true;
  if (/^lda?r?ex/.test(name) && has(encoding, 'ra') && i.rd === i.ra) return true;
  if (/^(umull|umlal|smull|smlal|umaal|smlsl)/.test(name) && i.rd === i.ra) return true;
  return /^(mrs|msr)$/.test(name) && (i.op === 1 || (has(encoding, 'imm2') && (i.imm2 & 2) !== 0));
}

/** Rm shifted as an offset is. */
function shifted(i: Fields, value: number, carry: number): number {
  const places = i.imm2;
  switch (i.shift) {
    case 0:
      return value << places;
    case 1:
      return places === 0 ? 0 : value >>> places;
    case 2:
      return value >> (places === 0 ? 31 : places);
    default:
      return places === 0 ? (value >>> 1) | (carry << 31) : (value >>> places) | (value << (32 - places));
  }
}

/** How far the access lies from the base. */
function displacementOf(encoding: Encoding, i: Fields, r: Uint32Array, carry: number, size: number): number {
  const operands = operandsOf(encoding);
  const [p, u] = [has(encoding, 'p') ? i.p : 1, has(encoding, 'u') ? i.u : 1];
  if (operands.includes('list')) {
    const { name } = encoding.row;
    if (name === 'push') return -size;
    if (name === 'pop') return 0;
    if (encoding.row.float) return name.endsWith('db') ? -size : 0;
    if (encoding.row.set === 'thumb')
      return encoding.bytes === 4 && (encoding.mask & encoding.match & (1 << 24)) !== 0 ? -size : 0;
    return (u ? 0 : -size) + (p === u ? (u ? 4 : 4) : 0);
  }
  if (p === 0) return 0;
  if (operands.includes('imm]')) return u ? i.imm : -i.imm;
  if (!operands.includes('[rn, rm')) return 0;
  const offset = operands.includes('shift') ? shifted(i, r[i.rm], carry) : r[i.rm];
  return u ? offset : -offset;
}

/** A case of the row, or undefined where the random fields did not make one. */
function tryCase(encoding: Encoding, tables: DecoderTables, random: Random): RowCase | undefined {
  const { row } = encoding;
  const thumb = row.set === 'thumb';
  const short = encoding.bytes === 2;
  const register = () => random.pick([random.below(15), random.below(13), random.below(8), random.below(16)]);
  const bit = () => random.below(2);
  const immediate = random.below(3) > 0 ? random.next() | 0 : (random.next() | 0) >> random.below(32);
  const given: Fields = {
    rd: row.float ? random.below(32) : register(),
    rn: row.float && row.bytes === undefined ? random.below(32) : register(),
    // Of structures 15 and 13 say how the base changes.
    rm: row.float ? (row.bytes === undefined ? random.below(32) : random.pick([13, 15, register()])) : register(),
    ra: register(),
    imm: immediate,
    imm2: random.next() | 0,
    cond: random.below(2) ? 14 : random.below(15),
    shift: random.below(4),
    size: random.below(4),
    s: bit(),
    p: bit(),
    u: bit(),
    w: bit(),
    q: bit(),
    op: bit(),
    ...(row.args.includes('coproc') && random.pick(REGISTERS)),
  };
  const word = encodeFields(encoding, given);
  const fields = newFields();
  if (!decodeFields(encoding, word, fields) || isUnpredictable(encoding, fields)) return undefined;
  const decoded = thumb ? tables.thumb(word, newFields()) : tables.arm(word, newFields());
  if (decoded?.row !== row) return undefined;
  if (row.name === 'hint' && fields.imm === 3) return undefined;
  const storesExclusively = /^st[rl]ex/.test(row.name);
  const inIt = thumb && !branches.has(row.name) && !storesExclusively && random.below(3) === 0;
  const here = codeAddress(thumb) + (inIt ? 2 : 0);
  const start = codeAddress(thumb);
  const isFiller = (target: number, toThumb: boolean): boolean => {
    const page = toThumb ? THUMB_PAGE : ARM_PAGE;
    return target >= page && target < page + 4000 && (target < start || target >= start + 16);
  };
  const isMapped = (target: number): boolean =>
    [
      [TEXT, TEXT_BYTES],
      [ARM_PAGE, 4096],
      [THUMB_PAGE, 4096],
      [DATA, DATA_BYTES],
      [0x11000000, 0x20000],
      [0, 65536],
    ].some(([from, bytes]) => target >= from - 32 && target < from + bytes);
  if (row.args.includes('target')) {
    const exchange = row.name === 'blx';
    const pc = here + (thumb ? 4 : 8);
    let { imm } = fields;
    if (thumb && !short && (row.name !== 'b' || row.args.length === 1)) imm = imm < 0 ? imm : imm ^ (3 << 22);
    const target = ((exchange && thumb ? pc & ~3 : pc) + imm) >>> 0;
    const toThumb = thumb !== exchange;
    if (isMapped(target) && !isFiller(target, toThumb)) return undefined;
    if (!isMapped(target) && target > 0xbfff0000) return undefined;
  }
  const bytes = new Uint8Array(CASE_BYTES);
  const view = new DataView(bytes.buffer);
  const r = new Uint32Array(16);
  for (let n = 0; n < 15; n++) r[n] = Number(integer(random) & 0xffffffffn);
  if (random.below(4) === 0 && fields.rm < 15 && fields.rn < 15) r[fields.rm] = r[fields.rn];
  if (random.below(3) === 0 && fields.ra < 15) r[fields.ra] = random.below(70);
  const status = ((random.below(32) << 27) | (random.below(16) << 16)) >>> 0;
  for (let at = caseField.bytes; at < CASE_BYTES; at += 4) view.setUint32(at, random.next(), true);
  const jumpTarget = (): number => {
    const toThumb = random.below(2) === 1;
    const page = toThumb ? THUMB_PAGE : ARM_PAGE;
    const place = random.pick([0x100, 0xc00]) + 4 * random.below(100);
    return page + place + (toThumb ? 1 + 2 * random.below(2) : 0);
  };
  const operands = operandsOf(encoding);
  const ofStack = operands.includes('[sp') || row.name === 'push' || row.name === 'pop';
  if (registerJumps.has(row.name) && has(encoding, 'rm')) r[fields.rm] = jumpTarget();
  else if (row.name === 'tbb' || row.name === 'tbh') {
    if (fields.rn === fields.rm) return undefined;
    r[fields.rn] = WINDOW + random.below(200);
    r[fields.rm] = random.below(100);
    const at = caseField.bytes + r[fields.rn] - WINDOW + r[fields.rm] * (row.name === 'tbh' ? 2 : 1);
    view.setUint16(at, 0x14 + random.below(0x80), true);
  } else if (row.bytes !== undefined || ofStack) {
    const size = ofStack
      ? 4 * listOf(fields.imm).length || 4
      : typeof row.bytes === 'function'
        ? row.bytes(fields)
        : (row.bytes ?? 1);
    const base = ofStack ? 13 : fields.rn;
    // A store-exclusive that fails faults where QEMU's does not look at the address (table/atomic.ts).
    // QEMU does not ask for more than 16 bytes of alignment.
    const mostAligned = row.float === 'simd' && fields.imm2 === 3;
    const isGood =
      (storesExclusively || mostAligned || random.below(10) > 0) &&
      base !== 15 &&
      !(operands.includes('[rn, rm') && fields.rm === fields.rn);
    if (isGood) {
      const unit = Math.min(size & -size, 8);
      const usual = mostAligned || (row.float === 'simd' && random.below(2) === 0) ? 32 : Math.max(unit, 4);
      const alignment = mostAligned || random.below(6) > 0 ? -usual : -1;
      const at =
        (80 + random.below(WINDOW_BYTES - 300)) & (/^(ldrex|strex|swp|lda|stl)/.test(row.name) ? -8 : alignment);
      const sized = ofStack && operands.includes('[sp') ? 4 : size;
      const offset =
        ofStack && operands.includes('[sp')
          ? fields.imm
          : displacementOf(encoding, fields, r, (status >>> 29) & 1, sized);
      r[base] = WINDOW + at - offset;
      const list = operands.includes('list') && !row.float;
      const loads = row.name.startsWith('ld') || row.name === 'pop';
      if (loads && list && (fields.imm & 0x8000) !== 0)
        view.setUint32(caseField.bytes + at + size - 4, jumpTarget(), true);
      if (row.name === 'ldr' && fields.rd === 15) view.setUint32(caseField.bytes + at, jumpTarget(), true);
    } else if ((row.name === 'ldr' && fields.rd === 15) || base === 15) return undefined;
  } else if (row.name === 'ldr' && fields.rd === 15) return undefined;
  for (let n = 0; n < 15; n++) view.setUint32(caseField.r + 4 * n, r[n], true);
  view.setUint32(caseField.r + 60, start + (thumb ? 1 : 0), true);
  view.setUint32(caseField.cpsr, status, true);
  const modes = random.below(3) > 0 ? 0 : random.next() & 0x07c80000;
  const cumulative = random.pick([0, 0, 0x10, 0x10, random.next() & 0x0800009f]);
  view.setUint32(caseField.fpscr, ((random.below(16) << 28) | modes | cumulative) >>> 0, true);
  const v = Array.from({ length: 32 }, alike(random, pair) ?? (() => lanes(random)));
  if (random.below(4) === 0)
    v[fields.rm & 31] = v[fields.rn & 31] ^ random.pick([0n, 1n << 63n, (1n << 63n) | (1n << 31n), 1n]);
  // VJCVT of a positive denormal that is flushed: Z is 0 (FPToFixedJS of the Arm ARM); QEMU 7.2 sets it.
  const isDenormal = v[fields.rm & 31] > 0n && v[fields.rm & 31] < 1n << 52n;
  if (row.name.startsWith('vjcvt') && isDenormal)
    view.setUint32(caseField.fpscr, view.getUint32(caseField.fpscr, true) & ~FLUSH_TO_ZERO, true);
  for (const [n, value] of v.entries()) view.setBigUint64(caseField.v + 8 * n, value, true);
  for (let at = caseField.code; at < caseField.bytes; at += 4)
    view.setUint32(at, thumb ? THUMB_BREAK : ARM_BREAK, true);
  let at = caseField.code;
  if (inIt) {
    view.setUint16(at, 0xbf08 | (random.below(14) << 4), true);
    at += 2;
  }
  // Three of four stores have their load before them.
  if (storesExclusively && random.below(4) > 0) {
    const name = row.name.replace('strex', 'ldrex').replace('stlex', 'ldaex');
    const load = tables.encodings.find((one) => one.row.name === name && one.row.set === row.set);
    const rd = random.pick([0, 2, 4, 6, 8].filter((n) => n !== fields.rn && n + 1 !== fields.rn));
    const first = load ? encodeFields(load, { cond: 14, rd, ra: rd + 1, rn: fields.rn, imm: fields.imm }) : 0;
    if (thumb) {
      view.setUint16(at, first >>> 16, true);
      view.setUint16(at + 2, first & 0xffff, true);
    } else view.setUint32(at, first, true);
    at += 4;
  }
  if (!thumb) view.setUint32(at, word, true);
  else {
    view.setUint16(at, word >>> 16, true);
    if (!short) view.setUint16(at + 2, word & 0xffff, true);
  }
  return { bytes, word };
}

export function randomCase(encoding: Encoding, tables: DecoderTables, random: Random): RowCase {
  for (let i = 0; i < 4000; i++) {
    const made = tryCase(encoding, tables, random);
    if (made) return made;
  }
  throw new Error(`no case of ${encoding.row.name} (${encoding.row.enc}) could be made`);
}
