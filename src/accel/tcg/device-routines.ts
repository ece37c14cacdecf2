/** What translated code asks of JavaScript: devices, the time-stamp counter, random bits, whether a store has hit code. */
import type { HostFunction } from '../../wasm/index.js';
import { type ExitCounters, exitIndex } from '../exits.js';
import type { CodeCache } from './code-cache.js';
import type { EngineHost } from './engine-options.js';

/** By the routines' names. Addresses of devices come in halves of 32 bits. `cache` is asked for when it is there. */
export function deviceRoutines(
  host: EngineHost,
  { counts }: ExitCounters,
  cache: () => CodeCache,
): Record<string, HostFunction> {
  const { pioRead, pioWrite, mmioRead, mmioWrite } = exitIndex;
  const gpa = (low: number, high: number) => (high >>> 0) * 4294967296 + (low >>> 0);
  const routines: Record<string, (...args: never[]) => unknown> = {
    device_answers: (_state: number, low: number, high: number) => Number(host.answers?.(gpa(low, high)) ?? true),
    mmio_read: (_state: number, low: number, high: number, size: number) => {
      counts[mmioRead]++;
      return host.mmioRead(gpa(low, high), size as 1 | 2 | 4);
    },
    mmio_write: (_state: number, low: number, high: number, size: number, value: number) => {
      counts[mmioWrite]++;
      host.mmioWrite(gpa(low, high), size as 1 | 2 | 4, value >>> 0);
    },
    pio_read: (_state: number, port: number, size: number) => {
      counts[pioRead]++;
      return host.pioRead(port & 0xffff, size as 1 | 2 | 4);
    },
    pio_write: (_state: number, port: number, size: number, value: number) => {
      counts[pioWrite]++;
      host.pioWrite(port & 0xffff, size as 1 | 2 | 4, value >>> 0);
    },
    read_tsc: () => BigInt.asIntN(64, host.readTsc()),
    random_bits: () => BigInt.asIntN(64, host.randomBits()),
    code_written: (_state: number, hva: number, size: number) => Number(cache().invalidate(hva >>> 0, size)),
  };
  return routines;
}
