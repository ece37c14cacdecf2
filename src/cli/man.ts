/** `vring man`: the man page, from the rows of commands and options (groff's man macros). */
import { commands } from './commands.js';
import { optionSentence, optionSynopsis } from './help.js';
import { type ProcessIo, print } from './process-io.js';
import { monitorCommands } from './run/monitor.js';
import { versionLine } from './version.js';

export async function man(_argv: readonly string[], io: ProcessIo): Promise<number> {
  await print(io.stdout, manPage());
  return 0;
}

/** Text that groff takes literally. */
function roff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/`([^`]*)`/g, '\\fB$1\\fR')
    .replace(/^([.'])/gm, '\\&$1');
}

export function manPage(): string {
  const lines = [
    `.TH VRING 1 "" "${versionLine()}" "vring"`,
    '.SH NAME',
    'vring \\- whole computers in TypeScript',
    '.SH SYNOPSIS',
  ];
  for (const { name, synopsis } of commands) lines.push('.br', `\\fBvring ${name}\\fR ${roff(synopsis)}`);
  lines.push('.SH DESCRIPTION');
  lines.push(
    'vring runs whole machines with the command lines of QEMU, wherever Node.js runs, and brings its disk tools.',
  );
  for (const command of commands) {
    lines.push(`.SH VRING ${command.name.toUpperCase()}`, `\\fBvring ${command.name}\\fR ${roff(command.sentence)}.`);
    if (command.programName)
      lines.push('.PP', `Called as \\fB${roff(command.programName)}\\fR the program is this command.`);
    for (const paragraph of command.description ?? []) lines.push('.PP', roff(paragraph));
    for (const group of new Set(command.options.map((row) => row.group))) {
      lines.push(`.SS ${group}`);
      for (const row of command.options.filter((each) => each.group === group)) {
        lines.push('.TP', `\\fB${roff(optionSynopsis(row, command))}\\fR`, roff(optionSentence(row)));
      }
    }
    if (command.name === 'run') {
      lines.push('.SS Monitor');
      for (const row of monitorCommands) {
        lines.push(
          '.TP',
          `\\fB${roff([row.name, ...(row.aliases ?? [])].join(', '))}\\fR ${roff(row.argument ?? '')}`,
          `${roff(row.sentence)}.`,
        );
      }
    }
    if (command.exitStatus) {
      lines.push('.SS Exit status');
      for (const [status, meaning] of command.exitStatus)
        lines.push('.TP', `\\fB${roff(status)}\\fR`, `${roff(meaning)}.`);
    }
    for (const example of command.examples ?? []) lines.push('.PP', '.EX', `  ${roff(example)}`, '.EE');
  }
  lines.push(
    '.SH FILES',
    '.TP',
    '\\fB$XDG_CACHE_HOME/vring\\fR, \\fB~/.cache/vring\\fR',
    'What has been fetched: kernels and initial RAM disks.',
    '.SH ENVIRONMENT',
    '.TP',
    '\\fBHTTP_PROXY\\fR, \\fBHTTPS_PROXY\\fR, \\fBNO_PROXY\\fR',
    'Proxies for what is fetched.',
    '.TP',
    '\\fBVRING_DEBUG\\fR',
    'When set, an error in vring itself is shown with where it was.',
    '',
  );
  return lines.join('\n');
}
