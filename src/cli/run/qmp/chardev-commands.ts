/** QMP's commands for character devices that come and go (QEMU's qapi/char.json). */
import { flattenOptions } from '../../../block/index.js';
import { KeyValues } from '../../options/key-values.js';
import { nothing } from './block-arguments.js';
import type { QmpArguments, QmpCommand } from './qmp-command.js';

/** What -chardev calls a member of a backend, by its way there. */
const optionNames: Readonly<Record<string, string>> = {
  ...{ out: 'path', device: 'path', 'addr.data.path': 'path', 'addr.data.host': 'host', 'addr.data.port': 'port' },
  ...{ 'addr.data.to': 'to', 'remote.data.host': 'host', 'remote.data.port': 'port' },
  ...{ 'local.data.host': 'localaddr', 'local.data.port': 'localport', 'addr.data.str': 'fd' },
};
/** Is said by what else is there. */
const implied = ['addr.type', 'remote.type', 'local.type'];

/** As -chardev has them. A socket is a server unless it says otherwise. */
function valuesOf({ id, backend }: QmpArguments): KeyValues {
  const { type, data } = backend as { readonly type: string; readonly data: object };
  const isServer = type === 'socket' && !('server' in data);
  const members = Object.entries(flattenOptions(data)).filter(([name]) => !implied.includes(name));
  const text = (value: unknown) => (value === true ? 'on' : value === false ? 'off' : String(value));
  return new KeyValues('chardev-add', [
    ['backend', type],
    ['id', String(id)],
    ...(isServer ? ([['server', 'on']] as const) : []),
    ...members.map(([name, value]) => [optionNames[name] ?? name, text(value)] as const),
  ]);
}

export const chardevCommands: readonly QmpCommand[] = [
  {
    name: 'chardev-add',
    run: async ({ chardevs }, given) => {
      const pty = await chardevs.add(valuesOf(given));
      return pty === undefined ? nothing : { pty };
    },
  },
  {
    name: 'chardev-remove',
    run: async ({ chardevs }, { id }) => {
      await chardevs.remove(String(id));
      return nothing;
    },
  },
  {
    name: 'chardev-send-break',
    run: async ({ machine, chardevs }, { id }) => {
      await chardevs.sendBreak(machine, String(id));
      return nothing;
    },
  },
];
