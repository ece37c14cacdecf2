# 16-bit protected mode: 16-bit gates, stacks and tasks; LDT; rings 1 and 2; conforming code.
.set gdt_given,1
.include "protected.s"
.macro SYS at, low, high
  movl $\low,0x9000+\at
  movl $\high,0x9004+\at
.endm
  movl $0x6000,%esp
  call setidt
  movl $0x10,0xa008
  movl $0x6000,0xa004
  movl $0x39,0xa010          # ring 1: a 16-bit stack
  movl $0x5f00,0xa00c
  movl $0x42,0xa018          # ring 2: a 32-bit stack
  movl $0x5e00,0xa014
  movw $0x68,0xa066
  movw $SEL_TSS,%ax
  ltr %ax
  T 1
  # 16-bit code and stack: SP wraps, the upper half of ESP stays
  movl $0x77770002,%esp
  movw $SEL_STACK16,%ax
  movw %ax,%ss
  ljmp $SEL_CODE16,$c1
.code16
c1: pushw $0x1234
  pushw $0x5678              # at FFFE of the segment
  movl %esp,%eax
  movl %eax,%ebp
  popw %bx
  popw %cx
  movl %esp,%edx
  call 1f                    # 16-bit offset on the stack
1: popw %si
  pushw $0x3344
  popw %di
  ljmpl $8,$(B+r1)
.code32
r1: movw $0x10,%ax
  movw %ax,%ss
  movl $0x6000,%esp
  movl %ebp,%eax
  call hex
  movl %edx,%eax
  call hex
  movzwl %bx,%eax
  call hex
  movzwl %cx,%eax
  call hex
  movzwl %si,%eax
  subl $1b,%eax
  call hex
  movzwl %di,%eax
  call hex
  call nl
  T 2
  # 16-bit interrupt and trap gates, from 16-bit code on a 32-bit stack
  SYS 0x34*8, (SEL_CODE16<<16)+h16, 0x8600
  SYS 0x35*8, (SEL_CODE16<<16)+h16, 0x8700
  SYS 13*8, (SEL_CODE16<<16)+f16, 0x8600
  TRY 1f
  ljmp $SEL_CODE16,$c2
.code16
c2: sti
  int $0x34
  movw %ax,%bp
  int $0x35
  cli
  movw %ax,%si
  movl %esp,%edi
  # a fault with an error code
  movw $0xfff8,%bx
c3: movw %bx,%es
  ljmpl $8,$(B+r2)
.code32
r2: movzwl %bp,%eax
  call hex
  movzwl %si,%eax
  call hex
  movl %edi,%eax
  call hex
  movzwl %cx,%eax
  call hex
  movzwl %dx,%eax
  subl $c3,%eax
  call hex
  movl %esp,%eax
  call hex
  call nl
1:
call setidt
  T 4
  # 16-bit call gate with parameters from ring 3, 16-bit code and stack, to ring 0
  pushl $0x33                # SS: 16-bit, ring 3
  pushl $0x0100
  pushl $2
  pushl $0x2b                # CS: 16-bit, ring 3
  pushl $c4
  iretl
.code16
c4: pushw $0xaaaa
  pushw $0xbbbb
  lcall $SEL_GATE16,$0
  movw %sp,%ax
  lcall $SEL_BACK,$0
.code32
b4: movl $0x10,%ebx
  movl %ebx,%ds
  movzwl %ax,%eax
  call hex
  call nl
  movw $0x10,%ax
  movl $0x6000,%esp
  T 5
  # ring 0 to ring 1 (16-bit stack), to ring 2 by far returns; a gate from 2 to 1 and back
  pushl $0x42
  pushl $0x5e00
  pushl $0x4a
  pushl $(B+c5)
  lretl
c5: movl %cs,%ebx
  movl %ss,%ecx
  lcall $SEL_GATE21,$0
  movl %esp,%esi
  movl %ss,%edi
  pushl $0x12                # the gate's RPL does not matter
  lcall $SEL_BACK32,$0
b5: movl $0x10,%eax         # DS went null on the way out
  movl %eax,%ds
  movl %ebx,%eax
  call hex
  movl %ecx,%eax
  call hex
  movl %edx,%eax
  call hex
  movl %ebp,%eax
  call hex
  movl %esi,%eax
  call hex
  movl %edi,%eax
  call hex
  call nl
  movl $0x6000,%esp
  T 6
  # conforming code called from ring 3 runs in ring 3; more privileged non-conforming code is out of reach
  TRY 1f
  pushl $0x23
  pushl $0x7000
  pushl $2
  pushl $0x1b
  pushl $(B+c6)
  iretl
c6: lcall $SEL_CONFORMING,$(B+conf)
  lcall $8,$0
1: T 7
  # less privileged conforming code is out of reach
  TRY 1f
  lcall $SEL_CONF3,$(B+conf)
1: T 8
  # gates: not present, DPL too low, to data, to nothing, to outer code
  TRY 1f
  movb $0x6c,B+gdt+SEL_GATE21+5
  lcall $SEL_GATE21,$0
1: T 9
  TRY 1f
  movb $0xcc,B+gdt+SEL_GATE21+5
  movw $0x10,B+gdt+SEL_GATE21+2
  lcall $SEL_GATE21,$0
1: T 0xa
  TRY 1f
  movw $0,B+gdt+SEL_GATE21+2
  lcall $SEL_GATE21,$0
1: T 0xb
  TRY 1f
  movw $0x1b,B+gdt+SEL_GATE21+2
  lcall $SEL_GATE21,$0
1: T 0xc
  TRY 1f
  movw $0x51,B+gdt+SEL_GATE21+2
  movb $0xac,B+gdt+SEL_GATE21+5
  pushl $0x23
  pushl $0x7000
  pushl $2
  pushl $0x1b
  pushl $(B+c12)
  iretl
c12: lcall $SEL_GATE21,$0    # DPL 1 from ring 3
1: T 0xd
  # the inner stack is wrong: #TS with its selector; not present: #SS
  movb $0xec,B+gdt+SEL_GATE21+5
  movl $0x10,0xa010
  TRY 1f
  pushl $0x23
  pushl $0x7000
  pushl $2
  pushl $0x1b
  pushl $(B+c13)
  iretl
c13: lcall $SEL_GATE21,$0
1: T 0xe
  movl $0x39,0xa010
  movb $0x32,B+gdt+0x38+5    # 38: not present
  TRY 1f
  pushl $0x23
  pushl $0x7000
  pushl $2
  pushl $0x1b
  pushl $(B+c13)
  iretl
1: movb $0xb2,B+gdt+0x38+5
  T 0xf
  # the inner stack is too small for what is pushed
  movl $2,0xa00c
  movb $0,B+gdt+0x38+1
  movb $0x0f,B+gdt+0x38
  TRY 1f
  pushl $0x23
  pushl $0x7000
  pushl $2
  pushl $0x1b
  pushl $(B+c13)
  iretl
1: T 0x10
  # LDT: not there, wrong descriptor, loaded; its selectors; a data segment in it
  TRY 1f
  movl $0x0c,%eax
  movl %eax,%es
1: T 0x11
  TRY 1f
  movl $0x10,%eax
  lldt %ax
1: T 0x12
  TRY 1f
  movl $SEL_LDTNP,%eax
  lldt %ax
1: T 0x13
  TRY 1f
  movl $SEL_LDT,%eax
  lldt %ax
  sldt %eax
  call hex
  movl $0x0c,%eax
  movl %eax,%es
  movl %es:0,%eax            # at B+ldt
  call hex
  movl $0x14,%eax
  lar %eax,%ecx
  movl %ecx,%eax
  call hex
  movl $0x1c,%eax            # beyond its limit
  movl %eax,%es
1: T 0x14
  TRY 1f
  xorl %eax,%eax
  lldt %ax
  movl $0x0c,%eax
  movl %eax,%fs
1: T 0x15
  # a 16-bit task by CALL, and its IRET
  movl $0x10,0xb004
  movl $c15,0xb00e           # IP, then FLAGS
  movw $2,0xb010
  movl $0x22221111,0xb012    # AX, CX
  movl $0x5fe0,0xb01a        # SP
  movl $0x77776666,0xb01e    # SI, DI
  movw $0x10,0xb022
  movw $SEL_CODE16,0xb024
  movw $SEL_STACK16,0xb026
  movw $0x10,0xb028
  movw $0,0xb02a
  movl $0xdead1111,%eax
  movl $0xbeef3333,%ebx
  lcall $SEL_TSS16,$0
  movl %eax,%edx
  call hex
  movl %ebx,%eax
  call hex
  str %eax
  call hex
  movzwl 0xb000,%eax
  call hex
  movzwl 0xb00e,%eax
  subl $c15e,%eax
  call hex
  movl B+gdt+SEL_TSS16+4,%eax
  call hex
  smsw %eax
  call hex
  call nl
  clts
  T 0x16
  # the limit of a TSS that is too small
  movb $0x2a,B+gdt+SEL_TSS16
  TRY 1f
  ljmp $SEL_TSS16,$0
1: T 0x17
  # IRET with NT and a back link that is no busy TSS
  movw $0x10,0xa000
  pushl $0x4002
  popfl
  TRY 1f
  iretl
1: T 0x18
  # near transfers beyond the limit of 16-bit code; a 32-bit operand size in it
  TRY 1f
  movl $0x12345,%ebx
  ljmp $SEL_CODE16,$c18
.code16
c18: jmpl *%ebx
.code32
1: T 0x19
  # expand-down 16-bit stack: the limit is below
  TRY 1f
  pushl $SEL_DOWN
  pushl $0x1004
  pushl $2
  pushl $0x1b
  pushl $(B+c19)
  iretl
c19: pushl %eax                 # at 1000: fine, the limit is FFF
  pushl %eax
1: T 0x1a
  # 16-bit addressing in 32-bit code wraps at 64 KiB
  movl $0xabcd,0x8100
  movl $0xffff8000,%ebx
  movl $0x100,%esi
  movl 0(%bx,%si),%eax
  call hex
  call nl
  jmp quit
conf: movl %cs,%eax
  call hexu
  lretl
hexu: pushl %edx
  movl $8,%ecx
  movl %eax,%edx
2: roll $4,%edx
  movb %dl,%al
  andb $15,%al
  addb $0x30,%al
  cmpb $0x39,%al
  jbe 3f
  addb $0x27,%al
3: nop
  loop 2b
  popl %edx
  ret
g21: # ring 1, on its 16-bit stack
  movl %cs,%edx
  movl %esp,%ebp
  andl $0xffff,%ebp
  shll $16,%edx
  movw %ss,%dx
  lretl
.code16
h16: pushw %bx               # FLAGS, CS, IP
  movl %esp,%ebx
  movw %cs:(h16),%ax         # readable
  pushfw
  popw %ax
  andw $0x7700,%ax
  popw %bx
  iretw
f16: popw %cx                # the error code
  popw %dx                   # IP
  addw $2,%dx
  pushw %dx
  subw $2,%dx
  iretw
g16: # ring 0, 32-bit stack with 16-bit frame: IP CS p2 p1 SP SS
  movw %ss:4(%esp),%bx
  movw %ss:6(%esp),%cx
  movw %ss:8(%esp),%dx
  lretw $4
c15: movl %ebx,%ebp
  movw $0x9999,%ax
  iretw
c15e: nop
.code32
.include "exc32.s"
.align 8
ldt: .quad 0x1122334455667788
  .word 0xff, ldt, 0x9201, 0x0040                        # 0c data at B+ldt
  .word 0xffff, 0, 0xfa01, 0x0040                        # 14 code, ring 3
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
  .quad 0x00cffb000000ffff, 0x00cff3000000ffff           # 1b, 23
  .quad 0x0000fb010000ffff, 0x0000f3000000ffff           # 2b code16, 33 stack16, both ring 3
  .quad 0x0000b3000000ffff, 0x00cfd3000000ffff           # 39 stack16 ring 1, 42 stack ring 2
  .quad 0x00cfdb000000ffff, 0x00cfbb000000ffff           # 4a code ring 2, 51 code ring 1
  .quad 0x00009b010000ffff, 0x000093000000ffff           # 58 code16, 60 stack16
  .quad 0x00008900a00000ff                               # 68 TSS at a000
  .word g16, 0x58, 0xe402, 0                             # 70 16-bit call gate, 2 words
  .word b4, 0x08, 0xec00, 1                              # 78 call gate to 1:b4
  .word g21, 0x51, 0xcc00, 1                             # 80 call gate to ring 1
  .word b5, 0x08, 0xec00, 1                              # 88 call gate to 1:b5
  .quad 0x00cf9f000000ffff, 0x00cfff000000ffff           # 90 conforming, 98 conforming DPL 3
  .word 0x17, ldt, 0x8201, 0                             # a0 LDT
  .word 0x17, ldt, 0x0201, 0                             # a8 LDT, not present
  .quad 0x00008100b000002b                               # b0 16-bit TSS
  .quad 0x0000f70000000fff                               # b8 expand-down, ring 3
.equ SEL_CODE16,0x58
.equ SEL_STACK16,0x60
.equ SEL_TSS,0x68
.equ SEL_GATE16,0x70
.equ SEL_BACK,0x78
.equ SEL_GATE21,0x80
.equ SEL_BACK32,0x88
.equ SEL_CONFORMING,0x90
.equ SEL_CONF3,0x98
.equ SEL_LDT,0xa0
.equ SEL_LDTNP,0xa8
.equ SEL_TSS16,0xb0
.equ SEL_DOWN,0xbb
gdtr: .word 0xbf
 .long 0x10000+gdt
.include "lib.s"
