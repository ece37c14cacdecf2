# Debug registers, single step: what traps, when, and what DR6 and the saved EIP say.
.set gdt_given,1
.include "protected.s"
.macro GATE v, label, kind=0x8e00
  movl $(B+\label),%eax
  movw %ax,0x9000+\v*8
  movw $8,0x9000+\v*8+2
  shrl $16,%eax
  movw %ax,0x9000+\v*8+6
  movw $\kind,0x9000+\v*8+4
.endm
.macro DR n, value
  movl $\value,%eax
  movl %eax,%dr\n
.endm
.macro OFF
  movl $0x400,%eax
  movl %eax,%dr7
  call nl
.endm
  movl $0x6000,%esp
  call setidt
  GATE 1, trap
  GATE 3, plain
  GATE 0x34, plain
  T 1
  # an instruction breakpoint is a fault: RF lets it pass once
  DR 0, B+bp1
  DR 7, 0x00000402
  movl $3,%ecx
bp1: nop
  loop bp1
  OFF
  T 2
  # a data breakpoint is a trap; writes of 4 bytes: each byte counts, reads do not
  DR 1, 0x8200
  DR 7, 0x00d00408
  movl 0x8200,%eax
  movb %al,0x81ff
  movb %al,0x8200
  movb %al,0x8203
  movb %al,0x8204
  movl %eax,0x81fd
  movw %ax,0x81fe
  incl 0x8202
  xchgl %eax,0x8200
  pushl 0x8200
  OFF
  T 3
  # reads too; lengths 1 and 2; two at once
  DR 0, 0x8201
  DR 1, 0x8202
  DR 7, 0x0073040a
  movb 0x8200,%al
  movb 0x8201,%al
  movl 0x8200,%eax
  movw 0x8202,%ax
  movw 0x8204,%ax
  cmpb $0,0x8203
  OFF
  T 4
  # the stack is data
  DR 2, 0x5ff0
  DR 7, 0x0f000420
  movl $0x5ff4,%esp
  pushl %eax
  movl (%esp),%ebx
  movl $0x5ff4,%esp
  call 1f
1: movl $0x6000,%esp
  OFF
  T 5
  # repeated string instructions trap behind each element that hits
  DR 3, 0x8208
  DR 7, 0xd0000480
  cld
  movl $0x8200,%edi
  movl $4,%ecx
  rep stosl
  movl $0x8300,%esi
  movl $0x8206,%edi
  movl $3,%ecx
  rep movsw
  DR 7, 0xf0000480
  movl $0x8208,%esi
  movl $2,%ecx
  rep lodsb
  movl $0x820c,%edi
  movl $8,%ecx
  std
  movb $0xee,%al
  repne scasb
  cld
  movl $0x8204,%esi
  movl $0x8208,%edi
  movl $3,%ecx
  repe cmpsb
  movsl
  OFF
  T 6
  # an instruction breakpoint on a repeated instruction stops it once
  DR 0, B+bp6
  DR 7, 0x00000402
  movl $0x8200,%edi
  movl $3,%ecx
bp6: rep stosb
  OFF
  T 7
  # single step of a repeated instruction: each element
  movl $0x8200,%edi
  movl $3,%ecx
  pushl $0x102
  popfl
  rep stosb
  nop
  pushl $2
  popfl
  call nl
  T 8
  # step and breakpoint at once
  DR 1, 0x8200
  DR 7, 0x00d00408
  pushl $0x102
  popfl
  movl %eax,0x8200
  pushl $2
  popfl
  OFF
  T 9
  # INT and exceptions clear TF for the handler; the step goes on behind
  pushl $0x102
  popfl
  int $0x34
  int3
  nop
  pushl $2
  popfl
  call nl
  T 0xa
  # MOV SS holds the trap back over the next instruction
  movl %ss,%ebx
  pushl $0x102
  popfl
  nop
  movl %ebx,%ss
  nop
  nop
  pushl $2
  popfl
  call nl
  T 0xb
  # a data breakpoint hit by MOV SS comes behind the next instruction
  DR 0, 0x8200
  DR 7, 0x00030402
  movl $0x10,0x8200
  movw 0x8200,%ss
  nop
  nop
  OFF
  T 0xc
  # I/O breakpoints
  DR 0, 0x80
  DR 7, 0x00060402
  movl %cr4,%ebx
  orl $8,%ebx
  movl %ebx,%cr4
  outb %al,$0x80
  outb %al,$0x81
  outb %al,$0x82
  inw $0x7f,%ax
  movl $0x80,%edx
  movl $0x8300,%esi
  movl $2,%ecx
  rep outsb
  movl $0x8300,%edi
  insb
  OFF
  T 0xd
  # with CR4.DE there are no DR4 and DR5, without they are DR6 and DR7
  TRY 1f
  movl %dr4,%eax
1: TRY 2f
  movl %eax,%dr5
2: andl $~8,%ebx
  movl %cr4,%ebx
  andl $~8,%ebx
  movl %ebx,%cr4
  movl $0x8200,%eax
  movl %eax,%dr0
  movl %dr5,%eax
  call hex
  movl %dr4,%eax
  call hex
  call nl
  T 0xe
  # not enabled, or only for what does not happen: nothing
  DR 0, B+bp0e
  DR 1, 0x8200
  DR 7, 0x00d00700
  movl %eax,0x8200
bp0e: nop
  DR 7, 0x00d00480
  movl %eax,0x8200
  OFF
  T 0xf
  # a fault takes the place of the trap
  DR 0, 0x8200
  DR 7, 0x00030402
  GATE 0, skip
  xorl %ecx,%ecx
  movl $0,0x8200
  divl 0x8200
  nop
  OFF
  T 0x10
  # INT1 leaves DR6 alone
  TRY 1f
  .byte 0xf1
  nop
1:
  call nl
  T 0x11
  # POPF that clears TF is stepped too; that which sets it is not
  pushl $2
  pushl $0x102
  popfl
  popfl
  nop
  call nl
  T 0x12
  # IRET that sets TF: the trap comes behind the instruction returned to
  pushl $0x102
  pushl $8
  pushl $(B+1f)
  iretl
1: nop
  pushl $2
  popfl
  call nl
  T 0x13
  # HLT under single step goes on
  pushl $0x102
  popfl
  hlt
  pushl $2
  popfl
  call nl
  T 0x14
  # the task's T bit
  movw $SEL_TSS,%ax
  ltr %ax
  movl $0x10,0xb008
  movl $0x5800,0xb004
  movl $(B+task),0xb020
  movl $2,0xb024
  movl $0x5000,0xb038
  movl $0x10,0xb048
  movl $0x08,0xb04c
  movl $0x10,0xb050
  movl $0x10,0xb054
  movl $0,0xb060
  movw $1,0xb064
  movw $0x68,0xb066
  movl $0x8200,%eax
  movl %eax,%dr0
  movl $0x00030403,%eax      # L0 and G0: a task switch clears L0
  movl %eax,%dr7
  lcall $SEL_TSS2,$0
  OFF
  T 0x15
  # RF of an image that IRET restores is gone after one instruction, with breakpoints and without
  GATE 6, over
  GATE 0x35, resume
  ud2
  int $0x35
  ud2
  nop
  int $0x35
  DR 0, 0x12345
  DR 7, 0x00000402
  ud2
  nop
  int $0x35
  OFF
  T 0x16
  # held by MOV SS before a software interrupt: at the first instruction of its handler; INT1 tells of it itself
  DR 0, 0x8200
  DR 7, 0x00030402
  movl $0x10,0x8200
  movw 0x8200,%ss
  int3
  movw 0x8200,%ss
  int $0x34
  movw 0x8200,%ss
  .byte 0xf1
  movw 0x8200,%ss
  int $1
  pushl 0x8200
  popl %ss
  int3
  OFF
  T 0x17
  # a single step held by MOV SS is not told of then
  movl %ss,%ebx
  pushl $0x102
  popfl
  movl %ebx,%ss
  .byte 0xf1
  movl %ebx,%ss
  int3
  nop
  pushl $2
  popfl
  call nl
  T 0x18
  # SYSENTER leaves TF: the trap comes before the first instruction behind it
  movl $0x174,%ecx
  xorl %edx,%edx
  movl $8,%eax
  wrmsr
  incl %ecx
  movl $0x6000,%eax
  wrmsr
  incl %ecx
  movl $(B+1f),%eax
  wrmsr
  pushl $0x102
  popfl
  sysenter
1: nop
  pushl $2
  popfl
  call nl
  jmp quit
over: addl $2,(%esp)
  movl 8(%esp),%eax
  shrl $16,%eax
  andl $1,%eax
  call hex
  iretl
resume: movl 8(%esp),%eax
  shrl $16,%eax
  andl $1,%eax
  call hex
  iretl
task: movl %dr7,%eax
  call hex
  iretl
trap: # DR6's bits, EIP, RF; sets RF for instruction breakpoints
  pushl %eax
  pushl %ebx
  movl %dr6,%eax
  andl $0xf00f,%eax
  shrl $12,%eax
  addb $0x30,%al
  outb %al,$0xe9
  movl %dr6,%eax
  andb $15,%al
  addb $0x40,%al
  outb %al,$0xe9
  movl 8(%esp),%eax
  subl $B,%eax
  shll $16,%eax
  movw %cx,%ax
  call hex
  movl $0xffff0ff0,%eax
  movl %eax,%dr6
  movl %dr7,%eax
  testl $0xffff0000,%eax
  jnz 1f
  orl $0x10000,16(%esp)
1: popl %ebx
  popl %eax
  iretl
plain: pushl %eax
  movb $'p',%al
  outb %al,$0xe9
  popl %eax
  iretl
skip: pushl %eax
  movb $'d',%al
  outb %al,$0xe9
  movl %dr6,%eax
  andl $0xf00f,%eax
  call hex
  addl $6,4(%esp)
  popl %eax
  iretl
.include "exc32.s"
.align 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
  .quad 0x00008900a00000ff                               # 18 TSS at a000
  .quad 0x00008900b0000067                               # 20 TSS at b000
.equ SEL_TSS,0x18
.equ SEL_TSS2,0x20
gdtr: .word 0x27
 .long 0x10000+gdt
.include "lib.s"
