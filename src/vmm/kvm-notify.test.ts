/** Notifications that end no vCPU's turn, by the test device of `notifyingProcessor`. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { NotifyRegister } from '../bus/index.js';
import { call, capability } from '../host/node/kvm/abi.js';
import { loadNative, type Native } from '../host/node/kvm/native.js';
import { KvmSystem } from '../host/node/kvm/system.js';
import { hostTime } from '../host/node/time.js';
import { TestPc } from '../machine/testing/test-pc.js';
import { RESULT } from './testing/guest-parts.js';
import { testKvm } from './testing/moves.js';
import { NOTIFY_GPA, notifyingProcessor } from './testing/processor-guests.js';
import { whyNoKvm } from './testing/why-no-kvm.js';

const noKvm = whyNoKvm();
const skip = noKvm || (new KvmSystem().check('IOEVENTFD') === 0 && "this host's KVM lacks KVM_CAP_IOEVENTFD");

const CPU =
  'base,+fpu,+tsc,+msr,+pae,+cx8,+apic,+pge,+pat,+mtrr,+cmov,+pse,+fxsr,+sse,+sse2,+lm,+syscall,+nx,+hypervisor';

/** A machine with a notify register, and what became of it. */
function notified(which: 0 | 1, times: number, isAsked: boolean | undefined, irqchip: 'on' | 'split' | 'off') {
  const isAwaited = isAsked ?? which === 1;
  const register: NotifyRegister = { isAsked };
  let [heard, other, requests] = [0, 0, 0];
  const end = performance.now() + 30_000;
  const machine: TestPc = new TestPc({
    cpu: CPU,
    cpus: which + 1,
    time: hostTime,
    maxPolls: 1e9,
    service: () => {
      if (requests > 0 || !isAwaited) machine.pc.memory.dma.writeU32(RESULT + 8, 1);
      return performance.now() > end;
    },
    addDevices: (board) => {
      const window = board.memory.addWindow({
        name: 'notified',
        start: NOTIFY_GPA,
        size: 0x1000,
        handler: {
          read: () => 0,
          write: (offset) => {
            if (offset === 0) board.memory.dma.writeU32(RESULT + 4, ++heard);
            else {
              other++;
              window.move(undefined);
            }
          },
        },
        notifies: (offset) => (offset === 0 ? register : undefined),
      });
    },
  });
  const native = loadNative();
  const counting: Native = {
    ...native,
    ioctlBytes: (fd, request, bytes) => {
      if (request === call.ioeventfd) requests++;
      return native.ioctlBytes(fd, request, bytes);
    },
  };
  const kvm = testKvm(machine, { irqchip, native: counting });
  machine.pc.setAccelerator(kvm);
  machine.boot(notifyingProcessor(which, times).image);
  assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
  kvm.synchronize();
  kvm.close();
  return { heard, other, requests };
}

const TIMES = 50;
for (const irqchip of ['on', 'split', 'off'] as const)
  for (const which of [0, 1] as const) {
    if (irqchip === 'off' && which === 1) continue;
    const who = `vCPU ${which}, kernel-irqchip=${irqchip}`;
    test(`a notification ends no turn of a vCPU, and is heard: ${who}`, { skip, timeout: 60_000 }, () => {
      const { heard, other, requests } = notified(which, TIMES, true, irqchip);
      assert.ok(heard > TIMES, `each of which the guest waited for was heard, and the last ones: ${heard}`);
      assert.equal(other, 1, 'the register beside it is another');
      assert.equal(requests, 2, 'KVM was given it once, and it was taken back when the device went');
    });
  }

test('unless a device says it, notifications end no turn where there are several vCPUs', {
  skip,
  timeout: 60_000,
}, () => {
  assert.equal(notified(0, 10, undefined, 'on').requests, 0);
  assert.equal(notified(1, 10, undefined, 'on').requests, 2);
  const { heard, requests } = notified(1, 10, false, 'on');
  assert.equal(requests, 0);
  assert.ok(heard > 20, 'each write came out of the guest');
});

test('ioeventfd=on on a kernel without it: a sentence, and the guest is heard by exits', { skip: noKvm }, () => {
  const notices: string[] = [];
  const machine = new TestPc({ cpu: CPU, time: hostTime });
  const native = loadNative();
  const kvm = testKvm(machine, {
    irqchip: 'off',
    native: {
      ...native,
      ioctl: (fd, request, value) =>
        request === call.checkExtension && value === capability.IOEVENTFD ? 0 : native.ioctl(fd, request, value),
    },
    asksForNotify: true,
    notice: (sentence) => notices.push(sentence),
  });
  kvm.close();
  assert.deepEqual(notices, ["ioeventfd=on is without effect: this host's KVM lacks KVM_CAP_IOEVENTFD"]);
});
