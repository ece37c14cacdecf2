/**
 * What the manual leaves undefined or to the vendor, and row tests therefore do not compare: each entry with its source.
 * Undefined flags that every case of a row shares are in the row itself (flags.u).
 */
import type { InsnRow } from '../../guest/x86/translator.js';
import type { RowCase } from './case-generator.js';

const bits: Readonly<Record<string, number>> = { C: 1, P: 4, A: 0x10, Z: 0x40, S: 0x80, O: 0x800 };
const maskOf = (letters: string | undefined): number =>
  [...(letters ?? '')].reduce((sum, letter) => sum | bits[letter], 0);

const CX = 1;

/** The count of a shift or rotate, as the processor masks it. */
function shiftCount(row: InsnRow, c: RowCase): number {
  const mask = c.opSize === 64 ? 63 : 31;
  if (row.args.includes(', 1')) return 1;
  if (row.args.includes('CL')) return Number(c.gprs[CX] & BigInt(mask));
  return c.immediate & mask;
}

/** Flags that are undefined after this case: not compared. */
export function undefinedFlags(row: InsnRow, c: RowCase): number {
  let mask = maskOf(row.flags?.u);
  if (/^(RO[LR]|RC[LR]|SHL|SHR|SAR|SHLD|SHRD)$/.test(row.name)) {
    const count = shiftCount(row, c);
    // Nothing changes with a count of 0.
    if (count === 0) return 0;
    // SDM vol. 2 SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR, SHLD, SHRD: OF is defined for 1-bit counts only; CF of SHL and SHR only
    // for counts below the size; all flags of a double shift by more than the size.
    if (count !== 1) mask |= bits['O'];
    if (/^SH[LR]$/.test(row.name) && count >= c.opSize) mask |= bits['C'];
    if (/^SH[LR]D$/.test(row.name) && count > c.opSize) mask |= maskOf('OSZAPC');
  }
  return mask;
}

interface Allowed {
  readonly rows: RegExp;
  readonly what: RegExp;
  readonly when?: (c: RowCase, row: InsnRow, ours: string, theirs: string) => boolean;
  readonly source: string;
}

const bytesOf = (text: string): DataView =>
  new DataView(Uint8Array.from(text.split(' '), (byte) => Number.parseInt(byte, 16)).buffer);

/** Single-precision lanes within twice the documented error of each other. */
function lanesClose(ours: string, theirs: string): boolean {
  const [a, b] = [bytesOf(ours), bytesOf(theirs)];
  for (let at = 0; at < 16; at += 4) {
    if (a.getUint32(at, true) === b.getUint32(at, true)) continue;
    const [x, y] = [a.getFloat32(at, true), b.getFloat32(at, true)];
    if (!(Math.abs(x - y) <= Math.abs(y) * 3 * 2 ** -12)) return false;
  }
  return true;
}

/** Lanes of so many bytes that are the same, or both no number. */
function lanesEqualOrNan(width: 4 | 8, ours: string, theirs: string): boolean {
  const [a, b] = [bytesOf(ours), bytesOf(theirs)];
  const isNan = (view: DataView, at: number) =>
    Number.isNaN(width === 4 ? view.getFloat32(at, true) : view.getFloat64(at, true));
  for (let at = 0; at < 16; at += width) {
    let same = true;
    for (let i = at; i < at + width; i++) same &&= a.getUint8(i) === b.getUint8(i);
    if (!same && !(isNan(a, at) && isNan(b, at))) return false;
  }
  return true;
}

/** Extended-precision values within 2 units in the last place. */
function extendedClose(ours: string, theirs: string): boolean {
  const [a, b] = [bytesOf(ours), bytesOf(theirs)];
  const ordered = (view: DataView): bigint =>
    (BigInt(view.getUint16(8, true)) << 63n) + (view.getBigUint64(0, true) & 0x7fffffffffffffffn);
  const distance = ordered(a) - ordered(b);
  return distance <= 2n && distance >= -2n;
}

const ROUNDED_UP = 1 << 9;
const PRECISION = 1 << 5;
const UNDERFLOW = 1 << 4;
const statusWord = (text: string): number => bytesOf(text).getUint16(0, true);

const table: readonly Allowed[] = [
  {
    rows: /^SH[LR]D$/,
    what: /^(r..?|memory|flags):/,
    when: (c, row) => c.opSize === 16 && shiftCount(row, c) > 16,
    source:
      'SDM vol. 2 SHLD, SHRD: if the count is greater than the operand size, the result is undefined; and so are flags that come of it',
  },
  {
    rows: /^POPA$/,
    what: /^r..: /,
    when: (c) => c.faulted,
    source: 'POPA restarts after a fault; which registers it has loaded by then is not architectural',
  },
  {
    rows: /^F(STP|BSTP)$/,
    what: /^memory:/,
    when: (c, row) => c.faulted && /^(DB \/7|DF \/6)$/.test(row.enc),
    source:
      'FSTP m80 or FBSTP over the limit of a segment or the end of a page: some processors have stored a part when they fault, which is not architectural',
  },
  {
    rows: /^F(ISTT?P?|STP?|BSTP)$/,
    what: /^end: done, #PF/,
    source: 'an unmasked exception of the value, and a page that is not there: which comes first is not architectural',
  },
  {
    rows: /^(CMPS|SCAS)$/,
    what: /^flags:/,
    when: (c) => c.faulted,
    source:
      'SDM vol. 2 REP: a repetition that faults has the flags from before it; other vendors leave those of the last comparison (APM vol. 3 does not say)',
  },
  {
    rows: /^BOUND$/,
    what: /^end: vector 5, (vector 1[23]|#PF)/,
    source:
      'a lower bound that is not kept, and an upper one that cannot be read: which comes first is not architectural',
  },
  {
    rows: /^PREFETCHW?$/,
    what: /^end: done, vector 6$/,
    source: 'APM vol. 3 PREFETCHW: a register operand is #UD; with SDM vol. 2 it does nothing',
  },
  {
    rows: /^SHA(1|256)/,
    what: /^end: vector 13, (done|#PF)/,
    source: 'SDM vol. 2 table 2-21: a misaligned operand is #GP; some processors of AMD take it',
  },
  {
    rows: /^DPP[SD]$/,
    what: /^xmm\d+:/,
    when: (_c, row, ours, theirs) => lanesEqualOrNan(row.name === 'DPPS' ? 4 : 8, ours, theirs),
    source: 'SDM vol. 2 DPPS, DPPD: which of several NaNs comes out goes with the order of the additions',
  },
  {
    rows: /./,
    what: /^end: vector 12, vector 13$/,
    when: (c, row) => c.codeSize === 16 && row.unit === 'sse',
    source:
      'SDM vol. 3 table 6-2: an operand that is misaligned (#GP) and beyond the stack segment (#SS) is one class; the order is not defined',
  },
  {
    rows: /./,
    what: /^(fsw|tags|st\d):/,
    when: (c, row) => c.faulted && row.unit === 'mmx',
    source: 'some processors enter MMX mode (TOP 0, all tags valid) before the access that faults',
  },
  {
    rows: /^MASKMOV/,
    what: /^end:/,
    when: (c) => c.faulted,
    source:
      'SDM vol. 2 MASKMOVQ, MASKMOVDQU: which bytes not selected may fault, and with what address, is implementation-dependent',
  },
  {
    rows: /^(RCP|RSQRT)[PS]S$/,
    what: /^xmm\d+:/,
    when: (_c, _row, ours, theirs) => lanesClose(ours, theirs),
    source: 'SDM vol. 2 RCPPS, RSQRTPS: relative error at most 1.5 * 2^-12',
  },
  {
    rows: /^(F2XM1|FYL2X|FYL2XP1|FPTAN|FPATAN|FSIN|FCOS|FSINCOS)$/,
    what: /^st\d:/,
    when: (_c, _row, ours, theirs) => extendedClose(ours, theirs),
    source: 'SDM vol. 1 section 8.3.10: error below 1 ulp, results differ between processors',
  },
  {
    rows: /^(F2XM1|FYL2X|FYL2XP1|FPTAN|FPATAN|FSIN|FCOS|FSINCOS)$/,
    what: /^fsw:/,
    when: (_c, _row, ours, theirs) =>
      ((statusWord(ours) ^ statusWord(theirs)) & ~(ROUNDED_UP | PRECISION | UNDERFLOW)) === 0,
    source: 'the same: whether a result was rounded, and which way, or was too small, goes with its last bit',
  },
];

export function allowedDifference(row: InsnRow, c: RowCase, what: string, ours: string, theirs: string): boolean {
  return table.some(
    (entry) =>
      entry.rows.test(row.name) &&
      entry.what.test(`${what}: ${ours}, ${theirs}`) &&
      (entry.when?.(c, row, ours, theirs) ?? true),
  );
}

/** Rows that cannot be compared case by case with a user program on the processor. */
export const untestedRows: readonly { readonly rows: RegExp; readonly reason: string }[] = [
  { rows: /^(RDRAND|RDSEED)$/, reason: 'their results are random' },
  { rows: /^(STI|CLI)$/, reason: 'not allowed in a user program; tested with the modes' },
  { rows: /^FX?RSTOR$/, reason: 'they load more than a case fills; tested in table/xsave.test.ts' },
  { rows: /^POPF$/, reason: 'could set TF or AC in the program that runs the cases; tested with the modes' },
];
