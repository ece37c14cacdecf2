/** QMP's commands about descriptors that a client sends along (QEMU's qapi/misc.json). */
import { descriptorSets } from '../../../host/node/descriptor-sets.js';
import { generic, nothing, number, text } from './block-arguments.js';
import type { QmpCommand } from './qmp-command.js';

export const descriptorCommands: readonly QmpCommand[] = [
  {
    name: 'getfd',
    run: ({ descriptors }, { fdname }) => {
      descriptors.name(String(fdname));
      return nothing;
    },
  },
  {
    name: 'closefd',
    run: ({ descriptors }, { fdname }) => {
      descriptors.close(String(fdname));
      return nothing;
    },
  },
  {
    name: 'add-fd',
    run: ({ descriptors }, { 'fdset-id': id, opaque }) => {
      const { set, fd } = descriptors.addToSet(number(id), text(opaque));
      return { 'fdset-id': set, fd };
    },
  },
  {
    name: 'remove-fd',
    run: (_host, { 'fdset-id': id, fd }) => {
      if (descriptorSets.remove(Number(id), number(fd))) return nothing;
      const which = fd === undefined ? '' : `, fd:${Number(fd)}`;
      throw generic(`File descriptor named 'fdset-id:${Number(id)}${which}' not found`);
    },
  },
  {
    name: 'query-fdsets',
    run: () =>
      descriptorSets.list().map(({ set, members }) => ({
        fds: members.map(({ fd, opaque }) => ({ fd, ...(opaque === undefined ? {} : { opaque }) })),
        'fdset-id': set,
      })),
  },
];
