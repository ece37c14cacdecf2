/**
 * MASKMOVQ and MASKMOVDQU: bytes chosen by a mask to DS:rDI (or another segment by prefix). As processors do it, the whole
 * operand must be writable whatever the mask says, and of 16 bytes the upper eight are looked at first.
 */
import type { I64 } from '../../../ir/index.js';
import { storeMasked } from '../routines/sse-masked-store.js';
import { field } from '../state.js';
import type { InsnRow, Translator } from '../translator.js';
import { enterMmxAndStore, toVector } from './vector.js';

const DS = 3;
const RDI = 7;

/** Linear addresses end at 2^32 outside 64-bit code. */
function wrapMask(t: Translator): I64 {
  return t.codeSize === 64 ? t.b.i64(-1) : t.b.i64(0xffffffff);
}

/** Where the bytes go: a page fault of a write if they must not. */
function target(t: Translator, bytes: 8 | 16): I64 {
  const { b, insn } = t;
  const offset = insn.addrSize === 64 ? t.readGpr(64, RDI) : b.i64_extend_i32_u(t.readGpr(insn.addrSize, RDI));
  const address = t.linear(insn.segOverride >= 0 ? insn.segOverride : DS, offset, bytes, true);
  if (bytes === 16) t.load(64, b.i64_and(b.i64_add(address, b.i64(8)), wrapMask(t)), true);
  t.load(64, address, true);
  return address;
}

/** The instruction on 8 (MMX) or 16 bytes. */
export function maskedStore(bytes: 8 | 16): InsnRow['translate'] {
  return (t, insn) => {
    const b = t.b;
    if (bytes === 8) {
      enterMmxAndStore(t);
      // here the registers are valid too by the time the store faults
      b.i32_store(b.state(), b.i32(0), field.fpEmpty);
      const address = target(t, bytes);
      const mask = b.i32_and(b.i8x16_bitmask(toVector(b, t.readMm(insn.rm & 7))), b.i32(0xff));
      b.call(storeMasked, address, wrapMask(t), t.readMm(insn.reg & 7), b.i64(0), mask);
      return;
    }
    const address = target(t, bytes);
    const x = t.readXmm(insn.reg);
    const [low, high] = [b.i64x2_extract_lane(x, 0), b.i64x2_extract_lane(x, 1)];
    b.call(storeMasked, address, wrapMask(t), low, high, b.i8x16_bitmask(t.readXmm(insn.rm)));
  };
}
