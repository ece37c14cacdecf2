/**
 * A driver's steps on our IDE function and on QEMU's, through its qtest socket: what is read must be the same. Left out: names and
 * serial numbers, the cylinder registers of a second drive that is not there,
 * and what QEMU's table of contents leaves zero (the last session's track) or gives in blocks where MMC-3 has minutes.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { noQemu, QemuMachine } from '../../dev/qtest.js';
import { MemoryDrive } from '../disk/testing.js';
import { ideMachine, testCd, testDisk } from './testing.js';

interface Ports {
  in(port: number, size: 1 | 2 | 4): Promise<number>;
  out(port: number, size: 1 | 2 | 4, value: number): Promise<void>;
  read(gpa: number, size: 1 | 2 | 4): Promise<number>;
  write(gpa: number, size: 1 | 2 | 4, value: number): Promise<void>;
}
type Log = (what: string, value: unknown) => void;

const content = Uint8Array.from({ length: 8 << 20 }, (_, i) => (i * 13 + (i >> 9) * 7) & 0xff);
const bus = 0xc000;

/** On a busy host QEMU's threads may take long to get a turn. */
const LIMIT_MS = 30_000;

/** Polls until `is` holds of what `read` gives. */
async function until(is: (value: number) => boolean, read: () => Promise<number>): Promise<void> {
  for (const end = Date.now() + LIMIT_MS; !is(await read()); ) {
    if (Date.now() > end) throw new Error('the drive stays busy');
  }
}

/** Waits until the drive is not busy: QEMU's ends its requests by itself. */
async function settle(m: Ports, base: number): Promise<number> {
  const status = () => m.in(base + 0x206, 1);
  await status();
  await until((value) => (value & 0x80) === 0, status);
  return await m.in(base + 7, 1);
}

async function command(m: Ports, base: number, values: readonly number[]): Promise<number> {
  // Device, feature, count, three of address, command.
  const [device, ...rest] = values as [number, ...number[]];
  await m.out(base + 6, 1, device);
  for (const [i, value] of rest.entries()) await m.out(base + (i === 5 ? 7 : i + 1), 1, value);
  return await settle(m, base);
}

async function registers(m: Ports, base: number): Promise<number[]> {
  const values: number[] = [];
  for (let at = 1; at < 8; at++) values.push(await m.in(base + at, 1));
  return values;
}

async function words(m: Ports, base: number, count: number): Promise<number[]> {
  const values: number[] = [];
  for (let i = 0; i < count; i++) values.push(await m.in(base, 2));
  return values;
}

async function packet(m: Ports, base: number, bytes: readonly number[]): Promise<number[] | number> {
  await command(m, base, [0xa0, 0, 0, 0, 0xfe, 0xff, 0xa0]);
  const all = [...bytes, ...new Array<number>(12 - bytes.length).fill(0)];
  for (let i = 0; i < 12; i += 2) await m.out(base, 2, all[i]! | (all[i + 1]! << 8));
  const status = await settle(m, base);
  if ((status & 8) === 0) return status * 256 + (await m.in(base + 1, 1));
  const length = (await m.in(base + 4, 1)) | ((await m.in(base + 5, 1)) << 8);
  const values = await words(m, base, (length + 1) >> 1);
  return [length, await m.in(base + 2, 1), await settle(m, base), ...values];
}

/** Words that are names, versions and serial numbers; QEMU's own ATA level and cache words. */
const nameWords = new Set([...Array.from({ length: 36 }, (_, i) => 10 + i)]);

async function diskSteps(m: Ports, log: Log): Promise<void> {
  const base = 0x1f0;
  log('power-on', await registers(m, base));
  log('identify', await command(m, base, [0xa0, 0, 0, 0, 0, 0, 0xec]));
  const id = await words(m, base, 256);
  log(
    'identity',
    id.map((value, i) => (nameWords.has(i) ? 0 : value)),
  );
  log('after it', await registers(m, base));
  const lba = (code: number, at: number, count: number, feature = 0) =>
    command(m, base, [0xe0, feature, count, at & 255, (at >> 8) & 255, (at >> 16) & 255, code]);
  log('read', await lba(0x20, 1000, 2));
  log('sector', await words(m, base, 256));
  log('next', await settle(m, base));
  log('between', await registers(m, base));
  log('sector', await words(m, base, 256));
  log('end', await settle(m, base));
  log('CHS read', await command(m, base, [0xa5, 0, 1, 7, 3, 0, 0x20]));
  log('sector', await words(m, base, 256));
  log('multiple 4', await lba(0xc6, 0, 4));
  log('read multiple', await lba(0xc4, 500, 6));
  log('block', await words(m, base, 1024));
  log('next', await settle(m, base));
  log('block', await words(m, base, 512));
  log('end', await settle(m, base));
  log('multiple 3', [await lba(0xc6, 0, 3), await m.in(base + 1, 1)]);
  log('write', await lba(0x30, 2000, 1));
  for (let i = 0; i < 256; i++) await m.out(base, 2, (i * 259) & 0xffff);
  log('written', await settle(m, base));
  log('reread', [await lba(0x20, 2000, 1), await words(m, base, 256)]);
  for (const [what, code, at, count, feature] of [
    ['beyond', 0x20, 0xfffff0, 1, 0],
    ['unknown', 0x8f, 0, 0, 0],
    ['NOP', 0x00, 0, 0, 0],
    ['native max', 0xf8, 0, 0, 0],
    ['verify', 0x40, 10, 3, 0],
    ['seek', 0x70, 10, 0, 0],
    ['power mode', 0xe5, 0, 0, 0],
    ['flush', 0xe7, 0, 0, 0],
    ['recalibrate', 0x10, 0, 0, 0],
    ['UDMA 4', 0xef, 0, 0x44, 3],
    ['no such mode', 0xef, 0, 0x37, 3],
    ['no such feature', 0xef, 0, 0, 0x77],
    ['cache off', 0xef, 0, 0, 0x82],
    ['SMART status', 0xb0, 0xc24f00, 0, 0xda],
    ['SMART without its key', 0xb0, 0, 0, 0xda],
    ['packet', 0xa0, 0, 0, 0],
    ['diagnostic', 0x90, 0, 0, 0],
  ] as const) {
    log(what, [await lba(code, at, count, feature), ...(what === 'seek' ? [] : await registers(m, base))]);
  }
  // DMA
  await m.out(0xcf8, 4, 0x80000920);
  await m.out(0xcfc, 4, bus);
  await m.out(0xcf8, 4, 0x80000904);
  await m.out(0xcfc, 2, 5);
  await m.write(0x1000, 4, 0x10000);
  await m.write(0x1004, 4, 1024);
  await m.write(0x1008, 4, 0x20000);
  await m.write(0x100c, 4, 0x80000000 + 2048);
  for (const [what, count, code] of [
    ['exact', 6, 0xc8],
    ['longer table', 4, 0xc8],
    ['shorter table', 8, 0xc8],
    ['write', 6, 0xca],
  ] as const) {
    await m.out(bus + 4, 4, 0x1000);
    await m.out(bus, 1, code === 0xc8 ? 8 : 0);
    await m.out(bus + 2, 1, 6);
    await command(m, base, [0xe0, 0, count, 40, 0, 0, code]);
    await m.out(bus, 1, code === 0xc8 ? 9 : 1);
    await until(
      (value) => (value & 5) !== 1,
      () => m.in(bus + 2, 1),
    );
    const status = await settle(m, base);
    log(`DMA, ${what}`, [status, await m.in(bus + 2, 1), await m.read(0x10000, 4), await m.read(0x207fc, 4)]);
    await m.out(bus, 1, 0);
    log('stopped', (await m.in(bus + 2, 1)) & 1);
    await m.out(base + 0x206, 1, 4);
    await m.out(base + 0x206, 1, 0);
    await settle(m, base);
  }
  log('reset', await registers(m, base));
  await m.out(base + 6, 1, 0xf0);
  log(
    'second drive',
    (await registers(m, base)).filter((_, i) => i !== 3 && i !== 4),
  );
}

async function cdSteps(m: Ports, log: Log): Promise<void> {
  const base = 0x170;
  log('power-on', (await registers(m, base)).slice(0, 5));
  log('identify device', [await command(m, base, [0xa0, 0, 0, 0, 0, 0, 0xec]), ...(await registers(m, base))]);
  log('identify', await command(m, base, [0xa0, 0, 0, 0, 0, 0, 0xa1]));
  log(
    'identity',
    (await words(m, base, 256)).map((value, i) => (nameWords.has(i) ? 0 : value)),
  );
  const ask = async (what: string, bytes: readonly number[], upTo = Infinity) => {
    const got = await packet(m, base, bytes);
    log(what, Array.isArray(got) ? got.slice(0, upTo) : got);
  };
  await ask('ready', [0]);
  await ask('inquiry', [0x12, 0, 0, 0, 36], 7);
  await ask('capacity', [0x25]);
  for (const [format, msf] of [
    [0, 0],
    [0, 2],
    [2, 2],
  ] as const)
    await ask(`toc ${format} ${msf}`, [0x43, msf, 0, 0, 0, 0, 0, 0, 100, format << 6]);
  await ask('toc of the lead-out', [0x43, 0, 0, 0, 0, 0, 0xaa, 0, 100]);
  await ask('toc of track 9', [0x43, 0, 0, 0, 0, 0, 9, 0, 100]);
  await ask('read', [0x28, 0, 0, 0, 0, 9, 0, 0, 2]);
  await ask('read none', [0x28, 0, 0, 0, 0, 9, 0, 0, 0]);
  await ask('read (12)', [0xa8, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
  await ask('beyond', [0x28, 0, 0, 0, 0xff, 9, 0, 0, 2]);
  await ask('sense', [3, 0, 0, 0, 18]);
  await ask('read CD', [0xbe, 0, 0, 0, 0, 3, 0, 0, 1, 0x10]);
  await ask('read CD, nothing', [0xbe, 0, 0, 0, 0, 3, 0, 0, 1, 0]);
  await ask('read CD, raw', [0xbe, 0, 0, 0, 0, 3, 0, 0, 1, 0xf8], 1030);
  await ask('unknown', [0xc1]);
  await ask('sense', [3, 0, 0, 0, 18]);
  await ask('event', [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]);
  await ask('lock', [0x1e, 0, 0, 0, 1]);
  await ask('eject', [0x1b, 0, 0, 0, 2]);
  await ask('sense', [3, 0, 0, 0, 18]);
  await ask('unlock', [0x1e, 0, 0, 0, 0]);
  await ask('eject', [0x1b, 0, 0, 0, 2]);
  await ask('ready', [0]);
  await ask('sense', [3, 0, 0, 0, 18]);
  await ask('load', [0x1b, 0, 0, 0, 3]);
  await ask('mechanism', [0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8]);
  await ask('disc information', [0x51, 0, 0, 0, 0, 0, 0, 0, 34]);
}

async function compare(
  args: readonly string[],
  drives: Parameters<typeof ideMachine>[0],
  steps: (m: Ports, log: Log) => Promise<void>,
): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'vring-ide-'));
  try {
    const file = join(dir, 'image');
    writeFileSync(file, content);
    const qemu = new QemuMachine(
      args.map((arg) => arg.replace('FILE', file)),
      dir,
    );
    const { ports, memory } = ideMachine(drives);
    const ours: Ports = {
      in: async (port, size) => ports.read(port, size),
      out: async (port, size, value) => ports.write(port, size, value),
      read: async (gpa, size) => memory.read(gpa, size),
      write: async (gpa, size, value) => memory.write(gpa, size, value),
    };
    const logs: [string, unknown][][] = [];
    try {
      for (const machine of [ours, qemu]) {
        const log: [string, unknown][] = [];
        await steps(machine, (what, value) => log.push([what, value]));
        logs.push(log);
      }
    } finally {
      qemu.close();
    }
    const [our, theirs] = logs as [[string, unknown][], [string, unknown][]];
    // Long values are shown by the places where they differ.
    const differences = theirs.flatMap(([what, expected], i) => {
      const actual = our[i]![1];
      const pairs = Array.isArray(expected) ? expected.flat() : [expected];
      const got = Array.isArray(actual) ? actual.flat() : [actual];
      const length = pairs.length === got.length ? '' : ` (${got.length} values, not ${pairs.length})`;
      const places = pairs.flatMap((value, at) => (value === got[at] ? [] : [`${at}: ${got[at]}, QEMU ${value}`]));
      return places.length === 0 && length === '' ? [] : [`${what}${length}: ${places.slice(0, 12).join('; ')}`];
    });
    assert.deepEqual(differences, []);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

test('a disk against QEMU', { skip: noQemu }, () =>
  compare(['-drive', 'if=ide,index=0,format=raw,file=FILE'], [testDisk(new MemoryDrive(content.slice()))], diskSteps),
);

test('a CD drive against QEMU', { skip: noQemu }, () =>
  compare(
    ['-drive', 'if=ide,index=2,media=cdrom,format=raw,readonly=on,file=FILE'],
    [undefined, undefined, testCd(new MemoryDrive(content, { readonly: true }))],
    cdSteps,
  ),
);
