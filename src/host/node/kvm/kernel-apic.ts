/**
 * KVM's own local APICs with the board's I/O APIC and 8259s ("split irqchip"): timers, priorities, ends of interrupts and
 * inter-processor interrupts cost no exit. The board's messages go to KVM; KVM tells of ends of level-triggered interrupts that its
 * table of routes names.
 */
import { call, routing } from './abi.js';
import { type KernelInterrupts, MessageSender, messageOf, type X86Controllers } from './kernel-interrupts.js';
import type { KvmVm } from './system.js';

const PINS = 24;
const LEVEL = 0x8000;
const LOGICAL = 0x800;

export class KernelApic implements KernelInterrupts {
  readonly takesExternal = false;
  readonly hidden = undefined;
  readonly #vm: KvmVm;
  readonly #board: X86Controllers;
  readonly #messages: MessageSender;

  constructor(vm: KvmVm, board: X86Controllers) {
    this.#vm = vm;
    this.#board = board;
    this.#messages = new MessageSender(vm);
    vm.enable('keep local APICs', 'SPLIT_IRQCHIP', PINS);
  }

  take(): void {
    const { bus, ioapic, lapics } = this.#board;
    for (const lapic of lapics) lapic.standBy();
    bus.divert = this.#messages.send;
    ioapic.onRedirection = () => this.#route();
    this.#route();
  }

  give(): void {
    this.#board.bus.divert = undefined;
    this.#board.ioapic.onRedirection = undefined;
  }

  /** Of which vectors KVM tells when their interrupts end. */
  #route(): void {
    const { low, high } = this.#board.ioapic.state;
    const table = new DataView(new ArrayBuffer(8 + PINS * routing.entryBytes));
    table.setUint32(0, PINS, true);
    for (let pin = 0; pin < PINS; pin++) {
      const entry = low[pin]!;
      const at = 8 + pin * routing.entryBytes;
      const level = (entry & LEVEL) !== 0;
      const { address, data } = messageOf(
        high[pin]! >>> 24,
        (entry & LOGICAL) !== 0,
        (entry >> 8) & 7,
        entry & 0xff,
        level,
      );
      table.setUint32(at, pin, true);
      table.setUint32(at + 4, routing.msi, true);
      table.setUint32(at + 16, address, true);
      table.setUint32(at + 24, data, true);
    }
    this.#vm.call('take a table of interrupt routes', call.setGsiRouting, new Uint8Array(table.buffer));
  }

  start(): void {}

  endOfInterrupt(vector: number): void {
    this.#board.ioapic.endOfInterrupt(vector);
  }
}
