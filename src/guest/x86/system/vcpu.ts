/**
 * The vCPU as JavaScript sees it: its state's fields, guest memory with faults as a thrown GuestFault, and descriptors. For
 * what is rare; everything hot is IR. Linear addresses are bigints (64 bits, sign irrelevant), 32-bit values numbers >= 0.
 */

import { header } from '../../../ir/index.js';
import type { CpuContext } from '../../guest-cpu.js';
import { field, gpr, segBase, trapCode } from '../state.js';
import { cr0, descriptor, efer, eflag, vector } from './bits.js';
import { asWhom } from './guest-memory.js';

/** Thrown where an x86 exception has been recorded in header.trapCode; never leaves this layer. */
export class GuestFault extends Error {}
/** One object for all: making an Error costs microseconds. */
const theFault = new GuestFault('a guest fault is recorded');

/** What the board gives to an x86 vCPU. Interrupts as in the bus layer's CpuInterruptController (structurally). */
export interface DeliveredEvent {
  readonly vector: number;
  readonly errorCode: number | undefined;
  /** By the processor, from an interrupt controller (NMIs and #DB traps too), or by INT n and kin. */
  readonly kind: 'exception' | 'interrupt' | 'software';
}

export interface X86Board {
  readonly interrupts: {
    pending(): boolean;
    acknowledge(): number;
    cr8: number;
    readMsr(index: number): bigint | undefined;
    writeMsr(index: number, value: bigint): boolean;
  };
  /** Ticks of the time-stamp counter, before any offset; and ticks per second. */
  tsc(): bigint;
  readonly tscHz: number;
  /** FERR#: an unmasked x87 error with CR0.NE clear. */
  floatError?(): void;
  /** Hears of every exception and interrupt before its handler is entered: for `-d int`. */
  event?: ((event: DeliveredEvent) => void) | undefined;
  /**
   * Hears, while `setLens` is on, of every instruction that may have changed the ring, after it, by its opcode's last byte: SYSCALL,
   * SYSRET, SYSENTER, SYSEXIT, IRET, INT n and kin, far jumps, calls and returns.
   */
  transfer?: ((opcode: number) => void) | undefined;
  /** Hears of every data access by an instruction, before it, while `setWatching` is on: for a debugger's watchpoints. */
  dataAccess?: ((linear: bigint, bytes: number, write: boolean) => void) | undefined;
  /** Names something that the guest used and that is not modelled; once each. */
  unimplemented?(what: string): void;
}

/** A segment descriptor: its two words, and for 16-byte ones the upper half of the base. */
export interface Descriptor {
  readonly low: number;
  readonly high: number;
  readonly address: bigint;
}

export const baseOf = (d: Descriptor): number =>
  ((d.low >>> 16) | ((d.high & 0xff) << 16) | (d.high & 0xff000000)) >>> 0;
export const limitOf = (d: Descriptor): number => {
  const raw = (d.low & 0xffff) | (d.high & 0xf0000);
  return d.high & descriptor.granular ? ((raw << 12) | 0xfff) >>> 0 : raw;
};
export const dplOf = (high: number): number => (high >>> descriptor.dplShift) & 3;
/** The type with the S bit: 0-15 system, 16-31 code or data. */
export const typeOf = (high: number): number => (high >>> descriptor.typeShift) & 31;
export const isCode = (high: number): boolean =>
  (high & (descriptor.notSystem | descriptor.code)) === (descriptor.notSystem | descriptor.code);
export const isConformingCode = (high: number): boolean => isCode(high) && (high & descriptor.conforming) !== 0;
export const isWritableData = (high: number): boolean =>
  (high & (descriptor.notSystem | descriptor.code | descriptor.writable)) ===
  (descriptor.notSystem | descriptor.writable);
export const isPresent = (high: number): boolean => (high & descriptor.present) !== 0;

/** What field.attributes keeps of a descriptor's second word: all but base and limit bits. */
export const ATTRIBUTE_MASK = 0x00f0ff00;

type SystemLoad = (state: number, va: bigint, size: number, whom: number) => readonly [number, bigint];
type SystemStore = (state: number, va: bigint, value: bigint, size: number, whom: number) => number;

const MASK32 = 0xffffffffn;

export class Vcpu {
  readonly state: number;
  readonly #view: DataView;
  readonly #routines: CpuContext['routines'];
  readonly #load: SystemLoad;
  readonly #store: SystemStore;

  constructor(context: CpuContext) {
    this.state = context.state;
    this.#view = new DataView(context.buffer);
    this.#routines = context.routines;
    this.#load = context.routines['system_load'] as SystemLoad;
    this.#store = context.routines['system_store'] as SystemStore;
  }

  // --- the state

  get32(offset: number): number {
    return this.#view.getUint32(this.state + offset, true);
  }
  set32(offset: number, value: number): void {
    this.#view.setInt32(this.state + offset, value, true);
  }
  get64(offset: number): bigint {
    return this.#view.getBigUint64(this.state + offset, true);
  }
  set64(offset: number, value: bigint): void {
    this.#view.setBigUint64(this.state + offset, BigInt.asUintN(64, value), true);
  }
  /** Copy of a part of the state. */
  bytes(offset: number, length: number): Uint8Array {
    return new Uint8Array(this.#view.buffer, this.state + offset, length);
  }

  getGpr(n: number): bigint {
    return this.get64(gpr[n].offset);
  }
  setGpr(n: number, value: bigint): void {
    this.set64(gpr[n].offset, value);
  }
  /** The low half, and a write that zeroes the upper. */
  getGpr32(n: number): number {
    return this.get32(gpr[n].offset);
  }
  setGpr32(n: number, value: number): void {
    this.set64(gpr[n].offset, BigInt(value >>> 0));
  }

  getSelector(n: number): number {
    return this.get32(field.selector + 4 * n) & 0xffff;
  }
  getBase(n: number): bigint {
    return this.get64(segBase[n].offset);
  }
  getLimit(n: number): number {
    return this.get32(field.limit + 4 * n);
  }
  getAttributes(n: number): number {
    return this.get32(field.attributes + 4 * n);
  }
  setSegment(n: number, selector: number, base: bigint, limit: number, attributes: number): void {
    this.set32(field.selector + 4 * n, selector);
    this.set64(segBase[n].offset, base);
    this.set32(field.limit + 4 * n, limit);
    this.set32(field.attributes + 4 * n, attributes & ATTRIBUTE_MASK);
  }

  get pc(): bigint {
    return this.get64(header.pc);
  }
  set pc(value: bigint) {
    this.set64(header.pc, value);
  }
  get cpl(): number {
    return this.get32(field.cpl);
  }
  set cpl(value: number) {
    this.set32(field.cpl, value);
  }
  get isLong(): boolean {
    return (this.get32(field.efer) & efer.LMA) !== 0;
  }
  get isProtected(): boolean {
    return (this.get32(field.cr0) & cr0.PE) !== 0;
  }
  get isVm86(): boolean {
    return (this.get32(field.eflags) & eflag.VM) !== 0;
  }
  get codeSize(): number {
    return this.get32(field.codeSize);
  }
  get iopl(): number {
    return (this.get32(field.eflags) >>> 12) & 3;
  }

  /** EFLAGS whole, with the six status flags. */
  getFlags(): number {
    return this.call('get_eflags') as number;
  }
  setFlags(value: number): void {
    this.call('set_eflags', value);
  }

  // --- routines

  /** Calls a routine by name. */
  call(name: string, ...args: (number | bigint)[]): unknown {
    return this.#routines[name](this.state, ...args);
  }
  /** Calls a routine whose result is a fault. */
  callFaulting(name: string, ...args: (number | bigint)[]): void {
    if (this.call(name, ...args) !== 0) throw theFault;
  }
  updateMode(): void {
    this.call('update_mode');
  }

  // --- exceptions

  /** Records an exception and throws. */
  raise(number: number, errorCode?: number): never {
    this.set32(header.trapCode, trapCode(number, errorCode));
    throw theFault;
  }
  raiseGp(errorCode: number): never {
    return this.raise(vector.GP, errorCode);
  }

  /** Runs the body of a host routine: 0, or 1 if it recorded a fault. */
  guarded(body: () => void): number {
    try {
      body();
      return 0;
    } catch (error) {
      if (error === theFault) return 1;
      throw error;
    }
  }

  // --- guest memory

  load(va: bigint, size: 1 | 2 | 4 | 8, whom: number): bigint {
    const [fault, value] = this.#load(this.state, va, size, whom);
    if (fault !== 0) throw theFault;
    return BigInt.asUintN(64, value);
  }
  load32(va: bigint, whom: number = asWhom.system): number {
    return Number(this.load(va, 4, whom));
  }
  load16(va: bigint, whom: number = asWhom.system): number {
    return Number(this.load(va, 2, whom));
  }
  store(va: bigint, value: bigint, size: 1 | 2 | 4 | 8, whom: number): void {
    // A store that hits translated code drops it and asks to be repeated, with no fault recorded.
    for (let attempt = 0; attempt < 3; attempt++) {
      this.set32(header.trapCode, 0);
      if (this.#store(this.state, va, value, size, whom) === 0) return;
      if (this.get32(header.trapCode) !== 0) throw theFault;
    }
    throw new Error('vring invariant broken: a store does not settle');
  }
  store32(va: bigint, value: number, whom: number = asWhom.system): void {
    this.store(va, BigInt(value >>> 0), 4, whom);
  }
  store16(va: bigint, value: number, whom: number = asWhom.system): void {
    this.store(va, BigInt(value & 0xffff), 2, whom);
  }

  // --- descriptors

  /** Linear address cut to what the mode has. */
  linear(address: bigint): bigint {
    return this.isLong ? BigInt.asUintN(64, address) : address & MASK32;
  }

  /**
   * Address of the descriptor that a selector names, or undefined beyond the table. `bytes`: how much of it must lie
   * within (system descriptors of long mode have 16).
   */
  descriptorAddress(selector: number, bytes = 8): bigint | undefined {
    const index = selector & 0xfff8;
    if (selector & 4) {
      if (!isPresent(this.get32(field.ldtAttributes)) || index + bytes - 1 > this.get32(field.ldtLimit))
        return undefined;
      return this.linear(this.get64(field.ldtBase) + BigInt(index));
    }
    if (index + bytes - 1 > this.get32(field.gdtLimit)) return undefined;
    return this.linear(this.get64(field.gdtBase) + BigInt(index));
  }

  /** The descriptor of a selector; beyond the table: the exception with the selector as error code. */
  readDescriptor(selector: number, otherwise: number = vector.GP, ext = 0): Descriptor {
    const address = this.descriptorAddress(selector);
    if (address === undefined) return this.raise(otherwise, (selector & 0xfffc) | ext);
    const both = this.load(address, 8, asWhom.system);
    return { low: Number(both & MASK32), high: Number(both >> 32n), address };
  }

  /** Base of a system descriptor: in long mode its upper half lies in the next eight bytes. */
  systemBase(d: Descriptor, selector: number, ext = 0): bigint {
    const low = BigInt(baseOf(d));
    if (!this.isLong) return low;
    if (this.descriptorAddress(selector, 16) === undefined) this.raiseGp((selector & 0xfffc) | ext);
    const upper = this.load(this.linear(d.address + 8n), 8, asWhom.system);
    if ((upper >> 40n) & 0x1fn) this.raiseGp((selector & 0xfffc) | ext);
    return low | ((upper & MASK32) << 32n);
  }

  /** Sets the accessed bit of a code or data descriptor in memory and gives the descriptor with it. */
  markAccessed(d: Descriptor): Descriptor {
    if (d.high & descriptor.accessed) return d;
    const high = (d.high | descriptor.accessed) >>> 0;
    this.store32(this.linear(d.address + 4n), high);
    return { ...d, high };
  }

  /** Puts a descriptor into a segment register. */
  setSegmentFrom(n: number, selector: number, d: Descriptor): void {
    this.setSegment(n, selector, BigInt(baseOf(d)), limitOf(d), d.high);
  }

  /** Whether an address that is used now is canonical: by CR4.LA57. */
  isCanonical(address: bigint): boolean {
    const bits = this.get32(field.cr4) & (1 << 12) ? 57 : 48;
    return BigInt.asUintN(64, BigInt.asIntN(bits, address)) === BigInt.asUintN(64, address);
  }

  /** Whether a base or an MSR may be loaded with an address: by the model's width (Intel SDM vol. 3, 4.5.2; AMD does the same). */
  isLoadable(address: bigint): boolean {
    const bits = 64 - Number(this.get64(field.addressUnused));
    return BigInt.asUintN(64, BigInt.asIntN(bits, address)) === BigInt.asUintN(64, address);
  }
}
