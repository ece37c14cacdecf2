/**
 * Sequences of A32 instructions with conditions, whose runs the translator joins: on both tiers against a model of the few
 * instructions, written from the manual (DDI 0406, A8.3, A8.8).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TcgEngine } from '../../accel/tcg/engine.js';
import { quietHost } from '../../accel/testing/quiet-host.js';
import { cpsr, cpuMode, reg, STATE_BYTES } from './state.js';
import { Arm32Cpu } from './system/cpu.js';

const RAM = 0x40000000;
const RAM_BYTES = 1 << 16;
const CODE = RAM + 0x1000;
const DATA = RAM + 0x8000;
const WORDS = 4;
const LENGTH = 24;
/** R0 to R5 are computed with, R8 holds the data's address. */
const COUNT = 6;
const BASE = 8;
const WFI = 0xe320f003;
const ALWAYS = 14;
const opcode = { eor: 1, sub: 2, add: 4, adc: 5, sbc: 6, cmp: 10, bic: 14 } as const;
/** Second operands that are numbers: eight bits rotated right by twice the upper four. */
const immediates = [0x000, 0x001, 0x0ff, 0x102, 0x4ff] as const;
const immediateOf = (imm: number): number => {
  const places = 2 * (imm >> 8);
  return (((imm & 255) >>> places) | ((imm & 255) << ((32 - places) % 32))) >>> 0;
};

type Insn =
  | { kind: 'data'; op: keyof typeof opcode; cond: number; s: number; rd: number; rn: number; rm: number; imm?: number }
  | { kind: 'memory'; isLoad: boolean; cond: number; rd: number; word: number }
  | { kind: 'b'; cond: number; over: number };

function encode(i: Insn): number {
  const cond = (i.cond << 28) >>> 0;
  if (i.kind === 'b') return cond | 0x0a000000 | ((i.over - 1) & 0xffffff);
  if (i.kind === 'memory')
    return cond | 0x05800000 | (i.isLoad ? 1 << 20 : 0) | (BASE << 16) | (i.rd << 12) | (4 * i.word);
  const rd = i.op === 'cmp' ? 0 : i.rd;
  const operand = i.imm === undefined ? i.rm : (1 << 25) | i.imm;
  return cond | (opcode[i.op] << 21) | (i.s << 20) | (i.rn << 16) | (rd << 12) | operand;
}

interface Model {
  readonly r: number[];
  readonly memory: number[];
  n: boolean;
  z: boolean;
  c: boolean;
  v: boolean;
}
function holds({ n, z, c, v }: Model, cond: number): boolean {
  const of = [z, c, n, v, c && !z, n === v, n === v && !z, true][cond >> 1];
  return cond & 1 && cond !== 15 ? !of : of;
}
function interpret(m: Model, program: readonly Insn[]): void {
  for (let at = 0; at < program.length; at++) {
    const i = program[at];
    if (!holds(m, i.cond)) continue;
    if (i.kind === 'b') at += i.over;
    else if (i.kind === 'memory') {
      if (i.isLoad) m.r[i.rd] = m.memory[i.word];
      else m.memory[i.word] = m.r[i.rd];
    } else {
      const [x, y] = [m.r[i.rn], i.imm === undefined ? m.r[i.rm] : immediateOf(i.imm)];
      const { c } = m;
      const isLogic = i.op === 'eor' || i.op === 'bic';
      // As the manual's AddWithCarry: a difference is the sum with the operand inverted.
      const second = i.op === 'add' || i.op === 'adc' ? y : ~y >>> 0;
      const carry = i.op === 'add' ? 0 : i.op === 'adc' || i.op === 'sbc' ? Number(c) : 1;
      const exact = x + second + carry;
      const result = (i.op === 'eor' ? x ^ y : i.op === 'bic' ? x & ~y : exact) >>> 0;
      if (i.s) {
        m.n = result >> 31 !== 0;
        m.z = result === 0;
        if (!isLogic) {
          m.c = exact > 0xffffffff;
          const signed = (x | 0) + (second | 0) + carry;
          m.v = signed !== (signed | 0);
        } else if (i.imm !== undefined && i.imm >> 8 !== 0) m.c = y >> 31 !== 0;
      }
      if (i.op !== 'cmp') m.r[i.rd] = result;
    }
  }
}

/** xorshift32. */
function randomFrom(seed: number): (below: number) => number {
  let x = seed;
  return (below) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % below;
  };
}
function makeProgram(random: (below: number) => number): Insn[] {
  // Few conditions, so that runs are long.
  const first = random(14);
  const conditions = [first, first ^ 1, first, first ^ 1, ALWAYS, random(14)];
  return Array.from({ length: LENGTH }, (_, at): Insn => {
    const cond = conditions[random(conditions.length)];
    const [rd, rn, rm] = [random(COUNT), random(COUNT), random(COUNT)];
    const which = random(12);
    if (which === 0) return { kind: 'b', cond, over: random(Math.min(4, LENGTH - at)) };
    if (which < 5) return { kind: 'memory', isLoad: (which & 1) === 0, cond, rd, word: random(WORDS) };
    const op = (Object.keys(opcode) as (keyof typeof opcode)[])[which - 5];
    const s = op === 'cmp' || random(4) === 0 ? 1 : 0;
    const imm = random(2) === 0 ? { imm: immediates[random(immediates.length)] } : {};
    return { kind: 'data', op, cond, s, rd, rn, rm, ...imm };
  });
}
const values = [0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff, 12345];

/** Runs `programs`, each `rounds` times. */
function compare(programs: number, rounds: number, hotThreshold: number): void {
  const cpu = new Arm32Cpu({
    time: () => 0n,
    counterFrequency: 1,
    setTimer: () => {},
    firmwareCall: () => false,
  });
  let polls = 0;
  // A program that does not end is a failure.
  const host = { ...quietHost, poll: () => ++polls > 10_000 };
  const engine = new TcgEngine({ cpus: [cpu], ramBytes: RAM_BYTES, stateBytes: STATE_BYTES, hotThreshold, host });
  engine.setRamBlocks([{ gpa: RAM, size: RAM_BYTES, hva: engine.ramStart, readonly: false }]);
  const words = new Uint32Array(engine.memory.buffer, engine.ramStart, RAM_BYTES / 4);
  const place = (at: number): number => (at - RAM) / 4;
  const random = randomFrom(2463534242);
  cpu.reset(BigInt(CODE));
  for (let p = 0; p < programs; p++) {
    const program = makeProgram(random);
    words.set([...program.map(encode), WFI], place(CODE));
    engine.published(engine.ramStart + CODE - RAM, 4 * (LENGTH + 1));
    for (let round = 0; round < rounds; round++) {
      const flags = random(16);
      const pick = (): number => values[random(values.length)];
      const model: Model = {
        r: Array.from({ length: COUNT }, pick),
        memory: Array.from({ length: WORDS }, pick),
        n: (flags & 8) !== 0,
        z: (flags & 4) !== 0,
        c: (flags & 2) !== 0,
        v: (flags & 1) !== 0,
      };
      words.set(model.memory, place(DATA));
      for (const [n, value] of model.r.entries()) cpu.core.set64(reg[n].offset, BigInt(value));
      cpu.core.set64(reg[BASE].offset, BigInt(DATA));
      cpu.core.setCpsr(cpuMode.supervisor | cpsr.A | cpsr.I | cpsr.F | (flags << 28));
      cpu.core.goTo(CODE, false);
      assert.equal(engine.run(), 'halt');
      interpret(model, program);
      const bits = [model.n, model.z, model.c, model.v].reduce((sum, bit) => 2 * sum + Number(bit), 0);
      const found = {
        r: model.r.map((_, n) => cpu.core.get32(reg[n].offset) >>> 0),
        memory: [...words.subarray(place(DATA), place(DATA) + WORDS)],
        flags: cpu.core.nzcv >>> 28,
      };
      assert.deepEqual(
        found,
        { r: model.r, memory: model.memory, flags: bits },
        program.map((i) => JSON.stringify(i)).join('\n'),
      );
    }
  }
  if (hotThreshold > 0) assert.ok(engine.compiler.counters.regions > 0);
}

test('runs of A32 instructions with conditions do what the manual says, in the cold tier', () => compare(200, 4, 0));
test('and in regions', () => compare(25, 24, 2));
