/** Data processing: arithmetic, logic, moves, shifts (A5.2.1 to A5.2.4, A6.2.1 to A6.2.3, A6.3.1 to A6.3.4, A6.3.11). */
import type { I32, I64 } from '../../../ir/index.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { bitAt, low, not, plain, rows, signed } from './shared.js';

/** A shifter operand: zero-extended, its carry where it changes C, and what it is if that is known. */
interface Operand {
  readonly value: I64;
  readonly carry?: I32 | undefined;
  readonly constant?: number;
}
const known = ({ b }: Translator, constant: number): Operand => ({ value: b.i64(constant), constant });
/** All bits inverted. */
function inverted(t: Translator, { value, constant }: Operand): I64 {
  return constant === undefined ? not(t, value) : t.b.i64(~constant >>> 0);
}

/** A32's modified immediates (A5.2.4): eight bits rotated right by twice four. */
export function armImmediate(imm: number): number {
  const places = (imm >>> 8) * 2;
  const value = imm & 255;
  return places === 0 ? value : ((value >>> places) | (value << (32 - places))) >>> 0;
}
/** T32's (A6.3.2). */
export function thumbImmediate(imm: number): number {
  const value = imm & 255;
  switch (imm >>> 8) {
    case 0:
      return value;
    case 1:
      return value * 0x00010001;
    case 2:
      return value * 0x01000100;
    case 3:
      return value * 0x01010101;
    default: {
      const places = imm >>> 7;
      const whole = 0x80 | (imm & 0x7f);
      return ((whole >>> places) | (whole << (32 - places))) >>> 0;
    }
  }
}
const armOperand = ({ b }: Translator, { imm }: Fields, { carries }: Wanted): Operand => {
  const constant = armImmediate(imm);
  return { value: b.i64(constant), constant, carry: carries && imm >>> 8 !== 0 ? b.i32(constant >>> 31) : undefined };
};
const thumbOperand = ({ b }: Translator, { imm }: Fields, { carries }: Wanted): Operand => {
  const constant = thumbImmediate(imm);
  return { value: b.i64(constant), constant, carry: carries && imm >>> 10 !== 0 ? b.i32(constant >>> 31) : undefined };
};

/** What a shifter operand is wanted for: its carry; `loose`: bits above the 32nd do no harm. */
interface Wanted {
  readonly carries: boolean;
  readonly loose: boolean;
}
export const LOOSE: Wanted = { carries: false, loose: true };

/** Shifted by a constant (A8.4.1): LSL, LSR, ASR, ROR; a right shift by 0 is one by 32, ROR by 0 is RRX. */
export function shiftByConstant(t: Translator, value: I64, kind: number, amount: number, wanted: Wanted): Operand {
  const { b } = t;
  const { carries } = wanted;
  if (kind === 0) {
    if (amount === 0) return { value };
    const carry = carries ? bitAt(t, value, 32 - amount) : undefined;
    const shifted = b.i64_shl(value, b.i64(amount));
    return { value: wanted.loose ? shifted : low(t, shifted), carry };
  }
  if (kind === 3) {
    if (amount === 0) {
      const top = b.i64_shl(t.flags.carry(), b.i64(31));
      return { value: b.i64_or(b.i64_shr_u(value, b.i64(1)), top), carry: carries ? bitAt(t, value, 0) : undefined };
    }
    const rotated = b.i64_extend_i32_u(b.i32_rotr(b.i32_wrap_i64(value), b.i32(amount)));
    return { value: rotated, carry: carries ? bitAt(t, value, amount - 1) : undefined };
  }
  const places = amount === 0 ? 32 : amount;
  const carry = carries ? bitAt(t, value, places - 1) : undefined;
  if (kind === 1) return { value: places === 32 ? b.i64(0) : b.i64_shr_u(value, b.i64(places)), carry };
  return { value: low(t, b.i64_shr_s(signed(t, value), b.i64(places))), carry };
}

/** Shifted by the low byte of a register: 0 leaves C. */
function shiftByRegister(t: Translator, value: I64, kind: number, by: I64, carries: boolean): Operand {
  const { b } = t;
  const amount = b.i64_and(by, b.i64(255));
  const chooseCarry = (carry: I32): I32 | undefined =>
    carries ? b.select(b.i64_eqz(amount), b.i32_wrap_i64(t.flags.carry()), carry) : undefined;
  if (kind === 3) {
    const rotated = b.i64_extend_i32_u(b.i32_rotr(b.i32_wrap_i64(value), b.i32_wrap_i64(amount)));
    return { value: rotated, carry: carries ? chooseCarry(bitAt(t, rotated, 31)) : undefined };
  }
  const far = b.i64_gt_u(amount, b.i64(63));
  if (kind === 0) {
    const wide = b.select(far, b.i64(0), b.i64_shl(value, amount));
    return { value: low(t, wide), carry: carries ? chooseCarry(bitAt(t, wide, 32)) : undefined };
  }
  // One place below the result there is what is shifted out.
  const doubled = b.i64_shl(kind === 1 ? value : signed(t, value), b.i64(1));
  const wide =
    kind === 1
      ? b.select(far, b.i64(0), b.i64_shr_u(doubled, amount))
      : b.i64_shr_s(doubled, b.select(far, b.i64(63), amount));
  const shifted = kind === 1 ? b.i64_shr_u(wide, b.i64(1)) : low(t, b.i64_shr_s(wide, b.i64(1)));
  return { value: shifted, carry: carries ? chooseCarry(bitAt(t, wide, 0)) : undefined };
}

/** Rm shifted by imm2. */
const shiftedRegister = (t: Translator, i: Fields, wanted: Wanted): Operand =>
  shiftByConstant(t, t.r(i.rm), i.shift, i.imm2, wanted);

// --- operations

type Kind = 'logic' | 'add' | 'sub' | 'reverse' | 'adc' | 'sbc' | 'rsc';
interface Operation {
  readonly name: string;
  readonly kind: Kind;
  readonly logic?: (t: Translator, x: I64, y: Operand) => I64;
  /** Bits of the second operand above the 32nd do not reach the result. */
  readonly narrows?: true;
  /** Sets flags only. */
  readonly tests?: true;
  /** Has no first operand. */
  readonly moves?: true;
}
const logic = (name: string, operation: (t: Translator, x: I64, y: Operand) => I64): Operation => ({
  name,
  kind: 'logic',
  logic: operation,
});
const and: Operation = { ...logic('and', ({ b }, x, y) => b.i64_and(x, y.value)), narrows: true };
const eor = logic('eor', ({ b }, x, y) => b.i64_xor(x, y.value));
const orr = logic('orr', ({ b }, x, y) => b.i64_or(x, y.value));
const orn = logic('orn', (t, x, y) => t.b.i64_or(x, inverted(t, y)));
const bic: Operation = { ...logic('bic', (t, x, y) => t.b.i64_and(x, inverted(t, y))), narrows: true };
const mov: Operation = { ...logic('mov', (_, __, y) => y.value), moves: true };
const mvn: Operation = { ...logic('mvn', (t, _, y) => inverted(t, y)), moves: true };
const sub: Operation = { name: 'sub', kind: 'sub' };
const rsb: Operation = { name: 'rsb', kind: 'reverse' };
const add: Operation = { name: 'add', kind: 'add' };
const adc: Operation = { name: 'adc', kind: 'adc' };
const sbc: Operation = { name: 'sbc', kind: 'sbc' };
const rsc: Operation = { name: 'rsc', kind: 'rsc' };
const tst: Operation = { ...and, name: 'tst', tests: true };
const teq: Operation = { ...eor, name: 'teq', tests: true };
const cmp: Operation = { ...sub, name: 'cmp', tests: true };
const cmn: Operation = { ...add, name: 'cmn', tests: true };
/** By their codes. */
const armOperations = [and, eor, sub, rsb, add, adc, sbc, rsc, tst, teq, cmp, cmn, orr, mov, bic, mvn];

/** x + y + C with its flags: an ADC, and an SBC with y inverted. */
function addWithCarry(t: Translator, x: I64, y: I64, setFlags: boolean, constant?: number): I64 {
  const { b } = t;
  const carry = t.flags.carry();
  const sum = b.i64_add(constant === 0 ? x : b.i64_add(x, y), carry);
  if (setFlags) {
    const exact = b.i64_add(b.i64_add(signed(t, x), signed(t, y)), carry);
    const nz = signed(t, sum);
    t.flags.setAll(nz, b.i64_shr_u(sum, b.i64(32)), b.i64_ne(nz, exact));
  }
  return low(t, sum);
}

/** Performs the operation on zero-extended operands; with S (`setFlags`) its flags. */
function perform(t: Translator, operation: Operation, x: I64, operand: Operand, setFlags: boolean): I64 {
  const { b } = t;
  const { value: y, carry, constant } = operand;
  switch (operation.kind) {
    case 'add': {
      const sum = b.i64_add(x, y);
      if (setFlags) t.flags.setAdd(x, y, sum, constant);
      return operation.tests ? x : low(t, sum);
    }
    case 'sub': {
      const difference = b.i64_sub(x, y);
      if (setFlags) t.flags.setSub(x, y, difference, constant);
      return operation.tests ? x : low(t, difference);
    }
    case 'reverse': {
      const difference = b.i64_sub(y, x);
      if (setFlags) t.flags.setSub(y, x, difference);
      return low(t, difference);
    }
    case 'adc':
      return addWithCarry(t, x, y, setFlags, constant);
    case 'sbc':
      return addWithCarry(t, x, inverted(t, operand), setFlags);
    case 'rsc':
      return addWithCarry(t, y, not(t, x), setFlags);
    default: {
      const result = operation.logic ? operation.logic(t, x, operand) : y;
      if (setFlags) t.flags.setLogic(result, carry);
      return result;
    }
  }
}

type MakeOperand = (t: Translator, i: Fields, wanted: Wanted) => Operand;

const translate =
  (operation: Operation, operand: MakeOperand) =>
  (t: Translator, i: Fields): void => {
    const setFlags = operation.tests === true || i.s === 1;
    // Flags of an operation that returns from an exception are those of the SPSR.
    const returns = i.s === 1 && i.rd === 15 && !operation.tests;
    const carries = setFlags && operation.kind === 'logic' && !returns;
    const sums = operation.kind === 'add' || operation.kind === 'sub' || operation.kind === 'reverse';
    const loose = operation.narrows === true || (sums && !setFlags);
    const y = operand(t, i, { carries, loose });
    const x = operation.moves ? y.value : t.r(i.rn);
    const result = perform(t, operation, x, y, setFlags && !returns);
    if (operation.tests) return;
    if (returns) t.exceptionReturn(result);
    else t.setR(i.rd, result);
  };

const argsOf = (operation: Operation, last: string): string[] => [
  ...(operation.tests ? [] : ['rd']),
  ...(operation.moves ? [] : ['rn']),
  last,
];

function armRows(operation: Operation, code: number): InsnRow[] {
  const op = code.toString(2).padStart(4, '0');
  const s = operation.tests ? '1' : 's';
  const rn = operation.moves ? '0000' : 'rn';
  const rd = operation.tests ? '0000' : 'rd';
  const { name } = operation;
  return [
    ...plain(
      name,
      { a: `001 ${op} ${s} ${rn} ${rd} uimm[11:0]` },
      argsOf(operation, 'const'),
      translate(operation, armOperand),
    ),
    ...plain(
      name,
      { a: `000 ${op} ${s} ${rn} ${rd} imm2[4:0] shift 0 rm` },
      argsOf(operation, 'rm, shift'),
      translate(operation, shiftedRegister),
    ),
    ...plain(
      name,
      { a: `000 ${op} ${s} ${rn} ${rd} ra 0 shift 1 rm` },
      argsOf(operation, 'rm, shift ra'),
      translate(operation, (t, i, { carries }) => shiftByRegister(t, t.r(i.rm), i.shift, t.r(i.ra), carries)),
    ),
  ];
}

const thumbCodes: readonly (readonly [string, Operation, Operation | undefined, Operation | undefined])[] = [
  // Code, operation, that with Rd 15, that with Rn 15.
  ['0000', and, tst, undefined],
  ['0001', bic, undefined, undefined],
  ['0010', orr, undefined, mov],
  ['0011', orn, undefined, mvn],
  ['0100', eor, teq, undefined],
  ['1000', add, cmn, undefined],
  ['1010', adc, undefined, undefined],
  ['1011', sbc, undefined, undefined],
  ['1101', sub, cmp, undefined],
  ['1110', rsb, undefined, undefined],
];
function thumbRows(code: string, operation: Operation): InsnRow[] {
  const s = operation.tests ? '1' : 's';
  const rn = operation.moves ? '1111' : 'rn';
  const rd = operation.tests ? '1111' : 'rd';
  const rest = operation.tests ? {} : { where: (i: Fields) => i.rd !== 15 };
  return [
    ...plain(
      operation.name,
      { t: `11110 uimm[11] 0 ${code} ${s} ${rn} 0 uimm[10:8] ${rd} uimm[7:0]` },
      argsOf(operation, 'const'),
      translate(operation, thumbOperand),
      rest,
    ),
    ...plain(
      operation.name,
      { t: `1110101 ${code} ${s} ${rn} 0 imm2[4:2] ${rd} imm2[1:0] shift rm` },
      argsOf(operation, 'rm, shift'),
      translate(operation, shiftedRegister),
      rest,
    ),
  ];
}

/** T32 of 16 bits: S is set outside IT blocks. */
const short = (
  name: string,
  enc: string,
  args: readonly string[],
  make: (t: Translator, i: Fields, setFlags: boolean) => void,
): InsnRow[] => plain(name, { t: enc }, args, (t, i) => make(t, i, !t.inIt), { flagsOutsideIt: true });
const shortImmediate = (operation: Operation, enc: string): InsnRow[] =>
  short(operation.name, enc, argsOf(operation, 'imm'), (t, i, setFlags) => {
    const y = known(t, i.imm);
    t.setR(i.rd, perform(t, operation, operation.moves ? y.value : t.r(i.rn), y, setFlags));
  });
/** Of one register and another, the result in the first. */
const shortPair = (operation: Operation, code: string): InsnRow[] =>
  short(operation.name, `010000 ${code} rm[2:0] rd[2:0]`, ['rd', 'rm'], (t, i, setFlags) => {
    t.setR(i.rd, perform(t, operation, t.r(i.rd), { value: t.r(i.rm) }, setFlags));
  });
const shortTest = (operation: Operation, enc: string, operand: (t: Translator, i: Fields) => Operand): InsnRow[] =>
  plain(operation.name, { t: enc }, ['rn', enc.includes('imm') ? 'imm' : 'rm'], (t, i) => {
    perform(t, operation, t.r(i.rn), operand(t, i), true);
  });
const shortShift = (name: string, kind: number, code: string): InsnRow[] => [
  ...short(name, `000 ${code} imm2[4:0] rm[2:0] rd[2:0]`, ['rd', 'rm', 'imm2'], (t, i, setFlags) => {
    const y = shiftByConstant(t, t.r(i.rm), kind, i.imm2, { carries: setFlags, loose: false });
    if (setFlags) t.flags.setLogic(y.value, y.carry);
    t.setR(i.rd, y.value);
  }),
];
const shiftNames = ['lsl', 'lsr', 'asr', 'ror'];
const shortShiftByRegister = (kind: number, code: string): InsnRow[] =>
  short(shiftNames[kind], `010000 ${code} rm[2:0] rd[2:0]`, ['rd', 'rm'], (t, i, setFlags) => {
    const y = shiftByRegister(t, t.r(i.rd), kind, t.r(i.rm), setFlags);
    if (setFlags) t.flags.setLogic(y.value, y.carry);
    t.setR(i.rd, y.value);
  });

const thumbShiftByRegister = shiftNames.flatMap((name, kind) =>
  plain(
    name,
    { t: `11111010 0 ${kind.toString(2).padStart(2, '0')} s rn 1111 rd 0000 rm` },
    ['rd', 'rn', 'rm'],
    (t, i) => {
      const y = shiftByRegister(t, t.r(i.rn), kind, t.r(i.rm), i.s === 1);
      if (i.s) t.flags.setLogic(y.value, y.carry);
      t.setR(i.rd, y.value);
    },
  ),
);

/** ADD and SUB of a plain number: pc-relative with the pc as base. */
const plainImmediate = (operation: Operation, enc: string): InsnRow[] =>
  plain(`${operation.name}w`, { t: enc }, ['rd', 'rn', 'imm'], (t, i) => {
    const x = i.rn === 15 ? t.literal(0) : t.r(i.rn);
    t.setR(i.rd, perform(t, operation, x, known(t, i.imm), false));
  });

const move16 = (name: string, a: string, t32: string, keepsLow: boolean): InsnRow[] =>
  plain(name, { a, t: t32 }, ['rd', 'imm'], (t, i) => {
    const { b } = t;
    if (!keepsLow) return t.setConstant(i.rd, i.imm);
    const before = t.constantOf(i.rd);
    if (before !== undefined) return t.setConstant(i.rd, (before & 0xffff) + i.imm * 65536);
    t.setR(i.rd, b.i64_or(b.i64_and(t.r(i.rd), b.i64(0xffff)), b.i64(i.imm * 65536)));
  });

export const dataRows: readonly InsnRow[] = [
  ...armOperations.flatMap(armRows),
  ...thumbCodes.flatMap(([code, operation, tests, moves]) =>
    [operation, tests, moves].flatMap((one) => (one ? thumbRows(code, one) : [])),
  ),
  ...thumbShiftByRegister,
  ...shortShift('lsl', 0, '00'),
  ...shortShift('lsr', 1, '01'),
  ...shortShift('asr', 2, '10'),
  ...[add, sub].flatMap((operation, n) => [
    ...short(operation.name, `000110 ${n} rm[2:0] rn[2:0] rd[2:0]`, ['rd', 'rn', 'rm'], (t, i, setFlags) =>
      t.setR(i.rd, perform(t, operation, t.r(i.rn), { value: t.r(i.rm) }, setFlags)),
    ),
    ...shortImmediate(operation, `000111 ${n} uimm[2:0] rn[2:0] rd[2:0]`),
    ...short(operation.name, `0011 ${n} rd[2:0] uimm[7:0]`, ['rd', 'imm'], (t, i, setFlags) =>
      t.setR(i.rd, perform(t, operation, t.r(i.rd), known(t, i.imm), setFlags)),
    ),
  ]),
  ...shortImmediate(mov, '00100 rd[2:0] uimm[7:0]'),
  ...shortTest(cmp, '00101 rn[2:0] uimm[7:0]', (t, i) => known(t, i.imm)),
  ...shortPair(and, '0000'),
  ...shortPair(eor, '0001'),
  ...shortShiftByRegister(0, '0010'),
  ...shortShiftByRegister(1, '0011'),
  ...shortShiftByRegister(2, '0100'),
  ...shortPair(adc, '0101'),
  ...shortPair(sbc, '0110'),
  ...shortShiftByRegister(3, '0111'),
  ...shortTest(tst, '010000 1000 rm[2:0] rn[2:0]', (t, i) => ({ value: t.r(i.rm) })),
  ...short('rsb', '010000 1001 rn[2:0] rd[2:0]', ['rd', 'rn'], (t, i, setFlags) =>
    t.setR(i.rd, perform(t, rsb, t.r(i.rn), known(t, 0), setFlags)),
  ),
  ...shortTest(cmp, '010000 1010 rm[2:0] rn[2:0]', (t, i) => ({ value: t.r(i.rm) })),
  ...shortTest(cmn, '010000 1011 rm[2:0] rn[2:0]', (t, i) => ({ value: t.r(i.rm) })),
  ...shortPair(orr, '1100'),
  ...shortPair(bic, '1110'),
  ...shortPair(mvn, '1111'),
  ...plain('add', { t: '01000100 rd[3] rm rd[2:0]' }, ['rd', 'rm'], (t, i) =>
    t.setR(i.rd, perform(t, add, t.r(i.rd), { value: t.r(i.rm) }, false)),
  ),
  ...shortTest(cmp, '01000101 rn[3] rm rn[2:0]', (t, i) => ({ value: t.r(i.rm) })),
  ...plain('mov', { t: '01000110 rd[3] rm rd[2:0]' }, ['rd', 'rm'], (t, i) => t.setR(i.rd, t.r(i.rm))),
  ...plain('adr', { t: '10100 rd[2:0] uimm[9:2]' }, ['rd', 'imm'], (t, i) => t.setR(i.rd, t.literal(i.imm))),
  ...plain('add', { t: '10101 rd[2:0] uimm[9:2]' }, ['rd', 'sp', 'imm'], (t, i) =>
    t.setLow(i.rd, t.b.i64_add(t.r(13), t.b.i64(i.imm))),
  ),
  ...plain('add', { t: '101100000 uimm[8:2]' }, ['sp', 'imm'], (t, i) =>
    t.setLow(13, t.b.i64_add(t.r(13), t.b.i64(i.imm))),
  ),
  ...plain('sub', { t: '101100001 uimm[8:2]' }, ['sp', 'imm'], (t, i) =>
    t.setLow(13, t.b.i64_sub(t.r(13), t.b.i64(i.imm))),
  ),
  ...plainImmediate(add, '11110 uimm[11] 10000 0 rn 0 uimm[10:8] rd uimm[7:0]'),
  ...plainImmediate(sub, '11110 uimm[11] 10101 0 rn 0 uimm[10:8] rd uimm[7:0]'),
  ...move16(
    'movw',
    '0011 0000 uimm[15:12] rd uimm[11:0]',
    '11110 uimm[11] 100100 uimm[15:12] 0 uimm[10:8] rd uimm[7:0]',
    false,
  ),
  ...move16(
    'movt',
    '0011 0100 uimm[15:12] rd uimm[11:0]',
    '11110 uimm[11] 101100 uimm[15:12] 0 uimm[10:8] rd uimm[7:0]',
    true,
  ),
  // SUBS PC, LR: returns from an exception.
  ...rows('subs', { t: '111100111101 1110 1000 1111 uimm[7:0]' }, ['pc', 'lr', 'imm'], (t, i) =>
    t.exceptionReturn(low(t, t.b.i64_sub(t.r(14), t.b.i64(i.imm)))),
  ),
];
