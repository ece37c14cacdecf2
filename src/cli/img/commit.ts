/** `img commit`: writes an overlay's contents down into a backing file. */
import { toBlockError } from '../../block/errors.js';
import { combinePath } from '../../block/graph.js';
import type { GraphNode } from '../../block/graph-node.js';
import { commitChain } from '../../block/jobs/commit.js';
import { hasProtocol } from '../../block/registry.js';
import type { Tool } from './tool.js';

export async function commit(tool: Tool, argv: readonly string[]): Promise<number> {
  const { options, operands } = tool.parse(argv, [
    { key: 'format', short: 'f', value: true },
    { key: 'cache', short: 't', value: true },
    { key: 'base', short: 'b', value: true },
    { key: 'drop', short: 'd' },
    { key: 'progress', short: 'p' },
    { key: 'quiet', short: 'q' },
    { key: 'rate', short: 'r', value: true },
    { key: 'object', long: 'object', value: true },
    { key: 'imageOptions', long: 'image-opts' },
  ]);
  let [format, baseName]: (string | undefined)[] = [];
  let cacheMode = 'writeback';
  let [keepTop, isProgress, imageOptions] = [false, false, false];
  let bytesPerSecond = 0;
  for (const [key, value] of options) {
    if (key === 'format') format = value;
    else if (key === 'cache') cacheMode = value;
    else if (key === 'base') {
      baseName = value;
      // An intermediate layer made invalid is not emptied either.
      keepTop = true;
    } else if (key === 'drop') keepTop = true;
    else if (key === 'progress') isProgress = true;
    else if (key === 'quiet') tool.quiet = true;
    else if (key === 'rate') bytesPerSecond = tool.size(value, 'rate limit');
    else if (key === 'object') await tool.addObject(value);
    else if (key === 'imageOptions') imageOptions = true;
  }
  if (operands.length !== 1) tool.misuse('Expecting one image file name');
  const node = await tool.open({
    filename: operands[0]!,
    format,
    imageOptions,
    flags: { ...tool.cache(cacheMode), readOnly: false, unmap: true },
  });
  try {
    tool.startProgress(isProgress, 1);
    tool.progress(0);
    const top = node.skipFilters() as GraphNode;
    let base = top.backing;
    if (baseName !== undefined) {
      // A path is meant as an image would name it: relative to the one above, at each level of the chain.
      const { resolve } = tool.host.files;
      const isPath = !hasProtocol(baseName);
      for (let above: GraphNode = top; base; above = base, base = base.backing) {
        if (
          isPath
            ? resolve(base.filename) === resolve(combinePath(above.filename, baseName))
            : base.filename === baseName
        )
          break;
      }
      if (!base) tool.fail(`Did not find '${baseName}' in the backing chain of '${operands[0]}'`);
    }
    if (!base) tool.fail('Image does not have a backing file');
    try {
      await commitChain(top, base, {
        emptyTop: !keepTop,
        bytesPerSecond,
        progress: (done, total) => tool.progress(total === 0 ? 100 : (done * 100) / total),
      });
    } catch (error) {
      tool.failWith('', toBlockError(error));
    }
    tool.progress(100);
    tool.endProgress();
    tool.say('Image committed.\n');
    return 0;
  } finally {
    await node.close();
  }
}
