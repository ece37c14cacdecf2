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
}

/** Reading these acknowledges an interrupt. */
export const acknowledging: readonly GicRegister[] = ['IAR0', 'IAR1'];
