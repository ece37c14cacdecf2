/**
 * The ACPI tables of Arm's board `virt` (ACPI 6.4 chapter 5; Arm IORT, DEN 0049E; Microsoft's SPCR and DBG2): hardware-reduced, so that
 * nothing is there but what tables and the DSDT name.
 */
import { le } from './aml.js';
import { armDsdtTerms } from './arm-dsdt.js';
import type { AcpiPciExpress } from './pci-express-host.js';
import { addReducedFadt, fadtFlag } from './reduced-fadt.js';
import { type AcpiTables, ascii, closeTables, gas, mcfg, spaceId, TableWriter } from './table-set.js';

/** Interrupts are named by their numbers at the GIC (GSI). */
export interface ArmAcpiBoard {
  /** MPIDR's affinities of each CPU. */
  readonly affinities: readonly number[];
  readonly gic: {
    readonly version: 2 | 3;
    readonly distributorGpa: number;
    /** Of a GICv2. */
    readonly cpuInterfaceGpa?: number | undefined;
    readonly msiFrame?: { readonly gpa: number; readonly first: number; readonly count: number } | undefined;
    /** Of a GICv3. */
    readonly redistributors?: { readonly gpa: number; readonly bytes: number } | undefined;
    readonly itsGpa?: number | undefined;
  };
  /** Private interrupts of the timers. */
  readonly timers: Readonly<Record<'secure' | 'physical' | 'virtual' | 'hypervisor', number>>;
  readonly uart?: { readonly gpa: number; readonly bytes: number; readonly gsi: number } | undefined;
  readonly flash: readonly { readonly gpa: number; readonly bytes: number }[];
  readonly fwCfgGpa: number;
  readonly virtio: { readonly gpa: number; readonly stride: number; readonly slots: number; readonly gsi: number };
  readonly gpio: { readonly gpa: number; readonly bytes: number; readonly gsi: number; readonly powerPin: number };
  readonly pci: AcpiPciExpress;
}

const armBoot = { psci: 1, hvc: 2 };

const madtType = { cpuInterface: 0x0b, distributor: 0x0c, msiFrame: 0x0d, redistributor: 0x0e, its: 0x0f } as const;
/** The processor is enabled. */
const ENABLED = 1;

/** MADT (5.2.12). */
function madt({ affinities, gic }: ArmAcpiBoard): number[] {
  const body = [...le(0, 4), ...le(0, 4)];
  const { distributorGpa, cpuInterfaceGpa = 0, msiFrame, redistributors, itsGpa } = gic;
  body.push(madtType.distributor, 24, 0, 0, ...le(0, 4), ...le(distributorGpa, 8), ...le(0, 4), gic.version, 0, 0, 0);
  affinities.forEach((affinity, uid) => {
    const mpidr = (Math.floor(affinity / 2 ** 24) % 256) * 2 ** 32 + (affinity % 2 ** 24);
    body.push(madtType.cpuInterface, 80, 0, 0, ...le(uid, 4), ...le(uid, 4), ...le(ENABLED, 4), ...le(0, 8));
    // Parked address; the interface's own address; those of the virtual one, its interrupt, the redistributor.
    body.push(...le(0, 8), ...le(cpuInterfaceGpa, 8), ...le(0, 8), ...le(0, 8), ...le(0, 4), ...le(0, 8));
    body.push(...le(mpidr, 8), 0, 0, ...le(0, 2));
  });
  if (redistributors)
    body.push(madtType.redistributor, 16, 0, 0, ...le(redistributors.gpa, 8), ...le(redistributors.bytes, 4));
  if (itsGpa !== undefined) body.push(madtType.its, 20, 0, 0, ...le(0, 4), ...le(itsGpa, 8), ...le(0, 4));
  if (msiFrame) {
    const { gpa, first, count } = msiFrame;
    // What the frame itself says of its interrupts is overridden by the same.
    body.push(madtType.msiFrame, 24, 0, 0, ...le(0, 4), ...le(gpa, 8), ...le(1, 4), ...le(count, 2), ...le(first, 2));
  }
  return body;
}

/** Level-triggered, active high; and it counts on in all power states. */
const timerFlag = { LEVEL: 0, ALWAYS_ON: 4 } as const;

/** GTDT (5.2.25), revision 2: no counter in memory, no platform timers. */
function gtdt({ timers }: ArmAcpiBoard): number[] {
  const none = new Array<number>(8).fill(0xff);
  const timer = (interrupt: number) => [...le(interrupt, 4), ...le(timerFlag.LEVEL | timerFlag.ALWAYS_ON, 4)];
  return [
    ...[...none, ...le(0, 4)],
    ...timer(timers.secure),
    ...timer(timers.physical),
    ...timer(timers.virtual),
    ...timer(timers.hypervisor),
    ...[...none, ...le(0, 4), ...le(0, 4)],
  ];
}

const PL011 = 3;
const baud9600 = 3;

/** SPCR, revision 2: what a kernel's console is. */
function spcr(uart: NonNullable<ArmAcpiBoard['uart']>): number[] {
  const byGic = 8;
  return [
    ...[PL011, 0, 0, 0, ...gas(spaceId.memory, 32, 3, uart.gpa), byGic, 0, ...le(uart.gsi, 4)],
    // No parity, one stop bit, RTS/CTS, VT100.
    ...[baud9600, 0, 1, 2, 0, 0],
    // It is no PCI device.
    ...[...le(0xffff, 2), ...le(0xffff, 2), 0, 0, 0, ...le(0, 4), 0, ...le(0, 4)],
  ];
}

/** DBG2, revision 0: where a debugger may talk. */
function dbg2(uart: NonNullable<ArmAcpiBoard['uart']>): number[] {
  const name = [...ascii('COM0'), 0];
  const [registersAt, sizeAt, nameAt] = [22, 34, 38];
  return [
    ...[...le(44, 4), ...le(1, 4)],
    ...[0, ...le(nameAt + name.length, 2), 1, ...le(name.length, 2), ...le(nameAt, 2), ...le(0, 2), ...le(0, 2)],
    // A serial port.
    ...[...le(0x8000, 2), ...le(PL011, 2), ...le(0, 2), ...le(registersAt, 2), ...le(sizeAt, 2)],
    ...[...gas(spaceId.memory, 32, 3, uart.gpa), ...le(uart.bytes, 4), ...name],
  ];
}

/** IORT, revision 3: every function's messages go to the ITS, with its bus, device and function as the device ID. */
function iort(): number[] {
  const nodesAt = 48;
  const itsNode = [0, ...le(24, 2), 1, ...le(0, 4), ...le(0, 4), ...le(0, 4), ...le(1, 4), ...le(0, 4)];
  const mapping = [...le(0, 4), ...le(0xffff, 4), ...le(0, 4), ...le(nodesAt, 4), ...le(0, 4)];
  const coherent = [...le(1, 4), 0, 0, 0, 3];
  const root = [2, ...le(36 + mapping.length, 2), 3, ...le(1, 4), ...le(1, 4), ...le(36, 4)];
  return [
    ...[...le(2, 4), ...le(nodesAt, 4), ...le(0, 4)],
    ...itsNode,
    // No ATS; segment 0; 64 bits of address.
    ...[...root, ...coherent, ...le(0, 4), ...le(0, 4), 64, 0, 0, 0],
    ...mapping,
  ];
}

const topology = { PACKAGE: 1, VALID_ID: 2, LEAF: 8 } as const;

/** PPTT (5.2.30), revision 2: one package with all processors. */
function pptt({ affinities }: ArmAcpiBoard): number[] {
  const packageAt = 36;
  const node = (flags: number, parent: number, id: number) => [
    ...[0, 20, 0, 0, ...le(flags, 4), ...le(parent, 4), ...le(id, 4), ...le(0, 4)],
  ];
  const leaves = affinities.flatMap((_, uid) => node(topology.VALID_ID | topology.LEAF, packageAt, uid));
  return [...node(topology.PACKAGE, 0, 0), ...leaves];
}

export function buildArmAcpiTables(board: ArmAcpiBoard): AcpiTables {
  const writer = new TableWriter('VRINGVRT');
  const { gic, uart, pci } = board;
  const dsdtAt = writer.table('DSDT', 2, armDsdtTerms(board));
  const listed = [
    addReducedFadt(writer, dsdtAt, {
      flags: fadtFlag.wbinvd | fadtFlag.powerButtonByDevice | fadtFlag.noFixedSleepButton,
      armBoot: armBoot.psci | armBoot.hvc,
    }),
    writer.table('APIC', 4, madt(board)),
    writer.table('PPTT', 2, pptt(board)),
    writer.table('GTDT', 2, gtdt(board)),
    writer.table('MCFG', 1, mcfg({ gpa: pci.ecam.gpa, lastBus: pci.ecam.buses - 1 })),
  ];
  if (uart) listed.push(writer.table('SPCR', 2, spcr(uart)), writer.table('DBG2', 0, dbg2(uart)));
  if (gic.itsGpa !== undefined) listed.push(writer.table('IORT', 3, iort()));
  return closeTables(writer, listed, false);
}
