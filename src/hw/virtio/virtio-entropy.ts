/** Entropy device (Virtual I/O Device 1.2, 5.4): fills what the driver offers. */
import type { StatePart } from '../pci/saved-parts.js';
import { ConfigBytes } from './config-bytes.js';
import { type VirtioDevice, type VirtioModel, virtioType } from './virtio-device.js';
import type { Virtqueue } from './virtqueue.js';

/** Bytes given for one buffer; a larger buffer is filled only so far, as the specification allows. */
const maxFillBytes = 4096;

export class VirtioEntropy implements VirtioModel {
  readonly type = virtioType.entropy;
  readonly queueSizes = [8];
  readonly features: readonly number[] = [];
  readonly config = new ConfigBytes(0);
  readonly configBytes = 0;
  readonly parts: readonly StatePart[] = [];
  readonly #fill: (target: Uint8Array) => void;
  #device!: VirtioDevice;

  /** `fill` writes random bytes: from the host, or from a seed for runs that must repeat. */
  constructor(fill: (target: Uint8Array) => void) {
    this.#fill = fill;
  }

  attach(device: VirtioDevice): void {
    this.#device = device;
  }

  reset(): void {}

  restored(): void {
    if (this.#device.queues[0]!.state.ready) this.#device.kick(0);
  }

  queueKicked(queue: Virtqueue): void {
    const bytes = new Uint8Array(maxFillBytes);
    for (let budget = queue.state.size; budget > 0; budget--) {
      const chain = queue.pop();
      if (chain === undefined) break;
      // Filled apart and copied: random sources do not take views of shared memory.
      const part = bytes.subarray(0, Math.min(chain.writableBytes, maxFillBytes));
      this.#fill(part);
      queue.push(chain, chain.copyIn(0, part));
    }
    queue.signal();
  }
}
