/** Bits of the floppy disk controller's registers and status bytes (Intel 82078, sections 2 and 5). */

export const place = { statusA: 0, statusB: 1, output: 2, tape: 3, main: 4, fifo: 5, input: 7 } as const;

export const dor = { select: 0x03, notReset: 0x04, dmaGate: 0x08, motor0: 0x10, motor1: 0x20 } as const;
export const msr = { busy: 0x10, nonDma: 0x20, toHost: 0x40, ready: 0x80 } as const;
export const dsr = { rate: 0x03, powerDown: 0x40, reset: 0x80 } as const;
export const config = { poll: 0x10, noFifo: 0x20, impliedSeek: 0x40, fifo: 0x2f } as const;

/** ST0: how a command ended. */
export const st0 = {
  abnormal: 0x40,
  invalid: 0x80,
  /** The drive's ready line has changed: after reset. */
  polled: 0xc0,
  seekEnd: 0x20,
  equipment: 0x10,
} as const;
export const st1 = {
  missingMark: 0x01,
  notWritable: 0x02,
  noData: 0x04,
  dataError: 0x20,
  endOfCylinder: 0x80,
} as const;
export const st2 = {
  scanFailed: 0x04,
  scanHit: 0x08,
  wrongCylinder: 0x10,
  dataError: 0x20,
  controlMark: 0x40,
} as const;
export const st3 = { always: 0x28, track0: 0x10, writeProtected: 0x40 } as const;

export const phase = {
  command: 0,
  result: 1,
  /** A sector is being read from the medium. */
  reading: 2,
  /** The host takes a sector. */
  dataIn: 3,
  /** The host gives a sector, what it is to be compared with, or a format's sector headers. */
  dataOut: 4,
  /** A sector is being written. */
  writing: 5,
} as const;

export const operation = { read: 0, write: 1, verify: 2, scanEqual: 3, scanLow: 4, scanHigh: 5, format: 6 } as const;
