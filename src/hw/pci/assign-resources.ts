/**
 * What firmware does to a PCI bus before it starts an operating system: gives every BAR an address and every interrupt pin
 * a line, and turns decoding on. Direct boot has no firmware, so the board calls this.
 */
import { VringError } from '../../base/index.js';
import { command, reg } from './config-registers.js';
import { type BarSpec, type PciFunction, romBar } from './pci-function.js';
import type { PciRoot } from './pci-root.js';
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

interface Wanted {
  readonly fn: PciFunction;
  readonly bar: BarSpec;
}

/** Gives out a window from its start, largest BARs first so that none wastes space by alignment. */
function place(wanted: Wanted[], first: number, last: number, kind: string): void {
  wanted.sort((a, b) => b.bar.size - a.bar.size);
  let next = first;
  for (const { fn, bar } of wanted) {
    const address = Math.ceil(next / bar.size) * bar.size;
    if (address + bar.size - 1 > last) {
      throw new VringError(
        'pci-no-space',
        `The PCI devices need more ${kind} space than there is: ${fn.name} does not fit.`,
      );
    }
    fn.write(reg.bar0 + bar.index * 4, 4, address);
    if (bar.kind === 'memory64') fn.write(reg.bar0 + bar.index * 4 + 4, 4, Math.floor(address / 2 ** 32));
    next = address + bar.size;
  }
}

/**
 * Assigns BARs and interrupt lines of all functions on bus 0 and, if `isaBridge` is given, sets its PIRQ routing. Returns
 * the interrupts that carry PCI lines: the board makes them level-triggered (ELCR).
 */
export function assignResources(root: PciRoot, windows: PciWindows, isaBridge?: PciFunction): { levelIrqs: number[] } {
  const io: Wanted[] = [];
  const memory: Wanted[] = [];
  const functions = root.bus.functions();
  for (const { fn } of functions) {
    // Nobody runs an option ROM then.
    for (const bar of fn.barSpecs) if (bar.index !== romBar) (bar.kind === 'io' ? io : memory).push({ fn, bar });
  }
  place(io, windows.io.first, windows.io.last, 'port');
  place(memory, windows.memory.first, windows.memory.last, 'memory');
  windows.lineIrqs.forEach((irq, line) => {
    isaBridge?.write(pirqRegister(line), 1, irq);
  });
  for (const { slot, fn } of functions) {
    let bits = fn.command;
    for (const bar of fn.barSpecs) bits |= bar.kind === 'io' ? command.io : command.memory;
    fn.setCommand(bits);
    // A line that is set already is wired by the board, as the power management function's SCI.
    if (fn.interruptPin !== 0 && fn.read(reg.interruptLine, 1) === 0)
      fn.write(reg.interruptLine, 1, windows.lineIrqs[root.bus.lineOf(slot, fn)]!);
  }
  return { levelIrqs: [...new Set(windows.lineIrqs)] };
}
