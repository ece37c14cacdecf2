import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BlockGraph } from '../block/index.js';
import { NodeBlockHost } from '../host/node/block-host.js';
import { findFirmware } from '../host/node/firmware-file.js';
import { DEFAULT_ARCHITECTURE } from './architectures.js';
import { createMachine } from './machine.js';
import { bootableCd, bootableDisk } from './testing/boot-images.js';

const limitMs = 60_000;
const seabios = findFirmware(DEFAULT_ARCHITECTURE.defaultFirmware ?? '', []);

test('SeaBIOS comes up on the serial console, to its menu, and after a reset again', {
  skip: !seabios && 'no seabios here',
  timeout: limitMs,
}, async () => {
  await using machine = await createMachine({
    ramBytes: 64 << 20,
    firmware: { image: seabios as string, serialConsole: true, bootMenuMs: 30_000 },
    devices: [
      { type: 'virtio-blk', image: { options: { driver: 'null-co', size: 1 << 20, 'read-zeroes': true } } },
      { type: 'isa-debugcon', port: 0x402 },
    ],
  });
  const serial = machine.serial();
  const wait = { timeoutMs: limitMs };
  const debug = machine.debugConsole().waitForText('using modern (1.0) virtio mode', wait);
  await machine.start();
  await serial.waitForText('Press ESC for boot menu', wait);
  const log = await debug;
  assert.match(log, /Found QEMU fw_cfg/);
  assert.match(log, /Copying SMBIOS from/);
  assert.match(log, /ACPI: parse DSDT/);
  await serial.write('\x1b');
  await serial.waitForText(/Select boot device:[\s\S]*1\. Virtio disk PCI:00:02\.0/, wait);
  await serial.write('1');
  await serial.waitForText('Boot failed: not a bootable disk', wait);
  await serial.waitForText('No bootable device', wait);
  await machine.reset();
  await serial.waitForText('Press ESC for boot menu', wait);
});

const folder = mkdtempSync(join(tmpdir(), 'vring-firmware-'));
after(() => rmSync(folder, { recursive: true }));

/** A boot sector that reads the sector behind it by INT 13h, and shows its text by INT 10h. */
const bootSector = [
  ...[0x31, 0xc0, 0x8e, 0xc0, 0x8e, 0xd8], // es = ds = 0
  ...[0xb8, 0x01, 0x02, 0xb9, 0x02, 0x00, 0xb6, 0x00, 0xbb, 0x00, 0x7e, 0xcd, 0x13], // sector 2 to 0:7e00
  ...[0xbe, 0x00, 0x7e, 0xac, 0x84, 0xc0, 0x74, 0x06, 0xb4, 0x0e, 0xcd, 0x10, 0xeb, 0xf5], // show what lies there
  ...[0xf4, 0xeb, 0xfd],
];

test('a disk is booted, the one with the lowest boot index', {
  skip: !seabios && 'no seabios here',
  timeout: limitMs,
}, async () => {
  const graph = new BlockGraph(new NodeBlockHost(() => {}));
  const disk = async (name: string, text: string) => {
    const path = join(folder, name);
    await graph.create('qcow2', path, { size: 1 << 20 });
    const node = await graph.open({ filename: path, format: 'qcow2', flags: { readOnly: false } });
    const bytes = new Uint8Array(1024);
    bytes.set(bootSector);
    bytes.set([0x55, 0xaa], 510);
    bytes.set(new TextEncoder().encode(text), 512);
    await node.write(0, bytes);
    await node.close();
    return { path, format: 'qcow2' };
  };
  await using machine = await createMachine({
    ramBytes: 64 << 20,
    firmware: { image: seabios as string, serialConsole: true },
    devices: [
      { type: 'virtio-blk', image: await disk('first', 'booted from the first disk'), bootIndex: 2 },
      { type: 'virtio-blk', image: await disk('second', 'booted from the second disk'), bootIndex: 1 },
    ],
  });
  await machine.start();
  await machine.serial().waitForText('booted from the second disk', { timeoutMs: limitMs });
});

test('strict: nothing is booted from but what has a boot index', {
  skip: !seabios && 'no seabios here',
  timeout: limitMs,
}, async () => {
  const disk = { options: { driver: 'null-co', size: 1 << 20, 'read-zeroes': true } };
  for (const bootStrict of [true, false]) {
    await using machine = await createMachine({
      ramBytes: 64 << 20,
      firmware: { image: seabios as string, serialConsole: true, bootStrict },
      devices: [{ type: 'virtio-blk', image: disk, bootIndex: 1 }],
    });
    await machine.start();
    const text = await machine.serial().waitForText('No bootable device.', { timeoutMs: limitMs });
    assert.match(text, /Booting from Hard Disk/);
    assert.equal(/Booting from Floppy/.test(text), !bootStrict);
  }
});

test('a disk that is plugged in later is booted from the next reset on, one that is pulled out no more', {
  skip: !seabios && 'no seabios here',
  timeout: limitMs,
}, async () => {
  const disk = (name: string) => {
    const path = join(folder, `later-${name}`);
    const bytes = new Uint8Array(1 << 20);
    bytes.set(bootSector);
    bytes.set([0x55, 0xaa], 510);
    bytes.set(new TextEncoder().encode(`booted from ${name}`), 512);
    writeFileSync(path, bytes);
    return { path, format: 'raw' };
  };
  await using machine = await createMachine({
    ramBytes: 64 << 20,
    firmware: { image: seabios as string, serialConsole: true },
    devices: [
      { type: 'virtio-blk', image: disk('what was there'), bootIndex: 4 },
      { type: 'virtio-scsi', id: 'scsi', units: [] },
      { type: 'usb', model: 'qemu-xhci', bus: 'usb.0', devices: [] },
    ],
  });
  const boots = (name: string) => machine.serial().waitForText(`booted from ${name}`, { timeoutMs: limitMs });
  await machine.start();
  await boots('what was there');
  const { hotplug } = machine;
  const storage = { kind: 'storage', id: 'stick', media: 'disk' } as const;
  await hotplug.plugUsb('usb.0', { ...storage, image: disk('USB'), bootIndex: 3 });
  await hotplug.plugScsi('scsi', { media: 'disk', device: 'unit', image: disk('SCSI'), bootIndex: 2 });
  await machine.reset();
  await boots('SCSI');
  await hotplug.unplug('unit');
  await machine.reset();
  await boots('USB');
  await hotplug.unplug('stick');
  await machine.reset();
  await boots('what was there');
  await hotplug.plug('card', { type: 'virtio-blk', image: disk('virtio'), bootIndex: 1 });
  await machine.reset();
  await boots('virtio');
});

test('counted time: firmware, its disk and its console are alike in two runs, and on the cold tier', {
  skip: !seabios && 'no seabios here',
  timeout: limitMs,
}, async () => {
  const path = join(folder, 'counted');
  const bytes = new Uint8Array(1 << 20);
  // The boot sector reads the next one, and gives its first byte to the exit device.
  bytes.set([...bootSector.slice(0, 19), 0xa0, 0x00, 0x7e, 0xe6, 0xf4, 0xf4]);
  bytes.set([0x55, 0xaa], 510);
  bytes[512] = 21;
  writeFileSync(path, bytes);
  const run = async (hotThreshold: number) => {
    await using machine = await createMachine({
      ramBytes: 64 << 20,
      icount: { shift: 3 },
      hotThreshold,
      firmware: { image: seabios as string, serialConsole: true },
      devices: [
        { type: 'virtio-blk', image: { path, format: 'raw' } },
        { type: 'isa-debug-exit', port: 0xf4, sizeBytes: 1 },
      ],
    });
    let shown = '';
    machine.serial().onData((chunk) => {
      shown += Buffer.from(chunk).toString('latin1');
    });
    await machine.start();
    assert.deepEqual(await machine.ended, { why: 'exit', status: (21 << 1) | 1 });
    const { instructions } = (await machine.statistics())['guest'];
    return { shown, instructions };
  };
  const first = await run(1024);
  assert.match(first.shown, /Booting from Hard Disk/);
  assert.ok(first.instructions > 1_000_000);
  assert.deepEqual(await run(1024), first);
  assert.deepEqual(await run(0), first);
});

test('IDE disks and a CD are booted in the order that is asked for; the medium is changed, and the new one booted', {
  skip: !seabios && 'no seabios here',
  timeout: limitMs,
}, async () => {
  const image = (name: string, bytes: Uint8Array) => {
    const path = join(folder, name);
    writeFileSync(path, bytes);
    return { path, format: 'raw' };
  };
  const wait = { timeoutMs: limitMs };
  const hda = image('hda', bootableDisk('booted from hda'));
  const hdb = image('hdb', bootableDisk('booted from hdb'));
  const cd = image('cd', bootableCd('booted from the CD'));
  const other = image('other cd', bootableCd('booted from the other CD'));
  const build = (bootDevices: string | undefined, second: number | undefined) =>
    createMachine({
      ramBytes: 64 << 20,
      firmware: { image: seabios as string, serialConsole: true, bootDevices },
      devices: [
        { type: 'ide', media: 'disk', image: hda },
        { type: 'ide', media: 'disk', image: hdb, bootIndex: second },
        { type: 'ide', media: 'cdrom', image: cd },
      ],
    });
  {
    await using machine = await build(undefined, 1);
    await machine.start();
    await machine.serial().waitForText('booted from hdb', wait);
    assert.deepEqual(
      (await machine.disks()).map(({ id, removable, tray }) => [id, removable, tray?.open]),
      [
        ['ide0-hd0', false, undefined],
        ['ide0-hd1', false, undefined],
        ['ide1-cd0', true, false],
      ],
    );
  }
  await using machine = await build('dc', undefined);
  const moves: [string, boolean][] = [];
  machine.on('trayMoved', (id, open) => moves.push([id, open]));
  await machine.start();
  await machine.serial().waitForText('booted from the CD', wait);
  await assert.rejects(machine.ejectMedium('ide0-hd0'), { code: 'disk-fixed' });
  await assert.rejects(machine.ejectMedium('cd7'), { code: 'no-such-disk' });
  await assert.rejects(machine.changeMedium('ide1-cd0', { path: join(folder, 'missing') }), { code: 'disk-open' });
  await machine.changeMedium('ide1-cd0', other);
  await machine.reset();
  await machine.serial().waitForText('booted from the other CD', wait);
  await machine.ejectMedium('ide1-cd0');
  assert.equal((await machine.disks())[2].inserted, false);
  await machine.reset();
  await machine.serial().waitForText('booted from hda', wait);
  assert.deepEqual(moves.at(-1), ['ide1-cd0', true]);
});

test('the board q35: AHCI disks, a CD and a disk behind a root port are booted, in the order that is asked for', {
  skip: !seabios && 'no seabios here',
  timeout: limitMs,
}, async () => {
  const image = (name: string, bytes: Uint8Array) => {
    const path = join(folder, name);
    writeFileSync(path, bytes);
    return { path, format: 'raw' };
  };
  const hda = image('sata disk', bootableDisk('booted from port 0'));
  const plugged = image('plugged disk', bootableDisk('booted from a plugged controller'));
  const cd = image('sata cd', bootableCd('booted from the CD on port 2'));
  const behind = image('disk behind a port', bootableDisk('booted from behind a port'));
  for (const [pluggedIndex, cdIndex, behindIndex, expected] of [
    [1, 2, 3, 'booted from a plugged controller'],
    [undefined, 1, 2, 'booted from the CD on port 2'],
    [3, 2, 1, 'booted from behind a port'],
  ] as const) {
    await using machine = await createMachine({
      machine: 'q35',
      ramBytes: 64 << 20,
      firmware: { image: seabios as string, serialConsole: true },
      devices: [
        { type: 'ide', media: 'disk', image: hda },
        { type: 'ide', media: 'cdrom', image: cd, bootIndex: cdIndex },
        { type: 'ahci', drives: [{ media: 'disk', image: plugged, bootIndex: pluggedIndex }] },
        { type: 'pcie-root-port', id: 'port' },
        { type: 'virtio-blk', id: 'behind', slot: 'port', image: behind, bootIndex: behindIndex },
      ],
    });
    await machine.start();
    await machine.serial().waitForText(expected, { timeoutMs: limitMs });
    assert.deepEqual(
      (await machine.disks()).map(({ id }) => id),
      ['ide0-hd0', 'ide2-cd0', 'ahci0-hd0', 'behind'],
    );
  }
});

test('an NVMe namespace and a SCSI disk are booted, the one with the lowest boot index', {
  skip: !seabios && 'no seabios here',
  timeout: 3 * limitMs,
}, async () => {
  const image = (text: string) => {
    const path = join(folder, text);
    writeFileSync(path, bootableDisk(text));
    return { path, format: 'raw' };
  };
  const [nvme, scsi] = [image('booted from NVMe'), image('booted from SCSI')];
  for (const [nvmeIndex, scsiIndex, expected] of [
    [1, 2, 'booted from NVMe'],
    [2, 1, 'booted from SCSI'],
  ] as const) {
    await using machine = await createMachine({
      ramBytes: 64 << 20,
      firmware: { image: seabios as string, serialConsole: true },
      devices: [
        { type: 'nvme', serial: 'N', namespaces: [{ image: nvme, bootIndex: nvmeIndex }] },
        { type: 'virtio-scsi', units: [{ media: 'disk', image: scsi, target: 2, bootIndex: scsiIndex }] },
      ],
    });
    await machine.start();
    await machine.serial().waitForText(expected, { timeoutMs: limitMs });
  }
});

test("firmware of Arm's 32 bits starts in flash at address 0, and ends the machine by PSCI", {
  timeout: limitMs,
}, async () => {
  // mov r1, #0x09000000 · mov r0, #'O' · str r0, [r1] · mov r0, #'K' · str r0, [r1] · ldr r0, [pc] · hvc #0 · SYSTEM_OFF
  const code = [0xe3a01409, 0xe3a0004f, 0xe5810000, 0xe3a0004b, 0xe5810000, 0xe59f0000, 0xe1400070, 0x84000008];
  const image = join(folder, 'arm-firmware');
  writeFileSync(image, new Uint8Array(new Uint32Array(code).buffer));
  await using machine = await createMachine({ architecture: 'arm', ramBytes: 64 << 20, firmware: { image } });
  const text = machine.serial().waitForText('OK', { timeoutMs: limitMs });
  await machine.start();
  await text;
  assert.deepEqual(await machine.ended, { why: 'poweroff' });
});

/** Multiboot with address fields: header and code at 1 MiB, a byte of bss behind. */
function multibootProgram(code: readonly number[]): Uint8Array {
  const gpa = 0x100000;
  const flags = 0x10000;
  const words = [0x1badb002, flags, -(0x1badb002 + flags) >>> 0, gpa, gpa, 0, gpa + 0x401, gpa + 32];
  const image = new Uint8Array(0x200);
  image.set(new Uint8Array(Uint32Array.from(words).buffer));
  image.set(code, 32);
  return image;
}

test('a Multiboot program is booted by SeaBIOS, with its module and its bss, after a reset too', {
  skip: !seabios && 'no seabios here',
  timeout: limitMs,
}, async () => {
  const kernel = multibootProgram([
    ...[0x8b, 0x73, 0x10, 0xac, 0x84, 0xc0, 0x74, 0x04, 0xe6, 0xe9, 0xeb, 0xf7], // the command line to port 0xe9
    ...[0x8b, 0x7b, 0x18, 0x8b, 0x37, 0xac, 0xe6, 0xe9], // the first byte of the first module
    ...[0xa0, 0x00, 0x04, 0x10, 0x00, 0x04, 0x30, 0xe6, 0xe9], // the byte of bss, as a digit
    ...[0xc6, 0x05, 0x00, 0x04, 0x10, 0x00, 0x01], // which is 1 from now on
    ...[0xa0, 0x14, 0x04, 0x00, 0x00, 0x04, 0x30, 0xe6, 0xe9], // the size of low memory as the BIOS keeps it, high byte
    ...[0xfa, 0xf4, 0xeb, 0xfd], // cli; hlt
  ]);
  await using machine = await createMachine({
    ramBytes: 32 << 20,
    firmware: { image: seabios as string },
    kernel,
    initrd: new TextEncoder().encode('M'),
    commandLine: 'a b ',
    devices: [{ type: 'isa-debugcon', port: 0xe9 }],
  });
  const wait = { timeoutMs: limitMs };
  const debug = machine.debugConsole();
  const first = debug.waitForText('a b M02', wait);
  await machine.start();
  await first;
  const second = debug.waitForText('a b M02', wait);
  await machine.reset();
  await second;
});
