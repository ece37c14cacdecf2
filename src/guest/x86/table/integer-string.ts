/** String instructions but for INS and OUTS: Intel SDM vol. 1 section 7.3.9. */
import type { I32, I64 } from '../../../ir/index.js';
import { flagKind } from '../flags.js';
import { repeatedString, stringCheck } from '../routines/string.js';
import { field, segBase } from '../state.js';
import { eflag } from '../system/bits.js';
import type { DecodedInsn, InsnRow, OperandSize, Translator } from '../translator.js';
import { ALL_FLAGS, byteAndWord, reg, segment, sizeOf } from './integer-helpers.js';

const sourceSegment = (insn: DecodedInsn) => (insn.segOverride >= 0 ? insn.segOverride : segment.DS);

/** Linear address of the element at SI or DI. */
export function elementAddress(t: Translator, n: number, size: OperandSize, write: boolean): I64 {
  const { wide, insn } = t;
  const offset = wide.clean(insn.addrSize, t.readWide(insn.addrSize, n));
  return t.linear(n === reg.SI ? sourceSegment(insn) : segment.ES, offset, size >> 3, write);
}

/** Moves SI or DI by one element, by DF. */
export function stepIndex(t: Translator, size: OperandSize, ...registers: readonly number[]): void {
  const { b, wide, insn } = t;
  const bytes = size >> 3;
  const down = b.i32_and(b.i32_load(b.state(), field.eflags), b.i32(1 << 10));
  const stride = b.select(down, wide.small(-bytes), wide.small(bytes));
  for (const n of registers) t.writeWide(insn.addrSize, n, b.i64_add(t.readWide(insn.addrSize, n), stride));
}

/** An instruction breakpoint does not stop a repeated instruction again before its next element. */
export function resumeIfMore(t: Translator, more: I32): void {
  const { b } = t;
  const flags = b.i32_load(b.state(), field.eflags);
  b.i32_store(b.state(), b.i32_or(flags, b.select(more, b.i32(eflag.RF), b.i32(0))), field.eflags);
}

/** Calls a repeated instruction's routine and runs the instruction again while it says so. */
function repeat(t: Translator, size: OperandSize, family: keyof typeof repeatedString): void {
  const { b, insn, mode } = t;
  const from = sourceSegment(insn);
  const in64 = t.codeSize === 64;
  const base = (n: number): I64 => (n < 4 && (in64 || mode.flat) ? b.i64(0) : b.get(segBase[n]));
  const mask = (bits: number): I64 => (bits === 64 ? b.i64(-1) : b.i64(2 ** bits - 1));
  const checked = (n: number, bit: number) => ((mode.checkedSegments >> n) & 1 ? bit : 0);
  const checks =
    from |
    checked(from, stringCheck.source) |
    checked(segment.ES, stringCheck.destination) |
    (mode.alignmentCheck ? stringCheck.alignment : 0) |
    (mode.singleStep || mode.dataBreak ? stringCheck.debug : 0);
  const routine = repeatedString[family][Math.log2(size >> 3)];
  const [, more] = b.call(
    routine,
    base(from),
    base(segment.ES),
    mask(insn.addrSize),
    mask(in64 ? 64 : 32),
    b.i32(checks),
  );
  if (family !== 'movs' && family !== 'stos' && family !== 'lods') t.flags.invalidate();
  if (mode.instructionBreak) resumeIfMore(t, more);
  t.repeatIf(more);
}

const stringRows: InsnRow[] = [
  ...byteAndWord((byte) => ({
    name: 'MOVS',
    enc: byte ? 'A4' : 'A5',
    args: byte ? 'Yb:w, Xb:r' : 'Yv:w, Xv:r',
    translate(t, insn) {
      const size = sizeOf(byte, insn);
      if (insn.rep) return repeat(t, size, 'movs');
      const value = t.loadWide(size, elementAddress(t, reg.SI, size, false));
      t.storeWide(size, elementAddress(t, reg.DI, size, true), value);
      stepIndex(t, size, reg.SI, reg.DI);
    },
  })),
  ...byteAndWord((byte) => ({
    name: 'STOS',
    enc: byte ? 'AA' : 'AB',
    args: byte ? 'Yb:w, AL:r' : 'Yv:w, rAX:r',
    translate(t, insn) {
      const size = sizeOf(byte, insn);
      if (insn.rep) return repeat(t, size, 'stos');
      t.storeWide(size, elementAddress(t, reg.DI, size, true), t.readWide(size, reg.AX));
      stepIndex(t, size, reg.DI);
    },
  })),
  ...byteAndWord((byte) => ({
    name: 'LODS',
    enc: byte ? 'AC' : 'AD',
    args: byte ? 'AL:w, Xb:r' : 'rAX:w, Xv:r',
    translate(t, insn) {
      const size = sizeOf(byte, insn);
      if (insn.rep) return repeat(t, size, 'lods');
      t.writeWide(size, reg.AX, t.loadWide(size, elementAddress(t, reg.SI, size, false)));
      stepIndex(t, size, reg.SI);
    },
  })),
  ...byteAndWord((byte) => ({
    name: 'CMPS',
    enc: byte ? 'A6' : 'A7',
    args: byte ? 'Xb:r, Yb:r' : 'Xv:r, Yv:r',
    flags: ALL_FLAGS,
    translate(t, insn) {
      const size = sizeOf(byte, insn);
      if (insn.rep) return repeat(t, size, insn.rep === 0xf3 ? 'cmpsEqual' : 'cmpsUnequal');
      const right = t.loadWide(size, elementAddress(t, reg.DI, size, false));
      const left = t.loadWide(size, elementAddress(t, reg.SI, size, false));
      stepIndex(t, size, reg.SI, reg.DI);
      t.flags.set(flagKind.sub, size, left, right);
    },
  })),
  ...byteAndWord((byte) => ({
    name: 'SCAS',
    enc: byte ? 'AE' : 'AF',
    args: byte ? 'AL:r, Yb:r' : 'rAX:r, Yv:r',
    flags: ALL_FLAGS,
    translate(t, insn) {
      const size = sizeOf(byte, insn);
      if (insn.rep) return repeat(t, size, insn.rep === 0xf3 ? 'scasEqual' : 'scasUnequal');
      const left = t.readWide(size, reg.AX);
      const right = t.loadWide(size, elementAddress(t, reg.DI, size, false));
      stepIndex(t, size, reg.DI);
      t.flags.set(flagKind.sub, size, left, right);
    },
  })),
];

export const integerStringRows: readonly InsnRow[] = stringRows;
