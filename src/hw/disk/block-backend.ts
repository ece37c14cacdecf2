/**
 * What a block device is backed by. Every operation calls `done` exactly once: before it returns, or later in the thread
 * that owns the device. Offsets and lengths are bytes, multiples of 512 and within the size.
 */
export type BlockFailure = 'io' | 'no-space' | 'unsupported';
export type BlockDone = (failure?: BlockFailure) => void;

export interface BlockBackend {
  readonly sizeBytes: number;
  readonly readonly: boolean;
  /** Fills the targets, one after the other. They are guest RAM. */
  read(offset: number, targets: readonly Uint8Array[], done: BlockDone): void;
  /** Writes the sources, one after the other. They are guest RAM, which the guest may change meanwhile. */
  write(offset: number, sources: readonly Uint8Array[], done: BlockDone): void;
  /** All writes that were done before are on stable storage when this is. */
  flush(done: BlockDone): void;
  discard?(offset: number, length: number, done: BlockDone): void;
  writeZeroes?(offset: number, length: number, mayUnmap: boolean, done: BlockDone): void;
}

/** The back end of a drive with a buffer of its own, whose medium may come and go. */
export interface DriveBackend extends BlockBackend {
  /** There is a medium; without one `sizeBytes` is 0, and no request is made. */
  readonly inserted: boolean;
  /** Zeroed memory beside guest RAM that requests may name too. Asked for once, when the drive is built. */
  allocate(sizeBytes: number): Uint8Array;
  /** Returns when every request that was begun has ended, or waits for the machine's owner after an error. */
  drain(): void;
  /** The drive opened or closed its tray, at the guest's wish. */
  trayMoved?(open: boolean): void;
}
