import assert from 'node:assert/strict';
import test from 'node:test';
import { seededRandom } from '../testing.js';
import { ModernDriver, ramBytes, testMachine } from './testing.js';
import { type ConsolePortBackend, VirtioConsole, type VirtioConsoleOptions } from './virtio-console.js';

/** A host side that takes at most `room` bytes until told otherwise. */
class Host implements ConsolePortBackend {
  received: number[] = [];
  room = Infinity;
  opens: boolean[] = [];
  inputCalls = 0;
  output(bytes: Uint8Array): number {
    const count = Math.min(this.room, bytes.length);
    for (let i = 0; i < count; i++) this.received.push(bytes[i]!);
    this.room -= count;
    return count;
  }
  guestOpened(open: boolean): void {
    this.opens.push(open);
  }
  inputReady(): void {
    this.inputCalls++;
  }
  get text(): string {
    return Buffer.from(this.received).toString();
  }
}

const bufferGpa = 0x200000;

function setUp(options: Partial<VirtioConsoleOptions> = {}, hosts = [new Host(), new Host()], ram?: ArrayBufferLike) {
  const model = new VirtioConsole({
    ports: [
      { id: 0, isConsole: true, backend: hosts[0]! },
      { id: 1, isConsole: false, name: 'org.vring.agent', backend: hosts[1]! },
    ],
    maxPorts: 4,
    ...options,
  });
  const machine = testMachine(model, {}, ram);
  const driver = new ModernDriver(machine);
  let next = bufferGpa;
  /** Offers a buffer for input on a queue. */
  const offer = (queue: number, length: number) => {
    const gpa = next;
    next += 0x1000;
    driver.queues[queue]!.add([{ gpa, length, write: true }]);
    driver.kick(queue);
    return gpa;
  };
  const send = (queue: number, bytes: Uint8Array, cut = bytes.length) => {
    const gpa = next;
    next += Math.ceil(bytes.length / 0x1000) * 0x1000;
    machine.ram.set(bytes, gpa);
    const pieces = [{ gpa, length: cut }];
    if (cut < bytes.length) pieces.push({ gpa: gpa + cut, length: bytes.length - cut });
    driver.queues[queue]!.add(pieces);
    driver.kick(queue);
  };
  const control = (id: number, event: number, value: number) =>
    send(3, Uint8Array.of(id & 0xff, 0, 0, 0, event & 0xff, 0, value & 0xff, 0));
  /** Control messages that came into the buffers offered on queue 2, in order. */
  const messages = (buffers: number[]) =>
    driver.queues[2]!.completions().map(({ length }) => {
      const gpa = buffers.shift()!;
      const view = new DataView(machine.ram.slice(gpa, gpa + length).buffer);
      const payload = Buffer.from(machine.ram.slice(gpa + 8, gpa + length));
      return [view.getUint32(0, true), view.getUint16(4, true), view.getUint16(6, true), payload.toString('latin1')];
    });
  return { model, machine, driver, hosts, offer, send, control, messages };
}

const [READY, ADD, PORT_READY, CONSOLE, RESIZE, OPEN, NAME] = [0, 1, 3, 4, 5, 6, 7] as const;

test('a single console: size in the configuration, bytes both ways', () => {
  const { model, machine, driver, hosts, offer, send } = setUp({ maxPorts: 1 });
  const [host] = hosts as [Host];
  const port = model.ports[0]!;
  assert.equal(model.ports.length, 1);
  port.setHostOpen(true);
  port.resize(132, 43);
  driver.start();
  assert.equal(driver.features() & 7n, 5n, 'no MULTIPORT');
  assert.deepEqual(host.opens, [true]);
  assert.equal(machine.memory.read(driver.config, 4), (43 << 16) | 132);
  port.resize(80, 25);
  assert.equal(machine.memory.read(driver.isr, 1), 2);
  assert.equal(machine.memory.read(driver.config, 4), (25 << 16) | 80);
  send(1, Buffer.from('hello, host'), 3);
  assert.equal(host.text, 'hello, host');
  assert.equal(port.input(Buffer.from('x')), 0, 'no buffer yet');
  const first = offer(0, 4);
  const second = offer(0, 4);
  assert.equal(host.inputCalls, 2);
  assert.equal(port.input(Buffer.from('abcdefghij')), 8);
  assert.equal(Buffer.from(machine.ram.slice(first, first + 4)).toString(), 'abcd');
  assert.equal(Buffer.from(machine.ram.slice(second, second + 4)).toString(), 'efgh');
  assert.deepEqual(
    driver.queues[0]!.completions().map((c) => c.length),
    [4, 4],
  );
  machine.memory.write(driver.config + 8, 4, 0x21);
  assert.equal(host.text, 'hello, host!', 'emergency write');
  driver.status = 0;
  assert.deepEqual(host.opens, [true, false]);
});

test('several ports: announcement, names, console, open, resize', () => {
  const { model, driver, hosts, offer, control, messages, machine } = setUp();
  const [console, agent] = model.ports as [(typeof model.ports)[0], (typeof model.ports)[0]];
  console.setHostOpen(true);
  console.resize(100, 30);
  driver.start();
  assert.equal(machine.memory.read(driver.config + 4, 4), 4);
  const buffers = Array.from({ length: 3 }, () => offer(2, 64));
  assert.deepEqual(messages(buffers), [], 'nothing before DEVICE_READY');
  control(0xff, READY, 1);
  assert.deepEqual(messages(buffers), [
    [0, ADD, 1, ''],
    [1, ADD, 1, ''],
  ]);
  control(0, PORT_READY, 1);
  control(1, PORT_READY, 1);
  assert.deepEqual(messages(buffers), [[0, CONSOLE, 1, '']], 'one buffer was left');
  for (let i = 0; i < 8; i++) buffers.push(offer(2, 64));
  assert.deepEqual(messages(buffers), [
    [0, RESIZE, 0, 'd\0\x1e\0'],
    [0, OPEN, 1, ''],
    [1, NAME, 1, 'org.vring.agent\0'],
  ]);
  control(0, OPEN, 1);
  control(1, OPEN, 1);
  assert.deepEqual([hosts[0]!.opens, hosts[1]!.opens], [[true], [true]]);
  agent.setHostOpen(true);
  console.resize(101, 30);
  agent.setHostOpen(false);
  assert.deepEqual(messages(buffers), [
    [1, OPEN, 1, ''],
    [0, RESIZE, 0, 'e\0\x1e\0'],
    [1, OPEN, 0, ''],
  ]);
  control(1, OPEN, 0);
  assert.deepEqual(hosts[1]!.opens, [true, false]);
  control(77, OPEN, 1);
  control(1, 999, 1);
});

test('output waits for the host, byte for byte, also across save and load', () => {
  const ram = new SharedArrayBuffer(ramBytes);
  const { model, driver, hosts, send, control, machine } = setUp({}, undefined, ram);
  const agent = model.ports[1]!;
  const host = hosts[1]!;
  agent.setHostOpen(true);
  driver.start();
  control(0, READY, 1);
  control(1, PORT_READY, 1);
  control(1, OPEN, 1);
  const sent: number[] = [];
  const random = seededRandom(3);
  host.room = 5;
  for (let i = 0; i < 40; i++) {
    const bytes = Uint8Array.from({ length: 1 + random(60) }, () => random(256));
    sent.push(...bytes);
    send(5, bytes, Math.min(bytes.length, 2));
  }
  assert.deepEqual(host.received, sent.slice(0, 5));
  const held = driver.queues[5]!.completions().length;
  assert.ok(held < 40, 'the guest sees its buffers held');
  for (const room of [1, 7, 100, 3]) {
    host.room = room;
    agent.outputReady();
  }
  assert.deepEqual(host.received, sent.slice(0, 116));
  // The second half of the machine's life, with another host.
  const saved = machine.pci.save();
  const later = setUp({}, undefined, ram);
  later.machine.pci.load(saved);
  assert.deepEqual(later.hosts[1]!.opens, [true]);
  later.model.ports[1]!.outputReady();
  assert.deepEqual([...host.received, ...later.hosts[1]!.received], sent);
  assert.equal(driver.queues[5]!.completions().length, 40 - held);
});

test('output to a closed host is thrown away, input to a closed guest is not taken', () => {
  const { model, driver, hosts, send, offer, control } = setUp();
  driver.start();
  control(0, READY, 1);
  control(1, PORT_READY, 1);
  send(5, Buffer.from('nobody hears'));
  assert.equal(driver.queues[5]!.completions().length, 1);
  assert.deepEqual(hosts[1]!.received, []);
  offer(4, 100);
  const before = hosts[1]!.inputCalls;
  assert.equal(model.ports[1]!.input(Buffer.from('early')), 0);
  control(1, OPEN, 1);
  assert.equal(hosts[1]!.inputCalls, before + 1, 'and is asked for when the guest opens');
  assert.equal(model.ports[1]!.input(Buffer.from('early')), 5);
  // A port that does not exist: its buffers come back.
  send(7, Buffer.from('x'));
  assert.equal(driver.queues[7]!.completions().length, 1);
});

test('random control messages and rings never throw', () => {
  const random = seededRandom(21);
  const { driver, machine, model, hosts } = setUp();
  driver.start();
  for (let i = 0; i < 1500; i++) {
    const at = random(9);
    if (at < 4) {
      const bytes = Uint8Array.from({ length: 1 + random(12) }, () => random(8));
      machine.ram.set(bytes, bufferGpa);
      driver.queues[3]!.add([{ gpa: bufferGpa, length: bytes.length }]);
      driver.kick(3);
    } else if (at === 4) {
      driver.queues[2 + (random(4) & ~1)]!.add([
        { gpa: bufferGpa + random(0x1000), length: 1 + random(20), write: true },
      ]);
      driver.kick(random(10));
    } else if (at === 5) {
      for (let n = 0; n < 8; n++) machine.ram[0x100000 + random(0xa0000)] = random(256);
    } else if (at === 6) {
      hosts[1]!.room = random(10);
      model.ports[random(2)]!.setHostOpen(random(2) === 0);
      model.ports[1]!.outputReady();
    } else if (at === 7) {
      model.ports[random(2)]!.input(new Uint8Array(random(50)));
    } else {
      model.ports[0]!.resize(random(300), random(100));
    }
    if (driver.status !== 15) driver.start();
  }
});
