/** The commands of `vring`: one row each; help, completion and man page come from them. */
import type { CommandRow, OptionRow } from './options/option-row.js';
import type { ProcessIo } from './process-io.js';
import { runCommand } from './run/options.js';

export interface Command extends CommandRow {
  /** Loads the command's code, which nothing else waits for. */
  load(): Promise<(argv: readonly string[], io: ProcessIo) => Promise<number>>;
  /** Names by which the program itself may be called, as `vring link` makes them. */
  readonly programName?: string;
  readonly otherNames?: readonly string[];
  /** The command reads its own options: what it takes is told by its own help. */
  readonly ownOptions?: boolean;
}

const help: OptionRow = { name: 'help', aliases: ['h'], sentence: 'Shows this help.', group: 'Options' };

export const cacheActions = ['list', 'prune'] as const;
export const shells = ['bash', 'zsh', 'fish'] as const;

export const tourCommand: CommandRow = {
  name: 'tour',
  synopsis: '[OPTIONS]',
  sentence: 'shows on a running machine what each layer does: rings, VM exits, devices, memory, a disk request',
  options: [
    {
      name: 'without',
      argument: 'NAME',
      values: ['kvm', 'translation-cache', 'tlb', 'virtio', 'irqchip'],
      sentence: 'Runs the same work with a part and without it, and shows the difference.',
      group: 'Options',
    },
    help,
  ],
  dashes: 'double',
};

/** How the disk tools speak: by QEMU's names when they were called by them. */
function disksTool(io: ProcessIo, name: string) {
  return {
    toolName: io.toolName === 'vring' ? `vring ${name}` : io.toolName,
    tool: { out: (text: string) => void io.stdout.write(text), err: (text: string) => void io.stderr.write(text) },
  };
}

export const commands: readonly Command[] = [
  {
    ...runCommand,
    programName: 'qemu-system-x86_64',
    otherNames: ['qemu-system-i386', 'qemu-system-riscv64'],
    load: async () => (await import('./run/index.js')).run,
  },
  {
    name: 'img',
    synopsis: 'COMMAND [OPTIONS]',
    sentence: 'makes, converts, checks and changes disk images, as qemu-img does',
    options: [],
    dashes: 'double',
    ownOptions: true,
    operands: [
      'amend',
      'bench',
      'bitmap',
      'check',
      'commit',
      'compare',
      'convert',
      'create',
      'dd',
      'info',
      'map',
      'measure',
      'rebase',
      'resize',
      'snapshot',
    ],
    programName: 'qemu-img',
    load: async () => {
      const { runImg } = await import('./img/index.js');
      return (argv, io) => {
        const { tool, toolName } = disksTool(io, 'img');
        return runImg(argv, tool, toolName);
      };
    },
  },
  {
    name: 'io',
    synopsis: '[OPTIONS] [-c COMMAND]… [FILE]',
    sentence: 'reads and writes a disk image by commands, as qemu-io does',
    options: [],
    dashes: 'double',
    ownOptions: true,
    programName: 'qemu-io',
    load: async () => {
      const { runIo } = await import('./io/index.js');
      const { createInterface } = await import('node:readline');
      return (argv, io) => {
        const { tool, toolName } = disksTool(io, 'io');
        // Made when it is read from, so that a command that reads nothing ends.
        const input = { [Symbol.asyncIterator]: () => createInterface({ input: io.stdin })[Symbol.asyncIterator]() };
        return runIo(argv, { ...tool, input }, toolName);
      };
    },
  },
  {
    name: 'nbd',
    synopsis: '[OPTIONS] FILE',
    sentence: 'serves a disk image to NBD clients, as qemu-nbd does',
    options: [],
    dashes: 'double',
    ownOptions: true,
    programName: 'qemu-nbd',
    load: async () => {
      const { runNbd } = await import('./nbd/index.js');
      return (argv, io) => {
        const { tool, toolName } = disksTool(io, 'nbd');
        return runNbd(argv, tool, toolName);
      };
    },
  },
  { ...tourCommand, load: async () => (await import('./tour/index.js')).tour },
  {
    name: 'doctor',
    synopsis: '[OPTIONS]',
    sentence: 'shows what this host offers for running guests',
    options: [{ name: 'json', sentence: 'As JSON.', group: 'Options' }, help],
    dashes: 'double',
    load: async () => (await import('./doctor.js')).doctor,
  },
  {
    name: 'cache',
    synopsis: 'list|prune [OPTIONS]',
    sentence: 'shows or clears what has been fetched',
    operands: cacheActions,
    options: [
      { name: 'all', sentence: 'With prune: removes everything.', group: 'Options' },
      {
        name: 'days',
        argument: 'N',
        default: '30',
        sentence: 'With prune: removes systems that were not used for N days.',
        group: 'Options',
      },
      { name: 'json', sentence: 'With list: as JSON.', group: 'Options' },
      help,
    ],
    dashes: 'double',
    load: async () => (await import('./cache.js')).cache,
  },
  {
    name: 'link',
    synopsis: 'DIR',
    sentence: "makes links in DIR by which QEMU's names run vring",
    options: [
      { name: 'force', aliases: ['f'], sentence: 'Replaces links that are there already.', group: 'Options' },
      help,
    ],
    dashes: 'double',
    load: async () => (await import('./link.js')).link,
  },
  {
    name: 'completion',
    synopsis: 'bash|zsh|fish',
    sentence: "prints a script that completes vring's commands and options",
    operands: shells,
    options: [help],
    dashes: 'double',
    load: async () => (await import('./completion.js')).completion,
  },
  {
    name: 'man',
    synopsis: '',
    sentence: 'prints the man page: vring man | man -l -',
    options: [help],
    dashes: 'double',
    load: async () => (await import('./man.js')).man,
  },
];
