/**
 * The VGA's registers as state. It may lie in shared memory: whoever draws the picture attaches to it from another thread
 * and sees each register as it is written.
 */
import { bool, bytes, defineState, type StateOf, u8, u16, u16s, u32 } from '../../schema/index.js';

/** Registers of the Bochs display interface (DISPI). */
export const dispi = {
  id: 0,
  xres: 1,
  yres: 2,
  bpp: 3,
  enable: 4,
  bank: 5,
  virtualWidth: 6,
  virtualHeight: 7,
  xOffset: 8,
  yOffset: 9,
  memory64k: 10,
} as const;

export const dispiEnable = { on: 0x01, capabilities: 0x02, dac8Bit: 0x20, linear: 0x40, keepMemory: 0x80 } as const;

export const DISPI_REGISTERS = 10;
export const DISPI_ID = 0xb0c5;

export const VgaState = defineState('vga', 1, {
  /** Miscellaneous output. */
  MSR: u8(),
  /** Feature control. */
  FCR: u8(),
  /** Sequencer, graphics controller, CRTC, attribute controller, each with its index. */
  srIndex: u8(0, { max: 7 }),
  SR: bytes(8),
  grIndex: u8(0, { max: 15 }),
  GR: bytes(16),
  crIndex: u8(),
  CR: bytes(256),
  arIndex: u8(0, { max: 0x3f }),
  /** The next write to port 3C0h is data. */
  arData: bool(),
  AR: bytes(21),
  /** Red, green, blue for each of 256 colours. */
  DAC: bytes(768),
  pelMask: u8(0xff),
  dacReadIndex: u8(),
  dacWriteIndex: u8(),
  /** Which of the three is next. */
  dacPart: u8(0, { max: 2 }),
  /** Bits 0 and 1 set: the last index written was for reading. */
  dacMode: u8(0, { max: 3 }),
  dacPending: bytes(3),
  /** One byte of each plane, plane 0 lowest: what the last read of planar memory found. */
  latch: u32(),
  dispiIndex: u16(),
  DISPI: u16s(DISPI_REGISTERS),
});

export type VgaRegisters = StateOf<typeof VgaState>;

const MAX_XRES = 16000;
const MAX_YRES = 12000;
export const dispiLimits = { xres: MAX_XRES, yres: MAX_YRES, bpp: 32 } as const;

/** Bits that a pixel takes in memory. */
export function dispiPixelBits(bpp: number): number {
  return bpp === 15 ? 16 : bpp;
}

/** Bytes from one row of the display interface's picture to the next. */
export function dispiPitch(registers: Uint16Array): number {
  return (registers[dispi.virtualWidth]! * dispiPixelBits(registers[dispi.bpp]!)) >> 3;
}

/** The display interface shows bytes as they lie in memory: the sequencer's planes and chains are out of the way meanwhile. */
export function isDispiLinear({ DISPI }: VgaRegisters): boolean {
  return (DISPI[dispi.enable]! & dispiEnable.on) !== 0 && DISPI[dispi.bpp] !== 4;
}
