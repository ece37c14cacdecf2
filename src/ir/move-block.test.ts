/** Blocks that are taken over from another builder, at a distance from where a region is entered. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { BlockBuilder, RoutineSet } from './builder.js';
import { moveBlock } from './move-block.js';
import { Op } from './ops.js';
import { packWords } from './packed-words.js';
import { printIr } from './print.js';
import type { GuestVars } from './types.js';
import { verifyBlock } from './verify.js';

const vars: GuestVars = {
  vars: [
    { id: 0, name: 'flags', type: 'i32', offset: 0 },
    { id: 1, name: 'r1', type: 'i64', offset: 8 },
  ],
  deferred: { id: 0, name: 'flags', type: 'i32', offset: 0 },
  pcOffset: 16,
};
const set = new RoutineSet();
const halves = set.define('halves', ['i64'], ['i32', 'i64'], {}, () => {});

/** A block as a translator makes it; `at`: the distance that it is made for. */
function made(at: number, end: 'branch' | 'goto' | 'leave'): BlockBuilder {
  const b = new BlockBuilder();
  b.insn(at);
  const pc = b.pc_rel(at + 20);
  const [low, rest] = b.call(halves, pc);
  b.insn(at + 4);
  b.set(vars.vars[1], b.i64_add(rest, b.i64(-5)));
  if (end === 'branch') b.branch(low, at - 64, at + 8);
  else if (end === 'leave') b.leave(4, at + 8);
  else {
    b.call_note(at + 8);
    b.goto(at + 0x12000);
  }
  return b;
}

const print = (b: BlockBuilder) => printIr(b.words, b.length, { vars, routines: set.list });

for (const end of ['branch', 'goto', 'leave'] as const) {
  test(`a block that ends with ${end} is moved to where it would have been made for`, () => {
    const memory = new Uint8Array(1024);
    const { words, length } = made(0, end);
    packWords(words, length, memory, 100);
    const b = new BlockBuilder();
    // What was there before leaves nothing behind.
    b.f64_add(b.f64_convert_i32_s(b.i32(1)), b.f64_convert_i32_s(b.i32(2)));
    b.unpack(memory, 100, length);
    const moved = { terminator: 0, calls: undefined };
    moveBlock(b, -0x8004, set.list, moved);
    const there = made(-0x8004, end);
    assert.deepEqual(print(b), print(there));
    assert.equal(b.words[moved.terminator], Op[end]);
    assert.equal(moved.calls, end === 'goto' ? -0x8004 + 8 : undefined);
    assert.equal(b.temps, there.temps);
    assert.deepEqual(b.tempTypes.subarray(0, b.temps), there.tempTypes.subarray(0, b.temps));
    assert.deepEqual(verifyBlock(b, { vars, routines: set.list }), []);
  });
}
