/** Conditions right after what sets the flags, against NZCV by the manual's AddWithCarry and ConditionHolds (J1.3). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TcgEngine } from '../../accel/tcg/engine.js';
import { quietHost } from '../../accel/testing/quiet-host.js';
import { STATE_BYTES, xreg } from './state.js';
import { ArmCpu } from './system/cpu.js';

const RAM = 0x40000000;
const RAM_BYTES = 1 << 16;
const WFI = 0xd503207f;

interface Flags {
  readonly n: boolean;
  readonly z: boolean;
  readonly c: boolean;
  readonly v: boolean;
}

function addWithCarry(bits: number, x: bigint, y: bigint, carry: bigint): Flags {
  const [a, b] = [BigInt.asUintN(bits, x), BigInt.asUintN(bits, y)];
  const result = BigInt.asUintN(bits, a + b + carry);
  const exact = BigInt.asIntN(bits, x) + BigInt.asIntN(bits, y) + carry;
  return {
    n: BigInt.asIntN(bits, result) < 0n,
    z: result === 0n,
    c: result !== a + b + carry,
    v: BigInt.asIntN(bits, result) !== exact,
  };
}
const subtract = (bits: number, x: bigint, y: bigint) => addWithCarry(bits, x, ~y, 1n);
function and(bits: number, x: bigint, y: bigint): Flags {
  const result = BigInt.asIntN(bits, x & y);
  return { n: result < 0n, z: result === 0n, c: false, v: false };
}

function holds(condition: number, { n, z, c, v }: Flags): boolean {
  const result = [z, c, n, v, c && !z, n === v, n === v && !z][condition >> 1];
  return condition & 1 ? !result : result;
}

interface Setter {
  readonly name: string;
  /** On X1 and X2, after a comparison of X3 and X4. */
  readonly code: readonly number[];
  flags(x: bigint, y: bigint, x3: bigint, x4: bigint): Flags;
}
const COMPARE_34 = 0xeb04007f;
const nothing = (nzcv: number): Flags => ({
  n: nzcv > 7,
  z: (nzcv & 4) !== 0,
  c: (nzcv & 2) !== 0,
  v: (nzcv & 1) !== 0,
});
const setters: Setter[] = [32, 64].flatMap((bits): Setter[] => {
  const wide = bits === 64 ? 0x80000000 : 0;
  return [
    { name: `subs ${bits}`, code: [0x6b02003f + wide], flags: (x, y) => subtract(bits, x, y) },
    { name: `adds ${bits}`, code: [0x2b02003f + wide], flags: (x, y) => addWithCarry(bits, x, y, 0n) },
    { name: `ands ${bits}`, code: [0x6a02003f + wide], flags: (x, y) => and(bits, x, y) },
    ...Array.from({ length: 14 }, (_, condition) => ({
      name: `ccmp ${bits} ${condition}`,
      code: [COMPARE_34, 0x7a420020 + wide + (condition << 12) + ((condition * 5) & 15)],
      flags: (x: bigint, y: bigint, x3: bigint, x4: bigint) =>
        holds(condition, subtract(64, x3, x4)) ? subtract(bits, x, y) : nothing((condition * 5) & 15),
    })),
  ];
});

/** CSET X(10 + condition), for each; ADC and B.cond take the same ways. */
const conditions = Array.from({ length: 14 }, (_, code) => 0x9a9f07e0 + ((code ^ 1) << 12) + 10 + code);

const edges = [0n, 1n, -1n, 2n, 1n << 31n, (1n << 31n) - 1n, -(1n << 31n), 1n << 32n, 1n << 63n, (1n << 63n) - 1n];
/** Numbers that look random: the same each time. */
function* mixed(): Generator<bigint> {
  for (let n = 1n; ; n++) yield BigInt.asUintN(64, n * 0x9e3779b97f4a7c15n * 0xbf58476d1ce4e5b9n);
}

test('conditions after subtraction, addition, logic and conditional comparison, of 32 and 64 bits', () => {
  const cpu = new ArmCpu({
    time: () => 0n,
    counterFrequency: 62_500_000,
    setTimer: () => {},
    firmwareCall: () => false,
  });
  const engine = new TcgEngine({ cpus: [cpu], ramBytes: RAM_BYTES, stateBytes: STATE_BYTES, host: quietHost });
  engine.setRamBlocks([{ gpa: RAM, size: RAM_BYTES, hva: engine.ramStart, readonly: false }]);
  const view = new DataView(engine.memory.buffer, engine.ramStart, RAM_BYTES);
  const places = setters.map(({ code }, i) => {
    const at = i * 128;
    for (const [n, word] of [...code, ...conditions, WFI].entries()) view.setUint32(at + 4 * n, word, true);
    return BigInt(RAM + at);
  });
  cpu.reset(places[0]);
  const random = mixed();
  const pairs = edges.flatMap((x) => edges.map((y) => [x, y]));
  for (let i = 0; i < 60; i++) pairs.push([random.next().value, random.next().value]);
  const { core } = cpu;
  for (const [n, [x, y]] of pairs.entries()) {
    const [x3, x4] = pairs[(n * 37) % pairs.length];
    for (const [i, setter] of setters.entries()) {
      for (const [r, value] of [x, y, x3, x4].entries()) core.set64(xreg[r + 1].offset, BigInt.asUintN(64, value));
      core.pc = places[i];
      assert.equal(engine.run(), 'halt');
      const flags = setter.flags(x, y, x3, x4);
      for (let code = 0; code < 14; code++) {
        const given = core.get64(xreg[10 + code].offset);
        assert.equal(
          given,
          holds(code, flags) ? 1n : 0n,
          `${setter.name} of ${x}, ${y} (${x3}, ${x4}), condition ${code}`,
        );
      }
    }
  }
});
