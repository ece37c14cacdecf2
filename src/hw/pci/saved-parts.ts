/**
 * A device's saved state made of several schemas: u32 count, then per part u32 length and bytes (little endian). Loading is
 * all or nothing: a part that is refused puts the parts loaded before it back.
 */
import { type Fields, StateError, type StateSchema, type StructOf } from '../../schema/index.js';

/** One schema with its struct, of whatever fields. */
export interface StatePart {
  save(): Uint8Array;
  load(saved: Uint8Array): void;
}

export function statePart<F extends Fields>(schema: StateSchema<F>, struct: StructOf<F>): StatePart {
  return { save: () => schema.save(struct), load: (saved) => schema.load(struct, saved) };
}

export function saveParts(parts: readonly StatePart[]): Uint8Array {
  const saved = parts.map((part) => part.save());
  const out = new Uint8Array(4 + saved.reduce((sum, bytes) => sum + 4 + bytes.length, 0));
  const view = new DataView(out.buffer);
  view.setUint32(0, saved.length, true);
  let at = 4;
  for (const bytes of saved) {
    view.setUint32(at, bytes.length, true);
    out.set(bytes, at + 4);
    at += 4 + bytes.length;
  }
  return out;
}

/** Splits what `saveParts` made, without loading it. */
export function splitParts(saved: Uint8Array, count: number, what: string): Uint8Array[] {
  const damaged = () => new StateError('state-truncated', `The saved state of ${what} is cut short or damaged.`);
  const view = new DataView(saved.buffer, saved.byteOffset, saved.length);
  if (saved.length < 4 || view.getUint32(0, true) !== count) throw damaged();
  const parts: Uint8Array[] = [];
  let at = 4;
  for (let i = 0; i < count; i++) {
    if (at + 4 > saved.length) throw damaged();
    const length = view.getUint32(at, true);
    if (at + 4 + length > saved.length) throw damaged();
    parts.push(saved.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  if (at !== saved.length) throw damaged();
  return parts;
}

/** `check` runs when all parts are loaded; it throws StateError for parts that do not fit together. */
export function loadParts(parts: readonly StatePart[], saved: Uint8Array, what: string, check?: () => void): void {
  const pieces = splitParts(saved, parts.length, what);
  const before = parts.map((part) => part.save());
  try {
    for (const [i, part] of parts.entries()) part.load(pieces[i]!);
    check?.();
  } catch (error) {
    for (const [i, part] of parts.entries()) part.load(before[i]!);
    throw error;
  }
}
