/** The assembler against the decoder, for every row, and against the GNU assembler where that is installed. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { assemble } from '../../guest/x86/assembler/index.js';
import { Decoder, DecoderTables } from '../../guest/x86/decode.js';
import { formatInsn } from '../../guest/x86/disassemble.js';
import { allRows } from '../../guest/x86/table/index.js';
import { CaseGenerator } from './case-generator.js';

const tables = new DecoderTables(allRows);
const ORIGIN = 0x10000000n;
const CASES = 24;

type Size = 16 | 32 | 64;

interface Line {
  readonly text: string;
  readonly codeSize: Size;
  readonly row: string;
  readonly bytes: Uint8Array;
}

function textOf(code: Uint8Array, codeSize: Size): { text: string; length: number; decoder: Decoder } | undefined {
  const decoder = new Decoder(tables);
  decoder.setMode(codeSize, codeSize !== 16);
  const row = decoder.decode(code, 0, code.length);
  if (row < 0) return undefined;
  return { text: formatInsn(decoder, tables.rows[row], ORIGIN), length: decoder.length, decoder };
}

/** The text leaves nothing out: which size an address without registers or a pushed immediate has. */
function tellsAll(text: string, d: Decoder, codeSize: Size): boolean {
  if (/\[-?0x/.test(text) && d.addrSize !== codeSize) return false;
  if (/^push -?0x/.test(text) && d.opSizePrefix) return false;
  // A segment register that there is not, and st(0), which both operands may be.
  return !/\?|st\(0\), st$/.test(text);
}

const lines: Line[] = [];
for (const row of allRows) {
  const generator = new CaseGenerator(row, 7, true);
  for (let i = 0; i < CASES; i++) {
    const { code, length, codeSize } = generator.next();
    const shown = textOf(code.subarray(0, length), codeSize);
    if (!shown || !tellsAll(shown.text, shown.decoder, codeSize)) continue;
    lines.push({ text: shown.text, codeSize, row: `${row.name} ${row.enc}`, bytes: code.slice(0, shown.length) });
  }
}

test('what the disassembler writes of every row is assembled, no longer than it was, and reads the same', () => {
  const failures: string[] = [];
  const seen = new Set<string>();
  for (const { text, codeSize, row, bytes } of lines) {
    try {
      const made = assemble(text, { origin: ORIGIN, codeSize }).bytes;
      const again = textOf(made, codeSize);
      if (again?.text !== text || again.length !== made.length)
        failures.push(`${row}: ${codeSize} '${text}' became '${again?.text}' ${made}`);
      else if (made.length > bytes.length) failures.push(`${row}: ${codeSize} '${text}' ${bytes} is longer: ${made}`);
      else seen.add(row);
    } catch (error) {
      failures.push(`${row}: ${codeSize} '${text}' ${(error as Error).message}`);
    }
  }
  assert.equal(
    failures.length,
    0,
    `${failures.length} of ${lines.length}, the first:\n${failures.slice(0, 40).join('\n')}`,
  );
  // The generator makes no far pointers: the assembler's own test has them.
  const unseen = allRows.filter(({ name, enc, args }) => args !== 'Ap' && !seen.has(`${name} ${enc}`));
  assert.deepEqual(unseen, []);
});

const gnu = (() => {
  try {
    execFileSync('as', ['--version'], { stdio: 'ignore' });
    execFileSync('objcopy', ['--version'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'the GNU assembler is not installed';
  }
})();

/**
 * Rows that the GNU assembler encodes another way on purpose: XCHG with its operands exchanged; a selector is zero-extended without REX.W too; its PREFETCH is
 * 3DNow!'s.
 */
const sameMeaning = /^(XCHG 87|MOV 8C|SLDT|STR|SMSW|PREFETCH)/;

/** Bytes that the GNU assembler makes of each text, or undefined where it refuses it. */
function gnuBytes(texts: readonly string[], codeSize: Size, folder: string): (Uint8Array | undefined)[] {
  const source = join(folder, 'source.s');
  const object = join(folder, 'object.o');
  const refused = new Set<number>();
  // Every instruction at an address of its own, so that lengths are seen.
  const write = () =>
    writeFileSync(
      source,
      `.intel_syntax noprefix\n.code${codeSize}\n${texts.map((text, i) => `.org ${32 * i}\n${refused.has(i) ? '' : text}\n`).join('')}.org ${32 * texts.length}\n`,
    );
  const run = () =>
    spawnSync('as', [`--${codeSize === 64 ? 64 : 32}`, '-o', object, source], {
      encoding: 'latin1',
      maxBuffer: 1 << 28,
    });
  write();
  for (const [, line] of run().stderr.matchAll(/source\.s:(\d+): Error/g))
    refused.add(Math.floor((Number(line) - 4) / 2));
  write();
  const { status, stderr } = run();
  assert.equal(status, 0, stderr.slice(0, 500));
  const binary = join(folder, 'binary');
  execFileSync('objcopy', ['-O', 'binary', '-j', '.text', object, binary]);
  const all = readFileSync(binary);
  return texts.map((_, i) => (refused.has(i) ? undefined : all.subarray(32 * i, 32 * (i + 1))));
}

test('the GNU assembler makes the same bytes', { skip: gnu }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'vring-as-'));
  const differences: string[] = [];
  let same = 0;
  try {
    for (const codeSize of [16, 32, 64] as const) {
      // What is relative to its own address is compared by the round trip.
      const own = lines.filter(({ text, codeSize: size }) => size === codeSize && !/rip\+|^(j|call|loop)/.test(text));
      const others = gnuBytes(
        own.map(({ text }) => text),
        codeSize,
        folder,
      );
      for (const [i, { text, row }] of own.entries()) {
        const other = others[i];
        if (!other) continue;
        const made = assemble(text, { origin: ORIGIN, codeSize }).bytes;
        const padded = new Uint8Array(32);
        padded.set(made);
        if (Buffer.compare(padded, other) === 0 || sameMeaning.test(row)) same++;
        else if (textOf(other, codeSize)?.text !== text)
          differences.push(
            `${row}: ${codeSize} '${text}' ${Buffer.from(made).toString('hex')}, ${Buffer.from(other).toString('hex')}`,
          );
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  assert.ok(same > 20_000, `only ${same} were alike`);
  assert.equal(differences.length, 0, `${differences.length}, the first:\n${differences.slice(0, 20).join('\n')}`);
});
