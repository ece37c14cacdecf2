/** Branches, IT, hints, barriers, and instructions that raise exceptions (A5.5, A5.2.12, A6.2.5, A6.3.4). */
import { jumpKind } from '../../../ir/index.js';
import { semihostingCall } from '../../arm/table/branch.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { exception, leaveReason, STATUS_SHIFT } from '../state.js';
import { low, rows } from './shared.js';

function conditional(t: Translator, cond: number, displacement: number): void {
  if (cond === 14) t.goto(displacement);
  else t.branch(t.flags.condition(cond), displacement);
}
function call(t: Translator, displacement: number, exchange: boolean): void {
  t.setR(14, t.linkAddress());
  t.goto(displacement, true, exchange);
}
/** T32's long displacements: bits 23 and 22 are inverted where the sign is 0 (A8.8.18, encoding T4). */
const unscrambled = (imm: number): number => (imm < 0 ? imm : imm ^ (3 << 22));

function exchange(t: Translator, i: Fields): void {
  t.exchange(t.r(i.rm), i.rm === 14 ? jumpKind.return : jumpKind.indirect);
}
function callRegister(t: Translator, i: Fields): void {
  const target = t.r(i.rm);
  t.setR(14, t.linkAddress());
  t.exchange(target, jumpKind.call);
}

function tableBranch(t: Translator, i: Fields, wide: boolean): void {
  const { b } = t;
  const index = wide ? b.i64_shl(t.r(i.rm), b.i64(1)) : t.r(i.rm);
  const address = low(t, b.i64_add(t.r(i.rn), index));
  const entry = b.i64_extend_i32_u(wide ? b.guest_load16(address, 0) : b.guest_load8(address, 0));
  t.jump(low(t, b.i64_add(t.r(15), b.i64_shl(entry, b.i64(1)))), jumpKind.indirect);
}

const DEBUG_EVENT = exception.prefetchAbort | (0x22 << STATUS_SHIFT);
const hints = { YIELD: 1, WFE: 2, WFI: 3 } as const;
/** YIELD and WFE end a turn where several CPUs take turns; no event is missed. The other hints but WFI do nothing. */
const hint = (t: Translator, i: Fields): void => {
  if (i.imm === hints.WFI) t.leave();
  else if (t.mode.shared && (i.imm === hints.YIELD || i.imm === hints.WFE)) t.leave(leaveReason.pause);
};

/** Numbers of SVC by which programs call their host, as long as it answers (semihosting). */
const ARM_SEMIHOSTING = 0x123456;
const THUMB_SEMIHOSTING = 0xab;
function semihosted(t: Translator): void {
  t.b.call(semihostingCall);
  t.endBlock(true);
}

export const branchRows: readonly InsnRow[] = [
  ...rows('b', { a: '1010 simm[25:2]' }, ['target'], (t, i) => conditional(t, t.cond, i.imm), { conditional: true }),
  ...rows('bl', { a: '1011 simm[25:2]' }, ['target'], (t, i) => call(t, i.imm, false)),
  ...rows('blx', { a: '1111 101 simm[1] simm[25:2]' }, ['target'], (t, i) => call(t, i.imm, true)),
  ...rows(
    'b',
    { t: ['1101 cond simm[8:1]', '11110 simm[20] cond simm[17:12] 10 simm[18] 0 simm[19] simm[11:1]'] },
    ['cond', 'target'],
    (t, i) => conditional(t, i.cond, i.imm),
    {
      where: (i) => i.cond < 14,
      conditional: true,
    },
  ),
  ...rows('b', { t: '11100 simm[11:1]' }, ['target'], (t, i) => conditional(t, t.cond, i.imm), { conditional: true }),
  ...rows(
    'b',
    { t: '11110 simm[24] simm[21:12] 10 simm[23] 1 simm[22] simm[11:1]' },
    ['target'],
    (t, i) => conditional(t, t.cond, unscrambled(i.imm)),
    {
      conditional: true,
    },
  ),
  ...rows('bl', { t: '11110 simm[24] simm[21:12] 11 simm[23] 1 simm[22] simm[11:1]' }, ['target'], (t, i) =>
    call(t, unscrambled(i.imm), false),
  ),
  ...rows('blx', { t: '11110 simm[24] simm[21:12] 11 simm[23] 0 simm[22] simm[11:2] 0' }, ['target'], (t, i) =>
    call(t, unscrambled(i.imm), true),
  ),
  ...rows('bx', { a: '00010010 1111 1111 1111 0001 rm', t: '010001110 rm 000' }, ['rm'], exchange),
  // Jazelle is not there: BXJ is BX.
  ...rows('bxj', { a: '00010010 1111 1111 1111 0010 rm', t: '111100111100 rm 1000 1111 00000000' }, ['rm'], exchange),
  ...rows('blx', { a: '00010010 1111 1111 1111 0011 rm', t: '010001111 rm 000' }, ['rm'], callRegister),
  ...[0, 1].flatMap((op) =>
    rows(op ? 'cbnz' : 'cbz', { t: `1011 ${op} 0 uimm[6] 1 uimm[5:1] rn[2:0]` }, ['rn', 'target'], (t, i) => {
      const { b } = t;
      const zero = b.i64_eqz(t.r(i.rn));
      t.branch(op ? b.i32_eqz(zero) : zero, i.imm);
    }),
  ),
  ...[0, 1].flatMap((wide) =>
    rows(
      wide ? 'tbh' : 'tbb',
      { t: `111010001101 rn 1111 0000 000${wide} rm` },
      ['rn', 'rm'],
      (t, i) => tableBranch(t, i, wide === 1),
      {
        bytes: 1 + wide,
      },
    ),
  ),
  ...rows('it', { t: '10111111 uimm[7:0]' }, ['imm'], (t, i) => t.startIt(i.imm), { where: (i) => (i.imm & 15) !== 0 }),
  ...rows(
    'hint',
    { a: '00110010 0000 1111 0000 uimm[7:0]', t: ['10111111 uimm[3:0] 0000', '111100111010 1111 1000 0000 uimm[7:0]'] },
    ['imm'],
    hint,
  ),
  ...(['dsb', 'dmb'] as const).flatMap((name, n) =>
    rows(
      name,
      { a: `1111 0101 0111 1111 1111 0000 010${n} uimm[3:0]`, t: `111100111011 1111 1000 1111 010${n} uimm[3:0]` },
      ['imm'],
      ({ b }) => b.fence(),
    ),
  ),
  ...rows(
    'isb',
    { a: '1111 0101 0111 1111 1111 0000 0110 uimm[3:0]', t: '111100111011 1111 1000 1111 0110 uimm[3:0]' },
    ['imm'],
    (t) => t.endBlock(),
  ),
  ...rows('svc', { a: 'cond 1111 uimm[23:0]', t: '11011111 uimm[7:0]' }, ['imm'], (t, i) => {
    if (t.model.semihosting && !t.mode.user && i.imm === (t.thumb ? THUMB_SEMIHOSTING : ARM_SEMIHOSTING)) semihosted(t);
    else t.call();
  }),
  // Undefined while no debugger halts the CPU from outside, but for one number.
  ...rows(
    'hlt',
    { a: '00010000 uimm[15:4] 0111 uimm[3:0]', t: '1011101010 uimm[5:0]' },
    ['imm'],
    (t, i) => {
      if (i.imm === (t.thumb ? 0x3c : 0xf000)) semihosted(t);
      else t.undefined();
    },
    { conditional: true },
  ),
  ...rows(
    'bkpt',
    { a: '00010010 uimm[15:4] 0111 uimm[3:0]', t: '10111110 uimm[7:0]' },
    ['imm'],
    (t) => t.exception(DEBUG_EVENT),
    {
      conditional: true,
    },
  ),
];
