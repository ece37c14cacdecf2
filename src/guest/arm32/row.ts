/** What a row of the instruction table says, and what its `translate` has at hand. */
import type { BlockBuilder, I32, I64, V128 } from '../../ir/index.js';
import type { Feature } from '../arm/features.js';
import type { LazyFlags } from './flags.js';
import type { Mode } from './mode.js';
import type { Arm32Model } from './models.js';

/** An instruction's fields, by the manual's names where it has one. */
export interface Fields {
  /** Rd, or Rt of loads and stores; RdHi. */
  rd: number;
  rn: number;
  rm: number;
  /** Ra, Rs of a shift, Rt2, RdLo. */
  ra: number;
  imm: number;
  /** The second immediate: a shift's amount, a width. */
  imm2: number;
  cond: number;
  shift: number;
  size: number;
  s: number;
  p: number;
  u: number;
  w: number;
  q: number;
  op: number;
}

/** One Translator translates one block; it describes the instruction in turn. */
export interface Translator {
  readonly b: BlockBuilder;
  readonly mode: Mode;
  readonly model: Arm32Model;
  readonly flags: LazyFlags;
  readonly thumb: boolean;
  /** The instruction is in an IT block. */
  readonly inIt: boolean;
  /** The condition under which it is executed; 14: always. */
  readonly cond: number;
  /** General registers, zero-extended; 15 is the pc as instructions read it. */
  r(n: number): I64;
  /** The value is zero-extended. 15: a jump to it, as data processing does (BranchWritePC or BXWritePC). */
  setR(n: number, value: I64): void;
  /** The same of a number that is known: until the register is written again, the block knows it (`constantOf`). */
  setConstant(n: number, value: number): void;
  constantOf(n: number): number | undefined;
  /** The same of the value's low half. */
  setLow(n: number, value: I64): void;
  /** Sets a variable, if the condition holds. */
  v(n: number): V128;
  setV(n: number, value: V128): void;
  /** A field of the state, if the condition holds. */
  setField(offset: number, value: I32): void;
  /** The address that pc-relative operands are made of, plus a displacement: the pc as read, rounded down to a word. */
  literal(displacement: number): I64;
  /** The same as where an access is (place in table/shared.ts). */
  literalPlace(displacement: number): I64;
  /** The address of the instruction behind this one, with the instruction set in bit 0. */
  linkAddress(): I64;
  /** An exception at this instruction; `after`: it returns to the next one. Ends the block. */
  exception(syndrome: number, after?: boolean): void;
  undefined(): void;
  /** An alignment fault unless the address is a multiple of `bytes`. */
  aligned(address: I64, bytes: number, isStore: boolean): void;
  /** Ends the block: to this displacement from the pc as read; calls with `link`; `exchange`: in the other instruction set. */
  goto(displacement: number, link?: boolean, exchange?: boolean): void;
  /** Ends the block: to the displacement from the pc as read if the condition holds, else to the next instruction. */
  branch(condition: I32, displacement: number): void;
  /** Ends the block: to an address with the instruction set in bit 0 (BXWritePC). */
  exchange(target: I64, kind: number): void;
  /** Ends the block: to an address in the same instruction set. */
  jump(target: I64, kind: number): void;
  /**
   * The instruction is one of floating point ('control': one that works with FPEXC.EN clear too) or Advanced SIMD. True: it is
   * undefined, for that is off, and the block has ended.
   */
  lacksFloat(what: 'vfp' | 'simd' | 'control'): boolean;
  /** Ends the block: returns from an exception to an address, with the SPSR's state. Undefined in User and System mode. */
  exceptionReturn(target: I64): void;
  /** The same with a given state. */
  returnTo(status: I32, target: I64): void;
  /** Ends the block: a call of the supervisor. */
  call(): void;
  /** If the condition holds, the block is left behind this instruction: the mode, or what may interrupt, has changed. */
  leaveIf(condition: I32): void;
  /** Ends the block after this instruction; `check`: interrupts are looked at. */
  endBlock(check?: boolean): void;
  /** Ends the block and waits for an interrupt. */
  leave(reason?: number): void;
  /** Ends the block: a routine has set the pc. */
  resume(): void;
  /** IT: the next instructions' state. */
  startIt(state: number): void;
}

export interface InsnRow {
  /** The manual's mnemonic, in small letters. */
  readonly name: string;
  readonly set: 'arm' | 'thumb';
  /** Encoding (../encoding.ts). */
  readonly enc: string;
  /** What assembly writes behind the mnemonic and its condition: the elements' type, as `.i8`. */
  readonly type?: (i: Fields) => string;
  /** Operands as assembly writes them (disassemble.ts); `text`: where these words do not do. */
  readonly args: readonly string[];
  readonly text?: (i: Fields) => string;
  /** What the encoding's fields must be for it to be this instruction. */
  readonly where?: (i: Fields) => boolean;
  /**
   * It does nothing but set registers and flags by the translator's methods, so that these may do so under a condition. Not so
   * where Rd is the pc.
   */
  readonly plain?: true;
  /** It looks at its condition itself. */
  readonly conditional?: true;
  /** Of 16 bits: sets flags only outside IT blocks. */
  readonly flagsOutsideIt?: true;
  /** Extensions that it takes, all of them. */
  readonly features?: readonly Feature[];
  /** Of Armv8's AArch32. */
  readonly isV8?: true;
  /** Takes floating point (VFP) or Advanced SIMD to be on. */
  readonly float?: 'vfp' | 'simd';
  /** Bytes that it accesses at its memory operand, at most. */
  readonly bytes?: number | ((i: Fields) => number);
  readonly translate: (t: Translator, i: Fields) => void;
}
