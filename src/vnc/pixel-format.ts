/** How a client wants its pixels (RFC 6143, 7.4), and the way there from 0x00RRGGBB. */

export interface PixelFormat {
  readonly bitsPerPixel: 8 | 16 | 32;
  readonly depth: number;
  readonly bigEndian: boolean;
  /** Largest red, green, blue, each one less than a power of two, and how far they are shifted. */
  readonly max: readonly [number, number, number];
  readonly shift: readonly [number, number, number];
}

/** What the server offers: eight bits each, red highest. */
export const serverFormat: PixelFormat = {
  bitsPerPixel: 32,
  depth: 24,
  bigEndian: false,
  max: [255, 255, 255],
  shift: [16, 8, 0],
};

/** For clients that want a colour map: theirs is filled so that these are its entries. */
export const mappedFormat: PixelFormat = {
  bitsPerPixel: 8,
  depth: 8,
  bigEndian: false,
  max: [7, 7, 3],
  shift: [0, 3, 6],
};

export const FORMAT_BYTES = 16;

export function formatBytes({ bitsPerPixel, depth, bigEndian, max, shift }: PixelFormat): Uint8Array {
  const bytes = new Uint8Array(FORMAT_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set([bitsPerPixel, depth, bigEndian ? 1 : 0, 1]);
  max.forEach((value, i) => {
    view.setUint16(4 + i * 2, value);
    bytes[10 + i] = shift[i]!;
  });
  return bytes;
}

/** Undefined: no format that anything can be shown in. `'mapped'`: a colour map of 256 entries. */
export function parseFormat(bytes: Uint8Array): PixelFormat | 'mapped' | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, FORMAT_BYTES);
  const bits = bytes[0]!;
  if (bits !== 8 && bits !== 16 && bits !== 32) return undefined;
  if (bytes[3] === 0) return bits === 8 ? 'mapped' : undefined;
  const max: [number, number, number] = [view.getUint16(4), view.getUint16(6), view.getUint16(8)];
  const shift: [number, number, number] = [bytes[10]!, bytes[11]!, bytes[12]!];
  for (let i = 0; i < 3; i++) {
    const used = 32 - Math.clz32(max[i]!);
    if (max[i] !== 2 ** used - 1 || used === 0 || shift[i]! + used > bits) return undefined;
  }
  return { bitsPerPixel: bits, depth: bytes[1]!, bigEndian: bytes[2] !== 0, max, shift };
}

/** The colour map's entries: red, green, blue, 16 bits each. */
export function mapEntries(): Uint8Array {
  const bytes = new Uint8Array(256 * 6);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < 256; i++) {
    mappedFormat.max.forEach((max, part) => {
      const value = (i >> mappedFormat.shift[part]!) & max;
      view.setUint16(i * 6 + part * 2, Math.round((value * 0xffff) / max));
    });
  }
  return bytes;
}

export class PixelWriter {
  readonly format: PixelFormat;
  readonly bytesPerPixel: number;
  readonly #tables: readonly Uint32Array[];
  /** Bytes of a pixel that are left out where an encoding packs them: which of four is unused; -1: all are used. */
  readonly unusedByte: 0 | 3 | -1;
  /** The three bytes of a packed pixel as Tight has them: red, green, blue. */
  readonly isTightPacked: boolean;

  constructor(format: PixelFormat) {
    this.format = format;
    this.bytesPerPixel = format.bitsPerPixel >> 3;
    this.#tables = format.max.map((max, i) =>
      Uint32Array.from({ length: 256 }, (_, value) => {
        const scaled = max <= 255 ? Math.floor((value * (max + 1)) / 256) : Math.round((value * max) / 255);
        return scaled * 2 ** format.shift[i]!;
      }),
    );
    const used = format.max.reduce((mask, max, i) => mask + max * 2 ** format.shift[i]!, 0);
    const wide = format.bitsPerPixel === 32 && format.depth <= 24;
    this.unusedByte = wide && used < 2 ** 24 ? 3 : wide && used % 256 === 0 ? 0 : -1;
    this.isTightPacked = format.bitsPerPixel === 32 && format.depth === 24 && format.max.every((max) => max === 255);
  }

  /** A pixel as a number in the client's format. */
  value(rgb: number): number {
    const [red, green, blue] = this.#tables as [Uint32Array, Uint32Array, Uint32Array];
    return (red[(rgb >> 16) & 255]! + green[(rgb >> 8) & 255]! + blue[rgb & 255]!) >>> 0;
  }

  /** Puts a pixel at `at` of the target, and gives where the next one goes. */
  put(target: Uint8Array, at: number, rgb: number): number {
    const value = this.value(rgb);
    const { bytesPerPixel, format } = this;
    for (let i = 0; i < bytesPerPixel; i++)
      target[at + i] = value >>> (8 * (format.bigEndian ? bytesPerPixel - 1 - i : i));
    return at + bytesPerPixel;
  }

  /** Bytes of a pixel of ZRLE (CPIXEL). */
  get compactBytes(): number {
    return this.unusedByte >= 0 ? 3 : this.bytesPerPixel;
  }

  /** A pixel of ZRLE: without the byte that is always zero. */
  putCompact(target: Uint8Array, at: number, rgb: number): number {
    if (this.unusedByte < 0) return this.put(target, at, rgb);
    const value = this.unusedByte === 0 ? this.value(rgb) >>> 8 : this.value(rgb);
    for (let i = 0; i < 3; i++) target[at + i] = value >>> (8 * (this.format.bigEndian ? 2 - i : i));
    return at + 3;
  }

  /** Bytes of a pixel of Tight (TPIXEL). */
  get tightBytes(): number {
    return this.isTightPacked ? 3 : this.bytesPerPixel;
  }

  putTight(target: Uint8Array, at: number, rgb: number): number {
    if (!this.isTightPacked) return this.put(target, at, rgb);
    target[at] = rgb >> 16;
    target[at + 1] = rgb >> 8;
    target[at + 2] = rgb;
    return at + 3;
  }

  all(pixels: Uint32Array): Uint8Array {
    const { format } = this;
    const [r, g, b] = format.shift;
    if (format.bitsPerPixel === 32 && !format.bigEndian && this.isTightPacked && r === 16 && g === 8 && b === 0)
      return new Uint8Array(pixels.slice().buffer);
    const bytes = new Uint8Array(pixels.length * this.bytesPerPixel);
    let at = 0;
    for (const pixel of pixels) at = this.put(bytes, at, pixel);
    return bytes;
  }
}
