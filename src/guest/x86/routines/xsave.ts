/**
 * FXSAVE, FXRSTOR and the XSAVE family: all of the x87 and SSE state in memory at once. Intel SDM vol. 1 ch. 10.5 and 13,
 * vol. 2 the instructions' pages.
 *
 * State components are x87 (0) and SSE (1). What comes after them (AVX and so on) goes into the extended region from byte 576 on:
 * see `EXTENDED` for where it is to be added.
 */
import { access, header, type I32, type I64, type RoutineBuilder } from '../../../ir/index.js';
import { and } from '../../float/core.js';
import { field, trapCode, xmm } from '../state.js';
import { routines } from './set.js';
import { clearPointers, loadWords, statusWord } from './x87-environment.js';
import { slotAt } from './x87-stack.js';

const faults = { mayFault: true } as const;
/** The current MMU context. */
const HERE = 0;
const GP = 13;
const CR4_OSFXSR = 0x200;

/** Every bit of MXCSR exists. */
export const MXCSR_MASK = 0xffff;
const MXCSR_INITIAL = 0x1f80;

export const component = { x87: 1, sse: 2, avx: 4 } as const;

/** Bytes from the start of an area. */
const at = { x87: 0, mxcsr: 24, st: 32, xmm: 160, bitVector: 512, compaction: 520, reserved: 528 } as const;
/** Size of the legacy region and the header: where extended components begin. */
export const EXTENDED = 576;

/** How an instruction was encoded and in which mode: the format's bits. */
export const areaFormat = {
  /** REX.W: 64-bit pointers instead of 32 bits and a selector. */
  wide: 1,
  /** 64-bit mode: sixteen XMM registers, not eight. */
  sixteen: 2,
  /** XSAVEOPT, XSAVEC, XSAVES: components in their initial state are not written. */
  optimized: 4,
  /** XSAVEC, XSAVES: compacted form. XRSTORS: that form only. */
  compacted: 8,
} as const;

const plus = (r: RoutineBuilder, address: I64, bytes: number): I64 => r.i64_add(address, r.i64(bytes));

/** Ends the routine with #GP(0) if the condition is not 0. */
function protectIf(r: RoutineBuilder, condition: I32): void {
  r.if(condition, () => {
    r.i32_store(r.state(), r.i32(trapCode(GP, 0)), header.trapCode);
    r.ret(r.i32(1));
  });
}

function protectMisaligned(r: RoutineBuilder, address: I64, alignment: number): void {
  protectIf(r, and(r, r.i32_wrap_i64(address), alignment - 1));
}

// --- x87

function saveX87(r: RoutineBuilder, address: I64, format: I32): void {
  const state = r.state();
  const control = r.i32_load(state, field.fpControl);
  const words = r.i32_or(control, r.i32_shl(statusWord(r), r.i32(16)));
  const full = r.i32_xor(r.i32_load(state, field.fpEmpty), r.i32(0xff));
  const tags = r.i32_or(full, r.i32_shl(r.i32_load(state, field.fpOpcode), r.i32(16)));
  const first = r.i64_or(r.i64_extend_i32_u(words), r.i64_shl(r.i64_extend_i32_u(tags), r.i64(32)));
  // Without REX.W the upper half is a selector.
  const pointer = (offset: number, selector: number) => {
    const value = r.i64_load(state, offset);
    const upper = r.i64_shl(r.i64_extend_i32_u(r.i32_load(state, selector)), r.i64(32));
    const narrow = r.i64_or(r.i64_and(value, r.i64(0xffffffff)), upper);
    return r.select(and(r, format, areaFormat.wide), value, narrow);
  };
  r.guest_store64(address, first, HERE);
  r.guest_store64(plus(r, address, 8), pointer(field.fpIp, field.fpCs), HERE);
  r.guest_store64(plus(r, address, 16), pointer(field.fpDp, field.fpDs), HERE);
  const top = r.i32_load(state, field.fpTop);
  for (let i = 0; i < 8; i++) {
    const s = slotAt(r, and(r, r.i32_add(top, r.i32(i)), 7));
    // The six bytes behind a register are always 0.
    r.guest_store128(plus(r, address, at.st + 16 * i), r.v128_load(s.address, field.fpr), HERE);
  }
}

function restoreX87(r: RoutineBuilder, address: I64, format: I32): void {
  const state = r.state();
  const words = r.guest_load32(address, HERE);
  const tags = r.guest_load32(plus(r, address, 4), HERE);
  const ip = r.guest_load64(plus(r, address, 8), HERE);
  const dp = r.guest_load64(plus(r, address, 16), HERE);
  loadWords(r, and(r, words, 0xffff), r.i32_shr_u(words, r.i32(16)));
  r.i32_store(state, r.i32_xor(and(r, tags, 0xff), r.i32(0xff)), field.fpEmpty);
  r.i32_store(state, and(r, r.i32_shr_u(tags, r.i32(16)), 0x7ff), field.fpOpcode);
  const wide = and(r, format, areaFormat.wide);
  const pointer = (value: I64, offset: number, selector: number) => {
    const upper = and(r, r.i32_wrap_i64(r.i64_shr_u(value, r.i64(32))), 0xffff);
    r.i64_store(state, r.select(wide, value, r.i64_and(value, r.i64(0xffffffff))), offset);
    r.i32_store(state, r.select(wide, r.i32(0), upper), selector);
  };
  pointer(ip, field.fpIp, field.fpCs);
  pointer(dp, field.fpDp, field.fpDs);
  const top = r.i32_load(state, field.fpTop);
  for (let i = 0; i < 8; i++) {
    const s = slotAt(r, and(r, r.i32_add(top, r.i32(i)), 7));
    const sig = r.guest_load64(plus(r, address, at.st + 16 * i), HERE);
    const se = r.guest_load16(plus(r, address, at.st + 16 * i + 8), HERE);
    r.i64_store(s.address, sig, field.fpr);
    r.i32_store16(s.address, se, field.fpr + 8);
  }
}

function initializeX87(r: RoutineBuilder): void {
  const state = r.state();
  loadWords(r, r.i32(0x37f), r.i32(0));
  r.i32_store(state, r.i32(0xff), field.fpEmpty);
  clearPointers(r);
  const zero = r.v128(0, 0, 0, 0);
  for (let i = 0; i < 8; i++) r.v128_store(state, zero, field.fpr + 16 * i);
}

// --- SSE

/** Runs `body` for XMM0-7, and for XMM8-15 in 64-bit mode. */
function eachXmm(r: RoutineBuilder, format: I32, body: (n: number) => void): void {
  for (let n = 0; n < 8; n++) body(n);
  r.if(and(r, format, areaFormat.sixteen), () => {
    for (let n = 8; n < 16; n++) body(n);
  });
}

function saveXmm(r: RoutineBuilder, address: I64, format: I32): void {
  eachXmm(r, format, (n) => r.guest_store128(plus(r, address, at.xmm + 16 * n), r.get(xmm[n]), HERE));
}

function restoreXmm(r: RoutineBuilder, address: I64, format: I32): void {
  eachXmm(r, format, (n) => r.set(xmm[n], r.guest_load128(plus(r, address, at.xmm + 16 * n), HERE)));
}

function initializeXmm(r: RoutineBuilder, format: I32): void {
  eachXmm(r, format, (n) => r.set(xmm[n], r.v128(0, 0, 0, 0)));
}

function saveMxcsr(r: RoutineBuilder, address: I64): void {
  const value = r.i64_extend_i32_u(r.i32_load(r.state(), field.mxcsr));
  r.guest_store64(plus(r, address, at.mxcsr), r.i64_or(value, r.i64(BigInt(MXCSR_MASK) << 32n)), HERE);
}

/** The value in memory; reserved bits: #GP(0). */
function checkedMxcsr(r: RoutineBuilder, address: I64): I32 {
  const value = r.guest_load32(plus(r, address, at.mxcsr), HERE);
  protectIf(r, and(r, value, ~MXCSR_MASK));
  return value;
}

/** Touches both ends of an area, the last byte first as processors do, so that no later access can fault and leave half of it, or of the state, changed. */
function touchEnds(r: RoutineBuilder, address: I64, bytes: number, how: number): void {
  r.guest_load8(plus(r, address, bytes - 1), how);
  r.guest_load8(address, how);
}

// --- FXSAVE, FXRSTOR

const usesSse = (r: RoutineBuilder): I32 => and(r, r.i32_load(r.state(), field.cr4), CR4_OSFXSR);

/** (address, format) */
export const fxsave = routines.define(
  'fxsave',
  ['i64', 'i32'],
  ['i32'],
  { ...faults, vars: 'read' },
  (r, address, format) => {
    protectMisaligned(r, address, 16);
    touchEnds(r, address, at.bitVector, access.forWrite);
    saveX87(r, address, format);
    saveMxcsr(r, address);
    r.if(usesSse(r), () => saveXmm(r, address, format));
    r.ret(r.i32(0));
  },
);

/** (address, format) */
export const fxrstor = routines.define(
  'fxrstor',
  ['i64', 'i32'],
  ['i32'],
  { ...faults, vars: 'write' },
  (r, address, format) => {
    protectMisaligned(r, address, 16);
    touchEnds(r, address, at.bitVector, HERE);
    const sse = usesSse(r);
    r.if(sse, () => r.i32_store(r.state(), checkedMxcsr(r, address), field.mxcsr));
    restoreX87(r, address, format);
    r.if(sse, () => restoreXmm(r, address, format));
    r.ret(r.i32(0));
  },
);

// --- XSAVE and kin

/** The components that are not in their initial state: XGETBV with ECX = 1 gives these (and with XCR0). */
export const componentsInUse = routines.define('xstate_in_use', [], ['i64'], { vars: 'read' }, (r) => {
  const state = r.state();
  const words = r.i32_or(
    r.i32_xor(r.i32_load(state, field.fpControl), r.i32(0x37f)),
    r.i32_or(r.i32_load(state, field.fpStatus), r.i32_xor(r.i32_load(state, field.fpEmpty), r.i32(0xff))),
  );
  const pointers = r.i64_or(r.i64_load(state, field.fpIp), r.i64_load(state, field.fpDp));
  const other = r.i32_or(r.i32_load(state, field.fpTop), r.i32_load(state, field.fpOpcode));
  let registers = r.v128_load(state, field.fpr);
  for (let i = 1; i < 8; i++) registers = r.v128_or(registers, r.v128_load(state, field.fpr + 16 * i));
  const plain = r.i32_or(r.i32_or(words, other), r.i64_ne(pointers, r.i64(0)));
  const x87 = r.i32_ne(r.i32_or(plain, r.v128_any_true(registers)), r.i32(0));
  let vectors = r.get(xmm[0]);
  for (let n = 1; n < 16; n++) vectors = r.v128_or(vectors, r.get(xmm[n]));
  const sse = r.i32_shl(r.v128_any_true(vectors), r.i32(1));
  r.ret(r.i64_extend_i32_u(r.i32_or(x87, sse)));
});

const has = (r: RoutineBuilder, set: I64, bit: number): I32 => and(r, r.i32_wrap_i64(set), bit);

/** (address, requested components: EDX:EAX and XCR0 (and IA32_XSS), format): XSAVE, XSAVEOPT, XSAVEC, XSAVES. */
export const xsave = routines.define(
  'xsave',
  ['i64', 'i64', 'i32'],
  ['i32'],
  { ...faults, vars: 'read' },
  (r, address, requested, format) => {
    protectMisaligned(r, address, 64);
    touchEnds(r, address, EXTENDED, access.forWrite);
    const [inUse] = r.call(componentsInUse);
    const saved = r.local('i64', r.i64_and(requested, inUse));
    const compacted = and(r, format, areaFormat.compacted);
    r.if(compacted, () => {
      // Here MXCSR belongs to SSE.
      const changed = r.i32_ne(r.i32_load(r.state(), field.mxcsr), r.i32(MXCSR_INITIAL));
      const sse = r.i64_and(requested, r.i64(component.sse));
      r.assign(saved, r.i64_or(r.read(saved), r.select(changed, sse, r.i64(0))));
    });
    const written = r.select(and(r, format, areaFormat.optimized), r.read(saved), requested);
    r.if(has(r, written, component.x87), () => saveX87(r, address, format));
    r.if(has(r, written, component.sse), () => saveXmm(r, address, format));
    const controls = r.select(
      compacted,
      has(r, written, component.sse),
      has(r, requested, component.sse | component.avx),
    );
    r.if(controls, () => saveMxcsr(r, address));
    const vector = plus(r, address, at.bitVector);
    r.if(
      compacted,
      () => {
        r.guest_store64(vector, r.read(saved), HERE);
        r.guest_store64(plus(r, address, at.compaction), r.i64_or(requested, r.i64(1n << 63n)), HERE);
      },
      () => {
        const old = r.guest_load64(vector, HERE);
        const kept = r.i64_and(old, r.i64_xor(requested, r.i64(-1)));
        r.guest_store64(vector, r.i64_or(kept, r.read(saved)), HERE);
      },
    );
    r.ret(r.i32(0));
  },
);

/** (address, requested components, components that are enabled, format): XRSTOR, XRSTORS (format compacted). */
export const xrstor = routines.define(
  'xrstor',
  ['i64', 'i64', 'i64', 'i32'],
  ['i32'],
  { ...faults, vars: 'write' },
  (r, address, requested, enabled, format) => {
    protectMisaligned(r, address, 64);
    touchEnds(r, address, EXTENDED, HERE);
    const load = (bytes: number) => r.guest_load64(plus(r, address, bytes), HERE);
    const present = load(at.bitVector);
    const compaction = load(at.compaction);
    const isCompacted = r.i64_lt_s(compaction, r.i64(0));
    const disabled = r.i64_xor(enabled, r.i64(-1));
    protectIf(r, r.i32_and(and(r, format, areaFormat.compacted), r.i32_shl(r.i32_eqz(isCompacted), r.i32(3))));
    r.if(
      isCompacted,
      () => {
        const components = r.i64_and(compaction, r.i64((1n << 63n) - 1n));
        const beyond = r.i64_and(components, disabled);
        const missing = r.i64_and(present, r.i64_xor(components, r.i64(-1)));
        let rest = load(at.reserved);
        for (let bytes = at.reserved + 8; bytes < EXTENDED; bytes += 8) rest = r.i64_or(rest, load(bytes));
        protectIf(r, r.i64_ne(r.i64_or(r.i64_or(beyond, missing), rest), r.i64(0)));
      },
      () => {
        const beyond = r.i64_and(present, disabled);
        const rest = r.i64_or(compaction, load(at.reserved));
        protectIf(r, r.i64_ne(r.i64_or(beyond, rest), r.i64(0)));
      },
    );
    const loaded = r.i64_and(requested, present);
    const loadSse = has(r, loaded, component.sse);
    // In the standard form MXCSR is there whatever the bit vector says.
    const standardControls = has(r, requested, component.sse | component.avx);
    r.if(r.select(isCompacted, loadSse, standardControls), () =>
      r.i32_store(r.state(), checkedMxcsr(r, address), field.mxcsr),
    );
    r.if(has(r, requested, component.x87), () => {
      r.if(
        has(r, loaded, component.x87),
        () => restoreX87(r, address, format),
        () => initializeX87(r),
      );
    });
    r.if(has(r, requested, component.sse), () => {
      r.if(
        loadSse,
        () => restoreXmm(r, address, format),
        () => {
          initializeXmm(r, format);
          r.if(isCompacted, () => r.i32_store(r.state(), r.i32(MXCSR_INITIAL), field.mxcsr));
        },
      );
    });
    r.ret(r.i32(0));
  },
);
