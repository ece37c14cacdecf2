/** What `-d` logs of a PC beyond what it logs of every machine: exceptions, interrupts, control registers. */
import type { X86Board } from '../guest/index.js';
import { MachineTrace, type TraceOptions } from './trace.js';
import type { X86Machine } from './x86-machine.js';

const PAGE_FAULT = 14;
const NMI = 2;
const hex = (value: bigint | number, digits: number) => value.toString(16).padStart(digits, '0');

export class PcTrace extends MachineTrace {
  readonly event: X86Board['event'];
  #machine!: X86Machine;
  #events = 0;
  /** By vCPU. */
  readonly #mmu: (Record<'cr0' | 'cr3' | 'cr4' | 'a20', bigint> & Record<'flushes' | 'refills', number>)[] = [];

  constructor(options: TraceOptions) {
    super(options);
    const { items } = options;
    if (items.has('int') || items.has('mmu')) this.event = (event) => this.#event(event);
  }

  override attach(machine: X86Machine): void {
    super.attach(machine);
    this.#machine = machine;
  }

  protected override translation(): void {
    const { currentCpu, engine } = this.#machine;
    const old = this.#mmu[engine.current] ?? { cr0: -1n, cr3: -1n, cr4: -1n, a20: -1n, flushes: 0, refills: 0 };
    const now = { ...currentCpu.translationControls, ...engine.tlbCounters };
    if (now.cr0 !== old.cr0) this.line(`CR0 update: CR0=0x${hex(now.cr0, 8)}`);
    if (now.cr3 !== old.cr3) this.line(`CR3 update: CR3=${hex(now.cr3, 16)}`);
    if (now.cr4 !== old.cr4) this.line(`CR4 update: CR4=0x${hex(now.cr4, 8)}`);
    if (now.a20 !== old.a20) this.line(`A20 update: a20=${now.a20}`);
    const count = (what: string, by: number) => {
      if (by > 0) this.line(`TLB ${what}: ${by}`);
    };
    count('flush', (now.flushes - old.flushes) >>> 0);
    count('refill', (now.refills - old.refills) >>> 0);
    this.#mmu[engine.current] = now;
  }

  #event({ vector, errorCode, kind }: Parameters<NonNullable<X86Board['event']>>[0]): void {
    const cpu = this.#machine.currentCpu;
    const cr2 = cpu.register('cr2') ?? 0n;
    if (this.items.has('mmu') && kind === 'exception' && vector === PAGE_FAULT) {
      this.line(`page fault: CR2=${hex(cr2, 16)} error=${hex(errorCode ?? 0, 4)}`);
    }
    if (!this.items.has('int')) return;
    if (kind === 'exception') this.line(`check_exception old: 0xffffffff new 0x${hex(vector, 1)}`);
    else if (kind === 'interrupt' && vector !== NMI) this.line(`Servicing hardware INT=0x${hex(vector, 2)}`);
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
    this.line(`${head.join(' ')}\n${this.dump()}`);
  }
}
