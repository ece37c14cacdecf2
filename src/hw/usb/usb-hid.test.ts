import assert from 'node:assert/strict';
import test from 'node:test';
import { setupBytes } from './testing.js';
import { answer } from './usb-codes.js';
import { UsbHid, type UsbHidKind } from './usb-hid.js';

function configured(kind: UsbHidKind) {
  const used: boolean[] = [];
  const device = new UsbHid({ kind, speed: 'full', events: { used: (isUsed) => used.push(isUsed) } });
  device.reset();
  const control = (setup: Uint8Array, data = new Uint8Array(0)): Uint8Array | 'stall' => {
    device.packet('setup', 0, setup);
    const isIn = (setup[0]! & 0x80) !== 0;
    const bytes = new Uint8Array(setup[6]! | (setup[7]! << 8));
    let at = 0;
    while (isIn && at < bytes.length) {
      const piece = bytes.subarray(at, at + 64);
      const count = device.packet('in', 0, piece);
      if (count < 0) return 'stall';
      at += count;
      if (count < piece.length) break;
    }
    if (data.length > 0 && device.packet('out', 0, data) < 0) return 'stall';
    const end = device.packet(isIn && bytes.length > 0 ? 'out' : 'in', 0, new Uint8Array(0));
    return end < 0 ? 'stall' : bytes.subarray(0, at);
  };
  control(setupBytes(0, 5, 7, 0, 0));
  control(setupBytes(0, 9, 1, 0, 0));
  const report = (): number[] | number => {
    const bytes = new Uint8Array(8);
    const count = device.packet('in', 1, bytes);
    return count < 0 ? count : [...bytes.subarray(0, count)];
  };
  return { device, control, report, used };
}

test('descriptors: those of the device, the configuration with the HID descriptor in it, reports of that length', () => {
  for (const [kind, protocol, size] of [
    ['keyboard', 1, 8],
    ['mouse', 2, 4],
    ['tablet', 0, 6],
  ] as const) {
    const { device, control } = configured(kind);
    assert.equal(device.base.address, 7);
    const head = control(setupBytes(0x80, 6, 0x0100, 0, 64));
    assert.deepEqual([...head].slice(0, 4), [18, 1, 0x10, 0x01]);
    assert.deepEqual([...head].slice(7, 12), [64, 0x27, 0x06, 1, 0]);
    const all = control(setupBytes(0x80, 6, 0x0200, 0, 255)) as Uint8Array;
    assert.equal(all[2], all.length);
    assert.deepEqual([...all].slice(14, 17), [3, kind === 'tablet' ? 0 : 1, protocol]);
    const [length, at] = [all[25]! | (all[26]! << 8), 18];
    assert.equal(all[at + 1], 0x21);
    assert.equal((control(setupBytes(0x81, 6, 0x2200, 0, 255)) as Uint8Array).length, length);
    assert.deepEqual([...all].slice(27), [7, 5, 0x81, 3, size, 0, 8]);
    const text = control(setupBytes(0x80, 6, 0x0302, 0x0409, 255)) as Uint8Array;
    assert.match(new TextDecoder('utf-16le').decode(text.subarray(2)), /^VRING USB (Keyboard|Mouse|Tablet)$/);
    assert.equal(control(setupBytes(0x80, 6, 0x0600, 0, 10)), 'stall', 'a device of full speed has no qualifier');
  }
});

test('a tablet: places, buttons, the wheel; what waits is joined, but no button is lost', () => {
  const { device, report, used } = configured('tablet');
  assert.equal(report(), answer.nak);
  assert.deepEqual(used, [true]);
  device.point(0x1234, 0x7fff, 0, 0);
  device.point(0x100, 0x200, 1, 0);
  device.point(0x100, 0x200, 0, 1);
  device.point(0x100, 0x200, 0, 0);
  assert.deepEqual(report(), [0, 0x00, 0x01, 0x00, 0x02, 1]);
  assert.deepEqual(report(), [1, 0x00, 0x01, 0x00, 0x02, 0]);
  assert.deepEqual(report(), [0, 0x00, 0x01, 0x00, 0x02, 0]);
  assert.equal(report(), answer.nak);
  for (let i = 0; i < 40; i++) device.point(i, i, 0, i & 1);
  let last: number[] | number = [];
  for (let next = report(); next !== answer.nak; next = report()) last = next;
  assert.equal((last as number[]).length, 6, 'what had no room is lost, the queue is whole');
});

test('a mouse: long ways in several reports, y downwards', () => {
  const { device, report } = configured('mouse');
  device.move(300, 10, 0, 4);
  assert.deepEqual(report(), [4, 127, 0xf6, 0]);
  assert.deepEqual(report(), [4, 127, 0, 0]);
  assert.deepEqual(report(), [4, 46, 0, 0]);
  assert.equal(report(), answer.nak);
  device.move(0, 0, -2, 0);
  assert.deepEqual(report(), [0, 0, 0, 0xfe]);
});

test('a keyboard: modifiers, six keys, roll-over, lights', () => {
  const { device, report, control } = configured('keyboard');
  for (const code of [0x2a, 0x1e, 0xe01d, 0xe053]) device.key(code, true);
  device.key(0x1e, false);
  assert.deepEqual(report(), [0x02, 0, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual(report(), [0x02, 0, 4, 0, 0, 0, 0, 0]);
  assert.deepEqual(report(), [0x12, 0, 4, 0, 0, 0, 0, 0]);
  assert.deepEqual(report(), [0x12, 0, 4, 0x4c, 0, 0, 0, 0]);
  assert.deepEqual(report(), [0x12, 0, 0x4c, 0, 0, 0, 0, 0]);
  for (const code of [2, 3, 4, 5, 6, 7]) device.key(code, true);
  for (let i = 0; i < 5; i++) report();
  assert.deepEqual(report(), [0x12, 0, 1, 1, 1, 1, 1, 1], 'too many');
  assert.equal(device.leds, 0);
  assert.notEqual(control(setupBytes(0x21, 9, 0x0200, 0, 1), Uint8Array.of(3)), 'stall');
  assert.equal(device.leds, 3);
});

test('requests that are none are refused; a halted endpoint stands still until it is cleared', () => {
  const { device, control, report } = configured('tablet');
  for (const setup of [
    setupBytes(0x21, 11, 1, 0, 0),
    setupBytes(0, 9, 2, 0, 0),
    setupBytes(0x80, 6, 0x0f00, 0, 5),
    setupBytes(0x40, 1, 0, 0, 0),
    setupBytes(0, 5, 128, 0, 0),
  ])
    assert.equal(control(setup), 'stall', String(setup));
  control(setupBytes(2, 3, 0, 0x81, 0));
  device.point(1, 1, 0, 0);
  assert.equal(report(), answer.stall);
  assert.deepEqual([...control(setupBytes(0x82, 0, 0, 0x81, 2))], [1, 0]);
  control(setupBytes(2, 1, 0, 0x81, 0));
  assert.deepEqual(report(), [0, 1, 0, 1, 0, 0]);
});
