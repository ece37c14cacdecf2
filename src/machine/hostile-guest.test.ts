/** A guest may do what it likes: the machine ends, resets or goes on, but never throws and never hangs. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { VirtioBalloon, VirtioBlock, VirtioDevice, VirtioEntropy, VirtioPci } from '../hw/index.js';
import type { DeviceBoard } from './board.js';
import { seededBits } from './instruction-time.js';
import { Program } from './testing/program.js';
import { TestPc } from './testing/test-pc.js';

const IDT = 0x8000;
const STACK = 0x90000;
const RESULT = 0x9000;

test('a triple fault resets', () => {
  const p = new Program().begin(IDT, STACK).add('cc');
  // An interrupt table of no gates: breakpoint, general protection, double fault.
  assert.deepEqual(new TestPc().boot(p).run(), { why: 'reset' });
});

test('code where there is no RAM is an invalid opcode', () => {
  for (const target of [0xa0000, 0x40000000, 0xfec00000, 0xfed00000, 0xfee00000, 0xfee00ffe, 0xfffffff0, 0x3ffffe]) {
    for (const hotThreshold of [0, 4]) {
      const p = new Program().begin(IDT, STACK);
      p.gate(IDT, 6, 'invalid').mov(5, 20);
      p.label('again').mov(0, target).add('ff e0');
      p.label('invalid').add('58 a3').u32(RESULT).add('83 c4 08 4d 75').rel8('again').add('b0 00').exit();
      const machine = new TestPc({ hotThreshold, ramBytes: 4 << 20 }).boot(p);
      // The last two bytes of RAM: nop; then the first byte of an instruction that ends where nothing is.
      machine.ram.set([0x90, 0xb8], machine.ram.length - 2);
      const stop = machine.run();
      assert.ok(!machine.timedOut, `${target.toString(16)}: goes on for ever`);
      assert.deepEqual(stop, { why: 'exit', status: 1 });
      if (target !== 0x3ffffe) assert.equal(machine.u32(RESULT), target);
    }
  }
});

test('an endless loop is left when the host asks', () => {
  for (const [name, body] of Object.entries({
    'jmp $': 'eb fe',
    'cli; jmp $': 'fa eb fd',
    'rep movsb for ever': 'b9 ff ff ff ff be 00 00 20 00 bf 00 00 30 00 f3 a4 eb ed',
    'cli; hlt': 'fa f4 eb fd',
    'int 3 for ever': 'cc eb fd',
  })) {
    const p = new Program().begin(IDT, STACK).gate(IDT, 3, 'back').gate(IDT, 14, 'back').add(body);
    p.label('back').add('cf');
    const started = performance.now();
    let polls = 0;
    const machine = new TestPc({ service: () => ++polls > 20 }).boot(p);
    assert.deepEqual(machine.run(), { why: 'stopped' }, name);
    assert.ok(performance.now() - started < 10_000, name);
  }
});

test('a guest that does nothing but fault is left when the host asks', () => {
  // The stack runs down from below the interrupt table, wraps, and goes on where nothing is.
  const p = new Program().begin(0x80000, 0x70000).gate(0x80000, 6, 'handler').label('handler').add('0f 0b');
  let polls = 0;
  assert.deepEqual(new TestPc({ service: () => ++polls > 20 }).boot(p).run(), { why: 'stopped' });
});

function plugVirtio(board: DeviceBoard): void {
  const disk = new Uint8Array(64 * 1024);
  const models = [
    new VirtioBlock({
      backend: {
        sizeBytes: disk.length,
        readonly: false,
        read: (offset: number, target: Uint8Array, done: (ok: boolean) => void) => {
          target.set(disk.subarray(offset, offset + target.length));
          done(true);
        },
        write: (offset: number, source: Uint8Array, done: (ok: boolean) => void) => {
          disk.set(source, offset);
          done(true);
        },
        flush: (done: (ok: boolean) => void) => done(true),
      } as never,
    }),
    new VirtioEntropy((target) => target.fill(7)),
    new VirtioBalloon({ host: { inflated: () => {}, deflated: () => {} } }),
  ];
  models.forEach((model, i) => {
    const device = new VirtioDevice(model, { name: `v${i}`, dma: board.memory.dma, log: () => {} });
    const transport = new VirtioPci({ device });
    board.pci.bus.add(transport.function, 3 + i);
    board.add(transport);
  });
}

/** Waits for ever with interrupts on and a handler for each. */
function idleGuest(): Program {
  const p = new Program().begin(IDT, STACK);
  for (let vector = 0; vector < 256; vector += 17) p.gate(IDT, vector, 'back');
  p.add('fb').label('again').add('f4 eb fd').label('back').add('cf');
  return p;
}

test('random accesses to every port and every device register', { timeout: 120_000 }, () => {
  for (let seed = 1n; seed <= 2n; seed++) {
    const random = seededBits(seed);
    const below = (limit: number) => Number(random() % BigInt(limit));
    let polls = 0;
    const machine = new TestPc({ addDevices: plugVirtio, service: () => ++polls % 16 === 0 }).boot(idleGuest());
    const { pc } = machine;
    const sizes = [1, 2, 4] as const;
    const value = () => (below(4) === 0 ? [0, 1, 0xff, 0xffffffff][below(4)] : Number(random() & 0xffffffffn));
    for (let step = 0; step < 15_000; step++) {
      const size = sizes[below(3)];
      if (below(2) === 0) {
        // Half of them where the devices are.
        const port =
          below(2) === 0
            ? below(0x10000)
            : [0, 0x20, 0x40, 0x60, 0x70, 0x80, 0xa0, 0x3f8, 0x4d0, 0x510, 0x600, 0xcf8][below(12)] + below(16);
        if (below(2) === 0) pc.ports.write(port, size, value());
        else pc.ports.read(port, size);
      } else {
        const windows = pc.memory.describe().filter(({ kind }) => kind !== 'ram');
        const { start, end } = windows[below(windows.length)];
        const gpa = start + below(Math.min(end - start, 0x2000));
        if (below(2) === 0) pc.memory.write(gpa, size, value());
        else pc.memory.read(gpa, size);
      }
      if (step % 250 === 249) {
        machine.run();
        if (below(8) === 0) machine.boot(idleGuest());
      }
    }
    machine.run();
    // Whatever it was, a reset makes it good.
    const healthy = new Program().begin(IDT, STACK).add('b0 00').exit();
    assert.deepEqual(machine.boot(healthy).run(), { why: 'exit', status: 1 });
  }
});

test('a guest that writes random bytes to random ports and addresses', { timeout: 120_000 }, () => {
  for (const hotThreshold of [0, 8]) {
    for (let seed = 1; seed <= 6; seed++) {
      const p = new Program().begin(IDT, STACK);
      for (let vector = 0; vector < 256; vector++) p.gate(IDT, vector, vector < 32 ? 'fault' : 'back');
      p.mov(3, seed * 0x9e3779b1).add('fb');
      const next = () => p.add('69 db 0d 66 19 00 81 c3 5f f3 6e 3c'); // ebx = ebx * 1664525 + 1013904223
      p.label('again');
      next().add('89 da c1 ea 10 89 d8 ee'); // edx = ebx >> 16; eax = ebx; out dx, al
      next().add('89 da c1 ea 14 89 d8 ef'); // out dx, eax: ports below 0x1000
      next().add('89 da c1 ea 10 ed'); // in eax, dx
      next().add('89 d9 c1 e9 09 81 c9').u32(0xfe000000).add('89 19'); // ecx = ebx >> 9 | 0xfe000000; mov [ecx], ebx
      next().add('89 d9 81 e1 ff 0f 00 00 81 c9').u32(0xfee00000).add('89 19 8b 01'); // the local APIC
      p.add(0xe9).rel32('again');
      p.label('fault').mov(4, STACK).add('fb').add(0xe9).rel32('again');
      p.label('back').add('cf');
      const machine = new TestPc({ hotThreshold, addDevices: plugVirtio, maxPolls: 300 });
      for (let round = 0; round < 5 && !machine.timedOut; round++) machine.boot(p).run();
    }
  }
});

test('random bytes as code', { timeout: 120_000 }, () => {
  const random = seededBits(99n);
  for (const hotThreshold of [0, 2]) {
    const machine = new TestPc({ hotThreshold, maxPolls: 40 });
    for (let round = 0; round < 16; round++) {
      const p = new Program().begin(IDT, STACK);
      for (let vector = 0; vector < 256; vector++) p.gate(IDT, vector, 'back');
      if (round % 2 === 1) p.add('0f 20 e0 0d').u32(0x600).add('0f 22 e0'); // CR4: SSE
      p.label('start');
      for (let i = 0; i < 500; i++) {
        let bits = random();
        for (let k = 0; k < 8; k++, bits >>= 8n) p.add(Number(bits & 255n));
      }
      // On with an instruction that lies a little further.
      p.label('back').add('83 04 24 03 cf');
      machine.boot(p).run();
    }
  }
});
