/**
 * `-readconfig FILE`: options as groups of a file, in QEMU's form.
 *
 *     [device "disk0"]
 *       driver = "virtio-blk-pci"
 *       drive = "d0"
 *
 * A group becomes the option that it stands for, where the file is named on the command line. A line is a group's head, a key with its
 * value in quotes (which cannot hold one), empty, or begins with `#`. What is malformed QEMU takes for an empty value; here it is refused.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { openFailure } from '../../host/node/open-failure.js';
import type { OptionRow } from '../options/option-row.js';
import type { GivenOption } from '../options/parse.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import { runOptions } from './options.js';

interface GroupRow {
  readonly group: string;
  /** The option that it stands for. */
  readonly option: string;
  /** Key of the option's first word, which is there without its name. */
  readonly implied?: string;
  /** It may have a name in its head. */
  readonly named?: boolean;
}

const groupRows: readonly GroupRow[] = [
  { group: 'machine', option: 'M', implied: 'type' },
  { group: 'memory', option: 'm', implied: 'size' },
  { group: 'smp-opts', option: 'smp', implied: 'cpus' },
  { group: 'boot-opts', option: 'boot' },
  { group: 'accel', option: 'accel', implied: 'accel' },
  { group: 'name', option: 'name' },
  { group: 'rtc', option: 'rtc' },
  { group: 'icount', option: 'icount' },
  { group: 'global', option: 'global' },
  { group: 'device', option: 'device', implied: 'driver', named: true },
  { group: 'drive', option: 'drive', named: true },
  { group: 'object', option: 'object', implied: 'qom-type', named: true },
  { group: 'netdev', option: 'netdev', implied: 'type', named: true },
  { group: 'nic', option: 'nic', implied: 'type', named: true },
  { group: 'net', option: 'net', implied: 'type', named: true },
  { group: 'chardev', option: 'chardev', implied: 'backend', named: true },
  { group: 'mon', option: 'mon', implied: 'chardev', named: true },
  { group: 'vnc', option: 'vnc', implied: 'vnc', named: true },
  { group: 'fsdev', option: 'fsdev', implied: 'fsdriver', named: true },
  { group: 'virtfs', option: 'virtfs', implied: 'fsdriver', named: true },
  { group: 'audiodev', option: 'audiodev', implied: 'driver', named: true },
  { group: 'fw_cfg', option: 'fw_cfg', implied: 'name' },
  { group: 'action', option: 'action' },
  { group: 'msg', option: 'msg' },
  { group: 'overcommit', option: 'overcommit' },
  { group: 'semihosting-config', option: 'semihosting-config', implied: 'enable' },
];
/** Those that QEMU has and vring has not. */
const unsupportedGroups = [
  ...['acpi', 'add-fd', 'compat', 'iscsi', 'numa', 'option-rom', 'plugin', 'sandbox', 'smbios', 'spice', 'tpmdev'],
  ...['trace', 'virtfs_synth'],
];

const mostBytes = 1 << 20;

interface Group {
  readonly name: string;
  readonly id: string | undefined;
  /** Of its head, from 1 on. */
  readonly line: number;
  readonly values: [key: string, value: string][];
}

/** Options in their order, those of files in the place of `-readconfig`. Throws UsageError. */
export function withConfigFiles(given: readonly GivenOption[]): GivenOption[] {
  return given.flatMap((option) => (option.row.name === 'readconfig' ? configFile(option.value ?? '') : [option]));
}

function configFile(path: string): GivenOption[] {
  return parseGroups(path, readConfig(path)).flatMap((group) => optionOf(path, group) ?? []);
}

/** Throws UsageError. */
function readConfig(path: string): string {
  const bytes = new Uint8Array(mostBytes + 1);
  let length = 0;
  let file: number | undefined;
  try {
    file = openSync(path, 'r');
    for (let count = -1; count !== 0 && length < bytes.length; length += count)
      count = readSync(file, bytes, length, bytes.length - length, null);
  } catch (error) {
    const reason = openFailure(error);
    if (file === undefined) throw new UsageError(`-readconfig ${path}: Could not open '${path}': ${reason}`);
    throw new UsageError(`-readconfig ${path}: Cannot read config file: ${reason}`);
  } finally {
    if (file !== undefined) closeSync(file);
  }
  if (length > mostBytes) throw new UsageError(`-readconfig ${path}: the file has more than ${mostBytes} bytes`);
  return new TextDecoder().decode(bytes.subarray(0, length));
}

/** Throws UsageError. */
function parseGroups(path: string, text: string): Group[] {
  const groups: Group[] = [];
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    if (/^\s*(#|$)/.test(line)) continue;
    const fail = (reason: string) => new UsageError(`${path}:${i + 1}: ${reason}`);
    const head = /^\s*\[\s*([^\s"\]]+)(?:\s+"([^"]*)")?\s*\]\s*(?:#.*)?$/.exec(line);
    if (head) {
      const [, name, id] = head;
      if (id !== undefined && !/^[a-z][\w.-]*$/i.test(id)) throw fail("Parameter 'id' expects an identifier");
      groups.push({ name: name!, id, line: i + 1, values: [] });
      continue;
    }
    const member = /^\s*([^\s="[\]]+)\s*=\s*"([^"]*)"\s*(?:#.*)?$/.exec(line);
    if (!member) throw fail('parse error: this is neither [group "id"] nor key = "value"');
    const [, key, value] = member;
    const group = groups.at(-1);
    if (!group) throw fail('no group defined');
    if (key === 'id' && group.id !== undefined) throw fail(`the id is '${group.id}' already`);
    group.values.push([key!, value!]);
  }
  return groups;
}

/** Undefined: an empty group says nothing. Throws UsageError. */
function optionOf(path: string, { name, id, line, values }: Group): GivenOption | undefined {
  const place = `${path}:${line}`;
  const row = groupRows.find(({ group }) => group === name);
  if (!row) {
    if (unsupportedGroups.includes(name)) throw new UsageError(`${place}: [${name}] is not supported yet`);
    const names = groupRows.map(({ group }) => group);
    throw new UsageError(`${place}: There is no option group '${name}'${didYouMean(name, names)}`);
  }
  if (id !== undefined && !row.named) throw new UsageError(`${place}: Invalid parameter 'id'`);
  const members: [string, string][] = id === undefined ? values : [['id', id], ...values];
  // A value that could be taken for a key keeps its own.
  const first = members.findLast(([key, value]) => key === row.implied && /^[^=]+$/.test(value));
  const rest = members.filter((each) => each !== first).map(([key, value]) => `${key}=${doubled(value)}`);
  const words = first ? [doubled(first[1]), ...rest] : rest;
  if (words.length === 0 && !row.named) return undefined;
  return { row: rowOf(row.option), value: words.join(','), place };
}

const doubled = (value: string): string => value.replaceAll(',', ',,');

function rowOf(name: string): OptionRow {
  return runOptions.find((row) => row.name === name) as OptionRow;
}

/** Does what the options ask for; a mistake that begins with an option of a file is told with its place there. */
export function tellingPlaces<T>(given: readonly GivenOption[], work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const { message } = error;
    const found = given.findLast(
      ({ row, value, place }) => place !== undefined && message.startsWith(`-${row.name} ${value}: `),
    );
    if (!found) throw error;
    throw new UsageError(`${found.place}: ${message.slice(`-${found.row.name} ${found.value}: `.length)}`);
  }
}
