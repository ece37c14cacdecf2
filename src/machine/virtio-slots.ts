/** A board's virtio-mmio slots, of equal size one behind the other. */
import type { Device, IrqLine, MemorySpace } from '../bus/index.js';
import { emptyVirtioMmio, VIRTIO_MMIO_BYTES, type VirtioDevice, VirtioMmio } from '../hw/index.js';
import type { VirtioMmioSlots } from './board.js';

export interface VirtioSlotsOptions {
  readonly memory: MemorySpace;
  readonly gpa: number;
  readonly stride: number;
  /** Version 1 of the interface, not 2. */
  readonly legacy: boolean;
  /** One of each slot. */
  readonly irqs: readonly IrqLine[];
  /** Takes what was plugged in. */
  add(device: Device): void;
}

export class VirtioSlots implements VirtioMmioSlots {
  readonly #options: VirtioSlotsOptions;
  readonly #devices: (VirtioDevice | undefined)[];

  constructor(options: VirtioSlotsOptions) {
    this.#options = options;
    this.#devices = options.irqs.map(() => undefined);
  }

  get count(): number {
    return this.#devices.length;
  }

  /** The highest free slot is the first to be used, as with QEMU. */
  free(): number | undefined {
    const slot = this.#devices.lastIndexOf(undefined);
    return slot < 0 ? undefined : slot;
  }

  isFree(slot: number): boolean {
    return this.#devices[slot] === undefined;
  }

  plug(slot: number, device: VirtioDevice): void {
    const { memory, irqs, legacy, add } = this.#options;
    this.#devices[slot] = device;
    const transport = new VirtioMmio({ device, irq: irqs[slot], legacy });
    memory.addWindow({ name: device.name, start: this.#start(slot), size: VIRTIO_MMIO_BYTES, handler: transport });
    add(transport);
  }

  /** Slots in which nothing is answer so. Once, when all devices are plugged in. */
  wireEmpty(): void {
    const { memory, legacy } = this.#options;
    const handler = emptyVirtioMmio(legacy);
    memory.transaction(() => {
      for (const [slot, device] of this.#devices.entries())
        if (!device)
          memory.addWindow({
            name: 'virtio-mmio',
            start: this.#start(slot),
            size: VIRTIO_MMIO_BYTES,
            handler,
          });
    });
  }

  #start(slot: number): number {
    return this.#options.gpa + slot * this.#options.stride;
  }
}
