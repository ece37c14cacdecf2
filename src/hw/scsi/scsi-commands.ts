/**
 * How many bytes each command moves, and which way (SPC-4, SBC-3, MMC-3): a controller learns it from the command block before the
 * unit sees the command. Codes that are not here are no commands of our units.
 */
import { be16, be24, be32 } from './big-endian.js';

export interface DataExpected {
  readonly direction: 'none' | 'in' | 'out';
  readonly bytes: number;
}

type Length = (cdb: Uint8Array, blockBytes: number) => number;

const nothing: DataExpected = { direction: 'none', bytes: 0 };
const at8 =
  (at: number): Length =>
  (cdb) =>
    cdb[at]!;
const at16 =
  (at: number): Length =>
  (cdb) =>
    be16(cdb, at);
const at24 =
  (at: number): Length =>
  (cdb) =>
    be24(cdb, at);
const at32 =
  (at: number): Length =>
  (cdb) =>
    be32(cdb, at);
const blocks =
  (count: Length): Length =>
  (cdb, blockBytes) =>
    count(cdb, blockBytes) * blockBytes;
/** Data to compare with come where that is asked for. */
const compared =
  (count: Length): Length =>
  (cdb, blockBytes) =>
    (cdb[1]! & 6) === 2 ? count(cdb, blockBytes) * blockBytes : 0;
const oneBlock: Length = (_cdb, blockBytes) => blockBytes;
/** A count of 0 in a six-byte command is 256. */
const shortCount: Length = (cdb) => cdb[4]! || 256;

const rows: readonly (readonly [code: number, direction: 'in' | 'out', length: Length])[] = [
  [0x03, 'in', at8(4)], // REQUEST SENSE
  [0x08, 'in', blocks(shortCount)], // READ (6)
  [0x0a, 'out', blocks(shortCount)], // WRITE (6)
  [0x12, 'in', at16(3)], // INQUIRY
  [0x15, 'out', at8(4)], // MODE SELECT (6)
  [0x1a, 'in', at8(4)], // MODE SENSE (6)
  [0x25, 'in', () => 8], // READ CAPACITY (10)
  [0x28, 'in', blocks(at16(7))], // READ (10)
  [0x2a, 'out', blocks(at16(7))], // WRITE (10)
  [0x2e, 'out', blocks(at16(7))], // WRITE AND VERIFY (10)
  [0x2f, 'out', compared(at16(7))], // VERIFY (10)
  [0x41, 'out', oneBlock], // WRITE SAME (10)
  [0x42, 'out', at16(7)], // UNMAP
  [0x43, 'in', at16(7)], // READ TOC/PMA/ATIP
  [0x46, 'in', at16(7)], // GET CONFIGURATION
  [0x4a, 'in', at16(7)], // GET EVENT STATUS NOTIFICATION
  [0x51, 'in', at16(7)], // READ DISC INFORMATION
  [0x55, 'out', at16(7)], // MODE SELECT (10)
  [0x5a, 'in', at16(7)], // MODE SENSE (10)
  [0x88, 'in', blocks(at32(10))], // READ (16)
  [0x8a, 'out', blocks(at32(10))], // WRITE (16)
  [0x8e, 'out', blocks(at32(10))], // WRITE AND VERIFY (16)
  [0x8f, 'out', compared(at32(10))], // VERIFY (16)
  [0x93, 'out', (cdb, blockBytes) => ((cdb[1]! & 1) !== 0 ? 0 : blockBytes)], // WRITE SAME (16)
  [0x9e, 'in', at32(10)], // SERVICE ACTION IN (16)
  [0xa0, 'in', at32(6)], // REPORT LUNS
  [0xa8, 'in', blocks(at32(6))], // READ (12)
  [0xaa, 'out', blocks(at32(6))], // WRITE (12)
  [0xae, 'out', blocks(at32(6))], // WRITE AND VERIFY (12)
  [0xaf, 'out', compared(at32(6))], // VERIFY (12)
  [0xbd, 'in', at16(8)], // MECHANISM STATUS
  [0xbe, 'in', blocks(at24(6))], // READ CD
];
const byCode = new Map(rows.map((row) => [row[0], row]));

/** `blockBytes`: of a logical block of the unit. */
export function dataExpected(cdb: Uint8Array, blockBytes: number): DataExpected {
  const row = byCode.get(cdb[0]!);
  if (!row) return nothing;
  const bytes = row[2](cdb, blockBytes);
  return bytes === 0 ? nothing : { direction: row[1], bytes };
}

/** Logical block and number of blocks of a transfer: by the group code, the top three bits. */
export function blockRange(cdb: Uint8Array): { readonly lba: number; readonly blocks: number } {
  switch (cdb[0]! >> 5) {
    case 0:
      return { lba: be24(cdb, 1) & 0x1fffff, blocks: cdb[4]! || 256 };
    case 4:
      return { lba: be32(cdb, 2) * 2 ** 32 + be32(cdb, 6), blocks: be32(cdb, 10) };
    case 5:
      return { lba: be32(cdb, 2), blocks: be32(cdb, 6) };
    default:
      return { lba: be32(cdb, 2), blocks: be16(cdb, 7) };
  }
}
