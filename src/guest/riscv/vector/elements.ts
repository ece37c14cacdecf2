/**
 * Elements of vector registers in routines (unprivileged specification ch. 31). A routine gets where in the state its operands'
 * registers lie, and in `info` how wide their elements are; it goes from vstart to vl, leaves what the mask excludes and the tail
 * as they are, which both policies allow, and ends with vstart 0.
 */
import type { I32, I64, Local, RoutineBuilder } from '../../../ir/index.js';
import { routines } from '../routines/set.js';
import { field } from '../state.js';

/** `info`: logarithms of an element's bytes in vd, vs2 and vs1; masked; a rounding mode. */
export const info = { vd: 0, vs2: 2, vs1: 4, masked: 1 << 6, rounding: 8 } as const;

export const infoOf = (widths: { vd: number; vs2: number; vs1: number }, masked: boolean): number =>
  (widths.vd << info.vd) | (widths.vs2 << info.vs2) | (widths.vs1 << info.vs1) | (masked ? info.masked : 0);

type Get = (r: RoutineBuilder, at: I32) => I64;

function defineGet(name: string, loads: readonly [Get, Get, Get, Get]) {
  return routines.define(name, ['i32', 'i32', 'i32'], ['i64'], {}, (r, base, n, width) => {
    const at = r.i32_add(base, r.i32_shl(n, width));
    for (const [i, load] of loads.slice(0, 3).entries()) r.if(r.i32_eq(width, r.i32(i)), () => r.ret(load(r, at)));
    r.ret(loads[3](r, at));
  });
}
/** (host address of a register, number of the element, logarithm of its bytes): the element, extended to 64 bits. */
const getUnsigned = defineGet('vector_get_u', [
  (r, at) => r.i64_load8_u(at, 0),
  (r, at) => r.i64_load16_u(at, 0),
  (r, at) => r.i64_load32_u(at, 0),
  (r, at) => r.i64_load(at, 0),
]);
const getSigned = defineGet('vector_get_s', [
  (r, at) => r.i64_extend8_s(r.i64_load8_u(at, 0)),
  (r, at) => r.i64_extend16_s(r.i64_load16_u(at, 0)),
  (r, at) => r.i64_load32_s(at, 0),
  (r, at) => r.i64_load(at, 0),
]);
const putElement = routines.define('vector_put', ['i32', 'i32', 'i32', 'i64'], [], {}, (r, base, n, width, value) => {
  const at = r.i32_add(base, r.i32_shl(n, width));
  const stores = [
    () => r.i64_store8(at, value, 0),
    () => r.i64_store16(at, value, 0),
    () => r.i64_store32(at, value, 0),
  ];
  for (const [i, store] of stores.entries())
    r.if(r.i32_eq(width, r.i32(i)), () => {
      store();
      r.ret();
    });
  r.i64_store(at, value, 0);
  r.ret();
});

/** The operands of a routine that goes over elements. */
export class Elements {
  readonly r: RoutineBuilder;
  readonly #info: I32;

  constructor(r: RoutineBuilder, bits: I32) {
    this.r = r;
    this.#info = bits;
  }

  /** Logarithm of an element's bytes. */
  width(operand: 'vd' | 'vs2' | 'vs1'): I32 {
    const { r } = this;
    return r.i32_and(r.i32_shr_u(this.#info, r.i32(info[operand])), r.i32(3));
  }
  /** Bits of an element. */
  bits(operand: 'vd' | 'vs2' | 'vs1'): I64 {
    const { r } = this;
    return r.i64_shl(r.i64(8), r.i64_extend_i32_u(this.width(operand)));
  }
  get rounding(): I32 {
    const { r } = this;
    return r.i32_and(r.i32_shr_u(this.#info, r.i32(info.rounding)), r.i32(7));
  }
  get isMasked(): I32 {
    return this.r.i32_and(this.#info, this.r.i32(info.masked));
  }
  /** Host address of a register, whose place in the state is given. */
  host(register: I32): I32 {
    return this.r.i32_add(this.r.state(), register);
  }
  get(operand: 'vd' | 'vs2' | 'vs1', register: I32, n: I32, signed: boolean): I64 {
    return this.r.call(signed ? getSigned : getUnsigned, this.host(register), n, this.width(operand))[0];
  }
  put(register: I32, n: I32, value: I64): void {
    this.r.call(putElement, this.host(register), n, this.width('vd'), value);
  }

  field(offset: number): I32 {
    return this.r.i32_load(this.r.state(), offset);
  }

  /** Bit `n` of a mask register. */
  maskBit(register: I32, n: I32): I32 {
    const { r } = this;
    const byte = r.i32_load8_u(r.i32_add(this.host(register), r.i32_shr_u(n, r.i32(3))), 0);
    return r.i32_and(r.i32_shr_u(byte, r.i32_and(n, r.i32(7))), r.i32(1));
  }
  putMaskBit(register: I32, n: I32, value: I32): void {
    const { r } = this;
    const at = r.i32_add(this.host(register), r.i32_shr_u(n, r.i32(3)));
    const place = r.i32_and(n, r.i32(7));
    const kept = r.i32_and(r.i32_load8_u(at, 0), r.i32_xor(r.i32_shl(r.i32(1), place), r.i32(-1)));
    r.i32_store8(at, r.i32_or(kept, r.i32_shl(value, place)), 0);
  }
  /** Bit `n` of v0. */
  get #v0(): I32 {
    return this.r.i32(field.vectors);
  }
  isActive(n: I32): I32 {
    return this.r.i32_or(this.r.i32_eqz(this.isMasked), this.maskBit(this.#v0, n));
  }
  carry(n: I32): I32 {
    return this.maskBit(this.#v0, n);
  }

  /** From vstart to vl; `active`: only what the mask lets through. */
  each(body: (n: I32) => void, active = true): void {
    const { r } = this;
    const at: Local<'i32'> = r.local('i32', this.field(field.vstart));
    const end = r.local('i32', this.field(field.vl));
    r.block((done) => {
      r.loop((again) => {
        const n = r.read(at);
        r.brIf(done, r.i32_ge_u(n, r.read(end)));
        if (active) r.if(this.isActive(n), () => body(n));
        else body(n);
        r.assign(at, r.i32_add(n, r.i32(1)));
        r.br(again);
      });
    });
  }

  /** vstart is 0 at the end of every instruction. */
  finish(): void {
    this.r.i32_store(this.r.state(), this.r.i32(0), field.vstart);
  }
}

/** Operands of most routines: where vd, vs2 and vs1 lie in the state (vs1 0: the scalar is used), a scalar, and info. */
export const operandTypes = ['i32', 'i32', 'i32', 'i64', 'i32'] as const;
export interface Operands {
  readonly r: RoutineBuilder;
  readonly e: Elements;
  readonly vd: I32;
  readonly vs2: I32;
  readonly vs1: I32;
  readonly scalar: I64;
}

export function defineVector(name: string, build: (o: Operands) => void) {
  return routines.define(`v_${name}`, operandTypes, [], {}, (r, vd, vs2, vs1, scalar, bits) => {
    const e = new Elements(r, bits);
    build({ r, e, vd, vs2, vs1, scalar });
    e.finish();
    r.ret();
  });
}
export type VectorRoutine = ReturnType<typeof defineVector>;

/** The element of vs1, or the scalar. */
export function second({ r, e, vs1, scalar }: Operands, n: I32, signed: boolean): I64 {
  const y = r.local('i64', scalar);
  r.if(vs1, () => r.assign(y, e.get('vs1', vs1, n, signed)));
  return r.read(y);
}
