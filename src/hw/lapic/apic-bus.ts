/**
 * The message bus between local APICs, I/O APICs and devices that send message-signalled interrupts (Intel SDM vol. 3,
 * "APIC bus message" and "Message signalled interrupts", 11.11).
 */
import type { MsiTarget } from '../../bus/index.js';
import type { LocalApic } from './lapic.js';

/** Delivery modes as ICR, LVT, redirection entries and MSI data encode them. */
export const FIXED = 0;
export const LOWEST_PRIORITY = 1;
export const SMI = 2;
export const NMI = 4;
export const INIT = 5;
export const STARTUP = 6;
export const EXTINT = 7;

/** The physical destination "all" of a 32-bit destination. */
export const BROADCAST = 0xffffffff;

/** Destination shorthands of the ICR. */
const SELF = 1;
const ALL = 2;

/** Takes an interrupt message of an I/O APIC; false: nobody took it. */
type ApicMessage = (
  destination: number,
  logical: boolean,
  mode: number,
  vector: number,
  levelTriggered: boolean,
) => boolean;

/** Local APICs that lie elsewhere: in the host's kernel. */
export interface ApicDivert {
  deliver: ApicMessage;
  /** A device's message, to 0xfeexxxxx: whether anybody takes it shows in nothing. */
  send(addressGpa: number, data: number): void;
}

export class ApicBus implements MsiTarget {
  /** Messages go there instead. */
  divert: ApicDivert | undefined;
  readonly #locals: LocalApic[] = [];
  readonly #ioApics: { endOfInterrupt(vector: number): void }[] = [];

  attach(local: LocalApic): void {
    this.#locals.push(local);
  }
  attachIoApic(ioApic: { endOfInterrupt(vector: number): void }): void {
    this.#ioApics.push(ioApic);
  }

  /** An interrupt from an I/O APIC or device, with its 8-bit destination. False if no local APIC took it. */
  deliver(destination: number, logical: boolean, mode: number, vector: number, levelTriggered: boolean): boolean {
    if (this.divert) return this.divert.deliver(destination, logical, mode, vector, levelTriggered);
    return this.#deliver(destination === 0xff ? BROADCAST : destination, logical, mode, vector, levelTriggered);
  }

  #deliver(destination: number, logical: boolean, mode: number, vector: number, levelTriggered: boolean): boolean {
    const locals = this.#locals;
    if (mode === LOWEST_PRIORITY) {
      let best: LocalApic | undefined;
      let least = 256;
      for (let i = 0; i < locals.length; i++) {
        const local = locals[i]!;
        if (!local.isAddressed(destination, logical) || !local.takesFixed()) continue;
        const priority = local.processorPriority();
        if (priority < least) {
          best = local;
          least = priority;
        }
      }
      return best?.receive(FIXED, vector, levelTriggered) ?? false;
    }
    let taken = false;
    for (let i = 0; i < locals.length; i++) {
      const local = locals[i]!;
      if (local.isAddressed(destination, logical)) taken = local.receive(mode, vector, levelTriggered) || taken;
    }
    return taken;
  }

  /** An inter-processor interrupt; `destination` is 32 bits wide, with BROADCAST for all. */
  interProcessor(
    source: LocalApic,
    shorthand: number,
    destination: number,
    logical: boolean,
    mode: number,
    vector: number,
  ): void {
    if (shorthand === 0) this.#deliver(destination, logical, mode, vector, false);
    else if (shorthand === SELF) source.receive(mode, vector, false);
    else {
      for (const local of this.#locals) {
        if (shorthand === ALL || local !== source) local.receive(mode, vector, false);
      }
    }
  }

  /** A 32-bit write to 0xfeexxxxx: destination and mode in the address, vector and delivery mode in the data. */
  send(addressGpa: number, data: number): void {
    if (Math.floor(addressGpa / 0x100000) !== 0xfee) return;
    if (this.divert) {
      this.divert.send(addressGpa, data & 0xffff);
      return;
    }
    const destination = (addressGpa >>> 12) & 0xff;
    this.deliver(destination, (addressGpa & 4) !== 0, (data >>> 8) & 7, data & 0xff, (data & 0x8000) !== 0);
  }

  /** A local APIC ended a level-triggered interrupt. */
  broadcastEoi(vector: number): void {
    for (let i = 0; i < this.#ioApics.length; i++) this.#ioApics[i]!.endOfInterrupt(vector);
  }
}
