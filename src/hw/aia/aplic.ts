/**
 * A domain of RISC-V's advanced platform-level interrupt controller (Advanced Interrupt Architecture 1.0, chapter 4). A domain of M-mode
 * has a child for S-mode, to which it delegates sources. It delivers by lines, one for each hart, or by messages.
 *
 * How a domain delivers is fixed, as on QEMU (domaincfg.DM cannot be written). The ports for big-endian writers take nothing.
 */
import type { Device, IoHandler, IrqLine } from '../../bus/index.js';
import { bool, defineState, list, type StateArena, type StateOf, u8, u32, u32s } from '../../schema/index.js';

export const APLIC_BYTES = 0x8000;
export const APLIC_SOURCES = 96;
const WORDS = 4;
const MAX_HARTS = 64;

const at = {
  domaincfg: 0x0000,
  sourcecfg: 0x0004,
  mmsiaddrcfg: 0x1bc0,
  mmsiaddrcfgh: 0x1bc4,
  smsiaddrcfg: 0x1bc8,
  smsiaddrcfgh: 0x1bcc,
  setip: 0x1c00,
  setipnum: 0x1cdc,
  inClrip: 0x1d00,
  clripnum: 0x1ddc,
  setie: 0x1e00,
  setienum: 0x1edc,
  clrie: 0x1f00,
  clrienum: 0x1fdc,
  setipnumLe: 0x2000,
  genmsi: 0x3000,
  target: 0x3004,
  targetEnd: 0x4000,
  idc: 0x4000,
  idcStride: 0x20,
} as const;
const idcAt = { idelivery: 0x00, iforce: 0x04, ithreshold: 0x08, topi: 0x18, claimi: 0x1c } as const;

const domaincfg = { FIXED: 0x8000_0000, IE: 0x100, DM: 4 } as const;
const sourcecfg = { D: 0x400, SM: 7 } as const;
/** Source modes (4.5.2). */
const mode = { inactive: 0, detached: 1, edge1: 4, edge0: 5, level1: 6, level0: 7 } as const;
/** As many bits as QEMU's has. */
const PRIORITY_MASK = 7;
/** Of a target that is sent messages: hart, guest, identity. */
const MESSAGE_TARGET = 0xffff_f7ff;
const MSI_ADDRESS_HIGH = 0x9f77_ffff;
const SUPERVISOR_ADDRESS_HIGH = 0x0070_0fff;
const LOCKED = 0x8000_0000;

const AplicState = defineState('aplic', 1, {
  enabled: bool(),
  /** By source; number 0 is none. */
  source: u32s(APLIC_SOURCES + 1),
  target: u32s(APLIC_SOURCES + 1),
  /** Levels of the inputs, requests that wait, sources that are enabled: a bit for each. */
  levels: u32s(WORDS),
  pending: u32s(WORDS),
  enable: u32s(WORDS),
  mmsiaddrcfg: u32(),
  mmsiaddrcfgh: u32(),
  smsiaddrcfg: u32(),
  smsiaddrcfgh: u32(),
  /** Interrupt delivery control of each hart. */
  harts: list(MAX_HARTS, { delivery: u8(0, { max: 1 }), force: u8(0, { max: 1 }), threshold: u8() }),
});

const has = (words: Uint32Array, n: number): boolean => ((words[n >> 5] >>> (n & 31)) & 1) !== 0;
const put = (words: Uint32Array, n: number, on: boolean): void => {
  const bit = 1 << (n & 31);
  words[n >> 5] = on ? words[n >> 5] | bit : words[n >> 5] & ~bit;
};

export interface AplicOptions {
  readonly name: string;
  /** Of each hart. */
  readonly outputs: readonly IrqLine[];
  /** Messages are sent in place of the lines. */
  readonly send?: ((gpa: number, data: number) => void) | undefined;
  /** The domain that it delegates to; without one it is S-mode's. */
  readonly child?: Aplic | undefined;
  readonly arena?: StateArena | undefined;
}

export class Aplic implements Device, IoHandler {
  readonly name: string;
  readonly state: StateOf<typeof AplicState>;
  /** By source number; 0 is no source. Of the root domain: the child's are moved by it. */
  readonly inputs: readonly IrqLine[];
  readonly #outputs: readonly IrqLine[];
  readonly #send: ((gpa: number, data: number) => void) | undefined;
  readonly #child: Aplic | undefined;
  #parent: Aplic | undefined;

  constructor({ name, outputs, send, child, arena }: AplicOptions) {
    this.name = name;
    this.#outputs = outputs;
    this.#send = send;
    this.#child = child;
    if (child) child.#parent = this;
    this.state = AplicState.allocate(arena);
    this.inputs = Array.from({ length: APLIC_SOURCES + 1 }, (_, source) => ({
      set: (level: boolean) => this.#setInput(source, level),
    }));
  }

  // --- sources

  #setInput(source: number, level: boolean): void {
    if (source === 0 || has(this.state.levels, source) === level) return;
    const before = this.#rectified(source);
    put(this.state.levels, source, level);
    this.#child?.inputs[source].set(level);
    this.#inputChanged(source, before);
  }

  /** The source's mode; inactive where it is another domain's. */
  #mode(source: number): number {
    const config = this.state.source[source];
    return (config & sourcecfg.D) !== 0 ? mode.inactive : config & sourcecfg.SM;
  }

  /** The input as its mode has it (4.7). */
  #rectified(source: number): boolean {
    const level = has(this.state.levels, source);
    switch (this.#mode(source)) {
      case mode.edge1:
      case mode.level1:
        return level;
      case mode.edge0:
      case mode.level0:
        return !level;
      default:
        return false;
    }
  }

  #isLevel(source: number): boolean {
    return this.#mode(source) >= mode.level1;
  }

  #inputChanged(source: number, before: boolean): void {
    const now = this.#rectified(source);
    if (now === before) return;
    // A level's request goes with it.
    if (now || this.#isLevel(source)) put(this.state.pending, source, now);
    this.#update();
  }

  /** What software makes of a request: while lines are delivered a level's is what its input is, and nothing else. */
  #setPending(source: number, on: boolean): void {
    if (source < 1 || source > APLIC_SOURCES || this.#mode(source) === mode.inactive) return;
    if (this.#isLevel(source) && (!this.#send || (on && !this.#rectified(source)))) return;
    put(this.state.pending, source, on);
  }

  #setEnabled(source: number, on: boolean): void {
    if (source < 1 || source > APLIC_SOURCES || this.#mode(source) === mode.inactive) return;
    put(this.state.enable, source, on);
  }

  #writeSource(source: number, value: number): void {
    const { state } = this;
    if (this.#parent && (this.#parent.state.source[source] & sourcecfg.D) === 0) return;
    const delegates = (value & sourcecfg.D) !== 0;
    const kind = value & sourcecfg.SM;
    // There is one child, number 0, and modes 2 and 3 are not there.
    const next = delegates && this.#child ? sourcecfg.D : delegates || kind === 2 || kind === 3 ? 0 : kind;
    if (this.#child && next !== sourcecfg.D) this.#child.#forget(source);
    const before = this.#rectified(source);
    state.source[source] = next;
    if (this.#mode(source) === mode.inactive) this.#forget(source, next);
    else this.#inputChanged(source, before);
    if (!this.#send && state.target[source] === 0 && this.#mode(source) !== mode.inactive) state.target[source] = 1;
    this.#update();
  }

  /** Nothing is left of a source. */
  #forget(source: number, config = 0): void {
    const { state } = this;
    state.source[source] = config;
    state.target[source] = 0;
    put(state.pending, source, false);
    put(state.enable, source, false);
    this.#update();
  }

  #writeTarget(source: number, value: number): void {
    if (this.#mode(source) === mode.inactive) return;
    const { target } = this.state;
    if (this.#send) target[source] = value & MESSAGE_TARGET;
    else target[source] = (value & ~0x3_ffff) | (value & PRIORITY_MASK || 1);
    this.#update();
  }

  // --- delivery

  #update(): void {
    if (this.#send) this.#sendAll();
    else for (const hart of this.#outputs.keys()) this.#updateLine(hart);
  }

  #updateLine(hart: number): void {
    const { enabled, harts } = this.state;
    const idc = harts[hart];
    this.#outputs[hart].set(enabled && idc.delivery !== 0 && (idc.force !== 0 || this.#top(hart) !== 0));
  }

  /** The hart's most urgent source above its threshold, as topi has it; 0: none. The lowest number among equals. */
  #top(hart: number): number {
    const { pending, enable, target, harts } = this.state;
    const { threshold } = harts[hart];
    let best = 0;
    let most = threshold === 0 ? PRIORITY_MASK + 1 : threshold;
    for (let word = 0; word < WORDS; word++) {
      for (let bits = (pending[word] & enable[word]) >>> 0; bits !== 0; bits = (bits & (bits - 1)) >>> 0) {
        const source = 32 * word + 31 - Math.clz32(bits & -bits);
        const priority = target[source] & PRIORITY_MASK;
        if (target[source] >>> 18 !== hart || priority >= most) continue;
        most = priority;
        best = (source << 16) | priority;
      }
    }
    return best;
  }

  #claim(hart: number): number {
    const top = this.#top(hart);
    const source = top >>> 16;
    if (top === 0) this.state.harts[hart].force = 0;
    else if (!this.#isLevel(source)) put(this.state.pending, source, false);
    this.#updateLine(hart);
    return top;
  }

  #sendAll(): void {
    const { enabled, pending, enable, target } = this.state;
    if (!enabled) return;
    for (let word = 0; word < WORDS; word++) {
      let bits = (pending[word] & enable[word]) >>> 0;
      pending[word] &= ~bits;
      for (; bits !== 0; bits = (bits & (bits - 1)) >>> 0)
        this.#message(target[32 * word + 31 - Math.clz32(bits & -bits)]);
    }
  }

  /** To where the root's registers say that the hart's interrupt files are (4.9.1). */
  #message(target: number): void {
    const root = (this.#parent ?? this).state;
    const [low, own] = this.#parent ? [root.smsiaddrcfg, root.smsiaddrcfgh] : [root.mmsiaddrcfg, root.mmsiaddrcfgh];
    const widths = root.mmsiaddrcfgh;
    const part = (value: number, place: number, bits: number) => (value >>> place) & ((1 << bits) - 1);
    const [lowWidth, highWidth] = [part(widths, 12, 4), part(widths, 16, 3)];
    const highShift = part(widths, 24, 5);
    const lowShift = part(own, 20, 3);
    const hart = target >>> 18;
    const group = BigInt(part(hart, lowWidth, highWidth)) << BigInt(highShift + 12);
    const member = BigInt(part(hart, 0, lowWidth)) << BigInt(lowShift);
    const guest = this.#parent ? BigInt(part(target, 12, 6)) : 0n;
    const page = BigInt(low) | (BigInt(part(own, 0, 12)) << 32n) | group | member | guest;
    this.#send?.(Number(page << 12n), target & 0x7ff);
  }

  // --- registers

  #addresses(): [number, 'mmsiaddrcfg' | 'mmsiaddrcfgh' | 'smsiaddrcfg' | 'smsiaddrcfgh', number][] {
    if (this.#parent || !this.#send) return [];
    return [
      [at.mmsiaddrcfg, 'mmsiaddrcfg', 0xffff_ffff],
      [at.mmsiaddrcfgh, 'mmsiaddrcfgh', MSI_ADDRESS_HIGH],
      [at.smsiaddrcfg, 'smsiaddrcfg', 0xffff_ffff],
      [at.smsiaddrcfgh, 'smsiaddrcfgh', SUPERVISOR_ADDRESS_HIGH],
    ];
  }

  /** Registers are words: other accesses give 0 and do nothing. */
  read(offset: number, size: number): number {
    if (size !== 4 || offset % 4 !== 0) return 0;
    const { state } = this;
    if (offset === at.domaincfg)
      return (domaincfg.FIXED | (state.enabled ? domaincfg.IE : 0) | (this.#send ? domaincfg.DM : 0)) >>> 0;
    if (offset < at.mmsiaddrcfg) return state.source[offset >> 2] ?? 0;
    const word = (offset & 0x7c) >> 2;
    switch (offset & ~0x7f) {
      case at.setip:
        return state.pending[word] ?? 0;
      case at.inClrip:
        return this.#inputWord(word);
      case at.setie:
        return state.enable[word] ?? 0;
    }
    if (offset >= at.idc) return this.#send ? 0 : this.#readHart(offset - at.idc);
    if (offset >= at.target) return state.target[((offset - at.target) >> 2) + 1] ?? 0;
    const address = this.#addresses().find(([place]) => place === offset);
    return address ? state[address[1]] : 0;
  }

  #inputWord(word: number): number {
    let bits = 0;
    for (let n = 0; n < 32; n++) {
      const source = 32 * word + n;
      if (source > 0 && source <= APLIC_SOURCES && this.#rectified(source)) bits |= 1 << n;
    }
    return bits >>> 0;
  }

  #readHart(offset: number): number {
    const hart = Math.floor(offset / at.idcStride);
    if (hart >= this.#outputs.length) return 0;
    const { delivery, force, threshold } = this.state.harts[hart];
    switch (offset % at.idcStride) {
      case idcAt.idelivery:
        return delivery;
      case idcAt.iforce:
        return force;
      case idcAt.ithreshold:
        return threshold;
      case idcAt.topi:
        return this.#top(hart);
      case idcAt.claimi:
        return this.#claim(hart);
      default:
        return 0;
    }
  }

  write(offset: number, size: number, value: number): void {
    if (size !== 4 || offset % 4 !== 0) return;
    const { state } = this;
    const each = (set: (source: number) => void) => {
      const first = 8 * (offset & 0x7c);
      for (let n = 0; n < 32; n++) if ((value >>> n) & 1) set(first + n);
    };
    if (offset === at.domaincfg) state.enabled = (value & domaincfg.IE) !== 0;
    else if (offset < at.mmsiaddrcfg) {
      const source = offset >> 2;
      if (source <= APLIC_SOURCES) this.#writeSource(source, value);
    } else if (offset === at.setipnum || offset === at.setipnumLe) this.#setPending(value, true);
    else if (offset === at.clripnum) this.#setPending(value, false);
    else if (offset === at.setienum) this.#setEnabled(value, true);
    else if (offset === at.clrienum) this.#setEnabled(value, false);
    else if (offset === at.genmsi) {
      if (this.#send) this.#message(value & ~0x3_f800);
    } else if (offset >= at.idc) {
      if (!this.#send) this.#writeHart(offset - at.idc, value);
    } else if (offset >= at.target) {
      const source = ((offset - at.target) >> 2) + 1;
      if (source <= APLIC_SOURCES) this.#writeTarget(source, value);
    } else {
      switch (offset & ~0x7f) {
        case at.setip:
          each((source) => this.#setPending(source, true));
          break;
        case at.inClrip:
          each((source) => this.#setPending(source, false));
          break;
        case at.setie:
          each((source) => this.#setEnabled(source, true));
          break;
        case at.clrie:
          each((source) => this.#setEnabled(source, false));
          break;
        default:
          this.#writeAddress(offset, value);
      }
    }
    this.#update();
  }

  /** Where messages go; once locked, it stays. */
  #writeAddress(offset: number, value: number): void {
    const { state } = this;
    const address = this.#addresses().find(([place]) => place === offset);
    if (address && (state.mmsiaddrcfgh & LOCKED) === 0) state[address[1]] = (value & address[2]) >>> 0;
  }

  #writeHart(offset: number, value: number): void {
    const hart = Math.floor(offset / at.idcStride);
    if (hart >= this.#outputs.length) return;
    const idc = this.state.harts[hart];
    const register = offset % at.idcStride;
    if (register === idcAt.idelivery) idc.delivery = value & 1;
    else if (register === idcAt.iforce) idc.force = value & 1;
    else if (register === idcAt.ithreshold) idc.threshold = value & PRIORITY_MASK;
  }

  /** Lines outside keep their levels. */
  reset(): void {
    const levels = Uint32Array.from(this.state.levels);
    AplicState.reset(this.state);
    this.state.levels.set(levels);
    this.#update();
  }
  save(): Uint8Array {
    return AplicState.save(this.state);
  }
  load(saved: Uint8Array): void {
    AplicState.load(this.state, saved);
    this.#update();
  }
}
