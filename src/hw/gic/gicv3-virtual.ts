/**
 * Virtualization in a GICv3's CPU interface (IHI 0069, chapter 6 and 12.4): ICH_*_EL2, by which a hypervisor gives a virtual machine its
 * interrupts in list registers, and ICV_*, which the virtual machine finds under the names of ICC_*. Four list registers, five bits of
 * priority and of preemption, numbers of 16 bits. The two security states of a virtual machine are one.
 */
import type { Device, GicRegister, GicVirtualInterface, IrqLine } from '../../bus/index.js';
import { defineState, type StateArena, type StateOf, u32s } from '../../schema/index.js';
import { lowestBit } from './bits.js';
import { FIRST_LPI, IDLE, PRIORITY_BITS, PRIORITY_MASK, SPURIOUS } from './gicv3-state.js';

export const GICV3_LISTS = 4;
const PRIORITY_SHIFT = 8 - PRIORITY_BITS;
const FIRST_SPECIAL = 1020;

/** ICH_VTR_EL2: priority and preemption bits, each less one; A3V, nV4, TDS; list registers less one. */
const VTR = (((PRIORITY_BITS - 1) << 29) | ((PRIORITY_BITS - 1) << 26) | (7 << 19) | (GICV3_LISTS - 1)) >>> 0;
const hcr = {
  EN: 1,
  UIE: 2,
  LRENPIE: 4,
  NPIE: 8,
  GROUP0_ENABLED: 0x10,
  GROUP0_DISABLED: 0x20,
  GROUP1_ENABLED: 0x40,
  GROUP1_DISABLED: 0x80,
  COUNT: 27,
  ALL: 0xf8007cff,
} as const;
const misr = {
  EOI: 1,
  U: 2,
  LRENP: 4,
  NP: 8,
  ENABLED0: 0x10,
  DISABLED0: 0x20,
  ENABLED1: 0x40,
  DISABLED1: 0x80,
} as const;
const vmcr = { ENABLE0: 1, ENABLE1: 2, FIQ: 8, COMMON_BPR: 16, SPLIT_EOI: 0x200, BPR1: 18, BPR0: 21, PMR: 24 } as const;
/** Of a list register's upper half: number of the physical interrupt (or whether its end is told), priority, group, state. */
const lr = {
  PHYSICAL: 0x1fff,
  EOI: 1 << 9,
  PRIORITY: 16,
  GROUP1: 1 << 28,
  HW: 1 << 29,
  PENDING: 1 << 30,
  ACTIVE: 1 << 31,
} as const;
/** The least binary points. */
const LEAST = [7 - PRIORITY_BITS, 8 - PRIORITY_BITS] as const;
/** ICV_CTLR_EL1: bits of priority less one, A3V. */
const CTLR = ((PRIORITY_BITS - 1) << 8) | (1 << 15);

const stateOf = (cpus: number) =>
  defineState('gicv3-virtual', 1, {
    hcr: u32s(cpus),
    vmcr: u32s(cpus),
    /** Active priorities of group 0, then those of group 1, for each CPU. */
    active: u32s(2 * cpus),
    /** List registers, lower half first. */
    lists: u32s(2 * GICV3_LISTS * cpus),
  });

export interface GicV3VirtualOutputs {
  readonly irq: IrqLine;
  readonly fiq: IrqLine;
  readonly maintenance: IrqLine;
}
export interface GicV3VirtualOptions {
  readonly outputs: readonly GicV3VirtualOutputs[];
  /** A virtual machine has ended a physical interrupt. */
  deactivate(cpu: number, irq: number): void;
  readonly arena?: StateArena;
}

type Group = 0 | 1;

export class GicV3Virtual implements Device {
  readonly name = 'gicv3-virtual';
  readonly state: StateOf<ReturnType<typeof stateOf>>;
  /** Of each CPU. */
  readonly interfaces: readonly GicVirtualInterface[];
  readonly #schema: ReturnType<typeof stateOf>;
  readonly #options: GicV3VirtualOptions;
  /** What each CPU is shown: bit 0 IRQ, bit 1 FIQ, bit 2 maintenance. */
  readonly #shown: Uint8Array;

  constructor(options: GicV3VirtualOptions) {
    this.#options = options;
    const cpus = options.outputs.length;
    this.#schema = stateOf(cpus);
    this.state = this.#schema.allocate(options.arena);
    this.#shown = new Uint8Array(cpus);
    this.interfaces = options.outputs.map((_, cpu) => ({
      readControl: (name: string) => this.#readControl(cpu, name),
      writeControl: (name: string, value: bigint) => {
        this.#writeControl(cpu, name, value);
        this.#update(cpu);
      },
      controlBits: () => this.state.hcr[cpu],
      read: (register: GicRegister) => this.#read(cpu, register),
      write: (register: GicRegister, value: bigint) => {
        this.#write(cpu, register, Number(value & 0xffffffffn));
        this.#update(cpu);
      },
    }));
  }

  #number(cpu: number, n: number): number {
    return this.state.lists[2 * (cpu * GICV3_LISTS + n)];
  }
  #list(cpu: number, n: number): number {
    return this.state.lists[2 * (cpu * GICV3_LISTS + n) + 1];
  }
  #setList(cpu: number, n: number, upper: number): void {
    this.state.lists[2 * (cpu * GICV3_LISTS + n) + 1] = upper;
  }
  #where(cpu: number, is: (list: number) => boolean): number {
    let found = 0;
    for (let n = 0; n < GICV3_LISTS; n++) if (is(this.#list(cpu, n))) found |= 1 << n;
    return found;
  }

  static #priority(list: number): number {
    return (list >>> lr.PRIORITY) & PRIORITY_MASK;
  }
  static #group(list: number): Group {
    return list & lr.GROUP1 ? 1 : 0;
  }
  static #isPending = (list: number): boolean => (list & (lr.PENDING | lr.ACTIVE)) === lr.PENDING;
  static #isFree = (list: number): boolean => (list & (lr.PENDING | lr.ACTIVE)) === 0;

  #point(cpu: number, group: Group): number {
    return (this.state.vmcr[cpu] >>> (group === 0 ? vmcr.BPR0 : vmcr.BPR1)) & 7;
  }
  #isCommon(cpu: number): boolean {
    return (this.state.vmcr[cpu] & vmcr.COMMON_BPR) !== 0;
  }
  /** The part of a priority that preempts. */
  #preemption(cpu: number, list: number): number {
    const isOwn = GicV3Virtual.#group(list) === 1 && !this.#isCommon(cpu);
    const point = isOwn ? this.#point(cpu, 1) - 1 : this.#point(cpu, 0);
    return GicV3Virtual.#priority(list) & (-1 << (point + 1)) & 0xff;
  }
  #running(cpu: number): number {
    const active = this.state.active[2 * cpu] | this.state.active[2 * cpu + 1];
    return active === 0 ? IDLE : lowestBit(active) << PRIORITY_SHIFT;
  }

  /** The list register of the pending interrupt with the highest priority in an enabled group; -1: none. */
  #best(cpu: number): number {
    if ((this.state.hcr[cpu] & hcr.EN) === 0) return -1;
    const groups = this.state.vmcr[cpu];
    let best = -1;
    let least = IDLE;
    for (let n = 0; n < GICV3_LISTS; n++) {
      const list = this.#list(cpu, n);
      if (!GicV3Virtual.#isPending(list)) continue;
      if ((groups & (list & lr.GROUP1 ? vmcr.ENABLE1 : vmcr.ENABLE0)) === 0) continue;
      const priority = GicV3Virtual.#priority(list);
      if (priority < least) [best, least] = [n, priority];
    }
    return best;
  }
  /** The list register of the interrupt that is signalled; -1: none. */
  #signalled(cpu: number): number {
    const n = this.#best(cpu);
    if (n < 0) return -1;
    const list = this.#list(cpu, n);
    const mask = this.state.vmcr[cpu] >>> vmcr.PMR;
    return GicV3Virtual.#priority(list) < mask && this.#preemption(cpu, list) < this.#running(cpu) ? n : -1;
  }

  #ended(cpu: number): number {
    return this.#where(cpu, (list) => GicV3Virtual.#isFree(list) && (list & (lr.HW | lr.EOI)) === lr.EOI);
  }
  #maintenance(cpu: number): number {
    const enabled = this.state.hcr[cpu];
    const groups = this.state.vmcr[cpu];
    const used = this.#where(cpu, (list) => !GicV3Virtual.#isFree(list));
    const when = (isSo: boolean, bit: number): number => (isSo ? bit : 0);
    return (
      when(this.#ended(cpu) !== 0, misr.EOI) |
      when((enabled & hcr.UIE) !== 0 && (used & (used - 1)) === 0, misr.U) |
      when((enabled & hcr.LRENPIE) !== 0 && enabled >>> hcr.COUNT !== 0, misr.LRENP) |
      when((enabled & hcr.NPIE) !== 0 && this.#where(cpu, GicV3Virtual.#isPending) === 0, misr.NP) |
      when((enabled & hcr.GROUP0_ENABLED) !== 0 && (groups & vmcr.ENABLE0) !== 0, misr.ENABLED0) |
      when((enabled & hcr.GROUP0_DISABLED) !== 0 && (groups & vmcr.ENABLE0) === 0, misr.DISABLED0) |
      when((enabled & hcr.GROUP1_ENABLED) !== 0 && (groups & vmcr.ENABLE1) !== 0, misr.ENABLED1) |
      when((enabled & hcr.GROUP1_DISABLED) !== 0 && (groups & vmcr.ENABLE1) === 0, misr.DISABLED1)
    );
  }

  #update(cpu: number): void {
    const { irq, fiq, maintenance } = this.#options.outputs[cpu];
    let next = 0;
    if (this.state.hcr[cpu] & hcr.EN) {
      const n = this.#signalled(cpu);
      const line = n < 0 ? 0 : GicV3Virtual.#group(this.#list(cpu, n)) === 1 ? 1 : 2;
      next = line | (this.#maintenance(cpu) !== 0 ? 4 : 0);
    }
    const changed = next ^ this.#shown[cpu];
    this.#shown[cpu] = next;
    if (changed & 1) irq.set((next & 1) !== 0);
    if (changed & 2) fiq.set((next & 2) !== 0);
    if (changed & 4) maintenance.set((next & 4) !== 0);
  }

  // --- what a hypervisor sees: ICH_<name>_EL2

  #readControl(cpu: number, name: string): bigint {
    const { state } = this;
    const word = (value: number): bigint => BigInt(value >>> 0);
    switch (name) {
      case 'HCR':
        return word(state.hcr[cpu]);
      case 'VTR':
        return word(VTR);
      case 'VMCR':
        return word(state.vmcr[cpu]);
      case 'MISR':
        return word(this.#maintenance(cpu));
      case 'EISR':
        return word(this.#ended(cpu));
      case 'ELRSR':
        return word(
          this.#where(cpu, (list) => GicV3Virtual.#isFree(list) && ((list & lr.HW) !== 0 || (list & lr.EOI) === 0)),
        );
      case 'AP0R0':
      case 'AP1R0':
        return word(state.active[2 * cpu + Number(name[2])]);
      default: {
        const n = Number(name.slice(2));
        return (word(this.#list(cpu, n)) << 32n) | word(this.#number(cpu, n));
      }
    }
  }
  #writeControl(cpu: number, name: string, value: bigint): void {
    const { state } = this;
    const low = Number(value & 0xffffffffn);
    switch (name) {
      case 'HCR':
        state.hcr[cpu] = low & hcr.ALL;
        break;
      case 'VMCR': {
        const points = ([0, 1] as const).map((group) =>
          Math.max((low >>> (group === 0 ? vmcr.BPR0 : vmcr.BPR1)) & 7, LEAST[group]),
        );
        const flags = low & (vmcr.ENABLE0 | vmcr.ENABLE1 | vmcr.COMMON_BPR | vmcr.SPLIT_EOI);
        const mask = ((low >>> vmcr.PMR) & PRIORITY_MASK) << vmcr.PMR;
        // With system registers alone FIQs are enabled.
        state.vmcr[cpu] = flags | vmcr.FIQ | (points[0] << vmcr.BPR0) | (points[1] << vmcr.BPR1) | mask;
        break;
      }
      case 'AP0R0':
      case 'AP1R0':
        state.active[2 * cpu + Number(name[2])] = low;
        break;
      default: {
        const at = 2 * (cpu * GICV3_LISTS + Number(name.slice(2)));
        state.lists[at] = low;
        state.lists[at + 1] = Number(value >> 32n) & 0xf0ff1fff;
      }
    }
  }

  // --- what its virtual machine sees

  #setField(cpu: number, at: number, mask: number, value: number): void {
    this.state.vmcr[cpu] = (this.state.vmcr[cpu] & ~(mask << at)) | ((value & mask) << at);
  }
  #numberIn(cpu: number, n: number, group: Group): number {
    return n >= 0 && GicV3Virtual.#group(this.#list(cpu, n)) === group ? this.#number(cpu, n) : SPURIOUS;
  }
  #acknowledge(cpu: number, group: Group): number {
    const n = this.#signalled(cpu);
    const number = this.#numberIn(cpu, n, group);
    if (number === SPURIOUS) return SPURIOUS;
    const list = this.#list(cpu, n);
    const isSpecial = number >= FIRST_SPECIAL && number <= SPURIOUS;
    if (!isSpecial) this.state.active[2 * cpu + group] |= 1 << (this.#preemption(cpu, list) >> PRIORITY_SHIFT);
    this.#setList(cpu, n, (list & ~lr.PENDING) | (isSpecial ? 0 : lr.ACTIVE));
    this.#update(cpu);
    return isSpecial ? SPURIOUS : number;
  }
  #endOfInterrupt(cpu: number, id: number, group: Group): void {
    const { active } = this.state;
    if (id >= FIRST_SPECIAL && id < FIRST_LPI) return;
    const running = active[2 * cpu] | active[2 * cpu + 1];
    if (running === 0) return;
    const lowest = running & -running;
    if ((active[2 * cpu + group] & lowest) === 0) return;
    active[2 * cpu + group] &= ~lowest;
    if ((this.state.vmcr[cpu] & vmcr.SPLIT_EOI) === 0 || id >= FIRST_LPI) this.#deactivate(cpu, id);
  }
  #deactivate(cpu: number, id: number): void {
    const { state } = this;
    for (let n = 0; n < GICV3_LISTS; n++) {
      const list = this.#list(cpu, n);
      if (this.#number(cpu, n) !== id || (list & lr.ACTIVE) === 0) continue;
      this.#setList(cpu, n, list & ~lr.ACTIVE);
      if (list & lr.HW) this.#options.deactivate(cpu, list & lr.PHYSICAL);
      return;
    }
    // One that is in no list register is counted.
    const ended = Math.min(31, (state.hcr[cpu] >>> hcr.COUNT) + 1);
    state.hcr[cpu] = (state.hcr[cpu] & ~(31 << hcr.COUNT)) | (ended << hcr.COUNT);
  }

  #read(cpu: number, register: GicRegister): number {
    const value = this.state.vmcr[cpu];
    switch (register) {
      case 'IAR0':
        return this.#acknowledge(cpu, 0);
      case 'IAR1':
        return this.#acknowledge(cpu, 1);
      case 'HPPIR0':
        return this.#numberIn(cpu, this.#best(cpu), 0);
      case 'HPPIR1':
        return this.#numberIn(cpu, this.#best(cpu), 1);
      case 'BPR0':
        return this.#point(cpu, 0);
      case 'BPR1':
        return this.#isCommon(cpu) ? Math.min(this.#point(cpu, 0) + 1, 7) : this.#point(cpu, 1);
      case 'PMR':
        return value >>> vmcr.PMR;
      case 'RPR':
        return Math.min(this.#running(cpu), 0xff);
      case 'CTLR':
        return CTLR | (this.#isCommon(cpu) ? 1 : 0) | (value & vmcr.SPLIT_EOI ? 2 : 0);
      case 'IGRPEN0':
        return value & 1;
      case 'IGRPEN1':
        return (value >> 1) & 1;
      case 'AP0R0':
        return this.state.active[2 * cpu];
      case 'AP1R0':
        return this.state.active[2 * cpu + 1];
      default:
        return 0;
    }
  }
  #write(cpu: number, register: GicRegister, value: number): void {
    switch (register) {
      case 'EOIR0':
        this.#endOfInterrupt(cpu, value & 0xffffff, 0);
        break;
      case 'EOIR1':
        this.#endOfInterrupt(cpu, value & 0xffffff, 1);
        break;
      case 'DIR':
        if (this.state.vmcr[cpu] & vmcr.SPLIT_EOI) this.#deactivate(cpu, value & 0xffffff);
        break;
      case 'BPR0':
        this.#setField(cpu, vmcr.BPR0, 7, Math.max(value & 7, LEAST[0]));
        break;
      case 'BPR1':
        if (!this.#isCommon(cpu)) this.#setField(cpu, vmcr.BPR1, 7, Math.max(value & 7, LEAST[1]));
        break;
      case 'PMR':
        this.#setField(cpu, vmcr.PMR, PRIORITY_MASK, value);
        break;
      case 'CTLR':
        this.#setField(cpu, 4, 1, value);
        this.#setField(cpu, 9, 1, value >> 1);
        break;
      case 'IGRPEN0':
        this.#setField(cpu, 0, 1, value);
        break;
      case 'IGRPEN1':
        this.#setField(cpu, 1, 1, value);
        break;
      case 'AP0R0':
        this.state.active[2 * cpu] = value;
        break;
      case 'AP1R0':
        this.state.active[2 * cpu + 1] = value;
        break;
    }
  }

  #updateAll(): void {
    for (let cpu = 0; cpu < this.#options.outputs.length; cpu++) this.#update(cpu);
  }
  reset(): void {
    this.#schema.reset(this.state);
    this.#updateAll();
  }
  save(): Uint8Array {
    return this.#schema.save(this.state);
  }
  load(saved: Uint8Array): void {
    this.#schema.load(this.state, saved);
    this.#updateAll();
  }
}
