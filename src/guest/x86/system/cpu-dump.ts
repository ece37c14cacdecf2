/** The vCPU's registers as text, laid out as QEMU's `info registers` and `-d cpu`, which people and scripts read. */
import { field, gprNames, segNames, xmm } from '../state.js';
import { cr0, descriptor, efer } from './bits.js';
import type { Vcpu } from './vcpu.js';

const hex = (value: bigint | number, digits: number) =>
  BigInt.asUintN(4 * digits, BigInt(value))
    .toString(16)
    .padStart(digits, '0');

/** Names of system segments by type: outside long mode, and in it. */
const systemNames = [
  ['Reserved', 'TSS16-avl', 'LDT', 'TSS16-busy', 'CallGate16', 'TaskGate', 'IntGate16', 'TrapGate16'].concat([
    'Reserved',
    'TSS32-avl',
    'Reserved',
    'TSS32-busy',
    'CallGate32',
    'Reserved',
    'IntGate32',
    'TrapGate32',
  ]),
  ['<hiword>', 'Reserved', 'LDT', 'Reserved', 'Reserved', 'Reserved', 'Reserved', 'Reserved'].concat([
    'Reserved',
    'TSS64-avl',
    'Reserved',
    'TSS64-busy',
    'CallGate64',
    'Reserved',
    'IntGate64',
    'TrapGate64',
  ]),
];

/** DF, OF, SF, ZF, AF, PF, CF. */
const flagLetters = [
  [0x400, 'D'],
  [0x800, 'O'],
  [0x80, 'S'],
  [0x40, 'Z'],
  [0x10, 'A'],
  [0x4, 'P'],
  [0x1, 'C'],
] as const;

export function dumpRegisters(cpu: Vcpu, parts: { readonly float: boolean }): string {
  const wide = cpu.codeSize === 64;
  const digits = wide ? 16 : 8;
  const lines: string[] = [];
  const row = (...cells: string[]) => lines.push(cells.join(' '));
  const general = (n: number) => {
    const name = gprNames[n].toUpperCase();
    return `${(wide ? name : name.replace(/^R/, 'E')).padEnd(3)}=${hex(cpu.getGpr(n), digits)}`;
  };
  for (const of of [
    [0, 3, 1, 2],
    [6, 7, 5, 4],
  ])
    row(...of.map(general));
  if (wide) for (const first of [8, 12]) row(...[0, 1, 2, 3].map((n) => general(first + n)));
  const flags = cpu.getFlags() >>> 0;
  const letters = flagLetters.map(([bit, letter]) => (flags & bit ? letter : '-')).join('');
  const a20 = (cpu.get32(field.a20Mask) >>> 20) & 1;
  row(
    `${wide ? 'RIP' : 'EIP'}=${hex(cpu.pc, digits)}`,
    `${wide ? 'RFL' : 'EFL'}=${hex(flags, 8)}`,
    `[${letters}]`,
    `CPL=${cpu.cpl}`,
    `II=${cpu.get32(field.interruptShadow) === 0 ? 0 : 1}`,
    `A20=${a20}`,
    'SMM=0',
    `HLT=${cpu.get32(field.halted) === 0 ? 0 : 1}`,
  );
  const segment = (name: string, selector: number, base: bigint, limit: number, attributes: number) => {
    // The descriptor's second word has the upper bits of the limit among the attributes.
    const upper = (attributes & descriptor.granular ? limit >>> 12 : limit) & 0xf0000;
    const shown = hex(attributes | upper, 8);
    const cells = `${name.padEnd(3)}=${hex(selector, 4)} ${hex(base, digits)} ${hex(limit, 8)} ${shown}`;
    lines.push(`${cells}${describeAttributes(cpu, attributes)}`);
  };
  for (const name of ['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const) {
    const n = segNames.indexOf(name);
    segment(name.toUpperCase(), cpu.getSelector(n), cpu.getBase(n), cpu.getLimit(n), cpu.getAttributes(n));
  }
  const word = (at: number) => cpu.get32(at);
  segment('LDT', word(field.ldtSelector), cpu.get64(field.ldtBase), word(field.ldtLimit), word(field.ldtAttributes));
  segment('TR', word(field.trSelector), cpu.get64(field.trBase), word(field.trLimit), word(field.trAttributes));
  row(`GDT=     ${hex(cpu.get64(field.gdtBase), digits)}`, hex(word(field.gdtLimit), 8));
  row(`IDT=     ${hex(cpu.get64(field.idtBase), digits)}`, hex(word(field.idtLimit), 8));
  const control = (name: string, at: number, width: number) => `${name}=${hex(cpu.get64(at), width)}`;
  row(
    control('CR0', field.cr0, 8),
    control('CR2', field.cr2, digits),
    control('CR3', field.cr3, digits),
    control('CR4', field.cr4, 8),
  );
  const debug = (n: number) => `DR${n}=${hex(cpu.get64(field.dr + 8 * n), 16)}`;
  lines.push(`${[0, 1, 2, 3].map(debug).join(' ')} `);
  row(debug(6), debug(7));
  row(`EFER=${hex(cpu.get64(field.efer), 16)}`);
  if (parts.float) dumpFloat(cpu, lines, wide ? 16 : 8);
  return lines.join('\n');
}

function describeAttributes(cpu: Vcpu, attributes: number): string {
  if (!(cpu.get32(field.cr0) & cr0.PE) || !(attributes & descriptor.present)) return '';
  const long = (cpu.get32(field.efer) & efer.LMA) !== 0;
  const dpl = ` DPL=${(attributes >>> descriptor.dplShift) & 3} `;
  const letter = (bit: number, of: string) => (attributes & (bit << descriptor.typeShift) ? of : '-');
  if (!(attributes & descriptor.notSystem)) {
    return `${dpl}${systemNames[long ? 1 : 0][(attributes >>> descriptor.typeShift) & 15]}`;
  }
  // Type bits: accessed, readable or writable, conforming or expand-down, code.
  if (attributes & descriptor.code) {
    const size = attributes & descriptor.long ? 'CS64' : attributes & descriptor.big ? 'CS32' : 'CS16';
    return `${dpl}${size} [${letter(4, 'C')}${letter(2, 'R')}${letter(1, 'A')}]`;
  }
  const size = attributes & descriptor.big || long ? 'DS  ' : 'DS16';
  return `${dpl}${size} [${letter(4, 'E')}${letter(2, 'W')}${letter(1, 'A')}]`;
}

function dumpFloat(cpu: Vcpu, lines: string[], vectors: number): void {
  const top = cpu.get32(field.fpTop) & 7;
  const status = (cpu.get32(field.fpStatus) & 0xc7ff) | (top << 11);
  const control = hex(cpu.get32(field.fpControl), 4);
  // The tag word as FXSAVE has it: a bit for each register that holds something.
  const tags = ~cpu.get32(field.fpEmpty) & 0xff;
  lines.push(
    `FCW=${control} FSW=${hex(status, 4)} [ST=${top}] FTW=${hex(tags, 2)} MXCSR=${hex(cpu.get32(field.mxcsr), 8)}`,
  );
  const register = (n: number) => {
    const at = field.fpr + 16 * n;
    return `FPR${n}=${hex(cpu.get64(at), 16)} ${hex(cpu.get32(at + 8) & 0xffff, 4)}`;
  };
  for (let n = 0; n < 8; n += 2) lines.push(`${register(n)} ${register(n + 1)}`);
  const vector = (n: number) => {
    const at = xmm[n].offset;
    return `XMM${String(n).padStart(2, '0')}=${hex(cpu.get64(at + 8), 16)} ${hex(cpu.get64(at), 16)}`;
  };
  for (let n = 0; n < vectors; n += 2) lines.push(`${vector(n)} ${vector(n + 1)}`);
}
