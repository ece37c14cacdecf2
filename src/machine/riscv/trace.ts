/** What `-d int` logs of a RISC-V machine, laid out as QEMU's. */
import type { RiscvCpu } from '../../guest/riscv/index.js';
import { MachineTrace, type TraceOptions } from '../trace.js';

const causes = [
  ...['misaligned_fetch', 'fault_fetch', 'illegal_instruction', 'breakpoint', 'misaligned_load', 'fault_load'],
  ...['misaligned_store', 'fault_store', 'user_ecall', 'supervisor_ecall', 'hypervisor_ecall', 'machine_ecall'],
  ...['exec_page_fault', 'load_page_fault', 'reserved', 'store_page_fault'],
];
const interrupts: Readonly<Record<number, string>> = {
  1: 's_software',
  3: 'm_software',
  5: 's_timer',
  7: 'm_timer',
  9: 's_external',
  11: 'm_external',
};
const hex = (value: bigint | number, digits: number) => value.toString(16).padStart(digits, '0');

export class RiscvTrace extends MachineTrace {
  /** Absent: nobody wants to know. */
  readonly event: ((cpu: RiscvCpu, code: number, value: bigint, interrupt: boolean) => void) | undefined;

  constructor(options: TraceOptions) {
    super(options);
    if (!options.items.has('int')) return;
    this.event = (cpu, code, value, interrupt) => {
      const name = (interrupt ? interrupts[code] : causes[code]) ?? 'reserved';
      this.line(
        `riscv_cpu_do_interrupt: hart:${cpu.id}, async:${interrupt ? 1 : 0}, cause:${hex(code, 16)}, epc:0x${hex(cpu.linearPc, 16)}, tval:0x${hex(value, 16)}, desc=${name}`,
      );
    };
  }
}
