import assert from 'node:assert/strict';
import test from 'node:test';
import { MemorySpace, PortSpace } from '../../bus/index.js';
import { fuzzAccesses, seededRandom } from '../testing.js';
import { AcpiPciHotplug, PCI_HOTPLUG_BYTES, PCI_HOTPLUG_PORT } from './acpi-hotplug.js';
import { PciFunction } from './pci-function.js';
import { PciRoot } from './pci-root.js';
import { PcieRootPort } from './pcie-root-port.js';

function acpi() {
  const ports = new PortSpace();
  const seen: string[] = [];
  const events = { changed: () => seen.push('event'), ejected: (slot: number) => void seen.push(`ejected ${slot}`) };
  const chip = new AcpiPciHotplug({ firstSlot: 2, events: { ...events, changed: () => void seen.push('event') } });
  chip.mapPorts(ports);
  const read = (at: number) => ports.read(PCI_HOTPLUG_PORT + at, 4);
  const write = (at: number, value: number) => ports.write(PCI_HOTPLUG_PORT + at, 4, value);
  return { chip, ports, seen, read, write };
}

test('ACPI: what has come is told once, what is to go until it has gone', () => {
  const { chip, seen, read, write } = acpi();
  chip.plugged(5);
  chip.plugged(31);
  chip.requestUnplug(7);
  assert.deepEqual(seen.splice(0), ['event', 'event', 'event']);
  assert.equal(read(0x0c), 0xfffffffc);
  write(0x10, 1);
  assert.deepEqual([read(0), read(4)], [0, 0], 'there is no second bus');
  write(8, 0x80);
  write(0x10, 0);
  assert.deepEqual([read(0), read(0), read(4), read(4)], [0x80000020, 0, 0x80, 0x80]);
  const other = acpi();
  other.chip.load(chip.save());
  assert.equal(other.read(4), 0x80);
  write(8, 0x83);
  assert.deepEqual(seen.splice(0), ['ejected 7'], "not the board's own slots");
  assert.equal(read(4), 0);
  other.chip.reset();
  assert.deepEqual(other.seen, ['ejected 7'], 'a reset waits for nobody');
});

test('ACPI: random accesses', () => {
  const { chip, ports } = acpi();
  const random = seededRandom(3);
  const access = {
    read: (offset: number, size: 1 | 2 | 4) => ports.read(PCI_HOTPLUG_PORT + offset, size),
    write: (offset: number, size: 1 | 2 | 4, value: number) => ports.write(PCI_HOTPLUG_PORT + offset, size, value),
  };
  fuzzAccesses(random, 2000, PCI_HOTPLUG_BYTES, access, () => {
    if (random(9) === 0) chip.plugged(2 + random(30));
    if (random(9) === 0) chip.requestUnplug(2 + random(30));
    if (random(99) === 0) chip.load(chip.save());
  });
});

function rootPort(occupied: boolean) {
  const memory = new MemorySpace(new ArrayBuffer(0));
  const sent: number[] = [];
  const spaces = {
    memory,
    ports: new PortSpace(),
    msi: { send: (_gpa: number, data: number) => void sent.push(data) },
  };
  const root = new PciRoot({ spaces, route: () => 0 });
  const port = new PcieRootPort({ name: 'port', root, slot: 3, functionNumber: 0, physicalSlot: 9, occupied });
  port.function.setCommand(6);
  port.function.write(0x19, 1, 1);
  const status = () => port.function.read(0x54 + 26, 2);
  const control = (value: number) => port.function.write(0x54 + 24, 2, value);
  return { root, port, status, control, sent, memory, fn: port.function };
}

test('root port: presence, link and button interrupt when enabled; power off lets the device go', () => {
  const { port, status, control, fn, root } = rootPort(false);
  assert.equal(fn.read(0x54 + 20, 4), (9 << 19) | 0x4005b);
  assert.equal(status(), 0);
  assert.equal(fn.read(0x54 + 18, 2) & 0x2000, 0);
  port.bus.add(new PciFunction({ name: 'device', vendorId: 1, deviceId: 2, classCode: 0 }), 0);
  port.plugged();
  assert.equal(root.lineLevel(0), false, 'nothing is enabled');
  assert.equal(status(), 0x149);
  assert.equal(fn.read(0x54 + 18, 2) & 0x2000, 0x2000, 'the link is up');
  for (const [enabled, level] of [
    [0x1029, true],
    [0x1020, true],
    [0x0028, true],
    [0x0021, true],
    [0x0022, false],
    [0x1008, false],
  ] as const) {
    control(enabled);
    assert.equal(root.lineLevel(0), level, `control ${enabled.toString(16)}: presence and link have changed`);
  }
  control(0x1029);
  fn.write(0x54 + 26, 2, 0x109);
  assert.deepEqual([root.lineLevel(0), status()], [false, 0x40]);
  let ejected = 0;
  port.onEject = () => {
    ejected++;
    port.bus.remove(0);
  };
  control(0x1429);
  assert.equal(ejected, 0, 'the system may switch it off and on');
  control(0x1029);
  port.requestUnplug();
  assert.deepEqual([root.lineLevel(0), status()], [true, 0x41]);
  fn.write(0x54 + 26, 2, 1);
  assert.equal(root.lineLevel(0), false);
  const other = rootPort(true);
  other.port.load(port.save());
  control(0x1429);
  assert.deepEqual([ejected, status(), port.bus.at(0)], [1, 0x108, undefined]);
  other.port.onEject = () => void ejected++;
  other.port.reset();
  assert.deepEqual([ejected, other.status() & 0x40], [2, 0], 'a reset waits for nobody');
});

test('a function that is taken out leaves no window and no interrupt behind', () => {
  const { root, memory } = rootPort(false);
  const handler = { read: () => 0x12, write() {} };
  const make = () =>
    new PciFunction({
      name: 'device',
      vendorId: 1,
      deviceId: 2,
      classCode: 0,
      interruptPin: 1,
      bars: [{ index: 0, kind: 'memory32', size: 4096, handler }],
    });
  for (let i = 0; i < 3; i++) {
    const fn = make();
    root.bus.add(fn, 5);
    fn.write(0x10, 4, 0x10000000);
    fn.setCommand(2);
    fn.setIntx(true);
    assert.deepEqual([memory.read(0x10000000, 1), root.lineLevel(0)], [0x12, true]);
    root.bus.remove(5);
    assert.deepEqual([memory.read(0x10000000, 1), root.lineLevel(0), root.bus.at(40)], [0xff, false, undefined]);
  }
  assert.equal(root.bus.freeSlot(5), 5);
});
