/** Commands of an xHCI (4.6): slots, and the contexts of devices. */
import type { DmaSpace } from '../../bus/index.js';
import type { UsbDevice } from './usb-device.js';
import { completion, contextBytes, endpointState, lastEndpoint, slotState, trbBit, trbType } from './xhci-codes.js';
import { slotCount, type XhciRegisters } from './xhci-state.js';
import { endpointContext, type Trb } from './xhci-transfers.js';

export interface CommandHost {
  readonly dma: DmaSpace;
  readonly state: XhciRegisters;
  /** A device by its port, from 1 on, and the ports of the hubs behind it. */
  deviceAt(port: number, route: number): UsbDevice | undefined;
  slotOf(device: UsbDevice): number | undefined;
  /** Where a slot's contexts lie; undefined: the guest has not said. */
  contextsOf(slot: number): number | undefined;
  endpointStopped(slot: number, dci: number): void;
}

export interface CommandResult {
  readonly code: number;
  readonly slot: number;
}

const addressOf = ({ low, high }: Trb): number => high * 2 ** 32 + ((low & ~15) >>> 0);
const slotContextWords = 4;
const endpointContextWords = 5;

/** Input contexts: what is dropped and added, then the contexts as in a device's own. */
class InputContext {
  readonly #dma: DmaSpace;
  readonly #gpa: number;
  readonly drop: number;
  readonly add: number;
  constructor(dma: DmaSpace, gpa: number) {
    this.#dma = dma;
    this.#gpa = gpa;
    this.drop = dma.readU32(gpa);
    this.add = dma.readU32(gpa + 4);
  }
  word(context: number, index: number): number {
    return this.#dma.readU32(this.#gpa + (context + 1) * contextBytes + index * 4);
  }
}

export function runCommand(host: CommandHost, trb: Trb): CommandResult {
  const { state } = host;
  const slot = trb.control >>> 24;
  const dci = (trb.control >>> 16) & 31;
  const done = (code: number): CommandResult => ({ code, slot });
  switch (trb.type) {
    case trbType.noOpCommand:
      return done(completion.success);
    case trbType.enableSlot: {
      const free = state.slots.findIndex(({ used }) => !used);
      if (free < 0) return { code: completion.noSlots, slot: 0 };
      Object.assign(state.slots[free]!, { used: true, port: 0, route: 0 });
      return { code: completion.success, slot: free + 1 };
    }
  }
  const known = slot >= 1 && slot <= slotCount ? state.slots[slot - 1] : undefined;
  if (trb.type < trbType.disableSlot || trb.type > trbType.resetDevice) return done(completion.trb);
  if (!known?.used) return done(completion.slotNotEnabled);
  const contexts = host.contextsOf(slot);
  if (trb.type === trbType.disableSlot) {
    Object.assign(known, { used: false, port: 0, route: 0 });
    return done(completion.success);
  }
  if (contexts === undefined) return done(completion.parameter);
  switch (trb.type) {
    case trbType.addressDevice:
      return done(address(host, trb, slot, contexts));
    case trbType.configureEndpoint:
      return done(configure(host, trb, contexts));
    case trbType.evaluateContext:
      return done(evaluate(host, trb, contexts));
    case trbType.resetEndpoint:
    case trbType.stopEndpoint:
    case trbType.setDequeue:
      return done(dci === 0 ? completion.trb : endpoint(host, trb, slot, contexts, dci));
    default:
      return done(resetDevice(host, slot, contexts));
  }
}

function copy(dma: DmaSpace, input: InputContext, contexts: number, index: number, words: number): void {
  for (let i = 0; i < words; i++) dma.writeU32(contexts + index * contextBytes + i * 4, input.word(index, i));
}

/** An endpoint that begins: running, with nothing moved. */
function enable(dma: DmaSpace, input: InputContext, contexts: number, dci: number): void {
  copy(dma, input, contexts, dci, endpointContextWords);
  const context = endpointContext(dma, contexts + dci * contextBytes);
  context.state = endpointState.running;
  context.moved = 0;
}

function setSlotState(dma: DmaSpace, contexts: number, value: number, addressOfDevice?: number): void {
  const word = dma.readU32(contexts + 12);
  const kept = addressOfDevice === undefined ? word & 0xff : addressOfDevice;
  dma.writeU32(contexts + 12, ((value << 27) | kept) >>> 0);
}

const slotStateOf = (dma: DmaSpace, contexts: number): number => dma.readU32(contexts + 12) >>> 27;

function address(host: CommandHost, trb: Trb, slot: number, contexts: number): number {
  const { dma, state } = host;
  const input = new InputContext(dma, addressOf(trb));
  if (input.drop !== 0 || (input.add & 3) !== 3) return completion.trb;
  const route = input.word(0, 0) & 0xfffff;
  const port = (input.word(0, 1) >>> 16) & 0xff;
  const device = host.deviceAt(port, route);
  if (!device) return completion.transaction;
  const other = host.slotOf(device);
  if (other !== undefined && other !== slot) return completion.trb;
  Object.assign(state.slots[slot - 1]!, { port, route });
  copy(dma, input, contexts, 0, slotContextWords);
  const isBlocked = (trb.control & trbBit.blockSetAddress) !== 0;
  device.reset();
  device.base.address = isBlocked ? 0 : slot;
  setSlotState(dma, contexts, isBlocked ? slotState.default : slotState.addressed, isBlocked ? 0 : slot);
  enable(dma, input, contexts, 1);
  return completion.success;
}

function disableFrom(dma: DmaSpace, contexts: number, first: number): void {
  for (let dci = first; dci <= lastEndpoint; dci++)
    endpointContext(dma, contexts + dci * contextBytes).state = endpointState.disabled;
}

function setEntries(dma: DmaSpace, contexts: number, entries: number): void {
  dma.writeU32(contexts, ((dma.readU32(contexts) & ~(31 << 27)) | (entries << 27)) >>> 0);
}

function configure({ dma }: CommandHost, trb: Trb, contexts: number): number {
  const before = slotStateOf(dma, contexts);
  if (before < slotState.addressed) return completion.contextState;
  if ((trb.control & trbBit.deconfigure) !== 0) {
    disableFrom(dma, contexts, 2);
    setSlotState(dma, contexts, slotState.addressed);
    setEntries(dma, contexts, 1);
    return completion.success;
  }
  const input = new InputContext(dma, addressOf(trb));
  if ((input.drop & 3) !== 0 || (input.add & 3) !== 1) return completion.trb;
  for (let dci = 2; dci <= lastEndpoint; dci++) {
    if (((input.drop >>> dci) & 1) !== 0)
      endpointContext(dma, contexts + dci * contextBytes).state = endpointState.disabled;
    if (((input.add >>> dci) & 1) !== 0) enable(dma, input, contexts, dci);
  }
  setSlotState(dma, contexts, slotState.configured);
  setEntries(dma, contexts, input.word(0, 0) >>> 27);
  return completion.success;
}

function evaluate({ dma }: CommandHost, trb: Trb, contexts: number): number {
  const input = new InputContext(dma, addressOf(trb));
  if (input.drop !== 0 || (input.add & ~3) !== 0) return completion.trb;
  const merge = (gpa: number, value: number, mask: number) =>
    dma.writeU32(gpa, ((dma.readU32(gpa) & ~mask) | (value & mask)) >>> 0);
  if ((input.add & 1) !== 0) {
    // Greatest exit latency, and the interrupter.
    merge(contexts + 4, input.word(0, 1), 0xffff);
    merge(contexts + 8, input.word(0, 2), 0xffc00000);
  }
  if ((input.add & 2) !== 0) merge(contexts + contextBytes + 4, input.word(1, 1), 0xffff0000);
  return completion.success;
}

function endpoint(host: CommandHost, trb: Trb, slot: number, contexts: number, dci: number): number {
  const context = endpointContext(host.dma, contexts + dci * contextBytes);
  const { state } = context;
  if (state === endpointState.disabled) return completion.endpointNotEnabled;
  switch (trb.type) {
    case trbType.resetEndpoint:
      if (state !== endpointState.halted) return completion.contextState;
      context.state = endpointState.stopped;
      context.moved = 0;
      return completion.success;
    case trbType.stopEndpoint:
      if (state !== endpointState.running) return completion.contextState;
      context.state = endpointState.stopped;
      host.endpointStopped(slot, dci);
      return completion.success;
    default:
      if (state !== endpointState.stopped && state !== endpointState.error) return completion.contextState;
      context.place = { gpa: addressOf(trb), cycle: (trb.low & 1) !== 0 };
      context.moved = 0;
      context.state = endpointState.stopped;
      return completion.success;
  }
}

function resetDevice(host: CommandHost, slot: number, contexts: number): number {
  const { dma, state } = host;
  if (slotStateOf(dma, contexts) < slotState.addressed) return completion.contextState;
  const { port, route } = state.slots[slot - 1]!;
  const device = host.deviceAt(port, route);
  if (device) device.base.address = 0;
  disableFrom(dma, contexts, 2);
  setSlotState(dma, contexts, slotState.default, 0);
  setEntries(dma, contexts, 1);
  return completion.success;
}
