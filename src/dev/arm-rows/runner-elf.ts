/**
 * A program for aarch64 Linux, written here from the instruction table, that runs cases: it reads them from standard input,
 * loads all registers, jumps to the instruction, and when that or the BRK behind it faults, writes what the signal frame
 * holds to standard output. See layout.ts for the form of both.
 */
import { encodeFields, parseEncoding } from '../../guest/arm/encoding.js';
import type { Fields } from '../../guest/arm/row.js';
import { codeOf } from '../../guest/arm/system/registers.js';
import { allRows } from '../../guest/arm/table/index.js';
import {
  CODE_AT,
  CODE_BYTES,
  CODE_PAGE,
  caseField,
  DATA,
  DATA_BYTES,
  resultField,
  STATE,
  STATE_BYTES,
  TEXT,
  TEXT_BYTES,
  WINDOW,
  WINDOW_BYTES,
} from './layout.js';

const syscall = { read: 63, write: 64, exit: 93, sigaltstack: 132, sigaction: 134 } as const;
const SIGNALS = [4, 5, 7, 8, 11];
/** SA_SIGINFO | SA_ONSTACK | SA_NODEFER. */
const SIGNAL_FLAGS = 0x48000004;
/** Offset of the machine's context in a ucontext. */
const UCONTEXT_CONTEXT = 176;
const SIGNAL_STACK = STATE + 0x8000;
const SIGNAL_STACK_BYTES = 0x10000;
const OUT = STATE + 0x800;
const ACTION = STATE + 0xc00;
const ALTERNATE = STATE + 0xc40;

const encodings = new Map([...allRows].reverse().map((row) => [`${row.name} ${row.args.join(', ')}`.trim(), row]));

/** An instruction by name and operands, as its row has them. */
export function instruction(text: string, fields: Partial<Fields> = {}): number {
  const row = encodings.get(text);
  if (!row) throw new Error(`no instruction ${text}`);
  return encodeFields(parseEncoding(row), fields);
}
export const BREAK = instruction('brk imm', { imm: 0 });

const systemRegister = {
  nzcv: codeOf(3, 3, 4, 2, 0) & 0x7fff,
  fpcr: codeOf(3, 3, 4, 4, 0) & 0x7fff,
  fpsr: codeOf(3, 3, 4, 4, 1) & 0x7fff,
  tpidr: codeOf(3, 3, 13, 0, 2) & 0x7fff,
} as const;
const ZERO = 31;
const [BASE, SCRATCH] = [28, 29];

class Program {
  readonly words: number[] = [];

  put(text: string, fields: Partial<Fields> = {}): void {
    this.words.push(instruction(text, fields));
  }
  get here(): number {
    return TEXT + 4 * this.words.length;
  }
  /** A constant of 32 bits. */
  set(rd: number, value: number): void {
    this.put('movz rd, imm, hw', { rd, sf: 1, imm: value & 0xffff, shift: 0 });
    this.put('movk rd, imm, hw', { rd, sf: 1, imm: value >>> 16, shift: 1 });
  }
  call(number: number): void {
    this.set(8, number);
    this.put('svc imm');
  }
  jump(target: number): void {
    this.put('b target', { imm: target - this.here });
  }
  load(rd: number, rn: number, imm: number): void {
    this.put('ldr xd, [rn, imm]', { rd, rn, imm });
  }
  setSystem(name: keyof typeof systemRegister, rd: number): void {
    this.put('msr imm, xd', { imm: systemRegister[name], rd });
  }
}

function runnerText(): { words: number[]; handler: number } {
  const p = new Program();
  p.set(0, ALTERNATE);
  p.set(1, 0);
  p.call(syscall.sigaltstack);
  for (const signal of SIGNALS) {
    p.set(0, signal);
    p.set(1, ACTION);
    p.set(2, 0);
    p.set(3, 8);
    p.call(syscall.sigaction);
  }
  const next = p.here;
  const read = (address: number, bytes: number) => {
    p.set(0, 0);
    p.set(1, address);
    p.set(2, bytes);
    p.call(syscall.read);
  };
  read(STATE, caseField.bytes);
  p.put('subs rd, rn, rm, shift', { rd: ZERO, rn: 0, rm: 2, sf: 1 });
  // Over what ends the program: two for the number of a constant twice, and the call.
  p.put('b. cond, target', { cond: 0, imm: 4 + 5 * 4 });
  p.set(0, 0);
  p.call(syscall.exit);
  read(WINDOW, WINDOW_BYTES);
  p.set(BASE, STATE);
  p.set(SCRATCH, CODE_AT);
  for (let at = 0; at < CODE_BYTES; at += 8) {
    p.load(0, BASE, caseField.code + at);
    p.put('str xd, [rn, imm]', { rd: 0, rn: SCRATCH, imm: at });
  }
  p.put('isb imm');
  p.put('clrex');
  p.setSystem('tpidr', ZERO);
  for (const name of ['nzcv', 'fpcr', 'fpsr'] as const) {
    p.load(0, BASE, caseField[name]);
    p.setSystem(name, 0);
  }
  for (let n = 0; n < 32; n++) p.put('ldr qd, [rn, imm]', { rd: n, rn: BASE, imm: caseField.v + 16 * n });
  p.load(0, BASE, caseField.x + 8 * 31);
  p.put('add rd|sp, rn|sp, imm', { rd: 31, rn: 0, sf: 1 });
  for (let n = 0; n < 31; n++) if (n !== BASE) p.load(n, BASE, caseField.x + 8 * n);
  p.load(BASE, BASE, caseField.x + 8 * BASE);
  p.jump(CODE_AT);

  const handler = p.here; // x0: signal, x2: ucontext
  const write = (bytes: number) => {
    p.set(2, bytes);
    p.set(0, 1);
    p.call(syscall.write);
  };
  p.set(1, OUT);
  p.put('str xd, [rn, imm]', { rd: 0, rn: 1, imm: 0 });
  p.put('add rd|sp, rn|sp, imm', { rd: 19, rn: 2, sf: 1, imm: UCONTEXT_CONTEXT });
  write(resultField.context);
  p.put('add rd|sp, rn|sp, imm', { rd: 1, rn: 19, sf: 1 });
  write(resultField.bytes - resultField.context);
  p.set(1, WINDOW);
  write(WINDOW_BYTES);
  p.jump(next);
  return { words: p.words, handler };
}

/** The program as an ELF file. */
export function runnerElf(): Uint8Array {
  const { words, handler } = runnerText();
  const header = 4096;
  const variables = 0xd00;
  const offsets = { text: header, code: header + TEXT_BYTES, state: header + TEXT_BYTES + 4096 };
  const file = new Uint8Array(offsets.state + variables);
  const view = new DataView(file.buffer);
  const long = (at: number, value: number) => view.setBigUint64(at, BigInt(value), true);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, 183, true); // EM_AARCH64
  view.setUint32(20, 1, true);
  long(24, TEXT);
  long(32, 64);
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true);
  const [X, W, R] = [1, 2, 4];
  const segments: readonly (readonly [number, number, number, number, number])[] = [
    [R | X, offsets.text, TEXT, TEXT_BYTES, TEXT_BYTES],
    [R | W | X, offsets.code, CODE_PAGE, 4096, 4096],
    [R | W, offsets.state, STATE, variables, STATE_BYTES],
    [R | W, offsets.state, DATA, 0, DATA_BYTES],
  ];
  view.setUint16(56, segments.length, true);
  for (const [i, [flags, offset, address, fileBytes, bytes]] of segments.entries()) {
    const at = 64 + 56 * i;
    view.setUint32(at, 1, true); // PT_LOAD
    view.setUint32(at + 4, flags, true);
    long(at + 8, offset);
    long(at + 16, address);
    long(at + 24, address);
    long(at + 32, fileBytes);
    long(at + 40, bytes);
    long(at + 48, 4096);
  }
  for (const [i, word] of words.entries()) view.setUint32(offsets.text + 4 * i, word, true);
  for (let at = 0; at < 4096; at += 4) view.setUint32(offsets.code + at, BREAK, true);
  const inState = (address: number) => offsets.state + address - STATE;
  long(inState(ACTION), handler);
  long(inState(ACTION) + 8, SIGNAL_FLAGS);
  long(inState(ALTERNATE), SIGNAL_STACK);
  long(inState(ALTERNATE) + 16, SIGNAL_STACK_BYTES);
  return file;
}
