/** What a debugger's stub wants of a machine: its vCPUs are gdb's threads. */

export interface DebugRegister {
  readonly name: string;
  readonly bits: 32 | 64 | 80 | 128;
  /** Type in gdb's target description; an integer of its size unless given. */
  readonly type?: string;
  /** Feature of the target description that it belongs to. */
  readonly feature: string;
}

export type WatchKind = 'write' | 'read' | 'access';

export interface DebugTarget {
  /** gdb's name of the architecture. */
  readonly architecture: string;
  /** In the order of gdb's `g` packet; those of one feature lie together. */
  readonly registers: readonly DebugRegister[];
  /** Number of vCPUs; absent: one. */
  readonly vcpus?: number;
  /**
   * The vCPU that registers, virtual addresses and `step` are about, from 0 on. After a stop it is the one that stopped the machine.
   */
  vcpu?: number;
  readRegister(index: number): bigint;
  /** False: it cannot be written. */
  writeRegister(index: number, value: bigint): boolean;
  /** Guest-virtual memory; fewer bytes than asked for where mapped RAM ends. */
  readMemory(address: bigint, length: number): Uint8Array;
  /** False: not all of it is RAM; nothing was written. */
  writeMemory(address: bigint, bytes: Uint8Array): boolean;
  /** The vCPU stops before the instruction at a guest-virtual address. False: no room for more. */
  setBreakpoint(address: bigint): boolean;
  clearBreakpoint(address: bigint): void;
  /** The vCPU stops after an instruction that accesses a range so. False: no room for more. Absent: it has none. */
  setWatchpoint?(kind: WatchKind, address: bigint, length: number): boolean;
  clearWatchpoint?(kind: WatchKind, address: bigint, length: number): void;
  /** Which one stopped the vCPU since the last call, if one did. */
  takeWatchpointHit?(): { readonly kind: WatchKind; readonly address: bigint } | undefined;
  /** Executes one instruction of `vcpu` alone. Called while all are stopped. */
  step(): void;
  /** Lets the vCPU run; its owner calls the stub's `stopped` when it has stopped again. */
  resume(): void;
  /** Asks a running vCPU to stop. */
  interrupt(): void;
  /** Ends the machine. */
  kill(): void;
}
