/** The PIRQ routing of Intel's ISA bridges: a register for each PCI interrupt line says which ISA interrupt it raises. */
import type { IrqLine } from '../../bus/index.js';
import { defineState, type StateArena, type StateOf, u16 } from '../../schema/index.js';
import type { PciFunction } from './pci-function.js';
import type { PciRoot } from './pci-root.js';
import { type StatePart, statePart } from './saved-parts.js';

const pirqOff = 0x80;

export const PirqState = defineState('pirq-router', 1, {
  /** ISA interrupts that the bridge holds up now. Others' levels are none of its business. */
  driven: u16(),
});

/** Where the routing register of a line lies: PIRQA to D from 0x60 on, PIRQE to H from 0x68 on. */
export const pirqRegister = (line: number): number => (line < 4 ? 0x60 + line : 0x64 + line);

export class PirqRouter {
  readonly part: StatePart;
  readonly #state: StateOf<typeof PirqState>;
  readonly #function: PciFunction;
  readonly #root: PciRoot;
  readonly #irqs: readonly (IrqLine | undefined)[];
  readonly #lines: number;

  /** `irqs[n]` is where PCI interrupts routed to IRQ n go: one source for all lines. */
  constructor(options: {
    fn: PciFunction;
    root: PciRoot;
    irqs: readonly (IrqLine | undefined)[];
    lines: number;
    arena?: StateArena | undefined;
  }) {
    this.#function = options.fn;
    this.#root = options.root;
    this.#irqs = options.irqs;
    this.#lines = options.lines;
    this.#state = PirqState.allocate(options.arena);
    this.part = statePart(PirqState, this.#state);
    for (let i = 0; i < options.lines; i++) options.fn.define(pirqRegister(i), 1, pirqOff, 0x8f);
  }

  isTouched(offset: number, size: number): boolean {
    for (let i = 0; i < this.#lines; i++) if (pirqRegister(i) >= offset && pirqRegister(i) < offset + size) return true;
    return false;
  }

  /** ISA interrupt that a PCI line is routed to, or undefined. Interrupts that ISA keeps for itself are not in reach. */
  irqOf(line: number): number | undefined {
    const value = this.#function.config[pirqRegister(line)]!;
    if ((value & pirqOff) !== 0) return undefined;
    const irq = value & 0xf;
    return irq < 3 || irq === 8 || irq === 13 ? undefined : irq;
  }

  /** A line's level may have changed. */
  update(line: number): void {
    this.#updateIrq(this.irqOf(line));
  }

  updateAll(): void {
    for (let irq = 0; irq < 16; irq++) this.#updateIrq(irq);
  }

  #updateIrq(irq: number | undefined): void {
    if (irq === undefined) return;
    let level = false;
    for (let line = 0; line < this.#lines; line++) level ||= this.irqOf(line) === irq && this.#root.lineLevel(line);
    const bit = 1 << irq;
    if (((this.#state.driven & bit) !== 0) === level) return;
    this.#state.driven ^= bit;
    this.#irqs[irq]?.set(level);
  }

  /**
   * Loads by `load`. What the lines are is this machine's history; the state says what they should be once all functions are loaded.
   */
  aroundLoad(load: () => void): void {
    const before = this.#state.driven;
    load();
    this.#state.driven = before;
    this.updateAll();
  }
}
