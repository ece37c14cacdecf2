/** Descriptors that a client sends along, against QEMU, which is sent the same. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { descriptorSets, inheritedDescriptor, openSetMember } from '../../../host/node/descriptor-sets.js';
import { descriptorCalls } from '../../../host/node/descriptors.js';
import { loadPosix } from '../../../host/node/posix.js';
import { socketDescriptor } from '../../../host/node/socket-descriptor.js';
import { openWrittenFile } from '../../../host/node/written-file.js';
import { type Answer, type Client, socketClient } from './testing/qmp-client.js';
import { sendDescriptors } from './testing/send-descriptors.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-descriptors-'));
const children: ChildProcess[] = [];
const ended = (child: ChildProcess) => child.exitCode ?? new Promise((done) => child.once('exit', done));
after(async () => {
  for (const child of children) child.kill();
  await Promise.all(children.map(ended));
  rmSync(folder, { recursive: true });
});
const noCalls = loadPosix() === undefined && 'no koffi';
const noQemu =
  noCalls || (spawnSync('qemu-system-x86_64', ['--version']).error !== undefined && 'no qemu-system-x86_64');
const main = fileURLToPath(new URL('../../main.js', import.meta.url));
const rom = join(folder, 'halt.bin');
const image = join(folder, 'image');
writeFileSync(rom, new Uint8Array(0x10000).fill(0xf4));
writeFileSync(image, '');
truncateSync(image, 1 << 20);

class Peer {
  readonly #client: Client;
  readonly #socket: Socket;

  private constructor(client: Client, socket: Socket) {
    this.#client = client;
    this.#socket = socket;
  }

  static async connect(path: string): Promise<Peer> {
    const { client, socket } = socketClient(path);
    const peer = new Peer(client, socket);
    await client.next();
    await peer.ask('qmp_capabilities');
    return peer;
  }

  async ask(execute: string, given: object = {}, descriptors: readonly number[] = []): Promise<Answer> {
    const text = JSON.stringify({ execute, arguments: given });
    if (descriptors.length === 0) return await this.#client.ask(text);
    sendDescriptors(this.#socket, text, descriptors);
    return await this.#client.ask('');
  }

  /** A command in several pieces, the descriptor with the first. */
  async askInPieces(execute: string, given: object, descriptor: number): Promise<Answer> {
    const text = JSON.stringify({ execute, arguments: given });
    sendDescriptors(this.#socket, text.slice(0, 5), [descriptor]);
    await new Promise((done) => setTimeout(done, 20));
    return await this.#client.ask(text.slice(5));
  }

  leave(): void {
    this.#socket.destroy();
  }
}

async function started(name: string, program: string, leading: readonly string[]): Promise<string> {
  const path = join(folder, name);
  const board = ['-M', 'pc', '-accel', 'tcg', '-bios', rom, '-display', 'none', '-m', '16', '-nodefaults'];
  const disk = ['-drive', `if=virtio,driver=null-co,size=1M,read-zeroes=on`];
  const words = ['-add-fd', 'fd=3,set=7,opaque=left', '-qmp', `unix:${path},server=on,wait=off`];
  const left = openSync(image, 'r');
  const child = spawn(program, [...leading, ...board, ...disk, ...words], {
    stdio: ['ignore', 'ignore', 'inherit', left],
  });
  closeSync(left);
  children.push(child);
  while (!existsSync(path) && child.exitCode === null) await new Promise((done) => setTimeout(done, 20));
  return path;
}

/** Numbers of descriptors are each program's own. */
const alike = (answer: Answer): Answer =>
  JSON.parse(JSON.stringify(answer, (key, value: unknown) => (key === 'fd' ? 'number' : value)));

test('what is sent along is named, put into sets, opened and taken away as by QEMU', { skip: noQemu }, async () => {
  const [ours, theirs] = await Promise.all([
    started('ours', process.execPath, [main, 'run']),
    started('theirs', 'qemu-system-x86_64', []),
  ]);
  let peers = await Promise.all([ours, theirs].map((path) => Peer.connect(path)));
  const both = openSync(image, 'r+');
  const reading = openSync(image, 'r');
  const pair = createServer().listen(join(folder, 'pair'));
  const link = connect(join(folder, 'pair'));
  await new Promise((done) => link.once('connect', done));
  const socket = descriptorCalls().duplicate(socketDescriptor(link) as number);
  const node = (set: string | number, more: object = {}) => ({
    ...{ driver: 'file', filename: `/dev/fdset/${set}`, 'node-name': `n${set}` },
    ...more,
  });
  const steps: readonly (readonly [string, object?, (readonly number[])?])[] = [
    ['query-fdsets'],
    ['getfd', { fdname: 'x' }],
    ['getfd', { fdname: '1x' }, [both]],
    ['getfd', { fdname: 'x' }],
    ['getfd', { fdname: 'x' }, [both, reading]],
    ['getfd', { fdname: 'x' }],
    ['getfd', { fdname: 'x' }, [both]],
    ['closefd', { fdname: 'y' }],
    ['closefd', { fdname: 'x' }],
    ['add-fd'],
    ['add-fd', { 'fdset-id': -1 }, [both]],
    ['add-fd', {}, [both]],
    ['add-fd', { 'fdset-id': 0, opaque: 'hi' }, [reading]],
    ['add-fd', { 'fdset-id': 5, opaque: 'rw:x' }, [reading]],
    ['add-fd', {}, [both]],
    ['query-fdsets'],
    ['blockdev-add', node(5)],
    ['blockdev-add', node(5, { 'read-only': true })],
    ['blockdev-add', node(9)],
    ['blockdev-add', node('x')],
    ['blockdev-add', node(0)],
    ['blockdev-add', node(7, { 'auto-read-only': true })],
    ['remove-fd', { 'fdset-id': 3 }],
    ['remove-fd', { 'fdset-id': 0, fd: 99 }],
    ['remove-fd', { 'fdset-id': 0 }],
    ['query-fdsets'],
    ['add-fd', { 'fdset-id': 0 }, [both]],
    ['query-fdsets'],
    ['blockdev-del', { 'node-name': 'n0' }],
    ['blockdev-del', { 'node-name': 'n5' }],
    ['netdev_add', { type: 'tap', id: 't', fd: 'nope' }],
    ['netdev_add', { type: 'socket', id: 't', fd: 'nope' }],
    ['getfd', { fdname: 'file' }, [both]],
    ['netdev_add', { type: 'socket', id: 't', fd: 'file' }],
    ['getfd', { fdname: 's' }, [socket]],
    ['netdev_add', { type: 'socket', id: 't', fd: 's' }],
    ['closefd', { fdname: 's' }],
    ['human-monitor-command', { 'command-line': 'getfd q' }],
    ['human-monitor-command', { 'command-line': 'closefd q' }],
  ];
  for (const [execute, given, descriptors] of steps) {
    const [mine, other] = await Promise.all(peers.map((peer) => peer.ask(execute, given, descriptors)));
    assert.deepEqual(alike(mine), alike(other), `${execute} ${JSON.stringify(given ?? {})}`);
  }
  for (const peer of peers)
    assert.deepEqual(await peer.askInPieces('getfd', { fdname: 'pieces' }, both), { return: {} });
  // With the last client goes what nobody has opened.
  for (const peer of peers) peer.leave();
  peers = await Promise.all([ours, theirs].map((path) => Peer.connect(path)));
  const [mine, other] = await Promise.all(peers.map((peer) => peer.ask('query-fdsets')));
  assert.deepEqual(alike(mine), alike(other));
  for (const fd of [both, reading]) closeSync(fd);
  descriptorCalls().close(socket);
  link.destroy();
  pair.close();
  await Promise.all(peers.map((peer) => peer.ask('quit')));
  await Promise.all(children.map(ended));
});

test('a file that is written may be a member of a set', { skip: noCalls }, async () => {
  const path = join(folder, 'written');
  writeFileSync(path, 'before ');
  const given = openSync(path, 'r+');
  // Opened for reading as well, it is not what is looked for.
  descriptorSets.add(inheritedDescriptor(given), 90, undefined);
  await assert.rejects(openWrittenFile('/dev/fdset/90', true), { code: 'EACCES' });
  const writing = openSync(path, 'a');
  descriptorSets.add(inheritedDescriptor(writing), 90, undefined);
  for (const fd of [given, writing]) closeSync(fd);
  const file = await openWrittenFile('/dev/fdset/90', true);
  await file.write(Buffer.from('and '));
  await file.write(Buffer.from('after'));
  assert.equal(readFileSync(path, 'utf8'), 'before and after');
  // A set that is in use stays.
  descriptorSets.removeUnopened();
  assert.equal(descriptorSets.list()[0]?.members.length, 2);
  await file.close();
  const again = await openWrittenFile('/dev/fdset/90', false);
  await again.write(Buffer.from('new'));
  assert.equal(readFileSync(path, 'utf8'), 'new');
  descriptorSets.remove(90);
  assert.deepEqual(descriptorSets.list(), [{ set: 90, members: [] }]);
  await again.close();
  assert.deepEqual(descriptorSets.list(), []);
  assert.throws(() => openSetMember('/dev/fdset/90', { access: 'write' }), { code: 'ENOENT' });
  assert.equal(openSetMember('/dev/fdsets/90', { access: 'write' }), undefined);
  assert.throws(() => inheritedDescriptor(8191), /not valid or already in use/);
});
