/** The packets of an ATAPI CD/DVD-ROM drive (SPC-2, MMC-3): a CD drive's, and those that only ATAPI answers so. */
import { be16 } from '../scsi/big-endian.js';
import { answer, cdRows, invalidField, type PacketRow } from '../scsi/cd-packets.js';
import type { CdUnit, PacketWork } from '../scsi/cd-unit.js';

function text(value: string, length: number): number[] {
  return Array.from({ length }, (_, i) => (i < value.length ? value.charCodeAt(i) & 0x7f : 0x20));
}

function requestSense(drive: CdUnit, packet: Uint8Array): PacketWork {
  const r = drive.state;
  const sense = new Uint8Array(18);
  sense.set([0xf0, 0, r.senseKey, 0, 0, 0, 0, 10]);
  sense[12] = r.senseCode;
  sense[13] = r.senseQualifier;
  drive.fail(0, 0);
  return answer(sense, packet[4]!);
}

function inquiry(drive: CdUnit, packet: Uint8Array): PacketWork {
  const allocation = be16(packet, 3);
  if ((packet[1]! & 1) === 0) {
    if (packet[2] !== 0) return invalidField(drive);
    const { model, version } = drive.names;
    const vendor = model.split(' ')[0]!;
    return answer(
      [5, 0x80, 0, 0x21, 31, 0, 0, 0, ...text(vendor, 8), ...text(model, 16), ...text(version, 4)],
      allocation,
    );
  }
  switch (packet[2]) {
    case 0x00:
      return answer([5, 0, 0, 2, 0x00, 0x83], allocation);
    case 0x83: {
      const { serial, model } = drive.names;
      const id = [...text(model, 16), ...text(serial, 20)];
      return answer([5, 0x83, 0, id.length + 4, 2, 1, 0, id.length, ...id], allocation);
    }
    default:
      return invalidField(drive);
  }
}

export const atapiRows: ReadonlyMap<number, PacketRow> = new Map(
  [
    ...cdRows,
    { code: 0x03, name: 'REQUEST SENSE', always: true, run: requestSense },
    { code: 0x12, name: 'INQUIRY', always: true, run: inquiry },
  ].map((row) => [row.code, row]),
);
