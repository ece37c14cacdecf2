/** The lens on the built-in guest, which does things as often as it is told. */

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { probeKvm } from '../host/node/kvm/probe.js';
import { hostTime } from '../host/node/time.js';
import { TestPc } from '../machine/testing/test-pc.js';
import { createMachine, type LensReport, type Machine } from './index.js';
import { testKvm } from './testing/moves.js';
import { faultingPair } from './testing/processor-guests.js';
import { whyNoKvm } from './testing/why-no-kvm.js';

const sum = (record: Readonly<Record<string, number>>) => Object.values(record).reduce((a, b) => a + b, 0);

class Session {
  readonly machine: Machine;
  #text = '';
  #heard: (() => void) | undefined;

  constructor(machine: Machine) {
    this.machine = machine;
    void this.#listen();
  }

  async #listen(): Promise<void> {
    for await (const bytes of this.machine.serial(0)) {
      this.#text += Buffer.from(bytes).toString('latin1');
      this.#heard?.();
    }
  }

  /** Types a line, and gives what came until the next prompt. */
  async say(line: string): Promise<string> {
    this.#text = '';
    if (line !== '') await this.machine.serial(0).write(Buffer.from(`${line}\r`));
    while (!this.#text.endsWith('vring> ')) {
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
    }
    return this.#text;
  }

  async report(): Promise<LensReport> {
    const report = await this.machine.lens();
    assert.ok(report);
    return report;
  }
}

/** Whether page faults and system calls can be counted: under KVM, by breakpoints. */
const tells = (on: string): boolean => on === 'tcg' || probeKvm().hasBreakpoints;

async function open(accelerator: 'tcg' | 'kvm' = 'tcg'): Promise<Session> {
  const machine = await createMachine({
    builtInGuest: true,
    lens: true,
    ramBytes: 16 << 20,
    hotThreshold: 16,
    accelerators: [accelerator],
  });
  const session = new Session(machine);
  await machine.start();
  await session.say('');
  return session;
}

for (const accelerator of ['tcg', 'kvm'] as const) {
  const skip = accelerator === 'kvm' && whyNoKvm();
  test(`port writes are counted exactly, on ${accelerator}`, { skip }, async () => {
    const session = await open(accelerator);
    try {
      for (const port of [1, 700, 20]) {
        const before = await session.report();
        const text = await session.say(`port ${port}`);
        const after = await session.report();
        const serial = (report: LensReport) => report.devices['serial0'].pioWrite;
        // Every byte that came out is a write too.
        assert.equal(serial(after) - serial(before), port + text.length);
        const pic = (report: LensReport) => report.devices['pic']?.pioWrite ?? 0;
        const writes = (after.exits.pioWrite ?? 0) - (before.exits.pioWrite ?? 0);
        // The handler of the serial port's interrupt writes to the 8259, which is no exit where that lies in the kernel.
        assert.equal(writes, port + text.length + pic(after) - pic(before));
      }
    } finally {
      await session.machine.close();
    }
  });

  test(`page faults and system calls are counted exactly, on ${accelerator}`, { skip }, async () => {
    const session = await open(accelerator);
    try {
      for (const [faults, calls] of [
        [1, 1],
        [900, 3000],
        [2000, 40],
      ]) {
        const before = await session.report();
        await session.say(`fault ${faults}`);
        await session.say(`syscall ${calls}`);
        const after = await session.report();
        if (!tells(accelerator)) {
          assert.deepEqual([after.exceptions, after.systemCalls, after.softwareInterrupts], Array(3).fill(undefined));
          continue;
        }
        const counted = ({ exceptions, systemCalls }: LensReport) => [exceptions?.['14'] ?? 0, systemCalls ?? 0];
        const [[faultsBefore, callsBefore], [faultsAfter, callsAfter]] = [counted(before), counted(after)];
        // Each of the two programs ends with a system call of its own.
        assert.deepEqual([faultsAfter - faultsBefore, callsAfter - callsBefore], [faults, calls + 2]);
        if (accelerator === 'kvm') {
          assert.equal(after.crossings, undefined);
          assert.equal(after.shares.native, 1);
          continue;
        }
        const crossed = (report: LensReport) => sum(report.crossings?.['3>0'] ?? {});
        const returned = (report: LensReport) => sum(report.crossings?.['0>3'] ?? {});
        assert.equal(crossed(after) - crossed(before), returned(after) - returned(before));
        assert.equal(crossed(after) - crossed(before), faults + calls + 2 + interrupted(before, after));
      }
    } finally {
      await session.machine.close();
    }
  });
}

const everywhere = (['tcg', 'on', 'split'] as const).flatMap((on) =>
  (['shared', 'own'] as const).map((handlers) => ({ on, handlers })),
);
for (const { on, handlers } of everywhere) {
  const where = `${handlers} handlers, ${on === 'tcg' ? 'on tcg' : `on kvm, kernel-irqchip=${on}`}`;
  test(`page faults and system calls of all vCPUs are counted, ${where}`, { skip: on !== 'tcg' && whyNoKvm() }, () => {
    const end = performance.now() + 30_000;
    const machine = new TestPc({
      cpu: 'base,+fpu,+tsc,+msr,+pae,+cx8,+apic,+pge,+pat,+mtrr,+cmov,+pse,+fxsr,+sse,+sse2,+lm,+syscall,+nx,+hypervisor',
      cpus: 2,
      lens: true,
      time: hostTime,
      maxPolls: 1e9,
      service: () => performance.now() > end,
    });
    const { pc } = machine;
    const look = pc.clock.createTimer('look', (now) => look.arm(now + 1e9));
    look.arm(1e9);
    if (on !== 'tcg') pc.setAccelerator(testKvm(machine, { irqchip: on }));
    machine.boot(faultingPair({ faults: 70, calls: 300 }, { faults: 90, calls: 11 }, handlers).image);
    assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
    const totals = pc.lens();
    assert.ok(totals);
    assert.equal(totals.exceptions?.['14'], tells(on) ? 70 + 90 : undefined);
    assert.equal(totals.systemCalls, tells(on) ? 300 + 11 : undefined);
    pc.accelerator.close();
  });
}

const interrupted = (before: LensReport, after: LensReport) =>
  (after.crossings?.['3>0']?.interrupt ?? 0) - (before.crossings?.['3>0']?.interrupt ?? 0);

for (const accelerator of ['tcg', 'kvm'] as const) {
  const skip = accelerator === 'kvm' && whyNoKvm();
  test(`the times of all owners add up to the wall time, and each has what it did, on ${accelerator}`, {
    skip,
  }, async () => {
    const session = await open(accelerator);
    try {
      const outerStart = performance.now();
      const before = await session.report();
      const innerStart = performance.now();
      await session.say('work 60');
      await session.say(accelerator === 'tcg' ? 'syscall 100000' : 'syscall 1000');
      await new Promise((resolve) => setTimeout(resolve, 300));
      const innerNs = (performance.now() - innerStart) * 1e6;
      const after = await session.report();
      const outerNs = (performance.now() - outerStart) * 1e6;
      const owners = sum(after.timeNs) - sum(before.timeNs);
      assert.ok(Math.abs(owners - (after.wallNs - before.wallNs)) < 1e3, 'by the thread itself');
      // The thread's own looks lie somewhere in the time of the two from outside.
      assert.ok(owners > 0.98 * innerNs && owners < 1.02 * outerNs, `${owners} of ${innerNs} to ${outerNs} ns`);
      const spent = (owner: string) => (after.timeNs[owner] ?? 0) - (before.timeNs[owner] ?? 0);
      assert.ok(spent(accelerator === 'tcg' ? 'ring3' : 'guest') > 2 * spent('devices'));
      // With the local APIC in the kernel the vCPU sleeps there.
      assert.ok(spent('halted') + spent('guest') > 200e6, `halted ${spent('halted')} ns`);
      assert.equal(after.shares.translated, accelerator === 'tcg' ? 1 : 0);
    } finally {
      await session.machine.close();
    }
  });
}

test('memory has owners; where the host tells, guest RAM that was touched is resident', async () => {
  const session = await open();
  try {
    const { memory } = await session.report();
    assert.equal(memory['guestRam'].bytes, 16 << 20);
    const { residentBytes } = memory['guestRam'];
    if (residentBytes !== undefined)
      assert.ok(residentBytes >= 8 * 4096 && residentBytes < 4 << 20, `${residentBytes}`);
  } finally {
    await session.machine.close();
  }
});

test('without the lens there is nothing to tell', async () => {
  const machine = await createMachine({ builtInGuest: true });
  assert.equal(await machine.lens(), undefined);
  await machine.close();
});

function hasFfi(): boolean {
  try {
    createRequire(import.meta.url).resolve('koffi');
    return !process.env.VRING_NO_FFI;
  } catch {
    return false;
  }
}

test('what goes into the balloon is given back to the host', async (t) => {
  const machine = await createMachine({ builtInGuest: true, lens: true, devices: [{ type: 'virtio-balloon' }] });
  const session = new Session(machine);
  try {
    await machine.start();
    await session.say('');
    await machine.writeMemory(0x40000, Uint8Array.of(5));
    const before = await machine.hostPage(0x40000);
    if (before.resident === undefined || !hasFfi()) {
      t.skip('pages are given back by Linux, through koffi');
      return;
    }
    assert.equal(before.resident, true);
    await session.say('balloon 1');
    assert.equal((await machine.hostPage(0x40000)).resident, false);
    assert.deepEqual(await machine.readMemory(0x40000, 1), Uint8Array.of(0));
  } finally {
    await machine.close();
  }
});
