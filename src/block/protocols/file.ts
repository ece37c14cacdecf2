/**
 * Protocols `file` and `host_device`: regular files and block devices of the host.
 *
 * Locks: as QEMU's file-posix driver, shared OFD locks on single bytes: byte 100+n says "this process uses permission n", byte
 * 200+n "this process does not let others use permission n" (n: 0 consistent read, 1 write, 2 write unchanged, 3 resize).
 */
import { BlockError, errorCode, errorText } from '../errors.js';
import type { HostFile } from '../host.js';
import type {
  BlockDriver,
  BlockNode,
  BlockStatus,
  ChangeableOptions,
  CreateContext,
  DriverNode,
  HostPlace,
  OpenContext,
  ResizeOptions,
  SpecificInfo,
} from '../node.js';
import { Permission, RequestFlag } from '../node.js';
import type { OptionRow } from '../options.js';
import { hasProtocol } from '../registry.js';

const usedBase = 100;
const refusedBase = 200;
const permissionBits = 4;
const permissionNames = ['consistent read', 'write', 'write unchanged', 'resize'];

const migrationRows: readonly OptionRow[] = [
  { name: 'drop-cache', type: 'boolean', help: 'Accepted for compatibility: for live migration' },
  { name: 'x-check-cache-dropped', type: 'boolean', help: 'Accepted for compatibility' },
];

const openOptions: readonly OptionRow[] = [
  { name: 'filename', type: 'string', help: 'Path of the file', strong: true },
  {
    name: 'aio',
    type: 'enum',
    values: ['threads', 'native', 'io_uring'],
    help: 'Accepted for compatibility; the host chooses',
  },
  {
    name: 'locking',
    type: 'enum',
    values: ['on', 'off', 'auto'],
    default: 'auto',
    help: 'Lock the file against other writers',
  },
  ...migrationRows,
];

/** fallocate and truncate step that zero bytes are written in when preallocating fully. */
const fullStep = 1 << 20;

class FileNode implements DriverNode {
  length: number;
  readonly growable: boolean;
  readonly readOnly: boolean;
  readonly writeFlags = 0;
  readonly zeroFlags = RequestFlag.mayUnmap | RequestFlag.noFallback;
  readonly limits: { requestAlignment: number };
  readonly changeable: ChangeableOptions = { rows: migrationRows, prepare: () => () => undefined };
  readonly #node: BlockNode;
  #file: HostFile;
  #isLocking: boolean;
  #canPunch = true;
  #canZero = true;
  #used = 0;
  #refused = 0;
  /** Writes under way, and the furthest end of them. */
  #writes = 0;
  #writesEnd = 0;
  /** Last run asked for by blockStatus, valid until something changes what is allocated. */
  #extent: { readonly start: number; readonly end: number; readonly data: boolean } | undefined;

  constructor(node: BlockNode, file: HostFile, isLocking: boolean) {
    this.#node = node;
    this.#file = file;
    this.#isLocking = isLocking;
    this.length = file.stat().sizeBytes;
    this.growable = file.kind === 'regular';
    this.readOnly = !file.writable;
    this.limits = { requestAlignment: file.alignment };
  }

  get zeroInit(): boolean {
    return this.#file.kind === 'regular';
  }

  async read(offset: number, buffer: Uint8Array): Promise<void> {
    const count = await this.#file.read(offset, buffer);
    if (count < buffer.length) buffer.fill(0, count);
  }

  readNow(offset: number, buffer: Uint8Array): boolean {
    const count = this.#file.readNow?.(offset, buffer);
    if (count === undefined) return false;
    if (count < buffer.length) buffer.fill(0, count);
    return true;
  }

  writeNow(offset: number, buffer: Uint8Array): boolean {
    this.#extent = undefined;
    if (!this.#file.writeNow?.(offset, buffer)) return false;
    if (offset + buffer.length > this.length) this.length = offset + buffer.length;
    return true;
  }

  async write(offset: number, buffer: Uint8Array): Promise<void> {
    this.#extent = undefined;
    this.#writes++;
    this.#writesEnd = Math.max(this.#writesEnd, offset + buffer.length);
    try {
      await this.#file.write(offset, buffer);
    } finally {
      if (--this.#writes === 0) this.#writesEnd = 0;
    }
    if (offset + buffer.length > this.length && this.growable) this.length = offset + buffer.length;
  }

  place(offset: number, length: number): HostPlace | undefined {
    const file = this.#file;
    if (file.descriptor === undefined || file.direct || file.kind === 'character-device') return undefined;
    return { file, offset, length, isWritable: file.writable };
  }

  async copyRange(offset: number, source: BlockNode, sourceOffset: number, length: number): Promise<boolean> {
    const from = source.instance;
    if (!(from instanceof FileNode) || !this.#file.copyFrom || sourceOffset + length > from.length) return false;
    this.#extent = undefined;
    const isDone = await this.#file.copyFrom(from.#file, sourceOffset, offset, length);
    if (isDone && offset + length > this.length && this.growable) this.length = offset + length;
    return isDone;
  }

  async writeZeroes(offset: number, length: number, flags: number): Promise<void> {
    this.#extent = undefined;
    const end = offset + length;
    if (this.#file.kind === 'block-device') {
      if (!this.#file.deviceZero) throw new BlockError('ENOTSUP');
      await this.#file.deviceZero(offset, length);
      return;
    }
    if (flags & RequestFlag.mayUnmap && this.#canPunch && offset < this.length) {
      try {
        await this.#file.fallocate('punch-hole', offset, length);
        if (end > this.length) await this.#grow(end);
        return;
      } catch (error) {
        if (errorCode(error) !== 'ENOTSUP') throw error;
        this.#canPunch = false;
      }
    }
    if (flags & RequestFlag.mayUnmap && offset >= this.length) {
      // Past the end a hole reads as zero.
      await this.#grow(end);
      return;
    }
    if (this.#canZero) {
      try {
        await this.#file.fallocate('zero-range', offset, length);
        if (end > this.length) this.length = end;
        return;
      } catch (error) {
        if (errorCode(error) !== 'ENOTSUP') throw error;
        this.#canZero = false;
      }
    }
    if (offset >= this.length) {
      await this.#grow(end);
      return;
    }
    throw new BlockError('ENOTSUP');
  }

  /** Does not cut off what a write under way has put behind the new end. */
  async #grow(length: number): Promise<void> {
    await this.#file.truncate(Math.max(length, this.#writesEnd));
    this.length = Math.max(length, this.length);
  }

  async discard(offset: number, length: number): Promise<void> {
    this.#extent = undefined;
    if (this.#file.kind === 'block-device') {
      if (!this.#file.deviceDiscard) throw new BlockError('ENOTSUP');
      await this.#file.deviceDiscard(offset, length);
    } else await this.#file.fallocate('punch-hole', offset, length);
  }

  async flush(): Promise<void> {
    await this.#file.sync();
  }

  async blockStatus(offset: number, length: number, wantZero: boolean): Promise<BlockStatus> {
    return this.statusNow(offset, length, wantZero);
  }

  statusNow(offset: number, length: number, wantZero: boolean): BlockStatus {
    const whole: BlockStatus = { length, data: true, zero: false, allocated: true, offset, file: this.#node };
    if (!wantZero) return whole;
    if (offset >= this.length) return { ...whole, data: false, zero: true };
    let known = this.#extent;
    if (!known || offset < known.start || offset >= known.end) {
      const found = this.#file.extent(offset);
      if (!found) return whole;
      known = { start: offset, end: found.end, data: found.data };
      // Another process may fill a hole; only what we hold exclusively would be sure. Data that became a hole still reads right.
      this.#extent = found.data ? known : undefined;
    }
    const run = Math.min(length, known.end - offset);
    const unit = this.limits.requestAlignment;
    const size = unit > 1 && run < length ? Math.max(unit, run - (run % unit)) : run;
    return { length: size, data: known.data, zero: !known.data, allocated: true, offset, file: this.#node };
  }

  async resize(length: number, options: ResizeOptions): Promise<void> {
    this.#extent = undefined;
    if (this.#file.kind !== 'regular') {
      if (options.preallocation !== undefined && options.preallocation !== 'off') {
        throw new BlockError(
          'ENOTSUP',
          `Preallocation mode '${options.preallocation}' unsupported for this non-regular file`,
        );
      }
      const size = this.#file.stat().sizeBytes;
      if (length !== size && options.exact) throw new BlockError('ENOTSUP', 'Cannot resize device files');
      if (length > size) throw new BlockError('EINVAL', 'Cannot grow device files');
      return;
    }
    try {
      await preallocateFile(this.#file, this.length, length, options.preallocation ?? 'off');
    } catch (error) {
      const code = errorCode(error);
      throw code === 'EFBIG'
        ? new BlockError(code, `Could not resize file: ${errorText(code)}`, { cause: error })
        : error;
    }
    this.length = length;
  }

  async allocatedBytes(): Promise<number> {
    return this.#file.stat().allocatedBytes;
  }

  async specificInfo(): Promise<SpecificInfo | undefined> {
    return undefined;
  }

  async reopen(readOnly: boolean): Promise<void> {
    const { path } = this.#file;
    const file = await this.#node.host.files
      .open(path, { write: !readOnly, direct: this.#file.direct })
      .catch((error) => {
        throw couldNotOpen(error, path);
      });
    const old = this.#file;
    const [used, refused] = [this.#used, this.#refused];
    this.#file = file;
    this.#used = 0;
    this.#refused = 0;
    // Locks of the two descriptions don't conflict with what the old one itself holds as all are shared; then the old ones go.
    this.#setLocks(used, refused);
    await old.close();
  }

  async lock(permissions: number, shared: number): Promise<void> {
    if (!this.#isLocking) return;
    const refused = Permission.all & ~shared;
    const [oldUsed, oldRefused] = [this.#used, this.#refused];
    try {
      this.#setLocks(permissions | oldUsed, refused | oldRefused);
      for (let bit = 0; bit < permissionBits; bit++) {
        const mask = 1 << bit;
        if (permissions & mask && !this.#file.lockable(refusedBase + bit, 1, true))
          throw this.#conflict(permissionNames[bit]!);
        if (refused & mask && !this.#file.lockable(usedBase + bit, 1, true))
          throw this.#conflict(`shared "${permissionNames[bit]}`, true);
      }
    } catch (error) {
      this.#setLocks(oldUsed, oldRefused);
      throw error;
    }
    this.#setLocks(permissions, refused);
  }

  #conflict(name: string, isShared = false): BlockError {
    const lock = isShared ? name + '"' : `"${name}"`;
    return new BlockError(
      'EAGAIN',
      `Failed to get ${lock} lock\nIs another process using the image [${this.#file.path}]?`,
    );
  }

  #setLocks(used: number, refused: number): void {
    for (let bit = 0; bit < permissionBits; bit++) {
      const mask = 1 << bit;
      this.#setLock(usedBase + bit, (used & mask) !== 0, (this.#used & mask) !== 0);
      this.#setLock(refusedBase + bit, (refused & mask) !== 0, (this.#refused & mask) !== 0);
    }
    this.#used = used;
    this.#refused = refused;
  }

  #setLock(byte: number, wanted: boolean, held: boolean): void {
    if (wanted === held) return;
    if (!this.#file.lock(byte, 1, wanted ? false : undefined))
      throw new BlockError('EAGAIN', `Failed to lock byte ${byte}`);
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

/** Brings a regular file from one size to another, reserving or writing the new area as asked. */
async function preallocateFile(file: HostFile, from: number, to: number, mode: string): Promise<void> {
  if (to < from && mode !== 'off') throw new BlockError('ENOTSUP', "Preallocation can't be used for shrinking files");
  if (mode === 'falloc') {
    if (to > from) {
      try {
        await file.fallocate('allocate', from, to - from);
      } catch (error) {
        throw new BlockError(errorCode(error), `Could not preallocate new data: ${errorText(errorCode(error))}`);
      }
    } else await file.truncate(to);
  } else if (mode === 'full') {
    await file.truncate(to);
    const zeroes = new Uint8Array(fullStep);
    try {
      for (let at = from; at < to; at += fullStep)
        await file.write(at, zeroes.subarray(0, Math.min(fullStep, to - at)));
      await file.sync();
    } catch (error) {
      const code = errorCode(error);
      throw new BlockError(code, `Could not write zeros for preallocation: ${errorText(code)}`, { cause: error });
    }
  } else if (mode === 'off') {
    await file.truncate(to);
    // As QEMU: a first block that exists lets O_DIRECT users find the alignment by reading it.
    if (from === 0 && to > 0) await file.write(0, new Uint8Array(to < 4096 ? Math.min(512, to) : 4096));
  } else throw new BlockError('ENOTSUP', `Unsupported preallocation mode: ${mode}`);
}

/** Without its prefix; a path that looks as if it had another one becomes one that doesn't. */
function stripPrefix(filename: string, prefix: string): string {
  if (!filename.startsWith(`${prefix}:`)) return filename;
  const path = filename.slice(prefix.length + 1);
  return hasProtocol(path) ? `./${path}` : path;
}

/** The host may have said more than why. */
function couldNotOpen(error: unknown, path: string): BlockError {
  const code = errorCode(error);
  const isTold = error instanceof BlockError && !error.bare;
  return new BlockError(code, isTold ? error.message : `Could not open '${path}': ${errorText(code)}`, {
    cause: error,
  });
}

async function openFile(context: OpenContext, driver: 'file' | 'host_device'): Promise<DriverNode> {
  const filename = context.options.string('filename');
  if (!filename) throw new BlockError('EINVAL', "The 'file' block driver requires a file name");
  const { flags, host } = context;
  const { direct, readsInThreads, writesInThreads } = flags;
  const how = (write: boolean) => host.files.open(filename, { write, direct, readsInThreads, writesInThreads });
  let file: HostFile;
  try {
    try {
      file = await how(!flags.readOnly);
    } catch (error) {
      if (flags.readOnly || !flags.autoReadOnly || !['EACCES', 'EROFS', 'EPERM'].includes(errorCode(error)))
        throw error;
      file = await how(false);
    }
  } catch (error) {
    throw couldNotOpen(error, filename);
  }
  const isDevice = file.kind === 'block-device' || file.kind === 'character-device';
  if (driver === 'file' ? file.kind !== 'regular' : !isDevice) {
    await file.close();
    const wanted = driver === 'file' ? 'a regular file' : 'either a character or block device';
    throw new BlockError('EINVAL', `'${driver}' driver requires '${filename}' to be ${wanted}`);
  }
  const locking = context.options.string('locking');
  if (locking === 'on' && host.files.missing.has('ofd-locks')) {
    host.report(
      'warning',
      "File lock requested but OFD locking is unavailable (feature 'ofd-locks' of the host is missing)",
    );
  }
  return new FileNode(context.node, file, locking !== 'off');
}

async function createFile(context: CreateContext): Promise<void> {
  const filename = stripPrefix(context.filename, 'file');
  const size = context.options.number('size') ?? 0;
  const mode = context.options.string('preallocation') ?? 'off';
  let file: HostFile;
  try {
    file = await context.host.files.open(filename, { write: true, create: true });
  } catch (error) {
    throw new BlockError(errorCode(error), `Could not create '${filename}': ${errorText(errorCode(error))}`, {
      cause: error,
    });
  }
  try {
    // As QEMU: a file in use by others must not lose its contents to `create`.
    for (const byte of [usedBase + 1, usedBase + 3, refusedBase + 1, refusedBase + 3]) {
      if (!file.lock(byte, 1, false)) throw new BlockError('EAGAIN', `Failed to lock byte ${byte}`);
    }
    for (const [bit, name] of [
      [1, 'write'],
      [3, 'resize'],
    ] as const) {
      if (!file.lockable(refusedBase + bit, 1, true))
        throw new BlockError(
          'EAGAIN',
          `Failed to get "${name}" lock\nIs another process using the image [${filename}]?`,
        );
    }
    for (let bit = 1; bit < permissionBits; bit += 2) {
      if (!file.lockable(usedBase + bit, 1, true)) {
        throw new BlockError(
          'EAGAIN',
          `Failed to get shared "${permissionNames[bit]}" lock\nIs another process using the image [${filename}]?`,
        );
      }
    }
    try {
      await file.truncate(0);
    } catch (error) {
      throw new BlockError(errorCode(error), `Could not resize file: ${errorText(errorCode(error))}`, { cause: error });
    }
    try {
      await preallocateFile(file, 0, size, mode);
    } catch (error) {
      const code = errorCode(error);
      throw (error as BlockError).bare
        ? new BlockError(code, `Could not resize file: ${errorText(code)}`, { cause: error })
        : error;
    }
  } finally {
    await file.close();
  }
}

export const fileDriver: BlockDriver = {
  name: 'file',
  kind: 'protocol',
  protocols: ['file'],
  openOptions,
  createOptions: [
    { name: 'size', type: 'size', help: 'Virtual disk size' },
    { name: 'nocow', type: 'boolean', help: 'Turn off copy-on-write (valid only on btrfs)' },
    { name: 'preallocation', type: 'string', help: 'Preallocation mode (allowed values: off, falloc, full)' },
    { name: 'extent_size_hint', type: 'size', help: 'Extent size hint for the image file, 0 to disable' },
  ],
  parseFilename: (filename) => ({ filename: stripPrefix(filename, 'file') }),
  formatFilename: (options) => (typeof options['filename'] === 'string' ? options['filename'] : undefined),
  open: (context) => openFile(context, 'file'),
  create: createFile,
};

export const hostDeviceDriver: BlockDriver = {
  name: 'host_device',
  kind: 'protocol',
  protocols: ['host_device'],
  openOptions,
  createOptions: [{ name: 'size', type: 'size', help: 'Virtual disk size' }],
  parseFilename: (filename) => ({ filename: stripPrefix(filename, 'host_device') }),
  formatFilename: (options) => (typeof options['filename'] === 'string' ? options['filename'] : undefined),
  open: (context) => openFile(context, 'host_device'),
  async create(context) {
    const filename = stripPrefix(context.filename, 'host_device');
    const stat = await context.host.files.stat(filename);
    if (stat?.kind !== 'block-device' && stat?.kind !== 'character-device')
      throw new BlockError('ENODEV', `'${filename}' is not a block or character device`);
    const file = await context.host.files.open(filename, { write: true });
    const size = file.stat().sizeBytes;
    await file.close();
    if (size < (context.options.number('size') ?? 0)) throw new BlockError('ENOSPC', 'Cannot grow device files');
  },
};
