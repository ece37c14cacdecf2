/**
 * The system registers of a GICv3's CPU interface (Arm IHI 0069, 12.2), which the board's interrupt controller answers for. Where the
 * board has none, they are undefined.
 */

/** Name in the interrupt controller, code as registers.ts spells it, what can be done with it. */
export const gicRegisters = [
  ['PMR', '3 0 4 6 0', 'rw'],
  ['IAR0', '3 0 12 8 0', 'r'],
  ['EOIR0', '3 0 12 8 1', 'w'],
  ['HPPIR0', '3 0 12 8 2', 'r'],
  ['BPR0', '3 0 12 8 3', 'rw'],
  ['AP0R0', '3 0 12 8 4', 'rw'],
  ['AP1R0', '3 0 12 9 0', 'rw'],
  ['DIR', '3 0 12 11 1', 'w'],
  ['RPR', '3 0 12 11 3', 'r'],
  ['SGI1R', '3 0 12 11 5', 'w'],
  ['ASGI1R', '3 0 12 11 6', 'w'],
  ['SGI0R', '3 0 12 11 7', 'w'],
  ['IAR1', '3 0 12 12 0', 'r'],
  ['EOIR1', '3 0 12 12 1', 'w'],
  ['HPPIR1', '3 0 12 12 2', 'r'],
  ['BPR1', '3 0 12 12 3', 'rw'],
  ['CTLR', '3 0 12 12 4', 'rw'],
  ['SRE', '3 0 12 12 5', 'rw'],
  ['IGRPEN0', '3 0 12 12 6', 'rw'],
  ['IGRPEN1', '3 0 12 12 7', 'rw'],
] as const;
export type GicRegister = (typeof gicRegisters)[number][0];

/** The interrupt controller's side, as in the bus layer's GicCpuInterface (structurally). */
export interface GicPort {
  read(register: GicRegister): number;
  write(register: GicRegister, value: bigint): void;
  readonly virtual?: VirtualGicPort | undefined;
}
export interface VirtualGicPort {
  read(register: GicRegister): number;
  write(register: GicRegister, value: bigint): void;
  readControl(name: string): bigint;
  writeControl(name: string, value: bigint): void;
  controlBits(): number;
}

/** What a hypervisor has: ICH_*_EL2. */
export const hypervisorRegisters = [
  ['AP0R0', '3 4 12 8 0', 'rw'],
  ['AP1R0', '3 4 12 9 0', 'rw'],
  ['HCR', '3 4 12 11 0', 'rw'],
  ['VTR', '3 4 12 11 1', 'r'],
  ['MISR', '3 4 12 11 2', 'r'],
  ['EISR', '3 4 12 11 3', 'r'],
  ['ELRSR', '3 4 12 11 5', 'r'],
  ['VMCR', '3 4 12 11 7', 'rw'],
  ['LR0', '3 4 12 12 0', 'rw'],
  ['LR1', '3 4 12 12 1', 'rw'],
  ['LR2', '3 4 12 12 2', 'rw'],
  ['LR3', '3 4 12 12 3', 'rw'],
] as const;

/** Registers that are of one group of interrupts, of both, or send interrupts: HCR_EL2 decides whose they are at EL1 by that. */
export function groupsOf(register: GicRegister): 0 | 1 | 'both' | 'send' | undefined {
  if (register === 'SRE') return undefined;
  if (/SGI\dR$/.test(register)) return 'send';
  const [, group] = /^(?:IAR|EOIR|HPPIR|BPR|IGRPEN|AP(?=\dR0))(\d)/.exec(register) ?? [];
  return group === undefined ? 'both' : group === '0' ? 0 : 1;
}

/** Reading these acknowledges an interrupt. */
export const acknowledging: readonly GicRegister[] = ['IAR0', 'IAR1'];
