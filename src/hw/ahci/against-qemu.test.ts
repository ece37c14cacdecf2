/**
 * A driver's steps on our AHCI controller and on QEMU's, through its qtest socket: what is read must be the same. Left out: names, the
 * status that a signature comes with (QEMU's drives tell a fault), byte 15 of a PIO setup FIS (QEMU repeats the first status), READ LOG
 * EXT and its bits in IDENTIFY DEVICE (QEMU has none), and tables that are too short (QEMU ends such commands well).
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { noQemu, QemuMachine } from '../../dev/qtest.js';
import { MemoryDrive } from '../disk/testing.js';
import {
  type AhciAccess,
  type AhciCommand,
  AhciDriver,
  accessOf,
  ahciMachine,
  hbaBase,
  px,
  sataCd,
  sataDisk,
} from './testing.js';

type Log = (what: string, value: unknown) => void;

const content = Uint8Array.from({ length: 8 << 20 }, (_, i) => (i * 13 + (i >> 9) * 7) & 0xff);
const data = 0x100000;
const LIMIT_MS = 30_000;
/** Words of IDENTIFY that are names, and those that tell of logs. */
const skippedWords = new Set([...Array.from({ length: 36 }, (_, i) => 10 + i), 84, 87]);

/** The registers of a port but for the task file at power-on. */
async function registers(driver: AhciDriver): Promise<number[]> {
  const values: number[] = [];
  for (const at of [0, 4, 8, 12, 0x10, 0x14, 0x18, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x34, 0x38])
    values.push(await driver.get(at));
  return values;
}

async function carryOut(driver: AhciDriver, slot: number, command: AhciCommand) {
  await driver.set(px.interrupt, 0xffffffff);
  const queued = command.code === 0x60 || command.code === 0x61;
  await driver.issue(slot, command);
  for (const end = Date.now() + LIMIT_MS; ; ) {
    // A register FIS, a set device bits FIS, or an error; a PIO setup FIS comes before.
    if (((await driver.get(px.interrupt)) & 0x40000009) !== 0) break;
    if (Date.now() > end) throw new Error('no interrupt comes');
  }
  const fis = (await driver.received(0x40, 20)).slice(0, 14);
  const result = [
    await driver.get(px.interrupt),
    await driver.get(px.taskFile),
    await driver.get(px.active),
    await driver.get(px.linkError),
    ...(queued ? await driver.received(0x58, 8) : [await driver.byteCount(slot), ...fis]),
  ];
  if (((await driver.get(px.taskFile)) & 1) !== 0) await driver.restart();
  return result;
}

async function words(access: AhciAccess, gpa: number, count: number): Promise<number[]> {
  const values: number[] = [];
  for (let i = 0; i < count; i++) values.push(await access.read(gpa + i * 4, 4));
  return values;
}

async function diskSteps(access: AhciAccess, log: Log): Promise<void> {
  const driver = new AhciDriver(access);
  const config: number[] = [];
  for (let i = 0; i < 0x100; i += 4) if (i !== 0x2c) config.push(await driver.config(i));
  log('configuration', config);
  await driver.place();
  const global: number[] = [];
  for (let i = 0; i < 0x2c; i += 4) global.push(await access.read(hbaBase + i, 4));
  log('global', global);
  log('power-on', await registers(driver));
  await driver.start();
  log(
    'started',
    (await registers(driver)).filter((_, i) => i !== 7),
  );
  await driver.set(px.enable, 0xffffffff);
  log('enable', await driver.get(px.enable));
  await driver.set(px.command, 0xffffffe1);
  log('command', await driver.get(px.command));
  await driver.set(px.command, 0x11);
  const run = async (what: string, slot: number, command: AhciCommand) =>
    log(what, await carryOut(driver, slot, command));
  await run('identify', 0, { code: 0xec, pieces: [[data, 512]] });
  const identity = (await words(access, data, 128)).flatMap((word) => [word & 0xffff, word >>> 16]);
  log(
    'identity',
    identity.map((word, i) => (skippedWords.has(i) ? 0 : word)),
  );
  await run('read DMA', 1, {
    code: 0x25,
    lba: 1000,
    count: 4,
    pieces: [
      [data, 1024],
      [data + 0x4000, 1024],
    ],
  });
  log('data', [await words(access, data, 256), await words(access, data + 0x4000, 256)]);
  await run('read PIO', 2, { code: 0x24, lba: 77, count: 3, pieces: [[data, 1536]] });
  log('data', await words(access, data, 384));
  log(
    'PIO setup',
    (await driver.received(0x20, 20)).filter((_, i) => i !== 15),
  );
  await run('write PIO', 3, { code: 0x34, lba: 300, count: 2, pieces: [[data, 1024]], write: true });
  log(
    'PIO setup',
    (await driver.received(0x20, 20)).filter((_, i) => i !== 15),
  );
  await run('write DMA', 4, { code: 0x35, lba: 400, count: 2, pieces: [[data, 1024]], write: true });
  await run('longer table', 5, { code: 0x25, lba: 400, count: 1, pieces: [[data, 4096]] });
  await run('queued read', 6, { code: 0x60, lba: 300, feature: 4, count: 6 << 3, pieces: [[data, 2048]] });
  log('data', await words(access, data, 512));
  await run('queued write', 31, {
    code: 0x61,
    lba: 500,
    feature: 1,
    count: 31 << 3,
    pieces: [[data, 512]],
    write: true,
  });
  await run('reread', 0, { code: 0x60, lba: 500, feature: 1, count: 0, pieces: [[data, 512]] });
  log('data', await words(access, data, 128));
  await run('flush', 0, { code: 0xea });
  await run('verify', 0, { code: 0x42, lba: 5, count: 1 });
  await run('power mode', 0, { code: 0xe5 });
  await run('UDMA 4', 0, { code: 0xef, feature: 3, count: 0x44 });
  await run('beyond', 0, { code: 0x25, lba: 0xffffff0, count: 1, pieces: [[data, 512]] });
  await run('unknown', 0, { code: 0x8f });
  await run('after it', 0, { code: 0xe7 });
  await run('native max', 0, { code: 0x27 });
  await driver.set(px.linkControl, 1);
  await driver.set(px.linkControl, 0);
  log(
    'COMRESET',
    (await registers(driver)).filter((_, i) => i !== 4 && i !== 7),
  );
  await run('after it', 0, { code: 0xe7 });
}

async function cdSteps(access: AhciAccess, log: Log): Promise<void> {
  const driver = new AhciDriver(access);
  await driver.place();
  await driver.start();
  log(
    'started',
    (await registers(driver)).filter((_, i) => i !== 7),
  );
  const run = async (what: string, command: AhciCommand) => log(what, await carryOut(driver, 0, command));
  await run('identify', { code: 0xa1, pieces: [[data, 512]] });
  await run('identify device', { code: 0xec, pieces: [[data, 512]] });
  await run('ready', { code: 0xa0, packet: [0] });
  await run('inquiry', { code: 0xa0, lba: 36 << 8, packet: [0x12, 0, 0, 0, 36], pieces: [[data, 36]] });
  log(
    'PIO setup',
    (await driver.received(0x20, 20)).filter((_, i) => i !== 15),
  );
  await run('inquiry by DMA', { code: 0xa0, feature: 1, packet: [0x12, 0, 0, 0, 36], pieces: [[data, 36]] });
  log(
    'PIO setup',
    (await driver.received(0x20, 20)).filter((_, i) => i !== 15),
  );
  await run('capacity', { code: 0xa0, feature: 1, packet: [0x25], pieces: [[data, 8]] });
  log('data', await words(access, data, 2));
  await run('read', { code: 0xa0, feature: 1, packet: [0x28, 0, 0, 0, 0, 9, 0, 0, 2], pieces: [[data, 4096]] });
  log('data', await words(access, data, 1024));
  await run('read by PIO', {
    code: 0xa0,
    lba: 0xf800 << 8,
    packet: [0x28, 0, 0, 0, 0, 9, 0, 0, 1],
    pieces: [[data, 2048]],
  });
  await run('beyond', { code: 0xa0, feature: 1, packet: [0x28, 0, 0, 0, 0xff, 9, 0, 0, 2], pieces: [[data, 4096]] });
  await run('sense', { code: 0xa0, lba: 18 << 8, packet: [3, 0, 0, 0, 18], pieces: [[data, 18]] });
  log('data', await words(access, data, 4));
  await run('unknown', { code: 0xa0, packet: [0xc1] });
}

async function compare(
  args: readonly string[],
  drives: Parameters<typeof ahciMachine>[0],
  steps: typeof diskSteps,
): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'vring-ahci-'));
  try {
    const file = join(dir, 'image');
    writeFileSync(file, content);
    const all = [...args.map((arg) => arg.replace('FILE', file)), '-device', 'ahci,id=a,addr=4'];
    const qemu = new QemuMachine(
      [...all, '-device', `${args.some((arg) => arg.includes('cdrom')) ? 'ide-cd' : 'ide-hd'},bus=a.0,drive=d`],
      dir,
    );
    const logs: [string, unknown][][] = [];
    try {
      for (const access of [accessOf(ahciMachine(drives)), qemu]) {
        const log: [string, unknown][] = [];
        await steps(access, (what, value) => log.push([what, value]));
        logs.push(log);
      }
    } finally {
      qemu.close();
    }
    const [ours, theirs] = logs as [[string, unknown][], [string, unknown][]];
    const hex = (value: unknown) => (value as number[]).flat().map((word) => word?.toString(16));
    const differences = theirs.flatMap(([what, expected], i) => {
      const [want, got] = [[expected].flat(2), [ours[i]![1]].flat(2)].map(hex) as [string[], string[]];
      const places = want.flatMap((value, at) => (value === got[at] ? [] : [`${at}: ${got[at]}, QEMU ${value}`]));
      return places.length === 0 ? [] : [`${what}: ${places.slice(0, 12).join('; ')}`];
    });
    assert.deepEqual(differences, []);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

test('a SATA disk against QEMU', { skip: noQemu }, () =>
  compare(['-drive', 'if=none,id=d,format=raw,file=FILE'], [sataDisk(new MemoryDrive(content.slice()))], diskSteps),
);

test('a SATA CD drive against QEMU', { skip: noQemu }, () =>
  compare(
    ['-drive', 'if=none,id=d,media=cdrom,format=raw,readonly=on,file=FILE'],
    [sataCd(new MemoryDrive(content, { readonly: true }))],
    cdSteps,
  ),
);
