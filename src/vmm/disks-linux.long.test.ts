/** Disks and CD drives of every controller under Linux's own drivers (modules of Debian's kernel): patterns, discard, flush, errors. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type DeviceOptions, type DiskImage, openDebian, VringError } from './index.js';

const limitMs = 300_000;
const folder = mkdtempSync(join(tmpdir(), 'vring disks '));
after(() => rmSync(folder, { recursive: true }));
const EIO = 5;

const pattern = (bytes: number, seed: number) => {
  const content = Buffer.alloc(bytes);
  for (let i = 0; i < bytes; i += 4) content.writeUInt32LE(Math.imul(i + seed, 2654435761) >>> 0, i);
  return content;
};
const hash = (bytes: Uint8Array) => `${createHash('sha256').update(bytes).digest('hex')}  -`;

let files = 0;
function file(content: Uint8Array): string {
  const path = join(folder, `image ${files++}`);
  writeFileSync(path, content);
  return path;
}

/** Images for one controller: a disk, one on which every write fails, perhaps a CD. */
interface Images {
  readonly disk: DiskImage;
  readonly bad: DiskImage;
  readonly cd: DiskImage;
}

interface Controller {
  readonly name: string;
  readonly modules: string;
  /** How Linux begins the names of its disks; what stands in `device/vendor` or `device/model` of one, of the CD drive. */
  readonly prefix: string;
  readonly mark: string;
  readonly cdMark?: string;
  devices(images: Images): readonly DeviceOptions[];
}

const controllers: readonly Controller[] = [
  {
    name: 'PIIX IDE',
    modules: 'ata_piix sd_mod sr_mod',
    prefix: 'sd',
    mark: 'ATA',
    cdMark: 'VRING .*DVD-ROM',
    devices: ({ disk, bad, cd }) => [
      { type: 'ide', media: 'disk', image: disk },
      { type: 'ide', media: 'disk', image: bad },
      { type: 'ide', media: 'cdrom', image: cd },
    ],
  },
  {
    name: 'virtio-scsi',
    modules: 'virtio_scsi sd_mod sr_mod',
    prefix: 'sd',
    mark: 'VRING  *VRING',
    cdMark: 'VRING .*CD-ROM',
    devices: ({ disk, bad, cd }) => [
      {
        type: 'virtio-scsi',
        packed: true,
        queues: 2,
        units: [
          { media: 'disk', image: disk, serial: 'S1', rotationRate: 1 },
          { media: 'disk', image: bad, target: 0, lun: 1 },
          { media: 'cdrom', image: cd, target: 3 },
        ],
      },
    ],
  },
  {
    name: 'virtio-blk',
    modules: 'virtio_blk',
    prefix: 'vd',
    mark: '0x',
    devices: ({ disk, bad }) => [
      { type: 'virtio-blk', image: disk, packed: true },
      { type: 'virtio-blk', image: bad },
    ],
  },
  {
    name: 'NVMe',
    modules: 'nvme',
    prefix: 'nvme',
    mark: ' *VRING NVMe Ctrl',
    devices: ({ disk, bad }) => [
      { type: 'nvme', serial: 'N1', namespaces: [{ image: disk }, { image: bad, namespace: 5 }] },
    ],
  },
];

const disk = pattern(24 << 20, 1);
const cd = pattern(6 << 20, 77);
const written = pattern(6 << 20, 99);
const plugged = pattern(3 << 20, 123);
const badContent = pattern(1 << 20, 5);

/** `pick PREFIX SECTORS MARK`: the node of that size and kind, which is waited for. */
const pick = [
  'pick() { for try in 1 2 3 4 5 6 7 8 9; do for b in /sys/block/$1*; do',
  '  [ "$(cat $b/size)" = "$2" ] && echo "$(cat $b/device/vendor 2>/dev/null)" $(cat $b/device/model) | grep -q "^$3" && basename $b && return;',
  'done; sleep 1; done; }',
].join('\n');

/** What is done with one controller, and what is printed. */
function steps({ prefix, mark, cdMark, modules }: Controller): string[] {
  return [
    `modprobe -a ${modules}`,
    `d=$(pick ${prefix} ${disk.length / 512} "${mark}"); b=$(pick ${prefix} ${badContent.length / 512} "${mark}")`,
    'sha256sum < /dev/$d',
    'dd if=/dev/zero of=/dev/$d bs=4096 seek=1 count=1 conv=notrunc,fsync 2>/dev/null && echo zeroed',
    'dd if=/tmp/written of=/dev/$d bs=1M seek=10 oflag=direct conv=notrunc,fsync 2>/dev/null && echo written',
    'echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/$d bs=1M skip=10 count=6 2>/dev/null | sha256sum',
    'blkdiscard -o 1048576 -l 1048576 /dev/$d && echo discarded',
    'echo x | dd of=/dev/$b bs=4096 count=1 conv=sync,fsync 2>/dev/null || echo failed as told',
    'dd if=/dev/$b bs=4096 count=1 iflag=direct 2>/dev/null | sha256sum',
    ...(cdMark === undefined ? [] : [`c=$(pick sr ${cd.length / 512} "${cdMark}"); sha256sum < /dev/$c`]),
  ];
}

test('disks and CDs of every controller', { timeout: 2 * limitMs }, async (t) => {
  const badImage = (): DiskImage => ({
    options: {
      driver: 'blkdebug',
      ...{ 'image.driver': 'file', 'image.filename': file(badContent), 'inject-error.0.event': 'none' },
      ...{ 'inject-error.0.iotype': 'write', 'inject-error.0.errno': EIO },
    },
    onWriteError: 'report',
  });
  const disks = controllers.map(() => file(disk));
  const devices = controllers.flatMap((controller, i) =>
    controller.devices({
      disk: { path: disks[i], format: 'raw', discard: 'unmap' },
      bad: badImage(),
      cd: { path: file(cd), format: 'raw' },
    }),
  );
  const script = [
    pick,
    // The pattern of 4-byte words comes from a disk of its own.
    `modprobe virtio_blk; w=$(pick vd ${written.length / 512} 0x); dd if=/dev/$w of=/tmp/written bs=1M 2>/dev/null`,
    ...controllers.flatMap((controller) => [`echo == ${controller.name}`, ...steps(controller)]),
    'echo == packed; cut -c35 /sys/bus/virtio/devices/*/features | tr -d "\\n"; echo',
    // A disk that comes and goes.
    'echo == plug',
    `p=$(pick sd ${plugged.length / 512} "VRING  *VRING"); sha256sum < /dev/$p; echo == unplug`,
    'for try in 1 2 3 4 5 6 7 8 9; do [ -b /dev/$p ] || break; sleep 1; done; [ -b /dev/$p ] || echo gone',
    'true',
  ].join('\n');
  let session: Awaited<ReturnType<typeof openDebian>>;
  try {
    session = await openDebian({
      suite: 'bookworm',
      flavour: 'amd64',
      machine: { devices: [...devices, { type: 'virtio-blk', image: { path: file(written), format: 'raw' } }] },
      command: ['sh', '-c', script],
    });
  } catch (error) {
    if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code)) return t.skip(error.message);
    throw error;
  }
  await using running = session;
  let text = '';
  let step = 0;
  const failures: unknown[] = [];
  running.stream('stdout').onData((bytes) => {
    text += Buffer.from(bytes).toString('latin1');
    const { hotplug } = running.machine;
    if (text.includes('== plug\n') && step === 0) {
      step = 1;
      const node = { 'node-name': 'come', driver: 'raw', 'file.driver': 'file', 'file.filename': file(plugged) };
      void hotplug
        .addBlockNode(node)
        .then(() => hotplug.plugScsi('scsi0', { media: 'disk', device: 'late', image: { node: 'come' } }))
        .catch((error: unknown) => failures.push(error));
    } else if (text.includes('== unplug\n') && step === 1) {
      step = 2;
      void hotplug
        .unplug('late')
        .then(() => hotplug.removeBlockNode('come'))
        .catch((error: unknown) => failures.push(error));
    }
  });
  await running.start();
  running.stream('stdin').endInput();
  assert.equal(await running.exited, 0, `${text}\n${running.kernelLog}`);
  await running.machine.ended;
  t.diagnostic(text.replaceAll('\n', ' | '));
  assert.deepEqual(failures, []);
  assert.equal(
    text.split('== packed\n')[1]!.split('\n')[0]!.replaceAll('0', ''),
    '11',
    'the driver has taken packed rings',
  );
  assert.match(text, new RegExp(`== plug\n${hash(plugged)}\n== unplug\ngone`));
  for (const [i, { name, cdMark }] of controllers.entries()) {
    const lines = text.split(`== ${name}\n`)[1]!.split('==')[0]!.trimEnd().split('\n');
    const expected = [
      hash(disk),
      'zeroed',
      'written',
      hash(written),
      'discarded',
      'failed as told',
      hash(badContent.subarray(0, 4096)),
      ...(cdMark === undefined ? [] : [hash(cd)]),
    ];
    assert.deepEqual(lines.slice(0, expected.length), expected, name);
    const image = readFileSync(disks[i]!);
    const after = Buffer.from(disk);
    after.fill(0, 4096, 8192);
    after.fill(0, 1 << 20, 2 << 20);
    written.copy(after, 10 << 20);
    assert.ok(image.equals(after), `${name}: the image holds what the guest wrote, and nothing else has changed`);
  }
});
