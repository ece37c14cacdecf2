/** The monitor's commands for objects, and for what happens when a watchdog bites. */
import { blockdevRequest, parseOptionString } from '../../block/index.js';
import { watchdogActions } from '../../vmm/index.js';
import { UsageError } from '../usage-error.js';
import type { MonitorCommand } from './monitor.js';
import { machineActions } from './plan-actions.js';

export const runMonitorCommands: readonly MonitorCommand[] = [
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
