/**
 * A virtio GPU and a VGA in one PCI function, as QEMU's `virtio-vga`: firmware and the start of a guest use the VGA, whose registers lie in
 * front of virtio's structures; once the GPU's driver shows something, that is on the screen.
 */
import type { Device } from '../../bus/index.js';
import { loadParts, saveParts } from '../pci/saved-parts.js';
import { registerWindow, VgaWiring, type VgaWiringOptions } from '../vga/wiring.js';
import { VirtioPci, type VirtioPciOptions } from './virtio-pci.js';

const VGA_CLASS = 0x030000;

export class VirtioVga implements Device {
  readonly name: string;
  readonly transport: VirtioPci;
  readonly #options: VgaWiringOptions;
  readonly #wiring: VgaWiring;

  /** The VGA's chip is made first, with `windowChanged` leading to `followWindow`. */
  constructor(vga: VgaWiringOptions, virtio: Omit<VirtioPciOptions, 'shared' | 'legacy' | 'modern'>) {
    this.#options = vga;
    this.#wiring = new VgaWiring(vga);
    this.transport = new VirtioPci({
      ...virtio,
      legacy: false,
      shared: { classCode: VGA_CLASS, bars: this.#wiring.bars, registers: registerWindow(vga.vga) },
    });
    this.name = this.transport.name;
    this.#wiring.defineCommand(this.transport.function);
  }

  followWindow(): void {
    this.#wiring.followWindow();
  }

  reset(): void {
    this.#options.vga.reset();
    this.transport.reset();
  }
  save(): Uint8Array {
    return saveParts([this.transport, this.#options.vga]);
  }
  load(saved: Uint8Array): void {
    loadParts([this.transport, this.#options.vga], saved, this.name);
  }
}
