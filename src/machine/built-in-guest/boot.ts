/**
 * The way from the reset vector to ring 0 of long mode: real mode, protected mode, paging (Intel SDM vol. 3, 10.9 and 10.8.5). The
 * first part runs in the ROM below 4 GiB, the second in RAM.
 */
import { gpa } from './memory-map.js';

export const ROM_BYTES = 0x10000;
/** Where the ROM begins, and where in it the kernel's image lies. */
export const ROM_START = 0xffff0000;
export const KERNEL_OFFSET = 0x1000;
export const RESET_OFFSET = 0xfff0;

/** Segments: 32 bits, 64 bits, ring 3, and the task state segment (16 bytes). */
const descriptors = `
        .quad 0
        .quad 0x00cf9b000000ffff        ; CODE32
        .quad 0x00cf93000000ffff        ; DATA32
        .quad 0x00af9b000000ffff        ; CODE64
        .quad 0x00cf93000000ffff        ; DATA64
        .quad 0x00cff3000000ffff        ; USER_DATA
        .quad 0x00affb000000ffff        ; USER_CODE
`;

/** In the ROM. */
export const romSource = `
        .bits 16
real_mode:
        cli
        .byte 0x66                      ; all 32 bits of the table's address
        lgdt cs:[(gdt_pointer) & 0xffff]
        mov eax, cr0
        or eax, 1                       ; CR0.PE
        mov cr0, eax
        jmp dword ptr CODE32:protected_mode

        .bits 32
protected_mode:
        mov ax, DATA32
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov esp, STACK_TOP
        cld
        mov esi, ${ROM_START + KERNEL_OFFSET}
        mov edi, KERNEL
        mov ecx, KERNEL_WORDS
        rep movsd
        mov eax, KERNEL
        jmp eax

        .align 8
gdt:    ${descriptors}
gdt_pointer:
        .word gdt_pointer - gdt - 1
        .long gdt
`;

/** At the last 16 bytes of the ROM: where the processor begins. */
export const resetSource = 'jmp real_mode';

/** At KERNEL, in 32-bit code: page tables, long mode. */
export const longModeSource = `
        .bits 32
kernel:
        mov edi, PML4
        mov ecx, ${(gpa.IDT + 0x1000 - gpa.PML4) / 4}
        xor eax, eax
        rep stosd
        ; Four levels; what ring 3 may use says so at each of them.
        mov dword ptr [PML4], PDPT | 7
        mov dword ptr [PDPT], PD_LOW | 3
        mov dword ptr [PDPT + 8], PD_USER | 7
        mov dword ptr [PDPT + 24], PD_HIGH | 3
        mov dword ptr [PD_USER], PT_USER | 7
        mov dword ptr [PD_USER + 8], PT_ZONE | 7
        ; The first GiB and the last below 4 GiB, where devices are, in pages of 2 MiB.
        mov ecx, 511
.large: mov eax, ecx
        shl eax, 21
        mov edx, eax
        or eax, 0x83                    ; present, writable, large
        mov [PD_LOW + ecx*8], eax
        or edx, 0xc0000093              ; and not cached
        mov [PD_HIGH + ecx*8], edx
        dec ecx
        jns .large
        ; Ring 3: its programs, a stack, and a page that it may only read.
        mov dword ptr [PT_USER], user_image | 5
        mov dword ptr [PT_USER + 16*8], USER_STACK | 7
        mov dword ptr [PT_USER + 32*8], SHARED | 5

        mov eax, cr4
        or eax, 0x20                    ; CR4.PAE
        mov cr4, eax
        mov eax, PML4
        mov cr3, eax
        mov ecx, 0xc0000080             ; EFER: LME
        rdmsr
        or eax, 0x100
        wrmsr
        mov eax, cr0
        or eax, 0x80010000              ; CR0.PG, CR0.WP
        mov cr0, eax
        lgdt [gdt_pointer]
        jmp CODE64:long_mode

        .align 8
gdt:    ${descriptors}
tss_descriptor:
        .word 103, tss & 0xffff
        .byte (tss >> 16) & 0xff, 0x89, 0, tss >> 24
        .quad 0
gdt_pointer:
        .word gdt_pointer - gdt - 1
        .quad gdt
        .align 8
        ; Task state segment: the stack for ring 0, and no I/O permissions for ring 3 (SDM vol. 3, 8.7).
tss:    .long 0
        .quad RING0_STACK_TOP
        .fill 90
        .word 104

        .bits 64
long_mode:
        mov ax, DATA64
        mov ds, ax
        mov es, ax
        mov ss, ax
        xor eax, eax
        mov fs, ax
        mov gs, ax
        mov rsp, STACK_TOP
        mov ax, TSS
        ltr ax
        call interrupts_init
        call serial_init
        call power_init
        mov rbx, virtio_probe
        call pci_each
        jmp shell
`;
