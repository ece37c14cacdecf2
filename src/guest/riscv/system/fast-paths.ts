/**
 * What kernels do at every system call, without JavaScript: system calls from U-mode that are delegated to S-mode, SRET, and writes of
 * sstatus. Each does what the hart does for all traps and returns (hart.ts); what is rare is left to it.
 */
import { header, type I32, type I64, type RoutineBuilder } from '../../../ir/index.js';
import { FS_SHIFT, mmuIndex, VS_SHIFT } from '../mode.js';
import { engine, routines } from '../routines/set.js';
import { cause, field, mstatus, privilege, trapCode } from '../state.js';
import { SSTATUS } from './csr.js';

/** (value, bits of it that are written): sstatus, where address translation may change with it. */
const writeSlowly = routines.host('write_sstatus', ['i64', 'i64'], [], {});

const bitOf = (r: RoutineBuilder, value: I64, bit: bigint): I32 => r.i64_ne(r.i64_and(value, r.i64(bit)), r.i64(0));

/** (S-mode or U-mode, mstatus): the mode key and the translation context (mode.ts, `encodeMode` and `mmuOf`). */
const enterMode = routines.define('enter_mode', ['i32', 'i64'], [], {}, (r, level, status) => {
  const state = r.state();
  const isU = r.i32_eqz(level);
  const fs = r.i32_and(r.i32_wrap_i64(r.i64_shr_u(status, r.i64(13))), r.i32(3));
  const shown = r.select(r.i32_eq(fs, r.i32(3)), r.i32(2), r.i32_ne(fs, r.i32(0)));
  const vs = r.i32_and(r.i32_wrap_i64(r.i64_shr_u(status, r.i64(9))), r.i32(3));
  const shownVs = r.select(r.i32_eq(vs, r.i32(3)), r.i32(2), r.i32_ne(vs, r.i32(0)));
  const illegal = (bit: bigint, place: number) => r.i32_shl(bitOf(r, status, bit), r.i32(place));
  const inS = r.i32_or(illegal(mstatus.TW, 7), r.i32_or(illegal(mstatus.TSR, 8), illegal(mstatus.TVM, 9)));
  const rights = r.select(isU, r.i32(7 << 7), inS);
  const floating = r.i32_or(r.i32_shl(shown, r.i32(FS_SHIFT)), r.i32_shl(r.i32_load(state, field.frm), r.i32(4)));
  const vectors = r.i32_or(r.i32_load(state, field.modeBits), r.i32_shl(shownVs, r.i32(VS_SHIFT)));
  const key = r.i32_or(r.i32_or(level, vectors), r.i32_or(floating, rights));
  r.i32_store(state, key, header.modeKey);
  const supervisor = r.select(bitOf(r, status, mstatus.SUM), r.i32(mmuIndex.supervisorSum), r.i32(mmuIndex.supervisor));
  const mmu = r.local('i32', r.select(isU, r.i32(mmuIndex.user), supervisor));
  r.if(r.i32_ne(r.read(mmu), r.i32_load(state, header.mmu)), () => {
    r.call(engine.selectMmu, r.read(mmu));
  });
  r.ret();
});

/** (value, bits of it that are written) → what sstatus was; not 0: the mode or the translation is another, or an interrupt is pending. */
export const writeStatus = routines.define('change_sstatus', ['i64', 'i64'], ['i64', 'i32'], {}, (r, value, bits) => {
  const state = r.state();
  const mode = r.local('i32', r.i32_load(state, header.modeKey));
  const mmu = r.local('i32', r.i32_load(state, header.mmu));
  const old = r.local('i64', r.i64_load(state, field.mstatus));
  const mask = r.i64_and(bits, r.i64_load(state, field.sstatusWritable));
  const kept = r.i64_and(r.read(old), r.i64_xor(mask, r.i64(-1)));
  const merged = r.i64_and(r.i64_or(kept, r.i64_and(value, mask)), r.i64(~mstatus.SD));
  const allOf = (field: bigint): I32 => r.i64_eq(r.i64_and(merged, r.i64(field)), r.i64(field));
  const dirty = r.i32_or(allOf(mstatus.FS), allOf(mstatus.VS));
  const next = r.local('i64', r.i64_or(merged, r.select(dirty, r.i64(mstatus.SD), r.i64(0))));
  const level = r.local('i32', r.i32_load(state, field.privilege));
  const changed = r.i64_xor(r.read(old), r.read(next));
  const rare = r.i32_or(r.i32_eq(r.read(level), r.i32(privilege.M)), bitOf(r, changed, mstatus.MXR));
  r.if(
    rare,
    () => {
      r.call(writeSlowly, value, bits);
    },
    () => {
      r.i64_store(state, r.read(next), field.mstatus);
      r.call(enterMode, r.read(level), r.read(next));
    },
  );
  const isOther = r.i32_or(
    r.i32_xor(r.read(mode), r.i32_load(state, header.modeKey)),
    r.i32_xor(r.read(mmu), r.i32_load(state, header.mmu)),
  );
  r.ret(r.i64_and(r.read(old), r.i64(SSTATUS)), r.i32_or(isOther, r.i32_load(state, header.interruptPending)));
});

/** SRET (privileged specification 3.3.2): the pc's home is where it returns to. */
export const supervisorReturn = routines.define('supervisor_return', [], [], {}, (r) => {
  const state = r.state();
  const status = r.local('i64', r.i64_load(state, field.mstatus));
  const level = r.local('i32', bitOf(r, r.read(status), mstatus.SPP));
  const enabled = r.select(bitOf(r, r.read(status), mstatus.SPIE), r.i64(mstatus.SIE), r.i64(0));
  const kept = r.i64_and(r.read(status), r.i64(~(mstatus.SPP | mstatus.SIE | mstatus.MPRV)));
  const next = r.local('i64', r.i64_or(r.i64_or(kept, enabled), r.i64(mstatus.SPIE)));
  r.i64_store(state, r.read(next), field.mstatus);
  r.i32_store(state, r.read(level), field.privilege);
  r.i64_store(state, r.i64_load(state, field.sepc), header.pc);
  r.call(enterMode, r.read(level), r.read(next));
  r.ret();
});

/** (pc) → fault. ECALL from U-mode: into S-mode's handler, where it is delegated and nobody watches traps; else a fault. */
export const userCall = routines.define('user_call', ['i64'], ['i32'], { mayFault: true }, (r, pc) => {
  const state = r.state();
  const delegated = bitOf(r, r.i64_load(state, field.medeleg), 1n << BigInt(cause.ecallU));
  const watched = r.i32_load(state, field.watchedTraps);
  r.if(r.i32_or(r.i32_eqz(delegated), watched), () => {
    r.i64_store(state, r.i64(0), field.trapValue);
    r.i32_store(state, r.i32(trapCode(cause.ecallU)), header.trapCode);
    r.ret(r.i32(1));
  });
  const status = r.local('i64', r.i64_load(state, field.mstatus));
  const enabled = r.select(bitOf(r, r.read(status), mstatus.SIE), r.i64(mstatus.SPIE), r.i64(0));
  const kept = r.i64_and(r.read(status), r.i64(~(mstatus.SPP | mstatus.SPIE | mstatus.SIE)));
  const next = r.local('i64', r.i64_or(kept, enabled));
  r.i64_store(state, pc, field.sepc);
  r.i64_store(state, r.i64(BigInt(cause.ecallU)), field.scause);
  r.i64_store(state, r.i64(0), field.stval);
  r.i64_store(state, r.read(next), field.mstatus);
  r.i32_store(state, r.i32(privilege.S), field.privilege);
  r.i64_store(state, r.i64_and(r.i64_load(state, field.stvec), r.i64(~3n)), header.pc);
  r.call(enterMode, r.i32(privilege.S), r.read(next));
  r.ret(r.i32(0));
});
