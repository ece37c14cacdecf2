/**
 * A driver's steps on our NVMe controller and on QEMU's, through its qtest socket: what is read must be the same. Left out: names,
 * capability lists, what QEMU offers beyond ours (command sets, namespace management, doorbell buffers, copy, verify, metadata), the
 * codes for logs and completion queues that are not there.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { noQemu, QemuMachine } from '../../dev/qtest.js';
import { MemoryDrive } from '../disk/testing.js';
import { accessOf, type NvmeAccess, NvmeDriver, nvmeMachine, type Submission } from './testing.js';

type Log = (what: string, value: unknown) => void;
const content = Uint8Array.from({ length: 1 << 20 }, (_, i) => (i * 13 + (i >> 9) * 7) & 0xff);
const data = 0x100000;

async function steps(access: NvmeAccess, log: Log): Promise<void> {
  const driver = new NvmeDriver(access);
  for (const at of [0x00, 0x08, 0x2c, 0x3c])
    log(`config ${at}`, (await driver.config(at)) & (at === 0x3c ? 0xff00 : -1));
  await driver.place();
  log('registers', [await driver.get(0), (await driver.get(4)) & ~0x1820, await driver.get(8), await driver.get(0x1c)]);
  await driver.enable();
  for (const at of [0x0c, 0x14, 0x1c, 0x24, 0x28, 0x2c, 0x30, 0x34]) log(`register ${at}`, await driver.get(at));
  const fill = (length: number) => access.writeHex(data, 'dd'.repeat(length));
  const admin = async (
    what: string,
    command: Submission,
    ...shown: readonly (readonly [from: number, to: number])[]
  ) => {
    await fill(4096);
    const { status, result } = await driver.admin({ prp1: data, ...command });
    const parts: string[] = [];
    for (const [from, to] of shown) parts.push(await access.readHex(data + from, to - from));
    log(`${what} ${JSON.stringify(command)}`, [status.toString(16), result, parts]);
  };
  const identify = (cns: number, namespace = 0, ...shown: readonly (readonly [number, number])[]) =>
    admin('identify', { opcode: 6, namespace, dwords: [cns] }, ...shown);
  await identify(
    1,
    0,
    [0, 4],
    [72, 76],
    [77, 78],
    [80, 84],
    [111, 112],
    [258, 260],
    [266, 270],
    [512, 514],
    [516, 520],
    [2048, 2064],
  );
  await identify(0, 1, [0, 24], [26, 27], [64, 72], [128, 132]);
  await identify(0, 2, [0, 4096]);
  await identify(0, 0);
  await identify(0, 257);
  await identify(2, 0, [0, 4096]);
  await identify(2, 1, [0, 4096]);
  await identify(2, 0xfffffffe);
  await identify(3, 2);
  await identify(0x55, 1);
  const features = [1, 2, 4, 5, 6, 7, 8, 9, 0x0a, 0x0b, 0x0e, 3, 0x20, 0xff];
  for (const id of features)
    for (const select of [0, 1, 3]) {
      // The time of day is another one; QEMU says that a write cache is off by default, which it is not.
      if ((id === 0x0e && select === 0) || (id === 6 && select === 1)) continue;
      await admin('get', { opcode: 0x0a, namespace: id === 5 ? 1 : 0, dwords: [id | (select << 8)] });
    }
  await admin('threshold', { opcode: 0x0a, dwords: [4, 1 << 20] });
  await admin('threshold, other sensor', { opcode: 0x0a, dwords: [4, 1 << 16] });
  await admin('vector', { opcode: 0x0a, dwords: [9, 5] });
  await admin('vector', { opcode: 0x0a, dwords: [9, 200] });
  await admin('set', { opcode: 9, dwords: [7, 0x10001] });
  await admin('set', { opcode: 9, dwords: [7, 0xffff0001] });
  await admin('set', { opcode: 9, dwords: [6, 0] });
  await admin('get', { opcode: 0x0a, dwords: [6] });
  await admin('set', { opcode: 9, dwords: [6, 1] });
  await admin('set, saved', { opcode: 9, dwords: [(6 | 0x80000000) >>> 0, 1] });
  await admin('set, of a namespace', { opcode: 9, namespace: 1, dwords: [6, 1] });
  await admin('set', { opcode: 9, dwords: [4, 0x150] });
  await admin('get', { opcode: 0x0a, dwords: [4] });
  await admin('set', { opcode: 9, dwords: [0x77, 1] });
  await admin('set', { opcode: 9, dwords: [8, 1] });
  await admin('set', { opcode: 9, dwords: [0x0b, 0x1] });
  await admin('get', { opcode: 0x0a, dwords: [0x0b] });
  const logPage = (page: number, dwords: number, offset = 0, ...shown: readonly (readonly [number, number])[]) =>
    admin('log', { opcode: 2, namespace: 0xffffffff, dwords: [page | (dwords << 16), 0, offset] }, ...shown);
  await logPage(1, 15, 0, [0, 64]);
  await logPage(2, 127, 0, [0, 3], [32, 128]);
  await logPage(3, 127, 0, [0, 8]);
  await logPage(2, 3, 512);
  await logPage(2, 3, 8);
  await admin('abort', { opcode: 8, dwords: [1] });
  await admin('unknown', { opcode: 0x7f });
  await admin('with a list', { opcode: 6, flags: 0x40, dwords: [1] });
  for (const [opcode, prp1, dwords] of [
    [5, 0x40000, [0 | (7 << 16), 1]],
    [5, 0x40000, [70 | (7 << 16), 1]],
    [5, 0x40000, [1, 1]],
    [5, 0x40000, [1 | (3000 << 16), 1]],
    [5, 0x40010, [1 | (7 << 16), 1]],
    [5, 0x40000, [1 | (7 << 16), 3 | (1 << 16)]],
    [5, 0x40000, [1 | (7 << 16), 2]],
    [1, 0x40000, [1 | (7 << 16), 1 | (1 << 16)]],
    [1, 0x40000, [1 | (7 << 16), 1]],
    [0, 0, [1]],
    [0, 0, [0]],
  ] as const)
    await admin('queue', { opcode, prp1, dwords });
  for (const { status, result } of await driver.createPair(1)) log('pair', [status, result]);
  await admin('queue', { opcode: 5, prp1: 0x40000, dwords: [1 | (7 << 16), 1] });
  await admin('queue', { opcode: 1, prp1: 0x40000, dwords: [1 | (7 << 16), 1 | (1 << 16)] });
  await admin('queue', { opcode: 4, dwords: [1] });
  const io = async (what: string, command: Submission, length = 0) => {
    const { status, result } = await driver.run(1, { namespace: 1, prp1: data, ...command });
    log(`${what} ${JSON.stringify(command)}`, [
      status.toString(16),
      result,
      length ? await access.readHex(data, length) : '',
    ]);
  };
  await fill(0x3000);
  await io('read', { opcode: 2, dwords: [3, 0, 1] }, 2048);
  await io('read', { opcode: 2, prp2: data + 0x1000, dwords: [3, 0, 15] }, 0x2000);
  await io('read', { opcode: 2, prp2: data + 0x1010, dwords: [3, 0, 15] });
  await io('read', { opcode: 2, dwords: [2047, 0, 1] });
  await io('read', { opcode: 2, dwords: [0, 1, 1] });
  await io('read', { opcode: 2, dwords: [0, 0, 1500] });
  await io('read', { opcode: 2, namespace: 2, dwords: [0, 0, 1] });
  await io('read', { opcode: 2, namespace: 0, dwords: [0, 0, 1] });
  await io('read', { opcode: 2, namespace: 0xffffffff, dwords: [0, 0, 1] });
  await io('sgl', { opcode: 2, flags: 0x40, sgl: [data, 1024, 0], dwords: [9, 0, 1] }, 1024);
  await io('sgl, too short', { opcode: 2, flags: 0x40, sgl: [data, 1000, 0], dwords: [9, 0, 1] });
  await io('sgl, kind', { opcode: 2, flags: 0x40, sgl: [data, 1024, 0x40], dwords: [9, 0, 1] });
  await access.writeHex(data, '5a'.repeat(1024));
  await io('write', { opcode: 1, dwords: [20, 0, 1] });
  await io('compare', { opcode: 5, dwords: [20, 0, 1] });
  await io('compare', { opcode: 5, dwords: [21, 0, 1] });
  await io('zeroes', { opcode: 8, dwords: [21, 0, 0] });
  await io('zeroes', { opcode: 8, dwords: [2047, 0, 5] });
  await io('read', { opcode: 2, dwords: [20, 0, 1] }, 1024);
  await access.writeHex(data, `${'00'.repeat(4)}08000000${'40000000'.padEnd(16, '0')}`);
  await io('deallocate', { opcode: 9, dwords: [0, 4] });
  await io('hint', { opcode: 9, dwords: [0, 1] });
  await io('read', { opcode: 2, dwords: [60, 0, 1] }, 1024);
  await io('flush', { opcode: 0 });
  await io('flush', { opcode: 0, namespace: 0xffffffff });
  await io('unknown', { opcode: 0x70 });
  await admin('delete', { opcode: 0, dwords: [1] });
  await admin('delete', { opcode: 4, dwords: [1] });
  await driver.set(0x14, 0x00464001);
  for (let tries = 0; tries < 1000 && ((await driver.get(0x1c)) & 12) !== 8; tries++);
  log('shut down', await driver.get(0x1c));
  await driver.set(0x14, 0);
  log('disabled', [await driver.get(0x1c), await driver.get(0x24), await driver.get(0x28)]);
}

test('registers and commands against QEMU', { skip: noQemu }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'vring-nvme-'));
  const file = join(dir, 'disk.raw');
  writeFileSync(file, content);
  const args = [
    '-drive',
    `if=none,id=d,format=raw,file=${file},discard=unmap`,
    '-device',
    'nvme,drive=d,serial=N1,addr=4',
  ];
  const qemu = new QemuMachine(args, dir);
  try {
    const ours: string[] = [];
    const theirs: string[] = [];
    const machine = nvmeMachine([new MemoryDrive(content.slice())]);
    await steps(accessOf(machine), (what, value) => void ours.push(`${what}: ${JSON.stringify(value)}`));
    await steps(qemu, (what, value) => void theirs.push(`${what}: ${JSON.stringify(value)}`));
    const lines = ours.flatMap((line, i) => (line === theirs[i] ? [] : [`ours   ${line}`, `QEMU's ${theirs[i]}`]));
    assert.deepEqual(lines, []);
    assert.equal(ours.length, theirs.length);
  } finally {
    qemu.close();
    rmSync(dir, { recursive: true });
  }
});
