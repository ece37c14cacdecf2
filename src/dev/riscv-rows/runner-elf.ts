/**
 * A program for riscv64 Linux, written here from the instruction table, that runs cases: it reads them from standard input,
 * loads all registers, jumps to the instruction, and when that or the EBREAK behind it faults, writes what the signal frame
 * holds to standard output. See layout.ts for the form of both.
 */
import { encodeFields, parseEncoding } from '../../guest/riscv/encoding.js';
import type { Fields } from '../../guest/riscv/row.js';
import { allRows } from '../../guest/riscv/table/index.js';
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
  VLENB,
  WINDOW,
  WINDOW_BYTES,
} from './layout.js';

const syscall = { read: 63, write: 64, exit: 93, sigaltstack: 132, sigaction: 134 } as const;
const SIGNALS = [4, 5, 7, 11];
/** SA_SIGINFO | SA_ONSTACK | SA_NODEFER. */
const SIGNAL_FLAGS = 0x48000004;
/** Offset of the registers in a ucontext. */
const UCONTEXT_REGISTERS = 176;
const SIGNAL_STACK = STATE + 0x8000;
const SIGNAL_STACK_BYTES = 0x10000;
const OUT = STATE + 0x800;
const ACTION = STATE + 0xc00;
const ALTERNATE = STATE + 0xc40;

const encodings = new Map(allRows.map((row) => [row.name, parseEncoding(row)]));

/** An instruction by name. */
export function instruction(name: string, fields: Partial<Fields> = {}): number {
  const encoding = encodings.get(name);
  if (!encoding) throw new Error(`no instruction ${name}`);
  return encodeFields(encoding, fields);
}

const [ZERO, A0, A1, A2, A3, A7, T0, T6] = [0, 10, 11, 12, 13, 17, 5, 31];
const FCSR = 3;
const [VSTART, VCSR, VL, VTYPE] = [0x008, 0x00f, 0xc20, 0xc21];
const VECTORS_OUT = STATE + 0x1000;

class Program {
  readonly words: number[] = [];

  put(name: string, fields: Partial<Fields> = {}): void {
    this.words.push(instruction(name, fields));
  }
  get here(): number {
    return TEXT + 4 * this.words.length;
  }
  /** A constant from 0 to 2^31 - 2^11. */
  set(rd: number, value: number): void {
    const low = (value << 20) >> 20;
    this.put('lui', { rd, imm: value - low });
    this.put('addi', { rd, rs1: rd, imm: low });
  }
  call(number: number): void {
    this.set(A7, number);
    this.put('ecall');
  }
  jump(target: number): void {
    this.put('jal', { rd: ZERO, imm: target - this.here });
  }
}

function runnerText(): { words: number[]; handler: number } {
  const p = new Program();
  p.set(A0, ALTERNATE);
  p.set(A1, 0);
  p.call(syscall.sigaltstack);
  for (const signal of SIGNALS) {
    p.set(A0, signal);
    p.set(A1, ACTION);
    p.set(A2, 0);
    p.set(A3, 8);
    p.call(syscall.sigaction);
  }
  const next = p.here;
  const read = (address: number, bytes: number) => {
    p.set(A0, 0);
    p.set(A1, address);
    p.set(A2, bytes);
    p.call(syscall.read);
  };
  read(STATE, caseField.bytes);
  p.put('beq', { rs1: A0, rs2: A2, imm: 4 + 5 * 4 });
  p.set(A0, 0);
  p.call(syscall.exit);
  read(WINDOW, WINDOW_BYTES);
  p.set(T6, STATE);
  p.set(T0, CODE_AT);
  for (let at = 0; at < CODE_BYTES; at += 8) {
    p.put('ld', { rd: A0, rs1: T6, imm: caseField.code + at });
    p.put('sd', { rs2: A0, rs1: T0, imm: at });
  }
  p.put('fence.i');
  p.put('ld', { rd: A0, rs1: T6, imm: caseField.fcsr });
  p.put('csrrw', { rd: ZERO, rs1: A0, csr: FCSR });
  for (let n = 0; n < 32; n += 8) {
    p.put('addi', { rd: A1, rs1: T6, imm: caseField.v + n * VLENB });
    p.put('vl8re8.v', { rd: n, rs1: A1 });
  }
  p.put('ld', { rd: A0, rs1: T6, imm: caseField.vl });
  p.put('ld', { rd: A1, rs1: T6, imm: caseField.vtype });
  p.put('vsetvl', { rd: ZERO, rs1: A0, rs2: A1 });
  for (const [csr, at] of [
    [VCSR, caseField.vcsr],
    [VSTART, caseField.vstart],
  ] as const) {
    p.put('ld', { rd: A0, rs1: T6, imm: at });
    p.put('csrrw', { rd: ZERO, rs1: A0, csr });
  }
  for (let n = 0; n < 32; n++) p.put('fld', { rd: n, rs1: T6, imm: caseField.f + 8 * n });
  for (let n = 1; n < 32; n++) p.put('ld', { rd: n, rs1: T6, imm: caseField.x + 8 * n });
  p.jump(CODE_AT);

  const handler = p.here; // a0: signal, a2: ucontext
  const write = (bytes: number) => {
    p.put('addi', { rd: A2, rs1: ZERO, imm: bytes });
    p.put('addi', { rd: A0, rs1: ZERO, imm: 1 });
    p.call(syscall.write);
  };
  p.set(A1, OUT);
  p.put('sd', { rs2: A0, rs1: A1, imm: 0 });
  // All of the vectors' state is as the instruction left it; vstart counts for stores too.
  p.set(T6, VECTORS_OUT);
  for (const [i, csr] of [VSTART, VL, VTYPE, VCSR].entries()) {
    p.put('csrrs', { rd: T0, rs1: ZERO, csr });
    p.put('sd', { rs2: T0, rs1: T6, imm: 8 * i });
  }
  p.put('csrrw', { rd: ZERO, rs1: ZERO, csr: VSTART });
  for (let n = 0; n < 32; n += 8) {
    p.put('addi', { rd: T0, rs1: T6, imm: 32 + n * VLENB });
    p.put('vs8r.v', { rd: n, rs1: T0 });
  }
  p.put('addi', { rd: A3, rs1: A2, imm: UCONTEXT_REGISTERS });
  write(resultField.x);
  p.put('addi', { rd: A1, rs1: A3, imm: 0 });
  write(resultField.vstart - resultField.x);
  p.set(A1, VECTORS_OUT);
  write(resultField.bytes - resultField.vstart);
  p.set(A1, WINDOW);
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
  view.setUint16(18, 243, true); // EM_RISCV
  view.setUint32(20, 1, true);
  long(24, TEXT);
  long(32, 64);
  view.setUint32(48, 5, true); // RVC, double-float ABI
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
  for (let at = 0; at < 4096; at += 2) view.setUint16(offsets.code + at, instruction('c.ebreak'), true);
  const inState = (address: number) => offsets.state + address - STATE;
  long(inState(ACTION), handler);
  long(inState(ACTION) + 8, SIGNAL_FLAGS);
  long(inState(ALTERNATE), SIGNAL_STACK);
  long(inState(ALTERNATE) + 16, SIGNAL_STACK_BYTES);
  return file;
}
