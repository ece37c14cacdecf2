/** Port access: permission (Intel SDM vol. 1, 19.5; vol. 3, 20.3.3), I/O breakpoints, and the string forms. */
import { access, header, type I32, type I64, type RoutineBuilder } from '../../../ir/index.js';
import { debugMask, implicitAccess, keyBit } from '../mode.js';
import { engine, routines } from '../routines/set.js';
import { field, gpr, segBase, trapCode } from '../state.js';
import { cr4, descriptor, vector } from './bits.js';
import { dataBreakpoint } from './debug.js';
import { checkSegment } from './segments.js';

const RCX = 1;
const RSI = 6;
const RDI = 7;

/** Where CPL > IOPL or in virtual-8086 mode: the TSS's permission bitmap. (port, bytes) → fault. */
export const checkPort = routines.define(
  'check_port',
  ['i32', 'i32'],
  ['i32'],
  { mayFault: true },
  (r, port, bytes) => {
    const s = r.state();
    const fail = () => {
      r.i32_store(s, r.i32(trapCode(vector.GP, 0)), header.trapCode);
      r.ret(r.i32(1));
    };
    const attributes = r.i32_load(s, field.trAttributes);
    const limit = r.i32_load(s, field.trLimit);
    const wide = r.i32_and(attributes, r.i32(8 << descriptor.typeShift));
    r.if(r.i32_or(r.i32_eqz(wide), r.i32_lt_u(limit, r.i32(0x67))), fail);
    const tss = r.i64_load(s, field.trBase);
    const base = r.guest_load16(r.i64_add(tss, r.i64(0x66)), implicitAccess);
    const number = r.i32_and(port, r.i32(0xffff));
    const at = r.i32_add(base, r.i32_shr_u(number, r.i32(3)));
    r.if(r.i32_ge_u(at, limit), fail);
    const bits = r.guest_load16(r.i64_add(tss, r.i64_extend_i32_u(at)), implicitAccess);
    const mask = r.i32_sub(r.i32_shl(r.i32(1), bytes), r.i32(1));
    r.if(r.i32_and(r.i32_shr_u(bits, r.i32_and(number, r.i32(7))), mask), fail);
    r.ret(r.i32(0));
  },
);

/** Notes a hit of an I/O breakpoint in debugPending; the trap follows the instruction. */
const noteBreakpoint = routines.define('io_breakpoint', ['i32', 'i32'], [], {}, (r, port, bytes) => {
  const s = r.state();
  const enabled = r.i32_load(s, field.dr + 8 * 7);
  for (let n = 0; n < 4; n++) {
    const isIo = r.i32_eq(r.i32_and(r.i32_shr_u(enabled, r.i32(16 + 4 * n)), r.i32(3)), r.i32(2));
    const on = r.i32_ne(r.i32_and(enabled, r.i32(3 << (2 * n))), r.i32(0));
    const length = r.i32_and(r.i32_shr_u(enabled, r.i32(18 + 4 * n)), r.i32(3));
    const first = r.i32_and(r.i32_load(s, field.dr + 8 * n), r.i32_xor(length, r.i32(-1)));
    const last = r.i32_add(first, length);
    const number = r.i32_and(port, r.i32(0xffff));
    const end = r.i32_add(number, r.i32_sub(bytes, r.i32(1)));
    const overlaps = r.i32_and(r.i32_le_u(first, end), r.i32_ge_u(last, number));
    r.if(r.i32_and(r.i32_and(isIo, on), overlaps), () => {
      r.i32_store(s, r.i32_or(r.i32_load(s, field.debugPending), r.i32(1 << n)), field.debugPending);
      r.i32_store(s, r.i32(1), header.kick);
    });
  }
  r.ret();
});

function breakpoints(r: RoutineBuilder, port: I32, bytes: I32): void {
  const s = r.state();
  const enabled = r.i32_and(r.i32_load(s, field.dr + 8 * 7), r.i32(0xff));
  r.if(
    r.i32_and(r.i32_ne(enabled, r.i32(0)), r.i32_shr_u(r.i32_and(r.i32_load(s, field.cr4), r.i32(cr4.DE)), r.i32(3))),
    () => {
      r.call(noteBreakpoint, port, bytes);
    },
  );
}

/** IN: (port, bytes) → value. Permission has been checked. */
export const portIn = routines.define('port_in', ['i32', 'i32'], ['i32'], {}, (r, port, bytes) => {
  const [value] = r.call(engine.pioRead, r.i32_and(port, r.i32(0xffff)), bytes);
  breakpoints(r, port, bytes);
  r.ret(value);
});

/** OUT: (port, bytes, value). */
export const portOut = routines.define('port_out', ['i32', 'i32', 'i32'], [], {}, (r, port, bytes, value) => {
  r.call(engine.pioWrite, r.i32_and(port, r.i32(0xffff)), bytes, value);
  breakpoints(r, port, bytes);
  r.ret();
});

/** Elements of one call of a string routine; the instruction is repeated for the rest. */
const MOST_ELEMENTS = 1024;

/** A register's new value where only the bits of the address size change, as a 32-bit write zeroes the rest. */
function withAddressSize(r: RoutineBuilder, old: I64, value: I64, mask: I64): I64 {
  const is16 = r.i64_eq(mask, r.i64(0xffff));
  const cut = r.i64_and(value, mask);
  return r.select(is16, r.i64_or(r.i64_and(old, r.i64(~0xffff)), cut), cut);
}

/** The loop of INS and OUTS: `element` handles one at an offset. */
function stringLoop(
  r: RoutineBuilder,
  index: number,
  bytes: I32,
  mask: I64,
  repeated: I32,
  element: (offset: I64) => void,
): void {
  // Under a debugger the instruction is left after each element.
  const debugged = r.i32_and(r.i32_load(r.state(), header.modeKey), r.i32(debugMask));
  const left = r.local('i32', r.select(debugged, r.i32(1), r.i32(MOST_ELEMENTS)));
  const backwards = r.i32_and(r.i32_load(r.state(), field.eflags), r.i32(0x400));
  const step = r.i64_extend_i32_s(r.select(backwards, r.i32_sub(r.i32(0), bytes), bytes));
  r.loop((again) => {
    const count = r.get(gpr[RCX]);
    r.if(r.i32_and(r.i32_ne(repeated, r.i32(0)), r.i64_eqz(r.i64_and(count, mask))), () => r.ret(r.i32(0)));
    const at = r.get(gpr[index]);
    element(r.i64_and(at, mask));
    r.set(gpr[index], withAddressSize(r, at, r.i64_add(at, step), mask));
    r.if(r.i32_eqz(repeated), () => r.ret(r.i32(0)));
    r.set(gpr[RCX], withAddressSize(r, count, r.i64_sub(count, r.i64(1)), mask));
    r.assign(left, r.i32_sub(r.read(left), r.i32(1)));
    r.if(r.i32_load(r.state(), field.debugPending), () => r.ret(r.i32(0)));
    r.brIf(again, r.read(left));
  });
  r.ret(r.i32(0));
}

/** Linear address of an element, its segment checked where the mode key says so. */
function elementAddress(r: RoutineBuilder, segment: I32, offset: I64, bytes: I32, write: boolean): I64 {
  const s = r.state();
  const long = r.i32_eq(r.i32_load(s, field.codeSize), r.i32(64));
  const key = r.i32_load(s, header.modeKey);
  r.if(r.i32_and(r.i32_shr_u(key, r.i32_add(segment, r.i32(keyBit.checked))), r.i32(1)), () => {
    const [fault] = r.call(checkSegment, segment, offset, bytes, r.i32(write ? 1 : 0));
    r.if(fault, () => r.ret(r.i32(1)));
  });
  const base = r.i64_load(r.i32_add(s, r.i32_shl(segment, r.i32(3))), segBase[0].offset);
  const hasBase = r.i32_or(r.i32_eqz(long), r.i32_ge_u(segment, r.i32(4)));
  const sum = r.i64_add(offset, r.select(hasBase, base, r.i64(0)));
  const linear = r.select(long, sum, r.i64_and(sum, r.i64(0xffffffff)));
  r.if(r.i32_and(key, r.i32(1 << keyBit.dataBreak)), () => {
    r.call(dataBreakpoint, linear, bytes, r.i32(write ? 1 : 0));
  });
  return linear;
}

/** INS: (port, bytes, address mask, repeated) → fault. */
export const stringIn = routines.define(
  'string_in',
  ['i32', 'i32', 'i64', 'i32'],
  ['i32'],
  { vars: 'write', mayFault: true },
  (r, port, bytes, mask, repeated) => {
    stringLoop(r, RDI, bytes, mask, repeated, (offset) => {
      const va = elementAddress(r, r.i32(0), offset, bytes, true);
      // Writing what is there raises all that the store could, before the device is read.
      const bySize = (one: () => void, two: () => void, four: () => void): void => {
        r.if(r.i32_eq(bytes, r.i32(1)), one);
        r.if(r.i32_eq(bytes, r.i32(2)), two);
        r.if(r.i32_eq(bytes, r.i32(4)), four);
      };
      bySize(
        () => r.guest_store8(va, r.guest_load8(va, access.forWrite)),
        () => r.guest_store16(va, r.guest_load16(va, access.forWrite)),
        () => r.guest_store32(va, r.guest_load32(va, access.forWrite)),
      );
      const [value] = r.call(portIn, port, bytes);
      bySize(
        () => r.guest_store8(va, value),
        () => r.guest_store16(va, value),
        () => r.guest_store32(va, value),
      );
    });
  },
);

/** OUTS: (port, bytes, address mask, repeated, segment) → fault. */
export const stringOut = routines.define(
  'string_out',
  ['i32', 'i32', 'i64', 'i32', 'i32'],
  ['i32'],
  { vars: 'write', mayFault: true },
  (r, port, bytes, mask, repeated, segment) => {
    const value = r.local('i32');
    stringLoop(r, RSI, bytes, mask, repeated, (offset) => {
      const va = elementAddress(r, segment, offset, bytes, false);
      r.if(r.i32_eq(bytes, r.i32(1)), () => r.assign(value, r.guest_load8(va, 0)));
      r.if(r.i32_eq(bytes, r.i32(2)), () => r.assign(value, r.guest_load16(va, 0)));
      r.if(r.i32_eq(bytes, r.i32(4)), () => r.assign(value, r.guest_load32(va, 0)));
      r.call(portOut, port, bytes, r.read(value));
    });
  },
);
