/** The commands of `vring`: one row each; help, completion and man page come from them. */
import type { Command } from './command.js';
import { diskCommands } from './disk-commands.js';
import type { CommandRow, OptionRow } from './options/option-row.js';
import { runCommand } from './run/options.js';

const help: OptionRow = { name: 'help', aliases: ['h'], sentence: 'Shows this help.', group: 'Options' };

export const cacheActions = ['list', 'prune'] as const;
export const shells = ['bash', 'zsh', 'fish'] as const;

export const tourCommand: CommandRow = {
  name: 'tour',
  synopsis: '[OPTIONS]',
  sentence: 'shows on a running machine what each layer does: rings, VM exits, devices, memory, a disk request',
  options: [
    {
      name: 'accel',
      argument: 'NAME',
      values: ['kvm', 'tcg'],
      default: 'kvm where it is quicker',
      sentence: 'What runs the vCPU on the walk through the layers.',
      group: 'Options',
    },
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

export const commands: readonly Command[] = [
  {
    ...runCommand,
    programName: 'qemu-system-x86_64',
    otherNames: ['qemu-system-i386', 'qemu-system-riscv64', 'qemu-system-aarch64', 'qemu-system-arm'],
    load: async () => (await import('./run/index.js')).run,
  },
  ...diskCommands,
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
