/** Writes an IR routine as a WebAssembly function: variables are read and written in their homes, control is WebAssembly's. */
import { assert } from '../base/index.js';
import { type GuestVars, Op, opWords, type Routine, RoutineBuilder, typeCode } from '../ir/index.js';
import { type CodeEnvironment, FunctionEmitter, wasmOp } from './function-emitter.js';
import type { FunctionCode } from './module.js';

/** Load and store instructions by type code. */
export const homeLoad: readonly (readonly number[])[] = [[0x28], [0x29], [0x2a], [0x2b], [0xfd, 0x00]];
export const homeStore: readonly (readonly number[])[] = [[0x36], [0x37], [0x38], [0x39], [0xfd, 0x0b]];

export class RoutineEmitter extends FunctionEmitter {
  protected override readonly reuseLocals = false;
  readonly #vars: GuestVars;
  #mutable: number[] = [];
  #routine: Routine | undefined;

  constructor(env: CodeEnvironment, vars: GuestVars) {
    super(env);
    this.#vars = vars;
  }

  /** The function of a routine that has a `build`. */
  emit(routine: Routine): FunctionCode {
    assert(routine.build, `${routine.name} has no body`);
    const r = new RoutineBuilder();
    const params = routine.params.map((type) => r.local(type));
    (routine.build as (r: RoutineBuilder, ...params: number[]) => void)(
      r,
      ...params.map((local) => r.read(local) as number),
    );
    this.#routine = routine;
    this.reset(1 + params.length);
    this.#mutable = r.localTypes.map((type, i) => (i < params.length ? 1 + i : this.newLocal(type)));
    this.begin(r.words, 0, r.length, r.tempTypes, r.temps);
    this.emitOps(0, r.length);
    assert(this.depth === 0, `${routine.name}: open block`);
    if (routine.results.length > 0) this.op(0x00); // unreachable: every path has returned
    return { locals: this.locals, body: this.out, unlikely: this.unlikely };
  }

  protected override faultExit(): void {
    const routine = this.#routine as Routine;
    assert(routine.effects.mayFault, `${routine.name} may fault but does not say so`);
    this.i32Const(1);
    for (const type of routine.results.slice(1)) this.#zero(typeCode[type]);
    this.op(wasmOp.return);
  }

  #zero(type: number): void {
    if (type === 0) this.i32Const(0);
    else if (type === 1) this.i64Const(0, 0);
    else
      this.out.raw(
        type === 2
          ? [0x43, 0, 0, 0, 0]
          : type === 3
            ? [0x44, 0, 0, 0, 0, 0, 0, 0, 0]
            : [0xfd, 0x0c, ...new Array<number>(16).fill(0)],
      );
  }

  protected override varLocal(): number {
    return -1;
  }

  protected override readVarHome(id: number): void {
    const { type, offset } = this.#vars.vars[id];
    this.localGet(0);
    this.out.raw(homeLoad[typeCode[type]]);
    this.out.u8(0);
    this.out.u32(offset);
  }

  protected override writeVarHome(id: number, emitValue: () => void): void {
    const { type, offset } = this.#vars.vars[id];
    this.localGet(0);
    emitValue();
    this.out.raw(homeStore[typeCode[type]]);
    this.out.u8(0);
    this.out.u32(offset);
  }

  protected override mutableLocal(index: number): number {
    return this.#mutable[index];
  }

  protected override tlbLocal(): number {
    return -1;
  }

  protected override beforeCall(): void {}
  protected override afterCall(): void {}

  protected override special(op: number, at: number): void {
    const { words } = this;
    switch (op) {
      case Op.state:
        this.localGet(0);
        break;
      case Op.block:
      case Op.loop:
        this.flushAll();
        this.open(op === Op.block ? wasmOp.block : wasmOp.loop);
        break;
      case Op.if:
        this.#withCondition(words[at + 1], () => this.open(wasmOp.if));
        break;
      case Op.else:
        this.flushAll();
        this.op(wasmOp.else);
        break;
      case Op.end:
        this.flushAll();
        this.close();
        break;
      case Op.br:
        this.flushAll();
        this.op(wasmOp.br);
        this.out.u32(words[at + 1]);
        break;
      case Op.br_if:
        this.#withCondition(words[at + 1], () => {
          this.op(wasmOp.brIf);
          this.out.u32(words[at + 2]);
        });
        break;
      case Op.ret: {
        const size = words[at + 1];
        assert(size - 2 === (this.#routine as Routine).results.length, `results of ${(this.#routine as Routine).name}`);
        for (let i = 2; i < size; i++) this.value(words[at + i]);
        this.op(wasmOp.return);
        break;
      }
      case Op.set_deferred:
        this.writeVarHome(this.#vars.deferred.id, () => this.i32Const(words[at + 1]));
        break;
      case Op.atomic_load_i32:
        this.value(words[at + 2]);
        this.out.raw([0xfe, 0x10, 2]);
        this.out.u32(words[at + 3]);
        this.result(words[at + 1]);
        break;
      case Op.atomic_store_i32:
        this.value(words[at + 1]);
        this.value(words[at + 2]);
        this.out.raw([0xfe, 0x17, 2]);
        this.out.u32(words[at + 3]);
        break;
      case Op.fence:
        this.out.raw([0xfe, 0x03, 0]);
        break;
      case Op.call_code:
        this.localGet(0);
        this.value(words[at + 2]);
        this.op(0x11); // call_indirect
        this.out.u32(this.codeType);
        this.out.u8(0);
        this.result(words[at + 1]);
        break;
      default:
        this.unknown(op);
    }
  }

  /** Type index of translated code, in the module that has the dispatcher. */
  codeType = 0;

  /** The condition is computed, all that waits goes to locals, and then the branch is made on the condition. */
  #withCondition(condition: number, branch: () => void): void {
    this.value(condition);
    const local = this.newLocal(0);
    this.localSet(local);
    this.flushAll();
    this.localGet(local);
    branch();
  }
}

/** Words of an op at `at`. */
export function wordsAt(words: Int32Array, at: number): number {
  const op = words[at];
  if (op === Op.call) return words[at + 2];
  return op === Op.ret ? words[at + 1] : opWords[op];
}
