/** INQUIRY (SPC-4, 6.4): standard data and the vital product data pages that all units have. Lengths and flags are QEMU's. */
import { be16, bytes16 } from './big-endian.js';

export interface UnitNames {
  readonly vendor: string;
  readonly product: string;
  /** Empty: none. */
  readonly serial: string;
  readonly version: string;
  /** What the unit is told apart by where nothing else does: its drive's name. */
  readonly deviceId: string;
  /** World wide name; 0n or absent: none. */
  readonly wwn?: bigint | undefined;
}

interface Identified {
  readonly names: UnitNames;
  readonly deviceType: number;
  readonly removable: boolean;
  readonly vitalPages: readonly number[];
  vitalPage(code: number): readonly number[] | undefined;
}

const maxInquiryBytes = 256;
/** SPC-3. */
const scsiVersion = 5;

const text = (value: string, length: number): number[] =>
  Array.from({ length }, (_, i) => (i < value.length ? value.charCodeAt(i) & 0x7f : 0x20));

/** Undefined: the command asks for what is not there. */
export function inquiryAnswer(unit: Identified, cdb: Uint8Array): Uint8Array | undefined {
  const wanted = be16(cdb, 3);
  const page = cdb[2]!;
  if ((cdb[1]! & 2) !== 0) return undefined;
  if ((cdb[1]! & 1) !== 0) {
    const content = identificationPage(unit, page) ?? unit.vitalPage(page);
    return content && Uint8Array.from([unit.deviceType, page, ...bytes16(content.length), ...content]);
  }
  if (page !== 0) return undefined;
  const { names, deviceType, removable } = unit;
  const length = Math.max(36, Math.min(wanted, maxInquiryBytes));
  const bytes = new Uint8Array(length);
  // Response data format 2, hierarchical support; command queuing, synchronous transfers.
  bytes.set([deviceType, removable ? 0x80 : 0, scsiVersion, 0x12, length - 5, 0, 0, 0x12]);
  bytes.set([...text(names.vendor, 8), ...text(names.product, 16), ...text(names.version, 4)], 8);
  return bytes;
}

function identificationPage({ names, vitalPages }: Identified, page: number): readonly number[] | undefined {
  const { serial, deviceId, wwn } = names;
  switch (page) {
    case 0x00:
      return [0x00, ...(serial === '' ? [] : [0x80]), 0x83, ...vitalPages];
    case 0x80:
      return serial === '' ? undefined : text(serial, Math.min(serial.length, 255));
    case 0x83: {
      const designators: number[] = [];
      const id = deviceId.slice(0, 247);
      if (id !== '') designators.push(2, 0, 0, id.length, ...text(id, id.length));
      if (wwn)
        designators.push(
          1,
          3,
          0,
          8,
          ...Array.from({ length: 8 }, (_, i) => Number((wwn >> BigInt(56 - 8 * i)) & 255n)),
        );
      return designators;
    }
    default:
      return undefined;
  }
}
