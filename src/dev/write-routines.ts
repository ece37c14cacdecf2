/**
 * Part of the build: stores the modules of the translator's routines for the usual options, one for each kind of guest code, and the built-in guest, so that no
 * machine has to make them.
 */

import { parseArmCpu } from '../guest/arm/index.js';
import { parseCpuOption } from '../guest/index.js';
import { parseRiscvCpu } from '../guest/riscv/index.js';
import { readStoredRoutines, storeGuest, storeRoutines } from '../host/node/routine-file.js';
import { hostRandomBits, hostTime } from '../host/node/time.js';
import { ArmVirt } from '../machine/arm/virt.js';
import { builtInGuest } from '../machine/built-in-guest/index.js';
import { PcMachine } from '../machine/pc.js';
import { RiscvVirt } from '../machine/riscv/virt.js';
import { DEFAULT_HOT_THRESHOLD } from '../vmm/machine-options.js';

const host = {
  time: hostTime,
  randomBits: hostRandomBits,
  service: () => false,
  routineStore: { get: readStoredRoutines, set: storeRoutines },
};
const options = { ramBytes: 16 * 1024 * 1024, serial: [], hotThreshold: DEFAULT_HOT_THRESHOLD };
new PcMachine(host, { ...options, model: parseCpuOption('qemu64') });
new RiscvVirt(host, { ...options, model: parseRiscvCpu('rv64') });
new ArmVirt(host, { ...options, model: parseArmCpu('max') });

storeGuest(builtInGuest());
