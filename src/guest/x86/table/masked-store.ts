/** MASKMOVQ and MASKMOVDQU: bytes chosen by a mask to DS:rDI (or another segment by prefix). */
import { storeMasked } from '../routines/sse-masked-store.js';
import type { InsnRow } from '../translator.js';
import { toVector } from './vector.js';

const DS = 3;
const RDI = 7;

/** The instruction on 8 (MMX) or 16 bytes. */
export function maskedStore(bytes: 8 | 16): InsnRow['translate'] {
  return (t, insn) => {
    if (bytes === 8) t.enterMmx();
    const b = t.b;
    const offset = insn.addrSize === 64 ? t.readGpr(64, RDI) : b.i64_extend_i32_u(t.readGpr(insn.addrSize, RDI));
    const address = t.linear(insn.segOverride >= 0 ? insn.segOverride : DS, offset, bytes, true);
    if (bytes === 8) {
      const mask = b.i32_and(b.i8x16_bitmask(toVector(b, t.readMm(insn.rm & 7))), b.i32(0xff));
      b.call(storeMasked, address, t.readMm(insn.reg & 7), b.i64(0), mask);
      return;
    }
    const x = t.readXmm(insn.reg);
    b.call(
      storeMasked,
      address,
      b.i64x2_extract_lane(x, 0),
      b.i64x2_extract_lane(x, 1),
      b.i8x16_bitmask(t.readXmm(insn.rm)),
    );
  };
}
