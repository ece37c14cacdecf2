/** What a machine's block graph can be asked while the machine runs: jobs, snapshots, bitmaps, limits. Plain values: they pass between threads. */
import type { OptionDict, SnapshotInfo, ThrottleLimits } from '../block/index.js';

/** A disk of the machine by its id, or a block node by its name. */
export type NodeName = string;

export type JobType = 'mirror' | 'commit' | 'stream' | 'backup' | 'create';

/** As in QEMU's `JobStatus`. */
export type JobStatus =
  | 'created'
  | 'running'
  | 'paused'
  /** It goes on until it is told to end. */
  | 'ready'
  /** Paused while it was ready. */
  | 'standby'
  | 'waiting'
  /** All is done but to put it into effect. */
  | 'pending'
  | 'aborting'
  | 'concluded'
  | 'null';

/** What becomes of a job when its source cannot be read, or its target not be written. */
export type JobErrorPolicy = 'report' | 'ignore' | 'enospc' | 'stop';

export interface JobSettings {
  /** By default the id of its disk. */
  readonly id?: string | undefined;
  /** Bytes a second; 0 or absent: as fast as it goes. */
  readonly speed?: number | undefined;
  /** `report` unless given. */
  readonly onSourceError?: JobErrorPolicy | undefined;
  readonly onTargetError?: JobErrorPolicy | undefined;
  /** False: it stays `pending` until `finalize`. */
  readonly autoFinalize?: boolean | undefined;
  /** False: it stays `concluded` until `dismiss`. */
  readonly autoDismiss?: boolean | undefined;
}

/** Where a job or a snapshot writes to: a node that is there, or a file, which is made unless it `exists`. */
export type BlockTarget =
  | { readonly node: NodeName }
  | {
      readonly file: string;
      /** By default the source's. */
      readonly format?: string | undefined;
      readonly exists: boolean;
      readonly nodeName?: string | undefined;
    };

/** A node in a backing chain, by its name or by its file. */
export interface ChainPlace {
  readonly node?: string | undefined;
  readonly file?: string | undefined;
}

export interface BackupRequest extends JobSettings {
  readonly op: 'backup';
  readonly disk: NodeName;
  readonly target: BlockTarget;
  /** `bitmap`, and `incremental` as a kind of it: what a bitmap of the disk says. */
  readonly sync: 'full' | 'top' | 'none' | 'incremental' | 'bitmap';
  readonly bitmap?: string | undefined;
  /** What the bitmap has afterwards. `on-success`: what was written since the backup began, if it succeeds. `incremental` is that. */
  readonly bitmapMode?: 'on-success' | 'never' | 'always' | undefined;
  /** What is copied is stored compressed. */
  readonly compress?: boolean | undefined;
}

export type JobRequest =
  | (JobSettings & {
      readonly op: 'mirror';
      readonly disk: NodeName;
      readonly target: BlockTarget;
      readonly sync: 'full' | 'top' | 'none';
      /** Of its bitmap, in bytes. */
      readonly granularity?: number | undefined;
    })
  | (JobSettings & {
      readonly op: 'commit';
      readonly disk: NodeName;
      /** By default the disk itself, which the guest goes on writing. */
      readonly top?: ChainPlace | undefined;
      /** By default the end of the chain. */
      readonly base?: ChainPlace | undefined;
      /** What is stored in the image above as the name of its backing file. */
      readonly backingFile?: string | undefined;
    })
  | (JobSettings & {
      readonly op: 'stream';
      readonly disk: NodeName;
      /** Stays as the backing node; by default none does. */
      readonly base?: ChainPlace | undefined;
      readonly backingFile?: string | undefined;
    })
  | BackupRequest
  /** Makes an image: `driver`, and `file` (a node) or `filename` among its options, flat, in QEMU's `blockdev-create` spelling. */
  | (JobSettings & { readonly op: 'create'; readonly options: OptionDict });

/** One step of a transaction. */
export type BlockAction =
  | { readonly op: 'snapshot'; readonly disk: NodeName; readonly overlay: BlockTarget }
  | { readonly op: 'internal-snapshot'; readonly disk: NodeName; readonly name: string }
  | BackupRequest
  | {
      readonly op: 'add-bitmap';
      readonly disk: NodeName;
      readonly name: string;
      readonly granularity?: number | undefined;
      readonly persistent?: boolean | undefined;
      readonly disabled?: boolean | undefined;
    }
  | {
      readonly op: 'remove-bitmap' | 'clear-bitmap' | 'enable-bitmap' | 'disable-bitmap';
      readonly disk: NodeName;
      readonly name: string;
    }
  | {
      readonly op: 'merge-bitmaps';
      readonly disk: NodeName;
      readonly name: string;
      /** Bitmaps of the same disk by name, or of others. */
      readonly from: readonly { readonly disk: NodeName; readonly name: string }[];
    }
  /** Fails: for those who want to see that nothing is left of the others. */
  | { readonly op: 'abort' };

export type BlockRequest =
  | JobRequest
  /** All of them, at one moment for the guest, or with an error none. */
  | {
      readonly op: 'transaction';
      readonly actions: readonly BlockAction[];
      /** Its jobs end together: all well, or none. */
      readonly isGrouped?: boolean | undefined;
    }
  | { readonly op: 'jobs' }
  | { readonly op: 'pause' | 'resume' | 'complete' | 'finalize' | 'dismiss'; readonly job: string }
  /** Without `force` a job that is ready ends well, and its disk stays where it is. */
  | { readonly op: 'cancel'; readonly job: string; readonly force: boolean }
  | { readonly op: 'set-speed'; readonly job: string; readonly speed: number }
  | { readonly op: 'resize'; readonly disk: NodeName; readonly sizeBytes: number }
  /** Of a disk's requests; one that is absent or 0 is no limit. */
  | {
      readonly op: 'throttle';
      readonly disk: NodeName;
      readonly limits: ThrottleLimits;
    }
  /** Takes a disk's image away from its device, which is there without one from then on; the disk's id is free again. */
  | { readonly op: 'detach'; readonly disk: NodeName }
  /** Tells when a node is written beyond so many bytes, once; 0: no more. */
  | { readonly op: 'write-threshold'; readonly node: string; readonly bytes: number }
  /** What an overlay has goes down into the image below it, while requests wait. */
  | { readonly op: 'commit-now'; readonly disk: NodeName }
  | {
      readonly op: 'change-backing-file';
      readonly disk: NodeName;
      /** An image in the disk's chain. */
      readonly image: string;
      readonly backingFile: string;
    }
  | { readonly op: 'reopen'; readonly options: readonly OptionDict[] }
  | {
      readonly op: 'delete-internal-snapshot';
      readonly disk: NodeName;
      readonly id?: string | undefined;
      readonly name?: string | undefined;
    };

export type BlockAnswer<R extends BlockRequest> = R extends { readonly op: 'jobs' }
  ? readonly JobDescription[]
  : R extends { readonly op: 'delete-internal-snapshot' }
    ? SnapshotInfo
    : undefined;

export interface JobDescription {
  readonly id: string;
  readonly type: JobType;
  readonly status: JobStatus;
  /** Bytes done, of bytes known to be done in all. */
  readonly offset: number;
  readonly length: number;
  readonly speed: number;
  readonly isReady: boolean;
  readonly isPaused: boolean;
  /** It is at work, rather than waiting for something. */
  readonly isBusy: boolean;
  /** `ok` unless an error has stopped it. */
  readonly ioStatus: 'ok' | 'failed' | 'nospace';
  readonly autoFinalize: boolean;
  readonly autoDismiss: boolean;
  /** Why it failed. */
  readonly error: string | undefined;
}

export type JobEvent =
  | { readonly what: 'status'; readonly id: string; readonly status: JobStatus }
  | { readonly what: 'ready' | 'completed' | 'cancelled' | 'pending'; readonly job: JobDescription }
  | {
      readonly what: 'error';
      readonly id: string;
      readonly operation: 'read' | 'write';
      readonly action: 'report' | 'ignore' | 'stop';
    };
