/**
 * Part of the build: stores the modules of the translator's routines for the usual options, one for each kind of guest code, and the built-in guest, so that no
 * machine has to make them. `arm`: AArch32's alone. Its routines are AArch64's and more, and a process numbers them in the order of loading.
 */

import { setEngineFlags } from '../host/node/engine-flags.js';
import { readStoredRoutines, storeGuest, storeRoutines } from '../host/node/routine-file.js';
import { hostRandomBits, hostTime } from '../host/node/time.js';
import { findArchitecture } from '../vmm/architectures.js';
import { DEFAULT_HOT_THRESHOLD } from '../vmm/machine-options.js';

setEngineFlags();
const host = {
  time: hostTime,
  randomBits: hostRandomBits,
  service: () => false,
  routineStore: { get: readStoredRoutines, set: storeRoutines },
};
const options = { ramBytes: 16 * 1024 * 1024, serial: [], hotThreshold: DEFAULT_HOT_THRESHOLD };

async function storeOthers(): Promise<void> {
  const { parseArmCpu } = await import('../guest/arm/index.js');
  const { parseCpuOption } = await import('../guest/index.js');
  const { parseRiscvCpu } = await import('../guest/riscv/index.js');
  const { ArmVirt } = await import('../machine/arm/virt.js');
  const { builtInGuest } = await import('../machine/built-in-guest/index.js');
  const { PcMachine } = await import('../machine/pc.js');
  const { RiscvVirt } = await import('../machine/riscv/virt.js');
  new PcMachine(host, { ...options, model: parseCpuOption('qemu64') });
  new RiscvVirt(host, { ...options, model: parseRiscvCpu('rv64') });
  new ArmVirt(host, { ...options, model: parseArmCpu('max') });
  storeGuest(builtInGuest());
}

/** As a machine's thread loads them (src/vmm/machine-worker.ts). */
async function storeArm32(): Promise<void> {
  const { defaultCpu, machines, loadBoard } = findArchitecture('arm');
  (await loadBoard())(host, {
    ...options,
    cpu: defaultCpu,
    machine: machines[0].name,
    hpet: false,
    acpi: false,
    arm: undefined,
    microvm: undefined,
    firmware: undefined,
  });
}

await (process.argv[2] === 'arm' ? storeArm32() : storeOthers());
