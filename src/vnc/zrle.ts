/** ZRLE (RFC 6143, 7.7.6): tiles of 64x64 pixels, each solid, of a palette, in runs, or plain, in one zlib stream. */
import { type Block, cut, type Encoder, encoding, withLength } from './encodings.js';
import type { Deflater } from './host.js';
import { packIndices, paletteOf } from './palette.js';
import type { PixelWriter } from './pixel-format.js';

const TILE = 64;
const SOLID = 1;
const PLAIN_RUNS = 128;
const MOST_PACKED = 16;
const MOST_PALETTE = 127;

export class ZrleEncoder implements Encoder {
  readonly code = encoding.zrle;
  readonly #stream: Deflater;
  constructor(stream: Deflater) {
    this.#stream = stream;
  }

  async encode(block: Block, writer: PixelWriter): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    let length = 0;
    for (let y = 0; y < block.height; y += TILE) {
      for (let x = 0; x < block.width; x += TILE) {
        const part = encodeTile(cut(block, x, y, TILE), writer);
        parts.push(part);
        length += part.length;
      }
    }
    const bytes = new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return withLength(await this.#stream.deflate(bytes));
  }

  close(): void {
    this.#stream.close();
  }
}

/** Runs of one colour: colour and length by turns. */
function runsOf(pixels: Uint32Array): number[] {
  const runs: number[] = [];
  for (let i = 0; i < pixels.length; ) {
    let end = i + 1;
    while (end < pixels.length && pixels[end] === pixels[i]) end++;
    runs.push(pixels[i]!, end - i);
    i = end;
  }
  return runs;
}

const lengthBytes = (length: number) => Math.floor((length - 1) / 255) + 1;

function putLength(target: Uint8Array, at: number, length: number): number {
  let rest = length - 1;
  let to = at;
  for (; rest >= 255; rest -= 255) target[to++] = 255;
  target[to++] = rest;
  return to;
}

function encodeTile(tile: Block, writer: PixelWriter): Uint8Array {
  const { width, height, pixels } = tile;
  const size = writer.compactBytes;
  const palette = paletteOf(pixels, MOST_PALETTE);
  if (palette?.size === 1) {
    const bytes = new Uint8Array(1 + size);
    bytes[0] = SOLID;
    writer.putCompact(bytes, 1, pixels[0]!);
    return bytes;
  }
  const runs = runsOf(pixels);
  const rawBytes = 1 + pixels.length * size;
  let plainRuns = 1;
  let paletteRuns = palette ? 1 + palette.size * size : Infinity;
  for (let i = 1; i < runs.length; i += 2) {
    plainRuns += size + lengthBytes(runs[i]!);
    paletteRuns += runs[i] === 1 ? 1 : 1 + lengthBytes(runs[i]!);
  }
  const bits =
    palette === undefined || palette.size > MOST_PACKED ? 0 : palette.size === 2 ? 1 : palette.size <= 4 ? 2 : 4;
  const packed = bits === 0 ? Infinity : 1 + palette!.size * size + Math.ceil((width * bits) / 8) * height;
  const least = Math.min(rawBytes, plainRuns, paletteRuns, packed);
  const bytes = new Uint8Array(least);
  let at = 1;
  if (least === packed || least === paletteRuns) {
    bytes[0] = palette!.size + (least === packed ? 0 : PLAIN_RUNS);
    for (const color of palette!.keys()) at = writer.putCompact(bytes, at, color);
    if (least === packed) bytes.set(packIndices(tile, palette!, bits), at);
    else {
      for (let i = 0; i < runs.length; i += 2) {
        const index = palette!.get(runs[i]!)!;
        const length = runs[i + 1]!;
        bytes[at++] = length === 1 ? index : index | 0x80;
        if (length > 1) at = putLength(bytes, at, length);
      }
    }
  } else if (least === plainRuns) {
    bytes[0] = PLAIN_RUNS;
    for (let i = 0; i < runs.length; i += 2) {
      at = writer.putCompact(bytes, at, runs[i]!);
      at = putLength(bytes, at, runs[i + 1]!);
    }
  } else for (const pixel of pixels) at = writer.putCompact(bytes, at, pixel);
  return bytes;
}
