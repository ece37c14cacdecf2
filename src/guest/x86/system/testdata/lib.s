quit:
  mov $0x31,%al
  out %al,$0xf4
  hlt
.align 8
.ifdef gdt_given
.else
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
gdtr: .word 31
 .long 0x10000+gdt
.endif
.org 0xfff0
.code16
ljmp $0xf000,$0
.org 0x10000
