/**
 * IRET as kernels use it, SYSCALL, SYSRET, SYSENTER and SYSEXIT, in IR. Intel SDM vol. 2 (those pages); AMD APM vol. 3 for
 * SYSCALL outside 64-bit code, which Intel's processors lack and AMD's have. SYSENTER works in long mode as on Intel's.
 */
import { header, type I32, type I64, type RoutineBuilder } from '../../../ir/index.js';
import { implicitAccess, updateMode, updateMode64 } from '../mode.js';
import { routines } from '../routines/set.js';
import { field, gpr, segBase, trapCode } from '../state.js';
import { cr0, cr4, descriptor, dr6, efer, eflag, IOPL_SHIFT, STATUS_FLAGS, seg, vector } from './bits.js';
import { loadEflags, storeEflags } from './eflags.js';
import { iretSlow } from './transfers.js';
import { ATTRIBUTE_MASK } from './vcpu.js';

const RCX = 1;
const RDX = 2;
const RSP = 4;
const R11 = 11;

function fail(r: RoutineBuilder, number: number, errorCode?: number): void {
  r.i32_store(r.state(), r.i32(trapCode(number, errorCode)), header.trapCode);
  r.ret(r.i32(1));
}

const has = (r: RoutineBuilder, value: I32, mask: number): I32 => r.i32_ne(r.i32_and(value, r.i32(mask)), r.i32(0));

/** 1 if the address is canonical by CR4.LA57. */
function canonical(r: RoutineBuilder, address: I64): I32 {
  const la57 = r.i32_and(r.i32_load(r.state(), field.cr4), r.i32(cr4.LA57));
  const unused = r.select(la57, r.i64(7), r.i64(16));
  return r.i64_eq(r.i64_shr_s(r.i64_shl(address, unused), unused), address);
}

interface Words {
  readonly low: I32;
  readonly high: I32;
}

/** A GDT descriptor by a selector that is not null; leaves by `slow` beyond the table or for the LDT. */
function readGdt(r: RoutineBuilder, selector: I32, slow: () => void): Words {
  const s = r.state();
  const index = r.i32_and(selector, r.i32(0xfff8));
  const beyond = r.i32_gt_u(r.i32_or(index, r.i32(7)), r.i32_load(s, field.gdtLimit));
  r.if(r.i32_or(r.i32_or(beyond, r.i32_and(selector, r.i32(4))), r.i32_eqz(index)), slow);
  const loaded = r.guest_load64(r.i64_add(r.i64_load(s, field.gdtBase), r.i64_extend_i32_u(index)), implicitAccess);
  return { low: r.i32_wrap_i64(loaded), high: r.i32_wrap_i64(r.i64_shr_u(loaded, r.i64(32))) };
}

function limitWord(r: RoutineBuilder, d: Words): I32 {
  const raw = r.i32_or(r.i32_and(d.low, r.i32(0xffff)), r.i32_and(d.high, r.i32(0xf0000)));
  return r.select(
    r.i32_and(d.high, r.i32(descriptor.granular)),
    r.i32_or(r.i32_shl(raw, r.i32(12)), r.i32(0xfff)),
    raw,
  );
}

function put(r: RoutineBuilder, n: number, selector: I32, d: Words): void {
  const s = r.state();
  const middle = r.i32_shl(r.i32_and(d.high, r.i32(0xff)), r.i32(16));
  const base = r.i32_or(r.i32_or(r.i32_shr_u(d.low, r.i32(16)), middle), r.i32_and(d.high, r.i32(0xff000000 | 0)));
  r.i32_store(s, selector, field.selector + 4 * n);
  r.set(segBase[n], r.i64_extend_i32_u(base));
  r.i32_store(s, limitWord(r, d), field.limit + 4 * n);
  r.i32_store(s, r.i32_and(d.high, r.i32(ATTRIBUTE_MASK)), field.attributes + 4 * n);
}

/** The code that IRET returns to: present, accessed, not conforming, DPL = RPL >= CPL. */
function returnCode(r: RoutineBuilder, selector: I32, cpl: I32, slow: () => void): Words {
  const d = readGdt(r, selector, slow);
  const rpl = r.i32_and(selector, r.i32(3));
  const needed = descriptor.present | descriptor.notSystem | descriptor.code | descriptor.accessed;
  const right = r.i32_eq(r.i32_and(d.high, r.i32(needed | descriptor.conforming)), r.i32(needed));
  const dpl = r.i32_and(r.i32_shr_u(d.high, r.i32(descriptor.dplShift)), r.i32(3));
  r.if(r.i32_eqz(r.i32_and(right, r.i32_and(r.i32_eq(dpl, rpl), r.i32_ge_u(rpl, cpl)))), slow);
  return d;
}

/** The stack that goes with it: present, accessed, writable, DPL = RPL = `level`. */
function returnStack(r: RoutineBuilder, selector: I32, level: I32, slow: () => void): Words {
  const d = readGdt(r, selector, slow);
  const needed = descriptor.present | descriptor.notSystem | descriptor.writable | descriptor.accessed;
  const right = r.i32_eq(r.i32_and(d.high, r.i32(needed | descriptor.code)), r.i32(needed));
  const dpl = r.i32_and(r.i32_shr_u(d.high, r.i32(descriptor.dplShift)), r.i32(3));
  const levels = r.i32_and(r.i32_eq(dpl, level), r.i32_eq(r.i32_and(selector, r.i32(3)), level));
  r.if(r.i32_eqz(r.i32_and(right, levels)), slow);
  return d;
}

/** Leaves by `slow` if a data segment would have to become null. */
function checkInnerSegments(r: RoutineBuilder, level: I32, slow: () => void): void {
  for (const n of [seg.ES, seg.DS, seg.FS, seg.GS]) {
    const attributes = r.i32_load(r.state(), field.attributes + 4 * n);
    const dpl = r.i32_and(r.i32_shr_u(attributes, r.i32(descriptor.dplShift)), r.i32(3));
    r.if(r.i32_and(has(r, attributes, descriptor.present), r.i32_lt_u(dpl, level)), slow);
  }
}

const restorable = STATUS_FLAGS | eflag.TF | eflag.DF | eflag.NT | eflag.AC | eflag.ID;

/** EFLAGS from the popped image by CPL and IOPL as they were. */
function restoreFlags(r: RoutineBuilder, image: I32, cpl: I32): void {
  const old = r.i32_load(r.state(), field.eflags);
  // RF lasts for one instruction and counts for breakpoints alone: only where there are any does somebody clear it.
  const breakpoints = r.i32_and(r.i32_load(r.state(), field.dr + 8 * 7), r.i32(0xff));
  const resume = r.select(breakpoints, r.i32(eflag.RF), r.i32(0));
  const iopl = r.i32_and(r.i32_shr_u(old, r.i32(IOPL_SHIFT)), r.i32(3));
  const interrupts = r.select(r.i32_le_u(cpl, iopl), r.i32(eflag.IF), r.i32(0));
  const system = r.select(cpl, r.i32(0), r.i32(eflag.IOPL | eflag.VIF | eflag.VIP));
  const mask = r.i32_or(r.i32_or(interrupts, system), r.i32_or(resume, r.i32(restorable)));
  storeEflags(r, r.i32_xor(old, r.i32_and(r.i32_xor(old, image), mask)));
}

/** IRET lets in the next NMI, and one that has been waiting at once. */
function openToNmi(r: RoutineBuilder): void {
  const s = r.state();
  r.i32_store(s, r.i32(0), field.nmiBlocked);
  r.if(r.i32_load(s, field.nmiPending), () => r.i32_store(s, r.i32(1), header.kick));
}

/** IRETQ in 64-bit code: → (fault, nothing done). */
const iretLong = routines.define('iret_long', [], ['i32', 'i32'], { vars: 'write', mayFault: true }, (r) => {
  const s = r.state();
  const slow = () => r.ret(r.i32(0), r.i32(1));
  const cpl = r.i32_load(s, field.cpl);
  const sp = r.get(gpr[RSP]);
  const pop = (at: number) => r.guest_load64(r.i64_add(sp, r.i64(at)), 0);
  const target = pop(0);
  const selector = r.i32_and(r.i32_wrap_i64(pop(8)), r.i32(0xffff));
  const image = r.i32_wrap_i64(pop(16));
  const newSp = pop(24);
  const stackSelector = r.i32_and(r.i32_wrap_i64(pop(32)), r.i32(0xffff));
  const code = returnCode(r, selector, cpl, slow);
  const level = r.i32_and(selector, r.i32(3));
  const toLong = has(r, code.high, descriptor.long);
  const fits = r.select(
    toLong,
    r.i32_and(canonical(r, target), r.i32_eqz(has(r, code.high, descriptor.big))),
    r.i64_le_u(target, r.i64_extend_i32_u(limitWord(r, code))),
  );
  r.if(r.i32_eqz(fits), slow);
  const outer = r.i32_ne(level, cpl);
  r.if(outer, () => checkInnerSegments(r, level, slow));
  r.if(
    r.i32_and(stackSelector, r.i32(0xfffc)),
    () => {
      const stack = returnStack(r, stackSelector, level, slow);
      // A 16-bit stack keeps the upper half of ESP.
      r.if(r.i32_and(r.i32_eqz(toLong), r.i32_eqz(has(r, stack.high, descriptor.big))), slow);
      put(r, seg.SS, stackSelector, stack);
    },
    () => {
      r.if(r.i32_or(r.i32_eqz(toLong), r.i32_eq(level, r.i32(3))), slow);
      r.i32_store(s, stackSelector, field.selector + 4 * seg.SS);
      r.i32_store(s, r.i32_shl(level, r.i32(descriptor.dplShift)), field.attributes + 4 * seg.SS);
      r.i32_store(s, r.i32(0), field.limit + 4 * seg.SS);
      r.set(segBase[seg.SS], r.i64(0));
    },
  );
  put(r, seg.CS, selector, code);
  r.set(gpr[RSP], r.select(toLong, newSp, r.i64_and(newSp, r.i64(0xffffffff))));
  restoreFlags(r, image, cpl);
  r.i32_store(s, level, field.cpl);
  r.i64_store(s, target, header.pc);
  openToNmi(r);
  r.if(
    toLong,
    () => r.call(updateMode64, level),
    () => r.call(updateMode),
  );
  r.ret(r.i32(0), r.i32(0));
});

/** IRETD in protected mode on a flat stack, not to virtual-8086 mode: as iretLong. */
const iret32 = routines.define('iret_32', [], ['i32', 'i32'], { vars: 'write', mayFault: true }, (r) => {
  const s = r.state();
  const slow = () => r.ret(r.i32(0), r.i32(1));
  const cpl = r.i32_load(s, field.cpl);
  const flat = (attributes: I32, limit: I32): I32 =>
    r.i32_and(
      r.i32_eq(r.i32_and(attributes, r.i32(descriptor.big | descriptor.expandDown)), r.i32(descriptor.big)),
      r.i32_eq(limit, r.i32(-1)),
    );
  const current = flat(r.i32_load(s, field.attributes + 4 * seg.SS), r.i32_load(s, field.limit + 4 * seg.SS));
  r.if(r.i32_eqz(current), slow);
  const sp = r.i32_wrap_i64(r.get(gpr[RSP]));
  const base = r.get(segBase[seg.SS]);
  const pop = (at: number): I32 => {
    const offset = r.i64_extend_i32_u(r.i32_add(sp, r.i32(at)));
    return r.guest_load32(r.i64_and(r.i64_add(base, offset), r.i64(0xffffffff)), 0);
  };
  const target = pop(0);
  const selector = r.i32_and(pop(4), r.i32(0xffff));
  const image = pop(8);
  r.if(has(r, image, eflag.VM), slow);
  const code = returnCode(r, selector, cpl, slow);
  const level = r.i32_and(selector, r.i32(3));
  r.if(r.i32_gt_u(target, limitWord(r, code)), slow);
  r.if(
    r.i32_ne(level, cpl),
    () => {
      const newSp = pop(12);
      const stackSelector = r.i32_and(pop(16), r.i32(0xffff));
      const stack = returnStack(r, stackSelector, level, slow);
      r.if(r.i32_eqz(has(r, stack.high, descriptor.big)), slow);
      checkInnerSegments(r, level, slow);
      put(r, seg.SS, stackSelector, stack);
      r.set(gpr[RSP], r.i64_extend_i32_u(newSp));
    },
    () => r.set(gpr[RSP], r.i64_extend_i32_u(r.i32_add(sp, r.i32(12)))),
  );
  put(r, seg.CS, selector, code);
  restoreFlags(r, image, cpl);
  r.i32_store(s, level, field.cpl);
  r.i64_store(s, r.i64_extend_i32_u(target), header.pc);
  openToNmi(r);
  r.call(updateMode);
  r.ret(r.i32(0), r.i32(0));
});

/** IRET: (operand size, address of the next instruction) → fault. Writes the pc. */
export const interruptReturn = routines.define(
  'interrupt_return',
  ['i32', 'i64'],
  ['i32'],
  { vars: 'write', mayFault: true },
  (r, opSize, next) => {
    const s = r.state();
    const slow = r.local('i32', r.i32(1));
    const flags = r.i32_load(s, field.eflags);
    const plain = r.i32_eqz(r.i32_and(flags, r.i32(eflag.NT | eflag.VM)));
    const protectedMode = r.i32_and(r.i32_load(s, field.cr0), r.i32(cr0.PE));
    r.if(r.i32_and(plain, protectedMode), () => {
      r.if(
        r.i32_eq(opSize, r.i32(64)),
        () => r.assign(slow, r.call(iretLong)[1]),
        () => {
          const legacy = r.i32_eqz(has(r, r.i32_load(s, field.efer), efer.LMA));
          r.if(r.i32_and(legacy, r.i32_eq(opSize, r.i32(32))), () => r.assign(slow, r.call(iret32)[1]));
        },
      );
    });
    r.if(r.read(slow), () => {
      r.call(iretSlow, opSize, next);
      r.ret(r.i32(0));
    });
    r.ret(r.i32(0));
  },
);

const flatCode = 0xc09b00;
const flatCode64 = 0xa09b00;
const flatData = 0xc09300;

/** A flat segment of fixed attributes, DPL added. */
function putFlat(r: RoutineBuilder, n: number, selector: I32, attributes: I32): void {
  const s = r.state();
  r.i32_store(s, r.i32_and(selector, r.i32(0xffff)), field.selector + 4 * n);
  r.set(segBase[n], r.i64(0));
  r.i32_store(s, r.i32(-1), field.limit + 4 * n);
  r.i32_store(s, attributes, field.attributes + 4 * n);
}

/** A trap by TF that SYSCALL and SYSRET have when they are done, whatever TF was before; one that MOV SS held stays. */
function trapByNewFlags(r: RoutineBuilder, flags: I32): void {
  const s = r.state();
  const trap = has(r, flags, eflag.TF);
  const held = r.i32_and(r.i32_load(s, field.debugPending), r.i32(15));
  r.i32_store(s, r.i32_or(held, r.select(trap, r.i32(dr6.BS), r.i32(0))), field.debugPending);
  r.if(trap, () => r.i32_store(s, r.i32(1), header.kick));
}

const userDpl = 3 << descriptor.dplShift;

/** SYSCALL: address of the next instruction → fault. */
export const systemCall = routines.define(
  'system_call',
  ['i64'],
  ['i32'],
  { vars: 'write', mayFault: true },
  (r, next) => {
    const s = r.state();
    const extended = r.i32_load(s, field.efer);
    r.if(r.i32_eqz(has(r, extended, efer.SCE)), () => fail(r, vector.UD));
    const star = r.i64_load(s, field.star);
    const selector = r.i32_and(r.i32_wrap_i64(r.i64_shr_u(star, r.i64(32))), r.i32(0xfffc));
    putFlat(r, seg.SS, r.i32_add(selector, r.i32(8)), r.i32(flatData));
    r.i32_store(s, r.i32(0), field.cpl);
    r.if(
      has(r, extended, efer.LMA),
      () => {
        const flags = loadEflags(r);
        const from64 = r.i32_eq(r.i32_load(s, field.codeSize), r.i32(64));
        r.set(gpr[RCX], next);
        r.set(gpr[R11], r.i64_extend_i32_u(r.i32_and(flags, r.i32(~eflag.RF))));
        const cleared = r.i32_or(r.i32_load(s, field.fmask), r.i32(eflag.RF));
        const left = r.i32_and(flags, r.i32_xor(cleared, r.i32(-1)));
        storeEflags(r, left);
        trapByNewFlags(r, left);
        putFlat(r, seg.CS, selector, r.i32(flatCode64));
        r.i64_store(s, r.select(from64, r.i64_load(s, field.lstar), r.i64_load(s, field.cstar)), header.pc);
        r.call(updateMode64, r.i32(0));
        r.ret(r.i32(0));
      },
      () => {
        r.set(gpr[RCX], next);
        const cleared = eflag.VM | eflag.IF | eflag.RF;
        const left = r.i32_and(r.i32_load(s, field.eflags), r.i32(~cleared));
        r.i32_store(s, left, field.eflags);
        trapByNewFlags(r, left);
        putFlat(r, seg.CS, selector, r.i32(flatCode));
        r.i64_store(s, r.i64_and(star, r.i64(0xffffffff)), header.pc);
      },
    );
    r.call(updateMode);
    r.ret(r.i32(0));
  },
);

/** SYSRET: operand size → fault. CPL is 0. */
export const systemReturn = routines.define(
  'system_return',
  ['i32'],
  ['i32'],
  { vars: 'write', mayFault: true },
  (r, opSize) => {
    const s = r.state();
    const extended = r.i32_load(s, field.efer);
    r.if(r.i32_eqz(has(r, extended, efer.SCE)), () => fail(r, vector.UD));
    const target = r.get(gpr[RCX]);
    const to64 = r.i32_eq(opSize, r.i32(64));
    r.if(r.i32_and(to64, r.i32_eqz(canonical(r, target))), () => fail(r, vector.GP, 0));
    const selector = r.i32_wrap_i64(r.i64_shr_u(r.i64_load(s, field.star), r.i64(48)));
    r.if(
      has(r, extended, efer.LMA),
      () => {
        const image = r.i32_wrap_i64(r.get(gpr[R11]));
        storeEflags(r, r.i32_and(image, r.i32(0x3c7fd7)));
        trapByNewFlags(r, image);
      },
      () => r.i32_store(s, r.i32_or(r.i32_load(s, field.eflags), r.i32(eflag.IF)), field.eflags),
    );
    const code = r.i32_or(r.select(to64, r.i32_add(selector, r.i32(16)), selector), r.i32(3));
    putFlat(r, seg.CS, code, r.select(to64, r.i32(flatCode64 | userDpl), r.i32(flatCode | userDpl)));
    putFlat(r, seg.SS, r.i32_or(r.i32_add(selector, r.i32(8)), r.i32(3)), r.i32(flatData | userDpl));
    r.i32_store(s, r.i32(3), field.cpl);
    r.i64_store(s, r.select(to64, target, r.i64_and(target, r.i64(0xffffffff))), header.pc);
    r.if(to64, () => {
      r.call(updateMode64, r.i32(3));
      r.ret(r.i32(0));
    });
    r.call(updateMode);
    r.ret(r.i32(0));
  },
);

/** SYSENTER → fault. */
export const systemEnter = routines.define('system_enter', [], ['i32'], { vars: 'write', mayFault: true }, (r) => {
  const s = r.state();
  const msr = r.i32_load(s, field.sysenterCs);
  const protectedMode = has(r, r.i32_load(s, field.cr0), cr0.PE);
  r.if(r.i32_or(r.i32_eqz(protectedMode), r.i32_eqz(has(r, msr, 0xfffc))), () => fail(r, vector.GP, 0));
  const selector = r.i32_and(msr, r.i32(0xfffc));
  const long = has(r, r.i32_load(s, field.efer), efer.LMA);
  r.i32_store(s, r.i32_and(r.i32_load(s, field.eflags), r.i32(~(eflag.VM | eflag.IF | eflag.RF))), field.eflags);
  putFlat(r, seg.CS, selector, r.select(long, r.i32(flatCode64), r.i32(flatCode)));
  putFlat(r, seg.SS, r.i32_add(selector, r.i32(8)), r.i32(flatData));
  r.i32_store(s, r.i32(0), field.cpl);
  const cut = r.select(long, r.i64(-1), r.i64(0xffffffff));
  r.set(gpr[RSP], r.i64_and(r.i64_load(s, field.sysenterEsp), cut));
  r.i64_store(s, r.i64_and(r.i64_load(s, field.sysenterEip), cut), header.pc);
  r.call(updateMode);
  r.ret(r.i32(0));
});

/** SYSEXIT: operand size → fault. CPL is 0. */
export const systemExit = routines.define(
  'system_exit',
  ['i32'],
  ['i32'],
  { vars: 'write', mayFault: true },
  (r, opSize) => {
    const s = r.state();
    const msr = r.i32_load(s, field.sysenterCs);
    const to64 = r.i32_eq(opSize, r.i32(64));
    const target = r.get(gpr[RDX]);
    const stack = r.get(gpr[RCX]);
    const bad = r.i32_eqz(r.i32_and(canonical(r, target), canonical(r, stack)));
    r.if(r.i32_or(r.i32_eqz(has(r, msr, 0xfffc)), r.i32_and(to64, bad)), () => fail(r, vector.GP, 0));
    const selector = r.i32_add(r.i32_and(msr, r.i32(0xfffc)), r.select(to64, r.i32(32), r.i32(16)));
    putFlat(
      r,
      seg.CS,
      r.i32_or(selector, r.i32(3)),
      r.select(to64, r.i32(flatCode64 | userDpl), r.i32(flatCode | userDpl)),
    );
    putFlat(r, seg.SS, r.i32_or(r.i32_add(selector, r.i32(8)), r.i32(3)), r.i32(flatData | userDpl));
    r.i32_store(s, r.i32(3), field.cpl);
    const cut = r.select(to64, r.i64(-1), r.i64(0xffffffff));
    r.set(gpr[RSP], r.i64_and(stack, cut));
    r.i64_store(s, r.i64_and(target, cut), header.pc);
    r.call(updateMode);
    r.ret(r.i32(0));
  },
);
