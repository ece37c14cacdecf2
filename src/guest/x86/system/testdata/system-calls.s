# SYSCALL and SYSRET while single-stepping: what counts is TF when they are done. Long mode, ring 0 and ring 3.
.set gdt_given,1
.include "long.s"
.macro MSR n, high, low
  movl $\n,%ecx
  movl $\low,%eax
  movl $\high,%edx
  wrmsr
.endm
  movl $0x6000,%esp
  call setidt
  movq $0x5000,0xa004
  movw $0x68,0xa066
  movw $SEL_TSS,%ax
  ltr %ax
  MSR 0xc0000081, 0x00200018, 0
  MSR 0xc0000082, 0, (B+entry)
  MSR 0xc0000083, 0, (B+entry)
  MSR 0xc0000084, 0, 0
  # SYSRET brings TF: the trap comes before the first instruction in ring 3
  T 1
  TRY t2
  movl $(B+user),%ecx
  movl $0x102,%r11d
  sysretq
t2: T 2
  TRY t3
  movl $(B+user),%ecx
  movl $0x102,%r11d
  sysretl
  # SYSRET takes TF away: no trap
t3: T 3
  TRY t4
  movl $(B+quiet),%ecx
  movl $2,%r11d
  pushq $0x102
  popfq
  sysretq
quiet: ud2
  # SYSCALL leaves TF: the trap comes before the first instruction in ring 0
t4: T 4
  TRY t5
  call ring3
  pushfq
  orl $0x100,(%rsp)
  popfq
  syscall
  ud2
  # SYSCALL takes TF away by FMASK: no trap
t5: T 5
  TRY t6
  MSR 0xc0000084, 0, 0x100
  call ring3
  pushfq
  orl $0x100,(%rsp)
  popfq
  syscall
back: ud2
  # ... and back again: one trap behind the instruction
t6: T 6
  TRY t7
  movl $(B+again),%eax
  movl $0xc0000082,%ecx
  xorl %edx,%edx
  wrmsr
  call ring3
  pushfq
  orl $0x100,(%rsp)
  popfq
  syscall
  nop
  ud2
  # the same from 32-bit code
t7: T 7
  TRY done
  MSR 0xc0000083, 0, (B+again32)
  movl $(B+compat),%ecx
  movl $2,%r11d
  sysretl
done: jmp quit
.code32
compat:
  movl $0x7000,%esp
  pushfl
  orl $0x100,(%esp)
  popfl
  syscall
  nop
  ud2
.code64
again: sysretq
again32: sysretl
entry: ud2
user: ud2
ring3: # the caller goes on in ring 3
  popq %rcx
  movl $0x7000,%esp
  movl $2,%r11d
  sysretq
.include "exc64.s"
.align 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff  # 8 10 18
  .quad 0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff         # 20 28 30
  .quad 0x00008900a0000067, 0                                              # 38 TSS
.equ SEL_TSS,0x38
gdtr: .word 0x47
 .long 0x10000+gdt
.include "lib.s"
