/** The hart's registers as text, laid out as QEMU's `info registers`. */
import { floatNames, freg, integerNames, xreg } from '../state.js';
import { csrRows, readCsr } from './csr.js';
import type { Hart } from './hart.js';

const shown =
  'mhartid mstatus mip mie mideleg medeleg mtvec stvec mepc sepc mcause scause mtval stval mscratch sscratch satp'.split(
    ' ',
  );
const rows = shown.map((name) => csrRows.find((row) => row.name === name)).filter((row) => row !== undefined);
const hex = (value: bigint) => value.toString(16).padStart(16, '0');

/** Four registers a line. */
function table(letter: string, names: readonly string[], value: (n: number) => bigint): string[] {
  const cells = names.map((name, n) => ` ${`${letter}${n}/${name}`.padEnd(8)} ${hex(value(n))}`);
  return Array.from({ length: cells.length / 4 }, (_, line) => cells.slice(4 * line, 4 * line + 4).join(''));
}

export function dumpRegisters(hart: Hart, { float }: { readonly float: boolean }): string {
  return [
    ` pc       ${hex(hart.pc)}`,
    ...rows.map((row) => ` ${row.name.padEnd(8)} ${hex(readCsr(hart, row))}`),
    ...table('x', integerNames, (n) => hart.get64(xreg[n].offset)),
    ...(float ? table('f', floatNames, (n) => hart.get64(freg[n].offset)) : []),
  ].join('\n');
}
