/** Every row's IR is sound, in 64-bit and 32-bit code, as translated and as optimized; and what some instructions become. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { CaseGenerator } from '../../dev/rows/case-generator.js';
import { BlockBuilder, BlockOptimizer, Op, printIr, verifyBlock } from '../../ir/index.js';
import type { TranslationResult } from '../guest-cpu.js';
import { flagKind } from './flags.js';
import { decodeMode, encodeMode, type Mode } from './mode.js';
import { routines } from './routines/set.js';
import { x86Vars } from './state.js';
import { X86Cpu } from './system/cpu.js';
import { allRows } from './table/index.js';
import { createTranslator } from './translate.js';

assert.ok(X86Cpu, 'every routine is defined');
const names = { vars: x86Vars, routines: routines.list };
const translator = createTranslator();
const optimizer = new BlockOptimizer(x86Vars, routines.list);

const mode64 = encodeMode({
  ...decodeMode(0),
  codeSize: 64,
  stackSize: 64,
  protectedMode: true,
  long: true,
  osfxsr: true,
  osxsave: true,
  ioAllowed: true,
  flat: true,
});
const change = (key: number, mode: Partial<Mode>) => encodeMode({ ...decodeMode(key), ...mode });
const mode32 = change(mode64, { codeSize: 32, stackSize: 32, long: false });
const modes = {
  '64-bit': mode64,
  '32-bit': mode32,
  '16-bit, segments checked': change(mode32, { codeSize: 16, stackSize: 16, flat: false, checkedSegments: 0x3f }),
  'all breakpoints, alignment checks, user': change(mode64, {
    singleStep: true,
    dataBreak: true,
    instructionBreak: true,
    alignmentCheck: true,
    cpl: 3,
  }),
};

function translate(b: BlockBuilder, code: Uint8Array, modeKey: number): TranslationResult {
  const page = new Uint8Array(4096).fill(0xf4);
  page.set(code, 0x100);
  const result: TranslationResult = { bytes: 0, instructions: 0, crossesPage: false, needsNextPage: false };
  b.clear();
  translator.translate({ b, page, offset: 0x100, nextPage: undefined, modeKey, maxInstructions: 1 }, result);
  return result;
}

test('the IR of every row is sound', () => {
  const b = new BlockBuilder();
  for (const [i, row] of allRows.entries()) {
    const generator = new CaseGenerator(row, i + 1, true);
    for (let n = 0; n < 6; n++) {
      const { code } = generator.next();
      for (const [name, key] of Object.entries(modes)) {
        translate(b, code, key);
        const text = () => `${row.name} ${row.enc}, ${name}\n${printIr(b.words, b.length, names).join('\n')}`;
        assert.deepEqual(verifyBlock(b, names), [], text());
        optimizer.run(b);
        assert.deepEqual(verifyBlock(b, names), [], text());
      }
    }
  }
});

test('the verifier finds what is wrong', () => {
  const check = (build: (b: BlockBuilder) => void) => {
    const b = new BlockBuilder();
    build(b);
    return verifyBlock(b, names).join('; ');
  };
  const variable = x86Vars.vars.findIndex(({ type }) => type === 'i64');
  assert.equal(
    check((b) => {
      b.insn(0);
      b.guest_store32(b.i64(1), b.i32(2), 0);
      b.goto(4);
    }),
    '',
  );
  assert.match(
    check((b) => b.insn(0)),
    /does not end/,
  );
  assert.match(
    check((b) => {
      b.goto(0);
      b.insn(0);
    }),
    /behind the end/,
  );
  assert.match(
    check((b) => {
      b.emit(Op.i32_add, [7, 8]);
      b.goto(0);
    }),
    /t7 is used before it is defined; .*t8 is used/,
  );
  assert.match(
    check((b) => {
      b.emit(Op.i64_add, [b.i64(0), b.i32(0)]);
      b.goto(0);
    }),
    /t1 is i32, not i64/,
  );
  assert.match(
    check((b) => {
      b.i32(0);
      b.i32(0);
      b.words[4] = 0; // the second one's result
      b.goto(0);
    }),
    /t0 is defined twice/,
  );
  assert.match(
    check((b) => {
      b.trap_if(b.i32(0), 6);
      b.goto(0);
    }),
    /no instruction has begun/,
  );
  assert.match(
    check((b) => {
      b.emit(Op.get_i32, [variable]);
      b.emit(Op.get_i64, [9999]);
      b.goto(0);
    }),
    /is i64; .*no variable 9999/,
  );
  assert.match(
    check((b) => {
      b.emit(Op.set_deferred, [255]);
      b.emit(Op.i32x4_replace_lane, [b.v128(0, 0, 0, 0), b.i32(0), 4]);
      b.emit(Op.br, [0]);
      b.goto(0);
    }),
    /not 0 to 254; .*no lane 4; .*routines only/,
  );
});

/** Guest bytes, and the IR that is left of them in flat 64-bit code. */
const golden: readonly (readonly [string, string, readonly string[]])[] = [
  // Writes of 32 bits zero the upper half.
  ['mov eax, ebx', '89 d8', ['insn #0', 't0 = get_i64 rbx', 't1 = i64_low32 t0', 'set_i64 t1, rax', 'goto #2']],
  // The flags are described, not computed: the operation, its result and one operand.
  [
    'add rax, rcx',
    '48 01 c8',
    [
      'insn #0',
      't0 = get_i64 rax',
      't1 = get_i64 rcx',
      't2 = i64_add t0, t1',
      'set_i64 t2, rax',
      'set_i64 t2, ccDst',
      'set_i64 t1, ccSrc',
      `set_deferred #${flagKind.add * 4 + 3}`,
      'goto #3',
    ],
  ],
  // The load may fault: the register is written behind it.
  [
    'mov eax, [rbx + 8]',
    '8b 43 08',
    [
      'insn #0',
      't0 = get_i64 rbx',
      't1 = const_i64 #8, #0',
      't2 = i64_add t0, t1',
      't3 = guest_load32 t2, #0',
      't4 = i64_extend_i32_u t3',
      'set_i64 t4, rax',
      'goto #3',
    ],
  ],
  // RSP moves only when the store has not faulted.
  [
    'push rax',
    '50',
    [
      'insn #0',
      't0 = get_i64 rax',
      't1 = get_i64 rsp',
      't2 = const_i64 #8, #0',
      't3 = i64_sub t1, t2',
      'guest_store64 t3, t0, #0',
      'set_i64 t3, rsp',
      'goto #1',
    ],
  ],
  // Does not depend on the register.
  [
    'xor eax, eax',
    '31 c0',
    [
      'insn #0',
      't0 = const_i64 #0, #0',
      'set_i64 t0, rax',
      'set_i64 t0, ccDst',
      `set_deferred #${flagKind.logic * 4 + 2}`,
      'goto #2',
    ],
  ],
];

for (const [name, bytes, expected] of golden) {
  test(`the IR of ${name}`, () => {
    const b = new BlockBuilder();
    translate(
      b,
      Uint8Array.from(bytes.split(' '), (byte) => Number.parseInt(byte, 16)),
      mode64,
    );
    optimizer.run(b);
    assert.deepEqual(printIr(b.words, b.length, names), expected);
  });
}
