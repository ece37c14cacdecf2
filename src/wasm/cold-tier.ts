/**
 * The cold tier: an interpreter of serialized IR, itself one WebAssembly function that is generated from the op table.
 *
 * Cold code is a row of 32-bit words in the machine's memory. A block starts with its header (COLD_HEADER_BYTES: how often it
 * has been entered; its number of instructions; see coldHeader); then come the ops: handler number, offset of the result's slot, offsets of
 * the operands' slots, immediates. Slots lie in the vCPU's state: a guest variable is its own slot, temps have theirs behind
 * the state. An op whose last operand is a small constant has a second handler that takes it from the code. Ops that may
 * leave carry their exit word last.
 */
import { exitCode, exitWord, header, Op, opList, opNames, type Routine, tlbEntry, typeCode } from '../ir/index.js';
import { ByteWriter } from './bytes.js';
import { wasmOp } from './function-emitter.js';
import type { ModuleExtension, ModuleWriter } from './index.js';
import { encodings, kind, opBytes, opEncoding, opKind } from './op-tables.js';
import { homeLoad, homeStore } from './routine-emitter.js';
import { slowPathIds } from './routine-module.js';

export const COLD_HEADER_BYTES = 16;
/**
 * `number` is the engine's. `lastJump`: offset of the word in which a block that ends with a jump to an address keeps how far
 * it went the last time (low 32 bits; 0: never), or 0.
 */
export const coldHeader = { count: 0, instructions: 4, number: 8, lastJump: 12 } as const;

const OPS = opList.length;
/** Handler of an op whose last operand is a 32-bit constant in the code (sign-extended for i64). */
export function immediateHandler(op: number): number {
  return OPS + op;
}
/** Handlers of guest loads that fault as writes, and of accesses in a named MMU context: always by the slow path. */
export const LOAD_FOR_WRITE = 2 * OPS;
export const SLOW_ACCESS = LOAD_FOR_WRITE + 5;
/** goto and branch to distances that no exit word can hold. */
/** Accesses whose address is a slot plus a constant: five loads, five stores. */
export const DISPLACED = SLOW_ACCESS + 10;
/** Loads of one, two and four bytes into an i64, then the same at a slot plus a constant. */
export const EXTENDED = DISPLACED + 10;
export const FAR_GOTO = EXTENDED + 6;
export const FAR_BRANCH = FAR_GOTO + 1;
/** Handler of a call: this plus the routine's id. */
export const CALL_BASE = FAR_GOTO + 2;

export const guestLoads = [Op.guest_load8, Op.guest_load16, Op.guest_load32, Op.guest_load64, Op.guest_load128];
export const guestStores = [Op.guest_store8, Op.guest_store16, Op.guest_store32, Op.guest_store64, Op.guest_store128];
const SIZES = [1, 2, 4, 8, 16];
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

/** Has the op a handler with an immediate last operand? */
export const hasImmediateHandler = Uint8Array.from(opList, (row, op) => {
  const last = row.params[row.params.length - 1];
  if (last !== 'i32' && last !== 'i64') return 0;
  if (opKind[op] === kind.special) return op >= Op.set_i32 && op <= Op.set_i64 ? 1 : 0;
  return row.params.length >= 2 && opEncoding[op] !== encodings.lane ? 1 : 0;
});

/** Names of handlers, for counters and dumps. */
export function handlerName(handler: number, routines: readonly Routine[]): string {
  if (handler < OPS) return opNames[handler];
  if (handler < 2 * OPS) return `${opNames[handler - OPS]} imm`;
  if (handler < SLOW_ACCESS) return `${opNames[guestLoads[handler - LOAD_FOR_WRITE]]} for write`;
  if (handler < DISPLACED) return 'slow access';
  if (handler < EXTENDED) return `${opNames[[...guestLoads, ...guestStores][handler - DISPLACED]]} displaced`;
  if (handler < FAR_GOTO) return `${opNames[guestLoads[(handler - EXTENDED) % 3]]} extended`;
  if (handler < CALL_BASE) return handler === FAR_GOTO ? 'goto far' : 'branch far';
  return `call ${routines[handler - CALL_BASE].name}`;
}

// Locals of the interpreter.
const STATE = 0;
const CODE = 1;
const COUNT = 2;
const ADDRESS = 3;
const ENTRY = 4;
const HOST = 5;
const RESULTS = 6;

/** Writes the interpreter into the module of the routines, exported as `cold`: (state, code) → exit word. */
export class ColdTierWriter implements ModuleExtension {
  readonly routine = 'cold';
  readonly #routines: readonly Routine[];
  readonly #hotThreshold: number;
  readonly #withCounter: boolean;
  #w = new ByteWriter(65536);
  #functionIndex: (routine: number) => number = () => -1;
  /** `countInstructions`: keeps header.instructions (-icount). */
  constructor(routines: readonly Routine[], options: { hotThreshold: number; countInstructions: boolean }) {
    this.#routines = routines;
    this.#hotThreshold = options.hotThreshold;
    this.#withCounter = options.countInstructions;
  }

  define(module: ModuleWriter, functionIndex: (routine: number) => number): void {
    this.#functionIndex = functionIndex;
    const w = (this.#w = new ByteWriter(65536));
    const maxResults = Math.max(1, ...this.#routines.map((routine) => routine.results.length));
    const locals: number[] = [0, 1, 0, 0]; // COUNT, ADDRESS, ENTRY, HOST
    // One local per type and position for the results of a call.
    for (let type = 0; type < 5; type++) for (let i = 0; i < maxResults; i++) locals.push(type);
    const resultLocal = (type: number, i: number) => RESULTS + type * maxResults + i;

    // The block's counter: at the threshold, and at each multiple, the block asks to be compiled.
    this.#get(CODE);
    this.#get(CODE);
    this.#memory(0x28, coldHeader.count);
    this.#i32(1);
    w.u8(0x6a);
    this.#tee(COUNT);
    this.#memory(0x36, coldHeader.count);
    if (this.#hotThreshold > 0) {
      this.#get(COUNT);
      this.#i32(this.#hotThreshold - 1);
      w.u8(0x71);
      w.u8(0x45);
      w.raw([wasmOp.if, 0x40]);
      this.#i32(exitWord(exitCode.hot, 0, 255));
      w.u8(wasmOp.return);
      w.u8(wasmOp.end);
    }
    if (this.#withCounter) {
      this.#get(STATE);
      this.#memory(0x29, header.instructions);
      this.#get(CODE);
      this.#memory(0x35, coldHeader.instructions);
      w.u8(0x7c);
      this.#get(STATE);
      this.#memory(0x29, header.instructionLimit);
      w.raw([0x56, wasmOp.if, 0x40]); // i64.gt_u
      this.#i32(exitWord(exitCode.budget, 0, 255));
      w.u8(wasmOp.return);
      w.u8(wasmOp.end);
    }
    this.#advance(COLD_HEADER_BYTES);

    const handlers = CALL_BASE + this.#routines.length;
    // Only handlers that exist get a block; all others share one that traps.
    const bodies: { handler: number; write: () => void }[] = [];
    for (let op = 0; op < OPS; op++) {
      const write = this.#handlerOf(op);
      if (write) bodies.push({ handler: op, write });
      if (hasImmediateHandler[op]) bodies.push({ handler: immediateHandler(op), write: () => this.#plain(op, true) });
    }
    for (let i = 0; i < 5; i++) {
      bodies.push({ handler: LOAD_FOR_WRITE + i, write: () => this.#guestLoad(i, tlbEntry.writeTag) });
      bodies.push({ handler: DISPLACED + i, write: () => this.#guestLoad(i, tlbEntry.readTag, { displaced: true }) });
      bodies.push({ handler: DISPLACED + 5 + i, write: () => this.#guestStore(i, true) });
      bodies.push({ handler: SLOW_ACCESS + i, write: () => this.#slowLoad(i) });
      bodies.push({ handler: SLOW_ACCESS + 5 + i, write: () => this.#slowStore(i) });
    }
    for (let i = 0; i < 3; i++) {
      bodies.push({ handler: EXTENDED + i, write: () => this.#guestLoad(i, tlbEntry.readTag, { extended: true }) });
      bodies.push({
        handler: EXTENDED + 3 + i,
        write: () => this.#guestLoad(i, tlbEntry.readTag, { displaced: true, extended: true }),
      });
    }
    bodies.push({ handler: FAR_GOTO, write: () => this.#far(() => this.#word(1), 2) });
    bodies.push({
      handler: FAR_BRANCH,
      write: () =>
        this.#far(() => {
          this.#word(2);
          this.#word(3);
          this.#loadSlot(1, 0);
          w.u8(wasmOp.select);
        }, 4),
    });
    for (const routine of this.#routines)
      bodies.push({ handler: CALL_BASE + routine.id, write: () => this.#call(routine, resultLocal) });

    const target = new Int32Array(handlers).fill(bodies.length);
    bodies.forEach(({ handler }, i) => {
      target[handler] = i;
    });
    w.raw([wasmOp.loop, 0x40]);
    for (let i = 0; i <= bodies.length; i++) w.raw([wasmOp.block, 0x40]);
    this.#get(CODE);
    this.#memory(0x28, 0);
    w.u8(wasmOp.brTable);
    w.u32(handlers);
    for (let i = 0; i < handlers; i++) w.u32(target[i]);
    w.u32(bodies.length);
    for (let i = 0; i < bodies.length; i++) {
      w.u8(wasmOp.end);
      this.#loopDepth = bodies.length - i;
      bodies[i].write();
    }
    w.u8(wasmOp.end);
    w.u8(0x00); // a handler that does not exist
    w.u8(wasmOp.end);
    w.u8(0x00);
    module.define(module.type(['i32', 'i32'], ['i32']), { locals, body: w, unlikely: [] }, 'cold');
  }

  /** Depth of the loop as seen from a handler's body. */
  #loopDepth = 0;

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
  /** Word `i` of the op. */
  #word(i: number): void {
    this.#get(CODE);
    this.#memory(0x28, 4 * i);
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
    this.#w.u8(wasmOp.return);
  }

  #handlerOf(op: number): (() => void) | undefined {
    if (opKind[op] !== kind.special && opKind[op] !== kind.constant) return () => this.#plain(op, false);
    const w = () => this.#w;
    const type = opList[op].result ? typeCode[opList[op].result as keyof typeof typeCode] : -1;
    if (opKind[op] === kind.constant) {
      const words = [1, 2, 1, 2, 4][type];
      return () => {
        this.#slot(1);
        if (type === 0 || type === 2) {
          this.#word(2);
          this.#memory(0x36, 0);
        } else if (type === 1 || type === 3) {
          this.#get(CODE);
          this.#memory(0x29, 8);
          this.#memory(0x37, 0);
        } else {
          this.#get(CODE);
          this.#w.raw([0xfd, 0x00, 0, 8]);
          this.#w.raw([0xfd, 0x0b, 0, 0]);
        }
        this.#next(2 + words);
      };
    }
    switch (op) {
      case Op.state:
        return () => {
          this.#slot(1);
          this.#get(STATE);
          this.#memory(0x36, 0);
          this.#next(2);
        };
      case Op.pc_rel:
        return () => {
          this.#slot(1);
          this.#get(STATE);
          this.#memory(0x29, header.pc);
          this.#get(CODE);
          this.#memory(0x34, 8);
          w().u8(0x7c);
          this.#memory(0x37, 0);
          this.#next(3);
        };
      // get and set are both a copy from slot to slot; words: destination, source
      case Op.get_i32:
      case Op.get_i64:
      case Op.get_f32:
      case Op.get_f64:
      case Op.get_v128:
        return () => {
          this.#slot(1);
          this.#loadSlot(2, type);
          this.#storeSlot(type);
          this.#next(3);
        };
      case Op.trap_if:
        return () => {
          this.#loadSlot(1, 0);
          w().raw([wasmOp.if, 0x40]);
          this.#get(STATE);
          this.#word(2);
          this.#memory(0x36, header.trapCode);
          this.#leaveWith(3);
          w().u8(wasmOp.end);
          this.#next(4);
        };
      case Op.goto:
      case Op.leave:
      case Op.resume:
        return () => this.#leaveWith(1);
      case Op.branch:
        return () => {
          this.#word(2);
          this.#word(3);
          this.#loadSlot(1, 0);
          w().raw([wasmOp.select, wasmOp.return]);
        };
      case Op.jump:
        // How far it went the last time stays in the code.
        return () => {
          this.#get(CODE);
          this.#loadSlot(1, 1);
          this.#tee(ADDRESS);
          this.#get(STATE);
          this.#memory(0x29, header.pc);
          w().raw([0x7d, 0xa7]); // i64.sub, i32.wrap_i64
          this.#memory(0x36, 12);
          this.#get(STATE);
          this.#get(ADDRESS);
          this.#memory(0x37, header.pc);
          this.#leaveWith(2);
        };
      case Op.insn:
        // Only with -icount is the op in the code.
        return () => {
          this.#get(STATE);
          this.#get(STATE);
          this.#memory(0x29, header.instructions);
          w().raw([wasmOp.i64Const, 1, 0x7c]);
          this.#memory(0x37, header.instructions);
          this.#next(1);
        };
      case Op.fence:
        return () => {
          w().raw([0xfe, 0x03, 0]);
          this.#next(1);
        };
      default: {
        const load = guestLoads.indexOf(op);
        if (load >= 0) return () => this.#guestLoad(load, tlbEntry.readTag);
        const store = guestStores.indexOf(op);
        if (store >= 0) return () => this.#guestStore(store, false);
        return undefined;
      }
    }
  }

  /** A WebAssembly instruction; with `immediate` its last operand is in the code. */
  #plain(op: number, immediate: boolean): void {
    const row = opList[op];
    const w = this.#w;
    if (op >= Op.set_i32 && op <= Op.set_i64) {
      // set with a constant: destination slot, value
      const type = op - Op.set_i32;
      this.#slot(1);
      this.#get(CODE);
      this.#memory(type === 0 ? 0x28 : 0x34, 8);
      this.#storeSlot(type);
      this.#next(3);
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
      this.#get(CODE);
      w.raw([0xfd, 0x00, 0, 16]);
      w.raw([0xfd, 0x0e]);
      this.#loadSlot(3, 4);
      this.#get(CODE);
      w.raw([0xfd, 0x00, 0, 16]);
      w.raw([0xfd, 0x0c, ...new Array<number>(16).fill(16)]);
      w.raw([0xfd, 0x71, 0xfd, 0x0e]); // i8x16.sub, swizzle
      w.raw([0xfd, 0x50]); // v128.or
      this.#storeSlot(4);
      this.#next(8);
      return;
    }
    // A memory instruction's offset comes last in the code, before no exit word.
    for (let i = 0; i < count; i++) {
      const paramType = typeCode[row.params[i]];
      if (immediate && i === count - 1) {
        this.#get(CODE);
        this.#memory(paramType === 0 ? 0x28 : 0x34, 4 * word);
      } else this.#loadSlot(word, paramType);
      word++;
      if (i === 0 && encoding === encodings.memarg) {
        // host address + offset
        this.#word((type >= 0 ? 2 : 1) + count);
        w.u8(0x6a);
      }
    }
    w.raw(opBytes[op]);
    if (encoding === encodings.memarg) {
      w.raw([0, 0]);
      word++;
    }
    if (type >= 0) this.#storeSlot(type);
    this.#next(word);
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
      this.#next(4);
      return;
    }
    // replace: result ← vector, then the lane's bytes ← value (the value is read first: it may be the result's slot)
    const valueType = typeCode[opList[op].params[1]];
    const local = RESULTS + valueType * this.#perType();
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
    this.#next(5);
  }

  #perType(): number {
    return Math.max(1, ...this.#routines.map((routine) => routine.results.length));
  }

  /**
   * The inline TLB lookup for ADDRESS: a slot, displaced by word 5 if there is one. Leaves HOST set, or returns the exit word
   * in word 4. `slow` pushes the slow path's result.
   */
  #translate(addressWord: number, displaced: boolean, size: number, tag: number, slow: () => void): void {
    const w = this.#w;
    this.#loadSlot(addressWord, 1);
    if (displaced) {
      this.#get(CODE);
      this.#memory(0x34, 4 * 5); // i64.load32_s
      w.u8(0x7c);
    }
    this.#tee(ADDRESS);
    w.raw([wasmOp.i64Const, 7, 0x88, 0xa7]);
    this.#get(STATE);
    this.#memory(0x28, header.tlbMask);
    w.u8(0x71);
    this.#get(STATE);
    this.#memory(0x28, header.tlb);
    w.u8(0x6a);
    this.#tee(ENTRY);
    this.#memory(0x29, tag);
    this.#get(ADDRESS);
    w.u8(wasmOp.i64Const);
    w.s64(size - 1, 0);
    w.u8(0x7c);
    w.u8(wasmOp.i64Const);
    w.s64(-4096, -1);
    w.u8(0x83);
    w.u8(0x51); // i64.eq
    w.raw([wasmOp.if, 0x40]);
    this.#get(ADDRESS);
    w.u8(0xa7);
    this.#get(ENTRY);
    this.#memory(0x28, tlbEntry.addend);
    w.u8(0x6a);
    this.#set(HOST);
    w.u8(wasmOp.else);
    this.#slowPath(4, slow);
    w.u8(wasmOp.end);
  }

  #slowPath(exit: number, slow: () => void): void {
    const w = this.#w;
    slow();
    this.#tee(HOST);
    w.u8(0x45);
    w.raw([wasmOp.if, 0x40]);
    this.#leaveWith(exit);
    w.u8(wasmOp.end);
  }

  /** words: handler, result, address, access, exit, displacement if displaced. `extended`: into an i64. */
  #guestLoad(i: number, tag: number, { displaced = false, extended = false } = {}): void {
    this.#translate(2, displaced, SIZES[i], tag, () => this.#callSlowLoad(i));
    this.#finishLoad(i, extended, displaced ? 6 : 5);
  }

  #callSlowLoad(i: number): void {
    this.#get(STATE);
    this.#get(ADDRESS);
    this.#word(3);
    this.#i32(SIZES[i] << 8);
    this.#w.u8(0x72);
    this.#w.u8(wasmOp.call);
    this.#w.u32(this.#functionIndex(slowPathIds(this.#routines).slowLoad));
  }

  #finishLoad(i: number, extended: boolean, words: number): void {
    this.#slot(1);
    this.#get(HOST);
    this.#w.raw(LOADS[i]);
    if (extended) this.#w.u8(0xad); // i64.extend_i32_u
    this.#storeSlot(extended || i === 3 ? 1 : i < 3 ? 0 : 4);
    this.#next(words);
  }

  #slowLoad(i: number): void {
    this.#loadSlot(2, 1);
    this.#set(ADDRESS);
    this.#slowPath(4, () => this.#callSlowLoad(i));
    this.#finishLoad(i, false, 5);
  }

  /** words: handler, address, value, access, exit, displacement if displaced */
  #guestStore(i: number, displaced: boolean): void {
    this.#translate(1, displaced, SIZES[i], tlbEntry.writeTag, () => this.#callSlowStore(i));
    this.#finishStore(i, displaced ? 6 : 5);
  }

  #callSlowStore(i: number): void {
    this.#get(STATE);
    this.#get(ADDRESS);
    this.#loadSlot(2, i < 3 ? 0 : i === 3 ? 1 : 4);
    if (i < 3) this.#w.u8(0xad);
    this.#word(3);
    this.#i32(SIZES[i] << 8);
    this.#w.u8(0x72);
    this.#w.u8(wasmOp.call);
    const ids = slowPathIds(this.#routines);
    this.#w.u32(this.#functionIndex(i === 4 ? ids.slowStore128 : ids.slowStore));
  }

  #finishStore(i: number, words: number): void {
    this.#get(HOST);
    this.#loadSlot(2, i < 3 ? 0 : i === 3 ? 1 : 4);
    this.#w.raw(STORES[i]);
    this.#next(words);
  }

  #slowStore(i: number): void {
    this.#loadSlot(1, 1);
    this.#set(ADDRESS);
    this.#slowPath(4, () => this.#callSlowStore(i));
    this.#finishStore(i, 5);
  }

  /** Adds a distance to the pc and leaves with the word in the code. */
  #far(distance: () => void, word: number): void {
    this.#get(STATE);
    this.#get(STATE);
    this.#memory(0x29, header.pc);
    distance();
    this.#w.raw([0xac, 0x7c]); // i64.extend_i32_s, i64.add
    this.#memory(0x37, header.pc);
    this.#leaveWith(word);
  }

  /** words: handler, results, arguments, exit word if it may fault */
  #call(routine: Routine, resultLocal: (type: number, i: number) => number): void {
    const w = this.#w;
    const { results, params, effects } = routine;
    this.#get(STATE);
    params.forEach((type, i) => {
      this.#loadSlot(1 + results.length + i, typeCode[type]);
    });
    w.u8(wasmOp.call);
    w.u32(this.#functionIndex(routine.id));
    for (let i = results.length - 1; i >= 0; i--) this.#set(resultLocal(typeCode[results[i]], i));
    let words = 1 + results.length + params.length;
    if (effects.mayFault) {
      this.#get(resultLocal(0, 0));
      w.raw([wasmOp.if, 0x40]);
      this.#leaveWith(words);
      w.u8(wasmOp.end);
      words++;
    }
    results.forEach((type, i) => {
      if (i === 0 && effects.mayFault) return;
      this.#slot(1 + i);
      this.#get(resultLocal(typeCode[type], i));
      this.#storeSlot(typeCode[type]);
    });
    this.#next(words);
  }
}
