/** Guests with two processors, and guests that devices are told of, or tell, while processors run. */
import { type AcceleratorGuest, EXIT_PORT, guest, longModeGuest, toLongMode } from './guest-parts.js';

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

/**
 * Two processors: the first starts the second, which adds to a shared number with LOCK while the first does, writes a port, and is
 * told by an inter-processor interrupt to end. Ends with status 1 if all came out as it must, otherwise 3.
 */
export const twoProcessors: AcceleratorGuest = guest(
  'two processors',
  `${toLongMode}
        mov eax, 0x40
        mov rdx, told
        mov cl, 0x8e
        call set_gate
${startSecond(secondToLongMode)}
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
 * by a jump. `handlers`: whether the second has tables and handlers of its own. Ends with status 1.
 */
export const faultingPair = (
  first: { readonly faults: number; readonly calls: number },
  second: { readonly faults: number; readonly calls: number },
  handlers: 'shared' | 'own' = 'shared',
): AcceleratorGuest => {
  const setCalls = (service: string) => `
        mov eax, ${service}
        xor edx, edx
        mov ecx, 0xc0000082             ; LSTAR
        wrmsr
        xor eax, eax
        mov edx, 0x180018
        mov ecx, 0xc0000081             ; STAR
        wrmsr
`;
  const ownHandlers = `
        mov qword ptr [0x7ff2], 0x40000
        mov eax, 0x40000 - IDT + 16 * 14
        shr eax, 4
        mov rdx, own_page_fault
        mov cl, 0x8e
        call set_gate
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
${setCalls('service')}
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
own_service: nop
        jmp rcx
own_page_fault:
        add rsp, 8
        add qword ptr [rsp], 4
        iretq
second: mov esp, 0x8f000
        mov word ptr [0x7ff0], 0xfff
        mov qword ptr [0x7ff2], IDT
${handlers === 'own' ? `${ownHandlers}${setCalls('own_service')}` : setCalls('service')}
        lidt [0x7ff0]
        in al, 0x64
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
