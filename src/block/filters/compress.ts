/** Filter `compress`: every write is stored compressed. Writes must be whole clusters of the format below. */
import { BlockError } from '../errors.js';
import type { BlockDriver, BlockNode } from '../node.js';
import { RequestFlag } from '../node.js';
import { FilterNode } from './filter-node.js';

class CompressNode extends FilterNode {
  readonly limits: { readonly requestAlignment: number };
  constructor(below: BlockNode, clusterBytes: number) {
    super(below);
    this.limits = { requestAlignment: clusterBytes };
  }
  override write(offset: number, buffer: Uint8Array): Promise<void> {
    return this.below.write(offset, buffer, RequestFlag.compressed);
  }
}

export const compressDriver: BlockDriver = {
  name: 'compress',
  kind: 'filter',
  openOptions: [],
  async open(context) {
    const below = await context.openFile();
    if (!below.instance.writeCompressed)
      throw new BlockError('ENOTSUP', `Compression is not supported for underlying format: ${below.driver.name}`);
    return new CompressNode(below, (await below.getInfo()).clusterSizeBytes ?? 512);
  },
};
