import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { MemorySpace, PortSpace } from '../../bus/index.js';
import { noQemu, QemuMachine } from '../../dev/qtest.js';
import { ICH9_PIRQS, ich9Route } from '../q35/index.js';
import { assignResources } from './assign-resources.js';
import { addExpressCapability } from './express.js';
import { PciFunction } from './pci-function.js';
import { PciRoot } from './pci-root.js';
import { PcieRootPort } from './pcie-root-port.js';

const windows = {
  io: { first: 0xc000, last: 0xffff },
  memory: { first: 0xc0000000, last: 0xfebfffff },
  lineIrqs: [10, 10, 11, 11, 10, 10, 11, 11],
};
const handler = { read: () => 0x5a, write: () => {} };

function make() {
  const memory = new MemorySpace(new ArrayBuffer(0x10000));
  const ports = new PortSpace();
  const root = new PciRoot({ spaces: { memory, ports, msi: { send() {} } }, route: ich9Route, lines: ICH9_PIRQS });
  const port = (slot: number, functionNumber: number, physicalSlot: number) =>
    new PcieRootPort({
      name: `port ${slot}.${functionNumber}`,
      root,
      slot,
      functionNumber,
      physicalSlot,
      occupied: true,
    });
  const card = (name: string, size: number) =>
    new PciFunction({
      name,
      vendorId: 1,
      deviceId: 2,
      classCode: 0xff0000,
      interruptPin: 1,
      bars: [
        { index: 0, kind: 'memory32', size, handler },
        { index: 1, kind: 'io', size: 32, handler },
      ],
    });
  return { memory, ports, root, port, card };
}

test('the bus behind a port has the number that the guest gives it, and its pins go on to the port', () => {
  const { root, port, card } = make();
  const behind = card('behind', 4096);
  const upper = port(3, 1, 7);
  upper.bus.add(behind, 0);
  assert.equal(root.readConfig(5, 0, 0, 4), 0xffffffff);
  upper.function.write(0x19, 1, 5);
  assert.equal(root.readConfig(5, 0, 0, 4), 0x00020001);
  assert.equal(root.readConfig(5, 8, 0, 4), 0xffffffff, 'slot 0 alone');
  assert.equal(root.readConfig(0, 0x19, 0x0c, 4) >>> 16, 1, 'a type 1 header');
  // Pin A of slot 3 is PIRQH.
  const levels: number[] = [];
  root.onLine = (line) => void (root.lineLevel(line) && levels.push(line));
  behind.setIntx(true);
  assert.deepEqual(levels, [7]);
});

test('without firmware every port has a window that holds what is behind it', () => {
  const { memory, ports, root, port, card } = make();
  const [first, second] = [port(2, 0, 0), port(2, 1, 1)];
  const cards = [card('large', 0x200000), card('small', 0x1000), card('on bus 0', 0x1000)];
  first.bus.add(cards[0]!, 0);
  second.bus.add(cards[1]!, 0);
  root.bus.add(cards[2]!, 4);
  const empty = port(2, 2, 2);
  assignResources(root, windows);
  const word = (at: PcieRootPort, offset: number) => at.function.read(offset, 4);
  for (const [each, fn, number] of [
    [first, cards[0]!, 1],
    [second, cards[1]!, 2],
  ] as const) {
    assert.equal(word(each, 0x18) & 0xffffff, (number << 16) | (number << 8));
    const range = word(each, 0x20);
    const [base, limit] = [(range & 0xfff0) * 0x10000, (range >>> 20) * 0x100000 + 0xfffff];
    const gpa = fn.barAddress(fn.barSpecs[0]!)!;
    assert.ok(gpa >= base && gpa + fn.barSpecs[0]!.size - 1 <= limit, `${gpa.toString(16)} in ${range.toString(16)}`);
    assert.equal(memory.read(gpa, 1), 0x5a);
    const [ioBase, ioLimit] = [(word(each, 0x1c) & 0xf0) << 8, ((word(each, 0x1c) >> 8) & 0xf0) << 8];
    const io = fn.barAddress(fn.barSpecs[1]!)!;
    assert.ok(io >= ioBase && io < ioLimit + 0x1000);
    assert.equal(ports.read(io, 1), 0x5a);
    assert.equal(each.function.command & 7, 7);
  }
  assert.ok((word(empty, 0x20) & 0xfff0) > word(empty, 0x20) >>> 16, 'nothing is passed on to nobody');
});

test('as QEMU: the port’s header and capability at power-on', { skip: noQemu }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'vring-port-'));
  const devices = ['-device', 'pcie-root-port,id=rp,addr=3,slot=0,chassis=1', '-device', 'virtio-rng-pci,bus=rp'];
  const qemu = new QemuMachine(devices, dir, 'q35');
  try {
    const { port, root } = make();
    const ours = port(3, 0, 0);
    const differences: string[] = [];
    // Its header; of the capability what it is, the root port's control registers, and that a device is there.
    for (const at of [0, 4, 8, 0x0c, 0x18, 0x1c, 0x20, 0x24, 0x28, 0x3c, 0x5c, 0x70]) {
      await qemu.out(0xcf8, 4, 0x80001800 | at);
      const theirs = await qemu.in(0xcfc, 4);
      const mine = root.readConfig(0, 0x18, at, 4);
      if (mine !== theirs) differences.push(`${at.toString(16)}: ${mine.toString(16)}, QEMU ${theirs.toString(16)}`);
    }
    assert.deepEqual(differences, []);
    assert.equal(ours.function.read(0x56, 2), 0x0142, 'a root port with a slot');
  } finally {
    qemu.close();
    rmSync(dir, { recursive: true });
  }
});

test('saved and loaded: numbers, windows and MSI-X', () => {
  const [from, to] = [make(), make()];
  const [saved, loaded] = [from.port(1, 0, 0), to.port(1, 0, 0)];
  assignResources(from.root, windows);
  loaded.load(saved.save());
  assert.deepEqual(loaded.function.config, saved.function.config);
  assert.equal(to.root.buses[1]?.number, 1);
  loaded.reset();
  assert.equal(to.root.buses[1]?.number, undefined);
  const endpoint = from.card('endpoint', 4096);
  addExpressCapability(endpoint, { kind: 'endpoint' });
  assert.deepEqual([endpoint.read(0x34, 1), endpoint.read(0x40, 4)], [0x40, 0x00020010]);
});
