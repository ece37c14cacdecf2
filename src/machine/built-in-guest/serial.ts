/** The console: COM1, a 16550A without its FIFOs: turning them on would lose what has come already. Input by interrupt. And numbers as text. */

import { wake } from './interrupts.js';

export const serialSource = `
serial_init:
        mov dx, 0x3fb                   ; LCR: 8 bits, no parity
        mov al, 3
        out dx, al
        mov dx, 0x3fc                   ; MCR: DTR, RTS, interrupts reach the 8259
        mov al, 0x0b
        out dx, al
        mov dx, 0x3f9                   ; IER: received data
        mov al, 1
        out dx, al
        ret

        ; Writes the byte in AL. Changes RAX and RDX.
putc:
        push rax
        mov dx, 0x3fd
.wait:  in al, dx
        test al, 0x20                   ; the transmitter is empty
        jz .wait
        pop rax
        mov dx, 0x3f8
        out dx, al
        ret

newline:
        mov al, 13
        call putc
        mov al, 10
        jmp putc

        ; Writes the text at RSI up to its zero byte; leaves RSI behind that.
puts:
        lodsb
        test al, al
        jz .end
        cmp al, 10
        jne .plain
        mov al, 13
        call putc
        mov al, 10
.plain: call putc
        jmp puts
.end:   ret

        ; Writes RAX as a decimal number. Changes RAX, RCX, RDX, RDI.
print_dec:
        mov rdi, digits_end
        mov ecx, 10
.digit: xor edx, edx
        div rcx
        add dl, '0'
        dec rdi
        mov [rdi], dl
        test rax, rax
        jnz .digit
print_digits:
        mov rcx, rsi
        mov rsi, rdi
        push rcx
        call puts
        pop rsi
        ret

        ; Writes RAX with 0x and as few digits as there are.
print_hex:
        mov rdi, digits_end
.digit: mov edx, eax
        and edx, 15
        mov dl, [hex_digits + rdx]
        dec rdi
        mov [rdi], dl
        shr rax, 4
        jnz .digit
        sub rdi, 2
        mov word ptr [rdi], '0' | 'x' << 8
        jmp print_digits

        ; Takes what has come into the ring. What finds no room stays in the port, where getc looks.
serial_interrupt:
        ${wake}
        push rax
        push rcx
        push rdx
.next:  mov ecx, [input_head]
        mov eax, ecx
        sub eax, [input_tail]
        cmp eax, 256
        jae .end
        mov dx, 0x3fd
        in al, dx
        test al, 1
        jz .end
        mov dx, 0x3f8
        in al, dx
        movzx edx, cl
        mov [input_ring + rdx], al
        inc dword ptr [input_head]
        jmp .next
.end:   mov al, 0x20
        out 0x20, al
        pop rdx
        pop rcx
        pop rax
        iretq

        ; Waits for a byte, in AL, with the processor halted.
getc:
        cli
        mov ecx, [input_tail]
        cmp ecx, [input_head]
        jne .ring
        mov dx, 0x3fd
        in al, dx
        cmp al, 0xff                    ; nobody answers: there is no such port
        je .none
        test al, 1
        jnz .port
.none:  call sleep
        jmp getc
.ring:  movzx ecx, cl
        mov al, [input_ring + rcx]
        inc dword ptr [input_tail]
        ret
.port:  mov dx, 0x3f8
        in al, dx
        ret

hex_digits: .ascii "0123456789abcdef"
            .fill 24
digits_end: .byte 0
            .align 8
input_head: .long 0
input_tail: .long 0
input_ring: .fill 256
`;
