/**
 * Translates blocks of A32 and T32 code by the instruction table.
 *
 * Conditions: an instruction that only sets registers and flags sets each to its new or its old value. Any other A32 instruction with a condition
 * ends the block with a branch: to itself with bit 1 of the pc set, where the condition is not asked again, or past it. A block that is entered so
 * is a run: while the flags stay, instructions with the same condition are executed, those with the opposite one are not. It ends where
 * conditions end, so that both ways meet again and what follows is translated once. In an
 * IT block the mode key says that the first instruction's condition holds; and a block that begins in one ends with it, because what
 * follows has another key.
 */
import {
  type BlockBuilder,
  exitCode,
  header,
  type I32,
  type I64,
  jumpKind,
  LOOK_AGAIN,
  type V128,
} from '../../ir/index.js';
import { watchedBuilder } from '../arm/watched-builder.js';
import type { GuestTranslator, TranslationRequest, TranslationResult } from '../guest-cpu.js';
import { disassemble } from './disassemble.js';
import { DecoderTables, type Encoding, isShort, newFields } from './encoding.js';
import { LazyFlags } from './flags.js';
import { advanceIt, decodeMode, FLOAT_BITS, IT_KEY, type Mode, modeBit, PASSED } from './mode.js';
import { type Arm32Model, defaultModel } from './models.js';
import type { Fields, InsnRow, Translator } from './row.js';
import { CONTROL, cpsr, exception, field, reg, trapCode, vector, vreg } from './state.js';
import { exceptionReturn, spsrPlace, takeCall } from './system/state-change.js';
import { rowsOf } from './table/index.js';

const PAGE = 4096;
const ALWAYS = 14;
/** What an IT instruction looks ahead at. */
const AHEAD = 4;
/** Instructions without a condition in a run: they are translated once more for the other way. */
const BETWEEN = 3;
const flagSetters: ReadonlySet<string> = new Set(['cmp', 'cmn', 'tst', 'teq', 'vmrs']);

/** Bits of `field.floatTrapped`, and in User mode of the mode key, with which instructions are undefined. */
const floatOff = {
  control: 1 << modeBit.floatDenied,
  vfp: (1 << modeBit.floatDenied) | (1 << modeBit.floatDisabled),
  simd: FLOAT_BITS,
} as const;

class BlockTranslator implements Translator {
  b!: BlockBuilder;
  mode: Mode = decodeMode(0);
  thumb = false;
  cond = ALWAYS;
  readonly flags = new LazyFlags();
  readonly #tables: DecoderTables;
  readonly #fields: Fields = newFields();
  readonly #ahead: Fields = newFields();
  readonly #modes = new Map<number, Mode>();
  #modeKey = 0;
  #page!: Uint8Array;
  #nextPage: Uint8Array | undefined;
  /** What is added to a place on the page to give its distance from where the code is entered. */
  #base = 0;
  /** The instruction: its place, its length, its bits, the distance that it is known by. */
  #at = 0;
  #length = 4;
  #word = 0;
  #delta = 0;
  #ended = false;
  /** Not 0: the block has to be left before the next instruction. */
  #leavesIf: I32 | undefined;
  /** ITSTATE of the instruction. */
  #it = 0;
  /** The block's key holds an IT state. */
  #startsInIt = false;
  /** The condition of an instruction that only sets registers and flags. */
  #guard: I32 | undefined;
  /** In a run: the condition that holds, and where it ends. */
  #holds: number | undefined;
  #runEnd = 0;
  /** Registers whose values the block has set to numbers that are known. */
  readonly #constants: (number | undefined)[] = new Array(16).fill(undefined);
  /** Most instructions of the block, and of those that a branch may pass. */
  #most = 1;

  readonly model: Arm32Model;

  constructor(tables: DecoderTables, model: Arm32Model) {
    this.#tables = tables;
    this.model = model;
  }

  translate(request: TranslationRequest, result: TranslationResult): void {
    const { page, offset } = request;
    this.#setMode(request.modeKey);
    const { watched } = this.mode;
    const b = watched ? watchedBuilder(request.b, { watchpoints: false, debugger: true }) : request.b;
    this.b = b;
    this.flags.begin(b);
    this.#constants.fill(undefined);
    this.#leavesIf = undefined;
    this.#ended = false;
    this.#page = page;
    this.#nextPage = request.nextPage;
    this.thumb = (offset & 1) !== 0;
    this.#it = this.mode.it;
    this.#startsInIt = this.#it !== 0;
    this.#base = -offset;
    this.#at = offset & (this.thumb ? ~1 : ~3);
    this.#guard = undefined;
    result.crossesPage = false;
    result.needsNextPage = false;
    const most = watched ? 1 : Math.max(1, request.maxInstructions);
    let passed = this.thumb ? this.mode.passed : (offset & 2) !== 0;
    this.#holds = undefined;
    if (passed && !this.thumb) this.#beginRun(most);
    let count = 0;
    while (!this.#ended) {
      if (this.#holds !== undefined && this.#at >= this.#runEnd) {
        this.#goOn();
        break;
      }
      const crosses = this.thumb && this.#at === PAGE - 2 && !isShort(this.#halfword(this.#at));
      if (count === most || this.#at >= PAGE || (crosses && count > 0)) {
        this.#goOn();
        break;
      }
      if (crosses && !this.#nextPage) {
        result.bytes = 1;
        result.instructions = 0;
        result.needsNextPage = true;
        return;
      }
      this.#fetch(this.#at);
      this.#delta = count === 0 ? 0 : this.#distance(this.#at);
      b.insn(this.#delta);
      if (this.#leavesIf) b.trap_if(this.#leavesIf, LOOK_AGAIN);
      this.#leavesIf = undefined;
      this.#most = most - count;
      count++;
      this.#translateOne(passed);
      passed = false;
      this.#at += this.#length;
      this.#it = this.#nextIt;
      if (crosses) {
        result.crossesPage = true;
        if (!this.#ended) this.#goOn();
        break;
      }
      if (this.#startsInIt && this.#it === 0 && !this.#ended) this.#goOn();
    }
    result.bytes = this.#at - offset;
    result.instructions = count;
  }

  /** ITSTATE of the next instruction. */
  #nextIt = 0;

  #halfword(at: number): number {
    const page = at < PAGE ? this.#page : this.#nextPage;
    return page ? page[at & (PAGE - 1)] | (page[(at & (PAGE - 1)) + 1] << 8) : 0;
  }
  #armWord(at: number): number {
    return this.#halfword(at) | (this.#halfword(at + 2) << 16);
  }
  #fetch(at: number): void {
    const first = this.#halfword(at);
    if (!this.thumb) {
      this.#word = this.#armWord(at);
      this.#length = 4;
    } else {
      this.#length = isShort(first) ? 2 : 4;
      this.#word = (first << 16) | (this.#length === 4 ? this.#halfword(at + 2) : 0);
    }
  }
  #decode(word: number, fields: Fields): Encoding | undefined {
    return this.thumb ? this.#tables.thumb(word, fields) : this.#tables.arm(word, fields);
  }
  /** A place on the page as a distance that code is known by. */
  #distance(at: number): number {
    return this.#base + at + (this.thumb ? 1 : 0);
  }

  #translateOne(passed: boolean): void {
    const i = this.#fields;
    const encoding = this.mode.bigEndian ? undefined : this.#decode(this.#word, i);
    const given = this.thumb ? (this.#it === 0 ? ALWAYS : this.#it >> 4) : this.#word >>> 28;
    this.cond = passed || given === 15 ? ALWAYS : given;
    this.#nextIt = advanceIt(this.#it);
    if (this.#holds !== undefined && given < ALWAYS) {
      if (given !== this.#holds) return;
      this.cond = ALWAYS;
    }
    if (this.cond === ALWAYS || encoding?.row.conditional) this.#translateRow(encoding);
    else if (encoding?.row.plain && i.rd !== 15 && this.#isPlain(encoding.row)) {
      this.#guard = this.flags.condition(this.cond);
      this.flags.guard(this.#guard);
      encoding.row.translate(this, i);
      this.#guard = undefined;
      this.flags.guard(undefined);
    } else if (this.thumb) this.#enterIf(this.flags.condition(this.cond));
    else {
      this.b.branch(this.flags.condition(this.cond), this.#base + this.#at + 2, this.#base + this.#otherWay());
      this.#ended = true;
    }
  }

  /** Where it goes on if the condition at `#at` does not hold: past all that have it, into the run of the opposite one. */
  #otherWay(): number {
    const condition = this.#word >>> 28;
    let at = this.#at + 4;
    const end = Math.min(PAGE, this.#at + 4 * this.#most);
    while (at < end && this.#armWord(at) >>> 28 === condition) at += 4;
    return at < end && this.#nextCondition(at) === (condition ^ 1) ? at + 2 : at;
  }

  /** The condition of the instruction at a place, or of the first one behind it that has one, where no flags are changed before. */
  #nextCondition(at: number): number {
    for (let between = 0; at < PAGE; at += 4) {
      const word = this.#armWord(at);
      if (word >>> 28 !== ALWAYS) return word >>> 28;
      const row = this.#decode(word, this.#ahead)?.row;
      if (++between > BETWEEN || !row || !this.#keepsFlags(row)) break;
    }
    return ALWAYS;
  }

  /** The instruction in `#ahead` goes on to the next one, and changes no flags for sure. */
  #keepsFlags(row: InsnRow): boolean {
    const { rd, s } = this.#ahead;
    return rd !== 15 && (row.plain ? s === 0 && !flagSetters.has(row.name) : row.bytes !== undefined);
  }

  /** The next condition (`#nextCondition`) at `#at` holds: how far that says what is executed. */
  #beginRun(most: number): void {
    const holds = this.#nextCondition(this.#at);
    if (holds >= ALWAYS) return;
    this.#holds = holds;
    this.#runEnd = this.#at + 4;
    let between = 0;
    for (let at = this.#at, n = 0; n < most && at < PAGE; at += 4, n++) {
      const word = this.#armWord(at);
      const condition = word >>> 28;
      const isOurs = condition >> 1 === holds >> 1;
      if (!isOurs && (condition !== ALWAYS || ++between > BETWEEN)) return;
      const row = this.#decode(word, this.#ahead)?.row;
      if (!row) return;
      if (isOurs) this.#runEnd = at + 4;
      if (!this.#keepsFlags(row)) return;
    }
  }

  /** It is not undefined for sure, nor depends that on more than the mode key. */
  #isPlain({ float }: InsnRow): boolean {
    return float === undefined || (this.mode.user && !this.#isOff(floatOff[float]));
  }
  /** In User mode: one of these bits of the mode key is set. */
  #isOff(bits: number): boolean {
    return (this.#modeKey & bits) !== 0;
  }
  lacksFloat(what: keyof typeof floatOff): boolean {
    const { b } = this;
    const bits = floatOff[what];
    const isOff = this.#isOff(bits);
    if (isOff) this.undefined();
    else if (!this.mode.user) {
      b.i32_store(b.state(), b.i32(exception.undefined), field.syndrome);
      b.trap_if(b.i32_and(b.i32_load(b.state(), field.floatTrapped), b.i32(bits)), trapCode.here);
    }
    return isOff;
  }
  #translateRow(encoding: Encoding | undefined): void {
    if (!encoding) this.undefined();
    else if (!encoding.row.float || !this.lacksFloat(encoding.row.float)) encoding.row.translate(this, this.#fields);
  }

  /** In an IT block: on to this instruction as one whose condition holds, or to the next one. */
  #enterIf(condition: I32): void {
    const { b } = this;
    const key = b.i32_and(b.i32_load(b.state(), header.modeKey), b.i32(~IT_KEY));
    const it = b.select(condition, b.i32(this.#it | PASSED), b.i32(this.#nextIt));
    b.i32_store(b.state(), b.i32_or(key, it), header.modeKey);
    const here = b.pc_rel(this.#distance(this.#at));
    const next = b.pc_rel(this.#distance(this.#at + this.#length));
    b.i64_store(b.state(), b.select(condition, here, next), header.pc);
    b.resume(exitCode.next);
    this.#ended = true;
  }

  #setMode(key: number): void {
    let mode = this.#modes.get(key);
    if (!mode) {
      mode = decodeMode(key);
      this.#modes.set(key, mode);
    }
    this.mode = mode;
    this.#modeKey = key;
  }

  // --- registers

  get inIt(): boolean {
    return this.#it !== 0;
  }
  r(n: number): I64 {
    if (n !== 15) return this.b.get(reg[n]);
    return this.b.i64_low32(this.b.pc_rel(this.#base + this.#at + (this.thumb ? 4 : 8)));
  }
  setR(n: number, value: I64): void {
    this.#constants[n] = undefined;
    if (n === 15) this.#writePc(value);
    else if (this.#guard === undefined) this.b.set(reg[n], value);
    else this.b.set(reg[n], this.b.select(this.#guard, value, this.b.get(reg[n])));
  }
  setConstant(n: number, value: number): void {
    this.setR(n, this.b.i64(value));
    if (this.#guard === undefined) this.#constants[n] = value;
  }
  constantOf(n: number): number | undefined {
    return this.#constants[n];
  }
  setLow(n: number, value: I64): void {
    this.setR(n, this.b.i64_low32(value));
  }
  v(n: number): V128 {
    return this.b.get(vreg[n]);
  }
  setV(n: number, value: V128): void {
    const { b } = this;
    b.set(vreg[n], this.#guard === undefined ? value : b.select(this.#guard, value, b.get(vreg[n])));
  }
  setField(offset: number, value: I32): void {
    const { b } = this;
    const state = b.state();
    const chosen = this.#guard === undefined ? value : b.select(this.#guard, value, b.i32_load(state, offset));
    b.i32_store(state, chosen, offset);
  }
  #writePc(value: I64): void {
    const { b } = this;
    if (this.thumb) this.jump(b.i64_low32(value), jumpKind.indirect);
    else this.exchange(b.i64_low32(value), jumpKind.indirect);
  }
  literal(displacement: number): I64 {
    return this.b.i64_low32(this.literalPlace(displacement));
  }
  literalPlace(displacement: number): I64 {
    const pc = this.thumb ? (this.#at + 4) & ~3 : this.#at + 8;
    return this.b.pc_rel(this.#base + pc + displacement);
  }
  linkAddress(): I64 {
    return this.b.i64_low32(this.b.pc_rel(this.#distance(this.#at + this.#length)));
  }

  // --- exceptions and ends

  exception(syndrome: number, after = false): void {
    const { b } = this;
    b.i32_store(b.state(), b.i32(syndrome), field.syndrome);
    b.trap_if(b.i32(1), after ? trapCode.after : trapCode.here);
    b.goto(this.#delta);
    this.#ended = true;
  }
  undefined(): void {
    this.exception(exception.undefined);
  }
  aligned(address: I64, bytes: number, isStore: boolean): void {
    if (bytes === 1) return;
    const { b } = this;
    b.i64_store(b.state(), address, field.faultAddress);
    const below = b.i64_and(address, b.i64(bytes - 1));
    b.trap_if(b.i32_wrap_i64(below), isStore ? trapCode.unalignedStore : trapCode.unalignedLoad);
  }

  /** What follows is not in an IT block, or elsewhere in it: gives true if the key has changed. */
  #leaveIt(next: number): boolean {
    if (!this.#startsInIt && next === 0) return false;
    const { b } = this;
    const key = b.i32_and(b.i32_load(b.state(), header.modeKey), b.i32(~IT_KEY));
    b.i32_store(b.state(), next === 0 ? key : b.i32_or(key, b.i32(next)), header.modeKey);
    return true;
  }
  /** The block ends before the instruction at `#at`. */
  #goOn(): void {
    const distance = this.#distance(this.#at);
    const leaves = this.#leaveIt(this.#it);
    if (this.#leavesIf) this.b.leave(exitCode.checkInterrupts, distance);
    else if (leaves) this.b.leave(exitCode.next, distance);
    else this.b.goto(distance);
    this.#ended = true;
  }
  #next(): number {
    return this.#distance(this.#at + this.#length);
  }
  /** The pc as read, as a place on the page. */
  #place(displacement: number, exchange: boolean): number {
    if (!this.thumb) return this.#at + 8 + displacement + (exchange ? 1 : 0);
    return exchange ? ((this.#at + 4) & ~3) + displacement : this.#at + 4 + displacement + 1;
  }

  goto(displacement: number, link = false, exchange = false): void {
    const { b } = this;
    const distance = this.#base + this.#place(displacement, exchange);
    const leaves = this.#leaveIt(0);
    if (leaves) b.leave(exitCode.next, distance);
    else {
      if (link) b.call_note(this.#next());
      b.goto(distance);
    }
    this.#ended = true;
  }
  branch(condition: I32, displacement: number): void {
    const { b } = this;
    const distance = this.#base + this.#place(displacement, false);
    if (this.#leaveIt(0)) this.#resumeAt(b.select(condition, b.pc_rel(distance), b.pc_rel(this.#next())));
    else b.branch(condition, distance, this.#next());
    this.#ended = true;
  }
  #resumeAt(target: I64): void {
    this.b.i64_store(this.b.state(), target, header.pc);
    this.b.resume(exitCode.next);
  }
  exchange(target: I64, kind: number): void {
    if (this.#leaveIt(0)) this.#resumeAt(target);
    else this.b.jump(target, kind);
    this.#ended = true;
  }
  jump(target: I64, kind: number): void {
    const { b } = this;
    this.exchange(this.thumb ? b.i64_or(target, b.i64(1)) : b.i64_and(target, b.i64(-4)), kind);
  }
  exceptionReturn(target: I64): void {
    if (this.mode.noSpsr) {
      this.undefined();
      return;
    }
    const { b } = this;
    this.returnTo(b.i32_load(b.call(spsrPlace)[0], field.banked15), target);
  }
  returnTo(status: I32, target: I64): void {
    const { b } = this;
    this.flags.setBits(b.i32_and(status, b.i32(cpsr.FLAGS)));
    b.call(exceptionReturn, status, b.i32_wrap_i64(target));
    this.resume();
  }
  call(): void {
    const { b } = this;
    const state = b.state();
    const it = this.#nextIt;
    const fixed = ((it & 3) << 25) | ((it & 0xfc) << 8) | (this.thumb ? cpsr.T : 0);
    const control = b.i32_and(b.i32_load(state, field.pstate), b.i32(CONTROL));
    const middle = b.i32_or(b.i32_load(state, field.q), b.i32_load(state, field.ge));
    const saved = b.i32_or(b.i32_or(this.flags.bits(), middle), b.i32_or(control, b.i32(fixed)));
    const next = b.i32_wrap_i64(b.pc_rel(this.#base + this.#at + this.#length));
    b.i32_store(state, b.i32(exception.svc), field.syndrome);
    b.call(takeCall, next, saved, b.i32(vector.svc));
    this.resume();
  }
  leaveIf(condition: I32): void {
    // The mode key names the place in an IT block only where a block ends.
    if (this.#startsInIt || this.#it !== 0) this.endBlock(true);
    else this.#leavesIf = condition;
  }
  endBlock(check = false): void {
    this.#leaveIt(this.#nextIt);
    this.b.leave(check ? exitCode.checkInterrupts : exitCode.next, this.#next());
    this.#ended = true;
  }
  leave(reason = 0): void {
    if (reason) this.b.i32_store(this.b.state(), this.b.i32(reason), header.leaveReason);
    this.#leaveIt(this.#nextIt);
    this.b.leave(exitCode.leave, this.#next());
    this.#ended = true;
  }
  resume(): void {
    this.b.resume(exitCode.checkInterrupts);
    this.#ended = true;
  }

  startIt(state: number): void {
    const condition = state >> 4;
    const end = this.#uniformEnd(state);
    if (end === undefined || this.#startsInIt) {
      this.#nextIt = state;
      return;
    }
    if (condition === ALWAYS) return;
    this.b.branch(this.flags.condition(condition), this.#next(), this.#distance(end));
    this.#ended = true;
  }

  /**
   * Where an IT block ends that can be branched over as one: all instructions have the same condition, none would set flags without
   * the IT, and none but the last changes flags. Undefined: it is not so, or there is nothing in it that needs a branch.
   */
  #uniformEnd(state: number): number | undefined {
    let at = this.#at + this.#length;
    let needsBranch = state >> 4 === ALWAYS;
    for (let it = state, n = 0; it !== 0 && n < AHEAD; it = advanceIt(it), n++) {
      if (it >> 4 !== state >> 4 || at > PAGE - 4) return undefined;
      const first = this.#halfword(at);
      const short = isShort(first);
      const word = (first << 16) | (short ? 0 : this.#halfword(at + 2));
      const row = this.#decode(word, this.#ahead)?.row;
      // BKPT is executed whatever the condition says.
      if (!row || row.flagsOutsideIt || (row.conditional && row.name !== 'b')) return undefined;
      const isLast = advanceIt(it) === 0;
      const setsFlags = row.plain && (this.#ahead.s !== 0 || flagSetters.has(row.name));
      if (!isLast && setsFlags) return undefined;
      if (!row.plain || this.#ahead.rd === 15) needsBranch = true;
      at += short ? 2 : 4;
    }
    return needsBranch ? at : undefined;
  }
}

/** Bit 0 says T32; bit 1 in A32 that a condition holds (`#beginRun`). */
const entryDistance = (offset: number): number => ((offset & 1) !== 0 ? 1 : offset & 2);

export function createTranslator(model: Arm32Model = defaultModel): GuestTranslator {
  const tables = new DecoderTables(rowsOf(model));
  const translator = new BlockTranslator(tables, model);
  return {
    translate: (request, result) => translator.translate(request, result),
    entryDistance,
    disassemble: (page, offset, nextPage, _modeKey, pc) => {
      const thumb = (offset & 1) !== 0;
      const at = offset - entryDistance(offset);
      const byte = (n: number) => (n < PAGE ? page[n] : (nextPage?.[n - PAGE] ?? 0));
      const half = (n: number) => byte(n) | (byte(n + 1) << 8);
      const word = thumb ? (half(at) << 16) | half(at + 2) : half(at) | (half(at + 2) << 16);
      return disassemble(tables, thumb, word, pc & ~(thumb ? 1n : 3n));
    },
  };
}
