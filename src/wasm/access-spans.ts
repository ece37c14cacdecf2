/**
 * Guest accesses of a region that lie near each other: at constant distances from one value, as the fields of a structure and the
 * slots of a stack frame do. The first of them looks into the TLB for the whole *span*; those that follow it on every way there
 * use the host address that it found. Kernel code has more than half of its accesses in common with an earlier one.
 *
 * A span holds within one page, or two that follow each other in the host too, and if one of its accesses stores, where that is
 * possible in place. Where that is not so the first access leaves the region before its instruction (`APART`); where that happens
 * often the code is written again without.
 * A device that turns RAM or ROM into registers, because of a store in the middle of a span, is seen behind the span only.
 */
import { access, type BlockBuilder, Op, opWords, type Routine } from '../ir/index.js';
import { accessBytes } from './op-tables.js';

/** Bytes of a span at most: a long one runs over the end of its page more often. */
const MOST_BYTES = 128;
/** Spans that are kept in mind at a time. */
const MOST_OPEN = 16;

export interface Span {
  /** First byte, and the byte behind the last one, from the value that all addresses are made of. */
  lo: number;
  hi: number;
  /** It must be possible to store to it. */
  write: boolean;
  /** Accesses that belong to it. */
  uses: number;
  /** All of them are in one block. */
  inOneBlock: boolean;
  /** For whoever writes the code: the local that has the host address of `lo`, and accesses that are still to come. */
  local: number;
  left: number;
}

/** An access that belongs to a span: its place, from the same value. */
export interface SpanUse {
  readonly span: Span;
  readonly offset: number;
  readonly isFirst: boolean;
}

export interface SpanBlock {
  readonly ir: BlockBuilder;
  /** As RegionBlock's. */
  readonly delta: number;
  readonly hva: number;
}

export interface SpanOrder {
  /** Blocks, each behind those that lead to it, but for loops; the place of each there. */
  readonly order: readonly number[];
  readonly position: readonly number[];
  readonly isLoopHeader: readonly number[];
  readonly edges: readonly (readonly [number, number])[];
}

/** What `slow_span` must know of a span beside the access that asks. */
export const spanShapeBits = {
  /** Bytes of the span before the access; all its bytes. */
  before: { shift: 0, mask: 255 },
  bytes: { shift: 8, mask: 255 },
  /** It must be possible to store to all of it; the access itself stores. */
  write: 1 << 16,
  isStore: 1 << 17,
} as const;

export function spanShape(before: number, span: Span, isStore: boolean): number {
  const { write, isStore: store, bytes } = spanShapeBits;
  return before | ((span.hi - span.lo) << bytes.shift) | (span.write ? write : 0) | (isStore ? store : 0);
}

interface OpenSpan extends Span {
  readonly root: number;
  readonly block: number;
}

/**
 * Roots are numbers: the values that addresses are made of by adding constants. An odd one stands for the low 32 bits of the even one
 * below it; to that, constants are added modulo 2^32. Within a page both ways of counting agree.
 */
const NARROW = 1;

export class SpanPlanner {
  readonly #routines: readonly Routine[];
  readonly #vars: number;
  #root = new Int32Array(256);
  #offset = new Int32Array(256);
  #isConstant = new Uint8Array(256);
  #constant = new Int32Array(256);
  #nextRoot = 2;
  /** Roots of variables by id, 0: unknown; and their offsets. First in the block at hand, then a row for what holds where each begins. */
  #varRoot = new Int32Array(0);
  #varOffset = new Int32Array(0);
  /** Of the block at hand. */
  #open: OpenSpan[] = [];
  #plan: Map<number, SpanUse> | undefined;

  constructor(routines: readonly Routine[], vars: number) {
    this.#routines = routines;
    this.#vars = vars;
  }

  /** Of each block: by the place of an access's op in the IR, the span it belongs to; undefined: no access does. `isApart`: the instruction at a host address has none. */
  plan(
    blocks: readonly SpanBlock[],
    { order, position, isLoopHeader, edges }: SpanOrder,
    isApart: (hva: number) => boolean,
  ): readonly (ReadonlyMap<number, SpanUse> | undefined)[] {
    this.#nextRoot = 2;
    const plans: (Map<number, SpanUse> | undefined)[] = blocks.map(() => undefined);
    const rows = (blocks.length + 1) * this.#vars;
    if (this.#varRoot.length < rows) {
      this.#varRoot = new Int32Array(2 * rows);
      this.#varOffset = new Int32Array(2 * rows);
    }
    /** Spans that are open where a block begins, as far as the ways to it have been seen; undefined: none has been. */
    const before: (readonly OpenSpan[] | undefined)[] = blocks.map(() => undefined);
    for (const index of order) {
      this.#plan = undefined;
      this.#recall(index, before[index]);
      this.#block(blocks[index], index, isApart);
      plans[index] = this.#plan;
      for (const to of edges[index])
        if (to >= 0 && position[to] > position[index] && !isLoopHeader[to]) before[to] = this.#meet(to, before[to]);
    }
    for (const plan of plans) if (plan) for (const [at, { span }] of plan) if (span.uses < 2) plan.delete(at);
    return plans;
  }

  /** A block begins, with what holds there; `open` undefined: nothing. */
  #recall(index: number, open: readonly OpenSpan[] | undefined): void {
    const vars = this.#vars;
    this.#open = open?.slice() ?? [];
    if (open === undefined) {
      this.#varRoot.fill(0, 0, vars);
      return;
    }
    const row = (index + 1) * vars;
    this.#varRoot.copyWithin(0, row, row + vars);
    this.#varOffset.copyWithin(0, row, row + vars);
  }

  /** Notes what holds on the ways to a block that have been seen, and on the one from here; gives the spans. */
  #meet(index: number, open: readonly OpenSpan[] | undefined): readonly OpenSpan[] {
    const vars = this.#vars;
    const roots = this.#varRoot;
    const offsets = this.#varOffset;
    const row = (index + 1) * vars;
    if (open === undefined) {
      roots.copyWithin(row, 0, vars);
      offsets.copyWithin(row, 0, vars);
      return this.#open;
    }
    for (let id = 0; id < vars; id++)
      if (roots[row + id] !== roots[id] || offsets[row + id] !== offsets[id]) roots[row + id] = 0;
    return open.filter((span) => this.#open.includes(span));
  }

  #block({ ir, delta, hva }: SpanBlock, index: number, isApart: (hva: number) => boolean): void {
    const { words, length } = ir;
    this.#begin(ir.temps);
    const varRoot = this.#varRoot;
    const varOffset = this.#varOffset;
    let instruction = hva;
    let isFirst = true;
    for (let at = 0; at < length; ) {
      const op = words[at];
      if (op === Op.call) {
        const { effects } = this.#routines[words[at + 1]];
        if (!effects.pure && !effects.keepsAddresses) this.#open = [];
        if (effects.vars === 'write') varRoot.fill(0, 0, this.#vars);
        at += words[at + 2];
        continue;
      }
      if (op === Op.insn) {
        instruction = hva + words[at + 1] - delta;
        isFirst = true;
      } else if (op === Op.get_i64 || op === Op.get_i32) {
        const id = words[at + 2];
        if (varRoot[id] === 0) {
          varRoot[id] = this.#fresh(op === Op.get_i32 ? NARROW : 0);
          varOffset[id] = 0;
        }
        this.#root[words[at + 1]] = varRoot[id];
        this.#offset[words[at + 1]] = varOffset[id];
      } else if (op >= Op.set_i32 && op <= Op.set_v128) {
        const id = words[at + 2];
        const isAddress = op === Op.set_i64 || op === Op.set_i32;
        varRoot[id] = isAddress ? this.#rootOf(words[at + 1], op === Op.set_i32 ? NARROW : 0) : 0;
        varOffset[id] = isAddress ? this.#offset[words[at + 1]] : 0;
      } else if (accessBytes[op] > 0) {
        const isLoad = op <= Op.guest_load128;
        const bits = words[at + 3];
        // Where code runs on to another page its host address there is not known.
        const isOnPage = (instruction ^ hva) >>> 12 === 0;
        if ((bits & access.mmuMask) === 0 && isOnPage && !isApart(instruction)) {
          const write = !isLoad || (bits & access.forWrite) !== 0;
          // What has been read from a device must not be read again: only an instruction's first access may leave.
          const use = this.#join(index, words[at + (isLoad ? 2 : 1)], accessBytes[op], write, isFirst);
          if (this.#open.length > MOST_OPEN) this.#open.shift();
          if (use) (this.#plan ??= new Map()).set(at, use);
        }
        isFirst = false;
      } else this.#derive(op, words, at);
      at += opWords[op];
    }
  }

  #begin(temps: number): void {
    if (this.#root.length < temps) {
      this.#root = new Int32Array(temps * 2);
      this.#offset = new Int32Array(temps * 2);
      this.#isConstant = new Uint8Array(temps * 2);
      this.#constant = new Int32Array(temps * 2);
      return;
    }
    this.#root.fill(0, 0, temps);
    this.#isConstant.fill(0, 0, temps);
  }

  #fresh(kind: number): number {
    const root = this.#nextRoot + kind;
    this.#nextRoot += 2;
    return root;
  }

  #rootOf(temp: number, kind: number): number {
    if (this.#root[temp] === 0) {
      this.#root[temp] = this.#fresh(kind);
      this.#offset[temp] = 0;
    }
    return this.#root[temp];
  }

  /** What an op's result is made of, if that is a value and a constant. */
  #derive(op: number, words: Int32Array, at: number): void {
    const result = words[at + 1];
    switch (op) {
      case Op.const_i64:
        if (words[at + 3] !== words[at + 2] >> 31) return;
        this.#isConstant[result] = 1;
        this.#constant[result] = words[at + 2];
        return;
      case Op.const_i32:
        this.#isConstant[result] = 1;
        this.#constant[result] = words[at + 2];
        return;
      case Op.i64_add:
        this.#add(result, words[at + 2], words[at + 3], 1, 0);
        return;
      case Op.i64_sub:
        this.#add(result, words[at + 2], words[at + 3], -1, 0);
        return;
      case Op.i32_add:
        this.#add(result, words[at + 2], words[at + 3], 1, NARROW);
        return;
      case Op.i32_sub:
        this.#add(result, words[at + 2], words[at + 3], -1, NARROW);
        return;
      case Op.i32_wrap_i64:
      case Op.i64_low32:
        this.#root[result] = this.#rootOf(words[at + 2], 0) | NARROW;
        this.#offset[result] = this.#offset[words[at + 2]];
        return;
      case Op.i64_extend_i32_u:
        this.#root[result] = this.#rootOf(words[at + 2], NARROW);
        this.#offset[result] = this.#offset[words[at + 2]];
        return;
      default:
    }
  }

  #add(result: number, a: number, b: number, sign: number, kind: number): void {
    const swap = sign > 0 && this.#isConstant[a] === 1;
    const value = swap ? b : a;
    const constant = swap ? a : b;
    if (this.#isConstant[constant] === 0 || this.#isConstant[value] === 1) return;
    const root = this.#rootOf(value, kind);
    // What has been made of 32 bits is added to in 32 bits only.
    if ((root & NARROW) !== kind) return;
    const sum = this.#offset[value] + sign * this.#constant[constant];
    if (kind === 0 && sum !== (sum | 0)) return;
    this.#root[result] = root;
    this.#offset[result] = sum | 0;
  }

  /** Puts an access into an open span, or opens one if it may. */
  #join(block: number, address: number, bytes: number, write: boolean, mayOpen: boolean): SpanUse | undefined {
    const root = this.#rootOf(address, 0);
    const offset = this.#offset[address];
    for (const span of this.#open) {
      if (span.root !== root || (write && !span.write && span.block !== block)) continue;
      const lo = Math.min(span.lo, offset);
      const hi = Math.max(span.hi, offset + bytes);
      if (hi - lo > MOST_BYTES) continue;
      span.lo = lo;
      span.hi = hi;
      span.write ||= write;
      span.uses++;
      span.left++;
      span.inOneBlock &&= span.block === block;
      return { span, offset, isFirst: false };
    }
    if (!mayOpen) return undefined;
    const span: OpenSpan = {
      root,
      block,
      lo: offset,
      hi: offset + bytes,
      write,
      uses: 1,
      inOneBlock: true,
      local: -1,
      left: 1,
    };
    this.#open.push(span);
    return { span, offset, isFirst: true };
  }
}
