/**
 * The board microvm under Debian's kernel: the disk in a virtio-mmio slot on the second I/O APIC, or behind PCI Express with messages; the
 * power button by the generic event device; the power switched off by sleep control.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openDebian, VringError } from './index.js';

const limitMs = 300_000;
const folder = mkdtempSync(join(tmpdir(), 'vring microvm '));
after(() => rmSync(folder, { recursive: true }));

const content = Buffer.alloc(4 << 20);
for (let i = 0; i < content.length; i += 4) content.writeUInt32LE(Math.imul(i + 3, 2654435761) >>> 0, i);
const hash = `${createHash('sha256').update(content).digest('hex')}  -`;

const script = [
  'for i in 1 2 3 4 5 6 7 8 9; do [ -b /dev/vda ] && [ -b /dev/vdb ] && break; sleep 1; done',
  'for each in vda vdb; do [ "$(cat /sys/block/$each/serial)" = first ] && first=/dev/$each || second=/dev/$each; done',
  // What was written is read back past the cache.
  'sha256sum < $first; cat $first > $second; sync; echo 3 > /proc/sys/vm/drop_caches; sha256sum < $second',
  'nproc; ls /sys/bus/platform/drivers/virtio-mmio | grep -c LNRO0005; ls /sys/bus/pci/devices | wc -l',
  'grep -c "IO-APIC  *2[0-3]-fasteoi.*virtio" /proc/interrupts',
  'modprobe -a evdev button 2>/dev/null; grep -c "Sysfs=.*PNP0C0C" /proc/bus/input/devices',
  'dmesg | grep -ciE "oops|bug: |call trace|nobody cared"',
  'true',
].join('\n');

for (const pcie of [false, true]) {
  test(`microvm boots a stock kernel${pcie ? ' with PCI Express' : ''}`, { timeout: 2 * limitMs }, async (t) => {
    const [first, second] = ['a', 'b'].map((name) => join(folder, name + pcie));
    writeFileSync(first, content);
    writeFileSync(second, Buffer.alloc(content.length));
    let session: Awaited<ReturnType<typeof openDebian>>;
    try {
      session = await openDebian({
        suite: 'bookworm',
        flavour: 'cloud-amd64',
        machine: {
          machine: 'microvm',
          microvm: { pcie },
          cpus: pcie ? 1 : 2,
          devices: [
            { type: 'virtio-blk', serial: 'first', image: { path: first, format: 'raw' }, bus: 'mmio', slot: 20 },
            { type: 'virtio-blk', image: { path: second, format: 'raw' } },
          ],
        },
        command: ['sh', '-c', script],
      });
    } catch (error) {
      if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code))
        return t.skip(error.message);
      throw error;
    }
    await using running = session;
    let text = '';
    running.stream('stdout').onData((bytes) => {
      text += Buffer.from(bytes).toString('latin1');
    });
    await running.start();
    running.stream('stdin').endInput();
    assert.equal(await running.exited, 0, `${text}\n${running.kernelLog}`);
    assert.deepEqual(await running.machine.ended, { why: 'poweroff' });
    // Without PCI the console, the entropy source and both disks are in slots; with it one disk is.
    const expected = pcie ? ['1', '1', '4', '1'] : ['2', '4', '0', '4'];
    assert.deepEqual(text.trimEnd().split('\n'), [hash, hash, ...expected, '1', '0'], running.kernelLog);
  });
}
