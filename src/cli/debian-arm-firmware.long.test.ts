/** Debian's kernel for AArch64 under EDK II, which hands it ACPI tables and no device tree. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findFirmware } from '../host/node/firmware-file.js';
import { openDebian } from '../vmm/index.js';
import { runDebian, timeout, whyNoDebian } from './testing-debian.js';

const why = await whyNoDebian('arm64');
const firmware = findFirmware('QEMU_EFI.fd', []);
const skip = why || (firmware === undefined && 'no qemu-efi-aarch64 here');

test('with a GICv3: two processors, messages by the ITS, PCI and the tables', { skip, timeout }, () => {
  const script = [
    'grep -c ^processor /proc/cpuinfo',
    'ls /sys/firmware/acpi/tables | tr "\\n" " "; echo',
    'ls /proc/device-tree 2>/dev/null | wc -l',
    'cat /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name',
    'dmesg | grep -c "ACPI.*Error\\|ACPI.*Warning\\|ACPI BIOS\\|Firmware Bug"',
    'cat /proc/interrupts',
  ].join('; ');
  const { status, stdout, stderr } = runDebian(
    'arm64',
    ['-M', 'virt,gic-version=3', '-smp', '2', '-bios', 'QEMU_EFI.fd', '-append', 'acpi=force'],
    script,
  );
  assert.equal(status, 0, stderr);
  const [cpus, tables, nodes, vendor, product, faults] = stdout.split('\n');
  assert.deepEqual([cpus, nodes, vendor, product, faults], ['2', '0', 'vring', 'Arm VirtIO board', '0']);
  assert.match(tables, /^APIC DBG2 DSDT FACP GTDT IORT MCFG PPTT SPCR /);
  assert.match(stdout, /ITS-PCI-MSIX-0000:00:\d\d\.0 +1 Edge +virtio\d-/);
});

test('with a GICv2: the power button is heard by way of the PL061', { skip, timeout }, async () => {
  const wait = 'while ! grep -q "[1-9] .*ACPI:Event" /proc/interrupts; do sleep 0.2; done';
  await using session = await openDebian({
    architecture: 'arm64',
    command: ['sh', '-c', `echo ready; ${wait}; grep GICv2m /proc/interrupts`],
    machine: { firmware: { image: firmware } },
  });
  let text = '';
  let isPressed = false;
  session.stream('stdout').onData((bytes) => {
    text += Buffer.from(bytes).toString('latin1');
    if (isPressed || !text.startsWith('ready')) return;
    isPressed = true;
    void session.machine.pressPowerButton();
  });
  await session.start();
  assert.equal(await session.exited, 0, session.kernelLog);
  assert.match(text, /GICv2m-PCI-MSIX.*virtio/);
});
