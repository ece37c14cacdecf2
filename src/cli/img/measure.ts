/** `img measure`. */
import { toBlockError } from '../../block/errors.js';
import type { GraphNode } from '../../block/graph-node.js';
import { parseOptionString, takeOptions } from '../../block/options.js';
import { findRow, loadDriver } from '../../block/registry.js';
import { printCreateHelp } from './create.js';
import {
  ExitError,
  getoptSentence,
  hasHelpOption,
  joinOptions,
  type OptionSpec,
  prettyJson,
  type Tool,
} from './tool.js';

export async function measure(tool: Tool, argv: readonly string[]): Promise<number> {
  const specs: readonly OptionSpec[] = [
    { key: 'format', short: 'f', value: true },
    { key: 'target', short: 'O', value: true },
    { key: 'options', short: 'o', value: true },
    { key: 'snapshot', short: 'l', value: true },
    { key: 'output', long: 'output', value: true },
    { key: 'object', long: 'object', value: true },
    { key: 'imageOptions', long: 'image-opts' },
    { key: 'size', long: 'size', value: true },
    { key: 'share', short: 'U', long: 'force-share' },
  ];
  const { helpText } = await import('./help.js');
  // qemu-img leaves mistakes to getopt here, and answers with its help.
  const { options, operands } = tool.parse(argv, specs, (message) => {
    tool.io.err(`measure: ${getoptSentence(message, specs)}\n`);
    tool.out(helpText(tool.name));
    throw new ExitError(0);
  });
  let [format, snapshotName, optionText]: (string | undefined)[] = [];
  let target = 'raw';
  let [imageOptions, forceShare, isJson] = [false, false, false];
  let size: number | undefined;
  for (const [key, value] of options) {
    if (key === 'format') format = value;
    else if (key === 'target') target = value;
    else if (key === 'options') optionText = joinOptions(optionText, value, tool);
    else if (key === 'snapshot') {
      const { checkSnapshotParameter } = await import('./convert.js');
      checkSnapshotParameter(tool, value);
      snapshotName = value;
    } else if (key === 'output') isJson = tool.output(value);
    else if (key === 'object') await tool.addObject(value);
    else if (key === 'imageOptions') imageOptions = true;
    else if (key === 'size') size = tool.size(value, 'image size');
    else if (key === 'share') forceShare = true;
  }
  if (operands.length > 1) tool.fail('At most one filename argument is allowed.');
  const filename = operands[0];
  if (filename === undefined && (imageOptions || format !== undefined || snapshotName !== undefined)) {
    tool.fail('--image-opts, -f, and -l require a filename argument.');
  }
  if (filename === undefined && size === undefined) tool.fail('Either --size N or one filename must be specified.');
  if (filename !== undefined && size !== undefined) tool.fail('--size N cannot be used together with a filename.');
  let node: GraphNode | undefined;
  if (filename !== undefined) {
    node = await tool.open({ filename, format, imageOptions, forceShare });
  }
  try {
    if (node && snapshotName !== undefined) {
      const { loadSnapshotParameter } = await import('./convert.js');
      await loadSnapshotParameter(tool, node, snapshotName);
    }
    if (!findRow(target)) tool.fail(`Unknown file format '${target}'`);
    const driver = await loadDriver(target);
    if (!driver.createOptions) tool.fail(`Format driver '${target}' does not support image creation`);
    if (optionText !== undefined && hasHelpOption(optionText)) return printCreateHelp(tool, target, undefined);
    const dict = optionText === undefined ? {} : parseOptionString(optionText);
    if (size !== undefined) dict['size'] = size;
    try {
      const values = takeOptions(await tool.graph.createRows(target, 'file:'), dict);
      const left = Object.keys(dict)[0];
      if (left !== undefined) {
        tool.error(`Invalid parameter '${left}'`);
        tool.fail(`Invalid options for file format '${target}'`);
      }
      if (!driver.measure) tool.fail(`Block driver '${target}' does not support size measurement`);
      const result = await driver.measure(values, node, tool.host);
      if (isJson)
        tool.out(
          `${prettyJson({ bitmaps: result.bitmaps, required: result.required, 'fully-allocated': result.fullyAllocated })}\n`,
        );
      else {
        tool.out(`required size: ${result.required}\nfully allocated size: ${result.fullyAllocated}\n`);
        if (result.bitmaps !== undefined) tool.out(`bitmaps size: ${result.bitmaps}\n`);
      }
    } catch (error) {
      if (error instanceof ExitError) throw error;
      tool.failWith('', toBlockError(error));
    }
    return 0;
  } finally {
    await node?.close();
  }
}
