/**
 * What a screen shows: pixels and which of them have changed. A device draws rows, a server or a file writer reads them. Changes are
 * noted by tiles of 16x16 pixels, so that each reader can keep its own note of what it has not yet seen.
 */
export const TILE = 16;

/** Something that can draw its picture. */
export interface ScreenSource {
  /** Draws the picture as it is now, and gives the surface its size. `blinkOn`: the phase in which what blinks is seen. */
  draw(surface: Surface, blinkOn: boolean): void;
  /** Characters, while it shows such. */
  text?(): TextScreen | undefined;
}

/** A screen of character cells. */
export interface TextScreen {
  readonly columns: number;
  readonly rows: number;
  /** By rows: code page 437 in the low byte, attribute above it: foreground in bits 0 to 3, background in bits 4 to 7. */
  readonly cells: Uint16Array;
  readonly cursor: { readonly column: number; readonly row: number } | undefined;
  /** 0xRRGGBB for each of 16 colours. */
  readonly colors: Uint32Array;
}

export interface Rectangle {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** A set of tiles of a surface of a certain size. */
export class TileSet {
  readonly columns: number;
  readonly rows: number;
  readonly bits: Uint8Array;
  readonly #width: number;
  readonly #height: number;

  constructor(width: number, height: number) {
    this.#width = width;
    this.#height = height;
    this.columns = Math.ceil(width / TILE);
    this.rows = Math.ceil(height / TILE);
    this.bits = new Uint8Array(this.columns * this.rows);
  }

  get isEmpty(): boolean {
    return !this.bits.includes(1);
  }

  /** Adds all tiles that an area touches; what lies outside the surface is left out. */
  add({ x, y, width, height }: Rectangle): void {
    const right = Math.min(x + width, this.#width);
    const bottom = Math.min(y + height, this.#height);
    const first = Math.max(0, Math.floor(x / TILE));
    const last = Math.ceil(right / TILE);
    for (let row = Math.max(0, Math.floor(y / TILE)); row * TILE < bottom; row++)
      if (first < last) this.bits.fill(1, row * this.columns + first, row * this.columns + last);
  }

  /** Adds another set of the same size. */
  addAll(other: TileSet): void {
    for (let i = 0; i < this.bits.length; i++) this.bits[i]! |= other.bits[i]!;
  }

  clear(): void {
    this.bits.fill(0);
  }

  /** Takes the tiles inside an area out of the set and gives rectangles, without overlaps, that cover them. */
  take(area: Rectangle): Rectangle[] {
    const firstRow = Math.max(0, Math.floor(area.y / TILE));
    const endRow = Math.min(this.rows, Math.ceil((area.y + area.height) / TILE));
    const firstColumn = Math.max(0, Math.floor(area.x / TILE));
    const endColumn = Math.min(this.columns, Math.ceil((area.x + area.width) / TILE));
    const taken: Rectangle[] = [];
    for (let row = firstRow; row < endRow; row++) {
      for (let column = firstColumn; column < endColumn; column++) {
        if (this.bits[row * this.columns + column] === 0) continue;
        let end = column + 1;
        while (end < endColumn && this.bits[row * this.columns + end] === 1) end++;
        let bottom = row + 1;
        while (bottom < endRow && this.#isRun(bottom, column, end)) bottom++;
        for (let r = row; r < bottom; r++) this.bits.fill(0, r * this.columns + column, r * this.columns + end);
        const [x, y] = [column * TILE, row * TILE];
        const width = Math.min(end * TILE, this.#width) - x;
        taken.push({ x, y, width, height: Math.min(bottom * TILE, this.#height) - y });
        column = end - 1;
      }
    }
    return taken;
  }

  #isRun(row: number, from: number, to: number): boolean {
    for (let column = from; column < to; column++) if (this.bits[row * this.columns + column] === 0) return false;
    return true;
  }
}

export class Surface {
  /** Pixels; 0: nothing has been drawn yet. */
  width = 0;
  height = 0;
  /** 0x00RRGGBB, by rows. */
  pixels: Uint32Array = new Uint32Array(0);
  /** Grows with each new size. */
  sizes = 0;
  /** Tiles that have been drawn anew with other pixels since `damage` was last cleared. */
  damage = new TileSet(0, 0);

  /** A new size makes everything black and damaged. */
  resize(width: number, height: number): void {
    if (width === this.width && height === this.height) return;
    this.width = width;
    this.height = height;
    this.pixels = new Uint32Array(width * height);
    this.damage = new TileSet(width, height);
    this.damage.bits.fill(1);
    this.sizes++;
  }

  /** Replaces a row; only bits 0 to 23 of its pixels count. */
  putRow(y: number, row: Uint32Array): void {
    const { width, pixels, damage } = this;
    const tiles = (y >> 4) * damage.columns;
    const start = y * width;
    for (let x = 0; x < width; x++) {
      const pixel = row[x]! & 0xffffff;
      if (pixels[start + x] === pixel) continue;
      pixels[start + x] = pixel;
      damage.bits[tiles + (x >> 4)] = 1;
    }
  }

  fill(color: number): void {
    const row = new Uint32Array(this.width).fill(color);
    for (let y = 0; y < this.height; y++) this.putRow(y, row);
  }
}
