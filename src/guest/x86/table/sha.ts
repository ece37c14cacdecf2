/** The SHA extensions. Intel SDM vol. 1 section 12.14 (Intel SHA Extensions). */
import type { Routine } from '../../../ir/index.js';
import {
  sha1Message1,
  sha1Message2,
  sha1NextE,
  sha1Rounds,
  sha256Message1,
  sha256Message2,
  sha256Rounds,
} from '../routines/sha.js';
import { xmm } from '../state.js';
import type { InsnRow } from '../translator.js';
import { xmmBinary, xmmImm } from './vector.js';

type Step = Routine<readonly ['v128', 'v128'], readonly ['v128']>;

function stepRow(name: string, opcode: string, routine: Step): InsnRow {
  return {
    name,
    enc: `NP 0F 38 ${opcode} /r`,
    args: 'Vdq:rw, Wdq:r',
    cpuid: 'sha_ni',
    unit: 'sse',
    translate: xmmBinary((b, x, y) => b.call(routine, x, y)[0]),
  };
}

export const shaRows: readonly InsnRow[] = [
  stepRow('SHA1NEXTE', 'C8', sha1NextE),
  stepRow('SHA1MSG1', 'C9', sha1Message1),
  stepRow('SHA1MSG2', 'CA', sha1Message2),
  {
    name: 'SHA256RNDS2',
    enc: 'NP 0F 38 CB /r',
    args: 'Vdq:rw, Wdq:r, XMM0:r',
    cpuid: 'sha_ni',
    unit: 'sse',
    translate: xmmBinary((b, x, y) => b.call(sha256Rounds, x, y, b.get(xmm[0]))[0]),
  },
  stepRow('SHA256MSG1', 'CC', sha256Message1),
  stepRow('SHA256MSG2', 'CD', sha256Message2),
  {
    name: 'SHA1RNDS4',
    enc: 'NP 0F 3A CC /r ib',
    args: 'Vdq:rw, Wdq:r, Ib',
    cpuid: 'sha_ni',
    unit: 'sse',
    translate: xmmImm((b, x, y, imm) => b.call(sha1Rounds[imm & 3], x, y)[0]),
  },
];
