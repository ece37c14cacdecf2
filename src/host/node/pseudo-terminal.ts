/** Pseudo-terminals, which Node has no call for: posix_openpt and what belongs to it, through koffi. */
import { constants } from 'node:os';
import { ReadStream } from 'node:tty';
import { VringError } from '../../base/index.js';
import { loadKoffi } from './koffi.js';

const O_RDWR_NOCTTY_CLOEXEC = 0x80102;
const F_DUPFD_CLOEXEC = 1030;
const TCSANOW = 0;
const POLLHUP = 0x10;
/** At least glibc's struct termios. */
const TERMIOS_BYTES = 64;
const POLLFD_BYTES = 8;

export interface PseudoTerminal {
  /** Of the side that programs open. */
  readonly path: string;
  /** Whether a program has that side open. */
  isOpen(): boolean;
  /** Bytes to and from who has it open; it fails when they leave. */
  stream(): ReadStream;
  close(): void;
}

/** A new one, in raw mode: bytes pass unchanged, nothing is echoed. Throws VringError `pseudo-terminal`. */
export function openPseudoTerminal(): PseudoTerminal {
  if (process.platform !== 'linux') throw new VringError('pseudo-terminal', 'this system is not Linux');
  let koffi: ReturnType<typeof loadKoffi>;
  try {
    koffi = loadKoffi();
  } catch (error) {
    throw new VringError('pseudo-terminal', 'the module koffi, which calls the system, is not installed', {
      cause: error,
    });
  }
  const libc = koffi.load(null);
  const open = libc.func('int open(const char *path, int flags)');
  const close = libc.func('int close(int fd)');
  const check = (result: number): number => {
    if (result >= 0) return result;
    const errno = koffi.errno();
    const [name] = Object.entries(constants.errno).find(([, value]) => value === errno) ?? [String(errno)];
    throw new VringError('pseudo-terminal', name);
  };
  const master = check(libc.func('int posix_openpt(int flags)')(O_RDWR_NOCTTY_CLOEXEC));
  try {
    check(libc.func('int grantpt(int fd)')(master));
    check(libc.func('int unlockpt(int fd)')(master));
    const name = new Uint8Array(256);
    check(-libc.func('int ptsname_r(int fd, _Out_ uint8_t *name, size_t size)')(master, name, name.length));
    const path = Buffer.from(name.subarray(0, name.indexOf(0))).toString();
    const termios = new Uint8Array(TERMIOS_BYTES);
    check(libc.func('int tcgetattr(int fd, _Inout_ uint8_t *termios)')(master, termios));
    libc.func('void cfmakeraw(_Inout_ uint8_t *termios)')(termios);
    check(libc.func('int tcsetattr(int fd, int when, _Inout_ uint8_t *termios)')(master, TCSANOW, termios));
    // Until somebody has left it, a pseudo-terminal does not tell that nobody is there.
    check(close(check(open(path, O_RDWR_NOCTTY_CLOEXEC))));
    const poll = libc.func('int poll(_Inout_ uint8_t *fds, unsigned long count, int timeout)');
    const duplicate = libc.func('int fcntl(int fd, int command, int least)');
    return {
      path,
      isOpen() {
        const entry = new DataView(new ArrayBuffer(POLLFD_BYTES));
        entry.setInt32(0, master, true);
        const bytes = new Uint8Array(entry.buffer);
        return poll(bytes, 1, 0) >= 0 && (entry.getInt16(6, true) & POLLHUP) === 0;
      },
      stream: () => new ReadStream(check(duplicate(master, F_DUPFD_CLOEXEC, 3))),
      close: () => void close(master),
    };
  } catch (error) {
    close(master);
    throw error;
  }
}
