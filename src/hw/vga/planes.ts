/**
 * How the CPU's accesses to the window at A0000h reach the four planes (IBM VGA XGA Technical Reference, "Graphics controller";
 * "Sequencer"). Planes lie interleaved in video memory: byte p of the 32-bit word at 4n is byte n of plane p. So the memory that
 * the display interface shows linearly, chain 4, and odd/even addressing are what QEMU's VGA has.
 */
import { isDispiLinear, type VgaRegisters } from './vga-state.js';

const SR_PLANES = 2;
const SR_MODE = 4;
const SR_MODE_CHAIN4 = 0x08;

const GR_SET_RESET = 0;
const GR_ENABLE_SET_RESET = 1;
const GR_COMPARE = 2;
const GR_ROTATE = 3;
const GR_READ_PLANE = 4;
const GR_MODE = 5;
const GR_MODE_ODD_EVEN = 0x10;
const GR_MODE_COMPARE = 0x08;
const GR_MISC = 6;
const GR_DONT_CARE = 7;
const GR_BIT_MASK = 8;

/** A byte for each of the four bits: 0xff where it is set. */
const SPREAD = Uint32Array.from({ length: 16 }, (_, bits) => {
  let mask = 0;
  for (let plane = 0; plane < 4; plane++) if ((bits >> plane) & 1) mask |= 0xff << (8 * plane);
  return mask;
});

const repeat = (byte: number) => Math.imul(byte, 0x01010101);

const isChained = (registers: VgaRegisters) =>
  (registers.SR[SR_MODE]! & SR_MODE_CHAIN4) !== 0 || isDispiLinear(registers);
/** Planes that are written. */
const mapMask = (registers: VgaRegisters) => (isDispiLinear(registers) ? 15 : registers.SR[SR_PLANES]! & 15);

/** Whether the window at A0000h is a straight piece of video memory, for reads and writes. */
export function isLinear(registers: VgaRegisters): boolean {
  const mapsFirst64k = ((registers.GR[GR_MISC]! >> 2) & 3) <= 1;
  return isChained(registers) && mapMask(registers) === 15 && mapsFirst64k;
}

/** Offset into the selected map, or -1 where nothing answers. `bankOffset` counts in the 64 KiB map only. */
function mapped(registers: VgaRegisters, offset: number, bankOffset: number): number {
  switch ((registers.GR[GR_MISC]! >> 2) & 3) {
    case 0:
      return offset;
    case 1:
      return offset < 0x10000 ? offset + bankOffset : -1;
    case 2:
      return offset >= 0x10000 && offset < 0x18000 ? offset - 0x10000 : -1;
    default:
      return offset >= 0x18000 ? offset - 0x18000 : -1;
  }
}

/** Where an odd/even access goes: even addresses to planes 0 and 2, odd ones to 1 and 3. */
const oddEven = (at: number, plane: number) => ((at & ~1) << 1) | plane;

/** A byte read at `offset` (0 to 1FFFFh) of the window. */
export function readPlanes(registers: VgaRegisters, vram: DataView, offset: number, bankOffset: number): number {
  const { GR } = registers;
  const at = mapped(registers, offset, bankOffset);
  if (at < 0) return 0xff;
  if (isChained(registers)) return at < vram.byteLength ? vram.getUint8(at) : 0xff;
  if ((GR[GR_MODE]! & GR_MODE_ODD_EVEN) !== 0) {
    const byte = oddEven(at, (GR[GR_READ_PLANE]! & 2) | (at & 1));
    return byte < vram.byteLength ? vram.getUint8(byte) : 0xff;
  }
  const word = at * 4;
  if (word >= vram.byteLength) return 0xff;
  const latch = vram.getUint32(word, true);
  registers.latch = latch;
  if ((GR[GR_MODE]! & GR_MODE_COMPARE) === 0) return (latch >>> (8 * (GR[GR_READ_PLANE]! & 3))) & 0xff;
  // A bit is 1 where every plane that counts has the colour's bit.
  const different = (latch ^ SPREAD[GR[GR_COMPARE]! & 15]!) & SPREAD[GR[GR_DONT_CARE]! & 15]!;
  const any = different | (different >>> 16);
  return ~(any | (any >>> 8)) & 0xff;
}

/** A byte written. Gives the offset in video memory of the first byte changed and how many may be, as offset * 8 + count; -1: none. */
export function writePlanes(
  registers: VgaRegisters,
  vram: DataView,
  offset: number,
  value: number,
  bankOffset: number,
): number {
  const { GR } = registers;
  const at = mapped(registers, offset, bankOffset);
  if (at < 0) return -1;
  const planes = mapMask(registers);
  const chained = isChained(registers);
  if (chained || (GR[GR_MODE]! & GR_MODE_ODD_EVEN) !== 0) {
    const plane = chained ? at & 3 : (GR[GR_READ_PLANE]! & 2) | (at & 1);
    const byte = chained ? at : oddEven(at, plane);
    if (((planes >> plane) & 1) === 0 || byte >= vram.byteLength) return -1;
    vram.setUint8(byte, value);
    return byte * 8 + 1;
  }
  const word = at * 4;
  if (word >= vram.byteLength) return -1;
  const written = combine(GR, registers.latch, value);
  const mask = SPREAD[planes]!;
  vram.setUint32(word, (vram.getUint32(word, true) & ~mask) | (written & mask), true);
  return word * 8 + 4;
}

/** The four planes' bytes that write mode, rotation, set/reset, logical function and bit mask make of the CPU's byte. */
function combine(GR: Uint8Array, latch: number, value: number): number {
  const mode = GR[GR_MODE]! & 3;
  if (mode === 1) return latch;
  const turn = GR[GR_ROTATE]! & 7;
  const rotated = ((value >> turn) | (value << (8 - turn))) & 0xff;
  const setReset = SPREAD[GR[GR_SET_RESET]! & 15]!;
  let bits = GR[GR_BIT_MASK]!;
  let written: number;
  if (mode === 0) {
    const forced = SPREAD[GR[GR_ENABLE_SET_RESET]! & 15]!;
    written = (repeat(rotated) & ~forced) | (setReset & forced);
  } else if (mode === 2) {
    written = SPREAD[value & 15]!;
  } else {
    bits &= rotated;
    written = setReset;
  }
  switch ((GR[GR_ROTATE]! >> 3) & 3) {
    case 1:
      written &= latch;
      break;
    case 2:
      written |= latch;
      break;
    case 3:
      written ^= latch;
      break;
  }
  const mask = repeat(bits);
  return (written & mask) | (latch & ~mask);
}
