/**
 * KVM's own local APICs with the board's I/O APIC and 8259s ("split irqchip"): timers, priorities, ends of interrupts and
 * inter-processor interrupts cost no exit. The board's messages go to KVM; KVM tells of ends of level-triggered interrupts that its
 * table of routes names.
 */
import type { ApicBus, IoApic, LocalApic, PicPair } from '../../../hw/index.js';
import { call, routing } from './abi.js';
import type { KvmSystem, KvmVm } from './system.js';

const PINS = 24;
const MSI_GPA = 0xfee00000;
const LEVEL = 0x8000;
const LOGICAL = 0x800;

/** The board's interrupt controllers, as far as KVM's local APIC works with them. */
export interface X86Controllers {
  /** By APIC id. */
  readonly lapics: readonly LocalApic[];
  readonly ioapic: IoApic;
  readonly pic: PicPair;
  readonly bus: ApicBus;
  nowNs(): number;
}

/** Address and data of a message-signalled interrupt (Intel SDM vol. 3, 11.11). */
function message(destination: number, logical: boolean, mode: number, vector: number, level: boolean) {
  return {
    address: (MSI_GPA | ((destination & 0xff) << 12) | (logical ? 4 : 0)) >>> 0,
    data: (vector & 0xff) | ((mode & 7) << 8) | (level ? LEVEL | 0x4000 : 0),
  };
}

export class KernelApic {
  readonly #vm: KvmVm;
  readonly #board: X86Controllers;
  readonly #message = new Uint8Array(new ArrayBuffer(32));
  readonly #view = new DataView(this.#message.buffer);

  constructor(vm: KvmVm, board: X86Controllers) {
    this.#vm = vm;
    this.#board = board;
    vm.enable('keep local APICs', 'SPLIT_IRQCHIP', PINS);
  }

  /** Whether this host's KVM has what it takes. */
  static isOffered(system: KvmSystem): boolean {
    return (['SPLIT_IRQCHIP', 'SIGNAL_MSI', 'IRQ_ROUTING'] as const).every((name) => system.check(name) !== 0);
  }

  /** From here on KVM has the local APICs. */
  take(): void {
    const { bus, ioapic, lapics } = this.#board;
    for (const lapic of lapics) lapic.standBy();
    bus.divert = (destination, logical, mode, vector, level) => {
      const { address, data } = message(destination, logical, mode, vector, level);
      this.#view.setUint32(0, address, true);
      this.#view.setUint32(8, data, true);
      return this.#vm.call('take an interrupt message', call.signalMsi, this.#message) > 0;
    };
    ioapic.onRedirection = () => this.#route();
    this.#route();
  }

  /** And no longer. */
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
      const { address, data } = message(
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

  endOfInterrupt(vector: number): void {
    this.#board.ioapic.endOfInterrupt(vector);
  }
}
