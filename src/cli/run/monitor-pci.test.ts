/** PCI functions as both monitors tell of them, against QEMU's machine with the same devices. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { missingOracle, SideBySide } from './qmp/testing/side-by-side.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-pci-'));
after(() => rmSync(folder, { recursive: true }));
const skip = missingOracle && `no ${missingOracle}`;

test('info pci and query-pci', { skip, timeout: 100_000 }, async () => {
  const image = join(folder, 'disk');
  writeFileSync(image, '');
  truncateSync(image, 1 << 20);
  for (const words of [
    [
      ...['-M', 'q35', '-device', 'pcie-root-port,id=rp,addr=2', '-device', 'e1000,id=nic,addr=3,romfile='],
      ...['-drive', `if=none,id=d,format=raw,readonly=on,file=${image}`, '-device', 'virtio-scsi-pci,addr=5'],
      ...['-device', 'virtio-blk-pci,drive=d,bus=rp,id=disk'],
    ],
    [
      ...['-device', 'rtl8139,addr=2,romfile=', '-device', 'ne2k_pci,id=n,addr=3,romfile='],
      ...['-device', 'virtio-rng-pci,addr=5', '-device', 'virtio-balloon-pci,addr=6', '-device', 'i6300esb,addr=7'],
    ],
  ]) {
    await using machines = new SideBySide(folder);
    await machines.start(words);
    for (const [execute, given] of [
      ['query-pci', undefined],
      ['human-monitor-command', { 'command-line': 'info pci' }],
    ] as const) {
      const [our, their] = await machines.ask(execute, given);
      assert.deepEqual(our, their, execute);
    }
  }
});
