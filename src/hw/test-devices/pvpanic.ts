/**
 * By which a guest tells that its kernel has crashed (QEMU's docs/specs/pvpanic): a byte of events, at a port of the ISA bus or in the
 * BAR of a PCI function. Reads tell which events there are.
 */
import type { Device, IoHandler, Mapping, PortSpace } from '../../bus/index.js';
import { checkIdentity, PciFunction } from '../pci/pci-function.js';
import { loadParts, type StatePart, saveParts } from '../pci/saved-parts.js';

export const PVPANIC_PORT = 0x505;
const panicked = 1;
/** A crash kernel has been loaded, and takes over. */
const crashLoaded = 2;
/** The least that a memory BAR has. */
const barBytes = 16;

export type PanicEvent = 'panicked' | 'crash-loaded';

const handlerOf = (tell: (event: PanicEvent) => void): IoHandler => ({
  read: (offset) => (offset === 0 ? panicked | crashLoaded : 0),
  write: (offset, _size, value) => {
    if (offset !== 0) return;
    if ((value & panicked) !== 0) tell('panicked');
    else if ((value & crashLoaded) !== 0) tell('crash-loaded');
  },
});

export function wirePvpanic(ports: PortSpace, tell: (event: PanicEvent) => void, port = PVPANIC_PORT): Mapping {
  return ports.add({ name: 'pvpanic', start: port, size: 1, maxAccess: 1, handler: handlerOf(tell) });
}

export class PvpanicPci implements Device {
  readonly name: string;
  readonly function: PciFunction;
  readonly #parts: readonly StatePart[];

  constructor({ name, tell }: { readonly name: string; readonly tell: (event: PanicEvent) => void }) {
    this.name = name;
    this.function = new PciFunction({
      name,
      vendorId: 0x1b36,
      deviceId: 0x0011,
      revision: 1,
      classCode: 0x088000,
      bars: [{ index: 0, kind: 'memory32', size: barBytes, handler: handlerOf(tell) }],
    });
    this.#parts = [this.function.part];
  }

  reset(): void {
    this.function.reset();
  }

  save(): Uint8Array {
    return saveParts(this.#parts);
  }

  load(saved: Uint8Array): void {
    loadParts(this.#parts, saved, this.name, () => checkIdentity(this.function));
    this.function.restore();
  }
}
