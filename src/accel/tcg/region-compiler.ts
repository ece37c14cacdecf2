/**
 * Chooses what to compile with a hot block, and compiles regions in batches: one WebAssembly module for many regions.
 */

import { assert } from '../../base/index.js';
import type { GuestCpu, TranslationRequest, TranslationResult } from '../../guest/guest-cpu.js';
import { BlockBuilder, BlockOptimizer, jumpKind, Op, opWords, type Routine } from '../../ir/index.js';
import { ModuleWriter, type RegionBlock, RegionEmitter, slowPathIds } from '../../wasm/index.js';
import type { Block, CodeCache, Region } from './code-cache.js';
import { layout } from './layout.js';

/** Guest instructions in a region at most: beyond some 250 V8's optimizer slows down out of proportion. */
const MAX_INSTRUCTIONS = 200;
const MAX_BLOCKS = 40;
/** Bytes of edge cells that a batch may need. */
const CELL_RESERVE = 64 * 1024;
/** Calls within calls that a region follows. */
const MAX_CALL_DEPTH = 2;
/** Dropped regions before the jump caches are cleared so that their indices may serve again. */
const MOST_RETIRED = 1024;
/**
 * Guest instructions in a block, in both tiers: blocks begin at the same places whether code is cold or hot, so that with
 * -icount interrupts are taken at the same instructions.
 */
export const MAX_BLOCK_INSTRUCTIONS = 48;
/** A successor joins a region if it has been entered at least this share of the threshold. */
const JOIN_SHARE = 8;
/** The same for a block that a call leads to; and how large a region may be that still follows calls. */
const CALL_SHARE = 2;
const MAX_INSTRUCTIONS_FOR_CALLS = 48;

export interface RegionCompilerOptions {
  readonly cpu: GuestCpu;
  readonly cache: CodeCache;
  readonly memory: WebAssembly.Memory;
  readonly memoryPages: number;
  readonly table: WebAssembly.Table;
  readonly routineExports: Readonly<Record<string, unknown>>;
  /** A function of the table's type that returns exitCode.stale. */
  readonly staleCode: unknown;
  /**
   * Host address of the code at a distance from a block that is entered now or was lately, or undefined when it cannot be
   * told without disturbing the guest.
   */
  codeAt(head: Block, distance: number): number | undefined;
  readonly hotThreshold: number;
  readonly countInstructions: boolean;
}

/** A piece of code of a region: distance from its head, host address, and the returns of the calls it is in, outermost first. */
interface Place {
  readonly delta: number;
  readonly hva: number;
  readonly returns: readonly number[];
}

function nameOf({ delta, returns }: Place): string {
  return returns.length === 0 ? `${delta}` : `${delta}/${returns.join('/')}`;
}

/** A block chosen for a region, before it is laid out. */
interface Candidate extends Place {
  /** The block ends with a call: the distance it returns to. */
  readonly calls: number | undefined;
  readonly ir: BlockBuilder;
  terminator: number;
  instructions: number;
  bytes: number;
  edges: [number, number];
}

export class RegionCompiler {
  readonly #options: RegionCompilerOptions;
  readonly #routines: readonly Routine[];
  readonly #optimizer: BlockOptimizer;
  readonly #builders: BlockBuilder[] = [];
  readonly #freeIndices: number[] = [];
  /** Indices of dropped regions that jump caches may still name. */
  #retired: number[] = [];
  #queue: Block[] = [];
  /** Called with each module, for `-d wasm`. */
  onModule: (bytes: Uint8Array, regions: readonly Region[]) => void = () => {};
  readonly counters = { regions: 0, modules: 0, bytes: 0, blocks: 0, instructions: 0 };

  constructor(options: RegionCompilerOptions) {
    this.#options = options;
    this.#routines = options.cpu.routines.list;
    this.#optimizer = new BlockOptimizer(options.cpu.vars, this.#routines);
    options.cache.onDrop = (region) => {
      // Jump cache entries may still name the index: it leads to a function that sends them on, and serves again later.
      options.table.set(region.index, options.staleCode);
      this.#retired.push(region.index);
    };
  }

  /** A block has become hot. Gives the number of blocks that wait. */
  enqueue(block: Block): number {
    if (!this.#queue.includes(block)) this.#queue.push(block);
    return this.#queue.length;
  }

  /** Compiles all that wait. `follow`: regions may join blocks by direct edges (not where the pc wraps at 64 KiB). */
  compile(follow: boolean): void {
    const { cache, memory, memoryPages, table, routineExports } = this.#options;
    const heads = this.#queue.filter((block) => block.valid && !block.region);
    this.#queue = [];
    if (heads.length === 0) return;
    this.#used = 0;
    if (this.#cells > layout.edgeCellsEnd - CELL_RESERVE) {
      // Cells are not given back one by one: all code goes, and with it all cells.
      cache.flush();
      new Int32Array(memory.buffer).fill(0, layout.edgeCells >> 2, layout.edgeCellsEnd >> 2);
      this.#cells = layout.edgeCells;
      return;
    }
    if (this.#retired.length >= MOST_RETIRED) {
      cache.forgetJumps();
      this.#freeIndices.push(...this.#retired);
      this.#retired = [];
    }
    heads.sort((a, b) => a.hva - b.hva);
    const module = new ModuleWriter();
    module.importSharedMemory('e', 'm', memoryPages, memoryPages);
    const imported = new Map<number, number>();
    const imports: Record<string, unknown> = {};
    // Imports come first in a module: the blocks are translated before anything is written.
    const regions = heads.map((head) => this.#choose(head, follow));
    const ids = slowPathIds(this.#routines);
    const use = (id: number) => {
      if (imported.has(id)) return;
      const { name, params, results } = this.#routines[id];
      imported.set(id, module.importFunction('r', name, module.type(['i32', ...params], results)));
      imports[name] = routineExports[name];
    };
    use(ids.slowLoad);
    use(ids.slowStore);
    use(ids.slowStore128);
    use(ids.verifyEdge);
    for (const blocks of regions) for (const { ir } of blocks) for (const id of this.#callsOf(ir)) use(id);
    const emitter = new RegionEmitter(
      { routines: this.#routines, functionIndex: (id) => imported.get(id) as number, ...ids },
      this.#options.cpu.vars,
      this.#options.countInstructions,
    );
    emitter.newCell = () => this.#newCell();
    const type = module.type(['i32'], ['i32']);
    regions.forEach((blocks, i) => {
      module.define(type, emitter.emit(blocks), `${i}`);
    });
    const bytes = module.finish();
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { e: { m: memory }, r: imports });
    const made: Region[] = [];
    heads.forEach((head, i) => {
      const index = this.#freeIndices.pop() ?? table.grow(1);
      table.set(index, instance.exports[`${i}`]);
      const ranges = regions[i].flatMap(({ hva, bytes: length }) => [hva, hva + length]);
      const region: Region = { index, head, ranges, valid: true };
      cache.addRegion(region);
      made.push(region);
      this.counters.blocks += regions[i].length;
      for (const { instructions } of regions[i]) this.counters.instructions += instructions;
    });
    this.counters.regions += heads.length;
    this.counters.modules++;
    this.counters.bytes += bytes.length;
    this.onModule(bytes, made);
  }

  #cells: number = layout.edgeCells;

  /** A word for an edge between pages, 0 at first. */
  #newCell(): number {
    const cell = this.#cells;
    assert(cell < layout.edgeCellsEnd, 'edge cells');
    this.#cells = cell + 4;
    return cell;
  }

  #callsOf(ir: BlockBuilder): number[] {
    const calls: number[] = [];
    for (let at = 0; at < ir.length; ) {
      const op = ir.words[at];
      if (op === Op.call) {
        calls.push(ir.words[at + 1]);
        at += ir.words[at + 2];
      } else at += opWords[op];
    }
    return calls;
  }

  readonly #result: TranslationResult = { bytes: 0, instructions: 0, crossesPage: false, needsNextPage: false };
  /** Builders in use by the batch under way. */
  #used = 0;

  /**
   * Translates the head and the hot blocks that direct edges and followed calls lead to. A block inside a followed call is
   * another one than the same code elsewhere: it knows where its return goes.
   */
  #choose(head: Block, follow: boolean): (RegionBlock & { bytes: number })[] {
    const chosen: Candidate[] = [];
    const byPlace = new Map<string, number>();
    const waiting: Place[] = [{ delta: 0, hva: head.hva, returns: [] }];
    let instructions = 0;
    while (waiting.length > 0 && chosen.length < MAX_BLOCKS && instructions < MAX_INSTRUCTIONS) {
      const place = waiting.shift() as Place;
      const name = nameOf(place);
      if (byPlace.has(name)) continue;
      const candidate = this.#translate(head, place);
      if (!candidate) continue;
      byPlace.set(name, chosen.length);
      chosen.push(candidate);
      instructions += candidate.instructions;
      if (!follow) break;
      for (const target of this.#targets(candidate)) {
        if (byPlace.has(nameOf(target))) continue;
        const found = this.#locate(head, candidate, target);
        if (!found) continue;
        // What belongs to the region's own code comes before the insides of calls.
        if (found.returns.length === 0) waiting.unshift(found);
        else if (instructions < MAX_INSTRUCTIONS_FOR_CALLS) waiting.push(found);
      }
    }
    for (const candidate of chosen) {
      const { words } = candidate.ir;
      const at = candidate.terminator;
      const targets = this.#targets(candidate).map((target) => byPlace.get(nameOf(target)) ?? -1);
      if (words[at] === Op.branch) candidate.edges = [targets[1], targets[0]];
      else candidate.edges = [targets[0] ?? -1, -1];
    }
    return chosen;
  }

  /** Where a block leads that is known now. Of a branch: first what follows it, as loops mostly branch back. */
  #targets({ ir, terminator, returns, calls }: Candidate): Place[] {
    const { words } = ir;
    const to = (delta: number, stack: readonly number[]): Place => ({ delta, hva: 0, returns: stack });
    switch (words[terminator]) {
      case Op.goto:
        return [
          to(words[terminator + 1], calls === undefined ? returns : [...returns.slice(1 - MAX_CALL_DEPTH), calls]),
        ];
      case Op.branch:
        return [to(words[terminator + 3], returns), to(words[terminator + 2], returns)];
      case Op.jump:
        if (words[terminator + 2] !== jumpKind.return || returns.length === 0) return [];
        return [to(returns[returns.length - 1], returns.slice(0, -1))];
      default:
        return [];
    }
  }

  /** The place with its host address, if it is hot enough to be in the region. */
  #locate(head: Block, from: Candidate, to: Place): Place | undefined {
    const { cache, hotThreshold } = this.#options;
    const within = (from.hva & 4095) + to.delta - from.delta;
    const hva = within >= 0 && within < 4096 ? from.hva + to.delta - from.delta : this.#options.codeAt(head, to.delta);
    if (hva === undefined) return undefined;
    const block = cache.find(hva, head.key);
    if (block?.second !== 0) return undefined;
    const heat = cache.heat(block);
    const share = to.returns.length > from.returns.length ? CALL_SHARE : JOIN_SHARE;
    if (!block.region && heat * share < hotThreshold) return undefined;
    return { ...to, hva };
  }

  #translate(head: Block, { delta, hva, returns }: Place): Candidate | undefined {
    const { cpu, memory } = this.#options;
    const ir = this.#builders[this.#used] ?? (this.#builders[this.#used] = new BlockBuilder());
    this.#used++;
    ir.clear();
    const request: TranslationRequest = {
      b: ir,
      page: new Uint8Array(memory.buffer, (hva & ~4095) >>> 0, 4096),
      offset: hva & 4095,
      nextPage: head.second === 0 || delta !== 0 ? undefined : new Uint8Array(memory.buffer, head.second, 4096),
      modeKey: head.key,
      delta,
      maxInstructions: MAX_BLOCK_INSTRUCTIONS,
    };
    const result = this.#result;
    cpu.translator.translate(request, result);
    if (result.instructions === 0 || result.needsNextPage || (result.crossesPage && delta !== 0)) return undefined;
    this.#optimizer.run(ir);
    return {
      delta,
      hva,
      returns,
      calls: noteOf(ir),
      ir,
      terminator: lastOp(ir),
      instructions: result.instructions,
      bytes: result.bytes,
      edges: [-1, -1],
    };
  }
}

function noteOf(ir: BlockBuilder): number | undefined {
  for (let at = 0; at < ir.length; ) {
    const op = ir.words[at];
    if (op === Op.call_note) return ir.words[at + 1];
    at += op === Op.call ? ir.words[at + 2] : opWords[op];
  }
  return undefined;
}

function lastOp(ir: BlockBuilder): number {
  let last = 0;
  for (let at = 0; at < ir.length; ) {
    last = at;
    const op = ir.words[at];
    at += op === Op.call ? ir.words[at + 2] : opWords[op];
  }
  return last;
}
