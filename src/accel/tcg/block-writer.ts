/** From guest code to code for the cold tier: a block at a time, in buffers that all blocks share. */
import type { GuestCode, GuestCpu, TranslationRequest, TranslationResult } from '../../guest/guest-cpu.js';
import { BlockBuilder, BlockOptimizer, type PrintNames, printIr } from '../../ir/index.js';
import { ColdSerializer } from '../../wasm/index.js';
import { codeLines } from './code-lines.js';
import type { EngineTrace } from './engine-options.js';
import type { GuestPages } from './guest-pages.js';
import { MAX_BLOCK_INSTRUCTIONS, tempBase } from './layout.js';

export interface BlockSource {
  readonly pages: GuestPages;
  readonly trace: EngineTrace;
  /** The pc of the block that is being written. */
  pc(): bigint;
  /** Host address of the page behind that of the pc, or -1 where its fetch faults. */
  nextPage(): number;
}

export class BlockWriter {
  /** IR of the block that was written last. */
  readonly builder = new BlockBuilder();
  /** Its code. */
  readonly serializer: ColdSerializer;
  readonly result: TranslationResult = { bytes: 0, instructions: 0, crossesPage: false, needsNextPage: false };
  readonly #source: BlockSource;
  readonly #optimizer: BlockOptimizer;
  readonly #translator: GuestCode['translator'];
  readonly #names: PrintNames;
  readonly #request: { -readonly [K in keyof TranslationRequest]: TranslationRequest[K] };

  constructor(cpu: GuestCpu, source: BlockSource, stateBytes: number, countInstructions: boolean) {
    const { list } = cpu.routines;
    this.#translator = cpu.translator;
    this.#source = source;
    this.#names = { vars: cpu.vars, routines: list };
    this.#optimizer = new BlockOptimizer(cpu.vars, list);
    this.serializer = new ColdSerializer(cpu.vars, list, tempBase(stateBytes), countInstructions);
    this.#request = {
      b: this.builder,
      page: new Uint8Array(0),
      offset: 0,
      nextPage: undefined,
      modeKey: 0,
      maxInstructions: MAX_BLOCK_INSTRUCTIONS,
    };
  }

  /** Writes the block at a host address. Gives the host address of the second page where it goes on there, else 0; or -1 on a fetch fault. */
  write(hva: number, key: number, maxInstructions: number): number {
    const { pages, trace } = this.#source;
    const request = this.#request;
    request.maxInstructions = maxInstructions;
    request.page = pages.at(hva);
    request.offset = hva & 4095;
    request.nextPage = undefined;
    request.modeKey = key;
    this.builder.clear();
    this.#translator.translate(request, this.result);
    let second = 0;
    if (this.result.needsNextPage) {
      const next = this.#source.nextPage();
      if (next < 0) return -1;
      request.nextPage = pages.at(next);
      this.builder.clear();
      this.#translator.translate(request, this.result);
      if (this.result.crossesPage) second = next;
    }
    trace.code?.(codeLines(this.#translator, request, this.result.bytes, this.#source.pc()));
    this.#optimizer.run(this.builder);
    trace.ir?.(printIr(this.builder.words, this.builder.length, this.#names));
    this.serializer.run(this.builder, this.#optimizer, this.result.instructions);
    return second;
  }
}
