/**
 * Files and block devices for the block layer, on Node's `fs` and (where koffi is there) the POSIX calls it lacks.
 *
 * A transfer in place costs about 1 µs, one through the thread pool 36 µs (measured). Small ones are done in place as long as they come at
 * the speed of the page cache; after one that the disk made wait, the next go to the pool, where they overlap. Large reads go to the
 * pool, where several run at once; large writes stay here, for the system lets no two into the page cache of one file, unless the file was
 * opened for one who has other work meanwhile (`writesInThreads`).
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import { VringError } from '../../base/index.js';
import { alignUp } from '../../block/alignment.js';
import { BlockError, errorCode, errorText } from '../../block/errors.js';
import type { FileHost, HostFile, HostFileKind, HostFileOpenFlags, HostFileStat } from '../../block/host.js';
import { type OpenedMember, openSetMember, statSetMember } from './descriptor-sets.js';
import * as px from './posix.js';

/** Transfers up to this size are done in the calling thread, reads only for who asks for what is at hand (`readNow`). */
const inPlaceBytes = 2 ** 21;
/** For files that are read by threads: reads below this are done in the calling thread. */
const threadReadBytes = 128 * 1024;
/** Other reads in the calling thread, and writes to files that are written by threads. */
const smallBytes = 256 * 1024;
/** A read that takes longer than this and than its bytes at half a gigabyte a second was no hit in the page cache. */
const cachedReadMs = 0.2;
const cachedBytesPerMs = 500_000;
/**
 * One system call writes no more. The page cache takes a write in one piece of memory where it can, and pieces of 2 MiB are what a virtual
 * machine gives back to its host when they are free: to get them again can take several times as long as the write.
 */
const writeCallBytes = 2 ** 20;
/** The system makes writers wait for the disk in steps of this and longer, when too much of the page cache is dirty. */
const throttledWriteMs = 10;
/** So many transfers go to the thread pool after two reads or a write that were slow. */
const coldTransfers = 64;
/** O_DIRECT: the alignment tried last, which any host's file takes. */
const directAlignment = 4096;

/** Not `performance.now`, whose first use loads modules for a millisecond. */
function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

function asBlockError(error: unknown): BlockError {
  const code = (error as NodeJS.ErrnoException).code;
  return new BlockError(code === 'EOPNOTSUPP' ? 'ENOTSUP' : (code ?? 'EIO'), undefined, { cause: error });
}

function kindOf(stats: fs.Stats): HostFileKind {
  if (stats.isFile()) return 'regular';
  if (stats.isBlockDevice()) return 'block-device';
  if (stats.isCharacterDevice()) return 'character-device';
  return stats.isDirectory() ? 'directory' : 'other';
}

function posixError(posix: px.Posix): BlockError {
  return new BlockError(px.errnoNameOf(posix.errno()));
}

/** struct flock: l_type, l_whence (shorts), l_start, l_len (64 bits, at 8 and 16), l_pid. */
function flockBytes(type: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  view.setInt16(0, type, true);
  view.setBigInt64(8, BigInt(offset), true);
  view.setBigInt64(16, BigInt(length), true);
  return bytes;
}

/**
 * Page-aligned bytes, as O_DIRECT asks for. JavaScript sees no addresses; of its buffers only WebAssembly memory, which
 * starts on a page, is sure to be aligned.
 */
function allocateAligned(sizeBytes: number): Uint8Array<ArrayBuffer> {
  const { Memory } = (
    globalThis as unknown as { WebAssembly: { Memory: new (descriptor: object) => { buffer: ArrayBuffer } } }
  ).WebAssembly;
  const pages = Math.ceil(sizeBytes / 65536);
  return new Uint8Array(new Memory({ initial: pages, maximum: pages }).buffer, 0, sizeBytes);
}

/**
 * The alignment that O_DIRECT asks for on `fd`: a device's logical block, else the smallest read that is not refused. A file
 * that takes single bytes (an empty one does) tells nothing, and the safe value stands.
 */
function probeDirectAlignment(fd: number, kind: HostFileKind, posix: px.Posix | undefined): number {
  if (kind === 'block-device' && posix) {
    const bytes = new Uint8Array(4);
    if (posix.ioctl(fd, px.BLKSSZGET, bytes) === 0) return new DataView(bytes.buffer).getUint32(0, true);
  }
  const buffer = allocateAligned(directAlignment);
  for (let alignment = 1; alignment < directAlignment; alignment = Math.max(512, alignment * 2)) {
    try {
      fs.readSync(fd, buffer, 0, alignment, 0);
    } catch (error) {
      // Only EINVAL speaks of alignment; a disk that can't be read says so at the request that needs it.
      if (errorCode(error) === 'EINVAL') continue;
    }
    return alignment === 1 ? directAlignment : alignment;
  }
  return directAlignment;
}

class NodeFile implements HostFile {
  readonly path: string;
  readonly kind: HostFileKind;
  readonly writable: boolean;
  readonly direct: boolean;
  readonly alignment: number;
  readonly #fd: number;
  readonly #posix: px.Posix | undefined;
  /** Reads (unless `readNow` is asked) and writes up to this size are done in the calling thread. */
  readonly #inPlaceReadBytes: number;
  readonly #inPlaceWriteBytes: number;
  #isInMemory: boolean | undefined;
  #bounce: Uint8Array<ArrayBuffer> | undefined;
  #coldLeft = 0;
  #wasSlow = false;
  #coldWritesLeft = 0;
  /** Of the last hole that was found. */
  #holeEnd = -1;
  /** In place of closing the descriptor. */
  readonly #closeMember: (() => void) | undefined;

  constructor(
    filePath: string,
    fd: number,
    kind: HostFileKind,
    flags: HostFileOpenFlags,
    posix: px.Posix | undefined,
    closeMember?: () => void,
  ) {
    this.#closeMember = closeMember;
    this.path = filePath;
    this.kind = kind;
    this.writable = flags.write;
    this.direct = flags.direct ?? false;
    this.alignment = this.direct ? probeDirectAlignment(fd, kind, posix) : 1;
    this.#fd = fd;
    this.#posix = posix;
    this.#inPlaceReadBytes = flags.readsInThreads ? threadReadBytes - 1 : smallBytes;
    this.#inPlaceWriteBytes = flags.writesInThreads ? smallBytes : inPlaceBytes;
  }

  get descriptor(): number {
    return this.#fd;
  }

  get isInMemory(): boolean {
    this.#isInMemory ??= isMemoryFile(this.#fd);
    return this.#isInMemory;
  }

  stat(): HostFileStat {
    try {
      return statFrom(fs.fstatSync(this.#fd), () => this.#deviceSize());
    } catch (error) {
      throw asBlockError(error);
    }
  }

  #deviceSize(): number {
    if (this.#posix) {
      const bytes = new Uint8Array(8);
      if (this.#posix.ioctl(this.#fd, px.BLKGETSIZE64, bytes) === 0)
        return Number(new DataView(bytes.buffer).getBigUint64(0, true));
      throw posixError(this.#posix);
    }
    return sizeBySearch(this.#fd);
  }

  readSync(offset: number, buffer: Uint8Array): number {
    try {
      if (this.direct) return this.#readDirect(offset, buffer);
      let done = 0;
      while (done < buffer.length) {
        const count = fs.readSync(this.#fd, buffer, done, buffer.length - done, offset + done);
        if (count === 0) break;
        done += count;
      }
      return done;
    } catch (error) {
      throw asBlockError(error);
    }
  }

  #readDirect(offset: number, buffer: Uint8Array): number {
    let done = 0;
    while (done < buffer.length) {
      this.#bounce ??= allocateAligned(1 << 20);
      const want = Math.min(buffer.length - done, this.#bounce.length);
      const count = fs.readSync(this.#fd, this.#bounce, 0, alignUp(want, this.alignment), offset + done);
      const usable = Math.min(count, want);
      buffer.set(this.#bounce.subarray(0, usable), done);
      done += usable;
      if (count < want) break;
    }
    return done;
  }

  /** A read in place, which tells whether the next one may be. */
  #readTimed(offset: number, buffer: Uint8Array): number {
    const start = nowMs();
    const count = this.readSync(offset, buffer);
    const isSlow = nowMs() - start > cachedReadMs + buffer.length / cachedBytesPerMs;
    // One alone says little: other programs want the processor too.
    if (isSlow && this.#wasSlow) this.#coldLeft = coldTransfers;
    this.#wasSlow = isSlow;
    return count;
  }

  readNow(offset: number, buffer: Uint8Array): number | undefined {
    if (this.direct || this.#coldLeft > 0 || buffer.length > inPlaceBytes) return undefined;
    try {
      return this.#readTimed(offset, buffer);
    } catch {
      return undefined;
    }
  }

  read(offset: number, buffer: Uint8Array): Promise<number> {
    const isCold = this.#coldLeft > 0 && --this.#coldLeft > 0;
    if (this.direct || (buffer.length <= this.#inPlaceReadBytes && !isCold)) {
      try {
        return Promise.resolve(this.#readTimed(offset, buffer));
      } catch (error) {
        return Promise.reject(error);
      }
    }
    return new Promise((resolve, reject) => {
      let done = 0;
      const step = () => {
        fs.read(this.#fd, buffer, done, buffer.length - done, offset + done, (error, count) => {
          if (error) return reject(asBlockError(error));
          done += count;
          if (count === 0 || done === buffer.length) resolve(done);
          else step();
        });
      };
      step();
    });
  }

  writeSync(offset: number, buffer: Uint8Array): void {
    try {
      let done = 0;
      while (done < buffer.length) {
        if (this.direct) {
          this.#bounce ??= allocateAligned(1 << 20);
          const chunk = buffer.subarray(done, done + this.#bounce.length);
          this.#bounce.set(chunk);
          done += fs.writeSync(this.#fd, this.#bounce, 0, chunk.length, offset + done);
        } else
          done += fs.writeSync(this.#fd, buffer, done, Math.min(buffer.length - done, writeCallBytes), offset + done);
      }
    } catch (error) {
      throw asBlockError(error);
    }
  }

  /** A write in place, which tells whether the next one may be. */
  #writeTimed(offset: number, buffer: Uint8Array): void {
    const start = nowMs();
    this.writeSync(offset, buffer);
    if (nowMs() - start > throttledWriteMs) this.#coldWritesLeft = coldTransfers;
  }

  writeNow(offset: number, buffer: Uint8Array): boolean {
    if (this.direct || this.#coldWritesLeft > 0 || buffer.length > this.#inPlaceWriteBytes) return false;
    try {
      this.#writeTimed(offset, buffer);
      return true;
    } catch {
      return false;
    }
  }

  write(offset: number, buffer: Uint8Array): Promise<void> {
    if (
      this.direct ||
      (buffer.length <= this.#inPlaceWriteBytes && (this.#coldWritesLeft === 0 || --this.#coldWritesLeft === 0))
    ) {
      try {
        this.#writeTimed(offset, buffer);
        return Promise.resolve();
      } catch (error) {
        return Promise.reject(error);
      }
    }
    return new Promise((resolve, reject) => {
      let done = 0;
      const step = () => {
        const size = Math.min(buffer.length - done, writeCallBytes);
        fs.write(this.#fd, buffer, done, size, offset + done, (error, count) => {
          if (error) return reject(asBlockError(error));
          done += count;
          if (done === buffer.length) resolve();
          else step();
        });
      };
      step();
    });
  }

  async copyFrom(source: HostFile, sourceOffset: number, offset: number, length: number): Promise<boolean> {
    const copy = this.#posix?.copyFileRange;
    if (!copy || !(source instanceof NodeFile) || this.direct || source.direct) return false;
    try {
      for (let done = 0; done < length; ) {
        const count = await copy(source.#fd, sourceOffset + done, this.#fd, offset + done, length - done);
        if (count <= 0) return false;
        done += count;
      }
      return true;
    } catch {
      return false;
    }
  }

  sync(): Promise<void> {
    return new Promise((resolve, reject) =>
      fs.fdatasync(this.#fd, (error) => {
        // A character device that keeps nothing (/dev/null) knows no fsync.
        if (error && !(error.code === 'EINVAL' && this.kind === 'character-device')) reject(asBlockError(error));
        else resolve();
      }),
    );
  }

  async truncate(sizeBytes: number): Promise<void> {
    if (!Number.isSafeInteger(sizeBytes)) throw new BlockError('EFBIG');
    try {
      fs.ftruncateSync(this.#fd, sizeBytes);
    } catch (error) {
      throw asBlockError(error);
    }
  }

  async fallocate(
    mode: 'allocate' | 'keep-size' | 'punch-hole' | 'zero-range',
    offset: number,
    length: number,
  ): Promise<void> {
    const posix = this.#posix;
    if (!posix) throw new BlockError('ENOTSUP');
    const bits = {
      allocate: 0,
      'keep-size': px.FALLOC_KEEP_SIZE,
      'punch-hole': px.FALLOC_PUNCH_HOLE | px.FALLOC_KEEP_SIZE,
      'zero-range': px.FALLOC_ZERO_RANGE,
    }[mode];
    if (posix.fallocate(this.#fd, bits, offset, length) === 0) return;
    const error = posixError(posix);
    throw error.code === 'ENOSYS' || error.code === 'EINVAL' || error.code === 'ENODEV'
      ? new BlockError('ENOTSUP')
      : error;
  }

  async deviceDiscard(offset: number, length: number): Promise<void> {
    this.#rangeIoctl(px.BLKDISCARD, offset, length);
  }

  async deviceZero(offset: number, length: number): Promise<void> {
    this.#rangeIoctl(px.BLKZEROOUT, offset, length);
  }

  #rangeIoctl(request: number, offset: number, length: number): void {
    if (!this.#posix) throw new BlockError('ENOTSUP');
    const range = new BigUint64Array([BigInt(offset), BigInt(length)]);
    if (this.#posix.ioctl(this.#fd, request, new Uint8Array(range.buffer)) !== 0) {
      const error = posixError(this.#posix);
      throw error.code === 'ENOTTY' || error.code === 'EINVAL' ? new BlockError('ENOTSUP') : error;
    }
  }

  extent(offset: number): { readonly data: boolean; readonly end: number } | undefined {
    const posix = this.#posix;
    if (!posix || this.kind !== 'regular') return undefined;
    if (offset === this.#holeEnd) {
      // Where a hole ends data begin, unless they have gone since.
      const end = posix.lseek(this.#fd, offset, px.SEEK_HOLE);
      if (end > offset) return { data: true, end };
    }
    const data = posix.lseek(this.#fd, offset, px.SEEK_DATA);
    if (data < 0) {
      // ENXIO: no data from here to the end of the file.
      return px.errnoNameOf(posix.errno()) === 'ENXIO' ? { data: false, end: Number.POSITIVE_INFINITY } : undefined;
    }
    if (data > offset) {
      this.#holeEnd = data;
      return { data: false, end: data };
    }
    const hole = posix.lseek(this.#fd, offset, px.SEEK_HOLE);
    return hole <= offset ? undefined : { data: true, end: hole };
  }

  lock(offset: number, length: number, exclusive: boolean | undefined): boolean {
    if (!this.#posix) return true;
    const type = exclusive === undefined ? px.F_UNLCK : exclusive ? px.F_WRLCK : px.F_RDLCK;
    if (this.#posix.fcntl(this.#fd, px.F_OFD_SETLK, flockBytes(type, offset, length)) === 0) return true;
    const error = posixError(this.#posix);
    if (error.code === 'EAGAIN' || error.code === 'EACCES') return false;
    throw error;
  }

  lockable(offset: number, length: number, exclusive: boolean): boolean {
    if (!this.#posix) return true;
    const bytes = flockBytes(exclusive ? px.F_WRLCK : px.F_RDLCK, offset, length);
    if (this.#posix.fcntl(this.#fd, px.F_OFD_GETLK, bytes) !== 0) throw posixError(this.#posix);
    return new DataView(bytes.buffer).getInt16(0, true) === px.F_UNLCK;
  }

  async close(): Promise<void> {
    if (this.#closeMember) {
      this.#closeMember();
      return;
    }
    await new Promise<void>((resolve, reject) =>
      fs.close(this.#fd, (error) => (error ? reject(asBlockError(error)) : resolve())),
    );
  }
}

function isMemoryFile(fd: number): boolean {
  try {
    return fs.statfsSync(`/proc/self/fd/${fd}`).type === px.TMPFS_MAGIC;
  } catch {
    return false;
  }
}

/** Size of a block device without ioctl: the last byte that reads, by doubling and halving. */
function sizeBySearch(fd: number): number {
  const one = new Uint8Array(1);
  const reads = (offset: number): boolean => {
    try {
      return fs.readSync(fd, one, 0, 1, offset) === 1;
    } catch {
      return false;
    }
  };
  let low = 0;
  let high = 512;
  while (reads(high - 1) && high < 2 ** 52) {
    low = high;
    high *= 2;
  }
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (reads(middle - 1)) low = middle;
    else high = middle;
  }
  return low;
}

/** What `/dev/fdset/N` stands for. Throws BlockError, in QEMU's words. */
function openMember(filePath: string, flags: HostFileOpenFlags, bits: number): OpenedMember | undefined {
  try {
    return openSetMember(filePath, { ...flags, access: flags.write ? 'both' : 'read' });
  } catch (error) {
    if (error instanceof VringError) throw new BlockError('EINVAL', error.message, { cause: error });
    const { code } = asBlockError(error);
    const sentence = `Could not dup FD for ${filePath} flags ${bits.toString(16)}: ${errorText(code)}`;
    throw new BlockError(code, sentence, { cause: error });
  }
}

function statFrom(stats: fs.Stats, deviceSize: () => number): HostFileStat {
  const kind = kindOf(stats);
  return {
    kind,
    sizeBytes: kind === 'block-device' ? deviceSize() : stats.size,
    allocatedBytes: stats.blocks * 512,
    blockSizeBytes: stats.blksize,
  };
}

export class NodeFileHost implements FileHost {
  get missing(): ReadonlySet<string> {
    return px.loadPosix()
      ? new Set()
      : new Set(['seek-hole', 'punch-hole', 'fallocate', 'ofd-locks', 'block-device-size', 'copy-range']);
  }

  async open(filePath: string, flags: HostFileOpenFlags): Promise<HostFile> {
    let bits = flags.write ? fs.constants.O_RDWR : fs.constants.O_RDONLY;
    if (flags.direct) bits |= fs.constants.O_DIRECT;
    if (flags.create) bits |= fs.constants.O_CREAT;
    if (flags.truncate) bits |= fs.constants.O_TRUNC;
    if (flags.exclusive) bits |= fs.constants.O_EXCL;
    const member = openMember(filePath, flags, bits);
    if (member) {
      const kind = kindOf(fs.fstatSync(member.fd));
      return new NodeFile(filePath, member.fd, kind, flags, px.loadPosix(), () => member.close());
    }
    try {
      const fd = fs.openSync(filePath, bits, flags.mode ?? 0o644);
      return new NodeFile(filePath, fd, kindOf(fs.fstatSync(fd)), flags, px.loadPosix());
    } catch (error) {
      throw asBlockError(error);
    }
  }

  async stat(filePath: string): Promise<HostFileStat | undefined> {
    try {
      // Without an error object, whose stack costs more than the call.
      const stats = statSetMember(filePath) ?? fs.statSync(filePath, { throwIfNoEntry: false });
      return stats && statFrom(stats, () => 0);
    } catch {
      return undefined;
    }
  }

  async remove(filePath: string): Promise<void> {
    try {
      fs.unlinkSync(filePath);
    } catch (error) {
      throw asBlockError(error);
    }
  }

  resolve(filePath: string): string {
    return path.resolve(filePath);
  }

  temporaryPath(prefix: string): string {
    return path.join(
      process.env.TMPDIR ?? (fs.existsSync('/var/tmp') ? '/var/tmp' : tmpdir()),
      `${prefix}${process.pid}-${Math.random().toString(36).slice(2)}`,
    );
  }
}
