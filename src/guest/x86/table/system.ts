/** System instructions: control and debug registers, MSRs, TLB, CPUID, HLT. Intel SDM vol. 2; vol. 3, 2.8. */
import { exitCode, header, type I32, type I64 } from '../../../ir/index.js';
import { keyBit, mmuIndex, updateMode } from '../mode.js';
import { readMsrRoutine, readTimeStamp, writeMsrRoutine } from '../msr.js';
import { engine } from '../routines/set.js';
import { field, segBase } from '../state.js';
import { cr0, cr4, eflag, seg } from '../system/bits.js';
import { readCr8, readDebug, writeControl, writeCr3, writeDebug } from '../system/control-registers.js';
import { cpuidRoutine, writeExtendedControl } from '../system/cpuid-routine.js';
import { systemCall, systemEnter, systemExit, systemReturn } from '../system/fast-transfers.js';
import { leaveFor, leaveReason, ringTransfer } from '../system/leave.js';
import { flushTlb, invalidatePage } from '../system/page-walk.js';
import type { InsnRow, Translator } from '../translator.js';
import { reg, vector } from './integer-helpers.js';

const nothing = () => {};

/** Ends the block where a routine has written the pc. */
export function endAtRoutinesPc(t: Translator, check = false): void {
  const { b } = t;
  if (t.mode.lens) b.call(ringTransfer, b.i32(t.insn.opcode));
  if (t.mode.shadow) {
    b.i32_store(b.state(), b.i32(0), field.interruptShadow);
    const key = b.i32_load(b.state(), header.modeKey);
    b.i32_store(b.state(), b.i32_and(key, b.i32(~(1 << keyBit.shadow))), header.modeKey);
  }
  b.resume(check || t.mode.shadow ? exitCode.checkInterrupts : exitCode.next);
  t.blockEnded();
}

/** #GP(0) outside ring 0 while CR4.UMIP is set. */
export function checkUmip(t: Translator): void {
  if (t.cpl === 0) return;
  const { b } = t;
  t.faultIf(b.i32_and(b.i32_load(b.state(), field.cr4), b.i32(cr4.UMIP)), vector.GP, 0);
}

/** 1 if the model's linear addresses hold it: `Vcpu.isLoadable`. */
export function isLoadable({ b }: Translator, address: I64): I32 {
  const unused = b.i64_load(b.state(), field.addressUnused);
  return b.i64_eq(b.i64_shr_s(b.i64_shl(address, unused), unused), address);
}

const registerSize = (t: Translator): 32 | 64 => (t.codeSize === 64 ? 64 : 32);
/** The operand as 64 bits, zero-extended outside 64-bit code. */
const wholeRegister = (t: Translator, n: number): I64 => {
  const value = t.readWide(registerSize(t), n);
  return t.codeSize === 64 ? value : t.wide.clean(32, value);
};

const controlHomes: Readonly<Record<number, number>> = {
  0: field.cr0,
  2: field.cr2,
  3: field.cr3,
  4: field.cr4,
  8: field.cr8,
};

const controlRows: InsnRow[] = [
  {
    name: 'MOV',
    enc: '0F 20 /r r*',
    args: 'Ry:w, Cy:r',
    force64: true,
    cpl0: true,
    translate(t, insn) {
      const home = controlHomes[insn.reg];
      if (home === undefined || (insn.reg === 8 && t.codeSize !== 64)) return t.fault(vector.UD);
      const value = insn.reg === 8 ? t.b.call(readCr8)[0] : t.b.i64_load(t.b.state(), home);
      t.writeWide(registerSize(t), insn.rm, value);
    },
  },
  {
    name: 'MOV',
    enc: '0F 22 /r r*',
    args: 'Cy:w, Ry:r',
    force64: true,
    cpl0: true,
    translate(t, insn) {
      const { b } = t;
      const home = controlHomes[insn.reg];
      if (home === undefined || (insn.reg === 8 && t.codeSize !== 64)) return t.fault(vector.UD);
      const value = wholeRegister(t, insn.rm);
      if (insn.reg === 2) {
        b.i64_store(b.state(), value, home);
        return;
      }
      if (insn.reg === 3) b.call(writeCr3, value);
      else b.call(writeControl, b.i32(insn.reg), value);
      t.endBlock(insn.reg === 8);
    },
  },
  {
    name: 'MOV',
    enc: '0F 21 /r r*',
    args: 'Ry:w, Dy:r',
    force64: true,
    cpl0: true,
    translate(t, insn) {
      if (insn.reg > 7) return t.fault(vector.UD);
      const [, value] = t.b.call(readDebug, t.b.i32(insn.reg));
      t.writeWide(registerSize(t), insn.rm, value);
    },
  },
  {
    name: 'MOV',
    enc: '0F 23 /r r*',
    args: 'Dy:w, Ry:r',
    force64: true,
    cpl0: true,
    translate(t, insn) {
      if (insn.reg > 7) return t.fault(vector.UD);
      t.b.call(writeDebug, t.b.i32(insn.reg), wholeRegister(t, insn.rm));
      t.endBlock();
    },
  },
  {
    name: 'CLTS',
    enc: '0F 06',
    args: '',
    cpl0: true,
    translate(t) {
      const { b } = t;
      const value = b.i32_load(b.state(), field.cr0);
      b.i32_store(b.state(), b.i32_and(value, b.i32(~cr0.TS)), field.cr0);
      b.call(updateMode);
      t.endBlock();
    },
  },
  {
    name: 'SMSW',
    enc: '0F 01 /4',
    args: 'Ev:w',
    translate(t, insn) {
      checkUmip(t);
      const value = t.b.i64_load(t.b.state(), field.cr0);
      if (insn.isReg) t.writeWide(insn.opSize, insn.rm, value);
      else t.storeWide(16, t.address(), value);
    },
  },
  {
    name: 'LMSW',
    enc: '0F 01 /6',
    args: 'Ew:r',
    cpl0: true,
    translate(t) {
      const { b, wide } = t;
      // PE can be set but not cleared; MP, EM and TS are taken.
      const value = wide.narrow(t.readRmWide(16));
      const old = b.i32_load(b.state(), field.cr0);
      const taken = b.i32_and(value, b.i32(15));
      const merged = b.i32_or(b.i32_and(old, b.i32(~14)), taken);
      b.call(writeControl, b.i32(0), wide.widen(merged, 32));
      t.endBlock();
    },
  },
  {
    name: 'XGETBV',
    enc: 'NP 0F 01 D0',
    args: '',
    cpuid: 'xsave',
    unit: 'control',
    translate(t) {
      const { b, wide } = t;
      // ECX 0: XCR0; 1: the components of it that are in use, for which all of it stands.
      t.faultIf(b.i32_gt_u(wide.narrow(t.readWide(32, reg.CX)), b.i32(1)), vector.GP, 0);
      const value = b.i64_load(b.state(), field.xcr0);
      t.writeWide(32, reg.AX, value);
      t.writeWide(32, reg.DX, b.i64_shr_u(value, wide.small(32)));
    },
  },
  {
    name: 'XSETBV',
    enc: 'NP 0F 01 D1',
    args: '',
    cpuid: 'xsave',
    unit: 'control',
    translate(t) {
      if (t.cpl !== 0) return t.fault(vector.GP, 0);
      t.b.call(writeExtendedControl, t.wide.narrow(t.readWide(32, reg.CX)), edxEax(t));
      t.endBlock();
    },
  },
];

/** EDX:EAX. */
function edxEax(t: Translator): I64 {
  const { b, wide } = t;
  const low = wide.clean(32, t.readWide(32, reg.AX));
  return b.i64_or(low, b.i64_shl(t.readWide(32, reg.DX), wide.small(32)));
}

function writeEdxEax(t: Translator, value: I64): void {
  t.writeWide(32, reg.AX, value);
  t.writeWide(32, reg.DX, t.b.i64_shr_u(value, t.wide.small(32)));
}

const msrRows: InsnRow[] = [
  {
    name: 'RDMSR',
    enc: '0F 32',
    args: '',
    cpuid: 'msr',
    cpl0: true,
    translate(t) {
      const [, value] = t.b.call(readMsrRoutine, t.wide.narrow(t.readWide(32, reg.CX)));
      writeEdxEax(t, value);
    },
  },
  {
    name: 'WRMSR',
    enc: '0F 30',
    args: '',
    cpuid: 'msr',
    cpl0: true,
    translate(t) {
      t.b.call(writeMsrRoutine, t.wide.narrow(t.readWide(32, reg.CX)), edxEax(t));
      t.endBlock(true);
    },
  },
  {
    name: 'RDTSC',
    enc: '0F 31',
    args: '',
    cpuid: 'tsc',
    translate(t) {
      const [, value] = t.b.call(readTimeStamp);
      writeEdxEax(t, value);
    },
  },
  {
    name: 'RDTSCP',
    enc: '0F 01 F9',
    args: '',
    cpuid: 'rdtscp',
    translate(t) {
      const [, value] = t.b.call(readTimeStamp);
      writeEdxEax(t, value);
      t.writeWide(32, reg.CX, t.b.i64_load(t.b.state(), field.tscAux));
    },
  },
  {
    name: 'RDPID',
    enc: 'F3 0F C7 /7 r',
    args: 'Ry:w',
    force64: true,
    cpuid: 'rdpid',
    translate(t, insn) {
      t.writeWide(registerSize(t), insn.rm, t.b.i64_load(t.b.state(), field.tscAux));
    },
  },
  // There are no counters: every index is out of range.
  { name: 'RDPMC', enc: '0F 33', args: '', translate: (t) => t.fault(vector.GP, 0) },
  {
    name: 'CPUID',
    enc: '0F A2',
    args: '',
    translate(t) {
      t.b.call(cpuidRoutine);
    },
  },
];

/** #UD unless CR4.FSGSBASE. */
function needFsGsBase(t: Translator): void {
  const { b } = t;
  t.faultIf(b.i32_eqz(b.i32_and(b.i32_load(b.state(), field.cr4), b.i32(cr4.FSGSBASE))), vector.UD);
}

const fsGsRows: InsnRow[] = [
  {
    name: 'SWAPGS',
    enc: '0F 01 F8 O64',
    args: '',
    cpl0: true,
    translate(t) {
      const { b } = t;
      const kernel = b.i64_load(b.state(), field.kernelGsBase);
      b.i64_store(b.state(), b.get(segBase[seg.GS]), field.kernelGsBase);
      b.set(segBase[seg.GS], kernel);
    },
  },
  ...[seg.FS, seg.GS].flatMap((n, i): InsnRow[] => [
    {
      name: i ? 'RDGSBASE' : 'RDFSBASE',
      enc: `F3 0F AE /${i} r O64`,
      args: 'Ry:w',
      cpuid: 'fsgsbase',
      translate(t, insn) {
        needFsGsBase(t);
        t.writeWide(insn.opSize === 64 ? 64 : 32, insn.rm, t.b.get(segBase[n]));
      },
    },
    {
      name: i ? 'WRGSBASE' : 'WRFSBASE',
      enc: `F3 0F AE /${2 + i} r O64`,
      args: 'Ry:r',
      cpuid: 'fsgsbase',
      translate(t, insn) {
        const { b, wide } = t;
        needFsGsBase(t);
        const size = insn.opSize === 64 ? 64 : 32;
        const value = wide.clean(size, t.readWide(size, insn.rm));
        if (size === 64) {
          t.faultIf(b.i32_eqz(isLoadable(t, value)), vector.GP, 0);
        }
        b.set(segBase[n], value);
      },
    },
  ]),
];

/** STAC and CLAC: EFLAGS.AC, and with it which MMU index is current. */
function changeAc(t: Translator, on: boolean): void {
  const { b } = t;
  if (t.cpl !== 0 || !t.protectedMode) {
    t.fault(vector.UD);
    return;
  }
  const flags = b.i32_load(b.state(), field.eflags);
  const next = on ? b.i32_or(flags, b.i32(eflag.AC)) : b.i32_and(flags, b.i32(~eflag.AC));
  b.i32_store(b.state(), next, field.eflags);
  let index: I32 = b.i32(mmuIndex.supervisor);
  if (on) {
    const smap = b.i32_and(b.i32_load(b.state(), field.cr4), b.i32(cr4.SMAP));
    index = b.select(smap, b.i32(mmuIndex.supervisorAc), index);
  }
  b.call(engine.selectMmu, index);
  t.endBlock();
}

const tlbRows: InsnRow[] = [
  { name: 'CLAC', enc: 'NP 0F 01 CA', args: '', cpuid: 'smap', translate: (t) => changeAc(t, false) },
  { name: 'STAC', enc: 'NP 0F 01 CB', args: '', cpuid: 'smap', translate: (t) => changeAc(t, true) },
  {
    name: 'INVLPG',
    enc: '0F 01 /7 m',
    args: 'M',
    cpl0: true,
    translate(t, insn) {
      const { b } = t;
      const offset = t.effectiveAddress();
      const hasBase = t.codeSize !== 64 || insn.segment >= 4;
      const sum = hasBase ? b.i64_add(offset, b.get(segBase[insn.segment])) : offset;
      b.call(invalidatePage, t.codeSize === 64 ? sum : b.i64_low32(sum));
      t.endBlock();
    },
  },
  {
    name: 'INVPCID',
    enc: '66 0F 38 82 /r m',
    args: 'Gy:r, Mdq:r',
    force64: true,
    cpuid: 'invpcid',
    cpl0: true,
    translate(t, insn) {
      const { b, wide } = t;
      const size = registerSize(t);
      const kind = t.readWide(size, insn.reg);
      const pcid = t.loadWide(64, t.address());
      const address = t.loadWide(64, t.addressPlus(8));
      const single = b.i64_eqz(wide.clean(size, kind));
      const tooBig = b.i64_gt_u(wide.clean(size, kind), b.i64(3));
      // Types 0 and 1 name a PCID, which must be 0 without CR4.PCIDE; reserved bits 12-63.
      const named = b.i64_le_u(wide.clean(size, kind), b.i64(1));
      const pcide = b.i32_and(b.i32_load(b.state(), field.cr4), b.i32(cr4.PCIDE));
      const most = b.select(pcide, b.i64(0xfff), b.i64(0));
      const badPcid = b.i32_and(named, b.i64_gt_u(pcid, most));
      const badAddress = b.i32_and(single, b.i32_eqz(isLoadable(t, address)));
      t.faultIf(b.i32_or(b.i32_or(tooBig, badPcid), badAddress), vector.GP, 0);
      // Entries carry no PCID: all go. Only type 2 names global ones, but a single address may be in a large page.
      b.call(flushTlb, b.i32(0));
      t.endBlock();
    },
  },
  { name: 'INVD', enc: '0F 08', args: '', cpl0: true, translate: nothing },
  { name: 'WBINVD', enc: '0F 09', args: '', cpl0: true, translate: nothing },
];

const waitRows: InsnRow[] = [
  { name: 'HLT', enc: 'F4', args: '', cpl0: true, translate: (t) => leaveFor(t, leaveReason.halt) },
  {
    name: 'MONITOR',
    enc: '0F 01 C8',
    args: '',
    cpuid: 'monitor',
    translate(t, insn) {
      const { b, wide } = t;
      if (t.cpl !== 0) return t.fault(vector.UD);
      t.faultIf(b.i64_ne(wide.clean(32, t.readWide(32, reg.CX)), b.i64(0)), vector.GP, 0);
      const size = insn.addrSize;
      const segment = insn.segOverride >= 0 ? insn.segOverride : seg.DS;
      const address = t.linear(segment, wide.clean(size, t.readWide(size, reg.AX)), 1, false);
      t.load(8, address);
      b.i64_store(b.state(), address, field.monitorAddress);
      b.i32_store(b.state(), b.i32(1), field.monitorArmed);
    },
  },
  {
    name: 'MWAIT',
    enc: '0F 01 C9',
    args: '',
    cpuid: 'monitor',
    translate(t) {
      const { b, wide } = t;
      if (t.cpl !== 0) return t.fault(vector.UD);
      t.faultIf(b.i32_gt_u(wide.narrow(t.readWide(32, reg.CX)), b.i32(1)), vector.GP, 0);
      leaveFor(t, leaveReason.mwait);
    },
  },
];

const fastCallRows: InsnRow[] = [
  {
    name: 'SYSCALL',
    enc: '0F 05',
    args: '',
    cpuid: 'syscall',
    protectedOnly: true,
    translate(t) {
      t.b.call(systemCall, t.nextPc());
      endAtRoutinesPc(t);
    },
  },
  {
    name: 'SYSRET',
    enc: '0F 07',
    args: '',
    cpuid: 'syscall',
    protectedOnly: true,
    cpl0: true,
    translate(t, insn) {
      t.b.call(systemReturn, t.b.i32(insn.rexW ? 64 : 32));
      endAtRoutinesPc(t, true);
    },
  },
  {
    name: 'SYSENTER',
    enc: '0F 34',
    args: '',
    cpuid: 'sep',
    translate(t) {
      t.b.call(systemEnter);
      endAtRoutinesPc(t);
    },
  },
  {
    name: 'SYSEXIT',
    enc: '0F 35',
    args: '',
    cpuid: 'sep',
    cpl0: true,
    translate(t, insn) {
      if (!t.protectedMode) return t.fault(vector.GP, 0);
      t.b.call(systemExit, t.b.i32(insn.rexW ? 64 : 32));
      endAtRoutinesPc(t, true);
    },
  },
];

export const systemRows: readonly InsnRow[] = [
  ...controlRows,
  ...msrRows,
  ...fsGsRows,
  ...tlbRows,
  ...waitRows,
  ...fastCallRows,
];
