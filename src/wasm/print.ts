/**
 * WebAssembly modules as text, for `-d wasm`: what `ModuleWriter` and the emitters write (Core Specification 2.0 §5 and §6), one
 * instruction a line. Instructions that no emitter of ours writes are shown by their byte, and end the function.
 */
import { opList, opNames } from '../ir/index.js';
import { encodings } from './op-tables.js';

type Immediates = 'none' | 'lane' | 'shuffle' | 'memarg' | 'index' | 'two';

interface Instruction {
  readonly name: string;
  readonly immediates: Immediates;
}

const PREFIXES = [0xfc, 0xfd, 0xfe];

/** By the first byte, or by prefix × 1024 + number. */
const instructions = new Map<number, Instruction>();

/** `i32_add` is `i32.add`; the next underscores stay. */
const textName = (name: string) => name.replace('_', '.');

function uleb(bytes: readonly number[], from: number): { value: number; next: number } {
  let value = 0;
  let at = from;
  for (let shift = 0; ; shift += 7) {
    value += (bytes[at] & 127) * 2 ** shift;
    if (bytes[at++] < 128) return { value, next: at };
  }
}

opList.forEach((row, op) => {
  if (!row.wasm) return;
  const prefixed = PREFIXES.includes(row.wasm[0]);
  const { value, next } = prefixed ? uleb(row.wasm, 1) : { value: 0, next: 1 };
  // Rows of several instructions, or with immediates of their own, are made of others.
  if (next !== row.wasm.length) return;
  const immediates = (['none', 'lane', 'shuffle', 'memarg'] as const)[encodings[row.encoding]];
  const key = prefixed ? row.wasm[0] * 1024 + value : row.wasm[0];
  if (!instructions.has(key)) instructions.set(key, { name: textName(opNames[op]), immediates });
});
for (const [key, name, immediates = 'none'] of [
  [0x00, 'unreachable'],
  [0x01, 'nop'],
  [0x0c, 'br', 'index'],
  [0x0d, 'br_if', 'index'],
  [0x0f, 'return'],
  [0x10, 'call', 'index'],
  [0x1a, 'drop'],
  [0x1b, 'select'],
  [0x20, 'local.get', 'index'],
  [0x21, 'local.set', 'index'],
  [0x22, 'local.tee', 'index'],
  [0x51, 'i64.eq'],
  [0x7c, 'i64.add'],
  [0xad, 'i64.extend_i32_u'],
  [0xa7, 'i32.wrap_i64'],
  [0xfc * 1024 + 10, 'memory.copy', 'two'],
  [0xfc * 1024 + 11, 'memory.fill', 'index'],
  [0xfe * 1024 + 16, 'i32.atomic.load', 'memarg'],
  [0xfe * 1024 + 23, 'i32.atomic.store', 'memarg'],
] as const) {
  if (!instructions.has(key)) instructions.set(key, { name, immediates });
}

const typeNames: Readonly<Record<number, string>> = {
  127: 'i32',
  126: 'i64',
  125: 'f32',
  124: 'f64',
  123: 'v128',
  112: 'funcref',
};

class Reader {
  readonly bytes: Uint8Array;
  at: number;
  readonly #view: DataView;

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes;
    this.at = at;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  u8(): number {
    return this.bytes[this.at++];
  }
  u32(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.u8();
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  }
  signed(bits: 32 | 64): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.u8();
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asIntN(Math.min(bits, Number(shift) + 7), value);
    }
  }
  float(bytes: 4 | 8): string {
    const value = bytes === 4 ? this.#view.getFloat32(this.at, true) : this.#view.getFloat64(this.at, true);
    this.at += bytes;
    return Object.is(value, -0) ? '-0' : String(value).replace('NaN', 'nan').replace('Infinity', 'inf');
  }
  name(): string {
    const length = this.u32();
    this.at += length;
    return new TextDecoder().decode(this.bytes.subarray(this.at - length, this.at));
  }
}

function naturalBytes(name: string): number {
  const narrow = /(?:load|store)(8|16|32)/.exec(name);
  if (narrow) return Number(narrow[1]) / 8;
  return name.startsWith('v128') ? 16 : /^.64/.test(name) ? 8 : 4;
}

function memarg(r: Reader, name: string): string {
  const bytes = 2 ** r.u32();
  const offset = r.u32();
  return `${name}${offset === 0 ? '' : ` offset=${offset}`}${bytes === naturalBytes(name) ? '' : ` align=${bytes}`}`;
}

function blockType(r: Reader): string {
  const byte = r.bytes[r.at];
  if (byte === 0x40) {
    r.at++;
    return '';
  }
  const type = typeNames[byte];
  if (type !== undefined) {
    r.at++;
    return ` (result ${type})`;
  }
  return ` (type ${r.signed(32)})`;
}

/** One function's instructions, indented; without the `end` that closes it. */
function printBody(r: Reader, end: number, line: (text: string) => void, functionName: (index: number) => string) {
  let depth = 0;
  const put = (text: string, by = 0) => line(`${'  '.repeat(Math.max(0, depth + by))}${text}`);
  while (r.at < end) {
    const at = r.at;
    const byte = r.u8();
    switch (byte) {
      case 0x02:
      case 0x03:
      case 0x04:
        put(`${['block', 'loop', 'if'][byte - 2]}${blockType(r)}`);
        depth++;
        continue;
      case 0x05:
        put('else', -1);
        continue;
      case 0x0b:
        if (r.at === end) return;
        depth--;
        put('end');
        continue;
      case 0x0e: {
        const count = r.u32();
        put(`br_table ${Array.from({ length: count + 1 }, () => r.u32()).join(' ')}`);
        continue;
      }
      case 0x11: {
        const type = r.u32();
        r.u32();
        put(`call_indirect (type ${type})`);
        continue;
      }
      case 0x1c:
        put(`select (result ${Array.from({ length: r.u32() }, () => typeNames[r.u8()]).join(' ')})`);
        continue;
      case 0x41:
        put(`i32.const ${r.signed(32)}`);
        continue;
      case 0x42:
        put(`i64.const ${r.signed(64)}`);
        continue;
      case 0x43:
        put(`f32.const ${r.float(4)}`);
        continue;
      case 0x44:
        put(`f64.const ${r.float(8)}`);
        continue;
    }
    const sub = PREFIXES.includes(byte) ? r.u32() : 0;
    if (byte === 0xfd && sub === 12) {
      const words = Array.from({ length: 4 }, () => {
        const word = r.u8() | (r.u8() << 8) | (r.u8() << 16) | (r.u8() << 24);
        return `0x${(word >>> 0).toString(16).padStart(8, '0')}`;
      });
      put(`v128.const i32x4 ${words.join(' ')}`);
      continue;
    }
    if (byte === 0xfe && sub === 3) {
      r.u8();
      put('atomic.fence');
      continue;
    }
    const found = instructions.get(PREFIXES.includes(byte) ? byte * 1024 + sub : byte);
    if (!found) {
      put(`;; byte 0x${byte.toString(16)} at ${at}: no instruction that vring writes`);
      return;
    }
    const { name } = found;
    switch (found.immediates) {
      case 'none':
        put(name);
        break;
      case 'index': {
        const index = r.u32();
        put(name === 'memory.fill' ? name : `${name} ${byte === 0x10 ? functionName(index) : index}`);
        break;
      }
      case 'two':
        r.at += 2;
        put(name);
        break;
      case 'lane':
        put(`${name} ${r.u8()}`);
        break;
      case 'shuffle':
        put(`${name} ${Array.from({ length: 16 }, () => r.u8()).join(' ')}`);
        break;
      case 'memarg':
        put(memarg(r, name));
    }
  }
}

/** A module: types, imports, then each function by its export. Custom sections are left out. */
export function printModule(bytes: Uint8Array): string[] {
  const lines: string[] = ['(module'];
  const types: string[] = [];
  const names: string[] = [];
  const functionTypes: number[] = [];
  const exported = new Map<number, string>();
  const functionName = (index: number) => (names[index] === undefined ? String(index) : `$${names[index]}`);
  const r = new Reader(bytes, 8);
  while (r.at < bytes.length) {
    const id = r.u8();
    const end = r.u32() + r.at;
    const count = id === 0 ? 0 : r.u32();
    for (let i = 0; i < count; i++) {
      switch (id) {
        case 1: {
          r.u8();
          const list = (what: string) => {
            const of = Array.from({ length: r.u32() }, () => typeNames[r.u8()]);
            return of.length === 0 ? '' : ` (${what} ${of.join(' ')})`;
          };
          types.push(`(func${list('param')}${list('result')})`);
          lines.push(`  (type (;${i};) ${types[i]})`);
          break;
        }
        case 2: {
          const module = r.name();
          const name = r.name();
          const from = `"${module}" "${name}"`;
          const kind = r.u8();
          if (kind === 0) {
            names.push(name);
            lines.push(`  (import ${from} (func $${name} (type ${r.u32()})))`);
          } else {
            const type = kind === 1 ? typeNames[r.u8()] : undefined;
            const flags = r.u8();
            const limits = [r.u32(), ...((flags & 1) !== 0 ? [r.u32()] : [])].join(' ');
            const shared = (flags & 2) !== 0 ? ' shared' : '';
            lines.push(`  (import ${from} (${type ? `table ${limits} ${type}` : `memory ${limits}${shared}`}))`);
          }
          break;
        }
        case 3:
          functionTypes.push(r.u32());
          break;
        case 7: {
          const name = r.name();
          r.u8();
          exported.set(r.u32(), name);
          break;
        }
        case 10: {
          const stop = r.u32() + r.at;
          const locals: string[] = [];
          for (let groups = r.u32(); groups > 0; groups--) {
            const many = r.u32();
            const type = typeNames[r.u8()];
            for (let n = 0; n < many; n++) locals.push(type);
          }
          const index = names.length + i;
          const name = exported.get(index);
          lines.push(
            `  (func (;${index};)${name === undefined ? '' : ` (export "${name}")`} (type ${functionTypes[i]})`,
          );
          if (locals.length > 0) lines.push(`    (local ${locals.join(' ')})`);
          printBody(r, stop, (text) => lines.push(`    ${text}`), functionName);
          lines[lines.length - 1] += ')';
          r.at = stop;
        }
      }
    }
    r.at = end;
  }
  lines.push(')');
  return lines;
}
