/**
 * Format `bochs`, read-only: the growing images of the Bochs emulator (its `redolog` header, subtype `Growing`, versions 1 and 2). All
 * fields are little-endian. A catalogue gives each extent's number or none; an extent is a bitmap of its sectors in use, then the sectors.
 */
import { BlockError } from '../../errors.js';
import type { BlockDriver, BlockNode, DriverNode, OpenContext } from '../../node.js';

const sectorBytes = 512;
const maxCatalogEntries = 2 ** 20;
const maxExtentBytes = 2 ** 23;
const unused = 0xffffffff;

function fail(message: string): never {
  throw new BlockError('EINVAL', message);
}

interface Geometry {
  readonly diskBytes: number;
  readonly extentBytes: number;
  readonly bitmapSectors: number;
  readonly dataOffset: number;
}

class BochsNode implements DriverNode {
  readonly #file: BlockNode;
  readonly #geometry: Geometry;
  readonly #catalog: Uint32Array;
  #bitmap: { readonly extent: number; readonly bytes: Uint8Array } | undefined;
  readonly readOnly = true;
  readonly limits = { requestAlignment: sectorBytes };

  constructor(file: BlockNode, geometry: Geometry, catalog: Uint32Array) {
    this.#file = file;
    this.#geometry = geometry;
    this.#catalog = catalog;
  }

  get length(): number {
    return this.#geometry.diskBytes;
  }

  /** Bitmap of an extent's sectors; the extent is in use. */
  async #bitmapOf(extent: number, place: number): Promise<Uint8Array> {
    if (this.#bitmap?.extent === extent) return this.#bitmap.bytes;
    if (place >= this.#file.length) throw new BlockError('EIO');
    const bytes = new Uint8Array(Math.ceil(this.#geometry.extentBytes / sectorBytes / 8));
    await this.#file.read(place, bytes);
    this.#bitmap = { extent, bytes };
    return bytes;
  }

  async read(offset: number, buffer: Uint8Array): Promise<void> {
    const { extentBytes, bitmapSectors, dataOffset } = this.#geometry;
    const extentSpan = bitmapSectors * sectorBytes + Math.ceil(extentBytes / sectorBytes) * sectorBytes;
    for (let at = 0; at < buffer.length; ) {
      const extent = Math.floor((offset + at) / extentBytes);
      const within = (offset + at) % extentBytes;
      const number = this.#catalog[extent] ?? unused;
      if (number === unused) {
        const size = Math.min(buffer.length - at, extentBytes - within);
        buffer.fill(0, at, at + size);
        at += size;
        continue;
      }
      const place = dataOffset + number * extentSpan;
      const bitmap = await this.#bitmapOf(extent, place);
      const isUsed = (sector: number): boolean => (bitmap[sector >> 3]! & (1 << (sector & 7))) !== 0;
      const first = Math.floor(within / sectorBytes);
      const last = Math.min(
        Math.ceil(extentBytes / sectorBytes),
        first + Math.ceil((buffer.length - at) / sectorBytes),
      );
      let end = first + 1;
      while (end < last && isUsed(end) === isUsed(first)) end++;
      const part = buffer.subarray(at, at + (end - first) * sectorBytes);
      if (isUsed(first)) await this.#file.read(place + (bitmapSectors + first) * sectorBytes, part);
      else part.fill(0);
      at += part.length;
    }
  }

  async close(): Promise<void> {}
}

async function open(context: OpenContext): Promise<DriverNode> {
  const { flags } = context;
  if (!flags.readOnly && !flags.autoReadOnly) throw new BlockError('EACCES', 'Image is read-only');
  const file = await context.openFile();
  const head = new Uint8Array(512);
  await file.read(0, head);
  const view = new DataView(head.buffer);
  const text = (offset: number, length: number): string =>
    String.fromCharCode(...head.subarray(offset, offset + length)).split('\0', 1)[0]!;
  const version = view.getUint32(64, true);
  if (
    text(0, 32) !== 'Bochs Virtual HD Image' ||
    text(32, 16) !== 'Redolog' ||
    text(48, 16) !== 'Growing' ||
    (version !== 0x10000 && version !== 0x20000)
  )
    fail('Image not in Bochs format');
  const sizeAt = version === 0x10000 ? 84 : 88;
  const size = view.getUint32(sizeAt, true) + view.getUint32(sizeAt + 4, true) * 2 ** 32;
  if (!Number.isSafeInteger(size)) throw new BlockError('EFBIG', 'Disk size is too large');
  const diskBytes = size - (size % sectorBytes);
  const entries = view.getUint32(72, true);
  if (entries > maxCatalogEntries) throw new BlockError('EFBIG', 'Catalog size is too large');
  const headerBytes = view.getUint32(68, true);
  const extentBytes = view.getUint32(80, true);
  const bitmapBytes = view.getUint32(76, true);
  if (extentBytes < sectorBytes) fail('Extent size must be at least 512');
  if (!Number.isInteger(Math.log2(extentBytes))) fail(`Extent size ${extentBytes} is not a power of two`);
  if (extentBytes > maxExtentBytes) fail(`Extent size ${extentBytes} is too large`);
  if (entries < Math.ceil(diskBytes / extentBytes)) fail('Catalog size is too small for this disk size');
  const bytes = new Uint8Array(entries * 4);
  await file.read(headerBytes, bytes);
  const catalogView = new DataView(bytes.buffer);
  const catalog = new Uint32Array(entries);
  for (let index = 0; index < entries; index++) catalog[index] = catalogView.getUint32(index * 4, true);
  const geometry: Geometry = {
    diskBytes,
    extentBytes,
    bitmapSectors: bitmapBytes === 0 ? 1 : 1 + Math.floor((bitmapBytes - 1) / sectorBytes),
    dataOffset: headerBytes + entries * 4,
  };
  return new BochsNode(file, geometry, catalog);
}

export const bochsDriver: BlockDriver = { name: 'bochs', kind: 'format', openOptions: [], open };
