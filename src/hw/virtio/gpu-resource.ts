/**
 * Pictures that a driver keeps with a GPU device (Virtual I/O Device 1.2, 5.7.6): pixels on the host's side, and the pieces of guest
 * memory that they are transferred from.
 */
import type { DmaSpace } from '../../bus/index.js';
import type { Rectangle } from '../../display/index.js';

/** Where red, green, blue and alpha lie in a pixel's 32 bits, by virtio_gpu_formats; alpha undefined: opaque. */
const layouts: ReadonlyMap<number, readonly [red: number, green: number, blue: number, alpha: number | undefined]> =
  new Map([
    [1, [16, 8, 0, 24]],
    [2, [16, 8, 0, undefined]],
    [3, [8, 16, 24, 0]],
    [4, [8, 16, 24, undefined]],
    [67, [0, 8, 16, 24]],
    [68, [24, 16, 8, undefined]],
    [121, [24, 16, 8, 0]],
    [134, [0, 8, 16, undefined]],
  ]);

export const PIXEL_BYTES = 4;

export const isFormat = (format: number): boolean => layouts.has(format);

export interface BackingPiece {
  readonly gpa: number;
  readonly length: number;
}

export class GpuResource {
  readonly id: number;
  readonly format: number;
  readonly width: number;
  readonly height: number;
  readonly bytes: Uint8Array;
  /** Absent: no memory is attached. */
  backing: readonly BackingPiece[] | undefined;
  readonly #pixels: Uint32Array;

  /** `format` is one of `isFormat`. */
  constructor(id: number, format: number, width: number, height: number) {
    this.id = id;
    this.format = format;
    this.width = width;
    this.height = height;
    this.#pixels = new Uint32Array(width * height);
    this.bytes = new Uint8Array(this.#pixels.buffer);
  }

  contains({ x, y, width, height }: Rectangle): boolean {
    return x + width <= this.width && y + height <= this.height;
  }

  /** Copies an area, which it contains, from guest memory; its first pixel lies at `offset` of what is attached. */
  transfer(dma: DmaSpace, area: Rectangle, offset: number): void {
    const pitch = this.width * PIXEL_BYTES;
    if (area.width === this.width) {
      this.#copy(dma, offset, area.y * pitch, area.height * pitch);
      return;
    }
    for (let row = 0; row < area.height; row++)
      this.#copy(dma, offset + row * pitch, (area.y + row) * pitch + area.x * PIXEL_BYTES, area.width * PIXEL_BYTES);
  }

  #pieceAt = 0;
  #pieceStart = 0;

  /** What lies behind the end of the attached memory, or is no RAM, stays as it was. */
  #copy(dma: DmaSpace, offset: number, to: number, length: number): void {
    const backing = this.backing ?? [];
    if (this.#pieceAt >= backing.length || offset < this.#pieceStart) this.#pieceAt = this.#pieceStart = 0;
    for (let done = 0; done < length; ) {
      const piece = backing[this.#pieceAt];
      if (!piece) return;
      const within = offset + done - this.#pieceStart;
      if (within >= piece.length) {
        this.#pieceAt++;
        this.#pieceStart += piece.length;
        continue;
      }
      const count = Math.min(length - done, piece.length - within);
      const source = dma.view(piece.gpa + within, count, false);
      if (source) this.bytes.set(source, to + done);
      done += count;
    }
  }

  /** Another backing: what was found in the last one is forgotten. */
  attach(backing: readonly BackingPiece[] | undefined): void {
    this.backing = backing;
    this.#pieceAt = this.#pieceStart = 0;
  }

  /** A row's pixels from `x` on into `target`, as 0x00RRGGBB. */
  copyRow(x: number, y: number, target: Uint32Array): void {
    const at = y * this.width + x;
    const row = this.#pixels.subarray(at, at + target.length);
    const [red, green, blue] = layouts.get(this.format)!;
    if (red === 16 && blue === 0) {
      target.set(row);
      return;
    }
    for (let i = 0; i < row.length; i++) {
      const pixel = row[i]!;
      target[i] = (((pixel >>> red) & 255) << 16) | (((pixel >>> green) & 255) << 8) | ((pixel >>> blue) & 255);
    }
  }

  /** All pixels as 0xAARRGGBB. */
  withAlpha(): Uint32Array {
    const alpha = layouts.get(this.format)![3];
    const out = new Uint32Array(this.width * this.height);
    for (let y = 0; y < this.height; y++) this.copyRow(0, y, out.subarray(y * this.width, (y + 1) * this.width));
    for (let i = 0; i < out.length; i++) {
      const a = alpha === undefined ? 255 : (this.#pixels[i]! >>> alpha) & 255;
      out[i] = ((out[i]! & 0xffffff) | (a << 24)) >>> 0;
    }
    return out;
  }
}
