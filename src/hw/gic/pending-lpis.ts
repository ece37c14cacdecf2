/**
 * The message-signalled interrupts (LPIs) of one redistributor of a GICv3 (IHI 0069, 6.1): which are pending is a table of bits in guest
 * memory, and what priority they have and whether they are enabled is a table of bytes. The first is read when LPIs are enabled and
 * written through; of the second, what may be cached is one interrupt, until software says that it has changed something.
 */
import type { DmaSpace } from '../../bus/index.js';
import { FIRST_LPI, ID_BITS, IDLE, PRIORITY_MASK, SPURIOUS } from './gicv3-state.js';

const ENABLED = 1;

/** Addresses of both tables, and how many interrupt numbers they have. */
export interface LpiTables {
  readonly propertyGpa: number;
  readonly pendingGpa: number;
  readonly idBits: number;
}

export class PendingLpis {
  readonly #dma: DmaSpace;
  #tables: LpiTables | undefined;
  readonly #pending = new Set<number>();
  /** The first of those that are enabled, if it is known. */
  #isKnown = true;
  #best = SPURIOUS;
  #priority = IDLE;

  constructor(dma: DmaSpace) {
    this.#dma = dma;
  }

  /** Undefined: LPIs are disabled. Tables outside of RAM have nothing in them. */
  use(tables: LpiTables | undefined): void {
    this.#tables = tables;
    this.#pending.clear();
    this.changed();
    if (!tables) return;
    const end = 2 ** Math.min(tables.idBits, ID_BITS);
    const bits = this.#dma.view(tables.pendingGpa + FIRST_LPI / 8, Math.max(0, end - FIRST_LPI) / 8, false);
    for (const [i, byte] of bits?.entries() ?? [])
      for (let bit = 0; byte >>> bit !== 0; bit++) if ((byte >>> bit) & 1) this.#pending.add(FIRST_LPI + 8 * i + bit);
  }

  #has(irq: number): boolean {
    return this.#tables !== undefined && irq >= FIRST_LPI && irq < 2 ** Math.min(this.#tables.idBits, ID_BITS);
  }

  isPending(irq: number): boolean {
    return this.#pending.has(irq);
  }

  /** Numbers of all. */
  get all(): readonly number[] {
    return [...this.#pending];
  }

  set(irq: number): void {
    if (!this.#has(irq) || this.#pending.has(irq)) return;
    this.#pending.add(irq);
    this.#store(irq, true);
    if (!this.#isKnown) return;
    const priority = this.#priorityOf(irq);
    if (priority < this.#priority || (priority === this.#priority && irq < this.#best))
      [this.#best, this.#priority] = [irq, priority];
  }

  clear(irq: number): void {
    if (!this.#pending.delete(irq)) return;
    this.#store(irq, false);
    if (irq === this.#best) this.changed();
  }

  /** The table of priorities may have changed. */
  changed(): void {
    this.#isKnown = false;
  }

  #store(irq: number, isPending: boolean): void {
    const gpa = (this.#tables?.pendingGpa ?? 0) + (irq >> 3);
    const byte = this.#dma.view(gpa, 1, true);
    if (!byte) return;
    if (isPending) byte[0] |= 1 << (irq & 7);
    else byte[0] &= ~(1 << (irq & 7));
    this.#dma.publish(gpa, 1);
  }

  /** Below all where it is disabled. */
  #priorityOf(irq: number): number {
    const byte = this.#dma.view((this.#tables?.propertyGpa ?? 0) + irq - FIRST_LPI, 1, false)?.[0] ?? 0;
    return (byte & ENABLED) !== 0 ? byte & PRIORITY_MASK : IDLE;
  }

  #find(): void {
    if (this.#isKnown) return;
    this.#isKnown = true;
    this.#best = SPURIOUS;
    this.#priority = IDLE;
    for (const irq of this.#pending) {
      const priority = this.#priorityOf(irq);
      if (priority < this.#priority || (priority === this.#priority && irq < this.#best && priority < IDLE))
        [this.#best, this.#priority] = [irq, priority];
    }
  }

  /** What has the highest priority of those that are pending and enabled; 1023: there is none. */
  get best(): number {
    this.#find();
    return this.#best;
  }

  /** Its priority; below all where there is none. */
  get priority(): number {
    this.#find();
    return this.#priority;
  }
}
