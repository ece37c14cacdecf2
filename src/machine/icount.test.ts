/** -icount: a run repeats exactly, whatever tier its code runs in. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test from 'node:test';
import { Program } from './testing/program.js';
import { TestPc } from './testing/test-pc.js';

const IDT = 0x8000;
const STACK = 0x90000;
const TICKS = 0x9000;
const DATA = 0x200000;
const LAPIC = 0xfee00000;

/**
 * Computes, calls, touches memory, reads the time-stamp counter and halts, with the 8254 and the local APIC's timer interrupting it.
 * Each interrupt mixes the state that it found into memory, so that one taken an instruction later shows.
 */
function busyGuest(ticks: number): Program {
  const p = new Program().begin(IDT, STACK);
  p.store32(TICKS, 0).gate(IDT, 0x20, 'tick').gate(IDT, 0x30, 'apic');
  p.initPic(0xfe);
  p.out8(0x43, 0x34).out8(0x40, 0xa9).out8(0x40, 0x04); // 1 kHz
  p.store32(LAPIC + 0xf0, 0x1ff);
  p.store32(LAPIC + 0x3e0, 0x0b);
  p.store32(LAPIC + 0x320, 0x30); // one shot: its handler arms it for another time
  p.store32(LAPIC + 0x380, 300_007);
  p.mov(6, 0x1234567).add('fb'); // sti
  p.label('loop');
  p.add('69 f6').u32(0x41c64e6d).add('81 c6').u32(12345); // esi = esi * a + c
  p.add('89 f0 c1 e8 0e 25').u32(0xfffc); // eax = esi >> 14 & 0xfffc
  p.add('31 b0').u32(DATA + 0x100); // xor [eax + ..], esi
  p.add(0xe8).rel32('sub');
  p.add('f7 c6').u32(0x3ff0000).add(0x75).rel8('loop'); // test esi; jnz
  p.add('0f 31 31 05').u32(DATA); // rdtsc; xor [..], eax
  p.add('f4'); // hlt
  p.add('83 3d').u32(TICKS).add(ticks, 0x72).rel8('loop'); // cmp [ticks]; jb
  p.add('fa b0 00').exit();
  p.label('sub').add('f7 c6').u32(0x10000).add(0x74, 2).add('f7 d8 01 c6 c3'); // neg eax; add esi, eax; ret
  p.label('tick').add('50 52 fe 05').u32(TICKS).add(0xa0).u32(TICKS); // inc byte; mov al
  p.add('24 0f 04 41').mov(2, 0x3f8).add('ee'); // and al, 15; add al, 'A'; out
  p.add('0f 31 31 05').u32(DATA + 4); // rdtsc
  p.add('31 35').u32(DATA + 8); // xor [..], esi
  p.add('c1 05')
    .u32(DATA + 8)
    .add(5); // rol
  p.add('b0 20 e6 20 5a 58 cf');
  p.label('apic').add('50 52 b0 2e').mov(2, 0x3f8).add('ee');
  p.add('31 35')
    .u32(DATA + 12)
    .add('c1 05')
    .u32(DATA + 12)
    .add(3);
  p.add('89 f0 25')
    .u32(0xffff)
    .add('05')
    .u32(3000)
    .add('a3')
    .u32(LAPIC + 0x380); // eax = (esi & 0xffff) + 3000: next time
  p.store32(LAPIC + 0xb0, 0).add('5a 58 cf');
  return p;
}

function run(hotThreshold: number, seed: bigint, kickEvery = Infinity) {
  let polls = 0;
  const machine = new TestPc({
    hotThreshold,
    icount: { shift: 6, seed },
    // Requests from outside come at any time: they must not be seen in the guest.
    service: () => {
      if (++polls % kickEvery === 0) machine.pc.engine.kick();
      return false;
    },
    maxPolls: 2_000_000,
  }).boot(busyGuest(24));
  const stop = machine.run();
  return {
    stop,
    serial: machine.serial,
    instructions: machine.pc.engine.instructions,
    ram: createHash('sha256').update(machine.ram).digest('hex'),
    regions: machine.pc.engine.compiler.counters.regions,
  };
}

test('-icount: two runs, and one on the cold tier alone, are the same', () => {
  const first = run(16, 7n);
  assert.deepEqual(first.stop, { why: 'exit', status: 1 });
  assert.match(first.serial, /^[A-P.]+$/);
  assert.ok(first.serial.replaceAll('.', '').startsWith('BCDEFGHIJKLMNOPABCDEFGHI'), first.serial);
  assert.ok(first.serial.includes('.'), 'the local APIC has interrupted too');
  assert.ok(first.regions > 0, 'some of it was compiled');
  assert.deepEqual(run(16, 7n), first);
  const { regions, ...seen } = run(0, 7n);
  assert.equal(regions, 0);
  const { regions: _, ...expected } = first;
  assert.deepEqual(seen, expected);
});

test('-icount: when the host looks in does not matter', () => {
  const { regions: _, ...expected } = run(16, 7n);
  for (const every of [3, 50]) {
    const { regions: __, ...seen } = run(16, 7n, every);
    assert.deepEqual(seen, expected);
  }
});

test('-icount: time is what the instructions make it', () => {
  const { instructions } = run(16, 7n);
  // 24 ticks of 1.0002 ms and what the last loop takes; idle time is skipped, so there may be fewer instructions than that time has.
  assert.ok(instructions > 1000 && instructions <= (30 * 1_000_200) / 64, `${instructions}`);
});
