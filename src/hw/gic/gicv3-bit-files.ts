/** The registers of a bit, two bits or a byte for each interrupt, which a GICv3's distributor has for SPIs and redistributors for the rest. */
import type { GicV3 } from './gicv3.js';
import { PRIORITY_MASK, SGIS } from './gicv3-state.js';

export const bitFile = {
  IGROUPR: 0x080,
  ISENABLER: 0x100,
  ICENABLER: 0x180,
  ISPENDR: 0x200,
  ICPENDR: 0x280,
  ISACTIVER: 0x300,
  ICACTIVER: 0x380,
  end: 0x400,
} as const;

/** `word`: index of a word of bits. */
export function readBits(gic: GicV3, file: number, word: number): number {
  const { state } = gic;
  switch (file) {
    case bitFile.IGROUPR:
      return state.group[word];
    case bitFile.ISENABLER:
    case bitFile.ICENABLER:
      return state.enable[word];
    case bitFile.ISPENDR:
    case bitFile.ICPENDR:
      return gic.pending(word);
    default:
      return state.active[word];
  }
}

/** `mask`: the bits that the access writes. */
export function writeBits(gic: GicV3, file: number, word: number, value: number, mask: number): void {
  const { state } = gic;
  switch (file) {
    case bitFile.IGROUPR:
      state.group[word] = (state.group[word] & ~mask) | value;
      break;
    case bitFile.ISENABLER:
      state.enable[word] |= value;
      break;
    case bitFile.ICENABLER:
      state.enable[word] &= ~value;
      break;
    case bitFile.ISPENDR:
      state.latch[word] |= value;
      break;
    case bitFile.ICPENDR:
      state.latch[word] &= ~value;
      break;
    case bitFile.ISACTIVER:
      state.active[word] |= value;
      break;
    case bitFile.ICACTIVER:
      state.active[word] &= ~value;
      break;
  }
}

/** Two bits of each of 16 interrupts; the upper one tells edges from levels. `half`: which 16 of a word. */
export function readTriggers(gic: GicV3, word: number, half: 0 | 1): number {
  const bits = gic.state.edge[word] >>> (16 * half);
  let value = 0;
  for (let i = 0; i < 16; i++) if ((bits >>> i) & 1) value |= 2 << (2 * i);
  return value >>> 0;
}

export function writeTriggers(gic: GicV3, word: number, half: 0 | 1, value: number, mask: number): void {
  if (word < gic.cpus && half === 0) return;
  for (let i = 0; i < 16; i++) {
    if (((mask >>> (2 * i + 1)) & 1) === 0) continue;
    const bit = 1 << (16 * half + i);
    if ((value >>> (2 * i + 1)) & 1) gic.state.edge[word] |= bit;
    else gic.state.edge[word] &= ~bit;
  }
  if (word < gic.cpus) gic.state.edge[word] |= SGIS;
}

/** Four priorities from index `at` on. */
export function readPriorities({ state }: GicV3, at: number): number {
  const [a, b, c, d] = state.priority.subarray(at, at + 4);
  return (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
}

export function writePriorities({ state }: GicV3, at: number, value: number, mask: number): void {
  for (let i = 0; i < 4; i++) if ((mask >>> (8 * i)) & 1) state.priority[at + i] = (value >>> (8 * i)) & PRIORITY_MASK;
}

/** Peripheral and component identification, from offset 0xffd0 on: architecture 3; `part` tells what of a GIC it is. */
export const identification = (part: number): readonly number[] => [
  ...[0x44, 0, 0, 0, part, 0xb4, 0x3b, 0],
  ...[0x0d, 0xf0, 0x05, 0xb1],
];
export const IDENTIFICATION = 0xffd0;
/** Arm's, of no particular product. */
export const IIDR = 0x43b;

/** The bytes of a register of 32 bits that an access reads. */
export function part(word: number, offset: number, size: number): number {
  const value = word >>> (8 * (offset & 3));
  return size === 4 ? value : value & (2 ** (8 * size) - 1);
}

/** An access as one of a whole register: its value there, and the bits that it writes. */
export function widen(offset: number, size: number, value: number): readonly [value: number, mask: number] {
  const shift = 8 * (offset & 3);
  const bits = size === 4 ? 0xffffffff : 2 ** (8 * size) - 1;
  return [(value << shift) >>> 0, (bits << shift) >>> 0];
}
