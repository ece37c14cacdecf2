/** Filter `copy-on-read`: what a read finds only below the top layer is stored in it, so that the next read finds it there. */
import type { BlockDriver, BlockNode } from '../node.js';
import { RequestFlag } from '../node.js';
import { FilterNode } from './filter-node.js';

class CopyOnReadNode extends FilterNode {
  readonly #isReadOnly: boolean;
  constructor(below: BlockNode, isReadOnly: boolean) {
    super(below);
    this.#isReadOnly = isReadOnly;
  }
  override read(offset: number, buffer: Uint8Array, flags: number): Promise<void> {
    return this.below.read(offset, buffer, this.#isReadOnly ? flags : flags | RequestFlag.copyOnRead);
  }
}

export const copyOnReadDriver: BlockDriver = {
  name: 'copy-on-read',
  kind: 'filter',
  openOptions: [{ name: 'bottom', type: 'string', help: 'Accepted for compatibility' }],
  async open(context) {
    return new CopyOnReadNode(await context.openFile(), context.flags.readOnly);
  },
};
