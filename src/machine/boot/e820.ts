/** The memory map that direct boot tells the guest. */
import { type E820Entry, e820Type } from './boot-state.js';

/**
 * The e820 map of a PC without firmware: RAM to 0x9fc00, the BIOS area reserved, RAM from 1 MiB to `lowRamEnd` and, if
 * there is more, from 4 GiB.
 */
export function pcE820(lowRamEnd: number, highRamBytes: number): E820Entry[] {
  const entries: E820Entry[] = [
    { start: 0, size: 0x9fc00, type: e820Type.ram },
    { start: 0x9fc00, size: 0x400, type: e820Type.reserved },
    { start: 0xe0000, size: 0x20000, type: e820Type.reserved },
    { start: 0x100000, size: lowRamEnd - 0x100000, type: e820Type.ram },
  ];
  if (highRamBytes > 0) entries.push({ start: 0x1_0000_0000, size: highRamBytes, type: e820Type.ram });
  return entries;
}
