/**
 * An NVMe controller (NVM Express 1.4), as QEMU's: registers, doorbells, queues, completions and their interrupts. Commands of
 * administration are in `admin-commands.ts`, those of a namespace in `nvme-namespace.ts`.
 *
 * A command is fetched only when its completion queue has room for it beside those that are under way, so that no answer ever waits.
 * Deviations: MSI-X has a BAR of its own; one command set; no controller memory buffer, no metadata.
 */
import { type Device, type DmaSpace, defineRegisters, type IoHandler, RegisterBank } from '../../bus/index.js';
import { type StateArena, StateError } from '../../schema/index.js';
import type { ScatterList } from '../disk/index.js';
import { Msix } from '../pci/msix.js';
import { PciFunction } from '../pci/pci-function.js';
import { loadParts, type StatePart, saveParts, statePart } from '../pci/saved-parts.js';
import { adminCommand } from './admin-commands.js';
import { type ControllerNames, nvmeVersion } from './identify.js';
import {
  broadcastNamespace,
  completionBytes,
  errorEvent,
  ioOpcode,
  logPage,
  maxNamespaces,
  maxQueueEntries,
  nvmeStatus,
  queueCount,
  submissionBytes,
} from './nvme-codes.js';
import { NvmeCommand } from './nvme-command.js';
import type { NvmeNamespace } from './nvme-namespace.js';
import { type CompletionQueue, type NvmeRegisters, NvmeState } from './nvme-state.js';

const barBytes = 0x4000;
const registerBytes = 0x1000;
const none = 0xff;

const cc = { enable: 1, shutdown: 0xc000 } as const;
const csts = { ready: 1, fatal: 2, shuttingDown: 4, shutDown: 8, shutdownBits: 0xc } as const;
/** CAP: queues of 2048 entries, contiguous; 7.5 s to get ready; the NVM command set; pages of 4 to 64 KiB. */
const capabilities = { low: 0x0f010000 | (maxQueueEntries - 1), high: 0x00400020 } as const;
const maxPageShift = 4;

export interface NvmeOptions extends ControllerNames {
  readonly name?: string;
  readonly dma: DmaSpace;
  readonly namespaces: readonly NvmeNamespace[];
  /** The machine's virtual time. */
  readonly clock: { nowNs(): number };
  readonly arena?: StateArena | undefined;
}

export class NvmeController implements Device {
  readonly name: string;
  readonly function: PciFunction;
  readonly state: NvmeRegisters;
  readonly names: ControllerNames;
  readonly namespaces: ReadonlyMap<number, NvmeNamespace>;
  readonly clock: { nowNs(): number };
  readonly #dma: DmaSpace;
  readonly #msix: Msix;
  readonly #parts: readonly StatePart[];
  readonly #bank: RegisterBank<NvmeController>;
  /** Commands under way, of all and of each submission queue; and the answers that each completion queue has room for. */
  #pending = 0;
  readonly #underWay = new Uint32Array(queueCount);
  readonly #reserved = new Uint32Array(queueCount);
  #generation = 0;
  /** A reset waits for what is under way: until then the controller says that it is ready. */
  #resetPending = false;
  /** Deletions of queues that wait for their commands to end. */
  readonly #leaving = new Map<number, NvmeCommand>();
  /** While commands are fetched, interrupts are sent once at the end. */
  #fetching = false;
  readonly #toSignal = new Set<CompletionQueue>();

  constructor(options: NvmeOptions) {
    const { arena } = options;
    this.name = options.name ?? 'nvme';
    this.names = options;
    this.clock = options.clock;
    this.#dma = options.dma;
    this.namespaces = new Map(options.namespaces.map((namespace) => [namespace.identifier, namespace]));
    this.state = NvmeState.allocate(arena);
    this.#bank = new RegisterBank(registerBytes, registers, this, this.state);
    this.#msix = new Msix({ barIndex: 4, vectors: queueCount, arena });
    this.function = new PciFunction({
      name: this.name,
      vendorId: 0x1b36,
      deviceId: 0x0010,
      revision: 2,
      classCode: 0x010802,
      interruptPin: 1,
      bars: [{ index: 0, kind: 'memory64', size: barBytes, handler: this.#window }, this.#msix.bar],
      arena,
      configWritten: () => this.#configWritten(),
    });
    this.#msix.attach(this.function);
    this.#parts = [this.function.part, statePart(NvmeState, this.state), this.#msix.part];
  }

  get pendingRequests(): number {
    return this.#pending;
  }

  readonly #window: IoHandler = {
    read: (offset, size) => (offset < registerBytes ? this.#bank.read(offset, size) : 0),
    write: (offset, size, value) => {
      if (offset < registerBytes) this.#bank.write(offset, size, value);
      else if (size === 4 && offset % 4 === 0) this.#doorbell((offset - registerBytes) / 4, value);
    },
  };

  #configWritten(): void {
    if (this.#msix === undefined) return;
    this.#msix.configChanged();
    this.#updateLine();
  }

  // Registers

  get #isRunning(): boolean {
    return (this.state.CSTS & (csts.ready | csts.fatal)) === csts.ready && !this.#resetPending;
  }

  setControl(value: number, mask: number): void {
    const { state } = this;
    const before = state.CC;
    const after = ((before & ~mask) | value) >>> 0;
    state.CC = after;
    const enabled = (after & cc.enable) !== 0;
    if (enabled && (before & cc.enable) === 0 && !this.#resetPending) this.#start();
    else if (!enabled && (before & cc.enable) !== 0) this.#disable();
    const shutdown = after & cc.shutdown;
    if (shutdown !== 0 && (before & cc.shutdown) === 0) this.#shutDown();
    else if (shutdown === 0) state.CSTS &= ~csts.shutdownBits;
  }

  /** Bytes of a memory page. */
  get pageBytes(): number {
    return 4096 << Math.min((this.state.CC >> 7) & 15, maxPageShift);
  }

  #start(): void {
    const { state } = this;
    const pageMask = this.pageBytes - 1;
    const [submissions, completions] = [(state.AQA & 0xfff) + 1, ((state.AQA >> 16) & 0xfff) + 1];
    const isFit =
      submissions >= 2 &&
      completions >= 2 &&
      ((state.CC >> 7) & 15) <= maxPageShift &&
      ((state.CC >> 4) & 7) === 0 &&
      (state.ASQLow & pageMask) === 0 &&
      (state.ACQLow & pageMask) === 0;
    if (!isFit) {
      state.CSTS = csts.fatal;
      return;
    }
    const [sq, cq] = [state.submission[0]!, state.completion[0]!];
    Object.assign(sq, { ready: true, leaving: false, head: 0, tail: 0, completionQueue: 0 });
    Object.assign(sq, { gpaLow: state.ASQLow, gpaHigh: state.ASQHigh, size: Math.min(submissions, maxQueueEntries) });
    Object.assign(cq, { ready: true, head: 0, tail: 0, phase: true, vector: 0, interrupts: true });
    Object.assign(cq, { gpaLow: state.ACQLow, gpaHigh: state.ACQHigh, size: Math.min(completions, maxQueueEntries) });
    state.CSTS = csts.ready | (state.CSTS & csts.shutdownBits);
  }

  #disable(): void {
    this.#generation++;
    this.#leaving.clear();
    if (this.#pending > 0) this.#resetPending = true;
    else this.#stop();
  }

  /** As a reset leaves it; the administration's queues keep their places (3.1.5). */
  #stop(): void {
    const { state } = this;
    const { AQA, ASQLow, ASQHigh, ACQLow, ACQHigh, CC } = state;
    NvmeState.reset(state);
    Object.assign(state, { AQA, ASQLow, ASQHigh, ACQLow, ACQHigh });
    state.CC = CC & ~cc.enable;
    this.#resetPending = false;
    this.#updateLine();
    // It was enabled again meanwhile.
    if ((CC & cc.enable) !== 0) {
      state.CC = CC;
      this.#start();
    }
  }

  #shutDown(): void {
    const { state } = this;
    state.CSTS = (state.CSTS & ~csts.shutdownBits) | csts.shuttingDown;
    const generation = this.#generation;
    let left = this.namespaces.size;
    const done = () => {
      if (--left > 0 || generation !== this.#generation) return;
      if ((state.CSTS & csts.shuttingDown) !== 0) state.CSTS = (state.CSTS & ~csts.shutdownBits) | csts.shutDown;
    };
    if (left === 0) {
      left = 1;
      done();
    }
    for (const { backend } of [...this.namespaces.values()]) backend.flush(done);
  }

  // Doorbells and queues

  #doorbell(number: number, value: number): void {
    // A function that is no bus master touches no queue.
    if (!this.#isRunning || !this.function.busMaster) return;
    const index = number >> 1;
    const { state } = this;
    if ((number & 1) === 0) {
      const sq = state.submission[index];
      if (!sq?.ready) this.event('error', errorEvent.invalidDoorbell);
      else if (value >= sq.size) this.event('error', errorEvent.invalidValue);
      else {
        sq.tail = value;
        this.#fetchAll([index]);
      }
      return;
    }
    const cq = state.completion[index];
    if (!cq?.ready) this.event('error', errorEvent.invalidDoorbell);
    else if (value >= cq.size) this.event('error', errorEvent.invalidValue);
    else {
      cq.head = value;
      this.#updateLine();
      if (index === 0) this.#deliverEvents();
      const waiting: number[] = [];
      for (let i = 0; i < queueCount; i++) {
        const sq = state.submission[i]!;
        if (sq.ready && sq.completionQueue === index && sq.head !== sq.tail) waiting.push(i);
      }
      this.#fetchAll(waiting);
    }
  }

  #fetchAll(indices: readonly number[]): void {
    if (this.#fetching) return;
    this.#fetching = true;
    for (const index of indices) this.#fetch(index);
    this.#fetching = false;
    this.#signalAll();
  }

  #fetch(index: number): void {
    const sq = this.state.submission[index]!;
    const cq = this.state.completion[sq.completionQueue]!;
    while (this.#isRunning && sq.ready && !sq.leaving && sq.head !== sq.tail) {
      const room = (cq.head - cq.tail - 1 + cq.size) % cq.size;
      if (room <= this.#reserved[sq.completionQueue]!) return;
      const bytes = this.#dma.view(gpaOf(sq) + sq.head * submissionBytes, submissionBytes, false);
      if (!bytes) {
        this.#fail();
        return;
      }
      sq.head = (sq.head + 1) % sq.size;
      const command = new NvmeCommand(bytes.slice(), index, this.#generation);
      this.#pending++;
      this.#underWay[index]!++;
      this.#reserved[sq.completionQueue]!++;
      if (index === 0) adminCommand(this, command);
      else this.#ioCommand(command);
    }
  }

  #ioCommand(command: NvmeCommand): void {
    const { namespace: id, opcode } = command;
    if (id === broadcastNamespace && opcode === ioOpcode.flush) {
      this.#flushAll(command);
      return;
    }
    const namespace = this.namespaces.get(id);
    if (namespace) namespace.execute(this, command);
    else {
      const isNone = id === 0 || (id > maxNamespaces && id !== broadcastNamespace);
      this.end(command, isNone ? nvmeStatus.invalidNamespace : nvmeStatus.invalidField);
    }
  }

  #flushAll(command: NvmeCommand): void {
    let left = this.namespaces.size;
    let status = 0;
    if (left === 0) this.end(command, 0);
    for (const { backend } of this.namespaces.values()) {
      backend.flush((failure) => {
        if (failure !== undefined) status = nvmeStatus.writeFault;
        if (--left === 0) this.end(command, status);
      });
    }
  }

  /** Guest memory for a command's data; undefined: it has been refused. */
  data(command: NvmeCommand, length: number, intoGuest: boolean): ScatterList | undefined {
    const list = command.data(this.#dma, length, intoGuest, this.pageBytes);
    if (typeof list !== 'number') return list;
    this.end(command, list);
    return undefined;
  }

  /** A command has ended. Once for each. */
  end(command: NvmeCommand, status: number, result = 0): void {
    this.#pending--;
    this.#underWay[command.queue]!--;
    const sq = this.state.submission[command.queue]!;
    const isCurrent = command.generation === this.#generation;
    if (isCurrent) {
      this.#reserved[sq.completionQueue]!--;
      this.#post(command.queue, command.identifier, status, result);
      this.#finishLeaving(command.queue);
    }
    if (this.#pending === 0) {
      this.#reserved.fill(0);
      if (this.#resetPending) this.#stop();
    }
  }

  /** An asynchronous event request waits, and its answer has no room of its own. */
  hold(command: NvmeCommand): void {
    this.#pending--;
    this.#underWay[command.queue]!--;
    this.#reserved[0]!--;
    const { state } = this;
    state.eventCommands[state.eventRequests++] = command.identifier;
    this.#deliverEvents();
  }

  #post(index: number, identifier: number, status: number, result: number): void {
    const sq = this.state.submission[index]!;
    const cq = this.state.completion[sq.completionQueue]!;
    const gpa = gpaOf(cq) + cq.tail * completionBytes;
    const entry = this.#dma.view(gpa, completionBytes, true);
    if (!entry) {
      this.#fail();
      return;
    }
    const view = new DataView(entry.buffer, entry.byteOffset, completionBytes);
    view.setUint32(0, result, true);
    view.setUint32(4, 0, true);
    view.setUint16(8, sq.head, true);
    view.setUint16(10, index, true);
    view.setUint16(12, identifier, true);
    // The phase comes last: with it the entry is the driver's.
    view.setUint16(14, (status << 1) | (cq.phase ? 1 : 0), true);
    this.#dma.publish(gpa, completionBytes);
    cq.tail = (cq.tail + 1) % cq.size;
    if (cq.tail === 0) cq.phase = !cq.phase;
    if (!cq.interrupts) return;
    this.#toSignal.add(cq);
    if (!this.#fetching) this.#signalAll();
  }

  #fail(): void {
    this.state.CSTS |= csts.fatal;
  }

  // Deleting queues

  /** A submission queue goes when its commands have ended; then `command` does. */
  deleteSubmission(command: NvmeCommand, index: number): void {
    this.state.submission[index]!.leaving = true;
    this.#leaving.set(index, command);
    this.#finishLeaving(index);
  }

  #finishLeaving(index: number): void {
    const command = this.#leaving.get(index);
    if (!command || this.#underWay[index]! > 0) return;
    this.#leaving.delete(index);
    this.state.submission[index]!.ready = false;
    this.end(command, 0);
  }

  deleteCompletion(index: number): void {
    this.state.completion[index]!.ready = false;
    this.#updateLine();
  }

  // Interrupts

  #signalAll(): void {
    if (this.#toSignal.size === 0) return;
    const queues = [...this.#toSignal];
    this.#toSignal.clear();
    if (this.#msix.enabled) for (const { vector } of queues) this.#msix.notify(vector);
    else this.#updateLine();
  }

  /** The pin is up while a queue holds what the driver has not taken. */
  #updateLine(): void {
    const { state } = this;
    let level = false;
    if (!this.#msix.enabled)
      for (let i = 0; i < queueCount && !level; i++) {
        const { ready, interrupts, head, tail, vector } = state.completion[i]!;
        level = ready && interrupts && head !== tail && ((state.INTM >>> (vector & 31)) & 1) === 0;
      }
    this.function.setIntx(level);
  }

  maskInterrupts(set: number, clear: number): void {
    this.state.INTM = ((this.state.INTM | set) & ~clear) >>> 0;
    this.#updateLine();
  }

  hasVector(vector: number): boolean {
    return this.#msix.enabled ? vector < this.#msix.vectors : vector === 0;
  }

  // Events

  event(kind: 'error' | 'smart', information: number): void {
    const { state } = this;
    if (kind === 'error') state.waitingError = information;
    else state.waitingSmart = information;
    this.#deliverEvents();
  }

  /** The log of a kind was read: the next event of it may be told. */
  logRead(kind: 'error' | 'smart'): void {
    this.state.maskedEvents &= kind === 'error' ? ~1 : ~2;
    this.#deliverEvents();
  }

  #deliverEvents(): void {
    const { state } = this;
    const tell = (bit: number, information: number, page: number): boolean => {
      const cq = state.completion[0]!;
      if (!this.#isRunning || !cq.ready || information === none || (state.maskedEvents & (1 << bit)) !== 0)
        return false;
      const room = (cq.head - cq.tail - 1 + cq.size) % cq.size;
      if (state.eventRequests === 0 || room <= this.#reserved[0]!) return false;
      const identifier = state.eventCommands[0]!;
      state.eventRequests--;
      for (let i = 0; i < state.eventRequests; i++) state.eventCommands[i] = state.eventCommands[i + 1]!;
      state.maskedEvents |= 1 << bit;
      this.#post(0, identifier, 0, bit | (information << 8) | (page << 16));
      return true;
    };
    if (tell(0, state.waitingError, logPage.errors)) state.waitingError = none;
    if (tell(1, state.waitingSmart, logPage.smart)) state.waitingSmart = none;
  }

  // Lifecycle

  reset(): void {
    this.#generation++;
    this.#leaving.clear();
    this.#resetPending = false;
    NvmeState.reset(this.state);
    this.#msix.reset();
    this.function.reset();
  }

  save(): Uint8Array {
    return saveParts(this.#parts);
  }

  load(saved: Uint8Array): void {
    loadParts(this.#parts, saved, this.name, () => {
      if (!this.function.hasOwnIdentity() || !queuesFit(this.state))
        throw new StateError('state-field', `The saved state of ${this.name} does not fit together.`);
    });
    this.#generation++;
    this.#leaving.clear();
    this.#reserved.fill(0);
    this.function.restore();
    this.#msix.configChanged();
    this.#updateLine();
    // What was rung before the state was saved.
    if (this.#isRunning) this.#fetchAll(Array.from({ length: queueCount }, (_, i) => i));
  }
}

const gpaOf = ({ gpaLow, gpaHigh }: { readonly gpaLow: number; readonly gpaHigh: number }) =>
  gpaHigh * 2 ** 32 + gpaLow;

/** Indices are within queues that have a size, and submission queues lead to completion queues that are there. */
function queuesFit({ submission, completion }: NvmeRegisters): boolean {
  for (let i = 0; i < queueCount; i++) {
    for (const queue of [submission[i]!, completion[i]!])
      if (queue.ready && (queue.size < 2 || queue.head >= queue.size || queue.tail >= queue.size)) return false;
    if (submission[i]!.ready && !completion[submission[i]!.completionQueue]!.ready) return false;
    if (completion[i]!.vector >= queueCount) return false;
  }
  return true;
}

/** A half of a 64-bit register that the state holds. */
const half = (offset: number, meaning: string, keep = 0xffffffff) =>
  ({ offset, width: 4, access: 'rw', writable: keep, meaning }) as const;

const registers = defineRegisters<NvmeController>()({
  CAPLow: { offset: 0x00, width: 4, access: 'ro', read: () => capabilities.low, meaning: 'capabilities' },
  CAPHigh: { offset: 0x04, width: 4, access: 'ro', read: () => capabilities.high, meaning: 'capabilities' },
  VS: { offset: 0x08, width: 4, access: 'ro', read: () => nvmeVersion, meaning: 'version' },
  INTMS: {
    offset: 0x0c,
    width: 4,
    access: 'rw',
    read: (t) => t.state.INTM,
    write: (t, value) => t.maskInterrupts(value, 0),
    meaning: 'interrupts that ones mask',
  },
  INTMC: {
    offset: 0x10,
    width: 4,
    access: 'rw',
    read: (t) => t.state.INTM,
    write: (t, value) => t.maskInterrupts(0, value),
    meaning: 'interrupts that ones unmask',
  },
  CC: {
    offset: 0x14,
    width: 4,
    access: 'rw',
    write: (t, value, mask) => t.setControl(value, mask),
    meaning: 'enable, page size, shutdown',
  },
  CSTS: { offset: 0x1c, width: 4, access: 'ro', meaning: 'ready, fatal, shut down' },
  AQA: half(0x24, 'sizes of the queues of administration', 0x0fff0fff),
  ASQLow: half(0x28, "administration's submission queue", 0xfffff000),
  ASQHigh: half(0x2c, "administration's submission queue"),
  ACQLow: half(0x30, "administration's completion queue", 0xfffff000),
  ACQHigh: half(0x34, "administration's completion queue"),
});
