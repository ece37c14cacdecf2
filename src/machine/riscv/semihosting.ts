/**
 * Semihosting as RISC-V has it ("RISC-V Semihosting" 1.0): an EBREAK of four bytes between two instructions that do nothing, operation and
 * parameter in a0 and a1.
 */
import { type RiscvCpu, type Semihosting, xreg } from '../../guest/riscv/index.js';

/** SLLI x0, x0, 0x1f; EBREAK; SRAI x0, x0, 7. */
const MARKED = [0x01f01013, 0x00100073, 0x40705013];
const [A0, A1] = [10, 11];
const USER = 0;

/** The EBREAK at pc, if it is a call of the host. Gives whether it was. `word`: of the program, where it is mapped. */
export function callSemihosting(
  cpu: RiscvCpu,
  semihosting: Semihosting,
  word: (gpa: bigint) => number | undefined,
): boolean {
  const { hart } = cpu;
  if (hart.privilege === USER && !semihosting.userspace) return false;
  const isCall = MARKED.every((expected, n) => {
    const gpa = cpu.translate(BigInt.asUintN(64, hart.pc + BigInt(4 * n - 4)));
    return gpa !== undefined && word(gpa) === expected;
  });
  if (!isCall) return false;
  const result = semihosting.call({
    operation: hart.get32(xreg[A0].offset) >>> 0,
    parameter: hart.get64(xreg[A1].offset),
    wordBytes: 8,
    translate: (gva) => cpu.translate(gva),
  });
  hart.set64(xreg[A0].offset, BigInt.asUintN(64, result));
  return true;
}
