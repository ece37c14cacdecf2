/** Every row of the AArch32 instruction table with random operands, on both tiers, against QEMU's user mode. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { disassemble } from '../../guest/arm32/disassemble.js';
import { DecoderTables, type Encoding } from '../../guest/arm32/encoding.js';
import { parseArm32Cpu } from '../../guest/arm32/models.js';
import type { InsnRow } from '../../guest/arm32/row.js';
import { rowsOf } from '../../guest/arm32/table/index.js';
import { Random } from '../random-operands.js';
import { type RowCase, randomCase } from './cases.js';
import { CASE_BYTES, caseField, RESULT_BYTES, resultField } from './layout.js';
import { Arm32RowMachine, type Outcome } from './machine.js';
import { QemuRunner, qemuUnavailable } from './runner.js';

/** A fresh seed each day; `VRING_SEED` repeats a run. */
const seed = Number(process.env['VRING_SEED'] ?? Math.floor(Date.now() / 86_400_000));
const CASES = Number(process.env['VRING_ROW_CASES'] ?? 12);
/** Runs of a case on a machine that compiles what is hot: the last one is compiled code. */
const HOT_RUNS = 4;
/** What has many rows alike has no more cases of each than this. */
const FEW = 40;
/** The share of the cases that are compiled: each is a module. */
const HOT_SHARE = 0.25;

/** What a user program cannot show: a system call, and one of the host (HLT), which QEMU's user mode answers. */
const untested = new Set(['svc', 'hlt']);
/**
 * CPSR as it is compared: without ITSTATE, which code behind an IT whose condition holds for the whole block does not keep
 * (block-translator.ts), and without masks, which QEMU's user mode leaves clear.
 */
const CPSR = ~0x0600fdc0;

/** Bits of FPSCR that QEMU's Cortex-A15 keeps, and the real one has not. */
const LEN_AND_STRIDE = 0x00370000;

const skip = qemuUnavailable() ?? false;

/** What one CPU model's rows are run on. */
class Bed {
  readonly name: string;
  readonly qemu: QemuRunner;
  readonly cold: Arm32RowMachine;
  readonly hot: Arm32RowMachine;
  readonly tables: DecoderTables;

  constructor(name: string) {
    this.name = name;
    const model = parseArm32Cpu(name);
    this.qemu = new QemuRunner(name);
    this.cold = new Arm32RowMachine(0, model);
    this.hot = new Arm32RowMachine(2, model);
    this.tables = new DecoderTables(rowsOf(model));
  }
}
const beds = skip ? [] : ['cortex-a15', 'max'].map((name) => new Bed(name));
after(() => {
  for (const { qemu } of beds) qemu.close();
});

/** Where QEMU's user mode has the program's stack, which no case is meant to reach. */
const QEMU_STACK = { start: 0x40000000, end: 0x41000000 } as const;
const SIGSEGV = 11;

function differences(actual: Outcome, result: Uint8Array): string[] {
  const view = new DataView(result.buffer, result.byteOffset, result.length);
  const { signal, faultAddress } = actual;
  if (signal === SIGSEGV && faultAddress >= QEMU_STACK.start && faultAddress < QEMU_STACK.end) return [];
  const found: string[] = [];
  const compare = (what: string, ours: bigint | number, theirs: bigint | number) => {
    if (ours !== theirs) found.push(`${what}: ${ours.toString(16)}, QEMU: ${theirs.toString(16)}`);
  };
  compare('signal', actual.signal, view.getUint32(resultField.signal, true));
  for (let n = 0; n < 16; n++) compare(`r${n}`, actual.r[n], view.getUint32(resultField.r + 4 * n, true));
  compare('cpsr', (actual.cpsr & CPSR) >>> 0, (view.getUint32(resultField.cpsr, true) & CPSR) >>> 0);
  for (let n = 0; n < 32; n++) compare(`d${n}`, actual.d[n], view.getBigUint64(resultField.v + 8 * n, true));
  compare('fpscr', actual.fpscr >>> 0, (view.getUint32(resultField.fpscr, true) & ~LEN_AND_STRIDE) >>> 0);
  for (const [i, theirs] of result.subarray(resultField.bytes).entries()) {
    compare(`memory +${i.toString(16)}`, actual.window[i], theirs);
  }
  return found;
}

const describe = (tables: DecoderTables, { set }: InsnRow, { bytes, word }: RowCase): string => {
  const view = new DataView(bytes.buffer);
  const r = Array.from({ length: 16 }, (_, n) => view.getUint32(4 * n, true).toString(16));
  const d = Array.from({ length: 32 }, (_, n) => view.getBigUint64(caseField.v + 8 * n, true).toString(16));
  const modes = (['cpsr', 'fpscr'] as const).map(
    (name) => `${name} ${view.getUint32(caseField[name], true).toString(16)}`,
  );
  const first = view.getUint32(caseField.code, true).toString(16);
  const { text } = disassemble(tables, set === 'thumb', word, 0n);
  return `${text} (${(word >>> 0).toString(16)}, code ${first}), ${modes.join(', ')}\n  r ${r.join(' ')}\n  d ${d.join(' ')}`;
};

const seedOf = (name: string): number =>
  [...name].reduce((sum, letter) => (Math.imul(sum, 31) + letter.charCodeAt(0)) >>> 0, seed);

function testRows(encodings: readonly Encoding[], count: number, { qemu, cold, hot, tables }: Bed): void {
  const cases = encodings.map((encoding) => {
    const random = new Random(seedOf(encoding.row.name + encoding.row.enc));
    return Array.from({ length: count }, () => randomCase(encoding, tables, random));
  });
  const input = new Uint8Array(encodings.length * count * CASE_BYTES);
  for (const [i, { bytes }] of cases.flat().entries()) input.set(bytes, i * CASE_BYTES);
  const results = qemu.run(input);
  const failures: string[] = [];
  const names = new Set<string>();
  let done = 0;
  for (const [i, list] of cases.entries()) {
    for (const [k, one] of list.entries()) {
      const at = (i * count + k) * RESULT_BYTES;
      const result = results.subarray(at, at + RESULT_BYTES);
      if (result[resultField.signal] === 5) done++;
      for (const [tier, machine, runs] of [
        ['cold tier', cold, 1],
        ['compiled code', hot, HOT_RUNS],
      ] as const) {
        if (machine === hot && k >= count * HOT_SHARE) continue;
        const found = differences(machine.run(one.bytes, runs), result);
        if (found.length === 0) continue;
        // The first of each row tells most.
        const { row } = encodings[i];
        const key = `${row.set} ${row.name} ${row.args.join(', ')}`;
        const text = `${key}, case ${k}, ${tier}: ${describe(tables, row, one)}\n  ${found.slice(0, 6).join('\n  ')}`;
        if (names.has(key)) failures.push(text);
        else failures.unshift(text);
        names.add(key);
      }
    }
  }
  const summary = `${failures.length} differences in ${names.size} rows (${[...names].join('; ')}), the first:\n`;
  assert.equal(failures.length, 0, summary + failures.slice(0, Number(process.env['VRING_SHOW'] ?? 4)).join('\n'));
  assert.ok(done > encodings.length, 'some cases end without a fault');
}

const isNew = ({ isV8, features }: InsnRow): boolean => isV8 === true || features !== undefined;
/** Cortex-A15 has all but what came later. */
const families: Readonly<Record<string, readonly [cpu: string, belongs: (row: InsnRow) => boolean]>> = {
  'A32 memory access': ['cortex-a15', (row) => row.set === 'arm' && row.bytes !== undefined],
  'A32 general': ['cortex-a15', (row) => row.set === 'arm' && row.bytes === undefined && !row.float],
  'T32 memory access': ['cortex-a15', (row) => row.set === 'thumb' && row.bytes !== undefined],
  'T32 general': ['cortex-a15', (row) => row.set === 'thumb' && row.bytes === undefined && !row.float],
  'floating-point': ['cortex-a15', (row) => row.bytes === undefined && row.float === 'vfp'],
  'A32 Advanced SIMD': ['cortex-a15', (row) => row.set === 'arm' && row.bytes === undefined && row.float === 'simd'],
  'T32 Advanced SIMD': ['cortex-a15', (row) => row.set === 'thumb' && row.bytes === undefined && row.float === 'simd'],
  "Armv8's": ['max', isNew],
};

for (const [family, [cpu, belongs]] of Object.entries(families)) {
  test(`${family} instructions do what QEMU's do (seed ${seed})`, { skip }, () => {
    const bed = beds.find(({ name }) => name === cpu);
    assert.ok(bed);
    const chosen = bed.tables.encodings.filter(({ row }) => !untested.has(row.name) && belongs(row));
    const before = bed.hot.engine.compiler.counters.regions;
    testRows(
      chosen,
      chosen.some(({ row }) => row.float === 'simd' && row.bytes === undefined) ? Math.min(CASES, FEW) : CASES,
      bed,
    );
    assert.ok(bed.hot.engine.compiler.counters.regions - before > chosen.length / 2, 'hot code was compiled');
  });
}
