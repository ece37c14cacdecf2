/**
 * FXSAVE, FXRSTOR, XSAVE, XSAVEOPT, XSAVEC, XSAVES, XRSTOR, XRSTORS. Intel SDM vol. 1 ch. 13, vol. 2. XGETBV and XSETBV are
 * system rows.
 */
import type { I64 } from '../../../ir/index.js';
import { areaFormat, EXTENDED, fxrstor, fxsave, xrstor, xsave } from '../routines/xsave.js';
import { field } from '../state.js';
import type { DecodedInsn, InsnRow, Translator } from '../translator.js';

const FX_BYTES = 512;

/** Address of an area of so many bytes: both of its ends are checked against the segment. */
function areaAddress(t: Translator, insn: DecodedInsn, bytes: number, write: boolean): I64 {
  const offset = t.effectiveAddress();
  const address = t.linear(insn.segment, offset, 16, write);
  t.linear(insn.segment, t.b.i64_add(offset, t.b.i64(bytes - 16)), 16, write);
  return address;
}

function formatBits(t: Translator, insn: DecodedInsn): number {
  return (insn.rexW ? areaFormat.wide : 0) | (t.codeSize === 64 ? areaFormat.sixteen : 0);
}

/** The components asked for in EDX:EAX that are also in XCR0 (`user`), or in XCR0 and IA32_XSS. */
function requested(t: Translator, enabled: I64): I64 {
  const { b } = t;
  const low = b.i64_extend_i32_u(t.readGpr(32, 0));
  const high = b.i64_shl(b.i64_extend_i32_u(t.readGpr(32, 2)), b.i64(32));
  return b.i64_and(b.i64_or(low, high), enabled);
}

function enabledComponents(t: Translator, supervisor: boolean): I64 {
  const { b } = t;
  const state = b.state();
  const user = b.i64_load(state, field.xcr0);
  return supervisor ? b.i64_or(user, b.i64_load(state, field.xss)) : user;
}

function saveRow(name: string, enc: string, cpuid: string, format: number, supervisor: boolean): InsnRow {
  const translate: InsnRow['translate'] = (t, insn) => {
    const components = requested(t, enabledComponents(t, supervisor));
    const address = areaAddress(t, insn, EXTENDED, true);
    t.b.call(xsave, address, components, t.b.i32(format | formatBits(t, insn)));
  };
  return { name, enc, args: 'M:rw', cpuid, unit: 'xsave', ...(supervisor ? { cpl0: true } : {}), translate };
}

function restoreRow(name: string, enc: string, cpuid: string, supervisor: boolean): InsnRow {
  const translate: InsnRow['translate'] = (t, insn) => {
    const enabled = enabledComponents(t, supervisor);
    const address = areaAddress(t, insn, EXTENDED, false);
    const format = (supervisor ? areaFormat.compacted : 0) | formatBits(t, insn);
    t.b.call(xrstor, address, requested(t, enabled), enabled, t.b.i32(format));
  };
  return { name, enc, args: 'M:r', cpuid, unit: 'xsave', ...(supervisor ? { cpl0: true } : {}), translate };
}

const { optimized, compacted } = areaFormat;

export const xsaveRows: readonly InsnRow[] = [
  {
    name: 'FXSAVE',
    enc: 'NP 0F AE /0',
    args: 'M:w',
    cpuid: 'fxsr',
    unit: 'fpu',
    translate: (t, insn) => t.b.call(fxsave, areaAddress(t, insn, FX_BYTES, true), t.b.i32(formatBits(t, insn))),
  },
  {
    name: 'FXRSTOR',
    enc: 'NP 0F AE /1',
    args: 'M:r',
    cpuid: 'fxsr',
    unit: 'fpu',
    translate: (t, insn) => t.b.call(fxrstor, areaAddress(t, insn, FX_BYTES, false), t.b.i32(formatBits(t, insn))),
  },
  saveRow('XSAVE', 'NP 0F AE /4', 'xsave', 0, false),
  restoreRow('XRSTOR', 'NP 0F AE /5', 'xsave', false),
  saveRow('XSAVEOPT', 'NP 0F AE /6', 'xsaveopt', optimized, false),
  saveRow('XSAVEC', 'NP 0F C7 /4', 'xsavec', optimized | compacted, false),
  saveRow('XSAVES', 'NP 0F C7 /5', 'xsaves', optimized | compacted, true),
  restoreRow('XRSTORS', 'NP 0F C7 /3', 'xsaves', true),
];
