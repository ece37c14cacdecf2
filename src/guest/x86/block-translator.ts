/**
 * Translates one block of x86 code: decodes, checks what makes an instruction legal, and gives each row's `translate` what it
 * needs (translator.ts). A block ends at a jump, after an instruction that may change the mode, before an instruction that goes on
 * to the next page (unless it is the first), and after the greatest number of instructions.
 */

import { sameShape } from '../../base/index.js';
import {
  access,
  type BlockBuilder,
  exitCode,
  header,
  type I32,
  type I64,
  jumpKind,
  MOST_DISTANCE,
  type V128,
} from '../../ir/index.js';
import type { TranslationRequest, TranslationResult } from '../guest-cpu.js';
import { Decoder, type DecoderTables, decodeFailure } from './decode.js';
import { LazyFlags } from './lazy-flags.js';
import { debugMask, decodeMode, keyBit, type Mode } from './mode.js';
import { field, gpr, segBase, trapCode, xmm } from './state.js';
import { dataBreakpoint, instructionBreakpoint, singleStep } from './system/debug.js';
import { checkSegment } from './system/segments.js';
import type { DecodedInsn, InsnRow, OperandSize, Translator } from './translator.js';
import { checkUnit, type Unit, unitFault } from './units.js';
import { WideValues } from './wide-values.js';

const PAGE = 4096;
const LONGEST = 15;
const RSP = 4;
const CS = 1;
const SS = 2;

const fault = { UD: 6, GP: 13, MF: 16, AC: 17 } as const;
/** x87 status word: an unmasked exception is pending. */
const ERROR_SUMMARY = 0x80;

const NONE = -1 as I64;

export class BlockTranslator implements Translator {
  b!: BlockBuilder;
  readonly insn: DecodedInsn;
  mode!: Mode;
  codeSize: 16 | 32 | 64 = 64;
  stackSize: 16 | 32 | 64 = 64;
  long = true;
  protectedMode = true;
  vm86 = false;
  cpl = 0;
  delta = 0;
  nextDelta = 0;
  readonly wide = new WideValues();
  readonly flags: LazyFlags;

  readonly #decoder: Decoder;
  readonly #rows: readonly InsnRow[];
  readonly #modes = new Map<number, Mode>();
  #modeKey = -1;
  /** Registers whose upper halves are known to be 0, as bits. */
  #upperZero = 0;
  #address = NONE;
  #ended = false;
  #mmx = false;
  /** This instruction is in the shadow of STI or MOV SS, or is run alone for the debugger: the block ends with a look at interrupts. */
  #alone = false;
  /** The next instruction is in the shadow of this one. */
  #shadowsNext = false;
  /** Which of them the block has looked at (`field.units`). */
  readonly #unitsChecked: Unit[] = [];
  /** Bytes of an instruction on two pages, and zeros behind. */
  readonly #crossing = new Uint8Array(2 * LONGEST);

  constructor(tables: DecoderTables) {
    this.#decoder = new Decoder(tables);
    this.insn = this.#decoder;
    this.#rows = sameShape(tables.rows);
    this.flags = new LazyFlags(this.wide);
  }

  translate(request: TranslationRequest, result: TranslationResult): void {
    const { b, page, offset } = request;
    const decoder = this.#decoder;
    this.b = b;
    this.#setMode(request.modeKey);
    this.wide.begin(b);
    this.flags.begin(b);
    // Outside 64-bit code the upper halves are zero throughout (state.ts).
    this.#upperZero = this.codeSize === 64 ? 0 : 0xffff;
    this.#ended = false;
    this.#shadowsNext = false;
    this.#unitsChecked.length = 0;
    const single = (request.modeKey & (debugMask | (1 << keyBit.shadow))) !== 0;
    const most = single ? 1 : Math.max(1, request.maxInstructions);
    this.#alone = single;
    let at = offset;
    let count = 0;
    result.crossesPage = false;
    result.needsNextPage = false;
    this.delta = 0;
    while (!this.#ended) {
      if (count === most || at >= PAGE) {
        this.#endAt(this.delta);
        break;
      }
      let row = decoder.decode(page, at, PAGE);
      if (row === decodeFailure.moreBytes) {
        if (count > 0) {
          this.#endAt(this.delta);
          break;
        }
        if (!request.nextPage) {
          result.bytes = PAGE - at;
          result.instructions = 0;
          result.needsNextPage = true;
          return;
        }
        const here = PAGE - at;
        this.#crossing.set(page.subarray(at));
        this.#crossing.set(request.nextPage.subarray(0, LONGEST), here);
        row = decoder.decode(this.#crossing, 0, here + LONGEST);
        result.crossesPage = true;
      }
      b.insn(this.delta);
      count++;
      const length = row < 0 ? 1 : decoder.length;
      this.nextDelta = this.delta + length;
      this.#address = NONE;
      this.#mmx = false;
      if (this.#shadowsNext) {
        this.#shadowsNext = false;
        this.#alone = true;
      }
      if (single) this.#beginDebugged();
      if (row < 0)
        this.fault(row === decodeFailure.tooLong ? fault.GP : fault.UD, row === decodeFailure.tooLong ? 0 : undefined);
      else this.#translateRow(this.#rows[row]);
      at += length;
      if (result.crossesPage && !this.#ended) this.#endAt(this.nextDelta);
      this.delta = this.nextDelta;
      if (this.#alone && !this.#ended) this.#endAt(this.delta);
    }
    result.bytes = at - offset;
    result.instructions = count;
  }

  /** Before an instruction that runs with TF or a breakpoint set. */
  #beginDebugged(): void {
    const { b, mode } = this;
    if (mode.instructionBreak) {
      b.call(instructionBreakpoint, this.codeSize === 64 ? this.pc() : b.i64_add(this.pc(), b.get(segBase[CS])));
    }
    if (mode.singleStep) b.call(singleStep);
  }

  /** A data access of the size, for the data breakpoints. */
  #watch(address: I64, bytes: number, write: boolean): void {
    if (!this.mode.dataBreak) return;
    const { b } = this;
    b.call(dataBreakpoint, address, b.i32(bytes), b.i32(write ? 1 : 0));
  }

  #setMode(key: number): void {
    if (key === this.#modeKey) return;
    this.#modeKey = key;
    let mode = this.#modes.get(key);
    if (!mode) {
      mode = decodeMode(key);
      this.#modes.set(key, mode);
    }
    this.mode = mode;
    this.codeSize = mode.codeSize;
    this.stackSize = mode.stackSize;
    this.long = mode.long;
    this.protectedMode = mode.protectedMode;
    this.vm86 = mode.vm86;
    this.cpl = mode.cpl;
    this.#decoder.setMode(mode.codeSize, mode.protectedMode && !mode.vm86);
  }

  #translateRow(row: InsnRow): void {
    const refusal = this.#refusal(row);
    if (refusal !== 0) {
      this.fault(refusal, refusal === fault.GP ? 0 : undefined);
      return;
    }
    if (row.unit && this.cpl !== 3 && !this.#unitsChecked.includes(row.unit)) {
      this.#unitsChecked.push(row.unit);
      checkUnit(this.b, row.unit);
    }
    row.translate(this, this.insn);
    if (this.#mmx) this.#commitMmx();
  }

  /** The vector of the exception that the row raises in this mode whatever its operands are, or 0. */
  #refusal(row: InsnRow): number {
    const { mode } = this;
    if (row.protectedOnly && (!mode.protectedMode || mode.vm86)) return fault.UD;
    if (row.cpl0 && mode.cpl !== 0) return fault.GP;
    return row.unit && mode.cpl === 3 ? unitFault(row.unit, this.#modeKey) : 0;
  }

  // --- addresses

  effectiveAddress(): I64 {
    return this.#effective(0);
  }

  /** Base, index, displacement and `plus`, cut to the address size. */
  #effective(plus: number): I64 {
    const { b, wide } = this;
    const insn = this.#decoder;
    const { base, index, addrSize } = insn;
    let disp = insn.disp + plus;
    let sum = NONE;
    if (base === -2) {
      const distance = this.nextDelta + disp;
      if (Math.abs(distance) < MOST_DISTANCE) {
        sum = b.pc_rel(distance);
        disp = 0;
      } else sum = b.pc_rel(this.nextDelta);
    } else if (base >= 0) sum = this.#readWhole(base);
    if (index >= 0) {
      let scaled = this.#readWhole(index);
      if (insn.scale !== 0) scaled = b.i64_shl(scaled, wide.small(insn.scale));
      sum = sum === NONE ? scaled : b.i64_add(sum, scaled);
    }
    if (sum === NONE) {
      sum = addrSize === 64 || disp === (disp | 0) ? b.i64(disp) : wide.small(disp | 0);
      if (addrSize !== 64) sum = wide.constant(addrSize === 16 ? disp & 0xffff : disp | 0, 0);
      return sum;
    }
    if (disp !== 0) sum = b.i64_add(sum, b.i64(disp));
    return addrSize === 64 ? sum : wide.clean(addrSize, sum);
  }

  address(): I64 {
    if (this.#address === NONE) {
      const insn = this.#decoder;
      this.#address = this.linear(insn.segment, this.#effective(0), insn.memoryBytes, insn.memoryWritten);
    }
    return this.#address;
  }

  addressPlus(bytes: number): I64 {
    if (bytes === 0) return this.address();
    const insn = this.#decoder;
    return this.linear(insn.segment, this.#effective(bytes), insn.memoryBytes, insn.memoryWritten);
  }

  addressAt(distance: I64): I64 {
    const { b, wide } = this;
    const insn = this.#decoder;
    const offset = wide.clean(insn.addrSize, b.i64_add(this.#effective(0), distance));
    return this.linear(insn.segment, offset, insn.memoryBytes, insn.memoryWritten);
  }

  linear(segment: number, offset: I64, bytes: number, write: boolean): I64 {
    const { b, mode } = this;
    if (this.codeSize === 64) return segment < 4 ? offset : b.i64_add(offset, b.get(segBase[segment]));
    // Data accesses through CS are rare, and its rights are not in the key.
    const throughCode = segment === CS && this.protectedMode && !this.vm86;
    if (throughCode || (mode.checkedSegments >> segment) & 1) {
      b.call(checkSegment, b.i32(segment), offset, b.i32(bytes), b.i32(write ? 1 : 0));
    }
    if (mode.flat && segment < 4) return offset;
    return this.wide.clean(32, b.i64_add(offset, b.get(segBase[segment])));
  }

  // --- general registers

  /** All 64 bits (or what is known to be all there is). */
  #readWhole(n: number): I64 {
    const value = this.b.get(gpr[n]);
    return (this.#upperZero >> n) & 1 ? this.wide.noteWidth(value, 32) : value;
  }

  readWide(size: OperandSize, n: number): I64 {
    if (size === 8 && n >= 4 && this.insn.rex === 0 && n < 8) {
      return this.b.i64_shr_u(this.b.get(gpr[n - 4]), this.wide.small(8));
    }
    return this.#readWhole(n);
  }

  writeWide(size: OperandSize, n: number, value: I64): void {
    const { b, wide } = this;
    if (size === 64) {
      b.set(gpr[n], value);
      if (wide.isClean(value, 32)) this.#upperZero |= 1 << n;
      else this.#upperZero &= ~(1 << n);
    } else if (size === 32) {
      b.set(gpr[n], wide.clean(32, value));
      this.#upperZero |= 1 << n;
    } else if (size === 8 && n >= 4 && this.insn.rex === 0 && n < 8) {
      const high = b.i64_shl(wide.clean(8, value), wide.small(8));
      b.set(gpr[n - 4], b.i64_or(b.i64_and(b.get(gpr[n - 4]), wide.small(~0xff00)), high));
    } else {
      const mask = size === 8 ? ~0xff : ~0xffff;
      b.set(gpr[n], b.i64_or(b.i64_and(b.get(gpr[n]), wide.small(mask)), wide.clean(size, value)));
    }
  }

  readGpr(size: 8 | 16 | 32, n: number): I32;
  readGpr(size: 64, n: number): I64;
  readGpr(size: OperandSize, n: number): I32 | I64;
  readGpr(size: OperandSize, n: number): I32 | I64 {
    const value = this.readWide(size, n);
    return size === 64 ? value : this.wide.cleanNarrow(size, value);
  }

  writeGpr(size: OperandSize, n: number, value: I32 | I64): void {
    this.writeWide(size, n, size === 64 ? (value as I64) : this.wide.widen(value as I32, 32));
  }

  // --- memory

  #align(size: OperandSize, address: I64): void {
    if (!this.mode.alignmentCheck || size === 8) return;
    const { b } = this;
    this.faultIf(b.i32_and(b.i32_wrap_i64(address), b.i32((size >> 3) - 1)), fault.AC, 0);
  }

  load(size: 8 | 16 | 32, address: I64, forWrite?: boolean): I32;
  load(size: 64, address: I64, forWrite?: boolean): I64;
  load(size: OperandSize, address: I64, forWrite?: boolean): I32 | I64;
  load(size: OperandSize, address: I64, forWrite = false): I32 | I64 {
    const { b } = this;
    this.#align(size, address);
    this.#watch(address, size >> 3, false);
    const how = (forWrite ? access.forWrite : 0) | (this.insn.lock ? access.locked : 0);
    switch (size) {
      case 8:
        return b.guest_load8(address, how);
      case 16:
        return b.guest_load16(address, how);
      case 32:
        return b.guest_load32(address, how);
      default:
        return b.guest_load64(address, how);
    }
  }

  store(size: OperandSize, address: I64, value: I32 | I64): void {
    const { b } = this;
    this.#align(size, address);
    this.#watch(address, size >> 3, true);
    const how = this.insn.lock ? access.locked : 0;
    switch (size) {
      case 8:
        b.guest_store8(address, value as I32, how);
        break;
      case 16:
        b.guest_store16(address, value as I32, how);
        break;
      case 32:
        b.guest_store32(address, value as I32, how);
        break;
      default:
        b.guest_store64(address, value as I64, how);
    }
  }

  loadWide(size: OperandSize, address: I64, forWrite = false): I64 {
    const value = this.load(size, address, forWrite);
    return size === 64 ? (value as I64) : this.wide.widen(value as I32, size);
  }

  storeWide(size: OperandSize, address: I64, value: I64): void {
    this.store(size, address, size === 64 ? value : this.wide.narrow(value));
  }

  load128(address: I64, aligned: boolean): V128 {
    const { b } = this;
    if (aligned) this.faultIf(b.i32_and(b.i32_wrap_i64(address), b.i32(15)), fault.GP, 0);
    this.#watch(address, 16, false);
    return b.guest_load128(address, 0);
  }

  store128(address: I64, value: V128, aligned: boolean): void {
    const { b } = this;
    if (aligned) this.faultIf(b.i32_and(b.i32_wrap_i64(address), b.i32(15)), fault.GP, 0);
    this.#watch(address, 16, true);
    b.guest_store128(address, value, 0);
  }

  // --- the r/m operand and the immediate

  readRm(size: OperandSize): I32 | I64 {
    return this.insn.isReg ? this.readGpr(size, this.insn.rm) : this.load(size, this.address());
  }

  writeRm(size: OperandSize, value: I32 | I64): void {
    if (this.insn.isReg) this.writeGpr(size, this.insn.rm, value);
    else this.store(size, this.address(), value);
  }

  readRmWide(size: OperandSize, forWrite = false): I64 {
    return this.insn.isReg ? this.readWide(size, this.insn.rm) : this.loadWide(size, this.address(), forWrite);
  }

  writeRmWide(size: OperandSize, value: I64): void {
    if (this.insn.isReg) this.writeWide(size, this.insn.rm, value);
    else this.storeWide(size, this.address(), value);
  }

  immediate(): I64 {
    return this.wide.constant(this.insn.immLow, this.insn.immHigh);
  }

  // --- the stack

  push(size: 16 | 32 | 64, value: I64): void {
    const { b } = this;
    const bytes = size >> 3;
    const top = b.i64_sub(this.#readWhole(RSP), this.wide.small(bytes));
    const offset = this.wide.clean(this.stackSize, top);
    this.storeWide(size, this.linear(SS, offset, bytes, true), value);
    this.writeWide(this.stackSize, RSP, offset);
  }

  peekStack(size: 16 | 32 | 64, bytesAbove = 0): I64 {
    let offset = this.#readWhole(RSP);
    if (bytesAbove !== 0) offset = this.b.i64_add(offset, this.wide.small(bytesAbove));
    return this.loadWide(size, this.linear(SS, this.wide.clean(this.stackSize, offset), size >> 3, false));
  }

  moveStack(bytes: number): void {
    this.writeWide(this.stackSize, RSP, this.b.i64_add(this.#readWhole(RSP), this.wide.small(bytes)));
  }

  // --- vector and MMX registers

  readXmm(n: number): V128 {
    return this.b.get(xmm[n]);
  }

  writeXmm(n: number, value: V128): void {
    this.b.set(xmm[n], value);
  }

  readXmmRm(unaligned = false): V128 {
    return this.insn.isReg ? this.readXmm(this.insn.rm) : this.load128(this.address(), !unaligned);
  }

  readXmmRmLow(bits: 32 | 64): V128 {
    const { b } = this;
    if (this.insn.isReg) return this.readXmm(this.insn.rm);
    const zero = b.v128(0, 0, 0, 0);
    return bits === 32
      ? b.i32x4_replace_lane(zero, this.load(32, this.address()), 0)
      : b.i64x2_replace_lane(zero, this.load(64, this.address()), 0);
  }

  enterMmx(): void {
    const { b } = this;
    this.faultIf(b.i32_and(b.i32_load(b.state(), field.fpStatus), b.i32(ERROR_SUMMARY)), fault.MF);
    this.#mmx = true;
  }

  #commitMmx(): void {
    const { b } = this;
    const zero = b.i32(0);
    b.i32_store(b.state(), zero, field.fpTop);
    b.i32_store(b.state(), zero, field.fpEmpty);
  }

  readMm(n: number): I64 {
    return this.b.i64_load(this.b.state(), field.fpr + 16 * (n & 7));
  }

  writeMm(n: number, value: I64): void {
    const { b } = this;
    b.i64_store(b.state(), value, field.fpr + 16 * (n & 7));
    b.i32_store16(b.state(), b.i32(0xffff), field.fpr + 16 * (n & 7) + 8);
  }

  readMmRm(): I64 {
    return this.insn.isReg ? this.readMm(this.insn.rm) : this.load(64, this.address());
  }

  // --- flags

  readStatusFlags(): I32 {
    return this.flags.bits();
  }

  writeStatusFlags(bits: I32): void {
    this.flags.setBits(bits);
  }

  // --- faults and ends

  faultIf(condition: I32, vector: number, errorCode?: number): void {
    this.b.trap_if(condition, trapCode(vector, errorCode));
  }

  fault(vector: number, errorCode?: number): void {
    const { b } = this;
    b.trap_if(b.i32(1), trapCode(vector, errorCode));
    b.goto(this.delta); // never reached: a block must end in a terminator
    this.#ended = true;
  }

  endBlock(check = false): void {
    this.b.leave(check || this.#alone ? this.#endAlone() : exitCode.next, this.nextDelta);
    this.#ended = true;
  }

  blockEnded(): void {
    this.#ended = true;
  }

  /** The next instruction runs before any interrupt is taken (STI, MOV SS, POP SS). */
  shadowNext(): void {
    this.#shadowsNext = true;
  }

  /** Ends the block with `delta` as the next pc. */
  #endAt(delta: number): void {
    const { b } = this;
    this.#ended = true;
    if (this.#shadowsNext) {
      // The shadow reaches over the end of the block: the mode key carries it.
      b.i32_store(b.state(), b.i32(1), field.interruptShadow);
      const key = b.i32_load(b.state(), header.modeKey);
      b.i32_store(b.state(), b.i32_or(key, b.i32(1 << keyBit.shadow)), header.modeKey);
      b.leave(exitCode.next, delta);
    } else if (this.#alone) b.leave(this.#endAlone(), delta);
    else b.goto(delta);
  }

  /** Before the end of a block that is one instruction for the sake of interrupts or debugging. */
  #endAlone(): number {
    const { b } = this;
    if ((this.#modeKey >> keyBit.shadow) & 1) {
      b.i32_store(b.state(), b.i32(0), field.interruptShadow);
      const key = b.i32_load(b.state(), header.modeKey);
      b.i32_store(b.state(), b.i32_and(key, b.i32(~(1 << keyBit.shadow))), header.modeKey);
    }
    return exitCode.checkInterrupts;
  }

  /** Ends the block with a jump to an address that needs no further cutting. */
  #endAtAddress(target: I64, kind: number): void {
    const { b } = this;
    this.#ended = true;
    if (!this.#alone) {
      b.jump(target, kind);
      return;
    }
    const code = this.#endAlone();
    b.i64_store(b.state(), target, header.pc);
    b.resume(code);
  }

  /** Where a near jump goes, as a distance; undefined where the address must be computed. */
  #targetDelta(displacement: number): number | undefined {
    if (this.codeSize === 32 && this.insn.opSize === 16) return undefined;
    const target = this.nextDelta + displacement;
    return Math.abs(target) < MOST_DISTANCE ? target : undefined;
  }

  #targetAddress(displacement: number): I64 {
    const { b } = this;
    const target = b.i64_add(b.pc_rel(this.nextDelta), b.i64(displacement));
    if (this.codeSize === 64) return target;
    return this.wide.clean(this.insn.opSize === 16 ? 16 : 32, target);
  }

  gotoRelative(displacement: number): void {
    const delta = this.#targetDelta(displacement);
    if (delta === undefined) this.#endAtAddress(this.#targetAddress(displacement), jumpKind.indirect);
    else this.#endAt(delta);
  }

  noteCall(): void {
    this.b.call_note(this.nextDelta);
  }

  branchRelative(condition: I32, displacement: number): void {
    const { b } = this;
    const delta = this.#targetDelta(displacement);
    if (delta !== undefined && !this.#alone) {
      b.branch(condition, delta, this.nextDelta);
      this.#ended = true;
      return;
    }
    const target = b.select(condition, this.#targetAddress(displacement), this.nextPc());
    this.#endAtAddress(target, jumpKind.indirect);
  }

  jump(target: I64, kind: number): void {
    this.#endAtAddress(this.codeSize === 64 ? target : this.wide.clean(this.insn.opSize, target), kind);
  }

  repeatIf(condition: I32): void {
    const { b } = this;
    this.#ended = true;
    if (!this.#alone) {
      b.branch(condition, this.delta, this.nextDelta);
      return;
    }
    this.#endAtAddress(b.select(condition, this.pc(), this.nextPc()), jumpKind.indirect);
  }

  #pcAt(delta: number): I64 {
    const { b } = this;
    const pc = b.pc_rel(delta);
    return this.codeSize === 64 ? pc : this.wide.clean(this.codeSize, pc);
  }

  pc(): I64 {
    return this.#pcAt(this.delta);
  }

  nextPc(): I64 {
    return this.#pcAt(this.nextDelta);
  }
}
