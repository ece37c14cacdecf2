/** Filter `copy-on-read`: what a read finds only below the top layer is stored in it, so that the next read finds it there. */
import { BlockError } from '../errors.js';
import type { BlockDriver } from '../node.js';
import { RequestFlag } from '../node.js';
import { FilterNode } from './filter-node.js';

class CopyOnReadNode extends FilterNode {
  override read(offset: number, buffer: Uint8Array, flags: number): Promise<void> {
    return this.below.read(offset, buffer, flags | RequestFlag.copyOnRead);
  }
}

export const copyOnReadDriver: BlockDriver = {
  name: 'copy-on-read',
  kind: 'filter',
  openOptions: [{ name: 'bottom', type: 'string', help: 'Accepted for compatibility' }],
  async open(context) {
    const below = await context.openFile();
    if (below.readOnly) throw new BlockError('EPERM', 'Block node is read-only');
    return new CopyOnReadNode(below);
  },
};
