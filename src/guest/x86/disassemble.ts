/** Disassembly from the instruction rows, in Intel's syntax (SDM vol. 2 section 3.1.1.3): for `-d in_asm` and the monitor. */
import { Decoder, type DecoderTables, decodeFailure } from './decode.js';
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

/** Bits of an operand by its size letters. */
function operandBits(d: Decoder, letters: string): number {
  switch (letters) {
    case 'b':
    case 'bs':
      return 8;
    case 'w':
      return 16;
    case 'd':
    case 'ss':
      return 32;
    case 'q':
    case 'sd':
    case 'pi':
      return 64;
    case 'v':
      return d.opSize;
    case 'z':
      return d.opSize === 16 ? 16 : 32;
    case 'y':
      return d.rexW ? 64 : 32;
    default:
      return 128;
  }
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
  const name = word.split(':')[0];
  if (/^(1|[A-D][LHX]|r[A-Z]X|e[A-Z]X|XMM0)$/.test(name)) {
    if (/^[re][A-Z]X$/.test(name)) return gprName(d.opSize, ['AX', 'CX', 'DX', 'BX'].indexOf(name.slice(1)), false);
    return name.toLowerCase();
  }
  const bits = operandBits(d, name.slice(1));
  switch (name[0]) {
    case 'E':
    case 'M':
    case 'R':
      return d.isReg ? gprName(bits, d.rm, d.rex !== 0) : memoryOperand(d, next);
    case 'G':
      return gprName(bits, d.reg, d.rex !== 0);
    case 'B':
      return gprName(bits, d.vvvv, true);
    case 'Z':
      return gprName(bits, d.rm, d.rex !== 0);
    case 'W':
    case 'U':
      return d.isReg ? `xmm${d.rm}` : memoryOperand(d, next);
    case 'V':
      return `xmm${d.reg}`;
    case 'Q':
    case 'N':
      return d.isReg ? `mm${d.rm & 7}` : memoryOperand(d, next);
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
      return `[${hexadecimal((BigInt(d.immHigh >>> 0) << 32n) | BigInt(d.immLow >>> 0))}]`;
    case 'X':
      return '[rsi]';
    case 'Y':
      return '[rdi]';
    default:
      return name.toLowerCase();
  }
}

/** The text of an instruction that `d` has just decoded as this row. */
export function formatInsn(d: Decoder, row: InsnRow, pc: bigint): string {
  const next = pc + BigInt(d.length);
  const words = row.args
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
  const text = words.map((word) => operand(d, word, next)).join(', ');
  const lock = d.lock ? 'lock ' : '';
  const rep = !/^(ins|outs|movs|stos|lods|cmps|scas)[bwdq]?$/i.test(row.name)
    ? ''
    : d.rep === 0xf3
      ? 'rep '
      : d.rep === 0xf2
        ? 'repne '
        : '';
  return `${lock}${rep}${row.name.toLowerCase()}${text === '' ? '' : ` ${text}`}`;
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
