/** The monitor's commands for character devices that come and go. */
import { KeyValues } from '../options/key-values.js';
import { UsageError } from '../usage-error.js';
import type { MonitorCommand } from './monitor.js';

const named = (command: string, argument: string): string => {
  const id = argument.trim();
  if (id === '') throw new UsageError(`${command}: the id of a character device is needed`);
  return id;
};

export const chardevMonitorCommands: readonly MonitorCommand[] = [
  {
    name: 'chardev-add',
    argument: 'KIND,id=ID[,PROPERTY=VALUE…]',
    sentence: "a character device, in -chardev's words",
    run: async ({ chardevs }, argument) => {
      await chardevs.add(KeyValues.parse('chardev-add', argument.trim(), 'backend'));
      return '';
    },
  },
  {
    name: 'chardev-remove',
    argument: 'ID',
    sentence: 'closes one that nothing uses',
    run: async ({ chardevs }, argument) => {
      await chardevs.remove(named('chardev-remove', argument));
      return '';
    },
  },
  {
    name: 'chardev-send-break',
    argument: 'ID',
    sentence: 'a break condition on the serial line that it leads to',
    run: async ({ machine, chardevs }, argument) => {
      await chardevs.sendBreak(machine, named('chardev-send-break', argument));
      return '';
    },
  },
];
