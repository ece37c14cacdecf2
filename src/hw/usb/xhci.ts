/**
 * xHCI host controllers: QEMU's own (1b36:000d) and NEC's µPD720200 (eXtensible Host Controller Interface 1.2).
 *
 * Deviations: no streams, no isochronous transfers, no moderation of interrupts, an interrupt endpoint is asked when it has something
 * rather than at its interval; ports of USB 3 are there and empty; state is not saved into scratchpads (CSS, CRS).
 */
import type { Clock } from '../../base/index.js';
import type { Device, DmaSpace, IoHandler } from '../../bus/index.js';
import type { StateArena } from '../../schema/index.js';
import { Msix } from '../pci/msix.js';
import { checkIdentity, PciFunction } from '../pci/pci-function.js';
import { loadParts, type StatePart, saveParts, statePart } from '../pci/saved-parts.js';
import type { UsbDevice } from './usb-device.js';
import { type UsbPorts, UsbPortTable } from './usb-ports.js';
import {
  area,
  command,
  completion,
  contextBytes,
  interrupterBits,
  linkState,
  portsc,
  speedId,
  status,
  trbType,
} from './xhci-codes.js';
import { type CommandHost, runCommand } from './xhci-commands.js';
import { XhciEvents } from './xhci-events.js';
import { interrupterCount, slotCount, type XhciRegisters, XhciState } from './xhci-state.js';
import { nextTrb, runEndpoint, type TransferHost } from './xhci-transfers.js';

const MICROFRAME_NS = 125_000;
const MOST_COMMANDS = 256;
const interrupterBytes = 32;
const portBytes = 16;
/** Ports of USB 2 and of USB 3 unless given. */
const defaultPorts = 4;
const protocolsAt = 0x20;
const NEC_FIRMWARE = 0x3021;

export const xhciModels = {
  'qemu-xhci': { vendorId: 0x1b36, deviceId: 0x000d, revision: 1 },
  'nec-usb-xhci': { vendorId: 0x1033, deviceId: 0x0194, revision: 3 },
} as const;

export interface XhciOptions {
  readonly name?: string;
  readonly model?: keyof typeof xhciModels;
  readonly dma: DmaSpace;
  readonly clock: Clock;
  /** In the ports of USB 2, from the first on. */
  readonly devices: readonly (UsbDevice | undefined)[];
  /** Ports of USB 2, and of USB 3: 1 to 15 each. */
  readonly ports2?: number | undefined;
  readonly ports3?: number | undefined;
  readonly arena?: StateArena | undefined;
}

/** A slot and the index of an endpoint's context as one number. */
const endpointKey = (slot: number, dci: number): number => slot * 32 + dci;

export class XhciController implements Device, UsbPorts, CommandHost, TransferHost {
  readonly name: string;
  readonly function: PciFunction;
  readonly dma: DmaSpace;
  readonly state: XhciRegisters;
  readonly events: XhciEvents;
  readonly speed = 'high';
  readonly table: UsbPortTable;
  readonly #clock: Clock;
  readonly #msix: Msix;
  readonly #ports2: number;
  readonly #portCount: number;
  readonly #isNec: boolean;
  /** Endpoints whose events had no room, and those that are to be looked at once more. */
  readonly #blocked = new Set<number>();
  readonly #again = new Set<number>();
  #isRunning = false;

  constructor(options: XhciOptions) {
    const { name = 'xhci', model = 'qemu-xhci', dma, clock, devices, arena } = options;
    const { ports2 = defaultPorts, ports3 = defaultPorts } = options;
    this.name = name;
    this.dma = dma;
    this.#clock = clock;
    this.#isNec = model === 'nec-usb-xhci';
    this.#ports2 = ports2;
    this.#portCount = ports2 + ports3;
    this.state = XhciState.allocate(arena);
    this.events = new XhciEvents(dma, this.state, (index) => this.#interrupt(index));
    this.#msix = new Msix({ barIndex: 2, vectors: interrupterCount, arena });
    this.function = new PciFunction({
      name,
      ...xhciModels[model],
      classCode: 0x0c0330,
      interruptPin: 1,
      bars: [{ index: 0, kind: 'memory64', size: area.window, handler: this.#window }, this.#msix.bar],
      arena,
      configWritten: () => {
        this.#msix?.configChanged();
        this.#updateLine();
      },
    });
    // Release of the bus.
    this.function.define(0x60, 1, 0x30);
    this.#msix.attach(this.function);
    this.table = new UsbPortTable(devices, ports2, {
      ready: (device, endpoint) => this.#ready(device, endpoint),
      changed: (index) => this.#portChanged(index),
      leaving: (device) => this.#forget(device),
    });
    this.#resetHost();
  }

  get #parts(): readonly StatePart[] {
    return [this.function.part, statePart(XhciState, this.state), this.#msix.part, ...this.table.parts];
  }

  get pendingRequests(): number {
    return this.table.pendingRequests;
  }

  reset(): void {
    this.function.reset();
    this.#msix.reset();
    this.table.reset();
    this.#resetHost();
  }

  #resetHost(): void {
    XhciState.reset(this.state);
    this.#blocked.clear();
    this.#again.clear();
    for (let i = 0; i < this.#portCount; i++) this.#portChanged(i);
    this.#updateLine();
  }

  save(): Uint8Array {
    return saveParts(this.#parts);
  }

  load(saved: Uint8Array): void {
    loadParts(this.#parts, saved, this.name, () => checkIdentity(this.function));
    this.function.restore();
    this.#msix.configChanged();
    this.table.restored();
    this.#updateLine();
    // Whatever had something to say says it again.
    for (const [i, { used }] of this.state.slots.entries())
      for (let dci = 1; dci < 32 && used; dci++) this.#again.add(endpointKey(i + 1, dci));
    this.#runAgain();
  }

  // Registers

  readonly #window: IoHandler = {
    read: (offset, size) => {
      const word = this.#read(offset & ~3);
      const shifted = word >>> (8 * (offset & 3));
      return size === 4 ? word >>> 0 : shifted & (size === 2 ? 0xffff : 0xff);
    },
    write: (offset, size, value) => {
      // Registers are written as words; drivers know no other way.
      if (size === 4 && (offset & 3) === 0) this.#write(offset, value);
    },
  };

  #read(offset: number): number {
    if (offset < area.operational) return this.#capability(offset);
    if (offset < area.ports) return this.#operational(offset - area.operational);
    if (offset < area.runtime) {
      const index = Math.floor((offset - area.ports) / portBytes);
      return index < this.#portCount && offset % portBytes === 0 ? this.state.ports[index]!.PORTSC : 0;
    }
    if (offset >= area.doorbells) return 0;
    const at = offset - area.runtime;
    if (at === 0) return this.#microframe;
    const each = this.state.interrupters[Math.floor((at - 0x20) / interrupterBytes)];
    if (at < 0x20 || !each) return 0;
    const words = [each.IMAN, each.IMOD, each.ERSTSZ, 0, each.ERSTBALow, each.ERSTBAHigh, each.ERDPLow, each.ERDPHigh];
    return words[(at & 31) >> 2]!;
  }

  get #runs(): boolean {
    return (this.state.USBCMD & command.run) !== 0;
  }

  get #microframe(): number {
    const { startNs } = this.state;
    return this.#runs ? Math.floor((this.#clock.nowNs() - startNs) / MICROFRAME_NS) & 0x3fff : 0;
  }

  #capability(offset: number): number {
    const ports2 = this.#ports2;
    const ports3 = this.#portCount - ports2;
    switch (offset) {
      case 0x00:
        return 0x0100_0000 | area.operational;
      case 0x04:
        return ((this.#portCount << 24) | (interrupterCount << 8) | slotCount) >>> 0;
      case 0x08:
        return 0x0000_000f;
      case 0x10:
        // 64-bit addresses; capabilities of its own at `protocolsAt`.
        return ((protocolsAt / 4) << 16) | 1;
      case 0x14:
        return area.doorbells;
      case 0x18:
        return area.runtime;
      case protocolsAt:
        return 0x0200_0402;
      case protocolsAt + 4:
      case protocolsAt + 0x14:
        return 0x2042_5355;
      case protocolsAt + 8:
        return (ports2 << 8) | 1;
      case protocolsAt + 0x10:
        return 0x0300_0002;
      case protocolsAt + 0x18:
        return (ports3 << 8) | (ports2 + 1);
      default:
        return 0;
    }
  }

  #operational(at: number): number {
    const { state } = this;
    switch (at) {
      case 0x00:
        return state.USBCMD;
      case 0x04:
        return state.USBSTS;
      case 0x08:
        return 1;
      case 0x14:
        return state.DNCTRL;
      case 0x18:
        // Where the ring is is not to be read; whether it runs is.
        return state.commandRunning ? 8 : 0;
      case 0x30:
        return state.DCBAAPLow;
      case 0x34:
        return state.DCBAAPHigh;
      case 0x38:
        return state.CONFIG;
      default:
        return 0;
    }
  }

  #write(offset: number, value: number): void {
    if (offset < area.operational) return;
    if (offset < area.ports) {
      this.#writeOperational(offset - area.operational, value);
      return;
    }
    if (offset < area.runtime) {
      const index = Math.floor((offset - area.ports) / portBytes);
      if (index < this.#portCount && offset % portBytes === 0) this.#writePort(index, value);
      return;
    }
    if (offset < area.doorbells) {
      const at = offset - area.runtime - 0x20;
      const index = Math.floor(at / interrupterBytes);
      if (at >= 0 && index < interrupterCount) this.#writeInterrupter(index, at & 31, value);
      return;
    }
    this.#doorbell((offset - area.doorbells) >> 2, value & 0xff);
  }

  #writeOperational(at: number, value: number): void {
    const { state } = this;
    switch (at) {
      case 0x00:
        this.#setCommand(value);
        return;
      case 0x04:
        state.USBSTS &= ~(value & status.clearable);
        this.#updateLine();
        return;
      case 0x14:
        state.DNCTRL = value & 0xffff;
        return;
      case 0x18:
        this.#commandRing(value);
        return;
      case 0x1c:
        if (!state.commandRunning) state.commandHigh = value;
        return;
      case 0x30:
        state.DCBAAPLow = (value & ~63) >>> 0;
        return;
      case 0x34:
        state.DCBAAPHigh = value;
        return;
      case 0x38:
        state.CONFIG = value & 0xff;
    }
  }

  #setCommand(value: number): void {
    const { state } = this;
    if ((value & command.reset) !== 0) {
      this.table.reset();
      this.#resetHost();
      return;
    }
    const before = state.USBCMD;
    state.USBCMD = value & command.writable;
    if ((value & command.restore) !== 0) state.USBSTS |= status.saveRestoreError;
    if ((value & ~before & command.run) !== 0) {
      state.USBSTS &= ~status.halted;
      state.startNs = this.#clock.nowNs();
    } else if ((value & command.run) === 0) {
      state.USBSTS |= status.halted;
      state.commandRunning = false;
    }
    this.#updateLine();
  }

  /** The lower half of CRCR (5.4.5). */
  #commandRing(value: number): void {
    const { state } = this;
    if (state.commandRunning) {
      if ((value & 6) === 0) return;
      state.commandRunning = false;
      this.events.send(0, {
        type: trbType.commandEvent,
        low: state.commandLow,
        high: state.commandHigh,
        status: completion.commandRingStopped << 24,
      });
      return;
    }
    state.commandLow = (value & ~63) >>> 0;
    state.commandCycle = (value & 1) !== 0;
  }

  #writeInterrupter(index: number, at: number, value: number): void {
    const each = this.state.interrupters[index]!;
    switch (at) {
      case 0x00:
        each.IMAN =
          (each.IMAN & ~(value & interrupterBits.pending) & ~interrupterBits.enabled) |
          (value & interrupterBits.enabled);
        break;
      case 0x04:
        each.IMOD = value;
        break;
      case 0x08:
        each.ERSTSZ = value & 0xffff;
        break;
      case 0x10:
        each.ERSTBALow = (value & ~63) >>> 0;
        break;
      case 0x14:
        each.ERSTBAHigh = value;
        this.events.segmentWritten(index);
        break;
      case 0x18:
        this.events.dequeueWritten(index, value);
        break;
      case 0x1c:
        each.ERDPHigh = value;
        this.events.lookAgain(index);
        for (const key of this.#blocked) this.#again.add(key);
        this.#blocked.clear();
        if (this.state.commandRunning) this.#commands();
        this.#runAgain();
        break;
    }
    this.#updateLine();
  }

  // Interrupts

  #interrupt(index: number): void {
    if (this.#msix.enabled) {
      // A message stands for the pending bit (4.17.5).
      this.state.interrupters[index]!.IMAN &= ~interrupterBits.pending;
      this.#msix.notify(index);
    } else this.#updateLine();
  }

  #updateLine(): void {
    const { IMAN } = this.state.interrupters[0]!;
    const isOpen = (this.state.USBCMD & command.interrupts) !== 0 && !this.#msix.enabled;
    this.function.setIntx(isOpen && (IMAN & 3) === 3);
  }

  // Ports

  #portChanged(index: number): void {
    const port = this.state.ports[index]!;
    const device = this.table.device(index);
    const link = (value: number) => value << portsc.linkShift;
    const change = (port.PORTSC & portsc.connected) !== 0 ? portsc.connectChange : 0;
    port.PORTSC = device
      ? portsc.power |
        portsc.connected |
        portsc.connectChange |
        link(linkState.polling) |
        (speedId[device.speed] << portsc.speedShift)
      : portsc.power | change | link(linkState.rxDetect);
    if (device || change !== 0) this.#tellPort(index);
  }

  #tellPort(index: number): void {
    if (!this.#runs) return;
    this.state.USBSTS |= status.portChange;
    this.events.send(0, {
      type: trbType.portEvent,
      low: ((index + 1) << 24) >>> 0,
      status: completion.success << 24,
    });
  }

  #writePort(index: number, value: number): void {
    const port = this.state.ports[index]!;
    const device = this.table.device(index);
    if (((value & portsc.reset) !== 0 || (value & portsc.warmReset) !== 0) && device) {
      device.reset();
      port.PORTSC &= ~(15 << portsc.linkShift);
      port.PORTSC |= portsc.enabled;
      const wasChanged = (port.PORTSC & portsc.resetChange) !== 0;
      port.PORTSC |= portsc.resetChange;
      if (!wasChanged) this.#tellPort(index);
      return;
    }
    const { linkShift } = portsc;
    let after = port.PORTSC & ~(value & portsc.changes);
    if ((value & portsc.enabled) !== 0) after &= ~portsc.enabled;
    after = (after & ~(portsc.power | portsc.wakes)) | (value & (portsc.power | portsc.wakes));
    const before = (after >>> linkShift) & 15;
    const wanted = (value >>> linkShift) & 15;
    let isBack = false;
    if ((value & portsc.linkWrite) !== 0 && (after & portsc.enabled) !== 0 && wanted !== before) {
      after = (after & ~(15 << linkShift)) | (wanted << linkShift);
      isBack = wanted === linkState.u0 && (before === linkState.u3 || before === linkState.resume);
      if (isBack) after |= portsc.linkChange;
    }
    port.PORTSC = after >>> 0;
    if (isBack) this.#tellPort(index);
  }

  // Slots and devices

  deviceAt(port: number, route: number): UsbDevice | undefined {
    let device = this.table.device(port - 1);
    for (let rest = route; rest !== 0 && device; rest >>>= 4) device = device.children[(rest & 15) - 1];
    return device;
  }

  #deviceOf(slot: number): UsbDevice | undefined {
    const known = this.state.slots[slot - 1];
    return known?.used && known.port !== 0 ? this.deviceAt(known.port, known.route) : undefined;
  }

  slotOf(device: UsbDevice): number | undefined {
    for (let slot = 1; slot <= slotCount; slot++) if (this.#deviceOf(slot) === device) return slot;
    return undefined;
  }

  /** The slots of a device that goes, and of those behind it, are nobody's until their driver gives them up. */
  #forget(device: UsbDevice): void {
    for (const child of device.children) if (child) this.#forget(child);
    const slot = this.slotOf(device);
    if (slot !== undefined) Object.assign(this.state.slots[slot - 1]!, { port: 0, route: 0 });
  }

  contextsOf(slot: number): number | undefined {
    const { DCBAAPLow, DCBAAPHigh } = this.state;
    const gpa = this.dma.readU64(DCBAAPHigh * 2 ** 32 + DCBAAPLow + slot * 8);
    return gpa === 0 || !this.dma.view(gpa, contextBytes * 32, true) ? undefined : gpa;
  }

  endpointStopped(slot: number, dci: number): void {
    this.#blocked.delete(endpointKey(slot, dci));
    this.#again.delete(endpointKey(slot, dci));
  }

  // Work

  #doorbell(slot: number, target: number): void {
    if (!this.#runs || !this.function.busMaster) return;
    if (slot === 0) {
      this.state.commandRunning = true;
      this.#commands();
    } else if (slot <= slotCount && target >= 1 && target <= 31) {
      this.#again.add(endpointKey(slot, target));
      // What a stopped endpoint has on its ring begins by its doorbell.
      const contexts = this.#deviceOf(slot) ? this.contextsOf(slot) : undefined;
      if (contexts !== undefined) this.#start(contexts + target * contextBytes);
      this.#runAgain();
    }
  }

  #start(contextGpa: number): void {
    const word = this.dma.readU32(contextGpa);
    if ((word & 7) === 3) this.dma.writeU32(contextGpa, ((word & ~7) | 1) >>> 0);
  }

  #commands(): void {
    const { state } = this;
    for (let i = 0; i < MOST_COMMANDS && state.commandRunning; i++) {
      if (!this.events.hasRoom(0, 1)) return;
      const place = { gpa: state.commandHigh * 2 ** 32 + state.commandLow, cycle: state.commandCycle };
      const trb = nextTrb(this.dma, place);
      if (!trb) return;
      state.commandLow = place.gpa % 2 ** 32;
      state.commandHigh = Math.floor(place.gpa / 2 ** 32);
      state.commandCycle = place.cycle;
      const isFirmware = this.#isNec && trb.type === trbType.necFirmware;
      const { code, slot } = isFirmware ? { code: completion.success, slot: 0 } : runCommand(this, trb);
      this.events.send(0, {
        type: isFirmware ? trbType.necEvent : trbType.commandEvent,
        low: trb.gpa % 2 ** 32,
        high: Math.floor(trb.gpa / 2 ** 32),
        status: (code << 24) | (isFirmware ? NEC_FIRMWARE : 0),
        control: slot << 24,
      });
    }
  }

  /** A device has something for an endpoint that had asked. */
  #ready(device: UsbDevice, endpoint: number): void {
    const slot = this.slotOf(device);
    if (slot === undefined) return;
    this.#again.add(endpointKey(slot, (endpoint & 15) * 2 + ((endpoint & 0x80) !== 0 ? 1 : 0)));
    this.#runAgain();
  }

  #runAgain(): void {
    if (this.#isRunning || !this.#runs || !this.function.busMaster) return;
    this.#isRunning = true;
    for (const key of this.#again) {
      // A set goes on with what is added while it is gone through.
      this.#again.delete(key);
      const slot = key >> 5;
      const device = this.#deviceOf(slot);
      const contexts = device && this.contextsOf(slot);
      if (!device || contexts === undefined) continue;
      if (!runEndpoint(this, contexts + (key & 31) * contextBytes, slot, key & 31, device)) this.#blocked.add(key);
    }
    this.#isRunning = false;
  }
}
