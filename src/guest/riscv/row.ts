/** What a row of the instruction table says, and what its `translate` has at hand. */
import type { BlockBuilder, I32, I64 } from '../../ir/index.js';
import type { Format } from '../float/pack.js';
import type { Mode } from './mode.js';
import type { Extension } from './models.js';

/** An instruction's fields. Register numbers are whole (8 to 15 for the compressed formats' short ones). */
export interface Fields {
  rd: number;
  rs1: number;
  rs2: number;
  rs3: number;
  /** Rounding mode. */
  rm: number;
  imm: number;
  aq: number;
  rl: number;
  csr: number;
  /** Vectors: 1: not masked. Fields of a segment but one. */
  vm: number;
  nf: number;
}

/** One Translator translates one block; it describes the instruction in turn. */
export interface Translator {
  readonly b: BlockBuilder;
  readonly mode: Mode;
  /** Bytes of the instruction. */
  readonly length: number;
  /** Bytes of a vector register. */
  readonly vlenb: number;
  /** Integer registers: reading x0 gives 0, writing it has no effect. */
  x(n: number): I64;
  setX(n: number, value: I64): void;
  /** A sum of a register and a constant. */
  address(n: number, displacement: number): I64;
  /** Floating-point registers as 64 bits. */
  f(n: number): I64;
  setF(n: number, value: I64): void;
  /** A half or a single in the low bits of an i64: the canonical NaN where the register holds no boxed one. Writing boxes it. */
  boxed(n: number, format: Format): I64;
  setBoxed(n: number, value: I64, format: Format): void;
  /** Vector registers or their CSRs are written. */
  dirtyVectors(): void;
  /** The address of this instruction plus a displacement. */
  pcPlus(displacement: number): I64;
  /** Sets a register to the address of this instruction plus a displacement, and remembers that. */
  setNear(n: number, displacement: number): void;
  /** How far an address, a register plus a displacement, is from this instruction, where setNear has set the register in this block. */
  near(n: number, displacement: number): number | undefined;
  /** The rounding mode for a row's `rm`, as the float routines take it. */
  rounding(rm: number): I32;
  roundingMode(rm: number): number;
  /** An exception at this instruction. */
  trap(cause: number): void;
  trapIf(condition: I32, cause: number, value: I64): void;
  illegal(): void;
  illegalIf(condition: I32): void;
  /** A routine that follows may raise an illegal-instruction exception. */
  mayBeIllegal(): void;
  /** Ends the block: on to this displacement from the instruction, which calls with `link`. */
  goto(displacement: number, link?: boolean): void;
  /** Ends the block: to the displacement if the condition holds, else to the next instruction. */
  branch(condition: I32, displacement: number): void;
  /** Ends the block: to an address (jumpKind of the ir layer). */
  jump(target: I64, kind: number): void;
  /** Ends the block after this instruction; `check`: interrupts are looked at. */
  endBlock(check?: boolean): void;
  /** The block goes on, but before the next instruction it is left if the condition holds: an interrupt is pending, or the mode is another. */
  leaveIf(condition: I32): void;
  /** Ends the block with an exit for JavaScript. `reason`: leaveReason. */
  leave(reason: number): void;
  /** Ends the block: a routine has set the pc. */
  resume(): void;
}

export interface InsnRow {
  /** The manual's mnemonic. */
  readonly name: string;
  /** Encoding (encoding.ts). */
  readonly enc: string;
  /**
   * Operands as assembly writes them, in terms of the fields: rd rs1 rs2 are integer registers, fd fs1 fs2 fs3 floating-point
   * ones of the same fields, mem is imm(rs1), sp-mem imm(sp), (rs1) an address without a displacement, target imm relative to
   * the pc, uimm5 rs1 as a number; vd vs1 vs2 are vector registers of the same fields, vm the mask, vtype imm as one.
   */
  readonly args: string;
  /** What the encoding's fields must be for it to be this instruction. */
  readonly where?: (i: Fields) => boolean;
  /** Needs FS not to be off; `rm` fields must name a rounding mode. */
  readonly float?: true;
  /** Needs VS not to be off. */
  readonly vector?: true;
  /** The extension that a CPU model may lack (models.ts). */
  readonly extension?: Extension;
  /** Bytes that it accesses at its memory operand. */
  readonly bytes?: number;
  readonly translate: (t: Translator, i: Fields) => void;
}
