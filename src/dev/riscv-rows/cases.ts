/** Random cases of a row: registers, memory and operands such that something worth comparing happens. */
import { decodeFields, type Encoding, encodeFields, newFields } from '../../guest/riscv/encoding.js';
import type { Fields, InsnRow } from '../../guest/riscv/row.js';
import { alike, doubles, float, halves, integer, type Random, singles } from '../random-operands.js';
import {
  CASE_BYTES,
  CODE_AT,
  CODE_PAGE,
  caseField,
  DATA,
  DATA_BYTES,
  TEXT,
  TEXT_BYTES,
  VECTORS_BYTES,
  WINDOW,
  WINDOW_BYTES,
} from './layout.js';
import { instruction } from './runner-elf.js';

export interface RowCase {
  readonly bytes: Uint8Array;
  readonly word: number;
}

function floatRegister(random: Random): bigint {
  const kind = random.below(16);
  if (kind === 0) return random.bits64();
  if (kind < 7) return float(random, doubles);
  if (kind < 11) return (0xffffffffffffn << 16n) | float(random, halves);
  return boxed(() => float(random, singles));
}
const boxed = (single: () => bigint): bigint => (0xffffffffn << 32n) | single();

const SP = 2;
const CSRS = [1, 2, 3, 0x100, 0x180, 0x300, 0x341, 0xf14, 0x7ff];
/** Rows whose registers hold addresses of code. */
const jumps = new Set(['jalr', 'c.jr', 'c.jalr']);

const halfNumbers = (random: Random): bigint =>
  [0n, 16n, 32n, 48n].reduce((bits, at) => bits | (float(random, halves) << at), 0n);

/** A vector register's bytes: numbers of one kind or another. */
function vectorRegister(random: Random): bigint {
  const make = random.pick<() => bigint>([
    () => random.bits64(),
    () => integer(random),
    () => float(random, doubles),
    () => float(random, doubles),
    () => float(random, singles) | (float(random, singles) << 32n),
    () => float(random, singles) | (float(random, singles) << 32n),
    () => halfNumbers(random),
    () => halfNumbers(random),
    () => (integer(random) & 0xffffffffn) | (integer(random) << 32n),
    () => BigInt(random.next() & random.next()) * 0x1_0000_0001n,
  ]);
  return BigInt.asUintN(64, make());
}

interface VectorCase {
  readonly vtype: number;
  readonly lmul: number;
}
function vectorCase(random: Random, { name, float: isFloat }: InsnRow): VectorCase {
  // Half precision is the narrowest, but for what it is made of or becomes.
  const narrowest = !isFloat ? 0 : /^vf(wcvt\.f\.x|ncvt\.x|ncvt\.rtz)/.test(name) ? 0 : 1;
  const sew = narrowest + random.below(4 - narrowest);
  const lmul = random.pick([-3, -2, -1, 0, 0, 0, 0, 1, 1, 2, 3]);
  const vtype = (lmul & 7) | (sew << 3) | (random.below(4) << 6);
  return { vtype: random.below(40) === 0 && !isFloat ? random.below(512) : vtype, lmul };
}

/** A case of the row, or undefined where the random fields did not make one. */
function tryCase(encoding: Encoding, random: Random): RowCase | undefined {
  const { row } = encoding;
  const fields: Fields = newFields();
  const vectors = vectorCase(random, row);
  // Most groups begin where they may.
  const group = row.vector ? 1 << Math.min(3, Math.max(0, vectors.lmul + random.pick([0, 0, 1]))) : 1;
  const register = () => (random.below(10) === 0 ? random.below(32) : random.below(32 / group) * group);
  const given: Partial<Fields> = {
    vm: random.below(2),
    nf: random.below(2) === 0 ? 0 : random.below(8),
    rd: register(),
    rs1: register(),
    rs2: random.below(8) === 0 ? 0 : register(),
    rs3: register(),
    rm: random.pick([0, 1, 2, 3, 4, 5, 7, 7, 7, 7]),
    aq: random.below(2),
    rl: random.below(2),
    csr: random.pick(CSRS),
    imm: random.below(2) === 0 ? random.next() | 0 : (random.next() | 0) >> random.below(32),
  };
  const word = encodeFields(encoding, given);
  if (!decodeFields(encoding, word, fields)) return undefined;
  if (row.args.includes('target')) {
    const target = CODE_AT + fields.imm;
    if (target >= TEXT && target < TEXT + TEXT_BYTES) return undefined;
    // QEMU reads what follows an EBREAK (is it semihosting?) and faults where that runs over the end of the page.
    if (target >= CODE_PAGE + 0xff8 && target < CODE_PAGE + 0x1000) return undefined;
    // Not into the instruction itself.
    if (fields.imm >= 0 && fields.imm < 16) return undefined;
  }
  const bytes = new Uint8Array(CASE_BYTES);
  const view = new DataView(bytes.buffer);
  const x = Array.from({ length: 32 }, () => integer(random));
  const f = Array.from({ length: 32 }, alike(random, boxed) ?? (() => floatRegister(random)));
  // Sums that cancel: neighbours of each other.
  if (random.below(4) === 0) f[fields.rs2] = f[fields.rs1] ^ (BigInt(random.below(2)) << 63n) ^ BigInt(random.below(4));
  if (random.below(4) === 0) x[fields.rs2] = x[fields.rs1];
  const base = row.args.includes('sp-mem') ? SP : fields.rs1;
  const displacement = row.args.includes('(rs1)') ? 0 : fields.imm;
  if (jumps.has(row.name)) {
    const target = CODE_PAGE + random.pick([random.below(0x700), 0x900 + random.below(0x600)]);
    x[fields.rs1] = BigInt.asUintN(64, BigInt(target - (row.name === 'jalr' ? fields.imm : 0)));
  } else if (row.bytes !== undefined && random.below(10) > 0) {
    const aligned = random.below(4) > 0 ? -row.bytes : -1;
    const at = (16 + random.below(WINDOW_BYTES - 48)) & aligned;
    x[base] = BigInt.asUintN(64, BigInt(WINDOW + at - displacement));
  }
  if (row.vector && row.bytes !== undefined && row.args.includes('rs2') && random.below(10) > 0)
    x[fields.rs2] = BigInt.asUintN(64, BigInt(random.below(40) - 12));
  if (row.vector && random.below(3) === 0 && !row.bytes) x[fields.rs1] = BigInt(random.below(20));
  // The last bytes of the second page: vector loads and stores fault behind some elements.
  if (row.vector && row.bytes !== undefined && random.below(6) === 0)
    x[base] = BigInt(DATA + DATA_BYTES - 8 - ((8 * random.below(12)) & -row.bytes));
  x[0] = 0n;
  const v = Array.from({ length: VECTORS_BYTES / 8 }, () => vectorRegister(random));
  // Indices and numbers of elements that mostly lead somewhere.
  const indexBits = Number(
    /ei(\d+)/.exec(row.name)?.[1] ?? (row.name.startsWith('vrgather') ? 8 << ((vectors.vtype >> 3) & 3) : 0),
  );
  if (indexBits > 0 && random.below(10) > 0) {
    const first = 2 * (row.name.startsWith('vrgather') ? fields.rs1 : fields.rs2);
    const most = row.bytes === undefined ? 24 : 200;
    for (let n = first; n < Math.min(first + 16, v.length); n++) {
      v[n] = 0n;
      for (let at = 0; at < 64; at += indexBits) v[n] |= BigInt(random.below(most)) << BigInt(at);
    }
  }
  for (const [n, bits] of v.entries()) view.setBigUint64(caseField.v + 8 * n, bits, true);
  view.setBigUint64(caseField.vtype, BigInt(vectors.vtype), true);
  view.setBigUint64(
    caseField.vl,
    random.pick([1000n, 1000n, BigInt(random.below(20)), BigInt(random.below(140)), 0n]),
    true,
  );
  // QEMU 7.2 crashes where whole registers are moved from behind their end on.
  const mostStart = /^vmv\dr/.test(row.name) ? 2 : 10;
  view.setUint32(caseField.vcsr, random.below(8), true);
  view.setUint32(caseField.vstart, random.below(8) === 0 ? random.below(mostStart) : 0, true);
  for (let n = 0; n < 32; n++) {
    view.setBigUint64(caseField.x + 8 * n, x[n], true);
    view.setBigUint64(caseField.f + 8 * n, f[n], true);
  }
  const frm = random.pick([0, 0, 0, 0, 1, 2, 3, 4, 6]);
  view.setUint32(caseField.fcsr, (frm << 5) | random.pick([0, 0, 1, 1, random.below(32)]), true);
  const code: number[] = [];
  // An SC that fails faults where QEMU's does not look at the address (table/atomic.ts): bad ones come with an LR.
  const inWindow = x[base] >= BigInt(WINDOW) && x[base] < BigInt(WINDOW + WINDOW_BYTES);
  const good = inWindow && x[base] % BigInt(row.bytes ?? 1) === 0n;
  if (row.name.startsWith('sc.') && (!good || random.below(4) > 0))
    code.push(instruction(row.name.replace('sc', 'lr'), { rd: 0, rs1: fields.rs1 }));
  code.push(word);
  for (let at = caseField.code; at < caseField.v; at += 2) view.setUint16(at, instruction('c.ebreak'), true);
  let at = caseField.code;
  for (const [i, one] of code.entries()) {
    const isShort = i === code.length - 1 && encoding.bits === 16;
    if (isShort) view.setUint16(at, one, true);
    else view.setUint32(at, one, true);
    at += 4;
  }
  for (let i = caseField.bytes; i < CASE_BYTES; i += 4) view.setUint32(i, random.next(), true);
  return { bytes, word };
}

export function randomCase(encoding: Encoding, random: Random): RowCase {
  for (let i = 0; i < 1000; i++) {
    const made = tryCase(encoding, random);
    if (made) return made;
  }
  throw new Error(`no case of ${encoding.row.name} could be made`);
}
