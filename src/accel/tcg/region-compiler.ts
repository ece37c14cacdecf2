/**
 * Chooses what to compile with a hot block, and compiles regions in batches: one WebAssembly module for many regions.
 */

import type { GuestCpu, TranslationRequest, TranslationResult } from '../../guest/guest-cpu.js';
import { BlockBuilder, BlockOptimizer, Op, opWords, type Routine } from '../../ir/index.js';
import { ModuleWriter, type RegionBlock, RegionEmitter, slowPathIds } from '../../wasm/index.js';
import type { Block, CodeCache, Region } from './code-cache.js';

/** Guest instructions in a region at most: beyond some 250 V8's optimizer slows down out of proportion. */
const MAX_INSTRUCTIONS = 200;
const MAX_BLOCKS = 40;
/** Dropped regions before the jump caches are cleared so that their indices may serve again. */
const MOST_RETIRED = 1024;
/**
 * Guest instructions in a block, in both tiers: blocks begin at the same places whether code is cold or hot, so that with
 * -icount interrupts are taken at the same instructions.
 */
export const MAX_BLOCK_INSTRUCTIONS = 48;
/** A successor joins a region if it has been entered at least this share of the threshold. */
const JOIN_SHARE = 8;

export interface RegionCompilerOptions {
  readonly cpu: GuestCpu;
  readonly cache: CodeCache;
  readonly memory: WebAssembly.Memory;
  readonly memoryPages: number;
  readonly table: WebAssembly.Table;
  readonly routineExports: Readonly<Record<string, unknown>>;
  /** A function of the table's type that returns exitCode.stale. */
  readonly staleCode: unknown;
  readonly hotThreshold: number;
  readonly countInstructions: boolean;
}

/** A block chosen for a region, before it is laid out. */
interface Candidate {
  readonly delta: number;
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
    for (const blocks of regions) for (const { ir } of blocks) for (const id of this.#callsOf(ir)) use(id);
    const emitter = new RegionEmitter(
      { routines: this.#routines, functionIndex: (id) => imported.get(id) as number, ...ids },
      this.#options.cpu.vars,
      this.#options.countInstructions,
    );
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
      const ranges = regions[i].flatMap(({ delta, bytes: length }) => [head.hva + delta, head.hva + delta + length]);
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

  /** Translates the head and the hot blocks that direct edges lead to, on the same page. */
  #choose(head: Block, follow: boolean): (RegionBlock & { bytes: number })[] {
    const { cache, hotThreshold } = this.#options;
    const start = head.hva & 4095;
    const chosen: Candidate[] = [];
    const byDelta = new Map<number, number>();
    const waiting: number[] = [0];
    let instructions = 0;
    while (waiting.length > 0 && chosen.length < MAX_BLOCKS && instructions < MAX_INSTRUCTIONS) {
      const delta = waiting.shift() as number;
      if (byDelta.has(delta)) continue;
      const candidate = this.#translate(head, delta);
      if (!candidate) continue;
      byDelta.set(delta, chosen.length);
      chosen.push(candidate);
      instructions += candidate.instructions;
      if (!follow) break;
      const targets = this.#targets(candidate);
      for (const target of targets) {
        if (byDelta.has(target) || start + target < 0 || start + target >= 4096) continue;
        const block = cache.find(head.hva + target, head.key);
        if (block && block.second === 0 && (block.region || cache.heat(block) * JOIN_SHARE >= hotThreshold))
          waiting.push(target);
      }
    }
    for (const candidate of chosen) {
      const { words } = candidate.ir;
      const at = candidate.terminator;
      const index = (delta: number) => byDelta.get(delta) ?? -1;
      if (words[at] === Op.goto) candidate.edges = [index(words[at + 1]), -1];
      else if (words[at] === Op.branch) candidate.edges = [index(words[at + 2]), index(words[at + 3])];
    }
    return chosen;
  }

  /** Where a block's direct edges lead. */
  #targets({ ir, terminator }: Candidate): number[] {
    const { words } = ir;
    if (words[terminator] === Op.goto) return [words[terminator + 1]];
    // What follows a conditional branch comes first: loops mostly branch back.
    return words[terminator] === Op.branch ? [words[terminator + 3], words[terminator + 2]] : [];
  }

  #translate(head: Block, delta: number): Candidate | undefined {
    const { cpu, memory } = this.#options;
    const ir = this.#builders[this.#used] ?? (this.#builders[this.#used] = new BlockBuilder());
    this.#used++;
    ir.clear();
    const request: TranslationRequest = {
      b: ir,
      page: new Uint8Array(memory.buffer, head.hva & ~4095, 4096),
      offset: (head.hva & 4095) + delta,
      nextPage: head.second === 0 ? undefined : new Uint8Array(memory.buffer, head.second, 4096),
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
      ir,
      terminator: lastOp(ir),
      instructions: result.instructions,
      bytes: result.bytes,
      edges: [-1, -1],
    };
  }
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
