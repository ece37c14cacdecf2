import assert from 'node:assert/strict';
import test from 'node:test';
import { type CpuSignals, ManualTime, MemorySpace } from '../../bus/index.js';
import { fuzzAccesses, seededRandom } from '../testing.js';
import { ApicBus } from './apic-bus.js';
import { LocalApic } from './lapic.js';
import { wireLocalApics, wireMsiWindow } from './wiring.js';

const TSC_HZ = 2_000_000_000;
const BASE = 0xfee00000;
const [ID, VERSION, TPR, PPR, EOI, LDR, DFR, SVR] = [0x20, 0x30, 0x80, 0xa0, 0xb0, 0xd0, 0xe0, 0xf0];
const [ISR, TMR, IRR, ESR, ICR, ICR_HIGH] = [0x100, 0x180, 0x200, 0x280, 0x300, 0x310];
const [LVT_TIMER, LVT_PERF, LINT0, LINT1, LVT_ERROR] = [0x320, 0x340, 0x350, 0x360, 0x370];
const [INITIAL, CURRENT, DIVIDE] = [0x380, 0x390, 0x3e0];

class Signals implements CpuSignals {
  readonly tscHz = TSC_HZ;
  readonly seen: string[] = [];
  readonly clock: ManualTime;
  constructor(clock: ManualTime) {
    this.clock = clock;
  }
  interruptChanged() {}
  nmi() {
    this.seen.push('nmi');
  }
  init() {
    this.seen.push('init');
  }
  sipi(vector: number) {
    this.seen.push(`sipi ${vector}`);
  }
  tscNow() {
    return BigInt(this.clock.nowNs()) * 2n;
  }
}

function make(count = 1) {
  const clock = new ManualTime();
  const bus = new ApicBus();
  const cpus = Array.from({ length: count }, (_, id) => {
    const signals = new Signals(clock);
    const apic = new LocalApic({ id, bus, clock, signals, acknowledgeExtInt: () => 0x30 });
    const space = new MemorySpace(new ArrayBuffer(0));
    wireLocalApics(space, [apic], () => 0);
    wireMsiWindow(space, bus);
    const read = (offset: number) => space.read(BASE + offset, 4);
    const write = (offset: number, value: number) => space.write(BASE + offset, 4, value);
    return { apic, signals, space, read, write };
  });
  return { clock, bus, cpus, ...cpus[0]! };
}

test('reset values', () => {
  const { read, apic } = make();
  assert.equal(read(ID), 0);
  assert.equal(read(VERSION), 0x50014);
  assert.equal(read(DFR), 0xffffffff);
  assert.equal(read(SVR), 0xff);
  assert.deepEqual([read(LVT_TIMER), read(LINT0), read(LINT1)], [0x10000, 0x700, 0x10000]);
  assert.equal(apic.readMsr(0x1b), 0xfee00900n);
});

test('requests are served by priority class; EOI ends the highest in service', () => {
  const { apic, bus, read, write } = make();
  bus.deliver(0, false, 0, 0x41, false);
  assert.equal(apic.pending(), false, 'software-disabled');
  write(SVR, 0x1ff);
  bus.deliver(0, false, 0, 0x41, false);
  bus.deliver(0, false, 0, 0x52, false);
  assert.equal(read(IRR + 0x20), (1 << 1) | (1 << 0x12));
  assert.equal(apic.acknowledge(), 0x52);
  assert.equal(read(ISR + 0x20), 1 << 0x12);
  assert.equal(read(PPR), 0x50);
  assert.equal(apic.pending(), false);
  bus.deliver(0, false, 0, 0x5f, false);
  assert.equal(apic.pending(), false, 'the same class waits');
  bus.deliver(0, false, 0, 0xe0, false);
  assert.equal(apic.acknowledge(), 0xe0);
  write(EOI, 0);
  assert.equal(read(PPR), 0x50);
  write(EOI, 0);
  assert.equal(apic.acknowledge(), 0x5f);
  write(EOI, 0);
  assert.equal(apic.acknowledge(), 0x41);
  write(EOI, 0);
  assert.equal(apic.pending(), false);
});

test('task priority holds back classes up to its own; CR8 is its upper half', () => {
  const { apic, bus, read, write } = make();
  write(SVR, 0x1ff);
  write(TPR, 0x45);
  assert.equal(apic.cr8, 4);
  assert.equal(read(PPR), 0x45);
  bus.deliver(0, false, 0, 0x4f, false);
  assert.equal(apic.pending(), false);
  apic.cr8 = 3;
  assert.equal(read(TPR), 0x30);
  assert.equal(apic.pending(), true);
  apic.cr8 = 15;
  assert.equal(apic.acknowledge(), 0xff, 'what has gone meanwhile gives the spurious vector');
  assert.equal(read(ISR + 0x70), 0);
});

test('a level-triggered interrupt is told to the I/O APICs when it ends', () => {
  const { apic, bus, read, write } = make();
  const ended: number[] = [];
  bus.attachIoApic({ endOfInterrupt: (vector) => ended.push(vector) });
  write(SVR, 0x1ff);
  bus.deliver(0, false, 0, 0x61, true);
  assert.equal(read(TMR + 0x30), 2);
  bus.deliver(0, false, 0, 0x62, false);
  assert.equal(apic.acknowledge(), 0x62);
  write(EOI, 0);
  assert.deepEqual(ended, []);
  assert.equal(apic.acknowledge(), 0x61);
  write(EOI, 0);
  assert.deepEqual(ended, [0x61]);
});

test('one-shot timer', () => {
  const { clock, apic, read, write } = make();
  write(SVR, 0x1ff);
  write(DIVIDE, 0x3);
  write(LVT_TIMER, 0xec);
  write(INITIAL, 1000);
  clock.advance(8000);
  assert.equal(read(CURRENT), 500, 'divided by 16 from 1 GHz');
  clock.advance(7999);
  assert.equal(apic.pending(), false);
  assert.equal(read(CURRENT), 1);
  clock.advance(1);
  assert.equal(apic.acknowledge(), 0xec);
  assert.equal(read(CURRENT), 0);
  write(EOI, 0);
  clock.advance(1e6);
  assert.equal(apic.pending(), false);
  for (const [code, divisor] of [
    [0, 2],
    [1, 4],
    [2, 8],
    [8, 32],
    [9, 64],
    [10, 128],
    [11, 1],
  ] as const) {
    write(DIVIDE, code);
    write(INITIAL, 1000);
    clock.advance(100 * divisor);
    assert.equal(read(CURRENT), 900, `divide code ${code}`);
  }
});

test('periodic timer keeps its pace when it is late, and is silent while masked', () => {
  const { clock, apic, write, read } = make();
  write(SVR, 0x1ff);
  write(DIVIDE, 0xb);
  write(LVT_TIMER, 0x200ec);
  write(INITIAL, 1_000_000);
  let ticks = 0;
  const serve = () => {
    if (!apic.pending()) return;
    assert.equal(apic.acknowledge(), 0xec);
    write(EOI, 0);
    ticks++;
  };
  for (let i = 0; i < 100; i++) {
    clock.skip(1_700_000);
    serve();
  }
  for (let i = 0; i < 100; i++) {
    clock.skip(0);
    serve();
  }
  assert.equal(ticks, 170);
  write(LVT_TIMER, 0x300ec);
  clock.advance(5e6);
  assert.equal(apic.pending(), false);
  assert.ok(read(CURRENT) > 0);
  write(INITIAL, 0);
  assert.equal(read(CURRENT), 0);
  write(LVT_TIMER, 0x200ec);
  clock.advance(5e6);
  assert.equal(apic.pending(), false, 'an initial count of 0 stops the timer');
});

test('TSC-deadline timer', () => {
  const { clock, apic, write, read } = make();
  write(SVR, 0x1ff);
  assert.equal(apic.writeMsr(0x6e0, 100n), true);
  assert.equal(apic.readMsr(0x6e0), 0n, 'ignored in another mode');
  write(LVT_TIMER, 0x400ec);
  write(INITIAL, 1000);
  assert.equal(read(CURRENT), 0);
  apic.writeMsr(0x6e0, 2_000_000n);
  clock.advance(999_999);
  assert.equal(apic.pending(), false);
  assert.equal(apic.readMsr(0x6e0), 2_000_000n);
  clock.advance(1);
  assert.equal(apic.acknowledge(), 0xec);
  assert.equal(apic.readMsr(0x6e0), 0n);
  write(EOI, 0);
  apic.writeMsr(0x6e0, 5n);
  assert.equal(apic.acknowledge(), 0xec, 'a deadline in the past fires at once');
  write(EOI, 0);
  apic.writeMsr(0x6e0, 4_000_000n);
  apic.writeMsr(0x6e0, 0n);
  clock.advance(1e9);
  assert.equal(apic.pending(), false, 'zero disarms');
});

test('ExtINT through LINT0, NMI through LINT1', () => {
  const { apic, signals, write } = make();
  apic.lint[0].set(true);
  assert.equal(apic.pending(), true);
  assert.equal(apic.acknowledge(), 0x30);
  write(SVR, 0x1ff);
  write(LINT0, 0x10700);
  assert.equal(apic.pending(), false);
  write(LINT1, 0x400);
  apic.lint[1].set(true);
  apic.lint[1].set(true);
  apic.lint[1].set(false);
  assert.deepEqual(signals.seen, ['nmi']);
});

test('a level-triggered fixed LINT0 asks again after EOI', () => {
  const { apic, read, write } = make();
  write(SVR, 0x1ff);
  write(LINT0, 0x8033);
  apic.lint[0].set(true);
  assert.equal(read(LINT0), 0xc033, 'remote IRR');
  assert.equal(apic.acknowledge(), 0x33);
  assert.equal(apic.pending(), false);
  write(EOI, 0);
  assert.equal(apic.acknowledge(), 0x33);
  apic.lint[0].set(false);
  write(EOI, 0);
  assert.equal(apic.pending(), false);
  assert.equal(read(LINT0), 0x8033);
});

test('software disable masks the local vectors', () => {
  const { read, write } = make();
  write(SVR, 0x1ff);
  write(LVT_TIMER, 0x20);
  write(LVT_PERF, 0x400);
  write(SVR, 0xff);
  assert.deepEqual([read(LVT_TIMER), read(LVT_PERF), read(LINT0)], [0x10020, 0x10400, 0x10700]);
  write(LVT_TIMER, 0x20);
  assert.equal(read(LVT_TIMER), 0x10020);
});

test('errors: illegal vectors and registers, through ESR and the error vector', () => {
  const { apic, read, write } = make();
  write(SVR, 0x1ff);
  write(LVT_ERROR, 0xfe);
  write(ICR, 0x40005);
  assert.equal(apic.acknowledge(), 0xfe);
  write(EOI, 0);
  assert.equal(read(ESR), 0, 'ESR shows what was latched by the last write');
  write(ESR, 0);
  assert.equal(read(ESR), 0x20);
  assert.equal(read(0x40), 0);
  write(ESR, 0);
  assert.equal(read(ESR), 0x80);
});

test('inter-processor interrupts: physical, logical flat and cluster, shorthands', () => {
  const { cpus } = make(4);
  for (const [i, c] of cpus.entries()) {
    c.write(SVR, 0x1ff);
    c.write(LDR, (1 << i) << 24);
  }
  const [a] = cpus as [(typeof cpus)[0]];
  const takers = () =>
    [...cpus.keys()].filter((i) => {
      if (!cpus[i]!.apic.pending()) return false;
      cpus[i]!.apic.acknowledge();
      cpus[i]!.write(EOI, 0);
      return true;
    });
  const send = (destination: number, low: number) => {
    a.write(ICR_HIGH, destination << 24);
    a.write(ICR, low);
    return takers();
  };
  assert.deepEqual(send(2, 0x4040), [2]);
  assert.deepEqual(send(0xff, 0x4040), [0, 1, 2, 3]);
  assert.deepEqual(send(9, 0x4040), []);
  assert.deepEqual(send(0b1010, 0x4840), [1, 3]);
  assert.deepEqual(send(0, 0x44040), [0], 'self');
  assert.deepEqual(send(0, 0x84040), [0, 1, 2, 3], 'all');
  assert.deepEqual(send(0, 0xc4040), [1, 2, 3], 'others');
  cpus[0]!.write(TPR, 0x20);
  cpus[1]!.write(TPR, 0x10);
  assert.deepEqual(send(0b1111, 0x4940), [2], 'lowest priority');
  cpus[0]!.write(TPR, 0);
  cpus[1]!.write(TPR, 0);
  for (const [i, c] of cpus.entries()) {
    c.write(DFR, 0x0fffffff);
    c.write(LDR, ((((i >> 1) << 4) | (1 << (i & 1))) << 24) >>> 0);
  }
  assert.deepEqual(send(0x13, 0x4840), [2, 3], 'cluster 1');
  assert.deepEqual(send(0x02, 0x4840), [1]);
});

test('NMI, INIT and start-up messages reach the vCPU', () => {
  const { cpus } = make(2);
  const [a, b] = cpus as [(typeof cpus)[0], (typeof cpus)[0]];
  b.write(SVR, 0x1ff);
  b.write(TPR, 0x50);
  a.write(ICR_HIGH, 1 << 24);
  for (const low of [0x4400, 0x4500, 0x8500, 0x4699]) a.write(ICR, low);
  assert.deepEqual(b.signals.seen, ['nmi', 'init', 'sipi 153'], 'INIT de-assert is nothing');
  assert.deepEqual([b.read(TPR), b.read(SVR), b.read(LINT0)], [0, 0xff, 0x10000]);
});

test('message-signalled interrupts', () => {
  const { cpus, bus } = make(2);
  for (const c of cpus) c.write(SVR, 0x1ff);
  bus.send(0xfee01000, 0x4041);
  assert.deepEqual([cpus[0]!.apic.pending(), cpus[1]!.apic.acknowledge()], [false, 0x41]);
  cpus[0]!.space.write(0xfee01000, 4, 0x55);
  assert.deepEqual([cpus[0]!.apic.pending(), cpus[1]!.apic.acknowledge()], [false, 0x55]);
  bus.send(0xfed01000, 0x42);
  assert.equal(cpus[0]!.apic.pending(), false);
});

test('x2APIC mode: MSRs instead of memory, 32-bit ID, fixed logical ID, self IPI', () => {
  const { cpus } = make(3);
  const x = cpus[2]!.apic;
  assert.equal(x.readMsr(0x802), undefined, 'not in xAPIC mode');
  assert.equal(x.writeMsr(0x1b, 0xfee00c00n), true);
  assert.equal(cpus[2]!.read(VERSION), 0xffffffff, 'only the MSI window is left at that address');
  assert.equal(x.readMsr(0x802), 2n);
  assert.equal(x.readMsr(0x803), 0x50014n);
  assert.equal(x.readMsr(0x80d), 4n);
  for (const msr of [0x80b, 0x80e, 0x831, 0x83f, 0x840, 0x8ff])
    assert.equal(x.readMsr(msr), undefined, msr.toString(16));
  assert.equal(x.writeMsr(0x80f, 0x1ffn), true);
  assert.equal(x.writeMsr(0x80f, 0x1_0000_01ffn), false, 'reserved bits');
  assert.equal(x.writeMsr(0x808, 0x100n), false);
  assert.equal(x.writeMsr(0x835, 0x1f7ffn), true, 'read-only bits may be written back');
  assert.equal(x.readMsr(0x835), 0x1a7ffn);
  assert.equal(x.writeMsr(0x835, 0x20000n), false);
  x.writeMsr(0x835, 0x10000n);
  assert.equal(x.writeMsr(0x802, 1n), false, 'read-only');
  assert.equal(x.writeMsr(0x80d, 1n), false);
  assert.equal(x.writeMsr(0x80b, 1n), false, 'EOI takes zero only');
  assert.equal(x.writeMsr(0x83f, 0x44n), true);
  assert.equal(x.acknowledge(), 0x44);
  assert.equal(x.writeMsr(0x80b, 0n), true);
  assert.equal(x.writeMsr(0x830, 0x2_0000_4045n), true);
  assert.equal(x.readMsr(0x830), 0x2_0000_4045n);
  assert.equal(x.acknowledge(), 0x45);
  x.writeMsr(0x80b, 0n);
  x.writeMsr(0x830, 0x0000_0004_0000_4846n);
  assert.equal(x.acknowledge(), 0x46, 'logical: cluster 0, member 2');
  cpus[0]!.write(SVR, 0x1ff);
  x.writeMsr(0x830, 0xffff_ffff_0000_4047n);
  assert.equal(cpus[0]!.apic.acknowledge(), 0x47);
});

test('IA32_APIC_BASE: legal transitions, relocation, disable', () => {
  const { apic, space, bus } = make();
  const write = (value: bigint) => apic.writeMsr(0x1b, value);
  assert.equal(write(0xfee00400n), false, 'EXTD without EN');
  assert.equal(write(0xfee00901n), false, 'reserved bit');
  assert.equal(write(0xfe000900n), true);
  assert.equal(space.read(0xfe000030, 4), 0x50014);
  assert.equal(write(0xfee00d00n), true);
  assert.equal(write(0xfee00900n), false, 'x2APIC to xAPIC');
  assert.equal(write(0xfee00100n), true);
  assert.equal(apic.readMsr(0x1b), 0xfee00100n);
  assert.equal(write(0xfee00d00n), false, 'disabled to x2APIC');
  assert.equal(bus.deliver(0, false, 0, 0x40, false), false);
  apic.lint[0].set(true);
  assert.equal(apic.acknowledge(), 0x30, 'LINT0 is INTR');
  assert.equal(write(0xfee00900n), true);
  assert.equal(space.read(BASE + VERSION, 4), 0x50014);
  const plain = new LocalApic({
    id: 7,
    bus: new ApicBus(),
    clock: new ManualTime(),
    signals: new Signals(new ManualTime()),
    acknowledgeExtInt: () => 0,
    x2apic: false,
  });
  assert.equal(plain.writeMsr(0x1b, 0xfee00c00n), false);
});

test('saved and loaded with a timer that runs and an interrupt in service', () => {
  const a = make();
  a.write(SVR, 0x1ff);
  a.write(DIVIDE, 0xb);
  a.write(LVT_TIMER, 0x200ec);
  a.write(INITIAL, 1000);
  a.clock.advance(1300);
  a.apic.acknowledge();
  const b = make();
  b.clock.advance(1300);
  b.apic.load(a.apic.save());
  assert.equal(b.read(CURRENT), 700);
  assert.equal(b.read(PPR), 0xe0);
  b.clock.advance(700);
  b.write(EOI, 0);
  assert.equal(b.apic.acknowledge(), 0xec);
});

test('random accesses in both modes', () => {
  for (let seed = 1; seed <= 6; seed++) {
    const { cpus, clock, bus } = make(2);
    const random = seededRandom(seed);
    const { apic, space } = cpus[0]!;
    const between = () => {
      clock.advance(random(3) === 0 ? random(5000) : 0);
      bus.deliver(random(256), random(2) === 0, random(8), random(256), random(2) === 0);
      apic.lint[random(2) as 0 | 1].set(random(2) === 0);
      if (apic.pending()) assert.ok(apic.acknowledge() < 256);
    };
    if (seed <= 3) {
      fuzzAccesses(
        random,
        3000,
        0x400,
        {
          read: (o, s) => space.read(BASE + o, s),
          write: (o, s, v) => {
            // Divisors and counts that make the timer fire every few nanoseconds only slow the test down.
            if ((o & ~15) !== INITIAL) space.write(BASE + (s === 4 ? o & ~3 : o), s, v);
          },
        },
        between,
      );
    } else {
      apic.writeMsr(0x1b, 0xfee00d00n);
      for (let i = 0; i < 3000; i++) {
        const msr = random(8) === 0 ? [0x1b, 0x6e0][random(2)]! : 0x800 + random(0x40);
        const value = BigInt(random(2 ** 32)) & BigInt([0xff, 0x4ff, 0xfff, 0xffffffff][random(4)]!);
        if (msr !== 0x838) apic.writeMsr(msr, value);
        apic.readMsr(msr);
        between();
      }
    }
    const state = apic.save();
    apic.load(state);
    assert.deepEqual(apic.save(), state);
  }
});

test('where no register page answers, and beside it, nothing drives the bus', () => {
  const { apic, read, space } = make();
  apic.writeMsr(0x1b, 0xfee00100n);
  assert.equal(read(VERSION), 0xffffffff);
  assert.equal(space.read(BASE + 0x3001, 1), 0xff);
  apic.writeMsr(0x1b, 0xfee00900n);
  assert.equal(read(VERSION), 0x50014);
});
