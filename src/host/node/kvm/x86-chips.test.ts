/** Chips' states through KVM's structures and back; what KVM's kernel makes of them is in src/vmm/kvm-guests.test.ts. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { ManualTime } from '../../../bus/index.js';
import { ApicBus, IoApic, PIT_HZ, PicPair, Pit } from '../../../hw/index.js';
import { PIT_STATE_BYTES, readIoApic, readPic, readPit, writeIoApic, writePic, writePit } from './x86-chips.js';

const noLine = { set() {} };

test('an 8259 in the middle of its initialization', () => {
  const pic = new PicPair({ output: noLine });
  for (const [register, value] of [
    [0, 0x11],
    [1, 0x20],
  ] as const)
    pic.writeRegister(0, register, value);
  pic.inputs[3]!.set(true);
  const [chip] = pic.state.chips;
  const bytes = new Uint8Array(16);
  writePic(chip!, 0, 0x0c, bytes);
  // last_irr without the cascade, irr, …, irq_base at 5, init_state 2 (ICW3 comes next) at 9, init4 at 13, elcr_mask at 15.
  assert.deepEqual([bytes[0], bytes[1], bytes[5], bytes[9], bytes[13], bytes[15]], [0x08, 0x08, 0x20, 2, 1, 0xf8]);
  const other = new PicPair({ output: noLine });
  readPic(other.state.chips[0]!, 0x08, bytes);
  other.settle();
  for (const value of [4, 1, 0xf7]) other.writeRegister(0, 1, value);
  assert.equal(other.state.INTR, true);
  assert.equal(other.acknowledge(), 0x23);
});

test('an I/O APIC: a level is told, an edge that has been is not', () => {
  const ioapic = new IoApic({ bus: new ApicBus() });
  const set = (index: number, value: number) => {
    ioapic.writeSelect(index);
    ioapic.writeSelected(value);
  };
  set(0x10 + 2 * 4, 0x34);
  set(0x11 + 2 * 4, 0x02000000);
  set(0x10 + 2 * 20, 0x8052);
  ioapic.inputs[4]!.set(true);
  ioapic.inputs[5]!.set(true);
  ioapic.inputs[20]!.set(true);
  const view = new DataView(new ArrayBuffer(512));
  writeIoApic(ioapic, 0xfec00000, view);
  assert.equal(view.getUint32(16, true), (1 << 20) | (1 << 5), 'pin 5 is masked: KVM is to know its level');
  assert.equal(view.getUint32(24 + 8 * 4 + 4, true), 0x02000000);
  const other = new IoApic({ bus: new ApicBus() });
  readIoApic(other, ioapic.state.lines, view);
  assert.deepEqual(other.save(), ioapic.save());
});

function pit() {
  const clock = new ManualTime();
  const chip = new Pit({ clock, irq: noLine });
  const program = (channel: number, mode: number, count: number) => {
    chip.writeControl((channel << 6) | 0x30 | (mode << 1));
    chip.writeCounter(channel, count & 255);
    chip.writeCounter(channel, count >> 8);
  };
  return { clock, chip, program };
}

const newState = () => new DataView(new ArrayBuffer(PIT_STATE_BYTES));

test('an 8254 that the guest leaves alone counts on as if it had been at home', () => {
  const { clock, chip, program } = pit();
  chip.writeControlB(1);
  program(0, 2, 1193);
  program(2, 0, 20_000);
  clock.advance(5e6);
  const before = chip.save();
  const sent = newState();
  writePit(chip, clock.nowNs(), false, sent);
  const gone = Math.floor((5 * PIT_HZ) / 1000);
  assert.equal(sent.getUint32(0, true), 1193, 'it comes again and again: the whole count');
  assert.ok(Math.abs(sent.getUint32(48, true) - (20_000 - gone)) <= 1, 'what is left of one that goes down once');
  assert.equal(sent.getUint8(24 + 13), 0xff, 'channel 1 was never programmed');
  readPit(chip, sent, sent, clock.nowNs(), 0n);
  assert.deepEqual(chip.save(), before);
});

test('an 8254 that the guest programs meanwhile', () => {
  const { clock, chip, program } = pit();
  program(0, 0, 5000);
  const sent = newState();
  chip.standBy();
  writePit(chip, clock.nowNs(), false, sent);
  clock.advance(20e6);
  const after = new DataView(sent.buffer.slice(0));
  // Channel 0: rate generator of 11932; channel 2: 30000 in mode 0, 10 ms ago, its gate and the speaker on.
  after.setUint32(0, 11932, true);
  after.setUint8(13, 2);
  after.setUint32(48, 30_000, true);
  after.setUint8(48 + 13, 0);
  after.setUint8(48 + 15, 1);
  after.setBigInt64(48 + 16, 90_000_000n, true);
  after.setUint32(72, 2, true);
  readPit(chip, after, sent, clock.nowNs(), 100_000_000n);
  chip.goOn(true);
  assert.equal(chip.state.control, 3);
  let rises = 0;
  const { nextRise } = chip.state;
  assert.ok(Number.isFinite(nextRise));
  for (let ms = 0; ms < 100; ms++) {
    const was = chip.state.nextRise;
    clock.advance(1e6);
    if (chip.state.nextRise !== was) rises++;
  }
  assert.equal(rises, 9, 'one each 10 ms from now on');
  assert.equal(chip.out(2), true, '30,000 counts are 25 ms');
});
