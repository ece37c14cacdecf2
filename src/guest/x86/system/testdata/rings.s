.set gdt_given,1
.include "protected.s"
  movl $0x6000,%esp
  call setidt
  # ring-0 faults
  T 1
  TRY 1f
  ud2
1: T 2
  TRY 1f
  movl $0x33,%eax
  movl %eax,%ds        # beyond? index 6 rpl 3
1: T 3
  TRY 1f
  movl $0xfff8,%eax
  movl %eax,%es        # beyond the limit
1: T 4
  TRY 1f
  movl $0x8,%eax
  movl %eax,%ss        # code into ss
1: T 5
  TRY 1f
  movl $SEL_NP,%eax
  movl %eax,%fs        # not present: #NP
1: T 6
  TRY 1f
  movl $SEL_NP,%eax
  movl %eax,%ss        # not present: #SS
1: T 7
  TRY 1f
  xorl %eax,%eax
  movl %eax,%ss        # null
1: T 8
  TRY 1f
  xorl %eax,%eax
  movl %eax,%gs
  movl %gs:0,%eax      # null use: GP(0)
1: T 9
  TRY 1f
  int $0x30            # gate ok: prints vector 0x30
1: T 0xa
  TRY 1f
  int $0x50            # beyond IDT: GP(0x282)
1: T 0xb
  TRY 1f
  lcall $SEL_NP,$0
1: T 0xc
  TRY 1f
  ljmp $0x10,$0        # data
1: T 0xd
  TRY 1f
  ljmp $0,$0
1: T 0xe
  # LAR, LSL, VERR, VERW
  movl $0x8,%ecx
  xorl %eax,%eax
  lar %ecx,%eax
  call hex
  lsl %ecx,%eax
  call hex
  movl $0x10,%ecx
  lar %ecx,%eax
  call hex
  movl $SEL_NP,%ecx
  lar %ecx,%eax
  call hex
  movl $SEL_SMALL,%ecx
  lsl %ecx,%eax
  call hex
  movl $0x5a5a,%eax
  movl $0xfff8,%ecx
  lar %ecx,%eax
  call hex
  movw $8,%cx
  verr %cx
  setz %al
  verw %cx
  setz %ah
  movw $0x10,%cx
  verr %cx
  setz %dl
  verw %cx
  setz %dh
  movzwl %ax,%eax
  shll $16,%edx
  orl %edx,%eax
  call hex
  movl $SEL_TSS,%ecx
  lar %ecx,%eax
  call hex
  lsl %ecx,%eax
  call hex
  movl $SEL_GATE,%ecx
  lar %ecx,%eax
  call hex
  movl $0x77,%eax
  lsl %ecx,%eax
  call hex
  movw $0x1230,%ax
  movw $0x3,%cx
  arpl %cx,%ax
  setz %dl
  movzwl %ax,%eax
  call hex
  movzbl %dl,%eax
  call hex
  call nl
  # limits
  T 0xf
  TRY 1f
  movl $SEL_SMALL,%eax
  movl %eax,%es
  movb %es:0xfff,%al
  movb %es:0x1000,%al  # beyond limit: GP(0)
1: T 0x10
  TRY 1f
  movl $SEL_DOWN,%eax
  movl %eax,%es
  movb %es:0x1000,%al
  movb %es:0xfff,%al   # expand-down: GP(0)
1: T 0x11
  TRY 1f
  movl $SEL_RO,%eax
  movl %eax,%es
  movb %al,%es:0       # read-only
1: T 0x12
  TRY 1f
  movb %al,%cs:0x8100  # code not writable
1: T 0x13
  TRY 1f
  movl $SEL_XO,%eax
  movl %eax,%es        # execute-only
1:
  # TSS for rings
  movl $0x10,0xa008
  movl $0x6000,0xa004
  movw $0x68,0xa066
  T 0x14
  TRY 1f
  movw $0x10,%ax
  ltr %ax              # not a TSS
1: movw $SEL_TSS,%ax
  ltr %ax
  T 0x15
  TRY 1f
  ltr %ax              # busy now
1: T 0x16
  str %eax
  call hex
  sldt %eax
  call hex
  call nl
  # ring 3
  T 0x17
  TRY 1f
  pushl $0x23
  pushl $0x7000
  pushl $0x0002
  pushl $0x1b
  pushl $(B+u1)
  iretl
u1: movl %cs,%eax
  movl %ss,%ebx
  cli                  # GP(0)
1: T 0x18
  TRY 1f
  pushl $0x23
  pushl $0x7000
  pushl $0x0202
  pushl $0x1b
  pushl $(B+u2)
  iretl
u2: int $0x30          # DPL 0: GP(0x182)
1: T 0x19
  movl $0xee00,%eax
  movw %ax,0x9000+0x31*8+4
  TRY 1f
  pushl $0x23
  pushl $0x7000
  pushl $0x0202
  pushl $0x1b
  pushl $(B+u3)
  iretl
u3: int $0x31          # DPL 3
1: T 0x1a
  TRY 1f
  pushl $0x23
  pushl $0x7000
  pushl $0x0002
  pushl $0x1b
  pushl $(B+u4)
  iretl
u4: lcall $(SEL_GATE|3),$0     # call gate to ring 0 with two parameters
u4r: hlt               # GP
1: T 0x1b
  # data segments become null on the way out
  movl $0x10,%eax
  movl %eax,%fs
  movl $0x23,%eax
  movl %eax,%gs
  TRY 1f
  pushl $0x23
  pushl $0x7000
  pushl $0x0002
  pushl $0x1b
  pushl $(B+u5)
  iretl
u5: movl %fs,%eax
  movl %gs,%ebx
  movl %eax,%ecx
  orl %ebx,%ecx
  cmpl $0x23,%ecx
  jne 2f
  movl %gs:0,%eax
  movl %fs:0,%eax      # GP
2: ud2
1: T 0x1c
  # I/O permission: port e9 allowed by the bitmap, 80 not
  movl $0xffffffff,%eax
  movl $0xa068,%edi
  movl $0x40,%ecx
  cld
  movl %ds,%ebx
  movl %ebx,%es
  rep stosl
  movb $0xfd,0xa068+0x1d
  TRY 1f
  pushl $0x23
  pushl $0x7000
  pushl $0x0002
  pushl $0x1b
  pushl $(B+u6)
  iretl
u6: movb $'!',%al
  outb %al,$0xe9
  outw %ax,$0xe9       # GP
1: T 0x1d
  TRY 1f
  pushl $0x23
  pushl $0x7000
  pushl $0x3002        # IOPL 3
  pushl $0x1b
  pushl $(B+u7)
  iretl
u7: cli
  sti
  pushfl
  popl %eax
  movl $0x10,%ecx
  movl %ecx,%ds        # GP(10)
1: T 0x1e
  # popf at ring 3 with IOPL 0 does not change IF and IOPL
  TRY 1f
  pushl $0x23
  pushl $0x7000
  pushl $0x0002
  pushl $0x1b
  pushl $(B+u8)
  iretl
u8: pushl $0x247702
  popfl
  ud2
1: T 0x1f
  # return to outer with bad SS
  TRY 1f
  pushl $0x10
  pushl $0x7000
  pushl $0x0002
  pushl $0x1b
  pushl $(B+u8)
  iretl
1: T 0x20
  # far ret to ring 3 and immediate
  TRY 1f
  pushl $0x23
  pushl $0x7000
  pushl $5
  pushl $6
  pushl $0x1b
  pushl $(B+u9)
  lretl $8
u9: movl %esp,%eax
  cmpl $0x7008,%eax
  jne 2f
  ud2
2: hlt
1: T 0x21
  # single step: three instructions
  TRY 1f
  pushl $0x102
  popfl
  nop
  nop
1: T 0x22
  TRY 1f
  int3
1: T 0x23
  TRY 1f
  movb $0x7f,%al
  incb %al
  into
1: T 0x24
  TRY 1f
  .byte 0xf1
1: T 0x25
  TRY 1f
  movl $5,%eax
  bound %eax,B+bounds
  movl $9,%eax
  bound %eax,B+bounds
1: T 0x26
  # breakpoint on instruction, then on data
  movl $(B+bp1),%eax
  movl %eax,%dr0
  movl $0x8200,%eax
  movl %eax,%dr1
  movl $0x00d00403,%eax   # L0 G0 exec; 
  movl %eax,%dr7
  TRY 1f
  nop
bp1: nop
  ud2
1: T 0x27
  movl $0x00d0040c,%eax   # L1 G1 data write 4 bytes
  movl %eax,%dr7
  TRY 1f
  movl 0x8200,%eax
  movl %eax,0x8203
  nop
  ud2
1: movl $0x400,%eax
  movl %eax,%dr7
  T 0x28
  # general detect
  TRY 1f
  movl $0x2400,%eax
  movl %eax,%dr7
  movl %dr0,%eax
1: T 0x29
  TRY 1f
  movl $0x80000000,%eax
  orl $0x80000000,%eax
  movl %cr0,%ecx
  andl $~1,%ecx
  orl $0x80000000,%ecx
  movl %ecx,%cr0       # PG without PE: GP
1: T 0x2a
  TRY 1f
  movl %cr5,%eax
1: T 0x2b
  TRY 1f
  movl $0x80000000,%ecx
  rdmsr
1: T 0x2c
  TRY 1f
  movl $0,%eax
  movl %eax,%dr7
  movl %dr7,%eax
  call hex
  movl %dr6,%eax
  call hex
  movl $-1,%eax
  movl %eax,%dr6
  movl %dr6,%eax
  call hex
  xorl %eax,%eax
  movl %eax,%dr6
  movl %dr6,%eax
  call hex
  smsw %eax
  call hex
  call nl
1: jmp quit
gate:
  # called with two parameters from ring 3: stack eip cs p1 p2 esp ss
  movl %cs,%eax
  call hex
  movl 4(%esp),%eax
  call hex
  movl 0(%esp),%eax
  subl $B,%eax
  call hex
  movl 8(%esp),%eax
  call hex
  movl 20(%esp),%eax
  call hex
  call nl
  lretl $8
bounds: .long 1, 8
.include "exc32.s"
.align 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
  .quad 0x00cffb000000ffff, 0x00cff3000000ffff          # 1b, 23
  .quad 0x00cf13000000ffff                               # 28 not present
  .quad 0x0000930000000fff                               # 30 small
  .quad 0x0040970000000fff                               # 38 expand-down
  .quad 0x00cf91000000ffff                               # 40 read-only
  .quad 0x00cf99000000ffff                               # 48 execute-only
  .quad 0x00008900a00000ff                               # 50 TSS at a000, limit ff
  .word gate, 0x08, 0xec02, 1                             # 58 call gate to 1:gate, 2 parameters
.equ SEL_NP,0x28
.equ SEL_SMALL,0x30
.equ SEL_DOWN,0x38
.equ SEL_RO,0x40
.equ SEL_XO,0x48
.equ SEL_TSS,0x50
.equ SEL_GATE,0x58
gdtr: .word 0x5f
 .long 0x10000+gdt
.include "lib.s"
