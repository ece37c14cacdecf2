/** The colours of a block, in the order in which they first appear. Undefined: there are more than `most`. */
export function paletteOf(pixels: Uint32Array, most: number): Map<number, number> | undefined {
  const palette = new Map<number, number>();
  let last = -1;
  for (const pixel of pixels) {
    if (pixel === last) continue;
    last = pixel;
    if (palette.has(pixel)) continue;
    if (palette.size === most) return undefined;
    palette.set(pixel, palette.size);
  }
  return palette;
}

/** Indices packed from the highest bit on, each row from a new byte on. `bits`: 1, 2, 4 or 8. */
export function packIndices(
  { width, height, pixels }: { readonly width: number; readonly height: number; readonly pixels: Uint32Array },
  palette: ReadonlyMap<number, number>,
  bits: number,
): Uint8Array {
  const rowBytes = Math.ceil((width * bits) / 8);
  const bytes = new Uint8Array(rowBytes * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = y * rowBytes + ((x * bits) >> 3);
      bytes[at]! |= palette.get(pixels[y * width + x]!)! << (8 - bits - ((x * bits) & 7));
    }
  }
  return bytes;
}
