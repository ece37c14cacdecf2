/**
 * The translator (accel tcg): runs the vCPUs of a machine, by turns in one thread. It keeps the run loop, translates what is
 * missing, and hands hot blocks to the region compiler. Translated code is the machine's; each vCPU has its own state and TLBs.
 */

import type { GuestCode, GuestCpu, VmExit } from '../../guest/guest-cpu.js';
import { APART, exitCode, header, MMU_CONTEXTS, type RoutineSet, stateWord, TLB_ENTRY_SHIFT } from '../../ir/index.js';
import { ColdTierWriter, compileRoutines, type HostFunction, printModule } from '../../wasm/index.js';
import type { Accelerator, AcceleratorRamBlock } from '../accelerator.js';
import { ExitCounters, exitIndex } from '../exits.js';
import { ApartSites } from './apart-sites.js';
import { BlockWriter } from './block-writer.js';
import { CodeCache } from './code-cache.js';
import { deviceRoutines } from './device-routines.js';
import { DirtyLog } from './dirty-log.js';
import { defineDispatcher } from './dispatcher.js';
import type { EngineHost, EngineOptions, EngineTrace } from './engine-options.js';
import { GuestPages } from './guest-pages.js';
import {
  layout,
  MAX_BLOCK_INSTRUCTIONS,
  MAX_VCPUS,
  memoryPages,
  PAGE_BYTES,
  ramBlock,
  ramFlag,
  TLB_BYTES,
  TLB_ENTRIES,
  vcpuLayout,
} from './layout.js';
import { InlineRegionService, RegionCompiler } from './region-compiler.js';
import { defineSoftmmu } from './softmmu.js';
import { routinesKey } from './stored-routines.js';
import { type EngineVcpu, Turns } from './turns.js';

/** Sets that have the engine's routines already: a guest's routines exist once a process, its machines share them. */
const extended = new WeakSet<RoutineSet>();

/** Hops between two looks at the clock. */
const HOPS = 4096;
/** What an exit to JavaScript costs in hops. */
const EXIT_HOPS = 8;
/** What it costs to hand over the turn, or find nobody to take it. */
const YIELD_HOPS = 32;

/** Adds the engine's routines to a guest's: translated code calls them by their place in the set. */
function addEngineRoutines({ routines, vars }: GuestCode): void {
  if (extended.has(routines)) return;
  extended.add(routines);
  const before = routines.list.length;
  defineDispatcher(routines, vars, defineSoftmmu(routines));
  for (const { name } of routines.list.slice(before)) routines.optimizedAtOnce.add(name);
}

/** Why a vCPU has stopped running: what concerns the machine, or its turn is over. */
type TurnEnd = VmExit | 'yield';

export class TcgEngine implements Accelerator {
  readonly name = 'tcg';
  readonly exits = new ExitCounters();
  readonly memory: WebAssembly.Memory;
  /** Of the vCPU whose turn it is: its address in the memory. */
  state: number = layout.state;
  readonly cache: CodeCache;
  readonly routines: Readonly<Record<string, (...args: unknown[]) => unknown>>;
  readonly compiler: RegionCompiler;
  readonly #hotThreshold: number;
  readonly #apart: ApartSites;
  readonly #counting: boolean;
  readonly #uncached: boolean;
  readonly #vcpus: readonly EngineVcpu[];
  readonly #turns: Turns;
  /** Of the vCPU whose turn it is. */
  #cpu: GuestCpu;
  /** With `countInstructions`: `poll` is to be called at this count. */
  #limit = Infinity;
  readonly #host: EngineHost;
  readonly #words: Int32Array;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #pages: GuestPages;
  readonly #writer: BlockWriter;
  readonly #dirtyLog: DirtyLog;
  readonly #trace: EngineTrace;
  #breakpoints: ReadonlySet<bigint> = new Set();
  #breakOffsets: readonly number[] = [];
  /** The host is being polled; what is pending is looked at right after. */
  #attending = false;
  readonly counters = {
    faults: 0,
    leaves: 0,
    kicks: 0,
    polls: 0,
    singleSteps: 0,
    hot: 0,
    busy: 0,
    translated: 0,
    apart: 0,
  };

  constructor(options: EngineOptions) {
    const { cpus, host } = options;
    const [cpu] = cpus;
    if (cpus.length < 1 || cpus.length > MAX_VCPUS) throw new Error('vring invariant broken: the number of vCPUs');
    const threshold = options.trace?.block ? 0 : (options.hotThreshold ?? 0);
    this.#host = host;
    this.#trace = options.trace ?? {};
    this.#counting = options.countInstructions ?? false;
    const set = cpu.routines;
    addEngineRoutines(cpu);
    const pages = memoryPages(options.ramBytes, cpus.length);
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    this.#vcpus = cpus.map((each, index) => ({
      index,
      cpu: each,
      state: index === 0 ? layout.state : pages * PAGE_BYTES - (cpus.length - index) * vcpuLayout.bytes,
      hostRoutines: each.hostRoutines(),
    }));
    this.#cpu = cpu;
    this.#turns = new Turns({
      vcpus: this.#vcpus,
      instructions: this.#counting ? () => this.instructions : undefined,
      isCalled: ({ state }) =>
        (this.#words[stateWord(state, header.interruptPending)] | this.#words[stateWord(state, header.kick)]) !== 0,
      begin: (vcpu, before) => this.#beginTurn(vcpu, before),
    });
    const table = new WebAssembly.Table({ element: 'anyfunc', initial: 1 });
    const extension = new ColdTierWriter(set.list, cpu.vars, {
      jumpCache: layout.jumpCache,
      hotThreshold: threshold,
      countInstructions: options.countInstructions ?? false,
    });
    const instance = compileRoutines({
      set,
      vars: cpu.vars,
      memory: this.memory,
      // No machine's own size: the module is good for all.
      memoryPages: { initial: 1, maximum: 65536 },
      host: { ...this.#guestRoutines(), ...deviceRoutines(host, this.exits, () => this.cache) },
      table,
      extension,
      compile: (write) => {
        const key = routinesKey(cpu.architecture, threshold, options.countInstructions ?? false);
        const known = host.modules?.get(key);
        if (known) return known;
        const stored = host.routineStore?.get(key);
        const bytes = stored ?? write();
        if (!stored) host.routineStore?.set?.(key, bytes);
        const module = new WebAssembly.Module(bytes);
        host.modules?.set(key, module);
        return module;
      },
    });
    this.routines = instance.exports;
    this.#words = new Int32Array(this.memory.buffer);
    this.#dirtyLog = new DirtyLog(this.memory.buffer, this.ramStart, this.ramEnd);
    this.#view = new DataView(this.memory.buffer);
    this.#bytes = new Uint8Array(this.memory.buffer);
    this.#pages = new GuestPages(this.memory.buffer);
    this.#writer = new BlockWriter(
      cpu,
      {
        pages: this.#pages,
        trace: this.#trace,
        pc: () => this.#view.getBigUint64(this.state + header.pc, true),
        nextPage: () => this.#codeAddress((this.#linearPc() | 4095n) + 1n)?.hva ?? -1,
      },
      options.stateBytes,
      options.countInstructions ?? false,
    );
    this.#uncached = options.codeCache === false;
    this.#initState(options.tlbEntries ?? TLB_ENTRIES);
    this.#apart = new ApartSites(this.memory.buffer as SharedArrayBuffer);
    this.cache = new CodeCache(this.memory.buffer, {
      protectPage: (hva) => this.#protectPage(hva),
      forgetJumps: () => this.#onEach('forget_jumps'),
    });
    this.#hotThreshold = threshold;
    this.compiler = new RegionCompiler({
      service: options.regionService ?? new InlineRegionService(),
      setup: {
        code: {
          vars: cpu.vars,
          routines: set.list.map(({ id, name, params, results, effects }) => ({
            id,
            name,
            params,
            results,
            effects,
            build: undefined,
          })),
        },
        memory: this.memory,
        memoryPages: pages,
        hotThreshold: threshold,
        countInstructions: options.countInstructions ?? false,
        keepBytes: this.#trace.wasm !== undefined,
      },
      cache: this.cache,
      table,
      routineExports: instance.importable,
      staleCode: this.routines['stale_code'],
    });
    const { wasm } = this.#trace;
    if (wasm) this.compiler.onModule = (bytes) => wasm(printModule(bytes));
    for (const { cpu: each, state } of this.#vcpus)
      each.attach({ buffer: this.memory.buffer, state, routines: this.routines });
  }

  /** The guest's host routines act on the vCPU whose turn it is. */
  #guestRoutines(): Record<string, HostFunction> {
    const first = this.#vcpus[0].hostRoutines as Record<string, HostFunction>;
    if (this.#vcpus.length === 1) return first;
    const chosen: Record<string, HostFunction> = {};
    for (const name of Object.keys(first)) {
      chosen[name] = (...args: unknown[]) =>
        (this.#turns.current.hostRoutines[name] as HostFunction)(...(args as never[]));
    }
    return chosen;
  }

  /** Calls a routine for every vCPU. */
  #onEach(routine: string, ...args: number[]): void {
    for (const { state } of this.#vcpus) this.routines[routine](state, ...args);
  }

  /** Number of the vCPU whose turn it is. */
  get current(): number {
    return this.#turns.current.index;
  }

  /** Indices of the kick words of all vCPUs, as 32-bit words of the memory. */
  get kickIndices(): readonly number[] {
    return this.#vcpus.map(({ state }) => stateWord(state, header.kick));
  }

  /** Bytes that RAM and ROM may be put at: from here to the end of the memory. */
  get ramStart(): number {
    return layout.guestRam;
  }

  get ramEnd(): number {
    return this.memory.buffer.byteLength - (this.#vcpus.length - 1) * vcpuLayout.bytes;
  }

  /** Tells the engine where guest RAM lies from now on; flushes the TLB. */
  setRamBlocks(blocks: readonly AcceleratorRamBlock[]): void {
    if (blocks.length > ramBlock.most) throw new Error('vring invariant broken: too many RAM blocks');
    this.#words[layout.ramBlocks >> 2] = blocks.length;
    const hostPages = this.#vcpus.length === 1 ? this.memory.buffer.byteLength >>> 12 : 0;
    this.#words[(layout.ramBlocks + ramBlock.storedPages) >> 2] = hostPages;
    // The largest first: it is where most addresses lie.
    [...blocks]
      .sort((a, b) => b.size - a.size)
      .forEach((block, i) => {
        const at = layout.ramBlocks + ramBlock.first + i * ramBlock.bytes;
        this.#view.setBigUint64(at + ramBlock.start, BigInt(block.gpa), true);
        this.#view.setBigUint64(at + ramBlock.end, BigInt(block.gpa + block.size), true);
        this.#view.setInt32(at + ramBlock.hva, block.hva, true);
        const flags = (block.readonly ? ramFlag.readonly : 0) | (this.#dirtyLog.isOn ? ramFlag.logged : 0);
        this.#view.setInt32(at + ramBlock.flags, flags, true);
      });
    this.#onEach('flush_tlb', 0);
  }

  /** A device wrote to guest memory at these host addresses. */
  published(hva: number, size: number): void {
    this.#dirtyLog.mark(hva, size);
    if (this.cache.hasCode(hva, size)) this.cache.invalidate(hva, size);
  }

  setDirtyLogging(on: boolean): void {
    this.#dirtyLog.set(on);
    const blocks = layout.ramBlocks + ramBlock.first + ramBlock.flags;
    for (let i = 0; i < this.#words[layout.ramBlocks >> 2]; i++) {
      const at = (blocks + i * ramBlock.bytes) >> 2;
      this.#words[at] = on ? this.#words[at] | ramFlag.logged : this.#words[at] & ~ramFlag.logged;
    }
    if (on) this.#onEach('protect_all');
  }

  takeDirty(page: (hva: number) => void): void {
    if (this.#dirtyLog.take(page)) this.#onEach('protect_all');
  }

  /** Makes `run` look at interrupts and requests soon. Any thread may do the same by the word itself. */
  kick(): void {
    // Counted: at the next block, so that it is the same instruction in every run.
    if (this.#counting) this.#view.setBigUint64(this.state + header.instructionLimit, 0n, true);
    Atomics.store(this.#words, stateWord(this.state, header.kick), 1);
  }

  /** An interrupt controller has, or no longer has, something for a vCPU. */
  setInterruptPending(pending: boolean, index = 0): void {
    const vcpu = this.#vcpus[index];
    this.#words[stateWord(vcpu.state, header.interruptPending)] = pending ? 1 : 0;
    if (pending) this.#call(vcpu);
  }

  /** A vCPU has something to do: soon, if it runs; at its next turn, if it waits for one; and it gets a turn now, if it sleeps. */
  #call(vcpu: EngineVcpu): void {
    if (vcpu !== this.#turns.current) {
      if (!vcpu.cpu.isHalted) {
        Atomics.store(this.#words, stateWord(vcpu.state, header.kick), 1);
        return;
      }
      this.#turns.wake(vcpu);
    }
    if (!this.#attending) this.kick();
  }

  /** Every counter, by name (also `-stats` and the monitor's `info jit`). */
  statistics(): Readonly<Record<string, Readonly<Record<string, number>>>> {
    const sum = (offset: number) =>
      this.#vcpus.reduce((total, { state }) => total + (this.#words[stateWord(state, offset)] >>> 0), 0);
    const misses = { lookups: sum(header.lookups), refills: sum(header.refills), flushes: sum(header.flushes) };
    return { engine: { ...this.counters, ...misses }, cache: this.cache.counters, compiler: this.compiler.counters };
  }

  /** What of the memory below guest RAM is for what: offsets and sizes. */
  memoryUse(): readonly { readonly owner: string; readonly at: number; readonly bytes: number }[] {
    const part = (owner: string, at: number, end: number) => ({ owner, at, bytes: end - at });
    return [
      part('vcpuState', layout.state, layout.state + vcpuLayout.tlbs),
      part('tlbs', layout.state + vcpuLayout.tlbs, layout.regionEntries),
      part('codeLookup', layout.regionEntries, layout.coldCode),
      part('coldCode', layout.coldCode, layout.coldCodeEnd),
      ...(this.#vcpus.length > 1 ? [part('furtherVcpus', this.ramEnd, this.memory.buffer.byteLength)] : []),
    ];
  }

  /** How often the TLB of the vCPU whose turn it is was flushed, and entries filled, modulo 2^32. */
  get tlbCounters(): { readonly flushes: number; readonly refills: number } {
    const word = (offset: number) => this.#words[stateWord(this.state, offset)] >>> 0;
    return { flushes: word(header.flushes), refills: word(header.refills) };
  }

  /** Guest instructions begun so far; kept only with `countInstructions`. */
  get instructions(): number {
    return this.#vcpus.reduce((total, vcpu) => total + this.#begun(vcpu), 0);
  }

  #begun({ state }: EngineVcpu): number {
    return Number(this.#view.getBigUint64(state + header.instructions, true));
  }

  /** `poll` is called when exactly this many instructions have been begun, or before. */
  set instructionLimit(limit: number) {
    this.#limit = limit;
    this.#setOwnLimit();
  }

  /** What the vCPU whose turn it is may begin before the machine's limit or the end of its turn. */
  #setOwnLimit(): void {
    if (!this.#counting) return;
    const own = Math.min(this.#limit, this.#turns.end) - this.instructions + this.#begun(this.#turns.current);
    // Someone wants to be heard at the next block: that stays so until `poll` is called.
    const next = Atomics.load(this.#words, stateWord(this.state, header.kick)) === 0 ? Math.max(0, own) : 0;
    this.#view.setBigUint64(
      this.state + header.instructionLimit,
      BigInt(Math.min(next, Number.MAX_SAFE_INTEGER)),
      true,
    );
  }

  /** With `countInstructions`: what is left of the way to the limit when no whole block fits goes step by step. */
  #approachLimit(): TurnEnd | undefined {
    const { state } = this;
    const limit = Number(this.#view.getBigUint64(state + header.instructionLimit, true));
    if (limit - this.#begun(this.#turns.current) >= MAX_BLOCK_INSTRUCTIONS) return undefined;
    while (this.#begun(this.#turns.current) < Number(this.#view.getBigUint64(state + header.instructionLimit, true))) {
      if (this.#isAtBreakpoint) return 'debug';
      const exit = this.#single();
      if (exit !== undefined) return exit;
    }
    this.#words[stateWord(state, header.hops)] = -1;
    return undefined;
  }

  /** Runs the guest until all vCPUs halt, one shuts down or the machine wants to be heard. */
  run(): VmExit {
    for (;;) {
      if (this.#cpu.isShutDown) return this.#leave('shutdown');
      const end = this.#runTurn();
      if (end !== 'yield' && end !== 'halt') return this.#leave(end);
      if (!this.#turns.next()) return this.#leave('halt');
    }
  }

  #beginTurn(vcpu: EngineVcpu, before: EngineVcpu): void {
    if (vcpu !== before) {
      this.#cpu = vcpu.cpu;
      this.state = vcpu.state;
      this.#host.guest?.turn?.(vcpu.index);
    }
    this.#setOwnLimit();
  }

  /** Runs the vCPU whose turn it is. */
  #runTurn(): TurnEnd {
    const words = this.#words;
    const { state } = this;
    const dispatch = this.#dispatch();
    const hops = stateWord(state, header.hops);
    for (;;) {
      if (this.#trace.block) this.#announceBlock();
      const exit = this.#uncached
        ? this.#uncachedStep()
        : (this.#act(dispatch(state)) ?? (this.#counting ? this.#approachLimit() : undefined));
      if (exit !== undefined && exit !== 'yield') return exit;
      // Exits cost hops too: a guest that does nothing but fault, or wait for another vCPU, is polled as well.
      words[hops] -= exit === undefined ? EXIT_HOPS : YIELD_HOPS;
      if (words[hops] < 0) {
        words[hops] = HOPS;
        this.counters.polls++;
        this.compiler.collect(false);
        if (this.#host.poll()) return 'kick';
        if (this.#turns.isOver()) return 'yield';
      }
      if (exit !== undefined) return exit;
    }
  }

  /** Most pages that get code are not stored to: the search of the TLBs is spared. */
  #protectPage(hva: number): void {
    const at = layout.storedPages + (hva >>> 12);
    if (this.#bytes[at] === 0) return;
    this.#bytes[at] = 0;
    this.#onEach('protect_page', hva);
  }

  /** Runs translated code until something needs JavaScript. */
  #dispatch(): (state: number) => number {
    const plain = this.routines['dispatch'] as (state: number) => number;
    const { guest } = this.#host;
    if (!guest) return plain;
    return (state) => {
      guest.enter();
      const code = plain(state);
      guest.leave();
      return code;
    };
  }

  /** One instruction without the code cache; interrupts first. */
  #uncachedStep(): TurnEnd | undefined {
    if (this.#words[stateWord(this.state, header.kick)] !== 0) return this.#act(exitCode.kick);
    const { guest } = this.#host;
    guest?.enter();
    const exit = this.#single();
    guest?.leave();
    return exit;
  }

  /** Counts the exit with which `run` returns; kicks are counted as they come. */
  #leave(exit: VmExit): VmExit {
    if (exit !== 'kick') this.exits.counts[exitIndex[exit]]++;
    return exit;
  }

  wake(): boolean {
    return this.#turns.next();
  }

  raiseNmi(index = 0): void {
    const vcpu = this.#vcpus[index];
    vcpu.cpu.raiseNmi?.();
    if (vcpu !== this.#turns.current) Atomics.store(this.#words, stateWord(vcpu.state, header.kick), 1);
    this.#call(vcpu);
  }

  deadlineChanged(): void {}

  synchronize(): void {}

  takeOver(): void {
    this.cache.flush();
    this.#onEach('flush_tlb', 0);
    this.#turns.reset();
  }

  close(): void {}

  /** Tells of the block that `dispatch` runs next, and sees to it that it runs that one alone. */
  #announceBlock(): void {
    const { state } = this;
    this.#words[stateWord(state, header.hops)] = 0;
    if (this.#words[stateWord(state, header.kick)] !== 0) return;
    const [fault, target] = this.routines['lookup'](state, BigInt.asIntN(64, this.#linearPc())) as [number, number];
    if (fault === 0 && target !== 0) this.#trace.block?.(target & 0x7fffffff);
  }

  /**
   * `run` returns 'debug' before an instruction at one of these linear addresses. While there are any, blocks end before every
   * place with the same offset in its page, whatever address the page is mapped at, none begins there, and nothing is compiled.
   */
  setBreakpoints(addresses: ReadonlySet<bigint>): void {
    this.#breakpoints = new Set(addresses);
    this.#breakOffsets = [...new Set([...addresses].map((address) => Number(address & 4095n)))].sort((a, b) => a - b);
    this.cache.flush();
  }

  /** Instructions of the block at a host address before the next breakpoint's offset. 0: one may be right here. */
  #instructionsToBreak(hva: number, key: number): number {
    const page = this.#pages.at(hva);
    const start = hva & 4095;
    const next = this.#breakOffsets.find((offset) => offset >= start);
    if (next === undefined) return MAX_BLOCK_INSTRUCTIONS;
    let count = 0;
    for (let at = start; at < next && count < MAX_BLOCK_INSTRUCTIONS; count++) {
      at += Math.max(1, this.#vcpus[0].cpu.translator.disassemble(page, at, undefined, key, 0n).bytes);
    }
    return count;
  }

  get #isAtBreakpoint(): boolean {
    if (this.#breakpoints.size === 0 || this.#cpu.isInsideInstruction) return false;
    return this.#breakpoints.has(BigInt.asUintN(64, this.#linearPc()));
  }

  /** Executes one instruction at pc, past breakpoints and translated code. */
  step(index: number): VmExit | undefined {
    this.#turns.choose(this.#vcpus[index]);
    if (this.#cpu.goOn?.() === false) return 'halt';
    let exit = this.#single();
    if (exit === undefined && this.#cpu.isInsideInstruction) exit = this.#single();
    return exit === 'yield' ? undefined : exit;
  }

  #act(code: number): TurnEnd | undefined {
    const words = this.#words;
    switch (code) {
      case exitCode.budget:
        return undefined;
      case exitCode.missing:
        return this.#translate();
      case exitCode.fault:
        if (words[stateWord(this.state, header.trapCode)] === 0) return this.#single();
        if (words[stateWord(this.state, header.trapCode)] === APART) return this.#standApart();
        this.counters.faults++;
        return this.#cpu.deliverFault();
      case exitCode.leave:
        this.counters.leaves++;
        return this.#cpu.handleLeave();
      case exitCode.kick:
        this.counters.kicks++;
        this.exits.counts[exitIndex.kick]++;
        Atomics.store(words, stateWord(this.state, header.kick), 0);
        return this.#attend();
      case exitCode.checkInterrupts:
        this.#cpu.deliverPending();
        return this.#cpu.isShutDown ? 'shutdown' : undefined;
      case exitCode.hot:
        this.#hot();
        return undefined;
      case exitCode.busy:
        this.#busy();
        return undefined;
      default:
        return undefined;
    }
  }

  /** Polls, then takes what is pending: what the poll itself finds pending needs no kick, unless it could not be taken now. */
  #attend(): TurnEnd | undefined {
    this.#attending = true;
    const stop = this.#host.poll();
    this.#attending = false;
    // An NMI or a debug trap goes first; a masked interrupt is asked for by the instruction that unmasks it.
    const again = stop || this.#cpu.deliverPending();
    if (again && this.#words[stateWord(this.state, header.interruptPending)] !== 0) this.kick();
    if (stop) return 'kick';
    if (this.#cpu.isShutDown) return 'shutdown';
    return this.#turns.isUrgent ? 'yield' : undefined;
  }

  /**
   * The accesses of the instruction at pc could not share a look into the TLB with those behind it. It runs by itself, and if that is
   * so too often, in regions too.
   */
  #standApart(): TurnEnd | undefined {
    this.#words[stateWord(this.state, header.trapCode)] = 0;
    this.counters.apart++;
    const hva = this.#codeAddress(this.#linearPc())?.hva;
    // They are to be written again soon.
    if (hva !== undefined && this.#apart.failed(hva, this.counters.polls))
      this.cache.dropRegionsAt(hva, this.#hotThreshold - 1);
    return this.#single();
  }

  /** The cold block at pc has reached the threshold, or a multiple of it. */
  #hot(): void {
    this.counters.hot++;
    if (this.#breakpoints.size > 0) return;
    const block = this.cache.blockAt(this.#words[stateWord(this.state, header.currentCode)]);
    if (block < 0) return;
    // Where the pc wraps at 64 KiB no other block may join. Most blocks that come here wait already.
    if (!this.cache.blocks.isWaiting(block)) this.compiler.request(block, this.#linearPc(), this.#tlbs, this.#follows);
    this.compiler.collect(this.cache.heat(block) > this.#hotThreshold);
  }

  /**
   * The region at pc has been entered very often: what it leads to may not have been hot yet when it was written, or too much to
   * be followed. By now all that matters is known; it is written once more, larger.
   */
  #busy(): void {
    this.counters.busy++;
    const head = this.compiler.busyRegion(this.#words[stateWord(this.state, header.currentCode)])?.head;
    if (head !== undefined && this.#breakpoints.size === 0)
      this.compiler.request(head, this.#linearPc(), this.#tlbs, this.#follows, true);
  }

  get #tlbs(): number {
    return this.state + vcpuLayout.tlbs;
  }

  /** Blocks may go on to each other by themselves: not where the pc wraps at 64 KiB, and not when each is announced. */
  get #mayLink(): boolean {
    return this.#trace.block === undefined && this.#follows;
  }

  get #follows(): boolean {
    return this.#view.getInt32(this.state + header.pcMask, true) === -1;
  }

  #linearPc(): bigint {
    const { state } = this;
    return this.#view.getBigUint64(state + header.pc, true) + this.#view.getBigUint64(state + header.pcBase, true);
  }

  /** Where the code at a linear address lies in the host, and what its page adds to the key; undefined: its fetch faults. */
  #codeAddress(address: bigint): { hva: number; pageKey: number } | undefined {
    const [fault, hva, pageKey] = this.routines['code_address'](this.state, BigInt.asIntN(64, address)) as number[];
    return fault === 0 ? { hva: hva >>> 0, pageKey } : undefined;
  }

  /** Translates the block at pc; its host address and key are in the scratch. */
  #translate(): TurnEnd | undefined {
    const hva = this.#words[stateWord(this.state, header.scratch)] >>> 0;
    const key = this.#words[stateWord(this.state, header.scratch + 4)];
    let most = MAX_BLOCK_INSTRUCTIONS;
    if (this.#breakpoints.size > 0) {
      most = this.#instructionsToBreak(hva, key);
      if (most === 0) return this.#isAtBreakpoint ? 'debug' : this.#single();
    }
    const second = this.#writer.write(hva, key, most);
    if (second < 0) return this.#cpu.deliverFault();
    const { builder, serializer, result } = this.#writer;
    const ir = this.#hotThreshold > 0 ? builder : undefined;
    this.cache.add(hva, result.bytes, key, second, serializer, ir, this.#mayLink);
    this.counters.translated += result.instructions;
    return undefined;
  }

  /** Executes the instruction at pc by itself, from code that nothing else sees. */
  #single(): TurnEnd | undefined {
    this.counters.singleSteps++;
    const code = this.#codeAddress(this.#linearPc());
    if (!code) return this.#cpu.deliverFault();
    const key = this.#words[stateWord(this.state, header.modeKey)] | code.pageKey;
    if (this.#writer.write(code.hva, key, 1) < 0) return this.#cpu.deliverFault();
    const { words, length } = this.#writer.serializer;
    this.#words.set(words.subarray(0, length), layout.singleStep >> 2);
    this.#trace.block?.(layout.singleStep);
    return this.#act(this.routines['run_cold'](this.state, layout.singleStep) as number);
  }

  #initState(tlbEntries: number): void {
    const words = this.#words;
    for (const { index, state } of this.#vcpus) {
      const at = (offset: number) => stateWord(state, offset);
      const tlbs = state + vcpuLayout.tlbs;
      for (let mmu = 0; mmu < MMU_CONTEXTS; mmu++) {
        words[at(header.tlbs) + mmu] = tlbs + mmu * TLB_BYTES;
        words[at(header.tlbMasks) + mmu] = (tlbEntries - 1) << TLB_ENTRY_SHIFT;
      }
      words[at(header.tlb)] = tlbs;
      words[at(header.tlbMask)] = (tlbEntries - 1) << TLB_ENTRY_SHIFT;
      words[at(header.generation)] = index + 1;
      words[at(header.hops)] = HOPS;
    }
    new Uint8Array(this.memory.buffer, layout.noCodePage, 4096).fill(0xff);
    this.#onEach('flush_tlb', 0);
  }
}
