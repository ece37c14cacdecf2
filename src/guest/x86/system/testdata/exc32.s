# 32-bit exception reporting: each vector prints number, error code, CS, EIP (offset in image), EFLAGS bits, CR2; then goes on at [resume] in ring 0.
.code32
tag: # prints eax low byte as two hex digits and ':'
  pushal
  pushl %eax
  shrb $4,%al
  call digit
  popl %eax
  andb $15,%al
  call digit
  movb $':',%al
  outb %al,$0xe9
  popal
  ret
digit:
  andb $15,%al
  addb $0x30,%al
  cmpb $0x39,%al
  jbe 3f
  addb $0x27,%al
3: outb %al,$0xe9
  ret
hex: # eax as 8 digits and a space
  pushal
  movl %eax,%edx
  movl $8,%ecx
2: roll $4,%edx
  movb %dl,%al
  call digit
  loop 2b
  movb $' ',%al
  outb %al,$0xe9
  popal
  ret
nl: pushl %eax
  movb $10,%al
  outb %al,$0xe9
  popl %eax
  ret
setidt: # build IDT of 256 32-bit interrupt gates at 0x9000
  pushal
  xorl %ecx,%ecx
1: movl $(B+stubs),%eax
  movl %ecx,%edx
  shll $4,%edx
  addl %edx,%eax
  movl %eax,%edx
  andl $0xffff,%eax
  orl $0x00080000,%eax
  movl %eax,0x9000(,%ecx,8)
  andl $0xffff0000,%edx
  orl $0x8e00,%edx
  movl %edx,0x9004(,%ecx,8)
  incl %ecx
  cmpl $64,%ecx
  jb 1b
  lidt B+idtr
  popal
  ret
.align 4
idtr: .word 64*8-1
  .long 0x9000
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
  pushl $0
  .endif
  pushl $v
  jmp report
  .set v,v+1
.endr
report: # esp: vector, error, eip, cs, eflags, (esp, ss, es, ds, fs, gs)
  pushl %eax
  movl $0x10,%eax
  movl %eax,%ds
  movl %eax,%es
  popl %eax
  movl 0(%esp),%eax
  call hex
  movl 4(%esp),%eax
  call hex
  movl 12(%esp),%eax
  call hex
  movl 8(%esp),%eax
  subl $B,%eax
  call hex
  movl 16(%esp),%eax
  andl $0x003e7700,%eax
  call hex
  testb $3,12(%esp)
  jnz 1f
  testl $0x20000,16(%esp)
  jz 2f
1: movl 24(%esp),%eax
  call hex
2: cmpl $14,0(%esp)
  jne 3f
  movl %cr2,%eax
  call hex
3: cmpl $1,0(%esp)
  jne 4f
  movl %dr6,%eax
  call hex
  movl $0xffff0ff0,%eax
  movl %eax,%dr6
4: call nl
  movl $0x6000,%esp
  pushl $2
  popfl
  movl $0x10,%eax
  movl %eax,%ss
  movl RES,%eax
  jmp *%eax
