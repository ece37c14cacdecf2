/**
 * Virtio over PCI (Virtual I/O Device 1.2, 4.1): the modern interface behind vendor capabilities and the legacy one in an
 * I/O BAR; a transitional device has both. Ids and BAR numbers are those of QEMU: legacy BAR 0, MSI-X BAR 1, modern BAR 4.
 */
import { type Device, defineRegisters, type IoHandler, type NotifyRegister, RegisterBank } from '../../bus/index.js';
import { bool, defineState, type StateArena, StateError, u8, u16, u16s, u32 } from '../../schema/index.js';
import { capabilityId } from '../pci/config-registers.js';
import { Msix } from '../pci/msix.js';
import { type BarSpec, type OptionRom, PciFunction, type RegisterBar, romBars } from '../pci/pci-function.js';
import { loadParts, type StatePart, saveParts, statePart } from '../pci/saved-parts.js';
import { deviceStatus, VirtioDevice, type VirtioDeviceOptions, type VirtioModel, virtioType } from './virtio-device.js';
import { mergeBits, type QueueAddress, type Virtqueue } from './virtqueue.js';

const vendorVirtio = 0x1af4;
const modernDeviceBase = 0x1040;
const noVector = 0xffff;

/** Transitional device ids (4.1.2.1) and PCI classes, as QEMU's devices have them. */
const identities: Readonly<Record<number, { transitionalId: number; classCode: number }>> = {
  [virtioType.net]: { transitionalId: 0x1000, classCode: 0x020000 },
  [virtioType.block]: { transitionalId: 0x1001, classCode: 0x010000 },
  [virtioType.balloon]: { transitionalId: 0x1002, classCode: 0x00ff00 },
  [virtioType.scsi]: { transitionalId: 0x1004, classCode: 0x010000 },
  [virtioType.console]: { transitionalId: 0x1003, classCode: 0x078000 },
  [virtioType.entropy]: { transitionalId: 0x1005, classCode: 0x00ff00 },
  [virtioType.ninep]: { transitionalId: 0x1009, classCode: 0x000200 },
  // Newer than transitional ids: modern only.
  [virtioType.gpu]: { transitionalId: 0, classCode: 0x038000 },
  [virtioType.input]: { transitionalId: 0, classCode: 0x098000 },
};

/** BARs of a function that has something else in its first page. */
const sharedBars = { modern: 2, msix: 4, size: 0x8000, structures: 0x1000 } as const;

/** Layout of the modern BAR; each structure has a page of its own. */
const modern = {
  barIndex: 4,
  size: 0x4000,
  common: 0x0000,
  isr: 0x1000,
  device: 0x2000,
  notify: 0x3000,
  pageSize: 0x1000,
  notifyMultiplier: 4,
} as const;

/** virtio_pci_cap.cfg_type (4.1.4). */
const configType = { common: 1, notify: 2, isr: 3, device: 4, pci: 5 } as const;

const legacyNotify = 16;
/** Alignment of the used ring and unit of the queue address in the legacy layout (2.7.2, 4.1.4.8). */
const legacyPage = 0x1000;
/** Device configuration in the legacy BAR starts here: later when MSI-X is on. */
const legacyConfig = { plain: 20, msix: 24 } as const;

const isrQueue = 1;
const isrConfig = 2;

function schemaFor(queues: number) {
  return defineState('virtio-pci', 1, {
    isr: u8(),
    deviceFeatureSelect: u32(),
    driverFeatureSelect: u32(),
    queueSelect: u16(),
    configVector: u16(noVector),
    queueVectors: u16s(queues, {}, noVector),
    /** Page frame of each queue as a legacy driver gave it is in the queue's addresses; this says that it did. */
    legacy: bool(),
  });
}

export interface VirtioPciOptions {
  readonly device: VirtioDevice;
  /** MSI-X vectors; 0 for none. The model's own number unless given. */
  readonly vectors?: number;
  readonly legacy?: boolean;
  readonly modern?: boolean;
  /** Whether the driver's notifications should come without an exit of the guest (`NotifyRegister.isAsked`). */
  readonly ioeventfd?: boolean | undefined;
  readonly rom?: OptionRom | undefined;
  readonly arena?: StateArena | undefined;
  /** The function is another device's too, which has its own BARs: a VGA. */
  readonly shared?: SharedFunction | undefined;
}

/** What else a virtio device's function is. */
export interface SharedFunction {
  readonly classCode: number;
  /** BARs beside those of virtio, at indexes 0 and 6; virtio's are 2 (structures) and 4 (MSI-X) then. */
  readonly bars: readonly BarSpec[];
  /** The page in front of virtio's structures in their BAR. */
  readonly registers: IoHandler;
}

export class VirtioPci implements Device {
  readonly name: string;
  readonly device: VirtioDevice;
  readonly function: PciFunction;
  readonly #msix: Msix | undefined;
  readonly #state: ReturnType<ReturnType<typeof schemaFor>['allocate']>;
  readonly #schema: ReturnType<typeof schemaFor>;
  readonly #parts: readonly StatePart[];
  readonly #common: RegisterBank<VirtioPci>;
  readonly #legacyCommon: RegisterBank<VirtioPci>;
  readonly #modernBar: RegisterBar | undefined;
  readonly #shared: SharedFunction | undefined;
  /** Where the structures begin in their BAR. */
  readonly #structures: number;
  #pciCfgCapability = 0;
  #constructed = false;

  constructor(options: VirtioPciOptions) {
    const { device, arena } = options;
    const legacy = options.legacy ?? true;
    const isModern = options.modern ?? true;
    const { type } = device.model;
    this.device = device;
    this.name = device.name;
    this.#schema = schemaFor(device.queues.length);
    this.#state = this.#schema.allocate(arena);
    this.#common = new RegisterBank(modern.pageSize, commonRegisters, this, this.#state);
    this.#legacyCommon = new RegisterBank(legacyConfig.msix, legacyRegisters, this, this.#state);
    const vectors = options.vectors ?? device.model.vectors ?? device.queues.length + 1;
    const { shared } = options;
    this.#shared = shared;
    this.#structures = shared ? sharedBars.structures : 0;
    if (vectors > 0) this.#msix = new Msix({ barIndex: shared ? sharedBars.msix : 1, vectors, arena });
    const bars: BarSpec[] = [...(shared?.bars ?? []), ...romBars(options.rom)];
    if (legacy) {
      const size = 2 ** Math.ceil(Math.log2(legacyConfig.msix + device.model.configBytes));
      const handler = this.#legacyHandler();
      bars.push({ index: 0, kind: 'io', size, handler, notifies: this.#legacyNotifies(options.ioeventfd) });
    }
    if (this.#msix !== undefined) bars.push(this.#msix.bar);
    if (isModern) {
      this.#modernBar = {
        index: shared ? sharedBars.modern : modern.barIndex,
        kind: 'memory64',
        prefetchable: true,
        size: shared ? sharedBars.size : modern.size,
        handler: this.#modernHandler(),
        notifies: this.#modernNotifies(options.ioeventfd),
      };
      bars.push(this.#modernBar);
    }
    const identity = identities[type]!;
    this.function = new PciFunction({
      name: device.name,
      vendorId: vendorVirtio,
      deviceId: legacy ? identity.transitionalId : modernDeviceBase + type,
      revision: legacy ? 0 : 1,
      classCode: shared?.classCode ?? identity.classCode,
      subsystemVendorId: vendorVirtio,
      subsystemId: legacy ? type : 0x1100,
      interruptPin: 1,
      bars,
      arena,
      configReading: (offset, size) => this.#configReading(offset, size),
      configWritten: (offset, size) => this.#configWritten(offset, size),
    });
    this.#msix?.attach(this.function);
    if (isModern) this.#addCapabilities();
    this.#constructed = true;
    this.#parts = [
      this.function.part,
      statePart(this.#schema, this.#state),
      ...(this.#msix === undefined ? [] : [this.#msix.part]),
      device.part,
      ...device.model.parts,
    ];
    device.transport = {
      queueInterrupt: (queue) => this.#interrupt(this.#state.queueVectors[queue]!, isrQueue),
      configInterrupt: () => this.#interrupt(this.#state.configVector, isrConfig),
    };
  }

  /** Requests under way: a machine saves its state, or is reset, when there are none. */
  get pendingRequests(): number {
    return this.device.model.pendingRequests ?? 0;
  }

  // Interrupts

  #interrupt(vector: number, cause: number): void {
    if (this.#msix?.enabled) {
      if (vector !== noVector) this.#msix.notify(vector);
      return;
    }
    this.#state.isr |= cause;
    this.function.setIntx(true);
  }

  /** Reading the ISR clears it and takes the interrupt back (4.1.4.5). */
  readIsr(): number {
    const value = this.#state.isr;
    this.#state.isr = 0;
    this.function.setIntx(false);
    return value;
  }

  // Modern interface

  #addCapabilities(): void {
    const add = (type: number, offset: number, length: number, extra = 0) => {
      const at = this.function.addCapability(capabilityId.vendor, 16 + extra);
      const writable = type === configType.pci ? 0xffffffff : 0;
      this.function.define(at + 2, 1, 16 + extra);
      this.function.define(at + 3, 1, type);
      this.function.define(at + 4, 1, type === configType.pci ? 0 : this.#modernBar!.index, writable & 0xff);
      this.function.define(at + 8, 4, offset, writable);
      this.function.define(at + 12, 4, length, writable);
      return at;
    };
    add(configType.common, this.#structures + modern.common, modern.pageSize);
    add(configType.isr, this.#structures + modern.isr, modern.pageSize);
    add(configType.device, this.#structures + modern.device, modern.pageSize);
    const notify = add(configType.notify, this.#structures + modern.notify, modern.pageSize, 4);
    this.function.define(notify + 16, 4, modern.notifyMultiplier);
    const pci = add(configType.pci, 0, 0, 4);
    this.function.define(pci + 16, 4, 0, 0xffffffff);
    this.#pciCfgCapability = pci;
  }

  #modernHandler(): IoHandler {
    const { config } = this.device.model;
    return {
      read: (offset, size) => {
        const at = offset & (modern.pageSize - 1);
        if (offset < this.#structures) return this.#shared!.registers.read(offset, size);
        switch (offset - at - this.#structures) {
          case modern.common:
            return this.#common.read(at, size);
          case modern.isr:
            return at === 0 ? this.readIsr() : 0;
          case modern.device:
            return config.read(at, size);
          default:
            return 0;
        }
      },
      write: (offset, size, value) => {
        const at = offset & (modern.pageSize - 1);
        if (offset < this.#structures) {
          this.#shared!.registers.write(offset, size, value);
          return;
        }
        switch (offset - at - this.#structures) {
          case modern.common:
            this.#common.write(at, size, value);
            break;
          case modern.device:
            config.write(at, size, value);
            break;
          case modern.notify:
            this.#kick(Math.floor(at / modern.notifyMultiplier));
            break;
        }
      },
    };
  }

  /** Each queue has a register of its own. */
  #modernNotifies(isAsked: boolean | undefined) {
    const registers: NotifyRegister[] = this.device.queues.map(() => ({ isAsked }));
    const start = this.#structures + modern.notify;
    return (offset: number): NotifyRegister | undefined => {
      const queue = (offset - start) / modern.notifyMultiplier;
      return this.function.busMaster ? registers[queue] : undefined;
    };
  }

  /** All queues share one, and the value tells which. */
  #legacyNotifies(isAsked: boolean | undefined) {
    const registers: NotifyRegister[] = this.device.queues.map((_, value) => ({ value, isAsked }));
    return (offset: number, size: number, value: number): NotifyRegister | undefined =>
      offset === legacyNotify && size === 2 && this.function.busMaster ? registers[value] : undefined;
  }

  #kick(queue: number): void {
    // A function that is no bus master must not touch the rings.
    if (this.function.busMaster) this.device.kick(queue);
  }

  /** The PCI configuration access capability (4.1.4.9): a window into the BARs for drivers that cannot map them. */
  #pciCfgWindow(): { offset: number; size: 1 | 2 | 4 } | undefined {
    const { config } = this.function;
    const at = this.#pciCfgCapability;
    const u32At = (i: number) =>
      (config[i]! | (config[i + 1]! << 8) | (config[i + 2]! << 16) | (config[i + 3]! << 24)) >>> 0;
    const offset = u32At(at + 8);
    const size = u32At(at + 12);
    const bar = this.#modernBar;
    if (!bar || config[at + 4] !== bar.index || (size !== 1 && size !== 2 && size !== 4)) return undefined;
    return offset % size === 0 && offset + size <= bar.size ? { offset, size } : undefined;
  }

  #touchesPciCfgData(offset: number, size: number): boolean {
    const at = this.#pciCfgCapability;
    return at !== 0 && offset < at + 20 && offset + size > at + 16;
  }

  #configReading(offset: number, size: number): void {
    if (!this.#touchesPciCfgData(offset, size)) return;
    const window = this.#pciCfgWindow();
    if (window === undefined) return;
    const value = this.#modernBar!.handler.read(window.offset, window.size);
    const { config } = this.function;
    for (let i = 0; i < window.size; i++) config[this.#pciCfgCapability + 16 + i] = (value >>> (8 * i)) & 0xff;
  }

  #configWritten(offset: number, size: number): void {
    if (!this.#constructed) return;
    this.#msix?.configChanged();
    if (!this.#touchesPciCfgData(offset, size)) return;
    const window = this.#pciCfgWindow();
    if (window === undefined) return;
    const { config } = this.function;
    let value = 0;
    for (let i = 0; i < window.size; i++) value |= config[this.#pciCfgCapability + 16 + i]! << (8 * i);
    this.#modernBar!.handler.write(window.offset, window.size, value >>> 0);
  }

  // Legacy interface

  #legacyHandler(): IoHandler {
    const { config } = this.device.model;
    const configAt = () => (this.#msix?.enabled ? legacyConfig.msix : legacyConfig.plain);
    return {
      read: (offset, size) => {
        const base = configAt();
        return offset < base ? this.#legacyCommon.read(offset, size) : config.read(offset - base, size);
      },
      write: (offset, size, value) => {
        const base = configAt();
        if (offset < base) this.#legacyCommon.write(offset, size, value);
        else config.write(offset - base, size, value);
      },
    };
  }

  // What the register tables call

  get selectedQueue(): Virtqueue | undefined {
    return this.device.queues[this.#state.queueSelect];
  }

  deviceFeatures(): number {
    const { low, high } = this.device.offered;
    const select = this.#state.deviceFeatureSelect;
    return select === 0 ? low : select === 1 ? high : 0;
  }

  driverFeatures(): number {
    const select = this.#state.driverFeatureSelect;
    if (select === 0) return this.device.driverFeaturesLow;
    return select === 1 ? this.device.driverFeaturesHigh : 0;
  }

  setDriverFeatures(value: number, mask: number): void {
    const select = this.#state.driverFeatureSelect;
    if (select > 1) return;
    this.device.setDriverFeatures(select === 0 ? 0 : 1, mergeBits(this.driverFeatures(), value, mask));
  }

  vectorOf(which: 'config' | 'queue'): number {
    const state = this.#state;
    if (which === 'config') return state.configVector;
    return state.queueVectors[state.queueSelect] ?? noVector;
  }

  /** A vector that does not exist reads back as none (4.1.5.1.2). */
  setVector(which: 'config' | 'queue', value: number, mask: number): void {
    const state = this.#state;
    const wanted = mergeBits(this.vectorOf(which), value, mask);
    const vector = wanted < (this.#msix?.vectors ?? 0) ? wanted : noVector;
    if (which === 'config') state.configVector = vector;
    else if (state.queueSelect < state.queueVectors.length) state.queueVectors[state.queueSelect] = vector;
  }

  setStatus(value: number): void {
    this.device.setStatus(value);
    if (value === 0) {
      this.#resetTransport();
      return;
    }
    // Legacy drivers of old did not turn bus mastering on.
    if (this.#state.legacy && (value & deviceStatus.driverOk) !== 0)
      this.function.setCommand(this.function.command | 4);
  }

  #resetTransport(): void {
    const bus = this.#state;
    this.#schema.reset(bus);
    this.function.setIntx(false);
  }

  enableQueue(value: number): void {
    const queue = this.selectedQueue;
    if (queue !== undefined && value === 1) queue.state.ready = true;
  }

  legacyQueueFrame(): number {
    const state = this.selectedQueue?.state;
    return state?.ready ? Math.floor((state.descHigh * 2 ** 32 + state.descLow) / legacyPage) : 0;
  }

  /** Frame 0 stops the queue. */
  setLegacyQueueFrame(frame: number): void {
    const queue = this.selectedQueue;
    if (queue === undefined) return;
    queue.reset();
    this.#state.legacy = true;
    if (frame > 0) queue.placeLegacy(frame * legacyPage, legacyPage);
  }

  legacyKick(queue: number): void {
    this.#kick(queue);
  }

  // Lifecycle

  reset(): void {
    this.device.reset();
    this.#resetTransport();
    this.#msix?.reset();
    this.function.reset();
  }

  save(): Uint8Array {
    return saveParts(this.#parts);
  }

  load(saved: Uint8Array): void {
    loadParts(this.#parts, saved, this.name, () => {
      if (!this.function.hasOwnIdentity()) {
        throw new StateError('state-field', `The saved state of ${this.name} is of another PCI function.`);
      }
    });
    this.function.restore();
    this.#msix?.configChanged();
    this.device.restore();
  }
}

export interface CreateVirtioPciOptions extends VirtioDeviceOptions {
  readonly legacy?: boolean;
  readonly modern?: boolean;
  readonly vectors?: number;
}

/** A model as a PCI device: `root.bus.add(created.function, slot)` plugs it in. */
export function createVirtioPci(model: VirtioModel, options: CreateVirtioPciOptions): VirtioPci {
  const { legacy, modern: isModern, vectors, ...rest } = options;
  const device = new VirtioDevice(model, rest);
  return new VirtioPci({
    device,
    arena: options.arena,
    ...(legacy === undefined ? {} : { legacy }),
    ...(isModern === undefined ? {} : { modern: isModern }),
    ...(vectors === undefined ? {} : { vectors }),
  });
}

/** struct virtio_pci_common_cfg (4.1.4.3). */
const commonRegisters = defineRegisters<VirtioPci>()({
  deviceFeatureSelect: { offset: 0, width: 4, access: 'rw', meaning: 'which half of the offered features shows' },
  deviceFeature: { offset: 4, width: 4, access: 'ro', read: (t) => t.deviceFeatures(), meaning: 'offered features' },
  driverFeatureSelect: { offset: 8, width: 4, access: 'rw', meaning: 'which half of the accepted features shows' },
  driverFeature: {
    offset: 12,
    width: 4,
    access: 'rw',
    read: (t) => t.driverFeatures(),
    write: (t, value, mask) => t.setDriverFeatures(value, mask),
    meaning: 'accepted features',
  },
  configMsixVector: {
    offset: 16,
    width: 2,
    access: 'rw',
    read: (t) => t.vectorOf('config'),
    write: (t, value, mask) => t.setVector('config', value, mask),
    meaning: 'MSI-X vector of configuration changes',
  },
  numQueues: { offset: 18, width: 2, access: 'ro', read: (t) => t.device.queues.length, meaning: 'number of queues' },
  deviceStatus: {
    offset: 20,
    width: 1,
    access: 'rw',
    read: (t) => t.device.status,
    write: (t, value) => t.setStatus(value),
    meaning: 'device status; 0 resets',
  },
  configGeneration: {
    offset: 21,
    width: 1,
    access: 'ro',
    read: (t) => t.device.configGeneration,
    meaning: 'changes with the device configuration',
  },
  queueSelect: { offset: 22, width: 2, access: 'rw', meaning: 'queue that the registers below show' },
  queueSize: {
    offset: 24,
    width: 2,
    access: 'rw',
    read: (t) => t.selectedQueue?.state.size ?? 0,
    write: (t, value, mask) => t.selectedQueue?.setSize(value, mask),
    meaning: 'entries; 0 for a queue that does not exist',
  },
  queueMsixVector: {
    offset: 26,
    width: 2,
    access: 'rw',
    read: (t) => t.vectorOf('queue'),
    write: (t, value, mask) => t.setVector('queue', value, mask),
    meaning: 'MSI-X vector of the queue',
  },
  queueEnable: {
    offset: 28,
    width: 2,
    access: 'rw',
    read: (t) => (t.selectedQueue?.state.ready ? 1 : 0),
    write: (t, value) => t.enableQueue(value),
    meaning: '1 makes the queue ready; only a reset undoes it',
  },
  queueNotifyOff: {
    offset: 30,
    width: 2,
    access: 'ro',
    read: (t) => t.selectedQueue?.index ?? 0,
    meaning: 'place of the doorbell, in units of the multiplier',
  },
  ...queueAddress('queueDesc', 32, 'descLow', 'descHigh', 'descriptor table'),
  ...queueAddress('queueDriver', 40, 'availLow', 'availHigh', 'available ring'),
  ...queueAddress('queueDevice', 48, 'usedLow', 'usedHigh', 'used ring'),
});

function queueAddress<N extends string>(name: N, offset: number, low: QueueAddress, high: QueueAddress, what: string) {
  const half = (at: number, field: QueueAddress, meaning: string) =>
    ({
      offset: at,
      width: 4,
      access: 'rw',
      read: (t: VirtioPci) => t.selectedQueue?.state[field] ?? 0,
      write: (t: VirtioPci, value: number, mask: number) => t.selectedQueue?.setAddress(field, value, mask),
      meaning,
    }) as const;
  return {
    [`${name}Low`]: half(offset, low, `${what}, low half of its address`),
    [`${name}High`]: half(offset + 4, high, `${what}, high half of its address`),
  };
}

/** The legacy header (4.1.4.8); the two vectors exist only while MSI-X is on. */
const legacyRegisters = defineRegisters<VirtioPci>()({
  hostFeatures: { offset: 0, width: 4, access: 'ro', read: (t) => t.device.offeredLegacy, meaning: 'offered features' },
  guestFeatures: {
    offset: 4,
    width: 4,
    access: 'rw',
    read: (t) => t.device.driverFeaturesLow,
    write: (t, value, mask) => t.device.setLegacyFeatures(mergeBits(t.device.driverFeaturesLow, value, mask)),
    meaning: 'accepted features',
  },
  queueFrame: {
    offset: 8,
    width: 4,
    access: 'rw',
    read: (t) => t.legacyQueueFrame(),
    write: (t, value) => t.setLegacyQueueFrame(value),
    meaning: 'page frame of the queue; 0 stops it',
  },
  queueSize: {
    offset: 12,
    width: 2,
    access: 'ro',
    read: (t) => t.selectedQueue?.maxSize ?? 0,
    meaning: 'entries',
  },
  queueSelect: { offset: 14, width: 2, access: 'rw', meaning: 'queue that the registers show' },
  queueNotify: {
    offset: 16,
    width: 2,
    access: 'wo',
    write: (t, value) => t.legacyKick(value),
    meaning: 'doorbell: number of the queue',
  },
  status: {
    offset: 18,
    width: 1,
    access: 'rw',
    read: (t) => t.device.status,
    write: (t, value) => t.setStatus(value),
    meaning: 'device status; 0 resets',
  },
  isr: { offset: 19, width: 1, access: 'ro', read: (t) => t.readIsr(), meaning: 'cause; reading clears' },
  configVector: {
    offset: 20,
    width: 2,
    access: 'rw',
    read: (t) => t.vectorOf('config'),
    write: (t, value, mask) => t.setVector('config', value, mask),
    meaning: 'MSI-X vector of configuration changes',
  },
  queueVector: {
    offset: 22,
    width: 2,
    access: 'rw',
    read: (t) => t.vectorOf('queue'),
    write: (t, value, mask) => t.setVector('queue', value, mask),
    meaning: 'MSI-X vector of the queue',
  },
});
