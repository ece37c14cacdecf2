/** What the integer tables share. */
import type { I64 } from '../../../ir/index.js';
import { flagKind } from '../flags.js';
import type { DecodedInsn, InsnRow, OperandSize, Translator } from '../translator.js';

export const NONE = -1 as I64;
export const ALL_FLAGS = { w: 'OSZAPC' } as const;

export const reg = { AX: 0, CX: 1, DX: 2, BX: 3, SP: 4, BP: 5, SI: 6, DI: 7 } as const;
export const segment = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5 } as const;
export const vector = { DE: 0, DB: 1, BP: 3, OF: 4, BR: 5, UD: 6, NM: 7, SS: 12, GP: 13 } as const;

/** Where a result goes: a register by number, or one of these. */
export const TO_RM = -1;
export const NOWHERE = -2;

export function writeResult(t: Translator, to: number, size: OperandSize, value: I64): void {
  if (to === TO_RM) t.writeRmWide(size, value);
  else if (to !== NOWHERE) t.writeWide(size, to, value);
}

/** Binary operations by the number that opcodes 00-3F and group 1 give them; 8 is TEST. */
export const aluNames = ['ADD', 'OR', 'ADC', 'SBB', 'AND', 'SUB', 'XOR', 'CMP'] as const;
export const TEST = 8;

/** x op y: writes the result, then the flags. */
export function alu(t: Translator, op: number, size: OperandSize, x: I64, y: I64, to: number): void {
  const { b, flags, wide } = t;
  switch (op) {
    case 0: {
      const r = b.i64_add(x, y);
      writeResult(t, to, size, r);
      flags.set(flagKind.add, size, r, y);
      break;
    }
    case 2: {
      const carry = wide.widen(flags.carry(), 1);
      const r = b.i64_add(b.i64_add(x, y), carry);
      writeResult(t, to, size, r);
      flags.set(flagKind.adc, size, r, y, carry);
      break;
    }
    case 3: {
      const borrow = wide.widen(flags.carry(), 1);
      const r = b.i64_sub(b.i64_sub(x, y), borrow);
      writeResult(t, to, size, r);
      flags.set(flagKind.sbb, size, x, y, borrow, r);
      break;
    }
    case 5: {
      const r = b.i64_sub(x, y);
      writeResult(t, to, size, r);
      flags.set(flagKind.sub, size, x, y, NONE, r);
      break;
    }
    case 7:
      flags.set(flagKind.sub, size, x, y);
      break;
    default: {
      const r = op === 1 ? b.i64_or(x, y) : op === 6 ? b.i64_xor(x, y) : b.i64_and(x, y);
      if (size === 32 && wide.isClean(x, 32) && (wide.isClean(y, 32) || op === 4)) wide.noteWidth(r, 32);
      writeResult(t, op === TEST ? NOWHERE : to, size, r);
      flags.set(flagKind.logic, size, r);
    }
  }
}

/** Both of a byte row and its word/dword/qword sister: `make(byte?)`. */
export function byteAndWord(make: (byte: boolean) => InsnRow): InsnRow[] {
  return [make(true), make(false)];
}

export const sizeOf = (byte: boolean, insn: DecodedInsn): OperandSize => (byte ? 8 : insn.opSize);

export const hex = (value: number): string => value.toString(16).toUpperCase().padStart(2, '0');
