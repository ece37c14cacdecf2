/** `img create`, and the creation that `convert` and `dd` share. */
import { BlockError, errorText, toBlockError } from '../../block/errors.js';
import { combinePath } from '../../block/graph.js';
import {
  integerText,
  type OptionDict,
  type OptionRow,
  type OptionValue,
  parseOptionString,
  takeOptions,
} from '../../block/options.js';
import { findRow, loadDriver } from '../../block/registry.js';
import { ExitError, hasHelpOption, joinOptions, type Tool } from './tool.js';

const typeNames: Readonly<Record<string, string>> = {
  string: 'str',
  size: 'size',
  number: 'num',
  boolean: 'bool (on/off)',
  enum: 'str',
};

export function optionLines(rows: readonly OptionRow[]): string {
  return [...rows]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((row) => `  ${`${row.name}=<${typeNames[row.type]}>`.padEnd(22)} - ${row.help}\n`)
    .join('');
}

/** `-o help`. */
export async function printCreateHelp(tool: Tool, format: string, filename: string | undefined): Promise<number> {
  if (!findRow(format)) tool.fail(`Unknown file format '${format}'`);
  const driver = await loadDriver(format);
  if (!driver.createOptions) tool.fail(`Format driver '${format}' does not support image creation`);
  const rows = await tool.graph.createRows(format, filename);
  tool.out(filename === undefined ? `Supported ${format} options:\n` : 'Supported options:\n');
  tool.out(optionLines(rows));
  if (filename === undefined && driver.kind !== 'protocol') {
    tool.out(
      '\nThe protocol level may support further options.\nSpecify the target filename to include those options.\n',
    );
  }
  return 0;
}

function valueText(row: OptionRow, value: OptionValue): string {
  if (row.type === 'boolean') return value === true ? 'on' : 'off';
  // Sizes from 2^63 on are shown as the signed numbers they are in C.
  if (typeof value === 'number') return integerText(value >= 2 ** 63 ? value - 2 ** 64 : value);
  return String(value).replaceAll(',', ',,');
}

export interface CreateRequest {
  readonly filename: string;
  readonly format: string;
  readonly options: OptionDict;
  readonly size: number | undefined;
  readonly backingFile: string | undefined;
  readonly backingFormat: string | undefined;
  readonly isUnsafe: boolean;
}

/** Creates an image as bdrv_img_create would; errors carry qemu-img's sentence without the file name before it. */
export async function createImage(tool: Tool, request: CreateRequest): Promise<void> {
  const { filename, format } = request;
  if (!findRow(format)) throw new BlockError('EINVAL', `Unknown file format '${format}'`);
  const driver = await loadDriver(format);
  if (!driver.createOptions)
    throw new BlockError('EINVAL', `Format driver '${format}' does not support image creation`);
  const rows = await tool.graph.createRows(format, filename);
  const dict: OptionDict = { ...request.options };
  const unknown = Object.keys(dict).find((key) => !rows.some((row) => row.name === key));
  if (unknown !== undefined) throw new BlockError('EINVAL', `Invalid parameter '${unknown}'`);
  if (request.size !== undefined) {
    if (dict['size'] !== undefined) throw new BlockError('EINVAL', 'The image size must be specified only once');
    dict['size'] = request.size;
  }
  for (const [name, value] of [
    ['backing_file', request.backingFile],
    ['backing_fmt', request.backingFormat],
  ] as const) {
    if (value === undefined) continue;
    if (!rows.some((row) => row.name === name)) {
      throw new BlockError(
        'EINVAL',
        `Backing ${name === 'backing_file' ? 'file' : 'format'} not supported for file format '${format}'`,
      );
    }
    dict[name] = value;
  }
  // A look at the values without using them up.
  const values = takeOptions(rows, { ...dict });
  const backingFile = values.string('backing_file');
  const backingFormat = values.string('backing_fmt');
  if (backingFile === '') throw new BlockError('EINVAL', 'Expected backing file name, got empty string');
  if (backingFile !== undefined && backingFile === filename) {
    throw new BlockError('EINVAL', 'Error: Trying to create an image with the same filename as the backing file');
  }
  let size = values.number('size');
  if (backingFile !== undefined && !request.isUnsafe) {
    const full = backingFile.startsWith('json:') ? backingFile : combinePath(filename, backingFile);
    let backing: Awaited<ReturnType<typeof tool.graph.open>>;
    try {
      backing = await tool.graph.open({
        filename: full,
        ...(backingFormat ? { format: backingFormat } : {}),
        flags: { readOnly: true, noIo: true, noBacking: false },
      });
    } catch (error) {
      const typed = toBlockError(error);
      // The size may come from elsewhere, but the name was given to be used.
      throw new BlockError(typed.code, `${typed.message}\nCould not open backing image.`);
    }
    try {
      if (!backingFormat)
        throw new BlockError(
          'EINVAL',
          `Backing file specified without backing format\nDetected format of ${backing.driver.name}.`,
        );
      if (size === undefined) {
        size = backing.length;
        dict['size'] = size;
      }
    } finally {
      await backing.close();
    }
  } else if (backingFile !== undefined && !backingFormat)
    throw new BlockError('EINVAL', 'Backing file specified without backing format');
  if (size === undefined) throw new BlockError('EINVAL', 'Image creation needs a size parameter');
  if (!tool.quiet) {
    const shown = takeOptions(rows, { ...dict });
    const parts: string[] = [];
    for (const row of rows) {
      const value =
        row.type === 'boolean' ? shown.boolean(row.name) : (shown.number(row.name) ?? shown.string(row.name));
      const given = dict[row.name];
      // As the user spelled it.
      const text = row.type === 'boolean' && typeof given === 'string' ? given : undefined;
      if (value !== undefined) parts.push(`${row.name}=${text ?? valueText(row, value)}`);
    }
    tool.out(`Formatting '${filename}', fmt=${format} ${parts.join(' ')}\n`);
  }
  if (backingFormat !== undefined && !findRow(backingFormat))
    throw new BlockError('EINVAL', `Parameter 'backing-fmt' does not accept value '${backingFormat}'`);
  try {
    await createChecked(tool, format, filename, { ...dict, size: Math.ceil(size / 512) * 512 });
  } catch (error) {
    if (!(error instanceof BlockError) || error.code !== 'EFBIG') throw error;
    const hint = rows.some(({ name }) => name === 'cluster_size') ? ' (try using a larger cluster size)' : '';
    throw new BlockError('EFBIG', `The image size is too large for file format '${format}'${hint}`);
  }
}

export async function createChecked(tool: Tool, format: string, filename: string, options: OptionDict): Promise<void> {
  try {
    await tool.graph.create(format, filename, options);
  } catch (error) {
    const typed = toBlockError(error);
    throw typed.bare ? new BlockError(typed.code, errorText(typed.code)) : typed;
  }
}

export async function create(tool: Tool, argv: readonly string[]): Promise<number> {
  const { options, operands } = tool.parse(argv, [
    { key: 'format', short: 'f', long: 'format', value: true },
    { key: 'backing', short: 'b', long: 'backing', value: true },
    { key: 'backingFormat', short: 'F', long: 'backing-format', value: true },
    { key: 'options', short: 'o', long: 'options', value: true },
    { key: 'quiet', short: 'q', long: 'quiet' },
    { key: 'unsafe', short: 'u', long: 'backing-unsafe' },
    { key: 'object', long: 'object', value: true },
  ]);
  let format = 'raw';
  let [backingFile, backingFormat, optionText]: (string | undefined)[] = [];
  let isUnsafe = false;
  for (const [key, value] of options) {
    if (key === 'format') format = value;
    else if (key === 'backing') backingFile = value;
    else if (key === 'backingFormat') backingFormat = value;
    else if (key === 'options') optionText = joinOptions(optionText, value, tool);
    else if (key === 'quiet') tool.quiet = true;
    else if (key === 'unsafe') isUnsafe = true;
    else if (key === 'object') await tool.addObject(value);
  }
  const filename = operands[0];
  if (optionText !== undefined && hasHelpOption(optionText)) return printCreateHelp(tool, format, filename);
  if (filename === undefined) tool.misuse('Expecting image file name');
  let size: number | undefined;
  if (operands[1] !== undefined) size = tool.size(operands[1], 'image size');
  if (operands.length > 2) tool.misuse(`Unexpected argument: ${operands[2]}`);
  try {
    await createImage(tool, {
      filename,
      format,
      options: optionText === undefined ? {} : parseOptionString(optionText),
      size,
      backingFile,
      backingFormat,
      isUnsafe,
    });
  } catch (error) {
    if (error instanceof ExitError) throw error;
    tool.failWith(`${filename}: `, error);
  }
  return 0;
}
