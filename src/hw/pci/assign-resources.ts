/**
 * What firmware does to a PCI bus before it starts an operating system: gives every BAR an address and every interrupt pin
 * a line, and turns decoding on. Direct boot has no firmware, so the board calls this.
 */
import { VringError } from '../../base/index.js';
import { bridgeReg, command, reg } from './config-registers.js';
import { type BarSpec, type PciFunction, romBar } from './pci-function.js';
import type { PciBus, PciRoot } from './pci-root.js';
import { pirqRegister } from './pirq-router.js';

export interface PciWindows {
  /** Ports and 32-bit memory to give out, both ends included. */
  readonly io: { readonly first: number; readonly last: number };
  readonly memory: { readonly first: number; readonly last: number };
  /** ISA interrupt for each of the interrupt lines. */
  readonly lineIrqs: readonly number[];
}

/** QEMU's `pc` under SeaBIOS: ports from 0xC000, memory up to the I/O APIC, PIRQA and B on 10, C and D on 11. */
export function pcWindows(lowRamEnd: number): PciWindows {
  return {
    io: { first: 0xc000, last: 0xffff },
    memory: { first: Math.max(lowRamEnd, 0xe0000000), last: 0xfebfffff },
    lineIrqs: [10, 10, 11, 11],
  };
}

/** Something that needs a place of its own size, a power of two. */
interface Wanted {
  readonly name: string;
  readonly size: number;
  assign(address: number): void;
}

/** What a bridge passes on comes in such pieces. */
const bridgeWindow = { io: 0x1000, memory: 0x100000 } as const;

/** Gives out a window from its start, largest pieces first so that none wastes space by alignment. */
function place(wanted: Wanted[], first: number, last: number, kind: string): void {
  wanted.sort((a, b) => b.size - a.size);
  let next = first;
  for (const { name, size, assign } of wanted) {
    const address = Math.ceil(next / size) * size;
    if (address + size - 1 > last) {
      throw new VringError(
        'pci-no-space',
        `The PCI devices need more ${kind} space than there is: ${name} does not fit.`,
      );
    }
    assign(address);
    next = address + size;
  }
}

function wantedBar(fn: PciFunction, bar: BarSpec): Wanted {
  return {
    name: fn.name,
    size: bar.size,
    assign: (address) => {
      fn.write(reg.bar0 + bar.index * 4, 4, address);
      if (bar.kind === 'memory64') fn.write(reg.bar0 + bar.index * 4 + 4, 4, Math.floor(address / 2 ** 32));
    },
  };
}

/** The BARs of a bus, those behind its bridges as one piece for each. Nobody runs an option ROM then. */
function wantedOf(root: PciRoot, bus: PciBus, isIo: boolean): Wanted[] {
  const wanted: Wanted[] = [];
  for (const { fn } of bus.functions()) {
    for (const bar of fn.barSpecs)
      if (bar.index !== romBar && (bar.kind === 'io') === isIo) wanted.push(wantedBar(fn, bar));
    const behind = root.buses.find(({ bridge }) => bridge === fn);
    if (!behind) continue;
    const inner = wantedOf(root, behind, isIo);
    const unit = isIo ? bridgeWindow.io : bridgeWindow.memory;
    const bytes = inner.reduce((sum, { size }) => Math.ceil(sum / size) * size + size, 0);
    const size = inner.length === 0 ? 0 : Math.max(unit, 2 ** Math.ceil(Math.log2(bytes)));
    // A base above its limit: nothing is passed on.
    fn.write(isIo ? bridgeReg.ioBase : bridgeReg.memoryBase, isIo ? 2 : 4, isIo ? 0x00f0 : 0x0000fff0);
    if (size === 0) continue;
    wanted.push({
      name: fn.name,
      size,
      assign: (address) => {
        place(inner, address, address + size - 1, isIo ? 'port' : 'memory');
        const end = address + size - unit;
        if (isIo) fn.write(bridgeReg.ioBase, 2, (address >> 8) | end);
        else fn.write(bridgeReg.memoryBase, 4, ((address >>> 16) | (end & 0xfff00000)) >>> 0);
      },
    });
  }
  return wanted;
}

/** Numbers the buses behind bridges. */
function numberBuses(root: PciRoot): void {
  let number = 0;
  for (const { bridge } of root.buses) {
    if (!bridge) continue;
    number++;
    bridge.write(bridgeReg.primary, 1, 0);
    bridge.write(bridgeReg.secondary, 1, number);
    bridge.write(bridgeReg.subordinate, 1, number);
    bridge.write(bridgeReg.prefetchableBase, 4, 0x0000fff0);
  }
}

/**
 * Assigns bus numbers, BARs and interrupt lines of all functions and, if `isaBridge` is given, sets its PIRQ routing. Bridges are
 * all on bus 0. Returns the interrupts that carry PCI lines: the board makes them level-triggered (ELCR).
 */
export function assignResources(root: PciRoot, windows: PciWindows, isaBridge?: PciFunction): { levelIrqs: number[] } {
  numberBuses(root);
  place(wantedOf(root, root.bus, true), windows.io.first, windows.io.last, 'port');
  place(wantedOf(root, root.bus, false), windows.memory.first, windows.memory.last, 'memory');
  windows.lineIrqs.forEach((irq, line) => {
    isaBridge?.write(pirqRegister(line), 1, irq);
  });
  for (const bus of root.buses) {
    for (const { slot, fn } of bus.functions()) {
      let bits = fn.command;
      for (const bar of fn.barSpecs) bits |= bar.kind === 'io' ? command.io : command.memory;
      if (root.buses.some(({ bridge }) => bridge === fn)) bits |= command.io | command.memory | command.busMaster;
      fn.setCommand(bits);
      // A line that is set already is wired by the board, as the power management function's SCI.
      if (fn.interruptPin !== 0 && fn.read(reg.interruptLine, 1) === 0)
        fn.write(reg.interruptLine, 1, windows.lineIrqs[bus.lineOf(slot, fn)]!);
    }
  }
  return { levelIrqs: [...new Set(windows.lineIrqs)] };
}
