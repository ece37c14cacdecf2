/** Guests that do their worst, with a seed: the image of fuzz-guest.s and its parameters. */
import { readFileSync } from 'node:fs';
import { multiboot } from './programs.js';

export interface FuzzGuest {
  readonly seed: number;
  /** Also what resets, stops or switches off the machine, and configuration space. Without, it visits everything once. */
  readonly wild: boolean;
  /** Registers in memory: start and length. */
  readonly windows: readonly (readonly [number, number])[];
}

/** Where the guest writes FUZZ_DONE once it has been to every port and register. */
export const FUZZ_DONE_AT = 0x2010;
export const FUZZ_DONE = 0x600d;

/** Offsets in the image's code. */
const parameters = { seed: 8, flags: 12, windows: 16, windowCount: 40 } as const;
const LEAVE_OUT_WHAT_ENDS = 1;

export function fuzzGuest(guest: FuzzGuest): Uint8Array {
  const hex = readFileSync(new URL('../../../src/vmm/testing/fuzz-guest.hex', import.meta.url), 'latin1');
  const code = Buffer.from(hex.replace(/\s/g, ''), 'hex');
  code.writeInt32LE(guest.seed | 0, parameters.seed);
  code.writeInt32LE(guest.wild ? 0 : LEAVE_OUT_WHAT_ENDS, parameters.flags);
  for (const [i, [start, length]] of guest.windows.slice(0, parameters.windowCount - 1).entries()) {
    code.writeUInt32LE(start >>> 0, parameters.windows + 8 * i);
    code.writeUInt32LE(length, parameters.windows + 8 * i + 4);
  }
  return multiboot([...code]);
}

/** Windows of registers in a machine's memory map (`info mtree`). */
export function registerWindows(memoryMap: string): [number, number][] {
  return [...memoryMap.matchAll(/^\s*([0-9a-f]+)-([0-9a-f]+) \(mmio\)/gm)].map(([, start, end]) => [
    Number.parseInt(start, 16),
    Number.parseInt(end, 16) - Number.parseInt(start, 16) + 1,
  ]);
}
