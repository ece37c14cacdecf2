/** Registers of Realtek's RTL8139C+ (RTL8139C(L)+ data sheet 1.6, section 6), as QEMU's card has them. */
import { defineRegisters } from '../../bus/index.js';

export const rtlCause = {
  received: 1,
  sent: 4,
  /** The receive ring is full, or has no descriptor. */
  overflow: 0x10,
  /** In QEMU and Linux: the link has changed, or a packet came with no room. */
  link: 0x20,
  timeout: 0x4000,
} as const;
export const rtlCommand = { empty: 1, transmit: 4, receive: 8, reset: 0x10 } as const;
export const rtlPlus = { transmit: 1, receive: 2 } as const;
export const rtlRcr = { all: 1, own: 2, multicast: 4, broadcast: 8, wrap: 0x80 } as const;
export const rtlEeprom = { dataOut: 1, dataIn: 2, clock: 4, select: 8, mode: 0xc0, load: 0x40, program: 0x80 } as const;

/** What the registers are of the chip. */
interface Rtl8139Chip {
  readonly state: Record<'IntrMask' | 'IntrStatus' | 'command' | 'rxRead' | 'rxWrite', number>;
  readByte(index: number): number;
  writeByte(index: number, value: number): void;
  readTsd(index: number): number;
  writeTsd(index: number, value: number): void;
  readCommand(): number;
  writeCommand(value: number): void;
  writeReadPointer(value: number): void;
  acknowledge(bits: number): void;
  setMask(value: number): void;
  readCounter(): number;
  restartCounter(): void;
  timerChanged(): void;
  writeTcr(value: number, mask: number): void;
  writeRcr(value: number, mask: number): void;
  readRcr(): number;
  readTcr(): number;
  readEeprom(): number;
  writeEeprom(value: number): void;
  writeConfig(which: 0 | 1 | 3 | 4 | 5, value: number): void;
  readConfig(which: 0 | 1 | 3 | 4 | 5): number;
  mediaStatus(): number;
  transmitSummary(): number;
  readBmsr(): number;
  readPlus(): number;
  writePlus(value: number): void;
  poll(value: number): void;
  receiveReady(): void;
}

const stored = (offset: number, width: 1 | 2 | 4, meaning: string, reset = 0) =>
  ({ offset, width, access: 'rw', meaning, reset }) as const;
const fixed = (offset: number, width: 1 | 2 | 4, value: number, meaning: string) =>
  ({ offset, width, access: 'ro', read: () => value, meaning }) as const;
const byte = (offset: number, meaning: string) =>
  ({
    offset,
    width: 1,
    access: 'rw',
    read: (chip: Rtl8139Chip) => chip.readByte(offset),
    write: (chip: Rtl8139Chip, value: number) => chip.writeByte(offset, value),
    meaning,
  }) as const;
const tsd = (index: number) =>
  ({
    offset: 0x10 + 4 * index,
    width: 4,
    access: 'rw',
    read: (chip: Rtl8139Chip) => chip.readTsd(index),
    write: (chip: Rtl8139Chip, value: number) => chip.writeTsd(index, value),
    meaning: 'status of a frame to send, or address of the counters',
  }) as const;
const config = (offset: number, which: 0 | 1 | 3 | 4 | 5, meaning: string) =>
  ({
    offset,
    width: 1,
    access: 'rw',
    read: (chip: Rtl8139Chip) => chip.readConfig(which),
    write: (chip: Rtl8139Chip, value: number) => chip.writeConfig(which, value),
    meaning,
  }) as const;

export const rtl8139Registers = defineRegisters<Rtl8139Chip>()({
  IDR0: byte(0, 'address'),
  IDR1: byte(1, 'address'),
  IDR2: byte(2, 'address'),
  IDR3: byte(3, 'address'),
  IDR4: byte(4, 'address'),
  IDR5: byte(5, 'address'),
  MAR0: byte(8, 'multicast filter'),
  MAR1: byte(9, 'multicast filter'),
  MAR2: byte(0xa, 'multicast filter'),
  MAR3: byte(0xb, 'multicast filter'),
  MAR4: byte(0xc, 'multicast filter'),
  MAR5: byte(0xd, 'multicast filter'),
  MAR6: byte(0xe, 'multicast filter'),
  MAR7: byte(0xf, 'multicast filter'),
  TSD0: tsd(0),
  TSD1: tsd(1),
  TSD2: tsd(2),
  TSD3: tsd(3),
  TSAD0: stored(0x20, 4, 'address of a frame to send; in C+ mode of the ring for normal frames'),
  TSAD1: stored(0x24, 4, 'address of a frame to send; in C+ mode of the ring, high'),
  TSAD2: stored(0x28, 4, 'address of a frame to send'),
  TSAD3: stored(0x2c, 4, 'address of a frame to send'),
  RBSTART: stored(0x30, 4, 'address of the receive ring'),
  CR: {
    offset: 0x37,
    width: 1,
    access: 'rw',
    read: (chip) => chip.readCommand(),
    write: (chip, value) => chip.writeCommand(value),
    meaning: 'command',
  },
  CAPR: {
    offset: 0x38,
    width: 2,
    access: 'rw',
    read: (chip) => chip.state.rxRead - 0x10,
    write: (chip, value) => chip.writeReadPointer(value),
    meaning: 'where the driver reads the ring, less 16',
  },
  CBR: {
    offset: 0x3a,
    width: 2,
    access: 'ro',
    read: (chip) => chip.state.rxWrite,
    meaning: 'where the ring is written',
  },
  IMR: {
    offset: 0x3c,
    width: 2,
    access: 'rw',
    read: (chip) => chip.state.IntrMask,
    write: (chip, value) => chip.setMask(value),
    meaning: 'interrupt mask',
  },
  ISR: {
    offset: 0x3e,
    width: 2,
    access: 'rw',
    read: (chip) => chip.state.IntrStatus,
    write: (chip, value) => chip.acknowledge(value),
    meaning: 'interrupt status; ones clear',
  },
  TCR: {
    offset: 0x40,
    width: 4,
    access: 'rw',
    read: (chip) => chip.readTcr(),
    write: (chip, value, mask) => chip.writeTcr(value, mask),
    meaning: 'transmit configuration',
  },
  RCR: {
    offset: 0x44,
    width: 4,
    access: 'rw',
    read: (chip) => chip.readRcr(),
    write: (chip, value, mask) => chip.writeRcr(value, mask),
    meaning: 'receive configuration',
  },
  TCTR: {
    offset: 0x48,
    width: 4,
    access: 'rw',
    read: (chip) => chip.readCounter(),
    write: (chip) => chip.restartCounter(),
    meaning: 'counter at the pace of the PCI clock',
  },
  MPC: { ...stored(0x4c, 4, 'missed frames; a write clears'), write: () => {}, read: () => 0 },
  CR9346: {
    offset: 0x50,
    width: 1,
    access: 'rw',
    read: (chip) => chip.readEeprom(),
    write: (chip, value) => chip.writeEeprom(value),
    meaning: 'EEPROM, bit by bit; whether configuration can be written',
  },
  CONFIG0: config(0x51, 0, 'configuration'),
  CONFIG1: config(0x52, 1, 'configuration'),
  TimerInt: {
    ...stored(0x54, 4, 'counter value that interrupts'),
    changed: (chip: Rtl8139Chip) => chip.timerChanged(),
  },
  MSR: { offset: 0x58, width: 1, access: 'ro', read: (chip) => chip.mediaStatus(), meaning: 'media status' },
  CONFIG3: config(0x59, 3, 'configuration'),
  CONFIG4: config(0x5a, 4, 'configuration'),
  RERID: fixed(0x5e, 1, 0x20, 'PCI revision'),
  TSAD: {
    offset: 0x60,
    width: 2,
    access: 'ro',
    read: (chip) => chip.transmitSummary(),
    meaning: 'all transmit status',
  },
  BMCR: fixed(0x62, 2, 0x1000, 'PHY, control: it negotiates by itself'),
  BMSR: { offset: 0x64, width: 2, access: 'ro', read: (chip) => chip.readBmsr(), meaning: 'PHY, status' },
  ANAR: stored(0x66, 2, 'PHY, what is offered', 0x5e1),
  ANLPAR: fixed(0x68, 2, 0x5e1, 'PHY, what the other side offers'),
  ANER: fixed(0x6a, 2, 1, 'PHY, negotiation'),
  CSCR: stored(0x74, 2, 'PHY, configuration and status', 0x0600),
  CONFIG5: config(0xd8, 5, 'configuration'),
  TPPoll: { offset: 0xd9, width: 1, access: 'wo', write: (chip, value) => chip.poll(value), meaning: 'frames wait' },
  CpCR: {
    offset: 0xe0,
    width: 2,
    access: 'rw',
    read: (chip) => chip.readPlus(),
    write: (chip, value) => chip.writePlus(value),
    meaning: 'C+ mode',
  },
  RDSARL: stored(0xe4, 4, 'receive descriptors, low'),
  RDSARH: stored(0xe8, 4, 'receive descriptors, high'),
  ETThR: stored(0xec, 1, 'early transmit threshold'),
});
