/**
 * Format `cloop`, read-only: the compressed loop device of Knoppix, version 2. A shell script in 128 bytes; then big-endian the block size
 * and the number of blocks, the file offset of each block and of the end; then the blocks, each a zlib stream.
 */
import { BlockError } from '../../errors.js';
import type { BlockHost } from '../../host.js';
import type { BlockDriver, BlockNode, DriverNode, OpenContext } from '../../node.js';

const headBytes = 136;
const maxBlockBytes = 2 ** 26;
/** Bounds the table of offsets in memory. */
const maxOffsetsBytes = 2 ** 29;

function fail(message: string): never {
  throw new BlockError('EINVAL', message);
}

class CloopNode implements DriverNode {
  readonly #host: BlockHost;
  readonly #file: BlockNode;
  readonly #blockBytes: number;
  /** One more than there are blocks. */
  readonly #offsets: Float64Array;
  #latest: { readonly block: number; readonly bytes: Promise<Uint8Array> } | undefined;
  readonly readOnly = true;

  constructor(host: BlockHost, file: BlockNode, blockBytes: number, offsets: Float64Array) {
    this.#host = host;
    this.#file = file;
    this.#blockBytes = blockBytes;
    this.#offsets = offsets;
  }

  get length(): number {
    return (this.#offsets.length - 1) * this.#blockBytes;
  }

  #load(block: number): Promise<Uint8Array> {
    if (this.#latest?.block !== block) this.#latest = { block, bytes: this.#inflate(block) };
    return this.#latest.bytes;
  }

  async #inflate(block: number): Promise<Uint8Array> {
    const packed = this.#host.allocate(this.#offsets[block + 1]! - this.#offsets[block]!);
    await this.#file.read(this.#offsets[block]!, packed);
    return (await this.#host.compression()).inflate('zlib', packed, this.#blockBytes);
  }

  async read(offset: number, buffer: Uint8Array): Promise<void> {
    for (let at = 0; at < buffer.length; ) {
      const within = (offset + at) % this.#blockBytes;
      const size = Math.min(buffer.length - at, this.#blockBytes - within);
      const bytes = await this.#load(Math.floor((offset + at) / this.#blockBytes));
      buffer.set(bytes.subarray(within, within + size), at);
      at += size;
    }
  }

  async close(): Promise<void> {}
}

async function open(context: OpenContext): Promise<DriverNode> {
  const { flags } = context;
  if (!flags.readOnly && !flags.autoReadOnly) throw new BlockError('EACCES', 'Image is read-only');
  const file = await context.openFile();
  const head = new Uint8Array(headBytes);
  await file.read(0, head);
  const view = new DataView(head.buffer);
  const blockBytes = view.getUint32(128);
  if (blockBytes % 512 !== 0) fail(`block_size ${blockBytes} must be a multiple of 512`);
  if (blockBytes === 0) fail('block_size cannot be zero');
  if (blockBytes > maxBlockBytes) fail(`block_size ${blockBytes} must be 64 MB or less`);
  const blocks = view.getUint32(132);
  const most = Math.floor((2 ** 32 - 1) / 8);
  if (blocks > most) fail(`n_blocks ${blocks} must be ${most} or less`);
  const tableBytes = (blocks + 1) * 8;
  if (tableBytes > maxOffsetsBytes) fail('image requires too many offsets, try increasing block size');
  // No more memory than a file that holds the table.
  if (headBytes + tableBytes > file.length) throw new BlockError('EIO');
  const table = new Uint8Array(tableBytes);
  await file.read(headBytes, table);
  const tableView = new DataView(table.buffer);
  const offsets = new Float64Array(blocks + 1);
  // Deflate never makes data larger than this, so that a corrupt table can't ask for much.
  const mostPacked = 2 * maxBlockBytes;
  for (let index = 0; index <= blocks; index++) {
    offsets[index] = tableView.getUint32(index * 8) * 2 ** 32 + tableView.getUint32(index * 8 + 4);
    if (index === 0) continue;
    const length = offsets[index]! - offsets[index - 1]!;
    if (length < 0) fail(`offsets not monotonically increasing at index ${index}, image file is corrupt`);
    if (length > mostPacked) fail(`invalid compressed block size at index ${index}, image file is corrupt`);
  }
  return new CloopNode(context.host, file, blockBytes, offsets);
}

export const cloopDriver: BlockDriver = { name: 'cloop', kind: 'format', openOptions: [], open };
