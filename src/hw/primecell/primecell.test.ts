/** Behaviour of the PrimeCells by their manuals; their registers as such are compared with QEMU's in src/dev/arm-against-qemu.test.ts. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { ManualTime } from '../../bus/index.js';
import { TestLine } from '../testing.js';
import { Pl011 } from './pl011.js';
import { Pl031 } from './pl031.js';
import { Pl061 } from './pl061.js';

const UART = {
  DR: 0,
  RSR: 4,
  FR: 0x18,
  IBRD: 0x24,
  LCRH: 0x2c,
  CR: 0x30,
  IFLS: 0x34,
  IMSC: 0x38,
  RIS: 0x3c,
  ICR: 0x44,
};
const [RX, TX, RT, BE] = [0x10, 0x20, 0x40, 0x200];

function uart() {
  const clock = new ManualTime();
  const irq = new TestLine();
  const sent: number[] = [];
  let asked = 0;
  const chip = new Pl011({
    clock,
    irq,
    backend: { write: (byte) => void sent.push(byte), receiveReady: () => void asked++ },
  });
  const read = (at: number) => chip.registers.read(at, 4);
  const write = (at: number, value: number) => chip.registers.write(at, 4, value);
  return { clock, irq, sent, chip, read, write, asked: () => asked };
}

test('PL011: bytes go out, and the transmitter interrupts after each', () => {
  const { irq, sent, read, write } = uart();
  write(UART.IMSC, TX);
  assert.equal(irq.level, false);
  for (const byte of [0x48, 0x169]) write(UART.DR, byte);
  assert.deepEqual(sent, [0x48, 0x69]);
  assert.equal(irq.level, true);
  write(UART.ICR, TX);
  assert.equal(irq.level, false);
  assert.equal(read(UART.FR) & 0xa0, 0x80, 'it is empty at once');
});

test('PL011: the FIFO interrupts at its trigger level, and after a time without a byte', () => {
  const { clock, irq, chip, read, write } = uart();
  write(UART.LCRH, 0x70);
  write(UART.IFLS, 2 << 3);
  write(UART.IBRD, 13);
  write(UART.IMSC, RX | RT);
  assert.equal(chip.receive(Uint8Array.of(1, 2, 3)), 3);
  assert.equal(irq.level, false);
  const bitNs = (16 * 13 * 1e9) / 24e6;
  clock.advance(Math.floor(32 * bitNs) - 1);
  assert.equal(irq.level, false);
  clock.advance(2);
  assert.equal(read(UART.RIS) & (RX | RT), RT);
  assert.deepEqual([read(UART.DR), read(UART.DR)], [1, 2]);
  assert.equal(irq.level, true);
  assert.equal(read(UART.DR), 3);
  assert.equal(irq.level, false, 'an empty FIFO has nothing to announce');
  chip.receive(new Uint8Array(8).fill(7));
  assert.equal(read(UART.RIS) & (RX | RT), RX);
  read(UART.DR);
  assert.equal(read(UART.RIS) & RX, 0);
});

test('PL011: it takes no more than it has room for, and asks for what waits', () => {
  const { chip, read, write, asked } = uart();
  assert.equal(chip.canReceive(), 1, 'without FIFOs');
  write(UART.LCRH, 0x10);
  assert.equal(chip.receive(new Uint8Array(20).fill(0x41)), 16);
  assert.equal(read(UART.FR) & 0x50, 0x40);
  const before = asked();
  read(UART.DR);
  assert.equal(asked(), before + 1);
  assert.equal(chip.canReceive(), 1);
  // In loopback the line is not heard.
  write(UART.CR, 0x381);
  assert.equal(chip.canReceive(), 0);
});

test('PL011: a break comes as a byte of its own', () => {
  const { chip, irq, read, write } = uart();
  write(UART.IMSC, BE);
  chip.receiveBreak();
  assert.equal(irq.level, true);
  assert.equal(read(UART.DR), 0x400);
  assert.equal(read(UART.RSR), 4);
  write(UART.RSR, 0);
  assert.equal(read(UART.RSR), 0);
});

test('PL011: what waits, and the time-out under way, survive a save', () => {
  const { chip, write } = uart();
  write(UART.LCRH, 0x10);
  write(UART.IMSC, RT);
  chip.receive(Uint8Array.of(5));
  const other = uart();
  other.chip.load(chip.save());
  other.clock.advance(1e9);
  assert.equal(other.irq.level, true);
  assert.equal(other.read(UART.DR), 5);
});

const START = Date.UTC(2026, 0, 2, 3, 4, 5);
function rtc() {
  const clock = new ManualTime(START * 1e6);
  const irq = new TestLine();
  const chip = new Pl031({ clock, irq });
  const read = (at: number) => chip.registers.read(at, 4);
  const write = (at: number, value: number) => chip.registers.write(at, 4, value);
  return { clock, irq, chip, read, write };
}
const RTC = { DR: 0, MR: 4, LR: 8, CR: 0xc, IMSC: 0x10, RIS: 0x14, ICR: 0x1c };

test('PL031: seconds since 1970, which can be set and outlive a reset', () => {
  const { clock, chip, read, write } = rtc();
  assert.equal(read(RTC.DR), START / 1000);
  clock.advance(2.5e9);
  assert.equal(read(RTC.DR), START / 1000 + 2);
  write(RTC.LR, 1000);
  clock.advance(1e9);
  assert.equal(read(RTC.DR), 1001);
  chip.reset();
  assert.equal(read(RTC.DR), 1001);
  assert.equal(read(RTC.CR), 1);
});

test('PL031: the alarm comes in its second, if it is on, until it is cleared', () => {
  const { clock, irq, read, write } = rtc();
  clock.advance(0.4e9);
  write(RTC.MR, read(RTC.DR) + 3);
  write(RTC.IMSC, 1);
  clock.advance(2.5e9);
  assert.equal(irq.level, false);
  clock.advance(0.2e9);
  assert.equal(irq.level, true);
  write(RTC.ICR, 1);
  assert.equal(irq.level, false);
  write(RTC.MR, read(RTC.DR));
  assert.equal(irq.level, true, 'one of this second comes at once');
});

test('PL061: rising edges, falling edges, both, and levels', () => {
  const irq = new TestLine();
  const gpio = new Pl061({ irq });
  const write = (at: number, value: number) => gpio.write(at, 4, value);
  const [IS, IBE, IEV, IE, RIS, IC] = [0x404, 0x408, 0x40c, 0x410, 0x414, 0x41c];
  write(IE, 0xff);
  write(IEV, 1 | 4);
  write(IBE, 2);
  write(IS, 4 | 8);
  // Pin 3 interrupts while it is low.
  assert.equal(gpio.read(RIS, 4), 8);
  gpio.inputs[3].set(true);
  assert.equal(irq.level, false);
  gpio.inputs[0].set(true);
  assert.equal(gpio.read(RIS, 4), 1);
  gpio.inputs[0].set(false);
  write(IC, 1);
  assert.equal(irq.level, false);
  gpio.inputs[1].set(true);
  write(IC, 2);
  gpio.inputs[1].set(false);
  assert.equal(gpio.read(RIS, 4), 2);
  write(IC, 2);
  gpio.inputs[2].set(true);
  write(IC, 0xff);
  assert.equal(gpio.read(RIS, 4), 4, 'a level cannot be cleared');
  assert.equal(gpio.read(4 << 2, 4), 4);
  assert.equal(gpio.read(0x3fc, 4), 4 | 8);
});
