/**
 * The DSDT's definition block: PCI host bridge with its windows and interrupt routing, the PIRQ link devices of the
 * ISA bridge, the ISA devices behind it, the HPET and S5.
 */
import { type FloppyKind, floppyKinds } from '../floppy/floppy-format.js';
import type { AcpiBoard } from './acpi-board.js';
import * as aml from './aml.js';
import * as res from './aml-resources.js';
import { hotplugEvent, hotplugSlots } from './pci-hotplug.js';

/** Byte of a `sharedInterrupts` descriptor where its first number lies. */
const interruptNumberAt = 5;
const pirqDisabled = 0x80;
const staPresent = 0x0b;
const letters = 'ABCDEFGH';
const linkName = (pirq: number): string => `LNK${letters[pirq]}`;
const fieldName = (pirq: number): string => `PRQ${letters[pirq]}`;
const linksOf = (board: AcpiBoard): number[] =>
  board.pci.pirqRegisters.flatMap((_, i) => [0, 1, 2, 3].map((k) => 4 * i + k));
/** A PCI Express host's own (PCI Firmware 3.2, 4.5): 33DB4D5B-1FF7-401C-9657-7441C03DD766. */
const expressUuid = [
  ...[0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40],
  ...[0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66],
];
/** What the system may take over: hot-plug, power management events, error reporting, capabilities. Not SHPC, which is nowhere. */
const grantedControl = 0x1d;

/** _OSC: the operating system says what it can do, and is told what it may control. */
export function operatingSystemCapabilities(): aml.Term {
  const [word, control] = [aml.path('CDW1'), aml.path('CDW3')];
  return aml.method(
    '_OSC',
    4,
    true,
    aml.createDwordField(aml.arg(3), 0, 'CDW1'),
    aml.when(
      aml.equal(aml.arg(0), aml.buffer(expressUuid)),
      aml.createDwordField(aml.arg(3), 8, 'CDW3'),
      aml.andInto(control, aml.integer(grantedControl), control),
      // A revision that is not known.
      aml.when(aml.not(aml.equal(aml.arg(1), aml.integer(1))), aml.or(word, aml.integer(8), word)),
    ),
    aml.otherwise(aml.or(word, aml.integer(4), word)),
    aml.returns(aml.arg(3)),
  );
}

/** Which interrupt each pin of bus 0 has: by link devices, and where the I/O APIC is in use by its own inputs. */
function interruptRouting({ pci, pm }: AcpiBoard): aml.Term[] {
  const table = (entry: (pirq: number) => [aml.Term, aml.Term]) => {
    const routes: aml.Term[] = [];
    for (let slot = 0; slot < 32; slot++) {
      for (let pin = 0; pin < 4; pin++) {
        const isSci = slot === pci.sciSlot && pin === 0;
        const [source, index] = isSci ? [aml.integer(0), aml.integer(pm.sciIrq)] : entry(pci.route(slot, pin));
        routes.push(aml.packageOf(aml.integer(slot * 0x10000 + 0xffff), aml.integer(pin), source, index));
      }
    }
    return aml.packageOf(...routes);
  };
  const byLink = table((pirq) => [aml.path(`\\_SB.${linkName(pirq)}`), aml.integer(0)]);
  const { pirqGsi } = pci;
  if (pirqGsi === undefined) return [aml.name('_PRT', byLink)];
  return [
    aml.name('PRTP', byLink),
    aml.name(
      'PRTA',
      table((pirq) => [aml.integer(0), aml.integer(pirqGsi + pirq)]),
    ),
    aml.method(
      '_PRT',
      0,
      false,
      aml.when(aml.path('\\PICF'), aml.returns(aml.path('PRTA'))),
      aml.returns(aml.path('PRTP')),
    ),
  ];
}

function hostBridge(board: AcpiBoard): aml.Term {
  const { ecam, memoryWindows, hotplugFrom } = board.pci;
  const windows: res.Resource[] = [
    res.busNumbers(0, 0xff),
    res.ioPorts(0xcf8, 8),
    res.ioWindow(0, 0xcf7),
    res.ioWindow(0xd00, 0xffff),
  ];
  if (board.vga) windows.push(res.memoryWindow(0xa0000, 0xbffff, true));
  for (const { first, last } of memoryWindows) windows.push(res.memoryWindow(first, last));
  return aml.device(
    'PCI0',
    ...(ecam === undefined
      ? [aml.name('_HID', aml.eisaId('PNP0A03'))]
      : [aml.name('_HID', aml.eisaId('PNP0A08')), aml.name('_CID', aml.eisaId('PNP0A03'))]),
    aml.name('_UID', aml.integer(0)),
    aml.name('_BBN', aml.integer(0)),
    aml.name('_CRS', res.resourceTemplate(...windows)),
    ...interruptRouting(board),
    ...(ecam === undefined ? [] : [operatingSystemCapabilities()]),
    isaBridge(board),
    ...(hotplugFrom === undefined ? [] : hotplugSlots(hotplugFrom)),
  );
}

/** The floppy controller with its drives: _FDE says which are there, _FDI what each is (ACPI 6.4, 9.9). */
function floppyController(kinds: readonly (FloppyKind | undefined)[]): aml.Term {
  const dwords = (...values: number[]) => aml.buffer(values.flatMap((value) => aml.le(value, 4)));
  const present = [0, 1, 2, 3].map((i) => (kinds[i] === undefined ? 0 : 1));
  return aml.device(
    'FDC0',
    aml.name('_HID', aml.eisaId('PNP0700')),
    aml.name('_CRS', res.resourceTemplate(res.ioPorts(0x3f2, 4), res.ioPorts(0x3f7, 1), res.isaIrq(6), res.isaDma(2))),
    // The last one: there is no tape.
    aml.name('_FDE', dwords(...present, 2)),
    ...kinds.flatMap((kind, i) => {
      if (kind === undefined) return [];
      const { cmos, cylinders, sectors } = floppyKinds[kind];
      const last = [cylinders - 1, sectors, 1];
      // What BIOS's disk parameter table has: step rate, head load, motor, sector size, gaps, filler, settling, start.
      const parameters = [0xaf, 0x02, 0x25, 0x02, sectors, 0x1b, 0xff, 0x6c, 0xf6, 0x0f, 0x08];
      const numbers = [i, cmos, ...last, ...parameters].map((value) => aml.integer(value));
      return [
        aml.device(`FLP${'AB'[i]}`, aml.name('_ADR', aml.integer(i)), aml.name('_FDI', aml.packageOf(...numbers))),
      ];
    }),
  );
}

const isaDevice = (id: string, hid: string, ...resources: res.Resource[]): aml.Term =>
  aml.device(id, aml.name('_HID', aml.eisaId(hid)), aml.name('_CRS', res.resourceTemplate(...resources)));

export const rtcDevice = (): aml.Term => isaDevice('RTC', 'PNP0B00', res.ioPorts(0x70, 2), res.isaIrq(8));

/** A 16550, the `i`-th. */
export function serialDevice({ port, irq }: AcpiBoard['isa']['serial'][number], i: number): aml.Term {
  return aml.device(
    `COM${i + 1}`,
    aml.name('_HID', aml.eisaId('PNP0501')),
    aml.name('_UID', aml.integer(i + 1)),
    aml.name('_CRS', res.resourceTemplate(res.ioPorts(port, 8), res.isaIrq(irq))),
  );
}

/** The ISA bridge with its routing registers and the devices on ISA. */
function isaBridge(board: AcpiBoard): aml.Term {
  const { isaBridge: at } = board.pci;
  const { isa } = board;
  const children: aml.Term[] = [];
  const add = (...device: Parameters<typeof isaDevice>) => children.push(isaDevice(...device));
  add('PIC', 'PNP0000', res.ioPorts(0x20, 2), res.ioPorts(0xa0, 2), res.isaIrq(2));
  if (isa.pit) add('TIMR', 'PNP0100', res.ioPorts(0x40, 4), res.isaIrq(0));
  if (isa.rtc) children.push(rtcDevice());
  if (isa.ps2) {
    add('KBD', 'PNP0303', res.ioPorts(0x60, 1), res.ioPorts(0x64, 1), res.isaIrq(1));
    add('MOU', 'PNP0F13', res.isaIrq(12));
  }
  if (isa.floppies) children.push(floppyController(isa.floppies));
  if (isa.panicPort !== undefined)
    children.push(
      aml.device(
        'PEVT',
        aml.name('_HID', aml.string('QEMU0001')),
        aml.name('_CRS', res.resourceTemplate(res.ioPorts(isa.panicPort, 1))),
      ),
    );
  children.push(...isa.serial.map(serialDevice));
  return aml.device(
    'ISA',
    aml.name('_ADR', aml.integer(at.device * 0x10000 + at.function)),
    ...board.pci.pirqRegisters.flatMap((first, i) => {
      const region = `PIR${i}`;
      const fields = [0, 1, 2, 3].map((k) => fieldName(4 * i + k));
      return [aml.operationRegion(region, aml.regionSpace.pciConfig, first, 4), aml.byteFields(region, fields)];
    }),
    ...children,
  );
}

/** Link device `index`: its setting lives in the ISA bridge's PIRQ route register; bit 7 set means not routed. */
function linkDevice(board: AcpiBoard, index: number): aml.Term {
  const register = aml.path(`\\_SB.PCI0.ISA.${fieldName(index)}`);
  const disabled = aml.and(register, aml.integer(pirqDisabled));
  return aml.device(
    linkName(index),
    aml.name('_HID', aml.eisaId('PNP0C0F')),
    aml.name('_UID', aml.integer(index)),
    aml.name('_PRS', res.resourceTemplate(res.sharedInterrupts(...board.pci.linkIrqs))),
    aml.method('_STA', 0, false, aml.when(disabled, aml.returns(aml.integer(9))), aml.returns(aml.integer(staPresent))),
    aml.method('_DIS', 0, false, aml.or(register, aml.integer(pirqDisabled), register)),
    aml.name('BUF', res.resourceTemplate(res.sharedInterrupts(0))),
    aml.createDwordField(aml.path('BUF'), interruptNumberAt, 'IRQN'),
    aml.method(
      '_CRS',
      0,
      true,
      aml.store(aml.integer(0), aml.path('IRQN')),
      aml.when(aml.not(disabled), aml.andInto(register, aml.integer(0x0f), aml.path('IRQN'))),
      aml.returns(aml.path('BUF')),
    ),
    aml.method(
      '_SRS',
      1,
      true,
      aml.createDwordField(aml.arg(0), interruptNumberAt, 'SIRQ'),
      aml.store(aml.path('SIRQ'), register),
    ),
  );
}

/**
 * Ports and memory that belong to the board itself, so that no one else is given them. The PM block's are the power
 * management function's own.
 */
function motherboard(board: AcpiBoard): aml.Term {
  const { pm, pci } = board;
  const resources: res.Resource[] = [res.ioPorts(pm.gpe0Port, pm.gpe0Bytes), res.ioPorts(0x4d0, 2)];
  if (pm.smiCommandPort !== 0) resources.push(res.ioPorts(pm.smiCommandPort, 2));
  if (pci.ecam !== undefined) {
    resources.push(res.fixedMemory32(pci.ecam.gpa, (pci.ecam.lastBus + 1) * 0x100000, true));
  }
  return aml.device(
    'MBRD',
    aml.name('_HID', aml.eisaId('PNP0C02')),
    aml.name('_UID', aml.integer(1)),
    aml.name('_CRS', res.resourceTemplate(...resources)),
  );
}

function hpet(gpa: number): aml.Term {
  return aml.device(
    'HPET',
    aml.name('_HID', aml.eisaId('PNP0103')),
    aml.name('_UID', aml.integer(0)),
    aml.name('_CRS', res.resourceTemplate(res.fixedMemory32(gpa, 0x400, false))),
  );
}

export function fwCfgDevice(port: number): aml.Term {
  return aml.device(
    'FWCF',
    aml.name('_HID', aml.string('QEMU0002')),
    aml.name('_STA', aml.integer(staPresent)),
    aml.name('_CRS', res.resourceTemplate(res.ioPorts(port, 12))),
  );
}

function cpu(uid: number): aml.Term {
  const id = `C${uid.toString(16).toUpperCase().padStart(3, '0')}`;
  return aml.device(id, aml.name('_HID', aml.string('ACPI0007')), aml.name('_UID', aml.integer(uid)));
}

/** _PIC: the operating system says which interrupt controllers it uses. */
const interruptMode = (): aml.Term[] => [
  aml.name('\\PICF', aml.integer(0)),
  aml.method('\\_PIC', 1, false, aml.store(aml.arg(0), aml.path('\\PICF'))),
];

export function dsdtTerms(board: AcpiBoard): Uint8Array {
  const { fwCfgPort } = board.isa;
  const sleep = aml.integer(board.pm.s5SleepType);
  const terms = [
    ...(board.pci.pirqGsi === undefined ? [] : interruptMode()),
    aml.scope(
      '\\_SB',
      hostBridge(board),
      ...linksOf(board).map((pirq) => linkDevice(board, pirq)),
      motherboard(board),
      ...(board.hpetGpa === undefined ? [] : [hpet(board.hpetGpa)]),
      ...(fwCfgPort === undefined ? [] : [fwCfgDevice(fwCfgPort)]),
      ...board.cpus.map((_, i) => cpu(i)),
    ),
    ...(board.pci.hotplugFrom === undefined ? [] : [hotplugEvent()]),
    aml.name('\\_S5', aml.packageOf(sleep, sleep, aml.integer(0), aml.integer(0))),
  ];
  return Uint8Array.from(terms.flat());
}
