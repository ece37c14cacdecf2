/** How a machine's thread gets the board of its architecture. */
import type { Accelerator } from '../../accel/index.js';
import type { KvmDebugging } from '../../host/node/kvm/probe.js';
import type { Board, BoardHost, BoardOptions } from '../../machine/board.js';
import type { FirmwareOptions } from '../../machine/firmware.js';
import type { WorkerConfig } from '../worker-protocol.js';

export interface BoardPlan extends BoardOptions {
  /** CPU model and flags, as `-cpu` takes them. */
  readonly cpu: string;
  /** The board, by its row's name. */
  readonly machine: string;
  readonly hpet: boolean;
  readonly acpi: boolean;
  readonly arm: WorkerConfig['arm'];
  readonly riscv?: WorkerConfig['riscv'];
  readonly microvm: WorkerConfig['microvm'];
  readonly firmware: FirmwareOptions | undefined;
}

/** What KVM is to be told of a machine. */
export interface KvmRequest {
  readonly config: WorkerConfig;
  /** Words of the doorbell. */
  readonly doorbell: Int32Array;
  /** The CPU as KVM can have it. */
  readonly cpu: string;
  readonly tscHz: number | undefined;
  readonly debug: KvmDebugging;
  /** KVM runs it, but not all that could be in the kernel is. */
  notice(sentence: string): void;
}

export interface MadeBoard {
  readonly board: Board;
  /** Absent: KVM does not run such guests. Throws VringError `kvm-…`. */
  readonly openKvm?: (request: KvmRequest) => Promise<Accelerator>;
}

export type BoardMaker = (host: BoardHost, plan: BoardPlan) => MadeBoard;
