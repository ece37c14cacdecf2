/** A board as a debugger's stub sees it (the gdb layer's DebugTarget, structurally). For the thread that runs the machine. */
import type { Watchpoint } from '../accel/index.js';
import type { Board, BoardRegister } from './board.js';

/** More than anyone sets by hand; each one makes blocks shorter. */
const MAX_BREAKPOINTS = 1024;
const MAX_WATCHPOINTS = 64;
const PAGE = 4096n;

/** What its owner does when the debugger says so. */
export interface DebugControl {
  /** `run` is to be called again. */
  resume(): void;
  /** `run` is to return: `service` gives true at its next call. */
  interrupt(): void;
  kill(): void;
}

export class BoardDebugTarget {
  readonly architecture: string;
  readonly registers: readonly BoardRegister[];
  readonly #board: Board;
  readonly #control: DebugControl;
  /** The vCPU that the debugger chose since the last stop. */
  #chosen: number | undefined;
  readonly #breakpoints = new Set<bigint>();
  readonly #places: (address: bigint) => readonly bigint[];
  #watchpoints: readonly Watchpoint[] = [];
  #hit: Watchpoint | undefined;

  constructor(board: Board, control: DebugControl) {
    const { architecture, registers, places } = board.debug;
    this.architecture = architecture;
    this.registers = registers;
    this.#places = places ?? ((address) => [address]);
    this.#board = board;
    this.#control = control;
  }

  get vcpus(): number {
    return this.#board.cpus.length;
  }

  get vcpu(): number {
    return this.#chosen ?? this.#board.accelerator.current;
  }
  set vcpu(vcpu: number) {
    this.#chosen = vcpu;
  }

  get #cpu() {
    return this.#board.cpus[this.vcpu];
  }

  readRegister(index: number): bigint {
    return this.registers[index].read(this.vcpu);
  }

  writeRegister(index: number, value: bigint): boolean {
    const register = this.registers[index];
    register.write?.(this.vcpu, value);
    return register.write !== undefined;
  }

  readMemory(address: bigint, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    const done = this.#pieces(address, length, (gpa, at, size) => {
      this.#board.memory.dma.read(gpa, bytes.subarray(at, at + size));
    });
    return bytes.subarray(0, done);
  }

  writeMemory(address: bigint, bytes: Uint8Array): boolean {
    if (this.#pieces(address, bytes.length, () => {}) < bytes.length) return false;
    this.#pieces(address, bytes.length, (gpa, at, size) => {
      this.#board.memory.dma.write(gpa, bytes.subarray(at, at + size));
    });
    return true;
  }

  setBreakpoint(address: bigint): boolean {
    if (this.#breakpoints.size >= MAX_BREAKPOINTS) return false;
    this.#breakpoints.add(BigInt.asUintN(64, address));
    this.#tellBreakpoints();
    return true;
  }

  clearBreakpoint(address: bigint): void {
    if (this.#breakpoints.delete(BigInt.asUintN(64, address))) this.#tellBreakpoints();
  }

  #tellBreakpoints(): void {
    this.#board.setBreakpoints(new Set([...this.#breakpoints].flatMap(this.#places)));
  }

  setWatchpoint(kind: Watchpoint['kind'], address: bigint, length: number): boolean {
    if (this.#watchpoints.length >= MAX_WATCHPOINTS || length < 1) return false;
    return this.#watch([...this.#watchpoints, { kind, address: BigInt.asUintN(64, address), length }]);
  }

  clearWatchpoint(kind: Watchpoint['kind'], address: bigint, length: number): void {
    const at = BigInt.asUintN(64, address);
    this.#watch(
      this.#watchpoints.filter((each) => each.kind !== kind || each.address !== at || each.length !== length),
    );
  }

  takeWatchpointHit(): Watchpoint | undefined {
    const hit = this.#hit ?? this.#board.accelerator.takeWatchpointHit?.();
    this.#hit = undefined;
    return hit;
  }

  /** As the processor's own data breakpoints, these see what instructions do: not page walks, descriptor loads and DMA. */
  #watch(watchpoints: readonly Watchpoint[]): boolean {
    const any = watchpoints.length > 0;
    if (!this.#board.setWatchpoints(watchpoints)) return false;
    this.#watchpoints = watchpoints;
    this.#board.onDataAccess = any ? (linear, bytes, write) => this.#accessed(linear, bytes, write) : undefined;
    return true;
  }

  #accessed(linear: bigint, bytes: number, write: boolean): boolean {
    for (const watchpoint of this.#watchpoints) {
      const { kind, address, length } = watchpoint;
      if (kind !== 'access' && (kind === 'write') !== write) continue;
      if (linear >= address + BigInt(length) || address >= linear + BigInt(bytes)) continue;
      this.#hit ??= watchpoint;
      this.#board.stopForDebugger();
      return true;
    }
    return false;
  }

  step(): void {
    this.#board.step(this.vcpu);
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
      if (!this.#board.memory.ramBlocks().some((block) => gpa >= block.gpa && gpa + size <= block.gpa + block.size))
        break;
      use(gpa, at, size);
      at += size;
    }
    return at;
  }
}
