/** What `-d int` logs of an AArch64 machine, laid out as QEMU's. */
import { type ArmCore, field, ofLevel } from '../../guest/arm/index.js';
import { MachineTrace, type TraceOptions } from '../trace.js';

/** Kinds of exceptions by QEMU's number and name. */
export const kinds = {
  undefined: [1, 'Undefined Instruction'],
  call: [2, 'SVC'],
  prefetch: [3, 'Prefetch Abort'],
  data: [4, 'Data Abort'],
  irq: [5, 'IRQ'],
  fiq: [6, 'FIQ'],
  breakpoint: [7, 'Breakpoint'],
  hypervisorCall: [11, 'Hypervisor Call'],
  monitorCall: [13, 'Secure Monitor Call'],
  virtualIrq: [14, 'Virtual IRQ'],
  virtualFiq: [15, 'Virtual FIQ'],
} as const;
const byClass: Readonly<Record<number, readonly [number, string]>> = {
  21: kinds.call,
  22: kinds.hypervisorCall,
  23: kinds.monitorCall,
  32: kinds.prefetch,
  33: kinds.prefetch,
  34: kinds.prefetch,
  36: kinds.data,
  37: kinds.data,
  60: kinds.breakpoint,
};
export const hex = (value: bigint | number) => `0x${value.toString(16)}`;

export class ArmTrace extends MachineTrace {
  /** Absent: nobody wants to know. */
  readonly exceptionTaken: ((cpu: number, core: ArmCore, vector: number, fromEl: number) => void) | undefined;

  constructor(options: TraceOptions) {
    super(options);
    if (!options.items.has('int')) return;
    this.exceptionTaken = (...taken) => this.line(this.describe(...taken).join('\n'));
  }

  protected describe(cpu: number, core: ArmCore, vector: number, fromEl: number): string[] {
    const syndrome = core.get32(ofLevel(field.esr, core.el)) >>> 0;
    const [number, name] =
      vector === 0 ? (byClass[syndrome >>> 26] ?? kinds.undefined) : vector === 0x80 ? kinds.irq : kinds.fiq;
    const isAbort = vector === 0 && [0x20, 0x21, 0x24, 0x25].includes(syndrome >>> 26);
    return [
      `Taking exception ${number} [${name}] on CPU ${cpu}`,
      `...from EL${fromEl} to EL${core.el}`,
      ...(vector === 0 ? [`...with ESR ${hex(syndrome >>> 26)}/${hex(syndrome)}`] : []),
      ...(isAbort ? [`...with FAR ${hex(core.get64(ofLevel(field.far, core.el)))}`] : []),
      `...with ELR ${hex(core.get64(ofLevel(field.elr, core.el)))}`,
      `...to EL${core.el} PC ${hex(core.pc)} PSTATE ${hex(core.pstate)}`,
    ];
  }
}
