/**
 * A driver's steps on our floppy and DMA controllers and on QEMU's, through its qtest socket: what is read must be the same. Left out is
 * where we follow the data sheets and QEMU does not: formats (it writes nothing), deleted marks, scans, the registers that DUMPREG gives of
 * drives and of PERPENDICULAR MODE, status register B, how errors are told, positions at the end of a transfer without DMA or within a sector.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { noQemu, QemuMachine } from '../../dev/qtest.js';
import { MemoryDrive } from '../disk/testing.js';
import { seededRandom } from '../testing.js';
import { FloppyDrive } from './floppy-drive.js';
import { FloppyDriver, type FloppyPorts, floppyMachine } from './testing.js';

type Log = (what: string, value: unknown) => void;
const content = Uint8Array.from({ length: 1474560 }, (_, i) => (i * 13 + (i >> 9) * 7) & 0xff);

async function compare(steps: (driver: FloppyDriver, log: Log) => Promise<void>, image = content): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'vring-floppy-'));
  try {
    const file = join(dir, 'image');
    writeFileSync(file, image);
    const qemu = new QemuMachine(['-drive', `if=floppy,format=raw,file=${file}`], dir);
    const theirs: FloppyPorts = {
      in: (port) => qemu.in(port, 1),
      out: (port, value) => qemu.out(port, 1, value),
      readHex: (gpa, length) => qemu.readHex(gpa, length),
      writeHex: (gpa, digits) => qemu.writeHex(gpa, digits),
    };
    const ours = floppyMachine([new FloppyDrive({ backend: new MemoryDrive(image.slice()) }), undefined]);
    const logs: [string, unknown][][] = [];
    try {
      for (const driver of [ours.driver, new FloppyDriver(theirs)]) {
        const log: [string, unknown][] = [];
        await steps(driver, (what, value) => log.push([what, value]));
        logs.push(log);
      }
    } finally {
      qemu.close();
    }
    assert.deepEqual(logs[0], logs[1], "ours, QEMU's");
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** QEMU moves data of its DMA when its loop comes round. */
async function ended(driver: FloppyDriver): Promise<number[]> {
  for (const end = Date.now() + 30_000; ((await driver.status()) & 0xc0) !== 0xc0; )
    if (Date.now() > end) throw new Error('the command does not end');
  return await driver.result();
}

test('floppy controller against QEMU', { skip: noQemu }, () =>
  compare(async (driver, log) => {
    const { ports } = driver;
    const registers = async () => [await ports.in(0x3f2), await driver.status(), await ports.in(0x3f7)];
    log('power-on', await registers());
    log('reset', await driver.reset());
    log('after it', await registers());
    for (const code of [0x10, 0x18, 0x94, 0x14, 0x1f, 0x08]) log(`command ${code}`, await driver.command(code));
    log('sense drive', [await driver.command(0x04, 0), await driver.command(0x04, 4)]);
    await driver.send(0x03, 0xaf, 0x02);
    log('seek', await driver.seek(0, 12));
    log('again', await driver.command(0x08));
    log('change line', await ports.in(0x3f7));
    log('sense drive', await driver.command(0x04, 4));
    await driver.send(0x07, 0);
    log('recalibrate', await driver.command(0x08));
    log(
      'ID',
      (await run(driver, [0x4a, 4])).filter((_, i) => i !== 5),
    );
    for (const [what, bytes, ...command] of [
      ['a sector', 512, 0xe6, 0, 2, 0, 3, 2, 18],
      ['four', 2048, 0xe6, 4, 7, 1, 9, 2, 18],
      ['over both heads', 20 * 512, 0xe6, 0, 3, 0, 9, 2, 18],
      ['part of one', 700, 0x46, 0, 30, 0, 1, 2, 18],
    ] as const) {
      await driver.seek(0, command[2]);
      await driver.setDma(0x46, 0x20000, bytes);
      await driver.send(...command, 0x1b, 0xff);
      const result = await ended(driver);
      log(what, [bytes % 512 === 0 ? result : result.slice(0, 5), await ports.readHex(0x20000, bytes)]);
      log('channel', [
        await ports.in(0x08),
        await ports.in(4),
        await ports.in(4),
        await ports.in(5),
        await ports.in(5),
      ]);
    }
    await ports.writeHex(0x30000, '0123456789abcdef'.repeat(192));
    await driver.setDma(0x4a, 0x30000, 1536);
    await driver.send(0xc5, 0, 30, 0, 5, 2, 18, 0x1b, 0xff);
    log('write', await ended(driver));
    await driver.setDma(0x46, 0x20000, 2048);
    await driver.send(0xe6, 0, 30, 0, 4, 2, 18, 0x1b, 0xff);
    log('reread', [await ended(driver), await ports.readHex(0x20000, 2048)]);
    await driver.send(0x03, 0xaf, 0x03);
    await driver.send(0x46, 0, 30, 0, 5, 2, 6, 0x1b, 0xff);
    const bytes: number[] = [];
    for (let i = 0; i < 1024; i++) {
      if (i % 256 === 0) log('status', await driver.status());
      bytes.push(await ports.in(0x3f5));
    }
    log('without DMA', bytes);
    log('its end', (await driver.result()).slice(0, 3));
    await ports.out(0x3f7, 2);
    await driver.send(0x03, 0xaf, 0x02);
    await driver.send(0x46, 0, 30, 0, 5, 2, 6, 0x1b, 0xff);
    log('another rate', (await ended(driver)).slice(0, 3));
    log('reset', await driver.reset(0x14));
    log('after it', await registers());
  }),
);

test("an image of no disk's size, as on QEMU", { skip: noQemu }, () =>
  compare(
    async (driver, log) => {
      const { ports } = driver;
      await driver.reset();
      await driver.send(0x03, 0xaf, 0x02);
      for (const [what, rate, sectors, ...command] of [
        ['a boot sector', 3, 1, 0xe6, 0, 0, 0, 1, 2, 36],
        ['beyond its end', 3, 4, 0xe6, 0, 0, 0, 4, 2, 36],
        ['the last sector of the disk', 3, 1, 0xe6, 4, 79, 1, 36, 2, 36],
      ] as const) {
        await ports.out(0x3f7, rate);
        await driver.seek(0, command[2]);
        await ports.writeHex(0x20000, 'ee'.repeat(sectors * 512));
        await driver.setDma(0x46, 0x20000, sectors * 512);
        await driver.send(...command, 0x1b, 0xff);
        log(what, [(await ended(driver)).slice(1), await ports.readHex(0x20000, sectors * 512)]);
      }
    },
    content.slice(0, 5 * 512),
  ),
);

async function run(driver: FloppyDriver, command: readonly number[]): Promise<number[]> {
  await driver.send(...command);
  return await ended(driver);
}

test('DMA controllers against QEMU', { skip: noQemu }, () =>
  compare(async ({ ports }, log) => {
    const random = seededRandom(5);
    for (const [base, shift, page] of [
      [0, 0, 0x80],
      [0xc0, 1, 0x88],
    ] as const) {
      const at = (register: number) => base + (register << shift);
      await ports.out(at(13), 0);
      for (let round = 0; round < 60; round++) {
        const register = random(8);
        for (const half of [0, 1]) log(`${round}.${half}`, await ports.in(at(register)));
        for (let half = 0; half < 2; half++) await ports.out(at(register), random(256));
        for (const half of [0, 1]) log(`${round}.${half} written`, await ports.in(at(register)));
        const pageAt = page + [1, 2, 3, 7][random(4)]!;
        await ports.out(pageAt, random(256));
        log('page', await ports.in(pageAt));
        await ports.out(at([10, 14, 15, 12][random(4)]!), random(8));
        log('status', await ports.in(at(8)));
      }
    }
  }),
);
