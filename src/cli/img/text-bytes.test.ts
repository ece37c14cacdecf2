import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asBytes, TextBytes } from './text-bytes.js';

const taken = (text: TextBytes): string => Buffer.from(text.take()).toString();

test('numbers are written as JavaScript writes them', () => {
  const around = [0, 9, 10, 99_999_999, 100_000_000, 2 ** 31, 2 ** 32, 2 ** 52].flatMap((n) => [n, n + 1, n + 7]);
  const text = new TextBytes(1024);
  for (const number of [...around, 1_000_000_001, 123_000_000_045, Number.MAX_SAFE_INTEGER]) {
    text.addNumber(number);
    assert.equal(taken(text), String(number));
  }
});

test('what was added is taken once, in order, whatever its script', () => {
  const text = new TextBytes(64);
  text.addBytes(asBytes('"ä": '));
  text.addNumber(7);
  text.addText(', 漢\n');
  assert.equal(text.length, '"ä": 7, 漢\n'.length + 3);
  assert.equal(taken(text), '"ä": 7, 漢\n');
  assert.equal(taken(text), '');
  text.addNumber(1);
  text.addText('ä'.repeat(100));
  text.addNumber(2);
  assert.equal(taken(text), `1${'ä'.repeat(100)}2`);
});
