import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AssemblyError, assemble } from './index.js';

const hex = (source: string, codeSize: 16 | 32 | 64 = 64, origin = 0x1000n) =>
  Buffer.from(assemble(source, { origin, codeSize }).bytes).toString('hex');

// Encodings from the opcode tables of the Intel SDM, vol. 2.
for (const [text, expected, codeSize] of [
  ['add rax, rcx', '4801c8'],
  ['mov r8, [rax + rcx*4 + 8]', '4c8b448808'],
  ['mov eax, [rip + 0x1016]', '8b0510000000'],
  ['mov rax, gs:[0x28]', '65488b042528000000'],
  ['mov ax, [bp + si - 2]', '8b42fe', 16],
  ['push -1', '6aff'],
  ['nop', '90'],
  ['xchg eax, eax', '87c0'],
  ['rep stosq', 'f348ab'],
  ['mov rax, cr0', '0f20c0'],
  ['mov cr3, rbx', '0f22db'],
  ['in al, 0x71', 'e471'],
  ['out dx, eax', 'ef'],
  ['iretq', '48cf'],
  ['sysretq', '480f07'],
  ['swapgs', '0f01f8'],
  ['lgdt [0x1234]', '0f01163412', 16],
  ['jmp 8:0x1234', 'ea34120800', 16],
  ['jmp dword ptr 8:0x12345678', '66ea785634120800', 16],
  ['call 0x10:0x12345678', '9a785634121000', 32],
  ['jz 0x1000', '74fe'],
  ['lock cmpxchg [rdi], rcx', 'f0480fb10f'],
  ['mov spl, al', '4088c4'],
  ['shl eax, 1', 'd1e0'],
  ["cmp al, 'A'", '3c41'],
] as const) {
  test(`${text} in ${codeSize ?? 64}-bit code`, () => {
    assert.equal(hex(text, codeSize), expected);
  });
}

test('labels, jumps as short as they can be, names, data', () => {
  const { bytes, symbols } = assemble(
    `
COUNT = 3 + 1 * 2        ; five
start:  mov ecx, COUNT
.again: dec ecx
        jnz .again
        jmp far_away     ; too far for a byte
        .fill 200, 0x90
far_away:
.again: jmp .again
        .align 8
text:   .asciz "a\\"b"
        .word text - start, ~0 & 0xffff
        .quad start
`,
    { origin: 0x1000n },
  );
  assert.equal(symbols.get('COUNT'), 5n);
  assert.equal(symbols.get('start.again'), 0x1005n);
  assert.equal(symbols.get('far_away'), 0x1000n + 5n + 2n + 2n + 5n + 200n);
  const text = Number((symbols.get('text') as bigint) - 0x1000n);
  assert.equal(text % 8, 0);
  const code = Buffer.from(bytes);
  assert.equal(code.subarray(0, 14).toString('hex'), 'b905000000ffc975fce9c8000000');
  assert.equal(code.subarray(214, 216).toString('hex'), 'ebfe');
  assert.equal(code.subarray(text).toString('latin1', 0, 4), 'a"b\0');
  assert.equal(code.readUInt16LE(text + 4), text);
  assert.equal(code.readUInt16LE(text + 6), 0xffff);
  assert.equal(code.readBigUInt64LE(text + 8), 0x1000n);
});

test('mistakes are told with the line', () => {
  for (const [source, pattern] of [
    ['nop\n frobnicate eax', /line 2: there is no instruction 'frobnicate'/],
    ['mov eax, rbx', /'mov' does not go with these operands/],
    ['inc [rax]', /the size of the memory operand is not said/],
    ['mov ah, r8b', /does not go/],
    ['pusha', /does not go/],
    ['jmp nowhere', /there is no 'nowhere'/],
    ['a:\na:', /'a' is defined twice/],
    ['.byte 256', /does not fit/],
    ['mov eax, 1 +', /no whole expression/],
    ['mov eax, [rax+rbx+rcx]', /too many registers/],
    ['lock mov [rax], ecx', /does not go/],
    ['.org 0', /cannot fill/],
    ['.bogus', /there is no directive .bogus/],
  ] as const) {
    assert.throws(
      () => assemble(source, { origin: 0x1000n }),
      (error) => error instanceof AssemblyError && pattern.test(error.message),
      source,
    );
  }
});
