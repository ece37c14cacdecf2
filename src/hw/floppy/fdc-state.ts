/** The floppy disk controller's state: its registers, the command under way as a phase, and what is left of it. */
import { bool, bytes, defineState, list, u8, u16 } from '../../schema/index.js';
import { dor } from './fdc-codes.js';
import { driveFields } from './floppy-drive.js';

export const DRIVES = 4;
/** The longest command and the longest result. */
export const FIFO_BYTES = 18;
/** Four bytes for each sector of a track. */
export const HEADER_BYTES = 1024;

export const FdcState = defineState('floppy-controller', 1, {
  dor: u8(dor.notReset | dor.dmaGate),
  dsr: u8(),
  tape: u8(0, { max: 7 }),
  /** CONFIGURE, and the track from which on writes are compensated. */
  config: u8(0x60),
  precompensation: u8(),
  locked: bool(),
  perpendicular: u8(0, { max: 0x3f }),
  /** SPECIFY: step rate and head unload time; head load time and the bit for transfers without DMA. */
  stepRate: u8(),
  headLoad: u8(),
  powerMode: u8(),
  /** A command or result that has ended wants to be seen. */
  interrupt: bool(),
  /** Drives whose seek has ended, and of them those that found no track 0. */
  seekEnded: u8(0, { max: 15 }),
  seekFailed: u8(0, { max: 15 }),
  /** SENSE INTERRUPT STATUS still owes so many answers after reset. */
  resetSense: u8(0, { max: 4 }),
  phase: u8(0, { max: 5 }),
  /** Bytes of a command that have come, or of a result that have gone; how many there are in all. */
  fifo: bytes(FIFO_BYTES),
  at: u8(0, { max: FIFO_BYTES }),
  length: u8(0, { max: FIFO_BYTES }),
  // The transfer under way.
  operation: u8(0, { max: 6 }),
  drive: u8(0, { max: DRIVES - 1 }),
  multiTrack: bool(),
  dma: bool(),
  /** ST0 and ST2 so far: the end of an implied seek, a control mark. */
  status0: u8(),
  status2: u8(),
  cylinder: u8(),
  head: u8(0, { max: 1 }),
  sector: u8(),
  /** The last sector of a track, and from one to the next. */
  lastSector: u8(),
  step: u8(1, { min: 1 }),
  /** Sectors still to come where they are counted (VERIFY, READ TRACK); 0: they are not. */
  counted: u16(0, { max: 256 }),
  /** In the sector's buffer, or in a format's headers. */
  position: u16(0, { max: HEADER_BYTES }),
  /** What the host has given was the last. */
  ended: bool(),
  /** Of a sector that is compared: all bytes were equal; all met the condition. */
  equal: bool(),
  met: bool(),
  headers: bytes(HEADER_BYTES),
  drives: list(DRIVES, driveFields),
});
