/** Translates blocks of A64 code by the instruction table. */
import {
  type BlockBuilder,
  exitCode,
  header,
  type I32,
  type I64,
  LOOK_AGAIN,
  MOST_DISTANCE,
  type V128,
} from '../../ir/index.js';
import type { GuestTranslator, TranslationRequest, TranslationResult } from '../guest-cpu.js';
import { disassemble } from './disassemble.js';
import { DecoderTables, newFields } from './encoding.js';
import { LazyFlags } from './flags.js';
import { decodeMode, type Mode } from './mode.js';
import { type ArmModel, defaultModel } from './models.js';
import type { Fields, InsnRow, Translator } from './row.js';
import { exceptionClass, field, stackPointer, syndromeOf, trapCode, vreg, xreg } from './state.js';
import { land } from './system/branch-type.js';
import { checkBreakpoints, stepped } from './system/debug-exceptions.js';
import { takeCall } from './system/state-change.js';
import { allRows } from './table/index.js';
import { watchedBuilder } from './watched-builder.js';

const PAGE = 4096;
/** The syndrome's fields of a condition, of which A64 has none: always. */
const FLOAT_TRAP = (1 << 24) | (0xe << 20);

class BlockTranslator implements Translator {
  b!: BlockBuilder;
  mode: Mode = decodeMode(0);
  readonly model: ArmModel;
  readonly flags = new LazyFlags();
  readonly #tables: DecoderTables;
  readonly #fields: Fields = newFields();
  readonly #modes = new Map<number, Mode>();
  /** Distance of the instruction from where the code is entered. */
  #delta = 0;
  /** Where the block starts in its page. */
  #offset = 0;
  #ended = false;
  /** The instruction is a load-exclusive: of interest to who steps. */
  #isExclusive = false;
  /** An instruction of the block has looked at `field.floatTrapped`. */
  #looksForFloatTrap = false;
  /** Not 0: the block has to be left before the next instruction, for an interrupt. */
  #leavesIf: I32 | undefined;

  constructor(tables: DecoderTables, model: ArmModel) {
    this.model = model;
    this.#tables = tables;
  }

  translate(request: TranslationRequest, result: TranslationResult): void {
    const { page, offset } = request;
    this.#setMode(request.modeKey);
    const { watched, watchpoints, step, stepArmed, breakpoints } = this.mode;
    const b = watched || watchpoints ? watchedBuilder(request.b, { watchpoints, debugger: watched }) : request.b;
    this.b = b;
    this.flags.begin(b);
    this.#ended = false;
    this.#leavesIf = undefined;
    this.#looksForFloatTrap = false;
    this.#delta = 0;
    this.#offset = offset;
    result.crossesPage = false;
    result.needsNextPage = false;
    const most = watched || step || breakpoints ? 1 : Math.max(1, request.maxInstructions);
    let at = offset;
    let count = 0;
    while (!this.#ended) {
      if (count === most || at >= PAGE) {
        this.#goOn();
        break;
      }
      b.insn(this.#delta);
      if (this.#leavesIf) b.trap_if(this.#leavesIf, LOOK_AGAIN);
      this.#leavesIf = undefined;
      count++;
      if (step) b.trap_if(stepArmed ? b.i32_load(b.state(), field.stepped) : b.i32(1), trapCode.step);
      if (at & 3) {
        b.i64_store(b.state(), this.pcPlus(0), field.faultAddress);
        this.exception(syndromeOf(exceptionClass.pcAlignment));
        at = Math.min(at + 4, PAGE);
        break;
      }
      const word = page[at] | (page[at + 1] << 8) | (page[at + 2] << 16) | (page[at + 3] << 24);
      const encoding = this.#tables.decode(word, this.#fields);
      if (breakpoints) b.call(checkBreakpoints, this.pcPlus(0));
      this.#isExclusive = step && encoding !== undefined && /^lda?x/.test(encoding.row.name);
      if (count === 1 && this.mode.guarded && !this.mode.illegalState)
        land(b, word, (distance) => this.pcPlus(distance));
      if (this.mode.illegalState) this.exception(syndromeOf(exceptionClass.illegalState));
      else if (!encoding) this.undefined();
      else if (!(encoding.row.float && this.floatTraps())) encoding.row.translate(this, this.#fields);
      at += 4;
      this.#delta += 4;
    }
    result.bytes = at - offset;
    result.instructions = count;
  }

  /** The block ends before the instruction at `#delta`. */
  #goOn(): void {
    this.#stepDone();
    if (this.#leavesIf) this.b.leave(exitCode.checkInterrupts, this.#delta);
    else this.b.goto(this.#delta);
  }

  /** The instruction is about to have been executed. */
  #stepDone(): void {
    const { b } = this;
    const what = stepped.DONE | (this.#isExclusive ? stepped.EXCLUSIVE : 0);
    if (this.mode.step) b.i32_store(b.state(), b.i32(what), field.stepped);
  }

  #setMode(key: number): void {
    let mode = this.#modes.get(key);
    if (!mode) {
      mode = decodeMode(key);
      this.#modes.set(key, mode);
    }
    this.mode = mode;
  }

  v(n: number): V128 {
    return this.b.get(vreg[n]);
  }
  setV(n: number, value: V128): void {
    this.b.set(vreg[n], value);
  }
  x(n: number): I64 {
    return n === 31 ? this.b.i64(0) : this.b.get(xreg[n]);
  }
  setX(n: number, value: I64): void {
    if (n !== 31) this.b.set(xreg[n], value);
  }
  xsp(n: number): I64 {
    return this.b.get(n === 31 ? stackPointer : xreg[n]);
  }
  setXsp(n: number, value: I64): void {
    this.b.set(n === 31 ? stackPointer : xreg[n], value);
  }
  pcPlus(displacement: number): I64 {
    const { b } = this;
    // Only what is near may be a distance in the code.
    if (Math.abs(this.#delta + displacement) < MOST_DISTANCE) return b.pc_rel(this.#delta + displacement);
    return b.i64_add(b.pc_rel(this.#delta), b.i64(displacement));
  }

  get offsetInPage(): number {
    return this.#offset + this.#delta;
  }

  exception(syndrome: number): void {
    const { b } = this;
    b.i32_store(b.state(), b.i32(syndrome), field.syndrome);
    b.trap_if(b.i32(1), trapCode.here);
    b.goto(this.#delta);
    this.#ended = true;
  }
  exceptionIf(condition: I32, syndrome: number, address: I64): void {
    const { b } = this;
    b.i32_store(b.state(), b.i32(syndrome), field.syndrome);
    b.i64_store(b.state(), address, field.faultAddress);
    b.trap_if(condition, trapCode.here);
  }
  floatTraps(): boolean {
    const { b } = this;
    const syndrome = syndromeOf(exceptionClass.floatingPoint, FLOAT_TRAP);
    if (this.mode.floatTrapped) this.exception(syndrome);
    else if (this.mode.el === 1 && !this.#looksForFloatTrap) {
      this.#looksForFloatTrap = true;
      b.i32_store(b.state(), b.i32(syndrome), field.syndrome);
      b.trap_if(b.i32_load(b.state(), field.floatTrapped), trapCode.here);
    }
    return this.mode.floatTrapped;
  }
  undefined(): void {
    this.exception(syndromeOf(exceptionClass.unknown));
  }

  goto(displacement: number, link = false): void {
    this.#stepDone();
    if (link) this.b.call_note(this.#delta + 4);
    this.b.goto(this.#delta + displacement);
    this.#ended = true;
  }
  branch(condition: I32, displacement: number, onZero = false): void {
    this.#stepDone();
    const [target, next] = [this.#delta + displacement, this.#delta + 4];
    if (onZero) this.b.branch(condition, next, target);
    else this.b.branch(condition, target, next);
    this.#ended = true;
  }
  jump(target: I64, kind: number): void {
    this.#stepDone();
    this.b.jump(target, kind);
    this.#ended = true;
  }
  setMasks(state: I32): void {
    const { b } = this;
    b.i32_store(b.state(), state, field.pstate);
    this.#leavesIf = b.i32_and(b.i32_load(b.state(), field.pendingMasks), b.i32_xor(state, b.i32(-1)));
  }
  call(syndrome: number): void {
    const { b } = this;
    const hasPan = b.i32(this.model.features.has('pan') ? 1 : 0);
    this.#stepDone();
    b.call(takeCall, b.i32(syndrome), this.pcPlus(4), this.flags.bits(), hasPan);
    this.resume();
  }
  endBlock(check = false): void {
    this.#stepDone();
    this.b.leave(check ? exitCode.checkInterrupts : exitCode.next, this.#delta + 4);
    this.#ended = true;
  }
  leave(reason = 0): void {
    this.#stepDone();
    if (reason !== 0) this.b.i32_store(this.b.state(), this.b.i32(reason), header.leaveReason);
    this.b.leave(exitCode.leave, this.#delta + 4);
    this.#ended = true;
  }
  resume(): void {
    this.b.resume(exitCode.checkInterrupts);
    this.#ended = true;
  }
}

export function createTranslator(model: ArmModel = defaultModel): GuestTranslator {
  const has = ({ features }: InsnRow): boolean => features?.every((feature) => model.features.has(feature)) ?? true;
  const tables = new DecoderTables(allRows.filter(has));
  const translator = new BlockTranslator(tables, model);
  return {
    translate: (request, result) => translator.translate(request, result),
    disassemble: (page, offset, _nextPage, _modeKey, pc) => {
      let word = 0;
      for (let i = 0; i < 4 && offset + i < PAGE; i++) word |= page[offset + i] << (8 * i);
      return disassemble(tables, word, pc);
    },
  };
}
