/** Which mouse hears of the mouse, against QEMU. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { missingOracle, SideBySide } from './testing/side-by-side.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-mice-'));
after(() => rmSync(folder, { recursive: true }));

test('mice are told, chosen and refused as by QEMU', {
  skip: missingOracle !== undefined && `no ${missingOracle}`,
  timeout: 100_000,
}, async () => {
  await using machines = new SideBySide(folder);
  await machines.start(['-usb', '-device', 'usb-tablet,id=t', '-device', 'usb-kbd', '-device', 'virtio-mouse-pci']);
  const same = async (execute: string, given: object = {}) => {
    const [our, their] = await machines.ask(execute, given);
    assert.deepEqual(our, their, `${execute} ${JSON.stringify(given)}`);
  };
  const human = (line: string) => same('human-monitor-command', { 'command-line': line });
  const all = async () => {
    await same('query-mice');
    await human('info mice');
  };
  await all();
  for (const line of ['mouse_set 3', 'mouse_set 4', 'mouse_set 9', 'mouse_set 0', 'mouse_set 5', 'mouse_set 2']) {
    await human(line);
    await all();
  }
  await same('device_add', { driver: 'usb-mouse', id: 'late' });
  await all();
  await human('mouse_set 6');
  await same('device_del', { id: 'late' });
  await all();
});
