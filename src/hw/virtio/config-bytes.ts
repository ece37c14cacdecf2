/** A device-specific configuration of fixed layout, little endian, most of it read-only for the driver. */
import type { IoHandler } from '../../bus/index.js';

export class ConfigBytes implements IoHandler {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #written: ((offset: number, size: number, value: number) => void) | undefined;
  readonly #reading: (() => void) | undefined;

  /**
   * `written` is told what the driver writes; nothing is stored for it. `reading` brings fields up to date that follow the
   * model's state.
   */
  constructor(length: number, written?: (offset: number, size: number, value: number) => void, reading?: () => void) {
    this.bytes = new Uint8Array(length);
    this.view = new DataView(this.bytes.buffer);
    this.#written = written;
    this.#reading = reading;
  }

  read(offset: number, size: 1 | 2 | 4): number {
    this.#reading?.();
    let value = 0;
    for (let i = 0; i < size; i++) value |= (this.bytes[offset + i] ?? 0) << (8 * i);
    return value >>> 0;
  }

  write(offset: number, size: 1 | 2 | 4, value: number): void {
    this.#written?.(offset, size, value);
  }
}
