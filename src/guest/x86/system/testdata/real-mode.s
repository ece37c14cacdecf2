# Real mode: interrupts, far transfers, flags, big-real mode.
.include "prologue.s"
.equ SEG, 0x1000
.macro TAG n
  movb $\n,%al
  call byte
  movb $':',%al
  outb %al,$0xe9
.endm
.macro HANDLER v, label
  movw $\label,%es:4*\v
  movw $SEG,%es:4*\v+2
.endm
  xorw %ax,%ax
  movw %ax,%es
  movw %ax,%ss
  movw $0x7000,%sp
  HANDLER 0, divide
  HANDLER 4, over
  HANDLER 5, bnd
  HANDLER 6, undef
  HANDLER 13, prot
  HANDLER 12, prot
  HANDLER 0x20, soft
  HANDLER 1, step
  HANDLER 3, brk
  TAG 1
  stc
  int $0x20
  pushfw
  popw %ax
  call word
  movw %sp,%ax
  call word
  call line
  TAG 2
  xorw %cx,%cx
  divw %cx
  call line
  TAG 3
  ud2
  call line
  TAG 4
  movw %ss,%ax
  call word
  lcall $SEG,$far1
  movw %sp,%ax
  call word
  pushw %cs
  pushw $4f
  lret
4: call line
  TAG 5
  pushw $0x7fd7
  popfw
  pushfw
  popw %ax
  pushw $2
  popfw
  call word
  pushl $0x00247fd7
  popfl
  pushfl
  popl %eax
  pushl $2
  popfl
  rorl $16,%eax
  call word
  rorl $16,%eax
  call word
  call line
  TAG 6
  # word access at ffff: GP (handler skips)
  movw $0xffff,%bx
  movw $3f,resume
  movw (%bx),%ax
3: call line
  TAG 7
  # big real mode
  lgdtl gdtr
  cli
  movl %cr0,%eax
  incw %ax
  movl %eax,%cr0
  movw $0x10,%cx
  movw %cx,%fs
  decw %ax
  movl %eax,%cr0
  movl $0x10000+marker,%ebx
  xorw %cx,%cx
  movw %cx,%fs
  movl %fs:(%ebx),%eax
  call word
  smsw %ax
  call word
  call line
  TAG 8
  into
  movb $0x7f,%al
  addb $1,%al
  into
  call line
  TAG 9
  movw $5,%ax
  boundw %ax,bounds
  movw $2f,resume
  movw $9,%ax
  boundw %ax,bounds
2: call line
  TAG 0xa
  pushw $0x102
  popfw
  nop
  nop
  pushw $2
  popfw
  call line
  TAG 0xb
  int3
  call line
  TAG 0xc
  # segment wrap and address sizes
  movw $0xffff,%ax
  movw %ax,%gs
  movb %gs:0x10,%al          # linear 100000
  movl $0x1234,%esi
  movb $0x77,%ds:0x1234
  movb (%esi),%al
  call byte
  addr32 lodsb
  call byte
  movw %si,%ax
  call word
  movw $3f,resume
  movl $0x10000,%esi
  movb (%esi),%al            # beyond the limit: GP
3: call line
  TAG 0xd
  # string instructions, both directions
  movw %cs,%ax
  movw %ax,%es
  movw $bounds,%si
  movw $buffer,%di
  movw $4,%cx
  cld
  rep movsb
  movw %di,%ax
  subw $buffer,%ax
  call word
  movw buffer+2,%ax
  call word
  std
  movw $buffer+3,%di
  movw $4,%cx
  movb $8,%al
  repne scasb
  movw %cx,%ax
  call word
  cld
  call line
  TAG 0xe
  enterw $8,$2
  movw %bp,%ax
  call word
  movw %sp,%ax
  call word
  leave
  call line
  TAG 0xf
  lesw farp,%di
  movw %es,%ax
  call word
  movw %di,%ax
  call word
  ljmp *farp2
back: call line
  TAG 0x10
  pushaw
  movw %sp,%ax
  call word
  popaw
  pushal
  movw %sp,%ax
  call word
  popal
  call line
  TAG 0x11
  sgdtw gbuf
  movw gbuf,%ax
  call word
  movw gbuf+2,%ax
  call word
  movw gbuf+4,%ax
  call word
  movw $2f,resume
  sldt %ax                   # undefined in real mode
2: call line
  jmp quit
far1: movw %sp,%ax
  call word
  movw %cs,%ax
  call word
  lret
far2: ljmp $SEG,$back
soft: movb $'s',%al
  outb %al,$0xe9
  pushfw
  popw %ax
  call word
  movw %sp,%bp
  movw 4(%bp),%ax
  call word
  andw $0xfffe,4(%bp)
  iretw
divide: movw %sp,%bp
  movw (%bp),%ax
  call word
  addw $2,(%bp)
  iretw
undef: movw %sp,%bp
  movw (%bp),%ax
  call word
  cmpw $0,resume
  je 1f
  movw resume,%ax
  movw %ax,(%bp)
  movw $0,resume
  iretw
1: addw $2,(%bp)
  iretw
prot:
bnd: movw %sp,%bp
  movb $'g',%al
  outb %al,$0xe9
  movw (%bp),%ax
  call word
  movw %cs:resume,%ax
  movw %ax,(%bp)
  movw $0,%cs:resume
  iretw
over: movb $'o',%al
  outb %al,$0xe9
  iretw
step: pushw %ax
  movb $'t',%al
  outb %al,$0xe9
  popw %ax
  iretw
brk: movb $'b',%al
  outb %al,$0xe9
  iretw
byte: pushw %ax
  shrb $4,%al
  call digit
  popw %ax
  pushw %ax
  call digit
  popw %ax
  ret
digit: andb $15,%al
  addb $0x30,%al
  cmpb $0x39,%al
  jbe 3f
  addb $0x27,%al
3: outb %al,$0xe9
  ret
word: xchgb %al,%ah
  call byte
  xchgb %al,%ah
  call byte
  pushw %ax
  movb $' ',%al
  outb %al,$0xe9
  popw %ax
  ret
line: pushw %ax
  movb $10,%al
  outb %al,$0xe9
  popw %ax
  ret
.align 4
marker: .long 0x12345678
resume: .word 0
bounds: .word 1, 8
farp: .word 0x4321, 0x1800
farp2: .word far2, SEG
gbuf: .quad 0
buffer: .quad 0
.include "lib.s"
