/**
 * Pointer authentication (C3.1.8, D8.10). But at EL1 it costs nothing while no key is enabled, which the mode key says; with one, and at
 * EL1, it is a routine (../routines/pac.ts), which looks whether its own key is.
 */
import { type I32, type I64, jumpKind } from '../../../ir/index.js';
import { checkPointer, computePac, pacFlag, signPointer, stripPointer } from '../routines/pac.js';
import { type Fields, type InsnRow, needing, type Translator } from '../row.js';
import { exceptionClass, field, syndromeOf, trapCode } from '../state.js';
import { noteBranch } from '../system/branch-type.js';
import { binary, plus } from './shared.js';
import { returnAddress, returnFrom } from './system.js';

/** Keys by their number in the state; of instructions, of data; and the generic one. */
const keyNames = ['ia', 'ib', 'da', 'db'] as const;
const GENERIC = 4;
const keyAt = (key: number): number => field.keys + 16 * key;
const flagsOf = ({ model }: Translator, key: number): number =>
  (key < 2 ? pacFlag.instruction : 0) | (key & 1 ? pacFlag.keyB : 0) | (model.ownPac ? pacFlag.own : 0);

/** EL2 or EL3 traps it, which the mode key says: everything that uses a key that is enabled, and PACGA. */
function mayTrap(t: Translator, isEnabled: I32): void {
  if (!t.mode.keysTrapped) return;
  const { b } = t;
  b.i32_store(b.state(), b.i32(syndromeOf(exceptionClass.pointerAuthentication)), field.syndrome);
  b.trap_if(isEnabled, trapCode.here);
}

/** The pointer signed or checked; as it is while the key is disabled. */
function authenticated(t: Translator, key: number, pointer: I64, modifier: I64, signs: boolean): I64 {
  if (!t.mode.pointerKeys) return pointer;
  const { b } = t;
  mayTrap(t, b.i32_and(b.i32_load(b.state(), field.enabledKeys), b.i32(1 << key)));
  const routine = signs ? signPointer : checkPointer;
  return b.call(routine, pointer, modifier, b.i32(keyAt(key)), b.i32(flagsOf(t, key)))[0];
}
function change(t: Translator, key: number, rd: number, modifier: I64, signs: boolean): void {
  if (t.mode.pointerKeys) t.setX(rd, authenticated(t, key, t.x(rd), modifier, signs));
}
const zero = ({ b }: Translator): I64 => b.i64(0);

const pointerRows: readonly InsnRow[] = [true, false].flatMap((signs) =>
  keyNames.flatMap((name, key): InsnRow[] => {
    const verb = signs ? 'pac' : 'aut';
    const opcode = binary((signs ? 0 : 4) + key, 3);
    return [
      {
        name: verb + name,
        enc: `11011010110 00001 000${opcode} rn rd`,
        args: ['xd', 'xn|sp'],
        translate: (t, i) => change(t, key, i.rd, t.xsp(i.rn), signs),
      },
      {
        name: `${verb}${name[0]}z${name[1]}`,
        enc: `11011010110 00001 001${opcode} 11111 rd`,
        args: ['xd'],
        translate: (t, i) => change(t, key, i.rd, zero(t), signs),
      },
    ];
  }),
);

/** In the hint space: of X17 by X16, of X30 by zero and by SP. */
const hintRows: readonly InsnRow[] = [true, false].flatMap((signs) =>
  ([0, 1] as const).flatMap((key) => {
    const name = (signs ? 'pac' : 'aut') + keyNames[key];
    const hint = (suffix: string, crm: string, low: string, rd: number, modifier: (t: Translator) => I64): InsnRow => ({
      name: name + suffix,
      enc: `11010101000000110010 ${crm} ${low} 11111`,
      args: [],
      translate: (t) => change(t, key, rd, modifier(t), signs),
    });
    const low = (last: number): string => binary((signs ? 0 : 4) + 2 * key + last, 3);
    return [
      hint('1716', '0001', low(0), 17, (t) => t.x(16)),
      hint('z', '0011', low(0), 30, zero),
      hint('sp', '0011', low(1), 30, (t) => t.xsp(31)),
    ];
  }),
);

function strip(t: Translator, rd: number, instruction: boolean): void {
  const { b } = t;
  t.setX(rd, b.call(stripPointer, t.x(rd), b.i32(instruction ? pacFlag.instruction : 0))[0]);
}
const stripRow = (name: string, bit: string, instruction: boolean): InsnRow => ({
  name,
  enc: `11011010110 00001 01000${bit} 11111 rd`,
  args: ['xd'],
  translate: (t, i) => strip(t, i.rd, instruction),
});

/** Branches to an address with a code; the modifier, if it is not zero, is in what is elsewhere Rd. */
const branch = (name: string, op: string, kind: number): InsnRow[] =>
  ([0, 1] as const).flatMap((key) =>
    [true, false].map(
      (isZero): InsnRow => ({
        name: `${name}${['aa', 'ab'][key]}${isZero ? 'z' : ''}`,
        enc: `1101011${isZero ? 0 : 1} ${op} 11111 00001${key} rn ${isZero ? '11111' : 'rd'}`,
        args: isZero ? ['xn'] : ['xn', 'xd|sp'],
        translate: (t, i) => {
          const target = authenticated(t, key, t.x(i.rn), isZero ? zero(t) : t.xsp(i.rd), false);
          noteBranch(t, target, kind === jumpKind.call, i.rn);
          if (kind === jumpKind.call) t.setX(30, t.pcPlus(4));
          t.jump(target, kind);
        },
      }),
    ),
  );

const load = (before: boolean): InsnRow[] =>
  ([2, 3] as const).map((key) => ({
    name: key === 2 ? 'ldraa' : 'ldrab',
    enc: `11111000${key - 2} simm[12] 1 simm[11:3] ${before ? 1 : 0}1 rn rd`,
    args: ['xd', before ? '[rn, imm]!' : '[rn, imm]'],
    bytes: 8,
    translate: (t: Translator, i: Fields) => {
      const address = plus(t, authenticated(t, key, t.xsp(i.rn), zero(t), false), i.imm);
      const value = t.b.guest_load64(address);
      if (before) t.setXsp(i.rn, address);
      t.setX(i.rd, value);
    },
  }));

export const pauthRows: readonly InsnRow[] = needing('pauth', [
  ...pointerRows,
  ...hintRows,
  stripRow('xpaci', '0', true),
  stripRow('xpacd', '1', false),
  { name: 'xpaclri', enc: '11010101000000110010 0000 111 11111', args: [], translate: (t) => strip(t, 30, true) },
  {
    name: 'pacga',
    enc: '10011010110 rm 001100 rn rd',
    args: ['xd', 'xn', 'xm|sp'],
    translate: (t, i) => {
      const { b } = t;
      mayTrap(t, b.i32(1));
      const flags = b.i32(t.model.ownPac ? pacFlag.own : 0);
      const [code] = b.call(computePac, t.x(i.rn), t.xsp(i.rm), b.i32(keyAt(GENERIC)), flags);
      t.setX(i.rd, b.i64_and(code, b.i64(-(1n << 32n))));
    },
  },
  ...branch('br', '000', jumpKind.indirect),
  ...branch('blr', '001', jumpKind.call),
  ...([0, 1] as const).flatMap((key): InsnRow[] => [
    {
      name: ['retaa', 'retab'][key],
      enc: `1101011 0010 11111 00001${key} 11111 11111`,
      args: [],
      translate: (t) => t.jump(authenticated(t, key, t.x(30), t.xsp(31), false), jumpKind.return),
    },
    {
      name: ['eretaa', 'eretab'][key],
      enc: `1101011 0100 11111 00001${key} 11111 11111`,
      args: [],
      translate: (t) => {
        if (t.mode.el === 0) t.undefined();
        else returnFrom(t, authenticated(t, key, returnAddress(t), t.xsp(31), false));
      },
    },
  ]),
  ...load(false),
  ...load(true),
]);
