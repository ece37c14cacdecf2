.set gdt_given,1
.include "long.s"
.macro U3 label, flags=2, sp=0x7000, cs=0x33, ss=0x2b
  pushq $\ss
  pushq $\sp
  pushq $\flags
  pushq $\cs
  pushq $(B+\label)
  iretq
.endm
  movl $0x6000,%esp
  call setidt
  movq $0x6000,0xa004
  movq $0x5000,0xa024      # IST1
  movw $0x68,0xa066
  movw $SEL_TSS,%ax
  ltr %ax
  T 1
  TRY 1f
  ud2
1: T 2
  TRY 1f
  movabsq $0x800000000000,%rax
  movb (%rax),%al          # not canonical: GP
1: T 3
  TRY 1f
  movabsq $0x8000000000,%rax
  movb (%rax),%al
1: T 4
  TRY 1f
  movl $0x28|3,%eax
  movl %eax,%ss            # rpl 3 at cpl 0
1: T 5
  TRY 1f
  movl $3,%eax
  movl %eax,%ss            # null with rpl 3
1: xorl %eax,%eax
  movl %eax,%ss            # null with rpl 0 is fine
  T 6
  TRY 1f
  int $0x30
1: T 7
  movb $1,0x9000+6*16+4    # #UD on IST1
  TRY 1f
  movl $0x1234,%ebp
  movl $0x5ff8,%esp
  ud2
1: movb $0,0x9000+6*16+4
  T 8
  # ring 3
  TRY 1f
  U3 u1
u1: hlt
1: T 9
  TRY 1f
  U3 u2
u2: int $0x30            # GP(0x182)
1: T 0xa
  TRY 1f
  U3 u3, 0x3202
u3: movl %cs,%eax
  cli
  ud2
1: T 0xb
  # SYSCALL and SYSRET
  movl $0xc0000081,%ecx
  movl $0x00200018,%edx    # sysret 20: 32-bit cs 20|3, ss 28|3, 64-bit cs 30|3; syscall 18
  xorl %eax,%eax
  wrmsr
  incl %ecx
  movl $(B+sc),%eax
  xorl %edx,%edx
  wrmsr
  incl %ecx
  movl $(B+sc32),%eax
  wrmsr
  incl %ecx
  movl $0x47701,%eax       # FMASK: TF IF DF IOPL NT AC CF
  wrmsr
  TRY 1f
  U3 u4, 0x203
u4: stc
  movl $0x77,%r9d
  syscall
  ud2
1: T 0xc
  TRY 1f
  U3 u5, 2, 0x7000, 0x23
.code32
u5: movl $0x12345678,%ecx
  stc
  syscall                # from compatibility code: CSTAR
  ud2
.code64
1: T 0xd
  # SYSENTER, SYSEXIT
  movl $0x174,%ecx
  xorl %edx,%edx
  movl $0x18,%eax
  wrmsr
  incl %ecx
  movl $0x5800,%eax
  wrmsr
  incl %ecx
  movl $(B+se),%eax
  wrmsr
  TRY 1f
  U3 u6
u6: sysenter
  ud2
1: T 0xe
  # compatibility mode: upper halves, stack, 32-bit wrap
  TRY 1f
  U3 u7, 2, 0x7000, 0x23
.code32
u7: movl $0x2b,%eax
  movl %eax,%ds
  pushl $0x11
  movl %esp,%eax
  movl $0xffffffff,%ecx
  movb 0x1000(%ecx),%bl   # wraps to fff
  ud2
.code64
1: T 0xf
  # NX
  movl $0xc0000080,%ecx
  rdmsr
  call hex
  call nl
  movl $0x23007,0x22010      # 400000 by a table
  movl $0x50007,0x23000
  movl $0,0x23004
  movl $0x51005,0x23008
  movl $0x80000000,0x2300c
  movl $0x52003,0x23010
  movb $0xc3,0x50000
  movb $0xc3,0x51000
  movb $0xc3,0x52000
  movl $0x400000,%eax
  call *%rax
  TRY 1f
  movl $0x401000,%eax
  call *%rax               # NX: 11
1: T 0x10
  TRY 1f
  movl %eax,0x401000       # read-only, WP: 3
1: T 0x11
  # SMEP
  movl $0x83,0x22000         # the code's own page is the supervisor's now
  movq %cr3,%rax
  movq %rax,%cr3
  movq %cr4,%rax
  btsq $20,%rax
  movq %rax,%cr4
  TRY 1f
  movl $0x402000,%eax
  call *%rax               # supervisor page: fine
  movl $0x400000,%eax
  call *%rax               # user page: 11
1: T 0x12
  # SMAP
  movq %cr4,%rax
  btsq $21,%rax
  movq %rax,%cr4
  TRY 1f
  stac
  movl 0x400000,%ebx
  clac
  movl 0x400000,%ebx       # 1
1: T 0x13
  TRY 1f
  movl $0x55,%eax
  stac
  movl %eax,0x400100
  clac
  movl %eax,0x400100       # 3
1: movq %cr4,%rax
  btrq $21,%rax
  btrq $20,%rax
  movq %rax,%cr4
  movl $0x87,0x22000
  movq %cr3,%rax
  movq %rax,%cr3
  T 0x14
  # reserved bits: address beyond MAXPHYADDR, PS in a PML4 entry
  movl $0x50007,0x23018
  movl $0x00080000,0x2301c  # bit 51
  TRY 1f
  movl 0x403000,%eax       # 9
1: T 0x15
  movl $0x21087,0x20008
  TRY 1f
  movabsq $0x8000000000,%rbx
  movl (%rbx),%eax         # 9
1: T 0x16
  # 1 GiB page at 1 GiB maps 0
  movl $0x00000087,0x21008
  movl $0x40020000,%ebx
  movq (%rbx),%rax
  call hex
  movl 0x21008,%eax
  call hex
  movq 0x23000,%rax
  call hex
  movq 0x20000,%rax
  call hex
  call nl
  T 0x17
  # reserved bits of a 1 GiB page
  movl $0x00002087,0x21010
  TRY 1f
  movl $0x80000000,%ebx
  movl (%rbx),%eax
1: T 0x18
  # user fetch of a supervisor page, and of NX
  TRY 1f
  U3 0x3f2000
1: T 0x19
  TRY 1f
  U3 0x3f1000
1: T 0x1a
  # double fault on IST: #UD with a bad stack
  movb $1,0x9000+8*16+4
  movb $0,0x9000+14*16+4
  TRY 1f
  movabsq $0xffff900000001000,%rsp
  ud2
1: T 0x1b
  # GP on writes to control registers
  TRY 1f
  movq %cr4,%rax
  btrq $5,%rax
  movq %rax,%cr4           # PAE in long mode
1: T 0x1c
  TRY 1f
  movq %cr0,%rax
  btrq $31,%rax
  movq %rax,%cr0           # PG in 64-bit code
1: T 0x1d
  TRY 1f
  movq $-1,%rax
  movq %rax,%cr3
1: T 0x1e
  TRY 1f
  movl $0xc0000080,%ecx
  rdmsr
  orl $2,%eax
  wrmsr
1: T 0x1f
  TRY 1f
  movl $0xc0000080,%ecx
  rdmsr
  btrl $8,%eax
  wrmsr                    # LME while paging
1: T 0x20
  TRY 1f
  movl $0xc0000100,%ecx
  movl $0x80000000,%edx
  wrmsr                    # not canonical
1: T 0x21
  TRY 1f
  movl $0xff,%eax
  movq %rax,%cr8
1: T 0x22
  TRY 1f
  movabsq $0x100000000,%rax
  movq %rax,%dr7
1: T 0x23
  # FSGSBASE, SWAPGS
  TRY 1f
  rdfsbase %rax            # UD: CR4
1: movq %cr4,%rax
  btsq $16,%rax
  movq %rax,%cr4
  movabsq $0x123456789a,%rax
  wrfsbase %rax
  wrgsbase %eax
  rdfsbase %ebx
  movq %rbx,%rax
  call hex
  rdgsbase %rax
  call hex
  movl $0xc0000102,%ecx
  movl $0x5555,%eax
  xorl %edx,%edx
  wrmsr
  swapgs
  rdgsbase %rax
  call hex
  rdmsr
  call hex
  TRY 1f
  movabsq $0x8000000000000000,%rax
  wrgsbase %rax
1: T 0x24
  # UMIP
  movq %cr4,%rax
  btsq $11,%rax
  movq %rax,%cr4
  TRY 1f
  sidt 0x7800
  movzwl 0x7800,%eax
  call hex
  movq 0x7802,%rax
  call hex
  U3 u8
u8: sidt 0x7800
1: T 0x25
  TRY 1f
  U3 u9
u9: smsw %eax
1: T 0x26
  # 64-bit call gate from ring 3 and back
  TRY 1f
  U3 u10
u10: rex.w lcall *B+gateptr
  ud2
1: T 0x27
  TRY 1f
  ljmp *B+gate32ptr        # to compatibility code in ring 0
.code32
c32: movl $0x20,%eax
  int $0x31
.code64
1: T 0x28
  # single step over syscall, iretq
  TRY 1f
  U3 u11, 0x102
u11: nop
  nop
1: T 0x29
  TRY 1f
  U3 u12, 0x102
u12: syscall
1: T 0x2a
  TRY 1f
  lcall *B+nullptr
1: T 0x2b
  TRY 1f
  movl $0x1d,%eax          # LDT selector without LDT
  movl %eax,%ds
1: T 0x2c
  lar %eax,%ebx
  jz 2f
  movl $SEL_TSS,%eax
  lar %eax,%eax
  call hex
  movl $SEL_TSS,%eax
  lsl %eax,%eax
  call hex
  str %eax
  call hex
2: call nl
  T 0x2d
  # interrupt delivery keeps RSP aligned
  TRY 1f
  movl $0x5f0d,%esp
  int $0x33
1: T 0x2e
  # INVLPG after remapping; accessed and dirty bits
  movl $0x54003,0x23020
  movl $0,0x23024
  movl $0x1111,0x54000
  movl $0x2222,0x55000
  movl 0x404000,%eax
  call hex
  movq 0x23020,%rax
  call hex
  movl $0x55003,0x23020
  invlpg 0x404000
  movl 0x404000,%eax
  call hex
  movl %eax,0x404004
  movq 0x23020,%rax
  call hex
  call nl
  T 0x2f
  # CMPXCHG16B misaligned
  TRY 1f
  lock cmpxchg16b 0x7001
1: T 0x30
  # alignment check in ring 3
  movq %cr0,%rax
  btsq $18,%rax
  movq %rax,%cr0
  TRY 1f
  U3 u13, 0x40002
u13: movl 0x7000,%eax
  movl 0x7001,%eax
1: T 0x31
  # a segment that the outer level may not use becomes null, and its base stays
  movl $0x10,%eax
  movl %eax,%gs
  movl $0x7000,%eax
  wrgsbase %rax
  movl $0xabcd,0x7010
  TRY 1f
  U3 u14
u14: movl %gs,%ebx
  movl %ebx,0x7020
  movl %gs:0x10,%ebx
  movl %ebx,0x7028
  ud2
1: movl 0x7020,%eax
  call hex
  movl 0x7028,%eax
  call hex
  call nl
  T 0x32
  # bases and MSRs take what the processor's 57 bits hold, though addresses have 48 here; debug registers take anything
  movabsq $0xff7fffff12345678,%rbx
  movq %rbx,%rdx
  shrq $32,%rdx
  movl %ebx,%eax
  movl $0xc0000102,%ecx
  TRY 1f
  wrmsr
  rdmsr
  movl %edx,%eax
  call hex
  wrfsbase %rbx
  rdfsbase %rax
  shrq $32,%rax
  call hex
  movw $0xfff,0x8100
  movq %rbx,0x8102
  sidt 0x8110
  lidt 0x8100
  sidt 0x8120
  lidt 0x8110
  movl 0x8126,%eax
  call hex
  movabsq $0x7fffff1234567812,%rax
  movq %rax,%dr1
  movq %dr1,%rax
  shrq $32,%rax
  call hex
  call nl
  xorl %eax,%eax
  movq %rax,%dr1
1: TRY 1f
  btcq $62,%rbx
  wrfsbase %rbx
1: jmp quit
sc: movq %rcx,%rax
  subq $B,%rax
  call hex
  movq %r11,%rax
  call hex
  movl %cs,%eax
  call hex
  movl %ss,%eax
  call hex
  pushfq
  popq %rax
  call hex
  cmpl $0x77,%r9d
  jne 2f
  xorl %r9d,%r9d
  call nl
  sysretq
2: call nl
  ud2
sc32: movq %rcx,%rax
  subq $B,%rax
  call hex
  movl %cs,%eax
  call hex
  movl %ss,%eax
  call hex
  call nl
  movl $0x6000,%esp
  sysretl
se: movl %cs,%eax
  call hex
  movl %ss,%eax
  call hex
  movq %rsp,%rax
  call hex
  call nl
  movl $(B+u6+2),%edx
  movl $0x7000,%ecx
  sysexitq
gateto: movl %cs,%eax
  call hex
  movl %ss,%eax
  call hex
  movq %rsp,%rax
  call hex
  movq 8(%rsp),%rax
  call hex
  movq 16(%rsp),%rax
  call hex
  movq 24(%rsp),%rax
  call hex
  call nl
  lretq
.align 8
gateptr: .quad 0
  .word SEL_GATE|3
gate32ptr: .long B+c32
  .word 8
nullptr: .long 0
  .word 0
.include "exc64.s"
.align 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff  # 8 10 18
  .quad 0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff         # 20 28 30
  .quad 0x00008900a0000067, 0                                              # 38 TSS
  .word gateto, 0x18, 0xec00, 1                                            # 48 call gate
  .quad 0
.equ SEL_TSS,0x38
.equ SEL_GATE,0x48
gdtr: .word 0x57
 .long 0x10000+gdt
.include "lib.s"
