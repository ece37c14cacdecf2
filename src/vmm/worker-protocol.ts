/** What the thread that owns a machine and the thread that runs it say to each other. */

/** A byte stream with the machine: two rings, seen from the machine. */
export interface StreamRings {
  /** Machine → owner. */
  readonly output: SharedArrayBuffer;
  /** Owner → machine. */
  readonly input: SharedArrayBuffer;
}

export interface SerialConfig {
  readonly stream: number;
}

export interface ConsolePortConfig {
  readonly stream: number;
  readonly name?: string;
  /** A console (hvc) rather than a named port. */
  readonly isConsole: boolean;
}

export interface DiskConfig {
  readonly path: string;
  readonly readonly: boolean;
  readonly serial?: string;
}

/** Everything a worker needs to build its machine; structured-cloneable. */
export interface WorkerConfig {
  readonly ramBytes: number;
  readonly cpu: string;
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array;
  readonly commandLine: string;
  readonly streams: readonly StreamRings[];
  /** COM1 to COM4. */
  readonly serial: readonly (SerialConfig | undefined)[];
  readonly consolePorts: readonly ConsolePortConfig[];
  readonly disks: readonly DiskConfig[];
  readonly rng: boolean;
  readonly balloon: boolean;
  readonly debugExit?: { readonly port: number; readonly size: number };
  /** Stream that takes what is written to the debug console port. */
  readonly debugcon?: { readonly port: number; readonly stream: number };
  readonly testdev: boolean;
  readonly hpet: boolean;
  readonly rebootStops: boolean;
  readonly shutdownPauses: boolean;
  readonly startPaused: boolean;
  readonly hotThreshold: number;
  /** Int32: [0] requests wait. */
  readonly doorbell: SharedArrayBuffer;
}

/** Requests carry an id, and each gets one reply with it. */
export type Request =
  | { readonly type: 'pause' }
  | { readonly type: 'resume' }
  | { readonly type: 'reset' }
  | { readonly type: 'powerButton' }
  | { readonly type: 'quit' }
  | { readonly type: 'nmi' }
  | { readonly type: 'readMemory'; readonly gpa: number; readonly length: number }
  | { readonly type: 'writeMemory'; readonly gpa: number; readonly bytes: Uint8Array }
  | { readonly type: 'resize'; readonly port: number; readonly columns: number; readonly rows: number }
  | { readonly type: 'hostOpen'; readonly port: number; readonly open: boolean }
  | { readonly type: 'statistics' }
  | { readonly type: 'registers' };

export type ToWorker = { readonly id: number; readonly request: Request };

/** How a machine ended. */
export type MachineEnd =
  | { readonly why: 'poweroff' }
  | { readonly why: 'reset' }
  | { readonly why: 'exit'; readonly status: number }
  | { readonly why: 'quit' };

export type FromWorker =
  | { readonly type: 'ready'; readonly memory: SharedArrayBuffer; readonly kickIndex: number; readonly description: string }
  | { readonly type: 'reply'; readonly id: number; readonly value?: unknown; readonly error?: { readonly code: string; readonly message: string } }
  | { readonly type: 'output'; readonly stream: number }
  | { readonly type: 'inputSpace'; readonly stream: number }
  | { readonly type: 'paused' }
  | { readonly type: 'log'; readonly line: string }
  | { readonly type: 'guestOpened'; readonly port: number; readonly open: boolean }
  | { readonly type: 'end'; readonly end: MachineEnd }
  | { readonly type: 'failed'; readonly code: string; readonly message: string };
