/** Disassembly from the rows: every row has a text, whatever its fields are. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { disassemble } from './disassemble.js';
import { DecoderTables, encodeFields, parseEncoding } from './encoding.js';
import { allRows } from './table/index.js';

const tables = new DecoderTables(allRows);

test('every row of the table is disassembled', () => {
  for (const row of allRows) {
    const { text } = disassemble(tables, encodeFields(parseEncoding(row), {}), 0n);
    assert.doesNotMatch(text, /undefined/, row.name);
  }
});

/** The words are the encodings of C7.2 of the manual (FCADD, LDP, STNP of SIMD registers). */
const spelled: readonly (readonly [number, string])[] = [
  [0x6d410801, 'ldp d1, d2, [x0, #16]'],
  [0x6c010801, 'stnp d1, d2, [x0, #16]'],
  [0xadbf07e0, 'stp q0, q1, [sp, #-32]!'],
  [0x2d410801, 'ldp s1, s2, [x0, #8]'],
];
test('pairs of SIMD registers and complex sums name all their operands', () => {
  for (const [word, text] of spelled) assert.equal(disassemble(tables, word, 0n).text, text, word.toString(16));
  assert.match(disassemble(tables, 0x6e82e420, 0n).text, /^fcadd v0.*, #90$/);
  assert.match(disassemble(tables, 0x6e82f420, 0n).text, /^fcadd v0.*, #270$/);
});
