/** `vring completion SHELL`: scripts for bash, zsh and fish, from the rows of commands and options. */
import type { Command } from './command.js';
import { commands, shells } from './commands.js';
import { type OptionRow, spelled } from './options/option-row.js';
import { parseLine } from './options/parse.js';
import { type ProcessIo, print } from './process-io.js';
import { didYouMean } from './suggest.js';
import { UsageError } from './usage-error.js';

export async function completion(argv: readonly string[], io: ProcessIo): Promise<number> {
  const row = commands.find(({ name }) => name === 'completion')!;
  const { operands } = parseLine(row, argv);
  const [shell, extra] = operands;
  if (shell === undefined || extra !== undefined)
    throw new UsageError(`completion: name one shell, ${shells.join(', ')}`);
  const make = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion }[shell];
  if (!make) throw new UsageError(`completion ${shell}: there is no such shell here${didYouMean(shell, shells)}`);
  await print(io.stdout, make());
  return 0;
}

const quote = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

function optionWords(command: Command): string[] {
  return command.options.flatMap((row) =>
    [row.name, ...(row.aliases ?? [])].map((name) => spelled(row, command, name)),
  );
}

function takesFile(row: OptionRow): boolean {
  return row.isFile ?? false;
}

export function bashCompletion(): string {
  const names = commands.map(({ name }) => name);
  const lines = [
    '# bash completion of vring: eval "$(vring completion bash)"',
    '_vring() {',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: bash's own
    '  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} program=${COMP_WORDS[0]##*/}',
    '  COMPREPLY=()',
    '  case $program in',
    ...commands.flatMap(({ programName, otherNames = [], name }) =>
      programName ? [`    ${[programName, ...otherNames].join('|')}) command=${name} ;;`] : [],
    ),
    '    *)',
    '      if [ "$COMP_CWORD" -eq 1 ]; then',
    `        COMPREPLY=($(compgen -W ${quote([...names, '--help', '--version'].join(' '))} -- "$word"))`,
    '        return',
    '      fi ;;',
    '  esac',
    '  case $command in',
  ];
  for (const command of commands) {
    lines.push(`    ${command.name})`);
    const valued = command.options.filter((row) => row.argument !== undefined);
    if (valued.length > 0) {
      lines.push('      case $before in');
      for (const row of valued) {
        const spellings = [row.name, ...(row.aliases ?? [])].map((name) => spelled(row, command, name)).join('|');
        const reply = row.values
          ? `COMPREPLY=($(compgen -W ${quote(row.values.join(' '))} -- "$word"))`
          : takesFile(row)
            ? 'COMPREPLY=($(compgen -f -- "$word"))'
            : ':';
        lines.push(`        ${spellings}) ${reply}; return ;;`);
      }
      lines.push('      esac');
    }
    const words = [...optionWords(command), ...(command.operands ?? [])];
    lines.push(`      COMPREPLY=($(compgen -W ${quote(words.join(' '))} -- "$word")) ;;`);
  }
  const programs = commands.flatMap(({ programName, otherNames = [] }) =>
    programName ? [programName, ...otherNames] : [],
  );
  lines.push('  esac', '}', `complete -o default -F _vring vring ${programs.join(' ')}`, '');
  return lines.join('\n');
}

export function zshCompletion(): string {
  const describe = (text: string) =>
    text.replace(/[[\]:'\\]/g, (character) => (character === "'" ? "'\\''" : `\\${character}`));
  const run = commands.find(({ name }) => name === 'run');
  const runners = [run?.programName, ...(run?.otherNames ?? [])].map((name) => `${name}=vring-run`);
  const lines = [
    `#compdef vring ${runners.join(' ')}`,
    '# zsh completion of vring: source <(vring completion zsh)',
    '_vring() {',
    '  local -a commands',
    '  if [[ $service == vring-run ]]; then',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: zsh's own
    '    words=(vring run "${(@)words[2,-1]}")',
    '    (( CURRENT++ ))',
    '  fi',
    '  if (( CURRENT == 2 )); then',
    '    commands=(',
    ...commands.map(({ name, sentence }) => `      '${name}:${describe(sentence)}'`),
    '    )',
    "    _describe 'command' commands",
    '    return',
    '  fi',
    '  local command=$words[2]',
    '  shift words',
    '  (( CURRENT-- ))',
    '  case $command in',
  ];
  for (const command of commands) {
    lines.push(`    ${command.name})`, '      _arguments \\');
    for (const row of command.options) {
      for (const name of [row.name, ...(row.aliases ?? [])]) {
        const argument =
          row.argument === undefined
            ? ''
            : `${row.argumentOptional ? '::' : ':'}${describe(row.argument)}:${row.values ? `(${row.values.map(describe).join(' ')})` : takesFile(row) ? '_files' : ' '}`;
        lines.push(
          `        '${row.repeats ? '*' : ''}${spelled(row, command, name)}[${describe(row.sentence)}]${argument}' \\`,
        );
      }
    }
    lines.push(`        '*:operand:${command.operands ? `(${command.operands.join(' ')})` : '_files'}' ;;`);
  }
  lines.push('  esac', '}', `compdef _vring vring ${runners.join(' ')}`, '');
  return lines.join('\n');
}

export function fishCompletion(): string {
  const lines = ['# fish completion of vring: vring completion fish | source', 'complete -c vring -f'];
  for (const { name, sentence } of commands) {
    lines.push(`complete -c vring -n __fish_use_subcommand -a ${name} -d ${quote(sentence)}`);
  }
  for (const command of commands) {
    const heads = [`complete -c vring -n ${quote(`__fish_seen_subcommand_from ${command.name}`)}`];
    if (command.programName && !command.ownOptions) {
      for (const name of [command.programName, ...(command.otherNames ?? [])]) heads.push(`complete -c ${name}`);
    }
    for (const head of heads) {
      if (command.operands) lines.push(`${head} -a ${quote(command.operands.join(' '))}`);
      for (const row of command.options) {
        for (const name of [row.name, ...(row.aliases ?? [])]) {
          // -o: one dash before a long name.
          const kind = name.length === 1 ? '-s' : command.dashes === 'single' ? '-o' : '-l';
          const argument =
            row.argument === undefined || row.argumentOptional
              ? ''
              : ` -r${row.values ? ` -a ${quote(row.values.join(' '))}` : takesFile(row) ? ' -F' : ''}`;
          lines.push(`${head} ${kind} ${name}${argument} -d ${quote(row.sentence)}`);
        }
      }
    }
  }
  return `${lines.join('\n')}\n`;
}
