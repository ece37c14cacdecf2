/**
 * A program for 32-bit Arm Linux, written here from the instruction table, that runs cases: it reads them from standard input, loads all
 * registers, jumps to the instruction, and when that or the BKPT behind it faults, writes what the signal frame holds to standard output.
 * See layout.ts for the form of both. QEMU's user mode runs it.
 */
import { encodeFields, parseEncoding } from '../../guest/arm32/encoding.js';
import type { Fields } from '../../guest/arm32/row.js';
import { allRows } from '../../guest/arm32/table/index.js';
import { QemuUser, unavailable } from '../qemu-user.js';
import {
  ARM_BREAK,
  ARM_PAGE,
  CASE_BYTES,
  CODE_AT,
  CODE_BYTES,
  caseField,
  DATA,
  DATA_BYTES,
  FRAME_FLOAT,
  FRAME_REGISTERS,
  RESULT_BYTES,
  STATE,
  STATE_BYTES,
  TEXT,
  TEXT_BYTES,
  THUMB_BREAK,
  THUMB_PAGE,
  WINDOW,
  WINDOW_BYTES,
} from './layout.js';

const syscall = { exit: 1, read: 3, write: 4, sigaction: 174, sigaltstack: 186 } as const;
const SIGNALS = [4, 5, 7, 8, 11];
/** SA_SIGINFO | SA_ONSTACK | SA_NODEFER. */
const SIGNAL_FLAGS = 0x48000004;
/** Offsets in a ucontext: R0, and floating point behind its magic number and size. */
const UCONTEXT_REGISTERS = 32;
const UCONTEXT_FLOAT = 232;
const SIGNAL_STACK = STATE + 0x8000;
const SIGNAL_STACK_BYTES = 0x10000;
const OUT = STATE + 0x800;
const ACTION = STATE + 0xc00;
const ALTERNATE = STATE + 0xc40;

const armRows = allRows.filter(({ set }) => set === 'arm');

/** An A32 instruction by name and operands, as its row has them. */
function instruction(text: string, fields: Partial<Fields> = {}): number {
  const row = armRows.find(({ name, args }) => `${name} ${args.join(', ')}`.trim() === text);
  if (!row) throw new Error(`no instruction ${text}`);
  return encodeFields(parseEncoding(row), { cond: 14, ...fields });
}

class Program {
  readonly words: number[] = [];

  put(text: string, fields: Partial<Fields> = {}): void {
    this.words.push(instruction(text, fields));
  }
  get here(): number {
    return TEXT + 4 * this.words.length;
  }
  set(rd: number, value: number): void {
    this.put('movw rd, imm', { rd, imm: value & 0xffff });
    this.put('movt rd, imm', { rd, imm: value >>> 16 });
  }
  call(number: number): void {
    this.set(7, number);
    this.put('svc imm');
  }
  jump(target: number, cond = 14): void {
    this.put('b target', { cond, imm: target - this.here - 8 });
  }
  load(rd: number, rn: number, imm: number): void {
    this.put('ldr rd, [rn, imm]', { rd, rn, imm, p: 1, u: 1 });
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
  p.put('cmp rn, rm, shift', { rn: 0, rm: 2 });
  // Over what ends the program: two for each constant, and the call.
  p.jump(p.here + 4 * 6, 0);
  p.set(0, 0);
  p.call(syscall.exit);
  read(WINDOW, WINDOW_BYTES);
  p.set(0, STATE);
  p.load(3, 0, caseField.r + 60);
  p.put('bic rd, rn, const', { rd: 3, rn: 3, imm: 1 });
  for (let at = 0; at < CODE_BYTES; at += 4) {
    p.load(1, 0, caseField.code + at);
    p.put('str rd, [rn, imm]', { rd: 1, rn: 3, imm: at, p: 1, u: 1 });
  }
  p.put('isb imm', { imm: 15 });
  p.put('clrex');
  p.set(1, 0);
  p.put('mcr coproc, rd', { rd: 1, q: 1, rn: 13, imm: 2 });
  p.load(1, 0, caseField.fpscr);
  p.put('vmsr fpscr, rd', { rd: 1 });
  p.put('add rd, rn, const', { rd: 1, rn: 0, imm: caseField.v });
  for (const rd of [0, 16]) p.put('vldmia rn, list.d', { rn: 1, rd, imm: 32, w: 1 });
  p.load(1, 0, caseField.cpsr);
  p.put('msr psr, rn', { rn: 1, imm2: 12 });
  p.put('ldm rn, list', { rn: 0, imm: 0xffff, u: 1 });

  const handler = p.here; // r0: signal, r2: ucontext
  const write = (bytes: number) => {
    p.set(2, bytes);
    p.set(0, 1);
    p.call(syscall.write);
  };
  p.put('mov rd, rm, shift', { rd: 4, rm: 2 });
  p.set(1, OUT);
  p.put('str rd, [rn, imm]', { rd: 0, rn: 1, imm: 0, p: 1, u: 1 });
  write(4);
  p.put('add rd, rn, const', { rd: 1, rn: 4, imm: UCONTEXT_REGISTERS });
  write(FRAME_REGISTERS);
  p.put('add rd, rn, const', { rd: 1, rn: 4, imm: UCONTEXT_FLOAT });
  write(FRAME_FLOAT);
  p.set(1, WINDOW);
  write(WINDOW_BYTES);
  p.jump(next);
  return { words: p.words, handler };
}

/** The program as an ELF file. */
function runnerElf(): Uint8Array {
  const { words, handler } = runnerText();
  if (words.length * 4 > TEXT_BYTES) throw new Error('the runner is too long');
  const header = 4096;
  const variables = 0xd00;
  const arm = header + TEXT_BYTES;
  const offsets = { text: header, arm, thumb: arm + 4096, state: arm + 8192 };
  const file = new Uint8Array(offsets.state + variables);
  const view = new DataView(file.buffer);
  const word = (at: number, value: number) => view.setUint32(at, value, true);
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, 40, true); // EM_ARM
  word(20, 1);
  word(24, TEXT);
  word(28, 52);
  word(36, 0x05000000);
  view.setUint16(40, 52, true);
  view.setUint16(42, 32, true);
  const [X, W, R] = [1, 2, 4];
  const segments: readonly (readonly [number, number, number, number, number])[] = [
    [R | X, offsets.text, TEXT, TEXT_BYTES, TEXT_BYTES],
    [R | W | X, offsets.arm, ARM_PAGE, 4096, 4096],
    [R | W | X, offsets.thumb, THUMB_PAGE, 4096, 4096],
    [R | W, offsets.state, STATE, variables, STATE_BYTES],
    [R | W, offsets.state, DATA, 0, DATA_BYTES],
  ];
  view.setUint16(44, segments.length, true);
  for (const [i, [flags, offset, address, fileBytes, bytes]] of segments.entries()) {
    const at = 52 + 32 * i;
    for (const [n, value] of [1, offset, address, address, fileBytes, bytes, flags, 4096].entries()) {
      word(at + 4 * n, value);
    }
  }
  for (const [i, one] of words.entries()) word(offsets.text + 4 * i, one);
  for (let at = 0; at < 4096; at += 4) {
    word(offsets.arm + at, ARM_BREAK);
    word(offsets.thumb + at, THUMB_BREAK);
  }
  const inState = (address: number) => offsets.state + address - STATE;
  word(inState(ACTION), handler);
  word(inState(ACTION) + 4, SIGNAL_FLAGS);
  word(inState(ALTERNATE), SIGNAL_STACK);
  word(inState(ALTERNATE) + 8, SIGNAL_STACK_BYTES);
  return file;
}

const QEMU = 'qemu-arm';

export class QemuRunner extends QemuUser {
  /** `cpu`: the value of `-cpu`. */
  constructor(cpu: string) {
    super({
      qemu: QEMU,
      cpus: [cpu],
      program: runnerElf(),
      caseBytes: CASE_BYTES,
      resultBytes: RESULT_BYTES,
    });
  }
}

/** Why cases cannot run here; undefined if they can. */
export const qemuUnavailable = (): string | undefined => unavailable(QEMU);

/** Where a case's code lies, by its instruction set. */
export const codeAddress = (thumb: boolean): number => (thumb ? THUMB_PAGE : ARM_PAGE) + CODE_AT;
