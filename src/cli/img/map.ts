/** `img map`. */
import type { GraphNode } from '../../block/graph-node.js';
import { type BlockNode, type BlockStatus, RunKind } from '../../block/node.js';
import { layerRunsNow, newStatusRuns } from '../../block/status.js';
import { asBytes, TextBytes } from './text-bytes.js';
import type { Tool } from './tool.js';

/** A run as it is printed. Others are joined to it while they can be. */
interface Extent {
  start: number;
  length: number;
  /** RunKind. */
  kind: number;
  depth: number;
  /** -1: none. */
  offset: number;
  file: BlockNode | undefined;
}

/** What stands between the numbers of a line. */
const json = {
  first: asBytes('[{ "start": '),
  next: asBytes(',\n{ "start": '),
  length: asBytes(', "length": '),
  offset: asBytes(', "offset": '),
  end: asBytes('}'),
};

/** Lines differ little in it. */
const stateTexts = new Map<number, Uint8Array>();

function stateText(kind: number, depth: number): Uint8Array {
  const key = (depth << 3) | kind;
  let known = stateTexts.get(key);
  if (!known) {
    const is = (bit: number): boolean => (kind & bit) !== 0;
    known = asBytes(
      `, "depth": ${depth}, "present": ${is(RunKind.allocated)}, "zero": ${is(RunKind.zero)}, "data": ${is(RunKind.data)}`,
    );
    stateTexts.set(key, known);
  }
  return known;
}

/** Largest run asked for at once. */
const stepBytes = 2 ** 30;
/** Runs asked for at once. */
const runsAtOnce = 1024;
/** Text is printed in pieces of this. */
const textBytes = 65536;
/** No line's numbers and words are longer. */
const lineBytes = 1024;

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
    // Nobody has it.
    if (!below) return { status: { length: status.length, data: false, zero: false, allocated: false }, depth };
    layer = below;
    depth++;
    status = await layer.blockStatus(offset, status.length);
  }
  return { status, depth };
}

function kindOf({ data, zero, allocated }: BlockStatus): number {
  return (data ? RunKind.data : 0) | (zero ? RunKind.zero : 0) | (allocated ? RunKind.allocated : 0);
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
    let hasPrinted = false;
    const text = new TextBytes(textBytes + lineBytes);
    const writeText = (): void => {
      tool.outBytes(text.take());
      hasPrinted = true;
    };
    const current: Extent = { start, length: 0, kind: 0, depth: 0, offset: -1, file: undefined };
    const print = (): void => {
      const { start, length, kind, depth, offset, file } = current;
      if (isJson) {
        text.addBytes(isFirst ? json.first : json.next);
        text.addNumber(start);
        text.addBytes(json.length);
        text.addNumber(length);
        text.addBytes(stateText(kind, depth));
        if (offset >= 0) {
          text.addBytes(json.offset);
          text.addNumber(offset);
        }
        text.addBytes(json.end);
        isFirst = false;
      } else if ((kind & (RunKind.data | RunKind.zero)) === RunKind.data) {
        if (offset < 0) tool.fail('File contains external, encrypted or compressed clusters.');
        const numbers = [start, length, offset].map((each) => hex(each).padEnd(16)).join('');
        text.addText(`${numbers}${file?.filename ?? ''}\n`);
      }
      if (text.length > textBytes) writeText();
    };
    /** What lies at the end of `current`: more of it, or the next to be printed. */
    const add = (length: number, kind: number, depth: number, offset: number, file: BlockNode | undefined): void => {
      const isMore =
        kind === current.kind &&
        depth === current.depth &&
        (offset < 0
          ? current.offset < 0
          : current.offset >= 0 &&
            current.offset + current.length === offset &&
            (current.file === file || current.file?.filename === file?.filename));
      if (isMore && current.length > 0) {
        current.length += length;
        return;
      }
      if (current.length > 0) print();
      current.start += current.length;
      current.length = length;
      current.kind = kind;
      current.depth = depth;
      current.offset = offset;
      current.file = file;
    };
    const runs = newStatusRuns(runsAtOnce);
    try {
      for (let at = start; at < length; ) {
        // A stream lets go of what it has written only between two turns of the event loop.
        if (hasPrinted) await new Promise(setImmediate);
        hasPrinted = false;
        try {
          const wanted = Math.min(stepBytes, length - at);
          const before = at;
          layerRunsNow(node, at, wanted, runs);
          for (let index = 0; index < runs.count; index++) {
            const kind = runs.kinds[index]!;
            // What is neither is for the layers below.
            if ((kind & (RunKind.data | RunKind.zero)) === 0) break;
            add(runs.lengths[index]!, kind, 0, runs.offsets[index]!, runs.file);
            at += runs.lengths[index]!;
          }
          if (at > before) continue;
          const { status, depth } = await lookDown(node, at, wanted);
          add(status.length, kindOf(status), depth, status.offset ?? -1, status.file);
          at += status.length;
        } catch (error) {
          if (isJson && isFirst) text.addText('[');
          tool.failWith('Could not read file metadata: ', error);
        }
      }
      print();
      if (isJson) text.addText(']\n');
    } finally {
      writeText();
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
