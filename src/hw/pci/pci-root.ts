/**
 * A PCI hierarchy: buses by number, the two ways to reach configuration space (mechanism 1 at ports 0xCF8 and 0xCFC, PCI
 * Local Bus 3.0, 3.2.2.3.2; memory-mapped, PCI Express 5.0, 7.2.2), and the wired-OR of INTx pins.
 */
import { assert } from '../../base/index.js';
import type { IoHandler, Mapping, MemorySpace, PortSpace } from '../../bus/index.js';
import { defineState, type StateArena, type StateOf, u32 } from '../../schema/index.js';
import { bridgeReg, configSize } from './config-registers.js';
import type { PciFunction, PciSpaces } from './pci-function.js';
import { type StatePart, statePart } from './saved-parts.js';

export const PciRootState = defineState('pci-root', 1, {
  /** CONFADD: bit 31 enables, bits 23-16 bus, 15-8 device and function, 7-2 register. */
  CONFADD: u32(),
});

const enable = 0x80000000;
const ones = (size: number) => (size === 4 ? 0xffffffff : size === 2 ? 0xffff : 0xff);

/** Which of the root's interrupt lines pin `pin` (0 = INTA) of a device on bus 0 drives. */
export type PinRouting = (slot: number, pin: number) => number;

interface Source {
  readonly fn: PciFunction;
  readonly line: number;
}

export class PciBus {
  /** The bridge that it is behind; undefined: it is the root's. */
  readonly bridge: PciFunction | undefined;
  readonly #root: PciRoot;
  readonly #functions = new Map<number, PciFunction>();
  /** Line of the root for a pin on this bus. */
  readonly route: PinRouting;

  constructor(root: PciRoot, bridge: PciFunction | undefined, route: PinRouting) {
    this.#root = root;
    this.bridge = bridge;
    this.route = route;
  }

  /** Undefined: the guest has not numbered it. */
  get number(): number | undefined {
    if (!this.bridge) return 0;
    return this.bridge.config[bridgeReg.secondary]! || undefined;
  }

  /** Plugs a function in. Several functions of one slot make it a multi-function device. */
  add(fn: PciFunction, slot: number, functionNumber = 0): void {
    const devfn = slot * 8 + functionNumber;
    assert(slot >= 0 && slot < 32 && functionNumber >= 0 && functionNumber < 8, 'a slot and a function number');
    assert(!this.#functions.has(devfn), `slot ${slot}.${functionNumber} is free for ${fn.name}`);
    const others = [...this.#functions].filter(([at]) => at >> 3 === slot).map(([, other]) => other);
    for (const other of others) other.setMultiFunction();
    this.#functions.set(devfn, fn);
    const pinChanged =
      fn.interruptPin === 0 ? () => {} : this.#root.addSource(fn, this.route(slot, fn.interruptPin - 1));
    fn.plug(this.#root.spaces, pinChanged, others.length > 0, () => ((this.number ?? 0) << 8) | devfn);
  }

  /** Takes out all functions of a slot. */
  remove(slot: number): void {
    for (const [devfn, fn] of [...this.#functions]) {
      if (devfn >> 3 !== slot) continue;
      this.#functions.delete(devfn);
      fn.unplug();
      this.#root.removeSource(fn);
    }
  }

  /** The lowest slot with nothing in it, at or above `from`. */
  freeSlot(from = 0): number | undefined {
    for (let slot = from; slot < 32; slot++) {
      let used = false;
      for (let f = 0; f < 8; f++) used ||= this.#functions.has(slot * 8 + f);
      if (!used) return slot;
    }
    return undefined;
  }

  at(devfn: number): PciFunction | undefined {
    return this.#functions.get(devfn);
  }

  /** All functions in order of their address. */
  functions(): { slot: number; functionNumber: number; fn: PciFunction }[] {
    return [...this.#functions]
      .sort(([a], [b]) => a - b)
      .map(([devfn, fn]) => ({ slot: devfn >> 3, functionNumber: devfn & 7, fn }));
  }

  /** Line of the root that `fn` in `slot` drives. */
  lineOf(slot: number, fn: PciFunction): number {
    return this.route(slot, fn.interruptPin - 1);
  }
}

export class PciRoot {
  readonly spaces: PciSpaces;
  readonly state: StateOf<typeof PciRootState>;
  readonly bus: PciBus;
  /** Called when one of the interrupt lines may have changed. */
  onLine: ((line: number) => void) | undefined;
  readonly buses: PciBus[] = [];
  readonly #sources: readonly Source[][];

  /** `lines`: how many interrupt lines there are; four unless given. */
  constructor(options: { spaces: PciSpaces; route: PinRouting; lines?: number; arena?: StateArena | undefined }) {
    this.#sources = Array.from({ length: options.lines ?? 4 }, () => []);
    this.spaces = options.spaces;
    this.state = PciRootState.allocate(options.arena);
    this.bus = this.#addBus(undefined, options.route);
  }

  #addBus(bridge: PciFunction | undefined, route: PinRouting): PciBus {
    const bus = new PciBus(this, bridge, route);
    this.buses.push(bus);
    return bus;
  }

  /** The bus behind a bridge. */
  addBridge(bridge: PciFunction, route: PinRouting): PciBus {
    return this.#addBus(bridge, route);
  }

  #find(bus: number, devfn: number): PciFunction | undefined {
    for (const each of this.buses) if (each.number === bus) return each.at(devfn);
    return undefined;
  }

  addSource(fn: PciFunction, line: number): () => void {
    this.#sources[line]!.push({ fn, line });
    return () => this.onLine?.(line);
  }

  removeSource(fn: PciFunction): void {
    for (const sources of this.#sources) {
      const at = sources.findIndex((source) => source.fn === fn);
      if (at >= 0) sources.splice(at, 1);
    }
  }

  /** Wired OR of the pins on a line. */
  lineLevel(line: number): boolean {
    const sources = this.#sources[line]!;
    for (let i = 0; i < sources.length; i++) if (sources[i]!.fn.pinLevel) return true;
    return false;
  }

  reset(): void {
    PciRootState.reset(this.state);
  }
  get part(): StatePart {
    return statePart(PciRootState, this.state);
  }

  /** Reads configuration space; no device answers with ones. `offset` + `size` stay within the function's space. */
  readConfig(bus: number, devfn: number, offset: number, size: 1 | 2 | 4): number {
    const fn = this.#find(bus, devfn);
    if (fn === undefined) return ones(size);
    // Conventional functions have no extended space.
    return offset + size <= configSize ? fn.read(offset, size) : ones(size);
  }

  writeConfig(bus: number, devfn: number, offset: number, size: 1 | 2 | 4, value: number): void {
    if (offset + size > configSize) return;
    this.#find(bus, devfn)?.write(offset, size, value);
  }

  /** Ports 0xCF8-0xCFB (only 4-byte accesses reach CONFADD) and 0xCFC-0xCFF. */
  mapPorts(ports: PortSpace): Mapping[] {
    const { state } = this;
    const address: IoHandler = {
      read: (offset, size) => (offset === 0 && size === 4 ? state.CONFADD : ones(size)),
      write: (offset, size, value) => {
        if (offset === 0 && size === 4) state.CONFADD = value;
      },
    };
    const data: IoHandler = {
      read: (offset, size) => {
        const at = state.CONFADD;
        if ((at & enable) === 0) return ones(size);
        return this.readConfig((at >>> 16) & 0xff, (at >>> 8) & 0xff, (at & 0xfc) + offset, size);
      },
      write: (offset, size, value) => {
        const at = state.CONFADD;
        if ((at & enable) === 0) return;
        this.writeConfig((at >>> 16) & 0xff, (at >>> 8) & 0xff, (at & 0xfc) + offset, size, value);
      },
    };
    return [
      ports.add({ name: 'pci-config-address', start: 0xcf8, size: 4, handler: address }),
      ports.add({ name: 'pci-config-data', start: 0xcfc, size: 4, handler: data }),
    ];
  }

  /** The memory-mapped configuration space of buses 0 to `lastBus`. */
  mapEcam(memory: MemorySpace, gpa: number, lastBus: number): Mapping {
    const split = (offset: number) => ({ bus: offset >>> 20, devfn: (offset >>> 12) & 0xff, at: offset & 0xfff });
    return memory.addWindow({
      name: 'pci-ecam',
      start: gpa,
      size: (lastBus + 1) * 0x100000,
      handler: {
        read: (offset, size) => {
          const { bus, devfn, at } = split(offset);
          return this.readConfig(bus, devfn, at, size);
        },
        write: (offset, size, value) => {
          const { bus, devfn, at } = split(offset);
          this.writeConfig(bus, devfn, at, size, value);
        },
      },
    });
  }
}
