/** What `-d` logs of a machine, laid out as QEMU's log, which people's eyes and scripts know. */
import type { EngineTrace } from '../accel/index.js';
import type { Board } from './board.js';

export const traceItems = [
  { name: 'in_asm', sentence: 'guest code of each translated block' },
  { name: 'ir', sentence: 'intermediate code of each translated block, optimized' },
  { name: 'wasm', sentence: 'WebAssembly of each module of compiled regions' },
  { name: 'int', sentence: 'interrupts and exceptions, with the registers before them' },
  { name: 'exec', sentence: 'each block before it runs, nothing compiled (a great many lines)' },
  { name: 'cpu', sentence: 'registers before each block (a great many lines)' },
  { name: 'fpu', sentence: 'FPU and SSE registers too where registers are logged' },
  {
    name: 'mmu',
    sentence: 'control registers, A20 and page faults as they come; how often the TLB was flushed and refilled',
  },
  { name: 'cpu_reset', sentence: 'registers before a reset' },
  { name: 'nochain', sentence: 'nothing more: `exec` and `cpu` show every block here' },
  { name: 'unimp', sentence: 'what the guest asks for and vring does not have' },
] as const;
export type TraceItem = (typeof traceItems)[number]['name'];

export interface TraceOptions {
  readonly items: ReadonlySet<TraceItem>;
  /** Takes one or more lines, without the last one's end. */
  line(text: string): void;
}

const hex = (value: bigint | number, digits: number) => value.toString(16).padStart(digits, '0');

/** What is told alike of every architecture; those with more to tell extend it. */
export class MachineTrace {
  readonly engine: EngineTrace;
  protected readonly items: ReadonlySet<TraceItem>;
  protected readonly line: (text: string) => void;
  #board!: Board;

  constructor({ items, line }: TraceOptions) {
    this.items = items;
    this.line = line;
    const lines = (head: string) => (text: readonly string[]) => line(`${head}${text.join('\n')}\n`);
    const everyBlock = items.has('exec') || items.has('cpu') || items.has('mmu');
    this.engine = {
      ...(items.has('in_asm') ? { code: lines('----------------\nIN: \n') } : {}),
      ...(items.has('ir') ? { ir: lines('IR:\n') } : {}),
      ...(items.has('wasm') ? { wasm: lines('WASM:\n') } : {}),
      ...(everyBlock ? { block: (target: number) => this.#block(target) } : {}),
    };
  }

  attach(board: Board): void {
    this.#board = board;
  }

  /** Before a reset. */
  reset(): void {
    if (!this.items.has('cpu_reset')) return;
    for (const [i, cpu] of this.#board.cpus.entries()) this.line(`CPU Reset (CPU ${i})\n${cpu.dump({ float: true })}`);
  }

  /** The registers as they are. */
  protected dump(): string {
    return this.#board.currentCpu.dump({ float: this.items.has('fpu') });
  }

  /** How addresses are translated, where that has changed since the last block. */
  protected translation(): void {}

  #block(target: number): void {
    if (this.items.has('mmu')) this.translation();
    const { currentCpu, engine } = this.#board;
    if (this.items.has('exec')) {
      const { codeBase, pc, modeKey } = currentCpu.place;
      this.line(
        `Trace ${engine.current}: 0x${hex(target, 8)} [${hex(codeBase, 16)}/${hex(BigInt.asUintN(64, pc + codeBase), 16)}/${hex(modeKey, 8)}/00000000] `,
      );
    }
    if (this.items.has('cpu')) this.line(this.dump());
  }
}
