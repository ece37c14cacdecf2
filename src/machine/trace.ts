/** What `-d` logs of a machine, laid out as QEMU's log, which people's eyes and scripts know. */
import type { EngineTrace } from '../accel/index.js';
import type { X86Board } from '../guest/index.js';
import type { PcMachine } from './pc.js';

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

export interface PcTraceOptions {
  readonly items: ReadonlySet<TraceItem>;
  /** Takes one or more lines, without the last one's end. */
  line(text: string): void;
}

const PAGE_FAULT = 14;
const NMI = 2;
const hex = (value: bigint | number, digits: number) => value.toString(16).padStart(digits, '0');

export class PcTrace {
  readonly engine: EngineTrace;
  readonly event: X86Board['event'];
  readonly #items: ReadonlySet<TraceItem>;
  readonly #line: (text: string) => void;
  #pc!: PcMachine;
  #events = 0;
  /** By vCPU. */
  readonly #mmu: (Record<'cr0' | 'cr3' | 'cr4' | 'a20', bigint> & Record<'flushes' | 'refills', number>)[] = [];

  constructor({ items, line }: PcTraceOptions) {
    this.#items = items;
    this.#line = line;
    const lines = (head: string) => (text: readonly string[]) => line(`${head}${text.join('\n')}\n`);
    const everyBlock = items.has('exec') || items.has('cpu') || items.has('mmu');
    this.engine = {
      ...(items.has('in_asm') ? { code: lines('----------------\nIN: \n') } : {}),
      ...(items.has('ir') ? { ir: lines('IR:\n') } : {}),
      ...(items.has('wasm') ? { wasm: lines('WASM:\n') } : {}),
      ...(everyBlock ? { block: (target: number) => this.#block(target) } : {}),
    };
    if (items.has('int') || items.has('mmu')) this.event = (event) => this.#event(event);
  }

  attach(pc: PcMachine): void {
    this.#pc = pc;
  }

  /** Before a reset. */
  reset(): void {
    if (!this.#items.has('cpu_reset')) return;
    for (const [i, cpu] of this.#pc.cpus.entries()) this.#line(`CPU Reset (CPU ${i})\n${cpu.dump({ float: true })}`);
  }

  #dump(): string {
    return this.#pc.currentCpu.dump({ float: this.#items.has('fpu') });
  }

  #block(target: number): void {
    if (this.#items.has('mmu')) this.#translation();
    const { currentCpu, engine } = this.#pc;
    if (this.#items.has('exec')) {
      const { codeBase, pc, modeKey } = currentCpu.place;
      this.#line(
        `Trace ${engine.current}: 0x${hex(target, 8)} [${hex(codeBase, 16)}/${hex(BigInt.asUintN(64, pc + codeBase), 16)}/${hex(modeKey, 8)}/00000000] `,
      );
    }
    if (this.#items.has('cpu')) this.#line(this.#dump());
  }

  /** What has changed since the last block. */
  #translation(): void {
    const { currentCpu, engine } = this.#pc;
    const old = this.#mmu[engine.current] ?? { cr0: -1n, cr3: -1n, cr4: -1n, a20: -1n, flushes: 0, refills: 0 };
    const now = { ...currentCpu.translationControls, ...engine.tlbCounters };
    if (now.cr0 !== old.cr0) this.#line(`CR0 update: CR0=0x${hex(now.cr0, 8)}`);
    if (now.cr3 !== old.cr3) this.#line(`CR3 update: CR3=${hex(now.cr3, 16)}`);
    if (now.cr4 !== old.cr4) this.#line(`CR4 update: CR4=0x${hex(now.cr4, 8)}`);
    if (now.a20 !== old.a20) this.#line(`A20 update: a20=${now.a20}`);
    const count = (what: string, by: number) => {
      if (by > 0) this.#line(`TLB ${what}: ${by}`);
    };
    count('flush', (now.flushes - old.flushes) >>> 0);
    count('refill', (now.refills - old.refills) >>> 0);
    this.#mmu[engine.current] = now;
  }

  #event({ vector, errorCode, kind }: Parameters<NonNullable<X86Board['event']>>[0]): void {
    const cpu = this.#pc.currentCpu;
    const cr2 = cpu.register('cr2') ?? 0n;
    if (this.#items.has('mmu') && kind === 'exception' && vector === PAGE_FAULT) {
      this.#line(`page fault: CR2=${hex(cr2, 16)} error=${hex(errorCode ?? 0, 4)}`);
    }
    if (!this.#items.has('int')) return;
    if (kind === 'exception') this.#line(`check_exception old: 0xffffffff new 0x${hex(vector, 1)}`);
    else if (kind === 'interrupt' && vector !== NMI) this.#line(`Servicing hardware INT=0x${hex(vector, 2)}`);
    // As QEMU: in real mode no more is said.
    if (((cpu.register('cr0') ?? 0n) & 1n) === 0n) return;
    const { codeBase, pc } = cpu.place;
    const value = (name: string, digits: number) => hex(cpu.register(name) ?? 0n, digits);
    const last = vector === PAGE_FAULT ? `CR2=${hex(cr2, 16)}` : `env->regs[R_EAX]=${value('rax', 16)}`;
    const head = [
      `${String(this.#events++).padStart(6)}: v=${hex(vector, 2)} e=${hex(errorCode ?? 0, 4)} i=${kind === 'software' ? 1 : 0}`,
      `cpl=${cpu.vcpu.cpl} IP=${value('cs', 4)}:${hex(pc, 16)} pc=${hex(BigInt.asUintN(64, pc + codeBase), 16)}`,
      `SP=${value('ss', 4)}:${value('rsp', 16)} ${last}`,
    ];
    this.#line(`${head.join(' ')}\n${this.#dump()}`);
  }
}
