/** The same guests on every accelerator. What this host's KVM cannot do is skipped by name. */
import assert from 'node:assert/strict';
import test, { afterEach } from 'node:test';
import { exitIndex } from '../accel/index.js';
import { VringError } from '../base/index.js';
import { field as home } from '../guest/x86/state.js';
import { call, exit, runPage } from '../host/node/kvm/abi.js';
import type { KvmAccelerator } from '../host/node/kvm/accelerator.js';
import { loadNative, type Native } from '../host/node/kvm/native.js';
import { probeKvm } from '../host/node/kvm/probe.js';
import { KvmSystem } from '../host/node/kvm/system.js';
import { hostTime } from '../host/node/time.js';
import { BoardDebugTarget } from '../machine/debug-target.js';
import { TestPc } from '../machine/testing/test-pc.js';
import { createMachine } from './index.js';
import { acceleratorGuests, busyGuest, oneShotGuest } from './testing/accelerator-guests.js';
import { EXIT_PORT, longModeGuest, RESULT } from './testing/guest-parts.js';
import { Mover, testKvm } from './testing/moves.js';
import { busyPair } from './testing/processor-guests.js';
import { whyNoKvm } from './testing/why-no-kvm.js';

// The tests hardly wait for anything: without this their results would all be told at the end.
afterEach(() => new Promise<void>((resolve) => setImmediate(resolve)));

const noKvm = whyNoKvm();

function missing(needs: readonly string[]): string | false {
  const fails = needs.filter((need) => probeKvm({ thorough: true }).fails.includes(need));
  return fails.length > 0 && `this host's KVM does not run ${fails.join(', ')}`;
}

/** Plain features: what every KVM has. */
const CPU =
  'base,+fpu,+tsc,+msr,+pae,+cx8,+apic,+pge,+pat,+mtrr,+cmov,+pse,+fxsr,+sse,+sse2,+lm,+syscall,+nx,+hypervisor';

/** Where interrupt controllers lie: all with the board, or the local APIC, or all, in the kernel. */
const places = { kvm: 'off', 'kvm, split irqchip': 'split', 'kvm, irqchip in the kernel': 'on' } as const;
type Kvm = keyof typeof places;
type On = 'tcg' | Kvm;
const onKvm = Object.keys(places) as Kvm[];
const all: readonly On[] = ['tcg', ...onKvm];
const whyNot = (on: On) => on !== 'tcg' && noKvm;

function machineOn(on: On, service?: () => boolean, cpus = 1): TestPc {
  const end = performance.now() + 50_000;
  const machine = new TestPc({
    cpu: CPU,
    cpus,
    time: hostTime,
    maxPolls: 1e9,
    service: () => performance.now() > end || (service?.() ?? false),
  });
  // A guest that is in no device's hands is asked for nothing: the look at the clock has to have its own deadline.
  machine.pc.clock.createTimer('end', () => {}).arm(51e9);
  if (on !== 'tcg') machine.pc.setAccelerator(kvmFor(machine, on));
  return machine;
}

/** `native`: calls of the test's own, which tell of breakpoints and watchpoints in the host's place. */
const kvmFor = (machine: TestPc, on: Kvm, native?: Native): KvmAccelerator =>
  testKvm(machine, {
    irqchip: places[on],
    native,
    debug: native && { hasBreakpoints: true, hasWatchpoints: true },
  });

for (const accelerator of all) {
  for (const guest of acceleratorGuests) {
    const skip = accelerator !== 'tcg' && (noKvm || missing(guest.needs));
    test(`${guest.name}, on ${accelerator}`, { skip, timeout: 60_000 }, () => {
      const machine = machineOn(accelerator).boot(guest.image);
      assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
      const results = guest.results.map((_, i) => machine.u32(RESULT + 4 * i));
      assert.deepEqual(
        results,
        guest.results.map((value, i) => value ?? results[i]),
      );
      assert.equal(machine.serial, guest.serial);
      machine.pc.accelerator.close();
    });
  }
}

const noCollecting =
  noKvm || (new KvmSystem().check('COALESCED_PIO') === 0 && "this host's KVM collects no port writes");

test('writes to port 0x80 are collected without an exit, and counted', { skip: noCollecting }, () => {
  const machine = machineOn('tcg');
  let entries = 0;
  const native = loadNative();
  const kvm = kvmFor(machine, 'kvm', {
    ...native,
    ioctl: (fd, request, value) => {
      if (request === call.run) entries++;
      return native.ioctl(fd, request, value);
    },
  });
  machine.pc.setAccelerator(kvm);
  const writes = 1000;
  const source = `
        mov ecx, ${writes}
.next:  out 0x80, al
        dec ecx
        jnz .next
`;
  machine.boot(longModeGuest('writes', source, []).image);
  const before = kvm.exits.counts[exitIndex.pioWrite];
  assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
  // And the one that ends the machine.
  assert.equal(kvm.exits.counts[exitIndex.pioWrite] - before, writes + 1);
  assert.ok(entries < writes / 4, `${entries} entries`);
  kvm.close();
});

/** A guest that counts at RESULT moves a hundred times, each time once it has counted on. */
function countingMoves(on: Kvm, image: Uint8Array, cpus: number): TestPc {
  const mover = new Mover((machine) => machine.u32(RESULT));
  const machine = machineOn('tcg', () => mover.service(), cpus);
  machine.boot(image);
  const kvm = kvmFor(machine, on);
  const { tcg, kvm: onKvm } = mover.move(machine, kvm, { moves: 100, stayMs: 3 });
  assert.ok(tcg > 1000 && onKvm > 1000, `both have run it: ${tcg}, ${onKvm}`);
  kvm.close();
  return machine;
}

for (const on of onKvm)
  test(`a running guest moves to tcg and back a hundred times, on ${on}`, { skip: noKvm, timeout: 120_000 }, () => {
    const machine = countingMoves(on, busyGuest.image, 1);
    const { cpu } = machine.pc;
    assert.ok(machine.u32(RESULT + 8) > 20, 'ticks came all the time');
    // The registers that the guest never changes again are what it put there.
    assert.equal(cpu.register('r15'), 0x1122334455667788n);
    assert.equal(cpu.register('st1'), 0x4000c90fdaa22168c235n, 'pi');
  });

for (const on of onKvm)
  test(`a timer that runs out once does so once, whatever moves, on ${on}`, { skip: noKvm, timeout: 120_000 }, () => {
    let leaveAt = 0;
    let begun = 0;
    const machine: TestPc = machineOn('tcg', () => {
      const now = performance.now();
      return now > leaveAt && (machine.u32(RESULT) > begun + 2 || now > leaveAt + 5000);
    });
    const { pc } = machine.boot(oneShotGuest.image);
    const look = pc.clock.createTimer('look', (now) => look.arm(now + 1e6));
    look.arm(1e6);
    const kvm = kvmFor(machine, on);
    for (let move = 0; move < 40; move++) {
      begun = machine.u32(RESULT);
      leaveAt = performance.now() + (move % 4);
      assert.deepEqual(machine.run(), { why: 'stopped' });
      assert.ok(machine.u32(RESULT) > begun, `no interrupt is lost, at move ${move}`);
      assert.equal(machine.u32(RESULT + 8), 0, `none comes twice, at move ${move}`);
      pc.setAccelerator(pc.accelerator === kvm ? pc.engine : kvm);
    }
    kvm.close();
  });

for (const on of onKvm.slice(1))
  test(`a running guest with two vCPUs moves to tcg and back a hundred times, on ${on}`, {
    skip: noKvm,
    timeout: 120_000,
  }, () => {
    const machine = countingMoves(on, busyPair.image, 2);
    const { cpus } = machine.pc;
    assert.ok(machine.u32(RESULT + 8) > 1000 >> 6, 'each interrupt was heard');
    assert.deepEqual(
      cpus.map((cpu) => cpu.register('r15')),
      [0x1111222233334444n, 0x5555666677778888n],
    );
    assert.equal(cpus[1].register('st0'), 0x4000c90fdaa22168c235n, 'pi');
  });

/** KVM that keeps each vCPU's offset of the time-stamp counter, as seen from outside the guest, on hosts whose KVM does not. */
function keepingTscOffsets(): Native {
  const native = loadNative();
  const known = new Map<bigint, Uint8Array>();
  const offsets = new Map<number, bigint>();
  const eachTsc = (bytes: Uint8Array, visit: (view: DataView, at: number) => void) => {
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < view.getUint32(0, true); i++)
      if (view.getUint32(8 + 16 * i, true) === 0x10) visit(view, 8 + 16 * i + 8);
  };
  return {
    ...native,
    addressOf: (bytes) => {
      const address = native.addressOf(bytes);
      known.set(address, bytes);
      return address;
    },
    ioctlBytes: (fd, request, bytes) => {
      const offset = offsets.get(fd) ?? 0n;
      switch (request) {
        case call.hasDeviceAttribute:
          return 0;
        case call.getDeviceAttribute:
        case call.setDeviceAttribute: {
          const value = known.get(new DataView(bytes.buffer).getBigUint64(16, true));
          assert.ok(value);
          const view = new DataView(value.buffer);
          if (request === call.setDeviceAttribute) offsets.set(fd, view.getBigUint64(0, true));
          else view.setBigUint64(0, offset, true);
          return 0;
        }
        case call.getMsrs: {
          const result = native.ioctlBytes(fd, request, bytes);
          eachTsc(bytes, (view, at) => void view.setBigUint64(at, view.getBigUint64(at, true) + offset, true));
          return result;
        }
        case call.setMsrs:
          eachTsc(bytes, () => assert.fail('the counter itself is not written'));
      }
      return native.ioctlBytes(fd, request, bytes);
    },
  };
}

for (const cpus of [1, 2])
  test(`the time-stamp counter stands while the machine does, however short, vCPUs: ${cpus}, on kvm`, {
    skip: noKvm,
    timeout: 60_000,
  }, () => {
    let leaveAt = 0;
    const machine = machineOn('tcg', () => performance.now() > leaveAt, cpus);
    const { pc } = machine.boot(cpus === 1 ? busyGuest.image : busyPair.image);
    const look = pc.clock.createTimer('look', (now) => look.arm(now + 1e6));
    look.arm(1e6);
    const kvm = kvmFor(machine, 'kvm, irqchip in the kernel', keepingTscOffsets());
    /** By the machine's clock, in seconds. */
    const runFor = (ms: number) => {
      leaveAt = performance.now() + ms;
      assert.deepEqual(machine.run(), { why: 'stopped' });
      pc.accelerator.synchronize();
      return pc.cpus.map((cpu) => Number(BigInt.asIntN(64, cpu.vcpu.get64(home.tscOffset))) / pc.tscHz);
    };
    if (cpus === 2) while (machine.u32(RESULT + 8) === 0) runFor(20);
    pc.setAccelerator(kvm);
    let last = runFor(20);
    const moved: number[] = [];
    for (let pause = 0; pause < 3; pause++) {
      pc.clock.pause();
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400);
      const now = runFor(5);
      moved.push(Math.abs(now[0] - last[0]));
      if (cpus === 2) assert.ok(Math.abs(now[1] - now[0] - (last[1] - last[0])) < 1e-6, 'vCPUs keep their distance');
      last = now;
    }
    // A host that has stopped this thread at the wrong moment does not do so each time.
    assert.ok(Math.min(...moved) < 0.1, `${moved} s`);
    kvm.close();
  });

test('an endless loop with interrupts off is left when the host asks, on kvm', { skip: noKvm, timeout: 60_000 }, () => {
  const stopAt = performance.now() + 200;
  const guest = longModeGuest('a loop', 'cli\n.here: jmp .here\n', []);
  const machine = machineOn('kvm', () => performance.now() > stopAt).boot(guest.image);
  machine.pc.clock.createTimer('stop', () => {}).arm(machine.pc.clock.nowNs() + 250e6);
  assert.deepEqual(machine.run(), { why: 'stopped' });
  machine.pc.accelerator.close();
});

const steppedGuest = longModeGuest(
  'steps',
  `
        xor eax, eax
        mov ecx, 3
target: inc eax
        dec ecx
        jnz target
        jmp finish
`,
  [],
);

const noBreakpoints = "this host's KVM has no breakpoints";
const noWatchpoints = "this host's KVM has no watchpoints";

for (const accelerator of all) {
  const skip = whyNot(accelerator);
  test(`a triple fault resets, on ${accelerator}`, { skip, timeout: 60_000 }, () => {
    const guest = longModeGuest('a triple fault', 'mov word ptr [0x7ff0], 0\nlidt [0x7ff0]\nud2\n', []);
    const machine = machineOn(accelerator).boot(guest.image);
    assert.deepEqual(machine.run(), { why: 'reset' });
    machine.boot(acceleratorGuests[0].image);
    assert.deepEqual(machine.run(), { why: 'exit', status: 1 }, 'it runs again');
    machine.pc.accelerator.close();
  });

  test(`a non-maskable interrupt wakes the processor, on ${accelerator}`, { skip, timeout: 60_000 }, () => {
    const guest = longModeGuest(
      'NMI',
      `
        mov eax, 2
        mov rdx, nmi
        mov cl, 0x8e
        call set_gate
        mov dword ptr [RESULT], 0
        cli
        mov dword ptr [RESULT + 4], 0x600d
.wait:  hlt
        cmp dword ptr [RESULT], 0
        je .wait
        jmp finish
nmi:    inc dword ptr [RESULT]
        iretq
`,
      [1],
    );
    const machine = machineOn(accelerator).boot(guest.image);
    const { clock } = machine.pc;
    // Once the guest is ready, and again: one may come between its last look and HLT.
    const timer = clock.createTimer('nmi', () => {
      if (machine.u32(RESULT + 4) === 0x600d) machine.pc.raiseNmi();
      timer.arm(clock.nowNs() + 20e6);
    });
    timer.arm(clock.nowNs() + 20e6);
    assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
    assert.ok(machine.u32(RESULT) > 0);
    machine.pc.accelerator.close();
  });

  const noStops = skip || (accelerator !== 'tcg' && !probeKvm().hasBreakpoints && noBreakpoints);
  test(`breakpoints and single steps, on ${accelerator}`, { skip: noStops, timeout: 60_000 }, () => {
    const machine = machineOn(accelerator).boot(steppedGuest.image);
    const target = new BoardDebugTarget(machine.pc, { resume: () => {}, interrupt: () => {}, kill: () => {} });
    const at = steppedGuest.symbols.get('target') as bigint;
    const register = (name: string) => {
      machine.pc.accelerator.synchronize();
      return machine.pc.cpu.register(name);
    };
    target.setBreakpoint(at);
    assert.deepEqual(machine.run(), { why: 'debug' });
    assert.deepEqual([register('rip'), register('rax')], [at, 0n]);
    target.step();
    assert.deepEqual([register('rip'), register('rax')], [at + 2n, 1n]);
    target.step();
    assert.deepEqual([register('rip'), register('rcx')], [at + 4n, 2n]);
    assert.deepEqual(machine.run(), { why: 'debug' });
    assert.deepEqual([register('rip'), register('rax')], [at, 1n]);
    target.clearBreakpoint(at);
    assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
    machine.pc.accelerator.close();
  });
}

for (const accelerator of all)
  test(`watchpoints, on ${accelerator}`, { skip: whyNot(accelerator), timeout: 60_000 }, (t) => {
    const guest = longModeGuest(
      'accesses',
      `
        mov ecx, 3
next:   inc dword ptr [0x200000]
        mov eax, [0x200008]
read:   mov dword ptr [0x200004], 7
written: dec ecx
        jnz next
        jmp finish
`,
      [],
    );
    const machine = machineOn(accelerator).boot(guest.image);
    const target = new BoardDebugTarget(machine.pc, { resume: () => {}, interrupt: () => {}, kill: () => {} });
    const stopsAt = (label: string, hit: { kind: string; address: bigint; length: number }) => {
      assert.deepEqual(machine.run(), { why: 'debug' });
      machine.pc.accelerator.synchronize();
      assert.equal(machine.pc.cpu.register('rip'), guest.symbols.get(label), label);
      assert.deepEqual(target.takeWatchpointHit(), hit);
      assert.equal(target.takeWatchpointHit(), undefined, 'it is told once');
    };
    const write = { kind: 'write', address: 0x200004n, length: 4 } as const;
    const access = { kind: 'access', address: 0x200009n, length: 3 } as const;
    const canWatch = target.setWatchpoint(write.kind, write.address, write.length);
    if (accelerator !== 'tcg' && !probeKvm().hasWatchpoints) {
      assert.equal(canWatch, false);
      t.skip(noWatchpoints);
      machine.pc.accelerator.close();
      return;
    }
    assert.ok(canWatch);
    stopsAt('written', write);
    assert.ok(target.setWatchpoint(access.kind, access.address, access.length));
    // The processor has four places: these take three.
    const fits = target.setWatchpoint('write', 0x300000n, 16);
    assert.equal(fits, accelerator === 'tcg');
    if (fits) target.clearWatchpoint('write', 0x300000n, 16);
    stopsAt('read', access);
    stopsAt('written', write);
    target.clearWatchpoint(write.kind, write.address, write.length);
    stopsAt('read', access);
    target.clearWatchpoint(access.kind, access.address, access.length);
    assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
    machine.pc.accelerator.close();
  });

/** KVM's calls, but for exits by port 0x99: what they tell is replaced in the vCPU's page. */
function tellingOfPort99(replace: (page: DataView) => void): Native {
  const native = loadNative();
  let page = new DataView(new ArrayBuffer(0));
  return {
    ...native,
    map: (fd, length) => {
      const mapped = native.map(fd, length);
      if (mapped) page = new DataView(mapped.buffer);
      return mapped;
    },
    ioctl: (fd, request, value) => {
      const result = native.ioctl(fd, request, value);
      if (request !== call.run || result !== 0) return result;
      if (page.getUint32(runPage.exitReason, true) === exit.io && page.getUint16(runPage.ioPort, true) === 0x99)
        replace(page);
      return result;
    },
  };
}

test('a stop that the processor tells to be a watchpoint, and one that it tells of nobody, on kvm', {
  skip: noKvm,
}, () => {
  const guest = longModeGuest('writes', '.next: out 0x99, al\njmp .next\n', []);
  const machine = machineOn('tcg').boot(guest.image);
  const dr6s = [0xffff0ff2n, 0xffff0ff1n];
  // Of KVM without data breakpoints a test can only say what one with them would.
  const kvm = kvmFor(
    machine,
    'kvm',
    tellingOfPort99((page) => {
      page.setUint32(runPage.exitReason, exit.debug, true);
      page.setBigUint64(runPage.debugDr6, dr6s.shift() ?? 0xffff0ff0n, true);
    }),
  );
  machine.pc.setAccelerator(kvm);
  const target = new BoardDebugTarget(machine.pc, { resume: () => {}, interrupt: () => {}, kill: () => {} });
  assert.ok(target.setWatchpoint('write', 0x200000n, 4));
  assert.ok(target.setWatchpoint('access', 0x300000n, 8));
  for (const address of [0x300000n, 0x200000n]) {
    assert.deepEqual(machine.run(), { why: 'debug' });
    assert.equal(target.takeWatchpointHit()?.address, address);
  }
  assert.deepEqual(machine.run(), { why: 'debug' });
  assert.equal(target.takeWatchpointHit(), undefined);
  kvm.close();
});

test('what KVM cannot emulate ends the machine with the code and the registers, on kvm', { skip: noKvm }, () => {
  const guest = longModeGuest('writes', 'mov r15, 0x1122334455667788\n.next: out 0x99, al\njmp .next\n', []);
  const machine = machineOn('tcg').boot(guest.image);
  const kvm = kvmFor(
    machine,
    'kvm',
    tellingOfPort99((page) => {
      page.setUint32(runPage.exitReason, exit.internalError, true);
      page.setUint32(runPage.internalSuberror, 1, true);
      page.setUint32(runPage.internalDataCount, 4, true);
      page.setBigUint64(runPage.internalData, 1n, true);
      // Three bytes: RDRAND EDX.
      page.setUint32(runPage.internalData + 8, 0xf2c70f03, true);
    }),
  );
  machine.pc.setAccelerator(kvm);
  assert.throws(
    () => machine.run(),
    (error: unknown) =>
      error instanceof VringError &&
      error.code === 'kvm-internal' &&
      error.message.endsWith('it cannot emulate an instruction (code at RIP: 0f c7 f2).') &&
      /R15=1122334455667788/.test(String(error.cause)),
  );
  kvm.close();
});

test('watchpoints follow a guest that moves, and keep it where they cannot be, on kvm', { skip: noKvm }, () => {
  const machine = machineOn('tcg').boot(busyGuest.image);
  const { pc } = machine;
  const requests: number[] = [];
  const native = loadNative();
  const kvm = kvmFor(machine, 'kvm', {
    ...native,
    ioctlBytes: (fd, request, bytes) => {
      if (request === call.setGuestDebug) requests.push(new DataView(bytes.buffer).getUint32(0, true));
      return native.ioctlBytes(fd, request, bytes);
    },
  });
  const target = new BoardDebugTarget(pc, { resume: () => {}, interrupt: () => {}, kill: () => {} });
  const watched = { kind: 'write', address: BigInt(RESULT), length: 8 } as const;
  target.setWatchpoint('read', watched.address, watched.length);
  assert.throws(() => pc.setAccelerator(kvm), /the debugger watches what kvm cannot/);
  assert.equal(pc.accelerator.name, 'tcg');
  target.clearWatchpoint('read', watched.address, watched.length);
  target.setWatchpoint(watched.kind, watched.address, watched.length);
  for (let round = 0; round < 2; round++) {
    assert.deepEqual(machine.run(), { why: 'debug' });
    assert.deepEqual(target.takeWatchpointHit(), watched);
    pc.setAccelerator(kvm);
    pc.setAccelerator(pc.engine);
    assert.deepEqual(requests.splice(0), [0x20001, 0], 'the processor watches, and no longer');
  }
  kvm.close();
});

for (const on of ['tcg', ...onKvm.slice(1)] as const) {
  const noStops = whyNot(on) || (on !== 'tcg' && !probeKvm().hasBreakpoints && noBreakpoints);
  test(`breakpoints and single steps of a second vCPU, on ${on}`, { skip: noStops, timeout: 60_000 }, () => {
    const machine = machineOn('tcg', undefined, 2).boot(busyPair.image);
    const { pc } = machine;
    const runFor = (ms: number) => {
      pc.clock.createTimer('stop', () => pc.stopForDebugger()).arm(pc.clock.nowNs() + ms * 1e6);
      assert.deepEqual(machine.run(), { why: 'debug' });
    };
    // This host's KVM may not have all that the guest begins with.
    while (machine.u32(RESULT + 8) === 0) runFor(20);
    if (on !== 'tcg') pc.setAccelerator(kvmFor(machine, on));
    const target = new BoardDebugTarget(pc, { resume: () => {}, interrupt: () => {}, kill: () => {} });
    assert.equal(target.vcpus, 2);
    const rip = (vcpu: number) => {
      pc.accelerator.synchronize();
      return pc.cpus[vcpu].register('rip') as bigint;
    };
    // Breakpoints of the processor; and more than it has, when the guest goes step by step (and may miss where an interrupt begins).
    const cases = [
      { others: [], label: 'told' },
      { others: [0x300000n, 0x300001n, 0x300002n, 0x300003n], label: 'second.next' },
    ];
    for (const { others, label } of cases) {
      const at = busyPair.symbols.get(label) as bigint;
      for (const each of [...others, at]) target.setBreakpoint(each);
      for (let round = 0; round < 3; round++) {
        assert.deepEqual(machine.run(), { why: 'debug' });
        assert.deepEqual([target.vcpu, rip(1)], [1, at], 'it is the second that comes there');
        const [heard, counted, first] = [machine.u32(RESULT + 8), machine.u32(RESULT), rip(0)];
        target.step();
        // Where interrupts are on, the step may lead into the handler.
        assert.notEqual(rip(1), at, 'it has gone one step');
        if (label === 'told') assert.equal(machine.u32(RESULT + 8), heard + 1);
        target.step();
        assert.deepEqual([rip(0), machine.u32(RESULT)], [first, counted], 'the first stands');
        target.vcpu = 0;
        target.step();
        assert.notEqual(rip(0), first, 'now it has gone one too');
        target.resume();
      }
      for (const each of [...others, at]) target.clearBreakpoint(each);
    }
    const before = machine.u32(RESULT + 8);
    // They run on: otherwise the machine gives up.
    while (machine.u32(RESULT + 8) === before) runFor(20);
    pc.accelerator.close();
  });
}

for (const accelerator of all)
  test(`the dirty log names the pages that the guest or a device wrote, on ${accelerator}`, {
    skip: whyNot(accelerator),
    timeout: 60_000,
  }, () => {
    const guest = longModeGuest(
      'stores',
      `
        mov dword ptr [0x200000], 1
        mov eax, [0x201000]
        mov dword ptr [0x203ffe], 1
        mov al, 0
        out ${EXIT_PORT}, al
        jmp .next
.next:  mov ecx, 100
.again: inc dword ptr [0x200000]
        dec ecx
        jnz .again
        mov eax, [0x203000]
        mov edi, 0x210ff0
        mov ecx, 8
        rep stosd                       ; on two pages
        lock inc dword ptr [0x212000]
        mov byte ptr [patch], 2         ; on the page that is being run
        jmp patched
        .align 4096
patched: .byte 0xb0                     ; mov al, …
patch:  .byte 1
        jmp finish
        .align 4096
`,
      [],
    );
    const machine = machineOn(accelerator).boot(guest.image);
    const { pc } = machine;
    const take = () => {
      const dirty: number[] = [];
      pc.takeDirty((hva) => dirty.push(hva - pc.engine.ramStart));
      assert.equal(new Set(dirty).size, dirty.length, 'each is told once');
      return dirty.sort((a, b) => a - b);
    };
    pc.setDirtyLogging(true);
    assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
    const first = take();
    for (const page of [0x200000, 0x203000, 0x204000, 0x20000]) assert.ok(first.includes(page), page.toString(16));
    // KVM may map pages that were read for writing at once.
    if (accelerator === 'tcg') assert.ok(!first.includes(0x201000), 'read alone');
    assert.ok(!first.includes(0x280000) && !first.includes(0x300000), 'never touched');
    assert.deepEqual(take(), [], 'what was taken is taken');
    pc.memory.dma.write(0x208ffe, Uint8Array.of(1, 2, 3));
    assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
    const patched = Number(guest.symbols.get('patched'));
    const written = [patched, 0x200000, 0x208000, 0x209000, 0x210000, 0x211000, 0x212000].sort((a, b) => a - b);
    const second = take();
    if (accelerator === 'tcg') assert.deepEqual(second, written);
    else for (const page of written) assert.ok(second.includes(page), page.toString(16));
    pc.setDirtyLogging(false);
    pc.memory.dma.write(0x208000, Uint8Array.of(1));
    assert.deepEqual(take(), [], 'no longer kept');
    pc.accelerator.close();
  });

test('the dirty log goes on when the accelerator changes, on kvm', { skip: noKvm, timeout: 60_000 }, () => {
  const stops = [0x200000, 0x210000, 0x220000].map(
    (page) => `
        inc dword ptr [${page}]
        mov al, 0
        out ${EXIT_PORT}, al
`,
  );
  const machine = machineOn('tcg').boot(longModeGuest('stores', stops.join(''), []).image);
  const { pc } = machine;
  const kvm = kvmFor(machine, 'kvm');
  pc.setDirtyLogging(true);
  for (const next of [kvm, pc.engine, pc.engine]) {
    assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
    pc.setAccelerator(next);
  }
  const dirty = new Set<number>();
  pc.takeDirty((hva) => dirty.add(hva - pc.engine.ramStart));
  for (const page of [0x200000, 0x210000, 0x220000]) assert.ok(dirty.has(page), page.toString(16));
  assert.ok(!dirty.has(0x230000), 'never touched');
  kvm.close();
});

test('the built-in guest prints the same on both accelerators, byte for byte', { skip: noKvm }, async () => {
  const lines = [
    'help',
    'rings',
    'mem',
    'page',
    'pci',
    'syscall 50',
    'fault 20',
    'gp 3',
    'tick 2',
    'work 1',
    'walk 5',
    'port 9',
  ];
  const all = [...lines, 'mmio 4', 'pio 1', 'random 3', 'disk', 'balloon 2', 'crash', 'nonsense', 'poweroff'];
  const printed = async (accelerator: 'kvm' | 'tcg', kernelIrqchip: 'on' | 'split' | 'off') => {
    const machine = await createMachine({
      builtInGuest: true,
      accelerators: [accelerator],
      kernelIrqchip,
      devices: [
        { type: 'virtio-rng', ioeventfd: kernelIrqchip === 'on' },
        { type: 'virtio-balloon', ioeventfd: kernelIrqchip === 'on' },
      ],
    });
    try {
      await machine.serial(0).write(new TextEncoder().encode(`${all.join('\r')}\r`));
      await machine.start();
      let text = '';
      for await (const bytes of machine.serial(0)) text += Buffer.from(bytes).toString('latin1');
      assert.deepEqual(await machine.ended, { why: 'poweroff' });
      return text;
    } finally {
      await machine.close();
    }
  };
  const expected = await printed('tcg', 'split');
  assert.match(expected, /50 system calls.*the program was ended/s);
  for (const place of ['on', 'split', 'off'] as const) assert.equal(await printed('kvm', place), expected, place);
});
