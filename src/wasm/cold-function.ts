/** A function of the cold tier as it is written: its body, and the pieces that handlers of ops are made of. */
import { ByteWriter } from './bytes.js';
import { wasmOp } from './function-emitter.js';
import { homeLoad, homeStore } from './routine-emitter.js';

// Locals of both functions; the outer one has the results of a call behind them.
export const STATE = 0;
/** Inner: address of the op under way. Outer, at first: the block. */
export const CODE = 1;
export const SCRATCH = 2;
export const ADDRESS = 3;
export const ENTRY = 4;
export const HOST = 5;
const RESULTS = 6;
export const LOCALS: readonly number[] = [0, 1, 0, 0];

export class ColdFunction {
  readonly w = new ByteWriter(65536);
  /** Places of ifs that are hardly ever taken. */
  readonly unlikely: number[] = [];
  /** Words of the op that is written now lie this many words behind CODE. */
  base = 0;
  /** Depth of the loop over ops, and of the blocks that end before `follow` and `hop`, as seen from a handler's body. */
  loopDepth = 0;
  followDepth = 0;
  hopDepth = 0;
  readonly #isInner: boolean;
  readonly #mostResults: number;

  /** `mostResults`: of a call of the outer function. */
  constructor(isInner: boolean, mostResults: number) {
    this.#isInner = isInner;
    this.#mostResults = mostResults;
  }

  get(local: number): void {
    this.w.u8(wasmOp.localGet);
    this.w.u32(local);
  }

  set(local: number): void {
    this.w.u8(wasmOp.localSet);
    this.w.u32(local);
  }

  tee(local: number): void {
    this.w.u8(wasmOp.localTee);
    this.w.u32(local);
  }

  i32(value: number): void {
    this.w.u8(wasmOp.i32Const);
    this.w.s32(value);
  }

  /** A load or store, by its opcode, at a static offset. */
  memory(code: number, offset: number): void {
    this.w.u8(code);
    this.w.u8(0);
    this.w.u32(offset);
  }

  /** An if that is hardly ever taken. */
  rarely(then: () => void): void {
    this.unlikely.push(this.w.length);
    this.w.raw([wasmOp.if, 0x40]);
    then();
    this.w.u8(wasmOp.end);
  }

  /** Returns the exit word on the stack. */
  returnWord(): void {
    if (this.#isInner) this.i32(0);
    this.w.u8(wasmOp.return);
  }

  /** CODE goes on. */
  advance(bytes: number): void {
    this.get(CODE);
    this.i32(bytes);
    this.w.u8(0x6a);
    this.set(CODE);
  }

  /** Ends a handler: on to the next op. */
  next(words: number): void {
    this.advance(4 * words);
    this.w.u8(wasmOp.br);
    this.w.u32(this.loopDepth);
  }

  /** A load from word `i` of the op. */
  codeLoad(code: number, i: number): void {
    this.get(CODE);
    this.memory(code, 4 * (this.base + i));
  }

  /** Word `i` of the op. */
  word(i: number): void {
    this.codeLoad(0x28, i);
  }

  /** Address of the slot that word `i` names. */
  slot(i: number): void {
    this.get(STATE);
    this.word(i);
    this.w.u8(0x6a);
  }

  loadSlot(i: number, type: number): void {
    this.slot(i);
    this.w.raw(homeLoad[type]);
    this.w.raw([0, 0]);
  }

  storeSlot(type: number): void {
    this.w.raw(homeStore[type]);
    this.w.raw([0, 0]);
  }

  /** Returns the exit word that is in a word of the op. */
  leaveWith(word: number): void {
    this.word(word);
    this.returnWord();
  }

  /** The vector at word `i` of the op. */
  codeVector(i: number): void {
    this.get(CODE);
    this.w.raw([0xfd, 0x00, 0]);
    this.w.u32(4 * (this.base + i));
  }

  /** Types of the locals for the results of a call: one for each type and position. */
  get resultLocals(): readonly number[] {
    return [0, 1, 2, 3, 4].flatMap((type) => new Array<number>(this.#mostResults).fill(type));
  }

  resultLocal(type: number, i: number): number {
    return RESULTS + type * this.#mostResults + i;
  }
}
