/** The CPU's registers as text, laid out as QEMU's `info registers`, and by name. */
import { field, pstate, vreg, xreg } from '../state.js';
import type { Core } from './core.js';
import { currentValue, hasRegister, registers } from './registers.js';

const hex = (value: bigint | number, digits: number) => value.toString(16).padStart(digits, '0');

/** The current stack pointer. */
const stackOf = (core: Core): bigint => core.getStack(core.selectedStack);

/** Process state with its flags, as an SPSR has it. */
export const wholePstate = (core: Core): number =>
  (core.pstate | core.nzcv | (core.branchType << pstate.BTYPE_SHIFT)) >>> 0;

export function dumpRegisters(core: Core, { float }: { readonly float: boolean }): string {
  const cells = [
    ` PC=${hex(core.pc, 16)}`,
    ...xreg.map(({ offset }, n) => `X${String(n).padStart(2, '0')}=${hex(core.get64(offset), 16)}`),
    ` SP=${hex(stackOf(core), 16)}`,
  ];
  const lines = Array.from({ length: cells.length / 3 }, (_, line) => cells.slice(3 * line, 3 * line + 3).join(' '));
  const state = wholePstate(core);
  const flags = [...'NZCV'].map((letter, n) => ((state >>> (31 - n)) & 1 ? letter : '-')).join('');
  const stack = state & pstate.SPSEL ? 'h' : 't';
  const type = core.model.features.has('bti') ? `  BTYPE=${core.branchType}` : '';
  const status = `PSTATE=${hex(state, 8)} ${flags} EL${core.el}${stack}${type}`;
  if (!float) return [...lines, status].join('\n');
  if (core.get32(field.floatTrapped) !== 0) return [...lines, `${status}    FPU disabled`].join('\n');
  const vectors = vreg.map(({ offset }, n) => {
    const [low, high] = [core.get64(offset), core.get64(offset + 8)];
    return `Q${String(n).padStart(2, '0')}=${hex(high, 16)}:${hex(low, 16)}`;
  });
  const pairs = Array.from({ length: 16 }, (_, line) => `${vectors[2 * line]} ${vectors[2 * line + 1]}`);
  const control = `FPCR=${hex(core.get32(field.fpcr) >>> 0, 8)} FPSR=${hex(core.get32(field.fpsr) >>> 0, 8)}`;
  return [...lines, `${status}    ${control}`, ...pairs].join('\n');
}

/** Every register by the manual's name, those of SIMD and of the system too. */
export function namedRegisters(core: Core): Readonly<Record<string, bigint>> {
  const vectors = vreg.map(({ offset }, n) => [`v${n}`, core.get64(offset) | (core.get64(offset + 8) << 64n)]);
  const system = registers.flatMap((row) => {
    if (!hasRegister(core.model, row) || row.consuming || row.present?.(core) === false) return [];
    const value = currentValue(core, row);
    return value === undefined ? [] : [[row.name, value]];
  });
  return {
    ...Object.fromEntries(xreg.map(({ offset }, n) => [`x${n}`, core.get64(offset)])),
    sp: stackOf(core),
    pc: core.pc,
    pstate: BigInt(wholePstate(core)),
    ...Object.fromEntries(vectors),
    ...Object.fromEntries(system),
  };
}
