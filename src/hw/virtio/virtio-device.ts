/**
 * What all virtio devices share, whatever the transport (Virtual I/O Device 1.2, chapter 2 and 3): status, feature
 * negotiation, queues, configuration change, the "needs reset" state. A model (block, console …) plugs in below, a transport
 * above.
 */
import type { DmaSpace, IoHandler } from '../../bus/index.js';
import { bool, defineState, list, type StateArena, u8, u32 } from '../../schema/index.js';
import { type StatePart, statePart } from '../pci/saved-parts.js';
import { type FeatureSet, featureSet, ringFeature } from './feature-bits.js';
import { type QueueOwner, queueFields, Virtqueue } from './virtqueue.js';

export const deviceStatus = {
  acknowledge: 1,
  driver: 2,
  driverOk: 4,
  featuresOk: 8,
  needsReset: 0x40,
  failed: 0x80,
} as const;

/** Device types (chapter 5). */
export const virtioType = {
  net: 1,
  block: 2,
  console: 3,
  entropy: 4,
  balloon: 5,
  scsi: 8,
  ninep: 9,
  gpu: 16,
  input: 18,
} as const;

/** What a kind of device brings. Its methods are called by the device, never directly by a transport. */
export interface VirtioModel {
  /** One of `virtioType`. */
  readonly type: number;
  /** Largest size of each queue: a power of two, at most 1024. */
  readonly queueSizes: readonly number[];
  /** Feature bits that the model offers, ring features not among them. */
  readonly features: readonly number[];
  /** The device-specific configuration; reads beyond `configBytes` give zero. */
  readonly config: IoHandler;
  readonly configBytes: number;
  /** MSI-X vectors that QEMU gives this kind of device; one per queue and one for the configuration unless given. */
  readonly vectors?: number;
  /** State of the model itself. */
  readonly parts: readonly StatePart[];
  /** Called once, before anything else. */
  attach(device: VirtioDevice): void;
  /** The driver has set DRIVER_OK. */
  started?(): void;
  /** The driver kicked a queue; only called between DRIVER_OK and reset. */
  queueKicked(queue: Virtqueue): void;
  /** Power-on state; also on every reset by the driver. */
  reset(): void;
  /** The state was loaded: do what `started` would, without starting anew. */
  restored?(): void;
  /** Requests that are under way in the backend; a reset or save waits until there are none. */
  readonly pendingRequests?: number;
}

export interface VirtioTransport {
  queueInterrupt(queue: number): void;
  configInterrupt(): void;
}

function schemaFor(name: string, queues: number) {
  return defineState(name, 1, {
    status: u8(),
    driverFeaturesLow: u32(),
    driverFeaturesHigh: u32(),
    configGeneration: u8(),
    /** A ring was found broken: nothing is touched until reset. */
    broken: bool(),
    queues: list(queues, queueFields),
  });
}

export interface VirtioDeviceOptions {
  readonly name: string;
  readonly dma: DmaSpace;
  /** Drivers may choose the packed layout of rings. */
  readonly packed?: boolean | undefined;
  /** They may use indirect descriptors, and event indexes; they may unless given. */
  readonly indirectDescriptors?: boolean | undefined;
  readonly eventIndex?: boolean | undefined;
  readonly arena?: StateArena | undefined;
  /** Told once per reset why a device gave up on its driver. */
  readonly log?: ((message: string) => void) | undefined;
}

export class VirtioDevice implements QueueOwner {
  readonly name: string;
  readonly model: VirtioModel;
  readonly queues: readonly Virtqueue[];
  readonly part: StatePart;
  /** Features that a driver of version 1 sees, and those that a legacy driver sees. */
  readonly offered: FeatureSet;
  readonly offeredLegacy: number;
  transport: VirtioTransport | undefined;
  readonly #state: ReturnType<ReturnType<typeof schemaFor>['allocate']>;
  readonly #log: ((message: string) => void) | undefined;
  /** A reset by the driver waits for requests under way: until then the status does not read 0 (2.4.1). */
  #resetPending = false;

  constructor(model: VirtioModel, options: VirtioDeviceOptions) {
    this.name = options.name;
    this.model = model;
    this.#log = options.log;
    const schema = schemaFor('virtio', model.queueSizes.length);
    this.#state = schema.allocate(options.arena);
    this.part = statePart(schema, this.#state);
    const { anyLayout, indirectDescriptors, eventIndex, version1 } = ringFeature;
    const common = [
      ...model.features,
      ...(options.indirectDescriptors === false ? [] : [indirectDescriptors]),
      ...(options.eventIndex === false ? [] : [eventIndex]),
    ];
    this.offered = featureSet([...common, version1, ...(options.packed ? [ringFeature.packedRing] : [])]);
    this.offeredLegacy = featureSet([...common, anyLayout]).low;
    this.queues = model.queueSizes.map((size, i) => new Virtqueue(i, size, this.#state.queues[i]!, options.dma, this));
    if (!options.arena?.attached) for (const queue of this.queues) queue.reset();
    model.attach(this);
  }

  get status(): number {
    return this.#state.status;
  }
  get configGeneration(): number {
    return this.#state.configGeneration;
  }
  get driverFeaturesLow(): number {
    return this.#state.driverFeaturesLow;
  }
  get driverFeaturesHigh(): number {
    return this.#state.driverFeaturesHigh;
  }
  get broken(): boolean {
    return this.#state.broken;
  }

  hasFeature(bit: number): boolean {
    const { driverFeaturesLow, driverFeaturesHigh } = this.#state;
    return bit < 32 ? ((driverFeaturesLow >>> bit) & 1) !== 0 : ((driverFeaturesHigh >>> (bit - 32)) & 1) !== 0;
  }
  get eventIndex(): boolean {
    return (this.#state.driverFeaturesLow & (1 << ringFeature.eventIndex)) !== 0;
  }
  get indirectDescriptors(): boolean {
    return (this.#state.driverFeaturesLow & (1 << ringFeature.indirectDescriptors)) !== 0;
  }

  get packedRing(): boolean {
    return (this.#state.driverFeaturesHigh & (1 << (ringFeature.packedRing - 32))) !== 0;
  }

  /** Between DRIVER_OK and reset, and not broken. */
  get running(): boolean {
    const { status, broken } = this.#state;
    return (status & deviceStatus.driverOk) !== 0 && !broken && !this.#resetPending;
  }

  /** The driver's choice; after FEATURES_OK it is fixed. */
  setDriverFeatures(half: 0 | 1, value: number): void {
    if ((this.#state.status & deviceStatus.featuresOk) !== 0) return;
    if (half === 0) this.#state.driverFeaturesLow = value;
    else this.#state.driverFeaturesHigh = value;
  }

  /** Legacy drivers choose without FEATURES_OK: what was not offered is dropped. */
  setLegacyFeatures(value: number): void {
    if ((this.#state.status & deviceStatus.driverOk) !== 0) return;
    this.#state.driverFeaturesLow = (value & this.offeredLegacy) >>> 0;
    this.#state.driverFeaturesHigh = 0;
  }

  /** Writes the status register. 0 resets; bits can only be added otherwise (2.1.1). */
  setStatus(value: number): void {
    const state = this.#state;
    if (value === 0) {
      this.driverReset();
      return;
    }
    if (this.#resetPending) return;
    const before = state.status;
    let after = (before & deviceStatus.needsReset) | (value & ~deviceStatus.needsReset);
    if ((after & ~before & deviceStatus.featuresOk) !== 0 && !this.#featuresFit()) after &= ~deviceStatus.featuresOk;
    state.status = after;
    if ((after & ~before & deviceStatus.driverOk) !== 0 && !state.broken) this.model.started?.();
  }

  /** Small systems do not accept VERSION_1 although they use what came with it: as QEMU's, a device goes by the rest (6.1 leaves it the choice). */
  #featuresFit(): boolean {
    const { driverFeaturesLow: low, driverFeaturesHigh: high } = this.#state;
    return (low & ~this.offered.low) === 0 && (high & ~this.offered.high) === 0;
  }

  /** The driver resets the device. Takes effect when the last request under way is done. */
  driverReset(): void {
    for (const queue of this.queues) queue.invalidate();
    if ((this.model.pendingRequests ?? 0) > 0) {
      this.#resetPending = true;
      return;
    }
    this.reset();
  }

  /** Models call it when `pendingRequests` has come down to 0. */
  requestsDone(): void {
    if (this.#resetPending) this.reset();
  }

  /** Power-on state at once. */
  reset(): void {
    this.#resetPending = false;
    const state = this.#state;
    state.status = 0;
    state.driverFeaturesLow = state.driverFeaturesHigh = 0;
    state.broken = false;
    for (const queue of this.queues) queue.reset();
    this.model.reset();
  }

  /** The driver kicked queue `index`. */
  kick(index: number): void {
    const queue = this.queues[index];
    if (queue !== undefined && this.running) this.model.queueKicked(queue);
  }

  ringError(queue: Virtqueue, reason: string): void {
    this.fail(`queue ${queue.index}: ${reason}`);
  }

  /** The driver broke the rules: the device stops until reset and says so. */
  fail(reason: string): void {
    const state = this.#state;
    if (state.broken) return;
    state.broken = true;
    this.#log?.(`${this.name} needs a reset: ${reason}`);
    // A legacy driver does not know the bit (2.1.2).
    if ((state.driverFeaturesHigh & (1 << (ringFeature.version1 - 32))) === 0) return;
    state.status |= deviceStatus.needsReset;
    if ((state.status & deviceStatus.driverOk) !== 0) this.transport?.configInterrupt();
  }

  queueInterrupt(queue: Virtqueue): void {
    this.transport?.queueInterrupt(queue.index);
  }

  /** The device-specific configuration changed. */
  configChanged(): void {
    this.#state.configGeneration = (this.#state.configGeneration + 1) & 0xff;
    if ((this.#state.status & deviceStatus.driverOk) !== 0) this.transport?.configInterrupt();
  }

  /** After loading: rings are found again, requests of before are forgotten. */
  restore(): void {
    this.#resetPending = false;
    for (const queue of this.queues) queue.loaded();
    this.model.restored?.();
  }
}
