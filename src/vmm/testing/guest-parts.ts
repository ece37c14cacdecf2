/**
 * What test guests are made of: small Multiboot programs, written for vring's assembler. Each leaves its results at RESULT and ends
 * with OUT to EXIT_PORT.
 */
import { assemble } from '../../guest/x86/assembler/index.js';

export const EXIT_PORT = 0xf4;
export const RESULT = 0x9000;
const ORIGIN = 0x100000;

const header = `
.bits 32
RESULT = ${RESULT}
IDT = 0x8000
STACK = 0x90000
image:
        .long 0x1badb002, 0x10000, 0 - 0x1badb002 - 0x10000 & 0xffffffff
        .long image, image, image_end, image_end, entry
        .align 8
gdt:    .quad 0
        .quad 0x00cf9b000000ffff        ; 0x08 code, 32 bits
        .quad 0x00cf93000000ffff        ; 0x10 data
        .quad 0x00af9b000000ffff        ; 0x18 code, 64 bits
        .quad 0x00cff3000000ffff        ; 0x20 data of ring 3
        .quad 0x00affb000000ffff        ; 0x28 code of ring 3, 64 bits
        .quad 0x0000890000000067 | (tss << 16)  ; 0x30 task-state segment, below 16 MiB
        .quad 0
gdt_pointer: .word 0x3f
        .long gdt
        .align 8
tss:    .fill 104
entry:  mov esp, STACK
        lgdt [gdt_pointer]
        jmp dword ptr 8:reload
reload: mov eax, 0x10
        mov ds, ax
        mov es, ax
        mov ss, ax
`;

/** 64-bit code from \`long\` on: identity mapping of 4 GiB by large pages, open to ring 3; own IDT at IDT. */
export const toLongMode = `
        mov edi, 0x20000
        mov ecx, 0x1800
        xor eax, eax
        rep stosd
        mov dword ptr [0x20000], 0x21007
        mov dword ptr [0x21000], 0x22007
        mov dword ptr [0x21008], 0x23007
        mov dword ptr [0x21010], 0x24007
        mov dword ptr [0x21018], 0x25007
        mov edi, 0x22000
        mov eax, 0x87
        mov ecx, 2048
.pages: mov [edi], eax
        add eax, 0x200000
        add edi, 8
        dec ecx
        jnz .pages
        mov eax, 0x620                  ; PAE, OSFXSR, OSXMMEXCPT
        mov cr4, eax
        mov eax, 0x20000
        mov cr3, eax
        mov ecx, 0xc0000080
        rdmsr
        or eax, 0x101                   ; LME, SCE
        wrmsr
        mov eax, cr0
        or eax, 0x80000002              ; PG, MP
        and eax, ~4 & 0xffffffff        ; not EM
        mov cr0, eax
        jmp dword ptr 0x18:long
.bits 64
; gate of vector RAX: handler RDX, type CL
set_gate: shl eax, 4
        add rax, IDT
        mov [rax], dx
        mov word ptr [rax + 2], 0x18
        mov byte ptr [rax + 4], 0
        mov [rax + 5], cl
        shr rdx, 16
        mov [rax + 6], edx
        mov dword ptr [rax + 10], 0
        ret
long:   mov dword ptr [tss + 4], STACK
        mov eax, 0x30
        ltr ax
        mov word ptr [0x7ff0], 0xfff
        mov qword ptr [0x7ff2], IDT
        lidt [0x7ff0]
`;

const exit = `
finish: mov al, 0
        out ${EXIT_PORT}, al
.here:  hlt
        jmp .here
image_end:
`;

export const setPic = `
        mov al, 0x11
        out 0x20, al
        out 0xa0, al
        mov al, 0x20
        out 0x21, al
        mov al, 0x28
        out 0xa1, al
        mov al, 4
        out 0x21, al
        mov al, 2
        out 0xa1, al
        mov al, 1
        out 0x21, al
        out 0xa1, al
        mov al, 0xff
        out 0xa1, al
`;

export interface AcceleratorGuest {
  readonly name: string;
  readonly image: Uint8Array;
  readonly symbols: ReadonlyMap<string, bigint>;
  /** Dwords that are to lie from RESULT on; undefined: whatever. */
  readonly results: readonly (number | undefined)[];
  readonly serial: string;
  /** What the probe of KVM tries and this guest needs. */
  readonly needs: readonly string[];
}

export function guest(
  name: string,
  source: string,
  results: readonly (number | undefined)[],
  serial = '',
  needs: readonly string[] = [],
): AcceleratorGuest {
  const { bytes, symbols } = assemble(header + source + exit, { origin: BigInt(ORIGIN), codeSize: 32 });
  return { name, image: bytes, symbols, results, serial, needs };
}

/** A guest of one's own, with what all begin and end with; `source` is 64-bit code from there on. */
export function longModeGuest(
  name: string,
  source: string,
  results: readonly (number | undefined)[],
): AcceleratorGuest {
  return guest(name, toLongMode + source, results);
}
