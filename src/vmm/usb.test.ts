import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ScreenFrame } from '../display/index.js';
import { findFirmware } from '../host/node/firmware-file.js';
import { InputRoutes } from './input-routes.js';
import { createMachine } from './machine.js';
import { bootableCd, bootableDisk } from './testing/boot-images.js';
import { placeUsb, type UsbDeviceOptions, UsbPlaces } from './usb-options.js';

const limitMs = 60_000;
const seabios = findFirmware('bios-256k.bin', []);
const folder = mkdtempSync(join(tmpdir(), 'vring-usb-'));
after(() => rmSync(folder, { recursive: true }));

test('ports are given as QEMU gives them: a hub goes into the last one that is free', () => {
  const place = (...devices: UsbDeviceOptions[]) =>
    placeUsb({ type: 'usb', model: 'piix3-usb-uhci', devices }).map(({ kind, port }) => `${kind} ${port}`);
  const mouse = { kind: 'mouse' } as const;
  assert.deepEqual(place(mouse, mouse, mouse), ['mouse 1', 'hub 2', 'mouse 2.1', 'mouse 2.2']);
  assert.deepEqual(place({ ...mouse, port: '2' }, { kind: 'hub' }, { ...mouse, port: '1.8' }), [
    ...['mouse 2', 'hub 1', 'mouse 1.8'],
  ]);
  const bad = (...devices: UsbDeviceOptions[]) => assert.throws(() => place(...devices), { code: 'options-invalid' });
  bad({ ...mouse, port: '3' });
  bad({ ...mouse, port: '1' }, { ...mouse, port: '1' });
  bad({ ...mouse, port: '1.1' });
  bad(...['1', '1.1', '1.1.1', '1.1.1.1', '1.1.1.1.1', '1.1.1.1.1.1'].map((port) => ({ kind: 'hub', port }) as const));
  assert.throws(() => placeUsb({ type: 'usb', model: 'qemu-xhci', ports2: 16, devices: [] }), {
    code: 'options-invalid',
  });
});

test('ports that are given back are taken last, those behind a hub go with it', () => {
  const places = new UsbPlaces({ type: 'usb', model: 'qemu-xhci', bus: 'x.0' });
  const take = (kind: UsbDeviceOptions['kind'] = 'mouse', port?: string) => places.take(kind, port);
  assert.deepEqual(
    [take(), take('hub'), take('mouse', '2.3'), take()].map(({ port }) => port),
    ['1', '2', '2.3', '3'],
  );
  for (const port of ['1', '2.3', '2']) places.giveBack(port);
  assert.deepEqual([take(), take(), take()], [{ port: '4' }, { port: '1' }, { hub: '2', port: '2.1' }]);
  for (let i = 2; i < 8; i++) take();
  assert.throws(() => take('mouse', '1'), { message: 'usb port 1 (bus x.0) not found (in use?)' });
  // The last port of the hub takes another hub.
  assert.deepEqual(take(), { hub: '2.8', port: '2.8.1' });
  const full = new UsbPlaces({ type: 'usb', model: 'piix3-usb-uhci' });
  for (const port of ['1', '2']) full.take('mouse', port);
  assert.throws(() => full.take('keyboard', undefined), {
    message: 'tried to attach usb device VRING USB Keyboard to a bus with no free ports',
  });
});

test('keys and places go to USB devices as soon as their driver asks, and whoever shows the screen hears of it', () => {
  const frame = ScreenFrame.create(0);
  const routes = new InputRoutes(frame);
  const keys: string[] = [];
  routes.board = { key: (code, down) => keys.push(`${code} ${down}`), moveMouse: () => keys.push('moved') };
  const tablet = routes.addUsb({ kind: 'tablet', speed: 'high' });
  const keyboard = routes.addUsb({ kind: 'keyboard', speed: 'high' });
  const report = (device: typeof tablet): number[] | number => {
    const bytes = new Uint8Array(8);
    const count = device.packet('in', 1, bytes);
    return count < 0 ? count : [...bytes.subarray(0, count)];
  };
  routes.key(0x1e, true);
  routes.moveMouse(1, 1, 0, 0);
  assert.deepEqual(keys, ['30 true', 'moved']);
  assert.equal(frame.isAbsolute, false);
  for (const device of [tablet, keyboard]) {
    device.packet('setup', 0, Uint8Array.of(0, 9, 1, 0, 0, 0, 0, 0));
    device.packet('in', 0, new Uint8Array(0));
    assert.equal(report(device), -1);
  }
  assert.equal(frame.isAbsolute, true);
  routes.key(0x1e, true);
  routes.point(0x4000, 0x2000, 0, 1);
  routes.moveMouse(0, 0, -1, 0);
  assert.deepEqual(report(keyboard), [0, 0, 4, 0, 0, 0, 0, 0]);
  assert.deepEqual(report(tablet), [1, 0, 0x40, 0, 0x20, 0]);
  assert.deepEqual(report(tablet), [0, 0, 0x40, 0, 0x20, 0xff]);
  // Another may be chosen, and is told of.
  assert.deepEqual(
    routes.mice.map(({ index, current }) => [index, current]),
    [
      [2, false],
      [3, true],
    ],
  );
  routes.chooseMouse(2);
  assert.equal(frame.isAbsolute, false);
  routes.moveMouse(0, 0, 1, 0);
  assert.equal(keys.pop(), 'moved');
  routes.chooseMouse(3);
  assert.equal(frame.isAbsolute, true);
  assert.throws(() => routes.chooseMouse(4), { message: "Input device 'QEMU HID Keyboard' is not a mouse" });
  tablet.reset();
  keyboard.reset();
  assert.equal(frame.isAbsolute, false);
  routes.key(0x1e, false);
  assert.deepEqual(keys, ['30 true', 'moved', '30 false']);
});

for (const [model, media, port] of [
  ['piix3-usb-uhci', 'disk', '2.3'],
  ['qemu-xhci', 'disk', '1'],
  ['nec-usb-xhci', 'cdrom', '4'],
] as const)
  test(`SeaBIOS boots from a USB ${media} at port ${port} of a ${model}`, {
    skip: !seabios && 'no seabios here',
    timeout: limitMs,
  }, async () => {
    const text = `booted from ${model}`;
    const path = join(folder, model);
    writeFileSync(path, media === 'disk' ? bootableDisk(text) : bootableCd(text));
    const other = join(folder, `${model} other`);
    writeFileSync(other, bootableDisk('booted from another disk'));
    const hub = { kind: 'hub', port: '2', id: 'hub' } as const;
    await using machine = await createMachine({
      ramBytes: 64 << 20,
      firmware: { image: seabios as string, serialConsole: true },
      devices: [
        { type: 'virtio-blk', image: { path: other, format: 'raw' }, bootIndex: 2 },
        {
          ...{ type: 'usb', model },
          devices: [
            ...(port.includes('.') ? [hub] : []),
            { kind: 'storage', media, image: { path, format: 'raw' }, port, id: 'stick', driveId: 'd', bootIndex: 1 },
            { kind: 'keyboard' },
          ],
        },
      ],
    });
    await machine.start();
    await machine.serial().waitForText(text, { timeoutMs: limitMs });
    const shown = await machine.info('usb');
    assert.match(shown, new RegExp(`Port ${port}, Speed (12|480) Mb/s, Product VRING USB HARDDRIVE, ID: stick`));
    assert.deepEqual(
      (await machine.disks()).map(({ id }) => id),
      ['virtio0', 'd'],
    );
  });
