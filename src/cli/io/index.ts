/** `vring io`, also as `qemu-io`: exercises an image by commands from `-c` or from standard input. */
import { BlockError } from '../../block/errors.js';
import type { OpenFlags } from '../../block/node.js';
import { referenceVersion } from '../img/index.js';
import { ExitError, getoptSentence, type OptionSpec, parseImageOptions, Tool, type ToolIo } from '../img/tool.js';
import { IoSession } from './session.js';

export interface IoToolIo extends ToolIo {
  /** Lines of commands when none are given by `-c`. */
  readonly input?: AsyncIterable<string>;
}

function usage(toolName: string): string {
  return `usage: ${toolName} [OPTIONS]... [-c COMMAND]... [FILE]

  -c, --cmd COMMAND     run a command (several times: one after the other)
  -f, --format FORMAT   the image's format (guessed otherwise)
  -r, --read-only       open for reading only
  -s, --snapshot        write to a temporary overlay
  -n, --nocache         bypass the host's cache, as -t none
  -t, --cache MODE      none, writeback, writethrough, directsync, unsafe
  -d, --discard MODE    ignore or unmap
  -C, --copy-on-read    store what is read from the backing file
  -U, --force-share     let others write meanwhile
      --image-opts      FILE is an option string
      --object OBJECT   define a secret
  -h, --help            this text
  -V, --version         the version

'${toolName} -c help' lists the commands.
`;
}

const specs: readonly OptionSpec[] = [
  { key: 'cmd', short: 'c', long: 'cmd', value: true },
  { key: 'format', short: 'f', long: 'format', value: true },
  { key: 'readOnly', short: 'r', long: 'read-only' },
  { key: 'snapshot', short: 's', long: 'snapshot' },
  { key: 'nocache', short: 'n', long: 'nocache' },
  { key: 'copyOnRead', short: 'C', long: 'copy-on-read' },
  { key: 'misalign', short: 'm', long: 'misalign' },
  { key: 'nativeAio', short: 'k', long: 'native-aio' },
  { key: 'aio', short: 'i', long: 'aio', value: true },
  { key: 'cache', short: 't', long: 'cache', value: true },
  { key: 'discard', short: 'd', long: 'discard', value: true },
  { key: 'trace', short: 'T', long: 'trace', value: true },
  { key: 'share', short: 'U', long: 'force-share' },
  { key: 'imageOptions', long: 'image-opts' },
  { key: 'object', long: 'object', value: true },
  { key: 'help', short: 'h', long: 'help' },
  { key: 'version', short: 'V', long: 'version' },
];

class IoTool extends Tool {
  override misuse(message: string): never {
    this.error(getoptSentence(message, specs));
    this.io.out(usage(this.name));
    throw new ExitError(1);
  }
}

export async function runIo(argv: readonly string[], io: IoToolIo, toolName: string): Promise<number> {
  const tool = new IoTool(toolName, io);
  const session = new IoSession(tool);
  try {
    return await run(tool, session, argv, io);
  } catch (error) {
    if (error instanceof ExitError) return error.code;
    if (error instanceof BlockError) {
      // Closing an image failed: its last writes are not on disk.
      tool.error(error.message);
      return 1;
    }
    throw error;
  }
}

async function run(tool: Tool, session: IoSession, argv: readonly string[], io: IoToolIo): Promise<number> {
  const { options, operands } = tool.parse(argv, specs);
  const commands: string[] = [];
  let format: string | undefined;
  let [isReadOnly, isSnapshot, imageOptions] = [false, false, false];
  let flags: Partial<OpenFlags> = { unmap: true, ...tool.cache('writethrough') };
  let aio = 'threads';
  for (const [key, value] of options) {
    if (key === 'cmd') commands.push(value);
    else if (key === 'format') format = value;
    else if (key === 'readOnly') isReadOnly = true;
    else if (key === 'snapshot') isSnapshot = true;
    else if (key === 'nocache') flags = { ...flags, ...tool.cache('none') };
    else if (key === 'copyOnRead') flags = { ...flags, copyOnRead: true };
    else if (key === 'cache') flags = { ...flags, ...tool.cache(value) };
    else if (key === 'discard') {
      if (!['ignore', 'off', 'unmap', 'on'].includes(value)) tool.fail(`Invalid discard option: ${value}`);
      flags = { ...flags, unmap: value === 'unmap' || value === 'on' };
    } else if (key === 'nativeAio') aio = 'native';
    else if (key === 'aio') {
      if (!['threads', 'native', 'io_uring'].includes(value)) tool.fail(`Invalid aio option: ${value}`);
      aio = value;
    } else if (key === 'share') flags = { ...flags, forceShare: true };
    else if (key === 'imageOptions') imageOptions = true;
    else if (key === 'object') await tool.addObject(value);
    else if (key === 'help') {
      io.out(usage(tool.name));
      return 0;
    } else if (key === 'version') {
      io.out(`${tool.name} version ${referenceVersion} (vring)\n`);
      return 0;
    }
  }
  if (operands.length > 1) {
    io.out(usage(tool.name));
    return 1;
  }
  if (format !== undefined && imageOptions) tool.fail('--image-opts and -f are mutually exclusive');
  session.imageOptions = imageOptions;
  let result = 0;
  const filename = operands[0];
  if (filename !== undefined) {
    if (aio === 'native' && !flags.direct) {
      tool.fail(
        `can't open device ${filename}: aio=native was specified, but it requires cache.direct=on, which was not specified.`,
      );
    }
    const opened = await session.open(
      imageOptions ? undefined : filename,
      imageOptions ? parseImageOptions(tool, filename) : format === undefined ? {} : { driver: format },
      { ...flags, readOnly: isReadOnly && !isSnapshot },
      isSnapshot,
    );
    if (opened !== 0) return 1;
  }
  try {
    if (commands.length > 0) {
      for (const command of commands) {
        if (session.isDone) break;
        if ((await session.command(command)) < 0) result = 1;
      }
    } else {
      io.out(`${tool.name}> `);
      for await (const line of io.input ?? []) {
        if ((await session.command(line)) < 0) result = 1;
        if (session.isDone) break;
        io.out(`${tool.name}> `);
      }
    }
    await session.settle();
  } finally {
    if (session.node && (await session.closeImage()) !== 0) result = 1;
  }
  return result;
}
