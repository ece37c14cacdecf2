/** Every row of the AArch64 instruction table with random operands, on both tiers, against QEMU's user mode. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { disassemble } from '../../guest/arm/disassemble.js';
import { DecoderTables, type Encoding } from '../../guest/arm/encoding.js';
import type { InsnRow } from '../../guest/arm/row.js';
import { exceptionClass, fault } from '../../guest/arm/state.js';
import { allRows } from '../../guest/arm/table/index.js';
import { Random } from '../random-operands.js';
import { type RowCase, randomCase } from './cases.js';
import { CASE_BYTES, caseField, RESULT_BYTES, resultField } from './layout.js';
import { ArmRowMachine, type Outcome } from './machine.js';
import { QemuRunner, qemuUnavailable } from './runner.js';

/** A fresh seed each day; `VRING_SEED` repeats a run. */
const seed = Number(process.env['VRING_SEED'] ?? Math.floor(Date.now() / 86_400_000));
const CASES = Number(process.env['VRING_ROW_CASES'] ?? 12);
/** Runs of a case on a machine that compiles what is hot: the last one is compiled code. */
const HOT_RUNS = 4;
/** The share of the cases that are compiled: each is a module. */
const HOT_SHARE = 0.25;

/**
 * What a user program cannot show: a system call, and one of the host (HLT), which QEMU's user mode answers; WFI, which QEMU's user mode takes for a pause. Pointer authentication, whose keys a
 * user program cannot set, is in ../arm-bare.
 */
const untested = new Set(['svc', 'hlt', 'wfi']);

/** Bits of FPCR and FPSR that only a CPU with AArch32 has, as QEMU's. */
const LEN_AND_STRIDE = 0x00370000;
const FLAGS_OF_AARCH32 = 0xf0000000;

const skip = qemuUnavailable() ?? false;
const runner = skip ? undefined : new QemuRunner();
after(() => runner?.close());
const cold = new ArmRowMachine(0);
const hot = new ArmRowMachine(2);
const tables = new DecoderTables(allRows);

/** The signal that Linux makes of an exception. */
function signalOf(esr: number): number {
  switch (esr >>> 26) {
    case exceptionClass.unknown:
    case exceptionClass.system:
      return 4;
    case exceptionClass.brk:
      return 5;
    case exceptionClass.pcAlignment:
      return 7;
    case exceptionClass.dataAbort:
      return (esr & 63) === fault.alignment ? 7 : 11;
    default:
      return 11;
  }
}

/**
 * FCVTZS of a scalar of half precision with a fraction: QEMU 7.2 extends the result's sign to 32 bits, where the manual has zeros
 * (C7.2.127, V[d] = result of esize bits).
 */
const extendsSign = (row: InsnRow): boolean => row.name === 'fcvtzs' && row.args.join() === 'hd,hn,imm';

/** FPCR.FZ. */
const FLUSH_TO_ZERO = 1 << 24;

/** FJCVTZS of a positive denormal that is flushed: Z is 0 (FPToFixedJS of the Arm ARM); QEMU 7.2 sets it. */
function isFlushedScript(row: InsnRow, word: number, { fpcr, v }: Outcome): boolean {
  const operand = v[2 * ((word >>> 5) & 31)];
  return row.name === 'fjcvtzs' && (fpcr & FLUSH_TO_ZERO) !== 0 && operand > 0n && operand < 1n << 52n;
}

function differences(row: InsnRow, word: number, actual: Outcome, result: Uint8Array): string[] {
  const view = new DataView(result.buffer, result.byteOffset, result.length);
  const found: string[] = [];
  const compare = (what: string, ours: bigint | number, theirs: bigint | number) => {
    if (ours !== theirs) found.push(`${what}: ${ours.toString(16)}, QEMU: ${theirs.toString(16)}`);
  };
  compare('signal', signalOf(actual.esr), Number(view.getBigUint64(resultField.signal, true)));
  compare('pc', actual.pc, view.getBigUint64(resultField.pc, true));
  for (let n = 0; n < 32; n++)
    compare(n < 31 ? `x${n}` : 'sp', actual.x[n], view.getBigUint64(resultField.x + 8 * n, true));
  for (let n = 0; n < 64; n++) {
    const theirs = view.getBigUint64(resultField.v + 8 * n, true);
    const isExtended = extendsSign(row) && n === 2 * (word & 31);
    compare(`v${n >> 1}.d[${n & 1}]`, actual.v[n], isExtended ? theirs & 0xffffn : theirs);
  }
  const nzcv = Number(view.getBigUint64(resultField.pstate, true) & 0xf0000000n);
  compare('nzcv', actual.nzcv, isFlushedScript(row, word, actual) ? 0 : nzcv);
  compare('fpcr', actual.fpcr, view.getUint32(resultField.fpcr, true) & ~LEN_AND_STRIDE);
  compare('fpsr', actual.fpsr, view.getUint32(resultField.fpsr, true) & ~FLAGS_OF_AARCH32);
  for (const [i, theirs] of result.subarray(resultField.bytes).entries()) {
    compare(`memory +${i.toString(16)}`, actual.window[i], theirs);
  }
  return found;
}

const describe = ({ bytes, word }: RowCase): string => {
  const view = new DataView(bytes.buffer);
  const x = Array.from({ length: 32 }, (_, n) => view.getBigUint64(8 * n, true).toString(16));
  const v = Array.from(
    { length: 32 },
    (_, n) =>
      `${view.getBigUint64(caseField.v + 16 * n + 8, true).toString(16)}:${view.getBigUint64(caseField.v + 16 * n, true).toString(16)}`,
  );
  const modes = (['nzcv', 'fpcr', 'fpsr'] as const).map(
    (name) => `${name} ${view.getUint32(caseField[name], true).toString(16)}`,
  );
  const text = disassemble(tables, word, 0n).text;
  return `${text} (${(word >>> 0).toString(16)}), ${modes.join(', ')}\n  x ${x.join(' ')}\n  v ${v.join(' ')}`;
};

function seedOf(name: string): number {
  return [...name].reduce((sum, letter) => (Math.imul(sum, 31) + letter.charCodeAt(0)) >>> 0, seed);
}

function testRows(encodings: readonly Encoding[], qemu: QemuRunner): void {
  const cases = encodings.map((encoding) => {
    const random = new Random(seedOf(encoding.row.name + encoding.row.enc));
    return Array.from({ length: CASES }, () => randomCase(encoding, tables, random));
  });
  const input = new Uint8Array(encodings.length * CASES * CASE_BYTES);
  for (const [i, { bytes }] of cases.flat().entries()) input.set(bytes, i * CASE_BYTES);
  const results = qemu.run(input);
  const failures: string[] = [];
  const names = new Set<string>();
  let done = 0;
  for (const [i, list] of cases.entries()) {
    for (const [k, one] of list.entries()) {
      const at = (i * CASES + k) * RESULT_BYTES;
      const result = results.subarray(at, at + RESULT_BYTES);
      if (result[resultField.signal] === 5) done++;
      for (const [tier, machine, runs] of [
        ['cold tier', cold, 1],
        ['compiled code', hot, HOT_RUNS],
      ] as const) {
        if (machine === hot && k >= CASES * HOT_SHARE) continue;
        const found = differences(encodings[i].row, one.word, machine.run(one.bytes, runs), result);
        if (found.length === 0) continue;
        // The first of each row tells most.
        const { row } = encodings[i];
        const key = `${row.name} ${row.args.join(', ')}`;
        const text = `${key}, case ${k}, ${tier}: ${describe(one)}\n  ${found.slice(0, 6).join('\n  ')}`;
        if (names.has(key)) failures.push(text);
        else failures.unshift(text);
        names.add(key);
      }
    }
  }
  const summary = `${failures.length} differences in ${names.size} rows (${[...names].join('; ')}), the first:\n`;
  assert.equal(failures.length, 0, summary + failures.slice(0, 4).join('\n'));
  assert.ok(done > encodings.length, 'some cases end without a fault');
}

const families: Readonly<Record<string, (encoding: Encoding) => boolean>> = {
  'memory access': ({ row }) => row.bytes !== undefined,
  'SIMD and floating-point': ({ row }) => row.float === true && row.bytes === undefined,
  general: ({ row }) => row.float !== true && row.bytes === undefined,
};

for (const [family, belongs] of Object.entries(families)) {
  test(`AArch64 ${family} instructions do what QEMU's do (seed ${seed})`, { skip }, () => {
    assert.ok(runner);
    const chosen = tables.encodings
      .filter(({ row }) => !untested.has(row.name) && !row.features?.includes('pauth'))
      .filter(belongs);
    const before = hot.engine.compiler.counters.regions;
    testRows(chosen, runner);
    assert.ok(hot.engine.compiler.counters.regions - before > chosen.length, 'hot code was compiled');
  });
}
