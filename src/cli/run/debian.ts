/** `vring run debian`: a shell on the terminal, or a command whose streams are the program's own. */
import { parseDebianName } from '../../distro/index.js';
import { type EndingSignal, onEndingSignal, Terminal } from '../../host/node/terminal.js';
import {
  type CharacterPort,
  type DebianSession,
  type MachineOptions,
  openDebian,
  VringError,
} from '../../vmm/index.js';
import { complain, type ProcessIo, print } from '../process-io.js';
import { Progress } from '../progress.js';
import { UsageError } from '../usage-error.js';
import type { Chardev } from './chardevs.js';
import { connect, StreamSink } from './connect.js';
import { serveGdb } from './gdb-server.js';
import { monitorHost, planObjects, printStatistics, showWarnings } from './index.js';
import { LensView } from './lens.js';
import { LiveChardevs } from './live-chardevs.js';
import { keyName } from './mux.js';
import type { RunObjects } from './run-objects.js';
import type { RunPlan } from './run-plan.js';

const guestSignals = { SIGHUP: 'HUP', SIGINT: 'INT', SIGQUIT: 'QUIT', SIGTERM: 'TERM' } as const;

/** A debugger's monitor knows of none. */
const noChardevs = new LiveChardevs();

/** Variables of the caller's that the guest's shell or command gets. */
const passedVariables = ['TERM', 'LANG', 'COLORTERM'];

export async function runDebian(
  name: string,
  command: readonly string[] | undefined,
  plan: RunPlan,
  io: ProcessIo,
): Promise<number> {
  const suite = parseDebianName(name);
  if (command?.length === 0) throw new UsageError('The command after -- is missing');
  const terminal = new Terminal(io.stdin, io.stdout);
  // Piped input is a script for the shell, whose output is then no terminal's.
  const script = command === undefined && !terminal.inputIsTerminal;
  const run = command ?? (script ? ['sh', '-ls'] : undefined);
  const control = new SignalControl(io, run !== undefined);
  try {
    const objects = await planObjects(plan);
    const session = await prepare(suite, run, plan, objects.options, io, control.signal);
    control.session = session;
    // Standard error is the command's own, unless a choice was asked for.
    showWarnings(session.machine, io, command === undefined || plan.machine.accelerators !== undefined);
    const lens = plan.lens && new LensView(plan.lens, session.machine, terminal, io);
    let stopGdb = () => {};
    try {
      if (plan.gdb)
        stopGdb = await serveGdb(
          plan.gdb,
          monitorHost(plan, noChardevs, session.machine, objects.run, io, () => control.end(0)),
        );
      lens?.start();
      if (command === undefined) await print(io.stderr, firstLine(session, script, plan.escapeByte));
      const status = run
        ? await runStreams(session, plan, io)
        : await runShell(session, plan, objects.run, io, terminal, () => control.end(0));
      return control.forced ?? status;
    } finally {
      stopGdb();
      await session.close();
      await lens?.finish();
      if (plan.stats) await printStatistics(io, plan.stats, await session.machine.statistics().catch(() => ({})));
    }
  } catch (error) {
    if (control.forced !== undefined) return control.forced;
    throw error;
  } finally {
    control.release();
    terminal.leaveRaw();
  }
}

/** What signals do: the first one is the command's, or ends the shell's machine; the second one ends everything. */
class SignalControl {
  forced: number | undefined;
  session: DebianSession | undefined;
  readonly #controller = new AbortController();
  readonly #io: ProcessIo;
  readonly #isCommand: boolean;
  readonly #remove: () => void;
  #count = 0;

  constructor(io: ProcessIo, isCommand: boolean) {
    this.#io = io;
    this.#isCommand = isCommand;
    this.#remove = onEndingSignal((signal, number) => this.#take(signal, number));
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Ends the machine, whatever it does. */
  end(status: number): void {
    this.forced ??= status;
    this.#controller.abort();
    void this.session?.machine.powerOff().catch(() => {});
  }

  release(): void {
    this.#remove();
  }

  #take(signal: EndingSignal, number: number): void {
    this.#count++;
    if (this.#count === 1 && this.#isCommand && this.session?.running) {
      this.session.kill(guestSignals[signal]);
      return;
    }
    if (this.#count > 2) process.exit(128 + number);
    if (!this.#isCommand) this.#io.stderr.write(`\r\n${this.#io.toolName}: terminating on ${signal}\r\n`);
    this.end(128 + number);
  }
}

async function prepare(
  suite: string | undefined,
  command: readonly string[] | undefined,
  plan: RunPlan,
  objects: Pick<MachineOptions, 'secrets' | 'blockObjects'>,
  io: ProcessIo,
  signal: AbortSignal,
): Promise<DebianSession> {
  const progress = new Progress(io.stderr);
  const guestEnvironment: Record<string, string> = {};
  for (const variable of passedVariables) {
    const value = io.env[variable];
    if (value !== undefined && value !== '') guestEnvironment[variable] = value;
  }
  try {
    const {
      kernel: _kernel,
      initrd: _initrd,
      onPowerOff: _off,
      onReset: _reset,
      architecture,
      ...machine
    } = plan.machine;
    return await openDebian(
      {
        suite,
        architecture,
        command,
        offline: plan.offline,
        mirror: plan.mirror,
        env: io.env,
        guestEnvironment,
        machine: { ...machine, ...objects },
        onProgress: (step) => progress.show(step),
        onNotice: (sentence) => {
          progress.clear();
          void complain(io, sentence);
        },
      },
      { signal },
    );
  } finally {
    progress.clear();
  }
}

function firstLine(session: DebianSession, script: boolean, escapeByte: number): string {
  const { codename, release, kernelVersion } = session.system;
  const leave = script ? '' : `; ${keyName(escapeByte)} x leaves`;
  return `Debian ${release ? `${release} ` : ''}(${codename}), Linux ${kernelVersion}, userland busybox for now${leave}\n`;
}

/** The shell's terminal is the program's. */
async function runShell(
  session: DebianSession,
  plan: RunPlan,
  objects: RunObjects,
  io: ProcessIo,
  terminal: Terminal,
  quit: () => void,
): Promise<number> {
  const chardev: Chardev = { id: 'terminal', kind: 'stdio', mux: true, signal: false };
  const attachments = [
    { from: { kind: 'console', index: 0 }, chardev },
    { from: { kind: 'monitor' }, chardev },
    // Console ports of the person's own devices come after the system's two.
    ...plan.attachments.map((each) =>
      each.from.kind === 'console' ? { ...each, from: { kind: 'console' as const, index: each.from.index + 2 } } : each,
    ),
  ] as const;
  const chardevs = await LiveChardevs.open([chardev, ...plan.chardevs]);
  const connection = connect(
    {
      ...monitorHost({ ...plan, attachments }, chardevs, session.machine, objects, io, quit),
      attachments,
      terminal,
      stdin: io.stdin,
      output: new StreamSink(io.stdout, quit),
      errorOutput: new StreamSink(io.stderr, () => {}),
      escapeByte: plan.escapeByte,
      interrupt: quit,
    },
    chardevs,
    (sentence) => void complain(io, sentence),
  );
  try {
    if (!plan.startPaused) await session.start();
    connection.start();
    return await session.exited;
  } finally {
    await connection.finish();
  }
}

/** The command's streams are the program's, byte for byte. */
async function runStreams(session: DebianSession, plan: RunPlan, io: ProcessIo): Promise<number> {
  if (plan.attachments.length > 0) {
    throw new UsageError('-serial, -monitor and -chardev are of no use here: the streams are those of the command');
  }
  const copy = async (from: 'stdout' | 'stderr', to: NodeJS.WriteStream) => {
    const sink = new StreamSink(to, () => session.closeStream(from));
    for await (const bytes of session.stream(from)) await sink.write(bytes);
  };
  const copies = Promise.all([copy('stdout', io.stdout), copy('stderr', io.stderr)]);
  if (!plan.startPaused) await session.start();
  // Not waited for: a command may end without having read everything.
  feed(session.stream('stdin'), io.stdin).catch(() => {});
  try {
    return await session.exited;
  } finally {
    await copies;
    io.stdin.destroy();
  }
}

async function feed(port: CharacterPort, stdin: NodeJS.ReadStream): Promise<void> {
  try {
    for await (const bytes of stdin) await port.write(bytes as Buffer);
  } catch (error) {
    if (error instanceof VringError) throw error;
    // An input that cannot be read ends here.
  }
  port.endInput();
}
