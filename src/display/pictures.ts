/** Picture files of a surface: PNG (ISO/IEC 15948) and PPM (netpbm's P6). */
import type { Surface } from './surface.js';

/** One zlib stream (RFC 1950). */
export type Compress = (bytes: Uint8Array) => Uint8Array;

/** Rows of 3 bytes a pixel, red first; each begins with `lead` bytes of zero. */
function rgbRows({ width, height, pixels }: Surface, lead: number, header: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(header.length + height * (lead + 3 * width));
  bytes.set(header);
  let at = header.length;
  for (let i = 0, y = 0; y < height; y++) {
    at += lead;
    for (let x = 0; x < width; x++, i++, at += 3) {
      const pixel = pixels[i]!;
      bytes[at] = pixel >>> 16;
      bytes[at + 1] = pixel >>> 8;
      bytes[at + 2] = pixel;
    }
  }
  return bytes;
}

export function ppm(surface: Surface): Uint8Array {
  return rgbRows(surface, 0, new TextEncoder().encode(`P6\n${surface.width} ${surface.height}\n255\n`));
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = (c & 1) !== 0 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

function crc(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (const byte of bytes) c = CRC_TABLE[(c ^ byte) & 0xff]! ^ (c >>> 8);
  return ~c >>> 0;
}

function chunk(type: string, content: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(12 + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(content, 8);
  view.setUint32(8 + content.length, crc(bytes.subarray(4, 8 + content.length)));
  return bytes;
}

export function png(surface: Surface, compress: Compress): Uint8Array {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, surface.width);
  view.setUint32(4, surface.height);
  // 8 bits a sample, red, green and blue.
  header[8] = 8;
  header[9] = 2;
  const parts = [
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    chunk('IHDR', header),
    chunk('IDAT', compress(rgbRows(surface, 1, new Uint8Array(0)))),
    chunk('IEND', new Uint8Array(0)),
  ];
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
