/** Registers of a bus master IDE channel (SFF-8038i), and its table of physical region descriptors. */
import type { DmaSpace } from '../../bus/index.js';
import { defineState, type StateOf, u8, u32 } from '../../schema/index.js';
import { ScatterList } from '../disk/index.js';

export const busMasterCommand = { start: 0x01, toMemory: 0x08 } as const;
export const busMasterStatus = { active: 0x01, error: 0x02, interrupt: 0x04, drives: 0x60 } as const;

export const BusMasterState = defineState('bus-master-ide', 1, {
  command: u8(0, { max: 9 }),
  status: u8(0, { max: 0x67 }),
  /** Guest-physical address of the table; a multiple of 4. */
  table: u32(),
});
export type BusMasterRegisters = StateOf<typeof BusMasterState>;

/** The table lies within 64 KiB; a drive's largest transfer is 32 MiB. */
const maxDescriptors = 0x10000 / 8;

export interface GatheredTable {
  readonly list: ScatterList;
  /** The table names more than was wanted. */
  readonly longer: boolean;
  /** It names something that is not RAM. */
  readonly fault: boolean;
}

/** The memory that a table names, up to `length` bytes. */
export function gatherTable(dma: DmaSpace, table: number, intoGuest: boolean, length: number): GatheredTable {
  const list = new ScatterList(dma, intoGuest);
  for (let i = 0; i < maxDescriptors; i++) {
    const at = table + i * 8;
    const address = (dma.readU32(at) & ~1) >>> 0;
    const word = dma.readU32(at + 4);
    const count = word & 0xfffe || 0x10000;
    const left = length - list.length;
    if (!list.add(address, Math.min(count, left))) return { list, longer: false, fault: true };
    const last = word >>> 31 !== 0;
    if (list.length === length) return { list, longer: count > left || !last, fault: false };
    if (last) break;
  }
  return { list, longer: false, fault: false };
}
