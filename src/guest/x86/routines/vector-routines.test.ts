/**
 * The vector routines against published vectors (FIPS 197, FIPS 180-4 through node:crypto, Intel's white papers) and against
 * references written here from the manual's pseudocode, element by element.
 */
import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, createHash } from 'node:crypto';
import test from 'node:test';
import type { Routine, TypeName } from '../../../ir/index.js';
import { compileRoutines } from '../../../wasm/routine-module.js';
import { STATE_BYTES, x86Vars } from '../state.js';
import { decrypt, decryptLast, encrypt, encryptLast, keyAssist, mixInverse } from './aes.js';
import { carrylessProduct } from './pclmul.js';
import { routines } from './set.js';
import {
  sha1Message1,
  sha1Message2,
  sha1NextE,
  sha1Rounds,
  sha256Message1,
  sha256Message2,
  sha256Rounds,
} from './sha.js';
import { rcp, rsqrt } from './sse-approximate.js';
import { compareExplicit, compareImplicit } from './string-compare.js';

declare const WebAssembly: {
  readonly Memory: new (descriptor: object) => { readonly buffer: SharedArrayBuffer; grow(pages: number): number };
};

// JavaScript cannot pass vectors: a wrapper of each routine takes its operands from memory and leaves its results there.
const ARGUMENTS = 256;
const RESULTS = 512;
const STATE = 1024;

function wrap(routine: Routine): string {
  const name = `test_${routine.name}`;
  const each = routine as Routine<readonly TypeName[], readonly TypeName[]>;
  routines.define(name, [], [], {}, (r) => {
    const args = each.params.map((type, i) => r[`${type}_load`](r.i32(ARGUMENTS + 16 * i)));
    const results = r.call(each, ...(args as number[] as never[])) as readonly number[];
    each.results.forEach((type, i) => {
      const store = r[`${type}_store`].bind(r) as (address: number, value: number, offset: number) => void;
      store(r.i32(RESULTS + 16 * i), results[i], 0);
    });
  });
  return name;
}

const wrapped = new Map(
  [
    ...[encrypt, encryptLast, decrypt, decryptLast, keyAssist, mixInverse, carrylessProduct, ...sha1Rounds],
    ...[sha1NextE, sha1Message1, sha1Message2, sha256Rounds, sha256Message1, sha256Message2],
    ...[compareImplicit, compareExplicit, rcp, rsqrt],
  ].map((routine) => [routine.name, wrap(routine as unknown as Routine)]),
);

const memoryPages = { initial: 1, maximum: 1 };
const memory = new WebAssembly.Memory({ ...memoryPages, shared: true });
assert(STATE + STATE_BYTES <= memory.buffer.byteLength);
const { exports } = compileRoutines({ set: routines, vars: x86Vars, memory, memoryPages, host: {} });
const heap = new Uint8Array(memory.buffer);

type Operand = Uint8Array | bigint | number;

/** Calls a routine; each result is 16 bytes, of which a narrow one fills the first. */
function call(
  { name, results }: { name: string; results: readonly TypeName[] },
  ...args: Operand[]
): Uint8Array<ArrayBufferLike>[] {
  args.forEach((arg, i) => {
    const bytes = new DataView(new ArrayBuffer(16));
    if (typeof arg === 'bigint') bytes.setBigUint64(0, BigInt.asUintN(64, arg), true);
    else if (typeof arg === 'number') bytes.setInt32(0, arg, true);
    else new Uint8Array(bytes.buffer).set(arg);
    heap.set(new Uint8Array(bytes.buffer), ARGUMENTS + 16 * i);
  });
  const wrapper = wrapped.get(name);
  assert(wrapper);
  exports[wrapper](STATE);
  return results.map((_, i) => heap.slice(RESULTS + 16 * i, RESULTS + 16 * i + 16));
}

function int(bytes: Uint8Array): number {
  return new DataView(bytes.buffer).getInt32(0, true);
}

function long(bytes: Uint8Array): bigint {
  return new DataView(bytes.buffer).getBigUint64(0, true);
}

function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replace(/\s/g, ''), 'hex'));
}

function xor(x: Uint8Array, y: Uint8Array): Uint8Array {
  return x.map((byte, i) => byte ^ y[i]);
}

/** A reproducible stream of bytes. */
function generator(seed: number): (count: number) => Uint8Array<ArrayBuffer> {
  let state = seed;
  return (count) =>
    Uint8Array.from({ length: count }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      return state >>> 24;
    });
}

// --- AES

/** Key schedule of AES-128 as programs do it with AESKEYGENASSIST. */
function schedule(key: Uint8Array): Uint8Array[] {
  const keys = [key];
  for (const constant of [1, 2, 4, 8, 16, 32, 64, 128, 0x1b, 0x36]) {
    const last = keys[keys.length - 1];
    const assisted = call(keyAssist, last, constant)[0].slice(12);
    const next = last.slice();
    for (let i = 0; i < 16; i++) next[i] ^= i < 4 ? assisted[i] : next[i - 4];
    keys.push(next);
  }
  return keys;
}

function encryptBlock(keys: readonly Uint8Array[], block: Uint8Array): Uint8Array {
  let state = xor(block, keys[0]);
  for (const key of keys.slice(1, -1)) state = call(encrypt, state, key)[0];
  return call(encryptLast, state, keys[keys.length - 1])[0];
}

/** The equivalent inverse cipher: the inner round keys go through AESIMC. */
function decryptBlock(keys: readonly Uint8Array[], block: Uint8Array): Uint8Array {
  let state = xor(block, keys[keys.length - 1]);
  for (const key of keys.slice(1, -1).reverse()) state = call(decrypt, state, call(mixInverse, key)[0])[0];
  return call(decryptLast, state, keys[0])[0];
}

test('AES-128: the example of FIPS 197 appendix B', () => {
  const keys = schedule(hex('2b7e151628aed2a6abf7158809cf4f3c'));
  assert.deepEqual(keys[10], hex('d014f9a8c9ee2589e13f0cc8b6630ca6'));
  const encrypted = encryptBlock(keys, hex('3243f6a8885a308d313198a2e0370734'));
  assert.deepEqual(encrypted, hex('3925841d02dc09fbdc118597196a0b32'));
  assert.deepEqual(decryptBlock(keys, encrypted), hex('3243f6a8885a308d313198a2e0370734'));
});

test('AES-128 against another implementation, every byte value', () => {
  const random = generator(1);
  for (let i = 0; i < 300; i++) {
    const key = random(16);
    const block = random(16);
    const cipher = createCipheriv('aes-128-ecb', key, null).setAutoPadding(false);
    const keys = schedule(key);
    assert.deepEqual(encryptBlock(keys, block), Uint8Array.from(cipher.update(block)));
    const decipher = createDecipheriv('aes-128-ecb', key, null).setAutoPadding(false);
    assert.deepEqual(decryptBlock(keys, block), Uint8Array.from(decipher.update(block)));
  }
});

test('AESKEYGENASSIST gives both words with and without rotation', () => {
  // Intel SDM: X1 = word 1, X3 = word 3; S(0) = 63, S(1) = 7c, S(53) = ed
  const result = call(keyAssist, hex('ffffffff 00010053 ffffffff 53000100'), 0x36)[0];
  assert.deepEqual(result, hex('637c63ed 4a63ed63 ed637c63 557c63ed'));
});

// --- PCLMULQDQ

function multiplyCarryless(x: bigint, y: bigint): bigint {
  let product = 0n;
  for (let i = 0n; i < 64n; i++) if ((y >> i) & 1n) product ^= x << i;
  return product;
}

test('carry-less products', () => {
  const random = generator(2);
  const all = 0xffff_ffff_ffff_ffffn;
  const cases: [bigint, bigint][] = [
    [all, all],
    [all, 1n << 63n],
    [0x1111_1111_1111_1111n, all],
    [0n, all],
  ];
  for (let i = 0; i < 2000; i++) cases.push([long(random(8)), long(random(8))]);
  for (const [x, y] of cases) {
    const [low, high] = call(carrylessProduct, x, y).map(long);
    assert.equal((high << 64n) | low, multiplyCarryless(x, y));
  }
});

test('carry-less product: the examples of the GCM white paper', () => {
  // Intel, "Carry-Less Multiplication Instruction and its Usage for Computing the GCM Mode"
  const x = [0x63746f725d53475dn, 0x7b5b546573745665n];
  const y = [0x5b477565726f6e5dn, 0x4869285368617929n];
  const product = (i: number, j: number) => {
    const [low, high] = call(carrylessProduct, x[i], y[j]).map(long);
    return (high << 64n) | low;
  };
  assert.equal(product(0, 0), 0x1d4d84c85c3440c0929633d5d36f0451n);
  assert.equal(product(0, 1), 0x1bd17c8d556ab5a17fa540ac2a281315n);
  assert.equal(product(1, 0), 0x1a2bf6db3a30862fbabf262df4b7d5c9n);
  assert.equal(product(1, 1), 0x1d1e1f2c592e7c45d66ee03e410fd4edn);
});

// --- SHA: whole compressions made of the instructions, against another implementation

function vectorOf(words: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  words.forEach((word, i) => {
    view.setUint32(4 * i, word, true);
  });
  return new Uint8Array(view.buffer);
}

function wordsOf(vector: Uint8Array): number[] {
  const view = new DataView(vector.buffer);
  return [0, 4, 8, 12].map((at) => view.getUint32(at, true));
}

function add(x: Uint8Array, y: Uint8Array): Uint8Array {
  const other = wordsOf(y);
  return vectorOf(wordsOf(x).map((word, i) => (word + other[i]) >>> 0));
}

/** One block of padded message, big-endian words in groups of four. */
function messageBlock(message: Uint8Array): number[][] {
  assert(message.length <= 55);
  const view = new DataView(new ArrayBuffer(64));
  new Uint8Array(view.buffer).set([...message, 0x80]);
  view.setUint32(60, message.length * 8);
  return [0, 1, 2, 3].map((group) => [0, 1, 2, 3].map((i) => view.getUint32(16 * group + 4 * i)));
}

function sha1(message: Uint8Array<ArrayBuffer>): string {
  const initial = vectorOf([0x10325476, 0x98badcfe, 0xefcdab89, 0x67452301]);
  const initialE = vectorOf([0, 0, 0, 0xc3d2e1f0]);
  const w = messageBlock(message).map((words) => vectorOf(words.reverse()));
  let state = initial;
  let e = initialE;
  for (let group = 0; group < 20; group++) {
    if (group >= 4) {
      const partial = xor(call(sha1Message1, w[group - 4], w[group - 3])[0], w[group - 2]);
      w.push(call(sha1Message2, partial, w[group - 1])[0]);
    }
    const message = group === 0 ? add(w[0], e) : call(sha1NextE, e, w[group])[0];
    e = state;
    state = call(sha1Rounds[Math.floor(group / 5)], state, message)[0];
  }
  const words = wordsOf(add(state, initial)).reverse();
  words.push(wordsOf(call(sha1NextE, e, initialE)[0])[3]);
  return words.map((word) => word.toString(16).padStart(8, '0')).join('');
}

/** The first 32 bits of the fractional parts of the cube roots of the first primes. */
function sha256Constants(): number[] {
  const primes: number[] = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime)) primes.push(n);
  return primes.map((prime) => {
    // floor(cbrt(prime) * 2^32), in integers
    const target = BigInt(prime) << 96n;
    let root = 0n;
    for (let bit = 1n << 36n; bit; bit >>= 1n) if ((root + bit) ** 3n <= target) root += bit;
    return Number(root & 0xffffffffn);
  });
}

function sha256(message: Uint8Array<ArrayBuffer>): string {
  const k = sha256Constants();
  let abef = vectorOf([0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667]);
  let cdgh = vectorOf([0x5be0cd19, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372]);
  const initial = [abef, cdgh];
  const w = messageBlock(message).map(vectorOf);
  for (let group = 0; group < 16; group++) {
    if (group >= 4) {
      const [last, before] = [wordsOf(w[group - 1]), wordsOf(w[group - 2])];
      const seven = vectorOf([before[1], before[2], before[3], last[0]]);
      const partial = add(call(sha256Message1, w[group - 4], w[group - 3])[0], seven);
      w.push(call(sha256Message2, partial, w[group - 1])[0]);
    }
    const added = wordsOf(add(w[group], vectorOf(k.slice(4 * group, 4 * group + 4))));
    for (const pair of [added, added.slice(2)]) {
      const next = call(sha256Rounds, cdgh, abef, vectorOf(pair.slice(0, 2)))[0];
      [abef, cdgh] = [next, abef];
    }
  }
  const [f, e, b, a] = wordsOf(add(abef, initial[0]));
  const [h, g, d, c] = wordsOf(add(cdgh, initial[1]));
  return [a, b, c, d, e, f, g, h].map((word) => word.toString(16).padStart(8, '0')).join('');
}

test('SHA-1 and SHA-256 made of the instructions', () => {
  const random = generator(3);
  const messages = [new TextEncoder().encode('abc'), new Uint8Array(0)];
  for (let length = 1; length <= 55; length += 2) messages.push(random(length));
  for (const message of messages) {
    assert.equal(sha1(message), createHash('sha1').update(message).digest('hex'));
    assert.equal(sha256(message), createHash('sha256').update(message).digest('hex'));
  }
});

// --- PCMPxSTRx, after the pseudocode and table 4-7 of the manual

function compareReference(
  a: Uint8Array,
  b: Uint8Array,
  lengths: readonly [bigint, bigint] | undefined,
  control: number,
): [number, number] {
  const count = control & 1 ? 8 : 16;
  const elements = (vector: Uint8Array) =>
    Array.from({ length: count }, (_, i) => {
      const raw = control & 1 ? vector[2 * i] | (vector[2 * i + 1] << 8) : vector[i];
      const bits = control & 1 ? 16 : 8;
      return control & 2 && raw >> (bits - 1) ? raw - (1 << bits) : raw;
    });
  const [x, y] = [elements(a), elements(b)];
  const implicit = (list: number[]) => (list.includes(0) ? list.indexOf(0) : count);
  const explicit = (length: bigint) => {
    const magnitude = length < 0n ? -length : length;
    return magnitude > BigInt(count) ? count : Number(magnitude);
  };
  const [la, lb] = lengths ? [explicit(lengths[0]), explicit(lengths[1])] : [implicit(x), implicit(y)];
  const kind = (control >> 2) & 3;
  /** Table 4-7: a comparison's outcome when elements i of the first or j of the second string are past the end. */
  const outcome = (i: number, j: number, compared: boolean) => {
    const [validA, validB] = [i < la, j < lb];
    if (validA && validB) return compared;
    if (kind < 2) return false;
    if (kind === 2) return !validA && !validB;
    return !validA;
  };
  let first = 0;
  for (let j = 0; j < count; j++) {
    let bit = kind >= 2;
    if (kind === 0) for (let i = 0; i < count; i++) bit ||= outcome(i, j, x[i] === y[j]);
    if (kind === 1) {
      for (let i = 0; i < count; i += 2) bit ||= outcome(i, j, x[i] <= y[j]) && outcome(i + 1, j, x[i + 1] >= y[j]);
    }
    if (kind === 2) bit = outcome(j, j, x[j] === y[j]);
    if (kind === 3) for (let i = 0; i + j < count; i++) bit &&= outcome(i, i + j, x[i] === y[i + j]);
    if (bit) first |= 1 << j;
  }
  let second = 0;
  for (let j = 0; j < count; j++) {
    const complement = (control & 0x10) !== 0 && ((control & 0x20) === 0 || j < lb);
    if ((((first >> j) & 1) === 1) !== complement) second |= 1 << j;
  }
  const flags = (second ? 1 : 0) | (lb < count ? 0x40 : 0) | (la < count ? 0x80 : 0) | (second & 1 ? 0x800 : 0);
  return [second, flags];
}

test('string comparison: every control byte, few letters so that much matches', () => {
  const random = generator(4);
  const letters = [0, 1, 2, 0x7f, 0x80, 0xff, 1, 2];
  const text = () => Uint8Array.from(random(16), (byte) => letters[byte >> 5]);
  for (let control = 0; control < 128; control++) {
    for (let i = 0; i < 40; i++) {
      const [a, b] = [text(), text()];
      if (i & 1) for (let at = 0; at < 16; at++) if (!a[at]) a[at] = 1;
      if (i & 2) for (let at = 0; at < 16; at++) if (!b[at]) b[at] = 2;
      const what = `control ${control} on ${a} and ${b}`;
      assert.deepEqual(call(compareImplicit, a, b, control).map(int), compareReference(a, b, undefined, control), what);
      const [la, lb] = [...random(2)].map((byte) => BigInt((byte % 41) - 20));
      const explicit = call(compareExplicit, a, b, la, lb, control).map(int);
      assert.deepEqual(explicit, compareReference(a, b, [la, lb], control), `${what}, lengths ${la} ${lb}`);
    }
  }
});

test('string comparison: the most negative lengths are long', () => {
  const a = new Uint8Array(16).fill(65);
  const lowest = -(1n << 63n);
  assert.deepEqual(call(compareExplicit, a, a, lowest, lowest, 8).map(int), [0xffff, 0x801]);
});

// --- RCPPS, RSQRTPS: the manual's bound and special cases

function floats(...values: number[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Float32Array.from(values).buffer);
}

test('approximations keep the bound', () => {
  const random = generator(5);
  for (let i = 0; i < 2000; i++) {
    const bits = random(16);
    // exponents that keep the results normal
    for (let lane = 0; lane < 4; lane++) bits[4 * lane + 3] = (bits[4 * lane + 3] & 0x3f) + 0x20;
    const x = new Float32Array(bits.buffer);
    const inverse = new Float32Array(call(rcp, bits)[0].buffer);
    const root = new Float32Array(call(rsqrt, bits)[0].buffer);
    for (let lane = 0; lane < 4; lane++) {
      assert(Math.abs(inverse[lane] * x[lane] - 1) <= 1.5 * 2 ** -12, `rcp ${x[lane]}`);
      assert(Math.abs(root[lane] * Math.sqrt(x[lane]) - 1) <= 1.5 * 2 ** -12, `rsqrt ${x[lane]}`);
    }
  }
});

test('approximations of special values', () => {
  const [denormal, huge] = [1e-40, 3e38];
  const values = (routine: { name: string; results: readonly TypeName[] }, ...x: number[]) =>
    [...new Uint32Array(call(routine, floats(...x))[0].buffer)].map((word) => word.toString(16));
  assert.deepEqual(values(rcp, 0, -0, denormal, -denormal), ['7f800000', 'ff800000', '7f800000', 'ff800000']);
  assert.deepEqual(values(rcp, Infinity, -Infinity, huge, -huge), ['0', '80000000', '0', '80000000']);
  assert.deepEqual(values(rcp, 2 ** 126, -(2 ** 126), 2 ** 125, -4), ['0', '80000000', '1000000', 'be800000']);
  assert.deepEqual(values(rsqrt, 0, -0, -denormal, Infinity), ['7f800000', 'ff800000', 'ff800000', '0']);
  assert.deepEqual(values(rsqrt, -1, -Infinity, 4, 0.25), ['ffc00000', 'ffc00000', '3f000000', '40000000']);
  const nans = vectorOf([0x7f800001, 0xffc12345, 0xff800001, 0x7fffffff]);
  const quiet = vectorOf([0x7fc00001, 0xffc12345, 0xffc00001, 0x7fffffff]);
  assert.deepEqual(call(rcp, nans)[0], quiet);
  assert.deepEqual(call(rsqrt, nans)[0], quiet);
});
