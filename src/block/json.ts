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
      const hex = letter === 'u' ? /^[0-9a-fA-F]{4}/.exec(this.#text.slice(this.#at, this.#at + 4))?.[0] : undefined;
      if (hex !== undefined) {
        value += String.fromCharCode(Number.parseInt(hex, 16));
        this.#at += 4;
      } else value += escapes[letter] ?? refuse('invalid escape sequence in string');
    }
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

/** One JSON value. */
export function parseJson(text: string): unknown {
  const reader = new Reader(text);
  if (reader.peek() === undefined) throw new BlockError('EINVAL', 'Expecting a JSON value');
  const value = reader.value();
  if (reader.peek() !== undefined) throw new BlockError('EINVAL', 'Expecting at most one JSON value');
  return value;
}
