/** Disassembly from the instruction rows, in Intel's syntax (SDM vol. 2 section 3.1.1.3): for `-d in_asm` and the monitor. */

import { letterBits } from './assembler/operands.js';
import { Decoder, type DecoderTables, decodeFailure } from './decode.js';
import { isStringRow, mnemonicOf, writtenOperands } from './mnemonics.js';
import { decodeMode } from './mode.js';
import type { InsnRow } from './translator.js';

const LONGEST = 15;
const PAGE = 4096;

const byteNames = ['al', 'cl', 'dl', 'bl', 'ah', 'ch', 'dh', 'bh'];
const rexByteNames = ['al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil'];
const wordNames = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'];
const segmentNames = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];

function gprName(size: number, n: number, rex: boolean): string {
  if (n >= 8) return `r${n}${{ 8: 'b', 16: 'w', 32: 'd', 64: '' }[size] ?? ''}`;
  if (size === 8) return (rex ? rexByteNames : byteNames)[n];
  return (size === 16 ? '' : size === 32 ? 'e' : 'r') + wordNames[n];
}

const hexadecimal = (value: bigint): string => (value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`);

const pointerNames: Readonly<Record<number, string>> = {
  8: 'byte',
  16: 'word',
  32: 'dword',
  48: 'fword',
  64: 'qword',
  80: 'tbyte',
  128: 'xmmword',
};

/** What a memory operand's size letters say, as it is written before the address. */
function pointer(letters: string, opSize: number): string {
  const name = pointerNames[letterBits(letters, opSize) ?? 0];
  return name === undefined ? '' : `${name} ptr `;
}

function memoryOperand(d: Decoder, next: bigint): string {
  const parts: string[] = [];
  const names = d.addrSize;
  if (d.base >= 0) parts.push(gprName(names, d.base, true));
  if (d.index >= 0) parts.push(gprName(names, d.index, true) + (d.scale > 0 ? `*${1 << d.scale}` : ''));
  const prefix = d.segOverride >= 0 ? `${segmentNames[d.segOverride]}:` : '';
  if (d.base === -2) return `${prefix}[rip+0x${BigInt.asUintN(64, next + BigInt(d.disp)).toString(16)}]`;
  let text = parts.join('+');
  if (text === '') text = hexadecimal(BigInt(d.addrSize === 64 ? d.disp : d.disp >>> 0));
  else if (d.disp !== 0) text += `${d.disp < 0 ? '-' : '+'}0x${Math.abs(d.disp).toString(16)}`;
  return `${prefix}[${text}]`;
}

function operand(d: Decoder, word: string, next: bigint): string {
  const name = word;
  if (name === '1') return '0x1';
  if (/^([A-D][LHX]|r[A-Z]X|e[A-Z]X|XMM0|[C-GS]S)$/.test(name) && name !== 'eAX') {
    if (/^[re][A-Z]X$/.test(name)) return gprName(d.opSize, ['AX', 'CX', 'DX', 'BX'].indexOf(name.slice(1)), false);
    return name.toLowerCase();
  }
  if (name === 'STi') return `st(${d.modrm & 7})`;
  if (/^ST[01]$/.test(name)) return name === 'ST0' ? 'st' : 'st(1)';
  if (name === 'eAX') return d.opSize === 16 ? 'ax' : 'eax';
  const letters = name.slice(1);
  const bits = letterBits(letters, d.opSize) ?? 128;
  const memory = () => pointer(letters, d.opSize) + memoryOperand(d, next);
  switch (name[0]) {
    case 'E':
    case 'M':
    case 'R':
      return d.isReg ? gprName(bits, d.rm, d.rex !== 0) : memory();
    case 'G':
      return gprName(bits, d.reg, d.rex !== 0);
    case 'B':
      return gprName(bits, d.vvvv, true);
    case 'Z':
      return gprName(bits, d.rm, d.rex !== 0);
    case 'W':
    case 'U':
      return d.isReg ? `xmm${d.rm}` : memory();
    case 'V':
      return `xmm${d.reg}`;
    case 'Q':
    case 'N':
      return d.isReg ? `mm${d.rm & 7}` : memory();
    case 'P':
      return `mm${d.reg & 7}`;
    case 'S':
      return segmentNames[d.reg & 7] ?? '?';
    case 'C':
      return `cr${d.reg}`;
    case 'D':
      return `dr${d.reg}`;
    case 'I': {
      const value = (BigInt(d.immHigh) << 32n) | BigInt(d.immLow >>> 0);
      return hexadecimal(BigInt.asIntN(64, value));
    }
    case 'J':
      return `0x${BigInt.asUintN(64, next + BigInt(d.immLow)).toString(16)}`;
    case 'O':
      return `${pointer(letters, d.opSize)}[${hexadecimal((BigInt(d.immHigh >>> 0) << 32n) | BigInt(d.immLow >>> 0))}]`;
    case 'A':
      return `${hexadecimal(BigInt(d.imm2))}:${hexadecimal(BigInt(d.immLow >>> 0))}`;
    default:
      return name.toLowerCase();
  }
}

/** The text of an instruction that `d` has just decoded as this row. */
export function formatInsn(d: Decoder, row: InsnRow, pc: bigint): string {
  const next = pc + BigInt(d.length);
  // 90 is NOP, whatever the row that it is a case of says.
  if (row.name === 'XCHG' && d.opcode === 0x90 && d.rm === 0) return 'nop';
  const text = writtenOperands(row)
    .map((word) => operand(d, word, next))
    .join(', ');
  const lock = d.lock ? 'lock ' : '';
  const string = isStringRow(row);
  const rep = !string || d.rep === 0 ? '' : d.rep === 0xf3 ? 'rep ' : 'repne ';
  const override = string && d.segOverride >= 0 ? `${segmentNames[d.segOverride]} ` : '';
  return `${lock}${rep}${override}${mnemonicOf(row, d.opSize)}${text === '' ? '' : ` ${text}`}`;
}

/** One line of assembly and its length; bytes that are no instruction are shown as data. */
export function disassembleAt(
  tables: DecoderTables,
  page: Uint8Array,
  offset: number,
  nextPage: Uint8Array | undefined,
  modeKey: number,
  pc: bigint,
): { text: string; bytes: number } {
  const mode = decodeMode(modeKey);
  const decoder = new Decoder(tables);
  decoder.setMode(mode.codeSize, mode.protectedMode && !mode.vm86);
  let row = decoder.decode(page, offset, PAGE);
  if (row === decodeFailure.moreBytes && nextPage) {
    const both = new Uint8Array(2 * LONGEST);
    both.set(page.subarray(offset));
    both.set(nextPage.subarray(0, LONGEST), PAGE - offset);
    row = decoder.decode(both, 0, PAGE - offset + LONGEST);
  }
  if (row < 0) return { text: `.byte 0x${page[offset].toString(16).padStart(2, '0')}`, bytes: 1 };
  return { text: formatInsn(decoder, tables.rows[row], pc), bytes: decoder.length };
}
