/**
 * Arm's generic interrupt controller, version 3 (Architecture Specification, IHI 0069), with one security state (GICD_CTLR.DS) and affinity
 * routing: a distributor, and for each CPU a redistributor and a CPU interface of system registers. 16 interrupts that software generates
 * (SGI) and 16 private ones (PPI) for each CPU, 256 shared ones (SPI), each routed to one CPU; and, with an ITS, message-signalled ones (LPI).
 *
 * Here is what is pending and who is told of it; the registers are in gicv3-distributor.ts, gicv3-redistributor.ts and
 * gicv3-cpu-interface.ts. Deviation, as QEMU's: a redistributor that sleeps (GICR_WAKER) forwards interrupts all the same.
 */
import { assert } from '../../base/index.js';
import type { Device, DmaSpace, IoHandler, IrqLine } from '../../bus/index.js';
import type { StateArena } from '../../schema/index.js';
import { lowestBit } from './bits.js';
import { FIRST_SPI } from './gicv2.js';
import { GicV3CpuInterface } from './gicv3-cpu-interface.js';
import { distributorRegisters } from './gicv3-distributor.js';
import { lpiTables, redistributorRegisters } from './gicv3-redistributor.js';
import {
  FIRST_LPI,
  GICV3_INTERRUPTS,
  GICV3_SPIS,
  GICV3_WORDS,
  type GicV3Struct,
  gicV3State,
  IDLE,
  SGIS,
  SPURIOUS,
} from './gicv3-state.js';
import type { GicV3Virtual } from './gicv3-virtual.js';
import { PendingLpis } from './pending-lpis.js';

export interface GicV3Outputs {
  readonly irq: IrqLine;
  readonly fiq: IrqLine;
}

export interface GicV3Options {
  /** One of each CPU. */
  readonly outputs: readonly GicV3Outputs[];
  /** Aff3 to Aff0 of each CPU, a byte each. */
  readonly affinities: readonly number[];
  /** Guest memory with the tables of LPIs. Absent: there are no LPIs. */
  readonly dma?: DmaSpace | undefined;
  readonly arena?: StateArena;
}

export class GicV3 implements Device {
  readonly name = 'gicv3';
  readonly state: GicV3Struct;
  readonly cpus: number;
  readonly affinities: readonly number[];
  /** Inputs of SPIs, by interrupt number less 32. */
  readonly spis: readonly IrqLine[];
  readonly distributor: IoHandler;
  /** Those of all CPUs, one behind the other. */
  readonly redistributors: IoHandler;
  /** Registers of each CPU. */
  readonly interfaces: readonly GicV3CpuInterface[];
  /** Where hypervisors have list registers. */
  virtual: GicV3Virtual | undefined;
  /** LPIs of each CPU; none where there is no ITS. */
  readonly lpis: readonly PendingLpis[];
  readonly #schema: ReturnType<typeof gicV3State>;
  readonly #outputs: readonly GicV3Outputs[];
  readonly #byAffinity: ReadonlyMap<number, number>;
  /** The CPU that each SPI is routed to; -1: none. */
  readonly #targets = new Int16Array(GICV3_SPIS);
  /** Of each CPU the interrupt of the highest priority that is pending and enabled, and its priority. */
  readonly #best: Uint32Array;
  readonly #bestPriority: Uint16Array;
  /** What each CPU is shown: bit 0 IRQ, bit 1 FIQ. */
  readonly #shown: Uint8Array;

  constructor({ outputs, affinities, dma, arena }: GicV3Options) {
    assert(outputs.length === affinities.length, 'each CPU has an affinity');
    this.cpus = outputs.length;
    this.affinities = affinities;
    this.#outputs = outputs;
    this.#byAffinity = new Map(affinities.map((affinity, cpu) => [affinity, cpu]));
    this.#best = new Uint32Array(this.cpus).fill(SPURIOUS);
    this.#bestPriority = new Uint16Array(this.cpus).fill(IDLE);
    this.#shown = new Uint8Array(this.cpus);
    this.#schema = gicV3State(this.cpus);
    this.state = this.#schema.allocate(arena);
    if (!arena?.attached) this.#fixed();
    this.lpis = dma ? outputs.map(() => new PendingLpis(dma)) : [];
    this.spis = Array.from({ length: GICV3_SPIS }, (_, n) => ({
      set: (level: boolean) => {
        if (this.#setInput(this.cpus + (n >> 5), 1 << (n & 31), level)) this.refresh(this.#targets[n]);
      },
    }));
    this.interfaces = outputs.map((_, cpu) => new GicV3CpuInterface(this, cpu));
    this.distributor = distributorRegisters(this);
    this.redistributors = redistributorRegisters(this);
    this.#routesChanged();
  }

  /** The input of a private interrupt, 16 to 31, of a CPU. */
  ppi(cpu: number, irq: number): IrqLine {
    return {
      set: (level) => {
        if (this.#setInput(cpu, 1 << irq, level)) this.refresh(cpu);
      },
    };
  }

  /** SGIs are edge-triggered. */
  #fixed(): void {
    this.state.edge.fill(SGIS, 0, this.cpus);
  }

  #setInput(word: number, bit: number, up: boolean): boolean {
    const { level, edge, latch } = this.state;
    if (((level[word] & bit) !== 0) === up) return false;
    level[word] ^= bit;
    if (up && (edge[word] & bit) !== 0) latch[word] |= bit;
    return true;
  }

  /** Index of a word of bits: word 0 is the CPU's own. */
  wordOf(word: number, cpu: number): number {
    return word === 0 ? cpu : this.cpus + word - 1;
  }

  /** Index of an interrupt's priority. */
  priorityAt(irq: number, cpu: number): number {
    return irq < FIRST_SPI ? cpu * FIRST_SPI + irq : (this.cpus - 1) * FIRST_SPI + irq;
  }

  pending(word: number): number {
    const { latch, level, edge } = this.state;
    return latch[word] | (level[word] & ~edge[word]);
  }

  /** 0 or 1; LPIs are of group 1. */
  groupOf(irq: number, cpu: number): 0 | 1 {
    if (irq >= FIRST_LPI) return 1;
    return ((this.state.group[this.wordOf(irq >> 5, cpu)] >>> (irq & 31)) & 1) !== 0 ? 1 : 0;
  }

  /** A CPU by its affinity, or undefined. */
  cpuAt(affinity: number): number | undefined {
    return this.#byAffinity.get(affinity);
  }

  /** A route has been written. */
  routeChanged(spi: number): void {
    const affinity = (((this.state.route[2 * spi + 1] & 0xff) << 24) | (this.state.route[2 * spi] & 0xffffff)) >>> 0;
    this.#targets[spi] = this.#byAffinity.get(affinity) ?? -1;
  }
  #routesChanged(): void {
    for (let spi = 0; spi < GICV3_SPIS; spi++) this.routeChanged(spi);
  }

  best(cpu: number): number {
    return this.#best[cpu];
  }
  bestPriority(cpu: number): number {
    return this.#bestPriority[cpu];
  }

  /** Of equal priorities the lowest number counts. */
  #find(cpu: number): void {
    const { state } = this;
    const groups = state.ctlr & state.groups[cpu];
    let best = SPURIOUS;
    let least = IDLE;
    for (let word = 0; groups !== 0 && word < GICV3_WORDS; word++) {
      const index = this.wordOf(word, cpu);
      let bits = this.pending(index) & state.enable[index] & ~state.active[index];
      if ((groups & 1) === 0) bits &= state.group[index];
      if ((groups & 2) === 0) bits &= ~state.group[index];
      for (; bits !== 0; bits &= bits - 1) {
        const irq = 32 * word + lowestBit(bits);
        if (word > 0 && this.#targets[irq - FIRST_SPI] !== cpu) continue;
        const priority = state.priority[this.priorityAt(irq, cpu)];
        if (priority < least) [best, least] = [irq, priority];
      }
    }
    if ((groups & 2) !== 0 && this.lpis.length > 0) {
      const lpis = this.lpis[cpu];
      if (lpis.priority < least) [best, least] = [lpis.best, lpis.priority];
    }
    this.#best[cpu] = best;
    this.#bestPriority[cpu] = least;
  }

  /** Something of a CPU has changed: its lines follow. -1: of none. */
  refresh(cpu: number): void {
    if (cpu < 0) return;
    this.#find(cpu);
    const signalled = this.interfaces[cpu].signalled();
    const next = signalled === SPURIOUS ? 0 : this.groupOf(signalled, cpu) === 1 ? 1 : 2;
    const before = this.#shown[cpu];
    if (next === before) return;
    this.#shown[cpu] = next;
    const { irq, fiq } = this.#outputs[cpu];
    if (((next ^ before) & 1) !== 0) irq.set((next & 1) !== 0);
    if (((next ^ before) & 2) !== 0) fiq.set((next & 2) !== 0);
  }

  refreshAll(): void {
    for (let cpu = 0; cpu < this.cpus; cpu++) this.refresh(cpu);
  }

  // --- what CPU interfaces do to the rest

  /** A CPU takes an interrupt: it is active, and no longer pending by an edge or a message. */
  activate(irq: number, cpu: number): void {
    if (irq >= FIRST_LPI) {
      this.lpis[cpu]?.clear(irq);
      return;
    }
    const word = this.wordOf(irq >> 5, cpu);
    const bit = 1 << (irq & 31);
    this.state.active[word] |= bit;
    this.state.latch[word] &= ~bit;
  }

  deactivate(irq: number, cpu: number): void {
    if (irq >= GICV3_INTERRUPTS) return;
    this.state.active[this.wordOf(irq >> 5, cpu)] &= ~(1 << (irq & 31));
    if (irq >= FIRST_SPI && this.#targets[irq - FIRST_SPI] !== cpu) this.refresh(this.#targets[irq - FIRST_SPI]);
  }

  /** An SGI reaches a CPU where it is of one of the groups (bits). */
  receiveSgi(cpu: number, sgi: number, groups: number): void {
    if (((groups >> this.groupOf(sgi, cpu)) & 1) === 0) return;
    this.state.latch[cpu] |= 1 << sgi;
    this.refresh(cpu);
  }

  // --- LPIs

  /** Their tables are in use, or no longer. */
  lpisChanged(cpu: number): void {
    this.lpis[cpu]?.use(lpiTables(this.state, cpu));
  }

  reset(): void {
    // Inputs keep their levels: who drives them says so itself.
    const levels = this.state.level.slice();
    this.#schema.reset(this.state);
    this.state.level.set(levels);
    this.#fixed();
    this.#follow();
  }
  save(): Uint8Array {
    return this.#schema.save(this.state);
  }
  /** Guest memory, which has the LPIs that are pending, is loaded first. */
  load(saved: Uint8Array): void {
    this.#schema.load(this.state, saved);
    this.#follow();
  }
  #follow(): void {
    this.#routesChanged();
    for (let cpu = 0; cpu < this.cpus; cpu++) this.lpisChanged(cpu);
    this.refreshAll();
  }
}
