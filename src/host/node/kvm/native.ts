/**
 * The system calls that KVM needs, through koffi: loaded when KVM is first asked for, not before. One signal is used to take a
 * vCPU out of the guest: SIGURG, which nobody hears unless asked to and of which at most one waits. It is blocked in a vCPU's
 * thread but while the thread is in the guest: one that comes earlier ends the next entry at once, so that none is lost.
 */
import { VringError } from '../../../base/index.js';
import { descriptorCalls } from '../descriptors.js';
import { loadKoffi } from '../koffi.js';

const SIGURG = 23;
const SIG_BLOCK = 0;
const SIG_UNBLOCK = 1;
const CLOCK_MONOTONIC = 1;
const CLOCK_THREAD_CPUTIME = 3;
const SIGEV_THREAD_ID = 4;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const O_RDWR_CLOEXEC = 0x80002;
const EPOLL_CLOEXEC = 0x80000;
const EPOLL_CTL_ADD = 1;
/** EPOLLIN | EPOLLET: every event is told once. */
const EPOLL_EVENTS = 0x80000001;
const EVENTS_AT_ONCE = 32;
const SIGNAL_SET_BYTES = 128;
const tgkillNumber = { x64: 234, arm64: 131 } as Readonly<Record<string, number>>;
const gettidNumber = { x64: 186, arm64: 178 } as Readonly<Record<string, number>>;

export interface Native {
  /** A descriptor, or -1 with `errno`; so all that follow. */
  open(path: string): number;
  close(fd: number): number;
  ioctl(fd: number, request: number, value: number | bigint): number;
  /** `bytes` is read and written in place. */
  ioctlBytes(fd: number, request: number, bytes: Uint8Array): number;
  /** Memory of a descriptor, shared with the kernel. Nobody may touch it after `release`. */
  map(fd: number, length: number): { readonly buffer: ArrayBuffer; release(): void } | undefined;
  /** Where a buffer lies in this process. It must not be small: small arrays move. */
  addressOf(bytes: Uint8Array): bigint;
  eventfd(): number;
  /** One more event of such a descriptor. */
  sendEvent(fd: number): void;
  /** Whether there were events since the last time. */
  takeEvents(fd: number): boolean;
  /** A list of descriptors whose events a thread waits for. */
  createEventList(): number;
  /** `tag`: what `waitForEvents` gives. A descriptor leaves the list when it is closed. */
  addEvent(list: number, fd: number, tag: number): void;
  /** Sleeps until there are events that it has not told of: their tags. */
  waitForEvents(list: number): number[];
  errno(): number;
  threadId(): number;
  /** Takes the thread out of the guest, now or at its next entry. */
  signal(threadId: number): void;
  /** This thread runs vCPUs: the kick signal waits outside the guest. Gives the signals that are blocked in it, but for that one. */
  prepareThread(): Uint8Array;
  /** It does no longer. */
  releaseThread(): void;
  /** Forgets a kick that waits. */
  drain(): void;
  /** `cpu`: it counts the time in which the calling thread runs, in the guest too, rather than all time. */
  createTimer(threadId: number, counts: 'time' | 'cpu'): NativeTimer;
  /** Milliseconds that the calling thread has run. */
  threadMs(): number;
}

/** Takes a thread out of the guest after a time. */
export interface NativeTimer {
  /** Nanoseconds from now; 0: never. */
  set(delayNs: number): void;
  close(): void;
}

let loaded: Native | undefined;

/** Throws VringError `kvm-unavailable` where there is no such system, or no koffi. */
export function loadNative(): Native {
  loaded ??= load();
  return loaded;
}

function load(): Native {
  if (process.platform !== 'linux') throw new VringError('kvm-unavailable', 'this system is not Linux');
  const { arch } = process;
  if (!(arch in tgkillNumber)) throw new VringError('kvm-unavailable', `no KVM is known for ${arch} processors`);
  let koffi: ReturnType<typeof loadKoffi>;
  try {
    koffi = loadKoffi();
  } catch (error) {
    throw new VringError('kvm-unavailable', 'the module koffi, which calls the system, is not installed', {
      cause: error,
    });
  }
  const libc = koffi.load(null);
  const open = libc.func('int open(const char *path, int flags)');
  const ioctl = libc.func('int ioctl(int fd, unsigned long request, long value)');
  const ioctlBytes = libc.func('int ioctl(int fd, unsigned long request, void *bytes)');
  const mmap = libc.func('void *mmap(void *at, size_t length, int protection, int flags, int fd, int64_t offset)');
  const munmap = libc.func('int munmap(void *at, size_t length)');
  const syscall = libc.func('long syscall(long number, long a, long b, long c)');
  const { close, event } = descriptorCalls();
  const read = libc.func('intptr_t read(int fd, void *bytes, size_t count)');
  const write = libc.func('intptr_t write(int fd, void *bytes, size_t count)');
  const epollCreate = libc.func('int epoll_create1(int flags)');
  const epollControl = libc.func('int epoll_ctl(int list, int operation, int fd, void *event)');
  const epollWait = libc.func('int epoll_wait(int list, void *events, int most, int timeout)');
  const mask = libc.func('int pthread_sigmask(int how, void *set, void *old)');
  const wait = libc.func('int sigtimedwait(void *set, void *information, void *timeout)');
  const clockGet = libc.func('int clock_gettime(int clock, void *time)');
  const timerCreate = libc.func('int timer_create(int clock, void *event, void *timer)');
  const timerSet = libc.func('int timer_settime(intptr_t timer, int flags, void *value, void *old)');
  const timerDelete = libc.func('int timer_delete(intptr_t timer)');

  const kick = new Uint8Array(new ArrayBuffer(SIGNAL_SET_BYTES));
  kick[(SIGURG - 1) >> 3] = 1 << ((SIGURG - 1) & 7);
  // `struct epoll_event` is packed on x86-64 alone.
  const epollEvent = arch === 'x64' ? { bytes: 12, tag: 4 } : { bytes: 16, tag: 8 };
  const events = new Uint8Array(new ArrayBuffer(EVENTS_AT_ONCE * epollEvent.bytes));
  const eventsView = new DataView(events.buffer);
  const oneEvent = new Uint8Array(new BigUint64Array([1n]).buffer);
  const noTime = new Uint8Array(new ArrayBuffer(16));
  const now = new Uint8Array(new ArrayBuffer(16));
  const nowWords = new BigInt64Array(now.buffer);

  return {
    open: (path) => open(path, O_RDWR_CLOEXEC),
    close,
    ioctl: (fd, request, value) => ioctl(fd, request, value),
    ioctlBytes: (fd, request, bytes) => ioctlBytes(fd, request, bytes),
    map(fd, length) {
      const at = mmap(null, length, PROT_READ_WRITE, MAP_SHARED, fd, 0);
      if (BigInt.asIntN(64, koffi.address(at)) === -1n) return undefined;
      return { buffer: koffi.view(at, length), release: () => void munmap(at, length) };
    },
    addressOf: (bytes) => koffi.address(bytes),
    eventfd: event,
    sendEvent: (fd) => void write(fd, oneEvent, 8),
    takeEvents: (fd) => read(fd, events, 8) === 8,
    createEventList: () => epollCreate(EPOLL_CLOEXEC),
    addEvent(list, fd, tag) {
      const event = new DataView(new ArrayBuffer(epollEvent.bytes));
      event.setUint32(0, EPOLL_EVENTS, true);
      event.setUint32(epollEvent.tag, tag, true);
      epollControl(list, EPOLL_CTL_ADD, fd, new Uint8Array(event.buffer));
    },
    waitForEvents(list) {
      const count = Math.max(0, epollWait(list, events, EVENTS_AT_ONCE, -1));
      return Array.from({ length: count }, (_, i) => eventsView.getUint32(i * epollEvent.bytes + epollEvent.tag, true));
    },
    errno: () => koffi.errno(),
    threadId: () => Number(syscall(gettidNumber[arch], 0, 0, 0)),
    signal: (threadId) => void syscall(tgkillNumber[arch], process.pid, threadId, SIGURG),
    prepareThread() {
      const old = new Uint8Array(new ArrayBuffer(SIGNAL_SET_BYTES));
      mask(SIG_BLOCK, kick, old);
      const blocked = old.slice(0, 8);
      for (let i = 0; i < blocked.length; i++) blocked[i] &= ~kick[i];
      return blocked;
    },
    releaseThread() {
      while (wait(kick, null, noTime) > 0);
      mask(SIG_UNBLOCK, kick, null);
    },
    drain() {
      while (wait(kick, null, noTime) > 0);
    },
    threadMs() {
      clockGet(CLOCK_THREAD_CPUTIME, now);
      return Number(nowWords[0]) * 1000 + Number(nowWords[1]) / 1e6;
    },
    createTimer(threadId, counts) {
      const event = new DataView(new ArrayBuffer(64));
      event.setInt32(8, SIGURG, true);
      event.setInt32(12, SIGEV_THREAD_ID, true);
      event.setInt32(16, threadId, true);
      const made = new BigInt64Array(new ArrayBuffer(8));
      const clock = counts === 'cpu' ? CLOCK_THREAD_CPUTIME : CLOCK_MONOTONIC;
      if (timerCreate(clock, new Uint8Array(event.buffer), made) !== 0)
        throw new VringError('kvm-unavailable', 'the system gives no timer');
      const [timer] = made;
      const value = new DataView(new ArrayBuffer(32));
      const bytes = new Uint8Array(value.buffer);
      return {
        set(delayNs) {
          value.setBigInt64(16, BigInt(Math.floor(delayNs / 1e9)), true);
          value.setBigInt64(24, BigInt(Math.ceil(delayNs % 1e9)), true);
          timerSet(timer, 0, bytes, null);
        },
        close: () => void timerDelete(timer),
      };
    },
  };
}
