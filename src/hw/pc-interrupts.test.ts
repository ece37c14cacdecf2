/** The PC's interrupt chips wired as a board wires them: from a device's line to the vector that the vCPU takes. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { ManualTime, MemorySpace, PortSpace } from '../bus/index.js';
import {
  ApicBus,
  GlobalInterrupts,
  Hpet,
  IoApic,
  LocalApic,
  PicPair,
  Pit,
  Rtc,
  Uart16550,
  wireHpet,
  wireIoApic,
  wireLocalApics,
  wirePic,
  wirePit,
  wireRtc,
  wireUart,
} from './index.js';

function board() {
  const clock = new ManualTime();
  const ports = new PortSpace();
  const space = new MemorySpace(new ArrayBuffer(0));
  const bus = new ApicBus();
  const vcpu = { kicks: 0, nmis: 0 };
  const lapic = new LocalApic({
    id: 0,
    bus,
    clock,
    signals: {
      interruptChanged: () => vcpu.kicks++,
      nmi: () => vcpu.nmis++,
      init() {},
      sipi() {},
      tscNow: () => BigInt(clock.nowNs()),
      tscHz: 1e9,
    },
    acknowledgeExtInt: () => pic.acknowledge(),
  });
  const pic: PicPair = new PicPair({ output: lapic.lint[0] });
  const ioapic = new IoApic({ bus });
  const gsi = new GlobalInterrupts(pic, ioapic).lines;
  const hpet = new Hpet({ clock, gsi, msi: bus });
  const pit = new Pit({ clock, irq: hpet.pitInput });
  const rtc = new Rtc({ clock, irq: hpet.rtcInput });
  const uart = new Uart16550({ clock, irq: gsi[4]! });
  wireLocalApics(space, [lapic], () => 0);
  wirePic(ports, pic);
  wireIoApic(space, ioapic);
  wireHpet(space, hpet);
  wirePit(ports, pit);
  wireRtc(ports, rtc);
  wireUart(ports, 0x3f8, uart);
  const out = (port: number, ...values: number[]) => {
    for (const value of values) ports.write(port, 1, value);
  };
  const redirect = (pin: number, low: number) => {
    space.write(0xfec00000, 4, 0x10 + 2 * pin);
    space.write(0xfec00010, 4, low);
  };
  const eoi = () => space.write(0xfee000b0, 4, 0);
  return { clock, ports, space, lapic, pic, uart, vcpu, out, redirect, eoi };
}

test('booted without firmware: the timer comes through the 8259 and LINT0 as ExtINT', () => {
  const { clock, lapic, out, vcpu } = board();
  out(0x20, 0x11);
  out(0x21, 0x30, 0x04, 0x01, 0xfe);
  out(0x43, 0x34);
  out(0x40, 0x9c, 0x2e);
  let ticks = 0;
  for (let ms = 0; ms < 1000; ms++) {
    clock.advance(1e6);
    while (lapic.pending()) {
      assert.equal(lapic.acknowledge(), 0x30);
      out(0x20, 0x20);
      ticks++;
    }
  }
  assert.equal(ticks, 100, 'a 10 ms tick (the first on programming, 99.98 in the second)');
  assert.ok(vcpu.kicks >= ticks);
});

test('with the APICs on: timer on pin 2, serial port on pin 4, the 8259 masked', () => {
  const { clock, lapic, space, out, redirect, eoi, uart, ports } = board();
  out(0x21, 0xff);
  out(0xa1, 0xff);
  space.write(0xfee000f0, 4, 0x1ff);
  space.write(0xfee00350, 4, 0x10700);
  redirect(2, 0x30);
  redirect(4, 0x34);
  out(0x43, 0x34);
  out(0x40, 0x9c, 0x2e);
  while (lapic.pending()) {
    lapic.acknowledge();
    eoi();
  }
  clock.advance(10.1e6);
  assert.equal(lapic.acknowledge(), 0x30);
  eoi();
  ports.write(0x3f9, 1, 1);
  uart.receive(Uint8Array.of(0x0d));
  assert.equal(lapic.acknowledge(), 0x34);
  assert.equal(ports.read(0x3f8, 1), 0x0d);
  eoi();
  uart.receive(Uint8Array.of(0x0a));
  assert.equal(lapic.acknowledge(), 0x34, 'a new byte is a new edge');
});

test('HPET legacy replacement takes the timer pin over from the PIT', () => {
  const { clock, lapic, space, out, redirect, eoi } = board();
  out(0x21, 0xff);
  space.write(0xfee000f0, 4, 0x1ff);
  space.write(0xfee00350, 4, 0x10700);
  redirect(2, 0x30);
  out(0x43, 0x34);
  out(0x40, 0x9c, 0x2e);
  assert.equal(lapic.acknowledge(), 0x30);
  eoi();
  space.write(0xfed00010, 4, 3);
  space.write(0xfed00100, 4, 0x14c);
  space.write(0xfed00108, 4, 100_000);
  space.write(0xfed00108, 4, 100_000);
  let ticks = 0;
  for (let ms = 0; ms < 100; ms++) {
    clock.advance(1e6);
    while (lapic.pending()) {
      assert.equal(lapic.acknowledge(), 0x30);
      eoi();
      ticks++;
    }
  }
  assert.equal(ticks, 100, "one a millisecond, and none of the PIT's");
});
