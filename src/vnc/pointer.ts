/** The guest's pointer as rectangles for a client: with alpha, or with a mask of the pixels that are seen. */
import { POINTER_SIZE, type Pointer } from '../display/index.js';
import type { PixelWriter } from './pixel-format.js';

const BYTES_PER_PIXEL = 4;
const RAW = 0;
/** From here on a pixel counts as seen, where there is only seen and unseen. */
const SEEN = 128;

/** `Cursor`: pixels in the client's format, then a bit for each, rows padded to bytes. An empty rectangle has no pointer. */
export function maskedPointer({ pixels }: Pointer, writer: PixelWriter): Uint8Array {
  const colorBytes = pixels.length * writer.bytesPerPixel;
  const bytes = new Uint8Array(colorBytes + (POINTER_SIZE / 8) * POINTER_SIZE);
  let at = 0;
  for (const pixel of pixels) at = writer.put(bytes, at, pixel);
  for (let i = 0; i < pixels.length; i++)
    if (pixels[i]! >>> 24 >= SEEN) bytes[colorBytes + (i >> 3)]! |= 0x80 >> (i & 7);
  return bytes;
}

/** `Cursor With Alpha`: the encoding of what follows, then red, green, blue and alpha of each pixel. */
export function alphaPointer({ pixels }: Pointer): Uint8Array {
  const bytes = new Uint8Array(4 + pixels.length * BYTES_PER_PIXEL);
  const view = new DataView(bytes.buffer);
  view.setInt32(0, RAW);
  for (let i = 0; i < pixels.length; i++)
    view.setUint32(4 + i * BYTES_PER_PIXEL, ((pixels[i]! << 8) | (pixels[i]! >>> 24)) >>> 0);
  return bytes;
}
