/**
 * What the translator asks of a guest CPU: its variables and routines, a translator of its instructions, and the rare
 * things that are done in JavaScript. One GuestCpu is one vCPU.
 */
import type { BlockBuilder, GuestVars, RoutineSet } from '../ir/index.js';

/** Code to translate. One object, reused: what it says holds for the call only. */
export interface TranslationRequest {
  readonly b: BlockBuilder;
  /** The 4096 bytes of the page that the block starts on, and where in it. */
  page: Uint8Array;
  offset: number;
  /**
   * The page that follows in guest-virtual space, for an instruction that starts on `page` and ends there. Undefined when
   * it was not asked for yet, or cannot be fetched from.
   */
  nextPage: Uint8Array | undefined;
  modeKey: number;
  maxInstructions: number;
}

export interface TranslationResult {
  /** Bytes of guest code; instructions in it. */
  bytes: number;
  instructions: number;
  /** The block is one instruction that ends on the next page. */
  crossesPage: boolean;
  /** Nothing was translated: the first instruction goes on to the next page, which was not given. */
  needsNextPage: boolean;
}

export interface GuestTranslator {
  translate(request: TranslationRequest, result: TranslationResult): void;
  /** How far the address that code is entered by lies behind the code: AArch32's says the instruction set, and more. 0 unless given. */
  readonly entryDistance?: (offset: number) => number;
  /** One line of assembly for `-d in_asm`, with its length. */
  disassemble(
    page: Uint8Array,
    offset: number,
    nextPage: Uint8Array | undefined,
    modeKey: number,
    pc: bigint,
  ): { text: string; bytes: number };
}

/** Why `run` of an accelerator returns to the machine. */
export type VmExit = 'halt' | 'shutdown' | 'kick' | 'debug';

/** What a guest CPU's JavaScript may use of the engine that runs it. */
export interface CpuContext {
  readonly buffer: SharedArrayBuffer;
  /** Address of the vCPU's state in the buffer. */
  readonly state: number;
  /** The instance's routines, by name; the first argument is the state's address. */
  readonly routines: Readonly<Record<string, (...args: unknown[]) => unknown>>;
}

/** A guest CPU's code as such: all that is needed to translate it. */
export interface GuestCode {
  /** Name of the instruction set: what is kept of routines is kept under it. */
  readonly architecture: string;
  readonly vars: GuestVars;
  readonly routines: RoutineSet;
  readonly translator: GuestTranslator;
}

export interface GuestCpu extends GuestCode {
  /** JavaScript bodies of the guest's own host routines. */
  hostRoutines(): Readonly<Record<string, (...args: never[]) => unknown>>;
  /** Called once, when the routines are compiled. */
  attach(context: CpuContext): void;
  /** header.trapCode describes a fault of the instruction at header.pc: enter its handler. Gives 'shutdown' on a triple fault. */
  deliverFault(): VmExit | undefined;
  /** It sleeps until `deliverPending` gives true, or waits to be started. Absent: it never does so while another could run. */
  readonly isHalted?: boolean;
  /** A debugger lets it execute an instruction though it sleeps. False: it waits to be started, and cannot. */
  goOn?(): boolean;
  /** The instruction at the pc has been begun, and changed nothing but that: no breakpoint stops at it again, a step ends it. */
  readonly isInsideInstruction?: boolean;
  /** A triple fault (or what the guest has for it) has stopped the CPU until it is reset. */
  readonly isShutDown?: boolean;
  /** Takes a pending interrupt, NMI or debug trap if the CPU may take one now. Gives true if it did (or shut down). */
  deliverPending(): boolean;
  /** A non-maskable interrupt is pending. The caller kicks the engine. */
  raiseNmi?(): void;
  /** Acts on header.leaveReason. 'yield': another vCPU may have its turn. */
  handleLeave(): VmExit | 'yield' | undefined;
}
