/** Near jumps, calls and returns, loops, software interrupts: Intel SDM vol. 1 sections 6.4 and 7.3.8. */
import { type I32, jumpKind } from '../../../ir/index.js';
import type { InsnRow, OperandSize } from '../translator.js';
import { hex, reg, vector } from './integer-helpers.js';
import { conditionFlags, conditionNames } from './integer-move.js';

const jumpRows: InsnRow[] = [
  ...conditionNames.flatMap((condition, code): InsnRow[] =>
    [`${hex(0x70 + code)} cb`, `0F ${hex(0x80 + code)} cz`].map((enc) => ({
      name: `J${condition}`,
      enc,
      args: enc.endsWith('cb') ? 'Jb' : 'Jz',
      force64: true,
      flags: { r: conditionFlags[code >> 1] },
      translate: (t, insn) => t.branchRelative(t.flags.condition(code), insn.immLow),
    })),
  ),
  { name: 'JMP', enc: 'EB cb', args: 'Jb', force64: true, translate: (t, insn) => t.gotoRelative(insn.immLow) },
  { name: 'JMP', enc: 'E9 cz', args: 'Jz', force64: true, translate: (t, insn) => t.gotoRelative(insn.immLow) },
  {
    name: 'JMP',
    enc: 'FF /4',
    args: 'Ev:r',
    force64: true,
    translate: (t, insn) => t.jump(t.readRmWide(insn.opSize), jumpKind.indirect),
  },
  {
    name: 'CALL',
    enc: 'E8 cz',
    args: 'Jz',
    force64: true,
    translate(t, insn) {
      t.push(insn.opSize, t.nextPc());
      t.noteCall();
      t.gotoRelative(insn.immLow);
    },
  },
  {
    name: 'CALL',
    enc: 'FF /2',
    args: 'Ev:r',
    force64: true,
    translate(t, insn) {
      const target = t.readRmWide(insn.opSize);
      t.push(insn.opSize, t.nextPc());
      t.noteCall();
      t.jump(target, jumpKind.call);
    },
  },
  ...['C3', 'C2 iw'].map(
    (enc): InsnRow => ({
      name: 'RET',
      enc,
      args: enc === 'C3' ? '' : 'Iw',
      force64: true,
      translate(t, insn) {
        const target = t.peekStack(insn.opSize);
        t.moveStack((insn.opSize >> 3) + (insn.opcode === 0xc2 ? insn.immLow : 0));
        t.jump(target, jumpKind.return);
      },
    }),
  ),
];

const loopRows: InsnRow[] = (['LOOPNE', 'LOOPE', 'LOOP', 'JCXZ'] as const).map((name, i) => ({
  name,
  enc: `${hex(0xe0 + i)} cb`,
  args: 'Jb',
  force64: true,
  ...(i < 2 ? { flags: { r: 'Z' } } : {}),
  translate(t, insn) {
    const { b, wide } = t;
    const size: OperandSize = insn.addrSize;
    const counter = t.readWide(size, reg.CX);
    if (name === 'JCXZ') return t.branchRelative(wide.isZero(size, counter), insn.immLow);
    const left = b.i64_sub(counter, wide.small(1));
    let taken: I32 = wide.isNonZero(size, left);
    if (name !== 'LOOP') taken = b.i32_and(taken, t.flags.condition(name === 'LOOPE' ? 4 : 5));
    t.writeWide(size, reg.CX, left);
    t.branchRelative(taken, insn.immLow);
  },
}));

const undefinedRows: InsnRow[] = [
  { name: 'UD2', enc: '0F 0B', args: '', translate: (t) => t.fault(vector.UD) },
  { name: 'UD1', enc: '0F B9 /r', args: 'Gv, Ev', translate: (t) => t.fault(vector.UD) },
  { name: 'UD0', enc: '0F FF /r', args: 'Gv, Ev', translate: (t) => t.fault(vector.UD) },
];

export const integerFlowRows: readonly InsnRow[] = [...jumpRows, ...loopRows, ...undefinedRows];
