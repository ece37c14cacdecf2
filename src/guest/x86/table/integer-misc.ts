/** Flag control, PUSHF/POPF, NOPs and hints, fences, cache lines: Intel SDM vol. 1 sections 7.3.13 to 7.3.17. */
import { statusFlag } from '../flags.js';
import { field } from '../state.js';
import { eflag } from '../system/bits.js';
import { checkedCli, checkedSti, popFlags, pushFlags } from '../system/eflags.js';
import type { InsnRow, Translator } from '../translator.js';
import { reg, vector } from './integer-helpers.js';

/** Sets or clears bits of EFLAGS that are not status flags. */
function changeEflags(t: Translator, set: number, clear: number): void {
  const { b } = t;
  let value = b.i32_load(b.state(), field.eflags);
  value = set ? b.i32_or(value, b.i32(set)) : b.i32_and(value, b.i32(~clear));
  b.i32_store(b.state(), value, field.eflags);
}

const flagRows: InsnRow[] = [
  {
    name: 'CMC',
    enc: 'F5',
    args: '',
    flags: { r: 'C', w: 'C' },
    translate: (t) => t.flags.setCarry(t.b.i32_xor(t.flags.carry(), t.b.i32(1))),
  },
  { name: 'CLC', enc: 'F8', args: '', flags: { w: 'C' }, translate: (t) => t.flags.setCarry(t.b.i32(0)) },
  { name: 'STC', enc: 'F9', args: '', flags: { w: 'C' }, translate: (t) => t.flags.setCarry(t.b.i32(1)) },
  { name: 'CLD', enc: 'FC', args: '', translate: (t) => changeEflags(t, 0, eflag.DF) },
  { name: 'STD', enc: 'FD', args: '', translate: (t) => changeEflags(t, eflag.DF, 0) },
  {
    name: 'CLI',
    enc: 'FA',
    args: '',
    translate(t) {
      if (t.mode.ioAllowed) changeEflags(t, 0, eflag.IF);
      else t.b.call(checkedCli);
    },
  },
  {
    name: 'STI',
    enc: 'FB',
    args: '',
    translate(t) {
      if (t.mode.ioAllowed) changeEflags(t, eflag.IF, 0);
      else t.b.call(checkedSti);
      t.shadowNext();
    },
  },
  {
    name: 'LAHF',
    enc: '9F',
    args: 'AH:w',
    flags: { r: 'SZAPC' },
    translate(t) {
      const { b, wide } = t;
      const bits = b.i32_or(b.i32_and(t.readStatusFlags(), b.i32(0xff)), b.i32(2));
      const ah = b.i64_shl(wide.widen(bits, 8), wide.small(8));
      t.writeWide(64, reg.AX, b.i64_or(b.i64_and(t.readWide(64, reg.AX), wide.small(~0xff00)), ah));
    },
  },
  {
    name: 'SAHF',
    enc: '9E',
    args: 'AH:r',
    flags: { w: 'SZAPC' },
    translate(t) {
      const { b, wide } = t;
      const ah = b.i32_shr_u(wide.narrow(t.readWide(64, reg.AX)), b.i32(8));
      const low = statusFlag.SF | statusFlag.ZF | statusFlag.AF | statusFlag.PF | statusFlag.CF;
      const overflow = b.i32_shl(t.flags.overflow(), b.i32(11));
      t.writeStatusFlags(b.i32_or(b.i32_and(ah, b.i32(low)), overflow));
    },
  },
  {
    name: 'SALC',
    enc: 'D6 I64',
    args: 'AL:w',
    flags: { r: 'C' },
    translate: (t) => t.writeWide(8, reg.AX, t.b.i64_sub(t.wide.small(0), t.wide.widen(t.flags.carry(), 1))),
  },
  {
    name: 'PUSHF',
    enc: '9C',
    args: '',
    default64: true,
    flags: { r: 'OSZAPC' },
    translate(t, insn) {
      const { b, wide } = t;
      if (t.vm86) {
        const [, value] = b.call(pushFlags, b.i32(insn.opSize));
        t.push(insn.opSize, wide.widen(value, 32));
        return;
      }
      const others = b.i32_and(b.i32_load(b.state(), field.eflags), b.i32(~(eflag.VM | eflag.RF)));
      t.push(insn.opSize, wide.widen(b.i32_or(others, t.readStatusFlags()), 32));
    },
  },
  {
    name: 'POPF',
    enc: '9D',
    args: '',
    default64: true,
    flags: { w: 'OSZAPC' },
    translate(t, insn) {
      const { b, wide } = t;
      const value = t.peekStack(insn.opSize);
      b.call(popFlags, wide.narrow(value), b.i32(insn.opSize));
      t.flags.invalidate();
      t.moveStack(insn.opSize >> 3);
      t.endBlock(true);
    },
  },
];

const nothing = () => {};

const hintRows: InsnRow[] = [
  { name: 'NOP', enc: '0F 1F /0', args: 'Ev', translate: nothing },
  // The other reserved hints: 0F 19 to 0F 1F, whatever the ModRM byte; ENDBR64 and ENDBR32 (F3 0F 1E FA/FB) are among them.
  ...['0F 19', '0F 1A', '0F 1B', '0F 1C', '0F 1D', '0F 1E', '0F 1F'].map(
    (bytes): InsnRow => ({ name: 'NOP', enc: `${bytes} /r`, args: 'Ev', translate: nothing }),
  ),
  { name: 'PREFETCH', enc: '0F 18 /r', args: 'Ev', translate: nothing },
  // Every processor with long mode has it, whatever its own flag says (AMD64 APM vol. 3), and Linux relies on that.
  { name: 'PREFETCHW', enc: '0F 0D /r', args: 'Ev', cpuid: '3dnowprefetch', alsoWith: 'lm', translate: nothing },
  // vCPUs take turns in one thread: each sees all accesses in order.
  ...(['LFENCE', 'MFENCE', 'SFENCE'] as const).map(
    (name, i): InsnRow => ({
      name,
      enc: `NP 0F AE /${5 + i} r`,
      args: '',
      cpuid: 'sse2',
      translate: (t) => t.b.fence(),
    }),
  ),
  // Cache line control touches its address as a byte load does.
  ...(
    [
      ['CLFLUSH', 'NP 0F AE /7 m', 'clflush'],
      ['CLFLUSHOPT', '66 0F AE /7 m', 'clflushopt'],
      ['CLWB', '66 0F AE /6 m', 'clwb'],
    ] as const
  ).map(
    ([name, enc, cpuid]): InsnRow => ({
      name,
      enc,
      args: 'Mb:r',
      cpuid,
      translate: (t) => void t.load(8, t.address()),
    }),
  ),
];

const boundRow: InsnRow = {
  name: 'BOUND',
  enc: '62 /r m I64',
  args: 'Gv:r, Ma:r',
  translate(t, insn) {
    const { wide } = t;
    const size = insn.opSize;
    const index = t.readWide(size, insn.reg);
    const lower = t.loadWide(size, t.address());
    // Processors do not read the upper bound of an index that is below the lower one.
    t.faultIf(wide.less(size, index, lower, false, false), vector.BR);
    const upper = t.loadWide(size, t.addressPlus(size >> 3));
    t.faultIf(wide.less(size, index, upper, true, true), vector.BR);
  },
};

export const integerMiscRows: readonly InsnRow[] = [...flagRows, ...hintRows, boundRow];
