/** Descriptors of the system that Node has not opened, and so keeps no account of: events, and closing. */
import { loadKoffi } from './koffi.js';

/** EFD_CLOEXEC | EFD_NONBLOCK. */
const EVENT_FLAGS = 0x80800;

export interface DescriptorCalls {
  /** A descriptor that whoever waits for it hears when eight bytes, a number, are written to it; -1: the system gives none. */
  event(): number;
  /** 0, or -1. */
  close(fd: number): number;
}

/** Throws where there is no koffi. */
export function descriptorCalls(): DescriptorCalls {
  const libc = loadKoffi().load(null);
  const eventfd = libc.func('int eventfd(unsigned int value, int flags)');
  const close = libc.func('int close(int fd)');
  return { event: () => eventfd(0, EVENT_FLAGS) as number, close: (fd) => close(fd) as number };
}
