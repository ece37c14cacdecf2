/** Objects, what happens at the end, VNC and commit by both monitors, against QEMU. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { Answer } from './testing/qmp-client.js';
import { missingOracle, names, SideBySide } from './testing/side-by-side.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-run-commands-'));
after(() => rmSync(folder, { recursive: true }));
const skip = missingOracle && `no ${missingOracle}`;

test('objects come and go', { skip, timeout: 100_000 }, async () => {
  await using machines = new SideBySide(folder);
  await machines.start([
    ...['-object', 'rng-random,id=r0,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=r0'],
    ...['-object', 'memory-backend-ram,size=16M,id=ram', '-M', 'memory-backend=ram'],
  ]);
  const ask = async (execute: string, given?: object) => {
    const [our, their] = await machines.ask(execute, given);
    for (const answer of [our, their])
      for (const thread of Array.isArray(answer.return) ? answer.return : []) delete thread['thread-id'];
    assert.deepEqual(our, their, `${execute} ${JSON.stringify(given)}`);
    return our;
  };
  const add = (type: string, id: string, more: object = {}) => ask('object-add', { 'qom-type': type, id, ...more });
  const remove = (id: string) => ask('object-del', { id });
  await add('secret', 's1', { data: 'x' });
  assert.match((await add('secret', 's1', { data: 'x' })).error.desc, /duplicate/);
  for (const wrong of [{}, { data: 'x', file: 'y' }, { data: 5 }, { data: 'x', more: 1 }])
    await add('secret', 's2', wrong);
  await add('secret', '5', { data: 'x' });
  await add('no-such-type', 's2');
  await add('throttle-group', 'g', { limits: { 'iops-total': 100 } });
  const node = { driver: 'throttle', 'node-name': 't', 'throttle-group': 'g', file: { driver: 'null-co', size: 512 } };
  await ask('blockdev-add', node);
  assert.match((await remove('g')).error.desc, /in use/);
  await ask('blockdev-del', { 'node-name': 't' });
  for (const id of ['g', 'g', 's1', 'none']) await remove(id);
  assert.match((await ask('blockdev-add', node)).error.desc, /does not exist/);
  await add('rng-builtin', 'r1');
  await ask('device_add', { driver: 'virtio-rng-pci', rng: 'r1', id: 'rd1' });
  await remove('r1');
  await add('iothread', 'io1');
  await ask('query-iothreads');
  await remove('io1');
  await ask('query-memdev');
  await add('memory-backend-ram', 'm1', { size: 1 << 20 });
  await remove('m1');
  assert.match((await remove('ram')).error.desc, /in use/);
  await add('memory-backend-ram', 'm2');
  await add('memory-backend-ram', 'm2', { size: 'x' });
  for (const words of [{}, { panic: 'x' }, { panic: 'pause', reboot: 'shutdown', watchdog: 'none' }])
    await ask('set-action', words);
  await ask('watchdog-set-action', { action: 'pause' });
  await ask('watchdog-set-action', { action: 'x' });
});

test('the same and more for people', { skip, timeout: 100_000 }, async () => {
  const image = (name: string, which: string) => join(folder, `${name}-${which}`);
  for (const name of names) {
    execFileSync('qemu-img', ['create', '-q', '-f', 'raw', image(name, 'base'), '1M']);
    const backing = ['-b', image(name, 'base'), '-F', 'raw', image(name, 'over')];
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...backing]);
    execFileSync('qemu-io', ['-c', 'write -P 5 0 64k', image(name, 'over')]);
  }
  await using machines = new SideBySide(folder);
  await machines.start([
    ...[
      '-drive',
      `file=${image('NAME', 'over')},id=d0,if=virtio`,
      '-drive',
      'if=none,id=empty,media=cdrom',
      '-device',
      'ide-cd,drive=empty',
    ],
    ...[
      '-vga',
      'std',
      '-vnc',
      `unix:${image('NAME', 'vnc')},password=on`,
      '-object',
      'iothread,id=io',
      '-netdev',
      'user,id=n0',
    ],
  ]);
  const lines = [
    ...['commit d0', 'commit all', 'commit empty', 'commit none', 'info vnc', 'expire_password vnc +5'],
    ...['set_password vnc x', 'set_password vnc y keep', 'expire_password foo now', 'object_add secret,id=s,data=x'],
    ...[
      'object_add secret,id=s,data=x',
      'object_del s',
      'object_del s',
      'object_add foo,id=x',
      'object_add secret,id=x',
    ],
    ...['object_add {"qom-type":"secret","id":"z","data":"a"}', 'watchdog_action pause', 'watchdog_action foo'],
    ...[
      'info iothreads',
      'info memdev',
      'info numa',
      'info usernet',
      'info tpm',
      'info memory-devices',
      'system_wakeup',
    ],
    ...[
      'boot_set c',
      'boot_set cc',
      'boot_set acdn',
      'boot_set nc',
      'boot_set e',
      'boot_set x',
      'o/b 0x70 0x3d',
      'i/b 0x71',
    ],
  ];
  const alike = (answer: Answer) => JSON.parse(JSON.stringify(answer).replace(/thread_id=\d+/, 'thread_id=N'));
  for (const line of lines) {
    const [our, their] = await machines.ask('human-monitor-command', { 'command-line': line });
    assert.deepEqual(alike(our), alike(their), line);
  }
  const [our, their] = await machines.ask('query-vnc-servers');
  assert.deepEqual(our, their);
  for (const name of names) {
    execFileSync('qemu-io', ['-r', '-f', 'raw', '-c', 'read -P 5 0 64k', image(name, 'base')]);
    const map = execFileSync('qemu-img', ['map', '-U', '--output=json', image(name, 'over')]).toString();
    assert.doesNotMatch(map, /"depth": 0/, 'the overlay has nothing of its own any more');
  }
});

test('cards tell where they are', { skip, timeout: 100_000 }, async () => {
  await using machines = new SideBySide(folder);
  await machines.start([
    ...['-netdev', 'user,id=n0,ipv6=off', '-device', 'e1000,netdev=n0,id=c', '-netdev', 'user,id=n1,ipv6=off'],
    ...['-device', 'rtl8139,netdev=n1', '-object', `filter-dump,id=f,netdev=n0,file=${join(folder, 'NAME.pcap')}`],
    ...['-object', `filter-dump,id=g,netdev=n1,file=${join(folder, 'NAME-other.pcap')}`],
  ]);
  const pace = { initial: 10, max: 50, rounds: 3, step: 10 };
  for (const given of [{ ...pace, interfaces: ['c'] }, { initial: 10 }]) {
    const [our, their] = await machines.ask('announce-self', given);
    assert.deepEqual(our, their);
  }
  /** Frames of a capture: behind a header of 24 bytes each has one of 16, where its length is at 8 (libpcap). */
  const frames = (file: string): string[] => {
    const bytes = readFileSync(file);
    const all: string[] = [];
    for (let at = 24; at + 16 <= bytes.length; at += 16 + bytes.readUInt32LE(at + 8))
      all.push(bytes.subarray(at + 16, at + 16 + bytes.readUInt32LE(at + 8)).toString('hex'));
    return all;
  };
  const captured = (suffix: string) => names.map((name) => frames(join(folder, `${name}${suffix}.pcap`)));
  for (let i = 0; i < 100 && captured('').some((each) => each.length < 3); i++) await wait(50);
  const [ours, theirs] = captured('');
  assert.deepEqual([ours, theirs.length], [theirs, 3]);
  await machines.ask('human-monitor-command', { 'command-line': 'announce_self' });
  for (let i = 0; i < 100 && captured('-other').some((each) => each.length < 5); i++) await wait(50);
  const [ourOther, theirOther] = captured('-other');
  assert.deepEqual([ourOther, theirOther.length], [theirOther, 5]);
});
