/**
 * Format `dmg`, read-only: Apple's disk images (UDIF). A trailer of 512 bytes at the end, `koly`, leads to a property list or a resource
 * fork with block tables, `mish`: which sectors lie in which chunk of the file and how they are packed. All fields are big-endian.
 *
 * Chunks may be plain, zero, or packed by zlib or bzip2. Left out: ADC and lzfse (reads of such chunks fail with EIO, as in QEMU where
 * the library is missing; opening warns).
 */
import { BlockError } from '../../errors.js';
import type { BlockHost } from '../../host.js';
import type { BlockDriver, BlockNode, DriverNode, OpenContext } from '../../node.js';

const sectorBytes = 512;
const trailerBytes = 512;
const maxTableBytes = 2 ** 24;
const maxChunkBytes = 2 ** 26;
const maxChunkSectors = maxChunkBytes / sectorBytes;
const mishHeadBytes = 204;
const chunkEntryBytes = 40;

const ChunkType = { zero: 0, raw: 1, ignore: 2, zlib: 0x80000005, bzip2: 0x80000006, lzfse: 0x80000007 } as const;
const readable: ReadonlySet<number> = new Set([
  ChunkType.zero,
  ChunkType.raw,
  ChunkType.ignore,
  ChunkType.zlib,
  ChunkType.bzip2,
]);

interface Chunk {
  readonly type: number;
  readonly sector: number;
  readonly sectors: number;
  readonly offset: number;
  readonly length: number;
}

function fail(message?: string): never {
  throw new BlockError('EINVAL', message);
}

function get64(view: DataView, offset: number): number {
  return view.getUint32(offset) * 2 ** 32 + view.getUint32(offset + 4);
}

class DmgNode implements DriverNode {
  readonly #host: BlockHost;
  readonly #file: BlockNode;
  /** By first sector. */
  readonly #chunks: readonly Chunk[];
  readonly length: number;
  #latest: { readonly chunk: Chunk; readonly bytes: Promise<Uint8Array> } | undefined;
  readonly readOnly = true;
  readonly limits = { requestAlignment: sectorBytes };

  constructor(host: BlockHost, file: BlockNode, chunks: readonly Chunk[], length: number) {
    this.#host = host;
    this.#file = file;
    this.#chunks = chunks;
    this.length = length;
  }

  #chunkAt(sector: number): Chunk {
    let [low, high] = [0, this.#chunks.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#chunks[middle]!.sector <= sector) low = middle + 1;
      else high = middle;
    }
    const chunk = this.#chunks[low - 1];
    if (!chunk || sector >= chunk.sector + chunk.sectors) throw new BlockError('EIO');
    return chunk;
  }

  #load(chunk: Chunk): Promise<Uint8Array> {
    if (this.#latest?.chunk !== chunk) this.#latest = { chunk, bytes: this.#unpack(chunk) };
    return this.#latest.bytes;
  }

  async #unpack(chunk: Chunk): Promise<Uint8Array> {
    const packed = this.#host.allocate(chunk.length);
    await this.#file.read(chunk.offset, packed);
    const size = chunk.sectors * sectorBytes;
    if (chunk.type === ChunkType.zlib) return (await this.#host.compression()).inflate('zlib', packed, size);
    const { bunzip2 } = await import('./bzip2.js');
    return bunzip2(packed, size);
  }

  async read(offset: number, buffer: Uint8Array): Promise<void> {
    for (let at = 0; at < buffer.length; ) {
      const chunk = this.#chunkAt(Math.floor((offset + at) / sectorBytes));
      const within = offset + at - chunk.sector * sectorBytes;
      const size = Math.min(buffer.length - at, chunk.sectors * sectorBytes - within);
      const part = buffer.subarray(at, at + size);
      if (chunk.type === ChunkType.raw) {
        const stored = Math.max(0, Math.min(size, chunk.length - within));
        if (stored > 0) await this.#file.read(chunk.offset + within, part.subarray(0, stored));
        part.fill(0, stored);
      } else if (chunk.type === ChunkType.zlib || chunk.type === ChunkType.bzip2) {
        part.set((await this.#load(chunk)).subarray(within, within + size));
      } else part.fill(0);
      at += size;
    }
  }

  async close(): Promise<void> {}
}

/** The trailer may be followed by up to a sector of filler. */
async function findTrailer(file: BlockNode): Promise<{ readonly offset: number; readonly view: DataView }> {
  if (file.length === 0) fail('dmg file must be at least 512 bytes long');
  const start = Math.max(0, file.length - 2 * trailerBytes + 1);
  const bytes = new Uint8Array(file.length - start);
  await file.read(start, bytes);
  for (let at = 0; at + 4 <= bytes.length; at++) {
    if (bytes[at] !== 0x6b || bytes[at + 1] !== 0x6f || bytes[at + 2] !== 0x6c || bytes[at + 3] !== 0x79) continue;
    const trailer = new Uint8Array(trailerBytes);
    trailer.set(bytes.subarray(at, at + trailerBytes));
    return { offset: start + at, view: new DataView(trailer.buffer) };
  }
  return fail('Could not locate UDIF trailer in dmg file');
}

/** Adds the chunks of one block table; other resources are passed over. */
function parseMish(bytes: Uint8Array, forkOffset: number, chunks: Chunk[], unknown: Set<number>): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < mishHeadBytes + chunkEntryBytes || view.getUint32(0) !== 0x6d697368) return;
  const firstSector = get64(view, 8);
  const dataOffset = forkOffset + get64(view, 24);
  const count = Math.floor((bytes.length - mishHeadBytes) / chunkEntryBytes);
  for (let index = 0; index < count; index++) {
    const at = mishHeadBytes + index * chunkEntryBytes;
    const type = view.getUint32(at);
    if (!readable.has(type)) {
      unknown.add(type);
      continue;
    }
    const chunk: Chunk = {
      type,
      sector: firstSector + get64(view, at + 8),
      sectors: get64(view, at + 16),
      offset: dataOffset + get64(view, at + 24),
      length: get64(view, at + 32),
    };
    // Sectors that need no buffer may be any number.
    if (type !== ChunkType.zero && type !== ChunkType.ignore && chunk.sectors > maxChunkSectors)
      fail(`sector count ${chunk.sectors} for chunk ${chunks.length} is larger than max (${maxChunkSectors})`);
    if (chunk.length > maxChunkBytes)
      fail(`length ${chunk.length} for chunk ${chunks.length} is larger than max (${maxChunkBytes})`);
    if (!Number.isSafeInteger((chunk.sector + chunk.sectors) * sectorBytes) || !Number.isSafeInteger(chunk.offset))
      fail();
    if (chunk.sectors > 0) chunks.push(chunk);
  }
}

function decodeBase64(text: string): Uint8Array {
  const clean = text.replace(/[^A-Za-z0-9+/]/g, '');
  const bytes = new Uint8Array(Math.floor((clean.length * 3) / 4));
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  let [held, bits, filled] = [0, 0, 0];
  for (const letter of clean) {
    held = ((held << 6) | alphabet.indexOf(letter)) & 0xffff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes[filled++] = (held >> bits) & 0xff;
  }
  return bytes.subarray(0, filled);
}

async function readTableBytes(file: BlockNode, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  await file.read(offset, bytes);
  return bytes;
}

async function open(context: OpenContext): Promise<DriverNode> {
  const { flags } = context;
  if (!flags.readOnly && !flags.autoReadOnly) throw new BlockError('EACCES', 'Image is read-only');
  const file = await context.openFile();
  const { offset: trailerOffset, view } = await findTrailer(file);
  const forkOffset = get64(view, 0x18);
  if (forkOffset > trailerOffset) fail();
  const resources = { offset: get64(view, 0x28), length: get64(view, 0x30) };
  const list = { offset: get64(view, 0xd8), length: get64(view, 0xe0) };
  for (const { offset, length } of [resources, list])
    if (offset >= trailerOffset && length > 0) fail();
    else if (length > trailerOffset - offset) fail();
  const sectors = get64(view, 0x1ec);
  if (!Number.isSafeInteger(sectors * sectorBytes)) fail();
  const chunks: Chunk[] = [];
  const unknown = new Set<number>();
  if (resources.length !== 0) {
    if (resources.length > maxTableBytes) fail();
    const bytes = await readTableBytes(file, resources.offset, resources.length);
    const fork = new DataView(bytes.buffer);
    if (bytes.length < 16) fail();
    // The resource fork: offset and length of its data, a list of sized resources.
    if (fork.getUint32(0) !== 0x100) fail();
    const dataBytes = fork.getUint32(8);
    if (dataBytes === 0 || 0x100 + dataBytes > bytes.length) fail();
    for (let at = 0x100; at + 4 <= 0x100 + dataBytes; ) {
      const size = fork.getUint32(at);
      if (size === 0 || at + 4 + size > 0x100 + dataBytes) fail();
      parseMish(bytes.subarray(at + 4, at + 4 + size), forkOffset, chunks, unknown);
      at += 4 + size;
    }
  } else if (list.length !== 0) {
    if (list.length > maxTableBytes) fail();
    const text = new TextDecoder().decode(await readTableBytes(file, list.offset, list.length));
    for (let at = text.indexOf('<data>'); at >= 0; at = text.indexOf('<data>', at)) {
      const end = text.indexOf('</data>', at);
      if (end < 0) fail();
      parseMish(decodeBase64(text.slice(at + 6, end)), forkOffset, chunks, unknown);
      at = end;
    }
  } else fail();
  if (unknown.has(ChunkType.lzfse))
    context.host.report(
      'warning',
      'dmg-lzfse module is missing, accessing lzfse compressed blocks will result in I/O errors',
    );
  chunks.sort((a, b) => a.sector - b.sector);
  return new DmgNode(context.host, file, chunks, sectors * sectorBytes);
}

export const dmgDriver: BlockDriver = { name: 'dmg', kind: 'format', openOptions: [], open };
