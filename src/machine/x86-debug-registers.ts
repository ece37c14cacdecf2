/** An x86 vCPU's registers as gdb names them. */
import { x86RegisterViews as registerViews, type X86Cpu } from '../guest/index.js';
import type { BoardRegister, DebugDescription } from './board.js';

const CORE = 'org.gnu.gdb.i386.core';

/** Registers of gdb's core feature that the machine keeps in no form that gdb could want: they read 0. */
const absent = ['ftag', 'fiseg', 'fioff', 'foseg', 'fooff', 'fop'];
const types: Readonly<Record<string, string>> = {
  eflags: 'i386_eflags',
  rip: 'code_ptr',
  rsp: 'data_ptr',
  rbp: 'data_ptr',
};

function describe(name: string, bits: 32 | 64 | 80 | 128) {
  if (/^xmm/.test(name)) return { name, bits, type: 'vec128', feature: 'org.gnu.gdb.i386.sse' };
  if (name === 'mxcsr') return { name, bits, type: 'i386_mxcsr', feature: 'org.gnu.gdb.i386.sse' };
  if (/^[fg]s_base$/.test(name)) return { name, bits, feature: 'org.gnu.gdb.i386.segments' };
  if (/^cr|efer|k_gs_base/.test(name)) {
    const feature = 'vring.i386.system';
    return /^(cr[034]|efer)$/.test(name) ? { name, bits, type: `x86_${name}`, feature } : { name, bits, feature };
  }
  const type = bits === 80 ? 'i387_ext' : types[name];
  return type === undefined ? { name, bits, feature: CORE } : { name, bits, type, feature: CORE };
}

/** What a vCPU without long mode has in place of the 64-bit registers: gdb knows it as i386, whose packets are shorter. */
const NARROW = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi', 'eip'];
const narrowTypes: Readonly<Record<string, string>> = { eip: 'code_ptr', esp: 'data_ptr', ebp: 'data_ptr' };
const wideAlone = /^(r\d+|xmm(8|9|1\d)|[fg]s_base|k_gs_base|efer)$/;

function narrow(registers: readonly BoardRegister[]): BoardRegister[] {
  const general = NARROW.flatMap((name) => {
    const wide = registers.find((register) => register.name === `r${name.slice(1)}`);
    if (!wide) return [];
    const read = (vcpu: number): bigint => BigInt.asUintN(32, wide.read(vcpu));
    return [{ ...wide, name, bits: 32 as const, type: narrowTypes[name], read }];
  });
  const names = new Set(NARROW.map((name) => `r${name.slice(1)}`));
  const others = registers.filter(({ name }) => !names.has(name) && !wideAlone.test(name));
  return [
    ...general,
    ...others.map((register): BoardRegister => {
      if (!/^cr/.test(register.name)) return register;
      const { type: _, ...plain } = register;
      return { ...plain, bits: 32, read: (vcpu) => BigInt.asUintN(32, register.read(vcpu)) };
    }),
  ];
}

export function x86DebugRegisters(cpus: readonly X86Cpu[]): DebugDescription {
  const registers = registerViews.flatMap((view): BoardRegister[] => {
    const { write } = view;
    const row: BoardRegister = {
      ...describe(view.name, view.bits),
      read: (vcpu) => view.read(cpus[vcpu].vcpu),
      ...(write ? { write: (vcpu: number, value: bigint) => write(cpus[vcpu].vcpu, value) } : {}),
    };
    if (view.name !== 'fstat') return [row];
    return [row, ...absent.map((name) => ({ ...describe(name, 32), read: () => 0n }))];
  });
  if (!cpus[0].hasLongMode) return { architecture: 'i386', registers: narrow(registers) };
  return { architecture: 'i386:x86-64', registers };
}
