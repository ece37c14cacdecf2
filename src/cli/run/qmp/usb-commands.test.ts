/** USB devices that come and go, by QMP and the human monitor: answers and events are QEMU's. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Answer } from './testing/qmp-client.js';
import { missingOracle, names, SideBySide } from './testing/side-by-side.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-qmp-usb-'));
after(() => rmSync(folder, { recursive: true }));
const skip = missingOracle && `no ${missingOracle}`;
for (const name of names)
  for (const image of ['disk', 'cd']) writeFileSync(join(folder, `${name}-${image}`), new Uint8Array(1 << 20));

/** What a device is called, and how fast a disk is: the one thing that is told otherwise. */
const alike = (answer: Answer): Answer =>
  JSON.parse(
    JSON.stringify(answer)
      .replaceAll('QEMU USB MSD', 'VRING USB HARDDRIVE')
      .replaceAll('QEMU', 'VRING')
      .replaceAll('Speed 5000', 'Speed 480'),
  );

test('USB devices come and go, and are refused, as with QEMU', { skip, timeout: 200_000 }, async () => {
  await using machines = new SideBySide(folder);
  await machines.start([
    ...['-usb', '-device', 'qemu-xhci,id=x', '-device', 'usb-mouse,id=early'],
    ...['-drive', `file=${join(folder, 'NAME-disk')},format=raw,if=none,id=d0`],
  ]);
  const asked: Answer[] = [];
  const same = async (execute: string, given: object) => {
    const [our, their] = await machines.ask(execute, given);
    assert.deepEqual(our, alike(their), `${execute} ${JSON.stringify(given)}`);
    asked.push(our);
    return our;
  };
  const add = (driver: string, members: object = {}) => same('device_add', { driver, ...members });
  const human = (line: string) => same('human-monitor-command', { 'command-line': line });
  const remove = async (id: string) => {
    assert.deepEqual(await same('device_del', { id }), { return: {} });
    const [our, their] = await machines.events(({ data }) => data.device === id.split('/').pop());
    assert.deepEqual(our, their);
  };
  await human('info usb');
  await add('usb-tablet', { id: 't' });
  await add('usb-tablet', { id: 't' });
  await add('usb-kbd', { id: 'k', bus: 'usb-bus.0' });
  await add('usb-mouse', { id: 'm', bus: 'usb-bus.0' });
  await add('usb-hub', { id: 'h', bus: 'x.0', port: '3' });
  await add('usb-kbd', { id: 'hk', bus: 'x.0', port: '3.5' });
  await add('usb-kbd', { id: 'no', bus: 'x.0', port: '3.5' });
  await add('usb-kbd', { id: 'no', bus: 'x.0', port: '3.9' });
  await add('usb-kbd', { id: 'no', bus: 'y.0' });
  await add('usb-kbd', { id: 'no', bus: 'pci.0' });
  await add('usb-kbd', { id: '1' });
  await add('usb-kbd', { id: 'no', frob: true });
  await add('usb-nothing', { id: 'no' });
  await add('usb-storage', { id: 'no', drive: 'nothing' });
  const node = { driver: 'raw', 'node-name': 'n0', 'read-only': true };
  await same('blockdev-add', { ...node, file: { driver: 'file', filename: join(folder, 'NAME-disk') } });
  await add('usb-storage', { id: 's', drive: 'n0', removable: true });
  await add('usb-storage', { id: 's', drive: 'd0' });
  await human('info usb');
  const [blocks] = await machines.ask('query-block');
  assert.deepEqual(
    blocks.return.map(({ device, qdev }: Answer) => [device, qdev]),
    [
      ['', '/machine/peripheral/s/s.0/legacy[0]'],
      ['d0', undefined],
    ],
  );
  await same('blockdev-del', { 'node-name': 'nothing' });
  await remove('s');
  assert.deepEqual(await same('blockdev-del', { 'node-name': 'n0' }), { return: {} });
  await remove('h');
  await remove('/machine/peripheral/t');
  await remove('early');
  await same('device_del', { id: 't' });
  await same('device_del', { id: '/machine/peripheral/t' });
  for (let i = 0; i < 6; i++) await add('usb-mouse', { id: `m${i}` });
  await human('device_add usb-storage,id=hs,drive=d0,port=1.8');
  await human(`drive_add 0 if=none,id=cd,file=${join(folder, 'NAME-cd')},format=raw,media=cdrom`);
  await add('usb-storage', { id: 'c', drive: 'cd' });
  const lists = await machines.ask('human-monitor-command', { 'command-line': 'info block' });
  const [our, their] = lists.map((list) => list.return.match(/^ {4}(Attached to|Removable device): .*$/gm));
  assert.equal(our.length, 3);
  assert.deepEqual(our, their);
  await same('eject', { device: 'cd', force: true });
  const [ourTray, theirTray] = await machines.events(({ event }) => event === 'DEVICE_TRAY_MOVED');
  assert.deepEqual(ourTray, theirTray);
  await human('info usb');
  await human('device_del hs');
  await human('device_del hs');
  await human('device_add usb-mouse,id=m0');
  await human('device_add usb-mouse,bus=y.0');
  await human('info usb');
  await add('qemu-xhci', { id: 'y' });
  await add('piix3-usb-uhci');
  await add('qemu-xhci', { id: 'y' });
  await add('usb-mouse', { id: 'late' });
  await add('usb-mouse', { id: 'y1', bus: 'y.0' });
  await add('usb-mouse', { id: 'u1', bus: 'usb-bus.1' });
  await human('info usb');
  // QEMU has taken a port by then, and gives it back as the last.
  await human('device_add usb-storage,id=none');
  assert.ok(asked.length > 40);
});

test('a machine without USB says so, as QEMU', { skip, timeout: 200_000 }, async () => {
  await using machines = new SideBySide(folder);
  await machines.start([]);
  for (const [execute, given] of [
    ['human-monitor-command', { 'command-line': 'info usb' }],
    ['device_add', { driver: 'usb-mouse', id: 'm' }],
    ['device_add', { driver: 'usb-storage', id: 'm' }],
  ] as const) {
    const [our, their] = await machines.ask(execute, given);
    assert.deepEqual(our, their);
  }
});
