/**
 * The control and status registers: one row each (privileged specification ch. 2, 3, 12; unprivileged ch. 7, 21).
 *
 * A *plain* register is its home in the state, of which a mask can be written: translated code reads and writes it itself.
 * mcycle and minstret count what the board gives; performance counters beyond them are 0 and cannot be written.
 */

import type { RiscvModel } from '../models.js';
import { envcfg, field, irq, mstatus, PMP_ENTRIES, privilege, xreg } from '../state.js';
import { aiaCsrs } from './aia.js';
import type { Hart } from './hart.js';

export interface CsrRow {
  readonly number: number;
  readonly name: string;
  /** Plain: where it is, and what of it can be written. */
  readonly home?: number;
  readonly writable?: bigint;
  readonly read?: (hart: Hart) => bigint;
  /** What a read-modify-write starts from, where that is not what is read. */
  readonly updateFrom?: (hart: Hart) => bigint;
  readonly write?: (hart: Hart, value: bigint) => void;
  /** Part of floating point: needs FS. */
  readonly float?: true;
  /** Part of vectors: needs VS. */
  readonly vector?: true;
  /** Why it cannot be reached now, privilege aside. */
  readonly refused?: (hart: Hart) => boolean;
}

const ALL = (1n << 64n) - 1n;
/** x0's home always holds 0. */
const ZERO = xreg[0].offset;

const plain = (number: number, name: string, home: number, writable: bigint): CsrRow => ({
  number,
  name,
  home,
  writable,
});
const zero = (number: number, name: string): CsrRow => plain(number, name, ZERO, 0n);

const bit = (n: number): bigint => 1n << BigInt(n);
const SUPERVISOR = bit(irq.SSI) | bit(irq.STI) | bit(irq.SEI);
const MACHINE = bit(irq.MSI) | bit(irq.MTI) | bit(irq.MEI);

/** What of mstatus sstatus shows, and what of that software writes. */
export const SSTATUS =
  mstatus.SIE |
  mstatus.SPIE |
  mstatus.SPP |
  mstatus.VS |
  mstatus.FS |
  mstatus.SUM |
  mstatus.MXR |
  mstatus.UXL |
  mstatus.SD;
export const sstatusWritable = ({ extensions }: RiscvModel): bigint =>
  SSTATUS & ~(mstatus.UXL | mstatus.SD | (extensions.has('v') ? 0n : mstatus.VS));
/** What of mstatus software writes beside. */
const MSTATUS_ONLY = mstatus.MIE | mstatus.MPIE | mstatus.MPP | mstatus.MPRV | mstatus.TVM | mstatus.TW | mstatus.TSR;

/** `bits` of the value, the rest of the old one. */
const merge = (old: bigint, value: bigint, bits: bigint): bigint => (old & ~bits) | (value & bits);

function writeStatus(hart: Hart, value: bigint, bits: bigint): void {
  const next = merge(hart.status, value, bits);
  // There is no mode 2: MPP keeps what it was.
  const isMode = (next & mstatus.MPP) !== 2n << 11n;
  hart.setStatus(isMode ? next : merge(next, hart.status, mstatus.MPP));
}

/** Writes what sstatus has of mstatus. */
export const writeSstatus = (hart: Hart, value: bigint): void => writeStatus(hart, value, sstatusWritable(hart.model));

/** Exceptions that may be delegated: all but ECALL from M-mode and those that are not there. */
const DELEGABLE = 0xb3ffn;

/** Bits of mip that software writes: SEIP and SSIP, and STIP where no stimecmp makes it. */
const writableMip = (hart: Hart): bigint => bit(irq.SSI) | bit(irq.SEI) | (hart.hasStimecmp ? 0n : bit(irq.STI));

/** RV64 with A, C, D, F, I, M, S and U. */
const MISA = (2n << 62n) | [...'ACDFIMSU'].reduce((bits, letter) => bits | bit(letter.charCodeAt(0) - 65), 0n);

function writeSatp(hart: Hart, value: bigint): void {
  const mode = value >> 60n;
  if (mode !== 0n && (mode < 8n || mode > 10n)) return;
  const old = hart.get64(field.satp);
  hart.set64(field.satp, value);
  hart.flushTlb(mode === old >> 60n);
}

/** Of menvcfg and senvcfg. */
const cacheBlockBits = (extensions: ReadonlySet<string>): bigint =>
  (extensions.has('zicbom') ? envcfg.CBIE | envcfg.CBCFE : 0n) | (extensions.has('zicboz') ? envcfg.CBZE : 0n);

/** CBIE has no value 2: it keeps what it was. */
const checkedEnvcfg = (before: bigint, value: bigint): bigint =>
  (value & envcfg.CBIE) === 2n << 4n ? merge(value, before, envcfg.CBIE) : value;

/** Extensions that the model lacks cannot be turned on. */
const menvcfgWritable = ({ model: { extensions } }: Hart): bigint =>
  envcfg.FIOM |
  cacheBlockBits(extensions) |
  (extensions.has('svadu') ? envcfg.ADUE : 0n) |
  (extensions.has('sstc') ? envcfg.STCE : 0n);

const counterEnabled =
  (n: number) =>
  (hart: Hart): boolean => {
    const level = hart.privilege;
    const off = (offset: number) => ((hart.get64(offset) >> BigInt(n)) & 1n) === 0n;
    return (level !== privilege.M && off(field.mcounteren)) || (level === privilege.U && off(field.scounteren));
  };
const counter = (hart: Hart, offset: number): bigint => BigInt.asUintN(64, hart.board.cycles() + hart.get64(offset));
const setCounter = (hart: Hart, offset: number, value: bigint): void =>
  hart.set64(offset, BigInt.asUintN(64, value - hart.board.cycles()));

// --- physical memory protection (3.7)

const pmp = { MODE: 0x18, TOR: 0x08, NA4: 0x10, NAPOT: 0x18, LOCKED: 0x80 } as const;
/** The grain is 4 KiB: NA4 cannot be chosen, and in other modes the address' low bits read as the grain has it. */
const GRAIN_BITS = 10n;
const LOW = (1n << GRAIN_BITS) - 1n;
const ADDRESS_BITS = (1n << 54n) - 1n;

const pmpConfig = (hart: Hart, n: number): number => hart.get8(field.pmpConfig + n);
const pmpAddress = (hart: Hart, n: number): bigint => hart.get64(field.pmpAddress + 8 * n);

/** What the entries mean, for the page walk. */
export function updatePmp(hart: Hart): void {
  let count = 0;
  for (let n = 0; n < PMP_ENTRIES; n++) {
    const address = pmpAddress(hart, n);
    let [first, last] = [1n, 0n];
    switch (pmpConfig(hart, n) & pmp.MODE) {
      case pmp.TOR:
        first = n === 0 ? 0n : (pmpAddress(hart, n - 1) & ~LOW) << 2n;
        last = ((address & ~LOW) << 2n) - 1n;
        if (last < first) [first, last] = [1n, 0n];
        break;
      case pmp.NAPOT: {
        const filled = address | (LOW >> 1n);
        const ones = filled ^ (filled + 1n);
        first = (filled & ~ones) << 2n;
        last = ((filled | ones) << 2n) | 3n;
        break;
      }
    }
    if (first <= last) count = n + 1;
    hart.set64(field.pmpRange + 16 * n, first);
    hart.set64(field.pmpRange + 16 * n + 8, last);
  }
  hart.set32(field.pmpCount, count);
  hart.flushTlb();
}

function writePmpConfig(hart: Hart, group: number, value: bigint): void {
  for (let i = 0; i < 8; i++) {
    const n = 8 * group + i;
    const old = pmpConfig(hart, n);
    if (old & pmp.LOCKED) continue;
    let next = Number((value >> BigInt(8 * i)) & 0xffn) & 0x9f;
    if ((next & pmp.MODE) === pmp.NA4) next = (next & ~pmp.MODE) | (old & pmp.MODE);
    // Writable without readable is reserved.
    if ((next & 3) === 2) next = (next & ~3) | (old & 3);
    hart.set8(field.pmpConfig + n, next);
  }
  updatePmp(hart);
}

function readPmpAddress(hart: Hart, n: number): bigint {
  const address = pmpAddress(hart, n);
  return (pmpConfig(hart, n) & pmp.MODE) === pmp.NAPOT ? address | (LOW >> 1n) : address & ~LOW;
}

function writePmpAddress(hart: Hart, n: number, value: bigint): void {
  const locked = (pmpConfig(hart, n) & pmp.LOCKED) !== 0;
  const next = n + 1 < PMP_ENTRIES ? pmpConfig(hart, n + 1) : 0;
  const baseOfLocked = (next & pmp.LOCKED) !== 0 && (next & pmp.MODE) === pmp.TOR;
  if (locked || baseOfLocked) return;
  hart.set64(field.pmpAddress + 8 * n, value & ADDRESS_BITS);
  updatePmp(hart);
}

function readPmpConfig(hart: Hart, group: number): bigint {
  return hart.get64(field.pmpConfig + 8 * group);
}

const setFrm = (hart: Hart, value: number): void => {
  hart.set32(field.frm, value & 7);
  hart.setStatus(hart.status | mstatus.FS);
};
const setFflags = (hart: Hart, value: number): void => {
  hart.set32(field.fflags, value & 31);
  hart.setStatus(hart.status | mstatus.FS);
};

const dirtyVectors = (hart: Hart): void => {
  hart.setStatus(hart.status | mstatus.VS);
  hart.updateVectorMode();
};

const numbered = (count: number, first: number, make: (n: number) => CsrRow): CsrRow[] =>
  Array.from({ length: count }, (_, i) => make(first + i));

/** vcsr and its parts, and what VSETVL sets (unprivileged specification 31.3). */
const vectorCsrs: readonly CsrRow[] = [
  {
    number: 0x008,
    name: 'vstart',
    vector: true,
    read: (hart) => BigInt(hart.get32(field.vstart)),
    // As many bits as the largest element number has.
    write: (hart, value) => {
      hart.set32(field.vstart, Number(value & (BigInt(hart.get32(field.vlenb)) * 8n - 1n)));
      dirtyVectors(hart);
    },
  },
  {
    number: 0x009,
    name: 'vxsat',
    vector: true,
    read: (hart) => BigInt(hart.get32(field.vxsat)),
    write: (hart, value) => {
      hart.set32(field.vxsat, Number(value & 1n));
      dirtyVectors(hart);
    },
  },
  {
    number: 0x00a,
    name: 'vxrm',
    vector: true,
    read: (hart) => BigInt(hart.get32(field.vxrm)),
    write: (hart, value) => {
      hart.set32(field.vxrm, Number(value & 3n));
      dirtyVectors(hart);
    },
  },
  {
    number: 0x00f,
    name: 'vcsr',
    vector: true,
    read: (hart) => BigInt(hart.get32(field.vxsat) | (hart.get32(field.vxrm) << 1)),
    write: (hart, value) => {
      hart.set32(field.vxsat, Number(value & 1n));
      hart.set32(field.vxrm, Number((value >> 1n) & 3n));
      dirtyVectors(hart);
    },
  },
  { ...plain(0xc20, 'vl', field.vl, 0n), vector: true },
  {
    number: 0xc21,
    name: 'vtype',
    vector: true,
    read: (hart) => {
      const vtype = hart.get32(field.vtype);
      return vtype < 0 ? 1n << 63n : BigInt(vtype);
    },
  },
  { ...plain(0xc22, 'vlenb', field.vlenb, 0n), vector: true },
];

export const csrRows: readonly CsrRow[] = [
  {
    number: 0x001,
    name: 'fflags',
    float: true,
    read: (hart) => BigInt(hart.get32(field.fflags)),
    write: (hart, value) => setFflags(hart, Number(value & 31n)),
  },
  {
    number: 0x002,
    name: 'frm',
    float: true,
    read: (hart) => BigInt(hart.get32(field.frm)),
    write: (hart, value) => setFrm(hart, Number(value & 7n)),
  },
  {
    number: 0x003,
    name: 'fcsr',
    float: true,
    read: (hart) => BigInt(hart.get32(field.fflags) | (hart.get32(field.frm) << 5)),
    write: (hart, value) => {
      setFflags(hart, Number(value & 31n));
      setFrm(hart, Number((value >> 5n) & 7n));
    },
  },
  ...vectorCsrs,
  { number: 0xc00, name: 'cycle', read: (hart) => counter(hart, field.cycleOffset), refused: counterEnabled(0) },
  { number: 0xc01, name: 'time', read: (hart) => BigInt.asUintN(64, hart.board.time()), refused: counterEnabled(1) },
  { number: 0xc02, name: 'instret', read: (hart) => counter(hart, field.instretOffset), refused: counterEnabled(2) },
  ...numbered(29, 3, (n) => ({
    number: 0xc00 + n,
    name: `hpmcounter${n}`,
    read: () => 0n,
    refused: counterEnabled(n),
  })),

  {
    number: 0x100,
    name: 'sstatus',
    read: (hart) => hart.status & SSTATUS,
    write: writeSstatus,
  },
  {
    number: 0x104,
    name: 'sie',
    read: (hart) => hart.get64(field.mie) & hart.get64(field.mideleg),
    write: (hart, value) =>
      hart.set64(field.mie, merge(hart.get64(field.mie), value, hart.get64(field.mideleg) & SUPERVISOR)),
  },
  plain(0x105, 'stvec', field.stvec, ALL & ~2n),
  plain(0x106, 'scounteren', field.scounteren, 0xffffffffn),
  {
    number: 0x10a,
    name: 'senvcfg',
    read: (hart) => hart.get64(field.senvcfg),
    write: (hart, value) => {
      const bits = envcfg.FIOM | cacheBlockBits(hart.model.extensions);
      hart.set64(field.senvcfg, checkedEnvcfg(hart.get64(field.senvcfg), value & bits));
    },
  },
  plain(0x140, 'sscratch', field.sscratch, ALL),
  plain(0x141, 'sepc', field.sepc, ALL & ~1n),
  plain(0x142, 'scause', field.scause, ALL),
  plain(0x143, 'stval', field.stval, ALL),
  {
    number: 0x144,
    name: 'sip',
    read: (hart) => hart.pending & hart.get64(field.mideleg),
    updateFrom: (hart) => hart.get64(field.mip),
    write: (hart, value) =>
      hart.set64(field.mip, merge(hart.get64(field.mip), value, hart.get64(field.mideleg) & bit(irq.SSI))),
  },
  {
    number: 0x14d,
    name: 'stimecmp',
    read: (hart) => hart.get64(field.stimecmp),
    write: (hart, value) => {
      hart.set64(field.stimecmp, value);
      hart.announceTimer();
    },
    refused: (hart) =>
      !hart.model.extensions.has('sstc') ||
      (hart.privilege !== privilege.M && (!hart.hasStimecmp || (hart.get64(field.mcounteren) & 2n) === 0n)),
  },
  {
    number: 0x180,
    name: 'satp',
    read: (hart) => hart.get64(field.satp),
    write: writeSatp,
    refused: (hart) => hart.privilege === privilege.S && (hart.status & mstatus.TVM) !== 0n,
  },

  zero(0xf11, 'mvendorid'),
  zero(0xf12, 'marchid'),
  zero(0xf13, 'mimpid'),
  plain(0xf14, 'mhartid', field.hartId, 0n),
  zero(0xf15, 'mconfigptr'),
  {
    number: 0x300,
    name: 'mstatus',
    read: (hart) => hart.status,
    write: (hart, value) => writeStatus(hart, value, MSTATUS_ONLY | sstatusWritable(hart.model)),
  },
  // No extension can be turned off.
  {
    number: 0x301,
    name: 'misa',
    read: ({ model }) => MISA | (model.extensions.has('v') ? bit('V'.charCodeAt(0) - 65) : 0n),
    write: () => {},
  },
  plain(0x302, 'medeleg', field.medeleg, DELEGABLE),
  {
    number: 0x303,
    name: 'mideleg',
    read: (hart) => hart.get64(field.mideleg),
    write: (hart, value) => hart.set64(field.mideleg, value & SUPERVISOR),
  },
  {
    number: 0x304,
    name: 'mie',
    read: (hart) => hart.get64(field.mie),
    write: (hart, value) => hart.set64(field.mie, value & (SUPERVISOR | MACHINE)),
  },
  plain(0x305, 'mtvec', field.mtvec, ALL & ~2n),
  plain(0x306, 'mcounteren', field.mcounteren, 0xffffffffn),
  {
    number: 0x30a,
    name: 'menvcfg',
    read: (hart) => hart.get64(field.menvcfg),
    write: (hart, value) => {
      const before = hart.get64(field.menvcfg);
      hart.set64(field.menvcfg, checkedEnvcfg(before, value & menvcfgWritable(hart)));
      if (((before ^ value) & envcfg.ADUE) !== 0n) hart.flushTlb();
      hart.announceTimer();
    },
  },
  plain(0x320, 'mcountinhibit', ZERO, 0n),
  plain(0x340, 'mscratch', field.mscratch, ALL),
  plain(0x341, 'mepc', field.mepc, ALL & ~1n),
  plain(0x342, 'mcause', field.mcause, ALL),
  plain(0x343, 'mtval', field.mtval, ALL),
  {
    number: 0x344,
    name: 'mip',
    read: (hart) => hart.pending,
    updateFrom: (hart) => hart.get64(field.mip),
    write: (hart, value) => hart.set64(field.mip, merge(hart.get64(field.mip), value, writableMip(hart))),
  },
  ...[0, 1].map((group) => ({
    number: 0x3a0 + 2 * group,
    name: `pmpcfg${2 * group}`,
    read: (hart: Hart) => readPmpConfig(hart, group),
    write: (hart: Hart, value: bigint) => writePmpConfig(hart, group, value),
  })),
  ...numbered(PMP_ENTRIES, 0, (n) => ({
    number: 0x3b0 + n,
    name: `pmpaddr${n}`,
    read: (hart) => readPmpAddress(hart, n),
    write: (hart, value) => writePmpAddress(hart, n, value),
  })),
  {
    number: 0xb00,
    name: 'mcycle',
    read: (hart) => counter(hart, field.cycleOffset),
    write: (hart, value) => setCounter(hart, field.cycleOffset, value),
  },
  {
    number: 0xb02,
    name: 'minstret',
    read: (hart) => counter(hart, field.instretOffset),
    write: (hart, value) => setCounter(hart, field.instretOffset, value),
  },
  ...aiaCsrs,
  ...numbered(29, 3, (n) => zero(0xb00 + n, `mhpmcounter${n}`)),
  ...numbered(29, 3, (n) => zero(0x320 + n, `mhpmevent${n}`)),
];

/** A register as a debugger sees it, whatever the privilege. */
export const readCsr = (hart: Hart, row: CsrRow): bigint =>
  BigInt.asUintN(64, row.read ? row.read(hart) : hart.get64(row.home ?? ZERO));

/** False: it cannot be written. */
export function writeCsr(hart: Hart, row: CsrRow, value: bigint): boolean {
  if (row.write) row.write(hart, value);
  else if (row.home !== undefined && row.writable)
    hart.set64(row.home, merge(hart.get64(row.home), value, row.writable));
  else return false;
  hart.noteInterrupts();
  return true;
}

export const csrByNumber: ReadonlyMap<number, CsrRow> = new Map(csrRows.map((row) => [row.number, row]));

/** The lowest privilege that reaches a register, and whether it is read-only, by its number (2.1). */
export const csrPrivilege = (number: number): number => (number >> 8) & 3;
export const csrReadOnly = (number: number): boolean => number >> 10 === 3;
