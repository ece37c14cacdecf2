/** The board `virt` with an AArch32 CPU for a machine's thread. */
import { Arm32Cpu, parseArm32Cpu, STATE_BYTES } from '../../guest/arm32/index.js';
import { arm32DebugRegisters } from '../../machine/arm/debug-registers32.js';
import { zImages } from '../../machine/arm/load-kernel.js';
import { Arm32Trace } from '../../machine/arm/trace32.js';
import { ArmVirt } from '../../machine/arm/virt.js';
import type { BoardMaker } from './board-maker.js';

export const arm32VirtMaker: BoardMaker = (host, { cpu, hpet: _hpet, acpi: _acpi, arm, ...plan }) => {
  const model = { ...parseArm32Cpu(cpu), semihosting: plan.semihosting !== undefined };
  const narrow = {
    makeCpu: (board: ConstructorParameters<typeof Arm32Cpu>[0]) => new Arm32Cpu(board, model),
    stateBytes: STATE_BYTES,
    images: zImages,
    debugRegisters: arm32DebugRegisters,
    Trace: Arm32Trace,
  };
  return {
    board: new ArmVirt(host, {
      ...plan,
      model,
      narrow,
      acpi: arm?.acpi,
      highmem: arm?.highmem,
      treeRandomness: arm?.treeRandomness,
    }),
  };
};
