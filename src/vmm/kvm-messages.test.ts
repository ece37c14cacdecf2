/** Messages of devices to local APICs in the kernel: by descriptors of the system where they come again and again. */

import assert from 'node:assert/strict';
import test from 'node:test';
import { call, capability } from '../host/node/kvm/abi.js';
import { loadNative, type Native } from '../host/node/kvm/native.js';
import { probeKvm } from '../host/node/kvm/probe.js';
import { hostTime } from '../host/node/time.js';
import { TestPc } from '../machine/testing/test-pc.js';
import { RESULT } from './testing/guest-parts.js';
import { testKvm } from './testing/moves.js';
import { MESSAGE_GPA, messageGuest } from './testing/processor-guests.js';
import { whyNoKvm } from './testing/why-no-kvm.js';

const skip = whyNoKvm() || (probeKvm().capabilities.IRQFD === 0 && "this host's KVM lacks KVM_CAP_IRQFD");

const CPU =
  'base,+fpu,+tsc,+msr,+pae,+cx8,+apic,+pge,+pat,+mtrr,+cmov,+pse,+fxsr,+sse,+sse2,+lm,+syscall,+nx,+hypervisor';
const VECTORS = 4;
/** Sent otherwise before a message has its descriptor. */
const BEFORE = 7;

/** `leave`: asked at each look; true ends the run. */
function messengerPc(leave: (machine: TestPc) => boolean): TestPc {
  const end = performance.now() + 30_000;
  const machine: TestPc = new TestPc({
    cpu: CPU,
    time: hostTime,
    maxPolls: 1e9,
    service: () => performance.now() > end || leave(machine),
    addDevices: (board) => {
      board.memory.addWindow({
        name: 'messenger',
        start: MESSAGE_GPA,
        size: 0x1000,
        handler: { read: () => 0, write: (_, __, value) => machine.pc.msi.send(0xfee00000, value) },
      });
    },
  });
  return machine;
}

/** How often each call was made. */
function counting(changes: Partial<Native> = {}) {
  const native = { ...loadNative(), ...changes };
  const counts = new Map<number, number>();
  const open = new Set<number>();
  return {
    /** Descriptors for events that are open. */
    open,
    of: (request: number) => counts.get(request) ?? 0,
    native: {
      ...native,
      eventfd: () => {
        const fd = native.eventfd();
        open.add(fd);
        return fd;
      },
      close: (fd: number) => {
        open.delete(fd);
        return native.close(fd);
      },
      ioctlBytes: (fd: number, request: number, bytes: Uint8Array) => {
        counts.set(request, (counts.get(request) ?? 0) + 1);
        return native.ioctlBytes(fd, request, bytes);
      },
    } satisfies Native,
  };
}

const counts = (machine: TestPc) => Array.from({ length: VECTORS }, (_, i) => machine.u32(RESULT + 4 * i));

const ROUNDS = 30;
const each = Array.from({ length: VECTORS }, () => ROUNDS);

for (const irqchip of ['on', 'split'] as const)
  test(`each message is one interrupt, by call or by descriptor, kernel-irqchip=${irqchip}`, {
    skip,
    timeout: 60_000,
  }, () => {
    const system = loadNative();
    const withRoom = (rows: number): Partial<Native> => ({
      ioctl: (fd, request, value) =>
        request === call.checkExtension && value === capability.IRQ_ROUTING
          ? 24 + rows
          : system.ioctl(fd, request, value),
    });
    const refusing: Partial<Native> = {
      ioctlBytes: (fd, request, bytes) => (request === call.irqfd ? -1 : system.ioctlBytes(fd, request, bytes)),
    };
    // With two rows every message that gets one takes it from another.
    for (const [changes, byCall] of [
      [{}, VECTORS * BEFORE],
      [withRoom(2), undefined],
      [refusing, VECTORS * ROUNDS],
    ] as const) {
      const machine = messengerPc(() => false);
      const counted = counting(changes);
      const kvm = testKvm(machine, { irqchip, native: counted.native });
      machine.pc.setAccelerator(kvm);
      machine.boot(messageGuest(ROUNDS).image);
      assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
      assert.deepEqual(counts(machine), each);
      if (byCall !== undefined) assert.equal(counted.of(call.signalMsi), byCall);
      else assert.ok(counted.of(call.signalMsi) < VECTORS * ROUNDS, `${counted.of(call.signalMsi)}`);
      assert.equal(counted.open.size > 0, byCall !== VECTORS * ROUNDS);
      kvm.close();
      assert.equal(counted.open.size, 0, 'nothing of the system is left');
    }
  });

test('no message is lost or comes twice when the controllers move, or a machine is reset', {
  skip,
  timeout: 120_000,
}, () => {
  let leaveAt = 0;
  let heard = 0;
  const rounds = (machine: TestPc) => machine.u32(RESULT + 16);
  const machine = messengerPc((each) => performance.now() > leaveAt && rounds(each) > heard + BEFORE + 1);
  const { pc } = machine;
  const look = pc.clock.createTimer('look', (now) => look.arm(now + 1e6));
  look.arm(1e6);
  machine.boot(messageGuest(1e9).image);
  const kvms = (['on', 'split', 'off'] as const).map((irqchip) => testKvm(machine, { irqchip }));
  const all = [...kvms, pc.engine];
  for (let move = 0; move < 16; move++) {
    pc.setAccelerator(all[move % all.length]);
    heard = rounds(machine);
    leaveAt = performance.now() + (move % 3);
    assert.deepEqual(machine.run(), { why: 'stopped' });
    pc.accelerator.synchronize();
    const now = rounds(machine);
    assert.ok(now > heard, `the guest goes on at move ${move}`);
    for (const count of counts(machine)) assert.ok(count === now || count === now + 1, `${counts(machine)} of ${now}`);
    if (move === 9) {
      machine.boot(messageGuest(1e9).image);
      machine.pc.memory.dma.write(RESULT, new Uint8Array(20));
    }
  }
  for (const kvm of kvms) kvm.close();
});
