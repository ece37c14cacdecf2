/**
 * The cold tier: an interpreter of cold code (cold-code.ts), generated from the op table as two WebAssembly functions. The inner
 * one runs everything that needs no call, from block to block along the links and by the jump cache, with its few variables in
 * registers; the outer one (exported as `cold`) does what the inner one hands out: calls, vectors, floating point, and accesses that
 * miss the TLB.
 */
import { assert } from '../base/index.js';
import {
  DEFERRED_UNCHANGED,
  exitCode,
  exitWord,
  fusesMultiply,
  type GuestVars,
  header,
  JUMP_CACHE_PAGE_BYTES,
  JUMP_CACHE_PAGES,
  JUMP_CACHE_PER_PAGE_SHIFT,
  JUMP_ENTRY_SHIFT,
  jumpEntry,
  jumpHash,
  Op,
  opList,
  opNames,
  type Routine,
  tlbEntry,
  typeCode,
} from '../ir/index.js';
import { ByteWriter } from './bytes.js';
import {
  accessOf,
  CALL_BASE,
  COLD_HEADER_BYTES,
  type ColdAccess,
  callWords,
  coldHeader,
  FAR_BRANCH,
  FAR_GOTO,
  FUSED,
  handlerWords,
  hasImmediateHandler,
  immediateHandler,
  isInner,
  sequences,
} from './cold-code.js';
import { wasmOp } from './function-emitter.js';
import type { ModuleExtension, ModuleWriter } from './index.js';
import { encodings, kind, opBytes, opEncoding, opKind } from './op-tables.js';
import { homeLoad, homeStore } from './routine-emitter.js';
import { slowPathIds } from './routine-module.js';

const OPS = opList.length;
/** Ops that this host lacks and no translator uses then: their handlers trap. */
const isAbsent = (op: number): boolean =>
  (op === Op.f64x2_relaxed_madd || op === Op.f32x4_relaxed_madd) && !fusesMultiply();
const LOADS: readonly (readonly number[])[] = [
  [0x2d, 0, 0],
  [0x2f, 0, 0],
  [0x28, 0, 0],
  [0x29, 0, 0],
  [0xfd, 0, 0, 0],
];
const STORES: readonly (readonly number[])[] = [
  [0x3a, 0, 0],
  [0x3b, 0, 0],
  [0x36, 0, 0],
  [0x37, 0, 0],
  [0xfd, 0x0b, 0, 0],
];

// Locals of both functions; the outer one has the results of a call behind them.
const STATE = 0;
/** Inner: address of the op under way. Outer, at first: the block. */
const CODE = 1;
const SCRATCH = 2;
const ADDRESS = 3;
const ENTRY = 4;
const HOST = 5;
const RESULTS = 6;
const LOCALS: readonly number[] = [0, 1, 0, 0];

/** Special ops that a block in the cold tier may hold, but for get, set, calls and accesses. */
const SPECIAL: readonly number[] = [
  Op.state,
  Op.pc_rel,
  Op.trap_if,
  Op.goto,
  Op.leave,
  Op.resume,
  Op.branch,
  Op.jump,
  Op.insn,
  Op.fence,
];

/**
 * Bytes that the inner function's body may have. V8 allocates registers with care only in functions of up to 8,192 virtual registers
 * (Node 20: some 33,000 bytes of this one); in a larger one each variable lies in memory from handler to handler, and a jump from one
 * handler to the next costs about twice as much.
 */
const MOST_INNER_BYTES = 30_000;

export interface ColdTierOptions {
  /** Address of the jump cache. */
  readonly jumpCache: number;
  /** Entries of a block at which it asks to be compiled, and at each multiple: a power of two, or 0: never. */
  readonly hotThreshold: number;
  /** Keeps header.instructions (-icount). */
  readonly countInstructions: boolean;
}

/** All handlers of single ops but calls. */
function singleHandlers(): number[] {
  const handlers: number[] = [];
  for (let op = 0; op < OPS; op++) {
    const isCopy = op >= Op.get_i32 && op <= Op.get_v128;
    if (opKind[op] !== kind.special || isCopy || SPECIAL.includes(op) || accessOf(op)) handlers.push(op);
    if (hasImmediateHandler[op]) handlers.push(immediateHandler(op));
  }
  for (let handler = 2 * OPS; handler < FUSED; handler++) handlers.push(handler);
  return handlers;
}

export class ColdTierWriter implements ModuleExtension {
  readonly routine = 'cold';
  readonly #routines: readonly Routine[];
  readonly #options: ColdTierOptions;
  readonly #deferredOffset: number;
  #w = new ByteWriter(65536);
  #unlikely: number[] = [];
  #functionIndex: (routine: number) => number = () => -1;
  #inner = false;
  /** Words of the op that is written now lie this many words behind CODE. */
  #base = 0;
  /** Depth of the loop over ops, and of the blocks that end before `#follow` and `#hop`, as seen from a handler's body. */
  #loopDepth = 0;
  #followDepth = 0;
  #hopDepth = 0;
  /** How many blocks lie around the bodies, in the loop. */
  #around = 0;

  constructor(routines: readonly Routine[], vars: GuestVars, options: ColdTierOptions) {
    this.#routines = routines;
    this.#options = options;
    this.#deferredOffset = vars.deferred.offset;
  }

  define(module: ModuleWriter, functionIndex: (routine: number) => number): void {
    this.#functionIndex = functionIndex;
    const results = module.type(['i32', 'i32', 'i32'], ['i32', 'i32']);
    const outer = module.nextFunction;
    this.#begin(false);
    this.#writeOuter(outer + 1);
    const locals = [...LOCALS];
    // One local per type and position for the results of a call.
    for (let type = 0; type < 5; type++) for (let i = 0; i < this.#mostResults; i++) locals.push(type);
    module.define(
      module.type(['i32', 'i32'], ['i32']),
      { locals, body: this.#w, unlikely: this.#unlikely },
      this.routine,
      'optimized',
    );
    this.#begin(true);
    this.#writeInner();
    assert(this.#w.length <= MOST_INNER_BYTES, `the cold tier's inner function has ${this.#w.length} bytes`);
    // The third parameter takes the scratch local's place.
    module.define(
      results,
      { locals: LOCALS.slice(1), body: this.#w, unlikely: this.#unlikely },
      undefined,
      'optimized',
    );
  }

  get #mostResults(): number {
    return Math.max(1, ...this.#routines.map((routine) => routine.results.length));
  }

  #begin(inner: boolean): void {
    this.#inner = inner;
    this.#w = new ByteWriter(65536);
    this.#unlikely = [];
    this.#base = 0;
  }

  /** (state, block) → exit word. */
  #writeOuter(inner: number): void {
    const w = this.#w;
    this.#i32(1);
    this.#set(SCRATCH);
    w.raw([wasmOp.loop, 0x40]);
    this.#get(STATE);
    this.#get(CODE);
    this.#get(SCRATCH);
    w.u8(wasmOp.call);
    w.u32(inner);
    this.#set(CODE);
    this.#set(SCRATCH);
    this.#get(CODE);
    w.raw([0x45, wasmOp.if, 0x40]);
    this.#get(SCRATCH);
    w.raw([wasmOp.return, wasmOp.end]);
    this.#i32(0);
    this.#set(SCRATCH);
    const bodies: { handler: number; write: () => void }[] = [];
    for (const handler of singleHandlers()) {
      const access = accessOf(handler);
      if (access) bodies.push({ handler, write: () => this.#slowAccess(handler, access) });
      else if (!isInner(handler)) bodies.push({ handler, write: () => this.#single(handler) });
    }
    for (const routine of this.#routines)
      bodies.push({ handler: CALL_BASE + routine.id, write: () => this.#call(routine) });
    const target = this.#dispatch(CALL_BASE + this.#routines.length, bodies, 0);
    // A sequence is handed out for the sake of its first op, with whose words it begins.
    sequences.forEach(([first], i) => {
      target[FUSED + i] = target[first];
    });
    this.#bodies(target, bodies);
    w.u8(0x00); // a handler that does not exist
    w.u8(wasmOp.end);
    w.u8(0x00);
  }

  /**
   * (state, code, 1: a block starts there) → (exit word, 0), or (0, address of an op for the outer function).
   */
  #writeInner(): void {
    const w = this.#w;
    this.#get(SCRATCH);
    w.raw([wasmOp.if, 0x40]);
    this.#enterBlock();
    w.u8(wasmOp.end);
    const bodies: { handler: number; write: () => void }[] = [];
    for (const handler of singleHandlers())
      if (isInner(handler)) bodies.push({ handler, write: () => this.#single(handler) });
    sequences.forEach((ops, i) => {
      bodies.push({ handler: FUSED + i, write: () => this.#sequence(ops) });
    });
    w.raw([wasmOp.loop, 0x40]);
    // A handler that goes on to another block leaves `follow` with the address of its exit word and link in SCRATCH; or `hop` with the
    // next pc in ADDRESS, its exit word in HOST and 0 in CODE.
    w.raw([wasmOp.block, 0x40, wasmOp.block, 0x40]);
    const target = this.#dispatch(CALL_BASE, bodies, 2);
    this.#bodies(target, bodies);
    this.#i32(0);
    this.#get(CODE);
    w.u8(wasmOp.return);
    w.u8(wasmOp.end);
    this.#follow();
    w.u8(wasmOp.end);
    this.#hop();
    w.u8(wasmOp.br);
    w.u32(0);
    w.u8(wasmOp.end);
    w.u8(0x00);
  }

  /** Which body each handler has; the last number: none. */
  #dispatch(handlers: number, bodies: readonly { handler: number }[], around: number): Int32Array {
    const target = new Int32Array(handlers).fill(bodies.length);
    bodies.forEach(({ handler }, i) => {
      target[handler] = i;
    });
    this.#around = around;
    return target;
  }

  /** The jump by handler number, and the bodies; what follows is for handlers without one. */
  #bodies(target: Int32Array, bodies: readonly { write: () => void }[]): void {
    const w = this.#w;
    const { length } = bodies;
    const around = this.#around;
    for (let i = 0; i <= length; i++) w.raw([wasmOp.block, 0x40]);
    this.#get(CODE);
    this.#memory(0x28, 0);
    w.u8(wasmOp.brTable);
    w.u32(target.length);
    for (const body of target) w.u32(body);
    w.u32(length);
    for (let i = 0; i < length; i++) {
      w.u8(wasmOp.end);
      this.#loopDepth = around + length - i;
      this.#hopDepth = this.#loopDepth - 1;
      this.#followDepth = this.#loopDepth - 2;
      bodies[i].write();
    }
    w.u8(wasmOp.end);
  }

  /** A block begins at CODE: counts, and asks to be compiled or stops if it is time. */
  #enterBlock(): void {
    const w = this.#w;
    const { hotThreshold, countInstructions } = this.#options;
    this.#get(CODE);
    this.#get(CODE);
    this.#memory(0x28, coldHeader.count);
    this.#i32(1);
    w.u8(0x6a);
    this.#tee(SCRATCH);
    this.#memory(0x36, coldHeader.count);
    if (hotThreshold > 0) {
      this.#get(SCRATCH);
      this.#i32(hotThreshold - 1);
      w.raw([0x71, 0x45]);
      this.#rarely(() => {
        this.#get(STATE);
        this.#get(CODE);
        this.#memory(0x36, header.currentCode);
        this.#i32(exitWord(exitCode.hot, 0, 255));
        this.#return();
      });
    }
    if (countInstructions) {
      this.#get(STATE);
      this.#memory(0x29, header.instructions);
      this.#get(CODE);
      this.#memory(0x35, coldHeader.instructions);
      w.u8(0x7c);
      this.#get(STATE);
      this.#memory(0x29, header.instructionLimit);
      w.u8(0x56); // i64.gt_u
      this.#rarely(() => {
        this.#i32(exitWord(exitCode.budget, 0, 255));
        this.#return();
      });
    }
    this.#advance(COLD_HEADER_BYTES);
  }

  /** SCRATCH is the address of an exit word and a link. */
  #follow(): void {
    this.#get(STATE);
    this.#memory(0x29, header.pc);
    this.#get(SCRATCH);
    this.#memory(0x28, 0);
    this.#tee(HOST);
    this.#w.raw([0xac, 0xc3, 0x7c]); // i64.extend_i32_s, i64.extend16_s, i64.add
    this.#set(ADDRESS);
    this.#get(SCRATCH);
    this.#memory(0x28, 4);
    this.#set(CODE);
  }

  /**
   * Goes on at the pc in ADDRESS, with the exit word in HOST: to the block that CODE is the link to, or that the jump cache knows; else
   * returns, with the exit word applied.
   */
  #hop(): void {
    const w = this.#w;
    const stop = () => {
      this.#i32(exitWord(exitCode.next, 0, DEFERRED_UNCHANGED));
      this.#return();
    };
    // pc
    this.#get(STATE);
    this.#get(ADDRESS);
    this.#get(STATE);
    this.#memory(0x29, header.pcMask);
    w.u8(0x83);
    this.#tee(ADDRESS);
    this.#memory(0x37, header.pc);
    // the deferred variable
    this.#get(HOST);
    this.#i32(16);
    w.u8(0x76);
    this.#tee(HOST);
    this.#i32(DEFERRED_UNCHANGED);
    w.raw([0x47, wasmOp.if, 0x40]);
    this.#get(STATE);
    this.#get(HOST);
    this.#memory(0x36, this.#deferredOffset);
    w.u8(wasmOp.end);
    // the link
    w.raw([wasmOp.block, 0x40, wasmOp.block, 0x40]);
    this.#get(CODE);
    this.#i32(0);
    w.raw([0x4c, wasmOp.brIf, 0]); // i32.le_s
    this.#get(CODE);
    this.#memory(0x28, coldHeader.key);
    this.#get(STATE);
    this.#memory(0x28, header.modeKey);
    w.raw([0x46, wasmOp.brIf, 1, wasmOp.end]); // i32.eq
    this.#lookUp();
    this.#get(CODE);
    this.#i32(0);
    w.raw([0x4e, wasmOp.if, 0x40]); // i32.ge_s
    stop();
    w.u8(wasmOp.end);
    this.#get(CODE);
    this.#i32(0x7fffffff);
    w.u8(0x71);
    this.#set(CODE);
    w.u8(wasmOp.end);
    // Somebody wants to be heard, or it is time to look at the clock.
    this.#get(STATE);
    this.#memory(0x28, header.kick);
    this.#rarely(stop);
    this.#get(STATE);
    this.#get(STATE);
    this.#memory(0x28, header.hops);
    this.#i32(1);
    w.u8(0x6b);
    this.#tee(SCRATCH);
    this.#memory(0x36, header.hops);
    this.#get(SCRATCH);
    this.#i32(0);
    w.u8(0x48); // i32.lt_s
    this.#rarely(stop);
    this.#enterBlock();
  }

  /** CODE: the target of the jump cache's entry for the pc in ADDRESS, or 0 if there is none (jumpCacheEntry). */
  #lookUp(): void {
    const w = this.#w;
    const { jumpCache } = this.#options;
    // linear address
    this.#get(ADDRESS);
    this.#get(STATE);
    this.#memory(0x29, header.pcBase);
    w.u8(0x7c);
    this.#tee(ADDRESS);
    w.raw([wasmOp.i64Const, 12, 0x88, 0xa7]); // i64.shr_u, i32.wrap_i64
    this.#tee(ENTRY);
    // Only bits that both shifts leave in the low word count.
    this.#get(ENTRY);
    this.#i32(jumpHash.page);
    w.raw([0x76, 0x73]); // i32.shr_u, i32.xor
    this.#i32(JUMP_CACHE_PAGES - 1);
    w.u8(0x71);
    this.#i32(Math.log2(JUMP_CACHE_PAGE_BYTES));
    w.u8(0x74);
    this.#get(ADDRESS);
    w.u8(0xa7);
    this.#tee(HOST);
    this.#get(HOST);
    this.#i32(jumpHash.within);
    w.raw([0x76, 0x73]);
    this.#i32((1 << JUMP_CACHE_PER_PAGE_SHIFT) - 1);
    w.u8(0x71);
    this.#i32(JUMP_ENTRY_SHIFT);
    w.raw([0x74, 0x6a]);
    this.#tee(ENTRY);
    this.#memory(0x28, jumpCache + jumpEntry.target);
    this.#i32(0);
    this.#get(ENTRY);
    this.#memory(0x29, jumpCache + jumpEntry.pc);
    this.#get(ADDRESS);
    w.u8(0x51); // i64.eq
    this.#get(ENTRY);
    this.#memory(0x29, jumpCache + jumpEntry.key);
    this.#get(STATE);
    this.#memory(0x29, header.modeKey);
    w.raw([0x51, 0x71, wasmOp.select]);
    this.#set(CODE);
  }

  #sequence(ops: readonly number[]): void {
    for (const handler of ops) {
      this.#body(handler);
      this.#base += handlerWords(handler);
    }
    const words = this.#base;
    this.#base = 0;
    this.#next(words);
  }

  #single(handler: number): void {
    this.#body(handler);
    this.#next(handlerWords(handler));
  }

  #get(local: number): void {
    this.#w.u8(wasmOp.localGet);
    this.#w.u32(local);
  }
  #set(local: number): void {
    this.#w.u8(wasmOp.localSet);
    this.#w.u32(local);
  }
  #tee(local: number): void {
    this.#w.u8(wasmOp.localTee);
    this.#w.u32(local);
  }
  #i32(value: number): void {
    this.#w.u8(wasmOp.i32Const);
    this.#w.s32(value);
  }
  #memory(code: number, offset: number): void {
    this.#w.u8(code);
    this.#w.u8(0);
    this.#w.u32(offset);
  }
  /** An if that is hardly ever taken. */
  #rarely(then: () => void): void {
    this.#unlikely.push(this.#w.length);
    this.#w.raw([wasmOp.if, 0x40]);
    then();
    this.#w.u8(wasmOp.end);
  }
  /** Returns the exit word on the stack. */
  #return(): void {
    if (this.#inner) this.#i32(0);
    this.#w.u8(wasmOp.return);
  }
  #advance(bytes: number): void {
    this.#get(CODE);
    this.#i32(bytes);
    this.#w.u8(0x6a);
    this.#set(CODE);
  }
  /** Ends a handler: on to the next op. */
  #next(words: number): void {
    this.#advance(4 * words);
    this.#w.u8(wasmOp.br);
    this.#w.u32(this.#loopDepth);
  }
  /** A load from word `i` of the op. */
  #codeLoad(code: number, i: number): void {
    this.#get(CODE);
    this.#memory(code, 4 * (this.#base + i));
  }
  /** Word `i` of the op. */
  #word(i: number): void {
    this.#codeLoad(0x28, i);
  }
  /** Address of the slot that word `i` names. */
  #slot(i: number): void {
    this.#get(STATE);
    this.#word(i);
    this.#w.u8(0x6a);
  }
  #loadSlot(i: number, type: number): void {
    this.#slot(i);
    this.#w.raw(homeLoad[type]);
    this.#w.raw([0, 0]);
  }
  #storeSlot(type: number): void {
    this.#w.raw(homeStore[type]);
    this.#w.raw([0, 0]);
  }
  #leaveWith(word: number): void {
    this.#word(word);
    this.#return();
  }

  /** What an op does; CODE stays. Ops that end a block leave. */
  #body(handler: number): void {
    const access = accessOf(handler);
    if (access) this.#access(access);
    else if (handler === FAR_GOTO) this.#far(() => this.#word(1), 2);
    else if (handler === FAR_BRANCH)
      this.#far(() => {
        this.#word(2);
        this.#word(3);
        this.#loadSlot(1, 0);
        this.#w.u8(wasmOp.select);
      }, 4);
    else if (handler >= OPS) this.#plain(handler - OPS, true);
    else if (opKind[handler] === kind.constant) this.#constant(handler);
    else if (opKind[handler] === kind.special) this.#special(handler);
    else this.#plain(handler, false);
  }

  #constant(op: number): void {
    const type = op - Op.const_i32;
    this.#slot(1);
    if (type === 0 || type === 2) {
      this.#word(2);
      this.#memory(0x36, 0);
    } else if (type === 1 || type === 3) {
      this.#codeLoad(0x29, 2);
      this.#memory(0x37, 0);
    } else {
      this.#codeVector(2);
      this.#storeSlot(4);
    }
  }

  /** The vector at word `i` of the op. */
  #codeVector(i: number): void {
    this.#get(CODE);
    this.#w.raw([0xfd, 0x00, 0]);
    this.#w.u32(4 * (this.#base + i));
  }

  #special(op: number): void {
    const w = this.#w;
    switch (op) {
      case Op.state:
        this.#slot(1);
        this.#get(STATE);
        this.#memory(0x36, 0);
        break;
      case Op.pc_rel:
        this.#slot(1);
        this.#get(STATE);
        this.#memory(0x29, header.pc);
        this.#codeLoad(0x34, 2);
        w.u8(0x7c);
        this.#memory(0x37, 0);
        break;
      case Op.trap_if:
        this.#loadSlot(1, 0);
        this.#rarely(() => {
          this.#get(STATE);
          this.#word(2);
          this.#memory(0x36, header.trapCode);
          this.#leaveWith(3);
        });
        break;
      case Op.leave:
      case Op.resume:
        this.#leaveWith(1);
        break;
      case Op.goto:
        this.#get(CODE);
        this.#i32(4 * (this.#base + 1));
        w.u8(0x6a);
        this.#goOn();
        break;
      case Op.branch:
        // Words: slot; exit word and link if it is not 0; the same if it is.
        this.#i32(4 * (this.#base + 2));
        this.#i32(4 * (this.#base + 4));
        this.#loadSlot(1, 0);
        w.u8(wasmOp.select);
        this.#get(CODE);
        w.u8(0x6a);
        this.#goOn();
        break;
      case Op.jump:
        // How far it went the last time stays in the code.
        this.#get(CODE);
        this.#loadSlot(1, 1);
        this.#tee(ADDRESS);
        this.#get(STATE);
        this.#memory(0x29, header.pc);
        w.raw([0x7d, 0xa7]); // i64.sub, i32.wrap_i64
        this.#memory(0x36, 4 * (this.#base + 3));
        this.#word(2);
        this.#hopOn();
        break;
      case Op.insn:
        // Only with -icount is the op in the code.
        this.#get(STATE);
        this.#get(STATE);
        this.#memory(0x29, header.instructions);
        w.raw([wasmOp.i64Const, 1, 0x7c]);
        this.#memory(0x37, header.instructions);
        break;
      case Op.fence:
        w.raw([0xfe, 0x03, 0]);
        break;
      default: {
        // get and set are both a copy from slot to slot; words: destination, source
        const type = op - Op.get_i32;
        this.#slot(1);
        this.#loadSlot(2, type);
        this.#storeSlot(type);
      }
    }
  }

  /** On by the exit word and link at the address on the stack. */
  #goOn(): void {
    this.#set(SCRATCH);
    this.#w.u8(wasmOp.br);
    this.#w.u32(this.#followDepth);
  }

  /** On to the pc in ADDRESS, by the exit word on the stack. */
  #hopOn(): void {
    this.#set(HOST);
    this.#i32(0);
    this.#set(CODE);
    this.#w.u8(wasmOp.br);
    this.#w.u32(this.#hopDepth);
  }

  /** A WebAssembly instruction; with `immediate` its last operand is in the code. */
  #plain(op: number, immediate: boolean): void {
    const row = opList[op];
    const w = this.#w;
    if (op >= Op.set_i32 && op <= Op.set_i64) {
      // set with a constant: destination slot, value
      const type = op - Op.set_i32;
      this.#slot(1);
      this.#codeLoad(type === 0 ? 0x28 : 0x34, 2);
      this.#storeSlot(type);
      return;
    }
    const type = row.result ? typeCode[row.result] : -1;
    let word = 1;
    if (type >= 0) this.#slot(word++);
    const count = row.params.length;
    const encoding = opEncoding[op];
    if (encoding === encodings.lane) {
      this.#lane(op, word, type);
      return;
    }
    if (encoding === encodings.shuffle) {
      // The lane indices come from the code: two swizzles, of which the other gives zeros.
      this.#loadSlot(2, 4);
      this.#codeVector(4);
      w.raw([0xfd, 0x0e]);
      this.#loadSlot(3, 4);
      this.#codeVector(4);
      w.raw([0xfd, 0x0c, ...new Array<number>(16).fill(16)]);
      w.raw([0xfd, 0x71, 0xfd, 0x0e]); // i8x16.sub, swizzle
      w.raw([0xfd, 0x50]); // v128.or
      this.#storeSlot(4);
      return;
    }
    // A memory instruction's offset comes last in the code, before no exit word.
    for (let i = 0; i < count; i++) {
      const paramType = typeCode[row.params[i]];
      if (immediate && i === count - 1) this.#codeLoad(paramType === 0 ? 0x28 : 0x34, word);
      else this.#loadSlot(word, paramType);
      word++;
      if (i === 0 && encoding === encodings.memarg) {
        // host address + offset
        this.#word((type >= 0 ? 2 : 1) + count);
        w.u8(0x6a);
      }
    }
    w.raw(isAbsent(op) ? [0x00] : opBytes[op]);
    if (encoding === encodings.memarg) w.raw([0, 0]);
    if (type >= 0) this.#storeSlot(type);
  }

  /** Lanes are read and replaced in memory, at slot + lane · width. The result's slot address is on the stack. */
  #lane(op: number, word: number, type: number): void {
    const w = this.#w;
    const name = opNames[op];
    const width = { i8: 1, i1: 2, i3: 4, i6: 8, f3: 4, f6: 8 }[name.slice(0, 2)] as number;
    const laneAddress = (slotWord: number, laneWord: number) => {
      this.#slot(slotWord);
      this.#word(laneWord);
      this.#i32(width);
      w.raw([0x6c, 0x6a]);
    };
    if (opList[op].params.length === 1) {
      laneAddress(word, word + 1);
      if (width === 1) w.u8(name.endsWith('_s') ? 0x2c : 0x2d);
      else if (width === 2) w.u8(name.endsWith('_s') ? 0x2e : 0x2f);
      else w.raw(homeLoad[type]);
      w.raw([0, 0]);
      this.#storeSlot(type);
      return;
    }
    if (op === Op.i64x2_replace_lane) {
      // In one piece: who reads the vector right after need not wait until two stores have met.
      for (const lane of [1, 0]) {
        this.#loadSlot(word, 4);
        this.#loadSlot(word + 1, 1);
        w.raw([...opBytes[op], lane]);
      }
      this.#word(word + 2);
      w.raw(opBytes[Op.select_v128]);
      this.#storeSlot(4);
      return;
    }
    // replace: result ← vector, then the lane's bytes ← value (the value is read first: it may be the result's slot)
    const valueType = typeCode[opList[op].params[1]];
    const local = this.#resultLocal(valueType, 0);
    this.#loadSlot(word + 1, valueType);
    this.#set(local);
    this.#loadSlot(word, 4);
    this.#storeSlot(4);
    laneAddress(1, word + 2);
    this.#get(local);
    if (width === 1) w.u8(0x3a);
    else if (width === 2) w.u8(0x3b);
    else w.raw(homeStore[valueType]);
    w.raw([0, 0]);
  }

  #resultLocal(type: number, i: number): number {
    return RESULTS + type * this.#mostResults + i;
  }

  /** ADDRESS, from the slot in a word, displaced by word 5. */
  #accessAddress({ store, displaced }: ColdAccess): void {
    this.#loadSlot(store ? 1 : 2, 1);
    if (displaced) {
      this.#codeLoad(0x34, 5); // i64.load32_s
      this.#w.u8(0x7c);
    }
    this.#tee(ADDRESS);
  }

  /**
   * A guest access with the inline TLB lookup; a miss is handed to the outer function. Words: handler, result, address, access,
   * exit word, displacement; a store has the address and the value instead of result and address.
   */
  #access(access: ColdAccess): void {
    const w = this.#w;
    const { store, forWrite, sizeLog2 } = access;
    this.#accessAddress(access);
    w.raw([wasmOp.i64Const, 7, 0x88, 0xa7]);
    this.#get(STATE);
    this.#memory(0x28, header.tlbMask);
    w.u8(0x71);
    this.#get(STATE);
    this.#memory(0x28, header.tlb);
    w.u8(0x6a);
    this.#tee(ENTRY);
    this.#memory(0x29, store || forWrite ? tlbEntry.writeTag : tlbEntry.readTag);
    this.#get(ADDRESS);
    w.u8(wasmOp.i64Const);
    w.s64((1 << sizeLog2) - 1, 0);
    w.u8(0x7c);
    w.u8(wasmOp.i64Const);
    w.s64(-4096, -1);
    w.u8(0x83);
    w.u8(0x52); // i64.ne
    this.#rarely(() => {
      this.#i32(0);
      this.#get(CODE);
      if (this.#base > 0) {
        this.#i32(4 * this.#base);
        w.u8(0x6a);
      }
      w.u8(wasmOp.return);
    });
    this.#get(ADDRESS);
    w.u8(0xa7);
    this.#get(ENTRY);
    this.#memory(0x28, tlbEntry.addend);
    w.u8(0x6a);
    this.#set(HOST);
    this.#finishAccess(access);
  }

  /** The value from, or to, HOST. */
  #finishAccess({ store, sizeLog2, extended }: ColdAccess): void {
    const w = this.#w;
    const type = [0, 0, 0, 1, 4][sizeLog2];
    if (store) {
      this.#get(HOST);
      this.#loadSlot(2, type);
      w.raw(STORES[sizeLog2]);
      return;
    }
    this.#slot(1);
    this.#get(HOST);
    w.raw(LOADS[sizeLog2]);
    if (extended) w.u8(0xad); // i64.extend_i32_u
    this.#storeSlot(extended ? 1 : type);
  }

  /** The same by the slow path's routines. */
  #slowAccess(handler: number, access: ColdAccess): void {
    const w = this.#w;
    const { store, sizeLog2 } = access;
    const ids = slowPathIds(this.#routines);
    this.#accessAddress(access);
    w.u8(wasmOp.drop);
    this.#get(STATE);
    this.#get(ADDRESS);
    if (store) {
      this.#loadSlot(2, [0, 0, 0, 1, 4][sizeLog2]);
      if (sizeLog2 < 3) w.u8(0xad);
    }
    this.#word(3);
    this.#i32((1 << sizeLog2) << 8);
    w.u8(0x72);
    w.u8(wasmOp.call);
    w.u32(this.#functionIndex(!store ? ids.slowLoad : sizeLog2 === 4 ? ids.slowStore128 : ids.slowStore));
    this.#tee(HOST);
    w.u8(0x45);
    this.#rarely(() => this.#leaveWith(4));
    this.#finishAccess(access);
    this.#next(handlerWords(handler));
  }

  /** Goes on at a distance from the pc, or leaves with it added if the exit word in the code says why. */
  #far(distance: () => void, word: number): void {
    this.#get(STATE);
    this.#memory(0x29, header.pc);
    distance();
    this.#w.raw([0xac, 0x7c]); // i64.extend_i32_s, i64.add
    this.#set(ADDRESS);
    this.#word(word);
    this.#i32(24);
    this.#w.u8(0x76);
    this.#rarely(() => {
      this.#get(STATE);
      this.#get(ADDRESS);
      this.#memory(0x37, header.pc);
      this.#leaveWith(word);
    });
    this.#word(word);
    this.#hopOn();
  }

  /** Words: handler, results, arguments, exit word if it may fault. */
  #call(routine: Routine): void {
    const w = this.#w;
    const { results, params, effects } = routine;
    this.#get(STATE);
    params.forEach((type, i) => {
      this.#loadSlot(1 + results.length + i, typeCode[type]);
    });
    w.u8(wasmOp.call);
    w.u32(this.#functionIndex(routine.id));
    for (let i = results.length - 1; i >= 0; i--) this.#set(this.#resultLocal(typeCode[results[i]], i));
    if (effects.mayFault) {
      this.#get(this.#resultLocal(0, 0));
      this.#rarely(() => this.#leaveWith(1 + results.length + params.length));
    }
    results.forEach((type, i) => {
      if (i === 0 && effects.mayFault) return;
      this.#slot(1 + i);
      this.#get(this.#resultLocal(typeCode[type], i));
      this.#storeSlot(typeCode[type]);
    });
    this.#next(callWords(routine));
  }
}
