/**
 * x87 rows: opcodes D8 to DF and FWAIT, with the aliases that processors accept. Intel SDM vol. 1 ch. 8, vol. 2 appendix A.2.6.
 *
 * Each instruction is one routine call. What is kept of the last instruction is its address, its opcode and its operand's
 * address (always, as with CPUID.(7,0):EBX[6] clear), and outside 64-bit mode their segments.
 */
import type { I32, I64, Routine } from '../../../ir/index.js';
import * as arith from '../routines/x87-arithmetic.js';
import {
  environmentFormat,
  fldcw,
  fldenv,
  fnclex,
  fninit,
  fnsave,
  fnstenv,
  frstor,
} from '../routines/x87-environment.js';
import * as memory from '../routines/x87-memory.js';
import { type Transcendental, transcendental } from '../routines/x87-transcendental.js';
import { field } from '../state.js';
import type { DecodedInsn, InsnRow, Translator } from '../translator.js';

type Translate = InsnRow['translate'];
type Faulting<P extends readonly ('i32' | 'i64')[]> = Routine<P, readonly ['i32']>;

const CS = 1;

const rows: InsnRow[] = [];

function add(name: string, enc: string, args: string, translate: Translate, more: Partial<InsnRow> = {}): void {
  rows.push({ name, enc, args, cpuid: 'fpu', unit: 'fpu', translate, ...more });
}

/** Offset of the memory operand in its segment. */
function operandOffset(t: Translator, insn: DecodedInsn): I64 {
  const sameAsLinear = insn.segment < 4 && (t.codeSize === 64 || t.mode.flat);
  return sameAsLinear ? t.address() : t.effectiveAddress();
}

/** Notes the instruction in the x87's pointers: after all that can fault. */
function record(t: Translator, insn: DecodedInsn): void {
  const { b } = t;
  const state = b.state();
  b.i64_store(state, t.pc(), field.fpIp);
  b.i32_store(state, b.i32(((insn.opcode & 7) << 8) | insn.modrm), field.fpOpcode);
  if (!insn.isReg) b.i64_store(state, operandOffset(t, insn), field.fpDp);
  if (t.codeSize === 64) return;
  b.i32_store(state, b.i32_load(state, field.selector + 4 * CS), field.fpCs);
  if (!insn.isReg) b.i32_store(state, b.i32_load(state, field.selector + 4 * insn.segment), field.fpDs);
}

/** A row that is not a control instruction. */
function operation(name: string, enc: string, args: string, translate: Translate, more: Partial<InsnRow> = {}): void {
  const recording: Translate = (t, insn) => {
    translate(t, insn);
    record(t, insn);
  };
  add(name, enc, args, recording, more);
}

const hex = (byte: number): string => byte.toString(16).toUpperCase().padStart(2, '0');
/** ST(i) as the opcode's last byte from `base` on. */
const registerForm = (opcode: string, base: number): string => `${opcode} ${hex(base)}+i`;
const sti = (t: Translator, insn: DecodedInsn): I32 => t.b.i32(insn.modrm & 7);

function simple(name: string, enc: string, args: string, routine: Faulting<readonly []>): void {
  operation(name, enc, args, (t) => t.b.call(routine));
}

// --- arithmetic: the four operand kinds of D8 to DE

type MemoryForm = readonly [opcode: string, args: string, kind: arith.OperandKind, load: (t: Translator) => I64];

const memoryForms: readonly MemoryForm[] = [
  ['D8', 'Md:r', 'f32', (t) => t.b.i64_extend_i32_u(t.load(32, t.address()))],
  ['DC', 'Mq:r', 'f64', (t) => t.load(64, t.address())],
  ['DA', 'Md:r', 'integer', (t) => t.b.i64_extend_i32_s(t.load(32, t.address()))],
  ['DE', 'Mw:r', 'integer', (t) => t.b.i64_extend_i32_s(t.b.i32_extend16_s(t.load(16, t.address())))],
];

/** Mnemonic, operation, ModRM digit, and the digit that means the same where ST(i) is the destination (DC, DE). */
const arithmeticRows: readonly (readonly [string, keyof typeof arith.arithmetic, number, number])[] = [
  ['ADD', 'add', 0, 0],
  ['MUL', 'mul', 1, 1],
  ['SUB', 'sub', 4, 5],
  ['SUBR', 'subr', 5, 4],
  ['DIV', 'div', 6, 7],
  ['DIVR', 'divr', 7, 6],
];

for (const [name, key, digit, reversedDigit] of arithmeticRows) {
  const op = arith.arithmetic[key];
  for (const [opcode, args, kind, load] of memoryForms) {
    const mnemonic = kind === 'integer' ? `FI${name}` : `F${name}`;
    operation(mnemonic, `${opcode} /${digit}`, args, (t) => t.b.call(op[kind], load(t)));
  }
  const toTop: Translate = (t, insn) => t.b.call(op.registers, t.b.i32(0), sti(t, insn), t.b.i32(0));
  const toRegister =
    (pop: number): Translate =>
    (t, insn) =>
      t.b.call(op.registers, sti(t, insn), t.b.i32(0), t.b.i32(pop));
  operation(`F${name}`, registerForm('D8', 0xc0 + 8 * digit), 'ST0:rw, STi:r', toTop);
  operation(`F${name}`, registerForm('DC', 0xc0 + 8 * reversedDigit), 'STi:rw, ST0:r', toRegister(0));
  operation(`F${name}P`, registerForm('DE', 0xc0 + 8 * reversedDigit), 'STi:rw, ST0:r', toRegister(1));
}

// --- comparison

for (const [opcode, args, kind, load] of memoryForms) {
  const prefix = kind === 'integer' ? 'FI' : 'F';
  for (const [suffix, digit, pops] of [
    ['COM', 2, 0],
    ['COMP', 3, 1],
  ] as const) {
    operation(prefix + suffix, `${opcode} /${digit}`, args, (t) =>
      t.b.call(arith.compare[kind], load(t), t.b.i32(pops)),
    );
  }
}

/** Encoding, name, pops, quiet. The later ones of a name are aliases. */
const compareForms: readonly (readonly [string, string, number, number])[] = [
  [registerForm('D8', 0xd0), 'FCOM', 0, 0],
  [registerForm('D8', 0xd8), 'FCOMP', 1, 0],
  [registerForm('DC', 0xd0), 'FCOM', 0, 0],
  [registerForm('DC', 0xd8), 'FCOMP', 1, 0],
  [registerForm('DE', 0xd0), 'FCOMP', 1, 0],
  ['DE D9', 'FCOMPP', 2, 0],
  [registerForm('DD', 0xe0), 'FUCOM', 0, 1],
  [registerForm('DD', 0xe8), 'FUCOMP', 1, 1],
  ['DA E9', 'FUCOMPP', 2, 1],
];
for (const [enc, name, pops, quiet] of compareForms) {
  operation(name, enc, 'ST0:r, STi:r', (t, insn) =>
    t.b.call(arith.compareRegisters, sti(t, insn), t.b.i32(pops), t.b.i32(quiet)),
  );
}

for (const [enc, name, pops, quiet] of [
  [registerForm('DB', 0xf0), 'FCOMI', 0, 0],
  [registerForm('DB', 0xe8), 'FUCOMI', 0, 1],
  [registerForm('DF', 0xf0), 'FCOMIP', 1, 0],
  [registerForm('DF', 0xe8), 'FUCOMIP', 1, 1],
] as const) {
  const translate: Translate = (t, insn) => {
    const [, flags] = t.b.call(arith.compareToFlags, sti(t, insn), t.b.i32(pops), t.b.i32(quiet));
    t.writeStatusFlags(flags);
  };
  operation(name, enc, 'ST0:r, STi:r', translate, { flags: { w: 'OSZAPC' } });
}

simple('FTST', 'D9 E4', 'ST0:r', arith.ftst);
simple('FXAM', 'D9 E5', 'ST0:r', arith.fxam);

// --- operations on ST(0), and ST(1)

simple('FCHS', 'D9 E0', 'ST0:rw', arith.fchs);
simple('FABS', 'D9 E1', 'ST0:rw', arith.fabs);
simple('FSQRT', 'D9 FA', 'ST0:rw', arith.fsqrt);
simple('FRNDINT', 'D9 FC', 'ST0:rw', arith.frndint);
simple('FSCALE', 'D9 FD', 'ST0:rw, ST1:r', arith.fscale);
simple('FPREM', 'D9 F8', 'ST0:rw, ST1:r', arith.fprem);
simple('FPREM1', 'D9 F5', 'ST0:rw, ST1:r', arith.fprem1);
simple('FXTRACT', 'D9 F4', 'ST0:rw', arith.fxtract);

for (const [name, byte, key] of [
  ['F2XM1', 0xf0, 'f2xm1'],
  ['FYL2X', 0xf1, 'fyl2x'],
  ['FPTAN', 0xf2, 'fptan'],
  ['FPATAN', 0xf3, 'fpatan'],
  ['FYL2XP1', 0xf9, 'fyl2xp1'],
  ['FSINCOS', 0xfb, 'fsincos'],
  ['FSIN', 0xfe, 'fsin'],
  ['FCOS', 0xff, 'fcos'],
] as const satisfies readonly (readonly [string, number, Transcendental])[]) {
  simple(name, `D9 ${hex(byte)}`, 'ST0:rw', transcendental[key]);
}

// --- loads and stores

const withAddress =
  (routine: Faulting<readonly ['i64']>): Translate =>
  (t) =>
    t.b.call(routine, t.address());
const storing =
  (routine: Faulting<readonly ['i64', 'i32']>, pop: number): Translate =>
  (t) =>
    t.b.call(routine, t.address(), t.b.i32(pop));
const storingInteger =
  (routine: Faulting<readonly ['i64', 'i32', 'i32']>, pop: number, truncate: number): Translate =>
  (t) =>
    t.b.call(routine, t.address(), t.b.i32(pop), t.b.i32(truncate));

operation('FLD', 'D9 /0', 'Md:r', withAddress(memory.fldF32));
operation('FLD', 'DD /0', 'Mq:r', withAddress(memory.fldF64));
operation('FLD', 'DB /5', 'Mt:r', withAddress(memory.fldF80));
operation('FBLD', 'DF /4', 'Mt:r', withAddress(memory.fbld));
operation('FLD', registerForm('D9', 0xc0), 'STi:r', (t, insn) => t.b.call(memory.fldRegister, sti(t, insn)));
operation('FILD', 'DF /0', 'Mw:r', (t) => t.b.call(memory.fild, memoryForms[3][3](t)));
operation('FILD', 'DB /0', 'Md:r', (t) => t.b.call(memory.fild, memoryForms[2][3](t)));
operation('FILD', 'DF /5', 'Mq:r', (t) => t.b.call(memory.fild, t.load(64, t.address())));
for (const [n, name] of ['FLD1', 'FLDL2T', 'FLDL2E', 'FLDPI', 'FLDLG2', 'FLDLN2', 'FLDZ'].entries()) {
  operation(name, `D9 ${hex(0xe8 + n)}`, '', (t) => t.b.call(memory.fldConstant, t.b.i32(n)));
}

operation('FST', 'D9 /2', 'Md:w', storing(memory.fstF32, 0));
operation('FSTP', 'D9 /3', 'Md:w', storing(memory.fstF32, 1));
operation('FST', 'DD /2', 'Mq:w', storing(memory.fstF64, 0));
operation('FSTP', 'DD /3', 'Mq:w', storing(memory.fstF64, 1));
operation('FSTP', 'DB /7', 'Mt:w', withAddress(memory.fstpF80));
operation('FBSTP', 'DF /6', 'Mt:w', withAddress(memory.fbstp));
operation('FIST', 'DF /2', 'Mw:w', storingInteger(memory.fist16, 0, 0));
operation('FISTP', 'DF /3', 'Mw:w', storingInteger(memory.fist16, 1, 0));
operation('FIST', 'DB /2', 'Md:w', storingInteger(memory.fist32, 0, 0));
operation('FISTP', 'DB /3', 'Md:w', storingInteger(memory.fist32, 1, 0));
operation('FISTP', 'DF /7', 'Mq:w', storingInteger(memory.fist64, 1, 0));
operation('FISTTP', 'DF /1', 'Mw:w', storingInteger(memory.fist16, 1, 1), { cpuid: 'sse3' });
operation('FISTTP', 'DB /1', 'Md:w', storingInteger(memory.fist32, 1, 1), { cpuid: 'sse3' });
operation('FISTTP', 'DD /1', 'Mq:w', storingInteger(memory.fist64, 1, 1), { cpuid: 'sse3' });

for (const [opcode, base, pop] of [
  ['DD', 0xd0, 0],
  ['DD', 0xd8, 1],
  ['DF', 0xd0, 1],
  ['DF', 0xd8, 1],
] as const) {
  operation(pop ? 'FSTP' : 'FST', registerForm(opcode, base), 'STi:w', (t, insn) =>
    t.b.call(memory.fstRegister, sti(t, insn), t.b.i32(pop)),
  );
}
operation('FSTPNCE', registerForm('D9', 0xd8), 'STi:w', (t, insn) => t.b.call(memory.fstpNoCheck, sti(t, insn)));

for (const [opcode, base] of [
  ['D9', 0xc8],
  ['DD', 0xc8],
  ['DF', 0xc8],
] as const) {
  operation('FXCH', registerForm(opcode, base), 'STi:rw', (t, insn) => t.b.call(arith.fxch, sti(t, insn)));
}

/** Which status flags make the condition of FCMOVcc true (or, negated, false). */
const moveConditions: readonly (readonly [string, number, string])[] = [
  ['B', 0x01, 'C'],
  ['E', 0x40, 'Z'],
  ['BE', 0x41, 'ZC'],
  ['U', 0x04, 'P'],
];
for (const [n, [suffix, mask, letters]] of moveConditions.entries()) {
  for (const negated of [0, 1]) {
    const translate: Translate = (t, insn) => {
      const { b } = t;
      const bits = b.i32_and(t.readStatusFlags(), b.i32(mask));
      b.call(arith.fcmov, sti(t, insn), negated ? b.i32_eqz(bits) : bits);
    };
    operation(
      `FCMOV${negated ? 'N' : ''}${suffix}`,
      registerForm(negated ? 'DB' : 'DA', 0xc0 + 8 * n),
      'ST0:rw, STi:r',
      translate,
      { cpuid: 'cmov', flags: { r: letters } },
    );
  }
}

operation('FFREE', registerForm('DD', 0xc0), 'STi:w', (t, insn) => t.b.call(arith.ffree, sti(t, insn), t.b.i32(0)));
operation('FFREEP', registerForm('DF', 0xc0), 'STi:w', (t, insn) => t.b.call(arith.ffree, sti(t, insn), t.b.i32(1)));
operation('FINCSTP', 'D9 F7', '', (t) => t.b.call(arith.moveTop, t.b.i32(1)));
operation('FDECSTP', 'D9 F6', '', (t) => t.b.call(arith.moveTop, t.b.i32(7)));
simple('FNOP', 'D9 D0', '', arith.fwait);

// --- control

add('FWAIT', '9B', '', (t) => t.b.call(arith.fwait), { unit: 'wait' });
add('FNINIT', 'DB E3', '', (t) => t.b.call(fninit));
add('FNCLEX', 'DB E2', '', (t) => t.b.call(fnclex));
/** Of the 8087 and 80287; nothing since. */
for (const [name, byte] of [
  ['FNENI', 0xe0],
  ['FNDISI', 0xe1],
  ['FNSETPM', 0xe4],
] as const) {
  add(name, `DB ${hex(byte)}`, '', () => undefined);
}

function statusWord(t: Translator): I32 {
  const { b } = t;
  const state = b.state();
  const top = b.i32_shl(b.i32_load(state, field.fpTop), b.i32(11));
  return b.i32_or(b.i32_load(state, field.fpStatus), top);
}
add('FNSTSW', 'DF E0', 'AX:w', (t) => t.writeGpr(16, 0, statusWord(t)));
add('FNSTSW', 'DD /7', 'Mw:w', (t) => t.store(16, t.address(), statusWord(t)));
add('FNSTCW', 'D9 /7', 'Mw:w', (t) => t.store(16, t.address(), t.b.i32_load(t.b.state(), field.fpControl)));
add('FLDCW', 'D9 /5', 'Mw:r', (t) => t.b.call(fldcw, t.load(16, t.address())));

/** Address (checked against the segment for the whole of it) and layout of an environment, and how many bytes of registers follow. */
function environment(t: Translator, insn: DecodedInsn, registers: number, write: boolean): [I64, I32] {
  const wide = insn.opSize === 16 ? 0 : environmentFormat.wide;
  const real = t.protectedMode && !t.vm86 ? 0 : environmentFormat.real;
  const bytes = (wide ? 28 : 14) + registers;
  return [t.linear(insn.segment, t.effectiveAddress(), bytes, write), t.b.i32(wide | real)];
}
add('FNSTENV', 'D9 /6', 'M:w', (t, insn) => t.b.call(fnstenv, ...environment(t, insn, 0, true)));
add('FLDENV', 'D9 /4', 'M:r', (t, insn) => t.b.call(fldenv, ...environment(t, insn, 0, false)));
add('FNSAVE', 'DD /6', 'M:w', (t, insn) => t.b.call(fnsave, ...environment(t, insn, 80, true)));
add('FRSTOR', 'DD /4', 'M:r', (t, insn) => t.b.call(frstor, ...environment(t, insn, 80, false)));

export const x87Rows: readonly InsnRow[] = rows;
