/** Segment registers, descriptor tables, far transfers and software interrupts. Intel SDM vol. 1, 7.3.15; vol. 2. */
import { exitCode, header, type I32, type I64 } from '../../../ir/index.js';
import { statusFlag } from '../flags.js';
import { keyBit } from '../mode.js';
import { field } from '../state.js';
import { seg } from '../system/bits.js';
import { interruptReturn } from '../system/fast-transfers.js';
import { softwareInterrupt, softwareKind } from '../system/interrupts.js';
import { descriptorQuery, loadLdt, loadTaskRegister, queryDescriptor } from '../system/protection.js';
import { loadSegment } from '../system/segments.js';
import { farCall, farJump, farReturn } from '../system/transfers.js';
import type { DecodedInsn, InsnRow, Translator } from '../translator.js';
import { vector } from './integer-helpers.js';
import { checkUmip, endAtRoutinesPc, isLoadable } from './system.js';

/** The segment register of a ModRM byte: REX.R does not count. */
const segmentOf = (insn: DecodedInsn): number => (insn.modrm >> 3) & 7;

const readSelector = (t: Translator, n: number): I64 =>
  t.wide.widen(t.b.i32_load16_u(t.b.state(), field.selector + 4 * n), 16);

/** After a segment register was loaded: the shadow of SS, and a new mode key outside 64-bit code. */
function afterLoad(t: Translator, n: number): void {
  const { b } = t;
  if (n === seg.SS && (t.mode.singleStep || t.mode.dataBreak)) {
    const pending = b.i32_ne(b.i32_load(b.state(), field.debugPending), b.i32(0));
    b.i32_store(b.state(), pending, field.debugHeld);
  }
  if (t.codeSize === 64) {
    if (n === seg.SS) t.shadowNext();
    return;
  }
  if (n === seg.SS) {
    b.i32_store(b.state(), b.i32(1), field.interruptShadow);
    const key = b.i32_load(b.state(), header.modeKey);
    b.i32_store(b.state(), b.i32_or(key, b.i32(1 << keyBit.shadow)), header.modeKey);
    b.leave(exitCode.next, t.nextDelta);
    t.blockEnded();
    return;
  }
  t.endBlock();
}

const pushCodes: readonly (readonly [string, number])[] = [
  ['06 I64', seg.ES],
  ['0E I64', seg.CS],
  ['16 I64', seg.SS],
  ['1E I64', seg.DS],
  ['0F A0', seg.FS],
  ['0F A8', seg.GS],
];
const popCodes: readonly (readonly [string, number])[] = [
  ['07 I64', seg.ES],
  ['17 I64', seg.SS],
  ['1F I64', seg.DS],
  ['0F A1', seg.FS],
  ['0F A9', seg.GS],
];
const segmentNames = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'];

const moveRows: InsnRow[] = [
  {
    name: 'MOV',
    enc: '8C /r',
    args: 'Ev:w, Sw:r',
    translate(t, insn) {
      const n = segmentOf(insn);
      if (n > 5) return t.fault(vector.UD);
      const value = readSelector(t, n);
      if (insn.isReg) t.writeWide(insn.opSize, insn.rm, value);
      else t.storeWide(16, t.address(), value);
    },
  },
  {
    name: 'MOV',
    enc: '8E /r',
    args: 'Sw:w, Ew:r',
    translate(t, insn) {
      const n = segmentOf(insn);
      if (n > 5 || n === seg.CS) return t.fault(vector.UD);
      t.b.call(loadSegment, t.b.i32(n), t.wide.narrow(t.readRmWide(16)));
      afterLoad(t, n);
    },
  },
  ...pushCodes.map(
    ([enc, n]): InsnRow => ({
      name: 'PUSH',
      enc,
      args: segmentNames[n],
      default64: true,
      translate: (t, insn) => t.push(insn.opSize, readSelector(t, n)),
    }),
  ),
  ...popCodes.map(
    ([enc, n]): InsnRow => ({
      name: 'POP',
      enc,
      args: segmentNames[n],
      default64: true,
      translate(t, insn) {
        const value = t.wide.narrow(t.peekStack(insn.opSize));
        t.b.call(loadSegment, t.b.i32(n), value);
        t.moveStack(insn.opSize >> 3);
        afterLoad(t, n);
      },
    }),
  ),
  ...(
    [
      ['LES', 'C4 /r m I64', seg.ES],
      ['LDS', 'C5 /r m I64', seg.DS],
      ['LSS', '0F B2 /r m', seg.SS],
      ['LFS', '0F B4 /r m', seg.FS],
      ['LGS', '0F B5 /r m', seg.GS],
    ] as const
  ).map(
    ([name, enc, n]): InsnRow => ({
      name,
      enc,
      args: 'Gv:w, Mp:r',
      translate(t, insn) {
        const offset = t.loadWide(insn.opSize, t.address());
        const selector = t.wide.narrow(t.loadWide(16, t.addressPlus(insn.opSize >> 3)));
        t.b.call(loadSegment, t.b.i32(n), selector);
        t.writeWide(insn.opSize, insn.reg, offset);
        afterLoad(t, n);
      },
    }),
  ),
];

/** The limit and base of LGDT and LIDT. */
function loadTable(t: Translator, insn: DecodedInsn, base: number, limit: number): void {
  const { b } = t;
  const size = t.codeSize === 64 ? 64 : 32;
  const newLimit = t.wide.narrow(t.loadWide(16, t.address()));
  let newBase = t.loadWide(size, t.addressPlus(2));
  if (t.codeSize !== 64 && insn.opSize === 16) newBase = b.i64_and(newBase, b.i64(0xffffff));
  if (t.codeSize === 64) t.faultIf(b.i32_eqz(isLoadable(t, newBase)), vector.GP, 0);
  b.i32_store(b.state(), newLimit, limit);
  b.i64_store(b.state(), newBase, base);
}

function storeTable(t: Translator, base: number, limit: number): void {
  const { b } = t;
  checkUmip(t);
  const size = t.codeSize === 64 ? 64 : 32;
  const value = b.i64_load(b.state(), base);
  t.storeWide(16, t.address(), b.i64_load32_u(b.state(), limit));
  t.storeWide(size, t.addressPlus(2), value);
}

/** Stores a selector to r/m: 16 bits in memory, zero-extended in a register. */
function storeSelector(t: Translator, insn: DecodedInsn, at: number): void {
  checkUmip(t);
  const value = t.wide.noteWidth(t.b.i64_load16_u(t.b.state(), at), 16);
  if (insn.isReg) t.writeWide(insn.opSize, insn.rm, value);
  else t.storeWide(16, t.address(), value);
}

/** LAR, LSL, VERR, VERW: sets ZF, gives the value. */
function query(t: Translator, kind: number): { found: I32; value: I32 } {
  const { b } = t;
  const selector = t.wide.narrow(t.wide.clean(16, t.readRmWide(16)));
  const [, found, value] = b.call(queryDescriptor, b.i32(kind), selector);
  return { found, value };
}

function setZero(t: Translator, found: I32): void {
  const { b } = t;
  const others = b.i32_and(t.readStatusFlags(), b.i32(~statusFlag.ZF));
  t.writeStatusFlags(b.i32_or(others, b.i32_shl(found, b.i32(6))));
}

const tableRows: InsnRow[] = [
  { name: 'SGDT', enc: '0F 01 /0 m', args: 'Ms:w', translate: (t) => storeTable(t, field.gdtBase, field.gdtLimit) },
  { name: 'SIDT', enc: '0F 01 /1 m', args: 'Ms:w', translate: (t) => storeTable(t, field.idtBase, field.idtLimit) },
  {
    name: 'LGDT',
    enc: '0F 01 /2 m',
    args: 'Ms:r',
    cpl0: true,
    translate: (t, insn) => loadTable(t, insn, field.gdtBase, field.gdtLimit),
  },
  {
    name: 'LIDT',
    enc: '0F 01 /3 m',
    args: 'Ms:r',
    cpl0: true,
    translate: (t, insn) => loadTable(t, insn, field.idtBase, field.idtLimit),
  },
  {
    name: 'SLDT',
    enc: '0F 00 /0',
    args: 'Ev:w',
    protectedOnly: true,
    translate: (t, insn) => storeSelector(t, insn, field.ldtSelector),
  },
  {
    name: 'STR',
    enc: '0F 00 /1',
    args: 'Ev:w',
    protectedOnly: true,
    translate: (t, insn) => storeSelector(t, insn, field.trSelector),
  },
  ...(
    [
      ['LLDT', 2, loadLdt],
      ['LTR', 3, loadTaskRegister],
    ] as const
  ).map(
    ([name, digit, routine]): InsnRow => ({
      name,
      enc: `0F 00 /${digit}`,
      args: 'Ew:r',
      protectedOnly: true,
      cpl0: true,
      translate: (t) => void t.b.call(routine, t.wide.narrow(t.wide.clean(16, t.readRmWide(16)))),
    }),
  ),
  ...(
    [
      ['VERR', 4, descriptorQuery.verr],
      ['VERW', 5, descriptorQuery.verw],
    ] as const
  ).map(
    ([name, digit, kind]): InsnRow => ({
      name,
      enc: `0F 00 /${digit}`,
      args: 'Ew:r',
      protectedOnly: true,
      flags: { w: 'Z' },
      translate: (t) => setZero(t, query(t, kind).found),
    }),
  ),
  ...(
    [
      ['LAR', '0F 02 /r', descriptorQuery.lar],
      ['LSL', '0F 03 /r', descriptorQuery.lsl],
    ] as const
  ).map(
    ([name, enc, kind]): InsnRow => ({
      name,
      enc,
      args: 'Gv:w, Ew:r',
      protectedOnly: true,
      flags: { w: 'Z' },
      translate(t, insn) {
        const { b } = t;
        const { found, value } = query(t, kind);
        const old = t.readWide(insn.opSize, insn.reg);
        t.writeWide(insn.opSize, insn.reg, b.select(found, b.i64_extend_i32_u(value), old));
        setZero(t, found);
      },
    }),
  ),
  {
    name: 'ARPL',
    enc: '63 /r I64',
    args: 'Ew:rw, Gw:r',
    protectedOnly: true,
    flags: { w: 'Z' },
    translate(t, insn) {
      const { b, wide } = t;
      const destination = wide.narrow(t.readRmWide(16, true));
      const rpl = b.i32_and(wide.narrow(t.readWide(16, insn.reg)), b.i32(3));
      const lower = b.i32_lt_u(b.i32_and(destination, b.i32(3)), rpl);
      const raised = b.i32_or(b.i32_and(destination, b.i32(~3)), rpl);
      t.writeRmWide(16, wide.widen(b.select(lower, raised, destination), 32));
      setZero(t, lower);
    },
  },
];

/** A far pointer in memory: offset, then selector. */
function loadFarPointer(t: Translator, insn: DecodedInsn): { selector: I32; offset: I64 } {
  const offset = t.wide.clean(insn.opSize, t.loadWide(insn.opSize, t.address()));
  const selector = t.wide.narrow(t.loadWide(16, t.addressPlus(insn.opSize >> 3)));
  return { selector, offset };
}

const immediatePointer = (t: Translator, insn: DecodedInsn): { selector: I32; offset: I64 } => ({
  selector: t.b.i32(insn.imm2 & 0xffff),
  offset: t.b.i64pair(insn.opSize === 16 ? insn.immLow & 0xffff : insn.immLow, 0),
});

function interrupt(t: Translator, number: number, kind: number): void {
  t.b.call(softwareInterrupt, t.b.i32(number), t.b.i32(kind), t.nextPc());
  endAtRoutinesPc(t);
}

const transferRows: InsnRow[] = [
  ...(['EA ap I64', 'FF /5 m'] as const).map(
    (enc, i): InsnRow => ({
      name: 'JMP',
      enc,
      args: i ? 'Mp:r' : 'Ap',
      translate(t, insn) {
        const { selector, offset } = i ? loadFarPointer(t, insn) : immediatePointer(t, insn);
        t.b.call(farJump, selector, offset, t.b.i32(insn.opSize), t.nextPc());
        endAtRoutinesPc(t, true);
      },
    }),
  ),
  ...(['9A ap I64', 'FF /3 m'] as const).map(
    (enc, i): InsnRow => ({
      name: 'CALL',
      enc,
      args: i ? 'Mp:r' : 'Ap',
      translate(t, insn) {
        const { selector, offset } = i ? loadFarPointer(t, insn) : immediatePointer(t, insn);
        t.b.call(farCall, selector, offset, t.b.i32(insn.opSize), t.nextPc());
        endAtRoutinesPc(t, true);
      },
    }),
  ),
  ...(['CB', 'CA iw'] as const).map(
    (enc, i): InsnRow => ({
      name: 'RETF',
      enc,
      args: i ? 'Iw' : '',
      translate(t, insn) {
        t.b.call(farReturn, t.b.i32(insn.opSize), t.b.i32(i ? insn.immLow & 0xffff : 0));
        endAtRoutinesPc(t, true);
      },
    }),
  ),
  {
    name: 'IRET',
    enc: 'CF',
    args: '',
    flags: { w: 'OSZAPC' },
    translate(t, insn) {
      t.b.call(interruptReturn, t.b.i32(insn.opSize), t.nextPc());
      endAtRoutinesPc(t, true);
    },
  },
  { name: 'INT', enc: 'CD ib', args: 'Ib', translate: (t, insn) => interrupt(t, insn.immLow & 0xff, softwareKind.int) },
  { name: 'INT3', enc: 'CC', args: '', translate: (t) => interrupt(t, vector.BP, softwareKind.int3) },
  { name: 'INT1', enc: 'F1', args: '', translate: (t) => interrupt(t, vector.DB, softwareKind.icebp) },
  {
    name: 'INTO',
    enc: 'CE I64',
    args: '',
    flags: { r: 'O' },
    translate(t) {
      const { b } = t;
      const next = t.nextPc();
      // The overflow flag as a vector: 0 stands for no interrupt, as INTO's own is 4.
      b.call(softwareInterrupt, b.i32_shl(t.flags.overflow(), b.i32(2)), b.i32(softwareKind.into), next);
      endAtRoutinesPc(t);
    },
  },
];

export const systemSegmentRows: readonly InsnRow[] = [...moveRows, ...tableRows, ...transferRows];
