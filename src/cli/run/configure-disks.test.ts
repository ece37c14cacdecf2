import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseLine } from '../options/parse.js';
import { planRun } from './configure.js';
import { runCommand } from './options.js';
import { plan, refusal } from './testing/plans.js';

test('IDE drives: places, names, media, and the short forms', () => {
  const drives = (...argv: string[]) =>
    (plan(...argv).machine.devices ?? []).map((device) => {
      assert.equal(device.type, 'ide');
      const { id, place, media, image, bootIndex } = device;
      return [id, place, media, image?.path, image?.readonly, bootIndex].filter((value) => value !== undefined);
    });
  assert.deepEqual(drives('-hda', 'a,b', '-hdd', 'd', '-cdrom', 'c'), [
    ['ide0-hd0', 0, 'disk', 'a,b', false],
    ['ide1-hd1', 3, 'disk', 'd', false],
    ['ide1-cd0', 2, 'cdrom', 'c', true],
  ]);
  assert.deepEqual(drives('-drive', 'file=x', '-drive', 'file=y,bus=1,unit=1,id=why', '-drive', 'file=z,media=cdrom'), [
    ['ide0-hd0', 0, 'disk', 'x', false],
    ['why', 3, 'disk', 'y', false],
    ['ide0-cd1', 1, 'cdrom', 'z', true],
  ]);
  const none = ['-drive', 'file=x,if=none,id=d', '-blockdev', 'driver=file,filename=y,node-name=n'];
  assert.deepEqual(
    drives(
      ...none,
      '-device',
      'ide-hd,drive=d,bus=ide.1,bootindex=4',
      '-device',
      'ide-cd',
      '-device',
      'ide-hd,drive=n',
    ),
    [
      ['d', 2, 'disk', 'x', false, 4],
      ['ide0-cd0', 0, 'cdrom'],
      ['n', 1, 'disk'],
    ],
  );
  assert.deepEqual(drives('-drive', 'media=cdrom'), [['ide0-cd0', 0, 'cdrom']]);
  const booted = planRun(parseLine(runCommand, ['-bios', fileURLToPath(import.meta.url), '-hda', 'a']).given, {
    system: false,
    nowMs: 0,
  });
  assert.deepEqual(
    booted.machine.devices?.map((device) => (device.type === 'ide' ? device.id : device.type)),
    ['vga', 'ide0-hd0', 'ide1-cd0'],
    'firmware finds a VGA and a CD drive, as on QEMU',
  );
  assert.equal(booted.machine.firmware?.serialConsole, true, "the VGA is nobody's screen");
  const bare = parseLine(runCommand, ['-bios', fileURLToPath(import.meta.url), '-hda', 'a', '-vga', 'none']).given;
  assert.deepEqual(
    planRun(bare, { system: false, nowMs: 0 }).machine.devices?.map((device) => device.type),
    ['ide', 'ide'],
  );
});

test('drives of q35 and of a plugged AHCI controller: a port each', () => {
  const devices = (...argv: string[]) => plan(...argv).machine.devices ?? [];
  const places = devices('-M', 'pc-q35-7.2', '-hda', 'a', '-cdrom', 'c', '-drive', 'file=d,index=5').map(
    (device) => device.type === 'ide' && [device.id, device.place],
  );
  assert.deepEqual(places, [
    ['ide5-hd0', 5],
    ['ide0-hd0', 0],
    ['ide2-cd0', 2],
  ]);
  const given = ['-drive', 'file=x,if=none,id=d', '-device', 'ahci,id=sata,addr=7'];
  const [controller] = devices(
    ...given,
    '-device',
    'ide-hd,drive=d,bus=sata.3,serial=S',
    '-device',
    'ide-cd,bus=sata.0',
  );
  assert.ok(controller.type === 'ahci' && controller.slot === 7);
  assert.deepEqual(
    controller.drives.map(({ id, port, media, image, serial }) => [id, port, media, image?.path, serial]),
    [
      ['d', 3, 'disk', 'x', 'S'],
      ['sata-cd0', 0, 'cdrom', undefined, undefined],
    ],
  );
});

test('drives', () => {
  const image = (...argv: string[]) => {
    const [device] = plan(...argv).machine.devices ?? [];
    assert.equal(device.type, 'virtio-blk');
    return device.image;
  };
  const { path, format, options, cache, onWriteError, onReadError } = image(
    '-drive',
    'file=a,,b.qcow2,format=qcow2,if=virtio,cache=directsync,discard=unmap,werror=stop,rerror=ignore,backing.driver=raw',
  );
  assert.deepEqual(
    [path, format, cache, onWriteError, onReadError],
    ['a,b.qcow2', 'qcow2', 'directsync', 'stop', 'ignore'],
  );
  assert.deepEqual(options, { discard: 'unmap', 'backing.driver': 'raw' });
  const limited = image('-drive', 'file=a,if=virtio,bps=1000,throttling.iops-read=0x10,iops_rd_max=20,iops_size=4096');
  const limits = { 'bps-total': 1000, 'iops-read': 16, 'iops-read-max': 20, 'iops-size': 4096 };
  assert.deepEqual([limited.limits, limited.options], [limits, {}]);
  assert.equal(image('-drive', 'file=a,if=virtio,snapshot=on').snapshot, true);
  assert.equal(image('-snapshot', '-drive', 'file=a,if=none,id=x', '-device', 'virtio-blk,drive=x').snapshot, true);
  const { objects } = plan('-object', 'secret,id=s,data=pw', '-object', '{"qom-type":"throttle-group","id":"t"}');
  assert.deepEqual(
    objects.map(({ type, id }) => [type, id]),
    [
      ['secret', 's'],
      ['throttle-group', 't'],
    ],
  );
});

test('a board without IDE takes drives as virtio disks, as QEMU does', () => {
  const { devices } = plan('-arch', 'riscv64', '-drive', 'file=a.img,format=raw', '-hda', 'b.img').machine;
  assert.deepEqual(
    devices?.map(({ type }) => type),
    ['virtio-blk', 'virtio-blk'],
  );
  assert.match(refusal('-arch', 'riscv64', '-cdrom', 'c.iso'), /no CD, and there is no other drive here yet/);
  assert.match(refusal('-arch', 'riscv64', '-drive', 'file=a.img,if=ide'), /no IDE controller; there is if=virtio/);
});

test('queues and features of a virtio disk', () => {
  const drive = ['-drive', 'file=a.img,format=raw,if=none,id=d'];
  const [disk] =
    plan(...drive, '-device', 'virtio-blk-pci,drive=d,num-queues=4,queue-size=64,discard=off,write-zeroes=on').machine
      .devices ?? [];
  assert.ok(disk?.type === 'virtio-blk');
  const { queues, queueSize, discard, writeZeroes } = disk;
  assert.deepEqual([queues, queueSize, discard, writeZeroes], [4, 64, false, true]);
  assert.match(refusal(...drive, '-device', 'virtio-blk-pci,drive=d,queue-size=100'), /queue-size is a power of two/);
  assert.match(refusal(...drive, '-device', 'virtio-blk-pci,drive=d,num-queues=0'), /num-queues is a whole number/);
});

test('SCSI disks and CD drives hang on the controller that they name, or the first', () => {
  const { devices = [] } = plan(
    ...['-device', 'virtio-scsi-pci,id=a,num_queues=4', '-device', 'virtio-scsi-pci,id=b'],
    ...['-drive', 'if=none,id=d,file=d.img,format=raw', '-drive', 'if=none,id=c,file=c.iso,media=cdrom'],
    ...[
      '-device',
      'scsi-hd,drive=d,bus=b.0,scsi-id=3,lun=1,serial=S',
      '-device',
      'scsi-cd,drive=c',
      '-device',
      'scsi-cd,id=e',
    ],
  ).machine;
  const found = devices.flatMap((device) =>
    device.type === 'virtio-scsi'
      ? [[device.queues, device.units.map(({ id, media, target, lun }) => [id, media, target, lun])]]
      : [],
  );
  assert.deepEqual(found, [
    [
      4,
      [
        ['c', 'cdrom', undefined, undefined],
        ['e', 'cdrom', undefined, undefined],
      ],
    ],
    [undefined, [['d', 'disk', 3, 1]]],
  ]);
  const none = ['-drive', 'if=none,id=d,file=d.img'];
  const controller = ['-device', 'virtio-scsi-pci'];
  assert.match(refusal(...none, '-device', 'scsi-hd,drive=d'), /there is no SCSI bus; -device virtio-scsi-pci/);
  assert.match(refusal(...none, ...controller, '-device', 'scsi-hd,drive=d,bus=x.0'), /there is no SCSI bus 'x.0'/);
  assert.match(
    refusal(...none, ...controller, '-device', 'scsi-hd,drive=d,scsi-id=256'),
    /scsi-id is a whole number from 0 to 255/,
  );
  assert.match(refusal(...controller, '-device', 'scsi-hd'), /drive= is missing/);
  assert.match(refusal('-drive', 'if=scsi,file=d.img'), /no SCSI controller of its own/);
  assert.match(
    refusal(...none, ...controller, '-device', 'scsi-generic,drive=d'),
    /'scsi-generic' is not supported yet/,
  );
});

test('NVMe controllers and their namespaces', () => {
  const { devices = [] } = plan(
    ...['-drive', 'if=none,id=a,file=a.img,format=raw', '-drive', 'if=none,id=b,file=b.img,format=raw'],
    ...[
      '-device',
      'nvme,id=n,serial=S,drive=a,addr=6',
      '-device',
      'nvme-ns,bus=n,drive=b,nsid=7,logical_block_size=4096',
    ],
  ).machine;
  const found = devices.flatMap((device) =>
    device.type === 'nvme'
      ? [
          [
            device.serial,
            device.slot,
            device.namespaces.map(({ id, namespace, logicalBlockSize }) => [id, namespace, logicalBlockSize]),
          ],
        ]
      : [],
  );
  assert.deepEqual(found, [
    [
      'S',
      6,
      [
        ['a', undefined, undefined],
        ['b', 7, 4096],
      ],
    ],
  ]);
  const drive = ['-drive', 'if=none,id=a,file=a.img'];
  assert.match(refusal(...drive, '-device', 'nvme,drive=a'), /serial= is missing/);
  assert.match(refusal(...drive, '-device', 'nvme-ns,drive=a'), /there is no NVMe controller; -device nvme/);
  assert.match(refusal('-device', 'nvme,serial=S,cmb_size_mb=4'), /cmb_size_mb= is not supported yet/);
});
