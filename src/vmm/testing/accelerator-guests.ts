/** Guests that every accelerator must run alike. */
import { type AcceleratorGuest, guest, longModeGuest, setPic, toLongMode } from './guest-parts.js';

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
quiet:  mov r8d, 200
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
 * RESULT, interrupts at RESULT + 4, and at RESULT + 8 how often there was one too many. An interrupt that comes between STI and HLT, as
 * QEMU's SVM lets one come now and then, goes on behind HLT, which would sleep for ever otherwise.
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
        push rax
        mov rax, [rsp + 8]
        cmp byte ptr [rax], 0xf4
        jne .open
        inc qword ptr [rsp + 8]
.open:  pop rax
        mov dword ptr [rbx + 0xb0], 0
        iretq
`,
  [],
);
