/**
 * Debian in a machine: a shell on a console, or one command whose streams are the caller's. What the guest and its owner say
 * to each other is in src/distro/guest-protocol.ts.
 */
import { VringError } from '../base/index.js';
import {
  encodeHostMessage,
  GuestMessageDecoder,
  type GuestSignal,
  guestPorts,
  guestProtocolVersion,
  type HostMessage,
  type PrepareDebianOptions,
  type PreparedDebian,
  prepareDebian,
} from '../distro/index.js';
import { abortedError, bounded, type WaitOptions } from './abort.js';
import { findArchitecture } from './architectures.js';
import type { CharacterPort } from './character-port.js';
import { createMachine } from './machine.js';
import type { Machine } from './machine-interface.js';
import type { MachineOptions } from './machine-options.js';

export const DEBIAN_RAM_BYTES = 512 << 20;
/** What is kept of the kernel's words, for when things go wrong. */
const LOG_LIMIT = 16384;
/** After the status the guest takes off its disks and switches off. */
const POWER_OFF_MS = 30_000;
/** Memory that a command's output may take in `runCommand`. */
const OUTPUT_LIMIT = 1 << 30;

/** The machine's own options that make sense for a system that brings its kernel. */
export type SystemMachineOptions = Omit<
  MachineOptions,
  'architecture' | 'kernel' | 'initrd' | 'onPowerOff' | 'onReset'
>;

export interface DebianOptions extends Omit<PrepareDebianOptions, 'command' | 'console' | 'signal'> {
  /** What to run; a login shell on the console unless given. */
  readonly command?: readonly string[] | undefined;
  /** 512 MiB of RAM unless given; the command line is added to the system's own. */
  readonly machine?: SystemMachineOptions | undefined;
}

export interface DebianSession extends AsyncDisposable {
  readonly machine: Machine;
  readonly system: Omit<PreparedDebian, 'kernel' | 'initrd'>;
  /** The shell's terminal. Throws VringError `no-such-port` when a command runs. */
  console(): CharacterPort;
  /** A stream of the command. Throws VringError `no-such-port` when a shell runs. */
  stream(name: 'stdin' | 'stdout' | 'stderr'): CharacterPort;
  /** Starts the machine. Readers of its streams should be in place. */
  start(): Promise<void>;
  /**
   * Status of the shell or command, once the machine has ended: 128+n for signal n, 126 and 127 as in a shell. Rejects with
   * VringError `guest-failed` when the guest ended without one.
   */
  readonly exited: Promise<number>;
  /** Whether the shell or command has been started. */
  readonly running: boolean;
  /** Sends a signal to the command; before it runs, as soon as it does. */
  kill(signal: GuestSignal): void;
  /** Nobody reads a stream of the command any more: its further writes fail. */
  closeStream(name: 'stdout' | 'stderr'): void;
  /** The last words of the kernel. */
  readonly kernelLog: string;
  close(): Promise<void>;
}

class RunningDebian implements DebianSession {
  readonly machine: Machine;
  readonly system: DebianSession['system'];
  readonly exited: Promise<number>;
  running = false;
  kernelLog = '';
  readonly #control: CharacterPort;
  readonly #decoder = new GuestMessageDecoder();
  readonly #queued: HostMessage[] = [];
  readonly #isCommand: boolean;
  #status: number | undefined;
  #failure: string | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(machine: Machine, system: DebianSession['system'], isCommand: boolean) {
    this.machine = machine;
    this.system = system;
    this.#isCommand = isCommand;
    this.#control = machine.console(guestPorts.control);
    this.#control.onData((bytes) => this.#hear(bytes));
    const decoder = new TextDecoder();
    machine.serial(0).onData((bytes) => {
      this.kernelLog = (this.kernelLog + decoder.decode(bytes, { stream: true })).slice(-LOG_LIMIT);
    });
    this.exited = machine.ended.then(
      () => this.#outcome(),
      (error: unknown) => {
        clearTimeout(this.#timer);
        // The status stands, whatever befell the machine after it.
        if (this.#status !== undefined) return this.#status;
        throw error;
      },
    );
    this.exited.catch(() => {});
  }

  console(): CharacterPort {
    return this.machine.console('console');
  }

  stream(name: 'stdin' | 'stdout' | 'stderr'): CharacterPort {
    return this.machine.console(guestPorts[name]);
  }

  async start(): Promise<void> {
    await this.machine.start();
  }

  kill(signal: GuestSignal): void {
    this.#tell({ type: 'signal', signal });
  }

  closeStream(name: 'stdout' | 'stderr'): void {
    if (this.#isCommand) this.#tell({ type: 'close', stream: name });
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.machine.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #tell(message: HostMessage): void {
    if (this.running) this.#control.write(encodeHostMessage(message)).catch(() => {});
    else this.#queued.push(message);
  }

  #hear(bytes: Uint8Array): void {
    for (const message of this.#decoder.push(bytes)) {
      switch (message.type) {
        case 'hello':
          if (message.version !== guestProtocolVersion) {
            this.#failure ??= `The guest speaks version ${message.version} of the protocol, not ${guestProtocolVersion}.`;
            void this.machine.powerOff().catch(() => {});
            return;
          }
          if (this.running) break;
          this.running = true;
          this.#tell({ type: 'start' });
          for (const queued of this.#queued.splice(0)) this.#tell(queued);
          break;
        case 'status':
          this.#status ??= message.status;
          this.#timer ??= setTimeout(() => void this.machine.powerOff().catch(() => {}), POWER_OFF_MS);
          break;
        case 'failed':
          this.#failure ??= message.sentence;
      }
    }
  }

  #outcome(): number {
    clearTimeout(this.#timer);
    if (this.#status !== undefined) return this.#status;
    const last = this.kernelLog.trimEnd().split(/\r?\n/).at(-1)?.trim();
    const why = this.#failure ?? `The guest ended without a status${last ? `; its last words: ${last}` : '.'}`;
    throw new VringError('guest-failed', why);
  }
}

/**
 * Prepares Debian and builds its machine, which stands still until `start`. Throws what `prepareDebian` and `createMachine`
 * throw.
 */
export async function openDebian(options: DebianOptions = {}, wait: WaitOptions = {}): Promise<DebianSession> {
  const { machine: own = {}, ...preparation } = options;
  const { signal } = wait;
  if (signal?.aborted) throw abortedError(signal);
  // The shell is on a virtio console, which is faster than a serial line and knows the window's size; the kernel's own words
  // are on the serial line.
  const isCommand = options.command !== undefined;
  // Before anything is fetched for a machine that there is not.
  if (options.architecture !== undefined) findArchitecture(options.architecture);
  const prepared = await prepareDebian({ ...preparation, ...(isCommand ? {} : { console: 'hvc0' }), signal });
  const { kernel, initrd, ...system } = prepared;
  const ports = isCommand
    ? [guestPorts.stdin, guestPorts.stdout, guestPorts.stderr].map((name) => ({ name }))
    : [{ name: 'console', console: true }];
  const machine = await createMachine(
    {
      ...own,
      architecture: prepared.architecture,
      ramBytes: own.ramBytes ?? DEBIAN_RAM_BYTES,
      kernel,
      initrd,
      commandLine: ['console=ttyS0 quiet panic=-1', own.commandLine ?? ''].join(' ').trim(),
      serialPorts: [true, ...(own.serialPorts ?? []).slice(1)],
      devices: [
        { type: 'virtio-serial', ports: [...ports, { name: guestPorts.control }] },
        { type: 'virtio-rng' },
        ...(own.devices ?? []),
      ],
      onReset: 'end',
      onPowerOff: 'end',
    },
    wait,
  );
  return new RunningDebian(machine, system, isCommand);
}

export interface RunCommandOptions extends Omit<DebianOptions, 'command'> {
  /** What the command reads; nothing unless given. */
  readonly stdin?: Uint8Array | string | AsyncIterable<Uint8Array> | undefined;
  /** Called with what it writes, beside its being collected. */
  readonly onStdout?: ((bytes: Uint8Array) => void) | undefined;
  readonly onStderr?: ((bytes: Uint8Array) => void) | undefined;
}

export interface CommandResult {
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  /** As a shell tells it: 128+n for signal n, 126 and 127 for a command that could not be run. */
  readonly status: number;
}

/**
 * Runs one command in a Debian machine of its own. Throws what `openDebian` throws, VringError `guest-failed`, and `aborted` or
 * `timeout`, upon which the machine has ended.
 */
export async function runCommand(
  options: RunCommandOptions,
  command: readonly string[],
  wait: WaitOptions = {},
): Promise<CommandResult> {
  const { stdin, onStdout, onStderr, ...rest } = options;
  const late = () => new VringError('timeout', `The command did not end in ${wait.timeoutMs} ms.`);
  const controller = new AbortController();
  const work = async (): Promise<CommandResult> => {
    const session = await openDebian({ ...rest, command }, { signal: controller.signal });
    try {
      const end = () => void session.close();
      controller.signal.addEventListener('abort', end, { once: true });
      const outputs = [
        collect(session.stream('stdout'), onStdout),
        collect(session.stream('stderr'), onStderr),
      ] as const;
      await session.start();
      // Not waited for: a command may end without having read everything.
      feed(session.stream('stdin'), stdin).catch(() => {});
      const [status, stdout, stderr] = await Promise.all([session.exited, ...outputs]);
      return { stdout, stderr, status };
    } finally {
      await session.close();
    }
  };
  const working = work();
  try {
    return await bounded(working, wait, late, () => controller.abort());
  } catch (error) {
    // Nothing of it is left behind.
    await working.catch(() => {});
    throw error;
  }
}

async function feed(port: CharacterPort, stdin: RunCommandOptions['stdin']): Promise<void> {
  try {
    if (typeof stdin === 'string' || stdin instanceof Uint8Array) await port.write(stdin);
    else if (stdin !== undefined) for await (const bytes of stdin) await port.write(bytes);
  } finally {
    port.endInput();
  }
}

async function collect(port: CharacterPort, listener?: (bytes: Uint8Array) => void): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let total = 0;
  for await (const bytes of port) {
    listener?.(bytes);
    total += bytes.length;
    if (total > OUTPUT_LIMIT) throw new VringError('output-too-large', 'The command wrote more than 1 GiB.');
    chunks.push(bytes);
  }
  return Buffer.concat(chunks, total);
}
