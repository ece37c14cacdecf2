/** Boot from the network: SeaBIOS runs iPXE from a card's option ROM, which fetches a script and a kernel by TFTP. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { prepareDebian } from '../distro/index.js';
import { findFirmware } from '../host/node/firmware-file.js';
import { createMachine, VringError } from './index.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-pxe-'));
after(() => rmSync(folder, { recursive: true }));
const seabios = findFirmware('bios-256k.bin', []);

for (const { type, file } of [
  { type: 'virtio-net', file: 'efi-virtio.rom' },
  { type: 'rtl8139', file: 'efi-rtl8139.rom' },
] as const) {
  const rom = findFirmware(file, []);
  test(`${type}: iPXE starts a kernel over TFTP`, {
    skip: (!seabios && 'no seabios here') || (!rom && `no ${file} here (Debian's ipxe-qemu)`),
    timeout: 400_000,
  }, async (t) => {
    let kernel: Uint8Array;
    try {
      ({ kernel } = await prepareDebian({ suite: 'bookworm' }));
    } catch (error) {
      if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code))
        return t.skip(error.message);
      throw error;
    }
    writeFileSync(join(folder, 'vmlinuz'), kernel);
    writeFileSync(
      join(folder, 'boot.ipxe'),
      '#!ipxe\nkernel tftp://10.0.2.2/vmlinuz console=ttyS0 panic=-1 here=by-pxe\nboot\n',
    );
    await using machine = await createMachine({
      ramBytes: 512 << 20,
      firmware: { image: seabios as string, serialConsole: true, bootDevices: 'n' },
      onReset: 'end',
      networks: [{ id: 'n', kind: 'user', user: { tftpFolder: folder, bootFile: '/boot.ipxe' } }],
      devices: [{ type, network: 'n', rom }],
    });
    await machine.start();
    const serial = machine.serial();
    await serial.waitForText('iPXE', { timeoutMs: 200_000 });
    await serial.waitForText(/Kernel command line:.*here=by-pxe/, { timeoutMs: 200_000 });
    assert.equal(machine.state, 'running');
  });
}
