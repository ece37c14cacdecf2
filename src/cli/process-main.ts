/** The process around a command: its streams, what is said of errors, and its end. */
import { writeSync } from 'node:fs';
import { basename } from 'node:path';
import { endAtOnce } from '../host/node/process-end.js';
import { complain, type ProcessIo, print } from './process-io.js';

/** Finds the command that `called` (the program's name) and `argv` ask for, runs it, and gives its exit status. */
export type Dispatch = (called: string, argv: readonly string[], io: ProcessIo) => Promise<number>;

const outputs = new Map<'stdout' | 'stderr', NodeJS.WriteStream>();

function output(name: 'stdout' | 'stderr'): NodeJS.WriteStream {
  let stream = outputs.get(name);
  if (!stream) {
    stream = process[name];
    outputs.set(name, stream);
    // A reader of our messages that has gone away is nothing to stop for; standard output is looked after where it is written.
    stream.on('error', () => {});
  }
  return stream;
}

let writesStream = false;

/** What can't be written at once goes to the stream, and all that follows it. A reader that has gone away gets no more. */
function writeOut(text: string | Uint8Array): void {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text;
  if (writesStream) {
    output('stdout').write(Buffer.from(bytes));
    return;
  }
  let done = 0;
  try {
    while (done < bytes.length) done += writeSync(1, bytes, done);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
    writesStream = true;
    output('stdout').write(Buffer.from(bytes.subarray(done)));
  }
}

async function main(dispatch: Dispatch): Promise<number> {
  const called = basename(process.argv[1] ?? 'vring').replace(/\.(exe|cmd|js|cjs|mjs)$/, '');
  const argv = process.argv.slice(2);
  const io: ProcessIo = {
    // Made when something is read or written: most commands read nothing, and many have nothing to complain of.
    get stdin() {
      return process.stdin;
    },
    get stdout() {
      return output('stdout');
    },
    get stderr() {
      return output('stderr');
    },
    out: writeOut,
    env: process.env,
    toolName: called.startsWith('qemu-') ? called : 'vring',
  };
  try {
    return await dispatch(called, argv, io);
  } catch (error) {
    // A mistake in what was asked for is told in a sentence; so is an error of vring's own, with where it was when asked.
    const { message, stack, code } = error as Partial<Error> & { code?: unknown };
    const known = error instanceof Error && error.name !== 'TypeError' && typeof code === 'string';
    await complain(io, known ? String(message) : `vring itself has failed: ${message ?? String(error)}`);
    if (!known && process.env['VRING_DEBUG']) await print(io.stderr, `${stack ?? ''}\n`);
    return argv[0] === 'run' && argv.includes('--') ? 125 : 1;
  }
}

/** Whatever goes wrong where nobody waits for it: a sentence, and an end that leaves nothing behind. */
function onUnexpected(error: unknown): void {
  const { message, stack } = error as Partial<Error>;
  try {
    output('stderr').write(`vring: vring itself has failed: ${message ?? String(error)}\n`);
    if (process.env['VRING_DEBUG']) output('stderr').write(`${stack ?? ''}\n`);
  } finally {
    process.exit(1);
  }
}

export function runProcess(dispatch: Dispatch): void {
  process.on('uncaughtException', onUnexpected);
  process.on('unhandledRejection', onUnexpected);
  // Node's own answer to this signal is to open a debugger's port.
  process.on('SIGUSR1', () => {});
  // Nothing is under way any more and the command has not ended: it waits for what can't come. That is no success.
  process.on('beforeExit', () => {
    output('stderr').write(`${basename(process.argv[1] ?? 'vring')}: waits for what can no longer happen\n`);
    process.exit(1);
  });
  main(dispatch).then(async (status) => {
    // What waits in the streams goes out first.
    await Promise.all([...outputs.values()].map((stream) => print(stream, '')));
    endAtOnce();
    process.exit(status);
  }, onUnexpected);
}
