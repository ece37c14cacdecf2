.equ B, 0x10000
.equ RES, 0x8000
.macro T n
  movl $\n,%eax
  call tag
.endm
.macro TRY label
  movl $(B+\label),RES
.endm
