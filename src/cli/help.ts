/** Help texts, from the rows. */
import { type CommandRow, type OptionRow, spelled } from './options/option-row.js';

const width = 79;
const indent = 24;

/** Breaks a text at spaces. */
export function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines;
}

export function optionSynopsis(row: OptionRow, command: CommandRow): string {
  const names = [row.name, ...(row.aliases ?? [])].map((name) => spelled(row, command, name)).join(', ');
  return row.argument === undefined ? names : `${names} ${row.argument}`;
}

export function optionSentence(row: OptionRow): string {
  return `${row.sentence}${row.default === undefined ? '' : ` Default: ${row.default}.`}`;
}

export function commandHelp(command: CommandRow): string {
  const lines = [
    `Usage: vring ${command.name} ${command.synopsis}`.trimEnd(),
    '',
    `vring ${command.name} ${command.sentence}.`,
  ];
  const groups = [...new Set(command.options.map(({ group }) => group))];
  for (const group of groups) {
    lines.push('', `${group}:`);
    for (const row of command.options.filter((each) => each.group === group)) {
      const synopsis = `  ${optionSynopsis(row, command)}`;
      const text = wrap(optionSentence(row), width - indent);
      if (synopsis.length < indent - 1) lines.push(synopsis.padEnd(indent) + text.shift());
      else lines.push(synopsis);
      for (const line of text) lines.push(' '.repeat(indent) + line);
    }
  }
  if (command.examples) lines.push('', 'Examples:', ...command.examples.map((example) => `  ${example}`));
  return `${lines.join('\n')}\n`;
}
