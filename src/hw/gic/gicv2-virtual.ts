/**
 * The Virtualization Extensions of a GICv2 (IHI 0048B, chapter 5): for each CPU the virtual interface control that a hypervisor writes list
 * registers to, and the virtual CPU interface that its virtual machine finds in place of GICC. Four list registers, five bits of priority.
 */
import type { Device, IoHandler, IrqLine } from '../../bus/index.js';
import { defineState, type StateArena, type StateOf, u32s } from '../../schema/index.js';
import { lowestBit } from './bits.js';
import { GICV2_CPUS } from './gicv2.js';

const LISTS = 4;
export const GICH_BYTES = 0x1000;
export const GICV_BYTES = 0x2000;

const gich = {
  HCR: 0x00,
  VTR: 0x04,
  VMCR: 0x08,
  MISR: 0x10,
  EISR: 0x20,
  ELRSR: 0x30,
  APR: 0xf0,
  LR: 0x100,
} as const;
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
  ALL: 0xf80000ff,
} as const;
/** Five bits of priority and of preemption; the list registers less one. */
const VTR = (4 << 29) | (4 << 26) | (LISTS - 1);
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
/** Of GICH_VMCR, which is GICV's CTLR, ABPR, BPR and PMR in one. */
const vmcr = { CONTROL: 0x21f, ABPR: 18, BPR: 21, PMR: 27, ALL: 0xf8fc021f } as const;
const control = { ENABLE0: 1, ENABLE1: 2, ACK: 4, FIQ: 8, COMMON_BPR: 16, SPLIT_EOI: 0x200 } as const;
/** List registers: number, that of the physical interrupt (or who sent it, and whether its end is told), priority, state. */
const lr = {
  ID: 0x3ff,
  PHYSICAL: 10,
  EOI: 1 << 19,
  PRIORITY: 23,
  PENDING: 1 << 28,
  ACTIVE: 1 << 29,
  GROUP1: 1 << 30,
  HW: 1 << 31,
} as const;

const gicv = {
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
  IIDR: 0xfc,
  DIR: 0x1000,
} as const;
const IIDR = 0x0002043b;
const SPURIOUS = 1023;
const OTHER_GROUP = 1022;
const IDLE = 0x100;

const GicV2VirtualState = defineState('gicv2-virtual', 1, {
  hcr: u32s(GICV2_CPUS),
  vmcr: u32s(GICV2_CPUS),
  apr: u32s(GICV2_CPUS),
  lr: u32s(GICV2_CPUS * LISTS),
});

export interface VirtualOutputs {
  /** Inputs of the CPU, and the maintenance interrupt. */
  readonly irq: IrqLine;
  readonly fiq: IrqLine;
  readonly maintenance: IrqLine;
}

export interface GicV2VirtualOptions {
  readonly outputs: readonly VirtualOutputs[];
  /** Number of the CPU that makes the access. */
  accessor(): number;
  /** A virtual machine has ended a physical interrupt. */
  deactivate(cpu: number, irq: number): void;
  readonly arena?: StateArena;
}

export class GicV2Virtual implements Device {
  readonly name = 'gicv2-virtual';
  readonly state: StateOf<typeof GicV2VirtualState>;
  readonly #options: GicV2VirtualOptions;
  /** What each CPU is shown: bit 0 IRQ, bit 1 FIQ, bit 2 maintenance. */
  readonly #shown: number[];

  /** GICH. Registers have 32 bits, and are read and written whole. */
  readonly hypervisorInterface: IoHandler = {
    read: (offset) => this.#readControl(this.#options.accessor(), offset & ~3) >>> 0,
    write: (offset, _size, value) => {
      this.#writeControl(this.#options.accessor(), offset & ~3, value);
      this.#update();
    },
  };
  /** GICV. */
  readonly cpuInterface: IoHandler = {
    read: (offset) => this.#readInterface(this.#options.accessor(), offset & ~3) >>> 0,
    write: (offset, _size, value) => {
      this.#writeInterface(this.#options.accessor(), offset & ~3, value);
      this.#update();
    },
  };

  constructor(options: GicV2VirtualOptions) {
    this.#options = options;
    this.#shown = options.outputs.map(() => 0);
    this.state = GicV2VirtualState.allocate(options.arena);
  }

  #list(cpu: number, n: number): number {
    return this.state.lr[cpu * LISTS + n];
  }
  #setList(cpu: number, n: number, value: number): void {
    this.state.lr[cpu * LISTS + n] = value;
  }
  static #priority(list: number): number {
    return ((list >>> lr.PRIORITY) & 31) << 3;
  }

  /** The list register of the pending interrupt with the highest priority in an enabled group; -1: none. */
  #best(cpu: number): number {
    const groups = this.state.vmcr[cpu];
    let best = -1;
    let least = IDLE;
    for (let n = 0; n < LISTS; n++) {
      const list = this.#list(cpu, n);
      if ((list & (lr.PENDING | lr.ACTIVE)) !== lr.PENDING) continue;
      if ((groups & (list & lr.GROUP1 ? control.ENABLE1 : control.ENABLE0)) === 0) continue;
      const priority = GicV2Virtual.#priority(list);
      if (priority < least) [best, least] = [n, priority];
    }
    return best;
  }
  #running(cpu: number): number {
    const active = this.state.apr[cpu];
    return active === 0 ? IDLE : lowestBit(active) << 3;
  }
  /** The part of a priority that preempts. */
  #preemption(cpu: number, list: number): number {
    const value = this.state.vmcr[cpu];
    const isAliased = (list & lr.GROUP1) !== 0 && (value & control.COMMON_BPR) === 0;
    const point = isAliased ? Math.max(0, ((value >>> vmcr.ABPR) & 7) - 1) : (value >>> vmcr.BPR) & 7;
    return GicV2Virtual.#priority(list) & (-1 << (point + 1)) & 0xf8;
  }
  /** The list register of the interrupt that is signalled; -1: none. */
  #signalled(cpu: number): number {
    const n = this.#best(cpu);
    if (n < 0) return -1;
    const list = this.#list(cpu, n);
    const mask = (this.state.vmcr[cpu] >>> vmcr.PMR) << 3;
    return GicV2Virtual.#priority(list) < mask && this.#preemption(cpu, list) < this.#running(cpu) ? n : -1;
  }

  #ended(cpu: number): number {
    return this.#bits(cpu, (list) => (list & (lr.HW | lr.PENDING | lr.ACTIVE)) === 0 && (list & lr.EOI) !== 0);
  }
  #bits(cpu: number, is: (list: number) => boolean): number {
    let bits = 0;
    for (let n = 0; n < LISTS; n++) if (is(this.#list(cpu, n))) bits |= 1 << n;
    return bits;
  }
  #maintenance(cpu: number): number {
    const enabled = this.state.hcr[cpu];
    const groups = this.state.vmcr[cpu];
    const valid = LISTS - count(this.#bits(cpu, (list) => (list & (lr.PENDING | lr.ACTIVE)) === 0));
    const pending = this.#bits(cpu, (list) => (list & (lr.PENDING | lr.ACTIVE)) === lr.PENDING);
    const when = (isSo: boolean, bit: number): number => (isSo ? bit : 0);
    return (
      when(this.#ended(cpu) !== 0, misr.EOI) |
      when((enabled & hcr.UIE) !== 0 && valid < 2, misr.U) |
      when((enabled & hcr.LRENPIE) !== 0 && enabled >>> hcr.COUNT !== 0, misr.LRENP) |
      when((enabled & hcr.NPIE) !== 0 && pending === 0, misr.NP) |
      when((enabled & hcr.GROUP0_ENABLED) !== 0 && (groups & control.ENABLE0) !== 0, misr.ENABLED0) |
      when((enabled & hcr.GROUP0_DISABLED) !== 0 && (groups & control.ENABLE0) === 0, misr.DISABLED0) |
      when((enabled & hcr.GROUP1_ENABLED) !== 0 && (groups & control.ENABLE1) !== 0, misr.ENABLED1) |
      when((enabled & hcr.GROUP1_DISABLED) !== 0 && (groups & control.ENABLE1) === 0, misr.DISABLED1)
    );
  }

  #update(): void {
    for (const [cpu, { irq, fiq, maintenance }] of this.#options.outputs.entries()) {
      let next = 0;
      if (this.state.hcr[cpu] & hcr.EN) {
        const n = this.#signalled(cpu);
        const isFiq = n >= 0 && (this.state.vmcr[cpu] & control.FIQ) !== 0 && (this.#list(cpu, n) & lr.GROUP1) === 0;
        next = (n < 0 ? 0 : isFiq ? 2 : 1) | (this.#maintenance(cpu) !== 0 ? 4 : 0);
      }
      const changed = next ^ this.#shown[cpu];
      this.#shown[cpu] = next;
      if (changed & 1) irq.set((next & 1) !== 0);
      if (changed & 2) fiq.set((next & 2) !== 0);
      if (changed & 4) maintenance.set((next & 4) !== 0);
    }
  }

  // --- what a hypervisor sees

  #readControl(cpu: number, offset: number): number {
    const { state } = this;
    switch (offset) {
      case gich.HCR:
        return state.hcr[cpu];
      case gich.VTR:
        return VTR;
      case gich.VMCR:
        return state.vmcr[cpu];
      case gich.MISR:
        return this.#maintenance(cpu);
      case gich.EISR:
        return this.#ended(cpu);
      case gich.ELRSR:
        return this.#bits(
          cpu,
          (list) => (list & (lr.PENDING | lr.ACTIVE)) === 0 && ((list & lr.HW) !== 0 || (list & lr.EOI) === 0),
        );
      case gich.APR:
        return state.apr[cpu];
    }
    const n = (offset - gich.LR) >> 2;
    return n >= 0 && n < LISTS ? this.#list(cpu, n) : 0;
  }
  #writeControl(cpu: number, offset: number, value: number): void {
    const { state } = this;
    if (offset === gich.HCR) state.hcr[cpu] = value & hcr.ALL;
    else if (offset === gich.VMCR) state.vmcr[cpu] = value & vmcr.ALL;
    else if (offset === gich.APR) state.apr[cpu] = value;
    const n = (offset - gich.LR) >> 2;
    if (n >= 0 && n < LISTS) this.#setList(cpu, n, value);
  }

  // --- what its virtual machine sees

  #setField(cpu: number, at: number, mask: number, value: number): void {
    this.state.vmcr[cpu] = (this.state.vmcr[cpu] & ~(mask << at)) | ((value & mask) << at);
  }
  /** What IAR and HPPIR say of a list register. `group1`: by the aliased register. */
  #numberOf(cpu: number, n: number, group1: boolean): number {
    if (n < 0) return SPURIOUS;
    const list = this.#list(cpu, n);
    const isGroup1 = (list & lr.GROUP1) !== 0;
    if (group1 && !isGroup1) return SPURIOUS;
    if (!group1 && isGroup1 && (this.state.vmcr[cpu] & control.ACK) === 0) return OTHER_GROUP;
    const sender = list & lr.HW ? 0 : (list >>> lr.PHYSICAL) & 7;
    return (list & lr.ID) | (sender << 10);
  }
  #acknowledge(cpu: number, group1: boolean): number {
    const n = this.state.hcr[cpu] & hcr.EN ? this.#signalled(cpu) : -1;
    const number = this.#numberOf(cpu, n, group1);
    if (n < 0 || number === SPURIOUS || number === OTHER_GROUP) return number;
    const list = this.#list(cpu, n);
    this.state.apr[cpu] |= 1 << (this.#preemption(cpu, list) >> 3);
    this.#setList(cpu, n, (list & ~lr.PENDING) | lr.ACTIVE);
    this.#update();
    return number;
  }
  #endOfInterrupt(cpu: number, value: number): void {
    const { apr } = this.state;
    const id = value & lr.ID;
    if (id >= 1020) return;
    apr[cpu] &= apr[cpu] - 1;
    if ((this.state.vmcr[cpu] & control.SPLIT_EOI) === 0) this.#deactivate(cpu, id);
  }
  #deactivate(cpu: number, id: number): void {
    const { state } = this;
    for (let n = 0; n < LISTS; n++) {
      const list = this.#list(cpu, n);
      if ((list & lr.ID) !== id || (list & lr.ACTIVE) === 0) continue;
      this.#setList(cpu, n, list & ~lr.ACTIVE);
      if (list & lr.HW) this.#options.deactivate(cpu, (list >>> lr.PHYSICAL) & 0x3ff);
      return;
    }
    // One that is in no list register is counted.
    const ended = Math.min(31, (state.hcr[cpu] >>> hcr.COUNT) + 1);
    state.hcr[cpu] = (state.hcr[cpu] & 0xff) | (ended << hcr.COUNT);
  }
  #readInterface(cpu: number, offset: number): number {
    const value = this.state.vmcr[cpu];
    switch (offset) {
      case gicv.CTLR:
        return value & vmcr.CONTROL;
      case gicv.PMR:
        return (value >>> vmcr.PMR) << 3;
      case gicv.BPR:
        return (value >>> vmcr.BPR) & 7;
      case gicv.ABPR:
        return (value >>> vmcr.ABPR) & 7;
      case gicv.IAR:
        return this.#acknowledge(cpu, false);
      case gicv.AIAR:
        return this.#acknowledge(cpu, true);
      case gicv.RPR:
        return Math.min(this.#running(cpu), 0xff);
      case gicv.HPPIR:
        return this.#numberOf(cpu, this.#best(cpu), false);
      case gicv.AHPPIR:
        return this.#numberOf(cpu, this.#best(cpu), true);
      case gicv.APR:
        return this.state.apr[cpu];
      case gicv.IIDR:
        return IIDR;
    }
    return 0;
  }
  #writeInterface(cpu: number, offset: number, value: number): void {
    const { state } = this;
    switch (offset) {
      case gicv.CTLR:
        this.#setField(cpu, 0, vmcr.CONTROL, value);
        break;
      case gicv.PMR:
        this.#setField(cpu, vmcr.PMR, 31, value >>> 3);
        break;
      case gicv.BPR:
        this.#setField(cpu, vmcr.BPR, 7, Math.max(2, value & 7));
        break;
      case gicv.ABPR:
        this.#setField(cpu, vmcr.ABPR, 7, Math.max(3, value & 7));
        break;
      case gicv.EOIR:
      case gicv.AEOIR:
        this.#endOfInterrupt(cpu, value);
        break;
      case gicv.APR:
        state.apr[cpu] = value;
        break;
      case gicv.DIR:
        if (state.vmcr[cpu] & control.SPLIT_EOI) this.#deactivate(cpu, value & lr.ID);
        break;
    }
  }

  reset(): void {
    GicV2VirtualState.reset(this.state);
    this.#update();
  }
  save(): Uint8Array {
    return GicV2VirtualState.save(this.state);
  }
  load(saved: Uint8Array): void {
    GicV2VirtualState.load(this.state, saved);
    this.#update();
  }
}

function count(bits: number): number {
  let n = 0;
  for (let rest = bits; rest !== 0; rest &= rest - 1) n++;
  return n;
}
