/**
 * Interrupts, exceptions and system calls: the gates from ring 3 to ring 0 and back (Intel SDM vol. 3, ch. 6). The
 * 8259s carry the timer and the serial port, the local APIC what virtio devices send as messages.
 */

/**
 * Vectors: from 32 on the 8259s' lines and one for each virtio device. System calls come by INT3, which ring 3 may use as its gate
 * says so: unlike SYSCALL and INT n, KVM implementations that emulate ring 0 in software carry it out too.
 */
export const vectors = { timer: 0x20, serial: 0x24, virtio: 0x40, systemCall: 3, spurious: 0xff } as const;
/** Exceptions that push an error code themselves. */
const withErrorCode = new Set([8, 10, 11, 12, 13, 14, 17, 21]);

const stubs = Array.from(
  { length: 32 },
  (_, vector) => `
        .align 16
        ${withErrorCode.has(vector) ? '' : 'push 0'}
        push ${vector}
        jmp exception`,
).join('');

/**
 * First in a handler that `sleep` may wait for. No interrupt is taken right behind STI; where a processor is emulated that rule may be
 * lost when it leaves the guest just there (QEMU's SVM), and HLT would sleep on what has come already: it is passed by.
 */
export const wake = `cmp qword ptr [rsp], sleep_halt
        jne .awake
        inc qword ptr [rsp]
.awake:`;

export const interruptSource = `
        ; A gate of the IDT: vector in EAX, handler in RDX.
set_gate:
        mov edi, eax
        shl edi, 4
        mov ax, dx
        movzx eax, ax
        or eax, CODE64 << 16
        mov [IDT + rdi], eax
        mov eax, edx
        and eax, 0xffff0000
        or eax, 0x8e00                  ; present, for ring 0, interrupts off
        mov [IDT + rdi + 4], eax
        shr rdx, 32
        mov [IDT + rdi + 8], rdx
        ret

interrupts_init:
        xor ebx, ebx
.exceptions:
        mov eax, ebx
        mov edx, ebx
        shl edx, 4
        add rdx, exception_stubs
        call set_gate
        inc ebx
        cmp ebx, 32
        jb .exceptions
        mov ebx, 32
.others:
        mov eax, ebx
        mov rdx, ignore_interrupt
        call set_gate
        inc ebx
        cmp ebx, 256
        jb .others
        mov eax, ${vectors.timer}
        mov rdx, timer_interrupt
        call set_gate
        mov eax, ${vectors.serial}
        mov rdx, serial_interrupt
        call set_gate
        mov ebx, ${vectors.virtio}
.virtio:
        mov eax, ebx
        mov rdx, virtio_interrupt
        call set_gate
        inc ebx
        cmp ebx, ${vectors.virtio + 8}
        jb .virtio
        ; The one gate that ring 3 may use by itself.
        mov eax, ${vectors.systemCall}
        mov rdx, system_call
        call set_gate
        or dword ptr [IDT + ${vectors.systemCall} * 16 + 4], 3 << 13
        lidt [idt_pointer]
        ; The 8259s: vectors 32 to 47, only the timer and the serial port open.
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
        mov al, 0xee
        out 0x21, al
        mov al, 0xff
        out 0xa1, al
        ; The local APIC: on, and the 8259s reach the processor through it.
        mov edi, 0xfee00000
        mov dword ptr [rdi + 0xf0], 0x100 | ${vectors.spurious}
        mov dword ptr [rdi + 0x350], 0x700
        ret

idt_pointer:
        .word 4095
        .quad IDT

        .align 16
exception_stubs: ${stubs}

        ; Above the registers saved: vector, error code, then what the processor pushed.
exception:
        push rax
        push rcx
        push rdx
        mov rax, [rsp + 24]
        cmp eax, 14
        je page_fault
        cmp eax, 13
        je general_protection
        jmp fatal_exception

exception_return:
        pop rdx
        pop rcx
        pop rax
        add rsp, 16
        iretq

        ; A page of the zone that is not there: the one frame is mapped where it is wanted.
page_fault:
        test byte ptr [rsp + 48], 3     ; from ring 3?
        jz fatal_exception
        test byte ptr [rsp + 32], 1     ; a page that is there was forbidden
        jnz fatal_exception
        mov rax, cr2
        sub rax, ZONE
        cmp rax, 0x200000
        jae fatal_exception
        inc qword ptr [page_faults]
        call zone_unmap
        mov rax, cr2
        sub rax, ZONE
        shr rax, 12
        mov [zone_page], rax
        mov qword ptr [PT_ZONE + rax*8], ZONE_FRAME | 7
        jmp exception_return

        ; Takes the page that is there out of the zone. Changes RCX and RDX.
zone_unmap:
        mov rcx, [zone_page]
        test rcx, rcx
        js .none
        mov qword ptr [PT_ZONE + rcx*8], 0
        shl rcx, 12
        add rcx, ZONE
        invlpg [rcx]
        mov qword ptr [zone_page], -1
.none:  ret

        ; Ring 3 tried HLT, which has one byte: it goes on behind it.
general_protection:
        test byte ptr [rsp + 48], 3
        jz fatal_exception
        mov rcx, [rsp + 40]
        cmp byte ptr [rcx], 0xf4
        jne fatal_exception
        inc qword ptr [protection_faults]
        inc qword ptr [rsp + 40]
        jmp exception_return

fatal_exception:
        mov rbx, [rsp + 24]
        mov r12, [rsp + 32]
        mov r13, [rsp + 40]
        mov r14, [rsp + 48]
        mov rsi, text_exception
        call puts
        mov rax, rbx
        call print_dec
        mov rsi, text_error_code
        call puts
        mov rax, r12
        call print_hex
        mov rsi, text_at
        call puts
        mov rax, r13
        call print_hex
        mov rsi, text_ring
        call puts
        mov rax, r14
        and eax, 3
        call print_dec
        call newline
        test r14b, 3
        mov edi, -1
        jnz user_exit                   ; the program ends
        mov rsi, text_stopped
        call puts
.stop:  cli
        hlt
        jmp .stop

ignore_interrupt:
        iretq

timer_interrupt:
        push rax
        mov rax, [SHARED]
        inc rax
        mov [SHARED], rax
        cmp rax, [ticks_wanted]
        jae .end
        call timer_start
.end:   mov al, 0x20
        out 0x20, al
        pop rax
        iretq

        ; One tick of the 8254's channel 0 after 256 of its clock: about 0.2 ms. Changes AL.
timer_start:
        mov al, 0x30
        out 0x43, al
        mov al, 0
        out 0x40, al
        mov al, 1
        out 0x40, al
        ret

        ; Halts until an interrupt has come. Called with interrupts off, so that none comes unseen between the caller's look and HLT.
sleep:  sti
sleep_halt:
        hlt
        ret

virtio_interrupt:
        ${wake}
        push rax
        inc qword ptr [virtio_interrupts]
        mov eax, 0xfee000b0             ; EOI
        mov dword ptr [rax], 0
        pop rax
        iretq

        ; EAX: 0 ends the program with the value in RDI, 1 does nothing.
system_call:
        test eax, eax
        jz user_exit
        inc qword ptr [system_calls]
        iretq

        ; Runs a program of ring 3 at RDI with RSI in its RDI, interrupts on. Gives what it ends with in RAX.
run_user:
        push rbx
        push rbp
        push r12
        push r13
        push r14
        push r15
        mov [kernel_rsp], rsp
        push USER_DATA
        push USER_STACK_TOP
        push 0x202
        push USER_CODE
        push rdi
        mov rdi, rsi
        iretq

user_exit:
        mov rax, rdi
        mov rsp, [kernel_rsp]
        pop r15
        pop r14
        pop r13
        pop r12
        pop rbp
        pop rbx
        ret

text_exception:   .asciz "exception "
text_error_code:  .asciz ", error code "
text_at:          .asciz ", at "
text_ring:        .asciz " in ring "
text_stopped:     .asciz "The kernel itself has failed and stops.\\n"

        .align 8
page_faults:       .quad 0
protection_faults: .quad 0
system_calls:      .quad 0
virtio_interrupts: .quad 0
ticks_wanted:      .quad 0
zone_page:         .quad -1
kernel_rsp:        .quad 0
`;
