/** `-M help`, `-cpu help`, `-device NAME,help` and so on: lists instead of a machine. */
import { cpuHelp } from '../../guest/x86/models.js';
import { traceItems } from '../../vmm/index.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import { deviceHelp, devicePropertiesHelp, deviceRows, findDevice } from './devices.js';
import { accelerators, machineTypes, runOptions } from './options.js';

const asksForHelp = (text: string): boolean => text === 'help' || text === '?';

const list = (title: string, rows: readonly { readonly name: string; readonly sentence: string }[]): string =>
  [title, ...rows.map(({ name, sentence }) => `  ${name.padEnd(16)} ${sentence}`)].join('\n');

const topics: Readonly<Record<string, () => string>> = {
  M: () =>
    [
      'Supported machines are:',
      ...machineTypes.map(
        ({ name, sentence, isDefault }) => `${name.padEnd(20)} ${sentence}${isDefault ? ' (default)' : ''}`,
      ),
    ].join('\n'),
  cpu: cpuHelp,
  accel: () => list('Accelerators supported:', accelerators),
  device: deviceHelp,
  d: () => list('Log items (comma separated):', traceItems),
  display: () => 'Available display backend types:\nnone',
  chardev: () => 'Available chardev backend types:\n  file\n  null\n  stdio',
};

/** The list that a command line asks for, or undefined. Throws UsageError for an unknown device. */
export function helpTopic(argv: readonly string[]): string | undefined {
  const end = argv.indexOf('--');
  const words = end < 0 ? argv : argv.slice(0, end);
  for (let i = 0; i + 1 < words.length; i++) {
    const match = /^--?(.+)$/.exec(words[i]);
    const row = match && runOptions.find((each) => each.name === match[1] || each.aliases?.includes(match[1]));
    if (!row || row.argument === undefined) continue;
    const value = words[i + 1];
    if (asksForHelp(value) && topics[row.name]) return topics[row.name]();
    if (row.name === 'device') {
      const parts = value.split(',');
      if (!parts.slice(1).some(asksForHelp)) continue;
      const device = findDevice(parts[0].replace(/^driver=/, ''));
      if (!device)
        throw new UsageError(
          `-device ${value}: there is no device '${parts[0]}', or not yet${didYouMean(
            parts[0],
            deviceRows.map(({ name }) => name),
          )}`,
        );
      return devicePropertiesHelp(device);
    }
    if (!row.argumentOptional) i++;
  }
  return undefined;
}
