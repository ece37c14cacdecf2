/**
 * The accelerator `kvm`: a vCPU that the processor runs, in the thread that calls `run`. This file is what every architecture
 * shares: the loop of entries and exits, PIO and MMIO, kicks and time. What is x86 is behind `KvmArchitecture`.
 *
 * While `run` is on, a word tells other threads which thread to signal (`KvmAttention`); a timer of the system ends the guest's
 * turn when a deadline of the machine's clock is due. Nothing polls.
 */
import {
  type Accelerator,
  type AcceleratorHost,
  type AcceleratorRamBlock,
  ExitCounters,
  exitIndex,
  type Watchpoint,
} from '../../../accel/index.js';
import { VringError } from '../../../base/index.js';
import type { VmExit } from '../../../guest/guest-cpu.js';
import { exit, runPage } from './abi.js';
import type { DeferredWrites } from './deferred-writes.js';
import type { Notifications } from './notifications.js';
import type { Secondaries } from './secondary.js';
import type { KvmVm } from './system.js';
import type { KvmVcpu } from './vcpu.js';

/** Devices are looked after so long after the guest has spoken to one. */
const SERVICE_NS = 1e6;
const PAGE = 4096;

/** How other threads reach the one that is in the guest. */
export interface KvmAttention {
  /** The thread is about to run the guest: from now on signals reach it. True: somebody has asked to be heard already. */
  begin(threadId: number): boolean;
  end(): void;
}

/** What depends on the processor's architecture. */
export interface KvmArchitecture {
  /** State of all vCPUs, which stand: home → KVM, and back. */
  load(): void;
  save(): void;
  /** Before each entry; with what is to be injected. */
  beforeEntry(): void;
  /** After each exit. */
  afterExit(): void;
  setInterruptPending(pending: boolean): void;
  raiseNmi(): void;
  /** A halted vCPU may go on. */
  wake(): boolean;
  /** An exit that is not one of every architecture. Undefined: the guest goes on. Throws for those unknown. */
  handleExit(reason: number): VmExit | undefined;
  /** Whether handlers can be watched. */
  seesHandlers(): boolean;
  /** With an observer: the guest has, or may have, other handlers than before; then, with the state at home, to watch those. */
  handlersChanged(): boolean;
  watchHandlers(): void;
  /** Whether those of a further vCPU have changed, which stands. */
  handlersChangedOf(vcpu: number): boolean;
  /** Breakpoints and watchpoints of all vCPUs, and the one that is to go a single step, from the next entry on. All stand. */
  setDebug(wanted: KvmDebug, step: number | undefined): void;
  /** Whether the processor can watch these. */
  canWatch(watchpoints: readonly Watchpoint[]): boolean;
  /** What a debug exception of any vCPU is about, as the processor tells of it: a watchpoint, or undefined. */
  watchpointOf(status: bigint): Watchpoint | undefined;
  /** With the state at home: a vCPU that sleeps goes on, for a debugger. False: it waits to be started. */
  rouse(vcpu: number): boolean;
  /** Whether the stop of a `debug` exit is for the debugger, rather than on the way to a breakpoint. */
  isStop(): boolean;
  /** A vCPU, which stands, is at a handler that is watched, which is told, or has just gone past its first instruction. */
  isAtHandler(vcpu: number, pc: bigint): boolean;
  /** Registers as text, for a person; the state is at home. */
  dump(): string;
  /** The machine ends. */
  close(): void;
}

/** What a debugger wants of a guest; addresses are linear. */
export interface KvmDebug {
  readonly breakpoints: ReadonlySet<bigint>;
  readonly watchpoints: readonly Watchpoint[];
}

const noDebug: KvmDebug = { breakpoints: new Set(), watchpoints: [] };

export interface KvmAcceleratorOptions {
  readonly vm: KvmVm;
  readonly vcpu: KvmVcpu;
  readonly host: AcceleratorHost;
  readonly attention: KvmAttention;
  readonly architecture: (exits: ExitCounters) => KvmArchitecture;
  /** vCPUs beside this one. */
  readonly secondaries?: Secondaries | undefined;
  /** Writes that KVM collects. */
  readonly deferred?: DeferredWrites | undefined;
  /** Writes to notify registers that end no vCPU's turn. `host` is its. */
  readonly notifications?: Notifications | undefined;
}

export class KvmAccelerator implements Accelerator {
  readonly name = 'kvm';
  readonly exits = new ExitCounters();
  readonly vm: KvmVm;
  readonly seesHandlers: boolean;
  current = 0;
  readonly #vcpu: KvmVcpu;
  readonly #host: AcceleratorHost;
  readonly #attention: KvmAttention;
  readonly #arch: KvmArchitecture;
  readonly #secondaries: Secondaries | undefined;
  readonly #deferred: DeferredWrites | undefined;
  readonly #notifications: Notifications | undefined;
  /** The vCPU's state lies at home, and KVM is to take it from there. */
  #atHome = true;
  /** `poll` is to be called before the next entry. */
  #wanted = false;
  /** A kick may have been taken for one of `synchronize`'s own: `poll` is to be called before the guest sleeps on it. */
  #mayHaveMissed = false;
  /** The timer that is armed stands for something that has changed, or has gone off. */
  #timerStale = true;
  /** A device was spoken to since the last poll. */
  #busy = false;
  #debug = noDebug;
  #hit: Watchpoint | undefined;
  /** Pages that devices have written, while the dirty log is kept: KVM sees only what the guest does. */
  #published: Set<number> | undefined;
  /** The other vCPUs run. */
  #resumed = false;
  /** Of them, those that stand at a breakpoint, which the debugger has not been told yet. */
  readonly #stops: { readonly vcpu: number; readonly pc: bigint; readonly hit: Watchpoint | undefined }[] = [];

  constructor(options: KvmAcceleratorOptions) {
    this.vm = options.vm;
    this.#vcpu = options.vcpu;
    this.#host = options.host;
    this.#attention = options.attention;
    this.#arch = options.architecture(this.exits);
    this.#secondaries = options.secondaries;
    this.#deferred = options.deferred;
    this.#notifications = options.notifications;
    this.seesHandlers = options.host.guest?.handler !== undefined && this.#arch.seesHandlers();
    if (!this.#secondaries) return;
    this.#secondaries.onDebug = (vcpu, pc, status) => this.#debugged(vcpu, pc, status);
    if (this.seesHandlers) this.#secondaries.onAsked = (vcpu) => this.#arch.handlersChangedOf(vcpu);
  }

  /** Where there are more breakpoints than the processor has, the guest goes step by step: not every one is a stop. */
  #debugged(vcpu: number, pc: bigint, status: bigint): boolean {
    if (this.#arch.isAtHandler(vcpu, pc)) return false;
    const hit = this.#arch.watchpointOf(status);
    const isStop = hit !== undefined || this.#debug.breakpoints.has(pc);
    if (isStop) this.#stops.push({ vcpu, pc, hit });
    return isStop;
  }

  #takeStop(): boolean {
    for (let stop = this.#stops.shift(); stop !== undefined; stop = this.#stops.shift()) {
      this.current = stop.vcpu;
      this.#hit = stop.hit && this.#debug.watchpoints.includes(stop.hit) ? stop.hit : undefined;
      if (this.#hit !== undefined || this.#debug.breakpoints.has(stop.pc)) return true;
    }
    return false;
  }

  run(): VmExit {
    if (this.#attention.begin(this.#vcpu.threadId)) this.#wanted = true;
    try {
      return this.#count(this.#run());
    } finally {
      this.#standStill();
      this.#attention.end();
    }
  }

  /** Where one stands, all stand. */
  #standStill(): void {
    if (this.#resumed) this.#secondaries?.pause(() => this.#drain());
    this.#drain();
    this.#resumed = false;
  }

  /** Counts the exit with which `run` returns; kicks are counted as they come. */
  #count(stop: VmExit): VmExit {
    if (stop !== 'kick') this.exits.counts[exitIndex[stop]]++;
    return stop;
  }

  #run(): VmExit {
    const vcpu = this.#vcpu;
    const { words } = vcpu;
    const arch = this.#arch;
    const reasonAt = runPage.exitReason >> 2;
    const { guest } = this.#host;
    for (;;) {
      if (this.seesHandlers && !this.#atHome && arch.handlersChanged()) {
        this.synchronize();
        arch.watchHandlers();
      }
      if (this.#wanted || this.#mayHaveMissed) {
        this.#wanted = false;
        this.#mayHaveMissed = false;
        this.#busy = false;
        this.#timerStale = true;
        this.exits.counts[exitIndex.kick]++;
        this.#secondaries?.serve(() => this.#drain());
        this.#serveNotifications();
        if (this.#host.poll()) return 'kick';
        if (this.#mayHaveMissed) continue;
      }
      this.#notifications?.settle();
      if (this.#stops.length > 0 && this.#takeStop()) return 'debug';
      if (this.#timerStale) this.#armTimer();
      if (this.#atHome) {
        this.#atHome = false;
        arch.load();
      }
      if (this.#secondaries && !this.#resumed) {
        this.#resumed = true;
        this.#secondaries.resume();
      }
      arch.beforeEntry();
      guest?.enter();
      const ran = vcpu.run();
      guest?.leave();
      arch.afterExit();
      this.#drain();
      if (!ran) {
        this.#wanted = true;
        continue;
      }
      if (this.#access()) continue;
      const reason = words[reasonAt];
      switch (reason) {
        case exit.intr:
          this.#wanted = true;
          break;
        case exit.debug:
          this.#hit = arch.watchpointOf(vcpu.view.getBigUint64(runPage.debugDr6, true));
          if (this.#hit === undefined && !arch.isStop()) break;
          this.current = 0;
          return 'debug';
        case exit.failEntry:
          throw this.#failure(
            `the processor refuses the guest's state (reason 0x${this.#vcpu.hex64(runPage.failReason)})`,
          );
        case exit.internalError:
          throw this.#failure(this.#vcpu.internalError());
        default: {
          const stop = this.#handle(reason);
          if (stop !== undefined) return stop;
        }
      }
    }
  }

  /** Does what a PIO or MMIO exit asks for. False: it is another. */
  #access(): boolean {
    const reason = this.#vcpu.words[runPage.exitReason >> 2];
    if (reason === exit.io) this.#io();
    else if (reason === exit.mmio) this.#mmio();
    else return false;
    return true;
  }

  #handle(reason: number): VmExit | undefined {
    try {
      return this.#arch.handleExit(reason);
    } catch (error) {
      if (error instanceof UnknownExit) throw this.#failure(`an exit that is not known (${reason})`);
      throw error;
    }
  }

  #drain(): void {
    this.#deferred?.drain(this.exits);
  }

  #serveNotifications(): void {
    if (!this.#notifications) return;
    this.#drain();
    this.#notifications.serve();
  }

  /** The guest's turn ends when the next deadline is due, and soon after it has spoken to a device. */
  #armTimer(): void {
    const until = this.#host.untilDeadlineNs();
    if (until <= 0) {
      this.#wanted = true;
      this.#vcpu.setTimer(1);
      return;
    }
    this.#timerStale = false;
    const delay = this.#busy ? Math.min(until, SERVICE_NS) : until;
    this.#vcpu.setTimer(delay === Infinity ? 0 : Math.min(delay, 1e15));
  }

  #spoke(): void {
    if (this.#busy) return;
    this.#busy = true;
    this.#timerStale = true;
  }

  /** IN and OUT, with REP too: `count` items lie in the shared page. */
  #io(): void {
    const { bytes, view } = this.#vcpu;
    const isWrite = bytes[runPage.ioDirection] === 1;
    const size = bytes[runPage.ioSize] as 1 | 2 | 4;
    const port = bytes[runPage.ioPort] | (bytes[runPage.ioPort + 1] << 8);
    const count = this.#vcpu.words[runPage.ioCount >> 2];
    let at = this.#vcpu.words[runPage.ioDataOffset >> 2];
    this.exits.counts[isWrite ? exitIndex.pioWrite : exitIndex.pioRead]++;
    for (let i = 0; i < count; i++, at += size) {
      if (isWrite) {
        const value = size === 1 ? bytes[at] : size === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
        this.#host.pioWrite(port, size, value);
      } else {
        const value = this.#host.pioRead(port, size);
        if (size === 1) bytes[at] = value;
        else if (size === 2) view.setUint16(at, value, true);
        else view.setUint32(at, value, true);
      }
    }
    this.#spoke();
  }

  #mmio(): void {
    const { bytes, view, words } = this.#vcpu;
    const isWrite = bytes[runPage.mmioIsWrite] !== 0;
    const length = words[runPage.mmioLength >> 2];
    const gpa = view.getUint32(runPage.mmioAddress, true) + view.getUint32(runPage.mmioAddress + 4, true) * 2 ** 32;
    this.exits.counts[isWrite ? exitIndex.mmioWrite : exitIndex.mmioRead]++;
    for (let done = 0; done < length; ) {
      const left = length - done;
      const size = left >= 4 ? 4 : left >= 2 ? 2 : 1;
      const at = runPage.mmioData + done;
      if (isWrite) {
        const value = size === 4 ? view.getUint32(at, true) : size === 2 ? view.getUint16(at, true) : bytes[at];
        this.#host.mmioWrite(gpa + done, size, value);
      } else {
        const value = this.#host.mmioRead(gpa + done, size);
        if (size === 4) view.setUint32(at, value, true);
        else if (size === 2) view.setUint16(at, value, true);
        else bytes[at] = value;
      }
      done += size;
    }
    this.#spoke();
  }

  step(vcpu: number): VmExit | undefined {
    this.synchronize();
    this.current = vcpu;
    for (let i = this.#stops.length - 1; i >= 0; i--) if (this.#stops[i].vcpu === vcpu) this.#stops.splice(i, 1);
    if (!this.#arch.rouse(vcpu)) return undefined;
    this.#hit = undefined;
    this.#arch.setDebug({ ...this.#debug, breakpoints: new Set() }, vcpu);
    this.#wanted = false;
    this.#atHome = false;
    this.#arch.load();
    try {
      if (vcpu === 0) return this.#stepFirst();
      this.#secondaries?.step(vcpu, () => this.#drain());
      return undefined;
    } finally {
      this.#arch.setDebug(this.#debug, undefined);
    }
  }

  /** One entry, which a kick may end before the instruction. */
  #stepFirst(): VmExit | undefined {
    for (let tries = 0; tries < 100; tries++) {
      this.#arch.beforeEntry();
      if (!this.#vcpu.run()) continue;
      this.#arch.afterExit();
      this.#drain();
      const reason = this.#vcpu.words[runPage.exitReason >> 2];
      if (reason === exit.debug) {
        this.#hit = this.#arch.watchpointOf(this.#vcpu.view.getBigUint64(runPage.debugDr6, true));
        return undefined;
      }
      if (!this.#access()) return this.#handle(reason);
    }
    return undefined;
  }

  wake(): boolean {
    this.#serveNotifications();
    return this.#arch.wake();
  }

  kick(): void {
    this.#wanted = true;
  }

  setInterruptPending(pending: boolean): void {
    this.#arch.setInterruptPending(pending);
  }

  raiseNmi(): void {
    this.#arch.raiseNmi();
  }

  deadlineChanged(): void {
    this.#timerStale = true;
  }

  setBreakpoints(addresses: ReadonlySet<bigint>): void {
    this.#setDebug({ ...this.#debug, breakpoints: new Set(addresses) });
  }

  setWatchpoints(watchpoints: readonly Watchpoint[]): boolean {
    if (!this.#arch.canWatch(watchpoints)) return false;
    this.#setDebug({ ...this.#debug, watchpoints });
    return true;
  }

  #setDebug(debug: KvmDebug): void {
    this.#debug = debug;
    if (this.#resumed) this.#standStill();
    this.#arch.setDebug(debug, undefined);
  }

  takeWatchpointHit(): Watchpoint | undefined {
    const hit = this.#hit;
    this.#hit = undefined;
    return hit;
  }

  setRamBlocks(blocks: readonly AcceleratorRamBlock[]): void {
    this.vm.setRamBlocks(blocks);
  }

  windowsChanged(): void {
    this.#notifications?.windowsChanged();
  }

  published(hva: number, size: number): void {
    if (!this.#published || size <= 0) return;
    for (let page = hva - (hva % PAGE); page < hva + size; page += PAGE) this.#published.add(page);
  }

  setDirtyLogging(on: boolean): void {
    this.#published = on ? new Set() : undefined;
    this.vm.setDirtyLogging(on);
  }

  takeDirty(page: (hva: number) => void): void {
    const published = this.#published;
    if (!published) return;
    this.vm.takeDirty((hva) => {
      published.delete(hva);
      page(hva);
    });
    for (const hva of published) page(hva);
    published.clear();
  }

  synchronize(): void {
    if (this.#atHome) return;
    this.#standStill();
    // What the guest has notified of is for the devices' state to have heard.
    this.#notifications?.flush();
    while (this.#vcpu.finishExit() && this.#access());
    this.#arch.save();
    this.#atHome = true;
    this.#mayHaveMissed = true;
  }

  takeOver(): void {
    this.#atHome = true;
  }

  /** The state that lies at home goes into KVM and comes back: what a move to KVM makes of it. */
  exchange(): void {
    this.#arch.load();
    this.#atHome = false;
    this.synchronize();
  }

  close(): void {
    this.#secondaries?.close();
    this.#notifications?.close();
    this.#arch.close();
    this.#vcpu.close();
    this.vm.close();
    this.vm.system.close();
  }

  /** KVM cannot go on: the sentence, with the registers in its cause. */
  #failure(what: string): VringError {
    let dump: string;
    try {
      this.synchronize();
      dump = this.#arch.dump();
    } catch (error) {
      dump = `The registers cannot be read: ${error instanceof Error ? error.message : error}`;
    }
    return new VringError('kvm-internal', `KVM cannot run the guest any further: ${what}.`, { cause: dump });
  }
}

/** Thrown by an architecture for an exit that it does not know. */
export class UnknownExit extends Error {}
