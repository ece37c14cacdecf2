/**
 * SiFive's test finisher (sifive,test0 and test1): one write-only word by which software ends the machine. The low half says how, the
 * high half is a status.
 */
import type { IoHandler } from '../../bus/index.js';

export const SIFIVE_TEST_BYTES = 0x1000;
const finisher = { fail: 0x3333, pass: 0x5555, reset: 0x7777 } as const;

export interface SifiveTestEvents {
  fail(status: number): void;
  pass(): void;
  reset(): void;
}

export function sifiveTest(events: SifiveTestEvents): IoHandler {
  return {
    read: () => 0,
    write: (offset, _size, value) => {
      if (offset !== 0) return;
      switch (value & 0xffff) {
        case finisher.fail:
          events.fail((value >>> 16) & 0xffff);
          break;
        case finisher.pass:
          events.pass();
          break;
        case finisher.reset:
          events.reset();
          break;
      }
    },
  };
}
