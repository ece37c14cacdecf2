/**
 * Accesses near each other share one look into the TLB in regions, not in the cold tier: random programs do the same in both, at the ends
 * of pages, of RAM and ROM, in front of a device, beside code and on the page that is not mapped.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { generator } from '../testing/random.js';
import { toy, toyInsn } from './toy-guest.js';
import { TOY_RAM, toyMachine } from './toy-machine.js';

const seed = Number(process.env['VRING_SEED'] ?? Math.floor(Date.now() / 86_400_000));
const ROM = 0x4000;
const COUNTER = 1;
/** Registers that addresses are made of, and such as take values. */
const bases = [2, 3, 4, 5];
const values = [6, 7, 8, 9, 10, 11];
/** Where bases begin: within pages and near the ends of them. */
const places = [
  0x8000,
  0x8ff0,
  0x9f90,
  0xa7c4,
  0x2f00,
  0x2ff8,
  0x1010,
  TOY_RAM - ROM,
  TOY_RAM - ROM - 24,
  TOY_RAM - 0x40,
  TOY_RAM + 0x100,
];

/** A loop of random accesses, steps of the bases and jumps over a few of them. */
function program(random: (below: number) => number): number[][] {
  const pick = (list: readonly number[]) => list[random(list.length)];
  const body: number[][] = [];
  const length = 6 + random(24);
  while (body.length < length) {
    const kind = random(16);
    if (kind < 6) body.push(toyInsn(toy.load, pick(values), pick(bases), 8 * (random(16) - 8) + random(2) * random(8)));
    else if (kind < 11)
      body.push(toyInsn(toy.store, pick(values), pick(bases), 8 * (random(16) - 8) + random(2) * random(8)));
    else if (kind < 12) body.push(toyInsn(toy.add, pick(values), pick(values)));
    else if (kind < 13) body.push(toyInsn(toy.set, pick(values), 0, random(3) - 1));
    else if (kind < 14) body.push(toyInsn(toy.addImmediate, pick(bases), 0, [8, -8, 24, 1, 0][random(5)]));
    else if (body.length + 4 < length) body.push(toyInsn(toy.jumpIfNotZero, pick(values), 0, 2 + random(3)));
  }
  body.push(toyInsn(toy.addImmediate, COUNTER, 0, -1));
  body.push(toyInsn(toy.jumpIfNotZero, COUNTER, 0, -body.length));
  body.push(toyInsn(toy.halt));
  return body;
}

function run(round: number, hotThreshold: number) {
  const random = generator(seed * 1000 + round);
  const made = toyMachine(program(random), hotThreshold, ROM);
  const { cpu, engine, ram, mmio } = made;
  for (let i = 0x8000; i < 0xb000; i++) ram[i] = random(256);
  cpu.setRegister(COUNTER, BigInt(60 + random(200)));
  for (const base of bases) cpu.setRegister(base, BigInt(places[random(places.length)] + random(3) * 4));
  const end = engine.run();
  const registers = Array.from({ length: 12 }, (_, i) => cpu.register(i));
  return {
    engine,
    seen: { end, pc: cpu.pc, faults: cpu.faults, registers, mmio, ram: Buffer.from(ram).toString('latin1') },
  };
}

test(`random accesses, in regions as in the cold tier (seed ${seed})`, () => {
  let regions = 0;
  let apart = 0;
  for (let round = 0; round < 150; round++) {
    const hot = run(round, 4);
    assert.deepEqual(hot.seen, run(round, 0).seen, `round ${round}`);
    regions += hot.engine.compiler.counters.regions;
    apart += hot.engine.counters.apart;
  }
  // Both ways were gone.
  assert.ok(regions > 100 && apart > 100, `${regions} regions, ${apart} times apart`);
});

/** Sums the words on either side of an address, again and again. */
function sumAcross(address: number, count: number) {
  const loop = [
    toyInsn(toy.load, 4, 3, -8),
    toyInsn(toy.add, 2, 4),
    toyInsn(toy.load, 4, 3),
    toyInsn(toy.add, 2, 4),
    toyInsn(toy.addImmediate, 1, 0, -1),
    toyInsn(toy.jumpIfNotZero, 1, 0, -5),
    toyInsn(toy.halt),
  ];
  const { cpu, engine, ram } = toyMachine(loop, 16);
  const view = new DataView(ram.buffer, ram.byteOffset, TOY_RAM);
  view.setBigUint64(address - 8, 3n, true);
  if (address < TOY_RAM) view.setBigUint64(address, 4n, true);
  cpu.setRegister(1, BigInt(count));
  cpu.setRegister(3, BigInt(address));
  assert.equal(engine.run(), 'halt');
  return { sum: cpu.register(2), apart: engine.counters.apart };
}

test('pages that follow each other in the host too are shared', () => {
  const { sum, apart } = sumAcross(0x9000, 100_000);
  assert.equal(sum, 700_000n);
  assert.ok(apart < 3, `${apart} times apart`);
});

test('an instruction whose accesses can never share is left alone after a while', () => {
  const { sum, apart } = sumAcross(TOY_RAM, 20_000);
  assert.equal(sum, BigInt.asIntN(64, 20_000n * (3n + 0x1122334411223344n)));
  assert.ok(apart > 0 && apart < 200, `${apart} times apart`);
});
