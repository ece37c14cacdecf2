/**
 * The contract of the block layer: what a disk is to whoever uses one, and what a driver must provide to be one.
 *
 * **A graph of nodes.** A disk is a `BlockNode`. Nodes stand on each other through named children: a *protocol* node (file,
 * nbd, http, null-co, memory) has none; a *format* node (raw, qcow2, vmdk, …) has `file`, and `backing` where the format
 * knows backing files; a *filter* (throttle, copy-on-read, blkdebug) has `file` or `image` and the same contents. Names, options and
 * error sentences follow QEMU 7.2, whose users' habits and scripts carry over.
 *
 * **Two sides.** A driver implements `DriverNode`: requests it gets are in range and aligned to its `limits.requestAlignment`.
 * Callers (tools, NBD server, guest devices, parents in the graph) see `BlockNode` only, implemented once in `graph-node.ts`: it
 * checks range and permission, aligns (read-modify-write under serialization against overlapping requests), splits to the
 * driver's limits, emulates FUA and writeZeroes where the driver lacks them, feeds dirty bitmaps, and keeps count of what is in flight.
 *
 * **Requests** are asynchronous, any number at once; overlapping writes have no order, as on a real disk. Offsets and lengths
 * are bytes in JavaScript numbers: disks end at 2^53-1 bytes (8 PiB). One request moves at most 2^31-512 bytes.
 * A request either succeeds or rejects with a BlockError whose `code` is an errno name; nothing else is ever thrown, whatever
 * an image contains. A failed write has written all, part or none.
 *
 * **Ends.** A read past the end gives zero bytes there and a write past it grows the node or is refused with EIO; who serves requests
 * of strangers checks them against `length` first.
 *
 * **Durability.** A write is durable once a later `flush` has resolved, or at once when it carries `RequestFlag.fua`.
 * The node's cache mode (`OpenFlags`) may weaken (`noFlush`) or strengthen (`writeThrough`: each write is followed by a flush) this.
 *
 * **Buffers** belong to the callee until the promise settles. They may lie in shared memory (guest RAM): drivers copy before
 * they check contents twice.
 *
 * **Adding a format** (`formats/<name>/`): export one `BlockDriver`; add one row with its probe to `registry.ts`, which
 * imports the driver only when it is used. `open` reads headers with `context.openFile()`, validates every field against the file and
 * fixed bounds *before* allocating, and returns a `DriverNode`. `create` gets parsed options. Metadata errors: throw
 * `BlockError('EINVAL', sentence)` at open; at run time `EIO`, after `context.reportCorruption` if the driver has a corrupt mark.
 */
import type { BlockHost, HostFile } from './host.js';
import type { OptionDict, OptionRow, OptionValues } from './options.js';

/** What a user of a node needs of it, and what it lets others do meanwhile. Bits as in the image locks on disk. */
export const Permission = {
  /** Contents make sense as a whole. */
  consistentRead: 1,
  write: 2,
  /** Writes that leave the visible contents as they are (copy-on-read, commit to a base nobody reads directly). */
  writeUnchanged: 4,
  resize: 8,
  all: 15,
} as const;

export const RequestFlag = {
  /** Durable when the promise resolves. */
  fua: 1,
  /** writeZeroes may deallocate. */
  mayUnmap: 2,
  /** writeZeroes: reject with ENOTSUP rather than write zero bytes. */
  noFallback: 4,
  /** Store compressed; whole clusters only (or up to the end of the disk). */
  compressed: 8,
  /** Visible contents don't change; needs only Permission.writeUnchanged. */
  unchanged: 16,
  /** read: allocate in the top layer (copy-on-read) and, with `prefetch`, drop the bytes. */
  copyOnRead: 32,
  prefetch: 64,
} as const;

export interface BlockLimits {
  /** Requests to the driver are multiples of this in offset and length. Power of two, 1 to 4096 (cluster formats: 1 or 512). */
  readonly requestAlignment: number;
  /** Best size and alignment of requests for speed (`opt_transfer`). 0: no opinion. */
  readonly optimalTransfer: number;
  readonly maxTransfer: number;
  /** discard and writeZeroes: alignment below which they gain nothing, and largest single request; 0: no opinion. */
  readonly discardAlignment: number;
  readonly maxDiscard: number;
  readonly zeroAlignment: number;
  readonly maxWriteZeroes: number;
}

export const defaultLimits: BlockLimits = {
  requestAlignment: 1,
  optimalTransfer: 0,
  maxTransfer: 0,
  discardAlignment: 0,
  maxDiscard: 0,
  zeroAlignment: 0,
  maxWriteZeroes: 0,
};

/** One run of like state that begins at the queried offset. QEMU's BDRV_BLOCK_* bits as fields. */
export interface BlockStatus {
  /** Bytes, at least 1 and at most what was asked for. */
  readonly length: number;
  /** Contents are stored somewhere in this chain (reads go to storage). */
  readonly data: boolean;
  /** Reads as zero. */
  readonly zero: boolean;
  /** Stored in this layer rather than below it (a zero cluster is allocated; an untouched one with a backing file is not). */
  readonly allocated: boolean;
  /** Where in `file` the first byte lies, when stored plainly (not compressed, not encrypted). */
  readonly offset?: number;
  readonly file?: BlockNode;
  /** Data and offset are right, but ask `file` whether it is a hole there (raw's answers, preallocated images). */
  readonly recurse?: boolean;
  /** The answer is exactly that of `file` at `offset` (raw, filters). */
  readonly passthrough?: boolean;
  readonly compressed?: boolean;
}

/**
 * Where bytes of a node lie, as they are, in a file of the host: who reads them there, or overwrites them where `isWritable` says so, does
 * what the node would do, but for `GraphNode.noteWritten`. A driver that `movesPlaces` answers anew after any request but a read that
 * touches the same cluster; nothing holds when the graph changes.
 */
export interface HostPlace {
  readonly file: HostFile;
  readonly offset: number;
  /** At least 1, at most what was asked for. */
  readonly length: number;
  readonly isWritable: boolean;
}

/** Bits of a run's kind: the members of BlockStatus. */
export const RunKind = { data: 1, zero: 2, allocated: 4 } as const;

/** Many answers of blockStatus, one after the other, without an object for each. */
export interface StatusRuns {
  readonly lengths: Float64Array;
  /** Places in `file`; -1: none. */
  readonly offsets: Float64Array;
  /** RunKind. */
  readonly kinds: Uint8Array;
  /** How many there are now. */
  count: number;
  file: BlockNode | undefined;
}

/** blockStatus along the backing chain: `depth` 0 is the node asked, 1 its backing file, … */
export interface ChainStatus extends BlockStatus {
  readonly depth: number;
  /** The layer that answered. */
  readonly node: BlockNode;
}

export interface OpenFlags {
  readonly readOnly: boolean;
  /** `auto-read-only`: fall back to read-only when the medium can't be written. */
  readonly autoReadOnly: boolean;
  /** cache.direct: O_DIRECT. */
  readonly direct: boolean;
  /** cache.no-flush: flushes are swallowed. */
  readonly noFlush: boolean;
  /** cache.writeback off: every write is followed by a flush. Held by the top node only. */
  readonly writeThrough: boolean;
  /** discard=unmap|on. */
  readonly unmap: boolean;
  readonly detectZeroes: 'off' | 'on' | 'unmap';
  /** Large writes go through the host's threads: who writes has something else to do meanwhile, and several under way. */
  readonly writesInThreads: boolean;
  /** The same for reads, from a smaller size on than other large ones. */
  readonly readsInThreads: boolean;
  /** -U: don't ask others to keep off. */
  readonly forceShare: boolean;
  /** Metadata only (`info`): encrypted images open without a key, and reads fail. */
  readonly noIo: boolean;
  /** Opened for check: inconsistent metadata must not keep the image from opening. */
  readonly check: boolean;
  /** Don't open backing files (`rebase -u`, `info` of one layer). */
  readonly noBacking: boolean;
  readonly copyOnRead: boolean;
}

export const defaultOpenFlags: OpenFlags = {
  readOnly: true,
  autoReadOnly: false,
  direct: false,
  noFlush: false,
  writeThrough: false,
  unmap: false,
  detectZeroes: 'off',
  writesInThreads: false,
  readsInThreads: false,
  forceShare: false,
  noIo: false,
  check: false,
  noBacking: false,
  copyOnRead: false,
};

export type Preallocation = 'off' | 'metadata' | 'falloc' | 'full';

/** A disk. See the top of this file. */
export interface BlockNode {
  readonly nodeName: string;
  readonly driver: BlockDriver;
  /** What the driver made: for capabilities (`node.instance.snapshots?.list()`). I/O goes through the node. */
  readonly instance: DriverNode;
  /** The filename a person would use to open this again: a plain path, a URI, or `json:{…}`. */
  readonly filename: string;
  readonly options: OptionDict;
  readonly flags: OpenFlags;
  readonly readOnly: boolean;
  /** Disk size in bytes; not necessarily a multiple of 512. */
  readonly length: number;
  readonly limits: BlockLimits;
  readonly children: readonly BlockChild[];
  /** Storage child, if any: `file` (or a filter's `image`). */
  readonly file: BlockNode | undefined;
  readonly backing: BlockNode | undefined;
  readonly host: BlockHost;
  /** Persistent and run-time dirty bitmaps. */
  readonly bitmaps: readonly DirtyBitmap[];

  read(offset: number, buffer: Uint8Array, flags?: number): Promise<void>;
  write(offset: number, buffer: Uint8Array, flags?: number): Promise<void>;
  /**
   * Reads or writes at once where all layers can do so without waiting and nothing stands in the way; false: nothing was done (or
   * a write in part), ask again with `read` or `write`. For callers with many small requests, for which promises cost more than the work.
   */
  readNow(offset: number, buffer: Uint8Array): boolean;
  writeNow(offset: number, buffer: Uint8Array): boolean;
  /**
   * Copies from where another node's bytes are stored, as its status told (`file` and `offset`), without passing them through this
   * process. False: can't be done here, read and write instead.
   */
  copyRange(offset: number, source: BlockNode, sourceOffset: number, length: number): Promise<boolean>;
  /** Where the bytes from `offset` on lie, if that is plain and at hand, and nothing stands in the way of those who go there. */
  place(offset: number, length: number): HostPlace | undefined;
  /** Scatter / gather: one request over several buffers. */
  readVector(offset: number, buffers: readonly Uint8Array[], flags?: number): Promise<void>;
  writeVector(offset: number, buffers: readonly Uint8Array[], flags?: number): Promise<void>;
  writeZeroes(offset: number, length: number, flags?: number): Promise<void>;
  discard(offset: number, length: number): Promise<void>;
  flush(): Promise<void>;
  /** Switches between read-only and read-write, children that store its data included. */
  setReadOnly(readOnly: boolean): Promise<void>;
  /** This layer only; at or past the end: zero and not allocated. `wantZero` false: data against hole is all that matters, the driver may skip finding zeroes. */
  blockStatus(offset: number, length: number, wantZero?: boolean): Promise<BlockStatus>;
  /** Looks down the backing chain up to but not including `base` (undefined: to its end). */
  /** `blockStatus` where the answer is at hand. */
  statusNow(offset: number, length: number): BlockStatus | undefined;
  chainStatus(offset: number, length: number, base?: BlockNode): Promise<ChainStatus>;
  resize(length: number, options?: ResizeOptions): Promise<void>;
  getInfo(): Promise<NodeInfo>;
  /** The filter's or raw's data-bearing child, else itself. */
  skipFilters(): BlockNode;
  /**
   * Takes a use of the node: `permissions` needed, `shared` what others may do. Refused with EPERM and QEMU's sentence on
   * conflict with another user in this process, with EAGAIN ("Failed to get …lock") with another process. Release in `release`.
   */
  acquire(user: string, permissions: number, shared: number): Promise<NodeUse>;
  /** Waits until nothing is in flight. */
  drain(): Promise<void>;
  addBitmap(bitmap: DirtyBitmap): void;
  removeBitmap(bitmap: DirtyBitmap): void;
  /** Drops one reference; the last flushes, closes the driver and drops the children. Rejects if that flush failed. */
  close(): Promise<void>;
  /** Takes one more reference. */
  retain(): this;
}

export interface NodeUse {
  readonly permissions: number;
  readonly shared: number;
  change(permissions: number, shared: number): Promise<void>;
  release(): Promise<void>;
}

export interface ResizeOptions {
  /** Shrink exactly, discarding what lies beyond; formats else may keep more. */
  readonly exact?: boolean;
  readonly preallocation?: Preallocation;
  /** The new area must read as zero even over a longer backing file. */
  readonly zero?: boolean;
}

export interface NodeInfo {
  readonly clusterSizeBytes?: number;
  readonly subclusterSizeBytes?: number;
  readonly vmStateOffset?: number;
  readonly isDirty?: boolean;
  /** Discarded and unallocated areas read as zero. */
  readonly needsCompressedWrites?: boolean;
}

/**
 * What a driver's `open` returns. `length` may change by `resize` only (or by the medium growing).
 * Optional methods: absent means the node emulates them (writeZeroes by write), ignores them (discard), or refuses with ENOTSUP.
 */
export interface DriverNode {
  readonly length: number;
  readonly limits?: Partial<BlockLimits>;
  /** Flags the driver's `write` / `writeZeroes` handle themselves (FUA, mayUnmap, …); others the node emulates. */
  readonly writeFlags?: number;
  readonly zeroFlags?: number;
  /** The medium turned out to be read-only although opened for writing. */
  readonly readOnly?: boolean;
  /** Never-written and newly grown areas read as zero. */
  readonly zeroInit?: boolean;
  /** Writes past the end make it longer (files, and raw and filters over them). Other nodes refuse them with EIO. */
  readonly growable?: boolean;
  /** Encrypted contents (`info` says so). */
  readonly encrypted?: boolean;
  /** The file name of the backing file as stored in the image, and the format. */
  readonly backingFile?: string;
  readonly backingFormat?: string;

  read(offset: number, buffer: Uint8Array, flags: number): Promise<void>;
  write?(offset: number, buffer: Uint8Array, flags: number): Promise<void>;
  /** Like `read` and `write` (without flags), if it can be done at once; false: not, or not wholly. They never throw. */
  readNow?(offset: number, buffer: Uint8Array): boolean;
  writeNow?(offset: number, buffer: Uint8Array): boolean;
  /** See BlockNode.place; absent: nowhere. Never throws. */
  place?(offset: number, length: number): HostPlace | undefined;
  /** Requests change where bytes lie. */
  readonly movesPlaces?: boolean;
  /** See BlockNode.copyRange; absent: can't. */
  copyRange?(offset: number, source: BlockNode, sourceOffset: number, length: number): Promise<boolean>;
  /** One whole cluster (or the disk's tail), compressed. An empty buffer finishes (streamOptimized formats). */
  writeCompressed?(offset: number, buffer: Uint8Array): Promise<void>;
  writeZeroes?(offset: number, length: number, flags: number): Promise<void>;
  discard?(offset: number, length: number): Promise<void>;
  /** The driver's own caches go down to its children, and these to disk, in an order that a power cut may interrupt. */
  flush?(): Promise<void>;
  /** Absent: all is data (protocols), or passthrough (filters). */
  blockStatus?(offset: number, length: number, wantZero: boolean): Promise<BlockStatus>;
  /** The same answer where it is at hand, undefined where not. Never throws. For who asks thousands of times. */
  statusNow?(offset: number, length: number, wantZero: boolean): BlockStatus | undefined;
  /** The runs from `offset` on, as many as are at hand and `runs` holds. None: ask for one. Never throws. */
  runsNow?(offset: number, length: number, runs: StatusRuns): void;
  resize?(length: number, options: ResizeOptions): Promise<void>;
  getInfo?(): Promise<NodeInfo>;
  /** `format-specific` of `info --output=json`: `{type, data}` in QEMU's names, members in QEMU's order. */
  specificInfo?(): Promise<SpecificInfo | undefined>;
  /** Bytes used on the host; absent: the sum over storage children. */
  allocatedBytes?(): Promise<number | undefined>;
  check?(fix: CheckFix): Promise<CheckResult>;
  amend?(options: OptionValues, request: AmendRequest): Promise<void>;
  /** Rewrites the stored name of the backing file (undefined: none). */
  changeBackingFile?(file: string | undefined, format: string | undefined): Promise<void>;
  /** Deallocates everything (commit empties the overlay). */
  makeEmpty?(): Promise<void>;
  readonly snapshots?: SnapshotCapability;
  readonly persistentBitmaps?: PersistentBitmapCapability;
  /** Reads and writes the machine state area of internal snapshots. */
  readVmState?(offset: number, buffer: Uint8Array): Promise<void>;
  writeVmState?(offset: number, buffer: Uint8Array): Promise<void>;
  /** Debug events (`blkdebug` as the child listens), e.g. `l2_alloc_write`. */
  onEvent?(event: string): Promise<void> | void;
  /** Options that may change while the node is open; absent: none. */
  readonly changeable?: ChangeableOptions;
  /** Changes between read-only and read-write in place (commit writes to a backing file). Absent: can't. */
  reopen?(readOnly: boolean): Promise<void>;
  /** Protocol drivers: lock state for the union of users' permissions; throws EAGAIN with QEMU's sentence. */
  lock?(permissions: number, shared: number): Promise<void>;
  close(): Promise<void>;
}

export interface ChangeableOptions {
  readonly rows: readonly OptionRow[];
  /** Names of options that lose what they were set to earlier when `given` are set. */
  replaced?(given: OptionDict, old: OptionDict): readonly string[];
  /** Checks their new values for a node that will have `flags`; what it gives makes them take effect. */
  prepare(values: OptionValues, flags: OpenFlags): () => void;
}

export interface SpecificInfo {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface CheckFix {
  readonly leaks: boolean;
  readonly errors: boolean;
}

/** QEMU's ImageCheck. Messages the check prints on the way go to `host.report` or `lines`. */
export interface CheckResult {
  readonly corruptions: number;
  readonly leaks: number;
  readonly checkErrors: number;
  readonly corruptionsFixed: number;
  readonly leaksFixed: number;
  readonly imageEndOffset?: number;
  readonly totalClusters?: number;
  readonly allocatedClusters?: number;
  readonly fragmentedClusters?: number;
  readonly compressedClusters?: number;
  /** Lines like `ERROR cluster 5 refcount=0 reference=1`, `Leaked cluster …`, `Repairing …`, as QEMU prints them to stderr. */
  readonly lines: readonly string[];
}

export interface AmendRequest {
  readonly force: boolean;
  progress?(done: number, total: number): void;
}

export interface SnapshotInfo {
  readonly id: string;
  readonly name: string;
  readonly vmStateBytes: number;
  readonly dateSeconds: number;
  readonly dateNanoseconds: number;
  readonly vmClockNs: number;
  /** Instruction count at the snapshot, undefined if not recorded. */
  readonly icount?: number;
  readonly diskBytes?: number;
}

export interface SnapshotCapability {
  list(): Promise<readonly SnapshotInfo[]>;
  /** The id is chosen by the driver when empty. */
  create(info: Omit<SnapshotInfo, 'id'> & { readonly id?: string }): Promise<void>;
  /** Both id and name given must match; EINVAL/ENOENT otherwise. */
  remove(id: string | undefined, name: string | undefined): Promise<void>;
  /** Reverts the disk. */
  apply(idOrName: string): Promise<void>;
  /** Reads go to the snapshot from now on; the node must be read-only. */
  load(id: string | undefined, name: string | undefined): Promise<void>;
}

/** A bitmap of what was written, one bit per `granularity` bytes. */
export interface DirtyBitmap {
  readonly name: string;
  readonly granularity: number;
  length: number;
  /** Records writes. */
  enabled: boolean;
  /** Stored in the image when it closes. */
  persistent: boolean;
  /** Stored state was not closed cleanly: contents unknown; only removal allowed. */
  inconsistent: boolean;
  readOnly: boolean;
  /** An NBD server or job uses it. */
  busy: boolean;
  set(offset: number, length: number): void;
  clear(offset: number, length: number): void;
  get(offset: number): boolean;
  /** The run of equal bits from `offset`, at most `length` bytes. */
  run(offset: number, length: number): { readonly dirty: boolean; readonly length: number };
  countBytes(): number;
}

export interface PersistentBitmapCapability {
  /** The image as it is can hold bitmaps. */
  readonly isSupported: boolean;
  canStore(name: string, granularity: number): Promise<void>;
  remove(name: string): Promise<void>;
  /** Writes all persistent bitmaps now (else at close). */
  store(): Promise<void>;
}

export interface BlockChild {
  readonly name: string;
  readonly role: ChildRole;
  readonly node: BlockNode;
}

/** `storage`: data and metadata of a format; `data`: external data file; `metadata`; `filtered`: same contents; `backing`. */
export type ChildRole = 'storage' | 'data' | 'metadata' | 'filtered' | 'backing';

/** What `open` gets. */
export interface OpenContext {
  readonly host: BlockHost;
  readonly flags: OpenFlags;
  /** Values of the driver's `openOptions` rows, parsed and typed. */
  readonly options: OptionValues;
  /** Name without protocol prefix for protocols; the child's name for formats. */
  readonly filename: string;
  /** Opens (or adopts by reference) the child `file`, required. Format drivers call it first. */
  openFile(role?: ChildRole): Promise<BlockNode>;
  /**
   * Opens the child `name` from the options `name.*` or the reference `name`. `defaults` are options that hold if the user gave
   * none (an extent file's name relative to `base`). Undefined if nothing names it and `optional`.
   */
  openChild(name: string, role: ChildRole, how?: OpenChildOptions): Promise<BlockNode>;
  openOptionalChild(name: string, role: ChildRole, how?: OpenChildOptions): Promise<BlockNode | undefined>;
  /** The node itself, usable once `open` has returned: bitmaps loaded by the driver are added to it in `open` already. */
  readonly node: BlockNode;
  /** All options of the user that no row names, `prefix.*` (for lists such as `server.*`, `inject-error.0.event`); consumes them. */
  takePrefix(prefix: string): OptionDict;
  /** A path found inside an image, resolved against the directory of that image's own file, as QEMU does. */
  resolveRelative(name: string): string;
}

export interface OpenChildOptions {
  readonly defaults?: OptionDict;
  readonly filename?: string;
  readonly flags?: Partial<OpenFlags>;
  /** Probe the format when none is named (backing files), or `raw` protocol only (files under formats). */
  readonly allowProbe?: boolean;
}

export interface CreateContext {
  readonly host: BlockHost;
  /** Where to create. For formats: create the protocol file with `createFile`, then open it with `openProtocol`. */
  readonly filename: string;
  /** Values of `createOptions`, parsed. `size` is already rounded up to 512 by the tool. */
  readonly options: OptionValues;
  /** Creates (truncating) the file below with this size and protocol options the user gave. */
  createFile(filename: string, sizeBytes: number, preallocation?: Preallocation): Promise<void>;
  /** Opens a protocol node read-write, with resize permitted. */
  openProtocol(filename: string): Promise<BlockNode>;
  /** Opens any image (backing files), for its size and format. */
  openImage(filename: string, format: string | undefined, flags: Partial<OpenFlags>): Promise<BlockNode>;
}

export interface MeasureResult {
  readonly required: number;
  readonly fullyAllocated: number;
  /** Size of persistent bitmaps, when source and target have them. */
  readonly bitmaps?: number;
}

export interface BlockDriver {
  readonly name: string;
  readonly kind: 'protocol' | 'format' | 'filter';
  /** Prefixes of filenames, without colon: `nbd`, `nbd+unix`. */
  readonly protocols?: readonly string[];
  readonly openOptions: readonly OptionRow[];
  /** Absent: cannot create. */
  readonly createOptions?: readonly OptionRow[];
  readonly amendOptions?: readonly OptionRow[];
  readonly supportsBacking?: boolean;
  /** Filename (with prefix) into options: `nbd://host/export` → `server.host`, … */
  parseFilename?(filename: string): OptionDict;
  /** Options back into a filename; undefined if there is none (then `json:` is used). */
  formatFilename?(options: OptionDict, children: readonly BlockChild[]): string | undefined;
  open(context: OpenContext): Promise<DriverNode>;
  create?(context: CreateContext): Promise<void>;
  measure?(options: OptionValues, source: BlockNode | undefined, host: BlockHost): Promise<MeasureResult>;
}
