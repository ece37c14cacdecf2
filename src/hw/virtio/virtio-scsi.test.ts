import assert from 'node:assert/strict';
import test from 'node:test';
import { StateError } from '../../schema/index.js';
import { MemoryDrive } from '../disk/testing.js';
import { ScsiCd } from '../scsi/scsi-cd.js';
import { ScsiDisk } from '../scsi/scsi-disk.js';
import { seededRandom } from '../testing.js';
import { ModernDriver, type Piece, testMachine } from './testing.js';
import { VirtioScsi } from './virtio-scsi.js';

const MiB = 1 << 20;
const [requestGpa, answerGpa, dataGpa] = [0x8000, 0x9000, 0x10000];
const be = (value: number, size: number) =>
  Array.from({ length: size }, (_, i) => Math.floor(value / 2 ** (8 * (size - 1 - i))) & 0xff);
const names = { vendor: 'VRING', version: '1.0', serial: '', deviceId: 'd' };
const diskPlace = [1, 0, 0, 0];
const cdPlace = [1, 2, 0x40, 0];

function pattern(bytes: number, seed: number): Uint8Array {
  const random = seededRandom(seed);
  return Uint8Array.from({ length: bytes }, () => random(256));
}

function setUp(options: { later?: boolean; queues?: number; without?: readonly number[]; readonly?: boolean } = {}) {
  const { later = false, queues = 2 } = options;
  const disk = new MemoryDrive(pattern(MiB, 5), { later, readonly: options.readonly ?? false });
  const cd = new MemoryDrive(pattern(64 * 2048, 6), { readonly: true });
  const model = new VirtioScsi({ queues });
  const units = {
    disk: new ScsiDisk({ ...names, product: 'VRING HARDDISK', backend: disk }),
    cd: new ScsiCd({ ...names, product: 'VRING CD-ROM', backend: cd }),
  };
  model.bus.add({ target: 0, lun: 0 }, units.disk);
  model.bus.add({ target: 2, lun: 0 }, units.cd);
  const machine = testMachine(model);
  const driver = new ModernDriver(machine);
  driver.start({ without: options.without ?? [] });
  const { ram } = machine;
  /** Gives a command to a request queue; the answer is that of a slot of its own. */
  const send = (
    place: readonly number[],
    cdb: readonly number[],
    data: { input?: readonly Piece[]; output?: readonly Piece[]; slot?: number; queue?: number; tag?: number } = {},
  ) => {
    const { slot = 0, queue = 2, tag = slot } = data;
    const request = requestGpa + slot * 64;
    const answer = answerGpa + slot * 128;
    ram.fill(0, request, request + 51);
    ram.set([...place, 0, 0, 0, 0, tag], request);
    ram.set(cdb, request + 19);
    ram.fill(0xee, answer, answer + 108);
    driver.queues[queue]!.add([
      { gpa: request, length: 51 },
      ...(data.output ?? []),
      { gpa: answer, length: 108, write: true },
      ...(data.input ?? []).map((piece) => ({ ...piece, write: true })),
    ]);
    driver.kick(queue);
    return () => {
      const view = new DataView(ram.buffer, answer, 108);
      const length = view.getUint32(0, true);
      const told = length <= 96 && length > 0 ? [ram[answer + 14]!, ram[answer + 24]!, ram[answer + 25]!] : [];
      return { response: ram[answer + 11], status: ram[answer + 10], residual: view.getUint32(4, true), told };
    };
  };
  const manage = (subtype: number, place: readonly number[], tag = 0) => {
    ram.fill(0, requestGpa + 0xc00, requestGpa + 0xc18);
    ram.set([0, 0, 0, 0, subtype, 0, 0, 0, ...place], requestGpa + 0xc00);
    ram[requestGpa + 0xc10] = tag;
    ram[answerGpa + 0xf00] = 0xee;
    driver.queues[0]!.add([
      { gpa: requestGpa + 0xc00, length: 24 },
      { gpa: answerGpa + 0xf00, length: 1, write: true },
    ]);
    driver.kick(0);
    return () => ram[answerGpa + 0xf00];
  };
  const fine = { response: 0, status: 0, residual: 0, told: [] };
  const clear = () => {
    for (const place of [diskPlace, cdPlace]) send(place, [0]);
  };
  return { model, units, disk, cd, machine, driver, ram, send, manage, fine, clear };
}

test('a unit tells of the reset once, then reads and writes go between its medium and guest memory', () => {
  const { send, disk, ram, fine, machine } = setUp();
  assert.deepEqual(send(diskPlace, [0])(), { ...fine, status: 2, told: [6, 0x29, 0] });
  assert.deepEqual(send(diskPlace, [0])(), fine);
  const pieces = [
    { gpa: dataGpa, length: 700 },
    { gpa: dataGpa + 0x2000, length: 1024 - 700 },
  ];
  machine.published.length = 0;
  assert.deepEqual(send(diskPlace, [0x28, 0, ...be(9, 4), 0, ...be(2, 2)], { input: pieces })(), fine);
  const got = [...ram.subarray(dataGpa, dataGpa + 700), ...ram.subarray(dataGpa + 0x2000, dataGpa + 0x2000 + 324)];
  assert.deepEqual(got, [...disk.bytes.subarray(9 * 512, 11 * 512)]);
  const published = machine.published.filter(([gpa]) => gpa < 0x100000);
  assert.deepEqual(published, [
    [answerGpa, 108],
    [dataGpa, 700],
    [dataGpa + 0x2000, 324],
  ]);
  ram.set(pattern(1024, 9), dataGpa);
  const output = [{ gpa: dataGpa, length: 1024 }];
  assert.deepEqual(send(diskPlace, [0x8a, 8, ...be(100, 8), ...be(2, 4)], { output })(), fine);
  assert.deepEqual(disk.bytes.subarray(51200, 52224), ram.subarray(dataGpa, dataGpa + 1024));
  assert.deepEqual(disk.log.slice(-2), ['write 51200+1024', 'flush'], 'force unit access');
});

test('failures of the image become sense data', () => {
  const { send, disk, fine, clear } = setUp();
  clear();
  const input = [{ gpa: dataGpa, length: 512 }];
  disk.failures.push('io');
  const read = send(diskPlace, [0x28, 0, 0, 0, 0, 0, 0, 0, 1], { input })();
  assert.deepEqual(read, { ...fine, status: 2, residual: 512, told: [0xb, 0, 6] });
  disk.failures.push('no-space');
  const write = send(diskPlace, [0x2a, 0, 0, 0, 0, 0, 0, 0, 1], { output: input })();
  assert.deepEqual(write, { ...fine, status: 2, residual: 512, told: [7, 0x27, 7] });
  disk.failures.push('io');
  assert.deepEqual(send(diskPlace, [0x35])(), { ...fine, status: 2, told: [0xb, 0, 6] });
  const readonly = setUp({ readonly: true });
  readonly.clear();
  const refused = readonly.send(diskPlace, [0x2a, 0, 0, 0, 0, 0, 0, 0, 1], { output: input })();
  assert.deepEqual(refused, { ...fine, status: 2, residual: 512, told: [7, 0x27, 0] });
});

test('a write cache that is off means a flush behind each write', () => {
  const { send, disk, ram, fine, clear } = setUp();
  clear();
  ram.set([0, 0, 0, 0, 8, 0x12], dataGpa);
  assert.deepEqual(send(diskPlace, [0x15, 0x10, 0, 0, 24], { output: [{ gpa: dataGpa, length: 24 }] })(), fine);
  assert.deepEqual(disk.log.splice(0), ['flush']);
  send(diskPlace, [0x0a, 0, 0, 1, 1], { output: [{ gpa: dataGpa, length: 512 }] });
  assert.deepEqual(disk.log, ['write 512+512', 'flush']);
});

test('WRITE SAME writes what is not zero in pieces of its buffer, one command after the other', () => {
  const { send, disk, ram, fine, clear } = setUp({ later: true });
  clear();
  const blocks = [pattern(512, 20), pattern(512, 21)];
  blocks.forEach((block, i) => void ram.set(block, dataGpa + i * 512));
  const answers = [0, 1].map((i) =>
    send(diskPlace, [0x93, 0, ...be(10 + i * 300, 8), ...be(200, 4)], {
      output: [{ gpa: dataGpa + i * 512, length: 512 }],
      slot: i,
    }),
  );
  disk.drain();
  for (const [i, answer] of answers.entries()) {
    assert.deepEqual(answer(), fine);
    for (const at of [0, 127, 128, 199])
      assert.deepEqual(disk.bytes.subarray((10 + i * 300 + at) * 512).subarray(0, 512), blocks[i]);
  }
  assert.deepEqual(
    disk.log.filter((line) => line.startsWith('write')),
    ['write 5120+65536', 'write 70656+36864', 'write 158720+65536', 'write 224256+36864'],
  );
});

test('several queues at once; a reset by the driver waits for what is under way', () => {
  const { send, disk, driver, machine, ram } = setUp({ later: true, queues: 2 });
  send(diskPlace, [0]);
  const answers = [2, 3].map((queue, slot) =>
    send(diskPlace, [0x28, 0, ...be(slot, 4), 0, ...be(1, 2)], {
      input: [{ gpa: dataGpa + slot * 512, length: 512 }],
      queue,
      slot,
    }),
  );
  assert.equal(machine.pci.pendingRequests, 2);
  disk.runLater();
  assert.deepEqual(
    answers.map((answer) => answer().status),
    [0, 0],
  );
  assert.deepEqual(ram.subarray(dataGpa, dataGpa + 1024), disk.bytes.subarray(0, 1024));
  assert.deepEqual(
    driver.queues.map((queue) => queue.completions().length),
    [0, 0, 2, 1],
  );
  send(diskPlace, [0x28, 0, ...be(0, 4), 0, ...be(1, 2)], { input: [{ gpa: dataGpa, length: 512 }] });
  driver.status = 0;
  assert.equal(driver.status, 15, 'not yet');
  disk.runLater();
  assert.equal(driver.status, 0);
  assert.equal(driver.queues[2]!.completions().length, 0, 'the ring is not touched any more');
});

test('task management: an abort ends when the command has ended', () => {
  const { send, disk, manage, fine, units } = setUp({ later: true });
  send(diskPlace, [0]);
  const input = [{ gpa: dataGpa, length: 512 }];
  const read = [0x28, 0, ...be(0, 4), 0, ...be(1, 2)];
  const first = send(diskPlace, read, { input, slot: 1, tag: 7 });
  const second = send(diskPlace, read, { input: [{ gpa: dataGpa + 512, length: 512 }], slot: 2, tag: 8 });
  assert.equal(manage(6, diskPlace, 8)(), 10, 'the task is there');
  assert.equal(manage(6, diskPlace, 9)(), 0);
  const abort = manage(0, diskPlace, 7);
  assert.equal(abort(), 0xee);
  disk.runLater();
  assert.deepEqual([first().response, second(), abort()], [2, fine, 0]);
  const third = send(diskPlace, read, { input, slot: 3 });
  const reset = manage(5, diskPlace);
  disk.runLater();
  assert.deepEqual([third().response, reset()], [4, 0]);
  assert.deepEqual(send(diskPlace, [0])().told, [6, 0x29, 0]);
  assert.equal(units.disk.pending, 0);
  assert.deepEqual([manage(5, [1, 0, 0, 1])(), manage(5, [1, 9, 0, 0])(), manage(77, diskPlace)()], [12, 3, 11]);
});

test('units that come and go: events, REPORT LUNS, and an event for which there was no buffer', () => {
  const { send, model, driver, ram, fine, clear } = setUp();
  clear();
  const event = () => {
    driver.queues[1]!.add([{ gpa: 0x20000, length: 16, write: true }]);
    driver.kick(1);
  };
  const seen = () => {
    const count = driver.queues[1]!.completions().length;
    const view = new DataView(ram.buffer, 0x20000, 16);
    return count === 0
      ? undefined
      : [view.getUint32(0, true), ...ram.subarray(0x20004, 0x20008), view.getUint32(12, true)];
  };
  event();
  const place = { target: 1, lun: 300 };
  const added = new ScsiDisk({ ...names, product: 'VRING HARDDISK', backend: new MemoryDrive(MiB) });
  assert.equal(model.bus.add(place, added), true);
  assert.equal(model.bus.add(place, added), false);
  model.plugged(place);
  assert.deepEqual(seen(), [1, 1, 1, 0x41, 0x2c, 1]);
  assert.deepEqual(send(diskPlace, [0])().told, [6, 0x3f, 0x0e]);
  const input = [{ gpa: dataGpa, length: 64 }];
  assert.deepEqual(send([1, 1, 0, 0], [0xa0, 0, 0, 0, 0, 0, ...be(64, 4)], { input })(), { ...fine, residual: 40 });
  assert.deepEqual(
    [...ram.subarray(dataGpa, dataGpa + 24)],
    [0, 0, 0, 16, ...new Array(12).fill(0), 0x41, 0x2c, ...new Array(6).fill(0)],
  );
  assert.deepEqual(send([1, 1, 0x41, 0x2c], [0])().told, [6, 0x29, 0]);
  model.bus.remove(place);
  model.unplugged(place);
  assert.equal(seen(), undefined, 'no buffer');
  event();
  assert.deepEqual(seen()?.[0], 0x80000000);
  assert.equal(send([1, 1, 0x41, 0x2c], [0])().response, 3);
});

test('the CD: reads, another medium, a locked tray', () => {
  const { send, units, cd, ram, fine, clear } = setUp();
  clear();
  const input = [{ gpa: dataGpa, length: 2048 }];
  assert.deepEqual(send(cdPlace, [0xa8, 0, ...be(3, 4), ...be(1, 4)], { input })(), fine);
  assert.deepEqual(ram.subarray(dataGpa, dataGpa + 2048), cd.bytes.subarray(3 * 2048, 4 * 2048));
  send(cdPlace, [0x1e, 0, 0, 0, 1]);
  assert.equal(units.cd.cd.pressEject(false), false);
  send(cdPlace, [0x1e]);
  assert.equal(units.cd.cd.pressEject(false), true);
  assert.deepEqual(send(cdPlace, [0])().told, [2, 0x3a, 0]);
  cd.bytes = pattern(4 * 2048, 30);
  units.cd.cd.mediumChanged();
  assert.deepEqual(
    [0, 1, 2].map(() => send(cdPlace, [0])().told),
    [[2, 0x3a, 0], [6, 0x28, 0], []],
  );
  send(cdPlace, [0x25], { input: [{ gpa: dataGpa, length: 8 }] });
  assert.deepEqual([...ram.subarray(dataGpa, dataGpa + 8)], [0, 0, 0, 3, 0, 0, 8, 0]);
});

test('requests without a header or room for an answer break the device, which a reset mends', () => {
  for (const [queue, pieces] of [
    [
      2,
      [
        { gpa: 0x8000, length: 50 },
        { gpa: 0x9000, length: 108, write: true },
      ],
    ],
    [
      2,
      [
        { gpa: 0x8000, length: 51 },
        { gpa: 0x9000, length: 107, write: true },
      ],
    ],
    [
      0,
      [
        { gpa: 0x8000, length: 3 },
        { gpa: 0x9000, length: 1, write: true },
      ],
    ],
    [0, [{ gpa: 0x8000, length: 24 }]],
  ] as const) {
    const { driver, ram } = setUp();
    ram.fill(0, 0x8000, 0x8100);
    driver.queues[queue]!.add(pieces);
    driver.kick(queue);
    assert.equal(driver.status & 0x40, 0x40);
    driver.start();
    assert.equal(driver.status & 0x40, 0);
  }
});

test('saved with attentions, modes and sizes; loaded into a machine that was built alike, and refused by another', () => {
  const from = setUp();
  from.clear();
  from.ram.set([0, 0, 0, 0, 8, 0x12], dataGpa);
  from.send(diskPlace, [0x15, 0x10, 0, 0, 24], { output: [{ gpa: dataGpa, length: 24 }] });
  from.send(cdPlace, [0x1e, 0, 0, 0, 1]);
  from.model.bus.lunsChanged();
  const saved = from.machine.pci.save();
  const to = setUp();
  to.ram.set(from.ram);
  to.machine.pci.load(saved);
  assert.deepEqual([to.units.disk.state.writeCache, to.units.cd.cd.isLocked], [false, true]);
  // The driver of the first machine goes on with the second's device: its rings are in the memory that was copied.
  from.ram.fill(0);
  assert.deepEqual(to.machine.pci.save(), saved);
  const fewer = setUp();
  fewer.model.bus.remove({ target: 2, lun: 0 });
  assert.throws(() => fewer.machine.pci.load(saved), StateError);
});

test('any command block, place and buffer: no access outside the disk, and the device goes on', () => {
  const random = seededRandom(77);
  const { send, disk, cd, driver, manage, machine, model } = setUp({ later: true });
  const codes = [
    0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x2a, 0x2e, 0x2f, 0x35, 0x41, 0x42, 0x43, 0x46,
  ];
  codes.push(0x4a, 0x51, 0x55, 0x5a, 0x88, 0x8a, 0x8e, 0x8f, 0x91, 0x93, 0x9e, 0xa0, 0xa8, 0xaa, 0xae, 0xbd, 0xbe);
  for (let i = 0; i < 6000; i++) {
    const cdb = Array.from({ length: 16 }, () => (random(3) === 0 ? random(256) : 0));
    cdb[0] = random(10) === 0 ? random(256) : codes[random(codes.length)]!;
    if (random(2) === 0) cdb.splice(7, 2, 0, random(20));
    const place = [
      1,
      random(8) === 0 ? random(256) : 2 * random(2),
      random(20) === 0 ? random(256) : 0,
      random(20) === 0 ? random(256) : 0,
    ];
    const piece = () => ({ gpa: dataGpa + random(0x4000), length: 1 + random(random(2) === 0 ? 600 : 9000) });
    const data = random(2) === 0 ? { input: [piece(), piece()] } : { output: [piece()] };
    send(place, cdb, { ...data, slot: random(20), queue: 2 + random(2) });
    if (random(20) === 0) manage(random(9), place, random(20));
    if (random(3) === 0) disk.runLater();
    if (random(100) === 0) units(model, random);
    if (random(200) === 0) {
      disk.drain();
      machine.pci.load(machine.pci.save());
    }
    if (random(300) === 0) {
      machine.memory.write(driver.config + 20 + 4 * random(2), 4, random(2 ** 17));
      disk.drain();
      driver.start();
    }
    if (machine.device.broken) {
      disk.drain();
      driver.start();
    }
  }
  disk.drain();
  cd.drain();
  assert.equal(machine.pci.pendingRequests, 0);
  assert.equal(driver.status & 0x40, 0);
});

function units(model: VirtioScsi, random: (n: number) => number): void {
  const place = { target: 5, lun: random(3) };
  if (model.bus.unit(place)) model.bus.remove(place);
  else model.bus.add(place, new ScsiDisk({ ...names, product: 'VRING HARDDISK', backend: new MemoryDrive(MiB) }));
  model.plugged(place);
}
