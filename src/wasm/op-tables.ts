/** The op table as typed arrays, for walking IR words fast. */
import { Op, opList } from '../ir/index.js';

/** 1 if the op defines a temp. */
export const opHasResult = Uint8Array.from(opList, (row) => (row.result ? 1 : 0));
export const opParamCount = Uint8Array.from(opList, (row) => row.params.length);

/** How the back ends treat an op. */
export const kind = {
  /** No effect: removed when unused, moved to its use. */
  pure: 0,
  /** Reads memory: removed when unused, moved to its use unless something is written in between. */
  reads: 1,
  /** A constant. */
  constant: 2,
  /** Everything that the back ends handle one by one. */
  special: 3,
  /** A plain WebAssembly instruction that writes. */
  writes: 4,
} as const;

export const opKind = Uint8Array.from(opList, (row, op) => {
  if (op >= Op.const_i32 && op <= Op.const_v128) return kind.constant;
  if (row.wasm === undefined) return kind.special;
  if (row.effects.writes) return kind.writes;
  return row.effects.reads ? kind.reads : kind.pure;
});

export const encodings = { plain: 0, lane: 1, shuffle: 2, memarg: 3 } as const;
export const opEncoding = Uint8Array.from(opList, (row) => encodings[row.encoding]);
export const opBytes: readonly (readonly number[])[] = opList.map((row) => row.wasm ?? []);

/** Bytes of a guest memory access by op; 0: it is none. */
export const accessBytes = new Uint8Array(opList.length);
for (const [op, bytes] of [
  [Op.guest_load8, 1],
  [Op.guest_load16, 2],
  [Op.guest_load32, 4],
  [Op.guest_load64, 8],
  [Op.guest_load128, 16],
  [Op.guest_store8, 1],
  [Op.guest_store16, 2],
  [Op.guest_store32, 4],
  [Op.guest_store64, 8],
  [Op.guest_store128, 16],
])
  accessBytes[op] = bytes;
