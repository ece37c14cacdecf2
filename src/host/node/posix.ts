/**
 * The system calls that Node's `fs` lacks, through koffi: lseek with SEEK_DATA / SEEK_HOLE, fallocate, OFD record locks, block
 * device ioctls. koffi is an optional dependency; without it `loadPosix` gives undefined and callers say what falls away.
 */
import { constants } from 'node:os';
import { loadKoffi } from './koffi.js';

/** Calls return -1 with `errno()` set, like libc's. Linux x86-64 and arm64 share all constants used here. */
export interface Posix {
  lseek(fd: number, offset: number, whence: number): number;
  fallocate(fd: number, mode: number, offset: number, length: number): number;
  fcntl(fd: number, command: number, argument: Uint8Array): number;
  ioctl(fd: number, request: number, argument: Uint8Array): number;
  socket(family: number, type: number, protocol: number): number;
  errno(): number;
  /** Ends the process at once, without what Node or the C library do before. */
  exit(status: number): void;
  /** Bytes copied, in the thread pool; absent where the C library has no copy_file_range. */
  copyFileRange?(from: number, fromOffset: number, to: number, toOffset: number, length: number): Promise<number>;
}

export const TMPFS_MAGIC = 0x01021994;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;
export const FALLOC_KEEP_SIZE = 1;
export const FALLOC_PUNCH_HOLE = 2;
export const FALLOC_ZERO_RANGE = 16;
export const F_OFD_GETLK = 36;
export const F_OFD_SETLK = 37;
export const F_RDLCK = 0;
export const F_WRLCK = 1;
export const F_UNLCK = 2;
export const BLKGETSIZE64 = 0x80081272;
export const BLKSSZGET = 0x1268;
export const BLKDISCARD = 0x1277;
export const BLKZEROOUT = 0x127f;

let loaded: Posix | undefined;
let isLoaded = false;

/** What `loadPosix` has loaded, if anybody has called it. */
export function loadedPosix(): Posix | undefined {
  return loaded;
}

export function loadPosix(): Posix | undefined {
  if (isLoaded) return loaded;
  isLoaded = true;
  if (process.platform !== 'linux') return undefined;
  try {
    const koffi = loadKoffi();
    const libc = koffi.load(null);
    loaded = {
      lseek: libc.func('int64_t lseek64(int fd, int64_t offset, int whence)'),
      fallocate: libc.func('int fallocate64(int fd, int mode, int64_t offset, int64_t length)'),
      fcntl: libc.func('int fcntl64(int fd, int command, _Inout_ uint8_t *argument)'),
      ioctl: libc.func('int ioctl(int fd, unsigned long request, _Inout_ uint8_t *argument)'),
      socket: libc.func('int socket(int family, int type, int protocol)'),
      errno: () => koffi.errno(),
      exit: libc.func('void _exit(int status)'),
    };
    try {
      const copy = libc.func(
        'int64_t copy_file_range(int from, _Inout_ int64_t *fromOffset, int to, _Inout_ int64_t *toOffset, size_t length, unsigned int flags)',
      );
      loaded.copyFileRange = (from, fromOffset, to, toOffset, length) =>
        new Promise((resolve, reject) =>
          copy.async(from, [fromOffset], to, [toOffset], length, 0, (error: unknown, count: number | bigint) =>
            error ? reject(error) : resolve(Number(count)),
          ),
        );
    } catch {
      // Copied through memory then.
    }
  } catch {
    loaded = undefined;
  }
  return loaded;
}

const namesByErrno = new Map<number, string>(
  Object.entries(constants.errno).map(([name, value]) => [value as number, name]),
);

export function errnoNameOf(errno: number): string {
  // Several names share a number; these are the ones the block layer uses.
  if (errno === constants.errno.EOPNOTSUPP) return 'ENOTSUP';
  if (errno === constants.errno.EAGAIN) return 'EAGAIN';
  return namesByErrno.get(errno) ?? 'EIO';
}
