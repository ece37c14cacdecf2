/** QMP's commands about the board's memory and parts, most of which this machine lacks (QEMU's qapi/machine.json, misc.json, tpm.json). */
import { writeFile } from 'node:fs/promises';
import { openFailure } from '../../../host/node/open-failure.js';
import { announce } from '../announce.js';
import { chardevKinds } from '../chardevs.js';
import { readMemoryBytes } from '../monitor-memory.js';
import { pciInfo } from '../monitor-pci.js';
import { generic, nothing } from './block-arguments.js';
import type { QmpArguments, QmpCommand, QmpHost } from './qmp-command.js';

/** A file is made of no more at once: it lies in memory first. */
const MOST_SAVED_BYTES = 2 ** 32;

async function save({ machine }: QmpHost, { val, size, filename }: QmpArguments, physical: boolean): Promise<object> {
  const length = Number(size);
  if (!(Number(val) >= 0)) throw generic("Parameter 'val' expects an address");
  if (!(length >= 0) || length > MOST_SAVED_BYTES)
    throw generic(`Parameter 'size' expects at most ${MOST_SAVED_BYTES} bytes: more is not supported yet`);
  const bytes = await readMemoryBytes(machine, BigInt(Number(val)), length, physical);
  try {
    await writeFile(String(filename), bytes);
  } catch (error) {
    throw generic(`Could not open '${String(filename)}': ${openFailure(error)}`);
  }
  return nothing;
}

/** What there is none of. */
const none = (name: string): QmpCommand => ({ name, run: () => [] });

export const boardCommands: readonly QmpCommand[] = [
  {
    name: 'memsave',
    run: async (host, given) => {
      const cpu = given['cpu-index'];
      if (cpu !== undefined) {
        if (!(Number(cpu) >= 0 && Number(cpu) < host.cpus)) throw generic("Parameter 'cpu-index' expects a CPU number");
        await host.machine.selectCpu(Number(cpu));
      }
      return await save(host, given, false);
    },
  },
  { name: 'pmemsave', run: (host, given) => save(host, given, true) },
  {
    name: 'query-memory-size-summary',
    run: ({ ramBytes }) => ({ 'base-memory': ramBytes, 'plugged-memory': 0 }),
  },
  {
    name: 'announce-self',
    run: (host, given) => {
      const { initial, max, rounds, step, interfaces } = given;
      const pace = { initial: Number(initial), max: Number(max), rounds: Number(rounds), step: Number(step) };
      announce(host, pace, interfaces as readonly string[] | undefined);
      return nothing;
    },
  },
  { name: 'query-pci', run: pciInfo },
  // A guest that sleeps is one that has been stopped: nothing wakes it.
  { name: 'query-current-machine', run: () => ({ 'wakeup-suspend-support': false }) },
  {
    name: 'system_wakeup',
    run: () => {
      throw generic('Unable to wake up: guest is not in suspended state');
    },
  },
  { name: 'query-chardev-backends', run: () => [...chardevKinds, 'mux'].map((name) => ({ name })) },
  // Interrupts of the clock that were missed are not made up for: there are none to be forgotten.
  { name: 'rtc-reset-reinjection', run: () => nothing },
  { name: 'query-migrate', run: () => nothing },
  {
    name: 'query-vm-generation-id',
    run: () => {
      throw generic('VM Generation ID device not found');
    },
  },
  ...[
    ...['query-memory-devices', 'query-acpi-ospm-status', 'query-pr-managers', 'query-tpm', 'query-tpm-models'],
    ...['query-tpm-types', 'query-yank', 'query-rx-filter'],
  ].map(none),
];
