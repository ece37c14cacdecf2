/** Task switching: Intel SDM vol. 3 ch. 7 (7.2 structures, 7.3 switching, 7.4 linking). */
import { header } from '../../../ir/index.js';
import { field } from '../state.js';
import { cr0, descriptor, dr6, eflag, seg, systemType, vector } from './bits.js';
import { loadPageDirectoryPointers } from './control-registers.js';
import { asWhom } from './guest-memory.js';
import { Stack } from './stack.js';
import {
  baseOf,
  type Descriptor,
  dplOf,
  isCode,
  isConformingCode,
  isPresent,
  isWritableData,
  limitOf,
  type Vcpu,
} from './vcpu.js';

/** How a switch came about: JMP, CALL, an exception or interrupt through a task gate, IRET with NT set. */
export type TaskSwitchCause = 'jump' | 'call' | 'interrupt' | 'return';

const BUSY = 1 << 9;

interface Layout {
  readonly word: 2 | 4;
  readonly leastLimit: number;
  readonly ip: number;
  readonly flags: number;
  readonly gpr: number;
  readonly segments: number;
  readonly segmentCount: number;
  readonly ldt: number;
}
const layout16: Layout = {
  word: 2,
  leastLimit: 0x2b,
  ip: 0x0e,
  flags: 0x10,
  gpr: 0x12,
  segments: 0x22,
  segmentCount: 4,
  ldt: 0x2a,
};
const layout32: Layout = {
  word: 4,
  leastLimit: 0x67,
  ip: 0x20,
  flags: 0x24,
  gpr: 0x28,
  segments: 0x48,
  segmentCount: 6,
  ldt: 0x60,
};

const isTss32 = (high: number): boolean => ((high >>> descriptor.typeShift) & 8) !== 0;

/**
 * Switches to the task of a TSS selector. `next`: the pc that the old task goes on at. `ext`: EXT bit of faults; `errorCode` is
 * pushed on the new task's stack. Faults found while the new task's state is loaded belong to the new task.
 */
export function switchTask(
  cpu: Vcpu,
  selector: number,
  cause: TaskSwitchCause,
  next: bigint,
  ext = 0,
  errorCode?: number,
): void {
  const code = selector & 0xfffc;
  const returning = cause === 'return';
  const wrong = returning ? vector.TS : vector.GP;
  if (selector & 4 || code === 0) cpu.raise(wrong, code | ext);
  const d = cpu.readDescriptor(selector, wrong, ext);
  const type = (d.high >>> descriptor.typeShift) & 31;
  const wanted: readonly number[] = returning
    ? [systemType.busyTss16, systemType.busyTss32]
    : [systemType.tss16, systemType.tss32];
  if (!wanted.includes(type)) cpu.raise(wrong, code | ext);
  if (!isPresent(d.high)) cpu.raise(vector.NP, code | ext);
  const to = isTss32(d.high) ? layout32 : layout16;
  if (limitOf(d) < to.leastLimit) cpu.raise(vector.TS, code | ext);

  const base = BigInt(baseOf(d));
  const at = (offset: number) => (base + BigInt(offset)) & 0xffffffffn;
  const read = (offset: number): number => Number(cpu.load(at(offset), to.word, asWhom.system));
  const incoming = {
    cr3: to === layout32 ? read(0x1c) : undefined,
    ip: read(to.ip),
    flags: read(to.flags),
    gpr: Array.from({ length: 8 }, (_, i) => read(to.gpr + i * to.word)),
    selectors: Array.from({ length: 6 }, (_, i) =>
      i < to.segmentCount ? read(to.segments + i * to.word) & 0xffff : 0,
    ),
    ldt: read(to.ldt) & 0xffff,
    trap: to === layout32 && (cpu.load16(at(0x64)) & 1) !== 0,
  };

  saveTask(cpu, cause, next);
  if (cause === 'call' || cause === 'interrupt') cpu.store16(at(0), cpu.get32(field.trSelector));
  if (!returning) cpu.store32((d.address + 4n) & 0xffffffffn, d.high | BUSY);
  if (cause === 'jump' || returning) markIdle(cpu);

  cpu.set32(field.trSelector, selector);
  cpu.set64(field.trBase, base);
  cpu.set32(field.trLimit, limitOf(d));
  cpu.set32(field.trAttributes, (d.high | BUSY) & 0xf0ff00);
  cpu.set32(field.cr0, cpu.get32(field.cr0) | cr0.TS);
  if (incoming.cr3 !== undefined && cpu.get32(field.cr0) & cr0.PG) {
    cpu.set64(field.cr3, BigInt(incoming.cr3));
    loadPageDirectoryPointers(cpu, BigInt(incoming.cr3), false);
    cpu.call('flush_tlb_pages', 1);
  }
  let flags = (incoming.flags & (to === layout32 ? 0x3f7fd5 : 0x7fd5)) | 2;
  if (cause === 'call' || cause === 'interrupt') flags |= eflag.NT;
  cpu.setFlags(flags);
  for (const [n, value] of incoming.gpr.entries()) {
    cpu.setGpr32(n, to === layout32 ? value : (cpu.getGpr32(n) & 0xffff0000) | value);
  }
  cpu.pc = BigInt(incoming.ip);
  // Until each is loaded the segments are what their selectors say, and unusable.
  const wide = to === layout32 ? descriptor.big : 0;
  for (const [n, value] of incoming.selectors.entries()) cpu.setSegment(n, value, 0n, 0, n === seg.CS ? wide : 0);
  cpu.set32(field.dr + 8 * 7, cpu.get32(field.dr + 8 * 7) & ~0x155);
  cpu.cpl = flags & eflag.VM ? 3 : incoming.selectors[seg.CS] & 3;
  cpu.set32(field.interruptShadow, 0);
  cpu.updateMode();

  loadTaskLdt(cpu, incoming.ldt, ext);
  if (flags & eflag.VM) {
    for (const [n, value] of incoming.selectors.entries()) cpu.setSegment(n, value, BigInt(value << 4), 0xffff, 0xf300);
  } else loadTaskSegments(cpu, incoming.selectors, ext);
  cpu.updateMode();

  if (errorCode !== undefined) {
    const stack = Stack.current(cpu, ext);
    stack.push(BigInt(errorCode), to.word);
    stack.commit();
  }
  if (incoming.ip > cpu.getLimit(seg.CS)) cpu.raiseGp(ext);
  if (incoming.trap) {
    cpu.set32(field.debugPending, cpu.get32(field.debugPending) | dr6.BT);
    cpu.set32(header.kick, 1);
  }
}

/** Writes the running task's state into its TSS. */
function saveTask(cpu: Vcpu, cause: TaskSwitchCause, next: bigint): void {
  const from = isTss32(cpu.get32(field.trAttributes)) ? layout32 : layout16;
  const base = cpu.get64(field.trBase);
  const at = (offset: number) => (base + BigInt(offset)) & 0xffffffffn;
  const write = (offset: number, value: number) => cpu.store(at(offset), BigInt(value >>> 0), from.word, asWhom.system);
  // Both ends must be writable before anything is written.
  for (const offset of [from.ip, from.segments + from.segmentCount * from.word - 1]) {
    cpu.callFaulting('system_probe_write', at(offset), asWhom.system);
  }
  let flags = cpu.getFlags();
  if (cause === 'return') flags &= ~eflag.NT;
  write(from.ip, Number(next & 0xffffffffn));
  write(from.flags, flags);
  for (let n = 0; n < 8; n++) write(from.gpr + n * from.word, cpu.getGpr32(n));
  for (let n = 0; n < from.segmentCount; n++) cpu.store16(at(from.segments + n * from.word), cpu.getSelector(n));
}

/** Clears the busy bit of the running task's descriptor. */
function markIdle(cpu: Vcpu): void {
  const address = cpu.descriptorAddress(cpu.get32(field.trSelector) & 0xfff8);
  if (address === undefined) return;
  const high = cpu.load32((address + 4n) & 0xffffffffn);
  cpu.store32((address + 4n) & 0xffffffffn, high & ~BUSY);
}

function loadTaskLdt(cpu: Vcpu, selector: number, ext: number): void {
  cpu.set32(field.ldtSelector, selector);
  cpu.set32(field.ldtAttributes, 0);
  const code = (selector & 0xfffc) | ext;
  if ((selector & 0xfffc) === 0) return;
  if (selector & 4) cpu.raise(vector.TS, code);
  const d = cpu.readDescriptor(selector, vector.TS, ext);
  if (((d.high >>> descriptor.typeShift) & 31) !== systemType.ldt || !isPresent(d.high)) cpu.raise(vector.TS, code);
  cpu.set64(field.ldtBase, BigInt(baseOf(d)));
  cpu.set32(field.ldtLimit, limitOf(d));
  cpu.set32(field.ldtAttributes, d.high & 0xf0ff00);
}

function loadTaskSegments(cpu: Vcpu, selectors: readonly number[], ext: number): void {
  const { cpl } = cpu;
  const load = (n: number, check: (d: Descriptor, selector: number) => boolean, absent: number): void => {
    const selector = selectors[n];
    const code = (selector & 0xfffc) | ext;
    const d = cpu.readDescriptor(selector, vector.TS, ext);
    if (!check(d, selector)) cpu.raise(vector.TS, code);
    if (!isPresent(d.high)) cpu.raise(absent, code);
    cpu.setSegmentFrom(n, selector, cpu.markAccessed(d));
  };
  const notNull = (n: number) => {
    if ((selectors[n] & 0xfffc) === 0) cpu.raise(vector.TS, ext);
  };
  notNull(seg.CS);
  load(
    seg.CS,
    ({ high }) => isCode(high) && (isConformingCode(high) ? dplOf(high) <= cpl : dplOf(high) === cpl),
    vector.NP,
  );
  notNull(seg.SS);
  load(
    seg.SS,
    ({ high }, selector) => isWritableData(high) && dplOf(high) === cpl && (selector & 3) === cpl,
    vector.SS,
  );
  for (const n of [seg.ES, seg.DS, seg.FS, seg.GS]) {
    if ((selectors[n] & 0xfffc) === 0) continue;
    load(
      n,
      ({ high }, selector) =>
        (high & descriptor.notSystem) !== 0 &&
        (!isCode(high) || (high & descriptor.readable) !== 0) &&
        (isConformingCode(high) || dplOf(high) >= Math.max(cpl, selector & 3)),
      vector.NP,
    );
  }
}
