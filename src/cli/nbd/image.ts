/** The image that `nbd` serves: opened as the options say, with a temporary overlay or at an internal snapshot. */
import { BlockError, toBlockError } from '../../block/errors.js';
import type { GraphNode } from '../../block/graph-node.js';
import type { OpenFlags } from '../../block/node.js';
import { cacheFlags } from '../../block/node-flags.js';
import { addTemporaryOverlay } from '../../block/overlay.js';
import { parseImageOptions } from '../img/tool.js';
import type { NbdTool, NbdToolOptions } from './options.js';

export async function openImage(tool: NbdTool, options: NbdToolOptions): Promise<GraphNode> {
  const flags: Partial<OpenFlags> = {
    // Threads read for one request while the answer to another is sent.
    readsInThreads: true,
    ...cacheFlags(options.cacheMode),
    readOnly: options.readOnly || options.snapshot,
    unmap: options.discard,
    detectZeroes: options.snapshot ? 'off' : options.detectZeroes,
  };
  if (options.imageOptions && options.format !== undefined) tool.fail('--image-opts and -f are mutually exclusive');
  let node: GraphNode;
  try {
    node = await tool.graph.open(
      options.imageOptions
        ? { options: parseImageOptions(tool, options.operand, 'file'), flags }
        : { filename: options.operand, ...(options.format === undefined ? {} : { format: options.format }), flags },
    );
  } catch (error) {
    tool.fail(`Failed to blk_new_open '${options.operand}': ${toBlockError(error).message}`);
  }
  try {
    if (options.snapshot) {
      const { readOnly, discard, detectZeroes } = options;
      node = await addTemporaryOverlay(tool.graph, node, { readOnly, unmap: discard, detectZeroes });
    }
    if (options.loadSnapshot) await loadSnapshot(node, options.loadSnapshot);
    if (options.offset > node.length) {
      throw new BlockError(
        'EINVAL',
        `Offset (${options.offset}) cannot be greater than size of the containing file (${node.length})`,
      );
    }
  } catch (error) {
    await node.close().catch(() => undefined);
    tool.fail(toBlockError(error).message);
  }
  return node;
}

async function loadSnapshot(node: GraphNode, wanted: NonNullable<NbdToolOptions['loadSnapshot']>): Promise<void> {
  const { snapshots } = node.instance;
  if (!snapshots) {
    throw new BlockError(
      'ENOTSUP',
      `Failed to load snapshot: Block format '${node.driver.name}' used by device '' does not support temporarily loading internal snapshots`,
    );
  }
  const list = await snapshots.list();
  const { id, name, either } = wanted;
  const found =
    either !== undefined
      ? (list.find((entry) => entry.id === either) ?? list.find((entry) => entry.name === either))
      : list.find((entry) => (id === undefined || entry.id === id) && (name === undefined || entry.name === name));
  if (!found) throw new BlockError('ENOENT', "Failed to load snapshot: Can't find snapshot");
  await snapshots.load(found.id, found.name);
}
