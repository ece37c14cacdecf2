/** Breakpoints of the debug registers: Intel SDM vol. 3, 17.2. */
import { header, type I32 } from '../../../ir/index.js';
import { routines } from '../routines/set.js';
import { field, trapCode } from '../state.js';
import { dr6, eflag, vector } from './bits.js';

/** Called before an instruction at a linear address if the mode key has instructionBreak: → fault (#DB) on a hit. */
export const instructionBreakpoint = routines.define(
  'instruction_breakpoint',
  ['i64'],
  ['i32'],
  { mayFault: true },
  (r, at) => {
    const s = r.state();
    const flags = r.i32_load(s, field.eflags);
    // RF lets one instruction pass.
    r.if(r.i32_and(flags, r.i32(eflag.RF)), () => {
      r.i32_store(s, r.i32_and(flags, r.i32(~eflag.RF)), field.eflags);
      r.ret(r.i32(0));
    });
    const enabled = r.i32_load(s, field.dr + 8 * 7);
    const hits = r.local('i32', r.i32(0));
    for (let n = 0; n < 4; n++) {
      const isExecute = r.i32_eqz(r.i32_and(enabled, r.i32(3 << (16 + 4 * n))));
      const on = r.i32_ne(r.i32_and(enabled, r.i32(3 << (2 * n))), r.i32(0));
      const same = r.i64_eq(r.i64_load(s, field.dr + 8 * n), at);
      const hit: I32 = r.i32_and(r.i32_and(isExecute, on), same);
      r.assign(hits, r.i32_or(r.read(hits), r.i32_shl(hit, r.i32(n))));
    }
    r.if(r.i32_eqz(r.read(hits)), () => r.ret(r.i32(0)));
    const status = r.i32_and(r.i32_load(s, field.dr + 8 * 6), r.i32(~15));
    r.i32_store(s, r.i32_or(status, r.read(hits)), field.dr + 8 * 6);
    r.i32_store(s, r.i32(trapCode(vector.DB)), header.trapCode);
    r.ret(r.i32(1));
  },
);

const dataAccess = routines.host('data_access', ['i64', 'i32', 'i32'], [], {});

/** Called with each data access (linear address, bytes, is a write) if the mode key has dataBreak; the trap comes after the instruction. */
export const dataBreakpoint = routines.define(
  'data_breakpoint',
  ['i64', 'i32', 'i32'],
  [],
  {},
  (r, at, bytes, write) => {
    const s = r.state();
    r.if(r.i32_load(s, field.watching), () => r.call(dataAccess, at, bytes, write));
    const enabled = r.i32_load(s, field.dr + 8 * 7);
    const last = r.i64_add(at, r.i64_extend_i32_u(r.i32_sub(bytes, r.i32(1))));
    for (let n = 0; n < 4; n++) {
      const kind = r.i32_and(r.i32_shr_u(enabled, r.i32(16 + 4 * n)), r.i32(3));
      const wanted = r.i32_or(r.i32_eq(kind, r.i32(3)), r.i32_and(r.i32_eq(kind, r.i32(1)), write));
      const on = r.i32_ne(r.i32_and(enabled, r.i32(3 << (2 * n))), r.i32(0));
      const encoded = r.i32_and(r.i32_shr_u(enabled, r.i32(18 + 4 * n)), r.i32(3));
      // Lengths 1, 2, 8, 4.
      const length = r.select(r.i32_eq(encoded, r.i32(2)), r.i32(7), encoded);
      const mask = r.i64_extend_i32_u(length);
      const first = r.i64_and(r.i64_load(s, field.dr + 8 * n), r.i64_xor(mask, r.i64(-1)));
      const overlaps = r.i32_and(r.i64_le_u(first, last), r.i64_ge_u(r.i64_add(first, mask), at));
      r.if(r.i32_and(r.i32_and(wanted, on), overlaps), () => {
        r.i32_store(s, r.i32_or(r.i32_load(s, field.debugPending), r.i32(1 << n)), field.debugPending);
        r.i32_store(s, r.i32(1), header.kick);
      });
    }
    r.ret();
  },
);

/** Called at the start of an instruction if the mode key has singleStep: a trap follows it unless it faults. */
export const singleStep = routines.define('single_step', [], [], {}, (r) => {
  const s = r.state();
  r.i32_store(s, r.i32_or(r.i32_load(s, field.debugPending), r.i32(dr6.BS)), field.debugPending);
  r.i32_store(s, r.i32(1), header.kick);
  r.ret();
});
