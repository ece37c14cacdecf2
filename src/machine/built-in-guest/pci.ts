/**
 * PCI by configuration mechanism 1 (PCI Local Bus Specification 3.0, 3.2.2.3.2): finds functions, gives their memory BARs addresses
 * (there is no firmware that has done it), and turns on the PIIX4's power management block.
 */

/** Bus 0, slot 1, function 3: the PIIX4's power management. */
const PM_FUNCTION = 0x80000000 | (1 << 11) | (3 << 8);

export const pciSource = `
        ; Reads or writes (with EDX) the configuration dword at address EAX.
pci_read:
        mov dx, 0xcf8
        out dx, eax
        mov dx, 0xcfc
        in eax, dx
        ret
pci_write:
        push rdx
        mov dx, 0xcf8
        out dx, eax
        pop rax
        mov dx, 0xcfc
        out dx, eax
        ret

        ; Calls RBX for every function of bus 0 with its configuration address in EBP. RBX must keep RBX, RBP and R15.
pci_each:
        push rbp
        push r15
        mov ebp, 0x80000000
.function:
        mov eax, ebp
        call pci_read
        cmp ax, 0xffff
        je .absent
        call rbx
        ; Without the multi-function bit the next seven are none.
        test ebp, 0x700
        jnz .next
        lea eax, [rbp + 0x0c]
        call pci_read
        test eax, 0x800000
        jnz .next
.absent:
        test ebp, 0x700
        jnz .next
        add ebp, 0x700
.next:  add ebp, 0x100
        cmp ebp, 0x80010000
        jb .function
        pop r15
        pop rbp
        ret

        ; Gives every memory BAR of the function EBP an address and turns decoding and bus mastering on. Addresses go to \`bars\`.
pci_assign:
        xor r15d, r15d
.bar:   lea eax, [rbp + 0x10 + r15*4]
        mov edx, -1
        call pci_write
        lea eax, [rbp + 0x10 + r15*4]
        call pci_read
        test eax, eax
        jz .next                        ; no such BAR
        test al, 1
        jnz .next                       ; ports
        mov r8d, eax
        and eax, 0xfffffff0
        neg eax                         ; its size
        mov ecx, eax
        lea edx, [rax - 1]
        add edx, [pci_free]
        neg ecx
        and edx, ecx                    ; aligned
        mov [bars + r15*4], edx
        add eax, edx
        mov [pci_free], eax
        lea eax, [rbp + 0x10 + r15*4]
        call pci_write
        test r8b, 4
        jz .next
        inc r15d                        ; 64 bits: the upper half is 0
        lea eax, [rbp + 0x10 + r15*4]
        xor edx, edx
        call pci_write
.next:  inc r15d
        cmp r15d, 6
        jb .bar
        lea eax, [rbp + 0x04]
        mov edx, 6
        jmp pci_write

power_init:
        mov eax, ${PM_FUNCTION} + 0x40
        mov edx, 0x601
        call pci_write
        mov eax, ${PM_FUNCTION} + 0x80
        mov edx, 1
        jmp pci_write

        .align 4
pci_free: .long PCI_WINDOW
bars:     .fill 24
`.replaceAll(String(PM_FUNCTION), `0x${(PM_FUNCTION >>> 0).toString(16)}`);
