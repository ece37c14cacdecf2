/**
 * The ACPI tables of the board `microvm` (ACPI 6.4 chapter 5): hardware-reduced. Its virtio-mmio slots, a generic event device for the
 * power button, registers for sleep and reset, and PCI Express where the board has it.
 */
import type { AcpiBoard } from './acpi-board.js';
import * as aml from './aml.js';
import * as res from './aml-resources.js';
import { fwCfgDevice, rtcDevice, serialDevice } from './dsdt.js';
import { type AcpiPciExpress, coherent, pciExpressHost } from './pci-express-host.js';
import { addReducedFadt } from './reduced-fadt.js';
import { type AcpiTables, closeTables, mcfg, TableWriter } from './table-set.js';
import { madt } from './tables.js';

export interface MicrovmAcpiBoard {
  readonly cpus: AcpiBoard['cpus'];
  readonly localApicGpa: number;
  readonly ioApics: readonly AcpiBoard['ioApic'][];
  readonly serial: AcpiBoard['isa']['serial'];
  readonly rtc: boolean;
  readonly fwCfgPort: number;
  /** The generic event device: its selector, the registers for sleep and reset. */
  readonly events: {
    readonly gpa: number;
    readonly gsi: number;
    /** Bit of the power button. */
    readonly powerButton: number;
    readonly sleepControlGpa: number;
    readonly sleepStatusGpa: number;
    readonly s5SleepType: number;
    readonly reset: { readonly gpa: number; readonly value: number };
  };
  /** Slots with a device in them. */
  readonly virtio: readonly {
    readonly slot: number;
    readonly gpa: number;
    readonly bytes: number;
    readonly gsi: number;
  }[];
  readonly pci?: AcpiPciExpress | undefined;
}

const hid = (id: string) => aml.name('_HID', aml.string(id));
const crs = (...resources: res.Resource[]) => aml.name('_CRS', res.resourceTemplate(...resources));
/** The button was pressed. */
const PRESSED = 0x80;

/** Reading the selector says what has happened, and forgets it (5.6.9). */
function eventDevice({ events }: MicrovmAcpiBoard): aml.Term[] {
  return [
    aml.device(
      'GED',
      hid('ACPI0013'),
      aml.name('_UID', aml.string('GED')),
      crs(res.ownInterrupt(events.gsi, 'edge')),
      aml.operationRegion('EREG', aml.regionSpace.systemMemory, events.gpa, 4),
      aml.dwordFields('EREG', ['ESEL']),
      aml.method(
        '_EVT',
        1,
        true,
        aml.store(aml.path('ESEL'), aml.local(0)),
        aml.when(
          aml.and(aml.local(0), aml.integer(events.powerButton)),
          aml.notify(aml.path('\\_SB.PWRB'), aml.integer(PRESSED)),
        ),
      ),
    ),
    aml.device('PWRB', aml.name('_HID', aml.eisaId('PNP0C0C')), aml.name('_UID', aml.integer(0))),
  ];
}

function dsdt(board: MicrovmAcpiBoard): Uint8Array {
  const { events, virtio, pci } = board;
  const slots = virtio.map(({ slot, gpa, bytes, gsi }) =>
    aml.device(
      `VR${slot.toString(16).toUpperCase().padStart(2, '0')}`,
      hid('LNRO0005'),
      aml.name('_UID', aml.integer(slot)),
      coherent,
      crs(res.fixedMemory32(gpa, bytes, true), res.ownInterrupt(gsi)),
    ),
  );
  return Uint8Array.from([
    ...aml.scope(
      '\\_SB',
      fwCfgDevice(board.fwCfgPort),
      ...board.serial.map(serialDevice),
      ...(board.rtc ? [rtcDevice()] : []),
      ...eventDevice(board),
      ...slots,
      ...(pci ? [pciExpressHost(pci)] : []),
    ),
    ...aml.name(
      '\\_S5',
      aml.packageOf(aml.integer(events.s5SleepType), aml.integer(0), aml.integer(0), aml.integer(0)),
    ),
  ]);
}

export function buildMicrovmTables(board: MicrovmAcpiBoard): AcpiTables {
  const writer = new TableWriter('VRINGMVM');
  const { events, pci } = board;
  const dsdtAt = writer.table('DSDT', 2, dsdt(board));
  const listed = [
    addReducedFadt(writer, dsdtAt, {
      flags: 0,
      reset: events.reset,
      sleep: { controlGpa: events.sleepControlGpa, statusGpa: events.sleepStatusGpa },
    }),
    writer.table('APIC', 3, madt({ ...board, interruptOverrides: [] })),
  ];
  if (pci) listed.push(writer.table('MCFG', 1, mcfg({ gpa: pci.ecam.gpa, lastBus: pci.ecam.buses - 1 })));
  return closeTables(writer, listed, true);
}
