/**
 * Compares what an instruction row does on the translator with what the real processor does: registers, defined flags, memory,
 * vector and x87 state, faults.
 */
import { field, xmm } from '../../guest/x86/state.js';
import type { InsnRow } from '../../guest/x86/translator.js';
import { allowedDifference } from './allowed-differences.js';
import { CaseGenerator, type RowCase } from './case-generator.js';
import {
  CASE_BYTES,
  CODE_AT,
  CODE_BYTES,
  caseHeader,
  codeAt,
  codeKind,
  DATA_BYTES,
  dataWindows,
  FX_BYTES,
  fx,
  RESULT_BYTES,
  RESULT_HEADER_BYTES,
  selector,
  signalRegister,
} from './layout.js';
import type { RowMachine } from './row-machine.js';

/** Status flags and DF. */
const COMPARED_FLAGS = 0xcd5;
const HLT = 0xf4;
/** Runs of one case on a machine that compiles what is hot: the last ones are compiled code. */
const HOT_RUNS = 4;

function writeCase(c: RowCase, out: Uint8Array): void {
  const view = new DataView(out.buffer, out.byteOffset, out.length);
  c.gprs.forEach((value, i) => {
    view.setBigUint64(caseHeader.gprs + 8 * i, value, true);
  });
  view.setBigUint64(caseHeader.rflags, BigInt(c.rflags), true);
  view.setBigUint64(caseHeader.entry, BigInt(CODE_AT), true);
  view.setUint32(caseHeader.far, codeAt(c.codeSize), true);
  view.setUint32(caseHeader.far + 4, c.codeSize === 16 ? selector.code16 : selector.code32, true);
  view.setUint32(caseHeader.kind, codeKind[c.codeSize], true);
  out.set(c.fx, caseHeader.bytes);
  out.set(c.code, caseHeader.bytes + FX_BYTES);
  out.set(c.data, caseHeader.bytes + FX_BYTES + CODE_BYTES);
}

/** What a run leaves, from either side. */
interface Outcome {
  gprs: bigint[];
  rip: bigint;
  flags: number;
  /** The fault, or 'done' if the HLT behind the instruction was reached. */
  end: string;
  fx: Uint8Array;
  data: Uint8Array;
}

function endOf(vector: number, error: number, cr2: bigint, rip: bigint, { code, codeSize }: RowCase): string {
  const at = Number(rip - BigInt(codeAt(codeSize)));
  const byte = at >= 0 && at < CODE_BYTES ? code[at] : at > -2048 && at < 2048 ? HLT : -1;
  if ((vector === 13 || vector === 6) && byte === HLT) return 'done';
  // What the host's kernel has mapped up there is no business of ours: whether the page is present is not compared.
  const visible = cr2 >= 0xffff800000000000n ? error & ~1 : error;
  return vector === 14 ? `#PF(${visible.toString(16)}) at ${cr2.toString(16)}` : `vector ${vector}`;
}

function nativeOutcome(result: Uint8Array, c: RowCase): Outcome {
  const view = new DataView(result.buffer, result.byteOffset, result.length);
  const register = (n: number) => view.getBigUint64(8 * n, true);
  const rip = register(signalRegister.rip);
  return {
    gprs: signalRegister.gprs.map(register),
    rip,
    flags: Number(register(signalRegister.eflags) & 0xffffffffn),
    end: endOf(
      Number(register(signalRegister.trap)),
      Number(register(signalRegister.error)),
      register(signalRegister.cr2),
      rip,
      c,
    ),
    fx: result.subarray(RESULT_HEADER_BYTES, RESULT_HEADER_BYTES + FX_BYTES),
    data: result.subarray(RESULT_HEADER_BYTES + FX_BYTES),
  };
}

function loadFx(machine: RowMachine, image: Uint8Array): void {
  const { state } = machine;
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  const status = view.getUint16(fx.status, true);
  const top = (status >> 11) & 7;
  state.setInt32(field.fpControl, view.getUint16(fx.control, true) | 0x40, true);
  state.setInt32(field.fpStatus, status & ~0x3800, true);
  state.setInt32(field.fpTop, top, true);
  state.setInt32(field.fpEmpty, ~view.getUint8(fx.tags) & 0xff, true);
  state.setInt32(field.mxcsr, view.getUint32(fx.mxcsr, true), true);
  // The images' instruction and operand pointers are 0.
  for (const offset of [field.fpOpcode, field.fpCs, field.fpDs]) state.setInt32(offset, 0, true);
  state.setBigUint64(field.fpIp, 0n, true);
  state.setBigUint64(field.fpDp, 0n, true);
  for (let i = 0; i < 8; i++) {
    const at = field.fpr + 16 * ((top + i) & 7);
    state.setBigUint64(at, view.getBigUint64(fx.st + 16 * i, true), true);
    state.setUint16(at + 8, view.getUint16(fx.st + 16 * i + 8, true), true);
  }
  for (let i = 0; i < 16; i++) {
    for (let part = 0; part < 16; part += 8) {
      state.setBigUint64(xmm[i].offset + part, view.getBigUint64(fx.xmm + 16 * i + part, true), true);
    }
  }
}

function saveFx(machine: RowMachine): Uint8Array {
  const { state } = machine;
  const image = new Uint8Array(FX_BYTES);
  const view = new DataView(image.buffer);
  const top = state.getInt32(field.fpTop, true) & 7;
  view.setUint16(fx.control, state.getInt32(field.fpControl, true), true);
  view.setUint16(fx.status, (state.getInt32(field.fpStatus, true) & ~0x3800) | (top << 11), true);
  view.setUint8(fx.tags, ~state.getInt32(field.fpEmpty, true) & 0xff);
  view.setUint32(fx.mxcsr, state.getInt32(field.mxcsr, true), true);
  for (let i = 0; i < 8; i++) {
    const at = field.fpr + 16 * ((top + i) & 7);
    view.setBigUint64(fx.st + 16 * i, state.getBigUint64(at, true), true);
    view.setUint16(fx.st + 16 * i + 8, state.getUint16(at + 8, true), true);
  }
  for (let i = 0; i < 16; i++) {
    for (let part = 0; part < 16; part += 8) {
      view.setBigUint64(fx.xmm + 16 * i + part, state.getBigUint64(xmm[i].offset + part, true), true);
    }
  }
  return image;
}

function runOnMachine(machine: RowMachine, c: RowCase, runs: number): Outcome {
  machine.setMode(c.codeSize);
  machine.writeCode(CODE_AT, c.code);
  for (let run = 0; run < runs; run++) {
    c.gprs.forEach((value, n) => {
      machine.writeGpr(n, value);
    });
    machine.clearData();
    let at = 0;
    for (const window of dataWindows) {
      for (let done = 0; done < window.bytes; ) {
        const count = Math.min(window.bytes - done, 4096 - ((window.start + done) & 4095));
        machine.bytesAt(window.start + done, count).set(c.data.subarray(at, at + count));
        at += count;
        done += count;
      }
    }
    loadFx(machine, c.fx);
    machine.eflags = c.rflags;
    machine.run(codeAt(c.codeSize));
  }
  const data = new Uint8Array(DATA_BYTES);
  let at = 0;
  for (const window of dataWindows) {
    for (let done = 0; done < window.bytes; ) {
      const count = Math.min(window.bytes - done, 4096 - ((window.start + done) & 4095));
      data.set(machine.bytesAt(window.start + done, count), at);
      at += count;
      done += count;
    }
  }
  const { vector, error, cr2 } = machine.outcome;
  return {
    gprs: c.gprs.map((_, n) => machine.readGpr(n)),
    rip: machine.pc,
    flags: machine.eflags,
    end: endOf(vector, error, cr2, machine.pc, c),
    fx: saveFx(machine),
    data,
  };
}

const hexOf = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
const gprNames = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');

/** Differences, as lines; `expected` is the processor's. */
function differences(row: InsnRow, c: RowCase, actual: Outcome, expected: Outcome): string[] {
  const found: string[] = [];
  const note = (what: string, ours: string, theirs: string) => {
    if (!allowedDifference(row, c, what, ours, theirs)) found.push(`${what}: ${ours}, processor: ${theirs}`);
  };
  if (actual.end !== expected.end) {
    note('end', actual.end, expected.end);
    // One of them did nothing: there is no more to compare.
    if (found.length === 0) return found;
  }
  if (actual.rip !== expected.rip) note('rip', actual.rip.toString(16), expected.rip.toString(16));
  // Upper halves are not preserved in code that is not 64-bit.
  const mask = c.codeSize !== 64 ? 0xffffffffn : 0xffffffffffffffffn;
  for (let n = 0; n < (c.codeSize === 64 ? 16 : 8); n++) {
    const [ours, theirs] = [actual.gprs[n] & mask, expected.gprs[n] & mask];
    if (ours !== theirs) note(gprNames[n], ours.toString(16), theirs.toString(16));
  }
  const compared = COMPARED_FLAGS & ~(expected.end === 'done' ? c.undefinedFlags : 0);
  if ((actual.flags ^ expected.flags) & compared) {
    note('flags', (actual.flags & compared).toString(16), (expected.flags & compared).toString(16));
  }
  for (let i = 0; i < DATA_BYTES; i++) {
    if (actual.data[i] !== expected.data[i]) {
      note(
        'memory',
        `${i.toString(16)}: ${hexOf(actual.data.subarray(i, i + 16))}`,
        hexOf(expected.data.subarray(i, i + 16)),
      );
      break;
    }
  }
  if (row.unit !== undefined) compareFx(actual.fx, expected.fx, note);
  return found;
}

function compareFx(
  ours: Uint8Array,
  theirs: Uint8Array,
  note: (what: string, ours: string, theirs: string) => void,
): void {
  const fields: [string, number, number][] = [
    ['fcw', fx.control, 2],
    ['fsw', fx.status, 2],
    ['tags', fx.tags, 1],
    ['mxcsr', fx.mxcsr, 4],
  ];
  for (let i = 0; i < 8; i++) fields.push([`st${i}`, fx.st + 16 * i, 10]);
  for (let i = 0; i < 16; i++) fields.push([`xmm${i}`, fx.xmm + 16 * i, 16]);
  for (const [name, at, bytes] of fields) {
    const [a, b] = [ours.subarray(at, at + bytes), theirs.subarray(at, at + bytes)];
    if (a.some((byte, i) => byte !== b[i])) note(name, hexOf(a), hexOf(b));
  }
}

export interface RowReport {
  cases: number;
  /** Cases that reached the end without a fault. */
  completed: number;
  /** This processor does not have the instruction: nothing was compared. */
  missing: boolean;
  /** What differed; empty if nothing did. */
  failures: string[];
}

/** A translator to test: `hot` runs each case until it is compiled; `share` of the cases are run on it. */
export interface TestedMachine {
  readonly name: string;
  readonly machine: RowMachine;
  readonly hot: boolean;
  readonly share: number;
}

/** A row's own seed, so that no two rows see the same numbers. */
export function rowSeed(row: InsnRow, seed: number): number {
  return [...row.name, ...row.enc].reduce((sum, letter) => (Math.imul(sum, 31) + letter.charCodeAt(0)) >>> 0, seed);
}

/** What knows the results of cases that lie one after another. */
export interface CaseRunner {
  /** 16-bit code is among what it knows. */
  readonly with16: boolean;
  run(cases: Uint8Array): Uint8Array;
}

interface SeededRow {
  readonly row: InsnRow;
  readonly seed: number;
}

/** `count` cases of each row, and their bytes one after another. */
export function writeCases(
  rows: readonly SeededRow[],
  count: number,
  with16: boolean,
): { cases: RowCase[][]; input: Uint8Array } {
  const input = new Uint8Array(rows.length * count * CASE_BYTES);
  let at = 0;
  const cases = rows.map(({ row, seed }) => {
    const generator = new CaseGenerator(row, seed, with16);
    return Array.from({ length: count }, () => {
      const c = generator.next();
      writeCase(c, input.subarray(at, (at += CASE_BYTES)));
      return c;
    });
  });
  return { cases, input };
}

/** Runs `count` cases of a row on the processor and on each machine. */
export function testRow(
  row: InsnRow,
  seed: number,
  count: number,
  native: CaseRunner,
  machines: readonly TestedMachine[],
): RowReport {
  return testRows([{ row, seed }], count, native, machines)[0];
}

/** Runs `count` cases of each row, all in one run of the native program. */
export function testRows(
  rows: readonly SeededRow[],
  count: number,
  native: CaseRunner,
  machines: readonly TestedMachine[],
): RowReport[] {
  const { cases, input } = writeCases(rows, count, native.with16);
  const results = native.run(input);
  const each = count * RESULT_BYTES;
  return rows.map(({ row, seed }, i) =>
    judgeRow(row, seed, cases[i], results.subarray(i * each, (i + 1) * each), machines),
  );
}

/** Runs a row's cases on each machine and compares with the processor's results. */
function judgeRow(
  row: InsnRow,
  seed: number,
  cases: readonly RowCase[],
  results: Uint8Array,
  machines: readonly TestedMachine[],
): RowReport {
  const count = cases.length;
  const report: RowReport = { cases: count, completed: 0, missing: false, failures: [] };
  const outcomes = cases.map((c, i) => nativeOutcome(results.subarray(i * RESULT_BYTES, (i + 1) * RESULT_BYTES), c));
  if (row.cpuid !== undefined && outcomes.every(({ end }) => end === 'vector 6')) return { ...report, missing: true };
  for (const [i, c] of cases.entries()) {
    const expected = outcomes[i];
    c.faulted = expected.end !== 'done';
    if (!c.faulted) report.completed++;
    for (const { name, machine, hot, share } of machines) {
      if (i >= Math.ceil(count * share)) continue;
      const actual = runOnMachine(machine, c, hot ? HOT_RUNS : 1);
      const found = differences(row, c, actual, expected);
      if (found.length === 0) continue;
      const registers = c.gprs.map((value, n) => `${gprNames[n]}=${value.toString(16)}`).join(' ');
      report.failures.push(
        `${row.name} '${row.enc}' case ${i} of seed ${seed}, ${name}, ${c.codeSize}-bit code: ` +
          `${hexOf(c.code.subarray(0, c.length + 4))}\n  flags ${c.rflags.toString(16)} ${registers}\n  ${found.join('\n  ')}`,
      );
    }
  }
  return report;
}
