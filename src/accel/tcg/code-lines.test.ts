import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTranslator } from '../../guest/arm32/block-translator.js';
import { codeLines } from './code-lines.js';

test('AArch32 code is listed where it lies, whatever its entry says', () => {
  const page = new Uint8Array(4096);
  // cmp r0, r1; addls r0, r0, #1. Behind them in T32: mov r0, #5.
  new Uint32Array(page.buffer).set([0xe1500001, 0x92800001, 0x00002005]);
  const list = (offset: number, bytes: number) =>
    codeLines(
      createTranslator(),
      { page, offset, nextPage: undefined, modeKey: 0 },
      bytes,
      BigInt(0x8000 + offset),
    ).map((line) => line.replace(/ +/g, ' ').replace(/,.*/, ''));
  assert.deepEqual(list(0, 8), ['0x00008000: 01 00 50 e1 cmp r0', '0x00008004: 01 00 80 92 addls r0']);
  // Entered behind a branch that has asked the condition.
  assert.deepEqual(list(6, 2), ['0x00008004: 01 00 80 92 addls r0']);
  assert.deepEqual(list(9, 1), ['0x00008008: 05 20 mov r0']);
});
