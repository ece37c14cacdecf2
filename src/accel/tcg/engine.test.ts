import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toy, toyInsn } from './toy-guest.js';
import { toyMachine as machine, TOY_RAM as RAM } from './toy-machine.js';

/** r1 counts down from r1; r2 sums what lies at r3, which holds and is stored back increased by one. */
const sum = [
  toyInsn(toy.load, 4, 3),
  toyInsn(toy.add, 2, 4),
  toyInsn(toy.addImmediate, 4, 0, 1),
  toyInsn(toy.store, 4, 3),
  toyInsn(toy.addImmediate, 1, 0, -1),
  toyInsn(toy.jumpIfNotZero, 1, 0, -5),
  toyInsn(toy.mark, 9),
  toyInsn(toy.halt),
];

for (const hotThreshold of [0, 16]) {
  const tier = hotThreshold === 0 ? 'cold tier' : 'both tiers';
  test(`a loop with loads and stores, ${tier}`, () => {
    const { cpu, engine } = machine(sum, hotThreshold);
    cpu.setRegister(1, 100_000n);
    cpu.setRegister(3, 0x8000n);
    assert.equal(engine.run(), 'halt');
    assert.equal(cpu.register(2), (99_999n * 100_000n) / 2n);
    assert.equal(cpu.register(4), 100_000n);
    assert.equal(cpu.register(9), 2n, 'the deferred variable survives the way out of the loop');
    assert.equal(cpu.pc, 0x2000 + 8 * 4);
    assert.equal(engine.compiler.counters.regions > 0, hotThreshold > 0);
  });

  test(`a fault leaves registers and pc exact, ${tier}`, () => {
    const { cpu, engine } = machine(
      [
        toyInsn(toy.addImmediate, 1, 0, 1),
        toyInsn(toy.addImmediate, 3, 0, -8),
        toyInsn(toy.load, 4, 3),
        toyInsn(toy.jump, 0, 0, -3),
      ],
      hotThreshold,
    );
    cpu.setRegister(3, 0x3000n + 8n);
    assert.equal(engine.run(), 'shutdown');
    assert.equal(cpu.faults, 1);
    assert.equal(cpu.pc, 0x2008);
    assert.equal(cpu.register(3), 0x1000n - 8n);
    assert.equal(cpu.register(1), (0x3008n - (0x1000n - 8n)) / 8n);
  });

  test(`a store to the code that runs takes effect at once, ${tier}`, () => {
    // The loop counts r1 up to 64, then overwrites its own addition by a halt.
    const program = [
      toyInsn(toy.addImmediate, 1, 0, 1),
      toyInsn(toy.addImmediate, 2, 0, -1),
      toyInsn(toy.jumpIfNotZero, 2, 0, -2),
      toyInsn(toy.store, 5, 6),
      toyInsn(toy.set, 2, 0, 100),
      toyInsn(toy.jump, 0, 0, -5),
    ];
    const { cpu, engine } = machine(program, hotThreshold);
    cpu.setRegister(2, 64n);
    cpu.setRegister(6, 0x2000n);
    cpu.setRegister(5, 0n); // two halts
    assert.equal(engine.run(), 'halt');
    assert.equal(cpu.register(1), 64n);
    assert.equal(cpu.register(2), 100n);
    assert.equal(cpu.pc, 0x2004);
  });

  test(`MMIO goes to the device in halves; an access over two pages is one value, ${tier}`, () => {
    const { cpu, engine, ram, mmio } = machine(
      [
        toyInsn(toy.load, 4, 3),
        toyInsn(toy.store, 4, 3, 8),
        toyInsn(toy.load, 5, 6),
        toyInsn(toy.store, 5, 6, 8),
        toyInsn(toy.halt),
      ],
      hotThreshold,
    );
    for (let i = 0; i < 16; i++) ram[0x8ff8 + i] = i + 1;
    cpu.setRegister(3, 0xfee00000n);
    cpu.setRegister(6, 0x8ffcn);
    assert.equal(engine.run(), 'halt');
    assert.deepEqual(mmio, ['r4 fee00000', 'r4 fee00004', 'w4 fee00008 11223344', 'w4 fee0000c 11223344']);
    assert.equal(cpu.register(5), 0x0c0b0a0908070605n);
  });

  test(`stores over two pages: the bytes around stay, code that is hit is dropped, a device gets its half, ${tier}`, () => {
    const count = 300;
    const { cpu, engine, ram, mmio } = machine(
      [
        toyInsn(toy.store, 5, 6),
        toyInsn(toy.load, 7, 6),
        toyInsn(toy.add, 8, 7),
        toyInsn(toy.addImmediate, 5, 0, 1),
        toyInsn(toy.addImmediate, 1, 0, -1),
        toyInsn(toy.jumpIfNotZero, 1, 0, -5),
        toyInsn(toy.store, 9, 10),
        toyInsn(toy.jumpRegister, 0, 11),
      ],
      hotThreshold,
    );
    // Code that has run, until the store at 0x4ffc puts a halt there.
    ram.set(toyInsn(toy.jumpRegister, 0, 12), 0x5000);
    cpu.setRegister(12, 0x2000n);
    cpu.pc = 0x5000;
    ram.fill(0xee, 0x8ff0, 0x9010);
    cpu.setRegister(1, BigInt(count));
    cpu.setRegister(5, 0x0807060504030201n);
    cpu.setRegister(6, 0x8ffdn);
    cpu.setRegister(9, 0xaabbccddn);
    cpu.setRegister(10, 0x4ffcn);
    cpu.setRegister(11, 0x5000n);
    assert.equal(engine.run(), 'halt');
    const last = 0x0807060504030201n + BigInt(count - 1);
    assert.equal(new DataView(ram.buffer, ram.byteOffset).getBigUint64(0x8ffd, true), last);
    assert.deepEqual([...ram.subarray(0x8ff0, 0x8ffd)], Array(13).fill(0xee));
    assert.deepEqual([...ram.subarray(0x9005, 0x9010)], Array(11).fill(0xee));
    const sumOfAll = BigInt.asUintN(64, BigInt(count) * 0x0807060504030201n + BigInt((count * (count - 1)) / 2));
    assert.equal(cpu.register(8), sumOfAll);
    assert.equal(cpu.pc, 0x5000 + 4);
    // The end of RAM is followed by a device, byte for byte.
    cpu.setRegister(1, 1n);
    cpu.setRegister(6, BigInt(RAM - 4));
    cpu.pc = 0x2000;
    mmio.length = 0;
    assert.equal(engine.run(), 'halt');
    const writes = mmio.filter((line) => line.startsWith('w'));
    const expected = [4, 5, 6, 7].map(
      (i) => `w1 ${(RAM - 4 + i).toString(16)} ${((last + 1n) >> BigInt(8 * i)) & 255n}`,
    );
    assert.deepEqual(
      writes.map((line) => line.replace(/(\w+)$/, (hex) => `${Number.parseInt(hex, 16) & 255}`)),
      expected,
    );
    assert.equal(cpu.faults, 0);
  });
}

test('indirect jumps and calls between pages run without JavaScript once they are known', () => {
  const { cpu, engine, ram } = machine([toyInsn(toy.jumpRegister, 0, 7)], 16);
  ram.set(
    [
      ...toyInsn(toy.addImmediate, 1, 0, -1),
      ...toyInsn(toy.jumpIfNotZero, 1, 0, 2),
      ...toyInsn(toy.halt),
      ...toyInsn(toy.jumpRegister, 0, 8),
    ],
    0x5000,
  );
  cpu.setRegister(7, 0x5000n);
  cpu.setRegister(8, 0x2000n);
  cpu.setRegister(1, 300_000n);
  assert.equal(engine.run(), 'halt');
  assert.equal(cpu.register(1), 0n);
  assert.ok(engine.cache.counters.blocks < 10);
});

test('a jump to where there is no RAM runs into ones, not into the host', () => {
  const { cpu, engine } = machine([toyInsn(toy.jumpRegister, 0, 7)], 16);
  cpu.setRegister(7, 0xfff00000n);
  assert.equal(engine.run(), 'halt');
});

test('a write beside code, in the same 64 bytes, drops nothing', () => {
  const { engine } = machine([toyInsn(toy.halt)], 0);
  const { cache } = engine;
  const code = { words: new Int32Array(16), length: 16, links: new Int32Array(4), linkWords: 0 };
  const page = engine.ramStart + 0x5000;
  const add = (hva: number, bytes: number, second = 0) => cache.add(hva, bytes, 0, second, code, undefined, false);
  add(page + 8, 8);
  assert.equal(cache.invalidate(page, 8), false);
  assert.equal(cache.invalidate(page + 16, 48), false);
  // Code that comes later is known too, also where it ends on another page.
  add(page + 20, 4);
  add(page + 4094, 4, page + 8192);
  assert.equal(cache.invalidate(page + 16, 4), false);
  assert.equal(cache.invalidate(page + 8194, 8), false);
  assert.deepEqual(cache.counters, { blocks: 3, invalidated: 0, flushes: 0, codeWrites: 0, writesBesideCode: 4 });
  assert.ok(cache.invalidate(page + 8193, 1));
  assert.ok(cache.invalidate(page + 23, 8));
  assert.ok(cache.invalidate(page, 9));
  assert.equal(cache.counters.invalidated, 3);
  assert.equal(cache.hasCode(page, 4096), false);
});

test('a page of code that is being filled with something else is dropped as a whole', () => {
  const { engine } = machine([toyInsn(toy.halt)], 0);
  const { cache } = engine;
  const code = { words: new Int32Array(16), length: 16, links: new Int32Array(4), linkWords: 0 };
  const page = engine.ramStart + 0x5000;
  for (let i = 0; i < 32; i++) cache.add(page + 128 * i, 8, 0, 0, code, undefined, false);
  const invalidated = () => cache.counters.invalidated;
  // A few writes drop what they hit.
  for (let i = 0; i < 4; i++) assert.ok(cache.invalidate(page + 128 * i, 8));
  assert.equal(invalidated(), 4);
  // New code on the page: it is patched, not filled.
  cache.add(page, 8, 0, 0, code, undefined, false);
  for (let i = 0; i < 4; i++) assert.ok(cache.invalidate(page + 128 * (4 + i), 8));
  assert.equal(invalidated(), 8);
  assert.ok(cache.invalidate(page + 128 * 8, 8));
  assert.equal(invalidated(), 33, 'all that was left');
  assert.equal(cache.hasCode(page, 4096), false);
});
