/** `vring img`, also as `qemu-img`: finds the subcommand and loads only that. */
import { BlockError } from '../../block/errors.js';
import { ExitError, Tool, type ToolIo } from './tool.js';

export type { ToolIo } from './tool.js';

type Command = (tool: Tool, argv: readonly string[]) => Promise<number>;

const commands: Readonly<Record<string, () => Promise<Command>>> = {
  amend: async () => (await import('./amend.js')).amend,
  bench: async () => (await import('./bench.js')).bench,
  bitmap: async () => (await import('./bitmap.js')).bitmap,
  check: async () => (await import('./check.js')).check,
  commit: async () => (await import('./commit.js')).commit,
  compare: async () => (await import('./compare.js')).compare,
  convert: async () => (await import('./convert.js')).convert,
  create: async () => (await import('./create.js')).create,
  dd: async () => (await import('./dd.js')).dd,
  info: async () => (await import('./info.js')).info,
  map: async () => (await import('./map.js')).map,
  measure: async () => (await import('./measure.js')).measure,
  rebase: async () => (await import('./rebase.js')).rebase,
  resize: async () => (await import('./resize.js')).resize,
  snapshot: async () => (await import('./snapshot.js')).snapshot,
};

/** The version that `-V` names: whose command line and results this follows. */
export const referenceVersion = '7.2';

/** Runs one command line (without the program's name) and gives the exit code. `toolName` begins every message. */
export async function runImg(argv: readonly string[], io: ToolIo, toolName: string): Promise<number> {
  const tool = new Tool(toolName, io);
  try {
    let rest = [...argv];
    // Options before the subcommand.
    while (rest[0]?.startsWith('-')) {
      const option = rest[0];
      if (option === '-h' || option === '--help') {
        io.out((await import('./help.js')).helpText(toolName));
        return 0;
      }
      if (option === '-V' || option === '--version') {
        io.out(`${toolName} version ${referenceVersion} (vring)\n`);
        return 0;
      }
      if ((option === '-T' || option === '--trace') && rest.length === 1)
        tool.misuse(`missing argument for option '${option}'`);
      if (option === '-T' || option === '--trace') rest = rest.slice(2);
      else if (option.startsWith('--trace=') || option.startsWith('-T')) rest = rest.slice(1);
      else tool.misuse(`unrecognized option '${option}'`);
    }
    const name = rest[0];
    if (name === undefined) tool.misuse('Not enough arguments');
    if (!Object.hasOwn(commands, name)) tool.misuse(`Command not found: ${name}`);
    const load = commands[name]!;
    const own = rest.slice(1);
    if (own.includes('-h') || own.includes('--help')) {
      io.out((await import('./help.js')).helpText(toolName));
      return 0;
    }
    return await (await load())(tool, own);
  } catch (error) {
    if (error instanceof ExitError) return error.code;
    if (error instanceof BlockError) {
      // Closing an image failed: its last writes are not on disk.
      tool.error(error.message);
      return 1;
    }
    throw error;
  } finally {
    tool.endProgress();
  }
}
