/** A program that goes to real mode and asks what a BIOS would answer. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Program } from '../testing/program.js';
import { TestPc } from '../testing/test-pc.js';

const IDT = 0x8000;
const STACK = 0x6f00;
const RESULTS = 0x9000;
const MAP = 0x9100;
const REAL_MODE_GPA = 0x7c00;

/** For 0000:7C00, entered with a 16-bit code segment; data segment 20h. */
const realMode = [
  'b8 20 00 8e d8 8e c0 8e d0', // mov ax, 20h; mov ds, ax; mov es, ax; mov ss, ax
  '0f 20 c0 24 fe 0f 22 c0 ea 16 7c 00 00', // CR0.PE off; jmp 0:7c16
  '31 c0 8e d8 8e c0 8e d0 bc 00 70', // xor ax, ax; mov ds, ax; mov es, ax; mov ss, ax; mov sp, 7000h
  '0f 01 1e 6e 7c', // lidt [7c6e]
  'cd 12 a3 00 90 cd 11 a3 02 90', // int 12h; mov [9000], ax; int 11h; mov [9002], ax
  'b4 00 f8 cd 13 0f 92 06 04 90 88 26 05 90', // mov ah, 0; clc; int 13h; setc [9004]; mov [9005], ah
  'bf 00 91 66 31 db', // mov di, 9100h; xor ebx, ebx
  // mov edx, 'SMAP'; mov eax, 0e820h; mov ecx, 20; int 15h; jc out; inc word [9006]; add di, 20; test ebx, ebx; jnz
  '66 ba 50 41 4d 53 66 b8 20 e8 00 00 66 b9 14 00 00 00 cd 15 72 0c ff 06 06 90 83 c7 14 66 85 db 75 de',
  'cd 99 cd 08 b0 00 e6 f4', // int 99h; int 8; mov al, 0; out 0f4h, al
  'ff 03 00 00 00 00', // what LIDT reads
];

test('a kernel that is booted without a BIOS finds its vectors, its data area and the map of memory', () => {
  const p = new Program().begin(IDT, STACK, [0xffff, 0x00009b00], [0xffff, 0x00009300]);
  p.add(0xbe).abs32('code').mov(7, REAL_MODE_GPA).mov(1, 0x80).add('f3 a4'); // mov esi, ..; mov edi, ..; mov ecx, ..; rep movsb
  p.add('ea')
    .u32(REAL_MODE_GPA)
    .add('18 00')
    .label('code')
    .add(...realMode);
  const machine = new TestPc().boot(p);
  assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
  assert.equal(machine.u32(RESULTS) & 0xffff, 639, 'KiB of low memory');
  assert.equal(machine.u32(RESULTS) >>> 16, 0x0226, 'one serial port');
  assert.equal(machine.u32(RESULTS + 4) & 0xffff, 0x8601, 'a service that is not there');
  assert.equal(machine.u32(RESULTS + 4) >>> 16, 4, 'ranges of memory');
  const words = (entry: number) => [0, 1, 2, 3, 4].map((i) => machine.u32(MAP + 20 * entry + 4 * i));
  assert.deepEqual(words(0), [0, 0, 0x9fc00, 0, 1]);
  assert.deepEqual(words(3), [0x100000, 0, 0x300000, 0, 1]);
  assert.deepEqual([machine.u32(0x400), machine.u32(0x40e) & 0xffff], [0x3f8, 0x9fc0]);
  assert.equal(machine.pc.ports.read(0x21, 1), 0xfb, 'the first 8259 lets the second through');
});

test('a jump to the reset vector resets the machine', () => {
  const p = new Program().begin(IDT, STACK, [0xffff, 0x00009b0f]);
  p.add('ea').u32(0xfff0).add('18 00');
  assert.deepEqual(new TestPc().boot(p).run(), { why: 'reset' });
});
