/** Branches, and instructions that raise exceptions (C4.1.65 to C4.1.77). */
import { type I32, type I64, jumpKind } from '../../../ir/index.js';
import { routines } from '../routines/set.js';
import { type Fields, type InsnRow, needing, type Translator } from '../row.js';
import { exceptionClass, leaveReason, syndromeOf } from '../state.js';
import { noteBranch } from '../system/branch-type.js';
import { binary } from './shared.js';

const onZero = (name: string, op: string, isZero: boolean): InsnRow => ({
  name,
  enc: `sf 011010 ${op} simm[20:2] rd`,
  args: ['rd', 'target'],
  translate: (t, i) => {
    const { b } = t;
    if (i.sf) t.branch(b.i64_eqz(t.x(i.rd)), i.imm, !isZero);
    else t.branch(b.i32_wrap_i64(t.x(i.rd)), i.imm, isZero);
  },
});
/** Not 0 if the bit is set. */
function bitOf({ b }: Translator, value: I64, place: number): I32 {
  if (place === 63) return b.i64_lt_s(value, b.i64(0));
  const half = place < 32 ? value : b.i64_shr_u(value, b.i64(32));
  return b.i32_and(b.i32_wrap_i64(half), b.i32(1 << (place & 31)));
}
const onBit = (name: string, op: string, isSet: boolean): InsnRow => ({
  name,
  enc: `imm2[5] 011011 ${op} imm2[4:0] simm[15:2] rd`,
  args: ['xd', 'imm2', 'target'],
  translate: (t, i) => t.branch(bitOf(t, t.x(i.rd), i.imm2), i.imm, !isSet),
});
const toRegister = (name: string, op: string, kind: number): InsnRow => ({
  name,
  enc: `1101011 ${op} 11111 000000 rn 00000`,
  args: ['xn'],
  translate: (t, i) => {
    const target: I64 = t.x(i.rn);
    if (kind !== jumpKind.return) noteBranch(t, target, kind === jumpKind.call, i.rn);
    if (kind === jumpKind.call) {
      t.setX(30, t.pcPlus(4));
    }
    t.jump(target, kind);
  },
});
const raises = (name: string, enc: string, make: (t: Translator, i: Fields) => void): InsnRow => ({
  name,
  enc,
  args: ['imm'],
  translate: make,
});

/** (is WFE, syndrome) → fault: a higher exception level traps it. */
const waitTrap = routines.host('wait_trap', ['i32', 'i32'], ['i32'], { mayFault: true });
/** → fault: the host answers in X0, or the instruction is undefined. */
export const semihostingCall = routines.host('semihosting_call', [], ['i32'], { vars: 'write', mayFault: true });
/** HLT of this number; any other one is undefined while no debugger halts the CPU from outside. */
const SEMIHOSTING = 0xf000;

/** With a condition in the syndrome that is always. */
const waitSyndrome = (isEvent: boolean): number =>
  syndromeOf(exceptionClass.wfx, (1 << 24) | (0xe << 20) | Number(isEvent));
function mayTrapWait(t: Translator, isEvent: boolean): void {
  const { b } = t;
  if (t.mode.trapped) b.call(waitTrap, b.i32(Number(isEvent)), b.i32(waitSyndrome(isEvent)));
}
/** Denied to EL0 it is an exception. */
function waitForInterrupt(t: Translator): void {
  if (t.mode.wfiTrapped) {
    t.exception(waitSyndrome(false));
    return;
  }
  mayTrapWait(t, false);
  t.leave();
}

const hint = { YIELD: 1, WFE: 2, ESB: 16 } as const;
const synchronizeErrors = routines.host('synchronize_errors', [], [], {});

export const branchRows: readonly InsnRow[] = [
  { name: 'b', enc: '000101 simm[27:2]', args: ['target'], translate: (t, i) => t.goto(i.imm) },
  {
    name: 'bl',
    enc: '100101 simm[27:2]',
    args: ['target'],
    translate: (t, i) => {
      t.setX(30, t.pcPlus(4));
      t.goto(i.imm, true);
    },
  },
  {
    name: 'b.',
    enc: '01010100 simm[20:2] 0 cond',
    args: ['cond', 'target'],
    translate: (t, i) => (i.cond >= 14 ? t.goto(i.imm) : t.branch(t.flags.condition(i.cond), i.imm)),
  },
  onZero('cbz', '0', true),
  onZero('cbnz', '1', false),
  onBit('tbz', '0', false),
  onBit('tbnz', '1', true),
  toRegister('br', '0000', jumpKind.indirect),
  toRegister('blr', '0001', jumpKind.call),
  toRegister('ret', '0010', jumpKind.return),
  raises('svc', '11010100000 uimm[15:0] 00001', (t, i) => t.call(syndromeOf(exceptionClass.svc, i.imm))),
  raises('brk', '11010100001 uimm[15:0] 00000', (t, i) => t.exception(syndromeOf(exceptionClass.brk, i.imm))),
  raises('hlt', '11010100010 uimm[15:0] 00000', (t, i) => {
    if (i.imm !== SEMIHOSTING) {
      t.undefined();
      return;
    }
    t.b.call(semihostingCall);
    t.endBlock(true);
  }),
  // Hints but for those below do nothing: NOP, and what belongs to extensions that are absent. YIELD and WFE let other CPUs go on; ESB
  // is of interest to virtual machines alone.
  {
    name: 'hint',
    enc: '11010101000000110010 uimm[6:0] 11111',
    args: ['imm'],
    translate: (t, i) => {
      if (i.imm === hint.ESB && t.mode.el < 2 && t.model.features.has('ras') && t.model.features.has('el2'))
        t.b.call(synchronizeErrors);
      if (i.imm === hint.WFE) mayTrapWait(t, true);
      if (t.mode.shared && (i.imm === hint.YIELD || i.imm === hint.WFE)) t.leave(leaveReason.pause);
    },
  },
  ...needing(
    'bti',
    // Landings: block-translator.ts sees to them where a block begins with one.
    ['', '.c', '.j', '.jc'].map((kind, n) => ({
      name: `bti${kind}`,
      enc: `11010101000000110010 0100 ${binary(n, 2)}0 11111`,
      args: [],
      translate: () => {},
    })),
  ),
  { name: 'wfi', enc: '11010101000000110010 0000011 11111', args: [], translate: waitForInterrupt },
  { name: 'dsb', enc: '11010101000000110011 uimm[3:0] 100 11111', args: ['imm'], translate: ({ b }) => b.fence() },
  { name: 'dmb', enc: '11010101000000110011 uimm[3:0] 101 11111', args: ['imm'], translate: ({ b }) => b.fence() },
  ...needing('sb', [
    { name: 'sb', enc: '11010101000000110011 0000 111 11111', args: [], translate: (t) => t.endBlock() },
  ]),
  { name: 'isb', enc: '11010101000000110011 uimm[3:0] 110 11111', args: ['imm'], translate: (t) => t.endBlock() },
];
