/** What is asked about memory and parts of a board, and disks of a machine that was made without any, against QEMU. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { missingOracle, names, SideBySide } from './testing/side-by-side.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-board-'));
after(() => rmSync(folder, { recursive: true }));
const skip = missingOracle && `no ${missingOracle}`;
const path = (file: string) => join(folder, `NAME-${file}`);

test('memory, parts and disks that come later are told of as by QEMU', { skip, timeout: 100_000 }, async () => {
  for (const name of names) {
    const image = join(folder, `${name}-disk`);
    writeFileSync(image, '');
    truncateSync(image, 1 << 20);
  }
  await using machines = new SideBySide(folder);
  await machines.start(['-uuid', '01234567-89ab-cdef-0123-456789abcdef']);
  const same = async (execute: string, given?: object) => {
    const [our, their] = await machines.ask(execute, given);
    assert.deepEqual(our, their, `${execute} ${JSON.stringify(given)}`);
  };
  const human = (line: string) => same('human-monitor-command', { 'command-line': line });
  for (const name of ['memory-size-summary', 'memory-devices', 'migrate', 'pr-managers', 'tpm', 'yank', 'rx-filter'])
    await same(`query-${name}`);
  for (const name of ['query-vm-generation-id', 'system_wakeup', 'rtc-reset-reinjection']) await same(name);
  for (const topic of ['uuid', 'memory_size_summary', 'balloon']) await human(`info ${topic}`);
  await human('balloon 10');
  const range = { val: 0xfffffff0, size: 16 };
  await same('pmemsave', { ...range, filename: path('saved') });
  await same('pmemsave', { ...range, filename: '/nowhere/saved' });
  await same('memsave', { val: 0, size: 5000, filename: path('virtual'), 'cpu-index': 7 });
  await same('memsave', { val: 0xfff, size: 5000, filename: path('virtual'), 'cpu-index': 0 });
  for (const file of ['saved', 'virtual'])
    assert.deepEqual(...(names.map((name) => readFileSync(join(folder, `${name}-${file}`))) as [Buffer, Buffer]));
  // Disks come to a machine that had none.
  const node = { driver: 'raw', 'node-name': 'n0', file: { driver: 'file', filename: path('disk') } };
  await same('blockdev-add', node);
  await same('device_add', { driver: 'virtio-blk-pci', drive: 'n0', id: 'd' });
  for (const line of ['info block', 'info block -v', 'info block -n n0', 'info block -v nothing']) await human(line);
  const socket = path('nbd');
  await human(`nbd_server_start unix:${socket}`);
  await human('nbd_server_add n0');
  await human('nbd_server_add nothing');
  await human('nbd_server_remove -f nothing');
  await human('nbd_server_remove n0');
  await human('nbd_server_add n0 other');
  await human('nbd_server_stop');
});

test('drives that no device has are open, shown, and have their media changed', {
  skip,
  timeout: 100_000,
}, async () => {
  for (const name of names) {
    for (const which of ['spare', 'other']) {
      writeFileSync(join(folder, `${name}-${which}`), '');
      truncateSync(join(folder, `${name}-${which}`), 1 << 20);
    }
  }
  await using machines = new SideBySide(folder);
  const spare = `if=none,id=sp,format=raw,file=${path('spare')}`;
  await machines.start(['-drive', spare, '-drive', 'if=none,id=em', '-device', 'virtio-scsi-pci']);
  const unnamed = (answer: unknown) => JSON.parse(JSON.stringify(answer).replace(/#block\d+/g, '#block'));
  const same = async (execute: string, given?: object) => {
    const [our, their] = await machines.ask(execute, given);
    assert.deepEqual(unnamed(our), unnamed(their), `${execute} ${JSON.stringify(given)}`);
  };
  const human = (line: string) => same('human-monitor-command', { 'command-line': line });
  for (const line of [
    ...[
      'info block',
      'eject sp',
      'info block',
      `change em ${path('spare')} raw`,
      'info block',
      'change sp /no/file raw',
    ],
    ...[`drive_add 0 if=none,id=late,format=raw,file=${path('other')}`, 'info block'],
  ])
    await human(line);
  await same('query-block');
  await same('device_add', { driver: 'scsi-cd', drive: 'em', id: 'cd' });
  await same('device_add', { driver: 'scsi-hd', drive: 'sp', id: 'hd' });
  await human('drive_del late');
  await human('info block late');
});
