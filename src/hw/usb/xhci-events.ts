/** Event rings of an xHCI (4.9.4), a segment each, and the interrupts of their interrupters (4.17). */
import type { DmaSpace } from '../../bus/index.js';
import { command, interrupterBits, status } from './xhci-codes.js';
import { type Interrupter, interrupterCount, type XhciRegisters } from './xhci-state.js';

const eventBytes = 16;
const address = (low: number, high: number): number => high * 2 ** 32 + low;

export interface XhciEvent {
  readonly type: number;
  /** Address or number: 64 bits as two halves. */
  readonly low: number;
  readonly high?: number;
  /** Second word, the completion code in its top byte. */
  readonly status: number;
  /** Bits of the last word beside type and cycle. */
  readonly control?: number;
}

export class XhciEvents {
  readonly #dma: DmaSpace;
  readonly #state: XhciRegisters;
  readonly #interrupt: (interrupter: number) => void;

  /** `interrupt`: an interrupter has something new to tell, and may. */
  constructor(dma: DmaSpace, state: XhciRegisters, interrupt: (interrupter: number) => void) {
    this.#dma = dma;
    this.#state = state;
    this.#interrupt = interrupt;
  }

  #at(index: number): Interrupter {
    return this.#state.interrupters[index < interrupterCount ? index : 0]!;
  }

  /** The guest has said where the segment is. */
  segmentWritten(index: number): void {
    const each = this.#at(index);
    const dma = this.#dma;
    each.next = 0;
    each.cycle = true;
    each.entries = 0;
    const table = address((each.ERSTBALow & ~63) >>> 0, each.ERSTBAHigh);
    if (each.ERSTSZ !== 1 || table === 0) return;
    const entries = dma.readU32(table + 8) & 0xffff;
    if (entries < 16 || entries > 4096) return;
    each.segmentLow = (dma.readU32(table) & ~63) >>> 0;
    each.segmentHigh = dma.readU32(table + 4);
    each.entries = entries;
  }

  #free(each: Interrupter): number {
    const { entries } = each;
    if (entries === 0) return 0;
    const offset = address((each.ERDPLow & ~15) >>> 0, each.ERDPHigh) - address(each.segmentLow, each.segmentHigh);
    const read = offset >= 0 && offset < entries * eventBytes ? Math.floor(offset / eventBytes) : each.next;
    return (read - each.next - 1 + entries) % entries;
  }

  /** Whether so many events have room. Without a ring they are nobody's, and lost. */
  hasRoom(index: number, count: number): boolean {
    const each = this.#at(index);
    return each.entries === 0 || this.#free(each) >= count;
  }

  send(index: number, { type, low, high = 0, status: word, control = 0 }: XhciEvent): void {
    const each = this.#at(index);
    const dma = this.#dma;
    if (this.#free(each) === 0) return;
    const at = address(each.segmentLow, each.segmentHigh) + each.next * eventBytes;
    dma.writeU32(at, low);
    dma.writeU32(at + 4, high);
    dma.writeU32(at + 8, word >>> 0);
    dma.writeU32(at + 12, (control | (type << 10) | (each.cycle ? 1 : 0)) >>> 0);
    each.next++;
    if (each.next === each.entries) {
      each.next = 0;
      each.cycle = !each.cycle;
    }
    this.#raise(index);
  }

  #raise(given: number): void {
    const index = given < interrupterCount ? given : 0;
    const each = this.#at(index);
    const wasBusy = (each.ERDPLow & interrupterBits.busy) !== 0;
    each.ERDPLow |= interrupterBits.busy;
    each.IMAN |= interrupterBits.pending;
    this.#state.USBSTS |= status.event;
    const isOpen = (each.IMAN & interrupterBits.enabled) !== 0 && (this.#state.USBCMD & command.interrupts) !== 0;
    if (!wasBusy && isOpen) this.#interrupt(index);
  }

  /** The guest has said how far it has read. */
  dequeueWritten(index: number, low: number): void {
    const each = this.#at(index);
    const busy = each.ERDPLow & interrupterBits.busy & ~low;
    each.ERDPLow = ((low & ~interrupterBits.busy) | busy) >>> 0;
  }

  /** It is through with what there was when it looked: more may have come. */
  lookAgain(index: number): void {
    const each = this.#at(index);
    if (each.entries > 0 && (each.ERDPLow & interrupterBits.busy) === 0 && this.#free(each) < each.entries - 1)
      this.#raise(index);
  }
}
