import assert from 'node:assert/strict';
import test from 'node:test';
import { StateError } from '../../schema/index.js';
import { seededRandom } from '../testing.js';
import { commandBlock, numberedDrive, setupBytes, testStorage, uhciWith } from './testing.js';
import { UsbHid } from './usb-hid.js';
import { UsbHub } from './usb-hub.js';

const tablet = () => new UsbHid({ kind: 'tablet', speed: 'full' });

/** Brings the device in the first port to an address, with its configuration. */
function addressed(context: ReturnType<typeof uhciWith>, address = 5): void {
  context.begin();
  context.resetPort(0);
  context.control(0, setupBytes(0, 5, address, 0, 0));
  context.control(address, setupBytes(0, 9, 1, 0, 0));
}

test('ports tell of devices; a reset enables; frames go on with time', () => {
  const { read, write, begin, time, resetPort, host } = uhciWith([tablet()]);
  assert.equal(read(0x10), 0x83, 'somebody is there, and has come');
  assert.equal(read(0x12), 0x80);
  assert.equal(read(2), 0x20, 'it stands still');
  write(0x10, 2);
  assert.equal(read(0x10), 0x81);
  resetPort(0);
  assert.equal(read(0x10), 0x85);
  begin();
  assert.equal(read(2), 0);
  const before = read(6);
  time.advance(10_000_000);
  assert.equal(read(6), before + 10);
  write(0, 0);
  assert.equal(read(2), 0x20);
  time.advance(10_000_000);
  assert.equal(read(6), before + 10);
  write(0, 2);
  assert.equal(read(0x10), 0x83, 'as after power-on');
  assert.equal(host.function.state.intx, false);
});

test('control transfers, an interrupt at their end, NAK until there is something, unknown addresses', () => {
  const device = tablet();
  const context = uhciWith([device]);
  const { control, packet, read, write, host } = context;
  context.begin();
  context.resetPort(0);
  write(4, 15);
  const head = control(0, setupBytes(0x80, 6, 0x0100, 0, 18)) as Uint8Array;
  assert.deepEqual([...head].slice(0, 2), [18, 1]);
  assert.ok(host.function.state.intx);
  assert.equal(read(2) & 1, 1);
  write(2, 1);
  assert.equal(host.function.state.intx, false);
  control(0, setupBytes(0, 5, 5, 0, 0));
  control(5, setupBytes(0, 9, 1, 0, 0));
  assert.equal(control(5, setupBytes(0x80, 6, 0x0700, 0, 8)), 'stall');
  assert.ok(packet('in', 5, 1, new Uint8Array(6)).isActive);
  device.point(3, 4, 0, 2);
  assert.deepEqual([...packet('in', 5, 1, new Uint8Array(6)).bytes], [2, 3, 0, 4, 0, 0]);
  const nobody = packet('in', 9, 1, new Uint8Array(6));
  assert.equal(nobody.word & 0x00c40000, 0x00440000, 'no answer');
  assert.equal(read(2) & 2, 2);
});

test('a disk behind a hub: its ports tell, commands with their data, sense of what failed', () => {
  const { device, drive } = testStorage('full');
  const context = uhciWith([new UsbHub({ devices: [undefined, device] })]);
  const { control, packet } = context;
  addressed(context);
  assert.deepEqual([...(control(5, setupBytes(0xa0, 6, 0x2900, 0, 11)) as Uint8Array)].slice(0, 3), [11, 0x29, 8]);
  assert.deepEqual([...packet('in', 5, 1, new Uint8Array(2)).bytes], [4, 0]);
  assert.deepEqual([...(control(5, setupBytes(0xa3, 0, 0, 2, 4)) as Uint8Array)], [1, 1, 1, 0]);
  control(5, setupBytes(0x23, 1, 16, 2, 0));
  control(5, setupBytes(0x23, 3, 4, 2, 0));
  assert.deepEqual([...(control(5, setupBytes(0xa3, 0, 0, 2, 4)) as Uint8Array)], [3, 1, 0x10, 0]);
  control(0, setupBytes(0, 5, 6, 0, 0));
  control(6, setupBytes(0, 9, 1, 0, 0));
  const run = (cdb: readonly number[], length: number, output?: Uint8Array) => {
    assert.equal(packet('out', 6, 2, commandBlock(77, length, output === undefined, cdb)).isActive, false);
    const bytes: number[] = [];
    for (let at = 0; output && at < output.length; at += 64) packet('out', 6, 2, output.subarray(at, at + 64));
    while (!output && bytes.length < length) {
      const piece = packet('in', 6, 1, new Uint8Array(64)).bytes;
      bytes.push(...piece);
      if (piece.length < 64) break;
    }
    const status = packet('in', 6, 1, new Uint8Array(13)).bytes;
    assert.deepEqual([...status].slice(0, 8), [0x55, 0x53, 0x42, 0x53, 77, 0, 0, 0]);
    return { bytes, status: status[12], residue: status[8]! | (status[9]! << 8) };
  };
  // The first command after a reset is told of it.
  assert.equal(run([0, 0, 0, 0, 0, 0], 0).status, 1);
  assert.equal(run([3, 0, 0, 0, 18, 0], 18).bytes[12], 0x29);
  assert.equal(run([3, 0, 0, 0, 18, 0], 18).bytes[2], 0);
  const read = run([0x28, 0, 0, 0, 0, 9, 0, 0, 2, 0], 1024);
  assert.deepEqual([read.status, read.residue], [0, 0]);
  assert.deepEqual(read.bytes, [...new Array(512).fill(9), ...new Array(512).fill(10)]);
  const inquiry = run([0x12, 0, 0, 0, 200, 0], 200);
  assert.equal(inquiry.residue, 200 - inquiry.bytes.length);
  assert.match(String.fromCharCode(...inquiry.bytes), /VRING {3}DISK/);
  run([0x2a, 0, 0, 0, 0, 4, 0, 0, 1, 0], 512, new Uint8Array(512).fill(0xab));
  assert.deepEqual([drive.bytes[4 * 512], drive.bytes[5 * 512 - 1], drive.bytes[5 * 512]], [0xab, 0xab, 5]);
  const beyond = run([0x28, 0, 0xff, 0, 0, 0, 0, 0, 1, 0], 512);
  assert.deepEqual([beyond.status, beyond.residue, beyond.bytes.length], [1, 512, 0]);
  assert.equal(run([3, 0, 0, 0, 18, 0], 18).bytes[12], 0x21);
  // What is no command halts the device until it is reset.
  assert.equal(packet('out', 6, 2, new Uint8Array(31)).word & 0x00400000, 0x00400000);
  control(6, setupBytes(2, 1, 0, 2, 0));
  assert.equal(packet('out', 6, 2, commandBlock(1, 0, false, [0])).word & 0x00400000, 0x00400000, 'still');
  control(6, setupBytes(0x21, 0xff, 0, 0, 0));
  for (const endpoint of [2, 0x81]) control(6, setupBytes(2, 1, 0, endpoint, 0));
  assert.equal(run([0, 0, 0, 0, 0, 0], 0).status, 0);
});

test('a device comes and goes, on a port and on a hub behind it', () => {
  const hub = new UsbHub({ devices: [] });
  const context = uhciWith([hub]);
  const { control, packet, read, write, host, time } = context;
  addressed(context);
  write(0x10, 6);
  const left: string[] = [];
  const device = new UsbHid({ kind: 'mouse', speed: 'full', events: { used: (isUsed) => left.push(String(isUsed)) } });
  assert.ok(packet('in', 5, 1, new Uint8Array(2)).isActive, 'nothing has changed');
  hub.table.plug(2, device);
  assert.deepEqual([...packet('in', 5, 1, new Uint8Array(2)).bytes], [8, 0]);
  const status = () => [...(control(5, setupBytes(0xa3, 0, 0, 3, 4)) as Uint8Array)];
  assert.deepEqual(status(), [1, 1, 1, 0]);
  control(5, setupBytes(0x23, 1, 16, 3, 0));
  control(5, setupBytes(0x23, 3, 4, 3, 0));
  control(0, setupBytes(0, 5, 6, 0, 0));
  control(6, setupBytes(0, 9, 1, 0, 0));
  device.move(1, 2, 0, 0);
  assert.deepEqual([...packet('in', 6, 1, new Uint8Array(4)).bytes], [0, 1, 0xfe, 0]);
  hub.table.unplug(2);
  assert.deepEqual(status(), [0, 1, 0x11, 0], 'gone, and no longer enabled');
  assert.equal(packet('in', 6, 1, new Uint8Array(4)).word & 0x00400000, 0x00400000, 'nobody answers');
  device.move(1, 1, 0, 0);
  assert.deepEqual(left, ['true', 'false'], 'whoever shows the screen hears that it is gone');

  // On the port itself: a sleeping bus is woken.
  write(0, 0x18 & ~1);
  time.advance(5_000_000);
  write(2, 0x3f);
  host.table.unplug(0);
  assert.equal(read(0x10), 0x8a, 'gone, and so not enabled any more');
  assert.equal(read(2) & 4, 4, 'resume');
  write(0x10, 10);
  host.table.plug(0, tablet());
  assert.equal(read(0x10), 0x83);
});

test('save and load in the middle of a read, while the disk is slow', () => {
  const drive = numberedDrive(1 << 20, { later: true });
  const context = uhciWith([testStorage('full', drive).device]);
  addressed(context);
  context.packet('out', 5, 2, commandBlock(1, 0, false, [0, 0, 0, 0, 0, 0]));
  context.packet('in', 5, 1, new Uint8Array(13));
  context.packet('out', 5, 2, commandBlock(8, 1024, true, [0x28, 0, 0, 0, 0, 3, 0, 0, 2, 0]));
  assert.ok(context.packet('in', 5, 1, new Uint8Array(64)).isActive, 'not yet');
  assert.equal(context.host.pendingRequests, 1);
  drive.runLater();
  assert.equal(context.host.pendingRequests, 0);
  const first = context.packet('in', 5, 1, new Uint8Array(64)).bytes;
  assert.deepEqual([...first], new Array(64).fill(3));
  const copy = uhciWith([testStorage('full', numberedDrive()).device], context.ram.buffer as SharedArrayBuffer);
  copy.time.advance(context.time.nowNs());
  copy.host.load(context.host.save());
  assert.deepEqual(copy.host.save(), context.host.save());
  for (let i = 1; i < 16; i++)
    assert.deepEqual([...copy.packet('in', 5, 1, new Uint8Array(64)).bytes], new Array(64).fill(i < 8 ? 3 : 4));
  assert.equal(copy.packet('in', 5, 1, new Uint8Array(13)).bytes[12], 0);
});

test('hostile registers, lists and states: no throw, no hang, nothing outside the disk', () => {
  const random = seededRandom(41);
  const { device, drive } = testStorage('full');
  const context = uhciWith([
    new UsbHub({ devices: [device, tablet()] }),
    new UsbHid({ kind: 'keyboard', speed: 'full' }),
  ]);
  const { dma, ram, time, host, write } = context;
  let refused = 0;
  for (let round = 0; round < 12; round++) {
    addressed(context, 1 + random(3));
    for (let i = 0; i < 0x10000; i++) ram[i] = random(256);
    for (let i = 0; i < 1024; i++) dma.writeU32(0x1000 + i * 4, random(0x2000) * 16 + random(4));
    for (let step = 0; step < 60; step++) {
      const at = random(0x800) * 16;
      dma.writeU32(at, random(0x800) * 16 + random(8));
      dma.writeU32(at + 4, (0x00800000 | (random(16) << 24)) >>> 0);
      const pid = [0x2d, 0x69, 0xe1, random(256)][random(4)]!;
      dma.writeU32(at + 8, (pid | (random(4) << 8) | (random(3) << 15) | (random(0x500) << 21)) >>> 0);
      if (random(4) === 0)
        dma.write(
          dma.readU32(at + 12) & 0xffff,
          commandBlock(1, random(0x20000), random(2) > 0, [
            [0x28, 0x2a, 0x12, 3, random(256)][random(5)]!,
            0,
            0,
            0,
            0,
            random(256),
            0,
            0,
            random(256),
            0,
          ]),
        );
      if (random(6) === 0) write(random(10) * 2, random(0x10000));
      if (random(4) === 0) write(0, 1);
      time.advance(random(4_000_000));
    }
    const saved = host.save();
    for (let k = 0; k < 10; k++) {
      const bad = saved.slice();
      for (let n = random(5); n >= 0; n--) bad[random(bad.length)] = random(256);
      try {
        host.load(bad);
      } catch (error) {
        assert.ok(error instanceof StateError, String(error));
        refused++;
        continue;
      }
      time.advance(3_000_000);
      host.load(host.save());
    }
    host.load(saved);
    assert.equal(drive.bytes.length, 1 << 20);
  }
  assert.ok(refused > 0);
});
