/** Keyboard, mouse and tablet as a driver sees them (Virtual I/O Device 1.2, 5.8). */
import assert from 'node:assert/strict';
import test from 'node:test';
import { seededRandom } from '../testing.js';
import { ModernDriver, testMachine } from './testing.js';
import { VirtioInput, type VirtioInputKind } from './virtio-input.js';

function started(kind: VirtioInputKind) {
  const model = new VirtioInput(kind);
  const machine = testMachine(model);
  const driver = new ModernDriver(machine);
  driver.start();
  const config = (select: number, subsel = 0) => {
    machine.memory.write(driver.config, 1, select);
    machine.memory.write(driver.config + 1, 1, subsel);
    const size = machine.memory.read(driver.config + 2, 1);
    return Uint8Array.from({ length: size }, (_, i) => machine.memory.read(driver.config + 8 + i, 1));
  };
  let next = 0x10000;
  const offer = (count: number) => {
    for (let i = 0; i < count; i++, next += 8) driver.queues[0]!.add([{ gpa: next, length: 8, write: true }]);
    driver.kick(0);
  };
  let read = 0x10000;
  const events = () =>
    driver.queues[0]!.completions().map(({ length }) => {
      assert.equal(length, 8);
      const view = new DataView(machine.ram.slice(read, read + 8).buffer);
      read += 8;
      return [view.getUint16(0, true), view.getUint16(2, true), view.getInt32(4, true)];
    });
  return { model, machine, driver, config, offer, events };
}

const has = (bits: Uint8Array, code: number) => ((bits[code >> 3] ?? 0) >> (code & 7)) & 1;

test('each kind says what it is and can', () => {
  const keyboard = started('keyboard');
  assert.equal(new TextDecoder().decode(keyboard.config(1)), 'vring Virtio Keyboard');
  assert.deepEqual([...keyboard.config(3)], [6, 0, 0x27, 6, 1, 0, 1, 0]);
  const keys = keyboard.config(0x11, 1);
  assert.deepEqual(
    [1, 30, 88, 103, 127, 0, 89, 0x110].map((code) => has(keys, code)),
    [1, 1, 1, 1, 1, 0, 0, 0],
  );
  assert.deepEqual([...keyboard.config(0x11, 0x11)], [7]);
  assert.equal(keyboard.config(0x11, 2).length, 0);
  assert.equal(keyboard.config(0x77).length, 0);
  const tablet = started('tablet');
  assert.deepEqual([...tablet.config(0x11, 3)], [3]);
  assert.deepEqual([...tablet.config(0x12, 0).subarray(0, 8)], [0, 0, 0, 0, 0xff, 0x7f, 0, 0]);
  assert.equal(tablet.config(0x12, 2).length, 0);
  const mouse = started('mouse');
  assert.deepEqual([...mouse.config(0x11, 2)], [3, 1]);
  assert.equal(has(mouse.config(0x11, 1), 0x110), 1);
});

test('events arrive in groups, whole or not at all', () => {
  const keyboard = started('keyboard');
  keyboard.model.key(0x1e, true);
  keyboard.offer(5);
  keyboard.model.key(0x1e, true);
  keyboard.model.key(0xe04b, false);
  keyboard.model.key(0x1e, false);
  assert.deepEqual(keyboard.events(), [
    [1, 30, 1],
    [0, 0, 0],
    [1, 105, 0],
    [0, 0, 0],
  ]);
  const mouse = started('mouse');
  mouse.offer(16);
  mouse.model.move(3, -4, 1, 1);
  mouse.model.move(0, 0, 0, 3);
  mouse.model.move(0, 0, 0, 3);
  assert.deepEqual(mouse.events(), [
    [2, 0, 3],
    [2, 1, 4],
    [2, 8, 1],
    [1, 0x110, 1],
    [0, 0, 0],
    [1, 0x111, 1],
    [0, 0, 0],
  ]);
  const tablet = started('tablet');
  tablet.offer(8);
  tablet.model.point(0x1234, 0x7fff, 0, 0);
  assert.deepEqual(tablet.events(), [
    [3, 0, 0x1234],
    [3, 1, 0x7fff],
    [0, 0, 0],
  ]);
});

test('the driver tells of lights; they are saved and loaded with what is selected', () => {
  const one = started('keyboard');
  const led = (gpa: number, code: number, value: number) => {
    one.machine.ram.set([0x11, 0, code, 0, value, 0, 0, 0], gpa);
    one.driver.queues[1]!.add([{ gpa, length: 8 }]);
    one.driver.kick(1);
  };
  led(0x20000, 1, 1);
  led(0x20008, 2, 1);
  led(0x20010, 1, 0);
  led(0x20018, 9, 1);
  assert.equal(one.model.leds, 4);
  one.config(0x11, 0x11);
  const two = testMachine(new VirtioInput('keyboard'), {}, one.machine.ram.buffer);
  two.pci.load(one.machine.pci.save());
  assert.deepEqual(two.pci.save(), one.machine.pci.save());
});

test('random configuration accesses and buffers', () => {
  const { model, machine, driver } = started('tablet');
  const random = seededRandom(3);
  for (let i = 0; i < 3000; i++) {
    const size = ([1, 2, 4] as const)[random(3)]!;
    const at = driver.config + random(140);
    if (random(2) === 0) machine.memory.write(at, size, random(2 ** 31));
    else machine.memory.read(at, size);
    if (random(4) === 0) {
      driver.queues[random(2)]!.add([{ gpa: 0x30000 + random(64), length: random(12), write: random(2) === 0 }]);
      driver.kick(random(2));
    }
    model.point(random(0x8000), random(0x8000), random(3) - 1, random(32));
    if (random(3) === 0) for (const queue of driver.queues) queue.completions();
  }
});
