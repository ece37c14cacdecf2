/** The human monitor: a small shell over a machine, with the commands of QEMU's. */
import { writeFile } from 'node:fs/promises';
import { openFailure } from '../../host/node/open-failure.js';
import { type InfoTopic, type Machine, type StopReason, VringError } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import { addDevice, addDrive, changeMedium, type HotPlugContext, removeDevice } from './hotplug.js';
import type { MonitoredChardevs } from './live-chardevs.js';
import { blockMonitorCommands, describeJobs, describeStatistics } from './monitor-block.js';
import { chardevMonitorCommands } from './monitor-chardevs.js';
import { descriptorMonitorCommands, MonitorDescriptors } from './monitor-descriptors.js';
import { describeDisks } from './monitor-disks.js';
import { evaluate } from './monitor-expression.js';
import { readMemoryBytes } from './monitor-memory.js';
import { describeFlows, describeNetworks, networkCommands } from './monitor-network.js';
import { describePciFunctions } from './monitor-pci.js';
import { ringMonitorCommands } from './monitor-ring.js';
import { runMonitorCommands } from './monitor-run.js';
import { describeMice, screenCommands, setPassword } from './monitor-screen.js';
import type { RunActions } from './plan-actions.js';
import type { RunObjects } from './run-objects.js';
import { describeVnc } from './vnc-of-machine.js';

/** What every monitor knows of the machine that it is of. */
export interface MonitoredRun extends HotPlugContext {
  readonly version: string;
  readonly name: string | undefined;
  /** -M none: there is no processor. */
  readonly isEmpty: boolean;
  /** What asks for a command. */
  readonly prompt: string;
  readonly uuid: string | undefined;
  readonly ramBytes: number;
  /** What its RAM is called where no object has made it. */
  readonly ramId: string;
  readonly chardevs: MonitoredChardevs;
  readonly actions: RunActions;
  quit(): void;
}

export interface MonitorHost extends MonitoredRun {
  write(text: string): void;
}

/** What its commands are given. */
export interface CommandHost extends MonitorHost {
  readonly descriptors: MonitorDescriptors;
}

export const emptyMachine = 'The machine none has no processor that could run';

export interface MonitorCommand {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly argument?: string;
  readonly sentence: string;
  run(host: CommandHost, argument: string): Promise<string>;
}

/** A topic of `info`. */
interface InfoRow {
  readonly name: string;
  readonly sentence: string;
  show(host: MonitorHost, words: string): Promise<string>;
  /** `show` takes words that say what is wanted. */
  readonly takesWords?: boolean;
  /** What `-a` shows. */
  readonly showAll?: (host: MonitorHost) => Promise<string>;
}

const stateWords = { ready: 'paused (prelaunch)', running: 'running', paused: 'paused', ended: 'shutdown' } as const;
const stopWords: Readonly<Record<StopReason, string>> = {
  poweroff: 'paused (shutdown)',
  reset: 'paused (shutdown)',
  debug: 'paused (debug)',
  'io-error': 'paused (io-error)',
  panic: 'paused (guest-panicked)',
  watchdog: 'paused (watchdog)',
};

/** What the machine's own thread shows. */
const machineRow = (name: InfoTopic, sentence: string): InfoRow => ({
  name,
  sentence,
  show: ({ machine }) => machine.info(name),
});

const infoRows: readonly InfoRow[] = [
  {
    name: 'block',
    sentence: 'disks and their images, or one of them; -n: block nodes; -v: more of their images',
    show: describeDisks,
    takesWords: true,
  },
  { name: 'block-jobs', sentence: 'what is done with their images', show: describeJobs },
  {
    name: 'chardev',
    sentence: 'character devices',
    show: async ({ chardevs }) => chardevs.all.map(({ id, filename }) => `${id}: filename=${filename}`).join('\n'),
  },
  {
    name: 'balloon',
    sentence: 'RAM that the guest has, where it has a balloon',
    show: async ({ machine }) => `balloon: actual=${Math.floor((await machine.balloon()) / 2 ** 20)}`,
  },
  { name: 'blockstats', sentence: 'what disks have been asked for', show: describeStatistics },
  machineRow('cpus', 'where each vCPU is'),
  {
    name: 'iothreads',
    sentence: 'objects of the type iothread',
    show: async ({ objects }) => ioThreads(objects).map(describeIoThread).join('\n'),
  },
  machineRow('jit', 'counters of the translator'),
  {
    name: 'kvm',
    sentence: 'whether KVM runs the guest',
    show: async ({ machine }) => `kvm support: ${machine.accelerator === 'kvm' ? 'enabled' : 'disabled'}`,
  },
  machineRow('mem', 'virtual address ranges and their rights'),
  { name: 'mice', sentence: 'mice and tablets, and which hears of the mouse', show: describeMice },
  { name: 'memory-devices', sentence: 'memory that was plugged in: there is none', show: async () => '' },
  machineRow('mtree', 'what answers at which physical address and port'),
  { name: 'name', sentence: 'name of the machine', show: async ({ name }) => name ?? '' },
  { name: 'network', sentence: 'networks and their cards', show: describeNetworks },
  { name: 'pci', sentence: 'PCI functions', show: describePciFunctions },
  { name: 'numa', sentence: 'nodes of memory: there are none', show: async () => '0 nodes' },
  machineRow('pic', 'interrupt controllers'),
  machineRow('qtree', 'devices by their buses'),
  {
    ...machineRow('registers', 'registers of the vCPU that `cpu` chose; -a: of all'),
    showAll: ({ machine }) => machine.info('registers-all'),
  },
  {
    name: 'status',
    sentence: 'whether the machine runs',
    show: async ({ machine }) =>
      `VM status: ${machine.stopReason ? stopWords[machine.stopReason] : stateWords[machine.state]}`,
  },
  machineRow('tlb', 'virtual to physical mappings'),
  { name: 'usernet', sentence: 'what goes through user networks', show: describeFlows },
  {
    name: 'uuid',
    sentence: 'UUID of the machine',
    show: async ({ uuid = '00000000-0000-0000-0000-000000000000' }) => uuid,
  },
  {
    name: 'memdev',
    sentence: 'what RAM is made of',
    show: async (host) => `${memoryBackends(host).map(describeMemoryBackend).join('\n\n')}\n`,
  },
  {
    name: 'memory_size_summary',
    sentence: 'RAM of the machine',
    show: async ({ ramBytes }) => `base memory: ${ramBytes}\nplugged memory: 0`,
  },
  { name: 'tpm', sentence: 'TPMs: there are none', show: async () => '' },
  machineRow('usb', 'USB devices by their ports'),
  { name: 'vnc', sentence: 'where the screen is served by VNC, and to whom', show: describeVnc },
  { name: 'version', sentence: 'version of vring', show: async ({ version }) => version },
];

/** The properties of `memory` objects that this host knows of are QEMU's defaults. */
export const memoryBackends = ({ objects, ramId, ramBytes }: MonitoredRun) =>
  [...objects.board.memories({ id: ramId, bytes: ramBytes })].map(([id, size]) => ({
    ...{ id, size, merge: true, dump: true, prealloc: false, share: false, reserve: true },
    ...{ policy: 'default', 'host-nodes': [] },
  }));

const describeMemoryBackend = ({ id, size, policy, ...flags }: ReturnType<typeof memoryBackends>[number]) => {
  const { merge, dump, prealloc, share, reserve } = flags;
  const lines = Object.entries({ size, merge, dump, prealloc, share, reserve, policy, 'host nodes': '' });
  return [
    `memory backend: ${id}`,
    ...lines.map(([name, value]) => `  ${`${name}:`.padEnd(name === 'size' ? 6 : 0)} ${value}`),
  ].join('\n');
};

/** Nothing runs in a thread of theirs: the process stands for each. */
export const ioThreads = ({ types }: RunObjects) =>
  [...types]
    .filter(([, type]) => type === 'iothread')
    .map(([id]) => ({
      ...{ id, 'thread-id': process.pid, 'poll-max-ns': 32768, 'poll-grow': 0, 'poll-shrink': 0 },
      'aio-max-batch': 0,
    }));

const describeIoThread = ({ id, 'thread-id': thread, ...numbers }: ReturnType<typeof ioThreads>[number]) =>
  [`${id}:`, ...Object.entries({ thread_id: thread, ...numbers }).map(([name, value]) => `  ${name}=${value}`)].join(
    '\n',
  );

async function info(host: MonitorHost, argument: string): Promise<string> {
  const [topic, ...flags] = argument.split(/\s+/);
  if (topic === '') return infoRows.map(({ name, sentence }) => `info ${name.padEnd(10)} -- ${sentence}`).join('\n');
  const row = infoRows.find(({ name }) => name === topic);
  if (row && (flags.length === 0 || row.takesWords)) return await row.show(host, flags.join(' '));
  if (row?.showAll && flags.join() === '-a') return await row.showAll(host);
  if (row) throw new UsageError(`info ${topic}: '${flags.join(' ')}' means nothing here`);
  throw new UsageError(
    `There is no 'info ${topic}'${didYouMean(
      topic,
      infoRows.map(({ name }) => name),
      'info ',
    )}`,
  );
}

/** `-f` before the words of an argument, and the words; a file's name may have spaces between quotes. */
function splitForce(argument: string): { force: boolean; words: string[] } {
  const words = [...argument.matchAll(/"([^"]*)"|(\S+)/g)].map((match) => match[1] ?? match[2]);
  const force = words[0] === '-f';
  return { force, words: force ? words.slice(1) : words };
}

async function eject(host: MonitorHost, argument: string): Promise<string> {
  const { force, words } = splitForce(argument);
  if (words.length !== 1) throw new UsageError('eject: the id of a drive is needed; info block shows them');
  await changeMedium(host, words[0], undefined, { force });
  return '';
}

async function change(host: MonitorHost, argument: string): Promise<string> {
  const { force, words } = splitForce(argument);
  const [id, path, format, mode] = words;
  if (id === 'vnc' && (path === 'password' || path === 'passwd')) return await setPassword(host.machine, format);
  const modes = ['retain', 'read-only', 'read-write'];
  if (path === undefined || words.length > 4 || (mode !== undefined && !modes.includes(mode)))
    throw new UsageError(
      `change: the id of a drive and a file are needed, then perhaps its format and ${modes.join(', ')}`,
    );
  const readonly = mode === undefined || mode === 'retain' ? {} : { readonly: mode === 'read-only' };
  await changeMedium(host, id, { path, ...(format === undefined ? {} : { format }), ...readonly }, { force });
  return '';
}

const unitBytes: Readonly<Record<string, number>> = { b: 1, h: 2, w: 4, g: 8 };
const mostUnits = 4096;

function formatUnit(value: bigint, bytes: number, format: string): string {
  switch (format) {
    case 'd':
      return String(BigInt.asIntN(bytes * 8, value));
    case 'u':
      return String(value);
    case 'o':
      return `0${value.toString(8)}`;
    case 'c': {
      const byte = Number(value & 255n);
      return byte >= 32 && byte < 127 ? `'${String.fromCharCode(byte)}'` : `'\\x${byte.toString(16).padStart(2, '0')}'`;
    }
    default:
      return `0x${value.toString(16).padStart(bytes * 2, '0')}`;
  }
}

/** `x/COUNT FORMAT SIZE address`, of virtual or physical memory. */
async function examine({ machine }: MonitorHost, argument: string, physical: boolean): Promise<string> {
  const match = /^(?:\/(\d*)([a-z]*)\s+)?(.*)$/i.exec(argument.trim());
  const letters = match?.[2] ?? '';
  const unknown = [...letters].find((letter) => !'xduocibhwg'.includes(letter));
  if (unknown !== undefined)
    throw new UsageError(`There is no format '${unknown}'; there are x d u o c i, and the sizes b h w g`);
  if (letters.includes('i')) {
    if (physical) throw new UsageError('Instructions are shown of virtual memory: x');
    const from = await evaluate(machine, match?.[3] ?? '');
    const lines = await machine.disassemble(from, Math.min(Number(match?.[1] || 1), mostUnits));
    if (lines.length === 0) throw new UsageError(`Cannot access memory at 0x${from.toString(16)}`);
    return lines.join('\n');
  }
  const format = [...letters].find((letter) => 'xduoc'.includes(letter)) ?? 'x';
  const size = unitBytes[[...letters].find((letter) => 'bhwg'.includes(letter)) ?? (format === 'c' ? 'b' : 'w')];
  const count = Math.min(Number(match?.[1] || 1), mostUnits);
  let at = await evaluate(machine, match?.[3] ?? '');
  const perLine = size === 8 ? 2 : size === 4 ? 4 : 8;
  const lines: string[] = [];
  for (let done = 0; done < count; ) {
    const units: string[] = [];
    const start = at;
    for (; units.length < perLine && done < count; done++) {
      let value = 0n;
      // Byte by byte: a unit may lie across two pages.
      const bytes = await readMemoryBytes(machine, at, size, physical);
      for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]);
      units.push(formatUnit(value, size, format));
      at = BigInt.asUintN(64, at + BigInt(size));
    }
    lines.push(`${start.toString(16).padStart(16, '0')}: ${units.join(' ')}`);
  }
  return lines.join('\n');
}

/** `/COUNT FORMAT SIZE` before an argument, and the rest. */
function splitFormat(argument: string, known: string): { letters: string; rest: string } {
  const match = /^(?:\/\d*([a-z]*)\s+)?(.*)$/i.exec(argument.trim());
  const letters = match?.[1] ?? '';
  const unknown = [...letters].find((letter) => !known.includes(letter));
  if (unknown !== undefined) throw new UsageError(`There is no format '${unknown}'; there are ${[...known].join(' ')}`);
  return { letters, rest: match?.[2] ?? '' };
}

async function printValue({ machine }: MonitorHost, argument: string): Promise<string> {
  const { letters, rest } = splitFormat(argument, 'xduoc');
  const value = await evaluate(machine, rest);
  return letters === '' || letters === 'x' ? `0x${value.toString(16)}` : formatUnit(value, 8, letters);
}

const mostSummed = 2 ** 32;
const summedAtOnce = 1 << 20;

/** The first two words of an argument, as values, and what comes behind them. */
async function rangeOf(machine: Machine, argument: string): Promise<{ at: bigint; size: number; rest: string }> {
  const match = /^(\S+)\s+(\S+)\s*(.*)$/.exec(argument.trim());
  if (!match) throw new UsageError('An address and a size are needed, each without spaces');
  const size = await evaluate(machine, match[2]);
  if (size > BigInt(mostSummed)) throw new UsageError(`The size is at most ${mostSummed} bytes`);
  return { at: await evaluate(machine, match[1]), size: Number(size), rest: match[3] };
}

async function sum({ machine }: MonitorHost, argument: string): Promise<string> {
  const { at, size } = await rangeOf(machine, argument);
  let value = 0;
  for (let done = 0; done < size; done += summedAtOnce) {
    const bytes = await machine.readMemory(Number(at) + done, Math.min(summedAtOnce, size - done));
    for (const byte of bytes) value = (((value >> 1) | ((value & 1) << 15)) + byte) & 0xffff;
  }
  return String(value).padStart(5, '0');
}

async function saveMemory({ machine }: MonitorHost, argument: string, physical: boolean): Promise<string> {
  const { at, size, rest } = await rangeOf(machine, argument);
  const path = rest.trim().replace(/^"(.*)"$/, '$1');
  if (path === '') throw new UsageError('The file is missing');
  const bytes = await readMemoryBytes(machine, at, size, physical);
  try {
    await writeFile(path, bytes);
  } catch (error) {
    throw new UsageError(`'${path}' cannot be written: ${openFailure(error)}`);
  }
  return '';
}

const portSizes: Readonly<Record<string, 1 | 2 | 4>> = { b: 1, h: 2, w: 4 };

async function readPort({ machine }: MonitorHost, argument: string): Promise<string> {
  const { letters, rest } = splitFormat(argument, 'xbhw');
  const size = portSizes[[...letters].find((letter) => letter in portSizes) ?? 'b'];
  const port = Number((await evaluate(machine, rest)) & 0xffffn);
  const value = await machine.readPort(port, size);
  const suffix = size === 1 ? 'b' : size === 2 ? 'w' : 'l';
  return `port${suffix}[0x${port.toString(16).padStart(4, '0')}] = 0x${value.toString(16).padStart(size * 2, '0')}`;
}

async function writePort({ machine }: MonitorHost, argument: string): Promise<string> {
  const { letters, rest } = splitFormat(argument, 'bhw');
  const match = /^(\S+)\s+(\S+)$/.exec(rest);
  if (!match) throw new UsageError('A port and a value are needed, each without spaces');
  const size = portSizes[letters] ?? 1;
  const port = Number((await evaluate(machine, match[1])) & 0xffffn);
  await machine.writePort(port, size, Number((await evaluate(machine, match[2])) & 0xffff_ffffn));
  return '';
}

export const monitorCommands: readonly MonitorCommand[] = [
  {
    name: 'help',
    aliases: ['?'],
    argument: '[COMMAND]',
    sentence: 'shows this',
    run: async (_host, argument) => {
      const rows = argument === '' ? monitorCommands : monitorCommands.filter((row) => matches(row, argument));
      return rows
        .map((row) => `${[row.name, ...(row.aliases ?? [])].join('|')} ${row.argument ?? ''} -- ${row.sentence}`)
        .join('\n');
    },
  },
  { name: 'info', argument: '[TOPIC]', sentence: 'shows something of the machine; alone, the topics', run: info },
  {
    name: 'x',
    argument: '/FMT ADDRESS',
    sentence: 'shows virtual memory: /4xw for four words in hexadecimal; registers as $rip',
    run: (host, argument) => examine(host, argument, false),
  },
  {
    name: 'xp',
    argument: '/FMT ADDRESS',
    sentence: 'shows physical memory',
    run: (host, argument) => examine(host, argument, true),
  },
  {
    name: 'print',
    aliases: ['p'],
    argument: '/FMT EXPRESSION',
    sentence: 'shows a value: numbers, registers as $rip, + - * / % & | ^ ~ ( )',
    run: printValue,
  },
  {
    name: 'sum',
    argument: 'ADDRESS SIZE',
    sentence: 'the checksum of physical memory (BSD, 16 bits)',
    run: sum,
  },
  {
    name: 'gva2gpa',
    argument: 'ADDRESS',
    sentence: 'the physical address of a virtual one',
    run: async ({ machine }, argument) => {
      const gpa = await machine.translateAddress(await evaluate(machine, argument));
      return gpa === undefined ? 'Unmapped' : `gpa: 0x${gpa.toString(16)}`;
    },
  },
  {
    name: 'memsave',
    argument: 'ADDRESS SIZE FILE',
    sentence: 'saves virtual memory to a file',
    run: (host, argument) => saveMemory(host, argument, false),
  },
  {
    name: 'pmemsave',
    argument: 'ADDRESS SIZE FILE',
    sentence: 'saves physical memory to a file',
    run: (host, argument) => saveMemory(host, argument, true),
  },
  {
    name: 'i',
    argument: '/FMT PORT',
    sentence: 'reads an I/O port: i/b 0x64',
    run: readPort,
  },
  {
    name: 'o',
    argument: '/FMT PORT VALUE',
    sentence: 'writes an I/O port: o/b 0x80 1',
    run: writePort,
  },
  ...screenCommands,
  ...networkCommands,
  ...descriptorMonitorCommands,
  ...ringMonitorCommands,
  ...chardevMonitorCommands,
  {
    name: 'balloon',
    argument: 'MEGS',
    sentence: 'asks the guest to live with so much RAM, where it has a balloon',
    run: async ({ machine }, argument) => {
      if (!/^\d{1,8}$/.test(argument) || Number(argument) === 0) throw new UsageError('balloon: MEGS is needed');
      await machine.balloon(Number(argument) * 2 ** 20);
      return '';
    },
  },
  ...blockMonitorCommands,
  ...runMonitorCommands,
  {
    name: 'eject',
    argument: '[-f] DRIVE',
    sentence: 'takes out what is in a drive; -f: though the guest holds it',
    run: eject,
  },
  {
    name: 'device_add',
    argument: 'DRIVER[,PROPERTY=VALUE…]',
    sentence: 'plugs a device in: device_add scsi-hd,drive=ID,id=NAME',
    run: async (monitor, text) => {
      await addDevice(monitor, KeyValues.parse('device_add', text, 'driver'));
      return '';
    },
  },
  {
    name: 'device_del',
    argument: 'NAME',
    sentence: 'unplugs a device',
    run: async ({ machine }, text) => {
      await removeDevice(machine, text.trim());
      return '';
    },
  },
  {
    name: 'drive_add',
    argument: '0 if=none,id=ID,file=FILE,…',
    sentence: 'a drive for a device that is plugged in later',
    run: async (monitor, text) => {
      try {
        await addDrive(monitor, text.replace(/^\s*(?:-n\s+)?\S+\s+/, ''));
      } catch (error) {
        // QEMU tells it without the word Error before it.
        if (error instanceof VringError) return error.message;
        throw error;
      }
      return 'OK';
    },
  },
  {
    name: 'change',
    argument: '[-f] DRIVE FILE [FORMAT]',
    sentence: 'puts another medium into a drive',
    run: change,
  },
  {
    name: 'stop',
    aliases: ['s'],
    sentence: 'stops the machine',
    run: async ({ machine }) => {
      await machine.pause();
      return '';
    },
  },
  {
    name: 'cont',
    aliases: ['c'],
    sentence: 'lets the machine go on',
    run: async ({ machine, isEmpty }) => {
      if (isEmpty) throw new UsageError(emptyMachine);
      await machine.resume();
      return '';
    },
  },
  {
    name: 'system_reset',
    sentence: 'presses the reset button',
    run: async ({ machine }) => {
      await machine.reset();
      return '';
    },
  },
  {
    name: 'system_powerdown',
    sentence: 'presses the power button',
    run: async ({ machine }) => {
      await machine.pressPowerButton();
      return '';
    },
  },
  {
    name: 'accel',
    argument: 'NAME',
    sentence: 'lets another accelerator run the guest: kvm or tcg',
    run: async ({ machine }, argument) => {
      if (argument === '') throw new UsageError('accel: a name is needed, kvm or tcg');
      if (argument !== 'kvm' && argument !== 'tcg')
        throw new UsageError(`accel: there is no accelerator '${argument}'${didYouMean(argument, ['kvm', 'tcg'])}`);
      await machine.setAccelerator(argument);
      return '';
    },
  },
  {
    name: 'cpu',
    argument: 'N',
    sentence: 'chooses the vCPU that addresses and registers are of; at first it is 0',
    run: async ({ machine }, argument) => {
      if (!/^\d{1,3}$/.test(argument)) throw new UsageError('cpu: the number of a vCPU is needed');
      await machine.selectCpu(Number(argument));
      return '';
    },
  },
  {
    name: 'nmi',
    sentence: 'injects a non-maskable interrupt',
    run: async ({ machine }) => {
      await machine.injectNmi();
      return '';
    },
  },
  {
    name: 'quit',
    aliases: ['q'],
    sentence: 'ends the machine and the program',
    run: async (host) => {
      host.quit();
      return '';
    },
  },
];

function matches(row: MonitorCommand, word: string): boolean {
  return row.name === word || (row.aliases?.includes(word) ?? false);
}

const historyLimit = 100;

/** Line editing and the commands behind it. Bytes come from a terminal in raw mode, or from a pipe. */
export class Monitor {
  /** Of its client. */
  readonly descriptors = new MonitorDescriptors();
  readonly #host: CommandHost;
  readonly #history: string[] = [];
  #line = '';
  #at = -1;
  #escape = '';
  #shown = false;
  #lastWasReturn = false;
  #busy: Promise<void> = Promise.resolve();

  constructor(host: MonitorHost) {
    this.#host = { ...host, descriptors: this.descriptors };
  }

  /** The monitor gets the keyboard. */
  focus(): void {
    if (!this.#shown) this.#host.write(`${this.#host.version} monitor - type 'help' for more information\r\n`);
    this.#shown = true;
    this.#host.write(`${this.#host.prompt}${this.#line}`);
  }

  /** Somebody else has come: nothing is left of what the one before typed. */
  restart(): void {
    this.#line = '';
    this.#escape = '';
    this.#at = -1;
    this.#shown = false;
    this.focus();
  }

  input(bytes: Uint8Array): void {
    for (const character of Buffer.from(bytes).toString('latin1')) this.#key(character);
  }

  /** Resolves when every line that was entered has been answered. */
  settled(): Promise<void> {
    return this.#busy;
  }

  #key(key: string): void {
    if (this.#escape !== '' || key === '\x1b') {
      this.#escape += key;
      if (/^\x1b\[[0-9;]*[A-Za-z~]$/.test(this.#escape)) {
        const move = this.#escape.endsWith('A') ? 1 : this.#escape.endsWith('B') ? -1 : 0;
        this.#escape = '';
        if (move !== 0) this.#recall(move);
      } else if (this.#escape.length > 8 || /^\x1b[^[]/.test(this.#escape)) this.#escape = '';
      return;
    }
    const afterReturn = this.#lastWasReturn;
    this.#lastWasReturn = key === '\r';
    switch (key) {
      case '\n':
        if (!afterReturn) this.#enter();
        return;
      case '\r':
        this.#enter();
        return;
      case '\x7f':
      case '\b':
        if (this.#line !== '') {
          this.#line = this.#line.slice(0, -1);
          this.#host.write('\b \b');
        }
        return;
      case '\x15':
        this.#replace('');
        return;
      case '\x10':
        this.#recall(1);
        return;
      case '\x0e':
        this.#recall(-1);
        return;
      case '\t':
        this.#complete();
        return;
      default:
        if (key >= ' ' && this.#line.length < 1024) {
          this.#line += key;
          this.#host.write(key);
        }
    }
  }

  #replace(line: string): void {
    this.#host.write(`${'\b \b'.repeat(this.#line.length)}${line}`);
    this.#line = line;
  }

  #recall(step: number): void {
    const at = Math.max(-1, Math.min(this.#at + step, this.#history.length - 1));
    this.#at = at;
    this.#replace(at < 0 ? '' : this.#history[at]);
  }

  #complete(): void {
    const inInfo = /^info\s+(\w*)$/.exec(this.#line);
    const words = inInfo ? infoRows.map(({ name }) => name) : monitorCommands.map(({ name }) => name);
    const prefix = inInfo ? inInfo[1] : this.#line;
    const fitting = words.filter((word) => word.startsWith(prefix));
    if (fitting.length === 1) {
      const rest = `${fitting[0].slice(prefix.length)}${inInfo ? '' : ' '}`;
      this.#line += rest;
      this.#host.write(rest);
    } else if (fitting.length > 1) this.#host.write(`\r\n${fitting.join(' ')}\r\n${this.#host.prompt}${this.#line}`);
  }

  #enter(): void {
    const line = this.#line.trim();
    this.#line = '';
    this.#at = -1;
    this.#host.write('\r\n');
    if (line !== '') {
      this.#history.unshift(line);
      this.#history.length = Math.min(this.#history.length, historyLimit);
    }
    this.#busy = this.#busy.then(async () => {
      const text = line === '' ? '' : await this.execute(line);
      if (text !== '') this.#host.write(`${text.replaceAll('\n', '\r\n')}\r\n`);
      this.#host.write(this.#host.prompt);
    });
  }

  /** Runs one command without a keyboard; what it says, with \n between lines. */
  async execute(line: string): Promise<string> {
    // `x/4x` is the command x with its format.
    const [, word, argument] = (/^\s*([^\s/]+)\s*(.*?)\s*$/.exec(line) ?? ['', 'help', '']) as [string, string, string];
    const row = monitorCommands.find((each) => matches(each, word));
    if (!row) {
      const names = monitorCommands.flatMap((each) => [each.name, ...(each.aliases ?? [])]);
      return `unknown command: '${word}'${didYouMean(word, names)}`;
    }
    try {
      return await row.run(this.#host, argument);
    } catch (error) {
      if (error instanceof VringError) return `Error: ${error.message}`;
      throw error;
    }
  }
}
