# Exceptions inside string instructions: registers are those of the element that faults, and it goes on from there.
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
# the page at 401000 is not there, then is (read-only if 5)
.macro AWAY
  movl $0,0x21004
  invlpg 0x401000
.endm
.macro SET si=0, di=0, n=0
  movl $\si,%esi
  movl $\di,%edi
  movl $\n,%ecx
.endm
.macro SHOW
  pushfl
  popl %eax
  andl $0x4d5,%eax
  call hex
  call regs
  call nl
.endm
  movl $0x6000,%esp
  call setidt
  movl $0x20000,%edi
  xorl %eax,%eax
  movl $0x1000,%ecx
  cld
  rep stosl
  movl $0x83,0x20000
  movl $0x21007,0x20004
  movl $0x50007,0x21000      # 400000 401000 402000: rows of three pages
  movl $0x51007,0x21004
  movl $0x52007,0x21008
  movl $0x53007,0x2100c
  movl $0x20000,%eax
  movl %eax,%cr3
  movl %cr4,%eax
  orl $0x10,%eax
  movl %eax,%cr4
  movl %cr0,%eax
  orl $0x80010000,%eax
  movl %eax,%cr0
  GATE 14, fault
  # something to look at
  movl $0x400000,%edi
  movl $0x1000,%ecx
  xorl %eax,%eax
1: stosl
  addl $0x01030507,%eax
  loop 1b
  T 1
  AWAY
  SET 0x402100, 0x400ff6, 8
  rep movsl                  # the store faults, an element on both pages
  SHOW
  T 2
  AWAY
  SET 0x400ffa, 0x402200, 8
  rep movsw                  # the load faults
  SHOW
  T 3
  AWAY
  std
  SET 0x402008, 0x403010, 6
  rep movsl                  # downwards
  cld
  SHOW
  T 4
  AWAY
  SET 0, 0x400ff9, 20
  movl $0xa5a5a5a5,%eax
  rep stosb
  SHOW
  T 5
  AWAY
  SET 0x400ffe, 0, 3
  rep lodsw
  call hex
  SHOW
  T 6
  # comparisons: the flags are those of the last element
  movl $0x400ff0,%esi
  movl $0x402ff0,%edi
  movl $8,%ecx
  rep movsl
  AWAY
  SET 0x400ff0, 0x402ff0, 12
  cmpb %cl,%cl
  repe cmpsl
  SHOW
  T 7
  AWAY
  SET 0x402ff0, 0x400ff0, 12
  movb $0x7f,%al
  incb %al
  repe cmpsb                 # unlike at once, or over the border
  SHOW
  T 8
  AWAY
  SET 0, 0x400ffd, 9
  movl 0x402100,%eax
  repne scasb
  SHOW
  T 9
  # both operands on pages that are missing: first the source
  AWAY
  movl $0,0x21008
  invlpg 0x402000
  SET 0x401ffe, 0x402ffe, 2
  rep movsl
  SHOW
  T 0xa
  AWAY
  SET 0x401004, 0x401ffc, 2
  repe cmpsl
  SHOW
  T 0xb
  # ports: the page is looked at before the device
  AWAY
  SET 0x400fff, 0x400fff, 2
  movl $0x84,%edx
  rep outsb
  SHOW
  AWAY
  SET 0x400fff, 0x400ffe, 4
  movl $0x84,%edx
  rep insb
  SHOW
  T 0xc
  # read-only: a write in the middle
  movl $0x51005,0x21004
  invlpg 0x401000
  SET 0x402000, 0x400ff8, 4
  rep movsl
  SHOW
  T 0xd
  # without REP, and with a count of 0
  AWAY
  SET 0x402000, 0x401000, 0
  rep movsl
  movsl
  SHOW
  AWAY
  SET 0x401000, 0x402000, 5
  cmpsb
  SHOW
  T 0xe
  # 16-bit addresses: SI and DI wrap, the upper halves stay
  SET 0x7777fffe, 0x66660ffe, 0x55550003
  addr16 rep movsb
  SHOW
  T 0xf
  # overlap: each element is seen by the next
  movl $0x400ff0,%edi
  movl $0x04030201,%eax
  stosl
  AWAY
  SET 0x400ff0, 0x400ff4, 8
  rep movsl
  movl 0x400ff4,%eax
  call hex
  movl 0x401008,%eax
  call hex
  SHOW
  AWAY
  SET 0x400ff0, 0x400ff1, 0x20
  rep movsb
  movl 0x40100c,%eax
  call hex
  SHOW
  T 0x10
  # other instructions with two parts: XADD and CMPXCHG8B over the border, LES of a missing second half
  AWAY
  movl $5,%eax
  lock xaddl %eax,0x401ffe
  call hex
  AWAY
  movl $1,%eax
  xorl %edx,%edx
  lock cmpxchg8b 0x400ffc
  call hex
  AWAY
  movl $0x100000,0x400ffc
  movl %es,%ebx
  movl $0x00100010,%eax
  movl $0x51007,0x21004
  invlpg 0x401000
  movl %eax,0x401000
  AWAY
  lesl 0x400ffc,%eax
  call hex
  movl %es,%eax
  call hex
  call nl
  jmp quit
regs: pushal
  movl %ecx,%eax
  call hex
  movl %esi,%eax
  call hex
  movl %edi,%eax
  call hex
  popal
  ret
fault: # error eip cs eflags
  pushal
  movb $'(',%al
  outb %al,$0xe9
  movl 32(%esp),%eax
  call hex
  movl %cr2,%eax
  call hex
  movl 36(%esp),%eax
  subl $B,%eax
  call hex
  movl 44(%esp),%eax
  andl $0x4d5,%eax
  call hex
  movl 4(%esp),%esi
  movl 0(%esp),%edi
  movl 24(%esp),%ecx
  call regs
  movb $')',%al
  outb %al,$0xe9
  movl %cr2,%eax
  shrl $12,%eax
  movl %eax,%edx
  andl $3,%eax
  leal 0x50(%eax),%ecx
  shll $12,%ecx
  orl $7,%ecx
  movl %ecx,0x21000(,%eax,4)
  shll $12,%edx
  invlpg (%edx)
  popal
  addl $4,%esp
  iretl
.include "exc32.s"
.align 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr: .word 0x17
 .long 0x10000+gdt
.include "lib.s"
