/** What stands in KVM's way is one sentence, and the next accelerator is taken. */
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import test from 'node:test';
import { VringError } from '../base/index.js';
import { call, capability } from '../host/node/kvm/abi.js';
import { loadNative, type Native } from '../host/node/kvm/native.js';
import { probeKvm } from '../host/node/kvm/probe.js';
import { KvmSystem } from '../host/node/kvm/system.js';
import { createX86Kvm } from '../host/node/kvm/x86-accelerator.js';
import { TestPc } from '../machine/testing/test-pc.js';
import { chooseAccelerator } from './choose-accelerator.js';
import { createMachine } from './index.js';
import { longModeGuest } from './testing/guest-parts.js';
import { twoProcessors } from './testing/processor-guests.js';
import { whyNoKvm } from './testing/why-no-kvm.js';

const question = { cpu: undefined, defaultCpu: 'qemu64', needsTranslator: undefined };

/** A host whose calls give errors. */
function hostWith(calls: Partial<Native>): Native {
  return {
    ...({ close: () => 0, errno: () => 0, open: () => 3, ioctl: () => 12 } as Partial<Native>),
    ...calls,
  } as Native;
}

for (const [what, device, pattern] of [
  ['no such file', '/nowhere/kvm', /^KVM not used: \/nowhere\/kvm: no such file/],
  ['another device', '/dev/null', /^KVM not used: \/dev\/null is not KVM's device$/],
] as const) {
  test(`${what}: the next is taken, or there is none`, () => {
    const choice = chooseAccelerator({ ...question, wishes: ['kvm', 'tcg'], device });
    assert.deepEqual(choice.candidates, [{ name: 'tcg' }]);
    assert.equal(choice.refusals.length, 1);
    assert.match(choice.refusals[0], pattern);
    assert.deepEqual(chooseAccelerator({ ...question, wishes: ['kvm'], device }).candidates, []);
  });
}

test('what only the translator has', () => {
  const choice = chooseAccelerator({ ...question, wishes: ['kvm', 'tcg'], needsTranslator: 'counted time (icount)' });
  assert.deepEqual(choice.candidates, [{ name: 'tcg' }]);
  assert.match(choice.refusals[0], /^KVM not used: the translator alone has counted time/);
});

test('permission, another interface, an old kernel', () => {
  const opening = (host: Native) => () => new KvmSystem('/dev/kvm', host);
  const denied = hostWith({ open: () => -1, errno: () => constants.errno.EACCES });
  assert.throws(opening(denied), { message: '/dev/kvm: permission denied; add yourself to group kvm' });
  let closed = 0;
  const other = hostWith({ ioctl: () => 11, close: () => ++closed });
  assert.throws(opening(other), /version 11 of KVM's interface, not 12/);
  assert.equal(closed, 1, 'nothing stays open');
  const old = hostWith({
    ioctl: (_fd, request, value) =>
      request === call.checkExtension ? (value === capability.READONLY_MEM ? 0 : 1) : 12,
  });
  assert.throws(
    () => new KvmSystem('/dev/kvm', old).require('USER_MEMORY', 'READONLY_MEM'),
    /lacks KVM_CAP_READONLY_MEM: it is too old/,
  );
});

test('CPU features that the host lacks, on kvm', { skip: whyNoKvm() }, () => {
  const lacking = ['movbe', 'rdseed', 'adx', 'bmi2', 'erms'].find(
    (name) => !probeKvm().features.has(name.replace(/[-.]/g, '_')),
  );
  if (lacking === undefined) return;
  const choice = chooseAccelerator({ ...question, wishes: ['kvm'], cpu: `base,+${lacking}` });
  assert.deepEqual(choice.candidates, []);
  assert.match(choice.refusals[0], new RegExp(`lacks CPU features that the machine has: ${lacking}`));
  const slow = chooseAccelerator({ ...question, wishes: ['kvm', 'tcg'], takesSlow: true });
  assert.deepEqual(
    slow.candidates.map(({ name }) => name),
    ['kvm', 'tcg'],
    'however slow it is here',
  );
  const follows = chooseAccelerator({ ...question, wishes: ['kvm'] });
  assert.match(follows.candidates[0]?.cpu ?? '', new RegExp(`-${lacking}`), 'the default model follows the host');
});

test('the model `host` is what KVM has of `max`, and KVM alone has it', () => {
  const onTcg = chooseAccelerator({ ...question, wishes: ['kvm', 'tcg'], cpu: 'host', device: '/nowhere/kvm' });
  assert.deepEqual(onTcg.candidates, []);
  assert.equal(onTcg.refusals[1], "the CPU model 'host' needs KVM; tcg has max");
});

test('whoever takes the host as it is misses nothing but what he names, on kvm', { skip: whyNoKvm() }, () => {
  const { features } = probeKvm();
  const lacking = ['rdseed', 'rdpid', 'la57', 'erms'].find((name) => !features.has(name));
  for (const model of ['host', 'max']) {
    const choice = chooseAccelerator({ ...question, wishes: ['kvm'], cpu: `${model},-fpu` });
    assert.equal(choice.candidates.length, 1);
    if (lacking === undefined) continue;
    const { cpu } = choice.candidates[0];
    assert.ok(cpu?.startsWith(`${model},-fpu,`) && cpu.split(',').includes(`-${lacking}`), cpu);
    const { refusals } = chooseAccelerator({ ...question, wishes: ['kvm'], cpu: `${model},+${lacking}` });
    assert.match(refusals[0], new RegExp(`lacks CPU features that the machine has: ${lacking}$`));
  }
});

test('a call that fails half-way leaves nothing open, on kvm', { skip: whyNoKvm() }, () => {
  const native = loadNative();
  for (const failing of [call.createVm, call.createVcpu, call.setTssAddress, call.setCpuid2, call.enableCapability]) {
    const open = new Set<number>();
    const track = (fd: number) => {
      if (fd >= 0) open.add(fd);
      return fd;
    };
    const host: Native = {
      ...native,
      open: (path) => track(native.open(path)),
      close: (fd) => {
        open.delete(fd);
        return native.close(fd);
      },
      ioctl: (fd, request, value) => {
        if (request === failing) return -1;
        const result = native.ioctl(fd, request, value);
        return request === call.createVm || request === call.createVcpu ? track(result) : result;
      },
      ioctlBytes: (fd, request, bytes) => (request === failing ? -1 : native.ioctlBytes(fd, request, bytes)),
      errno: () => constants.errno.EINVAL,
    };
    const { pc } = new TestPc({ cpu: 'base,+fpu,+tsc,+msr,+pae,+cx8,+apic,+fxsr,+sse,+sse2,+lm' });
    assert.throws(
      () =>
        createX86Kvm({
          cpus: pc.cpus,
          lapics: pc.lapics,
          model: pc.cpu.model,
          host: pc.acceleratorHost,
          memory: pc.engine.memory.buffer,
          attention: { begin: () => false, end: () => {} },
          tscHz: probeKvm().tscHz,
          debug: probeKvm(),
          native: host,
        }),
      (error) => error instanceof VringError && /^kvm-/.test(error.code) && /EINVAL/.test(error.message),
      String(failing),
    );
    assert.equal(open.size, 0, `call 0x${failing.toString(16)}`);
  }
});

test('more vCPUs than the host allows: one sentence, and the translator runs them, on kvm', {
  skip: whyNoKvm(),
}, () => {
  const native = loadNative();
  const limits: readonly number[] = [capability.MAX_VCPUS, capability.NR_VCPUS];
  const host: Native = {
    ...native,
    ioctl: (fd, request, value) =>
      request === call.checkExtension && limits.includes(Number(value)) ? 1 : native.ioctl(fd, request, value),
  };
  const machine = new TestPc({
    cpu: `base,+fpu,+tsc,+msr,+pae,+cx8,+apic,+fxsr,+sse,+sse2,+lm,+syscall`,
    ramBytes: 16 << 20,
    cpus: 2,
  });
  const { pc } = machine;
  let started = 0;
  assert.throws(
    () =>
      createX86Kvm({
        cpus: pc.cpus,
        lapics: pc.lapics,
        model: pc.cpu.model,
        host: pc.acceleratorHost,
        controllers: pc.controllers,
        memory: pc.engine.memory.buffer,
        attention: { begin: () => false, end: () => {} },
        tscHz: probeKvm().tscHz,
        debug: probeKvm(),
        startVcpu: () => void started++,
        native: host,
      }),
    { code: 'kvm-vcpus', message: "this host's KVM has at most 1 vCPU, not 2" },
  );
  assert.equal(started, 0);
  machine.boot(twoProcessors.image);
  assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
});

test('interrupt controllers that the kernel lacks: the board has them, and it is said; or it is refused, on kvm', {
  skip: whyNoKvm(),
}, () => {
  const native = loadNative();
  const without = (...names: (keyof typeof capability)[]): Native => {
    const lacking: readonly number[] = names.map((name) => capability[name]);
    return {
      ...native,
      ioctl: (fd, request, value) =>
        request === call.checkExtension && lacking.includes(Number(value)) ? 0 : native.ioctl(fd, request, value),
    };
  };
  const made = (host: Native, irqchip?: 'on' | 'split' | 'off') => {
    const { pc } = new TestPc({ cpu: 'base,+fpu,+tsc,+msr,+pae,+cx8,+apic,+fxsr,+sse,+sse2,+lm' });
    const said: string[] = [];
    const kvm = createX86Kvm({
      cpus: pc.cpus,
      lapics: pc.lapics,
      model: pc.cpu.model,
      host: pc.acceleratorHost,
      controllers: pc.controllers,
      irqchip,
      notice: (sentence) => said.push(sentence),
      memory: pc.engine.memory.buffer,
      attention: { begin: () => false, end: () => {} },
      tscHz: probeKvm().tscHz,
      debug: probeKvm(),
      native: host,
    });
    kvm.close();
    return said;
  };
  assert.deepEqual(made(native, 'off'), []);
  assert.deepEqual(made(without('PIT2')), [
    "KVM's interrupt controllers not used (kernel-irqchip=split): this host's KVM lacks KVM_CAP_PIT2",
  ]);
  assert.deepEqual(made(without('IRQCHIP', 'SPLIT_IRQCHIP')), [
    "KVM's interrupt controllers not used (kernel-irqchip=off): this host's KVM lacks KVM_CAP_IRQCHIP",
  ]);
  for (const [place, name] of [
    ['on', 'IRQCHIP'],
    ['on', 'IRQ_ROUTING'],
    ['split', 'SPLIT_IRQCHIP'],
  ] as const)
    assert.throws(() => made(without(name), place), {
      code: 'kvm-irqchip',
      message: `this host's KVM lacks KVM_CAP_${name}, which kernel-irqchip=${place} needs`,
    });
});

test('a vCPU stuck in the guest stops when its owner says so, on kvm', {
  skip: whyNoKvm(),
  timeout: 60_000,
}, async () => {
  const { image } = longModeGuest('stuck', 'cli\n.here: jmp .here\n', []);
  const machine = await createMachine({ accelerators: ['kvm'], kernel: image, ramBytes: 8 << 20 });
  assert.equal(machine.accelerator, 'kvm');
  await machine.start();
  await new Promise((resolve) => setTimeout(resolve, 100));
  await machine.pause({ timeoutMs: 10_000 });
  const { rip } = await machine.registers();
  assert.ok(rip > 0x100000n && rip < 0x101000n);
  await machine.resume();
  const end = await machine.powerOff({ timeoutMs: 10_000 });
  assert.deepEqual(end, { why: 'quit' });
  await machine.close();
});

test('the built-in guest says the same on both accelerators, on kvm', {
  skip: whyNoKvm(),
  timeout: 120_000,
}, async () => {
  const commands = [
    'help',
    'rings',
    'mem',
    'page',
    'pci',
    'syscall 5',
    'fault 3',
    'gp 2',
    'tick 3',
    'work 1',
    'port 4',
  ];
  const texts: string[] = [];
  for (const accelerator of ['tcg', 'kvm'] as const) {
    const machine = await createMachine({ accelerators: [accelerator], builtInGuest: true, ramBytes: 64 << 20 });
    const serial = machine.serial();
    let text = '';
    serial.onData((bytes) => {
      text += Buffer.from(bytes).toString('latin1');
    });
    await machine.start();
    for (const command of [...commands, 'crash', 'poweroff']) {
      await serial.waitForText('vring> ', { timeoutMs: 30_000 });
      await serial.write(`${command}\r`);
    }
    assert.deepEqual(await machine.ended, { why: 'poweroff' });
    await machine.close();
    texts.push(text);
  }
  assert.ok(texts[0].length > 2000);
  assert.equal(texts[1], texts[0]);
});
