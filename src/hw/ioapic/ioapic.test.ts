import assert from 'node:assert/strict';
import test from 'node:test';
import { ManualTime, MemorySpace } from '../../bus/index.js';
import { PicPair } from '../i8259/i8259.js';
import { ApicBus } from '../lapic/apic-bus.js';
import { LocalApic } from '../lapic/lapic.js';
import { fuzzAccesses, seededRandom, TestLine } from '../testing.js';
import { IoApic } from './ioapic.js';
import { GlobalInterrupts, wireIoApic } from './wiring.js';

const BASE = 0xfec00000;

function make() {
  const bus = new ApicBus();
  const clock = new ManualTime();
  const signals = { interruptChanged() {}, nmi() {}, init() {}, sipi() {}, tscNow: () => 0n, tscHz: 1e9 };
  const cpus = [0, 1].map((id) => new LocalApic({ id, bus, clock, signals, acknowledgeExtInt: () => 0x70 }));
  for (const c of cpus) c.writeMmio(0xf0, 0x1ff);
  cpus[0]!.writeMmio(0x350, 0x10000);
  const ioapic = new IoApic({ bus });
  const space = new MemorySpace(new ArrayBuffer(0));
  wireIoApic(space, ioapic);
  const get = (index: number) => {
    space.write(BASE, 4, index);
    return space.read(BASE + 0x10, 4);
  };
  const set = (index: number, value: number) => {
    space.write(BASE, 1, index);
    space.write(BASE + 0x10, 4, value);
  };
  const take = (cpu = 0) => {
    const c = cpus[cpu]!;
    return c.pending() ? c.acknowledge() : -1;
  };
  const end = (cpu = 0) => cpus[cpu]!.writeMmio(0xb0, 0);
  return { bus, cpus, ioapic, space, get, set, take, end };
}

test('identification and the redirection table', () => {
  const { get, set } = make();
  assert.equal(get(1), 0x00170020);
  set(0, 0xff000000);
  assert.equal(get(0), 0x0f000000);
  assert.equal(get(0x10), 0x10000, 'masked at reset');
  set(0x3e, 0xffffffff);
  assert.equal(get(0x3e), 0x1afff, 'delivery status and remote IRR are read-only');
  set(0x3f, 0xffffffff);
  assert.equal(get(0x3f), 0xff000000);
  assert.equal(get(0x40), 0);
});

test('edge: one interrupt per rise, none while masked', () => {
  const { ioapic, set, take, end } = make();
  set(0x10 + 8, 0x10031);
  ioapic.inputs[4]!.set(true);
  set(0x10 + 8, 0x31);
  assert.equal(take(), -1, 'an edge on a masked pin is lost');
  ioapic.inputs[4]!.set(false);
  ioapic.inputs[4]!.set(true);
  ioapic.inputs[4]!.set(true);
  assert.equal(take(), 0x31);
  end();
  assert.equal(take(), -1);
});

test('level: remote IRR holds until EOI, then the pin asks again', () => {
  const { ioapic, get, set, take, end } = make();
  set(0x10 + 22, 0x8052);
  ioapic.inputs[11]!.set(true);
  assert.equal(get(0x10 + 22), 0xc052);
  assert.equal(take(), 0x52);
  assert.equal(take(), -1);
  end();
  assert.equal(take(), 0x52);
  ioapic.inputs[11]!.set(false);
  end();
  assert.equal(take(), -1);
  assert.equal(get(0x10 + 22), 0x8052);
});

test('level: a masked pin asks when unmasked; a stuck remote IRR is cleared by switching to edge', () => {
  const { ioapic, get, set, take } = make();
  set(0x10 + 20, 0x18053);
  ioapic.inputs[10]!.set(true);
  assert.equal(take(), -1);
  set(0x10 + 20, 0x8053);
  assert.equal(take(), 0x53);
  set(0x10 + 20, 0x10053);
  assert.equal(get(0x10 + 20), 0x10053);
});

test('the EOI register', () => {
  const { ioapic, space, get, set } = make();
  set(0x10 + 20, 0x8053);
  ioapic.inputs[10]!.set(true);
  ioapic.inputs[10]!.set(false);
  space.write(BASE + 0x40, 4, 0x53);
  assert.equal(get(0x10 + 20), 0x8053);
});

test('destination, and ExtINT through a pin', () => {
  const { ioapic, set, take } = make();
  set(0x11, 0x01000000);
  set(0x10, 0x44);
  ioapic.inputs[0]!.set(true);
  assert.deepEqual([take(0), take(1)], [-1, 0x44]);
  set(0x12, 0x700);
  ioapic.inputs[1]!.set(true);
  assert.equal(take(0), 0x70);
  assert.equal(take(0), -1);
});

test('global interrupts go to both controllers; the timer is pin 2', () => {
  const { ioapic, set, take } = make();
  const pic = new PicPair({ output: new TestLine() });
  const gsi = new GlobalInterrupts(pic, ioapic).lines;
  assert.equal(gsi.length, 24);
  set(0x14, 0x20);
  gsi[0]!.set(true);
  assert.equal(take(), 0x20);
  assert.equal(pic.readRegister(0, 0), 1);
  set(0x10 + 40, 0x8099);
  gsi[20]!.set(true);
  assert.equal(take(), 0x99);
});

test('saved and loaded', () => {
  const a = make();
  a.set(0x10 + 22, 0x8052);
  a.ioapic.inputs[11]!.set(true);
  const b = make();
  b.ioapic.load(a.ioapic.save());
  assert.equal(b.get(0x10 + 22), 0xc052);
  b.ioapic.endOfInterrupt(0x52);
  assert.equal(b.take(), 0x52);
});

test('random accesses and pins', () => {
  for (let seed = 1; seed <= 4; seed++) {
    const { space, ioapic, cpus, take } = make();
    const random = seededRandom(seed);
    fuzzAccesses(
      random,
      3000,
      0x44,
      {
        read: (o, s) => space.read(BASE + o, s),
        write: (o, s, v) => space.write(BASE + (random(2) === 0 ? [0, 0x10][random(2)]! : o), s, v),
      },
      () => {
        ioapic.inputs[random(24)]!.set(random(2) === 0);
        if (random(4) === 0) take(random(2));
        cpus[random(2)]!.writeMmio(0xb0, 0);
      },
    );
    ioapic.load(ioapic.save());
  }
});
