/** The disk tools as commands. They are bundled alone too (`disk-program.ts`), so that they load nothing but themselves. */
import type { Command } from './command.js';
import type { ProcessIo } from './process-io.js';

/** How the disk tools speak: by QEMU's names when they were called by them. */
function disksTool(io: ProcessIo, name: string) {
  const stream = (text: string | Uint8Array) =>
    void io.stdout.write(typeof text === 'string' ? text : Buffer.from(text));
  const out = io.out ?? stream;
  return {
    toolName: io.toolName === 'vring' ? `vring ${name}` : io.toolName,
    tool: {
      out,
      outBytes: out,
      err: (text: string) => void io.stderr.write(text),
    },
  };
}

export const diskCommands: readonly Command[] = [
  {
    name: 'img',
    synopsis: 'COMMAND [OPTIONS]',
    sentence: 'makes, converts, checks and changes disk images, as qemu-img does',
    options: [],
    dashes: 'double',
    ownOptions: true,
    operands: [
      'amend',
      'bench',
      'bitmap',
      'check',
      'commit',
      'compare',
      'convert',
      'create',
      'dd',
      'info',
      'map',
      'measure',
      'rebase',
      'resize',
      'snapshot',
    ],
    programName: 'qemu-img',
    load: async () => {
      const { runImg } = await import('./img/index.js');
      return (argv, io) => {
        const { tool, toolName } = disksTool(io, 'img');
        return runImg(argv, tool, toolName);
      };
    },
  },
  {
    name: 'io',
    synopsis: '[OPTIONS] [-c COMMAND]… [FILE]',
    sentence: 'reads and writes a disk image by commands, as qemu-io does',
    options: [],
    dashes: 'double',
    ownOptions: true,
    programName: 'qemu-io',
    load: async () => {
      const { runIo } = await import('./io/index.js');
      const { createInterface } = await import('node:readline');
      return (argv, io) => {
        const { tool, toolName } = disksTool(io, 'io');
        // Made when it is read from, so that a command that reads nothing ends.
        const input = { [Symbol.asyncIterator]: () => createInterface({ input: io.stdin })[Symbol.asyncIterator]() };
        return runIo(argv, { ...tool, input }, toolName);
      };
    },
  },
  {
    name: 'nbd',
    synopsis: '[OPTIONS] FILE',
    sentence: 'serves a disk image to NBD clients, as qemu-nbd does',
    options: [],
    dashes: 'double',
    ownOptions: true,
    programName: 'qemu-nbd',
    load: async () => {
      const { runNbd } = await import('./nbd/index.js');
      return (argv, io) => {
        const { tool, toolName } = disksTool(io, 'nbd');
        return runNbd(argv, tool, toolName);
      };
    },
  },
];
