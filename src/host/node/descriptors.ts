/** Descriptors of the system that Node has not opened, and so keeps no account of: events, duplicates, and closing. */
import { constants } from 'node:fs';
import { loadKoffi } from './koffi.js';

/** EFD_CLOEXEC | EFD_NONBLOCK. */
const EVENT_FLAGS = 0x80800;
const F_GETFL = 3;
const F_SETFL = 4;
const F_DUPFD_CLOEXEC = 1030;
const SOL_SOCKET = 1;
const SO_TYPE = 3;
/** O_ACCMODE. */
const ACCESS_MODE = 3;

export interface DescriptorCalls {
  /** A descriptor that whoever waits for it hears when eight bytes, a number, are written to it; -1: the system gives none. */
  event(): number;
  /** 0, or -1. */
  close(fd: number): number;
  /** Another descriptor of the same open file, which no program that is started gets; -1: there is none. */
  duplicate(fd: number): number;
  /** O_RDONLY, O_WRONLY or O_RDWR; undefined: it is not open. */
  accessMode(fd: number): number | undefined;
  /** SO_TYPE of a socket; undefined: it is none. */
  socketType(fd: number): number | undefined;
  /** Reads and writes do not wait. */
  setNonBlocking(fd: number): void;
  /** Whether the page cache is left out. */
  setDirect(fd: number, isDirect: boolean): void;
}

/** Throws where there is no koffi. */
export function descriptorCalls(): DescriptorCalls {
  const libc = loadKoffi().load(null);
  const eventfd = libc.func('int eventfd(unsigned int value, int flags)');
  const close = libc.func('int close(int fd)');
  const fcntl = libc.func('int fcntl64(int fd, int command, long value)');
  const getsockopt = libc.func(
    'int getsockopt(int fd, int level, int option, _Out_ int32_t *value, _Inout_ uint32_t *length)',
  );
  return {
    event: () => eventfd(0, EVENT_FLAGS) as number,
    close: (fd) => close(fd) as number,
    duplicate: (fd) => fcntl(fd, F_DUPFD_CLOEXEC, 0) as number,
    accessMode(fd) {
      const flags = fcntl(fd, F_GETFL, 0) as number;
      return flags < 0 ? undefined : flags & ACCESS_MODE;
    },
    socketType(fd) {
      const value = new Int32Array(1);
      return getsockopt(fd, SOL_SOCKET, SO_TYPE, value, [4]) === 0 ? value[0] : undefined;
    },
    setNonBlocking(fd) {
      fcntl(fd, F_SETFL, (fcntl(fd, F_GETFL, 0) as number) | constants.O_NONBLOCK);
    },
    setDirect(fd, isDirect) {
      const flags = fcntl(fd, F_GETFL, 0) as number;
      const wanted = isDirect ? flags | constants.O_DIRECT : flags & ~constants.O_DIRECT;
      if (wanted !== flags) fcntl(fd, F_SETFL, wanted);
    },
  };
}
