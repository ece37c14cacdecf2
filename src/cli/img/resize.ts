/** `img resize`. */
import { toBlockError } from '../../block/errors.js';
import { Permission, type Preallocation } from '../../block/node.js';
import { parseSize } from '../../block/options.js';
import type { Tool } from './tool.js';

export async function resize(tool: Tool, argv: readonly string[]): Promise<number> {
  // The size is the last argument and may begin with a minus, which is no option.
  if (argv.length < 2) tool.misuse('Not enough arguments');
  const sizeText = argv.at(-1)!;
  const { options, operands } = tool.parse(argv.slice(0, -1), [
    { key: 'format', short: 'f', value: true },
    { key: 'quiet', short: 'q', long: 'quiet' },
    { key: 'object', long: 'object', value: true },
    { key: 'imageOptions', long: 'image-opts' },
    { key: 'preallocation', long: 'preallocation', value: true },
    { key: 'shrink', long: 'shrink' },
  ]);
  let format: string | undefined;
  let [imageOptions, isShrink] = [false, false];
  let preallocation: Preallocation = 'off';
  for (const [key, value] of options) {
    if (key === 'format') format = value;
    else if (key === 'quiet') tool.quiet = true;
    else if (key === 'object') await tool.addObject(value);
    else if (key === 'imageOptions') imageOptions = true;
    else if (key === 'shrink') isShrink = true;
    else if (key === 'preallocation') {
      if (!['off', 'metadata', 'falloc', 'full'].includes(value)) tool.fail(`Invalid preallocation mode '${value}'`);
      preallocation = value as Preallocation;
    }
  }
  if (operands.length !== 1) tool.misuse('Expecting image file name and size');
  const relative = sizeText.startsWith('+') ? 1 : sizeText.startsWith('-') ? -1 : 0;
  const parsed = parseSize(relative === 0 ? sizeText : sizeText.slice(1));
  if (typeof parsed !== 'number') {
    if (parsed === 'range')
      tool.fail(`Value '${sizeText.slice(Math.abs(relative))}' is out of range for parameter 'size'`);
    tool.fail(
      "Parameter 'size' expects a non-negative number below 2^64\nOptional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.",
    );
  }
  const node = await tool.open({
    filename: operands[0]!,
    format,
    imageOptions,
    flags: { readOnly: false, unmap: true },
    permissions: Permission.consistentRead | Permission.write | Permission.resize,
  });
  try {
    const current = node.length;
    const total = relative === 0 ? parsed : current + relative * parsed;
    // Sizes are counted in 64 bits with a sign.
    if (total <= 0 || total >= 2 ** 63) tool.fail('New image size must be positive');
    if (total <= current && preallocation !== 'off') tool.fail('Preallocation can only be used for growing images');
    if (total < current && !isShrink) {
      tool.error('Use the --shrink option to perform a shrink operation.');
      tool.warn(
        "Shrinking an image will delete all data beyond the shrunken image's end. Before performing such an operation, make sure there is no important data there.",
      );
      return 1;
    }
    try {
      await node.resize(total, { exact: true, preallocation });
    } catch (error) {
      tool.failWith('', toBlockError(error));
    }
    if (node.length !== total)
      tool.fail(`Image should have been resized to ${total} bytes, but was resized to ${node.length} bytes`);
    tool.say('Image resized.\n');
    return 0;
  } finally {
    await node.close();
  }
}
