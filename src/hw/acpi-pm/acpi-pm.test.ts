import assert from 'node:assert/strict';
import test from 'node:test';
import { ManualTime, PortSpace } from '../../bus/index.js';
import { fuzzAccesses, seededRandom, TestLine } from '../testing.js';
import { AcpiPm } from './acpi-pm.js';
import { wireAcpiPm } from './wiring.js';

function make() {
  const clock = new ManualTime();
  const sci = new TestLine();
  const seen: string[] = [];
  const events = {
    powerOff: () => seen.push('off'),
    reset: () => seen.push('reset'),
    sleep: (type: number) => seen.push(`sleep ${type}`),
  };
  const pm = new AcpiPm({ clock, sci, events });
  const ports = new PortSpace();
  const wiring = wireAcpiPm(ports, pm);
  const inw = (port: number) => ports.read(port, 2);
  const outw = (port: number, value: number) => ports.write(port, 2, value);
  return { clock, sci, seen, pm, ports, wiring, inw, outw };
}
const [STS, EN, CNT, TMR] = [0x600, 0x602, 0x604, 0x608];

test('the timer has 24 bits and runs at 3.579545 MHz', () => {
  const { clock, ports } = make();
  clock.advance(1e9);
  assert.equal(ports.read(TMR, 4), 3579545);
  clock.advance(9e9);
  assert.equal(ports.read(TMR, 4), 35795450 % 2 ** 24);
  assert.equal(ports.read(TMR + 1, 1), (35795450 >> 8) & 0xff, 'a part of it');
});

test('ACPI mode by the SMI command port', () => {
  const { ports, inw } = make();
  ports.write(0xb3, 1, 0x55);
  assert.equal(ports.read(0xb3, 1), 0x55);
  ports.write(0xb2, 1, 0xf1);
  assert.equal(inw(CNT), 1);
  assert.equal(ports.read(0xb3, 1), 0, 'the handler is done');
  assert.equal(ports.read(0xb2, 1), 0xf1);
  ports.write(0xb2, 1, 0xf0);
  assert.equal(inw(CNT), 0);
});

test('the power button raises the SCI when enabled, until its status is cleared', () => {
  const { pm, sci, inw, outw } = make();
  outw(EN, 0x0100);
  pm.pressPowerButton();
  assert.equal(sci.level, false, 'not in ACPI mode');
  outw(CNT, 1);
  assert.equal(sci.level, true);
  assert.equal(inw(STS), 0x0100);
  outw(STS, 0x0200);
  assert.equal(sci.level, true);
  outw(STS, 0x0100);
  assert.deepEqual([sci.level, inw(STS)], [false, 0]);
});

test('the timer status is set when the top bit changes', () => {
  const { clock, sci, inw, outw } = make();
  outw(CNT, 1);
  outw(EN, 1);
  clock.advance(2.34e9);
  assert.deepEqual([sci.level, inw(STS)], [false, 0]);
  clock.advance(0.01e9);
  assert.deepEqual([sci.level, inw(STS)], [true, 1], '2^23 / 3579545 Hz = 2.3435 s');
  outw(STS, 1);
  assert.equal(sci.level, false);
  clock.advance(2.35e9);
  assert.equal(sci.rises, 2);
});

test('general-purpose events', () => {
  const { pm, ports, sci, outw } = make();
  outw(CNT, 1);
  ports.write(0xafe2, 1, 0x02);
  pm.raiseGpe(1);
  assert.equal(sci.level, true);
  assert.equal(ports.read(0xafe0, 4), 0x00020002);
  ports.write(0xafe0, 1, 0x02);
  assert.equal(sci.level, false);
});

test('sleep types: S5 powers off, SLP_EN reads as zero', () => {
  const { seen, inw, outw } = make();
  outw(CNT, 0x0401 | 0x2000);
  assert.deepEqual(seen, ['sleep 1']);
  assert.equal(inw(CNT), 0x0401);
  outw(CNT, 0x0001);
  outw(CNT, 0x2001);
  assert.deepEqual(seen, ['sleep 1', 'off']);
});

test('the reset control register', () => {
  const { seen, ports } = make();
  ports.write(0xcf9, 1, 2);
  assert.equal(ports.read(0xcf9, 1), 2);
  assert.deepEqual(seen, []);
  ports.write(0xcf9, 1, 6);
  assert.deepEqual(seen, ['reset']);
});

test('the event block moves with the PCI configuration', () => {
  const { ports, wiring } = make();
  wiring.eventBlock.move(0xb000);
  ports.write(0xb004, 2, 1);
  assert.equal(ports.read(0xb004, 2), 1);
  assert.equal(ports.read(0x604, 2), 0xffff);
});

test('saved and loaded with a pending event', () => {
  const a = make();
  a.outw(CNT, 1);
  a.outw(EN, 0x101);
  a.pm.pressPowerButton();
  const b = make();
  b.pm.load(a.pm.save());
  assert.equal(b.sci.level, true);
  b.outw(STS, 0x100);
  b.clock.advance(3e9);
  assert.equal(b.sci.level, true, 'the timer is armed');
});

test('random accesses', () => {
  for (let seed = 1; seed <= 4; seed++) {
    const { clock, pm, ports } = make();
    const random = seededRandom(seed);
    const port = (o: number) =>
      o < 0x40 ? 0x600 + o : o < 0x48 ? 0xafe0 + o - 0x40 : o < 0x4c ? 0xb2 + o - 0x48 : 0xcf9;
    fuzzAccesses(
      random,
      3000,
      0x50,
      { read: (o, s) => ports.read(port(o), s), write: (o, s, v) => ports.write(port(o), s, v) },
      () => clock.advance(random(1e8)),
    );
    pm.load(pm.save());
  }
});
