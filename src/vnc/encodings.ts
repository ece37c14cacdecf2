/** Rectangles of pixels as clients take them (RFC 6143, 7.7): Raw, Hextile, Zlib. */
import type { Deflater } from './host.js';
import type { PixelWriter } from './pixel-format.js';
import { TightEncoder } from './tight.js';
import { ZrleEncoder } from './zrle.js';

export const encoding = {
  raw: 0,
  hextile: 5,
  zlib: 6,
  tight: 7,
  zrle: 16,
} as const;

/** Pixels of a rectangle, by rows, 0x00RRGGBB. */
export interface Block {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint32Array;
}

export interface Encoder {
  readonly code: number;
  encode(block: Block, writer: PixelWriter): Promise<Uint8Array> | Uint8Array;
  close(): void;
}

class RawEncoder implements Encoder {
  readonly code = encoding.raw;
  encode({ pixels }: Block, writer: PixelWriter): Uint8Array {
    return writer.all(pixels);
  }
  close(): void {}
}

class ZlibEncoder implements Encoder {
  readonly code = encoding.zlib;
  readonly #stream: Deflater;
  constructor(stream: Deflater) {
    this.#stream = stream;
  }
  async encode({ pixels }: Block, writer: PixelWriter): Promise<Uint8Array> {
    return withLength(await this.#stream.deflate(writer.all(pixels)));
  }
  close(): void {
    this.#stream.close();
  }
}

/** 32 bits of length before it. */
export function withLength(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(4 + bytes.length);
  new DataView(out.buffer).setUint32(0, bytes.length);
  out.set(bytes, 4);
  return out;
}

const HEXTILE = 16;
const hextile = { raw: 1, background: 2, foreground: 4, anySubrects: 8, coloured: 16 } as const;

class HextileEncoder implements Encoder {
  readonly code = encoding.hextile;
  close(): void {}

  encode(block: Block, writer: PixelWriter): Uint8Array {
    const { width, height } = block;
    const tiles = Math.ceil(width / HEXTILE) * Math.ceil(height / HEXTILE);
    const out = new Uint8Array(tiles + width * height * writer.bytesPerPixel);
    let at = 0;
    // Undefined: the client has none yet, or a raw tile has made it forget.
    let last: { background?: number; foreground?: number } = {};
    for (let y = 0; y < height; y += HEXTILE) {
      for (let x = 0; x < width; x += HEXTILE) {
        const tile = cut(block, x, y, HEXTILE);
        const coded = this.#tile(tile, writer, last);
        if (coded && coded.bytes.length < 1 + tile.pixels.length * writer.bytesPerPixel) {
          out.set(coded.bytes, at);
          at += coded.bytes.length;
          last = coded.last;
        } else {
          out[at++] = hextile.raw;
          const raw = writer.all(tile.pixels);
          out.set(raw, at);
          at += raw.length;
          last = {};
        }
      }
    }
    return out.subarray(0, at);
  }

  /** Undefined: raw is shorter. */
  #tile(
    tile: Block,
    writer: PixelWriter,
    last: { background?: number; foreground?: number },
  ): { bytes: Uint8Array; last: typeof last } | undefined {
    const counts = new Map<number, number>();
    for (const pixel of tile.pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
    let [background, most] = [0, 0];
    for (const [color, count] of counts) if (count > most) [background, most] = [color, count];
    const rectangles = subrectangles(tile, background);
    if (rectangles.length > 255) return undefined;
    const one = counts.size === 2;
    const foreground = one ? [...counts.keys()].find((color) => color !== background)! : undefined;
    const bytes = new Uint8Array(2 + 2 * writer.bytesPerPixel + rectangles.length * (2 + writer.bytesPerPixel));
    let flags = 0;
    let at = 1;
    if (background !== last.background) {
      flags |= hextile.background;
      at = writer.put(bytes, at, background);
    }
    if (foreground !== undefined && foreground !== last.foreground) {
      flags |= hextile.foreground;
      at = writer.put(bytes, at, foreground);
    }
    if (rectangles.length > 0) {
      flags |= hextile.anySubrects | (one ? 0 : hextile.coloured);
      bytes[at++] = rectangles.length;
      for (const { x, y, width, height, color } of rectangles) {
        if (!one) at = writer.put(bytes, at, color);
        bytes[at++] = (x << 4) | y;
        bytes[at++] = ((width - 1) << 4) | (height - 1);
      }
    }
    bytes[0] = flags;
    // Coloured subrectangles leave the foreground undefined.
    const kept = one ? foreground : rectangles.length > 0 ? undefined : last.foreground;
    return { bytes: bytes.subarray(0, at), last: { background, ...(kept === undefined ? {} : { foreground: kept }) } };
  }
}

/** A tile of at most `size` pixels each way. */
export function cut(block: Block, x: number, y: number, size: number): Block {
  const width = Math.min(size, block.width - x);
  const height = Math.min(size, block.height - y);
  const pixels = new Uint32Array(width * height);
  for (let row = 0; row < height; row++) {
    const from = (y + row) * block.width + x;
    pixels.set(block.pixels.subarray(from, from + width), row * width);
  }
  return { width, height, pixels };
}

/** Rectangles of one colour each that cover what is not background. At most 256: then it is given up. */
function subrectangles({ width, height, pixels }: Block, background: number) {
  const left = Uint8Array.from(pixels, (pixel) => (pixel === background ? 0 : 1));
  const found: { x: number; y: number; width: number; height: number; color: number }[] = [];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (left[y * width + x] === 0) continue;
      const color = pixels[y * width + x]!;
      const isFree = (at: number) => left[at] === 1 && pixels[at] === color;
      let end = x + 1;
      while (end < width && isFree(y * width + end)) end++;
      let bottom = y + 1;
      for (; bottom < height; bottom++) {
        let column = x;
        while (column < end && isFree(bottom * width + column)) column++;
        if (column < end) break;
      }
      for (let row = y; row < bottom; row++) left.fill(0, row * width + x, row * width + end);
      found.push({ x, y, width: end - x, height: bottom - y, color });
      if (found.length > 255) return found;
    }
  }
  return found;
}

/** Makes an encoder; `level` is the compression that the client wants. Undefined: no such encoding. */
export function makeEncoder(code: number, deflater: () => Deflater): Encoder | undefined {
  switch (code) {
    case encoding.raw:
      return new RawEncoder();
    case encoding.hextile:
      return new HextileEncoder();
    case encoding.zlib:
      return new ZlibEncoder(deflater());
    case encoding.tight:
      return new TightEncoder(deflater);
    case encoding.zrle:
      return new ZrleEncoder(deflater());
    default:
      return undefined;
  }
}
