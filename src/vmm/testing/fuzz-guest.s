# A guest that writes random values to every port and every device register (fuzz-guest.ts has the image and the parameters).
# as --32, ld -Ttext 0x100030 --oformat binary.
.code32
.equ STATE, 0x2000
.equ seed, STATE
.equ phase, STATE+4
.equ index, STATE+8
.equ window, STATE+12
.equ DONE, STATE+16
.equ count, STATE+20
.equ IDT, 0x1000
.equ FORBIDDEN, 1            # leave out ports and registers that end or stop the machine
start:
  jmp 1f
  .align 4
parameters:                  # at 4: seed, flags, then pairs of window start and length, ended by zeros
  .long 1, 0
windows: .rept 40
  .long 0, 0
  .endr
1: cli
  cld
  lgdt gdtr
  ljmp $8,$1f
1: movl $0x10,%eax
  movl %eax,%ds
  movl %eax,%es
  movl %eax,%ss
  movl $0x90000,%esp
  movl $IDT,%edi
  xorl %ecx,%ecx
1: movl $fault,%eax
  cmpl $32,%ecx
  jb 2f
  movl $interrupt,%eax
2: movl %eax,%edx
  andl $0xffff,%eax
  orl $0x80000,%eax
  movl %eax,(%edi,%ecx,8)
  movw $0x8e00,%dx
  movl %edx,4(%edi,%ecx,8)
  incl %ecx
  cmpl $256,%ecx
  jb 1b
  lidt idtr
  movl parameters,%eax
  movl %eax,seed
  xorl %eax,%eax
  movl %eax,phase
  movl %eax,index
  movl %eax,window
  movl %eax,DONE
  movl %eax,count
  sti
again: testb $0xfc,seed+2
  jnz 1f
  sti
1: movl phase,%eax
  cmpl $1,%eax
  jb ports
  je registers
  cmpl $2,%eax
  je finished
  jmp mixture

# every port in turn
ports: movl index,%edx
  incl index
  cmpl $0x10000,%edx
  jae next
  call port
  jmp again
next: movl $0,index
  incl phase
  jmp again

# one access to port DX
port: testl $FORBIDDEN,parameters+4
  jz 2f
  movl $forbidden,%esi
1: movzwl (%esi),%eax
  testl %eax,%eax
  jz 2f
  movzwl 2(%esi),%ecx
  addl $4,%esi
  cmpl %eax,%edx
  jb 1b
  cmpl %ecx,%edx
  ja 1b
  ret
2: call random
  movl %eax,%ecx
  call random
  shrl $29,%ecx
  jz 3f
  cmpl $2,%ecx
  jb 4f
  je 5f
  cmpl $4,%ecx
  jb 6f
  je 7f
  outb %al,%dx
  ret
3: outl %eax,%dx
  ret
4: outw %ax,%dx
  ret
5: inb %dx,%al
  ret
6: inw %dx,%ax
  ret
7: inl %dx,%eax
  ret

# the first 8 KiB of every window, one dword after the other
registers: movl window,%ebx
  movl windows(,%ebx,8),%edi
  testl %edi,%edi
  jz next
  movl index,%edx
  cmpl windows+4(,%ebx,8),%edx
  jae 1f
  cmpl $0x2000,%edx
  jae 1f
  addl $4,index
  addl %edx,%edi
  call register
  jmp again
1: movl $0,index
  incl window
  jmp again

# one access to the register at EDI
register: testl $FORBIDDEN,parameters+4
  jz 2f
  movl $forbidden_registers,%esi
1: movl (%esi),%eax
  testl %eax,%eax
  jz 2f
  movl 4(%esi),%ecx
  addl $8,%esi
  cmpl %eax,%edi
  jb 1b
  cmpl %ecx,%edi
  ja 1b
  ret
2: call random
  movl %eax,%ecx
  call random
  shrl $30,%ecx
  jz 3f
  cmpl $2,%ecx
  jb 4f
  je 5f
  movl (%edi),%eax
  ret
3: movl %eax,(%edi)
  ret
4: movw %ax,(%edi)
  ret
5: movb %al,(%edi)
  ret

# all of it mixed, for ever, with the configuration space
finished: movl $0x600d,DONE
  incl phase
mixture: incl count
  call random
  shrl $30,%eax
  jz 1f
  cmpl $2,%eax
  jb 2f
  je 3f
  # a port, half of them low
  call random
  movl %eax,%edx
  shrl $16,%edx
  testl $0x100,%eax
  jz 4f
  andl $0x7ff,%edx
4: call port
  jmp again
1: call random                 # a register of a window
  shrl $8,%eax
  xorl %edx,%edx
  movl $40,%ecx
  divl %ecx
  movl windows(,%edx,8),%edi
  testl %edi,%edi
  jz again
  movl windows+4(,%edx,8),%ecx
  xorl %edx,%edx
  call random
  shrl $4,%eax
  divl %ecx
  andl $-4,%edx
  addl %edx,%edi
  call register
  jmp again
2: testl $FORBIDDEN,parameters+4
  jnz again
  call random                  # configuration space of bus 0
  andl $0xfffc,%eax
  orl $0x80000000,%eax
  movw $0xcf8,%dx
  outl %eax,%dx
  call random
  movw $0xcfc,%dx
  outl %eax,%dx
  jmp again
3: testl $FORBIDDEN,parameters+4
  jnz again
  call random                  # any address
  movl %eax,%edi
  orl $0x80000000,%edi
  call register
  jmp again

random: movl seed,%eax
  imull $1664525,%eax
  addl $1013904223,%eax
  movl %eax,seed
  rorl $7,%eax
  ret
# Interrupts are open now and then only: one that never ends must not stop all.
fault:
interrupt: movl $0x90000,%esp
  call random
  jmp again
.align 4
forbidden: .word 0x61,0x64     # i8042: reset
  .word 0x8f,0x92              # system control port A: reset
  .word 0xf1,0xf4              # debug exit
  .word 0x4fe,0x502
  .word 0x5fd,0x63f            # power management
  .word 0xcf5,0xcff            # configuration space, reset control
  .word 0
.align 4
forbidden_registers:           # what can send an INIT
  .long 0xfec00010, 0xfec00013
  .long 0xfee00300, 0xfee00303
  .long 0xfee00330, 0xfee0036f
  .long 0xfee01000, 0xfeefffff
  .long 0
.align 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr: .word 23
  .long gdt
idtr: .word 0x7ff
  .long IDT
