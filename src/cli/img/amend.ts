/** `img amend`. */
import { errorText, toBlockError } from '../../block/errors.js';
import { Permission } from '../../block/node.js';
import { parseOptionString, takeOptions } from '../../block/options.js';
import { findRow, loadDriver } from '../../block/registry.js';
import { optionLines } from './create.js';
import { ExitError, hasHelpOption, joinOptions, type Tool } from './tool.js';

async function printHelp(tool: Tool, format: string): Promise<number> {
  if (!findRow(format)) tool.fail(`Unknown file format '${format}'`);
  const driver = await loadDriver(format);
  if (!driver.amendOptions) tool.fail(`Format driver '${format}' does not support option amendment`);
  tool.out(`Amend options for '${format}':\n${optionLines(driver.amendOptions)}`);
  return 0;
}

export async function amend(tool: Tool, argv: readonly string[]): Promise<number> {
  const { options, operands } = tool.parse(argv, [
    { key: 'options', short: 'o', value: true },
    { key: 'format', short: 'f', value: true },
    { key: 'cache', short: 't', value: true },
    { key: 'progress', short: 'p' },
    { key: 'quiet', short: 'q' },
    { key: 'force', long: 'force' },
    { key: 'object', long: 'object', value: true },
    { key: 'imageOptions', long: 'image-opts' },
  ]);
  let [format, optionText]: (string | undefined)[] = [];
  let cacheMode = 'writeback';
  let [isProgress, isForced, imageOptions] = [false, false, false];
  for (const [key, value] of options) {
    if (key === 'options') optionText = joinOptions(optionText, value, tool);
    else if (key === 'format') format = value;
    else if (key === 'cache') cacheMode = value;
    else if (key === 'progress') isProgress = true;
    else if (key === 'quiet') tool.quiet = true;
    else if (key === 'force') isForced = true;
    else if (key === 'object') await tool.addObject(value);
    else if (key === 'imageOptions') imageOptions = true;
  }
  if (optionText === undefined) tool.misuse('Must specify options (-o)');
  tool.startProgress(isProgress, 1);
  const filename = operands.at(-1);
  if (format !== undefined && hasHelpOption(optionText)) return printHelp(tool, format);
  if (filename === undefined || operands.length > 1) tool.fail('Expecting one image file name');
  const node = await tool.open({
    filename,
    format,
    imageOptions,
    flags: { ...tool.cache(cacheMode), readOnly: false, unmap: true },
    permissions: Permission.consistentRead | Permission.write | Permission.resize,
  });
  try {
    const { driver } = node;
    if (hasHelpOption(optionText)) return printHelp(tool, driver.name);
    if (!driver.amendOptions || !node.instance.amend)
      tool.fail(`Format driver '${driver.name}' does not support option amendment`);
    const dict = parseOptionString(optionText);
    tool.progress(0);
    try {
      const values = takeOptions(driver.amendOptions, dict);
      const left = Object.keys(dict)[0];
      if (left !== undefined) {
        const isForCreation = driver.createOptions?.some((row) => row.name === left);
        tool.fail(
          `Invalid parameter '${left}'${isForCreation ? '\nThis option is only supported for image creation' : ''}`,
        );
      }
      await node.instance.amend(values, {
        force: isForced,
        progress: (done, total) => tool.progress(total === 0 ? 0 : Math.min(99, (done * 100) / total)),
      });
    } catch (error) {
      if (error instanceof ExitError) throw error;
      const typed = toBlockError(error);
      tool.failWith('', typed.bare ? new Error(errorText(typed.code)) : typed);
    }
    tool.progress(100);
    tool.endProgress();
    return 0;
  } finally {
    await node.close();
  }
}
