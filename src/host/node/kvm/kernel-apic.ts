/**
 * KVM's own local APICs with the board's I/O APICs and 8259s ("split irqchip"): timers, priorities, ends of interrupts and
 * inter-processor interrupts cost no exit. The board's messages go to KVM; KVM tells of ends of level-triggered interrupts that its
 * table of routes names.
 */
import type { IoApic } from '../../../hw/index.js';
import { InterruptRoutes } from './interrupt-routes.js';
import { type KernelInterrupts, MessageSender, messageOf, type X86Controllers } from './kernel-interrupts.js';
import type { KvmVm } from './system.js';

const PINS = 24;
const LEVEL = 0x8000;
const LOGICAL = 0x800;

export class KernelApic implements KernelInterrupts {
  readonly takesExternal = false;
  readonly hidden = undefined;
  readonly #board: X86Controllers;
  readonly #routes: InterruptRoutes;
  readonly #messages: MessageSender;

  constructor(vm: KvmVm, board: X86Controllers) {
    this.#board = board;
    const pins = this.#ioApics.length * PINS;
    vm.enable('keep local APICs', 'SPLIT_IRQCHIP', pins);
    this.#routes = new InterruptRoutes(vm, pins);
    this.#messages = new MessageSender(vm, this.#routes);
  }

  take(): void {
    const { bus, lapics } = this.#board;
    for (const lapic of lapics) lapic.standBy();
    bus.divert = this.#messages;
    for (const ioapic of this.#ioApics) ioapic.onRedirection = () => this.#route();
    this.#route();
  }

  give(): void {
    this.#board.bus.divert = undefined;
    this.#routes.flush();
    for (const ioapic of this.#ioApics) ioapic.onRedirection = undefined;
  }

  /** Of which vectors KVM tells when their interrupts end. */
  #route(): void {
    const entries = this.#ioApics.flatMap(({ state: { low, high } }) =>
      Array.from({ length: PINS }, (_, pin) => {
        const entry = low[pin]!;
        const isLogical = (entry & LOGICAL) !== 0;
        return messageOf(high[pin]! >>> 24, isLogical, (entry >> 8) & 7, entry & 0xff, (entry & LEVEL) !== 0);
      }),
    );
    this.#routes.setControllers(entries.map((message, gsi) => ({ gsi, ...message })));
  }

  get #ioApics(): readonly IoApic[] {
    const { ioapic, secondIoApic } = this.#board;
    return secondIoApic ? [ioapic, secondIoApic] : [ioapic];
  }

  start(): void {}

  endOfInterrupt(vector: number): void {
    for (const ioapic of this.#ioApics) ioapic.endOfInterrupt(vector);
  }

  close(): void {
    this.#routes.flush();
  }
}
