.include "protected.s"
  movl $0x20000,%edi
  xorl %eax,%eax
  movl $0x1000,%ecx
  rep stosl
  movl $0x21007,0x20000
  movl $0x22007,0x21000
  movl $0x00000087,0x22000
  movl $0x00200087,0x22008
  movl $0x20000,%eax
  movl %eax,%cr3
  movl $0x620,%eax
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
long:
