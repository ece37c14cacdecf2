/** Connects a machine's ports and its monitor with the terminal and with files. */
import { assert } from '../../base/index.js';
import { openFailure } from '../../host/node/open-failure.js';
import type { Terminal } from '../../host/node/terminal.js';
import type { WrittenFile } from '../../host/node/written-file.js';
import type { CharacterPort, Machine } from '../../vmm/index.js';
import { type Backend, type OutputSink, PATIENCE_MS } from './backends/backend.js';
import type { Chardev } from './chardevs.js';
import type { OpenChardevs } from './live-chardevs.js';
import { Monitor, type MonitoredRun } from './monitor.js';
import { type FrontEnd, Mux } from './mux.js';
import { QmpMonitor, type ServedHost } from './qmp/serve.js';
import type { Attachment } from './run-plan.js';

/** Typed or piped bytes that the guest has not taken yet; beyond that a terminal's keys are lost, and others wait. */
const inputLimit = 1 << 16;

export interface ConnectOptions extends MonitoredRun {
  readonly attachments: readonly Attachment[];
  readonly terminal: Terminal;
  readonly stdin: NodeJS.ReadStream;
  readonly output: OutputSink;
  readonly errorOutput: OutputSink;
  readonly escapeByte: number;
  /** For a monitor for programs. */
  readonly qmp?: ServedHost | undefined;
  /** What is typed for a person when standard input ends. */
  readonly atEndOfInput?: string | undefined;
  /** Ctrl-C and Ctrl-\ on a terminal that is not shared with a monitor. */
  interrupt(signal: 'SIGINT' | 'SIGQUIT'): void;
}

export interface Connection {
  /** The terminal goes to the guest, if anything leads to it. Called when the machine starts. */
  start(): void;
  /** Every byte of the machine, which has ended, has been written; the terminal is given back. */
  finish(): Promise<void>;
}

/** Standard output, or another stream of the process. A reader that has gone away is told once. */
export class StreamSink implements OutputSink {
  readonly #stream: NodeJS.WritableStream;
  #gone = false;

  constructor(stream: NodeJS.WritableStream, onGone: () => void) {
    this.#stream = stream;
    stream.on('error', () => {
      if (this.#gone) return;
      this.#gone = true;
      onGone();
    });
  }

  write(bytes: Uint8Array | string): Promise<void> {
    if (this.#gone) return Promise.resolve();
    return new Promise((resolve) => {
      this.#stream.write(bytes, () => resolve());
    });
  }
}

class FileSink implements OutputSink {
  readonly #file: WrittenFile;
  readonly #path: string;
  #failed = false;
  readonly #onFailure: (sentence: string) => void;

  constructor(file: WrittenFile, path: string, onFailure: (sentence: string) => void) {
    this.#file = file;
    this.#path = path;
    this.#onFailure = onFailure;
  }

  async write(bytes: Uint8Array | string): Promise<void> {
    if (this.#failed) return;
    try {
      await this.#file.write(typeof bytes === 'string' ? Buffer.from(bytes) : bytes);
    } catch (error) {
      this.#failed = true;
      this.#onFailure(`'${this.#path}' cannot be written: ${openFailure(error)}`);
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

function portOf(machine: Machine, from: Attachment['from']): CharacterPort {
  switch (from.kind) {
    case 'serial':
      return machine.serial(from.index);
    case 'console':
      return machine.console(from.index);
    case 'debugcon':
      return machine.debugConsole();
    case 'semihosting':
      return machine.semihosting(from.of);
    case 'monitor':
    case 'qmp':
      throw new Error('vring invariant broken: a monitor has no port');
  }
}

export function connect(
  options: ConnectOptions,
  { chardevs, files, backends }: OpenChardevs,
  onFailure: (sentence: string) => void,
): Connection {
  const { machine, attachments, output } = options;
  const copies: Promise<void>[] = [];
  const fileSinks: FileSink[] = [];
  const programs: QmpMonitor[] = [];
  let stdio: StdioInput | undefined;
  for (const chardev of chardevs) {
    let sink: OutputSink | undefined;
    const file = files.get(chardev);
    if (file) {
      const fileSink = new FileSink(file, chardev.path as string, onFailure);
      fileSinks.push(fileSink);
      sink = fileSink;
    } else if (chardev.kind === 'stdio') sink = output;
    else if (chardev.kind === 'stdout') sink = output;
    else if (chardev.kind === 'stderr') sink = options.errorOutput;
    const backend = backends.get(chardev);
    sink ??= backend;
    let flow: Flow | undefined;
    const own = attachments.filter((each) => each.chardev === chardev);
    const ports: CharacterPort[] = [];
    const frontEnds: FrontEnd[] = [];
    // What is typed goes to the guest first.
    for (const { from } of [
      ...own.filter((each) => each.from.kind !== 'monitor'),
      ...own.filter((each) => each.from.kind === 'monitor'),
    ]) {
      if (from.kind === 'qmp') {
        assert(options.qmp, 'whoever plans a monitor for programs says what it serves');
        const writes = sink;
        const program = new QmpMonitor(
          options.qmp,
          { write: (text) => void writes?.write(text), cut: () => backend?.hangUp() },
          from.pretty,
        );
        programs.push(program);
        if (!backend) program.opened();
        frontEnds.push({
          name: 'the monitor for programs',
          input: (bytes) => program.input(bytes),
          descriptors: (descriptors) => program.descriptors(descriptors),
          opened: () => program.opened(),
          closed: () => program.closed(),
          settled: () => program.settled(),
        });
        continue;
      }
      if (from.kind === 'monitor') {
        const writes = sink ?? { write: () => Promise.resolve() };
        const monitor = new Monitor({ ...options, write: (text) => void writes.write(text) });
        frontEnds.push({
          name: 'the monitor',
          input: (bytes) => monitor.input(bytes),
          descriptors: (arrived) => monitor.descriptors.arrive(arrived),
          focus: () => monitor.focus(),
          opened: () => {
            monitor.descriptors.opened();
            monitor.restart();
          },
          closed: () => monitor.descriptors.closed(machine.state === 'running'),
          settled: () => monitor.settled(),
        });
        continue;
      }
      const port = portOf(machine, from);
      ports.push(port);
      if (sink) copies.push(copy(port, sink));
      const sendBreak = from.kind === 'serial' ? () => void machine.sendBreak(from.index).catch(() => {}) : undefined;
      frontEnds.push({ name: port.name, input: portInput(port, () => flow), ...(sendBreak ? { sendBreak } : {}) });
    }
    if (own.length === 0) continue;
    if (chardev.kind === 'stdio') {
      stdio = new StdioInput(options, chardev, frontEnds, ports);
      flow = stdio;
    } else if (backend) flow = attachBackend(backend, chardev, frontEnds, options);
  }
  return {
    start: () => stdio?.start(),
    finish: async () => {
      stdio?.stop();
      for (const program of programs) await program.close();
      // A client who does not read holds nobody up for long.
      const closed = [...backends.values()].map(async (backend) => {
        const patience = setTimeout(() => backend.hangUp(), PATIENCE_MS);
        await Promise.all(copies);
        clearTimeout(patience);
        await backend.close();
      });
      await Promise.all([...copies, ...closed]);
      for (const sink of fileSinks) await sink.close();
    },
  };
}

async function copy(port: CharacterPort, sink: OutputSink): Promise<void> {
  for await (const bytes of port) await sink.write(bytes);
}

/** What holds input back while the guest does not take it. */
interface Flow {
  /** False: so much is lost. */
  room(bytes: number): boolean;
  /** So many bytes more, or less, wait for the guest. */
  pending(bytes: number): void;
}

/** What clients of a backend send goes to its front ends. */
function attachBackend(
  backend: Backend,
  { mux }: Chardev,
  frontEnds: readonly FrontEnd[],
  { quit, escapeByte }: ConnectOptions,
): Flow {
  const router = mux
    ? new Mux({ write: (text) => void backend.write(text), quit }, frontEnds, escapeByte)
    : (frontEnds[0] as FrontEnd | undefined);
  const front = mux ? undefined : frontEnds[0];
  const takesDescriptors = front?.descriptors !== undefined;
  backend.attach({
    opened: () => router?.opened?.(),
    closed: () => router?.closed?.(),
    input: (bytes) => router?.input(bytes),
    ...(takesDescriptors ? { descriptors: (arrived) => front?.descriptors?.(arrived) } : {}),
    sendBreak: () => router?.sendBreak?.(),
    settled: async () => await router?.settled?.(),
  });
  let pendingBytes = 0;
  return {
    room: () => true,
    pending(bytes) {
      const waited = pendingBytes > inputLimit;
      pendingBytes += bytes;
      if (pendingBytes > inputLimit !== waited) backend[waited ? 'resume' : 'pause']();
    },
  };
}

/** Hands bytes to a port without waiting; counts what the guest has not taken. */
function portInput(port: CharacterPort, flow: () => Flow | undefined): (bytes: Uint8Array) => void {
  return (bytes) => {
    const input = flow();
    if (input && !input.room(bytes.length)) return;
    input?.pending(bytes.length);
    port.write(bytes).then(
      () => input?.pending(-bytes.length),
      () => {},
    );
  };
}

/** Standard input, as one character device. */
class StdioInput implements Flow {
  readonly #options: ConnectOptions;
  readonly #chardev: Chardev;
  readonly #mux: Mux | undefined;
  readonly #frontEnds: readonly FrontEnd[];
  readonly #ports: readonly CharacterPort[];
  #pendingBytes = 0;
  #started = false;
  #stopResize: (() => void) | undefined;
  readonly #onData = (bytes: Buffer) => this.#input(bytes);
  readonly #onEnd = () => {
    const { atEndOfInput } = this.#options;
    // A monitor is no such person's.
    if (atEndOfInput !== undefined && this.#ports.length > 0)
      this.#frontEnds[0]?.input(new TextEncoder().encode(atEndOfInput));
    for (const port of this.#ports) port.endInput();
  };

  constructor(
    options: ConnectOptions,
    chardev: Chardev,
    frontEnds: readonly FrontEnd[],
    ports: readonly CharacterPort[],
  ) {
    this.#options = options;
    this.#chardev = chardev;
    this.#frontEnds = frontEnds;
    this.#ports = ports;
    if (chardev.mux) {
      const { output, quit } = options;
      this.#mux = new Mux({ write: (text) => void output.write(text), quit }, frontEnds, options.escapeByte);
    }
  }

  start(): void {
    const { terminal, stdin } = this.#options;
    this.#started = true;
    terminal.enterRaw();
    const resize = (size: { columns: number; rows: number }) => {
      for (const port of this.#ports) port.resize(size.columns, size.rows);
    };
    const { size } = terminal;
    if (size) resize(size);
    this.#stopResize = terminal.onResize(resize);
    this.#frontEnds[0]?.focus?.();
    stdin.on('data', this.#onData);
    stdin.on('end', this.#onEnd);
    // A terminal that goes away is followed by SIGHUP; a broken pipe is an end.
    stdin.on('error', this.#onEnd);
    stdin.resume();
  }

  stop(): void {
    if (!this.#started) return;
    const { terminal, stdin } = this.#options;
    stdin.off('data', this.#onData);
    stdin.off('end', this.#onEnd);
    stdin.pause();
    this.#stopResize?.();
    terminal.leaveRaw();
  }

  room(bytes: number): boolean {
    return !this.#options.terminal.inputIsTerminal || this.#pendingBytes + bytes <= inputLimit;
  }

  pending(bytes: number): void {
    this.#pendingBytes += bytes;
    const { terminal, stdin } = this.#options;
    // A terminal's commands must get through whatever the guest does.
    if (terminal.inputIsTerminal) return;
    if (this.#pendingBytes > inputLimit) stdin.pause();
    else if (bytes < 0 && stdin.isPaused()) stdin.resume();
  }

  #input(bytes: Buffer): void {
    if (this.#mux) {
      this.#mux.input(bytes);
      return;
    }
    let rest: Uint8Array = bytes;
    if (this.#chardev.signal && this.#options.terminal.inputIsTerminal) rest = this.#signals(bytes);
    if (rest.length > 0) this.#frontEnds[0]?.input(rest);
  }

  /** In raw mode the terminal sends no signals: its keys do here what they do elsewhere. */
  #signals(bytes: Uint8Array): Uint8Array {
    for (const byte of bytes) {
      if (byte === 0x03) this.#options.interrupt('SIGINT');
      else if (byte === 0x1c) this.#options.interrupt('SIGQUIT');
      else if (byte === 0x1a) this.#options.terminal.suspend();
    }
    return bytes.filter((byte) => byte !== 0x03 && byte !== 0x1c && byte !== 0x1a);
  }
}
