# Common start: the image is 64 KiB at F0000; it copies itself to 10000 and goes on there.
.code16
.org 0
start16:
  cli
  cld
  xorw %ax,%ax
  movw %ax,%ss
  movw $0x7000,%sp
  movw $0x1000,%ax
  movw %ax,%es
  pushw %cs
  popw %ds
  xorw %si,%si
  xorw %di,%di
  movw $0x4000,%cx
  rep movsl
  ljmp $0x1000,$1f
1: movw %cs,%ax
  movw %ax,%ds
