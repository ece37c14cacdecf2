# The same work plainly and with a trap at every boundary: the results are the same. Long mode, ring 0 and ring 3.
.set gdt_given,1
.include "long.s"
.macro GATE v, label, dpl=0
  movl $(B+\label),%eax
  movw %ax,0x9000+\v*16
  shrl $16,%eax
  movw %ax,0x9000+\v*16+6
  movb $0x8e|(\dpl<<5),0x9000+\v*16+5
.endm
.equ count, 0x8018
.equ data, 0x8200
  movl $0x6000,%esp
  call setidt
  movq $0x5000,0xa004
  movw $0x68,0xa066
  movw $SEL_TSS,%ax
  ltr %ax
  movq %cr4,%rax
  orl $0x600,%eax
  movq %rax,%cr4
  GATE 1, step
  GATE 0x30, leave3, 3
  movl $2,%r15d
rounds: T 1
  movl $0,count
  call fill
  call work
  call sum
  T 2
  movl $0,count
  call fill
  pushq $0x102
  popfq
  call work
  pushq $2
  popfq
  call sum
  T 3
  # in ring 3
  movl $0,count
  call fill
  movq %rsp,0x8020
  pushq $0x2b
  pushq $0x7000
  pushq $0x102
  pushq $0x33
  pushq $(B+user)
  iretq
user: call work
  int $0x30
leave3: movq 0x8020,%rsp
  xorl %ebp,%ebp
  movl %ebp,%ss
  call sum
  decl %r15d
  jnz rounds
  jmp quit
step: incl count
  iretq
fill: movl $data,%edi
  movl $0x40,%ecx
  movl $0x12345678,%eax
1: movl %eax,(%rdi)
  imull $0x19660d,%eax,%eax
  addl $0x3c6ef35f,%eax
  addq $4,%rdi
  decl %ecx
  jnz 1b
  fninit
  xorl %eax,%eax
  xorl %ebx,%ebx
  xorl %ecx,%ecx
  xorl %edx,%edx
  xorl %ebp,%ebp
  xorl %esi,%esi
  xorl %edi,%edi
  xorl %r8d,%r8d
  xorps %xmm0,%xmm0
  xorps %xmm1,%xmm1
  ret
work: movl $5,%r8d
1: movq data(,%r8,8),%rax
  addq %rax,%rbx
  adcq data+64,%rdx
  sbbl %esi,%edx
  rclq $3,%rbx
  cmpq %rbx,%rax
  cmovaq %rbx,%rsi
  setg %cl
  pushq %rax
  call 2f
  popq %rax
  jmp 3f
2: lock xaddl %eax,data+16
  xchgq %rdx,data+24
  cmpxchgq %rbx,data+32
  ret
3: movl $(B+4f),%r9d
  call *%r9
  jmp 5f
4: enter $32,$0
  movq %rbx,-8(%rbp)
  incq -8(%rbp)
  movq -8(%rbp),%rbx
  leave
  bswapq %rbx
  ret
5: movl $data+64,%esi
  movl $data+100,%edi
  movl $5,%ecx
  cld
  rep movsw
  movl $data+96,%edi
  movl $9,%ecx
  repne scasb
  adcl %ecx,%ebx
  lodsl
  stosb
  mulq %rdx
  movl $77,%ecx
  xorl %edx,%edx
  divl %ecx
  shldq $5,%rdx,%rax
  btsq %rcx,%rdx
  bsfq %rbx,%rcx
  cvtsi2sdq %rbx,%xmm0
  mulsd %xmm0,%xmm1
  addsd data+40,%xmm1
  movups data+48,%xmm2
  paddd %xmm2,%xmm1
  pshufd $0x4e,%xmm1,%xmm1
  movq %xmm1,data+48
  fildl data
  faddl data+8
  fistpl data+12
  xorl %eax,%eax
  cpuid
  movl $3,%ecx
6: addl %ecx,data+20
  loop 6b
  decl %r8d
  jnz 1b
  ret
sum: # a checksum of registers and data, and the number of traps
  xorq %rbx,%rax
  xorq %rcx,%rax
  xorq %rdx,%rax
  xorq %rsi,%rax
  xorq %rdi,%rax
  movl $data,%edi
  movl $0x20,%ecx
1: rolq $7,%rax
  xorq (%rdi),%rax
  addq $8,%rdi
  decl %ecx
  jnz 1b
  movq %xmm1,%rbx
  xorq %rbx,%rax
  cmpq $0,0x8028
  jne 2f
  movq %rax,0x8028
2: cmpq %rax,0x8028
  sete %al
  movzbl %al,%eax
  call hex
  movl count,%eax
  call hex
  call nl
  ret
.include "exc64.s"
.align 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff  # 8 10 18
  .quad 0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff         # 20 28 30
  .quad 0x00008900a0000067, 0                                              # 38 TSS
.equ SEL_TSS,0x38
gdtr: .word 0x47
 .long 0x10000+gdt
.include "lib.s"
