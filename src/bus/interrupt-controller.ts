/** The two sides of the contract between a vCPU and its interrupt controller (on x86: the local APIC). */

/** What the vCPU asks and tells its interrupt controller. */
export interface CpuInterruptController {
  /** A maskable interrupt can be delivered now: what the INTR pin shows. Cheap: asked at every interrupt window. */
  pending(): boolean;
  /** The vector to deliver, which this call acknowledges. Called when pending() is true, which it may be still after it. */
  acknowledge(): number;
  /** CR8: the task priority class, 0 to 15. Writing may make pending() true or false. */
  cr8: number;
  /** Value of an MSR that belongs to the controller (0x1b, 0x6e0, 0x800-0x8ff); undefined means #GP. */
  readMsr(index: number): bigint | undefined;
  /** False means #GP. */
  writeMsr(index: number, value: bigint): boolean;
}

/** What the interrupt controller asks and tells its vCPU. Calls may come while the vCPU runs: they set a flag and kick. */
export interface CpuSignals {
  /** pending() may have become true. */
  interruptChanged(): void;
  nmi(): void;
  /** INIT: the vCPU resets and, unless it is the bootstrap processor, waits for a SIPI. */
  init(): void;
  /** Start-up IPI: begin in real mode at vector << 12. Only a vCPU that waits for it heeds it. */
  sipi(vector: number): void;
  /** SMI, where the machine has system-management mode; otherwise the message is dropped. */
  smi?(): void;
  /** The time-stamp counter as RDTSC gives it (IA32_TSC_ADJUST included). */
  tscNow(): bigint;
  /** Counts of the time-stamp counter per second. */
  readonly tscHz: number;
}

/** Registers of a GICv3's CPU interface, by the manual's names less ICC_ and _EL1. */
export type GicRegister =
  | 'PMR'
  | 'IAR0'
  | 'EOIR0'
  | 'HPPIR0'
  | 'BPR0'
  | 'AP0R0'
  | 'AP1R0'
  | 'DIR'
  | 'RPR'
  | 'SGI1R'
  | 'ASGI1R'
  | 'SGI0R'
  | 'IAR1'
  | 'EOIR1'
  | 'HPPIR1'
  | 'BPR1'
  | 'CTLR'
  | 'SRE'
  | 'IGRPEN0'
  | 'IGRPEN1';

/** What an Arm CPU asks and tells its GICv3: system registers, of 32 bits when read. */
export interface GicCpuInterface {
  /** Reading IAR0 and IAR1 acknowledges an interrupt. */
  read(register: GicRegister): number;
  write(register: GicRegister, value: bigint): void;
  /** Where hypervisors have list registers. */
  readonly virtual?: GicVirtualInterface | undefined;
}

/** A GICv3's CPU interface for virtual machines: the registers that those find under the same names, and what a hypervisor has. */
export interface GicVirtualInterface {
  read(register: GicRegister): number;
  write(register: GicRegister, value: bigint): void;
  /** By the manual's names less ICH_ and _EL2: HCR, VTR, VMCR, MISR, EISR, ELRSR, AP0R0, AP1R0, LR0 to LR3. */
  readControl(name: string): bigint;
  writeControl(name: string, value: bigint): void;
  /** ICH_HCR_EL2. */
  controlBits(): number;
}
