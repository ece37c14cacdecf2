/**
 * Runs one command in a Debian machine and uses what it says:
 *
 *     node dist/examples/command.js [COMMAND [ARGUMENT…]]
 */
import { runCommand } from 'vring';

const command = process.argv.length > 2 ? process.argv.slice(2) : ['uname', '-srm'];
const { stdout, stderr, status } = await runCommand(
  {
    stdin: 'what the command reads\n',
    onNotice: (sentence) => console.error(sentence),
  },
  command,
  { timeoutMs: 10 * 60_000 },
);
process.stdout.write(stdout);
process.stderr.write(stderr);
process.exitCode = status;
