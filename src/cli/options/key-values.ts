/** QEMU's `key=value,key=value`: a comma in a value is written twice; a first word without `=` is the implied key's value. */
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';

export class KeyValues {
  /** How messages call the option, e.g. `-drive`. */
  readonly option: string;
  readonly #values = new Map<string, string>();
  readonly #all: readonly (readonly [string, string])[];
  readonly #used = new Set<string>();

  /** Throws UsageError where `id` is not what QEMU takes for one. */
  constructor(option: string, values: Iterable<readonly [string, string]>) {
    this.option = option;
    this.#all = [...values];
    for (const [key, value] of this.#all) this.#values.set(key, value);
    checkIdentifier(option, this.#values.get('id'));
  }

  /** `implied`: the key of a first value that names none. A later word without `=` is a switch that is on. */
  static parse(option: string, text: string, implied?: string): KeyValues {
    const values: [string, string][] = [];
    const parts = splitCommas(text);
    for (const [i, part] of parts.entries()) {
      if (part === '' && parts.length > 1 && i === parts.length - 1) continue;
      const equals = part.indexOf('=');
      if (equals > 0) values.push([part.slice(0, equals), part.slice(equals + 1)]);
      else if (i === 0 && implied !== undefined && equals !== 0) values.push([implied, part]);
      else if (/^no[a-z]/.test(part)) values.push([part.slice(2), 'off']);
      else if (/^[\w.-]+$/.test(part)) values.push([part, 'on']);
      else throw new UsageError(`${option} ${text}: '${part}' is not of the form key=value`);
    }
    return new KeyValues(option, values);
  }

  /** With `-` for `_` in all keys: machines' properties are spelled either way. */
  get withDashes(): KeyValues {
    return new KeyValues(
      this.option,
      this.#all.map(([key, value]) => [key.replaceAll('_', '-'), value] as const),
    );
  }

  /** With these where nothing else is said. */
  withDefaults(values: Iterable<readonly [string, string]>): KeyValues {
    return new KeyValues(this.option, [...values, ...this.#all]);
  }

  /** A key that changes nothing as long as its value is one of these. */
  settled(key: string, ...accepted: readonly string[]): void {
    const value = this.text(key);
    if (value !== undefined && !accepted.includes(value))
      throw new UsageError(`${this.option}: ${key}=${value} is not supported yet`);
  }

  get keys(): IterableIterator<string> {
    return this.#values.keys();
  }

  /** All that was given; looking at it here uses nothing up. */
  get entries(): ReadonlyMap<string, string> {
    return this.#values;
  }

  /** In their order, and as often as they were given. */
  get given(): readonly (readonly [string, string])[] {
    return this.#all;
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  text(key: string): string | undefined {
    this.#used.add(key);
    return this.#values.get(key);
  }

  /** Of a key that may be given several times. */
  all(key: string): string[] {
    this.#used.add(key);
    return this.#all.filter(([name]) => name === key).map(([, value]) => value);
  }

  need(key: string): string {
    const value = this.text(key);
    if (value === undefined || value === '') throw new UsageError(`${this.option}: ${key}= is missing`);
    return value;
  }

  flag(key: string): boolean | undefined {
    const value = this.text(key);
    if (value === undefined) return undefined;
    if (/^(on|yes|true|y)$/i.test(value)) return true;
    if (/^(off|no|false|n)$/i.test(value)) return false;
    throw new UsageError(`${this.option}: ${key} is on or off, not '${value}'`);
  }

  /** `auto` is as if it were not given. */
  onOffAuto(key: string): boolean | undefined {
    return this.text(key)?.toLowerCase() === 'auto' ? undefined : this.flag(key);
  }

  /** A whole number, decimal or 0x…. */
  number(key: string, least: number, most: number): number | undefined {
    const value = this.text(key);
    if (value === undefined) return undefined;
    const number = /^(0x[0-9a-f]+|\d+)$/i.test(value) ? Number(value) : Number.NaN;
    if (!(number >= least && number <= most)) {
      throw new UsageError(`${this.option}: ${key} is a whole number from ${least} to ${most}, not '${value}'`);
    }
    return number;
  }

  choice<T extends string>(key: string, words: readonly T[]): T | undefined {
    const value = this.text(key);
    if (value === undefined || words.includes(value as T)) return value as T | undefined;
    throw new UsageError(`${this.option}: ${key} is ${words.join(', ')}, not '${value}'`);
  }

  /** What nobody has asked for. */
  get unused(): string[] {
    return [...this.keys].filter((key) => !this.#used.has(key));
  }

  /** Refuses what nobody has asked for: keys of `unsupported` by that name, others as mistakes. */
  finish(unsupported: readonly string[] = []): void {
    for (const key of this.unused) {
      if (unsupported.includes(key)) throw new UsageError(`${this.option}: ${key}= is not supported yet`);
      throw new UsageError(`${this.option}: there is no ${key}=${didYouMean(key, this.#used)}`);
    }
  }
}

/** Throws UsageError. */
export function checkIdentifier(option: string, id: string | undefined): void {
  if (id === undefined || /^[a-z][\w.-]*$/i.test(id)) return;
  // What is asked by a monitor is not named in its answer.
  throw new UsageError(`${option.startsWith('-') ? `${option}: ` : ''}Parameter 'id' expects an identifier`);
}

function splitCommas(text: string): string[] {
  const parts: string[] = [''];
  for (let i = 0; i < text.length; i++) {
    if (text[i] !== ',') parts[parts.length - 1] += text[i];
    else if (text[i + 1] === ',') {
      parts[parts.length - 1] += ',';
      i++;
    } else parts.push('');
  }
  return parts;
}

/** A size as QEMU writes it: a number, perhaps with a fraction, and k, M, G or T. Without a letter it counts `unit` bytes. */
export function parseSize(option: string, text: string, unit: 'M' | 'B'): number {
  const match = /^(\d+(?:\.\d+)?)\s*([bkmgtpe]?)(?:i?b)?$/i.exec(text);
  const factors: Readonly<Record<string, number>> = {
    b: 1,
    k: 2 ** 10,
    m: 2 ** 20,
    g: 2 ** 30,
    t: 2 ** 40,
    p: 2 ** 50,
    e: 2 ** 60,
  };
  const bytes = match ? Number(match[1]) * factors[(match[2] || unit).toLowerCase()] : Number.NaN;
  if (!Number.isFinite(bytes) || bytes > Number.MAX_SAFE_INTEGER) {
    throw new UsageError(`${option} ${text}: this is no size; a size is a number with K, M or G`);
  }
  return Math.floor(bytes);
}
