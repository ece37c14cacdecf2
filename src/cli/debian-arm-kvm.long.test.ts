/**
 * A hypervisor in the guest: Debian's arm64 kernel starts KVM, and a virtual machine in it takes a timer's interrupt from the virtual
 * interfaces of a GICv3 and of a GICv2.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GuestProgram, scriptOf } from '../dev/arm-bare/linux-program.js';
import { Program } from '../dev/arm-bare/program.js';
import { runDebian, timeout, whyNoDebian } from './testing-debian.js';

const skip = await whyNoDebian('arm64');

const DATA = 0x41_0000;
const GUEST = 0x42_0000;
const GUEST_BYTES = 0x1_0000;
const call = { ioctl: 29, openat: 56, write: 64, exit: 93, mmap: 222 } as const;
const kvm = {
  CREATE_VM: 0xae01,
  GET_VCPU_MMAP_SIZE: 0xae04,
  CREATE_VCPU: 0xae41,
  SET_USER_MEMORY_REGION: 0x4020ae46,
  RUN: 0xae80,
  ARM_VCPU_INIT: 0x4020aeae,
  ARM_PREFERRED_TARGET: 0x8020aeaf,
  CREATE_DEVICE: 0xc00caee0,
  SET_DEVICE_ATTR: 0x4018aee1,
} as const;
const EXIT_MMIO = 6;
const TIMER = 27;

/** What the virtual machine has at 0x0800_0000 and beyond; a byte that is written to OUT is printed, 0 ends it. */
const GICD = 0x800_0000;
const GICC = 0x801_0000;
const GICR = 0x80a_0000;
const OUT = 0xa00_0000;

/** At address 0 of the virtual machine. */
function guest(version: 2 | 3): Program {
  const p = new Program();
  p.here = 0;
  const store = (at: number, value: number) => {
    p.set(1, at);
    p.set(2, value);
    p.put('str wd, [rn, imm]', { rd: 2, rn: 1 });
  };
  const print = () => {
    p.set(1, OUT);
    p.put('strb wd, [rn, imm]', { rd: 2, rn: 1 });
  };
  p.write('VBAR_EL1', 0x800);
  if (version === 3) {
    store(GICD, 2);
    store(GICR + 0x14, 0);
    store(GICR + 0x1_0080, 0xffff_ffff);
    store(GICR + 0x1_0100, 1 << TIMER);
    p.write('ICC_SRE_EL1', 7);
    p.write('ICC_PMR_EL1', 0xff);
    p.write('ICC_IGRPEN1_EL1', 1);
  } else {
    store(GICD, 1);
    store(GICD + 0x100, 1 << TIMER);
    store(GICC + 4, 0xff);
    store(GICC, 1);
  }
  p.set(2, 'a'.charCodeAt(0));
  print();
  p.write('CNTV_TVAL_EL0', 100_000);
  p.write('CNTV_CTL_EL0', 1);
  p.put('msr.daifclr imm', { imm: 2 });
  const wait = p.here;
  p.put('wfi');
  p.branch('b', wait);
  assert.ok(p.here < 0x800);
  p.here = 0x800 + 0x280;
  p.branch('b', 0x1000);
  p.here = 0x1000;
  p.write('CNTV_CTL_EL0', 0);
  if (version === 3) {
    p.mrs(3, 'ICC_IAR1_EL1');
    p.msr('ICC_EOIR1_EL1', 3);
  } else {
    p.set(4, GICC);
    p.put('ldr wd, [rn, imm]', { rd: 3, rn: 4, imm: 0xc });
    p.put('str wd, [rn, imm]', { rd: 3, rn: 4, imm: 0x10 });
  }
  // The interrupt's number as a letter.
  p.put('add rd|sp, rn|sp, imm', { rd: 2, rn: 3, sf: 1, imm: 'A'.charCodeAt(0) - TIMER });
  print();
  p.set(2, 0);
  print();
  return p;
}

/** The user of KVM. Its status is 0, or the number of the step that failed. */
function user(version: 2 | 3): Buffer {
  const p = new GuestProgram();
  const [KVM, VM, VCPU, RUN, DEVICE] = [20, 21, 22, 23, 24];
  let step = 0;
  const check = () => {
    step++;
    const good = p.forward('tbz xd, imm2', { rd: 0, imm2: 63 });
    p.call(call.exit, step);
    good();
  };
  const ioctl = (on: number, request: number, argument: number) => {
    p.set(1, request);
    p.set(2, argument);
    p.move(0, on);
    p.call(call.ioctl);
    check();
  };
  const place = (() => {
    let at = DATA;
    return (bytes: number) => {
      at += bytes;
      return at - bytes;
    };
  })();
  const path = place(16);
  p.data(path, Buffer.from('/dev/kvm'));
  const openat = () => {
    p.set(0, -100);
    p.set(1, path);
    p.set(2, 2);
    p.set(3, 0);
    p.call(call.openat);
    check();
  };
  openat();
  p.move(KVM, 0);
  ioctl(KVM, kvm.CREATE_VM, 0);
  p.move(VM, 0);
  const region = place(32);
  p.word64(region + 16, GUEST_BYTES);
  p.word64(region + 24, GUEST);
  ioctl(VM, kvm.SET_USER_MEMORY_REGION, region);
  ioctl(VM, kvm.CREATE_VCPU, 0);
  p.move(VCPU, 0);
  const device = place(16);
  p.word64(device, version === 3 ? 7 : 5);
  ioctl(VM, kvm.CREATE_DEVICE, device);
  p.set(9, device);
  p.put('ldr wd, [rn, imm]', { rd: DEVICE, rn: 9, imm: 4 });
  const init = place(32);
  ioctl(VM, kvm.ARM_PREFERRED_TARGET, init);
  ioctl(VCPU, kvm.ARM_VCPU_INIT, init);
  const attribute = (group: number, kind: number, value: number) => {
    const at = place(32);
    p.word64(at, BigInt(group) << 32n);
    p.word64(at + 8, kind);
    p.word64(at + 16, at + 24);
    p.word64(at + 24, value);
    ioctl(DEVICE, kvm.SET_DEVICE_ATTR, at);
  };
  attribute(0, version === 3 ? 2 : 0, GICD);
  attribute(0, version === 3 ? 3 : 1, version === 3 ? GICR : GICC);
  attribute(4, 0, 0);
  ioctl(KVM, kvm.GET_VCPU_MMAP_SIZE, 0);
  p.move(1, 0);
  p.move(4, VCPU);
  p.set(0, 0);
  p.set(2, 3);
  p.set(3, 1);
  p.set(5, 0);
  p.call(call.mmap);
  check();
  p.move(RUN, 0);
  const again = p.here;
  ioctl(VCPU, kvm.RUN, 0);
  step++;
  p.put('ldr wd, [rn, imm]', { rd: 9, rn: RUN, imm: 8 });
  p.put('sub rd|sp, rn|sp, imm', { rd: 9, rn: 9, sf: 1, imm: EXIT_MMIO });
  const isMmio = p.forward('cbz rd', { rd: 9, sf: 1 });
  p.call(call.exit, step);
  isMmio();
  p.put('ldrb wd, [rn, imm]', { rd: 9, rn: RUN, imm: 40 });
  const isText = p.forward('cbnz rd', { rd: 9 });
  p.call(call.exit, 0);
  isText();
  p.put('add rd|sp, rn|sp, imm', { rd: 1, rn: RUN, sf: 1, imm: 40 });
  p.set(0, 1);
  p.set(2, 1);
  p.call(call.write);
  p.branch('b', again);
  const code = guest(version);
  const image = Buffer.alloc(0x1100);
  for (const [at, word] of code.words) image.writeUInt32LE(word >>> 0, at);
  p.data(GUEST, image);
  return p.elf(GUEST + GUEST_BYTES);
}

for (const [version, mode] of [
  [3, 'vhe'],
  [3, 'nvhe'],
  [2, 'vhe'],
] as const) {
  test(`KVM with a GICv${version} (${mode}): a virtual machine's timer interrupts it`, { skip, timeout }, () => {
    const options = ['-M', `virt,virtualization=on,gic-version=${version}`];
    if (mode === 'nvhe') options.push('-append', 'kvm-arm.mode=nvhe');
    const script = ['dmesg | grep -i "kvm" >&2', scriptOf(user(version))].join('\n');
    const { status, stdout, stderr } = runDebian('arm64', options, script);
    assert.deepEqual({ status, stdout }, { status: 0, stdout: 'aA' }, stderr);
    assert.match(stderr, mode === 'vhe' ? /VHE mode initialized successfully/ : /nVHE mode initialized successfully/);
  });
}
