/** Drives that are limited and taken away by the human monitor: what is answered, and what QMP tells afterwards, is QEMU's. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Answer } from './testing/qmp-client.js';
import { missingOracle, names, SideBySide } from './testing/side-by-side.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-qmp-drives-'));
after(() => rmSync(folder, { recursive: true }));
const skip = missingOracle && `no ${missingOracle}`;
for (const name of names)
  for (const image of ['a', 'b', 'c']) writeFileSync(join(folder, `${name}-${image}`), new Uint8Array(1 << 20));
const file = (name: string) => join(folder, `NAME-${name}`);

test('drive_del and block_set_io_throttle are answered as by QEMU', { skip, timeout: 100_000 }, async () => {
  await using machines = new SideBySide(folder);
  await machines.start([
    ...['-drive', `file=${file('a')},format=raw,if=none,id=used`, '-device', 'virtio-blk-pci,drive=used,id=card'],
    ...['-drive', `file=${file('b')},format=raw,if=none,id=spare`],
    ...['-blockdev', `driver=file,filename=${file('c')},node-name=node`],
    ...['-blockdev', `driver=raw,file=node,node-name=top`, '-device', 'virtio-blk-pci,drive=top,id=second'],
    ...['-drive', 'if=none,id=tray,media=cdrom', '-device', 'ide-cd,drive=tray,id=cd'],
  ]);
  const human = async (line: string): Promise<string> => {
    const [our, their] = await machines.ask('human-monitor-command', { 'command-line': line });
    assert.deepEqual(our, their, line);
    return our.return;
  };
  const throttling = async () => {
    const lines = await Promise.all(
      [machines.ours, machines.theirs].map(async (client) => {
        const asked = { execute: 'human-monitor-command', arguments: { 'command-line': 'info block used' } };
        const told: string = (await client.ask(JSON.stringify(asked))).return;
        return told.split(/\r?\n/).filter((line) => line.includes('throttling'));
      }),
    );
    assert.deepEqual(lines[0], lines[1]);
    return lines[0];
  };
  assert.equal((await throttling()).length, 0);
  await human('block_set_io_throttle used 0 1000 2000 0 30 0x40');
  assert.match((await throttling())[0]!, /bps_rd=1000 bps_wr=2000 .* iops_wr=64 /);
  for (const line of ['used 1 2 3 4 5 6', 'used -1 0 0 0 0 0', 'used 0 1000000000000001 0 0 0 0', 'tray 1 0 0 0 0 0'])
    assert.notEqual(await human(`block_set_io_throttle ${line}`), '');
  await human('block_set_io_throttle nobody 0 0 0 0 0 0');
  assert.equal((await throttling()).length, 1);
  await human('block_set_io_throttle used 0 0 0 0 0 0');
  assert.equal((await throttling()).length, 0);

  const added = `if=none,id=more,format=raw,file=${file('b')}`;
  for (const line of [added, added, `if=none,id=none,format=raw,file=${file('none')}`])
    await human(`drive_add 0 ${line}`);
  await human('drive_del none');
  await human('drive_del more');
  await human('drive_del nobody');
  await human('drive_del spare');
  await human('drive_del spare');
  await human('drive_del node');
  await human('drive_del top');
  await human('drive_del used');
  await human('drive_del used');
  await human('drive_del tray');
  // QEMU names those that were made by the command line first.
  const files = (answer: Answer) =>
    answer.return.map(({ device, inserted }: Answer) => device + (inserted?.file ?? ''));
  const [our, their] = await machines.ask('query-block');
  assert.deepEqual(files(our).sort(), files(their).sort());
  assert.deepEqual(files(our).sort(), ['', '', 'image-c']);
  for (const device of ['used', 'tray']) {
    const [eject, theirs] = await machines.ask('eject', { device });
    assert.deepEqual(eject, theirs);
  }
});

test('media, resets and cables by both monitors: answers and events are those of QEMU', {
  skip,
  timeout: 100_000,
}, async () => {
  await using machines = new SideBySide(folder);
  await machines.start([
    ...['-drive', 'if=none,id=tray,media=cdrom', '-device', 'ide-cd,drive=tray,id=cd'],
    ...['-drive', `file=${file('a')},format=raw,if=none,id=disk`, '-device', 'ide-hd,drive=disk,id=hd'],
    ...['-netdev', 'user,id=net', '-device', 'e1000,netdev=net,id=nic'],
  ]);
  const same = async (execute: string, given?: object) => {
    const [our, their] = await machines.ask(execute, given);
    assert.deepEqual(our, their, `${execute} ${JSON.stringify(given)}`);
    return our;
  };
  const human = (line: string) => same('human-monitor-command', { 'command-line': line });
  const moves = async (open: boolean) => {
    const [our, their] = await machines.events(
      ({ event, data }) => event === 'DEVICE_TRAY_MOVED' && data['tray-open'] === open,
    );
    assert.deepEqual(our, their);
    return our.length;
  };
  for (const line of [
    'eject disk',
    'eject nobody',
    `change disk ${file('b')} raw`,
    'change nobody x',
    `change tray ${file('none')}`,
  ])
    assert.notEqual((await human(line)).return, '', line);
  // A tray that nothing could be put into has not moved.
  await human('eject tray');
  assert.equal(await moves(true), 1);
  await human(`change tray ${file('none')}`);
  await human(`change tray ${file('b')} raw`);
  assert.equal(await moves(false), 1);
  await human(`change tray ${file('none')}`);
  await human(`change tray ${file('b')} raw`);
  assert.equal(await moves(false), 2);
  await same('blockdev-change-medium', { id: 'cd', filename: file('none') });
  await same('eject', { id: 'hd' });
  const places = (answer: Answer) => answer.return.map(({ device, qdev }: Answer) => [device, qdev]);
  const [our, their] = await machines.ask('query-block');
  assert.deepEqual(places(our), places(their));
  for (const name of ['nic', 'net', 'nobody']) {
    await human(`set_link ${name} off`);
    await same('set_link', { name, up: true });
  }
  // Before it runs there is nothing that stops; who asks for a reset in words is its owner all the same.
  await same('stop');
  await human('stop');
  const told = async (name: string) => {
    const [ours, theirs] = await machines.events(({ event }) => event === name);
    assert.deepEqual(ours, theirs);
  };
  await human('system_reset');
  await told('RESET');
  await same('cont');
  await told('RESUME');
  await human('system_powerdown');
  await told('POWERDOWN');
  await same('system_reset');
  await told('RESET');
  await human('stop');
  await told('STOP');
});
