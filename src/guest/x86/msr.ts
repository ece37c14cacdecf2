/**
 * Model-specific registers, one row each: Intel SDM vol. 4; AMD APM vol. 2 appendix A. What is not here raises #GP(0), as on a
 * processor. The routines handle in IR what kernels write at every context switch.
 */
import { header } from '../../ir/index.js';
import type { CpuModel } from './models.js';
import { engine, routines } from './routines/set.js';
import { field, segBase, trapCode } from './state.js';
import { cr0, efer, seg, vector } from './system/bits.js';
import type { Vcpu, X86Board } from './system/vcpu.js';

export const msr = {
  TSC: 0x10,
  APIC_BASE: 0x1b,
  TSC_ADJUST: 0x3b,
  FS_BASE: 0xc0000100,
  GS_BASE: 0xc0000101,
  KERNEL_GS_BASE: 0xc0000102,
  TSC_AUX: 0xc0000103,
  EFER: 0xc0000080,
} as const;

/** What the rows work on. */
export interface MsrContext {
  readonly cpu: Vcpu;
  readonly model: CpuModel;
  readonly board: X86Board;
}

interface MsrRow {
  readonly name: string;
  /** The feature without which it does not exist. */
  readonly feature?: string;
  /** undefined: #GP. */
  readonly read: (at: MsrContext, index: number) => bigint | undefined;
  /** false: #GP. Absent: read-only. */
  readonly write?: (at: MsrContext, value: bigint, index: number) => boolean;
}

const rows = new Map<number, MsrRow>();

/** A register that is plain storage. `mask`: bits that may be set; `canonical`: an address. */
function stored(
  index: number,
  name: string,
  offset: number,
  more: { mask?: bigint; canonical?: true; feature?: string } = {},
): void {
  rows.set(index, {
    name,
    ...(more.feature === undefined ? {} : { feature: more.feature }),
    read: ({ cpu }) => cpu.get64(offset),
    write({ cpu }, value) {
      if (more.mask !== undefined && value & ~more.mask) return false;
      if (more.canonical && !cpu.isLoadable(value)) return false;
      cpu.set64(offset, value);
      return true;
    },
  });
}

/** A register with one value; writes are refused, or taken and dropped. */
function constant(index: number, name: string, value: bigint, writes: 'refused' | 'dropped' = 'refused'): void {
  rows.set(index, { name, read: () => value, ...(writes === 'dropped' ? { write: () => true } : {}) });
}

rows.set(msr.TSC, {
  name: 'IA32_TIME_STAMP_COUNTER',
  feature: 'tsc',
  read: ({ cpu, board }) => BigInt.asUintN(64, board.tsc() + cpu.get64(field.tscOffset)),
  write({ cpu, board }, value) {
    const old = cpu.get64(field.tscOffset);
    const offset = value - board.tsc();
    cpu.set64(field.tscOffset, offset);
    // Writing the counter moves IA32_TSC_ADJUST by as much (SDM vol. 3, 17.17.3).
    cpu.set64(field.tscAdjust, cpu.get64(field.tscAdjust) + offset - old);
    return true;
  },
});
rows.set(msr.TSC_ADJUST, {
  name: 'IA32_TSC_ADJUST',
  feature: 'tsc_adjust',
  read: ({ cpu }) => cpu.get64(field.tscAdjust),
  write({ cpu }, value) {
    cpu.set64(field.tscOffset, cpu.get64(field.tscOffset) + value - cpu.get64(field.tscAdjust));
    cpu.set64(field.tscAdjust, value);
    return true;
  },
});
constant(0x17, 'IA32_PLATFORM_ID', 0n);
rows.set(0x3a, { name: 'IA32_FEATURE_CONTROL', read: () => 1n });
constant(0x79, 'IA32_BIOS_UPDT_TRIG', 0n, 'dropped');
constant(0x8b, 'IA32_BIOS_SIGN_ID', 0n, 'dropped');
constant(0xfe, 'IA32_MTRRCAP', 0x508n);
stored(0x174, 'IA32_SYSENTER_CS', field.sysenterCs, { feature: 'sep' });
stored(0x175, 'IA32_SYSENTER_ESP', field.sysenterEsp, { feature: 'sep', canonical: true });
stored(0x176, 'IA32_SYSENTER_EIP', field.sysenterEip, { feature: 'sep', canonical: true });
// No banks, no control register.
constant(0x179, 'IA32_MCG_CAP', 0n);
constant(0x17a, 'IA32_MCG_STATUS', 0n, 'dropped');
// The ratio and the voltage that QEMU shows.
constant(0x198, 'IA32_PERF_STATUS', (4n << 40n) | 1000n);
stored(0x1a0, 'IA32_MISC_ENABLE', field.miscEnable);
constant(0x1d9, 'IA32_DEBUGCTL', 0n, 'dropped');
for (let i = 0; i < 16; i++)
  stored(0x200 + i, `IA32_MTRR_PHYS${i & 1 ? 'MASK' : 'BASE'}${i >> 1}`, field.mtrrVariable + 8 * i);
for (const [i, index] of [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f].entries()) {
  stored(index, `IA32_MTRR_FIX${i}`, field.mtrrFixed + 8 * i);
}
rows.set(0x277, {
  name: 'IA32_PAT',
  feature: 'pat',
  read: ({ cpu }) => cpu.get64(field.pat),
  write({ cpu }, value) {
    for (let i = 0n; i < 64n; i += 8n) {
      const type = (value >> i) & 0xffn;
      if (type > 7n || type === 2n || type === 3n) return false;
    }
    cpu.set64(field.pat, value);
    return true;
  },
});
stored(0x2ff, 'IA32_MTRR_DEF_TYPE', field.mtrrDefType, { mask: 0xcffn });
rows.set(0xda0, {
  name: 'IA32_XSS',
  feature: 'xsaves',
  read: ({ cpu }) => cpu.get64(field.xss),
  write({ cpu }, value) {
    if (value !== 0n) return false;
    cpu.set64(field.xss, value);
    return true;
  },
});
rows.set(msr.EFER, {
  name: 'IA32_EFER',
  read: ({ cpu, model }) => (model.eferMask ? cpu.get64(field.efer) : undefined),
  write({ cpu, model }, value) {
    const old = cpu.get32(field.efer);
    if (value & ~BigInt((model.eferMask | efer.LMA) >>> 0)) return false;
    const next = (Number(value & 0xffffffffn) & ~efer.LMA) | (old & efer.LMA);
    if ((old ^ next) & efer.LME && cpu.get32(field.cr0) & cr0.PG) return false;
    cpu.set32(field.efer, next);
    if ((old ^ next) & efer.NXE) cpu.call('flush_tlb_pages', 0);
    return true;
  },
});
stored(0xc0000081, 'STAR', field.star, { feature: 'syscall' });
stored(0xc0000082, 'LSTAR', field.lstar, { feature: 'lm', canonical: true });
stored(0xc0000083, 'CSTAR', field.cstar, { feature: 'lm', canonical: true });
stored(0xc0000084, 'FMASK', field.fmask, { feature: 'lm', mask: 0xffffffffn });
stored(msr.FS_BASE, 'FS_BASE', segBase[seg.FS].offset, { feature: 'lm', canonical: true });
stored(msr.GS_BASE, 'GS_BASE', segBase[seg.GS].offset, { feature: 'lm', canonical: true });
stored(msr.KERNEL_GS_BASE, 'KERNEL_GS_BASE', field.kernelGsBase, { feature: 'lm', canonical: true });
stored(msr.TSC_AUX, 'TSC_AUX', field.tscAux, { feature: 'rdtscp', mask: 0xffffffffn });
// AMD's, as kernels for its processors expect to find them. Its performance counters are architectural, without a bit of CPUID; these count
// nothing.
for (let i = 0; i < 4; i++) {
  constant(0xc0010000 + i, `PERF_EVT_SEL${i}`, 0n, 'dropped');
  constant(0xc0010004 + i, `PERF_CTR${i}`, 0n, 'dropped');
}
stored(0xc0010010, 'SYSCFG', field.amdSyscfg);
stored(0xc0010015, 'HWCR', field.amdHwcr);
stored(0xc001001a, 'TOP_MEM', field.topMem);
stored(0xc001001d, 'TOP_MEM2', field.topMem2);
constant(0xc001001f, 'NB_CFG', 0n, 'dropped');
constant(0xc0010055, 'INT_PENDING', 0n, 'dropped');
constant(0xc0010140, 'OSVW_ID_LENGTH', 4n, 'dropped');
constant(0xc0010141, 'OSVW_STATUS', 0n, 'dropped');
constant(0xc0010020, 'PATCH_LOADER', 0n, 'dropped');
constant(0xc0011022, 'DC_CFG', 0n, 'dropped');
constant(0xc0011023, 'BU_CFG', 0n, 'dropped');
constant(0xc0011029, 'DE_CFG', 2n, 'dropped');

/** The feature that a register of the interrupt controller comes with: APIC base, TSC deadline, x2APIC; undefined: it is none. */
function apicFeature(index: number): string | undefined {
  if (index === msr.APIC_BASE) return 'apic';
  if (index === 0x6e0) return 'tsc_deadline';
  return index >= 0x800 && index <= 0x8ff ? 'x2apic' : undefined;
}

function rowFor(at: MsrContext, index: number): MsrRow | undefined {
  const row = rows.get(index);
  if (row?.feature !== undefined && !at.model.features.has(row.feature)) return undefined;
  return row;
}

/** RDMSR; undefined: #GP(0). */
export function readMsr(at: MsrContext, index: number): bigint | undefined {
  const feature = apicFeature(index);
  if (feature !== undefined) {
    if (!at.model.features.has(feature)) return undefined;
    const value = at.board.interrupts.readMsr(index);
    return value === undefined ? undefined : BigInt.asUintN(64, value);
  }
  const row = rowFor(at, index);
  if (!row) at.board.unimplemented?.(`RDMSR 0x${index.toString(16)}`);
  return row?.read(at, index);
}

/** WRMSR; false: #GP(0). */
export function writeMsr(at: MsrContext, index: number, value: bigint): boolean {
  const feature = apicFeature(index);
  if (feature !== undefined) return at.model.features.has(feature) && at.board.interrupts.writeMsr(index, value);
  const row = rowFor(at, index);
  if (!row) at.board.unimplemented?.(`WRMSR 0x${index.toString(16)}`);
  return row?.write?.(at, value, index) ?? false;
}

const readMsrSlow = routines.host('read_msr_slow', ['i32'], ['i32', 'i64'], { vars: 'read', mayFault: true });
const writeMsrSlow = routines.host('write_msr_slow', ['i32', 'i64'], ['i32'], { vars: 'write', mayFault: true });

/** RDMSR: index → (fault, value). */
export const readMsrRoutine = routines.define(
  'read_msr',
  ['i32'],
  ['i32', 'i64'],
  { vars: 'read', mayFault: true },
  (r, index) => {
    const s = r.state();
    const is = (at: number) => r.i32_eq(index, r.i32(at | 0));
    r.if(is(msr.GS_BASE), () => r.ret(r.i32(0), r.get(segBase[seg.GS])));
    r.if(is(msr.FS_BASE), () => r.ret(r.i32(0), r.get(segBase[seg.FS])));
    r.if(is(msr.KERNEL_GS_BASE), () => r.ret(r.i32(0), r.i64_load(s, field.kernelGsBase)));
    const [fault, value] = r.call(readMsrSlow, index);
    r.ret(fault, value);
  },
);

/** WRMSR: (index, value) → fault. */
export const writeMsrRoutine = routines.define(
  'write_msr',
  ['i32', 'i64'],
  ['i32'],
  { vars: 'write', mayFault: true },
  (r, index, value) => {
    const s = r.state();
    const is = (at: number) => r.i32_eq(index, r.i32(at | 0));
    // Addresses that all models hold canonical are taken here.
    const isPlain = r.i64_eq(r.i64_shr_s(r.i64_shl(value, r.i64(16)), r.i64(16)), value);
    r.if(isPlain, () => {
      r.if(is(msr.FS_BASE), () => {
        r.set(segBase[seg.FS], value);
        r.ret(r.i32(0));
      });
      r.if(is(msr.KERNEL_GS_BASE), () => {
        r.i64_store(s, value, field.kernelGsBase);
        r.ret(r.i32(0));
      });
      r.if(is(msr.GS_BASE), () => {
        r.set(segBase[seg.GS], value);
        r.ret(r.i32(0));
      });
    });
    const [fault] = r.call(writeMsrSlow, index, value);
    r.ret(fault);
  },
);

/** RDTSC: → (fault, counter). CR4.TSD forbids it outside ring 0. */
export const readTimeStamp = routines.define('read_time_stamp', [], ['i32', 'i64'], { mayFault: true }, (r) => {
  const s = r.state();
  const forbidden = r.i32_and(r.i32_load(s, field.cr4), r.i32(4));
  r.if(forbidden, () => {
    r.if(r.i32_load(s, field.cpl), () => {
      r.i32_store(s, r.i32(trapCode(vector.GP, 0)), header.trapCode);
      r.ret(r.i32(1), r.i64(0));
    });
  });
  const [ticks] = r.call(engine.readTsc);
  r.ret(r.i32(0), r.i64_add(ticks, r.i64_load(s, field.tscOffset)));
});
