/** Typical guest code, of which the golden tests keep what is generated. Hand-assembled; each ends at the HLT behind it. */
import { CODE_AT, dataRegion } from '../rows/layout.js';

export interface GoldenProgram {
  readonly name: string;
  readonly codeSize: 32 | 64;
  /** Bytes in hex, an instruction a line, its text behind a semicolon. */
  readonly code: string;
  /** By number: RAX RCX RDX RBX RSP RBP RSI RDI R8 … */
  readonly gprs: Readonly<Record<number, number>>;
  /** 64-bit words at the start of the data. */
  readonly data?: readonly bigint[];
}

const RCX = 1;
const RSP = 4;
const RSI = 6;
const RDI = 7;
const DATA = dataRegion.start;
const common = { [RCX]: 40, [RSP]: DATA + 0x1800, [RSI]: DATA + 0x800, [RDI]: DATA };

export const goldenPrograms: readonly GoldenProgram[] = [
  {
    name: 'sum-of-array',
    codeSize: 64,
    gprs: common,
    code: `
      48 03 04 cf    ; add rax, [rdi + rcx*8]
      48 ff c9       ; dec rcx
      75 f7          ; jnz 0`,
  },
  {
    name: 'copy-bytes',
    codeSize: 64,
    gprs: common,
    code: `
      8a 04 0f       ; mov al, [rdi + rcx]
      88 04 0e       ; mov [rsi + rcx], al
      ff c9          ; dec ecx
      79 f6          ; jns 0`,
  },
  {
    name: 'call-in-loop',
    codeSize: 64,
    gprs: common,
    code: `
      e8 06 00 00 00 ; call b
      ff c9          ; dec ecx
      75 f7          ; jnz 0
      f4             ; hlt
      90             ; nop
      53             ; b: push rbx
      48 89 cb       ; mov rbx, rcx
      8d 44 18 01    ; lea eax, [rax + rbx + 1]
      5b             ; pop rbx
      c3             ; ret`,
  },
  {
    name: 'indirect-calls',
    codeSize: 64,
    gprs: common,
    data: [BigInt(CODE_AT + 16), BigInt(CODE_AT + 19)],
    code: `
      89 ca          ; mov edx, ecx
      83 e2 01       ; and edx, 1
      ff 14 d7       ; call [rdi + rdx*8]
      ff c9          ; dec ecx
      75 f4          ; jnz 0
      f4             ; hlt
      90 90          ; nop; nop
      ff c0          ; 10: inc eax
      c3             ; ret
      83 e8 03       ; 13: sub eax, 3
      c3             ; ret`,
  },
  {
    name: 'flags-across-instructions',
    codeSize: 64,
    gprs: common,
    code: `
      48 01 d0       ; add rax, rdx
      48 11 f3       ; adc rbx, rsi
      39 c8          ; cmp eax, ecx
      0f 9c c2       ; setl dl
      0f 47 d9       ; cmova ebx, ecx
      84 d2          ; test dl, dl
      74 02          ; je +2
      d1 d8          ; rcr eax, 1
      ff c9          ; dec ecx
      75 e9          ; jnz 0`,
  },
  {
    name: 'shifts-and-bits',
    codeSize: 64,
    gprs: common,
    code: `
      d3 e0          ; shl eax, cl
      48 d3 ea       ; shr rdx, cl
      c1 c3 07       ; rol ebx, 7
      48 0f a3 ca    ; bt rdx, rcx
      19 c0          ; sbb eax, eax
      0f bc d9       ; bsf ebx, ecx
      f3 0f b8 c3    ; popcnt eax, ebx
      0f ca          ; bswap edx
      ff c9          ; dec ecx
      75 e6          ; jnz 0`,
  },
  {
    name: 'multiply-and-divide',
    codeSize: 64,
    gprs: common,
    code: `
      48 0f af c1    ; imul rax, rcx
      6b db 1f       ; imul ebx, ebx, 31
      48 f7 e1       ; mul rcx
      31 d2          ; xor edx, edx
      f7 f1          ; div ecx
      99             ; cdq
      f7 f9          ; idiv ecx
      ff c9          ; dec ecx
      75 eb          ; jnz 0`,
  },
  {
    name: 'read-modify-write',
    codeSize: 64,
    gprs: common,
    code: `
      83 07 05       ; add dword [rdi], 5
      48 ff 47 08    ; inc qword [rdi + 8]
      f0 0f c1 47 10 ; lock xadd [rdi + 16], eax
      89 c8          ; mov eax, ecx
      f0 0f b1 4f 18 ; lock cmpxchg [rdi + 24], ecx
      66 c7 47 20 34 12 ; mov word [rdi + 32], 0x1234
      ff c9          ; dec ecx
      75 e3          ; jnz 0`,
  },
  {
    name: 'strings',
    codeSize: 64,
    gprs: common,
    code: `
      51             ; push rcx
      b9 08 00 00 00 ; mov ecx, 8
      f3 48 ab       ; rep stosq
      48 83 ef 40    ; sub rdi, 64
      59             ; pop rcx
      ac             ; lodsb
      aa             ; stosb
      ff c9          ; dec ecx
      75 ec          ; jnz 0`,
  },
  {
    name: 'sse-doubles',
    codeSize: 64,
    gprs: common,
    code: `
      66 0f 28 07    ; movapd xmm0, [rdi]
      66 0f 58 47 10 ; addpd xmm0, [rdi + 16]
      f2 0f 59 c8    ; mulsd xmm1, xmm0
      f2 0f 2a d1    ; cvtsi2sd xmm2, ecx
      66 0f 2f d1    ; comisd xmm2, xmm1
      77 05          ; ja +5
      66 0f 29 47 20 ; movapd [rdi + 32], xmm0
      ff c9          ; dec ecx
      75 dc          ; jnz 0`,
  },
  {
    name: 'sse-integers',
    codeSize: 64,
    gprs: common,
    code: `
      f3 0f 6f 07    ; movdqu xmm0, [rdi]
      66 0f ef c9    ; pxor xmm1, xmm1
      66 0f 74 c8    ; pcmpeqb xmm1, xmm0
      66 0f d7 c1    ; pmovmskb eax, xmm1
      66 0f fe c2    ; paddd xmm0, xmm2
      66 0f 70 d0 1b ; pshufd xmm2, xmm0, 0x1b
      66 0f 38 00 c1 ; pshufb xmm0, xmm1
      ff c9          ; dec ecx
      75 de          ; jnz 0`,
  },
  {
    name: 'x87',
    codeSize: 64,
    gprs: common,
    code: `
      dd 07          ; fld qword [rdi]
      d8 c0          ; fadd st, st
      dc 4f 08       ; fmul qword [rdi + 8]
      dd 5f 10       ; fstp qword [rdi + 16]
      ff c9          ; dec ecx
      75 f2          ; jnz 0`,
  },
  {
    name: 'function-32',
    codeSize: 32,
    gprs: common,
    code: `
      e8 06 00 00 00 ; call b
      49             ; dec ecx
      75 f8          ; jnz 0
      f4             ; hlt
      90 90          ; nop; nop
      55             ; b: push ebp
      89 e5          ; mov ebp, esp
      83 ec 08       ; sub esp, 8
      89 4d fc       ; mov [ebp - 4], ecx
      8b 45 fc       ; mov eax, [ebp - 4]
      0f b7 17       ; movzx edx, word [edi]
      01 d0          ; add eax, edx
      c9             ; leave
      c3             ; ret`,
  },
];
