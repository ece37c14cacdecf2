/** AArch64's board `virt` for a machine's thread. */
import { parseArmCpu } from '../../guest/arm/index.js';
import { ArmVirt } from '../../machine/arm/virt.js';
import type { BoardMaker } from './board-maker.js';

export const armVirtMaker: BoardMaker = (host, { cpu, hpet: _hpet, acpi: _acpi, arm, ...plan }) => ({
  board: new ArmVirt(host, {
    ...plan,
    model: parseArmCpu(cpu),
    gic: { version: arm?.gicVersion ?? 2, its: arm?.its ?? true },
    acpi: arm?.acpi,
    highmem: arm?.highmem,
    treeRandomness: arm?.treeRandomness,
  }),
});
