/**
 * The mode key: every bit of the vCPU's mode that translated code assumes. Code is found by (physical address, key), so a
 * bit belongs here if the code of common instructions differs by it, and costs a second translation of what runs with it
 * both set and clear. `updateMode` is the only writer of header.modeKey (but for `shadow`, below), header.pcMask,
 * header.pcBase, field.codeSize and the MMU index; whatever changes CS, SS, a segment's limit or base in a mode that has
 * them, CR0, CR4, EFER.LMA, DR7, CPL or EFLAGS.VM/AC/TF/IOPL calls it.
 */
import { header, type I32 } from '../../ir/index.js';
import { engine, routines } from './routines/set.js';
import { field, gpr, segBase } from './state.js';
import { cr0, cr4, descriptor, efer, eflag, IOPL_SHIFT, seg } from './system/bits.js';

/** Where each part of the key lies. One bit each unless said otherwise. */
export const keyBit = {
  /** Bits 0-1: code size: 0 is 16, 1 is 32, 2 is 64. */
  codeSize: 0,
  /** CR0.PE (set in virtual-8086 mode too). */
  protectedMode: 2,
  /** EFLAGS.VM. */
  vm86: 3,
  /** EFER.LMA: IA-32e mode, 64-bit or compatibility. */
  long: 4,
  /** Bits 5-6: CPL (3 in virtual-8086 mode, 0 in real mode). */
  cpl: 5,
  /** Stack addresses are 32 bits wide (SS.B); always 0 in 64-bit code, where they are 64. */
  stack32: 7,
  /** EFLAGS.TF: every block is one instruction (see `debugMask`). */
  singleStep: 8,
  /** CPL 3 with CR0.AM and EFLAGS.AC: misaligned data accesses raise #AC(0). */
  alignmentCheck: 9,
  /** At CPL 3 (units.ts): CR0.EM, CR0.TS, CR0.MP. */
  em: 10,
  ts: 11,
  mp: 12,
  /** CR4.OSFXSR. */
  osfxsr: 13,
  /** CR4.OSXSAVE. */
  osxsave: 14,
  /** CPL <= IOPL (real mode: always): CLI, STI, PUSHF, POPF, INT n (virtual-8086), IN and OUT (not virtual-8086) need no further check. */
  ioAllowed: 15,
  /** The bases of ES, CS, SS and DS are all 0 (always so in 64-bit code): leave them out of addresses. */
  flat: 16,
  /**
   * Bits 17-22, ES CS SS DS FS GS: data accesses through the segment need a check (routine check_segment), as its limit is not 4 GiB - 1, or it is
   * unusable, not writable or expand-down. For CS also: fetches need a limit check. All 0 in 64-bit code.
   */
  checked: 17,
  /** A data breakpoint is enabled in DR7, or a debugger watches data: every block is one instruction, and each of its accesses calls `dataBreakpoint`. */
  dataBreak: 23,
  /** An instruction breakpoint is enabled in DR7: every block is one instruction and starts with `instructionBreakpoint`. */
  instructionBreak: 24,
  /**
   * The instruction at pc is in the shadow of STI or MOV SS (field.interruptShadow): the block is this one instruction, clears
   * field.interruptShadow and this bit of header.modeKey after its last access that can fault, and ends with
   * exitCode.checkInterrupts. A translator that goes on in the same block after such an instruction, and ends it after the
   * next one with exitCode.checkInterrupts, never needs it.
   */
  shadow: 25,
  /** Instructions that may change the ring tell of it. This and the following bits are those of field.ownerBits. */
  lens: 26,
  /** Others take turns with the vCPU in its thread: PAUSE ends the turn. */
  shared: 27,
} as const;

/** Keys with one of these bits run one instruction at a time; debug traps come through field.debugPending and the kick word. */
export const debugMask = (1 << keyBit.singleStep) | (1 << keyBit.dataBreak) | (1 << keyBit.instructionBreak);

/** MMU indices. Implicit supervisor accesses (GDT, IDT, TSS …) use `supervisor` whatever CPL is. */
export const mmuIndex = {
  user: 0,
  /** CPL 0-2 with EFLAGS.AC clear: SMAP applies if CR4 has it. */
  supervisor: 1,
  /** CPL 0-2 with CR4.SMAP and EFLAGS.AC set: user pages may be touched. */
  supervisorAc: 2,
} as const;

/** The `access` immediate of guest loads and stores for an explicit MMU index. */
export const implicitAccess = mmuIndex.supervisor + 1;

/** A mode key taken apart. */
export interface Mode {
  readonly codeSize: 16 | 32 | 64;
  readonly protectedMode: boolean;
  readonly vm86: boolean;
  readonly long: boolean;
  readonly cpl: number;
  readonly stackSize: 16 | 32 | 64;
  readonly singleStep: boolean;
  readonly alignmentCheck: boolean;
  readonly em: boolean;
  readonly ts: boolean;
  readonly mp: boolean;
  readonly osfxsr: boolean;
  readonly osxsave: boolean;
  readonly ioAllowed: boolean;
  readonly flat: boolean;
  /** Bit i: segment i (ES CS SS DS FS GS) needs checks. */
  readonly checkedSegments: number;
  readonly dataBreak: boolean;
  readonly instructionBreak: boolean;
  readonly shadow: boolean;
  readonly lens: boolean;
  readonly shared: boolean;
}

/** Every block is one instruction, whose end sees to traps or the shadow. */
export function isAlone({ singleStep, dataBreak, instructionBreak, shadow }: Mode): boolean {
  return singleStep || dataBreak || instructionBreak || shadow;
}

const codeSizes = [16, 32, 64] as const;

export function decodeMode(key: number): Mode {
  const bit = (at: number) => ((key >>> at) & 1) !== 0;
  const codeSize = codeSizes[key & 3] ?? 64;
  return {
    codeSize,
    protectedMode: bit(keyBit.protectedMode),
    vm86: bit(keyBit.vm86),
    long: bit(keyBit.long),
    cpl: (key >>> keyBit.cpl) & 3,
    stackSize: codeSize === 64 ? 64 : bit(keyBit.stack32) ? 32 : 16,
    singleStep: bit(keyBit.singleStep),
    alignmentCheck: bit(keyBit.alignmentCheck),
    em: bit(keyBit.em),
    ts: bit(keyBit.ts),
    mp: bit(keyBit.mp),
    osfxsr: bit(keyBit.osfxsr),
    osxsave: bit(keyBit.osxsave),
    ioAllowed: bit(keyBit.ioAllowed),
    flat: bit(keyBit.flat),
    checkedSegments: (key >>> keyBit.checked) & 0x3f,
    dataBreak: bit(keyBit.dataBreak),
    instructionBreak: bit(keyBit.instructionBreak),
    shadow: bit(keyBit.shadow),
    lens: bit(keyBit.lens),
    shared: bit(keyBit.shared),
  };
}

export function encodeMode(mode: Mode): number {
  const bit = (on: boolean, at: number) => (on ? 1 << at : 0);
  return (
    codeSizes.indexOf(mode.codeSize) |
    bit(mode.protectedMode, keyBit.protectedMode) |
    bit(mode.vm86, keyBit.vm86) |
    bit(mode.long, keyBit.long) |
    (mode.cpl << keyBit.cpl) |
    bit(mode.stackSize === 32, keyBit.stack32) |
    bit(mode.singleStep, keyBit.singleStep) |
    bit(mode.alignmentCheck, keyBit.alignmentCheck) |
    bit(mode.em, keyBit.em) |
    bit(mode.ts, keyBit.ts) |
    bit(mode.mp, keyBit.mp) |
    bit(mode.osfxsr, keyBit.osfxsr) |
    bit(mode.osxsave, keyBit.osxsave) |
    bit(mode.ioAllowed, keyBit.ioAllowed) |
    bit(mode.flat, keyBit.flat) |
    (mode.checkedSegments << keyBit.checked) |
    bit(mode.dataBreak, keyBit.dataBreak) |
    bit(mode.instructionBreak, keyBit.instructionBreak) |
    bit(mode.shadow, keyBit.shadow) |
    bit(mode.lens, keyBit.lens) |
    bit(mode.shared, keyBit.shared)
  );
}

/** Present code or data segments with all of 4 GiB and, for data, writable and not expand-down, are not checked. */
const checkedBits =
  descriptor.present | descriptor.notSystem | descriptor.code | descriptor.writable | descriptor.expandDown;
const plainData = descriptor.present | descriptor.notSystem | descriptor.writable;

/**
 * Recomputes the mode key and what goes with it from the state. The caller ends its block so that the dispatcher looks the
 * next code up anew.
 */
export const updateMode = routines.define('update_mode', [], [], { vars: 'write' }, (r) => {
  const s = r.state();
  const shifted = (value: I32, mask: number, to: number): I32 => {
    const bit = r.i32_and(value, r.i32(mask));
    const from = 31 - Math.clz32(mask & -mask);
    if (to === from) return bit;
    return to > from ? r.i32_shl(bit, r.i32(to - from)) : r.i32_shr_u(bit, r.i32(from - to));
  };
  const flagAt = (condition: I32, to: number): I32 => r.i32_shl(condition, r.i32(to));
  const attributes = (n: number): I32 => r.i32_load(s, field.attributes + 4 * n);
  const control0 = r.i32_load(s, field.cr0);
  const control4 = r.i32_load(s, field.cr4);
  const flags = r.i32_load(s, field.eflags);
  const cpl = r.i32_load(s, field.cpl);
  const csAttributes = attributes(seg.CS);
  const long = r.i32_and(r.i32_load(s, field.efer), r.i32(efer.LMA));
  const user = r.i32_eq(cpl, r.i32(3));
  const units = [
    shifted(control0, cr0.EM, keyBit.em),
    shifted(control0, cr0.TS, keyBit.ts),
    shifted(control0, cr0.MP, keyBit.mp),
    shifted(control4, cr4.OSFXSR, keyBit.osfxsr),
    shifted(control4, cr4.OSXSAVE, keyBit.osxsave),
  ].reduce((a, b) => r.i32_or(a, b));
  r.i32_store(s, units, field.units);
  const key = r.local('i32');
  r.assign(
    key,
    [
      shifted(control0, cr0.PE, keyBit.protectedMode),
      r.select(user, units, r.i32(0)),
      shifted(flags, eflag.VM, keyBit.vm86),
      shifted(flags, eflag.TF, keyBit.singleStep),
      shifted(long, efer.LMA, keyBit.long),
      flagAt(cpl, keyBit.cpl),
      flagAt(r.i32_le_u(cpl, r.i32_and(r.i32_shr_u(flags, r.i32(IOPL_SHIFT)), r.i32(3))), keyBit.ioAllowed),
      flagAt(r.i32_ne(r.i32_load(s, field.interruptShadow), r.i32(0)), keyBit.shadow),
    ].reduce((a, b) => r.i32_or(a, b)),
  );
  const include = (bits: I32) => r.assign(key, r.i32_or(r.read(key), bits));

  // Explicit accesses of CPL 3 use the user index; CR4.SMAP is the page walk's business but for EFLAGS.AC.
  const ac = r.i32_and(shifted(flags, eflag.AC, 0), shifted(control4, cr4.SMAP, 0));
  r.call(engine.selectMmu, r.select(user, r.i32(mmuIndex.user), r.i32_add(r.i32(mmuIndex.supervisor), ac)));
  include(
    flagAt(
      r.i32_and(user, r.i32_and(shifted(flags, eflag.AC, 0), shifted(control0, cr0.AM, 0))),
      keyBit.alignmentCheck,
    ),
  );

  r.if(
    r.i32_and(r.i32_ne(long, r.i32(0)), shifted(csAttributes, descriptor.long, 0)),
    () => {
      include(r.i32(2 | (1 << keyBit.flat)));
      r.i32_store(s, r.i32(64), field.codeSize);
      r.i64_store(s, r.i64(-1), header.pcMask);
      r.i64_store(s, r.i64(0), header.pcBase);
    },
    () => {
      // Outside 64-bit code the upper halves of RAX to RDI are zero (state.ts).
      r.if(r.i32_eq(r.i32_load(s, field.codeSize), r.i32(64)), () => {
        for (let n = 0; n < 8; n++) r.set(gpr[n], r.i64_low32(r.get(gpr[n])));
      });
      const big = shifted(csAttributes, descriptor.big, 0);
      include(r.i32_or(big, shifted(attributes(seg.SS), descriptor.big, keyBit.stack32)));
      r.i32_store(s, r.select(big, r.i32(32), r.i32(16)), field.codeSize);
      r.i64_store(s, r.select(big, r.i64(0xffffffff), r.i64(0xffff)), header.pcMask);
      r.i64_store(s, r.get(segBase[seg.CS]), header.pcBase);
      const bases = [seg.ES, seg.CS, seg.SS, seg.DS].map((n) => r.get(segBase[n])).reduce((a, b) => r.i64_or(a, b));
      include(flagAt(r.i64_eqz(bases), keyBit.flat));
      for (const n of [seg.ES, seg.CS, seg.SS, seg.DS, seg.FS, seg.GS]) {
        const limited = r.i32_ne(r.i32_load(s, field.limit + 4 * n), r.i32(-1));
        const kind = r.i32_ne(r.i32_and(attributes(n), r.i32(checkedBits)), r.i32(plainData));
        include(flagAt(n === seg.CS ? limited : r.i32_or(limited, kind), keyBit.checked + n));
      }
    },
  );

  const enabled = r.i32_load(s, field.dr + 8 * 7);
  r.if(r.i32_and(enabled, r.i32(0xff)), () => {
    for (let n = 0; n < 4; n++) {
      const on = r.i32_and(enabled, r.i32(3 << (2 * n)));
      const kind = r.i32_and(enabled, r.i32(3 << (16 + 4 * n)));
      const execute = r.i32_eqz(kind);
      // R/W 10b is an I/O breakpoint, which IN and OUT look for themselves.
      const data = r.i32_and(kind, r.i32(1 << (16 + 4 * n)));
      r.if(on, () => {
        include(flagAt(execute, keyBit.instructionBreak));
        include(flagAt(r.i32_ne(data, r.i32(0)), keyBit.dataBreak));
      });
    }
  });
  include(flagAt(r.i32_load(s, field.watching), keyBit.dataBreak));
  include(flagAt(r.i32_load(s, field.ownerBits), keyBit.lens));
  r.i32_store(s, r.read(key), header.modeKey);
  r.ret();
});

/** Bits of the key that do not depend on CS, SS, CPL or EFLAGS. */
const lasting =
  (1 << keyBit.protectedMode) |
  (1 << keyBit.long) |
  (1 << keyBit.dataBreak) |
  (1 << keyBit.instructionBreak) |
  (1 << keyBit.lens) |
  (1 << keyBit.shared);

/** updateMode where long mode goes on and the code entered is 64-bit: (new CPL); field.eflags and field.cpl are set already. */
export const updateMode64 = routines.define('update_mode_64', ['i32'], [], {}, (r, cpl) => {
  const s = r.state();
  const flags = r.i32_load(s, field.eflags);
  const user = r.i32_eq(cpl, r.i32(3));
  const ac = r.i32_and(r.i32_shr_u(flags, r.i32(18)), r.i32(1));
  const smap = r.i32_and(r.i32_shr_u(r.i32_load(s, field.cr4), r.i32(21)), ac);
  r.call(engine.selectMmu, r.select(user, r.i32(mmuIndex.user), r.i32_add(r.i32(mmuIndex.supervisor), smap)));
  const align = r.i32_and(r.i32_and(user, ac), r.i32_shr_u(r.i32_load(s, field.cr0), r.i32(18)));
  const iopl = r.i32_and(r.i32_shr_u(flags, r.i32(IOPL_SHIFT)), r.i32(3));
  const key = [
    r.i32_and(r.i32_load(s, header.modeKey), r.i32(lasting)),
    r.select(user, r.i32_load(s, field.units), r.i32(0)),
    r.i32(2 | (1 << keyBit.flat)),
    r.i32_shl(cpl, r.i32(keyBit.cpl)),
    r.i32_and(flags, r.i32(eflag.TF)),
    r.i32_shl(align, r.i32(keyBit.alignmentCheck)),
    r.i32_shl(r.i32_le_u(cpl, iopl), r.i32(keyBit.ioAllowed)),
  ].reduce((a, b) => r.i32_or(a, b));
  r.i32_store(s, r.i32(0), field.interruptShadow);
  r.i32_store(s, r.i32(64), field.codeSize);
  r.i64_store(s, r.i64(-1), header.pcMask);
  r.i64_store(s, r.i64(0), header.pcBase);
  r.i32_store(s, key, header.modeKey);
  r.ret();
});
