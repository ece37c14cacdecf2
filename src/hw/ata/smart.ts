/** SMART as far as drivers and tools ask for it (ATA/ATAPI-6, 8.55): a disk that is well, with few attributes and empty logs. */
import type { AtaWork } from './drive.js';
import type { AtaRegisters } from './registers.js';

const done: AtaWork = { kind: 'done' };
const aborted: AtaWork = { kind: 'aborted' };

const subcommand = {
  readData: 0xd0,
  readThresholds: 0xd1,
  autosave: 0xd2,
  executeOffline: 0xd4,
  readLog: 0xd5,
  enable: 0xd8,
  disable: 0xd9,
  status: 0xda,
} as const;

interface Attribute {
  readonly id: number;
  readonly flags: number;
  readonly threshold: number;
}

/** Value and worst are 100 for all, and their raw values 0: nothing wears. */
const attributes: readonly Attribute[] = [
  { id: 1, flags: 0x03, threshold: 6 }, // raw read error rate
  { id: 5, flags: 0x03, threshold: 36 }, // reallocated sectors
];

function sealed(bytes: Uint8Array): AtaWork {
  let sum = 0;
  for (let i = 0; i < 511; i++) sum += bytes[i]!;
  bytes[511] = -sum & 0xff;
  return { kind: 'bytes', bytes };
}

function data(registers: AtaRegisters): AtaWork {
  const bytes = new Uint8Array(512);
  const view = new DataView(bytes.buffer);
  bytes[0] = 1;
  for (const [i, { id, flags }] of attributes.entries()) {
    const at = 2 + i * 12;
    bytes[at] = id;
    view.setUint16(at + 1, flags, true);
    bytes[at + 3] = 100;
    bytes[at + 4] = 100;
  }
  bytes[362] = registers.smartAutosave ? 0x82 : 0x02;
  bytes[367] = 0x11; // off-line collection on demand, self-test
  view.setUint16(368, 3, true); // attributes are saved
  bytes[370] = 1; // error log
  bytes[372] = 2; // minutes of a short self-test, of a long one
  bytes[373] = 54;
  return sealed(bytes);
}

function thresholds(): AtaWork {
  const bytes = new Uint8Array(512);
  bytes[0] = 1;
  for (const [i, { id, threshold }] of attributes.entries()) {
    bytes[2 + i * 12] = id;
    bytes[3 + i * 12] = threshold;
  }
  return sealed(bytes);
}

function log(address: number): AtaWork {
  const bytes = new Uint8Array(512);
  switch (address) {
    case 0: // directory: one sector each of the error log and the self-test log
      bytes[0] = 1;
      bytes[2] = 1;
      bytes[12] = 1;
      return { kind: 'bytes', bytes };
    case 1:
    case 6:
      bytes[0] = 1;
      return sealed(bytes);
    default:
      return aborted;
  }
}

export function smartCommand(registers: AtaRegisters): AtaWork {
  if (registers.lbaHigh !== 0xc2 || registers.lbaMid !== 0x4f) return aborted;
  if (!registers.smart && registers.feature !== subcommand.enable) return aborted;
  switch (registers.feature) {
    case subcommand.readData:
      return data(registers);
    case subcommand.readThresholds:
      return thresholds();
    case subcommand.readLog:
      return registers.count === 1 ? log(registers.lbaLow) : aborted;
    case subcommand.autosave:
      if (registers.count !== 0 && registers.count !== 0xf1) return aborted;
      registers.smartAutosave = registers.count !== 0;
      return done;
    case subcommand.executeOffline:
      // Routines that take no time: off-line collection, short and extended self-test.
      return [0, 1, 2].includes(registers.lbaLow) ? done : aborted;
    case subcommand.enable:
      registers.smart = true;
      return done;
    case subcommand.disable:
      registers.smart = false;
      return done;
    case subcommand.status:
      // As they are: no threshold is exceeded.
      return done;
    default:
      return aborted;
  }
}
