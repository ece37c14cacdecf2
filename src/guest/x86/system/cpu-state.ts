/** Reset and boot states of the vCPU, and its registers by name: Intel SDM vol. 3 table 9-1. */
import { HEADER_BYTES, header } from '../../../ir/index.js';
import { type CpuidModel, signature } from '../cpuid.js';
import type { CpuModel } from '../models.js';
import { field, gpr, gprNames, STATE_BYTES, segNames, xmm } from '../state.js';
import { cr0, seg } from './bits.js';
import type { Vcpu } from './vcpu.js';

/** A segment register with its hidden part, as boot loaders give it. */
export interface BootSegment {
  readonly selector: number;
  readonly base: number;
  /** In bytes, granularity applied. */
  readonly limit: number;
  readonly type: number;
  readonly codeOrData: boolean;
  readonly dpl: number;
  readonly present: boolean;
  readonly long: boolean;
  readonly big: boolean;
  readonly granular: boolean;
}

/** The state in which a boot loader starts the vCPU. */
export interface BootState {
  /** By the manual's 64-bit names (rip, rax …, rflags, cr0, cr3, cr4, efer); others are 0. */
  readonly registers: Readonly<Record<string, number>>;
  readonly segments: Readonly<Record<'cs' | 'ds' | 'es' | 'ss' | 'fs' | 'gs' | 'tr' | 'ldtr', BootSegment>>;
  readonly gdt: { readonly base: number; readonly limit: number };
  readonly idt: { readonly base: number; readonly limit: number };
}

/** MTRR default type, PAT, MISC_ENABLE after reset. */
const PAT_RESET = 0x0007040600070406n;

/** Power-on reset: real mode at F000:FFF0. */
export function resetState(cpu: Vcpu, model: CpuModel): void {
  cpu.bytes(HEADER_BYTES, STATE_BYTES - HEADER_BYTES).fill(0);
  cpu.set32(header.trapCode, 0);
  cpu.set32(header.leaveReason, 0);
  cpu.set32(field.eflags, 2);
  cpu.pc = 0xfff0n;
  cpu.set32(field.cr0, cr0.CD | cr0.NW | cr0.ET);
  for (let n = 0; n < 6; n++) cpu.setSegment(n, 0, 0n, 0xffff, 0x9300);
  cpu.setSegment(seg.CS, 0xf000, 0xffff0000n, 0xffff, 0x9b00);
  cpu.set32(field.gdtLimit, 0xffff);
  cpu.set32(field.idtLimit, 0xffff);
  cpu.set32(field.ldtLimit, 0xffff);
  cpu.set32(field.ldtAttributes, 0x8200);
  cpu.set32(field.trLimit, 0xffff);
  cpu.set32(field.trAttributes, 0x8b00);
  cpu.setGpr(2, BigInt(signature(model as CpuidModel)));
  cpu.set64(field.dr + 8 * 6, 0xffff0ff0n);
  cpu.set64(field.dr + 8 * 7, 0x400n);
  cpu.set64(field.pat, PAT_RESET);
  cpu.set64(field.miscEnable, 1n);
  cpu.set64(field.xcr0, 1n);
  cpu.set32(field.a20Mask, -1);
  cpu.set32(field.fpControl, 0x40);
  cpu.set32(field.mxcsr, 0x1f80);
  cpu.set32(field.deliveringVector, -1);
  const physical = ((1n << BigInt(model.physBits)) - 1n) & 0x000fffffffffffffn;
  cpu.set64(field.physReserved, 0x000fffffffffffffn & ~physical);
  cpu.set64(field.hugeReserved, model.features.has('pdpe1gb') ? 0n : 0x80n);
  cpu.set64(field.addressUnused, model.features.has('la57') ? 7n : 16n);
  cpu.call('flush_tlb_pages', 0);
  cpu.updateMode();
}

/** What INIT leaves as it is (SDM vol. 3, table 9-1): place and bytes of each. */
export const keptByInit: readonly (readonly [at: number, bytes: number])[] = [
  [xmm[0].offset, 64 * 32],
  ...[field.xcr0, field.xss, field.tscOffset, field.tscAdjust, field.tscAux, field.apicBase].map(
    (at) => [at, 8] as const,
  ),
  ...[field.miscEnable, field.pat, field.mtrrDefType].map((at) => [at, 8] as const),
  ...[field.star, field.lstar, field.cstar, field.fmask, field.kernelGsBase].map((at) => [at, 8] as const),
  ...[field.sysenterCs, field.sysenterEsp, field.sysenterEip].map((at) => [at, 8] as const),
  ...[field.amdSyscfg, field.amdHwcr, field.topMem, field.topMem2].map((at) => [at, 8] as const),
  [field.mtrrVariable, 8 * 16],
  [field.mtrrFixed, 8 * 11],
  [field.fpr, 16 * 8],
  ...[field.fpControl, field.fpStatus, field.fpTop, field.fpEmpty, field.mxcsr].map((at) => [at, 4] as const),
  ...[field.fpOpcode, field.fpCs, field.fpDs].map((at) => [at, 4] as const),
  ...[field.fpIp, field.fpDp].map((at) => [at, 8] as const),
  [field.a20Mask, 4],
];

function attributesOf(s: BootSegment): number {
  return (
    (s.type << 8) |
    (s.codeOrData ? 1 << 12 : 0) |
    (s.dpl << 13) |
    (s.present ? 1 << 15 : 0) |
    (s.long ? 1 << 21 : 0) |
    (s.big ? 1 << 22 : 0) |
    (s.granular ? 1 << 23 : 0)
  );
}

/** As firmware leaves every vCPU: MTRRs on, all memory write-back. */
export function enableMtrrs(cpu: Vcpu): void {
  cpu.set64(field.mtrrDefType, 0xc06n);
}

/** Puts a boot loader's state on top of the reset state. */
export function applyBootState(cpu: Vcpu, state: BootState): void {
  const { registers, segments } = state;
  const value = (name: string): bigint => BigInt(registers[name] ?? 0);
  for (const [n, name] of gprNames.entries()) cpu.setGpr(n, value(name));
  cpu.pc = value('rip');
  cpu.setFlags(Number(value('rflags')) | 2);
  cpu.set64(field.cr0, value('cr0') | BigInt(cr0.ET));
  cpu.set64(field.cr3, value('cr3'));
  cpu.set64(field.cr4, value('cr4'));
  cpu.set64(field.efer, value('efer'));
  for (const [n, name] of segNames.entries()) {
    const s = segments[name];
    cpu.setSegment(n, s.selector, BigInt(s.base), s.limit, attributesOf(s));
  }
  cpu.set32(field.trSelector, segments.tr.selector);
  cpu.set64(field.trBase, BigInt(segments.tr.base));
  cpu.set32(field.trLimit, segments.tr.limit);
  cpu.set32(field.trAttributes, attributesOf(segments.tr));
  cpu.set32(field.ldtSelector, segments.ldtr.selector);
  cpu.set64(field.ldtBase, BigInt(segments.ldtr.base));
  cpu.set32(field.ldtLimit, segments.ldtr.limit);
  cpu.set32(field.ldtAttributes, attributesOf(segments.ldtr));
  cpu.set64(field.gdtBase, BigInt(state.gdt.base));
  cpu.set32(field.gdtLimit, state.gdt.limit);
  cpu.set64(field.idtBase, BigInt(state.idt.base));
  cpu.set32(field.idtLimit, state.idt.limit);
  cpu.cpl = segments.cs.dpl;
  cpu.call('flush_tlb_pages', 0);
  cpu.updateMode();
}

/** One register as debuggers see it. */
export interface RegisterView {
  readonly name: string;
  readonly bits: 32 | 64 | 80 | 128;
  read(cpu: Vcpu): bigint;
  /** Absent: read-only. */
  write?(cpu: Vcpu, value: bigint): void;
}

function field64(name: string, offset: number): RegisterView {
  return { name, bits: 64, read: (cpu) => cpu.get64(offset), write: (cpu, value) => cpu.set64(offset, value) };
}

function field32(name: string, offset: number): RegisterView {
  return {
    name,
    bits: 32,
    read: (cpu) => BigInt(cpu.get32(offset)),
    write: (cpu, value) => cpu.set32(offset, Number(value & 0xffffffffn)),
  };
}

/** A control register or other whose change needs the mode recomputed and the TLB flushed. */
function modal(view: RegisterView): RegisterView {
  return {
    ...view,
    write(cpu, value) {
      view.write?.(cpu, value);
      cpu.call('flush_tlb_pages', 0);
      cpu.updateMode();
    },
  };
}

/** All registers, general ones first, in the order of gdb's i386:x86-64 description where it has them. */
export const registerViews: readonly RegisterView[] = [
  ...['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rsp', ...gprNames.slice(8)].map((name) =>
    field64(name, gpr[gprNames.indexOf(name as (typeof gprNames)[number])].offset),
  ),
  field64('rip', header.pc),
  {
    name: 'eflags',
    bits: 32,
    read: (cpu) => BigInt(cpu.getFlags() >>> 0),
    write(cpu, value) {
      cpu.setFlags(Number(value & 0xffffffffn));
      cpu.updateMode();
    },
  },
  // Written as a debugger would: the selector alone, nothing loaded.
  ...(['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const).map((name) =>
    field32(name, field.selector + 4 * segNames.indexOf(name)),
  ),
  ...Array.from(
    { length: 8 },
    (_, i): RegisterView => ({
      name: `st${i}`,
      bits: 80,
      read(cpu) {
        const at = field.fpr + 16 * ((cpu.get32(field.fpTop) + i) & 7);
        return cpu.get64(at) | (BigInt(cpu.get32(at + 8) & 0xffff) << 64n);
      },
      write(cpu, value) {
        const at = field.fpr + 16 * ((cpu.get32(field.fpTop) + i) & 7);
        cpu.set64(at, value);
        cpu.set32(at + 8, Number((value >> 64n) & 0xffffn));
      },
    }),
  ),
  field32('fctrl', field.fpControl),
  {
    name: 'fstat',
    bits: 32,
    read: (cpu) => BigInt((cpu.get32(field.fpStatus) & 0xc7ff) | ((cpu.get32(field.fpTop) & 7) << 11)),
  },
  ...xmm.map(
    (register): RegisterView => ({
      name: register.name,
      bits: 128,
      read: (cpu) => cpu.get64(register.offset) | (cpu.get64(register.offset + 8) << 64n),
      write(cpu, value) {
        cpu.set64(register.offset, value);
        cpu.set64(register.offset + 8, value >> 64n);
      },
    }),
  ),
  field32('mxcsr', field.mxcsr),
  ...(['fs', 'gs'] as const).map(
    (name): RegisterView => ({
      name: `${name}_base`,
      bits: 64,
      read: (cpu) => cpu.getBase(segNames.indexOf(name)),
      write: (cpu, value) => {
        const n = segNames.indexOf(name);
        cpu.setSegment(n, cpu.getSelector(n), value, cpu.getLimit(n), cpu.getAttributes(n));
      },
    }),
  ),
  field64('k_gs_base', field.kernelGsBase),
  modal(field64('cr0', field.cr0)),
  field64('cr2', field.cr2),
  modal(field64('cr3', field.cr3)),
  modal(field64('cr4', field.cr4)),
  modal(field64('efer', field.efer)),
];
