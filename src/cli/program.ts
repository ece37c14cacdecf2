/** The program: finds the command, by its name or by the name the program was called by, and loads only that. */
import { complain, print } from './process-io.js';
import { type Dispatch, runProcess } from './process-main.js';

const dispatch: Dispatch = async (called, argv, io) => {
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
};

runProcess(dispatch);
