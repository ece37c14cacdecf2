/** The handlers of ops in the cold tier: each reads its words from the code and its operands from slots. */
import { fusesMultiply, header, Op, opList, opNames, type Routine, tlbEntry, typeCode } from '../ir/index.js';
import { accessOf, type ColdAccess, callWords, FAR_BRANCH, FAR_GOTO, handlerWords } from './cold-code.js';
import { ADDRESS, CODE, ColdFunction, ENTRY, HOST, SCRATCH, STATE } from './cold-function.js';
import { wasmOp } from './function-emitter.js';
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

export class ColdHandlers extends ColdFunction {
  readonly #routines: readonly Routine[];
  readonly #functionIndex: (routine: number) => number;

  constructor(isInner: boolean, routines: readonly Routine[], functionIndex: (routine: number) => number) {
    super(isInner, Math.max(1, ...routines.map((routine) => routine.results.length)));
    this.#routines = routines;
    this.#functionIndex = functionIndex;
  }

  sequence(ops: readonly number[]): void {
    for (const handler of ops) {
      this.#body(handler);
      this.base += handlerWords(handler);
    }
    const words = this.base;
    this.base = 0;
    this.next(words);
  }

  single(handler: number): void {
    this.#body(handler);
    this.next(handlerWords(handler));
  }

  /** What an op does; CODE stays. Ops that end a block leave. */
  #body(handler: number): void {
    const access = accessOf(handler);
    if (access) this.#access(access);
    else if (handler === FAR_GOTO) this.#far(() => this.word(1), 2);
    else if (handler === FAR_BRANCH)
      this.#far(() => {
        this.word(2);
        this.word(3);
        this.loadSlot(1, 0);
        this.w.u8(wasmOp.select);
      }, 4);
    else if (handler >= OPS) this.#plain(handler - OPS, true);
    else if (opKind[handler] === kind.constant) this.#constant(handler);
    else if (opKind[handler] === kind.special) this.#special(handler);
    else this.#plain(handler, false);
  }

  #constant(op: number): void {
    const type = op - Op.const_i32;
    this.slot(1);
    if (type === 0 || type === 2) {
      this.word(2);
      this.memory(0x36, 0);
    } else if (type === 1 || type === 3) {
      this.codeLoad(0x29, 2);
      this.memory(0x37, 0);
    } else {
      this.codeVector(2);
      this.storeSlot(4);
    }
  }

  #special(op: number): void {
    const w = this.w;
    switch (op) {
      case Op.state:
        this.slot(1);
        this.get(STATE);
        this.memory(0x36, 0);
        break;
      case Op.pc_rel:
        this.slot(1);
        this.get(STATE);
        this.memory(0x29, header.pc);
        this.codeLoad(0x34, 2);
        w.u8(0x7c);
        this.memory(0x37, 0);
        break;
      case Op.trap_if:
        this.loadSlot(1, 0);
        this.rarely(() => {
          this.get(STATE);
          this.word(2);
          this.memory(0x36, header.trapCode);
          this.leaveWith(3);
        });
        break;
      case Op.leave:
      case Op.resume:
        this.leaveWith(1);
        break;
      case Op.goto:
        this.get(CODE);
        this.i32(4 * (this.base + 1));
        w.u8(0x6a);
        this.#goOn();
        break;
      case Op.branch:
        // Words: slot; exit word and link if it is not 0; the same if it is.
        this.i32(4 * (this.base + 2));
        this.i32(4 * (this.base + 4));
        this.loadSlot(1, 0);
        w.u8(wasmOp.select);
        this.get(CODE);
        w.u8(0x6a);
        this.#goOn();
        break;
      case Op.jump:
        // How far it went the last time stays in the code.
        this.get(CODE);
        this.loadSlot(1, 1);
        this.tee(ADDRESS);
        this.get(STATE);
        this.memory(0x29, header.pc);
        w.raw([0x7d, 0xa7]); // i64.sub, i32.wrap_i64
        this.memory(0x36, 4 * (this.base + 3));
        this.word(2);
        this.#hopOn();
        break;
      case Op.insn:
        // Only with -icount is the op in the code.
        this.get(STATE);
        this.get(STATE);
        this.memory(0x29, header.instructions);
        w.raw([wasmOp.i64Const, 1, 0x7c]);
        this.memory(0x37, header.instructions);
        break;
      case Op.fence:
        w.raw([0xfe, 0x03, 0]);
        break;
      default: {
        // get and set are both a copy from slot to slot; words: destination, source
        const type = op - Op.get_i32;
        this.slot(1);
        this.loadSlot(2, type);
        this.storeSlot(type);
      }
    }
  }

  /** On by the exit word and link at the address on the stack. */
  #goOn(): void {
    this.set(SCRATCH);
    this.w.u8(wasmOp.br);
    this.w.u32(this.followDepth);
  }

  /** On to the pc in ADDRESS, by the exit word on the stack. */
  #hopOn(): void {
    this.set(HOST);
    this.i32(0);
    this.set(CODE);
    this.w.u8(wasmOp.br);
    this.w.u32(this.hopDepth);
  }

  /** A WebAssembly instruction; with `immediate` its last operand is in the code. */
  #plain(op: number, immediate: boolean): void {
    const row = opList[op];
    const w = this.w;
    if (op >= Op.set_i32 && op <= Op.set_i64) {
      // set with a constant: destination slot, value
      const type = op - Op.set_i32;
      this.slot(1);
      this.codeLoad(type === 0 ? 0x28 : 0x34, 2);
      this.storeSlot(type);
      return;
    }
    const type = row.result ? typeCode[row.result] : -1;
    let word = 1;
    if (type >= 0) this.slot(word++);
    const count = row.params.length;
    const encoding = opEncoding[op];
    if (encoding === encodings.lane) {
      this.#lane(op, word, type);
      return;
    }
    if (encoding === encodings.shuffle) {
      // The lane indices come from the code: two swizzles, of which the other gives zeros.
      this.loadSlot(2, 4);
      this.codeVector(4);
      w.raw([0xfd, 0x0e]);
      this.loadSlot(3, 4);
      this.codeVector(4);
      w.raw([0xfd, 0x0c, ...new Array<number>(16).fill(16)]);
      w.raw([0xfd, 0x71, 0xfd, 0x0e]); // i8x16.sub, swizzle
      w.raw([0xfd, 0x50]); // v128.or
      this.storeSlot(4);
      return;
    }
    // A memory instruction's offset comes last in the code, before no exit word.
    for (let i = 0; i < count; i++) {
      const paramType = typeCode[row.params[i]];
      if (immediate && i === count - 1) this.codeLoad(paramType === 0 ? 0x28 : 0x34, word);
      else this.loadSlot(word, paramType);
      word++;
      if (i === 0 && encoding === encodings.memarg) {
        // host address + offset
        this.word((type >= 0 ? 2 : 1) + count);
        w.u8(0x6a);
      }
    }
    w.raw(isAbsent(op) ? [0x00] : opBytes[op]);
    if (encoding === encodings.memarg) w.raw([0, 0]);
    if (type >= 0) this.storeSlot(type);
  }

  /** Lanes are read and replaced in memory, at slot + lane · width. The result's slot address is on the stack. */
  #lane(op: number, word: number, type: number): void {
    const w = this.w;
    const name = opNames[op];
    const width = { i8: 1, i1: 2, i3: 4, i6: 8, f3: 4, f6: 8 }[name.slice(0, 2)] as number;
    const laneAddress = (slotWord: number, laneWord: number) => {
      this.slot(slotWord);
      this.word(laneWord);
      this.i32(width);
      w.raw([0x6c, 0x6a]);
    };
    if (opList[op].params.length === 1) {
      laneAddress(word, word + 1);
      if (width === 1) w.u8(name.endsWith('_s') ? 0x2c : 0x2d);
      else if (width === 2) w.u8(name.endsWith('_s') ? 0x2e : 0x2f);
      else w.raw(homeLoad[type]);
      w.raw([0, 0]);
      this.storeSlot(type);
      return;
    }
    if (op === Op.i64x2_replace_lane) {
      // In one piece: who reads the vector right after need not wait until two stores have met.
      for (const lane of [1, 0]) {
        this.loadSlot(word, 4);
        this.loadSlot(word + 1, 1);
        w.raw([...opBytes[op], lane]);
      }
      this.word(word + 2);
      w.raw(opBytes[Op.select_v128]);
      this.storeSlot(4);
      return;
    }
    // replace: result ← vector, then the lane's bytes ← value (the value is read first: it may be the result's slot)
    const valueType = typeCode[opList[op].params[1]];
    const local = this.resultLocal(valueType, 0);
    this.loadSlot(word + 1, valueType);
    this.set(local);
    this.loadSlot(word, 4);
    this.storeSlot(4);
    laneAddress(1, word + 2);
    this.get(local);
    if (width === 1) w.u8(0x3a);
    else if (width === 2) w.u8(0x3b);
    else w.raw(homeStore[valueType]);
    w.raw([0, 0]);
  }

  /** ADDRESS, from the slot in a word, displaced by word 5. */
  #accessAddress({ store, displaced }: ColdAccess): void {
    this.loadSlot(store ? 1 : 2, 1);
    if (displaced) {
      this.codeLoad(0x34, 5); // i64.load32_s
      this.w.u8(0x7c);
    }
    this.tee(ADDRESS);
  }

  /**
   * A guest access with the inline TLB lookup; a miss is handed to the outer function. Words: handler, result, address, access,
   * exit word, displacement; a store has the address and the value instead of result and address.
   */
  #access(access: ColdAccess): void {
    const w = this.w;
    const { store, forWrite, sizeLog2 } = access;
    this.#accessAddress(access);
    w.raw([wasmOp.i64Const, 7, 0x88, 0xa7]);
    this.get(STATE);
    this.memory(0x28, header.tlbMask);
    w.u8(0x71);
    this.get(STATE);
    this.memory(0x28, header.tlb);
    w.u8(0x6a);
    this.tee(ENTRY);
    this.memory(0x29, store || forWrite ? tlbEntry.writeTag : tlbEntry.readTag);
    this.get(ADDRESS);
    w.u8(wasmOp.i64Const);
    w.s64((1 << sizeLog2) - 1, 0);
    w.u8(0x7c);
    w.u8(wasmOp.i64Const);
    w.s64(-4096, -1);
    w.u8(0x83);
    w.u8(0x52); // i64.ne
    this.rarely(() => {
      this.i32(0);
      this.get(CODE);
      if (this.base > 0) {
        this.i32(4 * this.base);
        w.u8(0x6a);
      }
      w.u8(wasmOp.return);
    });
    this.get(ADDRESS);
    w.u8(0xa7);
    this.get(ENTRY);
    this.memory(0x28, tlbEntry.addend);
    w.u8(0x6a);
    this.set(HOST);
    this.#finishAccess(access);
  }

  /** The value from, or to, HOST. */
  #finishAccess({ store, sizeLog2, extended }: ColdAccess): void {
    const w = this.w;
    const type = [0, 0, 0, 1, 4][sizeLog2];
    if (store) {
      this.get(HOST);
      this.loadSlot(2, type);
      w.raw(STORES[sizeLog2]);
      return;
    }
    this.slot(1);
    this.get(HOST);
    w.raw(LOADS[sizeLog2]);
    if (extended) w.u8(0xad); // i64.extend_i32_u
    this.storeSlot(extended ? 1 : type);
  }

  /** The same by the slow path's routines. */
  slowAccess(handler: number, access: ColdAccess): void {
    const w = this.w;
    const { store, sizeLog2 } = access;
    const ids = slowPathIds(this.#routines);
    this.#accessAddress(access);
    w.u8(wasmOp.drop);
    this.get(STATE);
    this.get(ADDRESS);
    if (store) {
      this.loadSlot(2, [0, 0, 0, 1, 4][sizeLog2]);
      if (sizeLog2 < 3) w.u8(0xad);
    }
    this.word(3);
    this.i32((1 << sizeLog2) << 8);
    w.u8(0x72);
    w.u8(wasmOp.call);
    w.u32(this.#functionIndex(!store ? ids.slowLoad : sizeLog2 === 4 ? ids.slowStore128 : ids.slowStore));
    this.tee(HOST);
    w.u8(0x45);
    this.rarely(() => this.leaveWith(4));
    this.#finishAccess(access);
    this.next(handlerWords(handler));
  }

  /** Goes on at a distance from the pc, or leaves with it added if the exit word in the code says why. */
  #far(distance: () => void, word: number): void {
    this.get(STATE);
    this.memory(0x29, header.pc);
    distance();
    this.w.raw([0xac, 0x7c]); // i64.extend_i32_s, i64.add
    this.set(ADDRESS);
    this.word(word);
    this.i32(24);
    this.w.u8(0x76);
    this.rarely(() => {
      this.get(STATE);
      this.get(ADDRESS);
      this.memory(0x37, header.pc);
      this.leaveWith(word);
    });
    this.word(word);
    this.#hopOn();
  }

  /** Words: handler, results, arguments, exit word if it may fault. */
  call(routine: Routine): void {
    const w = this.w;
    const { results, params, effects } = routine;
    this.get(STATE);
    params.forEach((type, i) => {
      this.loadSlot(1 + results.length + i, typeCode[type]);
    });
    w.u8(wasmOp.call);
    w.u32(this.#functionIndex(routine.id));
    for (let i = results.length - 1; i >= 0; i--) this.set(this.resultLocal(typeCode[results[i]], i));
    if (effects.mayFault) {
      this.get(this.resultLocal(0, 0));
      this.rarely(() => this.leaveWith(1 + results.length + params.length));
    }
    results.forEach((type, i) => {
      if (i === 0 && effects.mayFault) return;
      this.slot(1 + i);
      this.get(this.resultLocal(typeCode[type], i));
      this.storeSlot(typeCode[type]);
    });
    this.next(callWords(routine));
  }
}
