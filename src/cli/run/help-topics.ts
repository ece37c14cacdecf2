/** `-M help`, `-cpu help`, `-device NAME,help` and so on: lists instead of a machine. */
import { type Architecture, DEFAULT_ARCHITECTURE, findArchitecture } from '../../vmm/architectures.js';
import { traceItems } from '../../vmm/index.js';
import { chardevKinds } from './chardevs.js';
import { deviceHelp, devicePropertiesHelp, findDevice, noDevice } from './devices.js';
import { objectTypes } from './drives.js';
import { nicModelHelp } from './networks.js';
import { acceleratorProperties, accelerators, machineProperties, runOptions } from './options.js';

const asksForHelp = (text: string): boolean => text === 'help' || text === '?';

const list = (title: string, rows: readonly { readonly name: string; readonly sentence: string }[]): string =>
  [title, ...rows.map(({ name, sentence }) => `  ${name.padEnd(16)} ${sentence}`)].join('\n');

const topics: Readonly<Record<string, (architecture: Architecture) => string>> = {
  M: ({ machines }) =>
    [
      'Supported machines are:',
      ...machines.map(({ name, sentence }, i) => `${name.padEnd(20)} ${sentence}${i === 0 ? ' (default)' : ''}`),
      ...(machines[0].name === 'pc' ? [`${'none'.padEnd(20)} empty machine, for programs that ask what there is`] : []),
    ].join('\n'),
  cpu: ({ cpuHelp }) => cpuHelp(),
  accel: () => list('Accelerators supported:', accelerators),
  device: deviceHelp,
  d: () => list('Log items (comma separated):', traceItems),
  display: () => 'Available display backend types:\nnone\ntext\nvnc',
  object: () => ['List of user creatable objects:', ...objectTypes.map((name) => `  ${name}`)].join('\n'),
  chardev: () => ['Available chardev backend types:', ...chardevKinds.map((kind) => `  ${kind}`)].join('\n'),
};

/** `-M pc,help`: the properties of what is named first. */
const propertyTopics: Readonly<Record<string, () => string>> = {
  M: () => list('pc options:', machineProperties),
  accel: () => list('tcg options:', acceleratorProperties),
};

/** The list that a command line asks for, or undefined. Throws UsageError for an unknown device, VringError for an architecture. */
export function helpTopic(argv: readonly string[], fallback = DEFAULT_ARCHITECTURE): string | undefined {
  const end = argv.indexOf('--');
  const words = end < 0 ? argv : argv.slice(0, end);
  const place = words.findLastIndex((word) => /^--?arch$/.test(word));
  const architecture = place < 0 ? fallback : findArchitecture(words[place + 1] ?? '');
  for (let i = 0; i + 1 < words.length; i++) {
    const match = /^--?(.+)$/.exec(words[i]);
    const row = match && runOptions.find((each) => each.name === match[1] || each.aliases?.includes(match[1]));
    if (!row || row.argument === undefined) continue;
    const value = words[i + 1];
    if (asksForHelp(value) && topics[row.name]) return topics[row.name](architecture);
    const parts = value.split(',');
    if ((row.name === 'nic' || row.name === 'net') && parts.some((part) => /^model=(help|\?)$/.test(part)))
      return nicModelHelp();
    const asksForProperties = parts.slice(1).some(asksForHelp);
    if (asksForProperties && /^(type=|accel=)?(pc|tcg)$/.test(parts[0]) && propertyTopics[row.name])
      return propertyTopics[row.name]();
    if (row.name === 'device') {
      if (!asksForProperties) continue;
      const name = parts[0].replace(/^driver=/, '');
      const found = findDevice(name);
      if (!found) throw noDevice(`-device ${value}`, name);
      return devicePropertiesHelp(found.row);
    }
    if (!row.argumentOptional) i++;
  }
  return undefined;
}
