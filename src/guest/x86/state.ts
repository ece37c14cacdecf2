/**
 * The x86 vCPU's state in memory: where each register has its home. Intel SDM vol. 1 ch. 3, vol. 3 ch. 2.
 * Room is left for 32 vector registers of 512 bits, opmasks and the rest of AVX-512.
 */
import { type GuestVars, HEADER_BYTES, header, type TypeName, type Var } from '../../ir/index.js';

const vars: Var[] = [];
let offset = HEADER_BYTES;

function variable<const T extends TypeName>(name: string, type: T, at: number): Var<T> {
  const made = { id: vars.length, name, type, offset: at };
  vars.push(made);
  return made;
}

/** Takes `bytes` of the state, aligned to min(bytes, 64). */
function take(bytes: number): number {
  const alignment = Math.min(bytes, 64);
  offset = Math.ceil(offset / alignment) * alignment;
  const at = offset;
  offset += bytes;
  return at;
}

export const gprNames = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const;
/**
 * General registers by number; always 64 bits, the upper halves kept zero by 32-bit writes. While code that is not 64-bit runs,
 * the upper halves of RAX to RDI are zero (the architecture leaves them undefined there): what enters such code clears them.
 */
export const gpr: readonly Var<'i64'>[] = gprNames.map((name) => variable(name, 'i64', take(8)));

/** Lazy flags (flags.ts): the last operation's result and sources, and which operation it was. */
export const ccDst = variable('ccDst', 'i64', take(8));
export const ccSrc = variable('ccSrc', 'i64', take(8));
export const ccSrc2 = variable('ccSrc2', 'i64', take(8));
/** CF and OF where they were set after the other flags (ccOp's overlay bit): bit 1 is CF, bit 0 is CF xor OF. */
export const ccExtra = variable('ccExtra', 'i64', take(8));
export const ccOp = variable('ccOp', 'i32', take(4));

/** Segment registers by their encoding: ES CS SS DS FS GS. */
export const segNames = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const;
/** Hidden base of each segment, as the linear address adds it (0 in long mode but for FS and GS). */
export const segBase: readonly Var<'i64'>[] = segNames.map((name) => variable(`${name}Base`, 'i64', take(8)));

const vectorHome = take(64 * 32);
/** XMM registers: the low 16 bytes of each 64-byte vector register. */
export const xmm: readonly Var<'v128'>[] = Array.from({ length: 16 }, (_, i) =>
  variable(`xmm${i}`, 'v128', vectorHome + 64 * i),
);

/** Plain fields: byte offsets into the state. */
export const field = {
  /** i64: RIP (or EIP/IP, zero-extended). */
  rip: header.pc,
  /** i32: EFLAGS but for the six status flags (CF PF AF ZF SF OF), which are lazy. Bit 1 is always set. */
  eflags: take(4),
  /** i32: interrupts are inhibited for the next instruction (STI, MOV SS). */
  interruptShadow: take(4),
  /** Six u32: visible selectors ES CS SS DS FS GS. */
  selector: take(4 * 8),
  /** Six u32: effective limits (granularity applied). */
  limit: take(4 * 8),
  /** Six u32: the descriptor's second word (type, S, DPL, P, AVL, L, D/B, G) of each segment; P=0: unusable. */
  attributes: take(4 * 8),
  /** i64 base, u32 limit. */
  gdtBase: take(8),
  gdtLimit: take(4),
  idtLimit: take(4),
  idtBase: take(8),
  ldtBase: take(8),
  ldtSelector: take(4),
  ldtLimit: take(4),
  ldtAttributes: take(4),
  trSelector: take(4),
  trBase: take(8),
  trLimit: take(4),
  trAttributes: take(4),
  cr0: take(8),
  cr2: take(8),
  cr3: take(8),
  cr4: take(8),
  cr8: take(8),
  xcr0: take(8),
  xss: take(8),
  efer: take(8),
  /** Eight i64: DR0-DR7. */
  dr: take(8 * 8),
  /** i32: current privilege level. */
  cpl: take(4),
  /** i32: CS.L in long mode 64, else 32 or 16: size of the code being run. */
  codeSize: take(4),
  star: take(8),
  lstar: take(8),
  cstar: take(8),
  fmask: take(8),
  kernelGsBase: take(8),
  sysenterCs: take(8),
  sysenterEsp: take(8),
  sysenterEip: take(8),
  pat: take(8),
  tscAux: take(8),
  tscOffset: take(8),
  tscAdjust: take(8),
  apicBase: take(8),
  miscEnable: take(8),
  mtrrDefType: take(8),
  /** i32: A20 mask as an address mask of the low 32 bits (all ones when A20 is open). */
  a20Mask: take(4),
  halted: take(4),
  nmiPending: take(4),
  nmiBlocked: take(4),
  /** Eight 16-byte slots: x87 R0-R7 (not ST order): 64-bit significand, then 16-bit sign and exponent. MMX is the significand. */
  fpr: take(16 * 8),
  /** i32: x87 control word; status word without TOP; TOP; tag bits (bit i: R(i) is empty). */
  fpControl: take(4),
  fpStatus: take(4),
  fpTop: take(4),
  fpEmpty: take(4),
  /** Last x87 instruction: opcode (11 bits), code segment and pointer, data segment and pointer. */
  fpOpcode: take(4),
  fpCs: take(4),
  fpDs: take(4),
  fpIp: take(8),
  fpDp: take(8),
  /** i32 */
  mxcsr: take(4),
  /** i32 each: scratch of the floating-point routines (float-state.ts). */
  floatFlags: take(4),
  opmask: take(8 * 8),
  monitorAddress: take(8),
  monitorArmed: take(4),
  /** i32: vector of an exception that is being delivered, or -1 (for double and triple faults). */
  deliveringVector: take(4),
  /** Four i64: the page-directory-pointer-table entries of PAE paging, loaded with CR3. */
  pdpte: take(8 * 4),
  /** i64: bits of a paging entry that the model's MAXPHYADDR reserves; i64: PS of a PDPTE if it has no 1 GiB pages. */
  physReserved: take(8),
  hugeReserved: take(8),
  /** Four i64: lowest and highest address seen in large user pages, then in large supervisor pages, since the last TLB flush. */
  largePages: take(8 * 4),
  /** i64 each: variable-range MTRRs (base and mask by turns), then the eleven fixed-range ones. */
  mtrrVariable: take(8 * 16),
  mtrrFixed: take(8 * 11),
  /** i64 each: AMD's SYSCFG, HWCR, TOP_MEM and TOP_MEM2, which are kept and have no effect. */
  amdSyscfg: take(8),
  amdHwcr: take(8),
  topMem: take(8),
  topMem2: take(8),
  /** i32: bits for DR6 of a debug trap due after the current instruction. */
  debugPending: take(4),
  /** i32: the trap of debugPending waits for the next instruction, as MOV SS and POP SS make it. */
  debugHeld: take(4),
  /** i64: the linear address of the access that a NON_CANONICAL trap code tells of. */
  nonCanonical: take(8),
  /** Space for routines' intermediate results: 512 bytes. */
  /** Somebody hears of INT instructions (X86Board.event). */
  traceEvents: take(4),
  /** i32: 1 while a debugger watches data (X86Board.dataAccess). */
  watching: take(4),
  /** i32: vector + 1 of an interrupt that was acknowledged and whose handler is still to be entered; 0: none. */
  injectedInterrupt: take(4),
  /** i32: bits of the mode key that the vCPU's owner decides, from keyBit.lens on. */
  ownerBits: take(4),
  /** i32: CR0.EM, TS, MP, CR4.OSFXSR and OSXSAVE in the places that they have in the mode key. */
  units: take(4),
  /** i64: how many high bits of an address the model's linear addresses leave over: 16, or 7 with the feature la57, whatever CR4.LA57 says. */
  addressUnused: take(8),
  scratch: take(512),
  /** Room for XSAVE/FXSAVE and table-driven additions: add fields above, never reuse. */
} as const;

/** Bytes of the state, a multiple of 64. */
export const STATE_BYTES = Math.ceil(offset / 64) * 64;

export const x86Vars: GuestVars = { vars, deferred: ccOp, pcOffset: header.pc };

/**
 * header.trapCode of an x86 exception: vector in bits 0-7, bit 8: it has an error code, error code in bits 16-31,
 * bit 9: always set, so that vector 0 is not "none"; NON_CANONICAL may be added.
 */
export function trapCode(vector: number, errorCode?: number): number {
  return vector | 0x200 | (errorCode === undefined ? 0 : 0x100 | (errorCode << 16));
}

/** In header.trapCode: a #GP(0) that is #SS(0) if the access was one of the stack segment (system/stack-fault.ts). */
export const NON_CANONICAL = 0x400;
