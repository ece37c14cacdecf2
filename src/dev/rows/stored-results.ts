/**
 * Results of a real processor (results.br: an Intel Xeon with AVX-512 and AMX) for a small seeded set of cases, for hosts that
 * have no processor to ask. `node dist/dev/rows/stored-results.js` on x86-64 Linux writes them anew.
 *
 * The file is compressed by brotli: for each case 8 bytes of the SHA-256 of its bytes, and what differs between case and result,
 * as exclusive or; the cases themselves are generated.
 */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import { integerRows, vectorRows } from '../../guest/x86/table/index.js';
import type { InsnRow } from '../../guest/x86/translator.js';
import { untestedRows } from './allowed-differences.js';
import {
  CASE_BYTES,
  CODE_BYTES,
  caseHeader,
  DATA_BYTES,
  FX_BYTES,
  RESULT_BYTES,
  RESULT_HEADER_BYTES,
  signalRegister,
} from './layout.js';
import { NativeRunner } from './native-runner.js';
import { type CaseRunner, rowSeed, writeCases } from './row-test.js';

const file = new URL('../../../src/dev/rows/results.br', import.meta.url);
const HASH_BYTES = 8;
const ENTRY_BYTES = HASH_BYTES + RESULT_BYTES;
/** Of the stored set. */
export const STORED_CASES = 5;
const STORED_SEED = 1;

/** Rows that are compared with a processor, with their seeds for the stored set. */
export function storedRows(): { readonly row: InsnRow; readonly seed: number }[] {
  return [...integerRows, ...vectorRows]
    .filter((row) => !untestedRows.some((entry) => entry.rows.test(row.name)))
    .map((row) => ({ row, seed: rowSeed(row, STORED_SEED) }));
}

const hashOf = (bytes: Uint8Array): string =>
  createHash('sha256')
    .update(bytes)
    .digest('hex')
    .slice(0, 2 * HASH_BYTES);

/** Turns a result into its difference to the case, and back. */
function mix(c: Uint8Array, result: Uint8Array): Uint8Array {
  const mixed = Uint8Array.from(result);
  const xor = (at: number, from: number, bytes: number) => {
    for (let i = 0; i < bytes; i++) mixed[at + i] ^= c[from + i];
  };
  for (const [n, place] of signalRegister.gprs.entries()) xor(8 * place, caseHeader.gprs + 8 * n, 8);
  xor(8 * signalRegister.eflags, caseHeader.rflags, 8);
  xor(8 * signalRegister.rip, caseHeader.entry, 8);
  xor(RESULT_HEADER_BYTES, caseHeader.bytes, FX_BYTES);
  xor(RESULT_HEADER_BYTES + FX_BYTES, caseHeader.bytes + FX_BYTES + CODE_BYTES, DATA_BYTES);
  return mixed;
}

/** Gives the stored results as if it ran the cases. Throws for a case that is not in the file. */
export class StoredRunner implements CaseRunner {
  readonly with16 = true;
  readonly #results = new Map<string, Uint8Array>();

  constructor() {
    const bytes = brotliDecompressSync(readFileSync(file));
    for (let at = 0; at < bytes.length; at += ENTRY_BYTES) {
      const hash = bytes.subarray(at, at + HASH_BYTES).toString('hex');
      this.#results.set(hash, bytes.subarray(at + HASH_BYTES, at + ENTRY_BYTES));
    }
  }

  run(cases: Uint8Array): Uint8Array {
    const count = cases.length / CASE_BYTES;
    const results = new Uint8Array(count * RESULT_BYTES);
    for (let i = 0; i < count; i++) {
      const c = cases.subarray(i * CASE_BYTES, (i + 1) * CASE_BYTES);
      const stored = this.#results.get(hashOf(c));
      if (!stored)
        throw new Error('rows or their cases have changed: node dist/dev/rows/stored-results.js records results anew');
      results.set(mix(c, stored), i * RESULT_BYTES);
    }
    return results;
  }
}

function record(): void {
  const native = new NativeRunner();
  try {
    if (!native.with16) throw new Error('this host lets programs have no 16-bit segments');
    const { input } = writeCases(storedRows(), STORED_CASES, true);
    const results = native.run(input);
    const entries = new Map<string, Uint8Array>();
    for (let i = 0; i < input.length / CASE_BYTES; i++) {
      const c = input.subarray(i * CASE_BYTES, (i + 1) * CASE_BYTES);
      entries.set(hashOf(c), mix(c, results.subarray(i * RESULT_BYTES, (i + 1) * RESULT_BYTES)));
    }
    const all = Buffer.concat([...entries].flatMap(([hash, bytes]) => [Buffer.from(hash, 'hex'), bytes]));
    const options = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 };
    const compressed = brotliCompressSync(all, { params: options });
    writeFileSync(file, compressed);
    console.log(`${entries.size} results, ${all.length} bytes, ${compressed.length} compressed`);
  } finally {
    native.close();
  }
}

if (
  process.argv[1] !== undefined &&
  import.meta.url.endsWith('/stored-results.js') &&
  process.argv[1].endsWith('stored-results.js')
)
  record();
