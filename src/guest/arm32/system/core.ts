/** The CPU's state in AArch32 as JavaScript sees it: modes and their registers, exceptions, rights of domains. */
import { header } from '../../../ir/index.js';
import { WATCHED } from '../../arm/mode.js';
import { fpcr } from '../../arm/state.js';
import { Core } from '../../arm/system/core.js';
import { encodeMode, floatBits, IT_BITS, IT_KEY, mmuIndex, PASSED } from '../mode.js';
import { flagKind } from '../routines/flags.js';
import {
  bank,
  bankOfMode,
  CONTROL,
  cpsr,
  cpuMode,
  EAE,
  exception,
  FPEXC_EN,
  field,
  flagA,
  flagB,
  flagC,
  flagOp,
  fpscr,
  reg,
  STATUS_SHIFT,
  special,
  trapCode,
  vector,
  WNR,
} from '../state.js';
import { DOMAIN_SHIFT } from './page-walk.js';

/** Fault status of the short form by that of the long form (B3.13.3). */
const shortStatus: Readonly<Partial<Record<number, number>>> = {
  5: 0x05,
  6: 0x07,
  9: 0x03,
  10: 0x06,
  13: 0x0d,
  14: 0x0f,
  16: 0x08,
  33: 0x01,
  34: 0x02,
  61: 0x09,
  62: 0x0b,
};
const ALIGNMENT = 0x21;
const DEBUG_EVENT = 0x22;
/** Of DFSR and IFSR, and of PAR: they have the form of long descriptors. */
const LPAE = 1 << 9;
const PAR_LONG = 1n << 11n;

export class Core32 extends Core {
  override readonly isNarrow = true;
  /** ITSTATE, of the instruction at the pc. */
  get it(): number {
    return this.get32(header.modeKey) & IT_BITS;
  }
  get thumb(): boolean {
    return (this.pc & 1n) !== 0n;
  }
  /** The address of the instruction. */
  get address(): number {
    return Number(this.pc & (this.thumb ? 0xfffffffen : 0xfffffffcn));
  }
  /** The next instruction is this one. */
  goTo(address: number, thumb: boolean): void {
    const place = thumb ? (address & ~1) | 1 : address & ~3;
    this.pc = BigInt(place >>> 0);
    this.set32(header.modeKey, this.get32(header.modeKey) & ~PASSED);
  }
  /** The condition of the instruction at the pc has been asked and holds; where it has none, that of the next one that has. */
  get isPassed(): boolean {
    return this.thumb ? (this.get32(header.modeKey) & PASSED) !== 0 : (this.pc & 2n) !== 0n;
  }
  /** The exception level that AArch64 would call it. */
  override get el(): number {
    return this.mode === cpuMode.user ? 0 : 1;
  }
  get mode(): number {
    return this.get32(field.pstate) & cpsr.M;
  }

  override get nzcv(): number {
    const operands = [flagA, flagB].map(({ offset }) => BigInt.asIntN(64, this.get64(offset)));
    const rest = this.call('carry_overflow32', this.get32(flagOp.offset), ...operands) as number;
    const nz = this.get64(flagC.offset);
    const negative = nz >> 63n === 0n ? 0 : 1 << 31;
    const zero = (nz & 0xffffffffn) === 0n ? 1 << 30 : 0;
    return negative | zero | (rest & 0x30000000);
  }
  override set nzcv(bits: number) {
    this.set32(flagOp.offset, flagKind.bits);
    this.set64(flagA.offset, BigInt(bits >>> 0));
    this.set64(flagC.offset, (bits < 0 ? 1n << 63n : 0n) | (bits & (1 << 30) ? 0n : 1n));
  }

  /** CPSR, with the instruction set and ITSTATE of the instruction at the pc. */
  get cpsr(): number {
    const { it } = this;
    const itBits = ((it & 3) << 25) | ((it & 0xfc) << 8);
    const middle = this.get32(field.q) | this.get32(field.ge);
    return this.nzcv | middle | itBits | (this.thumb ? cpsr.T : 0) | (this.get32(field.pstate) & CONTROL);
  }
  /** All but the instruction set, which goes with the pc. */
  setCpsr(value: number): void {
    this.nzcv = value & cpsr.FLAGS;
    this.set32(field.q, value & cpsr.Q);
    this.set32(field.ge, value & cpsr.GE);
    this.setPstate(value);
    const it = ((value >> 25) & 3) | ((value >> 8) & 0xfc);
    this.set32(header.modeKey, (this.get32(header.modeKey) & ~IT_KEY) | it);
  }

  /** Mode and masks. A mode that is not there changes nothing (unpredictable). */
  override setPstate(value: number): void {
    this.call('set_pstate32', value);
  }
  #register(n: number): number {
    return this.get32(reg[n].offset);
  }
  #setRegister(n: number, value: number): void {
    this.set64(reg[n].offset, BigInt(value >>> 0));
  }
  get fpscr(): number {
    return this.get32(field.fpcr) | (this.get32(field.fpsr) & fpscr.STATUS) | this.get32(field.fpscrFlags);
  }
  setFpscr(value: number): void {
    const modes = fpscr.MODES | (this.model.features.has('fp16') ? fpcr.FZ16 : 0);
    this.set32(field.fpcr, value & modes);
    this.set32(field.fpsr, value & fpscr.STATUS);
    this.set32(field.fpscrFlags, value & fpscr.FLAGS);
    this.updateMode();
  }

  get spsr(): number {
    return this.get32(field.banked15 + 4 * (bankOfMode[this.mode] ?? bank.user));
  }
  set spsr(value: number) {
    this.set32(field.banked15 + 4 * (bankOfMode[this.mode] ?? bank.user), value);
  }

  /** The home of what SYSm of MRS and MSR names, or the number of a register that is current; undefined: nothing. */
  #banked(code: number): { readonly at: number } | { readonly register: number } | undefined {
    const sysm = code & 31;
    const current = bankOfMode[this.mode] ?? bank.user;
    if (code & 32) {
      const banks: Readonly<Partial<Record<number, number>>> = { 14: 1, 16: 2, 18: 3, 20: 4, 22: 5 };
      const of = banks[sysm];
      return of === undefined ? undefined : { at: field.banked15 + 4 * of };
    }
    const pair = (of: number, n: number) => {
      if (of === current) return { register: n };
      return { at: (n === 13 ? field.banked13 : field.banked14) + 4 * of };
    };
    if (sysm < 5 || (sysm >= 8 && sysm < 13)) {
      const n = 8 + (sysm & 7);
      const isCurrent = (current === bank.fiq) === sysm >= 8;
      return isCurrent ? { register: n } : { at: field.high + 4 * (n - 8) };
    }
    if (sysm === 5 || sysm === 6) return pair(bank.user, sysm + 8);
    if (sysm === 13 || sysm === 14) return pair(bank.fiq, sysm);
    if (sysm >= 16 && sysm < 24) return pair(bank.irq + ((sysm - 16) >> 1), sysm & 1 ? 13 : 14);
    return undefined;
  }

  override updateMode(): void {
    const slot = this.get32(field.dacrSlot);
    const state = {
      it: this.get32(header.modeKey) & IT_KEY,
      cpsr: this.get32(field.pstate),
      sctlr: this.get32(field.sctlr),
      cpacr: this.get32(field.cpacr),
      fpexc: this.get32(field.fpexc),
      fpcr: this.get32(field.fpcr),
      dacrSlot: slot,
      shared: this.board.others !== undefined,
      watched: (this.get32(field.modeBits) & WATCHED) !== 0,
    };
    this.set32(header.modeKey, encodeMode(state));
    this.set32(field.floatTrapped, floatBits(state));
    const level = this.mode === cpuMode.user ? mmuIndex.user : mmuIndex.privileged;
    const mmu = slot * mmuIndex.perDacr + level;
    if (mmu !== this.get32(header.mmu)) this.call('select_mmu', mmu);
  }

  // --- domains, translation

  setDacr(value: number): void {
    this.call('set_dacr', BigInt(value));
  }
  /** Does it on all CPUs. */
  everywhere(flush: (core: Core32) => void): void {
    for (const core of this.board.others?.() ?? [this]) flush(core as Core32);
  }
  /** ATS1C…: PAR is the physical address, or the fault. */
  translateTo(va: number, isWrite: boolean, isPrivileged: boolean): void {
    const level = isPrivileged ? mmuIndex.privileged : mmuIndex.user;
    const mmu = this.get32(field.dacrSlot) * mmuIndex.perDacr + level;
    const walked = this.call('walk_aarch32', BigInt(va >>> 0), isWrite ? 1 : 0, mmu) as [number, bigint, number];
    const [failed, gpa] = walked;
    this.set32(header.trapCode, 0);
    const { isLong } = this;
    if (failed === 0) {
      const page = BigInt.asUintN(64, gpa);
      // Write-back memory, inner shareable.
      this.set64(
        field.par,
        isLong ? (page & 0xff_ffff_f000n) | PAR_LONG | (0xffn << 56n) | 0x180n : page & 0xfffff000n,
      );
      return;
    }
    const syndrome = this.get32(field.syndrome);
    const status = this.#faultStatus(syndrome);
    if (isLong) this.set64(field.par, PAR_LONG | 1n | (BigInt(status & 63) << 1n));
    else this.set64(field.par, BigInt(1 | ((status & 0xf) << 1) | ((status & 0x400) >> 4)));
  }

  /** Guest-physical address, whatever its rights; nothing is recorded. */
  debugTranslate(va: number): bigint | undefined {
    const [syndrome, address] = [this.get32(field.syndrome), this.get64(field.faultAddress)];
    const mmu = this.get32(field.dacrSlot) * mmuIndex.perDacr + mmuIndex.privileged;
    const [failed, gpa] = this.call('walk_aarch32', BigInt(va >>> 0), 0, mmu) as [number, bigint, number];
    this.set32(header.trapCode, 0);
    this.set32(field.syndrome, syndrome);
    this.set64(field.faultAddress, address);
    return failed === 0 ? BigInt.asUintN(64, gpa) : undefined;
  }

  // --- exceptions

  /** Translation with long descriptors is on: fault status, too, has the long form. */
  get isLong(): boolean {
    return (this.get32(field.ttbcr) & EAE) !== 0;
  }
  /** Fault status as DFSR and IFSR have it (B4.1.52). */
  #faultStatus(syndrome: number): number {
    const long = (syndrome >> STATUS_SHIFT) & 63;
    if (this.isLong) return LPAE | long;
    const code = shortStatus[long] ?? 0x08;
    return (code & 15) | ((code & 16) << 6);
  }

  /** Takes an exception (B1.8.3). `link`: what R14 of the mode becomes. */
  #take(mode: number, offset: number, link: number, masks: number): void {
    const from = this.el;
    this.call('take_exception32', mode, offset, link, masks, this.cpsr);
    this.board.exceptionTaken?.(this, offset, from);
  }

  /** The exception that header.trapCode and the syndrome describe, of the instruction at the pc. */
  takeFault(): void {
    const code = this.get32(header.trapCode);
    this.set32(header.trapCode, 0);
    const { address, thumb } = this;
    if (code === trapCode.unalignedLoad || code === trapCode.unalignedStore) {
      const write = code === trapCode.unalignedStore ? WNR : 0;
      this.set32(field.syndrome, exception.dataAbort | (ALIGNMENT << STATUS_SHIFT) | write);
    }
    const syndrome = this.get32(field.syndrome);
    switch (syndrome & 0xff) {
      case exception.svc:
        this.#passIt();
        this.#take(cpuMode.supervisor, vector.svc, address + (thumb ? 2 : 4), 0);
        break;
      case exception.prefetchAbort: {
        this.set32(field.ifsr, this.#faultStatus(syndrome));
        const isBreakpoint = ((syndrome >> STATUS_SHIFT) & 63) === DEBUG_EVENT;
        // A breakpoint's is unknown: it keeps the address.
        this.set32(field.ifar, isBreakpoint ? address : Number(this.get64(field.faultAddress) & 0xfffffffen) | 0);
        this.#take(cpuMode.abort, vector.prefetchAbort, address + 4, cpsr.A);
        break;
      }
      case exception.dataAbort: {
        const write = syndrome & WNR ? 1 << 11 : 0;
        const domain = this.isLong ? 0 : ((syndrome >>> DOMAIN_SHIFT) & 15) << 4;
        this.set32(field.dfsr, this.#faultStatus(syndrome) | write | domain);
        this.set32(field.dfar, Number(this.get64(field.faultAddress) & 0xffffffffn) | 0);
        this.#take(cpuMode.abort, vector.dataAbort, address + 8, cpsr.A);
        break;
      }
      default:
        this.#take(cpuMode.undefined, vector.undefined, address + (thumb ? 2 : 4), 0);
    }
  }
  /** ITSTATE is the next instruction's. */
  #passIt(): void {
    const { it } = this;
    const next = (it & 7) === 0 ? 0 : (it & 0xe0) | ((it << 1) & 0x1f);
    this.set32(header.modeKey, (this.get32(header.modeKey) & ~IT_KEY) | next);
  }

  /** An interrupt is taken: `kind` is 0x80 for IRQ, 0x100 for FIQ. */
  override enter(kind: number): void {
    const { address } = this;
    if (kind === 0x100) this.#take(cpuMode.fiq, vector.fiq, address + 4, cpsr.A | cpsr.F);
    else this.#take(cpuMode.irq, vector.irq, address + 4, cpsr.A);
  }

  /** The instruction is undefined. Gives 1. */
  raiseUndefined(): number {
    return this.raise(exception.undefined);
  }

  // --- what translated code reads and writes as system registers

  readSpecial(code: number): bigint | undefined {
    const place = code >= special.banked ? this.#banked(code - special.banked) : undefined;
    if (!place) return undefined;
    return BigInt(('at' in place ? this.get32(place.at) : this.#register(place.register)) >>> 0);
  }
  /** False: there is no such register. */
  writeSpecial(code: number, value: bigint): boolean {
    const low = Number(value & 0xffffffffn) | 0;
    switch (code) {
      case special.fpscr:
        this.setFpscr(low);
        return true;
      case special.fpexc:
        this.set32(field.fpexc, low & FPEXC_EN);
        this.updateMode();
        return true;
    }
    const place = code >= special.banked ? this.#banked(code - special.banked) : undefined;
    if (!place) return false;
    if ('at' in place) this.set32(place.at, low);
    else this.#setRegister(place.register, low);
    return true;
  }

  /** Interrupt inputs as ISR shows them. */
  get pendingBits(): number {
    const lines = this.get32(field.lines);
    return (lines & 1 ? 1 << 7 : 0) | (lines & 2 ? 1 << 6 : 0);
  }
}
