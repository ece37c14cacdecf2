/** QMP's commands that change a running machine's block graph (QEMU's qapi/block-core.json, qapi/block.json, qapi/transaction.json). */
import { flattenOptions, type ThrottleLimit } from '../../../block/index.js';
import type { BlockAction, BlockTarget } from '../../../vmm/index.js';
import { diskId, flag, generic, named, nothing, number, text, throttleNames, unless } from './block-arguments.js';
import { backupRequest, fileTarget } from './job-commands.js';
import type { QmpArguments, QmpCommand, QmpHost } from './qmp-command.js';

/** A command that is a step of transactions too. */
interface ActionRow {
  readonly name: string;
  action(given: QmpArguments): BlockAction;
  /** What is told of a disk that is not there. */
  readonly missing?: (given: QmpArguments) => string;
}

const bitmapRow = (verb: 'remove' | 'clear' | 'enable' | 'disable'): ActionRow => ({
  name: `block-dirty-bitmap-${verb}`,
  action: ({ node, name }) => ({ op: `${verb}-bitmap`, disk: String(node), name: String(name) }),
});

const actionRows: readonly ActionRow[] = [
  {
    name: 'blockdev-snapshot-sync',
    action: (given) => {
      const overlay: BlockTarget = fileTarget(given, given['snapshot-file'], 'snapshot-node-name');
      return { op: 'snapshot', disk: String(given['device'] ?? given['node-name'] ?? ''), overlay };
    },
    missing: nodeMissing,
  },
  {
    name: 'blockdev-snapshot',
    action: ({ node, overlay }) => ({ op: 'snapshot', disk: String(node), overlay: { node: String(overlay) } }),
  },
  {
    name: 'blockdev-snapshot-internal-sync',
    action: ({ device, name }) => ({ op: 'internal-snapshot', disk: String(device), name: String(name) }),
  },
  {
    name: 'block-dirty-bitmap-add',
    action: ({ node, name, granularity, persistent, disabled }) => ({
      op: 'add-bitmap',
      disk: String(node),
      name: String(name),
      granularity: number(granularity),
      persistent: flag(persistent),
      disabled: flag(disabled),
    }),
  },
  ...(['remove', 'clear', 'enable', 'disable'] as const).map(bitmapRow),
  {
    name: 'block-dirty-bitmap-merge',
    action: ({ node, target, bitmaps }) => {
      if (!Array.isArray(bitmaps)) throw generic("Invalid parameter type for 'bitmaps', expected: array");
      const from = bitmaps.map((each: unknown) => {
        const there = each as { readonly node?: unknown; readonly name?: unknown } | null;
        if (typeof each === 'string') return { disk: String(node), name: each };
        return { disk: String(there?.node), name: String(there?.name) };
      });
      return { op: 'merge-bitmaps', disk: String(node), name: String(target), from };
    },
  },
];

function nodeMissing({ device, 'node-name': node }: QmpArguments): string {
  return `Cannot find device='${text(device) ?? ''}' nor node-name='${text(node) ?? ''}'`;
}

/** Steps that are no commands of this kind by themselves. */
const otherActions: Readonly<Record<string, (given: QmpArguments) => BlockAction>> = {
  abort: () => ({ op: 'abort' }),
  'drive-backup': (given) => backupRequest(given, fileTarget(given, given['target'], 'node-name')),
  'blockdev-backup': (given) => backupRequest(given, { node: String(given['target']) }),
};

/** What QEMU does not do beside jobs that end together. */
const neverGrouped = ['block-dirty-bitmap-add', 'block-dirty-bitmap-clear'];

function actionOf(step: unknown, i: number): BlockAction {
  const { type, data } = (step ?? {}) as { readonly type?: unknown; readonly data?: unknown };
  const make = actionRows.find(({ name }) => name === type)?.action ?? otherActions[String(type)];
  if (!make) throw generic(`Parameter 'actions[${i}].type' does not accept value '${String(type)}'`);
  if (typeof data !== 'object' || data === null) throw generic(`Parameter 'actions[${i}].data' is missing`);
  return make(data as QmpArguments);
}

const commandOf = ({ name, action, missing }: ActionRow): QmpCommand => ({
  name,
  run: async ({ machine }, given) => {
    const done = machine.block({ op: 'transaction', actions: [action(given)] });
    await (missing ? unless(done, 'no-such-disk', () => generic(missing(given))) : done);
    return nothing;
  },
});

/** A command that moves a drive's tray, or what is in it. */
const trayCommand = (
  name: string,
  run: (machine: QmpHost['machine'], id: string, given: QmpArguments) => Promise<void>,
): QmpCommand => ({
  name,
  run: async (host, given) => {
    const id = await diskId(host, given);
    await named(run(host.machine, id, given), id, given);
    return nothing;
  },
});

const burst = { max: 'max', max_length: 'max-length' } as const;

function limitOf(name: string): ThrottleLimit | undefined {
  if (name === 'iops_size') return 'iops-size';
  const [, kind, suffix] = /^((?:bps|iops)(?:_rd|_wr)?)(?:_(max|max_length))?$/.exec(name) ?? [];
  const plain = throttleNames[kind ?? ''];
  if (plain === undefined) return undefined;
  return suffix === undefined ? plain : (`${plain}-${burst[suffix as keyof typeof burst]}` as ThrottleLimit);
}

export const graphCommands: readonly QmpCommand[] = [
  ...actionRows.map(commandOf),
  {
    name: 'transaction',
    run: async ({ machine }, { actions, properties }) => {
      if (!Array.isArray(actions)) throw generic("Invalid parameter type for 'actions', expected: array");
      const { 'completion-mode': mode, ...more } = (properties ?? {}) as Readonly<Record<string, unknown>>;
      for (const name of Object.keys(more)) throw generic(`Parameter 'properties.${name}' is unexpected`);
      if (mode !== undefined && mode !== 'individual' && mode !== 'grouped')
        throw generic(`Parameter 'completion-mode' does not accept value '${String(mode)}'`);
      const isGrouped = mode === 'grouped';
      const request = { op: 'transaction', actions: actions.map(actionOf), isGrouped } as const;
      const types = (actions as readonly { readonly type?: unknown }[]).map(({ type }) => String(type));
      const single = isGrouped ? types.find((type) => neverGrouped.includes(type)) : undefined;
      if (single !== undefined)
        throw generic(`Action '${single}' does not support Transaction property completion-mode = grouped`);
      await machine.block(request);
      return nothing;
    },
  },
  {
    name: 'blockdev-snapshot-delete-internal-sync',
    run: async ({ machine }, { device, id, name }) => {
      const request = { op: 'delete-internal-snapshot', disk: String(device), id: text(id), name: text(name) } as const;
      const gone = await machine.block(request);
      return {
        id: gone.id,
        name: gone.name,
        'vm-state-size': gone.vmStateBytes,
        'date-sec': gone.dateSeconds,
        'date-nsec': gone.dateNanoseconds,
        'vm-clock-sec': Math.floor(gone.vmClockNs / 1e9),
        'vm-clock-nsec': gone.vmClockNs % 1e9,
      };
    },
  },
  {
    name: 'block_resize',
    run: async ({ machine }, given) => {
      const disk = String(given['device'] ?? given['node-name'] ?? '');
      const done = machine.block({ op: 'resize', disk, sizeBytes: Number(given['size']) });
      await unless(done, 'no-such-disk', () => generic(nodeMissing(given)));
      return nothing;
    },
  },
  {
    name: 'block_set_io_throttle',
    run: async (host, given) => {
      const disk = await diskId(host, given);
      const limits: Partial<Record<ThrottleLimit, number>> = {};
      for (const [name, value] of Object.entries(given)) {
        const limit = limitOf(name);
        if (limit !== undefined) limits[limit] = Number(value);
      }
      await host.machine.block({ op: 'throttle', disk, limits });
      return nothing;
    },
  },
  {
    name: 'change-backing-file',
    run: async ({ machine }, { device, 'image-node-name': image, 'backing-file': backingFile }) => {
      const disk = String(device);
      await machine.block({ op: 'change-backing-file', disk, image: String(image), backingFile: String(backingFile) });
      return nothing;
    },
  },
  {
    name: 'blockdev-reopen',
    run: async ({ machine }, { options }) => {
      if (!Array.isArray(options)) throw generic("Invalid parameter type for 'options', expected: array");
      await machine.block({ op: 'reopen', options: options.map((each) => flattenOptions(each)) });
      return nothing;
    },
  },
  trayCommand('blockdev-open-tray', (machine, id, { force }) => machine.openTray(id, { force: force === true })),
  trayCommand('blockdev-close-tray', (machine, id) => machine.closeTray(id)),
  trayCommand('blockdev-remove-medium', (machine, id) => machine.removeMedium(id)),
  trayCommand('blockdev-insert-medium', async (machine, id, given) => {
    const node = String(given['node-name']);
    if (!(await machine.blockNodes()).some(({ nodeName }) => nodeName === node))
      throw generic(`Node '${node}' not found`);
    await machine.insertMedium(id, node);
  }),
];
