# Five-level paging, addresses that are not canonical, PCIDs and INVPCID.
.set gdt_given,1
.include "protected.s"
.macro U3 label, flags=2
  pushq $0x2b
  pushq $0x7000
  pushq $\flags
  pushq $0x33
  pushq $(B+\label)
  iretq
.endm
  movl $0x20000,%edi
  xorl %eax,%eax
  movl $0x2000,%ecx
  rep stosl
  movl $0x21007,0x20000      # PML5
  movl $0x22007,0x21000      # PML4
  movl $0x23007,0x22000      # PDPT
  movl $0x00000087,0x23000   # the first 4 MiB
  movl $0x00200087,0x23008
  movl $0x24007,0x23010      # 400000 by a table
  movl $0x50007,0x24000
  movl $0x51007,0x24008
  movl $0x20000,%eax
  movl %eax,%cr3
  movl $0x1620,%eax          # PAE, OSFXSR, OSXMMEXCPT, LA57
  movl %eax,%cr4
  movl $0xc0000080,%ecx
  rdmsr
  orl $0x901,%eax
  wrmsr
  movl %cr0,%eax
  orl $0x80010002,%eax
  movl %eax,%cr0
  ljmpl $0x18,$(B+long)
.code64
long: movl $0x6000,%esp
  call setidt
  movq $0x6000,0xa004
  movq $0x5000,0xa024        # IST1
  movq $0x5800,0xa02c
  movw $0x68,0xa066
  movw $SEL_TSS,%ax
  ltr %ax
  movb $1,0x9000+12*16+4     # #SS and #GP on a stack of their own
  movb $1,0x9000+13*16+4
  movb $1,0x9000+14*16+4
  T 1
  movq %cr4,%rax
  call hex
  movq 0x20000,%rax          # accessed bits at every level
  call hex
  movq 0x21000,%rax
  call hex
  movq 0x22000,%rax
  call hex
  movq 0x23000,%rax
  call hex
  call nl
  T 2
  # the highest canonical addresses of the lower and the upper half, and what lies between
  TRY 1f
  movabsq $0x00fffffffffffff0,%rbx
  movb (%rbx),%al            # #PF
1: TRY 1f
  movabsq $0xff00000000000000,%rbx
  movb (%rbx),%al            # #PF
1: TRY 1f
  movabsq $0x0100000000000000,%rbx
  movb (%rbx),%al            # #GP
1: TRY 1f
  movabsq $0xfeffffffffffffff,%rbx
  movb (%rbx),%al            # #GP
1: TRY 1f
  movabsq $0x00ffffffffffffff,%rbx
  movw (%rbx),%ax            # one byte canonical, the next not: #PF or #GP first
1: T 3
  # a page beyond 48 bits
  movl $0x25007,0x20000+8*0x12
  movl $0x26007,0x25000+8*0x34
  movl $0x27007,0x26000+8*0x56
  movl $0x28007,0x27000+8*0x78
  movl $0x00052007,0x28000+8*0x9a
  movl $0x11223344,0x52000
  movabsq $0x00121a158f09a000,%rbx
  movl (%rbx),%eax
  call hex
  movl $0x55667788,4(%rbx)
  movl 0x52004,%eax
  call hex
  movq 0x28000+8*0x9a,%rax
  call hex
  call nl
  T 4
  # PS in a PML5 entry and in a PML4 entry is reserved; a writable page below a read-only PML5 entry
  orl $0x80,0x20000+8*0x12
  movq %cr3,%rax
  movq %rax,%cr3
  TRY 1f
  movl (%rbx),%eax
1: movl $0x25005,0x20000+8*0x12
  movq %cr3,%rax
  movq %rax,%cr3
  TRY 1f
  movl %eax,(%rbx)
1: movl $0x25003,0x20000+8*0x12
  movq %cr3,%rax
  movq %rax,%cr3
  TRY 1f
  U3 user
user: movl (%rbx),%eax
1: movl $0x25007,0x20000+8*0x12
  movl $0x80000000,0x20004+8*0x12
  movq %cr3,%rax
  movq %rax,%cr3
  TRY 1f
  call *%rbx                 # no execute at the top level
1: T 5
  # LA57 cannot change in long mode
  TRY 1f
  movq %cr4,%rax
  btrq $12,%rax
  movq %rax,%cr4
1: T 6
  # the stack segment: #SS, by instruction
  movabsq $0x8000000000000000,%rdx
  TRY 1f
  movq %rdx,%rsp
  pushq %rax
1: TRY 1f
  movq %rdx,%rsp
  popq %rax
1: TRY 1f
  movq %rdx,%rsp
  call hex
1: TRY 1f
  movq %rdx,%rsp
  ret
1: TRY 1f
  movq %rdx,%rsp
  iretq
1: TRY 1f
  movq %rdx,%rbp
  leave
1: TRY 1f
  movq %rdx,%rbp
  movl 8(%rbp),%eax
1: TRY 1f
  movq %rdx,%rsp
  movl (%rsp,%rax),%eax
1: TRY 1f
  movq %rdx,%rbp
  movl (%rax,%rbp),%eax      # an index does not make it the stack: #GP
1: TRY 1f
  movq %rdx,%rbp
  movl %fs:(%rbp),%eax       # #GP
1: TRY 1f
  movq %rdx,%r13
  movl (%r13),%eax           # #GP
1: TRY 1f
  pushq (%rdx)               # #GP: the operand
1: TRY 1f
  movq %rdx,%rsp
  pushq B                    # #SS: the push
1: TRY 1f
  movq %rdx,%rsp
  popq 0x8100
1: TRY 1f
  call *(%rdx)
1: TRY 1f
  movq %rdx,%rsp
  enter $16,$0
1: TRY 1f
  movq %rdx,%rbp
  lock btsq %rcx,(%rbp)
1: TRY 1f
  movq %rdx,%rsi
  movl $1,%ecx
  rep lodsb
1: TRY 1f
  jmp *%rdx                  # the target: #GP
1: TRY 1f
  pushq %rdx
  ret                        # the same
1: T 7
  # an exception on a stack that is not canonical: double fault on a good one
  movb $2,0x9000+8*16+4
  TRY 1f
  movq %rdx,%rsp
  ud2
1: movl $0x6000,%esp
  T 8
  # MSRs and bases take 57 bits
  movl $0xc0000100,%ecx
  movl $0x00ffffff,%edx
  xorl %eax,%eax
  wrmsr
  rdmsr
  movl %edx,%eax
  call hex
  call nl
  movl $0xc0000100,%ecx
  xorl %edx,%edx
  xorl %eax,%eax
  wrmsr
  TRY 1f
  movl $0x01000000,%edx
  wrmsr
1: T 9
  # PCIDs: CR4.PCIDE needs PCID 0 at first
  TRY 1f
  movq %cr3,%rax
  orq $5,%rax
  movq %rax,%cr3
  movq %cr4,%rax
  btsq $17,%rax
  movq %rax,%cr4
1: movl $0x20000,%eax
  movq %rax,%cr3
  movq %cr4,%rax
  btsq $17,%rax
  movq %rax,%cr4
  movq %cr4,%rax
  call hex
  # two spaces that differ in the page at 401000
  movl $0x20000,%esi
  movl $0x30000,%edi
  movl $0x1400,%ecx
  cld
  rep movsl
  movl $0x31007,0x30000
  movl $0x32007,0x31000
  movl $0x33007,0x32000
  movl $0x34007,0x33010
  movl $0x53007,0x34008
  movl $0xaaaa,0x51000
  movl $0xbbbb,0x53000
  movl $0x20001,%ebx
  movl $0x30002,%ebp
  movq %rbx,%cr3
  movl 0x401000,%eax
  call hex
  movq %rbp,%cr3
  movl 0x401000,%eax
  call hex
  btsq $63,%rbx
  movq %rbx,%cr3             # without a flush
  movl 0x401000,%eax
  call hex
  movq %cr3,%rax             # bit 63 is not kept
  call hex
  call nl
  T 0xa
  # INVPCID: each type after the page has changed
.macro CHANGE page
  movl $\page,0x24008
.endm
  movq $1,0x8100             # PCID 1
  movq $0x401000,0x8108
  CHANGE 0x53007
  xorl %eax,%eax
  invpcid 0x8100,%rax
  movl 0x401000,%eax
  call hex
  CHANGE 0x51007
  movl $1,%eax
  invpcid 0x8100,%rax
  movl 0x401000,%eax
  call hex
  CHANGE 0x53007
  movl $2,%eax
  invpcid 0x8100,%rax
  movl 0x401000,%eax
  call hex
  CHANGE 0x51007
  movl $3,%eax
  invpcid 0x8100,%rax
  movl 0x401000,%eax
  call hex
  call nl
  T 0xb
  # wrong: the type, a reserved bit, an address that is not canonical (type 0 only), ring 3, a register operand
  TRY 1f
  movl $4,%eax
  invpcid 0x8100,%rax
1: TRY 1f
  movq $0x1001,0x8100
  xorl %eax,%eax
  invpcid 0x8100,%rax
1: movq $1,0x8100
  TRY 1f
  movabsq $0x0100000000000000,%rax
  movq %rax,0x8108
  movl $1,%eax
  invpcid 0x8100,%rax
  xorl %eax,%eax
  invpcid 0x8100,%rax
1: TRY 1f
  U3 u2
u2: invpcid 0x8100,%rax
1: TRY 1f
  movl $1,%eax
  invpcid (%rdx),%rax
1: T 0xc
  # without CR4.PCIDE only PCID 0 exists
  movl $0x20000,%eax
  movq %rax,%cr3
  movq %cr4,%rax
  btrq $17,%rax
  movq %rax,%cr4
  TRY 1f
  movl $1,%eax
  invpcid 0x8100,%rax
1: movl $2,%eax
  invpcid 0x8100,%rax
  TRY 1f
  movabsq $0x8000000000020000,%rax
  movq %rax,%cr3             # bit 63 is reserved
1: jmp quit
.include "exc64.s"
.align 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff  # 8 10 18
  .quad 0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff         # 20 28 30
  .quad 0x00008900a0000067, 0                                              # 38 TSS
.equ SEL_TSS,0x38
gdtr: .word 0x47
 .long 0x10000+gdt
.include "lib.s"
