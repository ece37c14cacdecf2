/** Registers of the DP8390 by their pages (DP8390D data sheet, 10.0), and what Realtek's RTL8029 has beside them. */
import { defineRegisters } from '../../bus/index.js';

/** What the registers are of the chip. */
interface Ne2000Chip {
  readonly state: Record<
    | 'command'
    | 'PSTART'
    | 'PSTOP'
    | 'BNRY'
    | 'TPSR'
    | 'TBCR'
    | 'TSR'
    | 'RSR'
    | 'ISR'
    | 'IMR'
    | 'RCR'
    | 'DCR'
    | 'remoteAddress'
    | 'remoteCount',
    number
  >;
  writeCommand(value: number): void;
  clear(bits: number): void;
  updateInterrupt(): void;
  receiveReady(): void;
}

export const ne2000Command = { stop: 1, start: 2, transmit: 4, remoteRead: 8, remoteWrite: 0x10, noDma: 0x20 } as const;
export const ne2000Cause = { received: 1, sent: 2, remoteDone: 0x40, reset: 0x80 } as const;

const low = (before: number, value: number) => (before & 0xff00) | value;
const high = (before: number, value: number) => (before & 0xff) | (value << 8);

const CR = {
  offset: 0,
  width: 1,
  access: 'rw',
  read: (chip: Ne2000Chip) => chip.state.command,
  write: (chip: Ne2000Chip, value: number) => chip.writeCommand(value),
  meaning: 'command, and the page of the other registers',
} as const;

const fixed = (offset: number, value: number, meaning: string) =>
  ({ offset, width: 1, access: 'ro', read: () => value, meaning }) as const;
const stored = (offset: number, meaning: string) => ({ offset, width: 1, access: 'rw', meaning }) as const;

const page0 = defineRegisters<Ne2000Chip>()({
  CR,
  CLDA0: {
    offset: 1,
    width: 1,
    access: 'rw',
    read: () => 0,
    write: (chip, value) => {
      chip.state.PSTART = value;
    },
    meaning: 'local DMA address, low; first page of the ring',
  },
  CLDA1: {
    offset: 2,
    width: 1,
    access: 'rw',
    read: () => 0,
    write: (chip, value) => {
      chip.state.PSTOP = value;
    },
    meaning: 'local DMA address, high; page behind the ring',
  },
  BNRY: {
    offset: 3,
    width: 1,
    access: 'rw',
    read: (chip) => chip.state.BNRY,
    write: (chip, value) => {
      chip.state.BNRY = value;
      chip.receiveReady();
    },
    meaning: 'boundary: the last page that the driver has read',
  },
  TSR: {
    offset: 4,
    width: 1,
    access: 'rw',
    read: (chip) => chip.state.TSR,
    write: (chip, value) => {
      chip.state.TPSR = value;
    },
    meaning: 'transmit status; page of the frame to send',
  },
  NCR: {
    offset: 5,
    width: 1,
    access: 'rw',
    read: () => 0,
    write: (chip, value) => {
      chip.state.TBCR = low(chip.state.TBCR, value);
    },
    meaning: 'collisions; length of the frame to send, low',
  },
  FIFO: {
    offset: 6,
    width: 1,
    access: 'rw',
    read: () => 0,
    write: (chip, value) => {
      chip.state.TBCR = high(chip.state.TBCR, value);
    },
    meaning: 'FIFO; length of the frame to send, high',
  },
  ISR: {
    offset: 7,
    width: 1,
    access: 'rw',
    read: (chip) => chip.state.ISR,
    write: (chip, value) => chip.clear(value),
    meaning: 'interrupt status; ones clear',
  },
  CRDA0: {
    offset: 8,
    width: 1,
    access: 'rw',
    read: (chip) => chip.state.remoteAddress & 0xff,
    write: (chip, value) => {
      chip.state.remoteAddress = low(chip.state.remoteAddress, value);
    },
    meaning: 'remote DMA address, low',
  },
  CRDA1: {
    offset: 9,
    width: 1,
    access: 'rw',
    read: (chip) => chip.state.remoteAddress >> 8,
    write: (chip, value) => {
      chip.state.remoteAddress = high(chip.state.remoteAddress, value);
    },
    meaning: 'remote DMA address, high',
  },
  ID0: {
    offset: 0xa,
    width: 1,
    access: 'rw',
    read: () => 0x50,
    write: (chip, value) => {
      chip.state.remoteCount = low(chip.state.remoteCount, value);
    },
    meaning: "RTL8029's first letter; remote byte count, low",
  },
  ID1: {
    offset: 0xb,
    width: 1,
    access: 'rw',
    read: () => 0x43,
    write: (chip, value) => {
      chip.state.remoteCount = high(chip.state.remoteCount, value);
    },
    meaning: "RTL8029's second letter; remote byte count, high",
  },
  RSR: {
    offset: 0xc,
    width: 1,
    access: 'rw',
    read: (chip) => chip.state.RSR,
    write: (chip, value) => {
      chip.state.RCR = value;
    },
    meaning: 'receive status; receive configuration',
  },
  CNTR0: { offset: 0xd, width: 1, access: 'ro', read: () => 0, meaning: 'alignment errors; transmit configuration' },
  CNTR1: {
    offset: 0xe,
    width: 1,
    access: 'rw',
    read: () => 0,
    write: (chip, value) => {
      chip.state.DCR = value;
    },
    meaning: 'CRC errors; data configuration',
  },
  CNTR2: {
    offset: 0xf,
    width: 1,
    access: 'rw',
    read: () => 0,
    write: (chip, value) => {
      chip.state.IMR = value;
      chip.updateInterrupt();
    },
    meaning: 'missed frames; interrupt mask',
  },
});

const page1 = defineRegisters<Ne2000Chip>()({
  CR,
  PAR0: stored(1, 'physical address'),
  PAR1: stored(2, 'physical address'),
  PAR2: stored(3, 'physical address'),
  PAR3: stored(4, 'physical address'),
  PAR4: stored(5, 'physical address'),
  PAR5: stored(6, 'physical address'),
  CURR: { ...stored(7, 'page of the ring that is written next'), changed: (chip: Ne2000Chip) => chip.receiveReady() },
  MAR0: stored(8, 'multicast filter'),
  MAR1: stored(9, 'multicast filter'),
  MAR2: stored(0xa, 'multicast filter'),
  MAR3: stored(0xb, 'multicast filter'),
  MAR4: stored(0xc, 'multicast filter'),
  MAR5: stored(0xd, 'multicast filter'),
  MAR6: stored(0xe, 'multicast filter'),
  MAR7: stored(0xf, 'multicast filter'),
});

const page2 = defineRegisters<Ne2000Chip>()({
  CR,
  PSTART: { offset: 1, width: 1, access: 'ro', read: (chip) => chip.state.PSTART, meaning: 'first page of the ring' },
  PSTOP: { offset: 2, width: 1, access: 'ro', read: (chip) => chip.state.PSTOP, meaning: 'page behind the ring' },
});

const page3 = defineRegisters<Ne2000Chip>()({
  CR,
  CONFIG0: fixed(3, 0, 'RTL8029: 10BASE-T'),
  CONFIG2: fixed(5, 0x40, 'RTL8029: 10BASE-T is in use'),
  CONFIG3: fixed(6, 0x40, 'RTL8029: full duplex'),
});

export const ne2000Pages = [page0, page1, page2, page3] as const;
