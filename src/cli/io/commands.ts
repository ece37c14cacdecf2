/** The commands of `vring io` (qemu-io's language): requests on one open image, each reported with its size and speed. */
import { errorText, toBlockError } from '../../block/errors.js';
import { BlkdebugNode } from '../../block/filters/blkdebug.js';
import type { GraphNode } from '../../block/graph-node.js';
import type { BlockNode, Preallocation } from '../../block/node.js';
import { cacheFlags } from '../../block/node-flags.js';
import { parseInteger, parseOptionString } from '../../block/options.js';
import { type IoCall, type IoCommand, parseNumber, usage } from './call.js';
import { sizeText } from './numbers.js';
import type { IoSession } from './session.js';
import {
  aioReadCommand,
  aioWriteCommand,
  discardCommand,
  readCommand,
  readvCommand,
  writeCommand,
  writevCommand,
} from './transfers.js';

async function allocCommand(session: IoSession, { operands }: IoCall): Promise<number> {
  const start = parseNumber(session, operands[0]!);
  if (start === undefined) return -1;
  const count = operands[1] === undefined ? 512 : parseNumber(session, operands[1]);
  if (count === undefined) return -1;
  const end = Math.max(start, Math.min(start + count, session.node!.length));
  let allocated = 0;
  for (let at = start; at < end; ) {
    const status = await session.node!.blockStatus(at, end - at, false);
    const size = Math.min(status.length, end - at);
    if (status.allocated) allocated += size;
    at += size;
  }
  session.out(`${allocated}/${end - start} bytes allocated at offset ${sizeText(start)}\n`);
  return 0;
}

async function mapCommand(session: IoSession): Promise<number> {
  const node = session.node!;
  let at = 0;
  const total = node.length;
  while (at < total) {
    const first = await node.blockStatus(at, total - at, false);
    let size = first.length;
    while (at + size < total) {
      const next = await node.blockStatus(at + size, total - at - size, false);
      if (next.allocated !== first.allocated) break;
      size += next.length;
    }
    session.out(
      `${sizeText(size)} (0x${size.toString(16)}) bytes ${first.allocated ? '    allocated' : 'not allocated'} at offset ${sizeText(at)} (0x${at.toString(16)})\n`,
    );
    at += size;
  }
  return 0;
}

async function infoCommand(session: IoSession): Promise<number> {
  const node = session.node!;
  session.out(`format name: ${node.driver.name}\n`);
  // Said once more, as that of the protocol.
  if (node.driver.kind === 'protocol') session.out(`format name: ${node.driver.name}\n`);
  const info = await node.getInfo();
  if (info.clusterSizeBytes === undefined && !node.instance.getInfo) return -1;
  session.out(
    `cluster size: ${sizeText(info.clusterSizeBytes ?? 0)}\nvm state offset: ${sizeText(info.vmStateOffset ?? 0)}\n`,
  );
  const specific = await node.instance.specificInfo?.();
  if (specific) {
    const { humanLines } = await import('../img/info.js');
    session.out(`Format specific information:\n${humanLines(specific.data, 1)}`);
  }
  return 0;
}

async function truncateCommand(session: IoSession, { flags, operands }: IoCall): Promise<number> {
  let preallocation: Preallocation = 'off';
  if (flags.has('m')) {
    const mode = flags.get('m')!;
    if (!['off', 'metadata', 'falloc', 'full'].includes(mode)) {
      session.tool.error(`Invalid preallocation mode '${mode}'`);
      return -1;
    }
    preallocation = mode as Preallocation;
  }
  const length = parseNumber(session, operands[0]!);
  if (length === undefined) return -1;
  try {
    await session.node!.resize(length, { preallocation });
  } catch (error) {
    session.tool.error(toBlockError(error).message);
    return -1;
  }
  return 0;
}

function findDebug(node: BlockNode | undefined): BlkdebugNode | undefined {
  for (let at = node; at; at = at.file) if (at.instance instanceof BlkdebugNode) return at.instance;
  return undefined;
}

/** Numbers above are no signals. */
const lastSignal = 65;

const openLetters = 'snCro:ki:t:d:U';

async function openCommand(session: IoSession, { flags, operands, command }: IoCall): Promise<number> {
  if (session.node) {
    session.tool.error("file open already, try 'help close'");
    return -1;
  }
  if (operands.length > 1 || (operands.length === 0 && !flags.has('o'))) return usage(session, command);
  return session.openImage(operands[0], flags);
}

async function reopenCommand(session: IoSession, { flags, operands, command }: IoCall): Promise<number> {
  const node = session.node as GraphNode;
  const refuse = (message: string): number => {
    session.tool.error(message);
    return -1;
  };
  const cache = flags.has('c') ? cacheFlags(flags.get('c')!) : {};
  if (!cache) return refuse(`Invalid cache option: ${flags.get('c')}`);
  if (flags.has('r') && flags.has('w')) return refuse('Only one -r/-w option may be given');
  if (operands.length > 0) return usage(session, command);
  const options = flags.has('o') ? parseOptionString(flags.get('o')!) : {};
  const names = Object.keys(options);
  if ((flags.has('r') || flags.has('w')) && names.includes('read-only'))
    return refuse("Cannot set both -r/-w and 'read-only'");
  if (flags.has('c') && names.some((name) => name.startsWith('cache.')))
    return refuse('Cannot set both -c and the cache options');
  try {
    session.tool.graph.reopen(node, options, cache);
    if (flags.has('r')) {
      await node.rootUse?.change(1, 15);
      await node.setReadOnly(true);
    } else if (flags.has('w')) {
      await node.setReadOnly(false);
      await node.rootUse?.change(3, 15);
    }
  } catch (error) {
    session.tool.error(toBlockError(error).message);
    return -1;
  }
  return 0;
}

function define(command: IoCommand): IoCommand {
  return command;
}

export const ioCommands: readonly IoCommand[] = [
  define({
    name: 'abort',
    args: '',
    oneLine: 'simulate a program crash using abort(3)',
    min: 0,
    max: 0,
    needsFile: false,
    async run() {
      process.abort();
    },
  }),
  define({
    name: 'aio_flush',
    args: '',
    oneLine: 'completes all outstanding aio requests',
    min: 0,
    max: 0,
    needsFile: true,
    run: (session) => session.settle(),
  }),
  define({
    name: 'aio_read',
    args: '[-Ciqv] [-P pattern] off len [len..]',
    oneLine: 'asynchronously reads a number of bytes',
    min: 2,
    max: -1,
    needsFile: true,
    letters: 'CP:iqv',
    run: aioReadCommand,
  }),
  define({
    name: 'aio_write',
    args: '[-Cfiquz] [-P pattern] off len [len..]',
    oneLine: 'asynchronously writes a number of bytes',
    min: 2,
    max: -1,
    needsFile: true,
    letters: 'CfiqP:uz',
    run: aioWriteCommand,
  }),
  define({
    name: 'alloc',
    args: 'offset [count]',
    oneLine: 'checks if offset is allocated in the file',
    min: 1,
    max: 2,
    needsFile: true,
    run: allocCommand,
  }),
  define({
    name: 'break',
    args: 'event tag',
    oneLine: 'sets a breakpoint on event and tags the stopped request as tag',
    min: 2,
    max: 2,
    needsFile: true,
    async run(session, { operands }) {
      const debug = findDebug(session.node);
      if (!debug) {
        session.out('Could not set breakpoint: Operation not supported\n');
        return -1;
      }
      debug.addBreakpoint(operands[0]!, operands[1]!);
      return 0;
    },
  }),
  define({
    name: 'close',
    aliases: ['c'],
    args: '',
    oneLine: 'close the current open file',
    min: 0,
    max: 0,
    needsFile: true,
    run: async (session) => session.closeImage(),
  }),
  define({
    name: 'discard',
    aliases: ['d'],
    args: '[-Cq] off len',
    oneLine: 'discards a number of bytes at a specified offset',
    min: 2,
    max: -1,
    needsFile: true,
    letters: 'Cq',
    run: discardCommand,
  }),
  define({
    name: 'flush',
    aliases: ['f'],
    args: '',
    oneLine: 'flush all in-core file state to disk',
    min: 0,
    max: 0,
    needsFile: true,
    async run(session) {
      try {
        await session.node!.flush();
        return 0;
      } catch {
        return -1;
      }
    },
  }),
  define({
    name: 'help',
    aliases: ['?'],
    args: '[command]',
    oneLine: 'help for one or all commands',
    min: 0,
    max: 1,
    needsFile: false,
    async run(session, { operands }) {
      if (operands.length === 0) {
        for (const command of ioCommands)
          session.out(
            `${command.name} ${command.args}${command.args === '' && command.name !== 'map' ? '' : ' '}-- ${command.oneLine}\n`,
          );
        session.out("\nUse 'help commandname' for extended help.\n");
        return 0;
      }
      const command = findCommand(operands[0]!);
      if (!command) {
        session.out(`command ${operands[0]} not found\n`);
        return -1;
      }
      usage(session, command);
      return 0;
    },
  }),
  define({
    name: 'info',
    aliases: ['i'],
    args: '',
    oneLine: 'prints information about the current file',
    min: 0,
    max: 0,
    needsFile: true,
    run: infoCommand,
  }),
  define({
    name: 'length',
    aliases: ['l'],
    args: '',
    oneLine: 'gets the length of the current file',
    min: 0,
    max: 0,
    needsFile: true,
    async run(session) {
      session.out(`${sizeText(session.node!.length)}\n`);
      return 0;
    },
  }),
  define({
    name: 'map',
    args: '',
    oneLine: 'prints the allocated areas of a file',
    min: 0,
    max: 0,
    needsFile: true,
    run: mapCommand,
  }),
  define({
    name: 'open',
    aliases: ['o'],
    args: '[-rsCnkU] [-t cache] [-d discard] [-o options] [path]',
    oneLine: 'open the file specified by path',
    min: 1,
    max: -1,
    needsFile: false,
    letters: openLetters,
    run: openCommand,
  }),
  define({
    name: 'quit',
    aliases: ['q'],
    args: '',
    oneLine: 'exit the program',
    min: 0,
    max: -1,
    needsFile: false,
    async run(session) {
      session.isDone = true;
      return 0;
    },
  }),
  define({
    name: 'read',
    aliases: ['r'],
    args: '[-abCqv] [-P pattern [-s off] [-l len]] off len',
    oneLine: 'reads a number of bytes at a specified offset',
    min: 2,
    max: -1,
    needsFile: true,
    letters: 'abCl:pP:qs:v',
    run: readCommand,
  }),
  define({
    name: 'readv',
    args: '[-Cqv] [-P pattern] off len [len..]',
    oneLine: 'reads a number of bytes at a specified offset',
    min: 2,
    max: -1,
    needsFile: true,
    letters: 'CP:qv',
    run: readvCommand,
  }),
  define({
    name: 'remove_break',
    args: 'tag',
    oneLine: 'remove a breakpoint by tag',
    min: 1,
    max: 1,
    needsFile: true,
    async run(session, { operands }) {
      const debug = findDebug(session.node);
      if (debug?.removeBreakpoint(operands[0]!)) return 0;
      session.out(`Could not remove breakpoint ${operands[0]}: ${errorText(debug ? 'ENOENT' : 'ENOTSUP')}\n`);
      return -1;
    },
  }),
  define({
    name: 'reopen',
    args: '[(-r|-w)] [-c cache] [-o options]',
    oneLine: 'reopens an image with new options',
    min: 0,
    max: -1,
    needsFile: true,
    letters: 'c:o:rw',
    run: reopenCommand,
  }),
  define({
    name: 'resume',
    args: 'tag',
    oneLine: 'resumes the request tagged as tag',
    min: 1,
    max: 1,
    needsFile: true,
    async run(session, { operands }) {
      if (findDebug(session.node)?.resume(operands[0]!)) {
        // The request goes on before the next command, as in QEMU.
        await session.tool.host.sleepMs(0);
        return 0;
      }
      session.out(`Could not resume request: ${errorText(findDebug(session.node) ? 'ENOENT' : 'ENOTSUP')}\n`);
      return -1;
    },
  }),
  define({
    name: 'sigraise',
    args: 'signal',
    oneLine: 'raises a signal',
    min: 1,
    max: 1,
    needsFile: false,
    async run(session, { operands }) {
      const signal = parseNumber(session, operands[0]!);
      if (signal === undefined) return -1;
      if (signal > lastSignal) {
        session.out(`signal argument '${operands[0]}' is too large to be a valid signal\n`);
        return -1;
      }
      try {
        if (signal !== 0) process.kill(process.pid, signal);
      } catch {
        // A number that this host has no signal for.
      }
      return 0;
    },
  }),
  define({
    name: 'sleep',
    args: '',
    oneLine: 'waits for the given value in milliseconds',
    min: 1,
    max: 1,
    needsFile: false,
    async run(session, { operands }) {
      const ms = parseInteger(operands[0]!);
      if (typeof ms !== 'number' || ms < 0) {
        session.out(`${operands[0]} is not a valid number\n`);
        return -1;
      }
      await session.tool.host.sleepMs(ms);
      return 0;
    },
  }),
  define({
    name: 'truncate',
    aliases: ['t'],
    args: '[-m prealloc_mode] off',
    oneLine: 'truncates the current file at the given offset',
    min: 1,
    max: 3,
    needsFile: true,
    letters: 'm:',
    run: truncateCommand,
  }),
  define({
    name: 'wait_break',
    args: 'tag',
    oneLine: 'waits for the suspension of a request',
    min: 1,
    max: 1,
    needsFile: true,
    async run(session, { operands }) {
      await findDebug(session.node)?.waitSuspended(operands[0]!);
      return 0;
    },
  }),
  define({
    name: 'write',
    aliases: ['w'],
    args: '[-bcCfnquz] [-P pattern | -s source_file] off len',
    oneLine: 'writes a number of bytes at a specified offset',
    min: 2,
    max: -1,
    needsFile: true,
    letters: 'bcCfnpP:qs:uz',
    run: writeCommand,
  }),
  define({
    name: 'writev',
    args: '[-Cfq] [-P pattern] off len [len..]',
    oneLine: 'writes a number of bytes at a specified offset',
    min: 2,
    max: -1,
    needsFile: true,
    letters: 'CfqP:',
    run: writevCommand,
  }),
];

const writing = new Set(['write', 'writev', 'aio_write', 'discard', 'truncate']);

export function needsWriting(command: IoCommand): boolean {
  return writing.has(command.name);
}

export function findCommand(name: string): IoCommand | undefined {
  return ioCommands.find((command) => command.name === name || command.aliases?.includes(name));
}
