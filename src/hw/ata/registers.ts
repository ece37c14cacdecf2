/** Bits of a drive's registers (ATA/ATAPI-6, clause 7), and the task file as state. */
import { bool, defineState, f64, type StateOf, u8 } from '../../schema/index.js';
import { cdFields } from '../scsi/cd-unit.js';

export const ataStatus = { error: 0x01, dataRequest: 0x08, seek: 0x10, fault: 0x20, ready: 0x40, busy: 0x80 } as const;
export const ataError = { aborted: 0x04, idNotFound: 0x10, uncorrectable: 0x40 } as const;
export const deviceBit = { drive1: 0x10, lba: 0x40, always: 0xa0 } as const;
/** Interrupt reason in the count register (PACKET commands). */
export const reason = { command: 0x01, toHost: 0x02 } as const;

/** Registers by their place in the command block; the place of the command register reads as status. */
export const place = { data: 0, error: 1, count: 2, lbaLow: 3, lbaMid: 4, lbaHigh: 5, device: 6, status: 7 } as const;

/** A drive's registers: the bytes written last and, for 48-bit commands, those before them (`previous…`). */
export const taskFileFields = {
  status: u8(),
  error: u8(),
  feature: u8(),
  count: u8(),
  lbaLow: u8(),
  lbaMid: u8(),
  lbaHigh: u8(),
  device: u8(deviceBit.always),
  previousFeature: u8(),
  previousCount: u8(),
  previousLbaLow: u8(),
  previousLbaMid: u8(),
  previousLbaHigh: u8(),
};

export const AtaDriveState = defineState('ata-drive', 2, {
  ...taskFileFields,
  /** Sectors in a block of READ MULTIPLE; 0: the command is refused. */
  multiple: u8(16, { max: 16 }),
  /** As SET FEATURES has chosen it: kind in the high five bits, mode in the low three. */
  transferMode: u8(0x45),
  writeCache: bool(true),
  /** A queued command has failed: until its log is read, all others are refused. Its tag, error and first sector. */
  queueFailed: bool(),
  failedTag: u8(0, { max: 31 }),
  failedError: u8(),
  failedSector: f64(0, { min: 0, max: 2 ** 48 - 1, integer: true }),
  smart: bool(true),
  smartAutosave: bool(true),
  ...cdFields,
});
export type AtaRegisters = StateOf<typeof AtaDriveState>;
