/** `img bitmap`: persistent dirty bitmaps. */
import { addBitmap, findBitmap, mergeBitmap, removeBitmap, usableBitmap } from '../../block/bitmap-operations.js';
import { toBlockError } from '../../block/errors.js';
import type { GraphNode } from '../../block/graph-node.js';
import { ExitError, type Tool } from './tool.js';

interface Action {
  readonly kind: 'add' | 'remove' | 'clear' | 'enable' | 'disable' | 'merge';
  readonly source?: string;
}

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
          mergeBitmap(usableBitmap(findBitmap(node, name)), findBitmap(source ?? node, action.source!));
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

async function apply(node: GraphNode, action: Action, name: string, granularity: number | undefined): Promise<void> {
  switch (action.kind) {
    case 'add':
      return await addBitmap(node, { name, granularity, persistent: true });
    case 'remove':
      return await removeBitmap(node, name);
    case 'clear':
      usableBitmap(findBitmap(node, name)).clearAll();
      break;
    case 'enable':
      usableBitmap(findBitmap(node, name)).enabled = true;
      break;
    case 'disable':
      usableBitmap(findBitmap(node, name)).enabled = false;
      break;
  }
}
