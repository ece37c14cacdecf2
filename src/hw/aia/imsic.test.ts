/** Interrupt files by the specification (Advanced Interrupt Architecture 1.0, chapter 3). */
import assert from 'node:assert/strict';
import test from 'node:test';
import { fuzzAccesses, seededRandom, TestLine } from '../testing.js';
import { IMSIC_PAGE_BYTES, ImsicFile } from './imsic.js';

const [DELIVERY, THRESHOLD, EIP, EIE] = [0x70, 0x72, 0x80, 0xc0];

function make() {
  const line = new TestLine();
  return { line, file: new ImsicFile({ name: 'file', output: line }) };
}

test('messages make identities pending; the lowest that is enabled is the top, and is claimed [3.5, 3.10]', () => {
  const { line, file } = make();
  for (const id of [200, 70, 3, 0, 256, 0xffff_ffff]) file.write(0, 4, id);
  assert.equal(file.readRegister(EIP), 8n);
  assert.equal(file.readRegister(EIP + 2), 1n << 6n);
  assert.equal(file.readRegister(EIP + 6), 1n << 8n);
  assert.equal(file.top, 0, 'none is enabled');
  file.writeRegister(EIE + 2, 1n << 6n);
  file.writeRegister(EIE + 6, 1n << 8n);
  assert.equal(file.top, 70);
  assert.equal(line.level, false, 'nothing is delivered');
  file.writeRegister(DELIVERY, 1n);
  assert.equal(line.level, true);
  file.claim();
  assert.equal(file.top, 200);
  file.claim();
  assert.equal(line.level, false);
  file.claim();
  assert.equal(file.readRegister(EIP), 8n, 'what is not enabled stays');
});

test('a threshold lets only lower identities pass [3.8]', () => {
  const { line, file } = make();
  file.writeRegister(DELIVERY, 1n);
  file.writeRegister(EIE, (1n << 64n) - 1n);
  assert.equal(file.readRegister(EIE), (1n << 64n) - 2n, 'there is no identity 0');
  file.writeRegister(EIP, 1n << 9n);
  for (const [threshold, top] of [
    [0n, 9],
    [9n, 0],
    [10n, 9],
  ] as const) {
    file.writeRegister(THRESHOLD, threshold);
    assert.equal(file.top, top);
    assert.equal(line.level, top !== 0);
  }
});

test('numbers that are no registers are refused: odd ones, reserved ones; beyond the last identity is zero', () => {
  const { file } = make();
  for (const number of [0x6f, 0x71, 0x73, 0x7f, EIP + 1, EIE + 1, 0x100]) {
    assert.equal(file.readRegister(number), undefined);
    assert.equal(file.writeRegister(number, 1n), false);
  }
  assert.equal(file.writeRegister(EIE + 8, 1n), true);
  assert.equal(file.readRegister(EIE + 8), 0n);
});

test('only words at the port count; random accesses; saved and loaded', () => {
  const { file } = make();
  file.write(0, 2, 5);
  file.write(4, 4, 5);
  file.write(8, 4, 5);
  assert.equal(file.readRegister(EIP), 0n);
  fuzzAccesses(seededRandom(1), 5000, IMSIC_PAGE_BYTES, file);
  file.writeRegister(DELIVERY, 1n);
  file.writeRegister(EIE, 1n << 5n);
  file.write(0, 4, 5);
  const other = make();
  other.file.load(file.save());
  assert.equal(other.file.top, 5);
  assert.equal(other.line.level, true);
  other.file.reset();
  assert.equal(other.line.level, false);
});
