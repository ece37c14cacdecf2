/** A KVM machine with x86 vCPUs: what `KvmAccelerator` leaves to the architecture. */
import { type AcceleratorHost, type ExitCounters, exitIndex, type Watchpoint } from '../../../accel/index.js';
import { VringError } from '../../../base/index.js';
import type { VmExit } from '../../../guest/guest-cpu.js';
import { qemuSpelling } from '../../../guest/x86/cpuid.js';
import type { CpuModel } from '../../../guest/x86/models.js';
import { field as home } from '../../../guest/x86/state.js';
import type { X86Cpu } from '../../../guest/x86/system/cpu.js';
import { WAIT_FOR_SIPI } from '../../../guest/x86/system/leave.js';
import { isTimerAtEnd, type LocalApic, readRegisterPage, writeRegisterPage } from '../../../hw/index.js';
import { type CapabilityName, call, exit, runPage } from './abi.js';
import { KvmAccelerator, type KvmArchitecture, type KvmAttention, type KvmDebug, UnknownExit } from './accelerator.js';
import { DeferredWrites } from './deferred-writes.js';
import { KernelApic } from './kernel-apic.js';
import {
  bestIrqchip,
  type IrqchipPlace,
  irqchipLacks,
  type KernelInterrupts,
  type X86Controllers,
} from './kernel-interrupts.js';
import { KernelIrqchip } from './kernel-irqchip.js';
import type { Native } from './native.js';
import { Notifications, type NotificationsConfig } from './notifications.js';
import type { KvmDebugging } from './probe.js';
import { Secondaries, type SecondaryConfig } from './secondary.js';
import { KvmSystem, type KvmVm } from './system.js';
import { KvmVcpu, type KvmVcpuCalls } from './vcpu.js';
import { cpuidTable, hostFeatures, missingFeatures } from './x86-cpuid.js';
import { dataSlots, X86DebugSlots } from './x86-debug.js';
import { type Handled, X86Handlers } from './x86-handlers.js';
import { X86KvmState, type X86StateOptions } from './x86-state.js';

/** Where processors that cannot run real mode keep what they need for it: in the hole below the firmware's ROM, as QEMU has it. */
const IDENTITY_MAP_GPA = 0xfeffc000;
const TSS_GPA = 0xfeffd000;

const MSR_APIC_BASE = 0x1b;
const MSR_TSC_DEADLINE = 0x6e0;
const IF = 0x200;
/** MSRs that KVM hands to the machine: those it does not know, refuses, or is told to. */
const MSR_EXITS = 1 | 2 | 4;

/** What every x86 machine of KVM needs. */
const needed = [
  'USER_MEMORY',
  'EXT_CPUID',
  'MP_STATE',
  'VCPU_EVENTS',
  'DEBUGREGS',
  'XSAVE',
  'XCRS',
  'READONLY_MEM',
  'IMMEDIATE_EXIT',
] as const;

export interface X86KvmOptions {
  /** All vCPUs, by APIC id. The first runs in the thread that runs the machine. */
  readonly cpus: readonly X86Cpu[];
  /** The board's local APICs, of the same numbers. */
  readonly lapics: readonly LocalApic[];
  /** What the guest is to see: the vCPUs' model, or one that they are about to be given. */
  readonly model: CpuModel;
  readonly host: AcceleratorHost;
  /** The board's other controllers, for those in the kernel. Absent: all lie with the board. */
  readonly controllers?: Omit<X86Controllers, 'lapics'> | undefined;
  /** Where interrupt controllers lie. Unless given: in the kernel, as far as it has them, which `notice` hears of. */
  readonly irqchip?: IrqchipPlace | undefined;
  readonly notice?: ((sentence: string) => void) | undefined;
  /** The machine's memory: RAM blocks are offsets in it. */
  readonly memory: ArrayBufferLike;
  readonly attention: KvmAttention;
  /** Ticks of the time-stamp counter per second. */
  readonly tscHz: number;
  /** What this KVM can do for a debugger. */
  readonly debug: KvmDebugging;
  /** Starts the thread of a further vCPU, which makes a `SecondaryVcpu` of the configuration. Needed for more than one. */
  readonly startVcpu?: ((config: SecondaryConfig) => void) | undefined;
  /** Starts the thread that calls `waitForNotifications`. Absent: every notification ends a vCPU's turn. */
  readonly startNotify?: ((config: NotificationsConfig) => void) | undefined;
  /** A device is asked to be notified without exits (ioeventfd=on). */
  readonly asksForNotify?: boolean | undefined;
  /** A further vCPU has shut down. */
  readonly shutdown?: (() => void) | undefined;
  /** Path of KVM's device, and the calls to it, for tests. */
  readonly device?: string | undefined;
  readonly native?: Native | undefined;
}

/** Throws VringError `kvm-unavailable`, `kvm-irqchip`, `kvm-cpu-features`, `kvm-tsc` or `kvm-call`: the sentence says what is in the way. */
export function createX86Kvm(wanted: X86KvmOptions): KvmAccelerator {
  const opened: { close(): void }[] = [];
  try {
    const system = new KvmSystem(wanted.device, wanted.native);
    opened.push(system);
    system.require(...needed);
    const place = placeIrqchip(system, wanted);
    const controlled = place === 'off' ? { ...wanted, controllers: undefined } : wanted;
    const missing = missingFeatures(wanted.model, hostFeatures(system));
    if (missing.length > 0) {
      const names = missing.map(qemuSpelling).join(', ');
      throw new VringError('kvm-cpu-features', `this host's KVM lacks CPU features that the machine has: ${names}`);
    }
    const vm = system.createVm();
    opened.push(vm);
    vm.setMemory(wanted.memory);
    const notifications = takeNotifications(vm, wanted);
    const options = notifications ? { ...controlled, host: notifications.host } : controlled;
    const gpa = new Uint8Array(new ArrayBuffer(8));
    new DataView(gpa.buffer).setBigUint64(0, BigInt(IDENTITY_MAP_GPA), true);
    vm.call('set aside a page', call.setIdentityMapAddress, gpa);
    vm.call('set aside a task-state segment', call.setTssAddress, TSS_GPA);
    openMsrs(vm, options.controllers === undefined);
    const controllers = options.controllers && { ...options.controllers, lapics: options.lapics };
    const interrupts = controllers && new (place === 'on' ? KernelIrqchip : KernelApic)(vm, controllers);
    const vcpu = new KvmVcpu(vm, 0);
    opened.push(vcpu);
    setTscRate(vcpu, options.tscHz);
    const table = cpuidTable(options.model, { apicId: 0, cpus: options.cpus.length, tscHz: options.tscHz });
    vcpu.call("take the model's CPUID", call.setCpuid2, table);
    const secondaries = startSecondaries(vm, options, interrupts);
    if (secondaries) opened.push(secondaries);
    return new KvmAccelerator({
      vm,
      vcpu,
      secondaries,
      notifications,
      deferred: DeferredWrites.begin(vm, vcpu, options.host, interrupts?.hidden),
      host: options.host,
      attention: options.attention,
      architecture: (exits) => new X86Architecture(options, vcpu, exits, interrupts, secondaries),
    });
  } catch (error) {
    for (const each of opened.reverse()) each.close();
    throw error;
  }
}

/** Throws VringError `kvm-irqchip` where the kernel does not have what is asked for. */
function placeIrqchip(system: KvmSystem, { controllers, irqchip, notice }: X86KvmOptions): IrqchipPlace {
  if (controllers === undefined) return 'off';
  const has = (name: CapabilityName) => system.check(name) !== 0;
  if (irqchip === 'on' && !controllers.fitsKernel)
    throw new VringError(
      'kvm-irqchip',
      'kernel-irqchip=on is for boards with 8259s, an 8254 and one I/O APIC; split does',
    );
  if (irqchip !== undefined) {
    const name = irqchipLacks(irqchip, has);
    if (name === undefined) return irqchip;
    throw new VringError('kvm-irqchip', `this host's KVM lacks KVM_CAP_${name}, which kernel-irqchip=${irqchip} needs`);
  }
  const place = bestIrqchip(has, controllers.fitsKernel);
  if (place !== 'on' && (controllers.fitsKernel || place === 'off')) {
    const lacking = `this host's KVM lacks KVM_CAP_${irqchipLacks('on', has)}`;
    notice?.(`KVM's interrupt controllers not used (kernel-irqchip=${place}): ${lacking}`);
  }
  return place;
}

/** MSRs of the machine's own that KVM does not know, and the deadline timer of a local APIC that is the board's. */
function openMsrs(vm: KvmVm, boardHasApic: boolean): void {
  vm.system.require('X86_USER_SPACE_MSR');
  vm.enable('hand over model-specific registers', 'X86_USER_SPACE_MSR', MSR_EXITS);
  if (!boardHasApic) return;
  vm.system.require('X86_MSR_FILTER');
  // One range: a bitmap with a bit a register; 0: not KVM's.
  const bitmap = new Uint8Array(new ArrayBuffer(64));
  const filter = new DataView(new ArrayBuffer(0x188));
  filter.setUint32(8, 3, true);
  filter.setUint32(12, 1, true);
  filter.setUint32(16, MSR_TSC_DEADLINE, true);
  filter.setBigUint64(24, vm.system.native.addressOf(bitmap), true);
  vm.call('hand over the deadline timer', call.setMsrFilter, new Uint8Array(filter.buffer));
}

/** Undefined: each of them ends a vCPU's turn. */
function takeNotifications(vm: KvmVm, options: X86KvmOptions): Notifications | undefined {
  const { host, startNotify, asksForNotify, notice } = options;
  if (!startNotify) return undefined;
  if (vm.system.check('IOEVENTFD') === 0) {
    if (asksForNotify) notice?.("ioeventfd=on is without effect: this host's KVM lacks KVM_CAP_IOEVENTFD");
    return undefined;
  }
  return new Notifications({ vm, host, unlessAsked: options.cpus.length > 1, start: startNotify });
}

/** Threads of all vCPUs but the first. Throws VringError `kvm-vcpus`. */
function startSecondaries(
  vm: KvmVm,
  options: X86KvmOptions,
  apic: KernelInterrupts | undefined,
): Secondaries | undefined {
  const { host, model, startVcpu } = options;
  const cpus = options.cpus.length;
  if (cpus === 1) return undefined;
  const most = Math.max(vm.system.check('MAX_VCPUS'), vm.system.check('NR_VCPUS'), 1);
  if (cpus > most) {
    const vcpus = most === 1 ? 'vCPU' : 'vCPUs';
    throw new VringError('kvm-vcpus', `this host's KVM has at most ${most} ${vcpus}, not ${cpus}`);
  }
  if (!apic || !startVcpu)
    throw new VringError(
      'kvm-vcpus',
      'more than one vCPU needs local APICs in the kernel (kernel-irqchip=on or split)',
    );
  return new Secondaries(
    vm,
    cpus - 1,
    {
      ...host,
      readMsr: (vcpu, index) => options.cpus[vcpu].readMsr(index),
      writeMsr: (vcpu, index, value) => options.cpus[vcpu].writeMsr(index, value),
      endOfInterrupt: (vector) => apic.endOfInterrupt(vector),
      shutdown: () => options.shutdown?.(),
    },
    (id, shared) =>
      startVcpu({
        vmFd: vm.fd,
        id,
        shared,
        cpuid: cpuidTable(model, { apicId: id, cpus, tscHz: options.tscHz }),
        tscKhz: Math.round(options.tscHz / 1000),
      }),
  );
}

function setTscRate(vcpu: KvmVcpu, tscHz: number): void {
  const khz = Math.round(tscHz / 1000);
  if (Math.abs(vcpu.try(call.getTscKhz) - khz) <= khz / 4000) return;
  if (vcpu.try(call.setTscKhz, khz) >= 0) return;
  const has = vcpu.try(call.getTscKhz);
  throw new VringError(
    'kvm-tsc',
    `this host's time-stamp counter runs at ${has} kHz and cannot be scaled to the machine's ${khz} kHz`,
  );
}

function kernelApicState(lapic: LocalApic, nowNs: () => number): X86StateOptions['kernelApic'] {
  return {
    write: (page) => writeRegisterPage(lapic, page),
    isTimerAtEnd,
    read: (page, msrs) => readRegisterPage(lapic, page, msrs, nowNs()),
    get tscDeadline() {
      return lapic.state.tscDeadline;
    },
  };
}

/** The state of a vCPU by its number. */
function stateOf(
  vcpu: KvmVcpuCalls,
  id: number,
  options: X86KvmOptions,
  inKernel: boolean,
  first: X86KvmState | undefined,
): X86KvmState {
  const lapic = options.lapics[id];
  const { controllers, host } = options;
  return new X86KvmState({
    vcpu,
    cpu: options.cpus[id],
    apic: {
      get cr8() {
        return lapic.cr8;
      },
      get base() {
        return lapic.readMsr(MSR_APIC_BASE) ?? 0n;
      },
      set(cr8, base) {
        // Where the kernel has it, its page says all.
        if (inKernel) return;
        lapic.cr8 = cr8;
        if (base !== lapic.readMsr(MSR_APIC_BASE)) lapic.writeMsr(MSR_APIC_BASE, base);
      },
    },
    readTsc: () => host.readTsc(),
    first,
    kernelApic: controllers && kernelApicState(lapic, () => controllers.nowNs()),
  });
}

class X86Architecture implements KvmArchitecture {
  readonly #options: X86KvmOptions;
  readonly #vcpu: KvmVcpu;
  readonly #exits: ExitCounters;
  readonly #state: X86KvmState;
  /** All vCPUs', by number. */
  readonly #calls: readonly KvmVcpuCalls[];
  readonly #furtherStates: readonly X86KvmState[];
  readonly #cpu: X86Cpu;
  readonly #lapic: LocalApic;
  readonly #kernelInterrupts: KernelInterrupts | undefined;
  /** The interrupt controller has something, or may have. */
  #pending = true;
  #inKvm = false;
  #debug = new X86DebugSlots();
  #stepping = false;
  #debugging = false;
  /** By vCPU; so are handlers that are watched, by address, while no debugger is there. */
  readonly #handlers: readonly X86Handlers[];
  #watched: readonly ReadonlyMap<bigint, Handled>[] = [];
  /** A further vCPU has other handlers than those that are watched. */
  #furtherChanged = false;
  /** vCPUs that carry out the first instruction of one of them. */
  readonly #past = new Set<number>();

  constructor(
    options: X86KvmOptions,
    vcpu: KvmVcpu,
    exits: ExitCounters,
    kernelInterrupts: KernelInterrupts | undefined,
    secondaries: Secondaries | undefined,
  ) {
    this.#options = options;
    [this.#cpu] = options.cpus as [X86Cpu];
    [this.#lapic] = options.lapics as [LocalApic];
    this.#kernelInterrupts = kernelInterrupts;
    this.#vcpu = vcpu;
    this.#exits = exits;
    this.#calls = [vcpu, ...(secondaries?.calls() ?? [])];
    this.#handlers = this.#calls.map((each, id) => new X86Handlers(each, options.cpus[id]));
    const isInKernel = kernelInterrupts !== undefined;
    this.#state = stateOf(vcpu, 0, options, isInKernel, undefined);
    this.#furtherStates = this.#calls.slice(1).map((each, i) => stateOf(each, i + 1, options, isInKernel, this.#state));
  }

  load(): void {
    this.#state.load();
    for (const state of this.#furtherStates) state.load();
    if (this.#kernelInterrupts) this.#kernelInterrupts.take();
    else this.#vcpu.view.setBigUint64(runPage.cr8, BigInt(this.#lapic.cr8), true);
    this.#inKvm = true;
    this.#pending = true;
  }

  save(): void {
    this.#kernelInterrupts?.give();
    this.#state.save();
    for (const state of this.#furtherStates) state.save();
    this.#inKvm = false;
  }

  beforeEntry(): void {
    const { bytes } = this.#vcpu;
    const interrupts = this.#lapic;
    if (this.#kernelInterrupts) {
      this.#kernelInterrupts.start();
      if (this.#pending && !this.#kernelInterrupts.takesExternal) this.#offerExternal();
      return;
    }
    bytes[runPage.cr8] = interrupts.cr8;
    if (!this.#pending) return;
    if (!interrupts.pending()) {
      this.#pending = false;
      bytes[runPage.requestInterruptWindow] = 0;
      return;
    }
    if (bytes[runPage.readyForInterruptInjection] && this.#inject(interrupts.acknowledge())) {
      if (!interrupts.pending()) {
        this.#pending = false;
        bytes[runPage.requestInterruptWindow] = 0;
        return;
      }
    }
    bytes[runPage.requestInterruptWindow] = 1;
  }

  /** The 8259s' interrupt, where the kernel's local APIC lets it through. */
  #offerExternal(): void {
    const { bytes } = this.#vcpu;
    const { pic } = this.#options.controllers as Omit<X86Controllers, 'lapics'>;
    if (pic.state.INTR && bytes[runPage.readyForInterruptInjection]) this.#inject(pic.acknowledge());
    this.#pending = pic.state.INTR;
    bytes[runPage.requestInterruptWindow] = this.#pending ? 1 : 0;
  }

  #inject(vector: number): boolean {
    const bytes = new Uint8Array(new ArrayBuffer(4));
    new DataView(bytes.buffer).setUint32(0, vector, true);
    this.#vcpu.call('take an interrupt', call.interrupt, bytes);
    this.#vcpu.bytes[runPage.readyForInterruptInjection] = 0;
    return true;
  }

  afterExit(): void {
    if (this.#kernelInterrupts) return;
    const { bytes } = this.#vcpu;
    const interrupts = this.#lapic;
    if (bytes[runPage.cr8] !== interrupts.cr8) interrupts.cr8 = bytes[runPage.cr8];
  }

  setInterruptPending(pending: boolean): void {
    if (pending) this.#pending = true;
  }

  raiseNmi(): void {
    if (this.#inKvm) this.#vcpu.call('take a non-maskable interrupt', call.nmi);
    else this.#cpu.raiseNmi();
  }

  wake(): boolean {
    // There the vCPUs sleep in the guest.
    if (this.#kernelInterrupts) return true;
    const cpu = this.#cpu;
    const interrupts = this.#lapic;
    if (!this.#inKvm) {
      if (cpu.vcpu.get32(home.halted) === 0) return true;
      const open = (cpu.vcpu.get32(home.eflags) & IF) !== 0 && interrupts.pending();
      if (!open && cpu.vcpu.get32(home.nmiPending) === 0) return false;
      cpu.vcpu.set32(home.halted, 0);
      return true;
    }
    const open = this.#vcpu.bytes[runPage.ifFlag] !== 0 && interrupts.pending();
    if (!open && !this.#nmiPending()) return false;
    this.#state.halted = false;
    return true;
  }

  #nmiPending(): boolean {
    const events = new Uint8Array(new ArrayBuffer(64));
    this.#vcpu.call('give its events', call.getVcpuEvents, events);
    return events[13] !== 0 || events[12] !== 0;
  }

  handleExit(reason: number): VmExit | undefined {
    const { counts } = this.#exits;
    switch (reason) {
      case exit.hlt:
        this.#state.halted = true;
        return 'halt';
      case exit.irqWindowOpen:
        counts[exitIndex.interruptWindow]++;
        return undefined;
      case exit.shutdown:
        return 'shutdown';
      case exit.ioapicEoi:
        counts[exitIndex.ioapicEoi]++;
        this.#kernelInterrupts?.endOfInterrupt(this.#vcpu.bytes[runPage.eoiVector]);
        return undefined;
      case exit.setTpr:
        counts[exitIndex.other]++;
        this.#pending = true;
        return undefined;
      case exit.x86Rdmsr:
      case exit.x86Wrmsr:
        counts[exitIndex.msr]++;
        this.#msr(reason === exit.x86Wrmsr);
        return undefined;
      default:
        throw new UnknownExit();
    }
  }

  #msr(isWrite: boolean): void {
    const { view, bytes } = this.#vcpu;
    const index = view.getUint32(runPage.msrIndex, true);
    const cpu = this.#cpu;
    if (isWrite) {
      bytes[runPage.msrError] = cpu.writeMsr(index, view.getBigUint64(runPage.msrData, true)) ? 0 : 1;
      this.#pending = true;
      return;
    }
    const value = cpu.readMsr(index);
    bytes[runPage.msrError] = value === undefined ? 1 : 0;
    view.setBigUint64(runPage.msrData, value ?? 0n, true);
  }

  seesHandlers(): boolean {
    return this.#options.debug.hasBreakpoints;
  }

  setDebug({ breakpoints, watchpoints }: KvmDebug, step: number | undefined): void {
    const slots = new X86DebugSlots(breakpoints, watchpoints);
    this.#debug = slots;
    this.#stepping = step === 0 || slots.isStepwise;
    const wanted = !slots.isEmpty || step !== undefined;
    if (!this.#debugging && !wanted) return;
    this.#debugging = wanted;
    this.#past.clear();
    this.#calls.forEach((each, vcpu) => {
      if (wanted) each.call('debug the guest', call.setGuestDebug, slots.request(step === vcpu || slots.isStepwise));
      else this.#watch(vcpu);
    });
  }

  canWatch(watchpoints: readonly Watchpoint[]): boolean {
    return dataSlots(watchpoints) !== undefined && (watchpoints.length === 0 || this.#options.debug.hasWatchpoints);
  }

  watchpointOf(status: bigint): Watchpoint | undefined {
    return this.#debug.hit(status);
  }

  rouse(vcpu: number): boolean {
    const { vcpu: state } = this.#options.cpus[vcpu];
    if (state.get32(home.halted) === WAIT_FOR_SIPI) return false;
    state.set32(home.halted, 0);
    return true;
  }

  /** A vCPU stops at handlers, for whoever counts them; or, at one of them, after its first instruction. */
  #watch(vcpu: number): void {
    const isPast = this.#past.has(vcpu);
    const slots = new X86DebugSlots(isPast ? new Set() : new Set(this.#watched[vcpu]?.keys()));
    this.#calls[vcpu].call('debug the guest', call.setGuestDebug, slots.request(isPast));
  }

  handlersChanged(): boolean {
    return this.#handlers[0].changed() || this.#furtherChanged;
  }

  handlersChangedOf(vcpu: number): boolean {
    if (this.#handlers[vcpu].changed()) this.#furtherChanged = true;
    return this.#furtherChanged;
  }

  /**
   * A further vCPU is looked at while it stands. One that has not told of handlers of its own yet is taken to have the first one's:
   * kernels differ in tables by processor, but seldom in handlers.
   */
  watchHandlers(): void {
    for (const each of this.#handlers) each.changed();
    this.#furtherChanged = false;
    const own = this.#handlers.map((each) => each.addresses());
    this.#watched = own.map((each) => (each.size > 0 ? each : own[0]));
    if (!this.#debugging) this.#calls.forEach((_, vcpu) => void this.#watch(vcpu));
  }

  isAtHandler(vcpu: number, pc: bigint): boolean {
    if (this.#debugging) return false;
    if (!this.#past.delete(vcpu)) {
      const what = this.#watched[vcpu]?.get(pc);
      if (what === undefined) return false;
      this.#options.host.guest?.handler?.(what);
      this.#past.add(vcpu);
    }
    this.#watch(vcpu);
    return true;
  }

  isStop(): boolean {
    const pc = this.#vcpu.view.getBigUint64(runPage.debugPc, true);
    if (this.isAtHandler(0, pc)) return false;
    if (!this.#stepping || this.#debug.breakpoints.size === 0) return true;
    return this.#debug.breakpoints.has(pc);
  }

  dump(): string {
    return this.#cpu.dump({ float: false });
  }

  close(): void {
    this.#kernelInterrupts?.close();
  }
}
