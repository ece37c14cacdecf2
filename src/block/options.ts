/**
 * Options as rows: one row states a name, a type, a default and a sentence; parsing, `-o help` and documentation come from it.
 *
 * Option sets are flat dictionaries with dotted keys (`file.filename`, `inject-error.0.event`), as QEMU flattens its
 * `-blockdev` objects: JSON, `key=value,…` strings and dotted keys all end here.
 */
import { BlockError } from './errors.js';

export type OptionValue = string | number | boolean | null;
export type OptionDict = Record<string, OptionValue>;
export type OptionType = 'string' | 'size' | 'number' | 'boolean' | 'enum';

export interface OptionRow {
  readonly name: string;
  readonly type: OptionType;
  /** For `enum`. */
  readonly values?: readonly string[];
  readonly default?: OptionValue;
  /** Changes what the disk contains: a node opened with it has a `json:` filename. */
  readonly strong?: boolean;
  /** Help sentence as `-o help` prints it, in our own words where scripts don't match it. */
  readonly help: string;
}

/** Parsed values by name; what was not given and has no default is absent. */
export class OptionValues {
  readonly #values: ReadonlyMap<string, OptionValue>;
  readonly #given: ReadonlySet<string>;
  constructor(values: ReadonlyMap<string, OptionValue>, given: ReadonlySet<string>) {
    this.#values = values;
    this.#given = given;
  }
  /** Was it named by the user (rather than by its default)? */
  given(name: string): boolean {
    return this.#given.has(name);
  }
  names(): readonly string[] {
    return [...this.#given];
  }
  string(name: string): string | undefined {
    const value = this.#values.get(name);
    return value === undefined || value === null ? undefined : String(value);
  }
  number(name: string): number | undefined {
    const value = this.#values.get(name);
    return typeof value === 'number' ? value : undefined;
  }
  boolean(name: string): boolean | undefined {
    const value = this.#values.get(name);
    return typeof value === 'boolean' ? value : undefined;
  }
}

const sizeSuffixes: Readonly<Record<string, number>> = {
  b: 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
  p: 2 ** 50,
  e: 2 ** 60,
};

/**
 * A size as the tools take them: decimal with fraction, or hexadecimal, and one suffix of b k M G T P E (either case).
 * `'range'` from 2^64 on, undefined when malformed. Values past 2^53 lose precision: callers bound them.
 */
export function parseSize(text: string, defaultSuffix = 'b'): number | 'range' | undefined {
  const match = /^\s*\+?(?:(0[xX][0-9a-fA-F]+)|(\d+(?:\.\d*)?))([bBkKmMgGtTpPeE]?)$/.exec(text);
  if (!match) return undefined;
  const suffix = sizeSuffixes[(match[3] || defaultSuffix).toLowerCase()]!;
  const value = match[1] !== undefined ? Number(match[1]) : Number(match[2]);
  if (match[2]?.includes('.') && suffix === 1 && !Number.isInteger(value)) return undefined;
  const size = Math.trunc(value * suffix);
  return size >= 2 ** 64 ? 'range' : size;
}

/** An integer as C's strtoull takes it with base 0: blanks, a sign, `0x` or a leading 0 for octal. `'range'` from 2^64 on. */
export function parseInteger(text: string): number | 'range' | undefined {
  const match = /^\s*([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9]\d*))$/.exec(text);
  if (!match) return undefined;
  const [, sign, hex, octal, decimal] = match;
  const value =
    hex !== undefined ? Number(`0x${hex}`) : octal !== undefined ? Number.parseInt(octal, 8) : Number(decimal);
  if (value >= 2 ** 64) return 'range';
  return sign === '-' ? -value : value;
}

/** All digits of an integer, where String would round from 2^53 on or write an exponent. */
export function integerText(value: number): string {
  return Number.isSafeInteger(value) || !Number.isInteger(value) ? String(value) : String(BigInt(value));
}

/** A switch in any of its spellings; `name` is for the error. */
export function parseBoolean(name: string, value: OptionValue): boolean {
  if (typeof value === 'boolean') return value;
  if (['on', 'yes', 'true', 'y'].includes(String(value))) return true;
  if (['off', 'no', 'false', 'n'].includes(String(value))) return false;
  throw new BlockError('EINVAL', `Parameter '${name}' expects 'on' or 'off'`);
}

function parseValue(row: OptionRow, value: OptionValue): OptionValue {
  switch (row.type) {
    case 'string':
      return value === null ? null : String(value);
    case 'boolean':
      return parseBoolean(row.name, value);
    case 'size': {
      // JSON's numbers come as numbers: whole and not negative ones are sizes, others fail as their text does.
      if (typeof value === 'number' && Number.isInteger(value) && value >= 0) return value;
      const size = typeof value === 'number' && value < 2 ** 64 ? undefined : parseSize(String(value));
      if (size === 'range')
        throw new BlockError('ERANGE', `Value '${value}' is out of range for parameter '${row.name}'`);
      if (size === undefined) {
        throw new BlockError(
          'EINVAL',
          `Parameter '${row.name}' expects a non-negative number below 2^64\nOptional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.`,
        );
      }
      return size;
    }
    case 'number': {
      if (typeof value === 'number' && Number.isInteger(value)) return value;
      const parsed = parseInteger(String(value));
      if (parsed === 'range')
        throw new BlockError('ERANGE', `Value '${value}' is too large for parameter '${row.name}'`);
      if (parsed === undefined) throw new BlockError('EINVAL', `Parameter '${row.name}' expects a number`);
      return parsed;
    }
    case 'enum':
      if (!row.values!.includes(String(value)))
        throw new BlockError('EINVAL', `invalid parameter value: ${String(value)}`);
      return String(value);
  }
}

/** Takes the rows' options out of `dict` (which keeps what no row names) and gives their typed values. */
export function takeOptions(rows: readonly OptionRow[], dict: OptionDict): OptionValues {
  const values = new Map<string, OptionValue>();
  const given = new Set<string>();
  for (const row of rows) {
    const value = dict[row.name];
    if (value !== undefined) {
      values.set(row.name, parseValue(row, value));
      given.add(row.name);
      delete dict[row.name];
    } else if (row.default !== undefined) values.set(row.name, row.default);
  }
  return new OptionValues(values, given);
}

/** Takes `prefix.x` out of `dict` as `x`. */
export function takePrefix(dict: OptionDict, prefix: string): OptionDict {
  const result: OptionDict = {};
  for (const key of Object.keys(dict)) {
    if (!key.startsWith(prefix + '.')) continue;
    result[key.slice(prefix.length + 1)] = dict[key]!;
    delete dict[key];
  }
  return result;
}

/** A JSON value flattened to dotted keys; list members get their index. */
export function flattenOptions(value: unknown, prefix = '', into: OptionDict = {}): OptionDict {
  if (value !== null && typeof value === 'object') {
    for (const [key, member] of Object.entries(value))
      flattenOptions(member, prefix === '' ? key : `${prefix}.${key}`, into);
  } else if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' || value === null)
    into[prefix] = value;
  return into;
}

/** The reverse for `json:` filenames: dotted keys nested again; objects whose keys are 0..n-1 become lists. */
export function nestOptions(dict: OptionDict): unknown {
  const root: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(dict)) {
    const parts = key.split('.');
    let at = root;
    for (const part of parts.slice(0, -1)) {
      const next = at[part];
      at =
        next !== null && typeof next === 'object'
          ? (next as Record<string, unknown>)
          : ((at[part] = {}) as Record<string, unknown>);
    }
    at[parts.at(-1)!] = value;
  }
  const listify = (value: unknown): unknown => {
    if (value === null || typeof value !== 'object') return value;
    const entries = Object.entries(value).map(([key, member]) => [key, listify(member)] as const);
    if (entries.length > 0 && entries.every(([key], index) => key === String(index)))
      return entries.map(([, member]) => member);
    return Object.fromEntries(entries);
  };
  return listify(root);
}

/**
 * `key=value,key2=value2` with QEMU's doubled commas in values; a key without `=` is `on` (`nokey` is off), except that the
 * first may be the value of `implied`. `onSwitch` hears of keys without a value, as they are spelled and as `key`, `value`.
 */
export function parseOptionString(
  text: string,
  implied?: string,
  onSwitch?: (spelling: string, key: string, value: string) => void,
): OptionDict {
  const dict: OptionDict = {};
  let position = 0;
  let first = true;
  while (position < text.length) {
    const stop = /[=,]/g;
    stop.lastIndex = position;
    const at = stop.exec(text);
    const isAssigned = at !== null && at[0] === '=';
    const takeValue = (from: number): string => {
      let value = '';
      let index = from;
      while (index < text.length) {
        const comma = text.indexOf(',', index);
        if (comma < 0) {
          value += text.slice(index);
          index = text.length;
          break;
        }
        value += text.slice(index, comma);
        if (text[comma + 1] === ',') {
          value += ',';
          index = comma + 2;
          continue;
        }
        index = comma + 1;
        break;
      }
      position = index;
      return value;
    };
    if (isAssigned) {
      const key = text.slice(position, at.index);
      dict[key] = takeValue(at.index + 1);
    } else if (first && implied !== undefined) dict[implied] = takeValue(position);
    else {
      const key = takeValue(position);
      if (key === 'help' || key === '?') dict[key] = true;
      else if (key !== '') {
        const isOff = key.startsWith('no') && key.length > 2;
        const name = isOff ? key.slice(2) : key;
        dict[name] = isOff ? 'off' : 'on';
        onSwitch?.(key, name, isOff ? 'off' : 'on');
      }
    }
    first = false;
  }
  return dict;
}
