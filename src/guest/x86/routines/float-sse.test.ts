/**
 * SSE arithmetic: against results of a real processor (Intel Sapphire Rapids, Linux user mode) for special operands, every
 * rounding mode, FTZ, DAZ and unmasked exceptions; against JavaScript's own doubles; vectors against their lanes.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Routine, RoutineBuilder, TypeName } from '../../../ir/index.js';
import { header } from '../../../ir/index.js';
import { compileRoutines } from '../../../wasm/routine-module.js';
import { field, x86Vars } from '../state.js';
import { convert, f32, f32x4, f64, f64x2 } from './float-sse.js';
import { routines } from './set.js';

declare const WebAssembly: {
  readonly Memory: new (descriptor: object) => { readonly buffer: SharedArrayBuffer; grow(pages: number): number };
};

const STATE = 4096;
const ARGUMENTS = 1024;
const RESULT = 2048;
const CR4_OSXMMEXCPT = 0x400n;
const XM = 19;
const UD = 6;

/** JavaScript may change a NaN's bits and cannot pass vectors: a wrapper takes operands from memory and leaves the result there. */
function wrap(routine: Routine): string {
  const name = `test_${routine.name}`;
  const each = routine as Routine<readonly TypeName[], readonly TypeName[]>;
  routines.define(name, [], ['i32'], { mayFault: true }, (r: RoutineBuilder) => {
    const args = each.params.map((type, i) => r[`${type}_load`](r.i32(ARGUMENTS + 16 * i)));
    const [fault, result] = r.call(each, ...(args as number[] as never[])) as readonly number[];
    const store = r[`${each.results[1]}_store`] as (at: number, value: number) => void;
    store.call(r, r.i32(RESULT), result);
    r.ret(fault);
  });
  return name;
}

type Group = Readonly<Record<string, Routine>>;
const groups: Readonly<Record<string, Group>> = {
  f32: { ...(f32 as unknown as Group), toF64: convert.f32ToF64 as unknown as Routine },
  f64: { ...(f64 as unknown as Group), toF32: convert.f64ToF32 as unknown as Routine },
  f32x4: f32x4 as unknown as Group,
  f64x2: f64x2 as unknown as Group,
};
const names = new Map<string, string>();
for (const [type, group] of Object.entries(groups)) {
  for (const [name, routine] of Object.entries(group)) names.set(`${type}.${name}`, wrap(routine));
}

const memoryPages = { initial: 2, maximum: 2 };
const memory = new WebAssembly.Memory({ ...memoryPages, shared: true });
const { exports } = compileRoutines({ set: routines, vars: x86Vars, memory, memoryPages, host: {} });
const view = new DataView(memory.buffer);
const state = new DataView(memory.buffer, STATE);

/** Runs a routine on operands that are in memory already: the fault word and MXCSR after it. */
function run(name: string, mxcsr: number, cr4 = CR4_OSXMMEXCPT): { fault: number; mxcsr: number } {
  state.setInt32(field.mxcsr, mxcsr, true);
  state.setBigInt64(field.cr4, cr4, true);
  state.setInt32(header.trapCode, 0, true);
  const fault = exports[names.get(name) ?? assert.fail(name)](STATE) as number;
  return { fault, mxcsr: state.getInt32(field.mxcsr, true) };
}

const setOperand = (n: number, low: bigint, high = 0n) => {
  view.setBigUint64(ARGUMENTS + 16 * n, low, true);
  view.setBigUint64(ARGUMENTS + 16 * n + 8, high, true);
};

/** Operation (and its immediate), MXCSR, operands, result (- with an exception), MXCSR after it; in hexadecimal. */
const processor = `
f32.add 1f80 3 480da9aa 480da9aa 1fa2
f32.add 1fc0 7f800000 cf05f42b 7f800000 1fc0
f32.add bf80 7f800000 45ffffff 7f800000 bf80
f32.add 7f80 4cde8b00 5e800000 5e800000 7fa0
f32.add b7c0 4b000000 3c700000 4b000000 b7e0
f64.add 1f80 fffc000000000000 36c41ac8794a0137 fffc000000000000 1f80
f64.add 7f80 41b24326c1828000 8000000000000000 41b24326c1828000 7f80
f64.add 4380 0 7e234a382ae514ac 7e234a382ae514ac 4380
f64.add 5fc0 3fa476c000000000 41bfffffffffffff 41c0000000051db0 5fe0
f64.add cac0 7ff2689c3fac8c6e bf5b156f492f4028 7ffa689c3fac8c6e cac1
f32.sub 1f80 ff800000 437fffff ff800000 1f80
f32.sub 3f80 164 ff800000 7f800000 3f82
f32.sub 1580 ca9eff5a ff800000 7f800000 1580
f32.sub a80 1 9fb77b0 - a82
f32.sub a600 4c1c4bc0 bb000000 - a620
f64.sub 1f80 c9ca04ffdab768c8 47cc84e89681f600 c9ca04ffdad3edb1 1fa0
f64.sub 3c00 fff3c00000000000 7ff0000000000000 - 3c01
f64.sub 7200 339e6f01663b9172 b67fffffffffffff 368000000000003c 7220
f64.sub bf80 80ea000000000000 8001b00000000000 80e9fff280000000 bf82
f64.sub 0 8000000000000000 36729d0a644a2f16 b6729d0a644a2f16 0
f32.mul 1f80 7f800000 ceffffff ff800000 1f80
f32.mul 5fc0 8b0efc8b 7f800000 ff800000 5fc0
f32.mul f2c0 5dffffff 4f737680 6df3767f f2e0
f32.mul 7f80 de189b68 cf000000 6d989b68 7f80
f32.mul 7fc0 beac58b5 7c1c0e8b fb521fb1 7fe0
f64.mul 1f80 7e60000000000000 1e21bffc6fc24c 3e8e21bffc6fc24c 1f80
f64.mul 800 b740a33422a376ba 3f70483c1e000000 - 820
f64.mul 5f80 c3206cae810d6540 41bf6348eb61dd68 c4f01c3eb63d3a7e 5fa0
f64.mul f880 47e9432a916a8879 bf89f64aa1976000 c7847ee883bcfcc4 f8a0
f64.mul a00 c1cf28842d57923d 0 8000000000000000 a00
f32.div 1f80 42d7b648 b4807acc cdd6e81c 1fa0
f32.div bd00 7f800000 80000018 ff800000 bd02
f32.div 5f80 3ff 42d17b80 a 5fb2
f32.div 400 bd11b530 4f2c564a - 420
f32.div c400 ff800000 3cffffff ff800000 c400
f64.div 1f80 c3ee4962278e0d57 43a9753bbc4f8300 c03308e7a96286ab 1fa0
f64.div 1080 414ea78ab40af868 c1dbbcd41997ad09 bf61aebaccda330d 10a0
f64.div 1fc0 ba22c028e7000000 41d8f4d626583568 b8380af0c6ce32ca 1fe0
f64.div c400 c7ea81d95d938dec b6ea000000000000 - c420
f64.div 1f80 c1bda167ee466044 bf6f224000000000 423e7472e2632b7b 1fa0
f32.min 1f80 b1f17b75 ff800000 ff800000 1f80
f32.min 5f80 4da17f65 ff800000 ff800000 5f80
f32.min 3e80 3e81560d c3800000 c3800000 3e80
f32.min c480 8000000b fffa525c fffa525c c481
f32.min 3fc0 7fb76800 4ec40000 4ec40000 3fc1
f64.min 1f80 b0593973b502a256 ad7825f0b1600000 b0593973b502a256 1f80
f64.min 1f80 c0000000000000 7fbc29b38faddcf4 c0000000000000 1f80
f64.min 6240 fff9abcc9582ca1e 466d8f644625b678 - 6241
f64.min 8180 b35d1b6473bcb000 41c32e5fd85dc53c b35d1b6473bcb000 8180
f64.min 3700 fff0000000000000 e250000000000000 fff0000000000000 3700
f32.max 1f80 4d800000 7f800000 7f800000 1f80
f32.max 3fc0 7fffffff fe2de590 fe2de590 3fc1
f32.max 5f80 3c66dda0 ffa2b010 ffa2b010 5f81
f32.max 8b00 c1180000 85bf7b6d 85bf7b6d 8b00
f32.max 1500 637fffff 72df1000 72df1000 1500
f64.max 1f80 401bc04000000000 4aedec061 401bc04000000000 1f82
f64.max 3f80 17ac39e54742fe8 8 17ac39e54742fe8 3f82
f64.max 5f80 af2a75c825373900 41e0000000000000 41e0000000000000 5f80
f64.max 9f80 8000000000000000 7ff0000000000000 7ff0000000000000 9f80
f64.max 3f80 3f6979ed8bd56178 4a29e480933b6cdd 4a29e480933b6cdd 3f80
f32.sqrt 1f80 8000000 - 23b504f3 1fa0
f32.sqrt 2300 72ffffff - - 2320
f32.sqrt 3fc0 4dec8000 - 46adfd0e 3fe0
f32.sqrt 1f80 7f7543e3 - 5f7a933b 1fa0
f32.sqrt 2dc0 f956e3c4 - ffc00000 2dc1
f64.sqrt 1f80 fffdc7904d0572ee - fffdc7904d0572ee 1f80
f64.sqrt 3fc0 41cefd8b9f03048e - 40df7dbcadbc7f65 3fe0
f64.sqrt b480 fff0000000000000 - fff8000000000000 b481
f64.sqrt ff80 c1b594fbb765711e - fff8000000000000 ff81
f64.sqrt 9f80 836f7aefa20399d6 - fff8000000000000 9f81
f32.cmp.0 1f80 1673 2d320000 0 1f82
f32.cmp.0 ba40 3ea3cc0f 7f5c3395 0 ba40
f32.cmp.0 1fc0 80000000 7f800000 0 1fc0
f32.cmp.0 3100 72abfce8 ff83ad5c - 3101
f32.cmp.0 7f80 3e5fb1af 800c9a51 0 7f82
f64.cmp.0 1f80 8000000000000000 c004286c7c9a04f3 0 1f80
f64.cmp.0 9fc0 80000000000e931e 0 1 9fc0
f64.cmp.0 5f80 7ff7f32203500000 7ffa6f72f6d8a5d0 0 5f81
f64.cmp.0 3f80 406da24000000000 379e63f757800000 0 3f80
f64.cmp.0 3600 8000000000000000 41e9900000000000 0 3600
f32.cmp.1 1f80 80000000 f2026ff9 0 1f80
f32.cmp.1 da00 9bbb68e1 7fd2361d - da01
f32.cmp.1 5fc0 dd80eac9 c350cac3 1 5fc0
f32.cmp.1 3ac0 49800000 160b 0 3ac0
f32.cmp.1 580 ff800000 ce2a0000 1 580
f64.cmp.1 1f80 7ff0000000000000 fdd49eb12916eb56 0 1f80
f64.cmp.1 1d80 4008f42d41e18626 37fbd7e32bd23edc 0 1d80
f64.cmp.1 1fc0 c074cfa462080dcd c7d4ecda806f1710 0 1fc0
f64.cmp.1 3fc0 fff958900fe72321 c1c9bc8c6fb7d9ed 0 3fc1
f64.cmp.1 3f80 c1b0e6f0a7b52e45 88cfb20ceac00000 1 3f80
f32.cmp.2 1f80 8376b800 80000003 1 1f82
f32.cmp.2 2980 45af2ad2 8005a0fd 0 2982
f32.cmp.2 7f80 cea3543f 80000000 1 7f80
f32.cmp.2 b80 7afc880 f5800000 0 b80
f32.cmp.2 ffc0 7f980000 d9588580 0 ffc1
f64.cmp.2 1f80 7e14b37f709ba685 7ff2e16fa04c4758 0 1f81
f64.cmp.2 bfc0 c1592e5e691aac31 43c42b53fc800000 1 bfc0
f64.cmp.2 7f80 c05d61a973dd5fc0 7ff0000000000000 1 7f80
f64.cmp.2 7a00 7f1c000000000000 40d9a803835017a8 0 7a00
f64.cmp.2 5c00 b700000000000000 47d09b22ef5bea80 1 5c00
f32.cmp.6 1f80 83dd9d96 bb800000 1 1f80
f32.cmp.6 3fc0 3a83c2dd ffff 1 3fc0
f32.cmp.6 7f80 f7000000 7fffffff 1 7f81
f32.cmp.6 f00 cdf4cb15 de000000 1 f00
f32.cmp.6 5fc0 42d7998f 80000000 1 5fc0
f64.cmp.6 1f80 c397eee320000000 c1b44fbe3112ace9 0 1f80
f64.cmp.6 1f80 872fffffffffffff 3f083ab12b9b6 0 1f82
f64.cmp.6 85c0 4172c1866411045f 7ff0000000000000 0 85c0
f64.cmp.6 7f80 7ca982891c405cc6 8000000000000000 1 7f80
f64.cmp.6 3780 0 c1d080d8533d27d0 1 3780
f32.round.0 1f80 4873f993 - 4873f980 1fa0
f32.round.0 9f80 7f800000 - 7f800000 9f80
f32.round.0 1fc0 f3f28000 - f3f28000 1fc0
f32.round.0 6c00 ff800000 - ff800000 6c00
f32.round.0 ffc0 ddc3831f - ddc3831f ffc0
f64.round.0 1f80 8000000000000000 - 8000000000000000 1f80
f64.round.0 d400 c03272d2828972a0 - c032000000000000 d420
f64.round.0 1f80 47ea74fbed8836e1 - 47ea74fbed8836e1 1f80
f64.round.0 3180 fff833c2b5e3159e - fff833c2b5e3159e 3180
f64.round.0 2700 c174cffb2047e580 - - 2720
f32.round.2 1f80 80005b4c - 80000000 1fa0
f32.round.2 1080 cf3d6b00 - cf3d6b00 1080
f32.round.2 5f80 c6acba28 - c6acba00 5fa0
f32.round.2 5f80 fbd87f87 - fbd87f87 5f80
f32.round.2 df80 72440d49 - 72440d49 df80
f64.round.2 1f80 7ff0000000000000 - 7ff0000000000000 1f80
f64.round.2 3fc0 36c3ec1c805a869 - 3ff0000000000000 3fe0
f64.round.2 7f80 41820d608032a179 - 41820d6088000000 7fa0
f64.round.2 ffc0 47cef48d1ffbd590 - 47cef48d1ffbd590 ffc0
f64.round.2 5180 29d0056fce98100 - 3ff0000000000000 51a0
f32.round.4 1f80 88ffffff - 80000000 1fa0
f32.round.4 7f80 80014000 - 80000000 7fa0
f32.round.4 7f80 0 - 0 7f80
f32.round.4 ff80 fda5a388 - fda5a388 ff80
f32.round.4 9fc0 80000000 - 80000000 9fc0
f64.round.4 1f80 81b036fba4afb498 - 8000000000000000 1fa0
f64.round.4 e680 ff9df23256e5f098 - ff9df23256e5f098 e680
f64.round.4 1f80 7d52a71c186f5533 - 7d52a71c186f5533 1f80
f64.round.4 5fc0 363fffffffffffff - 3ff0000000000000 5fe0
f64.round.4 9fc0 411b2f52dcd55a22 - 411b2f5400000000 9fe0
f32.round.9 1f80 3fffffff - 3f800000 1f80
f32.round.9 4f80 3af0cdfc - 0 4f80
f32.round.9 7f80 5d99ba23 - 5d99ba23 7f80
f32.round.9 3f80 ff800000 - ff800000 3f80
f32.round.9 1f80 c002e000 - c0400000 1f80
f64.round.9 1f80 c0d069c8bc3b1939 - c0d06a0000000000 1f80
f64.round.9 6c00 3840000000000000 - 0 6c00
f64.round.9 4240 8000000000000000 - 8000000000000000 4240
f64.round.9 1fc0 3f9f8eb6a5b10d50 - 0 1fc0
f64.round.9 1700 c7c0000000000000 - c7c0000000000000 1700
f32.round.12 1f80 c4a10e1f - c4a10000 1f80
f32.round.12 1240 461fef16 - 461ff000 1240
f32.round.12 bf80 7fcbb39c - 7fcbb39c bf80
f32.round.12 6400 0 - 0 6400
f32.round.12 3f80 0 - 0 3f80
f64.round.12 1f80 fff0000000000000 - fff0000000000000 1f80
f64.round.12 1f80 a880000000000000 - 8000000000000000 1f80
f64.round.12 1100 80004ee8c50bff07 - 8000000000000000 1100
f64.round.12 9540 7ff8ec95ffd43907 - 7ff8ec95ffd43907 9540
f64.round.12 5f80 40d8d4f37f6f1112 - 40d8d50000000000 5f80
f32.comi 1f80 bb400000 5e9cb169 1 1f80
f32.comi 1f80 7ac4 7f800000 1 1f82
f32.comi ff80 3ca3ba00 c1f80000 0 ff80
f32.comi 9f80 e8856255 77d65577 1 9f80
f32.comi d00 4e800000 0 0 d00
f64.ucomi 1f80 37e6e00000000000 4170a73b9a6a9a01 1 1f80
f64.ucomi bf80 fff0000000000000 25633797196f0942 1 bf80
f64.ucomi 2d00 41ce3b3e007e7d35 800000002ada705c 0 2d02
f64.ucomi 3fc0 1 41c784d226778000 1 3fc0
f64.ucomi d000 41a0000000000000 2 - d002
f32.toI32.0 1f80 5d939830 - 80000000 1f81
f32.toI32.0 7f80 c60d4f42 - ffffdcad 7fa0
f32.toI32.0 480 7f800000 - 80000000 481
f32.toI32.0 8180 deffffff - 80000000 8181
f32.toI32.0 7fc0 bfee2908 - ffffffff 7fe0
f32.toI64.1 1f80 80000000 - 0 1f80
f32.toI64.1 d880 3 - 0 d8a0
f32.toI64.1 dcc0 bb5bc287 - 0 dce0
f32.toI64.1 2c00 4e0034f5 - 200d3d40 2c00
f32.toI64.1 ad00 7f915093 - - ad01
f64.toI32.1 1f80 439ecf3138f2a359 - 80000000 1f81
f64.toI32.1 3f80 c07f1e52eade8298 - fffffe0f 3fa0
f64.toI32.1 7f80 fff1cfa800000000 - 80000000 7f81
f64.toI32.1 5fc0 4116b17419440a3b - 5ac5d 5fe0
f64.toI32.1 8880 7d9956d7d02f3422 - 80000000 8881
f64.toI64.0 1f80 7dc5d5764db78a48 - 8000000000000000 1f81
f64.toI64.0 3a00 40f8e26fd84f380e - 18e26 3a20
f64.toI64.0 7f80 c3a13b78d8000000 - f762439400000000 7f80
f64.toI64.0 5f80 7ff3a85b1b665bc0 - 8000000000000000 5f81
f64.toI64.0 ffc0 37531df5bf7f80f3 - 0 ffe0
f32.fromI64 1f80 ffffffdbc3cd9aa6 - d210f0ca 1fa0
f32.fromI64 b880 ffff7ea72c09ed85 - d70158d4 b8a0
f32.fromI64 9f80 122629e94b2 - 5391314f 9fa0
f32.fromI64 af80 c3bc3c - 4b43bc3c af80
f32.fromI64 bfc0 3948b50e11 - 526522d4 bfe0
f64.fromI64 1f80 fffffb9fe125413e - c291807b6afb0800 1f80
f64.fromI64 b900 3cd74b1eafc9 - 42ce6ba58f57e480 b900
f64.fromI64 3f80 ffe061b6c6f8a2d5 - c33f9e4939075d2b 3f80
f64.fromI64 7900 3d9878327af - 428ecc3c193d7800 7900
f64.fromI64 3380 ffffffffe22a383c - c1bdd5c7c4000000 3380
f32.toF64 1f80 458c03eb - 40b1807d60000000 1f80
f32.toF64 3000 8eef8681 - b9ddf0d020000000 3000
f32.toF64 3dc0 78fbc762 - 471f78ec40000000 3dc0
f32.toF64 5fc0 f2c60000 - c658c00000000000 5fc0
f32.toF64 5fc0 dd000000 - c3a0000000000000 5fc0
f64.toF32 1f80 80ddfd7d99d29be5 - 80000000 1fb0
f64.toF32 7fc0 ffcfffffffffffff - ff7fffff 7fe8
f64.toF32 3f80 8000003fffffffff - 80000001 3fb2
f64.toF32 20c0 c1c1e9fc7489309e - - 20e0
f64.toF32 ff80 c16ca51f06c00000 - cb6528f8 ffa0
`;

test('special operands, modes and exceptions as on the processor', () => {
  const lines = processor.trim().split('\n');
  assert.ok(lines.length > 200);
  for (const line of lines) {
    const [operation, before, a, b, result, after] = line.split(' ');
    const [type, name, immediate] = operation.split('.');
    setOperand(0, BigInt(`0x${a}`));
    if (b !== '-') setOperand(1, BigInt(`0x${b}`));
    if (immediate !== undefined) setOperand(b === '-' ? 1 : 2, BigInt(immediate));
    const got = run(`${type}.${name}`, Number.parseInt(before, 16));
    assert.equal(got.fault, result === '-' ? 1 : 0, `${line}: exception`);
    assert.equal(got.mxcsr.toString(16), after, `${line}: MXCSR`);
    if (result === '-') {
      assert.equal(state.getInt32(header.trapCode, true) & 0xff, XM);
      continue;
    }
    const long = /to(I64|F64)|f64[.](?!toI32|toF32|cmp|ucomi)/.test(operation);
    const value = long ? view.getBigUint64(RESULT, true) : BigInt(view.getUint32(RESULT, true));
    assert.equal((name === 'cmp' ? value & 1n : value).toString(16), result, line);
  }
});

/** A linear congruential generator, upper bits: the same numbers at every run. */
function generator(seed: bigint): () => bigint {
  let x = seed;
  return () => {
    x = BigInt.asUintN(64, x * 6364136223846793005n + 1442695040888963407n);
    const high = x >> 32n;
    x = BigInt.asUintN(64, x * 6364136223846793005n + 1442695040888963407n);
    return (high << 32n) | (x >> 32n);
  };
}

const scratch = new DataView(new ArrayBuffer(8));
const bitsOf = (value: number): bigint => {
  scratch.setFloat64(0, value);
  return scratch.getBigUint64(0);
};

test('doubles and singles are those of JavaScript, PE set when a result is inexact', () => {
  const random = generator(1n);
  const number = () => (Number(random() >> 32n) - 2 ** 31) * 2 ** (Number(random() & 63n) - 40);
  const operations: Readonly<Record<string, (a: number, b: number) => number>> = {
    add: (a, b) => a + b,
    sub: (a, b) => a - b,
    mul: (a, b) => a * b,
    div: (a, b) => a / b,
  };
  for (let i = 0; i < 1000; i++) {
    // Singles' products, and quotients that divide, are exact in a double: inexactness shows in the single.
    const [a, b] = [Math.fround(number()), Math.fround(number())];
    if (b === 0) continue;
    for (const [name, operation] of Object.entries(operations)) {
      setOperand(0, bitsOf(a));
      setOperand(1, bitsOf(b));
      assert.equal(run(`f64.${name}`, 0x1f80).fault, 0);
      assert.equal(view.getFloat64(RESULT, true), operation(a, b), `${a} ${name} ${b}`);
      view.setFloat32(ARGUMENTS, a, true);
      view.setFloat32(ARGUMENTS + 16, b, true);
      const { mxcsr } = run(`f32.${name}`, 0x1f80);
      const single = Math.fround(operation(a, b));
      assert.equal(view.getFloat32(RESULT, true), single);
      if (name === 'mul') assert.equal(mxcsr, single === a * b ? 0x1f80 : 0x1fa0, `${a} * ${b}`);
      if (name === 'div') assert.equal(mxcsr, single * b === a ? 0x1f80 : 0x1fa0, `${a} / ${b}`);
    }
  }
});

test('a vector does what its lanes do', () => {
  const random = generator(99n);
  const lanes = [
    { vector: 'f32x4', scalar: 'f32', bytes: 4 },
    { vector: 'f64x2', scalar: 'f64', bytes: 8 },
  ];
  const immediates: Readonly<Record<string, bigint>> = { cmp: 5n, round: 4n };
  for (const { vector, scalar, bytes } of lanes) {
    for (const name of ['add', 'sub', 'mul', 'div', 'min', 'max', 'sqrt', 'cmp', 'round']) {
      for (let i = 0; i < 300; i++) {
        const mode = 0x1f80 | (i % 4 ? 0 : 0x20) | (i % 3 ? 0 : Number(random() & 3n) << 13) | (i % 5 ? 0 : 0x8040);
        // Every third case is tame, so that the native way is taken too.
        const operand = () => (i % 3 ? random() : bitsOf(1 + Number(random() & 0xffffn) / 7));
        const operands = [operand(), operand(), operand(), operand()];
        const immediate = immediates[name] ?? 0n;
        const unary = name === 'sqrt' || name === 'round';
        setOperand(0, operands[0], operands[1]);
        if (unary) setOperand(1, immediate);
        else {
          setOperand(1, operands[2], operands[3]);
          setOperand(2, immediate);
        }
        const whole = run(`${vector}.${name}`, mode);
        const result = [view.getBigUint64(RESULT, true), view.getBigUint64(RESULT + 8, true)];
        let flags = mode;
        for (let at = 0; at < 16; at += bytes) {
          const lane = (low: bigint, high: bigint) =>
            BigInt.asUintN(8 * bytes, (at < 8 ? low : high) >> BigInt(8 * (at & 7)));
          setOperand(0, lane(operands[0], operands[1]));
          if (unary) setOperand(1, immediate);
          else {
            setOperand(1, lane(operands[2], operands[3]));
            setOperand(2, immediate);
          }
          flags |= run(`${scalar}.${name}`, mode).mxcsr;
          const got = bytes === 8 ? view.getBigInt64(RESULT, true) : BigInt(view.getInt32(RESULT, true));
          const want = name === 'cmp' ? BigInt(view.getInt32(RESULT, true)) : got;
          assert.equal(lane(result[0], result[1]), BigInt.asUintN(8 * bytes, want), `${vector} ${name} ${operands}`);
        }
        assert.deepEqual(whole, { fault: 0, mxcsr: flags }, `${vector} ${name} ${operands}`);
      }
    }
  }
});

test('an unmasked exception is #UD without CR4.OSXMMEXCPT', () => {
  setOperand(0, bitsOf(1));
  setOperand(1, 0n);
  assert.deepEqual(run('f64.div', 0x1d80, 0n), { fault: 1, mxcsr: 0x1d84 });
  assert.equal(state.getInt32(header.trapCode, true) & 0xff, UD);
});
