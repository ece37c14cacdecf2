/**
 * The cold tier: an interpreter of cold code (cold-code.ts), generated from the op table as two WebAssembly functions. The inner
 * one runs everything that needs no call, from block to block along the links and by the jump cache, with its few variables in
 * registers; the outer one (exported as `cold`) does what the inner one hands out: calls, vectors, floating point, and accesses that
 * miss the TLB.
 */
import { assert } from '../base/index.js';
import { type GuestVars, Op, opList, type Routine } from '../ir/index.js';
import { type ColdTierOptions, enterBlock, follow, hop } from './cold-blocks.js';
import { accessOf, CALL_BASE, FUSED, hasImmediateHandler, immediateHandler, isInner, sequences } from './cold-code.js';
import { CODE, LOCALS, SCRATCH, STATE } from './cold-function.js';
import { ColdHandlers } from './cold-handlers.js';
import { wasmOp } from './function-emitter.js';
import type { ModuleExtension, ModuleWriter } from './index.js';
import { kind, opKind } from './op-tables.js';

export type { ColdTierOptions } from './cold-blocks.js';

const OPS = opList.length;
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

  constructor(routines: readonly Routine[], vars: GuestVars, options: ColdTierOptions) {
    this.#routines = routines;
    this.#options = options;
    this.#deferredOffset = vars.deferred.offset;
  }

  define(module: ModuleWriter, functionIndex: (routine: number) => number): void {
    const results = module.type(['i32', 'i32', 'i32'], ['i32', 'i32']);
    const outer = new ColdHandlers(false, this.#routines, functionIndex);
    this.#writeOuter(outer, module.nextFunction + 1);
    module.define(
      module.type(['i32', 'i32'], ['i32']),
      { locals: [...LOCALS, ...outer.resultLocals], body: outer.w, unlikely: outer.unlikely },
      this.routine,
      'optimized',
    );
    const inner = new ColdHandlers(true, this.#routines, functionIndex);
    this.#writeInner(inner);
    assert(inner.w.length <= MOST_INNER_BYTES, `the cold tier's inner function has ${inner.w.length} bytes`);
    // The third parameter takes the scratch local's place.
    module.define(
      results,
      { locals: LOCALS.slice(1), body: inner.w, unlikely: inner.unlikely },
      undefined,
      'optimized',
    );
  }

  /** (state, block) → exit word. */
  #writeOuter(f: ColdHandlers, inner: number): void {
    const { w } = f;
    f.i32(1);
    f.set(SCRATCH);
    w.raw([wasmOp.loop, 0x40]);
    f.get(STATE);
    f.get(CODE);
    f.get(SCRATCH);
    w.u8(wasmOp.call);
    w.u32(inner);
    f.set(CODE);
    f.set(SCRATCH);
    f.get(CODE);
    w.raw([0x45, wasmOp.if, 0x40]);
    f.get(SCRATCH);
    w.raw([wasmOp.return, wasmOp.end]);
    f.i32(0);
    f.set(SCRATCH);
    const bodies: HandlerBody[] = [];
    for (const handler of singleHandlers()) {
      const access = accessOf(handler);
      if (access) bodies.push({ handler, write: () => f.slowAccess(handler, access) });
      else if (!isInner(handler)) bodies.push({ handler, write: () => f.single(handler) });
    }
    for (const routine of this.#routines)
      bodies.push({ handler: CALL_BASE + routine.id, write: () => f.call(routine) });
    const target = bodyOfEach(CALL_BASE + this.#routines.length, bodies);
    // A sequence is handed out for the sake of its first op, with whose words it begins.
    sequences.forEach(([first], i) => {
      target[FUSED + i] = target[first];
    });
    writeBodies(f, target, bodies, 0);
    w.u8(0x00); // a handler that does not exist
    w.u8(wasmOp.end);
    w.u8(0x00);
  }

  /**
   * (state, code, 1: a block starts there) → (exit word, 0), or (0, address of an op for the outer function).
   */
  #writeInner(f: ColdHandlers): void {
    const { w } = f;
    f.get(SCRATCH);
    w.raw([wasmOp.if, 0x40]);
    enterBlock(f, this.#options);
    w.u8(wasmOp.end);
    const bodies: HandlerBody[] = [];
    for (const handler of singleHandlers())
      if (isInner(handler)) bodies.push({ handler, write: () => f.single(handler) });
    sequences.forEach((ops, i) => {
      bodies.push({ handler: FUSED + i, write: () => f.sequence(ops) });
    });
    w.raw([wasmOp.loop, 0x40]);
    // A handler that goes on to another block leaves `follow` with the address of its exit word and link in SCRATCH; or `hop` with the
    // next pc in ADDRESS, its exit word in HOST and 0 in CODE.
    w.raw([wasmOp.block, 0x40, wasmOp.block, 0x40]);
    writeBodies(f, bodyOfEach(CALL_BASE, bodies), bodies, 2);
    f.i32(0);
    f.get(CODE);
    w.u8(wasmOp.return);
    w.u8(wasmOp.end);
    follow(f);
    w.u8(wasmOp.end);
    hop(f, this.#options, this.#deferredOffset);
    w.u8(wasmOp.br);
    w.u32(0);
    w.u8(wasmOp.end);
    w.u8(0x00);
  }
}

interface HandlerBody {
  readonly handler: number;
  write(): void;
}

/** Which body each handler has, by number; the last number: none. */
function bodyOfEach(handlers: number, bodies: readonly HandlerBody[]): Int32Array {
  const target = new Int32Array(handlers).fill(bodies.length);
  bodies.forEach(({ handler }, i) => {
    target[handler] = i;
  });
  return target;
}

/** The jump by handler number, and the bodies, with so many blocks around them in the loop; what follows is for handlers without one. */
function writeBodies(f: ColdHandlers, target: Int32Array, bodies: readonly HandlerBody[], around: number): void {
  const { w } = f;
  const { length } = bodies;
  for (let i = 0; i <= length; i++) w.raw([wasmOp.block, 0x40]);
  f.get(CODE);
  f.memory(0x28, 0);
  w.u8(wasmOp.brTable);
  w.u32(target.length);
  for (const body of target) w.u32(body);
  w.u32(length);
  for (let i = 0; i < length; i++) {
    w.u8(wasmOp.end);
    f.loopDepth = around + length - i;
    f.hopDepth = f.loopDepth - 1;
    f.followDepth = f.loopDepth - 2;
    bodies[i].write();
  }
  w.u8(wasmOp.end);
}
