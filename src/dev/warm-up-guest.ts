/**
 * A guest for the build (`bundle.ts`): it makes vring's threads run what they run when a kernel starts. It enters long mode, works
 * in loops and calls until they are compiled, waits and does so elsewhere, says a line on COM1 and ends by isa-debug-exit with status 85.
 */
import { assemble } from '../guest/x86/assembler/index.js';
import { multiboot } from '../vmm/testing/programs.js';

const ORIGIN = 0x100030n;

/** Each is code of its own; the thread that compiles is up after the first few. */
const PHASES = 12;

/** Work of one phase: called with a number in EDI. */
const phase = (n: number) => `

phase${n}:
        mov r12d, ROUNDS
.round: mov edi, r12d
        call mix${n}
        mov edi, DATA
        mov esi, DATA + 0x2000
        mov edx, 40
        call copy${n}
        mov edi, DATA
        call sum${n}
        test r12d, 0xff
        jnz .next
        mov rax, cr3
        mov cr3, rax
        invlpg [DATA]
.next:  dec r12d
        jnz .round
        ret

mix${n}:    push rbx
        push rbp
        mov ebx, edi
        mov eax, edi
        imul rax, rbx, 0x5bd1e995
        mov rcx, rax
        shr rcx, 15
        xor rax, rcx
        rol eax, 7
        bswap eax
        movzx edx, al
        movsx esi, ah
        lea r8, [rdx + rsi*4 + 16]
        cmp r8, rbx
        cmovb r8, rbx
        setae dl
        bt rax, 5
        adc r8, rdx
        neg r8
        sbb r9, r9
        and r9d, 0xff8
        mov [r9 + DATA], r8
        add [r9 + DATA], rax
        lock inc dword ptr [DATA + 0x1000]
        xchg [DATA + 0x1008], r8
        lock cmpxchg [DATA + 0x1010], rcx
        bsf ecx, eax
        jz .skip
        mov edx, 0
        mov eax, ebx
        mov ecx, 7
        div ecx
.skip:  movups xmm0, [DATA]
        paddd xmm0, xmm0
        pxor xmm1, xmm0
        movups [DATA + 16], xmm1
        pushfq
        popfq
        pop rbp
        pop rbx
        ret

copy${n}:   mov rcx, rdx
        rep movsq
        ret

sum${n}:   xor eax, eax
        mov ecx, 8
.more:  add rax, [rdi]
        test al, 1
        jz .even
        xor rax, rcx
.even:  add rdi, 8
        dec ecx
        jnz .more
        ret
`;

const source = `
        .bits 32
PML4 = 0x200000
STACK = 0x90000
DATA = 0x300000
ROUNDS = 8000
        mov esp, STACK
        cld
        mov edi, PML4
        xor eax, eax
        mov ecx, 3 * 1024
        rep stosd
        mov dword ptr [PML4], PML4 + 0x1003
        mov dword ptr [PML4 + 0x1000], PML4 + 0x2003
        mov edi, PML4 + 0x2000
        mov eax, 0x83                   ; 2 MiB, writable
        mov ecx, 512
pages:  mov [edi], eax
        add eax, 0x200000
        add edi, 8
        dec ecx
        jnz pages
        mov eax, cr4
        or eax, 0x6a0                   ; PAE, PGE, OSFXSR, OSXMMEXCPT
        mov cr4, eax
        mov eax, PML4
        mov cr3, eax
        mov ecx, 0xc0000080             ; EFER: LME, SCE, NXE
        rdmsr
        or eax, 0x901
        wrmsr
        mov eax, cr0
        and eax, ~4 & 0xffffffff
        or eax, 0x80010003              ; PG, WP, MP, PE
        mov cr0, eax
        lgdt [gdtr]
        jmp 8:long
        .align 8
gdt:    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdtr:   .word 23
        .long gdt

        .bits 64
long:   mov eax, 16
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov eax, 1
        cpuid
        mov ecx, 0x277                  ; IA32_PAT
        rdmsr
        wrmsr
        rdtsc
        mov edi, DATA
        mov ecx, 0x4000
        rep stosb
${Array.from(
  { length: PHASES },
  (_, n) => `
        call phase${n}
        call wait`,
).join('')}
        mov esi, text
        mov ecx, 8
        mov dx, 0x3f8
        rep outsb
        in al, 0x71
        mov dx, 0x501
        mov al, 42
        out dx, al
halt:   hlt
        jmp halt

wait:   rdtsc
        mov ebx, eax
.more:  rdtsc
        sub eax, ebx
        cmp eax, 60000000               ; 60 ms
        jb .more
        ret
${Array.from({ length: PHASES }, (_, n) => phase(n)).join('')}
text:   .ascii "warm up\\n"
`;

export const warmUpGuest = (): Uint8Array => multiboot([...assemble(source, { origin: ORIGIN }).bytes]);
