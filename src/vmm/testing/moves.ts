/** A running PC that moves from one accelerator to the other and back, and is compared before and after. */
import assert from 'node:assert/strict';
import type { X86Cpu } from '../../guest/x86/system/cpu.js';
import type { KvmAccelerator } from '../../host/node/kvm/accelerator.js';
import { probeKvm } from '../../host/node/kvm/probe.js';
import { createX86Kvm, type X86KvmOptions } from '../../host/node/kvm/x86-accelerator.js';
import type { TestPc } from '../../machine/testing/test-pc.js';
import { doorbellAttention, startNotifyThread, startVcpuThread } from '../boards/pc-maker.js';
import { doorbellBytes } from '../worker-protocol.js';

/** KVM for a machine of a test. */
export function testKvm(
  { pc }: TestPc,
  options: Pick<X86KvmOptions, 'irqchip' | 'native' | 'asksForNotify' | 'notice'> &
    Partial<Pick<X86KvmOptions, 'debug'>>,
) {
  pc.tscHz = probeKvm().tscHz;
  const doorbell = new SharedArrayBuffer(doorbellBytes);
  return createX86Kvm({
    cpus: pc.cpus,
    lapics: pc.lapics,
    model: pc.cpu.model,
    host: pc.acceleratorHost,
    controllers: pc.controllers,
    ...options,
    memory: pc.engine.memory.buffer,
    attention: doorbellAttention(new Int32Array(doorbell)),
    tscHz: pc.tscHz,
    debug: options.debug ?? probeKvm(),
    startVcpu: (config) => startVcpuThread({ ...config, doorbell }),
    startNotify: (config) => startNotifyThread({ ...config, doorbell }),
  });
}

/** Registers of a vCPU; the time-stamp counter's offset, which goes on meanwhile, apart. */
function registersOf(cpu: X86Cpu) {
  const msrs: Record<string, string> = {};
  const indices = [
    0x174, 0x175, 0x176, 0x277, 0x2ff, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102,
  ];
  for (const index of [...indices, 0x1b, ...Array.from({ length: 16 }, (_, i) => 0x200 + i)])
    msrs[index.toString(16)] = String(cpu.readMsr(index));
  return { text: cpu.dump({ float: true }), registers: cpu.registers(), msrs };
}

/** Everything but RAM that a move must leave as it is. */
const stateOf = ({ pc }: TestPc) => ({
  cpus: pc.cpus.map(registersOf),
  devices: pc.saveDevices().map(([name, bytes]) => [name, Buffer.from(bytes).toString('hex')]),
});

export class Mover {
  readonly #count: (machine: TestPc) => number;
  #machine: TestPc | undefined;
  #leaveAt = Infinity;
  #from = 0;

  /** `count` grows while the guest gets on. */
  constructor(count: (machine: TestPc) => number) {
    this.#count = count;
  }

  /** For the machine's service: true once it has stayed long enough and has counted on, or is given up. */
  service(): boolean {
    const now = performance.now();
    return (
      this.#machine !== undefined &&
      now > this.#leaveAt &&
      (this.#count(this.#machine) !== this.#from || now > this.#leaveAt + 1000)
    );
  }

  /** Moves a machine that the translator runs. Gives how far it has counted on each. */
  move(machine: TestPc, kvm: KvmAccelerator, { moves, stayMs }: { moves: number; stayMs: number }) {
    const { pc } = machine;
    // The guest itself need not do anything that would end its turn.
    const look = pc.clock.createTimer('look', (now) => look.arm(now + 2e6));
    look.arm(2e6);
    const counts = { tcg: 0, kvm: 0 };
    const ramBefore = new Uint8Array(machine.ram.length);
    let tsc = 0n;
    this.#machine = machine;
    for (let i = 0; i < moves; i++) {
      this.#from = this.#count(machine);
      this.#leaveAt = performance.now() + stayMs;
      assert.deepEqual(machine.run(), { why: 'stopped' });
      pc.clock.pause();
      pc.accelerator.synchronize();
      counts[pc.accelerator.name] += this.#count(machine) - this.#from;
      const left = stateOf(machine);
      ramBefore.set(machine.ram);
      assert.ok(pc.cpu.tscNow() > tsc, 'the time-stamp counter goes on');
      tsc = pc.cpu.tscNow();
      pc.setAccelerator(pc.accelerator === kvm ? pc.engine : kvm);
      // Through KVM's registers and back home.
      if (pc.accelerator === kvm) kvm.exchange();
      assert.deepEqual(stateOf(machine), left, `move ${i}`);
      assert.equal(Buffer.compare(machine.ram, ramBefore), 0, `RAM at move ${i}`);
    }
    this.#machine = undefined;
    look.cancel();
    return counts;
  }
}
