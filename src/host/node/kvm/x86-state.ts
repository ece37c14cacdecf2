/**
 * An x86 vCPU's state between its home (guest/x86/state.ts) and KVM's registers: arch/x86/include/uapi/asm/kvm.h. Where a row says
 * it, a register goes both ways by the same row.
 */
import { field as home, segBase, xmm } from '../../../guest/x86/state.js';
import type { X86Cpu } from '../../../guest/x86/system/cpu.js';
import { leaveReason, WAIT_FOR_SIPI } from '../../../guest/x86/system/leave.js';
import type { Vcpu } from '../../../guest/x86/system/vcpu.js';
import { call } from './abi.js';
import type { KvmVcpuCalls } from './vcpu.js';
import { TscOffset } from './x86-tsc.js';

/** `struct kvm_regs` in its order: numbers of the general registers as instructions encode them. */
const regsOrder = [0, 3, 1, 2, 6, 7, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];
const RIP = 128;
const RFLAGS = 136;
/** Segment registers in the order of `struct kvm_sregs`, by their encodings. */
const segmentsOrder = [1, 3, 0, 4, 5, 2];
const SEGMENT_BYTES = 24;
const sregs = {
  tr: 144,
  ldt: 168,
  gdt: 192,
  idt: 208,
  cr0: 224,
  cr2: 232,
  cr3: 240,
  cr4: 248,
  cr8: 256,
  efer: 264,
  apicBase: 272,
};
const EFER_LMA = 0x400n;
/** In a segment's attributes at home. */
const PRESENT = 0x8000;

/** Model-specific registers that are plain fields at home. Those that a host's KVM does not know stay there. */
const msrFields: readonly (readonly [index: number, offset: number])[] = [
  [0x174, home.sysenterCs],
  [0x175, home.sysenterEsp],
  [0x176, home.sysenterEip],
  [0x1a0, home.miscEnable],
  [0x277, home.pat],
  [0x2ff, home.mtrrDefType],
  ...Array.from({ length: 16 }, (_, i) => [0x200 + i, home.mtrrVariable + 8 * i] as const),
  ...[0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f].map(
    (index, i) => [index, home.mtrrFixed + 8 * i] as const,
  ),
  [0xc0000081, home.star],
  [0xc0000082, home.lstar],
  [0xc0000083, home.cstar],
  [0xc0000084, home.fmask],
  [0xc0000102, home.kernelGsBase],
  [0xc0000103, home.tscAux],
  [0xc0010010, home.amdSyscfg],
  [0xc0010015, home.amdHwcr],
];
const MSR_TSC = 0x10;
const MSR_TSC_ADJUST = 0x3b;
const MSR_TSC_DEADLINE = 0x6e0;

const event = {
  exceptionInjected: 0,
  exceptionVector: 1,
  exceptionHasError: 2,
  exceptionPending: 3,
  exceptionError: 4,
  interruptInjected: 8,
  interruptVector: 9,
  interruptSoft: 10,
  interruptShadow: 11,
  nmiInjected: 12,
  nmiPending: 13,
  nmiMasked: 14,
  flags: 20,
};
const VALID_NMI_PENDING = 1;
const VALID_SHADOW = 4;
const SHADOW_STI = 1;
const DEBUG_EXCEPTION = 1;

/** Areas of `struct kvm_xsave` (Intel SDM vol. 1, 13.4; FXSAVE64 layout of the legacy region). */
const xsave = { control: 0, status: 2, tags: 4, opcode: 6, ip: 8, dp: 16, mxcsr: 24, st: 32, xmm: 160, present: 512 };
const X87 = 1n;
const SSE = 2n;

const mpState = { runnable: 0, uninitialized: 1, initReceived: 2, halted: 3 } as const;

function block(bytes: number): { readonly bytes: Uint8Array; readonly view: DataView } {
  const buffer = new ArrayBuffer(bytes);
  return { bytes: new Uint8Array(buffer), view: new DataView(buffer) };
}

export interface X86StateOptions {
  readonly vcpu: KvmVcpuCalls;
  readonly cpu: X86Cpu;
  /** Value of IA32_APIC_BASE, and of CR8, at home; and back. Without `set` the controller is in the kernel. */
  readonly apic: {
    readonly cr8: number;
    readonly base: bigint;
    set?(cr8: number, base: bigint): void;
  };
  readTsc(): bigint;
  /** The first vCPU's state, whose counter this one's keeps its distance from. Absent: it is that. */
  readonly first?: X86KvmState | undefined;
  /** The local APIC lies in the kernel, where HLT waits too: its state, home → register page, and back. */
  readonly kernelApic?:
    | {
        write(page: DataView): void;
        /** Of a page that KVM gave: its timer is at its end, and the interrupt may not be in the page yet. */
        isTimerAtEnd(page: DataView): boolean;
        read(page: DataView, msrs: { readonly base: bigint; readonly tscDeadline: bigint }): void;
        readonly tscDeadline: bigint;
      }
    | undefined;
}

export class X86KvmState {
  readonly #options: X86StateOptions;
  readonly #vcpu: KvmVcpuCalls;
  readonly #home: Vcpu;
  readonly #regs = block(144);
  readonly #sregs = block(312);
  readonly #events = block(64);
  readonly #debug = block(128);
  readonly #xsave = block(4096);
  readonly #xcrs = block(392);
  readonly #mp = block(8);
  readonly #apic = block(1024);
  /** Segments that cannot be used, by their places, as they were at home: processors keep nothing but the selector of one. */
  readonly #unusable = new Map<number, { selector: number; limit: number; attributes: number }>();
  readonly #msrs: { readonly bytes: Uint8Array; readonly view: DataView };
  /** Rows of `msrFields` that KVM knows. */
  readonly #known: readonly (readonly [index: number, offset: number])[];
  /** Undefined: this KVM does not tell. */
  readonly tsc: TscOffset | undefined;
  /** The vCPU sleeps in HLT. */
  halted = false;

  constructor(options: X86StateOptions) {
    this.#options = options;
    this.#vcpu = options.vcpu;
    this.#home = options.cpu.vcpu;
    this.tsc = TscOffset.of(options.vcpu);
    this.#known = msrFields.filter(([index]) => this.#hasMsr(index));
    this.#msrs = block(8 + 16 * (this.#known.length + 2));
  }

  /** Whether KVM gives a register and takes back what it gave. */
  #hasMsr(index: number): boolean {
    const { bytes, view } = block(8 + 16);
    view.setUint32(0, 1, true);
    view.setUint32(8, index, true);
    return this.#vcpu.try(call.getMsrs, bytes) === 1 && this.#vcpu.try(call.setMsrs, bytes) === 1;
  }

  // --- home → KVM

  /** Gives KVM the state that lies at home. */
  load(): void {
    const vcpu = this.#vcpu;
    const cpu = this.#home;
    const regs = this.#regs.view;
    regsOrder.forEach((n, i) => {
      regs.setBigUint64(8 * i, cpu.getGpr(n), true);
    });
    regs.setBigUint64(RIP, cpu.pc, true);
    regs.setBigUint64(RFLAGS, BigInt(cpu.getFlags() >>> 0), true);
    this.#loadSregs();
    vcpu.call('take registers', call.setRegs, this.#regs.bytes);
    this.#loadFloat();
    this.#loadMsrs();
    this.#loadApic();
    const debug = this.#debug.view;
    for (let i = 0; i < 4; i++) debug.setBigUint64(8 * i, cpu.get64(home.dr + 8 * i), true);
    debug.setBigUint64(32, cpu.get64(home.dr + 8 * 6), true);
    debug.setBigUint64(40, cpu.get64(home.dr + 8 * 7), true);
    vcpu.call('take debug registers', call.setDebugRegs, this.#debug.bytes);
    this.#loadEvents();
    const waitsFor = cpu.get32(home.halted);
    this.halted = waitsFor !== 0;
    const run = waitsFor === WAIT_FOR_SIPI ? mpState.initReceived : this.halted ? mpState.halted : mpState.runnable;
    this.#mp.view.setUint32(0, this.#options.kernelApic ? run : mpState.runnable, true);
    vcpu.call('take its run state', call.setMpState, this.#mp.bytes);
  }

  #loadSregs(): void {
    const cpu = this.#home;
    const { view, bytes } = this.#sregs;
    const { apic } = this.#options;
    bytes.fill(0);
    segmentsOrder.forEach((n, i) => {
      this.#putSegment(
        SEGMENT_BYTES * i,
        cpu.getSelector(n),
        cpu.get64(segBase[n].offset),
        cpu.getLimit(n),
        cpu.getAttributes(n),
      );
    });
    // Where KVM looks for CPL.
    bytes[SEGMENT_BYTES * 5 + 16] = cpu.cpl;
    this.#putSegment(
      sregs.tr,
      cpu.get32(home.trSelector),
      cpu.get64(home.trBase),
      cpu.get32(home.trLimit),
      cpu.get32(home.trAttributes),
    );
    this.#putSegment(
      sregs.ldt,
      cpu.get32(home.ldtSelector),
      cpu.get64(home.ldtBase),
      cpu.get32(home.ldtLimit),
      cpu.get32(home.ldtAttributes),
    );
    view.setBigUint64(sregs.gdt, cpu.get64(home.gdtBase), true);
    view.setUint16(sregs.gdt + 8, cpu.get32(home.gdtLimit), true);
    view.setBigUint64(sregs.idt, cpu.get64(home.idtBase), true);
    view.setUint16(sregs.idt + 8, cpu.get32(home.idtLimit), true);
    view.setBigUint64(sregs.cr0, BigInt(cpu.get32(home.cr0)), true);
    view.setBigUint64(sregs.cr2, cpu.get64(home.cr2), true);
    view.setBigUint64(sregs.cr3, cpu.get64(home.cr3), true);
    view.setBigUint64(sregs.cr4, BigInt(cpu.get32(home.cr4)), true);
    view.setBigUint64(sregs.cr8, BigInt(apic.cr8), true);
    view.setBigUint64(sregs.efer, BigInt(cpu.get32(home.efer)), true);
    view.setBigUint64(sregs.apicBase, apic.base, true);
    this.#vcpu.call('take control registers', call.setSregs, bytes);
  }

  #putSegment(at: number, selector: number, base: bigint, limit: number, attributes: number): void {
    const { view, bytes } = this.#sregs;
    if (attributes & PRESENT) this.#unusable.delete(at);
    else this.#unusable.set(at, { selector, limit, attributes });
    view.setBigUint64(at, base, true);
    view.setUint32(at + 8, limit, true);
    view.setUint16(at + 12, selector, true);
    const bit = (n: number) => (attributes >>> n) & 1;
    // type present dpl db s l g avl unusable
    bytes.set(
      [
        (attributes >>> 8) & 15,
        bit(15),
        (attributes >>> 13) & 3,
        bit(22),
        bit(12),
        bit(21),
        bit(23),
        bit(20),
        bit(15) ^ 1,
      ],
      at + 14,
    );
  }

  #loadFloat(): void {
    const cpu = this.#home;
    const { view, bytes } = this.#xsave;
    // Parts that home does not know stay as KVM has them.
    this.#vcpu.call('give its floating-point state', call.getXsave, bytes);
    const top = cpu.get32(home.fpTop) & 7;
    view.setUint16(xsave.control, cpu.get32(home.fpControl), true);
    view.setUint16(xsave.status, (cpu.get32(home.fpStatus) & 0xc7ff) | (top << 11), true);
    view.setUint16(xsave.tags, ~cpu.get32(home.fpEmpty) & 0xff, true);
    view.setUint16(xsave.opcode, cpu.get32(home.fpOpcode), true);
    view.setBigUint64(xsave.ip, cpu.get64(home.fpIp), true);
    view.setBigUint64(xsave.dp, cpu.get64(home.fpDp), true);
    view.setUint32(xsave.mxcsr, cpu.get32(home.mxcsr), true);
    for (let i = 0; i < 8; i++) {
      const from = home.fpr + 16 * ((top + i) & 7);
      view.setBigUint64(xsave.st + 16 * i, cpu.get64(from), true);
      view.setBigUint64(xsave.st + 16 * i + 8, cpu.get64(from + 8) & 0xffffn, true);
    }
    for (let i = 0; i < 16; i++) bytes.set(cpu.bytes(xmm[i].offset, 16), xsave.xmm + 16 * i);
    view.setBigUint64(xsave.present, view.getBigUint64(xsave.present, true) | X87 | SSE, true);
    this.#vcpu.call('take floating-point state', call.setXsave, bytes);
    const xcrs = this.#xcrs.view;
    xcrs.setUint32(0, 1, true);
    xcrs.setUint32(8, 0, true);
    xcrs.setBigUint64(16, cpu.get64(home.xcr0), true);
    this.#vcpu.call('take XCR0', call.setXcrs, this.#xcrs.bytes);
  }

  #loadMsrs(): void {
    const cpu = this.#home;
    const { view, bytes } = this.#msrs;
    let count = 0;
    const put = (index: number, value: bigint) => {
      view.setUint32(8 + 16 * count, index, true);
      view.setBigUint64(8 + 16 * count + 8, value, true);
      count++;
    };
    for (const [index, offset] of this.#known) put(index, cpu.get64(offset));
    if (this.tsc) this.#loadTsc(this.tsc);
    else put(MSR_TSC, this.#options.cpu.tscNow());
    put(MSR_TSC_ADJUST, cpu.get64(home.tscAdjust));
    view.setUint32(0, count, true);
    const done = this.#vcpu.call('take model-specific registers', call.setMsrs, bytes);
    // TSC_ADJUST is the last, and one that old kernels lack.
    if (done < count - 1) {
      const index = view.getUint32(8 + 16 * done, true).toString(16);
      throw new Error(`vring invariant broken: KVM does not take the MSR 0x${index} that it gave`);
    }
  }

  /** The counter goes on from where it was at home. */
  #loadTsc(tsc: TscOffset): void {
    const { cpu, first } = this.#options;
    if (first?.tsc) {
      tsc.ticks = first.tsc.ticks + this.#home.get64(home.tscOffset) - first.#home.get64(home.tscOffset);
      return;
    }
    const before = this.#msr(call.getMsrs, MSR_TSC, 0n);
    tsc.ticks += cpu.tscNow() - before;
  }

  #loadApic(): void {
    const { kernelApic } = this.#options;
    if (!kernelApic) return;
    kernelApic.write(this.#apic.view);
    this.#vcpu.call('take a local APIC', call.setLapic, this.#apic.bytes);
    this.#msr(call.setMsrs, MSR_TSC_DEADLINE, kernelApic.tscDeadline);
  }

  /**
   * Before anything else is fetched: KVM keeps the interrupt of a timer that has run out by itself, and makes it a request of the local
   * APIC only on its way to the guest. Later the timer may run out once more, which is nothing here: home has what the page says.
   */
  #fetchApic(): void {
    const { kernelApic } = this.#options;
    if (!kernelApic) return;
    this.#vcpu.call('give its local APIC', call.getLapic, this.#apic.bytes);
    if (!kernelApic.isTimerAtEnd(this.#apic.view)) return;
    this.#vcpu.approachGuest();
    this.#vcpu.call('give its local APIC', call.getLapic, this.#apic.bytes);
  }

  #saveApic(base: bigint): void {
    const { kernelApic } = this.#options;
    if (!kernelApic) return;
    kernelApic.read(this.#apic.view, { base, tscDeadline: this.#msr(call.getMsrs, MSR_TSC_DEADLINE, 0n) });
  }

  /** One register; gives its value. */
  #msr(request: number, index: number, value: bigint): bigint {
    const { bytes, view } = block(8 + 16);
    view.setUint32(0, 1, true);
    view.setUint32(8, index, true);
    view.setBigUint64(16, value, true);
    this.#vcpu.call('exchange a model-specific register', request, bytes);
    return view.getBigUint64(16, true);
  }

  #loadEvents(): void {
    const cpu = this.#home;
    const { view, bytes } = this.#events;
    this.#vcpu.call('give its events', call.getVcpuEvents, bytes);
    bytes.fill(0, 0, 20);
    const injected = cpu.get32(home.injectedInterrupt);
    if (injected !== 0) {
      bytes[event.interruptInjected] = 1;
      bytes[event.interruptVector] = injected - 1;
      cpu.set32(home.injectedInterrupt, 0);
    }
    const traps = cpu.get32(home.debugPending);
    if (traps !== 0) {
      bytes[event.exceptionInjected] = 1;
      bytes[event.exceptionVector] = DEBUG_EXCEPTION;
      cpu.set32(home.dr + 8 * 6, cpu.get32(home.dr + 8 * 6) | traps);
      cpu.set32(home.debugPending, 0);
    }
    bytes[event.interruptShadow] = cpu.get32(home.interruptShadow) ? SHADOW_STI : 0;
    bytes[event.nmiPending] = cpu.get32(home.nmiPending);
    bytes[event.nmiMasked] = cpu.get32(home.nmiBlocked);
    view.setUint32(event.flags, VALID_NMI_PENDING | VALID_SHADOW, true);
    this.#vcpu.call('take events', call.setVcpuEvents, bytes);
  }

  // --- KVM → home

  /** Brings the state home. No exit is under way. */
  save(): void {
    const vcpu = this.#vcpu;
    const cpu = this.#home;
    this.#fetchApic();
    vcpu.call('give its registers', call.getRegs, this.#regs.bytes);
    this.#saveSregs();
    const regs = this.#regs.view;
    const long = cpu.isLong && (cpu.getAttributes(1) >>> 21) & 1;
    // Outside 64-bit code the upper halves of RAX to RDI are zero at home.
    regsOrder.forEach((n, i) => {
      const value = regs.getBigUint64(8 * i, true);
      cpu.setGpr(n, long || n > 7 ? value : value & 0xffffffffn);
    });
    cpu.pc = regs.getBigUint64(RIP, true);
    const flags = Number(regs.getBigUint64(RFLAGS, true) & 0xffffffffn);
    cpu.setFlags(flags);
    this.#saveFloat();
    this.#saveMsrs();
    this.#saveApic(this.#sregs.view.getBigUint64(sregs.apicBase, true));
    vcpu.call('give its debug registers', call.getDebugRegs, this.#debug.bytes);
    const debug = this.#debug.view;
    for (let i = 0; i < 4; i++) cpu.set64(home.dr + 8 * i, debug.getBigUint64(8 * i, true));
    cpu.set64(home.dr + 8 * 6, debug.getBigUint64(32, true));
    cpu.set64(home.dr + 8 * 7, debug.getBigUint64(40, true));
    this.#saveEvents();
    vcpu.call('give its run state', call.getMpState, this.#mp.bytes);
    const run = this.#mp.view.getUint32(0, true);
    if (this.#options.kernelApic) this.halted = run === mpState.halted;
    const waits = run === mpState.uninitialized || run === mpState.initReceived;
    cpu.set32(home.halted, waits ? WAIT_FOR_SIPI : this.halted ? leaveReason.halt : 0);
    cpu.call('flush_tlb_pages', 0);
    cpu.updateMode();
  }

  #saveSregs(): void {
    const cpu = this.#home;
    const { view, bytes } = this.#sregs;
    this.#vcpu.call('give its control registers', call.getSregs, bytes);
    segmentsOrder.forEach((n, i) => {
      const s = this.#takeSegment(SEGMENT_BYTES * i);
      cpu.setSegment(n, s.selector, s.base, s.limit, s.attributes);
    });
    const tr = this.#takeSegment(sregs.tr);
    cpu.set32(home.trSelector, tr.selector);
    cpu.set64(home.trBase, tr.base);
    cpu.set32(home.trLimit, tr.limit);
    cpu.set32(home.trAttributes, tr.attributes);
    const ldt = this.#takeSegment(sregs.ldt);
    cpu.set32(home.ldtSelector, ldt.selector);
    cpu.set64(home.ldtBase, ldt.base);
    cpu.set32(home.ldtLimit, ldt.limit);
    cpu.set32(home.ldtAttributes, ldt.attributes);
    cpu.set64(home.gdtBase, view.getBigUint64(sregs.gdt, true));
    cpu.set32(home.gdtLimit, view.getUint16(sregs.gdt + 8, true));
    cpu.set64(home.idtBase, view.getBigUint64(sregs.idt, true));
    cpu.set32(home.idtLimit, view.getUint16(sregs.idt + 8, true));
    const word = (at: number) => view.getBigUint64(at, true);
    cpu.set64(home.cr0, word(sregs.cr0));
    cpu.set64(home.cr2, word(sregs.cr2));
    cpu.set64(home.cr3, word(sregs.cr3));
    cpu.set64(home.cr4, word(sregs.cr4));
    cpu.set64(home.efer, word(sregs.efer));
    // In real mode CPL is 0, in virtual-8086 mode 3, otherwise what SS says.
    const flags = Number(this.#regs.view.getBigUint64(RFLAGS, true) & 0xffffffffn);
    const isProtected = (word(sregs.cr0) & 1n) !== 0n;
    cpu.cpl = !isProtected ? 0 : (flags >>> 17) & 1 ? 3 : bytes[SEGMENT_BYTES * 5 + 16] & 3;
    if ((word(sregs.efer) & EFER_LMA) === 0n && isPae(word(sregs.cr0), word(sregs.cr4))) this.#reloadPdptes();
    this.#options.apic.set?.(Number(word(sregs.cr8)), word(sregs.apicBase));
  }

  /** The page-directory pointers that KVM holds are those that lie in memory, but for a guest that changed them since. */
  #reloadPdptes(): void {
    const cpu = this.#home;
    const table = cpu.get64(home.cr3) & 0xffffffe0n;
    for (let i = 0; i < 4; i++) {
      const low = cpu.call('phys_load32', table + BigInt(8 * i)) as number;
      const high = cpu.call('phys_load32', table + BigInt(8 * i + 4)) as number;
      cpu.set64(home.pdpte + 8 * i, (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0));
    }
  }

  #takeSegment(at: number): { selector: number; base: bigint; limit: number; attributes: number } {
    const { view, bytes } = this.#sregs;
    const [type, present, dpl, db, s, l, g, avl, unusable] = bytes.subarray(at + 14, at + 23);
    const selector = view.getUint16(at + 12, true);
    const base = view.getBigUint64(at, true);
    if (unusable) {
      const known = this.#unusable.get(at);
      return known?.selector === selector ? { ...known, base } : { selector, base, limit: 0, attributes: 0 };
    }
    const attributes =
      (type << 8) | (s << 12) | (dpl << 13) | (present << 15) | (avl << 20) | (l << 21) | (db << 22) | (g << 23);
    return { selector, base, limit: view.getUint32(at + 8, true), attributes };
  }

  #saveFloat(): void {
    const cpu = this.#home;
    const { view, bytes } = this.#xsave;
    this.#vcpu.call('give its floating-point state', call.getXsave, bytes);
    const present = view.getBigUint64(xsave.present, true);
    // A part that is in its initial state need not lie in the area.
    if ((present & X87) === 0n) {
      bytes.fill(0, 0, xsave.mxcsr);
      bytes.fill(0, xsave.st, xsave.xmm);
      view.setUint16(xsave.control, 0x37f, true);
    }
    if ((present & SSE) === 0n) bytes.fill(0, xsave.xmm, xsave.xmm + 256);
    const status = view.getUint16(xsave.status, true);
    const top = (status >>> 11) & 7;
    cpu.set32(home.fpControl, view.getUint16(xsave.control, true));
    cpu.set32(home.fpStatus, status & 0xc7ff);
    cpu.set32(home.fpTop, top);
    cpu.set32(home.fpEmpty, ~view.getUint8(xsave.tags) & 0xff);
    cpu.set32(home.fpOpcode, view.getUint16(xsave.opcode, true));
    cpu.set64(home.fpIp, view.getBigUint64(xsave.ip, true));
    cpu.set64(home.fpDp, view.getBigUint64(xsave.dp, true));
    cpu.set32(home.mxcsr, view.getUint32(xsave.mxcsr, true));
    for (let i = 0; i < 8; i++) {
      const to = home.fpr + 16 * ((top + i) & 7);
      cpu.set64(to, view.getBigUint64(xsave.st + 16 * i, true));
      cpu.set64(to + 8, BigInt(view.getUint16(xsave.st + 16 * i + 8, true)));
    }
    for (let i = 0; i < 16; i++)
      cpu.bytes(xmm[i].offset, 16).set(bytes.subarray(xsave.xmm + 16 * i, xsave.xmm + 16 * i + 16));
    this.#vcpu.call('give XCR0', call.getXcrs, this.#xcrs.bytes);
    cpu.set64(home.xcr0, this.#xcrs.view.getBigUint64(16, true));
  }

  #saveMsrs(): void {
    const cpu = this.#home;
    const { view, bytes } = this.#msrs;
    const indices = [...this.#known.map(([index]) => index), MSR_TSC, MSR_TSC_ADJUST];
    indices.forEach((index, i) => {
      view.setUint32(8 + 16 * i, index, true);
    });
    view.setUint32(0, indices.length, true);
    const done = this.#vcpu.call('give its model-specific registers', call.getMsrs, bytes);
    this.#known.forEach(([, offset], i) => {
      if (i < done) cpu.set64(offset, view.getBigUint64(8 + 16 * i + 8, true));
    });
    const at = 8 + 16 * this.#known.length + 8;
    const { first, readTsc } = this.#options;
    const ticks =
      first?.tsc && this.tsc
        ? first.#home.get64(home.tscOffset) + this.tsc.ticks - first.tsc.ticks
        : view.getBigUint64(at, true) - readTsc();
    cpu.set64(home.tscOffset, BigInt.asUintN(64, ticks));
    if (done > this.#known.length + 1) cpu.set64(home.tscAdjust, view.getBigUint64(at + 16, true));
  }

  #saveEvents(): void {
    const cpu = this.#home;
    const { bytes } = this.#events;
    this.#vcpu.call('give its events', call.getVcpuEvents, bytes);
    // A fault or INT n whose handler was not reached yet comes again with its instruction; an interrupt that was acknowledged
    // does not, nor does a debug trap.
    const hardware = bytes[event.interruptInjected] && !bytes[event.interruptSoft];
    cpu.set32(home.injectedInterrupt, hardware ? bytes[event.interruptVector] + 1 : 0);
    cpu.set32(home.interruptShadow, bytes[event.interruptShadow] ? 1 : 0);
    cpu.set32(home.nmiPending, bytes[event.nmiPending] || bytes[event.nmiInjected] ? 1 : 0);
    cpu.set32(home.nmiBlocked, bytes[event.nmiMasked] && !bytes[event.nmiInjected] ? 1 : 0);
    const isDebug = bytes[event.exceptionInjected] && bytes[event.exceptionVector] === DEBUG_EXCEPTION;
    cpu.set32(home.debugPending, isDebug ? cpu.get32(home.dr + 8 * 6) & 0x600f : 0);
    cpu.set32(home.debugHeld, 0);
  }
}

function isPae(cr0: bigint, cr4: bigint): boolean {
  return (cr0 & 0x80000000n) !== 0n && (cr4 & 0x20n) !== 0n;
}
