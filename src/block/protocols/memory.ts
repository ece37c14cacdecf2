/**
 * Protocol `memory`: a disk in memory, sparse by 64 KiB pages. For tests and for machines whose disks need not outlive them.
 * `limit` bounds what it may hold (ENOSPC past it).
 */
import { BlockError } from '../errors.js';
import type { BlockDriver, BlockNode, BlockStatus, DriverNode } from '../node.js';
import { RequestFlag } from '../node.js';

const pageBytes = 65536;

export class MemoryNode implements DriverNode {
  length: number;
  readonly growable = true;
  readonly zeroInit = true;
  readonly writeFlags = RequestFlag.fua;
  readonly zeroFlags = RequestFlag.fua | RequestFlag.mayUnmap | RequestFlag.noFallback;
  readonly #pages = new Map<number, Uint8Array>();
  readonly #maxPages: number;
  readonly #node: BlockNode | undefined;

  constructor(sizeBytes: number, limitBytes = 2 ** 32, node?: BlockNode) {
    this.length = sizeBytes;
    this.#maxPages = Math.ceil(limitBytes / pageBytes);
    this.#node = node;
  }

  async read(offset: number, buffer: Uint8Array): Promise<void> {
    this.readNow(offset, buffer);
  }

  readNow(offset: number, buffer: Uint8Array): boolean {
    this.#each(offset, buffer.length, (page, from, size, done) => {
      const bytes = this.#pages.get(page);
      if (bytes) buffer.set(bytes.subarray(from, from + size), done);
      else buffer.fill(0, done, done + size);
    });
    return true;
  }

  writeNow(offset: number, buffer: Uint8Array): boolean {
    // In one page that is there already.
    const page = Math.floor(offset / pageBytes);
    const bytes = this.#pages.get(page);
    if (!bytes || offset + buffer.length > (page + 1) * pageBytes) return false;
    bytes.set(buffer, offset - page * pageBytes);
    this.length = Math.max(this.length, offset + buffer.length);
    return true;
  }

  async write(offset: number, buffer: Uint8Array): Promise<void> {
    this.#each(offset, buffer.length, (page, from, size, done) => {
      let bytes = this.#pages.get(page);
      if (!bytes) {
        if (this.#pages.size >= this.#maxPages) throw new BlockError('ENOSPC');
        bytes = new Uint8Array(pageBytes);
        this.#pages.set(page, bytes);
      }
      bytes.set(buffer.subarray(done, done + size), from);
    });
    this.length = Math.max(this.length, offset + buffer.length);
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    this.#zero(offset, length);
    this.length = Math.max(this.length, offset + length);
  }

  async discard(offset: number, length: number): Promise<void> {
    this.#zero(offset, length);
  }

  #zero(offset: number, length: number): void {
    const last = Math.floor((offset + length - 1) / pageBytes);
    for (const page of this.#pages.keys()) {
      if (page < Math.floor(offset / pageBytes) || page > last) continue;
      const from = Math.max(0, offset - page * pageBytes);
      const to = Math.min(pageBytes, offset + length - page * pageBytes);
      if (from === 0 && to === pageBytes) this.#pages.delete(page);
      else this.#pages.get(page)!.fill(0, from, to);
    }
  }

  async blockStatus(offset: number, length: number): Promise<BlockStatus> {
    const first = Math.floor(offset / pageBytes);
    const isData = this.#pages.has(first);
    let end = (first + 1) * pageBytes;
    while (end < offset + length && this.#pages.has(end / pageBytes) === isData) end += pageBytes;
    const mapped = this.#node ? { offset, file: this.#node } : {};
    return { length: Math.min(length, end - offset), data: isData, zero: !isData, allocated: true, ...mapped };
  }

  async resize(length: number): Promise<void> {
    if (!Number.isSafeInteger(length)) throw new BlockError('EFBIG');
    if (length < this.length) this.#zero(length, this.length - length);
    this.length = length;
  }

  async allocatedBytes(): Promise<number> {
    return this.#pages.size * pageBytes;
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {}

  #each(offset: number, length: number, visit: (page: number, from: number, size: number, done: number) => void): void {
    let done = 0;
    while (done < length) {
      const page = Math.floor((offset + done) / pageBytes);
      const from = (offset + done) % pageBytes;
      const size = Math.min(pageBytes - from, length - done);
      visit(page, from, size, done);
      done += size;
    }
  }
}

export const memoryDriver: BlockDriver = {
  name: 'memory',
  kind: 'protocol',
  protocols: ['memory'],
  openOptions: [
    { name: 'filename', type: 'string', help: 'Ignored' },
    { name: 'size', type: 'size', default: 0, help: 'Size of the disk', strong: true },
    { name: 'limit', type: 'size', default: 2 ** 32, help: 'Most bytes it may hold in memory' },
  ],
  parseFilename: () => ({}),
  async open(context) {
    return new MemoryNode(context.options.number('size')!, context.options.number('limit')!, context.node);
  },
};
