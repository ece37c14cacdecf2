/**
 * Arm's generic interrupt controller, version 2 (Architecture Specification, IHI 0048B), without the Security Extensions: distributor and
 * CPU interfaces for up to eight CPUs; 16 interrupts that software generates (SGI), 16 private ones (PPI), 256 shared ones (SPI). There
 * are eight bits of priority and two groups. SGIs are always enabled; where there is one CPU, all SPIs go to it.
 */
import type { Device, IoHandler, IrqLine } from '../../bus/index.js';
import { bytes, defineState, type StateArena, type StateOf, u8, u16s, u32s } from '../../schema/index.js';
import { lowestBit } from './bits.js';

export const GICV2_CPUS = 8;
export const GICV2_SPIS = 256;
/** Interrupt number of the first PPI, and of the first SPI. */
export const FIRST_PPI = 16;
export const FIRST_SPI = 32;
const INTERRUPTS = FIRST_SPI + GICV2_SPIS;
const WORDS = INTERRUPTS / 32;
/** Words of bits: one for each CPU with its private interrupts, then those of SPIs. */
const STATE_WORDS = GICV2_CPUS + WORDS - 1;
const SGIS = 0xffff;
/** What GICC_IAR says when there is nothing, and when it is of a group that another register acknowledges. */
const SPURIOUS = 1023;
const OTHER_GROUP = 1022;
/** A priority below all. */
const IDLE = 0x100;

const distributor = {
  CTLR: 0x000,
  TYPER: 0x004,
  IGROUPR: 0x080,
  ISENABLER: 0x100,
  ICENABLER: 0x180,
  ISPENDR: 0x200,
  ICPENDR: 0x280,
  ISACTIVER: 0x300,
  ICACTIVER: 0x380,
  IPRIORITYR: 0x400,
  ITARGETSR: 0x800,
  ICFGR: 0xc00,
  reserved: 0xd00,
  SGIR: 0xf00,
  CPENDSGIR: 0xf10,
  SPENDSGIR: 0xf20,
  sgiEnd: 0xf30,
  ids: 0xfd0,
} as const;
/** PIDR4 to PIDR7, PIDR0 to PIDR3, CIDR0 to CIDR3: a GIC of architecture 2. */
const identification = [0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1];

const cpuInterface = {
  CTLR: 0x00,
  PMR: 0x04,
  BPR: 0x08,
  IAR: 0x0c,
  EOIR: 0x10,
  RPR: 0x14,
  HPPIR: 0x18,
  ABPR: 0x1c,
  AIAR: 0x20,
  AEOIR: 0x24,
  AHPPIR: 0x28,
  APR: 0xd0,
  NSAPR: 0xe0,
  IIDR: 0xfc,
  DIR: 0x1000,
} as const;
/** Bits of GICC_CTLR; the lowest two enable the groups. */
const control = { ACK: 4, FIQ: 8, COMMON_BPR: 16, SPLIT_EOI: 0x200, ALL: 0x7ff } as const;
/** Arm, architecture 2. */
const IIDR = 0x0002043b;

export const GicV2State = defineState('gicv2', 1, {
  ctlr: u8(0, { max: 3 }),
  group: u32s(STATE_WORDS),
  enable: u32s(STATE_WORDS),
  /** Pending by an edge, by software, or by another CPU; levels of inputs; which inputs are edge-triggered. */
  latch: u32s(STATE_WORDS),
  level: u32s(STATE_WORDS),
  edge: u32s(STATE_WORDS),
  active: u32s(STATE_WORDS),
  /** Of each CPU's private interrupts, then of SPIs. */
  priority: bytes(GICV2_CPUS * FIRST_SPI + GICV2_SPIS),
  target: bytes(GICV2_SPIS),
  /** By CPU and SGI: the CPUs that have sent it. */
  senders: bytes(GICV2_CPUS * FIRST_PPI),
  cpuControl: u16s(GICV2_CPUS, { max: control.ALL }),
  mask: bytes(GICV2_CPUS),
  binaryPoint: bytes(GICV2_CPUS, { max: 7 }),
  aliasedBinaryPoint: bytes(GICV2_CPUS, { max: 7 }, 1),
  /** Priorities that are being served: 128 bits for each CPU and group. */
  activePriorities: u32s(GICV2_CPUS * 4),
  activePriorities1: u32s(GICV2_CPUS * 4),
});

const wordOf = (word: number, cpu: number): number => (word === 0 ? cpu : GICV2_CPUS + word - 1);
const priorityOf = (irq: number, cpu: number): number =>
  irq < FIRST_SPI ? cpu * FIRST_SPI + irq : (GICV2_CPUS - 1) * FIRST_SPI + irq;

export interface GicV2Outputs {
  readonly irq: IrqLine;
  readonly fiq: IrqLine;
}

export interface GicV2Options {
  /** One of each CPU. */
  readonly outputs: readonly GicV2Outputs[];
  /** Number of the CPU that makes the access. */
  accessor(): number;
  readonly arena?: StateArena;
}

export class GicV2 implements Device {
  readonly name = 'gicv2';
  readonly state: StateOf<typeof GicV2State>;
  /** Inputs of SPIs, by interrupt number less 32. */
  readonly spis: readonly IrqLine[];
  readonly distributor: IoHandler = {
    read: (offset, size) => part(this.#readDistributor(offset & ~3), offset, size),
    write: (offset, size, value) => {
      const shift = 8 * (offset & 3);
      const bits = size === 4 ? 0xffffffff : 2 ** (8 * size) - 1;
      this.#writeDistributor(offset & ~3, (value << shift) >>> 0, (bits << shift) >>> 0);
      this.#update();
    },
  };
  readonly cpuInterface: IoHandler = {
    read: (offset, size) => part(this.#readInterface(this.#accessor(), offset & ~3), offset, size),
    write: (offset, _size, value) => {
      this.#writeInterface(this.#accessor(), offset, value);
      this.#update();
    },
  };
  readonly #outputs: readonly GicV2Outputs[];
  readonly #accessor: () => number;
  /** What each CPU is shown: bit 0 IRQ, bit 1 FIQ. */
  readonly #shown: number[];

  constructor({ outputs, accessor, arena }: GicV2Options) {
    this.#outputs = outputs;
    this.#accessor = accessor;
    this.#shown = outputs.map(() => 0);
    this.state = GicV2State.allocate(arena);
    if (!arena?.attached) this.#fixed();
    this.spis = Array.from({ length: GICV2_SPIS }, (_, n) => ({
      set: (level: boolean) => this.#setInput(GICV2_CPUS + (n >> 5), 1 << (n & 31), level),
    }));
  }

  /** The input of a private interrupt, 16 to 31, of a CPU. */
  ppi(cpu: number, irq: number): IrqLine {
    return { set: (level) => this.#setInput(cpu, 1 << irq, level) };
  }

  /** An interrupt that a CPU has acknowledged is over: a virtual machine of that CPU's says so. */
  deactivate(cpu: number, irq: number): void {
    this.#deactivate(cpu, irq);
    this.#update();
  }

  /** SGIs are enabled, and edge-triggered. */
  #fixed(): void {
    this.state.enable.fill(SGIS, 0, GICV2_CPUS);
    this.state.edge.fill(SGIS, 0, GICV2_CPUS);
  }

  #setInput(word: number, bit: number, up: boolean): void {
    const { level, edge, latch } = this.state;
    if (((level[word] & bit) !== 0) === up) return;
    level[word] ^= bit;
    if (up && (edge[word] & bit) !== 0) latch[word] |= bit;
    this.#update();
  }

  // --- what is pending, and what a CPU is told of it

  #pending(word: number): number {
    const { latch, level, edge } = this.state;
    return latch[word] | (level[word] & ~edge[word]);
  }

  #isGroup1(irq: number, cpu: number): boolean {
    return ((this.state.group[wordOf(irq >> 5, cpu)] >>> (irq & 31)) & 1) !== 0;
  }

  /** The interrupt of the highest priority that is pending and enabled for a CPU, the lowest number among equals; 1023: none. */
  #best(cpu: number): number {
    const { state } = this;
    const groups = state.ctlr & state.cpuControl[cpu] & 3;
    let best = SPURIOUS;
    let least = IDLE;
    for (let word = 0; groups !== 0 && word < WORDS; word++) {
      const index = wordOf(word, cpu);
      let bits = this.#pending(index) & state.enable[index] & ~state.active[index];
      if ((groups & 1) === 0) bits &= state.group[index];
      if ((groups & 2) === 0) bits &= ~state.group[index];
      for (; bits !== 0; bits &= bits - 1) {
        const irq = 32 * word + lowestBit(bits);
        if (word > 0 && !this.#goesTo(irq, cpu)) continue;
        const priority = state.priority[priorityOf(irq, cpu)];
        if (priority < least) [best, least] = [irq, priority];
      }
    }
    return best;
  }

  #goesTo(spi: number, cpu: number): boolean {
    return this.#outputs.length === 1 || ((this.state.target[spi - FIRST_SPI] >> cpu) & 1) !== 0;
  }

  /** The part of a priority that decides whether an interrupt preempts another. */
  #preemption(irq: number, cpu: number): number {
    const { priority, cpuControl, binaryPoint, aliasedBinaryPoint } = this.state;
    const isAliased = this.#isGroup1(irq, cpu) && (cpuControl[cpu] & control.COMMON_BPR) === 0;
    const point = isAliased ? Math.max(0, aliasedBinaryPoint[cpu] - 1) : binaryPoint[cpu];
    return priority[priorityOf(irq, cpu)] & (-1 << (point + 1)) & 0xff;
  }

  /** The priority that a CPU serves; 0x100: none. */
  #running(cpu: number): number {
    const { activePriorities, activePriorities1 } = this.state;
    for (let i = 0; i < 4; i++) {
      const bits = activePriorities[4 * cpu + i] | activePriorities1[4 * cpu + i];
      if (bits !== 0) return (32 * i + lowestBit(bits)) << 1;
    }
    return IDLE;
  }

  /** The interrupt that a CPU is signalled; 1023: none. */
  #signalled(cpu: number): number {
    const best = this.#best(cpu);
    if (best === SPURIOUS) return SPURIOUS;
    const isUrgent = this.state.priority[priorityOf(best, cpu)] < this.state.mask[cpu];
    return isUrgent && this.#preemption(best, cpu) < this.#running(cpu) ? best : SPURIOUS;
  }

  #update(): void {
    for (const [cpu, { irq, fiq }] of this.#outputs.entries()) {
      const signalled = this.#signalled(cpu);
      const isFiq = (this.state.cpuControl[cpu] & control.FIQ) !== 0 && !this.#isGroup1(signalled & 511, cpu);
      const next = signalled === SPURIOUS ? 0 : isFiq ? 2 : 1;
      const before = this.#shown[cpu];
      if (next === before) continue;
      this.#shown[cpu] = next;
      if (((next ^ before) & 1) !== 0) irq.set((next & 1) !== 0);
      if (((next ^ before) & 2) !== 0) fiq.set((next & 2) !== 0);
    }
  }

  // --- CPU interface

  /** `group1`: by the aliased register. */
  #highestPending(cpu: number, irq: number, group1: boolean): number {
    if (irq === SPURIOUS) return SPURIOUS;
    const isGroup1 = this.#isGroup1(irq, cpu);
    if (group1) return isGroup1 ? irq : SPURIOUS;
    return isGroup1 && (this.state.cpuControl[cpu] & control.ACK) === 0 ? OTHER_GROUP : irq;
  }

  #acknowledge(cpu: number, group1: boolean): number {
    const irq = this.#highestPending(cpu, this.#signalled(cpu), group1);
    if (irq >= INTERRUPTS) return irq;
    const { state } = this;
    const word = wordOf(irq >> 5, cpu);
    const bit = 1 << (irq & 31);
    const group = this.#preemption(irq, cpu) >> 1;
    const served = this.#isGroup1(irq, cpu) ? state.activePriorities1 : state.activePriorities;
    served[4 * cpu + (group >> 5)] |= 1 << (group & 31);
    state.active[word] |= bit;
    let sender = 0;
    let isPending = false;
    if (irq < FIRST_PPI) {
      const at = cpu * FIRST_PPI + irq;
      const senders = state.senders[at];
      sender = senders === 0 ? 0 : lowestBit(senders);
      state.senders[at] = senders & (senders - 1);
      isPending = state.senders[at] !== 0;
    }
    if (!isPending) state.latch[word] &= ~bit;
    this.#update();
    return (sender << 10) | irq;
  }

  #endOfInterrupt(cpu: number, value: number, group1: boolean): void {
    const irq = value & 1023;
    if (irq >= INTERRUPTS) return;
    const { state } = this;
    const isGroup1 = this.#isGroup1(irq, cpu);
    if (group1 && !isGroup1) return;
    const served = isGroup1 ? state.activePriorities1 : state.activePriorities;
    for (let i = 4 * cpu; i < 4 * cpu + 4; i++) {
      if (served[i] === 0) continue;
      served[i] &= served[i] - 1;
      break;
    }
    if ((state.cpuControl[cpu] & control.SPLIT_EOI) === 0) this.#deactivate(cpu, irq);
  }

  #deactivate(cpu: number, irq: number): void {
    if (irq < INTERRUPTS) this.state.active[wordOf(irq >> 5, cpu)] &= ~(1 << (irq & 31));
  }

  #readInterface(cpu: number, offset: number): number {
    const { state } = this;
    switch (offset) {
      case cpuInterface.CTLR:
        return state.cpuControl[cpu];
      case cpuInterface.PMR:
        return state.mask[cpu];
      case cpuInterface.BPR:
        return state.binaryPoint[cpu];
      case cpuInterface.ABPR:
        return state.aliasedBinaryPoint[cpu];
      case cpuInterface.IAR:
        return this.#acknowledge(cpu, false);
      case cpuInterface.AIAR:
        return this.#acknowledge(cpu, true);
      case cpuInterface.RPR:
        return Math.min(this.#running(cpu), 0xff);
      case cpuInterface.HPPIR:
        return this.#highestPending(cpu, this.#best(cpu), false);
      case cpuInterface.AHPPIR:
        return this.#highestPending(cpu, this.#best(cpu), true);
      case cpuInterface.IIDR:
        return IIDR;
    }
    if (offset >= cpuInterface.APR && offset < cpuInterface.APR + 16)
      return state.activePriorities[4 * cpu + ((offset - cpuInterface.APR) >> 2)];
    if (offset >= cpuInterface.NSAPR && offset < cpuInterface.NSAPR + 16)
      return state.activePriorities1[4 * cpu + ((offset - cpuInterface.NSAPR) >> 2)];
    return 0;
  }

  #writeInterface(cpu: number, offset: number, value: number): void {
    const { state } = this;
    switch (offset) {
      case cpuInterface.CTLR:
        state.cpuControl[cpu] = value & control.ALL;
        return;
      case cpuInterface.PMR:
        state.mask[cpu] = value;
        return;
      case cpuInterface.BPR:
        state.binaryPoint[cpu] = value & 7;
        return;
      case cpuInterface.ABPR:
        state.aliasedBinaryPoint[cpu] = Math.max(1, value & 7);
        return;
      case cpuInterface.EOIR:
        this.#endOfInterrupt(cpu, value, false);
        return;
      case cpuInterface.AEOIR:
        this.#endOfInterrupt(cpu, value, true);
        return;
      case cpuInterface.DIR:
        if ((state.cpuControl[cpu] & control.SPLIT_EOI) !== 0) this.#deactivate(cpu, value & 1023);
        return;
    }
    if (offset >= cpuInterface.APR && offset < cpuInterface.APR + 16)
      state.activePriorities[4 * cpu + ((offset - cpuInterface.APR) >> 2)] = value;
    else if (offset >= cpuInterface.NSAPR && offset < cpuInterface.NSAPR + 16)
      state.activePriorities1[4 * cpu + ((offset - cpuInterface.NSAPR) >> 2)] = value;
  }

  // --- distributor

  /** A word of bits of a register file; undefined behind the last interrupt. */
  #bitWord(offset: number, first: number): number | undefined {
    const word = (offset - first) >> 2;
    return word < WORDS ? wordOf(word, this.#accessor()) : undefined;
  }

  #readDistributor(offset: number): number {
    const { state } = this;
    if (offset < distributor.IGROUPR) {
      if (offset === distributor.CTLR) return state.ctlr;
      return offset === distributor.TYPER ? WORDS - 1 + ((this.#outputs.length - 1) << 5) : 0;
    }
    if (offset < distributor.IPRIORITYR) {
      const word = this.#bitWord(offset, offset & ~0x7f);
      if (word === undefined) return 0;
      if (offset < distributor.ISENABLER) return state.group[word];
      if (offset < distributor.ISPENDR) return state.enable[word];
      return offset < distributor.ISACTIVER ? this.#pending(word) : state.active[word];
    }
    const cpu = this.#accessor();
    if (offset < distributor.ITARGETSR) {
      const irq = offset - distributor.IPRIORITYR;
      return irq < INTERRUPTS ? fourBytes((i) => state.priority[priorityOf(irq + i, cpu)]) : 0;
    }
    if (offset < distributor.ICFGR) {
      const irq = offset - distributor.ITARGETSR;
      if (irq >= INTERRUPTS || this.#outputs.length === 1) return 0;
      return fourBytes((i) => (irq < FIRST_SPI ? 1 << cpu : state.target[irq - FIRST_SPI + i]));
    }
    if (offset < distributor.reserved) return this.#readTriggers(offset, cpu);
    if (offset >= distributor.CPENDSGIR && offset < distributor.sgiEnd)
      return fourBytes((i) => state.senders[cpu * FIRST_PPI + (offset & 15) + i]);
    return offset >= distributor.ids ? (identification[(offset - distributor.ids) >> 2] ?? 0) : 0;
  }

  /** Two bits of each interrupt; the upper one tells edges from levels. */
  #readTriggers(offset: number, cpu: number): number {
    const irq = (offset - distributor.ICFGR) * 4;
    if (irq >= INTERRUPTS) return 0;
    const bits = this.state.edge[wordOf(irq >> 5, cpu)] >>> (irq & 31);
    let value = 0;
    for (let i = 0; i < 16; i++) if ((bits >>> i) & 1) value |= 2 << (2 * i);
    return value >>> 0;
  }

  #writeTriggers(offset: number, value: number, mask: number, cpu: number): void {
    const irq = (offset - distributor.ICFGR) * 4;
    if (irq < FIRST_PPI || irq >= INTERRUPTS) return;
    const word = wordOf(irq >> 5, cpu);
    for (let i = 0; i < 16; i++) {
      if (((mask >>> (2 * i + 1)) & 1) === 0) continue;
      const bit = 1 << ((irq & 31) + i);
      if ((value >>> (2 * i + 1)) & 1) this.state.edge[word] |= bit;
      else this.state.edge[word] &= ~bit;
    }
  }

  #writeDistributor(offset: number, value: number, mask: number): void {
    const { state } = this;
    if (offset < distributor.IGROUPR) {
      if (offset === distributor.CTLR && (mask & 1) !== 0) state.ctlr = value & 3;
      return;
    }
    if (offset < distributor.IPRIORITYR) {
      const word = this.#bitWord(offset, offset & ~0x7f);
      if (word !== undefined) this.#writeBits(offset & ~0x7f, word, value, mask);
      return;
    }
    const cpu = this.#accessor();
    const eachByte = (write: (i: number, byte: number) => void) => {
      for (let i = 0; i < 4; i++) if ((mask >>> (8 * i)) & 1) write(i, (value >>> (8 * i)) & 0xff);
    };
    if (offset < distributor.ITARGETSR) {
      const irq = offset - distributor.IPRIORITYR;
      if (irq < INTERRUPTS)
        eachByte((i, byte) => {
          state.priority[priorityOf(irq + i, cpu)] = byte;
        });
    } else if (offset < distributor.ICFGR) {
      const irq = offset - distributor.ITARGETSR;
      if (irq >= FIRST_SPI && irq < INTERRUPTS && this.#outputs.length > 1)
        eachByte((i, byte) => {
          state.target[irq - FIRST_SPI + i] = byte & ((1 << this.#outputs.length) - 1);
        });
    } else if (offset < distributor.reserved) this.#writeTriggers(offset, value, mask, cpu);
    else if (offset === distributor.SGIR) this.#sendSgi(cpu, value);
    else if (offset >= distributor.CPENDSGIR && offset < distributor.sgiEnd) {
      const isSet = offset >= distributor.SPENDSGIR;
      eachByte((i, byte) => {
        const sgi = (offset & 15) + i;
        const at = cpu * FIRST_PPI + sgi;
        state.senders[at] = isSet ? state.senders[at] | byte : state.senders[at] & ~byte;
        if (state.senders[at] !== 0) state.latch[cpu] |= 1 << sgi;
        else state.latch[cpu] &= ~(1 << sgi);
      });
    }
  }

  #writeBits(file: number, word: number, value: number, mask: number): void {
    const { state } = this;
    const sgis = word < GICV2_CPUS ? SGIS : 0;
    switch (file) {
      case distributor.IGROUPR:
        state.group[word] = (state.group[word] & ~mask) | value;
        break;
      case distributor.ISENABLER:
        state.enable[word] |= value;
        break;
      case distributor.ICENABLER:
        state.enable[word] &= ~value | sgis;
        break;
      case distributor.ISPENDR:
        state.latch[word] |= value & ~sgis;
        break;
      case distributor.ICPENDR:
        state.latch[word] &= ~value | sgis;
        break;
      case distributor.ISACTIVER:
        state.active[word] |= value;
        break;
      case distributor.ICACTIVER:
        state.active[word] &= ~value;
        break;
    }
  }

  #sendSgi(from: number, value: number): void {
    const { state } = this;
    const sgi = value & 15;
    const listed = (value >>> 16) & 0xff;
    const self = 1 << from;
    const targets = [listed, ~self, self, 0][(value >>> 24) & 3];
    for (let cpu = 0; cpu < this.#outputs.length; cpu++) {
      if (((targets >> cpu) & 1) === 0) continue;
      state.senders[cpu * FIRST_PPI + sgi] |= self;
      state.latch[cpu] |= 1 << sgi;
    }
  }

  reset(): void {
    // Inputs keep their levels: who drives them says so itself.
    const levels = this.state.level.slice();
    GicV2State.reset(this.state);
    this.state.level.set(levels);
    this.#fixed();
    this.#update();
  }
  save(): Uint8Array {
    return GicV2State.save(this.state);
  }
  load(saved: Uint8Array): void {
    GicV2State.load(this.state, saved);
    this.#update();
  }
}

/** The bytes of a word that an access asks for. */
function part(word: number, offset: number, size: number): number {
  const value = word >>> (8 * (offset & 3));
  return size === 4 ? value : value & (2 ** (8 * size) - 1);
}

function fourBytes(byte: (i: number) => number): number {
  return (byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24)) >>> 0;
}
