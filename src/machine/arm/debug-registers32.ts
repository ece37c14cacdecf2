/** An AArch32 CPU's registers as gdb names them (GDB manual, G.5.2, ARM features). */
import type { ArmCpu } from '../../guest/arm/index.js';
import { type Core32, cpsr, field, reg, vreg } from '../../guest/arm32/index.js';
import type { BoardRegister, DebugDescription } from '../board.js';

const CORE = 'org.gnu.gdb.arm.core';
const FLOAT = 'org.gnu.gdb.arm.vfp';
const names = ['sp', 'lr'] as const;

export function arm32DebugRegisters(cpus: readonly ArmCpu[]): DebugDescription {
  const core = (vcpu: number) => cpus[vcpu].core as Core32;
  const word = (value: bigint) => Number(BigInt.asUintN(32, value)) | 0;
  const registers: BoardRegister[] = [
    ...reg.map(
      ({ offset }, n): BoardRegister => ({
        name: names[n - 13] ?? `r${n}`,
        bits: 32,
        type: n === 13 ? 'data_ptr' : 'uint32',
        feature: CORE,
        read: (vcpu) => core(vcpu).get64(offset),
        write: (vcpu, value) => core(vcpu).set64(offset, BigInt.asUintN(32, value)),
      }),
    ),
    {
      name: 'pc',
      bits: 32,
      type: 'code_ptr',
      feature: CORE,
      read: (vcpu) => BigInt(core(vcpu).address >>> 0),
      // The instruction set stays.
      write: (vcpu, value) => core(vcpu).goTo(word(value), core(vcpu).thumb),
    },
    {
      name: 'cpsr',
      bits: 32,
      type: 'uint32',
      feature: CORE,
      read: (vcpu) => BigInt(core(vcpu).cpsr >>> 0),
      write: (vcpu, value) => {
        const status = word(value);
        core(vcpu).setCpsr(status);
        core(vcpu).goTo(core(vcpu).address, (status & cpsr.T) !== 0);
      },
    },
    ...Array.from({ length: 32 }, (_, n): BoardRegister => {
      const offset = vreg[n >> 1].offset + 8 * (n & 1);
      return {
        name: `d${n}`,
        bits: 64,
        type: 'ieee_double',
        feature: FLOAT,
        read: (vcpu) => core(vcpu).get64(offset),
        write: (vcpu, value) => core(vcpu).set64(offset, BigInt.asUintN(64, value)),
      };
    }),
    {
      name: 'fpscr',
      bits: 32,
      type: 'int',
      feature: FLOAT,
      read: (vcpu) => BigInt(core(vcpu).fpscr >>> 0),
      write: (vcpu, value) => core(vcpu).setFpscr(word(value)),
    },
    {
      name: 'fpexc',
      bits: 32,
      type: 'int',
      feature: 'org.gnu.gdb.arm.vfp-sysregs',
      read: (vcpu) => BigInt(core(vcpu).get32(field.fpexc) >>> 0),
    },
  ];
  // The pc of Thumb code has bit 0 set.
  return { architecture: 'arm', registers, places: (address) => [address & ~1n, address | 1n] };
}
