# What ring 3 may not do (g: #GP, u: #UD, .u: done, then #UD), and time-stamp counters.
.set gdt_given,1
.include "long.s"
.macro U3 label, flags=2, cs=0x33
  pushq $0x2b
  pushq $0x7000
  pushq $\flags
  pushq $\cs
  pushq $(B+\label)
  iretq
.endm
.macro USER i:vararg
  TRY 9f
  U3 8f
8: \i
  movb $'.',%al
  outb %al,$0xe9
  ud2
9:
.endm
.macro CR4 set, clear=0
  movq %cr4,%rax
  orl $\set,%eax
  andl $~\clear,%eax
  movq %rax,%cr4
.endm
.macro GATE v, label
  movl $(B+\label),%eax
  movw %ax,0x9000+\v*16
  shrl $16,%eax
  movw %ax,0x9000+\v*16+6
.endm
  movl $0x6000,%esp
  call setidt
  movq $0x6000,0xa004
  movw $0x68,0xa066
  movw $SEL_TSS,%ax
  ltr %ax
  movw $0x68,0xa066
  # ring 3 may write to port e9 by the bitmap: TSS limit ff
  movl $0xffffffff,%eax
  movl $0xa068,%edi
  movl $0x40,%ecx
  cld
  rep stosl
  movb $0xfd,0xa068+0x1d
  GATE 6, short6
  GATE 13, short13
  T 1
  USER hlt
  USER clts
  USER invd
  USER wbinvd
  USER invlpg B
  USER movq %cr0,%rax
  USER movq %rax,%cr3
  USER movq %cr8,%rax
  USER movq %dr0,%rax
  USER movq %rax,%dr7
  USER lgdt 0x8100
  USER lidt 0x8100
  USER lldt %ax
  USER ltr %ax
  USER lmsw %ax
  USER rdmsr
  USER wrmsr
  USER sysretq
  USER sysexitq
  USER swapgs
  USER cli
  USER sti
  USER inb $0x80,%al
  USER outl %eax,$0xe8
  USER iretq
  USER xsetbv
  USER monitor
  USER mwait
  call nl
  T 2
  # allowed: the tables' addresses and the machine status word, until UMIP
  USER sgdt 0x8100
  USER sidt 0x8100
  USER sldt %eax
  USER str %eax
  USER smsw %eax
  USER verr %ax
  USER lar %ax,%ax
  CR4 0x800
  USER sgdt 0x8100
  USER sidt 0x8100
  USER sldt %eax
  USER str %eax
  USER smsw %eax
  USER verr %ax
  CR4 0, 0x800
  call nl
  T 3
  # counters: CR4.TSD, CR4.PCE, RDTSCP, RDPID
  USER rdtsc
  USER rdtscp
  CR4 4
  USER rdtsc
  USER rdtscp
  rdtsc
  CR4 0, 4
  USER rdpmc
  movl $0xc0000103,%ecx
  movl $0x1234,%eax
  xorl %edx,%edx
  wrmsr
  rdtscp
  movl %ecx,%eax
  call hex
  rdpid %rax
  call hex
  rdtsc
  shlq $32,%rdx
  leaq (%rdx,%rax),%rbx
  rdtsc
  shlq $32,%rdx
  addq %rdx,%rax
  cmpq %rbx,%rax
  seta %al
  movzbl %al,%eax
  call hex
  call nl
  T 4
  # MWAIT with an interrupt pending: one that IF masks ends it if ECX has bit 0; it comes when IF is set
  movl $0xc0000087,0x21018
  movl $0xfee000f0,%ebx
  movl $0x1ff,(%rbx)
  movl $0xfee00300,%ebx
  movl $0x35,(%rbx)
  movl $0x8100,%eax
  xorl %ecx,%ecx
  xorl %edx,%edx
  monitor
  movl $1,%ecx
  mwait
  movb $'m',%al
  outb %al,$0xe9
  TRY 1f
  sti
  nop
  nop
1: TRY 1f
  movl $2,%ecx
  mwait                        # an extension that is none: #GP
1: TRY 1f
  xorl %edx,%edx
  movl $1,%ecx
  monitor                      # the same
1: jmp quit
short6: movb $'u',%al
  jmp 1f
short13: movb $'g',%al
1: outb %al,$0xe9
  movl $0x6000,%esp
  xorl %eax,%eax
  movl %eax,%ss
  movl RES,%eax
  jmp *%rax
.include "exc64.s"
.align 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff  # 8 10 18
  .quad 0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff         # 20 28 30
  .quad 0x00008900a00000ff, 0                                              # 38 TSS
.equ SEL_TSS,0x38
gdtr: .word 0x47
 .long 0x10000+gdt
.include "lib.s"
