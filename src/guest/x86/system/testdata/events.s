# Interrupts, NMI, exceptions while others are delivered, what delays an interrupt.
.set gdt_given,1
.include "protected.s"
.equ ICR, 0xfee00300
.macro GATE v, label, kind=0x8e00
  movl $(B+\label),%eax
  movw %ax,0x9000+\v*8
  movw $8,0x9000+\v*8+2
  shrl $16,%eax
  movw %ax,0x9000+\v*8+6
  movw $\kind,0x9000+\v*8+4
.endm
.macro SEND v             # a fixed interrupt to itself
  movl $\v,ICR
.endm
.macro NMI
  movl $0x400,ICR
.endm
  movl $0x6000,%esp
  call setidt
  movl $0x1ff,0xfee000f0   # the local APIC is on
  GATE 0x34, showflags, 0x8f00
  GATE 0x35, extern
  GATE 0x36, showflags
  GATE 2, nmi
  T 1
  # trap gates keep IF, interrupt gates clear it; both clear TF and NT
  pushl $0x4202
  popfl
  int $0x34
  int $0x36
  cli
  pushl $2
  popfl
  call nl
  T 2
  # pending while IF is clear; the instruction behind STI still runs
  SEND 0x35
  nop
  sti
ext1: nop
ext1a: nop
  cli
  call nl
  T 3
  # POPF opens at once
  SEND 0x35
  pushl $0x202
  popfl
ext2: nop
  cli
  call nl
  T 4
  # STI and CLI at once: nothing comes in between
  SEND 0x35
  sti
  cli
  nop
  nop
  sti
  nop
  nop
  cli
  call nl
  T 5
  # HLT in the shadow of STI
  SEND 0x35
  sti
  hlt
ext3: cli
  call nl
  T 6
  # IRET opens at once
  SEND 0x35
  pushl $0x202
  pushl $8
  pushl $(B+ext4)
  iretl
ext4: nop
  nop
  cli
  call nl
  T 7
  # NMI does not look at IF
  NMI
  nop
  nop
  call nl
  T 8
  # a second one waits for the first one's IRET
  movl $1,nmis
  NMI
  nop
  nop
  call nl
  T 9
  # any IRET lets it in: here that of a breakpoint within
  GATE 3, plain
  movl $2,nmis
  NMI
  nop
  nop
  call nl
  T 0xa
  # within its handler an IRET to the next instruction lets a second one in
  movl $3,nmis
  NMI
  nop
  nop
  call nl
  T 0xb
  # an interrupt whose gate is not present: #NP with EXT; the interrupt is gone
  GATE 0x35, extern, 0x0e00
  GATE 11, nppop
  SEND 0x35
  sti
  nop
  nop
  cli
  GATE 0x35, extern
  sti
  nop
  nop
  cli
  call nl
  # end of interrupt for what was lost
  movl $0,0xfee000b0
  T 0xc
  # NMI whose gate is not present
  GATE 2, nmi, 0x0e00
  NMI
  nop
  nop
  GATE 2, nmi
  call nl
  # exceptions while exceptions are delivered: the first one's gate is not present
  call setidt
.macro FIRST v              # its gate is not present; goes on at 9
  call setidt
  movw $0x0e00,0x9000+\v*8+4
  TRY 9f
.endm
  T 0x10
  xorl %ecx,%ecx
  FIRST 0 # contributory, 
  divl %ecx
9:
  T 0x11
  FIRST 6 # benign: 
  ud2
9:
  T 0x12
  FIRST 3
  int3
9:
  T 0x13
  FIRST 13
  movl $0xfff8,%ebx
  movl %ebx,%es
9:
  T 0x14
  FIRST 11
  movl $SEL_NP,%ebx
  movl %ebx,%es
9:
  T 0x15
  FIRST 12
  movl $SEL_NP,%ebx
  movl %ebx,%ss
9:
  T 0x16
  movl $1,bounds
  movl $8,bounds+4
  FIRST 5
  movl $9,%ebx
  bound %ebx,bounds
9:
  T 0x17
  FIRST 4
  movb $0x7f,%al
  incb %al
  into
9:
  T 0x18
  FIRST 1
  .byte 0xf1
9:
  T 0x19
  # INT n to a gate that is not present, and beyond the table
  FIRST 0x30
  int $0x30
9:
  T 0x1a
  # the handler's segment is not present, not code, beyond the table, null
  call setidt
  TRY 1f
  movw $SEL_NP,0x9000+6*8+2
  ud2
1: T 0x1b
  call setidt
  TRY 1f
  movw $0x10,0x9000+6*8+2
  ud2
1: T 0x1c
  call setidt
  TRY 1f
  movw $0xf8,0x9000+6*8+2
  ud2
1: T 0x1d
  call setidt
  TRY 1f
  movw $0,0x9000+6*8+2
  ud2
1: T 0x1e
  # a page fault is what the second exception is: 4 MiB pages, the table of interrupts at 400000
  call setidt
  movl $0x20000,%edi
  xorl %eax,%eax
  movl $0x400,%ecx
  cld
  rep stosl
  movl $0x83,0x20000
  movl $0x21003,0x20004
  movl $0xfec00083,0x20fec
  movl $0x21000,%edi
  xorl %eax,%eax
  movl $0x400,%ecx
  rep stosl
  movl $0x9003,0x21000      # 400000: the table; 401000 and on: not present
  movl $0x1003,0x21010
  movl $0x20000,%eax
  movl %eax,%cr3
  movl %cr4,%eax
  orl $0x10,%eax
  movl %eax,%cr4
  movl %cr0,%eax
  orl $0x80010000,%eax
  movl %eax,%cr0
  # a page fault (contributory: no) while #GP is delivered: handled serially
  TRY 1f
  movl $0xfff8,%ebx
  movl $0x404ffc,%esp
  movl %ebx,%es             # stack is fine: #GP
1: T 0x1f
  # #GP, and the push faults; its handler's push faults too: #PF then double fault by a task gate
  movw $SEL_TSS,%ax
  ltr %ax
  movl $0x10,0xb008
  movl $0x5800,0xb004
  movl $0x20000,0xb01c
  movl $(B+task),0xb020
  movl $2,0xb024
  movl $0x5000,0xb038
  movl $0x10,0xb048
  movl $0x08,0xb04c
  movl $0x10,0xb050
  movl $0x10,0xb054
  movl $0,0xb060
  movw $0x68,0xb066
  movl $(SEL_TSS2<<16),0x9000+8*8
  movl $0x8500,0x9004+8*8
  TRY 1f
  movl $0x405008,%esp
  movl $0xfff8,%ebx
  movl %ebx,%es
1: nop
  jmp quit
task:
  # the double fault's task: error code, CR2, state of the old task
  movl $0x33,%eax
  popl %eax
  call hex
  movl %cr2,%eax
  call hex
  movl 0xa020,%eax
  subl $B,%eax
  call hex
  movl 0xa038,%eax
  call hex
  str %eax
  call hex
  call nl
  jmp quit
showflags:
  pushfl
  popl %eax
  andl $0x3f7700,%eax
  call hex
  movl 8(%esp),%eax
  andl $0x3f7700,%eax
  call hex
  iretl
extern:
  pushl %eax
  movb $'i',%al
  outb %al,$0xe9
  movl 4(%esp),%eax
  subl $(B+0),%eax
  call hex
  movl $0,0xfee000b0
  popl %eax
  iretl
plain: pushl %eax
  movb $'b',%al
  outb %al,$0xe9
  popl %eax
  iretl
nmi: pushl %eax
  movb $'n',%al
  outb %al,$0xe9
  movl 4(%esp),%eax
  subl $B,%eax
  call hex
  movl nmis,%eax
  movl $0,nmis
  cmpl $1,%eax
  jne 1f
  NMI
  nop
  nop
  movb $'-',%al
  outb %al,$0xe9
  jmp 3f
1: cmpl $2,%eax
  jne 2f
  NMI
  nop
  int3
  nop
  movb $'-',%al
  outb %al,$0xe9
  jmp 3f
2: cmpl $3,%eax
  jne 3f
  NMI
  pushfl
  pushl $8
  pushl $(B+1f)
  iretl
1: movb $'-',%al
  outb %al,$0xe9
3: popl %eax
  iretl
nppop: popl %eax            # the error code
  call hex
  movl (%esp),%eax
  subl $B,%eax
  call hex
  iretl
.equ nmis, 0x8010
.equ bounds, 0x8020
.include "exc32.s"
.align 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
  .quad 0x00cf13000000ffff                               # 18 not present
  .quad 0x00008900a00000ff                               # 20 TSS at a000
  .quad 0x00008900b0000067                               # 28 TSS at b000
.equ SEL_NP,0x18
.equ SEL_TSS,0x20
.equ SEL_TSS2,0x28
gdtr: .word 0x2f
 .long 0x10000+gdt
.include "lib.s"
