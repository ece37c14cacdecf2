/** USB under Linux's drivers (modules of Debian's kernel): disks with verified data, and what a person does at keyboard, mouse, tablet. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type DeviceOptions, type InputEvent, openDebian, type UsbDeviceOptions, VringError } from './index.js';

const limitMs = 400_000;
const folder = mkdtempSync(join(tmpdir(), 'vring usb '));
after(() => rmSync(folder, { recursive: true }));

const pattern = (bytes: number, seed: number) => {
  const content = Buffer.alloc(bytes);
  for (let i = 0; i < bytes; i += 4) content.writeUInt32LE(Math.imul(i + seed, 2654435761) >>> 0, i);
  return content;
};
const hash = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
/** Reads in pieces of 240 sectors and more, and of a few. */
const disk = pattern(2 << 20, 1);
const cd = pattern(1 << 20, 2);

/** Devices of evdev, and so many of their events as follow from what is done: a scan code with each key and button, an end of the report. */
const readers = [
  { name: 'VRING VRING USB Tablet', events: 5, does: { type: 'point', x: 0x1111, y: 0x2222, dz: 0, buttons: 1 } },
  { name: 'VRING VRING USB Keyboard', events: 3, does: { type: 'key', code: 0x1e, down: true } },
] as const satisfies readonly { name: string; events: number; does: InputEvent }[];

const script = [
  'echo 4 > /proc/sys/kernel/printk',
  'modprobe -a xhci_pci uhci_hcd usbhid hid_generic usb_storage sd_mod sr_mod evdev',
  'for try in $(seq 1 60); do [ -b /dev/sda -a -b /dev/sr0 ] && break; sleep 0.5; done',
  'echo disk $(sha256sum < /dev/sda)',
  'echo cd $(sha256sum < /dev/sr0)',
  'dd if=/dev/sda of=/tmp/piece bs=1k skip=3 count=301 2>/dev/null',
  'dd if=/tmp/piece of=/dev/sda bs=1k seek=1000 conv=notrunc,fsync 2>/dev/null && echo written',
  'echo 3 > /proc/sys/vm/drop_caches; echo again $(sha256sum < /dev/sda)',
  'find_event() { for e in /sys/class/input/event*; do [ "$(cat $e/device/name)" = "$1" ] && basename $e; done; }',
  ...readers.flatMap(({ name, events }, i) => [
    `e=; for try in $(seq 1 40); do e=$(find_event "${name}"); [ -n "$e" ] && break; sleep 0.5; done`,
    `dd if=/dev/input/$e of=/tmp/events${i} bs=24 count=${events} 2>/dev/null & sleep 1; echo == input ${i}`,
    `wait; echo events ${i} $(hexdump -v -e '24/1 "%02x" " "' /tmp/events${i})`,
  ]),
  'true',
].join('\n');

/** Type, code and value of each event. */
function eventsOf(line: string): number[][] {
  return line
    .trim()
    .split(' ')
    .map((text) => {
      const bytes = Buffer.from(text, 'hex');
      return [bytes.readUInt16LE(16), bytes.readUInt16LE(18), bytes.readInt32LE(20)];
    });
}

const storage = (media: 'disk' | 'cdrom', path: string): UsbDeviceOptions => ({
  ...{ kind: 'storage', media, image: { path, format: 'raw' } },
});

for (const model of ['piix3-usb-uhci', 'qemu-xhci'] as const)
  test(`USB under Linux: ${model}`, { timeout: limitMs }, async (t) => {
    const paths = [join(folder, `${model} disk`), join(folder, `${model} cd`)] as const;
    writeFileSync(paths[0], disk);
    writeFileSync(paths[1], cd);
    const devices: DeviceOptions[] = [
      {
        ...{ type: 'usb', model },
        devices: [{ kind: 'tablet' }, storage('disk', paths[0]), storage('cdrom', paths[1]), { kind: 'keyboard' }],
      },
    ];
    let session: Awaited<ReturnType<typeof openDebian>>;
    try {
      session = await openDebian({
        suite: 'bookworm',
        flavour: 'amd64',
        machine: { accelerators: ['tcg'], devices },
        command: ['sh', '-c', script],
      });
    } catch (error) {
      if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code))
        return t.skip(error.message);
      throw error;
    }
    await using running = session;
    let text = '';
    let seen = 0;
    running.stream('stdout').onData((bytes) => {
      text += Buffer.from(bytes).toString('latin1');
      const steps = [...text.matchAll(/^== input (\d)\n/gm)];
      for (const [, index] of steps.slice(seen)) void running.machine.sendInput([readers[Number(index)]!.does]);
      seen = steps.length;
    });
    await running.start();
    assert.equal(await running.exited, 0, `${text}\n${running.kernelLog}`);
    await running.machine.ended;
    const written = Buffer.concat([disk]);
    disk.copy(written, 1000 * 1024, 3 * 1024, 304 * 1024);
    const line = (start: string) => new RegExp(`^${start} (.*)$`, 'm').exec(text)?.[1] ?? '';
    assert.equal(line('disk'), `${hash(disk)} -`, running.kernelLog);
    assert.equal(line('cd'), `${hash(cd)} -`);
    assert.match(text, /^written$/m);
    assert.equal(line('again'), `${hash(written)} -`);
    assert.ok(readFileSync(paths[0]).equals(written));
    const button = [
      [4, 4, 0x90001],
      [1, 0x110, 1],
      [3, 0, 0x1111],
      [3, 1, 0x2222],
      [0, 0, 0],
    ];
    assert.deepEqual(eventsOf(line('events 0')), button);
    const key = [
      [4, 4, 0x70004],
      [1, 30, 1],
      [0, 0, 0],
    ];
    assert.deepEqual(eventsOf(line('events 1')), key);
  });
