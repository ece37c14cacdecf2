/**
 * State declared as data (DESIGN §2): a schema names every field of a device's or vCPU's state once; allocation, reset,
 * save and load come from it.
 *
 *     const UartState = defineState('uart16550', 1, { IER: u8(), fifo: bytes(16), fifoHead: u8(0, { max: 15 }) });
 *     const state = UartState.allocate(arena);
 *     state.IER |= 1; state.fifo[state.fifoHead] = 65;
 *
 * A struct is a set of typed-array views over one region of an ArrayBuffer or SharedArrayBuffer, with one accessor per
 * scalar field on a prototype made once per schema: an access costs what the typed-array access costs, and a second
 * thread that attaches to the same region sees the same state. Fields lie in order of falling width, so nothing is padded.
 *
 * Saved form (little endian): u8 length and ASCII name of the schema, u32 version, u16 number of columns, then per column
 * u8 length and ASCII name, u8 kind, u32 number of elements, elements. A `list` is saved as one column per member.
 */
import { assert, VringError } from '../base/index.js';

/** Saved bytes that are damaged, of another device, of a newer version, or out of the declared range. */
export class StateError extends VringError {}

export type FieldKind = 'u8' | 'u16' | 'u32' | 'i32' | 'f64' | 'u64' | 'bool';

/** 292 years. */
const MAX_TIME_NS = 2 ** 63;

const KINDS: readonly FieldKind[] = ['u8', 'u16', 'u32', 'i32', 'f64', 'u64', 'bool'];
const WIDTH: Record<FieldKind, 1 | 2 | 4 | 8> = { u8: 1, bool: 1, u16: 2, u32: 4, i32: 4, f64: 8, u64: 8 };
const LIMITS: Record<FieldKind, readonly [number | bigint, number | bigint]> = {
  u8: [0, 0xff],
  bool: [0, 1],
  u16: [0, 0xffff],
  u32: [0, 0xffffffff],
  i32: [-0x80000000, 0x7fffffff],
  f64: [-Infinity, Infinity],
  u64: [0n, 0xffffffffffffffffn],
};

export interface FieldOptions {
  /** Smallest and largest value that a saved state may hold. */
  min?: number;
  max?: number;
  /** An f64 that holds whole numbers only. */
  integer?: boolean;
  /** Survives `reset` (battery-backed or set by the board). */
  keep?: boolean;
  /** The schema version that introduced the field: older saved states load with the reset value. */
  since?: number;
}

/** One declared field. `T` is what the struct's property of that name holds. */
export interface Field<T> {
  readonly kind: FieldKind | 'list';
  /** Elements; undefined for a scalar. */
  readonly length: number | undefined;
  readonly reset: number | bigint;
  readonly min: number | bigint;
  readonly max: number | bigint;
  readonly integer: boolean;
  readonly keep: boolean;
  readonly since: number;
  readonly members?: Fields;
  /** Carries the type; never present. */
  readonly value?: T;
}

export type Fields = { readonly [name: string]: Field<unknown> };
type Scalar = number | bigint | boolean;
type ValueOf<F> = F extends Field<infer T> ? T : never;
/** The struct that a schema with these fields allocates. */
export type StructOf<F extends Fields> = {
  -readonly [K in keyof F as ValueOf<F[K]> extends Scalar ? K : never]: ValueOf<F[K]>;
} & {
  readonly [K in keyof F as ValueOf<F[K]> extends Scalar ? never : K]: ValueOf<F[K]>;
};

function field<T>(
  kind: FieldKind,
  length: number | undefined,
  reset: number | bigint,
  options: FieldOptions = {},
): Field<T> {
  const [min, max] = LIMITS[kind];
  return {
    kind,
    length,
    reset,
    min: options.min ?? min,
    max: options.max ?? max,
    integer: options.integer ?? false,
    keep: options.keep ?? false,
    since: options.since ?? 1,
  };
}

export const u8 = (reset = 0, options?: FieldOptions): Field<number> => field('u8', undefined, reset, options);
export const u16 = (reset = 0, options?: FieldOptions): Field<number> => field('u16', undefined, reset, options);
export const u32 = (reset = 0, options?: FieldOptions): Field<number> => field('u32', undefined, reset, options);
export const i32 = (reset = 0, options?: FieldOptions): Field<number> => field('i32', undefined, reset, options);
/** A time or a count beyond 32 bits; NaN is refused on load. */
export const f64 = (reset = 0, options?: FieldOptions): Field<number> => field('f64', undefined, reset, options);
/** A virtual time that lies in the past or present. */
export const timeNs = (reset = 0, options?: FieldOptions): Field<number> =>
  f64(reset, { min: 0, max: MAX_TIME_NS, ...options });
/** The virtual time of an event to come; Infinity for none. */
export const deadlineNs = (): Field<number> => f64(Infinity, { min: 0 });
/** A bigint: for values that are rarely touched. */
export const u64 = (reset = 0n, options?: FieldOptions): Field<bigint> => field('u64', undefined, reset, options);
export const bool = (reset = false, options?: FieldOptions): Field<boolean> =>
  field('bool', undefined, reset ? 1 : 0, options);
export const bytes = (length: number, options?: FieldOptions, reset = 0): Field<Uint8Array> =>
  field('u8', length, reset, options);
export const u16s = (length: number, options?: FieldOptions, reset = 0): Field<Uint16Array> =>
  field('u16', length, reset, options);
export const u32s = (length: number, options?: FieldOptions, reset = 0): Field<Uint32Array> =>
  field('u32', length, reset, options);
export const f64s = (length: number, options?: FieldOptions, reset = 0): Field<Float64Array> =>
  field('f64', length, reset, options);
export const u64s = (length: number, options?: FieldOptions, reset = 0n): Field<BigUint64Array> =>
  field('u64', length, reset, options);
/** `length` like structs, such as the channels of a timer chip. Lists do not nest. */
export const list = <F extends Fields>(length: number, members: F): Field<readonly StructOf<F>[]> => ({
  kind: 'list',
  length,
  reset: 0,
  min: 0,
  max: 0,
  integer: false,
  keep: false,
  since: 1,
  members,
});

/**
 * Hands out regions of one buffer in order. A thread that attaches to a machine's state makes the same allocations in the
 * same order with `attached` set: it gets the same regions and leaves their contents alone.
 */
export class StateArena {
  readonly buffer: ArrayBufferLike;
  readonly attached: boolean;
  readonly #end: number;
  #next: number;
  constructor(buffer: ArrayBufferLike, options: { offset?: number; length?: number; attached?: boolean } = {}) {
    this.buffer = buffer;
    this.attached = options.attached ?? false;
    this.#next = options.offset ?? 0;
    this.#end = this.#next + (options.length ?? buffer.byteLength - this.#next);
    assert(this.#next % 8 === 0 && this.#end <= buffer.byteLength, 'a state arena is aligned and inside its buffer');
  }
  get usedTo(): number {
    return this.#next;
  }
  take(sizeBytes: number): number {
    const at = this.#next;
    this.#next += (sizeBytes + 7) & ~7;
    assert(this.#next <= this.#end, 'the state arena is large enough for all devices');
    return at;
  }
}

/** The views behind one struct. The names start with `$`, which no field may. */
interface Views {
  readonly $u8: Uint8Array;
  readonly $u16: Uint16Array;
  readonly $u32: Uint32Array;
  readonly $i32: Int32Array;
  readonly $f64: Float64Array;
  readonly $u64: BigUint64Array;
}
type StructClass = new (buffer: ArrayBufferLike, base: number) => Views;
type NumberArray = Uint8Array | Uint16Array | Uint32Array | Int32Array | Float64Array;

interface Column {
  readonly name: string;
  readonly field: Field<unknown>;
  readonly kind: FieldKind;
  /** Byte offset of the first element, bytes from one list item to the next, elements per item, items. */
  readonly offset: number;
  readonly stride: number;
  readonly length: number;
  readonly items: number;
}

function viewOf(struct: Views, kind: FieldKind): NumberArray | BigUint64Array {
  switch (kind) {
    case 'u16':
      return struct.$u16;
    case 'u32':
      return struct.$u32;
    case 'i32':
      return struct.$i32;
    case 'f64':
      return struct.$f64;
    case 'u64':
      return struct.$u64;
    default:
      return struct.$u8;
  }
}

/** One literal per kind, so that each accessor stays monomorphic. */
function accessors(kind: FieldKind, index: number): PropertyDescriptor & ThisType<Views> {
  const common = { enumerable: true, configurable: false };
  switch (kind) {
    case 'u8':
      return {
        ...common,
        get() {
          return this.$u8[index];
        },
        set(value: number) {
          this.$u8[index] = value;
        },
      };
    case 'bool':
      return {
        ...common,
        get() {
          return this.$u8[index] !== 0;
        },
        set(value: boolean) {
          this.$u8[index] = value ? 1 : 0;
        },
      };
    case 'u16':
      return {
        ...common,
        get() {
          return this.$u16[index];
        },
        set(value: number) {
          this.$u16[index] = value;
        },
      };
    case 'u32':
      return {
        ...common,
        get() {
          return this.$u32[index];
        },
        set(value: number) {
          this.$u32[index] = value;
        },
      };
    case 'i32':
      return {
        ...common,
        get() {
          return this.$i32[index];
        },
        set(value: number) {
          this.$i32[index] = value;
        },
      };
    case 'f64':
      return {
        ...common,
        get() {
          return this.$f64[index];
        },
        set(value: number) {
          this.$f64[index] = value;
        },
      };
    case 'u64':
      return {
        ...common,
        get() {
          return this.$u64[index];
        },
        set(value: bigint) {
          this.$u64[index] = value;
        },
      };
  }
}

interface Layout {
  readonly size: number;
  readonly columns: readonly Column[];
  readonly Struct: StructClass;
}

function layOut(fields: Fields, insideList: boolean): Layout {
  interface Placed {
    name: string;
    field: Field<unknown>;
    width: number;
    size: number;
    inner?: Layout;
  }
  const placed: Placed[] = Object.entries(fields).map(([name, f]) => {
    assert(/^[A-Za-z][A-Za-z0-9_]*$/.test(name), `a field name is a plain word: ${name}`);
    if (f.kind === 'list') {
      assert(!insideList && f.members !== undefined, 'lists do not nest');
      const inner = layOut(f.members, true);
      return { name, field: f, width: 8, size: inner.size * (f.length ?? 1), inner };
    }
    return { name, field: f, width: WIDTH[f.kind], size: WIDTH[f.kind] * (f.length ?? 1) };
  });
  placed.sort((a, b) => b.width - a.width);

  const columns: Column[] = [];
  const scalars: { name: string; descriptor: PropertyDescriptor }[] = [];
  const arrays: { name: string; kind: FieldKind; from: number; to: number }[] = [];
  const lists: { name: string; at: number; count: number; inner: Layout }[] = [];
  let at = 0;
  for (const { name, field: f, width, size, inner } of placed) {
    if (f.kind === 'list') {
      const items = f.length ?? 1;
      lists.push({ name, at, count: items, inner: inner! });
      for (const c of inner!.columns) {
        columns.push({ ...c, name: `${name}.${c.name}`, offset: at + c.offset, stride: inner!.size, items });
      }
    } else {
      if (f.length === undefined) scalars.push({ name, descriptor: accessors(f.kind, at / width) });
      else arrays.push({ name, kind: f.kind, from: at / width, to: at / width + f.length });
      columns.push({ name, field: f, kind: f.kind, offset: at, stride: 0, length: f.length ?? 1, items: 1 });
    }
    at += size;
  }
  const structSize = (at + 7) & ~7;

  class Struct implements Views {
    readonly $u8: Uint8Array;
    readonly $u16: Uint16Array;
    readonly $u32: Uint32Array;
    readonly $i32: Int32Array;
    readonly $f64: Float64Array;
    readonly $u64: BigUint64Array;
    constructor(buffer: ArrayBufferLike, base: number) {
      this.$u8 = new Uint8Array(buffer, base, structSize);
      this.$u16 = new Uint16Array(buffer, base, structSize >> 1);
      this.$u32 = new Uint32Array(buffer, base, structSize >> 2);
      this.$i32 = new Int32Array(buffer, base, structSize >> 2);
      this.$f64 = new Float64Array(buffer, base, structSize >> 3);
      this.$u64 = new BigUint64Array(buffer, base, structSize >> 3);
      const own = this as unknown as Record<string, unknown>;
      for (const a of arrays) own[a.name] = viewOf(this, a.kind).subarray(a.from, a.to);
      for (const l of lists) {
        own[l.name] = Array.from(
          { length: l.count },
          (_, i) => new l.inner.Struct(buffer, base + l.at + i * l.inner.size),
        );
      }
    }
  }
  for (const { name, descriptor } of scalars) Object.defineProperty(Struct.prototype, name, descriptor);
  return { size: structSize, columns, Struct };
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly view: DataView;
  readonly #what: string;
  at = 0;
  constructor(source: Uint8Array, what: string) {
    this.#bytes = source;
    this.view = new DataView(source.buffer, source.byteOffset, source.byteLength);
    this.#what = what;
  }
  get left(): number {
    return this.#bytes.length - this.at;
  }
  take(count: number): number {
    if (count > this.left) throw new StateError('state-truncated', `The saved state of ${this.#what} is cut short.`);
    const at = this.at;
    this.at += count;
    return at;
  }
  u8(): number {
    return this.view.getUint8(this.take(1));
  }
  u16(): number {
    return this.view.getUint16(this.take(2), true);
  }
  u32(): number {
    return this.view.getUint32(this.take(4), true);
  }
  text(): string {
    const length = this.u8();
    const at = this.take(length);
    let text = '';
    for (let i = 0; i < length; i++) text += String.fromCharCode(this.#bytes[at + i]!);
    return text;
  }
}

function getElement(view: DataView, kind: FieldKind, at: number): number | bigint {
  switch (kind) {
    case 'u16':
      return view.getUint16(at, true);
    case 'u32':
      return view.getUint32(at, true);
    case 'i32':
      return view.getInt32(at, true);
    case 'f64':
      return view.getFloat64(at, true);
    case 'u64':
      return view.getBigUint64(at, true);
    default:
      return view.getUint8(at);
  }
}

function setElement(view: DataView, kind: FieldKind, at: number, value: number | bigint): void {
  if (kind === 'u64') view.setBigUint64(at, value as bigint, true);
  else if (kind === 'f64') view.setFloat64(at, value as number, true);
  else if (kind === 'u32') view.setUint32(at, value as number, true);
  else if (kind === 'i32') view.setInt32(at, value as number, true);
  else if (kind === 'u16') view.setUint16(at, value as number, true);
  else view.setUint8(at, value as number);
}

/** A named, versioned layout: makes structs, and resets, saves and loads them. */
export class StateSchema<F extends Fields> {
  readonly name: string;
  readonly version: number;
  readonly fields: F;
  /** Bytes that one struct takes; a multiple of 8. */
  readonly sizeBytes: number;
  readonly #layout: Layout;

  constructor(name: string, version: number, fields: F) {
    this.name = name;
    this.version = version;
    this.fields = fields;
    this.#layout = layOut(fields, false);
    this.sizeBytes = this.#layout.size;
  }

  /** A struct with its reset values in the arena's next region (or, of an attached arena, the struct that lies there). */
  allocate(arena?: StateArena): StructOf<F> {
    const buffer = arena?.buffer ?? new ArrayBuffer(this.sizeBytes);
    const struct = new this.#layout.Struct(buffer, arena?.take(this.sizeBytes) ?? 0) as unknown as StructOf<F>;
    if (!arena?.attached) this.#fill(struct, true);
    return struct;
  }

  /** Gives every field its reset value, those declared `keep` excepted. */
  reset(struct: StructOf<F>): void {
    this.#fill(struct, false);
  }

  #fill(struct: StructOf<F>, kept: boolean): void {
    const views = struct as unknown as Views;
    for (const c of this.#layout.columns) {
      if (c.field.keep && !kept) continue;
      const view = viewOf(views, c.kind) as NumberArray;
      for (let item = 0; item < c.items; item++) {
        const from = (c.offset + item * c.stride) / WIDTH[c.kind];
        view.fill(c.field.reset as number, from, from + c.length);
      }
    }
  }

  save(struct: StructOf<F>): Uint8Array {
    const views = struct as unknown as Views;
    let size = 1 + this.name.length + 4 + 2;
    for (const c of this.#layout.columns) size += 1 + c.name.length + 1 + 4 + c.length * c.items * WIDTH[c.kind];
    const out = new Uint8Array(size);
    const view = new DataView(out.buffer);
    let at = 0;
    const text = (s: string) => {
      out[at++] = s.length;
      for (let i = 0; i < s.length; i++) out[at++] = s.charCodeAt(i);
    };
    text(this.name);
    view.setUint32(at, this.version, true);
    view.setUint16(at + 4, this.#layout.columns.length, true);
    at += 6;
    for (const c of this.#layout.columns) {
      text(c.name);
      out[at] = KINDS.indexOf(c.kind);
      view.setUint32(at + 1, c.length * c.items, true);
      at += 5;
      const source = viewOf(views, c.kind);
      const width = WIDTH[c.kind];
      for (let item = 0; item < c.items; item++) {
        const from = (c.offset + item * c.stride) / width;
        if (width === 1) {
          out.set(views.$u8.subarray(from, from + c.length), at);
          at += c.length;
        } else {
          for (let i = 0; i < c.length; i++, at += width) setElement(view, c.kind, at, source[from + i]!);
        }
      }
    }
    return out;
  }

  /** Replaces the struct's contents, or throws StateError and leaves it as it was. */
  load(struct: StructOf<F>, saved: Uint8Array): void {
    const reader = new Reader(saved, this.name);
    const name = reader.text();
    if (name !== this.name) {
      throw new StateError('state-name', `The saved state is of ${JSON.stringify(name)}, not of ${this.name}.`);
    }
    const version = reader.u32();
    if (version < 1 || version > this.version) {
      const known = `this vring knows versions 1 to ${this.version}`;
      throw new StateError('state-version', `The saved state of ${this.name} has version ${version}; ${known}.`);
    }
    const fresh = this.allocate();
    const views = fresh as unknown as Views;
    const missing = new Map(this.#layout.columns.map((c) => [c.name, c]));
    for (let left = reader.u16(); left > 0; left--) {
      const columnName = reader.text();
      const kind = KINDS[reader.u8()];
      const count = reader.u32();
      const c = missing.get(columnName);
      if (c === undefined || c.kind !== kind || c.length * c.items !== count) {
        const field = JSON.stringify(columnName);
        throw new StateError('state-field', `The saved state of ${this.name} has an unfit field ${field}.`);
      }
      missing.delete(columnName);
      const width = WIDTH[c.kind];
      let at = reader.take(count * width);
      const target = viewOf(views, c.kind) as NumberArray;
      const { min, max, integer } = c.field;
      for (let item = 0; item < c.items; item++) {
        const to = (c.offset + item * c.stride) / width;
        for (let i = 0; i < c.length; i++, at += width) {
          const value = getElement(reader.view, c.kind, at);
          if (!(value >= min && value <= max) || (integer && !Number.isInteger(value))) {
            const range = `${integer ? 'whole and ' : ''}${min} to ${max}`;
            throw new StateError(
              'state-range',
              `${this.name}.${columnName} is ${value} in the saved state, not ${range}.`,
            );
          }
          target[to + i] = value as number;
        }
      }
    }
    if (reader.left !== 0) {
      throw new StateError('state-trailing', `The saved state of ${this.name} has ${reader.left} bytes too many.`);
    }
    for (const c of missing.values()) {
      if (c.field.since <= version) {
        throw new StateError('state-missing', `The saved state of ${this.name} lacks the field ${c.name}.`);
      }
    }
    (struct as unknown as Views).$u8.set(views.$u8);
  }
}

export function defineState<const F extends Fields>(name: string, version: number, fields: F): StateSchema<F> {
  return new StateSchema(name, version, fields);
}

/** The struct type of a schema: `StateOf<typeof UartState>`. */
export type StateOf<S> = S extends StateSchema<infer F> ? StructOf<F> : never;
