/**
 * The same commands to our virtio-scsi adapter and QEMU's, with a disk and a CD: responses, sense data and data must be the same.
 * Left out: names and versions in INQUIRY; pages and bits of provisioning that QEMU's CD has, SYNCHRONIZE CACHE (16), which ours alone has; residual counts, which QEMU leaves at zero where it pads an answer or refuses a command.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { noQemu } from '../../dev/qtest.js';
import {
  bytes,
  capabilities,
  common,
  compare,
  config,
  type Log,
  type Machine,
  mapBars,
  pciHeader,
  type Queue,
  slot,
  start,
  virtioFn,
} from '../../dev/virtio-qtest.js';
import { MemoryDrive } from '../disk/testing.js';
import { ScsiCd } from '../scsi/scsi-cd.js';
import { ScsiDisk } from '../scsi/scsi-disk.js';
import { VirtioScsi } from './virtio-scsi.js';

const MiB = 1 << 20;
const content = Uint8Array.from({ length: MiB }, (_, i) => (i * 13 + (i >> 9)) & 0xff);
const be = (value: number, size: number) =>
  Array.from({ length: size }, (_, i) => Math.floor(value / 2 ** (8 * (size - 1 - i))) & 0xff);
const [request, answer, data] = [0x100000, 0x101000, 0x110000];

/** The steps of a driver on one adapter. */
function driver(m: Machine, log: Log, control: Queue, commands: Queue) {
  const put = (gpa: number, list: readonly number[]) => m.writeHex(gpa, Buffer.from(list).toString('hex'));
  const command = async (
    what: string,
    place: readonly number[],
    cdb: readonly number[],
    { input = 0, output, mask = [] }: { input?: number; output?: readonly number[]; mask?: readonly number[] } = {},
  ) => {
    await put(request, [
      ...place,
      1,
      2,
      3,
      4,
      5,
      6,
      7,
      8,
      0,
      0,
      0,
      ...cdb,
      ...new Array<number>(32 - cdb.length).fill(0),
    ]);
    await m.writeHex(answer, 'ee'.repeat(108));
    if (output) await put(data, output);
    else if (input > 0) await m.writeHex(data, 'dd'.repeat(input));
    await commands.add([
      [request, 51, false],
      ...(output ? [[data, output.length, false] as const] : []),
      [answer, 108, true],
      ...(input > 0 ? [[data, input, true] as const] : []),
    ]);
    await commands.kick();
    await commands.take(1);
    const head = await bytes(m, answer, 30);
    const read = (await bytes(m, data, input)).match(/../g) ?? [];
    for (const at of mask) read[at] = '..';
    // QEMU pads answers with zeroes, ours leaves what was there.
    const digits = read.join('').replace(/(00|dd)+$/, '');
    // Much of it by sectors.
    const shown =
      read.length <= 4096
        ? digits
        : (digits.match(/.{1,1024}/g) ?? [])
            .map((sector) => createHash('sha1').update(sector).digest('hex').slice(0, 6))
            .join(' ');
    const result = `${head.slice(0, 8)} ${head.slice(16, 24)} ${head.startsWith('00') ? '' : head.slice(24)}`;
    log(`${what} ${place} ${cdb}`, [result, shown]);
  };
  const manage = async (what: string, place: readonly number[], subtype: number) => {
    await put(request, [0, 0, 0, 0, subtype, 0, 0, 0, ...place, 9, 9, 9, 9, 9, 9, 9, 9]);
    await m.write(answer, 1, 0xee);
    await control.add([
      [request, 24, false],
      [answer, 1, true],
    ]);
    await control.kick();
    await control.take(1);
    log(`${what} ${subtype}`, await m.read(answer, 1));
  };
  return { command, manage, put };
}

const disk = [1, 0, 0x40, 0, 0, 0, 0, 0];
const cd = [1, 3, 0, 0, 0, 0, 0, 0];
/** Vendor, product, revision. */
const names = Array.from({ length: 28 }, (_, i) => 8 + i);

async function steps(m: Machine, log: Log): Promise<void> {
  await pciHeader(m, virtioFn, log);
  await capabilities(m, log);
  await mapBars(m);
  log('queues', await m.read(common + 18, 2));
  for (const at of [0, 4, 8, 12, 16, 20, 24, 28, 32]) log(`config ${at}`, await m.read(config + at, 4));
  const queues = await start(m, 6, [0, 1, 2], log);
  const { command, manage } = driver(m, log, queues[0]!, queues[2]!);
  await command('nobody', [1, 9, 0, 0, 0, 0, 0, 0], [0]);
  await command('bad place', [0, 0, 0, 0, 0, 0, 0, 0], [0]);
  await command('bad LUN', [1, 0, 0x80, 0, 0, 0, 0, 0], [0]);
  for (const place of [disk, cd]) {
    await command('INQUIRY', place, [0x12, 0, 0, 0, 36], { input: 36, mask: names });
    await command('attention', place, [0]);
    await command('TUR', place, [0]);
    await command('REQUEST SENSE', place, [3, 0, 0, 0, 18], { input: 18 });
    await command('REQUEST SENSE, descriptors', place, [3, 1, 0, 0, 18], { input: 18 });
    await command('INQUIRY, long', place, [0x12, 0, 0, 0, 255], { input: 256, mask: names });
    await command('INQUIRY, short', place, [0x12, 0, 0, 0, 5], { input: 5 });
    await command('INQUIRY, page without EVPD', place, [0x12, 0, 0x80, 0, 255], { input: 255 });
    for (const page of place === disk ? [0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2, 0xb3] : [0x00, 0x80, 0x83, 0xb0])
      await command('VPD', place, [0x12, 1, page, 0, 255], { input: 255 });
    await command('overrun', place, [0x12, 0, 0, 0, 255], { input: 36 });
    await command('REPORT LUNS', place, [0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0], { input: 256 });
    await command('REPORT LUNS, short', place, [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 8], { input: 256 });
    await command('READ CAPACITY', place, [0x25], { input: 8 });
    // QEMU says of a CD too that it is thinly provisioned.
    await command('READ CAPACITY 16', place, [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32], {
      input: 32,
      mask: [14],
    });
    await command('service action', place, [0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32], { input: 32 });
    await command('unknown', place, [0xff]);
    await command('unknown', place, [0x06]);
    const block = place === disk ? 512 : 2048;
    await command('READ 6', place, [8, 0, 0, 3, 2], { input: 2 * block });
    await command('READ 10', place, [0x28, 0, ...be(5, 4), 0, ...be(2, 2)], { input: 2 * block });
    await command('READ 12', place, [0xa8, 0, ...be(7, 4), ...be(1, 4)], { input: block });
    await command('READ 16', place, [0x88, 0, ...be(9, 8), ...be(1, 4)], { input: block });
    await command('READ nothing', place, [0x28, 0, ...be(5, 4), 0, 0, 0]);
    await command('READ beyond', place, [0x28, 0, ...be(MiB / block - 1, 4), 0, ...be(2, 2)], { input: 2 * block });
    await command('READ far beyond', place, [0x88, 0, ...be(2 ** 52, 8), ...be(1, 4)], { input: block });
    await command('VERIFY', place, [0x2f, 0, ...be(5, 4), 0, ...be(2, 2)]);
    await command('START STOP', place, [0x1b, 0, 0, 0, 1]);
    await command('no such LUN', [1, place[1]!, 0, 5, 0, 0, 0, 0], [0]);
    await command('no such LUN', [1, place[1]!, 0, 5, 0, 0, 0, 0], [0x12, 0, 0, 0, 36], { input: 36, mask: names });
    await command('no such LUN', [1, place[1]!, 0, 5, 0, 0, 0, 0], [3, 0, 0, 0, 18], { input: 18 });
    await command('no such LUN', [1, place[1]!, 0, 5, 0, 0, 0, 0], [0x28, 0, 0, 0, 0, 0, 0, 0, 1], { input: 2048 });
    await command('no such LUN', [1, place[1]!, 0, 5, 0, 0, 0, 0], [0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0], { input: 256 });
  }
  // Reading with protection, writing, modes, discarding.
  await command('protection', disk, [0x28, 0x20, ...be(5, 4), 0, ...be(1, 2)], { input: 512 });
  const blocks = Array.from({ length: 1024 }, (_, i) => (i * 7) & 0xff);
  await command('WRITE 6', disk, [0x0a, 0, 0, 3, 2], { output: blocks });
  await command('WRITE 10', disk, [0x2a, 8, ...be(10, 4), 0, ...be(2, 2)], { output: blocks });
  await command('WRITE 12', disk, [0xaa, 0, ...be(20, 4), ...be(2, 4)], { output: blocks });
  await command('WRITE 16', disk, [0x8a, 0, ...be(30, 8), ...be(2, 4)], { output: blocks });
  await command('WRITE AND VERIFY', disk, [0x2e, 0, ...be(40, 4), 0, ...be(2, 2)], { output: blocks });
  await command('WRITE beyond', disk, [0x2a, 0, ...be(2047, 4), 0, ...be(2, 2)], { output: blocks });
  await command('WRITE, too few', disk, [0x2a, 0, ...be(10, 4), 0, ...be(3, 2)], { output: blocks });
  await command('WRITE, no data', disk, [0x2a, 0, ...be(10, 4), 0, ...be(3, 2)]);
  await command('READ back', disk, [0x28, 0, ...be(3, 4), 0, ...be(40, 2)], { input: 40 * 512 });
  await command('VERIFY, bytes', disk, [0x2f, 2, ...be(5, 4), 0, ...be(2, 2)]);
  await command('VERIFY, bytes', disk, [0x2f, 2, ...be(5, 4), 0, ...be(2, 2)], { output: blocks });
  await command('SYNCHRONIZE', disk, [0x35]);
  await command('SEEK', disk, [0x2b, 0, ...be(5, 4)]);
  await command('SEEK beyond', disk, [0x2b, 0, ...be(50000, 4)]);
  await command('RESERVE', disk, [0x16]);
  await command('RELEASE', disk, [0x17]);
  for (const control of [0, 0x40, 0x80, 0xc0])
    for (const page of [1, 4, 5, 8, 0x3f, 0x0a, 0x1c]) {
      await command('MODE SENSE 6', disk, [0x1a, 0, control | page, 0, 200], { input: 200 });
      await command('MODE SENSE 10', disk, [0x5a, 8, control | page, 0, 0, 0, 0, 0, 200], { input: 200 });
    }
  const caching = (byte: number) => [0x08, 0x12, byte, ...new Array<number>(17).fill(0)];
  await command('MODE SELECT, cache off', disk, [0x15, 0x10, 0, 0, 24], { output: [0, 0, 0, 0, ...caching(0)] });
  await command('MODE SENSE', disk, [0x1a, 8, 8, 0, 24], { input: 24 });
  await command('MODE SELECT, cache on', disk, [0x55, 0x10, 0, 0, 0, 0, 0, 0, 28], {
    output: [0, 0, 0, 0, 0, 0, 0, 0, ...caching(4)],
  });
  await command('MODE SENSE', disk, [0x1a, 8, 8, 0, 24], { input: 24 });
  await command('MODE SELECT, wrong', disk, [0x15, 0x10, 0, 0, 24], { output: [0, 0, 0, 0, ...caching(5)] });
  await command('MODE SELECT, saved', disk, [0x15, 0x11, 0, 0, 24], { output: [0, 0, 0, 0, ...caching(4)] });
  await command('MODE SELECT, short', disk, [0x15, 0x10, 0, 0, 23], {
    output: [0, 0, 0, 0, ...caching(4)].slice(0, 23),
  });
  await command('MODE SELECT, empty', disk, [0x15, 0x10, 0, 0, 0]);
  const unmap = (list: readonly (readonly [number, number])[]) => [
    ...be(6 + 16 * list.length, 2),
    ...be(16 * list.length, 2),
    ...be(0, 4),
    ...list.flatMap(([lba, count]) => [...be(lba, 8), ...be(count, 4), ...be(0, 4)]),
  ];
  await command('UNMAP', disk, [0x42, 0, 0, 0, 0, 0, 0, 0, 40], {
    output: unmap([
      [8, 8],
      [32, 16],
    ]),
  });
  await command('UNMAP beyond', disk, [0x42, 0, 0, 0, 0, 0, 0, 0, 24], { output: unmap([[2047, 2]]) });
  await command('UNMAP, short', disk, [0x42, 0, 0, 0, 0, 0, 0, 0, 20], { output: unmap([[8, 8]]).slice(0, 20) });
  await command('UNMAP nothing', disk, [0x42]);
  await command('UNMAP, anchored', disk, [0x42, 1, 0, 0, 0, 0, 0, 0, 24], { output: unmap([[8, 8]]) });
  await command('WRITE SAME zeroes', disk, [0x93, 0, ...be(50, 8), ...be(4, 4)], {
    output: new Array<number>(512).fill(0),
  });
  await command('WRITE SAME data', disk, [0x41, 0, ...be(60, 4), 0, ...be(4, 2)], { output: blocks.slice(0, 512) });
  await command('WRITE SAME unmap', disk, [0x93, 8, ...be(64, 8), ...be(8, 4)], {
    output: new Array<number>(512).fill(0),
  });
  await command('WRITE SAME to the end', disk, [0x93, 0, ...be(70, 8), ...be(0, 4)], { output: blocks.slice(0, 512) });
  await command('WRITE SAME beyond', disk, [0x93, 0, ...be(2047, 8), ...be(2, 4)], { output: blocks.slice(0, 512) });
  await command('READ back', disk, [0x28, 0, ...be(8, 4), 0, ...be(70, 2)], { input: 70 * 512 });
  // Here QEMU says that all is well, and writes nothing.
  await command('WRITE SAME no data', disk, [0x93, 1, ...be(70, 8), ...be(4, 4)]);
  // The CD.
  await command('READ TOC', cd, [0x43, 0, 0, 0, 0, 0, 0, 0, 20], { input: 20 });
  await command('READ TOC, MSF', cd, [0x43, 2, 0, 0, 0, 0, 0, 0, 20], { input: 20 });
  await command('events', cd, [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8], { input: 8 });
  await command('PREVENT', cd, [0x1e, 0, 0, 0, 1]);
  await command('ALLOW', cd, [0x1e]);
  await command('eject', cd, [0x1b, 0, 0, 0, 2]);
  await command('TUR, open', cd, [0]);
  await command('READ, open', cd, [0x28, 0, ...be(0, 4), 0, ...be(1, 2)], { input: 2048 });
  await command('close', cd, [0x1b, 0, 0, 0, 3]);
  await command('TUR, closed', cd, [0]);
  await command('WRITE', cd, [0x2a, 0, ...be(0, 4), 0, ...be(1, 2)], { output: new Array<number>(2048).fill(1) });
  for (const subtype of [0, 1, 3, 4, 5, 6, 7, 2, 99]) await manage('TMF', disk, subtype);
  await command('attention', disk, [0]);
  await command('ready', disk, [0]);
  await manage('TMF, no LUN', [1, 0, 0, 5, 0, 0, 0, 0], 5);
  await manage('TMF, no target', [1, 99, 0, 0, 0, 0, 0, 0], 5);
  // Writes that the driver makes to the configuration.
  await m.write(config + 20, 4, 32);
  await m.write(config + 24, 4, 16);
  log('sizes', [await m.read(config + 20, 4), await m.read(config + 24, 4)]);
}

test('disk and CD against QEMU', { skip: noQemu }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'vring-scsi-'));
  try {
    const file = join(dir, 'disk.raw');
    const cdFile = join(dir, 'cd.iso');
    writeFileSync(file, content);
    writeFileSync(cdFile, content);
    const args = [
      ...['-device', `virtio-scsi-pci,addr=${slot},num_queues=1,id=scsi0`],
      ...['-drive', `if=none,id=d,format=raw,file=${file},discard=unmap`],
      ...['-device', 'scsi-hd,drive=d,bus=scsi0.0,scsi-id=0,lun=0,serial=S1,rotation_rate=1,wwn=0x5000c50015ea71ac'],
      ...['-drive', `if=none,id=c,format=raw,file=${cdFile},media=cdrom`],
      ...['-device', 'scsi-cd,drive=c,bus=scsi0.0,scsi-id=3'],
    ];
    const model = new VirtioScsi();
    const names = { vendor: 'VRING', version: '1.0' };
    model.bus.add(
      { target: 0, lun: 0 },
      new ScsiDisk({
        ...names,
        ...{ product: 'VRING HARDDISK', serial: 'S1', deviceId: 'S1', rotationRate: 1, wwn: 0x5000c50015ea71acn },
        backend: new MemoryDrive(content.slice()),
      }),
    );
    model.bus.add(
      { target: 3, lun: 0 },
      new ScsiCd({
        ...names,
        product: 'VRING CD-ROM',
        serial: '',
        deviceId: 'c',
        backend: new MemoryDrive(content, { readonly: true }),
      }),
    );
    await compare(model, args, steps);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
