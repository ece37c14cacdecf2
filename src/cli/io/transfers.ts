/** The commands of `vring io` that move or drop data: read, write, readv, writev, aio_read, aio_write, discard. */
import * as fs from 'node:fs';
import { BlockError, errorCode, errorText } from '../../block/errors.js';
import { RequestFlag } from '../../block/node.js';
import { checkRange } from '../../block/range.js';
import { type IoCall, maxLength, parseLength, parseNumber, parsePattern, usage } from './call.js';
import { dump, report } from './numbers.js';
import type { IoSession } from './session.js';

const writePattern = 0xcd;
const readPattern = 0xab;
const sectorBytes = 512;

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

export async function readCommand(session: IoSession, { command, flags, operands }: IoCall): Promise<number> {
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
  const isVmState = flags.has('b');
  if (isVmState && !areSectors(session, offset, length)) return -1;
  const node = session.node!;
  const buffer = new Uint8Array(length).fill(readPattern);
  return timed(
    session,
    { verb: 'read', failure: 'read', offset, length, isQuiet: flags.has('q'), isTerse: flags.has('C') },
    async () => {
      if (isVmState) {
        if (!node.instance.readVmState) throw new BlockError('ENOTSUP');
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

export async function writeCommand(session: IoSession, { command, flags, operands }: IoCall): Promise<number> {
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
  const length = flags.has('n')
    ? parseNumber(session, operands[1]!)
    : parseLength(session, operands[1]!, ' without -n');
  if (length === undefined) return -1;
  if ((flags.has('b') || flags.has('c')) && !areSectors(session, offset, length)) return -1;
  let buffer: Uint8Array = new Uint8Array(0);
  if (flags.has('s')) {
    try {
      const source = fs.readFileSync(flags.get('s')!);
      if (source.length === 0) {
        session.complain(`${flags.get('s')}: file is empty`);
        return -1;
      }
      buffer = new Uint8Array(length);
      for (let at = 0; at < length; at += source.length)
        buffer.set(source.subarray(0, Math.min(source.length, length - at)), at);
    } catch (error) {
      session.complain(`${flags.get('s')}: ${errorText(errorCode(error))}`);
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
        if (!node.instance.writeVmState) throw new BlockError('ENOTSUP');
        await node.instance.writeVmState(offset, buffer);
        return;
      }
      checkRange(node, offset, length);
      if (flags.has('z')) await node.writeZeroes(offset, length, bits);
      else await node.write(offset, buffer, bits | (flags.has('c') ? RequestFlag.compressed : 0));
    },
  );
}

/** Whole sectors are needed: of the machine's state, and where clusters are compressed. */
function areSectors(session: IoSession, offset: number, length: number): boolean {
  for (const [name, value] of [
    ['offset', offset],
    ['count', length],
  ] as const) {
    if (value % sectorBytes === 0) continue;
    session.out(`${value} is not a sector-aligned value for '${name}'\n`);
    return false;
  }
  return true;
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

export async function readvCommand(session: IoSession, call: IoCall): Promise<number> {
  const request = await vectorRequest(session, call, false);
  if (!request) return -1;
  const { flags } = call;
  const { offset, length, buffers, pattern } = request;
  return timed(
    session,
    { verb: 'read', failure: 'readv', offset, length, isQuiet: flags.has('q'), isTerse: flags.has('C') },
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

export async function writevCommand(session: IoSession, call: IoCall): Promise<number> {
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

/** Starts the request; its report comes when it ends (at the latest with aio_flush), and its failure is no failure of the command. */
export async function aioReadCommand(session: IoSession, call: IoCall): Promise<number> {
  const { flags } = call;
  if (flags.has('i')) {
    session.out('injecting invalid read request\n');
    return 0;
  }
  const request = await vectorRequest(session, call, false);
  if (!request) return -1;
  const { offset, length, buffers, pattern } = request;
  const isQuiet = flags.has('q');
  session.start(async () => {
    const start = session.tool.host.monotonicNs();
    try {
      checkRange(session.node!, offset, length);
      await session.node!.readVector(offset, buffers);
    } catch (error) {
      session.out(`readv failed: ${errorText(errorCode(error))}\n`);
      return;
    }
    const whole = Buffer.concat(buffers);
    if (pattern !== undefined) verifyPattern(session, whole, pattern, offset);
    if (!isQuiet && flags.has('v')) session.out(dump(whole, offset));
    if (!isQuiet)
      session.out(
        report('read', offset, length, length, 1, (session.tool.host.monotonicNs() - start) / 1e9, flags.has('C')),
      );
  });
  return 0;
}

export async function aioWriteCommand(session: IoSession, call: IoCall): Promise<number> {
  const { flags, operands, command } = call;
  if (flags.has('z') && operands.length !== 2) {
    session.out('-z supports only a single length parameter\n');
    return -1;
  }
  if (flags.has('u') && !flags.has('z')) {
    session.out('-u requires -z to be specified\n');
    return -1;
  }
  if (operands.length < 2) return usage(session, command);
  if (flags.has('i')) {
    session.out('injecting invalid write request\n');
    return 0;
  }
  const request = flags.has('z') ? await zeroRequest(session, operands) : await vectorRequest(session, call, true);
  if (!request) return -1;
  const { offset, length, buffers } = request;
  const bits = (flags.has('f') ? RequestFlag.fua : 0) | (flags.has('u') ? RequestFlag.mayUnmap : 0);
  session.start(async () => {
    const start = session.tool.host.monotonicNs();
    try {
      checkRange(session.node!, offset, length);
      if (flags.has('z')) await session.node!.writeZeroes(offset, length, bits);
      else await session.node!.writeVector(offset, buffers, bits);
    } catch (error) {
      session.out(`aio_write failed: ${errorText(errorCode(error))}\n`);
      return;
    }
    if (!flags.has('q'))
      session.out(
        report('wrote', offset, length, length, 1, (session.tool.host.monotonicNs() - start) / 1e9, flags.has('C')),
      );
  });
  return 0;
}

async function zeroRequest(session: IoSession, operands: readonly string[]) {
  const offset = parseNumber(session, operands[0]!);
  if (offset === undefined) return undefined;
  const length = parseLength(session, operands[1]!);
  return length === undefined ? undefined : { offset, length, buffers: [] as Uint8Array[] };
}

export async function discardCommand(session: IoSession, { flags, operands, command }: IoCall): Promise<number> {
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
