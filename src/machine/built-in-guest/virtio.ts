/**
 * A driver for modern virtio devices over PCI (Virtual I/O Device 1.2, 2.7 and 4.1): split virtqueues of eight descriptors, one
 * request at a time, MSI-X where the device has it.
 */
import { vectors } from './interrupts.js';

/** A device's record: type, configuration space, then its first two queues. */
export const record = { type: 0, hasMsix: 4, config: 8, queues: 16, bytes: 80 } as const;
/** A queue's: its page, where it is notified, how far it is. */
export const queue = { page: 0, notify: 8, index: 16, interrupt: 24, bytes: 32 } as const;
/** What a queue's page holds. */
const ring = { descriptors: 0, available: 0x100, used: 0x200 } as const;
/** virtio_pci_common_cfg. */
const common = {
  driverFeatureSelect: 8,
  driverFeature: 12,
  status: 20,
  queueSelect: 22,
  queueSize: 24,
  queueVector: 26,
  queueEnable: 28,
  queueNotifyOff: 30,
  queueDescriptors: 32,
  queueAvailable: 40,
  queueUsed: 48,
} as const;

export const virtioSource = `
        ; For pci_each: takes a virtio device into use.
virtio_probe:
        mov eax, ebp
        call pci_read
        cmp ax, 0x1af4
        jne .end
        cmp dword ptr [virtio_count], 8
        jae .end
        mov r14d, [virtio_count]
        imul r13, r14, ${record.bytes}
        add r13, virtio_devices
        ; The type: in the device id, or of transitional devices in the subsystem id.
        shr eax, 16
        sub eax, 0x1040
        jae .type
        lea eax, [rbp + 0x2c]
        call pci_read
        shr eax, 16
.type:  mov [r13 + ${record.type}], eax
        inc dword ptr [virtio_count]
        call pci_assign
        ; Where its structures are: vendor capabilities.
        lea eax, [rbp + 0x34]
        call pci_read
        movzx r12d, al
.capability:
        and r12d, 0xfc
        jz .found
        lea eax, [rbp + r12]
        call pci_read
        mov r8d, eax
        lea eax, [rbp + r12 + 4]
        call pci_read
        mov r9d, eax
        lea eax, [rbp + r12 + 8]
        call pci_read
        mov r10d, eax
        cmp r8b, 0x11
        je .msix
        cmp r8b, 9
        jne .other
        movzx ecx, r9b
        mov ecx, [bars + rcx*4]
        add rcx, r10
        mov edx, r8d
        shr edx, 24
        cmp edx, 1
        jne .not_common
        mov [virtio_common], rcx
.not_common:
        cmp edx, 4
        jne .not_device
        mov [r13 + ${record.config}], rcx
.not_device:
        cmp edx, 2
        jne .other
        mov [virtio_notify], rcx
        lea eax, [rbp + r12 + 16]
        call pci_read
        mov [virtio_notify_multiplier], eax
        jmp .other
.msix:  mov dword ptr [r13 + ${record.hasMsix}], 1
        ; Entry 0 of the table: a message to the local APIC; then MSI-X on.
        mov ecx, r9d
        and ecx, 7
        mov ecx, [bars + rcx*4]
        and r9d, 0xfffffff8
        add rcx, r9
        mov dword ptr [rcx], 0xfee00000
        mov dword ptr [rcx + 4], 0
        lea eax, [r14 + ${vectors.virtio}]
        mov [rcx + 8], eax
        mov dword ptr [rcx + 12], 0
        lea eax, [rbp + r12]
        mov edx, r8d
        or edx, 0x80000000
        call pci_write
.other: mov r12d, r8d
        shr r12d, 8
        and r12d, 0xff
        jmp .capability
        ; Reset, acknowledge, one feature (VIRTIO_F_VERSION_1), queues, go.
.found: mov r12, [virtio_common]
        mov byte ptr [r12 + ${common.status}], 0
        mov byte ptr [r12 + ${common.status}], 1
        mov byte ptr [r12 + ${common.status}], 3
        mov dword ptr [r12 + ${common.driverFeatureSelect}], 0
        mov dword ptr [r12 + ${common.driverFeature}], 0
        mov dword ptr [r12 + ${common.driverFeatureSelect}], 1
        mov dword ptr [r12 + ${common.driverFeature}], 1
        mov byte ptr [r12 + ${common.status}], 0x0b
        xor ecx, ecx
.queue: mov [r12 + ${common.queueSelect}], cx
        cmp word ptr [r12 + ${common.queueSize}], 0
        je .ready                       ; it has only one
        mov word ptr [r12 + ${common.queueSize}], 8
        mov eax, ecx
        shl eax, 5
        lea rdi, [r13 + rax + ${record.queues}]
        lea eax, [rcx + r14*2]
        shl eax, 12
        add eax, QUEUES
        mov [rdi + ${queue.page}], rax
        mov [r12 + ${common.queueDescriptors}], eax
        mov dword ptr [r12 + ${common.queueDescriptors + 4}], 0
        add eax, ${ring.available}
        mov [r12 + ${common.queueAvailable}], eax
        mov dword ptr [r12 + ${common.queueAvailable + 4}], 0
        add eax, ${ring.used - ring.available}
        mov [r12 + ${common.queueUsed}], eax
        mov dword ptr [r12 + ${common.queueUsed + 4}], 0
        movzx eax, word ptr [r12 + ${common.queueNotifyOff}]
        imul eax, [virtio_notify_multiplier]
        add rax, [virtio_notify]
        mov [rdi + ${queue.notify}], rax
        mov eax, [r13 + ${record.hasMsix}]
        mov [rdi + ${queue.interrupt}], eax
        test eax, eax
        jz .no_vector
        mov word ptr [r12 + ${common.queueVector}], 0
.no_vector:
        mov word ptr [r12 + ${common.queueEnable}], 1
        inc ecx
        cmp ecx, 2
        jb .queue
.ready: mov byte ptr [r12 + ${common.status}], 0x0f
.end:   ret

        ; The record of the first device of type EAX in R13, or R13 = 0.
virtio_find:
        mov r13, virtio_devices
        mov ecx, [virtio_count]
.next:  test ecx, ecx
        jz .none
        cmp [r13 + ${record.type}], eax
        je .end
        add r13, ${record.bytes}
        dec ecx
        jmp .next
.none:  xor r13d, r13d
.end:   ret

        ; Descriptor ECX of the queue at R12: address RAX, EDX bytes, flags and next index in ESI.
virtio_describe:
        mov rdi, [r12 + ${queue.page}]
        shl ecx, 4
        mov [rdi + rcx], rax
        mov [rdi + rcx + 8], edx
        mov [rdi + rcx + 12], esi
        ret

        ; Offers the chain that begins with descriptor 0 to the device, notifies it with queue number ECX, and waits.
virtio_request:
        mov rdi, [r12 + ${queue.page}]
        movzx eax, word ptr [r12 + ${queue.index}]
        mov edx, eax
        and edx, 7
        mov word ptr [rdi + ${ring.available + 4} + rdx*2], 0
        inc eax
        mov [r12 + ${queue.index}], ax
        mov rsi, [virtio_interrupts]
        mfence
        mov [rdi + ${ring.available + 2}], ax
        mfence
        mov r8, [r12 + ${queue.notify}]
        mov [r8], cx                    ; the notify
        cmp dword ptr [r12 + ${queue.interrupt}], 0
        jne .sleep
.poll:  pause
        cmp [rdi + ${ring.used + 2}], ax
        jne .poll
        ret
.sleep: cli
        cmp [virtio_interrupts], rsi
        jne .come
        call sleep
        jmp .sleep
.come:  cmp [rdi + ${ring.used + 2}], ax
        jne .sleep_again
        ret
.sleep_again:
        mov rsi, [virtio_interrupts]
        jmp .sleep

        .align 8
virtio_common:  .quad 0
virtio_notify:  .quad 0
virtio_notify_multiplier: .long 0
virtio_count:   .long 0
virtio_devices: .fill ${8 * record.bytes}
`;
