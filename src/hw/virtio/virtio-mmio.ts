/**
 * Virtio over MMIO (Virtual I/O Device 1.2, 4.2): one page of registers and one interrupt for each device, in version 2 or the legacy
 * one, 1 (4.2.4). A slot without a device answers with device number 0, which drivers pass over.
 */
import { type Device, defineRegisters, type IoHandler, type IrqLine, RegisterBank } from '../../bus/index.js';
import { defineState, type StateArena, u8, u16, u32 } from '../../schema/index.js';
import { loadParts, type StatePart, saveParts, statePart } from '../pci/saved-parts.js';
import type { VirtioDevice } from './virtio-device.js';
import { mergeBits, type QueueAddress, type Virtqueue } from './virtqueue.js';

export const VIRTIO_MMIO_BYTES = 0x200;
const CONFIG = 0x100;
const MAGIC = 0x74726976;
const version = (legacy: boolean): 1 | 2 => (legacy ? 1 : 2);
/** "QEMU", as QEMU's devices have it. */
const VENDOR = 0x554d4551;
const ISR_QUEUE = 1;
const ISR_CONFIG = 2;

/** Where a legacy driver's used ring begins, unless it says otherwise. */
const LEGACY_ALIGN = 4096;

const VirtioMmioState = defineState('virtio-mmio', 2, {
  isr: u8(0, { max: 3 }),
  deviceFeatureSelect: u32(),
  driverFeatureSelect: u32(),
  queueSelect: u16(),
  /** Legacy: the unit of queues' addresses, and what the used ring's is a multiple of. */
  pageShift: u8(0, { max: 31 }),
  queueAlign: u32(LEGACY_ALIGN),
});

export interface VirtioMmioOptions {
  readonly device: VirtioDevice;
  readonly irq: IrqLine;
  /** Version 1, not 2. */
  readonly legacy?: boolean | undefined;
  readonly arena?: StateArena | undefined;
}

/** What a slot without a device answers. */
export const emptyVirtioMmio = (legacy: boolean): IoHandler => {
  const values: Readonly<Partial<Record<number, number>>> = { 0: MAGIC, 4: version(legacy), 12: VENDOR };
  return { read: (offset, size) => (size === 4 && values[offset]) || 0, write: () => {} };
};

export class VirtioMmio implements Device, IoHandler {
  readonly name: string;
  readonly device: VirtioDevice;
  readonly #irq: IrqLine;
  readonly #state: ReturnType<typeof VirtioMmioState.allocate>;
  readonly #registers: RegisterBank<VirtioMmio>;
  readonly #legacy: boolean;
  readonly #parts: readonly StatePart[];

  constructor({ device, irq, legacy = false, arena }: VirtioMmioOptions) {
    this.#legacy = legacy;
    this.device = device;
    this.name = device.name;
    this.#irq = irq;
    this.#state = VirtioMmioState.allocate(arena);
    this.#registers = new RegisterBank(CONFIG, legacy ? legacyRegisters : registers, this, this.#state);
    this.#parts = [statePart(VirtioMmioState, this.#state), device.part, ...device.model.parts];
    device.transport = {
      queueInterrupt: () => this.#interrupt(ISR_QUEUE),
      configInterrupt: () => this.#interrupt(ISR_CONFIG),
    };
  }

  /** Requests under way: a machine saves its state, or is reset, when there are none. */
  get pendingRequests(): number {
    return this.device.model.pendingRequests ?? 0;
  }

  /** Registers are words; other accesses to them give 0 and do nothing. The device's configuration takes every size. */
  read(offset: number, size: 1 | 2 | 4): number {
    if (offset >= CONFIG) return this.device.model.config.read(offset - CONFIG, size);
    return size === 4 && offset % 4 === 0 ? this.#registers.read(offset, 4) : 0;
  }

  write(offset: number, size: 1 | 2 | 4, value: number): void {
    if (offset >= CONFIG) this.device.model.config.write(offset - CONFIG, size, value);
    else if (size === 4 && offset % 4 === 0) this.#registers.write(offset, 4, value);
  }

  #interrupt(cause: number): void {
    this.#state.isr |= cause;
    this.#irq.set(true);
  }

  get isr(): number {
    return this.#state.isr;
  }

  acknowledge(bits: number): void {
    this.#state.isr &= ~bits & 3;
    this.#irq.set(this.#state.isr !== 0);
  }

  get selectedQueue(): Virtqueue | undefined {
    return this.device.queues[this.#state.queueSelect];
  }

  selectQueue(value: number): void {
    // Beyond what there is no queue is selected.
    this.#state.queueSelect = Math.min(value, 0xffff);
  }

  deviceFeatures(): number {
    const { low, high } = this.#legacy ? { low: this.device.offeredLegacy, high: 0 } : this.device.offered;
    const select = this.#state.deviceFeatureSelect;
    return select === 0 ? low : select === 1 ? high : 0;
  }

  setDriverFeatures(value: number, mask: number): void {
    const select = this.#state.driverFeatureSelect;
    if (this.#legacy) {
      if (select === 0) this.device.setLegacyFeatures(mergeBits(this.device.driverFeaturesLow, value, mask));
      return;
    }
    if (select > 1) return;
    const before = select === 0 ? this.device.driverFeaturesLow : this.device.driverFeaturesHigh;
    this.device.setDriverFeatures(select === 0 ? 0 : 1, mergeBits(before, value, mask));
  }

  setStatus(value: number): void {
    this.device.setStatus(value & 0xff);
    if (value !== 0) return;
    // Drivers say how large their pages are before they reset the device.
    const { pageShift } = this.#state;
    this.#resetTransport();
    this.#state.pageShift = pageShift;
  }

  /** 0 stops the queue: what is out of it comes back to nothing (4.2.2.2). */
  setReady(value: number): void {
    const queue = this.selectedQueue;
    if (queue === undefined) return;
    const ready = (value & 1) !== 0;
    if (queue.state.ready && !ready) queue.invalidate();
    queue.state.ready = ready;
  }

  setPageSize(value: number): void {
    const shift = 31 - Math.clz32(value & -value);
    this.#state.pageShift = Math.max(0, shift);
  }

  setAlign(value: number): void {
    if (value > 0 && (value & (value - 1)) === 0) this.#state.queueAlign = value;
  }

  get queueFrame(): number {
    const queue = this.selectedQueue;
    return queue?.state.ready ? Math.floor(queue.descGpa / 2 ** this.#state.pageShift) >>> 0 : 0;
  }

  /** 0 stops the queue. Its size was given before. */
  setQueueFrame(frame: number): void {
    const queue = this.selectedQueue;
    if (queue === undefined) return;
    const { size } = queue.state;
    queue.reset();
    queue.state.size = size;
    if (frame > 0) queue.placeLegacy(frame * 2 ** this.#state.pageShift, this.#state.queueAlign);
  }

  kick(queue: number): void {
    this.device.kick(queue);
  }

  #resetTransport(): void {
    VirtioMmioState.reset(this.#state);
    this.#irq.set(false);
  }

  reset(): void {
    this.device.reset();
    this.#resetTransport();
  }
  save(): Uint8Array {
    return saveParts(this.#parts);
  }
  load(saved: Uint8Array): void {
    loadParts(this.#parts, saved, this.name);
    this.#irq.set(this.#state.isr !== 0);
    this.device.restore();
  }
}

const constant = (offset: number, value: number, meaning: string) =>
  ({ offset, width: 4, access: 'ro', read: () => value, meaning }) as const;

function queueAddress(offset: number, field: QueueAddress, meaning: string) {
  return {
    offset,
    width: 4,
    access: 'wo',
    write: (t: VirtioMmio, value: number, mask: number) => t.selectedQueue?.setAddress(field, value, mask),
    meaning,
  } as const;
}

/** In both versions. */
const common = {
  magic: constant(0x00, MAGIC, 'the letters "virt"'),
  deviceId: {
    offset: 0x08,
    width: 4,
    access: 'ro',
    read: (t: VirtioMmio) => t.device.model.type,
    meaning: 'kind of device',
  },
  vendorId: constant(0x0c, VENDOR, 'vendor'),
  deviceFeatures: {
    offset: 0x10,
    width: 4,
    access: 'ro',
    read: (t: VirtioMmio) => t.deviceFeatures(),
    meaning: 'offered features',
  },
  deviceFeatureSelect: { offset: 0x14, width: 4, access: 'rw', meaning: 'which half of the offered features shows' },
  driverFeatures: {
    offset: 0x20,
    width: 4,
    access: 'wo',
    write: (t: VirtioMmio, value: number, mask: number) => t.setDriverFeatures(value, mask),
    meaning: 'accepted features',
  },
  driverFeatureSelect: {
    offset: 0x24,
    width: 4,
    access: 'rw',
    meaning: 'which half of the accepted features is meant',
  },
  queueSelect: {
    offset: 0x30,
    width: 4,
    access: 'wo',
    write: (t: VirtioMmio, value: number) => t.selectQueue(value),
    meaning: 'queue that the registers below are about',
  },
  queueSizeMax: {
    offset: 0x34,
    width: 4,
    access: 'ro',
    read: (t: VirtioMmio) => t.selectedQueue?.maxSize ?? 0,
    meaning: 'most entries; 0: there is no such queue',
  },
  queueSize: {
    offset: 0x38,
    width: 4,
    access: 'wo',
    write: (t: VirtioMmio, value: number, mask: number) => t.selectedQueue?.setSize(value, mask),
    meaning: 'entries',
  },
  queueNotify: {
    offset: 0x50,
    width: 4,
    access: 'wo',
    write: (t: VirtioMmio, value: number) => t.kick(value),
    meaning: 'doorbell: number of the queue',
  },
  interruptStatus: {
    offset: 0x60,
    width: 4,
    access: 'ro',
    read: (t: VirtioMmio) => t.isr,
    meaning: 'why it interrupts',
  },
  interruptAck: {
    offset: 0x64,
    width: 4,
    access: 'wo',
    write: (t: VirtioMmio, value: number) => t.acknowledge(value),
    meaning: 'causes that have been seen to',
  },
  status: {
    offset: 0x70,
    width: 4,
    access: 'rw',
    read: (t: VirtioMmio) => t.device.status,
    write: (t: VirtioMmio, value: number) => t.setStatus(value),
    meaning: 'device status; 0 resets',
  },
} as const;

const registers = defineRegisters<VirtioMmio>()({
  ...common,
  version: constant(0x04, version(false), 'version of this interface'),
  queueReady: {
    offset: 0x44,
    width: 4,
    access: 'rw',
    read: (t) => (t.selectedQueue?.state.ready ? 1 : 0),
    write: (t, value) => t.setReady(value),
    meaning: 'the device may use the queue',
  },
  queueDescLow: queueAddress(0x80, 'descLow', 'descriptor table, low half of its address'),
  queueDescHigh: queueAddress(0x84, 'descHigh', 'high half'),
  queueDriverLow: queueAddress(0x90, 'availLow', 'available ring, low half of its address'),
  queueDriverHigh: queueAddress(0x94, 'availHigh', 'high half'),
  queueDeviceLow: queueAddress(0xa0, 'usedLow', 'used ring, low half of its address'),
  queueDeviceHigh: queueAddress(0xa4, 'usedHigh', 'high half'),
  // No shared memory: length -1 (4.2.2).
  sharedLengthLow: constant(0xb0, 0xffffffff, 'length of a shared memory region: none'),
  sharedLengthHigh: constant(0xb4, 0xffffffff, 'high half'),
  sharedBaseLow: constant(0xb8, 0xffffffff, 'address of a shared memory region: none'),
  sharedBaseHigh: constant(0xbc, 0xffffffff, 'high half'),
  configGeneration: {
    offset: 0xfc,
    width: 4,
    access: 'ro',
    read: (t) => t.device.configGeneration,
    meaning: 'changes with the device configuration',
  },
});

const legacyRegisters = defineRegisters<VirtioMmio>()({
  ...common,
  version: constant(0x04, version(true), 'version of this interface'),
  guestPageSize: {
    offset: 0x28,
    width: 4,
    access: 'wo',
    write: (t, value) => t.setPageSize(value),
    meaning: "unit of queues' addresses, in bytes",
  },
  queueAlign: {
    offset: 0x3c,
    width: 4,
    access: 'wo',
    write: (t, value) => t.setAlign(value),
    meaning: "what the used ring's address is a multiple of",
  },
  queueFrame: {
    offset: 0x40,
    width: 4,
    access: 'rw',
    read: (t) => t.queueFrame,
    write: (t, value) => t.setQueueFrame(value),
    meaning: 'page frame of the queue; 0 stops it',
  },
});
