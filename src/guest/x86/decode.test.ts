import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Decoder, DecoderTables, decodeFailure, parseEncoding } from './decode.js';
import { formatInsn } from './disassemble.js';
import { allRows } from './table/index.js';
import type { InsnRow } from './translator.js';

const tables = new DecoderTables(allRows);

const bytes = (text: string) => Uint8Array.from(text.split(' '), (byte) => Number.parseInt(byte, 16));

/** The text of an instruction, or why there is none. */
function decoded(text: string, codeSize: 16 | 32 | 64 = 64, from = tables): string {
  const decoder = new Decoder(from);
  decoder.setMode(codeSize, codeSize !== 16);
  const code = bytes(text);
  const row = decoder.decode(code, 0, code.length);
  if (row === decodeFailure.moreBytes) return 'more bytes';
  if (row === decodeFailure.undefined) return '#UD';
  if (row === decodeFailure.tooLong) return '#GP';
  assert.equal(decoder.length, code.length, `length of ${text}`);
  return formatInsn(decoder, from.rows[row], 0x1000n);
}

// Encodings from the examples and opcode tables of the Intel SDM, vol. 2.
for (const [text, expected, codeSize] of [
  ['01 c8', 'add eax, ecx'],
  ['48 01 c8', 'add rax, rcx'],
  ['66 01 c8', 'add ax, cx'],
  ['66 48 01 c8', 'add rax, rcx'],
  ['00 e0', 'add al, ah'],
  ['40 00 e0', 'add al, spl'],
  ['4c 8b 44 88 08', 'mov r8, qword ptr [rax+rcx*4+0x8]'],
  ['8b 05 10 00 00 00', 'mov eax, dword ptr [rip+0x1016]'],
  ['8b 04 25 10 00 00 00', 'mov eax, dword ptr [0x10]'],
  ['8b 05 10 00 00 00', 'mov eax, dword ptr [0x10]', 32],
  ['8b 42 fe', 'mov ax, word ptr [bp+si-0x2]', 16],
  ['67 8b 42 fe', 'mov ax, word ptr [edx-0x2]', 16],
  ['65 48 8b 04 25 28 00 00 00', 'mov rax, qword ptr gs:[0x28]'],
  ['2e 8b 00', 'mov eax, dword ptr [rax]'],
  ['48 b8 88 77 66 55 44 33 22 11', 'mov rax, 0x1122334455667788'],
  ['6a ff', 'push -0x1'],
  ['41 57', 'push r15'],
  ['40', 'inc eax', 32],
  ['e8 fb ff ff ff', 'call 0x1000'],
  ['f3 48 ab', 'rep stosq'],
  ['f3 90', 'pause'],
  ['f3 0f bc c1', 'tzcnt eax, ecx'],
  ['f3 0f 1e fa', 'nop edx'],
  ['66 0f ef c1', 'pxor xmm0, xmm1'],
  ['0f ef c1', 'pxor mm0, mm1'],
  ['f2 0f 58 c1', 'addsd xmm0, xmm1'],
  ['66 f2 0f 38 f1 c1', 'crc32 eax, cx'],
  ['c4 e2 70 f2 c2', 'andn eax, ecx, edx'],
  ['c4 e2 78 f2 c2', 'andn eax, eax, edx'],
  ['f0 48 0f b1 0f', 'lock cmpxchg qword ptr [rdi], rcx'],
  ['0f 01 d0', 'xgetbv'],
  // Only register operands: mod is not looked at.
  ['0f 21 00', 'mov rax, dr0'],
  ['0f 22 84', 'mov cr0, rsp'],
  // What is no instruction.
  ['f0 01 c8', '#UD'],
  ['f0 8b 00', '#UD'],
  ['06', '#UD'],
  ['0f 04', '#UD'],
  ['8d c0', '#UD'],
  ['66 c4 e2 70 f2 c2', '#UD'],
  ['c4 e2 74 f2 c2', '#UD'],
  ['c4 e3 73 f0 c2 07', '#UD'],
  ['66 66 66 66 66 66 66 66 66 66 66 66 66 66 01 c8', '#GP'],
  ['48 8b', 'more bytes'],
  ['8b 84 25 10 00', 'more bytes'],
] as const) {
  test(`${text} in ${codeSize ?? 64}-bit code is ${expected}`, () => {
    assert.equal(decoded(text, codeSize), expected);
  });
}

test('14 prefixes and one byte of opcode are 15 bytes, and legal', () => {
  assert.equal(decoded(`${'66 '.repeat(14)}90`), 'nop');
});

test('a REX before another prefix counts for nothing', () => {
  assert.equal(decoded('48 66 01 c8'), 'add ax, cx');
});

test('instructions of a missing feature mean what they meant before it', () => {
  const old = new DecoderTables(allRows, new Set(['cmov']));
  assert.equal(decoded('f3 0f bc c1', 64, old), 'bsf eax, ecx');
  assert.equal(decoded('f3 0f bd c1', 64, old), 'bsr eax, ecx');
  assert.equal(decoded('f3 0f b8 c1', 64, old), '#UD');
  assert.equal(decoded('66 0f ef c1', 64, old), '#UD');
  assert.equal(decoded('0f 0d 09', 64, old), '#UD');
});

test('long mode brings PREFETCHW without its flag', () => {
  assert.match(decoded('0f 0d 09', 64, new DecoderTables(allRows, new Set(['lm']))), /^prefetchw/);
});

const row = (name: string, enc: string, args = ''): InsnRow => ({ name, enc, args, translate: () => {} });

test('rows that overlap are refused, with both named', () => {
  assert.throws(
    () => new DecoderTables([row('ONE', '0F 01 /2', 'Ev'), row('TWO', '0F 01 /2', 'Ev')]),
    /overlap.*ONE '0F 01 \/2' and TWO|overlap.*TWO '0F 01 \/2' and ONE/,
  );
});

test('a row that says more about the same bytes wins', () => {
  const both = new DecoderTables([row('ANY', '0F 01 /2', 'Ev'), row('EXACT', '0F 01 D0')]);
  assert.equal(decoded('0f 01 d0', 64, both), 'exact');
  assert.equal(decoded('0f 01 d1', 64, both), 'any ecx');
});

test('an encoding with an unknown word is refused', () => {
  assert.throws(() => parseEncoding(row('BAD', '0F 01 /9')), /BAD '0F 01 \/9': cannot read '\/9'/);
});
