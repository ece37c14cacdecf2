/**
 * Lowers a block's IR to cold code (cold-code.ts).
 *
 * A variable that is read is used in its home when no write to it comes before the temp's last use; a temp that is written
 * to a variable is computed right there when nobody can see the difference.
 */
import { assert } from '../base/index.js';
import {
  access,
  type BlockBuilder,
  type BlockUses,
  DEFERRED_UNCHANGED,
  exitCode,
  exitWord,
  fitsExitWord,
  type GuestVars,
  Op,
  opWords,
  type Routine,
} from '../ir/index.js';
import {
  CALL_BASE,
  COLD_HEADER_BYTES,
  callWords,
  coldHeader,
  DISPLACED,
  EXTENDED,
  FAR_BRANCH,
  FAR_GOTO,
  FUSED,
  fuse,
  guestLoads,
  guestStores,
  handlerWords,
  hasImmediateHandler,
  immediateHandler,
  LOAD_FOR_WRITE,
  SLOW_ACCESS,
} from './cold-code.js';
import { kind, opHasResult, opKind, opParamCount } from './op-tables.js';

/** Slots for temps that one vCPU's state must have behind it, 16 bytes each. */
export const TEMP_SLOTS = 1024;

const guestLoadIndex = (op: number) => guestLoads.indexOf(op);
const isGuestLoad = new Uint8Array(Object.keys(Op).length);
const isGuestStore = new Uint8Array(Object.keys(Op).length);
for (const op of guestLoads) isGuestLoad[op] = 1 + guestLoadIndex(op);
for (const op of guestStores) isGuestStore[op] = 1 + guestStores.indexOf(op);

const mayLeave = new Uint8Array(Object.keys(Op).length);
for (const op of [...guestLoads, ...guestStores, Op.trap_if, Op.call]) mayLeave[op] = 1;

/** Cold code of a block: where it is to go is not known yet. */
export interface ColdCode {
  readonly words: Int32Array;
  readonly length: number;
  /** Of each way to another block, `linkWords / 2`: where its link is in `words`, and how far that block is from this one's start. */
  readonly links: Int32Array;
  readonly linkWords: number;
}

export class ColdSerializer implements ColdCode {
  readonly #vars: GuestVars;
  readonly #routines: readonly Routine[];
  /** Offset of the first temp slot in the state. */
  readonly #tempBase: number;
  readonly #countInstructions: boolean;
  /** Of the block under way (BlockUses). Ops go by their number in its builder. */
  #lastUse: Int32Array = new Int32Array(0);
  #nextSet: Int32Array = new Int32Array(0);
  #starts: Int32Array = new Int32Array(0);
  /** Of each temp: where its code begins in the output, and the op that defines it. */
  #defined = new Int32Array(1024);
  #definedBy = new Int32Array(1024);
  /** Slot offset of each temp; 0: none yet. Constants: see #constants. */
  #slot = new Int32Array(1024);
  /** Slots from the free list carry their index + 1 here, to be given back after the temp's last use. */
  #owned = new Int32Array(1024);
  readonly #lastAccess: Int32Array;
  readonly #aliasUntil: Int32Array;
  /** Slots that serve again: a stack. */
  readonly #free = new Int32Array(TEMP_SLOTS);
  #freeSlots = 0;
  #slots = 0;
  /** Output. */
  words = new Int32Array(8192);
  length = 0;
  readonly links = new Int32Array(4);
  linkWords = 0;
  /** Words of each handler's op. */
  readonly #sizes: Uint8Array;

  constructor(vars: GuestVars, routines: readonly Routine[], tempBase: number, countInstructions: boolean) {
    this.#countInstructions = countInstructions;
    this.#vars = vars;
    this.#routines = routines;
    this.#tempBase = tempBase;
    this.#sizes = new Uint8Array(CALL_BASE + routines.length);
    for (let handler = 0; handler < FUSED; handler++) this.#sizes[handler] = handlerWords(handler);
    for (const routine of routines) this.#sizes[CALL_BASE + routine.id] = callWords(routine);
    const count = vars.vars.length;
    this.#lastAccess = new Int32Array(count);
    this.#aliasUntil = new Int32Array(count);
  }

  /** Fills `words`/`length` with the code of an optimized block, header included. */
  run(b: BlockBuilder, uses: BlockUses, instructions: number): void {
    const end = b.length;
    this.#source = b.words;
    this.#starts = b.starts;
    this.#lastUse = uses.lastUse;
    this.#nextSet = uses.nextSet;
    if (this.#defined.length < b.temps) {
      const size = b.temps * 2;
      this.#defined = new Int32Array(size);
      this.#definedBy = new Int32Array(size);
      this.#slot = new Int32Array(size);
      this.#owned = new Int32Array(size);
    }
    this.#base += this.#span;
    this.#span = b.ops + 1;
    if (this.#base > 0x3fffffff) this.#startOver();
    this.#freeSlots = 0;
    this.#slots = 0;
    if (this.words.length < end * 3 + 64) this.words = new Int32Array(end * 6 + 64);
    const out = this.words;
    for (let i = 0; i < COLD_HEADER_BYTES / 4; i++) out[i] = 0;
    out[coldHeader.instructions >> 2] = instructions;
    this.length = COLD_HEADER_BYTES / 4;
    this.linkWords = 0;
    this.#lower(b.ops);
    this.#fuse();
  }

  /**
   * Ops noted per variable are offset by #base, which grows with every block: what earlier blocks left there reads as
   * "before this block" without being cleared.
   */
  #base = 0;
  #span = 1;

  #startOver(): void {
    this.#base = 1;
    this.#lastAccess.fill(0);
    this.#aliasUntil.fill(0);
  }

  #define(temp: number): void {
    this.#definedBy[temp] = this.#now;
    this.#slot[temp] = 0;
    this.#owned[temp] = 0;
  }

  /** The op that is lowered now. */
  #now = 0;

  #lower(ops: number): void {
    const words = this.#source;
    let delta = 0;
    let deferred = DEFERRED_UNCHANGED;
    let lastExit = -1;
    const out = this.words;
    for (let i = 0; i < ops; i++) {
      const at = this.#starts[i];
      if (at < 0) continue;
      this.#now = i;
      const op = words[at];
      if (opHasResult[op]) this.#define(words[at + 1]);
      if (mayLeave[op]) lastExit = i;
      switch (opKind[op]) {
        case kind.constant:
          break; // written when an op wants it in a slot
        case kind.pure:
        case kind.reads:
        case kind.writes:
          if (op === Op.i32_wrap_i64 && this.#wrap(words, at)) break;
          if (op === Op.i64_extend_i32_u && this.#extendLoad(words, at)) break;
          this.#plain(op, words, at);
          break;
        default:
          if (op === Op.insn) {
            delta = words[at + 1];
            if (this.#countInstructions) out[this.length++] = op;
          } else if (op === Op.set_deferred) deferred = words[at + 1];
          else if (op === Op.get_i32 && words[at + 2] === this.#vars.deferred.id && deferred !== DEFERRED_UNCHANGED) {
            if (this.#lastUse[words[at + 1]] >= 0) {
              const slot = this.#result(words[at + 1]);
              out[this.length++] = Op.const_i32;
              out[this.length++] = slot;
              out[this.length++] = deferred;
            }
          } else if (op >= Op.get_i32 && op <= Op.get_v128) this.#get(op, words, at);
          else if (op >= Op.set_i32 && op <= Op.set_v128) {
            this.#set(op, words, at, lastExit);
            if (words[at + 2] === this.#vars.deferred.id) deferred = DEFERRED_UNCHANGED;
          } else if (op === Op.state || op === Op.pc_rel) {
            const slot = this.#result(words[at + 1]);
            out[this.length++] = op;
            out[this.length++] = slot;
            if (op === Op.pc_rel) out[this.length++] = words[at + 2];
          } else if (op === Op.trap_if) {
            const slot = this.#operand(words[at + 1]);
            out[this.length++] = op;
            out[this.length++] = slot;
            out[this.length++] = words[at + 2];
            out[this.length++] = exitWord(exitCode.fault, delta, deferred);
          } else if (op === Op.call) {
            const { vars } = this.#routines[words[at + 1]].effects;
            if (vars !== 'none' && deferred !== DEFERRED_UNCHANGED) {
              // The routine looks for the deferred variable at home.
              out[this.length++] = immediateHandler(Op.set_i32);
              out[this.length++] = this.#vars.deferred.offset;
              out[this.length++] = deferred;
              if (vars === 'write') deferred = DEFERRED_UNCHANGED;
            }
            this.#call(words, at, exitWord(exitCode.fault, delta, deferred));
          } else if (isGuestLoad[op]) {
            const i = isGuestLoad[op] - 1;
            const bits = words[at + 3];
            const usual = (bits & (access.mmuMask | access.forWrite)) === 0;
            const displaced = usual && this.#takeDisplacement(words[at + 2]);
            const address = displaced ? this.#addressBase : this.#operand(words[at + 2]);
            const slot = this.#result(words[at + 1]);
            out[this.length++] = displaced
              ? DISPLACED + i
              : bits & access.mmuMask
                ? SLOW_ACCESS + i
                : bits & access.forWrite
                  ? LOAD_FOR_WRITE + i
                  : op;
            out[this.length++] = slot;
            out[this.length++] = address;
            out[this.length++] = bits;
            out[this.length++] = exitWord(exitCode.fault, delta, deferred);
            if (displaced) out[this.length++] = this.#displacement;
          } else if (isGuestStore[op]) {
            const i = isGuestStore[op] - 1;
            const bits = words[at + 3];
            // A value that is yet to be written to a slot could get that of the address's base.
            const displaced =
              (bits & access.mmuMask) === 0 &&
              this.#slot[words[at + 2]] !== 0 &&
              words[at + 1] !== words[at + 2] &&
              this.#takeDisplacement(words[at + 1]);
            const address = displaced ? this.#addressBase : this.#operand(words[at + 1]);
            const value = this.#operand(words[at + 2]);
            out[this.length++] = displaced ? DISPLACED + 5 + i : bits & access.mmuMask ? SLOW_ACCESS + 5 + i : op;
            out[this.length++] = address;
            out[this.length++] = value;
            out[this.length++] = bits;
            out[this.length++] = exitWord(exitCode.fault, delta, deferred);
            if (displaced) out[this.length++] = this.#displacement;
          } else if (op === Op.goto && fitsExitWord(words[at + 1])) {
            out[this.length++] = op;
            this.#linked(words[at + 1], deferred);
          } else if (op === Op.goto) this.#leaveTo(exitCode.next, words[at + 1], deferred);
          else if (op === Op.leave) this.#leaveTo(words[at + 1], words[at + 2], deferred);
          else if (op === Op.branch) {
            const slot = this.#operand(words[at + 1]);
            const far = !fitsExitWord(words[at + 2]) || !fitsExitWord(words[at + 3]);
            out[this.length++] = far ? FAR_BRANCH : op;
            out[this.length++] = slot;
            if (far) {
              out[this.length++] = words[at + 2];
              out[this.length++] = words[at + 3];
              out[this.length++] = exitWord(exitCode.next, 0, deferred);
            } else {
              this.#linked(words[at + 2], deferred);
              this.#linked(words[at + 3], deferred);
            }
          } else if (op === Op.jump) {
            const slot = this.#operand(words[at + 1]);
            out[this.length++] = op;
            out[this.length++] = slot;
            out[this.length++] = exitWord(exitCode.next, 0, deferred);
            out[coldHeader.lastJump >> 2] = 4 * this.length;
            out[this.length++] = 0;
          } else if (op === Op.resume) {
            out[this.length++] = op;
            out[this.length++] = exitWord(words[at + 1], 0, deferred);
          } else if (op === Op.fence) out[this.length++] = op;
          else if (op !== Op.call_note) assert(false, `op ${op} in a block`);
      }
      this.#releaseOperands(words, at, op);
    }
  }

  #displacement = 0;
  #addressBase = 0;

  /** If the op before has added a constant to make this address and nothing else uses it, the access does that itself. */
  #takeDisplacement(temp: number): boolean {
    const out = this.words;
    const start = this.#defined[temp];
    if (
      this.#lastUse[temp] !== this.#now ||
      this.#owned[temp] === 0 ||
      start !== this.length - 4 ||
      this.#source[this.#definition(temp)] !== Op.i64_add ||
      out[start] !== immediateHandler(Op.i64_add)
    )
      return false;
    this.#addressBase = out[start + 2];
    this.#displacement = out[start + 3];
    this.length = start;
    return true;
  }

  /** The low half of an i64 is where the i64 is: no code, unless the slot changes too soon. */
  #wrap(words: Int32Array, at: number): boolean {
    const result = words[at + 1];
    const from = words[at + 2];
    const until = this.#lastUse[result];
    const slot = this.#slot[from];
    if (until < 0 || slot === 0) return false;
    if (this.#owned[from] !== 0) {
      if (this.#lastUse[from] !== this.#now) return false;
      this.#owned[result] = this.#owned[from];
      this.#owned[from] = 0;
    } else {
      const def = this.#definition(from);
      if (words[def] !== Op.get_i64 || until > this.#nextSet[this.#definedBy[from]]) return false;
      const id = words[def + 2];
      if (until + this.#base > this.#aliasUntil[id]) this.#aliasUntil[id] = until + this.#base;
      this.#owned[result] = 0;
    }
    this.#slot[result] = slot;
    // What computed it wrote eight bytes: it cannot write a variable of four instead.
    this.#defined[result] = -1;
    return true;
  }

  /** If the op before is the load of what is extended, it extends by itself. */
  #extendLoad(words: Int32Array, at: number): boolean {
    const result = words[at + 1];
    const from = words[at + 2];
    const start = this.#defined[from];
    const load = isGuestLoad[words[this.#definition(from)]] - 1;
    if (load < 0 || load > 2 || this.#lastUse[from] !== this.#now || this.#owned[from] === 0 || start < 0) return false;
    if (this.#lastUse[result] < 0) return false;
    const out = this.words;
    if (out[start] === guestLoads[load] && start + 5 === this.length) out[start] = EXTENDED + load;
    else if (out[start] === DISPLACED + load && start + 6 === this.length) out[start] = EXTENDED + 3 + load;
    else return false;
    this.#owned[result] = this.#owned[from];
    this.#owned[from] = 0;
    this.#slot[result] = this.#slot[from];
    this.#defined[result] = start;
    return true;
  }

  /** A way to another block: exit word and link. */
  #linked(delta: number, deferred: number): void {
    this.words[this.length++] = exitWord(exitCode.next, delta, deferred);
    this.links[this.linkWords++] = this.length;
    this.links[this.linkWords++] = delta;
    this.words[this.length++] = 0;
  }

  /** Gives ops in a row that have one handler together that handler. */
  #fuse(): void {
    const { words, length } = this;
    for (let at = COLD_HEADER_BYTES / 4; at < length; ) {
      let handler = words[at];
      let next = at + this.#sizes[handler];
      for (let more = 0; next < length; next += this.#sizes[words[next]]) {
        more = fuse(handler, words[next]);
        if (more === 0) break;
        handler = more;
      }
      words[at] = handler;
      at = next;
    }
  }

  /** An exit word alone, or a distance added to the pc before it. */
  #leaveTo(code: number, delta: number, deferred: number): void {
    const near = fitsExitWord(delta);
    this.words[this.length++] = near ? Op.leave : FAR_GOTO;
    if (!near) this.words[this.length++] = delta;
    this.words[this.length++] = exitWord(code, near ? delta : 0, deferred);
  }

  #releaseOperands(words: Int32Array, at: number, op: number): void {
    let first: number;
    let count: number;
    if (op === Op.call) {
      const { results, params } = this.#routines[words[at + 1]];
      first = at + 3 + results.length;
      count = params.length;
    } else {
      first = at + 1 + opHasResult[op];
      count = opParamCount[op];
    }
    for (let i = 0; i < count; i++) {
      const temp = words[first + i];
      if (this.#lastUse[temp] === this.#now && this.#owned[temp] !== 0) {
        this.#free[this.#freeSlots++] = this.#owned[temp] - 1;
        this.#owned[temp] = 0;
      }
    }
  }

  #own(temp: number): number {
    const index = this.#freeSlots > 0 ? this.#free[--this.#freeSlots] : this.#slots++;
    assert(index < TEMP_SLOTS, 'too many temps in a block');
    this.#owned[temp] = index + 1;
    return (this.#slot[temp] = this.#tempBase + 16 * index);
  }

  /** The slot a result goes to: the one chosen before (#retarget), or a new one. */
  #result(temp: number): number {
    this.#defined[temp] = this.length;
    const slot = this.#own(temp);
    if (this.#lastUse[temp] < 0) {
      // Nobody uses it: its slot is free again at once.
      this.#free[this.#freeSlots++] = this.#owned[temp] - 1;
      this.#owned[temp] = 0;
    }
    return slot;
  }

  /** Where in the IR the op lies that defines a temp. */
  #definition(temp: number): number {
    return this.#starts[this.#definedBy[temp]];
  }

  /** The operand's slot; a constant is written to one first. */
  #operand(temp: number): number {
    let slot = this.#slot[temp];
    if (slot !== 0) return slot;
    const out = this.words;
    const def = this.#definition(temp);
    const words = this.#source;
    slot = this.#own(temp);
    const op = words[def];
    const count = opWords[op] - 2;
    out[this.length++] = op;
    out[this.length++] = slot;
    for (let i = 0; i < count; i++) out[this.length++] = words[def + 2 + i];
    return slot;
  }
  #source: Int32Array = new Int32Array(0);

  /** The last operand as a sign-extended word, if it is a constant that fits. */
  #smallConstant(words: Int32Array, temp: number): boolean {
    const def = this.#definition(temp);
    return words[def] === Op.const_i32 || (words[def] === Op.const_i64 && words[def + 3] === words[def + 2] >> 31);
  }

  #plain(op: number, words: Int32Array, at: number): void {
    const out = this.words;
    const hasResult = opHasResult[op];
    const first = at + 1 + hasResult;
    const count = opParamCount[op];
    const last = first + count - 1;
    const immediate = hasImmediateHandler[op] === 1 && this.#smallConstant(words, words[last]);
    const a = count > 0 && !(immediate && count === 1) ? this.#operand(words[first]) : 0;
    const b = count > 1 && !(immediate && count === 2) ? this.#operand(words[first + 1]) : 0;
    const c = count > 2 && !(immediate && count === 3) ? this.#operand(words[first + 2]) : 0;
    const constant = immediate ? words[this.#definition(words[last]) + 2] : 0;
    const result = hasResult ? this.#result(words[at + 1]) : 0;
    out[this.length++] = immediate ? immediateHandler(op) : op;
    if (hasResult) out[this.length++] = result;
    if (count > 0) out[this.length++] = immediate && count === 1 ? constant : a;
    if (count > 1) out[this.length++] = immediate && count === 2 ? constant : b;
    if (count > 2) out[this.length++] = immediate && count === 3 ? constant : c;
    const size = opWords[op];
    for (let i = last + 1; i < at + size; i++) out[this.length++] = words[i];
  }

  #call(words: Int32Array, at: number, exit: number): void {
    const out = this.words;
    const routine = this.#routines[words[at + 1]];
    const { results, params, effects } = routine;
    const slots: number[] = [];
    for (let i = 0; i < params.length; i++) slots.push(this.#operand(words[at + 3 + results.length + i]));
    const start = this.length;
    this.length += 1 + results.length + params.length;
    out[start] = CALL_BASE + routine.id;
    for (let i = 0; i < results.length; i++) {
      this.#define(words[at + 3 + i]);
      out[start + 1 + i] = this.#result(words[at + 3 + i]);
    }
    for (let i = 0; i < params.length; i++) out[start + 1 + results.length + i] = slots[i];
    if (effects.mayFault) out[this.length++] = exit;
    // What it may read or write is seen as touched.
    if (effects.vars !== 'none') this.#lastAccess.fill(this.#now + this.#base);
  }

  #get(op: number, words: Int32Array, at: number): void {
    const temp = words[at + 1];
    const id = words[at + 2];
    const until = this.#lastUse[temp];
    if (until < 0) return;
    const home = this.#vars.vars[id].offset;
    this.#lastAccess[id] = this.#now + this.#base;
    if (until <= this.#nextSet[this.#now]) {
      this.#slot[temp] = home;
      this.#owned[temp] = 0;
      if (until + this.#base > this.#aliasUntil[id]) this.#aliasUntil[id] = until + this.#base;
      return;
    }
    const slot = this.#result(temp);
    const out = this.words;
    out[this.length++] = op;
    out[this.length++] = slot;
    out[this.length++] = home;
  }

  #set(op: number, words: Int32Array, at: number, lastExit: number): void {
    const temp = words[at + 1];
    const id = words[at + 2];
    const home = this.#vars.vars[id].offset;
    const out = this.words;
    const def = this.#definition(temp);
    const defOp = words[def];
    const definedBy = this.#definedBy[temp];
    const owned = this.#owned[temp];
    // Retarget: the op that computes the temp writes the variable itself.
    if (
      owned !== 0 &&
      this.#defined[temp] >= 0 &&
      opKind[defOp] !== kind.constant &&
      defOp !== Op.call &&
      lastExit <= definedBy &&
      this.#lastAccess[id] <= definedBy + this.#base &&
      this.#aliasUntil[id] <= definedBy + this.#base &&
      this.#lastUse[temp] <= this.#nextSet[this.#now]
    ) {
      const slotWord = this.#defined[temp] + 1;
      // The temp's slot may have been read since: those ops must read the variable instead. Only when none has is it safe.
      if (!this.#readSince(slotWord, this.#slot[temp])) {
        out[slotWord] = home;
        this.#free[this.#freeSlots++] = owned - 1;
        this.#owned[temp] = 0;
        this.#slot[temp] = home;
        this.#lastAccess[id] = this.#now + this.#base;
        if (this.#lastUse[temp] + this.#base > this.#aliasUntil[id]) {
          this.#aliasUntil[id] = this.#lastUse[temp] + this.#base;
        }
        return;
      }
    }
    this.#lastAccess[id] = this.#now + this.#base;
    if (op <= Op.set_i64 && this.#slot[temp] === 0 && this.#smallConstant(words, temp)) {
      out[this.length++] = immediateHandler(op);
      out[this.length++] = home;
      out[this.length++] = words[def + 2];
      return;
    }
    const from = this.#operand(temp);
    if (from === home) return;
    out[this.length++] = op - Op.set_i32 + Op.get_i32;
    out[this.length++] = home;
    out[this.length++] = from;
  }

  /** Does the code after `slotWord` name the slot? Offsets and constants look alike: a false yes only costs a copy. */
  #readSince(slotWord: number, slot: number): boolean {
    for (let i = slotWord + 1; i < this.length; i++) if (this.words[i] === slot) return true;
    return false;
  }
}
