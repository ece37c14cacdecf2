/**
 * The contract between a board and what runs its vCPU. It is modelled on KVM: the vCPU runs until a VM exit; exits that a device
 * answers (PIO, MMIO, MSR) are answered in place, by calls of the host's side from the thread that runs the vCPU; `run` returns
 * for what concerns the board.
 *
 * The vCPU's architectural state has one home, the state area in the machine's memory that the guest's schema lays out. The
 * translator works on it directly. An accelerator that keeps registers elsewhere brings them home at `synchronize`, and takes
 * them from there again at its next `run`: so a debugger, a snapshot and a move to another accelerator all see and change one
 * thing.
 */
import type { DeferrableRange, NotifyRegister } from '../bus/index.js';
import type { VmExit } from '../guest/guest-cpu.js';
import type { ExitCounters } from './exits.js';

export const acceleratorNames = ['kvm', 'tcg'] as const;
export type AcceleratorName = (typeof acceleratorNames)[number];

/** Guest-physical RAM or ROM, all whole pages. */
export interface AcceleratorRamBlock {
  readonly gpa: number;
  readonly size: number;
  /** Byte offset in the machine's memory. */
  readonly hva: number;
  readonly readonly: boolean;
}

/** Hears of the guest's code as such. */
export interface GuestObserver {
  enter(): void;
  leave(): void;
  /**
   * Guest code has come to a handler of its own, as far as the accelerator can tell without being asked by the guest: a vector's,
   * or that of SYSCALL. To tell it costs exits: absent where time alone is measured.
   */
  readonly handler?: ((what: number | 'syscall') => void) | undefined;
  /** From here on another vCPU runs in this thread. */
  readonly turn?: ((vcpu: number) => void) | undefined;
}

/** Data that a debugger watches: guest-virtual (linear) addresses. */
export interface Watchpoint {
  readonly kind: 'write' | 'read' | 'access';
  readonly address: bigint;
  readonly length: number;
}

/** What the board gives to an accelerator. All addresses are guest-physical. */
export interface AcceleratorHost {
  /** Something answers at the address or near it. Absent: everywhere. Where guests know no bus errors nobody asks. */
  answers?(gpa: number): boolean;
  mmioRead(gpa: number, size: 1 | 2 | 4): number;
  mmioWrite(gpa: number, size: 1 | 2 | 4, value: number): void;
  pioRead(port: number, size: 1 | 2 | 4): number;
  pioWrite(port: number, size: 1 | 2 | 4, value: number): void;
  /** The time-stamp counter without any offset. */
  readTsc(): bigint;
  randomBits(): bigint;
  /**
   * Called at least every few hundred microseconds of guest work where the accelerator counts it, when `untilDeadlineNs` has
   * passed, and after each kick: fires timers, hears requests. Gives true to make `run` return 'kick'.
   */
  poll(): boolean;
  /** Nanoseconds to the next timer's deadline; 0 or less: it is due. Infinity: there is none. */
  untilDeadlineNs(): number;
  /** Where writes may be collected and handed over before the next other access. */
  deferrable(): readonly DeferrableRange[];
  /** The notify register that a write goes to, as it is now. */
  notifyRegister(space: 'port' | 'memory', address: number, size: number, value: number): NotifyRegister | undefined;
  /** Hears of every entry into guest code and of its end, where somebody measures; undefined otherwise. */
  readonly guest?: GuestObserver | undefined;
}

export interface Accelerator {
  readonly name: AcceleratorName;
  /** VM exits since it was made. */
  readonly exits: ExitCounters;
  /** The vCPU that runs, ran last, or met the debugger's stop. */
  readonly current: number;
  /**
   * Runs the guest until all its vCPUs halt, one shuts down or meets a debugger's stop, or the machine wants to be heard ('kick').
   */
  run(): VmExit;
  /** Executes one instruction of a vCPU, past breakpoints; the others stand. It goes on from a halt; one that waits to be started does nothing. */
  step(vcpu: number): VmExit | undefined;
  /** Where all halt, one takes what wakes it, if there is something. True: `run` may be called. */
  wake(): boolean;
  /**
   * Makes `run` call `poll` soon. For the thread that runs the vCPU (devices call it in the middle of an exit); other threads set
   * the kick word in the state's header, or do what the accelerator's maker says.
   */
  kick(): void;
  /** Whether the observer's `handler` hears of page faults and system calls. Absent: the guest's own code tells of them. */
  readonly seesHandlers?: boolean;
  /** The board's interrupt controller of a vCPU (the first unless given) has, or no longer has, something for it. */
  setInterruptPending(pending: boolean, vcpu?: number): void;
  raiseNmi(vcpu?: number): void;
  /** `untilDeadlineNs` gives something else than before. */
  deadlineChanged(): void;
  /** `run` returns 'debug' before an instruction at one of these linear addresses. */
  setBreakpoints(addresses: ReadonlySet<bigint>): void;
  /**
   * `run` returns 'debug' after an instruction that touched what is watched. False: it cannot watch that, and nothing has changed. Absent:
   * the guest's own code tells of accesses (`Board.setWatching`).
   */
  setWatchpoints?(watchpoints: readonly Watchpoint[]): boolean;
  /** The watchpoint for which `run` or `step` has returned, once. */
  takeWatchpointHit?(): Watchpoint | undefined;
  /** Where guest RAM lies from now on. */
  setRamBlocks(blocks: readonly AcceleratorRamBlock[]): void;
  /** What answers at some addresses of devices has changed, or may have. Absent: the accelerator keeps nothing of that. */
  windowsChanged?(): void;
  /** A device wrote to guest memory at these host addresses. */
  published(hva: number, size: number): void;
  /** From here on it is noted which pages of RAM the guest and `published` write, all clean at first; false: no longer. */
  setDirtyLogging(on: boolean): void;
  /**
   * Tells each page written since logging began, or since the last call, once, by host address. A page may be told that was only
   * about to be written: by a store that met a fault on its next page, or, under KVM, one that was read.
   */
  takeDirty(page: (hva: number) => void): void;
  /** The vCPU's state is at home afterwards, and may be read and changed there until the next `run`. */
  synchronize(): void;
  /** The state at home, and guest RAM, were made by someone else: forgets whatever was derived from them. */
  takeOver(): void;
  close(): void;
}
