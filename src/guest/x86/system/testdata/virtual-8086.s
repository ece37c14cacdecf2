# Virtual-8086 mode: I/O privilege, its extensions (VME), what is refused; protected-mode virtual interrupts (PVI); I/O bitmap.
.set gdt_given,1
.include "protected.s"
.macro V86 label, flags=0x20002
  TRY 1f
  pushl $0x1111            # gs fs ds es
  pushl $0x2222
  pushl $0x1000
  pushl $0x4444
  pushl $0x0500            # ss
  pushl $0x0f00
  pushl $\flags
  pushl $0x1000
  pushl $\label
  iretl
1:
.endm
.macro U label, flags=2
  TRY 1f
  pushl $0x23
  pushl $0x7000
  pushl $\flags
  pushl $0x1b
  pushl $(B+\label)
  iretl
1:
.endm
.macro CR4 set, clear=0
  movl %cr4,%eax
  orl $\set,%eax
  andl $~\clear,%eax
  movl %eax,%cr4
.endm
  movl $0x6000,%esp
  call setidt
  movl $0x10,0xa008
  movl $0x6000,0xa004
  # redirection bitmap at 68: all to the 8086 handler; I/O bitmap at 88: port e9 only
  movl $0xffffffff,%eax
  movl $0xa068,%edi
  movl $0x40,%ecx
  cld
  rep stosl
  movw $0x88,0xa066
  xorl %eax,%eax
  movl $0xa068,%edi
  movl $8,%ecx
  rep stosl
  movb $0xfd,0xa088+0x1d
  movw $SEL_TSS,%ax
  ltr %ax
  # 8086 vectors
  movw $r40,0x40*4
  movw $0x1000,0x40*4+2
  T 1
  # IOPL 3: the flags are its own
  V86 v1, 0x23002
  T 2
  # INT n with IOPL 3 goes to ring 0, through a gate of DPL 3 only
  V86 v2, 0x23002
  T 3
  movb $0xee,0x9000+0x31*8+5
  V86 v3, 0x23002
  T 4
  # into a gate whose code is not ring 0
  movw $0x1b,0x9000+0x31*8+2
  V86 v3, 0x23002
  movw $8,0x9000+0x31*8+2
  T 5
  # IOPL 0: PUSHF, POPF, IRET, CLI, STI are refused, INT3 and INTO are not, nor IN by the bitmap
  V86 v5a
  V86 v5b
  V86 v5c
  V86 v5d
  movb $0xee,0x9000+3*8+5
  V86 v5e
  T 6
  # what is refused whatever IOPL is
  V86 v6a, 0x23002
  V86 v6b, 0x23002
  V86 v6c, 0x23002
  V86 v6d, 0x23002
  V86 v6e, 0x23002
  V86 v6f, 0x23002
  T 7
  # the bitmap counts whatever IOPL is
  V86 v7a, 0x23002
  V86 v7b, 0x23002
  T 8
  # beyond the segments' 64 KiB
  V86 v8a, 0x23002
  V86 v8b, 0x23002
  T 9
  # a divide error: to ring 0; the data segments are null there
  movl $(B+nulls),%eax
  movw %ax,0x9000
  V86 v9, 0x23002
  call setidt
  movb $0xee,0x9000+3*8+5
  CR4 1
  T 0xa
  # VME, IOPL 0: VIF stands for IF
  V86 va
  T 0xb
  # with VIP set STI, POPF and IRET that would open are refused
  V86 vb1, 0x120002
  V86 vb2, 0x120002
  V86 vb3, 0x120002
  V86 vb4, 0x120002
  T 0xc
  # 32-bit operand size, and TF in the image
  V86 vc1
  V86 vc2
  V86 vc3
  V86 vc4
  T 0xd
  # VME, IOPL 3: IF is its own; INT n by the bitmap
  V86 vd, 0x23202
  T 0xe
  # the monitor's by the bitmap: IOPL 0 refused, IOPL 3 by the table
  movb $1,0xa068+8
  V86 ve
  V86 ve, 0x23002
  movb $0xee,0x9000+0x40*8+5
  movb $0,0xa068+8
  T 0xf
  # four ports, of which one is open
  V86 v10
  CR4 2, 1
  T 0x10
  # PVI: CLI and STI of ring 3 change VIF; POPF and PUSHF are as ever; VIP refuses STI
  U u1
  U u2, 0x100002
  U u3, 0x3002
  CR4 0, 2
  T 0x11
  # without it they are refused
  U u1
  T 0x12
  # the I/O bitmap: over the border of bytes, its last byte, beyond the limit, string forms
  movl $0xffffffff,%eax
  movl $0xa088,%edi
  movl $0x30,%ecx
  cld
  movl $0x10,%ebx
  movl %ebx,%es
  rep stosl
  movw $0x88,0xa066
  movb $0x3f,0xa088+0x1d       # ee and ef
  movb $0xfc,0xa088+0x1e       # f0, f1
  U u4
  movb $0xff,0xa088+0x1e
  U u4
  movb $0xfc,0xa088+0x1e
  U u5
  U u6
  U u7
  movw $0xf0,0xa066            # the bitmap begins behind what matters
  U u8
  movw $0x100,0xa066
  U u8
  jmp quit
nulls: movl %ds,%eax
  movl %es,%ebx
  movl %fs,%ecx
  movl %gs,%edx
  orl %ebx,%eax
  orl %ecx,%eax
  orl %edx,%eax
  movl $0x10,%ebx
  movl %ebx,%ds
  movl %ebx,%es
  call hex
  movl 36(%esp),%eax           # eip cs eflags esp ss es ds fs gs
  call hex
  movl 32(%esp),%eax
  call hex
  movl 24(%esp),%eax
  call hex
  movl %cs,%eax
  call hex
  movl %ss,%eax
  call hex
  call nl
  movl $0x6000,%esp
  jmp *RES
u1: sti
  pushfl
  popl %eax
  cli
  pushfl
  popl %ebx
  pushl $0x202
  popfl
  pushfl
  popl %ecx
  shrl $8,%eax
  shrl $8,%ebx
  shrl $8,%ecx
  movb %al,%ah
  ud2
u2: sti
u3: sti
  pushfl
  popl %eax
  shrl $8,%eax
  outb %al,$0xe9
  cli
  ud2
u4: movw $0xef,%dx
  movb $'a',%al
  inw %dx,%ax                  # ef and f0
  movw $0xee,%dx
  inl %dx,%eax                 # ee to f1
  movw $0xef,%dx
  inl %dx,%eax                 # f2 is closed
u5: movl $0x23,%eax
  movl %eax,%ds
  movl $0x8000,%esi
  movw $0xf1,%dx
  outsb
  outsb
  movl $3,%ecx
  movw $0xf2,%dx
  rep outsb
u6: movl $0x23,%eax
  movl %eax,%es
  movl $0x8800,%edi
  movw $0xf1,%dx
  insb
  movl $1,%ecx
  movw $0xf2,%dx
  rep insb
u7: movw $0x3b7,%dx            # the byte behind: at the limit
  inb %dx,%al
u8: movb $'.',%al
  outb %al,$0xe9
.code16
v1: cli
  pushfw
  popw %ax
  sti
  pushfw
  popw %bx
  pushw $0x4ed7
  popfw
  pushfw
  popw %cx
  pushl $0x247ed7
  popfl
  pushfl
  popl %edx
  movb %ah,%al
  call vhex
  movb %bh,%al
  call vhex
  movb %ch,%al
  call vhex
  movb %dh,%al
  call vhex
  shrl $16,%edx
  movb %dl,%al
  call vhex
  pushw $2
  popfw
  hlt
v2: int $0x30
v3: int $0x31
v5a: pushfw
v5b: popfw
v5c: iretw
v5d: cli
v5e: movb $'v',%al
  outb %al,$0xe9
  int3
v6a: hlt
v6b: movl %cr0,%eax
v6c: lgdt 0
v6d: .byte 0x0f,0,0xc0          # SLDT: undefined here
v6e: lar %ax,%ax
v6f: invd
v7a: movb $'v',%al
  outb %al,$0xe9
  outb %al,$0x80
v7b: inw $0xe9,%ax
v8a: movw $0xffff,%bx
  movw (%bx),%ax
v8b: movw $1,%sp
  pushw %ax
v9: xorw %cx,%cx
  divw %cx
va: sti
  pushfw
  popw %ax
  movb %ah,%al
  call vhex
  cli
  pushfw
  popw %ax
  movb %ah,%al
  call vhex
  pushw $0x202
  popfw
  pushfw
  popw %ax
  movb %ah,%al
  call vhex
  pushw $2
  pushw %cs
  pushw $1f
  iretw
1: pushfw
  popw %ax
  movb %ah,%al
  call vhex
  sti
  int $0x40
  pushfw
  popw %ax
  movb %ah,%al
  call vhex
  hlt
vb1: sti
vb2: pushw $0x202
  popfw
vb3: pushw $0x202
  pushw %cs
  pushw $vb2
  iretw
vb4: cli                        # closing is allowed, and POPF that closes
  pushw $2
  popfw
  movb $'c',%al
  outb %al,$0xe9
  hlt
vc1: pushfl
vc2: popfl
vc3: pushw $0x102
  popfw
vc4: pushw $0x102
  pushw %cs
  pushw $vc2
  iretw
vd: cli
  pushfw
  popw %ax
  movb %ah,%al
  call vhex
  sti
  int $0x40
  pushfw
  popw %ax
  movb %ah,%al
  call vhex
  hlt
ve: int $0x40
v10: movl $0x30,%eax
  outl %eax,$0xe9
r40: pushw %ax
  movb $'r',%al
  outb %al,$0xe9
  movw %sp,%bp
  movb %ss:7(%bp),%al           # the image's upper byte
  call vhex
  pushfw
  popw %ax
  movb %ah,%al
  call vhex
  popw %ax
  iretw
vhex: pushw %ax
  shrb $4,%al
  call 1f
  popw %ax
  pushw %ax
  andb $15,%al
  call 1f
  movb $' ',%al
  outb %al,$0xe9
  popw %ax
  ret
1: addb $0x30,%al
  cmpb $0x39,%al
  jbe 2f
  addb $0x27,%al
2: outb %al,$0xe9
  ret
.include "exc32.s"
.align 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
  .quad 0x00cffb000000ffff, 0x00cff3000000ffff          # 1b, 23
  .quad 0x00008900a00000ff                               # 28 TSS at a000, limit ff
.equ SEL_TSS,0x28
gdtr: .word 0x2f
 .long 0x10000+gdt
.include "lib.s"
