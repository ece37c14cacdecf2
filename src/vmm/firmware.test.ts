import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultFirmware, findFirmware } from '../host/node/firmware-file.js';
import { createMachine } from './machine.js';

const limitMs = 60_000;
const seabios = findFirmware(defaultFirmware, []);

test('SeaBIOS comes up on the serial console, to its menu, and after a reset again', {
  skip: !seabios && 'no seabios here',
  timeout: limitMs,
}, async () => {
  await using machine = await createMachine({
    ramBytes: 64 << 20,
    firmware: { image: seabios as string, serialConsole: true, bootMenuMs: 30_000 },
    devices: [
      { type: 'virtio-blk', image: { options: { driver: 'null-co', size: 1 << 20, 'read-zeroes': true } } },
      { type: 'isa-debugcon', port: 0x402 },
    ],
  });
  const serial = machine.serial();
  const wait = { timeoutMs: limitMs };
  const debug = machine.debugConsole().waitForText('using modern (1.0) virtio mode', wait);
  await machine.start();
  await serial.waitForText('Press ESC for boot menu', wait);
  const log = await debug;
  assert.match(log, /Found QEMU fw_cfg/);
  assert.match(log, /Copying SMBIOS from/);
  assert.match(log, /ACPI: parse DSDT/);
  await serial.write('\x1b');
  await serial.waitForText(/Select boot device:[\s\S]*1\. Virtio disk PCI:00:02\.0/, wait);
  await serial.write('1');
  await serial.waitForText('Boot failed: not a bootable disk', wait);
  await serial.waitForText('No bootable device', wait);
  await machine.reset();
  await serial.waitForText('Press ESC for boot menu', wait);
});
