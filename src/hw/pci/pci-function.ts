/**
 * One PCI function: its configuration space with the type 0 header (PCI Local Bus 3.0, 6.1 and 6.2), its BARs as windows
 * that follow the command register, its capability list and its interrupt pin.
 *
 * BARs lie below RAM: where a guest puts one over RAM, RAM answers, as on the i440FX.
 */
import { assert } from '../../base/index.js';
import type { IoHandler, IoWindow, Mapping, MemorySpace, MsiTarget, PortSpace } from '../../bus/index.js';
import { bool, bytes, defineState, type StateArena, StateError, type StateOf } from '../../schema/index.js';
import { bridgeReg, command, configSize, multiFunction, reg, status } from './config-registers.js';
import { type StatePart, statePart } from './saved-parts.js';

export const PciFunctionState = defineState('pci-function', 1, {
  config: bytes(configSize),
  /** The function drives its INTx pin, whether or not the command register lets it through. */
  intx: bool(),
});

interface BarPlace {
  /** 0 to 5; a 64-bit BAR takes the next one too. 6 is the option ROM's. */
  readonly index: number;
  readonly kind: 'io' | 'memory32' | 'memory64';
  readonly prefetchable?: boolean;
  /** A power of two: at least 4 for ports, 16 for memory, 4096 for RAM. */
  readonly size: number;
}

/** A BAR with registers behind it. */
export interface RegisterBar extends BarPlace {
  readonly handler: IoHandler;
  readonly maxAccess?: 1 | 2 | 4;
  readonly notifies?: IoWindow['notifies'];
  readonly ram?: undefined;
}

/** A BAR that shows a piece of the machine's memory. */
export interface RamBar extends BarPlace {
  readonly ram: { readonly hva: number; readonly readonly: boolean };
}

export type BarSpec = RegisterBar | RamBar;

export const romBar = 6;

/** An option ROM: where its bytes lie in the machine's memory, and how many, a power of two from 2 KiB on. */
export interface OptionRom {
  readonly hva: number;
  readonly size: number;
}

/** The BAR of an option ROM, where there is one. */
export const romBars = (rom: OptionRom | undefined): readonly BarSpec[] =>
  rom ? [{ index: romBar, kind: 'memory32', size: rom.size, ram: { hva: rom.hva, readonly: true } }] : [];

/** Where a BAR's register lies in configuration space. */
export function barOffset(index: number): number {
  return index === romBar ? reg.rom : reg.bar0 + index * 4;
}

export interface PciFunctionOptions {
  readonly name: string;
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revision?: number;
  /** Base class, subclass and interface as one 24-bit number, e.g. 0x060100. */
  readonly classCode: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
  /** 0: none, 1: INTA … 4: INTD. */
  readonly interruptPin?: 0 | 1 | 2 | 3 | 4;
  readonly bars?: readonly BarSpec[];
  /** It is a bridge between PCI buses: a type 1 header. */
  readonly bridge?: boolean;
  readonly arena?: StateArena | undefined;
  /** Runs after a configuration write has been stored; may look at and change `config`. */
  readonly configWritten?: (offset: number, size: number) => void;
  /** Runs before a configuration read is answered: refreshes what `config` does not hold by itself. */
  readonly configReading?: (offset: number, size: number) => void;
}

/** What a function needs of the machine; the bus hands it over when the function is plugged in. */
export interface PciSpaces {
  readonly memory: MemorySpace;
  readonly ports: PortSpace;
  readonly msi: MsiTarget;
}

/** Unmapped for both spaces: beyond their ends. */
const nowhere = 2 ** 52;
const barPriority = -1;
const romEnable = 1;

type Bar = BarSpec & { readonly mapping: Mapping };

export class PciFunction {
  readonly name: string;
  /** What the machine's owner calls it; empty: nothing. */
  ownersName = '';
  readonly interruptPin: number;
  readonly barSpecs: readonly BarSpec[];
  readonly state: StateOf<typeof PciFunctionState>;
  /** Bits of each configuration byte that a guest can change, and those that it clears by writing ones. */
  readonly #writable = new Uint8Array(configSize);
  readonly #clearable = new Uint8Array(configSize);
  /** Bits that the device changes. */
  readonly #kept = new Uint8Array(configSize);
  /** The configuration space after reset. */
  readonly #initial = new Uint8Array(configSize);
  readonly #options: PciFunctionOptions;
  #bars: readonly Bar[] = [];
  #spaces: PciSpaces | undefined;
  #requester: () => number = () => 0;
  #pinChanged: (() => void) | undefined;
  #nextCapability = 0x40;
  #lastCapability = 0;

  constructor(options: PciFunctionOptions) {
    this.#options = options;
    this.name = options.name;
    this.interruptPin = options.interruptPin ?? 0;
    this.barSpecs = options.bars ?? [];
    this.state = PciFunctionState.allocate(options.arena);
    this.define(reg.vendorId, 2, options.vendorId);
    this.define(reg.deviceId, 2, options.deviceId);
    this.define(reg.revision, 1, options.revision ?? 0);
    this.define(reg.classCode, 1, options.classCode & 0xff);
    this.define(reg.classCode + 1, 2, options.classCode >>> 8);
    if (options.bridge) this.#defineBridge();
    else {
      this.define(reg.subsystemVendorId, 2, options.subsystemVendorId ?? 0x1af4);
      this.define(reg.subsystemId, 2, options.subsystemId ?? 0x1100);
    }
    this.define(reg.interruptPin, 1, this.interruptPin);
    this.define(reg.interruptLine, 1, 0, 0xff);
    this.define(reg.cacheLineSize, 1, 0, 0xff);
    this.define(reg.latencyTimer, 1, 0, 0xf8);
    const kinds = new Set(this.barSpecs.map((bar) => (bar.kind === 'io' ? command.io : command.memory)));
    let commandMask: number = command.busMaster | command.parity | command.serr;
    for (const kind of kinds) commandMask |= kind;
    if (options.bridge) commandMask |= command.io | command.memory;
    if (this.interruptPin !== 0) commandMask |= command.intxDisable;
    this.define(reg.command, 2, 0, commandMask);
    for (const bar of this.barSpecs) this.#defineBar(bar);
  }

  #defineBridge(): void {
    this.define(reg.headerType, 1, 1);
    for (const at of [bridgeReg.primary, bridgeReg.secondary, bridgeReg.subordinate]) this.define(at, 1, 0, 0xff);
    // Bases above their limits: nothing is passed on.
    this.define(bridgeReg.ioBase, 2, 0x00f0, 0xf0f0);
    this.define(bridgeReg.secondaryStatus, 2, 0, 0, 0xf900);
    this.define(bridgeReg.memoryBase, 4, 0x0000fff0, 0xfff0fff0);
    // Prefetchable memory has 64-bit addresses.
    this.define(bridgeReg.prefetchableBase, 4, 0x0001fff1, 0xfff0fff0);
    for (const high of [0, 4]) this.define(bridgeReg.prefetchableHighBase + high, 4, 0, 0xffffffff);
    this.define(bridgeReg.control, 2, 0, 0x005f);
  }

  get config(): Uint8Array {
    return this.state.config;
  }

  /** Sets a field's reset value and the bits that a guest can change (`writable`) or clear with ones (`clearable`). */
  define(offset: number, size: 1 | 2 | 4, value: number, writable = 0, clearable = 0): void {
    for (let i = 0; i < size; i++) {
      this.#initial[offset + i] = (value >>> (8 * i)) & 0xff;
      this.#writable[offset + i] = (writable >>> (8 * i)) & 0xff;
      this.#clearable[offset + i] = (clearable >>> (8 * i)) & 0xff;
      if (!this.#options.arena?.attached) this.config[offset + i] = this.#initial[offset + i]!;
    }
  }

  /** Bytes that the device itself changes: read-only for the guest, part of the saved state. */
  keep(offset: number, size: number): void {
    this.#kept.fill(0xff, offset, offset + size);
  }

  /**
   * Appends a capability of `length` bytes, id and next pointer included: behind those that are there, unless it has a place of its own.
   * Returns its offset; `define` fills it.
   */
  addCapability(id: number, length: number, at = this.#nextCapability): number {
    assert(at + length <= configSize, `the capabilities of ${this.name} fit into its configuration space`);
    this.#nextCapability = Math.max(this.#nextCapability, (at + length + 3) & ~3);
    this.define(at, 1, id);
    this.define(at + 1, 1, 0);
    this.define(this.#lastCapability === 0 ? reg.capabilities : this.#lastCapability + 1, 1, at);
    this.#lastCapability = at;
    this.define(reg.status, 2, status.capabilities);
    return at;
  }

  #defineBar(bar: BarSpec): void {
    const { index, kind, size } = bar;
    const least = kind === 'io' ? 4 : 16;
    assert(size >= least && (size & (size - 1)) === 0 && size <= 0x80000000, `BAR ${index} has a size of a BAR`);
    if (index === romBar) {
      assert(kind === 'memory32' && size >= 0x800, `the option ROM of ${this.name} is memory`);
      this.define(reg.rom, 4, 0, (~(size - 1) | romEnable) >>> 0);
      return;
    }
    const type = kind === 'io' ? 1 : (kind === 'memory64' ? 4 : 0) | (bar.prefetchable ? 8 : 0);
    this.define(reg.bar0 + index * 4, 4, type, ~(size - 1) >>> 0);
    if (kind === 'memory64') this.define(reg.bar0 + index * 4 + 4, 4, 0, 0xffffffff);
  }

  /**
   * Called by the bus. `pinChanged` runs whenever `pinLevel` may have changed; `requester` tells bus, device and function as they are
   * numbered now.
   */
  plug(spaces: PciSpaces, pinChanged: () => void, multi: boolean, requester: () => number): void {
    assert(this.#spaces === undefined, `${this.name} is plugged in once`);
    this.#spaces = spaces;
    this.#requester = requester;
    this.#pinChanged = pinChanged;
    this.#bars = this.barSpecs.map((bar) => {
      const name = bar.index === romBar ? `${this.name} rom` : `${this.name} bar${bar.index}`;
      const { size } = bar;
      if (bar.ram) {
        const mapping = spaces.memory.addRam({ name, gpa: nowhere, size, ...bar.ram }, barPriority);
        return { ...bar, mapping };
      }
      const window = {
        name,
        start: nowhere,
        size,
        handler: bar.handler,
        notifies: bar.notifies,
        ...(bar.maxAccess === undefined ? {} : { maxAccess: bar.maxAccess }),
      };
      const mapping =
        bar.kind === 'io' ? spaces.ports.add(window, barPriority) : spaces.memory.addWindow(window, barPriority);
      return { ...bar, mapping };
    });
    if (multi) this.setMultiFunction();
    this.#follow();
  }

  /** Called by the bus: pin and windows are gone. */
  unplug(): void {
    this.setIntx(false);
    for (const { mapping } of this.#bars) mapping.remove();
    this.#bars = [];
    this.#spaces = undefined;
    this.#pinChanged = undefined;
  }

  setMultiFunction(): void {
    this.define(reg.headerType, 1, this.#initial[reg.headerType]! | multiFunction);
  }

  /** Sends a message-signalled interrupt, if the function is a bus master. */
  sendMsi(addressGpa: number, data: number): void {
    if (this.busMaster) this.#spaces?.msi.send(addressGpa, data, this.#requester());
  }

  get command(): number {
    return this.config[reg.command]! | (this.config[reg.command + 1]! << 8);
  }

  get busMaster(): boolean {
    return (this.config[reg.command]! & command.busMaster) !== 0;
  }

  setCommand(bits: number): void {
    this.write(reg.command, 2, bits);
  }

  /** Drives the INTx pin. */
  setIntx(level: boolean): void {
    if (this.state.intx === level) return;
    this.state.intx = level;
    this.#pinChanged?.();
  }

  /** What the pin shows to the interrupt router. */
  get pinLevel(): boolean {
    return this.state.intx && (this.config[reg.command + 1]! & (command.intxDisable >> 8)) === 0;
  }

  /** Address that a BAR decodes now, or undefined. */
  barAddress(bar: BarSpec): number | undefined {
    const { config } = this;
    const at = barOffset(bar.index);
    const low = (config[at]! | (config[at + 1]! << 8) | (config[at + 2]! << 16) | (config[at + 3]! << 24)) >>> 0;
    if (bar.kind === 'io') {
      if ((this.command & command.io) === 0) return undefined;
      const port = (low & ~(bar.size - 1) & ~3) >>> 0;
      return port === 0 || port + bar.size > 0x10000 ? undefined : port;
    }
    if ((this.command & command.memory) === 0) return undefined;
    if (bar.index === romBar && (low & romEnable) === 0) return undefined;
    let gpa = (low & ~(bar.size - 1) & ~0xf) >>> 0;
    if (bar.kind === 'memory64') {
      const high = (config[at + 4]! | (config[at + 5]! << 8) | (config[at + 6]! << 16) | (config[at + 7]! << 24)) >>> 0;
      // A guest that sizes the BAR writes ones; so high an address is nobody's.
      if (high >= 0x00100000) return undefined;
      gpa += high * 0x1_0000_0000;
    } else if (gpa + bar.size >= 0x1_0000_0000) {
      return undefined;
    }
    return gpa === 0 ? undefined : gpa;
  }

  #follow(): void {
    const spaces = this.#spaces;
    if (spaces === undefined) return;
    for (const bar of this.#bars) {
      const address = this.barAddress(bar);
      if (bar.mapping.start !== address) bar.mapping.move(address);
    }
  }

  /** Reads 1, 2 or 4 bytes at a naturally aligned offset below 256. */
  read(offset: number, size: 1 | 2 | 4): number {
    this.#options.configReading?.(offset, size);
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#readByte(offset + i) << (8 * i);
    return value >>> 0;
  }

  #readByte(offset: number): number {
    const value = this.config[offset]!;
    return offset === reg.status && this.state.intx ? value | status.intx : value;
  }

  write(offset: number, size: 1 | 2 | 4, value: number): void {
    const { config } = this;
    for (let i = 0; i < size; i++) {
      const at = offset + i;
      const byte = (value >>> (8 * i)) & 0xff;
      const writable = this.#writable[at]!;
      config[at] = ((config[at]! & ~writable) | (byte & writable)) & ~(byte & this.#clearable[at]!);
    }
    if (offset < reg.rom + 4 && offset + size > reg.command) {
      this.#follow();
      if (offset < reg.status) this.#pinChanged?.();
    }
    this.#options.configWritten?.(offset, size);
  }

  reset(): void {
    this.state.intx = false;
    this.config.set(this.#initial);
    this.#follow();
    this.#pinChanged?.();
  }

  /** The function's part of its device's saved state. */
  get part(): StatePart {
    return statePart(PciFunctionState, this.state);
  }

  /** Whether the read-only configuration bytes are those of this device: checked after loading. */
  hasOwnIdentity(): boolean {
    for (const at of [0, 1, 2, 3, 8, 9, 10, 11, 14]) if (this.config[at] !== this.#initial[at]) return false;
    return true;
  }

  /** After loading: bits that no guest can change are this device's own, and windows and pin follow the state. */
  restore(): void {
    const { config } = this;
    for (let at = 0; at < configSize; at++) {
      const free = this.#writable[at]! | this.#clearable[at]! | this.#kept[at]!;
      config[at] = (config[at]! & free) | (this.#initial[at]! & ~free);
    }
    this.#follow();
    this.#pinChanged?.();
  }
}

/** Throws StateError if what has been loaded is another function's state. */
export function checkIdentity(fn: PciFunction): void {
  if (fn.hasOwnIdentity()) return;
  throw new StateError('state-field', `The saved state of ${fn.name} is of another PCI function.`);
}
