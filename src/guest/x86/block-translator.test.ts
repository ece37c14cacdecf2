/** Golden tests: guest code to IR as text, so that a change of what is generated is a diff to read. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockBuilder, BlockOptimizer, printIr } from '../../ir/index.js';
import { BlockTranslator } from './block-translator.js';
import { DecoderTables } from './decode.js';
import { encodeMode, type Mode } from './mode.js';
import { routines } from './routines/set.js';
import { x86Vars } from './state.js';
import { allRows } from './table/index.js';

const translator = new BlockTranslator(new DecoderTables(allRows));
const mode64: Mode = {
  codeSize: 64,
  protectedMode: true,
  vm86: false,
  long: true,
  cpl: 0,
  stackSize: 64,
  singleStep: false,
  alignmentCheck: false,
  em: false,
  ts: false,
  mp: true,
  osfxsr: true,
  osxsave: false,
  ioAllowed: true,
  flat: true,
  checkedSegments: 0,
  dataBreak: false,
  instructionBreak: false,
  shadow: false,
  lens: false,
  shared: false,
};
const mode32: Mode = { ...mode64, codeSize: 32, stackSize: 32, long: false };
const mode16: Mode = {
  ...mode64,
  codeSize: 16,
  stackSize: 16,
  long: false,
  protectedMode: false,
  flat: false,
  checkedSegments: 63,
};

function translate(code: string, mode: Mode, offset = 0) {
  const b = new BlockBuilder();
  const page = new Uint8Array(4096).fill(0xf4);
  page.set(
    code.split(' ').map((byte) => Number.parseInt(byte, 16)),
    offset,
  );
  const result = { bytes: 0, instructions: 0, crossesPage: false, needsNextPage: false };
  const request = { b, page, offset, nextPage: undefined, modeKey: encodeMode(mode), maxInstructions: 48 };
  translator.translate(request, result);
  return { b, result };
}

/** The optimized IR, constants written in place of the temps that hold them. */
function golden(code: string, mode: Mode = mode64): string[] {
  const { b } = translate(code, mode);
  new BlockOptimizer(x86Vars, routines.list).run(b);
  return printIr(b.words, b.length, { vars: x86Vars, routines: routines.list });
}

test('a function head', () => {
  // push rbp; mov rbp, rsp; mov eax, [rdi+16]; test eax, eax; je
  assert.deepEqual(golden('55 48 89 e5 8b 47 10 85 c0 74 12'), [
    'insn #0',
    't0 = get_i64 rbp',
    't1 = get_i64 rsp',
    't2 = const_i64 #8, #0',
    't3 = i64_sub t1, t2',
    'guest_store64 t3, t0, #0',
    'set_i64 t3, rsp',
    'insn #1',
    't4 = get_i64 rsp',
    'set_i64 t4, rbp',
    'insn #4',
    't5 = get_i64 rdi',
    't6 = const_i64 #16, #0',
    't7 = i64_add t5, t6',
    't8 = guest_load32 t7, #0',
    't9 = i64_extend_i32_u t8',
    'set_i64 t9, rax',
    'insn #7',
    't10 = get_i64 rax',
    'set_i64 t10, ccDst',
    'set_deferred #22',
    'insn #9',
    't11 = i32_wrap_i64 t10',
    't12 = i32_eqz t11',
    'branch t12, #29, #11',
  ]);
});

test('flags that the next instruction overwrites cost nothing', () => {
  // add eax, ecx; sub edx, ebx; jb
  const lines = golden('01 c8 29 da 72 00');
  assert.equal(lines.filter((line) => line.includes('ccDst')).length, 1);
  assert.ok(lines.some((line) => line.includes('i32_lt_u')));
});

test('32-bit code in flat segments adds no base and checks nothing', () => {
  // mov eax, [ebp-4]; ret
  assert.deepEqual(golden('8b 45 fc c3', mode32), [
    'insn #0',
    't0 = get_i64 rbp',
    't1 = const_i64 #-4, #-1',
    't2 = i64_add t0, t1',
    't3 = i64_low32 t2',
    't4 = guest_load32 t3, #0',
    't5 = i64_extend_i32_u t4',
    'set_i64 t5, rax',
    'insn #3',
    't6 = get_i64 rsp',
    't7 = guest_load32 t6, #0',
    't8 = i64_extend_i32_u t7',
    't9 = get_i64 rsp',
    't10 = const_i64 #4, #0',
    't11 = i64_add t9, t10',
    't12 = i64_low32 t11',
    'set_i64 t12, rsp',
    'jump t8, #2',
  ]);
});

test('real mode checks the limit and adds the base', () => {
  const lines = golden('8b 07 eb fe', mode16); // mov ax, [bx]
  assert.ok(lines.some((line) => line.includes('check_segment')));
  assert.ok(lines.some((line) => line.includes('dsBase')));
});

test('a condition on flags of another block asks a routine, one on flags of its own block compares', () => {
  assert.ok(golden('72 00').some((line) => line.includes('compute_carry')));
  const known = golden('39 d8 72 00'); // cmp eax, ebx; jb
  assert.ok(!known.some((line) => line.includes('call')));
  assert.ok(known.some((line) => line.includes('i32_lt_u')));
});

test('the instruction after STI is in the same block, which then looks at interrupts', () => {
  const { result } = translate('fb 90 90 90', mode64);
  assert.equal(result.instructions, 2);
  assert.deepEqual(golden('fb 90 90 90').slice(-1), ['leave #4, #2']);
});

test('a block ends before an instruction that goes on to the next page', () => {
  const { result } = translate('90 90 48', mode64, 4093);
  assert.equal(result.instructions, 2);
  assert.equal(result.bytes, 2);
  assert.equal(result.needsNextPage, false);
  const alone = translate('48', mode64, 4095).result;
  assert.equal(alone.needsNextPage, true);
  assert.equal(alone.instructions, 0);
});

test('what is no instruction raises #UD', () => {
  assert.ok(golden('0f 04').some((line) => line.startsWith('trap_if') && line.endsWith(`#${6 | 0x200}`)));
});
