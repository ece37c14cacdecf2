/**
 * Part of the build: stores the module of the translator's routines for the usual options, and the built-in guest, so that no
 * machine has to make them.
 */
import { parseCpuOption } from '../guest/index.js';
import { readStoredRoutines, storeGuest, storeRoutines } from '../host/node/routine-file.js';
import { hostRandomBits, hostTime } from '../host/node/time.js';
import { builtInGuest } from '../machine/built-in-guest/index.js';
import { PcMachine } from '../machine/pc.js';
import { DEFAULT_HOT_THRESHOLD } from '../vmm/machine-options.js';

new PcMachine(
  {
    time: hostTime,
    randomBits: hostRandomBits,
    service: () => false,
    routineStore: { get: readStoredRoutines, set: storeRoutines },
  },
  {
    ramBytes: 16 * 1024 * 1024,
    model: parseCpuOption('qemu64'),
    serial: [],
    hotThreshold: DEFAULT_HOT_THRESHOLD,
  },
);

storeGuest(builtInGuest());
