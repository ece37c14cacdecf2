import assert from 'node:assert/strict';
import test from 'node:test';
import { ManualTime } from '../../bus/index.js';
import { ApicBus } from './apic-bus.js';
import { LocalApic } from './lapic.js';
import { isTimerAtEnd, REGISTER_PAGE_BYTES, readRegisterPage, writeRegisterPage } from './register-page.js';

const [SVR, LVT_TIMER, INITIAL, CURRENT, DIVIDE] = [0xf0, 0x320, 0x380, 0x390, 0x3e0];
const MSRS = { base: 0xfee00900n, tscDeadline: 0n };

function oneShot() {
  const clock = new ManualTime();
  const signals = { tscHz: 1e9, interruptChanged() {}, nmi() {}, init() {}, sipi() {}, tscNow: () => 0n };
  const lapic = new LocalApic({ id: 0, bus: new ApicBus(), clock, signals, acknowledgeExtInt: () => 0 });
  lapic.writeMmio(SVR, 0x1ff);
  lapic.writeMmio(DIVIDE, 0x0b);
  lapic.writeMmio(LVT_TIMER, 0x40);
  lapic.writeMmio(INITIAL, 1000);
  return { clock, lapic, page: new DataView(new ArrayBuffer(REGISTER_PAGE_BYTES)) };
}

test('a timer that counts goes to a page and comes back with what is left', () => {
  const { clock, lapic, page } = oneShot();
  clock.advance(400);
  writeRegisterPage(lapic, page);
  assert.deepEqual([page.getUint32(INITIAL, true), page.getUint32(CURRENT, true)], [1000, 600]);
  assert.equal(isTimerAtEnd(page), false);
  page.setUint32(CURRENT, 250, true);
  readRegisterPage(lapic, page, MSRS, clock.nowNs());
  assert.equal(lapic.currentCount(), 250);
});

test('one that has run out does not run out again, and its count stays readable at home', () => {
  const { clock, lapic, page } = oneShot();
  clock.advance(1000);
  assert.equal(lapic.pending(), true);
  writeRegisterPage(lapic, page);
  assert.deepEqual([page.getUint32(INITIAL, true), page.getUint32(CURRENT, true)], [0, 0]);
  assert.equal(isTimerAtEnd(page), false);
  readRegisterPage(lapic, page, MSRS, clock.nowNs());
  assert.equal(lapic.readMmio(INITIAL), 1000);
  assert.equal(lapic.state.timerDeadlineNs, Infinity);
  // Begun again by the guest meanwhile, and at its end.
  page.setUint32(INITIAL, 77, true);
  assert.equal(isTimerAtEnd(page), true);
  readRegisterPage(lapic, page, MSRS, clock.nowNs());
  assert.equal(lapic.readMmio(INITIAL), 77);
});
