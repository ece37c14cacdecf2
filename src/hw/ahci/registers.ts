/** Registers of an AHCI host bus adapter and of its ports (Serial ATA AHCI 1.3.1, chapter 3). */
import { defineRegisters, registerFields } from '../../bus/index.js';
import { bool, defineState, u8, u32 } from '../../schema/index.js';
import type { AhciPort } from './ahci-port.js';
import type { Ich9Ahci } from './ich9-ahci.js';

export const portCount = 6;
export const slotCount = 32;

export const ghcBit = { reset: 1, interruptEnable: 2, ahciEnable: 0x8000_0000 } as const;

const capability = { ncq: 1 << 30, ahciOnly: 1 << 18, gen1: 1 << 20, addresses64: 0x8000_0000 } as const;

/** Interrupts of a port. */
export const portInterrupt = {
  /** A register FIS, a PIO setup FIS, a set device bits FIS with its interrupt bit has come. */
  register: 1 << 0,
  pioSetup: 1 << 1,
  deviceBits: 1 << 3,
  /** A piece of a table with its interrupt bit was transferred. */
  descriptor: 1 << 5,
  /** The table was too short. */
  overflow: 1 << 24,
  /** A command list or table is not in memory. */
  hostBusFatal: 1 << 29,
  taskFileError: 1 << 30,
} as const;
const enabledInterrupts = 0xfdc0_00ff;

export const commandBit = {
  start: 1 << 0,
  spinUp: 1 << 1,
  powerOn: 1 << 2,
  /** Clears BSY and DRQ. */
  override: 1 << 3,
  fisReceive: 1 << 4,
  fisRunning: 1 << 14,
  listRunning: 1 << 15,
} as const;

export const globalRegisters = defineRegisters<Ich9Ahci>()({
  CAP: {
    offset: 0x00,
    width: 4,
    access: 'ro',
    meaning: 'ports, slots and features',
    read: () =>
      (portCount - 1) |
      ((slotCount - 1) << 8) |
      capability.ahciOnly |
      capability.gen1 |
      capability.ncq |
      capability.addresses64,
  },
  GHC: {
    offset: 0x04,
    width: 4,
    access: 'rw',
    reset: ghcBit.ahciEnable,
    writable: ghcBit.reset | ghcBit.interruptEnable,
    meaning: 'global control',
    changed: (hba) => hba.controlWritten(),
  },
  IS: {
    offset: 0x08,
    width: 4,
    access: 'w1c',
    meaning: 'ports with an interrupt',
    changed: (hba) => hba.interruptChanged(),
  },
  PI: { offset: 0x0c, width: 4, access: 'ro', meaning: 'ports that are there', read: () => (1 << portCount) - 1 },
  VS: { offset: 0x10, width: 4, access: 'ro', meaning: 'version 1.0', read: () => 0x10000 },
});

export const Ich9AhciState = defineState('ich9-ahci', 1, {
  ...registerFields(globalRegisters),
  /** Offset that the index register has chosen. */
  index: u32(0, { max: 0xfff }),
});

export const portRegisters = defineRegisters<AhciPort>()({
  PxCLB: { offset: 0x00, width: 4, access: 'rw', writable: 0xffff_fc00, meaning: 'command list' },
  PxCLBU: { offset: 0x04, width: 4, access: 'rw', meaning: 'command list, high half' },
  PxFB: { offset: 0x08, width: 4, access: 'rw', writable: 0xffff_ff00, meaning: 'received FISes' },
  PxFBU: { offset: 0x0c, width: 4, access: 'rw', meaning: 'received FISes, high half' },
  PxIS: {
    offset: 0x10,
    width: 4,
    access: 'w1c',
    meaning: 'interrupt status',
    changed: (port) => port.interruptChanged(),
  },
  PxIE: {
    offset: 0x14,
    width: 4,
    access: 'rw',
    writable: enabledInterrupts,
    meaning: 'interrupt enable',
    changed: (port) => port.interruptChanged(),
  },
  PxCMD: {
    offset: 0x18,
    width: 4,
    access: 'rw',
    reset: commandBit.spinUp | commandBit.powerOn,
    // Whether the interface is in a low power state is nobody's to see.
    writable: 0x0f82_001f,
    meaning: 'command and status',
    changed: (port, before) => port.commandWritten(before),
  },
  PxTFD: { offset: 0x20, width: 4, access: 'ro', reset: 0x7f, meaning: 'status and error of the drive' },
  PxSIG: { offset: 0x24, width: 4, access: 'ro', reset: 0xffff_ffff, meaning: 'signature' },
  PxSSTS: {
    offset: 0x28,
    width: 4,
    access: 'ro',
    meaning: 'link: active, generation 1, a device is there',
    read: (port) => (port.drive ? 0x113 : 0),
  },
  PxSCTL: {
    offset: 0x2c,
    width: 4,
    access: 'rw',
    meaning: 'link control',
    changed: (port, before) => port.linkWritten(before),
  },
  PxSERR: { offset: 0x30, width: 4, access: 'w1c', meaning: 'link errors' },
  PxSACT: {
    offset: 0x34,
    width: 4,
    access: 'rw',
    meaning: 'queued commands under way',
    write: (port, value) => port.activeWritten(value),
  },
  PxCI: {
    offset: 0x38,
    width: 4,
    access: 'rw',
    meaning: 'commands issued',
    write: (port, value) => port.issueWritten(value),
  },
});

/** In place of a slot. */
export const noSlot = 32;

export const AhciPortState = defineState('ahci-port', 1, {
  ...registerFields(portRegisters),
  /** Slot of the command that the drive is busy with; `noSlot`: none. */
  slot: u8(noSlot, { max: noSlot }),
  /** Tags of the queued commands that the drive has taken. */
  queued: u32(),
  /** After an error nothing is carried out until the guest has stopped the port. */
  halted: bool(),
  /** The guest holds the drive in its software reset. */
  softReset: bool(),
  /** The drive has told its signature since its last reset. */
  signatureSent: bool(),
});
