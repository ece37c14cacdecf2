/** The boards `pc`, `q35` and `microvm` for a machine's thread, and KVM for it. */
import { Worker } from 'node:worker_threads';
import type { Accelerator } from '../../accel/index.js';
import { parseCpuOption } from '../../guest/index.js';
import type { KvmAttention } from '../../host/node/kvm/accelerator.js';
import { Microvm } from '../../machine/microvm.js';
import { PcMachine } from '../../machine/pc.js';
import type { X86Machine } from '../../machine/x86-machine.js';
import type { NotifyWorkerConfig } from '../notify-worker.js';
import type { VcpuWorkerConfig } from '../vcpu-worker.js';
import { doorbellWord } from '../worker-protocol.js';
import type { BoardMaker, KvmRequest } from './board-maker.js';

export const pcMaker: BoardMaker = (host, { cpu, machine, ...plan }) => {
  const model = parseCpuOption(cpu);
  if (machine === 'microvm') {
    const microvm = new Microvm(host, { ...plan, model });
    return { board: microvm, openKvm: (request) => openKvm(microvm, request) };
  }
  const chipset = machine === 'q35' ? 'q35' : 'i440fx';
  const pc = new PcMachine(host, { ...plan, chipset, model });
  return { board: pc, openKvm: (request) => openKvm(pc, request) };
};

/** Whoever rings the doorbell reaches the thread that is in the guest. */
export const doorbellAttention = (doorbell: Int32Array): KvmAttention => ({
  begin(thread) {
    Atomics.store(doorbell, doorbellWord.guestThread, thread);
    return Atomics.load(doorbell, doorbellWord.rung) !== 0;
  },
  end: () => void Atomics.store(doorbell, doorbellWord.guestThread, 0),
});

/** Starts the thread of a further vCPU. */
export function startVcpuThread(config: VcpuWorkerConfig): void {
  const worker = new Worker(new URL('../vcpu-worker.js', import.meta.url), { workerData: config, stdin: false });
  worker.unref();
}

/** Starts the thread that waits for notifications. */
export function startNotifyThread(config: NotifyWorkerConfig): void {
  const worker = new Worker(new URL('../notify-worker.js', import.meta.url), { workerData: config, stdin: false });
  worker.unref();
}

async function openKvm(
  pc: X86Machine,
  { config, doorbell, cpu, tscHz = pc.tscHz, debug, notice }: KvmRequest,
): Promise<Accelerator> {
  const { createX86Kvm } = await import('../../host/node/kvm/x86-accelerator.js');
  const model = cpu === config.cpu ? pc.cpu.model : parseCpuOption(cpu);
  const made = createX86Kvm({
    cpus: pc.cpus,
    lapics: pc.lapics,
    model,
    host: pc.acceleratorHost,
    controllers: pc.controllers,
    irqchip: config.kernelIrqchip,
    notice,
    memory: pc.engine.memory.buffer,
    attention: doorbellAttention(doorbell),
    tscHz,
    debug,
    startVcpu: (secondary) => startVcpuThread({ ...secondary, doorbell: config.doorbell }),
    startNotify: (notify) => startNotifyThread({ ...notify, doorbell: config.doorbell }),
    asksForNotify: config.devices.some((device) => 'ioeventfd' in device && device.ioeventfd === true),
    shutdown: () => pc.shutdown(),
  });
  if (model !== pc.cpu.model) for (const each of pc.cpus) each.setModel(model);
  pc.tscHz = tscHz;
  return made;
}
