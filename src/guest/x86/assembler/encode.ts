/**
 * Encodes an instruction from its row: the decoder (`../decode.ts`) read backwards. Intel SDM vol. 2 ch. 2. It takes operands as a
 * programmer writes them; whether the row fits them is part of the question.
 */
import { type Encoding, parseEncoding } from '../decode.js';
import { type Size, writtenOperands } from '../mnemonics.js';
import type { InsnRow } from '../translator.js';
import { letterBits, type MemoryOperand, type Operand, type RegisterOperand, type Value } from './operands.js';

export interface EncodeRequest {
  readonly codeSize: Size;
  readonly operands: readonly Operand[];
  /** Of the instruction, for what is relative to the next one. */
  readonly pc: bigint;
  /** Prefixes. */
  readonly lock: boolean;
  readonly rep: 0 | 0xf2 | 0xf3;
  /** The operand size that the mnemonic itself says. */
  readonly opSize: Size | undefined;
  /** A jump whose target is not settled yet may take the short form. */
  readonly allowShort: boolean;
}

export interface Encoded {
  readonly bytes: readonly number[];
  /** What the operands say is enough; otherwise the operand size is a guess. */
  readonly sizeKnown: boolean;
  /** Bytes of the memory operand. */
  readonly memoryBits: number | undefined;
}

/** Registers that a row names outright; what depends on the operand size has 0 bits. */
const fixedRegisters: Readonly<Record<string, readonly [number, number]>> = {
  AL: [0, 8],
  CL: [1, 8],
  AH: [4, 8],
  AX: [0, 16],
  DX: [2, 16],
  rAX: [0, 0],
  eAX: [0, 0],
  rDX: [2, 0],
};
const segmentNames = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'];

/** A row with what its columns say. */
export class EncodableRow {
  readonly row: InsnRow;
  readonly encoding: Encoding;
  readonly words: readonly string[];
  /** Something in it is as wide as the operand size. */
  readonly sized: boolean;

  constructor(row: InsnRow) {
    this.row = row;
    this.encoding = parseEncoding(row);
    this.words = writtenOperands(row);
    this.sized = this.words.some((word) => /^([A-Z][vzyp]|[re][A-Z]X)$/.test(word) && word !== 'Jz');
  }
}

const inRange = (value: bigint, bits: number): boolean =>
  value >= -(1n << BigInt(bits - 1)) && value < 1n << BigInt(bits);
const fitsSigned = (value: bigint, bits: number): boolean => BigInt.asIntN(bits, value) === value;

function pushLittle(bytes: number[], value: bigint, count: number): void {
  for (let i = 0; i < count; i++) bytes.push(Number((value >> BigInt(8 * i)) & 0xffn));
}

/** The row's encoding of these operands, or undefined where it does not fit them. */
export function encode(target: EncodableRow, request: EncodeRequest): Encoded | undefined {
  const { codeSize } = request;
  const { encoding: e } = target;
  if (codeSize === 64 ? !e.in64 : !e.outside64) return undefined;
  const usual = usualSize(target, codeSize);
  const sizes: readonly Size[] = request.opSize ? [request.opSize] : target.sized ? [16, 32, 64] : [usual];
  let best: Encoded | undefined;
  for (const opSize of sizes) {
    const encoded = new Attempt(target, request, opSize).encode();
    if (!encoded) continue;
    // Nothing says the size: the usual one, unless it is memory whose size was left out.
    if (!encoded.sizeKnown && encoded.memoryBits === undefined && opSize !== usual) continue;
    if (!best || encoded.bytes.length < best.bytes.length || (!best.sizeKnown && encoded.sizeKnown)) best = encoded;
  }
  return best;
}

/** The operand size without prefixes. */
function usualSize({ row, encoding }: EncodableRow, codeSize: Size): Size {
  if (codeSize !== 64) return codeSize;
  return row.default64 || row.force64 || encoding.w === 1 ? 64 : 32;
}

/** One attempt, at one operand size. */
class Attempt {
  readonly #target: EncodableRow;
  readonly #request: EncodeRequest;
  readonly #opSize: Size;
  #reg = 0;
  #rm: RegisterOperand | MemoryOperand | undefined;
  #opcodeRegister = 0;
  #vvvv = 0;
  #needsRex = false;
  #forbidsRex = false;
  #sizeKnown = false;
  #memoryBits: number | undefined;
  #segment: number | undefined;
  #addressBits: 16 | 32 | 64;
  /** Written after the opcode and ModRM; the branch's distance is made when the length is known. */
  readonly #tail: { value: bigint; bytes: number; relative: boolean }[] = [];

  constructor(target: EncodableRow, request: EncodeRequest, opSize: Size) {
    this.#target = target;
    this.#request = request;
    this.#opSize = opSize;
    this.#addressBits = request.codeSize;
  }

  encode(): Encoded | undefined {
    const { words, row, encoding: e } = this.#target;
    const { codeSize, operands } = this.#request;
    const opSize = this.#opSize;
    if (opSize === 64 && codeSize !== 64) return undefined;
    if (row.force64 && codeSize === 64 && opSize !== 64) return undefined;
    if (row.default64 && codeSize === 64 && opSize === 32) return undefined;
    const opSizePrefix = codeSize === 16 ? opSize === 32 : opSize === 16;
    // 66 as a part of the opcode, or forbidden, says nothing of the size.
    if (opSizePrefix && (e.prefix === 0 || e.prefix === 1 || e.map >= 4)) return undefined;
    const w = opSize === 64 && !row.force64 && !row.default64 ? 1 : 0;
    if (e.w >= 0 && e.w !== w) return undefined;
    if (operands.length !== words.length) return undefined;
    for (const [i, word] of words.entries()) if (!this.#take(word, operands[i])) return undefined;
    if (this.#request.lock && !(row.lock && this.#rm?.kind === 'memory')) return undefined;
    return this.#assemble(opSizePrefix, w);
  }

  #take(word: string, operand: Operand): boolean {
    const fixed = fixedRegisters[word];
    const opSize = this.#opSize;
    if (fixed) {
      if (operand.kind !== 'register' || operand.file !== 'gpr' || operand.number !== fixed[0]) return false;
      if (fixed[1] === 0) this.#sizeKnown = true;
      return (
        operand.bits === (fixed[1] || opSize) && operand.high === (word === 'AH') && !(word === 'eAX' && opSize === 64)
      );
    }
    if (word === '1') return operand.kind === 'immediate' && !operand.value.movable && operand.value.number === 1n;
    if (segmentNames.includes(word)) return this.#isRegister(operand, 'segment', segmentNames.indexOf(word));
    if (word === 'XMM0') return this.#isRegister(operand, 'xmm', 0);
    if (word === 'ST0' || word === 'ST1') return this.#isRegister(operand, 'x87', Number(word[2]));
    if (word === 'STi') {
      if (operand.kind !== 'register' || operand.file !== 'x87') return false;
      this.#opcodeRegister = operand.number;
      return true;
    }
    const letters = word.slice(1);
    const bits = letterBits(letters, opSize);
    if (operand.kind === 'register') return this.#takeRegister(word[0], letters, bits, operand);
    if (operand.kind === 'memory') return this.#takeMemory(word[0], letters, bits, operand);
    if (operand.kind === 'far') {
      if (word !== 'Ap' || (operand.bits !== undefined && operand.bits !== opSize)) return false;
      if (operand.bits !== undefined) this.#sizeKnown = true;
      if (!operand.offset.movable && !inRange(operand.offset.number, opSize)) return false;
      this.#tail.push({ value: operand.offset.number, bytes: opSize === 16 ? 2 : 4, relative: false });
      this.#tail.push({ value: operand.selector.number, bytes: 2, relative: false });
      return true;
    }
    if (word[0] === 'I') return this.#takeImmediate(letters, operand.value);
    if (word[0] === 'J') return this.#takeTarget(letters, operand.value);
    return false;
  }

  #isRegister(operand: Operand, file: RegisterOperand['file'], number: number): boolean {
    return operand.kind === 'register' && operand.file === file && operand.number === number;
  }

  #takeRegister(letter: string, letters: string, bits: number | undefined, operand: RegisterOperand): boolean {
    const files: Readonly<Record<string, RegisterOperand['file']>> = {
      S: 'segment',
      C: 'control',
      D: 'debug',
      P: 'mmx',
      Q: 'mmx',
      N: 'mmx',
      V: 'xmm',
      W: 'xmm',
      U: 'xmm',
    };
    const file = files[letter] ?? (/[EGRZB]/.test(letter) ? 'gpr' : undefined);
    if (operand.file !== file) return false;
    if (file === 'gpr') {
      if (operand.bits !== bits) return false;
      if (/[vzy]/.test(letters)) this.#sizeKnown = true;
      if (operand.high) this.#forbidsRex = true;
      else if (bits === 8 && operand.number >= 4) this.#needsRex = true;
    }
    if (operand.number >= 8 && this.#request.codeSize !== 64) return false;
    if (/[GPVSCD]/.test(letter)) this.#reg = operand.number;
    else if (letter === 'Z') this.#opcodeRegister = operand.number;
    else if (letter === 'B') this.#vvvv = operand.number;
    else {
      if (this.#target.encoding.form === 'm') return false;
      this.#rm = operand;
    }
    return true;
  }

  #takeMemory(letter: string, letters: string, bits: number | undefined, operand: MemoryOperand): boolean {
    if (letter === 'O') {
      const { displacement } = operand;
      if (operand.base !== -1 || operand.index !== -1 || (operand.bits !== undefined && operand.bits !== bits))
        return false;
      if (operand.bits !== undefined && letters === 'v') this.#sizeKnown = true;
      this.#segment = operand.segment;
      this.#tail.push({ value: displacement.number, bytes: this.#request.codeSize >> 3, relative: false });
      return true;
    }
    if (!/[EMWQ]/.test(letter) || this.#target.encoding.form === 'r') return false;
    if (operand.bits !== undefined) {
      if (bits !== undefined && operand.bits !== bits) return false;
      if (/[vzyp]/.test(letters)) this.#sizeKnown = true;
    }
    this.#memoryBits = bits;
    this.#rm = operand;
    this.#segment = operand.segment;
    this.#addressBits = operand.addressBits ?? this.#request.codeSize;
    return true;
  }

  #takeImmediate(letters: string, { number, movable }: Value): boolean {
    const opSize = this.#opSize;
    if (letters === 'bs' || letters === 'b') {
      if (movable) return false;
      // Ibs is sign-extended: as a number of the operand size it must be that.
      const value = letters === 'bs' && inRange(number, opSize) ? BigInt.asIntN(opSize, number) : number;
      if (letters === 'bs' ? !fitsSigned(value, 8) : !inRange(value, 8)) return false;
      this.#tail.push({ value, bytes: 1, relative: false });
      return true;
    }
    const bytes = letters === 'w' ? 2 : letters === 'd' ? 4 : letters === 'z' ? Math.min(4, opSize >> 3) : opSize >> 3;
    if (letters === 'z' && opSize === 64) {
      if (!fitsSigned(inRange(number, 64) ? BigInt.asIntN(64, number) : number, 32)) return false;
    } else if (!inRange(number, 8 * bytes)) return false;
    this.#tail.push({ value: number, bytes, relative: false });
    return true;
  }

  #takeTarget(letters: string, { number, movable }: Value): boolean {
    if (letters === 'b' && movable && !this.#request.allowShort) return false;
    const bytes = letters === 'b' ? 1 : this.#opSize === 16 ? 2 : 4;
    this.#tail.push({ value: number, bytes, relative: true });
    return true;
  }

  #assemble(opSizePrefix: boolean, w: number): Encoded | undefined {
    const { encoding: e, row } = this.#target;
    const { codeSize, rep, lock, pc } = this.#request;
    // 90 with EAX is NOP, which does not clear the upper half of RAX.
    if (row.name === 'XCHG' && e.opcode === 0x90 && (this.#opcodeRegister & 15) === 0) return undefined;
    const bytes: number[] = [];
    if (this.#segment !== undefined) bytes.push([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65][this.#segment]);
    if (this.#addressBits !== codeSize) {
      if (this.#addressBits === 64 || (codeSize === 64 && this.#addressBits === 16)) return undefined;
      bytes.push(0x67);
    }
    const vex = e.map >= 4;
    if (opSizePrefix || (e.prefix === 1 && !vex)) bytes.push(0x66);
    if (lock) bytes.push(0xf0);
    if (rep) bytes.push(rep);
    if (!vex && e.prefix >= 2) bytes.push(e.prefix === 2 ? 0xf3 : 0xf2);
    const field = modrm(this.#target.encoding, this.#reg, this.#rm, this.#addressBits, codeSize);
    if (!field) return undefined;
    const rexR = e.digit >= 0 ? 0 : this.#reg >> 3;
    const rexB = e.opcodeCount === 8 ? this.#opcodeRegister >> 3 : field.b;
    if (vex) {
      const last = (w << 7) | ((~this.#vvvv & 15) << 3) | (e.vexL > 0 ? 4 : 0) | Math.max(e.prefix, 0);
      if (e.map === 5 && !w && !field.x && !rexB) bytes.push(0xc5, (rexR ? 0 : 0x80) | (last & 0x7f));
      else bytes.push(0xc4, (rexR ? 0 : 0x80) | (field.x ? 0 : 0x40) | (rexB ? 0 : 0x20) | (e.map - 4), last);
    } else {
      const rex = (w << 3) | (rexR << 2) | (field.x << 1) | rexB;
      if (rex || this.#needsRex) {
        if (codeSize !== 64 || this.#forbidsRex) return undefined;
        bytes.push(0x40 | rex);
      }
      if (e.map > 0) bytes.push(0x0f);
      if (e.map > 1) bytes.push(e.map === 2 ? 0x38 : 0x3a);
    }
    bytes.push(e.opcode + (e.opcodeCount === 8 ? this.#opcodeRegister & 7 : 0));
    if (e.hasModrm) {
      if (e.modrmFirst >= 0) bytes.push(e.modrmFirst + (e.modrmLast > e.modrmFirst ? this.#opcodeRegister : 0));
      else bytes.push(...field.bytes);
    }
    const displacementAt = bytes.length - field.displacementBytes;
    const length = bytes.length + this.#tail.reduce((sum, { bytes: count }) => sum + count, 0);
    const next = pc + BigInt(length);
    if (field.displacementBytes > 0) {
      const { displacement, base } = this.#rm as MemoryOperand;
      const value = base === -2 ? BigInt.asIntN(64, displacement.number - next) : displacement.number;
      if (base === -2 && !displacement.movable && !fitsSigned(value, 32)) return undefined;
      for (let i = 0; i < field.displacementBytes; i++)
        bytes[displacementAt + i] = Number((value >> BigInt(8 * i)) & 255n);
    }
    for (const { value, bytes: count, relative } of this.#tail) {
      const distance = relative ? value - next : value;
      if (relative && count < 8 && !fitsSigned(distance, 8 * count) && !(count === 2)) return undefined;
      pushLittle(bytes, distance, count);
    }
    if (bytes.length > 15) return undefined;
    return {
      bytes,
      sizeKnown: this.#sizeKnown || !this.#target.sized || this.#request.opSize !== undefined,
      memoryBits: this.#memoryBits,
    };
  }
}

interface ModrmField {
  /** ModRM, SIB and room for the displacement. */
  readonly bytes: readonly number[];
  readonly displacementBytes: number;
  readonly x: number;
  readonly b: number;
}

const none: ModrmField = { bytes: [], displacementBytes: 0, x: 0, b: 0 };

/** ModRM and what belongs to it; undefined: there is no such way to address. */
function modrm(
  e: Encoding,
  reg: number,
  rm: RegisterOperand | MemoryOperand | undefined,
  addressBits: number,
  codeSize: Size,
): ModrmField | undefined {
  if (!e.hasModrm || e.modrmFirst >= 0) return none;
  const middle = (e.digit >= 0 ? e.digit : reg & 7) << 3;
  // A row with ModRM and without such an operand: a register form in which the number says nothing (fences).
  if (!rm) return { ...none, bytes: [0xc0 | middle] };
  if (rm.kind === 'register') return { ...none, bytes: [0xc0 | middle | (rm.number & 7)], b: rm.number >> 3 };
  return addressBits === 16 ? modrm16(middle, rm) : modrm32(middle, rm, codeSize);
}

const room = (count: number): number[] => new Array(count).fill(0);

/** SDM vol. 2 table 2-1. */
function modrm16(middle: number, rm: MemoryOperand): ModrmField | undefined {
  const { base, index, displacement } = rm;
  const pairs = ['3+6', '3+7', '5+6', '5+7', '6', '7', '5', '3'];
  const sorted = [base, index].filter((n) => n >= 0).sort((a, b) => a - b);
  if (rm.scale !== 0 || base === -2) return undefined;
  const { number, movable } = displacement;
  if (!movable && !inRange(number, 16)) return undefined;
  if (sorted.length === 0) return { ...none, bytes: [middle | 6, 0, 0], displacementBytes: 2 };
  const field = pairs.indexOf(sorted.join('+'));
  if (field < 0) return undefined;
  const value = BigInt.asIntN(16, number);
  const count = movable ? 2 : value === 0n && field !== 6 ? 0 : fitsSigned(value, 8) ? 1 : 2;
  return { ...none, bytes: [(count << 6) | middle | field, ...room(count)], displacementBytes: count };
}

/** SDM vol. 2 tables 2-2 and 2-3, 2.2.1.6. */
function modrm32(middle: number, rm: MemoryOperand, codeSize: Size): ModrmField | undefined {
  const { displacement, scale } = rm;
  let { base, index } = rm;
  const { number, movable } = displacement;
  const bits = rm.addressBits ?? codeSize;
  if (base === -2)
    return codeSize === 64 ? { ...none, bytes: [middle | 5, 0, 0, 0, 0], displacementBytes: 4 } : undefined;
  if (
    !movable &&
    (bits === 64 ? !fitsSigned(BigInt.asIntN(64, number), 32) || !inRange(number, 64) : !inRange(number, 32))
  )
    return undefined;
  const value = BigInt.asIntN(bits, number);
  if (index === 4 && scale === 0) [base, index] = [index, base];
  if (index === 4) return undefined;
  const x = index >= 8 ? 1 : 0;
  if (base < 0) {
    if (index < 0 && codeSize !== 64) return { ...none, bytes: [middle | 5, ...room(4)], displacementBytes: 4 };
    const sib = (scale << 6) | ((index < 0 ? 4 : index & 7) << 3) | 5;
    return { bytes: [middle | 4, sib, ...room(4)], displacementBytes: 4, x, b: 0 };
  }
  const count = movable ? 4 : value === 0n && (base & 7) !== 5 ? 0 : fitsSigned(value, 8) ? 1 : 4;
  const mod = (count === 4 ? 2 : count) << 6;
  const b = base >> 3;
  if (index < 0 && (base & 7) !== 4)
    return { bytes: [mod | middle | (base & 7), ...room(count)], displacementBytes: count, x: 0, b };
  const sib = (scale << 6) | ((index < 0 ? 4 : index & 7) << 3) | (base & 7);
  return { bytes: [mod | middle | 4, sib, ...room(count)], displacementBytes: count, x, b };
}
