/** The commands of QMP, a row each: what their arguments are, and what they do. QEMU's names and shapes (its qapi/*.json). */

import { type StopReason, VringError } from '../../../vmm/index.js';
import { changeMedium } from '../hotplug.js';
import { emptyMachine, Monitor } from '../monitor.js';
import { networkOf } from '../named-devices.js';
import { diskId, named } from './block-arguments.js';
import { blockCommands } from './block-commands.js';
import { boardCommands } from './board-commands.js';
import { capabilityCommands } from './capability-commands.js';
import { chardevCommands } from './chardev-commands.js';
import { descriptorCommands } from './descriptor-commands.js';
import { graphCommands } from './graph-commands.js';
import { hotPlugCommands } from './hotplug-commands.js';
import { jobCommands } from './job-commands.js';
import { type QmpCommand, QmpError, type QmpHost } from './qmp-command.js';
import { ringCommands } from './ring-commands.js';
import { runCommands } from './run-commands.js';
import { qmpSchema } from './schema.js';
import { screenCommands } from './screen-commands.js';

const nothing = {};
const stopWords: Readonly<Record<StopReason, string>> = {
  poweroff: 'shutdown',
  reset: 'shutdown',
  debug: 'debug',
  'io-error': 'io-error',
  panic: 'guest-panicked',
  watchdog: 'watchdog',
};

function statusOf({ machine }: QmpHost): { status: string; running: boolean; singlestep: boolean } {
  const { state, stopReason } = machine;
  const stopped = stopReason ? stopWords[stopReason] : 'paused';
  const status =
    state === 'ready' ? 'prelaunch' : state === 'running' ? 'running' : state === 'ended' ? 'shutdown' : stopped;
  return { status, running: state === 'running', singlestep: false };
}

/** Without a balloon the error has a class of its own. */
async function withBalloon(work: Promise<number>): Promise<number> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof VringError && error.code === 'no-balloon')
      throw new QmpError('DeviceNotActive', error.message);
    throw error;
  }
}

const ok = async (work: Promise<unknown>): Promise<object> => {
  await work;
  return nothing;
};

export const qmpCommands: readonly QmpCommand[] = [
  // The session carries it out itself: it comes before all others.
  { name: 'qmp_capabilities', run: () => nothing },
  { name: 'query-version', run: ({ version }) => ({ qemu: { major: 7, minor: 2, micro: 0 }, package: version }) },
  {
    name: 'query-commands',
    run: () => qmpCommands.map(({ name }) => ({ name })),
  },
  { name: 'query-qmp-schema', run: () => qmpSchema(qmpCommands.map(({ name }) => name)) },
  { name: 'query-name', run: ({ name }) => (name === undefined ? {} : { name }) },
  { name: 'query-uuid', run: ({ uuid }) => ({ UUID: uuid ?? '00000000-0000-0000-0000-000000000000' }) },
  { name: 'query-target', run: ({ architecture }) => ({ arch: architecture }) },
  { name: 'query-status', run: statusOf },
  { name: 'query-kvm', run: ({ machine }) => ({ enabled: machine.accelerator === 'kvm', present: true }) },
  {
    name: 'query-cpus-fast',
    // The threads have no numbers that Node.js tells: the process's stands for each.
    run: ({ cpus, architecture }) =>
      Array.from({ length: cpus }, (_, index) => ({
        'cpu-index': index,
        'qom-path': `/machine/unattached/device[${index}]`,
        'thread-id': process.pid,
        target: architecture,
      })),
  },
  {
    name: 'query-chardev',
    run: ({ chardevs }) =>
      chardevs.all.map(({ id, filename, isUsed }) => ({ label: id, filename, 'frontend-open': isUsed })),
  },
  { name: 'stop', run: ({ machine }) => ok(machine.pause()) },
  {
    name: 'cont',
    run: ({ machine, isEmpty }) => {
      if (isEmpty) throw new QmpError('GenericError', emptyMachine);
      return ok(machine.resume());
    },
  },
  {
    name: 'system_reset',
    run: ({ machine }) => ok(machine.reset()),
  },
  {
    name: 'set_link',
    run: ({ machine, namedDevices }, { name, up }) => {
      const network = networkOf(namedDevices, machine.networks, String(name));
      if (network === undefined) throw new QmpError('DeviceNotFound', `Device '${name}' not found`);
      return ok(machine.setLink(network, up === true));
    },
  },
  {
    name: 'system_powerdown',
    run: async (host) => {
      return await ok(host.machine.pressPowerButton());
    },
  },
  {
    name: 'balloon',
    run: async ({ machine }, { value }) => {
      if (!(Number(value) > 0)) throw new QmpError('GenericError', "Parameter 'target' expects a size");
      await withBalloon(machine.balloon(Number(value)));
      return nothing;
    },
  },
  { name: 'query-balloon', run: async ({ machine }) => ({ actual: await withBalloon(machine.balloon()) }) },
  { name: 'inject-nmi', run: ({ machine }) => ok(machine.injectNmi()) },
  {
    name: 'quit',
    run: (host) => {
      host.hostQuits();
      setImmediate(host.quit);
      return nothing;
    },
  },
  {
    name: 'eject',
    run: async (host, given) => {
      const id = await diskId(host, given);
      return ok(named(changeMedium(host, id, undefined, { force: given['force'] === true }), id, given));
    },
  },
  {
    name: 'blockdev-change-medium',
    run: async (host, given) => {
      const id = await diskId(host, given);
      const mode = given['read-only-mode'] ?? 'retain';
      if (mode !== 'retain' && mode !== 'read-only' && mode !== 'read-write')
        throw new QmpError('GenericError', `Parameter 'read-only-mode' does not accept value '${mode}'`);
      const image = {
        path: String(given['filename']),
        ...(given['format'] === undefined ? {} : { format: String(given['format']) }),
        ...(mode === 'retain' ? {} : { readonly: mode === 'read-only' }),
      };
      return ok(named(changeMedium(host, id, image, { force: given['force'] === true }), id, given));
    },
  },
  {
    name: 'human-monitor-command',
    run: async (host, given) => {
      const monitor = new Monitor({
        ...host,
        quit: () => {
          host.hostQuits();
          host.quit();
        },
        write: () => {},
      });
      if (given['cpu-index'] !== undefined) await host.machine.selectCpu(Number(given['cpu-index']));
      const text = await monitor.execute(String(given['command-line']).slice(0, 4096));
      return text === '' ? '' : `${text.replaceAll('\n', '\r\n')}\r\n`;
    },
  },
  ...boardCommands,
  ...runCommands,
  ...blockCommands,
  ...jobCommands,
  ...graphCommands,
  ...capabilityCommands,
  ...descriptorCommands,
  ...ringCommands,
  ...chardevCommands,
  ...hotPlugCommands,
  ...screenCommands,
];
