/** The commands of `vring io` (qemu-io's language): requests on one open image, each reported with its size and speed. */
import * as fs from 'node:fs';
import { BlockError, errorCode, errorText, toBlockError } from '../../block/errors.js';
import { BlkdebugNode } from '../../block/filters/blkdebug.js';
import { checkRange, type GraphNode } from '../../block/graph-node.js';
import { type BlockNode, type Preallocation, RequestFlag } from '../../block/node.js';
import { dump, number, report, sizeText } from './numbers.js';
import type { IoSession } from './session.js';

const maxLength = 2147483136;
const writePattern = 0xcd;
const readPattern = 0xab;

export interface IoCommand {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly args: string;
  readonly oneLine: string;
  /** Bounds on the number of arguments; -1: none. */
  readonly min: number;
  readonly max: number;
  readonly needsFile: boolean;
  /** Option letters; those followed by `:` take a value. */
  readonly letters?: string;
  run(session: IoSession, call: IoCall): Promise<number>;
}

export interface IoCall {
  readonly command: IoCommand;
  readonly flags: ReadonlyMap<string, string>;
  readonly operands: readonly string[];
}

function parsingError(session: IoSession, text: string): undefined {
  session.out(`Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- ${text}\n`);
  return undefined;
}

function parseNumber(session: IoSession, text: string): number | undefined {
  return number(text) ?? parsingError(session, text);
}

function parseLength(session: IoSession, text: string): number | undefined {
  const value = parseNumber(session, text);
  if (value !== undefined && value > maxLength) {
    session.out(`length cannot exceed ${maxLength}, given ${text}\n`);
    return undefined;
  }
  return value;
}

function parsePattern(session: IoSession, text: string): number | undefined {
  const value = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN;
  if (!(value >= 0 && value <= 255)) {
    session.out(`${text} is not a valid pattern byte\n`);
    return undefined;
  }
  return value;
}

function usage(session: IoSession, command: IoCommand): number {
  session.out(`${command.name} ${command.args} -- ${command.oneLine}\n`);
  return -1;
}

/** Runs one request and prints its report; gives 0 or -1. */
async function timed(
  session: IoSession,
  how: { verb: string; failure: string; offset: number; length: number; isQuiet: boolean; isTerse: boolean },
  work: () => Promise<void>,
  after?: () => number,
): Promise<number> {
  const start = session.tool.host.monotonicNs();
  try {
    await work();
  } catch (error) {
    session.out(`${how.failure} failed: ${errorText(errorCode(error))}\n`);
    return -1;
  }
  const seconds = (session.tool.host.monotonicNs() - start) / 1e9;
  const result = after?.() ?? 0;
  if (!how.isQuiet) session.out(report(how.verb, how.offset, how.length, how.length, 1, seconds, how.isTerse));
  return result;
}

/** Prints a mismatch; -1 if there is one. */
function verifyPattern(session: IoSession, bytes: Uint8Array, pattern: number, offset: number): number {
  if (bytes.every((byte) => byte === pattern)) return 0;
  session.out(`Pattern verification failed at offset ${offset}, ${bytes.length} bytes\n`);
  return -1;
}

async function readCommand(session: IoSession, { command, flags, operands }: IoCall): Promise<number> {
  if (operands.length !== 2) return usage(session, command);
  const pattern = flags.has('P') ? parsePattern(session, flags.get('P')!) : undefined;
  if (flags.has('P') && pattern === undefined) return -1;
  if (!flags.has('P') && (flags.has('l') || flags.has('s'))) return usage(session, command);
  const offset = parseNumber(session, operands[0]!);
  if (offset === undefined) return -1;
  const length = parseLength(session, operands[1]!);
  if (length === undefined) return -1;
  const from = flags.has('s') ? parseNumber(session, flags.get('s')!) : 0;
  if (from === undefined) return -1;
  const count = flags.has('l') ? parseNumber(session, flags.get('l')!) : length - from;
  if (count === undefined) return -1;
  if (count < 0 || from + count > length) {
    session.out('pattern verification range exceeds end of read data\n');
    return -1;
  }
  const node = session.node!;
  const buffer = new Uint8Array(length).fill(readPattern);
  const isVmState = flags.has('b');
  return timed(
    session,
    { verb: 'read', failure: 'read', offset, length, isQuiet: flags.has('q'), isTerse: flags.has('C') },
    async () => {
      if (isVmState) {
        if (!node.instance.readVmState) throw new BlockError('ENOMEDIUM');
        await node.instance.readVmState(offset, buffer);
        return;
      }
      checkRange(node, offset, length);
      await node.read(offset, buffer);
    },
    () => {
      const result =
        pattern === undefined ? 0 : verifyPattern(session, buffer.subarray(from, from + count), pattern, offset + from);
      if (!flags.has('q') && flags.has('v')) session.out(dump(buffer, offset));
      return result;
    },
  );
}

async function writeCommand(session: IoSession, { command, flags, operands }: IoCall): Promise<number> {
  if (operands.length !== 2) return usage(session, command);
  if (flags.has('b') && flags.has('z')) {
    session.out('-b and -z cannot be specified at the same time\n');
    return -1;
  }
  if ((flags.has('b') || flags.has('c')) && flags.has('f')) {
    session.out('-f and -b or -c cannot be specified at the same time\n');
    return -1;
  }
  if (flags.has('n') && !flags.has('z')) {
    session.out('-n requires -z to be specified\n');
    return -1;
  }
  if (flags.has('u') && !flags.has('z')) {
    session.out('-u requires -z to be specified\n');
    return -1;
  }
  if (['z', 'P', 's'].filter((flag) => flags.has(flag)).length > 1) {
    session.out('Only one of -z, -P, and -s can be specified at the same time\n');
    return -1;
  }
  const pattern = flags.has('P') ? parsePattern(session, flags.get('P')!) : writePattern;
  if (pattern === undefined) return -1;
  const offset = parseNumber(session, operands[0]!);
  if (offset === undefined) return -1;
  const length = parseLength(session, operands[1]!);
  if (length === undefined) return -1;
  let buffer: Uint8Array = new Uint8Array(0);
  if (flags.has('s')) {
    try {
      const source = fs.readFileSync(flags.get('s')!);
      if (source.length === 0) {
        session.out(`${flags.get('s')}: file is empty\n`);
        return -1;
      }
      buffer = new Uint8Array(length);
      for (let at = 0; at < length; at += source.length)
        buffer.set(source.subarray(0, Math.min(source.length, length - at)), at);
    } catch (error) {
      session.out(`${flags.get('s')}: ${errorText(errorCode(error))}\n`);
      return -1;
    }
  } else if (!flags.has('z')) buffer = new Uint8Array(length).fill(pattern);
  const node = session.node!;
  const bits =
    (flags.has('f') ? RequestFlag.fua : 0) |
    (flags.has('u') ? RequestFlag.mayUnmap : 0) |
    (flags.has('n') ? RequestFlag.noFallback : 0);
  return timed(
    session,
    { verb: 'wrote', failure: 'write', offset, length, isQuiet: flags.has('q'), isTerse: flags.has('C') },
    async () => {
      if (flags.has('b')) {
        if (!node.instance.writeVmState) throw new BlockError('ENOMEDIUM');
        await node.instance.writeVmState(offset, buffer);
        return;
      }
      checkRange(node, offset, length);
      if (flags.has('z')) await node.writeZeroes(offset, length, bits);
      else await node.write(offset, buffer, bits | (flags.has('c') ? RequestFlag.compressed : 0));
    },
  );
}

/** Lengths after the offset of vectored requests. */
function parseVector(session: IoSession, operands: readonly string[]): number[] | undefined {
  const lengths: number[] = [];
  let total = 0;
  for (const operand of operands) {
    const length = parseNumber(session, operand);
    if (length === undefined) return undefined;
    total += length;
    if (total > maxLength) {
      session.out(`Argument '${operand}' exceeds maximum size ${maxLength}\n`);
      return undefined;
    }
    lengths.push(length);
  }
  return lengths;
}

async function vectorRequest(
  session: IoSession,
  call: IoCall,
  isWrite: boolean,
): Promise<
  | {
      readonly offset: number;
      readonly length: number;
      readonly buffers: Uint8Array[];
      readonly pattern: number | undefined;
    }
  | undefined
> {
  const { flags, operands, command } = call;
  if (operands.length < 2) {
    usage(session, command);
    return undefined;
  }
  const pattern = flags.has('P') ? parsePattern(session, flags.get('P')!) : undefined;
  if (flags.has('P') && pattern === undefined) return undefined;
  const offset = parseNumber(session, operands[0]!);
  if (offset === undefined) return undefined;
  const lengths = parseVector(session, operands.slice(1));
  if (!lengths) return undefined;
  const fill = isWrite ? (pattern ?? writePattern) : readPattern;
  return {
    offset,
    length: lengths.reduce((sum, length) => sum + length, 0),
    buffers: lengths.map((length) => new Uint8Array(length).fill(fill)),
    pattern,
  };
}

async function readvCommand(session: IoSession, call: IoCall): Promise<number> {
  const request = await vectorRequest(session, call, false);
  if (!request) return -1;
  const { flags } = call;
  const { offset, length, buffers, pattern } = request;
  return timed(
    session,
    { verb: 'read', failure: 'read', offset, length, isQuiet: flags.has('q'), isTerse: flags.has('C') },
    async () => {
      checkRange(session.node!, offset, length);
      await session.node!.readVector(offset, buffers);
    },
    () => {
      const whole = Buffer.concat(buffers);
      const result = pattern === undefined ? 0 : verifyPattern(session, whole, pattern, offset);
      if (!flags.has('q') && flags.has('v')) session.out(dump(whole, offset));
      return result;
    },
  );
}

async function writevCommand(session: IoSession, call: IoCall): Promise<number> {
  const request = await vectorRequest(session, call, true);
  if (!request) return -1;
  const { flags } = call;
  const { offset, length, buffers } = request;
  return timed(
    session,
    { verb: 'wrote', failure: 'writev', offset, length, isQuiet: flags.has('q'), isTerse: flags.has('C') },
    async () => {
      checkRange(session.node!, offset, length);
      await session.node!.writeVector(offset, buffers, flags.has('f') ? RequestFlag.fua : 0);
    },
  );
}

/** Starts the request; its report comes when it ends (at the latest with aio_flush). */
async function aioReadCommand(session: IoSession, call: IoCall): Promise<number> {
  const request = await vectorRequest(session, call, false);
  if (!request) return 0;
  const { flags } = call;
  const { offset, length, buffers, pattern } = request;
  const isQuiet = flags.has('q');
  session.start(async () => {
    const start = session.tool.host.monotonicNs();
    try {
      if (flags.has('i')) throw new BlockError('EINVAL');
      checkRange(session.node!, offset, length);
      await session.node!.readVector(offset, buffers);
    } catch (error) {
      session.out(`readv failed: ${errorText(errorCode(error))}\n`);
      return -1;
    }
    const whole = Buffer.concat(buffers);
    const result = pattern === undefined ? 0 : verifyPattern(session, whole, pattern, offset);
    if (!isQuiet && flags.has('v')) session.out(dump(whole, offset));
    if (!isQuiet)
      session.out(
        report('read', offset, length, length, 1, (session.tool.host.monotonicNs() - start) / 1e9, flags.has('C')),
      );
    return result;
  });
  return 0;
}

async function aioWriteCommand(session: IoSession, call: IoCall): Promise<number> {
  const { flags, operands, command } = call;
  if (flags.has('z') && operands.length !== 2) {
    session.out('-z supports only a single length parameter\n');
    return -1;
  }
  if (flags.has('u') && !flags.has('z')) {
    session.out('-u requires -z to be specified\n');
    return -1;
  }
  if (flags.has('z') && flags.has('P')) {
    session.out('-z and -P cannot be specified at the same time\n');
    return -1;
  }
  if (operands.length < 2) return usage(session, command);
  const request = flags.has('z') ? await zeroRequest(session, operands) : await vectorRequest(session, call, true);
  if (!request) return 0;
  const { offset, length, buffers } = request;
  const bits = (flags.has('f') ? RequestFlag.fua : 0) | (flags.has('u') ? RequestFlag.mayUnmap : 0);
  session.start(async () => {
    const start = session.tool.host.monotonicNs();
    try {
      if (flags.has('i')) throw new BlockError('EINVAL');
      checkRange(session.node!, offset, length);
      if (flags.has('z')) await session.node!.writeZeroes(offset, length, bits);
      else await session.node!.writeVector(offset, buffers, bits);
    } catch (error) {
      session.out(`aio_write failed: ${errorText(errorCode(error))}\n`);
      return -1;
    }
    if (!flags.has('q'))
      session.out(
        report('wrote', offset, length, length, 1, (session.tool.host.monotonicNs() - start) / 1e9, flags.has('C')),
      );
    return 0;
  });
  return 0;
}

async function zeroRequest(session: IoSession, operands: readonly string[]) {
  const offset = parseNumber(session, operands[0]!);
  if (offset === undefined) return undefined;
  const length = parseLength(session, operands[1]!);
  return length === undefined ? undefined : { offset, length, buffers: [] as Uint8Array[] };
}

async function discardCommand(session: IoSession, { flags, operands, command }: IoCall): Promise<number> {
  if (operands.length !== 2) return usage(session, command);
  const offset = parseNumber(session, operands[0]!);
  if (offset === undefined) return -1;
  const length = parseLength(session, operands[1]!);
  if (length === undefined) return -1;
  return timed(
    session,
    { verb: 'discard', failure: 'discard', offset, length, isQuiet: flags.has('q'), isTerse: flags.has('C') },
    async () => {
      checkRange(session.node!, offset, length);
      await session.node!.discard(offset, length);
    },
  );
}

async function allocCommand(session: IoSession, { operands }: IoCall): Promise<number> {
  const start = parseNumber(session, operands[0]!);
  if (start === undefined) return -1;
  const count = operands[1] === undefined ? 512 : parseNumber(session, operands[1]);
  if (count === undefined) return -1;
  let allocated = 0;
  for (let at = start; at < start + count; ) {
    const left = start + count - at;
    const status = await session.node!.blockStatus(at, left, false);
    const size = Math.min(status.length, left);
    if (status.allocated) allocated += size;
    at += size;
  }
  session.out(`${allocated}/${count} bytes allocated at offset ${sizeText(start)}\n`);
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
      session.tool.error(`Parameter 'preallocation mode' does not accept value '${mode}'`);
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

const openLetters = 'snCro:ki:t:d:U';

async function openCommand(session: IoSession, { flags, operands, command }: IoCall): Promise<number> {
  if (session.node) {
    session.tool.error("file open already, try 'help close'");
    return -1;
  }
  if (operands.length > 1 || (operands.length === 0 && !flags.has('o'))) return usage(session, command);
  return session.openImage(operands[0], flags);
}

async function reopenCommand(session: IoSession, { flags }: IoCall): Promise<number> {
  const node = session.node as GraphNode;
  if (flags.has('r') && flags.has('w')) {
    session.tool.error('Only one -r/-c/-w option may be given');
    return -1;
  }
  try {
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
    max: 1,
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
    max: 0,
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
      if (!debug) {
        session.out(`Could not remove breakpoint ${operands[0]}: Operation not supported\n`);
        return -1;
      }
      debug.removeBreakpoint(operands[0]!);
      return 0;
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
      if (signal !== 0) process.kill(process.pid, signal);
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
      const ms = parseNumber(session, operands[0]!);
      if (ms === undefined) return -1;
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
