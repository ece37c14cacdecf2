# When x87, MMX and SSE instructions raise #NM, #UD, #MF, #XM and #GP.
.set gdt_given,1
.include "protected.s"
.equ MP,2
.equ EM,4
.equ TS,8
.equ NE,0x20
.macro CR0 set, clear
  movl %cr0,%eax
  andl $~(\clear),%eax
  orl $(\set),%eax
  movl %eax,%cr0
.endm
.macro CR4 set, clear=0
  movl %cr4,%eax
  andl $~(\clear),%eax
  orl $(\set),%eax
  movl %eax,%cr4
.endm
.macro GATE v, label, kind=0x8e00
  movl $(B+\label),%eax
  movw %ax,0x9000+\v*8
  movw $8,0x9000+\v*8+2
  shrl $16,%eax
  movw %ax,0x9000+\v*8+6
  movw $\kind,0x9000+\v*8+4
.endm
.macro ONE i:vararg
  TRY 9f
  \i
  pushl %eax
  movb $'.',%al
  outb %al,$0xe9
  popl %eax
9:
.endm
# every class once under the present control registers
.macro ALL
  ONE fld1
  ONE fninit
  ONE fwait
  ONE fnstsw %ax
  ONE movd %eax,%mm0
  ONE emms
  ONE addps %xmm0,%xmm1
  ONE movaps %xmm0,%xmm1
  ONE pxor %xmm0,%xmm1
  ONE pxor %mm0,%mm1
  ONE fxsave 0x8400
  ONE ldmxcsr B+csr
  ONE prefetchnta 0x8400
  ONE sfence
  ONE movnti %eax,0x8400
  ONE crc32l %eax,%ebx
  ONE popcntl %eax,%ebx
  ONE pshufb %xmm0,%xmm1
  ONE pshufb %mm0,%mm1
  ONE clflush 0x8400
  ONE cvtpi2ps %mm0,%xmm0
  call nl
.endm
  movl $0x6000,%esp
  call setidt
  CR0 NE, MP|EM|TS
  CR4 0x600
  fninit
  GATE 6, short6
  GATE 7, short7
  GATE 16, short16
  T 1
  ALL
  T 2
  CR0 TS, MP|EM
  call everything
  T 3
  CR0 TS|MP, EM
  call everything
  T 4
  CR0 EM, MP|TS
  call everything
  T 5
  CR0 EM|TS, MP
  call everything
  T 6
  CR0 0, EM|TS|MP
  CR4 0, 0x600
  call everything
  CR4 0x600
  call setidt
  T 7
  # CLTS and LMSW
  CR0 TS, EM
  clts
  smsw %eax
  call hex
  movw $0x0d,%ax             # LMSW cannot clear PE, sets EM and TS
  lmsw %ax
  smsw %eax
  call hex
  xorl %eax,%eax
  lmsw %ax
  smsw %eax
  call hex
  call nl
  T 8
  # an unmasked x87 exception: #MF at the next instruction that waits, not at those that do not
  fninit
  movw $0x037b,0x8500        # zero divide
  fldcw 0x8500
  fld1
  fldz
  TRY 1f
  fdivrp %st,%st(1)          # 1 / 0
  fnstsw %ax
  movzwl %ax,%eax
  call hex
  fnstcw 0x8504
  movl %esp,%eax
  fwait
1: TRY 1f
  fldz
1: TRY 1f
  movd %eax,%mm0
1: TRY 1f
  fnclex
  fldz
  fnop
  fnstsw %ax
  movzwl %ax,%eax
  call hex
  call nl
1: T 9
  # stack fault, invalid, denormal, overflow, underflow: what FNSTSW says when masked
  fninit
  fldpi
  fsubr %st,%st
  fldz
  fdivrp %st,%st(1)          # 0 / 0: invalid
  fnstsw %ax
  movzwl %ax,%eax
  call hex
  fninit
  fld %st(3)                 # empty: stack underflow
  fnstsw %ax
  movzwl %ax,%eax
  call hex
  fninit
  .rept 9
  fld1                       # the ninth: stack overflow
  .endr
  fnstsw %ax
  movzwl %ax,%eax
  call hex
  fnclex
  fninit
  call nl
  T 0xa
  # SSE: unmasked zero divide is #XM at once; without OSXMMEXCPT #UD
  movl $0x1d80,0x8500
  ldmxcsr 0x8500
  xorps %xmm1,%xmm1
  movl $0x3f800000,%eax
  movd %eax,%xmm0
  TRY 1f
  divss %xmm1,%xmm0
1: stmxcsr 0x8504
  movl 0x8504,%eax
  call hex
  movd %xmm0,%eax
  call hex
  movl $0x1d80,0x8500
  ldmxcsr 0x8500
  CR4 0, 0x400
  TRY 1f
  divss %xmm1,%xmm0
1: CR4 0x400
  ldmxcsr B+csr
  divss %xmm1,%xmm0          # masked
  movd %xmm0,%eax
  call hex
  stmxcsr 0x8504
  movl 0x8504,%eax
  call hex
  call nl
  T 0xb
  # MXCSR's reserved bits; FXRSTOR of such; alignment of 16-byte operands; MOVUPS needs none
  TRY 1f
  movl $0x11f80,0x8500
  ldmxcsr 0x8500
1: TRY 1f
  fxsave 0x8608
1: fxsave 0x8600
  movl $0x10000,0x8618
  TRY 1f
  fxrstor 0x8600
1: TRY 1f
  movaps 0x8604,%xmm0
1: TRY 1f
  movups 0x8604,%xmm0
  addps 0x8604,%xmm0
1: TRY 1f
  movntps %xmm0,0x8604
1: TRY 1f
  movdqu %xmm0,0x8604
  lddqu 0x8604,%xmm1
  movups 0x8604,%xmm1
  pcmpistri $0,0x8604,%xmm1
  ud2
1: T 0xc
  # LOCK where it is not allowed; undefined opcodes; too long
  TRY 1f
  .byte 0xf0,0x90
1: TRY 1f
  .byte 0xf0,0x01,0xc0
1: TRY 1f
  .byte 0xf0,0x8b,0x03
1: TRY 1f
  .byte 0x0f,0x0b
1: TRY 1f
  .byte 0x0f,0xff,0xc0
1: TRY 1f
  .byte 0x8d,0xc0              # LEA of a register
1: TRY 1f
  .byte 0x0f,0x01,0xc0         # VMCALL
1: TRY 1f
  .byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90   # 15 bytes
  .byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90
1: TRY 1f
  .byte 0x8c,0xf0              # MOV from the sixth segment register
1: TRY 1f
  .byte 0x8e,0xc8              # MOV to CS
1: TRY 1f
  .byte 0xfe,0xf8
1: TRY 1f
  .byte 0xff,0xe8              # JMP far of a register
1: TRY 1f
  .byte 0x0f,0xc7,0xc8         # CMPXCHG8B of a register
1: jmp quit
everything:
  popl 0x8010
  ALL
  jmp *0x8010
short6: movb $'6',%al
  jmp 1f
short7: movb $'7',%al
  jmp 1f
short16: movb $'f',%al
1: outb %al,$0xe9
  movl $0x6000,%esp
  jmp *RES
csr: .long 0x1f80
.include "exc32.s"
.align 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr: .word 0x17
 .long 0x10000+gdt
.include "lib.s"
