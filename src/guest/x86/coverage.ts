/** The page that says which x86 instructions there are and which encodings mean nothing, made from the instruction rows. */
import { parseEncoding } from './decode.js';
import type { InsnRow } from './translator.js';

const mapNames = ['one-byte opcodes', '0F', '0F 38', '0F 3A', undefined, 'VEX 0F', 'VEX 0F 38', 'VEX 0F 3A'];

/** What is left out on purpose; such an instruction raises #UD, as on a processor that lacks it. */
const leftOut = [
  'AVX, AVX2, AVX-512, FMA and everything else in VEX or EVEX encoding but BMI1, BMI2',
  '3DNow! (PREFETCHW apart), SSE4a, XOP, TBM',
  'VMX, SVM, SGX, SMX, TDX, TSX, MPX, CET (ENDBR is a NOP), Key Locker, UINTR, AMX',
  'MOVDIRI, MOVDIR64B, ENQCMD, WAITPKG, SERIALIZE, CLDEMOTE, PTWRITE, PKU',
];

/** The text of docs/x86-instructions.md. */
export function coveragePage(rows: readonly InsnRow[]): string {
  const lines = [
    '# x86 instructions',
    '',
    'Made from the instruction rows (`src/guest/x86/table`); the test of `coverage.ts` keeps it so, and rewrites it when run with',
    '`VRING_UPDATE=1`. An encoding that is not here raises #UD.',
    '',
    `${rows.length} rows. Left out:`,
    '',
    ...leftOut.map((line) => `- ${line}`),
  ];
  const byFeature = new Map<string, Map<string, string[]>>();
  for (const row of rows) {
    const feature = row.cpuid ?? 'always there';
    const names = byFeature.get(feature) ?? new Map<string, string[]>();
    byFeature.set(feature, names);
    names.set(row.name, [...(names.get(row.name) ?? []), row.enc]);
  }
  for (const feature of [...byFeature.keys()].sort()) {
    lines.push('', `## ${feature}`, '', '| instruction | encodings |', '|---|---|');
    const names = byFeature.get(feature) as Map<string, string[]>;
    for (const name of [...names.keys()].sort()) {
      lines.push(`| ${name} | ${(names.get(name) as string[]).map((enc) => `\`${enc}\``).join(', ')} |`);
    }
  }
  lines.push('', '## Opcodes without any row', '');
  for (const [map, name] of mapNames.entries()) {
    if (name === undefined || map > 3) continue;
    const used = new Uint8Array(256);
    for (const row of rows) {
      const e = parseEncoding(row);
      if (e.map === map) used.fill(1, e.opcode, e.opcode + e.opcodeCount);
    }
    const free: string[] = [];
    for (let opcode = 0; opcode < 256; opcode++) {
      const first = opcode;
      while (opcode < 256 && !used[opcode] && !isPrefix(map, opcode)) opcode++;
      if (opcode > first) free.push(first === opcode - 1 ? hex(first) : `${hex(first)}-${hex(opcode - 1)}`);
    }
    lines.push(`- ${name}: ${free.join(', ') || 'none'}`);
  }
  return `${lines.join('\n')}\n`;
}

/** Prefixes and escapes have no rows. */
function isPrefix(map: number, opcode: number): boolean {
  if (map === 1) return opcode === 0x38 || opcode === 0x3a;
  return map === 0 && [0x0f, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3].includes(opcode);
}

const hex = (opcode: number): string => opcode.toString(16).toUpperCase().padStart(2, '0');
