/**
 * Writes a region as one WebAssembly function (state) → exit word: guest variables in locals, loops as loops, exits that
 * spill.
 */
import { assert } from '../base/index.js';
import {
  type BlockBuilder,
  DEFERRED_UNCHANGED,
  exitCode,
  exitWord,
  fitsExitWord,
  type GuestVars,
  header,
  Op,
  opWords,
  type Routine,
  typeCode,
} from '../ir/index.js';
import { SpanPlanner, type SpanUse } from './access-spans.js';
import { type CodeEnvironment, FunctionEmitter, wasmOp } from './function-emitter.js';
import type { FunctionCode } from './module.js';
import { analyseRegion, type EdgeTargets, type RegionGraph } from './region-graph.js';
import { homeLoad, homeStore } from './routine-emitter.js';
import { SpillPlan } from './spill-plan.js';

/** A block of a region: its IR and where its edges go. */
export interface RegionBlock {
  readonly ir: BlockBuilder;
  /** Position of the terminator in the IR. */
  readonly terminator: number;
  /** Distance from the region's head; host address. */
  readonly delta: number;
  readonly hva: number;
  readonly instructions: number;
  /**
   * Indices of the blocks that a goto or branch goes to, -1 outside. Of a return: where it goes if it returns to the call
   * that the region followed.
   */
  readonly edges: EdgeTargets;
}

/** Guest instructions that a region may run in loops before it lets the dispatcher look around. */
const BUDGET = 4096;

export class RegionEmitter extends FunctionEmitter {
  protected override readonly reuseLocals = true;
  readonly #vars: GuestVars;
  /** Local of each variable the region uses, or -1. */
  readonly #local: Int32Array;
  readonly #spills: SpillPlan;
  /** Level of an exit from here (SpillPlan.group). */
  #level = -1;
  readonly #countInstructions: boolean;
  readonly #spans: SpanPlanner;
  #blocks: readonly RegionBlock[] = [];
  #graph: RegionGraph | undefined;
  /** Of each block, the spans of its accesses; of the block at hand. */
  #plans: readonly (ReadonlyMap<number, SpanUse> | undefined)[] = [];
  #plan: ReadonlyMap<number, SpanUse> | undefined;
  #pc = -1;
  #budget = -1;
  #tlb = -1;
  #tlbMask = -1;
  #exitDepth = 0;
  #delta = 0;
  #deferred = DEFERRED_UNCHANGED;
  /** Deferred variable at each block's start: its value, or DEFERRED_UNCHANGED when its home is right. */
  #deferredIn: number[] = [];
  /** WebAssembly depth of the loop or block that stands for a region block. */
  #loopDepth: number[] = [];
  #mergeDepth: number[] = [];

  constructor(env: CodeEnvironment, vars: GuestVars, countInstructions: boolean) {
    super(env);
    this.#countInstructions = countInstructions;
    this.#vars = vars;
    this.#spans = new SpanPlanner(env.routines, vars.vars.length);
    this.#local = new Int32Array(vars.vars.length);
    this.#spills = new SpillPlan(vars.vars.length);
  }

  emit(blocks: readonly RegionBlock[]): FunctionCode {
    this.reset(1);
    this.#blocks = blocks;
    const graph = (this.#graph = analyseRegion(blocks.map((block) => block.edges)));
    this.#loopDepth = blocks.map(() => 0);
    this.#mergeDepth = blocks.map(() => 0);
    // What leaves before an access has begun its instruction, and would be counted twice.
    this.#plans = this.#countInstructions ? [] : this.#spans.plan(blocks, graph, this.isApart);
    const { usesMemory, usesPc } = this.#survey(graph);
    const hasLoops = graph.isLoopHeader.some((is) => is === 1);
    this.#planDeferred(graph);
    this.#spills.finish();

    this.#loadVars(0);
    this.#pc = this.#budget = this.#tlb = this.#tlbMask = -1;
    if (usesPc) {
      this.#pc = this.newLocal(1);
      this.localGet(0);
      this.memory(0x29, header.pc);
      this.localSet(this.#pc);
    }
    if (usesMemory) {
      this.#tlb = this.newLocal(0);
      this.#tlbMask = this.newLocal(0);
      this.localGet(0);
      this.memory(0x28, header.tlb);
      this.localSet(this.#tlb);
      this.localGet(0);
      this.memory(0x28, header.tlbMask);
      this.localSet(this.#tlbMask);
    }
    if (hasLoops) {
      this.#budget = this.newLocal(0);
      this.i32Const(BUDGET);
      this.localSet(this.#budget);
    }
    const word = this.newLocal(0);
    // An exit leaves the block behind which the groups up to its level are spilled, the last one first.
    for (let group = -1; group < this.#spills.groups; group++) this.open(wasmOp.block, 0x7f);
    this.#exitDepth = this.depth;
    this.#tree(0);
    this.op(0x00); // unreachable: every path has left
    this.close();
    for (let group = this.#spills.groups - 1; group >= 0; group--) {
      this.localSet(word);
      this.#spill(group, group);
      this.localGet(word);
      this.close();
    }
    return { locals: this.locals, body: this.out, unlikely: this.unlikely };
  }

  /** Loads the variables that are first needed in a block. */
  #loadVars(block: number): void {
    for (const { id, type, offset } of this.#vars.vars) {
      if (this.#local[id] < 0 || this.#spills.loadedIn[id] !== block) continue;
      this.localGet(0);
      this.#home(homeLoad[typeCode[type]], offset);
      this.localSet(this.#local[id]);
    }
  }

  /** Stores the variables of some spill groups. */
  #spill(first: number, last: number): void {
    for (const { id, type, offset } of this.#vars.vars) {
      const group = this.#spills.group[id];
      if (this.#local[id] < 0 || group < first || group > last) continue;
      this.localGet(0);
      this.localGet(this.#local[id]);
      this.#home(homeStore[typeCode[type]], offset);
    }
  }

  #home(code: readonly number[], offset: number): void {
    this.out.raw(code);
    this.out.u8(0);
    this.out.u32(offset);
  }

  /** Which variables the blocks use and write, and whether they access memory or their pc. */
  #survey(graph: RegionGraph): { usesMemory: boolean; usesPc: boolean } {
    this.#local.fill(-1);
    this.#spills.begin(graph);
    let usesMemory = false;
    let usesPc = false;
    for (const index of graph.order) {
      const { ir } = this.#blocks[index];
      const { words } = ir;
      for (let at = 0; at < ir.length; ) {
        const op = words[at];
        if (op >= Op.get_i32 && op <= Op.get_v128) this.#use(words[at + 2], index);
        else if (op >= Op.set_i32 && op <= Op.set_v128) {
          this.#use(words[at + 2], index);
          if (words[at + 2] !== this.#vars.deferred.id) this.#spills.write(words[at + 2], index);
        } else if (op === Op.pc_rel || (op === Op.jump && this.#blocks[index].edges[0] >= 0)) usesPc = true;
        else if (op >= Op.guest_load8 && op <= Op.guest_store128) usesMemory = true;
        at += op === Op.call ? words[at + 2] : opWords[op];
      }
      for (const to of graph.edges[index]) usesPc ||= this.#leavesPage(index, to);
    }
    return { usesMemory, usesPc };
  }

  #use(id: number, block: number): void {
    if (id === this.#vars.deferred.id) return;
    if (this.#local[id] < 0) this.#local[id] = this.newLocal(typeCode[this.#vars.vars[id].type]);
    this.#spills.use(id, block);
  }

  /** The deferred variable's last value in a block, or DEFERRED_UNCHANGED. */
  #lastDeferred(block: RegionBlock): number {
    const { ir } = block;
    const { words } = ir;
    let last = DEFERRED_UNCHANGED;
    for (let at = 0; at < ir.length; ) {
      const op = words[at];
      if (op === Op.set_deferred) last = words[at + 1];
      else if (op === Op.call) {
        if (this.env.routines[words[at + 1]].effects.vars === 'write') last = DEFERRED_UNCHANGED;
        at += words[at + 2];
        continue;
      } else if (op === Op.set_i32 && words[at + 2] === this.#vars.deferred.id) last = DEFERRED_UNCHANGED;
      at += opWords[op];
    }
    return last;
  }

  #planDeferred(graph: RegionGraph): void {
    const out = this.#blocks.map(() => DEFERRED_UNCHANGED);
    this.#deferredIn = out.slice();
    for (const index of graph.order) {
      const from = graph.singlePredecessor[index];
      if (from >= 0 && !graph.isLoopHeader[index]) this.#deferredIn[index] = out[from];
      const last = this.#lastDeferred(this.#blocks[index]);
      out[index] = last === DEFERRED_UNCHANGED ? this.#inherit(index) : last;
    }
  }

  /** What a block that never sets the deferred variable hands on. */
  #inherit(index: number): number {
    const { ir } = this.#blocks[index];
    for (let at = 0; at < ir.length; ) {
      const op = ir.words[at];
      if (op === Op.call) {
        if (this.env.routines[ir.words[at + 1]].effects.vars === 'write') return DEFERRED_UNCHANGED;
        at += ir.words[at + 2];
      } else {
        if (op === Op.set_i32 && ir.words[at + 2] === this.#vars.deferred.id) return DEFERRED_UNCHANGED;
        at += opWords[op];
      }
    }
    return this.#deferredIn[index];
  }

  // --- structure
  #tree(index: number): void {
    const graph = this.#graph as RegionGraph;
    if (graph.isLoopHeader[index]) {
      this.open(wasmOp.loop);
      this.#loopDepth[index] = this.depth;
      this.#within(index, graph.mergeChildren[index], 0);
      this.close();
      this.op(0x00);
    } else this.#within(index, graph.mergeChildren[index], 0);
  }

  #within(index: number, children: readonly number[], first: number): void {
    if (first === children.length) {
      this.#block(index);
      return;
    }
    const child = children[first];
    this.open(wasmOp.block);
    this.#mergeDepth[child] = this.depth;
    this.#within(index, children, first + 1);
    this.close();
    this.#tree(child);
  }

  #block(index: number): void {
    const block = this.#blocks[index];
    const { ir, terminator } = block;
    this.#delta = block.delta;
    this.#deferred = this.#deferredIn[index];
    this.#level = this.#spills.levelIn[index];
    if (index !== 0) this.#loadVars(index);
    if (this.#countInstructions) this.#leaveAtLimit(block);
    this.begin(ir.words, 0, ir.length, ir.tempTypes, ir.temps);
    this.#plan = this.#plans[index];
    // Only the first access of a span asks for its address.
    if (this.#plan)
      for (const [at, { isFirst }] of this.#plan)
        if (!isFirst) this.uses[ir.words[at + (ir.words[at] <= Op.guest_load128 ? 2 : 1)]]--;
    this.emitOps(0, terminator);
    this.#terminate(index, ir.words, terminator);
  }

  /** -icount: a block begins only if all of it lies below the limit. */
  #leaveAtLimit(block: RegionBlock): void {
    this.localGet(0);
    this.memory(0x29, header.instructions);
    this.i64Const(block.instructions, 0);
    this.op(0x7c);
    this.localGet(0);
    this.memory(0x29, header.instructionLimit);
    this.op(0x56); // i64.gt_u
    this.open(wasmOp.if);
    this.#exit(exitCode.budget, block.delta);
    this.close();
  }

  #countOne(): void {
    this.localGet(0);
    this.localGet(0);
    this.memory(0x29, header.instructions);
    this.i64Const(1, 0);
    this.op(0x7c);
    this.memory(0x37, header.instructions);
  }

  #terminate(index: number, words: Int32Array, at: number): void {
    const op = words[at];
    const edges = (this.#graph as RegionGraph).edges[index];
    switch (op) {
      case Op.goto:
        this.#edge(index, edges[0], words[at + 1]);
        break;
      case Op.branch:
        this.#branch(index, edges, words, at);
        break;
      case Op.jump:
        this.#jump(index, edges[0], words[at + 1]);
        break;
      case Op.leave:
        this.#exit(words[at + 1], words[at + 2]);
        break;
      case Op.resume:
        this.#exit(words[at + 1], 0);
        break;
      default:
        assert(false, `block ends with op ${op}`);
    }
  }

  /** To an address; if the region follows a return, what was popped is compared with where the call came from. */
  #jump(index: number, to: number, target: number): void {
    if (to < 0) {
      this.localGet(0);
      this.value(target);
      this.memory(0x37, header.pc);
      this.#exit(exitCode.next, 0);
      return;
    }
    const address = this.newLocal(1);
    this.value(target);
    this.localTee(address);
    this.localGet(this.#pc);
    this.i64Const(this.#blocks[to].delta, this.#blocks[to].delta >> 31);
    this.op(0x7c);
    this.localGet(0);
    this.memory(0x29, header.pcMask);
    this.op(0x83);
    this.op(0x52); // i64.ne
    this.openUnlikely();
    this.localGet(0);
    this.localGet(address);
    this.memory(0x37, header.pc);
    this.#exit(exitCode.next, 0);
    this.close();
    this.#edge(index, to, this.#blocks[to].delta);
  }

  #leavesPage(from: number, to: number): boolean {
    return to >= 0 && this.#blocks[from].hva >>> 12 !== this.#blocks[to].hva >>> 12;
  }

  /**
   * The way to another guest page holds only while that page is mapped as it was: looked at again after a TLB flush, and where
   * the region's code is run at another address than before. The cell has the generation and the page number of both.
   */
  #guardPage(from: number, to: number): void {
    if (!this.#leavesPage(from, to)) return;
    const target = this.#blocks[to];
    const cell = this.newCell();
    this.i32Const(cell);
    this.memory(0x28, 0);
    this.localGet(0);
    this.memory(0x28, header.generation);
    this.op(0x73); // i32.xor
    this.i32Const(cell);
    this.memory(0x28, 4);
    this.localGet(this.#pc);
    this.i64Const(12, 0);
    this.op(0x88); // i64.shr_u
    this.op(0xa7); // i32.wrap_i64
    this.op(0x73);
    this.op(0x72); // i32.or
    this.openUnlikely();
    this.localGet(0);
    this.i32Const(target.delta);
    this.i32Const(target.hva);
    this.i32Const(this.pageKey);
    this.i32Const(cell);
    this.op(wasmOp.call);
    this.out.u32(this.env.functionIndex(this.env.verifyEdge));
    this.op(0x45);
    this.open(wasmOp.if);
    this.#exit(exitCode.next, target.delta);
    this.close();
    this.close();
  }

  protected override spanUse(at: number): SpanUse | undefined {
    return this.#plan?.get(at);
  }

  /** The instruction at a host address makes its accesses one by one. */
  isApart: (hva: number) => boolean = () => false;

  /** What the pages of the region's code have in its key. */
  pageKey = 0;

  /** Gives addresses of pairs of words that are 0 at first, one for each edge between pages. */
  newCell: () => number = () => this.unknown(Op.goto);

  #branch(index: number, edges: EdgeTargets, words: Int32Array, at: number): void {
    const [taken, fall] = edges;
    const deltas = [words[at + 2], words[at + 3]];
    if (taken < 0 && fall < 0 && fitsExitWord(deltas[0]) && fitsExitWord(deltas[1])) {
      this.i32Const(exitWord(exitCode.next, deltas[0], this.#deferred));
      this.i32Const(exitWord(exitCode.next, deltas[1], this.#deferred));
      this.value(words[at + 1]);
      this.op(wasmOp.select);
      this.#brExit();
      return;
    }
    this.value(words[at + 1]);
    const deferred = this.#deferred;
    const level = this.#level;
    // The side that leaves, or the one that is reached by a jump, goes into the `if`; the other follows.
    const fallInside = fall < 0 || (taken >= 0 && this.#isJump(index, fall) && !this.#isJump(index, taken));
    if (fallInside) this.op(0x45); // i32.eqz
    this.open(wasmOp.if);
    this.#edge(index, fallInside ? fall : taken, deltas[fallInside ? 1 : 0]);
    this.close();
    this.#deferred = deferred;
    this.#level = level;
    this.#edge(index, fallInside ? taken : fall, deltas[fallInside ? 0 : 1]);
  }

  /** Is the edge a jump to code that is written elsewhere (a loop's start or a merge), not code that follows in place? */
  #isJump(from: number, to: number): boolean {
    const graph = this.#graph as RegionGraph;
    return graph.position[to] <= graph.position[from] || graph.isMerge[to] === 1;
  }

  #edge(from: number, to: number, delta: number): void {
    if (to < 0) {
      this.#exit(exitCode.next, delta);
      return;
    }
    const graph = this.#graph as RegionGraph;
    this.#guardPage(from, to);
    if (this.#deferred !== DEFERRED_UNCHANGED && this.#deferredIn[to] !== this.#deferred) {
      this.localGet(0);
      this.i32Const(this.#deferred);
      this.memory(0x36, this.#vars.deferred.offset);
      this.#deferred = DEFERRED_UNCHANGED;
    }
    if (graph.position[to] <= graph.position[from]) {
      let instructions = 0;
      for (let i = graph.position[to]; i <= graph.position[from]; i++)
        instructions += this.#blocks[graph.order[i]].instructions;
      this.localGet(this.#budget);
      this.i32Const(instructions);
      this.op(0x6b);
      this.localTee(this.#budget);
      this.i32Const(0);
      this.op(0x4e); // i32.ge_s
      this.op(wasmOp.brIf);
      this.out.u32(this.depth - this.#loopDepth[to]);
      this.#exit(exitCode.budget, this.#blocks[to].delta);
    } else if (graph.isMerge[to]) {
      this.op(wasmOp.br);
      this.out.u32(this.depth - this.#mergeDepth[to]);
    } else this.#tree(to);
  }

  #exit(code: number, delta: number): void {
    const near = fitsExitWord(delta);
    if (!near) {
      this.localGet(0);
      this.localGet(0);
      this.memory(0x29, header.pc);
      this.i64Const(delta, delta >> 31);
      this.op(0x7c);
      this.memory(0x37, header.pc);
    }
    this.i32Const(exitWord(code, near ? delta : 0, this.#deferred));
    this.#brExit();
  }

  #brExit(): void {
    this.op(wasmOp.br);
    this.out.u32(this.depth - this.#exitDepth + this.#spills.groups - 1 - this.#level);
  }

  // --- hooks
  protected override faultExit(): void {
    this.#exit(exitCode.fault, this.#delta);
  }

  protected override varLocal(id: number): number {
    return id === this.#vars.deferred.id ? -1 : this.#local[id];
  }

  protected override varWritten(id: number): void {
    this.#level = Math.max(this.#level, this.#spills.group[id]);
  }

  /** Only the deferred variable has no local. */
  protected override readVarHome(): void {
    if (this.#deferred !== DEFERRED_UNCHANGED) this.i32Const(this.#deferred);
    else {
      this.localGet(0);
      this.memory(0x28, this.#vars.deferred.offset);
    }
  }

  protected override writeVarHome(_id: number, emitValue: () => void): void {
    this.localGet(0);
    emitValue();
    this.memory(0x36, this.#vars.deferred.offset);
    this.#deferred = DEFERRED_UNCHANGED;
  }

  protected override mutableLocal(): number {
    return this.unknown(Op.local_i32);
  }

  protected override tlbLocal(what: 'tlb' | 'mask', mmu: number): number {
    if (mmu !== 0) return -1;
    return what === 'tlb' ? this.#tlb : this.#tlbMask;
  }

  protected override beforeCall(routine: Routine): void {
    if (routine.effects.vars === 'none') return;
    this.#spill(0, this.#level);
    if (this.#deferred !== DEFERRED_UNCHANGED) {
      this.localGet(0);
      this.i32Const(this.#deferred);
      this.memory(0x36, this.#vars.deferred.offset);
    }
  }

  protected override afterCall(routine: Routine): void {
    if (routine.effects.vars !== 'write') return;
    this.#deferred = DEFERRED_UNCHANGED;
    for (const { id, type, offset } of this.#vars.vars) {
      const local = this.#local[id];
      if (local < 0) continue;
      this.saveAliases(local);
      this.localGet(0);
      this.#home(homeLoad[typeCode[type]], offset);
      this.localSet(local);
    }
  }

  protected override special(op: number, at: number): void {
    const { words } = this;
    switch (op) {
      case Op.state:
        this.localGet(0);
        break;
      case Op.pc_rel:
        this.localGet(this.#pc);
        if (words[at + 2] !== 0) {
          this.i64Const(words[at + 2], words[at + 2] >> 31);
          this.op(0x7c);
        }
        break;
      case Op.insn:
        this.#delta = words[at + 1];
        if (this.#countInstructions) this.#countOne();
        break;
      case Op.set_deferred:
        this.#deferred = words[at + 1];
        break;
      case Op.call_note:
        break;
      case Op.fence:
        this.out.raw([0xfe, 0x03, 0]);
        break;
      default:
        this.unknown(op);
    }
  }
}
