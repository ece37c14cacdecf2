/** A command that was fetched: its 64 bytes, and where its answer goes. */
import type { DmaSpace } from '../../bus/index.js';
import { ScatterList } from '../disk/index.js';
import { mapPrp, mapSgl } from './data-pointer.js';
import { nvmeStatus } from './nvme-codes.js';

export class NvmeCommand {
  readonly view: DataView;
  readonly bytes: Uint8Array;
  /** Number of its submission queue. */
  readonly queue: number;
  /** Differs after every reset: what was fetched before is of no concern any more. */
  readonly generation: number;

  constructor(bytes: Uint8Array, queue: number, generation: number) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.queue = queue;
    this.generation = generation;
  }

  get opcode(): number {
    return this.bytes[0]!;
  }
  get identifier(): number {
    return this.view.getUint16(2, true);
  }
  get namespace(): number {
    return this.view.getUint32(4, true);
  }
  /** Command dword 10 to 15. */
  dword(number: number): number {
    return this.view.getUint32(number * 4, true);
  }
  get prp1(): number {
    return this.view.getUint32(24, true) + this.view.getUint32(28, true) * 2 ** 32;
  }

  /** Guest memory for so many bytes of data; a number: the status that it is refused with. */
  data(dma: DmaSpace, length: number, intoGuest: boolean, pageBytes: number): ScatterList | number {
    const list = new ScatterList(dma, intoGuest);
    const kind = this.bytes[1]! >> 6;
    // A fused operation, or a reserved kind of data pointer.
    if ((this.bytes[1]! & 3) !== 0 || kind === 3) return nvmeStatus.invalidField;
    if (kind !== 0 && this.queue === 0) return nvmeStatus.invalidField;
    const failed =
      kind === 0
        ? mapPrp(dma, list, this.view, length, pageBytes)
        : mapSgl(dma, list, this.bytes.subarray(24, 40), length);
    return failed ?? list;
  }
}
