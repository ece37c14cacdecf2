/**
 * The thread that runs a machine: vCPU and devices. It never returns to its event loop; it hears requests at each look at
 * the clock (`receiveMessageOnPort`), woken by the doorbell and the kick word.
 */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { VringError } from '../base/index.js';
import { parseCpuModel } from '../guest/index.js';
import { compileOptimized } from '../host/node/engine-flags.js';
import { RawDisk } from '../host/node/raw-disk.js';
import { hostRandomBits, hostTime } from '../host/node/time.js';
import {
  type ConsolePort,
  PcTestdev,
  type SerialBackend,
  VirtioBalloon,
  VirtioBlock,
  VirtioConsole,
  VirtioDevice,
  VirtioEntropy,
  type VirtioModel,
  VirtioPci,
  wireIsaDebugcon,
  wireIsaDebugExit,
  wirePcTestdev,
} from '../hw/index.js';
import { type PcBoard, PcMachine, type PcStop } from '../machine/pc.js';
import { ByteRing } from './byte-ring.js';
import type { FromWorker, MachineEnd, Request, ToWorker, WorkerConfig } from './worker-protocol.js';

const config = workerData as WorkerConfig;
const port = parentPort as NonNullable<typeof parentPort>;
const say = (message: FromWorker) => port.postMessage(message);

/** The machine's side of a stream. */
class Stream {
  readonly output: ByteRing;
  readonly input: ByteRing;
  readonly #index: number;

  constructor(index: number) {
    this.#index = index;
    this.output = new ByteRing(config.streams[index].output);
    this.input = new ByteRing(config.streams[index].input);
  }

  /** Sends one byte; waits while nobody takes what was sent before, as QEMU's character devices do. */
  sendByte(byte: number): void {
    while (!this.output.writeByte(byte)) {
      this.wake();
      this.output.waitForSpace(100);
      if (stopWanted()) return;
    }
    this.#dirty = true;
  }

  send(bytes: Uint8Array): number {
    const count = this.output.write(bytes);
    if (count < bytes.length) this.output.block();
    this.#dirty = true;
    return count;
  }

  #dirty = false;
  /** Tells the owner, once, that there is something to read. */
  wake(): void {
    if (!this.#dirty) return;
    this.#dirty = false;
    if (this.output.wake()) say({ type: 'output', stream: this.#index });
  }

  /** Offers waiting input to `take`, which gives how much it took. */
  offer(room: number, take: (bytes: Uint8Array) => number): void {
    const count = Math.min(room, this.input.available);
    if (count <= 0) return;
    take(this.input.read(count));
    if (this.input.unblock()) say({ type: 'inputSpace', stream: this.#index });
  }
}

const doorbell = new Int32Array(config.doorbell);
let ending: MachineEnd | undefined;
let paused = config.startPaused;
const stopWanted = () => ending !== undefined || Atomics.load(doorbell, 0) !== 0;

const streams = config.streams.map((_, i) => new Stream(i));
/** What is asked for input at each service, and when it has room. */
const inputs: (() => void)[] = [];
const consolePorts: ConsolePort[] = [];
const disks: RawDisk[] = [];

function addDevices(board: PcBoard): void {
  const plug = (name: string, model: VirtioModel) => {
    const device = new VirtioDevice(model, { name, dma: board.memory.dma, log: (line) => say({ type: 'log', line: `${name}: ${line}` }) });
    const transport = new VirtioPci({ device });
    const slot = board.pci.bus.freeSlot(2);
    if (slot === undefined) throw new VringError('PCI_FULL', 'There is no free PCI slot left for the devices asked for.');
    board.pci.bus.add(transport.function, slot);
    board.add(transport);
    return model;
  };
  config.disks.forEach((disk, i) => {
    const backend = new RawDisk(disk.path, { readonly: disk.readonly });
    disks.push(backend);
    plug(`virtio-blk${i}`, new VirtioBlock({ backend, ...(disk.serial ? { serial: disk.serial } : {}) }));
  });
  if (config.consolePorts.length > 0) {
    const console = new VirtioConsole({
      // A port that is no console may not have number 0, which guests take for the console.
      ports: config.consolePorts.map((spec, i) => ({
        id: config.consolePorts[0].isConsole ? i : i + 1,
        isConsole: spec.isConsole,
        ...(spec.name ? { name: spec.name } : {}),
        backend: {
          output: (bytes) => streams[spec.stream].send(bytes),
          inputReady: () => pumpPort(i),
          guestOpened: (open) => say({ type: 'guestOpened', port: i, open }),
        },
      })),
    });
    plug('virtio-serial0', console);
    consolePorts.push(...console.ports);
    consolePorts.forEach((_, i) => {
      inputs.push(() => pumpPort(i));
    });
  }
  if (config.rng) plug('virtio-rng0', new VirtioEntropy((target) => fillRandom(target)));
  if (config.balloon) plug('virtio-balloon0', new VirtioBalloon({ inflated: () => {}, deflated: () => {} }));
  if (config.debugExit) wireIsaDebugExit(board.ports, (status) => board.exit(status), { port: config.debugExit.port, sizeBytes: config.debugExit.size });
  if (config.debugcon) {
    const stream = streams[config.debugcon.stream];
    wireIsaDebugcon(board.ports, (byte) => stream.sendByte(byte), { port: config.debugcon.port });
  }
  if (config.testdev) {
    const device = new PcTestdev({ irqs: board.irqs });
    wirePcTestdev(board.ports, board.memory, device);
    board.add(device);
  }
}

function fillRandom(target: Uint8Array): void {
  for (let i = 0; i < target.length; ) {
    let bits = hostRandomBits();
    for (let k = 0; k < 8 && i < target.length; k++, bits >>= 8n) target[i++] = Number(bits & 255n);
  }
}

/** Input that did not fit into a console port's queue, by port. */
const leftover: (Uint8Array | undefined)[] = [];
function pumpPort(i: number): void {
  const stream = streams[config.consolePorts[i].stream];
  const waiting = leftover[i];
  if (waiting) {
    const took = consolePorts[i].input(waiting);
    leftover[i] = took < waiting.length ? waiting.subarray(took) : undefined;
    if (leftover[i]) return;
  }
  stream.offer(4096, (bytes) => {
    const took = consolePorts[i].input(bytes);
    if (took < bytes.length) leftover[i] = bytes.slice(took);
    return took;
  });
  if (stream.input.closed && stream.input.available === 0 && !leftover[i] && !inputEnded.has(i)) {
    inputEnded.add(i);
    consolePorts[i].setHostOpen(false);
  }
}
const inputEnded = new Set<number>();

function serialBackend(i: number): SerialBackend | undefined {
  const spec = config.serial[i];
  if (!spec) return undefined;
  const stream = streams[spec.stream];
  const pump = () => {
    const uart = machine?.serial[i];
    if (uart) stream.offer(uart.canReceive(), (bytes) => uart.receive(bytes));
  };
  inputs.push(pump);
  return { write: (byte) => stream.sendByte(byte), receiveReady: pump };
}

let machine: PcMachine | undefined;

function service(): boolean {
  for (const stream of streams) stream.wake();
  for (const pump of inputs) pump();
  if (Atomics.exchange(doorbell, 0, 0) !== 0) {
    for (const i of consolePorts.keys()) consolePorts[i].outputReady();
    hear();
  }
  return ending !== undefined || paused || restart;
}

let restart = false;

/** Answers every request that waits. */
function hear(): void {
  for (;;) {
    const received = receiveMessageOnPort(port) as { message: ToWorker } | undefined;
    if (!received) return;
    const { id, request } = received.message;
    try {
      say({ type: 'reply', id, value: answer(request) });
    } catch (error) {
      if (!(error instanceof VringError)) throw error;
      say({ type: 'reply', id, error: { code: error.code, message: error.message } });
    }
  }
}

function answer(request: Request): unknown {
  const pc = machine as PcMachine;
  switch (request.type) {
    case 'pause':
      paused = true;
      return undefined;
    case 'resume':
      paused = false;
      return undefined;
    case 'reset':
      restart = true;
      return undefined;
    case 'powerButton':
      pc.pm.pressPowerButton();
      return undefined;
    case 'quit':
      ending = { why: 'quit' };
      return undefined;
    case 'nmi':
      pc.raiseNmi();
      return undefined;
    case 'readMemory': {
      const bytes = new Uint8Array(request.length);
      pc.memory.dma.read(request.gpa, bytes);
      return bytes;
    }
    case 'writeMemory':
      pc.memory.dma.write(request.gpa, request.bytes);
      return undefined;
    case 'resize':
      consolePorts[request.port]?.resize(request.columns, request.rows);
      return undefined;
    case 'hostOpen':
      consolePorts[request.port]?.setHostOpen(request.open);
      return undefined;
    case 'statistics':
      return pc.statistics();
    case 'registers':
      return pc.cpu.registers();
  }
}

function main(): void {
  machine = new PcMachine(
    { time: hostTime, randomBits: hostRandomBits, service, compileOptimized, log: (line) => say({ type: 'log', line }) },
    {
      ramBytes: config.ramBytes,
      model: parseCpuModel(config.cpu),
      serial: [0, 1, 2, 3].map(serialBackend),
      hotThreshold: config.hotThreshold,
      hpet: config.hpet,
      addDevices,
    },
  );
  const images = { kernel: config.kernel, ...(config.initrd ? { initrd: config.initrd } : {}), commandLine: config.commandLine };
  const { description } = machine.boot(images);
  say({ type: 'ready', memory: machine.engine.memory.buffer, kickIndex: machine.kickIndex, description });
  for (const i of consolePorts.keys()) consolePorts[i].setHostOpen(true);
  while (ending === undefined) {
    if (paused) {
      machine.clock.pause();
      say({ type: 'paused' });
      while (paused && ending === undefined) {
        Atomics.wait(doorbell, 0, 0, 1000);
        if (Atomics.exchange(doorbell, 0, 0) !== 0) hear();
      }
      continue;
    }
    const stop: PcStop = machine.run();
    if (restart || (stop.why === 'reset' && !config.rebootStops)) {
      restart = false;
      machine.boot(images);
      for (const i of consolePorts.keys()) consolePorts[i].setHostOpen(true);
    } else if (stop.why === 'poweroff' || stop.why === 'reset') {
      if (config.shutdownPauses) paused = true;
      else ending = stop;
    } else if (stop.why === 'exit') ending = stop;
  }
  for (const stream of streams) stream.output.close();
  for (const disk of disks) {
    disk.flush(() => {});
    disk.close();
  }
  for (let i = 0; i < streams.length; i++) say({ type: 'output', stream: i });
  say({ type: 'end', end: ending });
}

try {
  main();
} catch (error) {
  if (error instanceof VringError) say({ type: 'failed', code: error.code, message: error.message });
  else say({ type: 'failed', code: 'INTERNAL', message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}
port.close();
