/** Masks, moves between elements, and what else looks at several of them (unprivileged specification 31.15, 31.16). */
import type { I32, I64, Local, RoutineBuilder } from '../../../ir/index.js';
import { routines } from '../routines/set.js';
import { field } from '../state.js';
import { defineVector, Elements, second } from './elements.js';

/** A mask register of two others, bit by bit. */
function logical(name: string, operation: (r: RoutineBuilder, x: I32, y: I32) => I32) {
  return defineVector(name, ({ r, e, vd, vs2, vs1 }) => {
    e.each((n) => e.putMaskBit(vd, n, r.i32_and(operation(r, e.maskBit(vs2, n), e.maskBit(vs1, n)), r.i32(1))), false);
  });
}
const flip = (r: RoutineBuilder, bit: I32): I32 => r.i32_xor(bit, r.i32(1));

export const masks = {
  and: logical('mand', (r, x, y) => r.i32_and(x, y)),
  nand: logical('mnand', (r, x, y) => flip(r, r.i32_and(x, y))),
  andn: logical('mandn', (r, x, y) => r.i32_and(x, flip(r, y))),
  xor: logical('mxor', (r, x, y) => r.i32_xor(x, y)),
  or: logical('mor', (r, x, y) => r.i32_or(x, y)),
  nor: logical('mnor', (r, x, y) => flip(r, r.i32_or(x, y))),
  orn: logical('morn', (r, x, y) => r.i32_or(x, flip(r, y))),
  xnor: logical('mxnor', (r, x, y) => flip(r, r.i32_xor(x, y))),
} as const;

/** Bits set before, up to and including, or at the first bit that is set. */
function firstBit(name: string, before: number, at: number) {
  return defineVector(name, ({ r, e, vd, vs2 }) => {
    const found = r.local('i32', r.i32(0));
    e.each((n) => {
      const isFirst = r.i32_and(e.maskBit(vs2, n), r.i32_eqz(r.read(found)));
      const value = r.select(isFirst, r.i32(at), r.select(r.read(found), r.i32(0), r.i32(before)));
      r.assign(found, r.i32_or(r.read(found), isFirst));
      e.putMaskBit(vd, n, value);
    });
  });
}
export const setBefore = {
  sbf: firstBit('msbf', 1, 0),
  sif: firstBit('msif', 1, 1),
  sof: firstBit('msof', 0, 1),
} as const;

/** (vs2, info): how many active bits of a mask are set; the number of the first, or -1. */
export const population = routines.define('v_cpop', ['i32', 'i32'], ['i64'], {}, (r, vs2, bits) => {
  const e = new Elements(r, bits);
  const count = r.local('i64', r.i64(0));
  e.each((n) => r.assign(count, r.i64_add(r.read(count), r.i64_extend_i32_u(e.maskBit(vs2, n)))));
  e.finish();
  r.ret(r.read(count));
});
export const first = routines.define('v_first', ['i32', 'i32'], ['i64'], {}, (r, vs2, bits) => {
  const e = new Elements(r, bits);
  e.each((n) =>
    r.if(e.maskBit(vs2, n), () => {
      e.finish();
      r.ret(r.i64_extend_i32_u(n));
    }),
  );
  e.finish();
  r.ret(r.i64(-1));
});

export const iota = defineVector('iota', ({ r, e, vd, vs2 }) => {
  const count = r.local('i64', r.i64(0));
  e.each((n) => {
    e.put(vd, n, r.read(count));
    r.assign(count, r.i64_add(r.read(count), r.i64_extend_i32_u(e.maskBit(vs2, n))));
  });
});
export const identity = defineVector('id', ({ r, e, vd }) => e.each((n) => e.put(vd, n, r.i64_extend_i32_u(n))));

/** vs1 or the scalar. */
export const copy = defineVector('copy', (o) => o.e.each((n) => o.e.put(o.vd, n, second(o, n, false)), false));
/** vs1 or the scalar where v0 has a bit, else vs2. */
export const merge = defineVector('merge', (o) => {
  const { r, e, vd, vs2 } = o;
  e.each((n) => {
    const other = e.get('vs2', vs2, n, false);
    e.put(vd, n, r.select(e.carry(n), second(o, n, false), other));
  }, false);
});

/** Element 0 alone. */
export const setFirst = defineVector('set_first', ({ r, e, vd, scalar }) => {
  r.if(r.i32_lt_u(e.field(field.vstart), e.field(field.vl)), () => e.put(vd, r.i32(0), scalar));
});
/** (vs2, info): element 0, sign-extended. */
export const getFirst = routines.define('v_get_first', ['i32', 'i32'], ['i64'], {}, (r, vs2, bits) => {
  const e = new Elements(r, bits);
  const value = e.get('vs2', vs2, r.i32(0), true);
  e.finish();
  r.ret(value);
});

/** Whole registers: bytes from, to, count; from vstart on, which counts elements. */
export const copyRegisters = routines.define(
  'v_move',
  ['i32', 'i32', 'i32', 'i32'],
  [],
  {},
  (r, vd, vs2, count, bits) => {
    const e = new Elements(r, bits);
    const done = r.i32_shl(e.field(field.vstart), e.width('vd'));
    r.if(r.i32_lt_u(done, count), () => {
      const to = r.i32_add(e.host(vd), done);
      r.memory_copy(to, r.i32_add(e.host(vs2), done), r.i32_sub(count, done));
    });
    e.finish();
    r.ret();
  },
);

const whole = (r: RoutineBuilder, n: I32): I64 => r.i64_extend_i32_u(n);

export const slides = {
  up: defineVector('slideup', ({ r, e, vd, vs2, scalar }) =>
    e.each((n) => {
      r.if(r.i64_ge_u(whole(r, n), scalar), () => {
        const from = r.i32_sub(n, r.i32_wrap_i64(scalar));
        e.put(vd, n, e.get('vs2', vs2, from, false));
      });
    }),
  ),
  down: defineVector('slidedown', ({ r, e, vd, vs2, scalar }) => {
    const most = whole(r, e.field(field.vlmax));
    e.each((n) => {
      const from = r.i64_add(whole(r, n), scalar);
      const value = r.local('i64', r.i64(0));
      // A sum that wraps is none.
      const inside = r.i32_and(r.i64_lt_u(scalar, most), r.i64_lt_u(from, most));
      r.if(inside, () => r.assign(value, e.get('vs2', vs2, r.i32_wrap_i64(from), false)));
      e.put(vd, n, r.read(value));
    });
  }),
  oneUp: defineVector('slide1up', ({ r, e, vd, vs2, scalar }) =>
    e.each((n) => {
      const value = r.local('i64', scalar);
      r.if(n, () => r.assign(value, e.get('vs2', vs2, r.i32_sub(n, r.i32(1)), false)));
      e.put(vd, n, r.read(value));
    }),
  ),
  oneDown: defineVector('slide1down', ({ r, e, vd, vs2, scalar }) => {
    const last = r.i32_sub(e.field(field.vl), r.i32(1));
    e.each((n) => {
      const value = r.local('i64', scalar);
      r.if(r.i32_ne(n, last), () => r.assign(value, e.get('vs2', vs2, r.i32_add(n, r.i32(1)), false)));
      e.put(vd, n, r.read(value));
    });
  }),
} as const;

/** The element of vs2 whose number vs1 or the scalar gives; 0 where there is none. */
export const gather = defineVector('gather', (o) => {
  const { r, e, vd, vs2 } = o;
  const most = whole(r, e.field(field.vlmax));
  e.each((n) => {
    const from = second(o, n, false);
    const value: Local<'i64'> = r.local('i64', r.i64(0));
    r.if(r.i64_lt_u(from, most), () => r.assign(value, e.get('vs2', vs2, r.i32_wrap_i64(from), false)));
    e.put(vd, n, r.read(value));
  });
});

/** Elements of vs2 whose bit in the mask vs1 is set, one behind the other. */
export const compress = defineVector('compress', ({ r, e, vd, vs2, vs1 }) => {
  const to = r.local('i32', r.i32(0));
  e.each((n) => {
    r.if(e.maskBit(vs1, n), () => {
      e.put(vd, r.read(to), e.get('vs2', vs2, n, false));
      r.assign(to, r.i32_add(r.read(to), r.i32(1)));
    });
  }, false);
});
