/**
 * ACPI tables (ACPI 6.4 chapter 5; IA-PC HPET 1.0a 3.2.4; PCI Firmware 3.2 table 4-2): built once as bytes with a list of
 * the pointers and checksums in them. From that come both ways to the guest: `linkAcpiTables` for direct boot, where no
 * firmware exists, and `acpiLoaderFiles`, which hands the same bytes to SeaBIOS or OVMF through fw_cfg.
 */
import type { AcpiBoard } from './acpi-board.js';
import { le } from './aml.js';
import { dsdtTerms } from './dsdt.js';

const oemId = 'VRING ';
const oemTableId = 'VRINGPC ';
const creatorId = 'VRNG';
const headerSize = 36;
const rsdpSize = 36;

/** A field that holds an address: the bytes there now are the target's offset in `tables`. */
interface Pointer {
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

class TableWriter {
  readonly bytes: number[] = [];
  readonly pointers: Pointer[] = [];
  readonly checksums: Checksum[] = [];

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
      ...ascii(oemTableId),
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

const ascii = (text: string): number[] => [...text].map((c) => c.charCodeAt(0));

const spaceId = { memory: 0, io: 1 } as const;

/** Generic Address Structure (5.2.3.2). */
function gas(space: number, bits: number, accessSize: number, address: number): number[] {
  return [space, bits, 0, accessSize, ...le(address, 8)];
}

/** Facs (5.2.10): no standard header and no checksum; the waking vector is the guest's to write. */
function facs(writer: TableWriter): number {
  const start = writer.align(64);
  const bytes = [...ascii('FACS'), ...le(64, 4)];
  while (bytes.length < 64) bytes.push(0);
  bytes[32] = 1; // version
  writer.bytes.push(...bytes);
  return start;
}

const fadtFlag = {
  wbinvd: 1,
  procC1: 1 << 2,
  noFixedSleepButton: 1 << 5,
  resetRegister: 1 << 10,
  platformClock: 1 << 15,
};
const bootArch = { legacyDevices: 1, i8042: 2, noVga: 4, noCmosRtc: 0x20 };

/** FADT (5.2.9), revision 3. */
function fadt(board: AcpiBoard, facsAt: number, dsdtAt: number): { body: number[]; pointers: Pointer[] } {
  const { pm, isa, reset } = board;
  const flags =
    fadtFlag.wbinvd |
    fadtFlag.procC1 |
    fadtFlag.noFixedSleepButton |
    fadtFlag.platformClock |
    (reset === undefined ? 0 : fadtFlag.resetRegister);
  const architecture =
    bootArch.legacyDevices |
    (isa.ps2 ? bootArch.i8042 : 0) |
    (board.vga ? 0 : bootArch.noVga) |
    (isa.rtc ? 0 : bootArch.noCmosRtc);
  const tooSlow = 0xfff; // C2 and C3 do not exist
  const centuryIndex = isa.rtc ? 0x32 : 0;
  const body = [
    ...le(facsAt, 4),
    ...le(dsdtAt, 4),
    1, // interrupt model of revision 1: dual PIC
    0, // preferred profile: unspecified
    ...le(pm.sciIrq, 2),
    ...le(pm.smiCommandPort, 4),
    ...(pm.smiCommandPort === 0 ? [0, 0] : [pm.acpiEnable, pm.acpiDisable]),
    0, // S4BIOS_REQ
    0, // PSTATE_CNT
    ...le(pm.pm1aEventPort, 4),
    ...le(0, 4),
    ...le(pm.pm1aControlPort, 4),
    ...le(0, 4),
    ...le(0, 4),
    ...le(pm.pmTimerPort, 4),
    ...le(pm.gpe0Port, 4),
    ...le(0, 4),
    ...[4, 2, 0, 4, pm.gpe0Bytes, 0, 0, 0],
    ...le(tooSlow, 2),
    ...le(tooSlow, 2),
    ...le(0, 2),
    ...le(0, 2),
    ...[0, 0, 0, 0, centuryIndex],
    ...le(architecture, 2),
    0,
    ...le(flags, 4),
    ...(reset === undefined ? gas(0, 0, 0, 0) : gas(spaceId.io, 8, 1, reset.port)),
    reset?.value ?? 0,
    ...[0, 0, 0],
    ...le(0, 8), // X_FIRMWARE_CTRL: the 32-bit field is used
    ...le(dsdtAt, 8),
    ...gas(spaceId.io, 32, 2, pm.pm1aEventPort),
    ...gas(0, 0, 0, 0),
    ...gas(spaceId.io, 16, 2, pm.pm1aControlPort),
    ...gas(0, 0, 0, 0),
    ...gas(0, 0, 0, 0),
    ...gas(spaceId.io, 32, 3, pm.pmTimerPort),
    ...gas(spaceId.io, pm.gpe0Bytes * 8, 1, pm.gpe0Port),
    ...gas(0, 0, 0, 0),
  ];
  return {
    body,
    pointers: [
      { at: 36, size: 4 },
      { at: 40, size: 4 },
      { at: 140, size: 8 },
    ],
  };
}

const madtType = { localApic: 0, ioApic: 1, override: 2, localNmi: 4, localX2Apic: 9, localX2Nmi: 10 };
/** Flags of an interrupt source override: active high, and edge or level. */
const overrideFlags = (level: boolean) => 1 | ((level ? 3 : 1) << 2);

/** MADT (5.2.12). */
function madt(board: AcpiBoard): number[] {
  const pcatCompat = 1;
  const body = [...le(board.localApicGpa, 4), ...le(pcatCompat, 4)];
  board.cpus.forEach(({ apicId }, uid) => {
    if (apicId < 255) body.push(madtType.localApic, 8, uid, apicId, ...le(1, 4));
    else body.push(madtType.localX2Apic, 16, 0, 0, ...le(apicId, 4), ...le(1, 4), ...le(uid, 4));
  });
  const { id, gpa, gsiBase } = board.ioApic;
  body.push(madtType.ioApic, 12, id, 0, ...le(gpa, 4), ...le(gsiBase, 4));
  for (const { irq, gsi, level } of board.interruptOverrides) {
    body.push(madtType.override, 10, 0, irq, ...le(gsi, 4), ...le(overrideFlags(level), 2));
  }
  // NMI arrives on LINT1 of every CPU.
  body.push(madtType.localNmi, 6, 0xff, ...le(0, 2), 1);
  if (board.cpus.some(({ apicId }) => apicId >= 255)) {
    body.push(madtType.localX2Nmi, 12, ...le(0, 2), ...le(0xffffffff, 4), 1, 0, 0, 0);
  }
  return body;
}

/** Event timer block id: vendor 8086, legacy replacement, 3 comparators, revision 1: the HPET's GCAP_ID, low half. */
const hpetBlockId = 0x8086a201;

function hpetTable(gpa: number): number[] {
  return [...le(hpetBlockId, 4), ...gas(spaceId.memory, 64, 0, gpa), 0, ...le(0, 2), 0];
}

function mcfg(ecam: { gpa: number; lastBus: number }): number[] {
  return [...le(0, 8), ...le(ecam.gpa, 8), ...le(0, 2), 0, ecam.lastBus, ...le(0, 4)];
}

export function buildAcpiTables(board: AcpiBoard): AcpiTables {
  const writer = new TableWriter();
  const facsAt = facs(writer);
  const dsdtAt = writer.table('DSDT', 2, dsdtTerms(board));
  const { body, pointers } = fadt(board, facsAt, dsdtAt);
  const listed = [writer.table('FACP', 3, body, pointers), writer.table('APIC', 3, madt(board))];
  if (board.hpetGpa !== undefined) listed.push(writer.table('HPET', 1, hpetTable(board.hpetGpa)));
  if (board.pci.ecam !== undefined) listed.push(writer.table('MCFG', 1, mcfg(board.pci.ecam)));
  const list = (size: 4 | 8) => ({
    body: listed.flatMap((at) => le(at, size)),
    pointers: listed.map((_, i) => ({ at: headerSize + i * size, size })),
  });
  const short = list(4);
  const rsdtAt = writer.table('RSDT', 1, short.body, short.pointers);
  const long = list(8);
  const xsdtAt = writer.table('XSDT', 1, long.body, long.pointers);
  writer.align(16);
  const rsdp = [...ascii('RSD PTR '), 0, ...ascii(oemId), 2, ...le(rsdtAt, 4), ...le(rsdpSize, 4), ...le(xsdtAt, 8)];
  return {
    tables: { bytes: Uint8Array.from(writer.bytes), pointers: writer.pointers, checksums: writer.checksums },
    rsdp: {
      bytes: Uint8Array.from([...rsdp, 0, 0, 0, 0]),
      pointers: [
        { at: 16, size: 4 },
        { at: 24, size: 8 },
      ],
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
