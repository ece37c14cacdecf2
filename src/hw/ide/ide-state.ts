/** An IDE channel's state: the command under way as a phase, and what is left of it. */
import { bool, defineState, f64, u8, u32 } from '../../schema/index.js';

/** What a channel holds of a PIO command at once: 256 sectors. */
export const bufferBytes = 0x20000;

export const phase = {
  idle: 0,
  /** The buffer is being filled from the medium. */
  filling: 1,
  /** The host takes a block from the buffer. */
  dataIn: 2,
  /** The host fills a block of the buffer. */
  dataOut: 3,
  /** A block goes from the buffer to the medium. */
  writing: 4,
  /** A DMA command waits for the bus master to be started. */
  dmaWaiting: 5,
  dmaActive: 6,
  flushing: 7,
  /** The host sends a command packet. */
  packetOut: 8,
} as const;

/** Where the data of a command come from or go to. */
export const data = { none: 0, sectors: 1, answer: 2, blocks: 3, rawBlocks: 4, trim: 5 } as const;

export const IdeChannelState = defineState('ide-channel', 1, {
  control: u8(),
  /** Selected drive. */
  unit: u8(0, { max: 1 }),
  /** INTRQ, before the control register masks it. */
  interrupt: bool(),
  phase: u8(0, { max: 8 }),
  /** Drive that the command under way is for. */
  active: u8(0, { max: 1 }),
  command: u8(),
  data: u8(0, { max: 5 }),
  write: bool(),
  /** The packet's data go by DMA. */
  packetDma: bool(),
  /** Next byte of the medium, bytes still to come from or go to it. */
  offset: f64(0, { min: 0, max: 2 ** 53, integer: true }),
  left: f64(0, { min: 0, max: 2 ** 44, integer: true }),
  /** Bytes in a PIO block. */
  block: u32(0, { max: bufferBytes }),
  /** In the buffer: next byte for the host, end of its block, end of what is there. */
  at: u32(0, { max: bufferBytes }),
  blockEnd: u32(0, { max: bufferBytes }),
  end: u32(0, { max: bufferBytes }),
});
