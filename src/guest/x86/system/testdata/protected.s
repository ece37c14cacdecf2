.include "macros.s"
.include "prologue.s"
  lgdtl gdtr
  movl %cr0,%eax
  orl $1,%eax
  movl %eax,%cr0
  ljmpl $0x8,$(0x10000+prot)
.code32
prot:
  movw $0x10,%ax
  movw %ax,%ds
  movw %ax,%es
  movw %ax,%ss
  movl $0x7000,%esp
