/** What filters have in common: the contents, size and abilities of the one node below. */
import type { BlockNode, BlockStatus, DriverNode, ResizeOptions } from '../node.js';
import { RequestFlag } from '../node.js';

export abstract class FilterNode implements DriverNode {
  readonly below: BlockNode;
  readonly writeFlags = RequestFlag.fua;
  readonly zeroFlags = RequestFlag.fua | RequestFlag.mayUnmap | RequestFlag.noFallback;

  constructor(below: BlockNode) {
    this.below = below;
  }

  get length(): number {
    return this.below.length;
  }

  get growable(): boolean {
    return this.below.instance.growable ?? false;
  }

  get zeroInit(): boolean {
    return this.below.instance.zeroInit ?? false;
  }

  read(offset: number, buffer: Uint8Array, flags: number): Promise<void> {
    return this.below.read(offset, buffer, flags);
  }

  write(offset: number, buffer: Uint8Array, flags: number): Promise<void> {
    return this.below.write(offset, buffer, flags);
  }

  writeCompressed(offset: number, buffer: Uint8Array): Promise<void> {
    return this.below.write(offset, buffer, RequestFlag.compressed);
  }

  writeZeroes(offset: number, length: number, flags: number): Promise<void> {
    return this.below.writeZeroes(offset, length, flags);
  }

  discard(offset: number, length: number): Promise<void> {
    return this.below.discard(offset, length);
  }

  async flush(): Promise<void> {}

  async blockStatus(offset: number, length: number, _wantZero: boolean): Promise<BlockStatus> {
    return { length, data: true, zero: false, allocated: true, offset, file: this.below, passthrough: true };
  }

  resize(length: number, options: ResizeOptions): Promise<void> {
    return this.below.resize(length, options);
  }

  async reopen(_readOnly: boolean): Promise<void> {}

  async close(): Promise<void> {}
}

/** Can a name stand within the name of a filter above? */
export function isPlainName(name: string): boolean {
  return name !== '' && !name.startsWith('json:');
}
