/**
 * What an instruction's `translate` has at hand. One Translator translates one block; `t` describes the instruction in
 * turn. All linear addresses are I64; operands of 8, 16 and 32 bits are I32 temps (upper bits zero), of 64 bits I64.
 */
import type { BlockBuilder, I32, I64, V128 } from '../../ir/index.js';
import type { LazyFlags } from './lazy-flags.js';
import type { Mode } from './mode.js';
import type { Unit } from './units.js';
import type { WideValues } from './wide-values.js';

export type OperandSize = 8 | 16 | 32 | 64;

/** The instruction being translated, decoded. One object, reused. */
export interface DecodedInsn {
  /** Bytes in all. */
  length: number;
  /** Operand size 16, 32 or 64, address size 16, 32 or 64, by mode and prefixes. */
  opSize: 16 | 32 | 64;
  addrSize: 16 | 32 | 64;
  /** Prefix bytes: 0xf0 seen; 0, 0xf2 or 0xf3 (the last of them, where it is not part of the opcode); 0x66 seen. */
  lock: boolean;
  rep: 0 | 0xf2 | 0xf3;
  opSizePrefix: boolean;
  /** REX bits, each 0 or 1, and whether there was a REX at all (SPL, BPL, SIL, DIL). */
  rex: number;
  rexW: number;
  /** The opcode's last byte; ModRM fields, with REX.R, REX.X, REX.B already merged into reg, index, rm/base. */
  opcode: number;
  modrm: number;
  mod: number;
  reg: number;
  rm: number;
  /** The r/m operand is a register. */
  isReg: boolean;
  /** Segment override as encoded (0..5) or -1. */
  segOverride: number;
  /** Immediate, sign-extended where the encoding says so: low and high half. imm2: ENTER's and EXTRQ's second. */
  immLow: number;
  immHigh: number;
  imm2: number;
  /** VEX: the register in vvvv, and VEX.L. */
  vvvv: number;
  vexL: number;
  /** Memory operand: registers (-1: none; base -2: RIP), log2 of the index's factor, displacement, effective segment. */
  base: number;
  index: number;
  scale: number;
  disp: number;
  segment: number;
}

export interface Translator {
  readonly b: BlockBuilder;
  readonly insn: DecodedInsn;
  /** The mode that the code was translated for, whole. */
  readonly mode: Mode;
  readonly stackSize: 16 | 32 | 64;
  /** Distances of this instruction and the next one from where the code is entered (goto, branch). */
  readonly delta: number;
  readonly nextDelta: number;
  /**
   * Integer rows work on *wide* values: I64 temps whose low bits are the operand and whose others are anything, so that
   * sizes need no conversion until one matters.
   */
  readonly wide: WideValues;
  readonly flags: LazyFlags;
  /** 16, 32 or 64: the mode's code size; `long`: EFER.LMA; `cpl`, `vm86`, `protectedMode` as the block's mode key has them. */
  readonly codeSize: 16 | 32 | 64;
  readonly long: boolean;
  readonly protectedMode: boolean;
  readonly vm86: boolean;
  readonly cpl: number;

  // --- addresses
  /** Linear address of the memory operand (segment base, limit check where the segment is not flat, and address-size wrap included). Same temp at each call. */
  address(): I64;
  /** As address(), plus a byte displacement that the instruction implies (e.g. high half, next element). */
  addressPlus(bytes: number): I64;
  /** As address(), plus a distance known only at run time (bit strings). */
  addressAt(distance: I64): I64;
  /** Effective address without segment (LEA), of address size. */
  effectiveAddress(): I64;

  // --- general registers: size 8 without REX means AH..BH for 4..7
  readGpr(size: 8 | 16 | 32, n: number): I32;
  readGpr(size: 64, n: number): I64;
  readGpr(size: OperandSize, n: number): I32 | I64;
  /** Writes of 32 bits zero the upper half; of 8 and 16 bits keep the rest. */
  writeGpr(size: OperandSize, n: number, value: I32 | I64): void;

  /** General registers as wide values. */
  readWide(size: OperandSize, n: number): I64;
  writeWide(size: OperandSize, n: number, value: I64): void;

  // --- memory in the current MMU context
  load(size: 8 | 16 | 32, address: I64, forWrite?: boolean): I32;
  load(size: 64, address: I64, forWrite?: boolean): I64;
  load(size: OperandSize, address: I64, forWrite?: boolean): I32 | I64;
  store(size: OperandSize, address: I64, value: I32 | I64): void;
  /** aligned: #GP(0) unless the address is a multiple of 16. */
  load128(address: I64, aligned: boolean): V128;
  store128(address: I64, value: V128, aligned: boolean): void;

  // --- the r/m operand: register or memory
  readRm(size: OperandSize): I32 | I64;
  writeRm(size: OperandSize, value: I32 | I64): void;
  /** As wide values. forWrite: writeRmWide follows. */
  readRmWide(size: OperandSize, forWrite?: boolean): I64;
  writeRmWide(size: OperandSize, value: I64): void;
  loadWide(size: OperandSize, address: I64, forWrite?: boolean): I64;
  storeWide(size: OperandSize, address: I64, value: I64): void;
  /** The immediate, cut to the operand size. */
  immediate(): I64;

  // --- segments and the stack
  /** Linear address of an access of `bytes` bytes at an offset in a segment: adds the base, checks limit and rights where needed. */
  linear(segment: number, offset: I64, bytes: number, write: boolean): I64;
  /** Stores a value of the size at the stack's new top; then moves RSP; the last access of the instruction that can fault. */
  push(size: 16 | 32 | 64, value: I64): void;
  /** Loads from the stack's top, at this many bytes above it; RSP is unchanged. */
  peekStack(size: 16 | 32 | 64, bytesAbove?: number): I64;
  /** Adds to the stack pointer, as wide as the stack is. */
  moveStack(bytes: number): void;

  // --- vector and MMX registers
  readXmm(n: number): V128;
  writeXmm(n: number, value: V128): void;
  /** xmm/m128; legacy SSE: a memory operand must be aligned unless `unaligned`. */
  readXmmRm(unaligned?: boolean): V128;
  /** xmm/m32, xmm/m64 as the low lane of a vector (upper lanes of a memory operand zero; of a register whatever they are). */
  readXmmRmLow(bits: 32 | 64): V128;
  /** MMX register as 64 bits; writing sets the exponent field to all ones. `enterMmx` (TOP=0, all tags valid; #MF check) once per instruction. */
  enterMmx(): void;
  readMm(n: number): I64;
  writeMm(n: number, value: I64): void;
  readMmRm(): I64;

  // --- flags: arithmetic helpers set the lazy flags; these two are for instructions that define them outright
  /** The six status flags as bits of EFLAGS (CF 1, PF 4, AF 0x10, ZF 0x40, SF 0x80, OF 0x800), the others 0. */
  readStatusFlags(): I32;
  writeStatusFlags(bits: I32): void;

  // --- faults and ends
  /** Exceptions at the start of this instruction, if the condition is not 0. */
  faultIf(condition: I32, vector: number, errorCode?: number): void;
  /** Unconditional #UD, #GP(0)…; ends the block. */
  fault(vector: number, errorCode?: number): void;
  /** Ends the block after this instruction (modes, TLB, FPU state… may have changed): the dispatcher looks up the next pc. `check`: look at interrupts too. */
  endBlock(check?: boolean): void;
  /** Ends the block: near jump to a target `displacement` bytes past the next instruction, cut to the operand size. */
  gotoRelative(displacement: number): void;
  /** The gotoRelative that follows is a call: it returns to the next instruction. */
  noteCall(): void;
  /** The same if the condition is not 0; else on to the next instruction. */
  branchRelative(condition: I32, displacement: number): void;
  /** Ends the block: near jump to an address (jumpKind of the ir layer), cut to the operand size. */
  jump(target: I64, kind: number): void;
  /** Ends the block as goto(delta) to this instruction (repeat) or the next one. */
  repeatIf(condition: I32): void;
  /** The next instruction runs before any interrupt is taken (STI, MOV SS, POP SS). */
  shadowNext(): void;
  /** Rows that end the block by an op of their own (goto, branch, jump, leave, resume) say so. */
  blockEnded(): void;
  /** Address of this instruction / the next one as a program sees it (RIP, EIP, IP). */
  pc(): I64;
  nextPc(): I64;
  /** #NM/#UD for x87, MMX and SSE by CR0.EM, CR0.TS, CR0.MP, CR4.OSFXSR as the mode key has them. Rows name their class; the translator calls it. */
}

/** What makes a row legal; each is checked before `translate` runs. */
export interface InsnRow {
  /** The manual's mnemonic. */
  readonly name: string;
  /**
   * The manual's opcode column: 'NP 0F 58 /r', '66 0F 3A 0F /r ib', 'F3 0F 10 /r', 'REX.W + 0F C7 /1', '81 /0 iz', '50+r',
   * '0F 01 D0' … Words: NP (no 66/F2/F3), 66/F2/F3 as mandatory prefix, REX.W, REX.W0, /r, /0../7, ib iw id io iz (16 or 32 by
   * operand size), iv (16, 32 or 64), cb cz (relative), ap (far pointer: offset by operand size, selector in imm2), moffs, m (ModRM memory only), r (ModRM register only), r* (a register whatever mod says), +r (register in the opcode), i64/o64
   * suffix words 'I64' (invalid in 64-bit mode) and 'O64' (only there). Opcode bytes in hex.
   */
  readonly enc: string;
  /**
   * Operands, SDM appendix A letters with access: 'Vx:rw, Wx:r', 'Ev:rw, Gv:r', 'Gv:w, M', 'AL:r, Ib'. Letters: E G M R I J O V W
   * P Q S C D X Y Z (opcode+r) N U and fixed registers; Ibs: a byte that is sign-extended (Ib is not); sizes b w d q v z y (d or q by REX.W), dq, x, ps pd ss sd, pi. Feeds the
   * disassembler and the random operands of the row tests.
   */
  readonly args: string;
  /** CPUID feature by its usual name ('sse', 'sse2', 'ssse3', 'sse4_1', 'aes', 'mmx', 'fpu', 'bmi1' …). Absent: always there. */
  readonly cpuid?: string;
  /** Another flag with which it is there. */
  readonly alsoWith?: string;
  /** Which unit must be enabled. */
  readonly unit?: Unit;
  /** Status flags: read, written, left undefined; letters of OSZAPC, e.g. { w: 'OSZAPC' }. */
  readonly flags?: { readonly r?: string; readonly w?: string; readonly u?: string };
  /** Allowed with LOCK (memory destination). */
  readonly lock?: true;
  /** Needs CPL 0 (else #GP(0)); only protected mode (else #UD). */
  readonly cpl0?: true;
  readonly protectedOnly?: true;
  /** Manual section if it is not the mnemonic's own page. */
  readonly ref?: string;
  /** Default operand size 64 in long mode (PUSH, POP). */
  readonly default64?: true;
  /** Operand size always 64 in 64-bit mode, whatever the prefixes (near branches). */
  readonly force64?: true;
  readonly translate: (t: Translator, insn: DecodedInsn) => void;
}
