/** Programs without an operating system for AArch64's board `virt`, written from the instruction table: run by QEMU and by us. */
import { encodeFields, parseEncoding } from '../../guest/arm/encoding.js';
import type { Fields } from '../../guest/arm/row.js';
import { registers } from '../../guest/arm/system/registers.js';
import { allRows } from '../../guest/arm/table/index.js';

/** Where RAM begins, where programs begin (QEMU puts a device tree before them), where they find and leave numbers. */
export const RAM = 0x4000_0000;
export const RAM_BYTES = 16 << 20;
export const CODE = RAM + (2 << 20);
export const DATA = RAM + (8 << 20);
export const OUT = RAM + (12 << 20);

const encodings = new Map([...allRows].reverse().map((row) => [`${row.name} ${row.args.join(', ')}`.trim(), row]));
const codes = new Map(registers.map(({ name, code }) => [name, code]));

/** An instruction by name and operands, as its row has them. */
export function instruction(text: string, fields: Partial<Fields> = {}): number {
  const row = encodings.get(text);
  if (!row) throw new Error(`no instruction ${text}`);
  return encodeFields(parseEncoding(row), fields);
}

export class Program {
  readonly words = new Map<number, number>();
  here = CODE;

  word(value: number): void {
    this.words.set(this.here, value);
    this.here += 4;
  }
  put(text: string, fields: Partial<Fields> = {}): void {
    this.word(instruction(text, fields));
  }
  /** A constant of 64 bits. */
  set(rd: number, value: number | bigint): void {
    const bits = BigInt.asUintN(64, BigInt(value));
    this.put('movz rd, imm, hw', { rd, sf: 1, imm: Number(bits & 0xffffn), shift: 0 });
    for (let shift = 1; shift < 4; shift++) {
      const imm = Number((bits >> BigInt(16 * shift)) & 0xffffn);
      if (imm !== 0) this.put('movk rd, imm, hw', { rd, sf: 1, imm, shift });
    }
  }
  #code(name: string): number {
    const code = codes.get(name);
    if (code === undefined) throw new Error(`no system register ${name}`);
    return code & 0x7fff;
  }
  mrs(rd: number, name: string): void {
    this.put('mrs xd, imm', { rd, imm: this.#code(name) });
  }
  msr(name: string, rd: number): void {
    this.put('msr imm, xd', { rd, imm: this.#code(name) });
  }
  /** By way of X9. */
  write(name: string, value: number | bigint): void {
    this.set(9, value);
    this.msr(name, 9);
  }
  move(rd: number, rm: number): void {
    this.put('orr rd, rn, rm, shift', { rd, rn: 31, rm, sf: 1 });
  }
  /** A load or store behind which the base moves on by 8. */
  next(text: 'ldr' | 'str', rd: number, rn: number): void {
    this.put(`${text} xd, [rn], imm`, { rd, rn, imm: 8 });
  }
  branch(text: string, target: number, fields: Partial<Fields> = {}): void {
    this.put(`${text}, target`.replace('b, target', 'b target'), { ...fields, imm: target - this.here });
  }
}
