/** The ACPI tables of a PC (ACPI 6.4 chapter 5; IA-PC HPET 1.0a 3.2.4). */
import type { AcpiBoard } from './acpi-board.js';
import { le } from './aml.js';
import { dsdtTerms } from './dsdt.js';
import { type AcpiTables, ascii, closeTables, gas, mcfg, type Pointer, spaceId, TableWriter } from './table-set.js';

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
export function madt(
  board: Pick<AcpiBoard, 'cpus' | 'localApicGpa' | 'interruptOverrides'> & {
    readonly ioApics: readonly AcpiBoard['ioApic'][];
  },
): number[] {
  const pcatCompat = 1;
  const body = [...le(board.localApicGpa, 4), ...le(pcatCompat, 4)];
  board.cpus.forEach(({ apicId }, uid) => {
    if (apicId < 255) body.push(madtType.localApic, 8, uid, apicId, ...le(1, 4));
    else body.push(madtType.localX2Apic, 16, 0, 0, ...le(apicId, 4), ...le(1, 4), ...le(uid, 4));
  });
  for (const { id, gpa, gsiBase } of board.ioApics)
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

export function buildAcpiTables(board: AcpiBoard): AcpiTables {
  const writer = new TableWriter('VRINGPC ');
  const facsAt = facs(writer);
  const dsdtAt = writer.table('DSDT', 2, dsdtTerms(board));
  const { body, pointers } = fadt(board, facsAt, dsdtAt);
  const listed = [
    writer.table('FACP', 3, body, pointers),
    writer.table('APIC', 3, madt({ ...board, ioApics: [board.ioApic] })),
  ];
  if (board.hpetGpa !== undefined) listed.push(writer.table('HPET', 1, hpetTable(board.hpetGpa)));
  if (board.pci.ecam !== undefined) listed.push(writer.table('MCFG', 1, mcfg(board.pci.ecam)));
  return closeTables(writer, listed, true);
}
