/** The DSDT's definition block of Arm's board `virt`: processors, devices in memory, the PCI Express host, the power button. */
import * as aml from './aml.js';
import * as res from './aml-resources.js';
import type { ArmAcpiBoard } from './arm-tables.js';
import { coherent, pciExpressHost } from './pci-express-host.js';

/** GpioInt: edge, active high, exclusive, wakes the system, pulled up (ACPI 6.4, 6.4.3.8.1). */
function gpioInterrupt(pin: number, controller: string): res.Resource {
  const name = [...controller].map((letter) => letter.charCodeAt(0));
  const [pinsAt, nameAt] = [23, 25];
  const end = nameAt + name.length + 1;
  const flags = 0x01 | (1 << 4);
  const places = [...aml.le(pinsAt, 2), 0, ...aml.le(nameAt, 2), ...aml.le(end, 2), ...aml.le(0, 2)];
  const body = [1, 0, ...aml.le(1, 2), ...aml.le(flags, 2), 1, ...aml.le(0, 2), ...aml.le(0, 2), ...places];
  return [0x8c, ...aml.le(end - 3, 2), ...body, ...aml.le(pin, 2), ...name, 0];
}

const notify = (target: string, value: number): aml.Term => [0x86, ...aml.path(target), ...aml.integer(value)];
const PRESSED = 0x80;

const hid = (id: string) => aml.name('_HID', aml.string(id));
const uid = (n: number) => aml.name('_UID', aml.integer(n));
const uses = (...resources: res.Resource[]) => aml.name('_CRS', res.resourceTemplate(...resources));
const hex = (n: number, digits: number) => n.toString(16).toUpperCase().padStart(digits, '0');
const memory = (gpa: number, bytes: number) => res.fixedMemory32(gpa, bytes, true);

function powerButton({ gpio }: ArmAcpiBoard): aml.Term[] {
  const event = `_E${hex(gpio.powerPin, 2)}`;
  return [
    aml.device(
      'GPO0',
      hid('ARMH0061'),
      uid(0),
      uses(memory(gpio.gpa, gpio.bytes), res.ownInterrupt(gpio.gsi)),
      aml.name('_AEI', res.resourceTemplate(gpioInterrupt(gpio.powerPin, 'GPO0'))),
      aml.method(event, 0, false, notify('\\_SB.PWRB', PRESSED)),
    ),
    aml.device('PWRB', aml.name('_HID', aml.eisaId('PNP0C0C')), uid(0)),
  ];
}

export function armDsdtTerms(board: ArmAcpiBoard): Uint8Array {
  const { affinities, uart, flash, fwCfgGpa, virtio } = board;
  const slots = Array.from({ length: virtio.slots }, (_, slot) =>
    aml.device(
      `VR${hex(slot, 2)}`,
      hid('LNRO0005'),
      uid(slot),
      coherent,
      uses(memory(virtio.gpa + slot * virtio.stride, virtio.stride), res.ownInterrupt(virtio.gsi + slot)),
    ),
  );
  return Uint8Array.from(
    aml.scope(
      '\\_SB',
      ...affinities.map((_, n) => aml.device(`C${hex(n, 3)}`, hid('ACPI0007'), uid(n))),
      ...(uart
        ? [aml.device('COM0', hid('ARMH0011'), uid(0), uses(memory(uart.gpa, uart.bytes), res.ownInterrupt(uart.gsi)))]
        : []),
      ...flash.map(({ gpa, bytes }, n) => aml.device(`FLS${n}`, hid('LNRO0015'), uid(n), uses(memory(gpa, bytes)))),
      aml.device('FWCF', hid('QEMU0002'), aml.name('_STA', aml.integer(0x0b)), coherent, uses(memory(fwCfgGpa, 0x18))),
      ...slots,
      pciExpressHost(board.pci),
      ...powerButton(board),
    ),
  );
}
