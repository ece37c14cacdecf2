/** LLDT, LTR, LAR, LSL, VERR, VERW: Intel SDM vol. 2 (those pages). */
import { routines } from '../routines/set.js';
import { field } from '../state.js';
import { descriptor, systemType, vector } from './bits.js';
import {
  type Descriptor,
  dplOf,
  isCode,
  isConformingCode,
  isPresent,
  isWritableData,
  limitOf,
  type Vcpu,
} from './vcpu.js';

/** Host routines: selector → fault. */
export const loadLdt = routines.host('load_ldt', ['i32'], ['i32'], { mayFault: true });
export const loadTaskRegister = routines.host('load_task_register', ['i32'], ['i32'], { mayFault: true });
/** What to look up of a selector (descriptorQuery) → (fault, 1 if it may be known, value). */
export const queryDescriptor = routines.host('query_descriptor', ['i32', 'i32'], ['i32', 'i32', 'i32'], {
  mayFault: true,
});

export const descriptorQuery = { lar: 0, lsl: 1, verr: 2, verw: 3 } as const;

export function lldt(cpu: Vcpu, selector: number): void {
  const code = selector & 0xfffc;
  if (code === 0) {
    cpu.set32(field.ldtSelector, selector);
    cpu.set64(field.ldtBase, 0n);
    cpu.set32(field.ldtLimit, 0);
    cpu.set32(field.ldtAttributes, 0);
    return;
  }
  if (selector & 4) cpu.raiseGp(code);
  const d = cpu.readDescriptor(selector);
  if (((d.high >>> descriptor.typeShift) & 31) !== systemType.ldt) cpu.raiseGp(code);
  if (!isPresent(d.high)) cpu.raise(vector.NP, code);
  const base = cpu.systemBase(d, selector);
  if (cpu.isLong && !cpu.isLoadable(base)) cpu.raiseGp(code);
  cpu.set32(field.ldtSelector, selector);
  cpu.set64(field.ldtBase, base);
  cpu.set32(field.ldtLimit, limitOf(d));
  cpu.set32(field.ldtAttributes, d.high & 0xf0ff00);
}

export function ltr(cpu: Vcpu, selector: number): void {
  const code = selector & 0xfffc;
  if (code === 0) cpu.raiseGp(0);
  if (selector & 4) cpu.raiseGp(code);
  const d = cpu.readDescriptor(selector);
  const type = (d.high >>> descriptor.typeShift) & 31;
  if (type !== systemType.tss32 && (type !== systemType.tss16 || cpu.isLong)) cpu.raiseGp(code);
  if (!isPresent(d.high)) cpu.raise(vector.NP, code);
  const base = cpu.systemBase(d, selector);
  if (cpu.isLong && !cpu.isLoadable(base)) cpu.raiseGp(code);
  const busy = d.high | (2 << descriptor.typeShift);
  cpu.store32(cpu.linear(d.address + 4n), busy);
  cpu.set32(field.trSelector, selector);
  cpu.set64(field.trBase, base);
  cpu.set32(field.trLimit, limitOf(d));
  cpu.set32(field.trAttributes, busy & 0xf0ff00);
}

/** System descriptor types that LAR and LSL know; in long mode 16-bit ones do not exist. */
function knownSystemType(cpu: Vcpu, type: number, query: number): boolean {
  const withLimit: readonly number[] = cpu.isLong
    ? [systemType.ldt, systemType.tss32, systemType.busyTss32]
    : [systemType.tss16, systemType.ldt, systemType.busyTss16, systemType.tss32, systemType.busyTss32];
  if (withLimit.includes(type)) return true;
  if (query === descriptorQuery.lsl) return false;
  const gates: readonly number[] = cpu.isLong
    ? [systemType.callGate32]
    : [systemType.callGate16, systemType.taskGate, systemType.callGate32];
  return gates.includes(type);
}

/** The value of a query, or undefined where the selector is none that the program may know of (ZF clear). */
export function descriptorAnswer(cpu: Vcpu, query: number, selector: number): number | undefined {
  if ((selector & 0xfffc) === 0 || cpu.descriptorAddress(selector) === undefined) return undefined;
  const d: Descriptor = cpu.readDescriptor(selector);
  const isSystem = !(d.high & descriptor.notSystem);
  const privileged = dplOf(d.high) < Math.max(cpu.cpl, selector & 3);
  if (query === descriptorQuery.verr || query === descriptorQuery.verw) {
    if (isSystem) return undefined;
    if (query === descriptorQuery.verw) return isWritableData(d.high) && !privileged ? 1 : undefined;
    if (isCode(d.high) && !(d.high & descriptor.readable)) return undefined;
    return isConformingCode(d.high) || !privileged ? 1 : undefined;
  }
  if (isSystem && !knownSystemType(cpu, (d.high >>> descriptor.typeShift) & 15, query)) return undefined;
  if (!isConformingCode(d.high) && privileged) return undefined;
  return query === descriptorQuery.lsl ? limitOf(d) : (d.high & 0xf0ff00) >>> 0;
}
