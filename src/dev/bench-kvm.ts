/**
 * What a VM exit costs: OUT to a TypeScript device of a whole machine, beside the bare loop of KVM_RUN through koffi with the same
 * guest, in turn in one run. Where there is no KVM it is said.
 */
import { VringError } from '../base/index.js';
import { parseCpuOption } from '../guest/index.js';
import { call } from '../host/node/kvm/abi.js';
import { probeKvm } from '../host/node/kvm/probe.js';
import { KvmSystem } from '../host/node/kvm/system.js';
import { KvmVcpu } from '../host/node/kvm/vcpu.js';
import { createX86Kvm } from '../host/node/kvm/x86-accelerator.js';
import { hostRandomBits, hostTime } from '../host/node/time.js';
import { PcMachine } from '../machine/pc.js';

const PORT = 0x3a0;
const EXITS = 20_000;
const ROUNDS = 7;
/** mov dx, PORT; again: out dx, al; jmp again: in real mode at 0:0x1000. */
const code = [0xba, PORT & 255, PORT >> 8, 0xee, 0xeb, 0xfd];
const CODE_GPA = 0x1000;

/** Microseconds an exit of the bare loop takes; each call measures anew. */
function bareLoop(): { measure(): number; close(): void } {
  const system = new KvmSystem();
  const vm = system.createVm();
  vm.call('set aside a task-state segment', call.setTssAddress, 0xfeffd000);
  const vcpu = new KvmVcpu(vm, 0);
  const memory = new Uint8Array(new ArrayBuffer(2 * 65536));
  // The first page of it that is a whole one.
  const hva = Number(-system.native.addressOf(memory) & 4095n);
  memory.set(code, hva + CODE_GPA);
  vm.setMemory(memory.buffer);
  vm.setRamBlocks([{ gpa: 0, size: 65536, hva, readonly: false }]);
  const sregs = new Uint8Array(new ArrayBuffer(312));
  vcpu.call('give its control registers', call.getSregs, sregs);
  const view = new DataView(sregs.buffer);
  view.setBigUint64(0, 0n, true);
  view.setUint16(12, 0, true);
  vcpu.call('take control registers', call.setSregs, sregs);
  const regs = new DataView(new ArrayBuffer(144));
  regs.setBigUint64(128, BigInt(CODE_GPA), true);
  regs.setBigUint64(136, 2n, true);
  vcpu.call('take registers', call.setRegs, new Uint8Array(regs.buffer));
  const { native } = system;
  return {
    measure() {
      const start = performance.now();
      for (let i = 0; i < EXITS; i++) native.ioctl(vcpu.fd, call.run, 0);
      return ((performance.now() - start) * 1000) / EXITS;
    },
    close() {
      vcpu.close();
      vm.close();
      system.close();
    },
  };
}

/** The same with a machine around it. */
function machineLoop(): { measure(): number; close(): void } {
  let count = 0;
  const pc: PcMachine = new PcMachine(
    { time: hostTime, randomBits: hostRandomBits, service: () => false },
    {
      ramBytes: 4 << 20,
      model: parseCpuOption('base,+fpu,+tsc,+msr,+pae,+cx8,+apic,+fxsr,+sse,+sse2,+lm,+hypervisor'),
      serial: [],
      hotThreshold: 0,
      firmware: { image: new Uint8Array(65536) },
      addDevices: (board) =>
        board.ports.add({
          name: 'bench',
          start: PORT,
          size: 1,
          handler: {
            read: () => 0xff,
            write: () => {
              if (++count >= EXITS) board.exit(0);
            },
          },
        }),
    },
  );
  pc.tscHz = probeKvm().tscHz;
  pc.setAccelerator(
    createX86Kvm({
      cpus: pc.cpus,
      lapics: pc.lapics,
      model: pc.cpu.model,
      host: pc.acceleratorHost,
      memory: pc.engine.memory.buffer,
      attention: { begin: () => false, end: () => {} },
      tscHz: pc.tscHz,
      debug: probeKvm(),
    }),
  );
  pc.start();
  pc.memory.dma.write(CODE_GPA, Uint8Array.from(code));
  const { vcpu } = pc.cpu;
  vcpu.setSegment(1, 0, 0n, 0xffff, 0x9b00);
  vcpu.pc = BigInt(CODE_GPA);
  vcpu.updateMode();
  return {
    measure() {
      count = 0;
      const start = performance.now();
      pc.run();
      return ((performance.now() - start) * 1000) / EXITS;
    },
    close: () => pc.accelerator.close(),
  };
}

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1];

export function printKvmBench(): void {
  try {
    probeKvm();
  } catch (error) {
    if (!(error instanceof VringError)) throw error;
    console.log(`exit to a device: no KVM: ${error.message}`);
    return;
  }
  const machine = machineLoop();
  const bare = bareLoop();
  const [a, b]: [number[], number[]] = [[], []];
  // Both compiled first.
  machine.measure();
  bare.measure();
  for (let i = 0; i < ROUNDS; i++) {
    a.push(machine.measure());
    b.push(bare.measure());
  }
  const [ours, theirs] = [median(a), median(b)];
  console.log(
    `exit to a device: vring ${ours.toFixed(2)} µs   bare loop ${theirs.toFixed(2)} µs   ratio ${(ours / theirs).toFixed(2)}`,
  );
  machine.close();
  bare.close();
}
