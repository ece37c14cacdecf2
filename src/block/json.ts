/**
 * JSON as QEMU's command lines take it: RFC 8259, and strings may also stand in single quotes. Errors carry QEMU's sentences.
 */
import { BlockError } from './errors.js';

/** Deeper nesting is refused. */
const maxDepth = 1024;

const escapes: Readonly<Record<string, string>> = {
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  '"': '"',
  "'": "'",
  '\\': '\\',
  '/': '/',
};

function refuse(what: string): never {
  throw new BlockError('EINVAL', `JSON parse error, ${what}`);
}

class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** The next character that is no blank; undefined at the end. */
  peek(): string | undefined {
    while (/[ \t\r\n]/.test(this.#text[this.#at] ?? '')) this.#at++;
    return this.#text[this.#at];
  }

  #take(wanted: string): boolean {
    if (this.peek() !== wanted) return false;
    this.#at++;
    return true;
  }

  #more(): string {
    return this.peek() ?? refuse('premature EOI');
  }

  value(depth = 0): unknown {
    if (depth > maxDepth) refuse('JSON too large');
    const first = this.#more();
    if (first === '{') return this.#object(depth);
    if (first === '[') return this.#list(depth);
    if (first === '"' || first === "'") return this.#string();
    if (first === '-' || (first >= '0' && first <= '9')) return this.#number();
    if (/[a-z]/.test(first)) return this.#keyword();
    if (first === '}' || first === ']' || first === ',' || first === ':') return refuse('expecting value');
    return refuse(`stray '${first}'`);
  }

  #object(depth: number): unknown {
    const members = new Map<string, unknown>();
    this.#at++;
    if (this.#take('}')) return {};
    for (;;) {
      const first = this.#more();
      const key = this.value(depth + 1);
      if (typeof key !== 'string' || (first !== '"' && first !== "'")) refuse('key is not a string in object');
      this.#more();
      if (!this.#take(':')) refuse('missing : in object pair');
      const value = this.value(depth + 1);
      if (members.has(key)) refuse('duplicate key');
      members.set(key, value);
      this.#more();
      if (this.#take('}')) return Object.fromEntries(members);
      if (!this.#take(',')) refuse('expected separator in dict');
    }
  }

  #list(depth: number): unknown {
    const members: unknown[] = [];
    this.#at++;
    if (this.#take(']')) return members;
    for (;;) {
      members.push(this.value(depth + 1));
      this.#more();
      if (this.#take(']')) return members;
      if (!this.#take(',')) refuse('expected separator in list');
    }
  }

  #string(): string {
    const start = this.#at;
    const quote = this.#text[this.#at++];
    let value = '';
    for (;;) {
      const character = this.#text[this.#at++];
      if (character === undefined || character < ' ') refuse(`stray '${this.#text.slice(start, this.#at)}'`);
      if (character === quote) return value;
      if (character !== '\\') {
        value += character;
        continue;
      }
      const letter = this.#text[this.#at++] ?? '';
      if (letter === 'u') value += this.#character();
      else value += escapes[letter] ?? refuse('invalid escape sequence in string');
    }
  }

  /** What follows `\\u`: four hexadecimal digits, and another such group where they are the first half of a pair. */
  #character(): string {
    const start = this.#at - 2;
    const unit = (at: number): number => {
      const digits = this.#text.slice(at, at + 4);
      return /^[0-9a-fA-F]{4}$/.test(digits) ? Number.parseInt(digits, 16) : -1;
    };
    let point = unit(this.#at);
    this.#at += 4;
    if ((point & ~0x3ff) === 0xd800 && this.#text.startsWith('\\u', this.#at)) {
      const second = unit(this.#at + 2);
      if ((second & ~0x3ff) === 0xdc00) {
        point = 0x10000 + ((point & 0x3ff) << 10) + (second & 0x3ff);
        this.#at += 6;
      }
    }
    const isCharacter = point >= 0 && !(point >= 0xd800 && point < 0xe000);
    const isReserved = (point >= 0xfdd0 && point <= 0xfdef) || (point & 0xfffe) === 0xfffe;
    if (!isCharacter || isReserved) refuse(`${this.#text.slice(start, this.#at)} is not a valid Unicode character`);
    return String.fromCodePoint(point);
  }

  #number(): number {
    const rest = this.#text.slice(this.#at);
    const whole = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])/.exec(rest)?.[0];
    if (whole === undefined) return refuse(`stray '${/^[-+\w.]+.?/.exec(rest)?.[0] ?? ''}'`);
    this.#at += whole.length;
    return Number(whole);
  }

  #keyword(): unknown {
    const word = /^[a-z]+/.exec(this.#text.slice(this.#at))![0];
    this.#at += word.length;
    if (word === 'true') return true;
    if (word === 'false') return false;
    return word === 'null' ? null : refuse(`invalid keyword '${word}'`);
  }
}

/** QEMU keeps an object's members in so many lists. */
const memberLists = 512;

function memberList(key: string): number {
  const bytes = new TextEncoder().encode(key);
  let value = Math.imul(0x238f13af, bytes.length);
  for (let index = 0; index < bytes.length; index++) value = (value + (bytes[index]! << ((index * 5) % 24))) | 0;
  return ((Math.imul(1103515243, value) + 12345) >>> 0) % memberLists;
}

/**
 * JSON on one line as QEMU writes it: a space after colons and commas, and members in the order of its hash table (tdb_hash), which names
 * of images have that scripts compare.
 */
export function hashedJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(hashedJson).join(', ')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const members = Object.entries(value).map(([key, member]) => ({ list: memberList(key), key, member }));
  // Of two in one list the later comes first.
  members.reverse().sort((a, b) => a.list - b.list);
  return `{${members.map(({ key, member }) => `${JSON.stringify(key)}: ${hashedJson(member)}`).join(', ')}}`;
}

/** One JSON value. */
export function parseJson(text: string): unknown {
  const reader = new Reader(text);
  if (reader.peek() === undefined) throw new BlockError('EINVAL', 'Expecting a JSON value');
  const value = reader.value();
  if (reader.peek() !== undefined) throw new BlockError('EINVAL', 'Expecting at most one JSON value');
  return value;
}
