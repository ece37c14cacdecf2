/**
 * A set of ACPI tables (ACPI 6.4, 5.2) as bytes with a list of the pointers and checksums in them. From that come both ways to the guest:
 * `linkAcpiTables` for direct boot, where no firmware exists, and `acpiLoaderFiles`, which hands the same bytes to firmware through fw_cfg.
 */
import { le } from './aml.js';

const oemId = 'VRING ';
const creatorId = 'VRNG';
/** Of every table but the FACS. */
export const headerSize = 36;
const rsdpSize = 36;

/** A field that holds an address: the bytes there now are the target's offset in `tables`. */
export interface Pointer {
  readonly at: number;
  readonly size: 4 | 8;
}

/** Byte at `at` makes [start, start+length) sum up to 0. */
interface Checksum {
  readonly at: number;
  readonly start: number;
  readonly length: number;
}

interface Blob {
  readonly bytes: Uint8Array;
  readonly pointers: readonly Pointer[];
  readonly checksums: readonly Checksum[];
}

export interface AcpiTables {
  /** All tables but the RSDP; pointers hold offsets. */
  readonly tables: Blob;
  /** The RSDP; its pointers hold offsets in `tables`. */
  readonly rsdp: Blob;
}

export class TableWriter {
  readonly #oemTableId: string;
  readonly bytes: number[] = [];
  readonly pointers: Pointer[] = [];
  readonly checksums: Checksum[] = [];

  /** `oemTableId`: eight letters. */
  constructor(oemTableId: string) {
    this.#oemTableId = oemTableId;
  }

  align(to: number): number {
    while (this.bytes.length % to !== 0) this.bytes.push(0);
    return this.bytes.length;
  }

  /** Appends a table with its standard header; `pointers` are offsets from the table's start. Returns its offset. */
  table(signature: string, revision: number, body: ArrayLike<number>, pointers: readonly Pointer[] = []): number {
    const start = this.align(16);
    const length = headerSize + body.length;
    this.bytes.push(
      ...ascii(signature),
      ...le(length, 4),
      revision,
      0,
      ...ascii(oemId),
      ...ascii(this.#oemTableId),
      ...le(1, 4),
      ...ascii(creatorId),
      ...le(1, 4),
    );
    for (let i = 0; i < body.length; i++) this.bytes.push(body[i]!);
    for (const { at, size } of pointers) this.pointers.push({ at: start + at, size });
    this.checksums.push({ at: start + 9, start, length });
    return start;
  }
}

export const ascii = (text: string): number[] => [...text].map((c) => c.charCodeAt(0));

export const spaceId = { memory: 0, io: 1 } as const;

/** Generic Address Structure (5.2.3.2). */
export function gas(space: number, bits: number, accessSize: number, address: number): number[] {
  return [space, bits, 0, accessSize, ...le(address, 8)];
}

/** MCFG (PCI Firmware 3.2, table 4-2). */
export function mcfg(ecam: { gpa: number; lastBus: number }): number[] {
  return [...le(0, 8), ...le(ecam.gpa, 8), ...le(0, 2), 0, ecam.lastBus, ...le(0, 4)];
}

/** Adds the lists of all tables, by 64-bit addresses and where `short` says so by 32-bit ones too, and the RSDP that leads to them. */
export function closeTables(writer: TableWriter, listed: readonly number[], short: boolean): AcpiTables {
  const list = (size: 4 | 8) => ({
    body: listed.flatMap((at) => le(at, size)),
    pointers: listed.map((_, i) => ({ at: headerSize + i * size, size })),
  });
  const narrow = list(4);
  const rsdtAt = short ? writer.table('RSDT', 1, narrow.body, narrow.pointers) : 0;
  const wide = list(8);
  const xsdtAt = writer.table('XSDT', 1, wide.body, wide.pointers);
  writer.align(16);
  const rsdp = [...ascii('RSD PTR '), 0, ...ascii(oemId), 2, ...le(rsdtAt, 4), ...le(rsdpSize, 4), ...le(xsdtAt, 8)];
  return {
    tables: { bytes: Uint8Array.from(writer.bytes), pointers: writer.pointers, checksums: writer.checksums },
    rsdp: {
      bytes: Uint8Array.from([...rsdp, 0, 0, 0, 0]),
      pointers: [...(short ? [{ at: 16, size: 4 } as const] : []), { at: 24, size: 8 }],
      checksums: [
        { at: 8, start: 0, length: 20 },
        { at: 32, start: 0, length: rsdpSize },
      ],
    },
  };
}

function linkBlob(blob: Blob, targetGpa: number): Uint8Array {
  const bytes = blob.bytes.slice();
  const view = new DataView(bytes.buffer);
  for (const { at, size } of blob.pointers) {
    if (size === 4) view.setUint32(at, view.getUint32(at, true) + targetGpa, true);
    else view.setBigUint64(at, view.getBigUint64(at, true) + BigInt(targetGpa), true);
  }
  for (const { at, start, length } of blob.checksums) {
    bytes[at] = 0;
    let sum = 0;
    for (let i = start; i < start + length; i++) sum += bytes[i]!;
    bytes[at] = -sum & 0xff;
  }
  return bytes;
}

/**
 * The tables as they lie in memory from `baseGpa` (a multiple of 64, below 4 GiB): the RSDP at its start, where a scan of
 * 0xE0000-0xFFFFF finds it if `baseGpa` lies there.
 */
export function linkAcpiTables(tables: AcpiTables, baseGpa: number): { rsdpGpa: number; bytes: Uint8Array } {
  const tablesAt = 64; // keeps the FACS at a multiple of 64
  const bytes = new Uint8Array(tablesAt + tables.tables.bytes.length);
  bytes.set(linkBlob(tables.rsdp, baseGpa + tablesAt), 0);
  bytes.set(linkBlob(tables.tables, baseGpa + tablesAt), tablesAt);
  return { rsdpGpa: baseGpa, bytes };
}

const loaderCommand = { allocate: 1, addPointer: 2, addChecksum: 3 } as const;
const allocationZone = { high: 1, fSegment: 2 } as const;
const commandSize = 128;
const fileNameSize = 56;

/** File names by which firmware finds ACPI in fw_cfg. */
export const acpiFile = { tables: 'etc/acpi/tables', rsdp: 'etc/acpi/rsdp', loader: 'etc/table-loader' } as const;

/** The fw_cfg files from which firmware allocates, links and checksums the tables (QEMU docs/specs/acpi: table loader). */
export function acpiLoaderFiles(tables: AcpiTables): { name: string; bytes: Uint8Array }[] {
  const commands: Uint8Array[] = [];
  const command = (kind: number, ...fields: (string | { value: number; size: 1 | 4 })[]) => {
    const bytes = new Uint8Array(commandSize);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, kind, true);
    let at = 4;
    for (const field of fields) {
      if (typeof field === 'string') {
        bytes.set(ascii(field), at);
        at += fileNameSize;
      } else {
        if (field.size === 4) view.setUint32(at, field.value, true);
        else bytes[at] = field.value;
        at += field.size;
      }
    }
    commands.push(bytes);
  };
  const u32 = (value: number) => ({ value, size: 4 }) as const;
  const u8 = (value: number) => ({ value, size: 1 }) as const;
  command(loaderCommand.allocate, acpiFile.tables, u32(64), u8(allocationZone.high));
  command(loaderCommand.allocate, acpiFile.rsdp, u32(16), u8(allocationZone.fSegment));
  for (const [file, blob] of [
    [acpiFile.tables, tables.tables],
    [acpiFile.rsdp, tables.rsdp],
  ] as const) {
    for (const { at, size } of blob.pointers) {
      command(loaderCommand.addPointer, file, acpiFile.tables, u32(at), u8(size));
    }
    for (const { at, start, length } of blob.checksums) {
      command(loaderCommand.addChecksum, file, u32(at), u32(start), u32(length));
    }
  }
  const loader = new Uint8Array(commands.length * commandSize);
  commands.forEach((bytes, i) => {
    loader.set(bytes, i * commandSize);
  });
  return [
    { name: acpiFile.tables, bytes: tables.tables.bytes },
    { name: acpiFile.rsdp, bytes: tables.rsdp.bytes },
    { name: acpiFile.loader, bytes: loader },
  ];
}
