/** `img bitmap`: persistent dirty bitmaps. */
import { SparseBitmap } from '../../block/dirty-bitmap.js';
import { BlockError, toBlockError } from '../../block/errors.js';
import type { GraphNode } from '../../block/graph-node.js';
import { ExitError, type Tool } from './tool.js';

interface Action {
  readonly kind: 'add' | 'remove' | 'clear' | 'enable' | 'disable' | 'merge';
  readonly source?: string;
}

const defaultGranularity = 65536;
const maxGranularity = 2 ** 31;

export async function bitmap(tool: Tool, argv: readonly string[]): Promise<number> {
  const { options, operands } = tool.parse(argv, [
    { key: 'sourceFile', short: 'b', long: 'source-file', value: true },
    { key: 'sourceFormat', short: 'F', long: 'source-format', value: true },
    { key: 'granularity', short: 'g', long: 'granularity', value: true },
    { key: 'format', short: 'f', value: true },
    { key: 'imageOptions', long: 'image-opts' },
    { key: 'object', long: 'object', value: true },
    { key: 'add', long: 'add' },
    { key: 'remove', long: 'remove' },
    { key: 'clear', long: 'clear' },
    { key: 'enable', long: 'enable' },
    { key: 'disable', long: 'disable' },
    { key: 'merge', long: 'merge', value: true },
  ]);
  let [format, sourceFile, sourceFormat]: (string | undefined)[] = [];
  let imageOptions = false;
  let granularity: number | undefined;
  let isAdding = false;
  const actions: Action[] = [];
  for (const [key, value] of options) {
    if (key === 'sourceFile') sourceFile = value;
    else if (key === 'sourceFormat') sourceFormat = value;
    else if (key === 'granularity') {
      granularity = tool.size(value, 'granularity');
    } else if (key === 'format') format = value;
    else if (key === 'imageOptions') imageOptions = true;
    else if (key === 'object') await tool.addObject(value);
    else if (key === 'merge') actions.push({ kind: 'merge', source: value });
    else {
      actions.push({ kind: key as Action['kind'] });
      if (key === 'add') isAdding = true;
    }
  }
  if (actions.length === 0) tool.fail('Need at least one of --add, --remove, --clear, --enable, --disable, or --merge');
  if (operands.length !== 2) tool.fail('Expecting filename and bitmap name');
  if (granularity !== undefined && !isAdding) tool.fail('granularity only supported with --add');
  if (sourceFile === undefined && sourceFormat !== undefined) tool.fail('-F only supported with -b');
  if (sourceFile !== undefined && !actions.some((action) => action.kind === 'merge'))
    tool.fail('Merge bitmap source file only supported with --merge');
  const [filename, name] = operands as [string, string];
  const node = await tool.open({ filename, format, imageOptions, flags: { readOnly: false, noBacking: true } });
  let source: GraphNode | undefined;
  try {
    for (const action of actions) {
      try {
        if (action.kind === 'merge') {
          if (sourceFile !== undefined && !source)
            source = await tool.open({
              filename: sourceFile,
              format: sourceFormat,
              flags: { readOnly: true, noBacking: true },
            });
          merge(node, source ?? node, name, action.source!);
        } else await apply(node, action, name, granularity);
      } catch (error) {
        if (error instanceof ExitError) throw error;
        tool.failWith(`Operation ${action.kind} on bitmap ${name} failed: `, toBlockError(error));
      }
    }
    return 0;
  } finally {
    await source?.close();
    try {
      await node.close();
    } catch (error) {
      tool.failWith('', error);
    }
  }
}

function find(node: GraphNode, name: string): SparseBitmap {
  const found = node.bitmaps.find((candidate) => candidate.name === name);
  if (!found) throw new BlockError('ENOENT', `Dirty bitmap '${name}' not found`);
  return found as SparseBitmap;
}

function usable(bitmap: SparseBitmap): SparseBitmap {
  if (bitmap.inconsistent) {
    throw new BlockError(
      'EINVAL',
      `Bitmap '${bitmap.name}' is inconsistent and cannot be used\nTry block-dirty-bitmap-remove to delete this bitmap from disk`,
    );
  }
  if (bitmap.readOnly) throw new BlockError('EPERM', `Bitmap '${bitmap.name}' is readonly and cannot be modified`);
  return bitmap;
}

async function apply(node: GraphNode, action: Action, name: string, granularity: number | undefined): Promise<void> {
  switch (action.kind) {
    case 'add': {
      if (name === '') throw new BlockError('EINVAL', 'Bitmap name cannot be empty');
      const size =
        granularity ||
        Math.max(4096, Math.min(defaultGranularity, (await node.getInfo()).clusterSizeBytes ?? defaultGranularity));
      if (size < 512 || size > maxGranularity || !Number.isInteger(Math.log2(size)))
        throw new BlockError('EINVAL', 'Granularity must be power of 2 and at least 512');
      const { persistentBitmaps } = node.skipFilters().instance;
      if (!persistentBitmaps) {
        throw new BlockError('ENOTSUP', `Can't store persistent bitmaps to ${node.nodeName}: Operation not supported`);
      }
      await persistentBitmaps.canStore(name, size);
      if (node.bitmaps.some((candidate) => candidate.name === name))
        throw new BlockError('EEXIST', `Bitmap already exists: ${name}`);
      const made = new SparseBitmap(name, size, node.length);
      made.persistent = true;
      node.addBitmap(made);
      break;
    }
    case 'remove': {
      const found = find(node, name);
      await node.skipFilters().instance.persistentBitmaps?.remove(name);
      node.removeBitmap(found);
      break;
    }
    case 'clear':
      usable(find(node, name)).clearAll();
      break;
    case 'enable':
      usable(find(node, name)).enabled = true;
      break;
    case 'disable':
      usable(find(node, name)).enabled = false;
      break;
  }
}

function merge(node: GraphNode, source: GraphNode, name: string, sourceName: string): void {
  const target = usable(find(node, name));
  const from = source.bitmaps.find((candidate) => candidate.name === sourceName) as SparseBitmap | undefined;
  if (!from) throw new BlockError('ENOENT', `Dirty bitmap '${sourceName}' not found`);
  if (from.inconsistent) usable(from);
  if (from.length !== target.length) {
    throw new BlockError(
      'EINVAL',
      `Bitmaps are of different sizes (destination size is ${target.length}, source size is ${from.length}) and can't be merged`,
    );
  }
  target.merge(from);
}
