/** Interrupt controllers in the kernel: what both kinds, all of them (`on`) and local APICs alone (`split`), have in common. */
import type { ApicBus, ApicDivert, GlobalInterrupts, IoApic, LocalApic, PicPair, Pit } from '../../../hw/index.js';
import { type CapabilityName, call } from './abi.js';
import type { InterruptRoutes } from './interrupt-routes.js';
import type { KvmVm } from './system.js';

const MSI_GPA = 0xfee00000;
const LEVEL = 0x8000;

/** Interrupt controllers in the kernel: all, the local APICs alone, or none. */
export type IrqchipPlace = 'on' | 'split' | 'off';

const needs: Readonly<Record<IrqchipPlace, readonly CapabilityName[]>> = {
  on: ['IRQCHIP', 'PIT2', 'PIT_STATE2', 'IRQ_ROUTING', 'SIGNAL_MSI'],
  split: ['SPLIT_IRQCHIP', 'IRQ_ROUTING', 'SIGNAL_MSI'],
  off: [],
};

/** The first capability that a kernel lacks for it; undefined: none. */
export function irqchipLacks(place: IrqchipPlace, has: (name: CapabilityName) => boolean): CapabilityName | undefined {
  return needs[place].find((name) => !has(name));
}

/** As much as a kernel has; `whole`: what it has beside local APICs is what the board has. */
export function bestIrqchip(has: (name: CapabilityName) => boolean, whole: boolean): IrqchipPlace {
  const places = whole ? (['on', 'split'] as const) : (['split'] as const);
  return places.find((place) => irqchipLacks(place, has) === undefined) ?? 'off';
}

/** The board's interrupt controllers and timer, as far as KVM's work with them or instead of them. */
export interface X86Controllers {
  /** By APIC id. */
  readonly lapics: readonly LocalApic[];
  readonly ioapic: IoApic;
  readonly pic: PicPair;
  readonly gsi: GlobalInterrupts;
  readonly pit: Pit | undefined;
  /** Takes what the first one does not. */
  readonly secondIoApic: IoApic | undefined;
  /** There are the controllers that KVM has: 8259s, 8254 and one I/O APIC. */
  readonly fitsKernel: boolean;
  /** The HPET has taken the timer's interrupt from the 8254. */
  isPitReplaced(): boolean;
  readonly bus: ApicBus;
  nowNs(): number;
}

export interface KernelInterrupts {
  /** The 8259s lie there too; otherwise their interrupts are to be put in. */
  readonly takesExternal: boolean;
  /** Guest-physical addresses that are KVM's: accesses do not come out. */
  readonly hidden: { readonly start: number; readonly size: number } | undefined;
  /** From here on KVM has the controllers; the local APICs' registers are there already. */
  take(): void;
  /** The guest is about to run: timers that lie there begin. */
  start(): void;
  /** KVM has them no longer; the local APICs' registers are still to be fetched. */
  give(): void;
  /** A local APIC tells that a level-triggered interrupt has ended. */
  endOfInterrupt(vector: number): void;
  /** Gives back what it has of the system. */
  close(): void;
}

/** Address and data of a message-signalled interrupt (Intel SDM vol. 3, 11.11). */
export function messageOf(destination: number, logical: boolean, mode: number, vector: number, level: boolean) {
  return {
    address: (MSI_GPA | ((destination & 0xff) << 12) | (logical ? 4 : 0)) >>> 0,
    data: (vector & 0xff) | ((mode & 7) << 8) | (level ? LEVEL | 0x4000 : 0),
  };
}

/** Interrupt messages of the board's I/O APICs and devices to KVM's local APICs. */
export class MessageSender implements ApicDivert {
  readonly #vm: KvmVm;
  readonly #routes: InterruptRoutes;
  readonly #bytes = new Uint8Array(new ArrayBuffer(32));
  readonly #view = new DataView(this.#bytes.buffer);

  constructor(vm: KvmVm, routes: InterruptRoutes) {
    this.#vm = vm;
    this.#routes = routes;
  }

  deliver(destination: number, logical: boolean, mode: number, vector: number, level: boolean): boolean {
    const { address, data } = messageOf(destination, logical, mode, vector, level);
    return this.#signal(address, data);
  }

  send(address: number, data: number): void {
    if (!this.#routes.send(address, data)) this.#signal(address, data);
  }

  #signal(address: number, data: number): boolean {
    this.#view.setUint32(0, address, true);
    this.#view.setUint32(8, data, true);
    return this.#vm.call('take an interrupt message', call.signalMsi, this.#bytes) > 0;
  }
}
