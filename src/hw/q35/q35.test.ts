import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { ManualTime, MemorySpace, PortSpace } from '../../bus/index.js';
import { noQemu, QemuMachine } from '../../dev/qtest.js';
import { StateError } from '../../schema/index.js';
import { AcpiPm } from '../acpi-pm/acpi-pm.js';
import { PciFunction } from '../pci/pci-function.js';
import { PciRoot } from '../pci/pci-root.js';
import { fuzzAccesses, seededRandom, TestLine } from '../testing.js';
import { ICH9_PIRQS, Ich9Lpc, Ich9Smbus, ich9Route, Mch } from './index.js';

const configAddress = (device: number, fn: number, offset: number) =>
  (0x80000000 | (device << 11) | (fn << 8) | offset) >>> 0;

function make() {
  const memory = new MemorySpace(new ArrayBuffer(0x10000));
  memory.addRam({ name: 'ram', gpa: 0, size: 0x10000, hva: 0, readonly: false });
  const ports = new PortSpace();
  const root = new PciRoot({ spaces: { memory, ports, msi: { send() {} } }, route: ich9Route, lines: ICH9_PIRQS });
  const irqs = Array.from({ length: 24 }, () => new TestLine());
  const sci = new TestLine();
  const pm = new AcpiPm({ clock: new ManualTime(), sci, events: { powerOff() {}, reset() {} } });
  const mch = new Mch(root);
  const lpc = new Ich9Lpc({ root, irqs, pm });
  const smbus = new Ich9Smbus(root);
  root.mapPorts(ports);
  const card = new PciFunction({ name: 'card', vendorId: 1, deviceId: 2, classCode: 0xff0000, interruptPin: 1 });
  root.bus.add(card, 3);
  const config = (device: number, fn: number, offset: number, value?: number): number => {
    ports.write(0xcf8, 4, configAddress(device, fn, offset));
    if (value !== undefined) ports.write(0xcfc, 4, value);
    return ports.read(0xcfc, 4);
  };
  return { memory, ports, root, irqs, sci, pm, mch, lpc, smbus, card, config };
}

test('configuration space lies in memory where PCIEXBAR says, for as many buses as it says', () => {
  const { memory, mch, config } = make();
  const ids = (gpa: number) => memory.read(gpa, 4);
  assert.equal(ids(0xb0000000), 0xffffffff);
  config(0, 0, 0x60, 0xb0000001);
  assert.deepEqual([ids(0xb0000000), ids(0xb00f8000), ids(0xb0018000)], [0x29c08086, 0x29188086, 0x00020001]);
  assert.equal(ids(0xb0000100), 0xffffffff, 'no extended space');
  memory.write(0xb001803c, 1, 0x5a);
  assert.equal(config(3, 0, 0x3c) & 0xff, 0x5a);
  config(0, 0, 0x60, 0xe0000005);
  assert.deepEqual(
    [ids(0xb0000000), ids(0xe0000000), mch.ecam],
    [0xffffffff, 0x29c08086, { gpa: 0xe0000000, lastBus: 63 }],
  );
  config(0, 0, 0x60, 0xe0000000);
  assert.deepEqual([ids(0xe0000000), mch.ecam], [0xffffffff, undefined]);
});

test('a PCI interrupt reaches the I/O APIC and the ISA interrupt that its line is routed to', () => {
  const { irqs, card, config } = make();
  // Pin A of slot 3 is PIRQH.
  card.setIntx(true);
  assert.deepEqual([irqs[23]!.level, irqs[11]!.level], [true, false]);
  config(0x1f, 0, 0x68, 0x0b808080);
  assert.equal(irqs[11]!.level, true);
  card.setIntx(false);
  assert.deepEqual([irqs[23]!.level, irqs[11]!.level], [false, false]);
  assert.deepEqual([ich9Route(0x1f, 0), ich9Route(0x1d, 3), ich9Route(0, 0), ich9Route(2, 3)], [0, 3, 4, 5]);
});

test('the power management block: events, general-purpose events, and an SMI that needs no setting up', () => {
  const { ports, sci, pm, config } = make();
  assert.equal(ports.read(0x608, 4), 0xffffffff);
  config(0x1f, 0, 0x40, 0x601);
  config(0x1f, 0, 0x44, 0x80);
  assert.equal(ports.read(0x630, 4), 0x20);
  ports.write(0x604, 2, 1);
  ports.write(0x602, 2, 0x100);
  pm.pressPowerButton();
  assert.equal(sci.level, true);
  ports.write(0x600, 2, 0x100);
  ports.write(0x628, 4, 4);
  pm.raiseGpe(2);
  assert.deepEqual([ports.read(0x620, 4), sci.level], [4, true]);
  ports.write(0x620, 4, 4);
  assert.deepEqual([ports.read(0x620, 4), sci.level], [0, false]);
});

test('nobody answers on the SMBus', () => {
  const { ports, irqs, config } = make();
  config(0x1f, 3, 0x20, 0xc000);
  config(0x1f, 3, 0x04, 1);
  config(0x1f, 3, 0x40, 1);
  ports.write(0xc004, 1, 0xa1);
  ports.write(0xc002, 1, 0x49);
  assert.deepEqual([ports.read(0xc000, 1), ports.read(0xc002, 1), irqs[16]!.level], [4, 9, true]);
  ports.write(0xc000, 1, 4);
  assert.deepEqual([ports.read(0xc000, 1), irqs[16]!.level], [0, false]);
});

test('as QEMU: configuration space at power-on, chip configuration registers', { skip: noQemu }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'vring-q35-'));
  const qemu = new QemuMachine([], dir, 'q35');
  try {
    const ours = make();
    const theirs = async (device: number, fn: number, offset: number, value?: number) => {
      await qemu.out(0xcf8, 4, configAddress(device, fn, offset));
      if (value !== undefined) await qemu.out(0xcfc, 4, value);
      return await qemu.in(0xcfc, 4);
    };
    const differences: string[] = [];
    const compare = (what: string, mine: number, other: number) => {
      if (mine !== other) differences.push(`${what}: ${mine.toString(16)}, QEMU ${other.toString(16)}`);
    };
    for (const [device, fn] of [
      [0, 0],
      [0x1f, 0],
      [0x1f, 3],
    ] as const) {
      for (let at = 0; at < 256; at += 4) {
        // The AHCI controller, which makes it a multi-function device in either case, is not part of this machine.
        const what = `${device.toString(16)}.${fn} ${at.toString(16)}`;
        compare(what, ours.config(device, fn, at), await theirs(device, fn, at));
      }
    }
    ours.config(0x1f, 0, 0xf0, 0xfed1c001);
    await theirs(0x1f, 0, 0xf0, 0xfed1c001);
    for (const at of [0x3140, 0x3144, 0x3148, 0x314c, 0x3150, 0x3410])
      compare(`rcrb ${at.toString(16)}`, ours.memory.read(0xfed1c000 + at, 4), await qemu.read(0xfed1c000 + at, 4));
    assert.deepEqual(differences, []);
  } finally {
    qemu.close();
    rmSync(dir, { recursive: true });
  }
});

test('random accesses and saved states: no throw, and windows follow what is loaded', () => {
  const next = seededRandom(35);
  let loaded = 0;
  for (let round = 0; round < 100; round++) {
    const from = make();
    const functions = [0, 0xf8, 0xfb].map((devfn) => from.root.bus.at(devfn)!);
    const access = {
      read: (offset: number, size: 1 | 2 | 4) => functions[offset >> 8]!.read(offset & 0xfc, size),
      write: (offset: number, size: 1 | 2 | 4, value: number) =>
        functions[offset >> 8]!.write(offset & 0xfc, size, value),
    };
    fuzzAccesses(next, 200, 0x2fc, access, () => {
      from.card.setIntx(next(2) === 0);
      from.ports.write(0xc000 + next(64), 1, next(256));
    });
    const to = make();
    for (const [i, device] of [from.mch, from.lpc, from.smbus].entries()) {
      const saved = device.save();
      for (let k = next(3); k > 0; k--) saved[next(saved.length)] = next(256);
      const target = [to.mch, to.lpc, to.smbus][i]!;
      try {
        target.load(saved);
        loaded++;
      } catch (error) {
        assert.ok(error instanceof StateError, String(error));
      }
    }
    const { ecam } = to.mch;
    if (ecam && ecam.gpa >= 0x10000) assert.equal(to.memory.read(ecam.gpa, 4), 0x29c08086);
  }
  assert.ok(loaded > 100, `${loaded} of 300 were loadable`);
});
