/**
 * The SMBus host controller of Intel's ICH9 (Intel 316972, chapter 19), at the ports of its BAR 4. Nothing is on the bus: no device
 * acknowledges, and each transaction ends with a device error.
 */
import { type Device, defineRegisters, RegisterBank, registerFields } from '../../bus/index.js';
import { defineState, type StateArena, type StateOf } from '../../schema/index.js';
import { checkIdentity, PciFunction } from '../pci/pci-function.js';
import type { PciRoot } from '../pci/pci-root.js';
import { loadParts, saveParts, statePart } from '../pci/saved-parts.js';

const sizeBytes = 64;
const status = { deviceError: 0x04, all: 0xfe } as const;
const control = { interrupts: 0x01, start: 0x40 } as const;
const hostConfig = 0x40;
const hostEnable = 1;

const registers = defineRegisters<Ich9Smbus>()({
  HST_STS: {
    offset: 0,
    width: 1,
    access: 'w1c',
    writable: status.all,
    meaning: 'host status',
    changed: (smbus) => smbus.update(),
  },
  HST_CNT: {
    offset: 2,
    width: 1,
    access: 'rw',
    meaning: 'host control',
    changed: (smbus) => smbus.controlWritten(),
  },
  HST_CMD: { offset: 3, width: 1, access: 'rw', meaning: 'command' },
  XMIT_SLVA: { offset: 4, width: 1, access: 'rw', meaning: 'address of the device' },
  HST_D0: { offset: 5, width: 1, access: 'rw', meaning: 'data' },
  HST_D1: { offset: 6, width: 1, access: 'rw', meaning: 'data' },
  HOST_BLOCK_DB: { offset: 7, width: 1, access: 'rw', meaning: 'block data' },
  PEC: { offset: 8, width: 1, access: 'rw', meaning: 'packet error check' },
  AUX_STS: { offset: 12, width: 1, access: 'w1c', meaning: 'auxiliary status' },
  AUX_CTL: { offset: 13, width: 1, access: 'rw', writable: 3, meaning: 'auxiliary control' },
});

export const Ich9SmbusState = defineState('ich9-smbus', 1, { ...registerFields(registers) });

export class Ich9Smbus implements Device {
  readonly name = 'ich9-smbus';
  readonly function: PciFunction;
  readonly state: StateOf<typeof Ich9SmbusState>;

  constructor(root: PciRoot, arena?: StateArena) {
    this.state = Ich9SmbusState.allocate(arena);
    const handler = new RegisterBank<Ich9Smbus>(sizeBytes, registers, this, this.state);
    this.function = new PciFunction({
      name: this.name,
      vendorId: 0x8086,
      deviceId: 0x2930,
      revision: 2,
      classCode: 0x0c0500,
      interruptPin: 1,
      bars: [{ index: 4, kind: 'io', size: sizeBytes, handler }],
      arena,
    });
    this.function.define(hostConfig, 1, 0, 0x07);
    root.bus.add(this.function, 0x1f, 3);
  }

  controlWritten(): void {
    const { state } = this;
    const starts = (state.HST_CNT & control.start) !== 0;
    // The bit reads as zero.
    state.HST_CNT &= ~control.start;
    if (starts && (this.function.config[hostConfig]! & hostEnable) !== 0) state.HST_STS |= status.deviceError;
    this.update();
  }

  update(): void {
    const { HST_STS, HST_CNT } = this.state;
    this.function.setIntx((HST_STS & status.all) !== 0 && (HST_CNT & control.interrupts) !== 0);
  }

  reset(): void {
    this.function.reset();
    Ich9SmbusState.reset(this.state);
    this.update();
  }
  get #parts() {
    return [this.function.part, statePart(Ich9SmbusState, this.state)];
  }
  save(): Uint8Array {
    return saveParts(this.#parts);
  }
  load(saved: Uint8Array): void {
    loadParts(this.#parts, saved, this.name, () => checkIdentity(this.function));
    this.function.restore();
    this.update();
  }
}
