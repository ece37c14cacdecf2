/** Every row of the RISC-V instruction table with random operands, on both tiers, against QEMU's user mode. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { disassemble } from '../../guest/riscv/disassemble.js';
import { DecoderTables, type Encoding, parseEncoding } from '../../guest/riscv/encoding.js';
import { cause, floatNames, integerNames } from '../../guest/riscv/state.js';
import { allRows } from '../../guest/riscv/table/index.js';
import { Random } from '../random-operands.js';
import { type RowCase, randomCase } from './cases.js';
import { CASE_BYTES, caseField, RESULT_BYTES, resultField } from './layout.js';
import { type Outcome, RiscvRowMachine } from './machine.js';
import { QemuRunner, qemuUnavailable } from './runner.js';

/** A fresh seed each day; `VRING_SEED` repeats a run. */
const seed = Number(process.env['VRING_SEED'] ?? Math.floor(Date.now() / 86_400_000));
const CASES = Number(process.env['VRING_ROW_CASES'] ?? 40);
/** There are twice as many rows of vectors as of all else. */
const VECTOR_CASES = Math.ceil(CASES / 5);
/** Runs of a case on a machine that compiles what is hot: the last one is compiled code. */
const HOT_RUNS = 4;
/** The share of the cases that are compiled: each is a module. */
const HOT_SHARE = 0.25;

/** What a user program cannot show: a system call; WFI, which QEMU's user mode takes for a pause. */
const untested = new Set(['ecall', 'wfi']);
/** What QEMU 7.2 does not have yet, and vector conversions that round towards zero, at which it aborts. */
const isNew = (name: string): boolean => name.startsWith('cbo.') || isTowardZero(name);
const isTowardZero = (name: string): boolean => /^vf.*\.rtz\./.test(name);

const skip = qemuUnavailable() ?? false;
const runner = skip ? undefined : new QemuRunner();
after(() => runner?.close());
const cold = new RiscvRowMachine(0);
const hot = new RiscvRowMachine(2);
const tables = new DecoderTables(allRows);

/** SIGTRAP: the EBREAK behind the instruction. */
const TRAP = 5;

/** The signal that Linux makes of a trap. */
function signalOf(code: number): number {
  switch (code) {
    case cause.illegalInstruction:
      return 4;
    case cause.breakpoint:
      return 5;
    case cause.loadMisaligned:
    case cause.storeMisaligned:
      return 7;
    default:
      return 11;
  }
}

function differences(actual: Outcome, result: Uint8Array): string[] {
  const view = new DataView(result.buffer, result.byteOffset, result.length);
  const found: string[] = [];
  const compare = (what: string, ours: bigint | number, theirs: bigint | number) => {
    if (ours !== theirs) found.push(`${what}: ${ours.toString(16)}, QEMU: ${theirs.toString(16)}`);
  };
  compare('signal', signalOf(actual.cause), Number(view.getBigUint64(resultField.signal, true)));
  compare('pc', actual.pc, view.getBigUint64(resultField.x, true));
  for (let n = 1; n < 32; n++) compare(integerNames[n], actual.x[n], view.getBigUint64(resultField.x + 8 * n, true));
  for (let n = 0; n < 32; n++) compare(floatNames[n], actual.f[n], view.getBigUint64(resultField.f + 8 * n, true));
  compare('fcsr', actual.fcsr, view.getUint32(resultField.fcsr, true));
  for (const name of ['vstart', 'vl', 'vtype', 'vcsr'] as const)
    compare(name, actual[name], view.getBigUint64(resultField[name], true));
  for (const [n, byte] of actual.v.entries()) compare(`v${n >> 4} byte ${n & 15}`, byte, result[resultField.v + n]);
  for (const [i, theirs] of result.subarray(resultField.bytes).entries()) {
    compare(`memory +${i.toString(16)}`, actual.window[i], theirs);
  }
  return found;
}

const describe = ({ bytes, word }: RowCase): string => {
  const view = new DataView(bytes.buffer);
  const x = Array.from({ length: 32 }, (_, n) => view.getBigUint64(8 * n, true).toString(16));
  const f = Array.from({ length: 32 }, (_, n) => view.getBigUint64(256 + 8 * n, true).toString(16));
  const text = disassemble(tables, word, 0n).text;
  return `${text} (${word.toString(16)}), fcsr ${view.getUint32(512, true).toString(16)}\n  x ${x.join(' ')}\n  f ${f.join(' ')}`;
};

/**
 * Where the oracle is wrong, its result is put right by the manual: QEMU 7.2's CTZW counts on into the upper half when the lower
 * one is 0, where the answer is 32; where vstart is not below vl it leaves vstart as it is, where every vector instruction that ends
 * without a trap sets it to 0 (31.3.7).
 */
function correct({ row }: Encoding, { bytes, word }: RowCase, result: Uint8Array): void {
  const view = new DataView(result.buffer, result.byteOffset, result.length);
  const ended = view.getBigUint64(resultField.signal, true) === BigInt(TRAP);
  if (row.vector && ended) view.setBigUint64(resultField.vstart, 0n, true);
  if (row.name !== 'ctzw') return;
  const rd = (word >>> 7) & 31;
  const rs1 = (word >>> 15) & 31;
  const source = new DataView(bytes.buffer).getBigUint64(8 * rs1, true);
  if (rd === 0 || (source & 0xffffffffn) !== 0n) return;
  view.setBigUint64(resultField.x + 8 * rd, 32n, true);
}

function seedOf(name: string): number {
  return [...name].reduce((sum, letter) => (Math.imul(sum, 31) + letter.charCodeAt(0)) >>> 0, seed);
}

function testRows(encodings: readonly Encoding[], qemu: QemuRunner, count: number): void {
  const cases = encodings.map((encoding) => {
    const random = new Random(seedOf(encoding.row.name));
    return Array.from({ length: count }, () => randomCase(encoding, random));
  });
  const input = new Uint8Array(encodings.length * count * CASE_BYTES);
  for (const [i, { bytes }] of cases.flat().entries()) input.set(bytes, i * CASE_BYTES);
  const results = qemu.run(input);
  const failures: string[] = [];
  let done = 0;
  for (const [i, list] of cases.entries()) {
    for (const [k, one] of list.entries()) {
      const at = (i * count + k) * RESULT_BYTES;
      const result = results.subarray(at, at + RESULT_BYTES);
      correct(encodings[i], one, result);
      if (result[resultField.signal] === TRAP) done++;
      for (const [tier, machine, runs] of [
        ['cold tier', cold, 1],
        ['compiled code', hot, HOT_RUNS],
      ] as const) {
        if (machine === hot && k >= count * HOT_SHARE) continue;
        const found = differences(machine.run(one.bytes, runs), result);
        if (found.length === 0) continue;
        failures.push(
          `${encodings[i].row.name}, case ${k}, ${tier}: ${describe(one)}\n  ${found.slice(0, 6).join('\n  ')}`,
        );
      }
    }
  }
  assert.equal(failures.length, 0, `${failures.length} differences, the first:\n${failures.slice(0, 4).join('\n')}`);
  assert.ok(done > encodings.length, 'some cases end without a fault');
}

const families: Readonly<Record<string, (encoding: Encoding) => boolean>> = {
  compressed: ({ bits }) => bits === 16,
  'floating-point': ({ bits, row }) => bits === 32 && row.float === true && !row.vector,
  integer: ({ bits, row }) => bits === 32 && row.float !== true && !row.vector,
  'vector floating-point': ({ row }) => row.vector === true && row.float === true,
  'vector memory': ({ row }) => row.vector === true && row.bytes !== undefined,
  'vector integer': ({ row }) => row.vector === true && row.float !== true && row.bytes === undefined,
};

for (const [family, belongs] of Object.entries(families)) {
  test(`RISC-V ${family} instructions do what QEMU's do (seed ${seed})`, { skip }, () => {
    assert.ok(runner);
    const { hasZicond } = runner;
    const chosen = allRows
      .filter(({ name }) => !untested.has(name) && !isNew(name) && (hasZicond || !name.startsWith('czero')))
      .map(parseEncoding)
      .filter(belongs);
    const before = hot.engine.compiler.counters.regions;
    testRows(chosen, runner, family.startsWith('vector') ? VECTOR_CASES : CASES);
    assert.ok(hot.engine.compiler.counters.regions - before > chosen.length, 'hot code was compiled');
  });
}

test(`RISC-V vector conversions that round towards zero do what the others do when frm says so (seed ${seed})`, () => {
  const RTZ = 1;
  const rows = allRows.filter(({ name }) => isTowardZero(name));
  assert.equal(rows.length, 6);
  for (const row of rows) {
    const other = allRows.find(({ name }) => name === row.name.replace('.rtz', ''));
    assert.ok(other);
    const random = new Random(seedOf(row.name));
    const [mine, plain] = [parseEncoding(row), parseEncoding(other)];
    let done = 0;
    for (let i = 0; i < CASES; i++) {
      const { bytes, word } = randomCase(mine, random);
      const view = new DataView(bytes.buffer);
      const frm = view.getUint32(caseField.fcsr, true) >> 5;
      const outcome = cold.run(bytes, 1);
      view.setUint32(caseField.fcsr, (view.getUint32(caseField.fcsr, true) & 31) | (RTZ << 5), true);
      view.setUint32(caseField.code, (word & ~mine.match) | plain.match, true);
      const expected = cold.run(bytes, 1);
      if (frm > 4) continue;
      if (expected.cause === cause.breakpoint) done++;
      assert.deepEqual({ ...outcome, fcsr: outcome.fcsr & 31 }, { ...expected, fcsr: expected.fcsr & 31 }, row.name);
    }
    assert.ok(done > 0, row.name);
  }
});

/** RISC-V Integer Conditional Operations 1.0: which QEMU 7.2 does not have yet. */
test(`RISC-V Zicond instructions do what the manual says (seed ${seed})`, () => {
  const BREAKPOINT = 3;
  for (const [name, zeroes] of [
    ['czero.eqz', (condition: bigint) => condition === 0n],
    ['czero.nez', (condition: bigint) => condition !== 0n],
  ] as const) {
    const row = allRows.find((each) => each.name === name);
    assert.ok(row);
    const random = new Random(seedOf(name));
    const seen = { zero: 0, value: 0 };
    for (let i = 0; i < 200; i++) {
      const { bytes, word } = randomCase(parseEncoding(row), random);
      const x = (n: number) => (n === 0 ? 0n : new DataView(bytes.buffer).getBigUint64(8 * n, true));
      const [rd, value, condition] = [(word >>> 7) & 31, x((word >>> 15) & 31), x((word >>> 20) & 31)];
      const expected = rd === 0 || zeroes(condition) ? 0n : value;
      if (rd !== 0) seen[zeroes(condition) ? 'zero' : 'value']++;
      for (const outcome of [cold.run(bytes, 1), hot.run(bytes, HOT_RUNS)]) {
        assert.equal(outcome.cause, BREAKPOINT);
        assert.equal(BigInt.asUintN(64, outcome.x[rd] ?? 0n), expected, `${name}, case ${i}`);
      }
    }
    assert.ok(seen.zero > 0 && seen.value > 0, 'both answers were asked for');
  }
});
