/** QMP's commands for objects, and for what happens when the guest ends or fails (QEMU's qapi/qom.json, qapi/run-state.json). */
import { memoryBackends } from '../monitor.js';
import { type ActionWords, machineActions } from '../plan-actions.js';
import { nothing } from './block-arguments.js';
import type { QmpCommand, QmpHost } from './qmp-command.js';

async function setActions({ machine, actions }: QmpHost, words: Partial<ActionWords>): Promise<object> {
  const all = { ...actions.words, ...words };
  await machine.setActions(machineActions(all));
  actions.words = all;
  return nothing;
}

export const runCommands: readonly QmpCommand[] = [
  {
    name: 'object-add',
    run: async ({ machine, objects }, given) => {
      await objects.add(machine, given);
      return nothing;
    },
  },
  {
    name: 'object-del',
    run: async ({ machine, objects }, { id }) => {
      await objects.remove(machine, String(id));
      return nothing;
    },
  },
  { name: 'query-memdev', run: memoryBackends },
  { name: 'set-action', run: (host, given) => setActions(host, given as Partial<ActionWords>) },
  {
    name: 'watchdog-set-action',
    run: (host, { action }) => setActions(host, { watchdog: action } as Partial<ActionWords>),
  },
];
