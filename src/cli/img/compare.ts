/** `img compare`. Exit codes: 0 identical, 1 different, 2 could not open or read. */
import { errorCode, errorText } from '../../block/errors.js';
import type { GraphNode } from '../../block/graph-node.js';
import type { ChainStatus } from '../../block/node.js';
import type { Tool } from './tool.js';

const stepBytes = 2 ** 21;
/** So much of the first image is read at once where it is at hand, and compared while it is near the processor. */
const pieceBytes = 2 ** 19;

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
    const result = await compareNodes(tool, [a, b], operands, isStrict);
    tool.endProgress();
    return result;
  } finally {
    await b?.close();
    await a.close();
  }
}

interface Step {
  readonly at: number;
  readonly size: number;
  readonly isSame: boolean;
  readonly hasFirst: boolean;
  readonly hasSecond: boolean;
  /** The second's, once they are read. */
  readonly bytes: Uint8Array;
  readonly reading: Promise<void> | undefined;
}

/** An image that can't be asked what lies there. */
interface Unknown {
  readonly failed: GraphNode;
}

async function compareNodes(
  tool: Tool,
  [a, b]: readonly [GraphNode, GraphNode],
  names: readonly string[],
  isStrict: boolean,
): Promise<number> {
  const nameOf = (node: GraphNode): string => names[node === a ? 0 : 1]!;
  const common = Math.min(a.length, b.length);
  const whole = Math.max(a.length, b.length);
  if (isStrict && a.length !== b.length) {
    tool.say('Strict mode: Image size mismatch!\n');
    return 1;
  }
  const left = tool.host.allocate(stepBytes);
  /** One is read into while the other is compared. */
  const rights = [tool.host.allocate(stepBytes), tool.host.allocate(stepBytes)];
  const differ = (offset: number): number => {
    tool.say(`Content mismatch at offset ${offset}!\n`);
    return 1;
  };
  const wait = async (node: GraphNode, offset: number, reading: Promise<void>): Promise<void> => {
    try {
      await reading;
    } catch (error) {
      tool.fail(`Error while reading offset ${offset} of ${nameOf(node)}: ${errorText(errorCode(error))}`, 4);
    }
  };
  const read = (node: GraphNode, offset: number, buffer: Uint8Array): Promise<void> =>
    wait(node, offset, node.read(offset, buffer));
  /** What an image says of the bytes from an offset on, which does not go back; it is asked once for each run. */
  const lookerAt = (node: GraphNode): ((at: number) => Promise<ChainStatus>) => {
    let known: ChainStatus | undefined;
    let end = 0;
    return async (at) => {
      if (!known || at >= end) {
        known = await node.chainStatus(at, common - at);
        end = at + known.length;
      }
      return { ...known, length: end - at };
    };
  };
  const [lookAtFirst, lookAtSecond] = [lookerAt(a), lookerAt(b)];
  /** What lies at an offset. Where both have data the second's are being read, though nobody waits for them yet. */
  const begin = async (at: number, index: number): Promise<Step | Unknown> => {
    let asked = a;
    let first: ChainStatus;
    let second: ChainStatus;
    try {
      first = await lookAtFirst(at);
      asked = b;
      second = await lookAtSecond(at);
    } catch {
      return { failed: asked };
    }
    const isSame = first.allocated === second.allocated && first.data === second.data && first.zero === second.zero;
    const hasFirst = !first.zero && (first.data || first.allocated);
    const hasSecond = !second.zero && (second.data || second.allocated);
    const most = hasFirst || hasSecond ? stepBytes : common;
    const size = Math.min(first.length, second.length, most);
    const bytes = rights[index % 2]!.subarray(0, hasFirst && hasSecond ? size : 0);
    const reading = hasFirst && hasSecond ? b.read(at, bytes) : undefined;
    reading?.catch(() => undefined);
    return { at, size, isSame, hasFirst, hasSecond, bytes, reading };
  };
  /** Where the two differ, if they do. */
  const differenceIn = async ({ at, size, hasFirst, hasSecond, bytes, reading }: Step): Promise<number | undefined> => {
    if (!hasFirst && !hasSecond) return undefined;
    if (!reading) {
      const buffer = left.subarray(0, size);
      await read(hasFirst ? a : b, at, buffer);
      return tool.host.isZero(buffer) ? undefined : at + firstDifference(buffer, new Uint8Array(size));
    }
    for (let done = 0; done < size; ) {
      let piece = left.subarray(0, Math.min(pieceBytes, size - done));
      if (!a.readNow(at + done, piece)) {
        piece = left.subarray(0, size - done);
        await read(a, at + done, piece);
      }
      if (done === 0) await wait(b, at, reading);
      const other = bytes.subarray(done, done + piece.length);
      if (!tool.host.equal(piece, other)) return at + done + firstDifference(piece, other);
      done += piece.length;
    }
    return undefined;
  };
  let at = 0;
  let ahead = common > 0 ? begin(0, 0) : undefined;
  for (let index = 1; ahead; index++) {
    const step = await ahead;
    if ('failed' in step) tool.fail(`Sector allocation test failed for ${nameOf(step.failed)}`, 3);
    if (isStrict && !step.isSame) {
      tool.say(`Strict mode: Offset ${at} block status mismatch!\n`);
      return 1;
    }
    at += step.size;
    ahead = at < common ? begin(at, index) : undefined;
    // The next read is under way before this step is gone through; what goes wrong with it is told in its turn.
    await ahead;
    const difference = await differenceIn(step);
    if (difference !== undefined) return differ(difference);
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
