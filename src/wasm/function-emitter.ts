/**
 * Writes one WebAssembly function from IR words: what regions and routines have in common.
 *
 * A temp used once is not given a local: its expression is written where it is used, unless something it depends on is
 * written in between. A guest variable or mutable local that is read is used in place; a copy is made only when it is
 * written while the old value is still wanted.
 */
import { assert } from '../base/index.js';
import { access, Op, opNames, opWords, type Routine, typeCode } from '../ir/index.js';
import { header, tlbEntry } from '../ir/vcpu-header.js';
import { type SpanUse, spanShape } from './access-spans.js';
import { ByteWriter } from './bytes.js';
import { accessBytes, encodings, kind, opBytes, opEncoding, opHasResult, opKind, opParamCount } from './op-tables.js';

/** What a function's code refers to outside itself. */
export interface CodeEnvironment {
  readonly routines: readonly Routine[];
  /** Index of a routine in the module being written. */
  functionIndex(routine: number): number;
  /** Routines of the slow memory path (engine routines, see accel/tcg/softmmu.ts). */
  readonly slowLoad: number;
  readonly slowStore: number;
  readonly slowStore128: number;
  /** (address of a span's first byte, access and size, spanShape) → its host address, or 0 to leave. */
  readonly slowSpan: number;
  /** (distance, host address, cell) → 1 if the code at that distance lies there still. */
  readonly verifyEdge: number;
}

/** Where a temp is. */
const UNPLACED = -1;
const PENDING = -2;
const CONSTANT = -3;
/** `local_*` or `get_*` read in place: the local is in #source. */
const ALIAS = -4;

/** WebAssembly load and store instructions by size, for the fast path, without their offset. */
const LOAD_CODE: Record<number, readonly number[]> = {
  1: [0x2d, 0],
  2: [0x2f, 0],
  4: [0x28, 0],
  8: [0x29, 0],
  16: [0xfd, 0, 0],
};
const STORE_CODE: Record<number, readonly number[]> = {
  1: [0x3a, 0],
  2: [0x3b, 0],
  4: [0x36, 0],
  8: [0x37, 0],
  16: [0xfd, 0x0b, 0],
};

export const wasmOp = {
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  brIf: 0x0d,
  brTable: 0x0e,
  return: 0x0f,
  call: 0x10,
  drop: 0x1a,
  select: 0x1b,
  localGet: 0x20,
  localSet: 0x21,
  localTee: 0x22,
  i32Const: 0x41,
  i64Const: 0x42,
} as const;
export const VOID = 0x40;

export abstract class FunctionEmitter {
  readonly out = new ByteWriter(4096);
  /** Type codes of the locals behind the parameters. */
  readonly locals: number[] = [];
  /** Offsets of branches that are hardly ever taken. */
  readonly unlikely: number[] = [];
  protected readonly env: CodeEnvironment;
  protected words: Int32Array = new Int32Array(0);
  protected tempTypes: Uint8Array = new Uint8Array(0);
  /** Uses of each temp not yet written. */
  protected uses = new Int32Array(256);
  #defined = new Int32Array(256);
  #place = new Int32Array(256);
  #source = new Int32Array(256);
  readonly #pending: number[] = [];
  readonly #aliases: number[] = [];
  readonly #free: number[][] = [[], [], [], [], []];
  /** Nesting of WebAssembly blocks at the point of writing. */
  protected depth = 0;
  protected paramCount = 1;
  /** Locals of dead temps serve again; not in routines, where a temp may be used once more in the next turn of a loop. */
  protected abstract readonly reuseLocals: boolean;
  #addressLocal = -1;
  #entryLocal = -1;
  #hostLocal = -1;

  constructor(env: CodeEnvironment) {
    this.env = env;
  }

  /** Forgets the function written before. */
  protected reset(paramCount: number): void {
    this.out.clear();
    this.locals.length = 0;
    this.unlikely.length = 0;
    this.paramCount = paramCount;
    this.depth = 0;
    this.#addressLocal = this.#entryLocal = this.#hostLocal = -1;
    for (const list of this.#free) list.length = 0;
  }

  newLocal(type: number): number {
    const free = this.#free[type];
    if (free.length > 0) return free.pop() as number;
    this.locals.push(type);
    return this.paramCount + this.locals.length - 1;
  }

  // --- what regions and routines do differently
  /** Leaves because a guest access or trap failed (its description is in the state). */
  protected abstract faultExit(): void;
  /** Reads or writes a guest variable. Regions: a local; routines: its home. `value` has been written to the stack for a set. */
  protected abstract varLocal(id: number): number;
  /** A variable has got a new value in its local. */
  protected varWritten(_id: number): void {}
  protected abstract writeVarHome(id: number, emitValue: () => void): void;
  protected abstract readVarHome(id: number): void;
  /** Local of a mutable local of a routine. */
  protected abstract mutableLocal(index: number): number;
  /** Local that holds an MMU context's TLB address or mask, or -1 to load it from the state. */
  protected abstract tlbLocal(what: 'tlb' | 'mask', mmu: number): number;
  /** The span that the access at a place in the IR belongs to. */
  protected spanUse(_at: number): SpanUse | undefined {
    return undefined;
  }
  /** Ops that only one of them has. */
  protected abstract special(op: number, at: number): void;
  protected abstract beforeCall(routine: Routine): void;
  protected abstract afterCall(routine: Routine): void;

  // --- small writers
  protected op(code: number): void {
    this.out.u8(code);
  }
  protected localGet(index: number): void {
    this.out.u8(wasmOp.localGet);
    this.out.u32(index);
  }
  protected localSet(index: number): void {
    this.out.u8(wasmOp.localSet);
    this.out.u32(index);
  }
  protected localTee(index: number): void {
    this.out.u8(wasmOp.localTee);
    this.out.u32(index);
  }
  protected i32Const(value: number): void {
    this.out.u8(wasmOp.i32Const);
    this.out.s32(value);
  }
  protected i64Const(low: number, high: number): void {
    this.out.u8(wasmOp.i64Const);
    this.out.s64(low, high);
  }
  /** A load or store instruction with its alignment (none assumed) and offset. */
  protected memory(code: number, offset: number): void {
    this.out.u8(code);
    this.out.u8(0);
    this.out.u32(offset);
  }
  protected open(code: number, type: number = VOID): void {
    this.out.u8(code);
    this.out.u8(type);
    this.depth++;
  }
  /** An `if` whose inside is hardly ever run. */
  protected openUnlikely(): void {
    this.unlikely.push(this.out.length);
    this.open(wasmOp.if);
  }
  protected close(): void {
    this.out.u8(wasmOp.end);
    this.depth--;
  }

  // --- preparing a stretch of IR
  protected begin(words: Int32Array, start: number, end: number, tempTypes: Uint8Array, temps: number): void {
    this.words = words;
    this.tempTypes = tempTypes;
    if (this.uses.length < temps) {
      const size = temps * 2;
      this.uses = new Int32Array(size);
      this.#defined = new Int32Array(size);
      this.#place = new Int32Array(size);
      this.#source = new Int32Array(size);
    }
    this.uses.fill(0, 0, temps);
    this.#place.fill(UNPLACED, 0, temps);
    this.#pending.length = 0;
    this.#aliases.length = 0;
    for (let at = start; at < end; ) {
      const op = words[at];
      if (op === Op.call) {
        const { results, params } = this.env.routines[words[at + 1]];
        const first = at + 3 + results.length;
        for (let i = 0; i < params.length; i++) this.uses[words[first + i]]++;
        at += words[at + 2];
      } else if (op === Op.ret) {
        const size = words[at + 1];
        for (let i = 2; i < size; i++) this.uses[words[at + i]]++;
        at += size;
      } else {
        const first = at + 1 + opHasResult[op];
        const count = opParamCount[op];
        for (let i = 0; i < count; i++) this.uses[words[first + i]]++;
        at += opWords[op];
      }
    }
    // Unused results free their operands: one pass from the end would be exact; chains of dead ops are rare after optimize.
  }

  /** Writes the ops of [start, end). */
  protected emitOps(start: number, end: number): void {
    const words = this.words;
    for (let at = start; at < end; ) {
      const op = words[at];
      switch (opKind[op]) {
        case kind.constant:
          this.#define(words[at + 1], at, CONSTANT);
          break;
        case kind.pure:
        case kind.reads:
          this.#value(op, at);
          break;
        case kind.writes:
          this.#operands(at + 1, opParamCount[op]);
          this.#flushReads();
          this.#instruction(op, at);
          break;
        default:
          this.#special(op, at);
      }
      at += op === Op.call ? words[at + 2] : op === Op.ret ? words[at + 1] : opWords[op];
    }
  }

  #define(temp: number, at: number, place: number): void {
    this.#defined[temp] = at;
    this.#place[temp] = place;
  }

  /** A pure or reading op: left for its use if there is just one. */
  #value(op: number, at: number): void {
    const temp = this.words[at + 1];
    const uses = this.uses[temp];
    if (uses === 0) {
      this.#release(at + 2, opParamCount[op]);
      return;
    }
    this.#define(temp, at, PENDING);
    if (uses === 1) {
      this.#pending.push(temp);
    } else {
      this.#expression(temp);
      this.#keep(temp);
    }
  }

  /** The uses that an op would have made are not wanted. */
  #release(first: number, count: number): void {
    for (let i = 0; i < count; i++) this.#used(this.words[first + i]);
  }

  #used(temp: number): void {
    const left = --this.uses[temp];
    if (left > 0) return;
    const place = this.#place[temp];
    if (place >= 0) {
      if (this.reuseLocals) this.#free[this.tempTypes[temp]].push(place);
    } else if (place === PENDING) {
      // Its one use is gone: so are the uses it would make.
      this.#forget(temp);
      const at = this.#defined[temp];
      this.#release(at + 2, opParamCount[this.words[at]]);
    } else if (place === ALIAS) this.#unalias(temp);
  }

  #forget(temp: number): void {
    const index = this.#pending.lastIndexOf(temp);
    if (index >= 0) this.#pending.splice(index, 1);
  }

  #unalias(temp: number): void {
    const index = this.#aliases.lastIndexOf(temp);
    if (index >= 0) this.#aliases.splice(index, 1);
  }

  /** The value on the stack goes to a local of its own. */
  #keep(temp: number): void {
    const local = this.newLocal(this.tempTypes[temp]);
    this.#place[temp] = local;
    this.localSet(local);
  }

  /** Takes the value on the stack as the temp's, or drops it if nobody wants it. */
  protected result(temp: number): void {
    if (this.uses[temp] === 0) this.op(wasmOp.drop);
    else this.#keep(temp);
  }

  /** Writes the temp's value to the stack; counts as one of its uses. */
  protected value(temp: number): void {
    const place = this.#place[temp];
    if (place >= 0) {
      this.localGet(place);
      this.#used(temp);
    } else if (place === PENDING) {
      this.#forget(temp);
      this.#place[temp] = UNPLACED;
      this.uses[temp]--;
      this.#expression(temp);
    } else if (place === CONSTANT) {
      this.uses[temp]--;
      this.#constant(this.#defined[temp]);
    } else if (place === ALIAS) {
      this.localGet(this.#source[temp]);
      this.#used(temp);
    } else assert(false, `temp ${temp} used before it is defined`);
  }

  /** Is the temp a constant i32/i64 with value `n` (within 32 bits)? */
  protected isConstant(temp: number, n: number): boolean {
    if (this.#place[temp] !== CONSTANT) return false;
    const at = this.#defined[temp];
    return (
      this.words[at + 2] === n &&
      (this.words[at] === Op.const_i32 || (this.words[at] === Op.const_i64 && this.words[at + 3] === n >> 31))
    );
  }

  #operands(first: number, count: number): void {
    for (let i = 0; i < count; i++) this.value(this.words[first + i]);
  }

  #expression(temp: number): void {
    const at = this.#defined[temp];
    const op = this.words[at];
    if (opKind[op] === kind.special) {
      // state and pc_rel
      this.special(op, at);
      return;
    }
    this.#operands(at + 2, opParamCount[op]);
    this.#instruction(op, at);
  }

  #instruction(op: number, at: number): void {
    const { out, words } = this;
    const bytes = opBytes[op];
    for (let i = 0; i < bytes.length; i++) out.u8(bytes[i]);
    const encoding = opEncoding[op];
    if (encoding === encodings.plain) return;
    const immediate = at + 1 + opHasResult[op] + opParamCount[op];
    if (encoding === encodings.lane) out.u8(words[immediate]);
    else if (encoding === encodings.shuffle) for (let i = 0; i < 4; i++) out.word(words[immediate + i]);
    else {
      out.u8(0);
      out.u32(words[immediate]);
    }
  }

  #constant(at: number): void {
    const { out, words } = this;
    switch (words[at]) {
      case Op.const_i32:
        this.i32Const(words[at + 2]);
        break;
      case Op.const_i64:
        this.i64Const(words[at + 2], words[at + 3]);
        break;
      case Op.const_f32:
        out.u8(0x43);
        out.word(words[at + 2]);
        break;
      case Op.const_f64:
        out.u8(0x44);
        out.word(words[at + 2]);
        out.word(words[at + 3]);
        break;
      default:
        out.u8(0xfd);
        out.u8(0x0c);
        for (let i = 2; i < 6; i++) out.word(words[at + i]);
    }
  }

  /** Expressions that read memory and wait for their use are computed now. */
  #flushReads(): void {
    if (this.#pending.length === 0) return;
    for (const temp of this.#pending.slice()) {
      if (this.#place[temp] === PENDING && opKind[this.words[this.#defined[temp]]] === kind.reads)
        this.#materialize(temp);
    }
  }

  /** Everything that waits is computed now, and every alias copied: what follows may run in another order, or again. */
  protected flushAll(): void {
    for (const temp of this.#pending.slice()) if (this.#place[temp] === PENDING) this.#materialize(temp);
    for (const temp of this.#aliases.slice()) this.#copyAlias(temp);
  }

  #materialize(temp: number): void {
    this.#forget(temp);
    this.#place[temp] = UNPLACED;
    this.#expression(temp);
    this.#keep(temp);
  }

  #copyAlias(temp: number): void {
    this.#unalias(temp);
    this.localGet(this.#source[temp]);
    this.#keep(temp);
  }

  /** A local that is read in place is about to be written: whoever still wants the old value gets a copy. */
  protected saveAliases(local: number): void {
    for (let i = this.#aliases.length - 1; i >= 0; i--) {
      const temp = this.#aliases[i];
      if (this.#source[temp] === local) this.#copyAlias(temp);
    }
  }

  #readInPlace(temp: number, at: number, local: number): void {
    if (this.uses[temp] === 0) return;
    this.#define(temp, at, ALIAS);
    this.#source[temp] = local;
    this.#aliases.push(temp);
  }

  #special(op: number, at: number): void {
    const { words } = this;
    if (op === Op.state || op === Op.pc_rel) {
      const temp = words[at + 1];
      if (this.uses[temp] === 0) return;
      this.#define(temp, at, PENDING);
      if (this.uses[temp] === 1) this.#pending.push(temp);
      else {
        this.special(op, at);
        this.#keep(temp);
      }
    } else if (op >= Op.get_i32 && op <= Op.get_v128) {
      const temp = words[at + 1];
      if (this.uses[temp] === 0) return;
      const local = this.varLocal(words[at + 2]);
      if (local >= 0) this.#readInPlace(temp, at, local);
      else {
        this.readVarHome(words[at + 2]);
        this.#keep(temp);
      }
    } else if (op >= Op.set_i32 && op <= Op.set_v128) {
      const local = this.varLocal(words[at + 2]);
      if (local >= 0) {
        this.value(words[at + 1]);
        this.saveAliases(local);
        this.localSet(local);
        this.varWritten(words[at + 2]);
      } else {
        this.#flushReads();
        this.writeVarHome(words[at + 2], () => this.value(words[at + 1]));
      }
    } else if (op >= Op.local_i32 && op <= Op.local_v128) {
      this.#readInPlace(words[at + 1], at, this.mutableLocal(words[at + 2]));
    } else if (op >= Op.assign_i32 && op <= Op.assign_v128) {
      const local = this.mutableLocal(words[at + 2]);
      this.value(words[at + 1]);
      this.saveAliases(local);
      this.localSet(local);
    } else if (op === Op.trap_if) {
      this.value(words[at + 1]);
      this.#flushReads();
      this.openUnlikely();
      this.localGet(0);
      this.i32Const(words[at + 2]);
      this.memory(0x36, header.trapCode);
      this.faultExit();
      this.close();
    } else if (op === Op.call) {
      this.#call(at);
    } else if (accessBytes[op] > 0) {
      this.#flushReads();
      if (op <= Op.guest_load128) this.#guestLoad(at, accessBytes[op]);
      else this.#guestStore(at, accessBytes[op]);
    } else this.special(op, at);
  }

  #call(at: number): void {
    const { words } = this;
    const routine = this.env.routines[words[at + 1]];
    const { results, params, effects } = routine;
    const firstArg = at + 3 + results.length;
    if (effects.pure && results.every((_, i) => this.uses[words[at + 3 + i]] === 0)) {
      this.#release(firstArg, params.length);
      return;
    }
    this.#flushReads();
    if (effects.settles) {
      this.#callUnsettled(routine, at);
      return;
    }
    this.beforeCall(routine);
    this.localGet(0);
    this.#operands(firstArg, params.length);
    this.op(wasmOp.call);
    this.out.u32(this.env.functionIndex(routine.id));
    // The last result is on top of the stack; the fault flag, if any, is the first.
    for (let i = results.length - 1; i >= (effects.mayFault ? 1 : 0); i--) this.result(words[at + 3 + i]);
    if (!effects.mayFault) {
      this.afterCall(routine);
      return;
    }
    if (effects.vars === 'write') {
      // The routine may have made progress before it faulted: the variables are loaded again in either case.
      const fault = this.newLocal(typeCode.i32);
      this.localSet(fault);
      this.afterCall(routine);
      this.localGet(fault);
      this.#free[typeCode.i32].push(fault);
    }
    this.openUnlikely();
    this.faultExit();
    this.close();
    this.#noFault(words[at + 3]);
  }

  /** The call of a routine that may be settled: only if it is not. */
  #callUnsettled({ id, params, results, effects }: Routine, at: number): void {
    const { words } = this;
    const temp = words[at + 2 + results.length];
    const first = at + 3 + results.length;
    const [isSettled, settled] = [words[first], words[first + 1]];
    const local = this.newLocal(typeCode[params[1]]);
    this.value(settled);
    this.localSet(local);
    this.value(isSettled);
    this.op(0x45); // i32.eqz
    this.openUnlikely();
    this.localGet(0);
    this.i32Const(0);
    this.localGet(local);
    this.#operands(first + 2, params.length - 2);
    this.op(wasmOp.call);
    this.out.u32(this.env.functionIndex(id));
    this.localSet(local);
    if (effects.mayFault) {
      this.openUnlikely();
      this.faultExit();
      this.close();
    }
    this.close();
    if (this.uses[temp] > 0) this.#place[temp] = local;
    else if (this.reuseLocals) this.#free[typeCode[params[1]]].push(local);
    if (effects.mayFault) this.#noFault(words[at + 3]);
  }

  /** Whoever asks for the word of a fault is told what is true behind the call: there was none. */
  #noFault(temp: number): void {
    if (this.uses[temp] === 0) return;
    this.i32Const(0);
    this.result(temp);
  }

  /** Host address of the access in a local: the inline TLB lookup, then the slow path if it misses. */
  #translate(size: number, accessBits: number, forWrite: boolean, slow: () => void): void {
    if (this.#hostLocal < 0) this.#hostLocal = this.newLocal(typeCode.i32);
    const write = forWrite || (accessBits & access.forWrite) !== 0;
    this.#find(size, accessBits & access.mmuMask, write, this.#hostLocal, slow);
  }

  /**
   * Host address of `size` bytes from the guest address on the stack in a local: the inline TLB lookup, and if it misses `slow`, which
   * leaves it on the stack, or 0 to leave.
   */
  #find(size: number, mmu: number, write: boolean, host: number, slow: () => void): void {
    const a = this.#addressLocal < 0 ? (this.#addressLocal = this.newLocal(typeCode.i64)) : this.#addressLocal;
    const e = this.#entryLocal < 0 ? (this.#entryLocal = this.newLocal(typeCode.i32)) : this.#entryLocal;
    this.localTee(a);
    this.i64Const(7, 0);
    this.op(0x88); // i64.shr_u
    this.op(0xa7); // i32.wrap_i64
    this.#tlb('mask', mmu);
    this.op(0x71); // i32.and
    this.#tlb('tlb', mmu);
    this.op(0x6a); // i32.add
    this.localTee(e);
    this.memory(0x29, write ? tlbEntry.writeTag : tlbEntry.readTag);
    this.localGet(a);
    if (size > 1) {
      this.i64Const(size - 1, 0);
      this.op(0x7c); // i64.add
    }
    this.i64Const(-4096, -1);
    this.op(0x83); // i64.and
    this.localGet(a);
    this.op(0xa7);
    this.localGet(e);
    this.memory(0x28, tlbEntry.addend);
    this.op(0x6a);
    this.localSet(host);
    this.op(0x52); // i64.ne
    this.openUnlikely();
    slow();
    this.localTee(host);
    this.op(0x45); // i32.eqz
    this.openUnlikely();
    this.faultExit();
    this.close();
    this.close();
  }

  /** The host address of the span of an access, whose own address is on the stack, in the span's local. */
  #findSpan({ span, offset }: SpanUse, size: number, accessBits: number, isStore: boolean): void {
    const before = offset - span.lo;
    span.local = this.newLocal(typeCode.i32);
    if (before > 0) {
      this.i64Const(-before, -1);
      this.op(0x7c); // i64.add
    }
    this.#find(span.hi - span.lo, 0, span.write, span.local, () => {
      this.localGet(0);
      this.localGet(this.#addressLocal);
      this.i32Const(accessBits | (size << 8));
      this.i32Const(spanShape(before, span, isStore));
      this.op(wasmOp.call);
      this.out.u32(this.env.functionIndex(this.env.slowSpan));
    });
  }

  /** The access at hand uses its span. */
  #spanUsed({ span }: SpanUse): void {
    if (--span.left === 0 && span.inOneBlock && this.reuseLocals) this.#free[typeCode.i32].push(span.local);
  }

  #tlb(what: 'tlb' | 'mask', mmu: number): void {
    const local = this.tlbLocal(what, mmu);
    if (local >= 0) {
      this.localGet(local);
      return;
    }
    this.localGet(0);
    const base =
      what === 'tlb'
        ? mmu === 0
          ? header.tlb
          : header.tlbs + 4 * (mmu - 1)
        : mmu === 0
          ? header.tlbMask
          : header.tlbMasks + 4 * (mmu - 1);
    this.memory(0x28, base);
  }

  #guestLoad(at: number, size: number): void {
    const { words } = this;
    const address = words[at + 2];
    const accessBits = words[at + 3];
    const use = this.spanUse(at);
    if (use) {
      if (use.isFirst) {
        this.value(address);
        this.#findSpan(use, size, accessBits, false);
      }
      this.localGet(use.span.local);
      this.out.raw(LOAD_CODE[size]);
      this.out.u32(use.offset - use.span.lo);
      this.#spanUsed(use);
    } else {
      this.value(address);
      this.#translate(size, accessBits, false, () => {
        this.localGet(0);
        this.localGet(this.#addressLocal);
        this.i32Const(accessBits | (size << 8));
        this.op(wasmOp.call);
        this.out.u32(this.env.functionIndex(this.env.slowLoad));
      });
      this.localGet(this.#hostLocal);
      this.out.raw(LOAD_CODE[size]);
      this.out.u32(0);
    }
    this.result(words[at + 1]);
  }

  #guestStore(at: number, size: number): void {
    const { words } = this;
    const address = words[at + 1];
    const value = words[at + 2];
    const accessBits = words[at + 3];
    const use = this.spanUse(at);
    if (use) {
      if (use.isFirst) {
        this.value(address);
        this.#findSpan(use, size, accessBits, true);
      }
      this.localGet(use.span.local);
      this.value(value);
      this.out.raw(STORE_CODE[size]);
      this.out.u32(use.offset - use.span.lo);
      this.#spanUsed(use);
      return;
    }
    // The value is wanted on both paths: constants and locals are cheap to write twice, others get a local.
    let valueLocal = -1;
    const constant = this.#place[value] === CONSTANT;
    const inPlace = this.#place[value] >= 0 || this.#place[value] === ALIAS;
    this.value(address);
    if (!constant && !inPlace) {
      // Order of evaluation does not matter: nothing pending has effects.
      this.value(value);
      valueLocal = this.newLocal(this.tempTypes[value]);
      this.localSet(valueLocal);
    }
    const write = () => {
      if (valueLocal >= 0) this.localGet(valueLocal);
      else if (constant) this.#constant(this.#defined[value]);
      else this.localGet(this.#place[value] >= 0 ? this.#place[value] : this.#source[value]);
    };
    this.#translate(size, accessBits, true, () => {
      this.localGet(0);
      this.localGet(this.#addressLocal);
      write();
      if (size < 8) this.op(0xad); // i64.extend_i32_u
      this.i32Const(accessBits | (size << 8));
      this.op(wasmOp.call);
      this.out.u32(this.env.functionIndex(size === 16 ? this.env.slowStore128 : this.env.slowStore));
    });
    this.localGet(this.#hostLocal);
    write();
    this.out.raw(STORE_CODE[size]);
    this.out.u32(0);
    if (valueLocal >= 0) {
      if (this.reuseLocals) this.#free[this.tempTypes[value]].push(valueLocal);
    } else this.#used(value);
  }

  protected unknown(op: number): never {
    throw new Error(`vring invariant broken: op ${opNames[op]} has no place here`);
  }
}
