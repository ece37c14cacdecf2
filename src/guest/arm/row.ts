/** What a row of the instruction table says, and what its `translate` has at hand. */
import type { BlockBuilder, I32, I64, V128 } from '../../ir/index.js';
import type { Feature } from './features.js';
import type { LazyFlags } from './flags.js';
import type { Mode } from './mode.js';
import type { ArmModel } from './models.js';

/** An instruction's fields, by the manual's names where it has one. */
export interface Fields {
  /** Rd or Rt. */
  rd: number;
  rn: number;
  /** Rm, or Rs of exclusives and atomics. */
  rm: number;
  /** Ra or Rt2. */
  ra: number;
  /** 1: 64-bit operation. */
  sf: number;
  imm: number;
  /** The second immediate: immr, nzcv, a shift's amount. */
  imm2: number;
  cond: number;
  shift: number;
  option: number;
  size: number;
  s: number;
  q: number;
}

/** One Translator translates one block; it describes the instruction in turn. */
export interface Translator {
  readonly b: BlockBuilder;
  readonly mode: Mode;
  readonly model: ArmModel;
  readonly flags: LazyFlags;
  /** SIMD and floating-point registers. */
  v(n: number): V128;
  setV(n: number, value: V128): void;
  /** General registers: 31 is the zero register. */
  x(n: number): I64;
  setX(n: number, value: I64): void;
  /** General registers: 31 is the stack pointer. */
  xsp(n: number): I64;
  setXsp(n: number, value: I64): void;
  /** The address of this instruction plus a displacement. */
  pcPlus(displacement: number): I64;
  /** How far from the start of its page this instruction lies. */
  readonly offsetInPage: number;
  /** An exception at this instruction. Ends the block. */
  exception(syndrome: number): void;
  exceptionIf(condition: I32, syndrome: number, address: I64): void;
  /** The instruction is one of floating point or SIMD. True: it is trapped, which ends the block. */
  floatTraps(): boolean;
  undefined(): void;
  /** Ends the block: on to this displacement from the instruction, which calls with `link`. */
  goto(displacement: number, link?: boolean): void;
  /** Ends the block: to the displacement if the condition is not 0 (`onZero`: if it is), else to the next instruction. */
  branch(condition: I32, displacement: number, onZero?: boolean): void;
  /** Ends the block: to an address (jumpKind of the ir layer). */
  jump(target: I64, kind: number): void;
  /** Ends the block after this instruction; `check`: interrupts are looked at. */
  endBlock(check?: boolean): void;
  /** The process state with other interrupt masks: what they let in is taken before the next instruction. */
  setMasks(state: I32): void;
  /** Ends the block with an exit for JavaScript (leaveReason); waits for an interrupt unless said otherwise. */
  leave(reason?: number): void;
  /** An exception's syndrome, in a call that returns to the next instruction. Ends the block. */
  call(syndrome: number): void;
  /** Ends the block: a routine has set the pc. */
  resume(): void;
}

/** Rows that take an extension. */
export const needing = (feature: Feature, rows: readonly InsnRow[]): InsnRow[] =>
  rows.map((row) => ({ ...row, features: [...(row.features ?? []), feature] }));

export interface InsnRow {
  /** The manual's mnemonic, in small letters. */
  readonly name: string;
  /** Encoding (encoding.ts). */
  readonly enc: string;
  /** Operands as assembly writes them (disassemble.ts). */
  readonly args: readonly string[];
  /** What the encoding's fields must be for it to be this instruction. */
  readonly where?: (i: Fields) => boolean;
  /** Extensions that it takes, all of them. */
  readonly features?: readonly Feature[];
  /** Uses SIMD and floating-point registers, which may be trapped. */
  readonly float?: true;
  /** Bytes that it accesses at its memory operand, at most. */
  readonly bytes?: number | ((i: Fields) => number);
  readonly translate: (t: Translator, i: Fields) => void;
}
