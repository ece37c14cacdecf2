/**
 * The board q35 under Debian's amd64 kernel: its disk on the built-in AHCI controller, and another behind a root port, by INTx through the
 * I/O APIC; configuration space in memory; the power switched off.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openDebian, VringError } from './index.js';

const limitMs = 300_000;
const folder = mkdtempSync(join(tmpdir(), 'vring q35 '));
after(() => rmSync(folder, { recursive: true }));

test('q35 boots a stock kernel, which finds its parts and switches off', { timeout: 2 * limitMs }, async (t) => {
  const path = join(folder, 'disk');
  const content = Buffer.alloc(8 << 20);
  for (let i = 0; i < content.length; i += 4) content.writeUInt32LE(Math.imul(i + 5, 2654435761) >>> 0, i);
  const second = join(folder, 'second');
  writeFileSync(path, content);
  writeFileSync(second, content);
  const script = [
    'modprobe -a ahci sd_mod i2c_i801; for i in 1 2 3 4 5 6 7 8 9; do [ -b /dev/sda ] && break; sleep 1; done',
    'sha256sum < /dev/sda; sha256sum < /dev/vda; cat /sys/bus/pci/devices/0000:01:00.0/device',
    'grep -c "1[6-9]:.*fasteoi.*ahci" /proc/interrupts',
    'dmesg | grep -c "MMCONFIG at .*reserved in ACPI"',
    'dmesg | grep -c "i801_smbus.*using PCI interrupt"',
    'dmesg | grep -ciE "oops|bug:|call trace|nobody cared"',
    'true',
  ].join('\n');
  let session: Awaited<ReturnType<typeof openDebian>>;
  try {
    session = await openDebian({
      suite: 'bookworm',
      flavour: 'amd64',
      machine: {
        machine: 'q35',
        commandLine: 'pci=nomsi',
        devices: [
          { type: 'ide', media: 'disk', image: { path, format: 'raw' } },
          { type: 'pcie-root-port', id: 'port', slot: 5 },
          { type: 'virtio-blk', slot: 'port', image: { path: second, format: 'raw' } },
        ],
      },
      command: ['sh', '-c', script],
    });
  } catch (error) {
    if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code)) return t.skip(error.message);
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
  const hash = `${createHash('sha256').update(content).digest('hex')}  -`;
  assert.deepEqual(text.trimEnd().split('\n'), [hash, hash, '0x1042', '1', '1', '1', '0'], running.kernelLog);
});
