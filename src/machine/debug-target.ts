/** A `pc` as a debugger's stub sees it (the gdb layer's DebugTarget, structurally). For the thread that runs the machine. */
import { x86RegisterViews as registerViews } from '../guest/index.js';
import type { PcMachine } from './pc.js';

/** More than anyone sets by hand; each one makes blocks shorter. */
const MAX_BREAKPOINTS = 1024;
const MAX_WATCHPOINTS = 64;
const PAGE = 4096n;

const CORE = 'org.gnu.gdb.i386.core';

/** Registers of gdb's core feature that the machine keeps in no form that gdb could want: they read 0. */
const absent = ['ftag', 'fiseg', 'fioff', 'foseg', 'fooff', 'fop'];
const types: Readonly<Record<string, string>> = {
  eflags: 'i386_eflags',
  rip: 'code_ptr',
  rsp: 'data_ptr',
  rbp: 'data_ptr',
};

function describe(name: string, bits: 32 | 64 | 80 | 128) {
  if (/^xmm/.test(name)) return { name, bits, type: 'vec128', feature: 'org.gnu.gdb.i386.sse' };
  if (name === 'mxcsr') return { name, bits, type: 'i386_mxcsr', feature: 'org.gnu.gdb.i386.sse' };
  if (/^[fg]s_base$/.test(name)) return { name, bits, feature: 'org.gnu.gdb.i386.segments' };
  if (/^cr|efer|k_gs_base/.test(name)) {
    const feature = 'vring.i386.system';
    return /^(cr[034]|efer)$/.test(name) ? { name, bits, type: `x86_${name}`, feature } : { name, bits, feature };
  }
  const type = bits === 80 ? 'i387_ext' : types[name];
  return type === undefined ? { name, bits, feature: CORE } : { name, bits, type, feature: CORE };
}

/** Where each of gdb's registers comes from: its view, or nothing. */
const rows = registerViews.flatMap((view) => {
  const row = { view: view as (typeof registerViews)[number] | undefined, register: describe(view.name, view.bits) };
  if (view.name !== 'fstat') return [row];
  return [row, ...absent.map((name) => ({ view: undefined, register: describe(name, 32) }))];
});

interface Watchpoint {
  readonly kind: 'write' | 'read' | 'access';
  readonly address: bigint;
  readonly length: number;
}

/** What its owner does when the debugger says so. */
export interface DebugControl {
  /** `run` is to be called again. */
  resume(): void;
  /** `run` is to return: `service` gives true at its next call. */
  interrupt(): void;
  kill(): void;
}

export class PcDebugTarget {
  readonly architecture = 'i386:x86-64';
  readonly registers = rows.map(({ register }) => register);
  readonly #pc: PcMachine;
  readonly #control: DebugControl;
  /** The vCPU that the debugger chose since the last stop. */
  #chosen: number | undefined;
  readonly #breakpoints = new Set<bigint>();
  #watchpoints: readonly Watchpoint[] = [];
  #hit: Watchpoint | undefined;

  constructor(pc: PcMachine, control: DebugControl) {
    this.#pc = pc;
    this.#control = control;
  }

  /** KVM keeps the registers of all but the first to itself. */
  get vcpus(): number {
    return this.#pc.accelerator.name === 'tcg' ? this.#pc.cpus.length : 1;
  }

  get vcpu(): number {
    return this.#chosen ?? this.#pc.engine.current;
  }
  set vcpu(vcpu: number) {
    this.#chosen = vcpu;
  }

  get #cpu() {
    return this.#pc.cpus[this.vcpu];
  }

  readRegister(index: number): bigint {
    return rows[index].view?.read(this.#cpu.vcpu) ?? 0n;
  }

  writeRegister(index: number, value: bigint): boolean {
    const { view } = rows[index];
    view?.write?.(this.#cpu.vcpu, value);
    return view?.write !== undefined;
  }

  readMemory(address: bigint, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    const done = this.#pieces(address, length, (gpa, at, size) => {
      this.#pc.memory.dma.read(gpa, bytes.subarray(at, at + size));
    });
    return bytes.subarray(0, done);
  }

  writeMemory(address: bigint, bytes: Uint8Array): boolean {
    if (this.#pieces(address, bytes.length, () => {}) < bytes.length) return false;
    this.#pieces(address, bytes.length, (gpa, at, size) => {
      this.#pc.memory.dma.write(gpa, bytes.subarray(at, at + size));
    });
    return true;
  }

  setBreakpoint(address: bigint): boolean {
    if (this.#breakpoints.size >= MAX_BREAKPOINTS) return false;
    this.#breakpoints.add(BigInt.asUintN(64, address));
    this.#pc.accelerator.setBreakpoints(this.#breakpoints);
    return true;
  }

  clearBreakpoint(address: bigint): void {
    if (this.#breakpoints.delete(BigInt.asUintN(64, address))) this.#pc.accelerator.setBreakpoints(this.#breakpoints);
  }

  setWatchpoint(kind: Watchpoint['kind'], address: bigint, length: number): boolean {
    // Only the translator tells of every access.
    if (this.#pc.accelerator.name !== 'tcg') return false;
    if (this.#watchpoints.length >= MAX_WATCHPOINTS || length < 1) return false;
    this.#watch([...this.#watchpoints, { kind, address: BigInt.asUintN(64, address), length }]);
    return true;
  }

  clearWatchpoint(kind: Watchpoint['kind'], address: bigint, length: number): void {
    const at = BigInt.asUintN(64, address);
    this.#watch(
      this.#watchpoints.filter((each) => each.kind !== kind || each.address !== at || each.length !== length),
    );
  }

  takeWatchpointHit(): Watchpoint | undefined {
    const hit = this.#hit;
    this.#hit = undefined;
    return hit;
  }

  /** As the processor's own data breakpoints, these see what instructions do: not page walks, descriptor loads and DMA. */
  #watch(watchpoints: readonly Watchpoint[]): void {
    this.#watchpoints = watchpoints;
    const any = watchpoints.length > 0;
    this.#pc.onDataAccess = any ? (linear, bytes, write) => this.#accessed(linear, bytes, write) : undefined;
    this.#pc.setWatching(any);
  }

  #accessed(linear: bigint, bytes: number, write: boolean): void {
    for (const watchpoint of this.#watchpoints) {
      const { kind, address, length } = watchpoint;
      if (kind !== 'access' && (kind === 'write') !== write) continue;
      if (linear >= address + BigInt(length) || address >= linear + BigInt(bytes)) continue;
      this.#hit ??= watchpoint;
      this.#pc.stopForDebugger();
      return;
    }
  }

  step(): void {
    this.#pc.step(this.vcpu);
  }

  resume(): void {
    this.#chosen = undefined;
    this.#control.resume();
  }

  interrupt(): void {
    this.#control.interrupt();
  }

  kill(): void {
    this.#control.kill();
  }

  /** Calls `use` for each piece of a range that lies in one page of RAM; gives how many bytes were there. */
  #pieces(address: bigint, length: number, use: (gpa: number, at: number, size: number) => void): number {
    let at = 0;
    while (at < length) {
      const linear = BigInt.asUintN(64, address + BigInt(at));
      const size = Math.min(length - at, Number(PAGE - (linear % PAGE)));
      const physical = this.#cpu.translate(linear);
      if (physical === undefined) break;
      const gpa = Number(physical);
      if (!this.#pc.memory.ramBlocks().some((block) => gpa >= block.gpa && gpa + size <= block.gpa + block.size)) break;
      use(gpa, at, size);
      at += size;
    }
    return at;
  }
}
