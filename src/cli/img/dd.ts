/** `img dd`: copies blocks between images, with dd's operands. */
import { errorCode, errorText } from '../../block/errors.js';
import type { GraphNode } from '../../block/graph-node.js';
import { findRow, loadDriver } from '../../block/registry.js';
import { createChecked } from './create.js';
import type { Tool } from './tool.js';

const operandNames = ['bs', 'count', 'if', 'of', 'skip'];

export async function dd(tool: Tool, argv: readonly string[]): Promise<number> {
  const { options, operands } = tool.parse(argv, [
    { key: 'format', short: 'f', value: true },
    { key: 'target', short: 'O', value: true },
    { key: 'share', short: 'U', long: 'force-share' },
    { key: 'object', long: 'object', value: true },
    { key: 'imageOptions', long: 'image-opts' },
  ]);
  let format: string | undefined;
  let target = 'raw';
  let [forceShare, imageOptions] = [false, false];
  for (const [key, value] of options) {
    if (key === 'format') format = value;
    else if (key === 'target') target = value;
    else if (key === 'share') forceShare = true;
    else if (key === 'object') await tool.addObject(value);
    else if (key === 'imageOptions') imageOptions = true;
  }
  let [input, output]: (string | undefined)[] = [];
  let blockBytes = 512;
  let count: number | undefined;
  let skip = 0;
  for (const operand of operands) {
    const equals = operand.indexOf('=');
    const name = equals < 0 ? operand : operand.slice(0, equals);
    const value = equals < 0 ? '' : operand.slice(equals + 1);
    if (equals < 0 || !operandNames.includes(name)) tool.fail(`unrecognized operand ${name}`);
    if (name === 'bs') {
      blockBytes = tool.size(value, 'bs', 2 ** 31 - 1, 1);
    } else if (name === 'count') count = tool.size(value, 'count');
    else if (name === 'skip') skip = tool.size(value, 'skip');
    else if (name === 'if') input = value;
    else output = value;
  }
  if (input === undefined || output === undefined) tool.fail('Must specify both input and output files');
  const source = await tool.open({ filename: input, format, imageOptions, forceShare });
  let node: GraphNode | undefined;
  try {
    if (!findRow(target)) tool.fail('Unknown file format');
    const driver = await loadDriver(target);
    if (!driver.createOptions) tool.fail(`Format driver '${driver.name}' does not support image creation`);
    // As in qemu-img, `count` bounds the part of the input that is looked at, and `skip` is taken off its beginning.
    let end = source.length;
    if (count !== undefined) end = Math.min(end, count * blockBytes);
    const start = skip * blockBytes;
    const size = Math.max(0, end - start);
    try {
      await createChecked(tool, target, output, { size: Math.ceil(size / 512) * 512 });
    } catch (error) {
      tool.failWith(`${output}: error while creating output image of type '${target}': `, error);
    }
    node = await tool.open({ filename: output, format: target, flags: { readOnly: false } });
    if (start > source.length) tool.error(`${input}: cannot skip to specified offset`);
    const step = Math.max(blockBytes, Math.floor(2 ** 21 / blockBytes) * blockBytes || blockBytes);
    const buffer = tool.host.allocate(Math.min(step, Math.max(size, 1)));
    for (let at = 0; at < size; at += buffer.length) {
      const part = buffer.subarray(0, Math.min(buffer.length, size - at));
      await source
        .read(start + at, part)
        .catch((error) => tool.fail(`error while reading from input image file: ${errorText(errorCode(error))}`));
      await node
        .write(at, part)
        .catch((error) => tool.fail(`error while writing to output image file: ${errorText(errorCode(error))}`));
    }
    return 0;
  } finally {
    await node?.close();
    await source.close();
  }
}
