/** Programs for Linux guests of AArch64, as tests write them from the instruction table, and how they get there. */
import { Program } from './program.js';

/** Where the one segment of an ELF begins, which can be read, written and executed; and where code begins in it. */
export const ELF_BASE = 0x40_0000;
export const ELF_CODE = ELF_BASE + 120;

/** A program of system calls. X8 and the arguments' registers are not kept. */
export class GuestProgram extends Program {
  override here = ELF_CODE;
  readonly #data: (readonly [at: number, bytes: Uint8Array])[] = [];

  /** Undefined: the argument's register has it already. */
  call(number: number, ...args: readonly (number | undefined)[]): void {
    for (const [n, value] of args.entries()) if (value !== undefined) this.set(n, value);
    this.set(8, number);
    this.put('svc imm');
  }

  /** A branch to a place that comes later: what it gives is called there. */
  forward(text: string, fields: object): () => void {
    const at = this.here;
    this.here += 4;
    return () => {
      const target = this.here;
      this.here = at;
      this.branch(text, target, fields);
      this.here = target;
    };
  }

  data(at: number, bytes: Uint8Array): void {
    this.#data.push([at, bytes]);
  }
  word64(at: number, value: number | bigint): void {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    this.data(at, bytes);
  }

  /** The ELF, with zeros up to `end`. */
  elf(end: number): Buffer {
    const last = Math.max(...this.words.keys(), ...this.#data.map(([at, { length }]) => at + length - 4)) + 4;
    const bytes = Buffer.alloc(last - ELF_BASE);
    for (const [at, word] of this.words) bytes.writeUInt32LE(word >>> 0, at - ELF_BASE);
    for (const [at, data] of this.#data) bytes.set(data, at - ELF_BASE);
    bytes.write('\x7fELF\x02\x01\x01', 'latin1');
    // ELF64: its header, and the one program header.
    for (const [at, value] of [
      [16, 2],
      [18, 183],
      [52, 64],
      [54, 56],
      [56, 1],
    ])
      bytes.writeUInt16LE(value, at);
    for (const [at, value] of [
      [20, 1],
      [64, 1],
      [68, 7],
    ])
      bytes.writeUInt32LE(value, at);
    for (const [at, value] of [
      [24, ELF_CODE],
      [32, 64],
      [80, ELF_BASE],
      [88, ELF_BASE],
      [96, bytes.length],
      [104, end - ELF_BASE],
      [112, 0x1000],
    ])
      bytes.writeBigUInt64LE(BigInt(value), at);
    return bytes;
  }
}

/** A shell's commands that make a file of these bytes, most of which may be zero, and run it. */
export function scriptOf(bytes: Buffer): string {
  const text = bytes.toString('base64').replace(/A{60,}/g, (zeros) => `'; zeros ${zeros.length}; printf '%s' '`);
  return [
    `zeros() { head -c $1 /dev/zero | tr '\\0' A; }`,
    `{ printf '%s' '${text}'; } | base64 -d >/tmp/program`,
    'chmod +x /tmp/program; /tmp/program',
  ].join('\n');
}
