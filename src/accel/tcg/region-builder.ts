/**
 * Chooses what to compile with a hot block, and writes regions in batches: one WebAssembly module for many regions. It sees the
 * machine through shared memory alone, so that it can work in a thread of its own, and translates nothing: the IR of each block
 * lies beside its code for the cold tier. What it finds may change under it, so it says which blocks a region was made of: whoever
 * installs it looks whether all of them still stand.
 */
import { assert } from '../../base/index.js';
import {
  BlockBuilder,
  type GuestVars,
  jumpKind,
  MMU_CONTEXTS,
  MOST_DISTANCE,
  type MovedBlock,
  moveBlock,
  Op,
  opWords,
  type Routine,
  TLB_ENTRY_SHIFT,
  type TypeName,
  tlbEntry,
} from '../../ir/index.js';
import { coldHeader, ModuleWriter, type RegionBlock, RegionEmitter, slowPathIds } from '../../wasm/index.js';
import { ApartSites } from './apart-sites.js';
import { codeHash } from './dispatcher.js';
import {
  CODE_HASH_BYTES,
  CODE_HASH_ENTRIES,
  EDGE_CELL_RESERVE,
  GUARDED_KEY,
  hashEntry,
  layout,
  TLB_BYTES,
  TLB_ENTRIES,
} from './layout.js';
import type { HotBlock } from './region-queue.js';
import { ENTRY_FLAGS, entryFlag } from './softmmu.js';

/** Guest instructions in a region at most: beyond some 250 V8's optimizer slows down out of proportion. */
const MAX_INSTRUCTIONS = 200;
const MAX_BLOCKS = 40;
/** Calls within calls that a region follows. */
const MAX_CALL_DEPTH = 2;
/** A successor joins a region if it has been entered at least this share of the threshold. */
const JOIN_SHARE = 8;
/** The same for a block that a call leads to; and how large a region may be that still follows calls. */
const CALL_SHARE = 2;
const MAX_INSTRUCTIONS_FOR_CALLS = { first: 48, large: 160 } as const;

/** How many times cooler than the hottest a block may be to be written with it. */
const COOLER = 4;

/** What regions must know of a guest's code: plain data (the routines without their bodies). */
export interface RegionCode {
  readonly vars: GuestVars;
  readonly routines: readonly Routine[];
}

/** What is needed to write regions for a machine; can be sent to another thread. */
export interface RegionSetup {
  readonly code: RegionCode;
  readonly memory: WebAssembly.Memory;
  readonly memoryPages: number;
  readonly hotThreshold: number;
  readonly countInstructions: boolean;
  readonly keepBytes: boolean;
}

export interface BuiltModule {
  readonly epoch: number;
  /** The words for edges between pages are used up: only a flush of all code gives them back. */
  readonly full: boolean;
  /** Undefined: all heads were dismissed. */
  readonly module: WebAssembly.Module | undefined;
  readonly size: number;
  /** What the module was made of, if the setup asks for it. */
  readonly bytes: Uint8Array | undefined;
  /** How many; the function of each is exported by its place among them. */
  readonly regions: number;
  /**
   * What was made, in one piece, as it goes from thread to thread for each module. How many heads get no region now, and
   * HotBlock.id of each (they have been dropped, or are part of another region already). Then each region: HotBlock.id, 1 if it is large, guest instructions, and the list of the numbers of the blocks
   * it was made of, its head first.
   */
  readonly contents: Int32Array;
}

/** A piece of code of a region: distance from its head, host address, and the returns of the calls it is in, outermost first. */
interface Place {
  readonly delta: number;
  readonly hva: number;
  readonly returns: readonly number[];
}

/** Names a place within its region. */
function nameOf({ delta, returns }: Place): number | string {
  return returns.length === 0 ? delta : `${delta}/${returns.join('/')}`;
}

/** A block chosen for a region, before it is laid out. */
interface Candidate extends Place {
  /** The block's number in the code cache. */
  readonly number: number;
  /** The block ends with a call: the distance it returns to. */
  readonly calls: number | undefined;
  /** The block ends with a jump to an address: how far it went the last time, or 0 when that is not known. */
  readonly lastJump: number;
  readonly ir: BlockBuilder;
  readonly terminator: number;
  readonly instructions: number;
  /** Where it leads (RegionBuilder.#targets). */
  targets: readonly Place[];
  edges: [number, number];
}

export class RegionBuilder {
  readonly #setup: RegionSetup;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #apart: ApartSites;
  readonly #builders: BlockBuilder[] = [];
  /** Builders in use by the batch under way. */
  #used = 0;
  readonly #moved: MovedBlock = { terminator: 0, calls: undefined };
  #cells: number;
  /**
   * Blocks that are part of a region but not its head: mode keys by host address. All blocks of a loop become hot in the same
   * round; one region serves them all. A block that asks once more is entered from elsewhere and gets its own.
   */
  readonly #covered = new Map<number, number>();
  /** Of the newest head so far; -1: there was none. */
  #epoch = -1;
  readonly #compile: (bytes: Uint8Array<ArrayBuffer>, busy: boolean) => WebAssembly.Module;
  readonly #ids: ReturnType<typeof slowPathIds>;
  readonly #emitter: RegionEmitter;
  /** Types of the routines' parameters, by id, the state's address first. */
  readonly #params: readonly (readonly TypeName[])[];
  /** Of the module that is written: index of each routine, or -1. */
  readonly #imported: Int32Array;

  /**
   * `firstCell`: where the words for edges that another builder has used end. `compile`: makes a module; `busy`: what is in it takes the
   * place of regions that were entered very often.
   */
  constructor(
    setup: RegionSetup,
    firstCell: number = layout.edgeCells,
    compile: (bytes: Uint8Array<ArrayBuffer>, busy: boolean) => WebAssembly.Module = (bytes) =>
      new WebAssembly.Module(bytes),
  ) {
    this.#compile = compile;
    this.#setup = setup;
    this.#cells = firstCell;
    this.#words = new Int32Array(setup.memory.buffer);
    this.#bytes = new Uint8Array(setup.memory.buffer);
    this.#view = new DataView(setup.memory.buffer);
    this.#apart = new ApartSites(setup.memory.buffer as SharedArrayBuffer);
    const { routines, vars } = setup.code;
    this.#params = routines.map(({ params }) => ['i32', ...params]);
    this.#imported = new Int32Array(routines.length);
    this.#ids = slowPathIds(routines);
    const functionIndex = (id: number) => this.#imported[id];
    this.#emitter = new RegionEmitter({ routines, functionIndex, ...this.#ids }, vars, setup.countInstructions);
    this.#emitter.newCell = () => this.#newCell();
    this.#emitter.isApart = (hva) => this.#apart.has(hva);
  }

  /** Where the next word for an edge will lie. */
  get nextCell(): number {
    return this.#cells;
  }

  get #isFull(): boolean {
    return this.#cells > layout.edgeCellsEnd - EDGE_CELL_RESERVE;
  }

  /** Writes the regions of all heads that are still of the newest epoch; undefined if there is none. */
  build(waiting: readonly HotBlock[]): BuiltModule | undefined {
    const epoch = waiting.reduce((newest, block) => Math.max(newest, block.epoch), this.#epoch);
    if (epoch !== this.#epoch) {
      if (this.#epoch >= 0) this.#cells = layout.edgeCells;
      this.#epoch = epoch;
      this.#covered.clear();
    }
    if (this.#isFull) return undefined;
    this.#used = 0;
    const dismissed: number[] = [];
    const made: { head: HotBlock; blocks: Candidate[] }[] = [];
    for (const head of waiting) {
      if (head.epoch !== epoch) continue;
      const blocks = !head.large && this.#isCovered(head) ? [] : this.#choose(head);
      // None at all: it has been dropped since it was hot.
      if (blocks.length === 0) dismissed.push(head.id);
      else made.push({ head, blocks });
      for (let i = 1; i < blocks.length; i++) this.#covered.set(blocks[i].hva, head.key);
    }
    made.sort((a, b) => a.head.hva - b.head.hva);
    const bytes = made.length > 0 ? this.#write(made) : undefined;
    const large = made.some(({ head }) => head.large);
    const contents = [dismissed.length, ...dismissed];
    for (const { head, blocks } of made) {
      const instructions = blocks.reduce((sum, block) => sum + block.instructions, 0);
      contents.push(head.id, head.large ? 1 : 0, instructions, blocks.length);
      for (const { number } of blocks) contents.push(number);
    }
    return {
      epoch,
      full: this.#isFull,
      module: bytes && this.#compile(bytes, large),
      size: bytes?.length ?? 0,
      bytes: this.#setup.keepBytes ? bytes : undefined,
      regions: made.length,
      contents: Int32Array.from(contents),
    };
  }

  /**
   * Takes the hottest out of those that wait: at most `most`, and none that is much cooler than the first. While a block waits it
   * runs in the cold tier: a loop that has become hot does not wait for others. Busy regions come when nothing else is left.
   */
  takeHottest(waiting: HotBlock[], most: number): HotBlock[] {
    const heat = new Map(waiting.map((block) => [block, block.large ? 0 : this.#heat(block.hva, block.key)]));
    const heatOf = (block: HotBlock) => heat.get(block) as number;
    waiting.sort((a, b) => heatOf(b) - heatOf(a));
    const least = waiting.length === 0 ? 0 : heatOf(waiting[0]) / COOLER;
    let count = 1;
    while (count < most && count < waiting.length && heatOf(waiting[count]) >= least && !waiting[count].large) count++;
    return waiting.splice(0, count);
  }

  /** Is the block part of a region, and has not asked before? */
  #isCovered({ hva, key }: HotBlock): boolean {
    if (this.#covered.get(hva) !== key) return false;
    this.#covered.delete(hva);
    return true;
  }

  #write(made: readonly { head: HotBlock; blocks: readonly RegionBlock[] }[]): Uint8Array<ArrayBuffer> {
    const { code, memoryPages } = this.#setup;
    const { routines } = code;
    const module = new ModuleWriter();
    module.importSharedMemory('e', 'm', memoryPages, memoryPages);
    const imported = this.#imported.fill(-1);
    // Imports come first in a module: the blocks have been translated before anything is written.
    const use = (id: number) => {
      if (imported[id] >= 0) return;
      const { name, results } = routines[id];
      imported[id] = module.importFunction('r', name, module.type(this.#params[id], results));
    };
    const ids = this.#ids;
    use(ids.slowLoad);
    use(ids.slowStore);
    use(ids.slowStore128);
    use(ids.slowSpan);
    use(ids.verifyEdge);
    for (const { blocks } of made) for (const { ir } of blocks) eachCall(ir, use);
    const emitter = this.#emitter;
    const type = module.type(['i32'], ['i32']);
    made.forEach(({ head, blocks }, i) => {
      emitter.pageKey = head.key & GUARDED_KEY;
      module.define(type, emitter.emit(blocks), `${i}`);
    });
    return module.finish();
  }

  /** Two words for an edge between pages, 0 at first. */
  #newCell(): number {
    const cell = this.#cells;
    assert(cell < layout.edgeCellsEnd, 'edge cells');
    this.#cells = cell + 8;
    return cell;
  }

  /**
   * Takes the head and the hot blocks that direct edges and followed calls lead to. A block inside a followed call is
   * another one than the same code elsewhere: it knows where its return goes.
   */
  #choose(head: HotBlock): Candidate[] {
    const chosen: Candidate[] = [];
    const byPlace = new Map<number | string, number>();
    const waiting: Place[] = [{ delta: 0, hva: head.hva, returns: [] }];
    const forCalls = head.large ? MAX_INSTRUCTIONS_FOR_CALLS.large : MAX_INSTRUCTIONS_FOR_CALLS.first;
    let instructions = 0;
    while (waiting.length > 0 && chosen.length < MAX_BLOCKS && instructions < MAX_INSTRUCTIONS) {
      const place = waiting.shift() as Place;
      const name = nameOf(place);
      if (byPlace.has(name)) continue;
      const candidate = this.#load(head, place);
      if (!candidate) {
        if (chosen.length === 0) return [];
        continue;
      }
      byPlace.set(name, chosen.length);
      chosen.push(candidate);
      instructions += candidate.instructions;
      candidate.targets = this.#targets(candidate);
      if (!head.follow) break;
      for (const target of candidate.targets) {
        if (byPlace.has(nameOf(target))) continue;
        const found = this.#locate(head, candidate, target);
        if (!found) continue;
        // What belongs to the region's own code comes before the insides of calls.
        if (found.returns.length === 0) waiting.unshift(found);
        else if (instructions < forCalls) waiting.push(found);
      }
    }
    for (const candidate of chosen) {
      const { words } = candidate.ir;
      const at = candidate.terminator;
      const targets = candidate.targets.map((target) => byPlace.get(nameOf(target)) ?? -1);
      if (words[at] === Op.branch) candidate.edges = [targets[1], targets[0]];
      else candidate.edges = [targets[0] ?? -1, -1];
    }
    return chosen;
  }

  /**
   * Where a block leads that is known now; of a jump to an address, where it went the last time. Of a branch: first what follows
   * it, as loops mostly branch back.
   */
  #targets({ ir, terminator, delta, returns, calls, lastJump }: Candidate): Place[] {
    const { words } = ir;
    const to = (distance: number, stack: readonly number[]): Place => ({ delta: distance, hva: 0, returns: stack });
    const inside = calls === undefined ? returns : [...returns.slice(1 - MAX_CALL_DEPTH), calls];
    switch (words[terminator]) {
      case Op.goto:
        return [to(words[terminator + 1], inside)];
      case Op.branch:
        return [to(words[terminator + 3], returns), to(words[terminator + 2], returns)];
      case Op.jump:
        if (words[terminator + 2] !== jumpKind.return)
          return lastJump === 0 ? [] : [to((delta + lastJump) | 0, inside)];
        return returns.length === 0 ? [] : [to(returns[returns.length - 1], returns.slice(0, -1))];
      default:
        return [];
    }
  }

  /** The place with its host address, if it is hot enough to be in the region. */
  #locate(head: HotBlock, from: Candidate, to: Place): Place | undefined {
    const within = (from.hva & 4095) + to.delta - from.delta;
    if (Math.abs(to.delta) > MOST_DISTANCE) return undefined;
    const hva = within >= 0 && within < 4096 ? from.hva + to.delta - from.delta : this.#codeAt(head, to.delta);
    if (hva === undefined) return undefined;
    const heat = this.#heat(hva, head.key);
    const share = to.returns.length > from.returns.length ? CALL_SHARE : JOIN_SHARE;
    return heat * share < this.#setup.hotThreshold ? undefined : { ...to, hva };
  }

  /** How often the block at a host address has been entered in the cold tier; -1: there is none that may join a region. */
  #heat(hva: number, key: number): number {
    const words = this.#words;
    const at = this.#hashEntry(hva, key);
    if (at < 0 || words[at + (hashEntry.second >> 2)] !== 0) return -1;
    const target = words[at + (hashEntry.target >> 2)];
    if (target === 0) return -1;
    const code = target & 0x7fffffff;
    return words[(code + coldHeader.region) >>> 2] === 0 ? words[(code + coldHeader.count) >>> 2] : Infinity;
  }

  /** How far the jump at a block's end went the last time, as the cold tier has left it; 0: not known. */
  #lastJump(code: number): number {
    const words = this.#words;
    const offset = words[(code + coldHeader.lastJump) >>> 2];
    return offset === 0 ? 0 : (words[(code + offset) >>> 2] ?? 0);
  }

  /** Index of the words of a block in the code hash, or -1. */
  #hashEntry(hva: number, key: number): number {
    const words = this.#words;
    let slot = codeHash(hva, key);
    for (let probes = 0; probes < CODE_HASH_ENTRIES; probes++) {
      const at = (layout.codeHash + slot * CODE_HASH_BYTES) >> 2;
      if (words[at] === 0) return -1;
      if (words[at] === (hva | 0) && words[at + (hashEntry.key >> 2)] === (key | 0)) return at;
      slot = (slot + 1) & (CODE_HASH_ENTRIES - 1);
    }
    return -1;
  }

  /** Host address of the code at a distance from the head: by the TLB, in a context in which the head is mapped where it was. */
  #codeAt(head: HotBlock, distance: number): number | undefined {
    for (let mmu = 0; mmu < MMU_CONTEXTS; mmu++) {
      const tlb = head.tlbs + mmu * TLB_BYTES;
      if (this.#fetchable(tlb, head.address, head.key) === head.hva)
        return this.#fetchable(tlb, BigInt.asUintN(64, head.address + BigInt(distance)), head.key);
    }
    return undefined;
  }

  /** Host address that a TLB gives for instruction fetch, where the page is of the key's kind. */
  #fetchable(tlb: number, address: bigint, key: number): number | undefined {
    const entry = tlb + (Number((address >> 12n) & BigInt(TLB_ENTRIES - 1)) << TLB_ENTRY_SHIFT);
    if (this.#view.getBigUint64(entry + tlbEntry.execTag, true) !== (address & ~4095n)) return undefined;
    const isGuarded = (this.#view.getInt32(entry + ENTRY_FLAGS, true) & entryFlag.guarded) !== 0;
    if (isGuarded !== ((key & GUARDED_KEY) !== 0)) return undefined;
    const hva = (Number(address & 0xffffffffn) + this.#view.getInt32(entry + tlbEntry.addend, true)) >>> 0;
    // The entry may have changed between the two reads.
    return hva >= layout.guestRam && hva < this.#words.byteLength ? hva : undefined;
  }

  /** A block with its IR, moved to its place in the region. Undefined: there is none that may lie there. */
  #load(head: HotBlock, { delta, hva, returns }: Place): Candidate | undefined {
    const words = this.#words;
    const at = this.#hashEntry(hva, head.key);
    const target = at < 0 ? 0 : words[at + (hashEntry.target >> 2)];
    if (target === 0 || words[at + (hashEntry.second >> 2)] !== (delta === 0 ? head.second | 0 : 0)) return undefined;
    const code = target & 0x7fffffff;
    const count = words[(code + coldHeader.irWords) >>> 2];
    if (count === 0) return undefined;
    const ir = this.#builders[this.#used] ?? (this.#builders[this.#used] = new BlockBuilder());
    this.#used++;
    ir.unpack(this.#bytes, code + words[(code + coldHeader.ir) >>> 2], count);
    const number = words[(code + coldHeader.number) >>> 2];
    const instructions = words[(code + coldHeader.instructions) >>> 2];
    const lastJump = this.#lastJump(code);
    // All code has been dropped meanwhile: who knows what was read.
    if (Atomics.load(words, layout.codeEpoch >> 2) !== head.epoch) return undefined;
    moveBlock(ir, delta, this.#setup.code.routines, this.#moved);
    const { terminator, calls } = this.#moved;
    return {
      number,
      delta,
      hva,
      returns,
      calls,
      lastJump: ir.words[terminator] === Op.jump ? lastJump : 0,
      ir,
      terminator,
      instructions,
      targets: [],
      edges: [-1, -1],
    };
  }
}

function eachCall(ir: BlockBuilder, visit: (routine: number) => void): void {
  for (let at = 0; at < ir.length; ) {
    const op = ir.words[at];
    if (op === Op.call) visit(ir.words[at + 1]);
    at += op === Op.call ? ir.words[at + 2] : opWords[op];
  }
}
