/**
 * Extended precision arithmetic: against exact rational arithmetic on big integers (normal numbers, every rounding mode and
 * precision), and against results that a real processor gave for special operands (Intel Sapphire Rapids, Linux user mode).
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { compileRoutines } from '../../../wasm/routine-module.js';
import { field, x86Vars } from '../state.js';
import './float80-convert.js';
import './float80-remainder.js';
import { routines } from './set.js';

declare const WebAssembly: {
  readonly Memory: new (descriptor: object) => { readonly buffer: SharedArrayBuffer; grow(pages: number): number };
};

type Number80 = readonly [sig: bigint, se: number];
const STATE = 4096;

const memoryPages = { initial: 2, maximum: 2 };
const memory = new WebAssembly.Memory({ ...memoryPages, shared: true });
const { exports } = compileRoutines({ set: routines, vars: x86Vars, memory, memoryPages, host: {} });
const state = new DataView(memory.buffer, STATE);
const call = (name: string, ...args: unknown[]): unknown[] => exports[name](STATE, ...args) as unknown[];
const setControl = (control: number) => state.setInt32(field.fpControl, control, true);
const unsigned = (value: unknown) => BigInt.asUintN(64, value as bigint);

/** xorshift64: the same numbers at every run. */
function generator(seed: bigint): (limit: number) => number {
  let x = seed;
  return (limit) => {
    x ^= BigInt.asUintN(64, x << 13n);
    x ^= x >> 7n;
    x ^= BigInt.asUintN(64, x << 17n);
    return Number(x % BigInt(limit));
  };
}

const TOP = 1n << 63n;
const BIAS = 16383;

/** Significands with long runs of equal bits, so that ties and carries are common. */
function significand(random: (limit: number) => number): bigint {
  const plain = (BigInt(random(2 ** 32)) << 32n) | BigInt(random(2 ** 32)) | TOP;
  switch (random(6)) {
    case 0:
      return TOP;
    case 1:
      return (1n << 64n) - 1n;
    case 2:
      return TOP | (1n << BigInt(random(63)));
    case 3:
      return (plain & ~0x7ffn) | [0n, 0x400n, 0x3ffn, 0x401n, 0x7ffn][random(5)];
    case 4:
      return (((plain >> BigInt(random(63))) << BigInt(random(63))) & ((1n << 64n) - 1n)) | TOP;
    default:
      return plain;
  }
}

interface Exact {
  readonly negative: boolean;
  readonly numerator: bigint;
  readonly denominator: bigint;
}

const power = (exp: number): [bigint, bigint] => (exp >= 0 ? [1n << BigInt(exp), 1n] : [1n, 1n << BigInt(-exp)]);

function exactValue([sig, se]: Number80): Exact {
  const [up, down] = power((se & 0x7fff) - BIAS - 63);
  return { negative: (se & 0x8000) !== 0, numerator: sig * up, denominator: down };
}

/** Rounds a value that is neither 0 nor out of range; `root`: its square root instead. */
function roundExact(value: Exact, control: number, root: boolean): { result: Number80; flags: number } {
  const precision = [24, 24, 53, 64][(control >> 8) & 3];
  const mode = (control >> 10) & 3;
  // Scaled by 2^scale (a square for roots), the value or its root has at least precision + 2 bits.
  const bits = value.numerator.toString(2).length - value.denominator.toString(2).length;
  let scale = 2 * (80 - (bits >> 1));
  if (!root) scale = 160 - bits;
  const [up, down] = power(scale);
  const scaled = (value.numerator * up) / (value.denominator * down);
  let exactly = scaled * value.denominator * down === value.numerator * up;
  let whole = scaled;
  if (root) {
    let guess = 1n << BigInt((scaled.toString(2).length + 1) >> 1);
    for (let next = (guess + scaled / guess) >> 1n; next < guess; next = (guess + scaled / guess) >> 1n) guess = next;
    whole = guess;
    exactly &&= guess * guess === scaled;
  }
  const length = whole.toString(2).length;
  const drop = BigInt(length - precision);
  let kept = whole >> drop;
  const rest = whole - (kept << drop);
  const half = 1n << (drop - 1n);
  const inexact = rest !== 0n || !exactly;
  let raise = false;
  if (mode === 0) raise = rest > half || (rest === half && (!exactly || (kept & 1n) === 1n));
  else if (mode !== 3) raise = inexact && (mode === 1) === value.negative;
  if (raise) kept += 1n;
  let exp = length - 1 - (root ? scale / 2 : scale) + BIAS;
  if (kept >> BigInt(precision)) {
    kept >>= 1n;
    exp++;
  }
  const result: Number80 = [kept << BigInt(64 - precision), exp | (value.negative ? 0x8000 : 0)];
  return { result, flags: inexact ? 0x20 | (raise ? 0x200 : 0) : 0 };
}

type Operation = (a: Exact, b: Exact) => Exact;
const add: Operation = (a, b) => {
  const signed = (x: Exact) => (x.negative ? -x.numerator : x.numerator);
  const sum = signed(a) * b.denominator + signed(b) * a.denominator;
  return { negative: sum < 0n, numerator: sum < 0n ? -sum : sum, denominator: a.denominator * b.denominator };
};
const operations: Readonly<Record<string, Operation>> = {
  add,
  sub: (a, b) => add(a, { ...b, negative: !b.negative }),
  mul: (a, b) => ({
    negative: a.negative !== b.negative,
    numerator: a.numerator * b.numerator,
    denominator: a.denominator * b.denominator,
  }),
  div: (a, b) => ({
    negative: a.negative !== b.negative,
    numerator: a.numerator * b.denominator,
    denominator: a.denominator * b.numerator,
  }),
};

for (const [name, operation] of [...Object.entries(operations), ['sqrt', undefined] as const]) {
  test(`f80_${name} rounds as exact arithmetic says`, () => {
    const random = generator(0x9e3779b97f4a7c15n);
    for (let i = 0; i < 1500; i++) {
      const control = 0x7f | ([0, 2, 3, 3][random(4)] << 8) | (random(4) << 10);
      const number = (): Number80 => [significand(random), (random(2) << 15) | (BIAS - 40 + random(80))];
      const a = number();
      const b = number();
      if (!operation) {
        setControl(control);
        const positive: Number80 = [a[0], a[1] & 0x7fff];
        const { result, flags } = roundExact(exactValue(positive), control, true);
        const got = call('f80_sqrt', ...positive);
        assert.deepEqual([unsigned(got[0]), got[1], got[2]], [...result, flags], `sqrt ${positive} control ${control}`);
        continue;
      }
      const value = operation(exactValue(a), exactValue(b));
      if (value.numerator === 0n) continue;
      setControl(control);
      const { result, flags } = roundExact(value, control, false);
      const got = call(`f80_${name}`, ...a, ...b);
      assert.deepEqual([unsigned(got[0]), got[1], got[2]], [...result, flags], `${name} ${a} ${b} control ${control}`);
    }
  });
}

/** Operation, control word, operands, result (- where an unmasked exception leaves none), flags; numbers in hexadecimal. */
const processor = `
add 37f 8000000000000000:3fff 0:8000 8000000000000000:3fff 0
add 37f c000000000000000:bfff ffffffffffffffff:7ffe ffffffffffffffff:7ffe 220
add 37f c000000000000000:bfff fcad62d2beae205d:bf70 c000000000000000:bfff 20
add e7f 0:0 1:0 0:0 32
add 37f f7f6b5b593b93abb:f 9026e00000000000:3ffa 9026e00000000000:3ffa 20
add 37f 1:0 8000000000000000:3fff 8000000000000000:3fff 22
add 87f c000000000000000:bfff 8bf6ed8000000001:bffa c45fb70000000000:bfff 20
add 37f 8000000000000000:3fff c000000000000000:bfff 8000000000000000:bffe 0
add 37f b520968000000000:bffd bfffffffffffffff:ffff ffffffffffffffff:ffff 1
add 47f 8000000000000000:1 0:0 8000000000000000:1 0
add 37f 8000000000000005:0 1:0 8000000000000006:1 2
add 37f 8000000000000005:0 8000000000000002:bfee 8000000000000002:bfee 222
add 37f cbc07388a0000000:4011 ffffffffffffffff:7ff9 ffffffffffffffff:7ff9 20
add 37f 0:0 8000000080000001:7fff c000000080000001:7fff 1
sub 37f 4000000000000000:4000 8000000000000005:0 c000000000000000:ffff 1
sub 37f c000000000000001:7fff 0:8000 c000000000000001:7fff 0
sub 37f 1:0 ba2736ffffffffff:3fe3 ba2736ffffffffff:bfe3 222
sub b50 c000000000000001:7fff e32eed0000000000:c041 c000000000000001:7fff 0
sub 37f 1:0 0:8000 1:0 2
sub 37f 8000000000000000:ffff 8000000000000000:1 8000000000000000:ffff 0
sub 37f 8000000000000000:ffff 8000000000000000:ffff c000000000000000:ffff 1
sub 37f 8000000000000005:0 8000003380000001:7fff c000003380000001:7fff 1
sub 37f 0:0 0:0 0:0 0
sub 37f 4000000000000000:4000 eb54c78000000001:7fff c000000000000000:ffff 1
sub 37f ffffffffffffffff:7ffe 800159aa883ed577:bfdf ffffffffffffffff:7ffe 20
sub 37f 8000000000000005:0 4000000000000000:4000 c000000000000000:ffff 1
sub b75 a000000000000000:7fff 8000000100000000:bff3 e000000000000000:7fff 1
sub 37f e47cfeffffffffff:41c8 ffffffffffffffff:c3fb ffffffffffffffff:43fb 20
mul 37f 7abc000000000000:9327 8000000000000000:7fff c000000000000000:ffff 1
mul 37f 8000000000000000:3fff 8e893037d87ae5a3:ffff ce893037d87ae5a3:ffff 1
mul 37f 8000000000000000:7fff 0:0 c000000000000000:ffff 1
mul 37f 9bbadc8000000000:c01d 4000000000000000:4000 c000000000000000:ffff 1
mul 37f 5d963d14a:0 d7874dffffffffff:7ff1 9d9548149db9517f:3fd7 22
mul 37f 4002567800000000:9681 8d282528eb49ef8d:7fff c000000000000000:ffff 1
mul 37f a000000000000000:7fff fffffff:8000 e000000000000000:7fff 1
mul 37f d2484d3a68c9d0e3:8043 0:0 0:8000 0
mul 37f e884a6d17067697a:c3fe eebcec8000000000:c004 d8d6eb4fc46b2c58:4404 20
mul 37f 0:8000 8000000000000005:0 0:8000 2
mul 37f 0:0 8000000000100000:3fe8 0:0 0
mul 37f 4613edab4b0761ff:c390 8000000000000000:ffff c000000000000000:ffff 1
mul 37f 4000000000000000:4000 8000000000000000:c010 c000000000000000:ffff 1
mul 37f 912cd60000000000:401f 0:8000 0:8000 0
div 37f a000000000000000:7fff b78b456e674aab74:7fec e000000000000000:7fff 1
div 37f ad052041ffcce410:c03b 8000000000000005:0 8000000000000000:ffff 22a
div 37f c000000000000001:7fff 0:8000 c000000000000001:7fff 0
div c54 0:8000 a000000000000000:7fff - 1
div 37f 8000000000000000:7fff c000000000000001:7fff c000000000000001:7fff 0
div 37f a000000000000000:7fff 8000000000000005:0 e000000000000000:7fff 1
div 37f 9320e10000000000:c00c c000000000000000:bfff c42bd6aaaaaaaaab:400b 220
div 37f c000000000000000:bfff 8000100000000000:3fec bfffe80002ffffa0:c012 20
div 37f e0b2bd7800000000:ffff ba40000000000000:8000 e0b2bd7800000000:ffff 0
div 37f 66936cffffffffff:3ab5 8000000080000000:3fe5 c000000000000000:ffff 1
div 37f d8511d66a2455bff:bfe7 8000000000000000:7fff 0:8000 0
div 37f 8000000000000000:c013 c000000000000001:7fff c000000000000001:7fff 0
div 37f 8000000000000000:8000 ffffffffffffffff:7ffe 0:8000 32
div 37f 4000000000000000:e4cb c044dc5925b33c50:4016 c000000000000000:ffff 1
sqrt 37f ffffffffffffffff:401b - b504f333f9de6484:400d 220
sqrt 37f 0:0 - 0:0 0
sqrt 37f c000000000000000:bfff - c000000000000000:ffff 1
sqrt 37f 8000000000000005:0 - 8000000000000002:2000 22
sqrt 37f 8000000000000000:ffff - c000000000000000:ffff 1
sqrt 37f beeac833526bf401:ffff - feeac833526bf401:ffff 1
sqrt 37f 8000000000000000:43fb - 8000000000000000:41fd 0
sqrt 37f b7e471d451cfb800:4008 - d8f897f5111060e9:4003 20
sqrt 37f 0:8000 - 0:8000 0
sqrt 37f ffffffffffffffff:7fff - ffffffffffffffff:7fff 0
sqrt 37f 4000000000000000:4000 - c000000000000000:ffff 1
sqrt 37f 8000000000000000:7fff - 8000000000000000:7fff 0
rint 67f ffffffffffffffff:c012 - 8000000000000000:c013 220
rint 37f ffffffffffffffff:7ffe - ffffffffffffffff:7ffe 0
rint 37f ee997b8f81cbd3ff:c041 - ee997b8f81cbd3ff:c041 0
rint 27f 7ffffffffffff:0 - 0:0 22
rint 37f 0:0 - 0:0 0
rint 37f efbeefc902380c01:bfde - 0:8000 20
rint 37f ffffffffffffffff:bfef - 0:8000 20
rint 37f 8000000000000000:ffff - 8000000000000000:ffff 0
rint 37f e33d020000000000:ffff - e33d020000000000:ffff 0
rint 37f 2000000000000000:0 - 0:0 22
rint 37f ffffffffffffffff:4000 - 8000000000000000:4001 220
rint 37f 4000000000000000:4000 - c000000000000000:ffff 1
rint f7f c000000000000000:bfff - 8000000000000000:bfff 20
prem 37f c000000000000001:7fff 8000000000000000:7fff c000000000000001:7fff 0
prem 37f 941b7a8000000000:4014 8000000000000000:3fff a000000000000000:3ffe 4100
prem 37f 8000000000000000:1807 1:0 0:0 402
prem 37f ed94316fdb1c4320:404f ffffffffffffffff:3fff 8641db2862dfb638:401e 400
prem 37f c000000000000000:bfff ffffffffffffffff:7ffe c000000000000000:bfff 0
prem 37f 8082091647e9e875:4004 8000000000000000:3fff 82091647e9e87500:3ffc 0
prem f7f 8004000000000000:c021 8000000000000000:7fff 8004000000000000:c021 0
prem 37f f94f0ece50f69c01:404b 8000000000000000:3fff d380200000000000:401e 400
prem 37f 8757a27fffffffff:c3fd af754dabce000000:c040 aafb72ebfc000000:c3c0 400
prem 37f 8000000000000000:4015 8000000000000000:3fff 0:0 0
prem 37f 8000000000000000:7fff ffffffffffffffff:7ffe c000000000000000:ffff 1
prem 37f e8a4560000000000:4037 ffffffffffffffff:3fff e8a4560000000000:3ff7 0
prem 37f 0:0 ffffffffffffffff:7ffe 0:0 0
prem 37f c006a8cca21527d1:402d b6c50d8000000000:3fff 99a0600000000000:3ffb 100
prem1 a7f 4000000000000000:4000 8000000000000000:ffff c000000000000000:ffff 1
prem1 37f e7ea3f5ab40e3c01:402b ffffffffffffffff:3fff e1ff0c0ae052a5f8:bffc 200
prem1 37f c26b18d3ed2d791c:98a3 ffffffffffffffff:7ffe c26b18d3ed2d791c:98a3 0
prem1 77f b1be6401335cb7fa:403c 8ad8b98000000001:3fff d66b97f873428640:3ffd 0
prem1 37f b8a0dadf1b007fa7:7ff6 ffffffffffffffff:7ffe b8a0dadf1b007fa7:7ff6 0
prem1 37f bafca104bad88400:405f ff40000000000000:3fff b658840000000000:403f 400
prem1 37f 4000000000000000:4000 8000000000000000:3f83 c000000000000000:ffff 1
prem1 37f f87125d9b9b488a5:406f ce6169ffffffffff:3fff b156c592d9ce2460:403a 400
prem1 37f d32a9c71eebf1000:17f0 b320b46453b796a1:ffff f320b46453b796a1:ffff 1
prem1 37f dcae2f85cdbe9085:4005 d025bc7fffffffff:3fff f3d1846482def3e0:bffc 100
prem1 37f dca711715e1a6d46:bf6b ffffffffffffffff:3ff7 dca711715e1a6d46:bf6b 0
prem1 37f fbbd000000000000:4002 8000200000000000:3fff 8868000000000000:bffd 0
prem1 77f 8000000000000000:7fff c8e517deed00f678:8045 c000000000000000:ffff 1
prem1 37f ffffffffffffffff:4004 8325ac7fffffffff:3fff f380e40000000078:3ffd 4100
scale b7f 8000000000000000:3fff 1:0 8000000000000000:3fff 2
scale 37f a000000000000000:7fff 8935c48000000000:3fff e000000000000000:7fff 1
scale 37f 82ab0c0000000000:bfeb 0:8000 82ab0c0000000000:bfeb 0
scale 37f 8000000000000000:7fc4 87814b5f37cc4154:400e 8000000000000000:7fff 228
scale 37f ffffffffffffffff:c00c 8000000000000004:bff5 ffffffffffffffff:c00c 0
scale 37f a000000000000000:7fff 8446000000000000:c008 e000000000000000:7fff 1
scale 37f e84dc6ddd2807c00:bfde 8000000000000000:bfe7 e84dc6ddd2807c00:bfde 0
scale 37f bfffffffffffffff:7fff 8000000000200000:c005 ffffffffffffffff:7fff 1
scale 37f a000000000000000:7fff b2fe8a8000000000:4019 e000000000000000:7fff 1
scale 37f 1:0 a4fb27cb9d3f338c:c005 0:0 32
scale 37f 0:0 0:0 0:0 0
scale 37f 0:0 80c036e000000000:4001 0:0 0
scale 76f 9c20000000000000:8000 0:0 9c20000000000000:8001 2
scale 37f 8000000000000005:0 8a4f96bfb729a797:4009 8000000000000005:453 2
compare 37f 0:0 a000000000000000:7fff 4500 1
compare 37f 0:8000 8000000000000000:7fff 100 0
compare 37f 8000000000000000:7fff 8ac16e7fffffffff:8000 0 2
compare 37f 1:0 8000000000000000:7fff 100 2
compare 37f 0:8000 8000000000010000:c01e 0 0
compare 37f c000000000000001:7fff aaa630170dc95d10:2e4 4500 1
compare 37f 8000000000000000:ffff fea23d93b5f38c01:ffe5 100 0
compare 37f e133fa32af63489f:9ad5 8000000000000000:3fff 100 0
compare 37f 8000000000000000:ffff 0:0 100 0
compare 77f fda770b758d0582f:7fff 0:8000 4500 1
compare 37f 0:0 4009432800378578:cabc 4500 1
compare 37f 0:8000 a000000000000000:7fff 4500 1
compare 37f fc094c0aee1ea6f9:3fe6 0:0 0 0
compare 37f c000000000000001:7fff 8000000000000000:7fe7 4500 1
compareQuiet f7f 8000000008000000:4014 e714dc08215d9323:4013 0 0
compareQuiet 37f 8000000000000000:ffff 200000000000000:8000 100 2
compareQuiet 37f ffffffffffffffff:4f 0:0 0 0
compareQuiet b67 4000000000000000:4000 8000000000000000:1 4500 1
compareQuiet 37f 4000000000000000:4000 8000000000000000:1 4500 1
compareQuiet 37f b1a9827ca6c0bc01:bff4 8000000000000000:7fff 100 0
compareQuiet 37f 8000000000000000:ffff c000000000000000:bfff 100 0
compareQuiet 37f 8000000000000005:0 8008000000000000:4014 100 2
compareQuiet 37f 4000000000000000:4000 8000000000000000:8015 4500 1
compareQuiet a7f c3242cd410f80000:3ff8 9b89e9f1c9728000:35 0 0
compareQuiet 37f 8000000000000000:ffff 8000000000000005:0 100 2
compareQuiet 37f 897952ffffffffff:4041 c000000000000001:7fff 4500 0
compareQuiet b7f 8000000000000000:0 c000000000000000:bfff 0 2
compareQuiet 37f 8000000000000000:7fff 8000000000000000:3fff 0 0
toF32 b58 0:8000 - 80000000 0
toF32 37f ffffffffffffffff:4034 - 5a800000 220
toF32 37f c000000000000000:bfff - bfc00000 0
toF32 37f d619788000000001:3ffc - 3e561979 220
toF32 37f 8000000000000000:7fff - 7f800000 0
toF32 37f a000000000000000:4015 - 4aa00000 0
toF32 c45 0:0 - 0 0
toF32 37f cb03857968c903ff:4041 - 60cb0385 20
toF32 47f 8000000000040000:4004 - 42000000 20
toF32 37f 0:8000 - 80000000 0
toF32 37f defc4676fefbe7c3:402c - 565efc46 20
toF32 37f 0:0 - 0 0
toF32 37f b3be85f1aaae7c73:3ffd - 3eb3be86 220
toF64 b7f 4000000000000000:4000 - fff8000000000000 1
toF64 37f 921d09e7ba604c00:401c - 41c243a13cf74c0a 220
toF64 37f ec79e008e18bdfc7:7ff6 - 7ff0000000000000 228
toF64 37f ceff90ffffffffff:401e - 41e9dff220000000 220
toF64 37f c000000000000001:7fff - 7ff8000000000000 0
toF64 37f af1990292686d1f6:4039 - 4395e3320524d0da 20
toF64 37f a650000000000000:3c03 - 34ca0000000000 0
toF64 37f ffffffffffffffff:4004 - 4050000000000000 220
toF64 37f 0:0 - 0 0
toF64 85f bf16000000000000:4035 - 4357e2c000000000 0
toF64 37f 8000000000000000:4040 - 4400000000000000 0
toF64 37f 8000000000000002:400b - 40b0000000000000 20
toF64 a7f eedd492b30f4e425:c019 - c19ddba925661e9c 20
toF64 37f 90d638710f65afff:4011 - 41121ac70e21ecb6 220
toI16 37f aaf406a872aff383:ffff - 8000 1
toI16 37f 8000000000001000:400d - 4000 20
toI16 37f 0:8000 - 0 0
toI16 37f ffffffffffffffff:401a - 8000 1
toI16 37f 8000000000000000:1 - 0 20
toI16 37f 807461f0b06ac1cf:4024 - 8000 1
toI16 37f a000000000000000:7fff - 8000 1
toI16 37f cc58000000000000:403f - 8000 1
toI16 37f c000000000000000:bfff - fffe 220
toI16 e48 8000000000000100:401e - - 1
toI16 37f 4000000000000000:4000 - 8000 1
toI16 37f bd2ff0c050b5f3ff:4006 - bd 20
toI16 37f 8000000000000000:401a - 8000 1
toI32 37f 8000000000000000:ffff - 80000000 1
toI32 37f f730618000000001:402b - 80000000 1
toI32 37f 8000000000000000:1 - 0 20
toI32 37f d4110d210c21356c:400e - d411 20
toI32 37f c000000000000000:bfff - fffffffe 220
toI32 37f ffffffffffffffff:402a - 80000000 1
toI32 b7f a000000000000000:7fff - 80000000 1
toI32 37f d5fbb25eccc14400:402a - 80000000 1
toI32 37f 9f9037b9db41b3b5:ffff - 80000000 1
toI32 37f ea9058f2c131ac01:403b - 80000000 1
toI32 37f a000000000000000:7fff - 80000000 1
toI32 37f c000000000000000:4029 - 80000000 1
toI32 37f 8000000000010000:402d - 80000000 1
toI64 773 8000000000000000:ffff - 8000000000000000 1
toI64 37f 8000000000000000:4024 - 2000000000 0
toI64 37f f8de70fd41088400:3ffb - 0 20
toI64 37f ad8805fc5c94b737:400b - 15b1 20
toI64 37f 0:0 - 0 0
toI64 37f ffffffffffffffff:400c - 4000 220
toI64 37f c8bdf97fffffffff:c01d - ffffffff9ba10340 220
toI64 37f 9a008f079b48e49e:4041 - 8000000000000000 1
toI64 37f f91df5f0da6e0855:c009 - fffffffffffff837 220
toI64 7f a924b7c5293bc3ff:4001 - 5 20
toI64 37f c000000000000000:bfff - fffffffffffffffe 220
toI64 37f 8000100000000000:403d - 4000080000000000 0
toI64 456 0:8000 - 0 0
toI64 37f fbefdbe7b665bc01:4012 - fbefe 220
fromF32 b7f ff800000:0 - 8000000000000000:ffff 0
fromF32 37f 800000:0 - 8000000000000000:3f81 0
fromF32 37f ff800000:0 - 8000000000000000:ffff 0
fromF32 37f 3f800001:0 - 8000010000000000:3fff 0
fromF32 37f 7f800001:0 - c000010000000000:7fff 1
fromF32 47f ff800000:0 - 8000000000000000:ffff 0
fromF32 37f ffc00000:0 - c000000000000000:ffff 0
fromF32 37f 7f7fffff:0 - ffffff0000000000:407e 0
fromF64 37f 1:0 - 8000000000000000:3bcd 2
fromF64 37f 3ff0000000000001:0 - 8000000000000800:3fff 0
fromF64 37f fff8000000000000:0 - c000000000000000:ffff 0
fromF64 77f 7ff0000000000001:0 - c000000000000800:7fff 1
fromF64 37f 7ff0000000000001:0 - c000000000000800:7fff 1
fromF64 37f 8000000000000000:0 - 0:8000 0
fromF64 37f fff0000000000000:0 - 8000000000000000:ffff 0
fromF64 37f 7fefffffffffffff:0 - fffffffffffff800:43fe 0
fromF64 87f fff8000000000000:0 - c000000000000000:ffff 0
`;

/** Runs one line's operation: its result as the line has it, and flags. */
function run(name: string, a: Number80, b: Number80, control: number): [string, number] {
  const hex = (sig: unknown, se: unknown) => `${unsigned(sig).toString(16)}:${(se as number).toString(16)}`;
  const integer = (size: number) => {
    const [value, flags] = call('f80_to_integer', ...a, (control >> 10) & 3, 1n << BigInt(size - 1));
    return [BigInt.asUintN(size, value as bigint).toString(16), flags as number] as [string, number];
  };
  switch (name) {
    case 'compare':
    case 'compareQuiet': {
      const [codes, flags] = call('f80_compare', ...a, ...b, name === 'compare' ? 0 : 1) as number[];
      return [codes.toString(16), flags];
    }
    case 'toI16':
      return integer(16);
    case 'toI32':
      return integer(32);
    case 'toI64':
      return integer(64);
    case 'toF32':
    case 'toF64': {
      const [bits, flags] = call(`f80_${name === 'toF32' ? 'to_f32' : 'to_f64'}`, ...a);
      return [unsigned(bits).toString(16), flags as number];
    }
    case 'fromF32':
    case 'fromF64': {
      const [sig, se, flags] = call(name === 'fromF32' ? 'f80_from_f32' : 'f80_from_f64', a[0]);
      return [hex(sig, se), flags as number];
    }
    default: {
      const unary = name === 'sqrt' || name === 'rint';
      const [sig, se, flags] = call(`f80_${name}`, ...a, ...(unary ? [] : b));
      return [hex(sig, se), flags as number];
    }
  }
}

test('special operands give what the processor gives', () => {
  const parse = (text: string): Number80 => {
    if (text === '-') return [0n, 0];
    const [sig, se] = text.split(':');
    return [BigInt(`0x${sig}`), Number.parseInt(se, 16)];
  };
  const lines = processor.trim().split('\n');
  assert.ok(lines.length > 200);
  for (const line of lines) {
    const [name, controlText, a, b, result, flagsText] = line.split(' ');
    const control = Number.parseInt(controlText, 16);
    setControl(control);
    const [got, flags] = run(name, parse(a), parse(b), control);
    assert.equal(flags.toString(16), flagsText, `${line}: flags`);
    if (result !== '-') assert.equal(got, result, line);
  }
});

test('packed decimal goes there and back', () => {
  setControl(0x37f);
  for (const value of [0n, 1n, -1n, 9n, 10n, 123456789012345678n, -999999999999999999n]) {
    const size = value < 0n ? -value : value;
    const digits = BigInt(`0x${size}`);
    const upper = Number(digits >> 64n) | (value < 0n ? 0x8000 : 0);
    const [sig, se] = call('f80_from_bcd', BigInt.asIntN(64, digits), upper);
    const [low, high, flags] = call('f80_to_bcd', sig, se);
    assert.deepEqual([unsigned(low), high, flags], [BigInt.asUintN(64, digits), upper, 0]);
    const [integer] = call('f80_to_integer', sig, se, 0, TOP);
    assert.equal(integer, value);
  }
});
