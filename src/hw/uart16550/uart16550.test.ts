import assert from 'node:assert/strict';
import test from 'node:test';
import { ManualTime, PortSpace } from '../../bus/index.js';
import { fuzzAccesses, seededRandom, TestLine } from '../testing.js';
import { Uart16550 } from './uart16550.js';
import { wireUart } from './wiring.js';

const [DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR] = [0, 1, 2, 3, 4, 5, 6, 7];
const FCR = 2;

function make() {
  const clock = new ManualTime();
  const irq = new TestLine();
  const sent: number[] = [];
  let ready = 0;
  const backend = { write: (byte: number) => sent.push(byte), receiveReady: () => ready++ };
  const uart = new Uart16550({ clock, irq, backend });
  const ports = new PortSpace();
  wireUart(ports, 0x3f8, uart);
  const get = (register: number) => ports.read(0x3f8 + register, 1);
  const set = (register: number, value: number) => ports.write(0x3f8 + register, 1, value);
  const feed = (...bytes: number[]) => uart.receive(Uint8Array.from(bytes));
  return { clock, irq, uart, sent, get, set, feed, ready: () => ready };
}

test('registers after reset, the divisor latch and the scratch register', () => {
  const { get, set } = make();
  assert.deepEqual([get(IER), get(IIR), get(LCR), get(MCR), get(LSR), get(MSR)], [0, 1, 0, 0, 0x60, 0xb0]);
  set(LCR, 0x83);
  set(0, 1);
  set(1, 2);
  assert.deepEqual([get(0), get(1)], [1, 2]);
  set(LCR, 0x03);
  assert.equal(get(IER), 0);
  set(IER, 0xff);
  assert.equal(get(IER), 0x0f);
  set(SCR, 0xa5);
  assert.equal(get(SCR), 0xa5);
});

test('sending: the byte is out, the transmitter empty, and its interrupt an edge per byte', () => {
  const { irq, sent, get, set } = make();
  set(DATA, 0x41);
  assert.deepEqual(sent, [0x41]);
  assert.equal(get(LSR), 0x60);
  assert.equal(irq.level, false);
  set(IER, 2);
  assert.equal(irq.level, true, 'enabling it while empty raises it');
  assert.equal(get(IIR), 0x02);
  assert.equal(irq.level, false, 'reading IIR takes it back');
  assert.equal(get(IIR), 0x01);
  set(DATA, 0x42);
  set(DATA, 0x43);
  assert.equal(irq.rises, 3);
  set(IER, 0);
  assert.equal(irq.level, false);
  assert.deepEqual(sent, [0x41, 0x42, 0x43]);
});

test('without FIFOs one byte is held; it is announced at once', () => {
  const { irq, uart, get, set, feed, ready } = make();
  set(IER, 1);
  assert.equal(feed(0x61, 0x62), 1);
  assert.equal(uart.canReceive(), 0);
  assert.equal(irq.level, true);
  assert.deepEqual([get(IIR), get(LSR)], [0x04, 0x61]);
  assert.equal(get(DATA), 0x61);
  assert.equal(irq.level, false);
  assert.equal(get(LSR), 0x60);
  assert.equal(ready(), 1, 'the backend hears that there is room');
});

test('FIFO: trigger level, time-out, order', () => {
  const { clock, irq, get, set, feed } = make();
  set(LCR, 0x83);
  set(0, 1);
  set(1, 0);
  set(LCR, 0x03);
  set(FCR, 0x41);
  set(IER, 1);
  assert.equal(get(IIR), 0xc1);
  feed(1, 2, 3);
  assert.equal(irq.level, false, 'below the level of 4');
  clock.advance(340_000);
  assert.equal(irq.level, false);
  clock.advance(10_000);
  assert.equal(get(IIR), 0xcc, 'after four characters of 10 bits at 115200 baud');
  assert.equal(get(DATA), 1);
  assert.equal(irq.level, false);
  feed(4, 5);
  assert.equal(get(IIR), 0xc4);
  assert.deepEqual([get(DATA), get(DATA), get(DATA), get(DATA)], [2, 3, 4, 5]);
  assert.equal(get(IIR), 0xc1);
  clock.advance(1e9);
  assert.equal(irq.level, false);
  assert.equal(feed(...Array.from({ length: 20 }, (_, i) => i)), 16);
  set(FCR, 0x03);
  assert.equal(get(LSR) & 1, 0, 'FCR bit 1 empties the receiver');
});

test('break and line status interrupt', () => {
  const { irq, uart, get, set } = make();
  set(IER, 4);
  uart.receiveBreak();
  assert.equal(irq.level, true);
  assert.equal(get(IIR), 0x06);
  assert.equal(get(LSR), 0x71);
  assert.equal(get(LSR), 0x61);
  assert.equal(irq.level, false);
});

test('loopback: data and modem lines come back, the line hears nothing', () => {
  const { irq, uart, sent, get, set, feed } = make();
  set(MCR, 0x1a);
  assert.equal(get(MSR) & 0xf0, 0x90, 'RTS as CTS, OUT2 as DCD');
  assert.equal(get(MSR) & 0x0f, 0, 'reading clears the deltas');
  set(DATA, 0x55);
  assert.deepEqual(sent, []);
  assert.equal(feed(1), 0);
  assert.equal(get(DATA), 0x55);
  set(DATA, 1);
  set(DATA, 2);
  assert.equal(get(LSR) & 2, 2, 'overrun');
  assert.equal(get(DATA), 2);
  set(IER, 8);
  set(MCR, 0x1e);
  assert.equal(irq.level, false, 'RI is noticed when it ends');
  set(MCR, 0x1a);
  assert.equal(irq.level, true);
  assert.equal(get(IIR), 0x00);
  assert.equal(get(MSR), 0x94);
  assert.equal(irq.level, false);
  set(MCR, 0x0b);
  assert.equal(get(MSR) & 0xf0, 0xb0);
  assert.equal(uart.canReceive(), 1);
});

test('saved and loaded with bytes in the FIFO and a time-out under way', () => {
  const a = make();
  a.set(FCR, 0xc1);
  a.set(IER, 1);
  a.feed(7, 8, 9);
  const b = make();
  b.uart.load(a.uart.save());
  assert.equal(b.irq.level, false);
  b.clock.advance(1e9);
  assert.equal(b.get(IIR), 0xcc);
  assert.deepEqual([b.get(DATA), b.get(DATA), b.get(DATA)], [7, 8, 9]);
});

test('random accesses', () => {
  for (let seed = 1; seed <= 4; seed++) {
    const { uart, clock, get, set, feed } = make();
    const random = seededRandom(seed);
    fuzzAccesses(random, 5000, 8, { read: (o, _s) => get(o), write: (o, _s, v) => set(o, v) }, () => {
      clock.advance(random(1e6));
      if (random(3) === 0) feed(random(256), random(256), random(256));
      if (random(9) === 0) uart.receiveBreak();
    });
    uart.load(uart.save());
  }
});
