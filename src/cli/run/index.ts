/** `vring run`, also as `qemu-system-x86_64`. */
import { rmSync, writeFileSync } from 'node:fs';
import { type OptionDict, toBlockError } from '../../block/index.js';
import { NodeBlockHost } from '../../host/node/block-host.js';
import { tuneForMachines } from '../../host/node/engine-flags.js';
import { machineThreadLoaded } from '../../host/node/machine-thread.js';
import { openFailure } from '../../host/node/open-failure.js';
import { onEndingSignal, Terminal } from '../../host/node/terminal.js';
import { DEFAULT_ARCHITECTURE, findArchitecture, ramIdOf } from '../../vmm/architectures.js';
import {
  createMachine,
  type Machine,
  type MachineEnd,
  type MachineOptions,
  type Statistics,
  VringError,
} from '../../vmm/index.js';
import { DEFAULT_RAM_BYTES } from '../../vmm/machine-options.js';
import { prepareMachines } from '../../vmm/routine-modules.js';
import { runForked, tellForker } from '../fork.js';
import { commandHelp } from '../help.js';
import { defineObject } from '../img/objects.js';
import { KeyValues } from '../options/key-values.js';
import { type GivenOption, parseLine } from '../options/parse.js';
import { complain, type ProcessIo, print } from '../process-io.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import { monitorWords, programVersion, versionLine } from '../version.js';
import { PtyBackend } from './backends/pty.js';
import { tellingPlaces, withConfigFiles } from './config-file.js';
import { planRun } from './configure.js';
import { connect, StreamSink } from './connect.js';
import { serveGdb } from './gdb-server.js';
import { helpTopic } from './help-topics.js';
import { holdDrive } from './hotplug.js';
import { LensView } from './lens.js';
import { LiveChardevs, type OpenChardevs } from './live-chardevs.js';
import type { MonitoredRun } from './monitor.js';
import { noNetwork } from './networks.js';
import { runCommand, unsupportedRunOptions } from './options.js';
import { panicStatus, type RunActions } from './plan-actions.js';
import { descriptorsToHandOn, takeDescriptors } from './plan-descriptors.js';
import { RunObjects } from './run-objects.js';
import type { RunPlan } from './run-plan.js';
import { serveVnc } from './screen-options.js';
import { TextDisplay } from './text-display.js';

/** Exit status of a program that wrote to a pipe without a reader. */
export const BROKEN_PIPE_STATUS = 141;

export async function run(argv: readonly string[], io: ProcessIo): Promise<number> {
  // With a command all that vring itself fails at is 125, as `docker run` and `env` have it.
  const failure = argv.includes('--') ? 125 : 1;
  try {
    return await runParsed(argv, io);
  } catch (error) {
    if (!(error instanceof VringError)) throw error;
    await complain(io, error.message);
    // Registers of a guest that the host's KVM gave up.
    if (error.code === 'kvm-internal' && typeof error.cause === 'string') await print(io.stderr, `${error.cause}\n`);
    return failure;
  }
}

/** Set in the process that -daemonize starts. */
const forkedVariable = 'VRING_RUN_FORKED';

async function runParsed(argv: readonly string[], io: ProcessIo): Promise<number> {
  const called = /^qemu-system-(.+)$/.exec(io.toolName)?.[1];
  const fallback = called === undefined ? DEFAULT_ARCHITECTURE : findArchitecture(called);
  const help = helpTopic(argv, fallback);
  if (help !== undefined) {
    await print(io.stdout, `${help}\n`);
    return 0;
  }
  const line = parseLine(runCommand, argv, { unsupported: unsupportedRunOptions });
  if (line.given.some(({ row }) => row.name === 'h')) {
    const called = io.toolName.startsWith('qemu-') ? `${programVersion(io.toolName)}\n` : '';
    await print(io.stdout, `${called}${commandHelp(runCommand)}`);
    return 0;
  }
  if (line.given.some(({ row }) => row.name === 'version')) {
    await print(io.stdout, `${programVersion(io.toolName)}\n`);
    return 0;
  }
  const given = withConfigFiles(line.given);
  const [name, extra] = line.operands;
  if (extra !== undefined) throw new UsageError(`'${extra}': only one system can be run; a command comes after --`);
  if (name !== undefined && !/^debian(:|$)/.test(name)) {
    throw new UsageError(
      `'${name}' is neither an option nor a system that vring knows${didYouMean(name.split(':')[0], ['debian'])}`,
    );
  }
  if (line.rest && name === undefined)
    throw new UsageError('A command after -- needs a system to run it in, such as debian');
  if (given.some(({ row }) => row.name === 'daemonize') && process.env[forkedVariable] === undefined) {
    // Mistakes are told by this process.
    const checked = tellingPlaces(given, () =>
      planRun(given, { system: name !== undefined, nowMs: Date.now(), architecture: fallback }),
    );
    return await runForked(
      {
        out: (text) => void io.stdout.write(text),
        err: (text) => void io.stderr.write(text),
        failed: (reason) => void complain(io, `-daemonize: a process cannot be started: ${reason}`),
      },
      forkedVariable,
      descriptorsToHandOn(checked),
    );
  }
  if (stampsMessages(given)) io = Object.create(io, { stamps: { value: true } }) as ProcessIo;
  machineThreadLoaded();
  tuneForMachines();
  const plan = tellingPlaces(given, () =>
    planRun(given, { system: name !== undefined, nowMs: Date.now(), architecture: fallback }),
  );
  prepareMachines(findArchitecture(plan.machine.architecture ?? fallback.name));
  for (const notice of plan.notices) await complain(io, notice);
  return await withPidfile(plan.pidfile, async () => {
    if (name === undefined) return await runKernel(plan, io);
    const { runDebian } = await import('./debian.js');
    try {
      return await runDebian(name, line.rest, plan, io);
    } catch (error) {
      const mayFallBack = line.rest === undefined && given.some(({ row }) => row.name === 'or-built-in');
      if (!mayFallBack || !isUnreachable(error)) throw error;
      await complain(io, `${error.message} The built-in guest runs instead: \`help\` there lists what it can do.`);
      return await runKernel(planRun(given, { system: false, builtIn: true, nowMs: Date.now() }), io);
    }
  });
}

/** `-msg timestamp=on`. Throws UsageError. */
function stampsMessages(given: readonly GivenOption[]): boolean {
  const text = given.findLast(({ row }) => row.name === 'msg')?.value;
  if (text === undefined) return false;
  const values = KeyValues.parse(`-msg ${text}`, text);
  const stamps = values.flag('timestamp') ?? false;
  values.finish(['guest-name']);
  return stamps;
}

/** No archive could be reached, and nothing was kept from before. */
function isUnreachable(error: unknown): error is VringError {
  return error instanceof VringError && /^(network-|proxy-|http-status$)/.test(error.code);
}

async function withPidfile(path: string | undefined, work: () => Promise<number>): Promise<number> {
  if (path === undefined) return await work();
  try {
    writeFileSync(path, `${process.pid}\n`);
  } catch (error) {
    throw new VringError('pidfile', `-pidfile ${path}: ${openFailure(error)}`, { cause: error });
  }
  try {
    return await work();
  } finally {
    rmSync(path, { force: true });
  }
}

/** Exit status of a machine's end, as QEMU has it. */
export function statusOf(end: MachineEnd, { words }: RunActions): number {
  return end.why === 'exit' ? end.status : end.why === 'panic' ? panicStatus(words) : 0;
}

/** Secrets and credentials, made from what -object says. */
export async function planObjects(
  plan: RunPlan,
): Promise<{ readonly run: RunObjects; readonly options: Pick<MachineOptions, 'secrets' | 'blockObjects'> }> {
  const host = new NodeBlockHost();
  for (const { type, id, options } of plan.objects) {
    try {
      await defineObject(host, { ...options, 'qom-type': type, id });
    } catch (error) {
      throw new VringError('object', `-object ${type},id=${id}: ${toBlockError(error).message}`, { cause: error });
    }
  }
  const blockObjects = [...host.objects].map(
    ([id, { type, options }]) => [id, { type, options: options as OptionDict }] as const,
  );
  return {
    run: new RunObjects(host, plan.boardObjects),
    options:
      plan.objects.length === 0
        ? {}
        : { secrets: Object.fromEntries(host.secrets), blockObjects: Object.fromEntries(blockObjects) },
  };
}

/** What runs the guest, and why not something that was wished for more; nothing where there was no choice. */
export function acceleratorLine({ accelerator, acceleratorRefusals }: Machine): string | undefined {
  if (acceleratorRefusals.length > 0) return `${acceleratorRefusals.join('; ')}. ${accelerator} runs the guest.`;
  return accelerator === 'tcg' ? undefined : `KVM runs the guest.`;
}

/** What a monitor knows of the run. */
export function monitorHost(
  plan: RunPlan,
  open: LiveChardevs,
  machine: Machine,
  objects: RunObjects,
  { toolName }: ProcessIo,
  quit: () => void,
): MonitoredRun {
  const { name, isEmpty, attachments, spareDrives, namedDevices, actions } = plan;
  const chardevs = open.monitored(attachments);
  const { uuid, ramBytes = DEFAULT_RAM_BYTES } = plan.machine;
  const { machines } = findArchitecture(plan.machine.architecture ?? DEFAULT_ARCHITECTURE.name);
  const ramId = ramIdOf(machines.find((row) => row.name === plan.machine.machine) ?? machines[0]);
  const known = { name, isEmpty, spareDrives, namedDevices, chardevs, uuid, ramBytes, ramId, actions };
  return { ...monitorWords(toolName), ...known, machine, objects, quit };
}

/** Shows which accelerator was chosen, and what the machine warns of, now and later. */
export function showWarnings(machine: Machine, io: ProcessIo, tellsAccelerator = true): void {
  const chosen = tellsAccelerator ? acceleratorLine(machine) : undefined;
  if (chosen) void complain(io, chosen);
  for (const line of machine.warnings) void complain(io, line);
  machine.on('warning', (line) => void complain(io, line));
  machine.on('stopped', (why) => {
    if (why !== 'io-error') return;
    void complain(
      io,
      'A disk could not be read or written, and the machine stands still; `cont` in the monitor tries again.',
    );
  });
}

export async function printStatistics(io: ProcessIo, format: 'text' | 'json', statistics: Statistics): Promise<void> {
  if (format === 'json') {
    await print(io.stderr, `${JSON.stringify(statistics)}\n`);
    return;
  }
  const lines = Object.entries(statistics).flatMap(([part, counters]) =>
    Object.entries(counters).map(([counter, value]) => `${`${part}.${counter}`.padEnd(32)} ${value}`),
  );
  await print(io.stderr, `${lines.join('\n')}\n`);
}

/** Tells where pseudo-terminals are, and waits for the clients without whom the machine is not to start. */
async function awaitClients({ backends }: OpenChardevs, machine: Machine, io: ProcessIo): Promise<void> {
  for (const [{ id }, backend] of backends) {
    if (backend.notice !== undefined) await complain(io, backend.notice);
    if (backend instanceof PtyBackend)
      await print(io.stdout, `char device redirected to ${backend.path} (label ${id})\n`);
  }
  // What ends the machine meanwhile ends the wait.
  await Promise.race([Promise.all([...backends.values()].map(({ ready }) => ready)), machine.ended]);
}

/** `-M dumpdtb=`, as QEMU tells of it. Throws VringError `dumpdtb`. */
async function dumpTree(machine: Machine, path: string, io: ProcessIo): Promise<void> {
  const tree = await machine.deviceTree();
  try {
    writeFileSync(path, tree ?? new Uint8Array(0));
  } catch (error) {
    throw new VringError('dumpdtb', `-M dumpdtb=${path}: ${openFailure(error)}`, { cause: error });
  }
  await complain(io, `info: dtb dumped to ${path}. Exiting.`);
}

async function runKernel(plan: RunPlan, io: ProcessIo): Promise<number> {
  const terminal = new Terminal(io.stdin, io.stdout);
  takeDescriptors(plan.descriptors);
  const chardevs = await LiveChardevs.open(plan.chardevs);
  const controller = new AbortController();
  let machine: Machine | undefined;
  let forced: number | undefined;
  const quit = (status?: number) => {
    forced ??= status;
    if (machine) void machine.powerOff().catch(() => {});
    else controller.abort();
  };
  let signals = 0;
  const ending = (signal: string, number: number) => {
    if (++signals > 1) {
      terminal.leaveRaw();
      process.exit(128 + number);
    }
    io.stderr.write(`${io.toolName}: terminating on ${signal}\n`);
    // As QEMU: a machine that is told to end has not failed.
    quit(0);
  };
  const stopSignals = onEndingSignal(ending);
  const output = new StreamSink(io.stdout, () => quit(BROKEN_PIPE_STATUS));
  try {
    const objects = await planObjects(plan);
    machine = await createMachine({ ...plan.machine, ...objects.options }, { signal: controller.signal });
    const running = machine;
    for (const [id, drive] of plan.spareDrives) await holdDrive(machine, id, drive);
    showWarnings(machine, io);
    if (plan.dumpTree !== undefined) {
      await dumpTree(machine, plan.dumpTree, io);
      await machine.close();
      return 0;
    }
    machine.on('unplugged', (device) => {
      plan.namedDevices.delete(device);
      // Where nobody was, nobody is missed.
      void running.hotplug.removeNetwork(noNetwork(device)).catch(() => undefined);
    });
    const { cpus = 1, architecture = 'x86_64' } = plan.machine;
    const host = monitorHost(plan, chardevs, machine, objects.run, io, () => quit(0));
    const connection = connect(
      {
        ...host,
        attachments: plan.attachments,
        terminal,
        stdin: io.stdin,
        output,
        errorOutput: new StreamSink(io.stderr, () => {}),
        escapeByte: plan.escapeByte,
        qmp: { ...host, version: versionLine(), cpus: plan.isEmpty ? 0 : cpus, architecture },
        // Its prompt takes Ctrl-D for the end.
        atEndOfInput: plan.builtIn ? '\x04' : undefined,
        interrupt: (signal) => ending(signal, signal === 'SIGINT' ? 2 : 3),
      },
      chardevs,
      (sentence) => void complain(io, sentence),
    );
    const text = plan.screen.text
      ? new TextDisplay({
          machine,
          terminal,
          stdin: io.stdin,
          output,
          escapeByte: plan.escapeByte,
          quit: () => quit(0),
        })
      : undefined;
    const lens = plan.lens && new LensView(plan.lens, running, terminal, io);
    let stopGdb = () => {};
    try {
      await awaitClients(chardevs, running, io);
      if (plan.gdb) stopGdb = await serveGdb(plan.gdb, host);
      await serveVnc(running, plan, objects.run.host);
      lens?.start();
      if (!plan.startPaused && running.state === 'ready') await running.start();
      connection.start();
      text?.start();
      if (plan.daemonize) tellForker();
      const end = await running.ended;
      return forced ?? statusOf(end, plan.actions);
    } finally {
      stopGdb();
      await text?.stop();
      await running.close();
      await connection.finish();
      await lens?.finish();
      if (plan.stats) await printStatistics(io, plan.stats, await running.statistics().catch(() => ({})));
    }
  } catch (error) {
    if (forced !== undefined) return forced;
    throw error;
  } finally {
    stopSignals();
    terminal.leaveRaw();
    if (!machine) await chardevs.close();
  }
}
