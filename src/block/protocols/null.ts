/**
 * Protocols `null-co` and `null-aio`, which here are one: a disk that stores nothing. Reads zero bytes when `read-zeroes` is on, and
 * otherwise leaves the buffer as it is.
 */
import { BlockError } from '../errors.js';
import type { BlockDriver, DriverNode } from '../node.js';
import { RequestFlag } from '../node.js';

const nullDriver = (name: 'null-co' | 'null-aio'): BlockDriver => ({
  name,
  kind: 'protocol',
  protocols: [name],
  openOptions: [
    { name: 'filename', type: 'string', help: 'Ignored' },
    { name: 'size', type: 'size', default: 2 ** 30, help: 'size of the null block', strong: true },
    {
      name: 'latency-ns',
      type: 'number',
      default: 0,
      help: 'nanoseconds (approximated) to wait before completing request',
    },
    { name: 'read-zeroes', type: 'boolean', default: false, help: 'return zeroes when read', strong: true },
  ],
  parseFilename(filename) {
    if (filename !== `${name}://`)
      throw new BlockError('EINVAL', `The only allowed filename for this driver is '${name}://'`);
    return {};
  },
  formatFilename: (options) => (Object.keys(options).every((key) => key === 'filename') ? `${name}://` : undefined),
  async open(context) {
    const size = context.options.number('size')!;
    const latencyNs = context.options.number('latency-ns')!;
    const readsZero = context.options.boolean('read-zeroes')!;
    const wait = async (): Promise<void> => {
      if (latencyNs > 0) await context.host.sleepMs(latencyNs / 1e6);
    };
    const instance: DriverNode = {
      length: size,
      zeroInit: readsZero,
      writeFlags: RequestFlag.fua,
      zeroFlags: RequestFlag.fua | RequestFlag.mayUnmap | RequestFlag.noFallback,
      async read(_offset, buffer) {
        await wait();
        if (readsZero) buffer.fill(0);
      },
      write: wait,
      writeZeroes: wait,
      discard: wait,
      flush: wait,
      async blockStatus(offset, length) {
        return { length, data: false, zero: readsZero, allocated: readsZero, offset, file: context.node };
      },
      async allocatedBytes() {
        return 0;
      },
      async close() {},
    };
    return instance;
  },
});

export const nullCoDriver = nullDriver('null-co');
export const nullAioDriver = nullDriver('null-aio');
