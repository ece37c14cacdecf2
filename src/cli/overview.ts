/** What `vring` alone and `vring --help` print. */
import type { Command } from './command.js';
import { versionLine } from './version.js';

export function shortHelp(): string {
  return [
    `${versionLine()}: whole computers in TypeScript`,
    '',
    "  vring run debian                      Debian's kernel and a shell; Ctrl-A x leaves",
    '  vring run debian -- uname -a          one command: its output, its exit status',
    "  vring run -kernel bzImage -initrd initrd.img -append 'console=ttyS0' -nographic",
    '',
    "'vring --help' lists the commands, 'vring COMMAND --help' their options.",
    '',
  ].join('\n');
}

export function fullHelp(commands: readonly Command[]): string {
  const rows = commands.map(({ name, synopsis, sentence }) => {
    const usage = `  vring ${name} ${synopsis.length > 24 ? '…' : synopsis}`.trimEnd();
    return usage.length > 38 ? `${usage}\n${' '.repeat(40)}${sentence}` : `${usage.padEnd(40)}${sentence}`;
  });
  return [
    `${versionLine()}: whole computers in TypeScript`,
    '',
    'Usage: vring COMMAND [OPTIONS]',
    '',
    ...rows,
    '',
    '  vring --version                       shows the version',
    '',
    "'vring COMMAND --help' shows the options of a command. Called as qemu-system-x86_64 or qemu-img (see vring link) it is",
    'that program.',
    '',
  ].join('\n');
}
