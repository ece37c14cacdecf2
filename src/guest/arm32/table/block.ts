/** LDM, STM, PUSH, POP, and with `^` those of User mode's registers (A5.5, A6.3.5, B9.3.5 to B9.3.17). */
import { type I64, jumpKind } from '../../../ir/index.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { field } from '../state.js';
import { low, place, plus, rows } from './shared.js';

function listOf(bits: number): number[] {
  const list: number[] = [];
  for (let n = 0; n < 16; n++) if ((bits >> n) & 1) list.push(n);
  return list;
}

/** User mode's registers, in another mode. */
const userHome = (t: Translator, n: number): number | undefined => {
  if (t.mode.noSpsr) return undefined;
  if (n === 13) return field.banked13;
  if (n === 14) return field.banked14;
  return t.mode.fiq && n >= 8 && n < 13 ? field.high + 4 * (n - 8) : undefined;
};
function userRegister(t: Translator, n: number): I64 {
  const home = userHome(t, n);
  return home === undefined ? t.r(n) : t.b.i64_load32_u(t.b.state(), home);
}
function setUserRegister(t: Translator, n: number, value: I64): void {
  const home = userHome(t, n);
  if (home === undefined) t.setR(n, value);
  else t.b.i64_store32(t.b.state(), value, home);
}

/** All words, four by four, two by two: of `first` bytes from the base. */
function loadAll(t: Translator, base: I64, first: number, count: number): I64[] {
  const { b } = t;
  const values: I64[] = [];
  const split = (both: I64): void => {
    values.push(low(t, both), b.i64_shr_u(both, b.i64(32)));
  };
  let n = 0;
  for (; n + 3 < count; n += 4) {
    const four = b.guest_load128(place(t, base, first + 4 * n));
    split(b.i64x2_extract_lane(four, 0));
    split(b.i64x2_extract_lane(four, 1));
  }
  if (n + 1 < count) {
    split(b.guest_load64(place(t, base, first + 4 * n)));
    n += 2;
  }
  if (n < count) values.push(b.i64_extend_i32_u(b.guest_load32(place(t, base, first + 4 * n))));
  return values;
}
function storeAll(t: Translator, base: I64, first: number, values: readonly I64[]): void {
  const { b } = t;
  const both = (n: number): I64 => b.i64_or(values[n], b.i64_shl(values[n + 1], b.i64(32)));
  let n = 0;
  for (; n + 3 < values.length; n += 4) {
    const four = b.i64x2_replace_lane(b.i64x2_splat(both(n)), both(n + 2), 1);
    b.guest_store128(place(t, base, first + 4 * n), four);
  }
  if (n + 1 < values.length) {
    b.guest_store64(place(t, base, first + 4 * n), both(n));
    n += 2;
  }
  if (n < values.length) b.guest_store32(place(t, base, first + 4 * n), b.i32_wrap_i64(values[n]));
}

interface Form {
  readonly isStore: boolean;
  readonly rn: number;
  readonly list: number;
  readonly before: boolean;
  readonly up: boolean;
  readonly writesBack: boolean;
  /** With `^`. */
  readonly special?: boolean;
}
function transfer(t: Translator, form: Form): void {
  const registers = listOf(form.list);
  const bytes = 4 * registers.length;
  const base = t.r(form.rn);
  const next = plus(t, base, form.up ? bytes : -bytes);
  const first = (form.up ? 0 : -bytes) + (form.before === form.up ? 4 : 0);
  t.aligned(place(t, base, first), 4, form.isStore);
  const returns = form.special && !form.isStore && registers.includes(15);
  const ofUser = form.special && !returns;
  if (form.isStore) {
    storeAll(
      t,
      base,
      first,
      registers.map((n) => (ofUser ? userRegister(t, n) : t.r(n))),
    );
    if (form.writesBack) t.setR(form.rn, next);
    return;
  }
  const values = loadAll(t, base, first, registers.length);
  if (form.writesBack) t.setR(form.rn, next);
  for (const [k, n] of registers.entries()) {
    if (n === 15) break;
    if (ofUser) setUserRegister(t, n, values[k]);
    else t.setR(n, values[k]);
  }
  const target = values[registers.length - 1];
  if (returns) t.exceptionReturn(target);
  else if (registers.includes(15)) t.exchange(target, jumpKind.return);
}

const bytes = (i: Fields): number => 4 * listOf(i.imm).length;
const good = (i: Fields): boolean => i.imm !== 0 && i.rn !== 15;

const armRows = (['stm', 'ldm'] as const).flatMap((name, l) =>
  rows(
    name,
    { a: `100 p u s w ${l} rn uimm[15:0]` },
    ['rn', 'list'],
    (t, i) =>
      transfer(t, {
        isStore: l === 0,
        rn: i.rn,
        list: i.imm,
        before: i.p === 1,
        up: i.u === 1,
        writesBack: i.w === 1,
        special: i.s === 1,
      }),
    { bytes, where: good },
  ),
);
const thumbRows = (['stm', 'ldm'] as const).flatMap((name, l) =>
  (
    [
      ['01', true],
      ['10', false],
    ] as const
  ).flatMap(([op, up]) =>
    rows(
      name,
      { t: `1110100 ${op} 0 w ${l} rn uimm[15:0]` },
      ['rn', 'list'],
      (t, i) => transfer(t, { isStore: l === 0, rn: i.rn, list: i.imm, before: !up, up, writesBack: i.w === 1 }),
      // SP is not in a list, the pc not in a store's; one register alone is unpredictable.
      { bytes, where: (i) => good(i) && (i.imm & (l ? 0x2000 : 0xa000)) === 0 && listOf(i.imm).length > 1 },
    ),
  ),
);

export const blockRows: readonly InsnRow[] = [
  ...armRows,
  ...thumbRows,
  ...rows(
    'push',
    { t: '1011 010 uimm[14] uimm[7:0]' },
    ['list'],
    (t, i) => transfer(t, { isStore: true, rn: 13, list: i.imm, before: true, up: false, writesBack: true }),
    { where: (i) => i.imm !== 0 },
  ),
  ...rows(
    'pop',
    { t: '1011 110 uimm[15] uimm[7:0]' },
    ['list'],
    (t, i) => transfer(t, { isStore: false, rn: 13, list: i.imm, before: false, up: true, writesBack: true }),
    { where: (i) => i.imm !== 0 },
  ),
  ...rows(
    'stm',
    { t: '1100 0 rn[2:0] uimm[7:0]' },
    ['rn', 'list'],
    (t, i) => transfer(t, { isStore: true, rn: i.rn, list: i.imm, before: false, up: true, writesBack: true }),
    { bytes, where: good },
  ),
  ...rows(
    'ldm',
    { t: '1100 1 rn[2:0] uimm[7:0]' },
    ['rn', 'list'],
    (t, i) => {
      const writesBack = ((i.imm >> i.rn) & 1) === 0;
      transfer(t, { isStore: false, rn: i.rn, list: i.imm, before: false, up: true, writesBack });
    },
    { bytes, where: good },
  ),
];
