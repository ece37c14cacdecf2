/**
 * An interrupt file of RISC-V's incoming MSI controller (Advanced Interrupt Architecture 1.0, chapter 3): identities 1 to 255, pending and
 * enabled bits, which a hart reaches by its CSRs and everybody else by a page of memory, where the number of an identity is written.
 *
 * As QEMU's: interrupts are delivered from the file or not at all (eidelivery is 0 or 1), and the big-endian port takes nothing.
 */
import type { Device, IoHandler, IrqLine } from '../../bus/index.js';
import { defineState, type StateArena, type StateOf, u32, u64s } from '../../schema/index.js';

export const IMSIC_PAGE_BYTES = 0x1000;
/** The highest identity. */
export const IMSIC_IDS = 255;
const WORDS = 4;
const WORD_BITS = 64n;
const ALL = (1n << WORD_BITS) - 1n;

/** What the indirect registers are selected by (3.8). Of eip and eie each even number is 64 identities. */
const select = { eidelivery: 0x70, eithreshold: 0x72, eip: 0x80, eie: 0xc0, end: 0x100 } as const;

const ImsicState = defineState('imsic', 1, {
  pending: u64s(WORDS),
  enabled: u64s(WORDS),
  delivery: u32(0, { max: 1 }),
  threshold: u32(0, { max: IMSIC_IDS }),
});

export class ImsicFile implements Device, IoHandler {
  readonly name: string;
  readonly state: StateOf<typeof ImsicState>;
  readonly #output: IrqLine;

  constructor({ name, output, arena }: { name: string; output: IrqLine; arena?: StateArena }) {
    this.name = name;
    this.#output = output;
    this.state = ImsicState.allocate(arena);
  }

  /** The pending and enabled identity that is most urgent, which is the lowest, if the threshold lets it pass; 0: there is none. */
  get top(): number {
    const { pending, enabled, threshold } = this.state;
    for (let word = 0; word < WORDS; word++) {
      const bits = pending[word] & enabled[word];
      if (bits === 0n) continue;
      const id = 64 * word + lowestBit(bits);
      return threshold !== 0 && id >= threshold ? 0 : id;
    }
    return 0;
  }

  /** It is no longer pending. */
  claim(): void {
    const { top } = this;
    if (top === 0) return;
    this.state.pending[top >> 6] &= ~(1n << BigInt(top & 63));
    this.#update();
  }

  /** What a message does: an identity that is not there is ignored. */
  receive(id: number): void {
    if (id < 1 || id > IMSIC_IDS) return;
    this.state.pending[id >> 6] |= 1n << BigInt(id & 63);
    this.#update();
  }

  /** A register by its number in miselect or siselect; undefined: the access is illegal. */
  readRegister(number: number): bigint | undefined {
    const { pending, enabled, delivery, threshold } = this.state;
    if (number === select.eidelivery) return BigInt(delivery);
    if (number === select.eithreshold) return BigInt(threshold);
    const place = placeOf(number);
    return place && ((place.which === 'pending' ? pending : enabled)[place.word] ?? 0n);
  }

  /** False: the access is illegal. */
  writeRegister(number: number, value: bigint): boolean {
    const { state } = this;
    if (number === select.eidelivery) state.delivery = Number(value & 1n);
    else if (number === select.eithreshold) state.threshold = Number(value & BigInt(IMSIC_IDS));
    else {
      const place = placeOf(number);
      if (!place) return false;
      // There is no identity 0, and none beyond the last.
      if (place.word < WORDS) state[place.which][place.word] = place.word === 0 ? value & ~1n : value & ALL;
    }
    this.#update();
    return true;
  }

  #update(): void {
    this.#output.set(this.state.delivery !== 0 && this.top !== 0);
  }

  /** seteipnum_le and seteipnum_be read as 0 (3.5). */
  read(): number {
    return 0;
  }
  write(offset: number, size: number, value: number): void {
    if (size === 4 && offset === 0) this.receive(value);
  }

  reset(): void {
    ImsicState.reset(this.state);
    this.#update();
  }
  save(): Uint8Array {
    return ImsicState.save(this.state);
  }
  load(saved: Uint8Array): void {
    ImsicState.load(this.state, saved);
    this.#update();
  }
}

function lowestBit(bits: bigint): number {
  const low = Number(bits & 0xffffffffn);
  const half = low !== 0 ? low : Number(bits >> 32n);
  return 31 - Math.clz32(half & -half) + (low !== 0 ? 0 : 32);
}

function placeOf(number: number): { readonly which: 'pending' | 'enabled'; readonly word: number } | undefined {
  if (number < select.eip || number >= select.end || (number & 1) !== 0) return undefined;
  return number < select.eie
    ? { which: 'pending', word: (number - select.eip) >> 1 }
    : { which: 'enabled', word: (number - select.eie) >> 1 };
}
