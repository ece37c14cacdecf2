/** `img map`. */
import type { GraphNode } from '../../block/graph-node.js';
import type { BlockNode } from '../../block/node.js';
import type { Tool } from './tool.js';

interface Extent {
  start: number;
  length: number;
  readonly data: boolean;
  readonly zero: boolean;
  readonly present: boolean;
  readonly depth: number;
  readonly offset: number | undefined;
  readonly filename: string | undefined;
}

/** What is printed of a range without a byte. */
const nothing: Extent = {
  start: 0,
  length: 0,
  data: false,
  zero: false,
  present: false,
  depth: 0,
  offset: undefined,
  filename: undefined,
};

/** Largest run asked for at once. */
const stepBytes = 2 ** 30;

/** The first layer that says what is there: data or zeroes; one that ends before the layer above it has no say. */
async function extentAt(node: BlockNode, offset: number, length: number): Promise<Extent> {
  let layer = node;
  let status = await layer.blockStatus(offset, length);
  let depth = 0;
  while (!status.data && !status.zero) {
    const below = layer.skipFilters().backing;
    if (!below) break;
    layer = below;
    depth++;
    status = await layer.blockStatus(offset, status.length);
  }
  const hasOffset = status.offset !== undefined;
  return {
    start: offset,
    length: status.length,
    data: status.data,
    zero: status.zero,
    present: status.allocated,
    depth,
    offset: status.offset,
    filename: hasOffset ? status.file?.filename : undefined,
  };
}

function canMerge(a: Extent, b: Extent): boolean {
  return (
    a.zero === b.zero &&
    a.data === b.data &&
    a.present === b.present &&
    a.depth === b.depth &&
    a.filename === b.filename &&
    (a.offset === undefined ? b.offset === undefined : b.offset !== undefined && a.offset + a.length === b.offset)
  );
}

export async function map(tool: Tool, argv: readonly string[]): Promise<number> {
  const { options, operands } = tool.parse(argv, [
    { key: 'format', short: 'f', long: 'format', value: true },
    { key: 'output', long: 'output', value: true },
    { key: 'object', long: 'object', value: true },
    { key: 'imageOptions', long: 'image-opts' },
    { key: 'share', short: 'U', long: 'force-share' },
    { key: 'start', short: 's', long: 'start-offset', value: true },
    { key: 'length', short: 'l', long: 'max-length', value: true },
  ]);
  let format: string | undefined;
  let output = 'human';
  let [imageOptions, forceShare] = [false, false];
  let start = 0;
  let most: number | undefined;
  for (const [key, value] of options) {
    if (key === 'format') format = value;
    else if (key === 'output') output = value;
    else if (key === 'object') await tool.addObject(value);
    else if (key === 'imageOptions') imageOptions = true;
    else if (key === 'share') forceShare = true;
    else if (key === 'start') start = tool.size(value, 'start offset');
    else if (key === 'length') most = tool.size(value, 'max length');
  }
  if (operands.length !== 1) tool.misuse('Expecting one image file name');
  const isJson = tool.output(output);
  const node: GraphNode = await tool.open({ filename: operands[0]!, format, imageOptions, forceShare });
  try {
    if (!isJson) tool.out(`${'Offset'.padEnd(16)}${'Length'.padEnd(16)}${'Mapped to'.padEnd(16)}File\n`);
    let length = node.length;
    if (most !== undefined) length = Math.min(length, start + most);
    let isFirst = true;
    let current: Extent | undefined;
    let text = '';
    const print = (extent: Extent, isLast: boolean): void => {
      if (isJson) {
        text += `${isFirst ? '[' : ',\n'}{ "start": ${extent.start}, "length": ${extent.length}, "depth": ${extent.depth}, "present": ${extent.present}, "zero": ${extent.zero}, "data": ${extent.data}`;
        if (extent.offset !== undefined) text += `, "offset": ${extent.offset}`;
        text += '}';
        isFirst = false;
        if (isLast) text += ']\n';
      } else if (extent.data && !extent.zero) {
        if (extent.offset === undefined) tool.fail('File contains external, encrypted or compressed clusters.');
        text += `${hex(extent.start).padEnd(16)}${hex(extent.length).padEnd(16)}${hex(extent.offset).padEnd(16)}${extent.filename ?? ''}\n`;
      }
      if (text.length > 65536 || isLast) {
        tool.out(text);
        text = '';
      }
    };
    try {
      for (let at = start; at < length; ) {
        let extent: Extent;
        try {
          extent = await extentAt(node, at, Math.min(stepBytes, length - at));
        } catch (error) {
          if (isJson && isFirst) text += '[';
          tool.failWith('Could not read file metadata: ', error);
        }
        at += extent.length;
        if (current && canMerge(current, extent)) current.length += extent.length;
        else {
          if (current) print(current, false);
          current = extent;
        }
      }
      print(current ?? { ...nothing, start }, true);
    } finally {
      if (text !== '') tool.out(text);
    }
  } finally {
    await node.close();
  }
  return 0;
}

/** C's %#x: zero has no prefix. */
function hex(value: number): string {
  return value === 0 ? '0' : `0x${value.toString(16)}`;
}
