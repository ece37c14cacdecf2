/** Translates blocks of guest code by the instruction table. */
import { type BlockBuilder, exitCode, header, type I32, type I64, LOOK_AGAIN, MOST_DISTANCE } from '../../ir/index.js';
import { rounding } from '../float/core.js';
import { type Format, signBit } from '../float/pack.js';
import type { GuestTranslator, TranslationRequest, TranslationResult } from '../guest-cpu.js';
import { disassemble } from './disassemble.js';
import { DecoderTables, type Encoding, newFields } from './encoding.js';
import { decodeMode, FS_SHIFT, type Mode, VS_SHIFT } from './mode.js';
import type { RiscvModel } from './models.js';
import { canonicalNaN } from './routines/float.js';
import type { Fields, Translator } from './row.js';
import { cause, field, freg, mstatus, trapCode, xreg } from './state.js';
import { allRows } from './table/index.js';

const PAGE = 4096;
/** frm's modes in the order of the float routines'; the others are no rounding modes. */
const roundingModes = [rounding.nearest, rounding.zero, rounding.down, rounding.up, rounding.tiesAway];
const DYNAMIC = 7;
/** The ones above a boxed number. */
const aboveNumber = (format: Format): bigint => BigInt.asUintN(64, -2n * signBit(format));

class BlockTranslator implements Translator {
  b!: BlockBuilder;
  mode: Mode = decodeMode(0);
  length = 4;
  readonly vlenb: number;
  readonly #tables: DecoderTables;
  readonly #hasHalf: boolean;
  readonly #fields: Fields = newFields();
  readonly #modes = new Map<number, Mode>();
  /** Distance of the instruction from where the code is entered; its bits. */
  #delta = 0;
  #word = 0;
  #ended = false;
  /** FS and VS are dirty already, as far as this block goes. */
  #dirty = false;
  #vectorDirty = false;
  /** Not 0: the block may have to be left before the next instruction, for an interrupt or another mode. */
  #leavesIf: I32 | undefined;
  /** Registers that AUIPC has set in this block: the distance of their value from where the code is entered. */
  readonly #near = new Map<number, number>();

  constructor(tables: DecoderTables, vlenb: number, hasHalf: boolean) {
    this.#tables = tables;
    this.#hasHalf = hasHalf;
    this.vlenb = vlenb;
  }

  translate(request: TranslationRequest, result: TranslationResult): void {
    const { page, offset, nextPage } = request;
    this.b = request.b;
    this.#setMode(request.modeKey);
    this.#ended = false;
    this.#dirty = this.mode.fs === 2;
    this.#vectorDirty = this.mode.vs === 2;
    this.#leavesIf = undefined;
    this.#near.clear();
    this.#delta = 0;
    result.crossesPage = false;
    result.needsNextPage = false;
    const most = this.mode.watched ? 1 : Math.max(1, request.maxInstructions);
    let at = offset;
    let count = 0;
    while (!this.#ended) {
      const isShort = at < PAGE && (page[at] & 3) !== 3;
      const crosses = at === PAGE - 2 && !isShort;
      if (count === most || at >= PAGE || (crosses && count > 0)) {
        this.#goOn();
        break;
      }
      if (crosses && !nextPage) {
        result.bytes = 2;
        result.instructions = 0;
        result.needsNextPage = true;
        return;
      }
      const low = page[at] | (page[at + 1] << 8);
      const upper = crosses ? nextPage : page;
      const from = crosses ? 0 : at + 2;
      this.#word = isShort || !upper ? low : low | (upper[from] << 16) | (upper[from + 1] << 24);
      this.length = isShort ? 2 : 4;
      this.b.insn(this.#delta);
      if (this.#leavesIf) this.b.trap_if(this.#leavesIf, LOOK_AGAIN);
      this.#leavesIf = undefined;
      count++;
      const encoding = this.#tables.decode(this.#word, this.#fields);
      if (encoding) this.#translateRow(encoding);
      else this.illegal();
      at += this.length;
      this.#delta += this.length;
      if (crosses) {
        result.crossesPage = true;
        if (!this.#ended) this.#goOn();
        break;
      }
    }
    result.bytes = at - offset;
    result.instructions = count;
  }

  /** The block ends before the instruction at `#delta`. */
  #goOn(): void {
    if (this.#leavesIf) this.b.leave(exitCode.checkInterrupts, this.#delta);
    else this.b.goto(this.#delta);
  }

  #setMode(key: number): void {
    let mode = this.#modes.get(key);
    if (!mode) {
      mode = decodeMode(key, this.#hasHalf);
      this.#modes.set(key, mode);
    }
    this.mode = mode;
  }

  #translateRow({ row, parts }: Encoding): void {
    if (row.vector && this.mode.vs === 0) this.illegal();
    else if (row.float && !this.#mayFloat(parts)) this.illegal();
    else row.translate(this, this.#fields);
  }

  /** FS is on, and the rounding mode is one. */
  #mayFloat(parts: Encoding['parts']): boolean {
    if (this.mode.fs === 0) return false;
    if (!parts.some(({ register }) => register === 'rm')) return true;
    const { rm } = this.#fields;
    return (rm === DYNAMIC ? this.mode.frm : rm) < roundingModes.length;
  }

  /** The state of floating point changes: FS becomes dirty (privileged specification 3.1.6.6). */
  #markDirty(): void {
    if (this.#dirty) return;
    this.#dirty = true;
    this.#setDirty(mstatus.FS, FS_SHIFT);
  }

  /** The same of vectors. */
  dirtyVectors(): void {
    if (this.#vectorDirty) return;
    this.#vectorDirty = true;
    this.#setDirty(mstatus.VS, VS_SHIFT);
  }

  #setDirty(bits: bigint, shift: number): void {
    const { b } = this;
    const state = b.state();
    b.i64_store(state, b.i64_or(b.i64_load(state, field.mstatus), b.i64(bits | mstatus.SD)), field.mstatus);
    const key = b.i32_and(b.i32_load(state, header.modeKey), b.i32(~(3 << shift)));
    b.i32_store(state, b.i32_or(key, b.i32(2 << shift)), header.modeKey);
  }

  // --- registers

  x(n: number): I64 {
    return n === 0 ? this.b.i64(0) : this.b.get(xreg[n]);
  }
  setX(n: number, value: I64): void {
    this.#near.delete(n);
    if (n !== 0) this.b.set(xreg[n], value);
  }
  setNear(n: number, displacement: number): void {
    const distance = this.#delta + displacement;
    this.setX(n, this.pcPlus(displacement));
    if (n !== 0 && Math.abs(distance) < MOST_DISTANCE) this.#near.set(n, distance);
  }
  near(n: number, displacement: number): number | undefined {
    const distance = this.#near.get(n);
    if (distance === undefined || Math.abs(distance + displacement) >= MOST_DISTANCE) return undefined;
    return distance + displacement - this.#delta;
  }
  address(n: number, displacement: number): I64 {
    const base = this.x(n);
    return displacement === 0 ? base : this.b.i64_add(base, this.b.i64(displacement));
  }
  f(n: number): I64 {
    return this.b.get(freg[n]);
  }
  setF(n: number, value: I64): void {
    this.b.set(freg[n], value);
    this.#markDirty();
  }
  boxed(n: number, format: Format): I64 {
    const { b } = this;
    const bits = this.f(n);
    const above = aboveNumber(format);
    const value = b.i64_and(bits, b.i64(BigInt.asUintN(64, ~above)));
    return b.select(b.i64_ge_u(bits, b.i64(above)), value, b.i64(canonicalNaN(format)));
  }
  setBoxed(n: number, value: I64, format: Format): void {
    this.setF(n, this.b.i64_or(value, this.b.i64(aboveNumber(format))));
  }
  pcPlus(displacement: number): I64 {
    const { b } = this;
    const distance = this.#delta + displacement;
    if (Math.abs(distance) < MOST_DISTANCE) return b.pc_rel(distance);
    return b.i64_add(b.pc_rel(this.#delta), b.i64(displacement));
  }
  rounding(rm: number): I32 {
    return this.b.i32(this.roundingMode(rm));
  }
  roundingMode(rm: number): number {
    return roundingModes[rm === DYNAMIC ? this.mode.frm : rm];
  }

  // --- exceptions and ends

  trap(code: number): void {
    this.b.i64_store(this.b.state(), code === cause.breakpoint ? this.pcPlus(0) : this.b.i64(0), field.trapValue);
    this.#trapNow(code);
  }

  #trapNow(code: number): void {
    this.b.trap_if(this.b.i32(1), trapCode(code));
    this.b.goto(this.#delta);
    this.#ended = true;
  }

  trapIf(condition: I32, code: number, value: I64): void {
    this.b.i64_store(this.b.state(), value, field.trapValue);
    this.b.trap_if(condition, trapCode(code));
  }

  illegal(): void {
    this.mayBeIllegal();
    this.#trapNow(cause.illegalInstruction);
  }

  illegalIf(condition: I32): void {
    this.mayBeIllegal();
    this.b.trap_if(condition, trapCode(cause.illegalInstruction));
  }

  mayBeIllegal(): void {
    const { b } = this;
    const bits = this.length === 2 ? this.#word & 0xffff : this.#word >>> 0;
    b.i64_store(b.state(), b.i64pair(bits | 0, 0), field.trapValue);
  }

  goto(displacement: number, link = false): void {
    if (link) this.b.call_note(this.#delta + this.length);
    this.b.goto(this.#delta + displacement);
    this.#ended = true;
  }

  branch(condition: I32, displacement: number): void {
    this.b.branch(condition, this.#delta + displacement, this.#delta + this.length);
    this.#ended = true;
  }

  jump(target: I64, kind: number): void {
    this.b.jump(target, kind);
    this.#ended = true;
  }

  endBlock(check = false): void {
    this.b.leave(check ? exitCode.checkInterrupts : exitCode.next, this.#delta + this.length);
    this.#ended = true;
  }

  leaveIf(condition: I32): void {
    this.#leavesIf = condition;
  }

  leave(reason: number): void {
    this.b.i32_store(this.b.state(), this.b.i32(reason), header.leaveReason);
    this.b.leave(exitCode.leave, this.#delta + this.length);
    this.#ended = true;
  }

  resume(): void {
    this.b.resume(exitCode.checkInterrupts);
    this.#ended = true;
  }
}

export function createTranslator({ extensions, vlen }: RiscvModel): GuestTranslator {
  const tables = new DecoderTables(allRows.filter(({ extension }) => !extension || extensions.has(extension)));
  const translator = new BlockTranslator(tables, vlen / 8, extensions.has('zvfh'));
  return {
    translate: (request, result) => translator.translate(request, result),
    disassemble: (page, offset, nextPage, _modeKey, pc) => {
      let word = 0;
      for (let i = 0; i < 4; i++) {
        const byte = offset + i < PAGE ? page[offset + i] : (nextPage?.[offset + i - PAGE] ?? 0);
        word |= byte << (8 * i);
      }
      return disassemble(tables, word, pc);
    },
  };
}
