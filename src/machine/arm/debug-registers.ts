/** A CPU's registers as gdb names them (GDB manual, G.5.1, AArch64 features). */
import { type ArmCpu, field, pstate, vreg, wholePstate, xreg } from '../../guest/arm/index.js';
import type { BoardRegister, DebugDescription } from '../board.js';

const CORE = 'org.gnu.gdb.aarch64.core';
const FLOAT = 'org.gnu.gdb.aarch64.fpu';
const FLAGS = 0xf0000000;

export function armDebugRegisters(cpus: readonly ArmCpu[]): DebugDescription {
  const core = (vcpu: number) => cpus[vcpu].core;
  const selected = (vcpu: number) => (core(vcpu).pstate & pstate.SPSEL) as 0 | 1;
  const registers: BoardRegister[] = [
    ...xreg.map(
      ({ offset }, n): BoardRegister => ({
        name: `x${n}`,
        bits: 64,
        feature: CORE,
        read: (vcpu) => core(vcpu).get64(offset),
        write: (vcpu, value) => core(vcpu).set64(offset, value),
      }),
    ),
    {
      name: 'sp',
      bits: 64,
      type: 'data_ptr',
      feature: CORE,
      read: (vcpu) => core(vcpu).getStack(selected(vcpu)),
      write: (vcpu, value) => core(vcpu).setStack(selected(vcpu), value),
    },
    {
      name: 'pc',
      bits: 64,
      type: 'code_ptr',
      feature: CORE,
      read: (vcpu) => core(vcpu).pc,
      write: (vcpu, value) => {
        core(vcpu).pc = value;
      },
    },
    {
      name: 'cpsr',
      bits: 32,
      feature: CORE,
      read: (vcpu) => BigInt(wholePstate(core(vcpu))),
      // The flags and the masks; a debugger does not change the exception level.
      write: (vcpu, value) => {
        const bits = Number(value & 0xffffffffn);
        core(vcpu).nzcv = bits & FLAGS;
        core(vcpu).setPstate((core(vcpu).pstate & ~pstate.DAIF) | (bits & pstate.DAIF));
      },
    },
    ...vreg.map(
      ({ offset }, n): BoardRegister => ({
        name: `v${n}`,
        bits: 128,
        type: 'vec128',
        feature: FLOAT,
        read: (vcpu) => core(vcpu).get64(offset) | (core(vcpu).get64(offset + 8) << 64n),
        write: (vcpu, value) => {
          core(vcpu).set64(offset, BigInt.asUintN(64, value));
          core(vcpu).set64(offset + 8, BigInt.asUintN(64, value >> 64n));
        },
      }),
    ),
    {
      name: 'fpsr',
      bits: 32,
      feature: FLOAT,
      read: (vcpu) => BigInt(core(vcpu).get32(field.fpsr) >>> 0),
      write: (vcpu, value) => core(vcpu).set32(field.fpsr, Number(value & 0xffffffffn)),
    },
    {
      name: 'fpcr',
      bits: 32,
      feature: FLOAT,
      read: (vcpu) => BigInt(core(vcpu).get32(field.fpcr) >>> 0),
      write: (vcpu, value) => {
        core(vcpu).set32(field.fpcr, Number(value & 0xffffffffn));
        core(vcpu).updateMode();
      },
    },
  ];
  return { architecture: 'aarch64', registers };
}
