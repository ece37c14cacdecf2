/** Zicsr (unprivileged specification ch. 7) and the privileged instructions (privileged specification 3.3, 12.2). */
import { header, type I64 } from '../../../ir/index.js';
import { routines } from '../routines/set.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { field, leaveReason, mstatus, privilege } from '../state.js';
import { csrByNumber, csrPrivilege, csrReadOnly, SSTATUS } from '../system/csr.js';
import { supervisorReturn, writeStatus } from '../system/fast-paths.js';
import { fencePage, flushTlb } from '../system/page-walk.js';

const effects = { mayFault: true } as const;
/** number → (fault, value). */
const csrRead = routines.host('csr_read', ['i32'], ['i32', 'i64'], effects);
/** (number, value, bits of it that are written) → fault. */
const csrWrite = routines.host('csr_write', ['i32', 'i64', 'i64'], ['i32'], effects);
const trapReturn = routines.host('trap_return', ['i32'], [], {});

type Change = 'write' | 'set' | 'clear';

const SSTATUS_NUMBER = 0x100;
/** The bits that an immediate of five bits reaches: SIE alone can be written among them. */
const IMMEDIATE = 31n;

/** sstatus. Kernels turn interrupts off and on all the time: that is no part of any mode. */
function accessStatus(t: Translator, i: Fields, change: Change, operand: I64 | undefined, immediate: boolean): void {
  const { b } = t;
  if (operand === undefined) {
    t.setX(i.rd, b.i64_and(b.i64_load(b.state(), field.mstatus), b.i64(SSTATUS)));
    return;
  }
  if (!immediate || change === 'write') {
    const value = change === 'write' ? operand : b.i64(change === 'set' ? -1 : 0);
    const [old, leaves] = b.call(writeStatus, value, change === 'write' ? b.i64(-1) : operand);
    t.setX(i.rd, old);
    t.leaveIf(leaves);
    return;
  }
  const state = b.state();
  const old = b.i64_load(state, field.mstatus);
  const bits = BigInt(i.rs1) & IMMEDIATE & mstatus.SIE;
  const next = change === 'set' ? b.i64_or(old, b.i64(bits)) : b.i64_and(old, b.i64(~bits));
  b.i64_store(state, next, field.mstatus);
  t.setX(i.rd, b.i64_and(old, b.i64(SSTATUS)));
  if (change === 'set') t.leaveIf(b.i32_load(state, header.interruptPending));
}

/** `operand` undefined: nothing is written. */
function accessCsr(t: Translator, i: Fields, change: Change, operand: I64 | undefined, immediate: boolean): void {
  const { b, mode } = t;
  const row = csrByNumber.get(i.csr);
  const writes = operand !== undefined;
  const refused =
    !row ||
    mode.privilege < csrPrivilege(i.csr) ||
    (writes && csrReadOnly(i.csr)) ||
    (row.float && mode.fs === 0) ||
    (row.vector && mode.vs === 0);
  if (refused) {
    t.illegal();
    return;
  }
  if (i.csr === SSTATUS_NUMBER) {
    accessStatus(t, i, change, operand, immediate);
    return;
  }
  const { home } = row;
  if (home !== undefined) {
    const state = b.state();
    const old = b.i64_load(state, home);
    const writable = row.writable ?? 0n;
    if (writes && writable !== 0n) {
      const next =
        change === 'write'
          ? operand
          : change === 'set'
            ? b.i64_or(old, operand)
            : b.i64_and(old, b.i64_xor(operand, b.i64(-1)));
      b.i64_store(state, b.i64_and(next, b.i64(writable)), home);
    }
    t.setX(i.rd, old);
    return;
  }
  t.mayBeIllegal();
  // What nobody wants is not read.
  const reads = i.rd !== 0 || change !== 'write';
  const old = reads ? b.call(csrRead, b.i32(i.csr))[1] : b.i64(0);
  if (writes) {
    const value = change === 'write' ? operand : b.i64(change === 'set' ? -1 : 0);
    b.call(csrWrite, b.i32(i.csr), value, change === 'write' ? b.i64(-1) : operand);
  }
  t.setX(i.rd, old);
  // Modes, translation and what may interrupt can have changed; so has the clock that is read.
  if (writes) t.endBlock(true);
}

const csr = (name: string, funct3: string, change: Change, immediate: boolean): InsnRow => ({
  name,
  enc: `csr rs1 ${funct3} rd 1110011`,
  args: immediate ? 'rd, csr, uimm5' : 'rd, csr, rs1',
  translate: (t, i) => {
    const silent = change !== 'write' && i.rs1 === 0;
    accessCsr(t, i, change, silent ? undefined : immediate ? t.b.i64(i.rs1) : t.x(i.rs1), immediate);
  },
});

const returns = (name: string, enc: string, level: number): InsnRow => ({
  name,
  enc,
  args: '',
  translate: (t) => {
    const illegal = level === privilege.M ? t.mode.privilege !== privilege.M : t.mode.sretIllegal;
    if (illegal) {
      t.illegal();
      return;
    }
    if (level === privilege.S) t.b.call(supervisorReturn);
    else t.b.call(trapReturn, t.b.i32(level));
    t.resume();
  },
});

export const systemRows: readonly InsnRow[] = [
  csr('csrrw', '001', 'write', false),
  csr('csrrs', '010', 'set', false),
  csr('csrrc', '011', 'clear', false),
  csr('csrrwi', '101', 'write', true),
  csr('csrrsi', '110', 'set', true),
  csr('csrrci', '111', 'clear', true),
  returns('mret', '00110000001000000000000001110011', privilege.M),
  returns('sret', '00010000001000000000000001110011', privilege.S),
  {
    name: 'wfi',
    enc: '00010000010100000000000001110011',
    args: '',
    translate: (t) => {
      if (t.mode.wfiIllegal) t.illegal();
      else t.leave(leaveReason.wait);
    },
  },
  {
    // The TLB does not know address spaces: a fence of one is a fence of all, but for global pages.
    name: 'sfence.vma',
    enc: '0001001 rs2 rs1 000 00000 1110011',
    args: 'rs1, rs2',
    translate: (t, i) => {
      const { b } = t;
      if (t.mode.fenceIllegal) {
        t.illegal();
        return;
      }
      if (i.rs1 !== 0) b.call(fencePage, t.x(i.rs1));
      else b.call(flushTlb, b.i32(i.rs2 === 0 ? 0 : 1));
      t.endBlock();
    },
  },
];
