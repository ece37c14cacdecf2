/** `img bench`: a fixed number of equal requests, several at a time. */
import { errorCode, errorText } from '../../block/errors.js';
import { cacheFlags } from '../../block/node-flags.js';
import { checkRange } from '../../block/range.js';
import type { Tool } from './tool.js';

export async function bench(tool: Tool, argv: readonly string[]): Promise<number> {
  const { options, operands } = tool.parse(argv, [
    { key: 'count', short: 'c', value: true },
    { key: 'depth', short: 'd', value: true },
    { key: 'format', short: 'f', value: true },
    { key: 'flushInterval', long: 'flush-interval', value: true },
    { key: 'aio', short: 'i', value: true },
    { key: 'native', short: 'n' },
    { key: 'noDrain', long: 'no-drain' },
    { key: 'offset', short: 'o', value: true },
    { key: 'pattern', long: 'pattern', value: true },
    { key: 'quiet', short: 'q' },
    { key: 'size', short: 's', value: true },
    { key: 'step', short: 'S', value: true },
    { key: 'cache', short: 't', value: true },
    { key: 'write', short: 'w' },
    { key: 'share', short: 'U', long: 'force-share' },
    { key: 'imageOptions', long: 'image-opts' },
    { key: 'object', long: 'object', value: true },
  ]);
  let format: string | undefined;
  let cacheMode = 'writeback';
  let [isWrite, forceShare, imageOptions, isNative] = [false, false, false, false];
  let [count, depth, flushInterval, offset, size, step, pattern] = [75000, 64, 0, 0, 4096, 0, 0];
  const number = (value: string, what: string, min: number, max = 2 ** 31 - 1): number => {
    if (!/^\d+$/.test(value) || Number(value) < min || Number(value) > max) tool.fail(`Invalid ${what} specified`);
    return Number(value);
  };
  for (const [key, value] of options) {
    if (key === 'count') count = number(value, 'request count', 0);
    else if (key === 'depth') depth = number(value, 'queue depth', 1);
    else if (key === 'format') format = value;
    else if (key === 'flushInterval') flushInterval = number(value, 'flush interval', 0);
    else if (key === 'aio') {
      if (!['threads', 'native', 'io_uring'].includes(value)) tool.fail(`Invalid aio option: ${value}`);
      isNative = value === 'native';
    } else if (key === 'native') isNative = true;
    else if (key === 'offset') offset = tool.size(value, 'offset');
    else if (key === 'pattern') pattern = number(value, 'pattern byte', 0, 255);
    else if (key === 'quiet') tool.quiet = true;
    else if (key === 'size') size = tool.size(value, 'buffer size', 2 ** 31 - 1);
    else if (key === 'step') step = tool.size(value, 'step_size', 2 ** 31 - 1);
    else if (key === 'cache') cacheMode = value;
    else if (key === 'write') isWrite = true;
    else if (key === 'share') forceShare = true;
    else if (key === 'imageOptions') imageOptions = true;
    else if (key === 'object') await tool.addObject(value);
  }
  if (operands.length !== 1) tool.misuse('Expecting one image file name');
  if (!isWrite && flushInterval > 0) tool.fail('--flush-interval is only available in write tests');
  if (flushInterval > 0 && flushInterval < depth) tool.fail("Flush interval can't be smaller than depth");
  const cache = cacheFlags(cacheMode) ?? tool.fail('Invalid cache mode');
  if (isNative && !cache.direct) {
    tool.fail(
      `Could not open '${operands[0]}': aio=native was specified, but it requires cache.direct=on, which was not specified.`,
    );
  }
  const node = await tool.open({
    filename: operands[0]!,
    format,
    imageOptions,
    forceShare,
    flags: { ...cache, readOnly: !isWrite, unmap: true },
  });
  try {
    if (node.length === 0) tool.fail('Image is empty');
    const stride = step || size;
    const kind = isWrite ? 'write' : 'read';
    tool.out(
      `Sending ${count} ${kind} requests, ${size} bytes each, ${depth} in parallel (starting at offset ${offset}, step size ${stride})\n`,
    );
    if (flushInterval > 0) tool.out(`Sending flush every ${flushInterval} requests\n`);
    const started = tool.host.monotonicNs();
    let next = 0;
    let at = offset;
    let failure: unknown;
    const worker = async (): Promise<void> => {
      const buffer = tool.host.allocate(size).fill(pattern);
      while (next < count && failure === undefined) {
        const index = next++;
        const place = at;
        at = (at + stride) % node.length;
        try {
          checkRange(node, place, size);
          if (isWrite) await node.write(place, buffer);
          else await node.read(place, buffer);
          if (flushInterval > 0 && (index + 1) % flushInterval === 0) await node.flush();
        } catch (error) {
          failure ??= error;
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(depth, count) }, worker));
    if (failure !== undefined) tool.fail(`Failed request: ${errorText(errorCode(failure))}`);
    tool.out(`Run completed in ${((tool.host.monotonicNs() - started) / 1e9).toFixed(3)} seconds.\n`);
    return 0;
  } finally {
    await node.close();
  }
}
