/** What a machine's disks are, and what the threads that have to do with them say to each other. */
import type { MessagePort } from 'node:worker_threads';
import type { CacheMode, ImageInfo, OptionDict, ThrottleLimits } from '../block/index.js';
import type { BlockRequest, JobEvent } from './block-protocol.js';
import type { ThresholdExceeded } from './write-thresholds.js';

/** What happens to the guest's request when the image cannot be read or written. */
export type ErrorPolicy =
  /** The guest sees an error. */
  | 'report'
  /** The guest is told that all went well. */
  | 'ignore'
  /** The machine stands still; the request is tried again when it goes on. */
  | 'stop'
  /** As `stop` when the host has no space left, `report` otherwise. */
  | 'enospc';

/** An image behind a disk of the machine. Either `path` or `options` say which; options are spelled as QEMU's `-blockdev`. */
export interface DiskImage {
  /** How the image was asked for; what is said of one that cannot be opened at the start begins with it. */
  readonly option?: string | undefined;
  /** File, block device, `nbd://…`, `https://…`, `json:{…}`. */
  readonly path?: string | undefined;
  /** Found by the image's first bytes unless given: `raw`, `qcow2`, … */
  readonly format?: string | undefined;
  /** Further options of its block nodes, flat: `{ 'backing.driver': 'raw' }`. */
  readonly options?: OptionDict | undefined;
  /** In place of all these: a node of `MachineOptions.blockNodes` by its node-name. */
  readonly node?: string | undefined;
  readonly readonly?: boolean | undefined;
  /** `writeback` unless given. */
  readonly cache?: CacheMode | undefined;
  /** Whether what the guest discards is given back to the host; it is not unless told so. */
  readonly discard?: 'ignore' | 'unmap' | undefined;
  /** Writes go to a temporary file and are lost at the end. */
  readonly snapshot?: boolean | undefined;
  /** Bytes and requests a second. */
  readonly limits?: ThrottleLimits | undefined;
  /** Others may write to the image meanwhile. */
  readonly shareWrites?: boolean | undefined;
  /** `report` unless given. */
  readonly onReadError?: Exclude<ErrorPolicy, 'enospc'> | undefined;
  /** `enospc` unless given. */
  readonly onWriteError?: ErrorPolicy | undefined;
}

export interface DiskConfig extends DiskImage {
  /** Its name for a person: a drive's id. */
  readonly id: string;
  /** The medium comes and goes; `empty`: there is none at first. */
  readonly removable?: boolean | undefined;
  readonly empty?: boolean | undefined;
}

/** An open disk as its device sees it. */
export interface OpenDisk {
  /** A multiple of 512. */
  readonly sizeBytes: number;
  readonly readonly: boolean;
  /** There is a medium. */
  readonly inserted: boolean;
}

/** Requests of one kind: what was done, how long all took, and how many failed. */
export interface CountedRequests {
  readonly bytes: number;
  readonly count: number;
  readonly ns: number;
  readonly failures: number;
}

/** What a disk's device has been answered. */
export interface DiskStatistics {
  readonly reads: CountedRequests;
  /** With zeroes that were written. */
  readonly writes: CountedRequests;
  readonly flushes: CountedRequests;
  readonly discards: CountedRequests;
  /** The end of the furthest write. */
  readonly highestWrittenByte: number;
  /** Since the last request; undefined: there was none. */
  readonly idleNs: number | undefined;
}

/** An open disk, for a person. */
export interface DiskDescription extends OpenDisk {
  readonly id: string;
  /** It was given a node by name: its id is not a drive's. */
  readonly isNode: boolean;
  readonly removable: boolean;
  /** Empty texts where there is no medium. */
  readonly nodeName: string;
  readonly filename: string;
  readonly format: string;
  readonly backing: string | undefined;
  readonly cache: CacheMode;
  readonly statistics: DiskStatistics;
  /** Of its requests; empty: there are none. */
  readonly limits: ThrottleLimits;
}

/** A dirty bitmap of a node. */
export interface BitmapDescription {
  readonly name: string;
  readonly granularity: number;
  readonly countBytes: number;
  readonly isRecording: boolean;
  readonly isBusy: boolean;
  readonly isPersistent: boolean;
  readonly isInconsistent: boolean;
}

/** A block node with a name. */
export interface BlockNodeDescription {
  readonly nodeName: string;
  readonly driver: string;
  readonly filename: string;
  readonly readonly: boolean;
  readonly cache: CacheMode;
  readonly detectZeroes: 'off' | 'on' | 'unmap';
  readonly encrypted: boolean;
  /** Bytes beyond which a write is told of; 0: none is. */
  readonly writeThreshold: number;
  /** The node's image, then those that it is backed by. */
  readonly images: readonly ImageInfo[];
  readonly bitmaps: readonly BitmapDescription[];
}

/** Where a machine's NBD server listens. */
export type NbdAddress =
  | { readonly type: 'inet'; readonly host: string; readonly port: number }
  | { readonly type: 'unix'; readonly path: string };

/** A disk of the machine, or a block node, as the NBD server offers it. */
export interface NbdExportRequest {
  /** Its name among the exports. */
  readonly id: string;
  /** The name for clients. */
  readonly name: string;
  /** A disk by its id, or a node by its name. */
  readonly disk: string;
  readonly description?: string | undefined;
  readonly writable?: boolean | undefined;
}

export interface NbdExportDescription {
  readonly id: string;
  readonly nodeName: string;
}

/** What the NBD server is asked for. */
export type NbdRequest =
  | { readonly op: 'start'; readonly address: NbdAddress; readonly maxConnections: number }
  | { readonly op: 'add'; readonly exported: NbdExportRequest }
  /** Without `force` only if no client uses it. */
  | { readonly op: 'remove'; readonly id: string; readonly force: boolean }
  | { readonly op: 'stop' };

export interface DiskWorkerConfig {
  readonly disks: readonly DiskConfig[];
  /** Nodes that are opened first, in this order. */
  readonly blockNodes: readonly OptionDict[];
  readonly secrets: Readonly<Record<string, Uint8Array>>;
  readonly objects: Readonly<Record<string, BlockObject>>;
  /** Slots and rings (disk-ring.ts). */
  readonly ring: SharedArrayBuffer;
  /** The other end is the vCPU's. */
  readonly port: MessagePort;
  /** The machine's doorbell (worker-protocol.ts). */
  readonly doorbell: SharedArrayBuffer;
}

/** A request that could not be done, and what became of it. */
export interface DiskError {
  readonly disk: number;
  readonly write: boolean;
  readonly action: 'stop' | 'report' | 'ignore';
  /** The host has no room. */
  readonly noSpace: boolean;
}

/** What block nodes refer to by id: TLS credentials, throttle groups. */
export interface BlockObject {
  readonly type: string;
  readonly options: OptionDict;
}

/** What a vCPU's thread needs of the disks. */
export interface MachineDisksConfig {
  readonly disks: readonly Pick<DiskConfig, 'id' | 'onReadError' | 'onWriteError'>[];
  readonly ring: SharedArrayBuffer;
  readonly port: MessagePort;
}

/** From the vCPU's thread. */
export type ToDisksFromMachine =
  | {
      readonly type: 'memory';
      readonly memory: SharedArrayBuffer;
      /** The vCPUs' kick words, as indices of 32-bit words. */
      readonly kickIndices: readonly number[];
    }
  /** There are submissions. */
  | { readonly type: 'submitted' };

/** From the machine's owner. */
export type ToDisks =
  | { readonly type: 'describe'; readonly id: number }
  /** Another medium for a drive, or the one that is prepared for it; undefined: none. */
  | {
      readonly type: 'change';
      readonly id: number;
      readonly disk: number;
      readonly image: DiskImage | 'prepared' | undefined;
    }
  /** Opens a medium for a drive, which gets it later; undefined: it does not. */
  | { readonly type: 'prepare'; readonly id: number; readonly disk: number; readonly image: DiskImage | undefined }
  /** Opens an image, which no device has, and keeps it by that name; closes it again. */
  | { readonly type: 'hold'; readonly id: number; readonly name: string; readonly image: DiskImage | undefined }
  | { readonly type: 'release'; readonly id: number; readonly name: string }
  /** Another disk; the answer has its place. */
  | { readonly type: 'add'; readonly id: number; readonly disk: DiskConfig }
  | { readonly type: 'remove'; readonly id: number; readonly disk: number }
  /** Another block node, by name. */
  | { readonly type: 'addNode'; readonly id: number; readonly options: OptionDict }
  | { readonly type: 'removeNode'; readonly id: number; readonly name: string }
  | {
      readonly type: 'defineObject';
      readonly id: number;
      readonly name: string;
      readonly object: Uint8Array | BlockObject;
    }
  /** Answered with whether it could go. */
  | { readonly type: 'forgetObject'; readonly id: number; readonly name: string }
  | { readonly type: 'describeNodes'; readonly id: number }
  | { readonly type: 'nbd'; readonly id: number; readonly request: NbdRequest }
  | { readonly type: 'block'; readonly id: number; readonly request: BlockRequest }
  | { readonly type: 'close' };

export type FromDisks =
  | { readonly type: 'opened' }
  | { readonly type: 'failed'; readonly code: string; readonly message: string }
  /** To one of the owner's messages by its id. */
  | {
      readonly type: 'answer';
      readonly id: number;
      readonly value?: unknown;
      readonly failure?: { readonly code: string; readonly message: string };
    }
  | { readonly type: 'jobEvent'; readonly event: JobEvent }
  | { readonly type: 'thresholdExceeded'; readonly exceeded: ThresholdExceeded }
  /** What the block layer has to say to a person. */
  | { readonly type: 'report'; readonly line: string }
  | { readonly type: 'closed' };
