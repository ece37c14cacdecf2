/** The prompt and its commands. Nothing that they print depends on time, on the accelerator or on chance. */
import { queue, record } from './virtio.js';

/** Names, whether a number may follow, and what \`help\` says. */
const commands = [
  ['help', false, 'this list'],
  ['rings', false, 'goes from ring 3 to ring 0 and back in every way there is'],
  ['mem', false, 'who has which memory'],
  ['page', false, 'one page of ring 3: how its address is translated'],
  ['pci', false, 'the functions on the PCI bus'],
  ['syscall', true, 'system calls from ring 3'],
  ['fault', true, 'page faults in ring 3'],
  ['gp', true, 'privileged instructions in ring 3: general-protection faults'],
  ['tick', true, 'timer interrupts that come while ring 3 runs'],
  ['work', true, 'millions of rounds of arithmetic in ring 3'],
  ['walk', true, 'thousands of loads in ring 3, from two pages in turn'],
  ['port', true, 'writes to a port of the serial chip'],
  ['mmio', true, 'reads of a register of the HPET'],
  ['pio', true, 'times 512 bytes read from fw_cfg, a byte at a time, through a port'],
  ['random', true, 'requests to a virtio entropy device'],
  ['disk', true, 'sectors read from a virtio disk'],
  ['balloon', true, 'pages given to the host, and taken back'],
  ['crash', false, 'a program in ring 3 that writes to the kernel'],
  ['reset', false, 'starts anew'],
  ['poweroff', false, 'switches off'],
] as const;

const table = commands
  .map(([name, takesNumber]) => `        .quad name_${name}, command_${name}, ${takesNumber ? 1 : 0}`)
  .join('\n');
const names = commands.map(([name]) => `name_${name}: .asciz "${name}"`).join('\n');
const help = commands
  .map(([name, takesNumber, sentence]) => `${(takesNumber ? `${name} [N]` : name).padEnd(14)}${sentence}\\n`)
  .join('');

/** A command that runs a program of ring 3 N times and tells a counter. */
const counted = (name: string, program: string, counter: string, sentence: string) => `
command_${name}:
        mov qword ptr [${counter}], 0
        mov rdi, USER + (${program} - user_image)
        mov rsi, r12
        call run_user
        mov rax, [${counter}]
        call print_dec
        mov rsi, .text
        jmp puts
.text:  .asciz "${sentence}\\n"
`;

export const shellSource = `
shell:
        mov rsi, text_banner
        call puts
.prompt:
        mov rsp, STACK_TOP
        mov rsi, text_prompt
        call puts
        call read_line
        ; The first word, cut off by a zero byte, and what follows it.
        mov rsi, line
        call skip_spaces
        cmp byte ptr [rsi], 0
        je .prompt
        mov r13, rsi
        call skip_word
        mov rdi, rsi
        cmp byte ptr [rsi], 0
        je .ended
        mov byte ptr [rdi], 0
        inc rsi
.ended: mov r14, rsi
        mov rbx, command_table
.find:  mov rdi, [rbx]
        test rdi, rdi
        jz .unknown
        mov rsi, r13
.compare:
        mov al, [rsi]
        cmp al, [rdi]
        jne .differs
        inc rsi
        inc rdi
        test al, al
        jnz .compare
        ; Its number, 1 unless given.
        mov rsi, r14
        call skip_spaces
        mov r12, 1
        cmp byte ptr [rsi], 0
        je .run
        cmp qword ptr [rbx + 16], 0
        je .no_number
        xor r12d, r12d
        xor ecx, ecx
.digit: movzx eax, byte ptr [rsi]
        cmp al, ' '
        je .last
        test al, al
        jz .run_number
        sub al, '0'
        cmp al, 9
        ja .no_number
        inc ecx
        cmp ecx, 7
        ja .no_number
        imul r12, r12, 10
        add r12, rax
        inc rsi
        jmp .digit
.last:  call skip_spaces
        cmp byte ptr [rsi], 0
        jne .no_number
.run_number:
        test r12, r12
        jz .no_number
.run:   call qword ptr [rbx + 8]
        jmp .prompt
.no_number:
        mov rsi, text_no_number
        cmp qword ptr [rbx + 16], 0
        jne .say
        mov rsi, text_alone
.say:   call puts
        jmp .prompt
.differs:
        add rbx, 24
        jmp .find
.unknown:
        mov rsi, text_unknown
        call puts
        jmp .prompt

skip_spaces:
        cmp byte ptr [rsi], ' '
        jne .end
        inc rsi
        jmp skip_spaces
.end:   ret

skip_word:
        mov al, [rsi]
        test al, al
        jz .end
        cmp al, ' '
        je .end
        inc rsi
        jmp skip_word
.end:   ret

        ; Reads a line into \`line\`, with echo; backspace works.
read_line:
        xor ebx, ebx
.next:  call getc
        cmp al, 13
        je .end
        cmp al, 10
        je .end
        cmp al, 127
        je .back
        cmp al, 8
        je .back
        cmp al, 4                       ; the end of what is typed
        je .leave
        cmp al, ' '
        jb .next
        cmp ebx, 63
        jae .next
        mov [line + rbx], al
        inc ebx
        call putc
        jmp .next
.back:  test ebx, ebx
        jz .next
        dec ebx
        mov rsi, text_erase
        call puts
        jmp .next
.leave: test ebx, ebx
        jnz .next
        call newline
        jmp command_poweroff
.end:   mov byte ptr [line + rbx], 0
        jmp newline

command_help:
        mov rsi, text_help
        jmp puts
${counted('syscall', 'user_system_calls', 'system_calls', ' system calls: INT3 took ring 3 to ring 0 by a gate, IRET took it back')}
${counted('gp', 'user_protection_faults', 'protection_faults', ' general-protection faults: HLT is not for ring 3')}
command_fault:
        call zone_unmap
        mov qword ptr [page_faults], 0
        mov rdi, USER + (user_page_faults - user_image)
        mov rsi, r12
        call run_user
        mov rax, [page_faults]
        call print_dec
        mov rsi, .text
        jmp puts
.text:  .asciz " page faults: ring 0 put a frame where ring 3 wanted it\\n"

command_tick:
        call ticks
        mov rsi, .text
        jmp puts
.text:  .asciz " timer interrupts while ring 3 ran\\n"

        ; R12 ticks under ring 3; their number is printed.
ticks:  mov qword ptr [SHARED], 0
        mov [ticks_wanted], r12
        call timer_start
        mov rdi, USER + (user_ticks - user_image)
        mov rsi, r12
        call run_user
        mov rax, [SHARED]
        jmp print_dec

command_work:
        mov rdi, USER + (user_work - user_image)
        mov rsi, r12
        call run_user
        push rax
        mov rax, r12
        call print_dec
        mov rsi, .text
        call puts
        pop rax
        call print_hex
        jmp newline
.text:  .asciz " million rounds, and the result is "

command_walk:
        mov rdi, USER + (user_walk - user_image)
        mov rsi, r12
        call run_user
        mov rax, r12
        call print_dec
        mov rsi, .text
        jmp puts
.text:  .asciz " thousand loads from two pages in turn\\n"

command_port:
        mov rcx, r12
        mov dx, 0x3ff                   ; the scratch register
.write: mov al, cl
        out dx, al
        dec rcx
        jnz .write
        mov rax, r12
        call print_dec
        mov rsi, .text
        jmp puts
.text:  .asciz " writes to port 0x3ff\\n"

command_mmio:
        mov rcx, r12
        mov edi, 0xfed00000
.read:  mov eax, [rdi + 4]              ; the period of the counter
        dec rcx
        jnz .read
        push rax
        mov rax, r12
        call print_dec
        mov rsi, .text
        call puts
        pop rax
        call print_dec
        jmp newline
.text:  .asciz " reads of 0xfed00004: "

        ; What a disk would be like without DMA: every byte is an exit.
command_pio:
        mov r13, r12
.sector:
        mov dx, 0x510
        mov ax, 0x19                    ; the directory, over and over
        out dx, ax
        mov dx, 0x511
        mov rdi, BUFFERS
        mov ecx, 512
.byte:  in al, dx
        mov [rdi], al
        inc rdi
        dec ecx
        jnz .byte
        dec r13
        jnz .sector
        mov rax, r12
        call print_dec
        mov rsi, .text
        jmp puts
.text:  .asciz " times 512 bytes through port 0x511\\n"

command_rings:
        mov rdi, USER + (user_selector - user_image)
        call run_user
        mov rbx, rax
        mov rsi, .ring3
        call puts
        mov rax, rbx
        call print_hex
        mov rsi, .ring0
        call puts
        mov eax, cs
        call print_hex
        call newline
        mov r12, 1
        mov rsi, .by_syscall
        call puts
        call command_syscall
        mov rsi, .by_fault
        call puts
        call command_fault
        mov rsi, .by_gp
        call puts
        call command_gp
        mov rsi, .by_tick
        call puts
        jmp command_tick
.ring3: .asciz "ring 3 runs with code selector "
.ring0: .asciz ", ring 0 with "
.by_syscall: .asciz "asked:       "
.by_fault:   .asciz "missing:     "
.by_gp:      .asciz "forbidden:   "
.by_tick:    .asciz "interrupted: "

command_mem:
        mov dx, 0x510                   ; fw_cfg: how much RAM there is
        mov ax, 3
        out dx, ax
        mov dx, 0x511
        xor ebx, ebx
        xor ecx, ecx
.byte:  in al, dx
        movzx eax, al
        shl rax, cl
        or rbx, rax
        add ecx, 8
        cmp ecx, 64
        jb .byte
        mov rax, rbx
        shr rax, 10
        call print_dec
        mov rsi, .text
        jmp puts
.text:  .ascii " KiB of RAM, from address 0\\n"
        .ascii "0x1000    the page tables, a page each: PML4, PDPT, 3 directories, 2 tables\\n"
        .ascii "0x8000    the interrupt descriptor table\\n"
        .ascii "0x10000   virtqueues: what driver and device both read and write\\n"
        .ascii "0x100000  the kernel\\n"
        .ascii "ring 0 sees the first GiB where it is; ring 3 has a page of code at 0x40000000,\\n"
        .asciz "a stack at 0x40010000, and from 0x40200000 on what it has touched\\n"

command_page:
        call zone_unmap
        mov rdi, USER + (user_page_faults - user_image)
        mov rsi, 1
        call run_user
        mov rsi, .address
        call puts
        mov rax, [PML4]
        mov rsi, .pml4
        call .entry
        mov rax, [PDPT + 8]
        mov rsi, .pdpt
        call .entry
        mov rax, [PD_USER + 8]
        mov rsi, .pd
        call .entry
        mov rax, [PT_ZONE]
        mov rsi, .pt
        call .entry
        mov rsi, .holds
        call puts
        movzx eax, byte ptr [ZONE_FRAME]
        call print_hex
        jmp newline
.entry: push rax
        call puts
        pop rax
        call print_hex
        jmp newline
.address: .asciz "guest-virtual 0x40200000, touched by ring 3 after a page fault\\n"
.pml4:  .asciz "  PML4[0]  = "
.pdpt:  .asciz "  PDPT[1]  = "
.pd:    .asciz "  PD[1]    = "
.pt:    .asciz "  PT[0]    = "
.holds: .asciz "guest-physical ${'0x31000'}; its first byte is "

command_pci:
        mov rbx, .show
        jmp pci_each
.show:  mov eax, ebp
        shr eax, 11
        and eax, 31
        call print_dec
        mov al, '.'
        call putc
        mov eax, ebp
        shr eax, 8
        and eax, 7
        call print_dec
        mov al, ' '
        call putc
        mov eax, ebp
        call pci_read
        push rax
        movzx eax, ax
        call print_hex
        mov al, ':'
        call putc
        pop rax
        shr eax, 16
        call print_hex
        mov rsi, .class
        call puts
        lea eax, [rbp + 8]
        call pci_read
        shr eax, 8
        call print_hex
        jmp newline
.class: .asciz "  class "

command_random:
        mov eax, 4
        call virtio_find
        test r13, r13
        jz no_device
        mov rbx, r12
        lea r12, [r13 + ${record.queues}]
        push rbx
.next:  mov eax, BUFFERS
        mov edx, 16
        mov esi, 2                      ; the device writes
        xor ecx, ecx
        call virtio_describe
        xor ecx, ecx
        call virtio_request
        dec rbx
        jnz .next
        pop rax
        call print_dec
        mov rsi, .text
        jmp puts
.text:  .asciz " times 16 bytes from the entropy device\\n"

command_disk:
        mov eax, 2
        call virtio_find
        test r13, r13
        jz no_device
        mov rbx, r12
        push rbx
        lea r12, [r13 + ${record.queues}]
        xor ebp, ebp                    ; sector
        xor r14d, r14d                  ; sum of all bytes
.next:  mov dword ptr [BUFFERS], 0      ; VIRTIO_BLK_T_IN
        mov dword ptr [BUFFERS + 4], 0
        mov [BUFFERS + 8], rbp
        mov byte ptr [BUFFERS + 0x100], 0xff
        mov eax, BUFFERS
        mov edx, 16
        mov esi, 1 | 1 << 16            ; goes on with descriptor 1
        xor ecx, ecx
        call virtio_describe
        mov eax, BUFFERS + 0x200
        mov edx, 512
        mov esi, 3 | 2 << 16
        mov ecx, 1
        call virtio_describe
        mov eax, BUFFERS + 0x100
        mov edx, 1
        mov esi, 2
        mov ecx, 2
        call virtio_describe
        xor ecx, ecx
        call virtio_request
        cmp byte ptr [BUFFERS + 0x100], 0
        jne .failed
        mov ecx, 512
.sum:   movzx eax, byte ptr [BUFFERS + 0x1ff + rcx]
        add r14, rax
        dec ecx
        jnz .sum
        inc rbp
        mov rax, [r13 + ${record.config}]
        mov eax, [rax]                  ; the capacity
        cmp rbp, rax
        jb .more
        xor ebp, ebp
.more:  dec rbx
        jnz .next
        pop rax
        call print_dec
        mov rsi, .text
        call puts
        mov rax, r14
        call print_dec
        jmp newline
.failed:
        pop rax
        mov rsi, .error
        jmp puts
.text:  .asciz " sectors from the disk; the sum of their bytes is "
.error: .asciz "the disk cannot be read\\n"

command_balloon:
        mov eax, 5
        call virtio_find
        test r13, r13
        jz no_device
        push r12
        mov rbx, r12
        lea r12, [r13 + ${record.queues}]
        xor r14d, r14d
        call .give
        mov rbx, [rsp]
        lea r12, [r13 + ${record.queues + queue.bytes}]
        mov r14d, 1
        call .give
        pop rax
        call print_dec
        mov rsi, .text
        jmp puts
        ; RBX pages through queue R14D: the same one again and again.
.give:  mov dword ptr [BUFFERS], BALLOON >> 12
        mov eax, BUFFERS
        mov edx, 4
        xor esi, esi
        xor ecx, ecx
        call virtio_describe
        mov ecx, r14d
        call virtio_request
        dec rbx
        jnz .give
        ret
.text:  .asciz " pages given to the balloon, and taken back\\n"

no_device:
        mov rsi, .text
        jmp puts
.text:  .asciz "this machine has no such device\\n"

command_crash:
        mov rdi, USER + (user_crash - user_image)
        call run_user
        mov rsi, .text
        jmp puts
.text:  .asciz "the program was ended; the kernel goes on\\n"

command_reset:
        mov al, 0xfe
        out 0x64, al
        hlt

command_poweroff:
        mov dx, 0x604                   ; PM1 control: SLP_EN with the type of S5
        mov ax, 0x2000
        out dx, ax
        hlt

text_banner:
        .ascii "\\nvring's built-in guest: long mode, rings 0 and 3. \`help\` lists the commands;\\n"
        .asciz "an operating system is \`vring run debian\`.\\n"
text_prompt:    .asciz "vring> "
text_help:      .asciz "${help}"
text_unknown:   .asciz "there is no such command; \`help\` lists them\\n"
text_no_number: .asciz "its argument is a number from 1 to 9999999\\n"
text_alone:     .asciz "it takes no argument\\n"
text_erase:     .byte 8, 32, 8, 0
${names}
        .align 8
command_table:
${table}
        .quad 0
line:   .fill 64
`;
