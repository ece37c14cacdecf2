/**
 * Vector loads and stores (unprivileged specification 31.7), element by element: vstart is the element under way, so that a fault
 * finds it and the instruction goes on from there. A segment's fields lie in registers one group apart.
 */
import type { I32, I64, Label, Local, RoutineBuilder } from '../../../ir/index.js';
import { WATCHED } from '../mode.js';
import { routines } from '../routines/set.js';
import { dataAccess } from '../routines/watch.js';
import { field } from '../state.js';
import { Elements } from './elements.js';

type Width = 0 | 1 | 2 | 3;
const CHUNK = 16;

function loadGuest(r: RoutineBuilder, width: Width, address: I64): I64 {
  if (width === 3) return r.guest_load64(address, 0);
  if (width === 2) return r.i64_extend_i32_u(r.guest_load32(address, 0));
  return r.i64_extend_i32_u(width === 1 ? r.guest_load16(address, 0) : r.guest_load8(address, 0));
}
function storeGuest(r: RoutineBuilder, width: Width, address: I64, value: I64): void {
  if (width === 3) r.guest_store64(address, value, 0);
  else if (width === 2) r.guest_store32(address, r.i32_wrap_i64(value), 0);
  else if (width === 1) r.guest_store16(address, r.i32_wrap_i64(value), 0);
  else r.guest_store8(address, r.i32_wrap_i64(value), 0);
}

/** How far an element lies from the base. */
type Place = (e: Elements, n: I32, step: I64, vs2: I32) => I64;
const byStride: Place = ({ r }, n, step) => r.i64_mul(r.i64_extend_i32_u(n), step);
const byIndex: Place = (e, n, _step, vs2) => e.get('vs2', vs2, n, false);

const isWatched = (r: RoutineBuilder): I32 => r.i32_and(r.i32_load(r.state(), field.modeBits), r.i32(WATCHED));

interface Chunked {
  readonly width: Width;
  readonly isStore: boolean;
  readonly base: I64;
  readonly step: I64;
  readonly vd: I32;
  readonly fields: I32;
  readonly count: I32;
}

/** Elements in a row, all of them, 16 bytes at a time within a page: a fault is the first one's. */
function inChunks(r: RoutineBuilder, e: Elements, c: Chunked, at: I32, n: Local<'i32'>, again: Label): void {
  const { width, isStore, base, step, vd, fields, count } = c;
  const elements = CHUNK >> width;
  const address = r.i64_add(base, r.i64_shl(r.i64_extend_i32_u(at), r.i64(width)));
  const inPage = r.i32_le_u(r.i32_and(r.i32_wrap_i64(address), r.i32(4095)), r.i32(4096 - CHUNK));
  const isRow = r.i32_and(r.i32_eq(fields, r.i32(1)), r.i64_eq(step, r.i64(1 << width)));
  const fits = r.i32_le_u(r.i32_add(at, r.i32(elements)), count);
  const all = r.i32_and(r.i32_eqz(e.isMasked), r.i32_eqz(isWatched(r)));
  r.if(r.i32_and(r.i32_and(isRow, all), r.i32_and(inPage, fits)), () => {
    r.i32_store(r.state(), at, field.vstart);
    const register = r.i32_add(e.host(vd), r.i32_shl(at, r.i32(width)));
    if (isStore) r.guest_store128(address, r.v128_load(register, 0), 0);
    else r.v128_store(register, r.guest_load128(address, 0), 0);
    r.assign(n, r.i32_add(at, r.i32(elements)));
    r.br(again);
  });
}

/**
 * (base, bytes from element to element or 0, vd, vs2, fields, bytes from a field's registers to the next one's, elements, info) →
 * fault. `info`'s width of vd is that of the elements, that of vs2 of the indices.
 */
function define(name: string, width: Width, place: Place, isStore: boolean, firstOnly = false) {
  return routines.define(
    `v_${name}`,
    ['i64', 'i64', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32'],
    ['i32'],
    { mayFault: true },
    (r, base, step, vd, vs2, fields, group, count, bits) => {
      const e = new Elements(r, bits);
      const s = r.state();
      const n = r.local('i32', e.field(field.vstart));
      const f = r.local('i32');
      if (firstOnly) r.i32_store(s, r.i32_ne(r.read(n), r.i32(0)), field.firstOnly);
      r.block((done) => {
        r.loop((again) => {
          const at = r.read(n);
          r.brIf(done, r.i32_ge_u(at, count));
          if (place === byStride && !firstOnly)
            inChunks(r, e, { width, isStore, base, step, vd, fields, count }, at, n, again);
          r.if(e.isActive(at), () => {
            r.i32_store(s, at, field.vstart);
            const first = r.i64_add(base, place(e, at, step, vs2));
            const addressOf = (own: I32): I64 => r.i64_add(first, r.i64_shl(r.i64_extend_i32_u(own), r.i64(width)));
            const nextField = (more: Label): void => {
              r.assign(f, r.i32_add(r.read(f), r.i32(1)));
              r.brIf(more, r.i32_lt_u(r.read(f), fields));
            };
            // A segment that is not there as a whole leaves the registers as they are, as QEMU's does: what is cut off may be anything.
            if (firstOnly) {
              r.assign(f, r.i32(0));
              r.loop((more) => {
                loadGuest(r, width, addressOf(r.read(f)));
                nextField(more);
              });
            }
            r.assign(f, r.i32(0));
            r.loop((more) => {
              const own = r.read(f);
              const address = addressOf(own);
              r.if(isWatched(r), () => {
                const [stops] = r.call(dataAccess, address, r.i32(1 << width), r.i32(isStore ? 1 : 0));
                r.if(stops, () => r.ret(r.i32(1)));
              });
              const register = r.i32_add(e.host(vd), r.i32_mul(own, group));
              const element = r.i32_add(register, r.i32_shl(at, r.i32(width)));
              if (isStore) storeGuest(r, width, address, elementAt(r, width, element));
              else putElementAt(r, width, element, loadGuest(r, width, address));
              nextField(more);
            });
          });
          if (firstOnly) r.i32_store(s, r.i32(1), field.firstOnly);
          r.assign(n, r.i32_add(at, r.i32(1)));
          r.br(again);
        });
      });
      if (firstOnly) r.i32_store(s, r.i32(0), field.firstOnly);
      e.finish();
      r.ret(r.i32(0));
    },
  );
}

const elementAt = (r: RoutineBuilder, width: Width, at: I32): I64 =>
  [r.i64_load8_u, r.i64_load16_u, r.i64_load32_u, r.i64_load][width].call(r, at, 0);
const putElementAt = (r: RoutineBuilder, width: Width, at: I32, value: I64): void =>
  void [r.i64_store8, r.i64_store16, r.i64_store32, r.i64_store][width].call(r, at, value, 0);

const widths = [0, 1, 2, 3] as const;
const forWidths = (name: string, place: Place, isStore: boolean, firstOnly = false) =>
  widths.map((width) => define(`${name}${8 << width}`, width, place, isStore, firstOnly));

/** By the logarithm of an element's bytes. */
export const memory = {
  load: forWidths('load', byStride, false),
  store: forWidths('store', byStride, true),
  loadFirst: forWidths('load_first', byStride, false, true),
  loadIndexed: forWidths('load_indexed', byIndex, false),
  storeIndexed: forWidths('store_indexed', byIndex, true),
} as const;
