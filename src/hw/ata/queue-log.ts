/** READ LOG EXT (ATA8-ACS, 7.24): the directory of logs, and the log of the queued command that has failed (page 10h). */
import type { AtaWork } from './drive.js';
import { type AtaRegisters, ataStatus, deviceBit } from './registers.js';

export const generalPurposeLog = 0x2f;
const page = { directory: 0x00, queueError: 0x10 } as const;
const pageBytes = 512;
/** Of the failure that the log tells of: it is of no queued command. */
const notQueued = 0x80;

export function readLog(r: AtaRegisters): AtaWork {
  const pages = r.count | (r.previousCount << 8);
  const first = r.lbaMid | (r.previousLbaMid << 8);
  const log = r.lbaLow;
  if (pages !== 1 || first !== 0 || (log !== page.directory && log !== page.queueError)) return { kind: 'aborted' };
  const bytes = new Uint8Array(pageBytes);
  if (log === page.directory) {
    const view = new DataView(bytes.buffer);
    view.setUint16(0, 1, true); // version
    view.setUint16(2 * page.queueError, 1, true); // number of pages
    return { kind: 'bytes', bytes };
  }
  if (r.queueFailed) {
    bytes[0] = r.failedTag;
    bytes[2] = ataStatus.ready | ataStatus.error;
    bytes[3] = r.failedError;
    const [low, high] = [r.failedSector % 2 ** 24, Math.floor(r.failedSector / 2 ** 24)];
    for (let i = 0; i < 3; i++) {
      bytes[4 + i] = (low >>> (8 * i)) & 0xff;
      bytes[8 + i] = (high >>> (8 * i)) & 0xff;
    }
    bytes[7] = deviceBit.lba;
    bytes[12] = r.failedTag << 3;
  } else bytes[0] = notQueued;
  bytes[pageBytes - 1] = -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
  r.queueFailed = false;
  return { kind: 'bytes', bytes };
}
