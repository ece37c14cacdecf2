import assert from 'node:assert/strict';
import test from 'node:test';
import { MemorySpace, PortSpace } from '../../bus/index.js';
import { StateError } from '../../schema/index.js';
import { fuzzAccesses, seededRandom, TestLine } from '../testing.js';
import {
  assignResources,
  type BarSpec,
  I440fx,
  loadParts,
  Msi,
  Msix,
  PciFunction,
  PciRoot,
  Piix3,
  Piix4Pm,
  pcWindows,
  saveParts,
} from './index.js';

/** A `pc` chip set without CPU; `messages` collects what devices send to local APICs. */
function board() {
  const memory = new MemorySpace(new ArrayBuffer(0x100000));
  memory.addRam({ name: 'ram', gpa: 0, size: 0x100000, hva: 0, readonly: false });
  const ports = new PortSpace();
  const messages: [number, number][] = [];
  const msi = { send: (gpa: number, data: number) => void messages.push([gpa, data]) };
  const root = new PciRoot({ spaces: { memory, ports, msi }, route: (slot, pin) => (slot + pin - 1) & 3 });
  const host = new I440fx(root);
  const irqs = Array.from({ length: 16 }, () => new TestLine());
  const isa = new Piix3({ root, irqs });
  const block = new Uint8Array(64);
  const pm = new Piix4Pm({
    root,
    block: {
      read: (offset) => block[offset]!,
      write: (offset, _size, value) => {
        block[offset] = value & 0xff;
      },
    },
  });
  root.mapPorts(ports);
  isa.mapPorts(ports);
  const select = (slot: number, fn: number, at: number) =>
    ports.write(0xcf8, 4, (0x80000000 | (slot << 11) | (fn << 8) | (at & 0xfc)) >>> 0);
  const read = (slot: number, fn: number, at: number, size: 1 | 2 | 4 = 4) => {
    select(slot, fn, at);
    return ports.read(0xcfc + (at & 3), size);
  };
  const write = (slot: number, fn: number, at: number, size: 1 | 2 | 4, value: number) => {
    select(slot, fn, at);
    ports.write(0xcfc + (at & 3), size, value);
  };
  return { memory, ports, messages, root, host, isa, pm, irqs, read, write, block };
}

/** A device with one BAR of each kind, each a small RAM. */
function sample(options: { pin?: 0 | 1 | 2 | 3 | 4; name?: string } = {}) {
  const ram = (size: number) => {
    const bytes = new Uint8Array(size);
    const view = new DataView(bytes.buffer);
    const read = (at: number, n: 1 | 2 | 4) =>
      n === 4 ? view.getUint32(at, true) : n === 2 ? view.getUint16(at, true) : view.getUint8(at);
    const write = (at: number, n: 1 | 2 | 4, v: number) =>
      n === 4 ? view.setUint32(at, v, true) : n === 2 ? view.setUint16(at, v, true) : view.setUint8(at, v);
    return { read, write };
  };
  const bars: BarSpec[] = [
    { index: 0, kind: 'io', size: 0x40, handler: ram(0x40) },
    { index: 1, kind: 'memory32', size: 0x1000, handler: ram(0x1000) },
    { index: 2, kind: 'memory64', prefetchable: true, size: 0x4000, handler: ram(0x4000) },
  ];
  return new PciFunction({
    name: options.name ?? 'sample',
    vendorId: 0x1234,
    deviceId: 0x5678,
    revision: 3,
    classCode: 0x0380ff,
    subsystemVendorId: 0xaaaa,
    subsystemId: 0xbbbb,
    interruptPin: options.pin ?? 1,
    bars,
  });
}

test('the header reads as defined, and empty slots read as ones', () => {
  const { root, read, write, ports } = board();
  root.bus.add(sample(), 4);
  assert.equal(read(0, 0, 0), 0x12378086);
  assert.equal(read(1, 0, 0), 0x70008086);
  assert.equal(read(1, 3, 0), 0x71138086);
  assert.equal(read(1, 0, 0x0e, 1), 0x80, 'the PIIX has several functions');
  assert.equal(read(0, 0, 0x0e, 1), 0);
  assert.equal(read(4, 0, 0), 0x56781234);
  assert.equal(read(4, 0, 8), 0x0380ff03);
  assert.equal(read(4, 0, 0x2c), 0xbbbbaaaa);
  assert.equal(read(4, 0, 0x3d, 1), 1);
  assert.equal(read(5, 0, 0), 0xffffffff);
  assert.equal(read(4, 1, 0), 0xffffffff);
  assert.equal(read(4, 0, 0x02, 2), 0x5678, 'a narrow access at an odd place');
  write(4, 0, 0, 4, 0);
  assert.equal(read(4, 0, 0), 0x56781234, 'identity is read-only');
  ports.write(0xcf8, 4, 0x00002000);
  assert.equal(ports.read(0xcfc, 4), 0xffffffff, 'bit 31 enables');
  ports.write(0xcf8, 1, 0x80);
  assert.equal(ports.read(0xcf8, 4), 0x00002000, 'CONFADD takes 4-byte writes only');
});

test('BARs follow the sizing protocol and the command register', () => {
  const { memory, ports, root, read, write } = board();
  root.bus.add(sample(), 4);
  for (const [at, mask] of [
    [0x10, 0xffffffc1],
    [0x14, 0xfffff000],
    [0x18, 0xffffc00c],
    [0x1c, 0xffffffff],
    [0x20, 0],
  ] as const) {
    write(4, 0, at, 4, 0xffffffff);
    assert.equal(read(4, 0, at), mask, `BAR at 0x${at.toString(16)}`);
  }
  write(4, 0, 0x10, 4, 0xc040);
  write(4, 0, 0x14, 4, 0xfe000000);
  write(4, 0, 0x18, 4, 0x10000000);
  write(4, 0, 0x1c, 4, 0x80);
  ports.write(0xc044, 4, 0x11223344);
  assert.equal(ports.read(0xc044, 4), 0xffffffff, 'decoding is off');
  write(4, 0, 4, 2, 1);
  ports.write(0xc044, 4, 0x11223344);
  assert.equal(ports.read(0xc044, 4), 0x11223344);
  assert.equal(memory.read(0xfe000000, 4), 0xffffffff);
  write(4, 0, 4, 2, 3);
  memory.write(0xfe000010, 2, 0xabcd);
  memory.write(0x8010000020, 4, 0x55667788);
  assert.equal(memory.read(0xfe000010, 4), 0xabcd);
  assert.equal(memory.read(0x8010000020, 4), 0x55667788);
  // Moved, it answers at the new place and no longer at the old one.
  write(4, 0, 0x14, 4, 0xfd000000);
  assert.equal(memory.read(0xfd000010, 4), 0xabcd);
  assert.equal(memory.read(0xfe000010, 4), 0xffffffff);
  // Over RAM, RAM answers; sized while decoding, it answers nowhere.
  memory.write(0x2010, 4, 0x99);
  write(4, 0, 0x14, 4, 0x2000);
  assert.equal(memory.read(0x2010, 4), 0x99);
  write(4, 0, 0x14, 4, 0xffffffff);
  assert.equal(memory.read(0xfffff010, 4), 0xffffffff);
});

test('INTx goes through swizzle, PIRQ routing and the disable bit', () => {
  const { root, read, write, irqs } = board();
  const a = sample({ name: 'a' });
  const b = sample({ name: 'b', pin: 2 });
  root.bus.add(a, 4); // INTA of slot 4: line 3
  root.bus.add(b, 3); // INTB of slot 3: line 3
  a.setIntx(true);
  assert.ok(
    irqs.every((line) => !line.level),
    'not routed after reset',
  );
  write(1, 0, 0x63, 1, 11);
  assert.equal(irqs[11]!.level, true);
  assert.equal(read(4, 0, 6, 2) & 8, 8, 'interrupt status');
  assert.equal(read(3, 0, 6, 2) & 8, 0);
  b.setIntx(true);
  a.setIntx(false);
  assert.equal(irqs[11]!.level, true, 'the other device still drives the line');
  write(3, 0, 4, 2, 0x400);
  assert.equal(irqs[11]!.level, false, 'interrupts disabled in its command register');
  assert.equal(read(3, 0, 6, 2) & 8, 8, 'the status bit shows it all the same');
  write(3, 0, 4, 2, 0);
  write(1, 0, 0x63, 1, 10);
  assert.deepEqual([irqs[10]!.level, irqs[11]!.level], [true, false], 'routed anew');
  write(1, 0, 0x63, 1, 0x80);
  assert.equal(irqs[10]!.level, false);
  write(1, 0, 0x63, 1, 8);
  assert.equal(irqs[8]!.level, false, 'IRQ 8 belongs to ISA');
  assert.equal(irqs[11]!.rises, 2, 'once by the device, once when its disable bit was cleared');
});

test('the bridge leaves interrupts alone that others drive', () => {
  const { write, irqs, isa } = board();
  irqs[9]!.set(true);
  irqs[11]!.set(true);
  for (const route of [9, 11, 0x80, 9]) write(1, 0, 0x60, 1, route);
  isa.load(isa.save());
  isa.reset();
  assert.deepEqual([irqs[9]!.level, irqs[11]!.level], [true, true]);
});

test('resources are assigned as firmware would: disjoint, aligned, enabled', () => {
  const { root, isa, read, pm, ports, block } = board();
  for (const slot of [3, 4, 5]) root.bus.add(sample({ name: `dev${slot}` }), slot);
  pm.configure(0x600, 9);
  const { levelIrqs } = assignResources(root, pcWindows(0xe0000000), isa.function);
  assert.deepEqual(levelIrqs, [10, 11]);
  assert.equal(read(1, 3, 0x3c, 1), 9, 'the SCI stays where it is');
  const taken: [number, number][] = [];
  for (const { fn } of root.bus.functions()) {
    for (const bar of fn.barSpecs) {
      const address = fn.barAddress(bar);
      assert.ok(address !== undefined, `${fn.name} BAR ${bar.index} is on`);
      assert.equal(address % bar.size, 0);
      const [first, last] = bar.kind === 'io' ? [0xc000, 0xffff] : [0xe0000000, 0xfebfffff];
      assert.ok(address >= first && address + bar.size - 1 <= last);
      const base = bar.kind === 'io' ? address - 0x1000000 : address;
      assert.ok(!taken.some(([s, e]) => base < e && base + bar.size > s), 'no overlap');
      taken.push([base, base + bar.size]);
    }
  }
  assert.equal(taken.length, 9);
  // Slot 3 pin A is PIRQC, slot 4 PIRQD, slot 5 PIRQA.
  assert.deepEqual(
    [3, 4, 5].map((slot) => read(slot, 0, 0x3c, 1)),
    [11, 11, 10],
  );
  assert.deepEqual(
    [0, 1, 2, 3].map((i) => read(1, 0, 0x60 + i, 1)),
    [10, 10, 11, 11],
  );
  ports.write(0x604, 1, 0x42);
  assert.equal(block[4], 0x42);
  assert.equal(read(1, 3, 0x40), 0x601);

  const full = board();
  for (let slot = 2; slot < 20; slot++) full.root.bus.add(sample({ name: `dev${slot}` }), slot);
  assert.throws(
    () => assignResources(full.root, { ...pcWindows(0xe0000000), io: { first: 0xff00, last: 0xffff } }),
    /more port space than there is: dev6 does not fit/,
  );
});

test('reset control register: rises through its own port, on top of CONFADD', () => {
  const { ports, isa, root } = board();
  let resets = 0;
  isa.onReset = () => resets++;
  ports.write(0xcf8, 4, 0x80000600);
  assert.equal(resets, 0, 'a 4-byte write is CONFADD');
  assert.equal(root.state.CONFADD, 0x80000600);
  ports.write(0xcf9, 1, 2);
  assert.equal(ports.read(0xcf9, 1), 2);
  ports.write(0xcf9, 1, 6);
  assert.equal(resets, 1);
});

test('shadow RAM ranges follow the PAM registers', () => {
  const { host, write } = board();
  const seen: string[] = [];
  host.onShadow = (ranges) => {
    seen.push(ranges.map((r) => (r.readsRam ? 1 : 0) + (r.writesRam ? 2 : 0)).join(''));
    assert.equal(ranges[12]!.start, 0xf0000);
    assert.equal(
      ranges.reduce((sum, r) => sum + r.size, 0),
      0x40000,
    );
  };
  write(0, 0, 0x59, 1, 0x30);
  write(0, 0, 0x5a, 1, 0x21);
  write(0, 0, 0x5f, 1, 0xff);
  assert.deepEqual(seen, ['0000000000003', '1200000000003', '1200000000333']);
});

test('memory-mapped configuration space is the same space', () => {
  const { root, memory, read } = board();
  root.bus.add(sample(), 4);
  root.mapEcam(memory, 0xb0000000, 0xff);
  const at = 0xb0000000 + (4 << 15);
  assert.equal(memory.read(at, 4), 0x56781234);
  memory.write(at + 0x3c, 1, 7);
  assert.equal(read(4, 0, 0x3c, 1), 7);
  assert.equal(memory.read(at + 0x100, 4), 0xffffffff, 'no extended space');
  assert.equal(memory.read(at + 0xfe, 4), 0xffffffff, 'across its end');
  assert.equal(memory.read(0xb0000000 + 0x100000, 4), 0xffffffff, 'bus 1');
});

test('MSI-X: masks per vector and per function, pending bits, bus mastering', () => {
  const { root, memory, messages, write, read } = board();
  const msix = new Msix({ barIndex: 1, vectors: 3 });
  const fn = new PciFunction({
    name: 'msix-device',
    vendorId: 1,
    deviceId: 2,
    classCode: 0,
    bars: [msix.bar],
    configWritten: () => msix.configChanged(),
  });
  msix.attach(fn);
  root.bus.add(fn, 4);
  assignResources(root, pcWindows(0xe0000000));
  const bar = fn.barAddress(msix.bar)!;
  const cap = read(4, 0, 0x34, 1);
  assert.equal(read(4, 0, 6, 2) & 0x10, 0x10);
  assert.equal(read(4, 0, cap, 1), 0x11);
  assert.equal(read(4, 0, cap + 2, 2), 2, 'table size minus one');
  assert.equal(read(4, 0, cap + 4), 1, 'table at offset 0 of BAR 1');
  const pba = bar + (read(4, 0, cap + 8) & ~7);
  const entry = (v: number, address: number, data: number, control: number) => {
    memory.write(bar + v * 16, 4, address);
    memory.write(bar + v * 16 + 4, 4, 0);
    memory.write(bar + v * 16 + 8, 4, data);
    memory.write(bar + v * 16 + 12, 4, control);
  };
  assert.equal(memory.read(bar + 12, 4), 1, 'masked after reset');
  entry(0, 0xfee00000, 0x41, 0);
  entry(1, 0xfee01000, 0x42, 1);
  msix.notify(0);
  assert.deepEqual(messages, [], 'not enabled');
  write(4, 0, 4, 2, 6);
  write(4, 0, cap + 2, 2, 0x8000);
  msix.notify(0);
  msix.notify(1);
  msix.notify(7);
  assert.deepEqual(messages.splice(0), [[0xfee00000, 0x41]]);
  assert.equal(memory.read(pba, 4), 2, 'vector 1 waits');
  memory.write(pba, 4, 0);
  assert.equal(memory.read(pba, 4), 2, 'pending bits are read-only');
  memory.write(bar + 16 + 12, 4, 0xfffffffe);
  assert.deepEqual(messages.splice(0), [[0xfee01000, 0x42]]);
  assert.equal(memory.read(pba, 4), 0);
  assert.equal(memory.read(bar + 16 + 12, 4), 0, 'only the mask bit exists');
  write(4, 0, cap + 2, 2, 0xc000);
  msix.notify(0);
  msix.notify(0);
  assert.deepEqual(messages, []);
  write(4, 0, cap + 2, 2, 0x8000);
  assert.deepEqual(messages.splice(0), [[0xfee00000, 0x41]], 'one message for what was pending');
  write(4, 0, 4, 2, 2);
  msix.notify(0);
  assert.deepEqual(messages, [], 'only a bus master sends');
});

test('MSI: allotted vectors, masks, pending', () => {
  const { root, messages, write, read } = board();
  let msi: Msi | undefined;
  const fn = new PciFunction({
    name: 'msi-device',
    vendorId: 1,
    deviceId: 2,
    classCode: 0,
    configWritten: () => msi?.configChanged(),
  });
  msi = new Msi(fn, 4);
  root.bus.add(fn, 4);
  const cap = read(4, 0, 0x34, 1);
  assert.equal(read(4, 0, cap + 2, 2), 0x0184, '64-bit, maskable, four vectors');
  write(4, 0, 4, 2, 4);
  write(4, 0, cap + 4, 4, 0xfee02003);
  write(4, 0, cap + 12, 2, 0x4053);
  write(4, 0, cap + 2, 2, 0x0021);
  assert.equal(msi.allotted, 4);
  msi.notify(2);
  assert.deepEqual(messages.splice(0), [[0xfee02000, 0x4052]]);
  write(4, 0, cap + 16, 4, 0xffffffff);
  assert.equal(read(4, 0, cap + 16), 0xf);
  msi.notify(1);
  assert.equal(read(4, 0, cap + 20), 2);
  const saved = saveParts([fn.part]);
  write(4, 0, cap + 16, 4, 0);
  assert.deepEqual(messages.splice(0), [[0xfee02000, 0x4051]]);
  loadParts([fn.part], saved, fn.name);
  fn.restore();
  assert.equal(read(4, 0, cap + 20), 2, 'pending bits are state');
});

test('save and load: windows, routing and lines come back; damage is refused whole', () => {
  const from = board();
  const source = sample();
  from.root.bus.add(source, 4);
  assignResources(from.root, pcWindows(0xe0000000), from.isa.function);
  source.setIntx(true);
  from.pm.configure(0x600, 9);
  const to = board();
  const device = sample();
  to.root.bus.add(device, 4);
  device.setIntx(true);
  to.isa.load(from.isa.save());
  to.host.load(from.host.save());
  to.pm.load(from.pm.save());
  assert.equal(to.irqs[11]!.level, true, 'the routing that was loaded sees the pin');
  assert.equal(to.pm.function.read(0x40, 4), 0x601);
  to.ports.write(0x600, 1, 0x77);
  assert.equal(to.block[0], 0x77);
  assert.deepEqual(to.isa.save(), from.isa.save());

  const saved = from.isa.save();
  for (const bad of [saved.subarray(0, 40), new Uint8Array(0), from.host.save(), from.pm.save()]) {
    const before = to.isa.save();
    assert.throws(() => to.isa.load(bad), StateError);
    assert.deepEqual(to.isa.save(), before);
  }
});

test('random configuration accesses and loads never throw and keep identity', () => {
  const random = seededRandom(42);
  const { root, ports, read, isa, host, pm } = board();
  const msix = new Msix({ barIndex: 4, vectors: 5 });
  let ready = false;
  const fn = new PciFunction({
    name: 'fuzzed',
    vendorId: 0x1234,
    deviceId: 0x5678,
    classCode: 0,
    interruptPin: 1,
    bars: [...sample().barSpecs, msix.bar],
    configWritten: () => {
      if (ready) msix.configChanged();
    },
  });
  msix.attach(fn);
  ready = true;
  root.bus.add(fn, 4);
  let slot = 4;
  fuzzAccesses(
    random,
    20000,
    0x100,
    {
      read: (offset, size) => {
        ports.write(0xcf8, 4, (0x80000000 | (slot << 11) | (offset & 0xfc)) >>> 0);
        return ports.read(0xcfc + (offset & 3), size);
      },
      write: (offset, size, value) => {
        ports.write(0xcf8, 4, (0x80000000 | (slot << 11) | (offset & 0xfc)) >>> 0);
        ports.write(0xcfc + (offset & 3), size, value);
      },
    },
    () => {
      slot = [0, 1, 4][random(3)]!;
      fn.setIntx(random(2) === 0);
      msix.notify(random(6));
    },
  );
  fuzzAccesses(random, 5000, msix.bar.size, msix.bar.handler);
  assert.equal(read(4, 0, 0), 0x56781234);
  for (const device of [isa, host, pm]) {
    const saved = device.save();
    for (let i = 0; i < 200; i++) {
      const bad = saved.slice(0, random(8) === 0 ? random(saved.length) : saved.length);
      for (let n = random(3); n >= 0; n--) bad[random(bad.length || 1)] = random(256);
      try {
        device.load(bad);
      } catch (error) {
        assert.ok(error instanceof StateError, String(error));
      }
    }
    device.load(saved);
  }
  assert.equal(read(0, 0, 0), 0x12378086);
});
