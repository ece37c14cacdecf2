import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TextScreen } from '../../vmm/index.js';
import { terminalKeys } from './terminal-keys.js';
import { rowsOf } from './text-display.js';

const keys = (text: string) =>
  terminalKeys(text).map((event) =>
    event.type === 'key' ? `${event.down ? '+' : '-'}${event.code.toString(16)}` : event.type,
  );

test("a terminal's bytes become keys", () => {
  assert.deepEqual(keys('a'), ['+1e', '-1e']);
  assert.deepEqual(keys('A'), ['+2a', '+1e', '-1e', '-2a']);
  assert.deepEqual(keys('\r'), ['+1c', '-1c']);
  assert.deepEqual(keys('\x7f'), ['+e', '-e']);
  assert.deepEqual(keys('\x03'), ['+1d', '+2e', '-2e', '-1d'], 'Ctrl-C');
  assert.deepEqual(keys('\x1b'), ['+1', '-1']);
  assert.deepEqual(keys('\x1b[A\x1bOB'), ['+e048', '-e048', '+e050', '-e050']);
  assert.deepEqual(keys('\x1b[5~\x1bOP\x1b[24~'), ['+e049', '-e049', '+3b', '-3b', '+58', '-58']);
  assert.deepEqual(keys('\x1b[1;5C'), ['+1d', '+e04d', '-e04d', '-1d'], 'Ctrl and right');
  assert.deepEqual(keys('\x1bx'), ['+38', '+2d', '-2d', '-38'], 'Alt-X');
  assert.deepEqual(keys('\x1b[Z'), ['+2a', '+f', '-f', '-2a'], 'Shift and Tab');
  assert.deepEqual(keys('\xe4\x1b[99~'), [], 'no key has these');
});

test('cells become characters of Unicode in their colours; a small window follows the cursor', () => {
  const cells = new Uint16Array(4 * 3).fill(0x0720);
  cells.set([0x1f41, 0x1fc4, 0x07e1, 0x4c01], 0);
  cells.set([0x075a], 8);
  const screen: TextScreen = { columns: 4, rows: 3, cells, cursor: { column: 1, row: 2 }, colors: new Uint32Array(16) };
  const { rows, cursor } = rowsOf(screen, { columns: 80, rows: 25 });
  assert.equal(rows.length, 3);
  assert.equal(rows[0], '\x1b[0;97;44mA─\x1b[0;37;40mß\x1b[0;91;41m☺');
  assert.equal(cursor, '\x1b[3;2H\x1b[?25h');
  const small = rowsOf(screen, { columns: 2, rows: 1 });
  assert.deepEqual(small.rows, ['\x1b[0;37;40mZ ']);
  assert.equal(small.cursor, '\x1b[1;2H\x1b[?25h');
  assert.equal(rowsOf({ ...screen, cursor: undefined }, { columns: 80, rows: 25 }).cursor, '\x1b[?25l');
});
