/** The GPU as a driver sees it (Virtual I/O Device 1.2, 5.7), and what is on the screen then. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { FrameRenderer, ScreenFrame, Surface } from '../../display/index.js';
import { StateError } from '../../schema/index.js';
import { seededRandom } from '../testing.js';
import { ModernDriver, testMachine } from './testing.js';
import { VirtioGpu } from './virtio-gpu.js';

const COMMAND_GPA = 0x10000;
const ANSWER_GPA = 0x18000;
const ANSWER_BYTES = 0x1000;
const PICTURE_GPA = 0x200000;
const ok = 0x1100;

function started(ram?: ArrayBufferLike) {
  const frame = ScreenFrame.create(1 << 16);
  let dma: ConstructorParameters<typeof VirtioGpu>[0]['dma'] | undefined;
  const model = new VirtioGpu({
    frame,
    dma: new Proxy({} as NonNullable<typeof dma>, {
      get: (_, name) => {
        const target = dma as NonNullable<typeof dma>;
        const member = target[name as keyof typeof target];
        return typeof member === 'function' ? member.bind(target) : member;
      },
    }),
    preferred: { width: 320, height: 200 },
  });
  const machine = testMachine(model, { legacy: false }, ram);
  dma = machine.memory.dma;
  const driver = new ModernDriver(machine);
  const send = (queue: number, words: readonly number[], flags = 0, fence = 0): DataView => {
    const view = new DataView(machine.ram.buffer);
    [words[0]!, flags, fence, 0, 0, 0, ...words.slice(1)].forEach((word, i) => {
      view.setUint32(COMMAND_GPA + i * 4, word, true);
    });
    machine.ram.fill(0xee, ANSWER_GPA, ANSWER_GPA + ANSWER_BYTES);
    driver.queues[queue]!.add([
      { gpa: COMMAND_GPA, length: 24 + (words.length - 1) * 4 },
      { gpa: ANSWER_GPA, length: ANSWER_BYTES, write: true },
    ]);
    driver.kick(queue);
    const [done] = driver.queues[queue]!.completions();
    assert.ok(done, 'the command came back');
    return new DataView(machine.ram.slice(ANSWER_GPA, ANSWER_GPA + done.length).buffer);
  };
  const control = (...words: readonly number[]): number => send(0, words).getUint32(0, true);
  return { model, machine, driver, frame, send, control };
}

/** A resource of that size whose memory begins at PICTURE_GPA, in two pieces. */
function picture(
  { machine, control }: ReturnType<typeof started>,
  id: number,
  format: number,
  width: number,
  height: number,
) {
  assert.equal(control(0x0101, id, format, width, height), ok);
  const bytes = width * height * 4;
  const first = 1000;
  assert.equal(control(0x0106, id, 2, PICTURE_GPA, 0, first, 0, PICTURE_GPA + 0x10000, 0, bytes - first, 0), ok);
  return (at: number, pixel: number) => {
    const place = at * 4 < first ? PICTURE_GPA + at * 4 : PICTURE_GPA + 0x10000 + at * 4 - first;
    new DataView(machine.ram.buffer).setUint32(place, pixel, true);
  };
}

function drawn(frame: ScreenFrame): Surface {
  const surface = new Surface();
  new FrameRenderer(frame).draw(surface);
  return surface;
}

test('a driver reads what the monitor is, and hears when it changes', () => {
  const bed = started();
  const { machine, driver, model, send } = bed;
  assert.equal(machine.pci.function.read(2, 2), 0x1050);
  assert.equal(machine.pci.function.read(0x0a, 2), 0x0380);
  driver.start({ msix: false });
  assert.equal(machine.memory.read(driver.config + 8, 4), 1);
  const info = send(0, [0x0100], 1, 77);
  assert.deepEqual(
    [info.byteLength, info.getUint32(0, true), info.getUint32(4, true), info.getUint32(8, true)],
    [24 + 16 * 24, 0x1101, 1, 77],
  );
  assert.deepEqual(
    [8, 12, 16, 40].map((at) => info.getUint32(24 + at, true)),
    [320, 200, 1, 0],
  );
  const monitor = send(0, [0x010a, 0, 0]);
  assert.equal(monitor.getUint32(0, true), 0x1104);
  const edid = new Uint8Array(monitor.buffer, 32, monitor.getUint32(24, true));
  assert.deepEqual([...edid.subarray(0, 8)], [0, 255, 255, 255, 255, 255, 255, 0]);
  assert.equal(edid.reduce((sum, byte) => sum + byte, 0) & 255, 0);
  assert.deepEqual([edid[56]! + ((edid[58]! >> 4) << 8), edid[59]! + ((edid[61]! >> 4) << 8)], [320, 200]);
  assert.equal(send(0, [0x010a, 1, 0]).getUint32(0, true), 0x1205);
  assert.equal(machine.memory.read(driver.config, 4), 0);
  model.prefer(1000, 700);
  assert.equal(machine.memory.read(driver.config, 4), 1);
  assert.equal(machine.memory.read(driver.isr, 1) & 2, 2);
  machine.memory.write(driver.config + 4, 4, 1);
  assert.equal(machine.memory.read(driver.config, 4), 0);
  const after = send(0, [0x0100]);
  assert.deepEqual(
    [8, 12].map((at) => after.getUint32(24 + at, true)),
    [1000, 700],
  );
  model.prefer(1, 1e9);
  const limits = send(0, [0x0100]);
  assert.deepEqual(
    [8, 12].map((at) => limits.getUint32(24 + at, true)),
    [64, 4095],
  );
});

// Memory order is that of the names: B8G8R8A8 is 1 …
for (const [format, pixel] of [
  [1, 0xff112233],
  [2, 0x00112233],
  [3, 0x332211ff],
  [4, 0x33221100],
  [67, 0xff332211],
  [68, 0x11223300],
  [121, 0x112233ff],
  [134, 0x00332211],
] as const) {
  test(`a picture of format ${format} comes to the screen where it is flushed`, () => {
    const bed = started();
    bed.driver.start();
    const { control, frame } = bed;
    const put = picture(bed, 5, format, 40, 30);
    for (let at = 0; at < 40 * 30; at++) put(at, pixel);
    assert.equal(frame.isOn, false);
    assert.equal(control(0x0103, 4, 2, 32, 20, 0, 5), ok);
    assert.deepEqual([frame.isOn, frame.width, frame.height], [true, 32, 20]);
    assert.ok(drawn(frame).pixels.every((value) => value === 0));
    assert.equal(control(0x0105, 0, 0, 40, 30, 0, 0, 5, 0), ok);
    assert.ok(
      drawn(frame).pixels.every((value) => value === 0),
      'not flushed yet',
    );
    assert.equal(control(0x0104, 6, 3, 10, 5, 5, 0), ok);
    const surface = drawn(frame);
    surface.pixels.forEach((value, at) => {
      const [x, y] = [at % 32, Math.floor(at / 32)];
      assert.equal(value, x >= 2 && x < 12 && y >= 1 && y < 6 ? 0x112233 : 0, `${x}, ${y}`);
    });
  });
}

test('parts of a picture are transferred from where the driver says they lie', () => {
  const bed = started();
  bed.driver.start();
  const { control, frame } = bed;
  const put = picture(bed, 9, 2, 40, 30);
  for (let at = 0; at < 40 * 30; at++) put(at, at + 1);
  assert.equal(control(0x0103, 0, 0, 40, 30, 0, 9), ok);
  // 7 columns of 6 rows from (3, 2), whose first pixel is the driver's pixel (3, 2).
  assert.equal(control(0x0105, 3, 2, 7, 6, (2 * 40 + 3) * 4, 0, 9, 0), ok);
  assert.equal(control(0x0104, 0, 0, 40, 30, 9, 0), ok);
  drawn(frame).pixels.forEach((value, at) => {
    const [x, y] = [at % 40, Math.floor(at / 40)];
    assert.equal(value, x >= 3 && x < 10 && y >= 2 && y < 8 ? at + 1 : 0);
  });
  // What lies behind the end of the attached memory stays as it was.
  assert.equal(control(0x0105, 0, 29, 40, 1, 40 * 30 * 4, 0, 9, 0), ok);
});

test('what makes no sense is refused by the right error', () => {
  const bed = started();
  bed.driver.start();
  const { control, send, frame } = bed;
  assert.equal(control(0x0101, 0, 1, 4, 4), 0x1203);
  assert.equal(control(0x0101, 1, 99, 4, 4), 0x1205);
  assert.equal(control(0x0101, 1, 1, 0, 4), 0x1205);
  assert.equal(control(0x0101, 1, 1, 0x8000, 0x8000), 0x1201);
  assert.equal(control(0x0101, 1, 1, 20, 20), ok);
  assert.equal(control(0x0101, 1, 1, 20, 20), 0x1203);
  assert.equal(control(0x0105, 0, 0, 4, 4, 0, 0, 1, 0), 0x1200, 'no memory is attached');
  assert.equal(control(0x0106, 1, 20000), 0x1200);
  assert.equal(control(0x0106, 1, 1, 0xf0000000, 0, 64, 0), 0x1200, 'no RAM');
  assert.equal(control(0x0106, 1, 2, PICTURE_GPA, 0, 64, 0), 0x1200, 'the list is cut short');
  assert.equal(control(0x0106, 7, 0), 0x1203);
  assert.equal(control(0x0106, 1, 1, PICTURE_GPA, 0, 64, 0), ok);
  assert.equal(control(0x0106, 1, 1, PICTURE_GPA, 0, 64, 0), 0x1200);
  assert.equal(control(0x0105, 0, 0, 21, 4, 0, 0, 1, 0), 0x1205);
  assert.equal(control(0x0105, 0xffffffff, 0, 2, 4, 0, 0, 1, 0), 0x1205);
  assert.equal(control(0x0107, 1, 0), ok);
  assert.equal(control(0x0107, 1, 0), 0x1200);
  assert.equal(control(0x0103, 0, 0, 20, 20, 1, 1), 0x1202);
  assert.equal(control(0x0103, 0, 0, 20, 20, 0, 2), 0x1203);
  assert.equal(control(0x0103, 0, 0, 21, 20, 0, 1), 0x1205);
  assert.equal(control(0x0103, 0, 0, 15, 20, 0, 1), 0x1205);
  assert.equal(control(0x0104, 0, 0, 21, 20, 1, 0), 0x1205);
  assert.equal(control(0x0104, 0, 0, 20, 20, 3, 0), 0x1203);
  assert.equal(control(0x0200, 1), 0x1200, '3D is not offered');
  assert.equal(control(0x0103, 0, 0), 0x1205, 'cut short');
  assert.equal(send(1, [0x0300, 0]).byteLength, 0);
  // A shown resource that goes leaves a black screen.
  assert.equal(control(0x0103, 0, 0, 20, 20, 0, 1), ok);
  assert.equal(control(0x0102, 1, 0), ok);
  assert.equal(control(0x0102, 1, 0), 0x1203);
  assert.ok(drawn(frame).pixels.every((value) => value === 0));
  // Memory that was given back can be had again.
  for (let i = 0; i < 20; i++) {
    assert.equal(control(0x0101, 1, 1, 4096, 4096), ok);
    assert.equal(control(0x0102, 1, 0), ok);
  }
});

test("the driver's pointer: its picture with alpha, hidden, and never of another size", () => {
  const bed = started();
  bed.driver.start();
  const { send, control, frame } = bed;
  const put = picture(bed, 3, 1, 64, 64);
  for (let at = 0; at < 64 * 64; at++) put(at, (at & 255) * 0x01010101);
  assert.equal(control(0x0105, 0, 0, 64, 64, 0, 0, 3, 0), ok);
  const update = (resource: number) => send(1, [0x0300, 0, 10, 20, 0, resource, 7, 9, 0]);
  update(3);
  assert.deepEqual([frame.pointer?.hotX, frame.pointer?.hotY], [7, 9]);
  assert.ok(frame.pointer?.pixels.every((pixel, at) => pixel === (at & 255) * 0x01010101));
  const before = frame.pointerChanges;
  send(1, [0x0301, 0, 11, 21, 0, 0, 0, 0, 0]);
  assert.equal(frame.pointerChanges, before);
  update(0);
  assert.equal(frame.pointer, undefined);
  assert.equal(control(0x0101, 4, 1, 32, 32), ok);
  update(4);
  assert.equal(frame.pointer, undefined);
});

test('a picture, its memory and the pointer are saved and loaded; a reset drops all', () => {
  const one = started();
  one.driver.start();
  const put = picture(one, 5, 1, 64, 64);
  for (let at = 0; at < 64 * 64; at++) put(at, 0xff000000 + at);
  one.control(0x0105, 0, 0, 64, 64, 0, 0, 5, 0);
  one.control(0x0103, 8, 8, 40, 40, 0, 5);
  one.send(1, [0x0300, 0, 1, 2, 0, 5, 3, 4, 0]);
  one.model.prefer(800, 600);
  const two = started(one.machine.ram.buffer);
  two.machine.pci.load(one.machine.pci.save());
  assert.deepEqual(drawn(two.frame).pixels, drawn(one.frame).pixels);
  assert.deepEqual(two.frame.pointer, one.frame.pointer);
  assert.deepEqual(two.machine.pci.save(), one.machine.pci.save());
  two.machine.pci.reset();
  assert.deepEqual([two.frame.isOn, two.frame.pointer], [false, undefined]);
  assert.notDeepEqual(two.machine.pci.save(), one.machine.pci.save());
});

test('hostile commands and saved states: nothing throws, and the device works after it', () => {
  const random = seededRandom(99);
  const bed = started();
  bed.driver.start();
  const types = [0x0100, 0x0101, 0x0102, 0x0103, 0x0104, 0x0105, 0x0106, 0x0107, 0x010a, 0x0300, 0x0301];
  const word = () => [0, 1, 2, 3, 16, 64, 100, 0xffffffff, PICTURE_GPA, random(1 << 16)][random(10)]!;
  for (let i = 0; i < 4000; i++) {
    const words = [random(20) === 0 ? word() : types[random(types.length)]!];
    for (let k = random(16); k > 0; k--) words.push(word());
    bed.send(random(4) === 0 ? 1 : 0, words, random(2), word());
    if (i % 64 === 0) drawn(bed.frame);
  }
  assert.equal(bed.machine.log.length, 0);
  bed.machine.pci.reset();
  const clean = started();
  clean.driver.start();
  picture(clean, 5, 1, 20, 20);
  clean.control(0x0103, 0, 0, 20, 20, 0, 5);
  const saved = clean.model.parts[0]!.save();
  for (let i = 0; i < 2000; i++) {
    const bad = saved.slice(0, random(4) === 0 ? random(saved.length) : saved.length);
    for (let k = 1 + random(3); k > 0 && bad.length > 0; k--) bad[random(Math.min(bad.length, 120))] = random(256);
    const other = started();
    try {
      other.model.parts[0]!.load(bad);
    } catch (error) {
      assert.ok(error instanceof StateError, String(error));
    }
    drawn(other.frame);
    if (i > 60) continue;
    other.driver.start();
    assert.equal(other.send(0, [0x0100]).getUint32(0, true), 0x1101);
  }
});
