/**
 * Guests that every accelerator must run alike: small Multiboot programs, written for vring's assembler. Each leaves its results at
 * RESULT and ends with OUT to EXIT_PORT.
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
const toLongMode = `
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

const setPic = `
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

function guest(
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

export const acceleratorGuests: readonly AcceleratorGuest[] = [
  guest(
    'protected mode: arithmetic, strings, port I/O with REP',
    `
        xor eax, eax
        mov ecx, 1000
.sum:   add eax, ecx
        dec ecx
        jnz .sum
        mov [RESULT], eax
        mov esi, text
        mov ecx, 5
        mov dx, 0x3f8
        cld
        rep outsb                       ; to the serial port
        mov edi, RESULT + 4
        mov ecx, 4
        mov dx, 0x3ff                   ; its scratch register
        mov al, 0x5a
        out dx, al
        rep insb
        jmp finish
text:   .ascii "hello"
`,
    [500500, 0x5a5a5a5a],
    'hello',
  ),
  guest(
    'writes that may be handed over late arrive in order, before what depends on them',
    `
        xor edi, edi                    ; differences
        mov ecx, 500
.next:  mov al, 0x40
        out 0x70, al                    ; index of the clock's memory
        mov al, cl
        out 0x71, al
        mov al, 0x41
        out 0x70, al
        not cl
        mov al, cl
        not cl
        out 0x80, al
        out 0x71, al
        mov al, 0x41
        out 0x70, al
        mov al, 0x40
        out 0x70, al
        in al, 0x71
        sub al, cl
        movzx eax, al
        add edi, eax
        mov al, 0x41
        out 0x70, al
        in al, 0x71
        add al, cl
        inc al
        movzx eax, al
        add edi, eax
        dec ecx
        jnz .next
        mov [RESULT], edi
        mov dword ptr [0xfec00000], 0   ; index of the I/O APIC's registers
        mov dword ptr [0xfec00010], 0x05000000
        mov dword ptr [0xfec00000], 1
        mov eax, [0xfec00010]
        xor al, al                      ; KVM's is of another version
        mov [RESULT + 4], eax
        mov dword ptr [0xfec00000], 0
        mov eax, [0xfec00010]
        mov [RESULT + 8], eax
`,
    [0, 0x170000, 0x05000000],
  ),
  guest(
    'real mode and back',
    `
        mov esi, real
        mov edi, 0x7000
        mov ecx, real_end - real
        rep movsb
        mov dword ptr [0x6000], 0xffff
        mov dword ptr [0x6004], 0x00009b00
        jmp dword ptr 8:go
go:     mov word ptr [gdt + 0x38], 0xffff       ; a 16-bit code segment in the last slot
        mov dword ptr [gdt + 0x3c], 0x00009b00
        mov word ptr [gdt + 0x3a], 0
        jmp dword ptr 0x38:0x7000
.bits 16
real:   mov eax, cr0
        and al, 0xfe
        mov cr0, eax
        jmp 0:0x7000 + (in_real - real)
in_real: xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 0x6ff0
        mov bx, 0x1234
        push bx
        pop cx
        mov [RESULT], cx
        mov word ptr [RESULT + 2], 0
        mov ax, 0xff00                  ; segment arithmetic: ff00:1000 is 0x100000
        mov ds, ax
        mov eax, [0x1000]
        xor bx, bx
        mov ds, bx
        mov [RESULT + 4], eax
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp dword ptr 8:back
real_end:
.bits 32
back:   mov eax, 0x10
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov esp, STACK
        jmp finish
`,
    [0x1234, 0x1badb002],
  ),
  guest(
    'long mode: 64-bit arithmetic; SSE and x87 in ring 3',
    `${toLongMode}
        xor eax, eax
        mov edx, 0x00180018
        mov ecx, 0xc0000081
        wrmsr
        mov eax, finish                 ; SYSCALL ends the program
        xor edx, edx
        inc ecx
        wrmsr
        mov rax, 0x123456789
        imul rax, rax, 1000
        mov [RESULT], rax
        push 0x23
        push 0x80000
        push 0x202
        push 0x2b
        push user
        iretq
user:   mov eax, 3
        cvtsi2sd xmm0, eax
        mulsd xmm0, xmm0
        cvttsd2si eax, xmm0
        mov [RESULT + 8], eax
        fninit
        fld1
        fld1
        .byte 0xde, 0xc1                ; faddp st1, st0
        fistp dword ptr [RESULT + 12]
        syscall
`,
    [Number((0x123456789n * 1000n) & 0xffffffffn), Number((0x123456789n * 1000n) >> 32n), 9, 2],
  ),
  guest(
    'ring 3: a system call, a page fault, a protection fault, each back to ring 0',
    `${toLongMode}
        mov eax, 14
        mov rdx, page_fault
        mov cl, 0x8e
        call set_gate
        mov eax, 13
        mov rdx, protection
        call set_gate
        xor eax, eax                    ; SYSCALL: ring 0 is 0x18, ring 3 from 0x18 on
        mov edx, 0x00180018
        mov ecx, 0xc0000081
        wrmsr
        mov eax, syscall_entry
        xor edx, edx
        inc ecx
        wrmsr
        mov eax, 0x200
        xor edx, edx
        mov ecx, 0xc0000084
        wrmsr
        push 0x23
        push 0x80000
        push 0x202
        push 0x2b
        push user
        iretq
user:   mov eax, cs
        and eax, 3
        mov [RESULT], eax
        mov edi, 7
        syscall
        mov [RESULT + 4], eax
        mov rbx, 0x7000000000
        mov eax, [rbx]                  ; nothing is there: #PF from ring 3
after_fault:
        cli                             ; #GP from ring 3
        ud2
syscall_entry:
        lea eax, [rdi + 100]
        push 0x23                       ; on the caller's stack; SYSRET would not say more
        push 0x80000
        push r11
        push 0x2b
        push rcx
        iretq
page_fault:
        pop rax
        mov [RESULT + 8], eax           ; error code
        mov rax, cr2
        shr rax, 32
        mov [RESULT + 12], eax
        mov qword ptr [rsp], after_fault
        iretq
protection:
        pop rax
        mov [RESULT + 16], eax
        mov rax, [rsp + 8]
        and eax, 3
        mov [RESULT + 20], eax          ; from which ring
        jmp finish
`,
    [3, 107, 4, 0x70, 0, 3],
  ),
  guest(
    'software interrupts from ring 0 and 3',
    `${toLongMode}
        mov eax, 0x80
        mov rdx, gate
        mov cl, 0xee
        call set_gate
        mov eax, 3
        mov rdx, breakpoint
        call set_gate
        mov dword ptr [RESULT + 8], 0
        mov eax, 11
        int 0x80
        mov [RESULT], eax
        int3
        push 0x23
        push 0x80000
        push 0x202
        push 0x2b
        push user
        iretq
user:   int3
        mov eax, 22
        int 0x80
        mov [RESULT + 4], eax
        mov eax, 77
        int 0x80
breakpoint:
        inc dword ptr [RESULT + 8]
        iretq
gate:   add eax, 1000
        cmp eax, 1077
        jz finish
        iretq
`,
    [1011, 1022, 2],
    '',
    ['int3'],
  ),
  guest(
    'interrupts: 8254 through the 8259, halted in between',
    `${toLongMode}${setPic}
        mov al, 0xfe
        out 0x21, al
        mov eax, 0x20
        mov rdx, tick
        mov cl, 0x8e
        call set_gate
        mov al, 0x34                    ; channel 0, rate generator
        out 0x43, al
        mov al, 0xa9
        out 0x40, al
        mov al, 4
        out 0x40, al                    ; 1193 counts: a millisecond
        mov dword ptr [RESULT], 0
        sti
wait:   hlt
        cmp dword ptr [RESULT], 10
        jb wait
        cli
        mov dword ptr [RESULT + 4], 1
        jmp finish
tick:   push rax
        inc dword ptr [RESULT]
        mov al, 0x20
        out 0x20, al
        pop rax
        iretq
`,
    [undefined, 1],
  ),
  guest(
    'interrupts: the local APIC to itself and by its timer, with priorities',
    `${toLongMode}${setPic}
        mov al, 0xff
        out 0x21, al
        mov eax, 0x40
        mov rdx, timer
        mov cl, 0x8e
        call set_gate
        mov eax, 0x50
        mov rdx, own
        call set_gate
        mov ebx, 0xfee00000
        mov dword ptr [rbx + 0xf0], 0x1ff
        mov dword ptr [rbx + 0x320], 0x40       ; one shot
        mov dword ptr [rbx + 0x3e0], 0xb        ; by 1
        mov qword ptr [RESULT], 0
        mov eax, 5
        mov cr8, rax                            ; 0x50 waits
        sti
        mov dword ptr [rbx + 0x300], 0x40050    ; to itself
        nop
        mov eax, [RESULT + 4]
        mov [RESULT + 8], eax
        xor eax, eax
        mov cr8, rax
.open:  mov eax, [RESULT + 4]
        cmp eax, 1
        jb .open
        mov [RESULT + 12], eax
        mov dword ptr [rbx + 0x380], 1000000
.wait:  cmp dword ptr [RESULT], 1
        jb .wait
        cli
        jmp finish
timer:  inc dword ptr [RESULT]
        mov dword ptr [rbx + 0xb0], 0
        iretq
own:    inc dword ptr [RESULT + 4]
        mov dword ptr [rbx + 0xb0], 0
        iretq
`,
    [1, 1, 0, 1],
  ),
  guest(
    'interrupts: pins of the I/O APIC, the 8254 and the HPET in its place, a level-triggered line',
    `${toLongMode}${setPic}
        mov al, 0xff
        out 0x21, al
        mov eax, 0x30
        mov rdx, tick
        mov cl, 0x8e
        call set_gate
        mov eax, 0x41
        mov rdx, level
        call set_gate
        mov ebx, 0xfee00000
        mov ebp, 0xfec00000
        mov esi, 0xfed00000
        mov dword ptr [rbx + 0xf0], 0x1ff
        mov dword ptr [rbx + 0x350], 0x10700    ; LINT0 masked
        mov dword ptr [rbp], 0x14
        mov dword ptr [rbp + 0x10], 0x30        ; pin 2, edges
        mov dword ptr [rbp], 0x10 + 2 * 20
        mov dword ptr [rbp + 0x10], 0x8041      ; pin 20, level
        mov qword ptr [RESULT], 0
        mov qword ptr [RESULT + 8], 0
        mov qword ptr [RESULT + 16], 0
        mov qword ptr [RESULT + 24], 0
        mov al, 0x34
        out 0x43, al
        mov al, 0xa9
        out 0x40, al
        mov al, 4
        out 0x40, al                            ; a millisecond
        sti
        call ticks
        mov dword ptr [RESULT + 4], 1
        mov dword ptr [rsi + 0x10], 3           ; the HPET runs, and has the timer's line
        call quiet
        mov [RESULT + 8], eax
        mov dword ptr [rsi + 0x100], 0x14c      ; periodic
        mov dword ptr [rsi + 0x108], 100000
        mov dword ptr [rsi + 0x108], 100000
        call ticks
        mov dword ptr [RESULT + 12], 1
        mov dword ptr [rsi + 0x100], 0
        call quiet
        mov [RESULT + 16], eax
        mov dword ptr [rsi + 0x10], 1           ; back to the 8254
        call ticks
        mov dword ptr [RESULT + 20], 1
        mov dword ptr [rbp], 0x14
        mov dword ptr [rbp + 0x10], 0x10000
        mov dword ptr [rsi + 0x140], 0x2806     ; comparator 2: level, pin 20
        mov r10d, 10000
.arm:   add r10d, r10d
        mov eax, [rsi + 0xf0]
        add eax, r10d
        mov dword ptr [rsi + 0x148], eax
        mov dword ptr [rsi + 0x14c], 0
        xor r8d, r8d
.again: inc r8d
        cmp dword ptr [RESULT + 24], 3
        jae .three
        cmp dword ptr [RESULT + 24], 0
        jne .again
        cmp r8d, 200000                         ; a busy host may have let the counter pass before it was compared
        jb .again
        jmp .arm
.three:
        call quiet                              ; longer than another would take
        cli
        mov eax, [RESULT + 24]
        sub eax, 3
        test r9d, 2
        jnz .exact
        shr eax, 1                              ; a local APIC that ends interrupts as they are taken: one more was under way
.exact: mov [RESULT + 24], eax
        mov dword ptr [rbp], 0x10 + 2 * 20
        mov eax, [rbp + 0x10]
        mov [RESULT + 28], eax
        jmp finish
; until there were five more
ticks:  mov ecx, [RESULT]
        add ecx, 5
.wait:  cmp [RESULT], ecx
        jb .wait
        ret
; ticks within five milliseconds, one that was under way apart; of late ones, which a busy host gives, there is an end
quiet:  mov r8d, 10
.more:  mov edx, [rsi + 0xf0]
        mov ecx, [RESULT]
.wait:  mov eax, [rsi + 0xf0]
        sub eax, edx
        cmp eax, 500000
        jb .wait
        mov eax, [RESULT]
        sub eax, ecx
        shr eax, 1
        jz .none
        dec r8d
        jnz .more
.none:  ret
tick:   inc dword ptr [RESULT]
        mov dword ptr [rbx + 0xb0], 0
        iretq
; the line stays up until the third time
level:  mov r9d, [rbx + 0x120]                  ; vector 0x41 in service
        inc dword ptr [RESULT + 24]
        cmp dword ptr [RESULT + 24], 3
        jb .eoi
        mov dword ptr [rsi + 0x20], 4
.eoi:   mov dword ptr [rbx + 0xb0], 0
        iretq
`,
    [undefined, 1, 0, 1, 0, 1, 0, 0x8041],
  ),
];

/** Counts for ever, in ring 3, with SSE and x87 registers in use, while ticks come in: a guest to move about. */
export const busyGuest: AcceleratorGuest = guest(
  'a guest that counts in ring 3 and takes ticks',
  `${toLongMode}${setPic}
        mov al, 0xfe
        out 0x21, al
        mov eax, 0x20
        mov rdx, tick
        mov cl, 0x8e
        call set_gate
        mov al, 0x34
        out 0x43, al
        mov al, 0xa9
        out 0x40, al
        mov al, 4
        out 0x40, al
        mov qword ptr [RESULT], 0
        mov qword ptr [RESULT + 8], 0
        push 0x23
        push 0x80000
        push 0x202
        push 0x2b
        push user
        iretq
user:   mov eax, 7
        cvtsi2sd xmm7, eax
        cvtsi2sd xmm1, eax
        fninit
        fldpi
        fld1
        mov r15, 0x1122334455667788
        xor ebx, ebx
.again: inc rbx
        mov [RESULT], rbx
        addsd xmm1, xmm7
        mov rax, rbx
        mul r15
        mov r14, rax
        jmp .again
tick:   push rax
        inc qword ptr [RESULT + 8]
        mov al, 0x20
        out 0x20, al
        pop rax
        iretq
`,
  [],
);

/**
 * Lets the local APIC's timer run out once, waits for its interrupt and a while longer, and again for ever: times that it was begun at
 * RESULT, interrupts at RESULT + 4, and at RESULT + 8 how often there was one too many.
 */
export const oneShotGuest: AcceleratorGuest = longModeGuest(
  'a guest whose timer runs out once, again and again',
  `${setPic}
        mov al, 0xff
        out 0x21, al
        mov eax, 0x40
        mov rdx, tick
        mov cl, 0x8e
        call set_gate
        mov qword ptr [RESULT], 0
        mov dword ptr [RESULT + 8], 0
        mov ebx, 0xfee00000
        mov dword ptr [rbx + 0xf0], 0x1ff
        mov dword ptr [rbx + 0x3e0], 0x0b       ; undivided
        mov dword ptr [rbx + 0x320], 0x40       ; once
.again: cli
        inc dword ptr [RESULT]
        mov dword ptr [rbx + 0x380], 100000
        test dword ptr [RESULT], 1
        jz .open
        sti                             ; and sleeps, with nothing between
        hlt
.open:  sti
.wait:  mov eax, [RESULT + 4]
        cmp eax, [RESULT]
        jb .wait
        mov ecx, 1000
.longer: pause
        dec ecx
        jnz .longer
        mov eax, [RESULT + 4]
        cmp eax, [RESULT]
        je .again
        inc dword ptr [RESULT + 8]
        mov [RESULT], eax
        jmp .again
tick:   inc dword ptr [RESULT + 4]
        mov dword ptr [rbx + 0xb0], 0
        iretq
`,
  [],
);

/** The second processor's way from real mode at 0x7000, which the label `trampoline` stands for, to `second` in 64-bit mode. */
const secondToLongMode = `
        lgdt [0x7000 + (far_gdt - trampoline)]
        mov eax, 0x620
        mov cr4, eax
        mov eax, 0x20000
        mov cr3, eax
        mov ecx, 0xc0000080
        rdmsr
        or eax, 0x101
        wrmsr
        mov eax, cr0
        or eax, 0x80000003
        and eax, 0x9ffffffb
        mov cr0, eax
        jmp dword ptr 0x18:second
far_gdt: .word 0x3f
        .long gdt
`;

/**
 * Two processors: the first starts the second, which adds to a shared number with LOCK while the first does, writes a port, and is
 * told by an inter-processor interrupt to end. Ends with status 1 if all came out as it must, otherwise 3.
 */
export const twoProcessors: AcceleratorGuest = guest(
  'two processors',
  `${toLongMode}
        mov esi, trampoline             ; to 0x7000: where the start-up interrupt points
        mov edi, 0x7000
        mov ecx, trampoline_end - trampoline
        rep movsb
        mov eax, 0x40
        mov rdx, told
        mov cl, 0x8e
        call set_gate
        mov qword ptr [RESULT], 0
        mov qword ptr [RESULT + 8], 0
        mov ebx, 0xfee00000
        mov dword ptr [rbx + 0xf0], 0x1ff
        mov dword ptr [rbx + 0x310], 0x01000000
        mov dword ptr [rbx + 0x300], 0x4500     ; INIT
        mov dword ptr [rbx + 0x310], 0x01000000
        mov dword ptr [rbx + 0x300], 0x4607     ; start at 0x7000
.up:    cmp dword ptr [RESULT + 4], 1
        jb .up
        mov ecx, 1000
.add:   lock inc dword ptr [RESULT]
        dec ecx
        jnz .add
.both:  cmp dword ptr [RESULT + 4], 2
        jb .both
        mov dword ptr [rbx + 0x310], 0x01000000
        mov dword ptr [rbx + 0x300], 0x40       ; the interrupt
.end:   cmp dword ptr [RESULT + 4], 3
        jb .end
        cmp dword ptr [RESULT], 2000
        jne .bad
        cmp dword ptr [RESULT + 8], 1           ; the APIC ID of the second
        je finish
.bad:   mov al, 1
        out ${EXIT_PORT}, al
        jmp .bad
.bits 16
trampoline:
        cli
        xor ax, ax
        mov ds, ax
${secondToLongMode}trampoline_end:
.bits 64
second: mov esp, 0x8f000
        mov word ptr [0x7ff0], 0xfff
        mov qword ptr [0x7ff2], IDT
        lidt [0x7ff0]
        mov ebx, 0xfee00000
        mov dword ptr [rbx + 0xf0], 0x1ff
        mov eax, [rbx + 0x20]
        shr eax, 24
        mov [RESULT + 8], eax                   ; its APIC ID
        mov dx, 0x3f8
        mov al, 'S'
        out dx, al
        mov dword ptr [RESULT + 4], 1
        mov ecx, 1000
.add:   lock inc dword ptr [RESULT]
        dec ecx
        jnz .add
        mov dword ptr [RESULT + 4], 2
        sti
.wait:  hlt
        jmp .wait
told:   mov dword ptr [RESULT + 4], 3
        mov dword ptr [rbx + 0xb0], 0
        iretq
`,
  [2000, 3, 1],
  'S',
);

/** Starts the second processor at 0x7000 with real-mode code; EBX is the local APIC. */
const startSecond = (realMode: string) => `
        mov esi, trampoline
        mov edi, 0x7000
        mov ecx, trampoline_end - trampoline
        rep movsb
        mov qword ptr [RESULT], 0
        mov qword ptr [RESULT + 8], 0
        mov ebx, 0xfee00000
        mov dword ptr [rbx + 0xf0], 0x1ff
        mov dword ptr [rbx + 0x310], 0x01000000
        mov dword ptr [rbx + 0x300], 0x4500     ; INIT
        mov dword ptr [rbx + 0x300], 0x4607     ; start at 0x7000
        jmp started
.bits 16
trampoline:
        cli
        xor ax, ax
        mov ds, ax
${realMode}
trampoline_end:
.bits 64
started:
`;

/** INIT stops the second processor in the middle of its work, and a start-up IPI begins it anew. */
export const restartedProcessor: AcceleratorGuest = longModeGuest(
  'a processor stopped and started again',
  `${startSecond(`
        lock inc dword ptr [RESULT]
.count: inc dword ptr [RESULT + 4]
        jmp .count
`)}
.up:    pause
        cmp dword ptr [RESULT + 4], 1000
        jb .up
        mov dword ptr [rbx + 0x300], 0x4500     ; INIT: it stands
        mov ecx, 2000
.wait:  pause
        dec ecx
        jnz .wait
        mov esi, [RESULT + 4]
        mov ecx, 2000
.stood: pause
        dec ecx
        jnz .stood
        sub esi, [RESULT + 4]
        mov [RESULT + 8], esi
        mov dword ptr [rbx + 0x300], 0x4607
.again: pause
        cmp dword ptr [RESULT], 2
        jb .again
        jmp finish
`,
  [2, undefined, 0],
);

/** The second processor meets a triple fault. */
export const faultingProcessor: AcceleratorGuest = longModeGuest(
  'a triple fault of the second processor',
  `${startSecond(`
        lidt [0x7000 + (none - trampoline)]
        int3
none:   .word 0
        .long 0
`)}
.here:  pause
        jmp .here
`,
  [],
);

/**
 * Two processors count, each for itself. The second sleeps every hundred counts, and the first wakes it by an inter-processor
 * interrupt every so often and waits until that has been heard: counts at RESULT, RESULT + 4, and of interrupts at RESULT + 8.
 */
export const busyPair: AcceleratorGuest = longModeGuest(
  'two processors that count and interrupt each other',
  `
        mov eax, 0x40
        mov rdx, told
        mov cl, 0x8e
        call set_gate
        mov r15, 0x1111222233334444
${startSecond(secondToLongMode)}
        mov dword ptr [rbx + 0x310], 0x01000000
.up:    pause
        cmp dword ptr [RESULT + 4], 1
        jb .up
.again: mov ecx, 64
.count: inc dword ptr [RESULT]
        dec ecx
        jnz .count
        mov esi, [RESULT + 8]
        mov dword ptr [rbx + 0x300], 0x40
.heard: pause
        cmp esi, [RESULT + 8]
        je .heard
        jmp .again
second: mov esp, 0x8f000
        mov word ptr [0x7ff0], 0xfff
        mov qword ptr [0x7ff2], IDT
        lidt [0x7ff0]
        mov ebx, 0xfee00000
        mov dword ptr [rbx + 0xf0], 0x1ff
        mov r15, 0x5555666677778888
        fninit
        fldpi
        sti
.next:  mov ecx, 100
.count2: inc dword ptr [RESULT + 4]
        dec ecx
        jnz .count2
        hlt
        jmp .next
told:   inc dword ptr [RESULT + 8]
        mov dword ptr [rbx + 0xb0], 0
        iretq
`,
  [],
);

/**
 * Two processors, each with so many page faults and system calls, both from ring 0: the faulting load is skipped, and SYSCALL comes back
 * by a jump. Ends with status 1.
 */
export const faultingPair = (
  first: { readonly faults: number; readonly calls: number },
  second: { readonly faults: number; readonly calls: number },
): AcceleratorGuest => {
  const setCalls = `
        mov eax, service
        xor edx, edx
        mov ecx, 0xc0000082             ; LSTAR
        wrmsr
        xor eax, eax
        mov edx, 0x180018
        mov ecx, 0xc0000081             ; STAR
        wrmsr
`;
  const work = ({ faults, calls }: { faults: number; calls: number }) => `
        mov r12, 0x7000000000
        mov ebp, ${faults}
.fault: mov eax, [r12]
        dec ebp
        jnz .fault
        mov ebp, ${calls}
.call:  syscall
        dec ebp
        jnz .call
`;
  return longModeGuest(
    'two processors with page faults and system calls',
    `
        mov eax, 14
        mov rdx, page_fault
        mov cl, 0x8e
        call set_gate
${setCalls}
        in al, 0x64                     ; whoever counts looks for the handlers at an exit
${startSecond(secondToLongMode)}
${work(first)}
.both:  pause
        cmp dword ptr [RESULT], 1
        jb .both
        jmp finish
service: jmp rcx
page_fault:
        add qword ptr [rsp + 8], 4
        add rsp, 8
        iretq
second: mov esp, 0x8f000
        mov word ptr [0x7ff0], 0xfff
        mov qword ptr [0x7ff2], IDT
        lidt [0x7ff0]
${setCalls}
${work(second)}
        mov dword ptr [RESULT], 1
.here:  pause
        jmp .here
`,
    [1],
  );
};

/** Where a test's device has a notify register, and beside it one that only counts. */
export const NOTIFY_GPA = 0xfe000000;

/**
 * A processor, the first or the second, writes to a notify register until RESULT + 8 is not zero; then so many times, and each time
 * waits until the device has counted on at RESULT + 4; then so often without waiting; and once to the register beside it. Ticks of
 * the time-stamp counter for both are left at RESULT + 16. The other one spins meanwhile.
 */
export const notifyingProcessor = (which: 0 | 1, times: number): AcceleratorGuest => {
  const notifies = `
        mov ebp, ${NOTIFY_GPA}
.begin: mov word ptr [rbp], 7
        pause
        cmp dword ptr [RESULT + 8], 0
        je .begin
        call now
        mov r8, rax
        mov ecx, ${times}
.next:  mov esi, [RESULT + 4]
        mov word ptr [rbp], 7
.wait:  pause
        cmp esi, [RESULT + 4]
        je .wait
        dec ecx
        jnz .next
        call now
        sub r8, rax
        neg r8
        mov [RESULT + 16], r8
        mov r8, rax
        mov ecx, ${times}
.burst: mov word ptr [rbp], 7
        dec ecx
        jnz .burst
        call now
        sub rax, r8
        mov [RESULT + 20], eax
        mov dword ptr [rbp + 4], 1
        mov dword ptr [RESULT], 1
`;
  const now = `
now:    rdtsc
        shl rdx, 32
        or rax, rdx
        ret
`;
  if (which === 0)
    return longModeGuest('a processor that notifies', `mov qword ptr [RESULT], 0\n${notifies}jmp finish\n${now}`, []);
  return longModeGuest(
    'a second processor that notifies',
    `${startSecond(secondToLongMode)}
.done:  pause
        cmp dword ptr [RESULT], 1
        jne .done
        jmp finish
second: mov esp, 0x8f000
${notifies}
.here:  pause
        jmp .here
${now}`,
    [],
  );
};

/** A test's device sends the message that is written here. */
export const MESSAGE_GPA = 0xfe001000;

/**
 * Has a device send messages with vectors 0x40 to 0x43, one after the other, and waits for each interrupt: so many rounds. Interrupts of
 * each vector at RESULT to RESULT + 12, rounds at RESULT + 16.
 */
export const messageGuest = (rounds: number): AcceleratorGuest =>
  longModeGuest(
    'a guest that takes messages of a device',
    `
        mov al, 0xff
        out 0x21, al
${[0, 1, 2, 3]
  .map(
    (i) => `
        mov eax, ${0x40 + i}
        mov rdx, told${i}
        mov cl, 0x8e
        call set_gate
        mov dword ptr [RESULT + ${4 * i}], 0
`,
  )
  .join('')}
        mov dword ptr [RESULT + 16], 0
        mov ebx, 0xfee00000
        mov dword ptr [rbx + 0xf0], 0x1ff
        mov ebp, ${MESSAGE_GPA}
        sti
.round: xor esi, esi
.next:  mov eax, [rsi * 4 + RESULT]
        lea ecx, [rsi + 0x40]
        mov [rbp], ecx
.wait:  pause
        cmp eax, [rsi * 4 + RESULT]
        je .wait
        inc esi
        cmp esi, 4
        jb .next
        inc dword ptr [RESULT + 16]
        cmp dword ptr [RESULT + 16], ${rounds}
        jb .round
        jmp finish
${[0, 1, 2, 3]
  .map(
    (i) => `
told${i}: inc dword ptr [RESULT + ${4 * i}]
        mov dword ptr [rbx + 0xb0], 0
        iretq
`,
  )
  .join('')}`,
    [],
  );
