/**
 * UHCI host controllers of the PIIX3, PIIX4 and ICH9 (Universal Host Controller Interface Design Guide 1.1): every millisecond the
 * controller goes through the list of a frame, and hands a packet to a device for each transfer descriptor that is active.
 *
 * Deviations: while nothing but NAK comes back, eight frames are gone through at a time; frames that a busy host has missed are left out
 * beyond sixteen; isochronous transfers find no device that has any; legacy support (keyboard emulation) is not there.
 */
import type { Timer, TimerService } from '../../base/index.js';
import { type Device, type DmaSpace, RegisterBank, registerFields } from '../../bus/index.js';
import { bool, defineState, f64, list, type StateArena, type StateOf, u8, u16 } from '../../schema/index.js';
import { checkIdentity, PciFunction } from '../pci/pci-function.js';
import { loadParts, type StatePart, saveParts, statePart } from '../pci/saved-parts.js';
import { interruptEnable, port, type UhciHost, uhciRegisters, usbCommand, usbStatus } from './uhci-registers.js';
import { answer, type UsbToken } from './usb-codes.js';
import type { UsbDevice } from './usb-device.js';
import { type UsbPorts, UsbPortTable } from './usb-ports.js';

const FRAME_NS = 1_000_000;
const FRAMES = 1024;
const MOST_CATCH_UP = 16;
/** So many frames without a packet that moved something, and the next are gone through together. */
const QUIET_FRAMES = 32;
const QUIET_STEP = 8;
/** Of one frame: bytes that the bus moves, and entries that are looked at. */
const FRAME_BYTES = 1280;
const MOST_ENTRIES = 512;
const PORTS = 2;

const terminate = 1;
const isQueue = 2;
const depthFirst = 4;
const td = {
  active: 1 << 23,
  stalled: 1 << 22,
  babble: 1 << 20,
  nak: 1 << 19,
  timeout: 1 << 18,
  onComplete: 1 << 24,
  shortDetect: 1 << 29,
  errorBits: 0x007e0000,
  errorCount: 3 << 27,
} as const;
const tokens: ReadonlyMap<number, UsbToken> = new Map([
  [0x2d, 'setup'],
  [0x69, 'in'],
  [0xe1, 'out'],
]);

const UhciState = defineState('uhci', 1, {
  ...registerFields(uhciRegisters),
  USBCMD: u16(),
  USBSTS: u16(usbStatus.halted),
  FRNUM: u16(0, { max: FRAMES * 2 - 1 }),
  /** Why the status says that there is an interrupt. */
  completed: bool(),
  short: bool(),
  /** When the frame of `FRNUM` begins. */
  frameAtNs: f64(0, { min: 0 }),
  quiet: u8(),
  ports: list(PORTS, { PORTSC: u16() }),
});

export interface UhciModel {
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revision: number;
  /** 1 for INTA. */
  readonly interruptPin: 1 | 2 | 3 | 4;
}

const intel = (deviceId: number, revision: number, interruptPin: UhciModel['interruptPin']): UhciModel => ({
  vendorId: 0x8086,
  ...{ deviceId, revision, interruptPin },
});
/** By QEMU's names. */
export const uhciModels = {
  'piix3-usb-uhci': intel(0x7020, 1, 4),
  'piix4-usb-uhci': intel(0x7112, 1, 4),
  'ich9-usb-uhci1': intel(0x2934, 3, 1),
  'ich9-usb-uhci2': intel(0x2935, 3, 2),
  'ich9-usb-uhci3': intel(0x2936, 3, 3),
  'ich9-usb-uhci4': intel(0x2937, 3, 1),
  'ich9-usb-uhci5': intel(0x2938, 3, 2),
  'ich9-usb-uhci6': intel(0x2939, 3, 3),
} as const;

export interface UhciOptions {
  readonly name?: string;
  readonly model?: keyof typeof uhciModels;
  readonly dma: DmaSpace;
  readonly clock: TimerService;
  /** By port from 0 on. */
  readonly devices: readonly (UsbDevice | undefined)[];
  readonly arena?: StateArena | undefined;
}

/** What a transfer descriptor came to. */
const outcome = { done: 0, notNow: 1, ended: 2 } as const;

export class UhciController implements Device, UhciHost, UsbPorts {
  readonly name: string;
  readonly function: PciFunction;
  readonly speed = 'full';
  readonly table: UsbPortTable;
  readonly #state: StateOf<typeof UhciState>;
  readonly #bank: RegisterBank<UhciHost>;
  readonly #dma: DmaSpace;
  readonly #clock: TimerService;
  readonly #timer: Timer;
  readonly #packet = new Uint8Array(0x500);

  constructor({ name = 'uhci', model = 'piix3-usb-uhci', dma, clock, devices, arena }: UhciOptions) {
    this.name = name;
    this.#dma = dma;
    this.#clock = clock;
    this.#state = UhciState.allocate(arena);
    this.#bank = new RegisterBank<UhciHost>(0x20, uhciRegisters, this, this.#state);
    this.#timer = clock.createTimer(name, () => this.#tick());
    this.function = new PciFunction({
      name,
      ...uhciModels[model],
      classCode: 0x0c0300,
      bars: [{ index: 4, kind: 'io', size: 0x20, handler: this.#bank }],
      arena,
    });
    // Release of the bus, and a word of legacy support that firmware writes.
    this.function.define(0x60, 1, 0x10);
    this.function.define(0xc0, 2, 0x2000, 0xbfff);
    this.table = new UsbPortTable(devices, PORTS, {
      ready: () => this.#stir(),
      changed: (index) => this.#portChanged(index),
    });
  }

  get #parts(): readonly StatePart[] {
    return [this.function.part, statePart(UhciState, this.#state), ...this.table.parts];
  }

  get pendingRequests(): number {
    return this.table.pendingRequests;
  }

  reset(): void {
    this.function.reset();
    this.#resetHost();
    this.table.reset();
  }

  #resetHost(): void {
    UhciState.reset(this.#state);
    this.#timer.cancel();
    for (let i = 0; i < PORTS; i++) this.#portChanged(i);
    this.updateLine();
  }

  save(): Uint8Array {
    return saveParts(this.#parts);
  }

  load(saved: Uint8Array): void {
    loadParts(this.#parts, saved, this.name, () => checkIdentity(this.function));
    this.function.restore();
    this.table.restored();
    this.#arm();
    this.updateLine();
  }

  // Registers

  setCommand(value: number, mask: number): void {
    const state = this.#state;
    const before = state.USBCMD;
    const after = ((before & ~mask) | value) & usbCommand.writable;
    if ((after & usbCommand.hostReset) !== 0) {
      this.#resetHost();
      return;
    }
    // A reset of the whole bus, at its end.
    if ((before & ~after & usbCommand.globalReset) !== 0) {
      this.#resetHost();
      this.table.reset();
      return;
    }
    state.USBCMD = after;
    const runs = (after & usbCommand.run) !== 0;
    if (runs && (before & usbCommand.run) === 0) {
      state.USBSTS &= ~usbStatus.halted;
      state.frameAtNs = this.#clock.nowNs();
      state.quiet = 0;
      this.#arm();
    } else if (!runs) {
      state.USBSTS |= usbStatus.halted;
      this.#timer.cancel();
    }
  }

  get status(): number {
    return this.#state.USBSTS;
  }

  clearStatus(value: number): void {
    const state = this.#state;
    state.USBSTS &= ~(value & 0x1f);
    if ((value & usbStatus.interrupt) !== 0) state.completed = state.short = false;
    this.updateLine();
  }

  /** It goes on with time, whether or not the frames have been gone through. */
  get frameNumber(): number {
    const { FRNUM, frameAtNs } = this.#state;
    if (!this.#runs) return FRNUM;
    return (FRNUM + Math.max(0, Math.floor((this.#clock.nowNs() - frameAtNs) / FRAME_NS))) & (2 * FRAMES - 1);
  }

  setFrameNumber(value: number, mask: number): void {
    const state = this.#state;
    if (!this.#runs) state.FRNUM = ((state.FRNUM & ~mask) | value) & (2 * FRAMES - 1);
  }

  get #runs(): boolean {
    return (this.#state.USBCMD & usbCommand.run) !== 0;
  }

  updateLine(): void {
    const { USBINTR, USBSTS, completed, short } = this.#state;
    const level =
      (completed && (USBINTR & interruptEnable.complete) !== 0) ||
      (short && (USBINTR & interruptEnable.short) !== 0) ||
      ((USBSTS & usbStatus.error) !== 0 && (USBINTR & interruptEnable.timeout) !== 0) ||
      ((USBSTS & usbStatus.resume) !== 0 && (USBINTR & interruptEnable.resume) !== 0) ||
      (USBSTS & (usbStatus.hostError | usbStatus.processError)) !== 0;
    this.function.setIntx(level);
  }

  // Ports

  /** A device has come or gone, or the controller was reset. */
  #portChanged(index: number): void {
    const state = this.#state.ports[index]!;
    const isThere = this.table.device(index) !== undefined;
    const was = (state.PORTSC & port.connected) !== 0;
    if (isThere !== was) {
      if ((state.PORTSC & port.enabled) !== 0) state.PORTSC |= port.enableChange;
      state.PORTSC = (state.PORTSC & ~(port.connected | port.enabled)) | port.connectChange;
    }
    if (isThere) state.PORTSC |= port.connected;
    this.#resume();
  }

  readPort(index: number): number {
    return this.#state.ports[index]!.PORTSC | port.isOne;
  }

  writePort(index: number, value: number, mask: number): void {
    const state = this.#state.ports[index]!;
    const before = state.PORTSC;
    const settable = port.enabled | port.resume | port.reset | port.suspended;
    let after = (before & ~(settable & mask)) | (value & settable);
    if ((after & port.connected) === 0) after &= ~port.enabled;
    after &= ~(value & (port.connectChange | port.enableChange));
    if ((after & port.reset) !== 0) after &= ~port.enabled;
    state.PORTSC = after;
    if ((after & ~before & port.reset) !== 0) this.table.device(index)?.reset();
  }

  /** A device behind a suspended port has something to say. */
  #resume(): void {
    const state = this.#state;
    for (const each of state.ports)
      if ((each.PORTSC & port.suspended) !== 0 && (each.PORTSC & port.connected) !== 0) each.PORTSC |= port.resume;
    if ((state.USBCMD & 8) === 0) return;
    state.USBSTS |= usbStatus.resume;
    this.updateLine();
  }

  #find(address: number): UsbDevice | undefined {
    for (let i = 0; i < PORTS; i++) {
      const { PORTSC } = this.#state.ports[i]!;
      if ((PORTSC & port.enabled) === 0 || (PORTSC & port.suspended) !== 0) continue;
      const found = this.table.device(i)?.find(address);
      if (found) return found;
    }
    return undefined;
  }

  // Frames

  #stir(): void {
    this.#resume();
    if (!this.#runs || this.#state.quiet < QUIET_FRAMES) return;
    this.#state.quiet = 0;
    this.#arm();
  }

  #arm(): void {
    const { frameAtNs, quiet } = this.#state;
    if (this.#runs) this.#timer.arm(frameAtNs + (quiet < QUIET_FRAMES ? 1 : QUIET_STEP) * FRAME_NS);
    else this.#timer.cancel();
  }

  #tick(): void {
    const state = this.#state;
    if (!this.#runs) return;
    const passed = Math.floor((this.#clock.nowNs() - state.frameAtNs) / FRAME_NS);
    const left = Math.max(0, passed - MOST_CATCH_UP);
    state.FRNUM = (state.FRNUM + left) & (2 * FRAMES - 1);
    state.frameAtNs += left * FRAME_NS;
    for (let i = left; i < passed && this.#runs; i++) {
      const hasMoved = this.function.busMaster && this.#frame(state.FRNUM & (FRAMES - 1));
      state.quiet = hasMoved ? 0 : Math.min(state.quiet + 1, QUIET_FRAMES);
      state.FRNUM = (state.FRNUM + 1) & (2 * FRAMES - 1);
      state.frameAtNs += FRAME_NS;
    }
    this.#arm();
    this.updateLine();
  }

  /** Goes through the list of a frame. True: a packet has moved something. */
  #frame(number: number): boolean {
    const dma = this.#dma;
    const visited = new Set<number>();
    let link = dma.readU32(this.#state.FRBASEADD + number * 4);
    let queue = 0;
    let bytes = 0;
    let hasMoved = false;
    let moved = false;
    for (let entries = 0; entries < MOST_ENTRIES && (link & terminate) === 0 && bytes < FRAME_BYTES; entries++) {
      const at = (link & ~15) >>> 0;
      if ((link & isQueue) !== 0) {
        // Around the queues once more only while something moves.
        if (visited.has(at)) {
          if (!moved) break;
          visited.clear();
          moved = false;
        }
        visited.add(at);
        const element = dma.readU32(at + 4);
        queue = at;
        if ((element & terminate) !== 0) {
          link = dma.readU32(at);
          queue = 0;
        } else link = element;
        continue;
      }
      const next = dma.readU32(at);
      const result = this.#transfer(at);
      bytes += result.bytes;
      if (result.what !== outcome.notNow) moved = hasMoved = true;
      const isDone = result.what === outcome.done;
      if (queue === 0) link = next;
      else {
        if (isDone) dma.writeU32(queue + 4, next);
        // On with the queue where it says so, otherwise with the next one.
        if (isDone && (next & depthFirst) !== 0 && (next & terminate) === 0) link = next;
        else {
          link = dma.readU32(queue);
          queue = 0;
        }
      }
    }
    return hasMoved;
  }

  /** A transfer descriptor (3.2). */
  #transfer(at: number): { what: number; bytes: number } {
    const dma = this.#dma;
    const state = this.#state;
    const control = dma.readU32(at + 4);
    if ((control & td.active) === 0) return { what: outcome.notNow, bytes: 0 };
    const token = dma.readU32(at + 8);
    const pid = tokens.get(token & 0xff);
    const length = ((token >>> 21) + 1) & 0x7ff;
    if (!pid || length > this.#packet.length) {
      state.USBSTS |= usbStatus.processError | usbStatus.halted;
      state.USBCMD &= ~usbCommand.run;
      return { what: outcome.notNow, bytes: 0 };
    }
    const buffer = dma.readU32(at + 12);
    const packet = this.#packet.subarray(0, length);
    if (pid !== 'in') dma.read(buffer, packet);
    const device = this.#find((token >>> 8) & 0x7f);
    const moved = device ? device.packet(pid, (token >>> 15) & 15, packet) : answer.none;
    const base = control & ~(td.errorBits | 0x7ff);
    if (moved === answer.nak) {
      dma.writeU32(at + 4, (base | td.nak | (control & 0x7ff)) >>> 0);
      return { what: outcome.notNow, bytes: 0 };
    }
    if (moved < 0) {
      const why = moved === answer.stall ? td.stalled : td.stalled | td.timeout;
      dma.writeU32(at + 4, ((base & ~(td.active | td.errorCount)) | why | 0x7ff) >>> 0);
      state.USBSTS |= usbStatus.error;
      if ((control & td.onComplete) !== 0) this.#completed();
      return { what: outcome.ended, bytes: 0 };
    }
    if (pid === 'in') dma.write(buffer, packet.subarray(0, moved));
    dma.writeU32(at + 4, ((base & ~td.active) | ((moved - 1) & 0x7ff)) >>> 0);
    if ((control & td.onComplete) !== 0) this.#completed();
    const isShort = pid === 'in' && moved < length && (control & td.shortDetect) !== 0;
    if (!isShort) return { what: outcome.done, bytes: moved };
    state.USBSTS |= usbStatus.interrupt;
    state.short = true;
    return { what: outcome.ended, bytes: moved };
  }

  #completed(): void {
    this.#state.USBSTS |= usbStatus.interrupt;
    this.#state.completed = true;
  }
}
