/** `img map`. */
import type { GraphNode } from '../../block/graph-node.js';
import type { BlockNode, BlockStatus } from '../../block/node.js';
import type { Tool } from './tool.js';

interface Extent {
  start: number;
  length: number;
  readonly status: BlockStatus;
  readonly depth: number;
}

/** What is printed of a range without a byte. */
const nothing: Extent = {
  start: 0,
  length: 0,
  status: { length: 0, data: false, zero: false, allocated: false },
  depth: 0,
};

/** Largest run asked for at once. */
const stepBytes = 2 ** 30;
/** Text is printed in pieces of this. */
const textBytes = 65536;

/** The first layer that says what is there: data or zeroes; one that ends before the layer above it has no say. */
async function lookDown(
  top: BlockNode,
  offset: number,
  length: number,
): Promise<{ readonly status: BlockStatus; readonly depth: number }> {
  let layer = top;
  let status = layer.statusNow(offset, length) ?? (await layer.blockStatus(offset, length));
  let depth = 0;
  while (!status.data && !status.zero) {
    const below = layer.skipFilters().backing;
    if (!below) break;
    layer = below;
    depth++;
    status = await layer.blockStatus(offset, status.length);
  }
  return { status, depth };
}

function canMerge(a: Extent, b: BlockStatus, depth: number): boolean {
  const { status } = a;
  return (
    status.zero === b.zero &&
    status.data === b.data &&
    status.allocated === b.allocated &&
    a.depth === depth &&
    (status.offset === undefined
      ? b.offset === undefined
      : b.offset !== undefined &&
        status.offset + a.length === b.offset &&
        (status.file === b.file || status.file?.filename === b.file?.filename))
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
    /** The part of a line that few extents differ in. */
    const tails = new Map<number, string>();
    const print = ({ start, length, status, depth }: Extent, isLast: boolean): void => {
      const { data, zero, allocated, offset } = status;
      if (isJson) {
        const kind = (depth << 3) | (allocated ? 4 : 0) | (zero ? 2 : 0) | (data ? 1 : 0);
        let tail = tails.get(kind);
        if (tail === undefined) {
          tail = `, "depth": ${depth}, "present": ${allocated}, "zero": ${zero}, "data": ${data}`;
          tails.set(kind, tail);
        }
        text += `${isFirst ? '[' : ',\n'}{ "start": ${start}, "length": ${length}${tail}`;
        if (offset !== undefined) text += `, "offset": ${offset}`;
        text += isLast ? '}]\n' : '}';
        isFirst = false;
      } else if (data && !zero) {
        if (offset === undefined) tool.fail('File contains external, encrypted or compressed clusters.');
        text += `${hex(start).padEnd(16)}${hex(length).padEnd(16)}${hex(offset).padEnd(16)}${status.file?.filename ?? ''}\n`;
      }
      if (text.length > textBytes || isLast) {
        tool.out(text);
        text = '';
      }
    };
    try {
      for (let at = start; at < length; ) {
        let status: BlockStatus | undefined;
        let depth = 0;
        try {
          status = node.statusNow(at, Math.min(stepBytes, length - at));
          if (!status || !(status.data || status.zero))
            ({ status, depth } = await lookDown(node, at, Math.min(stepBytes, length - at)));
        } catch (error) {
          if (isJson && isFirst) text += '[';
          tool.failWith('Could not read file metadata: ', error);
        }
        if (current && canMerge(current, status, depth)) current.length += status.length;
        else {
          if (current) print(current, false);
          current = { start: at, length: status.length, status, depth };
        }
        at += status.length;
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
