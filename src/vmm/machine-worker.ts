/**
 * The thread that runs a machine: vCPU and devices. It never returns to its event loop while the machine lives; it hears
 * requests at each look at the clock (`receiveMessageOnPort`), and sleeps on the doorbell while the vCPU is halted.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { Accelerator, CompiledModule } from '../accel/index.js';
import { VringError } from '../base/index.js';
import { ScreenFrame } from '../display/index.js';
import { GdbStub } from '../gdb/index.js';
import { nameThread } from '../host/node/activity.js';
import { discardPages } from '../host/node/discard.js';
import { setEngineFlags } from '../host/node/engine-flags.js';
import { machineConfig } from '../host/node/machine-thread.js';
import { openFailure } from '../host/node/open-failure.js';
import { readStoredGuest, readStoredRoutines } from '../host/node/routine-file.js';
import { hostRandomBits, hostTime } from '../host/node/time.js';
import { describePci, type SerialBackend } from '../hw/index.js';
import type { Board, BoardStop, KernelImages } from '../machine/board.js';
import { applyLoads } from '../machine/boot/loads.js';
import { BoardDebugTarget } from '../machine/debug-target.js';
import type { FirmwareOptions } from '../machine/firmware.js';
import { StateArena } from '../schema/index.js';
import { findArchitecture } from './architectures.js';
import type { BoardMaker, MadeBoard } from './boards/board-maker.js';
import { ByteRing } from './byte-ring.js';
import { MachineDisks } from './disk-backend.js';
import type { DiskError } from './disk-protocol.js';
import { InputRoutes } from './input-routes.js';
import { imageOf, readKernel } from './kernel-images.js';
import { hostPage, lensReport } from './lens-report.js';
import { describeMachine, disassemble } from './machine-info.js';
import { MachineNetworks } from './network-backend.js';
import { ThreadRegionService } from './region-thread.js';
import { giveInput, takeInput } from './screen-input.js';
import { MachineDevices } from './worker-devices.js';
import {
  doorbellWord,
  type FromWorker,
  type MachineEnd,
  type ModuleMessage,
  type Request,
  rungBy,
  type StopReason,
  type ToWorker,
  type TraceConfig,
  type TrayState,
  type WorkerConfig,
} from './worker-protocol.js';
import { WorkerStream } from './worker-streams.js';

/** How long a machine that ends waits for what its devices still have to write. */
const FINISH_MS = 5000;
/** A guest may make the machine say as much as it likes; this much is passed on. */
const MAX_LOG_LINES = 1000;

setEngineFlags();

const port = parentPort as NonNullable<typeof parentPort>;
const config = machineConfig<WorkerConfig>(workerData, port);
const say = (message: FromWorker) => port.postMessage(message);

const doorbell = new Int32Array(config.doorbell);
nameThread(config.name);

const quitting = () => Atomics.load(doorbell, doorbellWord.quit) !== 0;

const architecture = findArchitecture(config.architecture);
let machine: Board | undefined;
let paused = true;
let restart = false;

type SwitchRequest = Request & { type: 'accelerator' };
/** Requests for another accelerator, which are answered between two turns of the guest. */
const switches: { readonly id: number; readonly request: SwitchRequest }[] = [];
let openKvm: MadeBoard['openKvm'];
let kvm: Accelerator | undefined;

const streams = config.streams.map(
  (rings, i) =>
    new WorkerStream(i, rings, {
      output: (stream) => say({ type: 'output', stream }),
      inputSpace: (stream) => say({ type: 'inputSpace', stream }),
      quitting,
    }),
);

function semihostingOptions() {
  const { semihosting } = config;
  if (!semihosting) return undefined;
  const { streams: own, ...rest } = semihosting;
  return { ...rest, write: (to: 'output' | 'console', bytes: Uint8Array) => void streams[own[to]].send(bytes) };
}

let regionService: ThreadRegionService | undefined;

const logged = new Set<string>();
function log(line: string): void {
  if (logged.size >= MAX_LOG_LINES || logged.has(line)) return;
  logged.add(line);
  say({ type: 'log', line });
}

/** What the guest did to its ports since the last look: told once a look, however often it does it. */
const openings = new Map<number, boolean>();

let { actions } = config;

/** A disk request failed, and the machine is to stand still until its owner has seen to it. */
let diskFailed = false;
/** Failed requests since the last look: each kind is told once a look. */
const diskErrors = new Map<string, DiskError>();

const disks = config.disks
  ? new MachineDisks(config.disks, {
      synchronous: config.icount !== undefined,
      failed: (error) => {
        if (error.action === 'stop') diskFailed = true;
        diskErrors.set(`${error.disk} ${error.write} ${error.action} ${error.noSpace}`, error);
      },
      quitting,
      trayMoved: (disk, open) => say({ type: 'tray', disk, open }),
    })
  : undefined;

const sharedState = config.screen && new StateArena(config.screen.state);
const frame = config.screen && new ScreenFrame(config.screen.frame);
const input = new InputRoutes(frame);
let networks = config.networks ? new MachineNetworks(config.networks) : undefined;

const devices = new MachineDevices({
  sharedState,
  frame,
  input,
  streams,
  disks,
  get networks() {
    return networks;
  },
  randomBits: () => machine?.randomBits() ?? hostRandomBits(),
  discard: (gpa, sizeBytes) => machine && discardRam(machine, gpa, sizeBytes),
  log,
  guestOpened: (index, open) => openings.set(index, open),
  unplugged: (device) => say({ type: 'unplugged', device }),
  panicEvent: (event) => {
    if (event === 'crash-loaded') say({ type: 'crashLoaded' });
    else if (actions.onPanic === 'run') say({ type: 'panicked', action: 'run' });
    else machine?.stopFor('panic');
  },
  watchdogExpired: () => machine && watchdogExpired(machine),
});

function watchdogExpired(board: Board): void {
  const action = actions.onWatchdog;
  say({ type: 'watchdog', action });
  switch (action) {
    case 'reset':
    case 'poweroff':
      board.stopFor(action);
      return;
    case 'pause':
      board.stopFor('watchdog');
      return;
    case 'shutdown':
      board.pressPowerButton();
      return;
    case 'inject-nmi':
      board.raiseNmi();
      return;
    case 'debug':
      log('watchdog: timer fired');
  }
}

const uartPumps: (() => void)[] = [];
function serialBackend(i: number): SerialBackend | undefined {
  const spec = config.serial[i];
  if (!spec) return undefined;
  const stream = streams[spec.stream];
  const pump = () => {
    if (stream.input.available === 0) return;
    const uart = machine?.serial[i];
    const room = uart?.canReceive() ?? 0;
    if (room > 0) uart?.receive(stream.take(room));
  };
  uartPumps.push(pump);
  return { write: (byte) => stream.sendByte(byte), receiveReady: pump };
}

function tellDiskErrors(): void {
  for (const error of diskErrors.values()) say({ type: 'diskError', error });
  diskErrors.clear();
}

function tellOpenings(): void {
  if (openings.size === 0) return;
  for (const [index, open] of openings) say({ type: 'guestOpened', port: index, open });
  openings.clear();
}

let stub: GdbStub | undefined;
function attachStub(board: Board, stream: WorkerStream): void {
  const target = new BoardDebugTarget(board, {
    resume: () => {
      paused = false;
    },
    interrupt: () => {
      paused = true;
    },
    kill: () => void Atomics.store(doorbell, doorbellWord.quit, 1),
  });
  stub = new GdbStub(target, (bytes) => {
    for (const byte of bytes) stream.sendByte(byte);
    stream.wake();
  });
}

/** Hands on what the debugger says. */
function hearDebugger(): void {
  if (stub === undefined || config.gdb === undefined) return;
  const stream = streams[config.gdb];
  while (stream.input.available > 0) stub.receive(stream.take(4096));
}

/** Looks after streams and requests. True: the machine is not to go on running now. */
function service(): boolean {
  for (const stream of streams) stream.wake();
  tellOpenings();
  tellDiskErrors();
  const rung = Atomics.exchange(doorbell, doorbellWord.rung, 0);
  disks?.collect();
  networks?.collect();
  if ((rung & rungBy.owner) !== 0) {
    for (const { port: consolePort } of devices.ports) consolePort.outputReady();
    for (const plugged of devices.ports) plugged.pump();
    hear();
    hearDebugger();
  }
  hearInput();
  for (const pump of uartPumps) pump();
  return quitting() || paused || restart || diskFailed || switches.length > 0;
}

const inputRing = config.screen && new ByteRing(config.screen.input);
function hearInput(): void {
  if (inputRing && machine) takeInput(inputRing, input);
}

function sleep(milliseconds: number): void {
  Atomics.wait(doorbell, doorbellWord.rung, 0, milliseconds);
}

/** Answers every request that waits. */
function hear(): void {
  for (;;) {
    const received = receiveMessageOnPort(port) as { message: ToWorker | ModuleMessage } | undefined;
    if (!received) return;
    // A machine that did not need the module.
    if ('module' in received.message) continue;
    const { id, request } = received.message;
    if (request.type === 'accelerator') {
      switches.push({ id, request });
      continue;
    }
    try {
      say({ type: 'reply', id, value: answer(machine as Board, request) });
    } catch (error) {
      if (!(error instanceof VringError)) throw error;
      say({ type: 'reply', id, error: { code: error.code, message: error.message } });
    }
  }
}

function answer(board: Board, request: Exclude<Request, { type: 'accelerator' }>): unknown {
  switch (request.type) {
    case 'resume':
      paused = false;
      return undefined;
    case 'pause':
      paused = true;
      return undefined;
    case 'reset':
      restart = true;
      return undefined;
    case 'powerButton':
      board.pressPowerButton();
      return undefined;
    case 'nmi':
      board.raiseNmi();
      return undefined;
    case 'break':
      board.serial[request.serial]?.receiveBreak();
      return undefined;
    case 'readMemory':
      return readPhysical(board, request.gpa, request.length);
    case 'writeMemory':
      requireRam(board, request.gpa, request.bytes.length);
      board.memory.dma.write(request.gpa, request.bytes);
      return undefined;
    case 'disassemble':
      board.accelerator.synchronize();
      return disassemble(board, request.gva, request.count);
    case 'readPort':
      board.accelerator.synchronize();
      return board.ports.read(request.port, request.size);
    case 'writePort':
      board.accelerator.synchronize();
      board.ports.write(request.port, request.size, request.value);
      return undefined;
    case 'translate':
      board.accelerator.synchronize();
      return board.shownCpu.translate(request.gva);
    case 'resize':
      devices.ports[request.port]?.port.resize(request.columns, request.rows);
      return undefined;
    case 'hostOpen':
      devices.ports[request.port]?.port.setHostOpen(request.open);
      return undefined;
    case 'statistics':
      return board.statistics();
    case 'hostPage':
      return hostPage(board, request.gpa);
    case 'lens':
      return lensReport(board);
    case 'deviceTree':
      return board.deviceTree;
    case 'registers':
      board.accelerator.synchronize();
      return board.shownCpu.registers();
    case 'eject': {
      const drive = devices.removableDrive(request.disk);
      const open = drive.pressEject(request.force);
      return { disk: request.disk, open, locked: drive.isLocked } satisfies TrayState;
    }
    case 'plug':
      for (const [disk, policies] of request.policies) disks?.added(disk, policies);
      devices.plugLater(board, request.device);
      return undefined;
    case 'unplug':
      devices.requestUnplug(board, request.device);
      return undefined;
    case 'plugScsi':
      disks?.added(request.unit.disk, request.policies);
      return devices.plugScsi(request.controller, request.unit);
    case 'unplugScsi':
      disks?.drain();
      devices.unplugScsi(request.controller, request);
      return undefined;
    case 'plugUsb':
      for (const [disk, policies] of request.policies) disks?.added(disk, policies);
      return devices.plugUsb(request.bus, request.device);
    case 'unplugUsb':
      disks?.drain();
      return devices.unplugUsb(request.place, request.disks);
    case 'mediumChanged':
      devices.removableDrive(request.disk).mediumChanged();
      return undefined;
    case 'driveGone':
      // Failures are told to the guest from here on, whatever was asked for.
      disks?.added(request.disk, { id: '', onReadError: 'report', onWriteError: 'report' });
      return undefined;
    case 'diskResized':
      devices.diskResized(request.disk);
      return undefined;
    case 'mice':
      return input.mice;
    case 'chooseMouse':
      input.chooseMouse(request.index);
      return undefined;
    case 'pci':
      return describePci(board.pci);
    case 'setBootDevices':
      board.setBootDevices(request.devices);
      return undefined;
    case 'setActions':
      actions = request.actions;
      return undefined;
    case 'trays':
      return devices.trays;
    case 'setLink':
      networks?.setLink(request.network, request.up);
      return undefined;
    case 'balloon':
      return devices.inflate(config.ramBytes, request.ramBytes);
    case 'networks':
      networks = new MachineNetworks(request.config);
      networks.attach(board.engine.memory.buffer, board.kickIndices);
      return undefined;
    case 'addNetwork':
      networks?.add(request.network, request.rings);
      return undefined;
    case 'removeNetwork':
      networks?.remove(request.network);
      return undefined;
    case 'selectCpu':
      selectCpu(board, request.cpu);
      return undefined;
    case 'input':
      for (const event of request.events) giveInput(event, input);
      return undefined;
    case 'info':
      board.accelerator.synchronize();
      return request.topic === 'usb' ? devices.usb.describe() : describeMachine(board, request.topic);
  }
}

function selectCpu(board: Board, cpu: number): void {
  if (!(cpu in board.cpus)) throw new VringError('no-such-cpu', `There is no vCPU ${cpu}.`);
  board.shown = cpu;
}

/** What a vCPU would read: devices answer for what is theirs, in accesses of up to four bytes. */
function readPhysical({ memory }: Board, gpa: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; ) {
    const { hva, length: piece } = memory.locate(gpa + at, false);
    const count = Math.min(piece, length - at);
    if (hva >= 0) {
      memory.dma.read(gpa + at, bytes.subarray(at, at + count));
      at += count;
    } else {
      if (memory.nameAt(gpa + at) === 'unassigned') throw absent(gpa + at);
      for (const end = at + count; at < end; ) {
        const size = ([4, 2, 1] as const).find((each) => (gpa + at) % each === 0 && at + each <= end)!;
        const value = memory.read(gpa + at, size);
        for (let i = 0; i < size; i++) bytes[at + i] = value >>> (8 * i);
        at += size;
      }
    }
  }
  return bytes;
}

const absent = (gpa: number) => new VringError('memory-absent', `There is no memory at address 0x${gpa.toString(16)}.`);

function requireRam(board: Board, gpa: number, length: number): void {
  for (let at = gpa; at < gpa + length; ) {
    const block = board.memory.ramBlocks().find((each) => at >= each.gpa && at < each.gpa + each.size);
    if (!block) throw absent(at);
    at = block.gpa + block.size;
  }
}

/** What the guest gave to the balloon goes back to the host, where the host takes it. */
function discardRam(board: Board, gpa: number, sizeBytes: number): void {
  const hva = board.memory.hvaOf(gpa, sizeBytes, true);
  if (hva < 0 || !discardPages(board.engine.memory.buffer, hva, sizeBytes)) return;
  board.memory.dma.publish(gpa, sizeBytes);
}

/** Translator's trace and log lines, to a file or standard error, as they come. */
function openTrace(trace: TraceConfig): { line(text: string): void; close(): void } {
  let fd = 2;
  if (trace.path !== undefined) {
    try {
      fd = openSync(trace.path, 'w');
    } catch (error) {
      throw new VringError('log-open', `The log file '${trace.path}' cannot be opened: ${openFailure(error)}`);
    }
  }
  let failed = false;
  return {
    line: (text) => {
      if (failed) return;
      try {
        writeSync(fd, `${text}\n`);
      } catch {
        failed = true;
      }
    },
    close: () => {
      if (fd !== 2) closeSync(fd);
    },
  };
}

/** The module that the owner's thread compiles meanwhile. It sends nothing before it. */
function awaitModule(): CompiledModule | undefined {
  while (Atomics.load(doorbell, doorbellWord.module) === 0) {
    Atomics.wait(doorbell, doorbellWord.module, 0, 1000);
    if (quitting()) return undefined;
  }
  const received = receiveMessageOnPort(port) as { message: ModuleMessage } | undefined;
  return received?.message.module;
}

function build(
  make: BoardMaker,
  trace: ReturnType<typeof openTrace> | undefined,
  firmware: FirmwareOptions | undefined,
): MadeBoard {
  const items = new Set(config.trace?.items);
  try {
    return make(
      {
        time: { nowNs: hostTime.nowNs, wallNs: () => hostTime.wallNs() + config.rtcOffsetNs },
        randomBits: hostRandomBits,
        service,
        sleep,
        regionService,
        routineStore: { get: readStoredRoutines },
        modules: {
          get: (key) => config.modules.get(key) ?? (key === config.comingModule ? awaitModule() : undefined),
          set: (key, module) => say({ type: 'module', key, module }),
        },
        log: trace && items.has('unimp') ? trace.line : log,
      },
      {
        ramBytes: config.ramBytes,
        cpus: config.cpus,
        cpu: config.cpu,
        serial: [0, 1, 2, 3].map(serialBackend),
        hotThreshold: config.hotThreshold,
        machine: config.machine,
        hpet: config.hpet,
        acpi: config.acpi,
        arm: config.arm,
        riscv: config.riscv,
        microvm: config.microvm,
        legacyVirtioMmio: config.legacyVirtioMmio,
        lens: config.lens,
        translator: config.translator,
        trace: trace ? { items, line: trace.line } : undefined,
        ...(config.icount
          ? {
              icount: {
                shift: config.icount.shift,
                ...(config.icount.seed === undefined ? {} : { seed: config.icount.seed }),
              },
            }
          : {}),
        addDevices: (board) => devices.plugAll(board, config.devices),
        deviceBytes: config.deviceBytes,
        sharedState,
        fwCfgFiles: config.fwCfg,
        deviceTree: config.deviceTree === undefined ? undefined : imageOf('The device tree', config.deviceTree),
        uuid: config.uuid,
        smbios: config.smbios,
        semihosting: semihostingOptions(),
        firmware,
      },
    );
  } catch (error) {
    // V8's word for memory that the host does not give.
    if (error instanceof RangeError && /memory/i.test(error.message)) {
      throw new VringError(
        'ram-unavailable',
        `The host has no ${config.ramBytes >> 20} MiB of memory for the machine's RAM.`,
      );
    }
    throw error;
  }
}

async function firmwareOptions(images: KernelImages | undefined): Promise<FirmwareOptions | undefined> {
  if (config.builtInGuest) {
    const stored = readStoredGuest();
    return { image: stored ?? (await import('../machine/built-in-guest/index.js')).builtInGuest() };
  }
  return (
    config.firmware && {
      ...config.firmware,
      image: config.firmware.image === undefined ? undefined : imageOf('The firmware', config.firmware.image),
      flash: config.firmware.flash?.map((disk) =>
        disk === undefined ? undefined : (disks as MachineDisks).backend(disk),
      ),
      bootOrder: () => devices.bootOrder,
      kernel: images,
    }
  );
}

/** Lets another accelerator run the vCPU, and gives what there is to say about it. Throws VringError `accelerator`, and what `openKvm` throws. */
async function switchAccelerator(board: Board, { name, cpu, tscHz, debug }: SwitchRequest): Promise<readonly string[]> {
  const notices: string[] = [];
  if (name === 'tcg') {
    board.setAccelerator(board.engine);
    return notices;
  }
  const unfit = config.icount ? 'counted time (icount)' : config.trace ? 'a log of what is translated' : undefined;
  if (unfit) throw new VringError('accelerator', `the translator alone has ${unfit}`);
  if (!openKvm) throw new VringError('accelerator', `KVM runs no ${architecture.name} guests here`);
  kvm ??= await openKvm({
    config,
    doorbell,
    cpu: cpu ?? config.cpu,
    tscHz,
    debug: debug ?? { hasBreakpoints: false, hasWatchpoints: false },
    notice: (sentence) => notices.push(sentence),
  });
  board.setAccelerator(kvm);
  return notices;
}

async function answerSwitches(board: Board): Promise<void> {
  for (const { id, request } of switches.splice(0)) {
    try {
      const value = await switchAccelerator(board, request);
      say({ type: 'reply', id, value });
    } catch (error) {
      if (!(error instanceof VringError)) throw error;
      say({ type: 'reply', id, error: { code: error.code, message: error.message } });
    }
  }
}

/** Runs the machine until it ends. */
async function runMachine(board: Board, boot: () => void): Promise<MachineEnd> {
  let standing = false;
  const stopped = (why: StopReason) => {
    paused = true;
    say({ type: 'stopped', why });
  };
  for (;;) {
    if (quitting()) return { why: 'quit' };
    if (switches.length > 0) await answerSwitches(board);
    if (restart) {
      restart = false;
      disks?.reset();
      diskFailed = false;
      boot();
      say({ type: 'reset' });
    }
    if (paused) {
      board.accelerator.synchronize();
      board.clock.pause();
      // What stands still is still: no device writes to memory.
      if (!standing) disks?.drain();
      standing = true;
      stub?.stopped();
      for (const stream of streams) stream.wake();
      tellOpenings();
      sleep(1000);
      if ((Atomics.exchange(doorbell, doorbellWord.rung, 0) & rungBy.owner) !== 0) {
        hear();
        hearDebugger();
      }
      continue;
    }
    if (standing) {
      diskFailed = false;
      disks?.retry();
    }
    standing = false;
    const stop: BoardStop = board.run();
    switch (stop.why) {
      case 'poweroff':
        if (actions.onPowerOff === 'end') return stop;
        stopped('poweroff');
        break;
      case 'reset':
        if (actions.onReset === 'end') return stop;
        if (actions.onReset === 'pause') stopped('reset');
        else restart = true;
        break;
      case 'exit':
        return stop;
      case 'panic': {
        const pauses = actions.onPanic === 'pause' || actions.onPowerOff === 'pause';
        say({ type: 'panicked', action: pauses ? 'pause' : 'poweroff' });
        if (!pauses) return stop;
        stopped('panic');
        break;
      }
      case 'watchdog':
        stopped('watchdog');
        break;
      case 'debug':
        if (stub) paused = true;
        else stopped('debug');
        break;
      case 'stopped':
        break;
    }
    if (diskFailed) {
      diskFailed = false;
      stopped('io-error');
    }
  }
}

async function main(): Promise<void> {
  const trace = config.trace ? openTrace(config.trace) : undefined;
  try {
    // Kernel and initrd are being read meanwhile.
    const make = await architecture.loadBoard();
    const images = await readKernel(architecture, config);
    const loads = config.loads.map(({ image, ...load }) => ({
      ...load,
      name: typeof image === 'string' ? image : 'What is to be loaded',
      bytes: image === undefined ? undefined : imageOf('The file to load', image),
    }));
    if (config.hotThreshold > 0) regionService = new ThreadRegionService();
    const made = build(make, trace, await firmwareOptions(images));
    const { board } = made;
    machine = board;
    openKvm = made.openKvm;
    disks?.attach(board.engine.memory.buffer, board.kickIndices);
    board.readImages(() => disks?.drain());
    networks?.attach(board.engine.memory.buffer, board.kickIndices);
    if (config.gdb !== undefined) attachStub(board, streams[config.gdb]);
    const boot = () => {
      const started = board.powerOn(images);
      applyLoads(board, loads);
      const description = config.builtInGuest ? 'built-in guest' : started;
      for (const plugged of devices.ports) plugged.open();
      return description;
    };
    const description = boot();
    input.board = board.input;
    const memory = board.engine.memory.buffer as SharedArrayBuffer;
    const screen = devices.screen && { ...devices.screen, hasKeyboard: board.input !== undefined, memory };
    say({ type: 'ready', description, screen });
    const end = await runMachine(board, boot);
    stub?.exited(end.why === 'exit' ? end.status : 0);
    disks?.finish(FINISH_MS);
    for (const stream of streams) {
      stream.wake();
      stream.output.close();
    }
    streams.forEach((_, stream) => {
      say({ type: 'output', stream });
    });
    say({ type: 'end', end, statistics: board.statistics(), lens: lensReport(board) });
  } finally {
    trace?.close();
    devices.close();
  }
}

function tellFailure(error: unknown): void {
  if (error instanceof VringError) {
    const { cause } = error;
    const detail = typeof cause === 'string' ? cause : undefined;
    say({ type: 'failed', code: error.code, message: error.message, ...(detail ? { detail } : {}) });
    return;
  }
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
  say({ type: 'failed', code: 'internal', message: 'vring itself has failed: this is an error in it.', detail });
}

void main()
  .catch(tellFailure)
  .then(() => {
    kvm?.close();
    regionService?.close();
    config.disks?.port.close();
    networks?.close();
    port.close();
  });
