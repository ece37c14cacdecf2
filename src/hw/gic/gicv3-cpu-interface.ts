/**
 * The system registers of a GICv3's CPU interface (IHI 0069, 12.2): ICC_*_EL1. Priorities have five bits; there are two groups, of
 * which group 0 is signalled as FIQ and group 1 as IRQ.
 */
import type { GicCpuInterface, GicRegister, GicVirtualInterface } from '../../bus/index.js';
import { lowestBit } from './bits.js';
import type { GicV3 } from './gicv3.js';
import { FIRST_LPI, IDLE, PRIORITY_BITS, PRIORITY_MASK, SPURIOUS } from './gicv3-state.js';

/** Bits of `control`, as ICC_CTLR_EL1 has them. */
const control = { CBPR: 1, EOI_MODE: 2 } as const;
/** ICC_CTLR_EL1: how many bits priorities have; interrupt numbers of 16 bits; Aff3 of SGIs may be other than 0. */
const CTLR = ((PRIORITY_BITS - 1) << 8) | (1 << 15);
/** ICC_SRE_EL1: system registers alone. */
const SRE = 7;
/** From here to 1023 numbers have meanings of their own. */
const FIRST_SPECIAL = 1020;
/** The lowest binary points: none below the bits that priorities have. */
const LEAST_POINT = 7 - PRIORITY_BITS;
const PRIORITY_SHIFT = 8 - PRIORITY_BITS;

export class GicV3CpuInterface implements GicCpuInterface {
  readonly #gic: GicV3;
  readonly #cpu: number;

  constructor(gic: GicV3, cpu: number) {
    this.#gic = gic;
    this.#cpu = cpu;
  }

  get virtual(): GicVirtualInterface | undefined {
    return this.#gic.virtual?.interfaces[this.#cpu];
  }

  /** The part of a priority that decides whether an interrupt preempts another. */
  #preemption(priority: number, group: 0 | 1): number {
    const { state } = this.#gic;
    const isOwn = group === 1 && (state.control[this.#cpu] & control.CBPR) === 0;
    const point = isOwn ? state.binaryPoint1[this.#cpu] - 1 : state.binaryPoint0[this.#cpu];
    return priority & (-1 << (point + 1)) & 0xff;
  }

  /** The priority that is served; 0x100: none. */
  #running(): number {
    const { activePriorities0, activePriorities1 } = this.#gic.state;
    const bits = activePriorities0[this.#cpu] | activePriorities1[this.#cpu];
    return bits === 0 ? IDLE : lowestBit(bits) << PRIORITY_SHIFT;
  }

  /** The interrupt that the CPU is signalled; 1023: none. */
  signalled(): number {
    const gic = this.#gic;
    const best = gic.best(this.#cpu);
    if (best === SPURIOUS) return SPURIOUS;
    const priority = gic.bestPriority(this.#cpu);
    if (priority >= gic.state.mask[this.#cpu]) return SPURIOUS;
    return this.#preemption(priority, gic.groupOf(best, this.#cpu)) < this.#running() ? best : SPURIOUS;
  }

  #acknowledge(group: 0 | 1): number {
    const gic = this.#gic;
    const irq = this.signalled();
    if (irq === SPURIOUS || gic.groupOf(irq, this.#cpu) !== group) return SPURIOUS;
    const preemption = this.#preemption(gic.bestPriority(this.#cpu), group) >> PRIORITY_SHIFT;
    const served = group === 0 ? gic.state.activePriorities0 : gic.state.activePriorities1;
    served[this.#cpu] |= 1 << preemption;
    gic.activate(irq, this.#cpu);
    gic.refresh(this.#cpu);
    return irq;
  }

  #highestPending(group: 0 | 1): number {
    const best = this.#gic.best(this.#cpu);
    return best !== SPURIOUS && this.#gic.groupOf(best, this.#cpu) === group ? best : SPURIOUS;
  }

  #endOfInterrupt(irq: number, group: 0 | 1): void {
    if (irq >= FIRST_SPECIAL && irq < FIRST_LPI) return;
    const { state } = this.#gic;
    const cpu = this.#cpu;
    const [bits0, bits1] = [state.activePriorities0[cpu], state.activePriorities1[cpu]];
    const running = bits0 | bits1;
    if (running === 0) return;
    // What ends is what is served now: of the other group nothing can be ended.
    const lowest = running & -running;
    const served = group === 0 ? state.activePriorities0 : state.activePriorities1;
    if ((served[cpu] & lowest) === 0) return;
    served[cpu] &= ~lowest;
    if ((state.control[cpu] & control.EOI_MODE) === 0) this.#gic.deactivate(irq, cpu);
  }

  #sendSgi(value: bigint, groups: number): void {
    const low = Number(value & 0xffffffffn);
    const high = Number((value >> 32n) & 0xffffffffn);
    const gic = this.#gic;
    const sgi = (low >>> 24) & 15;
    if ((high & 0x100) !== 0) {
      for (let cpu = 0; cpu < gic.cpus; cpu++) if (cpu !== this.#cpu) gic.receiveSgi(cpu, sgi, groups);
      return;
    }
    // The range selector is zero: ICC_CTLR_EL1.RSS.
    if (((high >>> 12) & 15) !== 0) return;
    const cluster = ((((high >>> 16) & 0xff) << 24) | ((high & 0xff) << 16) | (((low >>> 16) & 0xff) << 8)) >>> 0;
    for (let bits = low & 0xffff; bits !== 0; bits &= bits - 1) {
      const cpu = gic.cpuAt((cluster | lowestBit(bits)) >>> 0);
      if (cpu !== undefined) gic.receiveSgi(cpu, sgi, groups);
    }
  }

  read(register: GicRegister): number {
    const { state } = this.#gic;
    const cpu = this.#cpu;
    switch (register) {
      case 'IAR0':
        return this.#acknowledge(0);
      case 'IAR1':
        return this.#acknowledge(1);
      case 'HPPIR0':
        return this.#highestPending(0);
      case 'HPPIR1':
        return this.#highestPending(1);
      case 'BPR0':
        return state.binaryPoint0[cpu];
      case 'BPR1':
        // With a common binary point, that of group 1 is the other and one more.
        return (state.control[cpu] & control.CBPR) !== 0
          ? Math.min(state.binaryPoint0[cpu] + 1, 7)
          : state.binaryPoint1[cpu];
      case 'PMR':
        return state.mask[cpu];
      case 'RPR':
        return Math.min(this.#running(), 0xff);
      case 'CTLR':
        return CTLR | state.control[cpu];
      case 'SRE':
        return SRE;
      case 'IGRPEN0':
        return state.groups[cpu] & 1;
      case 'IGRPEN1':
        return state.groups[cpu] >> 1;
      case 'AP0R0':
        return state.activePriorities0[cpu];
      case 'AP1R0':
        return state.activePriorities1[cpu];
      default:
        return 0;
    }
  }

  write(register: GicRegister, value: bigint): void {
    const { state } = this.#gic;
    const cpu = this.#cpu;
    const low = Number(value & 0xffffffffn);
    switch (register) {
      case 'EOIR0':
        this.#endOfInterrupt(low & 0xffffff, 0);
        break;
      case 'EOIR1':
        this.#endOfInterrupt(low & 0xffffff, 1);
        break;
      case 'DIR':
        if ((state.control[cpu] & control.EOI_MODE) !== 0) this.#gic.deactivate(low & 0xffffff, cpu);
        break;
      case 'BPR0':
        state.binaryPoint0[cpu] = Math.max(low & 7, LEAST_POINT);
        break;
      case 'BPR1':
        if ((state.control[cpu] & control.CBPR) !== 0) return;
        state.binaryPoint1[cpu] = Math.max(low & 7, LEAST_POINT + 1);
        break;
      case 'PMR':
        state.mask[cpu] = low & PRIORITY_MASK;
        break;
      case 'CTLR':
        state.control[cpu] = low & (control.CBPR | control.EOI_MODE);
        break;
      case 'IGRPEN0':
        state.groups[cpu] = (state.groups[cpu] & 2) | (low & 1);
        break;
      case 'IGRPEN1':
        state.groups[cpu] = (state.groups[cpu] & 1) | ((low & 1) << 1);
        break;
      case 'AP0R0':
        state.activePriorities0[cpu] = low;
        break;
      case 'AP1R0':
        state.activePriorities1[cpu] = low;
        break;
      case 'SGI0R':
      case 'ASGI1R':
        this.#sendSgi(value, 1);
        return;
      case 'SGI1R':
        this.#sendSgi(value, 2);
        return;
      default:
        return;
    }
    this.#gic.refresh(cpu);
  }
}
