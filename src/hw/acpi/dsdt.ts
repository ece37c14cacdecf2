/**
 * The DSDT's definition block: PCI host bridge with its windows and interrupt routing, the four PIRQ link devices of the
 * PIIX3, the ISA devices behind it, the HPET and S5.
 */
import type { AcpiBoard } from './acpi-board.js';
import * as aml from './aml.js';
import * as res from './aml-resources.js';

/** Byte of a `sharedInterrupts` descriptor where its first number lies. */
const interruptNumberAt = 5;
const pirqDisabled = 0x80;
const pirqRegister = 0x60;
const staPresent = 0x0b;
const linkNames = ['LNKA', 'LNKB', 'LNKC', 'LNKD'] as const;
const fieldNames = ['PRQA', 'PRQB', 'PRQC', 'PRQD'] as const;

/** Interrupt pin of device `slot` on bus 0 to link: the i440FX board's swizzle, pin A of device 0 being PIRQD. */
export function pirqOf(slot: number, pin: number): number {
  return (slot + pin - 1) & 3;
}

function hostBridge(board: AcpiBoard): aml.Term {
  const { ecam, memoryWindows } = board.pci;
  const windows: res.Resource[] = [
    res.busNumbers(0, 0xff),
    res.ioPorts(0xcf8, 8),
    res.ioWindow(0, 0xcf7),
    res.ioWindow(0xd00, 0xffff),
  ];
  if (board.vga) windows.push(res.memoryWindow(0xa0000, 0xbffff, true));
  for (const { first, last } of memoryWindows) windows.push(res.memoryWindow(first, last));
  const routes: aml.Term[] = [];
  // The power management function's pin A is the SCI, which no PIRQ register routes.
  const pmSlot = board.pci.isaBridge.device;
  for (let slot = 0; slot < 32; slot++) {
    for (let pin = 0; pin < 4; pin++) {
      const address = aml.integer(slot * 0x10000 + 0xffff);
      if (slot === pmSlot && pin === 0) {
        routes.push(aml.packageOf(address, aml.integer(pin), aml.integer(0), aml.integer(board.pm.sciIrq)));
        continue;
      }
      const link = aml.path(`\\_SB.${linkNames[pirqOf(slot, pin)]}`);
      routes.push(aml.packageOf(address, aml.integer(pin), link, aml.integer(0)));
    }
  }
  return aml.device(
    'PCI0',
    ...(ecam === undefined
      ? [aml.name('_HID', aml.eisaId('PNP0A03'))]
      : [aml.name('_HID', aml.eisaId('PNP0A08')), aml.name('_CID', aml.eisaId('PNP0A03'))]),
    aml.name('_UID', aml.integer(0)),
    aml.name('_BBN', aml.integer(0)),
    aml.name('_CRS', res.resourceTemplate(...windows)),
    aml.name('_PRT', aml.packageOf(...routes)),
    isaBridge(board),
  );
}

/** The PIIX3 with its routing registers and the devices on ISA. */
function isaBridge(board: AcpiBoard): aml.Term {
  const { isaBridge: at } = board.pci;
  const { isa } = board;
  const children: aml.Term[] = [];
  const isaDevice = (id: string, hid: string, ...resources: res.Resource[]) =>
    children.push(
      aml.device(id, aml.name('_HID', aml.eisaId(hid)), aml.name('_CRS', res.resourceTemplate(...resources))),
    );
  isaDevice('PIC', 'PNP0000', res.ioPorts(0x20, 2), res.ioPorts(0xa0, 2), res.isaIrq(2));
  if (isa.pit) isaDevice('TIMR', 'PNP0100', res.ioPorts(0x40, 4), res.isaIrq(0));
  if (isa.rtc) isaDevice('RTC', 'PNP0B00', res.ioPorts(0x70, 2), res.isaIrq(8));
  if (isa.ps2) {
    isaDevice('KBD', 'PNP0303', res.ioPorts(0x60, 1), res.ioPorts(0x64, 1), res.isaIrq(1));
    isaDevice('MOU', 'PNP0F13', res.isaIrq(12));
  }
  isa.serial.forEach(({ port, irq }, i) => {
    children.push(
      aml.device(
        `COM${i + 1}`,
        aml.name('_HID', aml.eisaId('PNP0501')),
        aml.name('_UID', aml.integer(i + 1)),
        aml.name('_CRS', res.resourceTemplate(res.ioPorts(port, 8), res.isaIrq(irq))),
      ),
    );
  });
  return aml.device(
    'ISA',
    aml.name('_ADR', aml.integer(at.device * 0x10000 + at.function)),
    aml.operationRegion('PIRQ', aml.regionSpace.pciConfig, pirqRegister, 4),
    aml.byteFields('PIRQ', fieldNames),
    ...children,
  );
}

/** Link device `index`: its setting lives in the PIIX3's PIRQ route register; bit 7 set means not routed. */
function linkDevice(board: AcpiBoard, index: number): aml.Term {
  const register = aml.path(`\\_SB.PCI0.ISA.${fieldNames[index]}`);
  const disabled = aml.and(register, aml.integer(pirqDisabled));
  return aml.device(
    linkNames[index]!,
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

function fwCfg(port: number): aml.Term {
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

export function dsdtTerms(board: AcpiBoard): Uint8Array {
  const { fwCfgPort } = board.isa;
  const sleep = aml.integer(board.pm.s5SleepType);
  const terms = [
    aml.scope(
      '\\_SB',
      hostBridge(board),
      ...linkNames.map((_, i) => linkDevice(board, i)),
      motherboard(board),
      ...(board.hpetGpa === undefined ? [] : [hpet(board.hpetGpa)]),
      ...(fwCfgPort === undefined ? [] : [fwCfg(fwCfgPort)]),
      ...board.cpus.map((_, i) => cpu(i)),
    ),
    aml.name('\\_S5', aml.packageOf(sleep, sleep, aml.integer(0), aml.integer(0))),
  ];
  return Uint8Array.from(terms.flat());
}
