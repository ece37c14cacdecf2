/** Guest memory for the JavaScript side: routines whose size and MMU context are chosen at run time. */
import { access, type I32, type I64, type RoutineBuilder } from '../../../ir/index.js';
import { implicitAccess, mmuIndex } from '../mode.js';
import { routines } from '../routines/set.js';

/** How a memory routine accesses: as the running program, as the CPU itself (descriptor tables, inner stacks), or as CPL 3. */
export const asWhom = { current: 0, system: 1, user: 2 } as const;

function choose(r: RoutineBuilder, whom: I32, body: (immediate: number) => void): void {
  r.if(r.i32_eqz(whom), () => {
    body(0);
  });
  r.if(r.i32_eq(whom, r.i32(asWhom.system)), () => {
    body(implicitAccess);
  });
  body(mmuIndex.user + 1);
}

const unsigned = (r: RoutineBuilder, value: I32): I64 => r.i64_extend_i32_u(value);

/** (linear address, bytes: 1, 2, 4 or 8, asWhom) → (fault, value). */
export const systemLoad = routines.define(
  'system_load',
  ['i64', 'i32', 'i32'],
  ['i32', 'i64'],
  { mayFault: true },
  (r, va, size, whom) => {
    choose(r, whom, (immediate) => {
      r.if(r.i32_eq(size, r.i32(8)), () => r.ret(r.i32(0), r.guest_load64(va, immediate)));
      r.if(r.i32_eq(size, r.i32(4)), () => r.ret(r.i32(0), unsigned(r, r.guest_load32(va, immediate))));
      r.if(r.i32_eq(size, r.i32(2)), () => r.ret(r.i32(0), unsigned(r, r.guest_load16(va, immediate))));
      r.ret(r.i32(0), unsigned(r, r.guest_load8(va, immediate)));
    });
  },
);

/** (linear address, value, bytes, asWhom) → fault. */
export const systemStore = routines.define(
  'system_store',
  ['i64', 'i64', 'i32', 'i32'],
  ['i32'],
  { mayFault: true },
  (r, va, value, size, whom) => {
    choose(r, whom, (immediate) => {
      const low = r.i32_wrap_i64(value);
      r.if(r.i32_eq(size, r.i32(8)), () => {
        r.guest_store64(va, value, immediate);
        r.ret(r.i32(0));
      });
      r.if(r.i32_eq(size, r.i32(4)), () => {
        r.guest_store32(va, low, immediate);
        r.ret(r.i32(0));
      });
      r.if(r.i32_eq(size, r.i32(2)), () => {
        r.guest_store16(va, low, immediate);
        r.ret(r.i32(0));
      });
      r.guest_store8(va, low, immediate);
      r.ret(r.i32(0));
    });
  },
);

/** Faults as a write to the address would, and writes nothing: (linear address, asWhom) → fault. */
export const systemProbeWrite = routines.define(
  'system_probe_write',
  ['i64', 'i32'],
  ['i32'],
  { mayFault: true },
  (r, va, whom) => {
    choose(r, whom, (immediate) => {
      r.guest_load8(va, immediate | access.forWrite);
      r.ret(r.i32(0));
    });
  },
);
