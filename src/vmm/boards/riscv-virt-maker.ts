/** RISC-V's board `virt` for a machine's thread. */
import { parseRiscvCpu } from '../../guest/riscv/index.js';
import { RiscvVirt } from '../../machine/riscv/virt.js';
import type { BoardMaker } from './board-maker.js';

export const riscvVirtMaker: BoardMaker = (host, { cpu, hpet: _hpet, acpi: _acpi, riscv, ...plan }) => ({
  board: new RiscvVirt(host, { ...plan, model: parseRiscvCpu(cpu), aia: riscv?.aia, bare: riscv?.bare }),
});
