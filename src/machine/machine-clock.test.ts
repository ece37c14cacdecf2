import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MachineClock } from './machine-clock.js';

const source = { now: 0, nowNs: () => source.now, wallNs: () => source.now };

test('a periodic timer that the host kept waiting expires once for each period, with time for the guest in between', () => {
  const clock = new MachineClock(source);
  clock.resume();
  const periodNs = 4_000_000;
  const expired: number[] = [];
  let next = periodNs;
  const timer = clock.createTimer('tick', (now) => {
    expired.push(now);
    next += periodNs;
    timer.arm(next);
  });
  let others = 0;
  const other = clock.createTimer('other', () => others++);
  timer.arm(next);
  other.arm(5_000_000);

  source.now += 18_000_000;
  clock.fire();
  assert.deepEqual([expired.length, others], [1, 1], 'each timer fires once, whatever the first one does');
  clock.fire();
  assert.equal(expired.length, 1, 'the guest runs first');
  for (let i = 0; i < 10; i++) {
    source.now += 100_000;
    clock.fire();
  }
  assert.equal(expired.length, 4, 'none of the four periods is lost');
  source.now = 20_000_000;
  clock.fire();
  assert.equal(expired.length, 5, 'and the pace is kept from there');
  assert.equal(clock.nextDeadlineNs, 24_000_000);
});

test('what is only put off is done before the vCPUs sleep, once', () => {
  const clock = new MachineClock({ nowNs: () => 0, wallNs: () => 0 });
  clock.resume();
  const done: string[] = [];
  const deferred = clock.createTimer('deferred', () => done.push('deferred'), { beforeSleep: true });
  const other = clock.createTimer('other', () => done.push('other'));
  deferred.arm(1000);
  other.arm(2000);
  clock.fireBeforeSleep();
  clock.fireBeforeSleep();
  assert.deepEqual(done, ['deferred']);
  assert.equal(clock.nextDeadlineNs, 2000);
});
