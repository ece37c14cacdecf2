import assert from 'node:assert/strict';
import test from 'node:test';
import { fuzzAccesses, seededRandom } from '../testing.js';
import { SIFIVE_TEST_BYTES, sifiveTest } from './sifive-test.js';

test('a word ends the machine: pass, reset, or a failure with a status', () => {
  const heard: string[] = [];
  const handler = sifiveTest({
    pass: () => heard.push('pass'),
    reset: () => heard.push('reset'),
    fail: (status) => heard.push(`fail ${status}`),
  });
  for (const word of [0x5555, 0x7777, 0x2a_3333, 0xffff_3333, 0x1234, 0]) handler.write(0, 4, word);
  handler.write(4, 4, 0x5555);
  handler.write(0, 2, 0x5555);
  assert.deepEqual(heard, ['pass', 'reset', 'fail 42', 'fail 65535', 'pass']);
  assert.equal(handler.read(0, 4), 0);
  fuzzAccesses(seededRandom(5), 1000, SIFIVE_TEST_BYTES, handler);
});
