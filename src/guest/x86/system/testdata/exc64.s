.code64
tag:
  push %rax
  push %rax
  shrb $4,%al
  call digit
  pop %rax
  call digit
  movb $':',%al
  outb %al,$0xe9
  pop %rax
  ret
digit:
  andb $15,%al
  addb $0x30,%al
  cmpb $0x39,%al
  jbe 3f
  addb $0x27,%al
3: outb %al,$0xe9
  ret
hex: # rax without leading zeros
  push %rax
  push %rcx
  push %rdx
  movq %rax,%rdx
  movl $16,%ecx
1: cmpl $1,%ecx
  je 2f
  movq %rdx,%rax
  shrq $60,%rax
  jnz 2f
  shlq $4,%rdx
  decl %ecx
  jmp 1b
2: rolq $4,%rdx
  movb %dl,%al
  call digit
  loop 2b
  movb $' ',%al
  outb %al,$0xe9
  pop %rdx
  pop %rcx
  pop %rax
  ret
nl: push %rax
  movb $10,%al
  outb %al,$0xe9
  pop %rax
  ret
setidt:
  xorl %ecx,%ecx
1: movl %ecx,%eax
  shll $4,%eax
  addl $(B+stubs),%eax
  movl %ecx,%edx
  shll $4,%edx
  movw %ax,0x9000(%rdx)
  movw $0x18,0x9002(%rdx)
  movw $0x8e00,0x9004(%rdx)
  shrl $16,%eax
  movw %ax,0x9006(%rdx)
  movq $0,0x9008(%rdx)
  incl %ecx
  cmpl $64,%ecx
  jb 1b
  lidt B+idtr
  ret
.align 4
idtr: .word 64*16-1
  .quad 0x9000
.align 16
stubs:
.set v,0
.rept 64
  .set has,0
  .if v==8||v==10||v==11||v==12||v==13||v==14||v==17
  .set has,1
  .endif
  .align 16
  .if has
  nop
  nop
  .else
  pushq $0
  .endif
  pushq $v
  jmp report
  .set v,v+1
.endr
report: # rsp: vector error rip cs rflags rsp ss
  push %rax
  movq 8(%rsp),%rax
  call hex
  movq 16(%rsp),%rax
  call hex
  movq 32(%rsp),%rax
  call hex
  movq 24(%rsp),%rax
  subq $B,%rax
  call hex
  movq 40(%rsp),%rax
  andl $0x003e7700,%eax
  call hex
  movq 56(%rsp),%rax
  call hex
  cmpq $14,8(%rsp)
  jne 3f
  movq %cr2,%rax
  call hex
3: cmpq $1,8(%rsp)
  jne 4f
  movq %dr6,%rax
  call hex
  movl $0xffff0ff0,%eax
  movq %rax,%dr6
4: call nl
  movl $0x6000,%esp
  pushq $2
  popfq
  xorl %eax,%eax
  movl %eax,%ss
  movl %eax,%ds
  movl RES,%eax
  jmp *%rax
