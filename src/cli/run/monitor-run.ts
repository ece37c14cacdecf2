/** The monitor's commands for objects, and for what happens when a watchdog bites. */
import { blockdevRequest, parseOptionString } from '../../block/index.js';
import { VringError, watchdogActions } from '../../vmm/index.js';
import { UsageError } from '../usage-error.js';
import type { MonitorCommand } from './monitor.js';
import { machineActions } from './plan-actions.js';

/** What is wrong with an order, in QEMU's words: letters of drives and networks, of which a PC's firmware knows four. */
function bootMistake(order: string): string | undefined {
  const unknown = [...order].find((letter) => letter < 'a' || letter > 'p');
  if (unknown !== undefined) return `Invalid boot device '${unknown}'`;
  const twice = [...order].find((letter, i) => order.indexOf(letter) < i);
  if (twice !== undefined) return `Boot device '${twice}' was given twice`;
  if (order.length > 3) return 'Too many boot devices for PC';
  const other = [...order].find((letter) => !'acdn'.includes(letter));
  return other === undefined ? undefined : `Invalid boot device for PC: '${other}'`;
}

export const runMonitorCommands: readonly MonitorCommand[] = [
  {
    name: 'boot_set',
    argument: 'ORDER',
    sentence: 'what firmware boots from when it next starts: a floppy, c disk, d CD, n network',
    run: async ({ machine }, argument) => {
      const order = argument.trim();
      if (order === '') throw new UsageError('boot_set: ORDER is needed');
      const mistake = bootMistake(order);
      if (mistake !== undefined) return mistake;
      try {
        await machine.setBootDevices(order);
      } catch (error) {
        if (error instanceof VringError && error.code === 'boot-devices') return error.message;
        throw error;
      }
      return `boot device list now set to ${order}`;
    },
  },
  {
    name: 'system_wakeup',
    sentence: 'wakes a guest that sleeps',
    // A guest that sleeps is one that has been stopped: nothing wakes it.
    run: async () => {
      throw new VringError('wakeup', 'Unable to wake up: guest is not in suspended state');
    },
  },
  {
    name: 'object_add',
    argument: '[qom-type=]TYPE,id=ID[,PROPERTY=VALUE…]',
    sentence: "an object, in -object's words",
    run: async ({ machine, objects }, argument) => {
      const text = argument.trim();
      const members = text.startsWith('{') ? blockdevRequest(text).options : parseOptionString(text, 'qom-type');
      await objects.add(machine, members ?? {});
      return '';
    },
  },
  {
    name: 'object_del',
    argument: 'ID',
    sentence: 'forgets an object that nothing uses',
    run: async ({ machine, objects }, argument) => {
      await objects.remove(machine, argument.trim());
      return '';
    },
  },
  {
    name: 'watchdog_action',
    argument: watchdogActions.join('|'),
    sentence: 'what is done when a watchdog has heard nothing',
    run: async ({ machine, actions }, argument) => {
      const watchdog = watchdogActions.find((each) => each === argument.trim());
      if (watchdog === undefined) throw new UsageError(`invalid parameter value: ${argument.trim()}`);
      const words = { ...actions.words, watchdog };
      await machine.setActions(machineActions(words));
      actions.words = words;
      return '';
    },
  },
];
