/** The program: finds the command, by its name or by the name the program was called by, and loads only that. */
import { basename } from 'node:path';
import { complain, type ProcessIo, print } from './process-io.js';

async function main(): Promise<number> {
  const called = basename(process.argv[1] ?? 'vring').replace(/\.(exe|cmd|js|mjs)$/, '');
  const argv = process.argv.slice(2);
  const io: ProcessIo = {
    // Made when something is read or written: most commands read nothing.
    get stdin() {
      return process.stdin;
    },
    get stdout() {
      return process.stdout;
    },
    get stderr() {
      return process.stderr;
    },
    env: process.env,
    toolName: called.startsWith('qemu-') ? called : 'vring',
  };
  try {
    return await dispatch(called, argv, io);
  } catch (error) {
    // A mistake in what was asked for is told in a sentence; so is an error of vring's own, with where it was when asked.
    const { message, stack, code } = error as Partial<Error> & { code?: unknown };
    const known = error instanceof Error && error.name !== 'TypeError' && typeof code === 'string';
    await complain(io, known ? String(message) : `vring itself has failed: ${message ?? String(error)}`);
    if (!known && process.env['VRING_DEBUG']) await print(io.stderr, `${stack ?? ''}\n`);
    return argv[0] === 'run' && argv.includes('--') ? 125 : 1;
  }
}

async function dispatch(called: string, argv: readonly string[], io: ProcessIo): Promise<number> {
  const [first, ...rest] = argv;
  // Told without loading anything.
  if (called === 'vring' || called === 'main') {
    if (first === '--version' || first === '-V' || first === 'version') {
      const { versionLine } = await import('./version.js');
      await print(io.stdout, `${versionLine()}\n`);
      return 0;
    }
  }
  const { commands } = await import('./commands.js');
  const byProgram = commands.find(
    ({ programName, otherNames }) => programName === called || otherNames?.includes(called),
  );
  if (byProgram) return await (await byProgram.load())(argv, io);
  if (first === undefined || first === '--help' || first === '-h' || first === 'help') {
    const { shortHelp, fullHelp } = await import('./overview.js');
    await print(io.stdout, first === undefined ? shortHelp() : fullHelp(commands));
    return 0;
  }
  const command = commands.find(({ name }) => name === first);
  if (!command) {
    const { didYouMean } = await import('./suggest.js');
    const names = commands.map(({ name }) => name);
    const hint = didYouMean(first, names) || "; 'vring --help' lists them";
    await complain(io, `'${first}' is no command of vring${hint}`);
    return 1;
  }
  if (!command.ownOptions && command.name !== 'run' && rest.some((word) => word === '--help' || word === '-h')) {
    const { commandHelp } = await import('./help.js');
    await print(io.stdout, commandHelp(command));
    return 0;
  }
  return await (await command.load())(rest, io);
}

/** Whatever goes wrong where nobody waits for it: a sentence, and an end that leaves nothing behind. */
function onUnexpected(error: unknown): void {
  const { message, stack } = error as Partial<Error>;
  try {
    process.stderr.write(`vring: vring itself has failed: ${message ?? String(error)}\n`);
    if (process.env['VRING_DEBUG']) process.stderr.write(`${stack ?? ''}\n`);
  } finally {
    process.exit(1);
  }
}

process.on('uncaughtException', onUnexpected);
process.on('unhandledRejection', onUnexpected);
// Node's own answer to this signal is to open a debugger's port.
process.on('SIGUSR1', () => {});
// A reader of our messages that has gone away is nothing to stop for; standard output is looked after where it is written.
process.stderr.on('error', () => {});
process.stdout.on('error', () => {});

main().then(async (status) => {
  // What waits in the streams goes out first.
  await Promise.all([print(process.stdout, ''), print(process.stderr, '')]);
  process.exit(status);
}, onUnexpected);
