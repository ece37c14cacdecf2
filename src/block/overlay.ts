/** Overlays whose contents are thrown away: `-snapshot`, `snapshot=on`. */
import type { BlockGraph } from './graph.js';
import type { GraphNode } from './graph-node.js';
import type { OpenFlags } from './node.js';

/**
 * A qcow2 overlay over `base`, which belongs to it from now on. Its file has no name any more once it is open: it goes when the
 * overlay is closed, or the process ends.
 */
export async function addTemporaryOverlay(
  graph: BlockGraph,
  base: GraphNode,
  flags: Partial<OpenFlags> = {},
): Promise<GraphNode> {
  const { files } = graph.host;
  const path = files.temporaryPath('vl.');
  await graph.create('qcow2', path, { size: Math.ceil(base.length / 512) * 512 });
  try {
    const overlay = await graph.open({
      filename: path,
      format: 'qcow2',
      // What is thrown away in the end needs no care for power cuts.
      flags: { readOnly: false, noBacking: true, ...flags, noFlush: true },
    });
    await base.rootUse?.release();
    base.rootUse = undefined;
    await graph.setBacking(overlay, base);
    return overlay;
  } finally {
    await files.remove(path).catch(() => undefined);
  }
}
