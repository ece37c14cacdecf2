/**
 * Random programs end alike on the cold tier and in regions: registers, the deferred variable, pc, memory, and what devices saw. They
 * leave regions in every place: by branches, indirect jumps, faults and MMIO.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { generator } from '../testing/random.js';
import { toy, toyInsn, toyVars } from './toy-guest.js';
import { toyMachine } from './toy-machine.js';

const seed = Number(process.env['VRING_SEED'] ?? Math.floor(Date.now() / 86_400_000));
const random = generator(seed);

const ENTRY = 0x2000;
/** Below the code, so that no pointer, which only ever falls, comes to it. */
const DATA = 0x1400;
const DATA_BYTES = 0x800;
/** Counts blocks down to 0, where the program halts. */
const FUEL = 15;
/** Registers with addresses of blocks, for indirect jumps; below them four with addresses of data. */
const LINKS = [12, 13, 14];
const POINTERS = [8, 9, 10, 11];
const BLOCK_INSTRUCTIONS = 9;

function operation(): number[] {
  const rd = random(POINTERS[0]);
  const rs = random(POINTERS[0]);
  const pointer = POINTERS[random(POINTERS.length)];
  switch (random(10)) {
    case 0:
    case 1:
      return toyInsn(toy.add, rd, rs);
    case 2:
    case 3:
      return toyInsn(toy.addImmediate, rd, 0, random(256));
    case 4:
      return toyInsn(toy.set, rd, 0, random(256));
    case 5:
      return toyInsn(toy.mark, rd);
    case 6:
      return toyInsn(toy.store, rd, pointer, random(256));
    case 7:
      // A pointer comes to page 0 in time, where an access faults; what lies in other registers may be an address of anything.
      if (random(4) === 0) return toyInsn(toy.addImmediate, pointer, 0, -1 - random(4));
      return random(64) === 0 ? toyInsn(toy.load, rd, rs) : toyInsn(toy.add, rd, pointer);
    default:
      return toyInsn(toy.load, rd, pointer, random(256));
  }
}

function program(blocks: number): number[][] {
  const code: number[][] = [];
  const backward = 2 + random(20);
  for (let i = 0; i < blocks; i++) {
    const start = code.length;
    code.push(toyInsn(toy.addImmediate, FUEL, 0, -1), toyInsn(toy.jumpIfNotZero, FUEL, 0, 2), toyInsn(toy.halt));
    for (let n = random(random(4) === 0 ? 5 : 2); n > 0; n--) code.push(operation());
    // Mostly forward: regions with loops and regions without.
    const next = random(backward) === 0 ? Math.max(0, i - random(12)) : i + 1 + random(3);
    const to = () => BLOCK_INSTRUCTIONS * next - code.length;
    const end = next < blocks ? random(16) : 0;
    if (end === 0) code.push(toyInsn(toy.jumpRegister, 0, LINKS[random(LINKS.length)]));
    else if (end === 1) code.push(toyInsn(toy.jump, 0, 0, to()));
    else {
      // By some bit, mostly of the fuel: it changes.
      const condition = random(POINTERS[0]);
      code.push(toyInsn(toy.andImmediate, condition, random(4) === 0 ? random(8) : FUEL, 1 << random(5)));
      code.push(toyInsn(toy.jumpIfNotZero, condition, 0, to()));
    }
    while (code.length < start + BLOCK_INSTRUCTIONS) code.push(toyInsn(toy.mark, random(POINTERS[0])));
  }
  return code;
}

test(`random programs in regions and on the cold tier (seed ${seed})`, () => {
  const machines = [0, 2, 16].map((threshold) => toyMachine([], threshold));
  for (let round = 0; round < 300; round++) {
    const blocks = 2 + random(random(2) === 0 ? 12 : 80);
    const code = program(blocks).flat();
    const fuel = BigInt(200 + random(1000));
    const registers = Array.from({ length: POINTERS[0] }, () =>
      BigInt(random(2) === 0 ? random(4) : DATA + random(DATA_BYTES)),
    );
    const links = LINKS.map(() => BigInt(ENTRY + 4 * BLOCK_INSTRUCTIONS * random(blocks)));
    const pointers = POINTERS.map(() => BigInt(DATA + random(DATA_BYTES)));
    const ends = machines.map(({ cpu, engine, ram, mmio }) => {
      engine.takeOver();
      ram.fill(0);
      ram.set(code, ENTRY);
      mmio.length = 0;
      cpu.pc = ENTRY;
      const values = [...registers, ...pointers, ...links, fuel];
      values.forEach((value, n) => {
        cpu.setRegister(n, value);
      });
      const deferred = (engine.state + toyVars.deferred.offset) >> 2;
      const words = new Int32Array(engine.memory.buffer);
      words[deferred] = 0;
      const exit = engine.run();
      return {
        exit,
        pc: cpu.pc,
        registers: values.map((_, n) => cpu.register(n)),
        deferred: words[deferred],
        mmio: mmio.slice(-50),
        memory: Buffer.from(ram).toString('latin1'),
      };
    });
    for (const end of ends.slice(1)) assert.deepEqual(end, ends[0], `round ${round}`);
  }
  const [cold, ...hot] = machines.map(({ engine }) => engine.compiler.counters.regions);
  assert.equal(cold, 0);
  for (const regions of hot) assert.ok(regions > 100, `${regions} regions`);
});
