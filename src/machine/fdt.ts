/** A flattened device tree (Devicetree Specification 0.4, chapter 5), made from plain objects. */

/** A property: cells of 32 bits, one or more strings, bytes; true: it is there and empty. A node otherwise. */
export type FdtValue = readonly number[] | string | readonly string[] | Uint8Array | true;
export interface FdtNode {
  readonly [name: string]: FdtNode | FdtValue | undefined;
}

export const fdtMagic = 0xd00dfeed;
const VERSION = 17;
const LAST_COMPATIBLE = 16;
const HEADER_BYTES = 40;
/** Behind the last there is one of zeros. */
const RESERVATION_BYTES = 16;
export const token = { beginNode: 1, endNode: 2, property: 3, end: 9 } as const;

const isValue = (value: FdtNode | FdtValue): value is FdtValue =>
  value === true || typeof value === 'string' || Array.isArray(value) || value instanceof Uint8Array;

function bytesOf(value: FdtValue): Uint8Array {
  if (value === true) return new Uint8Array(0);
  if (value instanceof Uint8Array) return value;
  const texts = typeof value === 'string' ? [value] : value;
  if (texts.length > 0 && typeof texts[0] === 'string') return new TextEncoder().encode(`${texts.join('\0')}\0`);
  const cells = value as readonly number[];
  const bytes = new Uint8Array(4 * cells.length);
  const view = new DataView(bytes.buffer);
  for (const [i, cell] of cells.entries()) view.setUint32(4 * i, cell, false);
  return bytes;
}

/** Two cells of a number below 2^53. */
export const twoCells = (value: number): [number, number] => [Math.floor(value / 2 ** 32), value % 2 ** 32];

/** Grows as it is written to. */
class Writer {
  #bytes = new Uint8Array(4096);
  length = 0;

  append(bytes: Uint8Array): void {
    const end = this.length + bytes.length;
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(end, 2 * this.#bytes.length));
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, this.length);
    this.length = end;
  }

  word(value: number): void {
    this.append(bytesOf([value]));
  }

  align(): void {
    if (this.length % 4 !== 0) this.append(new Uint8Array(4 - (this.length % 4)));
  }

  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }
}

/**
 * The tree as guests are given it. Properties come before the nodes below, whatever their order. `reservations`: address and size of
 * memory that is not to be used.
 */
export function flattenTree(root: FdtNode, reservations: readonly (readonly [bigint, bigint])[] = []): Uint8Array {
  const structure = new Writer();
  const strings = new Writer();
  const places = new Map<string, number>();
  const nameAt = (name: string): number => {
    let at = places.get(name);
    if (at === undefined) {
      at = strings.length;
      places.set(name, at);
      strings.append(bytesOf(name));
    }
    return at;
  };
  const visit = (name: string, node: FdtNode): void => {
    structure.word(token.beginNode);
    structure.append(bytesOf(name));
    structure.align();
    const entries = Object.entries(node);
    for (const [key, value] of entries) {
      if (value === undefined || !isValue(value)) continue;
      const bytes = bytesOf(value);
      structure.word(token.property);
      structure.word(bytes.length);
      structure.word(nameAt(key));
      structure.append(bytes);
      structure.align();
    }
    for (const [key, value] of entries) if (value !== undefined && !isValue(value)) visit(key, value);
    structure.word(token.endNode);
  };
  visit('', root);
  structure.word(token.end);
  const structureAt = HEADER_BYTES + RESERVATION_BYTES * (reservations.length + 1);
  const stringsAt = structureAt + structure.length;
  const total = stringsAt + strings.length;
  const tree = new Uint8Array(total);
  tree.set(
    bytesOf([
      fdtMagic,
      total,
      structureAt,
      stringsAt,
      HEADER_BYTES,
      VERSION,
      LAST_COMPATIBLE,
      0,
      strings.length,
      structure.length,
    ]),
  );
  const view = new DataView(tree.buffer, HEADER_BYTES);
  for (const [i, number] of reservations.flat().entries()) view.setBigUint64(8 * i, number);
  tree.set(structure.bytes, structureAt);
  tree.set(strings.bytes, stringsAt);
  return tree;
}
