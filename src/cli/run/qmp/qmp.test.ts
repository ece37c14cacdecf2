import assert from 'node:assert/strict';
import { type StdioOptions, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { VringError } from '../../../vmm/index.js';
import { KeyValues } from '../../options/key-values.js';
import { SocketBackend } from '../backends/socket.js';
import { planSocket } from '../chardev-socket.js';
import { monitoredRun } from '../testing/monitored-run.js';
import { qmpCommands } from './commands.js';
import { QmpFramer } from './framer.js';
import { QmpMonitor } from './serve.js';
import { Client, socketClient } from './testing/qmp-client.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-qmp-'));
after(() => rmSync(folder, { recursive: true }));
const noQemu = spawnSync('qemu-system-x86_64', ['--version']).status !== 0 && 'no qemu-system-x86_64';

/** A machine as far as QMP asks of one. */
function fakeMachine() {
  const calls: string[] = [];
  const listeners = new Map<string, (...args: unknown[]) => void>();
  const machine = {
    state: 'running',
    stopReason: undefined as string | undefined,
    accelerator: 'tcg',
    pause: async () => void calls.push('pause'),
    resume: async () => void calls.push('resume'),
    reset: async () => {
      calls.push('reset');
      listeners.get('reset')?.(true);
    },
    pressPowerButton: async () => {
      calls.push('powerButton');
      listeners.get('powerButton')?.();
    },
    injectNmi: async () => void calls.push('nmi'),
    vncState: async (): Promise<unknown> => undefined,
    setVncPassword: async (password?: Uint8Array) =>
      void calls.push(`password ${password ? Buffer.from(password).toString() : 'none'}`),
    sendInput: async (events: object[]) => void calls.push(JSON.stringify(events)),
    ejectMedium: async (id: string) => {
      if (id === 'ide0-hd0') throw new VringError('disk-fixed', 'The medium of this disk cannot be changed.');
      calls.push(`eject ${id}`);
      listeners.get('trayMoved')?.(id, true);
    },
    changeMedium: async (id: string, image: object) => void calls.push(`change ${id} ${JSON.stringify(image)}`),
    disks: async () => [
      {
        ...{
          id: 'ide0-hd0',
          isNode: false,
          limits: {},
          removable: false,
          inserted: true,
          nodeName: '#b1',
          filename: 'a',
          format: 'raw',
        },
        ...{ readonly: false, cache: 'none', sizeBytes: 1024, backing: undefined },
      },
      { id: 'ide1-cd0', isNode: false, removable: true, inserted: false, tray: { open: true, locked: false } },
    ],
    blockNodes: async () => [
      {
        ...{ nodeName: '#b1', driver: 'raw', filename: 'a', readonly: false, cache: 'none', detectZeroes: 'off' },
        ...{
          encrypted: false,
          images: [{ filename: 'a', format: 'raw', virtualSize: 1024, snapshots: [] }],
          bitmaps: [],
        },
      },
    ],
    on: (event: string, listener: (...args: unknown[]) => void) => {
      listeners.set(event, listener);
      return () => listeners.delete(event);
    },
  };
  return {
    machine: machine as never,
    state: machine,
    calls,
    tell: (event: string, ...args: unknown[]) => listeners.get(event)?.(...args),
  };
}

/** A program that is ended, however the test ends. */
function started(program: string, args: readonly string[], stdio: StdioOptions) {
  const child = spawn(program, args, { stdio });
  const ended = new Promise<number | null>((resolve) => child.on('exit', resolve));
  return {
    child,
    ended,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

let sockets = 0;
/** With whoever talks to it: all of it is gone when the test is, however that ends. */
async function served() {
  const fake = fakeMachine();
  const path = join(folder, `s${sockets++}`);
  let quits = 0;
  const backend = await SocketBackend.open('-qmp', planSocket(KeyValues.parse('-qmp', `path=${path},server=on`)));
  const program = new QmpMonitor(
    {
      ...monitoredRun(fake.machine, { name: 'box', quit: () => void quits++ }),
      cpus: 2,
      architecture: 'x86_64',
    },
    { write: (text) => void backend.write(text), cut: () => backend.hangUp() },
  );
  backend.attach({
    opened: () => program.opened(),
    closed: () => program.closed(),
    input: (bytes) => program.input(bytes),
    settled: () => program.settled(),
    sendBreak: () => {},
  });
  const { client, socket } = socketClient(path);
  return {
    ...fake,
    ...{ client, socket, path, quits: () => quits },
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
      await program.close();
      await backend.close();
    },
  };
}

test('greeting, negotiation, commands, events', async () => {
  await using at = await served();
  const { client, calls, tell, quits, state } = at;
  const greeting = await client.next();
  assert.deepEqual(greeting.QMP.version.qemu, { micro: 0, minor: 2, major: 7 });
  tell('state', 'running');
  assert.equal((await client.ask('{"execute":"query-status"}')).error.class, 'CommandNotFound');
  assert.deepEqual(await client.ask('{"execute":"qmp_capabilities","id":[1,{"a":2}]}'), {
    return: {},
    id: [1, { a: 2 }],
  });
  assert.deepEqual(client.events, [], 'no event before the negotiation');
  const run = async (execute: string, given?: object) =>
    (await client.ask(JSON.stringify({ execute, ...(given ? { arguments: given } : {}) }))).return;
  assert.deepEqual(await run('query-status'), { status: 'running', running: true, singlestep: false });
  state.state = 'paused';
  state.stopReason = 'io-error';
  assert.deepEqual(await run('query-status'), { status: 'io-error', running: false, singlestep: false });
  assert.deepEqual(await run('query-name'), { name: 'box' });
  assert.equal((await run('query-cpus-fast')).length, 2);
  assert.deepEqual(
    (await run('query-commands')).map(({ name }: { name: string }) => name),
    qmpCommands.map(({ name }) => name),
  );
  const blocks = await run('query-block');
  assert.deepEqual(
    [blocks[0].inserted.cache, blocks[0].inserted.image['virtual-size'], blocks[1].tray_open, 'inserted' in blocks[1]],
    [{ writeback: true, direct: true, 'no-flush': false }, 1024, true, false],
  );
  for (const name of ['stop', 'cont', 'system_reset', 'system_powerdown', 'inject-nmi'])
    assert.deepEqual(await run(name), {});
  assert.deepEqual(await run('eject', { id: 'ide1-cd0' }), {});
  assert.deepEqual(await run('blockdev-change-medium', { device: 'ide1-cd0', filename: 'x.iso', format: 'raw' }), {});
  await run('send-key', { keys: [{ type: 'qcode', data: 'a' }], 'hold-time': 1 });
  assert.equal(await run('human-monitor-command', { 'command-line': 'info name' }), 'box\r\n');
  assert.deepEqual(calls.slice(0, 7), [
    'pause',
    'resume',
    'reset',
    'powerButton',
    'nmi',
    'eject ide1-cd0',
    'change ide1-cd0 {"path":"x.iso","format":"raw"}',
  ]);
  const keys = calls.slice(7, 9).map((text) => JSON.parse(text));
  assert.deepEqual(
    keys.map(([{ down }]) => down),
    [true, false],
  );
  tell('ended', { why: 'poweroff' });
  assert.deepEqual(await run('quit'), {});
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(quits(), 1);
  assert.deepEqual(
    client.events.map(({ event, data }) => [event, data]),
    [
      ['RESET', { guest: false, reason: 'host-qmp-system-reset' }],
      ['POWERDOWN', undefined],
      ['DEVICE_TRAY_MOVED', { device: 'ide1-cd0', id: 'ide1-cd0', 'tray-open': true }],
      ['SHUTDOWN', { guest: true, reason: 'guest-shutdown' }],
    ],
  );
});

test('mistakes are answered as QEMU answers them', { skip: noQemu }, async () => {
  const rom = join(folder, 'halt.bin');
  writeFileSync(rom, new Uint8Array(0x10000).fill(0xf4));
  const args = ['-M', 'pc', '-accel', 'tcg', '-bios', rom, '-display', 'none', '-m', '16', '-qmp', 'stdio'];
  await using qemu = started('qemu-system-x86_64', args, ['pipe', 'pipe', 'ignore']);
  const { stdin, stdout } = qemu.child;
  const theirs = new Client(stdout as Readable, (text) => void stdin?.write(text));
  await using at = await served();
  const { client: ours } = at;
  const [a, b] = [await ours.next(), await theirs.next()];
  assert.deepEqual(Object.keys(a.QMP), Object.keys(b.QMP));
  assert.equal(a.QMP.version.qemu.major, b.QMP.version.qemu.major);
  for (const text of [
    '{"execute":"query-status"}',
    '{"execute":"qmp_capabilities","arguments":{"x":1}}',
    '{"execute":"qmp_capabilities"}',
    '{"execute":"qmp_capabilities"}',
    '{"execute":"nonsense"}',
    '{"execute":"nonsense","id":"x"}',
    '{"execute":5}',
    '{"arguments":{}}',
    '{"execute":"stop","arguments":[]}',
    '{"execute":"stop","more":1}',
    '{"execute":"stop","arguments":{"x":1}}',
    '[1,2]',
    '{"execute":"eject","arguments":{}}',
    '{"execute":"eject","arguments":{"device":5}}',
    '{"execute":"eject","arguments":{"device":"no-such"}}',
    '{"execute":"eject","arguments":{"device":"a","id":"b"}}',
    '{"execute":"human-monitor-command"}',
    '{"execute":"human-monitor-command","arguments":{"command-line":3}}',
    "{'execute':'query-kvm','id':null}",
    '{"execute":"query-target"}',
    '{"execute":"query-uuid"}',
    '{"execute":"send-key","arguments":{"keys":[{"type":"x"}]}}',
    '{"execute":"send-key","arguments":{"keys":[{"type":"qcode","data":7}]}}',
    '{"execute":"send-key","arguments":{"keys":[{"type":"qcode","data":"nokey"}]}}',
    '{"execute":"send-key","arguments":{"keys":[{"type":"number"}]}}',
    '{"execute":"send-key","arguments":{"keys":[{"data":"a"}]}}',
    '{"execute":"send-key","arguments":{"keys":[5]}}',
    '{"execute":"send-key","arguments":{"keys":{}}}',
    '{"execute":"send-key","arguments":{"keys":[{"type":"qcode","data":"a","more":{}}]}}',
    '{"execute":"input-send-event","arguments":{"events":[{"type":"abs","data":{"axis":"z","value":1}}]}}',
    '{"execute":"input-send-event","arguments":{"events":[{"type":"abs","data":{"axis":"x","value":"1"}}]}}',
    '{"execute":"set_password","arguments":{"protocol":"x","password":"x"}}',
    '{"execute":"set_password","arguments":{"protocol":"vnc","password":"x","display":5}}',
    '{"execute":"nbd-server-start","arguments":{"addr":{"type":"inet","data":{"host":"h"}}}}',
    '{"execute":"nbd-server-start","arguments":{"addr":{"type":"unix","path":"h"}}}',
    '{"execute":"nbd-server-start","arguments":{"addr":{"data":{"path":"h"}}}}',
    '{"execute":"block-dirty-bitmap-merge","arguments":{"node":"n","target":"t","bitmaps":[5]}}',
    '{"execute":"block-dirty-bitmap-merge","arguments":{"node":"n","target":"t","bitmaps":[{"node":"x"}]}}',
    '{"execute":"blockdev-reopen","arguments":{"options":[{"driver":"qcow2","file":[]}]}}',
    '{"execute":"blockdev-reopen","arguments":{"options":[{"driver":"qcow2","file":"x","overlap-check":"y"}]}}',
    '{"execute":"blockdev-create","arguments":{"job-id":"j","options":{"driver":"qcow2","file":"f","size":"x"}}}',
    '{"execute":"blockdev-create","arguments":{"job-id":"j","options":{"driver":"file","filename":"f"}}}',
    '{"execute":"netdev_add","arguments":{"id":"n","type":"user","hostfwd":[{"str":5}]}}',
    '{"execute":"netdev_add","arguments":{"id":"n","type":"user","no":5}}',
    '{"execute":"netdev_add","arguments":{"id":"n","type":"socket","listen":5}}',
    '{"execute":"device_add","arguments":{"id":"n"}}',
    '{"execute":"blockdev-change-medium","arguments":{"id":"n","filename":"f","read-only-mode":"x"}}',
    '{"execute":"screendump","arguments":{"filename":"f","format":"gif"}}',
    '{"execute":"transaction","arguments":{"actions":[{"type":"abort"}]}}',
    '{"execute":"transaction","arguments":{"actions":[{"type":"abort","data":[]}]}}',
    '{"execute":"transaction","arguments":{"actions":[{"type":"drive-backup","data":{"device":"d","sync":"x"}}]}}',
    '{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"events"}]}}',
  ]) {
    const [our, their] = [await ours.ask(text), await theirs.ask(text)];
    if (text.includes('query-kvm')) for (const answer of [our, their]) answer.return.present = true;
    assert.deepEqual(our, their, text);
  }
});

test('hostile input: depth, size, floods, rubbish; the next client is served', async () => {
  await using at = await served();
  const { client, socket, path } = at;
  await client.next();
  assert.match((await client.ask(`${'['.repeat(3000)}\n`)).error.desc, /JSON/);
  assert.match((await client.ask(`rubbish {"execute":\n`)).error.desc, /JSON parse error/);
  assert.match((await client.ask('{"execute": "\\ud800", "__proto__": 1}')).error.class, /./);
  assert.match((await client.ask('{"execute" 1}')).error.desc, /JSON parse error/);
  assert.match((await client.ask(`{"execute":"${'x'.repeat(2 << 20)}`)).error.desc, /too large/);
  const second = socketClient(path);
  socket.write(`\n${'{"execute":"query-name"}'.repeat(2000)}`);
  await new Promise((resolve) => socket.on('close', resolve));
  assert.ok((await second.client.next()).QMP, 'who waited is served');
  second.socket.destroy();
});

test('values are cut from bytes however they come', () => {
  const framer = new QmpFramer();
  const text = '{"a":"}\\"{"} \n[1,[2]]{"ä":1}';
  const bytes = Buffer.from(text);
  const found = [...bytes].flatMap((byte) => framer.push(Uint8Array.of(byte)));
  assert.deepEqual(found, ['{"a":"}\\"{"}', '[1,[2]]', '{"ä":1}']);
});

test('a machine of the command line is stopped, shown and ended by QMP', { timeout: 150_000 }, async () => {
  const path = join(folder, 'cli');
  const program = fileURLToPath(new URL('../../main.js', import.meta.url));
  const image = join(folder, 'image');
  writeFileSync(image, new Uint8Array(1 << 20));
  const options = [
    ...['-accel', 'tcg', '-display', 'none', '-name', 'box', '-qmp', `unix:${path},server=on,wait=on`],
    ...[
      '-device',
      'virtio-balloon-pci',
      '-device',
      'virtio-scsi-pci,id=scsi0',
      '-drive',
      `if=none,id=spare,format=raw,file=${image}`,
    ],
  ];
  await using vring = started(process.execPath, [program, 'run', ...options], ['ignore', 'ignore', 'inherit']);
  let found = socketClient(path);
  for (let i = 0; i < 1100; i++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    if (!found.client.closed) break;
    found = socketClient(path);
  }
  const { client } = found;
  await client.next();
  await client.ask('{"execute":"qmp_capabilities"}');
  assert.deepEqual((await client.ask('{"execute":"query-name"}')).return, { name: 'box' });
  await client.ask('{"execute":"stop"}');
  assert.equal((await client.ask('{"execute":"query-status"}')).return.status, 'paused');
  await client.ask('{"execute":"cont"}');
  assert.equal((await client.ask('{"execute":"query-status"}')).return.status, 'running');
  assert.match(
    (await client.ask('{"execute":"human-monitor-command","arguments":{"command-line":"info status"}}')).return,
    /running/,
  );
  const say = async (execute: string, given: object) => await client.ask(JSON.stringify({ execute, arguments: given }));
  const node = { driver: 'raw', 'node-name': 'n', file: { driver: 'file', filename: image, locking: 'off' } };
  assert.deepEqual((await say('blockdev-add', node)).return, {});
  assert.match((await say('blockdev-add', node)).error.desc, /[Dd]uplicate/);
  const unit = { driver: 'scsi-hd', id: 'u', drive: 'n', bus: 'scsi0.0', 'share-rw': true };
  assert.deepEqual((await say('device_add', unit)).return, {});
  assert.match((await say('device_add', unit)).error.desc, /Duplicate device ID 'u'/);
  assert.match((await say('blockdev-del', { 'node-name': 'n' })).error.desc, /in use/);
  assert.equal((await say('device_del', { id: 'x' })).error.class, 'DeviceNotFound');
  assert.match(
    (await say('device_add', { driver: 'virtio-balloon-pci' })).error.desc,
    /'virtio-balloon-pci' cannot be plugged into a running machine/,
  );
  assert.match((await say('device_add', { driver: 'e1000', netdev: 'no' })).error.desc, /no network 'no'/);
  assert.deepEqual((await say('device_add', { driver: 'virtio-rng-pci', id: 'r', addr: '0x1e' })).return, {});
  assert.match((await say('device_add', { driver: 'virtio-rng-pci', addr: '0x1e' })).error.desc, /slot 30 is taken/);
  assert.match((await say('device_add', { ...unit, id: 'v', bus: 'no' })).error.desc, /Bus 'no.0' not found/);
  const ids = (blocks: readonly { device: string }[]) => blocks.map(({ device }) => device);
  const [last, spareOne] = (await client.ask('{"execute":"query-block"}')).return.slice(-2);
  assert.deepEqual([last.device, last.qdev, spareOne.device, spareOne.qdev], ['', 'u', 'spare', undefined]);
  assert.deepEqual((await say('device_del', { id: 'u' })).return, {});
  assert.deepEqual((await say('blockdev-del', { 'node-name': 'n' })).return, {});
  const spare = { driver: 'scsi-hd', id: 's', drive: 'spare', 'scsi-id': 5 };
  assert.deepEqual((await say('device_add', spare)).return, {});
  assert.deepEqual(ids((await client.ask('{"execute":"query-block"}')).return).slice(-1), ['spare']);
  assert.deepEqual((await say('balloon', { value: 64 << 20 })).return, {});
  assert.equal((await say('balloon', { value: 0 })).error.class, 'GenericError');
  assert.deepEqual((await client.ask('{"execute":"query-balloon"}')).return, { actual: 128 << 20 });
  assert.deepEqual((await client.ask('{"execute":"query-iothreads"}')).return, []);
  const capability = (name: string) => ({ capabilities: [{ capability: name, state: true }] });
  assert.deepEqual((await say('migrate-set-capabilities', capability('events'))).return, {});
  assert.equal(
    (await say('migrate-set-capabilities', capability('xbzrle'))).error.desc,
    "Parameter 'capability' does not accept value 'xbzrle'",
  );
  const shown = async () => (await say('human-monitor-command', { 'command-line': 'info network' })).return;
  const missing = { class: 'GenericError', desc: "Parameter 'id' is missing" };
  assert.deepEqual((await say('netdev_add', { type: 'user' })).error, missing);
  assert.equal(
    (await say('netdev_add', { type: 'usr', id: 'n1' })).error.desc,
    "Parameter 'type' does not accept value 'usr'",
  );
  for (const [command, given] of [
    ['netdev_add', { type: 'user' }],
    ['device_add', { driver: 'virtio-rng-pci' }],
  ] as const)
    assert.equal((await say(command, { ...given, id: '1a' })).error.desc, "Parameter 'id' expects an identifier");
  const network = { type: 'user', id: 'n1', hostfwd: [{ str: 'tcp:127.0.0.1:x-:22' }] };
  assert.match((await say('netdev_add', network)).error.desc, /Invalid host forwarding rule/);
  assert.deepEqual((await say('netdev_add', { ...network, hostfwd: [], net: '10.1.0.0/16' })).return, {});
  assert.deepEqual((await say('netdev_add', { type: 'user', id: 'n1' })).error, {
    class: 'GenericError',
    desc: "Duplicate ID 'n1'",
  });
  assert.match(await shown(), /^n1: index=0,type=user,net=10\.1\.0\.0/m);
  assert.deepEqual((await say('device_add', { driver: 'e1000', netdev: 'n1', id: 'c1', addr: '0x1d' })).return, {});
  assert.match(
    (await say('device_add', { driver: 'e1000', netdev: 'n1', id: 'c2' })).error.desc,
    /'n1' has a card already/,
  );
  assert.match(
    await shown(),
    /c1: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:[0-9a-f]{2}\r\n \\ n1: index=0,type=user/,
  );
  assert.deepEqual((await say('netdev_del', { id: 'n1' })).return, {});
  assert.deepEqual((await say('netdev_del', { id: 'n1' })).error, {
    class: 'DeviceNotFound',
    desc: "Device 'n1' not found",
  });
  // Its card is there still; a network of the same name is another one.
  assert.deepEqual((await say('netdev_add', { type: 'user', id: 'n1' })).return, {});
  assert.deepEqual((await say('device_add', { driver: 'e1000', netdev: 'n1', id: 'c2', addr: '0x1c' })).return, {});
  assert.deepEqual(await client.ask('{"execute":"quit"}'), { return: {} });
  assert.equal(await vring.ended, 0);
  for (let line = await client.next(); !line.closed; line = await client.next()) client.events.push(line);
  const told = client.events.map(({ event }) => event);
  assert.deepEqual(told.slice(-4), ['STOP', 'RESUME', 'DEVICE_DELETED', 'SHUTDOWN']);
  assert.deepEqual(client.events.at(-1).data, { guest: false, reason: 'host-qmp-quit' });
});

test('input events and passwords of VNC', async () => {
  await using at = await served();
  const { client, calls, state } = at;
  await client.next();
  await client.ask('{"execute":"qmp_capabilities"}');
  const run = async (execute: string, given: object) => await client.ask(JSON.stringify({ execute, arguments: given }));
  const send = async (...events: readonly object[]) => {
    const answer = await run('input-send-event', { events });
    return answer.error ? answer.error.desc : JSON.parse(calls.pop() as string);
  };
  const key = (data: string, down: boolean) => ({ type: 'key', data: { key: { type: 'qcode', data }, down } });
  const axis = (type: string, name: string, value: number) => ({ type, data: { axis: name, value } });
  const button = (name: string, down: boolean) => ({ type: 'btn', data: { button: name, down } });
  assert.deepEqual(await send(key('a', true), key('a', false)), [
    { type: 'key', code: 0x1e, down: true },
    { type: 'key', code: 0x1e, down: false },
  ]);
  assert.deepEqual(await send(axis('rel', 'x', 5), axis('rel', 'y', -3), button('left', true)), [
    { type: 'move', dx: 5, dy: 3, dz: 0, buttons: 1 },
  ]);
  assert.deepEqual(await send(axis('abs', 'x', 0x1000), axis('abs', 'y', 0x7fff), button('left', false)), [
    { type: 'point', x: 0x1000, y: 0x7fff, dz: 0, buttons: 0 },
  ]);
  assert.deepEqual(await send(button('wheel-down', true), button('wheel-down', false), button('right', true)), [
    { type: 'move', dx: 0, dy: 0, dz: -1, buttons: 2 },
  ]);
  assert.deepEqual(await send(button('right', false), axis('abs', 'y', 1)), [
    { type: 'point', x: 0x1000, y: 1, dz: 0, buttons: 0 },
  ]);
  for (const [bad, why] of [
    [{}, "Parameter 'events[0].type' is missing"],
    [button('x', true), "Parameter 'button' does not accept value 'x'"],
    [axis('rel', 'z', 1), "Parameter 'axis' does not accept value 'z'"],
    [axis('abs', 'x', 1e9), "Invalid parameter type for 'events', expected: a value on the axis x or y"],
    [key('nokey', true), "Parameter 'data' does not accept value 'nokey'"],
  ] as const)
    assert.equal(await send(bad), why);
  calls.length = 0;
  assert.deepEqual((await run('set_password', { protocol: 'vnc', password: 'geheim' })).return, {});
  assert.deepEqual((await run('expire_password', { protocol: 'vnc', time: 'now' })).return, {});
  assert.deepEqual((await run('expire_password', { protocol: 'vnc', time: 'never' })).return, {});
  assert.deepEqual((await run('expire_password', { protocol: 'vnc', time: '+100' })).return, {});
  assert.deepEqual((await run('change-vnc-password', { password: 'neu' })).return, {});
  assert.deepEqual(calls, ['password geheim', 'password none', 'password geheim', 'password geheim', 'password neu']);
  assert.match((await run('set_password', { protocol: 'spice', password: 'x' })).error.desc, /does not accept/);
  assert.match((await run('expire_password', { protocol: 'vnc', time: 'soon' })).error.desc, /now, never/);
  const ask = async (execute: string) => (await client.ask(JSON.stringify({ execute }))).return;
  assert.deepEqual(await ask('query-vnc'), { enabled: false });
  assert.deepEqual(await ask('query-vnc-servers'), []);
  state.vncState = async () => ({
    address: { type: 'inet', host: '127.0.0.1', port: 5905, lastPort: 5909 },
    port: 5906,
    websocketPort: 5705,
    authentication: 'vencrypt+x509+vnc',
    clients: [{ host: '::1', port: 40000, websocket: true }],
  });
  const clients = [{ host: '::1', service: '40000', family: 'ipv6', websocket: true }];
  const place = { host: '127.0.0.1', service: '5906', family: 'ipv4' };
  assert.deepEqual(await ask('query-vnc'), { enabled: true, ...place, auth: 'vencrypt+x509+vnc', clients });
  const how = { auth: 'vencrypt', vencrypt: 'x509-vnc' };
  const web = { ...place, service: '5705', websocket: true, ...how };
  const whole = { id: 'default', server: [{ ...place, websocket: false, ...how }, web], clients, ...how };
  assert.deepEqual(await ask('query-vnc-servers'), [whole]);
});

test('QMP on standard input and output, with the machine standing still', { timeout: 150_000 }, async () => {
  const program = fileURLToPath(new URL('../../main.js', import.meta.url));
  const options = ['-accel', 'tcg', '-display', 'none', '-S', '-qmp', 'stdio'];
  await using vring = started(process.execPath, [program, 'run', ...options], ['pipe', 'pipe', 'inherit']);
  const { stdin, stdout } = vring.child;
  let text = '';
  stdout?.on('data', (bytes) => {
    text += bytes;
  });
  for (const execute of ['qmp_capabilities', 'query-status', 'quit']) stdin?.write(JSON.stringify({ execute }));
  // Nothing is typed for a program whose input ends.
  stdin?.end();
  assert.equal(await vring.ended, 0);
  const lines = text
    .trimEnd()
    .split('\r\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual(Object.keys(lines[0]), ['QMP']);
  assert.deepEqual(lines[2].return.status, 'prelaunch');
  assert.ok(!text.includes('error'), text);
  assert.equal(lines.at(-1).event, 'SHUTDOWN');
});

test('what libvirt asks before it starts a machine', async () => {
  await using at = await served();
  const { client } = at;
  await client.next();
  await client.ask('{"execute":"qmp_capabilities"}');
  const ask = async (execute: string, given: object = {}) =>
    await client.ask(JSON.stringify({ execute, arguments: given }));
  const named = (rows: readonly { name: string }[]) => rows.map(({ name }) => name);
  const machines = (await ask('query-machines')).return;
  assert.deepEqual(named(machines), ['pc-i440fx-7.2', 'pc-q35-7.2', 'microvm', 'none']);
  assert.deepEqual([machines[0].alias, machines[0]['is-default'], machines[1].alias], ['pc', true, 'q35']);
  const cpus = (await ask('query-cpu-definitions')).return;
  assert.ok(named(cpus).includes(machines[0]['default-cpu-type'].replace(/-x86_64-cpu$/, '')));
  const types = named((await ask('qom-list-types')).return);
  for (const name of ['tcg-accel', 'kvm-accel', 'virtio-blk-pci', 'none-machine', 'max-x86_64-cpu', 'iothread'])
    assert.ok(types.includes(name), name);
  assert.deepEqual(named((await ask('qom-list-types', { implements: 'accel' })).return), ['kvm-accel', 'tcg-accel']);
  const properties = async (typename: string) => named((await ask('device-list-properties', { typename })).return);
  assert.ok((await properties('virtio-net-pci')).includes('host_mtu'));
  assert.deepEqual(await properties('PIIX4_PM'), ['disable_s3', 'disable_s4']);
  assert.equal((await ask('device-list-properties', { typename: 'no' })).error.class, 'DeviceNotFound');
  assert.ok(named((await ask('qom-list-properties', { typename: 'pc-q35-7.2-machine' })).return).includes('hpet'));
  assert.deepEqual((await ask('qom-list-properties', { typename: 'memory-backend-file' })).return, []);
  assert.equal((await ask('qom-list-properties', { typename: 'no' })).error.class, 'DeviceNotFound');
  const [smp] = (await ask('query-command-line-options', { option: 'smp' })).return;
  assert.deepEqual(smp, { option: 'smp', parameters: [{ name: 'cpus', type: 'string' }] });
  assert.match((await ask('query-command-line-options', { option: 'no' })).error.desc, /Invalid option name: no/);
  const [{ 'qom-path': path }] = (await ask('query-cpus-fast')).return;
  assert.deepEqual((await ask('qom-list', { path })).return, [{ name: 'type', type: 'string' }]);
  assert.equal((await ask('qom-list', { path: '/no' })).error.class, 'DeviceNotFound');
});
