/**
 * Loading ES, SS, DS, FS and GS, and checks of accesses through segments that are not flat: Intel SDM vol. 3, 3.4, 5.3-5.6, vol. 2 MOV and POP. The common loads are IR; a load that faults, or that must set the accessed bit, is JavaScript.
 *
 * Choice: loading a null selector into FS or GS clears its base, as Intel's processors do.
 */
import { header, type I32 } from '../../../ir/index.js';
import { implicitAccess, updateMode } from '../mode.js';
import { routines } from '../routines/set.js';
import { field, segBase, trapCode } from '../state.js';
import { cr0, descriptor, eflag, seg, vector } from './bits.js';
import { ATTRIBUTE_MASK, dplOf, isCode, isConformingCode, isPresent, isWritableData, type Vcpu } from './vcpu.js';

const loadSegmentSlow = routines.host('load_segment_slow', ['i32', 'i32'], ['i32'], { vars: 'write', mayFault: true });

/** Loads a segment register other than CS with a selector: (segment, selector) → fault. Recomputes the mode outside 64-bit code. */
export const loadSegment = routines.define(
  'load_segment',
  ['i32', 'i32'],
  ['i32'],
  { vars: 'write', mayFault: true },
  (r, n, wide) => {
    const s = r.state();
    const selector = r.i32_and(wide, r.i32(0xffff));
    const words = r.i32_add(s, r.i32_shl(n, r.i32(2)));
    const baseAt = r.i32_add(s, r.i32_shl(n, r.i32(3)));
    const firstBase = segBase[0].offset;
    const finish = (): void => {
      r.if(r.i32_ne(r.i32_load(s, field.codeSize), r.i32(64)), () => r.call(updateMode));
      r.ret(r.i32(0));
    };
    const real = r.i32_eqz(r.i32_and(r.i32_load(s, field.cr0), r.i32(cr0.PE)));
    const vm86 = r.i32_and(r.i32_load(s, field.eflags), r.i32(eflag.VM));
    r.if(r.i32_or(real, vm86), () => {
      r.i32_store(words, selector, field.selector);
      r.i64_store(baseAt, r.i64_extend_i32_u(r.i32_shl(selector, r.i32(4))), firstBase);
      finish();
    });
    const slow = (): void => {
      const [fault] = r.call(loadSegmentSlow, n, selector);
      r.ret(fault);
    };
    const cpl = r.i32_load(s, field.cpl);
    const isStack = r.i32_eq(n, r.i32(seg.SS));
    r.if(r.i32_le_u(selector, r.i32(3)), () => {
      r.if(isStack, slow);
      r.i32_store(words, selector, field.selector);
      r.i64_store(baseAt, r.i64(0), firstBase);
      r.i32_store(words, r.i32(0), field.limit);
      r.i32_store(words, r.i32(0), field.attributes);
      finish();
    });
    const index = r.i32_and(selector, r.i32(0xfff8));
    const last = r.i32_or(index, r.i32(7));
    r.if(r.i32_or(r.i32_and(selector, r.i32(4)), r.i32_gt_u(last, r.i32_load(s, field.gdtLimit))), slow);
    const loaded = r.guest_load64(r.i64_add(r.i64_load(s, field.gdtBase), r.i64_extend_i32_u(index)), implicitAccess);
    const low = r.i32_wrap_i64(loaded);
    const high = r.i32_wrap_i64(r.i64_shr_u(loaded, r.i64(32)));
    const rpl = r.i32_and(selector, r.i32(3));
    const dpl = r.i32_and(r.i32_shr_u(high, r.i32(descriptor.dplShift)), r.i32(3));
    const plain = descriptor.present | descriptor.notSystem | descriptor.accessed;
    const bits = (mask: number): I32 => r.i32_and(high, r.i32(mask));
    const usable = r.i32_eq(bits(plain | descriptor.code), r.i32(plain));
    // Data segments only: code segments in data registers go the slow way.
    const asData = r.i32_and(r.i32_ge_u(dpl, cpl), r.i32_ge_u(dpl, rpl));
    const asStack = r.i32_and(
      r.i32_ne(bits(descriptor.writable), r.i32(0)),
      r.i32_and(r.i32_eq(dpl, cpl), r.i32_eq(rpl, cpl)),
    );
    r.if(r.i32_eqz(r.i32_and(usable, r.select(isStack, asStack, asData))), slow);
    const raw = r.i32_or(r.i32_and(low, r.i32(0xffff)), bits(0xf0000));
    const limit = r.select(bits(descriptor.granular), r.i32_or(r.i32_shl(raw, r.i32(12)), r.i32(0xfff)), raw);
    const base = r.i32_or(
      r.i32_or(r.i32_shr_u(low, r.i32(16)), r.i32_shl(bits(0xff), r.i32(16))),
      bits(0xff000000 | 0),
    );
    r.i32_store(words, selector, field.selector);
    r.i64_store(baseAt, r.i64_extend_i32_u(base), firstBase);
    r.i32_store(words, limit, field.limit);
    r.i32_store(words, bits(ATTRIBUTE_MASK), field.attributes);
    finish();
  },
);

/** JavaScript's load of a data or stack segment in protected mode, with every check in the manual's order. */
export function loadDataSegment(cpu: Vcpu, n: number, selector: number): void {
  const { cpl } = cpu;
  const rpl = selector & 3;
  const code = selector & 0xfffc;
  if (code === 0) {
    if (n === seg.SS) {
      // A null SS is for 64-bit code outside ring 3.
      if (cpu.codeSize !== 64 || cpl === 3 || rpl !== cpl) cpu.raiseGp(0);
      cpu.setSegment(n, selector, 0n, 0, cpl << descriptor.dplShift);
    } else cpu.setSegment(n, selector, 0n, 0, 0);
    return;
  }
  const d = cpu.readDescriptor(selector);
  if (n === seg.SS) {
    if (rpl !== cpl || !isWritableData(d.high) || dplOf(d.high) !== cpl) cpu.raiseGp(code);
    if (!isPresent(d.high)) cpu.raise(vector.SS, code);
  } else {
    const readable = !isCode(d.high) || (d.high & descriptor.readable) !== 0;
    if (!(d.high & descriptor.notSystem) || !readable) cpu.raiseGp(code);
    if (!isConformingCode(d.high) && dplOf(d.high) < Math.max(cpl, rpl)) cpu.raiseGp(code);
    if (!isPresent(d.high)) cpu.raise(vector.NP, code);
  }
  cpu.setSegmentFrom(n, selector, cpu.markAccessed(d));
}

/** Any segment register but CS, in any mode; the caller recomputes the mode. */
export function loadSegmentRegister(cpu: Vcpu, n: number, selector: number): void {
  if (cpu.isProtected && !cpu.isVm86) {
    loadDataSegment(cpu, n, selector);
    return;
  }
  cpu.setSegment(n, selector, BigInt(selector << 4), cpu.getLimit(n), cpu.getAttributes(n));
}

/**
 * Checks an access through a segment that the mode key says needs it: (segment, offset, bytes, is a write) → fault. #SS(0) for
 * SS, else #GP(0).
 */
export const checkSegment = routines.define(
  'check_segment',
  ['i32', 'i64', 'i32', 'i32'],
  ['i32'],
  { mayFault: true },
  (r, n, offset, bytes, write) => {
    const s = r.state();
    const words = r.i32_add(s, r.i32_shl(n, r.i32(2)));
    const attributes = r.i32_load(words, field.attributes);
    const limit = r.i64_load32_u(words, field.limit);
    const first = r.i64_and(offset, r.i64(0xffffffff));
    const last = r.i64_add(first, r.i64_extend_i32_u(r.i32_sub(bytes, r.i32(1))));
    const has = (mask: number): I32 => r.i32_ne(r.i32_and(attributes, r.i32(mask)), r.i32(0));
    const isCodeSegment = has(descriptor.code);
    const present = r.i32_ne(r.i32_and(attributes, r.i32(descriptor.present)), r.i32(0));
    const control = r.i32_load(s, field.cr0);
    const flags = r.i32_load(s, field.eflags);
    // Real and virtual-8086 mode have limits but no rights.
    const rights = r.i32_and(
      r.i32_ne(r.i32_and(control, r.i32(cr0.PE)), r.i32(0)),
      r.i32_eqz(r.i32_and(flags, r.i32(eflag.VM))),
    );
    const writable = r.i32_and(r.i32_eqz(isCodeSegment), has(descriptor.writable));
    const readable = r.i32_or(r.i32_eqz(isCodeSegment), has(descriptor.readable));
    const allowed = r.i32_and(present, r.select(write, writable, readable));
    const expandDown = r.i32_and(r.i32_eqz(isCodeSegment), has(descriptor.expandDown));
    const top = r.select(has(descriptor.big), r.i64(0xffffffff), r.i64(0xffff));
    const within = r.select(
      expandDown,
      r.i32_and(r.i64_gt_u(first, limit), r.i64_le_u(last, top)),
      r.i64_le_u(last, limit),
    );
    r.if(r.i32_and(within, r.i32_or(allowed, r.i32_eqz(rights))), () => r.ret(r.i32(0)));
    const stack = r.i32_eq(n, r.i32(seg.SS));
    r.i32_store(s, r.select(stack, r.i32(trapCode(vector.SS, 0)), r.i32(trapCode(vector.GP, 0))), header.trapCode);
    r.ret(r.i32(1));
  },
);
