/** The commands of QMP, a row each: what their arguments are, and what they do. QEMU's names and shapes (its qapi/*.json). */
import { writeFile } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { keyCodes } from '../../../display/index.js';
import { openFailure } from '../../../host/node/open-failure.js';
import { type InputEvent, type Machine, type MachineDisk, VringError } from '../../../vmm/index.js';
import type { Chardev } from '../chardevs.js';
import { Monitor } from '../monitor.js';
import { qmpSchema } from './schema.js';

export interface QmpHost {
  readonly machine: Machine;
  readonly version: string;
  readonly name: string | undefined;
  readonly chardevs: readonly Chardev[];
  /** vCPUs of the machine. */
  readonly cpus: number;
  readonly architecture: string;
  readonly uuid: string | undefined;
  quit(): void;
  /** The owner asks for a reset, a shutdown: events say so. */
  hostAsked(what: 'reset' | 'quit'): void;
  emit(event: string, data?: object): void;
}

export type QmpType = 'str' | 'int' | 'bool' | 'any';

export interface QmpArgument {
  readonly name: string;
  readonly type: QmpType;
  readonly optional?: boolean;
}

export type QmpArguments = Readonly<Record<string, unknown>>;

export interface QmpCommand {
  readonly name: string;
  readonly arguments?: readonly QmpArgument[];
  run(host: QmpHost, given: QmpArguments): Promise<unknown> | unknown;
}

/** An error with another class than GenericError. */
export class QmpError extends VringError {
  readonly className: string;
  constructor(className: string, message: string) {
    super('qmp', message);
    this.className = className;
  }
}

const nothing = {};
const drive = [
  { name: 'device', type: 'str', optional: true },
  { name: 'id', type: 'str', optional: true },
] as const;
const force = { name: 'force', type: 'bool', optional: true } as const;

function statusOf({ machine }: QmpHost): { status: string; running: boolean; singlestep: boolean } {
  const { state, stopReason } = machine;
  const stopped =
    stopReason === 'io-error' ? 'io-error' : stopReason === 'debug' ? 'debug' : stopReason ? 'shutdown' : 'paused';
  const status =
    state === 'ready' ? 'prelaunch' : state === 'running' ? 'running' : state === 'ended' ? 'shutdown' : stopped;
  return { status, running: state === 'running', singlestep: false };
}

function blockInfo(disk: MachineDisk) {
  const { id, removable, tray, inserted, filename, nodeName, readonly, format, backing, cache, sizeBytes } = disk;
  const limits = Object.fromEntries(
    ['bps', 'bps_rd', 'bps_wr', 'iops', 'iops_rd', 'iops_wr'].map((name) => [name, 0] as const),
  );
  const image = {
    filename,
    format,
    'virtual-size': sizeBytes,
    ...(backing === undefined ? {} : { 'backing-filename': backing }),
  };
  return {
    device: id,
    type: 'unknown',
    removable,
    locked: tray?.locked ?? false,
    ...(tray ? { tray_open: tray.open } : {}),
    ...(inserted
      ? {
          inserted: {
            ...limits,
            file: filename,
            'node-name': nodeName,
            ro: readonly,
            drv: format,
            ...(backing === undefined ? {} : { backing_file: backing }),
            backing_file_depth: backing === undefined ? 0 : 1,
            encrypted: false,
            detect_zeroes: 'off',
            write_threshold: 0,
            cache: {
              writeback: cache !== 'writethrough' && cache !== 'directsync',
              direct: cache === 'none' || cache === 'directsync',
              'no-flush': cache === 'unsafe',
            },
            image,
          },
        }
      : {}),
  };
}

/** The drive that `device` or `id` name. Throws QmpError. */
async function driveId({ machine }: QmpHost, given: QmpArguments): Promise<string> {
  const { device, id } = given;
  if ((device === undefined) === (id === undefined))
    throw new QmpError('GenericError', "Need exactly one of 'device' and 'id'");
  const wanted = String(device ?? id);
  if (!(await machine.disks()).some((disk) => disk.id === wanted))
    throw new QmpError('DeviceNotFound', `Device '${wanted}' not found`);
  return wanted;
}

const MOST_KEYS = 64;
const DEFAULT_HOLD_MS = 100;
const MOST_HOLD_MS = 60_000;

function keyCode(key: unknown): number {
  const { type, data } = (typeof key === 'object' && key !== null ? key : {}) as { type?: unknown; data?: unknown };
  if (type === 'number' && typeof data === 'number' && Number.isInteger(data) && data >= 0 && data <= 0xffff)
    return data > 0x7f && data <= 0xff ? 0xe000 | (data & 0x7f) : data;
  const code = type === 'qcode' && typeof data === 'string' ? keyCodes.get(data) : undefined;
  if (code === undefined)
    throw new QmpError('GenericError', `Parameter 'keys' has no key ${JSON.stringify(data ?? key)}`);
  return code;
}

async function sendKey({ machine }: QmpHost, given: QmpArguments): Promise<object> {
  const { keys, 'hold-time': hold = DEFAULT_HOLD_MS } = given;
  if (!Array.isArray(keys) || keys.length === 0 || keys.length > MOST_KEYS)
    throw new QmpError('GenericError', `Parameter 'keys' is a list of 1 to ${MOST_KEYS} keys`);
  if ((hold as number) < 0 || (hold as number) > MOST_HOLD_MS)
    throw new QmpError('GenericError', `Parameter 'hold-time' is 0 to ${MOST_HOLD_MS}`);
  const codes = keys.map(keyCode);
  const events = (down: boolean) => codes.map((code): InputEvent => ({ type: 'key', code, down }));
  await machine.sendInput(events(true));
  await wait(hold as number);
  await machine.sendInput(events(false).reverse());
  return nothing;
}

async function screendump({ machine }: QmpHost, given: QmpArguments): Promise<object> {
  const { filename, format = 'ppm' } = given;
  if (format !== 'ppm' && format !== 'png')
    throw new QmpError('GenericError', `Parameter 'format' does not accept value '${format}'`);
  const picture = await machine.screendump(format);
  try {
    await writeFile(String(filename), picture);
  } catch (error) {
    throw new QmpError('GenericError', `failed to open file '${filename}': ${openFailure(error)}`);
  }
  return nothing;
}

const ok = async (work: Promise<unknown>): Promise<object> => {
  await work;
  return nothing;
};

export const qmpCommands: readonly QmpCommand[] = [
  { name: 'query-version', run: ({ version }) => ({ qemu: { major: 7, minor: 2, micro: 0 }, package: version }) },
  { name: 'query-commands', run: () => qmpCommands.map(({ name }) => ({ name })) },
  { name: 'query-qmp-schema', run: () => qmpSchema(qmpCommands) },
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
  { name: 'query-block', run: async ({ machine }) => (await machine.disks()).map(blockInfo) },
  {
    name: 'query-chardev',
    run: ({ chardevs }) =>
      chardevs.map(({ id, kind, path }) => ({ label: id, filename: path ?? kind, 'frontend-open': true })),
  },
  { name: 'stop', run: ({ machine }) => ok(machine.pause()) },
  { name: 'cont', run: ({ machine }) => ok(machine.resume()) },
  {
    name: 'system_reset',
    run: (host) => {
      host.hostAsked('reset');
      return ok(host.machine.reset());
    },
  },
  {
    name: 'system_powerdown',
    run: async (host) => {
      await host.machine.pressPowerButton();
      host.emit('POWERDOWN');
      return nothing;
    },
  },
  { name: 'inject-nmi', run: ({ machine }) => ok(machine.injectNmi()) },
  {
    name: 'quit',
    run: (host) => {
      host.hostAsked('quit');
      setImmediate(host.quit);
      return nothing;
    },
  },
  {
    name: 'eject',
    arguments: [...drive, force],
    run: async (host, given) =>
      ok(host.machine.ejectMedium(await driveId(host, given), { force: given['force'] === true })),
  },
  {
    name: 'blockdev-change-medium',
    arguments: [
      ...drive,
      { name: 'filename', type: 'str' },
      { name: 'format', type: 'str', optional: true },
      force,
      { name: 'read-only-mode', type: 'str', optional: true },
    ],
    run: async (host, given) => {
      const id = await driveId(host, given);
      const mode = given['read-only-mode'] ?? 'retain';
      if (mode !== 'retain' && mode !== 'read-only')
        throw new QmpError(
          'GenericError',
          `Parameter 'read-only-mode' does not accept value '${mode}': drives only read`,
        );
      const image = {
        path: String(given['filename']),
        ...(given['format'] === undefined ? {} : { format: String(given['format']) }),
      };
      return ok(host.machine.changeMedium(id, image, { force: given['force'] === true }));
    },
  },
  {
    name: 'human-monitor-command',
    arguments: [
      { name: 'command-line', type: 'str' },
      { name: 'cpu-index', type: 'int', optional: true },
    ],
    run: async (host, given) => {
      const { machine, version, name, chardevs, quit } = host;
      const monitor = new Monitor({ machine, version, name, chardevs, quit, write: () => {} });
      if (given['cpu-index'] !== undefined) await machine.selectCpu(Number(given['cpu-index']));
      const text = await monitor.execute(String(given['command-line']).slice(0, 4096));
      return text === '' ? '' : `${text.replaceAll('\n', '\r\n')}\r\n`;
    },
  },
  {
    name: 'send-key',
    arguments: [
      { name: 'keys', type: 'any' },
      { name: 'hold-time', type: 'int', optional: true },
    ],
    run: sendKey,
  },
  {
    name: 'screendump',
    arguments: [
      { name: 'filename', type: 'str' },
      { name: 'format', type: 'str', optional: true },
    ],
    run: screendump,
  },
];
