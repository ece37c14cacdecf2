/**
 * What the translator makes of typical code, as text: guest code, IR, and the WebAssembly of the region. Kept in expected/, so
 * that a change of generated code is a diff to read; expected/counts.txt has it in numbers.
 *
 * `node dist/dev/golden/golden.js` writes all of it anew.
 */
import { writeFileSync } from 'node:fs';
import { CODE_AT, dataRegion } from '../rows/layout.js';
import { RowMachine } from '../rows/row-machine.js';
import { type GoldenProgram, goldenPrograms } from './programs.js';

const directory = new URL('../../../src/dev/golden/expected/', import.meta.url);
const HOT_THRESHOLD = 2;
/** More than any program needs to get hot. */
const MOST_RUNS = 20;

export const expectedFile = (name: string): URL => new URL(`${name}.txt`, directory);

interface Generated {
  readonly text: string;
  readonly guestInstructions: number;
  readonly irOps: number;
  readonly wasmOps: number;
}

function bytesOf(program: GoldenProgram): Uint8Array {
  const hex = program.code.replace(/;.*$/gm, '').trim().split(/\s+/);
  return Uint8Array.from(hex, (byte) => Number.parseInt(byte, 16));
}

/** The functions of a printed module: what is around them says nothing of the code. */
function functionsOf(module: readonly string[]): string[] {
  const first = module.findIndex((line) => /^ {2}\(func /.test(line));
  return module.slice(first, -1);
}

function generate(program: GoldenProgram): Generated {
  const code: string[] = [];
  const ir: string[] = [];
  const wasm: string[] = [];
  const machine = new RowMachine(HOT_THRESHOLD, {
    code: (lines) => code.push(...lines),
    ir: (lines) => ir.push(...lines, ''),
    wasm: (lines) => wasm.push(...functionsOf(lines)),
  });
  machine.setMode(program.codeSize);
  machine.writeCode(CODE_AT, bytesOf(program));
  machine.clearData();
  const data = new DataView(machine.ram.buffer, machine.bytesAt(dataRegion.start, 4096).byteOffset, 4096);
  for (const [i, word] of (program.data ?? []).entries()) data.setBigUint64(8 * i, word, true);
  for (let run = 0; run < MOST_RUNS && wasm.length === 0; run++) {
    for (let n = 0; n < 16; n++) machine.writeGpr(n, BigInt(program.gprs[n] ?? 0));
    machine.eflags = 2;
    machine.run(CODE_AT);
  }
  if (wasm.length === 0) throw new Error(`${program.name} has not been compiled`);
  return {
    text: [`guest code`, ...code, '', 'IR', ...ir, 'WebAssembly', ...wasm, ''].join('\n'),
    guestInstructions: code.length,
    irOps: ir.filter((line) => line !== '' && !line.startsWith('insn')).length,
    wasmOps: wasm.filter((line) => /^ {4,}[a-z]/.test(line)).length,
  };
}

/** Every file of expected/ as it should be: name without `.txt`, and text. */
export function generateAll(): Map<string, string> {
  const files = new Map<string, string>();
  const counts = ['program                     guest     IR   wasm'];
  for (const program of goldenPrograms) {
    const made = generate(program);
    files.set(program.name, made.text);
    const numbers = [made.guestInstructions, made.irOps, made.wasmOps].map((count) => String(count).padStart(6));
    counts.push(`${program.name.padEnd(26)} ${numbers.join(' ')}`);
  }
  return files.set('counts', `${counts.join('\n')}\n`);
}

if (process.argv[1]?.endsWith('golden.js')) {
  for (const [name, text] of generateAll()) writeFileSync(expectedFile(name), text);
}
