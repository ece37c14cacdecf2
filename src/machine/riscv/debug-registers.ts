/** A hart's registers as gdb names them (GDB manual, G.5.14, RISC-V features). */
import {
  csrRows,
  floatNames,
  freg,
  integerNames,
  type RiscvCpu,
  readCsr,
  writeCsr,
  xreg,
} from '../../guest/riscv/index.js';
import { field } from '../../guest/riscv/state.js';
import type { BoardRegister, DebugDescription } from '../board.js';

const VECTOR_BITS = 128;
const FLOAT = 'org.gnu.gdb.riscv.fpu';
const floatCsrs = ['fflags', 'frm', 'fcsr'];

export function riscvDebugRegisters(cpus: readonly RiscvCpu[]): DebugDescription {
  const hart = (vcpu: number) => cpus[vcpu].hart;
  const csr = (name: string, bits: 32 | 64, feature: string): BoardRegister[] =>
    csrRows
      .filter((row) => row.name === name)
      .map((row) => ({
        name,
        bits,
        feature,
        read: (vcpu) => readCsr(hart(vcpu), row),
        write: (vcpu, value) => void writeCsr(hart(vcpu), row, value),
      }));
  // gdb's numbers have up to 128 bits: longer vectors are not shown.
  const hasVectors = cpus[0].model.extensions.has('v') && cpus[0].model.vlen === VECTOR_BITS;
  const vectors = Array.from({ length: hasVectors ? 32 : 0 }, (_, n): BoardRegister => {
    const at = field.vectors + (n * VECTOR_BITS) / 8;
    return {
      name: `v${n}`,
      bits: VECTOR_BITS,
      type: 'uint128',
      feature: 'org.gnu.gdb.riscv.vector',
      read: (vcpu) => hart(vcpu).get64(at) | (hart(vcpu).get64(at + 8) << 64n),
      write: (vcpu, value) => {
        hart(vcpu).set64(at, BigInt.asUintN(64, value));
        hart(vcpu).set64(at + 8, BigInt.asUintN(64, value >> 64n));
      },
    };
  });
  const registers: BoardRegister[] = [
    ...integerNames.map((name, n): BoardRegister => {
      const row = {
        // gdb's own name of x8.
        name: n === 8 ? 'fp' : name,
        bits: 64 as const,
        ...(n === 2 || n === 8 ? { type: 'data_ptr' } : n === 1 ? { type: 'code_ptr' } : {}),
        feature: 'org.gnu.gdb.riscv.cpu',
        read: (vcpu: number) => hart(vcpu).get64(xreg[n].offset),
      };
      return n === 0 ? row : { ...row, write: (vcpu, value) => hart(vcpu).set64(xreg[n].offset, value) };
    }),
    {
      name: 'pc',
      bits: 64,
      type: 'code_ptr',
      feature: 'org.gnu.gdb.riscv.cpu',
      read: (vcpu) => hart(vcpu).pc,
      write: (vcpu, value) => {
        hart(vcpu).pc = value;
      },
    },
    ...floatNames.map(
      (name, n): BoardRegister => ({
        name,
        bits: 64,
        type: 'ieee_double',
        feature: FLOAT,
        read: (vcpu) => hart(vcpu).get64(freg[n].offset),
        write: (vcpu, value) => hart(vcpu).set64(freg[n].offset, value),
      }),
    ),
    ...floatCsrs.flatMap((name) => csr(name, 32, FLOAT)),
    ...vectors,
    {
      name: 'priv',
      bits: 64,
      feature: 'org.gnu.gdb.riscv.virtual',
      read: (vcpu) => BigInt(hart(vcpu).privilege),
    },
    ...csrRows
      .filter(({ name }) => !floatCsrs.includes(name))
      .flatMap(({ name }) => csr(name, 64, 'org.gnu.gdb.riscv.csr')),
  ];
  return { architecture: 'riscv:rv64', registers };
}
