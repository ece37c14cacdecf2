/** The program for those who have asked for a disk tool: several times smaller than all of it. */
import { diskCommands } from './disk-commands.js';
import { runProcess } from './process-main.js';

runProcess(async (called, argv, io) => {
  const byProgram = diskCommands.find(({ programName }) => programName === called);
  const command = byProgram ?? diskCommands.find(({ name }) => name === argv[0])!;
  return await (await command.load())(byProgram ? argv : argv.slice(1), io);
});
