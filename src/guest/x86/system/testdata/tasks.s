# Task switch, virtual-8086 mode, 32-bit paging.
.set gdt_given,1
.include "protected.s"
  movl $0x6000,%esp
  call setidt
  movl $0x10,0xa008
  movl $0x6000,0xa004
  movw $0x68,0xa066
  movw $SEL_TSS,%ax
  ltr %ax
  # second task at b000
  movl $0x10,0xb008
  movl $0x5800,0xb004
  movl $(B+task2),0xb020
  movl $2,0xb024
  movl $0x11111111,0xb028
  movl $0x22222222,0xb02c
  movl $0x5000,0xb038
  movl $0x33333333,0xb03c
  movl $0x10,0xb048
  movl $0x08,0xb04c
  movl $0x10,0xb050
  movl $0x10,0xb054
  movl $0,0xb058
  movl $0x10,0xb05c
  movl $0,0xb060
  movw $0x68,0xb066
  T 1
  movl $0xdeadbeef,%ebx
  lcall $SEL_TSS2,$0
  movl %ebx,%eax
  call hex
  str %eax
  call hex
  movl %cr0,%eax
  call hex
  pushfl
  popl %eax
  call hex
  movzwl 0xb000,%eax
  call hex
  movl B+gdt+SEL_TSS2+4,%eax
  call hex
  movl B+gdt+SEL_TSS+4,%eax
  call hex
  call nl
  T 2
  lcall $SEL_TSS2,$0         # goes on after the iret of the task
  call nl
  T 3
  TRY 1f
  lcall $SEL_TSSBUSY,$0      # busy: GP
1: T 4
  # task gate for vector 0x32, by INT
  movl $(SEL_TSS2<<16),0x9000+0x32*8
  movl $0x8500,0x9004+0x32*8
  movl $(B+task2),0xb020
  int $0x32
  call nl
  T 5
  # fault with error code through a task gate: #GP
  movl 0x9000+13*8,%esi
  movl 0x9004+13*8,%edi
  movl $(SEL_TSS2<<16),0x9000+13*8
  movl $0x8500,0x9004+13*8
  movl $(B+task3),0xb020
  movl $0x5000,0xb038
  movl $0xfff8,%eax
  movl %eax,%es
t5r: movl %esi,0x9000+13*8
  movl %edi,0x9004+13*8
  call nl
  T 6
  # JMP to a task with a bad DS: #TS in the new task
  movl $0x28,0xb054
  movl $(B+task2),0xb020
  TRY 1f
  ljmp $SEL_TSS2,$0
1: str %eax
  call hex
  call nl
  cmpw $SEL_TSS,%ax
  je 1f
  movl $0x10,0xb054
  ljmp $SEL_TSS,$0           # back to the first task: where it was left
1:
  # virtual-8086 mode
  T 7
  movl $0x12345678,0xb0f0
  movl $0xffffffff,%eax
  movl $0xa068,%edi
  movl $0x40,%ecx
  cld
  movl $0x10,%ebx
  movl %ebx,%es
  rep stosl
  movw $0x88,0xa066          # room for the redirection bitmap at 68
  movl $0,0xa068
  movb $0xfd,0xa088+0x1d
  TRY 1f
  call v86
  .word vm1
1: T 8
  TRY 1f
  call v86
  .word vm2
1: T 9
  TRY 1f
  call v86
  .word vm3
1: T 0xa
  # VME: INT n by the bitmap, virtual interrupt flag
  movl %cr4,%eax
  orl $1,%eax
  movl %eax,%cr4
  movl $0,0xa070
  movl $0x1000*65536,%eax
  addl $vmint,%eax
  movl %eax,0x40*4
  TRY 1f
  call v86
  .word vm4
1: T 0xb
  movb $1,0xa068+8           # vector 0x40 to the monitor
  TRY 1f
  call v86
  .word vm5
1: # paging, 32-bit
  T 0xd
  movl $0x20000,%edi
  xorl %eax,%eax
  movl $0x1000,%ecx
  rep stosl
  movl $0x83,0x20000         # first 4 MiB, supervisor, large
  movl $0x21007,0x20004      # 4 MiB - 8 MiB by a table
  movl $0x22007,0x20008
  movl $0x00050007,0x21000   # 400000 user writable
  movl $0x00051005,0x21004   # 401000 user read-only
  movl $0x00052003,0x21008   # 402000 supervisor
  movl $0x00053001,0x2100c   # 403000 supervisor read-only
  movl $0x20000,%eax
  movl %eax,%cr3
  movl %cr4,%eax
  orl $0x10,%eax
  movl %eax,%cr4
  movl %cr0,%eax
  orl $0x80010000,%eax
  movl %eax,%cr0
  TRY 1f
  movl 0x400000,%eax
  movl 0x404000,%eax         # not present
1: T 0xe
  TRY 1f
  movl %eax,0x401000         # WP: 3
1: T 0xf
  movl %cr0,%eax
  andl $~0x10000,%eax
  movl %eax,%cr0
  TRY 1f
  movl $0x55aa55aa,0x403000
  movl 0x403000,%eax
  call hex
  movl 0x2100c,%eax
  call hex
  movl 0x21000,%eax
  call hex
  movl 0x20000,%eax
  call hex
  movl 0x20004,%eax
  call hex
  call nl
1: movl %cr0,%eax
  orl $0x10000,%eax
  movl %eax,%cr0
  T 0x10
  TRY 1f
  movl %eax,0x403000         # cached as writable? WP: 3
1: T 0x11
  # code for ring 3 in 400000
  movl $(B+pu),%esi
  movl $0x400000,%edi
  movl $0x40,%ecx
  rep movsl
  TRY 1f
  pushl $0x23
  pushl $0x400f00
  pushl $0x0002
  pushl $0x1b
  pushl $0x400000
  iretl
1: T 0x12
  TRY 1f
  pushl $0x23
  pushl $0x400f00
  pushl $0x0002
  pushl $0x1b
  pushl $0x400000+pu2-pu
  iretl
1: T 0x13
  TRY 1f
  pushl $0x23
  pushl $0x400f00
  pushl $0x0002
  pushl $0x1b
  pushl $0x403000
  iretl
1: T 0x14
  TRY 1f
  pushl $0x23
  pushl $0x400f00
  pushl $0x0002
  pushl $0x1b
  pushl $0x400000+pu3-pu
  iretl
1: T 0x15
  # access across two pages, the second missing: nothing is written
  movl $0x54007,0x21010      # 404000
  movl $0x11223344,0x54ffc
  TRY 1f
  movl $0x0a0b0c0d,0x404ffe  # 405000 is missing
1: movl 0x54ffc,%eax
  call hex
  movl $0x55007,0x21014
  movl $0x0a0b0c0d,0x404ffe
  movl 0x54ffc,%eax
  call hex
  movl 0x55000,%eax
  call hex
  call nl
  T 0x16
  # INVLPG and stale entries
  movl $0x77,0x56000
  movl 0x405000,%eax
  movl $0x56007,0x21014
  invlpg 0x405000
  movl 0x405000,%eax
  call hex
  # CMPXCHG faults as a write
  TRY 1f
  movl $1,%eax
  lock cmpxchgl %ecx,0x401000
1: T 0x17
  # PSE: reserved bit 21
  movl $0x00400083|0x200000,0x20008
  movl %cr3,%eax
  movl %eax,%cr3
  TRY 1f
  movl 0x800000,%eax
1: T 0x18
  # reload a global page's mapping: PGE keeps it over a CR3 write
  movl %cr4,%eax
  orl $0x80,%eax
  movl %eax,%cr4
  movl $0x57107,0x21018      # 406000 global
  movl $0x99,0x57000
  movl $0x88,0x58000
  movl 0x406000,%eax
  call hex
  movl $0x58107,0x21018
  invlpg 0x406000
  movl 0x406000,%eax
  call hex
  call nl
  T 0x19
  # double fault: the page of the stack is gone
  movl $0x5a000,%eax
  movl $(SEL_TSS2<<16),0x9000+8*8
  movl $0x8500,0x9004+8*8
  movl $(B+task4),0xb020
  movl $0x5000,0xb038
  movl $0x20000,0xb01c
  movl $0x407ff0,%esp
  pushl %eax
task4: call nl
  call hex
  popl %eax
  call hex
  movl %cr2,%eax
  call hex
  str %eax
  call hex
  call nl
  jmp quit
task2:
  call hex
  movl %ecx,%eax
  call hex
  movl %ebp,%eax
  call hex
  str %eax
  call hex
  pushfl
  popl %eax
  call hex
  movl %esp,%eax
  call hex
  iretl
  movl $0x44444444,%eax
  jmp task2
task3:
  popl %eax            # the error code
  call hex
  movl $(B+t5r),0xa020
  iretl
v86: # enters virtual-8086 mode at 1000:[return address]
  popl %eax
  movzwl (%eax),%eax
  xorl %edx,%edx
  pushl $0x1111        # gs fs ds es
  pushl $0x2222
  pushl $0x1000
  pushl $0x4444
  pushl $0x0500        # ss
  pushl $0x0f00
  pushl $0x20002
  pushl $0x1000
  pushl %eax
  iretl
pu: movl $0x23,%eax
  movl %eax,%ds
  movl 0x401000,%eax
  movl %eax,0x400800
  movl %eax,0x401000   # user write to read-only: 7
pu2: movl $0x23,%eax
  movl %eax,%ds
  movl 0x402000,%eax # user read of supervisor: 5
pu3: jmp *%ecx
  .code16
vm1: movw %cs,%ax
  movw %ds,%bx
  movb $'v',%al
  outb %al,$0xe9       # allowed
  movw %gs,%cx
  cli                  # GP
vm2: pushfw            # GP
vm3: int $0x20         # GP: IOPL 0, no VME
vm4: sti               # VIF
  int $0x40            # redirected to vmint
  cli
  pushfw
  popw %ax
  hlt
vm5: int $0x40         # to the monitor: IOPL < 3 so GP
vmint: movw $'i',%ax
  outb %al,$0xe9
  iretw
.include "exc32.s"
.align 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
  .quad 0x00cffb000000ffff, 0x00cff3000000ffff          # 1b, 23
  .quad 0x00008900a00000ff                               # 28 TSS at a000, limit ff
  .quad 0x00008900b0000067                               # 30 TSS at b000
  .quad 0x00008b00c0000067                               # 38 busy
.equ SEL_TSS,0x28
.equ SEL_TSS2,0x30
.equ SEL_TSSBUSY,0x38
gdtr: .word 0x3f
 .long 0x10000+gdt
.include "lib.s"
