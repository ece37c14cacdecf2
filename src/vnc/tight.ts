/**
 * Tight (the RFB community's rfbproto, "Tight encoding"): solid rectangles, palettes, and full colour, each kind in a zlib stream of its
 * own. Neither JPEG nor the gradient filter: what a client sees is exact.
 */
import { type Block, type Encoder, encoding } from './encodings.js';
import type { Deflater } from './host.js';
import { packIndices, paletteOf } from './palette.js';
import type { PixelWriter } from './pixel-format.js';

const FILL = 0x80;
const EXPLICIT_FILTER = 0x40;
const PALETTE_FILTER = 1;
const STREAM_COPY = 0;
const STREAM_MONO = 1;
const STREAM_INDEXED = 2;
/** What is shorter is not compressed. */
const LEAST_COMPRESSED = 12;

export class TightEncoder implements Encoder {
  readonly code = encoding.tight;
  readonly #make: () => Deflater;
  readonly #streams: (Deflater | undefined)[] = [];
  constructor(make: () => Deflater) {
    this.#make = make;
  }

  close(): void {
    for (const stream of this.#streams) stream?.close();
  }

  async encode(block: Block, writer: PixelWriter): Promise<Uint8Array> {
    const { pixels } = block;
    const size = writer.tightBytes;
    const palette = paletteOf(pixels, 256);
    if (palette?.size === 1) {
      const bytes = new Uint8Array(1 + size);
      bytes[0] = FILL;
      writer.putTight(bytes, 1, pixels[0]!);
      return bytes;
    }
    // Two colours take a bit a pixel, more of them a byte: of use where a pixel has more.
    if (palette && (palette.size === 2 || (size > 1 && palette.size * size < pixels.length))) {
      const head = new Uint8Array(3 + palette.size * size);
      const stream = palette.size === 2 ? STREAM_MONO : STREAM_INDEXED;
      head.set([(stream << 4) | EXPLICIT_FILTER, PALETTE_FILTER, palette.size - 1]);
      let at = 3;
      for (const color of palette.keys()) at = writer.putTight(head, at, color);
      return await this.#packed(head, stream, packIndices(block, palette, palette.size === 2 ? 1 : 8));
    }
    const bytes = new Uint8Array(pixels.length * size);
    let at = 0;
    for (const pixel of pixels) at = writer.putTight(bytes, at, pixel);
    return await this.#packed(Uint8Array.of(STREAM_COPY << 4), STREAM_COPY, bytes);
  }

  async #packed(head: Uint8Array, stream: number, bytes: Uint8Array): Promise<Uint8Array> {
    if (bytes.length < LEAST_COMPRESSED) return joined(head, bytes);
    this.#streams[stream] ??= this.#make();
    const packed = await this.#streams[stream].deflate(bytes);
    const { length } = packed;
    // Seven bits a byte, lowest first; the third has eight.
    const compact =
      length < 0x80
        ? [length]
        : length < 0x4000
          ? [(length & 0x7f) | 0x80, length >> 7]
          : [(length & 0x7f) | 0x80, ((length >> 7) & 0x7f) | 0x80, length >> 14];
    return joined(head, Uint8Array.from(compact), packed);
  }
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
