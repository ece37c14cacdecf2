/**
 * Regions as the vCPU's thread sees them: it asks for one when a block has become hot, goes on in the cold tier, and puts what
 * comes back in the code table, if all blocks that the region was made of still stand.
 */
import type { CodeCache, Region } from './code-cache.js';
import { layout, REGION_COUNTERS } from './layout.js';
import { type BuiltModule, RegionBuilder, type RegionSetup } from './region-builder.js';
import { RegionQueue } from './region-queue.js';

/** Dropped regions before the jump caches are cleared so that their indices may serve again. */
const MOST_RETIRED = 1024;
/** Regions that are compiled together in the vCPU's own thread. */
const BATCH = 24;

/** Where regions are written. */
export interface RegionService {
  /** Called once: from now on blocks come through the queue in the memory. */
  start(setup: RegionSetup): void;
  /** The next finished module. `urgent`: a block has waited for as long again as it took it to become hot. */
  take(urgent: boolean): BuiltModule | undefined;
}

/** Writes regions in the vCPU's thread, when enough blocks wait. */
export class InlineRegionService implements RegionService {
  #builder: RegionBuilder | undefined;
  #queue: RegionQueue | undefined;

  start(setup: RegionSetup): void {
    this.#builder = new RegionBuilder(setup);
    this.#queue = new RegionQueue(setup.memory.buffer);
  }

  /** RegionBuilder.nextCell. */
  get nextCell(): number {
    return (this.#builder as RegionBuilder).nextCell;
  }

  take(urgent: boolean): BuiltModule | undefined {
    const waiting = this.#queue?.waiting ?? 0;
    if (waiting === 0 || (waiting < BATCH && !urgent)) return undefined;
    return this.#builder?.build(this.#queue?.take() ?? []);
  }
}

/** Entries into a region that is not to be written again. */
const NEVER_BUSY = -0x80000000;

/** May a new region stand where this one does, if there is one? */
function mayReplace(region: Region | undefined, large: boolean): boolean {
  return region === undefined || (large && !region.large);
}

export interface RegionCompilerOptions {
  readonly service: RegionService;
  readonly setup: RegionSetup;
  readonly cache: CodeCache;
  readonly table: WebAssembly.Table;
  readonly routineExports: Readonly<Record<string, unknown>>;
  /** A function of the table's type that returns exitCode.stale. */
  readonly staleCode: unknown;
}

export class RegionCompiler {
  readonly #options: RegionCompilerOptions;
  readonly #queue: RegionQueue;
  readonly #words: Int32Array;
  /** Of all modules: each takes of it what it names. */
  readonly #imports: Record<string, Record<string, unknown>>;
  readonly #freeIndices: number[] = [];
  /** Indices of dropped regions that jump caches may still name. */
  #retired: number[] = [];
  /** By index in the code table. */
  readonly #regions: (Region | undefined)[] = [];
  /** Numbers of the blocks that wait for a region, by the number they went by. */
  readonly #waiting = new Map<number, number>();
  #nextId = 0;
  /** Called with each module if its bytes are kept, for `-d wasm`. */
  onModule: (bytes: Uint8Array, regions: readonly Region[]) => void = () => {};
  readonly counters = { regions: 0, modules: 0, bytes: 0, blocks: 0, instructions: 0, outdated: 0, dismissed: 0 };

  constructor(options: RegionCompilerOptions) {
    const { cache, table, staleCode, setup, routineExports } = options;
    this.#options = options;
    this.#queue = new RegionQueue(setup.memory.buffer);
    this.#words = new Int32Array(setup.memory.buffer);
    this.#imports = { e: { m: setup.memory }, r: routineExports };
    cache.onDrop = (region) => {
      // Jump cache entries may still name the index: it leads to a function that sends them on, and serves again later.
      table.set(region.index, staleCode);
      this.#regions[region.index] = undefined;
      this.#retired.push(region.index);
    };
    options.service.start(setup);
  }

  /** The region at an index of the code table, which the dispatcher has found busy: it counts from far below now. */
  busyRegion(index: number): Region | undefined {
    this.#setEntries(index, NEVER_BUSY);
    return this.#regions[index];
  }

  #setEntries(index: number, entries: number): void {
    this.#words[(layout.regionEntries >> 2) + (index & (REGION_COUNTERS - 1))] = entries;
  }

  /** A block has become hot at a linear address of the vCPU whose TLBs lie there, or (`large`) its region is busy. */
  request(block: number, address: bigint, tlbs: number, follow: boolean, large = false): void {
    this.#forgetOld();
    const { cache } = this.#options;
    const { blocks, epoch } = cache;
    if (!blocks.isValid(block) || blocks.isWaiting(block) || !mayReplace(cache.regionOf(block), large)) return;
    const { hva, key, second } = blocks.place(block);
    const id = this.#nextId;
    if (!this.#queue.push({ id, hva, key, second, address, tlbs, follow, large, epoch })) return;
    this.#nextId = (id + 1) & 0x3fffffff;
    blocks.setWaiting(block, true);
    this.#waiting.set(id, block);
  }

  /** Puts all that is finished in place. */
  collect(urgent: boolean): void {
    const { service, cache } = this.#options;
    for (let built = service.take(urgent); built; built = service.take(false)) {
      if (built.epoch === cache.epoch) {
        this.#install(built);
        if (built.full) cache.flush();
      }
    }
    this.#forgetOld();
  }

  /** Blocks from before the last flush of all code wait for nothing any more. */
  #forgetOld(): void {
    const { epoch } = this.#options.cache;
    if (this.#epoch === epoch) return;
    this.#epoch = epoch;
    this.#waiting.clear();
  }
  #epoch = 0;

  /** The block that went by a number, and is answered now. */
  #answered(id: number): number | undefined {
    const head = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (head !== undefined) this.#options.cache.blocks.setWaiting(head, false);
    return head;
  }

  #install({ module, size, bytes, regions, contents }: BuiltModule): void {
    const { cache, table } = this.#options;
    let at = 0;
    const next = () => contents[at++];
    const list = () => {
      const length = next();
      at += length;
      return contents.subarray(at - length, at);
    };
    const dismissed = list();
    this.counters.dismissed += dismissed.length;
    for (const id of dismissed) this.#answered(id);
    if (!module) return;
    if (this.#retired.length >= MOST_RETIRED) {
      cache.forgetJumps();
      this.#freeIndices.push(...this.#retired);
      this.#retired = [];
    }
    let functions: Readonly<Record<string, unknown>> | undefined;
    const made: Region[] = [];
    for (let i = 0; i < regions; i++) {
      const head = this.#answered(next());
      const large = next() === 1;
      const instructions = next();
      const blocks = list();
      const ranges = cache.rangesOf(blocks);
      if (head !== blocks[0] || !mayReplace(cache.regionOf(head), large) || !ranges) {
        this.counters.outdated++;
        continue;
      }
      functions ??= new WebAssembly.Instance(module, this.#imports).exports;
      const index = this.#freeIndices.pop() ?? table.grow(1);
      this.#setEntries(index, large ? NEVER_BUSY : 0);
      table.set(index, functions[`${i}`]);
      const region: Region = { index, head, ranges, large, valid: true };
      cache.addRegion(region);
      this.#regions[index] = region;
      made.push(region);
      this.counters.regions++;
      this.counters.blocks += blocks.length;
      this.counters.instructions += instructions;
    }
    this.counters.modules++;
    this.counters.bytes += size;
    if (bytes) this.onModule(bytes, made);
  }
}
