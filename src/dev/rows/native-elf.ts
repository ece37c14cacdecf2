/**
 * A program for x86-64 Linux, written here byte by byte, that runs single instructions on the real processor: it reads cases
 * from standard input, loads all registers, jumps to the instruction, and when that or the HLT behind it faults, writes what
 * the signal frame holds to standard output. See layout.ts for the form of both.
 */
import {
  CASE_BYTES,
  CODE_AT,
  CODE_BYTES,
  caseHeader,
  codeKind,
  codeRegion,
  dataRegion,
  dataWindows,
  FS_BASE,
  FX_BYTES,
  GS_BASE,
  RESULT_HEADER_BYTES,
  selector,
} from './layout.js';

const TEXT = 0x10000000;
const STATE = 0x11000000;
const STATE_BYTES = 0x40000;
const IN = STATE;
const IN_FX = STATE + 0x400;
const OUT = STATE + 0x800;
const OUT_FX = STATE + 0xc00;
const SCRATCH_STACK = STATE + 0x4000;
/**
 * No number that cases make: where one leaves its stack pointer in here, Linux goes on there, as in a handler within a handler, and finds
 * no room. Above 4 GiB for those of 32-bit code, and no power of two, which the others are often a bit away from.
 */
const SIGNAL_STACK = 0x3579bdf10000;
const SIGNAL_STACK_BYTES = 0x30000;

const syscall = {
  write: 1,
  sigaction: 13,
  readv: 19,
  writev: 20,
  exit: 60,
  sigaltstack: 131,
  modifyLdt: 154,
  archPrctl: 158,
} as const;
const WRITE_LDT = 0x11;
const SET_GS = 0x1001;
const SET_FS = 0x1002;
/** struct user_desc: entry, base, limit, and flags: contents in bits 1-2 (0 data, 2 code), bit 6: useable. */
const DESCRIPTOR_BYTES = 16;
const descriptors = [
  [selector.code16 >> 3, codeRegion.start, 0xffff, (2 << 1) | (1 << 6)],
  [selector.data16 >> 3, dataRegion.start, dataRegion.bytes - 1, 1 << 6],
];
const SIGNALS = [4, 5, 7, 8, 11];
/** SA_SIGINFO | SA_RESTORER | SA_ONSTACK | SA_NODEFER. */
const SIGNAL_FLAGS = 0x4c000004;
/** Offsets in a ucontext: general registers, pointer to the FXSAVE image. */
const UCONTEXT_REGISTERS = 40;
const UCONTEXT_FPSTATE = UCONTEXT_REGISTERS + RESULT_HEADER_BYTES;

/** Machine code with labels for near jumps. */
class Code {
  readonly bytes: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #uses: { at: number; label: string }[] = [];

  put(...bytes: number[]): void {
    this.bytes.push(...bytes);
  }

  word(value: number): void {
    this.put(value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >>> 24) & 0xff);
  }

  label(name: string): void {
    this.#labels.set(name, this.bytes.length);
  }

  addressOf(label: string): number {
    const at = this.#labels.get(label);
    if (at === undefined) throw new Error(`no label ${label}`);
    return TEXT + at;
  }

  /** An instruction that ends in a 32-bit displacement to a label. */
  toLabel(label: string, ...opcode: number[]): void {
    this.put(...opcode);
    this.#uses.push({ at: this.bytes.length, label });
    this.word(0);
  }

  /** mov r32, imm32 (zero-extended). */
  set(register: number, value: number): void {
    this.put(0xb8 + register);
    this.word(value);
  }

  /** An instruction whose operand is an absolute address below 2^31: opcode, ModRM.reg. */
  absolute(opcode: readonly number[], reg: number, address: number): void {
    this.put(...opcode, 0x04 | ((reg & 7) << 3), 0x25);
    this.word(address);
  }

  link(): Uint8Array {
    for (const { at, label } of this.#uses) {
      const distance = this.addressOf(label) - (TEXT + at + 4);
      for (let i = 0; i < 4; i++) this.bytes[at + i] = (distance >> (8 * i)) & 0xff;
    }
    return Uint8Array.from(this.bytes);
  }
}

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RSI = 6;
const RDI = 7;

/** The program's text; `tables` is where its constant tables will lie. */
interface Tables {
  readonly signalStack: number;
  readonly action: number;
  readonly input: number;
  readonly output: number;
  /** What modify_ldt is to write. */
  readonly descriptors: readonly number[];
}

function program(tables: Tables): Code {
  const code = new Code();
  const call = (number: number) => {
    code.set(RAX, number);
    code.put(0x0f, 0x05);
  };
  code.set(RDI, tables.signalStack);
  code.set(RSI, 0);
  call(syscall.sigaltstack);
  for (const descriptor of tables.descriptors) {
    code.set(RDI, WRITE_LDT);
    code.set(RSI, descriptor);
    code.set(RDX, DESCRIPTOR_BYTES);
    call(syscall.modifyLdt);
  }
  for (const [which, base] of [
    [SET_FS, FS_BASE],
    [SET_GS, GS_BASE],
  ]) {
    code.set(RDI, which);
    code.set(RSI, base);
    call(syscall.archPrctl);
  }
  for (const signal of SIGNALS) {
    code.set(RDI, signal);
    code.set(RSI, tables.action);
    code.set(RDX, 0);
    code.put(0x41, 0xba); // mov r10d, 8
    code.word(8);
    call(syscall.sigaction);
  }
  code.label('next');
  code.set(RDI, dataRegion.start);
  code.set(RCX, dataRegion.bytes / 8);
  code.set(RAX, 0);
  code.put(0xf3, 0x48, 0xab); // rep stosq
  code.set(RDI, 0);
  code.set(RSI, tables.input);
  code.set(RDX, 3 + dataWindows.length);
  call(syscall.readv);
  code.put(0x3d); // cmp eax, imm32
  code.word(CASE_BYTES);
  code.toLabel('exit', 0x0f, 0x85);
  // The data segments of code that is not 64-bit.
  const loadSegments = (data: number) => {
    code.set(RAX, data);
    code.put(0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0); // mov ds, es, ss
  };
  loadSegments(selector.data);
  code.absolute([0x83], 7, IN + caseHeader.kind); // cmp dword, imm8
  code.put(codeKind[16]);
  code.toLabel('flat', 0x0f, 0x85);
  loadSegments(selector.data16);
  code.label('flat');
  code.absolute([0x48, 0x0f, 0xae], 1, IN_FX); // fxrstor64
  const loadRegisters = () => {
    code.put(0xbc); // mov esp, imm32
    code.word(SCRATCH_STACK);
    code.absolute([0xff], 6, IN + caseHeader.rflags); // push
    code.put(0x9d); // popfq
    for (const n of [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 4]) {
      code.absolute([n < 8 ? 0x48 : 0x4c, 0x8b], n, IN + 8 * n);
    }
  };
  code.absolute([0x83], 7, IN + caseHeader.kind); // cmp dword, imm8
  code.put(codeKind[64]);
  code.toLabel('compatibility', 0x0f, 0x85);
  loadRegisters();
  code.absolute([0xff], 4, IN + caseHeader.entry); // jmp qword
  code.label('compatibility');
  loadRegisters();
  code.absolute([0xff], 5, IN + caseHeader.far); // jmp far m16:32

  code.label('handler'); // rdx: ucontext
  code.put(0x48, 0x8d, 0x72, UCONTEXT_REGISTERS); // lea rsi, [rdx + ...]
  code.set(RDI, OUT);
  code.set(RCX, RESULT_HEADER_BYTES / 8);
  code.put(0xf3, 0x48, 0xa5); // rep movsq
  code.put(0x48, 0x8b, 0xb2); // mov rsi, [rdx + ...]
  code.word(UCONTEXT_FPSTATE);
  code.set(RDI, OUT_FX);
  code.set(RCX, FX_BYTES / 8);
  code.put(0xf3, 0x48, 0xa5);
  code.set(RDI, 1);
  code.set(RSI, tables.output);
  code.set(RDX, 2 + dataWindows.length);
  call(syscall.writev);
  code.toLabel('next', 0xe9);
  code.label('exit');
  code.set(RDI, 0);
  call(syscall.exit);
  return code;
}

function quads(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(8 * values.length);
  const view = new DataView(bytes.buffer);
  values.forEach((value, i) => {
    view.setBigUint64(8 * i, BigInt(value), true);
  });
  return bytes;
}

/** The whole ELF executable. */
export function nativeRunner(): Uint8Array {
  // The tables follow the text; its length does not depend on their addresses.
  const length = program({ signalStack: 0, action: 0, input: 0, output: 0, descriptors: [0, 0] }).bytes.length;
  const start = TEXT + Math.ceil(length / 16) * 16;
  const windows = dataWindows.flatMap((window) => [window.start, window.bytes]);
  const input = [IN, caseHeader.bytes, IN_FX, FX_BYTES, CODE_AT, CODE_BYTES, ...windows];
  const output = [OUT, RESULT_HEADER_BYTES, OUT_FX, FX_BYTES, ...windows];
  const lists = start + 56;
  const after = lists + 8 * (input.length + output.length);
  const tables = {
    signalStack: start,
    action: start + 24,
    input: lists,
    output: lists + 8 * input.length,
    descriptors: descriptors.map((_, i) => after + DESCRIPTOR_BYTES * i),
  };
  const code = program(tables);
  const text = code.link();
  const end = after + DESCRIPTOR_BYTES * descriptors.length - TEXT;
  const image = new Uint8Array(end);
  image.set(text);
  const place = (address: number, bytes: Uint8Array) => image.set(bytes, address - TEXT);
  place(tables.signalStack, quads(SIGNAL_STACK, 0, SIGNAL_STACK_BYTES));
  place(tables.action, quads(code.addressOf('handler'), SIGNAL_FLAGS, code.addressOf('exit'), 0));
  place(tables.input, quads(...input));
  place(tables.output, quads(...output));
  for (const [i, words] of descriptors.entries()) {
    place(tables.descriptors[i], new Uint8Array(Uint32Array.from(words).buffer));
  }

  const page = 4096;
  const segments = [
    { address: TEXT, bytes: image, memory: image.length, flags: 5 },
    {
      address: codeRegion.start,
      bytes: new Uint8Array(codeRegion.bytes).fill(0xf4),
      memory: codeRegion.bytes,
      flags: 7,
    },
    { address: STATE, bytes: new Uint8Array(0), memory: STATE_BYTES, flags: 6 },
    { address: dataRegion.start, bytes: new Uint8Array(0), memory: dataRegion.bytes, flags: 6 },
    { address: SIGNAL_STACK, bytes: new Uint8Array(0), memory: SIGNAL_STACK_BYTES, flags: 6 },
  ];
  const file: number[] = new Array(page).fill(0);
  const header = new DataView(new ArrayBuffer(page));
  const headers = new Uint8Array(header.buffer);
  headers.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  header.setUint16(16, 2, true); // ET_EXEC
  header.setUint16(18, 62, true); // EM_X86_64
  header.setUint32(20, 1, true);
  header.setBigUint64(24, BigInt(TEXT), true);
  header.setBigUint64(32, 64n, true);
  header.setUint16(52, 64, true);
  header.setUint16(54, 56, true);
  header.setUint16(56, segments.length, true);
  for (const [i, segment] of segments.entries()) {
    const at = 64 + 56 * i;
    header.setUint32(at, 1, true); // PT_LOAD
    header.setUint32(at + 4, segment.flags, true);
    header.setBigUint64(at + 8, BigInt(file.length), true);
    header.setBigUint64(at + 16, BigInt(segment.address), true);
    header.setBigUint64(at + 24, BigInt(segment.address), true);
    header.setBigUint64(at + 32, BigInt(segment.bytes.length), true);
    header.setBigUint64(at + 40, BigInt(segment.memory), true);
    header.setBigUint64(at + 48, BigInt(page), true);
    file.push(...segment.bytes);
    while (file.length % page !== 0) file.push(0);
  }
  const whole = Uint8Array.from(file);
  whole.set(headers);
  return whole;
}
