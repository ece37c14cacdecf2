/** Data transfer: Intel SDM vol. 1 section 7.3.1; XLAT, LEA, MOVBE, BSWAP and conditional moves with it. */
import type { I64 } from '../../../ir/index.js';
import { flagKind, statusFlag } from '../flags.js';
import { isAlone } from '../mode.js';
import { leaveFor, leaveReason } from '../system/leave.js';
import type { InsnRow, Translator } from '../translator.js';
import { ALL_FLAGS, byteAndWord, hex, reg, segment, sizeOf, vector } from './integer-helpers.js';

const moveRows: InsnRow[] = [
  ...byteAndWord((byte) => ({
    name: 'MOV',
    enc: `${byte ? '88' : '89'} /r`,
    args: byte ? 'Eb:w, Gb:r' : 'Ev:w, Gv:r',
    translate(t, insn) {
      const size = sizeOf(byte, insn);
      t.writeRmWide(size, t.readWide(size, insn.reg));
    },
  })),
  ...byteAndWord((byte) => ({
    name: 'MOV',
    enc: `${byte ? '8A' : '8B'} /r`,
    args: byte ? 'Gb:w, Eb:r' : 'Gv:w, Ev:r',
    translate(t, insn) {
      const size = sizeOf(byte, insn);
      t.writeWide(size, insn.reg, t.readRmWide(size));
    },
  })),
  ...byteAndWord((byte) => ({
    name: 'MOV',
    enc: byte ? 'B0+r ib' : 'B8+r iv',
    args: byte ? 'Zb:w, Ib' : 'Zv:w, Iv',
    translate(t, insn) {
      const size = sizeOf(byte, insn);
      // bits 32-63 are not part of a shorter immediate
      const value = size === 64 ? t.immediate() : t.wide.constant(insn.immLow, 0);
      t.writeWide(size, insn.rm, value);
    },
  })),
  ...byteAndWord((byte) => ({
    name: 'MOV',
    enc: byte ? 'C6 /0 ib' : 'C7 /0 iz',
    args: byte ? 'Eb:w, Ib' : 'Ev:w, Iz',
    translate: (t, insn) => t.writeRmWide(sizeOf(byte, insn), t.immediate()),
  })),
  ...byteAndWord((byte) => ({
    name: 'MOV',
    enc: `${byte ? 'A0' : 'A1'} moffs`,
    args: byte ? 'AL:w, Ob:r' : 'rAX:w, Ov:r',
    translate(t, insn) {
      const size = sizeOf(byte, insn);
      t.writeWide(size, reg.AX, t.loadWide(size, moffs(t, size >> 3, false)));
    },
  })),
  ...byteAndWord((byte) => ({
    name: 'MOV',
    enc: `${byte ? 'A2' : 'A3'} moffs`,
    args: byte ? 'Ob:w, AL:r' : 'Ov:w, rAX:r',
    translate(t, insn) {
      const size = sizeOf(byte, insn);
      t.storeWide(size, moffs(t, size >> 3, true), t.readWide(size, reg.AX));
    },
  })),
  ...(['MOVZX', 'MOVSX'] as const).flatMap((name): InsnRow[] =>
    ([8, 16] as const).map((from) => ({
      name,
      enc: `0F ${hex((name === 'MOVZX' ? 0xb6 : 0xbe) + (from === 16 ? 1 : 0))} /r`,
      args: from === 8 ? 'Gv:w, Eb:r' : 'Gv:w, Ew:r',
      translate(t, insn) {
        const value = t.readRmWide(from);
        t.writeWide(insn.opSize, insn.reg, name === 'MOVZX' ? t.wide.clean(from, value) : t.wide.signed(from, value));
      },
    })),
  ),
  {
    name: 'MOVSXD',
    enc: '63 /r O64',
    args: 'Gv:w, Ez:r',
    translate(t, insn) {
      const from = insn.opSize === 16 ? 16 : 32;
      t.writeWide(insn.opSize, insn.reg, t.wide.signed(from, t.readRmWide(from)));
    },
  },
  {
    name: 'LEA',
    enc: '8D /r',
    args: 'Gv:w, M',
    translate: (t, insn) => t.writeWide(insn.opSize, insn.reg, t.effectiveAddress()),
  },
  ...byteAndWord((byte) => ({
    name: 'XCHG',
    enc: `${byte ? '86' : '87'} /r`,
    args: byte ? 'Eb:rw, Gb:rw' : 'Ev:rw, Gv:rw',
    lock: true,
    translate(t, insn) {
      const size = sizeOf(byte, insn);
      const old = t.readRmWide(size, true);
      t.writeRmWide(size, t.readWide(size, insn.reg));
      t.writeWide(size, insn.reg, old);
    },
  })),
  {
    name: 'XCHG',
    enc: '90+r',
    args: 'Zv:rw, rAX:rw',
    translate(t, insn) {
      // 90 itself is NOP: it does not even clear the upper half of RAX
      if (insn.rm !== 0) exchangeWithAccumulator(t);
    },
  },
  {
    name: 'PAUSE',
    enc: 'F3 90',
    args: '',
    translate(t, insn) {
      if (insn.rm !== 0) exchangeWithAccumulator(t);
      // A block of one instruction has its own end.
      else if (t.mode.shared && !isAlone(t.mode)) leaveFor(t, leaveReason.pause);
    },
  },
  {
    name: 'XLAT',
    enc: 'D7',
    args: 'AL:rw',
    translate(t, insn) {
      const { b, wide } = t;
      const size = insn.addrSize;
      const table = t.readWide(size, reg.BX);
      const offset = wide.clean(size, b.i64_add(table, wide.clean(8, t.readWide(8, reg.AX))));
      const from = insn.segOverride >= 0 ? insn.segOverride : segment.DS;
      t.writeWide(8, reg.AX, t.loadWide(8, t.linear(from, offset, 1, false)));
    },
  },
  {
    name: 'BSWAP',
    enc: '0F C8+r',
    args: 'Zv:rw',
    translate: (t, insn) =>
      t.writeWide(insn.opSize, insn.rm, swapBytes(t, insn.opSize, t.readWide(insn.opSize, insn.rm))),
  },
  {
    name: 'MOVBE',
    enc: '0F 38 F0 /r',
    args: 'Gv:w, Mv:r',
    cpuid: 'movbe',
    translate: (t, insn) => t.writeWide(insn.opSize, insn.reg, swapLoaded(t, t.readRmWide(insn.opSize))),
  },
  {
    name: 'MOVBE',
    enc: '0F 38 F1 /r',
    args: 'Mv:w, Gv:r',
    cpuid: 'movbe',
    translate: (t, insn) => t.writeRmWide(insn.opSize, swapLoaded(t, t.readWide(insn.opSize, insn.reg))),
  },
];

function moffs(t: Translator, bytes: number, write: boolean): I64 {
  const { insn } = t;
  const offset = t.wide.constant(insn.immLow, insn.immHigh);
  return t.linear(insn.segOverride >= 0 ? insn.segOverride : segment.DS, offset, bytes, write);
}

function exchangeWithAccumulator(t: Translator): void {
  const { insn } = t;
  const old = t.readWide(insn.opSize, insn.rm);
  const accumulator = t.readWide(insn.opSize, reg.AX);
  t.writeWide(insn.opSize, insn.rm, accumulator);
  t.writeWide(insn.opSize, reg.AX, old);
}

/** BSWAP: of 16 bits it is undefined; processors give 0. */
function swapBytes(t: Translator, size: 16 | 32 | 64, value: I64): I64 {
  const { b, wide } = t;
  if (size === 16) return wide.small(0);
  if (size === 32) {
    const x = wide.narrow(value);
    const even = b.i32_and(b.i32_rotl(x, b.i32(8)), b.i32(0x00ff00ff));
    const odd = b.i32_and(b.i32_rotr(x, b.i32(8)), b.i32(0xff00ff00 | 0));
    return wide.widen(b.i32_or(even, odd), 32);
  }
  const pairs = (x: I64, mask: I64, by: number): I64 =>
    b.i64_or(b.i64_shl(b.i64_and(x, mask), wide.small(by)), b.i64_and(b.i64_shr_u(x, wide.small(by)), mask));
  const bytes = pairs(value, b.i64pair(0x00ff00ff, 0x00ff00ff), 8);
  const words = pairs(bytes, b.i64pair(0x0000ffff, 0x0000ffff), 16);
  return b.i64_rotl(words, wide.small(32));
}

/** MOVBE: 16 bits too. */
function swapLoaded(t: Translator, value: I64): I64 {
  const { b, wide, insn } = t;
  if (insn.opSize !== 16) return swapBytes(t, insn.opSize, value);
  const x = wide.clean(16, value);
  return b.i64_or(b.i64_shl(x, wide.small(8)), b.i64_shr_u(x, wide.small(8)));
}

const stackRows: InsnRow[] = [
  {
    name: 'PUSH',
    enc: '50+r',
    args: 'Zv:r',
    default64: true,
    translate: (t, insn) => t.push(insn.opSize, t.readWide(insn.opSize, insn.rm)),
  },
  {
    name: 'PUSH',
    enc: 'FF /6',
    args: 'Ev:r',
    default64: true,
    translate: (t, insn) => t.push(insn.opSize, t.readRmWide(insn.opSize)),
  },
  {
    name: 'PUSH',
    enc: '68 iz',
    args: 'Iz',
    default64: true,
    translate: (t, insn) => t.push(insn.opSize, t.immediate()),
  },
  {
    name: 'PUSH',
    enc: '6A ib',
    args: 'Ibs',
    default64: true,
    translate: (t, insn) => t.push(insn.opSize, t.immediate()),
  },
  {
    name: 'POP',
    enc: '58+r',
    args: 'Zv:w',
    default64: true,
    translate(t, insn) {
      const value = t.peekStack(insn.opSize);
      t.moveStack(insn.opSize >> 3);
      t.writeWide(insn.opSize, insn.rm, value);
    },
  },
  {
    name: 'POP',
    enc: '8F /0',
    args: 'Ev:w',
    default64: true,
    translate(t, insn) {
      const bytes = insn.opSize >> 3;
      const value = t.peekStack(insn.opSize);
      if (insn.isReg) {
        t.moveStack(bytes);
        t.writeWide(insn.opSize, insn.rm, value);
        return;
      }
      // An address that uses rSP uses it as it is after the pop.
      const address = insn.base === reg.SP ? t.addressPlus(bytes) : t.address();
      t.storeWide(insn.opSize, address, value);
      t.moveStack(bytes);
    },
  },
  {
    name: 'PUSHA',
    enc: '60 I64',
    args: '',
    translate(t, insn) {
      const { b, wide } = t;
      const size = insn.opSize;
      const bytes = size >> 3;
      const top = t.readWide(t.stackSize, reg.SP);
      let offset = top;
      for (let n = 0; n < 8; n++) {
        offset = wide.clean(t.stackSize, b.i64_sub(top, wide.small(bytes * (n + 1))));
        t.storeWide(size, t.linear(segment.SS, offset, bytes, true), t.readWide(size, n));
      }
      t.writeWide(t.stackSize, reg.SP, offset);
    },
  },
  {
    name: 'POPA',
    enc: '61 I64',
    args: '',
    translate(t, insn) {
      const size = insn.opSize;
      const bytes = size >> 3;
      const values: I64[] = [];
      // From the top of the stack on, so that a fault names the first page that is missing; SP's slot is read, and forgotten.
      for (let n = 7; n >= 0; n--) values[n] = t.peekStack(size, bytes * (7 - n));
      for (let n = 0; n < 8; n++) if (n !== reg.SP) t.writeWide(size, n, values[n]);
      t.moveStack(8 * bytes);
    },
  },
  {
    name: 'ENTER',
    enc: 'C8 iw ib',
    args: 'Iw, Ib',
    default64: true,
    translate(t, insn) {
      const { b, wide } = t;
      const size = insn.opSize;
      const bytes = size >> 3;
      const level = insn.imm2 & 31;
      const top = t.readWide(t.stackSize, reg.SP);
      const frame = t.readWide(t.stackSize, reg.BP);
      const at = (from: I64, distance: number, write: boolean): I64 => {
        const offset = wide.clean(t.stackSize, b.i64_sub(from, wide.small(distance)));
        return t.linear(segment.SS, offset, bytes, write);
      };
      t.storeWide(size, at(top, bytes, true), t.readWide(size, reg.BP));
      const newFrame = b.i64_sub(top, wide.small(bytes));
      for (let n = 1; n < level; n++) {
        const link = t.loadWide(size, at(frame, n * bytes, false));
        t.storeWide(size, at(top, (n + 1) * bytes, true), link);
      }
      let used = bytes;
      if (level > 0) {
        used += level * bytes;
        t.storeWide(size, at(top, used, true), newFrame);
      }
      const end = wide.clean(t.stackSize, b.i64_sub(top, wide.small(used + insn.immLow)));
      // The end of the frame must be writable, though nothing is written there.
      t.loadWide(8, t.linear(segment.SS, end, 1, true), true);
      t.writeWide(t.stackSize === 64 ? 64 : size, reg.BP, newFrame);
      t.writeWide(t.stackSize, reg.SP, end);
    },
  },
  {
    name: 'LEAVE',
    enc: 'C9',
    args: '',
    default64: true,
    translate(t, insn) {
      const { b, wide } = t;
      const size = insn.opSize;
      const bytes = size >> 3;
      const frame = wide.clean(t.stackSize, t.readWide(t.stackSize, reg.BP));
      const value = t.loadWide(size, t.linear(segment.SS, frame, bytes, false));
      t.writeWide(t.stackSize, reg.SP, b.i64_add(frame, wide.small(bytes)));
      t.writeWide(size, reg.BP, value);
    },
  },
];

const conditionNames = [
  'O',
  'NO',
  'B',
  'AE',
  'E',
  'NE',
  'BE',
  'A',
  'S',
  'NS',
  'P',
  'NP',
  'L',
  'GE',
  'LE',
  'G',
] as const;
const conditionFlags = ['O', 'C', 'Z', 'CZ', 'S', 'P', 'SO', 'ZSO'] as const;

const conditionalRows: InsnRow[] = conditionNames.flatMap((condition, code): InsnRow[] => [
  {
    name: `CMOV${condition}`,
    enc: `0F ${hex(0x40 + code)} /r`,
    args: 'Gv:rw, Ev:r',
    cpuid: 'cmov',
    flags: { r: conditionFlags[code >> 1] },
    translate(t, insn) {
      const value = t.readRmWide(insn.opSize);
      const taken = t.flags.condition(code);
      t.writeWide(insn.opSize, insn.reg, t.b.select(taken, value, t.readWide(insn.opSize, insn.reg)));
    },
  },
  {
    name: `SET${condition}`,
    enc: `0F ${hex(0x90 + code)} /r`,
    args: 'Eb:w',
    flags: { r: conditionFlags[code >> 1] },
    translate: (t) => t.writeRmWide(8, t.wide.widen(t.flags.condition(code), 1)),
  },
]);

const exchangeRows: InsnRow[] = [
  ...byteAndWord((byte) => ({
    name: 'XADD',
    enc: `0F ${byte ? 'C0' : 'C1'} /r`,
    args: byte ? 'Eb:rw, Gb:rw' : 'Ev:rw, Gv:rw',
    flags: ALL_FLAGS,
    lock: true,
    translate(t, insn) {
      const size = sizeOf(byte, insn);
      const old = t.readRmWide(size, true);
      const added = t.readWide(size, insn.reg);
      const sum = t.b.i64_add(old, added);
      if (insn.isReg) {
        t.writeWide(size, insn.reg, old);
        t.writeWide(size, insn.rm, sum);
      } else {
        t.writeRmWide(size, sum);
        t.writeWide(size, insn.reg, old);
      }
      t.flags.set(flagKind.add, size, sum, added);
    },
  })),
  ...byteAndWord((byte) => ({
    name: 'CMPXCHG',
    enc: `0F ${byte ? 'B0' : 'B1'} /r`,
    args: byte ? 'Eb:rw, Gb:r, AL:rw' : 'Ev:rw, Gv:r, rAX:rw',
    flags: ALL_FLAGS,
    lock: true,
    translate(t, insn) {
      const { b, wide } = t;
      const size = sizeOf(byte, insn);
      const old = t.readRmWide(size, true);
      const accumulator = t.readWide(size, reg.AX);
      const same = wide.equal(size, accumulator, old, false);
      const source = t.readWide(size, insn.reg);
      if (size === 32) {
        // What is not written keeps even its upper half: the accumulator where they are equal, a destination register where not.
        const whole = t.readWide(64, reg.AX);
        if (insn.isReg) t.writeWide(64, insn.rm, b.select(same, wide.clean(32, source), t.readWide(64, insn.rm)));
        else t.storeWide(32, t.address(), b.select(same, source, old));
        if (!insn.isReg || insn.rm !== reg.AX) t.writeWide(64, reg.AX, b.select(same, whole, wide.clean(32, old)));
      } else {
        t.writeRmWide(size, b.select(same, source, old));
        if (!insn.isReg || insn.rm !== reg.AX) t.writeWide(size, reg.AX, b.select(same, accumulator, old));
      }
      t.flags.set(flagKind.sub, size, accumulator, old);
    },
  })),
  {
    name: 'CMPXCHG8B',
    enc: 'REX.W0 0F C7 /1 m',
    args: 'Mq:rw',
    cpuid: 'cx8',
    flags: { w: 'Z' },
    lock: true,
    translate(t) {
      const { b, wide } = t;
      const old = t.load(64, t.address(), true);
      const pair = (high: number, low: number): I64 =>
        b.i64_or(b.i64_shl(t.readWide(32, high), wide.small(32)), wide.clean(32, t.readWide(32, low)));
      const same = b.i64_eq(old, pair(reg.DX, reg.AX));
      t.store(64, t.address(), b.select(same, pair(reg.CX, reg.BX), old));
      for (const [n, value] of [
        [reg.AX, wide.clean(32, old)],
        [reg.DX, b.i64_shr_u(old, wide.small(32))],
      ] as const) {
        t.writeWide(64, n, b.select(same, t.readWide(64, n), value));
      }
      setZero(t, same);
    },
  },
  {
    name: 'CMPXCHG16B',
    enc: 'REX.W 0F C7 /1 m',
    args: 'Mdq:rw',
    cpuid: 'cx16',
    flags: { w: 'Z' },
    lock: true,
    translate(t) {
      const { b } = t;
      const address = t.address();
      t.faultIf(b.i32_and(b.i32_wrap_i64(address), b.i32(15)), vector.GP, 0);
      const upper = t.addressPlus(8);
      const low = t.load(64, address, true);
      const high = t.load(64, upper, true);
      const same = b.i32_and(b.i64_eq(low, t.readWide(64, reg.AX)), b.i64_eq(high, t.readWide(64, reg.DX)));
      t.store(64, address, b.select(same, t.readWide(64, reg.BX), low));
      t.store(64, upper, b.select(same, t.readWide(64, reg.CX), high));
      t.writeWide(64, reg.AX, b.select(same, t.readWide(64, reg.AX), low));
      t.writeWide(64, reg.DX, b.select(same, t.readWide(64, reg.DX), high));
      setZero(t, same);
    },
  },
];

/** ZF alone. */
function setZero(t: Translator, zero: ReturnType<Translator['readStatusFlags']>): void {
  const { b } = t;
  const rest = b.i32_and(t.readStatusFlags(), b.i32(~statusFlag.ZF));
  t.writeStatusFlags(b.i32_or(rest, b.i32_shl(zero, b.i32(6))));
}

export { conditionFlags, conditionNames };
export const integerMoveRows: readonly InsnRow[] = [...moveRows, ...stackRows, ...conditionalRows, ...exchangeRows];
