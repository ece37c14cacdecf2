/** Waiting for descriptors that Node's event loop does not take, by poll(2), in a thread that does nothing else. */
import { descriptorCalls } from './descriptors.js';
import { loadKoffi } from './koffi.js';

const POLLIN = 1;
const RECORD_BYTES = 8;

/** A descriptor that a waiter hears when eight bytes, a number, are written to it. Throws where there is no koffi. */
export function createEvent(): number {
  const fd = descriptorCalls().event();
  if (fd < 0) throw new Error('eventfd has failed');
  return fd;
}

/** Closes a descriptor that Node has not opened, and so keeps no account of. */
export function closeDescriptor(fd: number): void {
  descriptorCalls().close(fd);
}

export interface Readable {
  readonly readable: readonly number[];
  /** Some can never be read. */
  readonly failed: boolean;
}

/** Gives a function that sleeps until something is to be told of one of the descriptors, or a time has passed. */
export function readableWaiter(descriptors: readonly number[]): (mostMs: number) => Readable {
  const poll = loadKoffi().load(null).func('int poll(_Inout_ uint8_t *descriptors, unsigned long count, int mostMs)');
  const bytes = new Uint8Array(descriptors.length * RECORD_BYTES);
  const view = new DataView(bytes.buffer);
  const told = (i: number) => view.getUint16(i * RECORD_BYTES + 6, true);
  return (mostMs) => {
    for (const [i, fd] of descriptors.entries()) {
      view.setInt32(i * RECORD_BYTES, fd, true);
      view.setUint16(i * RECORD_BYTES + 4, POLLIN, true);
      view.setUint16(i * RECORD_BYTES + 6, 0, true);
    }
    if ((poll(bytes, descriptors.length, mostMs) as number) <= 0) return { readable: [], failed: false };
    const readable = descriptors.filter((_fd, i) => (told(i) & POLLIN) !== 0);
    return { readable, failed: descriptors.some((_fd, i) => told(i) !== 0 && (told(i) & POLLIN) === 0) };
  };
}
