/** What a PCI hierarchy looks like to whoever reads its configuration space, bus by bus. */
import { bridgeReg, reg } from './config-registers.js';
import type { PciFunction } from './pci-function.js';
import type { PciBus, PciRoot } from './pci-root.js';

export interface PciRange {
  readonly base: number;
  readonly limit: number;
}

export interface PciRegionDescription {
  readonly bar: number;
  readonly kind: 'io' | 'memory32' | 'memory64';
  readonly prefetchable: boolean;
  readonly size: number;
  /** Undefined: the guest has not mapped it. */
  readonly address: number | undefined;
}

export interface PciBridgeDescription {
  readonly primary: number;
  readonly secondary: number;
  readonly subordinate: number;
  readonly io: PciRange;
  readonly memory: PciRange;
  readonly prefetchable: PciRange;
  /** Behind it; empty where the guest has not numbered the bus. */
  readonly functions: readonly PciFunctionDescription[];
}

export interface PciFunctionDescription {
  /** The owner's name for it; empty: it has none. */
  readonly ownersName: string;
  readonly bus: number;
  readonly slot: number;
  readonly functionNumber: number;
  /** Base class and subclass. */
  readonly classCode: number;
  readonly vendor: number;
  readonly device: number;
  /** Bridges have none. */
  readonly subsystem: { readonly vendor: number; readonly device: number } | undefined;
  /** 0: it has no pin. */
  readonly pin: number;
  readonly irq: number;
  readonly regions: readonly PciRegionDescription[];
  readonly bridge: PciBridgeDescription | undefined;
}

/** PCI-to-PCI Bridge 1.2, 3.2.5. */
function describeBridge(fn: PciFunction, buses: readonly PciBus[]): PciBridgeDescription {
  const half = (at: number) => fn.read(at, 2);
  const memory = (base: number, limit: number): PciRange => ({
    base: (half(base) & 0xfff0) * 0x10000,
    limit: (half(limit) & 0xfff0) * 0x10000 + 0xfffff,
  });
  const [ioBase, ioLimit] = [fn.read(bridgeReg.ioBase, 1), fn.read(bridgeReg.ioBase + 1, 1)];
  const high = (at: number) => fn.read(at, 4) * 2 ** 32;
  const low = memory(bridgeReg.prefetchableBase, bridgeReg.prefetchableBase + 2);
  const secondary = fn.read(bridgeReg.secondary, 1);
  return {
    primary: fn.read(bridgeReg.primary, 1),
    secondary,
    subordinate: fn.read(bridgeReg.subordinate, 1),
    io: { base: (ioBase & 0xf0) << 8, limit: ((ioLimit & 0xf0) << 8) | 0xfff },
    memory: memory(bridgeReg.memoryBase, bridgeReg.memoryLimit),
    prefetchable: {
      base: low.base + high(bridgeReg.prefetchableHighBase),
      limit: low.limit + high(bridgeReg.prefetchableHighBase + 4),
    },
    functions:
      secondary === 0 ? [] : buses.filter(({ bridge }) => bridge === fn).flatMap((bus) => describeBus(bus, buses)),
  };
}

function describeBus(bus: PciBus, buses: readonly PciBus[]): PciFunctionDescription[] {
  return [...bus.functions()]
    .toSorted((a, b) => a.slot - b.slot || a.functionNumber - b.functionNumber)
    .map(({ slot, functionNumber, fn }) => {
      const isBridge = (fn.read(reg.headerType, 1) & 0x7f) === 1;
      return {
        ownersName: fn.ownersName,
        bus: bus.number ?? 0,
        slot,
        functionNumber,
        classCode: fn.read(reg.classCode + 1, 2),
        vendor: fn.read(reg.vendorId, 2),
        device: fn.read(reg.deviceId, 2),
        subsystem: isBridge
          ? undefined
          : { vendor: fn.read(reg.subsystemVendorId, 2), device: fn.read(reg.subsystemId, 2) },
        pin: fn.interruptPin,
        irq: fn.read(reg.interruptLine, 1),
        regions: fn.barSpecs
          .toSorted((a, b) => a.index - b.index)
          .map((bar) => ({
            bar: bar.index,
            kind: bar.kind,
            prefetchable: bar.prefetchable ?? false,
            size: bar.size,
            address: fn.barAddress(bar),
          })),
        bridge: isBridge ? describeBridge(fn, buses) : undefined,
      };
    });
}

/** The functions of the root's bus; those behind bridges are with them. */
export const describePci = ({ buses }: PciRoot): readonly PciFunctionDescription[] =>
  buses.filter(({ bridge }) => !bridge).flatMap((bus) => describeBus(bus, buses));
