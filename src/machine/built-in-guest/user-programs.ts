/** What runs in ring 3: one page of code. A program gets a number in RDI and ends with system call 0. */

export const userSource = `
        .align 4096
user_image:
user_system_calls:
        mov rbx, rdi
.again: mov eax, 1
        int3
        dec rbx
        jnz .again
        jmp user_end

        ; Touches a page after the other: each is there only after a page fault.
user_page_faults:
        xor ebx, ebx
.again: mov eax, ebx
        and eax, 511
        shl eax, 12
        mov byte ptr [ZONE + rax], 'v'
        inc rbx
        cmp rbx, rdi
        jb .again
        jmp user_end

        ; HLT is not for ring 3.
user_protection_faults:
        hlt
        dec rdi
        jnz user_protection_faults
        jmp user_end

        ; Runs until the timer has come so often.
user_ticks:
        pause
        cmp [USER_SHARED], rdi
        jb user_ticks
        jmp user_end

        ; A million rounds of arithmetic each.
user_work:
        imul rcx, rdi, 1000000
        mov rax, 1
.again: rol rax, 5
        xor rax, rcx
        add rax, 0x1234567
        dec rcx
        jnz .again
        mov rdi, rax
        xor eax, eax
        int3

        ; A thousand loads each, from its stack and from the page that ring 0 shares.
user_walk:
        imul rcx, rdi, 500
.again: mov rax, [USER_STACK_TOP - 8]
        mov rax, [USER_SHARED]
        dec rcx
        jnz .again
        jmp user_end

        ; Writes to memory that belongs to ring 0.
user_crash:
        mov byte ptr [KERNEL], 0
        jmp user_end

        ; Its own code selector; the low two bits are the ring.
user_selector:
        mov edi, cs
        xor eax, eax
        int3

user_end:
        xor edi, edi
        xor eax, eax
        int3
        .align 4096
user_image_end:
`;
