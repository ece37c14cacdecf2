/** Format `raw`: the file is the disk, or `size` bytes of it from `offset`. */
import { BlockError } from '../../errors.js';
import type {
  BlockDriver,
  BlockNode,
  BlockStatus,
  DriverNode,
  HostPlace,
  MeasureResult,
  ResizeOptions,
} from '../../node.js';
import { RequestFlag } from '../../node.js';

class RawNode implements DriverNode {
  readonly #file: BlockNode;
  readonly #offset: number;
  #size: number | undefined;
  readonly writeFlags = RequestFlag.fua;
  readonly zeroFlags = RequestFlag.fua | RequestFlag.mayUnmap | RequestFlag.noFallback;

  constructor(file: BlockNode, offset: number, size: number | undefined) {
    this.#file = file;
    this.#offset = offset;
    this.#size = size;
  }

  get length(): number {
    return this.#size ?? Math.max(0, this.#file.length - this.#offset);
  }

  get growable(): boolean {
    return this.#size === undefined && (this.#file.instance.growable ?? false);
  }

  get zeroInit(): boolean {
    return this.#file.instance.zeroInit ?? false;
  }

  read(offset: number, buffer: Uint8Array): Promise<void> {
    if (this.#file.instance.onEvent)
      return this.#after('read_aio', () => this.#file.read(this.#offset + offset, buffer));
    return this.#file.read(this.#offset + offset, buffer);
  }

  write(offset: number, buffer: Uint8Array, flags: number): Promise<void> {
    if (this.#file.instance.onEvent)
      return this.#after('write_aio', () => this.#file.write(this.#offset + offset, buffer, flags));
    return this.#file.write(this.#offset + offset, buffer, flags);
  }

  /** A request once the filter below has been told of the event. */
  async #after(event: string, request: () => Promise<void>): Promise<void> {
    await this.#file.instance.onEvent!(event);
    await request();
  }

  readNow(offset: number, buffer: Uint8Array): boolean {
    return this.#file.readNow(this.#offset + offset, buffer);
  }

  writeNow(offset: number, buffer: Uint8Array): boolean {
    return this.#file.writeNow(this.#offset + offset, buffer);
  }

  place(offset: number, length: number): HostPlace | undefined {
    // Its clusters begin elsewhere than this node's.
    return this.#file.instance.movesPlaces ? undefined : this.#file.place(this.#offset + offset, length);
  }

  copyRange(offset: number, source: BlockNode, sourceOffset: number, length: number): Promise<boolean> {
    return this.#file.copyRange(this.#offset + offset, source, sourceOffset, length);
  }

  writeZeroes(offset: number, length: number, flags: number): Promise<void> {
    return this.#file.writeZeroes(this.#offset + offset, length, flags);
  }

  discard(offset: number, length: number): Promise<void> {
    return this.#file.discard(this.#offset + offset, length);
  }

  async blockStatus(offset: number, length: number): Promise<BlockStatus> {
    return this.statusNow(offset, length);
  }

  statusNow(offset: number, length: number): BlockStatus {
    return {
      length,
      data: true,
      zero: false,
      allocated: true,
      offset: this.#offset + offset,
      file: this.#file,
      passthrough: true,
    };
  }

  async resize(length: number, options: ResizeOptions): Promise<void> {
    if (this.#size !== undefined) throw new BlockError('ENOTSUP', 'Cannot resize fixed-size raw disks');
    await this.#file.resize(this.#offset + length, options);
  }

  getInfo() {
    return this.#file.getInfo();
  }

  async reopen(): Promise<void> {}

  async close(): Promise<void> {}
}

export const rawDriver: BlockDriver = {
  name: 'raw',
  kind: 'format',
  openOptions: [
    { name: 'offset', type: 'size', help: 'offset in the disk where the image starts', strong: true },
    { name: 'size', type: 'size', help: 'virtual disk size', strong: true },
  ],
  createOptions: [{ name: 'size', type: 'size', help: 'Virtual disk size' }],
  async open(context) {
    const offset = context.options.number('offset') ?? 0;
    const size = context.options.number('size');
    const isWhole = !context.options.given('offset') && size === undefined;
    const file = await context.openFile(isWhole ? 'filtered' : 'storage');
    if (offset > file.length) {
      throw new BlockError(
        'EINVAL',
        `Offset (${offset}) cannot be greater than size of the containing file (${file.length})`,
      );
    }
    if (size !== undefined && file.length - offset < size) {
      throw new BlockError(
        'EINVAL',
        `The sum of offset (${offset}) and size (${size}) has to be smaller or equal to the  actual size of the containing file (${file.length})`,
      );
    }
    if (size !== undefined && size % 512 !== 0) throw new BlockError('EINVAL', 'Specified size is not multiple of 512');
    return new RawNode(file, offset, size);
  },
  async create(context) {
    const size = context.options.number('size') ?? 0;
    await context.createFile(context.filename, size);
  },
  async measure(options, source): Promise<MeasureResult> {
    const size = source ? source.length : (options.number('size') ?? 0);
    const whole = Math.ceil(size / 512) * 512;
    return { required: whole, fullyAllocated: whole };
  },
};
