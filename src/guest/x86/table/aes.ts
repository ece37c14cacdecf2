/** AES-NI. Intel SDM vol. 1 section 12.13. */
import type { Routine } from '../../../ir/index.js';
import { decrypt, decryptLast, encrypt, encryptLast, keyAssist, mixInverse } from '../routines/aes.js';
import type { InsnRow } from '../translator.js';
import { xmmRow } from './vector.js';

function roundRow(
  name: string,
  opcode: string,
  routine: Routine<readonly ['v128', 'v128'], readonly ['v128']>,
): InsnRow {
  return xmmRow({ name, cpuid: 'aes' }, `38 ${opcode}`, (b, state, key) => b.call(routine, state, key)[0]);
}

export const aesRows: readonly InsnRow[] = [
  {
    name: 'AESIMC',
    enc: '66 0F 38 DB /r',
    args: 'Vdq:w, Wdq:r',
    cpuid: 'aes',
    unit: 'sse',
    translate(t, insn) {
      const y = t.readXmmRm();
      t.writeXmm(insn.reg, t.b.call(mixInverse, y)[0]);
    },
  },
  roundRow('AESENC', 'DC', encrypt),
  roundRow('AESENCLAST', 'DD', encryptLast),
  roundRow('AESDEC', 'DE', decrypt),
  roundRow('AESDECLAST', 'DF', decryptLast),
  {
    name: 'AESKEYGENASSIST',
    enc: '66 0F 3A DF /r ib',
    args: 'Vdq:w, Wdq:r, Ib',
    cpuid: 'aes',
    unit: 'sse',
    translate(t, insn) {
      const y = t.readXmmRm();
      t.writeXmm(insn.reg, t.b.call(keyAssist, y, t.b.i32(insn.immLow & 0xff))[0]);
    },
  },
];
