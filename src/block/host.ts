/**
 * What the block layer needs of its host: files, clock, compression, ciphers, connections. `src/host/node` implements it on
 * Node.js; tests may implement it in memory. Every failure is a BlockError whose `code` is an errno name.
 *
 * **What falls away without the FFI (koffi)** is listed by name in `FileHost.missing` and nothing else changes:
 * `seek-hole` (allocation of raw files is then unknown: everything counts as data), `punch-hole` and `fallocate` (discard of raw files
 * is a no-op, write-zeroes writes zero bytes, `preallocation=falloc` is refused), `ofd-locks` (no locking: a second writer
 * isn't noticed), `block-device-size` (found by seeking instead), `copy-range` (copies go through memory). Before Node 22.15 zstd is
 * slow without it.
 */

export interface HostFileOpenFlags {
  readonly write: boolean;
  /** O_DIRECT: offsets, lengths and buffers must be aligned to `HostFile.alignment`. The host's file bounces what isn't. */
  readonly direct?: boolean;
  /** Large writes go to the host's threads. */
  readonly writesInThreads?: boolean;
  /** Reads from 128 KiB on do. */
  readonly readsInThreads?: boolean;
  /** O_CREAT. With `truncate` O_TRUNC, with `exclusive` O_EXCL. */
  readonly create?: boolean;
  readonly truncate?: boolean;
  readonly exclusive?: boolean;
  readonly mode?: number;
}

export type HostFileKind = 'regular' | 'block-device' | 'character-device' | 'directory' | 'other';

export interface HostFileStat {
  readonly kind: HostFileKind;
  /** For a block device the device's size. */
  readonly sizeBytes: number;
  /** st_blocks × 512. */
  readonly allocatedBytes: number;
  /** st_blksize. */
  readonly blockSizeBytes: number;
}

/**
 * One open file. The `…Sync` calls may block the calling thread: right for what is in the page cache or what the caller must wait for
 * anyway. `read`/`write`/`sync` choose themselves: small transfers in place, large reads and fsync in the host's threads.
 */
export interface HostFile {
  readonly path: string;
  readonly kind: HostFileKind;
  readonly writable: boolean;
  readonly direct: boolean;
  /** 1, or what O_DIRECT asks for. */
  readonly alignment: number;
  /** The system's number of the open file, for who reads and writes it by other calls; absent: there is none. */
  readonly descriptor?: number;
  /** Its contents are in the host's memory alone: no read waits for a disk. */
  readonly isInMemory?: boolean;
  stat(): HostFileStat;
  /** Bytes read; less than asked for only at end of file. */
  read(offset: number, buffer: Uint8Array): Promise<number>;
  /** Reads in place where that is likely not to wait (the bytes read), else does nothing. Failures are left to `read`. */
  readNow?(offset: number, buffer: Uint8Array): number | undefined;
  readSync(offset: number, buffer: Uint8Array): number;
  /** Writes all of the buffer or throws. */
  write(offset: number, buffer: Uint8Array): Promise<void>;
  /** Writes in place where that is likely not to wait, else (or where it fails, perhaps in part) gives false. */
  writeNow?(offset: number, buffer: Uint8Array): boolean;
  writeSync(offset: number, buffer: Uint8Array): void;
  /**
   * Copies from another file of this host inside the system (copy_file_range), which may share blocks instead. False: it can't be done,
   * or was done in part; copy by reading and writing, which tells what is wrong.
   */
  copyFrom?(source: HostFile, sourceOffset: number, offset: number, length: number): Promise<boolean>;
  /** fdatasync. */
  sync(): Promise<void>;
  truncate(sizeBytes: number): Promise<void>;
  /**
   * fallocate. `allocate` reserves blocks (size grows as needed), `keep-size` reserves but leaves the size, `punch-hole` unmaps
   * and reads zero, `zero-range` reads zero and stays allocated. Throws ENOTSUP where the file system or the missing FFI can't.
   */
  fallocate(
    mode: 'allocate' | 'keep-size' | 'punch-hole' | 'zero-range',
    offset: number,
    length: number,
  ): Promise<void>;
  /** BLKDISCARD / BLKZEROOUT for block devices. */
  deviceDiscard?(offset: number, length: number): Promise<void>;
  deviceZero?(offset: number, length: number): Promise<void>;
  /**
   * The run of data or hole that `offset` lies in, by SEEK_DATA / SEEK_HOLE: `end` is exclusive. Undefined where unknown.
   * An offset at or past the end of the file is a hole that ends at Infinity.
   */
  extent(offset: number): { readonly data: boolean; readonly end: number } | undefined;
  /**
   * OFD byte-range lock: true when taken, false when another open file holds a conflicting one. `exclusive` undefined unlocks.
   * Always true when `ofd-locks` is missing.
   */
  lock(offset: number, length: number, exclusive: boolean | undefined): boolean;
  /** F_OFD_GETLK: would the lock be granted? */
  lockable(offset: number, length: number, exclusive: boolean): boolean;
  close(): Promise<void>;
}

export interface FileHost {
  /** Feature names (see top of file) that this host lacks. */
  readonly missing: ReadonlySet<string>;
  open(path: string, flags: HostFileOpenFlags): Promise<HostFile>;
  stat(path: string): Promise<HostFileStat | undefined>;
  remove(path: string): Promise<void>;
  /** The absolute path of `path`. */
  resolve(path: string): string;
  temporaryPath(prefix: string): string;
}

/** Raw deflate (qcow2), zlib (vmdk, dmg, cloop, qcow1, parallels none) and zstd, all-at-once on buffers. */
export interface CompressionHost {
  /** Undefined when the result would be larger than `limit` bytes. */
  deflateRaw(
    input: Uint8Array,
    options: { readonly level?: number; readonly windowBits?: number; readonly limit: number },
  ): Promise<Uint8Array | undefined>;
  /** Exactly `size` bytes, or throws EIO. Trailing input is ignored. `zlib` has header and checksum, `raw` has not. */
  inflate(kind: 'raw' | 'zlib', input: Uint8Array, size: number): Promise<Uint8Array>;
  deflateZlib(
    input: Uint8Array,
    options: { readonly level?: number; readonly limit: number },
  ): Promise<Uint8Array | undefined>;
  zstdCompress(input: Uint8Array, limit: number): Promise<Uint8Array | undefined>;
  /**
   * Decompresses each piece, a raw deflate stream or a zstd frame, to `size` bytes, or throws EIO. What follows it in the input is
   * ignored. Many pieces at once may be done by other threads, if both buffers come from `allocateShared`.
   */
  decompressAll(
    kind: 'deflate' | 'zstd',
    input: Uint8Array,
    output: Uint8Array,
    pieces: readonly PackedPiece[],
    size: number,
  ): Promise<void>;
}

export interface PackedPiece {
  /** Where it is in the input. */
  readonly from: number;
  readonly length: number;
  /** Where its bytes go in the output. */
  readonly to: number;
}

/** Primitive ciphers and hashes; the modes and volume formats built of them are in `src/block/crypto`. */
export interface CryptoHost {
  randomBytes(count: number): Uint8Array;
  /** `sha1 sha224 sha256 sha384 sha512 ripemd160 md5`; undefined when the host lacks it. */
  hash(algorithm: string, input: Uint8Array): Uint8Array | undefined;
  pbkdf2(
    algorithm: string,
    secret: Uint8Array,
    salt: Uint8Array,
    iterations: number,
    size: number,
  ): Promise<Uint8Array>;
  /** CPU milliseconds that one pbkdf2 run takes, for choosing iteration counts. */
  threadCpuMs(): number;
  /** A cipher by OpenSSL's name (`aes-256-xts`, `aes-128-cbc`, `aes-256-ecb`), without padding; undefined when lacking. */
  cipher(name: string, key: Uint8Array): BlockCipher | undefined;
}

export interface BlockCipher {
  encrypt(iv: Uint8Array | undefined, input: Uint8Array): Uint8Array;
  decrypt(iv: Uint8Array | undefined, input: Uint8Array): Uint8Array;
}

/** A connected byte stream (TCP, unix socket, TLS over either). */
export interface ByteStream {
  /** The next bytes, at most `limit`; empty at end of stream. */
  read(limit: number): Promise<Uint8Array>;
  /** Fills the buffer as far as bytes have arrived that `read` would give next; 0: none, or this stream can't tell. */
  readNow?(buffer: Uint8Array): number;
  /** Resolves when the host has taken the bytes, which must not change before, and wants more. */
  write(...parts: readonly Uint8Array[]): Promise<void>;
  /** Like `write`, but undefined when the host has taken all bytes at once. */
  writeNow?(bytes: Uint8Array): Promise<void> | undefined;
  /** Starts TLS as the client on this stream; the stream given must not be used further. */
  startTls?(options: TlsOptions): Promise<ByteStream>;
  end(): Promise<void>;
  destroy(): void;
}

export type StreamAddress =
  | { readonly type: 'inet'; readonly host: string; readonly port: number }
  | { readonly type: 'unix'; readonly path: string }
  | { readonly type: 'fd'; readonly fd: number };

export type TlsOptions =
  | {
      readonly kind: 'x509';
      readonly ca?: Uint8Array;
      readonly cert?: Uint8Array;
      readonly key?: Uint8Array;
      readonly serverName?: string;
      readonly verifyPeer: boolean;
    }
  | { readonly kind: 'psk'; readonly identity: string; readonly key: Uint8Array };

export interface NetworkHost {
  connect(address: StreamAddress): Promise<ByteStream>;
}

export interface HttpHost {
  /** Size and whether ranges are served (HEAD). */
  head(url: string, options: HttpOptions): Promise<{ readonly sizeBytes: number; readonly acceptsRanges: boolean }>;
  range(url: string, offset: number, buffer: Uint8Array, options: HttpOptions): Promise<void>;
  close(): void;
}

export interface HttpOptions {
  readonly timeoutMs: number;
  readonly verifyTls: boolean;
  readonly username?: string;
  readonly password?: string;
  readonly proxy?: string;
  readonly cookie?: string;
}

/** All of it. What is optional is loaded on first use, so that a tool's start stays short. */
export interface BlockHost {
  readonly files: FileHost;
  compression(): Promise<CompressionHost>;
  crypto(): Promise<CryptoHost>;
  network(): Promise<NetworkHost>;
  http(): Promise<HttpHost>;
  /** Is every byte zero? At memory speed. */
  isZero(bytes: Uint8Array): boolean;
  equal(a: Uint8Array, b: Uint8Array): boolean;
  /** A buffer of its own with undefined contents. */
  allocate(sizeBytes: number): Uint8Array;
  /** Zeroed memory that the host's threads can work on. Slower to get: for what is used again. */
  allocateShared(sizeBytes: number): Uint8Array;
  monotonicNs(): number;
  /** Seconds and nanoseconds since 1970 for snapshot dates. */
  wallNs(): number;
  sleepMs(ms: number): Promise<void>;
  /** A secret's bytes by id, as `-object secret,id=…` defined it; throws BlockError. */
  secret(id: string): Promise<Uint8Array>;
  /** Another object that the command line defined: a throttle group, TLS credentials. */
  object?(id: string): { readonly type: string; readonly options: Readonly<Record<string, unknown>> } | undefined;
  /** One line for a person on stderr; warnings and errors begin with the tool's name, `plain` ones do not. */
  report(severity: 'warning' | 'error' | 'plain', message: string): void;
}
