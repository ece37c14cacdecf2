/**
 * Cold code: serialized IR, as the cold tier (cold-tier.ts) runs it. A row of 32-bit words in the machine's memory: the block's
 * header (coldHeader), then the ops: handler number, offset of the result's slot, offsets of the operands' slots, immediates.
 * Slots lie in the vCPU's state: a guest variable is its own slot, temps have theirs behind the state. An op whose last operand
 * is a small constant has a second handler that takes it from the code. Ops that may leave carry their exit word last; a way
 * to another block (goto, branch) has a second word behind its exit word, the link: the address of that block's cold code if it
 * lies on the same guest page and is known, else 0 or less.
 */
import { assert } from '../base/index.js';
import { Op, opList, opNames, type Routine } from '../ir/index.js';
import { sequenceNames } from './cold-sequences.js';
import { encodings, kind, opEncoding, opKind } from './op-tables.js';

/**
 * `count`: how often the block has been entered. `number` is the engine's. `lastJump`: offset of the word in which a block that
 * ends with a jump to an address keeps how far it went the last time (low 32 bits; 0: never), or 0. `key`: the mode key that
 * the code was made for; links are followed only while it is the vCPU's. `region`: index in the code table of the region that
 * begins with the block, or 0. `ir`, `irWords`: where the IR that the code was made of lies, packed, from the code's start on, and how
 * many words it has (0: none is kept).
 */
export const coldHeader = {
  count: 0,
  instructions: 4,
  number: 8,
  lastJump: 12,
  key: 16,
  region: 20,
  ir: 24,
  irWords: 28,
} as const;
export const COLD_HEADER_BYTES = 32;

const OPS = opList.length;
/** Handler of an op whose last operand is a 32-bit constant in the code (sign-extended for i64). */
export function immediateHandler(op: number): number {
  return OPS + op;
}
/** Guest loads that fault as writes, five by size. */
export const LOAD_FOR_WRITE = 2 * OPS;
/** Accesses in a named MMU context, always by the slow path: five loads, five stores. */
export const SLOW_ACCESS = LOAD_FOR_WRITE + 5;
/** Accesses whose address is a slot plus a constant: five loads, five stores. */
export const DISPLACED = SLOW_ACCESS + 10;
/** Loads of one, two and four bytes into an i64, then the same at a slot plus a constant. */
export const EXTENDED = DISPLACED + 10;
/** goto and branch to distances that no exit word can hold. */
export const FAR_GOTO = EXTENDED + 6;
export const FAR_BRANCH = FAR_GOTO + 1;
/** Several ops in one handler: see sequences. */
export const FUSED = FAR_GOTO + 2;
/** Handler of a call: this plus the routine's id. */
export const CALL_BASE = FUSED + sequenceNames.length;

export const guestLoads = [Op.guest_load8, Op.guest_load16, Op.guest_load32, Op.guest_load64, Op.guest_load128];
export const guestStores = [Op.guest_store8, Op.guest_store16, Op.guest_store32, Op.guest_store64, Op.guest_store128];

/** Has the op a handler with an immediate last operand? */
export const hasImmediateHandler = Uint8Array.from(opList, (row, op) => {
  const last = row.params[row.params.length - 1];
  if (last !== 'i32' && last !== 'i64') return 0;
  if (opKind[op] === kind.special) return op >= Op.set_i32 && op <= Op.set_i64 ? 1 : 0;
  return row.params.length >= 2 && opEncoding[op] !== encodings.lane ? 1 : 0;
});

/** A guest access of the cold tier. `sizeLog2`: 0 to 4. `extended`: into an i64. `named`: in an MMU context that the access names. */
export interface ColdAccess {
  readonly store: boolean;
  readonly sizeLog2: number;
  readonly displaced: boolean;
  readonly extended: boolean;
  readonly forWrite: boolean;
  readonly named: boolean;
}

/** The access that a handler makes, if it is one. */
export function accessOf(handler: number): ColdAccess | undefined {
  const plain = { store: false, sizeLog2: 0, displaced: false, extended: false, forWrite: false, named: false };
  if (handler < OPS) {
    const load = guestLoads.indexOf(handler);
    if (load >= 0) return { ...plain, sizeLog2: load };
    const store = guestStores.indexOf(handler);
    return store >= 0 ? { ...plain, store: true, sizeLog2: store } : undefined;
  }
  if (handler < LOAD_FOR_WRITE || handler >= FAR_GOTO) return undefined;
  if (handler < SLOW_ACCESS) return { ...plain, forWrite: true, sizeLog2: handler - LOAD_FOR_WRITE };
  if (handler < DISPLACED) {
    const i = handler - SLOW_ACCESS;
    return { ...plain, named: true, store: i >= 5, sizeLog2: i % 5 };
  }
  if (handler < EXTENDED) {
    const i = handler - DISPLACED;
    return { ...plain, displaced: true, store: i >= 5, sizeLog2: i % 5 };
  }
  const i = handler - EXTENDED;
  return { ...plain, extended: true, displaced: i >= 3, sizeLog2: i % 3 };
}

const CONSTANT_WORDS = [1, 2, 1, 2, 4];

function opCodeWords(op: number): number {
  const { result, params, immediates } = opList[op];
  if (opKind[op] === kind.constant) return 2 + CONSTANT_WORDS[op - Op.const_i32];
  if (opKind[op] !== kind.special) return 1 + (result ? 1 : 0) + params.length + immediates;
  if (op >= Op.get_i32 && op <= Op.set_v128) return 3;
  switch (op) {
    case Op.state:
    case Op.leave:
    case Op.resume:
      return 2;
    case Op.pc_rel:
    case Op.goto:
      return 3;
    case Op.trap_if:
    case Op.jump:
      return 4;
    case Op.branch:
      return 6;
    default:
      return 1;
  }
}

/** Words of an op, handler number included; `handler` is no call. */
export function handlerWords(handler: number): number {
  const access = accessOf(handler);
  if (access) return access.displaced ? 6 : 5;
  if (handler < LOAD_FOR_WRITE) return opCodeWords(handler < OPS ? handler : handler - OPS);
  return handler === FAR_GOTO ? 3 : 5;
}

/** Words of a call of a routine: results, arguments, an exit word if it may fault. */
export function callWords({ results, params, effects }: Routine): number {
  return 1 + results.length + params.length + (effects.mayFault ? 1 : 0);
}

/** Halves of a vector: pairs of registers are loaded and stored in one access. */
const halves = new Set<number>([Op.i64x2_splat, Op.i64x2_extract_lane, Op.i64x2_replace_lane]);
const scalar = (type: string | undefined) => type === undefined || type === 'i32' || type === 'i64';

/**
 * Is the handler part of the inner function, which calls nothing, so that all it works with stays in registers? Integers, copies
 * and accesses are; floating point, vectors (but for their halves) and calls are not.
 */
export function isInner(handler: number): boolean {
  const access = accessOf(handler);
  if (access) return !access.named;
  if (handler >= LOAD_FOR_WRITE) return handler < CALL_BASE;
  const op = handler < OPS ? handler : handler - OPS;
  if (handler >= OPS && hasImmediateHandler[op] === 0) return false;
  if (op === Op.get_v128 || halves.has(handler)) return true;
  if (op >= Op.set_i32 && op <= Op.set_v128) return handler >= OPS;
  const { result, params } = opList[op];
  return scalar(result) && params.every(scalar) && op !== Op.fence && op !== Op.call && op !== Op.call_note;
}

/** Names of handlers, for counters, dumps, and the table of pairs. */
export function handlerName(handler: number, routines: readonly Routine[]): string {
  if (handler < OPS) return opNames[handler];
  if (handler < LOAD_FOR_WRITE) return `${opNames[handler - OPS]} imm`;
  const access = accessOf(handler);
  if (access) {
    const name = opNames[(access.store ? guestStores : guestLoads)[access.sizeLog2]];
    return `${name}${access.displaced ? ' displaced' : ''}${access.extended ? ' extended' : ''}${access.forWrite ? ' for write' : ''}${access.named ? ' named' : ''}`;
  }
  if (handler < FUSED) return handler === FAR_GOTO ? 'goto far' : 'branch far';
  if (handler < CALL_BASE) return sequenceNames[handler - FUSED];
  return `call ${routines[handler - CALL_BASE].name}`;
}

const byName = new Map<string, number>();
for (let handler = 0; handler < FUSED; handler++) {
  const name = handlerName(handler, []);
  if (!byName.has(name)) byName.set(name, handler);
}

/** The ops of each handler from FUSED on. */
export const sequences: readonly (readonly number[])[] = sequenceNames.map((names) =>
  names.split(' + ').map((name) => {
    const handler = byName.get(name);
    assert(handler !== undefined, name);
    return handler;
  }),
);

/** Rows and columns of `fusedHandler`, by handler: what a sequence begins with, and its last op; 0: there is none. */
const fusedRow = new Uint8Array(CALL_BASE);
const fusedColumn = new Uint8Array(CALL_BASE);
const beginnings = new Map(sequences.map((ops, i) => [ops.join(), FUSED + i]));
const COLUMNS = 64;
let rows = 0;
let columns = 0;
const fusedHandler = new Uint16Array(256 * COLUMNS);
sequences.forEach((ops, i) => {
  const last = ops[ops.length - 1];
  const beginning = ops.length === 2 ? ops[0] : beginnings.get(ops.slice(0, -1).join());
  assert(beginning !== undefined, sequenceNames[i]);
  if (fusedRow[beginning] === 0) fusedRow[beginning] = ++rows;
  if (fusedColumn[last] === 0) fusedColumn[last] = ++columns;
  assert(rows < 256 && columns < COLUMNS, 'too many sequences');
  fusedHandler[fusedRow[beginning] * COLUMNS + fusedColumn[last]] = FUSED + i;
});

/** The handler that does what `first` does (one op or several), then the op `second`; or 0. */
export function fuse(first: number, second: number): number {
  if (first >= CALL_BASE || second >= FUSED) return 0;
  return fusedHandler[fusedRow[first] * COLUMNS + fusedColumn[second]];
}
