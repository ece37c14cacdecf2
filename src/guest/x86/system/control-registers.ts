/** CR0, CR3, CR4, CR8, XCR0 and the debug registers: Intel SDM vol. 3, 2.5, 2.6, 4.1 (mode changes), 17.2. */
import { header } from '../../../ir/index.js';
import { routines } from '../routines/set.js';
import { field, trapCode } from '../state.js';
import { cr0, cr4, descriptor, dr6, dr7, efer, seg, systemType, vector } from './bits.js';
import { flushTlb } from './page-walk.js';
import type { Vcpu } from './vcpu.js';

const NO_FLUSH = 1n << 63n;

/** What a CPU model allows in control registers. */
export interface ControlRegisterLimits {
  readonly cr4Mask: number;
  readonly xcr0Mask: bigint;
}

/** Host routine: a control register other than CR2 and CR3 is written: (register, value) → fault. */
export const writeControl = routines.host('write_control', ['i32', 'i64'], ['i32'], { vars: 'read', mayFault: true });

/** Host routine: CR8, which the interrupt controller keeps. */
export const readCr8 = routines.host('read_cr8', [], ['i64'], {});

const writeCr3Slow = routines.host('write_cr3_slow', ['i64'], ['i32'], { vars: 'read', mayFault: true });

/** MOV to CR3: value → fault. */
export const writeCr3 = routines.define('write_cr3', ['i64'], ['i32'], { vars: 'read', mayFault: true }, (r, value) => {
  const s = r.state();
  const control4 = r.i32_load(s, field.cr4);
  r.if(
    r.i32_and(r.i32_load(s, field.efer), r.i32(efer.LMA)),
    () => {
      const hasPcid = r.i32_and(control4, r.i32(cr4.PCIDE));
      const stored = r.select(hasPcid, r.i64_and(value, r.i64(~NO_FLUSH)), value);
      const reserved = r.i64_or(r.i64_load(s, field.physReserved), r.i64(0xfff0000000000000n));
      r.if(r.i64_ne(r.i64_and(stored, reserved), r.i64(0)), () => {
        r.i32_store(s, r.i32(trapCode(vector.GP, 0)), header.trapCode);
        r.ret(r.i32(1));
      });
      r.i64_store(s, stored, field.cr3);
    },
    () => {
      r.if(r.i32_and(control4, r.i32(cr4.PAE)), () => {
        const [fault] = r.call(writeCr3Slow, value);
        r.ret(fault);
      });
      r.i64_store(s, r.i64_and(value, r.i64(0xffffffff)), field.cr3);
    },
  );
  // TLB entries carry no PCID, so that they go even where the guest would have them stay.
  r.call(flushTlb, r.i32(1));
  r.ret(r.i32(0));
});

/** CR3 outside long mode with CR4.PAE. */
export function writeCr3Pae(cpu: Vcpu, value: bigint): void {
  const low = value & 0xffffffffn;
  if (cpu.get32(field.cr0) & cr0.PG) loadPageDirectoryPointers(cpu, low, true);
  cpu.set64(field.cr3, low);
  cpu.call('flush_tlb_pages', 1);
}

/** Reads the four PDPTEs of PAE paging; `check`: #GP(0) if a present one has a reserved bit set. */
export function loadPageDirectoryPointers(cpu: Vcpu, base: bigint, check: boolean): void {
  if (!(cpu.get32(field.cr4) & cr4.PAE) || cpu.isLong) return;
  const reserved = cpu.get64(field.physReserved) | 0xfff00000000001e6n;
  const entries: bigint[] = [];
  for (let i = 0; i < 4; i++) {
    const loaded = cpu.call('phys_load64', (base & 0xffffffe0n) + BigInt(8 * i)) as bigint;
    const value = BigInt.asUintN(64, loaded);
    if (check && value & 1n && value & reserved) cpu.raiseGp(0);
    entries.push(value);
  }
  for (const [i, value] of entries.entries()) cpu.set64(field.pdpte + 8 * i, value);
}

const cr0Defined = cr0.PE | cr0.MP | cr0.EM | cr0.TS | cr0.ET | cr0.NE | cr0.WP | cr0.AM | cr0.NW | cr0.CD | cr0.PG;

export function writeCr0(cpu: Vcpu, wide: bigint): void {
  if (cpu.codeSize === 64 && wide >> 32n) cpu.raiseGp(0);
  const value = (Number(wide & 0xffffffffn) & cr0Defined) | cr0.ET;
  const old = cpu.get32(field.cr0);
  const control4 = cpu.get32(field.cr4);
  const extended = cpu.get32(field.efer);
  if (value & cr0.PG && !(value & cr0.PE)) cpu.raiseGp(0);
  if (value & cr0.NW && !(value & cr0.CD)) cpu.raiseGp(0);
  const changed = old ^ value;
  let nextEfer = extended;
  if (changed & cr0.PG) {
    const codeIsLong = (cpu.getAttributes(seg.CS) & descriptor.long) !== 0;
    if (value & cr0.PG) {
      if (extended & efer.LME) {
        const tss = (cpu.get32(field.trAttributes) >>> descriptor.typeShift) & 15;
        if (!(control4 & cr4.PAE) || codeIsLong || tss === systemType.busyTss16) cpu.raiseGp(0);
        nextEfer |= efer.LMA;
      } else loadPageDirectoryPointers(cpu, cpu.get64(field.cr3), true);
    } else {
      if (control4 & cr4.PCIDE || (extended & efer.LMA && codeIsLong)) cpu.raiseGp(0);
      nextEfer &= ~efer.LMA;
    }
  } else if (changed & (cr0.CD | cr0.NW) && value & cr0.PG) {
    loadPageDirectoryPointers(cpu, cpu.get64(field.cr3), true);
  }
  cpu.set32(field.efer, nextEfer);
  cpu.set32(field.cr0, value);
  if (changed & cr0.PE && !(value & cr0.PE)) cpu.cpl = 0;
  if (changed & (cr0.PG | cr0.WP | cr0.PE)) cpu.call('flush_tlb_pages', 0);
  cpu.updateMode();
}

export function writeCr4(cpu: Vcpu, wide: bigint, limits: ControlRegisterLimits): void {
  const value = Number(wide & 0xffffffffn);
  if (wide >> 32n || value & ~limits.cr4Mask) cpu.raiseGp(0);
  const old = cpu.get32(field.cr4);
  const changed = old ^ value;
  const { isLong } = cpu;
  if (isLong && (!(value & cr4.PAE) || changed & cr4.LA57)) cpu.raiseGp(0);
  if (changed & value & cr4.PCIDE && (!isLong || cpu.get32(field.cr3) & 0xfff)) cpu.raiseGp(0);
  const paging = cr4.PGE | cr4.PSE | cr4.PAE | cr4.SMEP | cr4.SMAP | cr4.PCIDE | cr4.LA57;
  cpu.set32(field.cr4, value);
  if (changed & paging) {
    if (cpu.get32(field.cr0) & cr0.PG && changed & (cr4.PAE | cr4.PGE | cr4.PSE | cr4.SMEP)) {
      try {
        loadPageDirectoryPointers(cpu, cpu.get64(field.cr3), true);
      } catch (fault) {
        cpu.set32(field.cr4, old);
        throw fault;
      }
    }
    cpu.call('flush_tlb_pages', 0);
  }
  cpu.updateMode();
}

/** XSETBV of XCR0. */
export function writeXcr0(cpu: Vcpu, value: bigint, limits: ControlRegisterLimits): void {
  if (!(value & 1n) || value & ~limits.xcr0Mask) cpu.raiseGp(0);
  if (value & 4n && !(value & 2n)) cpu.raiseGp(0);
  cpu.set64(field.xcr0, value);
}

/** DR4 and DR5 are other names of DR6 and DR7 unless CR4.DE is set. */
function debugRegister(cpu: Vcpu, n: number): number {
  if (n !== 4 && n !== 5) return n;
  if (cpu.get32(field.cr4) & cr4.DE) cpu.raise(vector.UD);
  return n + 2;
}

/** Host routines of MOV from and to a debug register at CPL 0. DR7.GD turns both into #DB. */
export const readDebug = routines.host('read_debug', ['i32'], ['i32', 'i64'], { mayFault: true });
export const writeDebug = routines.host('write_debug', ['i32', 'i64'], ['i32'], { vars: 'read', mayFault: true });

function generalDetect(cpu: Vcpu): void {
  if (!(cpu.get32(field.dr + 8 * 7) & dr7.GD)) return;
  cpu.set32(field.dr + 8 * 6, cpu.get32(field.dr + 8 * 6) | dr6.BD);
  cpu.raise(vector.DB);
}

export function readDebugRegister(cpu: Vcpu, n: number): bigint {
  const real = debugRegister(cpu, n);
  generalDetect(cpu);
  return cpu.get64(field.dr + 8 * real);
}

export function writeDebugRegister(cpu: Vcpu, n: number, value: bigint): void {
  const real = debugRegister(cpu, n);
  generalDetect(cpu);
  if (real >= 6 && value >> 32n) cpu.raiseGp(0);
  let stored = value;
  if (real === 6) stored = (value & 0xe00fn) | 0xffff0ff0n;
  else if (real === 7) stored = (value & 0xffff2bffn) | 0x400n;
  cpu.set64(field.dr + 8 * real, stored);
  if (real === 7) cpu.updateMode();
}

/** MOV to CR0 or CR4. */
export function writeControlRegister(cpu: Vcpu, n: number, value: bigint, limits: ControlRegisterLimits): void {
  if (n === 0) writeCr0(cpu, value);
  else writeCr4(cpu, value, limits);
}
