/** The commands of administration (NVM Express 1.4, clause 5), one row each; others are refused. */
import { identifyController, identifyNamespace, namespaceDescriptors, namespaceList, temperature } from './identify.js';
import {
  adminOpcode,
  broadcastNamespace,
  eventRequests,
  feature,
  ioOpcode,
  ioQueuePairs,
  logPage,
  maxNamespaces,
  maxQueueEntries,
  nvmeStatus,
  queueCount,
  smartEvent,
} from './nvme-codes.js';
import type { NvmeCommand } from './nvme-command.js';
import type { NvmeController } from './nvme-controller.js';

type Run = (controller: NvmeController, command: NvmeCommand) => void;

const rows: readonly (readonly [code: number, run: Run])[] = [
  [adminOpcode.deleteSubmissionQueue, deleteSubmissionQueue],
  [adminOpcode.createSubmissionQueue, createSubmissionQueue],
  [adminOpcode.getLogPage, getLogPage],
  [adminOpcode.deleteCompletionQueue, deleteCompletionQueue],
  [adminOpcode.createCompletionQueue, createCompletionQueue],
  [adminOpcode.identify, identify],
  [adminOpcode.abort, abort],
  [adminOpcode.setFeatures, setFeatures],
  [adminOpcode.getFeatures, getFeatures],
  [adminOpcode.asynchronousEvent, asynchronousEvent],
];
const byCode = new Map(rows);

export function adminCommand(controller: NvmeController, command: NvmeCommand): void {
  const run = byCode.get(command.opcode);
  if (run) run(controller, command);
  else controller.end(command, nvmeStatus.invalidOpcode);
}

/** Ends with an answer in the host's memory. */
function answer(controller: NvmeController, command: NvmeCommand, bytes: Uint8Array): void {
  const list = controller.data(command, bytes.length, true);
  if (!list) return;
  list.fill(bytes);
  controller.end(command, 0);
}

// Queues

function createCompletionQueue(controller: NvmeController, command: NvmeCommand): void {
  const { state } = controller;
  const id = command.dword(10) & 0xffff;
  const size = (command.dword(10) >>> 16) + 1;
  const vector = command.dword(11) >>> 16;
  const flags = command.dword(11) & 0xffff;
  const { prp1 } = command;
  if (id === 0 || id >= queueCount || state.completion[id]!.ready) controller.end(command, nvmeStatus.invalidQueue);
  else if (size < 2 || size > maxQueueEntries) controller.end(command, nvmeStatus.queueSize);
  else if (prp1 % controller.pageBytes !== 0) controller.end(command, nvmeStatus.prpOffset);
  else if (!controller.hasVector(vector)) controller.end(command, nvmeStatus.invalidVector);
  else if ((flags & 1) === 0 || ((state.CC >>> 20) & 15) !== 4) controller.end(command, nvmeStatus.invalidField);
  else {
    Object.assign(state.completion[id]!, {
      ...{ ready: true, head: 0, tail: 0, phase: true, size, vector, interrupts: (flags & 2) !== 0 },
      ...{ gpaLow: prp1 % 2 ** 32, gpaHigh: Math.floor(prp1 / 2 ** 32) },
    });
    controller.end(command, 0);
  }
}

function createSubmissionQueue(controller: NvmeController, command: NvmeCommand): void {
  const { state } = controller;
  const id = command.dword(10) & 0xffff;
  const size = (command.dword(10) >>> 16) + 1;
  const completionQueue = command.dword(11) >>> 16;
  const { prp1 } = command;
  if (completionQueue === 0 || completionQueue >= queueCount || !state.completion[completionQueue]!.ready)
    controller.end(command, nvmeStatus.invalidCompletionQueue);
  else if (id === 0 || id >= queueCount || state.submission[id]!.ready)
    controller.end(command, nvmeStatus.invalidQueue);
  else if (size < 2 || size > maxQueueEntries) controller.end(command, nvmeStatus.queueSize);
  else if (prp1 % controller.pageBytes !== 0) controller.end(command, nvmeStatus.prpOffset);
  else if ((command.dword(11) & 1) === 0 || ((state.CC >>> 16) & 15) !== 6)
    controller.end(command, nvmeStatus.invalidField);
  else {
    Object.assign(state.submission[id]!, {
      ...{ ready: true, leaving: false, head: 0, tail: 0, size, completionQueue },
      ...{ gpaLow: prp1 % 2 ** 32, gpaHigh: Math.floor(prp1 / 2 ** 32) },
    });
    controller.end(command, 0);
  }
}

function deleteSubmissionQueue(controller: NvmeController, command: NvmeCommand): void {
  const id = command.dword(10) & 0xffff;
  const queue = controller.state.submission[id];
  if (id === 0 || !queue?.ready || queue.leaving) controller.end(command, nvmeStatus.invalidQueue);
  else controller.deleteSubmission(command, id);
}

function deleteCompletionQueue(controller: NvmeController, command: NvmeCommand): void {
  const { state } = controller;
  const id = command.dword(10) & 0xffff;
  if (id === 0 || !state.completion[id]?.ready) {
    controller.end(command, nvmeStatus.invalidQueue);
    return;
  }
  for (let i = 0; i < queueCount; i++) {
    const { ready, completionQueue } = state.submission[i]!;
    if (!ready || completionQueue !== id) continue;
    controller.end(command, nvmeStatus.queueDeletion);
    return;
  }
  controller.deleteCompletion(id);
  controller.end(command, 0);
}

/** What is under way is the disk's, and cannot be taken back. */
function abort(controller: NvmeController, command: NvmeCommand): void {
  const isThere = controller.state.submission[command.dword(10) & 0xffff]?.ready ?? false;
  controller.end(command, isThere ? 0 : nvmeStatus.invalidField, 1);
}

// What there is

const exists = (id: number) => id > 0 && id <= maxNamespaces;

function identify(controller: NvmeController, command: NvmeCommand): void {
  const { namespace: id } = command;
  const namespace = controller.namespaces.get(id);
  switch (command.dword(10) & 0xff) {
    case 0x00:
      if (!exists(id)) controller.end(command, nvmeStatus.invalidNamespace);
      else answer(controller, command, namespace ? identifyNamespace(namespace) : new Uint8Array(4096));
      return;
    case 0x01:
      answer(controller, command, identifyController(controller.names));
      return;
    case 0x02:
      if (id >= broadcastNamespace - 1) controller.end(command, nvmeStatus.invalidNamespace);
      else answer(controller, command, namespaceList(controller.namespaces.keys(), id));
      return;
    case 0x03:
      if (!exists(id)) controller.end(command, nvmeStatus.invalidNamespace);
      else if (namespace) answer(controller, command, namespaceDescriptors(namespace));
      else controller.end(command, nvmeStatus.invalidField);
      return;
    default:
      controller.end(command, nvmeStatus.invalidField);
  }
}

function getLogPage(controller: NvmeController, command: NvmeCommand): void {
  const page = command.dword(10) & 0xff;
  const retain = (command.dword(10) & 0x8000) !== 0;
  const length = ((command.dword(10) >>> 16) + (command.dword(11) & 0xffff) * 2 ** 16 + 1) * 4;
  const offset = command.dword(12) + command.dword(13) * 2 ** 32;
  const log = logOf(controller, page);
  if (!log) controller.end(command, nvmeStatus.invalidLog);
  else if (offset % 4 !== 0 || offset >= log.length) controller.end(command, nvmeStatus.invalidField);
  else {
    if (
      page === logPage.smart &&
      command.namespace !== broadcastNamespace &&
      command.namespace !== 0 &&
      !exists(command.namespace)
    ) {
      controller.end(command, nvmeStatus.invalidNamespace);
      return;
    }
    answer(controller, command, log.subarray(offset, offset + length));
    if (retain) return;
    if (page === logPage.errors) controller.logRead('error');
    else if (page === logPage.smart) controller.logRead('smart');
  }
}

function logOf(controller: NvmeController, page: number): Uint8Array | undefined {
  switch (page) {
    case logPage.errors:
      // One entry, of no error.
      return new Uint8Array(64);
    case logPage.smart:
      return smartLog(controller);
    case logPage.firmware: {
      const log = new Uint8Array(512);
      log[0] = 1;
      log.set(new TextEncoder().encode(controller.names.firmware.padEnd(8).slice(0, 8)), 8);
      return log;
    }
    case logPage.changedNamespaces:
      return new Uint8Array(4096);
    case logPage.commandEffects: {
      const view = new DataView(new ArrayBuffer(4096));
      const supported = 1;
      const changesData = 2;
      for (const [code] of rows) view.setUint32(code * 4, supported, true);
      for (const code of Object.values(ioOpcode)) {
        const changes = code === ioOpcode.write || code === ioOpcode.writeZeroes || code === ioOpcode.datasetManagement;
        view.setUint32(1024 + code * 4, supported | (changes ? changesData : 0), true);
      }
      return new Uint8Array(view.buffer);
    }
    default:
      return undefined;
  }
}

function smartLog({ state, clock }: NvmeController): Uint8Array {
  const view = new DataView(new ArrayBuffer(512));
  const isHot = temperature.now >= state.overTemperature || temperature.now <= state.underTemperature;
  view.setUint8(0, isHot ? 2 : 0);
  view.setUint16(1, temperature.now, true);
  view.setUint8(3, 100); // spare, and where it is short
  view.setUint8(4, 10);
  const counter = (at: number, value: number) => {
    const whole = Math.floor(value);
    view.setUint32(at, whole % 2 ** 32, true);
    view.setUint32(at + 4, Math.floor(whole / 2 ** 32), true);
  };
  // Thousands of 512 bytes, rounded up.
  counter(32, Math.ceil(state.bytesRead / 512_000));
  counter(48, Math.ceil(state.bytesWritten / 512_000));
  counter(64, state.readCommands);
  counter(80, state.writeCommands);
  counter(128, clock.nowNs() / 3.6e12);
  return new Uint8Array(view.buffer);
}

// Features

const select = { current: 0, fallback: 1, saved: 2, capabilities: 3 } as const;
const isChangeable = 4;
const isOfNamespace = 2;
const saveBit = 2 ** 31;
/** What can be changed, and of it what belongs to a namespace. */
const capabilitiesOf: Readonly<Record<number, number>> = {
  [feature.arbitration]: 0,
  [feature.power]: 0,
  [feature.temperature]: isChangeable,
  [feature.errorRecovery]: isChangeable | isOfNamespace,
  [feature.writeCache]: isChangeable,
  [feature.queues]: isChangeable,
  [feature.coalescing]: 0,
  [feature.vector]: 0,
  [feature.writeAtomicity]: 0,
  [feature.events]: isChangeable,
  [feature.timestamp]: isChangeable,
};
const queueNumbers = (ioQueuePairs - 1) | ((ioQueuePairs - 1) << 16);
/** Above this is which sensor and which threshold. */
const thresholdMask = 0xffff;

function getFeatures(controller: NvmeController, command: NvmeCommand): void {
  const id = command.dword(10) & 0xff;
  const which = (command.dword(10) >>> 8) & 7;
  const known = capabilitiesOf[id];
  if (known === undefined || which > select.capabilities) {
    controller.end(command, nvmeStatus.invalidField);
    return;
  }
  if ((known & isOfNamespace) !== 0) {
    const isAll = command.namespace === broadcastNamespace;
    if (!isAll && !exists(command.namespace)) {
      controller.end(command, nvmeStatus.invalidNamespace);
      return;
    }
  }
  if (which === select.capabilities) {
    controller.end(command, 0, known);
    return;
  }
  if (id === feature.timestamp && which === select.current) {
    const bytes = new DataView(new ArrayBuffer(8));
    const { timestampSet, timestampMs, timestampAtNs } = controller.state;
    const elapsedMs = Math.max(0, Math.floor((controller.clock.nowNs() - timestampAtNs) / 1e6));
    bytes.setBigUint64(0, BigInt(timestampMs + elapsedMs) & 0xffffffffffffn, true);
    bytes.setUint8(6, timestampSet ? 2 : 0);
    answer(controller, command, new Uint8Array(bytes.buffer));
    return;
  }
  const value = featureValue(controller, id, command.dword(11), which === select.current);
  if (value === undefined) controller.end(command, nvmeStatus.invalidField);
  else controller.end(command, 0, value >>> 0);
}

function featureValue({ state }: NvmeController, id: number, dword11: number, current: boolean): number | undefined {
  switch (id) {
    case feature.arbitration:
      return 7;
    case feature.temperature: {
      // The composite temperature alone.
      if (((dword11 >>> 16) & 15) !== 0) return 0;
      const isOver = ((dword11 >>> 20) & 3) === 0;
      if (!isOver) return ((dword11 >>> 20) & 3) === 1 ? (current ? state.underTemperature : 0) : undefined;
      return current ? state.overTemperature : temperature.warning;
    }
    case feature.errorRecovery:
      return current ? state.errorRecovery : 0;
    case feature.writeCache:
      return !current || state.writeCache ? 1 : 0;
    case feature.queues:
      return queueNumbers;
    case feature.coalescing:
      return 0;
    case feature.vector: {
      const vector = dword11 & 0xffff;
      if (vector >= queueCount) return undefined;
      // None is ever delayed; the first one may not be.
      return vector | (vector === 0 ? 0x10000 : 0);
    }
    case feature.writeAtomicity:
      return 0;
    case feature.events:
      return current ? state.events : 0;
    default:
      return 0;
  }
}

function setFeatures(controller: NvmeController, command: NvmeCommand): void {
  const { state } = controller;
  const id = command.dword(10) & 0xff;
  const value = command.dword(11);
  const known = capabilitiesOf[id];
  const status = refusalOf(command, known);
  if (status !== 0) {
    controller.end(command, status);
    return;
  }
  let result = 0;
  switch (id) {
    case feature.temperature:
      if (!setThreshold(controller, value)) {
        controller.end(command, nvmeStatus.invalidField);
        return;
      }
      break;
    case feature.errorRecovery:
      state.errorRecovery = value;
      break;
    case feature.writeCache:
      setWriteCache(controller, command, (value & 1) !== 0);
      return;
    case feature.queues:
      if ((value & 0xffff) === 0xffff || value >>> 16 === 0xffff) {
        controller.end(command, nvmeStatus.invalidField);
        return;
      }
      result = queueNumbers;
      break;
    case feature.events:
      state.events = value;
      break;
    case feature.timestamp: {
      const list = controller.data(command, 8, false);
      if (!list) return;
      const bytes = new Uint8Array(8);
      list.take(bytes);
      state.timestampMs = Number(new DataView(bytes.buffer).getBigUint64(0, true) & 0xffffffffffffn);
      state.timestampAtNs = controller.clock.nowNs();
      state.timestampSet = true;
      break;
    }
  }
  controller.end(command, 0, result);
}

/** 0: it may be set. */
function refusalOf(command: NvmeCommand, known: number | undefined): number {
  const { namespace } = command;
  if ((command.dword(10) & saveBit) !== 0) return nvmeStatus.notSaveable;
  if (known === undefined) return nvmeStatus.invalidField;
  if ((known & isChangeable) === 0) return nvmeStatus.notChangeable;
  const isAll = namespace === broadcastNamespace;
  if ((known & isOfNamespace) !== 0) return isAll || exists(namespace) ? 0 : nvmeStatus.invalidNamespace;
  if (namespace === 0 || isAll) return 0;
  return exists(namespace) ? nvmeStatus.notOfNamespace : nvmeStatus.invalidNamespace;
}

function setThreshold(controller: NvmeController, value: number): boolean {
  const { state } = controller;
  if (((value >>> 16) & 15) !== 0) return true;
  const kind = (value >>> 20) & 3;
  if (kind > 1) return false;
  if (kind === 0) state.overTemperature = value & thresholdMask;
  else state.underTemperature = value & thresholdMask;
  const isHot = temperature.now >= state.overTemperature || temperature.now <= state.underTemperature;
  // The driver hears of a temperature that is out of bounds where it has asked for that.
  if (isHot && (state.events & 2) !== 0) controller.event('smart', smartEvent.temperature);
  return true;
}

/** Without a cache, what it held is on the medium. */
function setWriteCache(controller: NvmeController, command: NvmeCommand, on: boolean): void {
  const { state } = controller;
  const before = state.writeCache;
  state.writeCache = on;
  if (on || !before || controller.namespaces.size === 0) {
    controller.end(command, 0);
    return;
  }
  let left = controller.namespaces.size;
  let status = 0;
  for (const { backend } of controller.namespaces.values()) {
    backend.flush((failure) => {
      if (failure !== undefined) status = nvmeStatus.writeFault;
      if (--left === 0) controller.end(command, status);
    });
  }
}

function asynchronousEvent(controller: NvmeController, command: NvmeCommand): void {
  if (controller.state.eventRequests >= eventRequests) controller.end(command, nvmeStatus.eventLimit);
  else controller.hold(command);
}
