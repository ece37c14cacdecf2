import assert from 'node:assert/strict';
import test from 'node:test';
import { StateError } from '../../schema/index.js';
import { seededRandom } from '../testing.js';
import {
  commandBlock,
  xhciData as data,
  numberedDrive,
  setupBytes,
  testStorage,
  xhciDevices,
  xhciWith,
} from './testing.js';
import { UsbHid } from './usb-hid.js';

const tablet = () => new UsbHid({ kind: 'tablet', speed: 'high' });
const code = (words: number[] | undefined) => (words?.[2] ?? 0) >>> 24;

test('capabilities: ports of USB 2 and 3, doorbells and runtime where they say; bytes and words are read', () => {
  const { read, memory, base } = xhciWith([tablet()]);
  assert.equal(read(0), 0x0100_0040);
  assert.equal(read(4) >>> 24, 8);
  assert.deepEqual([read(0x14), read(0x18)], [0x2000, 0x1000]);
  assert.equal(memory.read(base, 1), 0x40);
  assert.equal(memory.read(base + 2, 2), 0x0100);
  const extended = (read(0x10) >>> 16) * 4;
  assert.equal(read(extended) & 0xff, 2);
  assert.deepEqual([read(extended) >>> 24, read(extended + 8)], [2, 0x401]);
  assert.deepEqual([read(extended + 16) >>> 24, read(extended + 24)], [3, 0x405]);
  assert.equal(read(0x440) & 0xfc03, 0x0c01, 'high speed, connected');
  assert.equal(read(0x450) & 1, 0);
});

test('slots: an address, descriptors, what is refused; ports tell of a reset', () => {
  const { begin, address, control, command, take, read, write, host } = xhciWith([undefined, tablet()]);
  assert.equal(read(0x44) & 1, 1, 'halted');
  begin();
  assert.equal(read(0x44) & 1, 0);
  const slot = address(2);
  assert.equal(slot, 1);
  assert.equal(read(0x450) & 0x20_0002, 0x20_0002, 'enabled, and the reset is over');
  write(0x450, 0x20_0200);
  assert.equal(read(0x450) & 0x20_0000, 0);
  const head = control(slot, setupBytes(0x80, 6, 0x0100, 0, 64)) as Uint8Array;
  assert.deepEqual([head.length, head[1], head[3]], [18, 1, 2]);
  assert.equal(control(slot, setupBytes(0x80, 6, 0x0700, 0, 8)), 6, 'stall');
  assert.equal(
    control(slot, setupBytes(0x80, 6, 0x0100, 0, 18)) instanceof Uint8Array,
    true,
    'nothing ends on a ring that is halted',
  );
  assert.deepEqual(take(), []);
  assert.equal(command(14, 0, (slot << 24) | (1 << 16)).code, 1, 'the endpoint is reset');
  assert.equal(command(14, 0, (slot << 24) | (1 << 16)).code, 19);
  assert.equal(command(17, 0, 9 << 24).code, 11, 'no such slot');
  assert.equal(command(17, 0, slot << 24).code, 1);
  assert.equal(command(23, 0).code, 1);
  assert.equal(command(40, 0, slot << 24).code, 5);
  assert.equal(command(10, 0, slot << 24).code, 1);
  assert.equal(command(12, 0, slot << 24).code, 11);
  assert.equal(host.function.state.intx, true);
  write(0x1020, 3);
  assert.equal(host.function.state.intx, false);
});

test('an interrupt endpoint waits, and is answered as soon as there is something', () => {
  const device = tablet();
  const { begin, address, configure, control, post, take, dma } = xhciWith([device]);
  begin();
  const slot = address(1);
  control(slot, setupBytes(0, 9, 1, 0, 0));
  configure(slot, [[3, 7, 8]]);
  post(slot, 3, [
    [data, 0, 6, (1 << 10) | 0x24],
    [data + 8, 0, 8, (1 << 10) | 0x24],
  ]);
  assert.deepEqual(take(), []);
  device.point(0x102, 0x304, 0, 1);
  const [event] = take();
  assert.deepEqual([code(event), event![2]! & 0xffffff, (event![3]! >>> 16) & 31, event![3]! >>> 24], [1, 0, 3, slot]);
  const report = new Uint8Array(6);
  dma.read(data, report);
  assert.deepEqual([...report], [1, 2, 1, 4, 3, 0]);
  device.point(0, 0, 0, 0);
  const [short] = take();
  assert.deepEqual([code(short), short![2]! & 0xffffff], [13, 2], 'six bytes of eight');
});

test("a device goes and another comes: the port tells, and the old slot is nobody's", () => {
  const first = tablet();
  const { begin, address, configure, control, command, post, take, read, write, host } = xhciWith([first]);
  begin();
  const slot = address(1);
  control(slot, setupBytes(0, 9, 1, 0, 0));
  configure(slot, [[3, 7, 8]]);
  post(slot, 3, [[data, 0, 8, (1 << 10) | 0x24]]);
  take();
  write(0x440, 0xfe0200);
  const told = () => take().map((words) => [(words[3]! >>> 10) & 63, words[0]! >>> 24]);
  host.table.unplug(0);
  assert.equal(read(0x440), 0x2_0000 | 0x200 | (5 << 5), 'gone; power; nothing on the link');
  assert.deepEqual(told(), [[34, 1]]);
  assert.equal(read(0x44) & 0x10, 0x10);
  write(0x440, 0x2_0200);
  const second = tablet();
  host.table.plug(0, second);
  assert.equal(read(0x440) & 0x2_0001, 0x2_0001);
  assert.deepEqual(told(), [[34, 1]]);
  second.point(1, 2, 0, 1);
  write(0x2000 + slot * 4, 3);
  assert.deepEqual(take(), [], 'what waits on the old slot is not for the new device');
  assert.equal(command(15, 0, (slot << 24) | (3 << 16)).code, 1, 'its endpoint can be stopped');
  assert.equal(command(10, 0, slot << 24).code, 1, 'and the slot given up');
  assert.equal(address(1), slot);
});

test('a disk: data in many TRBs across packets, a slow disk, a short end', () => {
  const drive = numberedDrive(1 << 20, { later: true });
  const { begin, address, configure, control, post, take, dma, host } = xhciWith([testStorage('high', drive).device]);
  begin();
  const slot = address(1);
  control(slot, setupBytes(0, 9, 1, 0, 0));
  configure(slot, [
    [4, 2, 512],
    [3, 6, 512],
  ]);
  const send = (block: Uint8Array) => {
    dma.write(data + 0x20000, block);
    post(slot, 4, [[data + 0x20000, 0, block.length, (1 << 10) | 0x20]]);
  };
  const status = () => {
    post(slot, 3, [[data + 0x21000, 0, 13, (1 << 10) | 0x24]]);
    const bytes = new Uint8Array(13);
    dma.read(data + 0x21000, bytes);
    return bytes[12];
  };
  send(commandBlock(1, 0, false, [0, 0, 0, 0, 0, 0]));
  assert.equal(status(), 1);
  take();
  send(commandBlock(2, 0x1000, true, [0x28, 0, 0, 0, 0, 16, 0, 0, 8, 0]));
  post(slot, 3, [
    [data, 0, 700, (1 << 10) | 0x10],
    [data + 0x1000, 0, 2000, (1 << 10) | 0x10],
    [data + 0x2000, 0, 0x1000 - 2700, (1 << 10) | 0x20],
  ]);
  assert.equal(take().length, 1, 'the command alone');
  assert.equal(host.pendingRequests, 1);
  drive.runLater();
  const [event] = take();
  assert.deepEqual([code(event), event![2]! & 0xffffff], [1, 0]);
  const read = new Uint8Array(0x1000);
  for (const [gpa, at, count] of [
    [data, 0, 700],
    [data + 0x1000, 700, 2000],
    [data + 0x2000, 2700, 0x1000 - 2700],
  ] as const)
    dma.read(gpa, read.subarray(at, at + count));
  for (let i = 0; i < 0x1000; i++) assert.equal(read[i], 16 + (i >> 9));
  assert.equal(status(), 0);
  take();
  // More room than the answer: a short packet in the first of two TRBs, told once.
  send(commandBlock(3, 512, true, [0x12, 0, 0, 2, 0, 0]));
  post(slot, 3, [
    [data, 0, 256, (1 << 10) | 0x14],
    [data + 256, 0, 256, (1 << 10) | 0x24],
  ]);
  const told = take();
  assert.deepEqual(told.map(code), [1, 13]);
  assert.ok((told[1]![2]! & 0xffffff) > 200);
  assert.equal(status(), 0);
  take();
  // A read that is longer than the drive's buffer comes in pieces.
  send(commandBlock(4, 300 * 512, true, [0x28, 0, 0, 0, 1, 0, 0, 1, 44, 0]));
  post(slot, 3, [
    [data, 0, 0x10000, (1 << 10) | 0x10],
    [data, 0, 0x10000, (1 << 10) | 0x10],
    [data, 0, 300 * 512 - 0x20000, (1 << 10) | 0x20],
  ]);
  take();
  drive.runLater();
  assert.deepEqual(take(), []);
  drive.runLater();
  assert.deepEqual(take().map(code), [1]);
  const last = new Uint8Array(1);
  dma.read(data + 300 * 512 - 0x20000 - 1, last);
  assert.equal(last[0], (256 + 299) & 0xff);
});

test('no room for events: transfers wait, and go on when the guest has read', () => {
  const device = tablet();
  const { begin, address, configure, control, post, take } = xhciWith([device]);
  begin();
  const slot = address(1);
  control(slot, setupBytes(0, 9, 1, 0, 0));
  configure(slot, [[3, 7, 6]]);
  take();
  const trb = [data, 0, 6, (1 << 10) | 0x20] as const;
  post(
    slot,
    3,
    Array.from({ length: 100 }, () => trb),
  );
  for (let i = 0; i < 100; i++) device.point(i, i, 0, i & 1);
  let count = 0;
  for (let more = take().length; more > 0; more = take().length) {
    assert.ok(more < 64);
    count += more;
    for (let i = 0; i < 16; i++) device.point(i, i, 0, i & 1);
  }
  assert.equal(count, 100);
});

test('save and load in the middle of a transfer', () => {
  const device = tablet();
  const context = xhciWith([device]);
  const { begin, address, configure, control, post, take, host, ram } = context;
  begin();
  const slot = address(1);
  control(slot, setupBytes(0, 9, 1, 0, 0));
  configure(slot, [[3, 7, 6]]);
  post(slot, 3, [[data, 0, 6, (1 << 10) | 0x20]]);
  take();
  const other = tablet();
  const copy = xhciWith([other], ram.buffer as SharedArrayBuffer);
  copy.host.load(host.save());
  assert.deepEqual(copy.host.save(), host.save());
  other.point(9, 8, 0, 0);
  const report = new Uint8Array(6);
  copy.dma.read(data, report);
  assert.deepEqual([...report], [0, 9, 0, 8, 0, 0]);
});

test('hostile registers, rings, contexts and states: no throw, no hang, nothing outside the disk', () => {
  const random = seededRandom(43);
  let refused = 0;
  for (let round = 0; round < 8; round++) {
    const { device, drive } = testStorage('high');
    const context = xhciWith([device, tablet(), new UsbHid({ kind: 'keyboard', speed: 'high' })]);
    const { begin, address, configure, control, write, memory, base, dma, host, time } = context;
    begin();
    const slot = address(1);
    control(slot, setupBytes(0, 9, 1, 0, 0));
    configure(slot, [
      [4, 2, 512],
      [3, 6, 512],
    ]);
    const edges = [0, 1, 0xffffffff, 0x1000, 0x2000, 0x10000, data, 0x80000000];
    const word = () => (random(2) === 0 ? edges[random(edges.length)]! : random(2 ** 32));
    for (let step = 0; step < 400; step++) {
      const ring = [0x2000, 0x11000, 0x13000, 0x14000][random(4)]! + random(40) * 16;
      dma.writeU32(ring, random(2) === 0 ? data + random(0x1000) : word());
      dma.writeU32(ring + 4, random(4) === 0 ? word() : 0);
      dma.writeU32(ring + 8, random(2) === 0 ? random(0x20000) : word());
      dma.writeU32(ring + 12, ((random(50) << 10) | (random(4) << 24) | (random(6) << 16) | random(0x400)) >>> 0);
      if (random(3) === 0) dma.writeU32(xhciDevices + 0x400 + random(0x100) * 4, word());
      if (random(3) === 0) dma.writeU32(0x5000 + random(0x100) * 4, word());
      if (random(3) === 0)
        dma.write(
          data,
          commandBlock(1, random(0x40000), random(2) > 0, [
            [0x28, 0x2a, 0x12, random(256)][random(4)]!,
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
      write(0x2000 + random(6) * 4, random(6));
      if (random(8) === 0) memory.write(base + random(0x1000) * 4, ([1, 2, 4] as const)[random(3)]!, word() & 0xff);
      if (random(20) === 0)
        write([0x58, 0x5c, 0x70, 0x1028, 0x1030, 0x1034, 0x1038, 0x103c, 0x440][random(9)]!, word());
      memory.read(base + random(0x1000) * 4, 4);
      time.advance(random(1_000_000));
    }
    const saved = host.save();
    for (let k = 0; k < 8; k++) {
      const bad = saved.slice();
      for (let n = random(5); n >= 0; n--) bad[random(Math.min(bad.length, 8000))] = random(256);
      try {
        host.load(bad);
        write(0x2000 + random(4) * 4, random(6));
      } catch (error) {
        assert.ok(error instanceof StateError, String(error));
        refused++;
      }
    }
    assert.equal(drive.bytes.length, 1 << 20);
  }
  assert.ok(refused > 0);
});
