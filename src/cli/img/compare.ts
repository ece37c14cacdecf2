/** `img compare`. Exit codes: 0 identical, 1 different, 2 could not open or read. */
import { errorCode, errorText } from '../../block/errors.js';
import type { GraphNode } from '../../block/graph-node.js';
import type { Tool } from './tool.js';

const stepBytes = 2 ** 21;

export async function compare(tool: Tool, argv: readonly string[]): Promise<number> {
  const { options, operands } = tool.parse(argv, [
    { key: 'format', short: 'f', value: true },
    { key: 'format2', short: 'F', value: true },
    { key: 'cache', short: 'T', value: true },
    { key: 'progress', short: 'p' },
    { key: 'quiet', short: 'q' },
    { key: 'strict', short: 's' },
    { key: 'share', short: 'U', long: 'force-share' },
    { key: 'object', long: 'object', value: true },
    { key: 'imageOptions', long: 'image-opts' },
  ]);
  let [format1, format2]: (string | undefined)[] = [];
  let cacheMode = 'writeback';
  let [isProgress, isStrict, forceShare, imageOptions] = [false, false, false, false];
  for (const [key, value] of options) {
    if (key === 'format') format1 = value;
    else if (key === 'format2') format2 = value;
    else if (key === 'cache') cacheMode = value;
    else if (key === 'progress') isProgress = true;
    else if (key === 'quiet') tool.quiet = true;
    else if (key === 'strict') isStrict = true;
    else if (key === 'share') forceShare = true;
    else if (key === 'object') await tool.addObject(value, 2);
    else if (key === 'imageOptions') imageOptions = true;
  }
  if (operands.length !== 2) tool.misuse('Expecting two image file names');
  const flags = { ...tool.cache(cacheMode, 'source cache option', 2), readOnly: true };
  tool.startProgress(isProgress, 2);
  const how = { imageOptions, forceShare, flags, exitCode: 2 };
  const a = await tool.open({ ...how, filename: operands[0]!, format: format1 });
  let b: GraphNode | undefined;
  try {
    b = await tool.open({ ...how, filename: operands[1]!, format: format2 });
    tool.progress(0);
    const result = await compareNodes(tool, a, b, isStrict);
    tool.endProgress();
    return result;
  } finally {
    await b?.close();
    await a.close();
  }
}

async function compareNodes(tool: Tool, a: GraphNode, b: GraphNode, isStrict: boolean): Promise<number> {
  const common = Math.min(a.length, b.length);
  const whole = Math.max(a.length, b.length);
  if (isStrict && a.length !== b.length) {
    tool.say('Strict mode: Image size mismatch!\n');
    return 1;
  }
  const [left, right] = [tool.host.allocate(stepBytes), tool.host.allocate(stepBytes)];
  const differ = (offset: number): number => {
    tool.say(`Content mismatch at offset ${offset}!\n`);
    return 1;
  };
  const read = async (node: GraphNode, offset: number, buffer: Uint8Array): Promise<void> => {
    try {
      await node.read(offset, buffer);
    } catch (error) {
      tool.fail(`Error while reading offset ${offset} of ${node.filename}: ${errorText(errorCode(error))}`, 4);
    }
  };
  let at = 0;
  while (at < common) {
    const first = await a.chainStatus(at, common - at);
    const second = await b.chainStatus(at, common - at);
    let size = Math.min(first.length, second.length);
    if (isStrict) {
      const isSame = first.allocated === second.allocated && first.data === second.data && first.zero === second.zero;
      if (!isSame) {
        tool.say(`Strict mode: Offset ${at} block status mismatch!\n`);
        return 1;
      }
    }
    if (first.zero && second.zero) {
      at += size;
      tool.progress((at * 100) / Math.max(whole, 1));
      continue;
    }
    const hasFirst = !first.zero && (first.data || first.allocated);
    const hasSecond = !second.zero && (second.data || second.allocated);
    if (hasFirst || hasSecond) {
      size = Math.min(size, stepBytes);
      const [one, two] = [left.subarray(0, size), right.subarray(0, size)];
      if (hasFirst && hasSecond) {
        await Promise.all([read(a, at, one), read(b, at, two)]);
        if (!tool.host.equal(one, two)) return differ(at + firstDifference(one, two));
      } else {
        const buffer = hasFirst ? one : two;
        await read(hasFirst ? a : b, at, buffer);
        if (!tool.host.isZero(buffer)) return differ(at + firstDifference(buffer, new Uint8Array(size)));
      }
    }
    at += size;
    tool.progress((at * 100) / Math.max(whole, 1));
  }
  if (a.length !== b.length) {
    tool.say('Warning: Image size mismatch!\n');
    const longer = a.length > b.length ? a : b;
    while (at < longer.length) {
      const status = await longer.chainStatus(at, longer.length - at);
      let size = status.length;
      if (!status.zero && (status.data || status.allocated)) {
        size = Math.min(size, stepBytes);
        const buffer = left.subarray(0, size);
        await read(longer, at, buffer);
        if (!tool.host.isZero(buffer)) return differ(at + firstDifference(buffer, new Uint8Array(size)));
      }
      at += size;
      tool.progress((at * 100) / whole);
    }
  }
  tool.say('Images are identical.\n');
  return 0;
}

/** Start of the first sector that differs. */
function firstDifference(a: Uint8Array, b: Uint8Array): number {
  let at = 0;
  while (at < a.length && a[at] === b[at]) at++;
  return at - (at % 512);
}
